//! What is kept beside payloads has a bound too: names, configurations, and where deleted nodes have moved to.

use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const LONGEST: usize = 3_071;

struct Account(Engine);

impl Account {
    fn new() -> Self {
        let engine = Engine::open(&Config::new()).expect("a store");
        let mut config = Config::new();
        config.set("max_nodes", "10").expect("an option");
        engine.serve("localhost", ServiceKind::Accounts, &config).expect("a host");
        Self(engine)
    }

    fn ask(&self, body: &str) -> String {
        let stanza = format!("<iq type='set' id='r' from='juliet@localhost/a'>{body}</iq>");
        let outcome = self.0.handle(NOW, &Input::stanza(&stanza)).expect("an outcome");
        let answer = outcome.decisions.into_iter().find_map(|decision| match decision {
            Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza),
            _ => None,
        });
        answer.expect("an IQ is always answered")
    }

    fn create(&self, node: &str, form: &str) -> String {
        self.ask(&format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='{node}'/><configure>{form}</configure></pubsub>"
        ))
    }

    fn configure(&self, node: &str, form: &str) -> String {
        self.ask(&format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{node}'>{form}</configure></pubsub>"
        ))
    }

    fn publish(&self, node: &str, item: &str, options: &str) -> String {
        self.ask(&format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='{item}'><x xmlns='urn:x'/>\
             </item></publish>{options}</pubsub>"
        ))
    }

    fn delete(&self, node: &str, uri: &str) -> String {
        self.ask(&format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='{node}'>\
             <redirect uri='{uri}'/></delete></pubsub>"
        ))
    }
}

fn form(kind: &str, field: &str, value: &str) -> String {
    format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/pubsub#{kind}</value></field>\
         <field var='pubsub#{field}'><value>{value}</value></field></x>"
    )
}

#[track_caller]
fn taken(answer: &str) {
    assert!(answer.contains("type='result'"), "{answer}");
}

#[track_caller]
fn refused(answer: &str, condition: &str) {
    assert!(answer.contains("type='error'") && answer.contains(&format!("<{condition} ")), "{answer}");
}

#[test]
fn names_have_a_length() {
    let account = Account::new();
    let (long, longer) = ("n".repeat(LONGEST), "n".repeat(LONGEST + 1));
    taken(&account.create(&long, ""));
    refused(&account.create(&longer, ""), "not-acceptable");
    refused(&account.publish(&longer, "1", ""), "not-acceptable");
    taken(&account.publish("node", &long, ""));
    refused(&account.publish("node", &longer, ""), "not-acceptable");
}

#[test]
fn configurations_have_a_length() {
    let account = Account::new();
    let (long, longer) = ("t".repeat(60_000), "t".repeat(70_000));
    taken(&account.create("one", &form("node_config", "title", &long)));
    refused(&account.create("two", &form("node_config", "title", &longer)), "not-acceptable");
    refused(&account.configure("one", &form("node_config", "description", &long)), "not-acceptable");
    taken(&account.configure("one", &form("node_config", "title", "short")));
    let options = format!("<publish-options>{}</publish-options>", form("publish-options", "title", &longer));
    refused(&account.publish("three", "1", &options), "not-acceptable");
}

#[test]
fn nodes_move_as_often_as_there_may_be_nodes() {
    let account = Account::new();
    taken(&account.create("long", ""));
    refused(&account.delete("long", &"u".repeat(LONGEST + 1)), "not-acceptable");
    for number in 0..10 {
        let node = format!("node{number}");
        taken(&account.create(&node, ""));
        taken(&account.delete(&node, "xmpp:elsewhere.example?;node=n"));
    }
    refused(&account.delete("long", "xmpp:elsewhere.example?;node=n"), "resource-constraint");
    // One that comes back moved nowhere.
    taken(&account.create("node3", ""));
    taken(&account.delete("long", "xmpp:elsewhere.example?;node=n"));
}
