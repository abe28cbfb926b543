#!/usr/bin/env python3
"""Two servers with a domain each; one of them is killed with -9 in the middle of something, and comes back.

    federation.py [--version HOST] [--other HOST]

HOST is 0.12 (as a rule) or 13, versions of Prosody, or ejabberd. Romeo's account is on the first, Juliet's nodes are on the
second, which is the other one if that is to differ. After each
check the account's list (XEP-0376), the list of the node's owner and both public lists (XEP-0465) must say the same, without
anybody doing anything. To lose just one message, a server is stopped for a moment: what is sent to it then is in its
buffers, and dies with it.

One line per check, with the seconds that it took from the return of the server; exit status 0 if all hold. Waiting times
are shortened by options: a request is overdue after two seconds, and services are asked every four what they have.
"""

import argparse
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from client import Client, ET, Server as Prosody
from dependants import PUBSUB, good
from live import free_ports

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "ejabberd"))
from server import Server as Ejabberd  # noqa: E402

PAM = "urn:xmpp:pam:0"
PPS = "urn:xmpp:pps:0"
FOLLOWING = "urn:xmpp:pps:subscriptions:0"
FOLLOWERS = "urn:xmpp:pps:subscribers:0/"
ADDRESS = "127.0.0.1"
ROMEO, JULIET = "romeo@montague.example", "juliet@capulet.example"
PATIENCE = 45
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def arguments_of(host, settings):
    """What starts a server of that kind, and its arguments."""
    if host == "ejabberd":
        # It waits up to five minutes before it tries again to connect.
        return Ejabberd, ["--option", "s2s_max_retry_delay=1"] + [
            word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return Prosody, ["--version", host, "--module", "user_account_management"] + [
        word for name, value in settings.items() for word in ("--set", f"pam_pps_{name} = {value}")]


class Side:
    """One of the two servers, on the same ports and folder each time."""

    def __init__(self, host, person, folder):
        self.domain, self.server = person.split("@")[1], None
        self.c2s, self.component, self.s2s = free_ports(ADDRESS, 3)
        self.kind, arguments = arguments_of(host, {"request_timeout": 2, "check_interval": 4})
        self.arguments = ["--host", self.domain, "--pubsub", "no", "--user", person, "--data", str(folder / self.domain),
                          "--c2s-port", str(self.c2s), "--component-port", str(self.component), "--s2s-port", str(self.s2s), *arguments]

    def start(self, other):
        self.server = self.kind(*self.arguments, "--peer", f"{other.domain}={ADDRESS}:{other.s2s}")
        self.server.__enter__()

    def signal(self, number):
        os.kill(self.server["pid"], number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.server.process.wait(20)
        self.server = None

    def stop(self):
        if self.server:
            self.signal(signal.SIGCONT)
            self.server.__exit__()


class Two:
    def __init__(self, host, other, folder):
        self.montague, self.capulet = Side(host, ROMEO, folder), Side(other, JULIET, folder)
        self.numbers = itertools.count(1)

    def __enter__(self):
        self.montague.start(self.capulet)
        self.capulet.start(self.montague)
        return self

    def __exit__(self, *_):
        self.montague.stop()
        self.capulet.stop()

    def back(self, side):
        """Starts a server that was killed; the time from now on counts."""
        side.start(self.capulet if side is self.montague else self.montague)
        self.returned = time.monotonic()

    def romeo(self):
        return Client(self.montague.server, ROMEO)

    def juliet(self):
        return Client(self.capulet.server, JULIET)

    def node(self, access="open"):
        """A new node of Juliet's. Both servers are connected, in both directions."""
        name = f"n{next(self.numbers)}"
        juliet = self.juliet()
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='{name}'/><configure><x xmlns='jabber:x:data' type='submit'>"
                              f"<field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
                              f"<field var='pubsub#access_model'><value>{access}</value></field></x></configure></pubsub>"))
        good(juliet.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.montague.domain))
        good(self.romeo().iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.capulet.domain))
        juliet.close()
        return name

    def as_seen_by_romeo(self, node):
        """His account's list, and the public one."""
        client = self.romeo()
        answer = good(client.iq("get", f"<subscriptions xmlns='{PAM}'/>"))
        states = [s.get("subscription") for s in answer.iter(f"{{{PAM}}}subscription") if s.get("node") == node]
        answer = good(client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{FOLLOWING}'/></pubsub>", to=ROMEO))
        public = [s.get("node") for s in answer.iter(f"{{{PPS}}}subscription")]
        client.close()
        return states[0] if states else "none", node in public

    def as_seen_by_juliet(self, node):
        client = self.juliet()
        answer = client.iq("get", f"<pubsub xmlns='{PUBSUB}#owner'><subscriptions node='{node}'/></pubsub>")
        states = [s.get("subscription") for s in answer.iter(f"{{{PUBSUB}#owner}}subscription") if s.get("jid") == ROMEO]
        answer = client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{FOLLOWERS}{node}'/></pubsub>", to=JULIET)
        public = [s.get("jid") for s in answer.iter(f"{{{PPS}}}subscriber")]
        client.close()
        return states[0] if states else "none", ROMEO in public

    def agree(self, node, state, public=False):
        """Waits until both servers say so, and stay with it. Gives the seconds that it took."""
        deadline = time.monotonic() + PATIENCE
        while True:
            seen = self.as_seen_by_romeo(node), self.as_seen_by_juliet(node)
            if seen == ((state, public), (state, public)):
                return f"agreed after {time.monotonic() - self.returned:.1f} s"
            assert time.monotonic() < deadline, f"Romeo sees {seen[0]}, Juliet sees {seen[1]}; wanted: {(state, public)}"
            time.sleep(0.2)

    def wait_for_juliet(self, node, state):
        deadline = time.monotonic() + PATIENCE
        while self.as_seen_by_juliet(node)[0] != state:
            assert time.monotonic() < deadline, f"Juliet's node never had Romeo as {state}"
            time.sleep(0.05)

    # Requests

    def managed(self, node, request, public=False):
        mark = f"<public xmlns='{PPS}'/>" if public else ""
        return (f"<pam xmlns='{PAM}' jid='{JULIET}'><{request} xmlns='{PUBSUB}' node='{node}' jid='{ROMEO}'>{mark}</{request}></pam>")

    def follow(self, node, public=False):
        good(self.romeo().iq("set", self.managed(node, "subscribe", public)))

    def begin(self, node, request, public=False):
        """Sends a request and does not wait for the answer, only until the account has passed it on."""
        client = self.romeo()
        client.send(f"<iq type='set' id='begun'>{self.managed(node, request, public)}</iq>")
        time.sleep(0.5)
        return client

    def as_owner(self, content):
        good(self.juliet().iq("set", f"<pubsub xmlns='{PUBSUB}#owner'>{content}</pubsub>"))

    def decide(self, node, state):
        self.as_owner(f"<subscriptions node='{node}'><subscription jid='{ROMEO}' subscription='{state}'/></subscriptions>")

    def lose_request(self, node, request, public=False):
        """The request is sent, and the service is killed before it has read it."""
        self.capulet.signal(signal.SIGSTOP)
        client = self.begin(node, request, public)
        self.capulet.kill()
        return client

    def lose_answer(self, node, request, state, public=False):
        """The service does what it was asked for, and the account's server is killed before it has read the answer."""
        self.capulet.signal(signal.SIGSTOP)
        self.begin(node, request, public)
        self.montague.signal(signal.SIGSTOP)
        self.capulet.signal(signal.SIGCONT)
        self.wait_for_juliet(node, state)
        self.montague.kill()


@check
def nothing_is_lost_when_nobody_is_killed(two):
    node = two.node()
    two.returned = time.monotonic()
    two.follow(node, public=True)
    two.agree(node, "subscribed", public=True)
    good(two.romeo().iq("set", two.managed(node, "unsubscribe")))
    return two.agree(node, "none")


@check
def subscribing_and_the_service_dies(two):
    node = two.node()
    client = two.lose_request(node, "subscribe", public=True)
    two.back(two.capulet)
    answer = client.receive(lambda e: e.get("id") == "begun")
    assert answer is not None and answer.get("type") == "error", "the client was told nothing of it"
    return two.agree(node, "none")


@check
def subscribing_and_the_server_of_the_account_dies(two):
    node = two.node()
    two.lose_answer(node, "subscribe", "subscribed", public=True)
    two.back(two.montague)
    return two.agree(node, "subscribed", public=True)


@check
def unsubscribing_and_the_service_dies(two):
    node = two.node()
    two.follow(node, public=True)
    two.lose_request(node, "unsubscribe")
    two.back(two.capulet)
    return two.agree(node, "none")


@check
def unsubscribing_while_the_service_is_away(two):
    node = two.node()
    two.follow(node)
    two.capulet.kill()
    answer = two.romeo().iq("set", two.managed(node, "unsubscribe"))
    assert answer.get("type") == "error"
    # Long enough for many refused connections.
    time.sleep(5)
    two.back(two.capulet)
    return two.agree(node, "none")


@check
def unsubscribing_and_the_server_of_the_account_dies(two):
    node = two.node()
    two.follow(node, public=True)
    two.lose_answer(node, "unsubscribe", "none")
    two.back(two.montague)
    return two.agree(node, "none")


@check
def withdrawing_the_public_mark_while_the_service_is_away(two):
    node = two.node()
    two.follow(node, public=True)
    two.capulet.kill()
    two.romeo().iq("set", two.managed(node, "subscribe"))
    assert not two.as_seen_by_romeo(node)[1], "the own list still shows it"
    time.sleep(2)
    two.back(two.capulet)
    return two.agree(node, "subscribed")


@check
def withdrawing_the_public_mark_and_the_service_dies(two):
    node = two.node()
    two.follow(node, public=True)
    two.lose_request(node, "subscribe")
    two.back(two.capulet)
    return two.agree(node, "subscribed")


@check
def approved_while_the_server_of_the_account_is_away(two):
    node = two.node("authorize")
    two.follow(node, public=True)
    assert two.as_seen_by_romeo(node) == ("pending", False)
    two.montague.kill()
    two.decide(node, "subscribed")
    two.back(two.montague)
    return two.agree(node, "subscribed", public=True)


@check
def approved_and_the_server_of_the_account_dies(two):
    node = two.node("authorize")
    two.follow(node)
    two.montague.signal(signal.SIGSTOP)
    two.decide(node, "subscribed")
    time.sleep(0.3)
    two.montague.kill()
    two.back(two.montague)
    return two.agree(node, "subscribed")


@check
def approved_by_a_service_that_was_away(two):
    node = two.node("authorize")
    two.follow(node)
    two.capulet.kill()
    two.back(two.capulet)
    two.decide(node, "subscribed")
    return two.agree(node, "subscribed")


@check
def removed_by_the_owner_while_the_server_of_the_account_is_away(two):
    node = two.node()
    two.follow(node, public=True)
    two.montague.kill()
    two.decide(node, "none")
    two.back(two.montague)
    return two.agree(node, "none")


@check
def node_deleted_while_the_server_of_the_account_is_away(two):
    node = two.node()
    two.follow(node, public=True)
    two.montague.kill()
    two.as_owner(f"<delete node='{node}'/>")
    two.back(two.montague)
    return two.agree(node, "none")


@check
def account_removed_while_the_service_is_away(two):
    node = two.node()
    two.follow(node, public=True)
    two.capulet.kill()
    romeo = two.romeo()
    good(romeo.iq("set", "<query xmlns='jabber:iq:register'><remove/></query>"))
    time.sleep(2)
    two.back(two.capulet)
    two.wait_for_juliet(node, "none")
    return f"gone after {time.monotonic() - two.returned:.1f} s"


def main(arguments):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--version", default="0.12")
    parser.add_argument("--other")
    options = parser.parse_args(arguments)
    only, failed, done = os.environ.get("PAM_PPS_ONLY", ""), 0, 0
    with tempfile.TemporaryDirectory(prefix="pam_pps-federation-") as folder:
        with Two(options.version, options.other or options.version, pathlib.Path(folder)) as two:
            for function in [c for c in CHECKS if only in c.__name__]:
                done += 1
                try:
                    print(f"ok      {function.__name__} ({function(two)})", flush=True)
                except (Exception, subprocess.TimeoutExpired):
                    failed += 1
                    print(f"FAILED  {function.__name__}", flush=True)
                    traceback.print_exc()
                    for side in (two.montague, two.capulet):
                        if side.server is None:
                            two.back(side)
                        side.signal(signal.SIGCONT)
    print(f"{done} checks, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
