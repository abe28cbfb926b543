//! The one function that decides access: for requests and for each recipient of each notification.

use super::config::{AccessModel, PublishModel};
use super::{Affiliation, NodeConfig};

/// What somebody wants to do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Subscribe to it.
    Subscribe,
    /// Read its items.
    Retrieve,
    /// Be sent its events.
    Receive,
    /// Know that it exists and what it is (disco).
    See,
    /// Publish to it.
    Publish,
    /// Remove items of one's own.
    RetractOwn,
    /// Remove items of others.
    RetractAny,
    /// Configure, purge or delete it, manage its affiliations and subscriptions.
    Own,
}

/// How somebody stands to the owner of an account, as far as the access model asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relation {
    /// Receives the owner's presence.
    pub presence: bool,
    /// The owner receives theirs.
    pub follows: bool,
    /// The owner's roster groups that hold them.
    pub groups: Vec<String>,
}

/// Everything that a decision depends on, apart from the node.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The affiliation of the bare JID.
    pub affiliation: Affiliation,
    /// Whether there is a subscription in state `subscribed`.
    pub subscribed: bool,
    /// How the bare JID stands to the account; a component has none.
    pub relation: Option<&'a Relation>,
}

/// Why something may not be done. The text that a peer gets is made elsewhere, from one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The affiliation does not allow it.
    Forbidden,
    /// The owner's presence is needed.
    PresenceRequired,
    /// A roster group is needed.
    NotInRosterGroup,
    /// The whitelist is needed.
    ClosedNode,
    /// A subscription is needed.
    NotSubscribed,
    /// The node takes no subscriptions.
    SubscribeUnsupported,
}

/// Decides. XEP-0060, sections 4.1 and 4.5; the contradictions between them are settled so: the access model decides for
/// those without affiliation, a member (or publisher) passes every access model, only owners purge.
pub fn may(standing: Standing<'_>, action: Action, config: &NodeConfig) -> Result<(), Refusal> {
    use Action::{Own, Publish, Receive, RetractAny, RetractOwn, Retrieve, See, Subscribe};
    use Affiliation::{Member, None, Outcast, Owner, PublishOnly, Publisher};

    match (standing.affiliation, action) {
        (Owner, Subscribe) if !config.subscribe => Err(Refusal::SubscribeUnsupported),
        (Owner, _) => Ok(()),
        (Outcast, _) | (_, Own) => Err(Refusal::Forbidden),
        (Publisher, Publish | RetractOwn | RetractAny) | (PublishOnly, Publish | RetractOwn | See) => Ok(()),
        (PublishOnly, Subscribe | Retrieve | Receive) => Err(Refusal::Forbidden),
        (_, RetractAny) => Err(Refusal::Forbidden),
        (_, Publish | RetractOwn) => match config.publish_model {
            PublishModel::Open => readable(standing, config),
            PublishModel::Subscribers if standing.subscribed => Ok(()),
            PublishModel::Subscribers | PublishModel::Publishers => Err(Refusal::Forbidden),
        },
        (_, Subscribe) if !config.subscribe => Err(Refusal::SubscribeUnsupported),
        (Publisher | Member, Subscribe | Retrieve | Receive | See) => Ok(()),
        // An authorize node takes requests from anyone and answers `pending`.
        (None, Subscribe) if config.access_model == AccessModel::Authorize => Ok(()),
        (None, See) if config.access_model == AccessModel::Authorize => Ok(()),
        (None, Subscribe | Retrieve | Receive | See) => readable(standing, config),
    }
}

/// The access model for an entity without affiliation.
fn readable(standing: Standing<'_>, config: &NodeConfig) -> Result<(), Refusal> {
    if matches!(standing.affiliation, Affiliation::Member | Affiliation::Publisher | Affiliation::PublishOnly) {
        return Ok(());
    }
    match config.access_model {
        AccessModel::Open => Ok(()),
        AccessModel::Presence => match standing.relation {
            Some(relation) if relation.presence => Ok(()),
            _ => Err(Refusal::PresenceRequired),
        },
        AccessModel::Roster => match standing.relation {
            // Section 6.5.1: subscribed to the presence, and in an allowed group.
            Some(relation)
                if relation.presence
                    && relation.groups.iter().any(|group| config.roster_groups_allowed.contains(group)) =>
            {
                Ok(())
            }
            _ => Err(Refusal::NotInRosterGroup),
        },
        AccessModel::Authorize if standing.subscribed => Ok(()),
        AccessModel::Authorize => Err(Refusal::NotSubscribed),
        AccessModel::Whitelist => Err(Refusal::ClosedNode),
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Refusal, Relation, Standing, may};
    use crate::pubsub::config::{AccessModel, PublishModel};
    use crate::pubsub::{Affiliation, NodeConfig};

    fn node(access_model: AccessModel) -> NodeConfig {
        NodeConfig { access_model, roster_groups_allowed: vec!["friends".into()], ..NodeConfig::account() }
    }

    fn standing(affiliation: Affiliation) -> Standing<'static> {
        Standing { affiliation, subscribed: false, relation: None }
    }

    #[test]
    fn models_for_strangers() {
        let retrieve = |model, standing| may(standing, Action::Retrieve, &node(model));
        let stranger = standing(Affiliation::None);
        assert_eq!(retrieve(AccessModel::Open, stranger), Ok(()));
        assert_eq!(retrieve(AccessModel::Presence, stranger), Err(Refusal::PresenceRequired));
        assert_eq!(retrieve(AccessModel::Roster, stranger), Err(Refusal::NotInRosterGroup));
        assert_eq!(retrieve(AccessModel::Authorize, stranger), Err(Refusal::NotSubscribed));
        assert_eq!(retrieve(AccessModel::Whitelist, stranger), Err(Refusal::ClosedNode));
        assert_eq!(may(stranger, Action::Subscribe, &node(AccessModel::Authorize)), Ok(()));
    }

    #[test]
    fn contacts() {
        let friend = Relation { presence: true, follows: true, groups: vec!["friends".into()] };
        let other = Relation { presence: true, follows: true, groups: vec!["others".into()] };
        let only_group = Relation { presence: false, follows: true, groups: vec!["friends".into()] };
        let retrieve = |model, relation| {
            may(
                Standing { affiliation: Affiliation::None, subscribed: false, relation: Some(relation) },
                Action::Retrieve,
                &node(model),
            )
        };
        assert_eq!(retrieve(AccessModel::Presence, &other), Ok(()));
        assert_eq!(retrieve(AccessModel::Roster, &friend), Ok(()));
        assert_eq!(retrieve(AccessModel::Roster, &other), Err(Refusal::NotInRosterGroup));
        assert_eq!(retrieve(AccessModel::Roster, &only_group), Err(Refusal::NotInRosterGroup));
        assert_eq!(retrieve(AccessModel::Presence, &only_group), Err(Refusal::PresenceRequired));
    }

    #[test]
    fn affiliations() {
        for model in [AccessModel::Open, AccessModel::Whitelist, AccessModel::Presence] {
            let config = node(model);
            for action in [Action::Subscribe, Action::Retrieve, Action::Receive, Action::See, Action::Publish] {
                assert_eq!(may(standing(Affiliation::Owner), action, &config), Ok(()));
                assert_eq!(may(standing(Affiliation::Publisher), action, &config), Ok(()));
                assert_eq!(may(standing(Affiliation::Outcast), action, &config), Err(Refusal::Forbidden));
            }
            assert_eq!(may(standing(Affiliation::Member), Action::Retrieve, &config), Ok(()));
            assert_eq!(may(standing(Affiliation::Member), Action::Publish, &config), Err(Refusal::Forbidden));
            assert_eq!(may(standing(Affiliation::PublishOnly), Action::Publish, &config), Ok(()));
            assert_eq!(may(standing(Affiliation::PublishOnly), Action::Retrieve, &config), Err(Refusal::Forbidden));
            assert_eq!(may(standing(Affiliation::Publisher), Action::Own, &config), Err(Refusal::Forbidden));
        }
    }

    #[test]
    fn publish_models() {
        let publish = |publish_model, subscribed| {
            let config = NodeConfig { publish_model, ..node(AccessModel::Open) };
            may(Standing { subscribed, ..standing(Affiliation::None) }, Action::Publish, &config)
        };
        assert_eq!(publish(PublishModel::Publishers, true), Err(Refusal::Forbidden));
        assert_eq!(publish(PublishModel::Subscribers, true), Ok(()));
        assert_eq!(publish(PublishModel::Subscribers, false), Err(Refusal::Forbidden));
        assert_eq!(publish(PublishModel::Open, false), Ok(()));
    }
}
