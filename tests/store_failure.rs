//! A store that fails: the peer is told to wait, nothing changes, and all is well again when the store is.

use pam_pps::{Config, Decision, Engine, Input, Outcome, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pam_pps-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn engine(&self) -> Engine {
        let mut config = Config::new();
        config.set("database", self.0.join("pam_pps.sqlite").to_str().expect("UTF-8")).expect("an option");
        let engine = Engine::open(&config).expect("a store");
        engine.serve("localhost", ServiceKind::Accounts, &Config::new()).expect("a host");
        engine
    }

    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.0.join("pam_pps.sqlite")).expect("a second connection")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn publish(engine: &Engine, item: &str) -> String {
    let xml = format!(
        "<iq type='set' id='p' from='romeo@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='n'><item id='{item}'><x xmlns='urn:x'/></item></publish>\
         <publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
         <field var='pubsub#max_items'><value>max</value></field></x></publish-options></pubsub></iq>"
    );
    answer(&engine.handle(NOW, &Input::stanza(xml)).expect("an answer"))
}

fn items(engine: &Engine) -> String {
    let xml = "<iq type='get' id='g' from='romeo@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
               <items node='n'/></pubsub></iq>";
    answer(&engine.handle(NOW, &Input::stanza(xml)).expect("an answer"))
}

fn answer(outcome: &Outcome) -> String {
    let stanza = outcome.decisions.iter().find_map(|decision| match decision {
        Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza.clone()),
        _ => None,
    });
    stanza.expect("an IQ is always answered")
}

#[test]
fn a_locked_file() {
    let folder = Folder::new("locked");
    let engine = folder.engine();
    assert!(publish(&engine, "1").contains("type='result'"));
    let other = folder.connection();
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let refused = publish(&engine, "2");
    assert!(refused.contains("<error type='wait'><internal-server-error"), "{refused}");
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    let kept = items(&engine);
    assert!(kept.contains("id='1'") && !kept.contains("id='2'"), "{kept}");
    assert!(publish(&engine, "3").contains("type='result'"));
    let kept = items(&engine);
    assert!(kept.contains("id='1'") && !kept.contains("id='2'") && kept.contains("id='3'"), "{kept}");
}

#[test]
fn a_table_that_cannot_be_written() {
    let folder = Folder::new("damaged");
    let engine = folder.engine();
    assert!(publish(&engine, "1").contains("type='result'"));
    let other = folder.connection();
    // Fails in the middle of the transaction, after the first rows were written.
    other
        .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON items BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END")
        .expect("a trigger");
    let refused = publish(&engine, "2");
    assert!(refused.contains("<error type='wait'><internal-server-error"), "{refused}");
    let missing = "<iq type='set' id='p' from='juliet@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                   <publish node='fresh'><item><x xmlns='urn:x'/></item></publish></pubsub></iq>";
    let refused = answer(&engine.handle(NOW, &Input::stanza(missing)).expect("an answer"));
    assert!(refused.contains("<error type='wait'><internal-server-error"), "{refused}");
    other.execute_batch("DROP TRIGGER broken").expect("mended");
    let kept = items(&engine);
    assert!(kept.contains("id='1'") && !kept.contains("id='2'"), "{kept}");
    assert!(publish(&engine, "3").contains("type='result'"));
    // The node of the publish that failed was not left behind.
    let gone = "<iq type='get' id='g' from='juliet@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                <items node='fresh'/></pubsub></iq>";
    let gone = answer(&engine.handle(NOW, &Input::stanza(gone)).expect("an answer"));
    assert!(gone.contains("item-not-found"), "{gone}");
}

#[test]
fn one_failure_in_a_group_is_its_own() {
    use std::sync::mpsc;
    let folder = Folder::new("group");
    let engine = folder.engine();
    let other = folder.connection();
    assert!(publish(&engine, "1").contains("type='result'"));
    other
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON items WHEN NEW.id = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END",
        )
        .expect("a trigger");
    let (sender, receiver) = mpsc::channel();
    for item in ["2", "bad", "3"] {
        let xml = format!(
            "<iq type='set' id='{item}' from='romeo@localhost/a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='n'><item id='{item}'><x xmlns='urn:x'/></item></publish></pubsub></iq>"
        );
        let sender = sender.clone();
        let done = Box::new(move |outcome: Outcome| sender.send(answer(&outcome)).expect("the test listens"));
        engine.submit(NOW, Input::stanza(xml), done).expect("queued");
    }
    let answers: Vec<String> = receiver.iter().take(3).collect();
    assert!(answers[0].contains("id='2'") && answers[0].contains("type='result'"), "{answers:?}");
    assert!(answers[1].contains("id='bad'") && answers[1].contains("internal-server-error"), "{answers:?}");
    assert!(answers[2].contains("id='3'") && answers[2].contains("type='result'"), "{answers:?}");
    let kept = items(&engine);
    assert!(kept.contains("id='2'") && kept.contains("id='3'") && !kept.contains("id='bad'"), "{kept}");
}
