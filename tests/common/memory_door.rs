//! The doors without a server: the in-memory host around an engine in this process.

use std::path::PathBuf;
use std::time::Duration;

use super::brain::{Brain, Kind, Setup};
use super::door::Door;
use super::rooms::ROOMS;
use super::script::{Actor, Script};
use super::world::{ACCOUNTS, SERVICE, World};
use super::xml::Element;

/// 2026-11-20T20:25:00Z
const START: i64 = 1_795_206_300_000_000;

/// Options of the engine as a whole; all others are those of a service.
const ENGINE_OPTIONS: [&str; 5] = ["database", "commit", "cache_size", "max_stanza_bytes", "seed"];

type Open = fn(&Setup) -> Result<Box<dyn Brain>, String>;

/// Which way in, and which store behind it.
pub(crate) struct MemoryDoor {
    name: &'static str,
    open: Open,
    /// Whether the store is a file even where no script restarts the server.
    file: bool,
    setup: Option<Setup>,
    world: Option<World>,
    /// The actors that are connected: full JID of a client, domain of a component.
    connected: Vec<Option<Actor>>,
    files: Option<PathBuf>,
}

impl MemoryDoor {
    pub(crate) fn new(name: &'static str, open: Open, file: bool) -> Self {
        Self { name, open, file, setup: None, world: None, connected: Vec::new(), files: None }
    }

    fn world(&mut self) -> Result<&mut World, String> {
        self.world.as_mut().ok_or_else(|| "the script was not begun".to_owned())
    }
}

/// Sorts the options of a script into those of the engine, of the accounts and of the component.
fn setup(script: &Script, database: &str) -> Setup {
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut options = vec![own("database", database), own("seed", "1")];
    let (mut accounts, mut component, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in &script.needs {
        match key.split_once('.') {
            Some(("pubsub", key)) => component.push(own(key, value)),
            Some(("rooms", key)) => rooms.push(own(key, value)),
            _ if ENGINE_OPTIONS.contains(&key.as_str()) => options.push(own(key, value)),
            _ if key == "create_nodes" => component.push(own(key, value)),
            _ => accounts.push(own(key, value)),
        }
    }
    let services = vec![
        (ACCOUNTS.to_owned(), Kind::Accounts, accounts),
        (SERVICE.to_owned(), Kind::Component, component),
        (ROOMS.to_owned(), Kind::Rooms, rooms),
    ];
    Setup { options, services }
}

impl Door for MemoryDoor {
    fn name(&self) -> &str {
        self.name
    }

    fn begin(&mut self, script: &Script) -> Result<(), String> {
        let restarts = script.steps.iter().any(|step| matches!(step.action, super::script::Action::ServerRestarts));
        let mut database = "memory".to_owned();
        if self.file || restarts {
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
                "{}-{}-{}",
                self.name,
                std::process::id(),
                script.name.replace('/', "-")
            ));
            std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
            database = folder.join("store.sqlite").display().to_string();
            self.files = Some(folder);
        }
        let setup = setup(script, &database);
        let mut world = World::new((self.open)(&setup)?, START);
        for actor in script.actors.iter().filter(|actor| !actor.component) {
            world.accounts.entry(actor.jid.clone()).or_default();
        }
        self.connected = vec![None; script.actors.len()];
        (self.setup, self.world) = (Some(setup), Some(world));
        Ok(())
    }

    fn connect(&mut self, index: usize, actor: &Actor) -> Result<(), String> {
        self.connected[index] = Some(actor.clone());
        let world = self.world()?;
        if actor.component {
            world.components.insert(actor.jid.clone(), index);
        } else {
            world.log_in(&actor.full_jid(), index);
        }
        Ok(())
    }

    fn disconnect(&mut self, index: usize) -> Result<(), String> {
        let Some(actor) = self.connected[index].take() else { return Ok(()) };
        if actor.component {
            self.world()?.components.remove(&actor.jid);
            return Ok(());
        }
        self.world()?.log_out(&actor.full_jid())
    }

    fn send(&mut self, index: usize, stanza: &Element) -> Result<(), String> {
        let actor = self.connected[index].clone().ok_or("this actor is not connected")?;
        let world = self.world()?;
        if actor.component {
            return world.take_from_component(stanza.clone());
        }
        world.take_from_client(&actor.full_jid(), stanza.clone())
    }

    fn poll(&mut self, _patience: Duration) -> Result<Option<(usize, Element)>, String> {
        Ok(self.world()?.delivered.pop_front())
    }

    fn flush(&self, _actor: &Actor) -> Vec<Element> {
        Vec::new()
    }

    fn real_time(&self) -> bool {
        false
    }

    fn pass_time(&mut self, seconds: i64) -> Result<(), String> {
        self.world()?.pass_time(seconds)
    }

    fn restart(&mut self) -> Result<(), String> {
        let setup = self.setup.clone().ok_or("the script was not begun")?;
        // The old engine must be closed before another one opens its file.
        let world = self.world.take().ok_or("the script was not begun")?;
        self.connected.fill(None);
        self.world = Some(world.restart(|| (self.open)(&setup))?);
        Ok(())
    }

    fn share_presence(&mut self, one: &Actor, other: &Actor) -> Result<(), String> {
        self.world()?.share(&one.jid, &other.jid)
    }

    fn end(&mut self) {
        self.world = None;
        if let Some(folder) = self.files.take() {
            std::fs::remove_dir_all(folder).ok();
        }
    }
}
