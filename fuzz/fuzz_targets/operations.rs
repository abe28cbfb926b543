//! Sequences of operations: each takes a few bytes of the input.
#![cfg_attr(fuzzing, no_main)]

use pam_pps::InputKind;
use pam_pps_fuzz::server::{PEOPLE, ROOMS, SERVICES, Server};

pam_pps_fuzz::target!("operations", play);

const NODES: [&str; 6] =
    ["n", "m", "urn:xmpp:pps:subscriptions:0", "urn:xmpp:pps:subscribers:0/n", "presence", "urn:pam_pps:roster:0"];
const NICKS: [&str; 3] = ["one", "two", "three"];
const AFFILIATIONS: [&str; 6] = ["owner", "publisher", "publish-only", "member", "none", "outcast"];
const FIELDS: [(&str, &[&str]); 8] = [
    ("access_model", &["open", "presence", "roster", "whitelist", "authorize"]),
    ("publish_model", &["open", "publishers", "subscribers"]),
    ("max_items", &["0", "1", "3", "max"]),
    ("item_expire", &["0", "1", "60", "max"]),
    ("persist_items", &["true", "false"]),
    ("deliver_payloads", &["true", "false"]),
    ("publish_node_full", &["retract-oldest", "discard-oldest", "reject"]),
    ("send_last_published_item", &["never", "on_sub", "on_sub_and_presence"]),
];

/// Something in a room: somebody comes, goes, or has another nick; or it ends.
fn in_room(server: &mut Server, what: usize, who: &str, room: &str, nick: &str, other: &str) {
    let muc = |item: &str| format!("<x xmlns='http://jabber.org/protocol/muc#user'><item jid='{who}'{item}</x>");
    let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='";
    let shown = match what % 8 {
        0 => format!("/>{}", muc("/>")),
        1 => format!("/>{caps}one'/>{}", muc("/>")),
        2 => format!("/>{caps}two'/>{}", muc("/>")),
        3 | 4 => format!(" type='unavailable'/>{}", muc("/>")),
        5 => format!(" type='unavailable'/>{}", muc(&format!(" nick='{other}'/><status code='303'/>"))),
        6 => return server.input(InputKind::RoomChanged(room.to_owned()), false),
        _ if nick == NICKS[0] => return server.input(InputKind::AccountRemoved(room.to_owned()), false),
        _ => {
            // The client answers the last question, whoever was asked.
            let features = "<feature var='n+notify'/><feature var='urn:ietf:params:xml:ns:conference-info+notify'/>";
            let query = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>");
            return server
                .stanza(format!("<iq type='result' id='{}' from='{who}' to='{room}'>{query}</iq>", server.asked()));
        }
    };
    let (attributes, content) = shown.split_once("/>").unwrap_or_default();
    server.stanza(format!("<presence from='{room}/{nick}' to='{room}'{attributes}>{content}</presence>"));
}

fn play(data: &[u8]) {
    let mut server = Server::new(["false", "rooms", "conversations"][data.len() % 3]);
    for bytes in data.chunks(5).take(200) {
        let byte = |place: usize| bytes.get(place).map_or(0, |byte| usize::from(*byte));
        // From 200 on it happens in a room.
        let room = ROOMS[byte(1) / 4 % 2];
        let occupant = format!("{room}/{}", NICKS[byte(1) / 8 % 3]);
        let (who, to) = (PEOPLE[byte(1) % 4], SERVICES[byte(1) / 4 % 4]);
        let to = match byte(0) {
            0..200 => to,
            _ if byte(1) >= 128 => room,
            _ => &occupant,
        };
        let (node, value) = (NODES[byte(2) % 6], byte(3));
        let bare = PEOPLE[value % 4].split('/').next().unwrap_or("");
        let (field, values) = FIELDS[value % 8];
        let form = format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='pubsub#{field}'><value>{}</value></field></x>",
            values[byte(4) % values.len()]
        );
        let mut ask = |kind: &str, owner: &str, inside: String| {
            server.stanza(format!(
                "<iq type='{kind}' id='q' from='{who}' to='{to}'>\
                 <pubsub xmlns='http://jabber.org/protocol/pubsub{owner}'>{inside}</pubsub></iq>"
            ));
        };
        let item = |id: usize| match id % 8 {
            5 => "<item><presence xmlns='jabber:client' from='a'/></item>".to_owned(),
            6 => "<item><presence xmlns='jabber:client' type='unavailable'/></item>".to_owned(),
            id => format!("<item id='i{}'><x xmlns='urn:x'/></item>", id % 5),
        };
        let mark = if value & 4 == 0 { "" } else { "<public xmlns='urn:xmpp:pps:0'/>" };
        let jid = if value & 8 == 0 { bare } else { who };
        let nick = format!("<field var='roomnick'><value>{}</value></field>", ["", "a", "b", "\u{c0}"][byte(4) % 4]);
        let options = format!("<options><x xmlns='jabber:x:data' type='submit'>{nick}</x></options>");
        let options = if value & 16 == 0 { "" } else { &options };
        let subscribe = format!("<subscribe node='{node}' jid='{jid}'>{mark}</subscribe>{options}");
        if byte(0) >= 240 {
            in_room(&mut server, byte(0), who, room, NICKS[byte(1) / 8 % 3], NICKS[value % 3]);
            continue;
        }
        match byte(0) % 21 {
            0 => ask("set", "", format!("<create node='{node}'/><configure>{form}</configure>")),
            1..=3 => ask("set", "", format!("<publish node='{node}'>{}{}</publish>", item(value), item(byte(4)))),
            4 => ask("set", "", format!("<retract node='{node}' notify='true'>{}</retract>", item(value))),
            5 => ask("set", "#owner", format!("<purge node='{node}'/>")),
            6 => ask("set", "#owner", format!("<delete node='{node}'/>")),
            7 => ask("set", "#owner", format!("<configure node='{node}'>{form}</configure>")),
            8 => ask("set", "", subscribe),
            9 => ask("set", "", format!("<unsubscribe node='{node}' jid='{jid}'/>")),
            10 => {
                let affiliation = AFFILIATIONS[byte(4) % 6];
                let entry = format!("<affiliation jid='{bare}' affiliation='{affiliation}'/>");
                ask("set", "#owner", format!("<affiliations node='{node}'>{entry}</affiliations>"));
            }
            11 => {
                let state = ["subscribed", "none", "pending"][byte(4) % 3];
                let entry = format!("<subscription jid='{bare}' subscription='{state}'/>");
                ask("set", "#owner", format!("<subscriptions node='{node}'>{entry}</subscriptions>"));
            }
            12 => {
                let place =
                    ["", "<before/>", "<after>i1</after>", "<before>i2</before>", "<index>1</index>"][value % 5];
                let set =
                    format!("<set xmlns='http://jabber.org/protocol/rsm'><max>{}</max>{place}</set>", byte(4) % 4);
                ask("get", "", format!("<items node='{node}'/>{set}"));
            }
            13 => {
                let own = who.split('/').next().unwrap_or("");
                let subscribe = subscribe.replacen(" node=", " xmlns='http://jabber.org/protocol/pubsub' node=", 1);
                let pam = format!("<pam xmlns='urn:xmpp:pam:0' jid='{to}'>{subscribe}</pam>");
                server.stanza(format!("<iq type='set' id='q' from='{who}' to='{own}'>{pam}</iq>"));
            }
            14 => {
                let kind = ["", " type='unavailable'", " type='error'"][value % 3];
                server.stanza(format!("<presence from='{who}' to='{to}'{kind}/>"));
            }
            15 => {
                let (owner, contact) = ("juliet@a.example".to_owned(), bare.to_owned());
                server.facts = byte(4) as u8;
                server.input(InputKind::RosterChanged { owner, contact }, false);
            }
            16 => server.pass(value as i64),
            17 => server.input(InputKind::SessionEnded(who.to_owned()), false),
            18 if value == 0 => server.input(InputKind::AccountRemoved(bare.to_owned()), false),
            18 => server.input(InputKind::Command(format!("list-nodes {to}")), true),
            20 => {
                let answer = format!(
                    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>\
                     <field var='pubsub#node'><value>{node}</value></field><field var='pubsub#allow'><value>{}</value></field>\
                     <field var='pubsub#subscriber_jid'><value>{jid}</value></field>",
                    byte(4) & 1
                );
                let x = format!("<x xmlns='jabber:x:data' type='submit'>{answer}</x>");
                server.stanza(format!("<message from='{who}' to='{to}'>{x}</message>"));
            }
            _ => server.facts = byte(4) as u8,
        }
    }
    server.pass(1_000_000);
}
