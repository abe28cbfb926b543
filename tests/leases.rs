//! A lease ends when it ends, not when the host next says what time it is.

use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

/// 2023-11-14T22:13:20Z
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const MINUTE: &str = "2023-11-14T22:14:20Z";

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

    /// The answer to a request made so many seconds after the start.
    fn ask(&self, second: i64, who: &str, kind: &str, body: &str) -> String {
        let body = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{body}</pubsub>");
        let stanza = format!("<iq type='{kind}' id='r' from='{who}@localhost/a' to='pubsub.localhost'>{body}</iq>");
        let now = Timestamp::from_micros(START.micros() + second * 1_000_000);
        let outcome = self.0.handle(now, &Input::stanza(&stanza)).expect("an outcome");
        let answer = outcome.decisions.into_iter().find_map(|decision| match decision {
            Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza),
            _ => None,
        });
        answer.expect("an IQ is always answered")
    }

    fn tick(&self, second: i64) {
        let now = Timestamp::from_micros(START.micros() + second * 1_000_000);
        self.0.handle(now, &Input::tick()).expect("an outcome");
    }
}

#[test]
fn a_lease_that_nobody_has_swept_is_over() {
    let service = Service::new();
    let field = "<field var='pubsub#publish_model'><value>subscribers</value></field>";
    let configure = format!("<configure><x xmlns='jabber:x:data' type='submit'>{field}</x></configure>");
    assert!(service.ask(0, "juliet", "set", &format!("<create node='n'/>{configure}")).contains("type='result'"));
    let subscribe = "<subscribe node='n' jid='romeo@localhost'/>";
    let expire = format!("<field var='pubsub#expire'><value>{MINUTE}</value></field>");
    let options = format!("<options><x xmlns='jabber:x:data' type='submit'>{expire}</x></options>");
    let publish = "<publish node='n'><item id='1'><x xmlns='urn:x'/></item></publish>";
    let list = |second| service.ask(second, "romeo", "get", "<subscriptions/>").contains("node='n'");

    assert!(service.ask(1, "romeo", "set", &format!("{subscribe}{options}")).contains("subscription='subscribed'"));
    assert!(service.ask(59, "romeo", "set", publish).contains("type='result'") && list(59));
    // Over: neither the rights of a subscriber nor the subscription.
    assert!(service.ask(60, "romeo", "set", publish).contains("<forbidden") && !list(60));
    // What is made anew does not end with what was there before.
    assert!(service.ask(61, "romeo", "set", subscribe).contains("subscription='subscribed'"));
    service.tick(62);
    assert!(list(62) && service.ask(62, "romeo", "set", publish).contains("type='result'"));
}
