/* XML for the bindings of hosts that have elements and not text: reading what libpam_pps wrote, one token after the other, and
 * what characters have to be written as.
 *
 * No memory is taken and nothing is copied but what xml_resolve() writes. The library's parser has looked at all of it before, so
 * this checks what is needed to stay inside the text and to build a tree, and no more. */
#ifndef PAM_PPS_BINDINGS_XML_H
#define PAM_PPS_BINDINGS_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Elements inside one another. */
#define XML_DEPTH_LIMIT 512

/* A part of the text. */
struct xml_span {
	const char *at;
	size_t len;
};

/* As written: prefix included, references not resolved. */
struct xml_attribute {
	struct xml_span name, value;
};

struct xml_reader {
	const char *at, *end;
};

/* What stands next inside an element. */
enum xml_content { XML_TEXT, XML_CDATA, XML_ELEMENT, XML_END };

/* What characters are from, since that decides about references and white space. */
enum xml_source { XML_FROM_TEXT, XML_FROM_CDATA, XML_FROM_ATTRIBUTE };

static inline bool xml_is_space(char c) {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool xml_is_name(char c) {
	return !xml_is_space(c) && !memchr("=/>\"'<&", c, 7) && c != '\0';
}

static inline void xml_skip_space(struct xml_reader *r) {
	while(r->at < r->end && xml_is_space(*r->at))
		r->at++;
}

static inline bool xml_at(const struct xml_reader *r, const char *s, size_t n) {
	return (size_t)(r->end - r->at) >= n && memcmp(r->at, s, n) == 0;
}

static inline bool xml_take_name(struct xml_reader *r, struct xml_span *name) {
	name->at = r->at;
	while(r->at < r->end && xml_is_name(*r->at))
		r->at++;
	name->len = (size_t)(r->at - name->at);
	return name->len > 0;
}

/* At '<': takes the name of a start tag. As all functions here that return text: NULL, or what is wrong. */
static inline const char *xml_read_start(struct xml_reader *r, struct xml_span *name) {
	if(r->at == r->end || *r->at != '<')
		return "no element";
	r->at++;
	return xml_take_name(r, name) ? NULL : "malformed tag";
}

/* Inside a start tag: takes the next attribute, with *found false if there is none. */
static inline const char *xml_read_attribute(struct xml_reader *r, struct xml_attribute *a, bool *found) {
	const char *before = r->at;
	xml_skip_space(r);
	*found = false;
	if(r->at == r->end)
		return "early end";
	if(*r->at == '/' || *r->at == '>')
		return NULL;
	if(before == r->at)
		return "malformed tag";
	if(!xml_take_name(r, &a->name))
		return "malformed attribute";
	xml_skip_space(r);
	if(r->at == r->end || *r->at++ != '=')
		return "malformed attribute";
	xml_skip_space(r);
	if(r->at == r->end || (*r->at != '\'' && *r->at != '"'))
		return "malformed attribute";
	char quote = *r->at++;
	const char *close = memchr(r->at, quote, (size_t)(r->end - r->at));
	if(!close)
		return "early end";
	a->value = (struct xml_span){r->at, (size_t)(close - r->at)};
	if(memchr(a->value.at, '<', a->value.len))
		return "malformed attribute";
	r->at = close + 1;
	*found = true;
	return NULL;
}

/* Behind the attributes of a start tag: ends it. An empty element has neither content nor end tag. */
static inline const char *xml_read_tag_end(struct xml_reader *r, bool *empty) {
	*empty = xml_at(r, "/>", 2);
	if(!*empty && !xml_at(r, ">", 1))
		return "malformed tag";
	r->at += *empty ? 2 : 1;
	return NULL;
}

/* Inside an element: what stands next. Characters are taken, of a tag nothing is. */
static inline const char *xml_read_content(struct xml_reader *r, enum xml_content *what, struct xml_span *characters) {
	if(r->at == r->end)
		return "early end";
	characters->at = r->at;
	if(*r->at != '<') {
		const char *mark = memchr(r->at, '<', (size_t)(r->end - r->at));
		if(!mark)
			return "early end";
		*what = XML_TEXT;
		r->at = mark;
	} else if(xml_at(r, "</", 2)) {
		*what = XML_END;
	} else if(xml_at(r, "<![CDATA[", 9)) {
		*what = XML_CDATA;
		characters->at = r->at + 9;
		const char *stop = characters->at;
		while(r->end - stop >= 3 && memcmp(stop, "]]>", 3) != 0)
			stop++;
		if(r->end - stop < 3)
			return "early end";
		characters->len = (size_t)(stop - characters->at);
		r->at = stop + 3;
		return NULL;
	} else {
		*what = XML_ELEMENT;
	}
	characters->len = (size_t)(r->at - characters->at);
	return NULL;
}

/* At an end tag: takes it. */
static inline const char *xml_read_end(struct xml_reader *r, struct xml_span name) {
	struct xml_span own;
	r->at += 2;
	if(!xml_take_name(r, &own) || own.len != name.len || memcmp(own.at, name.at, name.len) != 0)
		return "wrong end tag";
	xml_skip_space(r);
	if(!xml_at(r, ">", 1))
		return "malformed tag";
	r->at++;
	return NULL;
}

/* Whether characters mean something else than what is written: if not, they need no xml_resolve(). */
static inline bool xml_is_plain(struct xml_span s, enum xml_source source) {
	if(memchr(s.at, '\r', s.len))
		return false;
	if(source != XML_FROM_CDATA && memchr(s.at, '&', s.len))
		return false;
	return source != XML_FROM_ATTRIBUTE || (!memchr(s.at, '\n', s.len) && !memchr(s.at, '\t', s.len));
}

static inline size_t xml_put_code_point(unsigned long c, char *out) {
	if(c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if(c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if(c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

static inline bool xml_is_character(unsigned long c) {
	return c == 9 || c == 10 || c == 13 || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd)
		|| (c >= 0x10000 && c <= 0x10ffff);
}

/* `*s` is at an ampersand; afterwards behind the semicolon. What is written to *out is shorter than the reference. */
static inline const char *xml_resolve_reference(const char **s, const char *end, char **out) {
	static const struct {
		const char *name;
		char c;
	} known[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&apos;", '\''}, {"&quot;", '"'}};
	for(size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t n = strlen(known[i].name);
		if((size_t)(end - *s) >= n && memcmp(*s, known[i].name, n) == 0) {
			*(*out)++ = known[i].c;
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
	if(p == end || p == digits || !xml_is_character(c))
		return "malformed character reference";
	*out += xml_put_code_point(c, *out);
	*s = p + 1;
	return NULL;
}

/* Writes what the characters mean, never longer than they are, and sets *len to its length: references are replaced, line ends
 * normalised, and white space in attributes becomes blanks (XML 1.0, sections 2.11 and 3.3.3). */
static inline const char *xml_resolve(struct xml_span in, enum xml_source source, char *out, size_t *len) {
	const char *s = in.at, *end = in.at + in.len;
	char *to = out;
	while(s < end) {
		const char *from = s;
		while(s < end && *s != '\r' && !(source != XML_FROM_CDATA && *s == '&')
			&& !(source == XML_FROM_ATTRIBUTE && (*s == '\n' || *s == '\t')))
			s++;
		memcpy(to, from, (size_t)(s - from));
		to += s - from;
		if(s == end)
			break;
		if(*s == '&') {
			const char *err = xml_resolve_reference(&s, end, &to);
			if(err)
				return err;
			continue;
		}
		if(*s == '\r' && s + 1 < end && s[1] == '\n')
			s++;
		*to++ = source == XML_FROM_ATTRIBUTE ? ' ' : '\n';
		s++;
	}
	*len = (size_t)(to - out);
	return NULL;
}

/* What a character has to be written as; NULL if it is written as it is. White space other than the blank is normalised by a parser:
 * written as a reference, it survives. */
static inline const char *xml_reference(char c, enum xml_source source) {
	switch(c) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '\r': return "&#13;";
	case '\'': return source == XML_FROM_ATTRIBUTE ? "&apos;" : NULL;
	case '\n': return source == XML_FROM_ATTRIBUTE ? "&#10;" : NULL;
	case '\t': return source == XML_FROM_ATTRIBUTE ? "&#9;" : NULL;
	default: return NULL;
	}
}

#endif
