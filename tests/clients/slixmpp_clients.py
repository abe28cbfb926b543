#!/usr/bin/env python3
"""Two people with slixmpp: what its plugins do for avatars, nicknames, bookmarks, device lists and blogs."""

import asyncio
import base64
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError

from common import (ATOM, AVATAR, AVATAR_DATA, BLOG, BOOKMARKS, DEVICES, NICK, PNG, PUBSUB, Arrivals, main, play, refused)


class Person(slixmpp.ClientXMPP):
    def __init__(self, jid, resource, interests=()):
        super().__init__(f"{jid}/{resource}", "secret",
                         plugin_config={"feature_mechanisms": {"unencrypted_scram": True, "unencrypted_plain": True}})
        self.enable_direct_tls = self.enable_starttls = False
        self.enable_plaintext = True
        for plugin in ("xep_0004", "xep_0030", "xep_0060", "xep_0084", "xep_0115", "xep_0163", "xep_0172"):
            self.register_plugin(plugin)
        self.interests = interests
        self.events = Arrivals()
        self.online = asyncio.Event()
        self.add_event_handler("session_start", self.started)
        self.register_handler(slixmpp.xmlstream.handler.Callback(
            "events", slixmpp.xmlstream.matcher.StanzaPath("message/pubsub_event"), lambda m: self.events.add(m)))

    async def started(self, _):
        for node in self.interests:
            self.plugin["xep_0163"].add_interest(node)
        self.send_presence()
        await self.get_roster()
        self.online.set()

    async def come(self, server):
        self.connect(server["address"], server["c2s"])
        await asyncio.wait_for(self.online.wait(), 10)
        return self

    @property
    def pubsub(self):
        return self.plugin["xep_0060"]

    def form(self, kind, **fields):
        form = self.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value=f"{PUBSUB}#{kind}")
        for name, value in fields.items():
            form.add_field(var=f"pubsub#{name}", value=value)
        return form

    def item(self, node, sender):
        """Waits for the notification with an item of the node; its payload."""
        def wanted(m):
            return m["from"].bare == sender and m.xml.find(f".//{{{PUBSUB}#event}}items[@node='{node}']") is not None
        return self.events.get(f"an item of {node} at {self.boundjid}", wanted)


def payload(text):
    return ET.fromstring(text)


async def session(server):
    interests = [AVATAR, NICK, BOOKMARKS, DEVICES]
    juliet = await Person("juliet@localhost", "balcony", interests).come(server)
    chamber = await Person("juliet@localhost", "chamber", interests).come(server)
    romeo = await Person("romeo@localhost", "orchard", interests).come(server)
    mercutio = await Person("mercutio@localhost", "square", interests).come(server)

    async def avatar():
        """An avatar is published, the contact is notified and fetches it."""
        await juliet.plugin["xep_0084"].publish_avatar(PNG)
        number = juliet.plugin["xep_0084"].generate_id(PNG)
        await juliet.plugin["xep_0084"].publish_avatar_metadata([{"id": number, "type": "image/png", "bytes": len(PNG)}])
        event = await romeo.item(AVATAR, "juliet@localhost")
        info = event.xml.find(f".//{{{AVATAR}}}info")
        assert info is not None and info.get("id") == number, ET.tostring(event.xml)
        answer = await romeo.plugin["xep_0084"].retrieve_avatar("juliet@localhost", number)
        data = answer.xml.find(f".//{{{AVATAR_DATA}}}data")
        assert base64.b64decode(data.text) == PNG
        error = await refused(mercutio.plugin["xep_0084"].retrieve_avatar("juliet@localhost", number))
        assert isinstance(error, IqError), error

    async def nick():
        """A nickname reaches the contact and the other device."""
        await juliet.plugin["xep_0172"].publish_nick("Jule")
        for who in (romeo, chamber):
            event = await who.item(NICK, "juliet@localhost")
            assert event.xml.findtext(f".//{{{NICK}}}nick") == "Jule"
        assert not any(m.xml.find(f".//{{{NICK}}}nick") is not None for m in mercutio.events.all)

    async def bookmarks():
        """Bookmarks with publish-options reach the other device, and nobody else."""
        options = juliet.form("publish-options", persist_items="true", max_items="max", send_last_published_item="never",
                              access_model="whitelist")
        for room in ("capulets@rooms.localhost", "orchard@rooms.localhost"):
            conference = payload(f"<conference xmlns='{BOOKMARKS}' name='{room}' autojoin='true'><nick>Jule</nick></conference>")
            await juliet.pubsub.publish(None, BOOKMARKS, id=room, payload=conference, options=options)
        event = await chamber.item(BOOKMARKS, "juliet@localhost")
        assert event.xml.find(f".//{{{BOOKMARKS}}}conference").get("autojoin") == "true"
        answer = await chamber.pubsub.get_items(None, BOOKMARKS)
        rooms = [i.get("id") for i in answer.xml.iter(f"{{{PUBSUB}}}item")]
        assert sorted(rooms) == ["capulets@rooms.localhost", "orchard@rooms.localhost"], rooms
        await juliet.pubsub.retract(None, BOOKMARKS, "orchard@rooms.localhost", notify="1")
        await chamber.events.get("the retraction", lambda m: m.xml.find(f".//{{{PUBSUB}#event}}retract") is not None)
        assert isinstance(await refused(romeo.pubsub.get_items("juliet@localhost", BOOKMARKS)), IqError)
        await asyncio.sleep(0.3)
        assert not any(BOOKMARKS in str(m) for m in romeo.events.all), "a private node leaked"

    async def devices():
        """A device list is open to strangers, with as many items as may be."""
        options = juliet.form("publish-options", access_model="open", max_items="max")
        devices = payload("<devices xmlns='urn:xmpp:omemo:2'><device id='1'/><device id='2'/></devices>")
        await juliet.pubsub.publish(None, DEVICES, id="current", payload=devices, options=options)
        await romeo.item(DEVICES, "juliet@localhost")
        answer = await mercutio.pubsub.get_items("juliet@localhost", DEVICES)
        found = [d.get("id") for d in answer.xml.iter("{urn:xmpp:omemo:2}device")]
        assert found == ["1", "2"], found
        for number in range(30):
            bundle = payload(f"<bundle xmlns='urn:xmpp:omemo:2'><spk id='{number}'>AAAA</spk></bundle>")
            await juliet.pubsub.publish(None, "urn:xmpp:omemo:2:bundles", id=str(number), payload=bundle, options=options)
        answer = await mercutio.pubsub.get_items("juliet@localhost", "urn:xmpp:omemo:2:bundles")
        assert len(list(answer.xml.iter(f"{{{PUBSUB}}}item"))) == 30

    async def blog():
        """A blog tells its owner of new and lost readers."""
        options = juliet.form("publish-options", persist_items="true", max_items="max", notify_sub="true",
                              notify_retract="true", access_model="open", itemreply="publisher")
        entry = payload(f"<entry xmlns='{ATOM}'><title>Good night</title></entry>")
        await juliet.pubsub.publish(None, BLOG, id="one", payload=entry, options=options)
        await mercutio.pubsub.subscribe("juliet@localhost", BLOG)
        event = f".//{{{PUBSUB}#event}}subscription"

        def told(state):
            def wanted(m):
                s = m.xml.find(event)
                return s is not None and (s.get("jid"), s.get("subscription")) == ("mercutio@localhost", state)
            return wanted
        await juliet.events.get("the news of a reader", told("subscribed"))
        await mercutio.item(BLOG, "juliet@localhost")
        await juliet.pubsub.publish(None, BLOG, id="two", payload=entry, options=options)
        await mercutio.events.get("the second post", lambda m: m.xml.find(f".//{{{PUBSUB}#event}}item[@id='two']") is not None)
        answer = await juliet.pubsub.get_node_subscriptions("juliet@localhost", BLOG)
        readers = [s.get("jid") for s in answer.xml.iter(f"{{{PUBSUB}#owner}}subscription")]
        assert readers == ["mercutio@localhost"], readers
        await mercutio.pubsub.unsubscribe("juliet@localhost", BLOG)
        await juliet.events.get("the news of a lost reader", told("none"))

    async def retry():
        """A precondition is not met, the node is configured anew, and the publish goes through."""
        node, entry = "urn:x:retry", payload("<x xmlns='urn:x'/>")
        await juliet.pubsub.publish(None, node, id="1", payload=entry,
                                    options=juliet.form("publish-options", access_model="presence"))
        options = juliet.form("publish-options", access_model="open", max_items="max")
        error = await refused(juliet.pubsub.publish(None, node, id="2", payload=entry, options=options))
        assert isinstance(error, IqError) and error.condition == "conflict", error
        assert error.iq.xml.find(f".//{{{PUBSUB}#errors}}precondition-not-met") is not None
        answer = await juliet.pubsub.get_node_config("juliet@localhost", node)
        form = answer["pubsub_owner"]["configure"]["form"]
        names = set(form.get_fields())
        assert {"pubsub#access_model", "pubsub#max_items"} <= names, names
        form["type"] = "submit"
        form.set_values({**form.get_values(), "pubsub#access_model": "open", "pubsub#max_items": "max"})
        await juliet.pubsub.set_node_config("juliet@localhost", node, form)
        await juliet.pubsub.publish(None, node, id="2", payload=entry, options=options)
        answer = await mercutio.pubsub.get_items("juliet@localhost", node)
        assert len(list(answer.xml.iter(f"{{{PUBSUB}}}item"))) == 2

    async def disco():
        """What clients look for before they use an account is announced."""
        info = (await juliet.plugin["xep_0030"].get_info(jid="juliet@localhost"))["disco_info"]
        assert any(i[:2] == ("pubsub", "pep") for i in info["identities"]), info["identities"]
        wanted = {f"{PUBSUB}#{f}" for f in ("publish-options", "persistent-items", "multi-items", "auto-create",
                                            "filtered-notifications", "config-node-max", "access-presence")}
        wanted |= {"urn:xmpp:pam:0", "urn:xmpp:pps:0"}
        assert wanted <= set(info["features"]), wanted - set(info["features"])

    failed = await play([avatar, nick, bookmarks, devices, blog, retry, disco])
    for person in (juliet, chamber, romeo, mercutio):
        await person.disconnect()
    return failed


if __name__ == "__main__":
    main(session)
