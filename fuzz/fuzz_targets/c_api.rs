//! The C functions in any order with any arguments, as far as memory is not lied about.
#![cfg_attr(fuzzing, no_main)]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pam_pps::ffi::*;

pam_pps_fuzz::target!("c_api", call);

static COMPLETED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn done(_user: *mut c_void, outcome: *mut pam_pps_outcome) {
    COMPLETED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the outcome is ours, and the input that is taken out of it too.
    unsafe {
        look(outcome, 0);
        pam_pps_input_free(pam_pps_outcome_take_input(outcome));
        pam_pps_outcome_free(outcome);
    }
}

/// Reads everything at a place, there or not.
///
/// # Safety
/// `outcome` is NULL or alive.
unsafe fn look(outcome: *const pam_pps_outcome, place: usize) {
    // SAFETY: as the caller promises; slices live as long as the outcome.
    unsafe {
        let count = pam_pps_outcome_count(outcome);
        assert_eq!(pam_pps_outcome_kind(outcome, place) != 0, place < count);
        let texts = [
            pam_pps_outcome_stanza(outcome, place),
            pam_pps_outcome_stanza_id(outcome, place),
            pam_pps_outcome_recipient(outcome, place, 0),
            pam_pps_outcome_jid(outcome, place),
            pam_pps_outcome_other_jid(outcome, place),
            pam_pps_outcome_event(outcome, place),
            pam_pps_outcome_node(outcome, place),
            pam_pps_outcome_item(outcome, place),
        ];
        for text in texts.into_iter().filter(|text| text.len > 0) {
            let bytes = std::slice::from_raw_parts(text.data, text.len);
            assert!(std::str::from_utf8(bytes).is_ok(), "the library gives what is not UTF-8");
        }
        let _ = (pam_pps_outcome_time(outcome, place), pam_pps_outcome_need_kind(outcome, place));
    }
}

/// Results that say that the library met a bug of its own.
fn check(result: pam_pps_result) {
    let bugs = [pam_pps_result::PAM_PPS_RESULT_PANIC, pam_pps_result::PAM_PPS_RESULT_UNUSABLE];
    assert!(!bugs.contains(&result), "{result:?}");
}

/// The input as a tape of arguments.
struct Tape<'d>(&'d [u8]);

impl<'d> Tape<'d> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Bytes up to a NUL: often no UTF-8.
    fn text(&mut self) -> &'d [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or(&[]);
        text
    }
}

fn call(data: &[u8]) {
    let mut tape = Tape(data);
    // SAFETY: every object is freed once, here or by who takes it over; texts outlive their calls.
    unsafe {
        let config = pam_pps_config_new();
        let (mut engine, mut input) = (ptr::null_mut(), ptr::null_mut());
        check(pam_pps_engine_open(config, &raw mut engine, ptr::null_mut()));
        check(pam_pps_engine_serve(engine, b"a.example".as_ptr(), 9, 1, config, ptr::null_mut()));
        let (before, mut submitted) = (COMPLETED.load(Ordering::Relaxed), 0);
        let mut calls = 0;
        while !tape.0.is_empty() && calls < 200 {
            calls += 1;
            let now = 1_700_000_000_000_000 + calls;
            let (mut text, mut outcome) = (ptr::null_mut(), ptr::null_mut());
            match tape.byte() {
                b'i' => {
                    let (kind, data) = (u32::from(tape.byte() % 16), tape.text());
                    pam_pps_input_free(input);
                    input = pam_pps_input_new(kind, data.as_ptr(), data.len());
                }
                b'x' => {
                    let extra = tape.text();
                    check(pam_pps_input_set_extra(input, extra.as_ptr(), extra.len()));
                }
                b'p' => check(pam_pps_input_set_privileged(input, tape.byte() % 2 == 1)),
                b'f' => {
                    let (kind, value, jid, other) =
                        (u32::from(tape.byte() % 8), tape.byte() % 2 == 1, tape.text(), tape.text());
                    let (other, length) = (other.as_ptr(), other.len());
                    check(pam_pps_input_fact_bool(input, kind, jid.as_ptr(), jid.len(), other, length, value));
                }
                b'r' => {
                    let (stance, owner, contact, group) =
                        (u32::from(tape.byte() % 6), tape.text(), tape.text(), tape.text());
                    let group = pam_pps_slice { data: group.as_ptr(), len: group.len() };
                    let (contact, length) = (contact.as_ptr(), contact.len());
                    let (owner, owner_length) = (owner.as_ptr(), owner.len());
                    check(pam_pps_input_fact_roster(
                        input,
                        owner,
                        owner_length,
                        contact,
                        length,
                        stance,
                        &raw const group,
                        1,
                    ));
                }
                b'o' => {
                    let (affiliation, voice) = (u32::from(tape.byte() % 6), tape.byte() % 2 == 1);
                    let (who, room) = (tape.text(), tape.text());
                    let (room, length) = (room.as_ptr(), room.len());
                    check(pam_pps_input_fact_room(input, who.as_ptr(), who.len(), room, length, affiliation, voice));
                }
                b'n' => {
                    let [room, name, text, subject] = [tape.text(), tape.text(), tape.text(), tape.text()];
                    let (room, room_length, subject, length) =
                        (room.as_ptr(), room.len(), subject.as_ptr(), subject.len());
                    let (name, name_length, text, text_length) = (name.as_ptr(), name.len(), text.as_ptr(), text.len());
                    check(pam_pps_input_fact_room_info(
                        input,
                        room,
                        room_length,
                        name,
                        name_length,
                        text,
                        text_length,
                        subject,
                        length,
                    ));
                }
                b'h' => {
                    check(pam_pps_engine_handle(engine, now, input, &raw mut outcome));
                    for place in 0..=pam_pps_outcome_count(outcome) {
                        look(outcome, place);
                    }
                    pam_pps_outcome_free(outcome);
                }
                b's' => {
                    let result = pam_pps_engine_submit(engine, now, input, Some(done), ptr::null_mut());
                    input = ptr::null_mut();
                    submitted += usize::from(result == pam_pps_result::PAM_PPS_RESULT_OK);
                    check(result);
                }
                b'c' => {
                    let (key, value) = (tape.text(), tape.text());
                    let (value, length) = (value.as_ptr(), value.len());
                    check(pam_pps_config_set(config, key.as_ptr(), key.len(), value, length, &raw mut text));
                }
                b'v' => {
                    let (kind, domain) = (u32::from(tape.byte() % 4), tape.text());
                    check(pam_pps_engine_serve(engine, domain.as_ptr(), domain.len(), kind, config, &raw mut text));
                }
                b'u' => {
                    let domain = tape.text();
                    check(pam_pps_engine_unserve(engine, domain.as_ptr(), domain.len()));
                }
                b'd' => {
                    let (place, domain) = (u32::from(tape.byte() % 5), tape.text());
                    check(pam_pps_engine_features(engine, domain.as_ptr(), domain.len(), place, &raw mut text));
                }
                b't' => check(pam_pps_engine_statistics(engine, &raw mut text)),
                _ => {}
            }
            let _ = pam_pps_text_slice(text);
            pam_pps_text_free(text);
        }
        pam_pps_input_free(input);
        pam_pps_engine_free(engine);
        pam_pps_config_free(config);
        assert_eq!(COMPLETED.load(Ordering::Relaxed) - before, submitted, "each input is completed once");
    }
}
