//! XEP-0060 (1.30.0), requests of everyone: the elements of the namespace `pubsub` (sections 5.6, 5.7, 6).
//!
//! Several subscriptions of one JID to one node are not offered, so there are no SubIDs on the wire; full JIDs of one
//! account are subscriptions of their own.

use super::options::{Offered, ROOMNICKS, read_options, write_options_form};
use super::{DocumentInfo, Extension, Operation, Phantom, Reply, Request, Route, Where, items, owner, virtual_node};
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::engine::summary;
use crate::forms::Form;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::config::AccessModel;
use crate::pubsub::policy::Eventing;
use crate::pubsub::subscription::Expiry;
use crate::pubsub::{Action, Affiliation, Node, Subscription, SubscriptionOptions, SubscriptionState};
use crate::stanza::{Condition, ErrorType, IqType, PubsubCondition, StanzaError};
use crate::xml::{Element, Writer};

pub(crate) struct Requests;

impl Extension for Requests {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[
            DocumentInfo {
                number: "0060",
                title: "Publish-Subscribe",
                version: "1.30.0",
                complete: false,
                notes: "accounts and component; without several subscriptions of one JID, digests and content filters",
            },
            DocumentInfo {
                number: "0004",
                title: "Data Forms",
                version: "2.13.2",
                complete: true,
                notes: "as XEP-0060 uses them",
            },
            DocumentInfo {
                number: "0059",
                title: "Result Set Management",
                version: "1.0",
                complete: true,
                notes: "items, nodes and public lists; beyond 5,000 nodes forwards only",
            },
        ]
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Domain => &[],
            Where::Account | Where::Component | Where::Room => &[
                ns::PUBSUB,
                "http://jabber.org/protocol/pubsub#item-ids",
                "http://jabber.org/protocol/pubsub#leased-subscription",
                "http://jabber.org/protocol/pubsub#multi-items",
                "http://jabber.org/protocol/pubsub#persistent-items",
                "http://jabber.org/protocol/pubsub#publish",
                "http://jabber.org/protocol/pubsub#publish-options",
                "http://jabber.org/protocol/pubsub#retract-items",
                "http://jabber.org/protocol/pubsub#delete-items",
                "http://jabber.org/protocol/pubsub#retrieve-affiliations",
                "http://jabber.org/protocol/pubsub#retrieve-default-sub",
                "http://jabber.org/protocol/pubsub#retrieve-items",
                "http://jabber.org/protocol/pubsub#retrieve-subscriptions",
                "http://jabber.org/protocol/pubsub#rsm",
                "http://jabber.org/protocol/pubsub#subscribe",
                "http://jabber.org/protocol/pubsub#subscription-notifications",
                "http://jabber.org/protocol/pubsub#subscription-options",
                ns::RSM,
            ],
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::PUBSUB, name: "pubsub", handler: handle, reads: true }]
    }
}

/// The first element that says what is wanted.
pub(super) fn action<'d>(pubsub: Element<'d>, ns: &str) -> Handled<Element<'d>> {
    let found = pubsub.children().find(|child| child.ns() == ns);
    found.ok_or_else(|| StanzaError::new(Condition::BadRequest).text("nothing is asked for").into())
}

/// The `node` attribute; without one the request breaks the schema.
pub(super) fn node_name(element: Element<'_>) -> Handled<&str> {
    match element.attr("node") {
        Some(node) if !node.is_empty() => Ok(node),
        _ => Err(StanzaError::new(Condition::BadRequest).with(PubsubCondition::NodeidRequired).into()),
    }
}

fn handle(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    if request.at_domain {
        return Ok(Reply::Pass);
    }
    let action = action(request.element, ns::PUBSUB)?;
    let operation = match action.name() {
        "items" => Operation::Items,
        "subscribe" | "unsubscribe" | "options" | "default" => Operation::Subscribe,
        "publish" | "retract" | "create" | "configure" => Operation::Change,
        _ => Operation::Info,
    };
    if let Some(node) = action.attr("node")
        && operation != Operation::Info
        && let Some(reply) = virtual_node(context, request, operation, node)?
    {
        return Ok(reply);
    }
    match (request.kind, action.name()) {
        (IqType::Set, "publish") => items::publish(context, request, action),
        (IqType::Set, "retract") => items::retract(context, request, action),
        (IqType::Get, "items") => items::retrieve(context, request, action),
        (IqType::Set, "subscribe") => subscribe(context, request, action),
        (IqType::Set, "unsubscribe") => unsubscribe(context, request, action),
        (IqType::Get, "subscriptions") => subscriptions(context, request, action),
        (IqType::Get, "affiliations") => affiliations(context, request, action),
        (IqType::Get, "options") => options(context, request, action),
        (IqType::Set, "options") => set_options(context, request, action),
        (IqType::Get, "default") => default_options(context, request, action),
        (IqType::Set, "create") => owner::create(context, request, action),
        _ => Err(StanzaError::new(Condition::BadRequest).text("there is no such request").into()),
    }
}

/// The JID to be subscribed: required, and of the requester's own account (section 6.1.3.1).
fn own_jid(context: &Context<'_>, request: &Request<'_>, element: Element<'_>, foreign: StanzaError) -> Handled<Jid> {
    let jid = element.attr("jid").ok_or_else(|| {
        StanzaError::new(Condition::BadRequest).with(PubsubCondition::JidRequired).text("'jid' is missing")
    })?;
    let invalid = || StanzaError::new(Condition::BadRequest).with(PubsubCondition::InvalidJid);
    let jid = Jid::parse(jid).map_err(|_| invalid())?;
    if context.privileged || jid.bare_str() == request.from.bare_str() { Ok(jid) } else { Err(foreign.into()) }
}

/// Whether a subscription is asked to be public (XEP-0465): by the element, or by the form field seen in the wild.
fn public_mark(subscribe: Element<'_>, field: Option<bool>) -> Handled<bool> {
    let element = subscribe.child("public", ns::PPS).is_some();
    if element && field == Some(false) {
        return Err(StanzaError::new(Condition::BadRequest)
            .text("<public/> and the field contradict each other")
            .into());
    }
    Ok(element || field == Some(true))
}

fn subscribe(context: &mut Context<'_>, request: &Request<'_>, subscribe: Element<'_>) -> Handled<Reply> {
    let service = &request.service;
    let invalid_jid = StanzaError::new(Condition::BadRequest).with(PubsubCondition::InvalidJid);
    let jid = own_jid(context, request, subscribe, invalid_jid)?;
    let Some(name) = subscribe.attr("node").filter(|node| !node.is_empty()) else {
        let error = StanzaError::new(Condition::FeatureNotImplemented);
        return Err(error.with(PubsubCondition::Unsupported("collections")).into());
    };
    let mut wanted = SubscriptionOptions::default();
    let mut field = None;
    let mut has = NOTHING_MORE;
    let options = request.element.child("options", ns::PUBSUB);
    if let Some(options) = options {
        let same = |name| options.attr(name).is_none_or(|value| subscribe.attr(name) == Some(value));
        if !same("node") || !same("jid") {
            return Err(StanzaError::new(Condition::BadRequest).text("<options/> is for something else").into());
        }
        if options.child("x", ns::DATA_FORMS).is_some() {
            let known = if service.is_account() { None } else { context.node(service, name)? };
            let form = Form::child_of(options)?;
            has = offered(service, known.as_ref(), name);
            has.roomnick =
                has.roomnick.map(|var| ROOMNICKS.into_iter().find(|var| form.value(var).is_some()).unwrap_or(var));
            (wanted, field) = read_options(&wanted, &form, context.now, has)?;
        }
    }
    let public = public_mark(subscribe, field)?;
    if let Some(state) = context.subscribe_phantom(service, name, &jid)? {
        return Ok(subscribed(name, &jid, state, options.map(|_| (&wanted, has))));
    }
    let node = match context.profile_node(service, name)? {
        Some(node) => node,
        None if service.policy().auto_create_on_subscribe => {
            context.check_create(service, &request.from.to_bare())?;
            context.create_node(service, name, service.policy().defaults_for(name), &request.from)?
        }
        None => return context.missing_node(service, name),
    };
    context.check(service, &node, &request.from, Action::Subscribe)?;
    if node.config.tempsub {
        wanted.expire = Expiry::Presence;
    }
    context.settle_roomnick(service, &node, &jid, &mut wanted)?;
    let subscription = join(context, request, &node, &jid, public, &wanted, options.is_some())?;
    Ok(subscribed(
        name,
        &subscription.jid,
        subscription.state,
        options.map(|_| (&subscription.options, Offered { bodies: offered(service, Some(&node), name).bodies, ..has })),
    ))
}

/// The answer to somebody who subscribes: with the options, if some were sent.
fn subscribed(
    name: &str,
    jid: &Jid,
    state: SubscriptionState,
    options: Option<(&SubscriptionOptions, Offered)>,
) -> Reply {
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB);
    write_subscription(&mut writer, Some(name), jid, state);
    if let Some((options, has)) = options {
        writer.start("options");
        write_options_form(&mut writer, "result", options, has);
        writer.end();
    }
    Reply::Result(writer.finish())
}

/// Makes the subscription, or brings the one that is there up to date: its mark, and its options where they were sent.
fn join(
    context: &mut Context<'_>,
    request: &Request<'_>,
    node: &Node,
    jid: &Jid,
    public: bool,
    wanted: &SubscriptionOptions,
    options_sent: bool,
) -> Handled<Subscription> {
    let service = &request.service;
    let present = context.store().subscriptions_to(node.key, jid.bare_str())?;
    let waits = node.config.access_model == AccessModel::Authorize
        && !context.privileged
        && context.affiliation(service, node, jid.bare_str())? == Affiliation::None;
    let mut present = present.into_iter().find(|subscription| subscription.jid == *jid);
    if let Some(ended) = present.take_if(|subscription| context.has_ended(subscription)) {
        // Nobody has swept it yet; what is made now does not end with it.
        context.end_subscription(service, node, &ended, Ending::Told)?;
    }
    if let Some(mut subscription) = present {
        let old = subscription.clone();
        subscription.wants_public = public;
        subscription.shown &= public;
        if options_sent {
            subscription.options = wanted.clone();
        }
        // The node may have been opened since.
        if subscription.state == SubscriptionState::Pending && !waits {
            subscription.state = SubscriptionState::Subscribed;
        }
        if subscription.state == SubscriptionState::Pending && subscription == old {
            let error = StanzaError::new(Condition::NotAuthorized).with(PubsubCondition::PendingSubscription);
            return Err(error.into());
        }
        // Another subscription of the same account may have been made since, without the mark.
        let unlisted = public && context.store().public_subscriber(node.key, jid.bare_str())?.is_none();
        if subscription != old || unlisted {
            context.update_subscription(service, node, &subscription, old.state)?;
        }
        if subscription.state != old.state {
            context.send_after_subscription(service, node, &subscription)?;
        }
        return Ok(subscription);
    }
    let limit = i64::from(service.policy().max_subscriptions);
    let row = context.make_service(service)?;
    if context.store().count_subscriptions_of(jid.bare_str(), row.key)? >= limit {
        let error = StanzaError::new(Condition::PolicyViolation).of_type(ErrorType::Wait);
        return Err(error.with(PubsubCondition::TooManySubscriptions).into());
    }
    if !context.has_place(service, node)? {
        let error = StanzaError::new(Condition::PolicyViolation).of_type(ErrorType::Wait);
        let error = error.with(PubsubCondition::TooManySubscriptions);
        return Err(error.text("the node has as many subscribers as it may have").into());
    }
    let state = if waits { SubscriptionState::Pending } else { SubscriptionState::Subscribed };
    let made = context.add_subscription(service, node, jid, state, public, wanted)?;
    if waits {
        context.ask_owners(service, node, &made)?;
    }
    context.send_after_subscription(service, node, &made)?;
    Ok(made)
}

/// `<subscription/>` as an answer has it.
pub(super) fn write_subscription(writer: &mut Writer, node: Option<&str>, jid: &Jid, state: SubscriptionState) {
    writer.start("subscription").optional_attr("node", node).attr("jid", jid.as_str());
    writer.attr("subscription", state.as_str()).end();
}

/// The subscription that a request is about.
fn named_subscription(
    context: &mut Context<'_>,
    request: &Request<'_>,
    element: Element<'_>,
    missing: ErrorType,
) -> Handled<(Node, Subscription)> {
    let jid = own_jid(context, request, element, StanzaError::new(Condition::Forbidden))?;
    let name = node_name(element)?;
    // A node that an extension makes up is there before anybody has subscribed to it.
    if is_everywhere(&request.service, name) && context.node(&request.service, name)?.is_none() {
        return Err(not_subscribed(missing).into());
    }
    let node = context.existing_node(&request.service, name)?;
    let found = context.store().subscriptions_to(node.key, jid.bare_str())?;
    match found.into_iter().find(|subscription| subscription.jid == jid) {
        Some(subscription) => Ok((node, subscription)),
        None => Err(not_subscribed(missing).into()),
    }
}

fn not_subscribed(kind: ErrorType) -> StanzaError {
    StanzaError::new(Condition::UnexpectedRequest).of_type(kind).with(PubsubCondition::NotSubscribed)
}

/// Whether every account has a node of that name, whatever is stored.
fn is_everywhere(service: &ServiceRef, name: &str) -> bool {
    super::disco::is_hidden_name(name) || service.eventing(name) == Some(Eventing::Presence)
}

/// The subscription at an account that does not exist which a request is about.
fn named_phantom(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Option<Phantom>> {
    let name = element.attr("node").filter(|name| is_everywhere(&request.service, name));
    let Some(name) = name else { return Ok(None) };
    let jid = own_jid(context, request, element, StanzaError::new(Condition::Forbidden))?;
    let mut known = context.phantoms_of(&request.service, jid.bare_str())?.into_iter();
    Ok(known.find(|known| known.jid == jid && known.node == name))
}

fn unsubscribe(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    if let Some(phantom) = named_phantom(context, request, element)? {
        context.unsubscribe_phantom(&request.service, &phantom.node, &phantom.jid);
        return Ok(subscribed(&phantom.node, &phantom.jid, SubscriptionState::None, None));
    }
    let (node, subscription) = named_subscription(context, request, element, ErrorType::Cancel)?;
    context.end_subscription(&request.service, &node, &subscription, Ending::Requested)?;
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB);
    write_subscription(&mut writer, Some(node.name.as_str()), &subscription.jid, SubscriptionState::None);
    Ok(Reply::Result(writer.finish()))
}

/// One's own subscriptions (section 5.6).
fn subscriptions(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    let only = element.attr("node");
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start("subscriptions").optional_attr("node", only);
    if let Some(row) = context.stored_service(&request.service)? {
        let found = context.store().subscriptions_of(request.from.bare_str(), Some(row.key))?;
        for place in found.iter().filter(|place| only.is_none_or(|node| node == place.node_name.as_str())) {
            let subscription = &place.subscription;
            if context.has_ended(subscription) {
                continue;
            }
            let name = place.node_name.as_str();
            write_subscription(&mut writer, Some(name), &subscription.jid, subscription.state);
        }
    }
    for phantom in context.phantoms_of(&request.service, request.from.bare_str())? {
        if only.is_none_or(|node| node == phantom.node) {
            write_subscription(&mut writer, Some(&phantom.node), &phantom.jid, phantom.state);
        }
    }
    Ok(Reply::Result(writer.finish()))
}

/// One's own affiliations (section 5.7).
fn affiliations(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    let only = element.attr("node");
    let mut found: Vec<(String, Affiliation)> = Vec::new();
    if let Some(row) = context.stored_service(&request.service)? {
        let stored = context.store().affiliations_of(row.key, request.from.bare_str())?;
        found.extend(stored.into_iter().map(|(name, affiliation)| (name.as_str().to_owned(), affiliation)));
        if request.service.is_owner(request.from.bare_str()) || (request.service.in_room() && context.asker.own) {
            let nodes = context.nodes(&request.service, None, usize::MAX)?;
            let visible = nodes.into_iter().filter(|node| !super::disco::is_hidden(node));
            found = visible.map(|node| (node.name.as_str().to_owned(), Affiliation::Owner)).collect();
        }
    }
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start("affiliations").optional_attr("node", only);
    for (name, affiliation) in found.iter().filter(|(name, _)| only.is_none_or(|node| node == name)) {
        writer.start("affiliation").attr("node", name).attr("affiliation", affiliation.as_str()).end();
    }
    Ok(Reply::Result(writer.finish()))
}

fn options(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    let (name, jid, options, has) = match named_phantom(context, request, element)? {
        Some(phantom) => (phantom.node.as_str().into(), phantom.jid, SubscriptionOptions::default(), NOTHING_MORE),
        None => {
            let (node, subscription) = named_subscription(context, request, element, ErrorType::Modify)?;
            let has = offered(&request.service, Some(&node), node.name.as_str());
            (node.name, subscription.jid, subscription.options, has)
        }
    };
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start("options");
    writer.attr("node", name.as_str()).attr("jid", jid.as_str());
    write_options_form(&mut writer, "form", &options, has);
    Ok(Reply::Result(writer.finish()))
}

fn set_options(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    if named_phantom(context, request, element)?.is_some() {
        let form = Form::child_of(element)?;
        if form.kind != "cancel" {
            read_options(&SubscriptionOptions::default(), &form, context.now, NOTHING_MORE)?;
        }
        return Ok(Reply::Result(String::new()));
    }
    let (node, mut subscription) = named_subscription(context, request, element, ErrorType::Modify)?;
    let form = Form::child_of(element)?;
    if form.kind == "cancel" {
        return Ok(Reply::Result(String::new()));
    }
    let has = offered(&request.service, Some(&node), node.name.as_str());
    let (mut options, public) = read_options(&subscription.options, &form, context.now, has)?;
    context.settle_roomnick(&request.service, &node, &subscription.jid, &mut options)?;
    subscription.options = options;
    subscription.wants_public = public.unwrap_or(subscription.wants_public);
    subscription.shown &= subscription.wants_public;
    let state = subscription.state;
    context.update_subscription(&request.service, &node, &subscription, state)?;
    Ok(Reply::Result(String::new()))
}

/// Which options a subscription to the node has beside those of every one.
fn offered(service: &ServiceRef, node: Option<&Node>, name: &str) -> Offered {
    // Notifications of a component can have the payload in words, as far as the node's type lets it be known.
    let bodies = !service.is_account() && node.is_none_or(|node| summary::possible(&node.config));
    let is_room = service.eventing(name) == Some(Eventing::Rooms);
    Offered { bodies, roomnick: is_room.then_some(ROOMNICKS[0]) }
}

const NOTHING_MORE: Offered = Offered { bodies: false, roomnick: None };

/// What options a subscription has if none are sent (section 6.4).
fn default_options(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    let mut node = None;
    if let Some(name) = element.attr("node").filter(|name| !is_everywhere(&request.service, name)) {
        let found = context.existing_node(&request.service, name)?;
        context.check(&request.service, &found, &request.from, Action::See)?;
        node = Some(found);
    }
    let has = offered(&request.service, node.as_ref(), element.attr("node").unwrap_or_default());
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start("default").optional_attr("node", element.attr("node"));
    write_options_form(&mut writer, "form", &SubscriptionOptions::default(), has);
    Ok(Reply::Result(writer.finish()))
}

/// The bare JID in an attribute of an owner's list.
pub(super) fn listed_jid(element: Element<'_>) -> Handled<Jid> {
    let jid = element.attr("jid").and_then(|jid| Jid::parse(jid).ok());
    jid.ok_or_else(|| StanzaError::new(Condition::BadRequest).with(PubsubCondition::InvalidJid).into())
}

/// Whether that JID is the account whose service this is.
pub(super) fn is_account_itself(request: &Request<'_>, jid: &BareJid) -> bool {
    request.service.is_owner(jid.as_str())
}
