//! Subscriptions: how their rows are found and changed.

use super::{Open, refuse_if};
use crate::error::Result;
use crate::pubsub::Subscription;
use crate::pubsub::store::{NewSubscription, NodeKey, PlacedSubscription, SubscriptionKey};
use crate::pubsub::subscription::Expiry;
use crate::time::Timestamp;

pub(super) fn lease_end(subscription: &Subscription) -> Option<Timestamp> {
    match subscription.options.expire {
        Expiry::At(end) => Some(end),
        Expiry::Never | Expiry::Presence => None,
    }
}

impl Open<'_> {
    pub(super) fn subscriptions_where(&mut self, wanted: impl Fn(&Subscription) -> bool) -> Vec<PlacedSubscription> {
        let tables = self.tables();
        let found = tables.subscriptions.values().filter(|subscription| wanted(subscription));
        let placed = found.map(|subscription| {
            let node = &tables.nodes[&subscription.node];
            PlacedSubscription {
                service: tables.services[&node.service].jid.clone(),
                node_name: node.name.clone(),
                subscription: subscription.clone(),
            }
        });
        placed.collect()
    }

    pub(super) fn of_node(&mut self, node: NodeKey, wanted: impl Fn(&Subscription) -> bool) -> Vec<Subscription> {
        let from = (node, SubscriptionKey(i64::MIN));
        let to = (node, SubscriptionKey(i64::MAX));
        let rows = self.tables().subscriptions.range(from..=to).map(|(_, subscription)| subscription);
        rows.filter(|subscription| wanted(subscription)).cloned().collect()
    }

    pub(super) fn with_roomnick(&mut self, node: NodeKey, roomnick: &str) -> Option<Subscription> {
        let mut found = self.of_node(node, |subscription| subscription.options.roomnick.as_deref() == Some(roomnick));
        found.pop()
    }

    fn roomnick_must_be_free(
        &mut self,
        node: NodeKey,
        wanted: Option<&str>,
        by: Option<SubscriptionKey>,
    ) -> Result<()> {
        let holder = wanted.and_then(|wanted| self.with_roomnick(node, wanted));
        refuse_if(holder.is_some_and(|holder| Some(holder.key) != by), "the name is taken")
    }

    pub(super) fn add_subscription(&mut self, new: &NewSubscription<'_>) -> Result<SubscriptionKey> {
        self.node_must_exist(new.node)?;
        let same = self.of_node(new.node, |stored| stored.jid == *new.jid && stored.subid == *new.subid);
        refuse_if(!same.is_empty(), "the subscription exists already")?;
        self.roomnick_must_be_free(new.node, new.options.roomnick.as_deref(), None)?;
        let key = SubscriptionKey(self.next_key());
        let subscription = Subscription {
            key,
            node: new.node,
            jid: new.jid.clone(),
            subid: new.subid.clone(),
            state: new.state,
            wants_public: new.wants_public,
            shown: false,
            options: new.options.clone(),
            created: new.created,
        };
        self.tables().subscriptions.put((new.node, key), subscription);
        Ok(key)
    }

    pub(super) fn change_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        self.roomnick_must_be_free(
            subscription.node,
            subscription.options.roomnick.as_deref(),
            Some(subscription.key),
        )?;
        let stored = self.tables().subscriptions.iter().find(|((_, key), _)| *key == subscription.key);
        if let Some((place, row)) = stored.map(|(place, row)| (*place, row.clone())) {
            let row = Subscription {
                state: subscription.state,
                wants_public: subscription.wants_public,
                shown: subscription.shown,
                options: subscription.options.clone(),
                ..row
            };
            self.tables().subscriptions.put(place, row);
        }
        Ok(())
    }
}
