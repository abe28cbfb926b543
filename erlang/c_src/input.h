/* Inputs and facts, from terms. */
#ifndef PAM_PPS_INPUT_H
#define PAM_PPS_INPUT_H

#include <erl_nif.h>
#include <pam_pps.h>
#include <stdbool.h>

/* Makes the atoms; once for each load. */
void input_load(ErlNifEnv *env);

/* An input from a kind and what it says, iodata or #xmlel{}; NULL if they make no sense. */
pam_pps_input *input_read(ErlNifEnv *env, ERL_NIF_TERM kind, ERL_NIF_TERM data);

/* Adds {Need, Jid, Other, Value}, or what one of the needs takes that have answers of their own. */
bool input_add_fact(ErlNifEnv *env, pam_pps_input *input, ERL_NIF_TERM fact);

/* The name of a need. */
ERL_NIF_TERM input_need(uint32_t kind);

/* True or false; false is returned if the term is neither. */
bool input_bool(ERL_NIF_TERM term, bool *value);

#endif
