//! The engine through its C functions and `submit`, declared here as the header declares them.
#![expect(unsafe_code, reason = "this door exists to cross the C boundary")]

use std::ffi::c_void;
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::brain::{Brain, Call, Decided, Fact, Place, Question, Setup, Stance};

// Without a use of the crate its C symbols would not be linked.
use pam_pps as _;

#[repr(C)]
#[derive(Clone, Copy)]
struct Slice {
    data: *const u8,
    len: usize,
}

macro_rules! opaque {
    ($($name:ident)*) => { $(#[repr(C)] struct $name { _private: [u8; 0] })* };
}
opaque! { RawConfig RawEngine RawInput RawOutcome RawText }

type Done = extern "C" fn(*mut c_void, *mut RawOutcome);

unsafe extern "C" {
    fn pam_pps_config_new() -> *mut RawConfig;
    fn pam_pps_config_free(config: *mut RawConfig);
    fn pam_pps_config_set(
        config: *mut RawConfig,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        value_len: usize,
        error: *mut *mut RawText,
    ) -> u32;
    fn pam_pps_engine_open(config: *const RawConfig, out: *mut *mut RawEngine, error: *mut *mut RawText) -> u32;
    fn pam_pps_engine_serve(
        engine: *mut RawEngine,
        domain: *const u8,
        len: usize,
        kind: u32,
        options: *const RawConfig,
        error: *mut *mut RawText,
    ) -> u32;
    fn pam_pps_engine_features(
        engine: *const RawEngine,
        domain: *const u8,
        len: usize,
        place: u32,
        out: *mut *mut RawText,
    ) -> u32;
    fn pam_pps_engine_free(engine: *mut RawEngine);
    fn pam_pps_engine_submit(
        engine: *mut RawEngine,
        now: i64,
        input: *mut RawInput,
        done: Done,
        user: *mut c_void,
    ) -> u32;
    fn pam_pps_text_slice(text: *const RawText) -> Slice;
    fn pam_pps_text_free(text: *mut RawText);
    fn pam_pps_input_new(kind: u32, data: *const u8, len: usize) -> *mut RawInput;
    fn pam_pps_input_free(input: *mut RawInput);
    fn pam_pps_input_set_extra(input: *mut RawInput, data: *const u8, len: usize) -> u32;
    fn pam_pps_input_fact_bool(
        input: *mut RawInput,
        kind: u32,
        jid: *const u8,
        jid_len: usize,
        other: *const u8,
        other_len: usize,
        value: bool,
    ) -> u32;
    fn pam_pps_input_fact_roster(
        input: *mut RawInput,
        owner: *const u8,
        owner_len: usize,
        contact: *const u8,
        contact_len: usize,
        subscription: u32,
        groups: *const Slice,
        group_count: usize,
    ) -> u32;
    fn pam_pps_input_fact_room(
        input: *mut RawInput,
        who: *const u8,
        who_len: usize,
        room: *const u8,
        room_len: usize,
        affiliation: u32,
        voice: bool,
    ) -> u32;
    fn pam_pps_input_fact_room_info(
        input: *mut RawInput,
        room: *const u8,
        room_len: usize,
        name: *const u8,
        name_len: usize,
        description: *const u8,
        description_len: usize,
        subject: *const u8,
        subject_len: usize,
    ) -> u32;
    fn pam_pps_outcome_take_input(outcome: *mut RawOutcome) -> *mut RawInput;
    fn pam_pps_outcome_count(outcome: *const RawOutcome) -> usize;
    fn pam_pps_outcome_free(outcome: *mut RawOutcome);
    fn pam_pps_outcome_kind(outcome: *const RawOutcome, index: usize) -> u32;
    fn pam_pps_outcome_stanza(outcome: *const RawOutcome, index: usize) -> Slice;
    fn pam_pps_outcome_stanza_id(outcome: *const RawOutcome, index: usize) -> Slice;
    fn pam_pps_outcome_recipient_count(outcome: *const RawOutcome, index: usize) -> usize;
    fn pam_pps_outcome_recipient(outcome: *const RawOutcome, index: usize, recipient: usize) -> Slice;
    fn pam_pps_outcome_need_kind(outcome: *const RawOutcome, index: usize) -> u32;
    fn pam_pps_outcome_jid(outcome: *const RawOutcome, index: usize) -> Slice;
    fn pam_pps_outcome_other_jid(outcome: *const RawOutcome, index: usize) -> Slice;
    fn pam_pps_outcome_time(outcome: *const RawOutcome, index: usize) -> i64;
}

/// An outcome on its way from the worker's thread.
struct Sent(*mut RawOutcome);

// SAFETY: the outcome belongs to whoever holds the pointer, and it is held by one thread at a time.
unsafe impl Send for Sent {}

struct CBrain {
    engine: *mut RawEngine,
    /// The input that waits for facts.
    input: *mut RawInput,
    outcomes: Receiver<Sent>,
    /// Given to the completion as `user`; boxed, so that its address stays.
    sender: Box<Sender<Sent>>,
}

extern "C" fn done(user: *mut c_void, outcome: *mut RawOutcome) {
    // SAFETY: `user` is the boxed sender of a brain that frees the engine, and so ends the worker, before the box.
    let sender = unsafe { &*user.cast::<Sender<Sent>>() };
    sender.send(Sent(outcome)).ok();
}

fn text_of(slice: Slice) -> Result<String, String> {
    if slice.len == 0 {
        return Ok(String::new());
    }
    // SAFETY: the library promises `len` readable bytes for as long as the owner lives, and it is freed later.
    let bytes = unsafe { std::slice::from_raw_parts(slice.data, slice.len) };
    String::from_utf8(bytes.to_vec()).map_err(|_| "the library gave what is not UTF-8".to_owned())
}

/// Turns a result code and the error text that came along into a Rust error.
fn check(what: &str, code: u32, error: *mut RawText) -> Result<(), String> {
    if code == 0 {
        return Ok(());
    }
    let mut said = String::new();
    if !error.is_null() {
        // SAFETY: the text is ours, not NULL, and freed once.
        said = text_of(unsafe { pam_pps_text_slice(error) })?;
        // SAFETY: as above; the slice was copied.
        unsafe { pam_pps_text_free(error) };
    }
    Err(format!("{what} returned {code}: {said}"))
}

struct Config(*mut RawConfig);

impl Config {
    fn new(options: &[(String, String)]) -> Result<Self, String> {
        // SAFETY: no arguments.
        let config = Self(unsafe { pam_pps_config_new() });
        for (key, value) in options {
            let mut error = ptr::null_mut();
            // SAFETY: a live handle, and text that outlives the call.
            let code = unsafe {
                pam_pps_config_set(config.0, key.as_ptr(), key.len(), value.as_ptr(), value.len(), &raw mut error)
            };
            check("pam_pps_config_set", code, error)?;
        }
        Ok(config)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: made by `pam_pps_config_new`, freed once.
        unsafe { pam_pps_config_free(self.0) };
    }
}

/// Opens an engine.
pub(crate) fn open(setup: &Setup) -> Result<Box<dyn Brain>, String> {
    let config = Config::new(&setup.options)?;
    let (mut engine, mut error) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: a live configuration, and two places to write to.
    let code = unsafe { pam_pps_engine_open(config.0, &raw mut engine, &raw mut error) };
    check("pam_pps_engine_open", code, error)?;
    let (sender, outcomes) = mpsc::channel();
    let brain = CBrain { engine, input: ptr::null_mut(), outcomes, sender: Box::new(sender) };
    for (domain, kind, options) in &setup.services {
        let options = Config::new(options)?;
        let (kind, mut error) = (*kind as u32, ptr::null_mut());
        // SAFETY: a live engine and configuration, and text that outlives the call.
        let code = unsafe {
            pam_pps_engine_serve(brain.engine, domain.as_ptr(), domain.len(), kind, options.0, &raw mut error)
        };
        check("pam_pps_engine_serve", code, error)?;
    }
    Ok(Box::new(brain))
}

impl Drop for CBrain {
    fn drop(&mut self) {
        // SAFETY: both are ours (NULL is allowed for an input) and freed once; freeing the engine ends its worker.
        unsafe {
            pam_pps_input_free(self.input);
            pam_pps_engine_free(self.engine);
        }
        for Sent(outcome) in self.outcomes.try_iter() {
            // SAFETY: an outcome that nobody took is ours.
            unsafe { pam_pps_outcome_free(outcome) };
        }
    }
}

impl CBrain {
    fn submit(&mut self, now: i64) -> Result<Vec<Decided>, String> {
        let input = std::mem::replace(&mut self.input, ptr::null_mut());
        let user = ptr::from_ref(&*self.sender).cast_mut().cast();
        // SAFETY: a live engine; the input is given away; the sender outlives the engine's worker.
        let code = unsafe { pam_pps_engine_submit(self.engine, now, input, done, user) };
        check("pam_pps_engine_submit", code, ptr::null_mut())?;
        let Sent(outcome) =
            self.outcomes.recv_timeout(Duration::from_secs(20)).map_err(|_| "submit was never completed")?;
        let decided = read(outcome);
        // SAFETY: the outcome is ours; its input, if it has one, is taken over; then it is freed, once.
        unsafe {
            self.input = pam_pps_outcome_take_input(outcome);
            pam_pps_outcome_free(outcome);
        }
        decided
    }

    fn fact_bool(&self, kind: u32, jid: &str, other: &str, value: bool) -> u32 {
        // SAFETY: a live input, and text that outlives the call.
        unsafe {
            pam_pps_input_fact_bool(self.input, kind, jid.as_ptr(), jid.len(), other.as_ptr(), other.len(), value)
        }
    }
}

fn read(outcome: *mut RawOutcome) -> Result<Vec<Decided>, String> {
    // SAFETY: here and below: the outcome is alive, and indices are below the counts that it gave.
    let count = unsafe { pam_pps_outcome_count(outcome) };
    (0..count).map(|index| unsafe_read(outcome, index)).collect()
}

fn unsafe_read(outcome: *mut RawOutcome, index: usize) -> Result<Decided, String> {
    // SAFETY: as in `read`; a function that does not fit the kind of a decision gives an empty slice or 0.
    unsafe {
        let jid = || text_of(pam_pps_outcome_jid(outcome, index));
        let other = || text_of(pam_pps_outcome_other_jid(outcome, index));
        Ok(match pam_pps_outcome_kind(outcome, index) {
            1 => Decided::Pass,
            2 => Decided::Route(text_of(pam_pps_outcome_stanza(outcome, index))?),
            3 => Decided::Multicast {
                stanza: text_of(pam_pps_outcome_stanza(outcome, index))?,
                id: text_of(pam_pps_outcome_stanza_id(outcome, index))?,
                recipients: (0..pam_pps_outcome_recipient_count(outcome, index))
                    .map(|recipient| text_of(pam_pps_outcome_recipient(outcome, index, recipient)))
                    .collect::<Result<_, _>>()?,
            },
            4 => Decided::Need(match pam_pps_outcome_need_kind(outcome, index) {
                1 => Question::Account(jid()?),
                2 => Question::Roster { owner: jid()?, contact: other()? },
                3 => Question::Admin { who: jid()?, service: other()? },
                4 => Question::Blocked { owner: jid()?, contact: other()? },
                5 => Question::Import(jid()?),
                6 => Question::Room { who: jid()?, room: other()? },
                7 => Question::RoomInfo(jid()?),
                kind => return Err(format!("{kind} is no kind of need")),
            }),
            5 => Decided::Wake(pam_pps_outcome_time(outcome, index)),
            6 | 7 => Decided::Other,
            kind => return Err(format!("{kind} is no kind of decision")),
        })
    }
}

impl Brain for CBrain {
    fn call(&mut self, now: i64, call: &Call) -> Result<Vec<Decided>, String> {
        let (kind, data, extra) = match call {
            Call::Stanza(xml) => (1, xml.as_str(), ""),
            Call::Tick => (2, "", ""),
            Call::SessionEnded(jid) => (3, jid.as_str(), ""),
            Call::AccountRemoved(jid) => (4, jid.as_str(), ""),
            Call::RoomChanged(jid) => (8, jid.as_str(), ""),
            Call::RosterChanged { owner, contact } => (5, owner.as_str(), contact.as_str()),
        };
        // SAFETY: an input that still waits is ours; the new one copies what it is given.
        unsafe {
            pam_pps_input_free(self.input);
            self.input = pam_pps_input_new(kind, data.as_ptr(), data.len());
        }
        if !extra.is_empty() {
            // SAFETY: a live input, and text that outlives the call.
            let code = unsafe { pam_pps_input_set_extra(self.input, extra.as_ptr(), extra.len()) };
            check("pam_pps_input_set_extra", code, ptr::null_mut())?;
        }
        self.submit(now)
    }

    fn again(&mut self, now: i64, facts: &[Fact]) -> Result<Vec<Decided>, String> {
        if self.input.is_null() {
            return Err("an outcome with needs gave no input back".to_owned());
        }
        for fact in facts {
            let code = match fact {
                Fact::Account { jid, exists } => self.fact_bool(1, jid, "", *exists),
                Fact::Admin { who, service, is_admin } => self.fact_bool(3, who, service, *is_admin),
                Fact::Blocked { owner, contact, blocked } => self.fact_bool(4, owner, contact, *blocked),
                Fact::Import { service, done } => self.fact_bool(5, service, "", *done),
                Fact::Room { who, room, affiliation, voice } => {
                    let order = ["none", "outcast", "member", "admin", "owner"];
                    let place = order.iter().position(|name| name == affiliation).unwrap_or(0) as u32;
                    // SAFETY: a live input, and texts that outlive the call.
                    unsafe {
                        pam_pps_input_fact_room(
                            self.input,
                            who.as_ptr(),
                            who.len(),
                            room.as_ptr(),
                            room.len(),
                            place,
                            *voice,
                        )
                    }
                }
                Fact::RoomInfo { room, name, description, subject } => {
                    // SAFETY: a live input, and texts that outlive the call.
                    unsafe {
                        pam_pps_input_fact_room_info(
                            self.input,
                            room.as_ptr(),
                            room.len(),
                            name.as_ptr(),
                            name.len(),
                            description.as_ptr(),
                            description.len(),
                            subject.as_ptr(),
                            subject.len(),
                        )
                    }
                }
                Fact::Roster { owner, contact, stance, groups } => {
                    let subscription = match stance {
                        Stance::None => 0,
                        Stance::To => 1,
                        Stance::From => 2,
                        Stance::Both => 3,
                    };
                    let groups: Vec<Slice> =
                        groups.iter().map(|group| Slice { data: group.as_ptr(), len: group.len() }).collect();
                    // SAFETY: a live input, and texts that outlive the call.
                    unsafe {
                        pam_pps_input_fact_roster(
                            self.input,
                            owner.as_ptr(),
                            owner.len(),
                            contact.as_ptr(),
                            contact.len(),
                            subscription,
                            groups.as_ptr(),
                            groups.len(),
                        )
                    }
                }
            };
            check("a fact", code, ptr::null_mut())?;
        }
        self.submit(now)
    }

    fn features(&self, domain: &str, place: Place) -> Result<String, String> {
        let mut text = ptr::null_mut();
        // SAFETY: a live engine, text that outlives the call, and a place to write to.
        let code =
            unsafe { pam_pps_engine_features(self.engine, domain.as_ptr(), domain.len(), place as u32, &raw mut text) };
        check("pam_pps_engine_features", code, ptr::null_mut())?;
        // SAFETY: the text is ours and freed once, after it was copied.
        unsafe {
            let features = text_of(pam_pps_text_slice(text));
            pam_pps_text_free(text);
            features
        }
    }
}
