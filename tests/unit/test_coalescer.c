/* The coalescer's rules one by one: scripted loaders that answer when told to,
 * and the time as the test says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layers/load/coalescer.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum { OUT_MAX = 64, LOADS_MAX = 600, KEYS_MAX = 400 };

struct world;

/* Keeps its batches until told; remembers what each was asked ("a b c"). */
struct fake {
    struct loader loader;
    struct world *world;
    struct batch *out[OUT_MAX];
    size_t out_count;
    char asked[OUT_MAX][256]; /* of all batches ever, oldest first */
    const void *sources[OUT_MAX];
    size_t batches;
    size_t batch_keys[OUT_MAX];
    size_t cancelled;
    bool at_once;
    bool forgets; /* when cancelled */
};

struct asking {
    struct load load;
    struct world *world;
    unsigned done;
    unsigned done_order;
    bool keeps; /* does not release in done */
    void (*then)(struct asking *asking);
    char answers[64]; /* "a1 b1": key and number of the batch; "a!timeout" */
    char names[KEYS_MAX][8];
    size_t count;
    struct error error;
};

struct world {
    struct coalescer *coalescer;
    struct fake tickets;
    struct fake team;
    struct asking askings[LOADS_MAX];
    size_t asking_count;
    unsigned done_count;
    uint64_t now;
    bool inside; /* coalescer_load */
};

/* ---- The loaders ---- */

static struct fake *fake_of(struct loader *loader)
{
    return CONTAINER_OF(loader, struct fake, loader);
}

static void out_remove(struct fake *fake, struct batch *batch)
{
    for (size_t i = 0; i < fake->out_count; i++) {
        if (fake->out[i] == batch) {
            memmove(&fake->out[i], &fake->out[i + 1],
                    (--fake->out_count - i) * sizeof(struct batch *));
            return;
        }
    }
    fail();
}

static void complete(struct fake *fake, struct batch *batch)
{
    out_remove(fake, batch);
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t *number = arena_alloc(&batch->arena, sizeof(*number));
        assert_non_null(number);
        *number = batch->number;
        batch->answers[i].value = number;
    }
    coalescer_complete(fake->world->coalescer, batch, fake->world->now);
}

static void start(struct loader *loader, struct batch *batch)
{
    struct fake *fake = fake_of(loader);
    assert_true(fake->out_count < OUT_MAX && batch->count > 0);
    assert_ptr_equal(batch->loader, loader);
    fake->out[fake->out_count++] = batch;
    if (fake->batches < OUT_MAX) {
        char *text = fake->asked[fake->batches];
        size_t used = 0;
        for (size_t i = 0; i < batch->count && used < 240; i++) {
            used += (size_t)snprintf(text + used, 256 - used, "%s%.*s", i > 0 ? " " : "",
                                     (int)batch->keys[i].size, (const char *)batch->keys[i].bytes);
        }
        fake->batch_keys[fake->batches] = batch->count;
        fake->sources[fake->batches] = batch->keys[0].source;
    }
    fake->batches++;
    if (fake->at_once) {
        complete(fake, batch);
    }
}

static bool cancel(struct loader *loader, struct batch *batch)
{
    struct fake *fake = fake_of(loader);
    fake->cancelled++;
    if (fake->forgets) {
        out_remove(fake, batch);
    }
    return fake->forgets;
}

static void fail_batch(struct fake *fake, size_t index, const char *message)
{
    struct batch *batch = fake->out[index];
    out_remove(fake, batch);
    struct error error = ERROR_INIT;
    error_set(&error, CODE_LOADER_FAILED, "%s", message);
    coalescer_fail(fake->world->coalescer, batch, &error, fake->world->now);
}

/* ---- The loads ---- */

static void read_answers(struct asking *asking)
{
    size_t used = 0;
    for (size_t i = 0; i < asking->load.count && used < sizeof(asking->answers) - 16; i++) {
        const struct load_answer *answer = &asking->load.answers[i];
        char *at = asking->answers + used;
        size_t room = sizeof(asking->answers) - used;
        const char *space = i > 0 ? " " : "";
        int size;
        if (answer->error != NULL) {
            size = snprintf(at, room, "%s%s!%s", space, asking->names[i],
                            code_text(answer->error->code));
            asking->error = *answer->error;
        } else {
            size = snprintf(at, room, "%s%s%llu", space, asking->names[i],
                            (unsigned long long)*(const uint64_t *)answer->value);
        }
        used += (size_t)size;
    }
}

static void done(struct load *load)
{
    struct asking *asking = CONTAINER_OF(load, struct asking, load);
    assert_false(asking->world->inside);
    asking->done++;
    asking->done_order = ++asking->world->done_count;
    read_answers(asking);
    if (!asking->keeps) {
        load_release(asking->world->coalescer, load);
    }
    if (asking->then != NULL) {
        asking->then(asking);
    }
}

static struct asking *prepare(struct world *world, struct fake *fake)
{
    assert_true(world->asking_count < LOADS_MAX);
    struct asking *asking = &world->askings[world->asking_count++];
    asking->world = world;
    asking->load.loader = &fake->loader;
    asking->load.done = done;
    return asking;
}

/* Key names apart by blanks. */
static int ask_prepared(struct asking *asking, const char *names, const void *source)
{
    struct load_key keys[KEYS_MAX];
    size_t count = 0;
    char text[2048];
    snprintf(text, sizeof(text), "%s", names);
    char *rest = NULL;
    for (char *name = strtok_r(text, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        snprintf(asking->names[count], sizeof(asking->names[count]), "%s", name);
        keys[count] = (struct load_key){
            .bytes = (uint8_t *)name, .size = (uint32_t)strlen(name), .source = source};
        count++;
    }
    asking->count = count;
    struct world *world = asking->world;
    world->inside = true;
    int status =
        coalescer_load(world->coalescer, &asking->load, keys, count, world->now, &asking->error);
    world->inside = false;
    memset(text, 'x', sizeof(text)); /* the keys were the caller's again */
    return status;
}

static struct asking *ask(struct fake *fake, const char *names)
{
    struct asking *asking = prepare(fake->world, fake);
    assert_int_equal(ask_prepared(asking, names, NULL), 0);
    return asking;
}

static struct asking *ask_fresh(struct fake *fake, const char *names)
{
    struct asking *asking = prepare(fake->world, fake);
    asking->load.fresh = true;
    assert_int_equal(ask_prepared(asking, names, NULL), 0);
    return asking;
}

static struct asking *ask_from(struct fake *fake, uint64_t origin, const char *names)
{
    struct asking *asking = prepare(fake->world, fake);
    asking->load.origin = origin;
    assert_int_equal(ask_prepared(asking, names, NULL), 0);
    return asking;
}

static struct asking *ask_by(struct fake *fake, const char *names, uint64_t deadline_us)
{
    struct asking *asking = prepare(fake->world, fake);
    asking->load.deadline_us = deadline_us;
    assert_int_equal(ask_prepared(asking, names, NULL), 0);
    return asking;
}

static struct asking *prepare_for(struct fake *fake, struct batch *parent)
{
    struct asking *asking = prepare(fake->world, fake);
    asking->load.parent = parent;
    asking->load.depth = parent->depth + 1;
    return asking;
}

static bool flush(struct world *world)
{
    bool busy = false;
    while (coalescer_flush(world->coalescer, world->now)) {
        busy = true;
    }
    return busy;
}

/* ---- Around each test ---- */

static void fake_init(struct fake *fake, struct world *world, const char *name)
{
    fake->world = world;
    fake->loader = (struct loader){
        .name = name,
        .start = start,
        .cancel = cancel,
        .limits = {.max_size = 1000,
                   .max_bytes = 1 << 20,
                   .max_in_flight = 4,
                   .timeout_us = 5000000},
    };
    assert_int_equal(coalescer_add(world->coalescer, &fake->loader), 0);
}

static struct world *world_new(const struct limits *limits)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->now = 1000;
    world->coalescer = coalescer_create(limits);
    fake_init(&world->tickets, world, "representative.tickets");
    fake_init(&world->team, world, "representative.team");
    return world;
}

static int set_up(void **state)
{
    struct limits limits = LIMITS_DEFAULT;
    *state = world_new(&limits);
    return 0;
}

static void fake_end(struct fake *fake)
{
    coalescer_remove(fake->world->coalescer, &fake->loader);
    while (fake->out_count > 0) {
        complete(fake, fake->out[0]); /* was dropped: to no effect */
    }
}

/* Nothing is left: what waits ends, all is released, and the coalescer checks. */
static int tear_down(void **state)
{
    struct world *world = *state;
    coalescer_close(world->coalescer);
    assert_int_equal(coalescer_waiting(world->coalescer), 0);
    for (size_t i = 0; i < world->asking_count; i++) {
        load_release(world->coalescer, &world->askings[i].load);
    }
    fake_end(&world->tickets);
    fake_end(&world->team);
    coalescer_free(world->coalescer);
    free(world);
    return 0;
}

/* ---- Batches ---- */

static void test_one_turn_is_one_batch(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *one = ask_from(tickets, 1, "a b");
    struct asking *two = ask_from(tickets, 2, "b c");
    struct asking *three = ask_from(tickets, 3, "a");
    assert_int_equal(tickets->batches, 0);
    assert_int_equal(coalescer_waiting(world->coalescer), 3);
    assert_true(coalescer_flush(world->coalescer, world->now));
    assert_false(coalescer_flush(world->coalescer, world->now));
    assert_int_equal(tickets->batches, 1);
    assert_string_equal(tickets->asked[0], "a b c");
    assert_int_equal(one->done + two->done + three->done, 0);
    complete(tickets, tickets->out[0]);
    assert_string_equal(one->answers, "a1 b1");
    assert_string_equal(two->answers, "b1 c1");
    assert_string_equal(three->answers, "a1");
    assert_int_equal(one->done + two->done + three->done, 3);
    assert_int_equal(tickets->loader.counters.loads, 3);
    assert_int_equal(tickets->loader.counters.keys, 5);
    assert_int_equal(tickets->loader.counters.unique_keys, 3);
    assert_int_equal(tickets->loader.counters.joined, 2);
    assert_int_equal(tickets->loader.counters.batches, 1);
    assert_int_equal(tickets->loader.counters.groups, 1);
    assert_int_equal(tickets->loader.counters.batch_max, 3);
    assert_int_equal(tickets->loader.counters.errors, 0);
}

static void test_loader_that_answers_at_once(void **state)
{
    struct world *world = *state;
    world->tickets.at_once = true;
    world->tickets.loader.limits.max_size = 2;
    world->tickets.loader.limits.max_in_flight = 1;
    struct asking *one = ask(&world->tickets, "a b c d e");
    assert_int_equal(one->done, 0);
    assert_true(coalescer_flush(world->coalescer, world->now));
    assert_string_equal(one->answers, "a1 b1 c2 d2 e3");
    assert_int_equal(one->done, 1);
    assert_int_equal(world->tickets.loader.counters.batch_max, 2);
}

static void test_empty_load_is_done_at_the_flush(void **state)
{
    struct world *world = *state;
    struct asking *one = ask(&world->tickets, "");
    assert_int_equal(one->done, 0);
    assert_true(coalescer_flush(world->coalescer, world->now));
    assert_int_equal(one->done, 1);
    assert_int_equal(world->tickets.batches, 0);
    assert_false(coalescer_flush(world->coalescer, world->now));
}

static void test_what_is_shown_makes_groups(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    const char *shown[] = {"staff", "guest", "staff"};
    for (size_t i = 0; i < 3; i++) {
        struct asking *asking = prepare(world, tickets);
        asking->load.shown = (const uint8_t *)shown[i];
        asking->load.shown_size = 5;
        assert_int_equal(ask_prepared(asking, "a", NULL), 0);
    }
    ask(tickets, "a");
    flush(world);
    assert_int_equal(tickets->batches, 3);
    assert_int_equal(tickets->loader.counters.groups, 3);
    assert_int_equal(tickets->out[0]->shown_size, 5);
    assert_memory_equal(tickets->out[0]->shown, "staff", 5);
    assert_memory_equal(tickets->out[1]->shown, "guest", 5);
    assert_int_equal(tickets->out[2]->shown_size, 0);
    assert_int_equal(tickets->loader.counters.joined, 1);
}

static void test_batches_are_cut_by_bytes(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_bytes = 100;
    static const uint8_t large[120] = "large";
    const struct load_key keys[] = {
        {.bytes = (const uint8_t *)"a", .size = 1, .source = "s", .source_size = 59},
        {.bytes = (const uint8_t *)"b", .size = 1, .source = "s", .source_size = 39},
        {.bytes = (const uint8_t *)"c", .size = 1},
        {.bytes = large, .size = sizeof(large)}, /* over the limit: alone */
        {.bytes = (const uint8_t *)"d", .size = 1},
    };
    struct asking *asking = prepare(world, tickets);
    assert_int_equal(coalescer_load(world->coalescer, &asking->load, keys, 5, world->now, NULL), 0);
    flush(world);
    assert_int_equal(tickets->batches, 4);
    assert_int_equal(tickets->batch_keys[0], 2);
    assert_int_equal(tickets->batch_keys[1], 1);
    assert_int_equal(tickets->batch_keys[2], 1);
    assert_memory_equal(tickets->out[2]->keys[0].bytes, large, sizeof(large));
    assert_int_equal(tickets->batch_keys[3], 1);
    while (tickets->out_count > 0) {
        complete(tickets, tickets->out[0]);
    }
    assert_int_equal(asking->done, 1);
}

static void test_the_newest_source_is_shown(void **state)
{
    struct world *world = *state;
    struct asking *askings[3];
    const char *sources[] = {"old", "new", "newer"};
    for (size_t i = 0; i < 3; i++) {
        askings[i] = prepare(world, &world->tickets);
        assert_int_equal(ask_prepared(askings[i], "a", sources[i]), 0);
    }
    ask(&world->tickets, "a"); /* brings none */
    load_cancel(world->coalescer, &askings[2]->load);
    flush(world);
    assert_ptr_equal(world->tickets.sources[0], sources[1]);
}

/* ---- Natural batching ---- */

static void test_later_keys_gather_while_batches_are_out(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_in_flight = 2;
    ask(tickets, "a");
    flush(world);
    ask(tickets, "b");
    flush(world);
    ask(tickets, "c");
    assert_false(flush(world));
    ask(tickets, "d");
    assert_false(flush(world));
    assert_int_equal(tickets->batches, 2);
    complete(tickets, tickets->out[1]);
    assert_true(flush(world));
    assert_int_equal(tickets->batches, 3);
    assert_string_equal(tickets->asked[2], "c d");
    /* Another relationship has batches of its own. */
    ask(&world->team, "a");
    flush(world);
    assert_int_equal(world->team.batches, 1);
}

static void test_window_waits_only_while_a_batch_is_out(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.window_us = 500;
    tickets->loader.limits.timeout_us = 0;
    ask(tickets, "a");
    assert_true(flush(world));
    assert_int_equal(coalescer_next_us(world->coalescer), 0);
    ask(tickets, "b");
    assert_false(flush(world));
    assert_int_equal(coalescer_next_us(world->coalescer), world->now + 500);
    world->now += 499;
    ask(tickets, "c");
    coalescer_expire(world->coalescer, world->now);
    assert_false(flush(world));
    world->now += 1;
    coalescer_expire(world->coalescer, world->now);
    assert_true(flush(world));
    assert_string_equal(tickets->asked[1], "b c");
    assert_int_equal(coalescer_next_us(world->coalescer), 0);
    /* Cut short by the return of all that was out ... */
    ask(tickets, "d");
    assert_false(flush(world));
    complete(tickets, tickets->out[0]);
    assert_false(flush(world));
    complete(tickets, tickets->out[0]);
    assert_true(flush(world));
    assert_string_equal(tickets->asked[2], "d");
    /* ... and by a full batch. */
    tickets->loader.limits.max_size = 2;
    ask(tickets, "e");
    assert_false(flush(world));
    ask(tickets, "f");
    assert_true(flush(world));
    assert_string_equal(tickets->asked[3], "e f");
}

/* ---- Joining and overtaking ---- */

static void test_a_key_in_flight_is_joined(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *one = ask(tickets, "a b");
    flush(world);
    struct asking *two = ask(tickets, "b c");
    flush(world);
    assert_int_equal(tickets->batches, 2);
    assert_string_equal(tickets->asked[1], "c");
    complete(tickets, tickets->out[1]);
    assert_int_equal(two->done, 0);
    complete(tickets, tickets->out[0]);
    assert_string_equal(one->answers, "a1 b1");
    assert_string_equal(two->answers, "b1 c2");
    assert_int_equal(tickets->loader.counters.joined, 1);
}

static void test_an_overtaken_key_is_asked_again(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *before = ask(tickets, "a b");
    flush(world);
    coalescer_overtake(world->coalescer, &tickets->loader, (const uint8_t *)"a", 1);
    struct asking *after = ask(tickets, "a b");
    struct asking *mate = ask(tickets, "a");
    assert_false(flush(world)); /* never twice at once */
    complete(tickets, tickets->out[0]);
    assert_string_equal(before->answers, "a1 b1");
    assert_int_equal(after->done, 0);
    assert_true(flush(world));
    assert_string_equal(tickets->asked[1], "a");
    complete(tickets, tickets->out[0]);
    assert_string_equal(after->answers, "a2 b1");
    assert_string_equal(mate->answers, "a2");
    assert_int_equal(tickets->loader.counters.joined, 2); /* b, and the second a */
    assert_int_equal(tickets->loader.counters.unique_keys, 3);
}

static void test_overtaking_everything(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    ask(tickets, "a b");
    ask(&world->team, "a");
    flush(world);
    coalescer_overtake(world->coalescer, &tickets->loader, NULL, 0);
    struct asking *after = ask(tickets, "a b");
    struct asking *team = ask(&world->team, "a"); /* was not overtaken */
    assert_false(flush(world));
    assert_int_equal(world->team.loader.counters.joined, 1);
    fail_batch(tickets, 0, "broken");
    assert_int_equal(after->done, 0);
    flush(world);
    /* What starts after it was not overtaken by it. */
    struct asking *later = ask(tickets, "b");
    assert_false(flush(world));
    complete(tickets, tickets->out[0]);
    assert_string_equal(after->answers, "a3 b3");
    assert_string_equal(later->answers, "b3");
    complete(&world->team, world->team.out[0]);
    assert_string_equal(team->answers, "a2");
}

static void test_fresh_joins_nothing_in_flight_but_may_be_joined(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *pending = ask(tickets, "a");
    struct asking *first = ask_fresh(tickets, "a"); /* not at the loader yet: shared */
    flush(world);
    assert_int_equal(tickets->batches, 1);
    struct asking *fresh = ask_fresh(tickets, "a");
    struct asking *joins = ask(tickets, "a"); /* the one in flight will do */
    assert_false(flush(world));
    complete(tickets, tickets->out[0]);
    assert_string_equal(pending->answers, "a1");
    assert_string_equal(first->answers, "a1");
    assert_string_equal(joins->answers, "a1");
    flush(world);
    struct asking *more = ask(tickets, "a");
    complete(tickets, tickets->out[0]);
    assert_string_equal(fresh->answers, "a2");
    assert_string_equal(more->answers, "a2");
}

/* A batch is fresh by the loads that are in it, not by one that has left. */
static void test_fresh_is_who_asked_for_it(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *left = ask_fresh(tickets, "a");
    load_cancel(world->coalescer, &left->load);
    ask(tickets, "b");
    flush(world);
    assert_int_equal(tickets->batches, 1);
    assert_false(tickets->out[0]->fresh);
    ask_fresh(tickets, "c");
    ask(tickets, "d");
    flush(world);
    assert_int_equal(tickets->batches, 2);
    assert_true(tickets->out[1]->fresh);
    complete(tickets, tickets->out[1]);
    ask(tickets, "c");
    flush(world);
    assert_false(tickets->out[1]->fresh);
}

static void test_an_overtaken_key_that_nobody_wants_is_not_asked_again(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    ask(tickets, "a");
    flush(world);
    struct asking *fresh = ask_fresh(tickets, "a");
    load_cancel(world->coalescer, &fresh->load);
    complete(tickets, tickets->out[0]);
    assert_false(flush(world));
    assert_int_equal(tickets->batches, 1);
    assert_int_equal(fresh->done, 0);
}

/* ---- Failures ---- */

static void test_a_failed_batch_fails_all_who_wait_and_no_more(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_size = 2;
    struct asking *one = ask(tickets, "a b c");
    struct asking *two = ask(tickets, "a");
    flush(world);
    struct asking *joined = ask(tickets, "b");
    fail_batch(tickets, 0, "the database is away");
    assert_string_equal(two->answers, "a!loader_failed");
    assert_string_equal(two->error.message, "the database is away");
    assert_string_equal(joined->answers, "b!loader_failed");
    assert_int_equal(one->done, 0);
    complete(tickets, tickets->out[0]);
    assert_string_equal(one->answers, "a!loader_failed b!loader_failed c2");
    assert_int_equal(tickets->loader.counters.errors, 1);
    /* A failure is not kept. */
    ask(tickets, "a");
    flush(world);
    assert_int_equal(tickets->batches, 3);
}

static void test_a_key_fails_alone(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *one = ask(tickets, "a b");
    struct asking *two = ask(tickets, "a");
    flush(world);
    struct batch *batch = tickets->out[0];
    struct error *error = arena_alloc(&batch->arena, sizeof(*error));
    error_set(error, CODE_LOADER_FAILED, "no such representative");
    batch->answers[1].error = error;
    batch->answers[0].value = &batch->number;
    out_remove(tickets, batch);
    coalescer_complete(world->coalescer, batch, world->now);
    assert_string_equal(one->answers, "a1 b!loader_failed");
    assert_string_equal(one->error.message, "no such representative");
    assert_string_equal(two->answers, "a1");
    assert_int_equal(tickets->loader.counters.errors, 1);
}

static void test_a_batch_times_out(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.timeout_us = 2000;
    tickets->loader.limits.max_in_flight = 1;
    struct asking *one = ask(tickets, "a");
    struct asking *patient = ask_by(tickets, "a", world->now + 9000);
    flush(world);
    coalescer_overtake(world->coalescer, &tickets->loader, NULL, 0);
    struct asking *again = ask(tickets, "a");
    assert_int_equal(coalescer_next_us(world->coalescer), world->now + 2000);
    world->now += 1999;
    coalescer_expire(world->coalescer, world->now);
    assert_int_equal(one->done, 0);
    world->now += 1;
    coalescer_expire(world->coalescer, world->now);
    assert_string_equal(one->answers, "a!timeout");
    assert_string_equal(patient->answers, "a!timeout");
    assert_string_equal(one->error.message,
                        "representative.tickets: the loader did not answer within 2 ms");
    assert_string_equal(one->error.resource, "representative");
    assert_string_equal(one->error.relationship, "tickets");
    assert_int_equal(tickets->cancelled, 1);
    assert_int_equal(tickets->loader.counters.errors, 1);
    /* The key is free again; the late answer is dropped. */
    flush(world);
    assert_int_equal(tickets->batches, 2);
    complete(tickets, tickets->out[0]);
    assert_int_equal(again->done, 0);
    complete(tickets, tickets->out[0]);
    assert_string_equal(again->answers, "a2");
    assert_int_equal(one->done + patient->done, 2);
}

static void test_a_loader_forgets_a_batch(void **state)
{
    struct world *world = *state;
    world->tickets.forgets = true;
    struct asking *one = ask(&world->tickets, "a");
    flush(world);
    world->now += 5000000;
    coalescer_expire(world->coalescer, world->now);
    assert_string_equal(one->answers, "a!timeout");
    assert_int_equal(world->tickets.out_count, 0);
}

static void test_each_load_has_its_own_deadline(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_size = 1;
    tickets->loader.limits.max_in_flight = 2;
    struct asking *hasty = ask_by(tickets, "a b c", world->now + 100);
    struct asking *patient = ask_by(tickets, "a b", world->now + 200);
    flush(world);
    complete(tickets, tickets->out[0]);
    assert_int_equal(coalescer_next_us(world->coalescer), world->now + 100);
    world->now += 150;
    coalescer_expire(world->coalescer, world->now);
    assert_string_equal(hasty->answers, "a1 b!timeout c!timeout");
    assert_string_equal(hasty->error.message,
                        "representative.tickets: the time for this load has passed");
    assert_int_equal(patient->done, 0);
    assert_false(flush(world)); /* nobody waits for c any more: it is not sent */
    assert_int_equal(tickets->batches, 2);
    complete(tickets, tickets->out[0]);
    assert_string_equal(patient->answers, "a1 b2");
}

static void test_one_that_gives_up_leaves_the_others(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *one = ask(tickets, "a b");
    struct asking *two = ask(tickets, "b");
    load_cancel(world->coalescer, &one->load);
    load_cancel(world->coalescer, &one->load); /* harmless */
    load_release(world->coalescer, &one->load);
    flush(world);
    assert_string_equal(tickets->asked[0], "b");
    load_cancel(world->coalescer, &two->load);
    struct asking *three = ask(tickets, "b"); /* it is still in flight */
    assert_false(flush(world));
    complete(tickets, tickets->out[0]);
    assert_string_equal(three->answers, "b1");
    load_cancel(world->coalescer, &three->load); /* after done: harmless */
    assert_int_equal(one->done + two->done, 0);
}

static void test_answers_last_until_release(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct asking *one = ask(tickets, "a");
    one->keeps = true;
    flush(world);
    complete(tickets, tickets->out[0]);
    for (int i = 0; i < 40; i++) {
        ask(tickets, "a b c");
        flush(world);
        complete(tickets, tickets->out[0]);
    }
    assert_int_equal(*(const uint64_t *)one->load.answers[0].value, 1);
    load_cancel(world->coalescer, &one->load);
    assert_non_null(one->load.answers);
    load_release(world->coalescer, &one->load);
    assert_null(one->load.answers);
}

/* ---- Limits and fairness ---- */

static void test_limits_of_waiting(void **state)
{
    (void)state;
    struct limits limits = LIMITS_DEFAULT;
    limits.keys_waiting_per_connection = 4;
    limits.keys_waiting_per_relationship = 6;
    struct world *world = world_new(&limits);
    struct fake *tickets = &world->tickets;
    ask_from(tickets, 1, "a b c");
    struct asking *over = prepare(world, tickets);
    over->load.origin = 1;
    assert_int_equal(ask_prepared(over, "d e", NULL), -CODE_OVERLOADED);
    assert_string_equal(over->error.limit, "keys_waiting_per_connection");
    assert_non_null(strstr(over->error.message, "representative.tickets: "));
    /* Of all relationships together. */
    over->load.loader = &world->team.loader;
    assert_int_equal(ask_prepared(over, "d e", NULL), -CODE_OVERLOADED);
    ask_from(tickets, 2, "a b");
    over->load.loader = &tickets->loader;
    over->load.origin = 3;
    assert_int_equal(ask_prepared(over, "a b", NULL), -CODE_OVERLOADED);
    assert_string_equal(over->error.limit, "keys_waiting_per_relationship");
    ask_from(&world->team, 3, "a b");
    assert_int_equal(tickets->loader.counters.loads, 2);
    assert_int_equal(tickets->loader.counters.keys, 5);
    flush(world);
    assert_string_equal(tickets->asked[0], "a b c");
    complete(tickets, tickets->out[0]);
    ask_from(tickets, 1, "a b c d");
    assert_int_equal(over->done, 0);
    void *end = world;
    tear_down(&end);
}

/* What was answered to loads that are not released is bounded for all loaders together. */
static void test_limit_of_what_is_held(void **state)
{
    (void)state;
    struct limits limits = LIMITS_DEFAULT;
    limits.work_bytes = 10000;
    struct world *world = world_new(&limits);
    struct fake *tickets = &world->tickets;
    struct asking *one = prepare(world, tickets);
    one->keeps = true;
    assert_int_equal(ask_prepared(one, "a", NULL), 0);
    flush(world);
    assert_non_null(arena_alloc(&tickets->out[0]->arena, 20000));
    complete(tickets, tickets->out[0]);
    assert_string_equal(one->answers, "a1");
    struct asking *two = prepare(world, &world->team);
    assert_int_equal(ask_prepared(two, "b c", NULL), -CODE_OVERLOADED);
    assert_string_equal(two->error.limit, "work_bytes");
    assert_string_equal(two->error.relationship, "team");
    load_release(world->coalescer, &one->load);
    /* What had begun goes on, up to twice as much; its own scratch memory does not count. */
    world->team.loader.limits.max_size = 1;
    struct asking *three = ask(&world->team, "d e f");
    flush(world);
    assert_int_equal(world->team.out_count, 3);
    assert_non_null(arena_alloc(&world->team.out[0]->scratch, 100000));
    assert_non_null(arena_alloc(&world->team.out[0]->arena, 15000));
    complete(&world->team, world->team.out[0]);
    world->team.loader.limits.max_in_flight = 1;
    assert_int_equal(ask_prepared(two, "b", NULL), -CODE_OVERLOADED);
    complete(&world->team, world->team.out[0]);
    complete(&world->team, world->team.out[0]);
    assert_string_equal(three->answers, "d2 e3 f4");
    struct asking *four = ask(&world->team, "g h");
    flush(world);
    assert_non_null(arena_alloc(&world->team.out[0]->arena, 25000));
    complete(&world->team, world->team.out[0]);
    flush(world);
    assert_string_equal(four->answers, "g5 h!overloaded");
    void *end = world;
    tear_down(&end);
}

/* Asks for `count` keys that nobody else asks for. */
static struct asking *ask_many(struct fake *fake, uint64_t origin, unsigned count)
{
    char names[2048] = "";
    size_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        used +=
            (size_t)snprintf(names + used, sizeof(names) - used, "%c%u ", (char)('A' + origin), i);
    }
    return ask_from(fake, origin, names);
}

static unsigned keys_of(const struct batch *batch, char name)
{
    unsigned count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        count += batch->keys[i].bytes[0] == (uint8_t)name;
    }
    return count;
}

static void test_origins_take_turns(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_size = 100;
    tickets->loader.limits.max_in_flight = 1;
    ask_many(tickets, 0, 300);
    ask_many(tickets, 1, 90);
    struct asking *small = ask_many(tickets, 2, 1);
    ask_from(tickets, 3, "A0 A1 A299"); /* one that A waits for too */
    flush(world);
    const struct batch *batch = tickets->out[0];
    assert_int_equal(batch->count, 100);
    /* 32 of A, 32 of B, 1 of C, A299 by D's turn (A0 and A1 are in it), 32 of A, 2 of B */
    assert_int_equal(keys_of(batch, 'A'), 65);
    assert_int_equal(keys_of(batch, 'B'), 34);
    assert_int_equal(keys_of(batch, 'C'), 1);
    assert_memory_equal(batch->keys[99].bytes, "C0", 2); /* in the order first asked */
    assert_memory_equal(batch->keys[0].bytes, "A0", 2);
    complete(tickets, tickets->out[0]);
    assert_int_equal(small->done, 1);
    flush(world);
    /* The turn that was cut short goes on: 30 of B, 32 of A, 26 (all) of B, 12 of A. */
    assert_int_equal(keys_of(tickets->out[0], 'A'), 44);
    assert_int_equal(keys_of(tickets->out[0], 'B'), 56);
    size_t sent = 200;
    while (tickets->out_count > 0) {
        complete(tickets, tickets->out[0]);
        flush(world);
        sent += tickets->out_count > 0 ? tickets->out[0]->count : 0;
    }
    assert_int_equal(sent, 391);
    assert_int_equal(tickets->loader.counters.unique_keys, 391);
}

static void test_groups_take_turns(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_size = 1;
    tickets->loader.limits.max_in_flight = 1;
    ask(tickets, "a b c");
    struct asking *other = prepare(world, tickets);
    other->load.shown = (const uint8_t *)"guest";
    other->load.shown_size = 5;
    assert_int_equal(ask_prepared(other, "x", NULL), 0);
    flush(world);
    complete(tickets, tickets->out[0]);
    flush(world);
    assert_string_equal(tickets->asked[0], "a");
    assert_string_equal(tickets->asked[1], "x");
}

/* ---- Nesting ---- */

static void test_nested_loads_have_room_of_their_own(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_in_flight = 1;
    struct asking *outer = ask(tickets, "a");
    flush(world);
    struct asking *last = NULL;
    for (uint32_t depth = 1; depth <= COALESCER_DEPTH_MAX; depth++) {
        struct asking *inner = prepare_for(tickets, tickets->out[depth - 1]);
        char name[] = {(char)('a' + depth), '\0'};
        assert_int_equal(ask_prepared(inner, name, NULL), 0);
        flush(world);
        assert_int_equal(tickets->out_count, depth + 1);
        assert_int_equal(tickets->out[depth]->depth, depth);
        last = inner;
    }
    struct asking *deep = prepare_for(tickets, tickets->out[COALESCER_DEPTH_MAX]);
    assert_int_equal(ask_prepared(deep, "z", NULL), -CODE_LOADER_FAILED);
    assert_non_null(strstr(deep->error.message, "9 deep"));
    while (tickets->out_count > 0) {
        complete(tickets, tickets->out[tickets->out_count - 1]);
    }
    assert_int_equal(outer->done + last->done, 2);
}

static void test_a_load_that_would_wait_for_itself_is_refused(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct fake *team = &world->team;
    ask(tickets, "a b");
    flush(world);
    struct asking *self = prepare_for(tickets, tickets->out[0]);
    assert_int_equal(ask_prepared(self, "b x a", NULL), -CODE_LOADER_FAILED);
    struct asking *inner = prepare_for(team, tickets->out[0]);
    assert_int_equal(ask_prepared(inner, "t", NULL), 0);
    flush(world);
    struct asking *loop = prepare_for(tickets, team->out[0]);
    assert_int_equal(ask_prepared(loop, "a b", NULL), -CODE_LOADER_FAILED);
    assert_string_equal(loop->error.message,
                        "representative.tickets: this load would wait for itself: "
                        "representative.tickets, which waits for representative.team, "
                        "which waits for representative.tickets");
    assert_string_equal(loop->error.relationship, "tickets");
    /* Neither another key nor what is shown another way waits for itself. */
    assert_int_equal(ask_prepared(prepare_for(tickets, team->out[0]), "c", NULL), 0);
    struct asking *other = prepare_for(tickets, team->out[0]);
    other->load.shown = (const uint8_t *)"guest";
    other->load.shown_size = 5;
    assert_int_equal(ask_prepared(other, "a b", NULL), 0);
    /* Nor do some of a batch's keys: the others may be what needs them. */
    assert_int_equal(ask_prepared(prepare_for(tickets, tickets->out[0]), "b", NULL), 0);
    flush(world);
    assert_int_equal(tickets->out_count, 4);
    assert_int_equal(self->done + loop->done, 0);
}

/* Where a batch is out for several, or for one that works for nobody, it is not
 * certain whose need a load of it is. */
static void test_only_what_is_certain_is_refused(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    struct fake *team = &world->team;
    tickets->loader.limits.max_size = 1;
    ask(tickets, "a b");
    flush(world);
    struct asking *first = prepare_for(team, tickets->out[0]);
    assert_int_equal(ask_prepared(first, "t", NULL), 0);
    struct asking *second = prepare_for(team, tickets->out[1]);
    assert_int_equal(ask_prepared(second, "s", NULL), 0);
    flush(world);
    assert_string_equal(team->asked[0], "t s");
    struct asking *loop = prepare_for(tickets, team->out[0]);
    /* Whoever gave up does not wait any more. */
    load_cancel(world->coalescer, &second->load);
    assert_int_equal(ask_prepared(loop, "a", NULL), -CODE_LOADER_FAILED);
    struct asking *third = prepare_for(team, tickets->out[1]);
    assert_int_equal(ask_prepared(third, "t", NULL), 0);
    assert_int_equal(ask_prepared(loop, "a", NULL), 0);
}

static void test_a_parent_may_end_before_its_children(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    ask(tickets, "a");
    flush(world);
    struct asking *child = prepare_for(&world->team, tickets->out[0]);
    assert_int_equal(ask_prepared(child, "t", NULL), 0);
    flush(world);
    complete(tickets, tickets->out[0]);
    struct asking *grandchild = prepare_for(tickets, world->team.out[0]);
    assert_int_equal(ask_prepared(grandchild, "a", NULL), 0);
    flush(world);
    complete(tickets, tickets->out[0]);
    complete(&world->team, world->team.out[0]);
    assert_int_equal(child->done + grandchild->done, 2);
}

/* ---- From inside done, and the end ---- */

static void ask_more(struct asking *asking)
{
    struct world *world = asking->world;
    if (world->asking_count < 4) {
        struct asking *next = ask(&world->tickets, "a");
        next->then = ask_more;
    }
}

static void test_done_may_begin_loads(void **state)
{
    struct world *world = *state;
    world->tickets.at_once = true;
    struct asking *one = ask(&world->tickets, "a");
    one->then = ask_more;
    unsigned flushes = 0;
    while (coalescer_flush(world->coalescer, world->now)) {
        flushes++;
    }
    assert_int_equal(flushes, 4);
    assert_string_equal(world->askings[3].answers, "a4");
}

static void cancel_the_next(struct asking *asking)
{
    load_cancel(asking->world->coalescer, &asking[1].load);
    assert_false(coalescer_flush(asking->world->coalescer, asking->world->now));
    /* What it completes is told to others when it has returned. */
    complete(&asking->world->team, asking->world->team.out[0]);
    assert_int_equal(asking[3].done, 0);
}

static void test_done_may_cancel_and_complete(void **state)
{
    struct world *world = *state;
    struct asking *one = ask(&world->tickets, "a");
    struct asking *two = ask(&world->tickets, "a");
    struct asking *three = ask(&world->tickets, "a");
    struct asking *team = ask(&world->team, "a");
    one->then = cancel_the_next;
    flush(world);
    complete(&world->tickets, world->tickets.out[0]);
    assert_int_equal(one->done, 1);
    assert_int_equal(two->done, 0);
    assert_int_equal(three->done_order, 2);
    assert_int_equal(team->done_order, 3);
}

static void remove_the_loader(struct asking *asking)
{
    coalescer_remove(asking->world->coalescer, &asking->world->tickets.loader);
}

static void test_done_may_remove_the_loader(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_size = 1;
    tickets->loader.limits.max_in_flight = 2;
    struct asking *one = ask(tickets, "a");
    struct asking *two = ask(tickets, "b");
    struct asking *three = ask(tickets, "c");
    one->then = remove_the_loader;
    flush(world);
    complete(tickets, tickets->out[0]);
    assert_string_equal(two->answers, "b!unavailable");
    assert_string_equal(three->answers, "c!unavailable");
    assert_int_equal(tickets->cancelled, 1);
    struct asking *refused = prepare(world, tickets);
    assert_int_equal(ask_prepared(refused, "a", NULL), -CODE_UNAVAILABLE);
    assert_int_equal(coalescer_add(world->coalescer, &tickets->loader), 0);
    assert_int_equal(ask_prepared(refused, "a", NULL), 0);
    flush(world);
    assert_int_equal(tickets->batches, 3);
}

static void test_close_ends_everything(void **state)
{
    struct world *world = *state;
    struct fake *tickets = &world->tickets;
    tickets->loader.limits.max_in_flight = 1;
    struct asking *out = ask(tickets, "a");
    flush(world);
    struct asking *pending = ask(tickets, "b");
    struct asking *empty = ask(&world->team, "");
    coalescer_close(world->coalescer);
    assert_string_equal(out->answers, "a!unavailable");
    assert_string_equal(pending->answers, "b!unavailable");
    assert_int_equal(empty->done, 1);
    assert_int_equal(coalescer_waiting(world->coalescer), 0);
    assert_int_equal(coalescer_next_us(world->coalescer), 0);
    struct asking *refused = prepare(world, tickets);
    assert_int_equal(ask_prepared(refused, "a", NULL), -CODE_UNAVAILABLE);
    coalescer_close(world->coalescer);
}

static void test_latency_is_told(void **state)
{
    struct world *world = *state;
    uint64_t p50, p99, max;
    loader_latency(&world->tickets.loader, &p50, &p99, &max);
    assert_int_equal(p50 + p99 + max, 0);
    ask(&world->tickets, "a");
    flush(world);
    world->now += 1000;
    complete(&world->tickets, world->tickets.out[0]);
    loader_latency(&world->tickets.loader, &p50, &p99, &max);
    assert_int_equal(max, 1000);
    assert_in_range(p50, 1000, 1063);
}

/* ---- Memory ---- */

/* A story that visits every allocation; whatever fails, every load that began
 * ends once, and nothing is left. */
static void memory_story(struct world *world)
{
    struct fake *tickets = &world->tickets;
    char large[64];
    memset(large, 'k', sizeof(large));
    unsigned begun = 0;
    for (unsigned i = 0; i < 40; i++) {
        struct asking *asking = prepare(world, i % 5 == 0 ? &world->team : tickets);
        asking->load.origin = i % 3;
        asking->load.shown = (const uint8_t *)"staff";
        asking->load.shown_size = i % 4;
        asking->load.deadline_us = world->now + 100 + i;
        struct load_key keys[20];
        uint32_t numbers[20];
        for (uint32_t k = 0; k < 20; k++) {
            numbers[k] = i * 7 + k;
            keys[k] = (struct load_key){.bytes = (const uint8_t *)&numbers[k], .size = 4};
            snprintf(asking->names[k], sizeof(asking->names[k]), "%u", numbers[k]);
        }
        keys[i % 20] = (struct load_key){.bytes = (const uint8_t *)large, .size = sizeof(large)};
        uint64_t loads = tickets->loader.counters.loads + world->team.loader.counters.loads;
        int status = coalescer_load(world->coalescer, &asking->load, keys, i % 2 == 0 ? 20 : 2,
                                    world->now, &asking->error);
        assert_true(status == 0 || (status == -CODE_OVERLOADED && asking->load.answers == NULL));
        begun += status == 0;
        assert_int_equal(tickets->loader.counters.loads + world->team.loader.counters.loads,
                         loads + (status == 0));
        if (i % 8 == 0) {
            flush(world);
        }
    }
    assert_int_equal(coalescer_waiting(world->coalescer) + world->done_count, begun);
    flush(world);
    for (unsigned i = 0; tickets->out_count > 0 || world->team.out_count > 0; i++) {
        struct fake *fake = tickets->out_count > 0 ? tickets : &world->team;
        struct batch *batch = fake->out[0];
        out_remove(fake, batch);
        for (size_t k = 0; k < batch->count; k++) {
            batch->answers[k].value = &batch->number;
        }
        coalescer_complete(world->coalescer, batch, world->now);
        flush(world);
    }
    assert_int_equal(coalescer_waiting(world->coalescer), 0);
    assert_int_equal(world->done_count, begun);
}

static void test_each_allocation_may_fail(void **state)
{
    (void)state;
    struct limits limits = LIMITS_DEFAULT;
    bool failed = true;
    long count = 0;
    for (; failed; count++) {
        struct world *world = world_new(&limits);
        world->tickets.loader.limits.max_size = 30;
        world->tickets.loader.limits.max_in_flight = 1;
        world->tickets.loader.limits.window_us = 50;
        heap_fail_at(count);
        memory_story(world);
        failed = heap_failed();
        heap_fail_at(-1);
        void *end = world;
        tear_down(&end);
    }
    assert_true(count > 20);
}

static void test_adding_a_loader_may_fail(void **state)
{
    struct world *world = *state;
    struct loader loader = {.name = "ticket.comments", .start = start};
    heap_fail_at(0);
    int status = coalescer_add(world->coalescer, &loader);
    heap_fail_at(-1);
    assert_int_equal(status, -CODE_OVERLOADED);
    assert_null(loader.state);
    coalescer_remove(world->coalescer, &loader);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_one_turn_is_one_batch),
        T(test_loader_that_answers_at_once),
        T(test_empty_load_is_done_at_the_flush),
        T(test_what_is_shown_makes_groups),
        T(test_batches_are_cut_by_bytes),
        T(test_the_newest_source_is_shown),
        T(test_later_keys_gather_while_batches_are_out),
        T(test_window_waits_only_while_a_batch_is_out),
        T(test_a_key_in_flight_is_joined),
        T(test_an_overtaken_key_is_asked_again),
        T(test_overtaking_everything),
        T(test_fresh_joins_nothing_in_flight_but_may_be_joined),
        T(test_fresh_is_who_asked_for_it),
        T(test_an_overtaken_key_that_nobody_wants_is_not_asked_again),
        T(test_a_failed_batch_fails_all_who_wait_and_no_more),
        T(test_a_key_fails_alone),
        T(test_a_batch_times_out),
        T(test_a_loader_forgets_a_batch),
        T(test_each_load_has_its_own_deadline),
        T(test_one_that_gives_up_leaves_the_others),
        T(test_answers_last_until_release),
        cmocka_unit_test(test_limits_of_waiting),
        cmocka_unit_test(test_limit_of_what_is_held),
        T(test_origins_take_turns),
        T(test_groups_take_turns),
        T(test_nested_loads_have_room_of_their_own),
        T(test_a_load_that_would_wait_for_itself_is_refused),
        T(test_only_what_is_certain_is_refused),
        T(test_a_parent_may_end_before_its_children),
        T(test_done_may_begin_loads),
        T(test_done_may_cancel_and_complete),
        T(test_done_may_remove_the_loader),
        T(test_close_ends_everything),
        T(test_latency_is_told),
        cmocka_unit_test(test_each_allocation_may_fail),
        T(test_adding_a_loader_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
