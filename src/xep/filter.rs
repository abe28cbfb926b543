//! Extension to XEP-0376, section 3.6: a resource takes the events of some nodes only.
//!
//! `<filter xmlns='urn:xmpp:pam:0#filter'/>` holds for the session of the resource that sets it. As long as no resource
//! of an account has one, events are left to the host's routing; otherwise each resource gets its copy from here.

use super::{DocumentInfo, Extension, Reply, Request, Route, Where};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::settings::Host;
use crate::jid::{FullJid, Jid};
use crate::ns;
use crate::stanza::{Condition, IqType, Stanza, StanzaError};
use crate::xml::{self, Writer};

/// Nodes in one filter.
const MAX_NODES: usize = 10_000;

pub(crate) struct Filter;

impl Extension for Filter {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[]
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Account => &[ns::PAM_FILTER],
            Where::Domain | Where::Component => &[],
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::PAM_FILTER, name: "filter", handler: handle, reads: false }]
    }

    fn on_message(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<bool> {
        let Some(event) = stanza.element.child("event", ns::PUBSUB_EVENT).filter(|_| to.is_account()) else {
            return Ok(false);
        };
        if !context.memory.presences.has_filters(to.jid.as_str()) {
            return Ok(false);
        }
        let Some(node) = event.children().find_map(|child| child.attr("node")) else { return Ok(false) };
        if !is_listed(context, to, &stanza.from, node)? {
            return Ok(false);
        }
        deliver(context, stanza, to, node);
        Ok(true)
    }
}

/// Whether the account is subscribed to that node of that service.
fn is_listed(context: &mut Context<'_>, account: &ServiceRef, from: &Jid, node: &str) -> Handled<bool> {
    let account = account.jid.as_str();
    let Some(service) = context.service_at(&from.to_bare()) else {
        return Ok(!context.store().pam_entries_for(account, from.as_str(), node)?.is_empty());
    };
    let Some(node) = context.node(&service, node)? else { return Ok(false) };
    let found = context.store().subscriptions_to(node.key, account)?;
    Ok(found.iter().any(|subscription| subscription.jid.as_str() == account))
}

/// Sends a copy to each available resource whose filter lets it through.
fn deliver(context: &mut Context<'_>, stanza: &Stanza<'_>, account: &ServiceRef, node: &str) {
    let name = account.jid.as_str();
    let mut resources: Vec<FullJid> = context
        .memory
        .presences
        .resources(name, name)
        .filter_map(|(resource, _)| FullJid::parse(&format!("{name}/{resource}")).ok())
        .collect();
    resources.sort_unstable();
    let body: String = stanza.element.children().map(|child| child.to_standalone()).collect();
    for jid in resources {
        let filter = context.memory.presences.filter(&jid);
        if filter.is_some_and(|nodes| !nodes.iter().any(|wanted| wanted == node)) {
            continue;
        }
        let mut writer = Writer::with_capacity(body.len() + 128);
        writer.start("message").attr("from", stanza.from.as_str()).attr("to", jid.as_str());
        writer.optional_attr("id", Some(stanza.id).filter(|id| !id.is_empty()));
        writer.optional_attr("type", Some(stanza.r#type).filter(|kind| !kind.is_empty())).raw(&body);
        context.out.push(Decision::Route { stanza: writer.finish() });
    }
}

fn handle(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let own = request.at_domain || request.from.to_bare() == request.service.jid;
    let (Some(jid), true) = (request.from.as_full(), own) else {
        return Err(StanzaError::new(Condition::ServiceUnavailable).into());
    };
    if !context.is_local_account(&jid.to_bare()) {
        return Err(StanzaError::new(Condition::ServiceUnavailable).into());
    }
    if request.kind == IqType::Set {
        let all = request.element.attr("all").is_some_and(|all| xml::boolean(all) == Some(true));
        let nodes = request.element.children().filter(|child| child.is("node", ns::PAM_FILTER));
        let nodes: Vec<String> = nodes.map(|node| node.text().into_owned()).collect();
        if nodes.len() > MAX_NODES {
            return Err(StanzaError::new(Condition::NotAcceptable).text("the filter has too many nodes").into());
        }
        context.memory.presences.set_filter(jid, (!all).then_some(nodes));
        return Ok(Reply::Result(String::new()));
    }
    let mut writer = Writer::new();
    writer.start_ns("filter", ns::PAM_FILTER);
    match context.memory.presences.filter(jid) {
        Some(nodes) => {
            for node in nodes {
                writer.start("node").text(node).end();
            }
        }
        None => {
            writer.attr("all", "true");
        }
    }
    Ok(Reply::Result(writer.finish()))
}
