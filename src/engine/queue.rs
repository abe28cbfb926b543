//! The queue of submitted inputs, the worker that commits them in groups, and the threads that answer what only reads.
//!
//! Who publishes much has several requests under way and sends the next ones when he is answered. They come one after the other,
//! and a worker that begins with the first would commit nearly each by itself. So after a group it sleeps for a moment, until
//! there are as many as there were lately, or they stop coming; who sends one request at a time never waits. It is not woken for
//! fewer: being put to sleep and woken costs a worker about as much as an input.
//!
//! Inputs of one service form a lane ([`super::lane`]): when one of them needs facts, those behind it wait until it was
//! submitted again. Lanes are looked at only while one of them waits, so that the usual input costs nothing for it.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Shared;
use super::core::Job;
use super::decision::{Decision, Outcome};
use super::input::{Input, InputKind};
use super::lane::{Touched, Unfinished, lane};
use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;
use crate::xml::Limits;

/// What is given the outcome of a submitted input, on the worker's thread.
pub type Completion = Box<dyn FnOnce(Outcome) + Send>;

struct Entry {
    now: Timestamp,
    input: Input,
    done: Completion,
    /// What it may change, counted until it is finished; none if it came again with facts, or there are no readers.
    touched: Option<Touched>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// For the readers.
    reads: VecDeque<Entry>,
    unfinished: Unfinished,
    /// Lanes whose first input needs facts: its ticket, and what came after it.
    parked: HashMap<String, (u64, VecDeque<Entry>)>,
    tickets: u64,
    /// Bytes of all inputs that wait.
    bytes: usize,
    /// Inputs that were under way when the last group was done: its own, whose senders may come again, and those that came meanwhile.
    /// None again when they have been waited for.
    lately: usize,
    /// The worker is waiting for so many.
    wanted: usize,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    more_reads: Condvar,
    threads: Mutex<Threads>,
    has_readers: bool,
    reads: AtomicI64,
    group: usize,
    capacity: usize,
    first_pause: Duration,
    pause: Duration,
    longest_wait: Duration,
    on_thread_start: fn(),
}

/// Started when they are first wanted.
#[derive(Default)]
struct Threads {
    worker: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Those that have no thread yet.
    idle: Vec<Reader>,
}

/// The mark of an input that comes again with facts. With the right to go on with a lane, dropping the input lets the lane go
/// on without it; what a reader has asked for holds no lane, because nothing has to wait for it.
#[derive(Debug, Clone)]
pub(super) struct Ticket(#[expect(dead_code, reason = "its drop is what counts")] Option<Arc<Hold>>);

struct Hold {
    number: u64,
    lane: String,
    touched: Option<Touched>,
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
            shared.queue.unpark(&self.lane, self.number, self.touched);
        }
    }
}

impl Queue {
    pub(super) fn new(group: usize, capacity: usize, readers: Vec<Reader>, on_thread_start: fn()) -> Self {
        Self {
            state: Mutex::default(),
            more: Condvar::new(),
            more_reads: Condvar::new(),
            has_readers: !readers.is_empty(),
            threads: Mutex::new(Threads { idle: readers, ..Threads::default() }),
            reads: AtomicI64::new(0),
            group,
            capacity,
            first_pause: FIRST_PAUSE,
            pause: PAUSE,
            longest_wait: LONGEST_WAIT,
            on_thread_start,
        }
    }

    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.reads.len() + state.parked.values().map(|(_, entries)| entries.len()).sum::<usize>()
    }

    /// Requests that readers have answered.
    pub(super) fn reads(&self) -> i64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, shared: &Arc<Shared>, now: Timestamp, input: Input, done: Completion) -> Result<()> {
        let mut entry = Entry { now, input, done, touched: None };
        let size = size(&entry.input);
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the engine is shutting down"));
        }
        let again = entry.input.ticket.is_some();
        if !again && (state.waiting.len() + state.reads.len() >= self.capacity || state.bytes > MAX_BYTES) {
            return Err(Error::new(ErrorKind::Busy, "too many inputs are waiting"));
        }
        let mut reads = false;
        if self.has_readers {
            let (touched, get) = state.unfinished.touched(&entry.input);
            // What comes again has its lane for itself.
            reads = get && (again || state.unfinished.may_read(touched));
            if !get && !again {
                state.unfinished.begin(touched);
                entry.touched = Some(touched);
            }
        }
        state.bytes += size;
        if reads {
            state.reads.push_back(entry);
        } else {
            state.enqueue(entry);
        }
        let enough = state.has_enough();
        drop(state);
        let mut threads = self.threads.lock();
        if reads {
            self.more_reads.notify_one();
            while let Some(mut reader) = threads.idle.pop() {
                let thread = self.start(shared, move |shared| read(shared, &mut reader))?;
                threads.readers.push(thread);
            }
        } else {
            if enough {
                self.more.notify_one();
            }
            if threads.worker.is_none() {
                threads.worker = Some(self.start(shared, work)?);
            }
        }
        Ok(())
    }

    /// Starts a thread that works until there is nothing more to come.
    fn start(
        &self,
        shared: &Arc<Shared>,
        mut work: impl FnMut(&Arc<Shared>) -> bool + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        // It ends when the engine, on being dropped, closes the queue.
        let shared = Arc::clone(shared);
        let on_thread_start = self.on_thread_start;
        let thread = move || {
            on_thread_start();
            while work(&shared) {}
        };
        let started = std::thread::Builder::new().name("pam_pps".to_owned()).spawn(thread);
        started.map_err(|error| Error::new(ErrorKind::Unusable, format!("no thread could be started: {error}")))
    }

    /// Finishes what is queued and ends the threads.
    pub(super) fn close(&self, shared: &Arc<Shared>) {
        {
            let mut state = self.state.lock();
            state.closed = true;
            state.free_lanes();
        }
        self.more.notify_all();
        self.more_reads.notify_all();
        // The readers first: they may hand something to the worker.
        let readers = std::mem::take(&mut self.threads.lock().readers);
        let own = std::thread::current().id();
        // A completion may hold the last reference to the engine: a thread cannot wait for itself.
        for thread in readers.into_iter().filter(|thread| thread.thread().id() != own) {
            let _ = thread.join();
        }
        let worker = self.threads.lock().worker.take();
        if let Some(worker) = worker {
            if worker.thread().id() == own {
                return;
            }
            let _ = worker.join();
        }
        // What a reader has handed over when the worker had gone already.
        while work(shared) {}
    }

    fn unpark(&self, lane: &str, number: u64, touched: Option<Touched>) {
        let mut state = self.state.lock();
        if let Some(touched) = touched {
            state.unfinished.end(touched);
        }
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
            self.wait_for_more(&mut state);
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
                // What is done with the store as a whole cannot share a transaction.
                if super::command::maintenance(&entry.input.kind).is_some() {
                    if group.is_empty() {
                        group.push(entry);
                    } else {
                        state.waiting.push_front(entry);
                    }
                    break;
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
                state.free_lanes();
                if state.waiting.is_empty() {
                    return None;
                }
                continue;
            }
            self.more.wait(&mut state);
        }
    }

    /// After a group: lets inputs come until there are as many as were under way lately. Ends when none comes for a moment.
    fn wait_for_more(&self, state: &mut MutexGuard<'_, State>) {
        let wanted = std::mem::take(&mut state.lately).min(self.group);
        if state.waiting.len() >= wanted || wanted < 2 {
            return;
        }
        state.wanted = wanted;
        let until = Instant::now() + self.longest_wait;
        let mut pause = self.first_pause;
        while state.waiting.len() < wanted && !state.closed {
            let before = state.waiting.len();
            let none_came = self.more.wait_for(state, pause).timed_out() && state.waiting.len() == before;
            if none_came || Instant::now() >= until {
                break;
            }
            pause = self.pause;
        }
        state.wanted = 1;
    }

    /// What the next reader answers; none when the queue is closed and empty.
    fn next_reads(&self) -> Option<Vec<Entry>> {
        let mut state = self.state.lock();
        loop {
            if !state.reads.is_empty() {
                let count = state.reads.len().min(MAX_READS);
                let group: Vec<Entry> = state.reads.drain(..count).collect();
                let taken: usize = group.iter().map(|entry| size(&entry.input)).sum();
                state.bytes = state.bytes.saturating_sub(taken);
                return Some(group);
            }
            if state.closed {
                return None;
            }
            self.more_reads.wait(&mut state);
        }
    }
}

impl State {
    /// What was submitted again goes first: its lane waits for it.
    fn enqueue(&mut self, entry: Entry) {
        if entry.input.ticket.is_some() {
            self.waiting.push_front(entry);
        } else {
            self.waiting.push_back(entry);
        }
    }

    /// Whether the worker has what it waits for.
    fn has_enough(&self) -> bool {
        self.waiting.len() >= self.wanted
    }

    /// Puts inputs that have to wait behind the one of their lane that needs facts.
    fn defer(&mut self, entries: Vec<Entry>) {
        let mut free = Vec::new();
        for entry in entries {
            self.bytes += size(&entry.input);
            match self.parked.get_mut(&lane(&entry.input)) {
                Some((_, parked)) => parked.push_back(entry),
                None => free.push(entry),
            }
        }
        for entry in free.into_iter().rev() {
            self.waiting.push_front(entry);
        }
    }

    fn free_lanes(&mut self) {
        let parked = std::mem::take(&mut self.parked);
        self.waiting.extend(parked.into_values().flat_map(|(_, entries)| entries));
    }
}

/// After a group, its senders have to be told before they come again.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// Without an input for so long, no more are expected for the same group.
const PAUSE: Duration = Duration::from_micros(50);

/// How long it may take until a group is complete.
const LONGEST_WAIT: Duration = Duration::from_micros(500);

/// Requests that are answered from one state of the store: few, so that the other readers have something to do.
const MAX_READS: usize = 16;

/// Bytes that may wait; more are refused until some have been handled.
const MAX_BYTES: usize = 256 * 1024 * 1024;

fn size(input: &Input) -> usize {
    match &input.kind {
        InputKind::Stanza(text) | InputKind::Import(text) | InputKind::Command(text) => text.len(),
        _ => 0,
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
    let mut over = Vec::new();
    for (mut entry, outcome) in group.into_iter().zip(outcomes) {
        let outcome = match outcome {
            _ if !ran => failed(&entry.input),
            Some(Ok(outcome)) if outcome.needs_facts() => park(shared, &mut entry, outcome),
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => unhandled(&error),
            None => {
                deferred.push(entry);
                continue;
            }
        };
        over.extend(entry.touched);
        finished.push((entry.done, outcome, entry.input));
    }
    {
        let mut state = shared.queue.state.lock();
        state.defer(deferred);
        // Before anybody can have come again.
        state.lately = finished.len() + state.waiting.len();
    }
    // Readers may answer for these services again when the host knows the last outcome, which sends the others on their way, too: what
    // a reader answers must not come before it. No later, since who has that answer may read.
    complete(finished, || {
        let mut state = shared.queue.state.lock();
        over.iter().for_each(|&touched| state.unfinished.end(touched));
    });
    true
}

/// Answers a group of requests that only read; false when there is nothing more to come.
fn read(shared: &Arc<Shared>, reader: &mut Reader) -> bool {
    let Some(group) = shared.queue.next_reads() else { return false };
    let hosts = Arc::clone(&shared.hosts.read());
    let inputs = group.iter().map(|entry| (entry.now, &entry.input));
    let ran = shared.check().ok().and_then(|()| catch_unwind(AssertUnwindSafe(|| reader.read(inputs, &hosts))).ok());
    if ran.is_none() {
        shared.unusable.store(true, Ordering::Release);
    }
    let outcomes = ran.unwrap_or_else(|| group.iter().map(|entry| Some(Ok(failed(&entry.input)))).collect());
    let mut finished = Vec::with_capacity(group.len());
    for (mut entry, outcome) in group.into_iter().zip(outcomes) {
        let outcome = match outcome {
            Some(Ok(mut outcome)) if outcome.needs_facts() => {
                let mut input = std::mem::replace(&mut entry.input, Input::tick());
                // Several readers may want facts for one lane at once, and the writer too: none of them parks it.
                input.ticket.get_or_insert(Ticket(None));
                outcome.input = Some(input);
                outcome
            }
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => unhandled(&error),
            None => {
                hand_over(shared, entry);
                continue;
            }
        };
        finished.push((entry.done, outcome, entry.input));
    }
    shared.queue.reads.fetch_add(i64::try_from(finished.len()).unwrap_or(0), Ordering::Relaxed);
    complete(finished, || ());
    true
}

/// What no reader can do is the worker's.
fn hand_over(shared: &Arc<Shared>, mut entry: Entry) {
    let mut state = shared.queue.state.lock();
    state.bytes += size(&entry.input);
    if entry.input.ticket.is_none() {
        let (touched, _) = state.unfinished.touched(&entry.input);
        state.unfinished.begin(touched);
        entry.touched = Some(touched);
    }
    state.enqueue(entry);
    drop(state);
    let mut threads = shared.queue.threads.lock();
    if threads.worker.is_none() {
        match shared.queue.start(shared, work) {
            Ok(worker) => threads.worker = Some(worker),
            Err(error) => log::error!("{error}"),
        }
    }
    drop(threads);
    shared.queue.more.notify_one();
}

fn unhandled(error: &Error) -> Outcome {
    log::warn!("an input could not be handled: {error}");
    Outcome { error: Some(error.to_string()), ..Outcome::default() }
}

/// Gives the host what came of a group, and does something before it gives the last.
fn complete(finished: Vec<(Completion, Outcome, Input)>, before_last: impl FnOnce()) {
    let last = finished.len().saturating_sub(1);
    let mut before_last = Some(before_last);
    for (place, (done, mut outcome, input)) in finished.into_iter().enumerate() {
        outcome.more = place < last;
        if !outcome.more
            && let Some(act) = before_last.take()
        {
            act();
        }
        if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
            log::error!("a completion panicked");
        }
        // The lane goes on only after the host has what came before.
        drop(input);
    }
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
        let touched = entry.touched.take();
        input.ticket = Some(Ticket(Some(Arc::new(Hold { number, lane, touched, shared: Arc::downgrade(shared) }))));
    }
    outcome.input = Some(input);
    outcome
}

/// What a peer is told when the engine has stopped over a bug of its own.
fn failed(input: &Input) -> Outcome {
    let stop = super::context::Stop::Failed(Error::new(ErrorKind::Unusable, "the engine has stopped"));
    match super::dispatch::failure_answer(input, &stop, &Limits::default()) {
        Some(stanza) => Outcome { decisions: vec![Decision::Route { stanza }], ..Outcome::default() },
        None => Outcome { error: Some("the engine has stopped".to_owned()), ..Outcome::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Entry, Input, Queue, Timestamp};

    /// A queue in which `lately` inputs were under way and one waits.
    fn queue(lately: usize, pause: Duration) -> Queue {
        let queue = empty(lately, pause);
        add(&queue);
        queue
    }

    fn empty(lately: usize, pause: Duration) -> Queue {
        let mut queue = Queue::new(4, 100, Vec::new(), || ());
        (queue.first_pause, queue.pause, queue.longest_wait) = (pause, pause, pause);
        queue.state.lock().lately = lately;
        queue
    }

    fn add(queue: &Queue) {
        let entry =
            Entry { now: Timestamp::from_micros(0), input: Input::tick(), done: Box::new(|_| ()), touched: None };
        let mut state = queue.state.lock();
        state.enqueue(entry);
        if state.has_enough() {
            queue.more.notify_one();
        }
    }

    const FOREVER: Duration = Duration::from_secs(3_600);

    fn next(queue: &Queue) -> usize {
        queue.next_group().map_or(0, |group| group.len())
    }

    #[test]
    fn who_is_alone_does_not_wait() {
        assert_eq!(next(&queue(0, FOREVER)), 1);
        assert_eq!(next(&queue(1, FOREVER)), 1);
    }

    #[test]
    fn those_that_were_under_way_come_together() {
        // Two more than one group may have.
        for (lately, group) in [(3, 3), (6, 4)] {
            let queue = queue(lately, FOREVER);
            std::thread::scope(|scope| {
                let worker = scope.spawn(|| next(&queue));
                while queue.state.lock().wanted != group && !worker.is_finished() {
                    std::thread::yield_now();
                }
                (1..group).for_each(|_| add(&queue));
                assert_eq!(worker.join().expect("the group"), group);
            });
        }
    }

    #[test]
    fn the_first_of_them_wakes_nobody() {
        let queue = empty(3, FOREVER);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| next(&queue));
            while queue.state.lock().wanted != 3 {
                std::thread::yield_now();
            }
            (0..3).for_each(|_| add(&queue));
            assert_eq!(worker.join().expect("the group"), 3);
        });
    }

    #[test]
    fn nobody_waits_for_who_does_not_come() {
        assert_eq!(next(&queue(3, Duration::from_millis(1))), 1);
    }

    #[test]
    fn nobody_waits_when_it_ends() {
        let queue = queue(3, FOREVER);
        queue.state.lock().closed = true;
        assert_eq!((next(&queue), next(&queue)), (1, 0));
    }
}
