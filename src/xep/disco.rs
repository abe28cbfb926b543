//! XEP-0030 (2.5.0): what services and nodes say of themselves, and which nodes there are.
//!
//! The host answers for an account to its owner and contacts, with what [`features`] lists. Strangers get the same short
//! answer for accounts that exist and for those that do not. Whether a node is shown depends on the node alone.

use super::{DocumentInfo, EXTENSIONS, Extension, Operation, Reply, Request, Route, virtual_node};
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::settings::Host;
use crate::forms::{self, Form};
use crate::jid::Jid;
use crate::ns;
use crate::pubsub::policy::Eventing;
use crate::pubsub::{Action, Affiliation, Node};
use crate::rsm::{self, Position, Query};
use crate::stanza::{Condition, IqType, StanzaError};
use crate::xml::Writer;

/// Where disco#info is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Where {
    /// At an account.
    Account,
    /// At the domain of accounts.
    Domain,
    /// At a pubsub component.
    Component,
    /// At a room.
    Room,
}

pub(crate) struct Disco;

impl Extension for Disco {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[
            DocumentInfo {
                number: "0030",
                title: "Service Discovery",
                version: "2.5.0",
                complete: true,
                notes: "services and nodes",
            },
            DocumentInfo {
                number: "0462",
                title: "PubSub Type Filtering",
                version: "0.1.1",
                complete: true,
                notes: "",
            },
        ]
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Domain => &[],
            Where::Account | Where::Room => &["http://jabber.org/protocol/pubsub#meta-data", ns::PUBSUB_FILTER],
            Where::Component => {
                &[ns::DISCO_INFO, ns::DISCO_ITEMS, "http://jabber.org/protocol/pubsub#meta-data", ns::PUBSUB_FILTER]
            }
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[
            Route { ns: ns::DISCO_INFO, name: "query", handler: info, reads: true },
            Route { ns: ns::DISCO_ITEMS, name: "query", handler: items, reads: true },
        ]
    }
}

/// Features of every extension, and the identities, at a place.
pub(crate) fn features(host: &Host, at: Where) -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    let identities = match at {
        Where::Account => vec![("pubsub", "pep")],
        Where::Domain => Vec::new(),
        Where::Component => vec![("pubsub", "service")],
        Where::Room => vec![("pubsub", "mep")],
    };
    let mut features: Vec<_> =
        EXTENSIONS.iter().flat_map(|extension| extension.features(host, at).iter().copied()).collect();
    if host.policy.auto_create && !features.contains(&AUTO_CREATE) && at == Where::Component {
        features.push(AUTO_CREATE);
    }
    features.sort_unstable();
    features.dedup();
    (identities, features)
}

const AUTO_CREATE: &str = "http://jabber.org/protocol/pubsub#auto-create";

/// Nodes that only hold the subscriptions of a made-up node are no nodes of the service.
pub(super) fn is_hidden(node: &Node) -> bool {
    is_hidden_name(node.name.as_str())
}

/// Whether that is the name of such a node.
pub(crate) fn is_hidden_name(name: &str) -> bool {
    name == ns::PPS_SUBSCRIPTIONS || name.starts_with(ns::PPS_SUBSCRIBERS)
}

fn info(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    if request.kind != IqType::Get || request.at_domain {
        return Ok(Reply::Pass);
    }
    let Some(name) = request.element.attr("node").filter(|node| !node.is_empty()) else {
        return Ok(Reply::Result(service_info(&request.service)));
    };
    if let Some(reply) = virtual_node(context, request, Operation::Info, name)? {
        return Ok(reply);
    }
    let Some(node) = context.node(&request.service, name)? else {
        // A node of somebody else's protocol: commands, capabilities.
        if request.service.is_personal() {
            return Ok(Reply::Pass);
        }
        return Err(StanzaError::new(Condition::ItemNotFound).into());
    };
    if !is_visible(context, &request.service, &node, &request.from)? {
        if request.service.eventing(name) == Some(Eventing::Presence) {
            return Ok(Reply::Pass);
        }
        return Err(StanzaError::new(Condition::ItemNotFound).into());
    }
    let mut writer = Writer::with_capacity(2_048);
    writer.start_ns("query", ns::DISCO_INFO).attr("node", name);
    writer.start("identity").attr("category", "pubsub").attr("type", "leaf");
    if !node.config.title.is_empty() {
        writer.attr("name", &node.config.title);
    }
    writer.end();
    writer.start("feature").attr("var", ns::PUBSUB).end();
    writer.start("feature").attr("var", ns::DISCO_INFO).end();
    write_meta_data(context, &request.service, &node, &mut writer)?;
    Ok(Reply::Result(writer.finish()))
}

fn service_info(service: &ServiceRef) -> String {
    let at = if service.is_account() { Where::Account } else { Where::Component };
    let (identities, features) = features(&service.host, at);
    let mut writer = Writer::with_capacity(4_096);
    writer.start_ns("query", ns::DISCO_INFO);
    for (category, kind) in identities {
        writer.start("identity").attr("category", category).attr("type", kind);
        if !service.host.name.is_empty() && !service.is_account() {
            writer.attr("name", &service.host.name);
        }
        writer.end();
    }
    for feature in features {
        writer.start("feature").attr("var", feature).end();
    }
    writer.finish()
}

/// The meta-data form (section 5.4 of XEP-0060).
fn write_meta_data(context: &mut Context<'_>, service: &ServiceRef, node: &Node, writer: &mut Writer) -> Handled<()> {
    let config = &node.config;
    let owners = context.owners(service, node)?;
    let publishers: Vec<String> = context
        .store()
        .affiliations(node.key)?
        .into_iter()
        .filter(|(_, affiliation)| *affiliation == Affiliation::Publisher)
        .map(|(jid, _)| jid.to_string())
        .collect();
    forms::start(writer, "result", ns::META_DATA);
    let mut add = |name: &str, kind: &str, values: &[String]| {
        let values: Vec<&String> = values.iter().filter(|value| !value.is_empty()).collect();
        if !values.is_empty() {
            forms::field(writer, &format!("pubsub#{name}"), Some(kind), None, &[], &values);
        }
    };
    add("title", "text-single", std::slice::from_ref(&config.title));
    add("description", "text-single", std::slice::from_ref(&config.description));
    add("type", "text-single", std::slice::from_ref(&config.r#type));
    add("language", "list-single", std::slice::from_ref(&config.language));
    add("contact", "jid-multi", &config.contact);
    add("creation_date", "text-single", &[node.created.to_string()]);
    // An occupant may have had another nick then.
    let creator = if service.in_room() { service.jid.as_str() } else { &*node.creator };
    add("creator", "jid-single", &[creator.to_owned()]);
    add("access_model", "list-single", &[config.access_model.as_str().to_owned()]);
    add("publish_model", "list-single", &[config.publish_model.as_str().to_owned()]);
    add("max_items", "text-single", &[config.max_items.to_string()]);
    add("num_subscribers", "text-single", &[node.counters.subscribers.to_string()]);
    add("owner", "jid-multi", &owners);
    add("publisher", "jid-multi", &publishers);
    writer.end();
    Ok(())
}

/// Whether the requester may know of the node: whoever may subscribe to it or read it (XEP-0163, section 6.2).
fn is_visible(context: &mut Context<'_>, service: &ServiceRef, node: &Node, who: &Jid) -> Handled<bool> {
    // A node that every account has would tell strangers which accounts there are.
    let everywhere = service.eventing(node.name.as_str()) == Some(Eventing::Presence);
    match context.check(service, node, who, if everywhere { Action::Retrieve } else { Action::See }) {
        Ok(()) => Ok(true),
        Err(Stop::Refused(_)) => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// The filter of XEP-0462: types that are wanted, or types that are not.
struct TypeFilter<'d> {
    types: Vec<&'d str>,
    included: bool,
}

fn type_filter<'f>(form: Option<&'f Form<'_>>) -> Handled<Option<TypeFilter<'f>>> {
    let Some(form) = form else { return Ok(None) };
    let types = |var| -> Option<Vec<&'f str>> { Some(form.values(var)?.iter().map(AsRef::as_ref).collect()) };
    match (types("included-types"), types("excluded-types")) {
        (Some(_), Some(_)) => {
            Err(StanzaError::new(Condition::BadRequest).text("types are either included or excluded").into())
        }
        (Some(types), None) => Ok(Some(TypeFilter { types, included: true })),
        (None, Some(types)) => Ok(Some(TypeFilter { types, included: false })),
        (None, None) => Ok(None),
    }
}

fn items(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    if request.kind != IqType::Get || request.at_domain {
        return Ok(Reply::Pass);
    }
    if let Some(name) = request.element.attr("node").filter(|node| !node.is_empty()) {
        return node_items(context, request, name);
    }
    let query = Query::child_of(request.element)?;
    let form = match request.element.child("filter", ns::PUBSUB_FILTER) {
        Some(filter) => Some(Form::child_of(filter)?),
        None => None,
    };
    if form.as_ref().is_some_and(|form| !form.fits(ns::PUBSUB_FILTER)) {
        return Err(StanzaError::new(Condition::BadRequest).text("the form is not of urn:xmpp:pubsub-filter:0").into());
    }
    let filter = type_filter(form.as_ref())?;
    let nodes = context.stored_service(&request.service)?.map_or(0, |row| row.nodes);
    let listing = if nodes > COUNTED {
        large_listing(context, request, query.as_ref(), filter.as_ref())?
    } else {
        exact_listing(context, request, query.as_ref(), filter.as_ref())?
    };
    let mut writer = Writer::with_capacity(listing.nodes.len() * 96 + 256);
    writer.start_ns("query", ns::DISCO_ITEMS);
    for node in &listing.nodes {
        writer.start("item").attr("jid", request.service.jid.as_str()).attr("node", node.name.as_str());
        if !node.config.title.is_empty() {
            writer.attr("name", &node.config.title);
        }
        writer.end();
    }
    if query.is_some() || listing.more {
        let ends = listing.nodes.first().zip(listing.nodes.last());
        let members = ends.map(|(first, last)| (first.name.as_str(), last.name.as_str()));
        rsm::write(&mut writer, members, listing.index, listing.count);
    }
    Ok(Reply::Result(writer.finish()))
}

/// Up to this many nodes are all looked at, so that count and index are exact for each requester. Beyond, a page costs what
/// it shows: there is no count (XEP-0059, section 2.2, allows that), since that of all nodes would tell of hidden ones.
const COUNTED: i64 = 5_000;

/// Nodes that a requester is shown. Their order is that of their names, so that a page is found whether or not the node
/// beside it is still there, and a hidden node cannot be told from a missing one.
struct Listing {
    nodes: Vec<Node>,
    /// Place of the first one, if it was found out.
    index: Option<u64>,
    count: Option<u64>,
    /// Whether there are others.
    more: bool,
}

fn limit(request: &Request<'_>, query: Option<&Query<'_>>) -> usize {
    let most = request.service.policy().max_nodes_discoitems;
    query.and_then(|query| query.max).map_or(most, |max| usize::try_from(max).unwrap_or(most)).min(most)
}

fn exact_listing(
    context: &mut Context<'_>,
    request: &Request<'_>,
    query: Option<&Query<'_>>,
    filter: Option<&TypeFilter<'_>>,
) -> Handled<Listing> {
    let mut visible = Vec::new();
    let mut after = None;
    while let Some(chunk) = visible_nodes(context, request, filter, &mut after, CHUNK)? {
        visible.extend(chunk);
    }
    let (count, max) = (visible.len(), limit(request, query));
    let (from, to) = match query.map(|query| &query.position) {
        None | Some(Position::First) => (0, max),
        Some(Position::Last) => (count.saturating_sub(max), count),
        Some(Position::After(name)) => {
            let at = visible.partition_point(|node| node.name.as_str() <= &**name);
            (at, at + max)
        }
        Some(Position::Before(name)) => {
            let at = visible.partition_point(|node| node.name.as_str() < &**name);
            (at.saturating_sub(max), at)
        }
        Some(Position::Index(index)) => {
            let at = usize::try_from(*index).unwrap_or(count).min(count);
            (at, at + max)
        }
    };
    let nodes: Vec<Node> = visible.drain(from.min(count)..to.min(count)).collect();
    let more = nodes.len() < count;
    Ok(Listing { nodes, index: Some(from as u64), count: Some(count as u64), more })
}

fn large_listing(
    context: &mut Context<'_>,
    request: &Request<'_>,
    query: Option<&Query<'_>>,
    filter: Option<&TypeFilter<'_>>,
) -> Handled<Listing> {
    let max = limit(request, query);
    let (mut after, index) = match query.map(|query| &query.position) {
        None | Some(Position::First | Position::Index(0)) => (None, Some(0)),
        Some(Position::After(name)) => (Some(name.clone().into_owned()), None),
        Some(Position::Last | Position::Before(_) | Position::Index(_)) => {
            let error = StanzaError::new(Condition::FeatureNotImplemented);
            return Err(error.text("a service of this size is paged forwards only").into());
        }
    };
    let mut nodes = Vec::new();
    while nodes.len() < max {
        // As many as are missing: usually all of them are visible.
        let wanted = (max - nodes.len()).clamp(10, CHUNK);
        let Some(chunk) = visible_nodes(context, request, filter, &mut after, wanted)? else { break };
        nodes.extend(chunk);
    }
    let more = nodes.len() >= max;
    nodes.truncate(max);
    Ok(Listing { nodes, index, count: None, more })
}

/// The visible ones of the next few nodes after `after`, which moves on; none at the end.
fn visible_nodes(
    context: &mut Context<'_>,
    request: &Request<'_>,
    filter: Option<&TypeFilter<'_>>,
    after: &mut Option<String>,
    chunk: usize,
) -> Handled<Option<Vec<Node>>> {
    let chunk = context.nodes(&request.service, after.as_deref(), chunk)?;
    let Some(last) = chunk.last() else { return Ok(None) };
    *after = Some(last.name.as_str().to_owned());
    let mut visible = Vec::with_capacity(chunk.len());
    let mut all = true;
    for node in chunk {
        let passes = filter.is_none_or(|f| f.types.contains(&node.config.r#type.as_str()) == f.included);
        if is_hidden(&node) || !passes {
            continue;
        }
        let shown = |context: &mut Context<'_>| is_visible(context, &request.service, &node, &request.from);
        if context.gather(shown, &mut all)? == Some(true) {
            visible.push(node);
        }
    }
    if all { Ok(Some(visible)) } else { Err(Stop::Need) }
}

/// Nodes read at a time, at most.
const CHUNK: usize = 100;

/// The items of a node, by their names (section 5.5 of XEP-0060).
fn node_items(context: &mut Context<'_>, request: &Request<'_>, name: &str) -> Handled<Reply> {
    if let Some(reply) = virtual_node(context, request, Operation::Names, name)? {
        return Ok(reply);
    }
    let Some(node) = context.node(&request.service, name)? else {
        if request.service.is_personal() {
            return Ok(Reply::Pass);
        }
        return Err(StanzaError::new(Condition::ItemNotFound).into());
    };
    let query = Query::child_of(request.element)?;
    context.check(&request.service, &node, &request.from, Action::Retrieve)?;
    let page = context.page_of_items(&node, query.as_ref(), None, false)?;
    let ids: Vec<&str> = page.rows.iter().map(|item| item.id.as_str()).collect();
    let mut writer = Writer::with_capacity(ids.len() * 96 + 256);
    writer.start_ns("query", ns::DISCO_ITEMS).attr("node", name);
    for id in &ids {
        writer.start("item").attr("jid", request.service.jid.as_str()).attr("name", id).end();
    }
    if query.is_some() || (ids.len() as u64) < page.count {
        let members = ids.first().zip(ids.last()).map(|(first, last)| (*first, *last));
        rsm::write(&mut writer, members, Some(page.index), Some(page.count));
    }
    Ok(Reply::Result(writer.finish()))
}
