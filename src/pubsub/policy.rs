//! What differs between the kinds of service that share the model.

use std::sync::Arc;

use super::NodeConfig;
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
        let mut config = self.defaults.as_ref().clone();
        self.default_rules.apply(name, &mut config);
        config
    }
}
