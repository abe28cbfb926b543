//! What a payload says to people: the `<body/>` of notifications for subscribers that asked for one
//! (`pubsub#include_body`, XEP-0060, section 12.8).

use crate::ns;
use crate::pubsub::{Item, NodeConfig};
use crate::xml::{Document, Element, Limits};

/// Whether items of such a node can be put into words: Atom entries can, and a node of no type may have them.
pub(crate) fn possible(config: &NodeConfig) -> bool {
    matches!(&*config.r#type, "" | ns::ATOM | ns::MICROBLOG)
}

/// The summary of an Atom entry, or who wrote it and its title; behind the title of the node. None for other payloads.
pub(crate) fn summary(config: &NodeConfig, items: &[Item]) -> Option<String> {
    if !config.deliver_payloads || !possible(config) {
        return None;
    }
    items.iter().find_map(|item| {
        let document = Document::parse(&item.payload, &Limits::default()).ok()?;
        let text = entry(document.root())?;
        let title = config.title.trim();
        Some(if title.is_empty() { text } else { format!("*{title}*\n\n{text}") })
    })
}

fn entry(entry: Element<'_>) -> Option<String> {
    let text = |parent: Element<'_>, name| {
        let child: Element<'_> = parent.child(name, ns::ATOM)?;
        Some(child.text().trim().to_owned()).filter(|text| !text.is_empty())
    };
    if !entry.is("entry", ns::ATOM) {
        return None;
    }
    if let Some(summary) = text(entry, "summary") {
        return Some(summary);
    }
    let author = entry.child("author", ns::ATOM).and_then(|author| text(author, "name"));
    match (author, text(entry, "title")) {
        (Some(author), title) => Some(format!("{author} posted {}", title.unwrap_or_default()).trim_end().to_owned()),
        (None, title) => title,
    }
}

#[cfg(test)]
mod tests {
    use super::summary;
    use crate::pubsub::{Item, ItemId, NodeConfig};
    use crate::time::Timestamp;

    fn said(title: &str, r#type: &str, payload: &str) -> Option<String> {
        let mut config = NodeConfig::component();
        config.set("pubsub#title", &[title]).expect("an option");
        config.set("pubsub#type", &[r#type]).expect("an option");
        let published = Timestamp::from_micros(0);
        let item = Item { seq: 1, id: ItemId::from("i"), publisher: "a@b".into(), published, payload: payload.into() };
        summary(&config, &[item])
    }

    #[test]
    fn words_of_entries() {
        let entry = |inside: &str| format!("<entry xmlns='http://www.w3.org/2005/Atom'>{inside}</entry>");
        let (name, title) = ("<author><name>Juliet</name></author>", "<title>A &lt; B</title>");
        let all = entry(&format!("{name}{title}<summary>In short</summary>"));
        assert_eq!(said("", "", &all).as_deref(), Some("In short"));
        assert_eq!(said("Blog", "urn:xmpp:microblog:0", &all).as_deref(), Some("*Blog*\n\nIn short"));
        assert_eq!(said("", "", &entry(&format!("{name}{title}"))).as_deref(), Some("Juliet posted A < B"));
        assert_eq!(said("", "", &entry(title)).as_deref(), Some("A < B"));
        assert_eq!(said("", "", &entry("")), None);
        assert_eq!(said("", "urn:x", &all), None);
        assert_eq!(said("", "", "<entry xmlns='urn:x'><title>t</title></entry>"), None);
        assert_eq!(said("", "", ""), None);
    }
}
