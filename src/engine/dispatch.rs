//! Where an input goes: which service a stanza is for, and which extension answers it.

use super::context::{Context, Handled, ServiceRef, Stop};
use super::decision::Decision;
use super::ids::REQUEST_PREFIX;
use super::input::{Input, InputKind};
use crate::error::{Error, ErrorKind};
use crate::jid::{BareJid, FullJid, Jid};
use crate::pubsub::policy::Kind;
use crate::stanza::{self, Condition, ErrorType, IqType, Stanza, StanzaError};
use crate::xep::{EXTENSIONS, Reply, Request};
use crate::xml::{Document, Element, Writer};

/// Rows that one tick sweeps; the next one follows at once if there are more.
const SWEEP: usize = 500;

/// Handles one input; the decisions are in the context.
pub(crate) fn run(context: &mut Context<'_>, input: &Input) -> Handled<()> {
    if !context.memory.planned {
        plan(context)?;
    }
    match &input.kind {
        InputKind::Stanza(xml) => run_stanza(context, xml),
        InputKind::Tick => tick(context),
        InputKind::SessionEnded(jid) => session_ended(context, &FullJid::parse(jid)?),
        InputKind::AccountRemoved(jid) => account_removed(context, &BareJid::parse(jid)?),
        InputKind::RosterChanged { owner, contact } => {
            let (owner, contact) = (BareJid::parse(owner)?, Jid::parse(contact)?);
            let Some(service) = context.service_at(&owner) else { return Ok(()) };
            EXTENSIONS.iter().try_for_each(|extension| extension.on_roster(context, &service, &contact))
        }
        InputKind::RoomChanged(jid) => {
            let service = context.service_at(&BareJid::parse(jid)?).filter(ServiceRef::in_room);
            service.map_or(Ok(()), |room| context.room_described(&room))
        }
        InputKind::Import(xml) => super::import::run(context, xml),
        InputKind::Command(text) => super::command::run(context, text),
    }
}

fn run_stanza(context: &mut Context<'_>, xml: &str) -> Handled<()> {
    let limits = context.memory.settings.limits;
    let document = Document::parse(xml, &limits)?;
    let stanza = Stanza::read(document.root())?;
    if context.memory.reads_only && (stanza.kind != stanza::Kind::Iq || stanza.r#type != "get") {
        return Err(Stop::Writer);
    }
    // Who is in a room is in the writer's memory.
    let host = stanza.to.as_ref().and_then(|to| context.hosts.get(to.domain()));
    if context.memory.reads_only && host.is_some_and(|host| host.policy.kind == Kind::Room) {
        return Err(Stop::Writer);
    }
    match stanza.kind {
        stanza::Kind::Iq => iq(context, &stanza),
        stanza::Kind::Message => message(context, &stanza),
        stanza::Kind::Presence => presence(context, &stanza),
    }
}

/// The service that a stanza is for, and whether it was addressed to the domain of the accounts.
fn target(context: &Context<'_>, stanza: &Stanza<'_>) -> Option<(ServiceRef, bool)> {
    let to = stanza.to.clone().unwrap_or_else(|| stanza.from.to_bare().into());
    if let Jid::Full(jid) = &to {
        let stay = context.memory.presences.rooms().by_nick(jid.bare_str(), jid.resource())?;
        return Some((context.occupant_service(stay)?, false));
    }
    let Jid::Bare(bare) = &to else { return None };
    if let Some(service) = context.service_at(bare) {
        return Some((service, false));
    }
    let host = context.hosts.get(bare.as_str()).filter(|host| host.policy.kind == Kind::Account)?;
    Some((ServiceRef { jid: bare.clone(), name: bare.as_str().into(), host: host.clone() }, true))
}

fn pass(context: &mut Context<'_>) {
    context.out.push(Decision::Pass);
}

fn iq(context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<()> {
    let kind = match IqType::parse(stanza.r#type) {
        Some(kind @ (IqType::Get | IqType::Set)) => kind,
        Some(IqType::Result | IqType::Error) => return answer(context, stanza),
        None => {
            pass(context);
            return Ok(());
        }
    };
    let (Some((service, at_domain)), Some(element)) = (target(context, stanza), stanza.element.only_child()) else {
        pass(context);
        return Ok(());
    };
    let request = Request {
        kind,
        from: stanza.from.clone(),
        service,
        at_domain,
        id: stanza.id.to_owned(),
        to: stanza.element.attr("to").unwrap_or("").to_owned(),
        element,
    };
    if request.service.in_room() && !crate::xep::admit(context, &request)? {
        pass(context);
        return Ok(());
    }
    match route(context, &request)? {
        Reply::Pass => pass(context),
        reply => context.answer(&request, reply),
    }
    Ok(())
}

fn route(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let (name, ns) = (request.element.name(), request.element.ns());
    let mut routes = EXTENSIONS.iter().flat_map(|extension| extension.routes());
    match routes.find(|route| route.name == name && route.ns == ns) {
        Some(route) if context.memory.reads_only && !route.reads => Err(Stop::Writer),
        Some(route) => (route.handler)(context, request),
        None => Ok(Reply::Pass),
    }
}

/// Lets a service of this server answer a request that an extension makes for an account.
pub(crate) fn serve(
    context: &mut Context<'_>,
    from: Jid,
    service: ServiceRef,
    payload: &Document<'_>,
) -> Handled<Reply> {
    let element: Element<'_> = payload.root();
    let (id, to) = (String::new(), String::new());
    route(context, &Request { kind: IqType::Set, from, service, at_domain: false, id, to, element })
}

/// Lets a service publish as itself.
pub(crate) fn publish(
    context: &mut Context<'_>,
    service: &ServiceRef,
    node: &str,
    id: Option<&str>,
    payload: &str,
) -> Handled<Reply> {
    let mut writer = Writer::with_capacity(payload.len() + 256);
    writer.start_ns("pubsub", crate::ns::PUBSUB).start("publish").attr("node", node);
    writer.start("item").optional_attr("id", id).raw(payload);
    let request = writer.finish();
    let document = Document::parse(&request, &context.memory.settings.limits)?;
    let privileged = std::mem::replace(&mut context.privileged, true);
    let reply = serve(context, Jid::Bare(service.jid.clone()), service.clone(), &document);
    context.privileged = privileged;
    reply
}

fn answer(context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<()> {
    if stanza.id.starts_with(REQUEST_PREFIX) {
        for extension in EXTENSIONS {
            if extension.on_answer(context, stanza)? {
                return Ok(());
            }
        }
    }
    pass(context);
    Ok(())
}

fn message(context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<()> {
    let Some((service, _)) = target(context, stanza) else {
        return message_to_client(context, stanza);
    };
    if stanza.r#type == "error" {
        return bounced(context, stanza, &service);
    }
    for extension in EXTENSIONS.iter().filter(|_| !service.in_room()) {
        if extension.on_message(context, stanza, &service)? {
            return Ok(());
        }
    }
    pass(context);
    Ok(())
}

/// A message to one client of an account: the client's own in any case, but the account may have to learn from it too.
fn message_to_client(context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<()> {
    pass(context);
    let Some(client) = stanza.to.as_ref().and_then(Jid::as_full).filter(|_| stanza.r#type != "error") else {
        return Ok(());
    };
    let Some(service) = context.service_at(&client.to_bare()).filter(ServiceRef::is_account) else { return Ok(()) };
    for extension in EXTENSIONS {
        extension.on_client_message(context, stanza, &service, client)?;
    }
    Ok(())
}

/// A notification came back (section 12.4): if for good, the subscription of whoever sent it back ends. The id names the
/// node, so that nobody can end what is not his own.
fn bounced(context: &mut Context<'_>, stanza: &Stanza<'_>, service: &ServiceRef) -> Handled<()> {
    let key = stanza.id.split_once('.').and_then(|(key, _)| i64::from_str_radix(key, 16).ok());
    let error = stanza.element.children().find(|child| child.name() == "error");
    let (Some(key), Some(error)) = (key, error) else {
        pass(context);
        return Ok(());
    };
    let gone = error.child("gone", crate::ns::STANZA_ERRORS).is_some();
    let cancelled = error.attr("type").and_then(ErrorType::parse) == Some(ErrorType::Cancel);
    // This server's own words, which it also has for one that is being restarted: nothing is known of the subscriber.
    let unreached = ["remote-server-not-found", "remote-server-timeout"];
    let unreached = unreached.iter().any(|condition| error.child(condition, crate::ns::STANZA_ERRORS).is_some());
    let for_good = gone || (cancelled && !unreached);
    let Some(node) = context.store().node_by_key(crate::pubsub::store::NodeKey(key))? else { return Ok(()) };
    let Some(node) = context.node(service, node.name.as_str())?.filter(|known| known.key == node.key) else {
        return Ok(());
    };
    if for_good {
        for subscription in context.store().subscriptions_to(node.key, stanza.from.bare_str())? {
            if subscription.jid == stanza.from {
                context.end_subscription(service, &node, &subscription, super::subscriptions::Ending::Silent)?;
            }
        }
    }
    Ok(())
}

fn presence(context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<()> {
    let Some((service, false)) = target(context, stanza) else {
        pass(context);
        return Ok(());
    };
    for extension in EXTENSIONS.iter().filter(|extension| !service.in_room() || extension.serves_rooms()) {
        extension.on_presence(context, stanza, &service)?;
    }
    // Presence is the host's own business as well.
    pass(context);
    Ok(())
}

fn session_ended(context: &mut Context<'_>, jid: &FullJid) -> Handled<()> {
    for name in context.memory.presences.services_of(jid) {
        // Who leaves a room is told by the room.
        let service = context.service_at(&BareJid::from_prepared(&name)).filter(|service| !service.in_room());
        if let Some(service) = service {
            context.resource_left(&service, jid)?;
        }
    }
    for extension in EXTENSIONS {
        extension.on_session_ended(context, jid)?;
    }
    context.memory.presences.end_session(jid);
    Ok(())
}

fn account_removed(context: &mut Context<'_>, account: &BareJid) -> Handled<()> {
    let Some(service) = context.service_at(account) else { return Ok(()) };
    if service.in_room() {
        return context.room_removed(&service);
    }
    for extension in EXTENSIONS {
        extension.on_account_removed(context, &service)?;
    }
    for place in context.store().subscriptions_of(account.as_str(), None)? {
        context.end_placed(vec![place], super::subscriptions::Ending::Silent)?;
    }
    context.remove_service(&service)?;
    context.memory.presences.remove_service(account.as_str());
    Ok(())
}

/// Does what is due: expired items, ended leases, requests without an answer.
fn tick(context: &mut Context<'_>) -> Handled<()> {
    let now = context.now;
    context.memory.next_wake = None;
    for node in context.store().nodes_to_sweep(now, SWEEP)? {
        let found = context.service_of_node(&node)?;
        match found {
            Some((service, node)) => context.sweep_node(&service, &node, SWEEP as i64)?,
            None => {
                let counters = crate::pubsub::Counters { sweep_at: None, ..node.counters };
                context.change().update_node_counters(node.key, &counters)?;
            }
        }
    }
    let ended = context.store().expired_subscriptions(now, SWEEP)?;
    context.end_placed(ended, super::subscriptions::Ending::Told)?;
    if context.store().next_journal_end()?.is_some_and(|end| end <= now) {
        context.change().delete_expired_journal(now, SWEEP)?;
    }
    for intent in context.store().overdue_intents(now, SWEEP)? {
        for extension in EXTENSIONS {
            extension.on_overdue(context, &intent)?;
        }
    }
    for extension in EXTENSIONS {
        extension.on_tick(context)?;
    }
    context.flush()?;
    plan(context)
}

/// Asks the host to tick when the next thing is due.
fn plan(context: &mut Context<'_>) -> Handled<()> {
    context.memory.planned = true;
    let next = EXTENSIONS.iter().filter_map(|extension| extension.next_tick(context)).min();
    let due = [
        context.store().next_sweep()?,
        context.store().next_lease_end()?,
        context.store().next_deadline()?,
        context.store().next_journal_end()?,
        context.store().next_auto_end()?,
        context.memory.presences.next_deadline(),
        next,
    ];
    if let Some(due) = due.into_iter().flatten().min() {
        context.wake_at(due.max(context.now));
    }
    Ok(())
}

impl Context<'_> {
    /// Answers a request.
    pub(crate) fn answer(&mut self, request: &Request<'_>, reply: Reply) {
        if let Reply::Result(payload) = reply {
            let from = Some(request.to.as_str()).filter(|to| !to.is_empty());
            let stanza =
                stanza::result(&request.id, from.or(self.default_sender(request)), request.from.as_str(), &payload);
            self.out.push(Decision::Route { stanza });
        }
    }

    /// Answers a request with an error although something was done.
    pub(crate) fn answer_with_error(&mut self, request: &Request<'_>, error: &StanzaError) {
        let from = Some(request.to.as_str()).filter(|to| !to.is_empty());
        let from = from.or(self.default_sender(request));
        let stanza = stanza::refusal(&request.id, from, request.from.as_str(), error);
        self.out.push(Decision::Route { stanza });
    }

    /// Requests without `to` are answered by the account.
    fn default_sender<'r>(&self, request: &'r Request<'_>) -> Option<&'r str> {
        Some(request.service.jid.as_str())
    }

    /// Removes a service with all its nodes; nobody is told but the modules of the host.
    pub(crate) fn remove_service(&mut self, service: &ServiceRef) -> Handled<()> {
        let Some(row) = self.store().service(&service.name)? else { return Ok(()) };
        let actor = Jid::Bare(service.jid.clone());
        for node in self.store().nodes(row.key, None, usize::MAX)? {
            self.end_all_subscriptions(service, &node)?;
            self.happened(&super::event::Happened::NodeDeleted { service, node: &node, actor: &actor })?;
        }
        self.change().delete_service(row.key)?;
        self.memory.cache.remove_service(&service.name);
        Ok(())
    }

    /// The service of a node that was found without it.
    pub(crate) fn service_of_node(
        &mut self,
        node: &crate::pubsub::Node,
    ) -> Handled<Option<(ServiceRef, crate::pubsub::Node)>> {
        let Some(jid) = self.store().service_jid(node.service)? else { return Ok(None) };
        let Some(service) = self.service_at(&BareJid::from_prepared(&jid)) else { return Ok(None) };
        Ok(self.node(&service, node.name.as_str())?.map(|node| (service, node)))
    }

    /// Writes what was counted in memory.
    pub(crate) fn flush(&mut self) -> Handled<()> {
        let (nodes, services) = self.memory.cache.dirty();
        for node in nodes {
            self.change().update_node_counters(node.key, &node.counters)?;
        }
        for service in services {
            self.change().update_service(&service)?;
        }
        Ok(())
    }
}

/// What the sender of a stanza is answered when it could not be handled; none if it gets no answer.
pub(crate) fn failure_answer(input: &Input, stop: &Stop, limits: &crate::xml::Limits) -> Option<String> {
    let InputKind::Stanza(xml) = &input.kind else { return None };
    let error = match stop {
        Stop::Refused(error) => error.as_ref().clone(),
        Stop::Failed(error) => match error.kind() {
            ErrorKind::Jid => StanzaError::new(Condition::JidMalformed).text(error.to_string()),
            ErrorKind::Xml | ErrorKind::InvalidArgument => {
                StanzaError::new(Condition::BadRequest).text(error.to_string())
            }
            _ => StanzaError::new(Condition::InternalServerError).of_type(ErrorType::Wait),
        },
        Stop::Need | Stop::Writer => return None,
    };
    let document = Document::parse(xml, limits).ok()?;
    let root = document.root();
    let asks = matches!(root.attr("type"), Some("get" | "set"));
    if !asks || root.name() != "iq" {
        return None;
    }
    let from = root.attr("from")?;
    let own = from.split_once('/').map_or(from, |(bare, _)| bare);
    Some(stanza::refusal(root.attr("id").unwrap_or(""), root.attr("to").or(Some(own)), from, &error))
}

/// What is wrong with an input that is no stanza.
pub(crate) fn failure_text(stop: &Stop) -> Option<Error> {
    match stop {
        Stop::Failed(error) => Some(error.clone()),
        Stop::Refused(error) => {
            Some(Error::new(ErrorKind::InvalidArgument, format!("refused: {}", error.condition().as_str())))
        }
        Stop::Need | Stop::Writer => None,
    }
}
