#!/usr/bin/env python3
"""Rooms of mod_muc that publish (XEP-0316), beside what scenarios show: modules and administrators that publish as a room, who is
in a room that the module was not told of, and what a restart and the end of a room leave.

    rooms.py [live.py options, for instance --dist DIR]

One line per check; exit status 0 if all hold. In the environment: ONLY, a part of the name of those to run.
"""

import json
import os
import pathlib
import sys
import tempfile
import traceback
import urllib.error

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import CLIENT, Client, ET  # noqa: E402
from host import PUBSUB, evaluate, good, ids, items, probe, publish, until  # noqa: E402
from server import Server  # noqa: E402

COMMANDS = "http://jabber.org/protocol/commands"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
EVENT = PUBSUB + "#event"
USER = "{http://jabber.org/protocol/muc#user}"
MUC = "<x xmlns='http://jabber.org/protocol/muc'/>"
OWNER = "http://jabber.org/protocol/muc#owner"
COVEN = "coven@rooms.localhost"
PEOPLE = [word for name in ("admin", "romeo", "juliet", "benvolio") for word in ("--user", f"{name}@localhost")]
ONLY = os.environ.get("ONLY", "")


def is_self(element, nick):
    codes = [status.get("code") for status in element.iter(USER + "status")]
    return element.tag == CLIENT + "presence" and element.get("from") == f"{COVEN}/{nick}" and "110" in codes


def enter(client, nick, room=COVEN):
    client.send(f"<presence to='{room}/{nick}'>{MUC}</presence>")
    assert client.message(lambda m: m.find(CLIENT + "subject") is not None) is not None, "no subject"


def leave(client, nick, room=COVEN):
    client.send(f"<presence type='unavailable' to='{room}/{nick}'/>")
    assert client.receive(lambda e: e.get("from") == f"{room}/{nick}" and e.get("type") == "unavailable") is not None


def configure(client, room=COVEN, **fields):
    form = "".join(f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields.items())
    good(client.iq("set", f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>", room))


def has(client, node, address):
    """Whether there is an item. Somebody's account, which is asked if the occupant has no such node, has none."""
    answer = client.iq("get", items(node), address)
    return answer.get("type") == "result" and bool(ids(answer))


def modules_and_administrators_publish_as_a_room(server):
    juliet = Client(server, "juliet@localhost")
    enter(juliet, "juliet")
    for hook, function in (("muc_filter_message", "muc_filter_message"), ("pubsub_publish_item", "pubsub_publish_item")):
        evaluate(server, f"ejabberd_hooks:add({hook}, <<\"localhost\">>, pam_pps_probe, {function}, 50)")
    answer = server.api("pam_pps_publish", service=COVEN, node="urn:cry", payload="<said xmlns='urn:cry'/>")
    assert answer[0].startswith("published "), answer
    good(juliet.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='urn:cry' jid='juliet@localhost'/></pubsub>", COVEN))
    # From a hook in the room's process, which the engine may have questions for.
    juliet.send(f"<message to='{COVEN}' type='groupchat'><body>cry</body></message>")

    def is_event(message, item):
        return message.get("from") == COVEN and message.find(f".//{{{EVENT}}}item[@id='{item}']") is not None
    event = juliet.message(lambda m: is_event(m, "cried"))
    assert event is not None and event.get("type") == "headline", "the room did not publish"
    assert until(lambda: '"cried"' in evaluate(server, "persistent_term:get(published, none)")), "no hook ran"
    good(juliet.iq("set", publish("urn:x:own", "mine"), f"{COVEN}/juliet"))
    heard = "{<<\"urn:x:own\">>,<<\"coven@rooms.localhost/juliet\">>,<<\"mine\">>,[<<\"note\">>]}"
    assert until(lambda: evaluate(server, "persistent_term:get(published, none)") == heard), \
        evaluate(server, "persistent_term:get(published, none)")
    arguments = "[jid:decode(<<\"{}@rooms.localhost\">>), <<\"urn:cry\">>, {{xmlel, <<\"said\">>, [{{<<\"xmlns\">>, <<\"urn:cry\">>}}], []}}, <<\"2\">>]"
    by_hook = "ejabberd_hooks:run_fold(pam_pps_publish_in_room, <<\"localhost\">>, none, {})".format
    assert evaluate(server, by_hook(arguments.format("coven"))) == '{ok,<<"2">>}'
    assert juliet.message(lambda m: is_event(m, "2")) is not None
    assert evaluate(server, by_hook(arguments.format("nobodys"))) == "{error,'item-not-found'}"
    try:
        server.api("pam_pps_publish", service=COVEN, node="urn:cry", payload="<said")
        raise AssertionError("half an element was published")
    except urllib.error.HTTPError:
        pass
    for hook, function in (("muc_filter_message", "muc_filter_message"), ("pubsub_publish_item", "pubsub_publish_item")):
        evaluate(server, f"ejabberd_hooks:delete({hook}, <<\"localhost\">>, pam_pps_probe, {function}, 50)")
    leave(juliet, "juliet")


def administrators_publish_by_an_ad_hoc_command(server):
    node = "urn:pam_pps:publish-as-room"
    admin, juliet = Client(server, "admin@localhost"), Client(server, "juliet@localhost")
    enter(juliet, "juliet")

    def listed(client):
        answer = client.iq("get", f"<query xmlns='{DISCO_ITEMS}' node='{COMMANDS}'/>", "localhost")
        return node in [item.get("node") for item in answer.iter("{%s}item" % DISCO_ITEMS)]

    def command(client, content="", **attributes):
        more = "".join(f" {name}='{value}'" for name, value in attributes.items())
        return client.iq("set", f"<command xmlns='{COMMANDS}' node='{node}'{more}>{content}</command>", "localhost")

    def submit(**fields):
        fields = {"room": COVEN, "node": "urn:x:said", "id": "1", "payload": "&lt;said xmlns=&apos;urn:cry&apos;/&gt;", **fields}
        form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
        answer = good(command(admin, f"<x xmlns='jabber:x:data' type='submit'>{form}</x>", action="complete", sessionid="s"))
        note = answer.find(f".//{{{COMMANDS}}}note")
        return note.get("type", "info"), note.text
    assert listed(admin) and not listed(juliet)
    assert command(juliet).get("type") == "error"
    form = good(command(admin)).find(".//{jabber:x:data}x")
    fields = [field.get("var") for field in form.iter("{jabber:x:data}field")]
    assert fields == ["FORM_TYPE", "room", "node", "id", "payload"], fields
    assert submit() == ("info", "Published 1")
    assert ids(good(juliet.iq("get", items("urn:x:said"), COVEN))) == ["1"]
    for wrong in ({"payload": "said"}, {"room": "nobodys@rooms.localhost"}, {"room": "@"}, {"room": "juliet@localhost"}, {"node": ""}):
        assert submit(**wrong)[0] == "error", wrong
    assert good(command(admin, action="cancel", sessionid="s"))[0].get("status") == "canceled"
    leave(juliet, "juliet")


def whoever_has_come_or_has_another_nick_publishes_at_once(server):
    """The room is still busy with showing it to the others."""
    romeo, benvolio = Client(server, "romeo@localhost"), Client(server, "benvolio@localhost")
    enter(romeo, "romeo")
    evaluate(server, "ejabberd_hooks:add(filter_packet, global, pam_pps_probe, filter_packet, 50)")
    benvolio.send(f"<presence to='{COVEN}/benvolio'>{MUC}</presence>")
    assert benvolio.receive(lambda e: is_self(e, "benvolio")) is not None
    good(benvolio.iq("set", publish("urn:x:n", "1"), f"{COVEN}/benvolio"))
    assert benvolio.message() is not None
    benvolio.send(f"<presence to='{COVEN}/montague'/>")
    assert benvolio.receive(lambda e: is_self(e, "montague") and e.get("type") is None) is not None
    good(benvolio.iq("set", publish("urn:x:n", "2"), f"{COVEN}/montague"))
    assert has(romeo, "urn:x:n", f"{COVEN}/montague")
    evaluate(server, "ejabberd_hooks:delete(filter_packet, global, pam_pps_probe, filter_packet, 50)")
    leave(benvolio, "montague")
    assert not has(romeo, "urn:x:n", f"{COVEN}/montague")
    leave(romeo, "romeo")


def a_client_takes_another_nick_and_leaves_one_behind(server):
    """mod_muc tells nobody that the old nick is gone, since it is not."""
    phone, laptop = (Client(server, "romeo@localhost", resource=name) for name in ("phone", "laptop"))
    enter(phone, "romeo")
    enter(laptop, "romeo")
    good(phone.iq("set", publish("urn:x:n", "1"), f"{COVEN}/romeo"))
    laptop.send(f"<presence to='{COVEN}/montague'/>")
    assert laptop.receive(lambda e: is_self(e, "montague")) is not None
    assert until(lambda: laptop.iq("set", publish("urn:x:n", "2"), f"{COVEN}/montague").get("type") == "result"), "unknown nick"
    assert ids(good(laptop.iq("get", items("urn:x:n"), f"{COVEN}/romeo"))) == ["1"]
    leave(phone, "romeo")
    assert not has(laptop, "urn:x:n", f"{COVEN}/romeo") and has(laptop, "urn:x:n", f"{COVEN}/montague")
    leave(laptop, "montague")


def with_a_broken_connection_the_occupants_data_ends(server):
    juliet, romeo = Client(server, "juliet@localhost"), Client(server, "romeo@localhost")
    enter(juliet, "juliet")
    enter(romeo, "romeo")
    good(romeo.iq("set", publish("urn:x:n", "1"), f"{COVEN}/romeo"))
    assert has(juliet, "urn:x:n", f"{COVEN}/romeo")
    romeo.socket.close()
    assert juliet.receive(lambda e: e.get("from") == f"{COVEN}/romeo" and e.get("type") == "unavailable") is not None
    assert not has(juliet, "urn:x:n", f"{COVEN}/romeo")
    leave(juliet, "juliet")


def changed_options_leave_everything_as_it_is(server):
    juliet = Client(server, "juliet@localhost")
    enter(juliet, "juliet")
    good(juliet.iq("set", publish("urn:x:n", "1"), f"{COVEN}/juliet"))
    assert juliet.iq("set", publish("urn:x:n", "1"), COVEN).get("type") == "error"
    file = pathlib.Path(server["config"])
    before = file.read_text()
    config = json.loads(before)
    config["modules"]["mod_pam_pps"]["room_publish"] = "owners"
    file.write_text(json.dumps(config))
    server.api("reload_config")
    good(juliet.iq("set", publish("urn:x:n", "1"), COVEN))
    assert has(juliet, "urn:x:n", f"{COVEN}/juliet")
    # Without rooms mod_muc answers, and with them again it is known who is there.
    config["modules"]["mod_pam_pps"]["rooms"] = False
    file.write_text(json.dumps(config))
    server.api("reload_config")
    assert juliet.iq("get", items("urn:x:n"), COVEN).get("type") == "error"
    file.write_text(before)
    server.api("reload_config")
    assert until(lambda: has(juliet, "urn:x:n", COVEN)), "who is there is not known"
    assert not has(juliet, "urn:x:n", f"{COVEN}/juliet"), "what an occupant had outlived the rooms"
    good(juliet.iq("set", publish("urn:x:n", "2"), f"{COVEN}/juliet"))
    # Another chat service.
    config = json.loads(before)
    del config["modules"]["mod_muc"]["host"]
    config["modules"]["mod_muc"]["hosts"] = ["rooms.localhost", "halls.localhost"]
    file.write_text(json.dumps(config))
    server.api("reload_config")
    hall = "hall@halls.localhost"
    enter(juliet, "juliet", hall)
    good(juliet.iq("set", publish("urn:x:n", "1"), f"{hall}/juliet"))
    leave(juliet, "juliet", hall)
    file.write_text(before)
    server.api("reload_config")
    assert juliet.iq("get", items("urn:x:n"), hall).get("type") == "error"
    assert has(juliet, "urn:x:n", f"{COVEN}/juliet")
    leave(juliet, "juliet")


def a_room_says_what_others_than_its_owners_have_changed(server):
    juliet = Client(server, "juliet@localhost")
    enter(juliet, "juliet")
    evaluate(server, "{ok, Room} = mod_muc:find_online_room(<<\"coven\">>, <<\"rooms.localhost\">>), "
             "{ok, Config} = mod_muc_room:get_config(Room), mod_muc_room:set_config(Room, setelement(2, Config, <<\"Toil and trouble\">>))")

    def said():
        answer = juliet.iq("get", items("urn:ietf:params:xml:ns:conference-info"), COVEN)
        return "Toil and trouble" in ET.tostring(answer).decode()
    assert until(said), "the name of the room was not published"
    leave(juliet, "juliet")


def the_end_of_a_room_is_the_end_of_its_nodes(server):
    juliet = Client(server, "juliet@localhost")

    def nodes():
        lines = server.api("pam_pps_list_nodes", service=COVEN)
        return [line.split("\t")[0] for line in lines if line.startswith("urn:x:")]

    def say():
        server.api("pam_pps_publish", service=COVEN, node="urn:x:n", payload="<a xmlns='urn:a'/>")
    # A temporary room ends with the last occupant, a persistent one does not.
    for persistent in (0, 1):
        enter(juliet, "juliet")
        configure(juliet, persistentroom=persistent)
        say()
        leave(juliet, "juliet")
        assert until(lambda: nodes() == ["urn:x:n"] * persistent), (persistent, nodes())
    # What is not persistent any more is not destroyed by that.
    enter(juliet, "juliet")
    configure(juliet, persistentroom=0)
    assert evaluate(server, "timer:sleep(100)") == "ok" and nodes() == ["urn:x:n"]
    configure(juliet, persistentroom=1)
    good(juliet.iq("set", f"<query xmlns='{OWNER}'><destroy/></query>", COVEN))
    assert until(lambda: nodes() == []), nodes()


def a_restart_keeps_what_belongs_to_the_room(folder, arguments):
    data = folder / "restart"
    with Server("--rooms", "rooms.localhost", "--data", data, *probe(folder), *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        enter(juliet, "juliet")
        configure(juliet, persistentroom=1)
        server.api("pam_pps_publish", service=COVEN, node="urn:x:room", payload="<a xmlns='urn:a'/>")
        good(juliet.iq("set", publish("urn:x:own", "1"), f"{COVEN}/juliet"))
        # So that mod_muc has its room, too.
        assert evaluate(server, "mnesia:sync_log()") == "ok"
        os.kill(server["pid"], 9)
    with Server("--rooms", "rooms.localhost", "--data", data, *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        enter(juliet, "juliet")
        assert has(juliet, "urn:x:room", COVEN), "what the room had published is gone"
        assert not has(juliet, "urn:x:own", f"{COVEN}/juliet"), "what an occupant had published outlived the server"


ON_ONE_SERVER = [modules_and_administrators_publish_as_a_room, administrators_publish_by_an_ad_hoc_command,
                 whoever_has_come_or_has_another_nick_publishes_at_once,
                 a_client_takes_another_nick_and_leaves_one_behind, with_a_broken_connection_the_occupants_data_ends,
                 changed_options_leave_everything_as_it_is,
                 a_room_says_what_others_than_its_owners_have_changed, the_end_of_a_room_is_the_end_of_its_nodes]


def run(function, *arguments):
    name = function.__name__.replace("_", " ")
    if ONLY not in name:
        return 0
    try:
        function(*arguments)
        print(f"ok {name}", flush=True)
        return 0
    except Exception:
        print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        return 1


def log_is_clean(server):
    errors = [line for line in server.log().splitlines() if "[error]" in line]
    assert not errors, errors


def main(arguments):
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pam_pps-rooms-") as name:
        folder = pathlib.Path(name)
        with Server("--rooms", "rooms.localhost", "--admin", "admin@localhost", *PEOPLE, *probe(folder), *arguments) as server:
            for function in ON_ONE_SERVER:
                failed += run(function, server)
            failed += run(log_is_clean, server)
        failed += run(a_restart_keeps_what_belongs_to_the_room, folder, arguments)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
