//! The engine with just enough of a host around it, and its answers read back in the model's words.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use pam_pps::xml::{Document, Element, Limits};
use pam_pps::{
    Config as Options, Decision, Engine, Input, InputKind, Need, RosterSubscription, ServiceKind, Timestamp,
};

use super::operation::{ACTORS, Actor, Operation, Request};
use super::{ACCOUNT, COMPONENT, Config, INTERESTED, Told};

const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const RSM: &str = "http://jabber.org/protocol/rsm";

pub(crate) struct Host {
    engine: Engine,
    now: i64,
    ids: u64,
    roster: BTreeMap<String, (bool, &'static str)>,
}

/// What one input led to.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Stanzas by recipient.
    sent: Vec<(String, String)>,
}

fn open(database: &Path) -> Engine {
    let mut options = Options::new();
    options.set("database", database.to_str().expect("the path is text")).expect("a file");
    options.set("seed", "properties").expect("any text");
    let engine = Engine::open(&options).expect("the store opens");
    engine.serve("a.example", ServiceKind::Accounts, &Options::new()).expect("a host");
    engine.serve(COMPONENT, ServiceKind::Component, &Options::new()).expect("a component");
    engine
}

/// Every element below, the stanza included.
fn walk<'d>(element: Element<'d>, found: &mut Vec<Element<'d>>) {
    found.push(element);
    for child in element.children() {
        walk(child, found);
    }
}

fn form(form_type: &str, config: &Config) -> String {
    let yes = |value: bool| if value { "true" } else { "false" }.to_owned();
    let last = if config.last_on_sub { "on_sub" } else { "never" };
    let fields = [
        ("access_model", config.access.to_owned()),
        ("publish_model", config.publish.to_owned()),
        ("max_items", config.max_items.to_string()),
        ("notify_retract", yes(config.notify_retract)),
        ("notify_delete", yes(config.notify_delete)),
        ("deliver_notifications", yes(config.deliver)),
        ("send_last_published_item", last.to_owned()),
        ("roster_groups_allowed", "friends".to_owned()),
    ];
    let fields = fields.map(|(name, value)| format!("<field var='pubsub#{name}'><value>{value}</value></field>"));
    format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#{form_type}</value></field>{}</x>",
        fields.concat()
    )
}

impl Host {
    pub(crate) fn new(database: &Path, roster: &BTreeMap<String, (bool, &'static str)>) -> Self {
        let mut host = Self { engine: open(database), now: 1_700_000_000_000_000, ids: 0, roster: roster.clone() };
        host.come_online();
        host
    }

    /// The clients show themselves to the account; presence is not kept over restarts.
    fn come_online(&mut self) {
        for jid in INTERESTED {
            let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='bm90IHRydWU='/>";
            let heard = self.feed(Input::stanza(format!("<presence from='{jid}' to='{ACCOUNT}'>{caps}</presence>")));
            assert!(heard.told().is_empty(), "presence led to {heard:?}");
        }
    }

    fn restart(self, database: &Path) -> Self {
        let Self { engine, now, ids, roster } = self;
        drop(engine);
        let mut host = Self { engine: open(database), now, ids, roster };
        host.come_online();
        host
    }

    /// Handles an input with all that follows from it.
    fn feed(&mut self, input: Input) -> Heard {
        let mut heard = Heard::default();
        let mut inputs = VecDeque::from([input]);
        while let Some(mut input) = inputs.pop_front() {
            let decisions = loop {
                self.now += 1_000;
                let outcome = self.engine.handle(Timestamp::from_micros(self.now), &input).expect("it makes sense");
                let needs: Vec<Need> = outcome
                    .decisions
                    .iter()
                    .filter_map(|decision| if let Decision::Need(need) = decision { Some(need.clone()) } else { None })
                    .collect();
                if needs.is_empty() {
                    break outcome.decisions;
                }
                assert_eq!(needs.len(), outcome.decisions.len(), "needs come alone");
                needs.into_iter().for_each(|need| self.answer(&mut input, need));
            };
            for decision in decisions {
                match decision {
                    Decision::Route { stanza } => {
                        let to = attribute(&stanza, "to");
                        if stanza.contains("http://jabber.org/protocol/disco#info'") && INTERESTED.contains(&&*to) {
                            inputs.push_back(Input::stanza(capabilities(&stanza, &to)));
                        }
                        heard.sent.push((to, stanza));
                    }
                    Decision::Multicast { stanza, recipients, .. } => {
                        heard.sent.extend(recipients.iter().map(|to| (to.to_string(), stanza.clone())));
                    }
                    _ => {}
                }
            }
        }
        heard
    }

    fn answer(&self, input: &mut Input, need: Need) {
        match need {
            Need::Account(jid) => input.facts.insert_account(&jid, ACTORS.iter().any(|actor| actor.bare() == jid)),
            Need::Roster { owner, contact } => {
                let (presence, group) = self.roster.get(&contact).copied().unwrap_or((false, ""));
                let known = owner == ACCOUNT && self.roster.contains_key(&contact);
                let subscription = if known && presence { RosterSubscription::From } else { RosterSubscription::To };
                input.facts.insert_roster(&owner, &contact, subscription, vec![group.to_owned()]);
            }
            Need::Admin { who, service } => input.facts.insert_admin(&who, &service, false),
            Need::Blocked { owner, contact } => input.facts.insert_blocked(&owner, &contact, false),
            Need::Import(service) => input.facts.insert_import(&service, true),
            Need::Room { .. } | Need::RoomInfo(_) => unreachable!("there are no rooms in this model"),
        }
    }

    /// Carries out an operation: the engine after it, whether it was well answered, and who was told what.
    pub(crate) fn perform(mut self, operation: &Operation, database: &Path) -> (Self, bool, Vec<Told>) {
        match operation {
            Operation::Restart => (self.restart(database), true, Vec::new()),
            Operation::Roster { contact, presence, group } => {
                self.roster.insert((*contact).to_owned(), (*presence, group));
                let (owner, contact) = (ACCOUNT.to_owned(), (*contact).to_owned());
                let heard = self.feed(Input::new(InputKind::RosterChanged { owner, contact }));
                (self, true, heard.told())
            }
            Operation::Request { actor, service, node, request } => {
                let (ok, heard) = self.ask(*actor, service, &payload(service, node, request), request);
                (self, ok, heard.told())
            }
        }
    }

    fn ask(&mut self, actor: Actor, service: &str, payload: &str, request: &Request) -> (bool, Heard) {
        self.ids += 1;
        let id = format!("q{}", self.ids);
        // What the account manages is asked of the account.
        let to = if matches!(request, Request::Subscribe { pam: true, .. }) { actor.bare() } else { service };
        let heard =
            self.feed(Input::stanza(format!("<iq type='set' id='{id}' from='{}' to='{to}'>{payload}</iq>", actor.0)));
        let answers =
            heard.sent.iter().filter(|(_, stanza)| stanza.starts_with("<iq") && attribute(stanza, "id") == id);
        let answers: Vec<_> = answers.collect();
        assert!(answers.len() == 1 && answers[0].0 == actor.0, "one answer, to the client: {heard:?}");
        (attribute(&answers[0].1, "type") == "result", heard)
    }

    /// Asks for something and returns the answer, an error too.
    fn get(&mut self, from: &str, to: &str, payload: &str, privileged: bool) -> String {
        let stanza = format!("<iq type='get' id='g' from='{from}' to='{to}'>{payload}</iq>");
        let mut input = Input::stanza(stanza);
        input.privileged = privileged;
        let heard = self.feed(input);
        let [(_, answer)] = &heard.sent[..] else { panic!("one answer, not {heard:?}") };
        answer.clone()
    }

    fn page(&mut self, service: &str, node: &str, set: &str) -> (Vec<(String, String)>, usize) {
        let payload = format!(
            "<pubsub xmlns='{PUBSUB}'><items node='{node}'/><set xmlns='{RSM}'><max>2</max>{set}</set></pubsub>"
        );
        let answer = self.get(ACTORS[0].0, service, &payload, true);
        read(&answer, |all| {
            let items = all.iter().filter(|element| element.is("item", PUBSUB));
            let payload = |item: &Element<'_>| item.children().map(|child| child.to_standalone()).collect::<String>();
            let items = items.map(|item| (item.attr("id").unwrap_or("").to_owned(), payload(item))).collect();
            let count = all.iter().find(|element| element.is("count", RSM)).expect("a page has a count");
            (items, count.text().parse().expect("a number"))
        })
    }

    /// All items, read forwards or backwards in pages, and the count that every page gave.
    pub(crate) fn items(&mut self, service: &str, node: &str, forwards: bool) -> (Vec<(String, String)>, usize) {
        let (mut all, mut set) = (Vec::new(), if forwards { "" } else { "<before/>" }.to_owned());
        loop {
            let (page, count) = self.page(service, node, &set);
            let edge = if forwards { page.last() } else { page.first() };
            let Some((id, _)) = edge.cloned() else { return (all, count) };
            if forwards {
                all.extend(page);
                set = format!("<after>{id}</after>");
            } else {
                all.splice(0..0, page);
                set = format!("<before>{id}</before>");
            }
            if all.len() > 1_000 {
                return (all, count);
            }
        }
    }

    /// Pairs of attributes from the elements of a list.
    fn list(
        &mut self,
        service: &str,
        payload: &str,
        element: &str,
        attributes: [&str; 2],
    ) -> BTreeSet<(String, String)> {
        let answer = self.get(ACTORS[0].0, service, payload, true);
        assert_eq!(attribute(&answer, "type"), "result", "{answer}");
        read(&answer, |all| {
            let entries = all.iter().filter(|found| found.name() == element && !found.ns().ends_with("disco#info"));
            let value = |entry: &Element<'_>, name: &str| entry.attr(name).unwrap_or("").to_owned();
            entries.map(|entry| (value(entry, attributes[0]), value(entry, attributes[1]))).collect()
        })
    }

    pub(crate) fn subscriptions(&mut self, service: &str, node: &str) -> BTreeSet<(String, String)> {
        let payload = format!("<pubsub xmlns='{OWNER}'><subscriptions node='{node}'/></pubsub>");
        self.list(service, &payload, "subscription", ["jid", "subscription"])
    }

    /// What somebody is told of his own subscriptions.
    pub(crate) fn own_subscriptions(&mut self, actor: Actor, service: &str, node: &str) -> BTreeSet<(String, String)> {
        let answer = self.get(
            actor.0,
            service,
            &format!("<pubsub xmlns='{PUBSUB}'><subscriptions node='{node}'/></pubsub>"),
            false,
        );
        read(&answer, |all| {
            let entries = all.iter().filter(|found| found.is("subscription", PUBSUB));
            let value = |entry: &Element<'_>, name: &str| entry.attr(name).unwrap_or("").to_owned();
            entries.map(|entry| (value(entry, "jid"), value(entry, "subscription"))).collect()
        })
    }

    pub(crate) fn affiliations(&mut self, service: &str, node: &str) -> BTreeSet<(String, String)> {
        let payload = format!("<pubsub xmlns='{OWNER}'><affiliations node='{node}'/></pubsub>");
        self.list(service, &payload, "affiliation", ["jid", "affiliation"])
    }

    pub(crate) fn public_subscribers(&mut self, service: &str, node: &str) -> BTreeSet<(String, String)> {
        let payload = format!("<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:pps:subscribers:0/{node}'/></pubsub>");
        self.list(service, &payload, "subscriber", ["jid", "jid"])
    }

    pub(crate) fn public_subscriptions(&mut self, account: &str) -> BTreeSet<(String, String)> {
        let payload = format!("<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:pps:subscriptions:0'/></pubsub>");
        self.list(account, &payload, "subscription", ["jid", "node"])
    }

    pub(crate) fn reads(&mut self, actor: Actor, service: &str, node: &str) -> bool {
        let payload = format!("<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>");
        attribute(&self.get(actor.0, service, &payload, false), "type") == "result"
    }

    pub(crate) fn sees(&mut self, actor: Actor, service: &str) -> BTreeSet<String> {
        let payload = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
        let answer = self.get(actor.0, service, payload, false);
        read(&answer, |all| all.iter().filter_map(|item| item.attr("node")).map(str::to_owned).collect())
    }
}

impl Heard {
    /// The events in it, one entry for each recipient and item.
    fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for (to, stanza) in self.sent.iter().filter(|(_, stanza)| stanza.contains(EVENT)) {
            read(stanza, |all| {
                let mut node = "";
                for element in all.iter().filter(|element| element.ns() == EVENT) {
                    node = element.attr("node").unwrap_or(node);
                    let (what, about) = match element.name() {
                        "item" => ("item", element.attr("id").unwrap_or("")),
                        "retract" => ("retract", element.attr("id").unwrap_or("")),
                        "purge" => ("purge", ""),
                        "delete" => ("delete", ""),
                        "subscription" if element.attr("subscription") == Some("none") => {
                            ("subscription none", element.attr("jid").unwrap_or(""))
                        }
                        "subscription" if element.attr("subscription") == Some("subscribed") => {
                            ("subscription subscribed", element.attr("jid").unwrap_or(""))
                        }
                        "event" | "items" => continue,
                        _ => ("something else", element.name()),
                    };
                    told.push((to.clone(), what, node.to_owned(), about.to_owned()));
                }
            });
        }
        told.sort();
        told
    }
}

/// Reads a stanza of the engine.
fn read<T>(stanza: &str, look: impl FnOnce(&[Element<'_>]) -> T) -> T {
    let document = Document::parse(stanza, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {stanza}"));
    let mut all = Vec::new();
    walk(document.root(), &mut all);
    look(&all)
}

fn attribute(stanza: &str, name: &str) -> String {
    read(stanza, |all| all[0].attr(name).unwrap_or("").to_owned())
}

fn capabilities(query: &str, from: &str) -> String {
    let (id, to) = (attribute(query, "id"), attribute(query, "from"));
    format!(
        "<iq type='result' id='{id}' from='{from}' to='{to}'><query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity category='client' type='pc'/><feature var='n0+notify'/></query></iq>"
    )
}

/// The payload of a request.
fn payload(service: &str, node: &str, request: &Request) -> String {
    let plain = |inside: String| format!("<pubsub xmlns='{PUBSUB}'>{inside}</pubsub>");
    let owner = |inside: String| format!("<pubsub xmlns='{OWNER}'>{inside}</pubsub>");
    match request {
        Request::Create(config) => {
            plain(format!("<create node='{node}'/><configure>{}</configure>", form("node_config", config)))
        }
        Request::Publish { ids, payload, otherwise } => {
            let items: Vec<_> = ids.iter().map(|id| format!("<item id='{id}'>{payload}</item>")).collect();
            let options = otherwise.as_ref().map(|config| form("publish-options", config));
            let options = options.map(|form| format!("<publish-options>{form}</publish-options>")).unwrap_or_default();
            plain(format!("<publish node='{node}'>{}</publish>{options}", items.concat()))
        }
        Request::Retract { id, notify } => {
            plain(format!("<retract node='{node}' notify='{notify}'><item id='{id}'/></retract>"))
        }
        Request::Purge => owner(format!("<purge node='{node}'/>")),
        Request::Delete => owner(format!("<delete node='{node}'/>")),
        Request::Configure(config) => {
            owner(format!("<configure node='{node}'>{}</configure>", form("node_config", config)))
        }
        Request::Subscribe { jid, public, pam } => {
            let mark = if *public { "<public xmlns='urn:xmpp:pps:0'/>" } else { "" };
            if *pam {
                format!(
                    "<pam xmlns='urn:xmpp:pam:0' jid='{service}'>\
                     <subscribe xmlns='{PUBSUB}' node='{node}' jid='{jid}'>{mark}</subscribe></pam>"
                )
            } else {
                plain(format!("<subscribe node='{node}' jid='{jid}'>{mark}</subscribe>"))
            }
        }
        Request::Unsubscribe { jid } => plain(format!("<unsubscribe node='{node}' jid='{jid}'/>")),
        Request::Decide { jid, allow } => {
            let state = if *allow { "subscribed" } else { "none" };
            owner(format!(
                "<subscriptions node='{node}'><subscription jid='{jid}' subscription='{state}'/></subscriptions>"
            ))
        }
        Request::Affiliate { jid, affiliation } => owner(format!(
            "<affiliations node='{node}'><affiliation jid='{jid}' affiliation='{affiliation}'/></affiliations>"
        )),
    }
}
