#include "tests/lib/home_fixture.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "layers/redis/lease.h"
#include "layers/redis/slots.h"

/* A home with a real Redis: what it sends and hears, and what becomes of it when
 * the server goes away in each of the ways in which servers do. */

static struct redis_fixture server;
static struct home_fixture home;

static int start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    redis_fixture_start(&server, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    redis_fixture_stop(&server);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    if (server.pid == 0) {
        redis_fixture_start(&server, NULL);
    }
    redis_fixture_say(&server, "FLUSHALL");
    home_fixture_init(&home, &server);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (server.pid != 0) {
        kill(server.pid, SIGCONT);
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

static struct home_call *send_words(const char *words)
{
    return home_fixture_send(&home, HOME_KEYS, words);
}

static bool told(const char *what)
{
    return strstr(home.notes, what) != NULL;
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '\n' ? 1 : 0;
    }
    return count;
}

/* ---- The server is there ---- */

static void works(void **state)
{
    (void)state;
    uint64_t lost_us = 1;
    home_fixture_create(&home);
    assert_string_equal(home_name(home.home), "main");
    assert_false(home_is_cluster(home.home));
    assert_false(home_is_settled(home.home));
    assert_false(home_is_up(home.home, HOME_KEYS, 0, &lost_us));
    assert_int_equal(lost_us, 0);
    assert_string_equal(home_fixture_word(&home, "state"), "connecting");
    home_fixture_open(&home);
    assert_string_equal(ask("SET a 1"), "OK");
    assert_string_equal(ask("GET a"), "1");
    assert_string_equal(ask("GET none"), "nil");
    assert_non_null(strstr(ask("NOSUCH a"), "ERR unknown command"));
    assert_true(home_is_up(home.home, HOME_KEYS, 0, &lost_us));
    assert_int_equal(home_node_count(home.home), 1);
    assert_true(home_is_current(home.home, HOME_KEYS));
    assert_false(home_is_current(home.home, HOME_PREFIXES));
    assert_true(home_fixture_cover(&home, "a") != 0);
    assert_int_equal(home.calls[1].cover, home_fixture_cover(&home, "a"));
    assert_null(home_evicting_policy(home.home));
    assert_string_equal(home_fixture_word(&home, "tracking"), "on");
    assert_int_equal(home_fixture_count(&home, "commands"), 4);
    assert_int_equal(home_fixture_count(&home, "round_trips"), 4);
    assert_int_equal(home_fixture_count(&home, "waiting"), 0);
    char log[100];
    snprintf(log, sizeof(log), "redis_up: connected to 127.0.0.1:%u\n", server.port);
    assert_string_equal(home.log, log);
    assert_non_null(strstr(home.notes, "ready0 "));
}

static void works_over_a_unix_socket(void **state)
{
    (void)state;
    home.options.is_unix = true;
    snprintf(home.options.host, HOME_HOST_MAX, "%s", server.socket_path);
    home_fixture_open(&home);
    assert_string_equal(ask("SET a 1"), "OK");
    assert_string_equal(redis_fixture_say(&server, "GET a"), "1");
}

static void logs_in_and_selects(void **state)
{
    (void)state;
    redis_fixture_say(&server, "ACL SETUSER me on >secret allkeys allcommands");
    snprintf(home.options.user, HOME_WORD_MAX, "me");
    snprintf(home.options.password, HOME_WORD_MAX, "secret");
    home.options.database = 3;
    home_fixture_open(&home);
    assert_string_equal(ask("SET a 1"), "OK");
    assert_string_equal(ask("ACL WHOAMI"), "me");
    assert_string_equal(redis_fixture_say(&server, "EXISTS a"), "0");
    assert_non_null(strstr(redis_fixture_say(&server, "INFO keyspace"), "db3:keys=1"));
    redis_fixture_say(&server, "ACL DELUSER me");
}

static void is_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    snprintf(home.options.user, HOME_WORD_MAX, "nobody");
    snprintf(home.options.password, HOME_WORD_MAX, "wr0ngsecret");
    home_fixture_create(&home);
    home_open(home.home, &error);
    HOME_WAIT_FOR(&home, home_is_settled(home.home));
    struct home_call *call = send_words("GET a");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "the password was refused: WRONGPASS"));
    assert_null(strstr(call->error.message, "wr0ngsecret"));
    assert_string_equal(home_fixture_word(&home, "state"), "down");
    /* Several tries later, one line. */
    uint64_t turns = home.turns;
    HOME_WAIT_FOR(&home, home.turns > turns + 500);
    assert_int_equal(count_lines(home.log), 1);
    assert_memory_equal(home.log, "!redis_lost: ", 13);
    assert_null(strstr(home.log, "wr0ngsecret"));
}

static void lacks_tracking(void **state)
{
    (void)state;
    redis_fixture_say(&server, "ACL SETUSER me on >secret allkeys +@all -client -info -ping");
    snprintf(home.options.user, HOME_WORD_MAX, "me");
    snprintf(home.options.password, HOME_WORD_MAX, "secret");
    home_fixture_open(&home);
    assert_string_equal(ask("SET a 1"), "OK");
    assert_int_equal(home_fixture_cover(&home, "a"), 0);
    assert_int_equal(home.calls[0].cover, 0);
    assert_string_equal(home_fixture_word(&home, "tracking"), "refused");
    assert_memory_equal(home.log, "!redis_tracking_refused: ", 25);
    assert_int_equal(count_lines(home.log), 2);
    redis_fixture_say(&server, "ACL DELUSER me");
}

static void sends_a_turn_in_one_write(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    home_fixture_open(&home);
    uint64_t before = home_fixture_count(&home, "round_trips");
    for (unsigned i = 0; i < COUNT; i++) {
        char words[40];
        snprintf(words, sizeof(words), "ECHO %u", i);
        send_words(words);
    }
    HOME_WAIT_FOR(&home, home.done_count == COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(strtoul(home.calls[i].reply, NULL, 10), i);
    }
    assert_true(home_fixture_count(&home, "round_trips") <= before + 2);
    assert_int_equal(home_fixture_count(&home, "commands"), COUNT);
}

/* ---- Notices ---- */

static void hears_of_what_it_read(void **state)
{
    (void)state;
    home_fixture_open(&home);
    ask("GET a");
    ask("GET b");
    redis_fixture_say(&server, "MSET a 1 b 1 c 1");
    HOME_WAIT_FOR(&home, told("!0:b "));
    assert_string_equal(home.notes, "ready0 !0:a !0:b ");
    ask("GET a");
    ask("SET a 2");
    HOME_WAIT_FOR(&home, told("!0:b !0:a "));
    redis_fixture_say(&server, "FLUSHALL");
    HOME_WAIT_FOR(&home, told("!0:* "));
    assert_int_equal(home_fixture_count(&home, "notices"), 3);
    assert_int_equal(home_fixture_count(&home, "flushes"), 1);
}

static void hears_of_prefixes(void **state)
{
    (void)state;
    home_fixture_create(&home);
    struct home_call *none = home_fixture_send(&home, HOME_PREFIXES, "GET user:1");
    assert_int_equal(home_add_prefix(home.home, "user:", 5), 0);
    assert_int_equal(home_add_prefix(home.home, "user:a", 6), 0);
    assert_int_equal(home_add_prefix(home.home, "tic", 3), 0);
    home_fixture_open(&home);
    assert_int_equal(none->outcome, HOME_UNSENT);
    assert_true(told("ready1 "));
    assert_true(home_is_current(home.home, HOME_PREFIXES));
    redis_fixture_say(&server, "SET user:7 1");
    redis_fixture_say(&server, "SET other 1");
    redis_fixture_say(&server, "SET ticket 1");
    HOME_WAIT_FOR(&home, told("!1:ticket "));
    assert_true(told("!1:user:7 !1:ticket "));
    assert_string_equal(home_fixture_ask(&home, HOME_PREFIXES, "GET user:7"), "1");

    /* One that covers another, later: the lane is opened anew. */
    uint64_t cover = home_cover(home.home, HOME_PREFIXES, 0);
    home.notes[0] = '\0';
    assert_int_equal(home_add_prefix(home.home, "ti", 2), 0);
    HOME_WAIT_FOR(&home, told("ready1 "));
    assert_string_equal(home.notes, "lost1 ready1 ");
    assert_true(home_cover(home.home, HOME_PREFIXES, 0) > cover);
    redis_fixture_say(&server, "SET time 1");
    HOME_WAIT_FOR(&home, told("!1:time "));
    assert_null(strstr(home.log, "lost"));
}

/* ---- The server goes away ---- */

static void comes_back_when_killed_by_name(void **state)
{
    (void)state;
    home_fixture_open(&home);
    ask("GET a");
    uint64_t cover = home_fixture_cover(&home, "a");
    redis_fixture_say(&server, "CLIENT KILL TYPE normal SKIPME yes");
    HOME_WAIT_FOR(&home, told("lost0 "));
    uint64_t lost_us = 0;
    assert_false(home_is_up(home.home, HOME_KEYS, 0, &lost_us));
    assert_true(lost_us != 0);
    assert_int_equal(home_fixture_cover(&home, "a"), 0);
    HOME_WAIT_FOR(&home, told("lost0 ready0 "));
    assert_true(home_fixture_cover(&home, "a") > cover);
    assert_int_equal(home_fixture_count(&home, "reconnects"), 1);
    assert_int_equal(count_lines(home.log), 3);
    assert_non_null(strstr(home.log, "!redis_lost: "));
    assert_non_null(strstr(home.log, "redis_up: connected again after "));
}

static void lapses_while_the_server_stands_still(void **state)
{
    (void)state;
    home_fixture_open(&home);
    ask("GET a");
    uint64_t cover = home_fixture_cover(&home, "a");
    assert_true(cover != 0);
    kill(server.pid, SIGSTOP);
    uint64_t stopped_us = uv_hrtime() / 1000;
    HOME_WAIT_FOR(&home, home_fixture_cover(&home, "a") == 0);
    assert_true(uv_hrtime() / 1000 - stopped_us < LEASE_US + 200000);
    assert_false(home_is_current(home.home, HOME_KEYS));
    assert_false(told("lost"));
    kill(server.pid, SIGCONT);
    HOME_WAIT_FOR(&home, home_fixture_cover(&home, "a") == cover);
    assert_false(told("lost"));
}

static void breaks_at_a_deadline(void **state)
{
    (void)state;
    home.options.timeout_us = 700000;
    home_fixture_open(&home);
    kill(server.pid, SIGSTOP);
    struct home_call *call = send_words("SET a 1");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNKNOWN);
    assert_non_null(strstr(call->error.message, "no answer within the time allowed"));
    assert_int_equal(home_fixture_count(&home, "timeouts"), 1);
    HOME_WAIT_FOR(&home, told("lost0 "));
    /* What is asked now is refused in the next turn, and does not pile up. */
    call = send_words("GET a");
    uint64_t turn = home.turns;
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_true(call->turn <= turn + 1);
    kill(server.pid, SIGCONT);
    HOME_WAIT_FOR(&home, told("lost0 ready0 "));
    assert_string_equal(ask("PING"), "PONG");
}

static void outlives_the_server(void **state)
{
    (void)state;
    home_fixture_open(&home);
    kill(server.pid, SIGSTOP);
    struct home_call *call = send_words("SET a 1");
    uint64_t turn = home.turns;
    HOME_WAIT_FOR(&home, home.turns > turn + 2);
    redis_fixture_kill(&server, SIGKILL);
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNKNOWN);
    HOME_WAIT_FOR(&home, told("lost0 "));
    struct home_call *after = send_words("GET a");
    HOME_WAIT_FOR(&home, after->done);
    assert_int_equal(after->outcome, HOME_UNSENT);
    redis_fixture_start(&server, NULL);
    HOME_WAIT_FOR(&home, told("lost0 ready0 "));
    assert_string_equal(ask("GET a"), "nil");
    assert_int_equal(count_lines(home.log), 3);
}

static void waits_for_a_server(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    redis_fixture_kill(&server, SIGTERM);
    home_fixture_create(&home);
    home_open(home.home, &error);
    HOME_WAIT_FOR(&home, home_is_settled(home.home));
    assert_non_null(strstr(home.log, "connecting: connection refused"));
    assert_false(told("ready"));
    redis_fixture_start(&server, NULL);
    HOME_WAIT_FOR(&home, told("ready0 "));
    assert_string_equal(ask("PING"), "PONG");
}

static void tells_of_eviction(void **state)
{
    (void)state;
    redis_fixture_say(&server, "CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru");
    home_fixture_open(&home);
    assert_string_equal(home_evicting_policy(home.home), "allkeys-lru");
    redis_fixture_say(&server, "CONFIG SET maxmemory 0 maxmemory-policy noeviction");
}

static void takes_a_replica_for_read_only(void **state)
{
    (void)state;
    home_fixture_open(&home);
    redis_fixture_say(&server, "CONFIG SET replica-serve-stale-data yes");
    redis_fixture_say(&server, "REPLICAOF 127.0.0.1 1");
    struct home_call *call = send_words("SET a 1");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "a replica, which takes no writes"));
    redis_fixture_say(&server, "CONFIG SET replica-serve-stale-data no");
    call = send_words("GET a");
    HOME_WAIT_FOR(&home, call->done);
    assert_int_equal(call->outcome, HOME_UNSENT);
    assert_non_null(strstr(call->error.message, "lost its master"));
    redis_fixture_say(&server, "REPLICAOF NO ONE");
    redis_fixture_say(&server, "CONFIG SET replica-serve-stale-data yes");
}

/* A server without HELLO: each command is answered by an error or as RESP2. */
static void works_with_an_old_server(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct error error = ERROR_INIT;
    char got[1000] = "";
    size_t at = 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    home.options.port = ntohs(address.sin_port);
    home_fixture_create(&home);
    home_open(home.home, &error);
    int peer = -1;
    HOME_WAIT_FOR(&home, (peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    HOME_WAIT_FOR(&home, (at += (size_t)(read(peer, got + at, 1) == 1)) > 0 &&
                             strstr(got, "HELLO\r\n$1\r\n3\r\n") != NULL);
    dprintf(peer, "-ERR unknown command 'HELLO'\r\n");
    HOME_WAIT_FOR(&home, (at += (size_t)(read(peer, got + at, 1) == 1)) > 0 &&
                             strstr(got, "INFO\r\n$6\r\nmemory\r\n") != NULL);
    dprintf(peer, "+PONG\r\n$0\r\n\r\n");
    HOME_WAIT_FOR(&home, told("ready0 "));
    struct home_call *call = send_words("GET a");
    HOME_WAIT_FOR(&home, (at += (size_t)(read(peer, got + at, 1) == 1)) > 0 &&
                             strstr(got, "GET\r\n$1\r\na\r\n") != NULL);
    dprintf(peer, "$-1\r\n");
    HOME_WAIT_FOR(&home, call->done);
    assert_string_equal(call->reply, "nil");
    assert_int_equal(call->cover, 0);
    assert_int_equal(home_fixture_cover(&home, "a"), 0);
    assert_string_equal(home_fixture_word(&home, "tracking"), "refused");
    close(peer);
    close(listener);
}

/* ---- Ends ---- */

static void waits_for_what_is_out(void **state)
{
    (void)state;
    home_fixture_open(&home);
    struct home_call *call = send_words("SET a 1");
    home_fixture_close(&home, 5000000);
    assert_int_equal(strcmp(redis_fixture_say(&server, "GET a"), "1"), 0);
    (void)call;
}

static void does_not_wait_for_ever(void **state)
{
    (void)state;
    home_fixture_open(&home);
    kill(server.pid, SIGSTOP);
    send_words("SET a 1");
    home_flush(home.home);
    home_fixture_close(&home, 50000);
    kill(server.pid, SIGCONT);
}

/* After each number of turns since it was opened; also where it never was. */
static void closes_at_any_time(void **state)
{
    (void)state;
    bool up = false;
    home_fixture_create(&home);
    send_words("GET a");
    home_fixture_close(&home, 0);
    for (unsigned turns = 0; !up || turns < 40; turns++) {
        struct error error = ERROR_INIT;
        home_fixture_init(&home, &server);
        home_fixture_create(&home);
        assert_int_equal(home_add_prefix(home.home, "a", 1), 0);
        home_open(home.home, &error);
        for (unsigned i = 0; i < turns; i++) {
            home_fixture_turn(&home);
        }
        up = strcmp(home_fixture_word(&home, "state"), "up") == 0;
        send_words("GET a");
        home_fixture_send(&home, HOME_PREFIXES, "GET a");
        home_fixture_close(&home, (turns % 2) * (uint64_t)1000000);
        assert_true(turns < 2000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(works),
        TEST(works_over_a_unix_socket),
        TEST(logs_in_and_selects),
        TEST(is_refused),
        TEST(lacks_tracking),
        TEST(sends_a_turn_in_one_write),
        TEST(hears_of_what_it_read),
        TEST(hears_of_prefixes),
        TEST(comes_back_when_killed_by_name),
        TEST(lapses_while_the_server_stands_still),
        TEST(breaks_at_a_deadline),
        TEST(outlives_the_server),
        TEST(waits_for_a_server),
        TEST(tells_of_eviction),
        TEST(takes_a_replica_for_read_only),
        TEST(works_with_an_old_server),
        TEST(waits_for_what_is_out),
        TEST(does_not_wait_for_ever),
        TEST(closes_at_any_time),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
