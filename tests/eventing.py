#!/usr/bin/env python3
"""The story of `make run EVENTING=1`: the twenty examples of XEP-0207 on a live server, in order.

    eventing.py [--once] [--host prosody|ejabberd] [--dist DIR] [--version 0.12|13]

What the document shows in the old way (presence, rosters, groupchat) is played beside what it shows as nodes, by the same people
on the same server: neither knows of the other. Options and exit status are those of tour.py.
"""

import asyncio
import itertools
import sys
import tempfile

from tour import CLIENT, EVENT, PUBSUB, Client, Server, Tour, Wrong, arguments, happened, must, run

FORMS = "jabber:x:data"
ROSTER = "jabber:iq:roster"
MUC = "http://jabber.org/protocol/muc"
ADDRESS = "http://jabber.org/protocol/address"
CHAT, PAIRS, GROUPCHAT = "chat.shakespeare.lit", "pubsub.shakespeare.lit", "rooms.shakespeare.lit"
JULIET, ROMEO, BARD = "juliet@capulet.lit", "romeo@montague.lit", "bard@shakespeare.lit"
NURSE, BENVOLIO = "nurse@capulet.lit", "benvolio@montague.lit"
SERVICES = tempfile.NamedTemporaryFile("w", suffix=".cfg.lua")
PEOPLE = {JULIET: "balcony", ROMEO: "mobile", NURSE: "chamber", BENVOLIO: "pda", BARD: "globe"}


class Person(Client):
    """Keeps presence and roster pushes as well."""

    KEPT = {CLIENT + "message", CLIENT + "presence"}

    def reply(self, request):
        if request.get("type") == "set":
            self.inbox.append(request)
            self.arrived.set()
            self.send(f"<iq type='result' id='{request.get('id')}'/>")
        else:
            super().reply(request)


def form(kind, *fields):
    rows = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields)
    return (f"<x xmlns='{FORMS}' type='submit'><field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#{kind}</value></field>"
            f"{rows}</x>")


def pubsub(content, owner=""):
    return f"<pubsub xmlns='{PUBSUB}{owner}'>{content}</pubsub>"


def publish(node, payload):
    return pubsub(f"<publish node='{node}'><item>{payload}</item></publish>")


def said(words):
    return f"<message xmlns='jabber:client'><body>{words}</body></message>"


def shown(kind, jid):
    """Presence of that type from that JID."""
    def wanted(stanza):
        fits = stanza.tag == CLIENT + "presence" and stanza.get("type") == kind and stanza.get("from") == jid
        return stanza if fits else None
    return wanted


def moping(jid):
    """Presence in the old way, with the status of example 2."""
    def wanted(stanza):
        found = shown(None, jid)(stanza)
        return found if found is not None and found.findtext(CLIENT + "status") == "Moping" else None
    return wanted


def event(service, node, path):
    """A notification of the node that has such a payload."""
    def wanted(stanza):
        items = stanza.find(f"{{{EVENT}}}event/{{{EVENT}}}items[@node='{node}']")
        if stanza.tag == CLIENT + "message" and stanza.get("from") == service and items is not None:
            return stanza if items.find(f"{{{EVENT}}}item/{path}") is not None else None
    return wanted


def published_presence(kind=None):
    path = f"{CLIENT}presence[@from='{JULIET}/balcony']"
    return event(JULIET, "presence", path + (f"[@type='{kind}']" if kind else f"[{CLIENT}status='Moping']"))


def spoken(service, node, words):
    return event(service, node, f"{CLIENT}message[{CLIENT}body='{words}']")


def speaker(message):
    found = message.find(f"{{{ADDRESS}}}addresses/{{{ADDRESS}}}address[@type='replyto']")
    return found is not None and found.get("jid")


def state(service, node, wanted_state):
    def wanted(stanza):
        path = f"{{{EVENT}}}event/{{{EVENT}}}subscription[@node='{node}'][@subscription='{wanted_state}']"
        return stanza if stanza.get("from") == service and stanza.find(path) is not None else None
    return wanted


def request_of(jid):
    """A request for approval: its fields."""
    def wanted(stanza):
        x = stanza.find(f"{{{FORMS}}}x[@type='form']")
        if stanza.tag != CLIENT + "message" or x is None:
            return None
        fields = {f.get("var"): f.findtext(f"{{{FORMS}}}value") for f in x.iter(f"{{{FORMS}}}field")}
        return (stanza, fields) if fields.get("pubsub#subscriber_jid") == jid else None
    return wanted


def groupchat(words, sender):
    def wanted(stanza):
        fits = stanza.get("type") == "groupchat" and stanza.get("from") == sender
        return stanza if fits and stanza.findtext(CLIENT + "body") == words else None
    return wanted


class Story(Tour):
    SERVICES = [f"{CHAT} (every node is a room)", f"{PAIRS} (every node is a conversation)"]

    async def person(self, jid):
        client = await Person(jid.split("@")[0].capitalize(), []).connect(self.servers[jid.split("@")[1]], jid, PEOPLE[jid])
        self.clients.append(client)
        await client.iq("get", f"<query xmlns='{ROSTER}'/>")
        return client

    async def ask_and_allow(self, who, answer_to):
        """Somebody asks to see Juliet's node, and she says yes."""
        bare = who.jid.split("/")[0]
        answer = await who.iq("set", pubsub(f"<subscribe node='presence' jid='{bare}'/>"), JULIET)
        must("the state of the subscription", [e.get("subscription") for e in answer.iter(f"{{{PUBSUB}}}subscription")], ["pending"])
        message, fields = await self.juliet.message("the request", request_of(bare))
        must("what the form is about", (message.get("from"), fields["FORM_TYPE"], fields["pubsub#node"]),
             (JULIET, PUBSUB + "#subscribe_authorization", "presence"))
        self.juliet.send(f"<message to='{answer_to}' id='{message.get('id')}'>" + form(
            "subscribe_authorization", ("pubsub#node", "presence"), ("pubsub#subscriber_jid", bare), ("pubsub#allow", "true"))
            + "</message>")
        await who.message("the approval", state(JULIET, "presence", "subscribed"))

    async def people_arrive(self):
        """Juliet and those who know her log in. Romeo, her nurse and Benvolio are let in to her node `presence`, too."""
        self.juliet, self.romeo, self.nurse, self.benvolio, self.bard = [await self.person(jid) for jid in PEOPLE]
        self.friends = (self.romeo, self.nurse, self.benvolio)
        for friend in self.friends:
            await self.ask_and_allow(friend, JULIET)
            happened(f"{friend.jid} is online, and sees the node")

    async def presence(self):
        """Examples 1 and 2: Juliet says by presence that she is moping."""
        self.juliet.send("<presence><status>Moping</status></presence>")
        for friend in self.friends:
            await friend.message("her presence", moping(self.juliet.jid))
            happened(f"{friend.name} sees it")

    async def presence_as_node(self):
        """Examples 3 and 4: she publishes it to her node `presence`."""
        payload = f"<presence xmlns='jabber:client' from='{self.juliet.jid}'><status>Moping</status></presence>"
        answer = await self.juliet.iq("set", publish("presence", payload))
        must("what is in the result", len(answer), 0)
        for friend in self.friends:
            await friend.message("the notification", published_presence())
            happened(f"{friend.name} is notified, from {JULIET}")

    async def roster(self):
        """Examples 5 to 8: the bard asks to see her presence, she agrees, and her roster has him."""
        self.bard.send(f"<presence to='{JULIET}' type='subscribe'/>")
        await self.juliet.message("the bard's request", shown("subscribe", BARD))
        happened("his request arrives")
        self.juliet.send(f"<presence to='{BARD}' type='subscribed'/>")
        await self.juliet.message("the roster push", lambda s: s.find(f"{{{ROSTER}}}query/{{{ROSTER}}}item[@jid='{BARD}'][@subscription='from']"))
        happened("the roster says: from")
        await self.bard.message("her presence", moping(self.juliet.jid))

    async def roster_as_node(self):
        """Examples 9 to 11: he asks to be subscribed to the node, and she answers the form, to the domain."""
        await self.ask_and_allow(self.bard, "capulet.lit")
        happened("pending, asked, allowed")
        await self.bard.message("her latest presence", published_presence())
        happened("the bard is sent what she has published before")
        answer = await self.juliet.iq("get", pubsub("<items node='urn:pam_pps:roster:0'/>"))
        found = {e.get("jid"): e.get("subscription") for e in answer.iter(f"{{{ROSTER}}}item")}
        must("the computed roster", found, dict.fromkeys((BARD, BENVOLIO, NURSE, ROMEO), "from"))
        happened("the computed roster has all four as: from")

    async def join(self):
        """Example 12: all but the nurse enter a chat room."""
        room = f"characters@{GROUPCHAT}"
        people = {self.juliet: "JC", self.bard: "bard", self.romeo: "romeo", self.benvolio: "benvolio"}
        for person, nick in people.items():
            person.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
            await person.message("its own presence in the room", shown(None, f"{room}/{nick}"))
            if person is self.juliet:
                # Whoever comes first makes it.
                await person.iq("set", f"<query xmlns='{MUC}#owner'><x xmlns='{FORMS}' type='submit'/></query>", room)
            happened(f"{person.name} is there as {nick}")

    async def join_as_node(self):
        """Example 13: and the node `characters`, which the bard has made open, under the same names."""
        await self.bard.iq("set", pubsub("<create node='characters'/><configure>" + form(
            "node_config", ("pubsub#access_model", "open")) + "</configure>"), CHAT)
        for person, nick in ((self.juliet, "JC"), (self.bard, "bard"), (self.romeo, "romeo"), (self.benvolio, "benvolio")):
            answer = await person.iq("set", pubsub(
                f"<subscribe node='characters' jid='{person.jid}'/><options node='characters' jid='{person.jid}'>"
                + form("subscribe_options", ("roomnick", nick)) + "</options>"), CHAT)
            must("the state", [e.get("subscription") for e in answer.iter(f"{{{PUBSUB}}}subscription")], ["subscribed"])
            happened(f"{person.name} is there as {nick}")
        try:
            await self.nurse.iq("set", pubsub(f"<subscribe node='characters' jid='{self.nurse.jid}'/><options>" + form(
                "subscribe_options", ("roomnick", "JC")) + "</options>"), CHAT)
        except Wrong as why:
            must("why the nurse is refused", "<conflict " in str(why), True)
            happened("the nurse is not: JC is taken")
        else:
            raise Wrong("two have the same name")

    async def talk(self):
        """Examples 14 and 15: Juliet says hi in the chat room."""
        self.juliet.send(f"<message to='characters@{GROUPCHAT}' type='groupchat'><body>hi</body></message>")
        for person in (self.bard, self.romeo, self.benvolio):
            await person.message("the message", groupchat("hi", f"characters@{GROUPCHAT}/JC"))
            happened(f"{person.name} hears it")

    async def talk_as_node(self):
        """Examples 16 and 17: and in the node."""
        answer = await self.juliet.iq("set", publish("characters", said("hi")), CHAT)
        must("what is in the result", len(answer), 0)
        ids = set()
        for person in (self.bard, self.romeo, self.benvolio, self.juliet):
            message = await person.message("the notification", spoken(CHAT, "characters", "hi"))
            must("who said it", speaker(message), self.juliet.jid)
            ids.add(message.get("id"))
            happened(f"{person.name} hears it, and from whom")
        must("how many ids there are", len(ids), 4)

    async def begin(self):
        """Example 18: Juliet makes a node for Romeo and herself, and subscribes him to it."""
        await self.juliet.iq("set", pubsub("<create node='me_and_romeo'/><configure>" + form(
            "node_config", ("pubsub#access_model", "whitelist"), ("pubsub#publisher", ROMEO)) + "</configure>"), PAIRS)
        await self.juliet.iq("set", pubsub("<subscriptions node='me_and_romeo'>"
                                           f"<subscription jid='{ROMEO}' subscription='subscribed'/></subscriptions>", "#owner"), PAIRS)
        await self.romeo.message("the news", state(PAIRS, "me_and_romeo", "subscribed"))
        happened("Romeo is told")

    async def speak(self):
        """Examples 19 and 20: she speaks, and both hear it; then he does."""
        for person, words in ((self.juliet, "wherefore art thou?"), (self.romeo, "here")):
            answer = await person.iq("set", publish("me_and_romeo", said(words)), PAIRS)
            must("what is in the result", len(answer), 0)
            for listener in (self.romeo, self.juliet):
                message = await listener.message("the notification", spoken(PAIRS, "me_and_romeo", words))
                must("who said it", speaker(message), person.jid)
            happened(f'both hear {person.name}: "{words}"')

    async def leave(self):
        """And then Juliet is gone, without a word: her account says so in her name, and the name JC is free."""
        await self.gone(self.juliet)
        for friend in (*self.friends, self.bard):
            await friend.message("that she is gone", published_presence("unavailable"))
        happened("all who saw the node are told")
        await self.nurse.iq("set", pubsub(f"<subscribe node='characters' jid='{self.nurse.jid}'/><options>" + form(
            "subscribe_options", ("roomnick", "JC")) + "</options>"), CHAT)
        happened("the nurse is in the room as JC")

    STEPS = [people_arrive, presence, presence_as_node, roster, roster_as_node, join, join_as_node, talk, talk_as_node, begin, speak,
             leave]


def make_servers(options, _once):
    """One server with the domains of the document. Its chat room is of the server, the other services are nodes."""
    common = list(itertools.chain.from_iterable(
        [("--host", host) for host in ("capulet.lit", "montague.lit", "shakespeare.lit")] + [("--user", jid) for jid in PEOPLE]
        + [("--contacts", f"{JULIET},{jid}") for jid in (ROMEO, NURSE, BENVOLIO)]))
    if options.host == "ejabberd":
        return [Server(options, *common, "--rooms", GROUPCHAT, "--set", "eventing=true", "--set",
                       'services={"chat.@HOST@": {"eventing": "rooms"}, "pubsub.@HOST@": {"eventing": "conversations"}}')]
    for name, kind in ((CHAT, "rooms"), (PAIRS, "conversations")):
        SERVICES.write(f'Component "{name}" "pam_pps"\n\tpam_pps_eventing = "{kind}"\n')
    SERVICES.flush()
    return [Server(options, *common, "--version", options.version, "--pubsub", "no", "--component", f"{GROUPCHAT}=muc",
                   "--set", "pam_pps_eventing = true", "--config", SERVICES.name)]


if __name__ == "__main__":
    sys.exit(asyncio.run(run(arguments(__doc__), Story, make_servers)))
