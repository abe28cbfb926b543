//! Sets that are larger than an answer: what is shown of them, and what of a service with very many nodes.

use std::fmt::Write as _;

use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Service(Engine);

impl Service {
    fn new() -> Self {
        let engine = Engine::open(&Config::new()).expect("a store");
        let mut config = Config::new();
        config.set("create_nodes", "anyone").expect("an option");
        config.set("default_admin_affiliation", "none").expect("an option");
        engine.serve("pubsub.localhost", ServiceKind::Component, &config).expect("a component");
        Self(engine)
    }

    /// The answer to a request.
    fn ask(&self, who: &str, kind: &str, body: &str) -> String {
        self.ask_at(0, who, kind, body)
    }

    /// The answer to a request made so many seconds later.
    fn ask_at(&self, second: i64, who: &str, kind: &str, body: &str) -> String {
        let now = Timestamp::from_micros(NOW.micros() + second * 1_000_000);
        let stanza = format!("<iq type='{kind}' id='r' from='{who}@localhost/a' to='pubsub.localhost'>{body}</iq>");
        let outcome = self.0.handle(now, &Input::stanza(&stanza)).expect("an outcome");
        let answer = outcome.decisions.into_iter().find_map(|decision| match decision {
            Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza),
            _ => None,
        });
        answer.expect("an IQ is always answered")
    }

    fn create(&self, node: &str, access_model: &str) {
        let answer = self.ask(
            "juliet",
            "set",
            &format!(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='{node}'/><configure>\
                 <x xmlns='jabber:x:data' type='submit'>\
                 <field var='pubsub#access_model'><value>{access_model}</value></field>\
                 <field var='pubsub#max_items'><value>max</value></field></x></configure></pubsub>"
            ),
        );
        assert!(answer.contains("type='result'"), "{answer}");
    }

    fn items(&self, attributes: &str, set: &str) -> String {
        let items = format!("<items node='n'{attributes}/>{set}");
        self.ask("romeo", "get", &format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{items}</pubsub>"))
    }

    fn disco(&self, who: &str, node: &str, set: &str) -> String {
        self.ask(who, "get", &format!("<query xmlns='http://jabber.org/protocol/disco#items'{node}>{set}</query>"))
    }
}

fn set(inner: &str) -> String {
    format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>")
}

/// How many members an answer shows, and its `<set/>`.
fn shown(answer: &str) -> (usize, String) {
    assert!(answer.contains("type='result'"), "{answer}");
    let members = answer.matches("<item ").count();
    (
        members,
        answer
            .split_once("<set xmlns='http://jabber.org/protocol/rsm'>")
            .map_or(String::new(), |(_, set)| set.to_owned()),
    )
}

#[test]
fn what_is_cut_off_is_said() {
    let service = Service::new();
    service.create("n", "open");
    let mut items = String::new();
    for id in 0..1_200 {
        write!(items, "<item id='{id}'><x xmlns='urn:x'/></item>").expect("text");
    }
    let publish =
        format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'>{items}</publish></pubsub>");
    assert!(service.ask("juliet", "set", &publish).contains("type='result'"));

    let newest = "<first index='200'>200</first><last>1199</last><count>1200</count>";
    for answer in [
        service.items("", ""),
        service.items(" max_items='1100'", ""),
        service.items("", &set("<before/>")),
        service.disco("romeo", " node='n'", ""),
    ] {
        let (members, page) = shown(&answer);
        assert_eq!(members, 1_000);
        assert!(page.starts_with(newest), "{page}");
    }
    // Nothing is cut off of what was asked for here.
    assert_eq!(shown(&service.items(" max_items='1000'", "")), (1_000, String::new()));
    let (members, page) = shown(&service.items("", &set("<max>5000</max><after>99</after>")));
    assert!(members == 1_000 && page.starts_with("<first index='100'>100</first><last>1099</last>"), "{page}");
    // Across the pieces in which items are read, in both directions.
    for (asked, first, last) in [("<after>99</after>", 100, 229), ("<before>230</before>", 100, 229)] {
        let answer = service.items("", &set(&format!("<max>130</max>{asked}")));
        let (members, page) = shown(&answer);
        assert_eq!(members, 130);
        assert!(page.starts_with(&format!("<first index='{first}'>{first}</first><last>{last}</last>")), "{page}");
        for id in first..=last {
            let id = format!("id='{id}'");
            assert_eq!(answer.matches(&id).count(), 1, "{id}");
        }
    }
}

#[test]
fn very_many_nodes_are_paged_forwards_and_hide_how_many_are_hidden() {
    let service = Service::new();
    for node in 0..5_001 {
        service.create(&format!("n{node:04}"), if node % 2 == 0 { "open" } else { "whitelist" });
    }
    let (members, first) = shown(&service.disco("romeo", "", ""));
    assert_eq!(members, 1_000);
    assert!(first.starts_with("<first index='0'>n0000</first><last>n1998</last></set>"), "{first}");
    // Beside a node that is there, one that is hidden, and one that never was: the same.
    for after in ["n2000", "n2001", "n2001x"] {
        let answer = service.disco("romeo", "", &set(&format!("<max>2</max><after>{after}</after>")));
        let (members, page) = shown(&answer);
        assert_eq!(members, 2);
        assert!(page.starts_with("<first>n2002</first><last>n2004</last></set>"), "{page}");
    }
    let (members, end) = shown(&service.disco("romeo", "", &set("<max>9</max><after>n4996</after>")));
    assert!(members == 2 && end.starts_with("<first>n4998</first><last>n5000</last></set>"), "{end}");
    for asked in ["<index>7</index>", "<before/>", "<before>n2000</before>"] {
        let answer = service.disco("romeo", "", &set(&format!("<max>2</max>{asked}")));
        assert!(answer.contains("<error type='cancel'><feature-not-implemented"), "{answer}");
    }
}

#[test]
fn expired_items_are_in_no_page_before_anybody_sweeps_them() {
    let service = Service::new();
    let expire = "<field var='pubsub#item_expire'><value>60</value></field><field var='pubsub#max_items'><value>9</value></field>";
    let create =
        format!("<create node='n'/><configure><x xmlns='jabber:x:data' type='submit'>{expire}</x></configure>");
    let body = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{create}</pubsub>");
    assert!(service.ask("juliet", "set", &body).contains("type='result'"));
    for (second, id) in [(0, "a"), (0, "b"), (30, "c"), (30, "d"), (30, "e")] {
        let item = format!("<publish node='n'><item id='{id}'><x xmlns='urn:x'/></item></publish>");
        let body = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{item}</pubsub>");
        assert!(service.ask_at(second, "juliet", "set", &body).contains("type='result'"));
    }
    let page = |asked: &str| {
        let set = set(&format!("<max>2</max>{asked}"));
        let body = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/>{set}</pubsub>");
        service.ask_at(61, "romeo", "get", &body)
    };
    assert!(page("").contains("<first index='0'>c</first><last>d</last><count>3</count>"));
    assert!(page("<before/>").contains("<first index='1'>d</first><last>e</last><count>3</count>"));
    assert!(page("<index>1</index>").contains("<first index='1'>d</first><last>e</last><count>3</count>"));
    assert!(page("<after>b</after>").contains("<item-not-found "));
}
