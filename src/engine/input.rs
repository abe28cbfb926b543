//! What goes into the engine: stanzas, facts, the passing of time.

use std::collections::HashMap;

use crate::error::Result;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::access::Relation;
use crate::xml::{Document, Limits, Writer};

use super::queue::Ticket;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// A stanza for an account, host or component that this engine serves, as XML. `from` is always there; no `to` means
    /// the sender's own account.
    Stanza(String),
    /// A time that was asked for has come.
    Tick,
    /// The session of this full JID is gone.
    SessionEnded(String),
    /// This account, or this room, does not exist any more.
    AccountRemoved(String),
    /// The roster of `owner` now says something else about `contact`.
    RosterChanged {
        /// Bare JID of the account.
        owner: String,
        /// Bare JID of the contact.
        contact: String,
    },
    /// The room of this bare JID says something else of itself: its name, its description or its subject.
    RoomChanged(String),
    /// Data of one service from the module that was there before.
    Import(String),
    /// A command of an administrator.
    Command(String),
}

/// One call of the engine.
#[derive(Debug, Clone)]
pub struct Input {
    /// What happened.
    pub kind: InputKind,
    /// Whether it acts with the rights of the service's administrator.
    pub privileged: bool,
    /// What the host was asked and has answered.
    pub facts: Facts,
    pub(super) ticket: Option<Ticket>,
}

impl Input {
    /// An input of that kind, without facts.
    pub fn new(kind: InputKind) -> Self {
        Self { kind, privileged: false, facts: Facts::default(), ticket: None }
    }

    /// A stanza.
    pub fn stanza(xml: impl Into<String>) -> Self {
        Self::new(InputKind::Stanza(xml.into()))
    }

    /// What a service publishes itself, for modules of the host: with the rights of an owner of every node. An empty `item` asks
    /// for an id to be made. The answer is addressed to the service, with the id `publish`.
    ///
    /// An error if the payload is not one element.
    pub fn publish(service: &str, node: &str, item: &str, payload: &str) -> Result<Self> {
        let payload = Document::parse(payload, &Limits::default())?.root().to_standalone();
        let mut iq = Writer::with_capacity(payload.len() + 256);
        iq.start("iq").attr("type", "set").attr("id", "publish").attr("from", service).attr("to", service);
        iq.start_ns("pubsub", ns::PUBSUB).start("publish").attr("node", node);
        iq.start("item").optional_attr("id", Some(item).filter(|item| !item.is_empty())).raw(&payload);
        Ok(Self { privileged: true, ..Self::stanza(iq.finish()) })
    }

    /// The passing of time.
    pub fn tick() -> Self {
        Self::new(InputKind::Tick)
    }

    /// The end of a session.
    pub fn session_ended(jid: impl Into<String>) -> Self {
        Self::new(InputKind::SessionEnded(jid.into()))
    }
}

/// How the owner's roster has a contact: whose presence goes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RosterSubscription {
    /// Nobody's.
    None,
    /// The contact's to the owner.
    To,
    /// The owner's to the contact.
    From,
    /// Both.
    Both,
}

impl RosterSubscription {
    /// Whether the contact receives the owner's presence.
    pub const fn shares_presence(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// Whether the owner receives the contact's presence.
    pub const fn sees_presence(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }
}

/// How somebody stands to a room (XEP-0045, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoomAffiliation {
    /// No affiliation.
    None,
    /// Banned.
    Outcast,
    /// On the list of members.
    Member,
    /// May kick and ban.
    Admin,
    /// May configure and destroy the room.
    Owner,
}

/// What a room says of itself; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name in words (`muc#roomconfig_roomname`).
    pub name: String,
    /// What it is for (`muc#roomconfig_roomdesc`).
    pub description: String,
    /// What is being talked about (XEP-0045, section 8.1).
    pub subject: String,
}

/// What the host has answered. Facts hold for the one input they came with.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    accounts: HashMap<String, bool>,
    rosters: HashMap<(String, String), Relation>,
    admins: HashMap<(String, String), bool>,
    blocked: HashMap<(String, String), bool>,
    imported: HashMap<String, bool>,
    rooms: HashMap<(String, String), (RoomAffiliation, bool)>,
    room_infos: HashMap<String, RoomInfo>,
}

impl Facts {
    /// Whether an account exists.
    pub fn insert_account(&mut self, account: &str, exists: bool) {
        self.accounts.insert(account.to_owned(), exists);
    }

    /// How the roster of `owner` has `contact`.
    pub fn insert_roster(&mut self, owner: &str, contact: &str, subscription: RosterSubscription, groups: Vec<String>) {
        let relation =
            Relation { presence: subscription.shares_presence(), follows: subscription.sees_presence(), groups };
        self.rosters.insert((owner.to_owned(), contact.to_owned()), relation);
    }

    /// Whether somebody is an administrator of a service.
    pub fn insert_admin(&mut self, who: &str, service: &str, admin: bool) {
        self.admins.insert((who.to_owned(), service.to_owned()), admin);
    }

    /// Whether `owner` blocks `contact`.
    pub fn insert_blocked(&mut self, owner: &str, contact: &str, blocked: bool) {
        self.blocked.insert((owner.to_owned(), contact.to_owned()), blocked);
    }

    /// Whether old data of the service has been handed over; false if that failed and is to be tried again.
    pub fn insert_import(&mut self, service: &str, done: bool) {
        self.imported.insert(service.to_owned(), done);
    }

    /// How `who`, a full JID, stands to a room, and whether it has voice there.
    pub fn insert_room(&mut self, who: &str, room: &str, affiliation: RoomAffiliation, voice: bool) {
        self.rooms.insert((who.to_owned(), room.to_owned()), (affiliation, voice));
    }

    /// What a room says of itself.
    pub fn insert_room_info(&mut self, room: &str, info: RoomInfo) {
        self.room_infos.insert(room.to_owned(), info);
    }

    pub(super) fn room_info(&self, room: &str) -> Option<&RoomInfo> {
        self.room_infos.get(room)
    }

    pub(super) fn room(&self, who: &str, room: &str) -> Option<(RoomAffiliation, bool)> {
        self.rooms.get(&(who.to_owned(), room.to_owned())).copied()
    }

    pub(super) fn account(&self, account: &str) -> Option<bool> {
        self.accounts.get(account).copied()
    }

    pub(super) fn roster(&self, owner: &BareJid, contact: &str) -> Option<&Relation> {
        self.rosters.get(&(owner.as_str().to_owned(), contact.to_owned()))
    }

    pub(super) fn admin(&self, who: &str, service: &str) -> Option<bool> {
        self.admins.get(&(who.to_owned(), service.to_owned())).copied()
    }

    pub(super) fn blocked(&self, owner: &BareJid, contact: &Jid) -> Option<bool> {
        self.blocked.get(&(owner.as_str().to_owned(), contact.as_str().to_owned())).copied()
    }

    pub(super) fn import(&self, service: &str) -> Option<bool> {
        self.imported.get(service).copied()
    }
}
