/* XML to #xmlel{} and back. See element.h. */
#include "element.h"

#include "xml.h"

/* What a thread keeps for the next element. */
#define KEPT_BYTES 65536

static ERL_NIF_TERM atom_xmlel, atom_xmlcdata;

struct reader {
	ErlNifEnv *env;
	struct xml_reader xml;
	/* Terms of attributes and children that are not in a list yet, those of inner elements behind. */
	ERL_NIF_TERM *terms;
	size_t count, capacity;
	/* Characters since the last tag. */
	struct text text;
};

/* Schedulers live as long as the server does, and most elements are small: what was allocated for one is there for the next. */
static __thread struct reader kept_reader;
static __thread struct text kept_text;

void element_load(ErlNifEnv *env) {
	atom_xmlel = enif_make_atom(env, "xmlel");
	atom_xmlcdata = enif_make_atom(env, "xmlcdata");
}

ERL_NIF_TERM binary_term(ErlNifEnv *env, const void *data, size_t len) {
	ERL_NIF_TERM term;
	unsigned char *bytes = enif_make_new_binary(env, len, &term);
	if(len)
		memcpy(bytes, data, len);
	return term;
}

/* Room for n more of `size' bytes each. */
static bool reserve(void **data, size_t count, size_t *capacity, size_t n, size_t size) {
	if(*data && *capacity - count >= n)
		return true;
	size_t wanted = *capacity ? *capacity : 1024;
	while(wanted - count < n)
		wanted *= 2;
	void *grown = *data ? enif_realloc(*data, wanted * size) : enif_alloc(wanted * size);
	if(!grown)
		return false;
	*data = grown;
	*capacity = wanted;
	return true;
}

static bool text_reserve(struct text *text, size_t n) {
	void *data = text->data;
	bool done = reserve(&data, text->len, &text->capacity, n, 1);
	text->data = data;
	return done;
}

static void text_done(struct text *text) {
	if(text->capacity > KEPT_BYTES) {
		enif_free(text->data);
		*text = (struct text){0};
	}
	text->len = 0;
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

static bool push(struct reader *r, ERL_NIF_TERM term) {
	void *terms = r->terms;
	if(!reserve(&terms, r->count, &r->capacity, 1, sizeof *r->terms))
		return false;
	r->terms = terms;
	r->terms[r->count++] = term;
	return true;
}

/* A list of the terms behind the first `from'. */
static ERL_NIF_TERM pop_list(struct reader *r, size_t from) {
	ERL_NIF_TERM list = enif_make_list_from_array(r->env, r->terms + from, (unsigned)(r->count - from));
	r->count = from;
	return list;
}

static bool add_text(struct reader *r, struct xml_span s, enum xml_source source) {
	size_t len;
	if(!text_reserve(&r->text, s.len) || xml_resolve(s, source, r->text.data + r->text.len, &len))
		return false;
	r->text.len += len;
	return true;
}

static ERL_NIF_TERM take_text(struct reader *r) {
	ERL_NIF_TERM term = binary_term(r->env, r->text.data, r->text.len);
	r->text.len = 0;
	return term;
}

static bool flush_text(struct reader *r) {
	return !r->text.len || push(r, enif_make_tuple2(r->env, atom_xmlcdata, take_text(r)));
}

/* Pushes the attributes of a start tag. */
static bool read_attributes(struct reader *r) {
	for(;;) {
		struct xml_attribute a;
		bool found;
		if(xml_read_attribute(&r->xml, &a, &found))
			return false;
		if(!found)
			return true;
		ERL_NIF_TERM value;
		if(xml_is_plain(a.value, XML_FROM_ATTRIBUTE))
			value = binary_term(r->env, a.value.at, a.value.len);
		else if(add_text(r, a.value, XML_FROM_ATTRIBUTE))
			value = take_text(r);
		else
			return false;
		if(!push(r, enif_make_tuple2(r->env, binary_term(r->env, a.name.at, a.name.len), value)))
			return false;
	}
}

static bool read_element(struct reader *r, ERL_NIF_TERM *term, int depth);

/* Pushes what is inside an element, and takes its end tag. */
static bool read_children(struct reader *r, struct xml_span name, int depth) {
	for(;;) {
		enum xml_content what;
		struct xml_span characters;
		ERL_NIF_TERM child;
		if(xml_read_content(&r->xml, &what, &characters))
			return false;
		switch(what) {
		case XML_TEXT:
			if(!add_text(r, characters, XML_FROM_TEXT))
				return false;
			break;
		case XML_CDATA:
			if(!add_text(r, characters, XML_FROM_CDATA))
				return false;
			break;
		case XML_END: return flush_text(r) && !xml_read_end(&r->xml, name);
		case XML_ELEMENT:
			if(!flush_text(r) || !read_element(r, &child, depth + 1) || !push(r, child))
				return false;
		}
	}
}

static bool read_element(struct reader *r, ERL_NIF_TERM *term, int depth) {
	struct xml_span name;
	size_t bottom = r->count;
	bool empty;
	if(depth > XML_DEPTH_LIMIT || xml_read_start(&r->xml, &name) || !read_attributes(r))
		return false;
	ERL_NIF_TERM attributes = pop_list(r, bottom);
	if(xml_read_tag_end(&r->xml, &empty) || !(empty || read_children(r, name, depth)))
		return false;
	*term = enif_make_tuple4(r->env, atom_xmlel, binary_term(r->env, name.at, name.len), attributes, pop_list(r, bottom));
	return true;
}

bool element_read(ErlNifEnv *env, const void *xml, size_t len, ERL_NIF_TERM *term) {
	struct reader *r = &kept_reader;
	r->env = env;
	r->xml = (struct xml_reader){xml, (const char *)xml + len};
	xml_skip_space(&r->xml);
	bool done = read_element(r, term, 0);
	xml_skip_space(&r->xml);
	r->count = 0;
	if(r->capacity * sizeof *r->terms > KEPT_BYTES) {
		enif_free(r->terms);
		r->terms = NULL;
		r->capacity = 0;
	}
	text_done(&r->text);
	return done && r->xml.at == r->xml.end;
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

static bool append(struct text *text, const void *data, size_t n) {
	if(!text_reserve(text, n))
		return false;
	if(n)
		memcpy(text->data + text->len, data, n);
	text->len += n;
	return true;
}

#define append_literal(text, s) append(text, "" s, sizeof(s) - 1)

/* Appends what a term of characters stands for. */
static bool append_escaped(ErlNifEnv *env, ERL_NIF_TERM characters, enum xml_source source, struct text *text) {
	ErlNifBinary b;
	if(!enif_inspect_iolist_as_binary(env, characters, &b))
		return false;
	size_t done = 0;
	for(size_t i = 0; i < b.size; i++) {
		const char *reference = xml_reference((char)b.data[i], source);
		if(reference) {
			if(!append(text, b.data + done, i - done) || !append(text, reference, strlen(reference)))
				return false;
			done = i + 1;
		}
	}
	return append(text, b.data + done, b.size - done);
}

static bool append_attributes(ErlNifEnv *env, ERL_NIF_TERM list, struct text *text) {
	ERL_NIF_TERM head;
	while(enif_get_list_cell(env, list, &head, &list)) {
		const ERL_NIF_TERM *pair;
		int arity;
		ErlNifBinary name;
		if(!enif_get_tuple(env, head, &arity, &pair) || arity != 2 || !enif_inspect_iolist_as_binary(env, pair[0], &name) ||
			!append_literal(text, " ") || !append(text, name.data, name.size) || !append_literal(text, "='") ||
			!append_escaped(env, pair[1], XML_FROM_ATTRIBUTE, text) || !append_literal(text, "'"))
			return false;
	}
	return enif_is_empty_list(env, list);
}

static bool append_element(ErlNifEnv *env, const ERL_NIF_TERM *element, struct text *text, int depth);

/* A child: an element, or {xmlcdata, Characters}. */
static bool append_child(ErlNifEnv *env, ERL_NIF_TERM child, struct text *text, int depth) {
	const ERL_NIF_TERM *parts;
	int arity;
	if(!enif_get_tuple(env, child, &arity, &parts))
		return false;
	if(arity == 2 && enif_is_identical(parts[0], atom_xmlcdata))
		return append_escaped(env, parts[1], XML_FROM_TEXT, text);
	return arity == 4 && append_element(env, parts, text, depth);
}

static bool append_element(ErlNifEnv *env, const ERL_NIF_TERM *element, struct text *text, int depth) {
	ErlNifBinary name;
	ERL_NIF_TERM head, list = element[3];
	if(depth > XML_DEPTH_LIMIT || !enif_is_identical(element[0], atom_xmlel) ||
		!enif_inspect_iolist_as_binary(env, element[1], &name) || !append_literal(text, "<") ||
		!append(text, name.data, name.size) || !append_attributes(env, element[2], text))
		return false;
	if(enif_is_empty_list(env, list))
		return append_literal(text, "/>");
	if(!append_literal(text, ">"))
		return false;
	while(enif_get_list_cell(env, list, &head, &list))
		if(!append_child(env, head, text, depth + 1))
			return false;
	return enif_is_empty_list(env, list) && append_literal(text, "</") && append(text, name.data, name.size) &&
	       append_literal(text, ">");
}

const struct text *element_write(ErlNifEnv *env, ERL_NIF_TERM element) {
	const ERL_NIF_TERM *parts;
	int arity;
	kept_text.len = 0;
	bool done = enif_get_tuple(env, element, &arity, &parts) && arity == 4 && append_element(env, parts, &kept_text, 0);
	return done ? &kept_text : NULL;
}

void element_written(void) {
	text_done(&kept_text);
}
