//! The node `presence` of an account (sections 3 and 4): one item for each resource, in whose name the account says that it
//! is gone when its session ends. It has nothing to do with the presence that the host sends.

use super::super::{Operation, Request};
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::notify::{Reach, items_body};
use crate::forms::Form;
use crate::jid::{FullJid, Jid};
use crate::ns;
use crate::pubsub::policy::{Eventing, Kind, PRESENCE};
use crate::pubsub::store::Place;
use crate::pubsub::{Item, Node, Refusal};
use crate::stanza::{Condition, PubsubCondition, Stanza, StanzaError};
use crate::xml::{Element, Writer};

/// Requests shown to a client that comes online.
const ASKED: usize = 100;

/// Items left behind that are looked at in one go.
const STALE: u64 = 100;

/// What becomes of an item that is published there.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) payload: String,
    /// The resource is gone: its subscribers are told, and nothing is kept.
    pub(crate) ends: bool,
}

fn serves(service: &ServiceRef) -> bool {
    service.eventing(PRESENCE) == Some(Eventing::Presence)
}

/// The account's own word that a resource is gone.
fn gone(publisher: &str) -> String {
    let mut writer = Writer::new();
    writer.start_ns("presence", ns::CLIENT).attr("from", publisher).attr("type", "unavailable");
    writer.finish()
}

/// An owner's answer to a request may also be sent to the domain (example 11).
pub(super) fn answer_at_domain(context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<bool> {
    let at_domain = to.jid.local().is_none() && to.policy().kind == Kind::Account && serves(to);
    let Some(x) = stanza.element.child("x", ns::DATA_FORMS).filter(|_| at_domain) else { return Ok(false) };
    let Ok(form) = Form::read(x) else { return Ok(false) };
    let fits = form.kind == "submit"
        && form.form_type() == Some(ns::SUBSCRIBE_AUTHORIZATION)
        && form.value("pubsub#node") == Some(PRESENCE);
    let account = context.service_at(&stanza.from.to_bare()).filter(|account| account.jid.domain() == to.jid.domain());
    let Some(account) = account.filter(|_| fits) else { return Ok(false) };
    context.answer_subscription(&account, stanza, &form).map(|()| true)
}

/// Every account has the node. It is stored when its owner does something with it or somebody asks to be subscribed; until
/// then it answers strangers as it does afterwards, and as an account does that is none.
pub(super) fn before_it_is_there(
    context: &mut Context<'_>,
    request: &Request<'_>,
    operation: Operation,
) -> Handled<()> {
    let action = request.element.children().next().map_or("", |action| action.name());
    // What makes the node may ask for another configuration.
    if matches!(action, "subscribe" | "publish" | "create") && is_owners(context, request) {
        return Ok(());
    }
    if context.node(&request.service, PRESENCE)?.is_some() {
        return Ok(());
    }
    if is_owners(context, request) {
        if context.memory.reads_only {
            return Err(Stop::Writer);
        }
        return context.profile_node(&request.service, PRESENCE).map(drop);
    }
    match operation {
        Operation::Items | Operation::Names => Err(Refusal::NotSubscribed.into()),
        Operation::Change => Err(Refusal::Forbidden.into()),
        Operation::Subscribe | Operation::Info | Operation::Archive => Ok(()),
    }
}

/// A client of the owner has come: it is asked what nobody has answered yet, once in its session.
pub(super) fn owner_came(context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<()> {
    let Some(jid) = stanza.from.as_full().filter(|jid| serves(to) && to.is_owner(jid.bare_str())) else {
        return Ok(());
    };
    let known = context.memory.presences.resource(&to.name, jid).is_some();
    if known || !stanza.r#type.is_empty() {
        return Ok(());
    }
    let Some(node) = context.node(to, PRESENCE)? else { return Ok(()) };
    context.end_stale_presence(to, &node)?;
    for subscription in context.store().pending_subscriptions(node.key)?.iter().take(ASKED) {
        context.ask_owner(to, &node, subscription, jid.as_str());
    }
    Ok(())
}

/// A session has ended; if it left its presence behind, the account says that it is gone.
pub(super) fn session_ended(context: &mut Context<'_>, jid: &FullJid) -> Handled<()> {
    let Some(account) = context.service_at(&jid.to_bare()).filter(serves) else { return Ok(()) };
    let Some(node) = context.node(&account, PRESENCE)? else { return Ok(()) };
    if node.counters.items == 0 {
        return Ok(());
    }
    context.end_presence(&account, &node, jid.as_str())
}

impl Context<'_> {
    /// The node of that name; the node `presence` is made for whoever asks to be subscribed to it.
    pub(crate) fn profile_node(&mut self, service: &ServiceRef, name: &str) -> Handled<Option<Node>> {
        let node = self.node(service, name)?;
        if node.is_some() || service.eventing(name) != Some(Eventing::Presence) {
            return Ok(node);
        }
        if self.stored_service(service)?.is_none() && !self.account_exists(&service.jid)? {
            return Ok(None);
        }
        let owner = Jid::Bare(service.jid.clone());
        self.create_node(service, name, service.policy().defaults_for(name), &owner).map(Some)
    }

    /// What a published presence becomes: it is from the client that publishes it, whatever it says.
    pub(crate) fn stamp_presence(&mut self, from: &Jid, payload: Option<Element<'_>>) -> Handled<Stamped> {
        let Some(presence) = payload.filter(|payload| payload.is("presence", ns::CLIENT)) else {
            let error = StanzaError::new(Condition::BadRequest).with(PubsubCondition::InvalidPayload);
            return Err(error.text("an item here holds <presence/>").into());
        };
        let mut writer = Writer::with_capacity(presence.source_len() + 128);
        writer.start_ns("presence", ns::CLIENT).attr("from", from.as_str());
        writer.optional_attr("type", presence.attr("type")).optional_attr("xml:lang", presence.own_language());
        for child in presence.children() {
            writer.raw(&child.to_standalone());
        }
        if let Some(jid) = from.as_full() {
            self.memory.presences.note_publishing(jid);
        }
        Ok(Stamped { payload: writer.finish(), ends: presence.attr("type") == Some("unavailable") })
    }

    /// Removes what a client has published; the notification that it is gone stands for the retraction.
    pub(crate) fn drop_presence(&mut self, service: &ServiceRef, node: &Node, publisher: &str) -> Handled<bool> {
        let removed = self.change().delete_items_of(node.key, publisher, &mut Vec::new())?;
        self.count_removed(service, node, removed)?;
        Ok(removed.items > 0)
    }

    /// Says in the name of a client that it is gone, if it had said that it was there.
    fn end_presence(&mut self, service: &ServiceRef, node: &Node, publisher: &str) -> Handled<()> {
        // Facts first: before anything is written.
        let audience = self.audience(service, node, Reach::Subscribed)?;
        if !self.drop_presence(service, node, publisher)? {
            return Ok(());
        }
        let publisher = Jid::parse(publisher)?;
        let id = publisher.as_full().map_or("", FullJid::resource).into();
        let payload = gone(publisher.as_str()).into();
        let item = Item { seq: 0, id, publisher: publisher.as_str().into(), published: self.now, payload };
        let body = items_body(service, node, std::slice::from_ref(&item));
        self.notify(service, node, audience, &body, Some(&publisher));
        Ok(())
    }

    /// What clients left behind whose end nobody saw, because the server ended before them.
    pub(crate) fn end_stale_presence(&mut self, service: &ServiceRef, node: &Node) -> Handled<()> {
        if service.eventing(node.name.as_str()) != Some(Eventing::Presence) {
            return Ok(());
        }
        let page = self.store().items(node.key, &node.counters, None, Place::First, STALE)?;
        for item in page.rows {
            let publisher = Jid::parse(&item.publisher)?;
            let stale = publisher.as_full().is_some_and(|jid| !self.memory.presences.is_publishing(jid));
            if stale {
                self.end_presence(service, node, &item.publisher)?;
            }
        }
        Ok(())
    }
}

/// Whether it is the owner who asks.
pub(super) fn is_owners(context: &Context<'_>, request: &Request<'_>) -> bool {
    context.privileged || request.service.is_owner(request.from.bare_str())
}
