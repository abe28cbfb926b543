#!/usr/bin/env python3
"""Runs the modules that depend on mod_pep and mod_pubsub, unchanged, on the engine.

    dependants.py [live.py options, for instance --version 13 or --dist DIR]

One line per check; exit status 0 if all hold.
"""

import base64
import hashlib
import http.server
import json
import socket
import struct
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request

from client import CLIENT, Client, Server, ET, HERE, time

PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = PUBSUB + "#event"
BOOKMARKS = "urn:xmpp:bookmarks:1"
ATOM = "http://www.w3.org/2005/Atom"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
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


def get(server, path):
    # By address and with a Host header: the name need not resolve.
    request = urllib.request.Request(f"http://{server['address']}:{server['http']}{path}", headers={"Host": "localhost"})
    return urllib.request.urlopen(request, timeout=10)


def interested(client, *nodes):
    """Sends presence with capabilities that say +notify, and answers the query about them."""
    features = sorted([f"{n}+notify" for n in nodes] + ["http://jabber.org/protocol/disco#info"])
    text = "client/pc//test<" + "".join(f + "<" for f in features)
    ver = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
    client.send(f"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:test' ver='{ver}'/></presence>")
    query = client.receive(lambda e: e.find("{http://jabber.org/protocol/disco#info}query") is not None and e.get("type") == "get", 3)
    if query is not None:
        client.send(f"<iq type='result' id='{query.get('id')}' to='{query.get('from')}'>"
                    f"<query xmlns='http://jabber.org/protocol/disco#info' node='urn:test#{ver}'>"
                    "<identity category='client' type='pc' name='test'/>"
                    + "".join(f"<feature var='{f}'/>" for f in features) + "</query></iq>")
    time.sleep(0.3)


def event_about(node):
    return lambda e: e.find(f"{{{EVENT}}}event/{{{EVENT}}}items[@node='{node}']") is not None


def shell(server, *command):
    """What the shell says; it may not listen yet when the other ports do."""
    deadline = time.monotonic() + 10
    while "Unable to connect" in (said := shell_once(server, *command)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return said


def shell_once(server, *command):
    arguments = ["prosodyctl", "--config", server["config"], "shell"]
    if server["version"].startswith("0.12"):
        done = subprocess.run(arguments, input=" ".join(command) + "\nquit\n", capture_output=True, text=True, timeout=30)
    else:
        from os import environ
        environment = dict(environ, PAM_PPS_BIND=":".join([str(HERE.parent.parent), server["data"]]))
        done = subprocess.run([str(HERE / "sid-root.sh"), "run", *arguments, *command], env=environment, capture_output=True,
                              text=True, timeout=30)
    return done.stdout + done.stderr


@check
def bookmarks_from_private_storage(server):
    romeo = Client(server, "romeo@localhost")
    interested(romeo, BOOKMARKS, "storage:bookmarks")
    good(romeo.iq("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
                  "<conference jid='orchard@rooms.localhost' name='Orchard' autojoin='1'><nick>Romeo</nick></conference>"
                  "</storage></query>"))
    answer = good(romeo.iq("get", items(BOOKMARKS)))
    found = answer.find(f".//{{{BOOKMARKS}}}conference")
    assert found is not None and found.get("name") == "Orchard", ET.tostring(answer)
    assert romeo.message(event_about(BOOKMARKS)) is not None, "no event for bookmarks 2"
    assert romeo.message(event_about("storage:bookmarks")) is not None, "no event for legacy bookmarks"
    romeo.close()


@check
def bookmarks_to_private_storage(server):
    juliet = Client(server, "juliet@localhost")
    good(juliet.iq("set", publish(BOOKMARKS, "balcony@rooms.localhost", f"<conference xmlns='{BOOKMARKS}' name='Balcony'/>",
                                  persist_items="true", access_model="whitelist", max_items="max", send_last_published_item="never")))
    answer = good(juliet.iq("get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"))
    conference = answer.find(".//{storage:bookmarks}conference")
    assert conference is not None and conference.get("jid") == "balcony@rooms.localhost", ET.tostring(answer)
    # The legacy node is a view of the new one, in both directions.
    answer = good(juliet.iq("get", items("storage:bookmarks")))
    assert answer.find(".//{storage:bookmarks}conference").get("name") == "Balcony"
    good(juliet.iq("set", publish("storage:bookmarks", "current",
                                  "<storage xmlns='storage:bookmarks'><conference jid='new@rooms.localhost'/></storage>")))
    answer = good(juliet.iq("get", items(BOOKMARKS)))
    ids = [i.get("id") for i in answer.iter(f"{{{PUBSUB}}}item")]
    assert ids == ["new@rooms.localhost"], ids
    juliet.close()


@check
def bookmarks_by_default(server):
    fresh = Client(server, "benvolio@localhost")
    answer = good(fresh.iq("get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"))
    assert answer.find(".//{storage:bookmarks}conference").get("jid") == "hall@rooms.localhost", ET.tostring(answer)
    fresh.close()


@check
def vcard_legacy(server):
    romeo = Client(server, "romeo@localhost", resource="vcard")
    photo = base64.b64encode(PIXEL).decode()
    good(romeo.iq("set", "<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><PHOTO><TYPE>image/png</TYPE>"
                  f"<BINVAL>{photo}</BINVAL></PHOTO></vCard>"))
    answer = good(romeo.iq("get", items("urn:xmpp:avatar:metadata")))
    info = answer.find(".//{urn:xmpp:avatar:metadata}info")
    assert info.get("id") == hashlib.sha1(PIXEL).hexdigest()
    mercutio = Client(server, "mercutio@localhost")
    answer = good(mercutio.iq("get", "<vCard xmlns='vcard-temp'/>", to="romeo@localhost"))
    assert answer.findtext(".//{vcard-temp}FN") == "Romeo Montague"
    assert answer.findtext(".//{vcard-temp}BINVAL") == photo
    romeo.send("<presence/>")
    mercutio.close()
    romeo.close()


@check
def vcard4(server):
    romeo = Client(server, "romeo@localhost", resource="vcard4")
    good(romeo.iq("set", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Romeo M.</text></fn></vcard>"))
    answer = good(romeo.iq("get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>"))
    assert answer.findtext(".//{urn:ietf:params:xml:ns:vcard-4.0}text") == "Romeo M."
    answer = good(romeo.iq("get", items("urn:xmpp:vcard4")))
    assert answer.findtext(".//{urn:ietf:params:xml:ns:vcard-4.0}text") == "Romeo M."
    missing = romeo.iq("get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>", to="mercutio@localhost")
    assert missing.get("type") == "error"
    romeo.close()


@check
def http_pep_avatar(server):
    answer = get(server, "/pep_avatar/romeo")
    assert answer.read() == PIXEL and answer.headers["content-type"] == "image/png"
    try:
        get(server, "/pep_avatar/mercutio")
        raise AssertionError("an avatar of somebody who has none")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error


@check
def atom(server):
    juliet = Client(server, "juliet@localhost", resource="atom")
    for n in (1, 2):
        good(juliet.iq("set", publish("urn:xmpp:microblog:0", f"post-{n}", f"<entry xmlns='{ATOM}'><title>Post {n}</title></entry>",
                                      access_model="open", max_items="max", title="Thoughts")))
    feed = get(server, "/atom/juliet").read().decode()
    assert "Post 1" in feed and "Post 2" in feed and "Thoughts" in feed, feed
    juliet.close()


@check
def text_interface(server):
    romeo = Client(server, "romeo@localhost", resource="text")
    admin = Client(server, "juliet@localhost", resource="admin")
    good(admin.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='news'/></pubsub>", to="pubsub.localhost"))

    def say(text):
        romeo.send(f"<message to='pubsub.localhost' type='chat' id='{len(text)}'><body>{text}</body></message>")
        reply = romeo.message(lambda e: e.find(CLIENT + "body") is not None and e.get("from") == "pubsub.localhost")
        return reply.findtext(CLIENT + "body")

    assert "`news`" in say("list")
    answer = say("subscribe news")
    assert answer == "OK", answer
    assert "`news`" in say("subscriptions")
    romeo.send("<presence/>")
    good(admin.iq("set", publish("news", "one", f"<entry xmlns='{ATOM}'><title>First</title></entry>"), to="pubsub.localhost"))
    assert romeo.message(event_about("news")) is not None, "no event after subscribing by text"
    assert say("last news") == "OK"
    assert romeo.message(event_about("news")) is not None, "the last item was not sent"
    assert say("unsubscribe news") == "OK"
    assert "not subscribed" in say("subscriptions")
    assert say("subscribe nowhere") == "That node does not exist"
    romeo.close()
    admin.close()


@check
def feeds(server):
    deadline = time.monotonic() + 15
    romeo = Client(server, "romeo@localhost", resource="feeds")
    while True:
        answer = romeo.iq("get", items("feed"), to="pubsub.localhost")
        if answer.findtext(f".//{{{ATOM}}}title") == "From the feed":
            break
        assert time.monotonic() < deadline, ET.tostring(answer)
        time.sleep(0.5)
    romeo.close()


def mqtt_string(text):
    return struct.pack(">H", len(text)) + text.encode()


@check
def mqtt(server):
    admin = Client(server, "juliet@localhost", resource="mqtt")
    admin.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='sensors'/></pubsub>", to="pubsub.localhost")
    broker = socket.create_connection((server["address"], server.mqtt), 5)
    connect = mqtt_string("MQTT") + bytes([4, 2]) + struct.pack(">H", 60) + mqtt_string("test")
    # mod_pubsub_mqtt takes two bytes too few of a CONNECT: a length that is two too large makes it come out even. (To MQTT
    # subscribers it cannot send at all, in Debian's versions: its cache of packets raises an error.)
    broker.sendall(bytes([0x10, len(connect) + 2]) + connect)
    broker.settimeout(5)
    assert broker.recv(4)[0] == 0x20, "no CONNACK"
    message = mqtt_string("pubsub.localhost/utf8/sensors") + b"22.5"
    broker.sendall(bytes([0x30, len(message)]) + message)
    deadline = time.monotonic() + 10
    while "22.5" not in ET.tostring(good(admin.iq("get", items("sensors"), to="pubsub.localhost"))).decode():
        assert time.monotonic() < deadline, "not published"
        time.sleep(0.1)
    broker.close()
    admin.close()


@check
def shell_commands(server):
    if server["version"].startswith("0.12"):
        return "only in Prosody 13"
    assert "urn:xmpp:vcard4" in shell(server, "pubsub:list_nodes('romeo@localhost')")
    assert "news" in shell(server, "pubsub:list_nodes('pubsub.localhost')")
    out = shell(server, "pubsub:create_node('pubsub.localhost', 'by-shell')")
    assert "true" in out, out
    out = shell(server, "pubsub:set_node_config_option('pubsub.localhost', 'by-shell', 'pubsub#title', 'Made by shell')")
    assert "Made by shell" in out, out
    out = shell(server, "pubsub:get_node_config('pubsub.localhost', 'by-shell', 'pubsub#title')")
    assert "Made by shell" in out, out
    out = shell(server, "pubsub:list_items('pubsub.localhost', 'news')")
    assert "one" in out, out
    assert "First" in shell(server, "pubsub:get_item('pubsub.localhost', 'news', 'one')")
    assert "true" in shell(server, "pubsub:delete_item('pubsub.localhost', 'news', 'one')")
    assert "true" in shell(server, "pubsub:delete_node('pubsub.localhost', 'by-shell')")
    return None


class Feed(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (f"<feed xmlns='{ATOM}'><title>T</title><entry><id>tag:1</id><title>From the feed</title>"
                "<updated>2026-01-01T00:00:00Z</updated></entry></feed>").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main(arguments):
    feed = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    threading.Thread(target=feed.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mqtt_port = free.getsockname()[1]
    modules = ["bookmarks", "default_bookmarks", "vcard_legacy", "vcard4", "http_pep_avatar", "atom"]
    options = [o for m in modules for o in ("--module", m)]
    options += ["--set", "default_bookmarks = { { jid = 'hall@rooms.localhost', name = 'Hall' } }",
                "--set", f"pubsub_mqtt_ports = {{ {mqtt_port} }}", "--set", "pubsub_mqtt_interfaces = { '127.0.0.1' }",
                "--set", "http_host = 'localhost'", "--set", "http_default_host = 'localhost'",
                "--admin", "juliet@localhost", "--config", "/dev/stdin"]
    extra = ("Component 'pubsub.localhost' 'pubsub'\n\tmodules_enabled = { 'pubsub_text_interface'; 'pubsub_feeds';"
             f" 'pubsub_mqtt' }}\n\tfeeds = {{ feed = 'http://127.0.0.1:{feed.server_address[1]}/' }}\n\tuse_pubsubhubub = false\n"
             "\tfeed_pull_interval_seconds = 1\n")
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".cfg.lua") as config:
        config.write(extra)
        config.flush()
        options[-1] = config.name
        failed = 0
        with Server("--pubsub", "no", *options, *arguments) as server:
            server.mqtt = mqtt_port
            for one in CHECKS:
                try:
                    note = one(server)
                    print(f"ok      {one.__name__}" + (f" ({note})" if note else ""))
                except Exception:
                    failed += 1
                    print(f"FAILED  {one.__name__}")
                    traceback.print_exc()
            errors = [line for line in server.log().splitlines() if "\terror\t" in line]
        if errors:
            failed += 1
            print("FAILED  errors in the log:", *errors, sep="\n")
        if server.status != 0:
            failed += 1
            print(f"FAILED  the server ended with {server.status}")
    print(json.dumps({"checks": len(CHECKS), "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
