//! The doors with a server: a real one is started on loopback, and driven over TCP.
//!
//! One server plays many scripts. Each script gets accounts and a pubsub component of its own, by renaming
//! `romeo@localhost` to `romeo-7@localhost` and `pubsub.localhost` to `pubsub-7.localhost` in its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::door::Door;
use super::ejabberd::{self, Differences};
use super::live_stream::{Brought, LiveStream};
use super::script::{Action, Actor, Script};
use super::xml::Element;

const LOCALHOST: &str = "localhost";
pub(crate) const ADMIN: &str = "admin";
/// As a host; the others are versions of Prosody.
pub(crate) const EJABBERD: &str = "ejabberd";
/// How many scripts one server plays: the number of its pubsub components.
pub(crate) const SCRIPTS: usize = 40;
/// Options with the names that Prosody's own modules gave them.
const SHARED_OPTIONS: [&str; 4] =
    ["autocreate_on_publish", "autocreate_on_subscribe", "expose_publisher", "default_admin_affiliation"];
/// The longest time that a script may really wait.
const LONGEST: i64 = 3;

/// A server that runs.
struct Server {
    child: Child,
    client_port: String,
    component_port: String,
    needs: BTreeMap<String, String>,
    folder: PathBuf,
    played: usize,
}

/// A connection of the script that is being played.
struct Connection {
    index: usize,
    bare: Option<String>,
    stream: LiveStream,
}

/// What is started.
enum Host {
    /// Of one version or another.
    Prosody(&'static str),
    Ejabberd(&'static str, Differences),
}

/// Another server beside this one.
#[derive(Clone, Copy)]
pub(crate) struct Federation {
    /// Where this server listens for the other one.
    pub(crate) port: u16,
    pub(crate) peer: &'static str,
    pub(crate) peer_port: u16,
}

/// A server with the module.
pub(crate) struct LiveDoor {
    name: &'static str,
    host: Host,
    /// Its accounts are here, and its pubsub components below.
    domain: &'static str,
    federation: Option<Federation>,
    server: Option<Server>,
    starts: usize,
    scripts: usize,
    uses_service: bool,
    connections: BTreeMap<u64, Connection>,
    tags: u64,
    sink: Sender<Brought>,
    brought: Receiver<Brought>,
    /// Scripted components that were declared; the server must accept them.
    externals: BTreeSet<String>,
}

impl LiveDoor {
    pub(crate) fn prosody(name: &'static str, version: &'static str) -> Self {
        Self::new(name, Host::Prosody(version), LOCALHOST)
    }

    pub(crate) fn ejabberd(name: &'static str, version: &'static str) -> Result<Self, String> {
        Ok(Self::new(name, Host::Ejabberd(version, Differences::read()?), LOCALHOST))
    }

    /// One of two servers: `EJABBERD`, or a version of Prosody.
    pub(crate) fn federated(host: &'static str, domain: &'static str, federation: Federation) -> Result<Self, String> {
        let host = match host {
            EJABBERD => Host::Ejabberd("23", Differences::read()?),
            version => Host::Prosody(version),
        };
        let mut new = Self::new(domain, host, domain);
        new.federation = Some(federation);
        Ok(new)
    }

    fn new(name: &'static str, host: Host, domain: &'static str) -> Self {
        let (sink, brought) = mpsc::channel();
        Self {
            name,
            host,
            domain,
            federation: None,
            server: None,
            starts: 0,
            scripts: 0,
            uses_service: false,
            connections: BTreeMap::new(),
            tags: 0,
            sink,
            brought,
            externals: BTreeSet::from([format!("remote.{domain}")]),
        }
    }

    /// Asks for a node that nobody has: that goes through the engine and changes nothing.
    pub(crate) fn question(to: &str) -> Element {
        let query = Element::new("http://jabber.org/protocol/disco#info", "query").with("node", "flush");
        Element::stanza("iq").with("type", "get").with("to", to).with_child(query)
    }

    /// What a component asks a server.
    pub(crate) fn ping(component: &str, domain: &str) -> Element {
        let iq = Element::stanza("iq").with("type", "get").with("from", component).with("to", domain);
        iq.with_child(Element::new("urn:xmpp:ping", "ping"))
    }

    /// Whether an actor is connected here.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.connections.values().any(|connection| connection.index == index)
    }

    pub(crate) fn address(&self, component: bool) -> Result<String, String> {
        let server = self.server.as_ref().ok_or("the server does not run")?;
        let port = if component { &server.component_port } else { &server.client_port };
        Ok(format!("127.0.0.1:{port}"))
    }

    /// Starts a server with these options; on the folder and ports of an earlier one if that is given.
    fn start(&mut self, needs: &BTreeMap<String, String>, earlier: Option<Server>) -> Result<(), String> {
        self.starts += 1;
        let folder = earlier.as_ref().map_or_else(
            || {
                let name = format!("{}-{}-{}", self.name, std::process::id(), self.starts);
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
            },
            |server| server.folder.clone(),
        );
        std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        let mut command = match self.host {
            Host::Prosody(version) => self.prosody_command(version, needs, &folder)?,
            Host::Ejabberd(version, _) => ejabberd::command(&ejabberd::Start {
                version,
                domain: self.domain,
                needs,
                services: SCRIPTS,
                externals: &self.externals,
                folder: &folder,
                stock: stock(),
                federation: self.federation,
            }),
        };
        let mut played = 0;
        if let Some(earlier) = &earlier {
            played = earlier.played;
            command.args(["--c2s-port", &earlier.client_port, "--component-port", &earlier.component_port]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|why| format!("{}: {why}", command.get_program().to_string_lossy()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|why| why.to_string())?;
        }
        let (Some(client_port), Some(component_port)) = (number(&line, "c2s"), number(&line, "component")) else {
            drop(child.stdin.take());
            let status = child.wait().map_err(|why| why.to_string())?;
            return Err(format!("the server does not start: {status}"));
        };
        self.server = Some(Server { child, client_port, component_port, needs: needs.clone(), folder, played });
        Ok(())
    }

    fn prosody_command(
        &self,
        version: &str,
        needs: &BTreeMap<String, String>,
        folder: &Path,
    ) -> Result<Command, String> {
        let config = folder.join("scenarios.cfg.lua");
        std::fs::write(&config, self.components(needs)).map_err(|why| format!("{}: {why}", config.display()))?;
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut command = Command::new(tests.join("prosody/live.py"));
        command.args(["--version", version, "--stdin", "--host", self.domain, "--pubsub", "no", "--timeout", "60"]);
        let port = self.federation.map_or(0, |federation| federation.port);
        command.arg("--s2s-port").arg(port.to_string());
        if let Some(Federation { peer, peer_port, .. }) = self.federation {
            command.arg("--peer").arg(format!("{peer}=127.0.0.1:{peer_port}"));
        }
        if stock() {
            command.args(["--backend", "stock"]);
        }
        if let Ok(dist) = std::env::var("PAM_PPS_DIST") {
            command.args(["--dist", &dist]);
        }
        command.arg("--user").arg(format!("{ADMIN}@localhost:password"));
        command.arg("--admin").arg(format!("{ADMIN}@localhost"));
        command.arg("--data").arg(folder.join("data")).arg("--config").arg(&config);
        for domain in &self.externals {
            command.arg("--external").arg(format!("{domain}=secret"));
        }
        for (key, value) in needs.iter().filter(|(key, _)| !key.contains('.')) {
            command.arg("--set").arg(setting(key, value));
        }
        Ok(command)
    }

    /// The components of the engine, with the options that the scripts want for them.
    fn components(&self, needs: &BTreeMap<String, String>) -> String {
        let mut text = String::new();
        let module = if stock() { "pubsub" } else { "pam_pps" };
        for number in 0..SCRIPTS {
            let _ = writeln!(text, "Component \"pubsub-{number}.{}\" \"{module}\"", self.domain);
            if self.federation.is_some() && !needs.contains_key("pubsub.create_nodes") {
                // Those of the other server are not local.
                text.push_str("\tpam_pps_create_nodes = \"anyone\"\n");
            }
            for (key, value) in needs {
                if let Some(key) = key.strip_prefix("pubsub.") {
                    let _ = writeln!(text, "\t{}", setting(key, value));
                }
            }
        }
        text + &rooms(needs)
    }

    fn stop(&mut self) -> Option<Server> {
        let mut server = self.server.take()?;
        drop(server.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(server.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                server.child.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    fn by_index(&mut self, index: usize) -> Result<&mut Connection, String> {
        let found = self.connections.values_mut().find(|connection| connection.index == index);
        found.ok_or_else(|| "this actor is not connected".to_owned())
    }
}

/// An option of the engine as Prosody spells it.
fn setting(key: &str, value: &str) -> String {
    let prefix = if SHARED_OPTIONS.contains(&key) { "" } else { "pam_pps_" };
    format!("{prefix}{key} = {}", lua(value))
}

/// A chat service with the engine on it. Rooms are open at once, as they are in memory.
fn rooms(needs: &BTreeMap<String, String>) -> String {
    let mut text = "Component \"rooms.localhost\" \"muc\"\n\tmuc_room_locking = false\n".to_owned();
    if !stock() {
        text.push_str("\tmodules_enabled = { \"pam_pps\" }\n");
    }
    for (key, value) in needs {
        if let Some(key) = key.strip_prefix("rooms.") {
            let _ = writeln!(text, "\tpam_pps_{key} = {}", lua(value));
        }
    }
    text
}

/// The value of a number in the one line of JSON that the start script prints.
fn number(line: &str, key: &str) -> Option<String> {
    let (_, after) = line.split_once(&format!("\"{key}\":"))?;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// Prosody's own modules instead of the engine: shows what a script thinks of them, and whether a mistake is the script's.
fn stock() -> bool {
    std::env::var("PAM_PPS_BACKEND").is_ok_and(|backend| backend == "stock")
}

fn lua(value: &str) -> String {
    if value == "true" || value == "false" || value.parse::<f64>().is_ok() {
        return value.to_owned();
    }
    format!("{value:?}")
}

impl Door for LiveDoor {
    fn name(&self) -> &str {
        self.name
    }

    fn ready(&mut self) -> Result<(), String> {
        self.start(&BTreeMap::new(), None)
    }

    fn rewrite(&mut self, text: &str) -> String {
        self.scripts += 1;
        let number = self.scripts;
        self.uses_service = text.contains("pubsub.localhost");
        let text = text.replace("@rooms.localhost", &format!("-{number}@rooms.localhost"));
        let text = text.replace("pubsub.localhost", &format!("pubsub-{}.localhost", number % SCRIPTS));
        let mut pieces = text.split("@localhost");
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            if out.ends_with(ADMIN) {
                out.push_str("@localhost");
            } else {
                let _ = write!(out, "-{number}@localhost");
            }
            out.push_str(piece);
        }
        out
    }

    fn begin(&mut self, script: &Script) -> Result<(), String> {
        if let Some(action) = script.steps.iter().find_map(|step| match step.action {
            Action::TimePasses(seconds) if seconds > LONGEST => Some(seconds),
            _ => None,
        }) {
            return Err(format!("{action} seconds are too long here: the script wants a `doors` line"));
        }
        let here = |actor: &&Actor| actor.jid.ends_with(self.domain);
        let components = script.actors.iter().filter(|actor| actor.component);
        let declared: Vec<_> = components.filter(here).map(|actor| actor.jid.clone()).collect();
        let known = self.externals.len();
        self.externals.extend(declared);
        let fits = self.server.as_mut().is_some_and(|server| {
            server.needs == script.needs && server.played + 1 < SCRIPTS && matches!(server.child.try_wait(), Ok(None))
        });
        if !fits || known != self.externals.len() {
            if let Some(server) = self.stop() {
                std::fs::remove_dir_all(server.folder).ok();
            }
            self.start(&script.needs, None)?;
        }
        if let Some(server) = &mut self.server {
            server.played += 1;
        }
        let address = self.address(false)?;
        let mut made = BTreeSet::new();
        let here = |actor: &&Actor| actor.jid.ends_with(self.domain);
        for actor in script.actors.iter().filter(|actor| !actor.component).filter(here) {
            if made.insert(&actor.jid) && !actor.jid.starts_with(&format!("{ADMIN}@")) {
                LiveStream::register(&address, &actor.jid, &actor.password)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, index: usize, actor: &Actor) -> Result<(), String> {
        let address = self.address(actor.component)?;
        let mut stream = if actor.component {
            LiveStream::component(&address, &actor.jid, "secret")?
        } else {
            LiveStream::log_in(&address, &actor.jid, &actor.resource, &actor.password)?
        };
        self.tags += 1;
        stream.listen(self.tags, self.sink.clone())?;
        let bare = (!actor.component).then(|| actor.jid.clone());
        self.connections.insert(self.tags, Connection { index, bare, stream });
        Ok(())
    }

    fn disconnect(&mut self, index: usize) -> Result<(), String> {
        let tag = self.connections.iter().find(|(_, connection)| connection.index == index).map(|(tag, _)| *tag);
        if let Some(connection) = tag.and_then(|tag| self.connections.remove(&tag)) {
            connection.stream.close();
        }
        Ok(())
    }

    fn send(&mut self, index: usize, stanza: &Element) -> Result<(), String> {
        self.by_index(index)?.stream.send(stanza)
    }

    fn poll(&mut self, patience: Duration) -> Result<Option<(usize, Element)>, String> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((tag, brought)) = self.brought.recv_timeout(left) else { return Ok(None) };
            // What comes from a connection that was closed is of no interest.
            let Some(connection) = self.connections.get(&tag) else { continue };
            let mut stanza = brought?;
            if let (None, Some(bare)) = (stanza.get("from"), &connection.bare) {
                stanza.set("from", bare);
            }
            if let Host::Ejabberd(_, differences) = &self.host {
                let Some(known) = differences.apply(stanza) else { continue };
                stanza = known;
            }
            return Ok(Some((connection.index, stanza)));
        }
    }

    fn flush(&self, actor: &Actor) -> Vec<Element> {
        if actor.component {
            return vec![Self::ping(&actor.jid, "localhost")];
        }
        let mut questions = vec![Self::question(&actor.jid)];
        if self.uses_service {
            questions.push(Self::question(&format!("pubsub-{}.localhost", self.scripts % SCRIPTS)));
        }
        questions
    }

    fn real_time(&self) -> bool {
        true
    }

    fn pass_time(&mut self, seconds: i64) -> Result<(), String> {
        std::thread::sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        Ok(())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.end();
        let server = self.stop().ok_or("the server does not run")?;
        let needs = server.needs.clone();
        self.start(&needs, Some(server))
    }

    fn share_presence(&mut self, one: &Actor, other: &Actor) -> Result<(), String> {
        let address = self.address(false)?;
        for (who, whom, kind) in [(one, other, "subscribe"), (other, one, "subscribed")] {
            let mut stream = LiveStream::log_in(&address, &who.jid, "setup", &who.password)?;
            stream.send(&Element::stanza("presence").with("type", kind).with("to", &whom.jid))?;
            stream.ping("localhost")?;
            stream.close();
        }
        Ok(())
    }

    fn end(&mut self) {
        for (_, connection) in std::mem::take(&mut self.connections) {
            connection.stream.close();
        }
    }
}

impl Drop for LiveDoor {
    fn drop(&mut self) {
        self.end();
        if let Some(server) = self.stop() {
            std::fs::remove_dir_all(server.folder).ok();
        }
    }
}
