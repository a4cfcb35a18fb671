#include <string.h>

#include "layers/redis/home_inner.h"
#include "protocol/base/check.h"

/* The map of a Cluster's slots, and what follows from it: which nodes have links,
 * whose answers are believed, where commands go that a node has sent away.
 *
 * The map is asked of one node as long as that answers, since nodes may see the
 * Cluster differently for some time, and going round would have it jump back and
 * forth. Another one is asked when it is lost, is silent, or says that the Cluster
 * is down, as one does that is cut off from the others: its map is not believed,
 * or a master that was replaced could vouch for itself for ever. The node that a
 * MOVED names knows best. */

enum {
    MAP_EVERY_US = 500 * 1000,  /* what others write in a slot that moved is to show within 1 s */
    MAP_SILENT_US = 300 * 1000, /* then another node is asked */
    MAP_PAUSE_US = 100 * 1000,  /* between two questions, whatever happens */
    GUEST_US = 2 * 1000 * 1000,
    ASKED_US = 600 * 1000 * 1000, /* a node that slots are moving to tells of those, too */
    LEAVING_US = 1000 * 1000,     /* for a former master's last answers */
    TRIES_MAX = 16,
    AGAIN_FIRST_US = 10 * 1000,
    AGAIN_LAST_US = 250 * 1000
};

/* ---- Taking a map ---- */

/* The masters of a new map, which may have to be added first. */
static bool find_masters(struct home *home, struct home_node *masters[SLOTS_NODES_MAX])
{
    const struct slots *fresh = home->fresh;
    for (uint16_t i = 0; i < fresh->node_count; i++) {
        masters[i] = home_node_of(home, fresh->nodes[i].host, fresh->nodes[i].port);
        if (masters[i] == NULL) {
            return false;
        }
    }
    return true;
}

/* A slot that goes to a node that was never up was lost when its old one was. */
static void slot_moved(struct home_node *from, struct home_node *to, uint64_t now_us)
{
    to->changed = true;
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        const struct home_line *old = &from->lines[lane];
        struct home_line *new = &to->lines[lane];
        if (!new->was_up &&new->lost_us == 0 && old->was_up) {
            new->lost_us = link_is_up(&old->link) ? now_us : old->lost_us;
        }
    }
}

/* Whether any slot's owner is another one. */
static bool compare_slots(struct home *home, struct home_node *masters[SLOTS_NODES_MAX],
                          uint64_t now_us)
{
    bool moved = false;
    for (unsigned slot = 0; slot < SLOTS_COUNT; slot++) {
        struct home_node *from = home_owner(home, (uint16_t)slot);
        uint16_t owner = home->fresh->owner[slot];
        struct home_node *to = owner == SLOTS_NO_NODE ? NULL : masters[owner];
        moved = moved || from != to;
        if (from != NULL && from != to) {
            from->changed = true;
        }
        if (from != NULL && to != NULL && from != to) {
            slot_moved(from, to, now_us);
        }
    }
    return moved;
}

static void replace_masters(struct home *home, struct home_node *masters[SLOTS_NODES_MAX],
                            uint64_t now_us)
{
    for (uint16_t i = 0; i < home->master_count; i++) {
        struct home_node *node = home->masters[i];
        node->position = SLOTS_NO_NODE;
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            node->lines[lane].guest_until_us = now_us + LEAVING_US + home->options.timeout_us;
        }
    }
    struct slots *fresh = home->fresh;
    home->fresh = home->map;
    home->map = fresh;
    home->master_count = fresh->node_count;
    for (uint16_t i = 0; i < home->master_count; i++) {
        struct home_node *node = masters[i];
        CHECK(node != NULL);
        home->masters[i] = node;
        node->position = i;
    }
}

/* What a node has got or lost is not told apart from what it has: all that was
 * read of it begins anew. A node that lost a slot and gets it back later could
 * otherwise vouch for what was read before. */
static void renew_sessions(struct home *home)
{
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT && node->changed; lane++) {
            link_renew(&node->lines[lane].link);
        }
        node->changed = false;
    }
}

static void tick_masters(struct home *home, uint64_t now_us)
{
    for (uint16_t i = 0; i < home->master_count; i++) {
        for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
            home_line_tick(&home->masters[i]->lines[lane], now_us);
        }
    }
}

static void take_map(struct home *home)
{
    struct home_node *masters[SLOTS_NODES_MAX] = {NULL};
    uint64_t now_us = home_now(home);
    if ((home_knows_map(home) && slots_same(home->map, home->fresh)) ||
        !find_masters(home, masters)) {
        return;
    }
    bool moved = home_knows_map(home) && compare_slots(home, masters, now_us);
    replace_masters(home, masters, now_us);
    renew_sessions(home);
    home_log_slots(home);
    tick_masters(home, now_us);
    home_check_ready(home);
    home_run_parked(home, NULL);
    for (enum home_lane lane = 0; lane < HOME_RAW && moved; lane++) {
        home_tell_lost(home, lane);
        if (home->ready[lane]) {
            home_tell_ready(home, lane); /* no link has to come up for that */
        }
    }
}

/* ---- Asking for it ---- */

static int read_map(struct home *home, const struct home_node *node, struct resp_reader reply,
                    struct error *error)
{
    struct resp_reader peek = reply;
    struct resp_token token = resp_next(&peek);
    if (token.kind == RESP_ERROR) {
        return error_set(error, CODE_UNAVAILABLE, "%s:%u: CLUSTER SLOTS: %.*s", node->host,
                         node->port, token.size < 200 ? (int)token.size : 200,
                         (const char *)token.bytes);
    }
    int status = slots_read(home->fresh, reply, node->host, error);
    if (status == 0 && home->fresh->node_count == 0) {
        status = error_set(error, CODE_UNAVAILABLE, "%s:%u: no node of the Cluster has slots",
                           node->host, node->port);
    }
    return status;
}

/* CLUSTER INFO goes before CLUSTER SLOTS: whether the node is one of the majority. */
static void on_state(struct link_command *command, enum link_outcome outcome,
                     struct resp_reader reply)
{
    static const char fails[] = "cluster_state:fail";
    struct home_node *node = CONTAINER_OF(command, struct home_node, ask_state);
    struct resp_token token = resp_next(&reply);
    node->is_cut_off = outcome == LINK_ANSWERED && token.kind == RESP_TEXT &&
                       memmem(token.bytes, token.size, fails, sizeof(fails) - 1) != NULL;
}

static void on_map(struct link_command *command, enum link_outcome outcome,
                   struct resp_reader reply)
{
    struct home_node *node = CONTAINER_OF(command, struct home_node, ask_slots);
    struct home *home = node->home;
    node->asked = false;
    if (outcome != LINK_ANSWERED || home->closing) {
        return;
    }
    struct error error = ERROR_INIT;
    uint64_t now_us = home_now(home);
    bool is_map = read_map(home, node, reply, &error) == 0;
    if (is_map && (!node->is_cut_off || !home_knows_map(home))) {
        home->source = node;
        home->ask_us = now_us + MAP_EVERY_US;
        take_map(home);
        return;
    }
    home->source = NULL;
    home->ask_us = now_us + MAP_SILENT_US;
    if (!is_map && !home_knows_map(home)) {
        home->fault = error;
        memset(home->settled, true, sizeof(home->settled));
        home_log_lost(home, now_us);
    }
}

static bool can_ask(const struct home_node *node)
{
    return !node->asked && link_is_up(&node->lines[HOME_KEYS].link);
}

/* The source where it may be asked; else whoever was asked longest ago, masters
 * first. */
static struct home_node *choose(struct home *home)
{
    if (home->source != NULL && can_ask(home->source)) {
        return home->source;
    }
    struct home_node *found = NULL;
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        if (can_ask(node) &&
            (found == NULL || (!home_node_is_master(found) && home_node_is_master(node)))) {
            found = node;
        }
    }
    return found;
}

static void ask(struct home *home, uint64_t now_us)
{
    static const char state[] = "*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n";
    static const char slots[] = "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";
    struct home_node *node = choose(home);
    if (node == NULL) {
        return;
    }
    list_remove(&node->link);
    list_append(&home->nodes, &node->link);
    struct home_line *line = &node->lines[HOME_KEYS];
    uint64_t deadline_us = now_us + home->options.timeout_us;
    node->ask_state = (struct link_command){.deadline_us = deadline_us, .done = on_state};
    node->ask_slots = (struct link_command){.deadline_us = deadline_us, .done = on_map};
    if (link_send(&line->link, &node->ask_state, state, sizeof(state) - 1) == 0) {
        home_mark_dirty(line);
        node->asked = true;
        if (link_send(&line->link, &node->ask_slots, slots, sizeof(slots) - 1) == 0) {
            home->asked_us = now_us;
        } else {
            /* Without memory for these few bytes nothing works. */
            node->asked = false;
            link_close(&line->link);
        }
    }
    home->ask_us = now_us + MAP_SILENT_US;
}

void home_cluster_doubt(struct home *home, const struct home_node *node)
{
    uint64_t soon_us = home->asked_us + MAP_PAUSE_US;
    if (home->source == node) {
        home->source = NULL;
    }
    if (soon_us < home->ask_us) {
        home->ask_us = soon_us;
    }
}

/* Where no link is up, all places that were ever heard of are tried. */
static void seek(struct home *home, uint64_t now_us)
{
    bool up = false;
    LIST_EACH(at, &home->nodes)
    {
        const struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        up = up || link_is_up(&node->lines[HOME_KEYS].link);
    }
    if (up) {
        return;
    }
    LIST_EACH(at, &home->nodes)
    {
        struct home_node *node = CONTAINER_OF(at, struct home_node, link);
        node->lines[HOME_KEYS].guest_until_us = now_us + GUEST_US;
    }
}

void home_cluster_tick(struct home *home, uint64_t now_us)
{
    seek(home, now_us);
    if (now_us >= home->ask_us) {
        ask(home, now_us);
    }
}

/* ---- Redirects ---- */

static void park(struct home_command *command, struct home_node *target, uint64_t until_us)
{
    struct home_errand *own = &command->own;
    own->target = target;
    own->retry_us = until_us;
    if (target != NULL) {
        target->parked++;
    }
    list_append(&own->home->parked, &own->wire.link);
}

static uint64_t pause_us(unsigned tries)
{
    uint64_t pause = (uint64_t)AGAIN_FIRST_US << (tries < 8 ? tries : 8);
    return pause < AGAIN_LAST_US ? pause : AGAIN_LAST_US;
}

/* One that was never up is not kept for long. */
void home_keep_guest(struct home_line *line, uint64_t now_us)
{
    bool moving = line->asked && link_is_up(&line->link);
    uint64_t until_us =
        now_us + line->node->home->options.timeout_us + (moving ? ASKED_US : GUEST_US);
    if (until_us > line->guest_until_us) {
        line->guest_until_us = until_us;
    }
}

/* To the node that was named; at once where that is connected, else when it is. */
static void send_to(struct home_command *command, const struct redirect *redirect)
{
    struct home_errand *own = &command->own;
    struct home *home = own->home;
    uint64_t now_us = home_now(home);
    const char *host = redirect->node.host[0] != '\0' ? redirect->node.host : own->line->node->host;
    struct home_node *node = home_node_of(home, host, redirect->node.port);
    own->wire.asking = redirect->kind == REDIRECT_ASK;
    if (node == NULL) {
        home_refuse(command, REFUSAL_FULL);
        return;
    }
    struct home_line *line = &node->lines[command->lane];
    line->asked |= own->wire.asking;
    home_keep_guest(line, now_us);
    home_line_tick(line, now_us);
    if (redirect->kind == REDIRECT_MOVED) {
        home_cluster_doubt(home, NULL);
        home->source = node;
    }
    if (!home_put(command, line)) {
        park(command, node, now_us + pause_us(own->tries));
    }
}

bool home_cluster_redirect(struct home_command *command, const struct resp_token *error)
{
    struct home_errand *own = &command->own;
    struct home *home = own->home;
    struct redirect redirect = redirect_read(error->bytes, error->size);
    bool is_down = resp_begins(error, "CLUSTERDOWN");
    if ((redirect.kind == REDIRECT_NONE && !is_down) || command->node != HOME_NODE_OF_SLOT) {
        return false;
    }
    uint64_t now_us = home_now(home);
    home->redirects++;
    if (is_down) {
        home_cluster_doubt(home, own->line->node);
    }
    if (++own->tries > TRIES_MAX || now_us >= own->wire.deadline_us || home->links_closing) {
        home_refuse(command, REFUSAL_REDIRECTS);
    } else if (redirect.kind == REDIRECT_MOVED || redirect.kind == REDIRECT_ASK) {
        send_to(command, &redirect);
    } else {
        own->wire.asking = false;
        park(command, NULL, now_us + pause_us(own->tries));
    }
    return true;
}

/* One that could not be sent yet waits on, until its deadline. */
static void retry(struct home_command *command, uint64_t now_us)
{
    struct home_errand *own = &command->own;
    struct home *home = own->home;
    struct home_node *target = own->target;
    list_remove(&own->wire.link);
    if (target != NULL) {
        target->parked--;
    }
    own->target = NULL;
    if (now_us >= own->wire.deadline_us || home->links_closing) {
        home->timeouts += home->links_closing ? 0 : 1;
        home_refuse(command, own->tries > 0 ? REFUSAL_REDIRECTS : REFUSAL_DOWN);
        return;
    }
    struct home_node *node = target != NULL ? target : home_owner(home, command->slot);
    const struct home_line *line = node != NULL ? &node->lines[command->lane] : NULL;
    if (line != NULL && own->tries == 0 && line->link.state == LINK_IDLE) {
        home_refuse(command, REFUSAL_DOWN); /* what it waited for has failed */
    } else if (node == NULL || !home_put(command, &node->lines[command->lane])) {
        park(command, target, now_us + AGAIN_FIRST_US);
    }
}

void home_park(struct home_command *command, struct home_node *node)
{
    park(command, node, home_now(node->home) + AGAIN_FIRST_US);
}

void home_run_parked(struct home *home, const struct home_node *node)
{
    uint64_t now_us = home_now(home);
    struct list all;
    list_init(&all);
    list_move_all(&all, &home->parked);
    while (!list_empty(&all)) {
        struct link_command *wire = CONTAINER_OF(all.next, struct link_command, link);
        struct home_command *command = CONTAINER_OF(wire, struct home_command, own.wire);
        struct home_errand *own = &command->own;
        bool due =
            now_us >= own->retry_us || home->links_closing || (node != NULL && own->target == node);
        if (due) {
            retry(command, now_us);
        } else {
            list_remove(&wire->link);
            list_append(&home->parked, &wire->link);
        }
    }
}
