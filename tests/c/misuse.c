/*
 * A host that does everything wrong which can be done wrong without lying about memory, and a few things that are hard to do
 * right: each must be answered as the header says. Arguments: an empty folder, and how often to repeat what is repeated.
 */
#define _POSIX_C_SOURCE 200809L

#include <pam_pps.h>

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition) expect((condition), #condition, __LINE__)
#define TEXT(literal) (const uint8_t *)(literal), sizeof(literal) - 1

static const uint8_t broken[] = {'a', 0xFF, 0xC0};
static int64_t now = INT64_C(1700000000000000);
static const char *folder;
static size_t repeat = 100;
static unsigned failures;

static void expect(bool condition, const char *text, int line) {
    if (!condition) {
        printf("misuse.c:%d: not so: %s\n", line, text);
        failures++;
    }
}

static bool empty(pam_pps_slice slice) {
    return slice.len == 0;
}

static bool contains(pam_pps_slice slice, const char *text) {
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= slice.len; i++) {
        if (memcmp(slice.data + i, text, length) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- Engines ---- */

static pam_pps_engine *open_engine(const char *database, const char *key, const char *value) {
    pam_pps_engine *engine = NULL;
    pam_pps_config *config = pam_pps_config_new();
    pam_pps_config *options = pam_pps_config_new();
    EXPECT(pam_pps_config_set(config, TEXT("database"), (const uint8_t *)database, strlen(database), NULL) == 0);
    if (key != NULL) {
        EXPECT(pam_pps_config_set(config, (const uint8_t *)key, strlen(key), (const uint8_t *)value, strlen(value), NULL) == 0);
    }
    EXPECT(pam_pps_engine_open(config, &engine, NULL) == PAM_PPS_RESULT_OK);
    /* Without looks at services elsewhere: the first outcome would ask to be woken for them. */
    EXPECT(pam_pps_config_set(options, TEXT("check_interval"), TEXT("0"), NULL) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_engine_serve(engine, TEXT("a.example"), PAM_PPS_SERVICE_ACCOUNTS, options, NULL) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_engine_serve(engine, TEXT("pubsub.a.example"), PAM_PPS_SERVICE_COMPONENT, options, NULL) == PAM_PPS_RESULT_OK);
    pam_pps_config_free(config);
    pam_pps_config_free(options);
    return engine;
}

static pam_pps_input *stanza(const char *text) {
    return pam_pps_input_new(PAM_PPS_INPUT_STANZA, (const uint8_t *)text, strlen(text));
}

/* A publish by an account to its own node; it needs no facts. */
static pam_pps_input *publish(const char *account, const char *node, size_t number) {
    char text[512];
    snprintf(text, sizeof text,
             "<iq type='set' id='%zu' from='%s@a.example/r'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
             "<publish node='%s'><item id='i%zu'><x xmlns='urn:x'/></item></publish></pubsub></iq>",
             number, account, node, number);
    return stanza(text);
}

/* A stranger's request for items of juliet's node `n`, which contacts may read: it needs her roster. */
static pam_pps_input *curious(void) {
    return stanza("<iq type='get' id='c' from='mercutio@a.example/r' to='juliet@a.example'>"
                  "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub></iq>");
}

/* ---- Completions, counted ---- */

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t count;
    /* Set to hold the engine's thread in its completion. */
    bool hold;
    pam_pps_input *taken;
    bool needs;
    bool result;
    bool explained;
};

#define SEEN {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER}

static void done(void *user, pam_pps_outcome *outcome) {
    struct seen *seen = user;
    pthread_mutex_lock(&seen->lock);
    seen->needs = pam_pps_outcome_count(outcome) > 0 && pam_pps_outcome_kind(outcome, 0) == PAM_PPS_DECISION_NEED;
    seen->result = pam_pps_outcome_count(outcome) > 0 && contains(pam_pps_outcome_stanza(outcome, 0), "type='result'");
    seen->explained = !empty(pam_pps_outcome_error(outcome));
    if (seen->needs) {
        pam_pps_input_free(seen->taken);
        seen->taken = pam_pps_outcome_take_input(outcome);
        EXPECT(pam_pps_outcome_take_input(outcome) == NULL);
    }
    pam_pps_outcome_free(outcome);
    seen->count++;
    pthread_cond_broadcast(&seen->more);
    while (seen->hold) {
        pthread_cond_wait(&seen->more, &seen->lock);
    }
    pthread_mutex_unlock(&seen->lock);
}

static size_t count_of(struct seen *seen) {
    pthread_mutex_lock(&seen->lock);
    size_t count = seen->count;
    pthread_mutex_unlock(&seen->lock);
    return count;
}

static void wait_for(struct seen *seen, size_t count) {
    pthread_mutex_lock(&seen->lock);
    while (seen->count < count) {
        pthread_cond_wait(&seen->more, &seen->lock);
    }
    pthread_mutex_unlock(&seen->lock);
}

/* ---- Wrong arguments ---- */

static void nothing_at_all(void) {
    pam_pps_engine *engine = NULL, *none = NULL;
    pam_pps_outcome *outcome = NULL;
    pam_pps_text *text = NULL;
    pam_pps_config *config = pam_pps_config_new();
    pam_pps_input *input = pam_pps_input_new(PAM_PPS_INPUT_TICK, NULL, 0);
    EXPECT(input != NULL);

    pam_pps_config_free(NULL);
    pam_pps_engine_free(NULL);
    pam_pps_input_free(NULL);
    pam_pps_outcome_free(NULL);
    pam_pps_text_free(NULL);
    EXPECT(empty(pam_pps_text_slice(NULL)));
    EXPECT(pam_pps_config_set(NULL, TEXT("database"), TEXT("memory"), NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_config_set(config, NULL, 3, TEXT("memory"), &text) == PAM_PPS_RESULT_NULL_POINTER && text == NULL);
    EXPECT(pam_pps_config_set(config, TEXT("database"), NULL, 3, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_config_set(config, NULL, 0, NULL, 0, NULL) == PAM_PPS_RESULT_UNKNOWN_OPTION);
    EXPECT(pam_pps_engine_open(NULL, &none, NULL) == PAM_PPS_RESULT_NULL_POINTER && none == NULL);
    EXPECT(pam_pps_engine_open(config, NULL, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_serve(NULL, TEXT("a.example"), 1, config, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_unserve(NULL, TEXT("a.example")) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_features(NULL, TEXT("a.example"), 1, &text) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_statistics(NULL, &text) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_handle(NULL, now, input, &outcome) == PAM_PPS_RESULT_NULL_POINTER && outcome == NULL);
    EXPECT(pam_pps_engine_submit(NULL, now, pam_pps_input_new(PAM_PPS_INPUT_TICK, NULL, 0), done, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_new(PAM_PPS_INPUT_STANZA, NULL, 3) == NULL);
    EXPECT(pam_pps_input_new_publish(NULL, 3, TEXT("n"), NULL, 0, TEXT("<x/>")) == NULL);
    EXPECT(pam_pps_input_set_extra(NULL, TEXT("x")) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_set_privileged(NULL, true) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_bool(NULL, 1, TEXT("a@b"), NULL, 0, true) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_bool(input, 1, NULL, 2, NULL, 0, true) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_roster(NULL, TEXT("a@b"), TEXT("c@d"), 1, NULL, 0) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_roster(input, TEXT("a@b"), TEXT("c@d"), 1, NULL, 1) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_room_info(NULL, TEXT("a@b"), TEXT("c"), NULL, 0, NULL, 0) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_input_fact_room_info(input, TEXT("a@b"), TEXT("c"), NULL, 0, NULL, 1) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_outcome_count(NULL) == 0 && pam_pps_outcome_kind(NULL, 0) == 0 && pam_pps_outcome_time(NULL, 0) == 0);
    EXPECT(pam_pps_outcome_need_kind(NULL, 0) == 0 && pam_pps_outcome_recipient_count(NULL, 0) == 0);
    EXPECT(empty(pam_pps_outcome_stanza(NULL, 0)) && empty(pam_pps_outcome_stanza_id(NULL, 0)));
    EXPECT(empty(pam_pps_outcome_recipient(NULL, 0, 0)) && empty(pam_pps_outcome_jid(NULL, 0)));
    EXPECT(empty(pam_pps_outcome_other_jid(NULL, 0)) && empty(pam_pps_outcome_event(NULL, 0)));
    EXPECT(empty(pam_pps_outcome_node(NULL, 0)) && empty(pam_pps_outcome_item(NULL, 0)));
    EXPECT(pam_pps_outcome_take_input(NULL) == NULL && !pam_pps_outcome_more(NULL) && empty(pam_pps_outcome_error(NULL)));

    engine = open_engine("memory", NULL, NULL);
    EXPECT(pam_pps_engine_serve(engine, NULL, 4, 1, config, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_serve(engine, TEXT("b.example"), 1, NULL, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_features(engine, TEXT("a.example"), 1, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_statistics(engine, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_handle(engine, now, NULL, &outcome) == PAM_PPS_RESULT_NULL_POINTER && outcome == NULL);
    EXPECT(pam_pps_engine_handle(engine, now, input, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_submit(engine, now, NULL, done, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 1), NULL, NULL) == PAM_PPS_RESULT_NULL_POINTER);
    pam_pps_engine_free(engine);
    pam_pps_input_free(input);
    pam_pps_config_free(config);
}

static void wrong_values(void) {
    pam_pps_engine *engine = open_engine("memory", NULL, NULL), *none = NULL;
    pam_pps_config *config = pam_pps_config_new();
    pam_pps_text *text = NULL;
    pam_pps_outcome *outcome = NULL;
    pam_pps_input *input = curious();

    EXPECT(pam_pps_config_set(config, broken, sizeof broken, TEXT("1"), NULL) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_config_set(config, TEXT("database"), broken, sizeof broken, NULL) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_config_set(config, TEXT("colour"), TEXT("red"), &text) == PAM_PPS_RESULT_UNKNOWN_OPTION);
    EXPECT(text != NULL && contains(pam_pps_text_slice(text), "colour"));
    pam_pps_text_free(text);
    text = NULL;
    EXPECT(pam_pps_config_set(config, TEXT("commit"), TEXT("never"), &text) == PAM_PPS_RESULT_INVALID_OPTION);
    EXPECT(text != NULL && contains(pam_pps_text_slice(text), "never"));
    pam_pps_text_free(text);
    text = NULL;
    EXPECT(pam_pps_config_set(config, TEXT("database"), TEXT("/no/such/folder/file"), NULL) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_engine_open(config, &none, &text) == PAM_PPS_RESULT_STORE && none == NULL);
    EXPECT(text != NULL && !empty(pam_pps_text_slice(text)));
    pam_pps_text_free(text);
    text = NULL;

    EXPECT(pam_pps_engine_serve(engine, broken, sizeof broken, 1, config, NULL) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_engine_serve(engine, TEXT("a@b@c/"), 1, config, &text) == PAM_PPS_RESULT_INVALID_ARGUMENT);
    EXPECT(text != NULL);
    pam_pps_text_free(text);
    text = NULL;
    for (uint32_t kind = 0; kind < 200; kind++) {
        if (kind < 1 || kind > 3) {
            EXPECT(pam_pps_engine_serve(engine, TEXT("b.example"), kind, config, NULL) == PAM_PPS_RESULT_INVALID_ARGUMENT);
        }
        if (kind < 1 || kind > 4) {
            EXPECT(pam_pps_engine_features(engine, TEXT("a.example"), kind, &text) == PAM_PPS_RESULT_INVALID_ARGUMENT);
        }
        if (kind < 1 || kind > 8) {
            EXPECT(pam_pps_input_new(kind, TEXT("x")) == NULL);
        }
        if (kind < 1 || kind > 5 || kind == PAM_PPS_NEED_ROSTER) {
            EXPECT(pam_pps_input_fact_bool(input, kind, TEXT("a@b"), NULL, 0, true) == PAM_PPS_RESULT_INVALID_ARGUMENT);
        }
        if (kind > 3) {
            EXPECT(pam_pps_input_fact_roster(input, TEXT("a@b"), TEXT("c@d"), kind, NULL, 0) == PAM_PPS_RESULT_INVALID_ARGUMENT);
        }
    }
    EXPECT(pam_pps_input_new(UINT32_MAX, TEXT("x")) == NULL);
    EXPECT(pam_pps_engine_features(engine, TEXT("b.example"), 1, &text) == PAM_PPS_RESULT_INVALID_ARGUMENT && text == NULL);
    EXPECT(pam_pps_engine_unserve(engine, broken, sizeof broken) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_engine_unserve(engine, TEXT("nobody.example")) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_input_new(PAM_PPS_INPUT_STANZA, broken, sizeof broken) == NULL);
    EXPECT(pam_pps_input_set_extra(input, TEXT("x")) == PAM_PPS_RESULT_INVALID_ARGUMENT);
    EXPECT(pam_pps_input_fact_bool(input, 1, broken, sizeof broken, NULL, 0, true) == PAM_PPS_RESULT_INVALID_UTF8);
    pam_pps_slice group = {broken, sizeof broken};
    EXPECT(pam_pps_input_fact_roster(input, TEXT("a@b"), TEXT("c@d"), 1, &group, 1) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_input_fact_room_info(input, TEXT("a@b"), TEXT("c"), broken, sizeof broken, NULL, 0) ==
           PAM_PPS_RESULT_INVALID_UTF8);
    pam_pps_input_free(input);

    input = pam_pps_input_new(PAM_PPS_INPUT_ROSTER_CHANGED, TEXT("juliet@a.example"));
    EXPECT(pam_pps_input_set_extra(input, broken, sizeof broken) == PAM_PPS_RESULT_INVALID_UTF8);
    EXPECT(pam_pps_input_set_extra(input, TEXT("romeo@a.example")) == PAM_PPS_RESULT_OK);
    pam_pps_input_free(input);

    /* Inputs that make no sense: an error or an empty outcome, never anything else. */
    static const struct {
        uint32_t kind;
        const char *data;
    } senseless[] = {
        {1, ""}, {1, "<"}, {1, "<iq/>"}, {1, "<iq from='a@a.example/r'/>"}, {1, "<message from='@' to='a.example'/>"},
        {1, "<!DOCTYPE a><a/>"}, {1, "<presence from='x@y/z' to='w@elsewhere.example'/>"}, {3, ""}, {3, "@@"}, {3, "a.example"},
        {4, ""}, {4, "nobody@nowhere.example"}, {4, "@"}, {5, ""}, {5, "juliet@a.example"}, {6, ""}, {6, "<import/>"},
        {6, "<import xmlns='urn:pam_pps:import:1' service='x'/>"}, {7, ""}, {7, "nonsense"}, {7, "list-nodes"},
        {7, "delete-node juliet@a.example"}, {8, ""}, {8, "@"}, {8, "juliet@a.example"}, {8, "nobody@nowhere.example"}, {7, "list-nodes \xC3\xA9"},
    };
    for (size_t i = 0; i < sizeof senseless / sizeof senseless[0]; i++) {
        outcome = NULL;
        input = pam_pps_input_new(senseless[i].kind, (const uint8_t *)senseless[i].data, strlen(senseless[i].data));
        pam_pps_result result = pam_pps_engine_handle(engine, now, input, &outcome);
        EXPECT(result == PAM_PPS_RESULT_OK || result == PAM_PPS_RESULT_INVALID_ARGUMENT);
        EXPECT((result == PAM_PPS_RESULT_OK) == (outcome != NULL));
        pam_pps_outcome_free(outcome);
        pam_pps_input_free(input);
    }
    pam_pps_config_free(config);
    pam_pps_engine_free(engine);
}

static void out_of_range(void) {
    pam_pps_engine *engine = open_engine("memory", NULL, NULL);
    pam_pps_outcome *outcome = NULL;
    pam_pps_text *text = NULL;
    pam_pps_input *input = publish("juliet", "n", 1);
    EXPECT(pam_pps_engine_handle(engine, now, input, &outcome) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_outcome_count(outcome) == 1 && pam_pps_outcome_kind(outcome, 0) == PAM_PPS_DECISION_ROUTE);
    EXPECT(contains(pam_pps_outcome_stanza(outcome, 0), "type='result'"));
    EXPECT(pam_pps_outcome_take_input(outcome) == NULL);
    static const size_t places[] = {0, 1, 2, 1000, SIZE_MAX / 2, SIZE_MAX};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        size_t place = places[i];
        EXPECT(place == 0 || (pam_pps_outcome_kind(outcome, place) == 0 && empty(pam_pps_outcome_stanza(outcome, place))));
        EXPECT(empty(pam_pps_outcome_stanza_id(outcome, place)) && empty(pam_pps_outcome_event(outcome, place)));
        EXPECT(empty(pam_pps_outcome_jid(outcome, place)) && empty(pam_pps_outcome_other_jid(outcome, place)));
        EXPECT(empty(pam_pps_outcome_node(outcome, place)) && empty(pam_pps_outcome_item(outcome, place)));
        EXPECT(pam_pps_outcome_recipient_count(outcome, place) == 0 && pam_pps_outcome_time(outcome, place) == 0);
        EXPECT(empty(pam_pps_outcome_recipient(outcome, place, place)) && pam_pps_outcome_need_kind(outcome, place) == 0);
    }
    pam_pps_outcome_free(outcome);
    pam_pps_input_free(input);

    /* An outcome of handle has no input to take: the caller never lost it. */
    input = curious();
    EXPECT(pam_pps_engine_handle(engine, now, input, &outcome) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_outcome_kind(outcome, 0) == PAM_PPS_DECISION_NEED && pam_pps_outcome_take_input(outcome) == NULL);
    pam_pps_outcome_free(outcome);
    pam_pps_input_free(input);

    EXPECT(pam_pps_engine_statistics(engine, &text) == PAM_PPS_RESULT_OK);
    EXPECT(contains(pam_pps_text_slice(text), "inputs_total "));
    pam_pps_text_free(text);
    EXPECT(pam_pps_engine_features(engine, TEXT("a.example"), 1, &text) == PAM_PPS_RESULT_OK);
    EXPECT(contains(pam_pps_text_slice(text), "identity\tpubsub\tpep\t"));
    pam_pps_text_free(text);
    pam_pps_engine_free(engine);
}

/* ---- The queue ---- */

/* Two threads at once, to the same service: all are completed, and those of each thread in the order of the thread. */
struct sender {
    pam_pps_engine *engine;
    struct seen *seen;
    size_t sent;
    size_t completed;
};

struct ticket {
    struct sender *sender;
    size_t number;
};

static void in_order(void *user, pam_pps_outcome *outcome) {
    struct ticket *ticket = user;
    struct sender *sender = ticket->sender;
    EXPECT(ticket->number == sender->completed);
    EXPECT(pam_pps_outcome_count(outcome) > 0 && contains(pam_pps_outcome_stanza(outcome, 0), "type='result'"));
    sender->completed++;
    free(ticket);
    done(sender->seen, outcome);
}

static void *send_many(void *user) {
    struct sender *sender = user;
    for (size_t i = 0; i < repeat; i++) {
        struct ticket *ticket = malloc(sizeof *ticket);
        *ticket = (struct ticket){sender, i};
        EXPECT(pam_pps_engine_submit(sender->engine, now, publish("juliet", "n", i), in_order, ticket) == PAM_PPS_RESULT_OK);
        sender->sent++;
    }
    return NULL;
}

static void two_threads(const char *database) {
    struct seen seen = SEEN;
    pam_pps_engine *engine = open_engine(database, NULL, NULL);
    struct sender senders[2] = {{engine, &seen, 0, 0}, {engine, &seen, 0, 0}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        EXPECT(pthread_create(&threads[i], NULL, send_many, &senders[i]) == 0);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    wait_for(&seen, 2 * repeat);
    pam_pps_engine_free(engine);
    EXPECT(seen.count == 2 * repeat && senders[0].completed == repeat && senders[1].completed == repeat);
}

/* What makes no sense has an outcome that says so; what is answered with an error stanza says nothing besides. */
static void wrong_inputs(void) {
    struct seen seen = SEEN;
    pam_pps_engine *engine = open_engine("memory", NULL, NULL);
    pam_pps_input *wrong[] = {
        pam_pps_input_new(PAM_PPS_INPUT_SESSION_ENDED, TEXT("no jid @ all")),
        pam_pps_input_new(PAM_PPS_INPUT_STANZA, TEXT("<message")),
        pam_pps_input_new(PAM_PPS_INPUT_STANZA, TEXT("<iq type='set' id='1' from='juliet@a.example/x'><pubsub "
            "xmlns='http://jabber.org/protocol/pubsub'><publish/></pubsub></iq>")),
    };
    const bool explained[] = {true, true, false};
    for (size_t i = 0; i < 3; i++) {
        EXPECT(pam_pps_engine_submit(engine, now, wrong[i], done, &seen) == PAM_PPS_RESULT_OK);
        wait_for(&seen, i + 1);
        EXPECT(seen.explained == explained[i] && !seen.needs && !seen.result);
    }
    pam_pps_engine_free(engine);
}

/* The host publishes as an account, whose node is made for it; what is no element is not taken. */
static void publish_as_a_service(void) {
    struct seen seen = SEEN;
    pam_pps_engine *engine = open_engine("memory", NULL, NULL);
    const char *const wrong[] = {"", "text", "<x/><y/>", "<x></x></item><item>", "<x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint8_t *payload = (const uint8_t *)wrong[i];
        EXPECT(pam_pps_input_new_publish(TEXT("juliet@a.example"), TEXT("n"), TEXT("i"), payload, strlen(wrong[i])) == NULL);
    }
    pam_pps_input *input = pam_pps_input_new_publish(TEXT("juliet@a.example"), TEXT("it's <n>"), TEXT("a&b"), TEXT("<x xmlns='urn:x'/>"));
    EXPECT(pam_pps_engine_submit(engine, now, input, done, &seen) == PAM_PPS_RESULT_OK);
    wait_for(&seen, 1);
    if (seen.needs) {
        input = seen.taken;
        seen.taken = NULL;
        EXPECT(pam_pps_input_fact_bool(input, PAM_PPS_NEED_ACCOUNT, TEXT("juliet@a.example"), NULL, 0, true) == PAM_PPS_RESULT_OK);
        EXPECT(pam_pps_engine_submit(engine, now, input, done, &seen) == PAM_PPS_RESULT_OK);
        wait_for(&seen, 2);
    }
    EXPECT(seen.result);
    pam_pps_engine_free(engine);
}

/* What is queued when the engine is freed is finished first, each input once. */
static void free_with_a_full_queue(const char *database) {
    struct seen seen = SEEN;
    pam_pps_engine *engine = open_engine(database, NULL, NULL);
    for (size_t i = 0; i < repeat; i++) {
        EXPECT(pam_pps_engine_submit(engine, now, publish(i % 2 ? "juliet" : "romeo", "n", i), done, &seen) == PAM_PPS_RESULT_OK);
    }
    pam_pps_engine_free(engine);
    EXPECT(seen.count == repeat);
}

/* The same, with a lane in the queue that waits for facts which nobody will ever give. */
static void free_with_a_waiting_lane(bool at_once) {
    struct seen first = SEEN, rest = SEEN;
    pam_pps_engine *engine = open_engine("memory", NULL, NULL);
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 0), done, &rest) == PAM_PPS_RESULT_OK);
    wait_for(&rest, 1);
    first.hold = !at_once;
    EXPECT(pam_pps_engine_submit(engine, now, curious(), done, &first) == PAM_PPS_RESULT_OK);
    if (!at_once) {
        wait_for(&first, 1);
    }
    for (size_t i = 1; i < repeat; i++) {
        EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", i), done, &rest) == PAM_PPS_RESULT_OK);
    }
    pthread_mutex_lock(&first.lock);
    first.hold = false;
    pthread_cond_broadcast(&first.more);
    pthread_mutex_unlock(&first.lock);
    pam_pps_engine_free(engine);
    EXPECT(first.count == 1 && first.needs && first.taken != NULL);
    EXPECT(rest.count == repeat);
    /* An input outlives its engine without harm. */
    pam_pps_input_free(first.taken);
}

/*
 * The same, but the engine is being freed when the lane begins to wait: a completion keeps the engine's thread until no more
 * is taken, which only the freeing does.
 */
struct closing {
    pam_pps_engine *engine;
    struct seen *ticks;
    size_t submitted;
};

static void until_closed(void *user, pam_pps_outcome *outcome) {
    struct closing *closing = user;
    pam_pps_result result;
    pam_pps_outcome_free(outcome);
    do {
        result = pam_pps_engine_submit(closing->engine, now, pam_pps_input_new(PAM_PPS_INPUT_TICK, NULL, 0), done, closing->ticks);
        closing->submitted += result == PAM_PPS_RESULT_OK;
    } while (result == PAM_PPS_RESULT_OK || result == PAM_PPS_RESULT_BUSY);
    EXPECT(result == PAM_PPS_RESULT_CLOSED);
}

static void free_with_a_lane_that_comes_to_wait(void) {
    struct seen first = SEEN, rest = SEEN, ticks = SEEN;
    struct closing closing = {open_engine("memory", "max_queue", "64"), &ticks, 0};
    EXPECT(pam_pps_engine_submit(closing.engine, now, publish("juliet", "n", 0), done, &rest) == PAM_PPS_RESULT_OK);
    wait_for(&rest, 1);
    first.hold = true;
    EXPECT(pam_pps_engine_submit(closing.engine, now, publish("romeo", "n", 0), done, &first) == PAM_PPS_RESULT_OK);
    wait_for(&first, 1);
    EXPECT(pam_pps_engine_submit(closing.engine, now, publish("romeo", "n", 1), until_closed, &closing) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_engine_submit(closing.engine, now, curious(), done, &first) == PAM_PPS_RESULT_OK);
    for (size_t i = 1; i < 10; i++) {
        EXPECT(pam_pps_engine_submit(closing.engine, now, publish("juliet", "n", i), done, &rest) == PAM_PPS_RESULT_OK);
    }
    pthread_mutex_lock(&first.lock);
    first.hold = false;
    pthread_cond_broadcast(&first.more);
    pthread_mutex_unlock(&first.lock);
    pam_pps_engine_free(closing.engine);
    EXPECT(first.count == 2 && first.needs && first.taken != NULL);
    EXPECT(rest.count == 10);
    EXPECT(ticks.count == closing.submitted);
    pam_pps_input_free(first.taken);
}

/* An input that needs facts holds up its own lane and no other, until it is answered or given up. */
static void waiting_lane(bool give_up) {
    struct seen first = SEEN, second = SEEN, other = SEEN;
    pam_pps_engine *engine = open_engine("memory", NULL, NULL);
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 0), done, &other) == PAM_PPS_RESULT_OK);
    wait_for(&other, 1);
    EXPECT(pam_pps_engine_submit(engine, now, curious(), done, &first) == PAM_PPS_RESULT_OK);
    wait_for(&first, 1);
    EXPECT(first.needs && first.taken != NULL);
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 1), done, &second) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_engine_submit(engine, now, publish("romeo", "n", 1), done, &other) == PAM_PPS_RESULT_OK);
    wait_for(&other, 2);
    EXPECT(count_of(&second) == 0);

    /* handle does not wait for a lane: a host with one thread would wait for itself. */
    pam_pps_outcome *outcome = NULL;
    pam_pps_input *input = publish("juliet", "n", 2);
    EXPECT(pam_pps_engine_handle(engine, now, input, &outcome) == PAM_PPS_RESULT_OK);
    pam_pps_outcome_free(outcome);
    pam_pps_input_free(input);

    pam_pps_input *taken = first.taken;
    first.taken = NULL;
    if (give_up) {
        pam_pps_input_free(taken);
    } else {
        /* Submitted without the facts it asks again, and the lane still waits. */
        EXPECT(pam_pps_engine_submit(engine, now, taken, done, &first) == PAM_PPS_RESULT_OK);
        wait_for(&first, 2);
        EXPECT(first.needs && first.taken != NULL);
        EXPECT(pam_pps_engine_submit(engine, now, publish("romeo", "n", 2), done, &other) == PAM_PPS_RESULT_OK);
        wait_for(&other, 3);
        EXPECT(count_of(&second) == 0);
        taken = first.taken;
        first.taken = NULL;
        pam_pps_slice group = {TEXT("friends")};
        EXPECT(pam_pps_input_fact_roster(taken, TEXT("juliet@a.example"), TEXT("mercutio@a.example"), PAM_PPS_ROSTER_BOTH, &group, 1) == 0);
        EXPECT(pam_pps_input_fact_bool(taken, PAM_PPS_NEED_BLOCKED, TEXT("juliet@a.example"), TEXT("mercutio@a.example"), false) == 0);
        EXPECT(pam_pps_engine_submit(engine, now, taken, done, &first) == PAM_PPS_RESULT_OK);
        wait_for(&first, 3);
        EXPECT(!first.needs && first.result);
    }
    wait_for(&second, 1);
    pam_pps_engine_free(engine);
    EXPECT(second.result && first.taken == NULL && second.count == 1);
}

/* A full queue says so, and takes the input all the same. */
static void busy(void) {
    struct seen gate = SEEN, seen = SEEN;
    pam_pps_engine *engine = open_engine("memory", "max_queue", "16");
    gate.hold = true;
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 0), done, &gate) == PAM_PPS_RESULT_OK);
    wait_for(&gate, 1);
    size_t taken = 0;
    pam_pps_result result = PAM_PPS_RESULT_OK;
    while (taken < 1000 && result == PAM_PPS_RESULT_OK) {
        result = pam_pps_engine_submit(engine, now, publish("juliet", "n", taken), done, &seen);
        taken += result == PAM_PPS_RESULT_OK;
    }
    EXPECT(result == PAM_PPS_RESULT_BUSY && taken == 16);
    pthread_mutex_lock(&gate.lock);
    gate.hold = false;
    pthread_cond_broadcast(&gate.more);
    pthread_mutex_unlock(&gate.lock);
    wait_for(&seen, taken);
    EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "n", 1), done, &seen) == PAM_PPS_RESULT_OK);
    pam_pps_engine_free(engine);
    EXPECT(seen.count == taken + 1);
}

/* A completion may submit: one input after the other, from the engine's own thread. */
struct chain {
    pam_pps_engine *engine;
    struct seen *seen;
    size_t left;
};

static void next_link(void *user, pam_pps_outcome *outcome) {
    struct chain *chain = user;
    if (chain->left > 0) {
        chain->left--;
        EXPECT(pam_pps_engine_submit(chain->engine, now, publish("juliet", "n", chain->left), next_link, chain) == PAM_PPS_RESULT_OK);
    }
    done(chain->seen, outcome);
}

static void submit_in_a_completion(void) {
    struct seen seen = SEEN;
    struct chain chain = {open_engine("memory", NULL, NULL), &seen, repeat};
    EXPECT(pam_pps_engine_submit(chain.engine, now, publish("juliet", "n", 0), next_link, &chain) == PAM_PPS_RESULT_OK);
    wait_for(&seen, repeat + 1);
    pam_pps_engine_free(chain.engine);
}

/* ---- What is left behind ---- */

static size_t entries(const char *path) {
    size_t count = 0;
    DIR *directory = opendir(path);
    EXPECT(directory != NULL);
    while (directory != NULL && readdir(directory) != NULL) {
        count++;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

static void again_and_again(const char *database) {
    size_t threads = 0, descriptors = 0;
    for (size_t i = 0; i < repeat; i++) {
        struct seen seen = SEEN;
        pam_pps_engine *engine = open_engine(database, NULL, NULL);
        EXPECT(pam_pps_engine_submit(engine, now, publish("juliet", "again", i), done, &seen) == PAM_PPS_RESULT_OK);
        EXPECT(i % 2 == 0 || pam_pps_engine_unserve(engine, TEXT("pubsub.a.example")) == PAM_PPS_RESULT_OK);
        pam_pps_engine_free(engine);
        EXPECT(seen.count == 1 && seen.result);
        if (i == 0) {
            threads = entries("/proc/self/task");
            descriptors = entries("/proc/self/fd");
        }
    }
    EXPECT(entries("/proc/self/task") == threads);
    EXPECT(entries("/proc/self/fd") == descriptors);
}

static void log_line(void *user, uint32_t level, pam_pps_slice message) {
    *(size_t *)user += level > 0 && level < 5 && message.len > 0;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fputs("usage: misuse FOLDER REPEAT\n", stderr);
        return 2;
    }
    folder = argv[1];
    repeat = (size_t)strtoul(argv[2], NULL, 10);
    char database[4096];
    snprintf(database, sizeof database, "%s/engine.sqlite", folder);

    size_t lines = 0;
    EXPECT(pam_pps_log_sink(log_line, &lines) == PAM_PPS_RESULT_OK);
    EXPECT(pam_pps_version_number() == PAM_PPS_VERSION_NUMBER);
    EXPECT(pam_pps_version().len == strlen(PAM_PPS_VERSION));
    nothing_at_all();
    wrong_values();
    out_of_range();
    two_threads("memory");
    two_threads(database);
    wrong_inputs();
    publish_as_a_service();
    free_with_a_full_queue("memory");
    free_with_a_full_queue(database);
    free_with_a_waiting_lane(true);
    free_with_a_waiting_lane(false);
    free_with_a_lane_that_comes_to_wait();
    waiting_lane(true);
    waiting_lane(false);
    busy();
    submit_in_a_completion();
    again_and_again(database);
    EXPECT(pam_pps_log_sink(NULL, NULL) == PAM_PPS_RESULT_OK);
    puts(failures == 0 ? "misuse: all as the header says" : "misuse: not all as the header says");
    return failures == 0 ? 0 : 1;
}
