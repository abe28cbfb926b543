//! What a room publishes of itself without anybody's doing: its conference information (XEP-0316, section 2), in the format
//! of RFC 4575, at the node `urn:ietf:params:xml:ns:conference-info`.
//!
//! It holds the name, the description and the subject, which the host tells, and how many occupants there are; never who
//! they are. Name and description change for people to notice: then the item says so in words, in an `<activity/>` inside
//! (that is what Converse.js shows). What changes soon after something was published waits, the longer the more clients
//! are to be told: a crowd that comes or goes makes no storm.

use std::sync::Arc;

use super::{DocumentInfo, Extension};
use crate::engine::RoomInfo;
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::dispatch;
use crate::engine::rooms::Conference;
use crate::jid::BareJid;
use crate::ns;
use crate::pubsub::Node;
use crate::time::Timestamp;
use crate::xml::Writer;

/// The node has one item.
const ITEM: &str = "current";

/// Seconds between two publications if what the room says has changed.
const PAUSE: i64 = 1;

/// The same if it is only the number of occupants.
const LONG_PAUSE: i64 = 5;

/// So many notifications a second are not too many, for a number of occupants.
const RATE: usize = 20;

/// Rooms that publish in one tick; the next one follows at once if there are more.
const STEP: usize = 50;

pub(crate) struct ConferenceInfo;

impl Extension for ConferenceInfo {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[]
    }

    fn serves_rooms(&self) -> bool {
        true
    }

    fn next_tick(&self, context: &mut Context<'_>) -> Option<Timestamp> {
        context.memory.presences.rooms().next_conference().map(|(due, _)| due)
    }

    fn on_tick(&self, context: &mut Context<'_>) -> Handled<()> {
        for _ in 0..STEP {
            let next = context.memory.presences.rooms().next_conference();
            let Some((_, room)) = next.filter(|(due, _)| *due <= context.now) else { break };
            context.publish_conference(&room)?;
        }
        Ok(())
    }
}

impl Context<'_> {
    /// Somebody comes to an empty room, or the room says something else of itself.
    pub(crate) fn room_described(&mut self, room: &ServiceRef) -> Handled<()> {
        if !room.host.conference_info {
            return Ok(());
        }
        let info = self.room_info(&room.name)?;
        let conference = self.memory.presences.rooms().conference(&room.name).cloned().unwrap_or_default();
        let conference = Conference { info: Arc::new(info), ..conference };
        self.plan_conference(room, conference, PAUSE);
        Ok(())
    }

    /// Somebody has come or gone.
    pub(crate) fn occupants_changed(&mut self, room: &ServiceRef) {
        let rooms = self.memory.presences.rooms();
        if let Some(conference) = rooms.conference(&room.name).cloned() {
            let told = rooms.count_wanting(&room.name, ns::CONFERENCE_INFO);
            let pause = i64::try_from(told / RATE).unwrap_or(i64::MAX).max(LONG_PAUSE);
            self.plan_conference(room, conference, pause);
        }
    }

    fn plan_conference(&mut self, room: &ServiceRef, conference: Conference, pause: i64) {
        let after = conference.at.map_or(self.now, |at| at.plus_seconds(pause).max(self.now));
        let due = conference.due.map_or(after, |due| due.min(after));
        self.memory.presences.put_conference(&room.name, Some(Conference { due: Some(due), ..conference }));
        self.wake_at(due);
    }

    /// Whether an event of the node follows right after this input, so that its last item need not be sent now.
    pub(crate) fn follows_at_once(&mut self, service: &ServiceRef, node: &Node) -> bool {
        if node.name.as_str() != ns::CONFERENCE_INFO || service.is_occupant() {
            return false;
        }
        let conference = self.memory.presences.rooms().conference(&service.name).cloned();
        let Some(conference) = conference.filter(|conference| conference.due.is_some_and(|due| due <= self.now)) else {
            return false;
        };
        self.memory.presences.put_conference(&service.name, Some(Conference { owed: true, ..conference }));
        true
    }

    fn publish_conference(&mut self, room: &Arc<str>) -> Handled<()> {
        let rooms = self.memory.presences.rooms();
        let Some(conference) = rooms.conference(room).cloned() else { return Ok(()) };
        let count = rooms.count(room);
        let news = Some((conference.info.clone(), count));
        let says = conference.owed || conference.said != news;
        let next = Conference { due: None, owed: false, ..conference.clone() };
        let Some(service) = self.service_at(&BareJid::from_prepared(room)).filter(|_| says) else {
            self.memory.presences.put_conference(room, Some(next));
            return Ok(());
        };
        let next = Conference { said: news, at: Some(self.now), ..next };
        self.memory.presences.put_conference(room, Some(next));
        let before = conference.said.as_ref().map(|(info, _)| info.as_ref());
        let payload = conference_info(&service.jid, &conference.info, before, count);
        match dispatch::publish(self, &service, ns::CONFERENCE_INFO, Some(ITEM), &payload) {
            // Too long, or no room for one more node: the room goes without.
            Ok(_) | Err(Stop::Refused(_)) => Ok(()),
            Err(stop) => Err(stop),
        }
    }
}

fn conference_info(room: &BareJid, info: &RoomInfo, before: Option<&RoomInfo>, occupants: usize) -> String {
    let mut writer = Writer::with_capacity(512);
    writer.start_ns("conference-info", ns::CONFERENCE_INFO).attr("entity", &uri(room));
    writer.start("conference-description");
    for (name, text) in [("display-text", &info.name), ("subject", &info.subject), ("free-text", &info.description)] {
        if !text.is_empty() {
            writer.start(name).text(text).end();
        }
    }
    writer.end();
    writer.start("conference-state").start("user-count").text(&occupants.to_string()).end().end();
    if let Some(words) = before.and_then(|before| in_words(before, info)) {
        writer.start_ns("activity", ns::ACTIVITY).start("other").end();
        writer.start("text").attr("xml:lang", "en").text(&words);
    }
    writer.finish()
}

/// What has changed, as people are told. They are told of a new subject anyway (XEP-0045, section 8.1).
fn in_words(before: &RoomInfo, now: &RoomInfo) -> Option<String> {
    let mut words = Vec::new();
    if before.name != now.name {
        words.push(match now.name.as_str() {
            "" => "The room has no name any more.".to_owned(),
            name => format!("The room is now called \u{201c}{name}\u{201d}."),
        });
    }
    if before.description != now.description {
        words.push(match now.description.as_str() {
            "" => "The room has no description any more.".to_owned(),
            description => format!("The room is now described as \u{201c}{description}\u{201d}."),
        });
    }
    Some(words.join(" ")).filter(|words| !words.is_empty())
}

/// RFC 5122: the address as a URI.
fn uri(room: &BareJid) -> String {
    let mut uri = "xmpp:".to_owned();
    for byte in room.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::{conference_info, uri};
    use crate::engine::RoomInfo;
    use crate::jid::BareJid;

    fn info(name: &str, description: &str, subject: &str) -> RoomInfo {
        RoomInfo { name: name.to_owned(), description: description.to_owned(), subject: subject.to_owned() }
    }

    #[test]
    fn what_a_room_says() {
        let room = BareJid::parse("coven@chat.example").expect("a JID");
        let said = |info: &RoomInfo, before: Option<&RoomInfo>| conference_info(&room, info, before, 3);
        let state = "<conference-state><user-count>3</user-count></conference-state>";
        let root = "<conference-info xmlns='urn:ietf:params:xml:ns:conference-info' entity='xmpp:coven@chat.example'>";
        let nothing = info("", "", "");
        assert_eq!(said(&nothing, None), format!("{root}<conference-description/>{state}</conference-info>"));
        let all = info("A & B", "d", "s");
        let description = "<conference-description><display-text>A &amp; B</display-text><subject>s</subject>\
                           <free-text>d</free-text></conference-description>";
        assert_eq!(said(&all, None), format!("{root}{description}{state}</conference-info>"));
        assert_eq!(
            said(&all, Some(&info("A & B", "d", "t"))),
            said(&all, None),
            "of the subject people are told already"
        );
        let words = "The room is now called \u{201c}A &amp; B\u{201d}. The room is now described as \u{201c}d\u{201d}.";
        let activity = format!(
            "<activity xmlns='http://jabber.org/protocol/activity'><other/><text xml:lang='en'>{words}</text></activity>"
        );
        assert_eq!(said(&all, Some(&nothing)), format!("{root}{description}{state}{activity}</conference-info>"));
        assert!(said(&nothing, Some(&all)).contains("no name any more. The room has no description any more."));
    }

    #[test]
    fn addresses_as_uris() {
        let room = BareJid::parse("caf\u{e9}#1@chat.example").expect("a JID");
        assert_eq!(uri(&room), "xmpp:caf%C3%A9%231@chat.example");
    }
}
