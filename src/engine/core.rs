//! The store and the memory of one engine, and how inputs become transactions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::cache::Cache;
use super::command;
use super::context::{Context, Memory, Stop};
use super::decision::{Decision, Outcome};
use super::dispatch;
use super::ids::Ids;
use super::input::{Input, InputKind};
use super::presence::Presences;
use super::reader::Reader;
use super::rooms;
use super::settings::{Host, Hosts, Settings};
use crate::config::Config;
use crate::error::Result;
use crate::pubsub::policy::Kind;
use crate::pubsub::store::{Store, Transaction};
use crate::time::Timestamp;

pub(crate) struct Core {
    store: Box<dyn Store>,
    memory: Memory,
    hosts: Arc<Hosts>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    inputs: i64,
    commits: i64,
    /// Spent on writing down what was counted and on committing. A figure for people: nothing is decided by it.
    commit_micros: i64,
    rollbacks: i64,
    notifications: i64,
}

/// How one attempt at an input ended.
pub(super) enum Attempt {
    Done(Vec<Decision>),
    /// It ended early, and nothing was written.
    Ended(Stop, Vec<Decision>),
    /// It ended early after something was written: the transaction cannot be kept.
    Spoilt(Stop),
}

/// What came of a group in one transaction.
enum Tried {
    /// Each input has its outcome.
    Answered,
    /// The transaction was not kept: nothing has changed in the store, but [`Core::rollback`] is due.
    Undone,
}

/// Services of occupants that are removed in one transaction.
const FORGOTTEN: usize = 500;

/// The writer keeps so many parts of the cache's bytes, each reader one.
const READER_PART: u64 = 4;

/// One input of a group, and what came of it.
pub(crate) struct Job<'i> {
    pub(crate) now: Timestamp,
    pub(crate) input: &'i Input,
    /// None if it was not tried: an earlier one of its lane waits for facts.
    pub(crate) outcome: Option<Result<Outcome>>,
}

impl Core {
    pub(crate) fn new(mut store: Box<dyn Store>, config: &Config, seed: [u8; 32]) -> Result<Self> {
        let mut ids = Ids::new(seed);
        let mut transaction = store.begin()?;
        let secret = match transaction.value("secret")? {
            Some(secret) => secret,
            None => {
                let secret = ids.random() + &ids.random();
                transaction.set_value("secret", &secret)?;
                secret
            }
        };
        transaction.commit()?;
        let memory = memory(config.number("cache_size"), ids, Settings::read(config), secret);
        Ok(Self { store, memory, hosts: Arc::default(), counts: Counts::default() })
    }

    /// As many readers as are wanted and the store can have. They take their part of the cache's bytes.
    pub(crate) fn readers(&mut self, config: &Config) -> Result<Vec<Reader>> {
        let wanted = config.number("readers");
        let bytes = config.number("cache_size");
        let part = bytes / (READER_PART + wanted);
        let mut readers = Vec::new();
        for _ in 0..wanted {
            let Some(store) = self.store.reader()? else { break };
            let (settings, secret) = (self.memory.settings.clone(), self.memory.secret.clone());
            let memory = Memory {
                reads_only: true,
                // What is due is the writer's business.
                planned: true,
                // Nothing that reads makes an identifier.
                ..memory(part, Ids::new([0; 32]), settings, secret)
            };
            readers.push(Reader::new(store, memory));
        }
        let own = bytes - part * readers.len() as u64;
        self.memory.cache = Cache::new(usize::try_from(own).unwrap_or(usize::MAX));
        Ok(readers)
    }

    pub(crate) fn serve(&mut self, host: Host) -> Result<Arc<Hosts>> {
        // Where only the options are others, it is known who is there.
        let known = self.host(&host.domain).is_some_and(|known| known.policy.kind == Kind::Room);
        if host.policy.kind == Kind::Room && !known {
            self.forget_occupants(&host.domain)?;
        }
        // What is cached of nodes has the settings of before in it.
        self.memory.cache.clear();
        // With it, something may be due.
        self.memory.planned = false;
        Arc::make_mut(&mut self.hosts).insert(host.domain.clone(), Arc::new(host));
        Ok(self.hosts.clone())
    }

    /// What occupants published ends with their stay, and nobody knows now who stayed.
    fn forget_occupants(&mut self, domain: &str) -> Result<()> {
        self.memory.presences.remove_domain(domain);
        let (from, to) = rooms::stays_of(domain);
        loop {
            let mut transaction = self.store.begin()?;
            let found = transaction.services_between(&from, &to, FORGOTTEN)?;
            for service in &found {
                transaction.delete_service(service.key)?;
                self.memory.cache.remove_service(&service.jid);
            }
            transaction.commit()?;
            if found.len() < FORGOTTEN {
                return Ok(());
            }
        }
    }

    pub(crate) fn unserve(&mut self, domain: &str) -> Arc<Hosts> {
        Arc::make_mut(&mut self.hosts).remove(domain);
        // Nobody will tell when they end.
        self.memory.presences.remove_domain(domain);
        self.hosts.clone()
    }

    pub(crate) fn host(&self, domain: &str) -> Option<&Host> {
        self.hosts.get(domain).map(AsRef::as_ref)
    }

    /// Handles one input in a transaction of its own.
    pub(crate) fn run_alone(&mut self, now: Timestamp, input: &Input) -> Result<Outcome> {
        if let Some(outcome) = self.maintain(input) {
            return Ok(outcome);
        }
        let mut jobs = [Job { now, input, outcome: None }];
        if let Tried::Undone = self.try_group(&mut jobs, |_| "") {
            self.rollback();
            let [job] = &mut jobs;
            job.outcome = Some(self.run_once(now, input));
        }
        let [job] = jobs;
        job.outcome.unwrap_or_else(|| Ok(Outcome::default()))
    }

    /// Handles a group in one transaction; where that cannot be kept, each in one of its own. Inputs whose `lane` (by
    /// place in the group) is that of an earlier one that needs facts are left for later.
    pub(crate) fn run_group<'l>(&mut self, jobs: &mut [Job<'_>], lane: impl Fn(usize) -> &'l str) {
        // The queue makes it a group of its own.
        if let [job] = jobs
            && let Some(outcome) = self.maintain(job.input)
        {
            job.outcome = Some(Ok(outcome));
            return;
        }
        if let Tried::Answered = self.try_group(jobs, &lane) {
            return;
        }
        self.rollback();
        let mut blocked: HashSet<&str> = HashSet::new();
        for (place, job) in jobs.iter_mut().enumerate() {
            job.outcome = None;
            if !blocked.is_empty() && blocked.contains(lane(place)) {
                continue;
            }
            let outcome = self.run_once(job.now, job.input);
            if outcome.as_ref().is_ok_and(Outcome::needs_facts) {
                blocked.insert(lane(place));
            }
            job.outcome = Some(outcome);
        }
    }

    /// The outcome of a command about the store as a whole.
    fn maintain(&mut self, input: &Input) -> Option<Outcome> {
        let what = command::maintenance(&input.kind)?;
        let reply = match self.store.maintain(what) {
            Ok(lines) => Decision::Reply(lines.join("\n")),
            Err(error) => command::failure(&error),
        };
        self.counts.inputs += 1;
        Some(Outcome { decisions: vec![reply], ..Outcome::default() })
    }

    fn rollback(&mut self) {
        self.memory.presences.rollback();
        self.memory.cache.clear();
        self.memory.next_wake = None;
        self.memory.planned = false;
        self.counts.rollbacks += 1;
    }

    fn try_group<'l>(&mut self, jobs: &mut [Job<'_>], lane: impl Fn(usize) -> &'l str) -> Tried {
        let Self { store, memory, hosts, counts } = self;
        let mut transaction = match store.begin() {
            Ok(transaction) => transaction,
            // Waiting for whoever has locked the file again, once for each input, would only make it worse.
            Err(error) => {
                for job in jobs {
                    job.outcome = Some(ended(job.input, &Stop::Failed(error.clone()), memory));
                }
                return Tried::Answered;
            }
        };
        let mut blocked: HashSet<&str> = HashSet::new();
        for (place, job) in jobs.iter_mut().enumerate() {
            if !blocked.is_empty() && blocked.contains(lane(place)) {
                continue;
            }
            let (now, input) = (job.now, job.input);
            let outcome = match attempt(now, input, transaction.as_mut(), memory, hosts) {
                Attempt::Done(decisions) => Ok(Outcome { decisions, ..Outcome::default() }),
                Attempt::Ended(Stop::Need, needs) => {
                    blocked.insert(lane(place));
                    Ok(Outcome { decisions: needs, ..Outcome::default() })
                }
                // A store that fails once may fail in the middle of the others too.
                Attempt::Ended(Stop::Failed(error), _) if error.kind() == crate::error::ErrorKind::Store => {
                    return Tried::Undone;
                }
                Attempt::Ended(stop, _) => ended(input, &stop, memory),
                Attempt::Spoilt(_) => return Tried::Undone,
            };
            job.outcome = Some(outcome);
        }
        if commit(transaction, memory, counts).is_err() {
            return Tried::Undone;
        }
        counts.inputs += jobs.len() as i64;
        let outcomes = jobs.iter().filter_map(|job| job.outcome.as_ref()?.as_ref().ok());
        counts.notifications += outcomes.map(notifications).sum::<i64>();
        Tried::Answered
    }

    /// One input whose failure is its own: rolled back, and answered with the error.
    fn run_once(&mut self, now: Timestamp, input: &Input) -> Result<Outcome> {
        let Self { store, memory, hosts, counts } = self;
        let stop = match store.begin() {
            Err(error) => Stop::Failed(error),
            Ok(mut transaction) => match attempt(now, input, transaction.as_mut(), memory, hosts) {
                Attempt::Ended(Stop::Need, needs) => return Ok(Outcome { decisions: needs, ..Outcome::default() }),
                Attempt::Ended(stop, _) | Attempt::Spoilt(stop) => stop,
                Attempt::Done(decisions) => {
                    if let Err(error) = commit(transaction, memory, counts) {
                        Stop::Failed(error)
                    } else {
                        counts.inputs += 1;
                        let outcome = Outcome { decisions, ..Outcome::default() };
                        counts.notifications += notifications(&outcome);
                        return Ok(outcome);
                    }
                }
            },
        };
        self.rollback();
        if let Stop::Need = stop {
            return self.ask_again(now, input);
        }
        ended(input, &stop, &self.memory)
    }

    /// Facts were found to be needed only after something was written; it has been undone, and the needs are named again.
    fn ask_again(&mut self, now: Timestamp, input: &Input) -> Result<Outcome> {
        let Self { store, memory, hosts, .. } = self;
        let mut transaction = store.begin()?;
        let mark = memory.presences.mark();
        let mut context = Context::new(now, input.privileged, &input.facts, transaction.as_mut(), memory, hosts);
        let _ = dispatch::run(&mut context, input);
        let decisions = context.needs.drain(..).map(Decision::Need).collect();
        drop(context);
        memory.presences.rollback_to(mark);
        drop(transaction);
        memory.cache.clear();
        // Nobody is told when to call.
        memory.next_wake = None;
        memory.planned = false;
        Ok(Outcome { decisions, ..Outcome::default() })
    }

    pub(crate) fn statistics(&mut self) -> Result<Vec<(String, i64)>> {
        let mut figures: Vec<(String, i64)> =
            self.store.statistics()?.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let resources = i64::try_from(self.memory.presences.total()).unwrap_or(i64::MAX);
        let cache = i64::try_from(self.memory.cache.bytes()).unwrap_or(i64::MAX);
        let own = [
            ("inputs_total", self.counts.inputs),
            ("commits_total", self.counts.commits),
            ("commit_micros_total", self.counts.commit_micros),
            ("rollbacks_total", self.counts.rollbacks),
            ("notifications_total", self.counts.notifications),
            ("resources", resources),
            ("cache_bytes", cache),
        ];
        figures.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Ok(figures)
    }
}

fn memory(cache_bytes: u64, ids: Ids, settings: Settings, secret: String) -> Memory {
    Memory {
        cache: Cache::new(usize::try_from(cache_bytes).unwrap_or(usize::MAX)),
        presences: Presences::default(),
        ids,
        features: HashMap::new(),
        pam_contacts: HashMap::new(),
        round: crate::xep::Round::default(),
        phantoms: crate::xep::Phantoms::default(),
        next_wake: None,
        planned: false,
        settings,
        secret,
        reads_only: false,
    }
}

pub(super) fn attempt(
    now: Timestamp,
    input: &Input,
    transaction: &mut (dyn Transaction + '_),
    memory: &mut Memory,
    hosts: &Hosts,
) -> Attempt {
    let mark = memory.presences.mark();
    let (next_wake, planned) = (memory.next_wake, memory.planned);
    let mut context = Context::new(now, input.privileged, &input.facts, transaction, memory, hosts);
    let result = dispatch::run(&mut context, input);
    let Context { out, needs, wrote, .. } = context;
    match result {
        Ok(()) => Attempt::Done(out),
        Err(stop) => {
            memory.presences.rollback_to(mark);
            memory.next_wake = next_wake;
            memory.planned = planned;
            match (stop, wrote) {
                (stop, true) => Attempt::Spoilt(stop),
                (stop, false) => Attempt::Ended(stop, needs.into_iter().map(Decision::Need).collect()),
            }
        }
    }
}

/// The answer to an input that was refused or failed, or the error for the caller if nobody can be answered.
pub(super) fn ended(input: &Input, stop: &Stop, memory: &Memory) -> Result<Outcome> {
    if let Some(stanza) = dispatch::failure_answer(input, stop, &memory.settings.limits) {
        return Ok(Outcome { decisions: vec![Decision::Route { stanza }], ..Outcome::default() });
    }
    match (dispatch::failure_text(stop), &input.kind) {
        // A message or presence that cannot be handled is not answered.
        (Some(error), InputKind::Stanza(_)) if error.kind() == crate::error::ErrorKind::Xml => Err(error),
        (_, InputKind::Stanza(_)) | (None, _) => Ok(Outcome::default()),
        (Some(error), _) => Err(error),
    }
}

fn commit(mut transaction: Box<dyn Transaction + '_>, memory: &mut Memory, counts: &mut Counts) -> Result<()> {
    let begun = Instant::now();
    let (nodes, services) = memory.cache.dirty();
    for node in nodes {
        transaction.update_node_counters(node.key, &node.counters)?;
    }
    for service in services {
        transaction.update_service(&service)?;
    }
    transaction.commit()?;
    memory.presences.commit();
    memory.cache.shrink();
    counts.commits += 1;
    counts.commit_micros += i64::try_from(begun.elapsed().as_micros()).unwrap_or(0);
    Ok(())
}

fn notifications(outcome: &Outcome) -> i64 {
    let count = |decision: &Decision| match decision {
        Decision::Multicast { recipients, .. } => recipients.len() as i64,
        _ => 0,
    };
    outcome.decisions.iter().map(count).sum()
}
