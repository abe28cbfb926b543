//! Inputs, and the facts that come with them.

use super::handle::{self, borrow_mut, into_raw};
use super::pam_pps_result::{self, PAM_PPS_RESULT_INVALID_ARGUMENT, PAM_PPS_RESULT_NULL_POINTER};
use super::panic::{guard, guard_value};
use super::slice::text;
use super::{pam_pps_input, pam_pps_slice};
use crate::engine::{Input, InputKind, RoomAffiliation, RoomInfo, RosterSubscription};

/// Answers a need whose answer is yes or no: `need_kind`, `jid` and `other_jid` as the need has them (`other_jid` empty where
/// it has none).
///
/// Returns: OK; INVALID_ARGUMENT if the kind is unknown or is answered otherwise; NULL_POINTER; INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_fact_bool(
    input: *mut pam_pps_input,
    need_kind: u32,
    jid: *const u8,
    jid_len: usize,
    other_jid: *const u8,
    other_jid_len: usize,
    value: bool,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (input, jid, other) = unsafe { (borrow_mut(input)?, text(jid, jid_len)?, text(other_jid, other_jid_len)?) };
        let facts = &mut input.0.facts;
        match need_kind {
            1 => facts.insert_account(jid, value),
            3 => facts.insert_admin(jid, other, value),
            4 => facts.insert_blocked(jid, other, value),
            5 => facts.insert_import(jid, value),
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        }
        Ok(())
    })
}

/// Answers `PAM_PPS_NEED_ROOM`: how `who` stands to `room`, and whether it is there and has voice.
///
/// Parameters: `affiliation` is a `pam_pps_room_affiliation`.
///
/// Returns: OK; INVALID_ARGUMENT; NULL_POINTER; INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_fact_room(
    input: *mut pam_pps_input,
    who: *const u8,
    who_len: usize,
    room: *const u8,
    room_len: usize,
    affiliation: u32,
    voice: bool,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (input, who, room) = unsafe { (borrow_mut(input)?, text(who, who_len)?, text(room, room_len)?) };
        let affiliation = match affiliation {
            0 => RoomAffiliation::None,
            1 => RoomAffiliation::Outcast,
            2 => RoomAffiliation::Member,
            3 => RoomAffiliation::Admin,
            4 => RoomAffiliation::Owner,
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        };
        input.0.facts.insert_room(who, room, affiliation, voice);
        Ok(())
    })
}

/// Answers `PAM_PPS_NEED_ROOM_INFO`: the name of the room in words, what it is for, and its subject (XEP-0045), as text; each may
/// be empty. Everybody in the room may read them.
///
/// Returns: OK; NULL_POINTER; INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_fact_room_info(
    input: *mut pam_pps_input,
    room: *const u8,
    room_len: usize,
    name: *const u8,
    name_len: usize,
    description: *const u8,
    description_len: usize,
    subject: *const u8,
    subject_len: usize,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (input, room, name) = unsafe { (borrow_mut(input)?, text(room, room_len)?, text(name, name_len)?) };
        // SAFETY: as the header demands.
        let (description, subject) = unsafe { (text(description, description_len)?, text(subject, subject_len)?) };
        let info = RoomInfo { name: name.into(), description: description.into(), subject: subject.into() };
        input.0.facts.insert_room_info(room, info);
        Ok(())
    })
}

/// Answers `PAM_PPS_NEED_ROSTER`: how the roster of `owner` has `contact`, and in which groups.
///
/// Parameters: `subscription` is a `pam_pps_roster_subscription`; `groups` points to `group_count` slices, lent for the call,
/// and may be NULL if there are none.
///
/// Returns: OK; INVALID_ARGUMENT; NULL_POINTER; INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_fact_roster(
    input: *mut pam_pps_input,
    owner: *const u8,
    owner_len: usize,
    contact: *const u8,
    contact_len: usize,
    subscription: u32,
    groups: *const pam_pps_slice,
    group_count: usize,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (input, owner, contact) =
            unsafe { (borrow_mut(input)?, text(owner, owner_len)?, text(contact, contact_len)?) };
        let subscription = match subscription {
            0 => RosterSubscription::None,
            1 => RosterSubscription::To,
            2 => RosterSubscription::From,
            3 => RosterSubscription::Both,
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        };
        if groups.is_null() && group_count > 0 {
            return Err(PAM_PPS_RESULT_NULL_POINTER);
        }
        let mut names = Vec::new();
        for place in 0..group_count {
            // SAFETY: the header demands `group_count` slices there, each of readable text.
            let name = unsafe {
                let group = groups.add(place).read();
                text(group.data, group.len)?
            };
            names.push(name.to_owned());
        }
        input.0.facts.insert_roster(owner, contact, subscription, names);
        Ok(())
    })
}

/// Frees an input. NULL is fine. An input that was submitted is not to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_free(input: *mut pam_pps_input) {
    // SAFETY: the caller gives back what it owns.
    guard_value((), || unsafe { handle::free(input) });
}

/// Makes an input: `kind` is a `pam_pps_input_kind`, `data` is what that kind says. The text is copied.
///
/// Memory: owned by the caller until it is submitted; freed by `pam_pps_input_free`. NULL if the kind is unknown or the text
/// is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_new(kind: u32, data: *const u8, len: usize) -> *mut pam_pps_input {
    guard_value(std::ptr::null_mut(), || {
        // SAFETY: as the header demands.
        let Ok(data) = (unsafe { text(data, len) }) else { return std::ptr::null_mut() };
        let data = data.to_owned();
        let kind = match kind {
            1 => InputKind::Stanza(data),
            2 => InputKind::Tick,
            3 => InputKind::SessionEnded(data),
            4 => InputKind::AccountRemoved(data),
            5 => InputKind::RosterChanged { owner: data, contact: String::new() },
            6 => InputKind::Import(data),
            7 => InputKind::Command(data),
            8 => InputKind::RoomChanged(data),
            _ => return std::ptr::null_mut(),
        };
        into_raw(pam_pps_input(Input::new(kind)))
    })
}

/// Makes an input by which a service of this engine publishes an item itself: an account, a component, or a room (XEP-0316), for
/// which it is the host that publishes. It has the rights of an owner of every node, as after `pam_pps_input_set_privileged`.
///
/// Parameters: `service` is its bare JID; `item` is the ItemID, empty if one is to be made; `payload` is one XML element. The texts
/// are copied. Among the decisions is the answer, a result or an error, an IQ of the id "publish" that is addressed to `service`.
///
/// Memory: as for `pam_pps_input_new`. NULL if a text is not UTF-8 or the payload is not one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_new_publish(
    service: *const u8,
    service_len: usize,
    node: *const u8,
    node_len: usize,
    item: *const u8,
    item_len: usize,
    payload: *const u8,
    payload_len: usize,
) -> *mut pam_pps_input {
    guard_value(std::ptr::null_mut(), || {
        // SAFETY: as the header demands.
        let (service, node) = unsafe { (text(service, service_len), text(node, node_len)) };
        // SAFETY: as the header demands.
        let (item, payload) = unsafe { (text(item, item_len), text(payload, payload_len)) };
        let (Ok(service), Ok(node), Ok(item), Ok(payload)) = (service, node, item, payload) else {
            return std::ptr::null_mut();
        };
        Input::publish(service, node, item, payload)
            .map_or(std::ptr::null_mut(), |input| into_raw(pam_pps_input(input)))
    })
}

/// Sets the second text of an input: the contact of `PAM_PPS_INPUT_ROSTER_CHANGED`. The text is copied.
///
/// Returns: OK; INVALID_ARGUMENT if the kind has no second text; NULL_POINTER; INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_set_extra(
    input: *mut pam_pps_input,
    extra: *const u8,
    extra_len: usize,
) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        let (input, extra) = unsafe { (borrow_mut(input)?, text(extra, extra_len)?) };
        match &mut input.0.kind {
            InputKind::RosterChanged { contact, .. } => *contact = extra.to_owned(),
            _ => return Err(PAM_PPS_RESULT_INVALID_ARGUMENT),
        }
        Ok(())
    })
}

/// Lets a request act with the rights of an owner of every node: for modules inside the host.
///
/// Returns: OK; NULL_POINTER.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_pps_input_set_privileged(input: *mut pam_pps_input, privileged: bool) -> pam_pps_result {
    guard(|| {
        // SAFETY: as the header demands.
        unsafe { borrow_mut(input)? }.0.privileged = privileged;
        Ok(())
    })
}
