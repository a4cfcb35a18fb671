#include "tests/lib/home_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "layers/redis/home_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* A home with nodes of the test's own, which say what real ones say too rarely to
 * wait for: maps that disagree, redirects without an end, silence. Real ones are in
 * tests/integration/test_home.c and test_home_cluster.c. */

enum { NODES = 2, PEERS_MAX = 16, TEXT_MAX = 1024 };

struct fake_node {
    int listener;
    uint16_t port;
    int peers[PEERS_MAX];
    struct buffer inputs[PEERS_MAX];
    size_t peer_count;
    bool is_silent;     /* to CLUSTER */
    const char *state;  /* of CLUSTER INFO */
    char map[TEXT_MAX]; /* of CLUSTER SLOTS */
    char answer[TEXT_MAX];
    unsigned maps;  /* how often it was asked for one */
    unsigned asked; /* other commands */
    char tracking[TEXT_MAX];
};

static struct fake_node nodes[NODES];
static struct home_fixture home;

/* ---- The nodes ---- */

static void listen_at(struct fake_node *node)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    *node = (struct fake_node){.state = "cluster_state:ok"};
    node->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(node->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(node->listener, PEERS_MAX), 0);
    assert_int_equal(getsockname(node->listener, (struct sockaddr *)&address, &size), 0);
    node->port = ntohs(address.sin_port);
    snprintf(node->answer, TEXT_MAX, "+from%d\r\n", (int)(node - nodes));
}

static void say(int peer, const char *text)
{
    ssize_t written = write(peer, text, strlen(text));
    assert_true(written > 0 || errno == EPIPE || errno == ECONNRESET);
}

static void say_bulk(int peer, const char *text)
{
    char bulk[TEXT_MAX];
    snprintf(bulk, sizeof(bulk), "$%zu\r\n%s\r\n", strlen(text), text);
    say(peer, bulk);
}

/* The words of a command, apart by spaces. */
static void read_words(const uint8_t *bytes, size_t size, char out[TEXT_MAX])
{
    struct resp_reader in = resp_reader_of(bytes, size);
    struct resp_token token = resp_next(&in);
    size_t used = 0;
    out[0] = '\0';
    for (uint64_t count = token.count; count > 0; count--) {
        token = resp_next(&in);
        used += (size_t)snprintf(out + used, TEXT_MAX - used, "%s%.*s", used > 0 ? " " : "",
                                 (int)token.size, (const char *)token.bytes);
    }
}

static void answer(struct fake_node *node, int peer, const char *words)
{
    if (strncmp(words, "HELLO", 5) == 0) {
        say(peer, "%0\r\n");
    } else if (strcmp(words, "PING") == 0) {
        say(peer, "+PONG\r\n");
    } else if (strncmp(words, "CLIENT TRACKING", 15) == 0) {
        snprintf(node->tracking, TEXT_MAX, "%s", words);
        say(peer, "+OK\r\n");
    } else if (strcmp(words, "INFO memory") == 0 || strcmp(words, "ASKING") == 0) {
        say(peer, "+OK\r\n");
    } else if (strcmp(words, "CLUSTER INFO") == 0 && !node->is_silent) {
        say_bulk(peer, node->state);
    } else if (strcmp(words, "CLUSTER SLOTS") == 0) {
        node->maps++;
        if (!node->is_silent) {
            say(peer, node->map);
        }
    } else if (strncmp(words, "CLUSTER", 7) != 0) {
        node->asked++;
        say(peer, node->answer);
    }
}

static void serve(struct fake_node *node, size_t peer)
{
    struct buffer *input = &node->inputs[peer];
    assert_true(buffer_reserve(input, TEXT_MAX));
    ssize_t count = read(node->peers[peer], input->bytes + input->size, TEXT_MAX);
    input->size += count > 0 ? (size_t)count : 0;
    for (;;) {
        char words[TEXT_MAX];
        struct error error = ERROR_INIT;
        struct resp_scan scan = {0};
        if (input->size == 0 ||
            resp_scan_go(&scan, input->bytes, input->size, &error) != RESP_WHOLE) {
            return;
        }
        read_words(input->bytes, scan.at, words);
        buffer_consume(input, scan.at);
        answer(node, node->peers[peer], words);
    }
}

static void pump(void)
{
    const int yes = 1;
    for (struct fake_node *node = nodes; node < nodes + NODES; node++) {
        int peer = accept4(node->listener, NULL, NULL, SOCK_NONBLOCK);
        if (peer >= 0) {
            assert_true(node->peer_count < PEERS_MAX);
            setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
            node->peers[node->peer_count++] = peer;
        }
        for (size_t i = 0; i < node->peer_count; i++) {
            serve(node, i);
        }
    }
}

static void hang_up(struct fake_node *node)
{
    for (size_t i = 0; i < node->peer_count; i++) {
        close(node->peers[i]);
        buffer_release(&node->inputs[i]);
        node->inputs[i] = (struct buffer)BUFFER_INIT;
    }
    node->peer_count = 0;
}

#define WAIT_FOR(condition) HOME_WAIT_FOR(&home, (pump(), (condition)))

/* A map in which the first node has the slots below `border`; `host` in RESP. */
static void set_map(struct fake_node *node, unsigned border, const char *host)
{
    snprintf(
        node->map, TEXT_MAX,
        "*2\r\n*3\r\n:0\r\n:%u\r\n*2\r\n%s\r\n:%u\r\n*3\r\n:%u\r\n:16383\r\n*2\r\n%s\r\n:%u\r\n",
        border - 1, host, nodes[0].port, border, host, nodes[1].port);
}

static const char here[] = "$9\r\n127.0.0.1";

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < NODES; i++) {
        listen_at(&nodes[i]);
    }
    for (unsigned i = 0; i < NODES; i++) {
        set_map(&nodes[i], 8192, here);
    }
    const struct redis_fixture seed = {.port = nodes[0].port};
    home_fixture_init(&home, &seed);
    home.options.cluster = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_at(-1);
    if (home.calls != NULL) {
        home_fixture_close(&home, 0);
    }
    for (unsigned i = 0; i < NODES; i++) {
        hang_up(&nodes[i]);
        close(nodes[i].listener);
    }
    return 0;
}

static void begin(void)
{
    struct error error = ERROR_INIT;
    if (home.home == NULL) {
        home_fixture_create(&home);
    }
    assert_int_equal(home_open(home.home, &error), 0);
}

static void be_up(void)
{
    begin();
    WAIT_FOR(strcmp(home_fixture_word(&home, "state"), "up") == 0);
}

/* "b" is in slot 3300, "a" in 15495. */
static struct home_call *send_and_wait(const char *words)
{
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, words);
    WAIT_FOR(call->done);
    return call;
}

static void expect_words(const struct home_call *call, const char *words)
{
    assert_int_equal(call->outcome, HOME_UNSENT);
    if (strstr(call->error.message, words) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", words, call->error.message);
    }
}

/* ---- Redirects ---- */

static void routes(void **state)
{
    (void)state;
    be_up();
    assert_string_equal(send_and_wait("GET b")->reply, "from0");
    assert_string_equal(send_and_wait("GET a")->reply, "from1");
    assert_int_equal(home_node_count(home.home), 2);
}

static void ends_a_circle(void **state)
{
    (void)state;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-MOVED 3300 127.0.0.1:%u\r\n", nodes[1].port);
    snprintf(nodes[1].answer, TEXT_MAX, "-MOVED 3300 127.0.0.1:%u\r\n", nodes[0].port);
    expect_words(send_and_wait("GET b"), "moved the key for longer");
    assert_int_equal(nodes[0].asked + nodes[1].asked, 17);
    assert_int_equal(home_fixture_count(&home, "redirects"), 17);
}

/* Not only when its time comes, after a second. */
static void asks_for_the_map_when_a_slot_has_moved(void **state)
{
    (void)state;
    bool soon = false;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-MOVED 3300 127.0.0.1:%u\r\n", nodes[1].port);
    for (unsigned i = 0; i < 5 && !soon; i++) {
        unsigned maps = nodes[0].maps + nodes[1].maps;
        WAIT_FOR(nodes[0].maps + nodes[1].maps > maps);
        uint64_t began_ms = uv_hrtime() / 1000000;
        assert_string_equal(send_and_wait("GET b")->reply, "from1");
        maps = nodes[0].maps + nodes[1].maps;
        WAIT_FOR(nodes[0].maps + nodes[1].maps > maps);
        soon = (uv_hrtime() / 1000000) - began_ms < 700;
    }
    assert_true(soon);
}

static void follows_without_a_host(void **state)
{
    (void)state;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-MOVED 3300 :%u\r\n", nodes[1].port);
    assert_string_equal(send_and_wait("GET b")->reply, "from1");
    snprintf(nodes[0].answer, TEXT_MAX, "-ASK 3300 :%u\r\n", nodes[1].port);
    assert_string_equal(send_and_wait("GET b")->reply, "from1");
}

static void reads_a_map_without_hosts(void **state)
{
    (void)state;
    set_map(&nodes[0], 8192, "$-1");
    be_up();
    assert_string_equal(send_and_wait("GET a")->reply, "from1");
}

/* To a node that is not there: until the command's time is over. */
static void waits_for_a_node_in_vain(void **state)
{
    (void)state;
    home.options.timeout_us = 300000;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-MOVED 3300 127.0.0.1:1\r\n");
    expect_words(send_and_wait("GET b"), "moved the key for longer");
    assert_int_equal(home_fixture_count(&home, "timeouts"), 1);
    assert_null(strstr(home.log, "redis_lost"));
}

static void waits_while_the_cluster_is_down(void **state)
{
    (void)state;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-CLUSTERDOWN The cluster is down\r\n");
    struct home_call *call = home_fixture_send(&home, HOME_KEYS, "GET b");
    WAIT_FOR(nodes[0].asked == 3);
    assert_false(call->done);
    snprintf(nodes[0].answer, TEXT_MAX, "-TRYAGAIN not yet\r\n");
    WAIT_FOR(nodes[0].asked == 5);
    snprintf(nodes[0].answer, TEXT_MAX, "+now\r\n");
    WAIT_FOR(call->done);
    assert_string_equal(call->reply, "now");
    /* One that was meant for this very node is not sent elsewhere. */
    snprintf(nodes[0].answer, TEXT_MAX, "-MOVED 1 127.0.0.1:1\r\n");
    call->command.node = 0;
    call->done = false;
    home_send(home.home, &call->command);
    WAIT_FOR(call->done);
    assert_int_equal(call->outcome, HOME_ANSWERED);
    assert_string_equal(call->reply, "MOVED 1 127.0.0.1:1");
}

static void tells_what_was_not_executed(void **state)
{
    (void)state;
    be_up();
    snprintf(nodes[0].answer, TEXT_MAX, "-LOADING Redis is loading the dataset in memory\r\n");
    expect_words(send_and_wait("GET b"), "still loading");
    snprintf(nodes[0].answer, TEXT_MAX, "-LOADINGS are something else\r\n");
    assert_string_equal(send_and_wait("GET b")->reply, "LOADINGS are something else");
}

/* ---- Maps ---- */

static void does_not_believe_who_is_cut_off(void **state)
{
    (void)state;
    be_up();
    /* The second node has taken all over; the first one, which told the map so far,
     * does not know, but that it is alone. */
    nodes[0].state = "cluster_state:fail";
    set_map(&nodes[1], 1, here);
    WAIT_FOR(strstr(home.notes, "lost0 ready0 lost1 ") != NULL);
    assert_string_equal(send_and_wait("GET b")->reply, "from1");
    /* Where nobody knows better it stays as it is. */
    nodes[1].state = "cluster_state:fail";
    set_map(&nodes[1], 8192, here);
    unsigned maps = nodes[0].maps + nodes[1].maps;
    WAIT_FOR(nodes[0].maps + nodes[1].maps > maps + 2);
    assert_string_equal(send_and_wait("GET b")->reply, "from1");
}

static void asks_another_one(void **state)
{
    (void)state;
    be_up();
    assert_int_equal(nodes[1].maps, 0);
    nodes[0].is_silent = true;
    set_map(&nodes[1], 1, here);
    WAIT_FOR(strstr(home.notes, "lost0 ready0 lost1 ") != NULL);
    assert_true(nodes[1].maps > 0);
}

static void needs_a_map(void **state)
{
    (void)state;
    snprintf(nodes[0].map, TEXT_MAX, "*0\r\n");
    begin();
    WAIT_FOR(home_is_settled(home.home));
    assert_non_null(strstr(home.log, "no node of the Cluster has slots"));
    expect_words(send_and_wait("GET b"), "no node of the Cluster has slots");
    snprintf(nodes[0].map, TEXT_MAX, "*1\r\n:5\r\n");
    unsigned maps = nodes[0].maps;
    WAIT_FOR(nodes[0].maps > maps + 1);
    snprintf(nodes[0].map, TEXT_MAX, "-ERR no\r\n");
    WAIT_FOR(nodes[0].maps > maps + 3);
    set_map(&nodes[0], 8192, here);
    WAIT_FOR(strcmp(home_fixture_word(&home, "state"), "up") == 0);
    assert_string_equal(send_and_wait("GET b")->reply, "from0");
}

static void has_slots_that_nobody_has(void **state)
{
    (void)state;
    snprintf(nodes[0].map, TEXT_MAX, "*1\r\n*3\r\n:0\r\n:5000\r\n*2\r\n%s\r\n:%u\r\n", here,
             nodes[0].port);
    be_up();
    uint64_t lost_us;
    assert_non_null(strstr(home.log, "!redis_slots: 1 masters, which have 5001 of 16384 slots"));
    assert_false(home_is_up(home.home, HOME_KEYS, 6000, &lost_us));
    assert_int_equal(home_cover(home.home, HOME_KEYS, 6000), 0);
    expect_words(send_and_wait("GET a"), "no node of the Cluster has the key's slot");
    assert_string_equal(send_and_wait("GET b")->reply, "from0");
}

/* Many nodes that are named once are forgotten again. */
static void forgets_nodes(void **state)
{
    (void)state;
    home.options.timeout_us = 50000;
    be_up();
    for (unsigned i = 0; i < 300; i++) {
        snprintf(nodes[0].answer, TEXT_MAX, "-ASK 3300 127.0.0.2:%u\r\n", 1 + i);
        home_fixture_send(&home, HOME_KEYS, "GET b");
        WAIT_FOR(nodes[0].asked == i + 1);
    }
    WAIT_FOR(home.done_count == home.call_count);
    assert_true(home.home->node_count >= 300);
    WAIT_FOR(home.home->node_count < 100);
    assert_string_equal(send_and_wait("GET a")->reply, "from1");
}

/* ---- Without a Cluster ---- */

static void joins_prefixes(void **state)
{
    (void)state;
    char longest[2000] = "";
    memset(longest, 'x', sizeof(longest));
    home.options.cluster = false;
    home_fixture_create(&home);
    assert_int_equal(home_add_prefix(home.home, longest, sizeof(longest)), -CODE_OVERLOADED);
    assert_int_equal(home_add_prefix(home.home, "ab", 2), 0);
    assert_int_equal(home_add_prefix(home.home, "b", 1), 0);
    assert_int_equal(home_add_prefix(home.home, "ac", 2), 0);
    assert_int_equal(home_add_prefix(home.home, "bc", 2), 0);
    be_up();
    WAIT_FOR(strcmp(nodes[0].tracking, "CLIENT TRACKING ON BCAST PREFIX ab PREFIX b PREFIX ac") ==
             0);
    assert_int_equal(home_add_prefix(home.home, "a", 1), 0);
    WAIT_FOR(strcmp(nodes[0].tracking, "CLIENT TRACKING ON BCAST PREFIX b PREFIX a") == 0);
    assert_int_equal(home_add_prefix(home.home, "", 0), 0);
    WAIT_FOR(strcmp(nodes[0].tracking, "CLIENT TRACKING ON BCAST PREFIX ") == 0);
    assert_int_equal(home_add_prefix(home.home, "any", 3), 0);
    WAIT_FOR(home_is_current(home.home, HOME_PREFIXES));
}

struct leaving {
    struct home_listener listener;
    struct leaving *other;
    unsigned heard;
};

static void leave(struct home_listener *listener, enum home_lane lane)
{
    struct leaving *leaving = CONTAINER_OF(listener, struct leaving, listener);
    (void)lane;
    leaving->heard++;
    home_unlisten(&leaving->listener);
    home_unlisten(&leaving->other->listener);
}

static void ignore_notice(struct home_listener *listener, enum home_lane lane, const uint8_t *key,
                          size_t size)
{
    (void)listener;
    (void)lane;
    (void)key;
    (void)size;
}

static void lets_listeners_leave(void **state)
{
    (void)state;
    struct leaving two[2] = {{.other = &two[1]}, {.other = &two[0]}};
    home_fixture_create(&home);
    for (unsigned i = 0; i < 2; i++) {
        two[i].listener =
            (struct home_listener){.on_notice = ignore_notice, .on_lost = leave, .on_ready = leave};
        home_listen(home.home, &two[i].listener);
    }
    be_up();
    assert_int_equal(two[0].heard + two[1].heard, 1);
    hang_up(&nodes[0]);
    hang_up(&nodes[1]);
    WAIT_FOR(strstr(home.notes, "lost0 ") != NULL);
    assert_int_equal(two[0].heard + two[1].heard, 1);
}

/* ---- Memory ---- */

static void lacks_memory_at_first(void **state)
{
    (void)state;
    for (int cluster = 0; cluster < 2; cluster++) {
        bool failed = true;
        for (long count = 0; failed; count++) {
            const struct home_world world = {
                .loop = &home.loop, .clock_us = uv_hrtime, .context = &home};
            home.options.cluster = cluster == 1;
            heap_fail_at(count);
            struct home *made = home_create(&home.options, &world);
            int status = made == NULL ? -1 : home_add_prefix(made, "abc", 3);
            failed = heap_failed() == 1;
            heap_fail_at(-1);
            assert_int_equal(status == 0, !failed);
            if (made != NULL) {
                assert_int_equal(home_add_prefix(made, "abc", 3), 0);
                home_free(made);
            }
        }
    }
}

/* In any turn: what is asked ends once, and the home comes up in the end. */
static void lacks_memory_later(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 120; round++) {
        home_fixture_create(&home);
        begin();
        for (unsigned i = 0; i < round / 3; i++) {
            home_fixture_turn(&home);
            pump();
        }
        struct home_call *call = home_fixture_send(&home, HOME_KEYS, "PING");
        heap_fail_at(round % 3);
        home_fixture_turn(&home);
        heap_fail_at(-1);
        WAIT_FOR(call->done);
        WAIT_FOR(home_is_current(home.home, HOME_KEYS));
        assert_string_equal(send_and_wait("GET a")->reply, "from1");
        home_fixture_close(&home, 0);
        hang_up(&nodes[0]);
        hang_up(&nodes[1]);
        const struct redis_fixture seed = {.port = nodes[0].port};
        home_fixture_init(&home, &seed);
        home.options.cluster = true;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(routes),
        TEST(ends_a_circle),
        TEST(asks_for_the_map_when_a_slot_has_moved),
        TEST(follows_without_a_host),
        TEST(reads_a_map_without_hosts),
        TEST(waits_for_a_node_in_vain),
        TEST(waits_while_the_cluster_is_down),
        TEST(tells_what_was_not_executed),
        TEST(does_not_believe_who_is_cut_off),
        TEST(asks_another_one),
        TEST(needs_a_map),
        TEST(has_slots_that_nobody_has),
        TEST(forgets_nodes),
        TEST(joins_prefixes),
        TEST(lets_listeners_leave),
        TEST(lacks_memory_at_first),
        TEST(lacks_memory_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
