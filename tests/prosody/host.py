#!/usr/bin/env python3
"""What the module owes to the server that loads it: options, old data, reload, crash, shutdown, a loop that is never held up.

    host.py [live.py options, for instance --version 13 or --dist DIR]

One line per check; exit status 0 if all hold.
"""

import base64
import contextlib
import hashlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback

from client import Client, component, ET, HERE, receive, Server, time
from dependants import ATOM, EVENT, PUBSUB, event_about, good, interested, items, publish, shell

CHECKS = []
ENTRY = f"<entry xmlns='{ATOM}'><title>%s</title></entry>"


def check(function):
    CHECKS.append(function)
    return function


def threads_and_files(server):
    process = pathlib.Path(f"/proc/{server['pid']}")
    files = [os.readlink(f) for f in (process / "fd").iterdir()]
    own = [f for f in files if "eventfd" in f and "eventpoll" not in f or "pam_pps.sqlite" in f]
    return len(list((process / "task").iterdir())), sorted(own)


def wait_for(condition, what, timeout=10):
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return result


def module(server, action, host):
    out = shell(server, f"module:{action}('pam_pps', '{host}')")
    assert "rror" not in out, out


@check
def wrong_options_are_refused(arguments):
    for option, name in (("pam_pps_comit = 'os'", "pam_pps_comit"), ("pam_pps_commit = 'maybe'", "commit"),
                         ("pam_pps_max_nodes = 'many'", "max_nodes"), ("pam_pps_database = { 1 }", "pam_pps_database"),
                         ("pam_pps_batch_size = 0", "pam_pps_batch_size"),
                         ("pam_pps_force_node_config = { x = { acces_model = 'open' } }", "acces_model")):
        with Server("--set", option, *arguments) as server:
            wait_for(lambda: any(name in line for line in server.log().splitlines() if "\terror\t" in line and "pam_pps" in line),
                     f"{option} was accepted")


@check
def settings_of_nodes(arguments):
    forced = "pam_pps_force_node_config = { ['urn:x:*'] = { access_model = 'open' }, ['urn:x:mine*'] = { access_model = 'whitelist' } }"
    begins = "pam_pps_default_node_config = { max_items = 3, ['urn:x:*'] = { title = 'X', roster_groups_allowed = { 'B', 'A' } } }"
    with Server("--set", forced, "--set", begins, *arguments) as server:
        juliet, romeo = Client(server, "juliet@localhost"), Client(server, "romeo@localhost")
        good(juliet.iq("set", publish("urn:x:keys", "1", ENTRY % 1)))
        good(juliet.iq("set", publish("urn:x:mine:1", "1", ENTRY % 1)))
        good(romeo.iq("get", items("urn:x:keys"), to="juliet@localhost"))
        assert romeo.iq("get", items("urn:x:mine:1"), to="juliet@localhost").get("type") == "error"
        shown = good(juliet.iq("get", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='urn:x:keys'/></pubsub>"))
        fields = {f.get("var"): [v.text for v in f.findall("{jabber:x:data}value")] for f in shown.iter("{jabber:x:data}field")}
        assert (fields["pubsub#max_items"], fields["pubsub#title"]) == (["3"], ["X"]), fields
        assert fields["pubsub#roster_groups_allowed"] == ["A", "B"], fields


def move_over(arguments, kept):
    """kept(folder): what the old data is, in a form that can be compared."""
    with tempfile.TemporaryDirectory() as folder:
        with Server("--backend", "stock", "--admin", "juliet@localhost", "--data", folder, *arguments) as server:
            juliet = Client(server, "juliet@localhost")
            romeo = Client(server, "romeo@localhost")
            for n in range(30):
                good(juliet.iq("set", publish("urn:xmpp:microblog:0", f"post-{n}", ENTRY % n, access_model="open", max_items="20")))
            good(juliet.iq("set", publish("urn:xmpp:tune", "current", "<tune xmlns='http://jabber.org/protocol/tune'/>")))
            good(romeo.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='urn:xmpp:microblog:0' jid='romeo@localhost'/></pubsub>",
                          to="juliet@localhost"))
            good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='news'/></pubsub>", to="pubsub.localhost"))
            good(juliet.iq("set", publish("news", "one", ENTRY % "One &amp; &lt;only&gt;"), to="pubsub.localhost"))
            good(romeo.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='news' jid='romeo@localhost'/></pubsub>",
                          to="pubsub.localhost"))
        before = kept(pathlib.Path(folder))
        assert before and all(before)
        for start in (1, 2):
            with Server("--data", folder, *arguments) as server:
                romeo = Client(server, "romeo@localhost")
                romeo.send("<presence/>")
                juliet = Client(server, "juliet@localhost")
                answer = good(romeo.iq("get", items("urn:xmpp:microblog:0"), to="juliet@localhost"))
                ids = [i.get("id") for i in answer.iter(f"{{{PUBSUB}}}item")]
                assert ids == [f"post-{n}" for n in range(10, 30)], ids
                answer = good(romeo.iq("get", items("news"), to="pubsub.localhost"))
                assert answer.findtext(f".//{{{ATOM}}}title") == "One & <only>", ET.tostring(answer)
                good(juliet.iq("get", items("urn:xmpp:tune")))
                answer = romeo.iq("get", items("urn:xmpp:tune"), to="juliet@localhost")
                assert answer.get("type") == "error", "a node for contacts became open"
                good(juliet.iq("set", publish("urn:xmpp:microblog:0", "post-29", ENTRY % "again")))
                assert romeo.message(event_about("urn:xmpp:microblog:0")), "the subscription was lost"
                reports = server.log().count("Took over the data of juliet@localhost: 2 nodes, 21 items, 1 subscriptions")
                assert reports == 1, (start, reports)
        assert kept(pathlib.Path(folder)) == before, "the old data was touched"


@check
def old_data_moves_over(arguments):
    def kept(folder):
        files = [f for f in pathlib.Path(folder, "data").rglob("*") if f.is_file() and ("pep" in str(f) or "pubsub_" in str(f))]
        return {f: hashlib.sha256(f.read_bytes()).digest() for f in files}
    move_over(arguments, kept)


@check
def old_data_moves_over_from_sql(arguments):
    def kept(folder):
        with contextlib.closing(sqlite3.connect(folder / "data" / "prosody.sqlite")) as database:
            where = "WHERE store LIKE 'pep%' OR store LIKE 'pubsub%' ORDER BY 1, 2, 3, 4, 5, 6"
            return database.execute(f"SELECT * FROM prosody {where}").fetchall(), \
                database.execute(f"SELECT * FROM prosodyarchive {where}").fetchall()
    move_over(["--set", 'storage = { accounts = "internal"; roster = "internal" }', "--set", 'default_storage = "sql"',
               "--set", 'sql = { driver = "SQLite3"; database = "prosody.sqlite" }', *arguments], kept)


@check
def old_data_moves_over_at_once(arguments):
    with tempfile.TemporaryDirectory() as folder:
        with Server("--backend", "stock", "--data", folder, *arguments) as server:
            for name in ("romeo", "juliet"):
                client = Client(server, f"{name}@localhost")
                good(client.iq("set", publish("urn:xmpp:tune", "current", "<tune xmlns='http://jabber.org/protocol/tune'/>")))
        with Server("--data", folder, *arguments) as server:
            out = shell(server, "pam_pps:import('localhost')")
            wait_for(lambda: "Took over the data of romeo@localhost" in server.log()
                     and "Took over the data of juliet@localhost" in server.log(), out)


@check
def reload_leaves_nothing_behind(arguments):
    with Server("--contacts", "romeo@localhost,juliet@localhost", *arguments) as server:
        romeo = Client(server, "romeo@localhost")
        romeo.send("<presence/>")
        juliet = Client(server, "juliet@localhost")
        good(romeo.iq("set", publish("n", "1", ENTRY % 1)))
        good(juliet.iq("get", items("n"), to="romeo@localhost"))  # the threads that read are started when needed
        threads, files = threads_and_files(server)
        for _ in range(3):
            for host in ("localhost", "pubsub.localhost"):
                module(server, "reload", host)
        good(romeo.iq("set", publish("n", "2", ENTRY % 2)))
        answer = good(juliet.iq("get", items("n"), to="romeo@localhost"))
        assert "2" in ET.tostring(answer).decode()
        assert threads_and_files(server) == (threads, files), (threads, files, threads_and_files(server))
        for host in ("localhost", "pubsub.localhost"):
            module(server, "unload", host)
        left = threads_and_files(server)
        assert left[1] == [] and left[0] < threads, left
        answer = romeo.iq("get", items("n"))
        assert answer.get("type") == "error", "still answered after the module was unloaded"
        for host in ("localhost", "pubsub.localhost"):
            module(server, "load", host)
        good(juliet.iq("get", items("n"), to="romeo@localhost"))
        assert threads_and_files(server) == (threads, files)
        assert "\terror\t" not in server.log(), [line for line in server.log().splitlines() if "\terror\t" in line]
    assert server.status == 0


@check
def a_killed_server_comes_back(arguments):
    with tempfile.TemporaryDirectory() as folder:
        with Server("--data", folder, *arguments) as server:
            romeo = Client(server, "romeo@localhost")
            acknowledged = 0
            for n in range(200):
                good(romeo.iq("set", publish("n", f"i{n}", ENTRY % n, max_items="max")))
                acknowledged = n
            os.kill(server["pid"], signal.SIGKILL)
            # It says so by itself, unless it is told to end before it has seen it.
            server.process.wait(30)
        assert server.status == 1
        with Server("--data", folder, *arguments) as server:
            romeo = Client(server, "romeo@localhost")
            answer = good(romeo.iq("get", items("n")))
            assert len(list(answer.iter(f"{{{PUBSUB}}}item"))) == acknowledged + 1


@check
def a_large_fan_out_lets_others_in_between(arguments):
    count = 5000
    with Server("--external", "crowd.example=s", "--admin", "juliet@localhost", *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='news'/></pubsub>", to="pubsub.localhost"))
        crowd = component(server, "crowd.example", "s")
        for n in range(count):
            crowd.sendall(f"<iq type='set' id='s{n}' from='u{n}@crowd.example' to='pubsub.localhost'><pubsub xmlns='{PUBSUB}'>"
                          f"<subscribe node='news' jid='u{n}@crowd.example'/></pubsub></iq>".encode())
        data = b""
        crowd.settimeout(30)
        while data.count(b"subscription='subscribed'") + data.count(b'subscription="subscribed"') < count:
            data += receive(crowd)
        romeo = Client(server, "romeo@localhost")
        juliet.send(f"<iq type='set' id='p' to='pubsub.localhost'>{publish('news', 'x', ENTRY % 'x')}</iq>")
        slowest = 0
        got, data = 0, b""
        crowd.setblocking(False)
        deadline = time.monotonic() + 20
        while got < count and time.monotonic() < deadline:
            begin = time.monotonic()
            good(romeo.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to="localhost"))
            slowest = max(slowest, time.monotonic() - begin)
            try:
                data += receive(crowd)
            except BlockingIOError:
                pass
            got = data.count(b"</message>")
        assert got == count, (got, count)
        text = data.decode()
        for n in (0, 1, count // 2, count - 1):
            assert f"u{n}@crowd.example" in text
        return f"{count} notifications, slowest ping between them {slowest * 1000:.0f} ms"


class Elsewhere(threading.Thread):
    """A contact at another server: answers presence probes and the query about what she wants; remembers who sent events."""

    def __init__(self, server, jid, wanted):
        super().__init__(daemon=True)
        self.jid, self.probes, self.events = jid, [], []
        self.features = sorted(["http://jabber.org/protocol/disco#info", wanted + "+notify"])
        text = "client/pc//far<" + "".join(f + "<" for f in self.features)
        self.ver = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
        self.stream = component(server, jid.split("/")[0].split("@")[1], "s")
        self.parser = ET.XMLPullParser(["start", "end"])
        self.parser.feed("<stream xmlns='jabber:component:accept'>")
        self.start()

    def say(self, name, to, attributes, content):
        self.stream.sendall(f"<{name} from='{self.jid}' to='{to}' {attributes}>{content}</{name}>".encode())

    def hear(self, stanza):
        name, sender = stanza.tag.rpartition("}")[2], stanza.get("from")
        if name == "presence" and stanza.get("type") == "probe":
            self.probes.append(sender)
            self.say("presence", sender, "", f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:far' ver='{self.ver}'/>")
        elif name == "iq" and stanza.get("type") == "get":
            self.say("iq", sender, f"type='result' id='{stanza.get('id')}'",
                     "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' name='far'/>"
                     + "".join(f"<feature var='{f}'/>" for f in self.features) + "</query>")
        elif name == "message":
            self.events += [item.get("id") for item in stanza.iter(f"{{{EVENT}}}item")]

    def run(self):
        depth = 0
        try:
            self.stream.settimeout(None)
            while True:
                self.parser.feed(receive(self.stream))
                for kind, element in self.parser.read_events():
                    depth += 1 if kind == "start" else -1
                    if kind == "end" and depth == 1:
                        self.hear(element)
        except (AssertionError, OSError):
            pass


@check
def contacts_are_known_after_a_reload(arguments):
    with Server("--contacts", "romeo@localhost,juliet@localhost", "--roster", "romeo@localhost=juliet@far.example:both",
                "--roster", "romeo@localhost=stranger@far.example:none", "--external", "far.example=s", *arguments) as server:
        far = Elsewhere(server, "juliet@far.example/attic", "n")
        romeo = Client(server, "romeo@localhost", resource="phone")
        romeo.send("<presence/>")
        juliet = Client(server, "juliet@localhost")
        interested(juliet, "n")
        wait_for(lambda: far.probes, "Prosody itself asks")

        def heard(item):
            # The capabilities of the contact elsewhere are asked for once she is known.
            good(romeo.iq("set", publish("n", item, ENTRY % item)))
            return juliet.message(lambda e: event_about("n")(e) and e.find(f".//{{{EVENT}}}item[@id='{item}']") is not None, 2) \
                is not None and wait_for(lambda: item in far.events, f"{item} did not go elsewhere: {far.events}", 3)
        time.sleep(0.5)
        assert heard("at login"), "not even before"
        module(server, "reload", "localhost")
        time.sleep(0.5)
        assert heard("after a reload"), "the contact was forgotten"
        for action in ("unload", "load"):
            for host in ("localhost", "pubsub.localhost"):
                module(server, action, host)
        time.sleep(0.5)
        assert heard("after a new start"), "the contact was forgotten"
        assert far.probes == ["romeo@localhost/phone", "romeo@localhost", "romeo@localhost"], far.probes
        assert "\terror\t" not in server.log(), [line for line in server.log().splitlines() if "\terror\t" in line]


@check
def what_a_handler_does_to_one_copy_stays_there(arguments):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "mod_meddle.lua").write_text("""
            module:hook("message/bare", function (event)
                if not event.stanza:get_child("meddled", "urn:meddle") then
                    event.stanza:tag("meddled", { xmlns = "urn:meddle" }):up();
                    event.stanza.attr.type = "normal";
                end
            end, 1000);""")
        with Server("--plugins", folder, "--module", "meddle", "--admin", "juliet@localhost", "--set", "pam_pps_batch_size = 1",
                    "--external", "far.example=s", *arguments) as server:
            far = component(server, "far.example", "s")
            clients = [Client(server, f"{name}@localhost") for name in ("juliet", "romeo", "mercutio", "benvolio")]
            good(clients[0].iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='n'/></pubsub>", to="pubsub.localhost"))
            for client in clients:
                client.send("<presence/>")
                good(client.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='n' jid='{client.bare}'/></pubsub>",
                               to="pubsub.localhost"))
            far.sendall(f"<iq type='set' id='s' from='u@far.example' to='pubsub.localhost'><pubsub xmlns='{PUBSUB}'>"
                        "<subscribe node='n' jid='u@far.example'/></pubsub></iq>".encode())
            wait_for(lambda: b"subscribed" in receive(far), "no answer")
            good(clients[0].iq("set", publish("n", "x", ENTRY % "x"), to="pubsub.localhost"))
            ids = set()
            for client in clients:
                message = client.message(event_about("n"))
                assert message is not None and message.get("to") == client.bare, f"no event for {client.bare}"
                assert len(list(message.iter("{urn:meddle}meddled"))) == 1, ET.tostring(message)
                ids.add(message.get("id"))
            assert len(ids) == len(clients), ids
            data = receive(far).decode()
            assert "headline" in data and "meddled" not in data, data


ROOMS = """
Component "rooms.localhost" "muc"
    muc_room_locking = false
    modules_enabled = { "pam_pps", "town_crier" }
"""
CRIER = """
module:hook("muc-occupant-groupchat", function (event)
    if event.stanza:get_child_text("body") == "cry" then
        local payload = require "util.stanza".stanza("said", { xmlns = "urn:cry" });
        module:fire_event("pam_pps/publish-as-room", { room = event.room, node = "urn:cry", payload = payload, id = "cried" });
    end
end);
"""


def publish_by_command(server, admin):
    """The ad-hoc command of the chat service: for administrators, who are told what is wrong."""
    commands, name = "http://jabber.org/protocol/commands", "urn:pam_pps:publish-as-room"

    def run(client, content="", **attributes):
        more = "".join(f" {key}='{value}'" for key, value in attributes.items())
        return client.iq("set", f"<command xmlns='{commands}' node='{name}'{more}>{content}</command>", to="rooms.localhost")

    def fill(room, payload):
        session = good(run(admin)).find(f"{{{commands}}}command").get("sessionid")
        fields = {"FORM_TYPE": name, "room": room, "node": "urn:cry", "id": "told", "payload": payload}
        form = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields.items())
        done = good(run(admin, f"<x xmlns='jabber:x:data' type='submit'>{form}</x>", sessionid=session, action="complete"))
        return done.find(f".//{{{commands}}}note")
    romeo = Client(server, "romeo@localhost")
    assert run(romeo).find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden") is not None, "a command for everybody"
    said = fill("coven@rooms.localhost", "&lt;said xmlns='urn:cry'/&gt;")
    assert said.get("type") == "info" and "told" in said.text, ET.tostring(said)
    event = admin.message(lambda e: e.find(f".//{{{EVENT}}}item[@id='told']") is not None)
    assert event is not None and event.get("from") == "coven@rooms.localhost", "the command did not publish"
    for room, payload, why in [("cave@rooms.localhost", "&lt;x/&gt;", "item-not-found"), ("coven@rooms.localhost", "cry", "no XML")]:
        said = fill(room, payload)
        assert said.get("type") == "error" and why in said.text, ET.tostring(said)


@check
def a_room_publishes_what_the_server_says(arguments):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "rooms.cfg.lua")
        config.write_text(ROOMS)
        pathlib.Path(folder, "mod_town_crier.lua").write_text(CRIER)
        with Server("--config", str(config), "--plugins", folder, "--admin", "juliet@localhost", *arguments) as server:
            juliet = Client(server, "juliet@localhost")
            join = "<presence to='coven@rooms.localhost/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            juliet.send(join)
            wait_for(lambda: juliet.message(lambda e: e.get("type") == "groupchat", 5) is not None, "no subject")
            good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='n'/></pubsub>", to="coven@rooms.localhost/juliet"))
            out = shell(server, "pam_pps:publish('coven@rooms.localhost', 'urn:cry', '<said xmlns=\\'urn:cry\\'/>')")
            assert "published" in out, out
            good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='urn:cry' jid='juliet@localhost'/></pubsub>",
                           to="coven@rooms.localhost"))
            juliet.send("<message to='coven@rooms.localhost' type='groupchat'><body>cry</body></message>")
            event = juliet.message(lambda e: e.get("from") == "coven@rooms.localhost"
                                   and e.find(f".//{{{EVENT}}}item[@id='cried']") is not None)
            assert event is not None and event.get("type") == "headline", "the room did not publish"
            publish_by_command(server, juliet)
            # A reload knows who is there, and what they had is over, as it is after a restart; what the room had stays.
            module(server, "reload", "rooms.localhost")
            answer = juliet.iq("get", items("n"), to="coven@rooms.localhost/juliet")
            assert answer.get("type") == "error", "the node of an occupant outlived the reload"
            good(juliet.iq("set", publish("n", "1", ENTRY % 1), to="coven@rooms.localhost/juliet"))
            good(juliet.iq("get", items("urn:cry"), to="coven@rooms.localhost"))
            assert "\terror\t" not in server.log(), [line for line in server.log().splitlines() if "\terror\t" in line]


@check
def what_is_not_ours_goes_on(arguments):
    with Server(*arguments) as server:
        romeo = Client(server, "romeo@localhost")
        good(romeo.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to="localhost"))
        good(romeo.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to="localhost"))
        good(romeo.iq("get", "<query xmlns='jabber:iq:roster'/>"))
        answer = romeo.iq("get", "<x xmlns='urn:nobody'/>", to="pubsub.localhost")
        assert answer.get("type") == "error"
        answer = romeo.iq("get", "<x xmlns='urn:nobody'/>", to="juliet@localhost")
        assert answer.get("type") == "error"
        juliet = Client(server, "juliet@localhost")
        juliet.send("<presence/>")
        time.sleep(0.2)
        romeo.send("<message to='juliet@localhost' type='chat' id='1'><body>Hi</body>"
                   "<x xmlns='jabber:x:data' type='submit'><field var='a'><value>b</value></field></x></message>")
        message = juliet.message(lambda e: e.get("id") == "1")
        assert message is not None, "a form that is not ours was lost"
        assert juliet.message(lambda e: e.get("id") == "1", timeout=1) is None, "delivered twice"


@check
def a_deleted_account_takes_its_nodes_along(arguments):
    with Server("--admin", "juliet@localhost", *arguments) as server:
        romeo = Client(server, "romeo@localhost")
        good(romeo.iq("set", publish("n", "1", ENTRY % 1, access_model="open")))
        juliet = Client(server, "juliet@localhost")
        good(juliet.iq("get", items("n"), to="romeo@localhost"))
        out = shell(server, "user:delete('romeo@localhost')")
        wait_for(lambda: juliet.iq("get", items("n"), to="romeo@localhost").get("type") == "error", out)
        shell(server, "user:create('romeo@localhost', 'secret')")
        answer = juliet.iq("get", items("n"), to="romeo@localhost")
        assert answer.get("type") == "error", "the nodes came back with the name"


@check
def administrators_have_commands(arguments):
    with Server("--admin", "juliet@localhost", *arguments) as server:
        romeo = Client(server, "romeo@localhost")
        juliet = Client(server, "juliet@localhost")
        juliet.send("<presence/>")
        good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='two words'/></pubsub>", to="pubsub.localhost"))
        good(juliet.iq("set", publish("two words", "1", ENTRY % 1), to="pubsub.localhost"))
        good(juliet.iq("set", publish("mine", "1", ENTRY % 1, access_model="open")))
        for node, service in (("two words", "pubsub.localhost"), ("mine", "juliet@localhost")):
            good(romeo.iq("set", f"<pam xmlns='urn:xmpp:pam:0' jid='{service}'><subscribe xmlns='{PUBSUB}' node='{node}'"
                          " jid='romeo@localhost'><public xmlns='urn:xmpp:pps:0'/></subscribe></pam>"))

        def says(command, *wanted):
            out = shell(server, f"pam_pps:{command}")
            for text in wanted:
                assert text in out, f"{command}: {text!r} is not in {out}"
            return out
        says("list_nodes('pubsub.localhost')", "two words\topen\t1 items\t1 subscribers")
        says("list_nodes('juliet@localhost')", "mine\topen\t1 items\t1 subscribers")
        says("list_subscriptions('pubsub.localhost', 'two words')", "romeo@localhost\tsubscribed\tpublic")
        says("list_pam('romeo@localhost')", "juliet@localhost\tmine\tsubscribed", "pubsub.localhost\ttwo words\tsubscribed")
        says("list_public('romeo@localhost')", "juliet@localhost\tmine\tsince 2", "pubsub.localhost\ttwo words\tsince 2")
        says("list_public_subscribers('juliet@localhost', 'mine')", "romeo@localhost\tsince 2")
        says("end_subscription('juliet@localhost', 'mine', 'romeo@localhost')", "ended 1 of romeo@localhost")
        assert "mine" not in says("list_pam('romeo@localhost')", "two words")
        assert "mine" not in says("list_public('romeo@localhost')", "two words")
        says("integrity_check('localhost')", "ok")
        says("vacuum('pubsub.localhost')", "ok")
        says("statistics('localhost')", "inputs_total ", "queue_length ")
        says("delete_node('pubsub.localhost', 'two words')", "deleted two words")
        assert "two words" not in says("list_nodes('pubsub.localhost')", "0 lines")
        says("list_nodes('elsewhere.example')", "elsewhere.example")
        for wrong in ("'nobody@@localhost'", ""):
            out = says(f"list_nodes({wrong})")
            assert "mod_pam_pps serves" in out or "argument 'service'" in out, out
        says("list_subscriptions('juliet@localhost')", "argument 'node'")
        says("delete_node('juliet@localhost', 'nothing')", "nothing is no node of juliet@localhost")
        says("end_subscription('juliet@localhost', 'mine', 'romeo@localhost')", "romeo@localhost is not subscribed to mine")
        says("end_subscription('juliet@localhost', 'mine', 'a@b', 'c')", "Too many arguments")
        if not server["version"].startswith("0.12"):
            out = shell(server, "pam_pps", "list_nodes", "juliet@localhost")
            assert "mine\topen" in out, out
        module(server, "reload", "localhost")
        says("list_nodes('juliet@localhost')", "mine\topen")
        if server["version"].startswith("0.12"):
            # In Prosody 13 the shell forgets a command of all hosts when one of them gives it up.
            module(server, "unload", "localhost")
            out = says("list_nodes('juliet@localhost')")
            assert "mine\topen" not in out and "attempt to" not in out, out
            says("list_nodes('pubsub.localhost')", "0 lines")
        assert "\terror\t" not in server.log(), [line for line in server.log().splitlines() if "\terror\t" in line]


@check
def figures_reach_prosodys_statistics(arguments):
    with Server("--module", "http_openmetrics", "--set", "openmetrics_allow_ips = { '127.0.0.1' }", "--set", "http_host = 'localhost'",
                *arguments) as server:
        romeo = Client(server, "romeo@localhost")
        good(romeo.iq("set", publish("n", "1", ENTRY % 1)))
        from dependants import get
        text = get(server, "/metrics").read().decode()
        lines = [line for line in text.splitlines() if "pam_pps" in line and not line.startswith("#")]
        assert any("requests" in line and 'kind="publish",outcome="result"' in line for line in lines), text[:3000]
        assert any("engine_" in line for line in lines), lines


def main(arguments):
    failed = 0
    only = os.environ.get("PAM_PPS_ONLY", "")
    for one in [c for c in CHECKS if only in c.__name__]:
        try:
            note = one(arguments)
            print(f"ok      {one.__name__}" + (f" ({note})" if note else ""), flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {one.__name__}", flush=True)
            traceback.print_exc()
    print(f"{len(CHECKS)} checks, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
