//! A small chat service (XEP-0045) for the server in memory: rooms are made by whoever joins first, who owns them; they
//! are semi-anonymous.

use std::collections::{BTreeMap, BTreeSet};

use super::brain::{Call, Fact, Place};
use super::world::{World, bare, resource_of};
use super::xml::Element;

/// The domain of the rooms.
pub(crate) const ROOMS: &str = "rooms.localhost";

const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
const FORMS: &str = "jabber:x:data";
const MUC: &str = "http://jabber.org/protocol/muc";
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
const OWNER: &str = "http://jabber.org/protocol/muc#owner";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const VCARD: &str = "vcard-temp";

#[derive(Debug, Clone, Default)]
struct Occupant {
    /// Presence by full JID.
    sessions: BTreeMap<String, Element>,
    role: &'static str,
}

/// One room.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    occupants: BTreeMap<String, Occupant>,
    affiliations: BTreeMap<String, String>,
    moderated: bool,
    name: String,
    description: String,
    subject: String,
}

impl Room {
    fn nick_of(&self, full: &str) -> Option<String> {
        let found = self.occupants.iter().find(|(_, occupant)| occupant.sessions.contains_key(full));
        found.map(|(nick, _)| nick.clone())
    }

    fn affiliation(&self, full: &str) -> &str {
        self.affiliations.get(bare(full)).map_or("none", String::as_str)
    }

    fn default_role(&self, full: &str) -> &'static str {
        match self.affiliation(full) {
            "owner" | "admin" => "moderator",
            "member" => "participant",
            _ if self.moderated => "visitor",
            _ => "participant",
        }
    }
}

impl World {
    /// What the engine asks about somebody in a room.
    pub(crate) fn room_fact(&self, who: &str, room: &str) -> Fact {
        let found = self.rooms.get(room);
        let affiliation = found.map_or("none", |found| found.affiliation(who)).to_owned();
        let voice = found.is_some_and(|found| {
            found.nick_of(who).is_some_and(|nick| ["participant", "moderator"].contains(&found.occupants[&nick].role))
        });
        Fact::Room { who: who.to_owned(), room: room.to_owned(), affiliation, voice }
    }

    /// What a room says of itself.
    pub(crate) fn room_info(&self, room: &str) -> Fact {
        let found = self.rooms.get(room).cloned().unwrap_or_default();
        let Room { name, description, subject, .. } = found;
        Fact::RoomInfo { room: room.to_owned(), name, description, subject }
    }

    /// A stanza to the chat service.
    pub(crate) fn for_rooms(&mut self, stanza: Element) -> Result<(), String> {
        let to = stanza.get("to").unwrap_or_default().to_owned();
        let nick = resource_of(&to).to_owned();
        match (stanza.name.as_str(), nick.is_empty()) {
            ("presence", false) => self.room_presence(&stanza, bare(&to), &nick),
            ("message", true) => self.room_message(&stanza, &to),
            ("iq", true) => self.room_iq(stanza, &to),
            ("iq", false) => self.occupant_iq(stanza, bare(&to), &nick),
            _ => Ok(()),
        }
    }

    /// Shows the engine one client of an occupant.
    fn show(&mut self, room: &str, nick: &str, full: &str, kind: &str, new_nick: Option<&str>) -> Result<(), String> {
        let mut shown = Element::stanza("presence").with("from", &format!("{room}/{nick}")).with("to", room);
        if kind == "unavailable" {
            shown.set("type", kind);
        } else if let Some(presence) =
            self.rooms.get(room).and_then(|room| room.occupants.get(nick)?.sessions.get(full).cloned())
        {
            for child in presence.children().filter(|child| child.ns != MUC) {
                shown = shown.with_child(child.clone());
            }
        }
        let mut item = Element::new(MUC_USER, "item").with("jid", full);
        let mut x = Element::new(MUC_USER, "x");
        if let Some(new) = new_nick {
            item.set("nick", new);
            x = x.with_child(item).with_child(Element::new(MUC_USER, "status").with("code", "303"));
        } else {
            x = x.with_child(item);
        }
        self.feed(&Call::Stanza(shown.with_child(x).write(""))).map(drop)
    }

    fn room_presence(&mut self, stanza: &Element, room: &str, nick: &str) -> Result<(), String> {
        let full = stanza.get("from").unwrap_or_default().to_owned();
        let present = self.rooms.get(room).and_then(|found| found.nick_of(&full));
        match (stanza.get("type"), present) {
            (Some("unavailable" | "error"), Some(old)) => self.takes_leave(room, &old, &full),
            (None, Some(old)) if old == nick => {
                if let Some(occupant) = self.rooms.get_mut(room).and_then(|room| room.occupants.get_mut(&old)) {
                    occupant.sessions.insert(full.clone(), stanza.clone());
                }
                self.show(room, nick, &full, "", None)
            }
            (None, Some(old)) => {
                let found = self.rooms.entry(room.to_owned()).or_default();
                let Some(occupant) = found.occupants.get_mut(&old) else { return Ok(()) };
                let role = occupant.role;
                let presence = occupant.sessions.remove(&full).unwrap_or_else(|| stanza.clone());
                if occupant.sessions.is_empty() {
                    found.occupants.remove(&old);
                }
                let taker = found.occupants.entry(nick.to_owned()).or_default();
                taker.role = role;
                taker.sessions.insert(full.clone(), presence);
                self.show(room, &old, &full, "unavailable", Some(nick))
            }
            (None, None) if stanza.child(MUC, "x").is_some() => {
                let found = self.rooms.entry(room.to_owned()).or_default();
                if found.affiliations.is_empty() {
                    found.affiliations.insert(bare(&full).to_owned(), "owner".to_owned());
                }
                if found.affiliation(&full) == "outcast" {
                    let answer = stanza.error("auth", "forbidden");
                    self.queue.push_back(answer);
                    return Ok(());
                }
                let role = found.default_role(&full);
                let occupant = found.occupants.entry(nick.to_owned()).or_default();
                occupant.sessions.insert(full.clone(), stanza.clone());
                occupant.role = role;
                let subject = Element::stanza("message").with("type", "groupchat").with("from", room).with("to", &full);
                self.queue.push_back(subject.with_child(Element::new(super::xml::CLIENT, "subject")));
                self.show(room, nick, &full, "", None)
            }
            _ => Ok(()),
        }
    }

    /// One client leaves; an empty room is gone.
    fn takes_leave(&mut self, room: &str, nick: &str, full: &str) -> Result<(), String> {
        if let Some(found) = self.rooms.get_mut(room)
            && let Some(occupant) = found.occupants.get_mut(nick)
        {
            occupant.sessions.remove(full);
            if occupant.sessions.is_empty() {
                found.occupants.remove(nick);
            }
        }
        self.show(room, nick, full, "unavailable", None)?;
        if self.rooms.get(room).is_some_and(|found| found.occupants.is_empty()) {
            self.destroy(room)?;
        }
        Ok(())
    }

    fn destroy(&mut self, room: &str) -> Result<(), String> {
        self.rooms.remove(room);
        self.feed(&Call::AccountRemoved(room.to_owned())).map(drop)
    }

    fn room_iq(&mut self, stanza: Element, room: &str) -> Result<(), String> {
        let kind = stanza.get("type").unwrap_or_default().to_owned();
        let from = stanza.get("from").unwrap_or_default().to_owned();
        if kind == "result" || kind == "error" {
            return self.feed(&Call::Stanza(stanza.write(""))).map(drop);
        }
        if !self.rooms.contains_key(room) {
            self.queue.push_back(stanza.error("cancel", "item-not-found"));
            return Ok(());
        }
        let Some(child) = stanza.children().next().cloned() else { return Ok(()) };
        let names_node = child.get("node").is_some_and(|node| !node.is_empty());
        match child.ns.as_str() {
            DISCO_INFO if !names_node => {
                let own = Element::new(DISCO_INFO, "identity").with("category", "conference").with("type", "text");
                let mut query = Element::new(DISCO_INFO, "query").with_child(own);
                query = query.with_child(Element::new(DISCO_INFO, "feature").with("var", MUC));
                let query = self.with_features(query, ROOMS, Place::Room)?;
                self.queue.push_back(stanza.reply("result").with_child(query));
            }
            DISCO_ITEMS if !names_node => {
                // The engine's list is put into the room's own, which shows no occupants.
                let before = self.queue.len();
                if self.feed(&Call::Stanza(stanza.write("")))? || self.queue.len() == before {
                    self.queue.push_back(stanza.reply("result").with_child(Element::new(DISCO_ITEMS, "query")));
                }
            }
            DISCO_INFO | DISCO_ITEMS | PUBSUB | PUBSUB_OWNER => {
                if self.feed(&Call::Stanza(stanza.write("")))? {
                    self.refuse(&stanza, "service-unavailable");
                }
            }
            ADMIN => self.administer(&stanza, &child, room, &from)?,
            OWNER if child.child(OWNER, "destroy").is_some() => {
                self.destroy(room)?;
                self.queue.push_back(stanza.reply("result"));
            }
            OWNER => {
                let fields = child.child(FORMS, "x").into_iter().flat_map(Element::children);
                if let Some(found) = self.rooms.get_mut(room) {
                    for field in fields {
                        let value = field.child(FORMS, "value").map(Element::text).unwrap_or_default();
                        match field.get("var") {
                            Some("muc#roomconfig_moderatedroom") => found.moderated = value == "1",
                            Some("muc#roomconfig_roomname") => found.name = value,
                            Some("muc#roomconfig_roomdesc") => found.description = value,
                            _ => {}
                        }
                    }
                }
                self.queue.push_back(stanza.reply("result"));
                self.tell_of_configuration(room);
                self.feed(&Call::RoomChanged(room.to_owned()))?;
            }
            _ => self.refuse(&stanza, "service-unavailable"),
        }
        Ok(())
    }

    /// Somebody says what is being talked about.
    fn room_message(&mut self, stanza: &Element, room: &str) -> Result<(), String> {
        let from = stanza.get("from").unwrap_or_default();
        let subject = stanza.child(super::xml::CLIENT, "subject");
        let nick = self.rooms.get(room).and_then(|found| found.nick_of(from));
        let (Some(subject), Some(nick)) = (subject, nick) else { return Ok(()) };
        if let Some(found) = self.rooms.get_mut(room) {
            found.subject = subject.text();
        }
        let news = Element::stanza("message").with("type", "groupchat").with("from", &format!("{room}/{nick}"));
        self.tell_all(room, &news.with_child(subject.clone()));
        self.feed(&Call::RoomChanged(room.to_owned())).map(drop)
    }

    fn tell_of_configuration(&mut self, room: &str) {
        let status = Element::new(MUC_USER, "status").with("code", "104");
        let news = Element::stanza("message").with("type", "groupchat").with("from", room);
        self.tell_all(room, &news.with_child(Element::new(MUC_USER, "x").with_child(status)));
    }

    fn tell_all(&mut self, room: &str, news: &Element) {
        let occupants = self.rooms.get(room).into_iter().flat_map(|room| room.occupants.values());
        let there: Vec<String> = occupants.flat_map(|occupant| occupant.sessions.keys().cloned()).collect();
        for full in there {
            self.queue.push_back(news.clone().with("to", &full));
        }
    }

    /// Kicks, bans, and gives or takes voice.
    fn administer(&mut self, stanza: &Element, query: &Element, room: &str, from: &str) -> Result<(), String> {
        if self.rooms.get(room).is_none_or(|found| found.affiliation(from) != "owner") {
            self.queue.push_back(stanza.error("auth", "forbidden"));
            return Ok(());
        }
        self.queue.push_back(stanza.reply("result"));
        for item in query.children().cloned().collect::<Vec<_>>() {
            let Some(found) = self.rooms.get_mut(room) else { return Ok(()) };
            let mut leaving = BTreeSet::new();
            if let (Some(jid), Some(affiliation)) = (item.get("jid"), item.get("affiliation")) {
                found.affiliations.insert(jid.to_owned(), affiliation.to_owned());
                if affiliation == "outcast" {
                    let everyone = found.occupants.iter().flat_map(|(nick, occupant)| {
                        occupant.sessions.keys().map(|full| (nick.clone(), full.clone())).collect::<Vec<_>>()
                    });
                    leaving.extend(everyone.filter(|(_, full)| bare(full) == jid));
                }
            }
            if let (Some(nick), Some(role)) = (item.get("nick"), item.get("role"))
                && let Some(occupant) = found.occupants.get_mut(nick)
            {
                match role {
                    "none" => leaving.extend(occupant.sessions.keys().map(|full| (nick.to_owned(), full.clone()))),
                    "visitor" => occupant.role = "visitor",
                    _ => occupant.role = "participant",
                }
            }
            for (nick, full) in leaving {
                self.takes_leave(room, &nick, &full)?;
            }
        }
        Ok(())
    }

    /// To the engine, or to the person behind the nick.
    fn occupant_iq(&mut self, mut stanza: Element, room: &str, nick: &str) -> Result<(), String> {
        let kind = stanza.get("type").unwrap_or_default().to_owned();
        let from = stanza.get("from").unwrap_or_default().to_owned();
        if kind == "result" || kind == "error" {
            // The answer to what was relayed: the id says to whom it goes.
            let id = stanza.get("id").unwrap_or_default().to_owned();
            if let Some((asker, asked, id)) = self.relayed.remove(&id) {
                stanza.set("id", &id);
                let answer = stanza.with("to", &asker).with("from", &asked);
                self.queue.push_back(answer);
            }
            return Ok(());
        }
        let namespace = stanza.children().next().map(|child| child.ns.clone()).unwrap_or_default();
        let concerns_engine = [DISCO_INFO, DISCO_ITEMS, PUBSUB, PUBSUB_OWNER].contains(&namespace.as_str());
        if concerns_engine && !self.feed(&Call::Stanza(stanza.write("")))? {
            return Ok(());
        }
        let found = self.rooms.get(room);
        let Some(own) = found.and_then(|found| found.nick_of(&from)) else {
            self.queue.push_back(stanza.error("cancel", "not-acceptable"));
            return Ok(());
        };
        let behind = found.and_then(|found| found.occupants.get(nick)?.sessions.keys().next().cloned());
        let Some(behind) = behind else {
            self.queue.push_back(stanza.error("cancel", "item-not-found"));
            return Ok(());
        };
        let id = format!("relayed-{}", self.relays);
        self.relays += 1;
        let before = (from, format!("{room}/{nick}"), stanza.get("id").unwrap_or_default().to_owned());
        self.relayed.insert(id.clone(), before);
        let person = if [PUBSUB, VCARD].contains(&namespace.as_str()) { bare(&behind).to_owned() } else { behind };
        self.queue.push_back(stanza.with("id", &id).with("from", &format!("{room}/{own}")).with("to", &person));
        Ok(())
    }
}
