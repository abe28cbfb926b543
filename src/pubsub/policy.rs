//! What differs between the kinds of service that share the model.

use std::sync::Arc;

use super::NodeConfig;
use super::config::{AccessModel, Limit, NotificationType, PublishModel, PublishNodeFull, SendLastPublishedItem};
use super::rules::Rules;

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A pubsub component (XEP-0060).
    Component,
    /// An account (XEP-0163).
    Account,
    /// A room of a chat service, or an occupant of one (XEP-0316).
    Room,
}

/// Who may create nodes on a component (option `create_nodes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateNodes {
    /// Any entity.
    Anyone,
    /// Accounts of the hosts that this engine serves.
    Local,
    /// Administrators of the service.
    Admins,
}

/// The node of an account that stands for its presence (XEP-0207, section 3).
pub const PRESENCE: &str = "presence";

/// What is expressed by nodes that has a protocol of its own elsewhere (XEP-0207, option `eventing`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Eventing {
    /// The node `presence` of an account: who is available where, and for whom.
    Presence,
    /// Every node of a component is a room.
    Rooms,
    /// Every node of a component is a conversation of two.
    Conversations,
}

impl Eventing {
    /// What its nodes are configured as unless something else is asked for (XEP-0207, section 8: `authorize`).
    pub fn defaults(self) -> NodeConfig {
        // What was said is not taken back when there is no more room for it.
        let common = NodeConfig {
            access_model: AccessModel::Authorize,
            publish_node_full: PublishNodeFull::DiscardOldest,
            ..NodeConfig::component()
        };
        match self {
            // An item for each resource. Whoever comes or goes is told to the owner, as a change of the roster would be.
            Self::Presence => NodeConfig { max_items: Limit::Max, notify_sub: true, ..common },
            Self::Rooms => NodeConfig {
                publish_model: PublishModel::Subscribers,
                tempsub: true,
                send_last_published_item: SendLastPublishedItem::Never,
                notification_type: NotificationType::Normal,
                ..common
            },
            // What was said waits in the offline storage of who was away: it need not be said again.
            Self::Conversations => NodeConfig {
                send_last_published_item: SendLastPublishedItem::Never,
                notification_type: NotificationType::Normal,
                ..common
            },
        }
    }
}

/// The settings of a service.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whose service it is.
    pub kind: Kind,
    /// The configuration that a node has unless something else is asked for.
    pub defaults: Arc<NodeConfig>,
    /// What differs from it for some nodes (option `default_node_config`).
    pub default_rules: Arc<Rules>,
    /// What holds for nodes whatever their own configuration says (option `force_node_config`).
    pub forced: Arc<Rules>,
    /// Who may create nodes; on an account nobody but its owner ever does.
    pub create_nodes: CreateNodes,
    /// A publish to a missing node makes it.
    pub auto_create: bool,
    /// A subscription to a missing node makes it.
    pub auto_create_on_subscribe: bool,
    /// Every item shows its publisher, whatever the node says (option `expose_publisher`).
    pub expose_publisher: bool,
    /// Administrators of the service are owners of every node.
    pub admins_own: bool,
    /// What `max` means for `pubsub#max_items`.
    pub max_items: u32,
    /// Nodes at most.
    pub max_nodes: u32,
    /// Bytes of payloads at most.
    pub max_bytes: u64,
    /// Owners of a room publish to it (XEP-0316); otherwise the room alone does.
    pub owners_publish: bool,
    /// The profile of XEP-0207 that it is under.
    pub eventing: Option<Eventing>,
    /// Subscriptions of one bare JID at most.
    pub max_subscriptions: u32,
    /// Subscriptions to one node at most.
    pub max_subscriptions_node: u32,
    /// Nodes in one answer to disco#items at most.
    pub max_nodes_discoitems: usize,
    /// While an account is offline, its contacts get no last items.
    pub quiet_offline: bool,
}

impl Policy {
    /// The configuration of a new node of that name for which nothing is asked.
    pub fn defaults_for(&self, name: &str) -> NodeConfig {
        let mut config = match self.eventing {
            Some(profile @ Eventing::Presence) if name == PRESENCE => profile.defaults(),
            _ => self.defaults.as_ref().clone(),
        };
        self.default_rules.apply(name, &mut config);
        config
    }
}
