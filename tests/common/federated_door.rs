//! The doors with two servers: two live ones with a domain each, which talk to each other over loopback. Each is a Prosody or
//! an ejabberd.
//!
//! The same scripts are played. Juliet and Benvolio have their accounts on the second server, which also has the pubsub
//! service and the scripted component; everybody else lives on the first. A script where no two of them meet says nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::door::Door;
use super::ejabberd::Differences;
use super::live_door::{ADMIN, EJABBERD, Federation, LiveDoor, SCRIPTS};
use super::live_stream::LiveStream;
use super::script::{Actor, Script};
use super::xml::Element;

const HERE: &str = "localhost";
const THERE: &str = "capulet.example";
const REMOTE: &str = "remote.capulet.example";
const OF_THERE: [&str; 2] = ["juliet", "benvolio"];

pub(crate) struct FederatedDoor {
    name: &'static str,
    here: LiveDoor,
    there: LiveDoor,
    /// What an ejabberd does by itself is also seen at the other server.
    differences: Option<Differences>,
    scripts: usize,
    /// Accounts and services of the script that is being played, on both servers.
    addresses: BTreeSet<String>,
}

impl FederatedDoor {
    pub(crate) fn new(name: &'static str, here: &'static str, there: &'static str) -> Result<Self, String> {
        let free = || TcpListener::bind("127.0.0.1:0").map_err(|why| why.to_string());
        // Both are held until both are known, so that they differ.
        let listeners = [free()?, free()?];
        let port = |at: usize| listeners[at].local_addr().map(|address| address.port()).map_err(|why| why.to_string());
        let (one, other) = (port(0)?, port(1)?);
        let federation = |peer, port, peer_port| Federation { port, peer, peer_port };
        Ok(Self {
            name,
            here: LiveDoor::federated(here, HERE, federation(THERE, one, other))?,
            there: LiveDoor::federated(there, THERE, federation(HERE, other, one))?,
            differences: [here, there].contains(&EJABBERD).then(Differences::read).transpose()?,
            scripts: 0,
            addresses: BTreeSet::new(),
        })
    }

    fn door(&mut self, actor: &Actor) -> &mut LiveDoor {
        if actor.jid.ends_with(THERE) { &mut self.there } else { &mut self.here }
    }
}

/// The names in front of `@localhost`, each time one is mentioned.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let pieces: Vec<&str> = text.split("@localhost").collect();
    let count = pieces.len() - 1;
    pieces.into_iter().take(count).map(|piece| {
        let begin = piece.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.').map_or(0, |at| at + 1);
        &piece[begin..]
    })
}

impl Door for FederatedDoor {
    fn name(&self) -> &str {
        self.name
    }

    fn ready(&mut self) -> Result<(), String> {
        self.here.ready()?;
        self.there.ready()
    }

    fn suits(&self, script: &Script, text: &str) -> bool {
        let there = |name: &str| OF_THERE.contains(&name);
        script.one_server.is_none()
            && (text.contains(".localhost") || names(text).any(there))
            && names(text).any(|name| !there(name))
    }

    fn rewrite(&mut self, text: &str) -> String {
        self.scripts += 1;
        let number = self.scripts;
        self.addresses.clear();
        let service = format!("pubsub-{}.{THERE}", number % SCRIPTS);
        if text.contains("pubsub.localhost") {
            self.addresses.insert(service.clone());
        }
        let text = text.replace("pubsub.localhost", &service).replace("remote.localhost", REMOTE);
        let names: Vec<&str> = names(&text).collect();
        let mut out = String::new();
        for (at, piece) in text.split("@localhost").enumerate() {
            out.push_str(piece);
            let Some(&name) = names.get(at) else { break };
            if name == ADMIN {
                out.push_str("@localhost");
                continue;
            }
            let domain = if OF_THERE.contains(&name) { THERE } else { HERE };
            let _ = write!(out, "-{number}@{domain}");
            self.addresses.insert(format!("{name}-{number}@{domain}"));
        }
        out
    }

    fn begin(&mut self, script: &Script) -> Result<(), String> {
        self.here.begin(script)?;
        self.there.begin(script)
    }

    fn connect(&mut self, index: usize, actor: &Actor) -> Result<(), String> {
        self.door(actor).connect(index, actor)
    }

    fn disconnect(&mut self, index: usize) -> Result<(), String> {
        self.here.disconnect(index)?;
        self.there.disconnect(index)
    }

    fn send(&mut self, index: usize, stanza: &Element) -> Result<(), String> {
        let door = if self.here.has(index) { &mut self.here } else { &mut self.there };
        door.send(index, stanza)
    }

    fn poll(&mut self, patience: Duration) -> Result<Option<(usize, Element)>, String> {
        let deadline = Instant::now() + patience;
        loop {
            for door in [&mut self.here, &mut self.there] {
                let Some((index, stanza)) = door.poll(Duration::ZERO)? else { continue };
                let known = match &self.differences {
                    Some(differences) => differences.apply(stanza),
                    None => Some(stanza),
                };
                if let Some(stanza) = known {
                    return Ok(Some((index, stanza)));
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn flush(&self, actor: &Actor) -> Vec<Element> {
        if actor.component {
            return [HERE, THERE].map(|domain| LiveDoor::ping(&actor.jid, domain)).to_vec();
        }
        // Whatever is under way on the other server, too, comes before its answer.
        self.addresses.iter().map(|address| LiveDoor::question(address)).collect()
    }

    /// A request goes from the client to its account, from there to the other server, and its answer back the same way.
    fn rounds(&self) -> u32 {
        4
    }

    fn real_time(&self) -> bool {
        true
    }

    fn pass_time(&mut self, seconds: i64) -> Result<(), String> {
        self.here.pass_time(seconds)
    }

    fn restart(&mut self) -> Result<(), String> {
        self.here.restart()?;
        self.there.restart()
    }

    fn share_presence(&mut self, one: &Actor, other: &Actor) -> Result<(), String> {
        for (who, whom, kind) in [(one, other, "subscribe"), (other, one, "subscribed")] {
            let address = self.door(who).address(false)?;
            let mut stream = LiveStream::log_in(&address, &who.jid, "setup", &who.password)?;
            stream.send(&Element::stanza("presence").with("type", kind).with("to", &whom.jid))?;
            // Behind the presence, all the way.
            let (_, domain) = whom.jid.split_once('@').ok_or("no account")?;
            stream.ping(domain)?;
            stream.close();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.here.end();
        self.there.end();
    }
}
