//! What the store holds of rooms: nothing of those who left, nothing of occupants after a restart (XEP-0316).

use pam_pps::{Config, Decision, Engine, Input, InputKind, Need, RoomAffiliation, RoomInfo, ServiceKind, Timestamp};

const DOMAIN: &str = "rooms.example";
const ROOM: &str = "coven@rooms.example";

fn open(database: &str) -> Engine {
    let mut config = Config::new();
    config.set("database", database).expect("a name");
    let engine = Engine::open(&config).expect("a store");
    engine.serve(DOMAIN, ServiceKind::Rooms, &Config::new()).expect("rooms");
    engine
}

fn give(engine: &Engine, mut input: Input) -> Vec<Decision> {
    loop {
        let outcome = engine.handle(Timestamp::from_micros(1_800_000_000_000_000), &input).expect("handled");
        if !outcome.needs_facts() {
            return outcome.decisions;
        }
        for decision in &outcome.decisions {
            match decision {
                Decision::Need(Need::Room { who, room }) => {
                    input.facts.insert_room(who, room, RoomAffiliation::None, true);
                }
                Decision::Need(Need::RoomInfo(room)) => input.facts.insert_room_info(room, RoomInfo::default()),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn show(engine: &Engine, nick: &str, client: &str, kind: &str) {
    let xml = format!(
        "<presence {kind} from='{ROOM}/{nick}' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <item jid='{client}'/></x></presence>"
    );
    give(engine, Input::stanza(xml));
}

fn publish(engine: &Engine, from: &str, to: &str, privileged: bool) {
    let mut input = Input::stanza(format!(
        "<iq type='set' id='1' from='{from}' to='{to}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='n'><item id='1'><x xmlns='urn:x'/></item></publish></pubsub></iq>"
    ));
    input.privileged = privileged;
    let decisions = give(engine, input);
    assert!(
        decisions.iter().any(|d| matches!(d, Decision::Route { stanza } if stanza.contains("type='result'"))),
        "{decisions:?}"
    );
}

fn rows(engine: &Engine) -> (i64, i64, i64) {
    let figures = engine.statistics().expect("figures");
    let figure = |name| figures.iter().find(|(known, _)| known == name).map_or(-1, |(_, value)| *value);
    (figure("services"), figure("nodes"), figure("items"))
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let engine = open("memory");
    publish(&engine, ROOM, ROOM, true);
    let room_alone = rows(&engine);
    for n in 0..200 {
        let (nick, client) = (format!("n{n}"), format!("p{n}@a.example/r"));
        show(&engine, &nick, &client, "");
        publish(&engine, &client, &format!("{ROOM}/{nick}"), false);
    }
    assert_eq!(rows(&engine), (room_alone.0 + 200, 201, 201));
    for n in 0..100 {
        show(&engine, &format!("n{n}"), &format!("p{n}@a.example/r"), "type='unavailable'");
    }
    assert_eq!(rows(&engine), (room_alone.0 + 100, 101, 101));
    give(&engine, Input::new(InputKind::AccountRemoved(ROOM.to_owned())));
    give(&engine, Input::tick());
    assert_eq!(rows(&engine), (0, 0, 0));
}

#[test]
fn a_destroyed_room_is_forgotten_in_steps() {
    let engine = open("memory");
    let join = |n: usize| {
        let (nick, client) = (format!("n{n}"), format!("p{n}@a.example/r"));
        show(&engine, &nick, &client, "");
        publish(&engine, &client, &format!("{ROOM}/{nick}"), false);
    };
    (0..1_200).for_each(join);
    give(&engine, Input::tick());
    let wakes = |decisions: Vec<Decision>| decisions.iter().any(|decision| matches!(decision, Decision::Wake(_)));
    assert!(wakes(give(&engine, Input::new(InputKind::AccountRemoved(ROOM.to_owned())))));
    // Others come to a room of that name before all is done; nothing of theirs is lost.
    join(5_000);
    let mut left = vec![rows(&engine).2];
    while wakes(give(&engine, Input::tick())) && left.len() < 10 {
        left.push(rows(&engine).2);
    }
    assert!(left.len() >= 3 && left.windows(2).all(|pair| pair[0] - pair[1] <= 500), "a part with each tick: {left:?}");
    assert_eq!(rows(&engine).2, 2, "the one who came later has an item, and so has the room");
}

#[test]
fn what_rooms_say_of_themselves_can_be_turned_off() {
    let engine = Engine::open(&Config::new()).expect("memory");
    let mut options = Config::new();
    options.set("conference_info", "false").expect("a boolean");
    engine.serve(DOMAIN, ServiceKind::Rooms, &options).expect("rooms");
    let quiet = |input: Input| {
        let outcome = engine.handle(Timestamp::from_micros(1_800_000_000_000_000), &input).expect("handled");
        assert!(outcome.decisions.iter().all(|decision| *decision == Decision::Pass), "{outcome:?}");
    };
    let item = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='romeo@a.example/r'/></x>";
    quiet(Input::stanza(format!("<presence from='{ROOM}/romeo' to='{ROOM}'>{item}</presence>")));
    quiet(Input::new(InputKind::RoomChanged(ROOM.to_owned())));
    quiet(Input::tick());
}

#[test]
fn a_restart_keeps_what_the_room_has() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rooms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let database = folder.join("store.sqlite").display().to_string();
    let engine = open(&database);
    publish(&engine, ROOM, ROOM, true);
    show(&engine, "romeo", "romeo@a.example/r", "");
    publish(&engine, "romeo@a.example/r", &format!("{ROOM}/romeo"), false);
    drop(engine);
    let names = || {
        let file = rusqlite::Connection::open(&database).expect("a database");
        let mut rows = file.prepare("SELECT jid FROM services ORDER BY jid").expect("a table");
        let names = rows.query_map([], |row| row.get::<_, String>(0)).expect("names");
        names.collect::<Result<Vec<_>, _>>().expect("text")
    };
    assert_eq!(names().len(), 2);
    drop(open(&database));
    assert_eq!(names(), [ROOM]);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
