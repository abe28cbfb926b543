#!/usr/bin/env python3
"""Two people with aioxmpp: what its services do for avatars, nicknames, bookmarks, device lists and blogs."""

import asyncio
import contextlib

import aioxmpp
import aioxmpp.forms as forms
import aioxmpp.pubsub.xso as pubsub_xso
import aioxmpp.xso as xso

from common import (ATOM, AVATAR, BLOG, BOOKMARKS, DEVICES, NICK, PNG, PUBSUB, Arrivals, main, play, refused)


@pubsub_xso.as_payload_class
class Nick(xso.XSO):
    TAG = (NICK, "nick")
    text = xso.Text()


class RoomNick(xso.XSO):
    TAG = (BOOKMARKS, "nick")
    text = xso.Text()


@pubsub_xso.as_payload_class
class Conference(xso.XSO):
    TAG = (BOOKMARKS, "conference")
    autojoin = xso.Attr("autojoin", type_=xso.Bool(), default=False)
    name = xso.Attr("name", default=None)
    nick = xso.Child([RoomNick])


class Device(xso.XSO):
    TAG = ("urn:xmpp:omemo:2", "device")
    id_ = xso.Attr("id")


@pubsub_xso.as_payload_class
class Devices(xso.XSO):
    TAG = ("urn:xmpp:omemo:2", "devices")
    devices = xso.ChildList([Device])


@pubsub_xso.as_payload_class
class Entry(xso.XSO):
    TAG = (ATOM, "entry")
    title = xso.ChildText((ATOM, "title"))


def entry(title):
    made = Entry()
    made.title = title
    return made


def form(kind, **fields):
    data = forms.Data(forms.DataType.SUBMIT)
    data.fields.append(forms.Field(type_=forms.FieldType.HIDDEN, var="FORM_TYPE", values=[f"{PUBSUB}#{kind}"]))
    for name, value in fields.items():
        data.fields.append(forms.Field(var=f"pubsub#{name}", values=[value]))
    return data


# aioxmpp demands this attribute, which is optional, and drops the stanza without it.
vars(pubsub_xso.EventSubscription)["expiry"].default = None


class News(aioxmpp.service.Service):
    """Notifications of subscriptions, which the pubsub service of aioxmpp drops."""

    ORDER_BEFORE = [aioxmpp.PubSubClient]

    def __init__(self, client, **kwargs):
        super().__init__(client, **kwargs)
        self.arrivals = Arrivals()

    # The one of aioxmpp fails for a class of the main script.
    def derive_logger(self, logger):
        return logger.getChild("news")

    @aioxmpp.service.inbound_message_filter
    def look(self, message):
        event = message.xep0060_event
        if event is not None and isinstance(event.payload, pubsub_xso.EventSubscription):
            self.arrivals.add((str(event.payload.jid), event.payload.subscription))
        return message


class Person:
    def __init__(self, server, jid, resource, interests):
        security = aioxmpp.make_security_layer("secret", no_verify=True)._replace(tls_required=False)
        self.jid = aioxmpp.JID.fromstr(jid)
        self.client = aioxmpp.PresenceManagedClient(
            self.jid.replace(resource=resource), security,
            override_peer=[(server["address"], server["c2s"], aioxmpp.connector.STARTTLSConnector())])
        self.pubsub = self.client.summon(aioxmpp.PubSubClient)
        self.pep = self.client.summon(aioxmpp.PEPClient)
        self.caps = self.client.summon(aioxmpp.EntityCapsService)
        self.disco = self.client.summon(aioxmpp.DiscoClient)
        self.presence = self.client.summon(aioxmpp.PresenceServer)
        self.avatars = self.client.summon(aioxmpp.avatar.AvatarService)
        self.claims = [self.pep.claim_pep_node(node, notify=True) for node in interests]
        self.items = Arrivals()
        self.gone = Arrivals()
        self.news = self.client.summon(News).arrivals
        self.pubsub.on_item_published.connect(self.published)
        self.pubsub.on_item_retracted.connect(self.retracted)

    def published(self, jid, node, item, *, message=None):
        self.items.add((str(jid.bare()), node, item.id_, item.registered_payload))

    def retracted(self, jid, node, number, *, message=None):
        self.gone.add((str(jid.bare()), node, number))

    async def item(self, node, sender="juliet@localhost", number=None):
        found = await self.items.get(f"an item of {node} at {self.client.local_jid}",
                                     lambda i: i[:2] == (sender, node) and number in (None, i[2]))
        return found[3]


async def session(server):
    interests = [NICK, BOOKMARKS, DEVICES]
    async with contextlib.AsyncExitStack() as stack:
        async def come(jid, resource):
            person = Person(server, jid, resource, interests)
            await stack.enter_async_context(person.client.connected())
            return person
        juliet = await come("juliet@localhost", "balcony")
        chamber = await come("juliet@localhost", "chamber")
        romeo = await come("romeo@localhost", "orchard")
        mercutio = await come("mercutio@localhost", "square")
        return await play(cases(juliet, chamber, romeo, mercutio))


def cases(juliet, chamber, romeo, mercutio):
    async def avatar():
        """An avatar is published, the contact is notified and fetches it."""
        told = Arrivals()
        romeo.avatars.on_metadata_changed.connect(lambda jid, metadata: told.add((str(jid), metadata)))
        picture = aioxmpp.avatar.AvatarSet()
        picture.add_avatar_image("image/png", image_bytes=PNG)
        await juliet.avatars.publish_avatar_set(picture)
        _, metadata = await told.get(f"the metadata of {AVATAR}", lambda t: t[0].startswith("juliet@localhost") and t[1])
        assert await metadata[0].get_image_bytes() == PNG

    async def nick():
        """A nickname reaches the contact and the other device."""
        await juliet.pep.publish(NICK, named("Jule"))
        for who in (romeo, chamber):
            assert (await who.item(NICK)).text == "Jule"
        assert not any(node == NICK for _, node, _, _ in mercutio.items.all)

    def named(text):
        made = Nick()
        made.text = text
        return made

    async def bookmarks():
        """Bookmarks with publish-options reach the other device, and nobody else."""
        options = form("publish-options", persist_items="true", max_items="max", send_last_published_item="never",
                       access_model="whitelist")
        for room in ("capulets@rooms.localhost", "orchard@rooms.localhost"):
            conference = Conference()
            conference.name, conference.autojoin, conference.nick = room, True, RoomNick()
            conference.nick.text = "Jule"
            await juliet.pubsub.publish(None, BOOKMARKS, conference, id_=room, publish_options=options)
        assert (await chamber.item(BOOKMARKS)).nick.text == "Jule"
        stored = await chamber.pubsub.get_items(None, BOOKMARKS)
        rooms = sorted(i.id_ for i in stored.payload.items)
        assert rooms == ["capulets@rooms.localhost", "orchard@rooms.localhost"], rooms
        await juliet.pubsub.retract(None, BOOKMARKS, "orchard@rooms.localhost", notify=True)
        await chamber.gone.get("the retraction", lambda g: g[1:] == (BOOKMARKS, "orchard@rooms.localhost"))
        assert isinstance(await refused(romeo.pubsub.get_items(juliet.jid, BOOKMARKS)), aioxmpp.errors.XMPPError)
        await asyncio.sleep(0.3)
        assert not any(node == BOOKMARKS for _, node, _, _ in romeo.items.all), "a private node leaked"

    async def devices():
        """A device list is open to strangers, with as many items as may be."""
        made = Devices()
        for number in ("1", "2"):
            device = Device()
            device.id_ = number
            made.devices.append(device)
        options = form("publish-options", access_model="open", max_items="max")
        await juliet.pubsub.publish(None, DEVICES, made, id_="current", publish_options=options)
        await romeo.item(DEVICES)
        stored = await mercutio.pubsub.get_items(juliet.jid, DEVICES)
        assert [d.id_ for d in stored.payload.items[0].registered_payload.devices] == ["1", "2"]

    async def blog():
        """A blog tells its owner of new and lost readers."""
        options = form("publish-options", persist_items="true", max_items="max", notify_sub="true", notify_retract="true",
                       access_model="open", itemreply="publisher")
        await juliet.pubsub.publish(None, BLOG, entry("Good night"), id_="one", publish_options=options)
        await mercutio.pubsub.subscribe(juliet.jid, BLOG)
        await juliet.news.get("the news of a reader", lambda n: n == ("mercutio@localhost", "subscribed"))
        assert (await mercutio.item(BLOG, number="one")).title == "Good night"
        await juliet.pubsub.publish(None, BLOG, entry("Parting"), id_="two", publish_options=options)
        assert (await mercutio.item(BLOG, number="two")).title == "Parting"
        answer = await juliet.pubsub.get_node_subscriptions(None, BLOG)
        assert [str(s.jid) for s in answer.payload.subscriptions] == ["mercutio@localhost"]
        await mercutio.pubsub.unsubscribe(juliet.jid, BLOG)
        await juliet.news.get("the news of a lost reader", lambda n: n == ("mercutio@localhost", "none"))

    async def retry():
        """A precondition is not met, the node is configured anew, and the publish goes through."""
        node = "urn:x:retry"
        await juliet.pubsub.publish(None, node, entry("1"), id_="1",
                                    publish_options=form("publish-options", access_model="presence"))
        options = form("publish-options", access_model="open", max_items="max")
        error = await refused(juliet.pubsub.publish(None, node, entry("2"), id_="2", publish_options=options))
        assert error.condition == aioxmpp.ErrorCondition.CONFLICT, error
        config = aioxmpp.pubsub.NodeConfigForm.from_xso(await juliet.pubsub.get_node_config(None, node))
        config.access_model.value = "open"
        config.max_items.value = "max"
        await juliet.pubsub.set_node_config(None, config.render_reply(), node)
        await juliet.pubsub.publish(None, node, entry("2"), id_="2", publish_options=options)
        stored = await mercutio.pubsub.get_items(juliet.jid, node)
        assert len(stored.payload.items) == 2

    async def disco():
        """What clients look for before they use an account is announced."""
        assert await juliet.pep.available()
        features = (await juliet.disco.query_info(juliet.jid)).features
        wanted = {f"{PUBSUB}#{f}" for f in ("publish-options", "persistent-items", "multi-items", "auto-create")}
        assert wanted | {"urn:xmpp:pam:0", "urn:xmpp:pps:0"} <= set(features)

    return [avatar, nick, bookmarks, devices, blog, retry, disco]


if __name__ == "__main__":
    main(session)
