#!/usr/bin/env python3
"""Runs ejabberd's modules that depend on mod_pubsub, unchanged, on the engine.

    dependants.py [live.py options, for instance --dist DIR]

One line per check; exit status 0 if all hold.
"""

import base64
import hashlib
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import CLIENT, Client, ET  # noqa: E402
from server import Server  # noqa: E402

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
def nobody_waited_for_nothing(server):
    log = server.log()
    assert "[error]" not in log, "\n".join(line for line in log.splitlines() if "[error]" in line)


def main(arguments):
    failed = 0
    with Server("--module", "mod_avatar", "--module", "mod_vcard_xupdate", *arguments) as server:
        for function in CHECKS:
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
