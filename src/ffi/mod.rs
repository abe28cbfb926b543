//! The C ABI: every exported function, in alphabetical order, and nothing but conversion. Those that make an input and give it
//! facts are in [`input`].
//!
//! Opaque objects are made and freed here. Text is a pointer and a length. Everything that can fail returns a
//! [`pam_pps_result`], and outputs are written on success only. No panic leaves this module.
#![allow(unsafe_code, reason = "this is the one place where pointers of others are followed")]
#![allow(non_camel_case_types, reason = "the names that C has")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the header's preamble says it once for all: who owns and who lends what"
)]
#![allow(clippy::too_many_arguments, reason = "a text is two arguments in C")]

mod handle;
mod input;
mod log;
mod panic;
mod result;
mod slice;
mod types;

use std::sync::Arc;

pub use self::input::{
    pam_pps_input_fact_bool, pam_pps_input_fact_room, pam_pps_input_fact_room_info, pam_pps_input_fact_roster,
    pam_pps_input_free, pam_pps_input_new, pam_pps_input_new_publish, pam_pps_input_set_extra,
    pam_pps_input_set_privileged,
};
pub use self::log::pam_pps_log_sink_function;
pub use self::result::pam_pps_result;
pub use self::slice::pam_pps_slice;
pub use self::types::{
    pam_pps_decision_kind, pam_pps_input_kind, pam_pps_need_kind, pam_pps_room_affiliation,
    pam_pps_roster_subscription, pam_pps_service_kind, pam_pps_where,
};

use self::handle::{borrow, borrow_mut, into_raw, take, write};
use self::panic::{guard, guard_value};
use self::slice::text;
use crate::config::Config;
use crate::engine::{Decision, Engine, Input, Need, Outcome, ServiceKind};
use crate::error::Error;
use crate::time::Timestamp;
use crate::xep::Where;

use pam_pps_result::{PAM_PPS_RESULT_INVALID_ARGUMENT, PAM_PPS_RESULT_NULL_POINTER, PAM_PPS_RESULT_PANIC};

/// Options by name and value.
pub struct pam_pps_config(Config);

/// An engine with its store.
pub struct pam_pps_engine(Engine);

/// One thing that happened, with the facts that the host knows about it.
pub struct pam_pps_input(Input);

/// What came of an input: the decisions for the host to carry out, in their order.
pub struct pam_pps_outcome {
    decisions: Vec<Decision>,
    input: Option<Input>,
    error: Option<String>,
    more: bool,
}

/// A text that is owned by whoever got it.
pub struct pam_pps_text(String);

/// Given the outcome of a submitted input, which it owns and has to free, on a thread of the engine's. It must not call
/// `pam_pps_engine_free`.
pub type pam_pps_completion_function =
    Option<unsafe extern "C" fn(user: *mut libc::c_void, outcome: *mut pam_pps_outcome)>;

/// Writes the text of an error where the caller wants it.
///
/// # Safety
/// `out` is NULL or writable.
unsafe fn fail(error: &Error, out: *mut *mut pam_pps_text) -> pam_pps_result {
    if !out.is_null() {
        // SAFETY: not NULL, and writable as the caller promises.
        unsafe { out.write(into_raw(pam_pps_text(error.to_string()))) };
    }
    error.into()
}

/// Frees a configuration. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_config_free(config: *mut pam_pps_config) {
    // SAFETY: the caller gives back what `pam_pps_config_new` gave.
    guard_value((), || unsafe { handle::free(config) });
}

/// Makes a configuration with every option at its default.
///
/// Memory: owned by the caller; freed by `pam_pps_config_free`. NULL if that was not possible.
#[unsafe(no_mangle)]
pub extern "C" fn pam_pps_config_new() -> *mut pam_pps_config {
    guard_value(std::ptr::null_mut(), || into_raw(pam_pps_config(Config::new())))
}

/// Sets one option.
///
/// Parameters: `key` and `value` are lent for the call. `error` may be NULL; otherwise, on failure, it is given a text that
/// says what was wrong, to be freed by `pam_pps_text_free`.
///
/// Returns: OK; UNKNOWN_OPTION; INVALID_OPTION; NULL_POINTER; INVALID_UTF8.
///
/// Threads: a configuration is changed by one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_config_set(
    config: *mut pam_pps_config,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    error: *mut *mut pam_pps_text,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (config, key, value) = unsafe { (borrow_mut(config)?, text(key, key_len)?, text(value, value_len)?) };
        // SAFETY: as the header demands.
        config.0.set(key, value).map_err(|e| unsafe { fail(&e, error) })
    })
}

/// What disco#info says at a served domain: lines separated by "\n". First a line for each identity ("identity", category,
/// type and name, with tabs between them), then a line for each feature.
///
/// Returns: OK; INVALID_ARGUMENT if the domain is not served; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
///
/// Memory: `out` is given a text to be freed by `pam_pps_text_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_features(
    engine: *const pam_pps_engine,
    domain: *const u8,
    domain_len: usize,
    place: u32,
    out: *mut *mut pam_pps_text,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (engine, domain) = unsafe { (borrow(engine)?, text(domain, domain_len)?) };
        let place = match place {
            1 => Where::Account,
            2 => Where::Domain,
            3 => Where::Component,
            4 => Where::Room,
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        };
        let features = engine.0.features(domain, place).map_err(|error| pam_pps_result::from(&error))?;
        if out.is_null() {
            return Err(PAM_PPS_RESULT_NULL_POINTER);
        }
        // SAFETY: as the header demands.
        unsafe { write(out, into_raw(pam_pps_text(features))) }
    })
}

/// Closes an engine: what was submitted is finished and handed to its completions, its threads end, the store is closed.
/// NULL is fine.
///
/// Threads: no other call may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_free(engine: *mut pam_pps_engine) {
    // SAFETY: the caller gives back what `pam_pps_engine_open` gave.
    guard_value((), || unsafe { handle::free(engine) });
}

/// Handles one input and waits for the commit.
///
/// Parameters: `now` is the present time in microseconds since 1970. `input` is lent. A failing store is an answer in the
/// outcome, not an error of this function.
///
/// Returns: OK; INVALID_ARGUMENT if the input makes no sense; NULL_POINTER; STORE; UNUSABLE; PANIC, after which the engine is
/// unusable.
///
/// Memory: `out` is given an outcome to be freed by `pam_pps_outcome_free`.
///
/// Threads: any; calls are carried out one after the other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_handle(
    engine: *mut pam_pps_engine,
    now: i64,
    input: *const pam_pps_input,
    out: *mut *mut pam_pps_outcome,
) -> pam_pps_result {
    // SAFETY: as the header demands.
    let found = unsafe { borrow(engine) };
    let result = guard(|| {
        // SAFETY: as the header demands.
        let (engine, input) = unsafe { (borrow(engine)?, borrow(input)?) };
        if out.is_null() {
            return Err(PAM_PPS_RESULT_NULL_POINTER);
        }
        let outcome = engine.0.handle(Timestamp::from_micros(now), &input.0).map_err(|e| pam_pps_result::from(&e))?;
        // SAFETY: as the header demands.
        unsafe { write(out, into_raw(outcome.into())) }
    });
    if let (PAM_PPS_RESULT_PANIC, Ok(engine)) = (result, found) {
        engine.0.mark_unusable();
    }
    result
}

/// Opens an engine on the store that the options name.
///
/// Parameters: `config` is lent. `error` may be NULL; otherwise, on failure, it is given a text that says what was wrong.
///
/// Returns: OK; INVALID_OPTION; STORE; NULL_POINTER; PANIC.
///
/// Memory: `out` is given an engine to be freed by `pam_pps_engine_free`, `error` a text to be freed by `pam_pps_text_free`.
///
/// Threads: an engine may be used from any number of threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_open(
    config: *const pam_pps_config,
    out: *mut *mut pam_pps_engine,
    error: *mut *mut pam_pps_text,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let config = unsafe { borrow(config)? };
        if out.is_null() {
            return Err(PAM_PPS_RESULT_NULL_POINTER);
        }
        // SAFETY: as the header demands.
        let engine = Engine::open_with(&config.0, block_signals).map_err(|e| unsafe { fail(&e, error) })?;
        // SAFETY: as the header demands.
        unsafe { write(out, into_raw(pam_pps_engine(engine))) }
    })
}

/// Signals are for the host's threads: the worker takes none.
fn block_signals() {
    // SAFETY: the set is filled before it is used, and the mask is that of this thread alone.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Takes over a host with accounts, a pubsub component, or a chat service. A second call for a domain replaces its options.
///
/// Parameters: `kind` is a `pam_pps_service_kind`; `options` and `domain` are lent; `error` as for `pam_pps_engine_open`.
///
/// Returns: OK; INVALID_ARGUMENT; INVALID_OPTION; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_serve(
    engine: *mut pam_pps_engine,
    domain: *const u8,
    domain_len: usize,
    kind: u32,
    options: *const pam_pps_config,
    error: *mut *mut pam_pps_text,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (engine, domain, options) = unsafe { (borrow(engine)?, text(domain, domain_len)?, borrow(options)?) };
        let kind = match kind {
            1 => ServiceKind::Accounts,
            2 => ServiceKind::Component,
            3 => ServiceKind::Rooms,
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        };
        // SAFETY: as the header demands.
        engine.0.serve(domain, kind, &options.0).map_err(|e| unsafe { fail(&e, error) })
    })
}

/// Figures for an administrator: lines of name and value with a space between them.
///
/// Returns: OK; STORE; NULL_POINTER; UNUSABLE; PANIC.
///
/// Memory: `out` is given a text to be freed by `pam_pps_text_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_statistics(
    engine: *const pam_pps_engine,
    out: *mut *mut pam_pps_text,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let engine = unsafe { borrow(engine)? };
        if out.is_null() {
            return Err(PAM_PPS_RESULT_NULL_POINTER);
        }
        let figures = engine.0.statistics().map_err(|error| pam_pps_result::from(&error))?;
        let lines: Vec<String> = figures.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        // SAFETY: as the header demands.
        unsafe { write(out, into_raw(pam_pps_text(lines.join("\n")))) }
    })
}

struct Completion {
    function: unsafe extern "C" fn(*mut libc::c_void, *mut pam_pps_outcome),
    user: *mut libc::c_void,
}

// SAFETY: the pointer is handed back to the host's function and never followed here; the header says on which thread.
unsafe impl Send for Completion {}

impl Completion {
    fn call(self, outcome: Outcome) {
        // SAFETY: the host gave the function and its argument for this one call.
        unsafe { (self.function)(self.user, into_raw(outcome.into())) };
    }
}

/// Queues one input. Many of them are committed at once: while several are under way, the engine waits up to half a millisecond
/// for those that come next; who submits one at a time is never kept waiting. `done` is given the outcome after the commit, on a thread of
/// the engine's. Inputs of one service are handled in the order in which they were submitted. A request that only reads sees
/// everything that was submitted before it to or by the same addresses, and maybe more: it may be answered by a thread of its
/// own (option `readers`), so that completions may be called by several threads at the same time.
///
/// If the outcome has needs, take the input out of it (`pam_pps_outcome_take_input`), add the facts, and submit it again:
/// what came after it for the same service waits until then, unless the input only reads. Freeing that input gives it up, and the others go on.
///
/// Parameters: `now` is the present time in microseconds since 1970. `done` is called exactly once if this returns OK, and
/// never otherwise. An input that makes no sense has an outcome without decisions; `pam_pps_outcome_error` says what is wrong.
///
/// Returns: OK; BUSY if too many are waiting; CLOSED; NULL_POINTER; UNUSABLE; PANIC.
///
/// Memory: the input belongs to the engine from here on, whatever is returned.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_submit(
    engine: *mut pam_pps_engine,
    now: i64,
    input: *mut pam_pps_input,
    done: pam_pps_completion_function,
    user: *mut libc::c_void,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let input = unsafe { take(input)? };
        // SAFETY: as the header demands.
        let engine = unsafe { borrow(engine)? };
        let function = done.ok_or(PAM_PPS_RESULT_NULL_POINTER)?;
        let completion = Completion { function, user };
        let done = Box::new(move |outcome| completion.call(outcome));
        engine.0.submit(Timestamp::from_micros(now), input.0, done).map_err(|error| pam_pps_result::from(&error))
    })
}

/// Gives a host or component back. Its data stays in the store.
///
/// Returns: OK; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_engine_unserve(
    engine: *mut pam_pps_engine,
    domain: *const u8,
    domain_len: usize,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (engine, domain) = unsafe { (borrow(engine)?, text(domain, domain_len)?) };
        engine.0.unserve(domain).map_err(|error| pam_pps_result::from(&error))
    })
}

/// Sets the function that is given the messages of all engines of the process; a NULL function ends it. Once this has
/// returned, the function set before is not called any more.
///
/// Threads: the function is called on any thread, one call at a time; it must not call this function.
#[unsafe(no_mangle)]
pub extern "C" fn pam_pps_log_sink(sink: pam_pps_log_sink_function, user: *mut libc::c_void) -> pam_pps_result {
    guard(|| log::set(sink, user))
}

impl From<Outcome> for pam_pps_outcome {
    fn from(outcome: Outcome) -> Self {
        Self { decisions: outcome.decisions, input: outcome.input, error: outcome.error, more: outcome.more }
    }
}

/// Something of a decision; `otherwise` if there is no such decision, or it has no such thing.
///
/// # Safety
/// `outcome` is NULL or an outcome that lives as long as the result is used.
unsafe fn of_decision<T>(
    outcome: *const pam_pps_outcome,
    place: usize,
    otherwise: T,
    read: impl FnOnce(&Decision) -> Option<T>,
) -> T {
    guard_value(None, || {
        // SAFETY: as the caller promises.
        let outcome = unsafe { borrow(outcome) }.ok()?;
        read(outcome.decisions.get(place)?)
    })
    .unwrap_or(otherwise)
}

/// How many decisions there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_count(outcome: *const pam_pps_outcome) -> usize {
    // SAFETY: as the header demands.
    guard_value(0, || unsafe { borrow(outcome) }.map_or(0, |outcome| outcome.decisions.len()))
}

/// Why a submitted input could not be handled; empty if it was, and where its sender is answered with an error instead. The log
/// sink is told as well.
///
/// Memory: as for all that is read from an outcome, valid until the outcome is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_error(outcome: *const pam_pps_outcome) -> pam_pps_slice {
    guard_value(pam_pps_slice::EMPTY, || {
        // SAFETY: as the header demands.
        let error = unsafe { borrow(outcome) }.ok().and_then(|outcome| outcome.error.as_deref());
        error.map_or(pam_pps_slice::EMPTY, pam_pps_slice::from)
    })
}

/// The name of an event: "item-published", "item-retracted", "node-created", "node-deleted", "node-purged",
/// "node-config-changed", "subscription-added", "subscription-removed". Empty for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_event(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| match decision {
        Decision::Event(event) => Some(event.name.into()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// Frees an outcome with everything that was read from it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_free(outcome: *mut pam_pps_outcome) {
    // SAFETY: the caller gives back what it was given.
    guard_value((), || unsafe { handle::free(outcome) });
}

/// The ItemID of an event; empty if it is not about an item, and for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_item(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| match decision {
        Decision::Event(event) => Some(event.item.as_ref()?.as_str().into()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// The first JID of a need, or the service of an event; empty for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_jid(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| {
        Some(match decision {
            Decision::Need(Need::Account(jid) | Need::Import(jid) | Need::RoomInfo(jid)) => jid.as_str().into(),
            Decision::Need(Need::Roster { owner, .. } | Need::Blocked { owner, .. }) => owner.as_str().into(),
            Decision::Need(Need::Admin { who, .. } | Need::Room { who, .. }) => who.as_str().into(),
            Decision::Event(event) => event.service.as_str().into(),
            _ => return None,
        })
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// What a decision is: a `pam_pps_decision_kind`, 0 if there is no decision at that place. Ignore numbers you do not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_kind(outcome: *const pam_pps_outcome, place: usize) -> u32 {
    let read = |decision: &Decision| {
        Some(match decision {
            Decision::Pass => pam_pps_decision_kind::PAM_PPS_DECISION_PASS,
            Decision::Route { .. } => pam_pps_decision_kind::PAM_PPS_DECISION_ROUTE,
            Decision::Multicast { .. } => pam_pps_decision_kind::PAM_PPS_DECISION_MULTICAST,
            Decision::Need(_) => pam_pps_decision_kind::PAM_PPS_DECISION_NEED,
            Decision::Wake(_) => pam_pps_decision_kind::PAM_PPS_DECISION_WAKE,
            Decision::Event(_) => pam_pps_decision_kind::PAM_PPS_DECISION_EVENT,
            Decision::Reply(_) => pam_pps_decision_kind::PAM_PPS_DECISION_REPLY,
        } as u32)
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, 0, read) }
}

/// What a need asks: a `pam_pps_need_kind`, 0 for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_need_kind(outcome: *const pam_pps_outcome, place: usize) -> u32 {
    let read = |decision: &Decision| {
        Some(match decision {
            Decision::Need(Need::Account(_)) => pam_pps_need_kind::PAM_PPS_NEED_ACCOUNT,
            Decision::Need(Need::Roster { .. }) => pam_pps_need_kind::PAM_PPS_NEED_ROSTER,
            Decision::Need(Need::Admin { .. }) => pam_pps_need_kind::PAM_PPS_NEED_ADMIN,
            Decision::Need(Need::Blocked { .. }) => pam_pps_need_kind::PAM_PPS_NEED_BLOCKED,
            Decision::Need(Need::Import(_)) => pam_pps_need_kind::PAM_PPS_NEED_IMPORT,
            Decision::Need(Need::Room { .. }) => pam_pps_need_kind::PAM_PPS_NEED_ROOM,
            Decision::Need(Need::RoomInfo(_)) => pam_pps_need_kind::PAM_PPS_NEED_ROOM_INFO,
            _ => return None,
        } as u32)
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, 0, read) }
}

/// Whether the thread that hands over this outcome will hand over another right after it, as with what was committed at
/// once. A host that wakes up its own loop for outcomes does so at the one for which this is false, and the loop takes all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_more(outcome: *const pam_pps_outcome) -> bool {
    // SAFETY: as the header demands.
    guard_value(false, || unsafe { borrow(outcome) }.is_ok_and(|outcome| outcome.more))
}

/// The NodeID of an event; empty for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_node(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| match decision {
        Decision::Event(event) => Some(event.node.as_str().into()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// The second JID of a need, or the actor of an event; empty for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_other_jid(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| {
        Some(match decision {
            Decision::Need(Need::Roster { contact, .. } | Need::Blocked { contact, .. }) => contact.as_str().into(),
            Decision::Need(Need::Admin { service, .. }) => service.as_str().into(),
            Decision::Need(Need::Room { room, .. }) => room.as_str().into(),
            Decision::Event(event) => event.actor.as_ref()?.as_str().into(),
            _ => return None,
        })
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// The JID of one recipient of a multicast; empty if there is none at that place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_recipient(
    outcome: *const pam_pps_outcome,
    place: usize,
    recipient: usize,
) -> pam_pps_slice {
    let read = |decision: &Decision| match decision {
        Decision::Multicast { recipients, .. } => recipients.get(recipient).map(|jid: &Arc<str>| (**jid).into()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// How many recipients a multicast has; 0 for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_recipient_count(outcome: *const pam_pps_outcome, place: usize) -> usize {
    let read = |decision: &Decision| match decision {
        Decision::Multicast { recipients, .. } => Some(recipients.len()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, 0, read) }
}

/// The XML of a stanza to be sent, the payload of an event, the text of a reply; empty for other decisions.
///
/// Memory: as for all that is read from an outcome, valid until the outcome is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_stanza(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| {
        Some(match decision {
            Decision::Route { stanza } | Decision::Multicast { stanza, .. } => stanza.as_str().into(),
            Decision::Event(event) => event.published.as_ref()?.xml().into(),
            Decision::Reply(text) => text.as_str().into(),
            _ => return None,
        })
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// The beginning of the `id` of each copy of a multicast; empty for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_stanza_id(outcome: *const pam_pps_outcome, place: usize) -> pam_pps_slice {
    let read = |decision: &Decision| match decision {
        Decision::Multicast { id, .. } => Some(id.as_str().into()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, pam_pps_slice::EMPTY, read) }
}

/// Takes the input out of an outcome that has needs, so that facts can be added and it can be submitted again. NULL if there
/// is none: the outcome did not come from `pam_pps_engine_submit`, has no needs, or the input was taken already.
///
/// Memory: owned by the caller until it is submitted; freed by `pam_pps_input_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_take_input(outcome: *mut pam_pps_outcome) -> *mut pam_pps_input {
    guard_value(std::ptr::null_mut(), || {
        // SAFETY: as the header demands.
        let outcome = unsafe { borrow_mut(outcome) };
        let input = outcome.ok().and_then(|outcome| outcome.input.take());
        input.map_or(std::ptr::null_mut(), |input| into_raw(pam_pps_input(input)))
    })
}

/// When the host is to tick, in microseconds since 1970; 0 for other decisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_outcome_time(outcome: *const pam_pps_outcome, place: usize) -> i64 {
    let read = |decision: &Decision| match decision {
        Decision::Wake(time) => Some(time.micros()),
        _ => None,
    };
    // SAFETY: as the header demands.
    unsafe { of_decision(outcome, place, 0, read) }
}

/// Frees a text. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_text_free(text: *mut pam_pps_text) {
    // SAFETY: the caller gives back what it was given.
    guard_value((), || unsafe { handle::free(text) });
}

/// The bytes of a text; valid until it is freed. Empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_text_slice(text: *const pam_pps_text) -> pam_pps_slice {
    // SAFETY: as the header demands.
    guard_value(pam_pps_slice::EMPTY, || unsafe { borrow(text) }.map_or(pam_pps_slice::EMPTY, |t| t.0.as_str().into()))
}

/// The version of the library, "1.2.3". Compare it with `PAM_PPS_VERSION` when loading.
#[unsafe(no_mangle)]
pub extern "C" fn pam_pps_version() -> pam_pps_slice {
    env!("CARGO_PKG_VERSION").into()
}

/// The version of the library as a number: major * 65536 + minor * 256 + patch. Compare it with `PAM_PPS_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn pam_pps_version_number() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    let (major, minor) = (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")));
    major << 16 | minor << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}
