//! Conversations of two (section 6): nodes with a whitelist of one.

use crate::engine::context::{Context, Handled, ServiceRef};
use crate::jid::Jid;
use crate::pubsub::policy::Eventing;
use crate::pubsub::{Node, SubscriptionOptions, SubscriptionState};

/// Whoever makes the node hears what is said there, himself included (example 20).
pub(super) fn begin(context: &mut Context<'_>, service: &ServiceRef, node: &Node, creator: &Jid) -> Handled<()> {
    // What the host's administrator makes is made for others.
    if service.eventing(node.name.as_str()) != Some(Eventing::Conversations) || context.privileged {
        return Ok(());
    }
    let (jid, options) = (Jid::Bare(creator.to_bare()), SubscriptionOptions::default());
    let made = context.add_subscription(service, node, &jid, SubscriptionState::Subscribed, false, &options)?;
    context.tell_subscriber(service, node, &made);
    Ok(())
}
