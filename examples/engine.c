/*
 * A small host for the engine, complete but for the network: it has accounts, rosters and clients that are online, tells the
 * engine what happens, and does what the engine decides. A server does the same with real connections.
 *
 *     cargo build --release
 *     gcc -std=c11 -I include -o engine examples/engine.c -L target/release -lpam_pps -pthread
 *     ln -s libpam_pps.so target/release/libpam_pps.so.0.1      # programs ask for the library by its SONAME
 *     LD_LIBRARY_PATH=target/release ./engine [database]
 *
 * It plays: Juliet writes a blog, Romeo follows it in public through his account (XEP-0376, XEP-0465), her post reaches both
 * of his devices, Mercutio reads who follows whom, and an hour later the posts expire. Exit code 0: it all went as told.
 */
#define _POSIX_C_SOURCE 200809L

#include <pam_pps.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "verona.example"
#define PUBSUB "pubsub.verona.example"
#define BLOG "urn:xmpp:microblog:0"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- What the host knows: a server has this in its databases. ---- */

static const struct {
    const char *jid;
    bool admin;
} accounts[] = {
    {"romeo@" HOST, false},
    {"juliet@" HOST, false},
    {"mercutio@" HOST, false},
    {"escalus@" HOST, true},
};

/* How each owner's roster has a contact: FROM means that the contact sees the owner's presence. */
static const struct {
    const char *owner, *contact, *group;
    uint32_t subscription;
} rosters[] = {
    {"romeo@" HOST, "juliet@" HOST, "Beloved", PAM_PPS_ROSTER_BOTH},
    {"juliet@" HOST, "romeo@" HOST, "Beloved", PAM_PPS_ROSTER_BOTH},
    {"romeo@" HOST, "mercutio@" HOST, "Friends", PAM_PPS_ROSTER_FROM},
};

/* Clients that are online, with what has been delivered to each since the last step. */
static struct client {
    const char *jid;
    char *inbox[32];
    size_t count;
} clients[] = {
    {.jid = "juliet@" HOST "/balcony"},
    {.jid = "romeo@" HOST "/laptop"},
    {.jid = "romeo@" HOST "/phone"},
    {.jid = "mercutio@" HOST "/street"},
};

static pam_pps_engine *engine;
/* The host's clock: microseconds since 1970. The engine has none; it is told the time with every input. */
static int64_t now = INT64_C(1700000000000000);
/* When the engine wants to be called next; 0 if never. */
static int64_t wake_at;
static bool failed;

/* ---- Text: the engine's is a pointer and a length, never ended by NUL. ---- */

static const uint8_t *bytes(const char *text) {
    return (const uint8_t *)text;
}

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* A copy that lives longer than the outcome it came from. */
static char *copy(pam_pps_slice slice) {
    char *text = must(malloc(slice.len + 1));
    if (slice.len > 0) {
        memcpy(text, slice.data, slice.len);
    }
    text[slice.len] = '\0';
    return text;
}

static bool is(pam_pps_slice slice, const char *text) {
    return slice.len == strlen(text) && (slice.len == 0 || memcmp(slice.data, text, slice.len) == 0);
}

static char *format(const char *pattern, ...) {
    va_list arguments;
    va_start(arguments, pattern);
    int length = vsnprintf(NULL, 0, pattern, arguments);
    va_end(arguments);
    char *text = must(malloc((size_t)length + 1));
    va_start(arguments, pattern);
    vsnprintf(text, (size_t)length + 1, pattern, arguments);
    va_end(arguments);
    return text;
}

static void check(const char *what, pam_pps_result result, pam_pps_text *why) {
    if (result != PAM_PPS_RESULT_OK) {
        /* A text that the library gave is read as a slice and given back to the library. */
        pam_pps_slice text = pam_pps_text_slice(why);
        fprintf(stderr, "%s: result %u: %.*s\n", what, (unsigned)result, (int)text.len, (const char *)text.data);
        pam_pps_text_free(why);
        exit(2);
    }
}

/* ---- The way in, and the way back: completions come on threads of the engine's, the host works on its own. ---- */

/* An input from its submission until its outcome has been carried out. */
struct job {
    /* The stanza, if the input was one: the host needs it again if the engine leaves it to the host. */
    char *stanza;
    pam_pps_outcome *outcome;
    struct job *next;
};

/* Jobs whose outcome has come, first in, first out. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, **last;
} completed = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &completed.first};

/* Jobs that were submitted and are not carried out yet. Only the host's own thread counts them. */
static size_t under_way;

/*
 * The only function of the host that the engine calls, on a thread of the engine's: it does as little as it can. A server with
 * an event loop writes a byte to a pipe here, so that the loop wakes up.
 */
static void done(void *user, pam_pps_outcome *outcome) {
    struct job *job = user;
    job->outcome = outcome;
    job->next = NULL;
    pthread_mutex_lock(&completed.lock);
    *completed.last = job;
    completed.last = &job->next;
    pthread_cond_signal(&completed.more);
    pthread_mutex_unlock(&completed.lock);
}

static struct job *next_job(void) {
    pthread_mutex_lock(&completed.lock);
    while (completed.first == NULL) {
        pthread_cond_wait(&completed.more, &completed.lock);
    }
    struct job *job = completed.first;
    completed.first = job->next;
    if (completed.first == NULL) {
        completed.last = &completed.first;
    }
    pthread_mutex_unlock(&completed.lock);
    return job;
}

static void submit(pam_pps_input *input, struct job *job) {
    /* From here on the input is the engine's. A server answers PAM_PPS_RESULT_BUSY with an error to the sender. */
    check("submit", pam_pps_engine_submit(engine, now, input, done, job), NULL);
    under_way++;
}

static void tell(uint32_t kind, const char *data) {
    struct job *job = must(calloc(1, sizeof *job));
    if (kind == PAM_PPS_INPUT_STANZA) {
        job->stanza = format("%s", data);
    }
    submit(must(pam_pps_input_new(kind, bytes(data), strlen(data))), job);
}

/* ---- What the engine decides. ---- */

/* The value of an attribute of a stanza's first tag, NULL if it has none. A server has a parser. */
static char *attribute(const char *stanza, const char *name) {
    size_t tag = strcspn(stanza, ">");
    for (const char *at = stanza; (at = strchr(at, ' ')) != NULL && (size_t)(at - stanza) < tag; at++) {
        size_t length = strlen(name);
        if (strncmp(at + 1, name, length) == 0 && at[length + 1] == '=') {
            const char *value = at + length + 3;
            return copy((pam_pps_slice){bytes(value), strcspn(value, (char[]){value[-1], '\0'})});
        }
    }
    return NULL;
}

static void deliver(struct client *client, const char *stanza) {
    printf("  -> %s: %s\n", client->jid, stanza);
    if (client->count < COUNT(client->inbox)) {
        client->inbox[client->count++] = copy((pam_pps_slice){bytes(stanza), strlen(stanza)});
    }
}

/*
 * Routes a stanza as a server does: to a client that is online; to the engine if it is for a bare JID, the domain or the
 * component; other domains would be reached over a connection between servers.
 */
static void route(const char *stanza) {
    char *to = attribute(stanza, "to");
    if (to == NULL) {
        printf("  a stanza to nobody: %s\n", stanza);
        failed = true;
        return;
    }
    for (size_t i = 0; i < COUNT(clients); i++) {
        if (strcmp(clients[i].jid, to) == 0) {
            deliver(&clients[i], stanza);
            free(to);
            return;
        }
    }
    const char *at = strchr(to, '@');
    const char *domain = at == NULL ? to : at + 1;
    if (strcmp(domain, HOST) == 0 || strcmp(domain, PUBSUB) == 0) {
        tell(PAM_PPS_INPUT_STANZA, stanza);
    } else {
        printf("  -> %s is out of reach: %s\n", to, stanza);
    }
    free(to);
}

/* One stanza for many: only `to` and `id` differ, so that the engine writes it once however many there are. */
static void multicast(const pam_pps_outcome *outcome, size_t place) {
    char *stanza = copy(pam_pps_outcome_stanza(outcome, place));
    char *id = copy(pam_pps_outcome_stanza_id(outcome, place));
    size_t name = strcspn(stanza, " />");
    for (size_t k = 0; k < pam_pps_outcome_recipient_count(outcome, place); k++) {
        char *to = copy(pam_pps_outcome_recipient(outcome, place, k));
        char *stamped = format("%.*s to='%s' id='%s-%zu'%s", (int)name, stanza, to, id, k, stanza + name);
        route(stamped);
        free(stamped);
        free(to);
    }
    free(stanza);
    free(id);
}

static uint32_t roster(pam_pps_slice owner, pam_pps_slice contact, const char **group) {
    for (size_t i = 0; i < COUNT(rosters); i++) {
        if (is(owner, rosters[i].owner) && is(contact, rosters[i].contact)) {
            *group = rosters[i].group;
            return rosters[i].subscription;
        }
    }
    return PAM_PPS_ROSTER_NONE;
}

/* Adds to the input the fact that the engine asked for. */
static void answer(pam_pps_input *input, const pam_pps_outcome *outcome, size_t place) {
    uint32_t need = pam_pps_outcome_need_kind(outcome, place);
    pam_pps_slice jid = pam_pps_outcome_jid(outcome, place);
    pam_pps_slice other = pam_pps_outcome_other_jid(outcome, place);
    if (need == PAM_PPS_NEED_ROSTER) {
        const char *name = NULL;
        uint32_t subscription = roster(jid, other, &name);
        pam_pps_slice group = {name == NULL ? NULL : bytes(name), name == NULL ? 0 : strlen(name)};
        pam_pps_result result = pam_pps_input_fact_roster(input, jid.data, jid.len, other.data, other.len, subscription,
                                                          &group, name == NULL ? 0 : 1);
        check("fact_roster", result, NULL);
        return;
    }
    bool value = false;
    switch (need) {
    case PAM_PPS_NEED_ACCOUNT:
    case PAM_PPS_NEED_ADMIN:
        for (size_t i = 0; i < COUNT(accounts); i++) {
            value = value || (is(jid, accounts[i].jid) && (need == PAM_PPS_NEED_ACCOUNT || accounts[i].admin));
        }
        break;
    case PAM_PPS_NEED_IMPORT: /* There never was another module. */
        value = true;
        break;
    default: /* Nobody blocks anybody in Verona. */
        break;
    }
    check("fact_bool", pam_pps_input_fact_bool(input, need, jid.data, jid.len, other.data, other.len, value), NULL);
}

/*
 * What the engine is not interested in, or only looked at, goes its usual way (RFC 6121): presence to those who may see it, a
 * message to all clients of the account, and a request that nobody understands comes back as an error.
 */
static void pass(const char *stanza) {
    if (stanza == NULL) {
        return;
    }
    char *from = attribute(stanza, "from"), *to = attribute(stanza, "to"), *type = attribute(stanza, "type");
    size_t name = strcspn(stanza, " />");
    if (to == NULL && strncmp(stanza, "<presence", name) == 0) {
        for (size_t i = 0; i < COUNT(rosters); i++) {
            bool own = strncmp(rosters[i].owner, from, strcspn(from, "/")) == 0;
            if (own && (rosters[i].subscription & PAM_PPS_ROSTER_FROM) != 0) {
                char *copied = format("%.*s to='%s'%s", (int)name, stanza, rosters[i].contact, stanza + name);
                route(copied);
                free(copied);
            }
        }
    } else if (strncmp(stanza, "<iq", name) != 0) {
        for (size_t i = 0; i < COUNT(clients); i++) {
            if (to != NULL && strcspn(clients[i].jid, "/") == strlen(to) && strncmp(clients[i].jid, to, strlen(to)) == 0) {
                deliver(&clients[i], stanza);
            }
        }
    } else if (type != NULL && (strcmp(type, "get") == 0 || strcmp(type, "set") == 0)) {
        char *id = attribute(stanza, "id");
        char *error = format("<iq type='error' id='%s' from='%.*s' to='%s'><error type='cancel'><service-unavailable "
                             "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
                             id == NULL ? "" : id, (int)strcspn(to == NULL ? from : to, "/"), to == NULL ? from : to, from);
        route(error);
        free(error);
        free(id);
    }
    free(from);
    free(to);
    free(type);
}

/* Carries out all decisions of an outcome, in their order. */
static void carry_out(struct job *job) {
    pam_pps_outcome *outcome = job->outcome;
    /* Needs: nothing has happened yet. All facts are added, and the very same input goes in again. */
    pam_pps_input *again = pam_pps_outcome_take_input(outcome);
    for (size_t i = 0; i < pam_pps_outcome_count(outcome); i++) {
        switch (pam_pps_outcome_kind(outcome, i)) {
        case PAM_PPS_DECISION_PASS:
            pass(job->stanza);
            break;
        case PAM_PPS_DECISION_ROUTE: {
            char *stanza = copy(pam_pps_outcome_stanza(outcome, i));
            route(stanza);
            free(stanza);
            break;
        }
        case PAM_PPS_DECISION_MULTICAST:
            multicast(outcome, i);
            break;
        case PAM_PPS_DECISION_NEED:
            answer(again, outcome, i);
            break;
        case PAM_PPS_DECISION_WAKE: {
            int64_t time = pam_pps_outcome_time(outcome, i);
            wake_at = wake_at == 0 || time < wake_at ? time : wake_at;
            break;
        }
        default: /* Events are for modules of the host, replies for commands; later versions may add more. */
            break;
        }
    }
    pam_pps_outcome_free(outcome);
    if (again != NULL) {
        submit(again, job);
    } else {
        free(job->stanza);
        free(job);
    }
}

/* The host's loop, until nothing is under way any more. */
static void run(void) {
    while (under_way > 0) {
        struct job *job = next_job();
        under_way--;
        carry_out(job);
    }
}

/* ---- The play. ---- */

static void step(const char *what) {
    printf("\n%s\n", what);
    for (size_t i = 0; i < COUNT(clients); i++) {
        while (clients[i].count > 0) {
            free(clients[i].inbox[--clients[i].count]);
        }
    }
    now += 1000000;
}

/* A client sends a stanza. A server adds `from`, the full JID of the client, before anybody else sees it. */
static void sends(const char *client, const char *stanza) {
    size_t name = strcspn(stanza, " />");
    char *stamped = format("%.*s from='%s'%s", (int)name, stanza, client, stanza + name);
    tell(PAM_PPS_INPUT_STANZA, stamped);
    free(stamped);
    run();
}

/* Fails unless the client has received, in this step, a stanza with all of these texts (the list ends with NULL). */
static void receives(const char *jid, ...) {
    for (size_t i = 0; i < COUNT(clients); i++) {
        for (size_t k = 0; strcmp(clients[i].jid, jid) == 0 && k < clients[i].count; k++) {
            va_list texts;
            bool all = true;
            va_start(texts, jid);
            for (const char *text; (text = va_arg(texts, const char *)) != NULL;) {
                all = all && strstr(clients[i].inbox[k], text) != NULL;
            }
            va_end(texts);
            if (all) {
                return;
            }
        }
    }
    printf("  !! %s did not receive what it should have\n", jid);
    failed = true;
}

static void set(pam_pps_config *config, const char *key, const char *value) {
    pam_pps_text *why = NULL;
    check(key, pam_pps_config_set(config, bytes(key), strlen(key), bytes(value), strlen(value), &why), why);
}

static void serve(const char *domain, uint32_t kind, const char *name) {
    pam_pps_text *why = NULL;
    pam_pps_config *options = must(pam_pps_config_new());
    set(options, "name", name);
    check("serve", pam_pps_engine_serve(engine, bytes(domain), strlen(domain), kind, options, &why), why);
    pam_pps_config_free(options);
}

static void log_line(void *user, uint32_t level, pam_pps_slice message) {
    (void)user;
    fprintf(stderr, "[%u] %.*s\n", (unsigned)level, (int)message.len, (const char *)message.data);
}

static void play(void) {
    step("Everybody comes online.");
    for (size_t i = 0; i < COUNT(clients); i++) {
        sends(clients[i].jid, "<presence/>");
    }

    step("Juliet writes the first post of a blog that anybody may read, and whose posts last an hour.");
    sends("juliet@" HOST "/balcony",
          "<iq type='set' id='p1'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
          "<publish node='" BLOG "'><item id='first'>"
          "<entry xmlns='http://www.w3.org/2005/Atom'><title>Good night</title></entry></item></publish>"
          "<publish-options><x xmlns='jabber:x:data' type='submit'>"
          "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
          "<field var='pubsub#access_model'><value>open</value></field>"
          "<field var='pubsub#max_items'><value>10</value></field>"
          "<field var='pubsub#send_last_published_item'><value>never</value></field>"
          "<field var='pubsub#item_expire'><value>3600</value></field>"
          "</x></publish-options></pubsub></iq>");
    receives("juliet@" HOST "/balcony", "type='result'", "id='p1'", NULL);

    step("Romeo's laptop asks his account to follow it, in public. Both of his devices learn of it.");
    sends("romeo@" HOST "/phone", "<iq type='get' id='l1'><subscriptions xmlns='urn:xmpp:pam:0'/></iq>");
    receives("romeo@" HOST "/phone", "type='result'", "id='l1'", NULL);
    sends("romeo@" HOST "/laptop",
          "<iq type='set' id='s1'><pam xmlns='urn:xmpp:pam:0' jid='juliet@" HOST "'>"
          "<subscribe xmlns='http://jabber.org/protocol/pubsub' node='" BLOG "' jid='romeo@" HOST "'>"
          "<public xmlns='urn:xmpp:pps:0'/></subscribe></pam></iq>");
    receives("romeo@" HOST "/laptop", "type='result'", "id='s1'", NULL);
    receives("romeo@" HOST "/laptop", "<notify", "urn:xmpp:pam:0", "subscription='subscribed'", NULL);
    receives("romeo@" HOST "/phone", "<notify", "urn:xmpp:pam:0", "subscription='subscribed'", NULL);

    step("Juliet's second post reaches both of Romeo's devices.");
    sends("juliet@" HOST "/balcony",
          "<iq type='set' id='p2'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
          "<publish node='" BLOG "'><item id='second'>"
          "<entry xmlns='http://www.w3.org/2005/Atom'><title>Parting</title></entry></item></publish></pubsub></iq>");
    receives("juliet@" HOST "/balcony", "type='result'", "id='p2'", NULL);
    receives("romeo@" HOST "/laptop", "from='juliet@" HOST "'", "id='second'", "<title>Parting</title>", NULL);
    receives("romeo@" HOST "/phone", "from='juliet@" HOST "'", "id='second'", "<title>Parting</title>", NULL);

    step("Mercutio reads whom Romeo follows, and who follows Juliet's blog.");
    sends("mercutio@" HOST "/street",
          "<iq type='get' id='m1' to='romeo@" HOST "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
          "<items node='urn:xmpp:pps:subscriptions:0'/></pubsub></iq>");
    receives("mercutio@" HOST "/street", "id='m1'", "node='" BLOG "'", "jid='juliet@" HOST "'", NULL);
    sends("mercutio@" HOST "/street",
          "<iq type='get' id='m2' to='juliet@" HOST "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
          "<items node='urn:xmpp:pps:subscribers:0/" BLOG "'/></pubsub></iq>");
    receives("mercutio@" HOST "/street", "id='m2'", "<subscriber", "jid='romeo@" HOST "'", NULL);

    step("An hour passes, and the engine is woken whenever it asked for it: the posts expire.");
    if (wake_at <= now) {
        printf("  !! the engine did not ask\n");
        failed = true;
    }
    const int64_t later = now + INT64_C(3700) * 1000000;
    while (wake_at != 0 && wake_at <= later) {
        now = wake_at;
        wake_at = 0;
        tell(PAM_PPS_INPUT_TICK, "");
        run();
    }
    now = later;
    sends("mercutio@" HOST "/street",
          "<iq type='get' id='m3' to='juliet@" HOST "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
          "<items node='" BLOG "'/></pubsub></iq>");
    receives("mercutio@" HOST "/street", "id='m3'", "type='result'", "<items node='" BLOG "'/>", NULL);
}

int main(int argc, char **argv) {
    /* The library may be newer than the header, as long as its ABI is the same. */
    uint32_t found = pam_pps_version_number();
    if (found < PAM_PPS_VERSION_NUMBER || found >> 8 != PAM_PPS_VERSION_NUMBER >> 8) {
        fputs("libpam_pps.so is not of the version of pam_pps.h\n", stderr);
        return 2;
    }
    check("log_sink", pam_pps_log_sink(log_line, NULL), NULL);

    pam_pps_text *why = NULL;
    pam_pps_config *config = must(pam_pps_config_new());
    set(config, "database", argc > 1 ? argv[1] : "memory");
    check("open", pam_pps_engine_open(config, &engine, &why), why);
    pam_pps_config_free(config);
    serve(HOST, PAM_PPS_SERVICE_ACCOUNTS, "Verona");
    serve(PUBSUB, PAM_PPS_SERVICE_COMPONENT, "News of Verona");

    play();

    step("The end.");
    /* Finishes what is queued, ends the engine's threads, closes the store. */
    pam_pps_engine_free(engine);
    check("log_sink", pam_pps_log_sink(NULL, NULL), NULL);
    puts(failed ? "Not everything went as told." : "Everything went as told.");
    return failed ? 1 : 0;
}
