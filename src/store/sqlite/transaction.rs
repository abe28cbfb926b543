//! The one write transaction: how statements run in it, and which part of the store answers which method.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, Params, Row, Statement};

use super::{failed, items, journal, lists, nodes, pam, rows, statements, subscriptions};
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::{
    AutoSubscription, Intent, JournalEntry, JournalFilter, JournalLimits, NewJournalEntry, NewSubscription, NodeKey,
    Page, PamEntry, Place, PlacedSubscription, PublicEntry, Removed, Service, ServiceKey, Subscriber, SubscriptionKey,
    Transaction,
};
use crate::pubsub::{Affiliation, Counters, Item, ItemId, Node, NodeConfig, NodeName, Subscription};
use crate::time::Timestamp;

/// An open transaction.
pub(super) struct Open<'a> {
    connection: &'a Connection,
    state: State,
    /// What has run in this transaction: looking each up by its text every time costs more than many of them.
    statements: Vec<(&'static str, CachedStatement<'a>)>,
    pub(super) recent: items::Recent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// SQLite has rolled everything back by itself, as it does when the disk is full. Statements would be
    /// transactions of their own now, so none may run.
    Lost,
    Committed,
}

impl<'a> Open<'a> {
    /// Begins a transaction, with [`statements::BEGIN`] or [`statements::BEGIN_READING`].
    pub(super) fn begin(connection: &'a Connection, how: &'static str) -> Result<Self> {
        let mut open =
            Self { connection, state: State::Lost, statements: Vec::new(), recent: items::Recent::default() };
        connection.prepare_cached(how).and_then(|mut begin| begin.raw_execute()).map_err(failed)?;
        open.state = State::Open;
        Ok(open)
    }

    fn must_be_open(&self) -> Result<()> {
        if self.state != State::Open {
            return Err(Error::new(ErrorKind::Store, "the transaction was rolled back after a failure"));
        }
        Ok(())
    }

    /// Runs a statement; it is reset afterwards, and keeps what was bound to it until it is run again.
    fn run<T>(
        &mut self,
        sql: &'static str,
        run: impl FnOnce(&mut CachedStatement<'a>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.must_be_open()?;
        if let Some((_, statement)) =
            self.statements.iter_mut().find(|(known, _)| std::ptr::eq(*known, sql) || *known == sql)
        {
            return run(statement).map_err(|error| self.note(error));
        }
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.note(error))?;
        let result = run(&mut statement);
        self.statements.push((sql, statement));
        result.map_err(|error| self.note(error))
    }

    fn note(&mut self, error: rusqlite::Error) -> Error {
        if self.connection.is_autocommit() {
            self.state = State::Lost;
        }
        failed(error)
    }

    /// Runs a statement without values that gives no rows.
    fn control(&mut self, sql: &'static str) -> Result<()> {
        self.run(sql, |statement| statement.raw_execute().map(drop))
    }

    /// Runs a statement that changes rows; how many it changed.
    pub(super) fn execute(&mut self, sql: &'static str, params: impl Params) -> Result<usize> {
        self.run(sql, |statement| statement.execute(params))
    }

    /// The same, for a statement with more parameters than a tuple has.
    pub(super) fn execute_bound(
        &mut self,
        sql: &'static str,
        bind: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<()>,
    ) -> Result<usize> {
        self.run(sql, |statement| {
            statement.clear_bindings();
            bind(statement)?;
            statement.raw_execute()
        })
    }

    /// The first row, if there is one.
    pub(super) fn optional<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.run(sql, |statement| statement.query(params)?.next()?.map(read).transpose())
    }

    /// The row of a statement that always gives one.
    pub(super) fn one<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.run(sql, |statement| statement.query_row(params, read))
    }

    /// Every row.
    pub(super) fn all<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.run(sql, |statement| statement.query_map(params, read)?.collect())
    }

    /// The key of the row that was inserted last.
    pub(super) fn last_key(&self) -> i64 {
        self.connection.last_insert_rowid()
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.state != State::Open {
            return;
        }
        let rolled_back =
            self.connection.prepare_cached(statements::ROLLBACK).and_then(|mut rollback| rollback.raw_execute());
        if let Err(error) = rolled_back {
            log::error!("{}", failed(error));
        }
    }
}

/// For `LIMIT`.
pub(super) fn sql_limit(limit: impl TryInto<i64>) -> i64 {
    limit.try_into().unwrap_or(i64::MAX)
}

impl Transaction for Open<'_> {
    fn commit(mut self: Box<Self>) -> Result<()> {
        items::settle(&mut self)?;
        self.control(statements::COMMIT)?;
        self.state = State::Committed;
        Ok(())
    }

    fn service(&mut self, jid: &str) -> Result<Option<Service>> {
        nodes::service(self, jid)
    }

    fn service_jid(&mut self, service: ServiceKey) -> Result<Option<Arc<str>>> {
        self.optional(statements::SELECT_SERVICE_JID, [service.0], rows::text)
    }

    fn services_between(&mut self, from: &str, to: &str, limit: usize) -> Result<Vec<Service>> {
        self.all(statements::SELECT_SERVICES_BETWEEN, (from, to, sql_limit(limit)), rows::service)
    }

    fn insert_service(&mut self, jid: &str) -> Result<Service> {
        nodes::insert_service(self, jid)
    }

    fn update_service(&mut self, service: &Service) -> Result<()> {
        let values = (service.key.0, service.imported, service.nodes, service.bytes);
        self.execute(statements::UPDATE_SERVICE, values).map(drop)
    }

    fn delete_service(&mut self, service: ServiceKey) -> Result<()> {
        self.execute(statements::DELETE_SERVICE, [service.0]).map(drop)
    }

    fn node(&mut self, service: ServiceKey, name: &str) -> Result<Option<Node>> {
        nodes::node(self, service, name)
    }

    fn node_by_key(&mut self, node: NodeKey) -> Result<Option<Node>> {
        nodes::node_by_key(self, node)
    }

    fn insert_node(
        &mut self,
        service: ServiceKey,
        name: &str,
        creator: &str,
        created: Timestamp,
        config: &Arc<NodeConfig>,
    ) -> Result<Node> {
        nodes::insert(self, service, name, creator, created, config)
    }

    fn update_node_config(&mut self, node: NodeKey, config: &NodeConfig) -> Result<()> {
        nodes::update_config(self, node, config)
    }

    fn update_node_counters(&mut self, node: NodeKey, counters: &Counters) -> Result<()> {
        let sweep_at = counters.sweep_at.map(Timestamp::micros);
        let values = (node.0, counters.next_seq, counters.items, counters.subscribers, sweep_at);
        self.execute(statements::UPDATE_COUNTERS, values).map(drop)
    }

    fn delete_node(&mut self, node: NodeKey) -> Result<Removed> {
        // The range first: the cascade would look for each item by its id.
        let removed = items::delete_all(self, node)?;
        self.execute(statements::DELETE_NODE, [node.0])?;
        Ok(removed)
    }

    fn nodes(&mut self, service: ServiceKey, after: Option<&str>, limit: usize) -> Result<Vec<Node>> {
        nodes::nodes(self, service, after, limit)
    }

    fn nodes_to_sweep(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Node>> {
        nodes::to_sweep(self, now, limit)
    }

    fn next_sweep(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.optional(statements::SELECT_NEXT_SWEEP, (), rows::optional_time)?.flatten())
    }

    fn set_redirect(&mut self, service: ServiceKey, name: &str, uri: &str) -> Result<()> {
        self.execute(statements::UPSERT_REDIRECT, (service.0, name, uri)).map(drop)
    }

    fn count_redirects(&mut self, service: ServiceKey) -> Result<i64> {
        Ok(self.optional(statements::COUNT_REDIRECTS, (service.0,), rows::number)?.unwrap_or_default())
    }

    fn redirect(&mut self, service: ServiceKey, name: &str) -> Result<Option<String>> {
        self.optional(statements::SELECT_REDIRECT, (service.0, name), rows::string)
    }

    fn add_item(&mut self, node: NodeKey, item: &Item) -> Result<bool> {
        items::add(self, node, item)
    }

    fn item(&mut self, node: NodeKey, id: &str, live_after: Option<Timestamp>) -> Result<Option<Item>> {
        items::item(self, node, id, live_after)
    }

    fn last_item(&mut self, node: NodeKey, live_after: Option<Timestamp>) -> Result<Option<Item>> {
        items::last(self, node, live_after)
    }

    fn delete_item(&mut self, node: NodeKey, id: &str) -> Result<Removed> {
        items::delete(self, node, id)
    }

    fn delete_oldest_items(&mut self, node: NodeKey, count: i64, removed: &mut Vec<ItemId>) -> Result<Removed> {
        items::delete_oldest(self, node, count, removed)
    }

    fn delete_expired_items(
        &mut self,
        node: NodeKey,
        until: Timestamp,
        limit: i64,
        removed: &mut Vec<ItemId>,
    ) -> Result<Removed> {
        items::delete_expired(self, node, until, limit, removed)
    }

    fn delete_all_items(&mut self, node: NodeKey) -> Result<Removed> {
        items::delete_all(self, node)
    }

    fn delete_items_of(&mut self, node: NodeKey, publisher: &str, removed: &mut Vec<ItemId>) -> Result<Removed> {
        items::delete_of(self, node, publisher, removed)
    }

    fn items(
        &mut self,
        node: NodeKey,
        counters: &Counters,
        live_after: Option<Timestamp>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<Item>> {
        items::page(self, node, counters, live_after, place, limit)
    }

    fn affiliation(&mut self, node: NodeKey, jid: &str) -> Result<Affiliation> {
        let stored = self.optional(statements::SELECT_AFFILIATION, (node.0, jid), rows::affiliation)?;
        Ok(stored.unwrap_or(Affiliation::None))
    }

    fn set_affiliation(&mut self, node: NodeKey, jid: &str, affiliation: Affiliation) -> Result<()> {
        match affiliation {
            Affiliation::None => self.execute(statements::DELETE_AFFILIATION, (node.0, jid)),
            _ => self.execute(statements::UPSERT_AFFILIATION, (node.0, jid, affiliation.as_str())),
        }
        .map(drop)
    }

    fn affiliations(&mut self, node: NodeKey) -> Result<Vec<(Arc<str>, Affiliation)>> {
        self.all(statements::SELECT_AFFILIATIONS, [node.0], rows::affiliation_of_jid)
    }

    fn affiliations_of(&mut self, service: ServiceKey, jid: &str) -> Result<Vec<(NodeName, Affiliation)>> {
        self.all(statements::SELECT_AFFILIATIONS_OF, (service.0, jid), rows::affiliation_with_node)
    }

    fn insert_subscription(&mut self, new: &NewSubscription<'_>) -> Result<SubscriptionKey> {
        subscriptions::insert(self, new)
    }

    fn update_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        subscriptions::update(self, subscription)
    }

    fn delete_subscription(&mut self, subscription: SubscriptionKey) -> Result<()> {
        self.execute(statements::DELETE_SUBSCRIPTION, [subscription.0]).map(drop)
    }

    fn subscriptions_to(&mut self, node: NodeKey, bare: &str) -> Result<Vec<Subscription>> {
        self.all(statements::SELECT_SUBSCRIPTIONS_TO, (node.0, bare), rows::subscription)
    }

    fn subscription_by_roomnick(&mut self, node: NodeKey, roomnick: &str) -> Result<Option<Subscription>> {
        self.optional(statements::SELECT_SUBSCRIPTION_BY_ROOMNICK, (node.0, roomnick), rows::subscription)
    }

    fn subscriptions(
        &mut self,
        node: NodeKey,
        after: Option<SubscriptionKey>,
        limit: usize,
    ) -> Result<Vec<Subscription>> {
        let after = after.map_or(0, |key| key.0);
        self.all(statements::SELECT_SUBSCRIPTIONS, (node.0, after, sql_limit(limit)), rows::subscription)
    }

    fn subscribers(&mut self, node: NodeKey, after: Option<SubscriptionKey>, limit: usize) -> Result<Vec<Subscriber>> {
        let after = after.map_or(0, |key| key.0);
        self.all(statements::SELECT_SUBSCRIBERS, (node.0, after, sql_limit(limit)), rows::subscriber)
    }

    fn pending_subscriptions(&mut self, node: NodeKey) -> Result<Vec<Subscription>> {
        self.all(statements::SELECT_PENDING, [node.0], rows::subscription)
    }

    fn nodes_with_pending(&mut self, service: ServiceKey) -> Result<Vec<NodeName>> {
        self.all(statements::SELECT_NODES_WITH_PENDING, [service.0], rows::node_name)
    }

    fn subscriptions_of(&mut self, bare: &str, service: Option<ServiceKey>) -> Result<Vec<PlacedSubscription>> {
        match service {
            None => self.all(statements::SELECT_SUBSCRIPTIONS_OF, [bare], rows::placed_subscription),
            Some(key) => self.all(statements::SELECT_SUBSCRIPTIONS_OF_AT, (bare, key.0), rows::placed_subscription),
        }
    }

    fn count_subscriptions_of(&mut self, bare: &str, service: ServiceKey) -> Result<i64> {
        let counted = self.optional(statements::COUNT_SUBSCRIPTIONS_OF, (bare, service.0), rows::number)?;
        Ok(counted.unwrap_or_default())
    }

    fn expired_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<PlacedSubscription>> {
        let values = (now.micros(), sql_limit(limit));
        self.all(statements::SELECT_EXPIRED_SUBSCRIPTIONS, values, rows::placed_subscription)
    }

    fn next_lease_end(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.optional(statements::SELECT_NEXT_LEASE_END, (), rows::optional_time)?.flatten())
    }

    fn presence_bound_subscriptions(&mut self, jid: &str) -> Result<Vec<PlacedSubscription>> {
        self.all(statements::SELECT_PRESENCE_BOUND, [jid], rows::placed_subscription)
    }

    fn insert_public_subscriber(&mut self, node: NodeKey, bare: &str, since: Timestamp) -> Result<bool> {
        lists::insert_subscriber(self, node, bare, since)
    }

    fn delete_public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<bool> {
        lists::delete_subscriber(self, node, bare)
    }

    fn public_subscribers(&mut self, node: NodeKey, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>> {
        lists::subscribers(self, node, place, limit)
    }

    fn public_subscriber(&mut self, node: NodeKey, bare: &str) -> Result<Option<PublicEntry>> {
        lists::subscriber(self, node, bare)
    }

    fn insert_public_subscription(
        &mut self,
        account: &str,
        service: &str,
        node_name: &str,
        since: Timestamp,
    ) -> Result<bool> {
        lists::insert_subscription(self, account, service, node_name, since)
    }

    fn delete_public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool> {
        lists::delete_subscription(self, account, service, node_name)
    }

    fn public_subscriptions(&mut self, account: &str, place: Place<i64>, limit: u64) -> Result<Page<PublicEntry>> {
        lists::subscriptions(self, account, place, limit)
    }

    fn public_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<PublicEntry>> {
        lists::subscription(self, account, service, node_name)
    }

    fn public_subscribers_since(&mut self, node: NodeKey, time: Timestamp) -> Result<Option<i64>> {
        self.optional(statements::SELECT_PUBLIC_SUBSCRIBERS_SINCE, (node.0, time.micros()), rows::number)
    }

    fn public_subscriptions_since(&mut self, account: &str, time: Timestamp) -> Result<Option<i64>> {
        lists::subscriptions_since(self, account, time)
    }

    fn delete_public_subscriptions(&mut self, account: &str) -> Result<i64> {
        lists::delete_subscriptions(self, account)
    }

    fn accounts_listing(&mut self, service: &str, node_name: &str) -> Result<Vec<Arc<str>>> {
        lists::accounts_listing(self, service, node_name)
    }

    fn put_pam_entry(&mut self, account: &str, entry: &PamEntry) -> Result<()> {
        pam::put_entry(self, account, entry)
    }

    fn delete_pam_entry(&mut self, account: &str, service: &str, node_name: &str, subid: &str) -> Result<bool> {
        Ok(self.execute(statements::DELETE_PAM_ENTRY, (account, service, node_name, subid))? > 0)
    }

    fn pam_entries(&mut self, account: &str) -> Result<Vec<PamEntry>> {
        self.all(statements::SELECT_PAM_ENTRIES, [account], rows::pam_entry)
    }

    fn pam_entries_for(&mut self, account: &str, service: &str, node_name: &str) -> Result<Vec<PamEntry>> {
        self.all(statements::SELECT_PAM_ENTRIES_FOR, (account, service, node_name), rows::pam_entry)
    }

    fn pam_services(&mut self, after: (&str, &str), limit: usize) -> Result<Vec<(String, String)>> {
        let values = (after.0, after.1, sql_limit(limit));
        self.all(statements::SELECT_PAM_SERVICES, values, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn pam_version(&mut self, account: &str) -> Result<i64> {
        Ok(self.optional(statements::SELECT_PAM_VERSION, [account], rows::number)?.unwrap_or(0))
    }

    fn set_pam_version(&mut self, account: &str, version: i64) -> Result<()> {
        self.execute(statements::UPSERT_PAM_VERSION, (account, version)).map(drop)
    }

    fn put_intent(&mut self, intent: &Intent) -> Result<()> {
        pam::put_intent(self, intent)
    }

    fn intent(&mut self, id: &str) -> Result<Option<Intent>> {
        self.optional(statements::SELECT_INTENT, [id], rows::intent)
    }

    fn delete_intent(&mut self, id: &str) -> Result<()> {
        self.execute(statements::DELETE_INTENT, [id]).map(drop)
    }

    fn intents_of(&mut self, account: &str) -> Result<Vec<Intent>> {
        self.all(statements::SELECT_INTENTS_OF, [account], rows::intent)
    }

    fn overdue_intents(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Intent>> {
        self.all(statements::SELECT_OVERDUE_INTENTS, (now.micros(), sql_limit(limit)), rows::intent)
    }

    fn next_deadline(&mut self) -> Result<Option<Timestamp>> {
        self.one(statements::SELECT_NEXT_DEADLINE, (), rows::optional_time)
    }

    fn delete_pam_account(&mut self, account: &str) -> Result<()> {
        self.execute(statements::DELETE_PAM_ENTRIES, [account])?;
        self.execute(statements::DELETE_PAM_VERSION, [account])?;
        self.execute(statements::DELETE_INTENTS_OF, [account]).map(drop)
    }

    fn put_auto_subscription(&mut self, auto: &AutoSubscription) -> Result<()> {
        pam::put_auto(self, auto)
    }

    fn auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<AutoSubscription>> {
        self.optional(statements::SELECT_AUTO, (account, service, node_name), rows::auto_subscription)
    }

    fn auto_subscriptions(&mut self, account: &str) -> Result<Vec<AutoSubscription>> {
        self.all(statements::SELECT_AUTO_OF, [account], rows::auto_subscription)
    }

    fn delete_auto_subscription(&mut self, account: &str, service: &str, node_name: &str) -> Result<bool> {
        Ok(self.execute(statements::DELETE_AUTO, (account, service, node_name))? > 0)
    }

    fn expired_auto_subscriptions(&mut self, now: Timestamp, limit: usize) -> Result<Vec<AutoSubscription>> {
        self.all(statements::SELECT_EXPIRED_AUTO, (now.micros(), sql_limit(limit)), rows::auto_subscription)
    }

    fn next_auto_end(&mut self) -> Result<Option<Timestamp>> {
        self.one(statements::SELECT_NEXT_AUTO_END, (), rows::optional_time)
    }

    fn insert_journal_entry(&mut self, account: &str, new: &NewJournalEntry<'_>, limits: JournalLimits) -> Result<()> {
        journal::insert(self, account, new, limits)
    }

    fn last_journal_entry(&mut self, account: &str, service: &str, node_name: &str) -> Result<Option<JournalEntry>> {
        journal::last(self, account, service, node_name)
    }

    fn see_journal_entry(&mut self, entry: i64) -> Result<()> {
        self.execute(statements::SEE_JOURNAL_ENTRY, [entry]).map(drop)
    }

    fn journal(
        &mut self,
        account: &str,
        filter: &JournalFilter<'_>,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<JournalEntry>> {
        journal::page(self, account, filter, place, limit)
    }

    fn delete_expired_journal(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        journal::delete_expired(self, now, limit)
    }

    fn next_journal_end(&mut self) -> Result<Option<Timestamp>> {
        self.one(statements::SELECT_NEXT_JOURNAL_END, (), rows::optional_time)
    }

    fn delete_journal(&mut self, account: &str) -> Result<()> {
        journal::delete_account(self, account)
    }

    fn capabilities(&mut self, hash: &str) -> Result<Option<Vec<String>>> {
        lists::capabilities(self, hash)
    }

    fn put_capabilities(&mut self, hash: &str, features: &[String], learnt: Timestamp, keep: usize) -> Result<()> {
        lists::put_capabilities(self, hash, features, learnt, keep)
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        self.optional(statements::SELECT_VALUE, [name], rows::string)
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<()> {
        self.execute(statements::UPSERT_VALUE, (name, value)).map(drop)
    }
}
