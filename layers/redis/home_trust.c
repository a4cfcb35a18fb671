#include <string.h>

#include "layers/redis/home_inner.h"

/* What is to be believed of a home, and what can be asked of it, now. */

uint64_t home_cover(const struct home *home, enum home_lane lane, uint16_t slot)
{
    const struct home_node *node = home_owner(home, slot);
    return node != NULL ? lease_cover(&node->lines[lane].link.lease, home_now(home)) : 0;
}

uint64_t home_last_cover(const struct home *home, enum home_lane lane, uint16_t slot)
{
    const struct home_node *node = home_owner(home, slot);
    return node != NULL ? node->lines[lane].link.last_cover : 0;
}

bool home_is_current(const struct home *home, enum home_lane lane)
{
    uint64_t now_us = home_now(home);
    bool current = home_knows_map(home) && home_has_lane(home, lane);
    for (uint16_t i = 0; i < home->master_count && current; i++) {
        current = lease_cover(&home->masters[i]->lines[lane].link.lease, now_us) != 0;
    }
    return current;
}

bool home_is_tracked(const struct home *home, enum home_lane lane)
{
    bool tracked = home_knows_map(home) && home_has_lane(home, lane);
    for (uint16_t i = 0; i < home->master_count && tracked; i++) {
        tracked = home->masters[i]->lines[lane].link.lease.cover != 0;
    }
    return tracked;
}

bool home_is_up(const struct home *home, enum home_lane lane, uint16_t slot, uint64_t *lost_us)
{
    const struct home_node *node = home_owner(home, slot);
    if (node == NULL) {
        *lost_us = home->lost_us;
        return false;
    }
    const struct home_line *line = &node->lines[lane];
    bool up = link_is_up(&line->link);
    /* A link's commands end just before on_down notes that it was lost. */
    *lost_us = !up && line->up_us != 0 ? home_now(home) : line->lost_us;
    return up && !home->closing;
}

uint16_t home_node_count(const struct home *home)
{
    return home->master_count;
}

bool home_is_settled(const struct home *home)
{
    bool settled = true;
    for (enum home_lane lane = 0; lane < HOME_LANE_COUNT; lane++) {
        settled = settled && (home->settled[lane] || !home_has_lane(home, lane));
    }
    return settled;
}

const char *home_evicting_policy(const struct home *home)
{
    static const char evicting[] = "allkeys-";
    for (uint16_t i = 0; i < home->master_count; i++) {
        const struct link *link = &home->masters[i]->lines[HOME_KEYS].link;
        if (link->eviction_bounded &&
            strncmp(link->eviction_policy, evicting, sizeof(evicting) - 1) == 0) {
            return link->eviction_policy;
        }
    }
    return NULL;
}
