/* A loader that asks for itself: the descendants of a node are its children and
 * their descendants. One read for a batch. */
#include <relata_module.h>

struct state {
    const struct relata_host *host;
};

static void strip(const struct state *state, const struct relata_item *node,
                  struct relata_bytes *out)
{
    struct relata_item id;
    struct relata_item parent;
    state->host->get(state->host, node, "id", &id);
    state->host->get(state->host, node, "parent_id", &parent);
    state->host->write_map(out, 2);
    state->host->write_text(out, "id", SIZE_MAX);
    state->host->write_raw(out, id.raw, id.raw_size);
    state->host->write_text(out, "parent_id", SIZE_MAX);
    state->host->write_raw(out, parent.raw, parent.raw_size);
}

/* The children of a source, each followed by its descendants. */
static uint32_t collect(const struct state *state, const struct relata_item *children, int64_t of,
                        struct relata_bytes *out)
{
    const struct relata_host *host = state->host;
    struct relata_reader in = {children->bytes, children->size};
    struct relata_item child;
    uint32_t count = 0;
    while (host->next(host, &in, &child) == RELATA_MODULE_OK) {
        struct relata_item parent;
        struct relata_item below;
        struct relata_item node;
        host->get(host, &child, "parent_id", &parent);
        if (parent.integer != of) {
            continue;
        }
        strip(state, &child, out);
        host->get(host, &child, "descendants", &below);
        struct relata_reader more = {below.bytes, below.size};
        for (count++; host->next(host, &more, &node) == RELATA_MODULE_OK; count++) {
            strip(state, &node, out);
        }
    }
    return count;
}

static void on_children(void *data, uint64_t batch, const struct relata_result *result)
{
    const struct state *state = data;
    const struct relata_host *host = state->host;
    if (result->code != NULL) {
        host->fail(host, batch, result->message);
        return;
    }
    struct relata_bytes found = {0};
    struct relata_bytes list = {0};
    struct relata_item id;
    for (size_t i = 0; host->source_field(host, batch, i, "id", &id) == RELATA_MODULE_OK; i++) {
        host->clear(&found);
        host->clear(&list);
        host->write_array(&list, collect(state, &result->value, id.integer, &found));
        host->write_raw(&list, found.bytes, found.size);
        host->answer_one(host, batch, i, list.bytes, list.size);
    }
    host->release(&found);
    host->release(&list);
}

static void load(void *data, uint64_t batch, size_t count)
{
    struct state *state = data;
    const struct relata_host *host = state->host;
    struct relata_bytes params = {0};
    host->write_array(&params, 2);
    host->write_text(&params, "node", SIZE_MAX);
    host->write_map(&params, 3);
    host->write_text(&params, "filter", SIZE_MAX);
    host->write_text(&params, "parent_id in $ids", SIZE_MAX);
    host->write_text(&params, "params", SIZE_MAX);
    host->write_map(&params, 1);
    host->write_text(&params, "ids", SIZE_MAX);
    host->write_array(&params, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        struct relata_item id;
        host->source_field(host, batch, i, "id", &id);
        host->write_raw(&params, id.raw, id.raw_size);
    }
    host->write_text(&params, "load", SIZE_MAX);
    host->write_text(&params, "descendants", SIZE_MAX);
    if (host->read(host, batch, "read", params.bytes, params.size, on_children, state) !=
        RELATA_MODULE_OK) {
        host->fail(host, batch, host->problem(host));
    }
    host->release(&params);
}

static int open(const struct relata_host *host, const struct relata_opening *opening, void **data)
{
    static struct state state;
    (void)opening;
    state.host = host;
    *data = &state;
    return 0;
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = "descendants", .open = open, .load = load};
