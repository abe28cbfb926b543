//! XEP-0465 (0.1.1): public subscriptions. Both lists are read from marks that live and die with the subscriptions.
//!
//! The special nodes are made up here: an account's `urn:xmpp:pps:subscriptions:0`, and for every node NODE the node
//! `urn:xmpp:pps:subscribers:0/NODE` on the same service. Who subscribes to one of them is kept at a hidden node of that
//! name; their items are computed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{DocumentInfo, Extension, Operation, Reply, Request, Where};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::event::Happened;
use crate::engine::ids::Ids;
use crate::engine::notify::{Audience, Reach, retract_body};
use crate::engine::settings::Host;
use crate::forms;
use crate::jid::{BareJid, Jid};
use crate::mam;
use crate::ns;
use crate::pubsub::config::{AccessModel, Limit, SendLastPublishedItem};
use crate::pubsub::policy::Eventing;
use crate::pubsub::store::{NodeKey, Page, Place, PublicEntry, ServiceKey};
use crate::pubsub::{Action, Counters, Node, NodeConfig, Subscription, SubscriptionState};
use crate::rsm::{self, Position, Query};
use crate::stanza::{Condition, IqType, PubsubCondition, StanzaError};
use crate::time::Timestamp;
use crate::xml::Writer;

/// Members in one answer.
const PAGE: u64 = 1_000;

pub(crate) struct Pps;

impl Extension for Pps {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0465",
            title: "Pubsub Public Subscriptions",
            version: "0.1.1",
            complete: true,
            notes: "",
        }]
    }

    fn features(&self, _host: &Host, _at: Where) -> &'static [&'static str] {
        &[ns::PPS]
    }

    fn virtual_node(
        &self,
        context: &mut Context<'_>,
        request: &Request<'_>,
        operation: Operation,
        node: &str,
    ) -> Handled<Option<Reply>> {
        let Some(special) = Special::of(node) else { return Ok(None) };
        if operation == Operation::Change {
            return Err(StanzaError::new(Condition::Forbidden).into());
        }
        let list = open_list(context, request, special)?;
        match operation {
            Operation::Items => retrieve(context, request, &list, node).map(Some),
            Operation::Names => names(context, request, &list, node).map(Some),
            Operation::Info => Ok(Some(info(node))),
            Operation::Subscribe => prepare_subscription(context, request, node),
            Operation::Archive => query(context, request, &list, node).map(Some),
            Operation::Change => Ok(None),
        }
    }

    fn on_event(&self, context: &mut Context<'_>, event: &Happened<'_>) -> Handled<()> {
        match event {
            Happened::SubscriptionChanged { service, node, jid, new, public, .. } => {
                follow(context, service, node, jid, *new, *public)
            }
            Happened::NodeDeleted { service, node, actor } => {
                let special = format!("{}{}", ns::PPS_SUBSCRIBERS, node.name);
                match context.node(service, &special)? {
                    Some(hidden) => context.delete_hidden(service, &hidden, actor),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn on_account_removed(&self, context: &mut Context<'_>, service: &ServiceRef) -> Handled<()> {
        context.change().delete_public_subscriptions(service.jid.as_str()).map(drop).map_err(Stop::from)
    }
}

/// Which special node a NodeID names.
#[derive(Debug, Clone, Copy)]
enum Special<'n> {
    Subscriptions,
    Subscribers(&'n str),
}

impl<'n> Special<'n> {
    fn of(node: &'n str) -> Option<Self> {
        if node == ns::PPS_SUBSCRIPTIONS {
            return Some(Self::Subscriptions);
        }
        node.strip_prefix(ns::PPS_SUBSCRIBERS).map(Self::Subscribers)
    }
}

/// A list that may be read by whoever asked.
enum List {
    /// Of the account: what it is publicly subscribed to.
    Subscriptions(Arc<str>),
    /// Of a node: who is publicly subscribed to it; none if nobody ever was.
    Subscribers(Option<NodeKey>),
}

fn not_found<T>() -> Handled<T> {
    Err(StanzaError::new(Condition::ItemNotFound).into())
}

/// Finds the list, if the requester may have it: anyone an account's, and a node's whoever may read the node.
fn open_list(context: &mut Context<'_>, request: &Request<'_>, special: Special<'_>) -> Handled<List> {
    let service = &request.service;
    match special {
        Special::Subscriptions if service.is_account() => Ok(List::Subscriptions(service.name.clone())),
        Special::Subscriptions => not_found(),
        Special::Subscribers("") => not_found(),
        Special::Subscribers(target) if target.starts_with(ns::PPS_SUBSCRIBERS) => not_found(),
        Special::Subscribers(ns::PPS_SUBSCRIPTIONS) if service.is_account() => {
            Ok(List::Subscribers(context.node(service, ns::PPS_SUBSCRIPTIONS)?.map(|node| node.key)))
        }
        Special::Subscribers(target) => {
            let node = context.existing_node(service, target)?;
            context.check(service, &node, &request.from, Action::Retrieve)?;
            Ok(List::Subscribers(Some(node.key)))
        }
    }
}

// ---- items ----

impl List {
    fn read(&self, context: &mut Context<'_>, place: Place<i64>, limit: u64) -> Handled<Page<PublicEntry>> {
        Ok(match self {
            Self::Subscriptions(account) => context.store().public_subscriptions(account, place, limit)?,
            Self::Subscribers(Some(node)) => context.store().public_subscribers(*node, place, limit)?,
            Self::Subscribers(None) => Page { rows: Vec::new(), count: 0, index: 0 },
        })
    }

    /// Item ids stand for the position, so that nobody can make one up or see from it how many have been there.
    fn item_id(&self, context: &Context<'_>, entry: &PublicEntry) -> String {
        let secret = &context.memory.secret;
        match self {
            Self::Subscriptions(_) => {
                Ids::sealed(secret, &["pps", &entry.jid, entry.node_name.as_str()], entry.position)
            }
            Self::Subscribers(_) => Ids::sealed(secret, &["pps", &entry.jid], entry.position),
        }
    }

    fn find(&self, context: &mut Context<'_>, id: &str) -> Handled<Option<PublicEntry>> {
        let Some(position) = Ids::unsealed(&context.memory.secret, id) else { return Ok(None) };
        let page = self.read(context, Place::After(position.saturating_sub(1)), 1)?;
        let found = page.rows.into_iter().next().filter(|entry| entry.position == position);
        Ok(found.filter(|entry| self.item_id(context, entry) == id))
    }
}

/// The payload of an entry.
fn write_entry(writer: &mut Writer, list: &List, entry: &PublicEntry) {
    match list {
        List::Subscriptions(_) => {
            // The document writes `jid`, the client in the wild reads `service`: both say the same.
            writer.start_ns("subscription", ns::PPS).attr("node", entry.node_name.as_str());
            writer.attr("jid", &entry.jid).attr("service", &entry.jid);
            writer.attr("subscription", SubscriptionState::Subscribed.as_str()).end();
        }
        List::Subscribers(_) => {
            writer.start_ns("subscriber", ns::PPS).attr("jid", &entry.jid).end();
        }
    }
}

fn retrieve(context: &mut Context<'_>, request: &Request<'_>, list: &List, node: &str) -> Handled<Reply> {
    let Some(items) = request.element.child("items", ns::PUBSUB) else { return not_found() };
    let max_items = items.attr("max_items").map(|text| text.trim().parse::<u64>().unwrap_or(0));
    if max_items == Some(0) {
        return Err(StanzaError::new(Condition::BadRequest).text("max_items is a positive number").into());
    }
    let ids: Vec<&str> =
        items.children().filter(|c| c.is("item", ns::PUBSUB)).filter_map(|item| item.attr("id")).collect();
    if ids.len() as u64 > PAGE {
        return Err(StanzaError::new(Condition::NotAcceptable).text("these are too many items for one answer").into());
    }
    let mut entries = Vec::new();
    let mut shown = None;
    if ids.is_empty() {
        let page = list.page(context, request, max_items)?;
        shown = page.shown.then_some((page.index, page.count));
        entries = page.entries;
    } else {
        for id in ids {
            entries.extend(list.find(context, id)?);
        }
    }
    let mut writer = Writer::with_capacity(entries.len() * 160 + 256);
    writer.start_ns("pubsub", ns::PUBSUB).start("items").attr("node", node);
    let ids: Vec<String> = entries.iter().map(|entry| list.item_id(context, entry)).collect();
    for (entry, id) in entries.iter().zip(&ids) {
        writer.start("item").attr("id", id);
        write_entry(&mut writer, list, entry);
        writer.end();
    }
    writer.end();
    if let Some((index, count)) = shown {
        let members = ids.first().zip(ids.last()).map(|(first, last)| (first.as_str(), last.as_str()));
        rsm::write(&mut writer, members, Some(index), Some(count));
    }
    Ok(Reply::Result(writer.finish()))
}

/// The members by their names only, as disco shows items (section 5.5 of XEP-0060).
fn names(context: &mut Context<'_>, request: &Request<'_>, list: &List, node: &str) -> Handled<Reply> {
    let page = list.page(context, request, None)?;
    let ids: Vec<String> = page.entries.iter().map(|entry| list.item_id(context, entry)).collect();
    let mut writer = Writer::with_capacity(ids.len() * 96 + 256);
    writer.start_ns("query", ns::DISCO_ITEMS).attr("node", node);
    for id in &ids {
        writer.start("item").attr("jid", request.service.jid.as_str()).attr("name", id).end();
    }
    if page.shown {
        let members = ids.first().zip(ids.last()).map(|(first, last)| (first.as_str(), last.as_str()));
        rsm::write(&mut writer, members, Some(page.index), Some(page.count));
    }
    Ok(Reply::Result(writer.finish()))
}

/// A part of a list as it is answered.
struct Part {
    entries: Vec<PublicEntry>,
    index: u64,
    count: u64,
    /// Whether the answer says which part it is: because a page was asked for, or because there is more.
    shown: bool,
}

impl List {
    /// The page that was asked for; the newest members if none was.
    fn page(&self, context: &mut Context<'_>, request: &Request<'_>, max_items: Option<u64>) -> Handled<Part> {
        let query = Query::child_of(request.element)?;
        let mut position = |id: &str| match self.find(context, id)? {
            Some(entry) => Ok(entry.position),
            None => not_found(),
        };
        let place = match query.as_ref().map(|query| &query.position) {
            None | Some(Position::Last) => Place::Last,
            Some(Position::First) => Place::First,
            Some(Position::After(id)) => Place::After(position(id)?),
            Some(Position::Before(id)) => Place::Before(position(id)?),
            Some(Position::Index(index)) => Place::Index(*index),
        };
        let limit = query.as_ref().and_then(|query| query.max).or(max_items).unwrap_or(PAGE).min(PAGE);
        let Page { rows: entries, count, index } = self.read(context, place, limit)?;
        let wanted = count.min(max_items.unwrap_or(u64::MAX));
        let shown = query.is_some() || (entries.len() as u64) < wanted;
        Ok(Part { entries, index, count, shown })
    }
}

// ---- archive ----

/// A query of the archive runs over the present entries, each with the time at which it became public.
fn query(context: &mut Context<'_>, request: &Request<'_>, list: &List, node: &str) -> Handled<Reply> {
    if request.kind == IqType::Get {
        return Ok(Reply::Result(mam::form(None)));
    }
    let query = mam::Query::read(request.element, None)?;
    let service = &request.service.jid;
    let with_others = query.with.as_ref().is_some_and(|with| with.bare_str() != service.as_str());
    let mut span = list.span(context, query.start, query.end)?;
    if with_others || query.start > query.end {
        span.to = span.from;
    }
    let page = list.page_within(context, span, &query.page, query.limit())?;
    let ids: Vec<String> = page.rows.iter().map(|entry| list.item_id(context, entry)).collect();
    for (entry, id) in page.rows.iter().zip(&ids) {
        let mut message = Writer::with_capacity(512);
        message.start_ns("message", ns::CLIENT).attr("from", service.as_str()).attr("type", "headline");
        message.start_ns("event", ns::PUBSUB_EVENT).start("items").attr("node", node).start("item").attr("id", id);
        write_entry(&mut message, list, entry);
        let message = message.finish();
        let found = mam::Found { id, time: entry.since, message: &message, beside: "" };
        let stanza_id = context.memory.ids.event();
        let from = if request.to.is_empty() { service.as_str() } else { &request.to };
        let stanza = query.result(from, request.from.as_str(), &stanza_id, &found);
        context.out.push(Decision::Route { stanza });
    }
    let ends = ids.first().zip(ids.last()).map(|(first, last)| (first.as_str(), last.as_str()));
    Ok(Reply::Result(query.fin(ends, ids.len() as u64, page.index, page.count)))
}

/// Entries from one position to before another; the second one is as far away as it can be if there is no end.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: i64,
    to: i64,
}

impl List {
    /// The entries that became public within that time.
    fn span(&self, context: &mut Context<'_>, start: Timestamp, end: Timestamp) -> Handled<Span> {
        let mut since = |time: Timestamp| -> Handled<i64> {
            let found = match self {
                Self::Subscriptions(account) => context.store().public_subscriptions_since(account, time)?,
                Self::Subscribers(Some(node)) => context.store().public_subscribers_since(*node, time)?,
                Self::Subscribers(None) => None,
            };
            Ok(found.unwrap_or(i64::MAX))
        };
        let from = since(start)?;
        let to = if end.micros() == i64::MAX { i64::MAX } else { since(Timestamp::from_micros(end.micros() + 1))? };
        Ok(Span { from, to: to.max(from) })
    }

    /// Entries of the whole list before a position.
    fn count_before(&self, context: &mut Context<'_>, position: i64) -> Handled<u64> {
        let page = self.read(context, Place::After(position.saturating_sub(1)), 1)?;
        let at_end = position == i64::MAX || page.rows.is_empty();
        Ok(if at_end { page.count } else { page.index })
    }

    fn page_within(
        &self,
        context: &mut Context<'_>,
        span: Span,
        page: &Query<'_>,
        limit: u64,
    ) -> Handled<Page<PublicEntry>> {
        let before = self.count_before(context, span.from)?;
        let count = self.count_before(context, span.to)?.saturating_sub(before);
        let mut position = |id: &str| match self.find(context, id)? {
            Some(entry) => Ok(entry.position),
            None => not_found(),
        };
        let place = match &page.position {
            Position::First => Place::After(span.from.saturating_sub(1)),
            Position::After(id) => Place::After(position(id)?.max(span.from.saturating_sub(1))),
            Position::Last => Place::Before(span.to),
            Position::Before(id) => Place::Before(position(id)?.min(span.to)),
            Position::Index(index) => Place::Index(before.saturating_add(*index)),
        };
        let Page { mut rows, index, .. } = self.read(context, place, limit)?;
        let outside = rows.iter().take_while(|entry| entry.position < span.from).count();
        rows.drain(..outside);
        rows.retain(|entry| entry.position < span.to);
        let index = if rows.is_empty() { 0 } else { (index + outside as u64).saturating_sub(before) };
        Ok(Page { rows, count, index })
    }
}

fn info(node: &str) -> Reply {
    let mut writer = Writer::new();
    writer.start_ns("query", ns::DISCO_INFO).attr("node", node);
    writer.start("identity").attr("category", "pubsub").attr("type", "leaf").end();
    writer.start("feature").attr("var", ns::PUBSUB).end();
    writer.start("feature").attr("var", ns::DISCO_INFO).end();
    forms::start(&mut writer, "result", ns::META_DATA);
    forms::field(&mut writer, "pubsub#access_model", Some("list-single"), None, &[], &["open"]);
    Reply::Result(writer.finish())
}

// ---- who is told ----

/// What a special node would be configured as.
fn special_config() -> NodeConfig {
    NodeConfig {
        access_model: AccessModel::Open,
        send_last_published_item: SendLastPublishedItem::Never,
        max_items: Limit::Max,
        notify_delete: true,
        ..NodeConfig::component()
    }
}

/// Subscribing goes the usual way, to the hidden node of that name, which is made when it is first needed.
fn prepare_subscription(context: &mut Context<'_>, request: &Request<'_>, name: &str) -> Handled<Option<Reply>> {
    let service = &request.service;
    if context.node(service, name)?.is_some() {
        return Ok(None);
    }
    // What is asked of a node that nobody has subscribed to is answered as if somebody had.
    if request.element.child("subscribe", ns::PUBSUB).is_none() || is_missing_account(context, service)? {
        return Ok(None);
    }
    let row = context.make_service(service)?;
    let (now, creator) = (context.now, service.name.clone());
    let node = context.change().insert_node(row.key, name, &creator, now, &Arc::new(special_config()))?;
    context.memory.cache.insert_node(node);
    Ok(None)
}

/// Whether a service is an account that does not exist: its special node is there as everybody's, but keeps nothing.
fn is_missing_account(context: &mut Context<'_>, service: &ServiceRef) -> Handled<bool> {
    if !service.is_account() || context.stored_service(service)?.is_some() {
        return Ok(false);
    }
    Ok(!context.account_exists(&service.jid)?)
}

/// Subscriptions to nodes that every account has, at accounts that do not exist: a few are remembered until the server
/// stops, so that subscribing, looking and unsubscribing do not tell such an account from others.
#[derive(Debug, Default)]
pub(crate) struct Phantoms {
    phantoms: VecDeque<Phantom>,
}

/// A subscription that only its subscriber believes in.
#[derive(Debug, Clone)]
pub(crate) struct Phantom {
    account: BareJid,
    pub(crate) node: String,
    pub(crate) jid: Jid,
    pub(crate) state: SubscriptionState,
}

/// In which state a subscription is to a node that every account has; none if the node is not one of those.
fn phantom_state(service: &ServiceRef, node: &str) -> Option<SubscriptionState> {
    if node == ns::PPS_SUBSCRIPTIONS {
        return Some(SubscriptionState::Subscribed);
    }
    // Who would approve it?
    service.eventing(node).filter(|profile| *profile == Eventing::Presence).map(|_| SubscriptionState::Pending)
}

/// Of all accounts.
const MAX_PHANTOMS: usize = 1_000;

impl Context<'_> {
    /// Subscribes at an account that does not exist to a node that every account has; none if it is not that.
    pub(super) fn subscribe_phantom(
        &mut self,
        service: &ServiceRef,
        node: &str,
        jid: &Jid,
    ) -> Handled<Option<SubscriptionState>> {
        let Some(state) = phantom_state(service, node) else { return Ok(None) };
        if !is_missing_account(self, service)? {
            return Ok(None);
        }
        let known = self.unsubscribe_phantom(service, node, jid);
        let phantoms = &mut self.memory.phantoms.phantoms;
        if phantoms.len() >= MAX_PHANTOMS {
            phantoms.pop_front();
        }
        let (account, node, jid) = (service.jid.clone(), node.to_owned(), jid.clone());
        phantoms.push_back(Phantom { account, node, jid, state });
        if known && state == SubscriptionState::Pending {
            let error = StanzaError::new(Condition::NotAuthorized).with(PubsubCondition::PendingSubscription);
            return Err(error.into());
        }
        Ok(Some(state))
    }

    /// Those of a bare JID, as they were subscribed.
    pub(super) fn phantoms_of(&mut self, service: &ServiceRef, bare: &str) -> Handled<Vec<Phantom>> {
        // A reader has its own memory.
        if self.memory.reads_only && self.stored_service(service)?.is_none() {
            return Err(Stop::Writer);
        }
        let phantoms = self.memory.phantoms.phantoms.iter();
        let of_both = |phantom: &&Phantom| phantom.account == service.jid && phantom.jid.bare_str() == bare;
        Ok(phantoms.filter(of_both).cloned().collect())
    }

    /// Ends it; false if there was none.
    pub(super) fn unsubscribe_phantom(&mut self, service: &ServiceRef, node: &str, jid: &Jid) -> bool {
        let phantoms = &mut self.memory.phantoms.phantoms;
        let before = phantoms.len();
        phantoms.retain(|known| known.account != service.jid || known.node != node || known.jid != *jid);
        phantoms.len() < before
    }
}

/// The special node as a node, whether or not anybody has subscribed to it.
fn special_node(context: &mut Context<'_>, service: &ServiceRef, name: &str) -> Handled<Node> {
    if let Some(node) = context.node(service, name)? {
        return Ok(node);
    }
    Ok(Node {
        key: NodeKey(0),
        service: ServiceKey(0),
        name: name.into(),
        creator: service.name.clone(),
        created: context.now,
        config: Arc::new(special_config()),
        counters: Counters::default(),
    })
}

/// Tells the subscribers of a special node that an entry came or went.
fn announce(
    context: &mut Context<'_>,
    service: &ServiceRef,
    name: &str,
    list: &List,
    entry: &PublicEntry,
    came: bool,
) -> Handled<()> {
    let node = special_node(context, service, name)?;
    let mut audience = context.audience(service, &node, Reach::Subscribed)?;
    if let Some(target) = name.strip_prefix(ns::PPS_SUBSCRIBERS) {
        audience = readers_of(context, service, target, audience)?;
    }
    if audience == Audience::default() {
        return Ok(());
    }
    let id = list.item_id(context, entry);
    let body = if came {
        let mut writer = Writer::new();
        writer.start("items").attr("node", name).start("item").attr("id", &id);
        write_entry(&mut writer, list, entry);
        writer.finish()
    } else {
        retract_body(name, std::iter::once(id.as_str()))
    };
    context.notify(service, &node, audience, &body, None);
    Ok(())
}

/// Of an audience, those who may read the node that the list is about: who lost access to it, or never had it, learns no
/// more of its subscribers than by asking.
fn readers_of(context: &mut Context<'_>, service: &ServiceRef, target: &str, audience: Audience) -> Handled<Audience> {
    if audience == Audience::default() || target == ns::PPS_SUBSCRIPTIONS {
        return Ok(audience);
    }
    let Some(target) = context.node(service, target)? else { return Ok(Audience::default()) };
    let mut all = true;
    let mut readers = |recipients: &[Arc<str>]| -> Handled<Vec<Arc<str>>> {
        let mut readers = Vec::new();
        for recipient in recipients {
            let bare = recipient.split_once('/').map_or(&**recipient, |(bare, _)| bare);
            let may_read = |context: &mut Context<'_>| {
                let affiliation = context.affiliation(service, &target, bare)?;
                context.decide(service, &target, bare, affiliation, Action::Retrieve)
            };
            if matches!(context.gather(may_read, &mut all)?, Some(Ok(()))) {
                readers.push(recipient.clone());
            }
        }
        Ok(readers)
    };
    let readers = Audience {
        contacts: readers(&audience.contacts)?,
        readers: readers(&audience.readers)?,
        others: readers(&audience.others)?.into(),
        summary: None,
    };
    if all { Ok(readers) } else { Err(Stop::Need) }
}

// ---- marks ----

/// Keeps the marks in step with a subscription of this server: made, changed or ended, by whatever way.
fn follow(
    context: &mut Context<'_>,
    service: &ServiceRef,
    node: &Node,
    jid: &Jid,
    new: SubscriptionState,
    public: bool,
) -> Handled<()> {
    let bare = jid.to_bare();
    let others = context.store().subscriptions_to(node.key, bare.as_str())?;
    if new == SubscriptionState::Subscribed && public {
        if others.iter().any(|subscription| subscription.jid == *jid && subscription.shown) {
            context.list_subscription(&bare, service.jid.as_str(), node.name.as_str())?;
        }
        return context.list_subscriber(service, node, &bare);
    }
    let another = others.iter().any(|s| s.jid != *jid && s.state == SubscriptionState::Subscribed && s.wants_public);
    // The last request decides for all subscriptions of an account; the end of one leaves those of other resources.
    if new != SubscriptionState::Subscribed && another {
        return Ok(());
    }
    context.unlist_subscriber(service, node, &bare)?;
    if context.is_local_account(&bare) {
        context.unlist_subscription(&bare, service.jid.as_str(), node.name.as_str())?;
    }
    Ok(())
}

impl Context<'_> {
    fn list_subscriber(&mut self, service: &ServiceRef, node: &Node, bare: &BareJid) -> Handled<()> {
        let now = self.now;
        if !self.change().insert_public_subscriber(node.key, bare.as_str(), now)? {
            return Ok(());
        }
        let name = format!("{}{}", ns::PPS_SUBSCRIBERS, node.name);
        match self.store().public_subscriber(node.key, bare.as_str())? {
            Some(entry) => announce(self, service, &name, &List::Subscribers(Some(node.key)), &entry, true),
            None => Ok(()),
        }
    }

    fn unlist_subscriber(&mut self, service: &ServiceRef, node: &Node, bare: &BareJid) -> Handled<()> {
        let Some(entry) = self.store().public_subscriber(node.key, bare.as_str())? else { return Ok(()) };
        let name = format!("{}{}", ns::PPS_SUBSCRIBERS, node.name);
        announce(self, service, &name, &List::Subscribers(Some(node.key)), &entry, false)?;
        self.change().delete_public_subscriber(node.key, bare.as_str())?;
        Ok(())
    }

    /// Remembers at a subscription of this server that the account asked for it publicly: it may have to be approved first.
    pub(crate) fn show_once_subscribed(&mut self, account: &BareJid, service: &str, node: &str) -> Handled<()> {
        let Some(service) = self.service_at(&BareJid::from_prepared(service)) else { return Ok(()) };
        let Some(node) = self.node(&service, node)? else { return Ok(()) };
        for subscription in self.store().subscriptions_to(node.key, account.as_str())? {
            if subscription.jid.as_str() == account.as_str() && subscription.wants_public {
                self.change().update_subscription(&Subscription { shown: true, ..subscription })?;
            }
        }
        Ok(())
    }

    /// Shows a subscription in the account's public list; it is known to be in force.
    pub(crate) fn list_subscription(&mut self, account: &BareJid, service: &str, node: &str) -> Handled<()> {
        let now = self.now;
        if !self.change().insert_public_subscription(account.as_str(), service, node, now)? {
            return Ok(());
        }
        let entry = self.store().public_subscription(account.as_str(), service, node)?;
        self.announce_subscription(account, entry, true)
    }

    /// Takes a subscription off the account's public list.
    pub(crate) fn unlist_subscription(&mut self, account: &BareJid, service: &str, node: &str) -> Handled<()> {
        let entry = self.store().public_subscription(account.as_str(), service, node)?;
        if entry.is_none() {
            return Ok(());
        }
        self.announce_subscription(account, entry, false)?;
        self.change().delete_public_subscription(account.as_str(), service, node)?;
        Ok(())
    }

    fn announce_subscription(&mut self, account: &BareJid, entry: Option<PublicEntry>, came: bool) -> Handled<()> {
        let (Some(entry), Some(service)) = (entry, self.service_at(account)) else { return Ok(()) };
        let list = List::Subscriptions(service.name.clone());
        announce(self, &service, ns::PPS_SUBSCRIPTIONS, &list, &entry, came)
    }

    /// The node that a special node is about is going: its list empties, and nobody can be subscribed to it any more.
    fn delete_hidden(&mut self, service: &ServiceRef, hidden: &Node, _actor: &Jid) -> Handled<()> {
        let audience = self.audience(service, hidden, Reach::Everyone)?;
        let mut writer = Writer::new();
        writer.start("delete").attr("node", hidden.name.as_str());
        self.notify(service, hidden, audience, &writer.finish(), None);
        self.end_all_subscriptions(service, hidden)?;
        self.memory.cache.remove_node(hidden.service, hidden.name.as_str());
        self.change().delete_node(hidden.key)?;
        Ok(())
    }
}
