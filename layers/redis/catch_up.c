#include <stddef.h>

#include "layers/redis/redis_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Waiting until what is resident shows all that was written before. The happy path is,
 * for each resident store,
 *
 *   PING to each node -> pongs: what was written before has been told of
 *                     -> the reads that this asked for are back
 *
 * and when all stores have come so far, the task goes on. Where a PING fails, the home
 * is lost or about to be: the task goes on all the same, and meets that. */

/* What is waited for; it lives on until all of it is back, also when nobody waits. */
struct catching {
    struct redis_catch_up *wait; /* NULL: nobody waits any more */
    size_t pending;              /* stores */
};

struct catching_store {
    struct catching *all;
    struct redis_store *store;
    size_t pings;
    struct resident_waiter waiter;
};

struct catching_ping {
    struct home_command command;
    struct catching_store *of;
};

static const char ping_command[] = "*1\r\n$4\r\nPING\r\n";

static void part_end(struct catching *all)
{
    if (--all->pending > 0) {
        return;
    }
    struct redis_catch_up *wait = all->wait;
    heap_free(all);
    if (wait != NULL) {
        wait->state = NULL;
        task_wake(wait->asker.tasks, wait->asker.task);
    }
}

static void on_read(struct resident_waiter *waiter)
{
    struct catching_store *part = CONTAINER_OF(waiter, struct catching_store, waiter);
    struct catching *all = part->all;
    struct redis_store *store = part->store;
    heap_free(part);
    part_end(all);
    redis_store_put(store);
}

static void ping_end(struct catching_store *part)
{
    if (--part->pings > 0) {
        return;
    }
    if (part->store->resident != NULL) {
        resident_wait(part->store, &part->waiter);
    } else {
        on_read(&part->waiter);
    }
}

static void on_pong(struct home_command *command, const struct home_answer *answer)
{
    struct catching_ping *ping = CONTAINER_OF(command, struct catching_ping, command);
    struct catching_store *part = ping->of;
    (void)answer;
    heap_free(ping);
    ping_end(part);
}

/* False where memory lacks: then nothing of this store is waited for. */
static bool start_store(struct catching *all, struct redis_store *store)
{
    struct catching_store *part = heap_zero(1, sizeof *part);
    if (part == NULL) {
        return false;
    }
    list_init(&part->waiter.link);
    part->all = all;
    part->store = redis_store_get(store);
    part->waiter.done = on_read;
    part->pings = 1; /* this function */
    all->pending++;
    for (uint16_t node = 0; node < home_node_count(store->home); node++) {
        struct catching_ping *ping = heap_zero(1, sizeof *ping);
        if (ping == NULL) {
            break; /* as if it had failed */
        }
        ping->of = part;
        ping->command = (struct home_command){.bytes = (const uint8_t *)ping_command,
                                              .size = sizeof ping_command - 1,
                                              .node = node,
                                              .lane = store->lane,
                                              .done = on_pong};
        part->pings++;
        home_send(store->home, &ping->command);
    }
    ping_end(part);
    return true;
}

/* ---- The face ---- */

static struct redis_store *resident_of(struct list *node)
{
    struct redis_store *store = CONTAINER_OF(node, struct redis_store, link);
    return store->resident != NULL ? store : NULL;
}

bool redis_must_catch_up(const struct redis *redis, const struct store *face, bool fresh)
{
    LIST_EACH(node, &redis->stores)
    {
        const struct redis_store *store = resident_of(node);
        if (store != NULL && (face == NULL || store->table == face) &&
            (fresh || resident_is_behind(store))) {
            return true;
        }
    }
    return false;
}

bool redis_catch_up_begin(struct redis *redis, struct redis_catch_up *wait,
                          const struct asker *asker)
{
    struct catching *all = heap_zero(1, sizeof *all);
    if (all == NULL) {
        return false;
    }
    wait->asker = *asker;
    wait->state = all;
    all->wait = wait;
    all->pending = 1; /* this function */
    task_wait(asker->task);
    bool lacking = false;
    LIST_EACH(node, &redis->stores)
    {
        struct redis_store *store = resident_of(node);
        lacking |= store != NULL && !start_store(all, store);
    }
    if (lacking) {
        redis_catch_up_end(wait);
    }
    part_end(all);
    return !lacking;
}

void redis_catch_up_end(struct redis_catch_up *wait)
{
    if (wait->state != NULL) {
        wait->state->wait = NULL;
        wait->state = NULL;
        task_wake(wait->asker.tasks, wait->asker.task);
    }
}
