#ifndef RELATA_TESTS_MODULES_VERSION_H
#define RELATA_TESTS_MODULES_VERSION_H

/* A module that answers its VERSION as the subject of one ticket for each
 * source; after `wait_ms` of its options. */
#include <stdlib.h>

#include "layers/module/relata_module.h"

#ifndef VERSION
#define VERSION "none"
#endif

struct version_state {
    const struct relata_host *host;
    uint64_t wait_ms;
    size_t count;
    uint64_t batch;
};

static void version_answer(void *data)
{
    struct version_state *state = data;
    const struct relata_host *host = state->host;
    struct relata_bytes list = {0};
    host->write_array(&list, (uint32_t)state->count);
    for (size_t i = 0; i < state->count; i++) {
        host->write_map(&list, 2);
        host->write_text(&list, "id", SIZE_MAX);
        host->write_integer(&list, (int64_t)i + 1);
        host->write_text(&list, "subject", SIZE_MAX);
        host->write_text(&list, VERSION, SIZE_MAX);
    }
    host->answer(host, state->batch, list.bytes, list.size);
    host->release(&list);
}

static int version_open(const struct relata_host *host, const struct relata_opening *opening,
                        void **state)
{
    struct version_state *made = calloc(1, sizeof *made);
    struct relata_item wait;
    if (made == NULL) {
        return -1;
    }
    host->get(host, &opening->options, "wait_ms", &wait);
    *made = (struct version_state){.host = host, .wait_ms = (uint64_t)wait.integer};
    *state = made;
    return 0;
}

static void version_load(void *data, uint64_t batch, size_t count)
{
    struct version_state *state = data;
    state->batch = batch;
    state->count = count;
    if (state->wait_ms > 0) {
        state->host->after(state->host, state->wait_ms, version_answer, state);
    } else {
        version_answer(state);
    }
}

static void version_close(void *data)
{
    const struct version_state *state = data;
    state->host->log(state->host, RELATA_LOG_INFO, VERSION " is closed");
    free(data);
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = VERSION, .open = version_open, .load = version_load,
    .close = version_close};

#endif
