/* See input.h. */
#include "input.h"

#include "element.h"
#include "terms.h"

static const char *const input_names[] = {
	"stanza", "tick", "session_ended", "account_removed", "roster_changed", "import", "command", "room_changed"};
static const char *const need_names[] = {"account", "roster", "admin", "blocked", "import", "room", "room_info"};
static const char *const subscription_names[] = {"none", "to", "from", "both"};
static const char *const affiliation_names[] = {"none", "outcast", "member", "admin", "owner"};

static ERL_NIF_TERM atom_input[COUNT(input_names)], atom_need[COUNT(need_names)], atom_subscription[COUNT(subscription_names)];
static ERL_NIF_TERM atom_affiliation[COUNT(affiliation_names)];
static ERL_NIF_TERM atom_false, atom_room, atom_room_info, atom_roster, atom_true, atom_undefined;

void input_load(ErlNifEnv *env) {
	MAKE_ATOMS(input);
	MAKE_ATOMS(need);
	MAKE_ATOMS(subscription);
	MAKE_ATOMS(affiliation);
	atom_false = enif_make_atom(env, "false");
	atom_room = enif_make_atom(env, "room");
	atom_room_info = enif_make_atom(env, "room_info");
	atom_roster = enif_make_atom(env, "roster");
	atom_true = enif_make_atom(env, "true");
	atom_undefined = enif_make_atom(env, "undefined");
}

bool input_bool(ERL_NIF_TERM term, bool *value) {
	*value = enif_is_identical(term, atom_true);
	return *value || enif_is_identical(term, atom_false);
}

ERL_NIF_TERM input_need(uint32_t kind) {
	return kind >= 1 && kind <= COUNT(atom_need) ? atom_need[kind - 1] : atom_undefined;
}

pam_pps_input *input_read(ErlNifEnv *env, ERL_NIF_TERM kind_term, ERL_NIF_TERM data_term) {
	ErlNifBinary data;
	int kind = find(kind_term, atom_input, COUNT(atom_input));
	if(kind < 0)
		return NULL;
	if(!enif_is_tuple(env, data_term)) {
		if(!enif_inspect_iolist_as_binary(env, data_term, &data))
			return NULL;
		consume(env, data.size);
		return pam_pps_input_new((uint32_t)kind + 1, data.data, data.size);
	}
	const struct text *text = element_write(env, data_term);
	pam_pps_input *input = NULL;
	if(text) {
		consume(env, text->len);
		input = pam_pps_input_new((uint32_t)kind + 1, (const uint8_t *)text->data, text->len);
	}
	element_written();
	return input;
}

/* -- facts --------------------------------------------------------------------------------------------------------- */

#define GROUPS 64

/* Adds {roster, Owner, Contact, Subscription, [Group]}. */
static bool add_roster(ErlNifEnv *env, pam_pps_input *input, const ERL_NIF_TERM *fact) {
	ErlNifBinary owner, contact, group;
	int subscription = find(fact[3], atom_subscription, COUNT(atom_subscription));
	if(!enif_inspect_binary(env, fact[1], &owner) || !enif_inspect_binary(env, fact[2], &contact) || subscription < 0)
		return false;
	unsigned length;
	if(!enif_get_list_length(env, fact[4], &length))
		return false;
	pam_pps_slice few[GROUPS], *groups = few;
	if(length > GROUPS)
		groups = enif_alloc(length * sizeof *groups);
	ERL_NIF_TERM head, list = fact[4];
	size_t count = 0;
	while(enif_get_list_cell(env, list, &head, &list))
		if(enif_inspect_binary(env, head, &group))
			groups[count++] = (pam_pps_slice){group.data, group.size};
	pam_pps_result result = pam_pps_input_fact_roster(
		input, owner.data, owner.size, contact.data, contact.size, (uint32_t)subscription, groups, count);
	if(groups != few)
		enif_free(groups);
	return result == PAM_PPS_RESULT_OK;
}

/* Adds {room, Who, Room, Affiliation, Voice}. */
static bool add_room(ErlNifEnv *env, pam_pps_input *input, const ERL_NIF_TERM *fact) {
	ErlNifBinary who, room;
	int affiliation = find(fact[3], atom_affiliation, COUNT(atom_affiliation));
	bool voice;
	if(!enif_inspect_binary(env, fact[1], &who) || !enif_inspect_binary(env, fact[2], &room) || affiliation < 0 ||
		!input_bool(fact[4], &voice))
		return false;
	return pam_pps_input_fact_room(input, who.data, who.size, room.data, room.size, (uint32_t)affiliation, voice) ==
	       PAM_PPS_RESULT_OK;
}

/* Adds {room_info, Room, Name, Description, Subject}. */
static bool add_room_info(ErlNifEnv *env, pam_pps_input *input, const ERL_NIF_TERM *fact) {
	ErlNifBinary room, name, description, subject;
	if(!enif_inspect_binary(env, fact[1], &room) || !enif_inspect_binary(env, fact[2], &name) ||
		!enif_inspect_binary(env, fact[3], &description) || !enif_inspect_binary(env, fact[4], &subject))
		return false;
	return pam_pps_input_fact_room_info(input, room.data, room.size, name.data, name.size, description.data, description.size,
		       subject.data, subject.size) == PAM_PPS_RESULT_OK;
}

bool input_add_fact(ErlNifEnv *env, pam_pps_input *input, ERL_NIF_TERM term) {
	const ERL_NIF_TERM *fact;
	int arity;
	if(!enif_get_tuple(env, term, &arity, &fact))
		return false;
	if(arity == 5 && enif_is_identical(fact[0], atom_roster))
		return add_roster(env, input, fact);
	if(arity == 5 && enif_is_identical(fact[0], atom_room))
		return add_room(env, input, fact);
	if(arity == 5 && enif_is_identical(fact[0], atom_room_info))
		return add_room_info(env, input, fact);
	ErlNifBinary jid, other;
	bool value;
	int kind = arity == 4 ? find(fact[0], atom_need, COUNT(atom_need)) : -1;
	if(kind < 0 || !enif_inspect_binary(env, fact[1], &jid) || !enif_inspect_binary(env, fact[2], &other) ||
		!input_bool(fact[3], &value))
		return false;
	return pam_pps_input_fact_bool(input, (uint32_t)kind + 1, jid.data, jid.size, other.data, other.size, value) ==
	       PAM_PPS_RESULT_OK;
}
