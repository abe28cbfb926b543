//! XEP-0060: node configuration and subscription options as forms (sections 8.2, 6.3, 7.1.5, 16.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::context::{Handled, Stop};
use crate::forms::{self, Form, Malformed};
use crate::jid::{BareJid, FullJid, Jid};
use crate::ns;
use crate::pubsub::NodeConfig;
use crate::pubsub::config::{FIELDS, FieldType, Unfit};
use crate::pubsub::subscription::{Expiry, SHOW_VALUES, SubscriptionOptions};
use crate::stanza::{Condition, ErrorType, PubsubCondition, StanzaError};
use crate::time::Timestamp;
use crate::xml::{self, Writer};

/// Adds the form of a node's configuration.
pub(crate) fn write_config_form(writer: &mut Writer, kind: &str, config: &NodeConfig, form_type: &str) {
    let offered = kind == "form";
    forms::start(writer, kind, form_type);
    for field in FIELDS {
        let var = format!("pubsub#{}", field.name);
        let values = (field.get)(config);
        let present: Vec<&str> = values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
        let options: &[&str] = match field.kind {
            FieldType::ListSingle([]) | FieldType::ListMulti if offered => &present,
            FieldType::ListSingle(options) if offered => options,
            _ => &[],
        };
        let label = offered.then_some(field.label);
        let kind = offered.then_some(field.kind.as_str());
        forms::field(writer, &var, kind, label, options, &values);
    }
    writer.end();
}

fn malformed(malformed: Malformed) -> StanzaError {
    let text = match malformed {
        Malformed::Twice(var) => format!("the field {var} occurs twice"),
        Malformed::Unnamed => "a field has no name".to_owned(),
        Malformed::WrongType(wanted) => format!("the form is not of type {wanted}"),
        Malformed::Missing => "the form is missing".to_owned(),
    };
    StanzaError::new(Condition::BadRequest).text(text)
}

impl From<Malformed> for Stop {
    fn from(error: Malformed) -> Self {
        malformed(error).into()
    }
}

/// Fields of node-config forms that are read-only or have no meaning for leaf nodes: taken in silence, because clients
/// send whole forms back.
const IGNORED: &[&str] = &["pubsub#collection", "pubsub#children"];

/// Registered as meta-data only; under XEP-0207 a configuration form makes publishers by it (section 6).
const PUBLISHER: &str = "pubsub#publisher";

/// Who is to be a publisher, by a configuration form of a service under XEP-0207.
pub(crate) fn named_publishers(form: &Form<'_>) -> Handled<Vec<BareJid>> {
    let values = form.values(PUBLISHER).unwrap_or_default().iter().filter(|value| !value.is_empty());
    let jids = values.map(|value| Jid::parse(value).map(|jid| jid.to_bare()));
    jids.collect::<Result<_, _>>().map_err(|_| unfit_option(Unfit::Invalid(PUBLISHER.to_owned())).into())
}

/// Applies a configuration form; nothing is changed if a field does not fit. `publishers`: it may also name publishers.
pub(crate) fn apply_config(config: &NodeConfig, form: &Form<'_>, publishers: bool) -> Handled<NodeConfig> {
    if !form.fits(ns::NODE_CONFIG) {
        return Err(StanzaError::new(Condition::BadRequest).text("the form is not of pubsub#node_config").into());
    }
    let mut changed = config.clone();
    for (var, values) in form.fields() {
        match changed.set(var, &values) {
            Ok(()) => {}
            Err(Unfit::Unknown(_)) if publishers && var == PUBLISHER => {}
            Err(Unfit::Unknown(_)) if IGNORED.contains(&var) && values.iter().all(|value| value.is_empty()) => {}
            Err(unfit) => return Err(unfit_option(unfit).into()),
        }
    }
    Ok(changed)
}

fn unfit_option(unfit: Unfit) -> StanzaError {
    let not_acceptable = StanzaError::new(Condition::NotAcceptable);
    match unfit {
        Unfit::Invalid(var) if var == "pubsub#access_model" => {
            not_acceptable.with(PubsubCondition::UnsupportedAccessModel).text("there is no such access model")
        }
        Unfit::Invalid(var) => not_acceptable.text(format!("the value of {var} is not acceptable")),
        Unfit::Unknown(var) => not_acceptable.text(format!("there is no option {var}")),
    }
}

fn precondition(text: String) -> Stop {
    StanzaError::new(Condition::Conflict)
        .of_type(ErrorType::Cancel)
        .with(PubsubCondition::PreconditionNotMet)
        .text(text)
        .into()
}

/// Applies publish options to the configuration of a node that is being made (section 7.1.5).
pub(crate) fn apply_publish_options(config: &NodeConfig, form: &Form<'_>) -> Handled<NodeConfig> {
    let mut changed = config.clone();
    for (var, values) in form.fields() {
        changed.set(var, &values).map_err(|unfit| match unfit {
            Unfit::Unknown(var) => precondition(format!("there is no option {var}")),
            Unfit::Invalid(var) => precondition(format!("the value of {var} is not possible")),
        })?;
    }
    Ok(changed)
}

/// Holds publish options against the configuration of a node that is there. `max_items` is what `max` means here.
pub(crate) fn check_publish_options(config: &NodeConfig, form: &Form<'_>, max_items: u32) -> Handled<()> {
    for (var, values) in form.fields() {
        let mut wanted = config.clone();
        wanted.set(var, &values).map_err(|unfit| match unfit {
            Unfit::Unknown(var) => precondition(format!("there is no option {var}")),
            Unfit::Invalid(var) => precondition(format!("the value of {var} is not possible")),
        })?;
        let same_capacity = wanted.max_items.or_max(max_items) == config.max_items.or_max(max_items);
        if var == "pubsub#max_items" && same_capacity {
            continue;
        }
        if wanted != *config {
            return Err(precondition(format!("{var} is set differently")));
        }
    }
    Ok(())
}

/// The form of publish options, checked for its type.
pub(crate) fn publish_options(parent: Option<xml::Element<'_>>) -> Handled<Option<Form<'_>>> {
    let Some(parent) = parent else { return Ok(None) };
    let form = Form::child_of(parent)?;
    if form.form_type() != Some(ns::PUBLISH_OPTIONS) {
        return Err(StanzaError::new(Condition::BadRequest).text("the form is not of pubsub#publish-options").into());
    }
    Ok(Some(form))
}

/// Which options a subscription has beside those of every one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    /// Items of the node can be put into words.
    pub(crate) bodies: bool,
    /// The node is a room, and this field holds the name there: one of [`ROOMNICKS`].
    pub(crate) roomnick: Option<&'static str>,
}

/// How the field is called in XEP-0207 (section 5), and how XEP-0068 would have it.
pub(crate) const ROOMNICKS: [&str; 2] = ["roomnick", "x-roomnick"];

/// Adds the form of a subscription's options.
pub(crate) fn write_options_form(writer: &mut Writer, kind: &str, options: &SubscriptionOptions, has: Offered) {
    let offered = kind == "form";
    forms::start(writer, kind, ns::SUBSCRIBE_OPTIONS);
    let mut add = |var: &str, kind: &str, label: &str, choices: &[&str], values: &[String]| {
        let choices = if offered { choices } else { &[] };
        forms::field(writer, var, offered.then_some(kind), offered.then_some(label), choices, values);
    };
    let deliver = vec![if options.deliver { "1" } else { "0" }.to_owned()];
    add("pubsub#deliver", "boolean", "Whether to receive notifications", &[], &deliver);
    let shown = (0..SHOW_VALUES.len()).filter(|bit| options.show_values & (1 << bit) != 0);
    let shown: Vec<String> = shown.map(|bit| SHOW_VALUES[bit].to_owned()).collect();
    add("pubsub#show-values", "list-multi", "Presence states in which to receive notifications", &SHOW_VALUES, &shown);
    let expire = match options.expire {
        Expiry::Never => Vec::new(),
        Expiry::Presence => vec!["presence".to_owned()],
        Expiry::At(end) => vec![end.to_string()],
    };
    add("pubsub#expire", "text-single", "When the subscription ends by itself", &[], &expire);
    if has.bodies {
        let include = vec![if options.include_body { "1" } else { "0" }.to_owned()];
        add("pubsub#include_body", "boolean", "Whether to receive the payload in words as well", &[], &include);
    }
    if let Some(var) = has.roomnick {
        let nick: Vec<String> = options.roomnick.iter().map(|nick| nick.as_ref().to_owned()).collect();
        add(var, "text-single", "The name in the room", &[], &nick);
    }
    writer.end();
}

/// A name in a room is what the resource of an occupant would be (XEP-0045).
fn roomnick(text: &str) -> Option<Arc<str>> {
    let occupant = FullJid::parse(&format!("room@service/{text}")).ok()?;
    Some(occupant.resource().into())
}

/// A subscriber's wishes: the options, and whether the form marks the subscription as public (XEP-0465 in the wild).
pub(crate) fn read_options(
    base: &SubscriptionOptions,
    form: &Form<'_>,
    now: Timestamp,
    has: Offered,
) -> Handled<(SubscriptionOptions, Option<bool>)> {
    let invalid = |var: &str| -> Stop {
        StanzaError::new(Condition::BadRequest)
            .with(PubsubCondition::InvalidOptions)
            .text(format!("the option {var} cannot be set so"))
            .into()
    };
    if !form.fits(ns::SUBSCRIBE_OPTIONS) {
        return Err(invalid("FORM_TYPE"));
    }
    let mut options = base.clone();
    let mut public = None;
    let fields: BTreeMap<&str, Vec<&str>> = form.fields().collect();
    for (var, values) in fields {
        let value = values.first().copied().unwrap_or("");
        let boolean = || xml::boolean(value).ok_or_else(|| invalid(var));
        match var {
            "pubsub#deliver" => options.deliver = boolean()?,
            "pubsub#expire" => {
                options.expire = match value {
                    "" => Expiry::Never,
                    "presence" => Expiry::Presence,
                    _ => match Timestamp::parse(value) {
                        Some(end) if end > now => Expiry::At(end),
                        _ => return Err(invalid(var)),
                    },
                };
            }
            "pubsub#show-values" => {
                options.show_values = 0;
                for value in values {
                    let bit = SHOW_VALUES.iter().position(|known| *known == value).ok_or_else(|| invalid(var))?;
                    options.show_values |= 1 << bit;
                }
            }
            // What is not offered may be sent with the value that says "no".
            "pubsub#include_body" if has.bodies => options.include_body = boolean()?,
            "pubsub#digest" | "pubsub#include_body" if !boolean()? => {}
            "pubsub#digest_frequency" => {}
            "pubsub#subscription_type" if value == "items" => {}
            "pubsub#subscription_depth" if matches!(value, "1" | "all") => {}
            // Elsewhere it means nothing.
            _ if ROOMNICKS.contains(&var) => {
                if has.roomnick.is_some() && !value.is_empty() {
                    options.roomnick = Some(roomnick(value).ok_or_else(|| invalid(var))?);
                }
            }
            ns::PPS_PUBLIC_FIELD => public = Some(boolean()?),
            _ => return Err(invalid(var)),
        }
    }
    Ok((options, public))
}
