//! From rows to the types of the model and back.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, Type};
use rusqlite::{Row, Statement};

use crate::jid::Jid;
use crate::pubsub::config::{
    AccessModel, ItemReply, Limit, NodeType, NotificationType, PublishModel, PublishNodeFull, SendLastPublishedItem,
};
use crate::pubsub::store::{
    AutoSubscription, Intent, JournalEntry, NodeKey, PamEntry, PlacedSubscription, PublicEntry, Service, ServiceKey,
    Subscriber, SubscriptionKey,
};
use crate::pubsub::subscription::{Expiry, SubscriptionType};
use crate::pubsub::{
    Affiliation, Counters, Item, ItemId, Node, NodeConfig, NodeName, SubId, Subscription, SubscriptionOptions,
    SubscriptionState,
};
use crate::time::Timestamp;

type Result<T> = rusqlite::Result<T>;

/// Reads the columns of a row one after the other.
struct Columns<'r, 's> {
    row: &'r Row<'s>,
    at: usize,
}

impl<'r, 's> Columns<'r, 's> {
    fn of(row: &'r Row<'s>) -> Self {
        Self { row, at: 0 }
    }

    fn next<T: FromSql>(&mut self) -> Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    fn time(&mut self) -> Result<Timestamp> {
        self.next().map(Timestamp::from_micros)
    }

    fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    fn limit(&mut self) -> Result<Limit> {
        Ok(self.next::<Option<u32>>()?.map_or(Limit::Max, Limit::Of))
    }

    /// Hands out the text in place, for what is made of it.
    fn text<T>(&mut self, make: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        self.at += 1;
        let at = self.at - 1;
        let wrong = |error: FromSqlError| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into());
        let text = self.row.get_ref(at)?.as_str().map_err(wrong)?;
        make(text).ok_or_else(|| wrong(FromSqlError::InvalidType))
    }
}

pub(super) fn text(row: &Row<'_>) -> Result<Arc<str>> {
    row.get(0)
}

pub(super) fn string(row: &Row<'_>) -> Result<String> {
    row.get(0)
}

pub(super) fn number(row: &Row<'_>) -> Result<i64> {
    row.get(0)
}

pub(super) fn two_numbers(row: &Row<'_>) -> Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(super) fn optional_time(row: &Row<'_>) -> Result<Option<Timestamp>> {
    Columns::of(row).optional_time()
}

pub(super) fn node_name(row: &Row<'_>) -> Result<NodeName> {
    Columns::of(row).text(|text| Some(text.into()))
}

pub(super) fn service(row: &Row<'_>) -> Result<Service> {
    let mut columns = Columns::of(row);
    Ok(Service {
        key: ServiceKey(columns.next()?),
        jid: columns.next()?,
        imported: columns.next()?,
        nodes: columns.next()?,
        bytes: columns.next()?,
    })
}

/// The node, and whether it has options in `node_values`.
pub(super) fn node(row: &Row<'_>) -> Result<(Node, bool)> {
    let mut columns = Columns::of(row);
    let key = NodeKey(columns.next()?);
    let service = ServiceKey(columns.next()?);
    let name = columns.text(|text| Some(text.into()))?;
    let creator = columns.next()?;
    let created = columns.time()?;
    let counters = Counters {
        next_seq: columns.next()?,
        items: columns.next()?,
        subscribers: columns.next()?,
        sweep_at: columns.optional_time()?,
    };
    let config = NodeConfig {
        access_model: columns.text(AccessModel::parse)?,
        publish_model: columns.text(PublishModel::parse)?,
        persist_items: columns.next()?,
        max_items: columns.limit()?,
        item_expire: columns.limit()?,
        max_payload_size: columns.next()?,
        publish_node_full: columns.text(PublishNodeFull::parse)?,
        send_last_published_item: columns.text(SendLastPublishedItem::parse)?,
        deliver_notifications: columns.next()?,
        deliver_payloads: columns.next()?,
        notification_type: columns.text(NotificationType::parse)?,
        notify_config: columns.next()?,
        notify_delete: columns.next()?,
        notify_retract: columns.next()?,
        notify_sub: columns.next()?,
        itemreply: columns.text(ItemReply::parse)?,
        presence_based_delivery: columns.next()?,
        purge_offline: columns.next()?,
        tempsub: columns.next()?,
        subscribe: columns.next()?,
        node_type: columns.text(NodeType::parse)?,
        title: columns.next()?,
        description: columns.next()?,
        r#type: columns.next()?,
        language: columns.next()?,
        body_xslt: columns.next()?,
        dataform_xslt: columns.next()?,
        roster_groups_allowed: Vec::new(),
        contact: Vec::new(),
    };
    let node = Node { key, service, name, creator, created, config: Arc::new(config), counters };
    Ok((node, columns.next()?))
}

/// Binds the options of a node from parameter `first` on, in the order of `node_columns!`.
pub(super) fn bind_config(statement: &mut Statement<'_>, first: usize, config: &NodeConfig) -> Result<()> {
    let mut at = first;
    macro_rules! bind {
        ($($value:expr,)+) => {$(
            statement.raw_bind_parameter(at, $value)?;
            at += 1;
        )+};
    }
    bind!(
        config.access_model.as_str(),
        config.publish_model.as_str(),
        config.persist_items,
        limit(config.max_items),
        limit(config.item_expire),
        config.max_payload_size,
        config.publish_node_full.as_str(),
        config.send_last_published_item.as_str(),
        config.deliver_notifications,
        config.deliver_payloads,
        config.notification_type.as_str(),
        config.notify_config,
        config.notify_delete,
        config.notify_retract,
        config.notify_sub,
        config.itemreply.as_str(),
        config.presence_based_delivery,
        config.purge_offline,
        config.tempsub,
        config.subscribe,
        config.node_type.as_str(),
        &config.title,
        &config.description,
        &config.r#type,
        &config.language,
        &config.body_xslt,
        &config.dataform_xslt,
    );
    debug_assert_eq!(at, first + 27);
    Ok(())
}

fn limit(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Max => None,
        Limit::Of(number) => Some(number),
    }
}

pub(super) fn node_value(row: &Row<'_>) -> Result<(String, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(super) fn item(row: &Row<'_>) -> Result<Item> {
    let mut columns = Columns::of(row);
    Ok(Item {
        seq: columns.next::<i64>()? & crate::pubsub::store::MAX_SEQ,
        id: columns.text(|text| Some(text.into()))?,
        publisher: columns.next()?,
        published: columns.time()?,
        payload: columns.next()?,
    })
}

/// An item to be deleted: its row, its id and the bytes of its payload.
pub(super) struct Victim {
    pub(super) seq_key: i64,
    pub(super) id: ItemId,
    pub(super) bytes: i64,
}

pub(super) fn victim(row: &Row<'_>) -> Result<Victim> {
    let mut columns = Columns::of(row);
    Ok(Victim { seq_key: columns.next()?, id: columns.text(|text| Some(text.into()))?, bytes: columns.next()? })
}

pub(super) fn affiliation(row: &Row<'_>) -> Result<Affiliation> {
    Columns::of(row).text(Affiliation::parse)
}

pub(super) fn affiliation_of_jid(row: &Row<'_>) -> Result<(Arc<str>, Affiliation)> {
    let mut columns = Columns::of(row);
    Ok((columns.next()?, columns.text(Affiliation::parse)?))
}

pub(super) fn affiliation_with_node(row: &Row<'_>) -> Result<(NodeName, Affiliation)> {
    let mut columns = Columns::of(row);
    Ok((columns.text(|text| Some(text.into()))?, columns.text(Affiliation::parse)?))
}

pub(super) fn subscription(row: &Row<'_>) -> Result<Subscription> {
    read_subscription(&mut Columns::of(row))
}

fn read_subscription(columns: &mut Columns<'_, '_>) -> Result<Subscription> {
    Ok(Subscription {
        key: SubscriptionKey(columns.next()?),
        node: NodeKey(columns.next()?),
        jid: columns.text(|text| Some(Jid::from_prepared(text)))?,
        subid: columns.text(|text| Some(SubId::from(text)))?,
        state: columns.text(SubscriptionState::parse)?,
        wants_public: columns.next()?,
        shown: columns.next()?,
        created: columns.time()?,
        options: SubscriptionOptions {
            deliver: columns.next()?,
            digest: columns.next()?,
            digest_frequency: columns.next()?,
            expire: match (columns.next()?, columns.optional_time()?) {
                (true, _) => Expiry::Presence,
                (false, Some(time)) => Expiry::At(time),
                (false, None) => Expiry::Never,
            },
            include_body: columns.next()?,
            show_values: columns.next()?,
            subscription_type: columns.text(SubscriptionType::parse)?,
            subscription_depth: columns.next()?,
            roomnick: columns.next()?,
        },
    })
}

pub(super) fn subscriber(row: &Row<'_>) -> Result<Subscriber> {
    let mut columns = Columns::of(row);
    let (key, jid) = (SubscriptionKey(columns.next()?), columns.next()?);
    let affiliation: Option<String> = columns.next()?;
    let affiliation = affiliation.as_deref().map_or(Some(Affiliation::None), Affiliation::parse);
    Ok(Subscriber {
        key,
        jid,
        affiliation: affiliation.ok_or(rusqlite::Error::InvalidQuery)?,
        expire_at: columns.optional_time()?,
        include_body: columns.next()?,
        show_values: columns.next()?,
    })
}

pub(super) fn placed_subscription(row: &Row<'_>) -> Result<PlacedSubscription> {
    let mut columns = Columns::of(row);
    let subscription = read_subscription(&mut columns)?;
    Ok(PlacedSubscription {
        service: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
        subscription,
    })
}

/// Binds the options of a subscription from parameter `first` on.
pub(super) fn bind_options(statement: &mut Statement<'_>, first: usize, options: &SubscriptionOptions) -> Result<()> {
    let expire_at = match options.expire {
        Expiry::At(time) => Some(time.micros()),
        Expiry::Never | Expiry::Presence => None,
    };
    statement.raw_bind_parameter(first, options.deliver)?;
    statement.raw_bind_parameter(first + 1, options.digest)?;
    statement.raw_bind_parameter(first + 2, options.digest_frequency)?;
    statement.raw_bind_parameter(first + 3, options.expire == Expiry::Presence)?;
    statement.raw_bind_parameter(first + 4, expire_at)?;
    statement.raw_bind_parameter(first + 5, options.include_body)?;
    statement.raw_bind_parameter(first + 6, options.show_values)?;
    statement.raw_bind_parameter(first + 7, options.subscription_type.as_str())?;
    statement.raw_bind_parameter(first + 8, options.subscription_depth)?;
    statement.raw_bind_parameter(first + 9, options.roomnick.as_deref())
}

pub(super) fn public_entry(row: &Row<'_>) -> Result<PublicEntry> {
    let mut columns = Columns::of(row);
    Ok(PublicEntry {
        position: columns.next()?,
        since: columns.time()?,
        jid: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
    })
}

pub(super) fn pam_entry(row: &Row<'_>) -> Result<PamEntry> {
    let mut columns = Columns::of(row);
    Ok(PamEntry {
        service: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
        subid: columns.next()?,
        state: columns.text(SubscriptionState::parse)?,
        wants_public: columns.next()?,
        unsubscribing: columns.next()?,
    })
}

pub(super) fn auto_subscription(row: &Row<'_>) -> Result<AutoSubscription> {
    let mut columns = Columns::of(row);
    Ok(AutoSubscription {
        account: columns.next()?,
        service: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
        subid: columns.next()?,
        state: columns.text(SubscriptionState::parse)?,
        expire_at: columns.time()?,
    })
}

pub(super) fn journal_entry(row: &Row<'_>) -> Result<JournalEntry> {
    let mut columns = Columns::of(row);
    Ok(JournalEntry {
        key: columns.next()?,
        service: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
        arrived: columns.time()?,
        seen: columns.next()?,
        content: columns.next()?,
    })
}

pub(super) fn intent(row: &Row<'_>) -> Result<Intent> {
    let mut columns = Columns::of(row);
    Ok(Intent {
        id: columns.next()?,
        account: columns.next()?,
        service: columns.next()?,
        node_name: columns.text(|text| Some(text.into()))?,
        subid: columns.next()?,
        operation: columns.next()?,
        requester: columns.next()?,
        request_id: columns.next()?,
        request_to: columns.next()?,
        stanza: columns.next()?,
        attempts: columns.next()?,
        deadline: columns.time()?,
    })
}
