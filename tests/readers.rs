//! Requests that only read are answered beside the writer, and see what was submitted before them.

use std::sync::mpsc;
use std::time::Duration;

use pam_pps::{Config, Decision, Engine, Input, Outcome, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    engine: Engine,
    folder: std::path::PathBuf,
}

impl Server {
    fn new(name: &str, options: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("pam_pps-readers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut config = Config::new();
        config.set("database", folder.join("pam_pps.sqlite").to_str().expect("UTF-8")).expect("an option");
        for (name, value) in options {
            config.set(name, value).expect("an option");
        }
        let engine = Engine::open(&config).expect("a store");
        engine.serve("localhost", ServiceKind::Accounts, &Config::new()).expect("a host");
        Self { engine, folder }
    }

    fn submit(&self, xml: &str) -> mpsc::Receiver<Outcome> {
        self.submit_input(Input::stanza(xml))
    }

    fn submit_input(&self, input: Input) -> mpsc::Receiver<Outcome> {
        let (done, outcome) = mpsc::channel();
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        self.engine.submit(NOW, input, done).expect("room in the queue");
        outcome
    }

    fn figure(&self, name: &str) -> i64 {
        let figures = self.engine.statistics().expect("statistics");
        figures.into_iter().find(|(known, _)| known == name).expect("a figure").1
    }

    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.join("pam_pps.sqlite")).expect("a second connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn publish(account: &str, item: usize) -> String {
    format!(
        "<iq type='set' id='p{item}' from='{account}@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='n'><item id='{item}'><x xmlns='urn:x'/></item></publish>\
         <publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
         <field var='pubsub#access_model'><value>presence</value></field></x></publish-options></pubsub></iq>"
    )
}

fn items(from: &str, account: &str) -> String {
    format!(
        "<iq type='get' id='g' from='{from}@localhost/b' to='{account}@localhost'>\
         <pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub></iq>"
    )
}

fn outcome(receiver: &mpsc::Receiver<Outcome>) -> Outcome {
    receiver.recv_timeout(PATIENCE).expect("an outcome")
}

fn answer(receiver: &mpsc::Receiver<Outcome>) -> String {
    let stanza = outcome(receiver).decisions.into_iter().find_map(|decision| match decision {
        Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza),
        _ => None,
    });
    stanza.expect("an IQ is always answered")
}

/// The id of the one item in an answer.
fn item(answer: &str) -> usize {
    let (_, rest) = answer.split_once("<item id='").expect("an item");
    rest.split_once('\'').expect("a quote").0.parse().expect("a number")
}

/// Neither the owner's requests nor anybody's to the same account show less than what was submitted before them.
#[test]
fn a_request_sees_what_was_submitted_before_it() {
    let server = Server::new("order", &[]);
    let mut waiting = Vec::new();
    for round in 0..600 {
        let account = format!("user{}", round % 3);
        let published = server.submit(&publish(&account, round));
        let read = server.submit(&items(&account, &account));
        waiting.push((round, published, read));
        if round % 7 == 0 {
            // Now and then nothing is on its way, and a reader may answer.
            for (round, published, read) in waiting.drain(..) {
                assert!(answer(&published).contains("type='result'"));
                let seen = item(&answer(&read));
                assert!(seen >= round, "{round} was published before, and {seen} was seen");
            }
            assert_eq!(item(&answer(&server.submit(&items(&account, &account)))), round);
        }
    }
    assert!(server.figure("reads_total") > 50);
}

/// A publication that cannot be committed yet holds nobody up but those who ask for what it may change.
#[test]
fn reading_does_not_wait_for_the_writer() {
    let server = Server::new("waiting", &[]);
    for account in ["romeo", "juliet"] {
        answer(&server.submit(&publish(account, 1)));
    }
    let other = server.connection();
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let published = server.submit(&publish("romeo", 2));
    let behind = server.submit(&items("romeo", "romeo"));
    for _ in 0..100 {
        assert!(answer(&server.submit(&items("juliet", "juliet"))).contains("id='1'"));
    }
    assert!(published.try_recv().is_err() && behind.try_recv().is_err());
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    assert!(answer(&published).contains("type='result'"));
    assert!(answer(&behind).contains("id='2'"));
}

/// What a reader may not do is done all the same: facts are asked for, and what only the writer knows is its own.
#[test]
fn the_writer_gets_what_is_its_own() {
    let server = Server::new("writer", &[]);
    answer(&server.submit(&publish("romeo", 1)));
    let mut asked = outcome(&server.submit(&items("juliet", "romeo")));
    assert!(asked.needs_facts());
    let published = server.submit(&publish("romeo", 2));
    let mut input = asked.input.take().expect("the input, for the facts");
    input.facts.insert_roster("romeo@localhost", "juliet@localhost", pam_pps::RosterSubscription::Both, Vec::new());
    let read = server.submit_input(input);
    assert!(item(&answer(&read)) >= 1);
    assert!(answer(&published).contains("type='result'"));
    let reads = server.figure("reads_total");
    let list = "<iq type='get' id='l' from='romeo@localhost/a'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>";
    assert!(answer(&server.submit(list)).contains("<subscriptions"));
    assert_eq!(server.figure("reads_total"), reads);
    // Input that makes no sense is answered by whoever finds out.
    assert!(
        answer(&server.submit(
            "<iq type='get' id='g' from='a@localhost/b'><pubsub xmlns='http://jabber.org/protocol/pubsub'/></iq>"
        ))
        .contains("bad-request")
    );
}

/// Whoever waits for facts, reading or writing, keeps nobody from being answered.
#[test]
fn everybody_is_answered_though_facts_are_wanted() {
    const ROUNDS: usize = 400;
    let server = Server::new("facts", &[]);
    answer(&server.submit(&publish("romeo", 1)));
    let (done, outcomes) = mpsc::channel();
    let submit = |number: usize, input: Input| {
        let done = done.clone();
        let done = Box::new(move |outcome| drop(done.send((number, outcome))));
        server.engine.submit(NOW, input, done).expect("room in the queue");
    };
    let mut left = std::collections::HashSet::new();
    let mut next = 0;
    while next < ROUNDS || !left.is_empty() {
        // A handful at a time, of all kinds, so that lanes are idle now and then.
        while next < ROUNDS && left.len() < 3 + next % 5 {
            let subscribe = "<iq type='set' id='s' from='juliet@localhost/b' to='romeo@localhost'>\
                <pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='n' jid='juliet@localhost'/></pubsub></iq>";
            let xml = if next % 4 == 1 { subscribe.to_owned() } else { items("juliet", "romeo") };
            left.insert(next);
            submit(next, Input::stanza(xml));
            next += 1;
        }
        let waiting = left.len();
        let (number, mut outcome) =
            outcomes.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{waiting} wait for an answer"));
        if outcome.needs_facts() {
            let mut input = outcome.input.take().expect("the input, for the facts");
            input.facts.insert_roster(
                "romeo@localhost",
                "juliet@localhost",
                pam_pps::RosterSubscription::Both,
                Vec::new(),
            );
            input.facts.insert_blocked("romeo@localhost", "juliet@localhost", false);
            input.facts.insert_account("romeo@localhost", true);
            submit(number, input);
        } else {
            assert!(
                outcome
                    .decisions
                    .iter()
                    .any(|decision| matches!(decision, Decision::Route { stanza } if stanza.starts_with("<iq")))
            );
            left.remove(&number);
        }
    }
}

/// What a reader remembers of a node holds only until it is changed.
#[test]
fn a_change_is_seen_at_once() {
    let server = Server::new("changes", &[("readers", "1")]);
    answer(&server.submit(&publish("romeo", 1)));
    for (model, answered) in [("open", true), ("whitelist", false), ("open", true), ("whitelist", false)] {
        let configure = format!(
            "<iq type='set' id='c' from='romeo@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>\
             <configure node='n'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
             <value>http://jabber.org/protocol/pubsub#node_config</value></field>\
             <field var='pubsub#access_model'><value>{model}</value></field></x></configure></pubsub></iq>"
        );
        assert!(answer(&server.submit(&configure)).contains("type='result'"));
        let reads = server.figure("reads_total");
        let read = answer(&server.submit(&items("juliet", "romeo")));
        assert_eq!(read.contains("type='result'"), answered, "{model}: {read}");
        assert_eq!(server.figure("reads_total"), reads + 1);
    }
}

/// Threads end with the engine, and what was submitted is finished first.
#[test]
fn closing_finishes_what_was_submitted() {
    for readers in ["0", "1", "4"] {
        let server = Server::new(readers, &[("readers", readers)]);
        let waiting: Vec<_> = (0..50)
            .flat_map(|round| [server.submit(&publish("romeo", round)), server.submit(&items("juliet", "nobody"))])
            .collect();
        drop(server);
        assert_eq!(waiting.iter().map(answer).count(), 100);
    }
}

/// Whoever wakes up a loop for outcomes does so once for what was committed at once.
#[test]
fn the_last_outcome_of_a_group_says_so() {
    let server = Server::new("more", &[("readers", "0")]);
    let (go, wait) = mpsc::channel();
    let (there, arrived) = mpsc::channel();
    let (done, outcomes) = mpsc::channel();
    // The worker is kept in the completion of the first until the others are waiting.
    let first = done.clone();
    let first = Box::new(move |outcome| {
        let _ = there.send(());
        let _: Result<(), _> = wait.recv_timeout(PATIENCE);
        drop(first.send(outcome));
    });
    server.engine.submit(NOW, Input::stanza(publish("romeo", 0)), first).expect("room in the queue");
    arrived.recv_timeout(PATIENCE).expect("the first is finished");
    for item in 1..4 {
        let done = done.clone();
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        // One behind another that needs facts is not among what is finished with it.
        let xml = if item == 2 { items("juliet", "romeo") } else { publish("romeo", item) };
        server.engine.submit(NOW, Input::stanza(xml), done).expect("room in the queue");
    }
    go.send(()).expect("the worker waits");
    let more: Vec<(bool, bool)> =
        (0..3).map(|_| outcome(&outcomes)).map(|outcome| (outcome.needs_facts(), outcome.more)).collect();
    assert_eq!(more, [(false, false), (false, true), (true, false)]);
}
