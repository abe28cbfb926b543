//! The store in memory: says what the methods mean, for tests, fuzzing and Miri. Nothing outlives the process.
//!
//! Every table is a sorted map that remembers what it replaced, so that going back is putting the old rows in place
//! again. There are few indexes: what SQL would look up is often looked for here.

mod journal;
mod page;
mod subscriptions;
mod tables;

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::{
    AutoSubscription, Intent, JournalEntry, JournalFilter, JournalLimits, MAX_SEQ, Maintenance, NewJournalEntry,
    NewSubscription, NodeKey, Page, PamEntry, Place, PlacedSubscription, PublicEntry, Removed, Service, ServiceKey,
    Store, Subscriber, SubscriptionKey, Transaction,
};
use crate::pubsub::subscription::Expiry;
use crate::pubsub::{Affiliation, Counters, Item, ItemId, Node, NodeConfig, NodeName, Subscription, SubscriptionState};
use crate::time::Timestamp;
use journal::Kept;
use page::page;
use subscriptions::lease_end;
use tables::tables;

tables! {
    services: ServiceKey => Service,
    service_keys: Arc<str> => ServiceKey,
    nodes: NodeKey => Node,
    node_keys: (ServiceKey, NodeName) => NodeKey,
    redirects: (ServiceKey, Arc<str>) => String,
    items: (NodeKey, i64) => Item,
    item_seqs: (NodeKey, ItemId) => i64,
    affiliations: (NodeKey, Arc<str>) => Affiliation,
    subscriptions: (NodeKey, SubscriptionKey) => Subscription,
    public_subscribers: (NodeKey, i64) => PublicEntry,
    public_subscriptions: (Arc<str>, i64) => PublicEntry,
    pam_entries: (Arc<str>, Arc<str>, NodeName, Arc<str>) => PamEntry,
    pam_versions: Arc<str> => i64,
    intents: Arc<str> => Intent,
    auto_subscriptions: (Arc<str>, Arc<str>, NodeName) => AutoSubscription,
    journal: (Arc<str>, i64) => Kept,
    capabilities: Arc<str> => Capability,
    values: Arc<str> => String,
}

#[derive(Debug, Clone)]
struct Capability {
    features: Vec<String>,
    learnt: Timestamp,
    key: i64,
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    tables: Tables,
    last_key: i64,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for Memory {
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>> {
        Ok(Box::new(Open { memory: self, committed: false }))
    }

    fn statistics(&mut self) -> Result<Vec<(&'static str, i64)>> {
        let rows = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        Ok(vec![
            ("services", rows(self.tables.services.len())),
            ("nodes", rows(self.tables.nodes.len())),
            ("items", rows(self.tables.items.len())),
            ("subscriptions", rows(self.tables.subscriptions.len())),
        ])
    }

    fn maintain(&mut self, _what: Maintenance) -> Result<Vec<String>> {
        Ok(vec!["ok".to_owned()])
    }
}

struct Open<'a> {
    memory: &'a mut Memory,
    committed: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.memory.tables.end(self.committed);
    }
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::Store, why)
}

fn refuse_if(condition: bool, why: &'static str) -> Result<()> {
    if condition { Err(refused(why)) } else { Ok(()) }
}

fn is_live(item: &Item, live_after: Option<Timestamp>) -> bool {
    live_after.is_none_or(|until| item.published > until)
}

impl Open<'_> {
    fn tables(&mut self) -> &mut Tables {
        &mut self.memory.tables
    }

    fn next_key(&mut self) -> i64 {
        self.memory.last_key += 1;
        self.memory.last_key
    }

    fn node_must_exist(&mut self, node: NodeKey) -> Result<()> {
        refuse_if(!self.tables().nodes.contains_key(&node), "there is no such node")
    }

    fn items_of(&mut self, node: NodeKey) -> impl DoubleEndedIterator<Item = &Item> {
        self.tables().items.range((node, i64::MIN)..=(node, i64::MAX)).map(|(_, item)| item)
    }

    fn remove_item(&mut self, node: NodeKey, item: &Item) -> Removed {
        self.tables().items.take(&(node, item.seq));
        self.tables().item_seqs.take(&(node, item.id.clone()));
        Removed { items: 1, bytes: item.payload.len() as i64 }
    }

    fn remove_items(&mut self, node: NodeKey, items: Vec<Item>, ids: &mut Vec<ItemId>) -> Removed {
        let mut removed = Removed::default();
        for item in items {
            let one = self.remove_item(node, &item);
            removed.items += one.items;
            removed.bytes += one.bytes;
            ids.push(item.id);
        }
        removed
    }
}

impl Transaction for Open<'_> {
    fn commit(mut self: Box<Self>) -> Result<()> {
        self.committed = true;
        Ok(())
    }

    fn service(&mut self, jid: &str) -> Result<Option<Service>> {
        let tables = self.tables();
        Ok(tables.service_keys.get(jid).map(|key| tables.services[key].clone()))
    }

    fn service_jid(&mut self, service: ServiceKey) -> Result<Option<Arc<str>>> {
        Ok(self.tables().services.get(&service).map(|service| service.jid.clone()))
    }

    fn services_between(&mut self, from: &str, to: &str, limit: usize) -> Result<Vec<Service>> {
        let tables = self.tables();
        let mut found: Vec<Service> =
            tables.services.values().filter(|service| *service.jid >= *from && *service.jid < *to).cloned().collect();
        found.sort_unstable_by(|a, b| a.jid.cmp(&b.jid));
        found.truncate(limit);
        Ok(found)
    }

    fn insert_service(&mut self, jid: &str) -> Result<Service> {
        refuse_if(self.tables().service_keys.contains_key(jid), "the service exists already")?;
        let key = ServiceKey(self.next_key());
        let service = Service { key, jid: jid.into(), imported: false, nodes: 0, bytes: 0 };
        self.tables().services.put(key, service.clone());
        self.tables().service_keys.put(jid.into(), key);
        Ok(service)
    }

    fn update_service(&mut self, service: &Service) -> Result<()> {
        if let Some(stored) = self.tables().services.get(&service.key) {
            let row = Service { jid: stored.jid.clone(), ..service.clone() };
            self.tables().services.put(service.key, row);
        }
        Ok(())
    }

    fn delete_service(&mut self, service: ServiceKey) -> Result<()> {
        let nodes: Vec<NodeKey> =
            self.tables().nodes.values().filter(|node| node.service == service).map(|node| node.key).collect();
        for node in nodes {
            self.delete_node(node)?;
        }
        self.tables().redirects.take_if(|(key, _), _| *key == service);
        if let Some(service) = self.tables().services.take(&service) {
            self.tables().service_keys.take(&service.jid);
        }
        Ok(())
    }

    fn node(&mut self, service: ServiceKey, name: &str) -> Result<Option<Node>> {
        let tables = self.tables();
        Ok(tables.node_keys.get(&(service, name.into())).map(|key| tables.nodes[key].clone()))
    }

    fn node_by_key(&mut self, node: NodeKey) -> Result<Option<Node>> {
        Ok(self.tables().nodes.get(&node).cloned())
    }

    fn insert_node(
        &mut self,
        service: ServiceKey,
        name: &str,
        creator: &str,
        created: Timestamp,
        config: &Arc<NodeConfig>,
    ) -> Result<Node> {
        refuse_if(!self.tables().services.contains_key(&service), "there is no such service")?;
        refuse_if(self.tables().node_keys.contains_key(&(service, name.into())), "the node exists already")?;
        let key = NodeKey(self.next_key());
        let node = Node {
            key,
            service,
            name: name.into(),
            creator: creator.into(),
            created,
            config: Arc::clone(config),
            counters: Counters { next_seq: 1, ..Counters::default() },
        };
        self.tables().nodes.put(key, node.clone());
        self.tables().node_keys.put((service, name.into()), key);
        self.tables().redirects.take(&(service, name.into()));
        Ok(node)
    }

    fn update_node_config(&mut self, node: NodeKey, config: &NodeConfig) -> Result<()> {
        if let Some(stored) = self.tables().nodes.get(&node) {
            let row = Node { config: Arc::new(config.clone()), ..stored.clone() };
            self.tables().nodes.put(node, row);
        }
        Ok(())
    }

    fn update_node_counters(&mut self, node: NodeKey, counters: &Counters) -> Result<()> {
        if let Some(stored) = self.tables().nodes.get(&node) {
            let row = Node { counters: *counters, ..stored.clone() };
            self.tables().nodes.put(node, row);
        }
        Ok(())
    }

    fn delete_node(&mut self, node: NodeKey) -> Result<Removed> {
        let removed = self.delete_all_items(node)?;
        let tables = self.tables();
        tables.affiliations.take_if(|(key, _), _| *key == node);
        tables.subscriptions.take_if(|(key, _), _| *key == node);
        tables.public_subscribers.take_if(|(key, _), _| *key == node);
        if let Some(row) = tables.nodes.take(&node) {
            tables.node_keys.take(&(row.service, row.name));
        }
        Ok(removed)
    }

    fn nodes(&mut self, service: ServiceKey, after: Option<&str>, limit: usize) -> Result<Vec<Node>> {
        let tables = self.tables();
        let of_service = tables
            .node_keys
            .iter()
            .filter(|((key, name), _)| *key == service && after.is_none_or(|after| name.as_str() > after));
        Ok(of_service.take(limit).map(|(_, key)| tables.nodes[key].clone()).collect())
    }

    fn nodes_to_sweep(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Node>> {
        let due = |node: &&Node| node.counters.sweep_at.is_some_and(|time| time <= now);
        let mut nodes: Vec<Node> = self.tables().nodes.values().filter(due).cloned().collect();
        nodes.sort_by_key(|node| (node.counters.sweep_at, node.key));
        nodes.truncate(limit);
        Ok(nodes)
    }

    fn next_sweep(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables().nodes.values().filter_map(|node| node.counters.sweep_at).min())
    }

    fn set_redirect(&mut self, service: ServiceKey, name: &str, uri: &str) -> Result<()> {
        refuse_if(!self.tables().services.contains_key(&service), "there is no such service")?;
        self.tables().redirects.put((service, name.into()), uri.to_owned());
        Ok(())
    }

    fn count_redirects(&mut self, service: ServiceKey) -> Result<i64> {
        Ok(self.tables().redirects.keys().filter(|(key, _)| *key == service).count() as i64)
    }

    fn redirect(&mut self, service: ServiceKey, name: &str) -> Result<Option<String>> {
        Ok(self.tables().redirects.get(&(service, name.into())).cloned())
    }

    fn add_item(&mut self, node: NodeKey, item: &Item) -> Result<bool> {
        self.node_must_exist(node)?;
        refuse_if(!(0..=MAX_SEQ).contains(&item.seq), "the node has used up its numbers for items")?;
        let newest = self.items_of(node).next_back().map(|newest| newest.seq);
        refuse_if(newest.is_some_and(|newest| item.seq <= newest), "the item would not be the newest")?;
        if self.tables().item_seqs.contains_key(&(node, item.id.clone())) {
            return Ok(false);
        }
        self.tables().items.put((node, item.seq), item.clone());
        self.tables().item_seqs.put((node, item.id.clone()), item.seq);
        Ok(true)
    }

    fn item(&mut self, node: NodeKey, id: &str, live_after: Option<Timestamp>) -> Result<Option<Item>> {
        let tables = self.tables();
        let item = tables.item_seqs.get(&(node, id.into())).map(|seq| &tables.items[&(node, *seq)]);
        Ok(item.filter(|item| is_live(item, live_after)).cloned())
    }

    fn last_item(&mut self, node: NodeKey, live_after: Option<Timestamp>) -> Result<Option<Item>> {
        Ok(self.items_of(node).rev().find(|item| is_live(item, live_after)).cloned())
    }

    fn delete_item(&mut self, node: NodeKey, id: &str) -> Result<Removed> {
        let item = self.item(node, id, None)?;
        Ok(item.map_or_else(Removed::default, |item| self.remove_item(node, &item)))
    }

    fn delete_oldest_items(&mut self, node: NodeKey, count: i64, removed: &mut Vec<ItemId>) -> Result<Removed> {
        let count = usize::try_from(count).unwrap_or(0);
        let oldest = self.items_of(node).take(count).cloned().collect();
        Ok(self.remove_items(node, oldest, removed))
    }

    fn delete_expired_items(
        &mut self,
        node: NodeKey,
        until: Timestamp,
        limit: i64,
        removed: &mut Vec<ItemId>,
    ) -> Result<Removed> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let expired = self.items_of(node).filter(|item| item.published <= until).take(limit).cloned().collect();
        Ok(self.remove_items(node, expired, removed))
    }

    fn delete_all_items(&mut self, node: NodeKey) -> Result<Removed> {
        let all = self.items_of(node).cloned().collect();
        Ok(self.remove_items(node, all, &mut Vec::new()))
    }

    fn delete_items_of(&mut self, node: NodeKey, publisher: &str, removed: &mut Vec<ItemId>) -> Result<Removed> {
        let theirs = self.items_of(node).filter(|item| *item.publisher == *publisher).cloned().collect();
        Ok(self.remove_items(node, theirs, removed))
    }

    fn items(
        &mut self,
        node: NodeKey,
        _: &Counters,
        live_after: Option<Timestamp>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<Item>> {
        let live = self.items_of(node).filter(|item| is_live(item, live_after));
        Ok(page(live.map(|item| (item.seq, item.clone())).collect(), place, limit))
    }

    fn affiliation(&mut self, node: NodeKey, jid: &str) -> Result<Affiliation> {
        Ok(self.tables().affiliations.get(&(node, jid.into())).copied().unwrap_or(Affiliation::None))
    }

    fn set_affiliation(&mut self, node: NodeKey, jid: &str, affiliation: Affiliation) -> Result<()> {
        if affiliation == Affiliation::None {
            self.tables().affiliations.take(&(node, jid.into()));
            return Ok(());
        }
        self.node_must_exist(node)?;
        self.tables().affiliations.put((node, jid.into()), affiliation);
        Ok(())
    }

    fn affiliations(&mut self, node: NodeKey) -> Result<Vec<(Arc<str>, Affiliation)>> {
        let of_node = self.tables().affiliations.iter().filter(|((key, _), _)| *key == node);
        Ok(of_node.map(|((_, jid), affiliation)| (jid.clone(), *affiliation)).collect())
    }

    fn affiliations_of(&mut self, service: ServiceKey, jid: &str) -> Result<Vec<(NodeName, Affiliation)>> {
        let tables = self.tables();
        let of_jid = tables.affiliations.iter().filter(|((_, of), _)| **of == *jid);
        let placed = of_jid.map(|((node, _), affiliation)| (&tables.nodes[node], *affiliation));
        let mut found: Vec<_> = placed
            .filter(|(node, _)| node.service == service)
            .map(|(node, affiliation)| (node.name.clone(), affiliation))
            .collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    fn insert_subscription(&mut self, new: &NewSubscription<'_>) -> Result<SubscriptionKey> {
        self.add_subscription(new)
    }

    fn update_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        self.change_subscription(subscription)
    }

    fn delete_subscription(&mut self, subscription: SubscriptionKey) -> Result<()> {
        self.tables().subscriptions.take_if(|(_, key), _| *key == subscription);
        Ok(())
    }

    fn subscriptions_to(&mut self, node: NodeKey, bare: &str) -> Result<Vec<Subscription>> {
        Ok(self.of_node(node, |subscription| subscription.jid.bare_str() == bare))
    }

    fn subscription_by_roomnick(&mut self, node: NodeKey, roomnick: &str) -> Result<Option<Subscription>> {
        Ok(self.with_roomnick(node, roomnick))
    }

    fn subscriptions(
        &mut self,
        node: NodeKey,
        after: Option<SubscriptionKey>,
        limit: usize,
    ) -> Result<Vec<Subscription>> {
        let mut found = self.of_node(node, |subscription| after.is_none_or(|after| subscription.key > after));
        found.truncate(limit);
        Ok(found)
    }

    fn subscribers(&mut self, node: NodeKey, after: Option<SubscriptionKey>, limit: usize) -> Result<Vec<Subscriber>> {
        let mut found = self.of_node(node, |subscription| {
            after.is_none_or(|after| subscription.key > after)
                && subscription.state == SubscriptionState::Subscribed
                && subscription.options.deliver
        });
        found.truncate(limit);
        let with_affiliation = |subscription: &Subscription| {
            Ok(Subscriber::of(subscription, self.affiliation(node, subscription.jid.bare_str())?))
        };
        found.iter().map(with_affiliation).collect()
    }

    fn pending_subscriptions(&mut self, node: NodeKey) -> Result<Vec<Subscription>> {
        Ok(self.of_node(node, |subscription| subscription.state == SubscriptionState::Pending))
    }

    fn nodes_with_pending(&mut self, service: ServiceKey) -> Result<Vec<NodeName>> {
        let tables = self.tables();
        let pending =
            tables.subscriptions.values().filter(|subscription| subscription.state == SubscriptionState::Pending);
        let nodes = pending.map(|subscription| &tables.nodes[&subscription.node]);
        let mut names: Vec<NodeName> =
            nodes.filter(|node| node.service == service).map(|node| node.name.clone()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn subscriptions_of(&mut self, bare: &str, service: Option<ServiceKey>) -> Result<Vec<PlacedSubscription>> {
        let mut found = self.subscriptions_where(|subscription| subscription.jid.bare_str() == bare);
        if let Some(service) = service {
            let tables = self.tables();
            found.retain(|placed| tables.nodes[&placed.subscription.node].service == service);
        }
        found.sort_by(|one, other| {
            (&one.service, &one.node_name, one.subscription.key).cmp(&(
                &other.service,
                &other.node_name,
                other.subscription.key,
            ))
        });
        Ok(found)
    }

    fn count_subscriptions_of(&mut self, bare: &str, service: ServiceKey) -> Result<i64> {
        Ok(self.subscriptions_of(bare, Some(service))?.len() as i64)
    }

    fn expired_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<PlacedSubscription>> {
        let mut found = self.subscriptions_where(|subscription| lease_end(subscription).is_some_and(|end| end <= now));
        found.sort_by_key(|placed| (lease_end(&placed.subscription), placed.subscription.key));
        found.truncate(limit);
        Ok(found)
    }

    fn next_lease_end(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables().subscriptions.values().filter_map(lease_end).min())
    }

    fn presence_bound_subscriptions(&mut self, jid: &str) -> Result<Vec<PlacedSubscription>> {
        let mut found = self.subscriptions_where(|subscription| {
            subscription.jid.as_str() == jid && subscription.options.expire == Expiry::Presence
        });
        found.sort_by_key(|placed| placed.subscription.key);
        Ok(found)
    }

    fn insert_public_subscriber(&mut self, node: NodeKey, bare: &str, since: Timestamp) -> Result<bool> {
        self.node_must_exist(node)?;
        if self.public_subscriber(node, bare)?.is_some() {
            return Ok(false);
        }
        let position = self.next_key();
        let entry = PublicEntry { position, since, jid: bare.into(), node_name: "".into() };
        self.tables().public_subscribers.put((node, position), entry);
        Ok(true)
    }

    fn delete_public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<bool> {
        let found = self.public_subscriber(node, bare)?;
        Ok(found.is_some_and(|entry| self.tables().public_subscribers.take(&(node, entry.position)).is_some()))
    }

    fn public_subscribers(&mut self, node: NodeKey, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>> {
        let of_node = self.tables().public_subscribers.iter().filter(|((key, _), _)| *key == node);
        Ok(page(of_node.map(|((_, position), entry)| (*position, entry.clone())).collect(), place, limit))
    }

    fn public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<Option<PublicEntry>> {
        let mut of_node = self.tables().public_subscribers.iter().filter(|((key, _), _)| *key == node);
        Ok(of_node.find(|(_, entry)| *entry.jid == *bare).map(|(_, entry)| entry.clone()))
    }

    fn insert_public_subscription(
        &mut self,
        account: &str,
        service: &str,
        node_name: &str,
        since: Timestamp,
    ) -> Result<bool> {
        if self.public_subscription(account, service, node_name)?.is_some() {
            return Ok(false);
        }
        let position = self.next_key();
        let entry = PublicEntry { position, since, jid: service.into(), node_name: node_name.into() };
        self.tables().public_subscriptions.put((account.into(), position), entry);
        Ok(true)
    }

    fn delete_public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool> {
        let found = self.public_subscription(account, service, node_name)?;
        let key = found.map(|entry| (account.into(), entry.position));
        Ok(key.is_some_and(|key| self.tables().public_subscriptions.take(&key).is_some()))
    }

    fn public_subscriptions(&mut self, account: &str, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>> {
        let of_account = self.tables().public_subscriptions.iter().filter(|((key, _), _)| **key == *account);
        Ok(page(of_account.map(|((_, position), entry)| (*position, entry.clone())).collect(), place, limit))
    }

    fn public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<PublicEntry>> {
        let mut of_account = self.tables().public_subscriptions.iter().filter(|((key, _), _)| **key == *account);
        let found = of_account.find(|(_, entry)| *entry.jid == *service && entry.node_name.as_str() == node_name);
        Ok(found.map(|(_, entry)| entry.clone()))
    }

    fn public_subscribers_since(&mut self, node: NodeKey, time: Timestamp) -> Result<Option<i64>> {
        let mut of_node = self.tables().public_subscribers.iter().filter(|((key, _), _)| *key == node);
        Ok(of_node.find(|(_, entry)| entry.since >= time).map(|((_, position), _)| *position))
    }

    fn public_subscriptions_since(&mut self, account: &str, time: Timestamp) -> Result<Option<i64>> {
        let mut of_account = self.tables().public_subscriptions.iter().filter(|((key, _), _)| **key == *account);
        Ok(of_account.find(|(_, entry)| entry.since >= time).map(|((_, position), _)| *position))
    }

    fn delete_public_subscriptions(&mut self, account: &str) -> Result<i64> {
        Ok(self.tables().public_subscriptions.take_if(|(key, _), _| **key == *account).len() as i64)
    }

    fn accounts_listing(&mut self, service: &str, node_name: &str) -> Result<Vec<Arc<str>>> {
        let listing = |entry: &PublicEntry| *entry.jid == *service && entry.node_name.as_str() == node_name;
        let entries = self.tables().public_subscriptions.iter().filter(|(_, entry)| listing(entry));
        let mut found: Vec<_> = entries.map(|((account, position), _)| (*position, account.clone())).collect();
        found.sort();
        Ok(found.into_iter().map(|(_, account)| account).collect())
    }

    fn put_pam_entry(&mut self, account: &str, entry: &PamEntry) -> Result<()> {
        let key = (account.into(), entry.service.clone(), entry.node_name.clone(), entry.subid.clone());
        self.tables().pam_entries.put(key, entry.clone());
        Ok(())
    }

    fn delete_pam_entry(&mut self, account: &str, service: &str, node_name: &str, subid: &str) -> Result<bool> {
        let key = (account.into(), service.into(), node_name.into(), subid.into());
        Ok(self.tables().pam_entries.take(&key).is_some())
    }

    fn pam_entries(&mut self, account: &str) -> Result<Vec<PamEntry>> {
        let of_account = self.tables().pam_entries.iter().filter(|(key, _)| *key.0 == *account);
        Ok(of_account.map(|(_, entry)| entry.clone()).collect())
    }

    fn pam_entries_for(&mut self, account: &str, service: &str, node_name: &str) -> Result<Vec<PamEntry>> {
        let mut found = self.pam_entries(account)?;
        found.retain(|entry| *entry.service == *service && entry.node_name.as_str() == node_name);
        Ok(found)
    }

    fn pam_services(&mut self, after: (&str, &str), limit: usize) -> Result<Vec<(String, String)>> {
        let mut pairs: Vec<(String, String)> =
            self.tables().pam_entries.keys().map(|key| (key.0.to_string(), key.1.to_string())).collect();
        pairs.dedup();
        pairs.retain(|(account, service)| (account.as_str(), service.as_str()) > after);
        pairs.truncate(limit);
        Ok(pairs)
    }

    fn pam_version(&mut self, account: &str) -> Result<i64> {
        Ok(self.tables().pam_versions.get(account).copied().unwrap_or(0))
    }

    fn set_pam_version(&mut self, account: &str, version: i64) -> Result<()> {
        self.tables().pam_versions.put(account.into(), version);
        Ok(())
    }

    fn put_intent(&mut self, intent: &Intent) -> Result<()> {
        self.tables().intents.put(intent.id.clone(), intent.clone());
        Ok(())
    }

    fn intent(&mut self, id: &str) -> Result<Option<Intent>> {
        Ok(self.tables().intents.get(id).cloned())
    }

    fn delete_intent(&mut self, id: &str) -> Result<()> {
        self.tables().intents.take(&id.into());
        Ok(())
    }

    fn intents_of(&mut self, account: &str) -> Result<Vec<Intent>> {
        Ok(self.tables().intents.values().filter(|intent| *intent.account == *account).cloned().collect())
    }

    fn overdue_intents(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Intent>> {
        let overdue = self.tables().intents.values().filter(|intent| intent.deadline <= now);
        let mut found: Vec<Intent> = overdue.cloned().collect();
        found.sort_by(|one, other| (one.deadline, &one.id).cmp(&(other.deadline, &other.id)));
        found.truncate(limit);
        Ok(found)
    }

    fn next_deadline(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables().intents.values().map(|intent| intent.deadline).min())
    }

    fn delete_pam_account(&mut self, account: &str) -> Result<()> {
        self.tables().pam_entries.take_if(|key, _| *key.0 == *account);
        self.tables().pam_versions.take(&account.into());
        self.tables().intents.take_if(|_, intent| *intent.account == *account);
        Ok(())
    }

    fn put_auto_subscription(&mut self, auto: &AutoSubscription) -> Result<()> {
        let key = (auto.account.clone(), auto.service.clone(), auto.node_name.clone());
        self.tables().auto_subscriptions.put(key, auto.clone());
        Ok(())
    }

    fn auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<AutoSubscription>> {
        Ok(self.tables().auto_subscriptions.get(&(account.into(), service.into(), node_name.into())).cloned())
    }

    fn auto_subscriptions(&mut self, account: &str) -> Result<Vec<AutoSubscription>> {
        let of_account = self.tables().auto_subscriptions.values().filter(|auto| *auto.account == *account);
        Ok(of_account.cloned().collect())
    }

    fn delete_auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool> {
        let key = (account.into(), service.into(), node_name.into());
        Ok(self.tables().auto_subscriptions.take(&key).is_some())
    }

    fn expired_auto_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<AutoSubscription>> {
        let expired = self.tables().auto_subscriptions.values().filter(|auto| auto.expire_at <= now);
        let mut expired: Vec<_> = expired.cloned().collect();
        expired.sort_by_key(|auto| auto.expire_at);
        expired.truncate(limit);
        Ok(expired)
    }

    fn next_auto_end(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables().auto_subscriptions.values().map(|auto| auto.expire_at).min())
    }

    fn insert_journal_entry(&mut self, account: &str, new: &NewJournalEntry<'_>, limits: JournalLimits) -> Result<()> {
        self.insert_into_journal(account, new, limits);
        Ok(())
    }

    fn last_journal_entry(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<JournalEntry>> {
        Ok(self.last_in_journal(account, service, node_name))
    }

    fn see_journal_entry(&mut self, entry: i64) -> Result<()> {
        self.see_in_journal(entry);
        Ok(())
    }

    fn journal(
        &mut self,
        account: &str,
        filter: &JournalFilter<'_>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<JournalEntry>> {
        Ok(page(self.journal_part(account, filter), place, limit))
    }

    fn delete_expired_journal(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        self.expire_journal(now, limit);
        Ok(())
    }

    fn next_journal_end(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables().journal.values().map(|kept| kept.expire_at).min())
    }

    fn delete_journal(&mut self, account: &str) -> Result<()> {
        self.tables().journal.take_if(|(owner, _), _| **owner == *account);
        Ok(())
    }

    fn capabilities(&mut self, hash: &str) -> Result<Option<Vec<String>>> {
        Ok(self.tables().capabilities.get(hash).map(|row| row.features.clone()))
    }

    fn put_capabilities(&mut self, hash: &str, features: &[String], learnt: Timestamp, keep: usize) -> Result<()> {
        let row = Capability { features: features.to_vec(), learnt, key: self.next_key() };
        self.tables().capabilities.put(hash.into(), row);
        let mut ages: Vec<_> = self.tables().capabilities.values().map(|row| (row.learnt, row.key)).collect();
        ages.sort_unstable();
        let old = ages.len().saturating_sub(keep);
        let kept_from = ages.get(old).copied();
        self.tables().capabilities.take_if(|_, row| kept_from.is_none_or(|from| (row.learnt, row.key) < from));
        Ok(())
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.tables().values.get(name).cloned())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<()> {
        self.tables().values.put(name.into(), value.to_owned());
        Ok(())
    }
}
