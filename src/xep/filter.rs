//! Extension to XEP-0376, section 3.6: a resource takes the events of some nodes only.
//!
//! `<filter xmlns='urn:xmpp:pam:0#filter'/>` holds for the session of the resource that sets it. What it does to events is
//! said where they come in, with the subscriptions of the account.

use super::{DocumentInfo, Extension, Reply, Request, Route, Where};
use crate::engine::context::{Context, Handled};
use crate::engine::settings::Host;
use crate::ns;
use crate::stanza::{Condition, IqType, StanzaError};
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
            Where::Domain | Where::Component | Where::Room => &[],
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::PAM_FILTER, name: "filter", handler: handle, reads: false }]
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
