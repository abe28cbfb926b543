//! Subscriptions (XEP-0060, section 4.2) and their options (section 16.4.2).

use std::sync::Arc;

use super::store::{NodeKey, SubscriptionKey};
use super::{SubId, spelled};
use crate::jid::Jid;
use crate::time::Timestamp;

spelled!(
    /// The state of a subscription.
    SubscriptionState {
        /// Nothing is sent.
        None = "none",
        /// Waits for an owner's approval; nothing is sent.
        Pending = "pending",
        /// Waits for its options; nothing is sent.
        Unconfigured = "unconfigured",
        /// Events are sent.
        Subscribed = "subscribed",
    }
);

spelled!(
    /// What a subscription to a collection asks for (XEP-0248).
    SubscriptionType {
        /// New items.
        Items = "items",
        /// New nodes.
        Nodes = "nodes",
        /// Both.
        All = "all",
    }
);

/// When a subscription ends by itself (`pubsub#expire`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// It does not.
    #[default]
    Never,
    /// With the subscriber's unavailable presence (XEP-0060, section 12.5).
    Presence,
    /// At this time (section 12.19).
    At(Timestamp),
}

/// Options of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// `pubsub#deliver`: whether notifications are sent.
    pub deliver: bool,
    /// `pubsub#digest`: whether notifications are gathered.
    pub digest: bool,
    /// `pubsub#digest_frequency` in milliseconds.
    pub digest_frequency: i64,
    /// `pubsub#expire`.
    pub expire: Expiry,
    /// `pubsub#include_body`.
    pub include_body: bool,
    /// `pubsub#show-values` as bits of [`SHOW_VALUES`]; 0 where the subscriber did not limit them.
    pub show_values: u8,
    /// `pubsub#subscription_type`.
    pub subscription_type: SubscriptionType,
    /// `pubsub#subscription_depth`: levels, 0 for "all".
    pub subscription_depth: i64,
    /// `roomnick`: the name in a room that is a node (XEP-0207, section 5).
    pub roomnick: Option<Arc<str>>,
}

/// The values of `pubsub#show-values`; a value's place is its bit.
pub const SHOW_VALUES: [&str; 5] = ["away", "chat", "dnd", "online", "xa"];

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            deliver: true,
            digest: false,
            digest_frequency: 0,
            expire: Expiry::Never,
            include_body: false,
            show_values: 0,
            subscription_type: SubscriptionType::Items,
            subscription_depth: 1,
            roomnick: None,
        }
    }
}

/// A subscription of one literal JID to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The row.
    pub key: SubscriptionKey,
    /// The node.
    pub node: NodeKey,
    /// The JID exactly as subscribed, bare or full.
    pub jid: Jid,
    /// Always there; shown where the node allows several subscriptions of one JID or the client knows it.
    pub subid: SubId,
    /// The state.
    pub state: SubscriptionState,
    /// Whether it is to be public once it is subscribed (XEP-0465).
    pub wants_public: bool,
    /// Whether the account's list shows it too then: it was asked for through the account.
    pub shown: bool,
    /// The options.
    pub options: SubscriptionOptions,
    /// When it was made.
    pub created: Timestamp,
}
