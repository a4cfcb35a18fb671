/* What the coalescer itself costs for each key, without a loop, a socket or a
 * layer: a turn of loads in one group, answered by a loader that answers at
 * once, or after the turn. Prints one line for each case: the fastest of ten
 * rounds, so that what else the machine does counts little. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layers/load/coalescer.h"
#include "protocol/base/check.h"

enum { KEYS_MAX = 1600, KEY_BYTES = 9, ORIGINS = 20, OUT_MAX = 64, ROUNDS = 10 };

struct bench {
    struct coalescer *coalescer;
    struct loader loader;
    bool later;
    struct batch *out[OUT_MAX];
    size_t out_count;
    size_t answered;
};

struct one_load {
    struct load load;
    struct bench *bench;
};

struct shape {
    const char *name;
    size_t loads; /* in a turn */
    size_t keys_per_load;
    size_t distinct; /* keys in a turn */
    bool later;
};

static uint8_t keys[KEYS_MAX][KEY_BYTES];
static struct one_load all_loads[KEYS_MAX];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void finish(struct bench *bench, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        batch->answers[i].value = batch->keys[i].bytes;
    }
    coalescer_complete(bench->coalescer, batch, 1);
}

static void start(struct loader *loader, struct batch *batch)
{
    struct bench *bench = CONTAINER_OF(loader, struct bench, loader);
    if (bench->later) {
        CHECK(bench->out_count < OUT_MAX);
        bench->out[bench->out_count++] = batch;
    } else {
        finish(bench, batch);
    }
}

static void done(struct load *load)
{
    struct bench *bench = CONTAINER_OF(load, struct one_load, load)->bench;
    bench->answered += load->count;
    load_release(bench->coalescer, load);
}

static void turn(struct bench *bench, const struct shape *shape)
{
    struct load_key asked[KEYS_MAX];
    size_t next = 0;
    for (size_t i = 0; i < shape->loads; i++) {
        for (size_t k = 0; k < shape->keys_per_load; k++) {
            asked[k] = (struct load_key){.bytes = keys[next], .size = KEY_BYTES};
            next = next + 1 < shape->distinct ? next + 1 : 0;
        }
        all_loads[i].bench = bench;
        all_loads[i].load = (struct load){
            .loader = &bench->loader,
            .origin = i % ORIGINS,
            .deadline_us = 30000000,
            .done = done,
        };
        int status = coalescer_load(bench->coalescer, &all_loads[i].load, asked,
                                    shape->keys_per_load, 1, NULL);
        CHECK(status == 0);
    }
    while (coalescer_flush(bench->coalescer, 1)) {
    }
    while (bench->out_count > 0) {
        finish(bench, bench->out[--bench->out_count]);
        coalescer_flush(bench->coalescer, 1);
    }
    CHECK(coalescer_waiting(bench->coalescer) == 0);
}

static void run(const struct shape *shape, unsigned turns)
{
    struct limits limits = LIMITS_DEFAULT;
    struct bench bench = {
        .coalescer = coalescer_create(&limits),
        .later = shape->later,
        .loader = {.name = "representative.tickets",
                   .start = start,
                   .limits = {.max_size = 1000,
                              .max_bytes = 1 << 20,
                              .max_in_flight = 4,
                              .timeout_us = 5000000}},
    };
    CHECK(coalescer_add(bench.coalescer, &bench.loader) == 0);
    turn(&bench, shape);
    bench.answered = 0;
    double best = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t began = now_ns();
        for (unsigned i = 0; i < turns; i++) {
            turn(&bench, shape);
        }
        double took = (double)(now_ns() - began) / turns;
        best = round == 0 || took < best ? took : best;
    }
    size_t asked = shape->loads * shape->keys_per_load;
    CHECK(bench.answered == asked * turns * ROUNDS);
    printf("%-44s %6.1f ns/key %8.1f us/turn\n", shape->name, best / (double)asked, best / 1000);
    coalescer_remove(bench.coalescer, &bench.loader);
    coalescer_free(bench.coalescer);
}

int main(int argc, char **argv)
{
    unsigned turns = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 200;
    for (size_t i = 0; i < KEYS_MAX; i++) {
        uint64_t number = (i + 1) * 7919;
        keys[i][0] = 0xcf;
        memcpy(&keys[i][1], &number, sizeof(number));
    }
    static const struct shape shapes[] = {
        {"1 load of 1600 keys, at once", 1, 1600, 1600, false},
        {"16 loads of 100 keys, at once", 16, 100, 1600, false},
        {"1600 loads of 1 key, at once", 1600, 1, 1600, false},
        {"1600 loads of 1 key, 50 distinct, at once", 1600, 1, 50, false},
        {"1 load of 1600 keys, later", 1, 1600, 1600, true},
        {"16 loads of 100 keys, later", 16, 100, 1600, true},
        {"1600 loads of 1 key, later", 1600, 1, 1600, true},
        {"1 load of 1 key, at once", 1, 1, 1, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        run(&shapes[i], shapes[i].loads * shapes[i].keys_per_load > 1 ? turns : turns * 100);
    }
    return 0;
}
