#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layers/load/outside.h"
#include "layers/load/remote.h"
#include "layers/memory/memory.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* Remote providers, with callers of the test's own and time as a number. The
 * child of source k is the node 1000 + k. */

enum { KEYS_MAX = 400, CALLS_MAX = 64, CHILD = 1000 };

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  node:\n"
                           "    fields: {id: integer, name: string}\n"
                           "    relationships:\n"
                           "      children: {has_many: node, manual: {filter: id == parent.id}}\n"
                           "      others: {has_many: node, destination_field: id}\n";

static struct limits limits;
static struct schema *schema;
static struct world world;
static struct memory *memory;
static struct store *stores[1];
static struct coalescer *coalescer;
static struct task_queue tasks;
static struct relations_owner shared;
static struct relations relations;
static struct remote *remote;
static struct relationship *children;
static struct relation *relation;
static struct buffer shown;
static struct arena records;
static uint64_t now_us;

/* ---- Callers ---- */

struct request {
    struct remote_call *call;
    size_t count;
    int64_t keys[KEYS_MAX];
    uint64_t batch;
    uint64_t timeout_ms;
};

struct fake {
    struct caller caller;
    struct request requests[CALLS_MAX];
    size_t count;     /* out */
    size_t sent;      /* ever */
    size_t cancelled; /* ever */
    bool refuses;
};

static int64_t read_integer(struct reader *in)
{
    struct token token = reader_next(in);
    assert_int_equal(token.kind, TOKEN_INTEGER);
    return token.integer;
}

static void expect_text(struct reader *in, const char *expected)
{
    size_t size = 0;
    const char *text = reader_name(in, &size);
    assert_non_null(text);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(text, expected, size);
}

static void read_records(struct reader *in, struct request *request)
{
    request->count = reader_next(in).count;
    assert_in_range(request->count, 1, KEYS_MAX);
    for (size_t i = 0; i < request->count; i++) {
        assert_int_equal(reader_next(in).count, 2);
        expect_text(in, "id");
        request->keys[i] = read_integer(in);
        expect_text(in, "name");
        assert_true(reader_skip(in));
    }
}

static int fake_call(struct caller *caller, const char *method, const uint8_t *params, size_t size,
                     struct remote_call *call)
{
    struct fake *fake = CONTAINER_OF(caller, struct fake, caller);
    if (fake->refuses) {
        return -CODE_OVERLOADED;
    }
    assert_string_equal(method, "load_relationship");
    assert_true(fake->count < CALLS_MAX);
    struct request *request = &fake->requests[fake->count++];
    *request = (struct request){.call = call};
    fake->sent++;
    struct reader in = reader_of(params, size);
    assert_int_equal(reader_next(&in).count, 5);
    expect_text(&in, "node");
    expect_text(&in, "children");
    read_records(&in, request);
    struct token options = reader_next(&in);
    assert_int_equal(options.kind, TOKEN_MAP);
    assert_int_equal(options.count, 0);
    assert_int_equal(reader_next(&in).count, 3);
    expect_text(&in, "query");
    assert_int_equal(reader_next(&in).count, 0);
    expect_text(&in, "timeout_ms");
    request->timeout_ms = (uint64_t)read_integer(&in);
    expect_text(&in, "batch");
    request->batch = (uint64_t)read_integer(&in);
    assert_ptr_equal(in.at, in.end);
    return 0;
}

static void forget(struct fake *fake, const struct remote_call *call)
{
    size_t i = 0;
    while (i < fake->count && fake->requests[i].call != call) {
        i++;
    }
    assert_true(i < fake->count);
    fake->requests[i] = fake->requests[--fake->count];
}

static void fake_cancel(struct caller *caller, struct remote_call *call)
{
    struct fake *fake = CONTAINER_OF(caller, struct fake, caller);
    forget(fake, call);
    fake->cancelled++;
}

static void fake_open(struct fake *fake, uint64_t id, const char *name)
{
    memset(fake, 0, sizeof *fake);
    fake->caller =
        (struct caller){.id = id, .name = name, .call = fake_call, .cancel = fake_cancel};
    list_init(&fake->caller.providers);
}

static void fake_provide(struct fake *fake, uint64_t max_size, uint64_t max_in_flight)
{
    const struct provide_limits asked = {.max_size = max_size, .max_in_flight = max_in_flight};
    struct error error = ERROR_INIT;
    assert_int_equal(remote_provide(remote, &fake->caller, children, &asked, &error), 0);
}

static void end_call(struct fake *fake, size_t at, const struct buffer *error,
                     const struct buffer *result)
{
    struct remote_call *call = fake->requests[at].call;
    fake->requests[at] = fake->requests[--fake->count];
    assert_false(error->failed || result->failed);
    remote_ended(remote, call, error->bytes, error->size, result->bytes, result->size, now_us);
}

/* The right answer but for `missing` elements at its end. */
static void answer_short(struct fake *fake, size_t at, size_t missing)
{
    struct buffer result = BUFFER_INIT;
    const struct request *request = &fake->requests[at];
    write_array(&result, (uint32_t)(request->count - missing));
    for (size_t i = 0; i + missing < request->count; i++) {
        write_array(&result, 1);
        write_map(&result, 1);
        write_text(&result, "id");
        write_integer(&result, CHILD + request->keys[i]);
    }
    end_call(fake, at, &(struct buffer)BUFFER_INIT, &result);
    buffer_release(&result);
}

static void answer(struct fake *fake, size_t at)
{
    answer_short(fake, at, 0);
}

static void answer_error(struct fake *fake, size_t at, const char *code, const char *message)
{
    struct buffer error = BUFFER_INIT;
    if (code == NULL) {
        write_text(&error, message);
    } else {
        write_map(&error, 2);
        write_text(&error, "code");
        write_text(&error, code);
        write_text(&error, "message");
        write_text(&error, message);
    }
    end_call(fake, at, &error, &(struct buffer)BUFFER_INIT);
    buffer_release(&error);
}

static void answer_too_large(struct fake *fake, size_t at)
{
    struct remote_call *call = fake->requests[at].call;
    fake->requests[at] = fake->requests[--fake->count];
    remote_ended_too_large(remote, call, now_us);
}

static void fake_gone(struct fake *fake)
{
    remote_caller_gone(remote, &fake->caller, NULL, now_us);
    assert_int_equal(fake->count, 0);
    assert_true(list_empty(&fake->caller.providers));
}

/* ---- Loads ---- */

struct asked {
    struct load load;
    size_t count;
    int64_t keys[KEYS_MAX];
    unsigned ended;
    /* Of what came: */
    size_t good;
    enum code code; /* of the errors; the last one's */
    struct error error;
};

static void on_loaded(struct load *load)
{
    struct asked *asked = CONTAINER_OF(load, struct asked, load);
    asked->ended++;
    for (size_t i = 0; i < asked->count; i++) {
        const struct load_answer *given = &load->answers[i];
        if (given->error != NULL) {
            asked->error = *given->error;
            asked->code = given->error->code;
            continue;
        }
        const struct related_records *related = given->value;
        assert_int_equal(related->count, 1);
        uint32_t size = 0;
        const uint8_t *id = record_field(related->records[0], 2, 0, &size);
        struct reader in = reader_of(id, size);
        assert_int_equal(read_integer(&in), CHILD + asked->keys[i]);
        asked->good++;
    }
    load_release(coalescer, load);
}

static const struct record *node(int64_t id)
{
    struct buffer bytes = BUFFER_INIT;
    write_map(&bytes, 1);
    write_text(&bytes, "id");
    write_integer(&bytes, id);
    const struct record *record =
        fixture_record(children->source, &records, bytes.bytes, bytes.size);
    buffer_release(&bytes);
    return record;
}

/* Begins to load the children of `count` nodes from `first` on. */
static int ask_for(struct asked *asked, int64_t first, size_t count, struct batch *parent)
{
    struct load_key keys[KEYS_MAX];
    uint8_t bytes[KEYS_MAX][WRITE_HEADER_MAX];
    memset(asked, 0, sizeof *asked);
    asked->count = count;
    asked->load = (struct load){.loader = &relation->loader,
                                .origin = 1,
                                .shown = shown.bytes,
                                .shown_size = (uint32_t)shown.size,
                                .parent = parent,
                                .depth = parent == NULL ? 0 : parent->depth + 1,
                                .done = on_loaded};
    for (size_t i = 0; i < count; i++) {
        asked->keys[i] = first + (int64_t)i;
        keys[i] = (struct load_key){.bytes = bytes[i],
                                    .size = (uint32_t)encode_integer(bytes[i], asked->keys[i]),
                                    .source = node(asked->keys[i])};
    }
    return coalescer_load(coalescer, &asked->load, keys, count, now_us, &asked->error);
}

static void turn(void)
{
    shared.now_us = now_us;
    coalescer_expire(coalescer, now_us);
    remote_expire(remote, now_us);
    while (coalescer_flush(coalescer, now_us)) {
    }
}

static void ask(struct asked *asked, int64_t first, size_t count)
{
    assert_int_equal(ask_for(asked, first, count, NULL), 0);
    turn();
}

static void expect_good(const struct asked *asked)
{
    if (asked->code != CODE_OK) {
        print_error("%s\n", asked->error.message);
    }
    assert_int_equal(asked->ended, 1);
    assert_int_equal(asked->good, asked->count);
}

static void expect_failed(const struct asked *asked, enum code code, const char *text)
{
    assert_int_equal(asked->ended, 1);
    assert_int_equal(asked->good, 0);
    assert_string_equal(code_text(asked->code), code_text(code));
    assert_string_equal(asked->error.resource, "node");
    assert_string_equal(asked->error.relationship, "children");
    if (strstr(asked->error.message, text) == NULL ||
        strstr(asked->error.message, "node.children") == NULL) {
        fail_msg("\"%s\" does not say \"%s\" of node.children", asked->error.message, text);
    }
}

/* ---- The rooms around it ---- */

static int open_relation(void *context, struct relation *opened, struct error *error)
{
    (void)context;
    (void)error;
    opened->loader.limits.timeout_us = 0; /* remote_expire keeps the time */
    return 0;
}

static void close_relation(void *context, struct relation *closed)
{
    (void)context;
    (void)closed;
}

static void start_batch(void *context, struct relation *started, struct batch *batch)
{
    (void)context;
    remote_start(remote, started, batch, now_us);
}

static bool cancel_batch(void *context, struct relation *canceled, struct batch *batch)
{
    (void)context;
    return remote_cancel(remote, canceled, batch);
}

static const struct outside_loaders loaders = {
    .open = open_relation, .close = close_relation, .start = start_batch, .cancel = cancel_batch};

static int set_up(void **state)
{
    (void)state;
    limits = (struct limits)LIMITS_DEFAULT;
    now_us = 1000000;
    schema = schema_fixture(yaml);
    children = &schema->resources[0].relationships[0];
    children->loader = LOADER_REMOTE;
    children->batch = (struct batch_limits){
        .max_size = 100, .max_bytes = 1 << 20, .max_in_flight = 4, .timeout_us = 5000000};
    world_init(&world);
    task_queue_init(&tasks);
    memory = memory_create(&world);
    stores[0] = memory_table_create(memory, &schema->resources[0]);
    coalescer = coalescer_create(&limits);
    remote = remote_create(coalescer, &limits);
    assert_non_null(remote);
    shared = (struct relations_owner){.world = &world,
                                      .coalescer = coalescer,
                                      .tasks = &tasks,
                                      .limits = &limits,
                                      .remotes = &loaders,
                                      .now_us = now_us};
    struct error error = ERROR_INIT;
    assert_int_equal(relations_open(&relations, schema, stores, &shared, &error), 0);
    relation = relations_find(&relations, children);
    arena_init(&records, 0);
    shown = (struct buffer)BUFFER_INIT;
    write_array(&shown, 2);
    write_map(&shown, 1);
    write_text(&shown, "query");
    write_map(&shown, 0);
    write_nil(&shown);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    relations_close(&relations);
    remote_free(remote);
    coalescer_free(coalescer);
    memory_table_free(stores[0]);
    memory_free(memory);
    schema_put(schema);
    buffer_release(&shown);
    arena_release(&records);
    return 0;
}

/* ---- One provider ---- */

static void test_answers(void **state)
{
    (void)state;
    struct fake fake;
    struct asked first;
    struct asked second;
    fake_open(&fake, 1, "worker");
    fake_provide(&fake, 0, 0);
    assert_int_equal(remote_providers(remote, children), 1);
    assert_int_equal(ask_for(&first, 1, 3, NULL), 0);
    assert_int_equal(ask_for(&second, 2, 3, NULL), 0);
    turn();
    assert_int_equal(fake.count, 1);
    assert_int_equal(fake.requests[0].count, 4); /* each key once */
    assert_int_equal(fake.requests[0].timeout_ms, 5000);
    answer(&fake, 0);
    expect_good(&first);
    expect_good(&second);
    assert_int_equal(remote_next_us(remote), 0);
    fake_gone(&fake);
    assert_int_equal(remote_providers(remote, children), 0);
}

static void test_nobody(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    ask(&asked, 1, 2);
    expect_failed(&asked, CODE_UNAVAILABLE, "no client provides it");
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 0);
    fake_gone(&fake);
    ask(&asked, 1, 2);
    expect_failed(&asked, CODE_UNAVAILABLE, "no client provides it");
    fake_gone(&fake); /* again does no harm */
}

static void test_only_remote_ones(void **state)
{
    (void)state;
    struct fake fake;
    struct error error = ERROR_INIT;
    const struct provide_limits none = {0};
    fake_open(&fake, 1, NULL);
    const struct relationship *others = &schema->resources[0].relationships[1];
    assert_int_equal(remote_provide(remote, &fake.caller, others, &none, &error),
                     -CODE_INVALID_REQUEST);
    assert_string_equal(error.relationship, "others");
    assert_false(remote_unprovide(remote, &fake.caller, others));
    assert_false(remote_unprovide(remote, &fake.caller, children));
    fake_provide(&fake, 0, 0);
    assert_true(remote_unprovide(remote, &fake.caller, children));
    assert_false(remote_unprovide(remote, &fake.caller, children));
    assert_true(list_empty(&fake.caller.providers));
}

static void test_errors(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 7, "worker");
    fake_provide(&fake, 0, 0);
    ask(&asked, 1, 2);
    answer_error(&fake, 0, NULL, "the database is away");
    expect_failed(&asked, CODE_LOADER_FAILED, "worker (connection 7): the database is away");
    assert_string_equal(asked.error.cause, "");
    ask(&asked, 1, 2);
    answer_error(&fake, 0, "db_away", "try later");
    expect_failed(&asked, CODE_LOADER_FAILED, "try later");
    assert_string_equal(asked.error.cause, "db_away");
    ask(&asked, 1, 2);
    struct buffer number = BUFFER_INIT;
    write_integer(&number, 42);
    end_call(&fake, 0, &number, &(struct buffer)BUFFER_INIT);
    expect_failed(&asked, CODE_LOADER_FAILED, "no text");
    ask(&asked, 1, 2);
    end_call(&fake, 0, &(struct buffer)BUFFER_INIT, &number);
    expect_failed(&asked, CODE_LOADER_FAILED, "worker (connection 7)");
    buffer_release(&number);
    ask(&asked, 1, 3);
    answer_short(&fake, 0, 1);
    expect_failed(&asked, CODE_LOADER_FAILED, "a list of 2");
    ask(&asked, 1, 3);
    answer(&fake, 0);
    expect_good(&asked);
    fake_gone(&fake);
}

static void test_late(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 0);
    ask(&asked, 1, 2);
    assert_int_equal(remote_next_us(remote), now_us + 5000000);
    now_us += 4999999;
    turn();
    assert_int_equal(asked.ended, 0);
    now_us++;
    turn();
    expect_failed(&asked, CODE_TIMEOUT, "within 5000 ms");
    assert_int_equal(fake.cancelled, 1);
    fake_gone(&fake);
}

static void test_waits_for_room(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 10, 2);
    ask(&asked, 1, 35);
    assert_int_equal(fake.count, 2);
    assert_int_equal(fake.requests[0].count, 10);
    assert_int_equal(fake.requests[1].keys[0], 11);
    answer(&fake, 1);
    assert_int_equal(fake.count, 2);
    answer(&fake, 0);
    answer(&fake, 0);
    assert_int_equal(fake.count, 1);
    assert_int_equal(fake.requests[0].count, 5);
    assert_int_equal(asked.ended, 0);
    answer(&fake, 0);
    expect_good(&asked);
    fake_gone(&fake);
}

/* One part that fails does not fail the others. */
static void test_part_fails(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 10, 2);
    ask(&asked, 1, 20);
    answer_error(&fake, 0, NULL, "no");
    answer(&fake, 0);
    assert_int_equal(asked.ended, 1);
    assert_int_equal(asked.good, 10);
    assert_int_equal(asked.code, CODE_LOADER_FAILED);
    fake_gone(&fake);
}

static void test_provide_again(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 10, 1);
    ask(&asked, 1, 30);
    assert_int_equal(fake.count, 1);
    fake_provide(&fake, 10, 3);
    assert_int_equal(remote_providers(remote, children), 1);
    assert_true(remote_next_us(remote) != 0 && remote_next_us(remote) <= now_us);
    turn();
    assert_int_equal(fake.count, 3);
    while (fake.count > 0) {
        answer(&fake, 0);
    }
    expect_good(&asked);
    fake_gone(&fake);
}

static void test_unprovide(void **state)
{
    (void)state;
    struct fake fake;
    struct asked first;
    struct asked second;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 10, 1);
    ask(&first, 1, 20); /* half of it waits */
    assert_true(remote_unprovide(remote, &fake.caller, children));
    turn();
    ask(&second, 50, 1);
    expect_failed(&second, CODE_UNAVAILABLE, "no client provides it");
    assert_int_equal(fake.count, 1);
    answer(&fake, 0); /* what is out is still taken */
    assert_int_equal(first.ended, 1);
    assert_int_equal(first.good, 10);
    assert_int_equal(first.code, CODE_UNAVAILABLE);
    assert_true(list_empty(&fake.caller.providers));
}

/* Provided again while a request is out: still one provider. */
static void test_provide_after_unprovide(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 1);
    ask(&asked, 1, 2);
    assert_true(remote_unprovide(remote, &fake.caller, children));
    fake_provide(&fake, 0, 1);
    assert_int_equal(remote_providers(remote, children), 1);
    answer(&fake, 0);
    expect_good(&asked);
    fake_gone(&fake);
}

/* ---- Several ---- */

static void test_least_busy_first(void **state)
{
    (void)state;
    struct fake fakes[2];
    struct asked asked[4];
    fake_open(&fakes[0], 1, NULL);
    fake_open(&fakes[1], 2, NULL);
    fake_provide(&fakes[0], 0, 2);
    fake_provide(&fakes[1], 0, 2);
    for (int i = 0; i < 4; i++) {
        ask(&asked[i], (int64_t)10 * i, 1);
        assert_int_equal(fakes[0].count + fakes[1].count, i + 1);
        assert_in_range(fakes[0].count, (unsigned)i / 2, (unsigned)(i + 1) / 2 + 1);
    }
    assert_int_equal(fakes[0].count, 2);
    assert_int_equal(fakes[1].count, 2);
    answer(&fakes[1], 0);
    answer(&fakes[1], 0);
    struct asked next;
    ask(&next, 100, 1);
    assert_int_equal(fakes[1].count, 1);
    /* Equally busy ones take turns. */
    answer(&fakes[1], 0);
    answer(&fakes[0], 0);
    answer(&fakes[0], 0);
    for (int i = 0; i < 4; i++) {
        ask(&asked[i], (int64_t)10 * i, 1);
        assert_int_equal(fakes[i % 2].count, 1);
        answer(&fakes[i % 2], 0);
        expect_good(&asked[i]);
    }
    fake_gone(&fakes[0]);
    fake_gone(&fakes[1]);
}

static void test_gone_elsewhere_once(void **state)
{
    (void)state;
    struct fake fakes[3];
    struct asked asked;
    for (unsigned i = 0; i < 3; i++) {
        fake_open(&fakes[i], i + 1, NULL);
        fake_provide(&fakes[i], 0, 1);
    }
    ask(&asked, 1, 2);
    assert_int_equal(fakes[0].count, 1);
    fake_gone(&fakes[0]);
    assert_int_equal(fakes[1].count, 1);
    answer(&fakes[1], 0);
    expect_good(&asked);
    ask(&asked, 1, 2);
    assert_int_equal(fakes[2].count, 1);
    fake_gone(&fakes[2]);
    assert_int_equal(fakes[1].count, 1);
    fake_open(&fakes[0], 4, NULL);
    fake_provide(&fakes[0], 0, 1);
    fake_gone(&fakes[1]); /* the second time */
    expect_failed(&asked, CODE_UNAVAILABLE, "connection 2 has gone");
    assert_int_equal(fakes[0].sent, 0);
    fake_gone(&fakes[0]);
}

static void test_late_elsewhere(void **state)
{
    (void)state;
    struct fake fakes[2];
    struct asked asked;
    struct asked busy;
    fake_open(&fakes[0], 1, NULL);
    fake_open(&fakes[1], 2, NULL);
    fake_provide(&fakes[0], 0, 1);
    ask(&asked, 1, 2);
    fake_provide(&fakes[1], 0, 1);
    now_us += 1000000;
    ask(&busy, 10, 1);
    assert_int_equal(fakes[1].count, 1);
    now_us += 4000000;
    turn(); /* the first is late, the second has no room */
    assert_int_equal(fakes[0].count, 0);
    assert_int_equal(asked.ended, 0);
    answer(&fakes[1], 0);
    expect_good(&busy);
    assert_int_equal(fakes[1].count, 1);
    now_us += 4999999;
    turn();
    assert_int_equal(asked.ended, 0); /* each attempt has its time */
    now_us++;
    turn();
    expect_failed(&asked, CODE_TIMEOUT, "connection 2 did not answer");
    /* Where the other one goes while the part waits for it, nobody is left. */
    ask(&asked, 1, 2);
    bool at_second = fakes[1].count == 1;
    now_us += 1;
    ask(&busy, 10, 1);
    now_us += 4999999;
    turn();
    fake_gone(&fakes[at_second ? 0 : 1]);
    expect_failed(&asked, CODE_TIMEOUT, "did not answer");
    fake_gone(&fakes[at_second ? 1 : 0]);
    assert_int_equal(busy.ended, 1);
}

static void test_cannot_be_called(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 0);
    fake.refuses = true;
    ask(&asked, 1, 2);
    expect_failed(&asked, CODE_OVERLOADED, "no memory");
    assert_int_equal(remote_next_us(remote), 0);
    fake_gone(&fake);
}

/* ---- Answers that are too large ---- */

static void test_halved(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 4);
    ask(&asked, 1, 4);
    answer_too_large(&fake, 0);
    assert_int_equal(fake.count, 2);
    assert_int_equal(fake.requests[0].count, 2);
    assert_int_equal(fake.requests[0].keys[0], 1);
    assert_int_equal(fake.requests[1].keys[0], 3);
    answer_too_large(&fake, 0); /* sources 1 and 2; what was last is now first */
    assert_int_equal(fake.count, 3);
    assert_int_equal(fake.requests[0].keys[0], 3);
    answer(&fake, 0);
    for (size_t i = 0; i < fake.count; i++) {
        if (fake.requests[i].keys[0] == 2) {
            answer_too_large(&fake, i);
        }
    }
    assert_int_equal(fake.count, 1);
    answer(&fake, 0);
    assert_int_equal(asked.ended, 1);
    assert_int_equal(asked.good, 3);
    assert_int_equal(asked.code, CODE_TOO_LARGE);
    assert_string_equal(asked.error.limit, "provider_answer_bytes");
    assert_string_equal(asked.error.relationship, "children");
    fake_gone(&fake);
}

/* The connection was closed for it: the halves wait a while for another one. */
static void test_halves_wait(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    struct asked other;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 4);
    ask(&asked, 1, 4);
    ask(&other, 20, 1);
    assert_int_equal(fake.count, 2);
    remote_caller_gone(remote, &fake.caller, fake.requests[0].call, now_us);
    assert_int_equal(fake.count, 0);
    expect_failed(&other, CODE_UNAVAILABLE, "has gone");
    assert_int_equal(asked.ended, 0);
    fake_open(&fake, 2, NULL);
    fake_provide(&fake, 0, 4);
    turn();
    assert_int_equal(fake.count, 2);
    answer(&fake, 0);
    remote_caller_gone(remote, &fake.caller, fake.requests[0].call, now_us);
    assert_int_equal(asked.ended, 0);
    now_us += 5000000;
    turn(); /* nobody came */
    assert_int_equal(asked.ended, 1);
    assert_int_equal(asked.good, 2);
    assert_int_equal(asked.code, CODE_TOO_LARGE);
}

static void test_one_source_too_large(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 0, 4);
    ask(&asked, 1, 1);
    remote_caller_gone(remote, &fake.caller, fake.requests[0].call, now_us);
    expect_failed(&asked, CODE_TOO_LARGE, "provider_answer_bytes");
}

/* ---- Depths, batches ---- */

static void test_depths_do_not_block(void **state)
{
    (void)state;
    struct fake fake;
    struct asked outer;
    struct asked inner;
    fake_open(&fake, 9, NULL);
    fake_provide(&fake, 0, 1);
    ask(&outer, 1, 1);
    struct batch *batch = remote_batch_at(remote, &fake.caller, fake.requests[0].batch);
    assert_non_null(batch);
    assert_null(remote_batch_at(remote, &fake.caller, fake.requests[0].batch + 1));
    struct fake stranger;
    fake_open(&stranger, 10, NULL);
    assert_null(remote_batch_at(remote, &stranger.caller, fake.requests[0].batch));
    assert_int_equal(ask_for(&inner, 1, 1, batch), -CODE_LOADER_FAILED); /* itself */
    assert_int_equal(ask_for(&inner, 2, 1, batch), 0);
    turn();
    assert_int_equal(fake.count, 2);
    answer(&fake, 1);
    expect_good(&inner);
    answer(&fake, 0);
    expect_good(&outer);
    /* The batch has ended; it is still there to be named as a parent. */
    assert_null(remote_batch_at(remote, &fake.caller, batch->number));
    assert_int_equal(ask_for(&inner, 1, 1, batch), 0);
    turn();
    answer(&fake, 0);
    expect_good(&inner);
    remote_batch_put(remote, batch);
    remote_batch_put(remote, NULL);
    fake_gone(&fake);
}

static void test_cancel(void **state)
{
    (void)state;
    struct fake fake;
    struct asked asked;
    fake_open(&fake, 1, NULL);
    fake_provide(&fake, 10, 1);
    ask(&asked, 1, 25);
    assert_int_equal(fake.count, 1);
    coalescer_remove(coalescer, &relation->loader); /* as when a schema goes */
    assert_int_equal(fake.count, 0);
    assert_int_equal(fake.cancelled, 1);
    assert_int_equal(asked.ended, 1);
    assert_int_equal(asked.code, CODE_UNAVAILABLE);
    turn();
    assert_int_equal(remote_next_us(remote), 0);
    fake_gone(&fake);
}

static void test_memory_lacks(void **state)
{
    (void)state;
    for (long at = 0;; at++) {
        struct fake fake;
        struct asked asked;
        const struct provide_limits ten = {.max_size = 10, .max_in_flight = 8};
        struct error error = ERROR_INIT;
        fake_open(&fake, 1, NULL);
        assert_int_equal(ask_for(&asked, 1, 25, NULL), 0);
        heap_fail_at(at);
        int status = remote_provide(remote, &fake.caller, children, &ten, &error);
        assert_true(status == 0 || status == -CODE_OVERLOADED);
        turn();
        bool failed = heap_failed();
        heap_fail_at(-1);
        while (fake.count > 0) {
            answer(&fake, 0);
        }
        assert_int_equal(asked.ended, 1);
        assert_true(asked.good == 25 || asked.code == CODE_OVERLOADED ||
                    asked.code == CODE_UNAVAILABLE);
        fake_gone(&fake);
        if (!failed) {
            expect_good(&asked);
            break;
        }
    }
}

/* ---- Many, at random ---- */

enum { FAKES = 5, LOADS = 60, STEPS = 20000 };

static struct fake fakes[FAKES];
static struct asked loads[LOADS];
static struct provide_limits promised[FAKES];
static uint64_t last_id;
static size_t began;
static uint32_t deepest;

static void come(struct random *random, size_t at)
{
    if (fakes[at].count > 0) {
        return; /* lower limits would hold for what is sent later only */
    }
    if (list_empty(&fakes[at].caller.providers)) {
        fake_open(&fakes[at], ++last_id, at % 2 == 0 ? "even" : NULL);
    }
    promised[at].max_size = random_below(random, 40);
    promised[at].max_in_flight = random_below(random, 4);
    fake_provide(&fakes[at], promised[at].max_size, promised[at].max_in_flight);
}

static void begin(struct random *random, size_t at)
{
    struct asked *asked = &loads[at];
    if (asked->ended == 0 && asked->count > 0) {
        return;
    }
    struct batch *parent = NULL;
    struct fake *fake = &fakes[random_below(random, FAKES)];
    if (fake->count > 0 && random_below(random, 2) == 0) {
        uint64_t number = fake->requests[random_below(random, fake->count)].batch;
        parent = remote_batch_at(remote, &fake->caller, number);
        assert_non_null(parent);
    }
    int64_t first = (int64_t)random_below(random, 200);
    if (ask_for(asked, first, 1 + random_below(random, 80), parent) == 0) {
        began++;
    } else {
        assert_true(parent != NULL && asked->error.code == CODE_LOADER_FAILED);
        asked->ended = 1;
    }
    remote_batch_put(remote, parent);
}

static void answer_somehow(struct random *random, struct fake *fake)
{
    size_t at = random_below(random, fake->count);
    switch (random_below(random, 12)) {
    case 0:
        answer_error(fake, at, NULL, "no");
        break;
    case 1:
        answer_short(fake, at, 1);
        break;
    case 2:
        answer_too_large(fake, at);
        break;
    case 3:
        remote_caller_gone(remote, &fake->caller, fake->requests[at].call, now_us);
        assert_int_equal(fake->count, 0);
        break;
    default:
        answer(fake, at);
    }
}

/* Never more at a provider than it takes, never a key at two of them. */
static void check_fakes(void)
{
    static unsigned char out_at[COALESCER_DEPTH_MAX + 1][KEYS_MAX];
    memset(out_at, 0, sizeof out_at);
    for (size_t at = 0; at < FAKES; at++) {
        const struct fake *fake = &fakes[at];
        uint64_t most = promised[at].max_in_flight > 0 ? promised[at].max_in_flight : 4;
        uint64_t size_max = promised[at].max_size > 0 ? promised[at].max_size : 100;
        size_t out[COALESCER_DEPTH_MAX + 1] = {0};
        for (size_t i = 0; i < fake->count; i++) {
            const struct request *request = &fake->requests[i];
            struct batch *batch = remote_batch_at(remote, &fake->caller, request->batch);
            assert_non_null(batch);
            assert_true(++out[batch->depth] <= most);
            assert_true(request->count <= size_max);
            for (size_t k = 0; k < request->count; k++) {
                assert_int_equal(out_at[batch->depth][request->keys[k]]++, 0);
            }
            deepest = batch->depth > deepest ? batch->depth : deepest;
            remote_batch_put(remote, batch);
        }
    }
}

static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("remote");
    for (size_t i = 0; i < FAKES; i++) {
        fake_open(&fakes[i], ++last_id, NULL);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        size_t at = random_below(&random, FAKES);
        uint64_t dice = random_below(&random, 100);
        if (dice < 4) {
            come(&random, at);
        } else if (dice < 6) {
            fake_gone(&fakes[at]);
        } else if (dice < 8) {
            remote_unprovide(remote, &fakes[at].caller, children);
        } else if (dice < 30) {
            begin(&random, random_below(&random, LOADS));
        } else if (dice < 60) {
            now_us += random_below(&random, dice == 59 ? 6000000 : 1000);
        } else if (fakes[at].count > 0) {
            answer_somehow(&random, &fakes[at]);
        }
        turn();
        check_fakes();
    }
    /* All that is out is answered; nothing is left. */
    come(&random, 0);
    for (bool busy = true; busy;) {
        turn();
        busy = false;
        for (size_t i = 0; i < FAKES; i++) {
            while (fakes[i].count > 0) {
                answer(&fakes[i], 0);
                busy = true;
            }
        }
    }
    size_t good = 0;
    for (size_t i = 0; i < LOADS; i++) {
        assert_true(loads[i].count == 0 || loads[i].ended == 1);
        good += loads[i].good;
    }
    assert_true(began > LOADS && good > 0 && deepest > 1);
    assert_int_equal(coalescer_waiting(coalescer), 0);
    for (size_t i = 0; i < FAKES; i++) {
        fake_gone(&fakes[i]);
    }
    turn();
    assert_int_equal(remote_next_us(remote), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_nobody),
        TEST(test_only_remote_ones),
        TEST(test_errors),
        TEST(test_late),
        TEST(test_waits_for_room),
        TEST(test_part_fails),
        TEST(test_provide_again),
        TEST(test_unprovide),
        TEST(test_provide_after_unprovide),
        TEST(test_least_busy_first),
        TEST(test_gone_elsewhere_once),
        TEST(test_late_elsewhere),
        TEST(test_cannot_be_called),
        TEST(test_halved),
        TEST(test_halves_wait),
        TEST(test_one_source_too_large),
        TEST(test_depths_do_not_block),
        TEST(test_cancel),
        TEST(test_memory_lacks),
        TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
