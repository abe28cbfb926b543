//! What the engine needs of a store.
//!
//! A [`Store`] has one writer: [`Store::begin`] gives the only [`Transaction`]. Every method touches the rows it names
//! and no others, so that the cost of an operation depends on what it touches. Nothing is checked here beyond what
//! keeps the data whole (unique names, foreign keys): who may do what was decided before.
//!
//! Keys that a transaction gave out are nobody's if it is rolled back, and may be given again: whoever remembers rows
//! forgets them then.

use std::sync::Arc;

use super::subscription::Expiry;
use super::{
    Affiliation, Counters, Item, ItemId, Node, NodeConfig, NodeName, SubId, Subscription, SubscriptionOptions,
    SubscriptionState,
};
use crate::error::{Error, ErrorKind, Result};
use crate::jid::Jid;
use crate::time::Timestamp;

macro_rules! key {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub i64);
    };
}
key!(
    /// The row of a service: a component or an account.
    ServiceKey
);
key!(
    /// The row of a node; never used again after the node is gone, if it was ever committed.
    NodeKey
);
key!(
    /// The row of a subscription; never used again, if it was ever committed.
    SubscriptionKey
);

/// The largest `seq` of an item.
pub const MAX_SEQ: i64 = 0xffff_ffff;

/// A service as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The row.
    pub key: ServiceKey,
    /// Bare JID of the account, or the component's domain.
    pub jid: Arc<str>,
    /// Whether the data of the module that was there before has been taken over (or there was none).
    pub imported: bool,
    /// Nodes it has.
    pub nodes: i64,
    /// Bytes of all payloads of its items.
    pub bytes: i64,
}

/// A subscription with the node and service it belongs to, for lists that span nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedSubscription {
    /// JID of the service.
    pub service: Arc<str>,
    /// NodeID.
    pub node_name: NodeName,
    /// The subscription.
    pub subscription: Subscription,
}

/// Somebody who is subscribed and wants events, with what decides whether he gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The row of the subscription.
    pub key: SubscriptionKey,
    /// The literal JID.
    pub jid: Arc<str>,
    /// How its bare JID stands to the node.
    pub affiliation: Affiliation,
    /// When the subscription ends, if that is known.
    pub expire_at: Option<Timestamp>,
    /// See [`SubscriptionOptions::include_body`].
    pub include_body: bool,
    /// See [`SubscriptionOptions::show_values`].
    pub show_values: u8,
}

impl Subscriber {
    /// The part of a subscription that matters.
    pub fn of(subscription: &Subscription, affiliation: Affiliation) -> Self {
        let options = &subscription.options;
        let expire_at = match options.expire {
            Expiry::At(end) => Some(end),
            Expiry::Never | Expiry::Presence => None,
        };
        let (key, jid) = (subscription.key, subscription.jid.as_str().into());
        let (include_body, show_values) = (options.include_body, options.show_values);
        Self { key, jid, affiliation, expire_at, include_body, show_values }
    }
}

/// What to insert as a subscription.
#[derive(Debug, Clone)]
pub struct NewSubscription<'a> {
    /// The node.
    pub node: NodeKey,
    /// The literal JID.
    pub jid: &'a Jid,
    /// The identifier; unique for node and JID.
    pub subid: &'a SubId,
    /// The state.
    pub state: SubscriptionState,
    /// See [`Subscription::wants_public`].
    pub wants_public: bool,
    /// The options.
    pub options: &'a SubscriptionOptions,
    /// When it was made.
    pub created: Timestamp,
}

/// Which part of an ordered set is wanted (XEP-0059).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<K> {
    /// From the first on.
    First,
    /// The last ones.
    Last,
    /// Those right after this one.
    After(K),
    /// Those right before this one.
    Before(K),
    /// Those from this index on.
    Index(u64),
}

/// A part of an ordered set, always in the order of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The members.
    pub rows: Vec<T>,
    /// Size of the whole set, exact.
    pub count: u64,
    /// Place of the first of `rows` in the whole set, exact; 0 if there are no rows.
    pub index: u64,
}

/// What a deletion of items took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Items.
    pub items: i64,
    /// Bytes of their payloads.
    pub bytes: i64,
}

/// A member of one of the lists of XEP-0465, in the order in which they became public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicEntry {
    /// Cursor: position in the order, unique in its list.
    pub position: i64,
    /// When it became public.
    pub since: Timestamp,
    /// The service (list of an account), or the bare JID of the subscriber (list of a node).
    pub jid: Arc<str>,
    /// NodeID (list of an account); empty in the list of a node.
    pub node_name: NodeName,
}

/// An entry of the list that an account keeps of its subscriptions at services elsewhere (XEP-0376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PamEntry {
    /// JID of the service.
    pub service: Arc<str>,
    /// NodeID.
    pub node_name: NodeName,
    /// Identifier given by the service; empty if it gave none.
    pub subid: Arc<str>,
    /// The state that the service told last.
    pub state: SubscriptionState,
    /// Whether it is to be public once it is subscribed.
    pub wants_public: bool,
    /// Whether it is being ended: the service has not agreed yet.
    pub unsubscribing: bool,
}

/// A request that was or will be sent as an account and whose answer is awaited (XEP-0376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The `id` of the stanza sent, unique.
    pub id: Arc<str>,
    /// Bare JID of the account.
    pub account: Arc<str>,
    /// The service asked.
    pub service: Arc<str>,
    /// NodeID.
    pub node_name: NodeName,
    /// SubID, empty if there is none.
    pub subid: Arc<str>,
    /// What was asked for: the engine's own code.
    pub operation: u8,
    /// Full JID of the client that asked; empty if the engine asked by itself.
    pub requester: Arc<str>,
    /// `id` of the client's request.
    pub request_id: Arc<str>,
    /// `to` of the client's request, empty if it had none.
    pub request_to: Arc<str>,
    /// The stanza, for sending it again.
    pub stanza: Arc<str>,
    /// How often it was sent.
    pub attempts: i64,
    /// When the answer is overdue.
    pub deadline: Timestamp,
}

/// An event that came for an account, kept for devices that were away (extension to XEP-0376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Cursor: place in the order of arrival, never used again.
    pub key: i64,
    /// Whom it came from.
    pub service: Arc<str>,
    /// The node it is about.
    pub node_name: NodeName,
    /// When it came.
    pub arrived: Timestamp,
    /// Whether a device was there to see it.
    pub seen: bool,
    /// What the message held, as XML.
    pub content: Arc<str>,
}

/// What to insert as an entry of a journal.
#[derive(Debug, Clone, Copy)]
pub struct NewJournalEntry<'a> {
    /// Whom it came from.
    pub service: &'a str,
    /// The node it is about.
    pub node_name: &'a str,
    /// When it came.
    pub arrived: Timestamp,
    /// From when on it is not there any more.
    pub expire_at: Timestamp,
    /// Whether a device was there to see it.
    pub seen: bool,
    /// What the message held, as XML.
    pub content: &'a str,
}

/// How much the journal of one account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Entries.
    pub entries: usize,
    /// Bytes of all their contents.
    pub bytes: usize,
}

/// Which entries of a journal are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalFilter<'a> {
    /// Those of one service.
    pub service: Option<&'a str>,
    /// Those about nodes of one name.
    pub node_name: Option<&'a str>,
    /// Those that came at this time or later.
    pub start: Timestamp,
    /// Those that came at this time or before.
    pub end: Timestamp,
    /// The present time: what has expired is not there.
    pub now: Timestamp,
}

/// A subscription that an account made by itself, since its devices ask for the node (extension to XEP-0376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoSubscription {
    /// Bare JID of the account.
    pub account: Arc<str>,
    /// The contact.
    pub service: Arc<str>,
    /// NodeID.
    pub node_name: NodeName,
    /// Identifier given by the service; empty if it gave none.
    pub subid: Arc<str>,
    /// The state that the service told last; `none` if it refused.
    pub state: SubscriptionState,
    /// When it ends unless somebody asks for the node again.
    pub expire_at: Timestamp,
}

/// What an administrator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maintenance {
    /// Looks for damage.
    IntegrityCheck,
    /// Gives the room of what was deleted back.
    Vacuum,
}

/// A place where data is kept: a SQLite file, memory.
pub trait Store: Send {
    /// Begins the one write transaction.
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>>;

    /// Another way in, for reading beside the writer; none if this store has no such thing.
    fn reader(&self) -> Result<Option<Box<dyn ReadStore>>> {
        Ok(None)
    }

    /// Rows, bytes and the like for statistics: name and value.
    fn statistics(&mut self) -> Result<Vec<(&'static str, i64)>>;

    /// Does something with the store as a whole, which may take a while; "ok", or what was found, line by line.
    fn maintain(&mut self, what: Maintenance) -> Result<Vec<String>>;
}

/// A way to read beside the writer.
pub trait ReadStore: Send {
    /// Begins a transaction that sees the last commit and nothing later; whatever would write in it fails. Also whether the
    /// store is still as the transaction before saw it.
    fn begin(&mut self) -> Result<(Box<dyn Transaction + '_>, bool)>;
}

/// Reads and writes; nothing is kept unless [`Transaction::commit`] returns well. Dropping it rolls back.
pub trait Transaction {
    /// Makes everything durable as the store's setting says.
    fn commit(self: Box<Self>) -> Result<()>;
    // ---- services ----

    /// The service of that address.
    fn service(&mut self, jid: &str) -> Result<Option<Service>>;
    /// The address of the service of that row.
    fn service_jid(&mut self, service: ServiceKey) -> Result<Option<Arc<str>>>;
    /// Makes a service without nodes, not imported.
    fn insert_service(&mut self, jid: &str) -> Result<Service>;
    /// Services whose name lies between the two, the second not included.
    fn services_between(&mut self, from: &str, to: &str, limit: usize) -> Result<Vec<Service>>;
    /// Writes `imported`, `nodes` and `bytes`.
    fn update_service(&mut self, service: &Service) -> Result<()>;
    /// Removes the service, its nodes and all that is in them, and its redirections.
    fn delete_service(&mut self, service: ServiceKey) -> Result<()>;

    // ---- nodes ----

    /// The node of that name.
    fn node(&mut self, service: ServiceKey, name: &str) -> Result<Option<Node>>;
    /// The node of that row.
    fn node_by_key(&mut self, node: NodeKey) -> Result<Option<Node>>;
    /// Makes a node without items (`next_seq` 1).
    fn insert_node(
        &mut self,
        service: ServiceKey,
        name: &str,
        creator: &str,
        created: Timestamp,
        config: &Arc<NodeConfig>,
    ) -> Result<Node>;
    /// Writes the options.
    fn update_node_config(&mut self, node: NodeKey, config: &NodeConfig) -> Result<()>;
    /// Writes the counters.
    fn update_node_counters(&mut self, node: NodeKey, counters: &Counters) -> Result<()>;
    /// Removes the node and all that is in it.
    fn delete_node(&mut self, node: NodeKey) -> Result<Removed>;
    /// Nodes in the order of their names (bytes of UTF-8), those after `after`, at most `limit`.
    fn nodes(&mut self, service: ServiceKey, after: Option<&str>, limit: usize) -> Result<Vec<Node>>;
    /// Nodes of any service whose `sweep_at` is not later than `now`, the most overdue first, at most `limit`.
    fn nodes_to_sweep(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Node>>;
    /// The earliest `sweep_at`.
    fn next_sweep(&mut self) -> Result<Option<Timestamp>>;
    /// Notes where a deleted node has moved to; forgotten when a node of that name is made.
    fn set_redirect(&mut self, service: ServiceKey, name: &str, uri: &str) -> Result<()>;
    /// How many deleted nodes of the service have moved somewhere.
    fn count_redirects(&mut self, service: ServiceKey) -> Result<i64>;
    /// Where the node has moved to.
    fn redirect(&mut self, service: ServiceKey, name: &str) -> Result<Option<String>>;

    // ---- items; `live_after` hides those published at or before it (they have expired) ----

    /// Writes an item; false if the node has one of that id, and then nothing is changed. Its `seq` has to be above all others of the node
    /// and no more than [`MAX_SEQ`], or nothing is written and the answer is an error.
    fn add_item(&mut self, node: NodeKey, item: &Item) -> Result<bool>;
    /// The same for an item whose id is known to be free.
    fn insert_item(&mut self, node: NodeKey, item: &Item) -> Result<()> {
        match self.add_item(node, item)? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Store, "the item exists already")),
        }
    }
    /// The item of that id.
    fn item(&mut self, node: NodeKey, id: &str, live_after: Option<Timestamp>) -> Result<Option<Item>>;
    /// The newest item.
    fn last_item(&mut self, node: NodeKey, live_after: Option<Timestamp>) -> Result<Option<Item>>;
    /// Removes the item of that id; none removed if there is none.
    fn delete_item(&mut self, node: NodeKey, id: &str) -> Result<Removed>;
    /// Removes the oldest `count` items; `removed` is given the ids, oldest first.
    fn delete_oldest_items(&mut self, node: NodeKey, count: i64, removed: &mut Vec<ItemId>) -> Result<Removed>;
    /// Removes the items published at or before `until`, at most `limit`, those of the lowest `seq` first.
    fn delete_expired_items(
        &mut self,
        node: NodeKey,
        until: Timestamp,
        limit: i64,
        removed: &mut Vec<ItemId>,
    ) -> Result<Removed>;
    /// Removes all items.
    fn delete_all_items(&mut self, node: NodeKey) -> Result<Removed>;
    /// Removes the items whose publisher is that full JID (`pubsub#purge_offline`); `removed` is given the ids.
    fn delete_items_of(&mut self, node: NodeKey, publisher: &str, removed: &mut Vec<ItemId>) -> Result<Removed>;
    /// Part of the items in the order of publication. `counters` are those of the node: they allow to leave out
    /// counting where nothing has expired and `seq` has no gaps.
    fn items(
        &mut self,
        node: NodeKey,
        counters: &Counters,
        live_after: Option<Timestamp>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<Item>>;

    // ---- affiliations ----

    /// How the bare JID stands to the node; `none` if nothing is stored.
    fn affiliation(&mut self, node: NodeKey, jid: &str) -> Result<Affiliation>;
    /// Sets it; `none` removes the row.
    fn set_affiliation(&mut self, node: NodeKey, jid: &str, affiliation: Affiliation) -> Result<()>;
    /// All of the node, in the order of the JIDs.
    fn affiliations(&mut self, node: NodeKey) -> Result<Vec<(Arc<str>, Affiliation)>>;
    /// All of the bare JID with nodes of the service, in the order of the node names.
    fn affiliations_of(&mut self, service: ServiceKey, jid: &str) -> Result<Vec<(NodeName, Affiliation)>>;

    // ---- subscriptions ----

    /// Makes a subscription, not `shown`. Counters and public marks are the caller's business.
    fn insert_subscription(&mut self, new: &NewSubscription<'_>) -> Result<SubscriptionKey>;
    /// Writes state, `wants_public`, `shown` and options.
    fn update_subscription(&mut self, subscription: &Subscription) -> Result<()>;
    /// Removes it.
    fn delete_subscription(&mut self, subscription: SubscriptionKey) -> Result<()>;
    /// Those of every JID whose bare part is `bare`, in the order in which they were made.
    fn subscriptions_to(&mut self, node: NodeKey, bare: &str) -> Result<Vec<Subscription>>;
    /// The one that has that name in the room; no two of a node have the same.
    fn subscription_by_roomnick(&mut self, node: NodeKey, roomnick: &str) -> Result<Option<Subscription>>;
    /// Those of every JID, in the order in which they were made, those after `after`, at most `limit`.
    fn subscriptions(
        &mut self,
        node: NodeKey,
        after: Option<SubscriptionKey>,
        limit: usize,
    ) -> Result<Vec<Subscription>>;
    /// Those in state `subscribed` that want events (`pubsub#deliver`), in the order in which they were made, those after
    /// `after`, at most `limit`.
    fn subscribers(&mut self, node: NodeKey, after: Option<SubscriptionKey>, limit: usize) -> Result<Vec<Subscriber>>;
    /// Those in state `pending`, in the order in which they were made.
    fn pending_subscriptions(&mut self, node: NodeKey) -> Result<Vec<Subscription>>;
    /// Nodes of the service that have pending subscriptions, in the order of their names.
    fn nodes_with_pending(&mut self, service: ServiceKey) -> Result<Vec<NodeName>>;
    /// All of a bare JID (and its full JIDs), at one service or everywhere, in the order of service and node name.
    fn subscriptions_of(&mut self, bare: &str, service: Option<ServiceKey>) -> Result<Vec<PlacedSubscription>>;
    /// How many subscriptions a bare JID (and its full JIDs) has at a service.
    fn count_subscriptions_of(&mut self, bare: &str, service: ServiceKey) -> Result<i64>;
    /// Those whose lease has ended at `now`, at most `limit`.
    fn expired_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<PlacedSubscription>>;
    /// The earliest end of a lease.
    fn next_lease_end(&mut self) -> Result<Option<Timestamp>>;
    /// Those of that literal JID that end with its presence, with their nodes.
    fn presence_bound_subscriptions(&mut self, jid: &str) -> Result<Vec<PlacedSubscription>>;

    // ---- public marks (XEP-0465) ----

    /// Lists a subscriber of the node publicly; false if it was listed already.
    fn insert_public_subscriber(&mut self, node: NodeKey, bare: &str, since: Timestamp) -> Result<bool>;
    /// Takes it off; false if it was not listed.
    fn delete_public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<bool>;
    /// Part of the list of the node.
    fn public_subscribers(&mut self, node: NodeKey, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>>;
    /// One member of the list of the node.
    fn public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<Option<PublicEntry>>;
    /// Lists a subscription of the account publicly; false if it was listed already.
    fn insert_public_subscription(
        &mut self,
        account: &str,
        service: &str,
        node_name: &str,
        since: Timestamp,
    ) -> Result<bool>;
    /// Takes it off; false if it was not listed.
    fn delete_public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool>;
    /// Part of the list of the account.
    fn public_subscriptions(&mut self, account: &str, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>>;
    /// One member of the list of the account.
    fn public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<PublicEntry>>;
    /// Position of the first member of the node's list that became public at that time or later.
    fn public_subscribers_since(&mut self, node: NodeKey, time: Timestamp) -> Result<Option<i64>>;
    /// The same of the account's list.
    fn public_subscriptions_since(&mut self, account: &str, time: Timestamp) -> Result<Option<i64>>;
    /// Takes every entry of the account off; how many there were.
    fn delete_public_subscriptions(&mut self, account: &str) -> Result<i64>;
    /// Entries of `public_subscriptions` that an ended node leaves behind: the accounts that list this node publicly.
    fn accounts_listing(&mut self, service: &str, node_name: &str) -> Result<Vec<Arc<str>>>;

    // ---- subscriptions that the account manages elsewhere (XEP-0376) ----

    /// Writes an entry; key is account, service, node and subid.
    fn put_pam_entry(&mut self, account: &str, entry: &PamEntry) -> Result<()>;
    /// Removes an entry; false if there was none.
    fn delete_pam_entry(&mut self, account: &str, service: &str, node_name: &str, subid: &str) -> Result<bool>;
    /// All entries of the account, in the order of service, node and subid.
    fn pam_entries(&mut self, account: &str) -> Result<Vec<PamEntry>>;
    /// Those for one node.
    fn pam_entries_for(&mut self, account: &str, service: &str, node_name: &str) -> Result<Vec<PamEntry>>;
    /// Accounts and the services of their entries, each pair once and in this order, those after `after`, at most `limit`.
    fn pam_services(&mut self, after: (&str, &str), limit: usize) -> Result<Vec<(String, String)>>;
    /// The version of the account's list; 0 if it was never changed.
    fn pam_version(&mut self, account: &str) -> Result<i64>;
    /// Sets the version.
    fn set_pam_version(&mut self, account: &str, version: i64) -> Result<()>;
    /// Writes an intent; its id is the key.
    fn put_intent(&mut self, intent: &Intent) -> Result<()>;
    /// The intent of that id.
    fn intent(&mut self, id: &str) -> Result<Option<Intent>>;
    /// Removes it.
    fn delete_intent(&mut self, id: &str) -> Result<()>;
    /// Those of an account.
    fn intents_of(&mut self, account: &str) -> Result<Vec<Intent>>;
    /// Those whose deadline is not later than `now`, the most overdue first, at most `limit`.
    fn overdue_intents(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Intent>>;
    /// The earliest deadline.
    fn next_deadline(&mut self) -> Result<Option<Timestamp>>;
    /// Removes entries, version and intents of the account.
    fn delete_pam_account(&mut self, account: &str) -> Result<()>;

    // ---- subscriptions that an account makes by itself (extension to XEP-0376) ----

    /// Writes one; account, service and node are the key.
    fn put_auto_subscription(&mut self, auto: &AutoSubscription) -> Result<()>;
    /// The one of that key.
    fn auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<AutoSubscription>>;
    /// All of an account, in the order of service and node.
    fn auto_subscriptions(&mut self, account: &str) -> Result<Vec<AutoSubscription>>;
    /// Removes it; false if there was none.
    fn delete_auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool>;
    /// Those that have ended at `now`, the most overdue first, at most `limit`.
    fn expired_auto_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<AutoSubscription>>;
    /// When the next one ends.
    fn next_auto_end(&mut self) -> Result<Option<Timestamp>>;

    // ---- events kept for accounts (extension to XEP-0376) ----

    /// Writes an entry at the end of the account's journal; the oldest ones go beyond the limits.
    fn insert_journal_entry(&mut self, account: &str, new: &NewJournalEntry<'_>, limits: JournalLimits) -> Result<()>;
    /// The newest entry about that node, expired or not.
    fn last_journal_entry(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<JournalEntry>>;
    /// Notes that a device has seen the entry of that key.
    fn see_journal_entry(&mut self, entry: i64) -> Result<()>;
    /// Part of the account's journal.
    fn journal(
        &mut self,
        account: &str,
        filter: &JournalFilter<'_>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<JournalEntry>>;
    /// Removes entries of all accounts that have expired at `now`, at most `limit`.
    fn delete_expired_journal(&mut self, now: Timestamp, limit: usize) -> Result<()>;
    /// When the next entry expires.
    fn next_journal_end(&mut self) -> Result<Option<Timestamp>>;
    /// Removes the account's journal.
    fn delete_journal(&mut self, account: &str) -> Result<()>;

    // ---- capabilities (XEP-0115, XEP-0390) ----

    /// What clients of this hash ("algorithm:hash") want; none if it is not known.
    fn capabilities(&mut self, hash: &str) -> Result<Option<Vec<String>>>;
    /// Remembers it; the oldest are forgotten beyond `keep`.
    fn put_capabilities(&mut self, hash: &str, features: &[String], learnt: Timestamp, keep: usize) -> Result<()>;

    // ---- the engine's own values ----

    /// A value by its name.
    fn value(&mut self, name: &str) -> Result<Option<String>>;
    /// Sets it.
    fn set_value(&mut self, name: &str, value: &str) -> Result<()>;
}
