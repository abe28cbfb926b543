//! Random joins, leaves, nicks, words and ends of sessions in rooms that are nodes, and requests, answers, publications and
//! ends of sessions around a node `presence` (XEP-0207), against a plain model: who is refused, who is sent what, and what the
//! roster says in the end.
//!
//! The seeds are fixed. `PAM_PPS_SEEDS=100..200` plays others, `PAM_PPS_STEPS` more of each.

#[path = "model/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use pam_pps::{Config, Decision, Engine, Input, Need, RosterSubscription, ServiceKind, Timestamp};
use random::Random;

const CLIENTS: [&str; 5] =
    ["juliet@a.example/x", "juliet@a.example/y", "romeo@a.example/x", "nurse@a.example/x", "paris@b.example/x"];
/// Everybody may come into the first room; the second one asks its owner, Juliet.
const ROOMS: [&str; 2] = ["square", "house"];
const NICKS: [&str; 3] = ["R", "J", "JC"];
const CHAT: &str = "chat.example";
const JULIET: &str = "juliet@a.example";
const FORM: &str = "<x xmlns='jabber:x:data' type='submit'>";

fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// What came of an input: the answer, and the events by recipient, in the order of these.
#[derive(Debug, Default)]
struct Told {
    answer: String,
    events: BTreeSet<(String, String)>,
    /// Questions to the owner: the id of each.
    asked: Vec<String>,
}

struct Host {
    engine: Engine,
    now: i64,
    /// Of the events so far: no two have the same.
    ids: BTreeSet<String>,
}

impl Host {
    fn new() -> Self {
        let mut config = Config::new();
        config.set("seed", "eventing").expect("an option");
        let engine = Engine::open(&config).expect("a store in memory");
        let mut accounts = Config::new();
        accounts.set("eventing", "true").expect("an option");
        let mut rooms = Config::new();
        rooms.set("eventing", "rooms").expect("an option");
        engine.serve("a.example", ServiceKind::Accounts, &accounts).expect("accounts");
        engine.serve(CHAT, ServiceKind::Component, &rooms).expect("rooms");
        let mut host = Self { engine, now: 1_700_000_000_000_000, ids: BTreeSet::new() };
        for (room, model) in [(ROOMS[0], "open"), (ROOMS[1], "authorize")] {
            let field = format!("<field var='pubsub#access_model'><value>{model}</value></field>");
            let create = format!("<create node='{room}'/><configure>{FORM}{field}</x></configure>");
            assert!(host.pubsub("juliet@a.example/x", CHAT, &create).answer.contains("type='result'"));
        }
        host
    }

    fn give(&mut self, mut input: Input) -> Told {
        loop {
            self.now += 1;
            let outcome = self.engine.handle(Timestamp::from_micros(self.now), &input).expect("an outcome");
            let mut told = Told::default();
            let mut asks = false;
            for decision in &outcome.decisions {
                match decision {
                    Decision::Need(need) => {
                        asks = true;
                        answer(&mut input, need);
                    }
                    Decision::Route { stanza } => told.read(stanza),
                    Decision::Multicast { stanza, id, recipients } => {
                        assert!(self.ids.insert(id.clone()), "another event had the id {id}");
                        for recipient in recipients.iter() {
                            assert!(
                                told.events.insert((recipient.to_string(), gist(stanza))),
                                "twice to {recipient}: {stanza}"
                            );
                        }
                    }
                    _ => {}
                }
            }
            if !asks {
                return told;
            }
        }
    }

    fn stanza(&mut self, stanza: &str) -> Told {
        self.give(Input::stanza(stanza))
    }

    fn pubsub(&mut self, from: &str, to: &str, inside: &str) -> Told {
        let pubsub = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{inside}</pubsub>");
        self.stanza(&format!("<iq type='set' id='q' from='{from}' to='{to}'>{pubsub}</iq>"))
    }
}

fn answer(input: &mut Input, need: &Need) {
    match need {
        Need::Account(jid) => input.facts.insert_account(jid, true),
        Need::Roster { owner, contact } => {
            input.facts.insert_roster(owner, contact, RosterSubscription::None, Vec::new());
        }
        Need::Admin { who, service } => input.facts.insert_admin(who, service, false),
        Need::Blocked { owner, contact } => input.facts.insert_blocked(owner, contact, false),
        other => panic!("nobody should want {other:?}"),
    }
}

fn attribute<'s>(stanza: &'s str, name: &str) -> &'s str {
    let Some((_, rest)) = stanza.split_once(&format!(" {name}='")) else { return "" };
    rest.split('\'').next().unwrap_or_default()
}

/// What an event is about: the word that was said, with the address of who said it; or a state.
fn gist(stanza: &str) -> String {
    let inside = |begin: &str, end: char| {
        stanza.split_once(begin).map_or("", |(_, rest)| rest.split(end).next().unwrap_or_default()).to_owned()
    };
    if stanza.contains("<subscription ") {
        return inside(" subscription='", '\'');
    }
    if stanza.contains("<presence ") {
        let gone = if stanza.contains("type='unavailable'") { "gone" } else { "here" };
        return format!("{gone} {}", inside("<presence xmlns='jabber:client' from='", '\''));
    }
    format!("{} by {}", inside("<body>", '<'), inside("type='replyto' jid='", '\''))
}

impl Told {
    fn read(&mut self, stanza: &str) {
        if stanza.starts_with("<iq") {
            stanza.clone_into(&mut self.answer);
        } else if stanza.contains("pubsub#subscribe_authorization") {
            self.asked.push(attribute(stanza, "id").to_owned());
        } else {
            self.events.insert((attribute(stanza, "to").to_owned(), gist(stanza)));
        }
    }

    /// `result`, or the condition of the error.
    fn verdict(&self) -> &str {
        if self.answer.is_empty() || self.answer.contains(" type='result'") {
            return "result";
        }
        let conditions =
            ["forbidden", "conflict", "unexpected-request", "not-acceptable", "not-authorized", "not-allowed"];
        conditions.into_iter().find(|condition| self.answer.contains(&format!("<{condition} "))).unwrap_or("?")
    }
}

fn seeds() -> std::ops::Range<u64> {
    let given = env::var("PAM_PPS_SEEDS").ok();
    let parse = |text: &str| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    };
    given.as_deref().map_or(1..17, |text| parse(text).expect("PAM_PPS_SEEDS is like 100..200"))
}

fn steps() -> usize {
    env::var("PAM_PPS_STEPS").ok().and_then(|value| value.parse().ok()).unwrap_or(300)
}

fn expected<'e>(recipients: impl Iterator<Item = &'e str>, gist: &str) -> BTreeSet<(String, String)> {
    recipients.map(|recipient| (recipient.to_owned(), gist.to_owned())).collect()
}

/// Who is in a room, or waits to be.
#[derive(Debug, Clone)]
struct Stay {
    nick: &'static str,
    inside: bool,
}

type Stays = BTreeMap<(&'static str, &'static str), Stay>;

#[test]
fn rooms_do_what_the_model_does() {
    let mut words = 0;
    for seed in seeds() {
        let (mut numbers, mut host, mut stays) = (Random::new(seed), Host::new(), Stays::new());
        for step in 0..steps() {
            let (room, who) = (numbers.pick(&ROOMS), numbers.pick(&CLIENTS));
            let owns = bare(who) == JULIET;
            let there = stays.get(&(room, who)).cloned();
            let place = format!("node='{room}' jid='{who}'");
            let (what, told, verdict, events) = match numbers.below(16) {
                0..=4 => {
                    let nick = numbers.pick(&NICKS);
                    let field = format!("<field var='roomnick'><value>{nick}</value></field>");
                    let told =
                        host.pubsub(who, CHAT, &format!("<subscribe {place}/><options>{FORM}{field}</x></options>"));
                    let taken =
                        stays.iter().any(|((at, other), stay)| *at == room && *other != who && stay.nick == nick);
                    let inside = there.as_ref().map_or(owns || room == ROOMS[0], |stay| stay.inside);
                    let again = there.as_ref().is_some_and(|stay| stay.nick == nick && !stay.inside);
                    let verdict = match (taken, again) {
                        (true, _) => "conflict",
                        (_, true) => "not-authorized",
                        _ => "result",
                    };
                    if verdict == "result" {
                        stays.insert((room, who), Stay { nick, inside });
                    }
                    assert_eq!(!told.asked.is_empty(), verdict == "result" && there.is_none() && !inside);
                    ("joins", told, verdict, BTreeSet::new())
                }
                5..=11 => {
                    let word = format!("w{step}");
                    let message = format!("<message xmlns='jabber:client'><body>{word}</body></message>");
                    let told =
                        host.pubsub(who, CHAT, &format!("<publish node='{room}'><item>{message}</item></publish>"));
                    let may = owns || there.is_some_and(|stay| stay.inside);
                    let occupants = stays.iter().filter(|((at, _), stay)| may && *at == room && stay.inside);
                    let events = expected(occupants.map(|((_, jid), _)| *jid), &format!("{word} by {who}"));
                    words += events.len();
                    ("speaks", told, if may { "result" } else { "forbidden" }, events)
                }
                12 => {
                    let told = host.pubsub(who, CHAT, &format!("<unsubscribe {place}/>"));
                    let was = stays.remove(&(room, who)).is_some();
                    ("unsubscribes", told, if was { "result" } else { "unexpected-request" }, BTreeSet::new())
                }
                13 => {
                    let told = host.stanza(&format!("<presence from='{who}' to='{CHAT}' type='unavailable'/>"));
                    stays.retain(|(_, jid), _| *jid != who);
                    ("is unavailable", told, "result", BTreeSet::new())
                }
                14 => {
                    let told = host.give(Input::session_ended(who));
                    stays.retain(|(_, jid), _| *jid != who);
                    ("is gone", told, "result", BTreeSet::new())
                }
                _ => {
                    let list = format!("<affiliations node='{room}'><affiliation jid='{}' affiliation='", bare(who));
                    let owner = |host: &mut Host, affiliation: &str| {
                        let inside = format!("{list}{affiliation}'/></affiliations>");
                        let pubsub =
                            format!("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>{inside}</pubsub>");
                        host.stanza(&format!("<iq type='set' id='q' from='{JULIET}/x' to='{CHAT}'>{pubsub}</iq>"))
                    };
                    if owns {
                        continue;
                    }
                    // Banned, and forgiven: whoever was there has to come again.
                    owner(&mut host, "outcast");
                    let told = owner(&mut host, "none");
                    stays.retain(|(at, jid), _| *at != room || bare(jid) != bare(who));
                    assert_eq!(told.verdict(), "result");
                    continue;
                }
            };
            let what = format!("seed {seed}, step {step}: {who} {what} in {room}");
            assert_eq!(told.verdict(), verdict, "{what}: {}", told.answer);
            assert_eq!(told.events, events, "{what}; left: the engine");
        }
    }
    assert!(words > 1_000, "{words} words were heard only");
}

#[test]
fn presence_does_what_the_model_does() {
    let others: Vec<&str> = CLIENTS.into_iter().filter(|jid| bare(jid) != JULIET).collect();
    let own: Vec<&str> = CLIENTS.into_iter().filter(|jid| bare(jid) == JULIET).collect();
    let mut told_of = 0;
    for seed in seeds() {
        let (mut numbers, mut host) = (Random::new(seed), Host::new());
        // By bare JID: the id of the question that is open, or none for who is let in.
        let mut contacts: BTreeMap<&str, Option<String>> = BTreeMap::new();
        let mut shown: BTreeSet<&str> = BTreeSet::new();
        for step in 0..steps() {
            let (who, client) = (numbers.pick(&others), numbers.pick(&own));
            let subscribers = |contacts: &BTreeMap<&'static str, Option<String>>| -> Vec<&'static str> {
                contacts.iter().filter(|(_, question)| question.is_none()).map(|(jid, _)| *jid).collect()
            };
            let what = format!("seed {seed}, step {step}: {who}, {client}");
            match numbers.below(10) {
                0..=2 => {
                    let told = host.pubsub(who, JULIET, &format!("<subscribe node='presence' jid='{}'/>", bare(who)));
                    let known = contacts.get(bare(who));
                    let refused = matches!(known, Some(Some(_)));
                    assert_eq!(
                        told.verdict(),
                        if refused { "not-authorized" } else { "result" },
                        "{what} asks: {}",
                        told.answer
                    );
                    assert_eq!(told.asked.len(), usize::from(known.is_none()), "{what} asks");
                    if let [id] = told.asked.as_slice() {
                        contacts.insert(bare(who), Some(id.clone()));
                    }
                }
                3 | 4 => {
                    let question = contacts.get(bare(who)).cloned().flatten();
                    let id =
                        if numbers.one_in(4) { "another".to_owned() } else { question.clone().unwrap_or_default() };
                    let (allow, to) = (!numbers.one_in(4), if numbers.one_in(2) { JULIET } else { "a.example" });
                    let fields = format!(
                        "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>\
                         <field var='pubsub#node'><value>presence</value></field>\
                         <field var='pubsub#subscriber_jid'><value>{}</value></field>\
                         <field var='pubsub#allow'><value>{allow}</value></field>",
                        bare(who)
                    );
                    let told = host
                        .stanza(&format!("<message id='{id}' from='{client}' to='{to}'>{FORM}{fields}</x></message>"));
                    let mut events = BTreeSet::new();
                    if question.is_some_and(|question| question == id) {
                        if allow {
                            contacts.insert(bare(who), None);
                            events.extend(expected([bare(who), JULIET].into_iter(), "subscribed"));
                            events.extend(shown.iter().map(|jid| (bare(who).to_owned(), format!("here {jid}"))));
                        } else {
                            contacts.remove(bare(who));
                            events.extend(expected([bare(who)].into_iter(), "none"));
                        }
                    }
                    assert_eq!(told.events, events, "{what} is answered; left: the engine");
                }
                5 => {
                    let told = host.pubsub(who, JULIET, &format!("<unsubscribe node='presence' jid='{}'/>", bare(who)));
                    let was = contacts.remove(bare(who));
                    assert_eq!(
                        told.verdict(),
                        if was.is_some() { "result" } else { "unexpected-request" },
                        "{what} unsubscribes"
                    );
                    let told_owner = matches!(was, Some(None));
                    assert_eq!(
                        told.events,
                        expected(told_owner.then_some(JULIET).into_iter(), "none"),
                        "{what} unsubscribes"
                    );
                }
                6 | 7 => {
                    let presence = "<item><presence xmlns='jabber:client' from='somebody@else.example'/></item>";
                    let told = host.pubsub(client, JULIET, &format!("<publish node='presence'>{presence}</publish>"));
                    shown.insert(client);
                    let events = expected(subscribers(&contacts).into_iter(), &format!("here {client}"));
                    told_of += events.len();
                    assert_eq!(
                        (told.verdict(), &told.events),
                        ("result", &events),
                        "{what} publishes; left: the engine"
                    );
                }
                8 => {
                    let told = host.give(Input::session_ended(client));
                    let was = shown.remove(client);
                    let recipients = if was { subscribers(&contacts) } else { Vec::new() };
                    assert_eq!(
                        told.events,
                        expected(recipients.into_iter(), &format!("gone {client}")),
                        "{what} is gone"
                    );
                }
                _ => {
                    let items = "<iq type='get' id='q' from='juliet@a.example/x'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                                 <items node='urn:pam_pps:roster:0'/></pubsub></iq>";
                    let told = host.stanza(items);
                    for (jid, question) in &contacts {
                        let entry = match question {
                            Some(_) => format!("<item jid='{jid}' subscription='none'><request "),
                            None => format!("<item jid='{jid}' subscription='from'/>"),
                        };
                        assert!(told.answer.contains(&entry), "{what}: {entry} is not in {}", told.answer);
                    }
                    assert_eq!(told.answer.matches("<item id=").count(), contacts.len(), "{what}: {}", told.answer);
                }
            }
        }
    }
    assert!(told_of > 300, "{told_of} were told only");
}
