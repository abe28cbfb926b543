//! The numbers of the C ABI: kinds of inputs, decisions, needs and services. They are never used again for something else.

/// What a `pam_pps_input` is about.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_input_kind {
    /// A stanza, as XML in the namespace `jabber:client`. `from` is always there: the full JID of a client, the JID of a
    /// component or server. No `to` means the sender's own account. What belongs here: everything addressed to the bare JID
    /// of an account of a served host, to the domain of such a host, or to a served component (answers, errors and presence
    /// included), and the presence that an account's own clients broadcast (without `to`).
    ///
    /// For a served chat service: requests of the namespaces pubsub, pubsub#owner, disco#info and disco#items to a room or an
    /// occupant JID, answers to a room, and presence that tells of its occupants: from the occupant JID, to the room, with
    /// `<x xmlns='http://jabber.org/protocol/muc#user'><item jid='…'/></x>`, which names the real full JID of one client, and
    /// what that client's own presence holds; `unavailable` when it has left; `unavailable` with `nick` on the item and the
    /// status code 303 when it has that nick from now on. A privileged request from a room to itself makes the room publish.
    PAM_PPS_INPUT_STANZA = 1,
    /// A time that `PAM_PPS_DECISION_WAKE` asked for has come.
    PAM_PPS_INPUT_TICK = 2,
    /// The session of the full JID in `data` is gone. (Unavailable presence says the same.)
    PAM_PPS_INPUT_SESSION_ENDED = 3,
    /// The account or room of the bare JID in `data` does not exist any more.
    PAM_PPS_INPUT_ACCOUNT_REMOVED = 4,
    /// The roster of the bare JID in `data` now says something else about the bare JID in `extra`.
    PAM_PPS_INPUT_ROSTER_CHANGED = 5,
    /// Data of the module that was there before, as an `<import xmlns='urn:pam_pps:import:1'/>` document of one service.
    PAM_PPS_INPUT_IMPORT = 6,
    /// A command of an administrator, as text; "help" lists them.
    PAM_PPS_INPUT_COMMAND = 7,
    /// The room of the bare JID in `data` has another name, description or subject. The engine asks for them itself when
    /// somebody comes to an empty room.
    PAM_PPS_INPUT_ROOM_CHANGED = 8,
}

/// What a decision asks the host to do.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_decision_kind {
    /// Go on as if the engine were not there.
    PAM_PPS_DECISION_PASS = 1,
    /// Send the stanza. It has `from` and `to`.
    PAM_PPS_DECISION_ROUTE = 2,
    /// Send the stanza, which has neither `to` nor `id`, to each recipient: the one at place `k` (from 0) gets `to` set to its
    /// JID and `id` to the stanza id, "-" and `k` in decimal.
    PAM_PPS_DECISION_MULTICAST = 3,
    /// Find out the fact, and give the same input again with it. Nothing has been changed. All needs of an outcome are to be
    /// answered at once.
    PAM_PPS_DECISION_NEED = 4,
    /// Give `PAM_PPS_INPUT_TICK` at the time, or somewhat later. Of several times the earliest counts.
    PAM_PPS_DECISION_WAKE = 5,
    /// Tell modules of the host that look into a service: the event, the service (`jid`), the actor (`other_jid`), the node,
    /// the item, and the payload (the stanza). Only for services that were given the option "events".
    PAM_PPS_DECISION_EVENT = 6,
    /// The answer to a command or an import is in the stanza, as text.
    PAM_PPS_DECISION_REPLY = 7,
}

/// What a decision of kind `PAM_PPS_DECISION_NEED` asks.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_need_kind {
    /// Does the account `jid` exist? Answer: bool.
    PAM_PPS_NEED_ACCOUNT = 1,
    /// How does the roster of `jid` have the contact `other_jid`? Answer: `pam_pps_input_fact_roster`.
    PAM_PPS_NEED_ROSTER = 2,
    /// Is `jid` an administrator of the service `other_jid`? Answer: bool.
    PAM_PPS_NEED_ADMIN = 3,
    /// Does the account `jid` block `other_jid` (XEP-0191)? Answer: bool.
    PAM_PPS_NEED_BLOCKED = 4,
    /// Data of the service `jid` that an earlier module kept: give it by `PAM_PPS_INPUT_IMPORT` through `pam_pps_engine_handle`
    /// if there is any, then answer: true if that went well or there was none, false if it is to be tried again later.
    PAM_PPS_NEED_IMPORT = 5,
    /// How does `jid` stand to the room `other_jid`, and has it voice there? Answer: `pam_pps_input_fact_room`.
    PAM_PPS_NEED_ROOM = 6,
    /// What does the room `jid` say of itself? Answer: `pam_pps_input_fact_room_info`. Asked for rooms that publish it
    /// (option "conference_info").
    PAM_PPS_NEED_ROOM_INFO = 7,
}

/// How a roster has a contact, seen from the owner of the roster.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_roster_subscription {
    /// No presence goes either way.
    PAM_PPS_ROSTER_NONE = 0,
    /// The owner receives the contact's presence.
    PAM_PPS_ROSTER_TO = 1,
    /// The contact receives the owner's presence.
    PAM_PPS_ROSTER_FROM = 2,
    /// Both.
    PAM_PPS_ROSTER_BOTH = 3,
}

/// How somebody stands to a room.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_room_affiliation {
    /// No affiliation.
    PAM_PPS_ROOM_NONE = 0,
    /// Banned.
    PAM_PPS_ROOM_OUTCAST = 1,
    /// A member.
    PAM_PPS_ROOM_MEMBER = 2,
    /// An administrator.
    PAM_PPS_ROOM_ADMIN = 3,
    /// An owner.
    PAM_PPS_ROOM_OWNER = 4,
}

/// What a served domain is.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_service_kind {
    /// A host with accounts.
    PAM_PPS_SERVICE_ACCOUNTS = 1,
    /// A pubsub component.
    PAM_PPS_SERVICE_COMPONENT = 2,
    /// A chat service (XEP-0045), whose rooms and occupants publish (XEP-0316). What its occupants had published before is
    /// removed, unless it is served already: tell of those who are there after serving it.
    PAM_PPS_SERVICE_ROOMS = 3,
}

/// Where disco#info is asked for.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pam_pps_where {
    /// At an account.
    PAM_PPS_WHERE_ACCOUNT = 1,
    /// At the domain of accounts.
    PAM_PPS_WHERE_DOMAIN = 2,
    /// At a pubsub component.
    PAM_PPS_WHERE_COMPONENT = 3,
    /// At a room.
    PAM_PPS_WHERE_ROOM = 4,
}
