/* Prosody's stanza tables to XML and back. See stanza.h. */
#include "stanza.h"

#include "xml.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT "jabber:client"
#define XML_NAMESPACE "http://www.w3.org/XML/1998/namespace"
#define BUFFER_MT "pam_pps.buffer"
#define BUFFER_KEEP ((size_t)1 << 20)

/* -- buffer -------------------------------------------------------------------------------------------------------- */

static int buffer_gc(lua_State *L) {
	struct buffer *b = luaL_checkudata(L, 1, BUFFER_MT);
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
	return 0;
}

struct buffer *buffer_push(lua_State *L) {
	struct buffer *b = lua_newuserdata(L, sizeof *b);
	memset(b, 0, sizeof *b);
	if(luaL_newmetatable(L, BUFFER_MT)) {
		lua_pushcfunction(L, buffer_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	return b;
}

void buffer_reset(struct buffer *b) {
	b->len = 0;
	if(b->cap > BUFFER_KEEP) {
		free(b->data);
		b->data = NULL;
		b->cap = 0;
	}
}

/* Makes room for so many bytes more. */
static void buffer_reserve(lua_State *L, struct buffer *b, size_t n) {
	if(b->cap - b->len < n || !b->data) {
		size_t cap = b->cap ? b->cap : 1024;
		while(cap - b->len < n)
			cap *= 2;
		char *data = realloc(b->data, cap);
		if(!data)
			luaL_error(L, "not enough memory");
		b->data = data;
		b->cap = cap;
	}
}

static void buffer_add(lua_State *L, struct buffer *b, const char *s, size_t n) {
	buffer_reserve(L, b, n);
	if(n)
		memcpy(b->data + b->len, s, n);
	b->len += n;
}

#define buffer_literal(L, b, s) buffer_add(L, b, "" s, sizeof(s) - 1)

/* -- writing ------------------------------------------------------------------------------------------------------- */

static void write_escaped(lua_State *L, struct buffer *out, const char *s, size_t n, enum xml_source source) {
	size_t done = 0;
	for(size_t i = 0; i < n; i++) {
		const char *ref = xml_reference(s[i], source);
		if(ref) {
			buffer_add(L, out, s + done, i - done);
			buffer_add(L, out, ref, strlen(ref));
			done = i + 1;
		}
	}
	buffer_add(L, out, s + done, n - done);
}

/* Writes the attribute whose value is on top of the stack. */
static void write_attribute(lua_State *L, struct buffer *out, const char *key, size_t key_len, int *prefixes) {
	size_t value_len;
	const char *value = lua_tolstring(L, -1, &value_len);
	const char *separator = memchr(key, '\1', key_len);
	buffer_literal(L, out, " ");
	if(separator) {
		const char *prefix = lua_pushfstring(L, "ns%d", ++*prefixes);
		size_t uri_len = (size_t)(separator - key);
		buffer_literal(L, out, "xmlns:");
		buffer_add(L, out, prefix, strlen(prefix));
		buffer_literal(L, out, "='");
		write_escaped(L, out, key, uri_len, XML_FROM_ATTRIBUTE);
		buffer_literal(L, out, "' ");
		buffer_add(L, out, prefix, strlen(prefix));
		buffer_literal(L, out, ":");
		buffer_add(L, out, separator + 1, key_len - uri_len - 1);
		lua_pop(L, 1);
	} else {
		buffer_add(L, out, key, key_len);
	}
	buffer_literal(L, out, "='");
	write_escaped(L, out, value, value_len, XML_FROM_ATTRIBUTE);
	buffer_literal(L, out, "'");
}

/* The element on top of the stack stays there. `ns` is the default namespace around it. */
static void write_element(lua_State *L, struct buffer *out, const char *ns, size_t ns_len, int depth) {
	luaL_checkstack(L, 8, "stanza");
	if(depth > XML_DEPTH_LIMIT)
		luaL_error(L, "the stanza is nested too deeply");
	int element = lua_gettop(L);
	lua_getfield(L, element, "name");
	lua_getfield(L, element, "attr");
	if(lua_type(L, element + 1) != LUA_TSTRING || !lua_istable(L, element + 2))
		luaL_error(L, "not a stanza");
	size_t name_len;
	const char *name = lua_tolstring(L, element + 1, &name_len);

	buffer_literal(L, out, "<");
	buffer_add(L, out, name, name_len);
	lua_getfield(L, element + 2, "xmlns"); /* stays on the stack: `ns` may point into it */
	bool top = depth == 0;
	if(lua_type(L, -1) == LUA_TSTRING) {
		size_t own_len;
		const char *own = lua_tolstring(L, -1, &own_len);
		if(top || own_len != ns_len || memcmp(own, ns, ns_len) != 0) {
			buffer_literal(L, out, " xmlns='");
			write_escaped(L, out, own, own_len, XML_FROM_ATTRIBUTE);
			buffer_literal(L, out, "'");
		}
		ns = own;
		ns_len = own_len;
	} else if(top) {
		buffer_literal(L, out, " xmlns='" CLIENT "'");
	}
	int prefixes = 0;
	lua_pushnil(L);
	while(lua_next(L, element + 2)) {
		if(lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
			size_t key_len;
			const char *key = lua_tolstring(L, -2, &key_len);
			if(key_len != 5 || memcmp(key, "xmlns", 5) != 0)
				write_attribute(L, out, key, key_len, &prefixes);
		}
		lua_pop(L, 1);
	}

	size_t children = lua_rawlen(L, element);
	if(children == 0) {
		buffer_literal(L, out, "/>");
	} else {
		buffer_literal(L, out, ">");
		for(size_t i = 1; i <= children; i++) {
			lua_rawgeti(L, element, (int)i);
			if(lua_type(L, -1) == LUA_TSTRING) {
				size_t len;
				const char *text = lua_tolstring(L, -1, &len);
				write_escaped(L, out, text, len, XML_FROM_TEXT);
			} else if(lua_istable(L, -1)) {
				write_element(L, out, ns, ns_len, depth + 1);
			} else {
				luaL_error(L, "not a stanza");
			}
			lua_pop(L, 1);
		}
		buffer_literal(L, out, "</");
		buffer_add(L, out, name, name_len);
		buffer_literal(L, out, ">");
	}
	lua_settop(L, element);
}

void stanza_write(lua_State *L, int index, struct buffer *out) {
	lua_pushvalue(L, index);
	if(!lua_istable(L, -1))
		luaL_error(L, "not a stanza");
	write_element(L, out, CLIENT, sizeof CLIENT - 1, 0);
	lua_pop(L, 1);
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

struct binding {
	struct xml_span prefix; /* empty: the default namespace */
	const char *uri;        /* held by the table of names */
	size_t uri_len;
};

struct reader {
	lua_State *L;
	struct xml_reader xml;
	int metatable, names;
	struct buffer *text;       /* resolved characters, used between two Lua values only */
	struct buffer *attributes; /* struct xml_attribute[], of the element being opened */
	struct buffer *bindings;   /* struct binding[], innermost last */
	lua_Integer name_count;
};

/* Appends what the characters mean to r->text. */
static const char *resolve(struct reader *r, struct xml_span s, enum xml_source source) {
	size_t len;
	buffer_reserve(r->L, r->text, s.len);
	const char *err = xml_resolve(s, source, r->text->data + r->text->len, &len);
	if(!err)
		r->text->len += len;
	return err;
}

static const char *push_value(struct reader *r, struct xml_span s) {
	if(xml_is_plain(s, XML_FROM_ATTRIBUTE)) {
		lua_pushlstring(r->L, s.at, s.len);
		return NULL;
	}
	r->text->len = 0;
	const char *err = resolve(r, s, XML_FROM_ATTRIBUTE);
	if(err)
		return err;
	lua_pushlstring(r->L, r->text->data, r->text->len);
	r->text->len = 0;
	return NULL;
}

static const struct binding *find_binding(const struct reader *r, struct xml_span prefix) {
	const struct binding *all = (const struct binding *)(const void *)r->bindings->data;
	for(size_t i = r->bindings->len / sizeof *all; i-- > 0;)
		if(all[i].prefix.len == prefix.len && memcmp(all[i].prefix.at, prefix.at, prefix.len) == 0)
			return &all[i];
	return NULL;
}

static const char *bind(struct reader *r, struct xml_span prefix, struct xml_span value) {
	const char *err = push_value(r, value);
	if(err)
		return err;
	struct binding b = {.prefix = prefix};
	b.uri = lua_tolstring(r->L, -1, &b.uri_len);
	lua_rawseti(r->L, r->names, (int)++r->name_count);
	buffer_add(r->L, r->bindings, (const char *)&b, sizeof b);
	return NULL;
}

static const char *read_attributes(struct reader *r) {
	r->attributes->len = 0;
	for(;;) {
		struct xml_attribute a;
		bool found;
		const char *err = xml_read_attribute(&r->xml, &a, &found);
		if(err || !found)
			return err;
		if(a.name.len == 5 && memcmp(a.name.at, "xmlns", 5) == 0)
			err = bind(r, (struct xml_span){"", 0}, a.value);
		else if(a.name.len > 6 && memcmp(a.name.at, "xmlns:", 6) == 0)
			err = bind(r, (struct xml_span){a.name.at + 6, a.name.len - 6}, a.value);
		else
			buffer_add(r->L, r->attributes, (const char *)&a, sizeof a);
		if(err)
			return err;
	}
}

/* Pushes the key under which Prosody keeps the attribute. */
static const char *push_key(struct reader *r, struct xml_span name) {
	const char *colon = memchr(name.at, ':', name.len);
	if(!colon || (name.len > 4 && memcmp(name.at, "xml:", 4) == 0)) {
		lua_pushlstring(r->L, name.at, name.len);
		return NULL;
	}
	size_t prefix_len = (size_t)(colon - name.at);
	const struct binding *b = find_binding(r, (struct xml_span){name.at, prefix_len});
	if(!b || b->uri_len == 0)
		return "unbound prefix";
	lua_pushlstring(r->L, b->uri, b->uri_len);
	lua_pushliteral(r->L, "\1");
	lua_pushlstring(r->L, colon + 1, name.len - prefix_len - 1);
	lua_concat(r->L, 3);
	return NULL;
}

/* Fills the table of attributes on top of the stack. */
static const char *store_attributes(struct reader *r) {
	size_t count = r->attributes->len / sizeof(struct xml_attribute);
	for(size_t i = 0; i < count; i++) {
		const struct xml_attribute *a = (const struct xml_attribute *)(const void *)r->attributes->data + i;
		const char *err = push_key(r, a->name);
		if(err)
			return err;
		lua_pushvalue(r->L, -1);
		lua_rawget(r->L, -3);
		bool twice = !lua_isnil(r->L, -1);
		lua_pop(r->L, 1);
		if(twice)
			return "an attribute twice";
		err = push_value(r, a->value);
		if(err)
			return err;
		lua_rawset(r->L, -3);
	}
	return NULL;
}

static void flush_text(struct reader *r, int element, int *children) {
	if(r->text->len) {
		lua_pushlstring(r->L, r->text->data, r->text->len);
		lua_rawseti(r->L, element, ++*children);
		r->text->len = 0;
	}
}

static const char *read_element(struct reader *r, bool foreign, int depth);

/* What is inside the element at that place of the stack, whose table of tags is above it, and its end tag. */
static const char *read_children(struct reader *r, struct xml_span name, int element, bool foreign, int depth) {
	int tags = element + 1, tag_count = 0, children = 0;
	for(;;) {
		enum xml_content what;
		struct xml_span characters;
		const char *err = xml_read_content(&r->xml, &what, &characters);
		if(err)
			return err;
		switch(what) {
		case XML_TEXT: err = resolve(r, characters, XML_FROM_TEXT); break;
		case XML_CDATA: err = resolve(r, characters, XML_FROM_CDATA); break;
		case XML_END:
			flush_text(r, element, &children);
			return xml_read_end(&r->xml, name);
		case XML_ELEMENT:
			flush_text(r, element, &children);
			err = read_element(r, foreign, depth + 1);
			if(err)
				return err;
			lua_pushvalue(r->L, -1);
			lua_rawseti(r->L, tags, ++tag_count);
			lua_rawseti(r->L, element, ++children);
		}
		if(err)
			return err;
	}
}

/* At '<'. Pushes the element; `foreign` tells that an element around it is not in jabber:client. */
static const char *read_element(struct reader *r, bool foreign, int depth) {
	lua_State *L = r->L;
	luaL_checkstack(L, 12, "stanza");
	if(depth > XML_DEPTH_LIMIT)
		return "nested too deeply";
	size_t bound = r->bindings->len;
	struct xml_span name;
	const char *err = xml_read_start(&r->xml, &name);
	if(!err)
		err = read_attributes(r);
	if(err)
		return err;

	const char *local = memchr(name.at, ':', name.len);
	const struct binding *ns = find_binding(r, (struct xml_span){name.at, local ? (size_t)(local - name.at) : 0});
	if(local && !ns)
		return "unbound prefix";
	local = local ? local + 1 : name.at;
	const char *uri = ns ? ns->uri : CLIENT;
	size_t uri_len = ns ? ns->uri_len : sizeof CLIENT - 1;
	foreign = foreign || uri_len != sizeof CLIENT - 1 || memcmp(uri, CLIENT, uri_len) != 0;

	lua_createtable(L, 2, 3);
	int element = lua_gettop(L);
	lua_pushlstring(L, local, name.len - (size_t)(local - name.at));
	lua_setfield(L, element, "name");
	lua_createtable(L, 0, (int)(r->attributes->len / sizeof(struct xml_attribute)) + (foreign ? 1 : 0));
	if(foreign) {
		lua_pushlstring(L, uri, uri_len);
		lua_setfield(L, -2, "xmlns");
	}
	err = store_attributes(r);
	if(err)
		return err;
	lua_setfield(L, element, "attr");
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, element, "tags");
	lua_pushvalue(L, r->metatable);
	lua_setmetatable(L, element);

	bool empty;
	err = xml_read_tag_end(&r->xml, &empty);
	if(!err && !empty)
		err = read_children(r, name, element, foreign, depth);
	if(err)
		return err;
	lua_settop(L, element);
	r->bindings->len = bound;
	return NULL;
}

/* Buffers and a table of names for the reader, kept for the next time: nothing in here calls Lua code, so that nobody
 * else can want them meanwhile. Pushes the table of names. */
static void borrow_tools(struct reader *r) {
	static const char tools; /* its address: key of a table in the registry */
	lua_State *L = r->L;
	if(lua_rawgetp(L, LUA_REGISTRYINDEX, &tools), lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_createtable(L, 4, 0);
		for(int i = 1; i <= 3; i++) {
			buffer_push(L);
			lua_rawseti(L, -2, i);
		}
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &tools);
	}
	struct buffer **buffers[] = {&r->text, &r->attributes, &r->bindings};
	for(int i = 0; i < 3; i++) {
		lua_rawgeti(L, -1, i + 1);
		*buffers[i] = lua_touserdata(L, -1);
		buffer_reset(*buffers[i]);
		lua_pop(L, 1);
	}
	lua_rawgeti(L, -1, 4);
	if(lua_isnil(L, -1) || lua_rawlen(L, -1) > 64) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_rawseti(L, -3, 4);
	}
	lua_remove(L, -2);
}

const char *stanza_read(lua_State *L, const char *xml, size_t len, int metatable) {
	luaL_checkstack(L, 16, "stanza");
	int top = lua_gettop(L);
	struct reader r = {.L = L, .xml = {xml, xml + len}, .metatable = lua_absindex(L, metatable)};
	borrow_tools(&r);
	r.names = lua_gettop(L);
	xml_skip_space(&r.xml);
	const char *err = read_element(&r, false, 0);
	if(!err) {
		xml_skip_space(&r.xml);
		if(r.xml.at != r.xml.end)
			err = "text behind the element";
	}
	if(err) {
		lua_settop(L, top);
		return err;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return NULL;
}
