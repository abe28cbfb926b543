/* Prosody's stanza tables to XML and back. */
#ifndef PAM_PPS_LUA_STANZA_H
#define PAM_PPS_LUA_STANZA_H

#include <lua.h>
#include <stddef.h>

/* A growing run of bytes. It lives in a userdata, so that a Lua error in the middle of its use leaks nothing. */
struct buffer {
	char *data;
	size_t len, cap;
};

/* Pushes a new empty buffer (a userdata with a finaliser) and returns it. */
struct buffer *buffer_push(lua_State *L);

/* Forgets the content; gives back the memory when it is unusually large. */
void buffer_reset(struct buffer *b);

/* Appends the stanza table at `index` as one XML document in jabber:client. Raises a Lua error for a table that is no
 * stanza. Calls no Lua code. */
void stanza_write(lua_State *L, int index, struct buffer *out);

/* Parses one element and pushes it as a stanza table, with the value at `metatable` as its metatable and in the form
 * that util.xmppstream gives to stanzas from the wire: attr.xmlns is absent in jabber:client at the top and set on every
 * element in and below another namespace; an attribute in a namespace has the key "namespace\1name".
 * Returns NULL; or, with nothing pushed, what is wrong with the text. */
const char *stanza_read(lua_State *L, const char *xml, size_t len, int metatable);

#endif
