//! What an extension works with while one input is handled: the transaction, what is in memory, the facts that the host
//! gave, and the decisions made so far.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cache::{Cache, CachedNode};
use super::decision::{Decision, Need};
use super::event::Happened;
use super::ids::Ids;
use super::input::{Facts, RoomAffiliation, RoomInfo};
use super::presence::{Features, Presences};
use super::rooms;
use super::settings::{Host, Hosts, Settings};
use crate::error::Error;
use crate::jid::{BareJid, Jid};
use crate::pubsub::access::Relation;
use crate::pubsub::config::{AccessModel, PublishModel};
use crate::pubsub::policy::{Eventing, Kind, PRESENCE, Policy};
use crate::pubsub::store::{Service, Transaction};
use crate::pubsub::{Action, Affiliation, Counters, Node, NodeConfig, Refusal, Standing, may};
use crate::stanza::{Condition, PubsubCondition, StanzaError};
use crate::time::Timestamp;
use crate::xep;

/// Why the handling of an input ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The peer gets this error.
    Refused(Box<StanzaError>),
    /// Facts are needed first; they are in [`Context::needs`].
    Need,
    /// The store failed.
    Failed(Error),
    /// A reader cannot do this: it is for the writer.
    Writer,
}

/// What a step of the handling returns.
pub(crate) type Handled<T> = Result<T, Stop>;

impl From<StanzaError> for Stop {
    fn from(error: StanzaError) -> Self {
        Self::Refused(Box::new(error))
    }
}

impl From<crate::rsm::Malformed> for Stop {
    fn from(error: crate::rsm::Malformed) -> Self {
        StanzaError::new(Condition::BadRequest).text(error.0).into()
    }
}

impl From<crate::mam::Rejected> for Stop {
    fn from(rejected: crate::mam::Rejected) -> Self {
        use crate::mam::Rejected;
        match rejected {
            Rejected::Unknown(field) => {
                let text = format!("the archive has no field \"{}\"", field.escape_default());
                StanzaError::new(Condition::FeatureNotImplemented).text(text).into()
            }
            Rejected::Malformed(why) => StanzaError::new(Condition::BadRequest).text(why).into(),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Stop {
    /// The errors of XEP-0060, sections 6.1.3 and 6.5.9.
    fn from(refusal: Refusal) -> Self {
        let error = match refusal {
            Refusal::Forbidden => StanzaError::new(Condition::Forbidden),
            Refusal::PresenceRequired => {
                StanzaError::new(Condition::NotAuthorized).with(PubsubCondition::PresenceSubscriptionRequired)
            }
            Refusal::NotInRosterGroup => {
                StanzaError::new(Condition::NotAuthorized).with(PubsubCondition::NotInRosterGroup)
            }
            Refusal::ClosedNode => StanzaError::new(Condition::NotAllowed).with(PubsubCondition::ClosedNode),
            Refusal::NotSubscribed => StanzaError::new(Condition::NotAuthorized).with(PubsubCondition::NotSubscribed),
            Refusal::SubscribeUnsupported => {
                StanzaError::new(Condition::FeatureNotImplemented).with(PubsubCondition::Unsupported("subscribe"))
            }
        };
        error.into()
    }
}

/// Who makes a request in a room.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asker {
    /// It is the room, or the occupant, whose service it is; or it acts for it.
    pub(crate) own: bool,
    /// It is in the room.
    pub(crate) inside: bool,
}

/// A service that a request can be addressed to.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRef {
    /// Bare JID of the account or room, or the component's domain; for an occupant of a room, the occupant JID as it is now.
    pub(crate) jid: BareJid,
    /// The name under which it is stored: the same, except for occupants ([`super::rooms`]).
    pub(crate) name: Arc<str>,
    pub(crate) host: Arc<Host>,
}

impl ServiceRef {
    pub(crate) fn policy(&self) -> &Policy {
        &self.host.policy
    }

    pub(crate) fn is_account(&self) -> bool {
        self.host.policy.kind == Kind::Account
    }

    /// Whether it is a room or an occupant of one.
    pub(crate) fn in_room(&self) -> bool {
        self.host.policy.kind == Kind::Room
    }

    /// Whether it is an occupant of a room.
    pub(crate) fn is_occupant(&self) -> bool {
        self.name.starts_with('/')
    }

    /// The bare JID of the room that it is or is in.
    pub(crate) fn room(&self) -> &str {
        rooms::room_of(&self.name).unwrap_or(&self.name)
    }

    /// Whether nodes belong to whoever the service belongs to, rather than to who made them.
    pub(crate) fn is_personal(&self) -> bool {
        self.host.policy.kind != Kind::Component
    }

    /// The profile of XEP-0207 that a node of that name is under. What the engine makes up is under none.
    pub(crate) fn eventing(&self, node: &str) -> Option<Eventing> {
        self.policy().eventing.filter(|profile| match profile {
            Eventing::Presence => node == PRESENCE,
            Eventing::Rooms | Eventing::Conversations => !xep::is_hidden_name(node),
        })
    }

    /// The node as it is here: what is forced holds, whatever is stored, and from the moment on at which it is forced.
    pub(crate) fn govern(&self, mut node: Node) -> Node {
        if self.forces(node.name.as_str()) {
            node.config = Arc::new(self.governed(node.name.as_str(), node.config.as_ref().clone()));
        }
        node
    }

    /// The same for the configuration of a node of that name.
    pub(crate) fn governed(&self, name: &str, mut config: NodeConfig) -> NodeConfig {
        if self.forces(name) {
            self.policy().forced.apply(name, &mut config);
        }
        config
    }

    /// Whether something is forced on nodes of that name; not on those that the engine itself makes up.
    pub(crate) fn forces(&self, name: &str) -> bool {
        self.policy().forced.concern(name) && !xep::is_hidden_name(name)
    }

    /// Whether that JID is the account itself.
    pub(crate) fn is_owner(&self, bare: &str) -> bool {
        self.is_account() && self.jid.as_str() == bare
    }
}

/// What the engine keeps in memory between inputs.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) cache: Cache,
    pub(crate) presences: Presences,
    pub(crate) ids: Ids,
    /// Features of hashes that were seen lately.
    pub(crate) features: HashMap<Arc<str>, Arc<Features>>,
    /// When the host was asked to tick.
    pub(crate) next_wake: Option<Timestamp>,
    /// Whether what was due before was looked for in the store; from then on, whoever adds something asks to be called.
    pub(crate) planned: bool,
    pub(crate) settings: Settings,
    /// Makes identifiers that cannot be guessed from what they stand for.
    pub(crate) secret: String,
    /// Subscriptions at accounts that do not exist.
    pub(crate) phantoms: xep::Phantoms,
    /// The look at what services elsewhere have for the accounts.
    pub(crate) round: xep::Round,
    /// Whether accounts elsewhere that an account has asked know XEP-0376, by account and contact.
    pub(crate) pam_contacts: HashMap<(String, String), bool>,
    /// Whether this is a reader's: presence is not known there, and nothing is written.
    pub(crate) reads_only: bool,
}

/// See the module.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) privileged: bool,
    pub(crate) memory: &'a mut Memory,
    pub(crate) hosts: &'a Hosts,
    pub(crate) out: Vec<Decision>,
    pub(crate) needs: Vec<Need>,
    /// The same, for looking whether one is there: an account may have thousands of contacts.
    asked: HashSet<Need>,
    /// Whether anything was written: then stopping means rolling back.
    pub(crate) wrote: bool,
    /// Who asks, if the request is for a room or an occupant.
    pub(crate) asker: Asker,
    /// The account whose list of subscriptions is being changed on its own request, which does the telling.
    pub(crate) quiet_account: Option<BareJid>,
    facts: &'a Facts,
    tx: &'a mut (dyn Transaction + 'a),
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        now: Timestamp,
        privileged: bool,
        facts: &'a Facts,
        tx: &'a mut (dyn Transaction + 'a),
        memory: &'a mut Memory,
        hosts: &'a Hosts,
    ) -> Self {
        Self {
            now,
            privileged,
            memory,
            hosts,
            out: Vec::new(),
            needs: Vec::new(),
            asked: HashSet::new(),
            wrote: false,
            asker: Asker::default(),
            quiet_account: None,
            facts,
            tx,
        }
    }

    /// For reading.
    pub(crate) fn store(&mut self) -> &mut (dyn Transaction + 'a) {
        self.tx
    }

    /// For changing.
    pub(crate) fn change(&mut self) -> &mut (dyn Transaction + 'a) {
        self.wrote = true;
        self.tx
    }

    /// Lets extensions know, then the host.
    pub(crate) fn happened(&mut self, event: &Happened<'_>) -> Handled<()> {
        let in_room = event.service().in_room();
        for extension in xep::EXTENSIONS.iter().filter(|extension| !in_room || extension.serves_rooms()) {
            extension.on_event(self, event)?;
        }
        if event.service().host.events {
            event.tell(self.privileged, &mut self.out);
        }
        Ok(())
    }

    /// Asks to be called at that time.
    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        if self.memory.next_wake.is_none_or(|next| time < next) {
            self.memory.next_wake = Some(time);
            self.out.push(Decision::Wake(time));
        }
    }

    // ---- facts ----

    fn need<T>(&mut self, need: Need) -> Handled<T> {
        if self.asked.insert(need.clone()) {
            self.needs.push(need);
        }
        Err(Stop::Need)
    }

    /// Whether an account of this server exists.
    pub(crate) fn account_exists(&mut self, account: &BareJid) -> Handled<bool> {
        match self.facts.account(account.as_str()) {
            Some(exists) => Ok(exists),
            None => self.need(Need::Account(account.as_str().to_owned())),
        }
    }

    /// How the owner's roster has the contact.
    pub(crate) fn relation(&mut self, owner: &BareJid, contact: &str) -> Handled<Relation> {
        if owner.as_str() == contact {
            return Ok(Relation { presence: true, follows: true, groups: Vec::new() });
        }
        match self.facts.roster(owner, contact) {
            Some(relation) => Ok(relation.clone()),
            None => self.need(Need::Roster { owner: owner.as_str().to_owned(), contact: contact.to_owned() }),
        }
    }

    /// Whether somebody is an administrator of the service.
    pub(crate) fn is_admin(&mut self, who: &str, service: &ServiceRef) -> Handled<bool> {
        match self.facts.admin(who, service.jid.as_str()) {
            Some(admin) => Ok(admin),
            None => self.need(Need::Admin { who: who.to_owned(), service: service.jid.as_str().to_owned() }),
        }
    }

    /// Whether the owner blocks the contact.
    pub(crate) fn is_blocked(&mut self, owner: &BareJid, contact: &BareJid) -> Handled<bool> {
        if owner == contact {
            return Ok(false);
        }
        match self.facts.blocked(owner, &Jid::Bare(contact.clone())) {
            Some(blocked) => Ok(blocked),
            None => {
                let (owner, contact) = (owner.as_str().to_owned(), contact.as_str().to_owned());
                self.need(Need::Blocked { owner, contact })
            }
        }
    }

    /// How somebody stands to a room, and whether it has voice there.
    pub(crate) fn room_standing(&mut self, who: &Jid, room: &str) -> Handled<(RoomAffiliation, bool)> {
        match self.facts.room(who.as_str(), room) {
            Some(standing) => Ok(standing),
            None => self.need(Need::Room { who: who.as_str().to_owned(), room: room.to_owned() }),
        }
    }

    /// What a room says of itself.
    pub(crate) fn room_info(&mut self, room: &str) -> Handled<RoomInfo> {
        match self.facts.room_info(room) {
            Some(info) => Ok(info.clone()),
            None => self.need(Need::RoomInfo(room.to_owned())),
        }
    }

    /// Gathers the needs of several steps, so that the host is asked once.
    pub(crate) fn gather<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Handled<T>,
        all: &mut bool,
    ) -> Handled<Option<T>> {
        match step(self) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Need) => {
                *all = false;
                Ok(None)
            }
            Err(stop) => Err(stop),
        }
    }

    // ---- services ----

    /// The service at that address, if this engine serves it.
    pub(crate) fn service_at(&self, jid: &BareJid) -> Option<ServiceRef> {
        if jid.as_str().starts_with('/') {
            return self.occupant_service(jid.as_str());
        }
        let host = self.hosts.get(jid.domain())?;
        let with_local = host.policy.kind != Kind::Component;
        (with_local == jid.local().is_some()).then(|| ServiceRef {
            jid: jid.clone(),
            name: jid.as_str().into(),
            host: host.clone(),
        })
    }

    /// The service of an occupant who is still there.
    pub(crate) fn occupant_service(&self, stay: &str) -> Option<ServiceRef> {
        let room = rooms::room_of(stay)?;
        let host = self.hosts.get(room.split_once('@')?.1)?;
        let occupant = self.memory.presences.rooms().occupant(stay)?;
        let jid = BareJid::from_prepared(&format!("{room}/{}", occupant.nick));
        Some(ServiceRef { jid, name: stay.into(), host: host.clone() })
    }

    /// Whether that address is an account of a host that is served.
    pub(crate) fn is_local_account(&self, jid: &BareJid) -> bool {
        jid.local().is_some() && self.hosts.get(jid.domain()).is_some_and(|host| host.policy.kind == Kind::Account)
    }

    /// What is stored of the service; none if it never had a node. Data of the module before is taken over first.
    pub(crate) fn stored_service(&mut self, service: &ServiceRef) -> Handled<Option<Service>> {
        if let Some(found) = self.memory.cache.service(&service.name) {
            return Ok(Some(found.clone()));
        }
        let mut found = self.tx.service(&service.name)?;
        // What has nodes of its own takes nothing over: the host may have begun to ask for imports later.
        let imported = found.as_ref().is_some_and(|found| found.imported || found.nodes > 0);
        if service.host.import && !imported && (!service.is_account() || self.account_exists(&service.jid)?) {
            match self.facts.import(&service.name) {
                None => return self.need(Need::Import(service.jid.as_str().to_owned())),
                Some(false) => {
                    let error = StanzaError::new(Condition::InternalServerError);
                    return Err(error.text("older data could not be taken over yet; try again later").into());
                }
                Some(true) => {
                    // The import marks what it wrote; here there was nothing to take over.
                    let mut row = match found {
                        Some(row) => row,
                        None => self.change().insert_service(&service.name)?,
                    };
                    row.imported = true;
                    self.change().update_service(&row)?;
                    found = Some(row);
                }
            }
        }
        if let Some(found) = &found {
            self.memory.cache.insert_service(found.clone());
        }
        Ok(found)
    }

    /// What is stored of the service, made if there is nothing yet.
    pub(crate) fn make_service(&mut self, service: &ServiceRef) -> Handled<Service> {
        if let Some(found) = self.stored_service(service)? {
            return Ok(found);
        }
        let made = self.change().insert_service(&service.name)?;
        self.memory.cache.insert_service(made.clone());
        Ok(made)
    }

    /// Changes the counters of a service.
    pub(crate) fn count_in_service(&mut self, service: &ServiceRef, count: impl FnOnce(&mut Service)) -> Handled<()> {
        if self.stored_service(service)?.is_some() {
            self.wrote = true;
            if let Some(row) = self.memory.cache.change_service(&service.name) {
                count(row);
            }
        }
        Ok(())
    }

    // ---- nodes ----

    /// The node of that name.
    pub(crate) fn node(&mut self, service: &ServiceRef, name: &str) -> Handled<Option<Node>> {
        Ok(self.cached(service, name)?.map(|cached| cached.node.clone()))
    }

    /// The nodes with names after that one, in the order of their names.
    pub(crate) fn nodes(&mut self, service: &ServiceRef, after: Option<&str>, limit: usize) -> Handled<Vec<Node>> {
        let Some(row) = self.stored_service(service)? else { return Ok(Vec::new()) };
        let found = self.tx.nodes(row.key, after, limit)?;
        Ok(found.into_iter().map(|node| service.govern(node)).collect())
    }

    /// The node of that name, or the error for a missing one.
    pub(crate) fn existing_node(&mut self, service: &ServiceRef, name: &str) -> Handled<Node> {
        match self.node(service, name)? {
            Some(node) => Ok(node),
            None => self.missing_node(service, name),
        }
    }

    /// The error for a node that is not there: where it has gone to, if its owner said so (section 6.1.3.11).
    pub(crate) fn missing_node<T>(&mut self, service: &ServiceRef, name: &str) -> Handled<T> {
        if let Some(row) = self.stored_service(service)?
            && let Some(uri) = self.tx.redirect(row.key, name)?
        {
            let error = StanzaError::new(Condition::Gone).of_type(crate::stanza::ErrorType::Modify);
            return Err(error.uri(uri).into());
        }
        Err(StanzaError::new(Condition::ItemNotFound).into())
    }

    /// The node with what is cached beside it.
    pub(crate) fn cached(&mut self, service: &ServiceRef, name: &str) -> Handled<Option<&mut CachedNode>> {
        let Some(row) = self.stored_service(service)? else {
            return Ok(None);
        };
        if self.memory.cache.node(row.key, name).is_none() {
            let Some(node) = self.tx.node(row.key, name)? else {
                return Ok(None);
            };
            self.memory.cache.insert_node(service.govern(node));
        }
        Ok(self.memory.cache.node(row.key, name))
    }

    /// Changes the counters of a node; the present ones.
    pub(crate) fn count(&mut self, node: &Node, count: impl FnOnce(&mut Counters)) -> Handled<Counters> {
        self.wrote = true;
        if self.memory.cache.node(node.service, node.name.as_str()).is_none() {
            let stored = self.tx.node_by_key(node.key)?;
            let stored = stored.ok_or_else(|| Stop::from(StanzaError::new(Condition::ItemNotFound)))?;
            self.memory.cache.insert_node(Node { config: node.config.clone(), ..stored });
        }
        let Some(cached) = self.memory.cache.change_node(node.service, &node.name) else {
            return Err(StanzaError::new(Condition::ItemNotFound).into());
        };
        count(&mut cached.node.counters);
        Ok(cached.node.counters)
    }

    /// Who gets the node's events has to be found out anew.
    pub(crate) fn forget_audience(&mut self, node: &Node) {
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str())
            && cached.audience.take().is_some()
        {
            self.memory.cache.reweigh(node.service, node.name.as_str());
        }
    }

    // ---- access ----

    /// The affiliation of a bare JID.
    pub(crate) fn affiliation(&mut self, service: &ServiceRef, node: &Node, bare: &str) -> Handled<Affiliation> {
        if service.is_owner(bare) || (service.in_room() && self.asker.own) {
            return Ok(Affiliation::Owner);
        }
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str())
            && let Some(&affiliation) = cached.affiliations.get(bare)
        {
            return Ok(affiliation);
        }
        let affiliation = self.tx.affiliation(node.key, bare)?;
        self.memory.cache.put_affiliation(node.service, node.name.as_str(), bare, affiliation);
        Ok(affiliation)
    }

    /// Decides whether somebody may do something; the one place that does.
    pub(crate) fn check(&mut self, service: &ServiceRef, node: &Node, who: &Jid, action: Action) -> Handled<()> {
        if self.privileged {
            return Ok(());
        }
        let bare = who.bare_str();
        let affiliation = self.affiliation(service, node, bare)?;
        let decision = self.decide(service, node, bare, affiliation, action)?;
        let admins_own = !service.is_personal() && service.policy().admins_own;
        match decision {
            Err(_) if admins_own && affiliation != Affiliation::Outcast && self.is_admin(bare, service)? => Ok(()),
            decision => Ok(decision?),
        }
    }

    /// The decision of [`Context::check`] without regard to administrators.
    pub(crate) fn decide(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        bare: &str,
        affiliation: Affiliation,
        action: Action,
    ) -> Handled<Result<(), Refusal>> {
        let config = &node.config;
        let by_model = affiliation == Affiliation::None && !matches!(action, Action::RetractAny | Action::Own);
        let by_roster = matches!(config.access_model, AccessModel::Presence | AccessModel::Roster);
        let relation = match service.policy().kind {
            Kind::Account if by_model && by_roster => Some(self.relation(&service.jid, bare)?),
            // Presence in a room is what its access model asks for.
            Kind::Room => Some(Relation { presence: self.asker.inside, ..Relation::default() }),
            _ => None,
        };
        let publishes = matches!(action, Action::Publish | Action::RetractOwn);
        let asks_subscription = (by_model && config.access_model == AccessModel::Authorize)
            || (publishes && config.publish_model == PublishModel::Subscribers);
        let subscribed = asks_subscription
            && self.tx.subscriptions_to(node.key, bare)?.iter().any(|subscription| self.is_live(subscription));
        Ok(may(Standing { affiliation, subscribed, relation: relation.as_ref() }, action, config))
    }
}
