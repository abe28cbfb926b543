//! Archive queries of nodes (XEP-0313 and XEP-0442), for those nodes that extensions make up: what has come for the
//! account, and the lists of XEP-0465. All other queries are left to the host.

use super::{DocumentInfo, Extension, Operation, Reply, Request, Route, virtual_node};
use crate::engine::context::{Context, Handled};
use crate::ns;

pub(crate) struct Archive;

impl Extension for Archive {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[
            DocumentInfo {
                number: "0313",
                title: "Message Archive Management",
                version: "1.1.3",
                complete: false,
                notes: "queries of an account's journal and of public lists; all others are the host's",
            },
            DocumentInfo {
                number: "0442",
                title: "Pubsub Message Archive Management",
                version: "0.2.0",
                complete: false,
                notes: "public lists only",
            },
        ]
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::MAM, name: "query", handler: query, reads: false }]
    }
}

fn query(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let node = request.element.attr("node").filter(|_| !request.at_domain);
    let Some(node) = node else { return Ok(Reply::Pass) };
    Ok(virtual_node(context, request, Operation::Archive, node)?.unwrap_or(Reply::Pass))
}
