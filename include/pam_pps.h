/*
 * pam_pps: a publish-subscribe engine for XMPP servers.
 *
 * This file is generated from src/ffi; do not change it.
 *
 * Objects are opaque. What a function gives as a pointer is owned by the caller and goes back to the _free function of its
 * type, never to free(). What is read from an object as a pam_pps_slice is valid until the object is freed. What is lent to a
 * function is used during the call only, and copied where it is kept.
 *
 * All text is a pointer and a length, in UTF-8, and is not ended by NUL. Times are microseconds since 1970-01-01T00:00:00Z.
 * Functions that can fail return a pam_pps_result and write their outputs on success only.
 *
 * Threads. An engine may be used from any number of threads at once; everything else belongs to one thread at a time. An engine
 * starts threads of its own with the first pam_pps_engine_submit: one that writes, and some that answer what only reads. They
 * take no signals, call nothing of the host but completions and the log sink, and end with pam_pps_engine_free. An engine does
 * not outlive a fork in the child.
 *
 * Memory. The library never frees what the host has allocated, nor the other way round. It keeps as much of the data in memory
 * as the option cache_size says, and refuses inputs with PAM_PPS_RESULT_BUSY before those that wait could grow without bound.
 *
 * Panics. No function lets a C++ exception, a longjmp or a Rust panic through. After PAM_PPS_RESULT_PANIC the engine is
 * unusable: free it and open another.
 *
 * Stability. Programs ask for the library by its SONAME, which ends in the first two numbers of the version until 1.0.0 and in
 * the first from then on. As long as it stays the same, functions and types keep their meaning, and numbers are neither changed
 * nor used again. There may be new ones: skip decisions of a kind that you do not know, take an unknown result for a failure,
 * and give up an input (pam_pps_input_free) that needs an unknown fact. Options are set by name, so that new ones need no new
 * function. A database is read by every later version; an older one refuses it and changes nothing.
 */


#ifndef PAM_PPS_H
#define PAM_PPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Version of this header. When loading, compare it with pam_pps_version_number(), which may be greater in its last byte only. */
#define PAM_PPS_VERSION "0.1.0"
#define PAM_PPS_VERSION_MAJOR 0
#define PAM_PPS_VERSION_MINOR 1
#define PAM_PPS_VERSION_PATCH 0
#define PAM_PPS_VERSION_NUMBER ((PAM_PPS_VERSION_MAJOR << 16) | (PAM_PPS_VERSION_MINOR << 8) | PAM_PPS_VERSION_PATCH)


// What a function returns that can fail. Accept numbers that are not listed here: later versions may add some.
enum pam_pps_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done.
    PAM_PPS_RESULT_OK = 0,
    // A pointer that must not be NULL is.
    PAM_PPS_RESULT_NULL_POINTER = 1,
    // A text is not UTF-8.
    PAM_PPS_RESULT_INVALID_UTF8 = 2,
    // An argument makes no sense: an unknown number, no JID, no XML.
    PAM_PPS_RESULT_INVALID_ARGUMENT = 3,
    // There is no option of that name.
    PAM_PPS_RESULT_UNKNOWN_OPTION = 4,
    // The option does not take that value.
    PAM_PPS_RESULT_INVALID_OPTION = 5,
    // The store failed: disk full, file locked or damaged, newer than this library.
    PAM_PPS_RESULT_STORE = 6,
    // The engine met a bug of its own before and does nothing more; free it and open a new one.
    PAM_PPS_RESULT_UNUSABLE = 7,
    // A bug of this library was caught in this very call.
    PAM_PPS_RESULT_PANIC = 8,
    // Header and library do not fit each other.
    PAM_PPS_RESULT_VERSION = 9,
    // The engine is shutting down.
    PAM_PPS_RESULT_CLOSED = 10,
    // Too many inputs are waiting already; try again later.
    PAM_PPS_RESULT_BUSY = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_result pam_pps_result;
#else
typedef uint32_t pam_pps_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a `pam_pps_input` is about.
enum pam_pps_input_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A stanza, as XML in the namespace `jabber:client`. `from` is always there: the full JID of a client, the JID of a
    // component or server. No `to` means the sender's own account. What belongs here: everything addressed to the bare JID
    // of an account of a served host, to the domain of such a host, or to a served component (answers, errors and presence
    // included), and the presence that an account's own clients broadcast (without `to`).
    //
    // For a served chat service: requests of the namespaces pubsub, pubsub#owner, disco#info and disco#items to a room or an
    // occupant JID, answers to a room, and presence that tells of its occupants: from the occupant JID, to the room, with
    // `<x xmlns='http://jabber.org/protocol/muc#user'><item jid='…'/></x>`, which names the real full JID of one client, and
    // what that client's own presence holds; `unavailable` when it has left; `unavailable` with `nick` on the item and the
    // status code 303 when it has that nick from now on. A privileged request from a room to itself makes the room publish.
    PAM_PPS_INPUT_STANZA = 1,
    // A time that `PAM_PPS_DECISION_WAKE` asked for has come.
    PAM_PPS_INPUT_TICK = 2,
    // The session of the full JID in `data` is gone. (Unavailable presence says the same.)
    PAM_PPS_INPUT_SESSION_ENDED = 3,
    // The account or room of the bare JID in `data` does not exist any more.
    PAM_PPS_INPUT_ACCOUNT_REMOVED = 4,
    // The roster of the bare JID in `data` now says something else about the bare JID in `extra`.
    PAM_PPS_INPUT_ROSTER_CHANGED = 5,
    // Data of the module that was there before, as an `<import xmlns='urn:pam_pps:import:1'/>` document of one service.
    PAM_PPS_INPUT_IMPORT = 6,
    // A command of an administrator, as text; "help" lists them.
    PAM_PPS_INPUT_COMMAND = 7,
    // The room of the bare JID in `data` has another name, description or subject. The engine asks for them itself when
    // somebody comes to an empty room.
    PAM_PPS_INPUT_ROOM_CHANGED = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_input_kind pam_pps_input_kind;
#else
typedef uint32_t pam_pps_input_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a decision asks the host to do.
enum pam_pps_decision_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Go on as if the engine were not there.
    PAM_PPS_DECISION_PASS = 1,
    // Send the stanza. It has `from` and `to`.
    PAM_PPS_DECISION_ROUTE = 2,
    // Send the stanza, which has neither `to` nor `id`, to each recipient: the one at place `k` (from 0) gets `to` set to its
    // JID and `id` to the stanza id, "-" and `k` in decimal.
    PAM_PPS_DECISION_MULTICAST = 3,
    // Find out the fact, and give the same input again with it. Nothing has been changed. All needs of an outcome are to be
    // answered at once.
    PAM_PPS_DECISION_NEED = 4,
    // Give `PAM_PPS_INPUT_TICK` at the time, or somewhat later. Of several times the earliest counts.
    PAM_PPS_DECISION_WAKE = 5,
    // Tell modules of the host that look into a service: the event, the service (`jid`), the actor (`other_jid`), the node,
    // the item, and the payload (the stanza). Only for services that were given the option "events".
    PAM_PPS_DECISION_EVENT = 6,
    // The answer to a command or an import is in the stanza, as text.
    PAM_PPS_DECISION_REPLY = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_decision_kind pam_pps_decision_kind;
#else
typedef uint32_t pam_pps_decision_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a decision of kind `PAM_PPS_DECISION_NEED` asks.
enum pam_pps_need_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Does the account `jid` exist? Answer: bool.
    PAM_PPS_NEED_ACCOUNT = 1,
    // How does the roster of `jid` have the contact `other_jid`? Answer: `pam_pps_input_fact_roster`.
    PAM_PPS_NEED_ROSTER = 2,
    // Is `jid` an administrator of the service `other_jid`? Answer: bool.
    PAM_PPS_NEED_ADMIN = 3,
    // Does the account `jid` block `other_jid` (XEP-0191)? Answer: bool.
    PAM_PPS_NEED_BLOCKED = 4,
    // Data of the service `jid` that an earlier module kept: give it by `PAM_PPS_INPUT_IMPORT` through `pam_pps_engine_handle`
    // if there is any, then answer: true if that went well or there was none, false if it is to be tried again later.
    PAM_PPS_NEED_IMPORT = 5,
    // How does `jid` stand to the room `other_jid`, and has it voice there? Answer: `pam_pps_input_fact_room`.
    PAM_PPS_NEED_ROOM = 6,
    // What does the room `jid` say of itself? Answer: `pam_pps_input_fact_room_info`. Asked for rooms that publish it
    // (option "conference_info").
    PAM_PPS_NEED_ROOM_INFO = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_need_kind pam_pps_need_kind;
#else
typedef uint32_t pam_pps_need_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How somebody stands to a room.
enum pam_pps_room_affiliation
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No affiliation.
    PAM_PPS_ROOM_NONE = 0,
    // Banned.
    PAM_PPS_ROOM_OUTCAST = 1,
    // A member.
    PAM_PPS_ROOM_MEMBER = 2,
    // An administrator.
    PAM_PPS_ROOM_ADMIN = 3,
    // An owner.
    PAM_PPS_ROOM_OWNER = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_room_affiliation pam_pps_room_affiliation;
#else
typedef uint32_t pam_pps_room_affiliation;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a roster has a contact, seen from the owner of the roster.
enum pam_pps_roster_subscription
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No presence goes either way.
    PAM_PPS_ROSTER_NONE = 0,
    // The owner receives the contact's presence.
    PAM_PPS_ROSTER_TO = 1,
    // The contact receives the owner's presence.
    PAM_PPS_ROSTER_FROM = 2,
    // Both.
    PAM_PPS_ROSTER_BOTH = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_roster_subscription pam_pps_roster_subscription;
#else
typedef uint32_t pam_pps_roster_subscription;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a served domain is.
enum pam_pps_service_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A host with accounts.
    PAM_PPS_SERVICE_ACCOUNTS = 1,
    // A pubsub component.
    PAM_PPS_SERVICE_COMPONENT = 2,
    // A chat service (XEP-0045), whose rooms and occupants publish (XEP-0316). What its occupants had published before is
    // removed, unless it is served already: tell of those who are there after serving it.
    PAM_PPS_SERVICE_ROOMS = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_service_kind pam_pps_service_kind;
#else
typedef uint32_t pam_pps_service_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where disco#info is asked for.
enum pam_pps_where
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // At an account.
    PAM_PPS_WHERE_ACCOUNT = 1,
    // At the domain of accounts.
    PAM_PPS_WHERE_DOMAIN = 2,
    // At a pubsub component.
    PAM_PPS_WHERE_COMPONENT = 3,
    // At a room.
    PAM_PPS_WHERE_ROOM = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pam_pps_where pam_pps_where;
#else
typedef uint32_t pam_pps_where;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Options by name and value.
typedef struct pam_pps_config pam_pps_config;

// An engine with its store.
typedef struct pam_pps_engine pam_pps_engine;

// One thing that happened, with the facts that the host knows about it.
typedef struct pam_pps_input pam_pps_input;

// What came of an input: the decisions for the host to carry out, in their order.
typedef struct pam_pps_outcome pam_pps_outcome;

// A text that is owned by whoever got it.
typedef struct pam_pps_text pam_pps_text;

// Given the outcome of a submitted input, which it owns and has to free, on a thread of the engine's. It must not call
// `pam_pps_engine_free`.
typedef void (*pam_pps_completion_function)(void *user, pam_pps_outcome *outcome);

// Text that belongs to somebody else: valid until its owner is freed. UTF-8, not ended by NUL; `data` may be anything,
// NULL included, when `len` is 0.
typedef struct {
    // The first byte.
    const uint8_t *data;
    // Bytes.
    size_t len;
} pam_pps_slice;

// Called with `user`, a level (1 error, 2 warning, 3 information, 4 debugging) and a message, on any thread.
typedef void (*pam_pps_log_sink_function)(void *user, uint32_t level, pam_pps_slice message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Frees a configuration. NULL is fine.
void pam_pps_config_free(pam_pps_config *config);

// Makes a configuration with every option at its default.
//
// Memory: owned by the caller; freed by `pam_pps_config_free`. NULL if that was not possible.
pam_pps_config *pam_pps_config_new(void);

// Sets one option.
//
// Parameters: `key` and `value` are lent for the call. `error` may be NULL; otherwise, on failure, it is given a text that
// says what was wrong, to be freed by `pam_pps_text_free`.
//
// Returns: OK; UNKNOWN_OPTION; INVALID_OPTION; NULL_POINTER; INVALID_UTF8.
//
// Threads: a configuration is changed by one thread at a time.
pam_pps_result pam_pps_config_set(pam_pps_config *config,
                                  const uint8_t *key,
                                  size_t key_len,
                                  const uint8_t *value,
                                  size_t value_len,
                                  pam_pps_text **error);

// What disco#info says at a served domain: lines separated by "\n". First a line for each identity ("identity", category,
// type and name, with tabs between them), then a line for each feature.
//
// Returns: OK; INVALID_ARGUMENT if the domain is not served; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
//
// Memory: `out` is given a text to be freed by `pam_pps_text_free`.
pam_pps_result pam_pps_engine_features(const pam_pps_engine *engine,
                                       const uint8_t *domain,
                                       size_t domain_len,
                                       uint32_t place,
                                       pam_pps_text **out);

// Closes an engine: what was submitted is finished and handed to its completions, its threads end, the store is closed.
// NULL is fine.
//
// Threads: no other call may be under way.
void pam_pps_engine_free(pam_pps_engine *engine);

// Handles one input and waits for the commit.
//
// Parameters: `now` is the present time in microseconds since 1970. `input` is lent. A failing store is an answer in the
// outcome, not an error of this function.
//
// Returns: OK; INVALID_ARGUMENT if the input makes no sense; NULL_POINTER; STORE; UNUSABLE; PANIC, after which the engine is
// unusable.
//
// Memory: `out` is given an outcome to be freed by `pam_pps_outcome_free`.
//
// Threads: any; calls are carried out one after the other.
pam_pps_result pam_pps_engine_handle(pam_pps_engine *engine,
                                     int64_t now,
                                     const pam_pps_input *input,
                                     pam_pps_outcome **out);

// Opens an engine on the store that the options name.
//
// Parameters: `config` is lent. `error` may be NULL; otherwise, on failure, it is given a text that says what was wrong.
//
// Returns: OK; INVALID_OPTION; STORE; NULL_POINTER; PANIC.
//
// Memory: `out` is given an engine to be freed by `pam_pps_engine_free`, `error` a text to be freed by `pam_pps_text_free`.
//
// Threads: an engine may be used from any number of threads.
pam_pps_result pam_pps_engine_open(const pam_pps_config *config,
                                   pam_pps_engine **out,
                                   pam_pps_text **error);

// Takes over a host with accounts, a pubsub component, or a chat service. A second call for a domain replaces its options.
//
// Parameters: `kind` is a `pam_pps_service_kind`; `options` and `domain` are lent; `error` as for `pam_pps_engine_open`.
//
// Returns: OK; INVALID_ARGUMENT; INVALID_OPTION; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
pam_pps_result pam_pps_engine_serve(pam_pps_engine *engine,
                                    const uint8_t *domain,
                                    size_t domain_len,
                                    uint32_t kind,
                                    const pam_pps_config *options,
                                    pam_pps_text **error);

// Figures for an administrator: lines of name and value with a space between them.
//
// Returns: OK; STORE; NULL_POINTER; UNUSABLE; PANIC.
//
// Memory: `out` is given a text to be freed by `pam_pps_text_free`.
pam_pps_result pam_pps_engine_statistics(const pam_pps_engine *engine, pam_pps_text **out);

// Queues one input. Many of them are committed at once: while several are under way, the engine waits up to half a millisecond
// for those that come next; who submits one at a time is never kept waiting. `done` is given the outcome after the commit, on a thread of
// the engine's. Inputs of one service are handled in the order in which they were submitted. A request that only reads sees
// everything that was submitted before it to or by the same addresses, and maybe more: it may be answered by a thread of its
// own (option `readers`), so that completions may be called by several threads at the same time.
//
// If the outcome has needs, take the input out of it (`pam_pps_outcome_take_input`), add the facts, and submit it again:
// what came after it for the same service waits until then, unless the input only reads. Freeing that input gives it up, and the others go on.
//
// Parameters: `now` is the present time in microseconds since 1970. `done` is called exactly once if this returns OK, and
// never otherwise. An input that makes no sense has an outcome without decisions; `pam_pps_outcome_error` says what is wrong.
//
// Returns: OK; BUSY if too many are waiting; CLOSED; NULL_POINTER; UNUSABLE; PANIC.
//
// Memory: the input belongs to the engine from here on, whatever is returned.
//
// Threads: any.
pam_pps_result pam_pps_engine_submit(pam_pps_engine *engine,
                                     int64_t now,
                                     pam_pps_input *input,
                                     pam_pps_completion_function done,
                                     void *user);

// Gives a host or component back. Its data stays in the store.
//
// Returns: OK; NULL_POINTER; INVALID_UTF8; UNUSABLE; PANIC.
pam_pps_result pam_pps_engine_unserve(pam_pps_engine *engine, const uint8_t *domain, size_t domain_len);

// Answers a need whose answer is yes or no: `need_kind`, `jid` and `other_jid` as the need has them (`other_jid` empty where
// it has none).
//
// Returns: OK; INVALID_ARGUMENT if the kind is unknown or is answered otherwise; NULL_POINTER; INVALID_UTF8.
pam_pps_result pam_pps_input_fact_bool(pam_pps_input *input,
                                       uint32_t need_kind,
                                       const uint8_t *jid,
                                       size_t jid_len,
                                       const uint8_t *other_jid,
                                       size_t other_jid_len,
                                       bool value);

// Answers `PAM_PPS_NEED_ROOM`: how `who` stands to `room`, and whether it is there and has voice.
//
// Parameters: `affiliation` is a `pam_pps_room_affiliation`.
//
// Returns: OK; INVALID_ARGUMENT; NULL_POINTER; INVALID_UTF8.
pam_pps_result pam_pps_input_fact_room(pam_pps_input *input,
                                       const uint8_t *who,
                                       size_t who_len,
                                       const uint8_t *room,
                                       size_t room_len,
                                       uint32_t affiliation,
                                       bool voice);

// Answers `PAM_PPS_NEED_ROOM_INFO`: the name of the room in words, what it is for, and its subject (XEP-0045), as text; each may
// be empty. Everybody in the room may read them.
//
// Returns: OK; NULL_POINTER; INVALID_UTF8.
pam_pps_result pam_pps_input_fact_room_info(pam_pps_input *input,
                                            const uint8_t *room,
                                            size_t room_len,
                                            const uint8_t *name,
                                            size_t name_len,
                                            const uint8_t *description,
                                            size_t description_len,
                                            const uint8_t *subject,
                                            size_t subject_len);

// Answers `PAM_PPS_NEED_ROSTER`: how the roster of `owner` has `contact`, and in which groups.
//
// Parameters: `subscription` is a `pam_pps_roster_subscription`; `groups` points to `group_count` slices, lent for the call,
// and may be NULL if there are none.
//
// Returns: OK; INVALID_ARGUMENT; NULL_POINTER; INVALID_UTF8.
pam_pps_result pam_pps_input_fact_roster(pam_pps_input *input,
                                         const uint8_t *owner,
                                         size_t owner_len,
                                         const uint8_t *contact,
                                         size_t contact_len,
                                         uint32_t subscription,
                                         const pam_pps_slice *groups,
                                         size_t group_count);

// Frees an input. NULL is fine. An input that was submitted is not to be freed.
void pam_pps_input_free(pam_pps_input *input);

// Makes an input: `kind` is a `pam_pps_input_kind`, `data` is what that kind says. The text is copied.
//
// Memory: owned by the caller until it is submitted; freed by `pam_pps_input_free`. NULL if the kind is unknown or the text
// is not UTF-8.
pam_pps_input *pam_pps_input_new(uint32_t kind,
                                 const uint8_t *data,
                                 size_t len);

// Makes an input by which a service of this engine publishes an item itself: an account, a component, or a room (XEP-0316), for
// which it is the host that publishes. It has the rights of an owner of every node, as after `pam_pps_input_set_privileged`.
//
// Parameters: `service` is its bare JID; `item` is the ItemID, empty if one is to be made; `payload` is one XML element. The texts
// are copied. Among the decisions is the answer, a result or an error, an IQ of the id "publish" that is addressed to `service`.
//
// Memory: as for `pam_pps_input_new`. NULL if a text is not UTF-8 or the payload is not one element.
pam_pps_input *pam_pps_input_new_publish(const uint8_t *service,
                                         size_t service_len,
                                         const uint8_t *node,
                                         size_t node_len,
                                         const uint8_t *item,
                                         size_t item_len,
                                         const uint8_t *payload,
                                         size_t payload_len);

// Sets the second text of an input: the contact of `PAM_PPS_INPUT_ROSTER_CHANGED`. The text is copied.
//
// Returns: OK; INVALID_ARGUMENT if the kind has no second text; NULL_POINTER; INVALID_UTF8.
pam_pps_result pam_pps_input_set_extra(pam_pps_input *input, const uint8_t *extra, size_t extra_len);

// Lets a request act with the rights of an owner of every node: for modules inside the host.
//
// Returns: OK; NULL_POINTER.
pam_pps_result pam_pps_input_set_privileged(pam_pps_input *input, bool privileged);

// Sets the function that is given the messages of all engines of the process; a NULL function ends it. Once this has
// returned, the function set before is not called any more.
//
// Threads: the function is called on any thread, one call at a time; it must not call this function.
pam_pps_result pam_pps_log_sink(pam_pps_log_sink_function sink, void *user);

// How many decisions there are.
size_t pam_pps_outcome_count(const pam_pps_outcome *outcome);

// Why a submitted input could not be handled; empty if it was, and where its sender is answered with an error instead. The log
// sink is told as well.
//
// Memory: as for all that is read from an outcome, valid until the outcome is freed.
pam_pps_slice pam_pps_outcome_error(const pam_pps_outcome *outcome);

// The name of an event: "item-published", "item-retracted", "node-created", "node-deleted", "node-purged",
// "node-config-changed", "subscription-added", "subscription-removed". Empty for other decisions.
pam_pps_slice pam_pps_outcome_event(const pam_pps_outcome *outcome, size_t place);

// Frees an outcome with everything that was read from it. NULL is fine.
void pam_pps_outcome_free(pam_pps_outcome *outcome);

// The ItemID of an event; empty if it is not about an item, and for other decisions.
pam_pps_slice pam_pps_outcome_item(const pam_pps_outcome *outcome, size_t place);

// The first JID of a need, or the service of an event; empty for other decisions.
pam_pps_slice pam_pps_outcome_jid(const pam_pps_outcome *outcome, size_t place);

// What a decision is: a `pam_pps_decision_kind`, 0 if there is no decision at that place. Ignore numbers you do not know.
uint32_t pam_pps_outcome_kind(const pam_pps_outcome *outcome,
                              size_t place);

// Whether the thread that hands over this outcome will hand over another right after it, as with what was committed at
// once. A host that wakes up its own loop for outcomes does so at the one for which this is false, and the loop takes all.
bool pam_pps_outcome_more(const pam_pps_outcome *outcome);

// What a need asks: a `pam_pps_need_kind`, 0 for other decisions.
uint32_t pam_pps_outcome_need_kind(const pam_pps_outcome *outcome, size_t place);

// The NodeID of an event; empty for other decisions.
pam_pps_slice pam_pps_outcome_node(const pam_pps_outcome *outcome, size_t place);

// The second JID of a need, or the actor of an event; empty for other decisions.
pam_pps_slice pam_pps_outcome_other_jid(const pam_pps_outcome *outcome, size_t place);

// The JID of one recipient of a multicast; empty if there is none at that place.
pam_pps_slice pam_pps_outcome_recipient(const pam_pps_outcome *outcome, size_t place, size_t recipient);

// How many recipients a multicast has; 0 for other decisions.
size_t pam_pps_outcome_recipient_count(const pam_pps_outcome *outcome, size_t place);

// The XML of a stanza to be sent, the payload of an event, the text of a reply; empty for other decisions.
//
// Memory: as for all that is read from an outcome, valid until the outcome is freed.
pam_pps_slice pam_pps_outcome_stanza(const pam_pps_outcome *outcome, size_t place);

// The beginning of the `id` of each copy of a multicast; empty for other decisions.
pam_pps_slice pam_pps_outcome_stanza_id(const pam_pps_outcome *outcome, size_t place);

// Takes the input out of an outcome that has needs, so that facts can be added and it can be submitted again. NULL if there
// is none: the outcome did not come from `pam_pps_engine_submit`, has no needs, or the input was taken already.
//
// Memory: owned by the caller until it is submitted; freed by `pam_pps_input_free`.
pam_pps_input *pam_pps_outcome_take_input(pam_pps_outcome *outcome);

// When the host is to tick, in microseconds since 1970; 0 for other decisions.
int64_t pam_pps_outcome_time(const pam_pps_outcome *outcome, size_t place);

// Frees a text. NULL is fine.
void pam_pps_text_free(pam_pps_text *text);

// The bytes of a text; valid until it is freed. Empty for NULL.
pam_pps_slice pam_pps_text_slice(const pam_pps_text *text);

// The version of the library, "1.2.3". Compare it with `PAM_PPS_VERSION` when loading.
pam_pps_slice pam_pps_version(void);

// The version of the library as a number: major * 65536 + minor * 256 + patch. Compare it with `PAM_PPS_VERSION_NUMBER`.
uint32_t pam_pps_version_number(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PAM_PPS_H */
