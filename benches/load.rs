//! Load for a live server from external components (XEP-0114): what `benches/run.py` starts.
//!
//! ```text
//! load --bench WHAT port=N service=JID [pid=N] [kept=N] [subscribers=N] [seconds=S] [window=N] [node=NAME]
//! ```
//!
//! Prints one line of JSON: operations (or notifications) in a second, the server's processor time for each in
//! microseconds, and what else the kind of load measures.

#![allow(missing_docs)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

const PUBLISHER: &str = "publisher.localhost";
const RECEIVER: &str = "receiver.localhost";
const PINGER: &str = "pinger.localhost";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Bytes of a payload.
const PAYLOAD: usize = 300;
/// A server that says nothing for so long is not going to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options as `name=value`.
struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("option {name} is missing"))
    }

    fn number(&self, name: &str, otherwise: f64) -> f64 {
        self.0.get(name).map_or(otherwise, |text| text.parse().expect("a number"))
    }
}

/// A component's stream. Stanzas are told apart by the beginnings of their tags, which no payload here contains.
struct Stream {
    socket: TcpStream,
    rest: Vec<u8>,
}

impl Stream {
    fn connect(port: u16, domain: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_nodelay(true).expect("no delay");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let open = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
        );
        socket.write_all(open.as_bytes()).expect("written");
        let mut stream = Self { socket, rest: Vec::new() };
        let header = stream.read_until("<stream:stream", ">");
        let id = [" id='", " id=\""].iter().find_map(|begin| {
            let rest = &header[header.find(begin)? + begin.len()..];
            rest.split(['\'', '"']).next()
        });
        let hash = Sha1::digest(format!("{}secret", id.expect("an id")));
        let hex = hash.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        stream.send(&format!("<handshake>{hex}</handshake>"));
        stream.read_until("<handshake", ">");
        stream.rest.clear();
        stream
    }

    fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("the server reads");
    }

    fn read_until(&mut self, begin: &str, end: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            if text.find(begin).is_some_and(|at| text[at..].contains(end)) {
                return text[text.find(begin).unwrap_or(0)..].to_owned();
            }
            let mut buffer = [0; 4096];
            let read = self.socket.read(&mut buffer).expect("the server answers");
            assert!(read > 0, "the server closed the stream: {text}");
            self.rest.extend_from_slice(&buffer[..read]);
        }
    }

    /// Reads what is there and counts the stanzas that begin with `tag`.
    fn count(&mut self, tag: &[u8]) -> u64 {
        let mut buffer = vec![0; 64 * 1024];
        let read = self.socket.read(&mut buffer).expect("the server answers");
        assert!(read > 0, "the server closed the stream");
        self.rest.extend_from_slice(&buffer[..read]);
        let found = memmem(&self.rest, tag);
        let error = b"type='error'";
        if memmem(&self.rest, error) > 0 {
            panic!("refused: {}", String::from_utf8_lossy(&self.rest));
        }
        // The beginning of a tag may be in this piece and its end in the next.
        let keep = self.rest.len().saturating_sub(error.len() - 1);
        let found_later = memmem(&self.rest[keep..], tag);
        self.rest.drain(..keep);
        found - found_later
    }
}

fn memmem(text: &[u8], part: &[u8]) -> u64 {
    let mut count = 0;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&byte| byte == part[0]) {
        from += at;
        if text[from..].starts_with(part) {
            count += 1;
        }
        from += 1;
    }
    count
}

/// Gives requests with at most `window` unanswered, as long as `next` has any; how many were answered.
fn drive(stream: &mut Stream, window: u64, mut next: impl FnMut(u64, &mut String) -> bool) -> u64 {
    let (mut sent, mut answered, mut more) = (0, 0, true);
    let mut text = String::new();
    loop {
        text.clear();
        while more && sent - answered < window {
            let before = text.len();
            more = next(sent, &mut text);
            if more {
                sent += 1;
            } else {
                text.truncate(before);
            }
        }
        if !text.is_empty() {
            stream.send(&text);
        }
        if sent == answered {
            return answered;
        }
        answered += stream.count(b"<iq ");
    }
}

fn request(text: &mut String, kind: &str, from: &str, service: &str, inside: std::fmt::Arguments<'_>) {
    let _ = write!(
        text,
        "<iq type='{kind}' id='r' from='{from}' to='{service}'><pubsub xmlns='{PUBSUB}'>{inside}</pubsub></iq>"
    );
}

fn create(text: &mut String, service: &str, node: &str, kept: u64) {
    request(
        text,
        "set",
        &sender(),
        service,
        format_args!(
            "<create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
         <value>{PUBSUB}#node_config</value></field><field var='pubsub#persist_items'><value>{}</value></field>\
         <field var='pubsub#max_items'><value>{}</value></field></x></configure>",
            u8::from(kept > 0),
            kept.max(1)
        ),
    );
}

fn publish(text: &mut String, service: &str, node: &str, number: u64) {
    let frame = "<entry xmlns='http://www.w3.org/2005/Atom'></entry>".len();
    request(
        text,
        "set",
        &sender(),
        service,
        format_args!(
            "<publish node='{node}'><item id='item{number}'><entry xmlns='http://www.w3.org/2005/Atom'>{:x<2$}</entry>\
         </item></publish>{}",
            "",
            "",
            PAYLOAD - frame
        ),
    );
}

fn sender() -> String {
    format!("load@{PUBLISHER}")
}

/// Processor time of the server in seconds.
fn server_time(pid: f64) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

struct Measured {
    start: Instant,
    cpu: f64,
    pid: f64,
}

impl Measured {
    fn begin(options: &Options) -> Self {
        let pid = options.number("pid", 0.0);
        Self { start: Instant::now(), cpu: server_time(pid), pid }
    }

    fn end(self, count: u64, more: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let cpu = (server_time(self.pid) - self.cpu) * 1e6 / count as f64;
        println!("{{\"per_second\": {:.1}, \"cpu\": {cpu:.2}, \"count\": {count}{more}}}", count as f64 / seconds);
    }
}

fn subscribe_all(service: &str, node: &str, port: u16, subscribers: u64) -> Stream {
    let mut receiver = Stream::connect(port, RECEIVER);
    drive(&mut receiver, 32, |number, text| {
        let jid = format!("user{number}@{RECEIVER}");
        request(text, "set", &jid, service, format_args!("<subscribe node='{node}' jid='{jid}'/>"));
        number < subscribers
    });
    receiver
}

/// Publications that reach subscribers; the longest time that a ping of somebody else takes meanwhile.
fn fan_out(options: &Options, stream: &mut Stream, port: u16, service: &str, node: &str) {
    let subscribers = options.number("subscribers", 100.0) as u64;
    let mut receiver = subscribe_all(service, node, port, subscribers);
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    std::thread::spawn(move || {
        loop {
            counted.fetch_add(receiver.count(b"<message "), Ordering::Release);
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut pinger) = (Arc::clone(&stop), Stream::connect(port, PINGER));
    let pings = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !stopped.load(Ordering::Relaxed) {
            let start = Instant::now();
            pinger.send(&format!(
                "<iq type='get' id='g' from='{PINGER}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
            ));
            while pinger.count(b"<iq ") == 0 {}
            longest = longest.max(start.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    });
    let window = options.number("window", 32.0) as u64;
    let publications = (options.number("notifications", 100_000.0) as u64 / subscribers).max(3);
    let measured = Measured::begin(options);
    let start = Instant::now();
    let expected = publications * subscribers;
    if window == 1 {
        for number in 0..publications {
            drive(stream, 1, |sent, text| {
                publish(text, service, node, number);
                sent == 0
            });
            wait_for(&received, (number + 1) * subscribers);
        }
    } else {
        drive(stream, window, |number, text| {
            publish(text, service, node, number);
            number < publications
        });
        wait_for(&received, expected);
    }
    let one = start.elapsed().as_secs_f64() * 1e3 / publications as f64;
    stop.store(true, Ordering::Relaxed);
    let longest = pings.join().expect("the server answers pings").as_secs_f64() * 1e3;
    measured.end(expected, &format!(", \"one_ms\": {one:.2}, \"stall_ms\": {longest:.1}"));
}

fn wait_for(received: &AtomicU64, expected: u64) {
    let end = Instant::now() + PATIENCE;
    while received.load(Ordering::Acquire) < expected {
        assert!(Instant::now() < end, "{} of {expected} notifications came", received.load(Ordering::Acquire));
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = arguments.iter().position(|argument| argument == "--bench").map(|at| arguments.remove(at));
    let pairs = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options(arguments.iter().filter_map(pairs).collect());
    let Some(what) = arguments.first().filter(|_| asked.is_some()) else {
        // `cargo bench` and `cargo test --all-targets` come by; this is nothing without a server.
        return;
    };
    let port = options.number("port", 0.0) as u16;
    let (service, window) = (options.text("service"), options.number("window", 32.0) as u64);
    let (kept, seconds) = (options.number("kept", 1_000.0) as u64, options.number("seconds", 3.0));
    let node = options.0.get("node").map_or("bench", String::as_str);
    let mut stream = Stream::connect(port, PUBLISHER);
    if what != "create" && what != "answer" && what != "first" {
        drive(&mut stream, 1, |number, text| {
            create(text, service, node, kept);
            number == 0
        });
    }
    let end = |seconds: f64| Instant::now() + Duration::from_secs_f64(seconds);
    match what.as_str() {
        "publish" | "answer" => {
            let before = if what == "publish" { kept } else { 100 };
            drive(&mut stream, 32, |number, text| {
                publish(text, service, node, number);
                number < before
            });
            let (measured, end) = (Measured::begin(&options), end(seconds));
            let count = drive(&mut stream, window, |number, text| {
                publish(text, service, node, before + number);
                Instant::now() < end
            });
            measured.end(count, "");
        }
        "fanout" => fan_out(&options, &mut stream, port, service, node),
        "items" => {
            drive(&mut stream, 32, |number, text| {
                publish(text, service, node, number);
                number < kept
            });
            let (measured, end) = (Measured::begin(&options), end(seconds));
            let count = drive(&mut stream, window, |_, text| {
                request(text, "get", &sender(), service, format_args!("<items node='{node}' max_items='10'/>"));
                Instant::now() < end
            });
            measured.end(count, "");
        }
        "subscribe" => {
            let subscribers = options.number("subscribers", 10_000.0) as u64;
            let mut receiver = subscribe_all(service, node, port, subscribers);
            let (measured, end) = (Measured::begin(&options), end(seconds));
            let count = drive(&mut receiver, window, |number, text| {
                let jid = format!("other{}@{RECEIVER}", number / 2);
                let word = if number % 2 == 0 { "subscribe" } else { "unsubscribe" };
                request(text, "set", &jid, service, format_args!("<{word} node='{node}' jid='{jid}'/>"));
                Instant::now() < end
            });
            measured.end(count, "");
        }
        "create" => {
            let most = options.number("nodes", f64::MAX);
            let (measured, end) = (Measured::begin(&options), end(seconds));
            let count = drive(&mut stream, window, |number, text| {
                create(text, service, &format!("node{number}"), kept);
                Instant::now() < end && (number as f64) < most
            });
            measured.end(count, "");
        }
        "first" => {
            let measured = Measured::begin(&options);
            drive(&mut stream, 1, |number, text| {
                request(text, "get", &sender(), service, format_args!("<items node='{node}' max_items='1'/>"));
                number == 0
            });
            measured.end(1, "");
        }
        other => panic!("there is no load {other:?}"),
    }
}
