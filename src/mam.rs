//! Queries of archives (XEP-0313, version 1.1.1, as XEP-0442 asks nodes): what was asked for, and how it is answered.

use crate::forms::{self, Form};
use crate::jid::Jid;
use crate::ns;
use crate::rsm;
use crate::time::Timestamp;
use crate::xml::{Element, Writer};

/// Results in one answer: each is a message of its own.
const PAGE: u64 = 100;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Query<'d> {
    /// Repeated in every result.
    pub id: Option<&'d str>,
    /// Whom messages are to be from or to.
    pub with: Option<Jid>,
    /// The earliest time.
    pub start: Timestamp,
    /// The latest time.
    pub end: Timestamp,
    /// The field that the archive has besides those of the document.
    pub extra: Option<String>,
    /// Which page.
    pub page: rsm::Query<'d>,
}

/// Why a query cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It asks for a field that the archive does not know.
    Unknown(String),
    /// It makes no sense.
    Malformed(&'static str),
}

impl<'d> Query<'d> {
    /// Reads `<query/>`; `extra` is the name of a field that the archive knows besides those of the document.
    pub fn read(query: Element<'d>, extra: Option<&str>) -> Result<Self, Rejected> {
        let page = rsm::Query::child_of(query).map_err(|malformed| Rejected::Malformed(malformed.0))?;
        let mut read = Self {
            id: query.attr("queryid"),
            with: None,
            start: Timestamp::from_micros(i64::MIN),
            end: Timestamp::from_micros(i64::MAX),
            extra: None,
            page: page.unwrap_or(rsm::Query { max: None, position: rsm::Position::First }),
        };
        let Some(x) = query.child("x", ns::DATA_FORMS) else { return Ok(read) };
        let form = Form::read(x).map_err(|_| Rejected::Malformed("the form cannot be read"))?;
        if form.form_type() != Some(ns::MAM) {
            return Err(Rejected::Malformed("the form is of another type"));
        }
        let time = |text: &str| Timestamp::parse(text).ok_or(Rejected::Malformed("start and end are times"));
        for (var, values) in form.fields() {
            let [value] = values[..] else { return Err(Rejected::Malformed("every field has one value")) };
            match var {
                "with" => read.with = Some(Jid::parse(value).map_err(|_| Rejected::Malformed("'with' is a JID"))?),
                "start" => read.start = time(value)?,
                "end" => read.end = time(value)?,
                _ if Some(var) == extra => read.extra = Some(value.to_owned()),
                _ => return Err(Rejected::Unknown(var.to_owned())),
            }
        }
        Ok(read)
    }

    /// Results in the answer at most.
    pub fn limit(&self) -> u64 {
        self.page.max.unwrap_or(PAGE).min(PAGE)
    }

    /// One `<message/>` with a result: `message` is the one that is archived, `beside` stands next to it.
    pub fn result(&self, from: &str, to: &str, stanza_id: &str, found: &Found<'_>) -> String {
        let mut writer = Writer::with_capacity(found.message.len() + 512);
        writer.start("message").attr("id", stanza_id).attr("from", from).attr("to", to);
        writer.start_ns("result", ns::MAM).optional_attr("queryid", self.id).attr("id", found.id);
        writer.start_ns("forwarded", ns::FORWARD);
        writer.start_ns("delay", ns::DELAY).attr("stamp", &found.time.to_string()).end();
        writer.raw(found.message).end().raw(found.beside);
        writer.finish()
    }

    /// `<fin/>`: ends of the page, place of its first member, size of the whole set.
    pub fn fin(&self, ends: Option<(&str, &str)>, shown: u64, index: u64, count: u64) -> String {
        let backwards = matches!(self.page.position, rsm::Position::Last | rsm::Position::Before(_));
        let rest = if backwards { index } else { count - (index + shown).min(count) };
        let complete = match ends {
            Some(_) => rest == 0,
            // Behind the last or before the first there is nothing; without places nothing was looked at.
            None => self.limit() > 0 || count == 0,
        };
        let mut writer = Writer::with_capacity(256);
        writer.start_ns("fin", ns::MAM).optional_attr("complete", complete.then_some("true"));
        rsm::write(&mut writer, ends, Some(index), Some(count));
        writer.finish()
    }
}

/// A member of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// When it was archived.
    pub time: Timestamp,
    /// The message, as XML in `jabber:client`.
    pub message: &'a str,
    /// What stands beside it in the result, as XML.
    pub beside: &'a str,
}

/// The fields that can be asked for.
pub fn form(extra: Option<&str>) -> String {
    let mut writer = Writer::new();
    writer.start_ns("query", ns::MAM);
    forms::start(&mut writer, "form", ns::MAM);
    let mut field = |var, kind| forms::field::<&str>(&mut writer, var, Some(kind), None, &[], &[]);
    field("with", "jid-single");
    field("start", "text-single");
    field("end", "text-single");
    if let Some(extra) = extra {
        field(extra, "text-single");
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::{Query, Rejected};
    use crate::time::Timestamp;
    use crate::xml::{Document, Limits};

    fn read(fields: &str) -> Result<(Timestamp, Option<String>, Option<String>), Rejected> {
        let xml = format!(
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
             <value>urn:xmpp:mam:2</value></field>{fields}</x></query>"
        );
        let document = Document::parse(&xml, &Limits::default()).expect("valid");
        let query = Query::read(document.root(), Some("more"))?;
        Ok((query.start, query.with.map(|jid| jid.as_str().to_owned()), query.extra))
    }

    #[test]
    fn fields() {
        let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
        let all = [field("start", "1970-01-01T00:00:01Z"), field("with", "A.example"), field("more", "x")].concat();
        assert_eq!(read(&all), Ok((Timestamp::from_micros(1_000_000), Some("a.example".into()), Some("x".into()))));
        assert_eq!(read(&field("other", "x")), Err(Rejected::Unknown("other".into())));
        for wrong in [field("start", "yesterday"), field("with", "@"), "<field var='end'/>".to_owned()] {
            assert!(matches!(read(&wrong), Err(Rejected::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_complete() {
        let complete = |set: &str, ends, shown, index, count| {
            let xml = format!(
                "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>{set}</set></query>"
            );
            let document = Document::parse(&xml, &Limits::default()).expect("valid");
            let query = Query::read(document.root(), None).expect("valid");
            query.fin(ends, shown, index, count).contains("complete='true'")
        };
        let ends = Some(("a", "b"));
        assert!(complete("<max>2</max>", ends, 2, 3, 5) && !complete("<max>2</max>", ends, 2, 2, 5));
        assert!(complete("<before/>", ends, 2, 0, 5) && !complete("<before/>", ends, 2, 3, 5));
        assert!(complete("<max>0</max>", None, 0, 0, 0) && !complete("<max>0</max>", None, 0, 0, 5));
        assert!(complete("<after>z</after>", None, 0, 0, 5));
    }
}
