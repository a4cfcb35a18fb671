/* The tickets that matter to a representative, as a module: those of hers with a
 * priority above her own threshold.
 *
 *   tickets_above_threshold:
 *     has_many: ticket
 *     manual: {module: tickets_above_threshold.so}
 *     actor: none
 *     source_fields: [priority_threshold]
 *     depends_on: [{ticket: representative_id}]
 *
 * One read for the whole batch, however many representatives are in it. */
#include <relata_module.h>

#include <stdlib.h>

struct state {
    const struct relata_host *host;
};

struct source {
    int64_t id;
    int64_t threshold;
    size_t position; /* in the batch */
    int wants;       /* a representative without a threshold wants nothing */
    uint32_t count;
    struct relata_bytes found; /* tickets, one after the other */
};

struct load {
    const struct relata_host *host;
    size_t count;
    struct source *sources; /* by id */
};

static void load_free(struct load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        load->host->release(&load->sources[i].found);
    }
    free(load->sources);
    free(load);
}

static int by_id(const void *a, const void *b)
{
    const struct source *first = a;
    const struct source *second = b;
    return (first->id > second->id) - (first->id < second->id);
}

/* ---- The answer ---- */

static void keep(struct load *load, const struct relata_item *ticket)
{
    const struct relata_host *host = load->host;
    struct relata_item owner;
    struct relata_item priority;
    host->get(host, ticket, "representative_id", &owner);
    host->get(host, ticket, "priority", &priority);
    struct source wanted = {.id = owner.integer};
    struct source *source =
        bsearch(&wanted, load->sources, load->count, sizeof *load->sources, by_id);
    if (source != NULL && source->wants && priority.integer > source->threshold) {
        host->write_raw(&source->found, ticket->raw, ticket->raw_size);
        source->count++;
    }
}

static void answer(struct load *load, uint64_t batch)
{
    const struct relata_host *host = load->host;
    struct relata_bytes list = {0};
    for (size_t i = 0; i < load->count; i++) {
        const struct source *source = &load->sources[i];
        host->clear(&list);
        host->write_array(&list, source->count);
        host->write_raw(&list, source->found.bytes, source->found.size);
        if (list.failed || source->found.failed) {
            host->fail_one(host, batch, source->position, "overloaded", "no memory");
        } else {
            host->answer_one(host, batch, source->position, list.bytes, list.size);
        }
    }
    host->release(&list);
}

static void on_tickets(void *data, uint64_t batch, const struct relata_result *result)
{
    struct load *load = data;
    const struct relata_host *host = load->host;
    if (result->code != NULL) {
        host->fail(host, batch, result->message);
        load_free(load);
        return;
    }
    struct relata_reader in = {result->value.bytes, result->value.size};
    struct relata_item ticket;
    while (host->next(host, &in, &ticket) == RELATA_MODULE_OK) {
        keep(load, &ticket);
    }
    answer(load, batch);
    load_free(load);
}

/* ---- The question ---- */

/* ["ticket", {filter: ..., params: {ids: [...], least: ...}}] */
static void write_params(const struct load *load, struct relata_bytes *out)
{
    const struct relata_host *host = load->host;
    int64_t least = INT64_MAX;
    host->write_array(out, 2);
    host->write_text(out, "ticket", SIZE_MAX);
    host->write_map(out, 2);
    host->write_text(out, "filter", SIZE_MAX);
    host->write_text(out, "representative_id in $ids and priority > $least", SIZE_MAX);
    host->write_text(out, "params", SIZE_MAX);
    host->write_map(out, 2);
    host->write_text(out, "ids", SIZE_MAX);
    host->write_array(out, (uint32_t)load->count);
    for (size_t i = 0; i < load->count; i++) {
        host->write_integer(out, load->sources[i].id);
        if (load->sources[i].wants && load->sources[i].threshold < least) {
            least = load->sources[i].threshold;
        }
    }
    host->write_text(out, "least", SIZE_MAX);
    host->write_integer(out, least);
}

static void take_sources(struct load *load, uint64_t batch)
{
    const struct relata_host *host = load->host;
    for (size_t i = 0; i < load->count; i++) {
        struct relata_item id;
        struct relata_item threshold;
        host->source_field(host, batch, i, "id", &id);
        host->source_field(host, batch, i, "priority_threshold", &threshold);
        load->sources[i] = (struct source){.id = id.integer,
                                           .threshold = threshold.integer,
                                           .wants = threshold.kind == RELATA_ITEM_INTEGER,
                                           .position = i};
    }
    qsort(load->sources, load->count, sizeof *load->sources, by_id);
}

static void load(void *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = ((const struct state *)state)->host;
    struct relata_bytes params = {0};
    struct load *load = calloc(1, sizeof *load);
    struct source *sources = calloc(count, sizeof *sources);
    if (load == NULL || sources == NULL) {
        host->fail(host, batch, "no memory");
        free(load);
        free(sources);
        return;
    }
    *load = (struct load){.host = host, .count = count, .sources = sources};
    take_sources(load, batch);
    write_params(load, &params);
    host->set_data(host, batch, load);
    if (host->read(host, batch, "read", params.bytes, params.size, on_tickets, load) !=
        RELATA_MODULE_OK) {
        host->fail(host, batch, host->problem(host));
        load_free(load);
    }
    host->release(&params);
}

static void cancel(void *state, uint64_t batch, void *data)
{
    (void)state;
    (void)batch;
    load_free(data);
}

static int open(const struct relata_host *host, const struct relata_opening *opening, void **state)
{
    (void)opening;
    struct state *made = malloc(sizeof *made);
    if (made == NULL) {
        return -1;
    }
    made->host = host;
    *state = made;
    return 0;
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = "tickets_above_threshold",
    .open = open,         .load = load,
    .cancel = cancel,     .close = free};
