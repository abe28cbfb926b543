//! What happens inside a service, as other extensions and the host's modules get to know it.

use super::context::ServiceRef;
use super::decision::{Decision, Event, Published};
use crate::jid::Jid;
use crate::pubsub::{Item, ItemId, Node, SubscriptionState};

/// Something that was done, within the transaction that does it.
#[derive(Debug)]
pub(crate) enum Happened<'a> {
    /// A node was made.
    NodeCreated { service: &'a ServiceRef, node: &'a Node, actor: &'a Jid },
    /// A node is going; its rows are still there.
    NodeDeleted { service: &'a ServiceRef, node: &'a Node, actor: &'a Jid },
    /// All items were removed at once.
    NodePurged { service: &'a ServiceRef, node: &'a Node, actor: &'a Jid },
    /// The options were changed.
    ConfigChanged { service: &'a ServiceRef, node: &'a Node, actor: &'a Jid },
    /// Items were published.
    ItemsPublished { service: &'a ServiceRef, node: &'a Node, items: &'a [Item], actor: &'a Jid },
    /// Items were removed.
    ItemsRetracted { service: &'a ServiceRef, node: &'a Node, ids: &'a [ItemId], actor: &'a Jid },
    /// A subscription was made, changed or ended.
    SubscriptionChanged {
        service: &'a ServiceRef,
        node: &'a Node,
        jid: &'a Jid,
        old: SubscriptionState,
        new: SubscriptionState,
        /// Whether the subscriber wants it to be public.
        public: bool,
    },
}

impl<'a> Happened<'a> {
    pub(crate) fn service(&self) -> &'a ServiceRef {
        match self {
            Self::NodeCreated { service, .. }
            | Self::NodeDeleted { service, .. }
            | Self::NodePurged { service, .. }
            | Self::ConfigChanged { service, .. }
            | Self::ItemsPublished { service, .. }
            | Self::ItemsRetracted { service, .. }
            | Self::SubscriptionChanged { service, .. } => service,
        }
    }

    /// Adds what the host's modules are told.
    pub(crate) fn tell(&self, is_privileged: bool, out: &mut Vec<Decision>) {
        let event = |name, node: &Node, item: Option<&ItemId>, actor: Option<&Jid>, published: Option<&Item>| {
            Decision::Event(Event {
                name,
                service: self.service().jid.clone(),
                node: node.name.clone(),
                item: item.cloned(),
                actor: actor.cloned(),
                published: published.map(Published::new),
            })
        };
        // A module of the host knows that it was itself.
        let by = |actor: &'a Jid| Some(actor).filter(|_| !is_privileged);
        let of_node = |name, node, actor| event(name, node, None, by(actor), None);
        match self {
            Self::NodeCreated { node, actor, .. } => out.push(of_node("node-created", node, actor)),
            Self::NodeDeleted { node, actor, .. } => out.push(of_node("node-deleted", node, actor)),
            Self::NodePurged { node, actor, .. } => out.push(of_node("node-purged", node, actor)),
            Self::ConfigChanged { node, actor, .. } => out.push(of_node("node-config-changed", node, actor)),
            Self::ItemsPublished { node, items, actor, .. } => {
                out.extend(
                    items.iter().map(|item| event("item-published", node, Some(&item.id), by(actor), Some(item))),
                );
            }
            Self::ItemsRetracted { node, ids, actor, .. } => {
                out.extend(ids.iter().map(|id| event("item-retracted", node, Some(id), by(actor), None)));
            }
            // The subscriber of an event is no actor.
            Self::SubscriptionChanged { node, jid, old, new, .. } => match (old, new) {
                (SubscriptionState::Subscribed, SubscriptionState::Subscribed) => (),
                (_, SubscriptionState::Subscribed) => {
                    out.push(event("subscription-added", node, None, Some(jid), None))
                }
                (SubscriptionState::Subscribed, _) => {
                    out.push(event("subscription-removed", node, None, Some(jid), None))
                }
                _ => (),
            },
        }
    }
}
