/* libpam_pps for Prosody: engine, inputs and outcomes as Lua objects, and completions on Lua's own thread.
 *
 * The library's worker calls `completed` and the log sink on threads of its own. Both only append to a queue under a
 * lock and make an eventfd readable; Lua, which watches the descriptor, collects with engine:poll() and logs().
 * Every handle of the library sits in a userdata with __gc before anything that can raise a Lua error. */
#include "stanza.h"

#include <pam_pps.h>

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MT "pam_pps.config"
#define ENGINE_MT "pam_pps.engine"
#define INPUT_MT "pam_pps.input"
#define OUTCOME_MT "pam_pps.outcome"
#define TEXT_MT "pam_pps.text"
#define LOG_LIMIT 1000

static const char stanza_metatable; /* its address: key of util.stanza's metatable in the registry */
static const char scratch_buffer;   /* its address: key of the buffer in which stanzas are written */

static const char *const input_kinds[] = {
	"stanza", "tick", "session-ended", "account-removed", "roster-changed", "import", "command", NULL};
static const char *const decision_kinds[] = {"pass", "route", "multicast", "need", "wake", "event", "reply"};
static const char *const need_kinds[] = {"account", "roster", "admin", "blocked", "import", "room", NULL};
static const char *const subscriptions[] = {"none", "to", "from", "both", NULL};
static const char *const affiliations[] = {"none", "outcast", "member", "admin", "owner", NULL};
static const char *const service_kinds[] = {"accounts", "component", "rooms", NULL};
static const char *const places[] = {"account", "domain", "component", "room", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug"};

struct job {
	struct job *next;
	struct engine *engine;
	lua_Integer token;
	pam_pps_outcome *outcome;
};

/* An input that is handed over with the others of the same turn of the loop, so that they share a transaction. */
struct pending {
	pam_pps_input *input;
	lua_Integer token;
	int64_t now;
};

struct engine {
	pam_pps_engine *engine; /* NULL: closed */
	struct pending *pending;
	size_t pending_count, pending_cap;
	pthread_mutex_t lock;
	struct job *first, **last; /* finished, oldest first */
	bool locked;               /* the lock exists */
	int fd;
};

struct message {
	struct message *next;
	uint32_t level;
	size_t len;
	char text[];
};

/* The library has one log sink, so has this module. */
static struct {
	pthread_mutex_t lock;
	struct message *first, **last;
	size_t count, dropped;
	int fd; /* -1: nobody to wake */
} messages = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* -- small helpers ------------------------------------------------------------------------------------------------- */

static void wake(int fd) {
	uint64_t one = 1;
	/* The only failure is a full counter: then the descriptor is readable already. */
	ssize_t done = write(fd, &one, sizeof one);
	(void)done;
}

static int64_t now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const uint8_t *check_bytes(lua_State *L, int index, size_t *len) {
	return (const uint8_t *)luaL_checklstring(L, index, len);
}

static void push_slice(lua_State *L, pam_pps_slice s) {
	lua_pushlstring(L, s.len ? (const char *)s.data : "", s.len);
}

static void push_kind(lua_State *L, const char *const names[], size_t count, uint32_t kind) {
	if(kind >= 1 && kind <= count)
		lua_pushstring(L, names[kind - 1]);
	else
		lua_pushliteral(L, "unknown");
}

/* A userdata that holds one pointer, still NULL. */
static void **push_handle(lua_State *L, const char *metatable) {
	void **handle = lua_newuserdata(L, sizeof *handle);
	*handle = NULL;
	luaL_setmetatable(L, metatable);
	return handle;
}

static const char *result_text(pam_pps_result result) {
	static const char *const texts[] = {"ok", "null pointer", "invalid UTF-8", "invalid argument", "unknown option",
		"invalid option", "the store failed", "the engine is unusable after an internal error", "internal error",
		"version mismatch", "closed", "too many inputs are waiting"};
	return result < sizeof texts / sizeof *texts ? texts[result] : "unknown error";
}

/* `nil, error` from the library's text, when it gave one, or from the code. */
static int fail(lua_State *L, pam_pps_result result, pam_pps_text **error) {
	lua_pushnil(L);
	if(error && *error)
		push_slice(L, pam_pps_text_slice(*error));
	else
		lua_pushstring(L, result_text(result));
	return 2;
}

static int text_gc(lua_State *L) {
	pam_pps_text **text = luaL_checkudata(L, 1, TEXT_MT);
	pam_pps_text_free(*text);
	*text = NULL;
	return 0;
}

/* -- log ----------------------------------------------------------------------------------------------------------- */

static void log_sink(void *user, uint32_t level, pam_pps_slice text) {
	(void)user;
	struct message *m = malloc(sizeof *m + text.len);
	pthread_mutex_lock(&messages.lock);
	if(!m || messages.count >= LOG_LIMIT) {
		messages.dropped++;
		free(m);
	} else {
		m->next = NULL;
		m->level = level;
		m->len = text.len;
		if(text.len)
			memcpy(m->text, text.data, text.len);
		if(!messages.first)
			messages.last = &messages.first;
		*messages.last = m;
		messages.last = &m->next;
		messages.count++;
	}
	if(messages.fd >= 0)
		wake(messages.fd);
	pthread_mutex_unlock(&messages.lock);
}

static void log_wakes(int fd) {
	pthread_mutex_lock(&messages.lock);
	messages.fd = fd;
	pthread_mutex_unlock(&messages.lock);
}

/* logs() --> { { level, text }, ... } | nil */
static int lua_logs(lua_State *L) {
	pthread_mutex_lock(&messages.lock);
	bool none = !messages.first && !messages.dropped;
	pthread_mutex_unlock(&messages.lock);
	if(none)
		return 0;
	lua_newtable(L);
	for(int i = 1;; i++) {
		pthread_mutex_lock(&messages.lock);
		struct message *m = messages.first;
		size_t dropped = messages.dropped;
		if(m) {
			messages.first = m->next;
			messages.count--;
		} else {
			messages.dropped = 0;
		}
		pthread_mutex_unlock(&messages.lock);
		if(!m && !dropped)
			return 1;
		lua_createtable(L, 2, 0);
		lua_pushstring(L, !m ? "warn" : m->level >= 1 && m->level <= 4 ? levels[m->level - 1] : "debug");
		lua_rawseti(L, -2, 1);
		if(m)
			lua_pushlstring(L, m->text, m->len);
		else
			lua_pushfstring(L, "%d log messages were dropped", (int)dropped);
		lua_rawseti(L, -2, 2);
		lua_rawseti(L, -2, i);
		free(m);
		if(!m)
			return 1;
	}
}

/* -- options ------------------------------------------------------------------------------------------------------- */

static int config_gc(lua_State *L) {
	pam_pps_config **config = luaL_checkudata(L, 1, CONFIG_MT);
	pam_pps_config_free(*config);
	*config = NULL;
	return 0;
}

/* Pushes a config made of the table at `index` (or nothing); NULL with `nil, error` pushed for an option that is wrong.
 * Numbers are written as whole numbers where they are whole. */
static pam_pps_config *push_config(lua_State *L, int index) {
	pam_pps_config **config = (pam_pps_config **)push_handle(L, CONFIG_MT);
	*config = pam_pps_config_new();
	if(lua_isnoneornil(L, index))
		return *config;
	luaL_checktype(L, index, LUA_TTABLE);
	lua_pushnil(L);
	while(lua_next(L, index)) {
		luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, index, "options have names");
		size_t key_len, value_len;
		const char *key = lua_tolstring(L, -2, &key_len);
		if(lua_isboolean(L, -1)) {
			lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false");
			lua_replace(L, -2);
		} else if(lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) == (lua_Number)(long long)lua_tonumber(L, -1)) {
			char text[24];
			snprintf(text, sizeof text, "%lld", (long long)lua_tonumber(L, -1));
			lua_pushstring(L, text);
			lua_replace(L, -2);
		}
		const char *value = lua_tolstring(L, -1, &value_len);
		luaL_argcheck(L, value, index, "options are text, numbers or booleans");
		pam_pps_text **error = (pam_pps_text **)push_handle(L, TEXT_MT);
		pam_pps_result result = pam_pps_config_set(
			*config, (const uint8_t *)key, key_len, (const uint8_t *)value, value_len, error);
		if(result != PAM_PPS_RESULT_OK) {
			fail(L, result, error);
			return NULL;
		}
		lua_pop(L, 2);
	}
	return *config;
}

/* -- inputs -------------------------------------------------------------------------------------------------------- */

static pam_pps_input *check_input(lua_State *L, int index) {
	pam_pps_input **input = luaL_checkudata(L, index, INPUT_MT);
	luaL_argcheck(L, *input, index, "the input was submitted");
	return *input;
}

/* Frees now what the collector would free later: the engine then goes on without the input. Harmless when repeated. */
static int input_gc(lua_State *L) {
	pam_pps_input **input = luaL_checkudata(L, 1, INPUT_MT);
	pam_pps_input_free(*input);
	*input = NULL;
	return 0;
}

/* What an input is made of; valid as long as the arguments are on the stack. */
struct material {
	uint32_t kind;
	const uint8_t *data, *extra;
	size_t len, extra_len;
	bool privileged;
	struct buffer *scratch;
};

/* Reads kind, data (text or stanza), extra and privileged from four places of the stack. May raise. */
static struct material check_material(lua_State *L, int kind, int data, int extra, int privileged) {
	struct material m = {.kind = (uint32_t)luaL_checkoption(L, kind, NULL, input_kinds) + 1};
	m.extra = (const uint8_t *)luaL_optlstring(L, extra, NULL, &m.extra_len);
	m.privileged = lua_toboolean(L, privileged);
	if(lua_istable(L, data)) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &scratch_buffer);
		m.scratch = lua_touserdata(L, -1);
		lua_pop(L, 1); /* the registry holds it */
		buffer_reset(m.scratch);
		stanza_write(L, data, m.scratch);
		m.data = (const uint8_t *)m.scratch->data;
		m.len = m.scratch->len;
	} else {
		m.data = (const uint8_t *)luaL_optlstring(L, data, "", &m.len);
	}
	return m;
}

/* NULL if it is not acceptable. Raises nothing. */
static pam_pps_input *make_input(const struct material *m) {
	pam_pps_input *input = pam_pps_input_new(m->kind, m->data, m->len);
	if(m->scratch)
		buffer_reset(m->scratch);
	if(input && m->extra)
		pam_pps_input_set_extra(input, m->extra, m->extra_len);
	if(input && m->privileged)
		pam_pps_input_set_privileged(input, true);
	return input;
}

static int not_acceptable(lua_State *L) {
	lua_pushnil(L);
	lua_pushliteral(L, "not acceptable as an input");
	return 2;
}

/* input(kind, [data: text or stanza], [extra], [privileged]) --> input | nil, error */
static int lua_input(lua_State *L) {
	lua_settop(L, 4);
	struct material material = check_material(L, 1, 2, 3, 4);
	pam_pps_input **input = (pam_pps_input **)push_handle(L, INPUT_MT);
	*input = make_input(&material);
	return *input ? 1 : not_acceptable(L);
}

/* input:fact(kind, jid, other, value) --> input */
static int input_fact(lua_State *L) {
	pam_pps_input *input = check_input(L, 1);
	uint32_t kind = (uint32_t)luaL_checkoption(L, 2, NULL, need_kinds) + 1;
	size_t len, other_len;
	const uint8_t *jid = check_bytes(L, 3, &len);
	const uint8_t *other = (const uint8_t *)luaL_optlstring(L, 4, "", &other_len);
	pam_pps_input_fact_bool(input, kind, jid, len, other, other_len, lua_toboolean(L, 5));
	lua_settop(L, 1);
	return 1;
}

/* input:roster(owner, contact, subscription, groups) --> input */
static int input_roster(lua_State *L) {
	pam_pps_input *input = check_input(L, 1);
	size_t owner_len, contact_len;
	const uint8_t *owner = check_bytes(L, 2, &owner_len), *contact = check_bytes(L, 3, &contact_len);
	uint32_t subscription = (uint32_t)luaL_checkoption(L, 4, "none", subscriptions);
	size_t count = lua_istable(L, 5) ? lua_rawlen(L, 5) : 0;
	luaL_checkstack(L, (int)count + 2, "groups");
	pam_pps_slice *groups = lua_newuserdata(L, (count + 1) * sizeof *groups);
	for(size_t i = 0; i < count; i++) {
		lua_rawgeti(L, 5, (int)i + 1);
		groups[i].data = check_bytes(L, -1, &groups[i].len);
	}
	pam_pps_input_fact_roster(input, owner, owner_len, contact, contact_len, subscription, groups, count);
	lua_settop(L, 1);
	return 1;
}

/* input:room(who, room, affiliation, voice) --> input */
static int input_room(lua_State *L) {
	pam_pps_input *input = check_input(L, 1);
	size_t who_len, room_len;
	const uint8_t *who = check_bytes(L, 2, &who_len), *room = check_bytes(L, 3, &room_len);
	uint32_t affiliation = (uint32_t)luaL_checkoption(L, 4, "none", affiliations);
	pam_pps_input_fact_room(input, who, who_len, room, room_len, affiliation, lua_toboolean(L, 5));
	lua_settop(L, 1);
	return 1;
}

/* -- outcomes ------------------------------------------------------------------------------------------------------ */

static pam_pps_outcome *check_outcome(lua_State *L) {
	pam_pps_outcome **outcome = luaL_checkudata(L, 1, OUTCOME_MT);
	luaL_argcheck(L, *outcome, 1, "the outcome was freed");
	return *outcome;
}

static size_t check_decision(lua_State *L, const pam_pps_outcome *outcome) {
	lua_Integer i = luaL_checkinteger(L, 2);
	luaL_argcheck(L, i >= 1 && (size_t)i <= pam_pps_outcome_count(outcome), 2, "no such decision");
	return (size_t)i - 1;
}

/* Frees now what the collector would free later; harmless when repeated. */
static int outcome_gc(lua_State *L) {
	pam_pps_outcome **outcome = luaL_checkudata(L, 1, OUTCOME_MT);
	pam_pps_outcome_free(*outcome);
	*outcome = NULL;
	return 0;
}

/* #outcome: how many decisions */
static int outcome_len(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pam_pps_outcome_count(check_outcome(L)));
	return 1;
}

/* outcome:needs() --> whether facts are wanted */
static int outcome_needs(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	size_t count = pam_pps_outcome_count(outcome);
	bool needs = false;
	for(size_t i = 0; i < count && !needs; i++)
		needs = pam_pps_outcome_kind(outcome, i) == PAM_PPS_DECISION_NEED;
	lua_pushboolean(L, needs);
	return 1;
}

/* outcome:kind(i) --> "pass", "route", ... */
static int outcome_kind(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	push_kind(L, decision_kinds, sizeof decision_kinds / sizeof *decision_kinds,
		pam_pps_outcome_kind(outcome, check_decision(L, outcome)));
	return 1;
}

/* outcome:text(i) --> bytes of the stanza, payload or reply */
static int outcome_text(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	push_slice(L, pam_pps_outcome_stanza(outcome, check_decision(L, outcome)));
	return 1;
}

static int push_parsed(lua_State *L, const char *xml, size_t len) {
	lua_rawgetp(L, LUA_REGISTRYINDEX, &stanza_metatable);
	const char *err = stanza_read(L, xml, len, -1);
	if(!err)
		return 1;
	lua_pushnil(L);
	lua_pushstring(L, err);
	return 2;
}

/* outcome:stanza(i) --> stanza | nil, error */
static int outcome_stanza(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	pam_pps_slice s = pam_pps_outcome_stanza(outcome, check_decision(L, outcome));
	return push_parsed(L, (const char *)s.data, s.len);
}

/* outcome:recipients(i) --> how many */
static int outcome_recipients(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	lua_pushinteger(L, (lua_Integer)pam_pps_outcome_recipient_count(outcome, check_decision(L, outcome)));
	return 1;
}

/* outcome:address(i, attributes, k): sets `to` and `id` to those of recipient k (from 1) */
static int outcome_address(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	size_t i = check_decision(L, outcome);
	luaL_checktype(L, 3, LUA_TTABLE);
	lua_Integer k = luaL_checkinteger(L, 4);
	luaL_argcheck(L, k >= 1 && (size_t)k <= pam_pps_outcome_recipient_count(outcome, i), 4, "no such recipient");
	lua_settop(L, 3);
	push_slice(L, pam_pps_outcome_recipient(outcome, i, (size_t)k - 1));
	lua_setfield(L, 3, "to");
	pam_pps_slice id = pam_pps_outcome_stanza_id(outcome, i);
	char text[64];
	if(id.len < sizeof text - 24) {
		memcpy(text, id.data, id.len);
		int more = snprintf(text + id.len, 24, "-%lld", (long long)k - 1);
		lua_pushlstring(L, text, id.len + (size_t)more);
	} else {
		push_slice(L, id);
		lua_pushfstring(L, "-%d", (int)(k - 1));
		lua_concat(L, 2);
	}
	lua_setfield(L, 3, "id");
	return 0;
}

/* outcome:need(i) --> kind, jid, other */
static int outcome_need(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	size_t i = check_decision(L, outcome);
	push_kind(L, need_kinds, sizeof need_kinds / sizeof *need_kinds - 1, pam_pps_outcome_need_kind(outcome, i));
	push_slice(L, pam_pps_outcome_jid(outcome, i));
	push_slice(L, pam_pps_outcome_other_jid(outcome, i));
	return 3;
}

/* outcome:event(i) --> name, service, node, item, actor */
static int outcome_event(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	size_t i = check_decision(L, outcome);
	push_slice(L, pam_pps_outcome_event(outcome, i));
	push_slice(L, pam_pps_outcome_jid(outcome, i));
	push_slice(L, pam_pps_outcome_node(outcome, i));
	push_slice(L, pam_pps_outcome_item(outcome, i));
	push_slice(L, pam_pps_outcome_other_jid(outcome, i));
	return 5;
}

/* outcome:time(i) --> seconds since 1970 */
static int outcome_time(lua_State *L) {
	const pam_pps_outcome *outcome = check_outcome(L);
	lua_pushnumber(L, (lua_Number)pam_pps_outcome_time(outcome, check_decision(L, outcome)) / 1e6);
	return 1;
}

/* outcome:input() --> the input to complete with facts and submit again | nil */
static int outcome_input(lua_State *L) {
	pam_pps_outcome *outcome = check_outcome(L);
	pam_pps_input **input = (pam_pps_input **)push_handle(L, INPUT_MT);
	*input = pam_pps_outcome_take_input(outcome);
	if(!*input)
		lua_pushnil(L);
	return 1;
}

/* -- engine -------------------------------------------------------------------------------------------------------- */

static struct engine *check_engine(lua_State *L) {
	struct engine *e = luaL_checkudata(L, 1, ENGINE_MT);
	luaL_argcheck(L, e->engine, 1, "the engine is closed");
	return e;
}

/* Runs on the library's worker. */
static void completed(void *user, pam_pps_outcome *outcome) {
	struct job *job = user;
	struct engine *e = job->engine;
	job->outcome = outcome;
	/* One wake for all that were committed at once: the loop collects them together. */
	bool more = pam_pps_outcome_more(outcome);
	pthread_mutex_lock(&e->lock);
	if(!e->first)
		e->last = &e->first;
	*e->last = job;
	e->last = &job->next;
	pthread_mutex_unlock(&e->lock);
	if(!more)
		wake(e->fd);
}

static struct job *take_finished(struct engine *e) {
	pthread_mutex_lock(&e->lock);
	struct job *job = e->first;
	if(job)
		e->first = job->next;
	pthread_mutex_unlock(&e->lock);
	return job;
}

/* Finishes what is queued and ends the worker. What it finished stays in the list. */
static void stop(struct engine *e) {
	if(!e->engine)
		return;
	for(size_t i = 0; i < e->pending_count; i++)
		pam_pps_input_free(e->pending[i].input);
	free(e->pending);
	e->pending = NULL;
	e->pending_count = e->pending_cap = 0;
	pam_pps_engine_free(e->engine);
	e->engine = NULL;
	pam_pps_log_sink(NULL, NULL);
	log_wakes(-1);
	close(e->fd);
	e->fd = -1;
}

static int engine_gc(lua_State *L) {
	struct engine *e = luaL_checkudata(L, 1, ENGINE_MT);
	stop(e);
	for(struct job *job; e->locked && (job = take_finished(e));) {
		pam_pps_outcome_free(job->outcome);
		free(job);
	}
	if(e->locked)
		pthread_mutex_destroy(&e->lock);
	e->locked = false;
	return 0;
}

/* Pushes token and outcome of the oldest finished submission; the outcome in a new handle, or in the one at `reuse`. */
static bool push_finished(lua_State *L, struct engine *e, int reuse) {
	pam_pps_outcome **outcome;
	if(reuse) {
		outcome = luaL_checkudata(L, reuse, OUTCOME_MT);
		lua_pushvalue(L, reuse);
	} else {
		outcome = (pam_pps_outcome **)push_handle(L, OUTCOME_MT);
	}
	struct job *job = take_finished(e);
	if(!job) {
		lua_pop(L, 1);
		return false;
	}
	pam_pps_outcome_free(*outcome);
	*outcome = job->outcome;
	lua_Integer token = job->token;
	free(job);
	lua_pushinteger(L, token);
	lua_insert(L, -2);
	return true;
}

/* engine:close() --> { token, outcome, token, outcome, ... }: what had not been collected; the descriptor is gone */
static int engine_close(lua_State *L) {
	struct engine *e = check_engine(L);
	stop(e);
	lua_newtable(L);
	for(int i = 1; push_finished(L, e, 0); i += 2) {
		lua_rawseti(L, -3, i + 1);
		lua_rawseti(L, -2, i);
	}
	return 1;
}

/* open(options) --> engine | nil, error */
static int lua_open(lua_State *L) {
	lua_settop(L, 1);
	pam_pps_config *config = push_config(L, 1);
	if(!config)
		return 2;
	struct engine *e = lua_newuserdata(L, sizeof *e);
	memset(e, 0, sizeof *e);
	luaL_setmetatable(L, ENGINE_MT);
	pam_pps_text **error = (pam_pps_text **)push_handle(L, TEXT_MT);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if(fd < 0) {
		lua_pushnil(L);
		lua_pushfstring(L, "eventfd: %s", strerror(errno));
		return 2;
	}
	log_wakes(fd);
	pam_pps_log_sink(log_sink, NULL);
	pam_pps_engine *engine = NULL;
	pam_pps_result result = pam_pps_engine_open(config, &engine, error);
	if(result != PAM_PPS_RESULT_OK) {
		pam_pps_log_sink(NULL, NULL);
		log_wakes(-1);
		close(fd);
		return fail(L, result, error);
	}
	pthread_mutex_init(&e->lock, NULL);
	e->locked = true;
	e->fd = fd;
	e->engine = engine;
	lua_pop(L, 1);
	return 1;
}

/* engine:serve(domain, "accounts" | "component" | "rooms", options) --> true | nil, error */
static int engine_serve(lua_State *L) {
	struct engine *e = check_engine(L);
	size_t len;
	const uint8_t *domain = check_bytes(L, 2, &len);
	uint32_t kind = (uint32_t)luaL_checkoption(L, 3, NULL, service_kinds) + 1;
	lua_settop(L, 4);
	pam_pps_config *config = push_config(L, 4);
	if(!config)
		return 2;
	pam_pps_text **error = (pam_pps_text **)push_handle(L, TEXT_MT);
	pam_pps_result result = pam_pps_engine_serve(e->engine, domain, len, kind, config, error);
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, error);
	lua_pushboolean(L, true);
	return 1;
}

/* engine:unserve(domain) --> true | nil, error */
static int engine_unserve(lua_State *L) {
	struct engine *e = check_engine(L);
	size_t len;
	const uint8_t *domain = check_bytes(L, 2, &len);
	pam_pps_result result = pam_pps_engine_unserve(e->engine, domain, len);
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, NULL);
	lua_pushboolean(L, true);
	return 1;
}

/* engine:features(domain, "account" | "domain" | "component") --> text | nil, error */
static int engine_features(lua_State *L) {
	struct engine *e = check_engine(L);
	size_t len;
	const uint8_t *domain = check_bytes(L, 2, &len);
	uint32_t place = (uint32_t)luaL_checkoption(L, 3, NULL, places) + 1;
	pam_pps_text **text = (pam_pps_text **)push_handle(L, TEXT_MT);
	pam_pps_result result = pam_pps_engine_features(e->engine, domain, len, place, text);
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, NULL);
	push_slice(L, pam_pps_text_slice(*text));
	return 1;
}

/* engine:statistics() --> text | nil, error */
static int engine_statistics(lua_State *L) {
	struct engine *e = check_engine(L);
	pam_pps_text **text = (pam_pps_text **)push_handle(L, TEXT_MT);
	pam_pps_result result = pam_pps_engine_statistics(e->engine, text);
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, NULL);
	push_slice(L, pam_pps_text_slice(*text));
	return 1;
}

/* engine:fd() --> the descriptor that becomes readable when poll() or logs() has something */
static int engine_fd(lua_State *L) {
	lua_pushinteger(L, check_engine(L)->fd);
	return 1;
}

/* engine:handle(input) --> outcome | nil, error */
static int engine_handle(lua_State *L) {
	struct engine *e = check_engine(L);
	pam_pps_input *input = check_input(L, 2);
	pam_pps_outcome **outcome = (pam_pps_outcome **)push_handle(L, OUTCOME_MT);
	pam_pps_result result = pam_pps_engine_handle(e->engine, now_us(), input, outcome);
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, NULL);
	return 1;
}

/* Gives the input away, whatever comes of it. */
static pam_pps_result submit(struct engine *e, pam_pps_input *input, lua_Integer token, int64_t now) {
	struct job *job = malloc(sizeof *job);
	if(!job) {
		pam_pps_input_free(input);
		return PAM_PPS_RESULT_BUSY;
	}
	*job = (struct job){.engine = e, .token = token};
	pam_pps_result result = pam_pps_engine_submit(e->engine, now, input, completed, job);
	if(result != PAM_PPS_RESULT_OK)
		free(job);
	return result;
}

/* engine:submit(input, token) --> true | nil, error; the input is gone afterwards */
static int engine_submit(lua_State *L) {
	struct engine *e = check_engine(L);
	pam_pps_input *input = check_input(L, 2);
	lua_Integer token = luaL_checkinteger(L, 3);
	*(pam_pps_input **)lua_touserdata(L, 2) = NULL;
	pam_pps_result result = submit(e, input, token, now_us());
	if(result != PAM_PPS_RESULT_OK)
		return fail(L, result, NULL);
	lua_pushboolean(L, true);
	return 1;
}

/* engine:put(token, kind, [data], [extra], [privileged]) --> true | nil, error: flush() will submit input(kind, ...).
 * The descriptor becomes readable. */
static int engine_put(lua_State *L) {
	struct engine *e = check_engine(L);
	lua_Integer token = luaL_checkinteger(L, 2);
	lua_settop(L, 6);
	struct material material = check_material(L, 3, 4, 5, 6);
	if(e->pending_count == e->pending_cap) {
		size_t cap = e->pending_cap ? e->pending_cap * 2 : 64;
		struct pending *pending = realloc(e->pending, cap * sizeof *pending);
		if(!pending)
			return luaL_error(L, "not enough memory");
		e->pending = pending;
		e->pending_cap = cap;
	}
	pam_pps_input *input = make_input(&material);
	if(!input)
		return not_acceptable(L);
	if(e->pending_count == 0)
		wake(e->fd);
	e->pending[e->pending_count++] = (struct pending){.input = input, .token = token, .now = now_us()};
	lua_pushboolean(L, true);
	return 1;
}

/* engine:flush() --> nil | { token, error, token, error, ... }: submits what was put; those that are not taken */
static int engine_flush(lua_State *L) {
	struct engine *e = check_engine(L);
	size_t count = e->pending_count;
	int failed = 0;
	lua_settop(L, 1);
	e->pending_count = 0;
	for(size_t i = 0; i < count; i++) {
		pam_pps_result result = submit(e, e->pending[i].input, e->pending[i].token, e->pending[i].now);
		if(result == PAM_PPS_RESULT_OK)
			continue;
		if(!failed)
			lua_newtable(L);
		lua_pushinteger(L, e->pending[i].token);
		lua_rawseti(L, 2, ++failed);
		lua_pushstring(L, result_text(result));
		lua_rawseti(L, 2, ++failed);
	}
	return failed ? 1 : 0;
}

/* engine:poll([outcome]) --> token, outcome of the oldest finished submission | nil; a given outcome is used for it */
static int engine_poll(lua_State *L) {
	return push_finished(L, check_engine(L), lua_isnoneornil(L, 2) ? 0 : 2) ? 2 : 0;
}

/* engine:nudge(): makes the descriptor readable, to be called again after other work of the loop */
static int engine_nudge(lua_State *L) {
	wake(check_engine(L)->fd);
	return 0;
}

/* engine:rearm(): makes the descriptor unreadable until something new finishes; call it before the last poll */
static int engine_rearm(lua_State *L) {
	uint64_t count;
	ssize_t done = read(check_engine(L)->fd, &count, sizeof count);
	(void)done;
	return 0;
}

/* -- module -------------------------------------------------------------------------------------------------------- */

/* setup(metatable): the metatable of util.stanza */
static int lua_setup(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &stanza_metatable);
	return 0;
}

/* serialize(stanza) --> text */
static int lua_serialize(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	struct buffer *out = buffer_push(L);
	stanza_write(L, 1, out);
	lua_pushlstring(L, out->data, out->len);
	buffer_reset(out);
	return 1;
}

/* parse(text) --> stanza | nil, error */
static int lua_parse(lua_State *L) {
	size_t len;
	const char *xml = luaL_checklstring(L, 1, &len);
	return push_parsed(L, xml, len);
}

static void new_type(lua_State *L, const char *name, lua_CFunction gc, const luaL_Reg *methods) {
	luaL_newmetatable(L, name);
	lua_pushcfunction(L, gc);
	lua_setfield(L, -2, "__gc");
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_pam_pps_lua(lua_State *L);

int luaopen_pam_pps_lua(lua_State *L) {
	static const luaL_Reg none[] = {{NULL, NULL}};
	static const luaL_Reg input_methods[] = {{"fact", input_fact}, {"free", input_gc}, {"roster", input_roster}, {"room", input_room}, {NULL, NULL}};
	static const luaL_Reg outcome_methods[] = {{"address", outcome_address}, {"count", outcome_len},
		{"event", outcome_event}, {"free", outcome_gc}, {"input", outcome_input}, {"kind", outcome_kind},
		{"need", outcome_need}, {"needs", outcome_needs}, {"recipients", outcome_recipients}, {"stanza", outcome_stanza},
		{"text", outcome_text}, {"time", outcome_time}, {NULL, NULL}};
	static const luaL_Reg engine_methods[] = {{"close", engine_close}, {"fd", engine_fd}, {"features", engine_features},
		{"flush", engine_flush}, {"handle", engine_handle}, {"nudge", engine_nudge}, {"poll", engine_poll},
		{"put", engine_put}, {"rearm", engine_rearm}, {"serve", engine_serve}, {"statistics", engine_statistics}, {"submit", engine_submit}, {"unserve", engine_unserve}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"input", lua_input}, {"logs", lua_logs}, {"open", lua_open},
		{"parse", lua_parse}, {"serialize", lua_serialize}, {"setup", lua_setup}, {NULL, NULL}};

	luaL_checkversion(L);
	uint32_t version = pam_pps_version_number();
	if(version >> 8 != (PAM_PPS_VERSION_MAJOR << 8 | PAM_PPS_VERSION_MINOR))
		return luaL_error(L, "libpam_pps is version %d.%d, this binding was built for %d.%d", (int)(version >> 16),
			(int)(version >> 8 & 0xff), PAM_PPS_VERSION_MAJOR, PAM_PPS_VERSION_MINOR);

	new_type(L, CONFIG_MT, config_gc, none);
	new_type(L, TEXT_MT, text_gc, none);
	new_type(L, INPUT_MT, input_gc, input_methods);
	new_type(L, OUTCOME_MT, outcome_gc, outcome_methods);
	new_type(L, ENGINE_MT, engine_gc, engine_methods);
	buffer_push(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_buffer);
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &stanza_metatable);

	luaL_newlib(L, functions);
	push_slice(L, pam_pps_version());
	lua_setfield(L, -2, "version");
	return 1;
}
