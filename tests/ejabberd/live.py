#!/usr/bin/env python3
"""A throw-away ejabberd on loopback, for tests, the tour and benchmarks.

    live.py [options]

Writes a configuration into a folder, starts ejabberd there (a VM of its own, without distribution), waits until its ports
accept connections, makes the accounts, and prints ONE line of JSON on standard output:

    {"pid": 4242,               the VM's own pid (kill -9 it for a crash test)
     "version": "23.01", "address": "127.0.0.1",
     "host": "localhost", "hosts": ["localhost", ...], "pubsub": "pubsub.localhost" or null,
     "c2s": 40001, "component": 40002, "http": 40003,          the ports; c2s is plain TCP; http has /api for commands
     "users": {"romeo@localhost": "secret", ...}, "externals": {"capulet.example": "secret"},
     "data": "/tmp/...", "config": ".../ejabberd.yml", "log": ".../ejabberd.log"}

Then it waits. SIGTERM, SIGINT or SIGHUP to live.py (or, with --stdin, the end of its standard input) stops ejabberd and
removes the folder, unless --data named it. Exit status: 0 stopped by request, 1 ejabberd ended or never came up (its log
goes to standard error), 2 usage, 3 that ejabberd cannot be had on this machine.

  --version 23|26        the installed ejabberd (default), or the one in the root that tests/prosody/sid-root.sh makes (needs root)
  --backend pam_pps      this project as mod_pam_pps, with its mod_pubsub for those that ask for one (default)
            stock        ejabberd's own mod_pubsub, with PEP
            none         neither
  --no-replacements      with pam_pps: without the mod_pubsub that stands in for ejabberd's
  --dist DIR             where `mod_pam_pps/` and `replacements/` are (default: dist/ejabberd of this project); for 26 they are
                         built anew from there, once, into DIR-26
  --path DIR             a further folder of beams, searched first; may be repeated
  --host NAME            a virtual host; may be repeated, the first is "host" (default: localhost)
  --pubsub NAME|no       the pubsub service (default: pubsub.FIRST-HOST; none with --backend none)
  --rooms NAME           a chat service (mod_muc), with rooms that publish; rooms as scripts know them: not moderated
  --external NAME=SECRET accept an external component (XEP-0114); plays a remote server in tests; may be repeated
  --user JID[:PASSWORD]  an account (password: secret); may be repeated (default: romeo, juliet, mercutio, benvolio at the
                         first host). New accounts can also be made in-band (XEP-0077), without a limit
  --admin JID            an administrator; may be repeated
  --roster OWNER=CONTACT:SUBSCRIPTION[:GROUP,...]     a roster entry; may be repeated
  --contacts JID,JID     both see each other's presence; may be repeated
  --module 'NAME[=JSON]' a further module with its options, or other options of one; may be repeated
  --disable NAME         leave a module out; may be repeated
  --set 'NAME=JSON'      an option of mod_pam_pps (or of the stock module); may be repeated
  --option 'NAME=JSON'   a top-level option of ejabberd; may be repeated
  --data DIR             the folder to use and to keep: a second start on it finds the data of the first
  --address ADDRESS      127.0.0.1; any of 127.0.0.0/8
  --c2s-port, --component-port, --http-port N         fixed ports instead of free ones (restarts)
  --s2s-port N           listen for servers too (0: a free port)
  --peer DOMAIN=127.0.0.1:PORT   where another server (with what is below its domain) listens; no other one is found
  --log-level LEVEL      debug, info (default), warning, error
  --timeout SECONDS      how long the start may take (30)
  --stdin                stop when standard input ends
"""

import argparse
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
PEOPLE = ["romeo", "juliet", "mercutio", "benvolio"]
MODULES = {
    "mod_adhoc": {}, "mod_admin_extra": {}, "mod_blocking": {}, "mod_carboncopy": {}, "mod_disco": {},
    "mod_http_api": {}, "mod_ping": {}, "mod_privacy": {}, "mod_private": {}, "mod_register": {"ip_access": "all"},
    "mod_roster": {"versioning": True}, "mod_stream_mgmt": {}, "mod_vcard": {"search": False}, "mod_version": {},
}


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
    p.add_argument("--version", choices=["23", "26"], default="23")
    p.add_argument("--backend", choices=["pam_pps", "stock", "none"], default="pam_pps")
    p.add_argument("--no-replacements", action="store_true")
    p.add_argument("--dist", type=pathlib.Path, default=PROJECT / "dist" / "ejabberd")
    for name in ("path", "host", "external", "user", "admin", "roster", "contacts", "module", "disable", "set", "option"):
        p.add_argument("--" + name, action="append", default=[])
    p.add_argument("--pubsub")
    p.add_argument("--rooms")
    p.add_argument("--peer")
    p.add_argument("--data", type=pathlib.Path)
    p.add_argument("--address", default="127.0.0.1")
    for name in ("c2s", "component", "http", "s2s"):
        p.add_argument(f"--{name}-port", type=int)
    p.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    p.add_argument("--timeout", type=float, default=30)
    p.add_argument("--stdin", action="store_true")
    a = p.parse_args(argv)
    if not a.address.startswith("127."):
        p.error("--address: loopback only")
    a.host = a.host or ["localhost"]
    if a.pubsub is None:
        a.pubsub = "no" if a.backend == "none" else "pubsub." + a.host[0]
    a.user = a.user or [f"{name}@{a.host[0]}" for name in PEOPLE]
    return a


def named(entries):
    """NAME=JSON entries as a dictionary; a name alone stands for {}."""
    pairs = (entry.partition("=") for entry in entries)
    return {name.strip(): json.loads(value) if sep else {} for name, sep, value in pairs}


def replaced(a):
    return any((a.dist / "replacements").glob("*.beam"))


def backend_module(a):
    options = named(a.set)
    if a.backend == "stock":
        return {"mod_caps": {}, "mod_pubsub": {"host": a.pubsub, "plugins": ["flat", "pep"], **options}}
    if a.backend == "pam_pps":
        rooms = {"rooms": True} if a.rooms else {}
        module = {"mod_pam_pps": {"services": {} if a.pubsub == "no" else {a.pubsub: {}}, **rooms, **options}}
        return module if a.no_replacements else {**module, **({"mod_pubsub": {}} if replaced(a) else {})}
    return {}


def write_config(a, data, ports):
    modules = {**MODULES, **backend_module(a), **({"mod_s2s_dialback": {}} if a.peer else {}), **named(a.module)}
    if a.rooms:
        modules["mod_muc"] = {"host": a.rooms, "default_room_options": {"moderated": False, "members_by_default": False},
                              **modules.get("mod_muc", {})}
    externals = dict(entry.split("=", 1) for entry in a.external)
    listen = [
        {"port": ports["c2s"], "ip": a.address, "module": "ejabberd_c2s", "max_stanza_size": 4194304},
        # Without global routes: a component gets its own domain and not those of the others.
        {"port": ports["component"], "ip": a.address, "module": "ejabberd_service", "max_stanza_size": 4194304,
         "global_routes": False, "hosts": {name: {"password": secret} for name, secret in externals.items()}},
        {"port": ports["http"], "ip": a.address, "module": "ejabberd_http", "request_handlers": {"/api": "mod_http_api"}},
    ]
    if not externals:
        listen[1]["password"] = "secret"
        del listen[1]["hosts"], listen[1]["global_routes"]
    if ports["s2s"] is not None:
        listen.append({"port": ports["s2s"], "ip": a.address, "module": "ejabberd_s2s_in"})
    config = {
        "hosts": a.host,
        "loglevel": a.log_level,
        "listen": listen,
        "auth_method": "internal",
        "auth_password_format": "plain",
        "registration_timeout": "infinity",
        "s2s_use_starttls": False,
        "outgoing_s2s_families": ["ipv4"],
        "acl": {"admin": {"user": a.admin}} if a.admin else {},
        "access_rules": {"configure": [{"allow": "admin"} if a.admin else {"deny": "all"}], "register": [{"allow": "all"}],
                         "trusted_network": [{"allow": "all"}]},
        "api_permissions": {"loopback": {"from": ["mod_http_api"], "who": [{"ip": "127.0.0.0/8"}], "what": ["*"]}},
        "modules": {name: options for name, options in modules.items() if name not in a.disable},
        **named(a.option),
    }
    if a.peer:
        # For a domain without a dot, for which no service is asked.
        config["outgoing_s2s_port"] = int(a.peer.rpartition(":")[2])
        answer_names(a.peer, data / "inetrc")
    # JSON is YAML.
    file = data / "ejabberd.yml"
    file.write_text(json.dumps(config, indent=1) + "\n")
    return file, externals


def answer_names(peer, file):
    """A name server for Erlang's own resolver. ejabberd asks that one for services only (RFC 2782), and the system for the
    addresses of their hosts: so the peer, and whatever is below its domain, is a service on localhost."""
    domain, _, address = peer.partition("=")
    port = int(address.removeprefix("127.0.0.1:"))
    service = b"\xc0\x0c" + struct.pack("!HHIHHHH", 33, 1, 60, 17, 0, 0, port) + b"\x09localhost\0"
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    file.write_text("{resolv_conf, \"\"}.\nclear_ns.\n{nameserver, {127,0,0,1}, %d}.\n" % listener.getsockname()[1])

    def serve():
        while True:
            query, sender = listener.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            known = labels[:2] == ["_xmpp-server", "_tcp"] and ("." + ".".join(labels[2:])).endswith("." + domain)
            head = struct.pack("!HHHHH", 0x8580 if known else 0x8583, 1, int(known), 0, 0)
            listener.sendto(query[:2] + head + query[12:at + 5] + (service if known else b""), sender)
    threading.Thread(target=serve, daemon=True).start()


def ejabberd_folder(root=""):
    found = sorted(glob.glob(root + "/usr/lib/*/ejabberd-*/ebin/ejabberd.app"))
    if not found or not (root or shutil.which("erl")):
        print("live.py: ejabberd is not installed", file=sys.stderr)
        sys.exit(3)
    return pathlib.Path(found[-1][len(root):]).parent


class Root:
    """Another Debian, entered for each command."""

    def __init__(self, folders):
        self.script = str(PROJECT / "tests" / "prosody" / "sid-root.sh")
        folders = [str(pathlib.Path(f).resolve()) for f in folders]
        self.environment = dict(os.environ, PAM_PPS_SID="ejabberd", PAM_PPS_BIND=":".join(dict.fromkeys(folders)))
        made = subprocess.run([self.script], stdout=subprocess.PIPE, text=True, env=self.environment)
        if made.returncode:
            sys.exit(3)
        self.path = made.stdout.strip()

    def command(self, arguments, **variables):
        return [self.script, "run", "env", *(f"{name}={value}" for name, value in variables.items()), *arguments]


def built_for_26(dist):
    """Beams fit one version of ejabberd: the folder with those for the one in the root."""
    source, target = dist / "mod_pam_pps", dist.parent / (dist.name + "-26")
    library = next((source / "priv" / "lib").glob("libpam_pps.so.*"))
    parts = [library, *(PROJECT / "erlang").rglob("*.erl"), *(PROJECT / "erlang" / "c_src").glob("*"), PROJECT / "erlang" / "Makefile"]
    stamp = target / ".built"
    target.mkdir(exist_ok=True)
    if not stamp.exists() or stamp.stat().st_mtime < max(part.stat().st_mtime for part in parts):
        root = Root([PROJECT, dist, target])
        subprocess.run(root.command(["make", "-s", "-C", str(PROJECT / "erlang"), "dist", f"DIST={target}", f"LIB={library}",
                                     f"INCLUDE={PROJECT / 'include'}"]), env=root.environment, check=True, stdout=sys.stderr)
        stamp.touch()
    return target


def command(a, data, config):
    root = Root([PROJECT, data, a.dist, *a.path]) if a.version == "26" else None
    ebin = ejabberd_folder(root.path if root else "")
    paths = [*a.path]
    if a.backend == "pam_pps":
        paths.append(a.dist / "mod_pam_pps" / "ebin")
        if not a.no_replacements:
            paths.insert(0, a.dist / "replacements")
    paths = [str(pathlib.Path(p).resolve()) for p in paths]
    # The last -pa is searched first.
    arguments = ["erl", "-noinput", "+K", "true", "+Bd", "-pa", str(ebin)]
    for path in reversed(paths):
        arguments += ["-pa", path]
    arguments += ["-mnesia", "dir", f'"{data / "spool"}"', "-ejabberd", "start_args", "[]", "-s", "ejabberd"]
    variables = dict(EJABBERD_CONFIG_PATH=config, EJABBERD_LOG_PATH=data / "ejabberd.log", ERL_CRASH_DUMP=data / "erl_crash.dump",
                     CONTRIB_MODULES_PATH=data / "contrib", HOME=data)
    if a.peer:
        variables["ERL_INETRC"] = data / "inetrc"
    if root:
        return root.command(arguments, **variables), root.environment
    return arguments, dict(os.environ, **{name: str(value) for name, value in variables.items()})


def accepts(address, port):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def api(address, port, name, **arguments):
    """Runs a command of ejabberd and returns its answer."""
    request = urllib.request.Request(f"http://{address}:{port}/api/{name}", json.dumps(arguments).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def make_accounts(a, port):
    users = {}
    for entry in a.user:
        jid, _, password = entry.partition(":")
        users[jid] = password or "secret"
        user, host = jid.split("@", 1)
        try:
            api(a.address, port, "register", user=user, host=host, password=users[jid])
        except urllib.error.HTTPError as why:
            if why.code != 409:
                raise
    entries = list(a.roster)
    for pair in a.contacts:
        one, other = pair.split(",")
        entries += [f"{one}={other}:both", f"{other}={one}:both"]
    for entry in entries:
        owner, _, rest = entry.partition("=")
        contact, subscription, *groups = rest.split(":", 2)
        (user, host), (contact_user, contact_host) = owner.split("@", 1), contact.split("@", 1)
        # The newer form of this command has a list of groups.
        name = "add_rosteritem/v0" if a.version == "26" else "add_rosteritem"
        api(a.address, port, name, localuser=user, localhost=host, user=contact_user, host=contact_host,
            nick="", group=groups[0] if groups else "", subs=subscription)
    return users


def version_of(log):
    for line in log.read_text(errors="replace").splitlines()[::-1]:
        if "ejabberd " in line and " is started in the node" in line:
            return line.split("ejabberd ", 1)[1].split(" ", 1)[0]
    return None


def main(argv):
    a = parse_arguments(argv)
    data = a.data.absolute() if a.data else pathlib.Path(tempfile.mkdtemp(prefix="pam_pps-live-"))
    (data / "spool").mkdir(parents=True, exist_ok=True)
    a.dist = a.dist.resolve()
    if a.version == "26" and a.backend == "pam_pps":
        a.dist = built_for_26(a.dist)
    free = free_ports(a.address, 4)
    ports = {"c2s": a.c2s_port or free[0], "component": a.component_port or free[1], "http": a.http_port or free[2],
             "s2s": None if a.s2s_port is None else a.s2s_port or free[3]}
    config, externals = write_config(a, data, ports)
    log = data / "ejabberd.log"
    answer = {"pid": None, "version": None, "address": a.address, "host": a.host[0], "hosts": a.host,
              "pubsub": None if a.pubsub == "no" else a.pubsub, **ports, "users": {}, "externals": externals,
              "data": str(data), "config": str(config), "log": str(log)}
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
        wanted = [ports["c2s"], ports["component"], ports["http"]]
        deadline = time.monotonic() + a.timeout
        while not asked and not (all(accepts(a.address, p) for p in wanted) and version_of(log)):
            if server.poll() is not None or time.monotonic() > deadline:
                print("live.py: ejabberd did not come up; its log:", file=sys.stderr)
                sys.stderr.write(console.read_text(errors="replace"))
                if log.exists():
                    sys.stderr.write(log.read_bytes()[started:].decode(errors="replace"))
                status = 1
                return status
            time.sleep(0.05)
        if not asked:
            answer["users"] = make_accounts(a, ports["http"])
        answer["pid"] = server.pid
        answer["version"] = version_of(log)
        print(json.dumps(answer), flush=True)
        if a.stdin:
            threading.Thread(target=lambda: (sys.stdin.read(), asked.append(0)), daemon=True).start()
        while not asked and server.poll() is None:
            time.sleep(0.05)
        if server.poll() is not None:
            print(f"live.py: ejabberd ended by itself ({server.returncode})", file=sys.stderr)
            status = 1
        return status
    finally:
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                print("live.py: ejabberd had to be killed", file=sys.stderr)
        if not a.data:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
