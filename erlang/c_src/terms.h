/* Small things about terms that the other files share. */
#ifndef PAM_PPS_TERMS_H
#define PAM_PPS_TERMS_H

#include <erl_nif.h>
#include <stddef.h>

/* Bytes copied in about a tenth of a scheduler's slice. */
#define BYTES_OF_SLICE 65536
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MAKE_ATOMS(what) make_atoms(env, what##_names, atom_##what, COUNT(what##_names))

static inline void make_atoms(ErlNifEnv *env, const char *const *names, ERL_NIF_TERM *atoms, size_t count) {
	for(size_t i = 0; i < count; i++)
		atoms[i] = enif_make_atom(env, names[i]);
}

/* The place of an atom in a table, or -1. */
static inline int find(ERL_NIF_TERM atom, const ERL_NIF_TERM *table, size_t count) {
	for(size_t i = 0; i < count; i++)
		if(enif_is_identical(atom, table[i]))
			return (int)i;
	return -1;
}

/* Tells the scheduler what copying took. */
static inline void consume(ErlNifEnv *env, size_t bytes) {
	size_t percent = 1 + bytes * 10 / BYTES_OF_SLICE;
	enif_consume_timeslice(env, percent > 100 ? 100 : (int)percent);
}

#endif
