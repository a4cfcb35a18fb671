#include "layers/query/source_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* Records of a search that are at home elsewhere. The happy path is
 *
 *   start ─► fetch ─► (the task waits) ─► its records, one by one
 *
 * and for many_to_many, where either side may be here or there,
 *
 *   start ─► records of `through` ─► the destinations that they name, all at once
 *
 * What is fetched may name too much (an index there is only a hint), so the
 * search compares every record with all filters and with the join. There is no
 * scan: a query that no key and no index leads to is refused. Possible failures
 * are: that, no memory, and what the home answers. */

bool source_is_elsewhere(const struct source *source)
{
    if (source->plan->through == NULL) {
        return source->walk.store->remote;
    }
    return source->through.store->remote || source->destination.store->remote;
}

static int refuse(struct source *source)
{
    const struct resource *resource = source->spec->resource;
    error_set(
        source->eval->error, CODE_INVALID_REQUEST,
        "%s: its records are in Redis, and no key and no index leads to those that are asked "
        "for: an index whose first field is compared by == would%s, or `resident: true`",
        resource->name,
        resource->redis != NULL && resource->redis->only_relata ? "" : " (with `writers: relata`)");
    error_resource(source->eval->error, resource->name);
    return -CODE_INVALID_REQUEST;
}

/* ---- Asking ---- */

static int fetch_bound(struct source *source, struct walk *walk)
{
    const struct access *access = walk->access;
    struct fetch *fetch = &source->fetch;
    bool points = access->kind == ACCESS_POINTS;
    *fetch = (struct fetch){.store = walk->store,
                            .asker = source->eval->asker,
                            .kind = !points                    ? FETCH_RANGES
                                    : access->identity != NULL ? FETCH_IDENTITY
                                                               : FETCH_KEYS,
                            .identity = access->identity};
    int code = points ? walk_points(walk, &fetch->keys, &fetch->asked)
                      : walk_ranges(walk, &fetch->ranges, &fetch->asked);
    if (code < 0) {
        return source_lacks_memory(source);
    }
    source->kind = SOURCE_FETCH;
    source->fetched_at = 0;
    return fetch_start(fetch, source->eval->error);
}

/* The best way by the plan's own order: nothing can be estimated from here. */
static int fetch_plainly(struct source *source, const struct search_input *input)
{
    const struct plan *plan = source->plan;
    bool given = plan->accesses[0].key_as_given;
    if (!given && !source_set_values(source, input)) {
        return source->eval->arena->failed ? source_lacks_memory(source) : 0;
    }
    for (unsigned i = 0; i < plan->access_count; i++) {
        const struct access *access = &plan->accesses[i];
        if (!access_leads(access)) {
            continue;
        }
        switch (walk_bind(&source->walk, access, source->values, source->spec->join, input->key,
                          input->key_size)) {
        case WALK_READY:
            return fetch_bound(source, &source->walk);
        case WALK_EMPTY:
            return 0;
        case WALK_UNUSABLE:
            break;
        case WALK_FAILED:
            return source_lacks_memory(source);
        }
    }
    return refuse(source);
}

/* ---- Through ---- */

/* Binds a side of a many_to_many to a key. */
static enum walk_bound bind_side(struct walk *walk, const struct access *access,
                                 struct term_value *values, const struct field_list *join,
                                 const struct store_key *key)
{
    const struct resource *resource = walk->store->resource;
    if (!access->key_as_given &&
        !source_key_values(resource, join, key->bytes, key->size, values)) {
        return WALK_EMPTY;
    }
    return walk_bind(walk, access, values, join, key->bytes, key->size);
}

/* The keys by which the through records name destinations. */
static int take_keys(struct source *source, const struct record *const *links, size_t count,
                     struct store_key **out, size_t *out_count)
{
    const struct relationship *relationship = source->spec->through;
    struct store_key *keys = arena_alloc(source->eval->arena, (count + 1) * sizeof(*keys));
    *out = keys;
    *out_count = 0;
    for (size_t i = 0; keys != NULL && i < count; i++) {
        const uint8_t *key;
        size_t size;
        int code = source_take_key(source, relationship->through,
                                   &relationship->through_destination, links[i], &key, &size);
        if (code < 0) {
            return code;
        }
        if (code > 0) {
            key = arena_copy(source->eval->arena, key, size);
            if (key == NULL) {
                return -CODE_OVERLOADED;
            }
            keys[(*out_count)++] = (struct store_key){.bytes = key, .size = size};
        }
    }
    return keys != NULL ? 0 : -CODE_OVERLOADED;
}

/* Ranges of the destination's index, one for each key. */
static int take_ranges(struct source *source, const struct store_key *keys, size_t count)
{
    const struct access *access = &source->plan->through->destination;
    struct fetch *fetch = &source->fetch;
    struct range *ranges = arena_alloc(source->eval->arena, (count + 1) * sizeof(*ranges));
    size_t kept = 0;
    for (size_t i = 0; ranges != NULL && i < count; i++) {
        const struct range *range;
        size_t one;
        enum walk_bound bound = bind_side(&source->destination, access, source->destination_values,
                                          &source->spec->through->destination_fields, &keys[i]);
        if (bound == WALK_EMPTY) {
            continue;
        }
        if (bound != WALK_READY || walk_ranges(&source->destination, &range, &one) < 0) {
            return -CODE_OVERLOADED;
        }
        ranges[kept++] = *range;
    }
    fetch->kind = FETCH_RANGES;
    fetch->ranges = ranges;
    fetch->asked = kept;
    return ranges != NULL ? 0 : -CODE_OVERLOADED;
}

/* The through records are there: on to what they name. */
static int follow_links(struct source *source, const struct record *const *links, size_t count)
{
    const struct access *access = &source->plan->through->destination;
    struct store *store = source->destination.store;
    struct store_key *keys;
    size_t key_count;
    source->linking = false;
    fetch_end(&source->fetch);
    if (!store->remote) {
        for (size_t i = 0; i < count; i++) {
            if (source_follow(source, links[i]) != 0) {
                return source_lacks_memory(source);
            }
        }
        return 0;
    }
    if (take_keys(source, links, count, &keys, &key_count) < 0) {
        return source_lacks_memory(source);
    }
    source->fetch = (struct fetch){.store = store,
                                   .asker = source->eval->asker,
                                   .kind = access->identity != NULL ? FETCH_IDENTITY : FETCH_KEYS,
                                   .identity = access->identity,
                                   .keys = keys,
                                   .asked = key_count};
    if (access->kind != ACCESS_POINTS && take_ranges(source, keys, key_count) < 0) {
        return source_lacks_memory(source);
    }
    source->fetched_at = 0;
    return fetch_start(&source->fetch, source->eval->error);
}

/* The through records that are here, all at once. */
static int walk_links(struct source *source)
{
    struct walk *walk = &source->through;
    size_t count = 0;
    size_t capacity = 0;
    void *links = NULL;
    int code = walk_open(walk);
    const struct record *record;
    while (code == 0 && (record = walk_next(walk)) != NULL) {
        if (!source_visit(source)) {
            walk_close(walk);
            return -CODE_TOO_LARGE;
        }
        if (walk_joins(walk, record)) {
            code = arena_grow(source->eval->arena, &links, count, &capacity, sizeof(record));
            if (code == 0) {
                ((const struct record **)links)[count++] = record;
            }
        }
    }
    walk_close(walk);
    if (code < 0 || source->eval->arena->failed) {
        return source_lacks_memory(source);
    }
    return follow_links(source, links, count);
}

static int fetch_through(struct source *source, const struct search_input *input)
{
    const struct access *access = &source->plan->through->source;
    const struct store_key key = {.bytes = input->key, .size = input->key_size};
    source_forget_found(source);
    int code = store_ready(source->through.store, source->eval->error);
    if (code == 0) {
        code = store_ready(source->destination.store, source->eval->error);
    }
    if (code < 0) {
        return code;
    }
    switch (bind_side(&source->through, access, source->values,
                      &source->spec->through->through_source, &key)) {
    case WALK_READY:
        break;
    case WALK_EMPTY:
        return 0;
    case WALK_UNUSABLE:
    case WALK_FAILED:
        return source_lacks_memory(source);
    }
    if (!access_leads(access)) {
        return refuse(source);
    }
    source->kind = SOURCE_FETCH;
    if (!source->through.store->remote) {
        return walk_links(source);
    }
    source->linking = true;
    return fetch_bound(source, &source->through);
}

/* ---- The face ---- */

int source_start_fetch(struct source *source, const struct search_input *input)
{
    source->fetch = (struct fetch){0};
    source->fetched_at = 0;
    source->linking = false;
    source->found.count = 0;
    source->found_at = 0;
    return source->plan->through != NULL ? fetch_through(source, input)
                                         : fetch_plainly(source, input);
}

/* The through records are there. What an index there named may not join. */
static int take_links(struct source *source)
{
    struct fetch *fetch = &source->fetch;
    const struct relationship *relationship = source->spec->through;
    const struct walk *walk = &source->through;
    const struct record **links =
        arena_alloc(source->eval->arena, (fetch->count + 1) * sizeof(*links));
    size_t count = 0;
    for (size_t i = 0; links != NULL && i < fetch->count; i++) {
        const struct record *record = fetch->records[i];
        if (record != NULL && key_matches(relationship->through, &relationship->through_source,
                                          record, walk->key, walk->key_size)) {
            links[count++] = record;
        }
    }
    return links != NULL ? follow_links(source, links, count) : source_lacks_memory(source);
}

/* A record that does not fit its resource fails a search that asked for its key. */
static int take_failed(struct source *source, size_t at)
{
    const struct fetch *fetch = &source->fetch;
    if (fetch->errors == NULL || fetch->errors[at] == NULL) {
        return 0;
    }
    *source->eval->error = *fetch->errors[at];
    return -(int)fetch->errors[at]->code;
}

/* What the fetch brought: the next one, NULL at its end. */
static int next_of_fetch(struct source *source, const struct record **record)
{
    struct fetch *fetch = &source->fetch;
    *record = NULL;
    while (*record == NULL && source->fetched_at < fetch->count) {
        size_t at = source->fetched_at++;
        int code = take_failed(source, at);
        if (code < 0) {
            return code;
        }
        *record = fetch->records[at];
        if (*record != NULL && source->plan->through != NULL) {
            /* Several links may lead to one destination. */
            size_t before = source->found.count;
            if (source_keep_found(source, *record) != 0) {
                return source_lacks_memory(source);
            }
            *record = source->found.count > before ? *record : NULL;
        }
    }
    return 0;
}

enum run_status source_next_fetched(struct source *source, const struct record **record)
{
    *record = NULL;
    for (;;) {
        struct fetch *fetch = &source->fetch;
        if (fetch->begun && !fetch->done) {
            return RUN_MORE;
        }
        if (fetch->begun && fetch->error.code != CODE_OK) {
            *source->eval->error = fetch->error;
            return RUN_FAILED;
        }
        if (!source->linking) {
            break;
        }
        if (take_links(source) < 0) {
            return RUN_FAILED;
        }
    }
    if (source->fetch.begun) {
        if (source->fetched_at == 0 &&
            !source_look_ahead(source, source->fetch.records, source->fetch.count)) {
            return RUN_MORE;
        }
        return next_of_fetch(source, record) < 0 ? RUN_FAILED : RUN_DONE;
    }
    /* Followed to destinations that are here. */
    if (source->found_at < source->found.count) {
        const struct record *const *place = pile_at(&source->found, source->found_at++);
        *record = *place;
    }
    return RUN_DONE;
}
