/* Prosody's stanza tables to XML and back. See stanza.h. */
#include "stanza.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT "jabber:client"
#define XML_NAMESPACE "http://www.w3.org/XML/1998/namespace"
#define BUFFER_MT "pam_pps.buffer"
#define BUFFER_KEEP ((size_t)1 << 20)
#define DEPTH_LIMIT 512

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

static void buffer_add(lua_State *L, struct buffer *b, const char *s, size_t n) {
	if(b->cap - b->len < n) {
		size_t cap = b->cap ? b->cap : 1024;
		while(cap - b->len < n)
			cap *= 2;
		char *data = realloc(b->data, cap);
		if(!data)
			luaL_error(L, "not enough memory");
		b->data = data;
		b->cap = cap;
	}
	if(n)
		memcpy(b->data + b->len, s, n);
	b->len += n;
}

#define buffer_literal(L, b, s) buffer_add(L, b, "" s, sizeof(s) - 1)

/* -- writing ------------------------------------------------------------------------------------------------------- */

/* White space other than the blank is normalised by a parser: written as a reference, it survives. */
static const char *reference(unsigned char c, bool attribute) {
	switch(c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '\r':
		return "&#13;";
	case '\'':
		return attribute ? "&apos;" : NULL;
	case '\n':
		return attribute ? "&#10;" : NULL;
	case '\t':
		return attribute ? "&#9;" : NULL;
	default:
		return NULL;
	}
}

static void write_escaped(lua_State *L, struct buffer *out, const char *s, size_t n, bool attribute) {
	size_t done = 0;
	for(size_t i = 0; i < n; i++) {
		const char *ref = reference((unsigned char)s[i], attribute);
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
		write_escaped(L, out, key, uri_len, true);
		buffer_literal(L, out, "' ");
		buffer_add(L, out, prefix, strlen(prefix));
		buffer_literal(L, out, ":");
		buffer_add(L, out, separator + 1, key_len - uri_len - 1);
		lua_pop(L, 1);
	} else {
		buffer_add(L, out, key, key_len);
	}
	buffer_literal(L, out, "='");
	write_escaped(L, out, value, value_len, true);
	buffer_literal(L, out, "'");
}

/* The element on top of the stack stays there. `ns` is the default namespace around it. */
static void write_element(lua_State *L, struct buffer *out, const char *ns, size_t ns_len, int depth) {
	luaL_checkstack(L, 8, "stanza");
	if(depth > DEPTH_LIMIT)
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
			write_escaped(L, out, own, own_len, true);
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
				write_escaped(L, out, text, len, false);
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

struct attribute {
	const char *name, *value; /* as written: prefix included, references not resolved */
	size_t name_len, value_len;
};

struct binding {
	const char *prefix; /* length 0: the default namespace */
	size_t prefix_len;
	const char *uri; /* held by the table of names */
	size_t uri_len;
};

struct reader {
	lua_State *L;
	const char *at, *end;
	int metatable, names;
	struct buffer *text;       /* resolved characters, used between two Lua values only */
	struct buffer *attributes; /* struct attribute[], of the element being opened */
	struct buffer *bindings;   /* struct binding[], innermost last */
	lua_Integer name_count;
};

static bool is_space(char c) {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name(char c) {
	return !is_space(c) && !memchr("=/>\"'<&", c, 7) && c != '\0';
}

static bool starts(const struct reader *r, const char *s) {
	size_t n = strlen(s);
	return (size_t)(r->end - r->at) >= n && memcmp(r->at, s, n) == 0;
}

static void skip_space(struct reader *r) {
	while(r->at < r->end && is_space(*r->at))
		r->at++;
}

static const char *take_name(struct reader *r, size_t *len) {
	const char *from = r->at;
	while(r->at < r->end && is_name(*r->at))
		r->at++;
	*len = (size_t)(r->at - from);
	return *len ? from : NULL;
}

static void add_code_point(struct reader *r, unsigned long c) {
	char s[4];
	size_t n;
	if(c < 0x80) {
		s[0] = (char)c;
		n = 1;
	} else if(c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
		n = 2;
	} else if(c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
		n = 3;
	} else {
		s[0] = (char)(0xf0 | c >> 18);
		s[1] = (char)(0x80 | (c >> 12 & 0x3f));
		s[2] = (char)(0x80 | (c >> 6 & 0x3f));
		s[3] = (char)(0x80 | (c & 0x3f));
		n = 4;
	}
	buffer_add(r->L, r->text, s, n);
}

static bool is_character(unsigned long c) {
	return c == 9 || c == 10 || c == 13 || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd)
		|| (c >= 0x10000 && c <= 0x10ffff);
}

/* `*s` is at an ampersand; afterwards behind the semicolon. */
static const char *resolve_reference(struct reader *r, const char **s, const char *end) {
	static const struct {
		const char *name;
		char c;
	} known[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&apos;", '\''}, {"&quot;", '"'}};
	for(size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t n = strlen(known[i].name);
		if((size_t)(end - *s) >= n && memcmp(*s, known[i].name, n) == 0) {
			buffer_add(r->L, r->text, &known[i].c, 1);
			*s += n;
			return NULL;
		}
	}
	const char *p = *s + 1;
	if(p == end || *p++ != '#')
		return "unknown entity";
	unsigned base = 10;
	if(p < end && *p == 'x') {
		base = 16;
		p++;
	}
	unsigned long c = 0;
	const char *digits = p;
	for(; p < end && *p != ';'; p++) {
		unsigned d;
		if(*p >= '0' && *p <= '9')
			d = (unsigned)(*p - '0');
		else if(base == 16 && *p >= 'a' && *p <= 'f')
			d = (unsigned)(*p - 'a') + 10;
		else if(base == 16 && *p >= 'A' && *p <= 'F')
			d = (unsigned)(*p - 'A') + 10;
		else
			return "malformed character reference";
		c = c * base + d;
		if(c > 0x10ffff)
			return "malformed character reference";
	}
	if(p == end || p == digits || !is_character(c))
		return "malformed character reference";
	add_code_point(r, c);
	*s = p + 1;
	return NULL;
}

/* Appends characters to r->text with line ends normalised; in attributes white space becomes a blank. */
static const char *resolve(struct reader *r, const char *s, size_t n, bool attribute, bool references) {
	const char *end = s + n;
	while(s < end) {
		const char *from = s;
		while(s < end && *s != '\r' && !(references && *s == '&') && !(attribute && (*s == '\n' || *s == '\t')))
			s++;
		buffer_add(r->L, r->text, from, (size_t)(s - from));
		if(s == end)
			break;
		if(*s == '&') {
			const char *err = resolve_reference(r, &s, end);
			if(err)
				return err;
			continue;
		}
		if(*s == '\r' && s + 1 < end && s[1] == '\n')
			s++;
		buffer_add(r->L, r->text, attribute ? " " : "\n", 1);
		s++;
	}
	return NULL;
}

static const char *push_value(struct reader *r, const char *s, size_t n) {
	if(!memchr(s, '&', n) && !memchr(s, '\r', n) && !memchr(s, '\n', n) && !memchr(s, '\t', n)) {
		lua_pushlstring(r->L, s, n);
		return NULL;
	}
	r->text->len = 0;
	const char *err = resolve(r, s, n, true, true);
	if(err)
		return err;
	lua_pushlstring(r->L, r->text->data, r->text->len);
	r->text->len = 0;
	return NULL;
}

static const struct binding *find_binding(const struct reader *r, const char *prefix, size_t len) {
	const struct binding *all = (const struct binding *)(const void *)r->bindings->data;
	for(size_t i = r->bindings->len / sizeof *all; i-- > 0;)
		if(all[i].prefix_len == len && memcmp(all[i].prefix, prefix, len) == 0)
			return &all[i];
	return NULL;
}

static const char *bind(struct reader *r, const char *prefix, size_t prefix_len, const char *value, size_t value_len) {
	const char *err = push_value(r, value, value_len);
	if(err)
		return err;
	struct binding b = {.prefix = prefix, .prefix_len = prefix_len};
	b.uri = lua_tolstring(r->L, -1, &b.uri_len);
	lua_rawseti(r->L, r->names, (int)++r->name_count);
	buffer_add(r->L, r->bindings, (const char *)&b, sizeof b);
	return NULL;
}

static const char *read_attributes(struct reader *r) {
	r->attributes->len = 0;
	for(;;) {
		const char *before = r->at;
		skip_space(r);
		if(r->at == r->end)
			return "early end";
		if(*r->at == '/' || *r->at == '>')
			return NULL;
		if(before == r->at)
			return "malformed tag";
		struct attribute a;
		a.name = take_name(r, &a.name_len);
		skip_space(r);
		if(!a.name || r->at == r->end || *r->at++ != '=')
			return "malformed attribute";
		skip_space(r);
		if(r->at == r->end || (*r->at != '\'' && *r->at != '"'))
			return "malformed attribute";
		char quote = *r->at++;
		a.value = r->at;
		const char *close = memchr(r->at, quote, (size_t)(r->end - r->at));
		if(!close)
			return "early end";
		a.value_len = (size_t)(close - a.value);
		if(memchr(a.value, '<', a.value_len))
			return "malformed attribute";
		r->at = close + 1;
		if(a.name_len == 5 && memcmp(a.name, "xmlns", 5) == 0) {
			const char *err = bind(r, "", 0, a.value, a.value_len);
			if(err)
				return err;
		} else if(a.name_len > 6 && memcmp(a.name, "xmlns:", 6) == 0) {
			const char *err = bind(r, a.name + 6, a.name_len - 6, a.value, a.value_len);
			if(err)
				return err;
		} else {
			buffer_add(r->L, r->attributes, (const char *)&a, sizeof a);
		}
	}
}

/* Pushes the key under which Prosody keeps the attribute. */
static const char *push_key(struct reader *r, const struct attribute *a) {
	const char *colon = memchr(a->name, ':', a->name_len);
	if(!colon || (a->name_len > 4 && memcmp(a->name, "xml:", 4) == 0)) {
		lua_pushlstring(r->L, a->name, a->name_len);
		return NULL;
	}
	size_t prefix_len = (size_t)(colon - a->name);
	const struct binding *b = find_binding(r, a->name, prefix_len);
	if(!b || b->uri_len == 0)
		return "unbound prefix";
	lua_pushlstring(r->L, b->uri, b->uri_len);
	lua_pushliteral(r->L, "\1");
	lua_pushlstring(r->L, colon + 1, a->name_len - prefix_len - 1);
	lua_concat(r->L, 3);
	return NULL;
}

/* Fills the table of attributes on top of the stack. */
static const char *store_attributes(struct reader *r) {
	size_t count = r->attributes->len / sizeof(struct attribute);
	for(size_t i = 0; i < count; i++) {
		const struct attribute *a = (const struct attribute *)(const void *)r->attributes->data + i;
		const char *err = push_key(r, a);
		if(err)
			return err;
		lua_pushvalue(r->L, -1);
		lua_rawget(r->L, -3);
		bool twice = !lua_isnil(r->L, -1);
		lua_pop(r->L, 1);
		if(twice)
			return "an attribute twice";
		err = push_value(r, a->value, a->value_len);
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

/* At '<'. Pushes the element; `foreign` tells that an element around it is not in jabber:client. */
static const char *read_element(struct reader *r, bool foreign, int depth) {
	lua_State *L = r->L;
	luaL_checkstack(L, 12, "stanza");
	if(depth > DEPTH_LIMIT)
		return "nested too deeply";
	size_t bound = r->bindings->len, name_len;
	r->at++;
	const char *name = take_name(r, &name_len);
	if(!name)
		return "malformed tag";
	const char *err = read_attributes(r);
	if(err)
		return err;

	const char *local = memchr(name, ':', name_len);
	const struct binding *ns = find_binding(r, name, local ? (size_t)(local - name) : 0);
	if(local && !ns)
		return "unbound prefix";
	local = local ? local + 1 : name;
	const char *uri = ns ? ns->uri : CLIENT;
	size_t uri_len = ns ? ns->uri_len : sizeof CLIENT - 1;
	foreign = foreign || uri_len != sizeof CLIENT - 1 || memcmp(uri, CLIENT, uri_len) != 0;

	lua_createtable(L, 2, 3);
	int element = lua_gettop(L);
	lua_pushlstring(L, local, name_len - (size_t)(local - name));
	lua_setfield(L, element, "name");
	lua_createtable(L, 0, (int)(r->attributes->len / sizeof(struct attribute)) + (foreign ? 1 : 0));
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
	int tags = element + 1, tag_count = 0, children = 0;
	lua_pushvalue(L, r->metatable);
	lua_setmetatable(L, element);

	if(starts(r, "/>")) {
		r->at += 2;
	} else if(*r->at++ != '>') {
		return "malformed tag";
	} else {
		for(;;) {
			const char *mark = r->at < r->end ? memchr(r->at, '<', (size_t)(r->end - r->at)) : NULL;
			if(!mark)
				return "early end";
			err = resolve(r, r->at, (size_t)(mark - r->at), false, true);
			if(err)
				return err;
			r->at = mark;
			if(starts(r, "</"))
				break;
			if(starts(r, "<![CDATA[")) {
				r->at += 9;
				const char *stop = r->at;
				while(r->end - stop >= 3 && memcmp(stop, "]]>", 3) != 0)
					stop++;
				if(r->end - stop < 3)
					return "early end";
				err = resolve(r, r->at, (size_t)(stop - r->at), false, false);
				if(err)
					return err;
				r->at = stop + 3;
				continue;
			}
			flush_text(r, element, &children);
			err = read_element(r, foreign, depth + 1);
			if(err)
				return err;
			lua_pushvalue(L, -1);
			lua_rawseti(L, tags, ++tag_count);
			lua_rawseti(L, element, ++children);
		}
		flush_text(r, element, &children);
		r->at += 2;
		size_t close_len;
		const char *close = take_name(r, &close_len);
		if(!close || close_len != name_len || memcmp(close, name, name_len) != 0)
			return "wrong end tag";
		skip_space(r);
		if(r->at == r->end || *r->at++ != '>')
			return "malformed tag";
	}
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
	struct reader r = {.L = L, .at = xml, .end = xml + len, .metatable = lua_absindex(L, metatable)};
	borrow_tools(&r);
	r.names = lua_gettop(L);
	skip_space(&r);
	const char *err = r.at < r.end && *r.at == '<' ? read_element(&r, false, 0) : "no element";
	if(!err) {
		skip_space(&r);
		if(r.at != r.end)
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
