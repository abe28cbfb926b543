//! The error that callers of the crate see.
//!
//! Three things are kept apart: [`Error`] is for the program that embeds the engine, a stanza error
//! ([`crate::stanza::StanzaError`]) is for the XMPP peer, and the result codes of the C ABI are in `ffi`.

use std::borrow::Cow;
use std::fmt;

/// What a fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the crate could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

/// The sorts of [`Error`], one for each way in which a caller may want to react.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not the XML that XMPP allows.
    Xml,
    /// The text is not a JID.
    Jid,
    /// No option has this name.
    UnknownOption,
    /// The option exists, but not with this value.
    InvalidOption,
    /// An argument makes no sense in this place.
    InvalidArgument,
    /// The store failed: the disk is full, the file is locked or damaged.
    Store,
    /// The engine met a bug of its own and refuses to go on.
    Unusable,
    /// The engine is shutting down.
    Closed,
    /// Too much is waiting already.
    Busy,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
