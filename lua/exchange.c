/* Inputs and outcomes as Lua objects. */
#include "binding.h"

#include <stdio.h>
#include <string.h>

static const char stanza_metatable; /* its address: key of util.stanza's metatable in the registry */
static const char scratch_buffer;   /* its address: key of the buffer in which stanzas are written */

static const char *const input_kinds[] = {
	"stanza", "tick", "session-ended", "account-removed", "roster-changed", "import", "command", "room-changed", NULL};
static const char *const decision_kinds[] = {"pass", "route", "multicast", "need", "wake", "event", "reply"};
static const char *const need_kinds[] = {"account", "roster", "admin", "blocked", "import", "room", "room-info", NULL};
static const char *const subscriptions[] = {"none", "to", "from", "both", NULL};
static const char *const affiliations[] = {"none", "outcast", "member", "admin", "owner", NULL};

/* -- inputs -------------------------------------------------------------------------------------------------------- */

pam_pps_input *check_input(lua_State *L, int index) {
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

struct material check_material(lua_State *L, int kind, int data, int extra, int privileged) {
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

pam_pps_input *make_input(const struct material *m) {
	pam_pps_input *input = pam_pps_input_new(m->kind, m->data, m->len);
	if(m->scratch)
		buffer_reset(m->scratch);
	if(input && m->extra)
		pam_pps_input_set_extra(input, m->extra, m->extra_len);
	if(input && m->privileged)
		pam_pps_input_set_privileged(input, true);
	return input;
}

int not_acceptable(lua_State *L) {
	lua_pushnil(L);
	lua_pushliteral(L, "not acceptable as an input");
	return 2;
}

int lua_input(lua_State *L) {
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

static void push_kind(lua_State *L, const char *const names[], size_t count, uint32_t kind) {
	if(kind >= 1 && kind <= count)
		lua_pushstring(L, names[kind - 1]);
	else
		lua_pushliteral(L, "unknown");
}

/* input:room_info(room, name, description, subject) --> input */
static int input_room_info(lua_State *L) {
	pam_pps_input *input = check_input(L, 1);
	size_t room_len, name_len, description_len, subject_len;
	const uint8_t *room = check_bytes(L, 2, &room_len), *name = check_bytes(L, 3, &name_len);
	const uint8_t *description = check_bytes(L, 4, &description_len), *subject = check_bytes(L, 5, &subject_len);
	pam_pps_input_fact_room_info(
		input, room, room_len, name, name_len, description, description_len, subject, subject_len);
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

int push_parsed(lua_State *L, const char *xml, size_t len) {
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

/* -- types --------------------------------------------------------------------------------------------------------- */

void exchange_open(lua_State *L) {
	static const luaL_Reg input_methods[] = {
		{"fact", input_fact}, {"free", input_gc}, {"room", input_room},
		{"room_info", input_room_info}, {"roster", input_roster}, {NULL, NULL}};
	static const luaL_Reg outcome_methods[] = {{"address", outcome_address}, {"count", outcome_len},
		{"event", outcome_event}, {"free", outcome_gc}, {"input", outcome_input}, {"kind", outcome_kind},
		{"need", outcome_need}, {"needs", outcome_needs}, {"recipients", outcome_recipients}, {"stanza", outcome_stanza},
		{"text", outcome_text}, {"time", outcome_time}, {NULL, NULL}};

	new_type(L, INPUT_MT, input_gc, input_methods);
	new_type(L, OUTCOME_MT, outcome_gc, outcome_methods);
	buffer_push(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_buffer);
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &stanza_metatable);
}

void exchange_set_stanza_metatable(lua_State *L) {
	lua_rawsetp(L, LUA_REGISTRYINDEX, &stanza_metatable);
}
