//! What an administrator forces on nodes (option `force_node_config`) holds for those that are there already, from the moment
//! on at which it is set, and leaves no trace when it is taken away.

use std::sync::mpsc;

use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const NODE: &str = "urn:x:keys";

fn serve(engine: &Engine, forced: &str) {
    let mut config = Config::new();
    config.set("force_node_config", forced).expect("an option");
    engine.serve("localhost", ServiceKind::Accounts, &config).expect("a host");
}

/// By way of the queue: what only reads is answered by a reader, which has a cache of its own.
fn ask(engine: &Engine, kind: &str, from: &str, pubsub: &str) -> String {
    let stanza = format!("<iq type='{kind}' id='r' from='{from}@localhost/a' to='juliet@localhost'>{pubsub}</iq>");
    let (done, answer) = mpsc::channel();
    let completion = move |outcome| done.send(outcome).expect("somebody waits");
    engine.submit(NOW, Input::stanza(&stanza), Box::new(completion)).expect("a queue");
    let answer = answer.recv().expect("an outcome").decisions.into_iter().find_map(|decision| match decision {
        Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza),
        _ => None,
    });
    answer.expect("an IQ is always answered")
}

fn read(engine: &Engine) -> String {
    let pubsub = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{NODE}'/></pubsub>");
    ask(engine, "get", "romeo", &pubsub)
}

fn form(element: &str, access_model: &str, title: &str) -> String {
    format!(
        "<{element}><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/pubsub#node_config</value></field>\
         <field var='pubsub#access_model'><value>{access_model}</value></field>\
         <field var='pubsub#title'><value>{title}</value></field></x></{}>",
        element.split(' ').next().expect("a name")
    )
}

fn play(database: &str) {
    let mut config = Config::new();
    config.set("database", database).expect("an option");
    // The same one for all questions.
    config.set("readers", "1").expect("an option");
    let engine = Engine::open(&config).expect("a store");
    serve(&engine, "");
    let create = form("configure", "whitelist", "Old");
    let create = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='{NODE}'/>{create}</pubsub>");
    assert!(ask(&engine, "set", "juliet", &create).contains("type='result'"));
    assert!(read(&engine).contains("closed-node"));

    serve(&engine, "[urn:x:*]\naccess_model=open");
    assert!(read(&engine).contains("type='result'"));
    let configure = form(&format!("configure node='{NODE}'"), "whitelist", "New");
    let configure = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>{configure}</pubsub>");
    assert!(ask(&engine, "set", "juliet", &configure).contains("type='result'"));
    assert!(read(&engine).contains("type='result'"));

    serve(&engine, "");
    assert!(read(&engine).contains("closed-node"));
    let shown = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{NODE}'/></pubsub>");
    let shown = ask(&engine, "get", "juliet", &shown);
    assert!(shown.contains("<value>New</value>") && shown.contains("<value>whitelist</value>"), "{shown}");
}

#[test]
fn in_memory() {
    play("memory");
}

#[test]
fn with_readers() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("forced");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    play(folder.join("store.sqlite").to_str().expect("UTF-8"));
}

#[test]
fn what_is_wrong_is_refused_at_the_start() {
    let engine = Engine::open(&Config::new()).expect("a store");
    let serve = |kind, option, value| {
        let mut config = Config::new();
        config.set(option, value).expect("text");
        engine.serve("localhost", kind, &config).map_err(|why| why.to_string())
    };
    let why = serve(ServiceKind::Component, "default_node_config", "acces_model=open").expect_err("no such option");
    assert!(why.contains("default_node_config") && why.contains("acces_model"), "{why}");
    let why = serve(ServiceKind::Accounts, "force_node_config", "[x]\naccess_model=shut").expect_err("no such value");
    assert!(why.contains("force_node_config") && why.contains("shut"), "{why}");
    // A room has one access model.
    serve(ServiceKind::Rooms, "force_node_config", "access_model=open").expect_err("not in rooms");
    serve(ServiceKind::Rooms, "force_node_config", "access_model=presence\nmax_items=3").expect("fits rooms");
}
