/* libpam_pps for the BEAM: engines and outcomes as resources, completions as messages.
 *
 * submit() copies and queues, so it is a plain NIF. The library's worker commits and answers with enif_send; the outcome
 * travels as a resource, and its decisions are made into terms by the process that got it. What may have to wait for the
 * store, and is in no stanza's way, runs on dirty I/O schedulers: open, close, serve, handle and the like.
 *
 * The library is linked with -z nodelete: its worker may be inside these functions when a module is purged. */
#include "element.h"
#include "input.h"
#include "terms.h"

#include <pam_pps.h>

#include <erl_nif.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* What pam_pps_nif.erl and this file agree on; the number changes with it. The VM keeps native code that it has once loaded from a
 * path, whatever is there later, so newer Erlang code may meet older native code. */
#define INTERFACE 2

/* Processes that are told of one group, and of how much of it before the others are told too. */
#define BATCHES 16
#define BATCH_MOST 64
/* Locks that all outcomes share. */
#define LOCKS 64

struct engine {
	pam_pps_engine *engine;
	atomic_bool closed;
	atomic_int users; /* calls that are under way */
};

/* An outcome, made when its input is submitted: by a scheduler, which has memory of its own, so that little is left to be done
 * by the library's thread, which has not. */
struct outcome {
	/* These two stay the first for ever: see outcome_gone(). */
	pam_pps_outcome *outcome; /* NULL until it is there, and after release() */
	struct engine *engine;    /* kept, so that the input can be submitted again; NULL after handle() */
	/* The rest is what was said on submission. */
	ErlNifEnv *env;    /* of this; NULL after handle() and release_context() */
	ERL_NIF_TERM said; /* {Tag, Context} */
	ErlNifPid pid;
};

/* A resource may be shared by processes, an outcome may not. */
static ErlNifMutex *locks[LOCKS];

static ErlNifResourceType *engine_type, *outcome_type;

static const char *const service_names[] = {"accounts", "component", "rooms"};
static const char *const place_names[] = {"account", "domain", "component", "room"};
static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const result_names[] = {"ok", "null_pointer", "invalid_utf8", "invalid_argument", "unknown_option",
	"invalid_option", "store", "unusable", "panic", "version", "closed", "busy"};

static ERL_NIF_TERM atom_service[COUNT(service_names)], atom_place[COUNT(place_names)], atom_level[COUNT(level_names)];
static ERL_NIF_TERM atom_result[COUNT(result_names)];
static ERL_NIF_TERM atom_error, atom_event, atom_log, atom_multicast, atom_need, atom_ok, atom_pam_pps, atom_pass, atom_reply;
static ERL_NIF_TERM atom_route, atom_undefined, atom_wake;

/* The environment of the NIF that this thread runs, for messages sent from inside the library. */
static __thread ErlNifEnv *calling;

/* Who is told what the library logs. */
static struct {
	ErlNifMutex *lock;
	ErlNifPid pid;
	bool set;
} listener;

/* -- terms --------------------------------------------------------------------------------------------------------- */

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static ERL_NIF_TERM binary_of(ErlNifEnv *env, pam_pps_slice slice) {
	return binary_term(env, slice.data, slice.len);
}

static ERL_NIF_TERM error_of(ErlNifEnv *env, pam_pps_result result, pam_pps_text *text) {
	ERL_NIF_TERM reason = result < COUNT(atom_result) ? atom_result[result] : atom_undefined;
	if(text) {
		reason = enif_make_tuple2(env, reason, binary_of(env, pam_pps_text_slice(text)));
		pam_pps_text_free(text);
	}
	return enif_make_tuple2(env, atom_error, reason);
}

/* -- resources ----------------------------------------------------------------------------------------------------- */

static void *free_engine(void *engine) {
	pam_pps_engine_free(engine);
	return NULL;
}

/* An engine that nobody closed: its end waits for the store, and a destructor must not. */
static void engine_gone(ErlNifEnv *env, void *object) {
	(void)env;
	struct engine *e = object;
	pthread_t thread;
	if(!atomic_load(&e->closed) && pthread_create(&thread, NULL, free_engine, e->engine) == 0)
		pthread_detach(thread);
}

/* Whether an outcome was made by code with this layout of it. After an upgrade there may be some that were not. */
static bool is_ours(struct outcome *o) {
	return enif_sizeof_resource(o) == sizeof *o;
}

static void outcome_gone(ErlNifEnv *env, void *object) {
	(void)env;
	struct outcome *o = object;
	/* With it goes an input that nobody took: what waits behind it goes on. */
	pam_pps_outcome_free(o->outcome);
	if(o->engine)
		enif_release_resource(o->engine);
	if(is_ours(o) && o->env)
		enif_free_env(o->env);
}

static ErlNifMutex *lock_of(const struct outcome *o) {
	return locks[(uintptr_t)o / 64 % LOCKS];
}

static bool get_outcome(ErlNifEnv *env, ERL_NIF_TERM term, struct outcome **o) {
	return enif_get_resource(env, term, outcome_type, (void **)o) && is_ours(*o);
}

/* Never called: no resource of ours monitors a process. A type has to have this callback all the same. While a module takes types
 * over from its earlier instance, every type has one for a moment, and enif_alloc_resource(), which may run in another thread just
 * then, looks twice (OTP 25 at least): once for the size, once for whether to write what monitors need. A type that has none
 * otherwise would be written to behind its end. */
static void never_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor) {
	(void)env, (void)object, (void)pid, (void)monitor;
}

/* A type of resources, taken over from the module's earlier instance, if there is one. */
static ErlNifResourceType *open_type(ErlNifEnv *env, const char *name, ErlNifResourceDtor *gone) {
	ErlNifResourceTypeInit callbacks = {.dtor = gone, .down = never_down};
	return enif_open_resource_type_x(env, name, &callbacks, ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER, NULL);
}

/* Holds the engine open until release(), whatever becomes of the term; NULL if it is closed or being closed. Never waits. */
static pam_pps_engine *hold(ErlNifEnv *env, struct engine *e) {
	atomic_fetch_add(&e->users, 1);
	if(atomic_load(&e->closed)) {
		atomic_fetch_sub(&e->users, 1);
		return NULL;
	}
	enif_keep_resource(e);
	calling = env;
	return e->engine;
}

static void release(struct engine *e) {
	calling = NULL;
	atomic_fetch_sub(&e->users, 1);
	enif_release_resource(e);
}

/* -- what comes from the library's threads ------------------------------------------------------------------------- */

static void log_sink(void *user, uint32_t level, pam_pps_slice text) {
	(void)user;
	ErlNifPid pid;
	enif_mutex_lock(listener.lock);
	bool set = listener.set;
	pid = listener.pid;
	enif_mutex_unlock(listener.lock);
	if(!set)
		return;
	ErlNifEnv *env = enif_alloc_env();
	ERL_NIF_TERM name = level >= 1 && level <= COUNT(atom_level) ? atom_level[level - 1] : atom_level[3];
	enif_send(calling, &pid, env, enif_make_tuple4(env, atom_pam_pps, atom_log, name, binary_of(env, text)));
	enif_free_env(env);
}

/* What one process is to be told of the group of inputs that this thread has just finished. */
struct batch {
	ErlNifPid pid;
	ErlNifEnv *env;
	ERL_NIF_TERM list; /* the last one first */
	size_t count;
};

static __thread struct batch batches[BATCHES];
static __thread size_t batch_count;

static void send_batches(void) {
	for(size_t i = 0; i < batch_count; i++) {
		struct batch *b = &batches[i];
		enif_make_reverse_list(b->env, b->list, &b->list);
		enif_send(calling, &b->pid, b->env, enif_make_tuple2(b->env, atom_pam_pps, b->list));
		enif_free_env(b->env);
	}
	batch_count = 0;
}

static struct batch *batch_for(const ErlNifPid *pid) {
	for(size_t i = 0; i < batch_count; i++)
		if(enif_compare_pids(&batches[i].pid, pid) == 0)
			return &batches[i];
	if(batch_count == BATCHES)
		send_batches();
	struct batch *b = &batches[batch_count++];
	*b = (struct batch){.pid = *pid, .env = enif_alloc_env()};
	b->list = enif_make_list(b->env, 0);
	return b;
}

/* {pam_pps, [Outcome]} to whoever waits for them, all that were finished at once in one message. If that process is gone, the
 * outcomes go with the message. */
static void completed(void *user, pam_pps_outcome *outcome) {
	struct outcome *o = user;
	bool more = pam_pps_outcome_more(outcome);
	struct batch *b = batch_for(&o->pid);
	o->outcome = outcome;
	b->list = enif_make_list_cell(b->env, enif_make_resource(b->env, o), b->list);
	enif_release_resource(o);
	if(!more || ++b->count == BATCH_MOST)
		send_batches();
}

/* Submits an input, which belongs to the engine afterwards, for a process that is told of the outcome. */
static ERL_NIF_TERM submit_input(ErlNifEnv *env, struct engine *e, pam_pps_input *input, const ErlNifPid *pid, ERL_NIF_TERM tag,
	ERL_NIF_TERM context) {
	pam_pps_engine *engine = hold(env, e);
	if(!engine) {
		pam_pps_input_free(input);
		return enif_make_tuple2(env, atom_error, atom_result[PAM_PPS_RESULT_CLOSED]);
	}
	struct outcome *o = enif_alloc_resource(outcome_type, sizeof *o);
	*o = (struct outcome){.engine = e, .env = enif_alloc_env(), .pid = *pid};
	enif_keep_resource(e);
	/* Copied at once. */
	o->said = enif_make_copy(o->env, enif_make_tuple2(env, tag, context));
	pam_pps_result result = pam_pps_engine_submit(engine, now(), input, completed, o);
	release(e);
	if(result == PAM_PPS_RESULT_OK)
		return atom_ok;
	enif_release_resource(o);
	return error_of(env, result, NULL);
}

/* -- options ------------------------------------------------------------------------------------------------------- */

/* A configuration from [{Key, Value}], both binaries; NULL with *error set. */
static pam_pps_config *config_of(ErlNifEnv *env, ERL_NIF_TERM list, ERL_NIF_TERM *error) {
	pam_pps_config *config = pam_pps_config_new();
	ERL_NIF_TERM head;
	while(config && enif_get_list_cell(env, list, &head, &list)) {
		const ERL_NIF_TERM *pair;
		int arity;
		ErlNifBinary key, value;
		if(!enif_get_tuple(env, head, &arity, &pair) || arity != 2 || !enif_inspect_binary(env, pair[0], &key) ||
			!enif_inspect_binary(env, pair[1], &value)) {
			pam_pps_config_free(config);
			*error = enif_make_badarg(env);
			return NULL;
		}
		pam_pps_text *text = NULL;
		pam_pps_result result = pam_pps_config_set(config, key.data, key.size, value.data, value.size, &text);
		if(result != PAM_PPS_RESULT_OK) {
			pam_pps_config_free(config);
			*error = error_of(env, result, text);
			return NULL;
		}
	}
	if(!config)
		*error = enif_make_badarg(env);
	return config;
}

/* -- the engine ---------------------------------------------------------------------------------------------------- */

/* open([{Key, Value}]) -> {ok, Engine} | {error, Reason} */
static ERL_NIF_TERM nif_open(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	ERL_NIF_TERM term;
	pam_pps_config *config = config_of(env, argv[0], &term);
	if(!config)
		return term;
	pam_pps_engine *engine = NULL;
	pam_pps_text *text = NULL;
	calling = env;
	pam_pps_result result = pam_pps_engine_open(config, &engine, &text);
	calling = NULL;
	pam_pps_config_free(config);
	if(result != PAM_PPS_RESULT_OK)
		return error_of(env, result, text);
	struct engine *e = enif_alloc_resource(engine_type, sizeof *e);
	e->engine = engine;
	atomic_init(&e->closed, false);
	atomic_init(&e->users, 0);
	term = enif_make_resource(env, e);
	enif_release_resource(e);
	return enif_make_tuple2(env, atom_ok, term);
}

/* close(Engine) -> ok. What was submitted is finished first; a second call finds nothing to do. */
static ERL_NIF_TERM nif_close(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e))
		return enif_make_badarg(env);
	if(atomic_exchange(&e->closed, true))
		return atom_ok;
	enif_keep_resource(e);
	/* Who saw it open is done soon: a submission copies and queues, and all else runs on threads like this one. */
	const struct timespec moment = {.tv_nsec = 1000000};
	while(atomic_load(&e->users))
		nanosleep(&moment, NULL);
	calling = env;
	pam_pps_engine_free(e->engine);
	calling = NULL;
	enif_release_resource(e);
	return atom_ok;
}

/* serve(Engine, Domain, accounts | component | rooms, [{Key, Value}]) -> ok | {error, Reason} */
static ERL_NIF_TERM nif_serve(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	ErlNifBinary domain;
	int kind = find(argv[2], atom_service, COUNT(atom_service));
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e) || !enif_inspect_binary(env, argv[1], &domain) || kind < 0)
		return enif_make_badarg(env);
	ERL_NIF_TERM error;
	pam_pps_config *config = config_of(env, argv[3], &error);
	if(!config)
		return error;
	pam_pps_engine *engine = hold(env, e);
	pam_pps_text *text = NULL;
	pam_pps_result result = PAM_PPS_RESULT_CLOSED;
	if(engine) {
		result = pam_pps_engine_serve(engine, domain.data, domain.size, (uint32_t)kind + 1, config, &text);
		release(e);
	}
	pam_pps_config_free(config);
	return result == PAM_PPS_RESULT_OK ? atom_ok : error_of(env, result, text);
}

/* unserve(Engine, Domain) -> ok | {error, Reason} */
static ERL_NIF_TERM nif_unserve(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	ErlNifBinary domain;
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e) || !enif_inspect_binary(env, argv[1], &domain))
		return enif_make_badarg(env);
	pam_pps_engine *engine = hold(env, e);
	pam_pps_result result = PAM_PPS_RESULT_CLOSED;
	if(engine) {
		result = pam_pps_engine_unserve(engine, domain.data, domain.size);
		release(e);
	}
	return result == PAM_PPS_RESULT_OK ? atom_ok : error_of(env, result, NULL);
}

static ERL_NIF_TERM text_answer(ErlNifEnv *env, pam_pps_result result, pam_pps_text *text) {
	if(result != PAM_PPS_RESULT_OK)
		return error_of(env, result, NULL);
	ERL_NIF_TERM term = binary_of(env, pam_pps_text_slice(text));
	pam_pps_text_free(text);
	return enif_make_tuple2(env, atom_ok, term);
}

/* features(Engine, Domain, account | domain | component | room) -> {ok, Text} | {error, Reason} */
static ERL_NIF_TERM nif_features(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	ErlNifBinary domain;
	int place = find(argv[2], atom_place, COUNT(atom_place));
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e) || !enif_inspect_binary(env, argv[1], &domain) || place < 0)
		return enif_make_badarg(env);
	pam_pps_engine *engine = hold(env, e);
	pam_pps_result result = PAM_PPS_RESULT_CLOSED;
	pam_pps_text *text = NULL;
	if(engine) {
		result = pam_pps_engine_features(engine, domain.data, domain.size, (uint32_t)place + 1, &text);
		release(e);
	}
	return text_answer(env, result, text);
}

/* statistics(Engine) -> {ok, Text} | {error, Reason} */
static ERL_NIF_TERM nif_statistics(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e))
		return enif_make_badarg(env);
	pam_pps_engine *engine = hold(env, e);
	pam_pps_result result = PAM_PPS_RESULT_CLOSED;
	pam_pps_text *text = NULL;
	if(engine) {
		result = pam_pps_engine_statistics(engine, &text);
		release(e);
	}
	return text_answer(env, result, text);
}

/* -- inputs -------------------------------------------------------------------------------------------------------- */

/* submit(Engine, Kind, Data, Extra, Privileged, Pid, Tag, Context) -> ok | {error, Reason}
 * Pid gets {pam_pps, [Outcome]} after the commit. */
static ERL_NIF_TERM nif_submit(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	ErlNifBinary extra;
	ErlNifPid pid;
	bool privileged;
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e) || !enif_inspect_binary(env, argv[3], &extra) ||
		!input_bool(argv[4], &privileged) || !enif_get_local_pid(env, argv[5], &pid))
		return enif_make_badarg(env);
	pam_pps_input *input = input_read(env, argv[1], argv[2]);
	if(!input || (extra.size && pam_pps_input_set_extra(input, extra.data, extra.size) != PAM_PPS_RESULT_OK)) {
		pam_pps_input_free(input);
		return enif_make_tuple2(env, atom_error, atom_result[PAM_PPS_RESULT_INVALID_ARGUMENT]);
	}
	pam_pps_input_set_privileged(input, privileged);
	return submit_input(env, e, input, &pid, argv[6], argv[7]);
}

/* handle(Engine, Kind, Data) -> {ok, Outcome} | {error, Reason}. Waits for the commit. */
static ERL_NIF_TERM nif_handle(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct engine *e;
	if(!enif_get_resource(env, argv[0], engine_type, (void **)&e))
		return enif_make_badarg(env);
	pam_pps_input *input = input_read(env, argv[1], argv[2]);
	if(!input)
		return enif_make_tuple2(env, atom_error, atom_result[PAM_PPS_RESULT_INVALID_ARGUMENT]);
	pam_pps_engine *engine = hold(env, e);
	pam_pps_result result = PAM_PPS_RESULT_CLOSED;
	pam_pps_outcome *outcome = NULL;
	if(engine) {
		result = pam_pps_engine_handle(engine, now(), input, &outcome);
		release(e);
	}
	pam_pps_input_free(input);
	if(result != PAM_PPS_RESULT_OK)
		return error_of(env, result, NULL);
	struct outcome *o = enif_alloc_resource(outcome_type, sizeof *o);
	*o = (struct outcome){.outcome = outcome};
	ERL_NIF_TERM term = enif_make_resource(env, o);
	enif_release_resource(o);
	return enif_make_tuple2(env, atom_ok, term);
}

/* One of the two things that were said of an outcome on submission. */
static ERL_NIF_TERM said(ErlNifEnv *env, ERL_NIF_TERM term, int which) {
	struct outcome *o;
	const ERL_NIF_TERM *both;
	int arity;
	if(!get_outcome(env, term, &o))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	bool is_there = o->env && enif_get_tuple(o->env, o->said, &arity, &both);
	ERL_NIF_TERM copy = is_there ? enif_make_copy(env, both[which]) : 0;
	enif_mutex_unlock(lock_of(o));
	return is_there ? copy : enif_make_badarg(env);
}

/* tag(Outcome) -> Tag */
static ERL_NIF_TERM nif_tag(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	return said(env, argv[0], 0);
}

/* context(Outcome) -> Context */
static ERL_NIF_TERM nif_context(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	return said(env, argv[0], 1);
}

/* release_context(Outcome) -> ok. What was said on submission is freed now: it may be much, and no collector sees how much. */
static ERL_NIF_TERM nif_release_context(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct outcome *o;
	if(!get_outcome(env, argv[0], &o))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	ErlNifEnv *old = o->env;
	o->env = NULL;
	enif_mutex_unlock(lock_of(o));
	if(old)
		enif_free_env(old);
	return atom_ok;
}

/* release(Outcome) -> ok. It has no decisions from here on. */
static ERL_NIF_TERM nif_release(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	struct outcome *o;
	if(!get_outcome(env, argv[0], &o))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	pam_pps_outcome *old = o->outcome;
	o->outcome = NULL;
	enif_mutex_unlock(lock_of(o));
	pam_pps_outcome_free(old);
	return nif_release_context(env, argc, argv);
}

/* resubmit(Outcome, Facts, Pid, Tag) -> ok | {error, Reason}. Gives the input of an outcome with needs back, with the facts.
 * The context stays. */
static ERL_NIF_TERM nif_resubmit(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct outcome *o;
	ErlNifPid pid;
	if(!get_outcome(env, argv[0], &o) || !enif_is_list(env, argv[1]) || !enif_get_local_pid(env, argv[2], &pid))
		return enif_make_badarg(env);
	/* As a term of this call: copying it twice is rare enough. */
	ERL_NIF_TERM context = nif_context(env, 1, argv);
	if(enif_is_exception(env, context))
		return context;
	enif_mutex_lock(lock_of(o));
	pam_pps_input *input = o->engine ? pam_pps_outcome_take_input(o->outcome) : NULL;
	enif_mutex_unlock(lock_of(o));
	if(!input)
		return enif_make_tuple2(env, atom_error, atom_result[PAM_PPS_RESULT_INVALID_ARGUMENT]);
	ERL_NIF_TERM head, list = argv[1];
	while(enif_get_list_cell(env, list, &head, &list))
		if(!input_add_fact(env, input, head)) {
			pam_pps_input_free(input);
			return enif_make_tuple2(env, atom_error, atom_result[PAM_PPS_RESULT_INVALID_ARGUMENT]);
		}
	return submit_input(env, o->engine, input, &pid, argv[3], context);
}

/* -- outcomes ------------------------------------------------------------------------------------------------------ */

static ERL_NIF_TERM need_term(ErlNifEnv *env, const pam_pps_outcome *o, size_t i) {
	return enif_make_tuple4(env, atom_need, input_need(pam_pps_outcome_need_kind(o, i)), binary_of(env, pam_pps_outcome_jid(o, i)),
		binary_of(env, pam_pps_outcome_other_jid(o, i)));
}

/* A stanza as #xmlel{}; as text if that cannot be read. */
static ERL_NIF_TERM stanza_term(ErlNifEnv *env, pam_pps_slice stanza) {
	ERL_NIF_TERM term;
	return element_read(env, stanza.data, stanza.len, &term) ? term : binary_of(env, stanza);
}

/* decisions(Outcome) -> [pass | {route, Stanza} | {multicast, Place, Id, Stanza, Count} | {need, Kind, Jid, Other} |
 *                        {wake, Time} | {event, Place, Name, Service} | {reply, Text}] */
static ERL_NIF_TERM nif_decisions(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct outcome *o;
	if(!get_outcome(env, argv[0], &o))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	ERL_NIF_TERM list = enif_make_list(env, 0);
	size_t bytes = 0;
	for(size_t i = pam_pps_outcome_count(o->outcome); i-- > 0;) {
		ERL_NIF_TERM term;
		uint32_t kind = pam_pps_outcome_kind(o->outcome, i);
		/* That of an event is written when it is asked for: see event(). */
		pam_pps_slice stanza = kind == PAM_PPS_DECISION_EVENT ? (pam_pps_slice){0} : pam_pps_outcome_stanza(o->outcome, i);
		bytes += stanza.len + 64;
		switch(kind) {
		case PAM_PPS_DECISION_PASS: term = atom_pass; break;
		case PAM_PPS_DECISION_ROUTE: term = enif_make_tuple2(env, atom_route, stanza_term(env, stanza)); break;
		case PAM_PPS_DECISION_MULTICAST:
			term = enif_make_tuple5(env, atom_multicast, enif_make_uint64(env, i),
				binary_of(env, pam_pps_outcome_stanza_id(o->outcome, i)), stanza_term(env, stanza),
				enif_make_uint64(env, pam_pps_outcome_recipient_count(o->outcome, i)));
			break;
		case PAM_PPS_DECISION_NEED: term = need_term(env, o->outcome, i); break;
		case PAM_PPS_DECISION_WAKE:
			term = enif_make_tuple2(env, atom_wake, enif_make_int64(env, pam_pps_outcome_time(o->outcome, i)));
			break;
		case PAM_PPS_DECISION_EVENT:
			term = enif_make_tuple4(env, atom_event, enif_make_uint64(env, i), binary_of(env, pam_pps_outcome_event(o->outcome, i)),
				binary_of(env, pam_pps_outcome_jid(o->outcome, i)));
			break;
		case PAM_PPS_DECISION_REPLY: term = enif_make_tuple2(env, atom_reply, binary_of(env, stanza)); break;
		default: continue;
		}
		list = enif_make_list_cell(env, term, list);
	}
	enif_mutex_unlock(lock_of(o));
	consume(env, bytes);
	return list;
}

/* event(Outcome, Place) -> {event, Name, Service, Node, Item, Actor, Payload}; the payload as a stanza is */
static ERL_NIF_TERM nif_event(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct outcome *o;
	ErlNifUInt64 place;
	if(!get_outcome(env, argv[0], &o) || !enif_get_uint64(env, argv[1], &place))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	pam_pps_slice payload = pam_pps_outcome_stanza(o->outcome, place);
	ERL_NIF_TERM parts[] = {atom_event, binary_of(env, pam_pps_outcome_event(o->outcome, place)),
		binary_of(env, pam_pps_outcome_jid(o->outcome, place)), binary_of(env, pam_pps_outcome_node(o->outcome, place)),
		binary_of(env, pam_pps_outcome_item(o->outcome, place)), binary_of(env, pam_pps_outcome_other_jid(o->outcome, place)),
		stanza_term(env, payload)};
	enif_mutex_unlock(lock_of(o));
	consume(env, payload.len);
	return enif_make_tuple_from_array(env, parts, COUNT(parts));
}

/* element(Xml) -> #xmlel{} | error */
static ERL_NIF_TERM nif_element(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	ErlNifBinary xml;
	ERL_NIF_TERM term;
	if(!enif_inspect_iolist_as_binary(env, argv[0], &xml))
		return enif_make_badarg(env);
	consume(env, xml.size);
	return element_read(env, xml.data, xml.size, &term) ? term : atom_error;
}

/* recipients(Outcome, Place, From, Count) -> [Jid], from the place From (from 0), Count of them at most */
static ERL_NIF_TERM nif_recipients(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	struct outcome *o;
	ErlNifUInt64 place, from, count;
	if(!get_outcome(env, argv[0], &o) || !enif_get_uint64(env, argv[1], &place) ||
		!enif_get_uint64(env, argv[2], &from) || !enif_get_uint64(env, argv[3], &count))
		return enif_make_badarg(env);
	enif_mutex_lock(lock_of(o));
	size_t total = pam_pps_outcome_recipient_count(o->outcome, place), end;
	end = from >= total ? from : count > total - from ? total : from + count;
	ERL_NIF_TERM list = enif_make_list(env, 0);
	size_t bytes = 0;
	for(size_t k = end; k-- > from;) {
		pam_pps_slice jid = pam_pps_outcome_recipient(o->outcome, place, k);
		bytes += jid.len + 64;
		list = enif_make_list_cell(env, binary_of(env, jid), list);
	}
	enif_mutex_unlock(lock_of(o));
	consume(env, bytes);
	return list;
}

/* -- loading ------------------------------------------------------------------------------------------------------- */

/* log(Pid | undefined) -> ok. Pid gets {pam_pps, log, Level, Text}. */
static ERL_NIF_TERM nif_log(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc;
	ErlNifPid pid;
	bool set = enif_get_local_pid(env, argv[0], &pid);
	if(!set && !enif_is_identical(argv[0], atom_undefined))
		return enif_make_badarg(env);
	enif_mutex_lock(listener.lock);
	listener.set = set;
	if(set)
		listener.pid = pid;
	enif_mutex_unlock(listener.lock);
	return atom_ok;
}

/* version() -> Version of the library */
static ERL_NIF_TERM nif_version(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) {
	(void)argc, (void)argv;
	return binary_of(env, pam_pps_version());
}

/* For a first load and for an upgrade. */
static int prepare(ErlNifEnv *env) {
	if((pam_pps_version_number() >> 8) != (PAM_PPS_VERSION_NUMBER >> 8))
		return PAM_PPS_RESULT_VERSION;
	engine_type = open_type(env, "pam_pps_engine", engine_gone);
	outcome_type = open_type(env, "pam_pps_outcome", outcome_gone);
	if(!engine_type || !outcome_type)
		return -1;
	MAKE_ATOMS(service);
	MAKE_ATOMS(place);
	MAKE_ATOMS(level);
	MAKE_ATOMS(result);
	atom_error = enif_make_atom(env, "error");
	atom_event = enif_make_atom(env, "event");
	atom_log = enif_make_atom(env, "log");
	atom_multicast = enif_make_atom(env, "multicast");
	atom_need = enif_make_atom(env, "need");
	atom_ok = enif_make_atom(env, "ok");
	atom_pam_pps = enif_make_atom(env, "pam_pps");
	atom_pass = enif_make_atom(env, "pass");
	atom_reply = enif_make_atom(env, "reply");
	atom_route = enif_make_atom(env, "route");
	atom_undefined = enif_make_atom(env, "undefined");
	atom_wake = enif_make_atom(env, "wake");
	element_load(env);
	input_load(env);
	for(size_t i = 0; i < LOCKS; i++)
		if(!locks[i] && !(locks[i] = enif_mutex_create("pam_pps_outcome")))
			return -1;
	if(!listener.lock)
		listener.lock = enif_mutex_create("pam_pps_log");
	return listener.lock && pam_pps_log_sink(log_sink, NULL) == PAM_PPS_RESULT_OK ? 0 : -1;
}

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM info) {
	(void)data;
	int wanted;
	return enif_get_int(env, info, &wanted) && wanted == INTERFACE ? prepare(env) : PAM_PPS_RESULT_VERSION;
}

static int upgrade(ErlNifEnv *env, void **data, void **old, ERL_NIF_TERM info) {
	(void)old;
	return load(env, data, info);
}

static ErlNifFunc functions[] = {
	{"open", 1, nif_open, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"close", 1, nif_close, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"serve", 4, nif_serve, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"unserve", 2, nif_unserve, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"features", 3, nif_features, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"statistics", 1, nif_statistics, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"handle", 3, nif_handle, ERL_NIF_DIRTY_JOB_IO_BOUND},
	{"submit", 8, nif_submit, 0},
	{"resubmit", 4, nif_resubmit, 0},
	{"tag", 1, nif_tag, 0},
	{"context", 1, nif_context, 0},
	{"release_context", 1, nif_release_context, 0},
	{"release", 1, nif_release, 0},
	{"decisions", 1, nif_decisions, 0},
	{"event", 2, nif_event, 0},
	{"element", 1, nif_element, 0},
	{"recipients", 4, nif_recipients, 0},
	{"log", 1, nif_log, 0},
	{"version", 0, nif_version, 0},
};

ERL_NIF_INIT(pam_pps_nif, functions, load, NULL, upgrade, NULL)
