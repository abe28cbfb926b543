//! What comes out of the engine: decisions that the host carries out, in their order.

use std::sync::{Arc, OnceLock};

use super::input::Input;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::{Item, ItemId, NodeName};
use crate::time::Timestamp;
use crate::xml::Writer;

/// One thing for the host to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on as if the engine were not there.
    Pass,
    /// Send this stanza; it has `from` and `to`.
    Route {
        /// The stanza.
        stanza: String,
    },
    /// Send this stanza to several recipients: for the one at place `k`, `to` is its JID and `id` is `id` + "-" + `k`.
    Multicast {
        /// The stanza, without `to` and `id`.
        stanza: String,
        /// The beginning of each copy's `id`.
        id: String,
        /// Their JIDs.
        recipients: Arc<[Arc<str>]>,
    },
    /// Answer this and give the same input again. Nothing has been changed.
    Need(Need),
    /// Give [`Input::tick`] at this time, or somewhat later. An earlier one asked for before still stands.
    Wake(Timestamp),
    /// Tell modules of the host that look into the service.
    Event(Event),
    /// The answer to a command or an import.
    Reply(String),
}

/// A fact that only the host knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// Does this account exist?
    Account(String),
    /// How does the roster of `owner` have `contact`?
    Roster {
        /// Bare JID of the account.
        owner: String,
        /// Bare JID of the contact.
        contact: String,
    },
    /// Is `who` an administrator of `service`?
    Admin {
        /// Bare JID.
        who: String,
        /// JID of the service.
        service: String,
    },
    /// Does `owner` block `contact` (XEP-0191)?
    Blocked {
        /// Bare JID of the account.
        owner: String,
        /// The contact, bare or full.
        contact: String,
    },
    /// How does `who` stand to a room, and has it voice there?
    Room {
        /// JID, usually full.
        who: String,
        /// Bare JID of the room.
        room: String,
    },
    /// What does this room say of itself?
    RoomInfo(String),
    /// Hand over the data that the module before had for this service, by an input of its own; then answer.
    Import(String),
}

/// Something that happened in a service, for modules inside the host. Most servers have none that listens to most events, so
/// nothing is copied or written for one before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which of the events.
    pub name: &'static str,
    /// JID of the service.
    pub service: BareJid,
    /// NodeID.
    pub node: NodeName,
    /// ItemID, if it is about one.
    pub item: Option<ItemId>,
    /// Who did it; the subscriber, for events about a subscription. None if it was a module of the host.
    pub actor: Option<Jid>,
    /// What was published.
    pub published: Option<Published>,
}

/// What was published, for an event.
#[derive(Debug, Clone)]
pub struct Published {
    item: Item,
    xml: OnceLock<String>,
}

impl Published {
    pub(crate) fn new(item: &Item) -> Self {
        Self { item: item.clone(), xml: OnceLock::new() }
    }

    /// The whole `<item/>`: that is what modules of the host pass around.
    pub fn xml(&self) -> &str {
        self.xml.get_or_init(|| {
            let mut writer = Writer::with_capacity(self.item.payload.len() + 128);
            writer.start_ns("item", ns::PUBSUB).attr("id", self.item.id.as_str());
            writer.attr("publisher", &self.item.publisher).raw(&self.item.payload);
            writer.finish()
        })
    }
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

impl Eq for Published {}

/// Everything that came of one input.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What to do, in this order.
    pub decisions: Vec<Decision>,
    /// The input, if it was submitted and facts are needed: it is to be submitted again with them.
    pub input: Option<Input>,
    /// Why a submitted input could not be handled, if there was nobody to be answered with an error.
    pub error: Option<String>,
    /// Whether the same thread hands over another outcome right after this one: who wakes somebody up for them may leave it
    /// to the last.
    pub more: bool,
}

impl Outcome {
    /// Whether facts are needed before anything can be done.
    pub fn needs_facts(&self) -> bool {
        self.decisions.iter().any(|decision| matches!(decision, Decision::Need(_)))
    }
}
