//! The engine through the C ABI, as a host drives it: `pam_pps_engine_submit` with a window, outcomes read and freed.
//!
//! ```text
//! cargo bench --bench engine                      every table
//! cargo bench --bench engine -- --quick           the same, shorter
//! cargo bench --bench engine -- publish os 1000   one figure, for a profiler: commit, kept, [seconds], [subscribers]
//! ```
//!
//! The whole process is bound to one processor, so that host, worker and SQLite share it. Beside each figure stands what
//! SQLite does alone in the same run: the same tables, rows and evictions, as many in one transaction.

#![allow(unsafe_code, missing_docs)]

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use pam_pps::ffi::*;
use rusqlite::Connection;

const WINDOW: usize = 32;
const PAYLOAD: usize = 300;
const SERVICE: &str = "pubsub.localhost";
const PUBLISHER: &str = "publisher.localhost";

struct Outcome(*mut pam_pps_outcome);

// SAFETY: the engine hands each outcome over to whoever gets it; one thread uses it.
unsafe impl Send for Outcome {}

unsafe extern "C" fn done(user: *mut c_void, outcome: *mut pam_pps_outcome) {
    // SAFETY: `user` is what `Host` keeps for as long as the engine lives.
    let finished = unsafe { &*user.cast::<Finished>() };
    // SAFETY: the outcome is ours.
    let more = unsafe { pam_pps_outcome_more(outcome) };
    finished.outcomes.lock().expect("not poisoned").push(Outcome(outcome));
    if !more {
        finished.some.notify_one();
    }
}

/// What the worker has handed over: the host is woken once for all of it, as by a descriptor in its event loop.
#[derive(Default)]
struct Finished {
    outcomes: Mutex<Vec<Outcome>>,
    some: Condvar,
}

struct Host {
    engine: *mut pam_pps_engine,
    finished: *mut Finished,
    taken: Vec<Outcome>,
    stanzas: u64,
    recipients: u64,
    bytes: u64,
}

fn set(config: *mut pam_pps_config, key: &str, value: &str) {
    // SAFETY: live objects, and texts with their lengths.
    let result = unsafe {
        pam_pps_config_set(config, key.as_ptr(), key.len(), value.as_ptr(), value.len(), std::ptr::null_mut())
    };
    assert!(result == pam_pps_result::PAM_PPS_RESULT_OK, "option {key}");
}

impl Host {
    fn open(database: &str, commit: &str) -> Self {
        let mut engine = std::ptr::null_mut();
        // SAFETY: as the header demands; everything is freed by its own function.
        unsafe {
            let config = pam_pps_config_new();
            set(config, "database", database);
            set(config, "commit", commit);
            let opened = pam_pps_engine_open(config, &mut engine, std::ptr::null_mut());
            assert!(opened == pam_pps_result::PAM_PPS_RESULT_OK, "open {database}");
            let options = pam_pps_config_new();
            set(options, "max_items", "2000000");
            set(options, "create_nodes", "anyone");
            let served =
                pam_pps_engine_serve(engine, SERVICE.as_ptr(), SERVICE.len(), 2, options, std::ptr::null_mut());
            assert!(served == pam_pps_result::PAM_PPS_RESULT_OK, "serve");
            pam_pps_config_free(options);
            pam_pps_config_free(config);
        }
        let finished = Box::into_raw(Box::default());
        Self { engine, finished, taken: Vec::new(), stanzas: 0, recipients: 0, bytes: 0 }
    }

    fn submit(&self, stanza: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        // SAFETY: as the header demands; the input goes over to the engine.
        let result = unsafe {
            let input = pam_pps_input_new(1, stanza.as_ptr(), stanza.len());
            pam_pps_engine_submit(self.engine, now.as_micros() as i64, input, Some(done), self.finished.cast())
        };
        assert!(result == pam_pps_result::PAM_PPS_RESULT_OK, "submit");
    }

    /// Waits for one outcome and reads all of it, as a host does that sends it.
    fn take(&mut self) {
        if self.taken.is_empty() {
            // SAFETY: it lives as long as the host.
            let finished = unsafe { &*self.finished };
            let waiting = finished.outcomes.lock().expect("not poisoned");
            let mut waiting = finished.some.wait_while(waiting, |all| all.is_empty()).expect("not poisoned");
            std::mem::swap(&mut self.taken, &mut waiting);
            self.taken.reverse();
        }
        let outcome = self.taken.pop().expect("waited for").0;
        // SAFETY: the outcome is ours until it is freed.
        unsafe {
            for place in 0..pam_pps_outcome_count(outcome) {
                let stanza = pam_pps_outcome_stanza(outcome, place);
                self.bytes += stanza.len as u64;
                match pam_pps_outcome_kind(outcome, place) {
                    2 => {
                        self.stanzas += 1;
                        let text = std::slice::from_raw_parts(stanza.data, stanza.len);
                        assert!(
                            !text.windows(12).any(|part| part == b"type='error'"),
                            "refused: {}",
                            String::from_utf8_lossy(text)
                        );
                    }
                    3 => {
                        for recipient in 0..pam_pps_outcome_recipient_count(outcome, place) {
                            let jid = pam_pps_outcome_recipient(outcome, place, recipient);
                            let jid = std::slice::from_raw_parts(jid.data, jid.len);
                            self.bytes += jid.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                            self.recipients += 1;
                        }
                    }
                    4 => panic!("a component needs no facts here"),
                    _ => {}
                }
            }
            pam_pps_outcome_free(outcome);
        }
    }

    /// Gives stanzas as long as `next` has any, with at most `window` under way.
    fn drive(&mut self, window: usize, mut next: impl FnMut(&mut String) -> bool) -> u64 {
        let (mut text, mut under_way, mut answered, mut more) = (String::new(), 0, 0, true);
        loop {
            while more && under_way < window {
                text.clear();
                more = next(&mut text);
                if more {
                    self.submit(&text);
                    under_way += 1;
                }
            }
            if under_way == 0 {
                return answered;
            }
            self.take();
            under_way -= 1;
            answered += 1;
        }
    }

    /// One of the engine's own figures.
    fn statistic(&self, name: &str) -> u64 {
        let mut text = std::ptr::null_mut();
        // SAFETY: as the header demands; the text is read before it is freed.
        let lines = unsafe {
            let result = pam_pps_engine_statistics(self.engine, &mut text);
            assert!(result == pam_pps_result::PAM_PPS_RESULT_OK, "statistics");
            let slice = pam_pps_text_slice(text);
            let lines = String::from_utf8_lossy(std::slice::from_raw_parts(slice.data, slice.len)).into_owned();
            pam_pps_text_free(text);
            lines
        };
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).expect("a figure of that name")
    }

    fn ask(&mut self, stanza: &str) {
        let mut first = true;
        self.drive(1, |text| {
            text.push_str(stanza);
            std::mem::take(&mut first)
        });
    }

    fn create(&mut self, node: &str, kept: u64) {
        self.ask(&format!(
            "<iq type='set' id='c' from='{PUBLISHER}' to='{SERVICE}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
             http://jabber.org/protocol/pubsub#node_config</value></field><field var='pubsub#persist_items'><value>{}\
             </value></field><field var='pubsub#max_items'><value>{}</value></field></x></configure></pubsub></iq>",
            u8::from(kept > 0),
            kept.max(1)
        ));
    }

    fn subscribe(&mut self, node: &str, subscribers: u64) {
        let mut number = 0;
        self.drive(512, |text| {
            number += 1;
            text.push_str(&format!(
                "<iq type='set' id='s' from='user{number}@there.example' to='{SERVICE}'>\
                 <pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                 <subscribe node='{node}' jid='user{number}@there.example'/></pubsub></iq>"
            ));
            number <= subscribers
        });
    }

    fn publish(&mut self, node: &str, from: u64, until: impl Fn(u64) -> bool, window: usize) -> u64 {
        let payload = payload();
        let mut number = from;
        self.drive(window, |text| {
            number += 1;
            write_publish(text, node, number, &payload);
            until(number - from)
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: nothing else uses them any more.
        unsafe {
            pam_pps_engine_free(self.engine);
            drop(Box::from_raw(self.finished));
        }
    }
}

fn payload() -> String {
    let frame = "<entry xmlns='http://www.w3.org/2005/Atom'></entry>";
    format!("<entry xmlns='http://www.w3.org/2005/Atom'>{}</entry>", "x".repeat(PAYLOAD - frame.len()))
}

fn write_publish(text: &mut String, node: &str, number: u64, payload: &str) {
    use std::fmt::Write;
    let _ = write!(
        text,
        "<iq type='set' id='p{number}' from='{PUBLISHER}' to='{SERVICE}'>\
         <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='item{number}'>{payload}\
         </item></publish></pubsub></iq>"
    );
}

/// What one run of one kind did.
#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    /// Processor time of the whole process for one, in microseconds.
    cpu: f64,
    /// How many were committed at once.
    group: f64,
    /// Recipients of what one publish sends: the item, and that it has pushed another out.
    told: f64,
}

fn cpu_time() -> f64 {
    // SAFETY: plain data, filled by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        micros(usage.ru_utime) + micros(usage.ru_stime)
    }
}

fn measure(run: impl FnOnce() -> u64) -> Figure {
    let (start, cpu) = (Instant::now(), cpu_time());
    let count = run() as f64;
    let per_second = count / start.elapsed().as_secs_f64();
    Figure { per_second, cpu: (cpu_time() - cpu) / count, group: 0.0, told: 0.0 }
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    figures[figures.len() / 2]
}

/// Binds the process to one processor.
fn bind_to_one_processor() {
    // SAFETY: plain data, filled before the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::from(std::env::var_os("CPU").is_some()), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0, "one processor");
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pam_pps-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        for suffix in ["", "-wal", "-shm", "-owner"] {
            let _ = std::fs::remove_file(self.0.join(format!("{name}{suffix}")));
        }
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Publications through the engine: `kept` items are there before, so that each one pushes another out.
fn engine_publish(folder: &Folder, commit: &str, kept: u64, subscribers: u64, seconds: f64) -> Figure {
    let mut host = Host::open(&folder.file("engine.db"), commit);
    host.create("bench", kept);
    host.subscribe("bench", subscribers);
    host.publish("bench", 0, |count| count <= kept, 512);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let figures = |host: &Host| (host.statistic("inputs_total") as f64, host.statistic("commits_total") as f64);
    let before = figures(&host);
    let (answers, recipients) = (host.stanzas, host.recipients);
    let figure = measure(|| host.publish("bench", kept, |_| Instant::now() < end, WINDOW));
    let after = figures(&host);
    let told = (host.recipients - recipients) as f64 / (host.stanzas - answers) as f64;
    assert!(told >= subscribers as f64, "everybody is told");
    Figure { group: (after.0 - before.0) / (after.1 - before.1), told, ..figure }
}

/// The same rows by SQLite alone, in the tables of the engine, `WINDOW` of them in a transaction.
fn bare_publish(folder: &Folder, commit: &str, kept: u64, seconds: f64) -> Figure {
    let file = folder.file("bare.db");
    let mut host = Host::open(&file, commit);
    host.create("bench", kept);
    host.publish("bench", 0, |count| count <= kept, 512);
    drop(host);
    let connection = open_bare(Path::new(&file), commit);
    let node: i64 = connection.query_row("SELECT node FROM nodes", (), |row| row.get(0)).expect("a node");
    let prepare = |sql| connection.prepare(sql).expect("a statement");
    let (mut begin, mut commit) = (prepare("BEGIN IMMEDIATE"), prepare("COMMIT"));
    let mut insert =
        prepare("INSERT INTO items (seq_key, node, id, publisher, published, payload) VALUES (?,?,?,?,?,?)");
    let mut delete = prepare("DELETE FROM items WHERE seq_key = ?");
    let mut count = prepare("UPDATE counters SET next_seq = ?2 WHERE node = ?1");
    let mut bytes = prepare("UPDATE services SET bytes = bytes + 1");
    let payload = payload();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    measure(|| {
        let mut number = kept as i64;
        while Instant::now() < end {
            begin.execute(()).expect("begin");
            for _ in 0..WINDOW {
                number += 1;
                let (id, key) = (format!("item{number}"), node << 32 | number);
                insert.execute((key, node, id, PUBLISHER, number, &payload)).expect("insert");
                delete.execute([key - kept as i64]).expect("delete");
            }
            count.execute((node, number)).expect("count");
            bytes.execute(()).expect("bytes");
            commit.execute(()).expect("commit");
        }
        number as u64 - kept
    })
}

/// Rows of 300 bytes into a table without anything else: what the machine can do.
fn bare_insert(folder: &Folder, commit: &str, group: usize, seconds: f64) -> Figure {
    let connection = open_bare(Path::new(&folder.file("plain.db")), commit);
    connection.execute_batch("CREATE TABLE rows (row INTEGER PRIMARY KEY, payload TEXT NOT NULL)").expect("a table");
    let prepare = |sql| connection.prepare(sql).expect("a statement");
    let (mut begin, mut commit) = (prepare("BEGIN IMMEDIATE"), prepare("COMMIT"));
    let mut insert = prepare("INSERT INTO rows (payload) VALUES (?)");
    let payload = payload();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    measure(|| {
        let mut number = 0;
        while Instant::now() < end {
            begin.execute(()).expect("begin");
            for _ in 0..group {
                insert.execute([&payload]).expect("insert");
            }
            commit.execute(()).expect("commit");
            number += group as u64;
        }
        number
    })
}

fn open_bare(file: &Path, commit: &str) -> Connection {
    let connection = Connection::open(file).expect("a database");
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("WAL");
    let synchronous = if commit == "disk" { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous).expect("synchronous");
    connection.pragma_update(None, "foreign_keys", true).expect("foreign keys");
    connection.pragma_update(None, "cache_size", -16_384).expect("cache");
    connection.pragma_update(None, "wal_autocheckpoint", 4_000).expect("checkpoints");
    connection
}

fn thrice(rounds: usize, mut run: impl FnMut() -> Figure) -> Figure {
    median((0..rounds).map(|_| run()).collect())
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

fn table(folder: &Folder, rounds: usize, seconds: f64) {
    println!("Publish, 300 B, window {WINDOW}, one processor, medians of {rounds}:\n");
    println!(
        "| commit | kept | engine, publishes/s | CPU each | in a commit | SQLite alone, same rows/s | CPU each | engine / SQLite | of CPU |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for commit in ["os", "disk"] {
        for kept in [0, 10, 100, 1_000, 10_000] {
            let engine = thrice(rounds, || engine_publish(folder, commit, kept, 0, seconds));
            print!(
                "| `{commit}` | {kept} | {} | {:.1} µs | {:.0} |",
                thousands(engine.per_second),
                engine.cpu,
                engine.group
            );
            if kept == 0 {
                println!(" – | – | – | – |");
                continue;
            }
            let bare = thrice(rounds, || bare_publish(folder, commit, kept, seconds));
            let (speed, cpu) = (engine.per_second / bare.per_second, bare.cpu / engine.cpu);
            println!(" {} | {:.1} µs | {speed:.2} | {cpu:.2} |", thousands(bare.per_second), bare.cpu);
        }
    }
    println!("\nSQLite alone, one 300 B row, no index, rows/s:\n");
    println!("| commit | 1 row in a transaction | 32 | 256 |\n| --- | --- | --- | --- |");
    for commit in ["os", "disk"] {
        let row = |group| thousands(thrice(rounds, || bare_insert(folder, commit, group, seconds)).per_second);
        println!("| `{commit}` | {} | {} | {} |", row(1), row(32), row(256));
    }
    println!("\nFan-out, 1,000 kept, `commit = \"os\"`, every recipient read through the C ABI:\n");
    println!(
        "| subscribers | told by a publish | publishes/s | CPU per publish | CPU per recipient |\n| --- | --- | --- | --- | --- |"
    );
    let alone = thrice(rounds, || engine_publish(folder, "os", 1_000, 0, seconds));
    for subscribers in [1, 100, 10_000] {
        let figure = thrice(rounds, || engine_publish(folder, "os", 1_000, subscribers, seconds));
        let each = (figure.cpu - alone.cpu) / figure.told;
        let (rate, cpu) = (thousands(figure.per_second), figure.cpu);
        let (subscribers, told) = (thousands(subscribers as f64), thousands(figure.told));
        println!("| {subscribers} | {told} | {rate} | {cpu:.1} µs | {each:.3} µs |");
    }
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` wants to know whether it starts, no more.
        return;
    }
    arguments.retain(|argument| argument != "--bench");
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let folder = Folder::new();
    let number =
        |place: usize, otherwise: f64| words.get(place).map_or(otherwise, |text| text.parse().expect("a number"));
    bind_to_one_processor();
    match words.first().copied() {
        Some("publish") => {
            let (kept, seconds, subscribers) = (number(2, 1_000.0) as u64, number(3, 3.0), number(4, 0.0) as u64);
            let figure = engine_publish(&folder, words[1], kept, subscribers, seconds);
            println!(
                "{} publishes/s, {:.2} µs each, {:.1} in a commit",
                thousands(figure.per_second),
                figure.cpu,
                figure.group
            );
        }
        Some("bare") => {
            let figure = bare_publish(&folder, words[1], number(2, 1_000.0) as u64, number(3, 3.0));
            println!("{} rows/s, {:.2} µs each", thousands(figure.per_second), figure.cpu);
        }
        Some("--quick") => table(&folder, 1, 0.5),
        _ => table(&folder, 3, 1.5),
    }
}
