//! The strict parser: quick-xml finds the tokens, this file refuses what it lets through.
//!
//! Refused are: characters outside XML 1.0 (also as references), document types, comments, processing instructions and
//! XML declarations, entities other than the five predefined ones, names that are not namespace names, unbound or
//! reserved prefixes, attributes that occur twice by their expanded name, `<` in attribute values, `]]>` in text, a
//! second root, text beside the root, an early end, and whatever exceeds the [`Limits`].

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::{Attribute, Declaration, Document, IMPLIED_NAMESPACE, Kind, NONE, Node, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::ns;

/// What a document may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Elements inside one another.
    pub depth: usize,
    /// Attributes of one element, declarations included.
    pub attributes: usize,
    /// Children of one element.
    pub children: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, depth: 64, attributes: 64, children: 16 * 1024 }
    }
}

/// Index of the empty namespace name, and of the one that stanzas have without saying so.
const NO_NAMESPACE: u32 = 0;
pub(super) const DEFAULT: u32 = 1;

impl<'a> Document<'a> {
    /// Parses one element with all that is in it; white space around it is allowed.
    pub fn parse(source: &'a str, limits: &Limits) -> Result<Self> {
        if source.len() > limits.bytes.min(u32::MAX as usize - 1) {
            return Err(error("the stanza is too large", 0));
        }
        // In a stream it is no byte order mark (RFC 6120, section 11.6), but the reader would take it for one.
        if source.starts_with('\u{FEFF}') {
            return Err(error("text beside the element", 0));
        }
        check_characters(source)?;
        let document = Document {
            source,
            nodes: Vec::with_capacity(16),
            attributes: Vec::with_capacity(16),
            declarations: Vec::with_capacity(4),
            namespaces: vec![Cow::Borrowed(""), Cow::Borrowed(IMPLIED_NAMESPACE)],
        };
        Parser { document, limits, open: Vec::with_capacity(8) }.run()
    }
}

/// Declarations in force at one place, and namespaces in one document. Looking one up takes time that grows with their
/// number, and no stanza of good will comes near.
const MAX_IN_SCOPE: usize = 128;
const MAX_NAMESPACES: usize = 1_024;

struct Open {
    index: u32,
    last: u32,
    children: usize,
    declarations: usize,
    /// What names without a prefix belong to.
    default: u32,
}

struct Parser<'a, 'l> {
    document: Document<'a>,
    limits: &'l Limits,
    open: Vec<Open>,
}

impl<'a> Parser<'a, '_> {
    fn run(mut self) -> Result<Document<'a>> {
        let source = self.document.source;
        let mut reader = Reader::from_str(source);
        let config = reader.config_mut();
        config.check_end_names = true;
        config.allow_unmatched_ends = false;
        config.allow_dangling_amp = false;
        loop {
            let start = reader.buffer_position() as usize;
            let event = reader.read_event().map_err(|e| error(e.to_string(), start))?;
            let end = reader.buffer_position() as usize;
            match event {
                Event::Start(_) => self.element(start, end - 1, end)?,
                Event::Empty(_) => {
                    self.element(start, end - 2, end)?;
                    self.close(end);
                }
                Event::End(_) => self.close(end),
                Event::Text(_) => self.text(start, end, Kind::Text)?,
                Event::GeneralRef(_) => {
                    reference(&source[start..end]).ok_or_else(|| error("unknown entity or character", start))?;
                    self.text(start, end, Kind::Text)?;
                }
                Event::CData(_) => self.text(start + "<![CDATA[".len(), end - "]]>".len(), Kind::Cdata)?,
                Event::Comment(_) => return Err(error("comments are forbidden", start)),
                Event::Decl(_) => return Err(error("an XML declaration is forbidden", start)),
                Event::PI(_) => return Err(error("processing instructions are forbidden", start)),
                Event::DocType(_) => return Err(error("a document type is forbidden", start)),
                Event::Eof => break,
            }
        }
        if !self.open.is_empty() || self.document.nodes.is_empty() {
            return Err(error("the text ends early", source.len()));
        }
        Ok(self.document)
    }

    fn text(&mut self, start: usize, end: usize, kind: Kind<'a>) -> Result<()> {
        let raw = &self.document.source[start..end];
        if self.open.is_empty() {
            let blank = matches!(kind, Kind::Text) && raw.bytes().all(is_space);
            return if blank { Ok(()) } else { Err(error("text beside the element", start)) };
        }
        if matches!(kind, Kind::Text) && ends_cdata(raw) {
            return Err(error("\"]]>\" in text", start));
        }
        // References split text; neighbours in the source are one piece.
        let last = self.open.last().map_or(NONE, |open| open.last);
        if let (Kind::Text, Some(node)) = (&kind, self.document.nodes.get_mut(last as usize))
            && matches!(node.kind, Kind::Text)
            && node.end as usize == start
        {
            node.end = end as u32;
            let joined = &self.document.source[node.start as usize..end];
            return if ends_cdata(joined) { Err(error("\"]]>\" in text", start)) } else { Ok(()) };
        }
        self.append(Node { kind, next: NONE, start: start as u32, end: end as u32 })?;
        Ok(())
    }

    fn append(&mut self, node: Node<'a>) -> Result<u32> {
        let index = self.document.nodes.len() as u32;
        let start = node.start as usize;
        self.document.nodes.push(node);
        if let Some(open) = self.open.last_mut() {
            open.children += 1;
            if open.children > self.limits.children {
                return Err(error("an element has too many children", start));
            }
            let nodes = &mut self.document.nodes;
            match open.last {
                NONE => match &mut nodes[open.index as usize].kind {
                    Kind::Element(tag) => tag.first = index,
                    Kind::Text | Kind::Cdata => unreachable!("only elements are opened"),
                },
                last => nodes[last as usize].next = index,
            }
            open.last = index;
        } else if index != 0 {
            return Err(error("a second root element", start));
        }
        Ok(index)
    }

    fn close(&mut self, end: usize) {
        if let Some(open) = self.open.pop() {
            self.document.nodes[open.index as usize].end = end as u32;
        }
    }

    /// Reads a tag that begins at `start`; `inside` is where its `>` or `/>` stands.
    fn element(&mut self, start: usize, inside: usize, end: usize) -> Result<()> {
        if self.open.len() >= self.limits.depth {
            return Err(error("elements are nested too deep", start));
        }
        let source = self.document.source;
        let name_end = name_end(source, start + 1, inside);
        let (prefix, name) = qualified(source, start + 1, name_end)?;
        let first_attribute = self.document.attributes.len();
        let first_declaration = self.document.declarations.len();
        self.read_attributes(name_end, inside)?;
        let attributes = (first_attribute as u32, self.document.attributes.len() as u32);
        let declarations = (first_declaration as u32, self.document.declarations.len() as u32);
        let in_scope: usize = self.open.iter().map(|open| open.declarations).sum();
        let own_declarations = (declarations.1 - declarations.0) as usize;
        if in_scope + own_declarations > MAX_IN_SCOPE {
            return Err(error("too many namespace declarations", start));
        }
        let own = &self.document.declarations[first_declaration..];
        for (index, declaration) in own.iter().enumerate() {
            if own[..index].iter().any(|earlier| earlier.prefix == declaration.prefix) {
                return Err(error("an attribute occurs twice", start));
            }
        }
        let default = match own.iter().find(|declaration| declaration.prefix.is_empty()) {
            Some(declaration) => declaration.namespace,
            None => self.open.last().map_or(DEFAULT, |open| open.default),
        };
        let namespace = if prefix.is_empty() { default } else { self.resolve(prefix, declarations.0, start)? };
        for index in first_attribute..self.document.attributes.len() {
            let prefix = self.document.attributes[index].prefix;
            if !prefix.is_empty() {
                self.document.attributes[index].namespace = self.resolve(prefix, declarations.0, start)?;
            }
            let (earlier, rest) = self.document.attributes[first_attribute..].split_at(index - first_attribute);
            if earlier.iter().any(|a| a.name == rest[0].name && a.namespace == rest[0].namespace) {
                return Err(error("an attribute occurs twice", start));
            }
        }
        let parent = self.open.last().map_or(NONE, |open| open.index);
        let tag =
            Tag { prefix, name, namespace, parent, first: NONE, attributes, declarations, name_end: name_end as u32 };
        let index = self.append(Node { kind: Kind::Element(tag), next: NONE, start: start as u32, end: end as u32 })?;
        self.open.push(Open { index, last: NONE, children: 0, declarations: own_declarations, default });
        Ok(())
    }

    fn read_attributes(&mut self, mut at: usize, inside: usize) -> Result<()> {
        let source = self.document.source;
        let bytes = source.as_bytes();
        let mut count = 0;
        loop {
            let gap = skip_space(bytes, at, inside);
            if gap == inside {
                return Ok(());
            }
            if gap == at {
                return Err(error("white space is missing between attributes", at));
            }
            count += 1;
            if count > self.limits.attributes {
                return Err(error("an element has too many attributes", at));
            }
            let end = name_end(source, gap, inside);
            let (prefix, name) = qualified(source, gap, end)?;
            let equals = skip_space(bytes, end, inside);
            if equals == inside || bytes[equals] != b'=' {
                return Err(error("an attribute has no value", gap));
            }
            let quote = skip_space(bytes, equals + 1, inside);
            if quote == inside || !matches!(bytes[quote], b'"' | b'\'') {
                return Err(error("an attribute value is not quoted", gap));
            }
            let length = bytes[quote + 1..inside]
                .iter()
                .position(|&byte| byte == bytes[quote])
                .ok_or_else(|| error("an attribute value does not end", gap))?;
            let value = attribute_value(&source[quote + 1..quote + 1 + length])
                .ok_or_else(|| error("an attribute value is malformed", gap))?;
            at = quote + length + 2;
            if prefix == "xmlns" || (prefix.is_empty() && name == "xmlns") {
                self.declare(if prefix.is_empty() { "" } else { name }, value, gap)?;
            } else {
                self.document.attributes.push(Attribute { prefix, name, namespace: NO_NAMESPACE, value });
            }
        }
    }

    fn declare(&mut self, prefix: &'a str, namespace: Cow<'a, str>, at: usize) -> Result<()> {
        let reserved = (prefix == "xml") != (namespace == ns::XML) || prefix == "xmlns" || namespace == ns::XMLNS;
        if reserved || (!prefix.is_empty() && namespace.is_empty()) {
            return Err(error("a namespace declaration is not allowed", at));
        }
        let namespace = self.intern(namespace);
        if self.document.namespaces.len() > MAX_NAMESPACES {
            return Err(error("too many namespaces", at));
        }
        self.document.declarations.push(Declaration { prefix, namespace });
        Ok(())
    }

    fn intern(&mut self, namespace: Cow<'a, str>) -> u32 {
        let known = self.document.namespaces.iter().position(|known| *known == namespace);
        known.unwrap_or_else(|| {
            self.document.namespaces.push(namespace);
            self.document.namespaces.len() - 1
        }) as u32
    }

    /// The namespace that a prefix stands for; `own` is where the declarations of the element itself begin.
    fn resolve(&mut self, prefix: &str, own: u32, at: usize) -> Result<u32> {
        let own = &self.document.declarations[own as usize..];
        let of_ancestors =
            self.open.iter().rev().flat_map(|open| match &self.document.nodes[open.index as usize].kind {
                Kind::Element(tag) => {
                    &self.document.declarations[tag.declarations.0 as usize..tag.declarations.1 as usize]
                }
                Kind::Text | Kind::Cdata => unreachable!("only elements are opened"),
            });
        let found = own.iter().chain(of_ancestors).find(|d| d.prefix == prefix).map(|d| d.namespace);
        match (found, prefix) {
            (Some(namespace), _) => Ok(namespace),
            (None, "xml") => Ok(self.intern(Cow::Borrowed(ns::XML))),
            (None, _) => Err(error("a prefix is not bound to a namespace", at)),
        }
    }
}

fn error(why: impl Into<Cow<'static, str>>, at: usize) -> Error {
    Error::new(ErrorKind::Xml, format!("{} (at byte {at})", why.into()))
}

fn ends_cdata(text: &str) -> bool {
    text.contains('>') && text.contains("]]>")
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_space(bytes: &[u8], from: usize, to: usize) -> usize {
    (from..to).find(|&at| !is_space(bytes[at])).unwrap_or(to)
}

/// Refuses characters outside XML 1.0, section 2.2.
fn check_characters(source: &str) -> Result<()> {
    let bytes = source.as_bytes();
    // Nearly all text is free of what has to be looked at, and the compiler does this for many bytes at once.
    let suspicious = |byte: u8| (byte < b' ') | (byte == 0xef);
    if !bytes.iter().fold(false, |any, &byte| any | suspicious(byte)) {
        return Ok(());
    }
    for (at, &byte) in bytes.iter().enumerate() {
        let forbidden = match byte {
            0x20..=0xee => continue,
            0xef => matches!(bytes.get(at + 1..at + 3), Some([0xbf, 0xbe | 0xbf])),
            b'\t' | b'\n' | b'\r' => false,
            0..=0x1f => true,
            _ => false,
        };
        if forbidden {
            return Err(error("a character that XML forbids", at));
        }
    }
    Ok(())
}

const fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Resolves `&name;`; none if XMPP does not allow it.
fn reference(text: &str) -> Option<char> {
    let name = text.strip_prefix('&')?.strip_suffix(';')?;
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let number = name.strip_prefix('#')?;
            let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|&c| is_character(c))
        }
    }
}

/// Resolves the references of checked text, and line ends as XML 1.0, section 2.11, has them.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['&', '\r']) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\r']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('\r') {
            out.push('\n');
            rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        } else {
            let end = rest.find(';').map_or(rest.len(), |end| end + 1);
            out.extend(reference(&rest[..end]));
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Normalises an attribute value (XML 1.0, section 3.3.3); none if it is malformed.
fn attribute_value(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.bytes().any(|b| matches!(b, b'&' | b'<' | b'\t' | b'\n' | b'\r')) {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '<', '\t', '\n', '\r']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest.as_bytes()[0] {
            b'&' => {
                let end = rest.find(';')? + 1;
                out.push(reference(&rest[..end])?);
                rest = &rest[end..];
            }
            b'<' => return None,
            _ => {
                out.push(' ');
                rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
            }
        }
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

fn name_end(source: &str, from: usize, to: usize) -> usize {
    let bytes = source.as_bytes();
    (from..to).find(|&at| is_space(bytes[at]) || bytes[at] == b'=').unwrap_or(to)
}

/// Splits a qualified name and checks both parts (Namespaces in XML 1.0, section 4).
fn qualified(source: &str, from: usize, to: usize) -> Result<(&str, &str)> {
    let whole = &source[from..to];
    let colon = whole.bytes().position(|byte| byte == b':');
    let (prefix, name) = colon.map_or(("", whole), |at| (&whole[..at], &whole[at + 1..]));
    if (prefix.is_empty() && whole.len() != name.len()) || !is_name(name) || !(prefix.is_empty() || is_name(prefix)) {
        return Err(error("a malformed name", from));
    }
    Ok((prefix, name))
}

fn is_name(text: &str) -> bool {
    // Nearly all are of this kind.
    if text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return true;
    }
    let mut chars = text.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_character)
}

/// NameStartChar of XML 1.0 (fifth edition) without the colon.
const fn is_name_start(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

const fn is_name_character(c: char) -> bool {
    is_name_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::Limits;

    fn refused(source: &str) {
        assert!(Document::parse(source, &Limits::default()).is_err(), "{source:?}");
    }

    #[test]
    fn tree() {
        let source =
            "<iq id='a&amp;b'  to=\"x\ty\"><p:q xmlns:p='urn:p' p:a='1' a='2'>t&#x41;<![CDATA[<&]]>u</p:q><r/></iq>";
        let document = Document::parse(source, &Limits::default()).expect("valid");
        let iq = document.root();
        assert!(iq.is("iq", "jabber:client"));
        assert_eq!((iq.attr("id"), iq.attr("to")), (Some("a&b"), Some("x y")));
        let q = iq.child("q", "urn:p").expect("q");
        assert_eq!((q.text().as_ref(), q.attr("a")), ("tA<&u", Some("2")));
        assert_eq!(iq.children().count(), 2);
    }

    #[test]
    fn payload_keeps_what_it_needs() {
        let source = "<iq xmlns:a='urn:a' xmlns:b='urn:b'><item xmlns='urn:i'><entry a:k='v'  x=\"1\" ><a:t/></entry></item></iq>";
        let document = Document::parse(source, &Limits::default()).expect("valid");
        let entry = document.root().only_child().and_then(|i| i.only_child()).expect("entry");
        assert_eq!(entry.to_standalone(), "<entry xmlns='urn:i' xmlns:a='urn:a' a:k='v'  x=\"1\" ><a:t/></entry>");
    }

    #[test]
    fn default_namespace_is_undone_where_the_payload_has_none() {
        let source = "<item xmlns='urn:i'><x xmlns=''><y/></x></item>";
        let document = Document::parse(source, &Limits::default()).expect("valid");
        let y = document.root().only_child().and_then(|x| x.only_child()).expect("y");
        assert_eq!(y.to_standalone(), "<y xmlns=''/>");
        let outer = "<iq><p:x xmlns:p='urn:p'><y/></p:x></iq>";
        let document = Document::parse(outer, &Limits::default()).expect("valid");
        let x = document.root().only_child().expect("x");
        assert_eq!(x.to_standalone(), "<p:x xmlns='jabber:client' xmlns:p='urn:p'><y/></p:x>");
    }

    #[test]
    fn what_xmpp_forbids() {
        for source in [
            "",
            " ",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "text<a/>",
            "<!-- c --><a/>",
            "<a><!-- c --></a>",
            "<?xml version='1.0'?><a/>",
            "<a><?pi?></a>",
            "<!DOCTYPE a><a/>",
            "<a>&nbsp;</a>",
            "<a>&#0;</a>",
            "<a>&#xFFFE;</a>",
            "<a>&#+65;</a>",
            "<a>&amp</a>",
            "<a b='&bad;'/>",
            "<a>\u{1}</a>",
            "<a>\u{ffff}</a>",
            "<a>]]></a>",
            "<a>]]&gt;]]></a>",
            "<a b='<'/>",
            "<a b=c/>",
            "<a b/>",
            "<a b='1'c='2'/>",
            "<a b='1' b='2'/>",
            "<a xmlns='u' xmlns='v'/>",
            "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
            "<p:a/>",
            "<a p:b='1'/>",
            "<a xmlns:p=''/>",
            "<a xmlns:xmlns='u'/>",
            "<a xmlns:xml='u'/>",
            "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
            "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
            "<1a/>",
            "<a:b:c xmlns:a='u'/>",
            "<:a/>",
            "<a:/>",
            "<a><![CDATA[</a>",
            "< a/>",
        ] {
            refused(source);
        }
    }

    #[test]
    fn limits() {
        let limits = Limits { bytes: 60, depth: 3, attributes: 2, children: 2 };
        let parse = |source: &str| Document::parse(source, &limits).is_ok();
        assert!(parse("<a><b><c/></b></a>"));
        assert!(!parse("<a><b><c><d/></c></b></a>"));
        assert!(parse("<a b='' c=''/>"));
        assert!(!parse("<a b='' c='' d=''/>"));
        assert!(parse("<a><b/><c/></a>"));
        assert!(!parse("<a><b/><c/><d/></a>"));
        assert!(!parse(&format!("<a>{}</a>", "x".repeat(60))));
        let declare = |from: usize, to: usize| -> String { (from..to).map(|n| format!(" xmlns:p{n}='u'")).collect() };
        let nested = format!("<a{}><b{}><c{}/></b></a>", declare(0, 50), declare(50, 100), declare(100, 150));
        refused(&nested);
        refused(&format!("<a>{}</a>", (0..2_000).map(|n| format!("<b xmlns='u{n}'/>")).collect::<String>()));
    }
}
