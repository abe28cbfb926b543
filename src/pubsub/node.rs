//! Nodes: where items are published and who subscribed to them.

use std::sync::Arc;

use super::store::{NodeKey, ServiceKey};
use super::{NodeConfig, NodeName};
use crate::time::Timestamp;

/// A node with its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The row of the node; never used again for another node.
    pub key: NodeKey,
    /// The service that the node belongs to.
    pub service: ServiceKey,
    /// The NodeID.
    pub name: NodeName,
    /// Bare JID that created the node.
    pub creator: Arc<str>,
    /// When it was created.
    pub created: Timestamp,
    /// Its options.
    pub config: Arc<NodeConfig>,
    /// What is counted rather than looked up.
    pub counters: Counters,
}

/// Figures kept beside a node, so that no answer has to count rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// The `seq` that the next item gets.
    pub next_seq: i64,
    /// Items stored, expired ones that were not swept yet included.
    pub items: i64,
    /// Subscriptions in state `subscribed`.
    pub subscribers: i64,
    /// When the oldest item expires (`pubsub#item_expire`); none if nothing does.
    pub sweep_at: Option<Timestamp>,
}
