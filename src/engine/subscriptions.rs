//! What is done to subscriptions, whoever asks for it.

use super::context::{Context, Handled, ServiceRef, Stop};
use super::event::Happened;
use crate::jid::Jid;
use crate::pubsub::store::NewSubscription;
use crate::pubsub::subscription::Expiry;
use crate::pubsub::{Action, Affiliation, Node, SubId, Subscription, SubscriptionOptions, SubscriptionState};
use crate::xml::Writer;

/// Subscriptions looked at in one go.
const CHUNK: usize = 1_000;

/// Why a subscription ends, and so who has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The subscriber asked for it and gets an answer.
    Requested,
    /// Somebody else did it, or it happened by itself: the subscriber is told (section 12.14).
    Told,
    /// The subscriber cannot or need not be told: it is gone, or the node is.
    Silent,
}

impl Context<'_> {
    /// Whether one more may be subscribed to the node (option `max_subscriptions_node`).
    pub(crate) fn has_place(&mut self, service: &ServiceRef, node: &Node) -> Handled<bool> {
        let limit = service.policy().max_subscriptions_node;
        Ok(limit == u32::MAX || self.count(node, |_| {})?.subscribers < i64::from(limit))
    }

    /// Makes a subscription.
    pub(crate) fn add_subscription(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        jid: &Jid,
        state: SubscriptionState,
        wants_public: bool,
        options: &SubscriptionOptions,
    ) -> Handled<Subscription> {
        let subid = SubId::from(self.memory.ids.random());
        let created = self.now;
        let new = NewSubscription { node: node.key, jid, subid: &subid, state, wants_public, options, created };
        let key = self.change().insert_subscription(&new)?;
        let (jid, options) = (jid.clone(), options.clone());
        let made =
            Subscription { key, node: node.key, jid, subid, state, wants_public, shown: false, options, created };
        self.subscription_changed(service, node, &made, SubscriptionState::None, state)?;
        if let Expiry::At(end) = made.options.expire {
            self.wake_at(end);
        }
        Ok(made)
    }

    /// Writes a subscription that was changed; `old` is the state it had.
    pub(crate) fn update_subscription(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
        old: SubscriptionState,
    ) -> Handled<()> {
        self.change().update_subscription(subscription)?;
        self.subscription_changed(service, node, subscription, old, subscription.state)?;
        if let Expiry::At(end) = subscription.options.expire {
            self.wake_at(end);
        }
        Ok(())
    }

    /// Ends a subscription.
    pub(crate) fn end_subscription(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
        ending: Ending,
    ) -> Handled<()> {
        self.change().delete_subscription(subscription.key)?;
        if ending == Ending::Told {
            let ended = Subscription { state: SubscriptionState::None, ..subscription.clone() };
            self.tell_subscriber(service, node, &ended);
        }
        self.subscription_changed(service, node, subscription, subscription.state, SubscriptionState::None)
    }

    fn subscription_changed(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
        old: SubscriptionState,
        new: SubscriptionState,
    ) -> Handled<()> {
        self.audience_changed(service, node, subscription, new)?;
        let counted = |state| i64::from(state == SubscriptionState::Subscribed);
        let difference = counted(new) - counted(old);
        if difference != 0 {
            self.count(node, |counters| counters.subscribers += difference)?;
            // Who is subscribed would tell who an occupant really is.
            if node.config.notify_sub && !service.in_room() {
                self.tell_owners(service, node, subscription, new)?;
            }
        }
        let (jid, public) = (&subscription.jid, subscription.wants_public);
        self.happened(&Happened::SubscriptionChanged { service, node, jid, old, new, public })
    }

    /// Tells a subscriber of the state it now has (section 12.14).
    pub(crate) fn tell_subscriber(&mut self, service: &ServiceRef, node: &Node, subscription: &Subscription) {
        let body = subscription_body(node, &subscription.jid, subscription.state);
        for address in self.addresses(service, &subscription.jid) {
            self.notify_one(service, node, address.as_str(), &body, None);
        }
    }

    /// Where a subscriber is told something: what happens in a room is for its clients that are there.
    fn addresses(&self, service: &ServiceRef, jid: &Jid) -> Vec<Jid> {
        if service.in_room() {
            return self.places_of(service.room(), jid).into_iter().map(Jid::Full).collect();
        }
        vec![jid.clone()]
    }

    /// Tells the owners of a new or lost subscriber (`pubsub#notify_sub`).
    fn tell_owners(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
        state: SubscriptionState,
    ) -> Handled<()> {
        let body = subscription_body(node, &subscription.jid, state);
        for owner in self.owners(service, node)? {
            self.notify_one(service, node, &owner, &body, None);
        }
        Ok(())
    }

    /// Bare JIDs of the owners.
    pub(crate) fn owners(&mut self, service: &ServiceRef, node: &Node) -> Handled<Vec<String>> {
        let mut owners = Vec::new();
        if service.is_personal() {
            owners.push(service.jid.as_str().to_owned());
        }
        for (jid, affiliation) in self.store().affiliations(node.key)? {
            if affiliation == Affiliation::Owner && !owners.iter().any(|owner| **owner == *jid) {
                owners.push(jid.to_string());
            }
        }
        Ok(owners)
    }

    /// Every subscription of a node goes with it; the notification of the deletion says so.
    pub(crate) fn end_all_subscriptions(&mut self, service: &ServiceRef, node: &Node) -> Handled<()> {
        let mut after = None;
        loop {
            let chunk = self.store().subscriptions(node.key, after, CHUNK)?;
            after = chunk.last().map(|subscription| subscription.key);
            for subscription in &chunk {
                let (jid, old, new) = (&subscription.jid, subscription.state, SubscriptionState::None);
                let public = subscription.wants_public;
                self.happened(&Happened::SubscriptionChanged { service, node, jid, old, new, public })?;
            }
            if chunk.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Ends the subscriptions, of one bare JID or of all, that the access model no longer allows (XEP-0163, section 7.1).
    pub(crate) fn end_forbidden_subscriptions(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        only: Option<&str>,
    ) -> Handled<()> {
        let mut forbidden = Vec::new();
        let mut all = true;
        let mut after = None;
        loop {
            let chunk = match only {
                Some(bare) => self.store().subscriptions_to(node.key, bare)?,
                None => self.store().subscriptions(node.key, after, CHUNK)?,
            };
            after = chunk.last().map(|subscription| subscription.key);
            let last = only.is_some() || chunk.len() < CHUNK;
            for subscription in chunk {
                let bare = subscription.jid.to_bare();
                let affiliation = self.affiliation(service, node, bare.as_str())?;
                let decision = self.gather(
                    |context| context.decide(service, node, bare.as_str(), affiliation, Action::Receive),
                    &mut all,
                )?;
                // A request that waits for approval does not depend on the model's other conditions.
                if matches!(decision, Some(Err(_))) && subscription.state != SubscriptionState::Pending {
                    forbidden.push(subscription);
                }
            }
            if last {
                break;
            }
        }
        if !all {
            return Err(Stop::Need);
        }
        for subscription in forbidden {
            self.end_subscription(service, node, &subscription, Ending::Told)?;
        }
        Ok(())
    }

    /// A bare JID has another affiliation now: what follows for its subscriptions (sections 8.7.4, 4.1).
    pub(crate) fn affiliation_changed(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        bare: &str,
        affiliation: Affiliation,
    ) -> Handled<()> {
        for mut subscription in self.store().subscriptions_to(node.key, bare)? {
            let pending = subscription.state == SubscriptionState::Pending;
            match affiliation {
                Affiliation::Outcast | Affiliation::PublishOnly => {
                    self.end_subscription(service, node, &subscription, Ending::Told)?;
                }
                Affiliation::Owner | Affiliation::Publisher | Affiliation::Member if pending => {
                    subscription.state = SubscriptionState::Subscribed;
                    self.update_subscription(service, node, &subscription, SubscriptionState::Pending)?;
                    self.tell_subscriber(service, node, &subscription);
                    self.send_after_subscription(service, node, &subscription)?;
                }
                _ => {}
            }
        }
        if affiliation == Affiliation::None {
            self.end_forbidden_subscriptions(service, node, Some(bare))?;
        }
        Ok(())
    }

    /// Sends the last item to somebody who has just been subscribed (sections 6.1.7 and 12.10).
    pub(crate) fn send_after_subscription(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
    ) -> Handled<()> {
        use crate::pubsub::config::SendLastPublishedItem;
        let wanted = node.config.send_last_published_item != SendLastPublishedItem::Never;
        if subscription.state == SubscriptionState::Subscribed && wanted && subscription.options.deliver {
            // An owner may have subscribed somebody who may not read the node.
            let bare = subscription.jid.bare_str();
            let affiliation = self.affiliation(service, node, bare)?;
            if self.decide(service, node, bare, affiliation, Action::Receive)?.is_err() {
                return Ok(());
            }
            let contact = service.is_owner(subscription.jid.bare_str());
            for address in self.addresses(service, &subscription.jid) {
                self.send_last_item(service, node, address.as_str(), contact)?;
            }
        }
        Ok(())
    }

    /// Ends the subscriptions whose lease is over and those bound to a presence that ended.
    pub(crate) fn end_placed(
        &mut self,
        placed: Vec<crate::pubsub::store::PlacedSubscription>,
        ending: Ending,
    ) -> Handled<()> {
        for place in placed {
            let service = crate::jid::BareJid::from_prepared(&place.service);
            let Some(service) = self.service_at(&service) else { continue };
            if let Some(node) = self.node(&service, place.node_name.as_str())? {
                self.end_subscription(&service, &node, &place.subscription, ending)?;
            }
        }
        Ok(())
    }
}

/// `<subscription/>` as a notification has it.
pub(crate) fn subscription_body(node: &Node, jid: &Jid, state: SubscriptionState) -> String {
    let mut writer = Writer::new();
    writer.start("subscription").attr("node", node.name.as_str());
    writer.attr("jid", jid.as_str()).attr("subscription", state.as_str());
    writer.finish()
}
