//! XEP-0060 (1.30.0), requests of owners: the namespace `pubsub#owner` and creation (section 8).

use std::collections::HashSet;

use super::options::{apply_config, named_publishers, write_config_form};
use super::requests::{action, is_account_itself, listed_jid, node_name, write_subscription};
use super::{DocumentInfo, Extension, Operation, Reply, Request, Route, Where, virtual_node};
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::forms::Form;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::policy::Kind;
use crate::pubsub::{Action, Affiliation, Node, SubscriptionOptions, SubscriptionState};
use crate::stanza::{Condition, IqType, PubsubCondition, StanzaError};
use crate::xml::{Element, Writer};

pub(crate) struct Owner;

impl Extension for Owner {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[]
    }

    fn features(&self, host: &Host, at: Where) -> &'static [&'static str] {
        const OF_ROOMS: &[&str] = &[
            "http://jabber.org/protocol/pubsub#config-node",
            "http://jabber.org/protocol/pubsub#config-node-max",
            "http://jabber.org/protocol/pubsub#create-and-configure",
            "http://jabber.org/protocol/pubsub#create-nodes",
            "http://jabber.org/protocol/pubsub#delete-nodes",
            "http://jabber.org/protocol/pubsub#instant-nodes",
            "http://jabber.org/protocol/pubsub#publish-node-full",
            "http://jabber.org/protocol/pubsub#purge-nodes",
            "http://jabber.org/protocol/pubsub#retrieve-default",
        ];
        const COMMON: &[&str] = &[
            "http://jabber.org/protocol/pubsub#config-node",
            "http://jabber.org/protocol/pubsub#config-node-max",
            "http://jabber.org/protocol/pubsub#create-and-configure",
            "http://jabber.org/protocol/pubsub#create-nodes",
            "http://jabber.org/protocol/pubsub#delete-nodes",
            "http://jabber.org/protocol/pubsub#instant-nodes",
            "http://jabber.org/protocol/pubsub#manage-subscriptions",
            "http://jabber.org/protocol/pubsub#member-affiliation",
            "http://jabber.org/protocol/pubsub#modify-affiliations",
            "http://jabber.org/protocol/pubsub#outcast-affiliation",
            "http://jabber.org/protocol/pubsub#publish-node-full",
            "http://jabber.org/protocol/pubsub#publish-only-affiliation",
            "http://jabber.org/protocol/pubsub#publisher-affiliation",
            "http://jabber.org/protocol/pubsub#purge-nodes",
            "http://jabber.org/protocol/pubsub#retrieve-default",
        ];
        match (at, host.policy.kind) {
            (Where::Domain, _) => &[],
            (Where::Room, _) | (_, Kind::Room) => OF_ROOMS,
            (Where::Account | Where::Component, Kind::Account | Kind::Component) => COMMON,
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::PUBSUB_OWNER, name: "pubsub", handler: handle, reads: true }]
    }
}

fn handle(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    if request.at_domain {
        return Ok(Reply::Pass);
    }
    let action = action(request.element, ns::PUBSUB_OWNER)?;
    if let Some(node) = action.attr("node")
        && let Some(reply) = virtual_node(context, request, Operation::Change, node)?
    {
        return Ok(reply);
    }
    if (request.kind, action.name()) == (IqType::Get, "default") {
        return default(context, request, action);
    }
    let name = node_name(action)?;
    let node = owned_node(context, request, name)?;
    match (request.kind, action.name()) {
        (IqType::Get, "configure") => Ok(configuration(&node)),
        (IqType::Set, "configure") => configure(context, request, &node, action),
        (IqType::Set, "delete") => {
            let redirect = action.child("redirect", ns::PUBSUB_OWNER).and_then(|redirect| redirect.attr("uri"));
            context.delete_node(&request.service, &node, redirect, &request.from)?;
            Ok(Reply::Result(String::new()))
        }
        (IqType::Set, "purge") => {
            context.purge_node(&request.service, &node, &request.from)?;
            Ok(Reply::Result(String::new()))
        }
        (IqType::Get, "subscriptions") => subscriptions(context, &node),
        (IqType::Set, "subscriptions") => set_subscriptions(context, request, &node, action),
        (IqType::Get, "affiliations") => affiliations(context, request, &node),
        (IqType::Set, "affiliations") => set_affiliations(context, request, &node, action),
        _ => Err(StanzaError::new(Condition::BadRequest).text("there is no such request").into()),
    }
}

/// The node, if the requester owns it.
fn owned_node(context: &mut Context<'_>, request: &Request<'_>, name: &str) -> Handled<Node> {
    let node = context.existing_node(&request.service, name)?;
    context.check(&request.service, &node, &request.from, Action::Own)?;
    Ok(node)
}

/// Makes a node (section 8.1).
pub(super) fn create(context: &mut Context<'_>, request: &Request<'_>, create: Element<'_>) -> Handled<Reply> {
    let service = &request.service;
    context.check_create(service, &request.from.to_bare())?;
    let asked = create.attr("node").filter(|node| !node.is_empty());
    let name = match asked {
        Some(name) => name.to_owned(),
        None => context.memory.ids.random(),
    };
    let mut config = service.policy().defaults_for(&name);
    let profile = service.eventing(&name).is_some();
    let mut publishers = Vec::new();
    if let Some(configure) = request.element.child("configure", ns::PUBSUB) {
        if configure.attr("node").is_some() {
            return Err(StanzaError::new(Condition::BadRequest).text("<configure/> has no 'node' here").into());
        }
        if configure.child("x", ns::DATA_FORMS).is_some() {
            let form = Form::child_of(configure)?;
            config = apply_config(&config, &form, profile)?;
            publishers = if profile { named_publishers(&form)? } else { publishers };
        }
    }
    if context.node(service, &name)?.is_some() {
        return Err(StanzaError::new(Condition::Conflict).text("the node exists already").into());
    }
    let node = context.create_node(service, &name, config, &request.from)?;
    context.make_publishers(service, &node, &publishers)?;
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start("create").attr("node", &name);
    Ok(Reply::Result(writer.finish()))
}

fn configuration(node: &Node) -> Reply {
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB_OWNER).start("configure").attr("node", node.name.as_str());
    write_config_form(&mut writer, "form", &node.config, ns::NODE_CONFIG);
    Reply::Result(writer.finish())
}

fn configure(context: &mut Context<'_>, request: &Request<'_>, node: &Node, element: Element<'_>) -> Handled<Reply> {
    let form = Form::child_of(element)?;
    match form.kind {
        "cancel" => return Ok(Reply::Result(String::new())),
        "submit" => {}
        _ => return Err(crate::forms::Malformed::WrongType("submit").into()),
    }
    let service = &request.service;
    let profile = service.eventing(node.name.as_str()).is_some();
    let publishers = if profile { named_publishers(&form)? } else { Vec::new() };
    let config = apply_config(&node.config, &form, profile)?;
    let node = context.reconfigure(service, node, config, &request.from)?;
    context.make_publishers(service, &node, &publishers)?;
    Ok(Reply::Result(String::new()))
}

/// The configuration that new nodes get (section 8.3).
fn default(_context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    if element.attr("type").is_some_and(|kind| kind != "leaf") {
        let error = StanzaError::new(Condition::FeatureNotImplemented);
        return Err(error.with(PubsubCondition::Unsupported("collections")).into());
    }
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB_OWNER).start("default");
    let service = &request.service;
    let config = service.governed("", service.policy().defaults_for(""));
    write_config_form(&mut writer, "form", &config, ns::NODE_CONFIG);
    Ok(Reply::Result(writer.finish()))
}

/// Who is subscribed (section 8.8.1).
fn subscriptions(context: &mut Context<'_>, node: &Node) -> Handled<Reply> {
    let all = context.store().subscriptions(node.key, None, usize::MAX)?;
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB_OWNER).start("subscriptions").attr("node", node.name.as_str());
    for subscription in all.iter().filter(|subscription| context.is_live(subscription)) {
        write_subscription(&mut writer, None, &subscription.jid, subscription.state);
    }
    Ok(Reply::Result(writer.finish()))
}

/// Carries out a list of changes one by one; those that cannot be are returned as they were, beside the error
/// (sections 8.8.2.4 and 8.9.2.4).
fn each_entry<'d>(
    list: Element<'d>,
    entry_name: &str,
    mut change: impl FnMut(Element<'d>, &Jid) -> Handled<Result<(), String>>,
) -> Handled<Reply> {
    let entries: Vec<_> = list.children().filter(|entry| entry.is(entry_name, ns::PUBSUB_OWNER)).collect();
    let mut jids = Vec::with_capacity(entries.len());
    let mut known = HashSet::with_capacity(entries.len());
    for entry in &entries {
        let jid = listed_jid(*entry)?;
        if !known.insert(jid.clone()) {
            return Err(StanzaError::new(Condition::BadRequest).text(format!("{jid} is listed twice")).into());
        }
        jids.push(jid);
    }
    let mut unchanged = String::new();
    for (entry, jid) in entries.into_iter().zip(&jids) {
        if let Err(as_it_was) = change(entry, jid)? {
            unchanged.push_str(&as_it_was);
        }
    }
    Ok(Reply::Result(unchanged))
}

/// Answers a list of changes: with an error if some were not made, although the others were.
fn partly(context: &mut Context<'_>, request: &Request<'_>, list: Element<'_>, reply: Reply) -> Handled<Reply> {
    let Reply::Result(unchanged) = reply else { return Ok(reply) };
    if unchanged.is_empty() {
        return Ok(Reply::Result(unchanged));
    }
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB_OWNER);
    let name = if list.name() == "affiliations" { "affiliations" } else { "subscriptions" };
    writer.start(name).optional_attr("node", list.attr("node")).raw(&unchanged);
    let error = StanzaError::new(Condition::NotAcceptable).beside(writer.finish());
    context.answer_with_error(request, &error);
    Ok(Reply::Later)
}

fn set_subscriptions(
    context: &mut Context<'_>,
    request: &Request<'_>,
    node: &Node,
    list: Element<'_>,
) -> Handled<Reply> {
    let service = &request.service;
    let reply = each_entry(list, "subscription", |entry, jid| {
        let Some(wanted) = entry.attr("subscription") else { return Ok(Ok(())) };
        let present = context.store().subscriptions_to(node.key, jid.bare_str())?;
        let present = present.into_iter().find(|subscription| subscription.jid == *jid);
        let state = present.as_ref().map_or(SubscriptionState::None, |subscription| subscription.state);
        let as_it_was = || {
            let mut writer = Writer::new();
            write_subscription(&mut writer, None, jid, state);
            Err(writer.finish())
        };
        Ok(match (SubscriptionState::parse(wanted), present) {
            (Some(SubscriptionState::None), Some(subscription)) => {
                context.end_subscription(service, node, &subscription, Ending::Told)?;
                Ok(())
            }
            (Some(SubscriptionState::None), None) => Ok(()),
            (Some(SubscriptionState::Subscribed), Some(mut subscription)) => {
                if subscription.state != SubscriptionState::Subscribed {
                    if !context.has_place(service, node)? {
                        return Ok(as_it_was());
                    }
                    let old = subscription.state;
                    subscription.state = SubscriptionState::Subscribed;
                    context.update_subscription(service, node, &subscription, old)?;
                    context.tell_subscriber(service, node, &subscription);
                    context.send_after_subscription(service, node, &subscription)?;
                }
                Ok(())
            }
            (Some(SubscriptionState::Subscribed), None) => {
                let affiliation = context.affiliation(service, node, jid.bare_str())?;
                // XEP-0207: nobody is brought into a room or a conversation who has nothing to do with it.
                let stranger = service.eventing(node.name.as_str()).is_some() && affiliation == Affiliation::None;
                if affiliation == Affiliation::Outcast || stranger || !context.has_place(service, node)? {
                    return Ok(as_it_was());
                }
                let options = SubscriptionOptions::default();
                let made =
                    context.add_subscription(service, node, jid, SubscriptionState::Subscribed, false, &options)?;
                context.tell_subscriber(service, node, &made);
                context.send_after_subscription(service, node, &made)?;
                Ok(())
            }
            _ => as_it_was(),
        })
    })?;
    partly(context, request, list, reply)
}

/// Who stands how to the node (section 8.9.1).
fn affiliations(context: &mut Context<'_>, request: &Request<'_>, node: &Node) -> Handled<Reply> {
    let stored = context.store().affiliations(node.key)?;
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB_OWNER).start("affiliations").attr("node", node.name.as_str());
    let account = request.service.is_account().then(|| (request.service.name.clone(), Affiliation::Owner));
    for (jid, affiliation) in account.into_iter().chain(stored) {
        writer.start("affiliation").attr("jid", &jid).attr("affiliation", affiliation.as_str()).end();
    }
    Ok(Reply::Result(writer.finish()))
}

fn set_affiliations(
    context: &mut Context<'_>,
    request: &Request<'_>,
    node: &Node,
    list: Element<'_>,
) -> Handled<Reply> {
    let service = &request.service;
    let reply = each_entry(list, "affiliation", |entry, jid| {
        let Some(wanted) = entry.attr("affiliation") else { return Ok(Ok(())) };
        let bare = jid.to_bare();
        let present = context.affiliation(service, node, bare.as_str())?;
        let as_it_was = || {
            let mut writer = Writer::new();
            let (jid, affiliation) = (bare.as_str(), present.as_str());
            writer.start("affiliation").attr("jid", jid).attr("affiliation", affiliation).end();
            Err(writer.finish())
        };
        let Some(wanted) = Affiliation::parse(wanted).filter(|wanted| present.may_become(*wanted)) else {
            return Ok(as_it_was());
        };
        if wanted == present {
            return Ok(Ok(()));
        }
        let last_owner = present == Affiliation::Owner && context.owners(service, node)?.len() < 2;
        if is_account_itself(request, &bare) || last_owner {
            return Ok(as_it_was());
        }
        context.give_affiliation(service, node, &bare, wanted)?;
        Ok(Ok(()))
    })?;
    partly(context, request, list, reply)
}

impl Context<'_> {
    /// Makes somebody stand differently to a node, with all that follows from it.
    fn give_affiliation(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        bare: &BareJid,
        wanted: Affiliation,
    ) -> Handled<()> {
        self.change().set_affiliation(node.key, bare.as_str(), wanted)?;
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str()) {
            cached.affiliations.insert(bare.as_str().into(), wanted);
        }
        self.forget_audience(node);
        self.affiliation_changed(service, node, bare.as_str(), wanted)?;
        self.tell_affiliation(service, node, bare.as_str(), wanted);
        Ok(())
    }

    /// Makes publishers of those that a configuration form names (XEP-0207, section 6); owners stay owners.
    fn make_publishers(&mut self, service: &ServiceRef, node: &Node, named: &[BareJid]) -> Handled<()> {
        for bare in named {
            let present = self.affiliation(service, node, bare.as_str())?;
            if !matches!(present, Affiliation::Owner | Affiliation::Publisher) {
                self.give_affiliation(service, node, bare, Affiliation::Publisher)?;
            }
        }
        Ok(())
    }

    /// Tells somebody of a changed affiliation (section 8.9.4, in the form that the requirement table settles).
    fn tell_affiliation(&mut self, service: &ServiceRef, node: &Node, bare: &str, affiliation: Affiliation) {
        let id = self.memory.ids.event();
        let mut writer = Writer::new();
        writer.start("message").attr("id", &id).attr("from", service.jid.as_str()).attr("to", bare);
        writer.start_ns("pubsub", ns::PUBSUB).start("affiliations").attr("node", node.name.as_str());
        writer.start("affiliation").attr("jid", bare).attr("affiliation", affiliation.as_str());
        self.out.push(crate::engine::Decision::Route { stanza: writer.finish() });
    }
}
