#include "layers/key_node.h"
#include "layers/query/source_inner.h"

/* Filters and orders that follow a belongs_to to records that are at home elsewhere
 * would ask for these one by one, and wait for each. So what all records of the source
 * lead to is asked for together before the first one is judged. It is only a help: what
 * comes is kept where the home keeps what it read, and the filters ask there. Nothing is
 * asked for where nothing would be kept. */

enum { AHEAD_RECORDS_MAX = 4096 };

static void add_expression(struct source *source, const struct expr *expr)
{
    const struct relationship *found[SOURCE_AHEAD_MAX];
    size_t count = expr_direct_relationships(expr, found, SOURCE_AHEAD_MAX);
    for (size_t i = 0; i < count && source->ahead_count < SOURCE_AHEAD_MAX; i++) {
        bool known = !eval_store(source->eval, found[i]->destination)->remote;
        for (unsigned j = 0; j < source->ahead_count; j++) {
            known |= source->ahead_by[j] == found[i];
        }
        if (!known) {
            source->ahead_by[source->ahead_count++] = found[i];
        }
    }
}

void source_ahead_init(struct source *source)
{
    const struct plan *plan = source->plan;
    for (unsigned i = 0; i < source->spec->filter_count; i++) {
        add_expression(source, source->spec->filters[i]);
    }
    for (unsigned i = 0; i < plan->key_count; i++) {
        if (plan->keys[i].path != NULL) {
            add_expression(source, plan->keys[i].path);
        }
    }
}

/* The keys that the records name, each once, nils left out. */
static size_t take_keys(const struct relationship *relationship,
                        const struct record *const *records, size_t count, struct store_key *out,
                        struct key_node *rooms)
{
    const struct resource *resource = relationship->source;
    unsigned field = relationship->source_fields.fields[0];
    struct hash_table table;
    size_t kept = 0;
    hash_table_init(&table);
    for (size_t i = 0; i < count; i++) {
        uint32_t size;
        if (records[i] == NULL || record_is_nil(records[i], resource->field_count, field)) {
            continue;
        }
        const uint8_t *key = record_field(records[i], resource->field_count, field, &size);
        if (key_node_find(&table, key, size) == NULL) {
            out[kept] = (struct store_key){.bytes = key, .size = size};
            rooms[kept] = (struct key_node){.bytes = key, .size = size};
            key_node_insert(&table, &rooms[kept]);
            kept++;
        }
    }
    hash_table_release(&table);
    return kept;
}

static bool ask(struct source *source, unsigned at, const struct record *const *records,
                size_t count)
{
    const struct relationship *relationship = source->ahead_by[at];
    struct store *store = eval_store(source->eval, relationship->destination);
    struct fetch *fetch = &source->ahead[at];
    struct error ignored = ERROR_INIT; /* the filter meets it again */
    struct store_key *keys = arena_alloc(source->eval->arena, (count + 1) * sizeof *keys);
    struct key_node *rooms = arena_zero(source->eval->arena, count + 1, sizeof *rooms);
    if (keys == NULL || rooms == NULL || !store_is_current(store)) {
        return false;
    }
    *fetch = (struct fetch){.store = store,
                            .asker = source->eval->asker,
                            .kind = FETCH_KEYS,
                            .keys = keys,
                            .asked = take_keys(relationship, records, count, keys, rooms)};
    return fetch_start(fetch, &ignored) == 0;
}

bool source_look_ahead(struct source *source, const struct record *const *records, size_t count)
{
    if (!source->looked_ahead && source->ahead_count > 0 && count > 1 &&
        source->eval->asker.task != NULL && !source->eval->asker.fresh) {
        source->asked_ahead = count <= AHEAD_RECORDS_MAX;
        count = count < AHEAD_RECORDS_MAX ? count : AHEAD_RECORDS_MAX;
        for (unsigned i = 0; i < source->ahead_count; i++) {
            source->asked_ahead &= ask(source, i, records, count);
        }
    }
    source->looked_ahead = true;
    for (unsigned i = 0; i < source->ahead_count; i++) {
        if (source->ahead[i].begun && !source->ahead[i].done) {
            return false;
        }
    }
    source_ahead_end(source);
    return true;
}

void source_ahead_end(struct source *source)
{
    for (unsigned i = 0; i < source->ahead_count; i++) {
        fetch_end(&source->ahead[i]);
    }
}
