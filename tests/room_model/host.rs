//! The engine with a chat service around it that shows what the model says, and the engine's answers in the model's words.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use base64::Engine as _;
use pam_pps::xml::{Document, Element, Limits};
use pam_pps::{Config, Decision, Engine, Input, InputKind, Need, RoomAffiliation, ServiceKind, Timestamp};
use sha1::Digest as _;

use super::{Ask, Model, NODES, Operation, Target, Told, Verdict};

const DOMAIN: &str = "rooms.example";
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const ITEM: &str = "current";

pub(crate) struct Host {
    engine: Option<Engine>,
    rows: rusqlite::Connection,
    now: i64,
    wake: Option<i64>,
    /// What each client wants, as it would say when asked.
    wants: BTreeMap<&'static str, u8>,
}

/// What one operation led to.
#[derive(Debug, Default)]
struct Heard {
    passed: bool,
    sent: Vec<(String, String)>,
}

fn open(database: &Path) -> Engine {
    let mut config = Config::new();
    config.set("database", database.to_str().expect("the path is text")).expect("a file");
    config.set("seed", "rooms").expect("any text");
    let engine = Engine::open(&config).expect("the store opens");
    let mut options = Config::new();
    options.set("conference_info", "false").expect("a boolean");
    engine.serve(DOMAIN, ServiceKind::Rooms, &options).expect("rooms");
    engine
}

fn features(wants: u8) -> Vec<String> {
    let wanted = NODES.iter().enumerate().filter(|(place, _)| wants & (1 << place) != 0);
    let mut features: Vec<String> = wanted.map(|(_, node)| format!("{node}+notify")).collect();
    features.push(DISCO_INFO.to_owned());
    features.sort_unstable();
    features
}

/// XEP-0115: a true hash, or one that the answer does not have, which holds for the one client alone.
fn hash(wants: u8) -> String {
    if wants % 2 == 1 {
        return format!("untrue{wants}");
    }
    let input =
        format!("client/pc//T<{}", features(wants).iter().map(|feature| format!("{feature}<")).collect::<String>());
    base64::prelude::BASE64_STANDARD.encode(sha1::Sha1::digest(input))
}

fn attribute(stanza: &str, name: &str) -> String {
    read(stanza, |root| root.attr(name).unwrap_or("").to_owned())
}

fn read<T>(xml: &str, read: impl FnOnce(Element<'_>) -> T) -> T {
    let document = Document::parse(xml, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {xml}"));
    read(document.root())
}

fn walk<'d>(element: Element<'d>, found: &mut Vec<Element<'d>>) {
    found.push(element);
    element.children().for_each(|child| walk(child, found));
}

impl Host {
    pub(crate) fn new(database: &Path) -> Self {
        let engine = open(database);
        let rows = rusqlite::Connection::open(database).expect("SQLite opens it");
        Self { engine: Some(engine), rows, now: 1_800_000_000_000_000, wake: None, wants: BTreeMap::new() }
    }

    /// Nodes, items, subscriptions, and services of occupants, as SQLite counts them.
    pub(crate) fn rows(&self) -> [usize; 4] {
        let count = |from: &str| {
            let query = format!("SELECT count(*) FROM {from}");
            self.rows.query_row(&query, [], |row| row.get::<_, u32>(0)).expect("a number") as usize
        };
        [count("nodes"), count("items"), count("subscriptions"), count("services WHERE jid LIKE '/%'")]
    }

    fn give(&mut self, model: &Model, input: Input, heard: &mut Heard) {
        let mut inputs = VecDeque::from([input]);
        while let Some(mut input) = inputs.pop_front() {
            let engine = self.engine.as_ref().expect("it is open");
            let decisions = loop {
                self.now += 1_000;
                let outcome = engine.handle(Timestamp::from_micros(self.now), &input).expect("it makes sense");
                if !outcome.needs_facts() {
                    break outcome.decisions;
                }
                for decision in &outcome.decisions {
                    let Decision::Need(Need::Room { who, room }) = decision else { panic!("{decision:?}") };
                    let voice = model.has_voice(room, who);
                    input.facts.insert_room(who, room, RoomAffiliation::None, voice);
                }
            };
            for decision in decisions {
                match decision {
                    Decision::Route { stanza } => {
                        let to = attribute(&stanza, "to");
                        check(&stanza.replace(&format!("to='{to}'"), ""), &to);
                        if stanza.contains(&format!("<query xmlns='{DISCO_INFO}'")) && stanza.contains("type='get'") {
                            inputs.push_back(Input::stanza(self.capabilities(&stanza, &to)));
                        } else {
                            heard.sent.push((to, stanza));
                        }
                    }
                    Decision::Multicast { stanza, recipients, .. } => {
                        check(&stanza, "");
                        heard.sent.extend(recipients.iter().map(|to| (to.to_string(), stanza.clone())));
                    }
                    Decision::Pass => heard.passed = true,
                    Decision::Wake(time) => {
                        let time = time.micros();
                        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A client's answer to the question what its hash stands for.
    fn capabilities(&self, question: &str, client: &str) -> String {
        let (id, room) = (attribute(question, "id"), attribute(question, "from"));
        let features = features(self.wants.get(client).copied().unwrap_or(0));
        let features: String = features.iter().map(|feature| format!("<feature var='{feature}'/>")).collect();
        format!(
            "<iq type='result' id='{id}' from='{client}' to='{room}'><query xmlns='{DISCO_INFO}'>\
             <identity category='client' type='pc' name='T'/>{features}</query></iq>"
        )
    }

    fn presence(
        &mut self,
        model: &Model,
        room: &str,
        nick: &str,
        client: &str,
        shown: &str,
        new: Option<&str>,
    ) -> Heard {
        let kind = if shown == "unavailable" { "type='unavailable'" } else { "" };
        let shown = if kind.is_empty() { shown } else { "" };
        let (nick_now, status) = match new {
            Some(new) => (format!("nick='{new}'"), "<status code='303'/>"),
            None => (String::new(), ""),
        };
        let mut heard = Heard::default();
        let stanza = format!(
            "<presence {kind} from='{room}/{nick}' to='{room}'>{shown}<x xmlns='http://jabber.org/protocol/muc#user'>\
             <item jid='{client}' {nick_now}/>{status}</x></presence>"
        );
        self.give(model, Input::stanza(stanza), &mut heard);
        heard
    }

    fn show(&mut self, client: &'static str, wants: u8) -> String {
        self.wants.insert(client, wants);
        let hash = hash(wants);
        format!("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='{hash}'/>")
    }

    /// Carries out an operation. `model` is as it was before.
    pub(crate) fn perform(
        &mut self,
        model: &Model,
        database: &Path,
        room: &'static str,
        who: &'static str,
        operation: Operation,
    ) -> (Verdict, Vec<Told>) {
        let nick = model.nick_of(room, who).unwrap_or("nobody");
        let mut heard = match operation {
            Operation::Join { nick, wants } => {
                let shown = wants.map(|wants| self.show(who, wants)).unwrap_or_default();
                self.presence(model, room, nick, who, &shown, None)
            }
            Operation::Capabilities { wants } => {
                let shown = self.show(who, wants);
                self.presence(model, room, nick, who, &shown, None)
            }
            Operation::Rename { nick: new } => {
                let mut heard = self.presence(model, room, nick, who, "unavailable", Some(new));
                heard.sent.extend(self.presence(model, room, new, who, "", None).sent);
                heard
            }
            Operation::Leave => self.presence(model, room, nick, who, "unavailable", None),
            Operation::Voice(_) => Heard::default(),
            Operation::RoomPublishes { node } => {
                return self.ask(model, room, room, room, Ask::Publish, node, true);
            }
            Operation::RoomDeletes { node } => {
                return self.ask(model, room, room, room, Ask::Delete, node, true);
            }
            Operation::Ask { what, target, node } => {
                let to = match target {
                    Target::Room => room.to_owned(),
                    Target::Nick(nick) => format!("{room}/{nick}"),
                    Target::Own => format!("{room}/{nick}"),
                };
                return self.ask(model, room, who, &to, what, node, false);
            }
            Operation::Destroy => {
                let mut heard = Heard::default();
                self.give(model, Input::new(InputKind::AccountRemoved(room.to_owned())), &mut heard);
                heard
            }
            Operation::Restart => {
                self.engine = None;
                self.engine = Some(open(database));
                self.wake = None;
                Heard::default()
            }
        };
        self.wait(model, &mut heard);
        (Verdict::Done, told(&heard))
    }

    /// What is due at once.
    fn wait(&mut self, model: &Model, heard: &mut Heard) {
        for _ in 0..100 {
            if self.wake.is_none_or(|wake| wake > self.now) {
                return;
            }
            self.wake = None;
            self.give(model, Input::tick(), heard);
        }
        panic!("the engine never rests");
    }

    #[expect(clippy::too_many_arguments, reason = "a request has that many parts")]
    fn ask(
        &mut self,
        model: &Model,
        room: &str,
        who: &str,
        to: &str,
        what: Ask,
        node: &str,
        privileged: bool,
    ) -> (Verdict, Vec<Told>) {
        let own = |full: bool| if full { who } else { super::bare(who) };
        let (kind, part, inside) = match what {
            Ask::Publish => {
                let item = format!("<item id='{ITEM}'><x xmlns='urn:x' n='{}'/></item>", model.next_item());
                ("set", "", format!("<publish node='{node}'>{item}</publish>"))
            }
            Ask::Retract => ("set", "", format!("<retract node='{node}' notify='true'><item id='{ITEM}'/></retract>")),
            Ask::Delete => ("set", "#owner", format!("<delete node='{node}'/>")),
            Ask::Subscribe { full } => ("set", "", format!("<subscribe node='{node}' jid='{}'/>", own(full))),
            Ask::Unsubscribe { full } => ("set", "", format!("<unsubscribe node='{node}' jid='{}'/>", own(full))),
            Ask::Read => ("get", "", format!("<items node='{node}'/>")),
        };
        let mut input = Input::stanza(format!(
            "<iq type='{kind}' id='q' from='{who}' to='{to}'><pubsub xmlns='{PUBSUB}{part}'>{inside}</pubsub></iq>"
        ));
        input.privileged = privileged;
        let mut heard = Heard::default();
        self.give(model, input, &mut heard);
        let answers: Vec<&String> =
            heard.sent.iter().filter(|(_, stanza)| stanza.starts_with("<iq")).map(|(_, stanza)| stanza).collect();
        let verdict = match &answers[..] {
            [] if heard.passed => Verdict::Passed,
            [answer] => {
                assert_eq!((attribute(answer, "to"), attribute(answer, "from")), (who.to_owned(), to.to_owned()));
                if attribute(answer, "type") == "result" { Verdict::Done } else { Verdict::Refused }
            }
            _ => panic!("one answer in {room}, not {answers:?}"),
        };
        (verdict, told(&heard))
    }
}

/// Nothing names a person, but to himself.
fn check(stanza: &str, to: &str) {
    let without = if to.is_empty() { stanza.to_owned() } else { stanza.replace(to, "").replace(super::bare(to), "") };
    assert!(!without.contains("@a.example") && !without.contains("@b.example"), "{stanza} tells who somebody is");
}

/// The events in it, one entry for each recipient.
fn told(heard: &Heard) -> Vec<Told> {
    let mut told = Vec::new();
    for (to, stanza) in heard.sent.iter().filter(|(_, stanza)| stanza.contains(EVENT)) {
        read(stanza, |root| {
            let mut all = Vec::new();
            walk(root, &mut all);
            let delayed = all.iter().any(|element| element.is("delay", "urn:xmpp:delay"));
            let node = all.iter().find_map(|element| element.attr("node")).expect("an event names its node");
            let node = NODES.iter().find(|name| **name == node).expect("it is one of ours");
            let number = all.iter().find_map(|element| element.attr("n")).map_or(0, |n| n.parse().expect("a number"));
            let what = ["item", "retract", "delete"].into_iter();
            let what = what.filter(|what| all.iter().any(|element| element.is(what, EVENT))).collect::<Vec<_>>();
            let [what] = what[..] else { panic!("one thing happened, not {what:?}: {stanza}") };
            told.push((to.clone(), root.attr("from").unwrap_or("").to_owned(), what, *node, number, delayed));
        });
    }
    told.sort_unstable();
    told
}
