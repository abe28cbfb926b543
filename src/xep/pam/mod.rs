//! XEP-0376 (0.2): the account manages the subscriptions of its owner, and all devices see the same list.
//!
//! A request for a service elsewhere leaves as an IQ of the account, written down as an intent first; the client is
//! answered when the service has answered. A service of this server is asked within the same transaction. The list is the
//! entries kept for services elsewhere and the account's subscriptions at services of this server, read where they are.

mod audit;
mod auto;
mod events;
mod journal;
mod recovery;

use super::{DocumentInfo, Extension, Operation as NodeOperation, Reply, Request, Route, Where};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::dispatch;
use crate::engine::event::Happened;
use crate::engine::ids::Ids;
use crate::engine::settings::Host;
use crate::forms::Form;
use crate::jid::{BareJid, FullJid, Jid};
use crate::ns;
use crate::pubsub::SubscriptionState;
use crate::pubsub::store::{Intent, PamEntry};
use crate::stanza::{self, Condition, IqType, PubsubCondition, Stanza, StanzaError};
use crate::time::Timestamp;
use crate::xml::{self, Document, Element, Writer};

pub(crate) use audit::Round;

pub(crate) struct Pam;

impl Extension for Pam {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0376",
            title: "Pubsub Account Management",
            version: "0.2",
            complete: true,
            notes: "with extensions: filters by resource, journal, automatic subscriptions",
        }]
    }

    fn features(&self, host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Account => match (host.journal.is_some(), host.auto_subscribe.is_some()) {
                (false, false) => &[ns::PAM],
                (true, false) => &[ns::PAM, ns::PAM_JOURNAL],
                (false, true) => &[ns::PAM, ns::PAM_AUTO],
                (true, true) => &[ns::PAM, ns::PAM_JOURNAL, ns::PAM_AUTO],
            },
            Where::Domain => &[ns::PAM],
            Where::Component | Where::Room => &[],
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[
            Route { ns: ns::PAM, name: "pam", handler: manage, reads: false },
            Route { ns: ns::PAM, name: "subscriptions", handler: list, reads: false },
        ]
    }

    fn on_event(&self, context: &mut Context<'_>, event: &Happened<'_>) -> Handled<()> {
        let Happened::SubscriptionChanged { service, node, jid, old, new, .. } = event else { return Ok(()) };
        // A full JID subscribes for one client: that is not the account's business.
        let Jid::Bare(account) = jid else { return Ok(()) };
        let account = account.clone();
        if old == new || !context.is_local_account(&account) {
            return Ok(());
        }
        // What the account does by itself is not in its list.
        let (name, place) = (account.as_str(), (service.jid.as_str(), node.name.as_str()));
        if context.store().auto_subscription(name, place.0, place.1)?.is_some() {
            if *new == SubscriptionState::None {
                context.change().delete_auto_subscription(name, place.0, place.1)?;
            }
            return Ok(());
        }
        bump(context, &account)?;
        if context.quiet_account.as_ref() == Some(&account) {
            return Ok(());
        }
        let change = Change {
            account: &account,
            service: service.jid.as_str(),
            node: node.name.as_str(),
            jid: jid.as_str(),
            subid: "",
            state: *new,
        };
        notify(context, &change, None)
    }

    fn on_answer(&self, context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<bool> {
        let Some(intent) = context.store().intent(stanza.id)? else { return Ok(false) };
        let account = BareJid::from_prepared(&intent.account);
        let from_service = stanza.from.as_str() == &*intent.service;
        if !from_service || stanza.to.as_ref().map(Jid::as_str) != Some(account.as_str()) {
            return Ok(false);
        }
        context.change().delete_intent(&intent.id)?;
        match intent.operation {
            CHECK | CHECK_PUBLICLY => return recovery::checked(context, &intent, stanza).map(|()| true),
            RENEW | RENEW_PUBLICLY => return recovery::renewed(context, &intent, stanza).map(|()| true),
            AUDIT => return audit::answered(context, &intent, stanza).map(|()| true),
            AUTO_DISCO | AUTO_SUBSCRIBE | AUTO_UNSUBSCRIBE => {
                return auto::answered(context, &intent, stanza).map(|()| true);
            }
            _ => {}
        }
        let mut doubtful = false;
        let answer = if stanza.r#type == IqType::Result.as_str() {
            Ok(read_subscription(stanza.element.child("pubsub", ns::PUBSUB), &intent))
        } else {
            let error = stanza.element.child("error", ns::CLIENT).map(StanzaError::received);
            let error = error.unwrap_or_else(|| StanzaError::new(Condition::ServiceUnavailable));
            // An unreachable service cannot have made its own error: that was the account's server.
            let unreachable = recovery::is_unreachable(&error);
            // It may have arrived all the same; and what ends or changes a subscription is not given up before the
            // service agrees.
            let entries =
                context.store().pam_entries_for(&intent.account, &intent.service, intent.node_name.as_str())?;
            let changes = intent.operation == UNSUBSCRIBE || !entries.is_empty();
            let in_doubt = intent.attempts == IN_DOUBT && intent.operation != UNSUBSCRIBE;
            doubtful = error.condition() == Condition::RemoteServerTimeout || (unreachable && changes) || in_doubt;
            if intent.operation != UNSUBSCRIBE {
                recovery::learn(context, &intent, &error)?;
            }
            Err(error.by(if unreachable { account.as_str() } else { &intent.service }))
        };
        let operation = Operation::of(&intent);
        let answer = conclude(context, &operation, answer, true)?;
        answer_requester(context, &intent, answer);
        if doubtful {
            recovery::later(context, &intent)?;
        }
        Ok(true)
    }

    fn on_overdue(&self, context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
        match intent.operation {
            AUTO_DISCO | AUTO_SUBSCRIBE | AUTO_UNSUBSCRIBE => auto::overdue(context, intent),
            AUDIT => audit::overdue(context, intent),
            _ => recovery::overdue(context, intent),
        }
    }

    fn on_interest(&self, context: &mut Context<'_>, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
        auto::interest(context, service, jid)
    }

    fn on_departure(&self, context: &mut Context<'_>, service: &ServiceRef, jid: &FullJid) -> Handled<()> {
        auto::departure(context, service, jid)
    }

    fn on_roster(&self, context: &mut Context<'_>, service: &ServiceRef, contact: &Jid) -> Handled<()> {
        auto::roster_changed(context, service, contact)
    }

    fn next_tick(&self, context: &mut Context<'_>) -> Option<Timestamp> {
        audit::next(context)
    }

    fn on_tick(&self, context: &mut Context<'_>) -> Handled<()> {
        auto::sweep(context)?;
        audit::go_on(context)
    }

    fn virtual_node(
        &self,
        context: &mut Context<'_>,
        request: &Request<'_>,
        operation: NodeOperation,
        node: &str,
    ) -> Handled<Option<Reply>> {
        if operation != NodeOperation::Archive || node != ns::PAM {
            return Ok(None);
        }
        journal::query(context, request).map(Some)
    }

    fn on_message(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<bool> {
        if to.is_account() { events::for_account(context, stanza, to) } else { Ok(false) }
    }

    fn on_client_message(
        &self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        account: &ServiceRef,
        client: &FullJid,
    ) -> Handled<()> {
        events::for_device(context, stanza, account, client)
    }

    fn on_account_removed(&self, context: &mut Context<'_>, service: &ServiceRef) -> Handled<()> {
        let account = service.jid.as_str();
        let automatic = context.store().auto_subscriptions(account)?;
        let entries = context.store().pam_entries(account)?;
        let mut ended: Vec<_> =
            entries.into_iter().map(|entry| (entry.service, entry.node_name, entry.subid)).collect();
        // What was asked for and not answered may come to be, or may not have come to an end.
        for intent in context.store().intents_of(account)? {
            let open = !matches!(intent.operation, AUTO_DISCO | AUDIT);
            if open && !ended.iter().any(|(service, node, _)| *service == intent.service && *node == intent.node_name) {
                ended.push((intent.service, intent.node_name, "".into()));
            }
        }
        context.change().delete_journal(account)?;
        context.change().delete_pam_account(account)?;
        for auto in automatic {
            auto::end(context, service, &auto)?;
        }
        for (service, node, subid) in ended {
            auto::unsubscribe(context, account, &service, node.as_str(), &subid)?;
        }
        Ok(())
    }
}

/// What was asked of a service.
struct Operation<'i> {
    account: BareJid,
    service: &'i str,
    node: &'i str,
    subid: &'i str,
    code: u8,
    requester: &'i str,
}

const SUBSCRIBE: u8 = 1;
const SUBSCRIBE_PUBLICLY: u8 = 2;
const UNSUBSCRIBE: u8 = 3;
/// What does the service have? Asked after a subscription whose answer did not come.
const CHECK: u8 = 4;
const CHECK_PUBLICLY: u8 = 5;
/// Requests that the account makes by itself.
const AUTO_DISCO: u8 = 6;
const AUTO_SUBSCRIBE: u8 = 7;
const AUTO_UNSUBSCRIBE: u8 = 8;
/// The same subscription once more, after a request that may have been lost: the service learns whether it is public.
const RENEW: u8 = 9;
const RENEW_PUBLICLY: u8 = 10;
/// What does the service have at all?
const AUDIT: u8 = 11;

impl<'i> Operation<'i> {
    fn of(intent: &'i Intent) -> Self {
        Self {
            account: BareJid::from_prepared(&intent.account),
            service: &intent.service,
            node: intent.node_name.as_str(),
            subid: &intent.subid,
            code: intent.operation,
            requester: &intent.requester,
        }
    }
}

/// Attempts of a request that follows others which were not answered: what the service has is not known.
const IN_DOUBT: i64 = 2;

/// What a service said of a subscription.
struct Told {
    state: SubscriptionState,
    subid: String,
}

/// A change of the list.
struct Change<'c> {
    account: &'c BareJid,
    service: &'c str,
    node: &'c str,
    jid: &'c str,
    subid: &'c str,
    state: SubscriptionState,
}

/// The account that a request is about: its own sender's.
fn own_account(request: &Request<'_>) -> Handled<BareJid> {
    let account = request.from.to_bare();
    if request.at_domain || account == request.service.jid {
        return Ok(account);
    }
    Err(StanzaError::new(Condition::ServiceUnavailable).into())
}

fn manage(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let account = own_account(request)?;
    if request.kind != IqType::Set || !context.is_local_account(&account) {
        return Err(StanzaError::new(Condition::ServiceUnavailable).into());
    }
    if let Some(jid) = request.from.as_full() {
        context.memory.presences.note_pam(jid);
    }
    match perform(context, request, &account) {
        Err(Stop::Refused(error)) => Err(error.by(account.as_str()).into()),
        other => other,
    }
}

fn bad(text: &'static str) -> StanzaError {
    StanzaError::new(Condition::BadRequest).text(text)
}

/// The service named by `jid` or `service` (the document uses both).
fn target_service(pam: Element<'_>) -> Handled<BareJid> {
    let service = match (pam.attr("jid"), pam.attr("service")) {
        (Some(jid), Some(service)) if jid != service => return Err(bad("'jid' and 'service' differ").into()),
        (Some(jid), _) => jid,
        (None, Some(service)) => service,
        (None, None) => return Err(bad("'jid' is missing").with(PubsubCondition::JidRequired).into()),
    };
    Ok(BareJid::parse(service).map_err(|_| bad("'jid' is not the JID of a service"))?)
}

/// What the owner asks for is not automatic any more, whatever comes of it.
fn take_over(context: &mut Context<'_>, account: &BareJid, service: &BareJid, node: &str) -> Handled<()> {
    let (account, service) = (account.as_str(), service.as_str());
    if context.store().auto_subscription(account, service, node)?.is_some() {
        context.change().delete_auto_subscription(account, service, node)?;
        bump(context, &BareJid::from_prepared(account))?;
    }
    Ok(())
}

fn perform(context: &mut Context<'_>, request: &Request<'_>, account: &BareJid) -> Handled<Reply> {
    let service = target_service(request.element)?;
    let mut operation = None;
    let mut options = None;
    for child in request.element.children() {
        match (child.name(), child.ns()) {
            ("subscribe" | "unsubscribe", ns::PUBSUB) if operation.is_none() => operation = Some(child),
            ("options", ns::PUBSUB) if options.is_none() && operation.is_some() => options = Some(child),
            _ => return Err(bad("<pam/> holds one operation").into()),
        }
    }
    let operation = operation.ok_or_else(|| bad("<pam/> holds one operation"))?;
    let subscribes = operation.name() == "subscribe";
    let jid = operation.attr("jid").ok_or_else(|| bad("'jid' is missing").with(PubsubCondition::JidRequired))?;
    if !Jid::parse(jid).is_ok_and(|jid| jid == Jid::Bare(account.clone())) {
        return Err(bad("'jid' is not the account's own").with(PubsubCondition::InvalidJid).into());
    }
    let node = operation.attr("node").filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| bad("'node' is missing").with(PubsubCondition::NodeidRequired))?;
    let mut field = None;
    let mut forwarded = operation.to_standalone();
    if let Some(options) = options {
        let same = |name, own: &str| options.attr(name).is_none_or(|value| value == own);
        if !subscribes || !same("node", node) || !same("jid", jid) {
            return Err(bad("<options/> is for something else").into());
        }
        let mut writer = Writer::new();
        writer.start_ns("options", ns::PUBSUB);
        if let Some(x) = options.child("x", ns::DATA_FORMS) {
            field = Form::read(x)?.value(ns::PPS_PUBLIC_FIELD).and_then(xml::boolean);
            writer.raw(&x.to_standalone());
        }
        forwarded.push_str(&writer.finish());
    }
    let element = operation.child("public", ns::PPS).is_some();
    if element && field == Some(false) {
        return Err(bad("<public/> and the field contradict each other").into());
    }
    let code = match (subscribes, element || field == Some(true)) {
        (true, true) => SUBSCRIBE_PUBLICLY,
        (true, false) => SUBSCRIBE,
        (false, _) => UNSUBSCRIBE,
    };
    let payload = format!("<pubsub xmlns='{}'>{forwarded}</pubsub>", ns::PUBSUB);
    let subid = operation.attr("subid").unwrap_or("");
    take_over(context, account, &service, node)?;
    let asked = Asked { account, service: &service, node, subid, code, payload };
    match context.service_at(&service) {
        Some(local) => ask_here(context, request, &asked, local),
        None => ask_elsewhere(context, request, &asked),
    }
}

/// A request that was found in order.
struct Asked<'a> {
    account: &'a BareJid,
    service: &'a BareJid,
    node: &'a str,
    subid: &'a str,
    code: u8,
    payload: String,
}

/// Asks a service of this server, within the same transaction.
fn ask_here(
    context: &mut Context<'_>,
    request: &Request<'_>,
    asked: &Asked<'_>,
    service: ServiceRef,
) -> Handled<Reply> {
    let limits = context.memory.settings.limits;
    let document = Document::parse(&asked.payload, &limits)?;
    context.quiet_account = Some(asked.account.clone());
    let answer = dispatch::serve(context, Jid::Bare(asked.account.clone()), service, &document);
    context.quiet_account = None;
    let answer = match answer {
        Ok(Reply::Result(xml)) => {
            let document = Document::parse(&xml, &limits)?;
            Ok(read_told(Some(document.root()), asked.code))
        }
        Ok(Reply::Later | Reply::Pass) => Ok(None),
        Err(Stop::Refused(error)) => Err(error.by(asked.service.as_str())),
        Err(stop) => return Err(stop),
    };
    // In doubt the subscription is not public (XEP-0465, section 4.3).
    if asked.code != SUBSCRIBE_PUBLICLY {
        context.unlist_subscription(asked.account, asked.service.as_str(), asked.node)?;
    }
    let operation = Operation {
        account: asked.account.clone(),
        service: asked.service.as_str(),
        node: asked.node,
        subid: asked.subid,
        code: asked.code,
        requester: request.from.as_str(),
    };
    match conclude(context, &operation, answer, false)? {
        Ok(()) => Ok(Reply::Result(String::new())),
        Err(error) => {
            // What was withdrawn stays withdrawn: the error is an answer, not a way back.
            context.answer_with_error(request, &error);
            Ok(Reply::Later)
        }
    }
}

/// Not public from now on, whatever the service says, and whatever it said before and is still under way.
fn withdraw(context: &mut Context<'_>, asked: &Asked<'_>) -> Handled<()> {
    let (account, service, node) = (asked.account.as_str(), asked.service.as_str(), asked.node);
    context.unlist_subscription(asked.account, service, node)?;
    for entry in context.store().pam_entries_for(account, service, node)? {
        if entry.wants_public {
            context.change().put_pam_entry(account, &PamEntry { wants_public: false, ..entry })?;
        }
    }
    Ok(())
}

/// Asks a service elsewhere; the client is answered when it has answered.
fn ask_elsewhere(context: &mut Context<'_>, request: &Request<'_>, asked: &Asked<'_>) -> Handled<Reply> {
    if asked.code != SUBSCRIBE_PUBLICLY {
        withdraw(context, asked)?;
    }
    let doubt = recovery::supersede(context, asked.account, asked.service.as_str(), asked.node, asked.code)?;
    let id = context.memory.ids.request("pam");
    let mut iq = stanza::iq(IqType::Set, &id, asked.account.as_str(), asked.service.as_str());
    iq.raw(&asked.payload);
    let stanza = iq.finish();
    let deadline = context.now.plus_seconds(context.memory.settings.request_timeout);
    let intent = Intent {
        id: id.into(),
        account: asked.account.as_str().into(),
        service: asked.service.as_str().into(),
        node_name: asked.node.into(),
        subid: asked.subid.into(),
        operation: asked.code,
        requester: request.from.as_str().into(),
        request_id: request.id.as_str().into(),
        request_to: request.to.as_str().into(),
        stanza: stanza.as_str().into(),
        attempts: if doubt { IN_DOUBT } else { 1 },
        deadline,
    };
    context.change().put_intent(&intent)?;
    context.wake_at(deadline);
    context.out.push(Decision::Route { stanza });
    Ok(Reply::Later)
}

fn read_subscription(pubsub: Option<Element<'_>>, intent: &Intent) -> Option<Told> {
    read_told(pubsub, intent.operation)
}

/// The `<subscription/>` of an answer. A service need not send one back (section 6.2.2 of XEP-0060).
fn read_told(pubsub: Option<Element<'_>>, code: u8) -> Option<Told> {
    let subscription = pubsub?.child("subscription", ns::PUBSUB)?;
    let usual = if code == UNSUBSCRIBE { SubscriptionState::None } else { SubscriptionState::Subscribed };
    let state = subscription.attr("subscription").and_then(SubscriptionState::parse).unwrap_or(usual);
    Some(Told { state, subid: subscription.attr("subid").unwrap_or("").to_owned() })
}

/// Draws the conclusions from an answer: the list, its version, the public list, and the notification, which goes out
/// before the client's own answer. `elsewhere` says whether the list keeps the entry, or the service of this server.
fn conclude(
    context: &mut Context<'_>,
    operation: &Operation<'_>,
    answer: Result<Option<Told>, StanzaError>,
    elsewhere: bool,
) -> Handled<Result<(), StanzaError>> {
    let (account, service, node) = (&operation.account, operation.service, operation.node);
    let jid = account.as_str();
    let change = |subid, state| Change { account, service, node, jid, subid, state };
    if operation.code == UNSUBSCRIBE {
        let stale = |error: &StanzaError| {
            matches!(error.condition(), Condition::ItemNotFound | Condition::Gone)
                || error.pubsub() == Some(PubsubCondition::NotSubscribed)
        };
        if answer.as_ref().is_err_and(|error| !stale(error)) {
            return Ok(answer.map(drop));
        }
        if drop_entries(context, operation)? {
            bump(context, account)?;
        }
        context.unlist_subscription(account, service, node)?;
        notify(context, &change(operation.subid, SubscriptionState::None), Some(operation.requester))?;
        return Ok(answer.map(drop));
    }
    let told = match answer {
        Ok(told) => told.unwrap_or(Told { state: SubscriptionState::Subscribed, subid: String::new() }),
        Err(error) => return Ok(Err(error)),
    };
    let public = operation.code == SUBSCRIBE_PUBLICLY;
    if elsewhere {
        put_entry(context, operation, &told, public)?;
    }
    if public && !elsewhere {
        context.show_once_subscribed(account, service, node)?;
    }
    if public && told.state == SubscriptionState::Subscribed {
        context.list_subscription(account, service, node)?;
    }
    notify(context, &change(&told.subid, told.state), Some(operation.requester))?;
    Ok(Ok(()))
}

/// Takes the entries that an operation is about off the list; true if there were any.
fn drop_entries(context: &mut Context<'_>, operation: &Operation<'_>) -> Handled<bool> {
    let (account, service, node) = (operation.account.as_str(), operation.service, operation.node);
    let mut changed = false;
    for entry in context.store().pam_entries_for(account, service, node)? {
        if operation.subid.is_empty() || *entry.subid == *operation.subid {
            changed |= context.change().delete_pam_entry(account, service, node, &entry.subid)?;
        }
    }
    Ok(changed)
}

/// Tells the account's clients what has become of a subscription that no client is waiting for.
fn notify_of(
    context: &mut Context<'_>,
    operation: &Operation<'_>,
    subid: &str,
    state: SubscriptionState,
) -> Handled<()> {
    let account = &operation.account;
    let (service, node, jid) = (operation.service, operation.node, account.as_str());
    notify(context, &Change { account, service, node, jid, subid, state }, None)
}

/// Writes the entry of a subscription elsewhere; the version changes if anything that is shown did.
fn put_entry(context: &mut Context<'_>, operation: &Operation<'_>, told: &Told, public: bool) -> Handled<()> {
    let account = operation.account.as_str();
    let present = context.store().pam_entries_for(account, operation.service, operation.node)?;
    let known = present.iter().find(|entry| *entry.subid == *told.subid);
    let changed = known.is_none_or(|entry| entry.state != told.state || entry.unsubscribing);
    let entry = PamEntry {
        service: operation.service.into(),
        node_name: operation.node.into(),
        subid: told.subid.as_str().into(),
        state: told.state,
        wants_public: public,
        unsubscribing: false,
    };
    context.change().put_pam_entry(account, &entry)?;
    // An older subscription may have been public; this one is not in force.
    if told.state != SubscriptionState::Subscribed {
        context.unlist_subscription(&operation.account, operation.service, operation.node)?;
    }
    if changed { bump(context, &operation.account) } else { Ok(()) }
}

/// The list has changed.
fn bump(context: &mut Context<'_>, account: &BareJid) -> Handled<()> {
    let version = context.store().pam_version(account.as_str())?;
    context.change().set_pam_version(account.as_str(), version + 1)?;
    Ok(())
}

/// The version as clients see it: it tells nothing but that it is another one.
fn version(context: &mut Context<'_>, account: &BareJid) -> Handled<String> {
    let number = context.store().pam_version(account.as_str())?.to_string();
    Ok(Ids::derived(&context.memory.secret, &["pam", account.as_str(), &number]))
}

/// Tells every interested resource, the one that asked included.
fn notify(context: &mut Context<'_>, change: &Change<'_>, requester: Option<&str>) -> Handled<()> {
    let account = change.account;
    let ver = version(context, account)?;
    let mut interested: Vec<FullJid> = Vec::new();
    for (resource, _) in context.memory.presences.resources(account.as_str(), account.as_str()) {
        if let Ok(jid) = FullJid::parse(&format!("{account}/{resource}"))
            && context.memory.presences.knows_pam(account.as_str(), &jid)
        {
            interested.push(jid);
        }
    }
    interested.sort_unstable();
    if let Some(jid) = requester.and_then(|jid| FullJid::parse(jid).ok())
        && !interested.contains(&jid)
    {
        interested.push(jid);
    }
    for jid in interested {
        let id = context.memory.ids.event();
        let mut writer = Writer::new();
        writer.start("message").attr("id", &id).attr("from", account.as_str()).attr("to", jid.as_str());
        writer.attr("type", "headline");
        writer.start_ns("notify", ns::PAM).attr("ver", &ver).attr("service", change.service);
        writer.start_ns("subscription", ns::PUBSUB).attr("node", change.node).attr("jid", change.jid);
        writer.attr("subscription", change.state.as_str());
        writer.optional_attr("subid", Some(change.subid).filter(|subid| !subid.is_empty()));
        context.out.push(Decision::Route { stanza: writer.finish() });
    }
    Ok(())
}

fn answer_requester(context: &mut Context<'_>, intent: &Intent, answer: Result<(), StanzaError>) {
    if intent.requester.is_empty() {
        return;
    }
    let from = Some(&*intent.request_to).filter(|to| !to.is_empty()).unwrap_or(&intent.account);
    let stanza = match answer {
        Ok(()) => stanza::result(&intent.request_id, Some(from), &intent.requester, ""),
        Err(error) => stanza::refusal(&intent.request_id, Some(from), &intent.requester, &error),
    };
    context.out.push(Decision::Route { stanza });
}

/// The list (section 3.4), or nothing if the client has it.
fn list(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let account = own_account(request)?;
    if request.kind != IqType::Get || !context.is_local_account(&account) {
        return Err(StanzaError::new(Condition::ServiceUnavailable).into());
    }
    if let Some(jid) = request.from.as_full() {
        context.memory.presences.note_pam(jid);
    }
    let ver = version(context, &account)?;
    let with_auto = request.element.attr("auto").and_then(xml::boolean) == Some(true);
    // The version is that of the list without them.
    if request.element.attr("ver") == Some(&ver) && !with_auto {
        return Ok(Reply::Result(String::new()));
    }
    let mut writer = Writer::with_capacity(1_024);
    writer.start_ns("subscriptions", ns::PAM).attr("ver", &ver);
    for entry in context.store().pam_entries(account.as_str())? {
        let (service, node) = (&entry.service, entry.node_name.as_str());
        write_listed(&mut writer, service, node, account.as_str(), entry.state, &entry.subid);
    }
    let automatic = context.store().auto_subscriptions(account.as_str())?;
    for place in context.store().subscriptions_of(account.as_str(), None)? {
        let subscription = &place.subscription;
        let node = place.node_name.as_str();
        let is_auto = automatic.iter().any(|auto| *auto.service == *place.service && auto.node_name == place.node_name);
        // What is subscribed to in a room lasts as long as one is there.
        let service = context.service_at(&BareJid::from_prepared(&place.service));
        let passing = service.is_some_and(|service| service.in_room());
        if subscription.jid.as_full().is_some() || is_auto || passing {
            continue;
        }
        write_listed(&mut writer, &place.service, node, subscription.jid.as_str(), subscription.state, "");
    }
    for auto in automatic.iter().filter(|auto| with_auto && auto.state != SubscriptionState::None) {
        let (service, node) = (&auto.service, auto.node_name.as_str());
        write_entry(&mut writer, service, node, account.as_str(), auto.state, &auto.subid);
        writer.attr("auto", "true").end();
    }
    Ok(Reply::Result(writer.finish()))
}

fn write_listed(writer: &mut Writer, service: &str, node: &str, jid: &str, state: SubscriptionState, subid: &str) {
    write_entry(writer, service, node, jid, state, subid);
    writer.end();
}

/// Begins an entry of the list; the caller ends it.
fn write_entry(writer: &mut Writer, service: &str, node: &str, jid: &str, state: SubscriptionState, subid: &str) {
    writer.start("subscription").attr("service", service).attr("node", node).attr("jid", jid);
    writer.attr("subscription", state.as_str());
    writer.optional_attr("subid", Some(subid).filter(|subid| !subid.is_empty()));
}
