#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/slots.h"
#include "protocol/base/buffer.h"
#include "tests/lib/random.h"

/* Slots of keys, maps as nodes tell them, and what redirections say. */

/* ---- Keys ---- */

static uint16_t slot_of(const char *key)
{
    return slot_of_key(key, strlen(key));
}

static void keys_have_the_slots_of_redis(void **state)
{
    (void)state;
    assert_int_equal(slot_of("123456789"), 0x31c3);
    assert_int_equal(slot_of(""), 0);
    assert_int_equal(slot_of("foo"), 12182);
    assert_int_equal(slot_of("bar"), 5061);
    assert_int_equal(slot_of("a"), 15495);
    assert_int_equal(slot_of("{user}:1"), 5474);
    assert_int_equal(slot_of("{user}:2"), 5474);
    assert_int_equal(slot_of_key(NULL, 0), 0);
}

static void only_a_hash_tag_counts(void **state)
{
    (void)state;
    assert_int_equal(slot_of("foo{bar}{zap}"), slot_of("bar"));
    assert_int_equal(slot_of("foo{{bar}}zap"), slot_of("{bar"));
    assert_int_equal(slot_of("}foo{bar}"), slot_of("bar"));
    /* Nothing between the braces, or no second one: the whole key. */
    assert_int_not_equal(slot_of("foo{}{bar}"), slot_of("bar"));
    assert_int_not_equal(slot_of("a{}b"), slot_of(""));
    assert_int_not_equal(slot_of("x{bar"), slot_of("bar"));
    assert_int_not_equal(slot_of("x}bar{"), slot_of(""));
    /* The size ends the key. */
    assert_int_equal(slot_of_key("x{bar}", 5), slot_of("x{bar"));
}

/* Bit by bit, with the tag looked for in the plainest way. */
static void agrees_with_a_plain_crc(void **state)
{
    (void)state;
    struct random random = random_start("slots crc");
    static const char alphabet[] = "ab{}";
    for (int round = 0; round < 20000; round++) {
        char key[12] = {0};
        size_t size = (size_t)random_below(&random, sizeof(key));
        for (size_t i = 0; i < size; i++) {
            key[i] = random_below(&random, 3) > 0 ? alphabet[random_below(&random, 4)]
                                                  : (char)random_next(&random);
        }
        size_t open = 0;
        while (open < size && key[open] != '{') {
            open++;
        }
        size_t close = open;
        while (close < size && key[close] != '}') {
            close++;
        }
        bool tag = close < size && close > open + 1;
        unsigned crc = 0;
        for (size_t i = tag ? open + 1 : 0; i < (tag ? close : size); i++) {
            crc ^= (unsigned)(uint8_t)key[i] << 8;
            for (int bit = 0; bit < 8; bit++) {
                crc = ((crc << 1) ^ ((crc & 0x8000u) != 0 ? 0x1021u : 0)) & 0xffffu;
            }
        }
        assert_int_equal(slot_of_key(key, size), crc % SLOTS_COUNT);
    }
}

/* ---- Maps ---- */

struct fixture {
    struct slots a;
    struct slots b;
    struct error error;
};

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    assert_non_null(f);
    /* What was there before is of no matter. */
    memset(f, 0xa5, sizeof(*f));
    error_clear(&f->error);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static int read_map(struct fixture *f, struct slots *out, const char *reply)
{
    return slots_read(out, resp_reader_of((const uint8_t *)reply, strlen(reply)), "10.0.0.9",
                      &f->error);
}

static void expect_owner(const struct slots *slots, uint16_t slot, const char *host, uint16_t port)
{
    assert_true(slots->owner[slot] < slots->node_count);
    assert_string_equal(slots->nodes[slots->owner[slot]].host, host);
    assert_int_equal(slots->nodes[slots->owner[slot]].port, port);
}

/* As a 7.0.15 sent it, by RESP2 and by RESP3. */
static void reads_the_map_of_a_server(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_map(f, &f->a,
                              "*3\r\n"
                              "*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:17401\r\n"
                              "$40\r\n3dee375e80dfbaf466e755f1bc8b607ecd0fa5ee\r\n*0\r\n"
                              "*3\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n:17402\r\n"
                              "$40\r\n3353c641121ecefe086b61a4e072c4cbf675ed19\r\n*0\r\n"
                              "*3\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:17403\r\n"
                              "$40\r\na7a519df67c70218455d95573928cc080430053a\r\n*0\r\n"),
                     0);
    assert_int_equal(f->a.node_count, 3);
    expect_owner(&f->a, 0, "127.0.0.1", 17401);
    expect_owner(&f->a, 5460, "127.0.0.1", 17401);
    expect_owner(&f->a, 5461, "127.0.0.1", 17402);
    expect_owner(&f->a, 10922, "127.0.0.1", 17402);
    expect_owner(&f->a, 10923, "127.0.0.1", 17403);
    expect_owner(&f->a, 16383, "127.0.0.1", 17403);
    assert_int_equal(read_map(f, &f->b,
                              "*3\r\n"
                              "*3\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:17403\r\n"
                              "$40\r\na7a519df67c70218455d95573928cc080430053a\r\n%0\r\n"
                              "*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:17401\r\n"
                              "$40\r\n3dee375e80dfbaf466e755f1bc8b607ecd0fa5ee\r\n%0\r\n"
                              "*3\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n:17402\r\n"
                              "$40\r\n3353c641121ecefe086b61a4e072c4cbf675ed19\r\n%0\r\n"),
                     0);
    assert_true(slots_same(&f->a, &f->b));
}

static void passes_over_replicas_and_what_else_is_said(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_map(f, &f->a,
                              "*2\r\n"
                              "*5\r\n:0\r\n:0\r\n*2\r\n$1\r\na\r\n:1\r\n"
                              "*4\r\n$1\r\nr\r\n:9\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$1\r\nx\r\n"
                              "_\r\n"
                              "*3\r\n:3\r\n:4\r\n*4\r\n$1\r\nb\r\n:65535\r\n$2\r\nid\r\n"
                              "%1\r\n$2\r\nip\r\n$1\r\nx\r\n"),
                     0);
    assert_int_equal(f->a.node_count, 2);
    expect_owner(&f->a, 0, "a", 1);
    expect_owner(&f->a, 3, "b", 65535);
    expect_owner(&f->a, 4, "b", 65535);
    assert_int_equal(f->a.owner[1], SLOTS_NO_NODE);
    assert_int_equal(f->a.owner[5], SLOTS_NO_NODE);
    assert_int_equal(f->a.owner[16383], SLOTS_NO_NODE);
}

static void a_node_with_several_rows_is_there_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_map(f, &f->a,
                              "*4\r\n"
                              "*3\r\n:0\r\n:9\r\n*2\r\n+a\r\n:1\r\n"
                              "*3\r\n:10\r\n:19\r\n*2\r\n+a\r\n:2\r\n"
                              "*3\r\n:20\r\n:29\r\n*2\r\n+a\r\n:1\r\n"
                              "*3\r\n:30\r\n:39\r\n*2\r\n+b\r\n:1\r\n"),
                     0);
    assert_int_equal(f->a.node_count, 3);
    assert_int_equal(f->a.owner[0], f->a.owner[29]);
    expect_owner(&f->a, 10, "a", 2);
    expect_owner(&f->a, 39, "b", 1);
}

static void hosts_come_in_several_ways(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_map(f, &f->a,
                              "*7\r\n"
                              "*3\r\n:0\r\n:0\r\n*2\r\n$-1\r\n:1\r\n"
                              "*3\r\n:1\r\n:1\r\n*2\r\n$0\r\n\r\n:1\r\n"
                              "*3\r\n:2\r\n:2\r\n*2\r\n_\r\n:2\r\n"
                              "*3\r\n:3\r\n:3\r\n*2\r\n$3\r\n::1\r\n:1\r\n"
                              "*3\r\n:4\r\n:4\r\n*2\r\n$5\r\n[::1]\r\n:1\r\n"
                              "*3\r\n:5\r\n:5\r\n*2\r\n$8\r\nhost.com\r\n:1\r\n"
                              "*3\r\n:6\r\n:6\r\n*2\r\n$1\r\n?\r\n:1\r\n"),
                     0);
    expect_owner(&f->a, 0, "10.0.0.9", 1);
    expect_owner(&f->a, 1, "10.0.0.9", 1);
    expect_owner(&f->a, 2, "10.0.0.9", 2);
    expect_owner(&f->a, 3, "::1", 1);
    expect_owner(&f->a, 4, "::1", 1);
    expect_owner(&f->a, 5, "host.com", 1);
    assert_int_equal(f->a.owner[6], SLOTS_NO_NODE);
    assert_int_equal(f->a.node_count, 4);
}

static void an_empty_map_is_one(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_map(f, &f->a, "*0\r\n"), 0);
    assert_int_equal(f->a.node_count, 0);
    assert_int_equal(f->a.owner[0], SLOTS_NO_NODE);
    assert_int_equal(f->a.owner[16383], SLOTS_NO_NODE);
}

static void refuses_what_is_no_map(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {
        "",
        "_\r\n",
        ":1\r\n",
        "%0\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n*2\r\n:1\r\n:2\r\n",
        "*1\r\n*3\r\n+1\r\n:2\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:1\r\n+2\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:-1\r\n:2\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:3\r\n:2\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:3\r\n:16384\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:16384\r\n:16384\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:9223372036854775807\r\n:9223372036854775807\r\n*2\r\n+a\r\n:1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n+a:1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*1\r\n+a\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n:5\r\n:1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a b\r\n:1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+[a\r\n:1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a\r\n+1\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a\r\n:0\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a\r\n:65536\r\n",
        "*1\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a\r\n",
        "*2\r\n*3\r\n:1\r\n:2\r\n*2\r\n+a\r\n:1\r\n*3\r\n:2\r\n:3\r\n*2\r\n+b\r\n:1\r\n",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        error_clear(&f->error);
        if (read_map(f, &f->a, wrong[i]) != -CODE_UNAVAILABLE) {
            fail_msg("%s was taken", wrong[i]);
        }
        assert_int_equal(f->error.code, CODE_UNAVAILABLE);
        assert_non_null(strstr(f->error.message, "CLUSTER SLOTS"));
    }
    read_map(f, &f->a, "-ERR This instance has cluster support disabled\r\n");
    assert_string_equal(f->error.message,
                        "CLUSTER SLOTS was answered with the error \"ERR This instance has "
                        "cluster support disabled\" as the map");
}

/* A host of `size` bytes. */
static int read_long_host(struct fixture *f, int size)
{
    char reply[2 * SLOTS_HOST_MAX];
    snprintf(reply, sizeof(reply), "*1\r\n*3\r\n:0\r\n:0\r\n*2\r\n$%d\r\n%0*d\r\n:1\r\n", size,
             size, 0);
    return read_map(f, &f->a, reply);
}

static int read_many(struct fixture *f, struct slots *out, unsigned rows, unsigned nodes)
{
    struct buffer reply = BUFFER_INIT;
    resp_command(&reply, rows);
    for (unsigned i = 0; i < rows; i++) {
        buffer_printf(&reply, "*3\r\n:%u\r\n:%u\r\n*2\r\n+h%u\r\n:%u\r\n", i, i, i % nodes,
                      1 + i % nodes);
    }
    int status = slots_read(out, resp_reader_of(reply.bytes, reply.size), "x", &f->error);
    buffer_release(&reply);
    return status;
}

static void sizes_are_bounded(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_long_host(f, SLOTS_HOST_MAX - 1), 0);
    assert_int_equal(strlen(f->a.nodes[0].host), SLOTS_HOST_MAX - 1);
    assert_int_equal(read_long_host(f, SLOTS_HOST_MAX), -CODE_UNAVAILABLE);
    assert_int_equal(read_many(f, &f->a, SLOTS_COUNT, SLOTS_NODES_MAX), 0);
    assert_int_equal(f->a.node_count, SLOTS_NODES_MAX);
    expect_owner(&f->a, 16383, "h1023", 1024);
    assert_int_equal(read_many(f, &f->b, SLOTS_COUNT, SLOTS_NODES_MAX + 1), -CODE_UNAVAILABLE);
    assert_string_equal(f->error.message, "CLUSTER SLOTS tells of more than 1024 masters");
    assert_int_equal(read_many(f, &f->b, SLOTS_COUNT + 1, 1), -CODE_UNAVAILABLE);
    assert_string_equal(f->error.message, "CLUSTER SLOTS tells of more than 16384 rows");
}

static void maps_differ_by_what_they_say(void **state)
{
    struct fixture *f = *state;
    static const char base[] = "*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n+a\r\n:1\r\n"
                               "*3\r\n:10\r\n:19\r\n*2\r\n+b\r\n:1\r\n";
    static const struct {
        const char *reply;
        bool same;
    } others[] = {
        {base, true},
        {"*3\r\n*3\r\n:10\r\n:19\r\n*2\r\n+b\r\n:1\r\n*3\r\n:5\r\n:9\r\n*2\r\n+a\r\n:1\r\n"
         "*3\r\n:0\r\n:4\r\n*2\r\n+a\r\n:1\r\n",
         true},
        {"*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n+a\r\n:1\r\n*3\r\n:10\r\n:19\r\n*2\r\n+b\r\n:2\r\n", false},
        {"*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n+a\r\n:1\r\n*3\r\n:10\r\n:19\r\n*2\r\n+c\r\n:1\r\n", false},
        {"*2\r\n*3\r\n:0\r\n:8\r\n*2\r\n+a\r\n:1\r\n*3\r\n:9\r\n:19\r\n*2\r\n+b\r\n:1\r\n", false},
        {"*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n+b\r\n:1\r\n*3\r\n:10\r\n:19\r\n*2\r\n+a\r\n:1\r\n", false},
        {"*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n+a\r\n:1\r\n*3\r\n:10\r\n:18\r\n*2\r\n+b\r\n:1\r\n", false},
        {"*1\r\n*3\r\n:0\r\n:19\r\n*2\r\n+a\r\n:1\r\n", false},
        {"*0\r\n", false},
    };
    assert_int_equal(read_map(f, &f->a, base), 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        assert_int_equal(read_map(f, &f->b, others[i].reply), 0);
        assert_int_equal(slots_same(&f->a, &f->b), others[i].same);
        assert_int_equal(slots_same(&f->b, &f->a), others[i].same);
    }
}

/* Rows of random sizes against a plain list of who has which slot. */
static void agrees_with_a_plain_list(void **state)
{
    struct fixture *f = *state;
    struct random random = random_start("slots map");
    static unsigned owners[SLOTS_COUNT];
    for (int round = 0; round < 50; round++) {
        struct buffer rows = BUFFER_INIT;
        struct buffer reply = BUFFER_INIT;
        unsigned count = 0;
        for (unsigned slot = 0; slot < SLOTS_COUNT;) {
            unsigned size = 1 + (unsigned)random_below(&random, 200);
            unsigned last = slot + size < SLOTS_COUNT ? slot + size - 1 : SLOTS_COUNT - 1;
            unsigned owner = (unsigned)random_below(&random, 8);
            for (unsigned i = slot; i <= last; i++) {
                owners[i] = owner;
            }
            if (owner > 0) {
                count++;
                buffer_printf(&rows, "*3\r\n:%u\r\n:%u\r\n*3\r\n+h%u\r\n:%u\r\n_\r\n", slot, last,
                              owner / 2, owner);
            }
            slot = last + 1;
        }
        resp_command(&reply, count);
        buffer_append(&reply, rows.bytes, rows.size);
        assert_int_equal(slots_read(&f->a, resp_reader_of(reply.bytes, reply.size), "x", &f->error),
                         0);
        for (unsigned slot = 0; slot < SLOTS_COUNT; slot++) {
            if (owners[slot] == 0) {
                assert_int_equal(f->a.owner[slot], SLOTS_NO_NODE);
                continue;
            }
            char host[16];
            snprintf(host, sizeof(host), "h%u", owners[slot] / 2);
            expect_owner(&f->a, (uint16_t)slot, host, (uint16_t)owners[slot]);
        }
        buffer_release(&rows);
        buffer_release(&reply);
    }
}

/* ---- Redirections ---- */

/* From memory of its own, so that a sanitizer sees a byte too far. */
static struct redirect redirect_of(const char *text)
{
    size_t size = strlen(text);
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, text, size);
    }
    struct redirect redirect = redirect_read(copy, size);
    free(copy);
    return redirect;
}

static void expect_redirect(const char *text, enum redirect_kind kind, uint16_t slot,
                            const char *host, uint16_t port)
{
    struct redirect redirect = redirect_of(text);
    assert_int_equal(redirect.kind, kind);
    assert_int_equal(redirect.slot, slot);
    assert_string_equal(redirect.node.host, host);
    assert_int_equal(redirect.node.port, port);
}

static void reads_redirections(void **state)
{
    (void)state;
    expect_redirect("MOVED 3999 127.0.0.1:6381", REDIRECT_MOVED, 3999, "127.0.0.1", 6381);
    expect_redirect("ASK 0 127.0.0.1:1", REDIRECT_ASK, 0, "127.0.0.1", 1);
    expect_redirect("MOVED 16383 :65535", REDIRECT_MOVED, 16383, "", 65535);
    expect_redirect("ASK 3999 ::1:6381", REDIRECT_ASK, 3999, "::1", 6381);
    expect_redirect("ASK 3999 [::1]:6381", REDIRECT_ASK, 3999, "::1", 6381);
    expect_redirect("MOVED 1 2001:db8::7:6379", REDIRECT_MOVED, 1, "2001:db8::7", 6379);
    expect_redirect("MOVED 1 a.example:6379", REDIRECT_MOVED, 1, "a.example", 6379);
    assert_int_equal(redirect_of("TRYAGAIN Multiple keys request during rehashing of slot").kind,
                     REDIRECT_AGAIN);
    assert_int_equal(redirect_of("TRYAGAIN").kind, REDIRECT_AGAIN);
}

static void other_errors_are_none(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",
        "ERR no",
        "WRONGTYPE Operation against a key",
        "CLUSTERDOWN The cluster is down",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "TRYAGAINST it",
        "MOVED",
        "MOVED ",
        "MOVED 3999",
        "MOVED 3999 ",
        "MOVED 3999 127.0.0.1",
        "MOVED 3999 127.0.0.1:",
        "MOVED 3999:1 127.0.0.1",
        "MOVED 16384 127.0.0.1:6381",
        "MOVED 0000001 127.0.0.1:6381",
        "MOVED 99999999999999999999 127.0.0.1:6381",
        "MOVED -1 127.0.0.1:6381",
        "MOVED x 127.0.0.1:6381",
        "MOVED  127.0.0.1:6381",
        "MOVED 3999 127.0.0.1:0",
        "MOVED 3999 127.0.0.1:65536",
        "MOVED 3999 127.0.0.1:4294967297",
        "MOVED 3999 127.0.0.1:-1",
        "MOVED 3999 127.0.0.1:1x",
        "MOVED 3999 127.0.0.1:1 ",
        "MOVED 3999 a b:1",
        "MOVED 3999 [::1:1",
        "MOVED 3999 ?:1",
        "MOVEDX 3999 127.0.0.1:6381",
        "moved 3999 127.0.0.1:6381",
        "ASK",
        "ASKING 1 127.0.0.1:6381",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        if (redirect_of(others[i]).kind != REDIRECT_NONE) {
            fail_msg("\"%s\" was taken", others[i]);
        }
    }
    char text[SLOTS_HOST_MAX + 32];
    snprintf(text, sizeof(text), "MOVED 1 %0*d:1", SLOTS_HOST_MAX - 1, 0);
    assert_int_equal(redirect_of(text).kind, REDIRECT_MOVED);
    snprintf(text, sizeof(text), "MOVED 1 %0*d:1", SLOTS_HOST_MAX, 0);
    assert_int_equal(redirect_of(text).kind, REDIRECT_NONE);
    assert_int_equal(redirect_read((const uint8_t *)"MOVED 1 a\0b:1", 13).kind, REDIRECT_NONE);
    assert_int_equal(redirect_read(NULL, 0).kind, REDIRECT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_the_slots_of_redis),
        cmocka_unit_test(only_a_hash_tag_counts),
        cmocka_unit_test(agrees_with_a_plain_crc),
        cmocka_unit_test_setup_teardown(reads_the_map_of_a_server, setup, teardown),
        cmocka_unit_test_setup_teardown(passes_over_replicas_and_what_else_is_said, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_node_with_several_rows_is_there_once, setup, teardown),
        cmocka_unit_test_setup_teardown(hosts_come_in_several_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_map_is_one, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_map, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_differ_by_what_they_say, setup, teardown),
        cmocka_unit_test_setup_teardown(agrees_with_a_plain_list, setup, teardown),
        cmocka_unit_test(reads_redirections),
        cmocka_unit_test(other_errors_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
