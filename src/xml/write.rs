//! Writing XML: what the engine says is built by a [`Writer`], payloads are copied in as they are.

/// Builds one document as text.
///
/// Namespaces are written as plain `xmlns` attributes where the caller gives them; balance is the caller's business,
/// [`Writer::finish`] checks it in debug builds.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
    open: Vec<&'static str>,
    in_tag: bool,
}

impl Writer {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty document with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: String::with_capacity(bytes), ..Self::default() }
    }

    fn finish_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }

    /// Begins an element in the namespace of its parent.
    pub fn start(&mut self, name: &'static str) -> &mut Self {
        self.finish_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.in_tag = true;
        self
    }

    /// Begins an element in a namespace of its own.
    pub fn start_ns(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.start(name).attr("xmlns", ns)
    }

    /// Adds an attribute to the element that was just begun.
    pub fn attr(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "attributes come before content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        escape_attribute(&mut self.out, value);
        self.out.push('\'');
        self
    }

    /// Adds an attribute if there is a value.
    pub fn optional_attr(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.attr(name, value);
        }
        self
    }

    /// Adds character data.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.finish_tag();
        escape_text(&mut self.out, text);
        self
    }

    /// Adds XML that was written before.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        if !xml.is_empty() {
            self.finish_tag();
            self.out.push_str(xml);
        }
        self
    }

    /// Ends the element that was begun last.
    pub fn end(&mut self) -> &mut Self {
        let name = self.open.pop();
        debug_assert!(name.is_some(), "an element is open");
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else if let Some(name) = name {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
        self
    }

    /// The text so far, with all elements ended.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }
}

/// Adds character data to `out`.
pub fn escape_text(out: &mut String, text: &str) {
    escape(out, text, false);
}

/// Adds an attribute value, for either kind of quote, to `out`.
pub fn escape_attribute(out: &mut String, value: &str) {
    escape(out, value, true);
}

fn escape(out: &mut String, text: &str, attribute: bool) {
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let replacement = match byte {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'\r' => "&#xD;",
            b'\'' if attribute => "&apos;",
            b'"' if attribute => "&quot;",
            b'\n' if attribute => "&#xA;",
            b'\t' if attribute => "&#x9;",
            _ => continue,
        };
        out.push_str(&text[copied..at]);
        out.push_str(replacement);
        copied = at + 1;
    }
    out.push_str(&text[copied..]);
}

#[cfg(test)]
mod tests {
    use super::Writer;

    #[test]
    fn builds() {
        let mut writer = Writer::new();
        writer.start("iq").attr("id", "<'\n&").start_ns("query", "urn:q").end();
        writer.start("b").text("a<b>&'").end().raw("<c/>");
        assert_eq!(
            writer.finish(),
            "<iq id='&lt;&apos;&#xA;&amp;'><query xmlns='urn:q'/><b>a&lt;b&gt;&amp;'</b><c/></iq>"
        );
    }
}
