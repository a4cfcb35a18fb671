/* Many callers at once, with librelata on a libuv loop: 20 connections ask for
 * tickets_above_threshold of 50 representatives, ten loads each, so that every
 * representative is asked for four times. Then it asks for each once more, alone,
 * and compares. Prints what the daemon's counters say about the loads.
 *
 *   concurrent ADDRESS
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "relata.h"

enum { CONNECTIONS = 20, LOADS_EACH = 10, KEYS = 50, LOADS = CONNECTIONS * LOADS_EACH };

static const char resource[] = "representative";
static const char relationship[] = "tickets_above_threshold";

struct answer {
    unsigned key;
    unsigned tickets;
    int64_t ids; /* their sum */
};

static struct relata_async *connections[CONNECTIONS];
static struct answer answers[LOADS];
static unsigned ready_count, answered_count;

_Noreturn static void fail(const char *what, const struct relata_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    exit(1);
}

/* The params of one load: resource, keys, relationship. */
static struct relata_params *load_params(unsigned key)
{
    struct relata_params *params = relata_params_create();
    relata_params_string(params, resource);
    relata_params_array(params, 1);
    relata_params_integer(params, key);
    relata_params_string(params, relationship);
    return params;
}

/* The answer is a list with the tickets of each key, here of one. */
static void note(struct answer *answer, struct relata_value result)
{
    struct relata_value tickets = relata_value_at(result, 0);
    struct relata_cursor cursor = relata_items(tickets);
    for (struct relata_value ticket; relata_next(&cursor, &ticket);) {
        int64_t id = 0;
        relata_value_integer(relata_value_get(ticket, "id"), &id);
        answer->tickets++;
        answer->ids += id;
    }
}

/* --- All at once ------------------------------------------------------------ */

static void on_answer(void *data, struct relata_value result, const struct relata_error *error)
{
    if (error != NULL) {
        fail("load", error);
    }
    note(data, result);
    answered_count++;
    if (answered_count == LOADS) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            relata_async_close(connections[i], NULL, NULL);
        }
    }
}

static void send_loads(void)
{
    for (unsigned i = 0; i < LOADS; i++) {
        struct relata_error error;
        answers[i].key = 1 + i % KEYS;
        struct relata_params *params = load_params(answers[i].key);
        if (relata_async_call(connections[i % CONNECTIONS], "load", params, 0, on_answer,
                              &answers[i], &error) != 0) {
            fail("load", &error);
        }
        relata_params_free(params);
    }
}

static void on_ready(struct relata_async *async, const struct relata_error *error, void *data)
{
    (void)async;
    (void)data;
    if (error != NULL) {
        fail("connect", error);
    }
    ready_count++;
    if (ready_count == CONNECTIONS) {
        send_loads();
    }
}

static void load_at_once(const char *address)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct relata_error error;
        if (relata_async_connect(&loop, address, NULL, on_ready, NULL, &connections[i], &error) !=
            0) {
            fail("connect", &error);
        }
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

/* --- One by one --------------------------------------------------------------- */

static void compare_one_by_one(struct relata_client *client)
{
    for (unsigned i = 0; i < LOADS; i++) {
        struct relata_error error;
        struct relata_reply *reply;
        struct answer alone = {.key = answers[i].key};
        struct relata_params *params = load_params(alone.key);
        if (relata_call(client, "load", params, &reply, &error) != 0) {
            fail("load", &error);
        }
        note(&alone, relata_reply_value(reply));
        if (alone.tickets != answers[i].tickets || alone.ids != answers[i].ids) {
            fprintf(stderr, "representative %u: %u tickets alone, %u at once\n", alone.key,
                    alone.tickets, answers[i].tickets);
            exit(1);
        }
        relata_reply_free(reply);
        relata_params_free(params);
    }
}

struct counters {
    int64_t loads, keys, unique_keys, batches;
};

static struct counters counters_now(struct relata_client *client)
{
    struct relata_error error;
    struct relata_reply *reply;
    struct counters counters = {0};
    if (relata_call(client, "stats", NULL, &reply, &error) != 0) {
        fail("stats", &error);
    }
    struct relata_value all = relata_value_get(relata_reply_value(reply), "relationships");
    struct relata_value ours = relata_value_get(all, "representative.tickets_above_threshold");
    relata_value_integer(relata_value_get(ours, "loads"), &counters.loads);
    relata_value_integer(relata_value_get(ours, "keys"), &counters.keys);
    relata_value_integer(relata_value_get(ours, "unique_keys"), &counters.unique_keys);
    relata_value_integer(relata_value_get(ours, "batches"), &counters.batches);
    relata_reply_free(reply);
    return counters;
}

static void print_difference(const struct counters *before, const struct counters *after)
{
    printf("  %-28s %6" PRId64 "\n", "loads", after->loads - before->loads);
    printf("  %-28s %6" PRId64 "\n", "keys asked for", after->keys - before->keys);
    printf("  %-28s %6" PRId64 "\n", "keys the loader was given",
           after->unique_keys - before->unique_keys);
    printf("  %-28s %6" PRId64 "\n", "batches", after->batches - before->batches);
}

int main(int argc, char **argv)
{
    struct relata_error error;
    struct relata_client *client;
    if (argc != 2) {
        fprintf(stderr, "concurrent ADDRESS\n");
        return 2;
    }
    if (relata_connect(argv[1], NULL, &client, &error) != 0) {
        fail(argv[1], &error);
    }
    struct counters before = counters_now(client);
    load_at_once(argv[1]);
    struct counters after = counters_now(client);
    compare_one_by_one(client);
    print_difference(&before, &after);
    relata_close(client);
    return 0;
}
