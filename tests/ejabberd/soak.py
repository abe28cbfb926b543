#!/usr/bin/env python3
"""Mixed load from many sessions for a while: at its end, memory, descriptors, threads and queues are what they were before.

    soak.py [--seconds 20] [--accounts 60] [--every SECONDS] [live.py options, for instance --version 26]

Every account has a session and two contacts. The sessions publish on their accounts (contacts are told by their capabilities)
and on a service, follow nodes through their accounts with a public mark (XEP-0376, XEP-0465) and leave them, read lists and items,
and come back after their connection was cut. Each answer is looked at. A table shows the server over the
time; one line per check follows. Exit status 0 if all hold.
"""

import argparse
import base64
import collections
import hashlib
import os
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import Client, ET  # noqa: E402
from crash import PUBSUB, create, good, publish  # noqa: E402
from host import evaluate, probe  # noqa: E402
from server import Server  # noqa: E402

PAM, PPS = "urn:xmpp:pam:0", "urn:xmpp:pps:0"
INFO = "http://jabber.org/protocol/disco#info"
MOOD = "urn:example:mood"
NODES, WORKERS, SAMPLES = 20, 6, 30
FEATURES = "".join(f"<feature var='{name}'/>" for name in (INFO, MOOD + "+notify"))
VER = base64.b64encode(hashlib.sha1(f"client/pc//<{INFO}<{MOOD}+notify<".encode()).digest()).decode()
PRESENCE = f"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:example:soak' ver='{VER}'/></presence>"


class Session:
    """An account that does one thing after the other."""

    def __init__(self, server, number, accounts):
        self.server, self.number, self.accounts = server, number, accounts
        self.followed, self.events = set(), 0
        self.connect()

    def connect(self):
        self.client = Client(self.server, jid(self.number))
        self.client.send(PRESENCE)

    def ask(self, kind, content, to=None):
        answer = good(self.client.iq(kind, content, to, timeout=60))
        for stanza in self.client.pending:
            if stanza.tag.endswith("message"):
                self.events += 1
            elif stanza.get("type") == "get" and stanza.find(f"{{{INFO}}}query") is not None:
                node = stanza.find(f"{{{INFO}}}query").get("node")
                self.client.send(f"<iq type='result' id='{stanza.get('id')}' to='{stanza.get('from')}'><query xmlns='{INFO}'"
                                 f" node='{node}'><identity category='client' type='pc'/>{FEATURES}</query></iq>")
        self.client.pending.clear()
        return answer

    # What a session does

    def publishes_on_its_account(self):
        self.ask("set", publish(MOOD, "current"))

    def publishes_on_the_service(self):
        self.ask("set", publish(f"n{random.randrange(NODES)}", f"{self.number}-{random.randrange(100)}"), self.server["pubsub"])

    def follows_or_leaves(self):
        node = f"n{random.randrange(NODES)}"
        request = "unsubscribe" if node in self.followed else "subscribe"
        mark = f"<public xmlns='{PPS}'/>" if request == "subscribe" else ""
        self.ask("set", f"<pam xmlns='{PAM}' jid='{self.server['pubsub']}'><{request} xmlns='{PUBSUB}' node='{node}'"
                        f" jid='{jid(self.number)}'>{mark}</{request}></pam>")
        self.followed ^= {node}

    def reads_its_list(self):
        answer = self.ask("get", f"<subscriptions xmlns='{PAM}'/>")
        listed = {s.get("node") for s in answer.iter(f"{{{PAM}}}subscription")}
        assert listed == self.followed, f"{jid(self.number)} follows {self.followed}, and its list has {listed}"

    def reads_a_public_list(self):
        node = "urn:xmpp:pps:subscriptions:0"
        other = jid(random.choice([self.number, (self.number + 1) % self.accounts]))
        self.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", other)

    def reads_items(self):
        self.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='n{random.randrange(NODES)}' max_items='5'/></pubsub>",
                 self.server["pubsub"])

    def comes_back(self):
        self.client.socket.close()
        self.connect()

    ACTIONS = {publishes_on_its_account: 4, publishes_on_the_service: 4, follows_or_leaves: 4, reads_its_list: 2,
               reads_a_public_list: 2, reads_items: 2, comes_back: 1}

    def does_something(self):
        random.choices(list(self.ACTIONS), list(self.ACTIONS.values()))[0](self)


def jid(number):
    return f"user{number}@localhost"


class Worker(threading.Thread):
    """Some of the sessions, one action at a time."""

    def __init__(self, server, numbers, accounts):
        super().__init__(daemon=True)
        self.arguments = server, numbers, accounts
        self.ready, self.stop = threading.Event(), threading.Event()
        self.done, self.sessions, self.failure = 0, [], None

    def run(self):
        try:
            server, numbers, accounts = self.arguments
            for number in numbers:
                self.sessions.append(Session(server, number, accounts))
            self.ready.set()
            while not self.stop.is_set():
                random.choice(self.sessions).does_something()
                self.done += 1
        except (OSError, AssertionError):
            self.failure = traceback.format_exc()
        self.ready.set()


Sample = collections.namedtuple("Sample", "seconds actions memory heap descriptors threads processes queued longest")


def sample(server, begin, actions):
    folder = pathlib.Path("/proc") / str(server["pid"])
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    heap, processes, queued, longest = evaluate(
        server, "begin Q = [N || P <- processes(), {_, N} <- [process_info(P, message_queue_len)]],"
                " {erlang:memory(total), length(Q), lists:sum(Q), lists:max(Q)} end").strip("{}").split(",")
    return Sample(round(time.monotonic() - begin), actions, int(status["VmRSS"].split()[0]) / 1024, int(heap) / 2**20,
                  len(os.listdir(folder / "fd")), int(status["Threads"]), int(processes), int(queued), int(longest))


def shown(head, values):
    print(f"{head:6} " + " ".join(f"{v:>11.0f}" if isinstance(v, (int, float)) else f"{v:>11}" for v in values), flush=True)


def soak(server, options):
    juliet = Client(server, jid(0), resource="owner")
    for number in range(NODES):
        good(juliet.iq("set", create(f"n{number}").replace("<value>max</value>", "<value>50</value>"), server["pubsub"]))
    juliet.close()
    begin = time.monotonic()
    time.sleep(1)
    idle = sample(server, begin, 0)
    workers = [Worker(server, range(n, options.accounts, WORKERS), options.accounts) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.ready.wait()
    shown("", Sample._fields)
    shown("idle", idle)
    begin, samples = time.monotonic(), []
    every = options.every or options.seconds / SAMPLES
    while time.monotonic() - begin < options.seconds and not any(w.failure for w in workers):
        time.sleep(every)
        samples.append(sample(server, begin, sum(w.done for w in workers)))
        shown("load", samples[-1])
    for worker in workers:
        worker.stop.set()
    for worker in workers:
        worker.join()
        assert not worker.failure, worker.failure
    sessions = [session for worker in workers for session in worker.sessions]
    events = sum(session.events for session in sessions)
    quiet = sample(server, begin, samples[-1].actions)
    deadline = time.monotonic() + 10
    while quiet.queued and time.monotonic() < deadline:
        time.sleep(0.2)
        quiet = sample(server, begin, samples[-1].actions)
    shown("still", quiet)
    for session in sessions:
        session.client.close()
    deadline = time.monotonic() + 30
    while True:
        gone = sample(server, begin, samples[-1].actions)
        if is_back(idle, gone) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    shown("gone", gone)
    return idle, samples, quiet, gone, events


def is_back(idle, now):
    """A few are those of the server's own work."""
    return now.descriptors <= idle.descriptors + 8 and now.processes <= idle.processes + 16


def checks(idle, samples, quiet, gone, events, accounts):
    """What has to hold, with the figures."""
    third = len(samples) // 3
    middle, last = samples[third:2 * third], samples[-third:]
    before, after = (statistics.median(s.memory for s in part) for part in (middle, last))
    yield "everything was answered", samples[-1].actions > accounts, f"{samples[-1].actions} actions"
    yield "events came", events > accounts, f"{events} of them"
    yield "memory is flat", after < before * 1.1 + 4, f"{before:.0f} MiB in the second third, {after:.0f} MiB in the last"
    most = [max(s.descriptors for s in part) for part in (middle, last)]
    yield "descriptors are flat", most[1] <= most[0] + 16, f"at most {most[0]} in the second third, {most[1]} in the last"
    yield "threads are flat", max(s.threads for s in last) == max(s.threads for s in samples[:-third]), f"{last[-1].threads}"
    yield "queues are short", max(s.longest for s in samples) < 10 * accounts, f"at most {max(s.longest for s in samples)} in one"
    yield "queues run empty", quiet.queued == 0, f"{quiet.queued} left"
    yield "nothing is left of the sessions", is_back(idle, gone), (
        f"{idle.descriptors} descriptors and {idle.processes} processes before, {gone.descriptors} and {gone.processes} after")


def main(arguments):
    parser = argparse.ArgumentParser(usage=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--accounts", type=int, default=60)
    parser.add_argument("--every", type=float)
    options, rest = parser.parse_known_args(arguments)
    random.seed(20)
    people = [jid(number) for number in range(options.accounts)]
    settings = [word for name in people for word in ("--user", name)]
    for number, name in enumerate(people):
        settings += ["--contacts", f"{name},{people[(number + 1) % options.accounts]}"]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pam_pps-soak-") as folder:
        with Server(*settings, *probe(pathlib.Path(folder)), *rest) as server:
            for what, holds, figures in checks(*soak(server, options), options.accounts):
                failed += not holds
                print(f"{'ok' if holds else 'FAILED'} {what}: {figures}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
