/* XML as the elements that ejabberd knows, #xmlel{}, and back. */
#ifndef PAM_PPS_ELEMENT_H
#define PAM_PPS_ELEMENT_H

#include <erl_nif.h>
#include <stdbool.h>
#include <stddef.h>

/* Makes the atoms; once for each load. */
void element_load(ErlNifEnv *env);

/* A binary with these bytes; `data' may be NULL if there are none. */
ERL_NIF_TERM binary_term(ErlNifEnv *env, const void *data, size_t len);

/* Makes of one element the term that fxml_stream:parse_element/1 makes of it, without a parser being set up for it. False, with
 * nothing made, if the text is no element or there is no memory. */
bool element_read(ErlNifEnv *env, const void *xml, size_t len, ERL_NIF_TERM *term);

/* A growing text. */
struct text {
	char *data;
	size_t len, capacity;
};

/* An element as text, which is there until element_written() is called in this thread. NULL if the term is none or there is no
 * memory. */
const struct text *element_write(ErlNifEnv *env, ERL_NIF_TERM element);

/* Gives back the memory of what was written, if it was much. */
void element_written(void);

#endif
