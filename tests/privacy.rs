//! What a stranger can learn from the lists of public subscriptions: nothing that is not public, not even whether the
//! account exists. Every request is made of both, and the answers are compared byte for byte, but for the addresses.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pam_pps::{Config, Decision, Engine, Input, Need, RosterSubscription, ServiceKind, Timestamp};

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const MAM: &str = "urn:xmpp:mam:2";
const LIST: &str = "urn:xmpp:pps:subscriptions:0";

/// Does not exist.
const NOBODY: &str = "nobody@a.example";
/// Exists, and has never done anything.
const FRESH: &str = "frevne@a.example";
/// Exists, has nodes, follows others in secret, has followed somebody in public, and is online.
const JULIET: &str = "juliet@a.example";
/// Follows many nodes in secret, and none in public.
const BENVOLIO: &str = "benvolio@a.example";
/// Follows Juliet's node in public.
const ROMEO: &str = "romeo@a.example";

const COMPONENT: &str = "pubsub.a.example";

const ATTACKERS: [&str; 2] = ["tybalt@a.example/x", "mallory@evil.example/x"];

struct Host {
    engine: Engine,
    now: i64,
}

impl Host {
    fn new() -> Self {
        let mut options = Config::new();
        options.set("seed", "privacy").expect("any text");
        let engine = Engine::open(&options).expect("it opens");
        engine.serve("a.example", ServiceKind::Accounts, &Config::new()).expect("a host");
        engine.serve(COMPONENT, ServiceKind::Component, &Config::new()).expect("a component");
        let mut host = Self { engine, now: 1_700_000_000_000_000 };
        host.live();
        host
    }

    /// What Juliet and Romeo do before the attackers come.
    fn live(&mut self) {
        let (juliet, romeo) = ("juliet@a.example/balcony", "romeo@a.example/orchard");
        for jid in [juliet, romeo] {
            self.stanza(&format!("<presence from='{jid}'/>"));
        }
        let open = format!(
            "<configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#node_config</value>\
             </field><field var='pubsub#access_model'><value>open</value></field></x></configure>"
        );
        self.set(romeo, ROMEO, &format!("<pubsub xmlns='{PUBSUB}'><create node='blog'/>{open}</pubsub>"));
        self.set(juliet, JULIET, &format!("<pubsub xmlns='{PUBSUB}'><create node='open'/>{open}</pubsub>"));
        let closed = open.replace("<value>open</value>", "<value>whitelist</value>");
        self.set(juliet, JULIET, &format!("<pubsub xmlns='{PUBSUB}'><create node='closed'/>{closed}</pubsub>"));
        let follow = |account: &str, service: &str, node: &str, public: &str| {
            format!(
                "<pam xmlns='urn:xmpp:pam:0' jid='{service}'><subscribe xmlns='{PUBSUB}' node='{node}' jid='{account}'>\
                 {public}</subscribe></pam>"
            )
        };
        let public = "<public xmlns='urn:xmpp:pps:0'/>";
        self.set(juliet, "", &follow(JULIET, ROMEO, "blog", public));
        self.set(juliet, "", &follow(JULIET, ROMEO, "blog", ""));
        self.set(juliet, "", &follow(JULIET, JULIET, "open", ""));
        self.set(romeo, "", &follow(ROMEO, JULIET, "open", public));
    }

    /// Benvolio follows so many nodes.
    fn follow_in_secret(&mut self, count: usize) {
        for number in 0..count {
            let node = format!("<create node='n{number}'/>");
            self.set("romeo@a.example/orchard", COMPONENT, &format!("<pubsub xmlns='{PUBSUB}'>{node}</pubsub>"));
            let subscribe = format!("<subscribe xmlns='{PUBSUB}' node='n{number}' jid='{BENVOLIO}'/>");
            let pam = format!("<pam xmlns='urn:xmpp:pam:0' jid='{COMPONENT}'>{subscribe}</pam>");
            self.set("benvolio@a.example/square", "", &pam);
        }
    }

    fn set(&mut self, from: &str, to: &str, payload: &str) {
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        let out = self.stanza(&format!("<iq type='set' id='s' from='{from}'{to}>{payload}</iq>"));
        assert!(out.iter().any(|stanza| stanza.contains("type='result'")), "{payload}: {out:?}");
    }

    /// What a stanza leads to; "pass" if it is left to the host.
    fn stanza(&mut self, stanza: &str) -> Vec<String> {
        let mut input = Input::stanza(stanza);
        loop {
            self.now += 1_000;
            let outcome = self.engine.handle(Timestamp::from_micros(self.now), &input).expect("it makes sense");
            if !outcome.needs_facts() {
                return outcome.decisions.into_iter().filter_map(text).collect();
            }
            for decision in outcome.decisions {
                match decision {
                    Decision::Need(Need::Account(jid)) => {
                        let exists = [FRESH, JULIET, ROMEO].contains(&jid.as_str());
                        input.facts.insert_account(&jid, exists);
                    }
                    Decision::Need(Need::Roster { owner, contact }) => {
                        input.facts.insert_roster(&owner, &contact, RosterSubscription::None, Vec::new());
                    }
                    Decision::Need(Need::Admin { who, service }) => input.facts.insert_admin(&who, &service, false),
                    Decision::Need(Need::Blocked { owner, contact }) => {
                        input.facts.insert_blocked(&owner, &contact, false);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn text(decision: Decision) -> Option<String> {
    match decision {
        Decision::Pass => Some("pass".to_owned()),
        Decision::Route { stanza } => Some(stanza),
        Decision::Multicast { stanza, recipients, .. } => Some(format!("{recipients:?} {stanza}")),
        _ => None,
    }
}

/// Without the address, and without the identifiers that are new each time.
fn anonymous(stanzas: Vec<String>, target: &str) -> Vec<String> {
    let forget = |stanza: String| {
        let mut stanza = stanza.replace(target, "TARGET");
        if let Some(begin) = stanza.find("id='pps-") {
            let end = begin + 4 + stanza[begin + 4..].find('\'').unwrap_or(0);
            stanza.replace_range(begin..end, "id='");
        }
        stanza
    };
    stanzas.into_iter().map(forget).collect()
}

/// Everything that can be asked of a special node: whether it is a question or an order, and the payload.
fn requests(node: &str, attacker: &str) -> Vec<(&'static str, String)> {
    let bare = attacker.split_once('/').map_or(attacker, |(bare, _)| bare);
    let pubsub = |inner: String| format!("<pubsub xmlns='{PUBSUB}'>{inner}</pubsub>");
    let owner = |inner: String| format!("<pubsub xmlns='{OWNER}'>{inner}</pubsub>");
    let set = |inner: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>");
    let form = |form_type: &str, fields: &str| {
        format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{form_type}</value></field>{fields}</x>"
        )
    };
    let mut all = Vec::new();
    let items = format!("<items node='{node}'/>");
    all.push(("get", pubsub(items.clone())));
    for page in
        ["<max>0</max>", "<max>5</max>", "<before/>", "<after>x</after>", "<before>x</before>", "<index>3</index>"]
    {
        all.push(("get", pubsub(format!("{items}{}", set(page)))));
    }
    for max in ["0", "1", "x"] {
        all.push(("get", pubsub(format!("<items node='{node}' max_items='{max}'/>"))));
    }
    for id in ["1", "abcd", "aaaaaaaaaaaaaaaaaaaa1", "aaaaaaaaaaaaaaaaaaaa2"] {
        all.push(("get", pubsub(format!("<items node='{node}'><item id='{id}'/></items>"))));
        all.push(("set", pubsub(format!("<retract node='{node}'><item id='{id}'/></retract>"))));
    }
    // In this order: to be subscribed, to look at it, to leave, and to leave once more.
    let options = form(
        "http://jabber.org/protocol/pubsub#subscribe_options",
        "<field var='pubsub#deliver'><value>0</value></field>",
    );
    for _ in 0..2 {
        all.push(("get", pubsub(format!("<options node='{node}' jid='{bare}'/>"))));
        all.push(("get", pubsub(format!("<options node='{node}'/>"))));
        all.push(("set", pubsub(format!("<unsubscribe node='{node}' jid='{bare}'/>"))));
        all.push(("set", pubsub(format!("<subscribe node='{node}'/>"))));
        all.push(("set", pubsub(format!("<subscribe node='{node}' jid='juliet@a.example'/>"))));
        all.push((
            "set",
            pubsub(format!("<subscribe node='{node}' jid='{bare}'/><options>{}</options>", form("other", ""))),
        ));
        all.push(("set", pubsub(format!("<subscribe node='{node}' jid='{bare}'/>"))));
        all.push((
            "set",
            pubsub(format!("<subscribe node='{node}' jid='{attacker}'><public xmlns='urn:xmpp:pps:0'/></subscribe>")),
        ));
        all.push(("get", pubsub(format!("<options node='{node}' jid='{bare}'/>"))));
        all.push(("get", pubsub(format!("<subscriptions node='{node}'/>"))));
        all.push(("get", pubsub("<subscriptions/>".to_owned())));
        all.push(("set", pubsub(format!("<unsubscribe node='{node}' jid='{bare}' subid='1'/>"))));
        all.push(("set", pubsub(format!("<unsubscribe node='{node}' jid='{attacker}'/>"))));
        all.push(("set", pubsub(format!("<unsubscribe node='{node}'/>"))));
    }
    all.push(("set", pubsub(format!("<options node='{node}' jid='{bare}'>{options}</options>"))));
    all.push(("get", pubsub(format!("<default node='{node}'/>"))));
    all.push(("get", pubsub(format!("<affiliations node='{node}'/>"))));
    all.push(("get", pubsub("<affiliations/>".to_owned())));
    all.push(("set", pubsub(format!("<create node='{node}'/>"))));
    all.push(("set", pubsub(format!("<publish node='{node}'><item><x xmlns='urn:x'/></item></publish>"))));
    all.push(("set", pubsub(format!("<publish node='{node}'/>"))));
    for name in ["delete", "purge", "configure", "subscriptions", "affiliations", "default"] {
        all.push(("get", owner(format!("<{name} node='{node}'/>"))));
        all.push(("set", owner(format!("<{name} node='{node}'/>"))));
    }
    for ns in ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"] {
        all.push(("get", format!("<query xmlns='{ns}' node='{node}'/>")));
    }
    all.push(("get", format!("<query xmlns='{MAM}' node='{node}'/>")));
    all.push(("set", format!("<query xmlns='{MAM}' node='{node}'/>")));
    all.push(("set", format!("<query xmlns='{MAM}' node='{node}'>{}</query>", set("<max>0</max>"))));
    all.push(("set", format!("<query xmlns='{MAM}' node='{node}'>{}</query>", set("<after>x</after>"))));
    let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
    for fields in [field("start", "2000-01-01T00:00:00Z"), field("with", "romeo@a.example"), field("what", "x")] {
        all.push(("set", format!("<query xmlns='{MAM}' node='{node}'>{}</query>", form(MAM, &fields))));
    }
    for node in [" node='urn:xmpp:pam:0'", ""] {
        all.push(("set", format!("<query xmlns='{MAM}'{node}/>")));
    }
    all.push(("get", "<subscriptions xmlns='urn:xmpp:pam:0'/>".to_owned()));
    all.push(("get", "<filter xmlns='urn:xmpp:pam:0#filter'/>".to_owned()));
    all.push((
        "set",
        format!(
            "<pam xmlns='urn:xmpp:pam:0' jid='b.example'><subscribe xmlns='{PUBSUB}' node='x' jid='{bare}'/></pam>"
        ),
    ));
    all
}

#[test]
fn an_account_without_public_subscriptions_is_like_a_missing_one() {
    let nested = format!("urn:xmpp:pps:subscribers:0/{LIST}");
    let nodes = [
        LIST,
        "urn:xmpp:pps:subscribers:0/nothing",
        "urn:xmpp:pps:subscribers:0/",
        "urn:xmpp:pps:subscribers:0/urn:xmpp:pps:subscribers:0/open",
    ];
    let mut compared = 0;
    for attacker in ATTACKERS {
        for node in nodes {
            let mut host = Host::new();
            for (kind, payload) in requests(node, attacker) {
                let mut answers = Vec::new();
                for target in [NOBODY, FRESH, JULIET] {
                    let stanza = format!("<iq type='{kind}' id='q' from='{attacker}' to='{target}'>{payload}</iq>");
                    answers.push(anonymous(host.stanza(&stanza), target));
                }
                assert!(!answers[0].is_empty(), "{payload}");
                assert_eq!(answers[0], answers[1], "{kind} of nobody and of a fresh account: {payload}");
                assert_eq!(answers[0], answers[2], "{kind} of nobody and of Juliet: {payload}");
                compared += 1;
            }
        }
        // Who is subscribed to the list itself is public only if they want it; the node is there for everybody.
        let mut host = Host::new();
        for (kind, payload) in
            requests(&nested, attacker).into_iter().filter(|(_, payload)| !payload.contains("ubscribe "))
        {
            let ask = |target: &str| format!("<iq type='{kind}' id='q' from='{attacker}' to='{target}'>{payload}</iq>");
            let nobody = anonymous(host.stanza(&ask(NOBODY)), NOBODY);
            assert_eq!(nobody, anonymous(host.stanza(&ask(JULIET)), JULIET), "{kind}: {payload}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}

/// Presence with interest in the list: asked for its meaning by everybody, and answered by nobody.
#[test]
fn interest_tells_nothing() {
    for target in [FRESH, JULIET] {
        for attacker in ATTACKERS {
            let mut host = Host::new();
            let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='KIND'/>";
            let mut said: VecDeque<Vec<String>> = VecDeque::new();
            for (jid, kind) in [(NOBODY, "one"), (target, "two")] {
                let caps = caps.replace("KIND", kind);
                let asked = host.stanza(&format!("<presence from='{attacker}' to='{jid}'>{caps}</presence>"));
                let id =
                    asked.iter().find_map(|stanza| Some(stanza.split_once("id='")?.1.split_once('\'')?.0.to_owned()));
                let id = id.expect("the client is asked");
                let answer = host.stanza(&format!(
                    "<iq type='result' id='{id}' from='{attacker}' to='{jid}'><query xmlns='http://jabber.org/protocol/disco#info'>\
                     <feature var='{LIST}+notify'/><feature var='urn:xmpp:pps:subscribers:0/open+notify'/></query></iq>"
                ));
                let again = host.stanza(&format!("<presence from='{attacker}' to='{jid}'>{caps}</presence>"));
                let mut all = anonymous(asked, jid);
                all.extend(anonymous(answer, jid));
                all.extend(anonymous(again, jid));
                said.push_back(all.into_iter().map(|stanza| stanza.replace(kind, "KIND")).collect());
            }
            assert_eq!(said[0], said[1], "{attacker} at nobody's and at {target}");
        }
    }
}

/// Identifiers of items are of use only where they were found.
#[test]
fn items_cannot_be_guessed() {
    let mut host = Host::new();
    let get = |host: &mut Host, to: &str, node: &str, inner: &str| {
        let items = format!("<pubsub xmlns='{PUBSUB}'><items node='{node}'>{inner}</items></pubsub>");
        host.stanza(&format!("<iq type='get' id='q' from='mallory@evil.example/x' to='{to}'>{items}</iq>")).concat()
    };
    let shown = get(&mut host, ROMEO, LIST, "");
    let id =
        shown.split_once("<item id='").and_then(|(_, rest)| rest.split_once('\'')).expect("one is public").0.to_owned();
    let one = format!("<item id='{id}'/>");
    assert!(get(&mut host, ROMEO, LIST, &one).contains("<subscription"));
    for (to, node) in [(JULIET, LIST), (NOBODY, LIST), (JULIET, "urn:xmpp:pps:subscribers:0/open")] {
        let answer = get(&mut host, to, node, &one);
        assert!(!answer.contains("<subscri"), "{to} {node}: {answer}");
    }
    // Nor does a seal of one's own fit.
    let other = if id.starts_with('b') { 'c' } else { 'b' };
    let forged = format!("<item id='{other}{}'/>", &id[1..]);
    assert!(!get(&mut host, ROMEO, LIST, &forged).contains("<item "));
    // The position behind the seal is no way in.
    for position in 0..50 {
        let guess = format!("<item id='{}{position:x}'/>", &id[..20]);
        let answer = get(&mut host, JULIET, LIST, &guess);
        assert!(!answer.contains("<item "), "{answer}");
    }
}

/// The followers of a node are for those who may read it; a withdrawn mark and a secret one are nowhere.
#[test]
fn what_is_not_public_is_nowhere() {
    let mut host = Host::new();
    for attacker in ATTACKERS {
        for (to, node) in
            [(JULIET, LIST), (ROMEO, "urn:xmpp:pps:subscribers:0/blog"), (JULIET, "urn:xmpp:pps:subscribers:0/closed")]
        {
            for (kind, payload) in requests(node, attacker) {
                let stanza = format!("<iq type='{kind}' id='q' from='{attacker}' to='{to}'>{payload}</iq>");
                let answer = host.stanza(&stanza).concat();
                for secret in ["node='blog'", "jid='juliet@a.example'", "<count>1", "<subscriber "] {
                    assert!(!answer.contains(secret), "{secret} in the answer to {stanza}: {answer}");
                }
            }
        }
        let closed = |node: &str| {
            format!(
                "<iq type='get' id='q' from='{attacker}' to='{JULIET}'><pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub></iq>"
            )
        };
        let node = host.stanza(&closed("closed"));
        assert_eq!(host.stanza(&closed("urn:xmpp:pps:subscribers:0/closed")), node, "the error is that of the node");
    }
}

/// No answer takes much longer than the other. A thousand tries, turn about, and a wide margin: what is looked for is a
/// different kind of work, not a few instructions.
#[test]
fn the_time_of_an_answer_tells_nothing() {
    let mut host = Host::new();
    let items = format!("<pubsub xmlns='{PUBSUB}'><items node='{LIST}'/></pubsub>");
    host.follow_in_secret(300);
    let mut times = [NOBODY, FRESH, JULIET, BENVOLIO].map(|target| (target, Vec::with_capacity(1_000)));
    for _ in 0..1_000 {
        for (target, times) in &mut times {
            let stanza = format!("<iq type='get' id='q' from='mallory@evil.example/x' to='{target}'>{items}</iq>");
            let begin = Instant::now();
            let answer = host.stanza(&stanza);
            times.push(begin.elapsed());
            assert_eq!(answer.len(), 1);
        }
    }
    let medians: Vec<Duration> = times
        .iter_mut()
        .map(|(_, times)| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();
    let (least, most) = (medians.iter().min().expect("four"), medians.iter().max().expect("four"));
    assert!(*most < *least * 4 + Duration::from_micros(200), "{medians:?}");
}
