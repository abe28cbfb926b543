#!/usr/bin/env python3
"""Side by side with Prosody's own modules, in one run: prints the tables of docs/performance.md.

    benches/run.py [--quick] [--dist DIR] [--load PROGRAM] [--only WORD]

Starts throw-away servers on loopback (tests/prosody/live.py), one at a time: Prosody with its own pubsub on internal and
on sqlite storage, Prosody with this module (commit "os" and "disk"), and Prosody with a module that does nothing
(benches/prosody/). The load comes from external components (benches/load.rs). Medians of three, with --quick of one.
Every figure is followed by the server's processor time for one operation in brackets, in microseconds.
"""

import argparse
import contextlib
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
LIVE = PROJECT / "tests" / "prosody" / "live.py"
SERVICE = "pubsub.localhost"
PARTS = ["publisher.localhost", "receiver.localhost", "pinger.localhost"]

SQL = ["--set", 'sql = { driver = "SQLite3", database = "prosody.sqlite" }', "--set-pubsub", 'storage = "sql"']
STOCK = ["--backend", "stock", "--set-pubsub", "pubsub_max_items = 1000000",
         "--set-pubsub", 'admins = { "load@publisher.localhost" }']
OURS = ["--backend", "pam_pps", "--set-pubsub", 'pam_pps_create_nodes = "anyone"',
        "--set-pubsub", "pam_pps_max_items = 1000000"]
SERVERS = {
    "internal": STOCK,
    "sqlite": STOCK + SQL,
    "os": OURS,
    "disk": OURS + ["--set", 'pam_pps_commit = "disk"'],
    "nothing": ["--backend", "none", "--plugins", str(HERE / "prosody"), "--component", SERVICE + "=bench_nothing"],
}
TITLES = {"internal": "Prosody, internal", "sqlite": "Prosody, sqlite", "os": "pam_pps `os`", "disk": "pam_pps `disk`",
          "nothing": "do-nothing"}


@contextlib.contextmanager
def server(options, arguments, data=None):
    """A running server: what live.py says of it, and how long it took to come up."""
    command = [sys.executable, str(LIVE), "--stdin", "--log-level", "error", "--dist", str(options.dist)]
    for name in PARTS:
        command += ["--external", name + "=secret"]
    command += arguments + (["--data", str(data)] if data else [])
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not come up: " + " ".join(arguments))
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


def measure(options, name, what, key="per_second", **settings):
    """The median of some runs, each on a fresh server; None if it cannot be measured."""
    results = []
    for _ in range(options.rounds):
        try:
            with server(options, SERVERS[name]) as (live, _start):
                results.append(load(options, live, what, **settings))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"({TITLES[name]}: {error})", file=sys.stderr)
            return None
    results.sort(key=lambda result: result[key])
    return results[len(results) // 2]


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
    """A row: stock twice, ours twice, and the ratios of like with like."""
    got = {}
    for name in ("internal", "sqlite", "os", "disk"):
        # Filling a node of the internal storage takes the square of its items: too long for a short run.
        long = options.quick and name == "internal" and settings.get("kept", 0) > 100
        got[name] = None if long else measure(options, name, what, **settings)
    row = [label] + [cell(got[name]) for name in got]
    # Both storages of Prosody write synchronously, so the fair pair is "disk".
    best = max((got[name] for name in ("internal", "sqlite") if got[name]), key=lambda g: g["per_second"], default=None)
    row += [ratio(got["os"], best), ratio(got["disk"], best)]
    return row + ([ratio(got["os"], nothing)] if nothing else [])


HEAD = ["", "Prosody, internal", "Prosody, sqlite", "pam_pps `os`", "pam_pps `disk`", "`os` / best stock",
        "`disk` / best stock"]


def publishing(options):
    nothing = measure(options, "nothing", "answer", seconds=options.seconds)
    print(f"\nThe do-nothing module answers {cell(nothing)} publishes/s.")
    kept = [0, 1_000] if options.quick else [0, 10, 100, 1_000, 10_000]

    def rows():
        for keep in kept:
            yield compared(options, f"{keep:,} kept", "publish", nothing, kept=keep, seconds=options.seconds)
    table("Publish, 300 B, window 32, every publish evicts, publishes/s", HEAD + ["`os` / do-nothing"], rows())


def fanning_out(options):
    def rows():
        for subscribers in ([100] if options.quick else [100, 1_000, 10_000]):
            # Nothing is evicted: telling everybody of that as well would be two notifications for one publish.
            settings = dict(subscribers=subscribers, kept=1_000_000, window=1 if subscribers > 1_000 else 32,
                            notifications=20_000 if options.quick else 100_000)
            got = {name: measure(options, name, "fanout", **settings) for name in ("nothing", "sqlite", "os", "disk")}
            row = [f"{subscribers:,}"] + [cell(got[name]) for name in got]
            row += [ratio(got["os"], got["sqlite"]), ratio(got["os"], got["nothing"])]
            for key in ("one_ms", "stall_ms"):
                row.append(" / ".join("–" if not got[n] else f"{got[n][key]:.0f}" for n in ("nothing", "sqlite", "os")))
            yield row
    table("Notifications/s to components; one publish, and the longest ping of somebody else meanwhile, in ms "
          "(do-nothing / sqlite / `os`)",
          ["subscribers", "do-nothing", "Prosody, sqlite", "pam_pps `os`", "pam_pps `disk`", "`os` / stock",
           "`os` / do-nothing", "one publish", "longest ping"], rows())


def others(options):
    seconds = options.seconds
    def rows():
        yield compared(options, "last 10 of 1,000 items", "items", kept=1_000, seconds=seconds)
        many = 100 if options.quick else 10_000
        yield compared(options, f"subscribe/unsubscribe, {many:,} there", "subscribe", subscribers=many, kept=10,
                       seconds=seconds)
        yield compared(options, "create nodes", "create", kept=10, seconds=seconds)
    table("Other operations/s, window 32", HEAD, rows())


def starting(options):
    def first(name, nodes):
        with tempfile.TemporaryDirectory(prefix="pam_pps-bench-") as folder:
            with server(options, SERVERS[name], folder) as (live, _start):
                load(options, live, "create", nodes=nodes, kept=10, seconds=120)
            times = []
            for _ in range(options.rounds):
                with server(options, SERVERS[name], folder) as (live, start):
                    load(options, live, "first", node="node1")
                    times.append((time.monotonic() - start) * 1e3)
            return f"{statistics.median(times):.0f}"

    def rows():
        for nodes in ([10] if options.quick else [10, 10_000]):
            yield [f"{nodes:,} nodes"] + [first(name, nodes) for name in ("internal", "sqlite", "os")]
    table("Start of the process to the first answer, ms (Python's start of the runner included)",
          ["", "Prosody, internal", "Prosody, sqlite", "pam_pps `os`"], rows())


def find_load():
    command = [os.environ.get("CARGO", "cargo"), "bench", "--bench", "load", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line).get("executable") for line in built.stdout.splitlines() if '"executable"' in line]
    return [path for path in found if path][-1]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dist", type=pathlib.Path, default=PROJECT / "dist" / "prosody")
    parser.add_argument("--load", type=pathlib.Path)
    parser.add_argument("--only", choices=["publish", "fanout", "others", "start"])
    options = parser.parse_args()
    options.rounds, options.seconds = (1, 1.0) if options.quick else (3, 2.0)
    options.load = options.load or find_load()
    busy = os.getloadavg()[0]
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} processors, load before: {busy:.1f}; "
          f"medians of {options.rounds}; in brackets the server's processor time for one, µs.")
    if busy > 0.5 * os.cpu_count():
        print("\nThe machine is not quiet: only ratios, and only roughly.")
    parts = {"publish": publishing, "fanout": fanning_out, "others": others, "start": starting}
    for name, part in parts.items():
        if options.only in (None, name):
            part(options)


if __name__ == "__main__":
    main()
