//! What is done to nodes and their items, whoever asks for it: creation, configuration, deletion, removal of items.

use std::sync::Arc;

use super::context::{Context, Handled, ServiceRef};
use super::event::Happened;
use super::notify::{Audience, Reach, retract_body};
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::config::{AccessModel, Limit};
use crate::pubsub::policy::{CreateNodes, Kind};
use crate::pubsub::store::Removed;
use crate::pubsub::{Affiliation, ItemId, Node, NodeConfig};
use crate::stanza::{Condition, ErrorType, PubsubCondition, StanzaError};
use crate::time::Timestamp;
use crate::xml::Writer;

/// Bytes of the name of a node, of an item or of a place that a node has moved to: as many as an address may have. None of
/// them counts against `max_bytes`.
const MAX_NAME: usize = 3_071;

/// Bytes of a node's configuration.
const MAX_CONFIG: usize = 64 * 1024;

fn too_long(what: &str) -> StanzaError {
    StanzaError::new(Condition::NotAcceptable).text(format!("the {what} is too long"))
}

/// Refuses a name that is too long to be kept.
pub(crate) fn check_name(what: &str, name: &str) -> Handled<()> {
    if name.len() > MAX_NAME { Err(too_long(what).into()) } else { Ok(()) }
}

fn check_config(config: &NodeConfig) -> Handled<()> {
    if config.weight() > MAX_CONFIG { Err(too_long("configuration").into()) } else { Ok(()) }
}

/// In a room there is one access model: being there.
fn check_model(service: &ServiceRef, config: &NodeConfig) -> Handled<()> {
    if !service.in_room() || config.access_model == AccessModel::Presence {
        return Ok(());
    }
    let error = StanzaError::new(Condition::NotAcceptable).with(PubsubCondition::UnsupportedAccessModel);
    Err(error.text("nodes in rooms are for those who are there").into())
}

impl Context<'_> {
    /// Whether somebody may create nodes (section 8.1.1).
    pub(crate) fn check_create(&mut self, service: &ServiceRef, who: &BareJid) -> Handled<()> {
        if self.privileged || service.is_owner(who.as_str()) || (service.in_room() && self.asker.own) {
            return Ok(());
        }
        let local = || self.hosts.get(who.domain()).is_some_and(|host| host.policy.kind == Kind::Account);
        let allowed = !service.is_personal()
            && match service.policy().create_nodes {
                CreateNodes::Anyone => true,
                CreateNodes::Local if local() => true,
                CreateNodes::Local | CreateNodes::Admins => self.is_admin(who.as_str(), service)?,
            };
        if allowed { Ok(()) } else { Err(StanzaError::new(Condition::Forbidden).into()) }
    }

    /// Makes a node that is known to be missing.
    pub(crate) fn create_node(
        &mut self,
        service: &ServiceRef,
        name: &str,
        config: NodeConfig,
        actor: &Jid,
    ) -> Handled<Node> {
        check_name("name of the node", name)?;
        check_config(&config)?;
        let row = self.make_service(service)?;
        if row.nodes >= i64::from(service.policy().max_nodes) {
            let error = StanzaError::new(Condition::ResourceConstraint).with(PubsubCondition::MaxNodesExceeded);
            return Err(error.text("the account has as many nodes as it may have").into());
        }
        let now = self.now;
        check_model(service, &service.governed(name, config.clone()))?;
        let creator = if service.in_room() { service.jid.clone() } else { actor.to_bare() };
        let node = self.change().insert_node(row.key, name, creator.as_str(), now, &Arc::new(config))?;
        if !service.is_personal() {
            self.change().set_affiliation(node.key, creator.as_str(), Affiliation::Owner)?;
        }
        let node = service.govern(node);
        self.memory.cache.insert_node(node.clone());
        self.count_in_service(service, |row| row.nodes += 1)?;
        self.happened(&Happened::NodeCreated { service, node: &node, actor })?;
        Ok(node)
    }

    /// Removes a node with all that is in it and tells its subscribers (section 8.4.2).
    pub(crate) fn delete_node(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        redirect: Option<&str>,
        actor: &Jid,
    ) -> Handled<()> {
        if let Some(uri) = redirect {
            check_name("new place", uri)?;
            if self.store().count_redirects(node.service)? >= i64::from(service.policy().max_nodes) {
                let error = StanzaError::new(Condition::ResourceConstraint);
                return Err(error.text("the account has moved as many nodes as it may have").into());
            }
        }
        if node.config.notify_delete {
            let audience = self.audience(service, node, Reach::Everyone)?;
            let mut writer = Writer::new();
            writer.start("delete").attr("node", node.name.as_str());
            if let Some(uri) = redirect {
                writer.start("redirect").attr("uri", uri).end();
            }
            self.notify(service, node, audience, &writer.finish(), None);
        }
        self.end_all_subscriptions(service, node)?;
        self.happened(&Happened::NodeDeleted { service, node, actor })?;
        self.memory.cache.remove_node(node.service, node.name.as_str());
        let removed = self.change().delete_node(node.key)?;
        if let Some(uri) = redirect {
            self.change().set_redirect(node.service, node.name.as_str(), uri)?;
        }
        self.count_in_service(service, |row| {
            row.nodes -= 1;
            row.bytes -= removed.bytes;
        })
    }

    /// Takes account of items that were removed from a node.
    pub(crate) fn count_removed(&mut self, service: &ServiceRef, node: &Node, removed: Removed) -> Handled<()> {
        if removed == Removed::default() {
            return Ok(());
        }
        self.count(node, |counters| counters.items -= removed.items)?;
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str()) {
            cached.last = None;
        }
        self.count_in_service(service, |row| row.bytes -= removed.bytes)
    }

    /// Tells that items were removed.
    pub(crate) fn tell_retracted(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        ids: &[ItemId],
        notify: bool,
        actor: &Jid,
    ) -> Handled<()> {
        if ids.is_empty() {
            return Ok(());
        }
        if notify {
            let audience = self.audience(service, node, Reach::Subscribed)?;
            if audience != Audience::default() {
                let body = retract_body(node.name.as_str(), ids.iter().map(ItemId::as_str));
                self.notify(service, node, audience, &body, None);
            }
        }
        self.happened(&Happened::ItemsRetracted { service, node, ids, actor })
    }

    /// Removes all items (section 8.5).
    pub(crate) fn purge_node(&mut self, service: &ServiceRef, node: &Node, actor: &Jid) -> Handled<()> {
        if !node.config.persist_items {
            let error = StanzaError::new(Condition::FeatureNotImplemented);
            return Err(error.with(PubsubCondition::Unsupported("persistent-items")).into());
        }
        if node.config.notify_retract {
            let audience = self.audience(service, node, Reach::Subscribed)?;
            let mut writer = Writer::new();
            writer.start("purge").attr("node", node.name.as_str());
            self.notify(service, node, audience, &writer.finish(), None);
        }
        let removed = self.change().delete_all_items(node.key)?;
        self.count_removed(service, node, removed)?;
        self.count(node, |counters| counters.sweep_at = None)?;
        self.happened(&Happened::NodePurged { service, node, actor })
    }

    /// Gives a node other options (section 8.2.5), with all that follows from them. What is forced on it stays as it is.
    pub(crate) fn reconfigure(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        config: NodeConfig,
        actor: &Jid,
    ) -> Handled<Node> {
        let changed = Node { config: Arc::new(service.governed(node.name.as_str(), config)), ..node.clone() };
        if *changed.config == *node.config {
            return Ok(changed);
        }
        check_config(&changed.config)?;
        check_model(service, &changed.config)?;
        let model_changed = changed.config.access_model != node.config.access_model
            || changed.config.roster_groups_allowed != node.config.roster_groups_allowed;
        // Facts first: both audiences are asked for before anything is written.
        let told = self.audience(service, &changed, Reach::Subscribed)?;
        let stored = self.own_config(service, node, &changed.config)?;
        self.change().update_node_config(node.key, &stored)?;
        self.forget_audience(node);
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str()) {
            cached.node.config = changed.config.clone();
            self.memory.cache.reweigh(node.service, node.name.as_str());
        }
        if changed.config.notify_config {
            let mut writer = Writer::new();
            writer.start("configuration").attr("node", node.name.as_str());
            if changed.config.deliver_payloads {
                crate::xep::options::write_config_form(&mut writer, "result", &changed.config, ns::NODE_CONFIG);
            }
            self.notify(service, &changed, told, &writer.finish(), None);
        }
        if model_changed {
            self.end_forbidden_subscriptions(service, &changed, None)?;
            self.send_newly_wanted(service, &changed)?;
        }
        if !changed.config.persist_items && node.config.persist_items {
            let removed = self.change().delete_all_items(node.key)?;
            self.count_removed(service, &changed, removed)?;
        }
        self.make_room(service, &changed, actor)?;
        if changed.config.item_expire != node.config.item_expire {
            self.plan_sweep(&changed)?;
        }
        self.happened(&Happened::ConfigChanged { service, node: &changed, actor })?;
        Ok(changed)
    }

    /// What is to be stored of a node's configuration: what is forced on it now is not the owner's own wish.
    fn own_config(&mut self, service: &ServiceRef, node: &Node, config: &Arc<NodeConfig>) -> Handled<Arc<NodeConfig>> {
        let name = node.name.as_str();
        if !service.forces(name) {
            return Ok(config.clone());
        }
        let mut own = config.as_ref().clone();
        if let Some(stored) = self.store().node_by_key(node.key)? {
            service.policy().forced.take_back(name, &mut own, &stored.config);
        }
        Ok(Arc::new(own))
    }

    /// Sends the last item to interested resources that the access model now admits (section 12.2).
    fn send_newly_wanted(&mut self, service: &ServiceRef, node: &Node) -> Handled<()> {
        let wanting: Vec<_> = self
            .memory
            .presences
            .everyone(&service.name)
            .flat_map(|(bare, resources)| {
                let wanting = resources.iter().filter(|(_, resource)| resource.wants(node.name.as_str()));
                wanting.filter_map(move |(name, _)| crate::jid::FullJid::parse(&format!("{bare}/{name}")).ok())
            })
            .collect();
        let mut all = true;
        for jid in &wanting {
            self.gather(|context| context.send_wanted_items(service, jid), &mut all)?;
        }
        if all { Ok(()) } else { Err(super::context::Stop::Need) }
    }

    /// Removes the oldest of the items that are too many (section 7.1.2.5).
    pub(crate) fn make_room(&mut self, service: &ServiceRef, node: &Node, actor: &Jid) -> Handled<()> {
        let capacity = i64::from(node.config.max_items.or_max(service.policy().max_items));
        let present = self.count(node, |_| {})?.items;
        let surplus = present - capacity;
        if surplus <= 0 {
            return Ok(());
        }
        let mut ids = Vec::new();
        let removed = self.change().delete_oldest_items(node.key, surplus, &mut ids)?;
        self.count_removed(service, node, removed)?;
        let retract = node.config.publish_node_full == crate::pubsub::config::PublishNodeFull::RetractOldest;
        // A singleton is overwritten by nature: nobody wants to hear that the old value is gone.
        let notify = retract && node.config.notify_retract && capacity > 1;
        self.tell_retracted(service, node, &ids, notify, actor)
    }

    /// Notes when the oldest item of the node expires.
    pub(crate) fn plan_sweep(&mut self, node: &Node) -> Handled<()> {
        let Limit::Of(seconds @ 1..) = node.config.item_expire else {
            self.count(node, |counters| counters.sweep_at = None)?;
            return Ok(());
        };
        let counters = self.count(node, |_| {})?;
        let oldest = self.store().items(node.key, &counters, None, crate::pubsub::store::Place::First, 1)?;
        let due = oldest.rows.first().map(|item| item.published.plus_seconds(i64::from(seconds)));
        self.count(node, |counters| counters.sweep_at = due)?;
        if let Some(due) = due {
            self.wake_at(due);
        }
        Ok(())
    }

    /// Removes what has expired in one node; the owner of the service is the one who does it.
    pub(crate) fn sweep_node(&mut self, service: &ServiceRef, node: &Node, limit: i64) -> Handled<()> {
        if let Some(until) = self.live_after(node) {
            let actor = Jid::Bare(service.jid.clone());
            if node.config.notify_retract {
                self.audience(service, node, Reach::Subscribed)?;
            }
            let mut ids = Vec::new();
            let removed = self.change().delete_expired_items(node.key, until, limit, &mut ids)?;
            self.count_removed(service, node, removed)?;
            self.tell_retracted(service, node, &ids, node.config.notify_retract, &actor)?;
        }
        self.plan_sweep(node)
    }

    /// Notes that the item published now expires, if nothing is noted yet.
    pub(crate) fn expect_expiry(&mut self, node: &Node, published: Timestamp) -> Handled<()> {
        if let Limit::Of(seconds @ 1..) = node.config.item_expire {
            let due = published.plus_seconds(i64::from(seconds));
            self.count(node, |counters| counters.sweep_at = Some(counters.sweep_at.map_or(due, |at| at.min(due))))?;
            self.wake_at(due);
        }
        Ok(())
    }

    /// Refuses what the account's quota does not hold.
    pub(crate) fn check_quota(&mut self, service: &ServiceRef, more: usize) -> Handled<()> {
        let used = self.stored_service(service)?.map_or(0, |row| u64::try_from(row.bytes).unwrap_or(0));
        if used.saturating_add(more as u64) > service.policy().max_bytes {
            let error = StanzaError::new(Condition::ResourceConstraint).of_type(ErrorType::Wait);
            return Err(error.text("the account has used up its storage").into());
        }
        Ok(())
    }
}
