//! Rosters and presence subscriptions of the in-memory host, as RFC 6121 section 3 has them.

use std::collections::{BTreeMap, BTreeSet};

use super::brain::{Call, Stance};
use super::world::{World, bare, resource_of};
use super::xml::Element;

const ROSTER: &str = "jabber:iq:roster";

/// One entry of a roster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    pub(crate) name: Option<String>,
    pub(crate) stance: Stance,
    pub(crate) ask: bool,
    pub(crate) groups: Vec<String>,
}

/// One account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) roster: BTreeMap<String, Item>,
    /// Who asked to see this account's presence and got no answer yet.
    pub(crate) requests: BTreeSet<String>,
    pub(crate) blocked: BTreeSet<String>,
}

impl World {
    pub(crate) fn stance(&self, owner: &str, contact: &str) -> Stance {
        self.accounts
            .get(owner)
            .and_then(|account| account.roster.get(contact))
            .map_or(Stance::None, |item| item.stance)
    }

    /// `one` sees the presence of `other`, without the stanzas that lead to it.
    pub(crate) fn share(&mut self, one: &str, other: &str) -> Result<(), String> {
        for (owner, contact, to) in [(one, other, true), (other, one, false)] {
            let Some(account) = self.accounts.get_mut(owner) else { continue };
            let item = account.roster.entry(contact.to_owned()).or_default();
            item.stance = Stance::of(item.stance.to() || to, item.stance.from() || !to);
            self.feed(&Call::RosterChanged { owner: owner.to_owned(), contact: contact.to_owned() })?;
        }
        self.run()
    }

    fn change(&mut self, owner: &str, contact: &str, to: Option<bool>, from: Option<bool>) -> Result<bool, String> {
        let Some(account) = self.accounts.get_mut(owner) else { return Ok(false) };
        let item = account.roster.entry(contact.to_owned()).or_default();
        let before = (item.stance, item.ask);
        item.stance = Stance::of(to.unwrap_or(item.stance.to()), from.unwrap_or(item.stance.from()));
        if to.is_some() {
            item.ask = false;
        }
        if from.is_some() {
            account.requests.remove(contact);
        }
        let changed = before != (item.stance, item.ask);
        self.push(owner, contact);
        if changed {
            self.feed(&Call::RosterChanged { owner: owner.to_owned(), contact: contact.to_owned() })?;
        }
        Ok(changed)
    }

    /// A client's own presence of a subscription type.
    pub(crate) fn subscription_out(&mut self, from: &str, stanza: &Element) -> Result<(), String> {
        let owner = bare(from).to_owned();
        let contact = bare(stanza.get("to").unwrap_or_default()).to_owned();
        let kind = stanza.get("type").unwrap_or_default().to_owned();
        let mut forward = stanza.clone();
        forward.set("from", &owner);
        forward.set("to", &contact);
        match kind.as_str() {
            "subscribe" => {
                if let Some(account) = self.accounts.get_mut(&owner) {
                    account.roster.entry(contact.clone()).or_default().ask = true;
                }
                self.push(&owner, &contact);
            }
            "subscribed" => {
                if !self.accounts.get(&owner).is_some_and(|account| account.requests.contains(&contact)) {
                    return Ok(());
                }
                self.change(&owner, &contact, None, Some(true))?;
            }
            "unsubscribe" => {
                self.change(&owner, &contact, Some(false), None)?;
            }
            _ => {
                let sees = self.stance(&owner, &contact).from();
                if sees {
                    self.show_presence(&owner, &contact, true);
                }
                self.change(&owner, &contact, None, Some(false))?;
            }
        }
        self.queue.push_back(forward);
        if kind == "subscribed" {
            self.show_presence(&owner, &contact, false);
        }
        Ok(())
    }

    /// Presence of a subscription type that arrives at an account.
    pub(crate) fn subscription_in(&mut self, stanza: &Element) -> Result<(), String> {
        let owner = bare(stanza.get("to").unwrap_or_default()).to_owned();
        let contact = bare(stanza.get("from").unwrap_or_default()).to_owned();
        if !self.accounts.contains_key(&owner) {
            return Ok(());
        }
        let shown = match stanza.get("type").unwrap_or_default() {
            "subscribe" if self.stance(&owner, &contact).from() => {
                let answer = Element::stanza("presence").with("type", "subscribed");
                self.queue.push_back(answer.with("from", &owner).with("to", &contact));
                false
            }
            "subscribe" => {
                self.accounts.get_mut(&owner).is_some_and(|account| account.requests.insert(contact.clone()))
            }
            "subscribed" => {
                let asked = self.accounts[&owner].roster.get(&contact).is_some_and(|item| item.ask);
                asked && self.change(&owner, &contact, Some(true), None)?
            }
            "unsubscribe" => {
                let saw = self.stance(&owner, &contact).from();
                if saw {
                    self.show_presence(&owner, &contact, true);
                }
                self.change(&owner, &contact, None, Some(false))?
            }
            _ => self.change(&owner, &contact, Some(false), None)?,
        };
        if shown {
            for full in self.available(&owner) {
                self.deliver(&full, stanza.clone());
            }
        }
        Ok(())
    }

    /// Shows all available sessions of `owner` to `contact`, or their absence.
    pub(crate) fn show_presence(&mut self, owner: &str, contact: &str, gone: bool) {
        for full in self.available(owner) {
            let mut presence = if gone {
                Element::stanza("presence").with("type", "unavailable").with("from", &full)
            } else {
                self.sessions[&full].presence.clone().unwrap_or_else(|| Element::stanza("presence"))
            };
            presence.set("to", contact);
            self.queue.push_back(presence);
        }
    }

    fn entry(&self, owner: &str, contact: &str) -> Option<Element> {
        let item = self.accounts.get(owner)?.roster.get(contact)?;
        let mut element = Element::new(ROSTER, "item").with("jid", contact).with("subscription", item.stance.as_str());
        if let Some(name) = &item.name {
            element.set("name", name);
        }
        if item.ask {
            element.set("ask", "subscribe");
        }
        for group in &item.groups {
            let mut child = Element::new(ROSTER, "group");
            child.nodes.push(super::xml::Node::Text(group.clone()));
            element = element.with_child(child);
        }
        Some(element)
    }

    /// Tells the sessions that asked for the roster about one entry.
    fn push(&mut self, owner: &str, contact: &str) {
        let item = self
            .entry(owner, contact)
            .unwrap_or_else(|| Element::new(ROSTER, "item").with("jid", contact).with("subscription", "remove"));
        let interested: Vec<String> = self
            .sessions
            .iter()
            .filter(|(full, session)| bare(full) == owner && session.wants_roster)
            .map(|(full, _)| full.clone())
            .collect();
        for full in interested {
            self.pushes += 1;
            let push = Element::stanza("iq").with("type", "set").with("id", &format!("push-{}", self.pushes));
            let query = Element::new(ROSTER, "query").with_child(item.clone());
            self.deliver(&full, push.with("from", owner).with("to", &full).with_child(query));
        }
    }

    /// An IQ about the roster from one of the account's own sessions.
    pub(crate) fn roster_iq(&mut self, from: &str, stanza: &Element) -> Result<Option<Element>, String> {
        let owner = bare(from).to_owned();
        let Some(query) = stanza.child(ROSTER, "query") else { return Ok(None) };
        if stanza.get("type") == Some("get") {
            let contacts: Vec<String> = self.accounts[&owner].roster.keys().cloned().collect();
            let mut answer = Element::new(ROSTER, "query");
            for item in contacts.iter().filter_map(|contact| self.entry(&owner, contact)) {
                answer = answer.with_child(item);
            }
            if let Some(session) = self.sessions.get_mut(from) {
                session.wants_roster = true;
            }
            return Ok(Some(stanza.reply("result").with_child(answer)));
        }
        let Some(sent) = query.child(ROSTER, "item") else { return Ok(Some(stanza.error("modify", "bad-request"))) };
        let contact = bare(sent.get("jid").unwrap_or_default()).to_owned();
        if sent.get("subscription") == Some("remove") {
            let stance = self.stance(&owner, &contact);
            if stance.from() {
                self.show_presence(&owner, &contact, true);
            }
            for (held, kind) in [(stance.to(), "unsubscribe"), (stance.from(), "unsubscribed")] {
                if held {
                    let told = Element::stanza("presence").with("type", kind).with("from", &owner).with("to", &contact);
                    self.queue.push_back(told);
                }
            }
            if let Some(account) = self.accounts.get_mut(&owner) {
                account.roster.remove(&contact);
            }
        } else if let Some(account) = self.accounts.get_mut(&owner) {
            let item = account.roster.entry(contact.clone()).or_default();
            item.name = sent.get("name").map(str::to_owned);
            item.groups = sent.children().filter(|child| child.is(ROSTER, "group")).map(Element::text).collect();
        }
        self.deliver(from, stanza.reply("result"));
        self.push(&owner, &contact);
        self.feed(&Call::RosterChanged { owner, contact })?;
        Ok(None)
    }

    /// Full JIDs of the available sessions of an account.
    pub(crate) fn available(&self, owner: &str) -> Vec<String> {
        self.sessions
            .iter()
            .filter(|(full, session)| bare(full) == owner && session.presence.is_some())
            .map(|(full, _)| full.clone())
            .collect()
    }

    /// Whether `to` names a session.
    pub(crate) fn is_full(to: &str) -> bool {
        !resource_of(to).is_empty()
    }
}
