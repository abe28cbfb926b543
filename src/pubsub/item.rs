//! Items: what is published to a node.

use std::sync::Arc;

use super::ItemId;
use crate::time::Timestamp;

/// A stored item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Place in the order of publication, unique in the node and never used twice; republishing takes a new one.
    pub seq: i64,
    /// The ItemID.
    pub id: ItemId,
    /// Full JID that published it (a bare one, or a domain, where no resource was there).
    pub publisher: Arc<str>,
    /// When it was published.
    pub published: Timestamp,
    /// The payload element as XML that stands alone; empty if there is none.
    pub payload: Arc<str>,
}
