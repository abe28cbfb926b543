//! The engine: one input in, one transaction, decisions out after the commit.
//!
//! [`Engine::handle`] does so directly. [`Engine::submit`] hands the input to a worker that commits many of them at once.
//! Either way nothing leaves that is not stored, and nothing is stored half.

mod audience;
pub(crate) mod cache;
mod command;
pub(crate) mod context;
mod core;
mod decision;
pub(crate) mod dispatch;
pub(crate) mod event;
pub(crate) mod ids;
mod import;
mod input;
mod lane;
pub(crate) mod nodes;
pub(crate) mod notify;
pub(crate) mod presence;
mod queue;
mod reader;
pub(crate) mod rooms;
pub(crate) mod settings;
pub(crate) mod subscriptions;
pub(crate) mod summary;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

pub use decision::{Decision, Event, Need, Outcome};
pub use input::{Facts, Input, InputKind, RoomAffiliation, RoomInfo, RosterSubscription};
pub use queue::Completion;
pub use settings::ServiceKind;

use self::core::Core;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::Store;
use crate::store::memory::Memory as MemoryStore;
use crate::store::sqlite::{Durability, Options, Sqlite};
use crate::time::Timestamp;
use crate::xep::{self, Where};
use queue::Queue;

/// A publish-subscribe engine with its store. It may be used from several threads at once.
///
/// ```
/// use pam_pps::{Config, Decision, Engine, Input, ServiceKind, Timestamp};
///
/// let engine = Engine::open(&Config::new())?;
/// engine.serve("capulet.example", ServiceKind::Accounts, &Config::new())?;
/// let publish = Input::stanza(
///     "<iq type='set' id='1' from='juliet@capulet.example/balcony'>\
///      <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='mood'>\
///      <item id='current'><mood xmlns='urn:example:mood'/></item></publish></pubsub></iq>",
/// );
/// let outcome = engine.handle(Timestamp::from_micros(1_700_000_000_000_000), &publish)?;
/// let answered = |decision: &Decision| matches!(decision, Decision::Route { stanza } if stanza.contains("type='result'"));
/// assert!(outcome.decisions.iter().any(answered));
/// # Ok::<(), pam_pps::Error>(())
/// ```
pub struct Engine {
    shared: Arc<Shared>,
}

/// What the engine and its worker share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Those of the core, for the readers.
    hosts: RwLock<Arc<settings::Hosts>>,
    queue: Queue,
    /// Set after a panic: what is in memory may not be whole.
    unusable: AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// This part of `cache_size` is for pages of the store, beside what the engine keeps.
const PAGES_PART: usize = 4;

impl Engine {
    /// Opens the store that the options name.
    pub fn open(config: &Config) -> Result<Self> {
        Self::open_with(config, || {})
    }

    /// [`Engine::open`], with something to do first on the worker's thread.
    pub(crate) fn open_with(config: &Config, on_thread_start: fn()) -> Result<Self> {
        let store: Box<dyn Store> = match config.text("database") {
            "memory" => Box::new(MemoryStore::new()),
            path if path.starts_with("postgresql://") => {
                let why = "option \"database\": this version does not have PostgreSQL yet";
                return Err(Error::new(ErrorKind::InvalidOption, why));
            }
            path => {
                let durability = if config.text("commit") == "disk" { Durability::Disk } else { Durability::Os };
                let cache = usize::try_from(config.number("cache_size")).unwrap_or(usize::MAX);
                let options = Options { durability, cache_bytes: cache / PAGES_PART, ..Options::default() };
                Box::new(Sqlite::open(Path::new(path), &options)?)
            }
        };
        let seed = match config.text("seed") {
            "" => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed)
                    .map_err(|_| Error::new(ErrorKind::Unusable, "the system has no randomness"))?;
                seed
            }
            text => Sha256::digest(text).into(),
        };
        let mut core = Core::new(store, config, seed)?;
        let readers = core.readers(config)?;
        let group = config.number("group_commit") as usize;
        let queue = Queue::new(group, config.number("max_queue") as usize, readers, on_thread_start);
        let unusable = AtomicBool::new(false);
        Ok(Self { shared: Arc::new(Shared { core: Mutex::new(core), hosts: RwLock::default(), queue, unusable }) })
    }

    /// Takes over a host with accounts, a pubsub component, or the rooms of a chat service.
    pub fn serve(&self, domain: &str, kind: ServiceKind, options: &Config) -> Result<()> {
        self.shared.check()?;
        let domain = crate::jid::BareJid::parse(domain)?;
        let host = settings::Host::read(domain.as_str(), kind, options)?;
        let hosts = self.shared.core.lock().serve(host)?;
        *self.shared.hosts.write() = hosts;
        Ok(())
    }

    /// Gives a host or component back; its data stays.
    pub fn unserve(&self, domain: &str) -> Result<()> {
        self.shared.check()?;
        let hosts = self.shared.core.lock().unserve(domain);
        *self.shared.hosts.write() = hosts;
        Ok(())
    }

    /// What disco#info says there: a line `identity`, category, type and name with tabs between them for each identity,
    /// then a line for each feature.
    pub fn features(&self, domain: &str, at: Where) -> Result<String> {
        self.shared.check()?;
        let core = self.shared.core.lock();
        let host =
            core.host(domain).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the domain is not served"))?;
        let (identities, features) = xep::features(host, at);
        let identities =
            identities.iter().map(|(category, kind)| format!("identity\t{category}\t{kind}\t{}", host.name));
        let lines: Vec<String> = identities.chain(features.iter().map(|&feature| feature.to_owned())).collect();
        Ok(lines.join("\n"))
    }

    /// Handles one input at `now`. A failing store is an answer in the outcome, not an error; an input that makes no
    /// sense is an error.
    pub fn handle(&self, now: Timestamp, input: &Input) -> Result<Outcome> {
        self.shared.check()?;
        self.shared.core.lock().run_alone(now, input)
    }

    /// Queues one input; the worker hands the outcome to `done`, on its own thread, after the commit.
    ///
    /// Inputs of one service are handled in the order in which they were submitted. A request that only reads sees all that
    /// was submitted before it for its service, and maybe more: it may be answered beside the worker. If facts are needed, the outcome holds
    /// the input: submit it again with them; what came after it for the same service waits until then, unless the input
    /// only reads.
    pub fn submit(&self, now: Timestamp, input: Input, done: Completion) -> Result<()> {
        self.shared.check()?;
        self.shared.queue.push(&self.shared, now, input, done)
    }

    /// Figures for an administrator: name and value.
    pub fn statistics(&self) -> Result<Vec<(String, i64)>> {
        self.shared.check()?;
        let waiting = self.shared.queue.len();
        let reads = self.shared.queue.reads();
        let mut figures = self.shared.core.lock().statistics()?;
        figures.push(("reads_total".to_owned(), reads));
        figures.push(("queue_length".to_owned(), i64::try_from(waiting).unwrap_or(i64::MAX)));
        Ok(figures)
    }

    /// Declares the engine unusable: after a panic somewhere in it.
    pub(crate) fn mark_unusable(&self) {
        self.shared.unusable.store(true, Ordering::Release);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.queue.close(&self.shared);
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        if self.unusable.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unusable, "the engine met a bug of its own and stopped; restart it"));
        }
        Ok(())
    }
}
