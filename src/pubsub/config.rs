//! Node configuration: one table of the registered `pubsub#node_config` fields (XEP-0060, section 16.4.4).
//!
//! Forms, preconditions, defaults and meta-data all go through [`FIELDS`], so that a field cannot be settable in one
//! place and unknown in another. Values are compared after they were read: `1` and `true`, or two orders of one list,
//! are equal.

use super::spelled;

spelled!(
    /// Who may subscribe and retrieve (section 4.5).
    AccessModel {
        /// Whom an owner approved.
        Authorize = "authorize",
        /// Anyone.
        Open = "open",
        /// Who receives the owner's presence.
        Presence = "presence",
        /// Who is in one of the allowed roster groups.
        Roster = "roster",
        /// Who has an affiliation above none.
        Whitelist = "whitelist",
    }
);

spelled!(
    /// Who may publish.
    PublishModel {
        /// Owners and publishers.
        Publishers = "publishers",
        /// Subscribers too.
        Subscribers = "subscribers",
        /// Anyone.
        Open = "open",
    }
);

spelled!(
    /// When the last item is sent.
    SendLastPublishedItem {
        /// Never.
        Never = "never",
        /// After a subscription.
        OnSub = "on_sub",
        /// After a subscription and when a subscriber comes online.
        OnSubAndPresence = "on_sub_and_presence",
    }
);

spelled!(
    /// The `type` of notifications.
    NotificationType {
        /// `normal`.
        Normal = "normal",
        /// `headline`.
        Headline = "headline",
    }
);

spelled!(
    /// What a publish to a full node does (section 7.1.2.5).
    PublishNodeFull {
        /// The oldest item is retracted, with a notification if retractions are notified.
        RetractOldest = "retract-oldest",
        /// The oldest item is discarded silently.
        DiscardOldest = "discard-oldest",
        /// The new item is refused.
        Reject = "reject",
    }
);

spelled!(
    /// Whose JID is in the `publisher` attribute of items (section 12.17).
    ItemReply {
        /// Nobody's.
        None = "none",
        /// That of the publisher.
        Publisher = "publisher",
    }
);

spelled!(
    /// Whether a node holds items or nodes.
    NodeType {
        /// Items.
        Leaf = "leaf",
    }
);

/// A number that may also be "as many as the service allows".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `max`.
    Max,
    /// This many.
    Of(u32),
}

impl Limit {
    /// The number meant where the service allows `ceiling`.
    pub fn or_max(self, ceiling: u32) -> u32 {
        match self {
            Self::Max => ceiling,
            Self::Of(number) => number.min(ceiling),
        }
    }

    /// Reads `max` or a number.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "max" => Some(Self::Max),
            number => number.parse().ok().map(Self::Of),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Of(number) => write!(f, "{number}"),
        }
    }
}

/// The options of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the option `pubsub#` of its name; FIELDS holds the descriptions")]
pub struct NodeConfig {
    pub access_model: AccessModel,
    pub publish_model: PublishModel,
    pub persist_items: bool,
    pub max_items: Limit,
    /// Seconds; `Of(0)` keeps items for ever.
    pub item_expire: Limit,
    pub max_payload_size: u32,
    pub publish_node_full: PublishNodeFull,
    pub send_last_published_item: SendLastPublishedItem,
    pub deliver_notifications: bool,
    pub deliver_payloads: bool,
    pub notification_type: NotificationType,
    pub notify_config: bool,
    pub notify_delete: bool,
    pub notify_retract: bool,
    pub notify_sub: bool,
    pub itemreply: ItemReply,
    pub presence_based_delivery: bool,
    pub purge_offline: bool,
    pub tempsub: bool,
    pub subscribe: bool,
    pub roster_groups_allowed: Vec<String>,
    pub node_type: NodeType,
    pub title: String,
    pub description: String,
    pub r#type: String,
    pub language: String,
    pub contact: Vec<String>,
    pub body_xslt: String,
    pub dataform_xslt: String,
}

impl NodeConfig {
    /// The defaults of a pubsub component (XEP-0060: open, no last items beyond those asked for).
    pub fn component() -> Self {
        Self {
            access_model: AccessModel::Open,
            publish_model: PublishModel::Publishers,
            persist_items: true,
            max_items: Limit::Of(20),
            item_expire: Limit::Of(0),
            max_payload_size: 256 * 1024,
            publish_node_full: PublishNodeFull::RetractOldest,
            send_last_published_item: SendLastPublishedItem::OnSubAndPresence,
            deliver_notifications: true,
            deliver_payloads: true,
            notification_type: NotificationType::Headline,
            notify_config: false,
            notify_delete: true,
            notify_retract: true,
            notify_sub: false,
            itemreply: ItemReply::None,
            presence_based_delivery: false,
            purge_offline: false,
            tempsub: false,
            subscribe: true,
            roster_groups_allowed: Vec::new(),
            node_type: NodeType::Leaf,
            title: String::new(),
            description: String::new(),
            r#type: String::new(),
            language: String::new(),
            contact: Vec::new(),
            body_xslt: String::new(),
            dataform_xslt: String::new(),
        }
    }

    /// The defaults of an account (XEP-0163, section 5).
    pub fn account() -> Self {
        Self { access_model: AccessModel::Presence, max_items: Limit::Of(1), ..Self::component() }
    }

    /// Roughly the memory that the configuration takes.
    pub fn weight(&self) -> usize {
        let lists = self.roster_groups_allowed.iter().chain(&self.contact).map(|text| text.len() + 24).sum::<usize>();
        let texts =
            [&self.title, &self.description, &self.r#type, &self.language, &self.body_xslt, &self.dataform_xslt];
        size_of::<Self>() + lists + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// How a field is shown in a form (XEP-0004, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// `boolean`
    Boolean,
    /// `text-single`
    TextSingle,
    /// `text-multi` has no use here; several JIDs:
    JidMulti,
    /// `list-single` of these options; of what is set, where there are none.
    ListSingle(&'static [&'static str]),
    /// `list-multi` of whatever is set.
    ListMulti,
}

impl FieldType {
    /// The `type` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::TextSingle => "text-single",
            Self::JidMulti => "jid-multi",
            Self::ListSingle(_) => "list-single",
            Self::ListMulti => "list-multi",
        }
    }
}

/// One option of a node.
#[derive(Debug)]
pub struct Field {
    /// Name without the prefix `pubsub#`.
    pub name: &'static str,
    /// How it is shown.
    pub kind: FieldType,
    /// The registered label.
    pub label: &'static str,
    /// Its values as text.
    pub get: fn(&NodeConfig) -> Vec<String>,
    /// Takes values over; false if they make no sense, and then nothing was changed.
    pub set: fn(&mut NodeConfig, &[&str]) -> bool,
}

fn single<'a>(values: &[&'a str]) -> Option<&'a str> {
    match values {
        [] => Some(""),
        [value] => Some(value),
        _ => None,
    }
}

fn yes(value: bool) -> Vec<String> {
    vec![if value { "1" } else { "0" }.to_owned()]
}

macro_rules! field {
    ($name:literal, boolean $field:ident, $label:literal) => {
        Field {
            name: $name,
            kind: FieldType::Boolean,
            label: $label,
            get: |config| yes(config.$field),
            set: |config, values| {
                single(values).and_then(crate::xml::boolean).map(|value| config.$field = value).is_some()
            },
        }
    };
    ($name:literal, text $field:ident, $label:literal) => {
        Field {
            name: $name,
            kind: FieldType::TextSingle,
            label: $label,
            get: |config| vec![config.$field.clone()],
            set: |config, values| single(values).map(|value| config.$field = value.to_owned()).is_some(),
        }
    };
    ($name:literal, one_of $type:ident $field:ident [$($option:literal),+], $label:literal) => {
        Field {
            name: $name,
            kind: FieldType::ListSingle(&[$($option),+]),
            label: $label,
            get: |config| vec![config.$field.as_str().to_owned()],
            set: |config, values| {
                single(values).and_then($type::parse).map(|value| config.$field = value).is_some()
            },
        }
    };
    ($name:literal, limit $field:ident, $label:literal) => {
        Field {
            name: $name,
            kind: FieldType::TextSingle,
            label: $label,
            get: |config| vec![config.$field.to_string()],
            set: |config, values| {
                single(values).and_then(Limit::parse).map(|value| config.$field = value).is_some()
            },
        }
    };
    ($name:literal, list $kind:ident $field:ident, $label:literal) => {
        Field {
            name: $name,
            kind: FieldType::$kind,
            label: $label,
            get: |config| config.$field.clone(),
            set: |config, values| {
                let mut values: Vec<String> =
                    values.iter().filter(|value| !value.is_empty()).map(|&value| value.to_owned()).collect();
                values.sort_unstable();
                values.dedup();
                config.$field = values;
                true
            },
        }
    };
}

/// Every option, in the order in which forms show them.
pub const FIELDS: &[Field] = &[
    field!("title", text title, "A friendly name for the node"),
    field!("description", text description, "A description of the node"),
    field!("type", text r#type, "The semantic type information of data in the node"),
    field!("node_type", one_of NodeType node_type ["leaf"], "Whether the node is a leaf"),
    field!("access_model", one_of AccessModel access_model ["authorize", "open", "presence", "roster", "whitelist"],
        "Who may subscribe and retrieve items"),
    field!("roster_groups_allowed", list ListMulti roster_groups_allowed,
        "The roster groups allowed to subscribe and retrieve items"),
    field!("publish_model", one_of PublishModel publish_model ["publishers", "subscribers", "open"],
        "Who may publish items"),
    field!("persist_items", boolean persist_items, "Whether to persist items to storage"),
    field!("max_items", limit max_items, "The maximum number of items to persist"),
    field!("item_expire", limit item_expire, "Number of seconds after which items are removed; 0 keeps them"),
    Field {
        name: "max_payload_size",
        kind: FieldType::TextSingle,
        label: "The maximum payload size in bytes",
        get: |config| vec![config.max_payload_size.to_string()],
        set: |config, values| {
            let size = single(values).and_then(|value| value.trim().parse().ok());
            size.map(|size| config.max_payload_size = size).is_some()
        },
    },
    field!("publish_node_full",
        one_of PublishNodeFull publish_node_full ["retract-oldest", "discard-oldest", "reject"],
        "What is done when an item is published to a full node"),
    field!("send_last_published_item",
        one_of SendLastPublishedItem send_last_published_item ["never", "on_sub", "on_sub_and_presence"],
        "When to send the last published item"),
    field!("deliver_notifications", boolean deliver_notifications, "Whether to deliver event notifications"),
    field!("deliver_payloads", boolean deliver_payloads, "Whether to deliver payloads with event notifications"),
    field!("notification_type", one_of NotificationType notification_type ["normal", "headline"],
        "The delivery style for notifications"),
    field!("notify_config", boolean notify_config, "Whether to notify subscribers when the configuration changes"),
    field!("notify_delete", boolean notify_delete, "Whether to notify subscribers when the node is deleted"),
    field!("notify_retract", boolean notify_retract, "Whether to notify subscribers when items are removed"),
    field!("notify_sub", boolean notify_sub, "Whether to notify owners about new subscribers and unsubscribes"),
    field!("itemreply", one_of ItemReply itemreply ["none", "publisher"], "Whose address items are stamped with"),
    field!("presence_based_delivery", boolean presence_based_delivery,
        "Whether to deliver notifications to available users only"),
    field!("purge_offline", boolean purge_offline, "Whether to remove items when their publisher goes offline"),
    field!("tempsub", boolean tempsub, "Whether subscriptions end with the subscriber's presence"),
    field!("subscribe", boolean subscribe, "Whether to allow subscriptions"),
    Field { kind: FieldType::ListSingle(&[]), ..field!("language", text language, "The default language of the node") },
    field!("contact", list JidMulti contact, "The addresses of those to contact with questions"),
    field!("body_xslt", text body_xslt, "The URL of a transformation of payloads into message bodies"),
    field!("dataform_xslt", text dataform_xslt, "The URL of a transformation of payloads into data forms"),
];

/// The option of that name, with the prefix `pubsub#`.
pub fn field(var: &str) -> Option<&'static Field> {
    let name = var.strip_prefix("pubsub#")?;
    FIELDS.iter().find(|field| field.name == name)
}

/// Why values were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// No option has this name.
    Unknown(String),
    /// The option exists, but not with these values.
    Invalid(String),
}

impl NodeConfig {
    /// Sets one option from the text of a form.
    pub fn set(&mut self, var: &str, values: &[&str]) -> Result<(), Unfit> {
        let field = field(var).ok_or_else(|| Unfit::Unknown(var.to_owned()))?;
        if (field.set)(self, values) { Ok(()) } else { Err(Unfit::Invalid(var.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, NodeConfig, Unfit};

    #[test]
    fn every_field_takes_what_it_gives() {
        for defaults in [NodeConfig::account(), NodeConfig::component()] {
            for field in FIELDS {
                let values = (field.get)(&defaults);
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let mut config = defaults.clone();
                assert!((field.set)(&mut config, &values), "{}", field.name);
                assert_eq!(config, defaults, "{}", field.name);
            }
        }
    }

    #[test]
    fn spellings_are_equal() {
        let mut one = NodeConfig::account();
        let mut other = NodeConfig::account();
        one.set("pubsub#notify_sub", &["1"]).expect("boolean");
        other.set("pubsub#notify_sub", &["true"]).expect("boolean");
        one.set("pubsub#roster_groups_allowed", &["b", "a"]).expect("list");
        other.set("pubsub#roster_groups_allowed", &["a", "b"]).expect("list");
        assert_eq!(one, other);
    }

    #[test]
    fn what_is_refused() {
        let mut config = NodeConfig::account();
        assert_eq!(config.set("pubsub#nothing", &["1"]), Err(Unfit::Unknown("pubsub#nothing".into())));
        assert_eq!(config.set("title", &["1"]), Err(Unfit::Unknown("title".into())));
        for (var, values) in [
            ("pubsub#access_model", &["closed"][..]),
            ("pubsub#persist_items", &["maybe"]),
            ("pubsub#max_items", &["-1"]),
            ("pubsub#max_items", &["1", "2"]),
        ] {
            assert_eq!(config.set(var, values), Err(Unfit::Invalid(var.into())));
        }
        assert_eq!(config, NodeConfig::account());
    }
}
