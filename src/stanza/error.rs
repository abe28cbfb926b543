//! Stanza errors: the defined conditions of RFC 6120 (section 8.3.3) and those of XEP-0060 (`#errors`), one table each.

use std::borrow::Cow;

use crate::ns;
use crate::pubsub::spelled;
use crate::xml::{Element, Writer};

spelled!(
    /// What the sender should do about an error.
    ErrorType {
        /// Give better credentials.
        Auth = "auth",
        /// Give up.
        Cancel = "cancel",
        /// Go on; it was a warning.
        Continue = "continue",
        /// Change what was sent.
        Modify = "modify",
        /// Try again later.
        Wait = "wait",
    }
);

spelled!(
    /// The defined conditions that this crate sends.
    #[expect(missing_docs, reason = "RFC 6120, section 8.3.3, describes them")]
    Condition {
        BadRequest = "bad-request",
        Conflict = "conflict",
        FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden",
        Gone = "gone",
        InternalServerError = "internal-server-error",
        ItemNotFound = "item-not-found",
        JidMalformed = "jid-malformed",
        NotAcceptable = "not-acceptable",
        NotAllowed = "not-allowed",
        NotAuthorized = "not-authorized",
        PolicyViolation = "policy-violation",
        RemoteServerNotFound = "remote-server-not-found",
        RemoteServerTimeout = "remote-server-timeout",
        ResourceConstraint = "resource-constraint",
        ServiceUnavailable = "service-unavailable",
        UnexpectedRequest = "unexpected-request",
    }
);

impl Condition {
    /// The type that the condition has unless a table of XEP-0060 says otherwise.
    const fn usual_type(self) -> ErrorType {
        match self {
            Self::BadRequest | Self::JidMalformed | Self::NotAcceptable | Self::PolicyViolation => ErrorType::Modify,
            Self::Forbidden | Self::NotAuthorized => ErrorType::Auth,
            Self::InternalServerError
            | Self::ResourceConstraint
            | Self::RemoteServerTimeout
            | Self::UnexpectedRequest => ErrorType::Wait,
            Self::Gone
            | Self::Conflict
            | Self::FeatureNotImplemented
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable => ErrorType::Cancel,
        }
    }
}

/// The conditions of `http://jabber.org/protocol/pubsub#errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "XEP-0060, section 17.4, names them; variants are the element names")]
pub enum PubsubCondition {
    ClosedNode,
    ConfigurationRequired,
    InvalidJid,
    InvalidOptions,
    InvalidPayload,
    InvalidSubid,
    ItemForbidden,
    ItemRequired,
    JidRequired,
    MaxItemsExceeded,
    MaxNodesExceeded,
    NodeFull,
    NodeidRequired,
    NotInRosterGroup,
    NotSubscribed,
    PayloadTooBig,
    PayloadRequired,
    PendingSubscription,
    PreconditionNotMet,
    PresenceSubscriptionRequired,
    SubidRequired,
    TooManySubscriptions,
    UnsupportedAccessModel,
    /// `<unsupported feature='…'/>`
    Unsupported(&'static str),
}

impl PubsubCondition {
    const fn name(self) -> &'static str {
        match self {
            Self::ClosedNode => "closed-node",
            Self::ConfigurationRequired => "configuration-required",
            Self::InvalidJid => "invalid-jid",
            Self::InvalidOptions => "invalid-options",
            Self::InvalidPayload => "invalid-payload",
            Self::InvalidSubid => "invalid-subid",
            Self::ItemForbidden => "item-forbidden",
            Self::ItemRequired => "item-required",
            Self::JidRequired => "jid-required",
            Self::MaxItemsExceeded => "max-items-exceeded",
            Self::MaxNodesExceeded => "max-nodes-exceeded",
            Self::NodeFull => "node-full",
            Self::NodeidRequired => "nodeid-required",
            Self::NotInRosterGroup => "not-in-roster-group",
            Self::NotSubscribed => "not-subscribed",
            Self::PayloadTooBig => "payload-too-big",
            Self::PayloadRequired => "payload-required",
            Self::PendingSubscription => "pending-subscription",
            Self::PreconditionNotMet => "precondition-not-met",
            Self::PresenceSubscriptionRequired => "presence-subscription-required",
            Self::SubidRequired => "subid-required",
            Self::TooManySubscriptions => "too-many-subscriptions",
            Self::UnsupportedAccessModel => "unsupported-access-model",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// An error for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError {
    kind: ErrorType,
    condition: Condition,
    pubsub: Option<PubsubCondition>,
    text: Option<Cow<'static, str>>,
    by: Option<String>,
    uri: Option<String>,
    /// XML beside the error, inside the IQ: the entries that a partly carried out request left unchanged.
    beside: Option<String>,
    /// A received error that is passed on: replaces everything but `by`.
    received: Option<String>,
}

impl StanzaError {
    /// An error of that condition, with its usual type.
    pub const fn new(condition: Condition) -> Self {
        Self {
            kind: condition.usual_type(),
            condition,
            pubsub: None,
            text: None,
            by: None,
            uri: None,
            beside: None,
            received: None,
        }
    }

    /// With another type.
    pub const fn of_type(mut self, kind: ErrorType) -> Self {
        self.kind = kind;
        self
    }

    /// With a condition of XEP-0060.
    pub const fn with(mut self, condition: PubsubCondition) -> Self {
        self.pubsub = Some(condition);
        self
    }

    /// With a text that says what was wrong and where.
    pub fn text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With the address where the thing has gone to.
    pub fn uri(mut self, uri: String) -> Self {
        self.uri = Some(uri);
        self
    }

    /// With XML beside it.
    pub fn beside(mut self, xml: String) -> Self {
        self.beside = Some(xml);
        self
    }

    /// With the JID of the entity that made it, unless it names one.
    pub fn by(mut self, jid: &str) -> Self {
        self.by.get_or_insert_with(|| jid.to_owned());
        self
    }

    /// The defined condition.
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// The condition of XEP-0060.
    pub const fn pubsub(&self) -> Option<PubsubCondition> {
        self.pubsub
    }

    /// Reads an `<error/>` in order to pass it on as it is.
    pub fn received(error: Element<'_>) -> Self {
        let condition = error.children().find(|child| child.ns() == ns::STANZA_ERRORS && child.name() != "text");
        let condition = condition.and_then(|c| Condition::parse(c.name())).unwrap_or(Condition::ServiceUnavailable);
        let mut new = Self::new(condition);
        new.kind = error.attr("type").and_then(ErrorType::parse).unwrap_or(new.kind);
        new.by = error.attr("by").map(str::to_owned);
        new.received = Some(error.children().map(|child| child.to_standalone()).collect());
        let names = |condition: &str| error.child(condition, ns::PUBSUB_ERRORS).is_some();
        new.pubsub = match () {
            () if names("not-subscribed") => Some(PubsubCondition::NotSubscribed),
            () if names("pending-subscription") => Some(PubsubCondition::PendingSubscription),
            () => None,
        };
        new
    }

    /// Writes what stands inside an IQ of type error.
    pub fn write(&self, writer: &mut Writer) {
        if let Some(beside) = &self.beside {
            writer.raw(beside);
        }
        writer.start("error").attr("type", self.kind.as_str()).optional_attr("by", self.by.as_deref());
        if let Some(received) = &self.received {
            writer.raw(received).end();
            return;
        }
        writer.start_ns(self.condition.as_str(), ns::STANZA_ERRORS);
        if let Some(uri) = &self.uri {
            writer.text(uri);
        }
        writer.end();
        if let Some(text) = &self.text {
            writer.start_ns("text", ns::STANZA_ERRORS).text(text).end();
        }
        if let Some(condition) = self.pubsub {
            writer.start_ns(condition.name(), ns::PUBSUB_ERRORS);
            if let PubsubCondition::Unsupported(feature) = condition {
                writer.attr("feature", feature);
            }
            writer.end();
        }
        writer.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, PubsubCondition, StanzaError};
    use crate::stanza::refusal;

    #[test]
    fn text() {
        let error = StanzaError::new(Condition::FeatureNotImplemented).with(PubsubCondition::Unsupported("publish"));
        assert_eq!(
            refusal("1", Some("a"), "b", &error.by("a")),
            "<iq type='error' id='1' from='a' to='b'><error type='cancel' by='a'>\
             <feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <unsupported xmlns='http://jabber.org/protocol/pubsub#errors' feature='publish'/></error></iq>"
        );
    }
}
