//! XML as XMPP allows it (RFC 6120, section 11; Namespaces in XML 1.0).
//!
//! [`Document::parse`] is strict and the only door by which text from outside comes in. The tree borrows from the
//! text, so that a payload can leave exactly as it came: [`Element::write_standalone`] copies its source and adds the
//! namespace declarations that its ancestors held for it, and no others.

mod parse;
mod write;

use std::borrow::Cow;

pub use parse::Limits;
pub use write::{Writer, escape_attribute, escape_text};

use crate::ns;

/// "No element" in the links of the tree.
const NONE: u32 = u32::MAX;

/// A parsed document; elements are visited through [`Document::root`].
#[derive(Debug)]
pub struct Document<'a> {
    source: &'a str,
    nodes: Vec<Node<'a>>,
    attributes: Vec<Attribute<'a>>,
    declarations: Vec<Declaration<'a>>,
    /// Every namespace name in use; the first is the empty one.
    namespaces: Vec<Cow<'a, str>>,
}

#[derive(Debug)]
struct Node<'a> {
    kind: Kind<'a>,
    next: u32,
    start: u32,
    end: u32,
}

#[derive(Debug)]
enum Kind<'a> {
    Element(Tag<'a>),
    /// Character data as it stands in the source, with references unresolved.
    Text,
    /// The inside of a CDATA section.
    Cdata,
}

#[derive(Debug)]
struct Tag<'a> {
    prefix: &'a str,
    name: &'a str,
    namespace: u32,
    parent: u32,
    first: u32,
    attributes: (u32, u32),
    declarations: (u32, u32),
    /// Where the tag's name ends: the place for further declarations.
    name_end: u32,
}

#[derive(Debug)]
struct Attribute<'a> {
    prefix: &'a str,
    name: &'a str,
    namespace: u32,
    value: Cow<'a, str>,
}

#[derive(Debug, Clone, Copy)]
struct Declaration<'a> {
    prefix: &'a str,
    namespace: u32,
}

/// An element of a [`Document`].
#[derive(Clone, Copy)]
pub struct Element<'d> {
    document: &'d Document<'d>,
    index: u32,
}

impl<'a> Document<'a> {
    /// The outermost element.
    pub fn root(&self) -> Element<'_> {
        Element { document: self, index: 0 }
    }
}

impl<'d> Element<'d> {
    fn tag(&self) -> &'d Tag<'d> {
        match &self.document.nodes[self.index as usize].kind {
            Kind::Element(tag) => tag,
            Kind::Text | Kind::Cdata => unreachable!("an Element is only ever made of an element node"),
        }
    }

    /// The local name.
    pub fn name(&self) -> &'d str {
        self.tag().name
    }

    /// The namespace name, empty if there is none.
    pub fn ns(&self) -> &'d str {
        &self.document.namespaces[self.tag().namespace as usize]
    }

    /// Whether this is the element of that name in that namespace.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// The value of an attribute without namespace.
    pub fn attr(&self, name: &str) -> Option<&'d str> {
        self.attributes().iter().find(|a| a.namespace == 0 && a.name == name).map(|a| a.value.as_ref())
    }

    /// The value of `xml:lang` on this very element.
    pub fn own_language(&self) -> Option<&'d str> {
        let xml = self.document.namespaces.iter().position(|namespace| *namespace == ns::XML)? as u32;
        let found = self.attributes().iter().find(|a| a.namespace == xml && a.name == "lang");
        found.map(|found| found.value.as_ref())
    }

    /// The language in force, from `xml:lang` here or further out.
    pub fn language(&self) -> Option<&'d str> {
        let mut at = Some(*self);
        while let Some(element) = at {
            if let Some(language) = element.own_language() {
                return Some(language);
            }
            let parent = element.tag().parent;
            at = (parent != NONE).then_some(Element { document: self.document, index: parent });
        }
        None
    }

    fn attributes(&self) -> &'d [Attribute<'d>] {
        let (from, to) = self.tag().attributes;
        &self.document.attributes[from as usize..to as usize]
    }

    fn declarations(&self) -> &'d [Declaration<'d>] {
        let (from, to) = self.tag().declarations;
        &self.document.declarations[from as usize..to as usize]
    }

    fn nodes(&self) -> impl Iterator<Item = u32> + use<'d> {
        let document = self.document;
        let first = self.tag().first;
        std::iter::successors((first != NONE).then_some(first), move |&index| {
            let next = document.nodes[index as usize].next;
            (next != NONE).then_some(next)
        })
    }

    /// The child elements in their order.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'d> {
        let document = self.document;
        self.nodes()
            .filter(move |&index| matches!(document.nodes[index as usize].kind, Kind::Element(_)))
            .map(move |index| Element { document, index })
    }

    /// The first child of that name in that namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Self> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The only child element; none if there are several.
    pub fn only_child(&self) -> Option<Self> {
        let mut children = self.children();
        children.next().filter(|_| children.next().is_none())
    }

    /// The character data directly inside, references resolved.
    pub fn text(&self) -> Cow<'d, str> {
        let mut text = Cow::Borrowed("");
        for index in self.nodes() {
            let node = &self.document.nodes[index as usize];
            let raw = &self.document.source[node.start as usize..node.end as usize];
            let part = match node.kind {
                Kind::Element(_) => continue,
                Kind::Text => parse::unescape(raw),
                // Line ends as everywhere (XML 1.0, section 2.11); nothing else is resolved.
                Kind::Cdata if raw.contains('\r') => raw.replace("\r\n", "\n").replace('\r', "\n").into(),
                Kind::Cdata => Cow::Borrowed(raw),
            };
            if text.is_empty() {
                text = part;
            } else {
                text.to_mut().push_str(&part);
            }
        }
        text
    }

    /// Whether there is character data other than white space directly inside.
    pub fn has_text(&self) -> bool {
        self.text().contains(|c: char| !c.is_ascii_whitespace())
    }

    /// How many bytes the element takes in the text it came in.
    pub fn source_len(&self) -> usize {
        let node = &self.document.nodes[self.index as usize];
        (node.end - node.start) as usize
    }

    /// Writes the element exactly as it came, with those declarations added to its tag that it needs and that only its
    /// ancestors had. The result means the same under any ancestors.
    pub fn write_standalone(&self, out: &mut String) {
        let node = &self.document.nodes[self.index as usize];
        let name_end = self.tag().name_end as usize;
        out.push_str(&self.document.source[node.start as usize..name_end]);
        let mut scope = Vec::new();
        let mut needed = Vec::new();
        self.collect_inherited(&mut scope, &mut needed);
        for prefix in needed {
            let namespace = self.inherited(prefix);
            out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            out.push_str(prefix);
            out.push_str("='");
            escape_attribute(out, namespace);
            out.push('\'');
        }
        out.push_str(&self.document.source[name_end..node.end as usize]);
    }

    /// [`Element::write_standalone`] into a new string.
    pub fn to_standalone(&self) -> String {
        let mut out = String::with_capacity(self.source_len() + 32);
        self.write_standalone(&mut out);
        out
    }

    /// Gathers the prefixes (the empty one for the default namespace) that this subtree uses without declaring them.
    fn collect_inherited(&self, scope: &mut Vec<&'d str>, needed: &mut Vec<&'d str>) {
        let depth = scope.len();
        scope.extend(self.declarations().iter().map(|declaration| declaration.prefix));
        let tag = self.tag();
        let prefixed = self.attributes().iter().map(|a| a.prefix).filter(|prefix| !prefix.is_empty());
        for prefix in std::iter::once(tag.prefix).chain(prefixed) {
            // Most have none: comparing lengths first spares a call for each.
            let is_known = |known: &&str| known.len() == prefix.len() && (prefix.is_empty() || *known == prefix);
            if prefix != "xml" && !scope.iter().any(is_known) && !needed.iter().any(is_known) {
                needed.push(prefix);
            }
        }
        for child in self.children() {
            child.collect_inherited(scope, needed);
        }
        scope.truncate(depth);
    }

    /// What an ancestor bound `prefix` to.
    fn inherited(&self, prefix: &str) -> &'d str {
        let mut parent = self.tag().parent;
        while parent != NONE {
            let element = Element { document: self.document, index: parent };
            if let Some(found) = element.declarations().iter().find(|declaration| declaration.prefix == prefix) {
                return &self.document.namespaces[found.namespace as usize];
            }
            parent = element.tag().parent;
        }
        // The parser refuses unbound prefixes, so this is the default namespace of a stanza.
        if prefix.is_empty() { &self.document.namespaces[parse::DEFAULT as usize] } else { "" }
    }
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} xmlns='{}'>", self.name(), self.ns())
    }
}

/// Whether `text` is true as XML Schema and XEP-0004 have it: `1` or `true`; none if it is no boolean.
pub fn boolean(text: &str) -> Option<bool> {
    match text.trim_matches(|c: char| c.is_ascii_whitespace()) {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// The namespace of stanzas without a declaration of their own.
pub(crate) const IMPLIED_NAMESPACE: &str = ns::CLIENT;
