/* libpam_pps for Prosody: the engine as a Lua object (inputs and outcomes: exchange.c), and completions on Lua's own thread.
 *
 * The library's worker calls `completed` and the log sink on threads of its own. Both only append to a queue under a
 * lock and make an eventfd readable; Lua, which watches the descriptor, collects with engine:poll() and logs().
 * Every handle of the library sits in a userdata with __gc before anything that can raise a Lua error. */
#include "binding.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MT "pam_pps.config"
#define ENGINE_MT "pam_pps.engine"
#define TEXT_MT "pam_pps.text"
#define LOG_LIMIT 1000

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
	exchange_set_stanza_metatable(L);
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

void new_type(lua_State *L, const char *name, lua_CFunction gc, const luaL_Reg *methods) {
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
	static const luaL_Reg engine_methods[] = {{"close", engine_close}, {"fd", engine_fd}, {"features", engine_features},
		{"flush", engine_flush}, {"handle", engine_handle}, {"nudge", engine_nudge}, {"poll", engine_poll},
		{"put", engine_put}, {"rearm", engine_rearm}, {"serve", engine_serve}, {"statistics", engine_statistics},
		{"submit", engine_submit}, {"unserve", engine_unserve}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"input", lua_input}, {"logs", lua_logs}, {"open", lua_open},
		{"parse", lua_parse}, {"serialize", lua_serialize}, {"setup", lua_setup}, {NULL, NULL}};

	luaL_checkversion(L);
	uint32_t version = pam_pps_version_number();
	if(version >> 8 != (PAM_PPS_VERSION_MAJOR << 8 | PAM_PPS_VERSION_MINOR))
		return luaL_error(L, "libpam_pps is version %d.%d, this binding was built for %d.%d", (int)(version >> 16),
			(int)(version >> 8 & 0xff), PAM_PPS_VERSION_MAJOR, PAM_PPS_VERSION_MINOR);

	new_type(L, CONFIG_MT, config_gc, none);
	new_type(L, TEXT_MT, text_gc, none);
	new_type(L, ENGINE_MT, engine_gc, engine_methods);
	exchange_open(L);

	luaL_newlib(L, functions);
	push_slice(L, pam_pps_version());
	lua_setfield(L, -2, "version");
	return 1;
}
