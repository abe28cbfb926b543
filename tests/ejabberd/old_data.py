#!/usr/bin/env python3
"""What ejabberd's own mod_pubsub kept, in mnesia and in SQLite, is taken over: once, and with everything in it.

    old_data.py [live.py options, for instance --dist DIR]

One line per check; exit status 0 if all hold.
"""

import glob
import json
import pathlib
import sqlite3
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "prosody"))

from client import Client, ET  # noqa: E402
from server import Server  # noqa: E402

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = PUBSUB + "#owner"
BLOG = "urn:xmpp:microblog:0"


def good(answer):
    assert answer.get("type") == "result", ET.tostring(answer).decode()
    return answer


def form(kind, **options):
    fields = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in options.items())
    return (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#{kind}</value></field>"
            f"{fields}</x>")


def publish(node, item, body):
    return (f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'><note xmlns='urn:example:note'>{body}</note></item>"
            "</publish></pubsub>")


def create(node, **options):
    return f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/><configure>{form('node_config', **options)}</configure></pubsub>"


def ids(client, node, to):
    answer = good(client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", to))
    return [item.get("id") for item in answer.iter("{%s}item" % PUBSUB)]


def config(client, node, to):
    answer = good(client.iq("get", f"<pubsub xmlns='{OWNER}'><configure node='{node}'/></pubsub>", to))
    fields = answer.iter("{jabber:x:data}field")
    return {f.get("var"): [v.text for v in f.findall("{jabber:x:data}value")] for f in fields}


def fill(server):
    """As people did with the old module."""
    juliet, romeo = Client(server, "juliet@localhost"), Client(server, "romeo@localhost")
    service = server["pubsub"]
    good(juliet.iq("set", create(BLOG, access_model="open", max_items=10, title="Balcony")))
    for number in range(1, 4):
        good(juliet.iq("set", publish(BLOG, f"post{number}", f"Post {number}")))
    good(romeo.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='{BLOG}' jid='romeo@localhost'/></pubsub>", "juliet@localhost"))
    good(juliet.iq("set", create("orders", access_model="whitelist", publish_model="publishers", max_items=5), service))
    good(juliet.iq("set", publish("orders", "1", "Order"), service))
    lists = "<affiliation jid='romeo@localhost' affiliation='member'/><affiliation jid='mercutio@localhost' affiliation='outcast'/>"
    good(juliet.iq("set", f"<pubsub xmlns='{OWNER}'><affiliations node='orders'>{lists}</affiliations></pubsub>", service))
    for client in (juliet, romeo):
        client.close()


def is_all_there(server):
    juliet, romeo, mercutio = (Client(server, f"{name}@localhost") for name in ("juliet", "romeo", "mercutio"))
    service = server["pubsub"]
    assert ids(romeo, BLOG, "juliet@localhost") == ["post1", "post2", "post3"], ids(romeo, BLOG, "juliet@localhost")
    settings = config(juliet, BLOG, "juliet@localhost")
    assert settings["pubsub#access_model"] == ["open"] and settings["pubsub#max_items"] == ["10"], settings
    assert settings["pubsub#title"] == ["Balcony"], settings
    answer = good(juliet.iq("get", f"<pubsub xmlns='{OWNER}'><subscriptions node='{BLOG}'/></pubsub>", "juliet@localhost"))
    subscribed = [(s.get("jid"), s.get("subscription")) for s in answer.iter("{%s}subscription" % OWNER)]
    assert ("romeo@localhost", "subscribed") in subscribed, subscribed
    answer = good(juliet.iq("get", f"<pubsub xmlns='{OWNER}'><affiliations node='orders'/></pubsub>", service))
    found = {a.get("jid"): a.get("affiliation") for a in answer.iter("{%s}affiliation" % OWNER)}
    assert found == {"juliet@localhost": "owner", "romeo@localhost": "member", "mercutio@localhost": "outcast"}, found
    assert ids(romeo, "orders", service) == ["1"]
    refused = mercutio.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='orders'/></pubsub>", service)
    assert refused.get("type") == "error", ET.tostring(refused).decode()
    # It works on as if it had always been here.
    romeo.send("<presence/>")
    romeo.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "localhost")
    good(juliet.iq("set", publish(BLOG, "post4", "Post 4")))
    told = romeo.message(lambda m: "post4" in ET.tostring(m).decode())
    assert told is not None, "the old subscriber is not told"


def sqlite(folder):
    """Options for a database with ejabberd's own schema, in the one folder that a server in another root sees as well."""
    database = folder / "data" / "ejabberd.db"
    schema = glob.glob("/usr/share/ejabberd/sql/lite.sql") or glob.glob("/usr/lib/*/ejabberd-*/priv/sql/lite.sql")
    if not database.exists():
        database.parent.mkdir()
        with sqlite3.connect(database) as connection:
            connection.executescript(pathlib.Path(schema[0]).read_text())
    options = {"default_db": "sql", "sql_type": "sqlite", "sql_database": str(database)}
    return [word for name, value in options.items() for word in ("--option", f"{name}={json.dumps(value)}")]


def reported(server):
    taken = [line.split("Took over the data of ")[1] for line in server.log().splitlines() if "Took over" in line]
    return sorted(line.rsplit(",", 1)[0] for line in taken)


def moves(more, version, arguments, folder):
    data = ["--data", folder / "data", *more]
    with Server("--backend", "stock", *data, *version) as server:
        fill(server)
    with Server("--admin", "admin@localhost", *data, *arguments) as server:
        # Some of it by its first use, the rest by the command.
        first = Client(server, "benvolio@localhost")
        assert ids(first, BLOG, "juliet@localhost")[0] == "post1"
        report = server.api("pam_pps_import", host="localhost")
        assert "0 of them failed" in json.dumps(report), report
        is_all_there(server)
        expected = ["juliet@localhost: 1 nodes, 3 items", "pubsub.localhost: 1 nodes, 1 items"]
        deadline = time.monotonic() + 10
        while reported(server) != expected and time.monotonic() < deadline:
            time.sleep(0.1)  # the log is written a moment later
        assert reported(server) == expected, reported(server)
    # Once, and not again.
    with Server(*data, *arguments) as server:
        juliet = Client(server, "juliet@localhost")
        assert ids(juliet, BLOG, "juliet@localhost") == ["post1", "post2", "post3", "post4"]
    # The log goes on in the same file.
    assert (folder / "data" / "ejabberd.log").read_text().count("Took over the data of juliet@localhost") == 1


def main(arguments):
    version = arguments[arguments.index("--version") + 1] if "--version" in arguments else "23"
    cases = [("mnesia", lambda folder: [], version), ("SQLite", sqlite, version)]
    if version != "23":
        cases.append(("SQLite of ejabberd 23", sqlite, "23"))
    failed = 0
    for name, options, before in cases:
        with tempfile.TemporaryDirectory(prefix="pam_pps-old-") as folder:
            try:
                folder = pathlib.Path(folder)
                moves(options(folder), ["--version", before], arguments, folder)
                print(f"ok data of mod_pubsub in {name} is taken over", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED data of mod_pubsub in {name} is taken over\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
