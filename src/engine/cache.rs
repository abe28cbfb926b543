//! What is kept in memory of services and nodes, with a byte budget.
//!
//! The cache is a projection of the store, written in the same transaction. Counters change here first and are written
//! once per transaction ([`Cache::dirty`]); a rollback simply forgets everything.

use std::collections::HashMap;
use std::sync::Arc;

use super::audience::KnownAudience;
use crate::pubsub::store::{Service, ServiceKey};
use crate::pubsub::{Affiliation, Item, Node, NodeName};

/// Affiliations remembered per node.
const MAX_AFFILIATIONS: usize = 4_096;

/// A node with what was read along with it.
#[derive(Debug)]
pub(crate) struct CachedNode {
    pub(crate) node: Node,
    pub(crate) affiliations: HashMap<Arc<str>, Affiliation>,
    /// Literal JIDs of the subscribers that get every event, where nothing but the store decides it.
    pub(crate) audience: Option<KnownAudience>,
    /// The newest item, if it was written or read lately.
    pub(crate) last: Option<Arc<Item>>,
    dirty: bool,
    used: u64,
    weight: usize,
}

#[derive(Debug)]
struct CachedService {
    service: Service,
    dirty: bool,
    used: u64,
}

/// The cache of one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    services: HashMap<Arc<str>, CachedService>,
    nodes: HashMap<ServiceKey, HashMap<NodeName, CachedNode>>,
    dirty_nodes: Vec<(ServiceKey, NodeName)>,
    dirty_services: Vec<Arc<str>>,
    bytes: usize,
    budget: usize,
    clock: u64,
}

impl Cache {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            services: HashMap::new(),
            nodes: HashMap::new(),
            dirty_nodes: Vec::new(),
            dirty_services: Vec::new(),
            bytes: 0,
            budget,
            clock: 0,
        }
    }

    /// Bytes in use, by estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn service(&mut self, jid: &str) -> Option<&Service> {
        self.clock += 1;
        let cached = self.services.get_mut(jid)?;
        cached.used = self.clock;
        Some(&cached.service)
    }

    pub(crate) fn insert_service(&mut self, service: Service) {
        self.bytes += weight_of_service(&service);
        let cached = CachedService { service, dirty: false, used: self.clock };
        if let Some(old) = self.services.insert(cached.service.jid.clone(), cached) {
            self.bytes -= weight_of_service(&old.service);
        }
    }

    /// The service, for changing its counters.
    pub(crate) fn change_service(&mut self, jid: &str) -> Option<&mut Service> {
        let cached = self.services.get_mut(jid)?;
        if !cached.dirty {
            cached.dirty = true;
            self.dirty_services.push(cached.service.jid.clone());
        }
        Some(&mut cached.service)
    }

    pub(crate) fn remove_service(&mut self, jid: &str) {
        if let Some(old) = self.services.remove(jid) {
            self.bytes -= weight_of_service(&old.service);
            let nodes = self.nodes.remove(&old.service.key);
            self.bytes -= nodes.into_iter().flatten().map(|(_, node)| node.weight).sum::<usize>();
        }
    }

    pub(crate) fn node(&mut self, service: ServiceKey, name: &str) -> Option<&mut CachedNode> {
        self.clock += 1;
        let cached = self.nodes.get_mut(&service)?.get_mut(name)?;
        cached.used = self.clock;
        Some(cached)
    }

    pub(crate) fn insert_node(&mut self, node: Node) {
        let (service, name) = (node.service, node.name.clone());
        let mut cached = CachedNode {
            node,
            affiliations: HashMap::new(),
            audience: None,
            last: None,
            dirty: false,
            used: self.clock,
            weight: 0,
        };
        cached.weight = weigh(&cached);
        self.bytes += cached.weight;
        if let Some(old) = self.nodes.entry(service).or_default().insert(name, cached) {
            self.bytes -= old.weight;
        }
    }

    /// The node, for changing its counters.
    pub(crate) fn change_node(&mut self, service: ServiceKey, name: &NodeName) -> Option<&mut CachedNode> {
        let cached = self.nodes.get_mut(&service)?.get_mut(name)?;
        if !cached.dirty {
            cached.dirty = true;
            self.dirty_nodes.push((service, name.clone()));
        }
        Some(cached)
    }

    /// Takes account of what was added to a cached node.
    pub(crate) fn reweigh(&mut self, service: ServiceKey, name: &str) {
        if let Some(cached) = self.nodes.get_mut(&service).and_then(|nodes| nodes.get_mut(name)) {
            self.bytes -= cached.weight;
            cached.weight = weigh(cached);
            self.bytes += cached.weight;
        }
    }

    /// Remembers how somebody stands to a cached node.
    pub(crate) fn put_affiliation(&mut self, service: ServiceKey, name: &str, bare: &str, affiliation: Affiliation) {
        let Some(cached) = self.nodes.get_mut(&service).and_then(|nodes| nodes.get_mut(name)) else { return };
        if cached.affiliations.len() >= MAX_AFFILIATIONS {
            let forgotten = cached.affiliations.drain().map(|(jid, _)| weight_of_affiliation(&jid)).sum::<usize>();
            cached.weight -= forgotten;
            self.bytes -= forgotten;
        }
        if cached.affiliations.insert(bare.into(), affiliation).is_none() {
            cached.weight += weight_of_affiliation(bare);
            self.bytes += weight_of_affiliation(bare);
        }
    }

    pub(crate) fn remove_node(&mut self, service: ServiceKey, name: &str) {
        if let Some(old) = self.nodes.get_mut(&service).and_then(|nodes| nodes.remove(name)) {
            self.bytes -= old.weight;
        }
    }

    /// What has to be written before the commit.
    pub(crate) fn dirty(&mut self) -> (Vec<Node>, Vec<Service>) {
        let mut nodes = Vec::with_capacity(self.dirty_nodes.len());
        for (service, name) in self.dirty_nodes.drain(..) {
            if let Some(cached) = self.nodes.get_mut(&service).and_then(|nodes| nodes.get_mut(&name)) {
                cached.dirty = false;
                nodes.push(cached.node.clone());
            }
        }
        let mut services = Vec::with_capacity(self.dirty_services.len());
        for jid in self.dirty_services.drain(..) {
            if let Some(cached) = self.services.get_mut(&jid) {
                cached.dirty = false;
                services.push(cached.service.clone());
            }
        }
        (nodes, services)
    }

    /// Forgets everything: the store says something else now.
    pub(crate) fn clear(&mut self) {
        *self = Self { clock: self.clock, ..Self::new(self.budget) };
    }

    /// Drops what was not used for longest until the budget is kept. Only between transactions.
    pub(crate) fn shrink(&mut self) {
        if self.bytes <= self.budget {
            return;
        }
        let mut ages: Vec<u64> = self.nodes.values().flatten().map(|(_, node)| node.used).collect();
        ages.extend(self.services.values().map(|service| service.used));
        // Half of the entries go at once, so that the cost of looking is shared by many.
        let middle = ages.len() / 2;
        let (_, &mut median, _) = ages.select_nth_unstable(middle);
        for nodes in self.nodes.values_mut() {
            nodes.retain(|_, node| node.used > median);
        }
        self.nodes.retain(|_, nodes| !nodes.is_empty());
        self.services.retain(|_, service| service.used > median);
        self.bytes = self.nodes.values().flatten().map(|(_, node)| node.weight).sum::<usize>()
            + self.services.values().map(|service| weight_of_service(&service.service)).sum::<usize>();
        if self.bytes > self.budget {
            self.clear();
        }
    }
}

fn weight_of_service(service: &Service) -> usize {
    size_of::<CachedService>() + service.jid.len() + 48
}

fn weight_of_affiliation(bare: &str) -> usize {
    bare.len() + 48
}

fn weigh(cached: &CachedNode) -> usize {
    let affiliations = cached.affiliations.keys().map(|jid| weight_of_affiliation(jid)).sum::<usize>();
    let audience = cached.audience.as_ref().map_or(0, KnownAudience::weight);
    let last = cached.last.as_ref().map_or(0, |item| item.payload.len() + 128);
    size_of::<CachedNode>()
        + cached.node.name.as_str().len() * 2
        + cached.node.config.weight()
        + affiliations
        + audience
        + last
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Cache, MAX_AFFILIATIONS};
    use crate::pubsub::store::{NodeKey, ServiceKey};
    use crate::pubsub::{Affiliation, Counters, Node, NodeConfig};
    use crate::time::Timestamp;

    fn node(number: i64) -> Node {
        Node {
            key: NodeKey(number),
            service: ServiceKey(1),
            name: format!("node{number}").into(),
            creator: "a@b".into(),
            created: Timestamp::from_micros(0),
            config: Arc::new(NodeConfig::account()),
            counters: Counters::default(),
        }
    }

    #[test]
    fn the_budget_is_kept_and_the_recent_stays() {
        let mut cache = Cache::new(20_000);
        for number in 0..100 {
            cache.insert_node(node(number));
            cache.node(ServiceKey(1), &format!("node{number}"));
            cache.shrink();
            assert!(cache.bytes() <= 20_000);
        }
        assert!(cache.node(ServiceKey(1), "node99").is_some());
        assert!(cache.node(ServiceKey(1), "node0").is_none());
        cache.clear();
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn affiliations_have_their_weight_and_their_limit() {
        let mut cache = Cache::new(10_000_000);
        cache.insert_node(node(1));
        let empty = cache.bytes();
        for number in 0..3 * MAX_AFFILIATIONS {
            for _ in 0..2 {
                cache.put_affiliation(ServiceKey(1), "node1", &format!("user{number}@a.example"), Affiliation::None);
            }
            let known = cache.node(ServiceKey(1), "node1").expect("cached").affiliations.len();
            assert!((1..=MAX_AFFILIATIONS).contains(&known) && cache.bytes() >= empty + known * 60);
        }
        let bytes = cache.bytes();
        cache.reweigh(ServiceKey(1), "node1");
        assert_eq!(cache.bytes(), bytes);
        cache.remove_node(ServiceKey(1), "node1");
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn counters_are_written_once() {
        let mut cache = Cache::new(1_000_000);
        let node = node(1);
        cache.insert_node(node.clone());
        for _ in 0..3 {
            cache.change_node(ServiceKey(1), &node.name).expect("cached").node.counters.items += 1;
        }
        let (nodes, services) = cache.dirty();
        assert_eq!((nodes.len(), nodes[0].counters.items, services.len()), (1, 3, 0));
        assert!(cache.dirty().0.is_empty());
    }
}
