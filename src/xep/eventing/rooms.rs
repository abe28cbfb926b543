//! Rooms (section 5): a stay is a subscription of a full JID that has a name in the room.

use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::subscriptions::Ending;
use crate::jid::{BareJid, FullJid, Jid};
use crate::pubsub::config::PublishModel;
use crate::pubsub::policy::Eventing;
use crate::pubsub::subscription::Expiry;
use crate::pubsub::{Affiliation, Node, SubscriptionOptions};
use crate::stanza::{Condition, ErrorType, PubsubCondition, StanzaError};

/// Whoever is gone is in no room any more, whether or not it had shown presence there.
pub(super) fn session_ended(context: &mut Context<'_>, jid: &FullJid) -> Handled<()> {
    if !context.hosts.values().any(|host| host.policy.eventing == Some(Eventing::Rooms)) {
        return Ok(());
    }
    let mut stays = context.store().presence_bound_subscriptions(jid.as_str())?;
    stays.retain(|place| {
        let service = context.service_at(&BareJid::from_prepared(&place.service));
        service.and_then(|service| service.eventing(place.node_name.as_str())) == Some(Eventing::Rooms)
    });
    context.end_placed(stays, Ending::Silent)
}

impl Context<'_> {
    /// Sees to it that whoever enters a room has a name of its own there: the one that it asks for, or the one that it has.
    pub(crate) fn settle_roomnick(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        jid: &Jid,
        wanted: &mut SubscriptionOptions,
    ) -> Handled<()> {
        if service.eventing(node.name.as_str()) != Some(Eventing::Rooms) {
            return Ok(());
        }
        // Whatever the options say, a temporary stay does not outlast the client's.
        if node.config.tempsub {
            wanted.expire = Expiry::Presence;
        }
        if wanted.roomnick.is_none() {
            let present = self.store().subscriptions_to(node.key, jid.bare_str())?;
            let present = present.into_iter().find(|subscription| subscription.jid == *jid);
            wanted.roomnick = present.and_then(|subscription| subscription.options.roomnick);
        }
        let Some(nick) = &wanted.roomnick else {
            let error = StanzaError::new(Condition::NotAcceptable).of_type(ErrorType::Modify);
            return Err(error.with(PubsubCondition::ConfigurationRequired).text("a room asks for a roomnick").into());
        };
        match self.store().subscription_by_roomnick(node.key, nick)? {
            Some(ended) if self.has_ended(&ended) => self.end_subscription(service, node, &ended, Ending::Told),
            Some(other) if other.jid != *jid => {
                let error = StanzaError::new(Condition::Conflict).of_type(ErrorType::Cancel);
                Err(error.text("somebody else has that roomnick").into())
            }
            _ => Ok(()),
        }
    }

    /// In a room those speak who are in it: the very client, not another one of the same account.
    pub(crate) fn check_occupant(&mut self, service: &ServiceRef, node: &Node, who: &Jid) -> Handled<()> {
        let asks = service.eventing(node.name.as_str()) == Some(Eventing::Rooms)
            && node.config.publish_model == PublishModel::Subscribers
            && !self.privileged;
        if !asks {
            return Ok(());
        }
        let bare = who.bare_str();
        let affiliation = self.affiliation(service, node, bare)?;
        if matches!(affiliation, Affiliation::Owner | Affiliation::Publisher | Affiliation::PublishOnly) {
            return Ok(());
        }
        let is_it = |jid: &Jid| jid == who || jid.as_full().is_none();
        let inside = self.store().subscriptions_to(node.key, bare)?;
        if inside.iter().any(|subscription| is_it(&subscription.jid) && self.is_live(subscription)) {
            return Ok(());
        }
        if service.policy().admins_own && self.is_admin(bare, service)? {
            return Ok(());
        }
        Err(StanzaError::new(Condition::Forbidden).into())
    }
}
