//! XEP-0163 (1.2.2): accounts as pubsub services, as far as presence makes the difference. Everything else is the
//! common model under the policy of an account.

use std::sync::Arc;

use super::{DocumentInfo, Extension, Where};
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::presence::{Caps, Resource};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::jid::{FullJid, Jid};
use crate::ns;
use crate::pubsub::config::{AccessModel, SendLastPublishedItem};
use crate::stanza::Stanza;
use crate::xml::Element;

pub(crate) struct Pep;

impl Extension for Pep {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0163",
            title: "Personal Eventing Protocol",
            version: "1.2.2",
            complete: true,
            notes: "",
        }]
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Domain | Where::Room => &[],
            Where::Account => &[
                "http://jabber.org/protocol/pubsub#access-presence",
                "http://jabber.org/protocol/pubsub#auto-create",
                "http://jabber.org/protocol/pubsub#auto-subscribe",
                "http://jabber.org/protocol/pubsub#filtered-notifications",
                "http://jabber.org/protocol/pubsub#last-published",
                "http://jabber.org/protocol/pubsub#presence-notifications",
                "http://jabber.org/protocol/pubsub#presence-subscribe",
                "http://jabber.org/protocol/pubsub#pubsub-on-a-jid",
            ],
            Where::Component => &[
                "http://jabber.org/protocol/pubsub#access-open",
                "http://jabber.org/protocol/pubsub#last-published",
                "http://jabber.org/protocol/pubsub#presence-notifications",
            ],
        }
    }

    fn on_presence(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<()> {
        let Some(jid) = stanza.from.as_full() else { return Ok(()) };
        match stanza.r#type {
            "" => context.resource_came(to, stanza.element, jid),
            "unavailable" | "error" => context.resource_left(to, jid),
            _ => Ok(()),
        }
    }

    fn on_roster(&self, context: &mut Context<'_>, service: &ServiceRef, contact: &Jid) -> Handled<()> {
        roster_changed(context, service, contact)
    }
}

impl Context<'_> {
    /// A resource is available to that service, or says something new.
    pub(crate) fn resource_came(&mut self, service: &ServiceRef, presence: Element<'_>, jid: &FullJid) -> Handled<()> {
        let known = self.memory.presences.resource(&service.name, jid).cloned();
        if known.is_none() {
            let own = service.is_owner(jid.bare_str());
            // Presence to an account that does not exist must not take memory.
            if service.is_account() && !own && self.stored_service(service)?.is_none() {
                let account = service.jid.clone();
                if !self.account_exists(&account)? {
                    // Asked what it wants as everybody is, or it would know by not being asked.
                    return match self.shown_capabilities(presence, jid) {
                        Some(shown) if self.known_features(&shown.key)?.is_none() => {
                            self.ask_capabilities(service, jid, &shown);
                            Ok(())
                        }
                        _ => Ok(()),
                    };
                }
            }
            let limit = self.memory.settings.max_resources;
            if self.memory.presences.count(&service.name) >= limit {
                return Ok(());
            }
        }
        let shown = self.shown_capabilities(presence, jid);
        let caps = match (&shown, &known) {
            // Servers may leave out what has not changed (XEP-0115, section 8.4).
            (None, Some(known)) => known.caps.clone(),
            (None, None) => Caps::None,
            (Some(shown), _) => match self.known_features(&shown.key)? {
                Some(features) => Caps::Known(shown.key.clone(), features),
                None => match &known {
                    Some(Resource { caps: caps @ Caps::Asked(key), .. }) if *key == shown.key => caps.clone(),
                    _ => Caps::Asked(shown.key.clone()),
                },
            },
        };
        let show = match presence.child("show", ns::CLIENT).map(|show| show.text()) {
            None => 1 << 3,
            Some(show) => match show.trim() {
                "away" => 1,
                "chat" => 1 << 1,
                "dnd" => 1 << 2,
                "xa" => 1 << 4,
                _ => 1 << 3,
            },
        };
        let came = known.is_none();
        let news = came || known.as_ref().is_some_and(|known| known.caps != caps);
        let sent = known.map_or_else(Arc::default, |known| known.sent);
        let asks = matches!(caps, Caps::Asked(_));
        if news && service.in_room() {
            self.note_seen(service, jid)?;
        }
        let sent = self.memory.presences.resource(&service.name, jid).map_or(sent, |known| known.sent.clone());
        self.memory.presences.put(&service.name, jid, Some(Resource { caps, show, sent }));
        if let (true, Some(shown)) = (asks, &shown) {
            self.ask_capabilities(service, jid, shown);
        }
        if news || !service.in_room() {
            self.send_wanted_items(service, jid)?;
        }
        if came {
            self.send_subscribed_items(service, jid)?;
            if service.policy().quiet_offline && service.is_owner(jid.bare_str()) {
                self.send_what_waited(service)?;
            }
        }
        if news { super::interest(self, service, jid) } else { Ok(()) }
    }

    /// The account has come online: its contacts get what they had to wait for (option `ignore_pep_from_offline`).
    fn send_what_waited(&mut self, service: &ServiceRef) -> Handled<()> {
        let everyone = self.memory.presences.everyone(&service.name);
        let everyone = everyone.flat_map(|(bare, there)| there.keys().map(move |name| format!("{bare}/{name}")));
        let everyone: Vec<_> = everyone.filter_map(|jid| FullJid::parse(&jid).ok()).collect();
        let mut all = true;
        for jid in everyone.iter().filter(|jid| !service.is_owner(jid.bare_str())) {
            self.gather(|context| context.send_wanted_items(service, jid), &mut all)?;
        }
        if all { Ok(()) } else { Err(crate::engine::context::Stop::Need) }
    }

    /// A resource is not available to that service any more.
    pub(crate) fn resource_left(&mut self, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
        if service.is_owner(jid.bare_str()) {
            super::departure(self, service, jid)?;
        }
        self.memory.presences.put(&service.name, jid, None);
        if service.is_owner(jid.bare_str()) {
            self.memory.presences.end_session(jid);
            self.purge_offline(service, jid)?;
        }
        // Subscriptions for the time of presence: those of the full JID, and those of the bare JID with its last resource.
        let mut gone = vec![jid.as_str().to_owned()];
        if self.memory.presences.resources(&service.name, jid.bare_str()).next().is_none() {
            gone.push(jid.bare_str().to_owned());
        }
        for jid in gone {
            let placed = self.store().presence_bound_subscriptions(&jid)?;
            let here = placed.into_iter().filter(|place| *place.service == *service.name).collect();
            self.end_placed(here, Ending::Silent)?;
        }
        Ok(())
    }

    /// Removes what the resource published to nodes that hold items only while their publisher is there.
    fn purge_offline(&mut self, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
        for node in self.nodes(service, None, usize::MAX)? {
            if !node.config.purge_offline {
                continue;
            }
            let mut ids = Vec::new();
            let removed = self.change().delete_items_of(node.key, jid.as_str(), &mut ids)?;
            self.count_removed(service, &node, removed)?;
            self.tell_retracted(service, &node, &ids, node.config.notify_retract, &Jid::Full(jid.clone()))?;
        }
        Ok(())
    }

    /// Last items for explicit subscribers of a component that come online (section 9.1 is for accounts).
    fn send_subscribed_items(&mut self, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
        if service.is_personal() {
            return Ok(());
        }
        let Some(row) = self.stored_service(service)? else { return Ok(()) };
        for place in self.store().subscriptions_of(jid.bare_str(), Some(row.key))? {
            let subscription = &place.subscription;
            let literal = match &subscription.jid {
                Jid::Full(subscribed) => subscribed == jid,
                Jid::Bare(_) => true,
            };
            if !literal || !self.is_live(subscription) || !subscription.options.deliver {
                continue;
            }
            let node = self.existing_node(service, place.node_name.as_str())?;
            if node.config.send_last_published_item == SendLastPublishedItem::OnSubAndPresence {
                self.send_last_item(service, &node, jid.as_str(), false)?;
            }
        }
        Ok(())
    }
}

/// Access is computed anew when the roster changes (section 7.1): what is no longer allowed ends, what has become
/// possible begins with the last items.
fn roster_changed(context: &mut Context<'_>, service: &ServiceRef, contact: &Jid) -> Handled<()> {
    let Some(row) = context.stored_service(service)? else { return Ok(()) };
    let bare = contact.to_bare();
    let mut all = true;
    for place in context.store().subscriptions_of(bare.as_str(), Some(row.key))? {
        let Some(node) = context.node(service, place.node_name.as_str())? else { continue };
        if matches!(node.config.access_model, AccessModel::Presence | AccessModel::Roster) {
            let only = Some(bare.as_str());
            context.gather(|context| context.end_forbidden_subscriptions(service, &node, only), &mut all)?;
        }
    }
    let resources: Vec<String> =
        context.memory.presences.resources(&service.name, bare.as_str()).map(|(name, _)| name.to_owned()).collect();
    for resource in resources {
        if let Ok(jid) = FullJid::parse(&format!("{bare}/{resource}")) {
            context.gather(|context| context.send_wanted_items(service, &jid), &mut all)?;
        }
    }
    if all { Ok(()) } else { Err(crate::engine::context::Stop::Need) }
}
