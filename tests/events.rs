//! What modules of the host are told of (option `events`): by whom it was done, and the item as it can be read.

use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

/// What is told of a request of Juliet's to her account: name, node, item and actor of each event, and the item published.
fn told(engine: &Engine, privileged: bool, request: &str) -> Vec<(&'static str, [String; 3], String)> {
    let stanza = format!(
        "<iq type='set' id='r' from='juliet@localhost/a' to='juliet@localhost'><pubsub xmlns='{PUBSUB}'>{request}</pubsub></iq>"
    );
    let mut input = Input::stanza(&stanza);
    input.privileged = privileged;
    let decisions = engine.handle(NOW, &input).expect("an outcome").decisions;
    let events = decisions.into_iter().filter_map(|decision| match decision {
        Decision::Event(event) => Some(event),
        _ => None,
    });
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    events
        .map(|event| {
            assert_eq!(event.service.as_str(), "juliet@localhost");
            let (item, actor) =
                (event.item.as_ref().map(|id| id.as_str()), event.actor.as_ref().map(|jid| jid.as_str()));
            let about = [event.node.as_str().to_owned(), text(item), text(actor)];
            (event.name, about, text(event.published.as_ref().map(|published| published.xml())))
        })
        .collect()
}

fn publish(id: &str) -> String {
    format!("<publish node='n'><item id='{id}'><note xmlns='urn:x:note'>&lt;{id}</note></item></publish>")
}

fn about(item: &str, actor: &str) -> [String; 3] {
    ["n", item, actor].map(str::to_owned)
}

#[test]
fn modules_hear_who_did_what() {
    let engine = Engine::open(&Config::new()).expect("memory");
    let mut config = Config::new();
    config.set("events", "true").expect("an option");
    engine.serve("localhost", ServiceKind::Accounts, &config).expect("a host");
    let juliet = "juliet@localhost/a";

    let item =
        format!("<item xmlns='{PUBSUB}' id='1' publisher='{juliet}'><note xmlns='urn:x:note'>&lt;1</note></item>");
    let created = ("node-created", about("", juliet), String::new());
    assert_eq!(told(&engine, false, &publish("1")), [created, ("item-published", about("1", juliet), item)]);

    // The node of an account holds one item; that the old one goes is told too. A module of the host that published knows
    // that it was itself.
    let published = told(&engine, true, &publish("2"));
    let gist: Vec<_> = published.iter().map(|(name, about, xml)| (*name, about.clone(), xml.is_empty())).collect();
    assert_eq!(gist, [("item-retracted", about("1", ""), true), ("item-published", about("2", ""), false)]);

    // The subscriber is no actor.
    let subscribe = "<subscribe node='n' jid='juliet@localhost/a'/>";
    assert_eq!(told(&engine, true, subscribe), [("subscription-added", about("", juliet), String::new())]);
}
