#include <stdio.h>
#include <string.h>

#include "layers/redis/home_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Nodes, and the links of their lanes: when they are opened, what follows when one
 * comes up or goes down. */

enum {
    NODES_MAX = 2 * SLOTS_NODES_MAX,
    NODES_KEPT = 64,            /* that are no masters: places to ask where all masters are gone */
    STEADY_US = 2 * 1000 * 1000 /* a link that held so long did not fail at once */
};

static struct home_line *line_of(struct link *link)
{
    return CONTAINER_OF(link, struct home_line, link);
}

static uint64_t next_random(struct home *home)
{
    uint64_t z = (home->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- What links tell ---- */

static void on_enter(void *context)
{
    struct home *home = context;
    home->world.enter(home->world.context);
}

static void on_notice(struct link *link, const uint8_t *key, size_t size)
{
    struct home_line *line = line_of(link);
    line->node->home->moment = link->moment;
    home_tell_notice(line->node->home, line->lane, key, size);
}

static void on_rest(struct link *link)
{
    home_mark_resting(line_of(link));
}

static void on_up(struct link *link)
{
    struct home_line *line = line_of(link);
    struct home_node *node = line->node;
    struct home *home = node->home;
    home->reconnects += line->was_up ? 1 : 0;
    line->was_up = true;
    line->up_us = home_now(home);
    if (line->asked) {
        home_keep_guest(line, line->up_us);
    }
    if (link->tracking_refused) {
        home_log_refused(home, link);
    }
    if (home->map != NULL && !home_knows_map(home)) {
        home->ask_us = 0;
        home_cluster_tick(home, line->up_us);
    }
    home_check_ready(home);
    home_run_parked(home, node);
}

static void note_fault(struct home *home, const struct home_line *line, const struct error *error,
                       uint64_t now_us)
{
    home->settled[line->lane] = true;
    if (line->lane == HOME_RAW) {
        return;
    }
    if (!home_knows_map(home)) {
        /* Other lanes wait for the map, and so for this. */
        memset(home->settled, true, sizeof(home->settled));
    }
    if (home_node_is_master(line->node) || !home_knows_map(home)) {
        home->fault = *error;
        home_log_lost(home, now_us);
    }
}

static void on_down(struct link *link, const struct error *error)
{
    struct home_line *line = line_of(link);
    struct home *home = line->node->home;
    uint64_t now_us = home_now(home);
    bool had_session = line->up_us != 0;
    if (had_session && now_us - line->up_us > STEADY_US) {
        line->failures = 0;
    }
    line->up_us = 0;
    line->lost_us = had_session ? now_us : line->lost_us;
    if (error->code == CODE_OK) {
        line->retry_us = 0;
    } else {
        line->retry_us = now_us + backoff_us(++line->failures, next_random(home));
        note_fault(home, line, error, now_us);
    }
    home_check_ready(home);
    if (home->links_closing) {
        home_wake(home);
    } else if (home->map != NULL && error->code != CODE_OK) {
        home_cluster_doubt(home, line->node);
    }
    /* Of one that is no master, too, if it told of slots that are moving to it. */
    bool told = home_node_is_master(line->node) || line->asked;
    line->asked = false;
    if (had_session && told && line->lane != HOME_RAW) {
        home_tell_lost(home, line->lane);
    }
}

/* ---- Nodes ---- */

static void init_line(struct home_line *line, struct home_node *node, enum home_lane lane)
{
    struct home *home = node->home;
    line->node = node;
    line->lane = lane;
    list_init(&line->dirty);
    list_init(&line->resting);
    link_init(&line->link);
    line->link.loop = home->world.loop;
    line->link.context = home;
    line->link.enter = on_enter;
    line->link.on_up = on_up;
    line->link.on_down = on_down;
    line->link.on_notice = on_notice;
    line->link.on_rest = on_rest;
}

struct home_node *home_node_of(struct home *home, const char *host, uint16_t port)
{
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        if (node->port == port && strcmp(node->host, host) == 0) {
            return node;
        }
    }
    struct home_node *node =
        home->node_count < NODES_MAX ? heap_zero(1, sizeof(struct home_node)) : NULL;
    if (node == NULL) {
        return NULL;
    }
    node->home = home;
    node->port = port;
    node->position = SLOTS_NO_NODE;
    snprintf(node->host, sizeof(node->host), "%s", host);
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        init_line(&node->lines[lane], node, lane);
    }
    list_append(&home->nodes, &node->link);
    home->node_count++;
    return node;
}

void home_node_free(struct home_node *node)
{
    struct home *home = node->home;
    CHECK(node->parked == 0 && !node->asked);
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        struct home_line *line = &node->lines[lane];
        CHECK(line->link.state == LINK_IDLE);
        list_remove(&line->dirty);
        list_remove(&line->resting);
        home->old_writes += line->link.writes;
        home->old_timeouts += line->link.timeouts;
    }
    if (home->source == node) {
        home->source = NULL;
    }
    list_remove(&node->link);
    home->node_count--;
    heap_free(node);
}

static bool is_of_use(const struct home_node *node, uint64_t now_us)
{
    bool used = node->is_seed || home_node_is_master(node) || node->parked > 0 || node->asked;
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        const struct home_line *line = &node->lines[lane];
        used = used || line->link.state != LINK_IDLE || now_us < line->guest_until_us;
    }
    return used;
}

void home_nodes_prune(struct home *home)
{
    size_t kept = (size_t)home->master_count + NODES_KEPT;
    struct list *at = home->nodes.next;
    uint64_t now_us = home_now(home);
    while (at != &home->nodes && home->node_count > kept) {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        at = at->next;
        if (!is_of_use(node, now_us)) {
            home_node_free(node);
        }
    }
}

/* ---- Lines ---- */

static void open_line(struct home_line *line, uint64_t now_us)
{
    static const enum link_tracking tracking[] = {[HOME_KEYS] = LINK_TRACKS_READS,
                                                  [HOME_PREFIXES] = LINK_TRACKS_PREFIXES,
                                                  [HOME_RAW] = LINK_UNTRACKED};
    struct home_node *node = line->node;
    struct home *home = node->home;
    struct link_settings settings = {
        .options = &home->options,
        .host = node->is_seed ? NULL : node->host,
        .port = node->port,
        .tracking = tracking[line->lane],
        .prefixes = &home->prefix_words,
        .prefix_count = home->prefix_count,
    };
    struct error error = ERROR_INIT;
    if (link_open(&line->link, &settings, now_us, &error) < 0) {
        line->retry_us = now_us + backoff_us(++line->failures, next_random(home));
        note_fault(home, line, &error, now_us);
    }
}

static bool is_wanted(const struct home_line *line, uint64_t now_us)
{
    const struct home *home = line->node->home;
    return !home->links_closing && home_opens_lane(home, line->lane) &&
           (home_node_is_master(line->node) || now_us < line->guest_until_us);
}

void home_line_tick(struct home_line *line, uint64_t now_us)
{
    bool wanted = is_wanted(line, now_us);
    if (line->link.state != LINK_IDLE && !wanted) {
        link_close(&line->link);
    } else if (line->link.state == LINK_IDLE && wanted && now_us >= line->retry_us) {
        open_line(line, now_us);
    } else if (line->link.state != LINK_IDLE) {
        link_tick(&line->link, now_us);
        home_mark_dirty(line);
    }
}

/* ---- Readiness ---- */

static bool is_ready(const struct home *home, enum home_lane lane)
{
    bool ready = home_knows_map(home) && home_has_lane(home, lane) && !home->links_closing;
    for (uint16_t i = 0; i < home->master_count && ready; i++) {
        ready = link_is_up(&home->masters[i]->lines[lane].link);
    }
    return ready;
}

void home_check_ready(struct home *home)
{
    bool all = true;
    bool came[HOME_LANE_COUNT] = {false};
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        bool ready = is_ready(home, lane);
        came[lane] = ready && !home->ready[lane];
        home->ready[lane] = ready;
        home->settled[lane] = home->settled[lane] || ready;
        all = all && (ready || !home_has_lane(home, lane));
    }
    if (all) {
        error_clear(&home->fault);
        home_log_up(home, home_now(home));
    }
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        if (came[lane]) {
            home_tell_ready(home, lane);
        }
    }
}
