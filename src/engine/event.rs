//! What happens inside a service, as other extensions and the host's modules get to know it.

use super::context::ServiceRef;
use super::decision::{Decision, Event};
use crate::jid::Jid;
use crate::ns;
use crate::pubsub::{Item, ItemId, Node, SubscriptionState};
use crate::xml::Writer;

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

    /// What the host's modules are told.
    pub(crate) fn to_decisions(&self) -> Vec<Decision> {
        let event = |name, node: &Node, item: &str, actor: &Jid, payload: &std::sync::Arc<str>| {
            Decision::Event(Event {
                name,
                service: self.service().jid.as_str().to_owned(),
                node: node.name.as_str().to_owned(),
                item: item.to_owned(),
                actor: actor.as_str().to_owned(),
                payload: payload.clone(),
            })
        };
        let none = std::sync::Arc::from("");
        match self {
            Self::NodeCreated { node, actor, .. } => vec![event("node-created", node, "", actor, &none)],
            Self::NodeDeleted { node, actor, .. } => vec![event("node-deleted", node, "", actor, &none)],
            Self::NodePurged { node, actor, .. } => vec![event("node-purged", node, "", actor, &none)],
            Self::ConfigChanged { node, actor, .. } => vec![event("node-config-changed", node, "", actor, &none)],
            Self::ItemsPublished { node, items, actor, .. } => {
                let published = |item: &Item| {
                    // The whole item: that is what modules of the host pass around.
                    let mut writer = Writer::with_capacity(item.payload.len() + 128);
                    writer.start_ns("item", ns::PUBSUB).attr("id", item.id.as_str());
                    writer.attr("publisher", &item.publisher).raw(&item.payload);
                    let xml = writer.finish().into();
                    event("item-published", node, item.id.as_str(), actor, &xml)
                };
                items.iter().map(published).collect()
            }
            Self::ItemsRetracted { node, ids, actor, .. } => {
                ids.iter().map(|id| event("item-retracted", node, id.as_str(), actor, &none)).collect()
            }
            Self::SubscriptionChanged { node, jid, old, new, .. } => match (old, new) {
                (SubscriptionState::Subscribed, SubscriptionState::Subscribed) => Vec::new(),
                (_, SubscriptionState::Subscribed) => vec![event("subscription-added", node, "", jid, &none)],
                (SubscriptionState::Subscribed, _) => vec![event("subscription-removed", node, "", jid, &none)],
                _ => Vec::new(),
            },
        }
    }
}
