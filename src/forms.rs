//! Data forms (XEP-0004, version 2.13.2): reading what was submitted, writing what is offered.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::ns;
use crate::xml::{Element, Writer};

/// A form that came in.
#[derive(Debug)]
pub struct Form<'d> {
    /// `type`: form, submit, cancel or result.
    pub kind: &'d str,
    fields: Vec<(&'d str, Vec<Cow<'d, str>>)>,
}

/// Why an element is no usable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// A field occurs twice.
    Twice(String),
    /// A field has no name.
    Unnamed,
    /// The form is of another type than asked for; the type wanted.
    WrongType(&'static str),
    /// There is no form.
    Missing,
}

impl<'d> Form<'d> {
    /// Reads the form that is a child of `parent`.
    pub fn child_of(parent: Element<'d>) -> Result<Self, Malformed> {
        Self::read(parent.child("x", ns::DATA_FORMS).ok_or(Malformed::Missing)?)
    }

    /// Reads `<x xmlns='jabber:x:data'/>`.
    pub fn read(x: Element<'d>) -> Result<Self, Malformed> {
        let mut fields: Vec<(&str, Vec<Cow<'_, str>>)> = Vec::new();
        let mut known = HashSet::new();
        for field in x.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
            let Some(var) = field.attr("var") else {
                // A field of type "fixed" is there to be read by people (section 3.3).
                if field.attr("type") == Some("fixed") {
                    continue;
                }
                return Err(Malformed::Unnamed);
            };
            if !known.insert(var) {
                return Err(Malformed::Twice(var.to_owned()));
            }
            let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS)).map(|v| v.text());
            fields.push((var, values.collect()));
        }
        Ok(Self { kind: x.attr("type").unwrap_or(""), fields })
    }

    /// `FORM_TYPE` (XEP-0068).
    pub fn form_type(&self) -> Option<&str> {
        self.value("FORM_TYPE")
    }

    /// Whether the form is of that `FORM_TYPE`, or says nothing about it.
    pub fn fits(&self, form_type: &str) -> bool {
        self.form_type().is_none_or(|found| found == form_type)
    }

    /// The first value of a field.
    pub fn value(&self, var: &str) -> Option<&str> {
        self.values(var)?.first().map(AsRef::as_ref)
    }

    /// All values of a field.
    pub fn values(&self, var: &str) -> Option<&[Cow<'d, str>]> {
        self.fields.iter().find(|(known, _)| *known == var).map(|(_, values)| values.as_slice())
    }

    /// Every field but `FORM_TYPE`.
    pub fn fields(&self) -> impl Iterator<Item = (&'d str, Vec<&str>)> {
        self.fields
            .iter()
            .filter(|(var, _)| *var != "FORM_TYPE")
            .map(|(var, values)| (*var, values.iter().map(AsRef::as_ref).collect()))
    }
}

/// Begins a form; fields follow, [`Writer::end`] ends it.
pub fn start(writer: &mut Writer, kind: &str, form_type: &str) {
    writer.start_ns("x", ns::DATA_FORMS).attr("type", kind);
    writer.start("field").attr("var", "FORM_TYPE").attr("type", "hidden");
    writer.start("value").text(form_type).end().end();
}

/// Adds a field with its values.
pub fn field<T: AsRef<str>>(
    writer: &mut Writer,
    var: &str,
    kind: Option<&str>,
    label: Option<&str>,
    options: &[&str],
    values: &[T],
) {
    writer.start("field").attr("var", var).optional_attr("type", kind).optional_attr("label", label);
    for option in options {
        writer.start("option").start("value").text(option).end().end();
    }
    for value in values {
        writer.start("value").text(value.as_ref()).end();
    }
    writer.end();
}

#[cfg(test)]
mod tests {
    use super::{Form, Malformed};
    use crate::xml::{Document, Limits};

    #[test]
    fn reads() {
        let xml = "<q><x xmlns='jabber:x:data' type='submit'><field type='fixed'><value>Hi</value></field>\
                   <field var='FORM_TYPE'><value>t</value></field><field var='a'><value>1</value><value>2</value></field>\
                   <field var='b'/></x></q>";
        let document = Document::parse(xml, &Limits::default()).expect("valid");
        let form = Form::child_of(document.root()).expect("form");
        assert_eq!((form.kind, form.form_type(), form.value("a")), ("submit", Some("t"), Some("1")));
        assert_eq!(form.fields().collect::<Vec<_>>(), [("a", vec!["1", "2"]), ("b", vec![])]);
        assert!(form.fits("t") && !form.fits("u"));
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        let xml = "<x xmlns='jabber:x:data'><field var='a'/><field var='a'/></x>";
        let document = Document::parse(xml, &Limits::default()).expect("valid");
        assert_eq!(Form::read(document.root()).err(), Some(Malformed::Twice("a".into())));
    }
}
