//! Addresses (RFC 6122), prepared as both hosts prepare them: nodeprep, nameprep, resourceprep.
//!
//! A bare and a full JID are different types on purpose: affiliations and roster entries belong to
//! [`BareJid`]s, a subscription belongs to the literal [`Jid`] it was made with.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// The longest part of a JID in bytes (RFC 6122, section 2.1).
const MAX_PART: usize = 1023;

/// `local@domain`, or `domain` alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BareJid(Arc<str>);

/// `local@domain/resource` or `domain/resource`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullJid(Arc<str>);

/// Any address, with or without a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Jid {
    /// Without resource.
    Bare(BareJid),
    /// With resource.
    Full(FullJid),
}

impl BareJid {
    /// Prepares and checks `text`; a resource is refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match Jid::parse(text)? {
            Jid::Bare(jid) => Ok(jid),
            Jid::Full(_) => Err(not_a_jid(text, "a resource is not allowed here")),
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before `@`, if there is one.
    pub fn local(&self) -> Option<&str> {
        self.0.split_once('@').map(|(local, _)| local)
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(_, domain)| domain)
    }

    /// The bare JID of the server that this address lives on.
    pub fn to_domain(&self) -> Self {
        Self(self.domain().into())
    }

    /// Takes text that was prepared before: from the store, or from an address of this module.
    pub(crate) fn from_prepared(text: &str) -> Self {
        Self(text.into())
    }
}

impl FullJid {
    /// Prepares and checks `text`; a resource is required.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match Jid::parse(text)? {
            Jid::Full(jid) => Ok(jid),
            Jid::Bare(_) => Err(not_a_jid(text, "a resource is required here")),
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as text that is shared, not copied.
    pub(crate) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The address without its resource.
    pub fn to_bare(&self) -> BareJid {
        BareJid(bare_part(&self.0).into())
    }

    /// The address without its resource, as text.
    pub fn bare_str(&self) -> &str {
        bare_part(&self.0)
    }

    /// The part after the first `/`.
    pub fn resource(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, resource)| resource)
    }
}

impl Jid {
    /// Prepares and checks `text`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let local = local.map(|local| prepare(text, local, nodeprep)).transpose()?;
        let domain = prepare(text, domain.strip_suffix('.').unwrap_or(domain), nameprep)?;
        // Preparation may bring in what was not there: "＠" becomes "@". Another dot at the end would go next time.
        let forbidden = |byte: u8| byte <= b' ' || byte == 0x7f || b"\"&'/<>@".contains(&byte);
        if domain.bytes().any(forbidden) || domain.ends_with('.') {
            return Err(not_a_jid(text, "the domain has a forbidden character"));
        }
        let resource = resource.map(|resource| prepare(text, resource, resourceprep)).transpose()?;
        let unchanged = [local.as_ref(), Some(&domain), resource.as_ref()]
            .into_iter()
            .flatten()
            .all(|part| matches!(part, Cow::Borrowed(_)));
        let whole: Arc<str> = if unchanged && !bare.ends_with('.') {
            text.into()
        } else {
            let mut whole = String::with_capacity(text.len());
            if let Some(local) = local {
                whole.push_str(&local);
                whole.push('@');
            }
            whole.push_str(&domain);
            if let Some(resource) = &resource {
                whole.push('/');
                whole.push_str(resource);
            }
            whole.into()
        };
        Ok(if resource.is_some() { Self::Full(FullJid(whole)) } else { Self::Bare(BareJid(whole)) })
    }

    /// Takes text that was prepared before: from the store, or from an address of this module.
    pub(crate) fn from_prepared(text: &str) -> Self {
        if text.contains('/') { Self::Full(FullJid(text.into())) } else { Self::Bare(BareJid(text.into())) }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bare(jid) => jid.as_str(),
            Self::Full(jid) => jid.as_str(),
        }
    }

    /// The address without its resource.
    pub fn to_bare(&self) -> BareJid {
        match self {
            Self::Bare(jid) => jid.clone(),
            Self::Full(jid) => jid.to_bare(),
        }
    }

    /// The address without its resource, as text.
    pub fn bare_str(&self) -> &str {
        bare_part(self.as_str())
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        let bare = self.bare_str();
        bare.split_once('@').map_or(bare, |(_, domain)| domain)
    }

    /// The full JID, if this is one.
    pub fn as_full(&self) -> Option<&FullJid> {
        match self {
            Self::Full(jid) => Some(jid),
            Self::Bare(_) => None,
        }
    }
}

impl From<BareJid> for Jid {
    fn from(jid: BareJid) -> Self {
        Self::Bare(jid)
    }
}

impl From<FullJid> for Jid {
    fn from(jid: FullJid) -> Self {
        Self::Full(jid)
    }
}

macro_rules! text_forms {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::parse(text)
            }
        }
    )*};
}
text_forms!(BareJid, FullJid, Jid);

// Hash and Eq of the wrappers are those of their text, so maps can be asked with a &str.
impl Borrow<str> for BareJid {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl Borrow<str> for FullJid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn bare_part(text: &str) -> &str {
    text.split_once('/').map_or(text, |(bare, _)| bare)
}

fn not_a_jid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::new(ErrorKind::Jid, format!("\"{}\" is not a valid JID: {why}", shown.escape_default()))
}

fn prepare<'a>(whole: &str, part: &'a str, profile: Profile) -> Result<Cow<'a, str>, Error> {
    let prepared = profile(part).map_err(|why| not_a_jid(whole, why))?;
    match prepared.len() {
        0 => Err(not_a_jid(whole, "a part is empty")),
        1..=MAX_PART => Ok(prepared),
        _ => Err(not_a_jid(whole, "a part is longer than 1023 bytes")),
    }
}

type Profile = fn(&str) -> Result<Cow<'_, str>, &'static str>;

// ASCII needs no tables: most addresses are lower case already and pass through as they are.
fn nodeprep(text: &str) -> Result<Cow<'_, str>, &'static str> {
    const FORBIDDEN: &str = "\"&'/:<>@";
    if text.is_ascii() {
        if text.bytes().any(|b| b <= b' ' || b == 0x7f || FORBIDDEN.as_bytes().contains(&b)) {
            return Err("the local part has a forbidden character");
        }
        return Ok(lower_case(text));
    }
    stringprep::nodeprep(text).map_err(|_| "the local part has a forbidden character")
}

fn nameprep(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_ascii() {
        if text.bytes().any(|b| b <= b' ' || b == 0x7f || b"\"&'/<>@".contains(&b)) {
            return Err("the domain has a forbidden character");
        }
        return Ok(lower_case(text));
    }
    stringprep::nameprep(text).map_err(|_| "the domain has a forbidden character")
}

fn resourceprep(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_ascii() {
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err("the resource has a forbidden character");
        }
        return Ok(Cow::Borrowed(text));
    }
    stringprep::resourceprep(text).map_err(|_| "the resource has a forbidden character")
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{BareJid, FullJid, Jid};

    #[test]
    fn parts() {
        let jid = Jid::parse("Romeo@Montague.LIT/Home/1 ").expect("valid");
        assert_eq!(jid.as_str(), "romeo@montague.lit/Home/1 ");
        let full = jid.as_full().expect("full");
        assert_eq!((full.resource(), full.bare_str()), ("Home/1 ", "romeo@montague.lit"));
        let bare = jid.to_bare();
        assert_eq!((bare.local(), bare.domain()), (Some("romeo"), "montague.lit"));
        assert_eq!(BareJid::parse("example.org.").expect("valid").as_str(), "example.org");
    }

    #[test]
    fn preparation() {
        assert_eq!(Jid::parse("Ä@ß.example").expect("valid").as_str(), "ä@ss.example");
        assert_eq!(Jid::parse("a@b/Ⅳ").expect("valid").as_str(), "a@b/IV");
    }

    #[test]
    fn what_is_not_a_jid() {
        let long = "x".repeat(1024);
        for text in ["", "@b", "a@", "a@b/", "a b@c", "a@b@c", "a<@b", "/r", "a\u{0}@b", "a@b/\u{7f}", long.as_str()] {
            assert!(Jid::parse(text).is_err(), "{text:?}");
        }
        assert!(BareJid::parse("a@b/c").is_err());
        assert!(FullJid::parse("a@b").is_err());
    }
}
