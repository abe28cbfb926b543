//! Lanes: inputs of one service are handled in the order in which they were submitted.
//!
//! A request that only reads may be answered beside the writer ([`super::reader`]) if nothing that could change its answer
//! is on its way: no unfinished input to or from the service asked or the one who asks. [`Unfinished`] counts
//! those; what is read for it is the start tag alone, so that the usual input pays little.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::input::{Input, InputKind};
use crate::xml::{Document, Limits};

/// The service that an input is for.
pub(super) fn lane(input: &Input) -> String {
    match &input.kind {
        InputKind::Stanza(xml) => Document::parse(xml, &Limits::default()).map_or_else(
            |_| String::new(),
            |document| {
                let root = document.root();
                bare(root.attr("to").or_else(|| root.attr("from")).unwrap_or("")).to_owned()
            },
        ),
        InputKind::RosterChanged { owner, .. } => owner.clone(),
        InputKind::AccountRemoved(jid) | InputKind::RoomChanged(jid) => jid.clone(),
        InputKind::SessionEnded(jid) => bare(jid).to_owned(),
        InputKind::Tick | InputKind::Import(_) | InputKind::Command(_) => String::new(),
    }
}

fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// What an input may change, or a request may read: everything if both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Touched([u64; 2]);

/// How many inputs that may change something have not been finished, by what they touch.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    hasher: RandomState,
    counts: HashMap<u64, u32>,
}

impl Unfinished {
    /// What the input touches, and whether it is a request that may only read.
    pub(super) fn touched(&self, input: &Input) -> (Touched, bool) {
        let key = |address: &str| self.hasher.hash_one(bare(address)).max(1);
        match &input.kind {
            InputKind::Stanza(xml) => match StartTag::read(xml) {
                Some(tag) => (Touched([key(tag.to), key(tag.from)]), tag.get),
                None => (EVERYTHING, false),
            },
            InputKind::RosterChanged { owner, .. } => (Touched([key(owner), key(owner)]), false),
            InputKind::SessionEnded(jid) | InputKind::RoomChanged(jid) => (Touched([key(jid), key(jid)]), false),
            InputKind::AccountRemoved(_) | InputKind::Tick | InputKind::Import(_) | InputKind::Command(_) => {
                (EVERYTHING, false)
            }
        }
    }

    /// Whether nothing is on its way that may change what a request reads.
    pub(super) fn may_read(&self, Touched(keys): Touched) -> bool {
        !self.counts.contains_key(&0) && !keys.iter().any(|key| self.counts.contains_key(key))
    }

    pub(super) fn begin(&mut self, Touched(keys): Touched) {
        for key in keys {
            *self.counts.entry(key).or_insert(0) += 1;
        }
    }

    pub(super) fn end(&mut self, Touched(keys): Touched) {
        for key in keys {
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }
}

const EVERYTHING: Touched = Touched([0, 0]);

/// What the start tag of a stanza says, if it is as simple as those that servers write.
struct StartTag<'x> {
    get: bool,
    to: &'x str,
    from: &'x str,
}

impl<'x> StartTag<'x> {
    fn read(xml: &'x str) -> Option<Self> {
        let mut rest = xml.trim_start().strip_prefix('<')?;
        let name_end = rest.find(|c: char| !c.is_ascii_alphabetic())?;
        let is_iq = &rest[..name_end] == "iq";
        rest = &rest[name_end..];
        let mut tag = Self { get: false, to: "", from: "" };
        loop {
            let trimmed = rest.trim_start();
            if trimmed.starts_with(['>', '/']) {
                return Some(tag);
            }
            if trimmed.len() == rest.len() {
                return None;
            }
            let (name, after) = split_at(trimmed, b'=')?;
            let quote = *after.as_bytes().first().filter(|&&quote| quote == b'"' || quote == b'\'')?;
            let (value, after) = split_at(&after[1..], quote)?;
            if value.bytes().any(|byte| byte == b'&' || byte == b'<') {
                return None;
            }
            match name {
                "type" => tag.get = is_iq && value == "get",
                "to" => tag.to = value,
                "from" => tag.from = value,
                _ => {}
            }
            rest = after;
        }
    }
}

/// What stands before and behind the first `wanted`, which is ASCII.
fn split_at(text: &str, wanted: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == wanted)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{EVERYTHING, Unfinished};
    use crate::engine::Input;

    fn stanza(xml: &str) -> Input {
        Input::stanza(xml)
    }

    #[test]
    fn what_is_on_its_way_keeps_reads_back() {
        let mut unfinished = Unfinished::default();
        let (read, get) = unfinished.touched(&stanza("<iq from='a@x/1' type='get' to=\"b@x\"><q/></iq>"));
        assert!(get && unfinished.may_read(read));
        let cases = [
            ("<iq type='set' from='c@x/1' to='d@x'/>", true),
            ("<iq type='set' from='c@x/1' to='b@x'/>", false),
            ("<iq type='set' from='a@x/2' to='d@x'><y/></iq>", false),
            ("<message from='b@x' to='e@x'>get</message>", false),
            ("<iq from='a&amp;b' type='set'/>", false),
            ("<iq from = 'c@x' type='set'/>", false),
            ("<iq", false),
        ];
        for (xml, may) in cases {
            let (write, get) = unfinished.touched(&stanza(xml));
            assert!(!get, "{xml}");
            unfinished.begin(write);
            unfinished.begin(write);
            unfinished.end(write);
            assert_eq!(unfinished.may_read(read), may, "{xml}");
            unfinished.end(write);
            assert!(unfinished.may_read(read) && unfinished.counts.is_empty(), "{xml}");
        }
        assert_eq!(unfinished.touched(&Input::tick()), (EVERYTHING, false));
    }
}
