//! Services and nodes.

use std::sync::Arc;

use super::transaction::{Open, sql_limit};
use super::{rows, statements};
use crate::error::Result;
use crate::pubsub::store::{NodeKey, Service, ServiceKey};
use crate::pubsub::{Counters, Node, NodeConfig};
use crate::time::Timestamp;

pub(super) fn service(open: &mut Open<'_>, jid: &str) -> Result<Option<Service>> {
    open.optional(statements::SELECT_SERVICE, [jid], rows::service)
}

pub(super) fn insert_service(open: &mut Open<'_>, jid: &str) -> Result<Service> {
    open.execute(statements::INSERT_SERVICE, [jid])?;
    Ok(Service { key: ServiceKey(open.last_key()), jid: jid.into(), imported: false, nodes: 0, bytes: 0 })
}

pub(super) fn node(open: &mut Open<'_>, service: ServiceKey, name: &str) -> Result<Option<Node>> {
    let found = open.optional(statements::SELECT_NODE, (service.0, name), rows::node)?;
    found.map(|found| complete(open, found)).transpose()
}

pub(super) fn node_by_key(open: &mut Open<'_>, node: NodeKey) -> Result<Option<Node>> {
    let found = open.optional(statements::SELECT_NODE_BY_KEY, [node.0], rows::node)?;
    found.map(|found| complete(open, found)).transpose()
}

pub(super) fn nodes(open: &mut Open<'_>, service: ServiceKey, after: Option<&str>, limit: usize) -> Result<Vec<Node>> {
    let limit = sql_limit(limit);
    let found = match after {
        None => open.all(statements::SELECT_NODES, (service.0, limit), rows::node),
        Some(after) => open.all(statements::SELECT_NODES_AFTER, (service.0, limit, after), rows::node),
    }?;
    found.into_iter().map(|found| complete(open, found)).collect()
}

pub(super) fn to_sweep(open: &mut Open<'_>, now: Timestamp, limit: usize) -> Result<Vec<Node>> {
    let found = open.all(statements::SELECT_NODES_TO_SWEEP, (now.micros(), sql_limit(limit)), rows::node)?;
    found.into_iter().map(|found| complete(open, found)).collect()
}

/// Adds the options that have several values.
fn complete(open: &mut Open<'_>, (mut node, has_values): (Node, bool)) -> Result<Node> {
    if !has_values {
        return Ok(node);
    }
    let config = Arc::make_mut(&mut node.config);
    for (field, value) in open.all(statements::SELECT_NODE_VALUES, [node.key.0], rows::node_value)? {
        match field.as_str() {
            "contact" => config.contact.push(value),
            _ => config.roster_groups_allowed.push(value),
        }
    }
    Ok(node)
}

pub(super) fn insert(
    open: &mut Open<'_>,
    service: ServiceKey,
    name: &str,
    creator: &str,
    created: Timestamp,
    config: &Arc<NodeConfig>,
) -> Result<Node> {
    open.execute_bound(statements::INSERT_NODE, |statement| {
        statement.raw_bind_parameter(1, service.0)?;
        statement.raw_bind_parameter(2, name)?;
        statement.raw_bind_parameter(3, creator)?;
        statement.raw_bind_parameter(4, created.micros())?;
        rows::bind_config(statement, 5, config)
    })?;
    let key = NodeKey(open.last_key());
    open.execute(statements::INSERT_COUNTERS, [key.0])?;
    insert_values(open, key, config)?;
    open.execute(statements::DELETE_REDIRECT, (service.0, name))?;
    Ok(Node {
        key,
        service,
        name: name.into(),
        creator: creator.into(),
        created,
        config: Arc::clone(config),
        counters: Counters { next_seq: 1, ..Counters::default() },
    })
}

pub(super) fn update_config(open: &mut Open<'_>, node: NodeKey, config: &NodeConfig) -> Result<()> {
    let changed = open.execute_bound(statements::UPDATE_NODE, |statement| {
        statement.raw_bind_parameter(1, node.0)?;
        rows::bind_config(statement, 2, config)
    })?;
    if changed == 0 {
        return Ok(());
    }
    open.execute(statements::DELETE_NODE_VALUES, [node.0])?;
    insert_values(open, node, config)
}

fn insert_values(open: &mut Open<'_>, node: NodeKey, config: &NodeConfig) -> Result<()> {
    let lists = [("contact", &config.contact), ("roster_groups_allowed", &config.roster_groups_allowed)];
    for (field, values) in lists {
        for (value, position) in values.iter().zip(0i64..) {
            open.execute(statements::INSERT_NODE_VALUE, (node.0, field, position, value))?;
        }
    }
    Ok(())
}
