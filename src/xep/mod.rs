//! The extensions: one file per document or part of one.
//!
//! An extension says what it announces, which requests it answers and which events it follows. They meet through
//! [`Context`] and through [`Happened`]; none imports another. A new one is a file here and a line in [`EXTENSIONS`].

mod archive;
mod authorization;
mod caps;
mod conference;
mod disco;
mod eventing;
mod filter;
mod items;
mod mep;
pub(crate) mod options;
mod owner;
mod pam;
mod pep;
mod pps;
mod requests;

use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::event::Happened;
use crate::engine::settings::Host;
use crate::jid::{FullJid, Jid};
use crate::pubsub::store::Intent;
use crate::stanza::{IqType, Stanza};
use crate::time::Timestamp;
use crate::xml::Element;

pub use disco::Where;
pub(crate) use disco::{features, is_hidden_name};
pub(crate) use eventing::Stamped;
pub(crate) use mep::admit;
pub(crate) use pam::Round;
pub(crate) use pps::{Phantom, Phantoms};

/// Every extension, in the order in which events reach them.
pub(crate) const EXTENSIONS: &[&dyn Extension] = &[
    &requests::Requests,
    &owner::Owner,
    &eventing::Eventing,
    &authorization::Authorization,
    &archive::Archive,
    &pep::Pep,
    &mep::Mep,
    &conference::ConferenceInfo,
    &pps::Pps,
    &pam::Pam,
    &filter::Filter,
    &caps::Capabilities,
    &disco::Disco,
];

/// A document of the XSF, as far as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its number, four digits.
    pub number: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The version that was read.
    pub version: &'static str,
    /// Whether all of it is there.
    pub complete: bool,
    /// What is there, or what is missing.
    pub notes: &'static str,
}

/// Every document that the engine implements, for the table in the README.
pub fn documents() -> impl Iterator<Item = DocumentInfo> {
    EXTENSIONS.iter().flat_map(|extension| extension.documents().iter().copied())
}

/// A request as an extension gets it.
#[derive(Debug)]
pub(crate) struct Request<'d> {
    /// Get or set.
    pub(crate) kind: IqType,
    /// Who asks.
    pub(crate) from: Jid,
    /// The service that is asked.
    pub(crate) service: ServiceRef,
    /// Whether it was addressed to the domain of the accounts rather than to one of them.
    pub(crate) at_domain: bool,
    /// `id` of the IQ.
    pub(crate) id: String,
    /// `to` of the IQ, empty if there was none.
    pub(crate) to: String,
    /// The element inside the IQ.
    pub(crate) element: Element<'d>,
}

/// What comes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An IQ result with this XML inside.
    Result(String),
    /// The answer follows later, or was sent already.
    Later,
    /// Not ours after all.
    Pass,
}

/// What is wanted of a node that an extension makes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reading items.
    Items,
    /// disco#items: the names of items.
    Names,
    /// Subscribing or unsubscribing, and the options of that.
    Subscribe,
    /// Anything that changes the node or its items, and all owners' requests.
    Change,
    /// disco#info.
    Info,
    /// A query of its archive (XEP-0442).
    Archive,
}

/// Which requests an extension answers.
#[derive(Debug)]
pub(crate) struct Route {
    /// Namespace of the element inside the IQ.
    pub(crate) ns: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// What to do.
    pub(crate) handler: fn(&mut Context<'_>, &Request<'_>) -> Handled<Reply>,
    /// Whether a get depends on nothing but the store and the facts, and changes nothing: then a reader may answer it.
    pub(crate) reads: bool,
}

/// See the module.
pub(crate) trait Extension: Sync {
    /// What it implements.
    fn documents(&self) -> &'static [DocumentInfo];

    /// Whether it hears of what happens in rooms; the others know of accounts and components only.
    fn serves_rooms(&self) -> bool {
        false
    }

    /// What disco#info says at an account, a domain of accounts, a component, or a room.
    fn features(&self, _host: &Host, _at: Where) -> &'static [&'static str] {
        &[]
    }

    /// Which requests it answers.
    fn routes(&self) -> &'static [Route] {
        &[]
    }

    /// Answers for nodes that it makes up; none if the node is not one of them.
    fn virtual_node(
        &self,
        _context: &mut Context<'_>,
        _request: &Request<'_>,
        _operation: Operation,
        _node: &str,
    ) -> Handled<Option<Reply>> {
        Ok(None)
    }

    /// Follows what happens in services.
    fn on_event(&self, _context: &mut Context<'_>, _event: &Happened<'_>) -> Handled<()> {
        Ok(())
    }

    /// A message to a service or to a domain of accounts; true if it was taken.
    fn on_message(&self, _context: &mut Context<'_>, _stanza: &Stanza<'_>, _to: &ServiceRef) -> Handled<bool> {
        Ok(false)
    }

    /// A message to one client of the account, which gets it whatever is made of it here.
    fn on_client_message(
        &self,
        _context: &mut Context<'_>,
        _stanza: &Stanza<'_>,
        _account: &ServiceRef,
        _client: &FullJid,
    ) -> Handled<()> {
        Ok(())
    }

    /// Presence that a service was sent, or that its owner broadcasts.
    fn on_presence(&self, _context: &mut Context<'_>, _stanza: &Stanza<'_>, _to: &ServiceRef) -> Handled<()> {
        Ok(())
    }

    /// A resource has come to that service, or what its client wants has become known.
    fn on_interest(&self, _context: &mut Context<'_>, _service: &ServiceRef, _jid: &FullJid) -> Handled<()> {
        Ok(())
    }

    /// A device of the owner's is going; it is still there.
    fn on_departure(&self, _context: &mut Context<'_>, _service: &ServiceRef, _jid: &FullJid) -> Handled<()> {
        Ok(())
    }

    /// The session of that client is over, whether or not it had shown presence.
    fn on_session_ended(&self, _context: &mut Context<'_>, _jid: &FullJid) -> Handled<()> {
        Ok(())
    }

    /// The answer to a request of the engine's own; true if it was taken.
    fn on_answer(&self, _context: &mut Context<'_>, _stanza: &Stanza<'_>) -> Handled<bool> {
        Ok(false)
    }

    /// A request of an account that nobody has answered in time.
    fn on_overdue(&self, _context: &mut Context<'_>, _intent: &Intent) -> Handled<()> {
        Ok(())
    }

    /// When time has to pass for something that is not in the store.
    fn next_tick(&self, _context: &mut Context<'_>) -> Option<Timestamp> {
        None
    }

    /// Time has passed.
    fn on_tick(&self, _context: &mut Context<'_>) -> Handled<()> {
        Ok(())
    }

    /// The roster of that account has the contact differently.
    fn on_roster(&self, _context: &mut Context<'_>, _service: &ServiceRef, _contact: &Jid) -> Handled<()> {
        Ok(())
    }

    /// The account is gone; its service is removed afterwards.
    fn on_account_removed(&self, _context: &mut Context<'_>, _service: &ServiceRef) -> Handled<()> {
        Ok(())
    }
}

/// Asks every extension whether the node is one that it makes up.
pub(crate) fn virtual_node(
    context: &mut Context<'_>,
    request: &Request<'_>,
    operation: Operation,
    node: &str,
) -> Handled<Option<Reply>> {
    for extension in EXTENSIONS.iter().filter(|extension| !request.service.in_room() || extension.serves_rooms()) {
        let reply = extension.virtual_node(context, request, operation, node)?;
        if reply.is_some() {
            return Ok(reply);
        }
    }
    Ok(None)
}

/// Tells every extension of a resource that has come, or whose wishes have become known.
fn interest(context: &mut Context<'_>, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
    let mut heard = EXTENSIONS.iter().filter(|extension| !service.in_room() || extension.serves_rooms());
    heard.try_for_each(|extension| extension.on_interest(context, service, jid))
}

/// Tells every extension of a device of the owner's that is going.
fn departure(context: &mut Context<'_>, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
    EXTENSIONS.iter().try_for_each(|extension| extension.on_departure(context, service, jid))
}
