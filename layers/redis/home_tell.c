#include <stdio.h>
#include <string.h>

#include "layers/redis/home_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/msgpack/writer.h"

/* What a home says of itself: to its listeners, to the log, and for `stats`. */

enum { TEXT_MAX = 600 };

/* ---- Listeners ---- */

/* They may unlisten from inside, themselves or each other: so each is taken out of
 * a list of those that have not heard it yet, and put back before it hears it. */
static struct home_listener *next_listener(struct home *home, struct list *left)
{
    if (list_empty(left)) {
        return NULL;
    }
    struct list *node = left->next;
    list_remove(node);
    list_append(&home->listeners, node);
    return CONTAINER_OF(node, struct home_listener, link);
}

static void begin_telling(struct home *home, struct list *left)
{
    list_init(left);
    list_move_all(left, &home->listeners);
}

void home_tell_notice(struct home *home, enum home_lane lane, const uint8_t *key, size_t size)
{
    struct list left;
    home->notices += key != NULL ? 1 : 0;
    home->flushes += key == NULL ? 1 : 0;
    begin_telling(home, &left);
    struct home_listener *listener;
    while ((listener = next_listener(home, &left)) != NULL) {
        listener->on_notice(listener, lane, key, size);
    }
}

void home_tell_lost(struct home *home, enum home_lane lane)
{
    struct list left;
    begin_telling(home, &left);
    struct home_listener *listener;
    while ((listener = next_listener(home, &left)) != NULL) {
        listener->on_lost(listener, lane);
    }
}

void home_tell_ready(struct home *home, enum home_lane lane)
{
    struct list left;
    begin_telling(home, &left);
    struct home_listener *listener;
    while ((listener = next_listener(home, &left)) != NULL) {
        listener->on_ready(listener, lane);
    }
}

/* ---- The log ---- */

static void say(struct home *home, const char *event, const char *text, bool bad)
{
    home->world.log(home->world.context, event, home->options.name, text, bad);
}

void home_log_up(struct home *home, uint64_t now_us)
{
    char text[TEXT_MAX];
    if (home->told == TOLD_UP) {
        return;
    }
    if (home->told == TOLD_LOST) {
        snprintf(text, sizeof(text), "connected again after %llu ms",
                 (unsigned long long)((now_us - home->lost_us) / 1000));
    } else if (home->options.is_unix) {
        snprintf(text, sizeof(text), "connected to %s", home->options.host);
    } else {
        snprintf(text, sizeof(text), "connected to %s:%u", home->options.host, home->options.port);
    }
    home->told = TOLD_UP;
    say(home, "redis_up", text, false);
}

void home_log_lost(struct home *home, uint64_t now_us)
{
    if (home->told != TOLD_LOST) {
        home->told = TOLD_LOST;
        home->lost_us = now_us;
        say(home, "redis_lost", home->fault.message, true);
    }
}

void home_log_refused(struct home *home, const struct link *link)
{
    char text[TEXT_MAX];
    if (!home->refusal_told) {
        home->refusal_told = true;
        snprintf(text, sizeof(text), "tracking is refused, so nothing is cached: %s",
                 link->tracking_error);
        say(home, "redis_tracking_refused", text, true);
    }
}

/* Slots that move one by one are no event each; other masters are, and slots that
 * nobody has. */
void home_log_slots(struct home *home)
{
    char text[TEXT_MAX];
    unsigned covered = 0;
    uint64_t sum = 0;
    for (unsigned slot = 0; slot < SLOTS_COUNT; slot++) {
        covered += home->map->owner[slot] != SLOTS_NO_NODE ? 1 : 0;
    }
    for (uint16_t i = 0; i < home->master_count; i++) {
        const struct home_node *node = home->masters[i];
        sum += hash_bytes(node->host, strlen(node->host)) * 31 + node->port;
    }
    sum += covered;
    if (sum != home->slots_told) {
        home->slots_told = sum;
        snprintf(text, sizeof(text), "%u masters, which have %u of %d slots", home->master_count,
                 covered, SLOTS_COUNT);
        say(home, "redis_slots", text, covered < SLOTS_COUNT);
    }
}

/* ---- Stats ---- */

struct sums {
    uint64_t writes;
    uint64_t timeouts;
    bool refused;
    bool tracked;
};

static struct sums sum_up(const struct home *home)
{
    struct sums sums = {.writes = home->old_writes,
                        .timeouts = home->old_timeouts + home->timeouts,
                        .tracked = home_knows_map(home)};
    LIST_EACH(at, &home->nodes)
    {
        const struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            const struct link *link = &node->lines[lane].link;
            sums.writes += link->writes;
            sums.timeouts += link->timeouts;
            if (home_node_is_master(node) && home_has_lane(home, lane)) {
                sums.refused = sums.refused || link->tracking_refused;
                sums.tracked = sums.tracked && link->lease.cover != 0;
            }
        }
    }
    return sums;
}

static const char *state_text(const struct home *home)
{
    bool up = true;
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        up = up && (home->ready[lane] || !home_has_lane(home, lane));
    }
    return up ? "up" : home->told == TOLD_LOST || home->closing ? "down" : "connecting";
}

static void write_count(struct buffer *out, const char *name, uint64_t count)
{
    write_text(out, name);
    write_unsigned(out, count);
}

void home_stats(const struct home *home, struct buffer *out)
{
    struct sums sums = sum_up(home);
    bool trusted = true;
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        trusted = trusted && (!home_has_lane(home, lane) || home_is_current(home, lane));
    }
    write_map(out, 12);
    write_text(out, "state");
    write_text(out, state_text(home));
    write_text(out, "tracking");
    write_text(out, sums.refused ? "refused" : sums.tracked ? "on" : "off");
    write_text(out, "trusted");
    write_boolean(out, trusted);
    write_count(out, "nodes", home_node_count(home));
    write_count(out, "commands", home->commands);
    write_count(out, "round_trips", sums.writes);
    write_count(out, "notices", home->notices);
    write_count(out, "flushes", home->flushes);
    write_count(out, "reconnects", home->reconnects);
    write_count(out, "redirects", home->redirects);
    write_count(out, "timeouts", sums.timeouts);
    write_count(out, "waiting", home->waiting);
}
