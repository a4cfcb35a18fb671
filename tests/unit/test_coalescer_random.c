/* Random stories against a model. Many origins ask several loaders, fresh or
 * not, nested or not, give up or run late; the loaders answer at once or later
 * in any order, fail batches or keys, are overtaken, forget, go and come back.
 *
 * The model knows of each key of each load which batch must answer it: the one
 * in flight when the load came, if that may be joined, else the next that has
 * the key. It also knows which loads must be refused, and how many keys may be
 * sent before a key's turn comes. */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "layers/load/coalescer.h"
#include "protocol/base/check.h"

enum { LOADERS = 3, SHOWN = 3, KEYS_MAX = 3000, LOADS_MAX = 120, OUT_MAX = 256, KEY_BYTES = 48 };

struct profile {
    unsigned steps;
    unsigned keys; /* there are */
    unsigned load_keys_max;
    unsigned origins;
    unsigned max_size;
    unsigned loaders;
    unsigned shown;
    uint64_t window_us;
    bool nested;
};

/* What a batch answers for a key. */
struct model_value {
    uint64_t batch;
    unsigned key;
};

struct model_batch {
    struct batch *batch;
    uint64_t number;
    uint64_t started; /* the model's tick */
    unsigned loader, shown;
    uint32_t depth;
    bool dropped;
    size_t count;
    unsigned *keys;
};

struct model_key {
    unsigned key;
    uint64_t expected;  /* the batch that must answer it; 0: the next with the key */
    uint64_t overtaken; /* when it last was, before the load came */
    bool queued;        /* pending since the load came: fairness is counted */
    uint64_t sent;      /* keys of the group, since */
    uint64_t sent_max;
};

struct model_load {
    struct load load;
    struct sim *sim;
    unsigned loader, shown;
    uint64_t came;
    bool waits, done;
    uint64_t parent; /* number of the batch */
    struct model_key *keys;
};

struct sim_loader {
    struct loader loader;
    struct sim *sim;
    unsigned index;
    bool added;
    uint64_t keys, loads, sent, batches, errors;
};

struct sim {
    const struct profile *profile;
    struct coalescer *coalescer;
    struct sim_loader loaders[LOADERS];
    struct model_load *loads[LOADS_MAX];
    struct model_batch *out[OUT_MAX]; /* at loaders, dropped ones too */
    size_t out_count;
    uint64_t overtaken[LOADERS][KEYS_MAX];
    uint64_t tick, now, random;
    unsigned inside; /* coalescer_load */
    bool closing;
    uint64_t answered, refused, joined, timeouts;
};

static const char *const shown_text[SHOWN] = {"", "staff", "guest of the house"};

static uint64_t draw(struct sim *sim, uint64_t below)
{
    sim->random ^= sim->random << 13;
    sim->random ^= sim->random >> 7;
    sim->random ^= sim->random << 17;
    return (sim->random >> 11) % below;
}

static bool chance(struct sim *sim, unsigned percent)
{
    return draw(sim, 100) < percent;
}

/* Key 0 is empty, some are long. */
static uint32_t key_bytes(unsigned key, char bytes[KEY_BYTES])
{
    if (key == 0) {
        return 0;
    }
    int size = snprintf(bytes, KEY_BYTES, key % 7 == 0 ? "%u, a long key for the heap" : "%u", key);
    return (uint32_t)size;
}

static unsigned key_number(const struct load_key *key)
{
    char text[KEY_BYTES + 1] = "0";
    if (key->size > 0) {
        memcpy(text, key->bytes, key->size);
        text[key->size] = '\0';
    }
    return (unsigned)strtoul(text, NULL, 10);
}

static bool batch_has(const struct model_batch *batch, unsigned key)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->keys[i] == key) {
            return true;
        }
    }
    return false;
}

static bool same_group(const struct model_batch *batch, const struct model_load *load)
{
    return batch->loader == load->loader && batch->shown == load->shown &&
           batch->depth == load->load.depth;
}

static struct model_batch *in_flight(struct sim *sim, const struct model_load *load, unsigned key)
{
    for (size_t i = 0; i < sim->out_count; i++) {
        struct model_batch *batch = sim->out[i];
        if (!batch->dropped && same_group(batch, load) && batch_has(batch, key)) {
            return batch;
        }
    }
    return NULL;
}

static struct model_batch *out_numbered(struct sim *sim, uint64_t number)
{
    for (size_t i = 0; i < sim->out_count; i++) {
        if (sim->out[i]->number == number && !sim->out[i]->dropped) {
            return sim->out[i];
        }
    }
    return NULL;
}

static bool answered(const struct model_load *load, size_t index)
{
    return load->load.answers[index].value != NULL || load->load.answers[index].error != NULL;
}

/* ---- Batches ---- */

static void complete(struct sim *sim, size_t index);
static void new_load(struct sim *sim, struct model_batch *parent);

/* Who waits for a key and has no batch yet has this one. */
static bool expect_key(struct sim *sim, const struct model_batch *batch, unsigned number)
{
    bool waited = false;
    for (size_t i = 0; i < LOADS_MAX; i++) {
        struct model_load *load = sim->loads[i];
        if (load == NULL || !load->waits || !same_group(batch, load)) {
            continue;
        }
        for (size_t j = 0; j < load->load.count; j++) {
            struct model_key *key = &load->keys[j];
            if (key->key == number && key->expected == 0 && !answered(load, j)) {
                key->expected = batch->number;
                waited = true;
            }
        }
    }
    return waited;
}

/* Nothing is sent that nobody waits for. */
static void expect(struct sim *sim, const struct model_batch *batch)
{
    for (size_t k = 0; k < batch->count; k++) {
        assert_true(expect_key(sim, batch, batch->keys[k]));
    }
}

static void count_turns(struct sim *sim, const struct model_batch *batch)
{
    for (size_t i = 0; i < LOADS_MAX; i++) {
        struct model_load *load = sim->loads[i];
        if (load == NULL || !load->waits || !same_group(batch, load)) {
            continue;
        }
        for (size_t j = 0; j < load->load.count; j++) {
            struct model_key *key = &load->keys[j];
            if (key->queued && key->expected == 0) {
                key->sent += batch->count;
                assert_true(key->sent <= key->sent_max);
            }
        }
    }
}

static void check_start(struct sim *sim, const struct model_batch *batch)
{
    const struct batch_limits *limits = &batch->batch->loader->limits;
    assert_true(batch->count > 0 && batch->count <= limits->max_size);
    uint32_t out = 1;
    for (size_t i = 0; i < sim->out_count; i++) {
        const struct model_batch *other = sim->out[i];
        if (other->dropped || other->loader != batch->loader || other->depth != batch->depth) {
            continue;
        }
        out++;
        for (size_t k = 0; other->shown == batch->shown && k < batch->count; k++) {
            assert_false(batch_has(other, batch->keys[k])); /* never twice at once */
        }
    }
    assert_true(out <= limits->max_in_flight);
    uint64_t bytes = 0;
    for (size_t i = 0; i < batch->count; i++) {
        bytes += batch->batch->keys[i].size + batch->batch->keys[i].source_size;
        for (size_t k = 0; k < i; k++) {
            assert_true(batch->keys[k] != batch->keys[i]);
        }
    }
    assert_true(batch->count == 1 || bytes <= limits->max_bytes);
}

static void start(struct loader *loader, struct batch *given)
{
    struct sim_loader *ours = CONTAINER_OF(loader, struct sim_loader, loader);
    struct sim *sim = ours->sim;
    assert_true(ours->added && sim->out_count < OUT_MAX);
    struct model_batch *batch = calloc(1, sizeof(*batch));
    assert_non_null(batch);
    batch->keys = calloc(given->count, sizeof(*batch->keys));
    assert_non_null(batch->keys);
    batch->batch = given;
    batch->number = given->number;
    batch->started = ++sim->tick;
    batch->loader = ours->index;
    batch->depth = given->depth;
    batch->count = given->count;
    while (batch->shown < SHOWN &&
           (given->shown_size != strlen(shown_text[batch->shown]) ||
            memcmp(given->shown, shown_text[batch->shown], given->shown_size) != 0)) {
        batch->shown++;
    }
    assert_true(batch->shown < SHOWN);
    for (size_t i = 0; i < given->count; i++) {
        batch->keys[i] = key_number(&given->keys[i]);
    }
    check_start(sim, batch);
    expect(sim, batch);
    count_turns(sim, batch);
    sim->out[sim->out_count++] = batch;
    ours->batches++;
    ours->sent += given->count;
    if (sim->profile->nested && chance(sim, 15)) {
        new_load(sim, batch);
    }
    if (chance(sim, 30)) {
        complete(sim, sim->out_count - 1);
    }
}

static void batch_free(struct sim *sim, size_t index)
{
    free(sim->out[index]->keys);
    free(sim->out[index]);
    sim->out[index] = sim->out[--sim->out_count];
}

static bool cancel(struct loader *loader, struct batch *given)
{
    struct sim_loader *ours = CONTAINER_OF(loader, struct sim_loader, loader);
    struct sim *sim = ours->sim;
    size_t index = 0;
    while (sim->out[index]->batch != given) {
        assert_true(++index < sim->out_count);
    }
    assert_false(sim->out[index]->dropped);
    assert_true(!ours->added || sim->closing || sim->now >= given->deadline_us);
    sim->out[index]->dropped = true;
    ours->errors++;
    if (chance(sim, 50)) {
        batch_free(sim, index);
        return true;
    }
    return false;
}

/* Fails it, some of its keys, or nothing. */
static void complete(struct sim *sim, size_t index)
{
    struct batch *given = sim->out[index]->batch;
    struct sim_loader *ours = &sim->loaders[sim->out[index]->loader];
    uint64_t uncounted = 0;
    uint64_t *errors = sim->out[index]->dropped ? &uncounted : &ours->errors;
    bool fails = chance(sim, 10);
    struct error error = ERROR_INIT;
    error_set(&error, CODE_LOADER_FAILED, "%llu", (unsigned long long)given->number);
    for (size_t i = 0; i < given->count && !fails; i++) {
        if (chance(sim, 3)) {
            struct error *one = arena_alloc(&given->arena, sizeof(*one));
            assert_non_null(one);
            *one = error;
            given->answers[i].error = one;
            ++*errors;
            continue;
        }
        struct model_value *value = arena_alloc(&given->arena, sizeof(*value));
        assert_non_null(value);
        *value = (struct model_value){.batch = given->number, .key = sim->out[index]->keys[i]};
        given->answers[i].value = value;
    }
    batch_free(sim, index);
    if (fails) {
        ++*errors;
        coalescer_fail(sim->coalescer, given, &error, sim->now);
    } else {
        coalescer_complete(sim->coalescer, given, sim->now);
    }
}

/* ---- Loads ---- */

static void load_free(struct model_load *load)
{
    struct sim *sim = load->sim;
    for (size_t i = 0; i < LOADS_MAX; i++) {
        if (sim->loads[i] == load) {
            sim->loads[i] = NULL;
        }
    }
    free(load->keys);
    free(load);
}

static void check_answer(struct model_load *load, size_t index)
{
    struct sim *sim = load->sim;
    const struct load_answer *answer = &load->load.answers[index];
    const struct model_key *key = &load->keys[index];
    if (answer->error == NULL) {
        const struct model_value *value = answer->value;
        assert_int_equal(value->key, key->key);
        assert_true(value->batch == key->expected);
        return;
    }
    switch (answer->error->code) {
    case CODE_LOADER_FAILED:
        assert_true(strtoull(answer->error->message, NULL, 10) == key->expected);
        break;
    case CODE_TIMEOUT:
        sim->timeouts++;
        if (strstr(answer->error->message, "this load") != NULL) {
            assert_true(load->load.deadline_us > 0 && load->load.deadline_us <= sim->now);
        } else {
            assert_true(key->expected != 0);
        }
        break;
    default:
        assert_int_equal(answer->error->code, CODE_UNAVAILABLE);
        assert_true(sim->closing || !sim->loaders[load->loader].added);
    }
}

static void done(struct load *given)
{
    struct model_load *load = CONTAINER_OF(given, struct model_load, load);
    struct sim *sim = load->sim;
    assert_int_equal(sim->inside, 0);
    assert_true(load->waits && !load->done);
    load->waits = false;
    load->done = true;
    for (size_t i = 0; i < given->count; i++) {
        check_answer(load, i);
        sim->answered++;
    }
    if (chance(sim, 20)) {
        new_load(sim, NULL);
    }
    if (chance(sim, 10)) {
        struct model_load *other = sim->loads[draw(sim, LOADS_MAX)];
        if (other != NULL && other->waits) {
            other->waits = false;
            load_cancel(sim->coalescer, &other->load);
            load_free(other);
        }
    }
    if (chance(sim, 80)) {
        load_release(sim->coalescer, given);
        load_free(load);
    }
}

static bool asks_for(const struct model_load *load, unsigned key)
{
    for (size_t i = 0; i < load->load.count; i++) {
        if (load->keys[i].key == key) {
            return true;
        }
    }
    return false;
}

static bool asks_for_all(const struct model_load *load, const struct model_batch *batch)
{
    bool all = batch->loader == load->loader && batch->shown == load->shown;
    for (size_t i = 0; all && i < batch->count; i++) {
        all = asks_for(load, batch->keys[i]);
    }
    return all;
}

/* The number of the one batch for whose loads alone this one is out, or 0. */
static uint64_t only_parent(struct sim *sim, const struct model_batch *batch)
{
    uint64_t parent = 0;
    for (size_t i = 0; i < LOADS_MAX; i++) {
        const struct model_load *other = sim->loads[i];
        bool flies = false;
        for (size_t k = 0; other != NULL && other->waits && k < other->load.count; k++) {
            flies = flies || (!answered(other, k) && other->keys[k].expected == batch->number);
        }
        if (!flies) {
            continue;
        }
        if (other->parent == 0 || out_numbered(sim, other->parent) == NULL ||
            (parent != 0 && parent != other->parent)) {
            return 0;
        }
        parent = other->parent;
    }
    return parent;
}

/* Whether the load asks for all keys of a batch that it works for. */
static bool waits_for_itself(struct sim *sim, const struct model_load *load,
                             const struct model_batch *batch)
{
    while (batch != NULL && !asks_for_all(load, batch)) {
        uint64_t parent = only_parent(sim, batch);
        batch = parent != 0 ? out_numbered(sim, parent) : NULL;
    }
    return batch != NULL;
}

/* Keys of the origin that are pending in the load's group, this load's among them. */
static uint64_t pending_of_origin(struct sim *sim, const struct model_load *load)
{
    uint64_t count = 0;
    for (size_t i = 0; i < LOADS_MAX; i++) {
        const struct model_load *other = sim->loads[i];
        if (other == NULL || !other->waits || other->load.origin != load->load.origin ||
            other->loader != load->loader || other->shown != load->shown ||
            other->load.depth != load->load.depth) {
            continue;
        }
        for (size_t k = 0; k < other->load.count; k++) {
            count += other->keys[k].expected == 0 && !answered(other, k);
        }
    }
    return count;
}

static void model_begin(struct sim *sim, struct model_load *load)
{
    for (size_t i = 0; i < load->load.count; i++) {
        struct model_key *key = &load->keys[i];
        const struct model_batch *flight = in_flight(sim, load, key->key);
        key->overtaken = sim->overtaken[load->loader][key->key];
        key->queued = flight == NULL;
        if (flight != NULL && !load->load.fresh && flight->started > key->overtaken) {
            key->expected = flight->number;
            sim->joined++;
        }
    }
}

/* Its origin's turns until it is its own, in each of which every other has one
 * of theirs; and the batch that is under way when it comes may be all theirs. */
static void bound_turns(struct sim *sim, struct model_load *load)
{
    uint64_t turns = pending_of_origin(sim, load) / COALESCER_QUANTUM + 1;
    for (size_t i = 0; i < load->load.count; i++) {
        load->keys[i].sent_max =
            turns * COALESCER_QUANTUM * sim->profile->origins + sim->profile->max_size;
    }
}

static void draw_keys(struct sim *sim, struct model_load *load, struct load_key *keys,
                      char (*bytes)[KEY_BYTES])
{
    const struct profile *profile = sim->profile;
    unsigned first = (unsigned)draw(sim, profile->keys);
    unsigned step = 1 + (unsigned)draw(sim, 3);
    for (size_t i = 0; i < load->load.count; i++) {
        unsigned key = (first + (unsigned)i * step) % profile->keys;
        load->keys[i] = (struct model_key){.key = key};
        keys[i] = (struct load_key){.bytes = (uint8_t *)bytes[i],
                                    .size = key_bytes(key, bytes[i]),
                                    .source_size = (uint32_t)draw(sim, 4)};
    }
}

static struct model_load *prepare(struct sim *sim, struct model_batch *parent, size_t count)
{
    struct model_load *load = calloc(1, sizeof(*load));
    assert_non_null(load);
    load->keys = calloc(count + 1, sizeof(*load->keys));
    assert_non_null(load->keys);
    load->sim = sim;
    load->loader = (unsigned)draw(sim, sim->profile->loaders);
    load->shown = (unsigned)draw(sim, sim->profile->shown);
    load->came = ++sim->tick;
    load->load = (struct load){
        .loader = &sim->loaders[load->loader].loader,
        .origin = draw(sim, sim->profile->origins),
        .shown = (const uint8_t *)shown_text[load->shown],
        .shown_size = (uint32_t)strlen(shown_text[load->shown]),
        .fresh = chance(sim, 10),
        .deadline_us = chance(sim, 40) ? sim->now + 1 + draw(sim, 3000) : 0,
        .done = done,
        .count = count,
    };
    if (parent != NULL) {
        load->load.parent = parent->batch;
        load->load.depth = parent->depth + 1;
        load->parent = parent->number;
    }
    return load;
}

static void new_load(struct sim *sim, struct model_batch *parent)
{
    size_t place = 0;
    while (place < LOADS_MAX && sim->loads[place] != NULL) {
        place++;
    }
    if (place == LOADS_MAX) {
        return;
    }
    size_t count = draw(sim, sim->profile->load_keys_max + 1);
    struct model_load *load = prepare(sim, parent, count);
    struct load_key *keys = calloc(count + 1, sizeof(*keys));
    char(*bytes)[KEY_BYTES] = calloc(count + 1, sizeof(*bytes));
    assert_non_null(keys);
    assert_non_null(bytes);
    draw_keys(sim, load, keys, bytes);

    struct sim_loader *loader = &sim->loaders[load->loader];
    int wanted = 0;
    if (!loader->added || sim->closing) {
        wanted = -CODE_UNAVAILABLE;
    } else if (load->load.depth > COALESCER_DEPTH_MAX ||
               (parent != NULL && waits_for_itself(sim, load, parent))) {
        wanted = -CODE_LOADER_FAILED;
    }
    model_begin(sim, load);
    sim->inside++;
    int status = coalescer_load(sim->coalescer, &load->load, keys, count, sim->now, NULL);
    sim->inside--;
    assert_int_equal(status, wanted);
    free(keys);
    free(bytes);
    if (status != 0) {
        sim->refused++;
        load_free(load);
        return;
    }
    loader->loads++;
    loader->keys += count;
    load->waits = true;
    sim->loads[place] = load;
    bound_turns(sim, load);
}

/* ---- The story ---- */

static void flush(struct sim *sim)
{
    unsigned rounds = 0;
    while (coalescer_flush(sim->coalescer, sim->now)) {
        assert_true(++rounds < 10000);
    }
    uint64_t next = coalescer_next_us(sim->coalescer);
    for (size_t i = 0; i < LOADS_MAX; i++) {
        const struct model_load *load = sim->loads[i];
        if (load != NULL && load->waits && load->load.deadline_us > 0) {
            assert_true(next > 0 && next <= load->load.deadline_us);
        }
    }
}

static void pass_time(struct sim *sim)
{
    sim->now += draw(sim, 400);
    coalescer_expire(sim->coalescer, sim->now);
    uint64_t next = coalescer_next_us(sim->coalescer);
    assert_true(next == 0 || next > sim->now);
    for (size_t i = 0; i < LOADS_MAX; i++) {
        const struct model_load *load = sim->loads[i];
        assert_true(load == NULL || !load->waits || load->load.deadline_us == 0 ||
                    load->load.deadline_us > sim->now);
    }
}

static void overtake(struct sim *sim)
{
    unsigned loader = (unsigned)draw(sim, sim->profile->loaders);
    sim->tick++;
    if (chance(sim, 20)) {
        for (unsigned key = 0; key < sim->profile->keys; key++) {
            sim->overtaken[loader][key] = sim->tick;
        }
        coalescer_overtake(sim->coalescer, &sim->loaders[loader].loader, NULL, 0);
        return;
    }
    unsigned key = (unsigned)draw(sim, sim->profile->keys);
    char bytes[KEY_BYTES];
    uint32_t size = key_bytes(key, bytes);
    sim->overtaken[loader][key] = sim->tick;
    coalescer_overtake(sim->coalescer, &sim->loaders[loader].loader, (uint8_t *)bytes, size);
}

static void give_up(struct sim *sim)
{
    struct model_load *load = sim->loads[draw(sim, LOADS_MAX)];
    if (load == NULL) {
        return;
    }
    if (load->waits) {
        load_cancel(sim->coalescer, &load->load);
    } else {
        load_release(sim->coalescer, &load->load);
    }
    load_free(load);
}

static bool somebody_is_away(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->profile->loaders; i++) {
        if (!sim->loaders[i].added) {
            return true;
        }
    }
    return false;
}

static void come_and_go(struct sim *sim)
{
    struct sim_loader *loader = &sim->loaders[draw(sim, sim->profile->loaders)];
    if (loader->added) {
        loader->added = false;
        coalescer_remove(sim->coalescer, &loader->loader);
    } else {
        loader->added = true;
        assert_int_equal(coalescer_add(sim->coalescer, &loader->loader), 0);
    }
}

static void step(struct sim *sim)
{
    unsigned what = (unsigned)draw(sim, 1000);
    if (what < 350) {
        new_load(sim, NULL);
    } else if (what < 450) {
        size_t index = sim->out_count > 0 ? (size_t)draw(sim, sim->out_count) : 0;
        bool nests = sim->profile->nested && sim->out_count > 0 && !sim->out[index]->dropped;
        new_load(sim, nests ? sim->out[index] : NULL);
    } else if (what < 650) {
        flush(sim);
    } else if (what < 820 && sim->out_count > 0) {
        complete(sim, (size_t)draw(sim, sim->out_count));
    } else if (what < 900) {
        overtake(sim);
    } else if (what < 930) {
        give_up(sim);
    } else if (what < 933 || (what < 960 && somebody_is_away(sim))) {
        come_and_go(sim);
    } else if (what < 990) {
        pass_time(sim);
    } else {
        struct loader *loader = &sim->loaders[draw(sim, sim->profile->loaders)].loader;
        loader->limits.max_in_flight = 1 + (uint32_t)draw(sim, 4);
    }
}

static void open_sim(struct sim *sim, const struct profile *profile, uint64_t seed)
{
    static const char *const names[LOADERS] = {"representative.tickets", "ticket.comments",
                                               "representative.team"};
    struct limits limits = LIMITS_DEFAULT;
    sim->profile = profile;
    sim->random = seed * 2 + 1;
    sim->now = 1000;
    sim->coalescer = coalescer_create(&limits);
    for (unsigned i = 0; i < LOADERS; i++) {
        struct sim_loader *loader = &sim->loaders[i];
        loader->sim = sim;
        loader->index = i;
        loader->loader = (struct loader){
            .name = names[i],
            .start = start,
            .cancel = cancel,
            .limits = {.max_size = profile->max_size,
                       .max_bytes = (uint64_t)profile->max_size * 7,
                       .max_in_flight = 2,
                       .window_us = profile->window_us,
                       .timeout_us = 2000},
        };
        if (i < profile->loaders) {
            loader->added = true;
            assert_int_equal(coalescer_add(sim->coalescer, &loader->loader), 0);
        }
    }
}

/* Lets all of it come to its end, by answers or by closing. */
static void close_sim(struct sim *sim, bool drains)
{
    for (unsigned i = 0; drains && i < 100000 && coalescer_waiting(sim->coalescer) > 0; i++) {
        flush(sim);
        if (sim->out_count > 0) {
            complete(sim, (size_t)draw(sim, sim->out_count));
        }
        pass_time(sim);
    }
    assert_true(!drains || coalescer_waiting(sim->coalescer) == 0);
    sim->closing = true;
    coalescer_close(sim->coalescer);
    assert_int_equal(coalescer_waiting(sim->coalescer), 0);
    assert_int_equal(coalescer_next_us(sim->coalescer), 0);
    for (unsigned i = 0; i < LOADERS; i++) {
        sim->loaders[i].added = false;
        coalescer_remove(sim->coalescer, &sim->loaders[i].loader);
    }
    while (sim->out_count > 0) {
        complete(sim, 0);
    }
    for (size_t i = 0; i < LOADS_MAX; i++) {
        if (sim->loads[i] != NULL) {
            assert_true(sim->loads[i]->done);
            load_release(sim->coalescer, &sim->loads[i]->load);
            load_free(sim->loads[i]);
        }
    }
    coalescer_free(sim->coalescer);
}

static void check_counters(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->profile->loaders; i++) {
        const struct sim_loader *loader = &sim->loaders[i];
        assert_int_equal(loader->loader.counters.loads, loader->loads);
        assert_int_equal(loader->loader.counters.keys, loader->keys);
        assert_int_equal(loader->loader.counters.batches, loader->batches);
        assert_int_equal(loader->loader.counters.unique_keys, loader->sent);
        assert_int_equal(loader->loader.counters.errors, loader->errors);
        assert_true(loader->loader.counters.unique_keys + loader->loader.counters.joined <=
                    loader->keys);
        assert_true(loader->loader.counters.batch_max <= sim->profile->max_size);
    }
}

static void run(const struct profile *profile)
{
    const char *given = getenv("RELATA_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)seed);
    for (unsigned story = 0; story < 4; story++) {
        struct sim *sim = calloc(1, sizeof(*sim));
        assert_non_null(sim);
        open_sim(sim, profile, seed + story * (uint64_t)1000003);
        for (unsigned i = 0; i < profile->steps; i++) {
            step(sim);
        }
        close_sim(sim, story % 2 == 0);
        check_counters(sim);
        /* A story in which little happened would show little. */
        assert_true(sim->answered > profile->steps / 10 && sim->joined > 0 && sim->timeouts > 0);
        assert_true(!profile->nested || sim->refused > 0);
        free(sim);
    }
}

static void test_few_keys_many_joins(void **state)
{
    (void)state;
    run(&(struct profile){.steps = 8000,
                          .keys = 40,
                          .load_keys_max = 6,
                          .origins = 6,
                          .max_size = 8,
                          .loaders = 3,
                          .shown = 3,
                          .nested = true});
}

static void test_with_a_window(void **state)
{
    (void)state;
    run(&(struct profile){.steps = 4000,
                          .keys = 60,
                          .load_keys_max = 5,
                          .origins = 3,
                          .max_size = 6,
                          .loaders = 2,
                          .shown = 2,
                          .window_us = 300,
                          .nested = true});
}

static void test_a_crowd_takes_turns(void **state)
{
    (void)state;
    run(&(struct profile){.steps = 1500,
                          .keys = KEYS_MAX,
                          .load_keys_max = 150,
                          .origins = 4,
                          .max_size = 50,
                          .loaders = 1,
                          .shown = 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_keys_many_joins),
        cmocka_unit_test(test_with_a_window),
        cmocka_unit_test(test_a_crowd_takes_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
