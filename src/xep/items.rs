//! XEP-0060: publishing, removing and retrieving items (sections 6.5, 7.1, 7.2).

use std::collections::HashSet;
use std::sync::Arc;

use super::options::{apply_publish_options, check_publish_options, publish_options};
use super::requests::node_name;
use super::{Reply, Request, Stamped};
use crate::engine::context::{Context, Handled};
use crate::engine::event::Happened;
use crate::engine::nodes::check_name;
use crate::engine::notify::{Audience, Reach, items_body, shown_publisher, write_item};
use crate::engine::summary;
use crate::forms::Form;
use crate::jid::FullJid;
use crate::ns;
use crate::pubsub::config::PublishNodeFull;
use crate::pubsub::policy::Eventing;
use crate::pubsub::store::{Page, Place};
use crate::pubsub::{Action, Affiliation, Item, ItemId, Node};
use crate::rsm::{self, Position, Query};
use crate::stanza::{Condition, PubsubCondition, StanzaError};
use crate::xml::{self, Element, Writer};

/// Items in one answer at most; whoever wants more pages through them.
const PAGE: u64 = 1_000;

/// An item as it came.
struct NewItem<'d> {
    id: Option<&'d str>,
    payload: Option<Element<'d>>,
    /// What becomes of it in the node `presence` (XEP-0207).
    stamped: Option<Stamped>,
}

fn bad(condition: PubsubCondition) -> StanzaError {
    StanzaError::new(Condition::BadRequest).with(condition)
}

fn unsupported(feature: &'static str) -> StanzaError {
    StanzaError::new(Condition::FeatureNotImplemented).with(PubsubCondition::Unsupported(feature))
}

fn read_items(publish: Element<'_>) -> Handled<Vec<NewItem<'_>>> {
    let mut items = Vec::new();
    for element in publish.children() {
        if !element.is("item", ns::PUBSUB) {
            return Err(StanzaError::new(Condition::BadRequest).text("<publish/> holds items only").into());
        }
        let mut payloads = element.children();
        let payload = payloads.next();
        if payloads.next().is_some() || element.has_text() {
            return Err(bad(PubsubCondition::InvalidPayload).text("an item holds one element").into());
        }
        let id = element.attr("id").filter(|id| !id.is_empty());
        check_name("id of the item", id.unwrap_or_default())?;
        items.push(NewItem { id, payload, stamped: None });
    }
    Ok(items)
}

/// Publishes one item, or several: all or none (section 12.11).
pub(super) fn publish(context: &mut Context<'_>, request: &Request<'_>, publish: Element<'_>) -> Handled<Reply> {
    let service = &request.service;
    let name = node_name(publish)?;
    let mut new = read_items(publish)?;
    if service.eventing(name) == Some(Eventing::Presence) {
        for item in &mut new {
            item.stamped = Some(context.stamp_presence(&request.from, item.payload)?);
        }
    }
    let options = publish_options(request.element.child("publish-options", ns::PUBSUB))?;
    let (node, mut audience) = match context.node(service, name)? {
        Some(node) => {
            context.check(service, &node, &request.from, Action::Publish)?;
            context.check_occupant(service, &node, &request.from)?;
            if let Some(options) = &options {
                check_publish_options(&node.config, options, service.policy().max_items)?;
            }
            check_event_type(context, request, &node, &new)?;
            let audience = context.audience(service, &node, Reach::Subscribed)?;
            (node, audience)
        }
        None => create_for(context, request, name, options.as_ref(), &new)?,
    };
    context.end_stale_presence(service, &node)?;
    let items = store(context, request, &node, &new)?;
    if audience != Audience::default() {
        let body = items_body(service, &node, &items);
        if !audience.readers.is_empty() {
            audience.summary = summary::summary(&node.config, &items);
        }
        context.notify(service, &node, audience, &body, Some(&request.from));
    }
    context.happened(&Happened::ItemsPublished { service, node: &node, items: &items, actor: &request.from })?;
    if service.eventing(name).is_some() {
        // XEP-0207, sections 3, 5 and 6: nothing is in the result.
        return Ok(Reply::Result(String::new()));
    }
    let mut writer = Writer::with_capacity(128 + name.len() + items.len() * 40);
    writer.start_ns("pubsub", ns::PUBSUB).start("publish").attr("node", name);
    for item in items.iter().filter(|item| !item.id.as_str().is_empty()) {
        writer.start("item").attr("id", item.id.as_str()).end();
    }
    Ok(Reply::Result(writer.finish()))
}

/// Makes the node that a publish found missing; the publish options become its configuration (section 7.1.5).
fn create_for(
    context: &mut Context<'_>,
    request: &Request<'_>,
    name: &str,
    options: Option<&Form<'_>>,
    new: &[NewItem<'_>],
) -> Handled<(Node, Audience)> {
    let service = &request.service;
    let bare = request.from.to_bare();
    let own = service.is_owner(bare.as_str()) || (service.in_room() && context.asker.own);
    let may_create = context.privileged || !service.is_personal() || own;
    if !service.policy().auto_create || !may_create {
        return context.missing_node(service, name);
    }
    context.check_create(service, &bare)?;
    let mut config = service.policy().defaults_for(name);
    if let Some(options) = options {
        config = apply_publish_options(&config, options)?;
    }
    let here = service.governed(name, config.clone());
    if let Some(options) = options {
        // What is forced on the node may be something else.
        check_publish_options(&here, options, service.policy().max_items)?;
    }
    let row = context.stored_service(service)?;
    // Checked, and its audience found, before it is there: nothing is left behind if the publish fails.
    let planned = Node {
        key: crate::pubsub::store::NodeKey(0),
        service: row.map_or(crate::pubsub::store::ServiceKey(0), |row| row.key),
        name: name.into(),
        creator: bare.as_str().into(),
        created: context.now,
        config: Arc::new(here),
        counters: crate::pubsub::Counters::default(),
    };
    check_event_type(context, request, &planned, new)?;
    let audience = context.audience(service, &planned, Reach::Subscribed)?;
    let node = context.create_node(service, name, config, &request.from)?;
    Ok((node, audience))
}

/// Holds a publish against the node's event type and limits (sections 4.3 and 7.1.3).
fn check_event_type(context: &mut Context<'_>, request: &Request<'_>, node: &Node, new: &[NewItem<'_>]) -> Handled<()> {
    let config = &node.config;
    if new.is_empty() && (config.persist_items || config.deliver_payloads) {
        return Err(bad(PubsubCondition::ItemRequired).into());
    }
    if !new.is_empty() && !config.persist_items && !config.deliver_payloads {
        return Err(bad(PubsubCondition::ItemForbidden).into());
    }
    let mut bytes = 0;
    for item in new {
        let size = item.payload.map_or(0, |payload| payload.source_len());
        if item.payload.is_none() && config.deliver_payloads {
            return Err(bad(PubsubCondition::PayloadRequired).into());
        }
        if size > config.max_payload_size as usize {
            let error = StanzaError::new(Condition::NotAcceptable).with(PubsubCondition::PayloadTooBig);
            return Err(error.text(format!("payloads have {} bytes at most", config.max_payload_size)).into());
        }
        bytes += size;
    }
    if !config.persist_items {
        return Ok(());
    }
    let capacity = config.max_items.or_max(request.service.policy().max_items) as usize;
    if new.len() > capacity {
        let error = StanzaError::new(Condition::NotAllowed).with(PubsubCondition::MaxItemsExceeded);
        return Err(error.text(format!("the node holds {capacity} items at most")).into());
    }
    if config.publish_node_full == PublishNodeFull::Reject {
        let mut fresh = 0;
        for item in new {
            let known = match item.id {
                Some(id) => context.store().item(node.key, id, None)?.is_some(),
                None => false,
            };
            fresh += usize::from(!known);
        }
        if node.counters.items as usize + fresh > capacity {
            return Err(StanzaError::new(Condition::Conflict).with(PubsubCondition::NodeFull).into());
        }
    }
    let full = context.check_quota(&request.service, bytes);
    if full.is_ok() {
        return full;
    }
    // What takes the room of something else may fit all the same.
    let freed = replaced_bytes(context, node, new, capacity)?;
    if bytes <= freed { Ok(()) } else { context.check_quota(&request.service, bytes - freed) }
}

/// Bytes of the items that new ones take the place of.
fn replaced_bytes(context: &mut Context<'_>, node: &Node, new: &[NewItem<'_>], capacity: usize) -> Handled<usize> {
    if capacity == 1 {
        return Ok(context.store().last_item(node.key, None)?.map_or(0, |item| item.payload.len()));
    }
    let ids: HashSet<&str> = new.iter().filter_map(|item| item.id).collect();
    let mut bytes = 0;
    for id in ids {
        bytes += context.store().item(node.key, id, None)?.map_or(0, |item| item.payload.len());
    }
    Ok(bytes)
}

/// Writes the items and removes those that they push out.
fn store(context: &mut Context<'_>, request: &Request<'_>, node: &Node, new: &[NewItem<'_>]) -> Handled<Vec<Item>> {
    let service = &request.service;
    let publisher: Arc<str> = if service.in_room() { service.jid.as_str() } else { request.from.as_str() }.into();
    let persist = node.config.persist_items;
    if persist {
        check_overwriting(context, request, node, new)?;
    }
    let mut items = Vec::with_capacity(new.len());
    for item in new {
        let stamped = item.stamped.as_ref();
        let id = match item.id.or_else(|| request.from.as_full().filter(|_| stamped.is_some()).map(FullJid::resource)) {
            Some(id) => ItemId::from(id),
            None => ItemId::from(context.memory.ids.random()),
        };
        let payload: Arc<str> = match stamped {
            Some(stamped) => stamped.payload.as_str().into(),
            None => item.payload.map_or_else(String::new, |payload| payload.to_standalone()).into(),
        };
        let mut stored = Item { seq: 0, id, publisher: publisher.clone(), published: context.now, payload };
        if stamped.is_some_and(|stamped| stamped.ends) {
            context.drop_presence(service, node, &publisher)?;
        } else if persist {
            let counters = context.count(node, |counters| {
                counters.next_seq += 1;
                counters.items += 1;
            })?;
            stored.seq = counters.next_seq - 1;
            if !context.change().add_item(node.key, &stored)? {
                let removed = context.change().delete_item(node.key, stored.id.as_str())?;
                context.count_removed(service, node, removed)?;
                context.change().insert_item(node.key, &stored)?;
            }
            context.make_room(service, node, &request.from)?;
            let bytes = stored.payload.len() as i64;
            context.count_in_service(service, |row| row.bytes += bytes)?;
            context.expect_expiry(node, stored.published)?;
        }
        items.push(stored);
    }
    if persist
        && new.last().is_some_and(|item| item.stamped.as_ref().is_none_or(|stamped| !stamped.ends))
        && let (Some(last), Some(cached)) = (items.last(), context.memory.cache.node(node.service, node.name.as_str()))
    {
        cached.last = Some(Arc::new(last.clone()));
        context.memory.cache.reweigh(node.service, node.name.as_str());
    }
    Ok(items)
}

/// Whoever may not remove an item of somebody else may not replace it either.
fn check_overwriting(
    context: &mut Context<'_>,
    request: &Request<'_>,
    node: &Node,
    new: &[NewItem<'_>],
) -> Handled<()> {
    let affiliation = context.affiliation(&request.service, node, request.from.bare_str())?;
    if context.privileged || matches!(affiliation, Affiliation::Owner | Affiliation::Publisher) {
        return Ok(());
    }
    for id in new.iter().filter_map(|item| item.id) {
        if let Some(item) = context.store().item(node.key, id, None)? {
            check_removal(context, request, node, &item)?;
        }
    }
    Ok(())
}

fn check_removal(context: &mut Context<'_>, request: &Request<'_>, node: &Node, item: &Item) -> Handled<()> {
    let publisher = item.publisher.split_once('/').map_or(&*item.publisher, |(bare, _)| bare);
    let own = publisher == request.from.bare_str();
    let action = if own { Action::RetractOwn } else { Action::RetractAny };
    context.check(&request.service, node, &request.from, action)
}

/// Removes items: all that are named or none (section 7.2).
pub(super) fn retract(context: &mut Context<'_>, request: &Request<'_>, retract: Element<'_>) -> Handled<Reply> {
    let service = &request.service;
    let name = node_name(retract)?;
    let named = retract.children().map(|item| item.attr("id").filter(|id| !id.is_empty() && item.name() == "item"));
    let ids: Option<Vec<&str>> = named.collect();
    let ids = ids.filter(|ids| !ids.is_empty()).ok_or_else(|| bad(PubsubCondition::ItemRequired))?;
    let notify = match retract.attr("notify") {
        None => false,
        Some(text) => xml::boolean(text).ok_or_else(|| StanzaError::new(Condition::BadRequest))?,
    };
    let node = context.existing_node(service, name)?;
    let live_after = context.live_after(&node);
    let mut found: Vec<ItemId> = Vec::new();
    let mut known = HashSet::new();
    for id in ids {
        let item = context.store().item(node.key, id, live_after)?;
        // Rights first: whoever may not remove anything does not learn what is there.
        match &item {
            Some(item) => check_removal(context, request, &node, item)?,
            None => context.check(service, &node, &request.from, Action::RetractOwn)?,
        }
        if !node.config.persist_items {
            return Err(unsupported("persistent-items").into());
        }
        let item = item.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))?;
        if known.insert(id) {
            found.push(item.id);
        }
    }
    let notify = notify || node.config.notify_retract;
    if notify {
        context.audience(service, &node, Reach::Subscribed)?;
    }
    for id in &found {
        let removed = context.change().delete_item(node.key, id.as_str())?;
        context.count_removed(service, &node, removed)?;
    }
    context.tell_retracted(service, &node, &found, notify, &request.from)?;
    Ok(Reply::Result(String::new()))
}

/// Returns items: those named, the newest ones, a page, or all (section 6.5).
pub(super) fn retrieve(context: &mut Context<'_>, request: &Request<'_>, element: Element<'_>) -> Handled<Reply> {
    let service = &request.service;
    let name = node_name(element)?;
    let max_items = match element.attr("max_items") {
        None => None,
        Some(text) => match text.trim().parse::<u64>() {
            Ok(number @ 1..) => Some(number),
            _ => return Err(StanzaError::new(Condition::BadRequest).text("max_items is a positive number").into()),
        },
    };
    let query = Query::child_of(request.element)?;
    let node = context.existing_node(service, name)?;
    context.check(service, &node, &request.from, Action::Retrieve)?;
    if !node.config.persist_items {
        return Err(unsupported("persistent-items").into());
    }
    let live_after = context.live_after(&node);
    let mut ids = Vec::new();
    let mut known = HashSet::new();
    for item in element.children().filter(|child| child.is("item", ns::PUBSUB)) {
        let id = item.attr("id").ok_or_else(|| bad(PubsubCondition::ItemRequired))?;
        if known.insert(id) {
            ids.push(id);
        }
    }
    let too_many = || StanzaError::new(Condition::NotAcceptable).text("these are too many items for one answer");
    if ids.len() as u64 > PAGE {
        return Err(too_many().into());
    }
    if !ids.is_empty() {
        let mut items = Vec::new();
        let mut room = Room::new(context);
        for id in ids {
            let item = context.store().item(node.key, id, live_after)?;
            if item.as_ref().is_some_and(|item| !room.holds(item)) {
                return Err(too_many().into());
            }
            items.extend(item);
        }
        return Ok(answer(request, &node, name, &items, None));
    }
    let page = context.page_of_items(&node, query.as_ref(), max_items, true)?;
    let truncated = (page.rows.len() as u64) < page.count.min(max_items.unwrap_or(u64::MAX));
    let shown = (query.is_some() || truncated).then_some(&page);
    Ok(answer(request, &node, name, &page.rows, shown))
}

impl Context<'_> {
    /// A page of the items of a node, the newest ones if none was asked for. With payloads it is no longer than a stanza
    /// that is read: whoever wants more pages on.
    pub(crate) fn page_of_items(
        &mut self,
        node: &Node,
        query: Option<&Query<'_>>,
        max_items: Option<u64>,
        payloads: bool,
    ) -> Handled<Page<Item>> {
        let live_after = self.live_after(node);
        let mut position_of = |id: &str| -> Handled<i64> {
            let item = self.store().item(node.key, id, live_after)?;
            Ok(item.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))?.seq)
        };
        let mut place = match query.map(|query| &query.position) {
            None | Some(Position::Last) => Place::Last,
            Some(Position::First) => Place::First,
            Some(Position::After(id)) => Place::After(position_of(id)?),
            Some(Position::Before(id)) => Place::Before(position_of(id)?),
            Some(Position::Index(index)) => Place::Index(*index),
        };
        let backwards = matches!(place, Place::Last | Place::Before(_));
        let limit = query.and_then(|query| query.max).or(max_items).unwrap_or(PAGE).min(PAGE);
        let mut room = Room::new(self);
        let mut page: Option<Page<Item>> = None;
        loop {
            let got = page.as_ref().map_or(0, |page| page.rows.len() as u64);
            let wanted = CHUNK.min(limit - got);
            let mut chunk = self.store().items(node.key, &node.counters, live_after, place, wanted)?;
            let complete = (chunk.rows.len() as u64) < wanted;
            if backwards {
                chunk.rows.reverse();
            }
            let read = chunk.rows.len();
            if payloads {
                chunk.rows.truncate(chunk.rows.iter().take_while(|item| room.holds(item)).count());
            } else {
                chunk.rows.iter_mut().for_each(|item| item.payload = "".into());
            }
            let full = chunk.rows.len() < read;
            // From the end on, the place of the first one is known when all are there.
            let end = chunk.index + read as u64;
            let page = page.get_or_insert(Page {
                rows: Vec::new(),
                index: if backwards { end } else { chunk.index },
                ..chunk
            });
            page.rows.append(&mut chunk.rows);
            match page.rows.last() {
                Some(last) if !complete && !full && (page.rows.len() as u64) < limit => {
                    place = if backwards { Place::Before(last.seq) } else { Place::After(last.seq) };
                }
                _ => break,
            }
        }
        let mut page = page.unwrap_or(Page { rows: Vec::new(), count: 0, index: 0 });
        if backwards {
            page.index = page.index.saturating_sub(page.rows.len() as u64);
            page.rows.reverse();
        }
        Ok(page)
    }
}

/// Items read at a time.
const CHUNK: u64 = 64;

/// What is left of the longest answer.
struct Room {
    bytes: usize,
    empty: bool,
}

impl Room {
    fn new(context: &Context<'_>) -> Self {
        Self { bytes: context.memory.settings.limits.bytes, empty: true }
    }

    /// Takes the room that the item needs; the first one has it, whatever its size.
    fn holds(&mut self, item: &Item) -> bool {
        let size = item.payload.len() + item.id.as_str().len() + 64;
        let fits = std::mem::take(&mut self.empty) || size <= self.bytes;
        self.bytes = self.bytes.saturating_sub(size);
        fits
    }
}

fn answer(request: &Request<'_>, node: &Node, name: &str, items: &[Item], page: Option<&Page<Item>>) -> Reply {
    let size = items.iter().map(|item| item.payload.len() + 64).sum::<usize>();
    let mut writer = Writer::with_capacity(size + 256);
    writer.start_ns("pubsub", ns::PUBSUB).start("items").attr("node", name);
    for item in items {
        write_item(&mut writer, item, shown_publisher(&request.service, node, item), true);
    }
    writer.end();
    if let Some(page) = page {
        let members = items.first().zip(items.last()).map(|(first, last)| (first.id.as_str(), last.id.as_str()));
        rsm::write(&mut writer, members, Some(page.index), Some(page.count));
    }
    Reply::Result(writer.finish())
}
