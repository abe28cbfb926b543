#!/usr/bin/env python3
"""The tour of `make run`: people follow each other on a live server that has the module in it, and from another domain.

    tour.py [--once] [--host prosody|ejabberd] [--dist DIR] [--version 0.12|13]

Starts throw-away servers on loopback (two Prosodys that talk to each other, tests/prosody/live.py, or one ejabberd with two
domains, tests/ejabberd/live.py), plays the steps, checks in each of them what arrived, and then leaves the servers up to
connect to until Ctrl-C. With --once, ONCE=1 or without a terminal it ends after the steps. VERBOSE=1 shows every stanza. Exit status: 0 if every step went as told, 1 if not. Needs Python 3.9 and nothing else.
"""

import argparse
import asyncio
import base64
import hashlib
import itertools
import json
import os
import pathlib
import signal
import socket
import sys
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

HERE = pathlib.Path(__file__).resolve().parent
TERMINAL = sys.stdout.isatty()
VERBOSE = os.environ.get("VERBOSE", "") not in ("", "0")

NAMES = {"prosody": "Prosody", "ejabberd": "ejabberd"}
CLIENT = "{jabber:client}"
PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = PUBSUB + "#event"
DISCO = "http://jabber.org/protocol/disco#info"
PAM = "urn:xmpp:pam:0"
PPS = "urn:xmpp:pps:0"
ATOM = "http://www.w3.org/2005/Atom"
BLOG = "urn:xmpp:microblog:0"
FOLLOWING = "urn:xmpp:pps:subscriptions:0"
FOLLOWERS = "urn:xmpp:pps:subscribers:0/" + BLOG
HOME, AWAY = "localhost", "verona.example"
MERCUTIO = f"mercutio@{AWAY}"

class Wrong(Exception):
    """Something did not go as told."""


def style(code, text):
    return f"\033[{code}m{text}\033[0m" if TERMINAL and "NO_COLOR" not in os.environ else text


def bold(text):
    return style("1", text)


def dim(text):
    return style("2", text)


def xml(element, outer="jabber:client"):
    """An element as it goes over the wire: default namespaces, no prefixes."""
    namespace, _, name = element.tag[1:].rpartition("}") if element.tag[0] == "{" else ("", "", element.tag)
    attributes = [("xmlns", namespace)] if namespace != outer else []
    attributes += [(k.replace("{http://www.w3.org/XML/1998/namespace}", "xml:"), v) for k, v in element.items()]
    start = name + "".join(f" {k}={quoteattr(v)}" for k, v in attributes)
    inside = escape(element.text or "") + "".join(xml(c, namespace) + escape(c.tail or "") for c in element)
    return f"<{start}>{inside}</{name}>" if inside else f"<{start}/>"


def say(text=""):
    print(text, flush=True)


# A client

class Client:
    """One session: plain TCP, SASL PLAIN, capabilities. What arrives and is no answer goes into `inbox`."""

    numbers = itertools.count(1)
    KEPT = {CLIENT + "message"}

    def __init__(self, name, features):
        self.name = name
        self.features = [DISCO, *features]
        self.inbox = []
        self.answers = {}
        self.arrived = asyncio.Event()

    async def connect(self, server, jid, resource):
        user, host = jid.split("@")
        self.reader, self.writer = await asyncio.open_connection(server["address"], server["c2s"])
        self.open(host)
        await self.next_element()
        token = base64.b64encode(f"\0{user}\0{server['users'][jid]}".encode()).decode()
        self.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        if not (await self.next_element()).tag.endswith("}success"):
            raise Wrong(f"{jid} cannot log in")
        self.open(host)
        await self.next_element()
        self.task = asyncio.create_task(self.listen())
        bound = await self.iq("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                                     f"<resource>{resource}</resource></bind>")
        self.jid = bound.find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid").text
        self.send(f"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x-tour' ver='{self.ver()}'/>"
                  "</presence>")
        return self

    def open(self, host):
        self.parser = ET.XMLPullParser(["start", "end"])
        self.depth, self.root = 0, None
        self.write("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'"
                   f" xmlns:stream='http://etherx.jabber.org/streams' to='{host}'>")

    def ver(self):
        text = "client/pc//tour<" + "".join(f + "<" for f in sorted(self.features))
        return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()

    def write(self, text):
        self.writer.write(text.encode())

    def send(self, text):
        show(self.name, "->", text)
        self.write(text)

    async def next_element(self):
        """The next child of the stream."""
        while True:
            for kind, element in self.parser.read_events():
                if kind == "start":
                    self.depth += 1
                    self.root = self.root if self.depth > 1 else element
                else:
                    self.depth -= 1
                    if self.depth == 1:
                        self.root.remove(element)
                        return element
            data = await self.reader.read(65536)
            if not data:
                raise Wrong(f"{self.name}: the server closed the stream")
            self.parser.feed(data)

    async def listen(self):
        while True:
            element = await self.next_element()
            show(self.name, "<-", xml(element))
            if element.tag == CLIENT + "iq" and element.get("type") in ("result", "error"):
                waiting = self.answers.pop(element.get("id"), None)
                if waiting and not waiting.done():
                    waiting.set_result(element)
            elif element.tag == CLIENT + "iq":
                self.reply(element)
            elif element.tag in self.KEPT:
                self.inbox.append(element)
                self.arrived.set()

    def reply(self, request):
        query = request.find(f"{{{DISCO}}}query")
        if request.get("type") != "get" or query is None:
            return
        node = f" node='{query.get('node')}'" if query.get("node") else ""
        to = f" to='{request.get('from')}'" if request.get("from") else ""
        features = "".join(f"<feature var='{f}'/>" for f in self.features)
        self.send(f"<iq type='result' id='{request.get('id')}'{to}><query xmlns='{DISCO}'{node}>"
                  f"<identity category='client' type='pc' name='tour'/>{features}</query></iq>")

    async def iq(self, kind, content, to=None):
        number = f"tour{next(self.numbers)}"
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{number}'{address}>{content}</iq>")
        try:
            result = await asyncio.wait_for(answer, 10)
        except asyncio.TimeoutError:
            raise Wrong(f"{self.name}: no answer to {content}") from None
        if result.get("type") == "error":
            raise Wrong(f"{self.name} was refused: {xml(result)}")
        return result

    async def message(self, what, wanted, seconds=10):
        """Takes the next message out of the inbox for which `wanted` gives something, and returns that."""
        deadline = time.monotonic() + seconds
        while True:
            self.arrived.clear()
            for i, message in enumerate(self.inbox):
                found = wanted(message)
                if found is not None:
                    del self.inbox[i]
                    return found
            try:
                await asyncio.wait_for(self.arrived.wait(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                raise Wrong(f"{self.name} did not receive {what}") from None

    async def close(self):
        """Ends the session. The server may send what is for this device elsewhere until it has closed the stream, too."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        try:
            self.write("</stream:stream>")
            await asyncio.wait_for(self.reader.read(), 5)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.writer.close()


def show(name, arrow, text):
    if VERBOSE:
        say(dim(f"      {name} {arrow} {text}"))


# What is asked and what is looked for

def post(item, title):
    return (f"<pubsub xmlns='{PUBSUB}'><publish node='{BLOG}'><item id='{item}'><entry xmlns='{ATOM}'>"
            f"<title>{title}</title><author><name>Juliet</name><uri>xmpp:juliet@localhost</uri></author>"
            f"<id>tag:localhost,2026:{item}</id><published>2026-11-20T20:00:00Z</published>"
            f"<updated>2026-11-20T20:00:00Z</updated></entry></item></publish>"
            f"<publish-options><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#publish-options</value></field>"
            "<field var='pubsub#access_model'><value>open</value></field>"
            "<field var='pubsub#persist_items'><value>true</value></field>"
            "<field var='pubsub#max_items'><value>max</value></field>"
            "</x></publish-options></pubsub>")


def managed(request, public=False, account="romeo@localhost"):
    mark = f"<public xmlns='{PPS}'/>" if public else ""
    return (f"<pam xmlns='{PAM}' jid='juliet@localhost'>"
            f"<{request} xmlns='{PUBSUB}' node='{BLOG}' jid='{account}'>{mark}</{request}></pam>")


def posted(title):
    """Whether a message brings the post with that title from Juliet's account."""
    def wanted(message):
        entry = message.find(f"{{{EVENT}}}event/{{{EVENT}}}items[@node='{BLOG}']/{{{EVENT}}}item/{{{ATOM}}}entry")
        if message.get("from") == "juliet@localhost" and entry is not None:
            return True if entry.findtext(f"{{{ATOM}}}title") == title else None
    return wanted


def noted(state, account="romeo@localhost"):
    """The version in a message of the own account that says how it stands with Juliet's blog."""
    def wanted(message):
        notify = message.find(f"{{{PAM}}}notify[@service='juliet@localhost']")
        if message.get("from") == account and notify is not None:
            subscription = notify.find(f"{{{PUBSUB}}}subscription[@node='{BLOG}']")
            if subscription is not None and subscription.get("subscription") == state:
                return notify.get("ver")
    return wanted


async def listed(client, account, node, element, attribute):
    """What a public list holds."""
    answer = await client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", account)
    return sorted(e.get(attribute) for e in answer.iter(f"{{{PPS}}}{element}"))


async def versioned_list(client, known=None):
    """What the account of the client is subscribed to, and the version; nothing if the version is the known one."""
    ver = f" ver='{known}'" if known else ""
    answer = await client.iq("get", f"<subscriptions xmlns='{PAM}'{ver}/>")
    found = answer.find(f"{{{PAM}}}subscriptions")
    if found is None:
        return None, known
    return sorted((e.get("service"), e.get("node")) for e in found.iter(f"{{{PAM}}}subscription")), found.get("ver")


async def own_list(client):
    return (await versioned_list(client))[0]


def must(what, got, wanted):
    if got != wanted:
        raise Wrong(f"{what}: {got!r}, not {wanted!r}")


def happened(text):
    say(f"    {style('32', '✓')} {text}")


# The steps

class Tour:
    def __init__(self, servers):
        self.servers = servers
        self.clients = []

    async def person(self, name, jid, resource, *features):
        client = await Client(name, features).connect(self.servers[jid.split("@")[1]], jid, resource)
        self.clients.append(client)
        return client

    async def gone(self, client):
        self.clients.remove(client)
        await client.close()

    async def people_arrive(self):
        """Juliet and Romeo log in, he with two devices; Mercutio does so elsewhere. They are not in each other's rosters."""
        self.juliet = await self.person("Juliet", "juliet@localhost", "balcony")
        self.laptop = await self.person("Romeo's laptop", "romeo@localhost", "laptop", PAM)
        self.phone = await self.person("Romeo's phone", "romeo@localhost", "phone", PAM)
        self.mercutio = await self.person("Mercutio", MERCUTIO, "square", PAM)
        for client in self.clients:
            happened(f"{client.name} is online as {client.jid}")
        must("Romeo's subscriptions", await own_list(self.laptop), [])
        empty, self.version = await versioned_list(self.phone)
        must("Romeo's subscriptions", empty, [])

    async def first_post(self):
        """Juliet publishes on her blog, open to everyone."""
        answer = await self.juliet.iq("set", post("night", "Good night, good night!"))
        must("the id of her post", [e.get("id") for e in answer.iter(f"{{{PUBSUB}}}item")], ["night"])
        happened('"Good night, good night!" is stored at juliet@localhost; the blog came into being with it')

    async def follow(self):
        """With his phone off, Romeo's laptop follows the blog through his account, in public (XEP-0376 and XEP-0465)."""
        await self.gone(self.phone)
        happened("the phone is off")
        await self.laptop.iq("set", managed("subscribe", public=True))
        happened("the account subscribed at Juliet's, and answered the laptop")
        self.noted = await self.laptop.message("the note of the subscription", noted("subscribed"))
        await self.laptop.message("Juliet's latest post", posted("Good night, good night!"))
        happened("the latest post came along")

    async def phone_comes_back(self):
        """The phone comes back, and asks what is new since the version of the list that it knows."""
        self.phone = await self.person("Romeo's phone", "romeo@localhost", "phone", PAM)
        following, version = await versioned_list(self.phone, self.version)
        must("what the phone learns", following, [("juliet@localhost", BLOG)])
        happened("it learns of the blog that the laptop has subscribed to")
        must("the version on the phone", version, self.noted)
        must("what is new since then", await versioned_list(self.phone, version), (None, version))
        happened("both devices hold the same version of the list")
        answer = await self.phone.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{BLOG}' max_items='1'/></pubsub>", "juliet@localhost")
        must("the latest post", answer.findtext(f".//{{{ATOM}}}title"), "Good night, good night!")
        happened("so it reads there what it has missed")

    async def publish(self, item, title, *devices):
        begin = time.monotonic()
        await self.juliet.iq("set", post(item, title))
        for device in devices:
            await device.message("the new post", posted(title))
            happened(f'"{title}" arrived on {device.name}' + dim(f" ({(time.monotonic() - begin) * 1000:.0f} ms)"))

    async def second_post(self):
        """Juliet writes again."""
        await self.publish("parting", "Parting is such sweet sorrow", self.laptop, self.phone)

    async def following(self):
        return await listed(self.mercutio, "romeo@localhost", FOLLOWING, "subscription", "service")

    async def followers(self):
        return await listed(self.mercutio, "juliet@localhost", FOLLOWERS, "subscriber", "jid")

    async def who_follows_whom(self):
        """Mercutio, who knows neither of them, reads from another domain who follows whom."""
        must("whom Romeo follows", await self.following(), ["juliet@localhost"])
        happened("romeo@localhost follows: juliet@localhost")
        must("who follows Juliet's blog", await self.followers(), ["romeo@localhost"])
        happened("juliet@localhost is followed by: romeo@localhost")

    async def follow_from_elsewhere(self):
        """So he follows, too: his own account does it for him."""
        await self.mercutio.iq("set", managed("subscribe", public=True, account=MERCUTIO))
        await self.mercutio.message("the note of the subscription", noted("subscribed", MERCUTIO))
        must("Mercutio's own list", await own_list(self.mercutio), [("juliet@localhost", BLOG)])
        happened(f"the list of {MERCUTIO} has the blog")
        must("who follows Juliet's blog", await self.followers(), [MERCUTIO, "romeo@localhost"])
        happened(f"juliet@localhost is followed by: {MERCUTIO}, romeo@localhost")
        await self.mercutio.message("Juliet's latest post", posted("Parting is such sweet sorrow"))
        happened("the latest post came along")

    async def in_private(self):
        """Romeo withdraws the public mark, from his phone."""
        await self.phone.iq("set", managed("subscribe"))
        for device in (self.laptop, self.phone):
            await device.message("the note of the subscription", noted("subscribed"))
        must("whom Romeo follows", await self.following(), [])
        must("who follows Juliet", await self.followers(), [MERCUTIO])
        happened("Mercutio finds Romeo in neither list")
        must("Romeo's own list", await own_list(self.laptop), [("juliet@localhost", BLOG)])
        happened("Romeo's own list still has the blog")
        await self.publish("morrow", "Till it be morrow", self.laptop, self.phone, self.mercutio)

    async def unfollow(self):
        """Romeo stops following."""
        await self.laptop.iq("set", managed("unsubscribe"))
        one = await self.laptop.message("the note of the end", noted("none"))
        must("the version on the phone", await self.phone.message("the note of the end", noted("none")), one)
        happened("both devices know")
        must("Romeo's own list", await own_list(self.phone), [])
        await self.publish("alone", "Parting, again", self.mercutio)
        await asyncio.sleep(0.3)
        for device in (self.laptop, self.phone):
            must(f"what else came to {device.name}", [xml(m) for m in device.inbox], [])
        happened("it reached neither of Romeo's devices")

    SERVICES = [f"pubsub.{HOME} (a service of its own, on the same engine)"]
    STEPS = [people_arrive, first_post, follow, phone_comes_back, second_post, who_follows_whom, follow_from_elsewhere, in_private,
             unfollow]

    async def play(self):
        try:
            for number, step in enumerate(self.STEPS, 1):
                say(bold(f"\n {number}. {step.__doc__}"))
                await step(self)
        finally:
            for client in self.clients:
                await client.close()


# The servers

def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Server:
    """A process of live.py; `about` is what it says of itself."""

    process = about = None

    def __init__(self, options, *arguments):
        self.name = NAMES[options.host]
        self.arguments = [str(HERE / options.host / "live.py"), "--stdin", *arguments]
        if options.dist:
            self.arguments += ["--dist", options.dist]

    async def start(self):
        # Its own group: Ctrl-C is for the tour, which then ends the server.
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self.arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True)
        line = await self.process.stdout.readline()
        if not line:
            await self.process.wait()
            raise Wrong(f"{self.name} did not start")
        self.about = json.loads(line)

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), 20)
            except asyncio.TimeoutError:
                self.process.terminate()
                await self.process.wait()


def make_servers(options, once):
    """Two Prosodys that talk to each other, or one ejabberd with two domains."""
    here = [word for name in ("romeo", "juliet", "benvolio") for word in ("--user", f"{name}@{HOME}")]
    if not once and is_free(5222):
        here += ["--c2s-port", "5222"]
    there = ["--host", AWAY, "--user", MERCUTIO]
    if options.host == "ejabberd":
        return [Server(options, "--host", HOME, *here, *there)]
    one, other = free_ports(2)
    version = ["--version", options.version]
    return [Server(options, *version, "--host", HOME, "--s2s-port", str(one), "--peer", f"{AWAY}=127.0.0.1:{other}", *here),
            Server(options, *version, "--pubsub", "no", "--s2s-port", str(other), "--peer", f"{HOME}=127.0.0.1:{one}", *there)]


def tell_how_to_connect(servers, services):
    plain = "Plain TCP: allow an unencrypted connection in your client."
    say(bold("\n This is yours until Ctrl-C. ") + plain)
    for about in (server.about for server in servers):
        say(f"    Address    127.0.0.1, port {bold(str(about['c2s']))}, for {', '.join(about['users'])}")
        say(f"               data and log in {about['data']} (removed at the end)")
    say("    Password   " + ", ".join(sorted(set(servers[0].about["users"].values()))))
    for service in services:
        say(f"    Pubsub     {service}")


async def run(options, story=Tour, make_servers=make_servers):
    once = options.once or os.environ.get("ONCE", "") not in ("", "0") or not (TERMINAL and sys.stdin.isatty())
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    main = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: (asked.set(), main.cancel()))
    servers = make_servers(options, once)
    status = 1
    try:
        name = NAMES[options.host]
        count = "a" if len(servers) == 1 else "two"
        say(dim(f"Starting {count} throw-away {name}{'s' * (len(servers) - 1)} on loopback..."))
        await asyncio.gather(*(server.start() for server in servers))
        places = " and ".join(host for server in servers for host in server.about["hosts"])
        say(f"{name} {servers[0].about['version']} with mod_pam_pps is up: {places}.")
        await story({host: server.about for server in servers for host in server.about["hosts"]}).play()
        say(bold(style("32", "\n Every step went as told.")))
        status = 0
        if not once:
            tell_how_to_connect(servers, story.SERVICES)
            ends = [asyncio.ensure_future(server.process.wait()) for server in servers]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            say(f"{name} ended by itself.")
            status = 1
    except asyncio.CancelledError:
        say("")
    except Wrong as why:
        say(f"    {style('31', '✗')} {why}")
        for about in (server.about for server in servers if server.about):
            say(f"\nThe end of the log of {about['host']}:")
            say("".join(pathlib.Path(about["log"]).read_text(errors="replace").splitlines(True)[-15:]))
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
    return status


def arguments(usage):
    p = argparse.ArgumentParser(usage=usage)
    p.add_argument("--once", action="store_true")
    p.add_argument("--host", choices=list(NAMES), default=os.environ.get("HOST") or "prosody")
    p.add_argument("--dist", default=os.environ.get("DIST_PROSODY"))
    p.add_argument("--version", choices=["0.12", "13"], default=os.environ.get("PROSODY", "0.12"))
    return p.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(arguments(__doc__))))
