#!/usr/bin/env python3
"""The VM is killed with signal 9 twenty times under load: what was acknowledged is there, and all lists agree.

    crash.py [live.py options, for instance --dist DIR]

Three people publish on their accounts and on a service, and subscribe through their accounts (XEP-0376), as fast as they are
answered. In the environment: CRASHES (20). One line per check; exit status 0 if all hold.
"""

import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import Client, ET  # noqa: E402
from server import Server  # noqa: E402

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = PUBSUB + "#owner"
PAM = "urn:xmpp:pam:0"
PEOPLE = ["romeo", "mercutio", "benvolio"]
CRASHES = int(os.environ.get("CRASHES", "20"))


def good(answer):
    assert answer.get("type") == "result", ET.tostring(answer).decode()
    return answer


def create(node):
    field = "<field var='pubsub#{}'><value>{}</value></field>".format
    return (f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#node_config</value></field>"
            + field("max_items", "max") + field("access_model", "open") + field("publish_model", "open")
            + "</x></configure></pubsub>")


def publish(node, item):
    return (f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'><note xmlns='urn:example:note'>x</note></item>"
            "</publish></pubsub>")


def listed(client, node, to=None):
    """All ids, page by page."""
    found, after = [], ""
    while True:
        answer = good(client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/>"
                                       f"<set xmlns='http://jabber.org/protocol/rsm'><max>500</max>{after}</set></pubsub>", to))
        page = [item.get("id") for item in answer.iter("{%s}item" % PUBSUB)]
        found += page
        last = answer.find(".//{http://jabber.org/protocol/rsm}last")
        if len(page) < 500 or last is None:
            return found
        after = f"<after>{last.text}</after>"


class Person:
    """What one of them was promised."""

    def __init__(self, name):
        self.name = name
        self.jid = f"{name}@localhost"
        self.own, self.common, self.tried = [], [], set()
        self.subscribed = None  # what the last answer said, None while one is missing
        self.number = self.changes = 0

    def work(self, server, stop):
        try:
            client = Client(server, self.jid)
            while not stop.is_set():
                self.number += 1
                item = f"{self.name}-{self.number}"
                self.tried.add(item)
                good(client.iq("set", publish("urn:x:own", item)))
                self.own.append(item)
                good(client.iq("set", publish("common", item), server["pubsub"]))
                self.common.append(item)
                want = not self.subscribed
                self.subscribed = None
                request = "subscribe" if want else "unsubscribe"
                answer = client.iq("set", f"<pam xmlns='{PAM}' jid='{server['pubsub']}'>"
                                          f"<{request} xmlns='{PUBSUB}' node='wanted' jid='{self.jid}'/></pam>")
                if answer.get("type") == "result":
                    self.subscribed = want
                    self.changes += 1
        except (OSError, AssertionError) as why:
            if not stop.is_set():
                self.failure = why


def subscribers(client, server):
    answer = good(client.iq("get", f"<pubsub xmlns='{OWNER}'><subscriptions node='wanted'/></pubsub>", server["pubsub"]))
    return {s.get("jid") for s in answer.iter("{%s}subscription" % OWNER) if s.get("subscription") == "subscribed"}


def agree(server, people, juliet):
    for person in people:
        client = Client(server, person.jid)
        for kept, node, to in ((person.own, "urn:x:own", None), (person.common, "common", server["pubsub"])):
            found = [item for item in listed(client, node, to) if item.startswith(person.name + "-")] if kept else []
            assert len(found) == len(set(found)), f"{person.name}: an item is there twice"
            missing = set(kept) - set(found)
            assert not missing, f"{person.name}: acknowledged, but not in {node}: {sorted(missing)[:5]}"
            assert set(found) <= person.tried, f"{person.name}: items that nobody published"
        # The account's list and the service's own agree, whatever was under way.
        deadline = time.monotonic() + 15
        while True:
            answer = good(client.iq("get", f"<subscriptions xmlns='{PAM}'/>"))
            mine = any(e.get("node") == "wanted" for e in answer.iter("{%s}subscription" % PAM))
            theirs = person.jid in subscribers(juliet, server)
            if mine == theirs or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert mine == theirs, f"{person.name}: the account says {mine}, the service says {theirs}"
        if person.subscribed is not None:
            assert mine == person.subscribed, f"{person.name} was told {person.subscribed}, and it is {mine}"
        person.subscribed = mine
        client.close()


def crashes(folder, arguments):
    people = [Person(name) for name in PEOPLE]
    randomness = random.Random(20)
    for crash in range(CRASHES + 1):
        with Server("--data", folder / "data", *arguments) as server:
            juliet = Client(server, "juliet@localhost")
            if crash == 0:
                good(juliet.iq("set", create("common"), server["pubsub"]))
                good(juliet.iq("set", create("wanted"), server["pubsub"]))
                for person in people:
                    good(Client(server, person.jid).iq("set", create("urn:x:own")))
            else:
                agree(server, people, juliet)
            if crash == CRASHES:
                break
            stop = threading.Event()
            workers = [threading.Thread(target=person.work, args=(server, stop)) for person in people]
            for worker in workers:
                worker.start()
            # At a random moment, but before a node has more items than it keeps, however fast the machine is.
            enough = sum(person.number for person in people) + randomness.randrange(60, 400)
            deadline = time.monotonic() + 5
            while sum(person.number for person in people) < enough and time.monotonic() < deadline:
                time.sleep(0.001)
            stop.set()
            os.kill(server["pid"], signal.SIGKILL)
            for worker in workers:
                worker.join()
        failures = [f"{p.name}: {p.failure}" for p in people if hasattr(p, "failure")]
        assert not failures, failures
    assert all(len(person.own) > CRASHES for person in people), [len(person.own) for person in people]
    assert all(person.changes > CRASHES for person in people), [person.changes for person in people]
    return sum(len(person.own) + len(person.common) for person in people)


def main(arguments):
    with tempfile.TemporaryDirectory(prefix="pam_pps-crash-") as folder:
        try:
            kept = crashes(pathlib.Path(folder), arguments)
            print(f"ok killed {CRASHES} times, {kept} acknowledged items are there, and the lists agree", flush=True)
            return 0
        except Exception:
            print(f"FAILED killed {CRASHES} times\n{traceback.format_exc()}", flush=True)
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
