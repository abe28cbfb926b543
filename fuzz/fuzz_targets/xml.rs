//! The parser: what it accepts can be walked, and every element stands alone.
#![cfg_attr(fuzzing, no_main)]

use pam_pps::xml::{Document, Element, Limits};

pam_pps_fuzz::target!("xml", parse);

fn parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let tight = Limits { bytes: 2_000, depth: 4, attributes: 3, children: 5 };
    for limits in [Limits::default(), tight] {
        if let Ok(document) = Document::parse(&text, &limits) {
            walk(document.root(), 0);
        }
    }
}

fn walk(element: Element<'_>, depth: usize) {
    assert!(depth < 64, "deeper than the limit");
    assert!(!element.name().is_empty(), "a name is never empty");
    let alone = element.to_standalone();
    let again = Document::parse(&alone, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {alone}"));
    assert_eq!((again.root().name(), again.root().ns()), (element.name(), element.ns()));
    assert_eq!(again.root().text(), element.text());
    assert_eq!(again.root().to_standalone(), alone, "nothing is to be added twice");
    let _ = (element.attr("a"), element.language(), element.has_text(), element.source_len());
    element.children().for_each(|child| walk(child, depth + 1));
}
