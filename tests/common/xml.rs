//! A small element tree for scripts and for what comes back from the doors.
//!
//! The parser is rxml, not the crate's own: what the engine sends is thereby read by somebody else's strict parser.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rxml::error::EndOrError;
use rxml::{Event, Parse as _, Parser};

/// `jabber:client`, the namespace of every stanza here.
pub(crate) const CLIENT: &str = "jabber:client";
/// What the prefix `scansion:` of the scripts stands for.
pub(crate) const SCANSION: &str = "https://matthewwild.co.uk/projects/scansion";
/// RFC 6120 stanza error conditions.
pub(crate) const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) ns: String,
    pub(crate) name: String,
    /// By namespace (empty for plain attributes) and name.
    pub(crate) attributes: BTreeMap<(String, String), String>,
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    pub(crate) fn new(ns: &str, name: &str) -> Self {
        Self { ns: ns.to_owned(), name: name.to_owned(), attributes: BTreeMap::new(), nodes: Vec::new() }
    }

    /// A stanza or another element in `jabber:client`.
    pub(crate) fn stanza(name: &str) -> Self {
        Self::new(CLIENT, name)
    }

    pub(crate) fn with(mut self, attribute: &str, value: &str) -> Self {
        self.set(attribute, value);
        self
    }

    pub(crate) fn with_child(mut self, child: Self) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }

    pub(crate) fn set(&mut self, attribute: &str, value: &str) {
        self.attributes.insert((String::new(), attribute.to_owned()), value.to_owned());
    }

    pub(crate) fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(&(String::new(), attribute.to_owned())).map(String::as_str)
    }

    pub(crate) fn is(&self, ns: &str, name: &str) -> bool {
        self.ns == ns && self.name == name
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) => None,
        })
    }

    pub(crate) fn child(&self, ns: &str, name: &str) -> Option<&Self> {
        self.children().find(|child| child.is(ns, name))
    }

    /// All text directly inside, without the white space at both ends.
    pub(crate) fn text(&self) -> String {
        let all: String = self
            .nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect();
        all.trim().to_owned()
    }

    /// Forgets the white space between elements.
    pub(crate) fn drop_indentation(&mut self) {
        if self.children().next().is_some() {
            self.nodes.retain(|node| !matches!(node, Node::Text(text) if text.trim().is_empty()));
        }
        for node in &mut self.nodes {
            if let Node::Element(child) = node {
                child.drop_indentation();
            }
        }
    }

    /// An answer of `kind` to this stanza: addresses turned, `id` kept, no children.
    pub(crate) fn reply(&self, kind: &str) -> Self {
        let mut reply = Self::stanza(&self.name).with("type", kind);
        for (from, to) in [("from", "to"), ("to", "from"), ("id", "id")] {
            if let Some(value) = self.get(from) {
                reply.set(to, value);
            }
        }
        reply
    }

    /// An error answer with an RFC 6120 condition.
    pub(crate) fn error(&self, kind: &str, condition: &str) -> Self {
        let error = Self::stanza("error").with("type", kind).with_child(Self::new(STANZAS, condition));
        self.reply("error").with_child(error)
    }

    /// As text in one line; `parent` is the namespace already in force.
    pub(crate) fn write(&self, parent: &str) -> String {
        let mut out = String::new();
        self.write_into(&mut out, parent, None);
        out
    }

    /// As indented text for people.
    pub(crate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write_into(&mut out, CLIENT, Some(1));
        out
    }

    fn write_into(&self, out: &mut String, parent: &str, indent: Option<usize>) {
        let pad = |depth: usize| format!("\n{}", "  ".repeat(depth));
        let _ = write!(out, "<{}", self.name);
        if self.ns != parent {
            let _ = write!(out, " xmlns='{}'", escape(&self.ns));
        }
        for (count, ((ns, name), value)) in self.attributes.iter().enumerate() {
            match ns.as_str() {
                "" => write!(out, " {name}='{}'", escape(value)),
                rxml::XMLNS_XML => write!(out, " xml:{name}='{}'", escape(value)),
                SCANSION => write!(out, " scansion:{name}='{}'", escape(value)),
                ns => write!(out, " xmlns:a{count}='{}' a{count}:{name}='{}'", escape(ns), escape(value)),
            }
            .ok();
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        let nested = self.children().next().is_some();
        for node in &self.nodes {
            match node {
                Node::Text(text) if indent.is_some() && nested && text.trim().is_empty() => {}
                Node::Text(text) => out.push_str(&escape(text)),
                Node::Element(child) => {
                    if let Some(depth) = indent {
                        out.push_str(&pad(depth));
                    }
                    child.write_into(out, &self.ns, indent.map(|depth| depth + 1));
                }
            }
        }
        if let (Some(depth), true) = (indent, nested) {
            out.push_str(&pad(depth - 1));
        }
        let _ = write!(out, "</{}>", self.name);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;").replace('"', "&quot;")
}

/// Reads one stanza; the default namespace is `jabber:client`, the prefix `scansion` is bound.
pub(crate) fn parse_stanza(text: &str) -> Result<Element, String> {
    let mut all = parse_stanzas(text)?;
    match all.len() {
        1 => Ok(all.remove(0)),
        count => Err(format!("one element expected, {count} found")),
    }
}

/// Reads any number of elements that stand side by side.
pub(crate) fn parse_stanzas(text: &str) -> Result<Vec<Element>, String> {
    let wrapped = format!("<all xmlns='{CLIENT}' xmlns:scansion='{SCANSION}'>{text}</all>");
    let mut stream = Stream::default();
    let mut found = Vec::new();
    for read in stream.feed(wrapped.as_bytes())? {
        if let Read::Stanza(element) = read {
            found.push(element);
        }
    }
    if !stream.ended {
        return Err("an element is not closed".to_owned());
    }
    Ok(found)
}

/// What a stream of XML brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// The root was opened.
    Opened(Element),
    /// A whole child of the root.
    Stanza(Element),
    /// The root was closed.
    Closed,
}

/// A push parser for a stream: the root stays open, its children come out whole.
pub(crate) struct Stream {
    parser: Parser,
    opened: bool,
    ended: bool,
    stack: Vec<Element>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { parser: Parser::new(), opened: false, ended: false, stack: Vec::new() }
    }
}

impl Stream {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Read>, String> {
        let mut out = Vec::new();
        loop {
            match self.parser.parse(&mut bytes, false) {
                Ok(Some(event)) => self.event(event, &mut out),
                Ok(None) | Err(EndOrError::NeedMoreData) => return Ok(out),
                Err(EndOrError::Error(error)) => return Err(format!("not XML: {error}")),
            }
            if self.ended {
                return Ok(out);
            }
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<Read>) {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, name), attributes) => {
                let mut element = Element::new(&ns, &name);
                for ((ns, name), value) in &attributes {
                    element.attributes.insert((ns.to_string(), name.to_string()), value.clone());
                }
                if self.opened {
                    self.stack.push(element);
                } else {
                    self.opened = true;
                    out.push(Read::Opened(element));
                }
            }
            Event::Text(_, text) => {
                if let Some(parent) = self.stack.last_mut() {
                    match parent.nodes.last_mut() {
                        Some(Node::Text(before)) => before.push_str(&text),
                        _ => parent.nodes.push(Node::Text(text)),
                    }
                }
            }
            Event::EndElement(_) => match self.stack.pop() {
                None => {
                    self.ended = true;
                    out.push(Read::Closed);
                }
                Some(element) => match self.stack.last_mut() {
                    Some(parent) => parent.nodes.push(Node::Element(element)),
                    None => out.push(Read::Stanza(element)),
                },
            },
        }
    }
}
