//! The plain reference model: what a node, its items, subscriptions and affiliations are, in lists that are walked. Written
//! from the documents, not from the engine; nothing here is meant to be fast.

pub(crate) mod host;
pub(crate) mod operation;
pub(crate) mod random;

use std::collections::{BTreeMap, BTreeSet};

use operation::{Actor, Operation, Request};

pub(crate) const ACCOUNT: &str = "juliet@a.example";
pub(crate) const COMPONENT: &str = "pubsub.a.example";
pub(crate) const NODES: [&str; 3] = ["n0", "n1", "n2"];
/// The resources that ask for events of `n0` by their capabilities.
pub(crate) const INTERESTED: [&str; 3] = ["romeo@a.example/r", "tybalt@a.example/r", "mercutio@b.example/r"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) access: &'static str,
    pub(crate) publish: &'static str,
    pub(crate) max_items: usize,
    pub(crate) notify_retract: bool,
    pub(crate) notify_delete: bool,
    pub(crate) deliver: bool,
    pub(crate) last_on_sub: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) jid: String,
    pub(crate) public: bool,
    /// Whether the account shows it too, once it is subscribed: it was asked for through the account.
    shown: bool,
    /// Whether an owner has still to approve.
    pub(crate) pending: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) config: Config,
    /// Id, payload and publisher (bare), oldest first.
    pub(crate) items: Vec<(String, String, String)>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) affiliations: BTreeMap<String, &'static str>,
    /// Bare JIDs that are shown as subscribers.
    pub(crate) public: Vec<String>,
}

/// An event somebody gets: recipient, what, node, item or JID.
pub(crate) type Told = (String, &'static str, String, String);

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<(&'static str, String), Node>,
    /// Contacts of the account: whether they see its presence, and their group.
    pub(crate) roster: BTreeMap<String, (bool, &'static str)>,
    /// What accounts show that they are subscribed to: account, service, node.
    pub(crate) listed: BTreeSet<(String, &'static str, String)>,
}

pub(crate) fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or(jid)
}

fn is_local(bare: &str) -> bool {
    bare.ends_with("@a.example")
}

impl Node {
    pub(crate) fn affiliation(&self, service: &str, who: &str) -> &'static str {
        if service == who { "owner" } else { self.affiliations.get(who).copied().unwrap_or("none") }
    }

    /// Whether somebody is subscribed or waits for approval.
    pub(crate) fn has_asked(&self, who: &str) -> bool {
        self.subscriptions.iter().any(|subscription| bare(&subscription.jid) == who)
    }

    fn is_subscribed(&self, who: &str) -> bool {
        self.subscriptions.iter().any(|subscription| !subscription.pending && bare(&subscription.jid) == who)
    }

    pub(crate) fn owners(&self, service: &str) -> usize {
        usize::from(service == ACCOUNT) + self.affiliations.values().filter(|value| **value == "owner").count()
    }
}

impl Model {
    pub(crate) fn node(&self, service: &'static str, node: &str) -> Option<&Node> {
        self.nodes.get(&(service, node.to_owned()))
    }

    /// Whether the access model alone lets somebody in.
    fn admits(&self, service: &str, node: &Node, who: &str) -> bool {
        let (presence, group) = self.roster.get(who).copied().unwrap_or((false, ""));
        match node.config.access {
            "open" => true,
            "presence" => service == ACCOUNT && presence,
            "roster" => service == ACCOUNT && presence && group == "friends",
            "authorize" => node.is_subscribed(who),
            _ => false,
        }
    }

    pub(crate) fn may_read(&self, service: &str, node: &Node, who: &str) -> bool {
        match node.affiliation(service, who) {
            "owner" | "publisher" | "member" => true,
            "outcast" | "publish-only" => false,
            _ => self.admits(service, node, who),
        }
    }

    pub(crate) fn may_see(&self, service: &str, node: &Node, who: &str) -> bool {
        match node.affiliation(service, who) {
            "publish-only" => true,
            "none" if node.config.access == "authorize" => true,
            _ => self.may_read(service, node, who),
        }
    }

    fn may_publish(&self, service: &str, node: &Node, who: &str) -> bool {
        match node.affiliation(service, who) {
            "owner" | "publisher" | "publish-only" => true,
            "outcast" => false,
            _ if node.config.publish == "open" => self.may_read(service, node, who),
            _ => node.config.publish == "subscribers" && node.is_subscribed(who),
        }
    }

    fn may_remove(&self, service: &str, node: &Node, who: &str, publisher: &str) -> bool {
        match node.affiliation(service, who) {
            "owner" | "publisher" => true,
            _ => publisher == who && self.may_publish(service, node, who),
        }
    }

    /// Who is told of what happens at the node.
    fn audience(&self, service: &str, name: &str, node: &Node, deleted: bool) -> Vec<String> {
        let mut audience = Vec::new();
        if !node.config.deliver && !deleted {
            return audience;
        }
        let wanting = |who: &str| -> Vec<&str> {
            let here = service == ACCOUNT && name == "n0";
            INTERESTED.into_iter().filter(|jid| here && bare(jid) == who).collect()
        };
        // Whoever waits for approval learns that there is nothing to wait for.
        let concerned = || node.subscriptions.iter().filter(|subscription| deleted || !subscription.pending);
        let mut everyone: BTreeSet<&str> = concerned().map(|subscription| bare(&subscription.jid)).collect();
        everyone.extend(INTERESTED.iter().map(|jid| bare(jid)));
        for who in everyone {
            let told_of_its_end = deleted && node.has_asked(who);
            if !(self.may_read(service, node, who) || told_of_its_end) {
                continue;
            }
            let mut mine: BTreeSet<String> = wanting(who).into_iter().map(str::to_owned).collect();
            for subscription in concerned().filter(|subscription| bare(&subscription.jid) == who) {
                // A bare JID whose clients ask for the node gets its copies there.
                if subscription.jid.contains('/') || mine.is_empty() || wanting(who).is_empty() {
                    mine.insert(subscription.jid.clone());
                }
            }
            audience.extend(mine);
        }
        audience
    }

    fn tell(&self, told: &mut Vec<Told>, key: &(&'static str, String), what: &'static str, items: &[String]) {
        if let Some(node) = self.nodes.get(key) {
            for jid in self.audience(key.0, &key.1, node, what == "delete") {
                told.extend(items.iter().map(|item| (jid.clone(), what, key.1.clone(), item.clone())));
            }
        }
    }

    /// Ends a subscription by somebody else's doing.
    fn end(&mut self, key: &(&'static str, String), jid: &str, told: Option<&mut Vec<Told>>) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.subscriptions.retain(|subscription| subscription.jid != jid);
            if !node.subscriptions.iter().any(|other| bare(&other.jid) == bare(jid) && other.public) {
                node.public.retain(|listed| listed != bare(jid));
                self.listed.remove(&(bare(jid).to_owned(), key.0, key.1.clone()));
            }
        }
        if let Some(told) = told {
            told.push((jid.to_owned(), "subscription none", key.1.clone(), jid.to_owned()));
        }
    }

    fn end_forbidden(&mut self, key: &(&'static str, String), only: Option<&str>, told: &mut Vec<Told>) {
        let Some(node) = self.nodes.get(key) else { return };
        let approved = node.subscriptions.iter().filter(|subscription| !subscription.pending);
        let all = approved.map(|subscription| subscription.jid.clone());
        let gone: Vec<String> = all
            .filter(|jid| only.is_none_or(|only| only == bare(jid)) && !self.may_read(key.0, node, bare(jid)))
            .collect();
        for jid in gone {
            self.end(key, &jid, Some(told));
        }
    }

    /// Removes the oldest items beyond the capacity.
    fn make_room(&mut self, key: &(&'static str, String), told: &mut Vec<Told>) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let surplus = node.items.len().saturating_sub(node.config.max_items);
        let ids: Vec<String> = node.items.drain(..surplus).map(|(id, ..)| id).collect();
        if node.config.notify_retract && node.config.max_items > 1 {
            self.tell(told, key, "retract", &ids);
        }
    }

    /// What comes of an operation: whether it is carried out, and who is told what.
    pub(crate) fn apply(&mut self, operation: &Operation) -> (bool, Vec<Told>) {
        let mut told = Vec::new();
        let ok = match operation {
            Operation::Restart => true,
            Operation::Roster { contact, presence, group } => {
                self.roster.insert((*contact).to_owned(), (*presence, group));
                for node in NODES {
                    let key = (ACCOUNT, node.to_owned());
                    if self.nodes.get(&key).is_some_and(|node| matches!(node.config.access, "presence" | "roster")) {
                        self.end_forbidden(&key, Some(contact), &mut told);
                    }
                }
                true
            }
            Operation::Request { actor, service, node, request } => {
                self.request(actor, (service, (*node).to_owned()), request, &mut told)
            }
        };
        told.sort();
        (ok, told)
    }

    fn request(&mut self, actor: &Actor, key: (&'static str, String), request: &Request, told: &mut Vec<Told>) -> bool {
        let (service, who) = (key.0, actor.bare());
        let may_create = if service == ACCOUNT { who == ACCOUNT } else { is_local(who) };
        let fresh = |config: &Config| {
            let owner = (service == COMPONENT).then(|| (who.to_owned(), "owner"));
            let (items, subscriptions, public) = (Vec::new(), Vec::new(), Vec::new());
            Node { config: config.clone(), items, subscriptions, affiliations: owner.into_iter().collect(), public }
        };
        let Some(node) = self.nodes.get(&key).cloned() else {
            return match request {
                Request::Create(config) if may_create => self.nodes.insert(key, fresh(config)).is_none(),
                Request::Publish { ids, otherwise: Some(otherwise), .. }
                    if may_create && service == ACCOUNT && ids.len() <= otherwise.max_items =>
                {
                    self.nodes.insert(key.clone(), fresh(otherwise));
                    self.publish(&key, who, request, told);
                    true
                }
                // A request that withdraws the mark does so whatever the service says.
                Request::Subscribe { pam: true, public: false, .. } => {
                    self.listed.remove(&(who.to_owned(), key.0, key.1));
                    false
                }
                _ => false,
            };
        };
        let owns = node.affiliation(service, who) == "owner";
        match request {
            Request::Create(_) => false,
            Request::Publish { ids, .. } => {
                let foreign = |id: &String| {
                    let present = node.items.iter().find(|item| item.0 == *id);
                    present.is_some_and(|item| !self.may_remove(service, &node, who, &item.2))
                };
                let ok = self.may_publish(service, &node, who)
                    && ids.len() <= node.config.max_items
                    && !ids.iter().any(foreign);
                if ok {
                    self.publish(&key, who, request, told);
                }
                ok
            }
            Request::Retract { id, notify } => {
                let Some(item) = node.items.iter().find(|item| item.0 == *id) else { return false };
                let ok = self.may_remove(service, &node, who, &item.2);
                if ok {
                    if *notify || node.config.notify_retract {
                        self.tell(told, &key, "retract", std::slice::from_ref(id));
                    }
                    self.change(&key, |node| node.items.retain(|item| item.0 != *id));
                }
                ok
            }
            Request::Purge if owns => {
                if node.config.notify_retract {
                    self.tell(told, &key, "purge", &[String::new()]);
                }
                self.change(&key, |node| node.items.clear());
                true
            }
            Request::Delete if owns => {
                if node.config.notify_delete {
                    self.tell(told, &key, "delete", &[String::new()]);
                }
                self.nodes.remove(&key);
                self.listed.retain(|(_, service, node)| (*service, node) != (key.0, &key.1));
                true
            }
            Request::Configure(config) if owns => {
                self.change(&key, |node| node.config = config.clone());
                if config.access != node.config.access {
                    self.end_forbidden(&key, None, told);
                }
                self.make_room(&key, told);
                true
            }
            Request::Subscribe { jid, public, pam } => self.subscribe(&key, &node, jid, *public, *pam, told),
            Request::Unsubscribe { jid } => {
                let ok = node.subscriptions.iter().any(|subscription| subscription.jid == *jid);
                if ok {
                    self.end(&key, jid, None);
                }
                ok
            }
            Request::Decide { jid, allow } if owns => {
                self.decide(&key, &node, jid, *allow, told);
                !allow || node.affiliation(service, bare(jid)) != "outcast"
            }
            Request::Affiliate { jid, affiliation } if owns => self.affiliate(&key, &node, jid, affiliation, told),
            Request::Purge
            | Request::Delete
            | Request::Configure(_)
            | Request::Affiliate { .. }
            | Request::Decide { .. } => false,
        }
    }

    fn change(&mut self, key: &(&'static str, String), change: impl FnOnce(&mut Node)) {
        change(self.nodes.get_mut(key).expect("it is there"));
    }

    fn publish(&mut self, key: &(&'static str, String), who: &str, request: &Request, told: &mut Vec<Told>) {
        let Request::Publish { ids, payload, .. } = request else { return };
        for id in ids {
            self.change(key, |node| {
                node.items.retain(|item| item.0 != *id);
                node.items.push((id.clone(), payload.clone(), who.to_owned()));
            });
            self.make_room(key, told);
        }
        self.tell(told, key, "item", ids);
    }

    fn subscribe(
        &mut self,
        key: &(&'static str, String),
        node: &Node,
        jid: &str,
        public: bool,
        pam: bool,
        told: &mut Vec<Told>,
    ) -> bool {
        let entry = (bare(jid).to_owned(), key.0, key.1.clone());
        if pam && !public {
            self.listed.remove(&entry);
        }
        let asks = node.config.access == "authorize" && node.affiliation(key.0, bare(jid)) == "none";
        if !asks && !self.may_read(key.0, node, bare(jid)) {
            return false;
        }
        let known = node.subscriptions.iter().find(|subscription| subscription.jid == jid);
        let pending = asks && known.is_none_or(|known| known.pending);
        if pending && known.is_some_and(|known| known.public == public) {
            return false;
        }
        let shown = public && (pam || known.is_some_and(|known| known.shown));
        let new = Subscription { jid: jid.to_owned(), public, shown, pending };
        self.put(key, new);
        if !public {
            self.listed.remove(&entry);
        }
        if !pending && known.is_none_or(|known| known.pending) {
            self.tell_last(key, jid, told);
        }
        true
    }

    /// Makes or changes a subscription, and what is shown of it.
    fn put(&mut self, key: &(&'static str, String), new: Subscription) {
        let who = bare(&new.jid).to_owned();
        if new.shown && !new.pending {
            self.listed.insert((who.clone(), key.0, key.1.clone()));
        }
        self.change(key, |node| {
            let public = new.public && !new.pending;
            node.public.retain(|listed| public || *listed != who);
            if public && !node.public.contains(&who) {
                node.public.push(who);
            }
            node.subscriptions.retain(|subscription| subscription.jid != new.jid);
            node.subscriptions.push(new);
        });
    }

    /// The last item, for somebody who has just been subscribed.
    fn tell_last(&self, key: &(&'static str, String), jid: &str, told: &mut Vec<Told>) {
        let node = &self.nodes[key];
        let config = &node.config;
        if let (true, true, Some(last)) = (config.last_on_sub, config.deliver, node.items.last())
            && self.may_read(key.0, node, bare(jid))
        {
            told.push((jid.to_owned(), "item", key.1.clone(), last.0.clone()));
        }
    }

    /// An owner subscribes somebody, approves a request, or ends it.
    fn decide(&mut self, key: &(&'static str, String), node: &Node, jid: &str, allow: bool, told: &mut Vec<Told>) {
        let known = node.subscriptions.iter().find(|subscription| subscription.jid == jid);
        match known {
            Some(_) if !allow => self.end(key, jid, Some(told)),
            Some(known) if known.pending => self.approve(key, known.clone(), told),
            None if allow && node.affiliation(key.0, bare(jid)) != "outcast" => {
                let new = Subscription { jid: jid.to_owned(), public: false, shown: false, pending: true };
                self.approve(key, new, told);
            }
            _ => {}
        }
    }

    fn approve(&mut self, key: &(&'static str, String), waiting: Subscription, told: &mut Vec<Told>) {
        let jid = waiting.jid.clone();
        self.put(key, Subscription { pending: false, ..waiting });
        told.push((jid.clone(), "subscription subscribed", key.1.clone(), jid.clone()));
        self.tell_last(key, &jid, told);
    }

    fn affiliate(
        &mut self,
        key: &(&'static str, String),
        node: &Node,
        jid: &str,
        wanted: &'static str,
        told: &mut Vec<Told>,
    ) -> bool {
        let present = node.affiliation(key.0, jid);
        // XEP-0060, section 4.1, state chart.
        let possible = match present {
            "owner" => matches!(wanted, "owner" | "none"),
            "publisher" | "publish-only" => wanted != "member",
            _ => true,
        };
        if possible && present == wanted {
            return true;
        }
        if !possible || jid == key.0 || (present == "owner" && node.owners(key.0) < 2) {
            return false;
        }
        self.change(key, |node| {
            node.affiliations.insert(jid.to_owned(), wanted);
            node.affiliations.retain(|_, affiliation| *affiliation != "none");
        });
        for subscription in node.subscriptions.iter().filter(|subscription| bare(&subscription.jid) == jid) {
            match wanted {
                "outcast" | "publish-only" => self.end(key, &subscription.jid, Some(told)),
                "none" => {}
                _ if subscription.pending => self.approve(key, subscription.clone(), told),
                _ => {}
            }
        }
        if wanted == "none" {
            self.end_forbidden(key, Some(jid), told);
        }
        true
    }
}
