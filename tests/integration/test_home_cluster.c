#include "tests/lib/home_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/lease.h"
#include "layers/redis/slots.h"
#include "tests/lib/random.h"

/* A home with a real Cluster of three masters and a replica: where its commands go
 * while slots are moved and masters change, and what it believes meanwhile. */

enum { SERVERS = 4, MASTERS = 3, REPLICA = 3 };

static const char *const options[] = {"--cluster-enabled",
                                      "yes",
                                      "--cluster-config-file",
                                      "nodes.conf",
                                      "--cluster-node-timeout",
                                      "1500",
                                      "--cluster-replica-validity-factor",
                                      "0",
                                      NULL};

static struct redis_fixture servers[SERVERS];
static char ids[SERVERS][64];
static struct home_fixture home;

static int start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < SERVERS; i++) {
        redis_fixture_start(&servers[i], options);
        snprintf(ids[i], sizeof(ids[i]), "%s", redis_fixture_say(&servers[i], "CLUSTER MYID"));
    }
    redis_fixture_join(servers, SERVERS, MASTERS);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SERVERS; i++) {
        redis_fixture_stop(&servers[i]);
    }
    return 0;
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MASTERS; i++) {
        redis_fixture_say(&servers[i], "FLUSHALL");
    }
    home_fixture_init(&home, &servers[0]);
    home.options.cluster = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SERVERS; i++) {
        if (servers[i].pid != 0) {
            kill(servers[i].pid, SIGCONT);
        }
    }
    if (home.calls != NULL) {
        home_fixture_close(&home, 0);
    }
    return 0;
}

static const char *ask(const char *words)
{
    return home_fixture_ask(&home, HOME_KEYS, words);
}

static bool told(const char *what)
{
    return strstr(home.notes, what) != NULL;
}

__attribute__((format(printf, 2, 3))) static const char *say(unsigned server, const char *format,
                                                             ...)
{
    char words[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return redis_fixture_say(&servers[server], words);
}

/* Whose the slot is in the beginning. */
static unsigned place_of(const char *key)
{
    return (unsigned)(slot_of_key(key, strlen(key)) * MASTERS / SLOTS_COUNT);
}

static void begin_move(unsigned slot, unsigned from, unsigned to)
{
    assert_string_equal(say(to, "CLUSTER SETSLOT %u IMPORTING %s", slot, ids[from]), "OK");
    assert_string_equal(say(from, "CLUSTER SETSLOT %u MIGRATING %s", slot, ids[to]), "OK");
}

static void move_key(const char *key, unsigned from, unsigned to)
{
    assert_string_equal(say(from, "MIGRATE 127.0.0.1 %u %s 0 1000", servers[to].port, key), "OK");
}

/* What a server knows of one: of a master its epoch and its slots. */
static void view_of(unsigned server, unsigned of, char out[REDIS_REPLY_MAX])
{
    const char *line = redis_fixture_say(&servers[server], "CLUSTER NODES");
    while (strncmp(line, ids[of], strlen(ids[of])) != 0) {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    char flags[100] = "";
    char epoch[20] = "";
    int slots_at = 0;
    assert_int_equal(sscanf(line, "%*s %*s %99s %*s %*s %*s %19s %*s%n", flags, epoch, &slots_at),
                     2);
    int slots_size = (int)strcspn(line + slots_at, "[\n");
    bool is_master = strstr(flags, "master") != NULL;
    snprintf(out, REDIS_REPLY_MAX, "%s%.*s", is_master ? epoch : "replica", slots_size,
             line + slots_at);
}

/* Slots that move again before all know of it can be lost by the Cluster itself. */
static bool servers_agree(void)
{
    char one[REDIS_REPLY_MAX];
    char other[REDIS_REPLY_MAX];
    for (unsigned of = 0; of < SERVERS; of++) {
        view_of(0, of, one);
        for (unsigned i = 1; i < SERVERS; i++) {
            view_of(i, of, other);
            if (strcmp(one, other) != 0) {
                return false;
            }
        }
    }
    return strstr(say(0, "CLUSTER INFO"), "cluster_slots_assigned:16384") != NULL;
}

static void end_move(unsigned slot, unsigned to)
{
    assert_string_equal(say(to, "CLUSTER SETSLOT %u NODE %s", slot, ids[to]), "OK");
    for (unsigned i = 0; i < MASTERS; i++) {
        assert_string_equal(say(i, "CLUSTER SETSLOT %u NODE %s", slot, ids[to]), "OK");
    }
    HOME_WAIT_FOR(&home, servers_agree());
}

/* ---- Routing ---- */

static void routes(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    home_fixture_open(&home);
    assert_true(home_is_cluster(home.home));
    assert_int_equal(home_node_count(home.home), MASTERS);
    assert_non_null(strstr(home.log, "redis_slots: 3 masters, which have 16384 of 16384 slots"));
    unsigned counts[MASTERS] = {0};
    char words[60];
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(words, sizeof(words), "key%u", i);
        counts[place_of(words)]++;
        snprintf(words, sizeof(words), "SET key%u %u", i, i);
        home_fixture_send(&home, HOME_KEYS, words);
    }
    HOME_WAIT_FOR(&home, home.done_count == KEYS);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_string_equal(home.calls[i].reply, "OK");
    }
    for (unsigned i = 0; i < MASTERS; i++) {
        assert_int_equal(strtoul(say(i, "DBSIZE"), NULL, 10), counts[i]);
    }
    assert_int_equal(home_fixture_count(&home, "redirects"), 0);
    assert_true(home_is_current(home.home, HOME_KEYS));
    assert_string_equal(ask("GET key7"), "7");
    assert_int_equal(home.calls[KEYS].cover, home_fixture_cover(&home, "key7"));
    say(place_of("key7"), "SET key7 8");
    HOME_WAIT_FOR(&home, told("!0:key7 "));
}

static void reaches_each_node(void **state)
{
    (void)state;
    home_fixture_open(&home);
    char seen[MASTERS][HOME_REPLY_MAX];
    for (unsigned i = 0; i <= MASTERS; i++) {
        struct home_call *call = home_fixture_send(&home, HOME_KEYS, "CLUSTER MYID");
        HOME_WAIT_FOR(&home, call->done);
        struct home_command again = call->command;
        call->done = false;
        call->command.node = (uint16_t)i;
        (void)again;
        home_send(home.home, &call->command);
        HOME_WAIT_FOR(&home, call->done);
        if (i == MASTERS) {
            assert_int_equal(call->outcome, HOME_UNSENT);
            break;
        }
        snprintf(seen[i], sizeof(seen[i]), "%s", call->reply);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(seen[i], seen[j]);
        }
    }
}

static void follows_prefixes_on_all_nodes(void **state)
{
    (void)state;
    home_fixture_create(&home);
    assert_int_equal(home_add_prefix(home.home, "key", 3), 0);
    home_fixture_open(&home);
    assert_true(home_is_current(home.home, HOME_PREFIXES));
    unsigned seen = 0;
    for (unsigned i = 0; seen != (1 << MASTERS) - 1; i++) {
        char key[20];
        char notice[40];
        snprintf(key, sizeof(key), "key%u", i);
        snprintf(notice, sizeof(notice), "!1:key%u ", i);
        seen |= 1u << place_of(key);
        say(place_of(key), "SET %s 1", key);
        HOME_WAIT_FOR(&home, told(notice));
    }
}

/* ---- Slots that move ---- */

static void follows_a_slot(void **state)
{
    (void)state;
    const unsigned slot = slot_of_key("a", 1);
    const unsigned from = place_of("a");
    const unsigned to = (from + 1) % MASTERS;
    home_fixture_open(&home);
    ask("SET a 1");
    ask("SET {a}b 2");
    const char *both = "MGET {a}b a";
    uint64_t cover = home_fixture_cover(&home, "a");

    begin_move(slot, from, to);
    assert_string_equal(ask("GET a"), "1");
    move_key("a", from, to);
    uint64_t redirects = home_fixture_count(&home, "redirects");
    assert_string_equal(ask("GET a"), "1");
    assert_int_equal(home_fixture_count(&home, "redirects"), redirects + 1);
    /* It was read of the node that does not have the slot yet: not to be believed. */
    assert_int_not_equal(home.calls[home.call_count - 1].cover, home_fixture_cover(&home, "a"));
    assert_string_equal(ask("SET {a}new 3"), "OK");
    assert_string_equal(say(to, "DBSIZE"), "2");

    /* One key here, one there: until both are there. */
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, both);
    HOME_WAIT_FOR(&home, home_fixture_count(&home, "redirects") >= redirects + 4);
    assert_false(call->done);
    move_key("{a}b", from, to);
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_ANSWERED);

    home.notes[0] = '\0';
    end_move(slot, to);
    assert_string_equal(ask("GET a"), "1");
    HOME_WAIT_FOR(&home, told("lost0 ") && told("lost1 "));
    assert_string_equal(ask("GET a"), "1");
    uint64_t after = home_fixture_cover(&home, "a");
    assert_int_not_equal(after, cover);
    assert_int_equal(home.calls[home.call_count - 1].cover, after);
    assert_null(strstr(home.log, "redis_lost"));

    /* And back. What was read in the beginning does not count again. */
    begin_move(slot, to, from);
    move_key("a", to, from);
    move_key("{a}b", to, from);
    move_key("{a}new", to, from);
    end_move(slot, from);
    home.notes[0] = '\0';
    HOME_WAIT_FOR(&home, told("lost0 ") && told("lost1 "));
    assert_string_equal(ask("GET a"), "1");
    assert_int_not_equal(home_fixture_cover(&home, "a"), cover);
    assert_int_not_equal(home_fixture_cover(&home, "a"), 0);
}

/* A slot that never comes to rest: within the command's time, and no longer. */
static void gives_up_a_slot(void **state)
{
    (void)state;
    const unsigned slot = slot_of_key("a", 1);
    const unsigned from = place_of("a");
    const unsigned to = (from + 1) % MASTERS;
    home.options.timeout_us = 500000;
    home_fixture_open(&home);
    ask("SET a 1");
    ask("SET {a}b 2");
    begin_move(slot, from, to);
    move_key("a", from, to);
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, "MGET {a}b a");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "longer than the time allowed"));
    assert_string_equal(ask("GET a"), "1");
    move_key("{a}b", from, to);
    end_move(slot, to);
    begin_move(slot, to, from);
    move_key("a", to, from);
    move_key("{a}b", to, from);
    end_move(slot, from);
}

/* Counters of which each INCR must be done once, while their slots go to and fro. */
static void counts_right_while_slots_move(void **state)
{
    (void)state;
    enum { KEYS = 8, ROUNDS = 60, MOVES = 12 };
    struct random random = random_start("counts_right_while_slots_move");
    unsigned counts[KEYS] = {0};
    unsigned at[KEYS];
    char key[20];
    char words[40];
    home_fixture_open(&home);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "n%u", i);
        at[i] = place_of(key);
    }
    for (unsigned move = 0; move < MOVES; move++) {
        unsigned moved = (unsigned)random_below(&random, KEYS);
        unsigned to = (at[moved] + 1 + (unsigned)random_below(&random, 2)) % MASTERS;
        snprintf(key, sizeof(key), "n%u", moved);
        unsigned slot = slot_of_key(key, strlen(key));
        for (unsigned round = 0; round < ROUNDS; round++) {
            unsigned i = (unsigned)random_below(&random, KEYS);
            snprintf(words, sizeof(words), "INCR n%u", i);
            home_fixture_send(&home, HOME_KEYS, words);
            counts[i]++;
            home_flush(home.home);
            if (round == ROUNDS / 4) {
                begin_move(slot, at[moved], to);
            } else if (round == ROUNDS / 2) {
                say(at[moved], "MIGRATE 127.0.0.1 %u %s 0 1000", servers[to].port, key);
            } else if (round == ROUNDS - ROUNDS / 4) {
                end_move(slot, to);
            }
        }
        at[moved] = to;
        HOME_WAIT_FOR(&home, home.done_count == home.call_count);
    }
    for (size_t i = 0; i < home.call_count; i++) {
        assert_int_equal(home.calls[i].outcome, HOME_ANSWERED);
        assert_true(strtoul(home.calls[i].reply, NULL, 10) > 0);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(words, sizeof(words), "GET n%u", i);
        assert_int_equal(strtoul(ask(words), NULL, 10), counts[i]);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "n%u", i);
        unsigned slot = slot_of_key(key, strlen(key));
        if (at[i] != place_of(key)) {
            begin_move(slot, at[i], place_of(key));
            say(at[i], "MIGRATE 127.0.0.1 %u %s 0 1000", servers[place_of(key)].port, key);
            end_move(slot, place_of(key));
        }
    }
}

/* ---- Masters that change ---- */

/* The replica takes the first master's slots over, which lives on and is demoted. */
static void follows_a_takeover(unsigned from, unsigned to)
{
    const char *key = "b"; /* slot 3300, of the first one */
    assert_int_equal(place_of(key), 0);
    assert_string_equal(say(from, "SET b 1"), "OK");
    HOME_WAIT_FOR(&home, strcmp(ask("GET b"), "1") == 0);
    uint64_t cover = home_fixture_cover(&home, key);
    home.notes[0] = '\0';
    assert_string_equal(say(to, "CLUSTER FAILOVER TAKEOVER"), "OK");
    HOME_WAIT_FOR(&home, told("lost0 ") && told("lost1 "));
    HOME_WAIT_FOR(&home, home_is_current(home.home, HOME_KEYS));
    assert_int_not_equal(home_fixture_cover(&home, key), cover);
    assert_string_equal(ask("SET b 2"), "OK");
    assert_string_equal(say(to, "GET b"), "2");
    HOME_WAIT_FOR(&home, strstr(say(from, "INFO replication"), "master_link_status:up") != NULL);
    HOME_WAIT_FOR(&home, servers_agree());
}

static void follows_takeovers(void **state)
{
    (void)state;
    home_fixture_open(&home);
    follows_a_takeover(0, REPLICA);
    follows_a_takeover(REPLICA, 0);
    assert_int_equal(home_node_count(home.home), MASTERS);
}

static void outlives_a_master(void **state)
{
    (void)state;
    uint64_t lost_us = 0;
    home_fixture_open(&home);
    ask("SET b 1");
    uint64_t killed_us = uv_hrtime() / 1000;
    HOME_WAIT_FOR(&home, strcmp(say(REPLICA, "READONLY"), "OK") == 0 &&
                             strcmp(say(REPLICA, "DBSIZE"), "1") == 0);
    redis_fixture_kill(&servers[0], SIGKILL);
    HOME_WAIT_FOR(&home, !home_is_up(home.home, HOME_KEYS, slot_of_key("b", 1), &lost_us));
    assert_true(lost_us >= killed_us);
    assert_int_equal(home_fixture_cover(&home, "b"), 0);
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, "GET b");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    /* The others do what they did, and elect the replica in the end. */
    HOME_WAIT_FOR(&home, home_is_up(home.home, HOME_KEYS, slot_of_key("b", 1), &lost_us));
    assert_true(lost_us >= killed_us);
    HOME_WAIT_FOR(&home, home_is_current(home.home, HOME_KEYS));
    HOME_WAIT_FOR(&home, strstr(home.log, "connected again after") != NULL);
    assert_string_equal(ask("GET b"), "1");

    redis_fixture_start(&servers[0], options);
    HOME_WAIT_FOR(&home, strstr(say(0, "INFO replication"), "master_link_status:up") != NULL);
    follows_a_takeover(REPLICA, 0);
}

static void lapses_by_node(void **state)
{
    (void)state;
    home_fixture_open(&home);
    uint64_t others = home_fixture_cover(&home, "a");
    assert_int_not_equal(place_of("a"), 1);
    kill(servers[1].pid, SIGSTOP);
    HOME_WAIT_FOR(&home, home_cover(home.home, HOME_KEYS, 8000) == 0);
    assert_int_equal(home_fixture_cover(&home, "a"), others);
    assert_false(home_is_current(home.home, HOME_KEYS));
    kill(servers[1].pid, SIGCONT);
    HOME_WAIT_FOR(&home, home_is_current(home.home, HOME_KEYS));
}

/* Every link is lost, and the one place that was configured is gone. */
static void outlives_its_seed(void **state)
{
    (void)state;
    home.options.port = servers[REPLICA].port;
    home_fixture_open(&home);
    redis_fixture_kill(&servers[REPLICA], SIGKILL);
    for (unsigned i = 0; i < MASTERS; i++) {
        say(i, "CLIENT KILL TYPE normal SKIPME yes");
    }
    HOME_WAIT_FOR(&home, told("lost0 "));
    HOME_WAIT_FOR(&home, home_is_current(home.home, HOME_KEYS));
    assert_string_equal(ask("SET a 1"), "OK");
    redis_fixture_start(&servers[REPLICA], options);
    HOME_WAIT_FOR(&home, strstr(say(REPLICA, "INFO replication"), "master_link_status:up") != NULL);
}

/* ---- What is no Cluster, and is one ---- */

static void names_a_wrong_configuration(void **state)
{
    (void)state;
    home.options.cluster = false;
    home_fixture_open(&home);
    assert_int_not_equal(place_of("a"), 0);
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, "GET a");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "cluster: true"));
}

static void names_a_server_that_is_no_cluster(void **state)
{
    (void)state;
    struct redis_fixture single = {0};
    struct error error = ERROR_INIT;
    redis_fixture_start(&single, NULL);
    home.options.port = single.port;
    home_fixture_create(&home);
    home_open(home.home, &error);
    HOME_WAIT_FOR(&home, home_is_settled(home.home));
    assert_non_null(strstr(home.log, "cluster support disabled"));
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, "GET a");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "cluster support disabled"));
    assert_int_equal(home_node_count(home.home), 0);
    redis_fixture_stop(&single);
}

static void closes_at_any_time(void **state)
{
    (void)state;
    home_fixture_create(&home);
    home_fixture_close(&home, 0);
    for (unsigned turns = 0; turns < 60; turns++) {
        struct error error = ERROR_INIT;
        home_fixture_init(&home, &servers[0]);
        home.options.cluster = true;
        home_fixture_create(&home);
        home_open(home.home, &error);
        for (unsigned i = 0; i < turns; i++) {
            home_fixture_turn(&home);
        }
        home_fixture_send(&home, HOME_KEYS, "GET a");
        home_fixture_close(&home, (turns % 2) * (uint64_t)1000000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(routes),
        TEST(reaches_each_node),
        TEST(follows_prefixes_on_all_nodes),
        TEST(follows_a_slot),
        TEST(gives_up_a_slot),
        TEST(counts_right_while_slots_move),
        TEST(follows_takeovers),
        TEST(outlives_a_master),
        TEST(lapses_by_node),
        TEST(outlives_its_seed),
        TEST(names_a_wrong_configuration),
        TEST(names_a_server_that_is_no_cluster),
        TEST(closes_at_any_time),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
