//! The queue of submitted inputs and the worker that commits them in groups.
//!
//! Inputs of one service form a lane: when one of them needs facts, those behind it wait until it was submitted again.
//! Lanes are looked at only while one of them waits, so that the usual input costs nothing for it.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::core::Job;
use super::decision::{Decision, Outcome};
use super::input::{Input, InputKind};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;
use crate::xml::{Document, Limits};

/// What is given the outcome of a submitted input, on the worker's thread.
pub type Completion = Box<dyn FnOnce(Outcome) + Send>;

struct Entry {
    now: Timestamp,
    input: Input,
    done: Completion,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// Lanes whose first input needs facts: its ticket, and what came after it.
    parked: HashMap<String, (u64, VecDeque<Entry>)>,
    tickets: u64,
    /// Bytes of all inputs that wait.
    bytes: usize,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    worker: Mutex<Option<JoinHandle<()>>>,
    group: usize,
    capacity: usize,
    on_thread_start: fn(),
}

/// The right to go on with a lane. Dropping the input that holds it lets the lane go on without it.
#[derive(Debug, Clone)]
pub(super) struct Ticket(#[expect(dead_code, reason = "its drop is what counts")] Arc<Hold>);

struct Hold {
    number: u64,
    lane: String,
    shared: Weak<Shared>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({}, {})", self.number, self.lane)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.queue.unpark(&self.lane, self.number);
        }
    }
}

impl Queue {
    pub(super) fn new(group: usize, capacity: usize, on_thread_start: fn()) -> Self {
        Self {
            state: Mutex::default(),
            more: Condvar::new(),
            worker: Mutex::new(None),
            group,
            capacity,
            on_thread_start,
        }
    }

    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.parked.values().map(|(_, entries)| entries.len()).sum::<usize>()
    }

    pub(super) fn push(&self, shared: &Arc<Shared>, now: Timestamp, input: Input, done: Completion) -> Result<()> {
        let entry = Entry { now, input, done };
        let size = size(&entry.input);
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the engine is shutting down"));
        }
        if entry.input.ticket.is_some() {
            state.waiting.push_front(entry);
        } else if state.waiting.len() >= self.capacity || state.bytes > MAX_BYTES {
            return Err(Error::new(ErrorKind::Busy, "too many inputs are waiting"));
        } else {
            state.waiting.push_back(entry);
        }
        state.bytes += size;
        drop(state);
        self.more.notify_one();
        let mut worker = self.worker.lock();
        if worker.is_none() {
            *worker = Some(self.start(shared)?);
        }
        Ok(())
    }

    fn start(&self, shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
        // The worker ends when the engine, on being dropped, closes the queue.
        let shared = Arc::clone(shared);
        let on_thread_start = self.on_thread_start;
        let worker = move || {
            on_thread_start();
            while work(&shared) {}
        };
        let started = std::thread::Builder::new().name("pam_pps".to_owned()).spawn(worker);
        started.map_err(|error| Error::new(ErrorKind::Unusable, format!("no thread could be started: {error}")))
    }

    /// Finishes what is queued and ends the worker.
    pub(super) fn close(&self) {
        {
            let mut state = self.state.lock();
            state.closed = true;
            for (_, (_, entries)) in std::mem::take(&mut state.parked) {
                state.waiting.extend(entries);
            }
        }
        self.more.notify_all();
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            // A completion may hold the last reference to the engine: the worker cannot wait for itself.
            if worker.thread().id() != std::thread::current().id() {
                let _ = worker.join();
            }
        }
    }

    fn unpark(&self, lane: &str, number: u64) {
        let mut state = self.state.lock();
        if state.parked.get(lane).is_some_and(|(ticket, _)| *ticket == number) {
            if let Some((_, entries)) = state.parked.remove(lane) {
                for entry in entries.into_iter().rev() {
                    state.waiting.push_front(entry);
                }
            }
            drop(state);
            self.more.notify_one();
        }
    }

    /// The next group; none when the queue is closed and empty.
    fn next_group(&self) -> Option<Vec<Entry>> {
        let mut state = self.state.lock();
        loop {
            let mut group = Vec::new();
            while group.len() < self.group {
                let Some(entry) = state.waiting.pop_front() else { break };
                if !state.parked.is_empty() && entry.input.ticket.is_none() {
                    let lane = lane(&entry.input);
                    if let Some((_, entries)) = state.parked.get_mut(&lane) {
                        entries.push_back(entry);
                        continue;
                    }
                }
                group.push(entry);
            }
            if !group.is_empty() {
                let taken: usize = group.iter().map(|entry| size(&entry.input)).sum();
                state.bytes = state.bytes.saturating_sub(taken);
                return Some(group);
            }
            if state.closed {
                // What waits behind an input whose facts nobody can bring any more goes on without it.
                let parked = std::mem::take(&mut state.parked);
                state.waiting.extend(parked.into_values().flat_map(|(_, entries)| entries));
                if state.waiting.is_empty() {
                    return None;
                }
                continue;
            }
            self.more.wait(&mut state);
        }
    }
}

/// Bytes that may wait; more are refused until some have been handled.
const MAX_BYTES: usize = 256 * 1024 * 1024;

fn size(input: &Input) -> usize {
    match &input.kind {
        InputKind::Stanza(text) | InputKind::Import(text) | InputKind::Command(text) => text.len(),
        _ => 0,
    }
}

/// The service that an input is for: inputs of one lane are handled in order.
fn lane(input: &Input) -> String {
    match &input.kind {
        InputKind::Stanza(xml) => Document::parse(xml, &Limits::default()).map_or_else(
            |_| String::new(),
            |document| {
                let root = document.root();
                let address = root.attr("to").or_else(|| root.attr("from")).unwrap_or("");
                address.split_once('/').map_or(address, |(bare, _)| bare).to_owned()
            },
        ),
        InputKind::RosterChanged { owner, .. } => owner.clone(),
        InputKind::AccountRemoved(jid) => jid.clone(),
        InputKind::SessionEnded(jid) => jid.split_once('/').map_or(jid.as_str(), |(bare, _)| bare).to_owned(),
        InputKind::Tick | InputKind::Import(_) | InputKind::Command(_) => String::new(),
    }
}

/// Handles one group; false when there is nothing more to come.
fn work(shared: &Arc<Shared>) -> bool {
    let Some(group) = shared.queue.next_group() else { return false };
    let mut jobs: Vec<Job<'_>> =
        group.iter().map(|entry| Job { now: entry.now, input: &entry.input, outcome: None }).collect();
    let lanes: Vec<OnceCell<String>> = group.iter().map(|_| OnceCell::new()).collect();
    let lane_of = |place: usize| lanes[place].get_or_init(|| lane(&group[place].input)).as_str();
    let ran = shared.check().is_ok()
        && catch_unwind(AssertUnwindSafe(|| shared.core.lock().run_group(&mut jobs, lane_of))).is_ok();
    if !ran {
        shared.unusable.store(true, Ordering::Release);
    }
    let outcomes: Vec<_> = jobs.into_iter().map(|job| job.outcome).collect();
    let mut finished = Vec::with_capacity(group.len());
    let mut deferred = Vec::new();
    for (mut entry, outcome) in group.into_iter().zip(outcomes) {
        let outcome = match outcome {
            _ if !ran => failed(&entry.input),
            Some(Ok(outcome)) if outcome.needs_facts() => park(shared, &mut entry, outcome),
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                log::warn!("an input could not be handled: {error}");
                Outcome::default()
            }
            None => {
                deferred.push(entry);
                continue;
            }
        };
        finished.push((entry.done, outcome, entry.input));
    }
    defer(shared, deferred);
    for (done, outcome, input) in finished {
        if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
            log::error!("a completion panicked");
        }
        // The lane goes on only after the host has what came before.
        drop(input);
    }
    true
}

/// Keeps the lane of an input that needs facts for it, and gives the input back to the host.
fn park(shared: &Arc<Shared>, entry: &mut Entry, mut outcome: Outcome) -> Outcome {
    let mut input = std::mem::replace(&mut entry.input, Input::tick());
    if input.ticket.is_none() {
        let lane = lane(&input);
        let mut state = shared.queue.state.lock();
        state.tickets += 1;
        let number = state.tickets;
        state.parked.insert(lane.clone(), (number, VecDeque::new()));
        input.ticket = Some(Ticket(Arc::new(Hold { number, lane, shared: Arc::downgrade(shared) })));
    }
    outcome.input = Some(input);
    outcome
}

/// Puts inputs that have to wait behind the one of their lane that needs facts.
fn defer(shared: &Shared, deferred: Vec<Entry>) {
    let mut state = shared.queue.state.lock();
    let mut free = Vec::new();
    for entry in deferred {
        state.bytes += size(&entry.input);
        match state.parked.get_mut(&lane(&entry.input)) {
            Some((_, entries)) => entries.push_back(entry),
            None => free.push(entry),
        }
    }
    for entry in free.into_iter().rev() {
        state.waiting.push_front(entry);
    }
}

/// What a peer is told when the engine has stopped over a bug of its own.
fn failed(input: &Input) -> Outcome {
    let stop = super::context::Stop::Failed(Error::new(ErrorKind::Unusable, "the engine has stopped"));
    let answer = super::dispatch::failure_answer(input, &stop, &Limits::default());
    Outcome { decisions: answer.map(|stanza| Decision::Route { stanza }).into_iter().collect(), input: None }
}
