#!/usr/bin/env python3
"""Runs ejabberd's modules that depend on mod_pubsub, unchanged, on the engine.

    dependants.py [live.py options, for instance --dist DIR]

One line per check; exit status 0 if all hold.
"""

import base64
import hashlib
import pathlib
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import CLIENT, Client, ET  # noqa: E402
from server import Server, compiled  # noqa: E402

PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = PUBSUB + "#event"
BOOKMARKS = "storage:bookmarks"
METADATA = "urn:xmpp:avatar:metadata"
DATA = "urn:xmpp:avatar:data"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SHA1 = hashlib.sha1(PIXEL).hexdigest()
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def check_from(version):
    """Of something that ejabberd has from that version on."""
    def mark(function):
        function.since = version
        return check(function)
    return mark


def check_until(version):
    """Of something that is there for versions before that one."""
    def mark(function):
        function.until = version
        return check(function)
    return mark


def publish(node, item, payload, **options):
    fields = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in options.items())
    form = ("<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{PUBSUB}#publish-options</value></field>{fields}</x></publish-options>") if options else ""
    return f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'>{payload}</item></publish>{form}</pubsub>"


def items(node):
    return f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"


def good(answer):
    assert answer.get("type") == "result", ET.tostring(answer).decode()
    return answer


def text(element):
    return ET.tostring(element).decode()


def until(question, seconds=5):
    """Modules hear of what came over the wire a moment later."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


@check
def bookmarks_of_private_storage_are_published(server):
    """mod_private: XEP-0049 to XEP-0048."""
    romeo = Client(server, "romeo@localhost")
    good(romeo.iq("set", f"<query xmlns='jabber:iq:private'><storage xmlns='{BOOKMARKS}'>"
                         "<conference jid='orchard@rooms.localhost' name='Orchard'/></storage></query>"))
    published = text(good(romeo.iq("get", items(BOOKMARKS))))
    assert "orchard@rooms.localhost" in published, published
    # The node is private, as mod_private asks for.
    juliet = Client(server, "juliet@localhost")
    answer = juliet.iq("get", items(BOOKMARKS), "romeo@localhost")
    assert answer.get("type") == "error", text(answer)


@check
def published_bookmarks_are_in_private_storage(server):
    """mod_private: the hook pubsub_publish_item."""
    mercutio = Client(server, "mercutio@localhost")
    storage = f"<storage xmlns='{BOOKMARKS}'><conference jid='street@rooms.localhost' name='Street'/></storage>"
    good(mercutio.iq("set", publish(BOOKMARKS, "current", storage, access_model="whitelist", persist_items="true")))
    question = f"<query xmlns='jabber:iq:private'><storage xmlns='{BOOKMARKS}'/></query>"
    assert until(lambda: "street@rooms.localhost" in text(good(mercutio.iq("get", question)))), "not in private storage"


NATIVE = "urn:xmpp:bookmarks:1"


def forget_node(client, node):
    good(client.iq("set", f"<pubsub xmlns='{PUBSUB}#owner'><delete node='{node}'/></pubsub>"))


def conference(jid):
    return f"<storage xmlns='{BOOKMARKS}'><conference jid='{jid}' name='{jid}'/></storage>"


@check_from("23.10")
def private_bookmarks_are_there_at_the_first_look(server):
    """mod_private: the hook pubsub_tree_call, get_items/2, publish_item/8."""
    benvolio = Client(server, "benvolio@localhost")
    good(benvolio.iq("set", f"<query xmlns='jabber:iq:private'>{conference('hall@rooms.localhost')}</query>"))
    assert "hall@rooms.localhost" in text(good(benvolio.iq("get", items(NATIVE))))
    # As if they had been there before the server had any nodes: what is looked for is there, and a publish adds to it.
    forget_node(benvolio, NATIVE)
    later = Client(server, "benvolio@localhost", resource="later")
    assert "hall@rooms.localhost" in text(good(later.iq("get", items(NATIVE))))
    forget_node(later, NATIVE)
    last = Client(server, "benvolio@localhost", resource="last")
    good(last.iq("set", publish(NATIVE, "tomb@rooms.localhost", f"<conference xmlns='{NATIVE}' name='Tomb'/>")))
    found = text(good(last.iq("get", items(NATIVE))))
    assert "hall@rooms.localhost" in found and "tomb@rooms.localhost" in found, found
    question = f"<query xmlns='jabber:iq:private'><storage xmlns='{BOOKMARKS}'/></query>"
    assert until(lambda: "tomb@rooms.localhost" in text(good(last.iq("get", question)))), "not in private storage"
    assert "hall@rooms.localhost" in text(good(last.iq("get", question)))
    # Taken away in one place, gone in the other (delete_item/4, the hook pubsub_delete_item).
    good(last.iq("set", f"<query xmlns='jabber:iq:private'>{conference('tomb@rooms.localhost')}</query>"))
    assert "hall@rooms.localhost" not in text(good(last.iq("get", items(NATIVE))))
    good(last.iq("set", f"<pubsub xmlns='{PUBSUB}'><retract node='{NATIVE}'><item id='tomb@rooms.localhost'/></retract></pubsub>"))
    assert until(lambda: "tomb@rooms.localhost" not in text(good(last.iq("get", question)))), "still in private storage"


@check
def contributed_modules_find_what_they_call(server):
    """As mod_pubsub_serverinfo, mod_deny_omemo and atom_pubsub of ejabberd-contrib do: pam_pps_dependant.erl."""
    mercutio, juliet = Client(server, "mercutio@localhost"), Client(server, "juliet@localhost")
    found = until(lambda: text(juliet.iq("get", items("serverinfo"), server["pubsub"])))
    assert "second" in found and "first" not in found, found
    good(mercutio.iq("set", publish("urn:x:denied:bundle", "1", "<x xmlns='urn:x'/>")))
    refused = mercutio.iq("set", publish("urn:x:denied", "1", "<x xmlns='urn:x'/>"))
    assert refused.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}policy-violation") is not None, text(refused)
    gone = mercutio.iq("get", items("urn:x:denied:bundle"))
    assert gone.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found") is not None, text(gone)
    report = good(mercutio.iq("get", "<entries xmlns='urn:x:dependant'/>", "localhost"))
    assert report.find(".//{urn:x:dependant}entry") is not None, text(report)
    assert [e.text for e in report.iter("{urn:x:dependant}entry")] == ["nodes", "node", "missing", "items", "item", "deleted"], text(report)


@check_until("24")
def omemo_is_denied(server):
    """mod_deny_omemo of ejabberd-contrib, as Debian 12 has it: delete_node/3."""
    axolotl = "eu.siacs.conversations.axolotl"
    juliet = Client(server, "juliet@localhost")
    good(juliet.iq("set", publish(axolotl + ".bundles:7", "current", f"<bundle xmlns='{axolotl}'/>")))
    good(juliet.iq("get", items(axolotl + ".bundles:7")))
    devices = f"<list xmlns='{axolotl}'><device id='7'/></list>"
    refused = juliet.iq("set", publish(axolotl + ".devicelist", "current", devices))
    assert refused.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}policy-violation") is not None, text(refused)
    for node in (".bundles:7", ".devicelist"):
        gone = juliet.iq("get", items(axolotl + node))
        assert gone.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found") is not None, text(gone)


@check
def bookmark_conversion_is_announced(server):
    romeo = Client(server, "romeo@localhost")
    answer = text(good(romeo.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "romeo@localhost")))
    assert "urn:xmpp:bookmarks-conversion:0" in answer and "urn:xmpp:pep-vcard-conversion:0" in answer, answer


@check
def an_avatar_is_in_the_vcard(server):
    """mod_avatar: the hook pubsub_publish_item, get_item/3."""
    juliet = Client(server, "juliet@localhost")
    good(juliet.iq("set", publish(DATA, SHA1, f"<data xmlns='{DATA}'>{base64.b64encode(PIXEL).decode()}</data>")))
    info = f"<metadata xmlns='{METADATA}'><info bytes='{len(PIXEL)}' id='{SHA1}' type='image/png' width='1' height='1'/></metadata>"
    good(juliet.iq("set", publish(METADATA, SHA1, info)))

    def photo():
        vcard = good(juliet.iq("get", "<vCard xmlns='vcard-temp'/>", "juliet@localhost"))
        found = vcard.find(".//{vcard-temp}BINVAL")
        return found is not None and base64.b64decode(found.text) == PIXEL
    assert until(photo), "no photo in the vCard"
    # Without an avatar, there is none in the vCard either.
    good(juliet.iq("set", publish(METADATA, "none", f"<metadata xmlns='{METADATA}'/>")))
    assert until(lambda: not photo()), "the photo stayed"


@check
def a_vcard_photo_is_an_avatar(server):
    """mod_avatar: get_items/2, publish_item/6; those who want it are told."""
    benvolio = Client(server, "benvolio@localhost")
    good(benvolio.iq("set", "<vCard xmlns='vcard-temp'><FN>Benvolio</FN><PHOTO><TYPE>image/png</TYPE>"
                            f"<BINVAL>{base64.b64encode(PIXEL).decode()}</BINVAL></PHOTO></vCard>"))
    data = text(good(benvolio.iq("get", items(DATA))))
    assert base64.b64encode(PIXEL).decode() in data and SHA1 in data, data
    metadata = text(good(benvolio.iq("get", items(METADATA))))
    assert SHA1 in metadata and f'bytes="{len(PIXEL)}"' in metadata, metadata


@check
def options_of_mod_pubsub_that_do_nothing_are_named(server):
    warned = [line for line in server.log().splitlines() if "Options of mod_pubsub have no effect" in line]
    assert len(warned) == 1 and "force_node_config" in warned[0] and "plugins" in warned[0], warned


@check
def nobody_waited_for_nothing(server):
    time.sleep(0.5)  # the log is written a moment later
    log = server.log()
    assert "[error]" not in log, "\n".join(line for line in log.splitlines() if "[error]" in line)


def main(arguments):
    failed = 0
    # Everybody is denied it; the other checks do without.
    denying = [] if "26" in arguments else ["--module", 'mod_deny_omemo={"access": "none"}']
    with tempfile.TemporaryDirectory(prefix="pam_pps-dependants-") as folder, \
            Server("--module", "mod_avatar", "--module", "mod_vcard_xupdate", "--module", "pam_pps_dependant",
                   "--module", 'mod_pubsub={"plugins": ["flat", "pep"], "force_node_config": {"x": {"access_model": "open"}}}',
                   *denying, "--path", compiled("pam_pps_dependant", folder, arguments), *arguments) as server:
        for function in [c for c in CHECKS if getattr(c, "since", "") <= server["version"] < getattr(c, "until", "99")]:
            name = function.__name__.replace("_", " ")
            try:
                function(server)
                print(f"ok {name}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
