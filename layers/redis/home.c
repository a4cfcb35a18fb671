#include "layers/redis/home.h"

#include <stdio.h>
#include <string.h>

#include "layers/redis/home_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* The happy path of a command is home_send -> home_put (a link's output) ->
 * home_flush -> on_answer -> done. Possible failures are that there is no link for
 * it (home_refuse: done comes in the next turn), that a node sends it elsewhere or
 * cannot do it now (home_cluster.c), that a node did not execute it (on_answer), and
 * that the link breaks (on_answer).
 *
 *   opened ──home_close──► waiting for what is out ──► links closing ──► handles
 *   closing ──► closed */

enum { TICK_MS = 25, PREFIXES_MAX = 1024, PREFIX_BYTES_MAX = 1024, WHY_MAX = 400 };

/* ---- Making one ---- */

struct home *home_create(const struct home_options *options, const struct home_world *world)
{
    struct home *home = heap_zero(1, sizeof(struct home));
    if (home == NULL) {
        return NULL;
    }
    home->options = *options;
    home->world = *world;
    home->random = world->clock_us() ^ (uint64_t)(uintptr_t)home;
    list_init(&home->listeners);
    list_init(&home->nodes);
    list_init(&home->dirty);
    list_init(&home->resting);
    list_init(&home->failed);
    list_init(&home->parked);
    error_clear(&home->fault);
    struct home_node *seed = home_node_of(home, options->host, options->port);
    if (options->cluster) {
        home->map = heap_zero(1, sizeof(struct slots));
        home->fresh = heap_zero(1, sizeof(struct slots));
    }
    if (seed == NULL || (options->cluster && (home->map == NULL || home->fresh == NULL))) {
        home_free(home);
        return NULL;
    }
    seed->is_seed = true;
    if (home->map == NULL) {
        home->masters[0] = seed;
        home->master_count = 1;
        seed->position = 0;
    } else {
        memset(home->map->owner, 0xff, sizeof(home->map->owner));
    }
    return home;
}

static void free_prefixes(struct home_prefix *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        heap_free(prefixes[i].bytes);
    }
    heap_free(prefixes);
}

void home_free(struct home *home)
{
    CHECK(home->handles == 0 && list_empty(&home->failed) && list_empty(&home->parked));
    while (!list_empty(&home->nodes)) {
        home_node_free(CONTAINER_OF(home->nodes.next, struct home_node, link));
    }
    free_prefixes(home->prefixes, home->prefix_count);
    buffer_release(&home->prefix_words);
    heap_free(home->map);
    heap_free(home->fresh);
    heap_free(home);
}

const char *home_name(const struct home *home)
{
    return home->options.name;
}

bool home_is_cluster(const struct home *home)
{
    return home->options.cluster;
}

void home_listen(struct home *home, struct home_listener *listener)
{
    list_append(&home->listeners, &listener->link);
}

void home_unlisten(struct home_listener *listener)
{
    list_remove(&listener->link);
}

/* ---- Prefixes ---- */

static bool is_covered(const struct home_prefix *by, const uint8_t *prefix, size_t size)
{
    return by->size <= size && (by->size == 0 || memcmp(by->bytes, prefix, by->size) == 0);
}

/* The words of CLIENT TRACKING ... BCAST: PREFIX and the prefix, of each. */
static bool write_words(struct buffer *words, const struct home_prefix *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        resp_word_text(words, "PREFIX");
        resp_word(words, prefixes[i].bytes, prefixes[i].size);
    }
    return !words->failed;
}

/* Those that the new one does not cover, and itself. */
static size_t copy_prefixes(const struct home *home, struct home_prefix *out,
                            const struct home_prefix *new)
{
    size_t count = 0;
    for (size_t i = 0; i < home->prefix_count; i++) {
        const struct home_prefix *old = &home->prefixes[i];
        if (!is_covered(new, old->bytes, old->size)) {
            out[count++] = *old;
        }
    }
    out[count++] = *new;
    return count;
}

/* Takes the new list over, and frees what is not in it any more. */
static void replace_prefixes(struct home *home, struct home_prefix *prefixes, size_t count,
                             const struct buffer *words)
{
    const struct home_prefix *new = &prefixes[count - 1];
    for (size_t i = 0; i < home->prefix_count; i++) {
        if (is_covered(new, home->prefixes[i].bytes, home->prefixes[i].size)) {
            heap_free(home->prefixes[i].bytes);
        }
    }
    heap_free(home->prefixes);
    buffer_release(&home->prefix_words);
    home->prefixes = prefixes;
    home->prefix_count = count;
    home->prefix_words = *words;
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        link_close(&node->lines[HOME_PREFIXES].link);
    }
    home->ready[HOME_PREFIXES] = false;
}

int home_add_prefix(struct home *home, const void *prefix, size_t size)
{
    for (size_t i = 0; i < home->prefix_count; i++) {
        if (is_covered(&home->prefixes[i], prefix, size)) {
            return 0;
        }
    }
    if (size > PREFIX_BYTES_MAX || home->prefix_count == PREFIXES_MAX) {
        return -CODE_OVERLOADED;
    }
    struct buffer words = BUFFER_INIT;
    struct home_prefix new = {.bytes = heap_alloc(size), .size = size};
    struct home_prefix *all = heap_zero(home->prefix_count + 1, sizeof(struct home_prefix));
    if (new.bytes != NULL && all != NULL) {
        if (size > 0) {
            memcpy(new.bytes, prefix, size);
        }
        size_t count = copy_prefixes(home, all, &new);
        if (write_words(&words, all, count)) {
            replace_prefixes(home, all, count, &words);
            return 0;
        }
    }
    buffer_release(&words);
    heap_free(new.bytes);
    heap_free(all);
    return -CODE_OVERLOADED;
}

/* ---- Commands ---- */

void home_mark_dirty(struct home_line *line)
{
    struct home *home = line->node->home;
    list_remove(&line->dirty);
    list_append(&home->dirty, &line->dirty);
}

void home_flush(struct home *home)
{
    while (!list_empty(&home->dirty)) {
        struct home_line *line = CONTAINER_OF(home->dirty.next, struct home_line, dirty);
        list_remove(&line->dirty);
        link_flush(&line->link);
    }
}

/* It is over: nothing of the home's knows the command any more. */
static void end_command(struct home_command *command, const struct home_answer *answer)
{
    struct home *home = command->own.home;
    CHECK(home->waiting > 0);
    home->waiting--;
    if (home->closing && home->waiting == 0) {
        home_wake(home);
    }
    command->done(command, answer);
}

static void end_failed(struct home_command *command, enum home_outcome outcome, const char *why)
{
    const struct home *home = command->own.home;
    struct home_answer answer = {.outcome = outcome, .error = ERROR_INIT};
    error_set(&answer.error, CODE_UNAVAILABLE, "redis %s: %s", home->options.name, why);
    if (outcome == HOME_UNKNOWN) {
        snprintf(answer.error.outcome, sizeof(answer.error.outcome), "unknown");
    }
    end_command(command, &answer);
}

/* Errors by which a node says that it has executed nothing, nor can for now. */
static const char *not_executed(const struct home *home, const struct resp_token *error)
{
    static const struct {
        const char *code;
        const char *why;
        bool single; /* only without a Cluster: else it is followed */
    } refusals[] = {
        {"LOADING ", "the server is still loading its data", false},
        {"READONLY ", "the server is a replica, which takes no writes", false},
        {"MASTERDOWN ", "the server has lost its master", false},
        {"MOVED ", "the server is a node of a Cluster; its configuration lacks `cluster: true`",
         true},
        {"CLUSTERDOWN ", "the server is a node of a Cluster, which is down", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        if (resp_begins(error, refusals[i].code) && (home->map == NULL || !refusals[i].single)) {
            return refusals[i].why;
        }
    }
    return NULL;
}

static void on_answer(struct link_command *wire, enum link_outcome outcome,
                      struct resp_reader reply)
{
    struct home_command *command = CONTAINER_OF(wire, struct home_command, own.wire);
    struct home *home = command->own.home;
    struct link *link = &command->own.line->link;
    if (outcome != LINK_ANSWERED) {
        const char *why = link->fault.code != CODE_OK ? link->fault.message : "it is closed";
        end_failed(command, outcome == LINK_LOST ? HOME_UNKNOWN : HOME_UNSENT, why);
        return;
    }
    struct resp_reader peek = reply;
    struct resp_token token = resp_next(&peek);
    if (token.kind == RESP_ERROR) {
        if (home->map != NULL && home_cluster_redirect(command, &token)) {
            return;
        }
        const char *why = not_executed(home, &token);
        if (why != NULL) {
            end_failed(command, HOME_UNSENT, why);
            return;
        }
    }
    /* The error is left as it is but for its code: it is large, and nobody's. */
    struct home_answer answer;
    answer.outcome = HOME_ANSWERED;
    answer.reply = reply;
    answer.cover = link->lease.cover;
    answer.error.code = CODE_OK;
    answer.error.message[0] = '\0';
    home->moment = link->moment;
    end_command(command, &answer);
}

uint64_t home_moment(const struct home *home)
{
    return home->moment;
}

bool home_put(struct home_command *command, struct home_line *line)
{
    struct home_errand *own = &command->own;
    if (!link_is_up(&line->link) ||
        link_send(&line->link, &own->wire, command->bytes, command->size) < 0) {
        return false;
    }
    own->line = line;
    home_mark_dirty(line);
    return true;
}

void home_refuse(struct home_command *command, enum home_refusal refusal)
{
    struct home *home = command->own.home;
    command->own.refusal = (uint8_t)refusal;
    list_append(&home->failed, &command->own.wire.link);
    home_wake(home);
}

static struct home_node *node_for(const struct home *home, const struct home_command *command)
{
    if (command->node == HOME_NODE_OF_SLOT) {
        return home_owner(home, command->slot);
    }
    return command->node < home->master_count ? home->masters[command->node] : NULL;
}

/* Opens it where it never was. */
static bool is_opening(struct home_line *line)
{
    const struct link *link = &line->link;
    if (link->state == LINK_IDLE && line->failures == 0 && line->node->home->opened) {
        home_line_tick(line, home_now(line->node->home));
    }
    return link->state != LINK_IDLE && link->state != LINK_UP && link->state != LINK_CLOSING;
}

void home_send(struct home *home, struct home_command *command)
{
    struct home_errand *own = &command->own;
    *own = (struct home_errand){.home = home};
    own->wire.deadline_us = home_now(home) + home->options.timeout_us;
    own->wire.done = on_answer;
    own->wire.untracked = command->untracked;
    home->commands++;
    home->waiting++;
    home->raw = home->raw || command->lane == HOME_RAW;
    struct home_node *node = node_for(home, command);
    if (home->closing) {
        home_refuse(command, REFUSAL_CLOSING);
    } else if (!home_opens_lane(home, command->lane)) {
        home_refuse(command, REFUSAL_LANE);
    } else if (node == NULL) {
        home_refuse(command, home_knows_map(home) ? REFUSAL_NO_SLOT : REFUSAL_DOWN);
    } else if (command->lane == HOME_RAW && is_opening(&node->lines[HOME_RAW])) {
        home_park(command, node);
    } else if (!link_is_up(&node->lines[command->lane].link)) {
        home_refuse(command, REFUSAL_DOWN);
    } else if (!home_put(command, &node->lines[command->lane])) {
        home_refuse(command, REFUSAL_FULL);
    }
}

static const char *refusal_text(const struct home *home, const struct home_command *command)
{
    static const char *const texts[] = {
        [REFUSAL_DOWN] = "it is not connected yet",
        [REFUSAL_NO_SLOT] = "no node of the Cluster has the key's slot",
        [REFUSAL_FULL] = "more waits for it than there is room for",
        [REFUSAL_CLOSING] = "the daemon is closing it",
        [REFUSAL_LANE] = "nothing there is followed by prefix",
        [REFUSAL_REDIRECTS] = "the Cluster moved the key for longer than the time allowed",
    };
    const struct home_node *node = node_for(home, command);
    const struct error *fault = command->lane == HOME_RAW && node != NULL
                                    ? &node->lines[HOME_RAW].link.fault
                                    : &home->fault;
    bool has_fault = command->own.refusal == REFUSAL_DOWN && fault->code != CODE_OK;
    return has_fault ? fault->message : texts[command->own.refusal];
}

static void run_failed(struct home *home)
{
    struct list all;
    list_init(&all);
    list_move_all(&all, &home->failed);
    while (!list_empty(&all)) {
        struct link_command *wire = CONTAINER_OF(all.next, struct link_command, link);
        struct home_command *command = CONTAINER_OF(wire, struct home_command, own.wire);
        list_remove(&wire->link);
        end_failed(command, HOME_UNSENT, refusal_text(home, command));
    }
}

static void run_resting(struct home *home)
{
    struct list all;
    list_init(&all);
    list_move_all(&all, &home->resting);
    while (!list_empty(&all)) {
        struct home_line *line = CONTAINER_OF(all.next, struct home_line, resting);
        list_remove(&line->resting);
        link_go_on(&line->link);
    }
}

/* ---- Time ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct home *home = handle->data;
    home->world.enter(home->world.context);
    if (--home->handles == 0) {
        home->closed(home, home->closed_context);
    }
}

static bool all_idle(const struct home *home)
{
    LIST_EACH(at, &home->nodes)
    {
        const struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            if (node->lines[lane].link.state != LINK_IDLE) {
                return false;
            }
        }
    }
    return true;
}

static void close_links(struct home *home)
{
    home->links_closing = true;
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            link_close(&node->lines[lane].link);
        }
    }
    home_run_parked(home, NULL);
    home_check_ready(home);
}

static void go_on_closing(struct home *home)
{
    if (!home->links_closing && (home->waiting == 0 || home_now(home) >= home->close_by_us)) {
        close_links(home);
    }
    if (home->links_closing && home->waiting == 0 && all_idle(home) &&
        !uv_is_closing((uv_handle_t *)&home->idle)) {
        uv_close((uv_handle_t *)&home->idle, on_handle_closed);
        uv_close((uv_handle_t *)&home->timer, on_handle_closed);
    }
}

static void on_idle(uv_idle_t *idle)
{
    struct home *home = idle->data;
    home->world.enter(home->world.context);
    run_failed(home);
    run_resting(home);
    if (home->closing) {
        go_on_closing(home);
    }
    if (list_empty(&home->failed) && list_empty(&home->resting)) {
        CHECK(uv_idle_stop(idle) == 0);
    }
}

void home_wake(struct home *home)
{
    if (home->handles > 0 && !uv_is_closing((uv_handle_t *)&home->idle)) {
        CHECK(uv_idle_start(&home->idle, on_idle) == 0);
    }
}

void home_mark_resting(struct home_line *line)
{
    struct home *home = line->node->home;
    list_remove(&line->resting);
    list_append(&home->resting, &line->resting);
    home_wake(home);
}

static void on_timer(uv_timer_t *timer)
{
    struct home *home = timer->data;
    home->world.enter(home->world.context);
    uint64_t now_us = home_now(home);
    home_nodes_prune(home);
    if (!home->links_closing && home->map != NULL) {
        home_cluster_tick(home, now_us);
    }
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            home_line_tick(&node->lines[lane], now_us);
        }
    }
    if (now_us - home->opened_us > home->options.timeout_us) {
        memset(home->settled, true, sizeof(home->settled));
    }
    home_run_parked(home, NULL);
    if (home->closing) {
        go_on_closing(home);
    }
    home_flush(home);
}

static void open_handles(struct home *home)
{
    CHECK(uv_timer_init(home->world.loop, &home->timer) == 0);
    CHECK(uv_idle_init(home->world.loop, &home->idle) == 0);
    home->timer.data = home;
    home->idle.data = home;
    home->handles = 2;
    uv_unref((uv_handle_t *)&home->timer);
    uv_unref((uv_handle_t *)&home->idle);
    if (!list_empty(&home->failed)) {
        home_wake(home);
    }
}

int home_open(struct home *home, struct error *error)
{
    CHECK(!home->opened && !home->closing);
    (void)error;
    home->opened = true;
    home->opened_us = home_now(home);
    open_handles(home);
    CHECK(uv_timer_start(&home->timer, on_timer, 0, TICK_MS) == 0);
    return 0;
}

void home_close(struct home *home, uint64_t wait_us,
                void (*closed)(struct home *home, void *context), void *context)
{
    uint64_t by_us = home_now(home) + wait_us;
    if (home->closing) {
        home->close_by_us = by_us < home->close_by_us ? by_us : home->close_by_us;
        return;
    }
    if (home->handles == 0) {
        open_handles(home);
    }
    /* From here on it is a reason for the loop to go on: until it is closed. */
    uv_ref((uv_handle_t *)&home->timer);
    uv_ref((uv_handle_t *)&home->idle);
    home->closing = true;
    home->close_by_us = by_us;
    home->closed = closed;
    home->closed_context = context;
    home_wake(home);
}
