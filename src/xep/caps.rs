//! XEP-0115 (1.6.0) and XEP-0390 (0.3.2): what clients want, from the hash in their presence.
//!
//! A hash is asked about once, however many clients show it. What comes back is kept under the hash that it really has:
//! an answer that does not fit what the client showed counts for that client alone, and the next one is asked.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use sha1::Digest;

use super::{DocumentInfo, Extension};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::presence::{Caps, Features, Query, Resource, Shown};
use crate::jid::{BareJid, FullJid};
use crate::ns;
use crate::stanza::{self, IqType, Stanza};
use crate::xml::Element;

/// Seconds until a client that does not answer is given up and the next one asked.
const PATIENCE: i64 = 30;

pub(crate) struct Capabilities;

impl Extension for Capabilities {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[
            DocumentInfo {
                number: "0115",
                title: "Entity Capabilities",
                version: "1.6.0",
                complete: true,
                notes: "the receiving side",
            },
            DocumentInfo {
                number: "0390",
                title: "Entity Capabilities 2.0",
                version: "0.3.2",
                complete: true,
                notes: "the receiving side",
            },
        ]
    }

    fn on_answer(&self, context: &mut Context<'_>, stanza: &Stanza<'_>) -> Handled<bool> {
        let Some(query) = context.memory.presences.query_by_id(stanza.id).cloned() else { return Ok(false) };
        if stanza.from.as_full() != Some(&query.asked) {
            return Ok(false);
        }
        let answer = stanza.element.child("query", ns::DISCO_INFO).filter(|_| stanza.r#type == IqType::Result.as_str());
        let Some(answer) = answer else {
            return give_up(context, query, None).map(|()| true);
        };
        let features = Arc::new(Features::read(
            answer.children().filter(|c| c.is("feature", ns::DISCO_INFO)).filter_map(|feature| feature.attr("var")),
        ));
        if !fits(&query.shown, answer) {
            return give_up(context, query, Some(features)).map(|()| true);
        }
        let (now, keep) = (context.now, context.memory.settings.caps_kept);
        let list = features.to_list();
        context.change().put_capabilities(&query.shown.key, &list, now, keep)?;
        context.remember(&query.shown.key, &features);
        context.memory.presences.put_query(&query.shown.key, None);
        for (service, jid) in &query.waiting {
            context.learn(service, jid, Caps::Known(query.shown.key.clone(), features.clone()))?;
        }
        context.send_to_waiting(&query.waiting)?;
        Ok(true)
    }

    fn on_tick(&self, context: &mut Context<'_>) -> Handled<()> {
        for query in context.memory.presences.overdue_queries(context.now) {
            give_up(context, query, None)?;
        }
        Ok(())
    }
}

/// The client that was asked did not tell what its hash stands for; the next one that shows it is asked. `features` are
/// those it told of itself.
fn give_up(context: &mut Context<'_>, query: Query, features: Option<Arc<Features>>) -> Handled<()> {
    let (of_asked, others): (Vec<_>, Vec<_>) = query.waiting.into_iter().partition(|(_, jid)| *jid == query.asked);
    context.memory.presences.put_query(&query.shown.key, None);
    for (service, jid) in &of_asked {
        let caps = features.clone().map_or(Caps::None, |features| Caps::Known("".into(), features));
        context.learn(service, jid, caps)?;
    }
    for (service, jid) in &others {
        let jid_of_service = BareJid::from_prepared(service);
        if let Some(service) = context.service_at(&jid_of_service) {
            context.ask_capabilities(&service, jid, &query.shown);
        }
    }
    if features.is_some() { context.send_to_waiting(&of_asked) } else { Ok(()) }
}

impl Context<'_> {
    /// What a client shows of its capabilities in its presence.
    pub(crate) fn shown_capabilities(&self, presence: Element<'_>, jid: &FullJid) -> Option<Arc<Shown>> {
        if let Some(c) = presence.child("c", ns::CAPS2) {
            let hashes = c.children().filter(|child| child.is("hash", ns::HASHES));
            let known = hashes.filter_map(|hash| Some((hash.attr("algo")?, hash.text())));
            let best = known.filter(|(algorithm, _)| digest(algorithm, b"").is_some());
            // The one that everybody has to know is preferred: it is the most likely to be cached.
            if let Some((algorithm, hash)) = best.min_by_key(|(algorithm, _)| *algorithm != "sha-256") {
                let hash = hash.trim();
                let (key, node) = (format!("2:{algorithm}:{hash}"), format!("urn:xmpp:caps#{algorithm}.{hash}"));
                return Some(Arc::new(Shown { key: key.into(), node, second: true }));
            }
        }
        let c = presence.child("c", ns::CAPS)?;
        let (node, ver) = (c.attr("node")?, c.attr("ver")?);
        // Without an algorithm (the format before 1.4) nothing can be verified: it holds for this client.
        let key = match c.attr("hash") {
            Some(algorithm) if digest(algorithm, b"").is_some() => format!("{algorithm}:{ver}"),
            _ => format!("{jid} {ver}"),
        };
        Some(Arc::new(Shown { key: key.into(), node: format!("{node}#{ver}"), second: false }))
    }

    /// The features behind a hash, if they are known.
    pub(crate) fn known_features(&mut self, key: &Arc<str>) -> Handled<Option<Arc<Features>>> {
        if let Some(features) = self.memory.features.get(key) {
            return Ok(Some(features.clone()));
        }
        let Some(list) = self.store().capabilities(key)? else { return Ok(None) };
        let features = Arc::new(Features::read(list.iter().map(String::as_str)));
        self.remember(key, &features);
        Ok(Some(features))
    }

    fn remember(&mut self, key: &Arc<str>, features: &Arc<Features>) {
        if self.memory.features.len() >= self.memory.settings.caps_kept {
            self.memory.features.clear();
        }
        self.memory.features.insert(key.clone(), features.clone());
    }

    /// Waits for the features behind a hash; asks for them if nobody has been asked yet.
    pub(crate) fn ask_capabilities(&mut self, service: &ServiceRef, jid: &FullJid, shown: &Arc<Shown>) {
        let waiting = (service.name.clone(), jid.clone());
        if let Some(query) = self.memory.presences.query(&shown.key) {
            let mut query = query.clone();
            if !query.waiting.contains(&waiting) {
                query.waiting.push(waiting);
                self.memory.presences.put_query(&shown.key, Some(query));
            }
            return;
        }
        if self.memory.presences.query_count() >= self.memory.settings.caps_kept {
            return;
        }
        let id: Arc<str> = self.memory.ids.request("caps").into();
        let mut iq = stanza::iq(IqType::Get, &id, service.jid.as_str(), jid.as_str());
        iq.start_ns("query", ns::DISCO_INFO).attr("node", &shown.node);
        self.out.push(Decision::Route { stanza: iq.finish() });
        let deadline = self.now.plus_seconds(PATIENCE);
        let query = Query { id, asked: jid.clone(), shown: shown.clone(), deadline, waiting: vec![waiting] };
        self.memory.presences.put_query(&shown.key, Some(query));
        self.wake_at(deadline);
    }

    /// A client's features have become known, or that they never will.
    fn learn(&mut self, service: &Arc<str>, jid: &FullJid, caps: Caps) -> Handled<()> {
        if let Some(resource) = self.memory.presences.resource(service, jid).cloned() {
            self.memory.presences.put(service, jid, Some(Resource { caps, ..resource }));
        }
        Ok(())
    }

    /// Clients whose capabilities came late do not miss their last items.
    fn send_to_waiting(&mut self, waiting: &[(Arc<str>, FullJid)]) -> Handled<()> {
        let mut all = true;
        for (service, jid) in waiting {
            let Some(service) = self.service_at(&BareJid::from_prepared(service)) else { continue };
            self.gather(|context| context.send_wanted_items(&service, jid), &mut all)?;
            self.gather(|context| super::interest(context, &service, jid), &mut all)?;
        }
        if all { Ok(()) } else { Err(crate::engine::context::Stop::Need) }
    }
}

/// Whether the answer has the hash that was shown.
fn fits(shown: &Shown, answer: Element<'_>) -> bool {
    let (input, algorithm, hash) = if shown.second {
        let Some((algorithm, hash)) = shown.key.strip_prefix("2:").and_then(|rest| rest.split_once(':')) else {
            return false;
        };
        (second_input(answer), algorithm, hash)
    } else {
        let Some((algorithm, hash)) = shown.key.split_once(':') else { return false };
        (first_input(answer), algorithm, hash)
    };
    let computed = input.and_then(|input| digest(algorithm, input.as_bytes()));
    computed.is_some_and(|computed| computed == hash)
}

/// The hash in base64; none if the algorithm is not known.
fn digest(algorithm: &str, input: &[u8]) -> Option<String> {
    let encode = |bytes: &[u8]| BASE64.encode(bytes);
    Some(match algorithm {
        "sha-1" => encode(&sha1::Sha1::digest(input)),
        "sha-256" => encode(&sha2::Sha256::digest(input)),
        "sha-512" => encode(&sha2::Sha512::digest(input)),
        "sha3-256" => encode(&sha3::Sha3_256::digest(input)),
        "sha3-512" => encode(&sha3::Sha3_512::digest(input)),
        _ => return None,
    })
}

/// An extended form as both documents see it: its type, and the other fields with their values.
struct ExtendedForm {
    form_type: String,
    fields: Vec<(String, Vec<String>)>,
}

fn extended_forms(answer: Element<'_>) -> Option<Vec<ExtendedForm>> {
    let mut forms = Vec::new();
    for x in answer.children().filter(|child| child.is("x", ns::DATA_FORMS)) {
        let mut form = ExtendedForm { form_type: String::new(), fields: Vec::new() };
        for field in x.children() {
            if !field.is("field", ns::DATA_FORMS) {
                return None;
            }
            let var = field.attr("var")?.to_owned();
            let mut values: Vec<String> =
                field.children().filter(|v| v.is("value", ns::DATA_FORMS)).map(|v| v.text().into_owned()).collect();
            if var == "FORM_TYPE" {
                if values.len() != 1 || !form.form_type.is_empty() {
                    return None;
                }
                form.form_type = values[0].clone();
            }
            values.sort_unstable();
            form.fields.push((var, values));
        }
        form.fields.sort_unstable();
        if form.form_type.is_empty() {
            return None;
        }
        forms.push(form);
    }
    Some(forms)
}

/// `inherited`: whether the language of the stanza counts for an identity that names none. Servers stamp stanzas with one,
/// which the client that made the hash of XEP-0115 knew nothing of; XEP-0390 asks for it.
fn identities(answer: Element<'_>, inherited: bool) -> impl Iterator<Item = [String; 4]> {
    answer.children().filter(|child| child.is("identity", ns::DISCO_INFO)).map(move |identity| {
        let attribute = |name| identity.attr(name).unwrap_or("").to_owned();
        let language = if inherited { identity.language() } else { identity.own_language() };
        let language = language.unwrap_or("").to_owned();
        [attribute("category"), attribute("type"), language, attribute("name")]
    })
}

fn feature_names(answer: Element<'_>) -> impl Iterator<Item = String> {
    let features = answer.children().filter(|child| child.is("feature", ns::DISCO_INFO));
    features.map(|feature| feature.attr("var").unwrap_or("").to_owned())
}

/// Sorted; none if something occurs twice, which both documents forbid.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.windows(2).all(|pair| pair[0] != pair[1]).then_some(values)
}

/// XEP-0115, section 5.1.
fn first_input(answer: Element<'_>) -> Option<String> {
    let mut input = String::new();
    for identity in sorted(identities(answer, false))? {
        input.push_str(&identity.join("/"));
        input.push('<');
    }
    for feature in sorted(feature_names(answer))? {
        input.push_str(&feature);
        input.push('<');
    }
    let mut forms = extended_forms(answer)?;
    forms.sort_unstable_by(|a, b| a.form_type.cmp(&b.form_type));
    if forms.windows(2).any(|pair| pair[0].form_type == pair[1].form_type) {
        return None;
    }
    for form in forms {
        input.push_str(&form.form_type);
        input.push('<');
        for (var, values) in form.fields.iter().filter(|(var, _)| var != "FORM_TYPE") {
            for text in std::iter::once(var).chain(values) {
                input.push_str(text);
                input.push('<');
            }
        }
    }
    Some(input)
}

/// XEP-0390, section 4.1.
fn second_input(answer: Element<'_>) -> Option<String> {
    let known = |child: &Element<'_>| {
        child.is("identity", ns::DISCO_INFO) || child.is("feature", ns::DISCO_INFO) || child.is("x", ns::DATA_FORMS)
    };
    if !answer.children().all(|child| known(&child)) {
        return None;
    }
    let mut input = String::new();
    for feature in sorted(feature_names(answer).map(|feature| feature + "\x1f"))? {
        input.push_str(&feature);
    }
    input.push('\x1c');
    let identity = |parts: [String; 4]| parts.iter().map(|part| format!("{part}\x1f")).collect::<String>() + "\x1e";
    for identity in sorted(identities(answer, true).map(identity))? {
        input.push_str(&identity);
    }
    input.push('\x1c');
    let form = |form: ExtendedForm| {
        let field = |(var, values): &(String, Vec<String>)| {
            let values: String = values.iter().map(|value| format!("{value}\x1f")).collect();
            format!("{var}\x1f{values}\x1e")
        };
        let mut fields: Vec<String> = form.fields.iter().map(field).collect();
        fields.sort_unstable();
        fields.concat() + "\x1d"
    };
    let mut forms: Vec<String> = extended_forms(answer)?.into_iter().map(form).collect();
    forms.sort_unstable();
    input.push_str(&forms.concat());
    input.push('\x1c');
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::{digest, first_input, second_input};
    use crate::xml::{Document, Limits};

    fn hash(xml: &str, second: bool, algorithm: &str) -> String {
        let document = Document::parse(xml, &Limits::default()).expect("valid");
        let input = if second { second_input(document.root()) } else { first_input(document.root()) };
        digest(algorithm, input.expect("hashable").as_bytes()).expect("known algorithm")
    }

    // The examples of XEP-0115, sections 5.2 and 5.3, and of XEP-0390, section 4.4.
    const SIMPLE: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
        <identity category='client' name='Exodus 0.9.1' type='pc'/>\
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>";
    const COMPLEX: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
        <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
        <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>\
        <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
        <field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>\
        <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>\
        <field var='software'><value>Psi</value></field><field var='software_version'><value>0.11</value></field></x></query>";

    #[test]
    fn published_examples() {
        assert_eq!(hash(SIMPLE, false, "sha-1"), "QgayPKawpkPSDYmwT/WM94uAlu0=");
        assert_eq!(hash(COMPLEX, false, "sha-1"), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
    }

    #[test]
    fn separators_of_the_second_version() {
        let document = Document::parse(SIMPLE, &Limits::default()).expect("valid");
        let input = second_input(document.root()).expect("hashable");
        assert!(input.starts_with("http://jabber.org/protocol/caps\x1f"));
        assert!(input.ends_with("muc\x1f\x1cclient\x1fpc\x1f\x1fExodus 0.9.1\x1f\x1e\x1c\x1c"));
    }

    #[test]
    fn the_language_of_the_stanza_is_not_that_of_an_identity() {
        let stamped = format!("<iq xml:lang='en'>{SIMPLE}</iq>");
        let document = Document::parse(&stamped, &Limits::default()).expect("valid");
        let input = first_input(document.root().only_child().expect("query")).expect("hashable");
        assert_eq!(digest("sha-1", input.as_bytes()).as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
    }

    #[test]
    fn what_is_ambiguous_has_no_hash() {
        let twice = "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='a'/><feature var='a'/></query>";
        let document = Document::parse(twice, &Limits::default()).expect("valid");
        assert!(first_input(document.root()).is_none() && second_input(document.root()).is_none());
    }
}
