/* What the parts of the binding share. A handle of the library is a userdata that holds one pointer. */
#ifndef PAM_PPS_LUA_BINDING_H
#define PAM_PPS_LUA_BINDING_H

#include "stanza.h"

#include <lauxlib.h>
#include <pam_pps.h>
#include <stdbool.h>

#define INPUT_MT "pam_pps.input"
#define OUTCOME_MT "pam_pps.outcome"

/* What an input is made of; valid as long as the arguments are on the stack. */
struct material {
	uint32_t kind;
	const uint8_t *data, *extra;
	size_t len, extra_len;
	bool privileged;
	struct buffer *scratch;
};

static inline const uint8_t *check_bytes(lua_State *L, int index, size_t *len) {
	return (const uint8_t *)luaL_checklstring(L, index, len);
}

static inline void push_slice(lua_State *L, pam_pps_slice s) {
	lua_pushlstring(L, s.len ? (const char *)s.data : "", s.len);
}

/* A userdata that holds one pointer, still NULL. */
static inline void **push_handle(lua_State *L, const char *metatable) {
	void **handle = lua_newuserdata(L, sizeof *handle);
	*handle = NULL;
	luaL_setmetatable(L, metatable);
	return handle;
}

/* Makes a type of userdata with a finaliser and methods. */
void new_type(lua_State *L, const char *name, lua_CFunction gc, const luaL_Reg *methods);

/* Makes the types of inputs and outcomes, and what they need in the registry. */
void exchange_open(lua_State *L);

/* Sets what is at the top of the stack, and pops it, as the metatable of stanzas. */
void exchange_set_stanza_metatable(lua_State *L);

/* input(kind, [data: text or stanza], [extra], [privileged]) --> input | nil, error */
int lua_input(lua_State *L);

/* Reads kind, data (text or stanza), extra and privileged from four places of the stack. May raise. */
struct material check_material(lua_State *L, int kind, int data, int extra, int privileged);

/* NULL if it is not acceptable. Raises nothing. */
pam_pps_input *make_input(const struct material *m);

/* `nil, error` for an input that make_input() did not take. */
int not_acceptable(lua_State *L);

pam_pps_input *check_input(lua_State *L, int index);

/* Parses one stanza: pushes it, or `nil, error`, and returns how many values that are. */
int push_parsed(lua_State *L, const char *xml, size_t len);

#endif
