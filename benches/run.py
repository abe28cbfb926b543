#!/usr/bin/env python3
"""Side by side with a server's own modules, in one run: prints the tables of docs/performance.md.

    benches/run.py [--host prosody|ejabberd] [--quick] [--rounds NUMBER] [--dist DIR] [--load PROGRAM] [--only WORD]
                   [--set OPTION]...

Starts throw-away servers on loopback (live.py of the host), one at a time: with the server's own pubsub on two storages, with
this module (commit "os" and "disk"), and with a module that does nothing (benches/prosody/, benches/ejabberd/). An OPTION is one
of the server's, as live.py takes it, and holds for all of them. The load comes from external components (benches/load.rs).
Medians of three, with --quick of one; the servers of a row take turns, since a machine's speed changes. Every figure is followed by the server's processor time for one operation in brackets, in
microseconds; in ejabberd's case with what its schedulers spend waiting.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent
SERVICE = "pubsub.localhost"
PARTS = ["publisher.localhost", "receiver.localhost", "pinger.localhost"]


@dataclasses.dataclass
class Host:
    """A server to measure: arguments for its live.py under the names of the columns."""

    name: str
    servers: dict
    # Those of its own modules, with their titles.
    stock: dict
    # Which of them a commit is compared with: those that promise as much.
    alike: dict
    # The faster one at telling subscribers.
    teller: str
    # Filling a node of this one takes the square of its items: too long for a short run.
    slow: str = ""

    def __post_init__(self):
        self.live = PROJECT / "tests" / self.name / "live.py"
        self.titles = {**self.stock, "os": "pam_pps `os`", "disk": "pam_pps `disk`", "nothing": "do-nothing"}

    def compared(self):
        """The columns of a comparison, and the heads of its ratios."""
        names = [*self.stock, "os", "disk"]
        ratios = []
        for commit, others in self.alike.items():
            ratios.append(f"`{commit}` / " + ("best stock" if len(others) > 1 else others[0]))
        return names, [self.titles[name] for name in names] + ratios


def prosody(_folder):
    quiet = ["--log-level", "error"]
    sql = ["--set", 'sql = { driver = "SQLite3", database = "prosody.sqlite" }', "--set-pubsub", 'storage = "sql"']
    stock = [*quiet, "--backend", "stock", "--set-pubsub", "pubsub_max_items = 1000000",
             "--set-pubsub", 'admins = { "load@publisher.localhost" }']
    ours = [*quiet, "--backend", "pam_pps", "--set-pubsub", 'pam_pps_create_nodes = "anyone"',
            "--set-pubsub", "pam_pps_max_items = 1000000"]
    servers = {
        "internal": stock,
        "sqlite": stock + sql,
        "os": ours,
        "disk": ours + ["--set", 'pam_pps_commit = "disk"'],
        "nothing": [*quiet, "--backend", "none", "--plugins", str(HERE / "prosody"), "--component", SERVICE + "=bench_nothing"],
    }
    # Both storages write synchronously, so the fair pair is "disk".
    both = ["internal", "sqlite"]
    return Host("prosody", servers, {"internal": "Prosody, internal", "sqlite": "Prosody, sqlite"}, {"os": both, "disk": both},
                teller="sqlite", slow="internal")


def ejabberd(folder):
    sys.path.append(str(PROJECT / "tests" / "ejabberd"))
    from live import ejabberd_folder
    from old_data import sqlite

    ebin = str(ejabberd_folder())
    where = '[io:format("~s~n", [filename:dirname(filename:dirname(code:which(M)))]) || M <- [xmpp, fxml]], halt().'
    libraries = subprocess.run(["erl", "-noshell", "-eval", where], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    includes = [word for library in libraries for word in ("-I", library + "/include")]
    subprocess.run(["erlc", "-Werror", *includes, "-pa", ebin, "-o", str(folder), str(HERE / "ejabberd" / "mod_bench_nothing.erl")],
                   check=True)
    # Its cache of last items makes it faster, so it is on.
    stock = ["--backend", "stock", "--set", "max_items_node=1000000", "--set", "last_item_cache=true"]
    service = json.dumps({SERVICE: {"create_nodes": "anyone", "max_items": 1000000}})
    ours = ["--backend", "pam_pps", "--pubsub", "no", "--set", f"services={service}"]
    servers = {
        "mnesia": stock,
        "sqlite": lambda data: stock + sqlite(data),
        "os": ours,
        "disk": ours + ["--set", 'commit="disk"'],
        "nothing": ["--backend", "none", "--path", str(folder), "--module", "mod_bench_nothing"],
    }
    # mnesia writes to the disk later, SQLite at once.
    return Host("ejabberd", servers, {"mnesia": "ejabberd, mnesia", "sqlite": "ejabberd, sqlite"},
                {"os": ["mnesia"], "disk": ["sqlite"]}, teller="mnesia")


HOSTS = {"prosody": prosody, "ejabberd": ejabberd}


@contextlib.contextmanager
def server(options, name, data=None):
    """A running server: what live.py says of it, and how long it took to come up."""
    with contextlib.ExitStack() as stack:
        data = data or stack.enter_context(tempfile.TemporaryDirectory(prefix="pam_pps-bench-"))
        yield from started(options, name, pathlib.Path(data))


def started(options, name, data):
    host = options.host
    command = [sys.executable, str(host.live), "--stdin", "--dist", str(options.dist), "--data", str(data)]
    for part in PARTS:
        command += ["--external", part + "=secret"]
    arguments = host.servers[name]
    command += arguments(data) if callable(arguments) else arguments
    for option in options.set:
        command += ["--set", option]
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not come up: " + " ".join(command))
        yield json.loads(line), start
    finally:
        process.stdin.close()
        process.wait(60)


def load(options, live, what, **settings):
    settings = {"port": live["component"], "pid": live["pid"], "service": SERVICE, **settings}
    command = [str(options.load), "--bench", what] + [f"{name}={value}" for name, value in settings.items()]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{what} {settings}: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout)


def measure(options, wanted, **settings):
    """What some servers do, by their names: the median of some runs, each on a fresh server; none if it cannot be measured."""
    results = {name: [] for name in wanted}
    for _ in range(options.rounds):
        for name, what in wanted.items():
            if name not in results:
                continue
            try:
                with server(options, name) as (live, _start):
                    results[name].append(load(options, live, what, **settings))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"({options.host.titles[name]}: {error})", file=sys.stderr)
                del results[name]
    return {name: sorted(runs, key=lambda run: run["per_second"])[len(runs) // 2] for name, runs in results.items()}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(result):
    return "–" if result is None else f"{number(result['per_second'])} [{result['cpu']:.0f}]"


def ratio(result, base):
    return "–" if not result or not base else f"{result['per_second'] / base['per_second']:.2f}"


def table(title, head, rows):
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |", flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def compared(options, label, what, nothing=None, **settings):
    """A row: stock twice, ours twice, and the ratios of like with like; with `nothing`, what the do-nothing module does of that."""
    host, names = options.host, options.host.compared()[0]
    long = [host.slow] if options.quick and settings.get("kept", 0) > 100 else []
    wanted = {name: what for name in names if name not in long}
    got = measure(options, {**wanted, "nothing": nothing} if nothing else wanted, **settings)
    row = [label] + [cell(got.get(name)) for name in names]
    for commit, others in host.alike.items():
        best = max((got[name] for name in others if name in got), key=lambda g: g["per_second"], default=None)
        row.append(ratio(got.get(commit), best))
    return row + ([cell(got.get("nothing")), ratio(got.get("os"), got.get("nothing"))] if nothing else [])


def head(options):
    return ["", *options.host.compared()[1]]


def publishing(options):
    kept = [0, 1_000] if options.quick else [0, 10, 100, 1_000, 10_000]

    def rows():
        for keep in kept:
            yield compared(options, f"{keep:,} kept", "publish", "answer", kept=keep, seconds=options.seconds)
    table("Publish, 300 B, window 32, every publish evicts, publishes/s", head(options) + ["do-nothing", "`os` / do-nothing"], rows())


def fanning_out(options):
    host, teller = options.host, options.host.teller
    names = ["nothing", teller, "os", "disk"]

    def rows():
        for subscribers in ([100] if options.quick else [100, 1_000, 10_000]):
            # Nothing is evicted: telling everybody of that as well would be two notifications for one publish.
            settings = dict(subscribers=subscribers, kept=1_000_000, window=1 if subscribers > 1_000 else 32,
                            notifications=20_000 if options.quick else 100_000)
            got = measure(options, {name: "fanout" for name in names}, **settings)
            row = [f"{subscribers:,}"] + [cell(got.get(name)) for name in names]
            row += [ratio(got.get("os"), got.get(teller)), ratio(got.get("os"), got.get("nothing"))]
            for key in ("one_ms", "stall_ms"):
                row.append(" / ".join(f"{got[n][key]:.0f}" if n in got else "–" for n in names[:3]))
            yield row
    table("Notifications/s to components; one publish, and the longest ping of somebody else meanwhile, in ms "
          f"(do-nothing / {teller} / `os`)",
          ["subscribers", *(host.titles[name] for name in names), "`os` / stock", "`os` / do-nothing", "one publish", "longest ping"],
          rows())


def others(options):
    seconds = options.seconds
    def rows():
        yield compared(options, "last 10 of 1,000 items", "items", kept=1_000, seconds=seconds)
        many = 100 if options.quick else 10_000
        yield compared(options, f"subscribe/unsubscribe, {many:,} there", "subscribe", subscribers=many, kept=10,
                       seconds=seconds)
        yield compared(options, "create nodes", "create", kept=10, seconds=seconds)
    table("Other operations/s, window 32", head(options), rows())


def starting(options):
    names = [*options.host.stock, "os"]

    def first(name, nodes):
        with tempfile.TemporaryDirectory(prefix="pam_pps-bench-") as folder:
            with server(options, name, folder) as (live, _start):
                load(options, live, "create", nodes=nodes, kept=10, seconds=120)
            times = []
            for _ in range(options.rounds):
                with server(options, name, folder) as (live, start):
                    load(options, live, "first", node="node1")
                    times.append((time.monotonic() - start) * 1e3)
            return f"{statistics.median(times):.0f}"

    def rows():
        for nodes in ([10] if options.quick else [10, 10_000]):
            yield [f"{nodes:,} nodes"] + [first(name, nodes) for name in names]
    table("Start of the process to the first answer, ms (Python's start of the runner included)",
          ["", *(options.host.titles[name] for name in names)], rows())


def find_load():
    command = [os.environ.get("CARGO", "cargo"), "bench", "--bench", "load", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line).get("executable") for line in built.stdout.splitlines() if '"executable"' in line]
    return [path for path in found if path][-1]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--host", choices=HOSTS, default="prosody")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--dist", type=pathlib.Path)
    parser.add_argument("--load", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--only", choices=["publish", "fanout", "others", "start"])
    options = parser.parse_args()
    rounds, options.seconds = (1, 1.0) if options.quick else (3, 2.0)
    options.rounds = options.rounds or rounds
    options.load = options.load or find_load()
    busy = os.getloadavg()[0]
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} processors, load before: {busy:.1f}; "
          f"medians of {options.rounds}; in brackets the server's processor time for one, µs.")
    if busy > 0.5 * os.cpu_count():
        print("\nThe machine is not quiet: only ratios, and only roughly.")
    parts = {"publish": publishing, "fanout": fanning_out, "others": others, "start": starting}
    options.dist = options.dist or PROJECT / "dist" / options.host
    with tempfile.TemporaryDirectory(prefix="pam_pps-bench-") as folder:
        options.host = HOSTS[options.host](pathlib.Path(folder))
        for name, part in parts.items():
            if options.only in (None, name):
                part(options)


if __name__ == "__main__":
    main()
