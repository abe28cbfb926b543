//! A process that publishes and subscribes is killed with -9, twenty times at random moments, always on the same database.
//! Afterwards everything that was acknowledged is there, nothing is there half, all lists agree, and SQLite finds no fault.
//! What a room has published is there too; what its occupants have published is not.
//!
//! The process is this program itself, started for its test `victim`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, io, thread};

use pam_pps::{Config, Decision, Engine, Input, Outcome, RoomAffiliation, RosterSubscription, ServiceKind, Timestamp};

const JULIET: &str = "juliet@a.example";
const ROMEO: &str = "romeo@a.example";
const ROOM: &str = "coven@rooms.example";
const DATABASE: &str = "PAM_PPS_CRASH_DATABASE";
const START: &str = "PAM_PPS_CRASH_START";
const ROUNDS: u64 = 20;
const FOLLOWED: usize = 5;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn open(database: &Path) -> Engine {
    let mut config = Config::new();
    config.set("database", database.to_str().expect("the path is text")).expect("a file");
    let engine = Engine::open(&config).expect("the store opens");
    engine.serve("a.example", ServiceKind::Accounts, &Config::new()).expect("a host");
    let mut rooms = Config::new();
    rooms.set("conference_info", "false").expect("a boolean");
    engine.serve("rooms.example", ServiceKind::Rooms, &rooms).expect("rooms");
    engine
}

/// An input with all facts that may be needed.
fn input(from: &str, to: &str, kind: &str, payload: &str) -> Input {
    let mut input = Input::stanza(format!("<iq type='{kind}' id='q' from='{from}/r' to='{to}'>{payload}</iq>"));
    input.facts.insert_account(JULIET, true);
    input.facts.insert_account(ROMEO, true);
    input.facts.insert_roster(JULIET, ROMEO, RosterSubscription::Both, Vec::new());
    input.facts.insert_blocked(JULIET, ROMEO, false);
    input.facts.insert_room(&format!("{from}/r"), ROOM, RoomAffiliation::None, true);
    input.privileged = to == ROOM;
    input
}

fn two_items(number: usize) -> String {
    let item = |half: &str| format!("<item id='{half}{number}'><x xmlns='urn:x' n='{number}'/></item>");
    let publish = format!("<publish node='n'>{}{}</publish>", item("a"), item("b"));
    format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>")
}

/// Request `number`: two items in one publish, or the beginning or end of a subscription that is shown publicly.
fn request(number: usize) -> Input {
    if number.is_multiple_of(2) {
        // On the account, by the room, and by an occupant in turn.
        let occupant = format!("{ROOM}/romeo");
        let (from, to) = match number % 6 {
            0 => (JULIET, JULIET),
            2 => (ROOM, ROOM),
            _ => (ROMEO, occupant.as_str()),
        };
        return input(from, to, "set", &two_items(number));
    }
    let (node, begins) = followed(number);
    let (name, mark) = if begins { ("subscribe", "<public xmlns='urn:xmpp:pps:0'/>") } else { ("unsubscribe", "") };
    let change =
        format!("<{name} xmlns='http://jabber.org/protocol/pubsub' node='s{node}' jid='{ROMEO}'>{mark}</{name}>");
    input(ROMEO, ROMEO, "set", &format!("<pam xmlns='urn:xmpp:pam:0' jid='{JULIET}'>{change}</pam>"))
}

/// The node that a request is about, and whether it subscribes.
fn followed(number: usize) -> (usize, bool) {
    (number / 2 % FOLLOWED, (number / 2 / FOLLOWED).is_multiple_of(2))
}

fn answer(outcome: &Outcome) -> Option<&str> {
    outcome.decisions.iter().find_map(|decision| match decision {
        Decision::Route { stanza } if stanza.starts_with("<iq") => Some(stanza.as_str()),
        _ => None,
    })
}

fn say(what: &str, number: usize) {
    let mut stdout = io::stdout().lock();
    // One write, so that no line is there half.
    stdout.write_all(format!("\n{what} {number}\n").as_bytes()).and_then(|()| stdout.flush()).ok();
}

/// Works until it is killed; does nothing in a usual run of the tests.
#[test]
fn victim() {
    let (Ok(database), Ok(start)) = (env::var(DATABASE), env::var(START)) else { return };
    let engine = open(Path::new(&database));
    let presence = format!(
        "<presence from='{ROOM}/romeo' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <item jid='{ROMEO}/r'/></x></presence>"
    );
    engine.handle(NOW, &Input::stanza(presence)).expect("it makes sense");
    // A node with room for all of it; the room and the account have theirs already.
    let made =
        engine.handle(NOW, &input(ROMEO, &format!("{ROOM}/romeo"), "set", &create("n"))).expect("it makes sense");
    assert!(answer(&made).is_some_and(|answer| answer.contains("type='result'")), "{made:?}");
    let under_way = Arc::new(AtomicUsize::new(0));
    for number in start.parse().expect("a number").. {
        while under_way.load(Ordering::Acquire) > 32 {
            thread::yield_now();
        }
        under_way.fetch_add(1, Ordering::AcqRel);
        say("asked", number);
        let count = Arc::clone(&under_way);
        let done = Box::new(move |outcome: Outcome| {
            let well = answer(&outcome).is_some_and(|answer| answer.contains("type='result'"));
            say(if well { "done" } else { "refused" }, number);
            count.fetch_sub(1, Ordering::AcqRel);
        });
        engine.submit(NOW, request(number), done).expect("the engine takes it");
    }
}

/// What the victim said.
#[derive(Default)]
struct Said {
    asked: usize,
    done: BTreeSet<usize>,
    /// By followed node: what it was last asked to be, and that it was acknowledged.
    nodes: BTreeMap<usize, (bool, bool)>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse::<usize>() else { return };
        match what {
            "asked" => {
                self.asked = number;
                if number % 2 == 1 {
                    let (node, begins) = followed(number);
                    self.nodes.insert(node, (begins, false));
                }
            }
            "done" => {
                self.done.insert(number);
                let (node, begins) = followed(number);
                // Only the last request to a node says what it is now.
                if number % 2 == 1 && number + 2 * FOLLOWED > self.asked {
                    self.nodes.insert(node, (begins, true));
                }
            }
            "refused" => panic!("request {number} was refused"),
            _ => {}
        }
    }
}

fn kill_once(database: &Path, start: usize, acknowledged: usize, delay: Duration) -> Said {
    let mut command = Command::new(env::current_exe().expect("a program knows where it is"));
    command.args(["victim", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DATABASE, database).env(START, start.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut victim = command.spawn().expect("this program can be started again");
    let mut said = Said::default();
    let mut killed = false;
    for line in BufReader::new(victim.stdout.take().expect("it is piped")).split(b'\n') {
        said.hear(&String::from_utf8_lossy(&line.expect("a pipe can be read")));
        if !killed && said.done.len() >= acknowledged {
            killed = true;
            thread::sleep(delay);
            victim.kill().expect("it is running");
        }
    }
    let status = victim.wait().expect("it was started");
    assert!(killed && !status.success(), "the victim ended by itself: {status}");
    said
}

fn ask(engine: &Engine, from: &str, to: &str, payload: &str) -> String {
    let mut input = input(from, to, "get", payload);
    input.privileged = from == JULIET || to == ROOM;
    let outcome = engine.handle(NOW, &input).expect("it makes sense");
    let answer = answer(&outcome).unwrap_or_else(|| panic!("no answer in {outcome:?}")).to_owned();
    assert!(answer.contains("type='result'"), "{answer}");
    answer
}

/// The values of an attribute, in the order in which they stand.
fn values(text: &str, before: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once('\'')?.0.to_owned())).collect()
}

/// All item ids of an account or a room, oldest first.
fn items(engine: &Engine, service: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().map(|id| format!("<after>{id}</after>")).unwrap_or_default();
        let set = format!("<set xmlns='http://jabber.org/protocol/rsm'><max>500</max>{after}</set>");
        let payload = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/>{set}</pubsub>");
        let answer = ask(engine, service, service, &payload);
        let page = values(&answer, "<item id='");
        let count: usize =
            answer.split("<count>").nth(1).and_then(|rest| rest.split('<').next()?.parse().ok()).unwrap_or(0);
        all.extend(page);
        if all.len() >= count {
            assert_eq!(all.len(), count, "the count is that of the items");
            return all;
        }
    }
}

/// What each list says that Romeo follows: his own two, and those of each node.
fn lists(engine: &Engine) -> [BTreeSet<String>; 4] {
    let items =
        |node: &str| format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>");
    let public = ask(engine, ROMEO, ROMEO, &items("urn:xmpp:pps:subscriptions:0"));
    let managed = ask(engine, ROMEO, ROMEO, "<subscriptions xmlns='urn:xmpp:pam:0'/>");
    let mut at_nodes = [BTreeSet::new(), BTreeSet::new()];
    for node in (0..FOLLOWED).map(|node| format!("s{node}")) {
        let subscriptions =
            format!("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><subscriptions node='{node}'/></pubsub>");
        let asked = [subscriptions, items(&format!("urn:xmpp:pps:subscribers:0/{node}"))];
        for (list, payload) in at_nodes.iter_mut().zip(asked) {
            if ask(engine, JULIET, JULIET, &payload).contains(&format!("jid='{ROMEO}'")) {
                list.insert(node.clone());
            }
        }
    }
    let [subscribed, shown] = at_nodes;
    let nodes = |text: &str| values(text, " node='").into_iter().filter(|node| node.len() == 2).collect();
    [subscribed, shown, nodes(&public), nodes(&managed)]
}

fn check(database: &Path, all: &BTreeSet<usize>, last: &Said) {
    let engine = open(database);
    for (service, place) in [(JULIET, 0), (ROOM, 2)] {
        let found = items(&engine, service);
        let numbers: Vec<usize> = found.iter().map(|id| id[1..].parse().expect("ids are ours")).collect();
        assert!(numbers.is_sorted(), "the order is that of publication");
        let present: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(present.len(), found.len(), "no item is there twice");
        for number in all.iter().filter(|number| **number % 6 == place) {
            assert!(present.contains(&*format!("a{number}")), "item a{number} was acknowledged and is gone");
        }
        for id in &present {
            let other = id.strip_prefix('a').map_or_else(|| format!("a{}", &id[1..]), |rest| format!("b{rest}"));
            assert!(present.contains(&*other), "{id} is there without {other}");
        }
    }

    let [subscribed, shown, public, managed] = lists(&engine);
    assert_eq!(subscribed, shown, "subscribers, and those shown");
    assert_eq!(subscribed, public, "at the nodes, and what Romeo shows");
    assert_eq!(subscribed, managed, "at the nodes, and what Romeo's account keeps");
    for (node, (begins, acknowledged)) in &last.nodes {
        if *acknowledged {
            assert_eq!(subscribed.contains(&format!("s{node}")), *begins, "s{node} is not as it was acknowledged");
        }
    }
    drop(engine);
    let connection = rusqlite::Connection::open(database).expect("SQLite opens it");
    for pragma in ["integrity_check", "foreign_key_check"] {
        let mut statement = connection.prepare(&format!("PRAGMA {pragma}")).expect("SQLite knows it");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("it runs");
        let said: Vec<String> = rows.map(|row| row.expect("a row")).collect();
        assert!(said.is_empty() || said == ["ok"], "{pragma}: {said:?}");
    }
    let services = "SELECT group_concat(jid, ' ') FROM (SELECT jid FROM services ORDER BY jid)";
    let services: String = connection.query_row(services, [], |row| row.get(0)).expect("names");
    assert_eq!(services, format!("{ROOM} {JULIET}"), "nothing is left of occupants");
}

/// The request for a node that keeps all of its items.
fn create(node: &str) -> String {
    let field = |name: &str, value: &str| format!("<field var='pubsub#{name}'><value>{value}</value></field>");
    let fields = [field("max_items", "max"), field("notify_retract", "false")].concat();
    let form = format!("<configure><x xmlns='jabber:x:data' type='submit'>{fields}</x></configure>");
    format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='{node}'/>{form}</pubsub>")
}

#[test]
fn what_was_acknowledged_survives() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it is ours");
    }
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let database = folder.join("engine.sqlite");
    let engine = open(&database);
    for node in ["n", "s0", "s1", "s2", "s3", "s4"] {
        for service in [JULIET, ROOM] {
            if service == JULIET || node == "n" {
                let outcome =
                    engine.handle(NOW, &input(service, service, "set", &create(node))).expect("it makes sense");
                assert!(answer(&outcome).is_some_and(|answer| answer.contains("type='result'")), "{outcome:?}");
            }
        }
    }
    drop(engine);

    let (mut all, mut random) = (BTreeSet::new(), 0x70616D_u64);
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (acknowledged, delay) = (1 + random % 200, Duration::from_micros(random / 256 % 3_000));
        // Each round begins at a multiple of the period, so that a subscription is asked for first.
        let start = usize::try_from(round).expect("it is small") * 100_000;
        let said = kill_once(&database, start, usize::try_from(acknowledged).expect("it is small"), delay);
        println!("round {round}: {} asked, {} acknowledged", said.asked + 1 - start, said.done.len());
        all.extend(&said.done);
        check(&database, &all, &said);
    }
}
