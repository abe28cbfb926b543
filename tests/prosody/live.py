#!/usr/bin/env python3
"""A throw-away Prosody on loopback, for tests, the tour and benchmarks.

    live.py [options]

Writes a configuration and accounts into a folder, starts Prosody there, waits until its ports accept connections, and
prints ONE line of JSON on standard output:

    {"pid": 4242,               Prosody's own pid (kill -9 it for a crash test)
     "version": "0.12.3", "address": "127.0.0.1",
     "host": "localhost", "hosts": ["localhost", ...], "pubsub": "pubsub.localhost" or null,
     "c2s": 40001, "component": 40002, "http": 40003, "s2s": null,    the ports; c2s is plain TCP, SASL PLAIN and SCRAM offered
     "users": {"romeo@localhost": "secret", ...}, "externals": {"capulet.example": "secret"},
     "data": "/tmp/...", "config": ".../prosody.cfg.lua", "log": ".../prosody.log"}

Then it waits. SIGTERM, SIGINT or SIGHUP to live.py (or, with --stdin, the end of its standard input) stops Prosody and
removes the folder, unless --data named it. Exit status: 0 stopped by request, 1 Prosody ended or never came up (its log
goes to standard error), 2 usage, 3 Prosody 13 cannot be had on this machine.

  --version 0.12|13      the installed Prosody (default), or Prosody 13 inside the root that sid-root.sh makes (needs root)
  --backend pam_pps      this project on the hosts and on the pubsub component, with its mod_pep and mod_pubsub (default)
            stock        Prosody's own mod_pep and mod_pubsub
            none         neither
  --no-replacements      with pam_pps: without the folder of mod_pep and mod_pubsub
  --dist DIR             where `modules/` and `replacements/` are (default: dist/prosody of this project)
  --plugins DIR          a further folder of modules, searched first; may be repeated
  --host NAME            a virtual host; may be repeated, the first is "host" (default: localhost)
  --pubsub NAME|no       the pubsub component (default: pubsub.FIRST-HOST; none with --backend none)
  --component NAME=MOD   a further internal component, for instance rooms.localhost=muc; may be repeated
  --external NAME=SECRET accept an external component (XEP-0114); plays a remote server in tests; may be repeated
  --user JID[:PASSWORD]  an account (password: secret); may be repeated (default: romeo, juliet, mercutio, benvolio at the
                         first host). New accounts can also be made in-band (XEP-0077), without a limit
  --admin JID            an administrator; may be repeated
  --roster OWNER=CONTACT:SUBSCRIPTION[:GROUP,...]     a roster entry; may be repeated
  --contacts JID,JID     both see each other's presence; may be repeated
  --module NAME          a further module on the hosts; may be repeated
  --disable NAME         leave a module out; may be repeated
  --set 'NAME = LUA'     a global option, for instance --set 'pam_pps_commit = "disk"'; may be repeated
  --set-pubsub 'N = LUA' an option of the pubsub component; may be repeated
  --config FILE          Lua text put at the end of the configuration (after the components)
  --data DIR             the folder to use and to keep: a second start on it finds the data of the first
  --address ADDRESS      127.0.0.1; any of 127.0.0.0/8
  --c2s-port, --component-port, --http-port N         fixed ports instead of free ones (restarts)
  --s2s-port N           listen for servers too (0: a free port); without it mod_s2s is off
  --peer DOMAIN=ADDRESS:PORT   where another server (with all that is below its domain) listens; no other one is found.
                         By dialback, without TLS and without the DNS. May be repeated
  --log-level LEVEL      debug, info (default), warn, error
  --timeout SECONDS      how long the start may take (20)
  --stdin                stop when standard input ends
  --prepare              write the folder, print the JSON (pid null), do not start anything
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
MODULES = ["roster", "saslauth", "disco", "blocklist", "carbons", "ping", "version", "register_ibr", "admin_shell"]
PEOPLE = ["romeo", "juliet", "mercutio", "benvolio"]


def lua(value):
    """A Lua literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "{ " + "; ".join(map(lua, value)) + " }"
    if isinstance(value, dict):
        return "{ " + "; ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + " }"
    return '"' + re.sub(r'[\\"\n]', lambda m: {"\n": "\\n"}.get(m[0], "\\" + m[0]), str(value)) + '"'


def store_name(text):
    """The name under which Prosody's file storage keeps a host or an account."""
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{b:02x}" for b in c.encode()) for c in text)


def free_ports(address, count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind((address, 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def parse_arguments(argv):
    p = argparse.ArgumentParser(usage=__doc__, add_help=True, allow_abbrev=False)
    p.add_argument("--version", choices=["0.12", "13"], default="0.12")
    p.add_argument("--backend", choices=["pam_pps", "stock", "none"], default="pam_pps")
    p.add_argument("--no-replacements", action="store_true")
    p.add_argument("--dist", type=pathlib.Path, default=PROJECT / "dist" / "prosody")
    for name in ("plugins", "host", "component", "external", "user", "admin", "roster", "contacts", "module", "disable",
                 "set", "set-pubsub", "peer"):
        p.add_argument("--" + name, action="append", default=[])
    p.add_argument("--pubsub")
    p.add_argument("--config", type=pathlib.Path)
    p.add_argument("--data", type=pathlib.Path)
    p.add_argument("--address", default="127.0.0.1")
    for name in ("c2s", "component", "http", "s2s"):
        p.add_argument(f"--{name}-port", type=int)
    p.add_argument("--log-level", choices=["debug", "info", "warn", "error"], default="info")
    p.add_argument("--timeout", type=float, default=20)
    p.add_argument("--stdin", action="store_true")
    p.add_argument("--prepare", action="store_true")
    a = p.parse_args(argv)
    if not a.address.startswith("127."):
        p.error("--address: loopback only")
    a.host = a.host or ["localhost"]
    if a.pubsub is None:
        a.pubsub = "no" if a.backend == "none" else "pubsub." + a.host[0]
    a.user = a.user or [f"{name}@{a.host[0]}" for name in PEOPLE]
    return a


def write_store(data, jid, store, text):
    user, host = jid.split("@", 1)
    file = data / "data" / store_name(host) / store / (store_name(user) + ".dat")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("return " + text + ";\n")


def write_accounts(a, data):
    users = {}
    for entry in a.user:
        jid, _, password = entry.partition(":")
        users[jid] = password or "secret"
        write_store(data, jid, "accounts", lua({"password": users[jid]}))
    rosters = {}
    entries = list(a.roster)
    for pair in a.contacts:
        one, other = pair.split(",")
        entries += [f"{one}={other}:both", f"{other}={one}:both"]
    for entry in entries:
        owner, _, rest = entry.partition("=")
        contact, subscription, *groups = rest.split(":", 2)
        names = {g: True for g in groups[0].split(",")} if groups else {}
        rosters.setdefault(owner, {})[contact] = {"subscription": subscription, "groups": names}
    for owner, items in rosters.items():
        body = "; ".join(f"[{lua(jid)}] = {lua(item)}" for jid, item in items.items())
        write_store(data, owner, "roster", "{ [false] = { version = 1; pending = {} }; " + body + " }")
    return users


def write_config(a, data, ports):
    modules = MODULES + a.module
    paths = [str(pathlib.Path(p).resolve()) for p in a.plugins]
    if a.backend == "pam_pps":
        modules.append("pam_pps")
        paths.append(str((a.dist / "modules").resolve()))
        if not a.no_replacements:
            modules.append("pep")
            paths.append(str((a.dist / "replacements").resolve()))
    elif a.backend == "stock":
        modules.append("pep")
    if a.peer:
        modules += ["dialback", "loopback_peers"]
        paths.append(str(HERE / "modules"))
    disabled = [m for m in ["tls", "s2s", "s2s_bidi"] if m != "s2s" or a.s2s_port is None]
    lines = [
        "-- Written by live.py.",
        "run_as_root = true",
        "daemonize = false",
        f"pidfile = {lua(str(data / 'prosody.pid'))}",
        f"data_path = {lua(str(data / 'data'))}",
        f"certificates = {lua(str(data / 'certs'))}",
        f"plugin_paths = {lua(paths)}",
        f"modules_enabled = {lua([m for m in dict.fromkeys(modules) if m not in a.disable])}",
        f"modules_disabled = {lua(disabled + a.disable)}",
        f"admins = {lua(a.admin)}",
        f"log = {{ {{ to = \"file\"; filename = {lua(str(data / 'prosody.log'))}; levels = {{ min = {lua(a.log_level)} }} }} }}",
        f"admin_socket = {lua(str(data / 'prosody.sock'))}",
        'authentication = "internal_plain"',
        'storage = "internal"',
        'statistics = "internal"',
        'statistics_interval = "manual"',
        "c2s_require_encryption = false",
        "s2s_require_encryption = false",
        "s2s_secure_auth = false",
        "allow_unencrypted_plain_auth = true",
        "allow_registration = true",
        "registration_throttle_max = 100000",
        "c2s_direct_tls_ports = {}",
        "https_ports = {}",
    ]
    for name in ("c2s", "component", "http", "s2s"):
        if ports[name] is not None:
            lines += [f"{name}_ports = {lua([ports[name]])}", f"{name}_interfaces = {lua([a.address])}"]
    if a.peer:
        entries = (re.fullmatch(r"(.+)=([\d.]+):(\d+)", peer).groups() for peer in a.peer)
        # Small stanzas go back and forth: none waits for the acknowledgement of the one before.
        lines.append("network_settings = { nagle = false }")
        lines.append(f"loopback_peers = {lua({domain: [address, int(port)] for domain, address, port in entries})}")
    lines += a.set
    lines += [f"VirtualHost {lua(host)}" for host in a.host]
    if a.pubsub != "no":
        lines.append(f"Component {lua(a.pubsub)} {lua('pam_pps' if a.backend == 'pam_pps' else 'pubsub')}")
        if a.backend == "pam_pps" and not a.no_replacements:
            lines.append('\tmodules_enabled = { "pubsub" }')
        lines += ["\t" + s for s in a.set_pubsub]
    for entry in a.component:
        name, _, module = entry.partition("=")
        lines.append(f"Component {lua(name)} {lua(module)}")
    externals = dict(entry.split("=", 1) for entry in a.external)
    for name, secret in externals.items():
        lines += [f"Component {lua(name)}", f"\tcomponent_secret = {lua(secret)}"]
    if a.config:
        lines.append(a.config.read_text())
    config = data / "prosody.cfg.lua"
    config.write_text("\n".join(lines) + "\n")
    return config, externals


def command(a, data, config):
    if a.version == "0.12":
        return ["prosody", "-F", "--config", str(config)], dict(os.environ)
    root = str(HERE / "sid-root.sh")
    made = subprocess.run([root], stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit(3)
    folders = [PROJECT, data, a.dist, *a.plugins]
    folders = list(dict.fromkeys(str(pathlib.Path(f).resolve()) for f in folders if pathlib.Path(f).exists()))
    environment = dict(os.environ, PAM_PPS_BIND=":".join(folders))
    return [root, "run", "prosody", "-F", "--config", str(config)], environment


def accepts(address, port):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def server_version(log):
    found = re.findall(r"Hello and welcome to Prosody version (\S+)", log.read_text(errors="replace")) if log.exists() else []
    return found[-1] if found else None


def main(argv):
    a = parse_arguments(argv)
    data = a.data.absolute() if a.data else pathlib.Path(tempfile.mkdtemp(prefix="pam_pps-live-"))
    (data / "certs").mkdir(parents=True, exist_ok=True)
    free = free_ports(a.address, 4)
    ports = {"c2s": a.c2s_port or free[0], "component": a.component_port or free[1], "http": a.http_port or free[2],
             "s2s": None if a.s2s_port is None else a.s2s_port or free[3]}
    users = write_accounts(a, data)
    config, externals = write_config(a, data, ports)
    log = data / "prosody.log"
    answer = {"pid": None, "version": a.version, "address": a.address, "host": a.host[0], "hosts": a.host,
              "pubsub": None if a.pubsub == "no" else a.pubsub, **ports, "users": users, "externals": externals,
              "data": str(data), "config": str(config), "log": str(log)}
    if a.prepare:
        print(json.dumps(answer), flush=True)
        return 0

    asked = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: asked.append(n))
    started = log.stat().st_size if log.exists() else 0
    console = data / "console.log"
    console.write_bytes(b"")
    arguments, environment = command(a, data, config)
    server = subprocess.Popen(arguments, env=environment, cwd=data, stdin=subprocess.DEVNULL,
                              stdout=console.open("ab"), stderr=subprocess.STDOUT, start_new_session=True)
    status = 0
    try:
        wanted = [ports["c2s"], ports["component"]] if externals else [ports["c2s"]]
        deadline = time.monotonic() + a.timeout
        while not asked and not all(accepts(a.address, p) for p in wanted):
            if server.poll() is not None or time.monotonic() > deadline:
                print("live.py: Prosody did not come up; its log:", file=sys.stderr)
                sys.stderr.write(console.read_text(errors="replace"))
                if log.exists():
                    sys.stderr.write(log.read_bytes()[started:].decode(errors="replace"))
                status = 1
                return status
            time.sleep(0.02)
        answer["pid"] = server.pid
        answer["version"] = server_version(log) or a.version
        print(json.dumps(answer), flush=True)
        if a.stdin:
            import threading
            threading.Thread(target=lambda: (sys.stdin.read(), asked.append(0)), daemon=True).start()
        while not asked and server.poll() is None:
            time.sleep(0.05)
        if server.poll() is not None:
            print(f"live.py: Prosody ended by itself ({server.returncode})", file=sys.stderr)
            status = 1
        return status
    finally:
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                print("live.py: Prosody had to be killed", file=sys.stderr)
        if not a.data:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
