//! Result set management (XEP-0059, version 1.0): which page was asked for, and how a page is described.

use std::borrow::Cow;

use crate::ns;
use crate::xml::{Element, Writer};

/// Which page of a set was asked for. Members are named by the identifiers that the set shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'d> {
    /// At most this many members; none if no limit was given.
    pub max: Option<u64>,
    /// Where the page is.
    pub position: Position<'d>,
}

/// Where a page is in its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position<'d> {
    /// At the beginning.
    First,
    /// At the end (an empty `<before/>`).
    Last,
    /// After this member.
    After(Cow<'d, str>),
    /// Before this member.
    Before(Cow<'d, str>),
    /// From this place on.
    Index(u64),
}

/// Why a query makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl<'d> Query<'d> {
    /// Reads the `<set/>` inside `parent`; none if there is none.
    pub fn child_of(parent: Element<'d>) -> Result<Option<Self>, Malformed> {
        let Some(set) = parent.child("set", ns::RSM) else {
            return Ok(None);
        };
        let mut query = Self { max: None, position: Position::First };
        let mut positions = 0;
        for child in set.children().filter(|child| child.ns() == ns::RSM) {
            let text = child.text();
            match child.name() {
                "max" => query.max = Some(number(&text)?),
                // "Before the first item" is what no <after/> at all says too (section 2.2).
                "after" if text.is_empty() => positions += 1,
                "after" => (query.position, positions) = (Position::After(text), positions + 1),
                "before" => {
                    query.position = if text.is_empty() { Position::Last } else { Position::Before(text) };
                    positions += 1;
                }
                "index" => (query.position, positions) = (Position::Index(number(&text)?), positions + 1),
                _ => {}
            }
        }
        if positions > 1 {
            return Err(Malformed("a page is asked for by one of after, before and index"));
        }
        Ok(Some(query))
    }
}

fn number(text: &str) -> Result<u64, Malformed> {
    text.trim().parse().map_err(|_| Malformed("max and index are numbers"))
}

/// Writes the `<set/>` of an answer: `members` are the first and the last identifier of the page, if it has any; `index` is
/// the place of the first, and `count` the size of the set, if they are known.
pub fn write(writer: &mut Writer, members: Option<(&str, &str)>, index: Option<u64>, count: Option<u64>) {
    writer.start_ns("set", ns::RSM);
    if let Some((first, last)) = members {
        let index = index.map(|index| index.to_string());
        writer.start("first").optional_attr("index", index.as_deref()).text(first).end();
        writer.start("last").text(last).end();
    }
    if let Some(count) = count {
        writer.start("count").text(&count.to_string()).end();
    }
    writer.end();
}

#[cfg(test)]
mod tests {
    use super::{Position, Query};
    use crate::xml::{Document, Limits};

    fn query(set: &str) -> Result<Option<(Option<u64>, String)>, ()> {
        let xml = format!("<q>{set}</q>");
        let document = Document::parse(&xml, &Limits::default()).expect("valid");
        let query = Query::child_of(document.root()).map_err(|_| ())?;
        Ok(query.map(|query| (query.max, format!("{:?}", query.position))))
    }

    #[test]
    fn reads() {
        let set = |inner: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>");
        assert_eq!(query(""), Ok(None));
        assert_eq!(query(&set("<max>10</max>")), Ok(Some((Some(10), format!("{:?}", Position::First)))));
        assert_eq!(query(&set("<before/>")), Ok(Some((None, format!("{:?}", Position::Last)))));
        assert_eq!(query(&set("<max>1</max><after>a</after>")), Ok(Some((Some(1), "After(\"a\")".into()))));
        assert_eq!(query(&set("<after/>")), Ok(Some((None, format!("{:?}", Position::First)))));
        assert_eq!(query(&set("<max>-1</max>")), Err(()));
        assert_eq!(query(&set("<after>a</after><before/>")), Err(()));
    }
}
