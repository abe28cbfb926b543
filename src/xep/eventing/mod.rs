//! XEP-0207 (1.0): presence, rosters, rooms and conversations as nodes. The document is humorous; its one MUST is taken
//! seriously.
//!
//! Off unless the option `eventing` asks for it. Then accounts have a node `presence` ([`presence`]) and a roster that is
//! computed from its subscriptions ([`roster`]), and every node of a component is a room ([`rooms`]) or a conversation
//! ([`conversations`]). All of it is a matter of policy ([`crate::pubsub::policy::Eventing`]) and of what is here: nothing
//! of other nodes is different, and the presence, rosters and rooms of the host are neither read nor written.

mod conversations;
mod presence;
mod rooms;
mod roster;

use super::{DocumentInfo, Extension, Operation, Reply, Request, Where};
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::event::Happened;
use crate::engine::settings::Host;
use crate::jid::FullJid;
use crate::ns;
use crate::pubsub::policy::PRESENCE;
use crate::stanza::Stanza;

pub(crate) use presence::Stamped;

pub(crate) struct Eventing;

impl Extension for Eventing {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0207",
            title: "XMPP Eventing via Pubsub",
            version: "1.0",
            complete: true,
            notes: "off by default",
        }]
    }

    fn features(&self, host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Account | Where::Component if host.policy.eventing.is_some() => {
                &["http://jabber.org/protocol/pubsub#access-authorize"]
            }
            _ => &[],
        }
    }

    fn virtual_node(
        &self,
        context: &mut Context<'_>,
        request: &Request<'_>,
        operation: Operation,
        node: &str,
    ) -> Handled<Option<Reply>> {
        if request.service.policy().eventing.is_none() || !request.service.is_account() {
            return Ok(None);
        }
        match node {
            ns::EVENTING_ROSTER => roster::answer(context, request, operation).map(Some),
            PRESENCE => presence::before_it_is_there(context, request, operation).map(|()| None),
            _ => Ok(None),
        }
    }

    fn on_event(&self, context: &mut Context<'_>, event: &Happened<'_>) -> Handled<()> {
        match event {
            Happened::NodeCreated { service, node, actor } => conversations::begin(context, service, node, actor),
            _ => Ok(()),
        }
    }

    fn on_message(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<bool> {
        presence::answer_at_domain(context, stanza, to)
    }

    fn on_presence(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<()> {
        presence::owner_came(context, stanza, to)
    }

    fn on_session_ended(&self, context: &mut Context<'_>, jid: &FullJid) -> Handled<()> {
        presence::session_ended(context, jid)?;
        rooms::session_ended(context, jid)
    }
}
