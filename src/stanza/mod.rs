//! Stanzas (RFC 6120, section 8) as types: the header read once, the rest left to the extensions.

mod error;

pub use error::{Condition, ErrorType, PubsubCondition, StanzaError};

use crate::error::{Error, ErrorKind, Result};
use crate::jid::Jid;
use crate::ns;
use crate::pubsub::spelled;
use crate::xml::{Element, Writer};

spelled!(
    /// The three kinds of stanza.
    Kind {
        /// A request or its answer.
        Iq = "iq",
        /// Pushed to somebody.
        Message = "message",
        /// Availability.
        Presence = "presence",
    }
);

spelled!(
    /// The `type` of an IQ.
    IqType {
        /// Asks.
        Get = "get",
        /// Changes.
        Set = "set",
        /// Answers.
        Result = "result",
        /// Refuses.
        Error = "error",
    }
);

/// A stanza that came in.
#[derive(Debug, Clone)]
pub struct Stanza<'d> {
    /// Which kind.
    pub kind: Kind,
    /// The whole element.
    pub element: Element<'d>,
    /// The sender; hosts stamp it.
    pub from: Jid,
    /// The addressee; none means the sender's own account.
    pub to: Option<Jid>,
    /// `id`, empty if there is none.
    pub id: &'d str,
    /// `type`, empty if there is none.
    pub r#type: &'d str,
}

impl<'d> Stanza<'d> {
    /// Reads the header of a stanza.
    pub fn read(element: Element<'d>) -> Result<Self> {
        let kind = Kind::parse(element.name())
            .filter(|_| element.ns() == ns::CLIENT)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "not a stanza"))?;
        let from = element.attr("from").ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "no 'from'"))?;
        let to = element.attr("to").map(Jid::parse).transpose()?;
        Ok(Self {
            kind,
            element,
            from: Jid::parse(from)?,
            to,
            id: element.attr("id").unwrap_or(""),
            r#type: element.attr("type").unwrap_or(""),
        })
    }
}

/// Begins an IQ; the caller adds the payload and finishes the writer.
pub fn iq(kind: IqType, id: &str, from: &str, to: &str) -> Writer {
    let mut writer = Writer::with_capacity(256);
    writer.start("iq").attr("type", kind.as_str()).attr("id", id).attr("from", from).attr("to", to);
    writer
}

/// Answers an IQ with a result holding `payload` (XML, possibly empty).
pub fn result(id: &str, from: Option<&str>, to: &str, payload: &str) -> String {
    let mut writer = Writer::with_capacity(128 + payload.len());
    writer.start("iq").attr("type", "result").attr("id", id).optional_attr("from", from).attr("to", to).raw(payload);
    writer.finish()
}

/// Answers an IQ with an error.
pub fn refusal(id: &str, from: Option<&str>, to: &str, error: &StanzaError) -> String {
    let mut writer = Writer::with_capacity(256);
    writer.start("iq").attr("type", "error").attr("id", id).optional_attr("from", from).attr("to", to);
    error.write(&mut writer);
    writer.finish()
}
