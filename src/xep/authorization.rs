//! XEP-0060 (1.30.0), approval of subscriptions: the request to owners, their answer, and the command that asks for
//! what is pending (sections 8.6 and 8.7).

use super::{DocumentInfo, Extension, Reply, Request, Route, Where};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::forms::{self, Form};
use crate::jid::Jid;
use crate::ns;
use crate::pubsub::{Action, Affiliation, Node, Subscription, SubscriptionState};
use crate::stanza::{Condition, ErrorType, IqType, Stanza, StanzaError};
use crate::xml::{self, Writer};

pub(crate) struct Authorization;

impl Extension for Authorization {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0050",
            title: "Ad-Hoc Commands",
            version: "1.3.0",
            complete: false,
            notes: "the command get-pending of XEP-0060",
        }]
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Domain | Where::Room => &[],
            Where::Account | Where::Component => &["http://jabber.org/protocol/pubsub#get-pending"],
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route { ns: ns::COMMANDS, name: "command", handler: command, reads: false }]
    }

    fn on_message(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<bool> {
        let Some(x) = stanza.element.child("x", ns::DATA_FORMS) else { return Ok(false) };
        let Ok(form) = Form::read(x) else { return Ok(false) };
        if form.form_type() != Some(ns::SUBSCRIBE_AUTHORIZATION) {
            return Ok(false);
        }
        match form.kind {
            // An answer is for this service, whether or not it has an effect: clients answer whoever asked them.
            "submit" => context.answer_subscription(to, stanza, &form).map(|()| true),
            "cancel" => Ok(true),
            // A request to the owner, of this service or of another one, is for his clients.
            _ => Ok(false),
        }
    }
}

/// An owner's answer. Whatever does not fit a pending request of a node that the sender owns has no effect.
fn decide(context: &mut Context<'_>, service: &ServiceRef, stanza: &Stanza<'_>, form: &Form<'_>) -> Handled<()> {
    let (Some(name), Some(jid)) = (form.value("pubsub#node"), form.value("pubsub#subscriber_jid")) else {
        return Ok(());
    };
    let Some(allow) = form.value("pubsub#allow").and_then(xml::boolean) else { return Ok(()) };
    let Ok(jid) = Jid::parse(jid) else { return Ok(()) };
    let Some(node) = context.node(service, name)? else { return Ok(()) };
    match context.check(service, &node, &stanza.from, Action::Own) {
        Err(crate::engine::context::Stop::Refused(_)) => return Ok(()),
        other => other?,
    }
    let found = context.store().subscriptions_to(node.key, jid.bare_str())?;
    let pending = |s: &Subscription| s.jid == jid && s.state == SubscriptionState::Pending;
    let Some(mut subscription) = found.into_iter().find(pending) else { return Ok(()) };
    // XEP-0207, section 4: the answer has the id of the request.
    let strict = service.eventing(name).is_some() && !stanza.id.is_empty();
    if strict && stanza.id != subscription.subid.as_str() {
        return Ok(());
    }
    if !allow {
        return context.end_subscription(service, &node, &subscription, Ending::Told);
    }
    if !context.has_place(service, &node)? {
        return Ok(());
    }
    subscription.state = SubscriptionState::Subscribed;
    context.update_subscription(service, &node, &subscription, SubscriptionState::Pending)?;
    context.tell_subscriber(service, &node, &subscription);
    context.send_after_subscription(service, &node, &subscription)
}

impl Context<'_> {
    /// Takes an owner's answer to the question whether somebody may subscribe.
    pub(crate) fn answer_subscription(
        &mut self,
        service: &ServiceRef,
        stanza: &Stanza<'_>,
        form: &Form<'_>,
    ) -> Handled<()> {
        decide(self, service, stanza, form)
    }

    /// Asks the owners whether somebody may subscribe.
    pub(crate) fn ask_owners(&mut self, service: &ServiceRef, node: &Node, subscription: &Subscription) -> Handled<()> {
        for owner in self.owners(service, node)? {
            self.ask_owner(service, node, subscription, &owner);
        }
        Ok(())
    }

    /// Asks one owner. The id is the same each time: the answer is to repeat it.
    pub(crate) fn ask_owner(&mut self, service: &ServiceRef, node: &Node, subscription: &Subscription, owner: &str) {
        let mut writer = Writer::with_capacity(1_024);
        writer
            .start("message")
            .attr("id", subscription.subid.as_str())
            .attr("from", service.jid.as_str())
            .attr("to", owner);
        forms::start(&mut writer, "form", ns::SUBSCRIBE_AUTHORIZATION);
        writer.start("title").text("Subscription request").end();
        let mut add = |var: &str, kind: &str, label: &str, value: &str| {
            forms::field(&mut writer, var, Some(kind), Some(label), &[], &[value]);
        };
        add("pubsub#node", "text-single", "Node", node.name.as_str());
        add("pubsub#subscriber_jid", "jid-single", "Subscriber", subscription.jid.as_str());
        add("pubsub#allow", "boolean", "Allow this entity to subscribe?", "0");
        self.out.push(Decision::Route { stanza: writer.finish() });
    }
}

/// `get-pending`: first the nodes that have pending requests, then the requests of one node.
fn command(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    if request.kind != IqType::Set || request.at_domain || request.element.attr("node") != Some(ns::GET_PENDING) {
        return Ok(Reply::Pass);
    }
    let session = request.element.attr("sessionid").map_or_else(|| context.memory.ids.random(), str::to_owned);
    if request.element.attr("action") == Some("cancel") {
        return Ok(Reply::Result(status(&session, "canceled", None)));
    }
    let forbidden = || StanzaError::new(Condition::Forbidden).of_type(ErrorType::Cancel);
    let Ok(form) = Form::child_of(request.element) else {
        if !owns_any(context, request)? {
            return Err(forbidden().into());
        }
        let nodes = approvable(context, request)?;
        return Ok(Reply::Result(status(&session, "executing", Some(&nodes))));
    };
    let name = form.value("pubsub#node").ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
    let node = context.existing_node(&request.service, name)?;
    match context.check(&request.service, &node, &request.from, Action::Own) {
        Err(crate::engine::context::Stop::Refused(_)) => return Err(forbidden().into()),
        other => other?,
    }
    context.answer(request, Reply::Result(status(&session, "completed", None)));
    for subscription in context.store().pending_subscriptions(node.key)? {
        let to = request.from.as_str().to_owned();
        context.ask_owner(&request.service, &node, &subscription, &to);
    }
    Ok(Reply::Later)
}

/// Whether the requester owns a node of the service at all.
fn owns_any(context: &mut Context<'_>, request: &Request<'_>) -> Handled<bool> {
    let (service, bare) = (&request.service, request.from.bare_str());
    if context.privileged || service.is_owner(bare) {
        return Ok(true);
    }
    if let Some(row) = context.stored_service(service)? {
        let affiliations = context.store().affiliations_of(row.key, bare)?;
        if affiliations.iter().any(|(_, affiliation)| *affiliation == Affiliation::Owner) {
            return Ok(true);
        }
    }
    Ok(!service.is_account() && service.policy().admins_own && context.is_admin(bare, service)?)
}

fn approvable(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Vec<String>> {
    let Some(row) = context.stored_service(&request.service)? else { return Ok(Vec::new()) };
    let mut nodes = Vec::new();
    for name in context.store().nodes_with_pending(row.key)? {
        let node = context.existing_node(&request.service, name.as_str())?;
        match context.check(&request.service, &node, &request.from, Action::Own) {
            Ok(()) => nodes.push(name.as_str().to_owned()),
            Err(crate::engine::context::Stop::Refused(_)) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(nodes)
}

fn status(session: &str, status: &'static str, nodes: Option<&[String]>) -> String {
    let mut writer = Writer::new();
    writer.start_ns("command", ns::COMMANDS).attr("sessionid", session);
    writer.attr("node", ns::GET_PENDING).attr("status", status);
    if let Some(nodes) = nodes {
        writer.start("actions").attr("execute", "complete").start("complete").end().end();
        forms::start(&mut writer, "form", ns::SUBSCRIBE_AUTHORIZATION);
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        forms::field::<&str>(&mut writer, "pubsub#node", Some("list-single"), Some("The node"), &nodes, &[]);
    }
    writer.finish()
}
