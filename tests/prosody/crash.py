#!/usr/bin/env python3
"""Prosody is killed with -9, twenty times at random moments, while clients publish, retract, subscribe and unsubscribe.

    crash.py [--seed N] [--rounds N] [live.py options, for instance --version 13 or --dist DIR]

Always the same data folder. Each client remembers what was acknowledged, and what it asked for without hearing the answer.
After each kill SQLite looks at a copy of what is on the disk, and after each start the clients read everything back:

- what was acknowledged is there, what was in doubt is as before or as asked for
- of the two items of a publish, and of a retraction, both are there or neither
- the account's list (XEP-0376), the service's lists of the subscriber and of the node's owner, and both public lists
  (XEP-0465) have the same subscriptions
- the counters of the nodes are those of the rows
- what a persistent room has published is there like that of an account; of its occupants' nodes nothing is left

One line per check; exit status 0 if all hold. The seed is printed: the same one chooses the same moments and requests.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import traceback

from client import CLIENT, Client, ET, Server, counter, time
from dependants import PUBSUB, good
from live import free_ports

PAM = "urn:xmpp:pam:0"
PPS = "urn:xmpp:pps:0"
FOLLOWING = "urn:xmpp:pps:subscriptions:0"
FOLLOWERS = "urn:xmpp:pps:subscribers:0/"
RSM = "http://jabber.org/protocol/rsm"
JULIET, COMPONENT = "juliet@localhost", "pubsub.localhost"
MUC = "http://jabber.org/protocol/muc"
ROOM = "coven@rooms.localhost"
ROOMS = """
Component "rooms.localhost" "muc"
    muc_room_locking = false
    modules_enabled = { "pam_pps" }
    pam_pps_room_publish = "owners"
"""
SERVICES = {JULIET: [f"s{n}" for n in range(6)], COMPONENT: [f"c{n}" for n in range(6)]}
WINDOW = 4


def pubsub(content, part=""):
    return f"<pubsub xmlns='{PUBSUB}{part}'>{content}</pubsub>"


def enter(client, nick):
    client.send(f"<presence to='{ROOM}/{nick}'><x xmlns='{MUC}'/></presence>")
    assert client.message(lambda e: e.find(CLIENT + "subject") is not None, 20) is not None, f"{nick} is not let in"


class Items:
    """Publishes pairs of items at a node of its own, and retracts some of them. Whoever publishes in a room is in it."""

    def __init__(self, jid, service, node, choose, nick=None):
        self.jid, self.service, self.node, self.choose, self.nick = jid, service, node, choose, nick
        self.states = {}  # number of the pair -> the states it may be in
        self.next = 0
        self.busy = set()

    def request(self):
        old = [n for n, states in self.states.items() if states == {"there"} and n not in self.busy]
        if old and self.choose.random() < 0.4:
            number, after, name = self.choose.choice(old), "gone", "retract"
            inside = "".join(f"<item id='{half}{number}'/>" for half in "ab")
        else:
            self.next += 1
            number, after, name = self.next, "there", "publish"
            inside = "".join(f"<item id='{half}{number}'><x xmlns='urn:x' n='{number}'/></item>" for half in "ab")
        self.states[number] = self.states.get(number, {"gone"}) | {after}
        self.busy.add(number)

        def acknowledged():
            self.states[number] = {after}
            self.busy.discard(number)
        return self.service, pubsub(f"<{name} node='{self.node}'>{inside}</{name}>"), acknowledged

    def check(self, owner):
        answer = good(owner.iq("get", pubsub(f"<items node='{self.node}'/>"), to=self.service, timeout=20))
        found = [item.get("id") for item in answer.iter(f"{{{PUBSUB}}}item")]
        assert len(found) == len(set(found)), f"{self.node}: an item is there twice"
        for number, states in self.states.items():
            halves = [half for half in "ab" if f"{half}{number}" in found]
            assert len(halves) != 1, f"{self.node}: of the pair {number} only {halves} is there"
            state = "there" if halves else "gone"
            assert state in states, f"{self.node}: the pair {number} is {state}, it was acknowledged as {states}"
            self.states[number] = {state}
        assert len(found) == 2 * sum(states == {"there"} for states in self.states.values()), f"{self.node}: more than was published"
        page = good(owner.iq("get", pubsub(f"<items node='{self.node}'/><set xmlns='{RSM}'><max>2</max></set>"), to=self.service))
        assert int(page.findtext(f".//{{{RSM}}}count")) == len(found), f"{self.node}: the count is not that of the items"
        self.busy.clear()


class Follower:
    """Subscribes through the account, publicly or not, and unsubscribes."""

    def __init__(self, jid, choose):
        self.jid, self.choose = jid, choose
        self.states = {(service, node): {"none"} for service, nodes in SERVICES.items() for node in nodes}
        self.busy = set()

    def request(self):
        place = self.choose.choice([p for p in self.states if p not in self.busy])
        (service, node), (state,) = place, self.states[place]
        if state == "none":
            after = self.choose.choice(["public", "private"])
            mark = f"<public xmlns='{PPS}'/>" if after == "public" else ""
            content = f"<subscribe xmlns='{PUBSUB}' node='{node}' jid='{self.jid}'>{mark}</subscribe>"
        else:
            after = "none"
            content = f"<unsubscribe xmlns='{PUBSUB}' node='{node}' jid='{self.jid}'/>"
        self.states[place] = {state, after}
        self.busy.add(place)

        def acknowledged():
            self.states[place] = {after}
            self.busy.discard(place)
        return None, f"<pam xmlns='{PAM}' jid='{service}'>{content}</pam>", acknowledged

    def lists(self, client, owner):
        """What each list has: service and node, of all subscriptions and of the public ones."""
        managed, at_service, at_node, following, followers = set(), set(), set(), set(), set()
        for entry in good(client.iq("get", f"<subscriptions xmlns='{PAM}'/>")).iter(f"{{{PAM}}}subscription"):
            managed.add((entry.get("service"), entry.get("node")))
        for item in good(client.iq("get", pubsub(f"<items node='{FOLLOWING}'/>"))).iter(f"{{{PPS}}}subscription"):
            following.add((item.get("service"), item.get("node")))
        for service, nodes in SERVICES.items():
            for entry in good(client.iq("get", pubsub("<subscriptions/>"), to=service)).iter(f"{{{PUBSUB}}}subscription"):
                assert entry.get("subscription") == "subscribed", ET.tostring(entry)
                at_service.add((service, entry.get("node")))
            for node in nodes:
                answer = good(owner.iq("get", pubsub(f"<subscriptions node='{node}'/>", "#owner"), to=service))
                mine = [s for s in answer.iter(f"{{{PUBSUB}#owner}}subscription") if s.get("jid") == self.jid]
                assert len(mine) < 2, f"{self.jid} is subscribed twice to {node}"
                at_node |= {(service, node) for _ in mine}
                answer = good(owner.iq("get", pubsub(f"<items node='{FOLLOWERS}{node}'/>"), to=service))
                shown = [s for s in answer.iter(f"{{{PPS}}}subscriber") if s.get("jid") == self.jid]
                followers |= {(service, node) for _ in shown}
        return {"account": managed, "subscriber": at_service, "node": at_node}, {"following": following, "followers": followers}

    def check(self, owner, client):
        every, public = self.lists(client, owner)
        for lists in (every, public):
            first = next(iter(lists.values()))
            assert all(found == first for found in lists.values()), f"{self.jid}: the lists do not agree: {lists}"
        subscribed, shown = every["account"], public["following"]
        assert shown <= subscribed, f"{self.jid}: public without a subscription: {shown - subscribed}"
        for place, states in self.states.items():
            state = "public" if place in shown else "private" if place in subscribed else "none"
            assert state in states, f"{self.jid}: {place} is {state}, it was acknowledged as {states}"
            self.states[place] = {state}
        self.busy.clear()


class Load(threading.Thread):
    """One person at work until the connection breaks."""

    def __init__(self, server, worker, resource):
        super().__init__(daemon=True)
        self.worker, self.acknowledged, self.failed = worker, 0, None
        self.asked = 0
        self.client = Client(server, worker.jid, resource=resource)
        if getattr(worker, "nick", None):
            enter(self.client, worker.nick)
            # What an occupant publishes ends with the connection: it is there for the server to forget.
            here = pubsub("<publish node='here'><item><x xmlns='urn:x'/></item></publish>")
            good(self.client.iq("set", here, to=f"{ROOM}/{worker.nick}"))

    def run(self):
        waiting = {}
        try:
            while True:
                while len(waiting) < WINDOW:
                    to, content, done = self.worker.request()
                    number = f"l{next(counter)}"
                    waiting[number] = done
                    self.asked += 1
                    address = f" to='{to}'" if to else ""
                    self.client.send(f"<iq type='set' id='{number}'{address}>{content}</iq>")
                answer = self.client.receive(lambda e: e.tag == CLIENT + "iq" and e.get("id") in waiting, timeout=30)
                assert answer is not None and answer.get("type") == "result", \
                    "no answer" if answer is None else ET.tostring(answer).decode()
                waiting.pop(answer.get("id"))()
                self.acknowledged += 1
        except OSError:
            pass
        except AssertionError as why:
            if "stream was closed" not in str(why):
                self.failed = why


def on_disk(folder):
    """What SQLite says of a copy: the next start finds the files as the kill left them."""
    with tempfile.TemporaryDirectory() as place:
        for file in pathlib.Path(folder, "data").glob("pam_pps.sqlite*"):
            shutil.copy(file, place)
        database = sqlite3.connect(pathlib.Path(place, "pam_pps.sqlite"))
        with contextlib.closing(database):
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "integrity_check"
            assert database.execute("PRAGMA foreign_key_check").fetchall() == [], "foreign_key_check"
            wrong = database.execute(
                "SELECT name, c.items, (SELECT count(*) FROM items i WHERE i.node = n.node), c.subscribers, (SELECT count(*) FROM"
                " subscriptions s WHERE s.node = n.node AND state = 'subscribed') FROM nodes n JOIN counters c USING (node)").fetchall()
            for name, items, rows, subscribers, subscriptions in wrong:
                assert (items, subscribers) == (rows, subscriptions), f"{name} counts {items} items, {subscribers} subscribers;" \
                    f" there are {rows} and {subscriptions}"


def make_nodes(server):
    """The nodes that all this is about; Juliet owns them."""
    juliet = Client(server, JULIET)
    enter(juliet, "juliet")
    # Written by Prosody when it is configured, so that it outlives the first kill.
    config = {"FORM_TYPE": f"{MUC}#roomconfig", "muc#roomconfig_persistentroom": "1"}
    form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in config.items())
    good(juliet.iq("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>", to=ROOM))
    nodes = [(service, node) for service, nodes in SERVICES.items() for node in nodes] + [(JULIET, "n"), (COMPONENT, "m"), (ROOM, "r")]
    for service, node in nodes:
        fields = {"access_model": "open", "max_items": "max", "publish_model": "open", "notify_retract": "false"}
        if service == ROOM:
            fields["access_model"] = "presence"
        form = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in fields.items())
        good(juliet.iq("set", pubsub(f"<create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'>"
                                     f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#node_config</value></field>{form}</x>"
                                     "</configure>"), to=service))
    juliet.close()


class Play:
    def __init__(self, seed, arguments):
        self.random = random.Random(seed)
        choose = [random.Random(f"{seed} {n}") for n in range(6)]
        self.publishers = [Items(JULIET, JULIET, "n", choose[0]), Items("benvolio@localhost", COMPONENT, "m", choose[1]),
                           Items(JULIET, ROOM, "r", choose[5], "juliet")]
        self.followers = [Follower(f"{name}@localhost", choose[n]) for n, name in enumerate(["romeo", "mercutio", "benvolio"], 2)]
        self.arguments = ["--admin", JULIET, *arguments]
        ports = free_ports("127.0.0.1", 3)
        self.ports = [w for name, port in zip(("c2s", "component", "http"), ports) for w in (f"--{name}-port", str(port))]
        self.acknowledged = 0
        self.doubtful = 0

    def start(self, folder):
        config = pathlib.Path(folder, "rooms.cfg.lua")
        config.write_text(ROOMS)
        return Server("--data", folder, "--config", str(config), *self.ports, *self.arguments)

    def check(self, server):
        owner = Client(server, JULIET, resource="check")
        enter(owner, "check")
        for publisher in self.publishers:
            publisher.check(owner)
        for follower in self.followers:
            client = Client(server, follower.jid, resource="check")
            follower.check(owner, client)
            client.close()
        owner.close()
        with contextlib.closing(sqlite3.connect(pathlib.Path(server["data"], "data", "pam_pps.sqlite"))) as database:
            left = database.execute("SELECT count(*) FROM services WHERE jid LIKE '/%'").fetchone()[0]
        assert left == 0, f"{left} occupants are still in the database"

    def kill_once(self, server):
        """Load, then the end; how many requests were acknowledged, and how many were not."""
        workers = [*self.publishers, *self.followers]
        loads = [Load(server, worker, f"load{n}") for n, worker in enumerate(workers)]
        for one in loads:
            one.start()
        # At a random moment, but before a node has more items than it keeps, however fast the machine is.
        enough = self.random.randrange(20, 600)
        while sum(one.acknowledged for one in loads) < enough and all(one.is_alive() for one in loads):
            time.sleep(0.001)
        os.kill(server["pid"], signal.SIGKILL)
        for one in loads:
            one.join(30)
            if one.failed:
                raise one.failed
        assert all(one.acknowledged for one in loads) or sum(one.acknowledged for one in loads) >= 20, "nobody worked"
        acknowledged = sum(one.acknowledged for one in loads)
        return acknowledged, sum(one.asked for one in loads) - acknowledged

    def play(self, rounds):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(rounds + 1):
                with self.start(folder) as server:
                    if number == 0:
                        make_nodes(server)
                    else:
                        self.check(server)
                    if number == rounds:
                        return
                    acknowledged, doubtful = self.kill_once(server)
                on_disk(folder)
                self.acknowledged += acknowledged
                self.doubtful += doubtful
                print(f"        kill {number + 1}: {acknowledged} acknowledged, {doubtful} in doubt", flush=True)


def main(argv):
    parser = argparse.ArgumentParser(usage=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PAM_PPS_SEED") or random.SystemRandom().randrange(10**6)))
    parser.add_argument("--rounds", type=int, default=20)
    options, rest = parser.parse_known_args(argv)
    play = Play(options.seed, rest)
    print(f"        seed {options.seed}")
    begin = time.monotonic()
    try:
        play.play(options.rounds)
    except Exception:
        print(f"FAILED  what_was_acknowledged_survives (--seed {options.seed})", flush=True)
        traceback.print_exc()
        return 1
    print(f"ok      what_was_acknowledged_survives ({options.rounds} kills, {play.acknowledged} acknowledged, {play.doubtful} in doubt,"
          f" {time.monotonic() - begin:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
