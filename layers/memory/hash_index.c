#include "layers/memory/hash_index.h"

#include <assert.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "layers/record.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

static_assert(sizeof(struct hash_bucket) == 64, "a bucket is a cache line");

enum {
    SEGMENT_BYTES = SEGMENT_BUCKETS * sizeof(struct hash_bucket),
    FULL_NUMERATOR = 4, /* growth begins at four fifths */
    FULL_DENOMINATOR = 5,
    LEVEL_MAX = 1 << 30
};

void hash_index_init(struct hash_index *index, struct slab *nodes, const struct resource *resource,
                     const struct field_list *fields)
{
    memset(index, 0, sizeof(*index));
    index->nodes = nodes;
    index->resource = resource;
    index->fields = fields;
}

static struct hash_bucket *bucket_at(const struct hash_index *index, uint32_t number)
{
    struct hash_bucket *segment =
        pages_at(index->nodes->pages, index->segments[number / SEGMENT_BUCKETS]);
    return &segment[number % SEGMENT_BUCKETS];
}

static struct hash_bucket *overflow_of(const struct hash_index *index,
                                       const struct hash_bucket *bucket)
{
    return bucket->overflow == 0 ? NULL : pages_at(index->nodes->pages, bucket->overflow);
}

static struct record *record_at(const struct hash_index *index, uint32_t reference)
{
    return pages_at(index->nodes->pages, reference);
}

static uint32_t number_of(const struct hash_index *index, uint64_t hash)
{
    uint32_t number = (uint32_t)hash & (index->level - 1);
    if (number < index->split) {
        number = (uint32_t)hash & (2 * index->level - 1);
    }
    return number;
}

static uint8_t tag_of(uint64_t hash)
{
    return (uint8_t)(hash >> 56);
}

/* Which slots have the tag, as bits; those that are empty may be among them. */
static uint32_t tags_match(const struct hash_bucket *bucket, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i tags = _mm_loadu_si128((const __m128i *)(const void *)bucket->tags);
    __m128i wanted = _mm_set1_epi8((char)tag);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, wanted)) & ((1U << BUCKET_SLOTS) - 1);
#else
    uint32_t bits = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        bits |= (uint32_t)(bucket->tags[i] == tag) << i;
    }
    return bits;
#endif
}

/* The hash of the key of a record that is in the index. Keys of several fields
 * are put together in the scratch buffer, which insert has made large enough. */
static uint64_t hash_of_record(struct hash_index *index, const struct record *record)
{
    const struct field_list *fields = index->fields;
    if (fields->count == 1) {
        uint32_t size;
        const uint8_t *bytes =
            record_field(record, index->resource->field_count, fields->fields[0], &size);
        return hash_bytes(bytes, size);
    }
    buffer_truncate(&index->scratch, 0);
    bool whole = key_of_record(index->resource, fields, record, &index->scratch);
    CHECK(whole && !index->scratch.failed);
    return hash_bytes(index->scratch.bytes, index->scratch.size);
}

/* ---- Finding ---- */

/* As key_matches, with the common case in line. */
static inline bool matches(const struct hash_index *index, const struct record *record,
                           const uint8_t *key, size_t size)
{
    const struct field_list *fields = index->fields;
    if (fields->count > 1) {
        return key_matches(index->resource, fields, record, key, size);
    }
    uint32_t field_size;
    const uint8_t *bytes =
        record_field(record, index->resource->field_count, fields->fields[0], &field_size);
    return field_size == size && memcmp(bytes, key, size) == 0;
}

uint32_t hash_index_find_hashed(const struct hash_index *index, uint64_t hash, const uint8_t *key,
                                size_t size)
{
    if (index->count == 0) {
        return 0;
    }
    const struct hash_bucket *bucket = bucket_at(index, number_of(index, hash));
    for (; bucket != NULL; bucket = overflow_of(index, bucket)) {
        for (uint32_t bits = tags_match(bucket, tag_of(hash)); bits != 0; bits &= bits - 1) {
            uint32_t reference = bucket->references[__builtin_ctz(bits)];
            if (reference == 0) {
                break;
            }
            const struct record *record = record_at(index, reference);
            if ((record->flags & RECORD_LIVE) != 0 && matches(index, record, key, size)) {
                return reference;
            }
        }
    }
    return 0;
}

uint32_t hash_index_find(const struct hash_index *index, const uint8_t *key, size_t size)
{
    return hash_index_find_hashed(index, hash_bytes(key, size), key, size);
}

void hash_index_prefetch_bucket(const struct hash_index *index, uint64_t hash)
{
    if (index->count > 0) {
        __builtin_prefetch(bucket_at(index, number_of(index, hash)));
    }
}

void hash_index_prefetch_record(const struct hash_index *index, uint64_t hash)
{
    if (index->count == 0) {
        return;
    }
    const struct hash_bucket *bucket = bucket_at(index, number_of(index, hash));
    uint32_t bits = tags_match(bucket, tag_of(hash));
    for (; bits != 0; bits &= bits - 1) {
        const char *record = pages_at(index->nodes->pages, bucket->references[__builtin_ctz(bits)]);
        __builtin_prefetch(record);
        __builtin_prefetch(record + 64);
    }
}

/* The slot of a reference that is in the index. */
static uint32_t *slot_find(const struct hash_index *index, uint64_t hash, uint32_t reference,
                           struct hash_bucket **in)
{
    CHECK(index->count > 0);
    struct hash_bucket *bucket = bucket_at(index, number_of(index, hash));
    for (; bucket != NULL; bucket = overflow_of(index, bucket)) {
        for (uint32_t bits = tags_match(bucket, tag_of(hash)); bits != 0; bits &= bits - 1) {
            uint32_t *slot = &bucket->references[__builtin_ctz(bits)];
            if (*slot == reference) {
                *in = bucket;
                return slot;
            }
        }
    }
    check_failed("the reference is in the index", __FILE__, __LINE__);
}

/* ---- Buckets ---- */

static bool segment_add(struct hash_index *index)
{
    if (index->segment_count == index->segment_capacity) {
        uint32_t capacity = index->segment_capacity > 0 ? index->segment_capacity * 2 : 4;
        uint32_t *segments = heap_resize(index->segments, capacity * sizeof(*segments));
        if (segments == NULL) {
            return false;
        }
        index->segments = segments;
        index->segment_capacity = capacity;
    }
    uint32_t segment = slab_alloc(index->nodes, SEGMENT_BYTES);
    if (segment == 0) {
        return false;
    }
    memset(pages_at(index->nodes->pages, segment), 0, SEGMENT_BYTES);
    index->segments[index->segment_count++] = segment;
    index->bytes += SEGMENT_BYTES;
    return true;
}

static uint32_t overflow_add(struct hash_index *index)
{
    uint32_t reference = slab_alloc(index->nodes, sizeof(struct hash_bucket));
    if (reference != 0) {
        memset(pages_at(index->nodes->pages, reference), 0, sizeof(struct hash_bucket));
        index->bytes += sizeof(struct hash_bucket);
    }
    return reference;
}

static void overflow_drop(struct hash_index *index, uint32_t reference)
{
    slab_free(index->nodes, reference);
    index->bytes -= sizeof(struct hash_bucket);
}

/* Back to an index without memory; only where nothing is in it. */
static void hash_index_clear(struct hash_index *index)
{
    CHECK(index->count == 0);
    for (uint32_t i = 0; i < index->segment_count; i++) {
        slab_free(index->nodes, index->segments[i]);
    }
    heap_free(index->segments);
    index->segments = NULL;
    index->segment_count = 0;
    index->segment_capacity = 0;
    index->level = 0;
    index->split = 0;
    index->growing = false;
    index->bytes = 0;
}

void hash_index_release(struct hash_index *index)
{
    uint32_t buckets = index->level + index->split;
    for (uint32_t number = 0; number < buckets; number++) {
        uint32_t overflow = bucket_at(index, number)->overflow;
        while (overflow != 0) {
            const struct hash_bucket *bucket = pages_at(index->nodes->pages, overflow);
            uint32_t next = bucket->overflow;
            overflow_drop(index, overflow);
            overflow = next;
        }
    }
    index->count = 0;
    hash_index_clear(index);
    buffer_release(&index->scratch);
}

/* ---- Changing ---- */

static unsigned bucket_used(const struct hash_bucket *bucket)
{
    unsigned used = BUCKET_SLOTS;
    while (used > 0 && bucket->references[used - 1] == 0) {
        used--;
    }
    return used;
}

/* Where all buckets of a chain but the last are full. */
static bool chain_append(struct hash_index *index, struct hash_bucket *bucket, uint32_t reference,
                         uint8_t tag)
{
    struct hash_bucket *next;
    while ((next = overflow_of(index, bucket)) != NULL) {
        bucket = next;
    }
    unsigned used = bucket_used(bucket);
    if (used == BUCKET_SLOTS) {
        uint32_t overflow = overflow_add(index);
        if (overflow == 0) {
            return false;
        }
        bucket->overflow = overflow;
        bucket = pages_at(index->nodes->pages, overflow);
        used = 0;
    }
    bucket->references[used] = reference;
    bucket->tags[used] = tag;
    return true;
}

int hash_index_insert(struct hash_index *index, uint32_t reference, const uint8_t *key, size_t size)
{
    if (index->level == 0) {
        if (!segment_add(index)) {
            return -CODE_OVERLOADED;
        }
        index->level = SEGMENT_BUCKETS;
    }
    buffer_truncate(&index->scratch, 0);
    if (index->fields->count > 1 && !buffer_reserve(&index->scratch, size)) {
        buffer_truncate(&index->scratch, 0);
        return -CODE_OVERLOADED;
    }
    uint64_t hash = hash_bytes(key, size);
    if (!chain_append(index, bucket_at(index, number_of(index, hash)), reference, tag_of(hash))) {
        return -CODE_OVERLOADED;
    }
    index->count++;
    if (!index->growing && index->level < LEVEL_MAX &&
        index->count > (uint64_t)index->level * BUCKET_SLOTS * FULL_NUMERATOR / FULL_DENOMINATOR) {
        index->growing = true;
    }
    (void)hash_index_grow(index, 1);
    return 0;
}

void hash_index_remove(struct hash_index *index, uint32_t reference)
{
    uint64_t hash = hash_of_record(index, record_at(index, reference));
    struct hash_bucket *bucket;
    uint32_t *slot = slot_find(index, hash, reference, &bucket);
    uint8_t *tag = &bucket->tags[slot - bucket->references];

    /* The last of the chain fills the hole. */
    struct hash_bucket *before = NULL;
    struct hash_bucket *last = bucket_at(index, number_of(index, hash));
    struct hash_bucket *next;
    while ((next = overflow_of(index, last)) != NULL) {
        before = last;
        last = next;
    }
    unsigned used = bucket_used(last);
    CHECK(used > 0);
    *slot = last->references[used - 1];
    *tag = last->tags[used - 1];
    last->references[used - 1] = 0;
    last->tags[used - 1] = 0;
    if (used == 1 && before != NULL) {
        uint32_t emptied = before->overflow;
        before->overflow = 0;
        overflow_drop(index, emptied);
    }
    index->count--;
    if (index->count == 0 && index->segment_count > 1) {
        hash_index_clear(index);
    }
}

void hash_index_replace(struct hash_index *index, uint32_t reference, uint32_t replacement)
{
    uint64_t hash = hash_of_record(index, record_at(index, reference));
    struct hash_bucket *bucket;
    *slot_find(index, hash, reference, &bucket) = replacement;
}

/* ---- Growing ---- */

/* A chain being written anew, over buckets that are taken from a list of old
 * overflow buckets; there are always enough, as two chains need no more of
 * them than one chain of both. */
struct chain {
    struct hash_bucket *last;
    unsigned used;
};

static void chain_write(struct hash_index *index, struct chain *chain, uint32_t *spare,
                        uint32_t reference, uint8_t tag)
{
    if (chain->used == BUCKET_SLOTS) {
        CHECK(*spare != 0);
        struct hash_bucket *bucket = pages_at(index->nodes->pages, *spare);
        chain->last->overflow = *spare;
        *spare = bucket->overflow;
        memset(bucket, 0, sizeof(*bucket));
        chain->last = bucket;
        chain->used = 0;
    }
    chain->last->references[chain->used] = reference;
    chain->last->tags[chain->used] = tag;
    chain->used++;
}

/* Splits bucket `index->split`: those whose hash says so move to its partner. */
static void bucket_split(struct hash_index *index)
{
    struct hash_bucket *from = bucket_at(index, index->split);
    struct hash_bucket old = *from;
    memset(from, 0, sizeof(*from));
    struct chain stay = {.last = from};
    struct chain move = {.last = bucket_at(index, index->split + index->level)};
    uint32_t spare = 0;
    for (;;) {
        unsigned used = bucket_used(&old);
        for (unsigned i = 0; i < used; i++) {
            __builtin_prefetch(record_at(index, old.references[i]));
        }
        for (unsigned i = 0; i < used; i++) {
            uint64_t hash = hash_of_record(index, record_at(index, old.references[i]));
            bool moves = (hash & index->level) != 0;
            chain_write(index, moves ? &move : &stay, &spare, old.references[i], old.tags[i]);
        }
        if (old.overflow == 0) {
            break;
        }
        /* The copy is read from now on, so the bucket itself is free to be used. */
        uint32_t next = old.overflow;
        struct hash_bucket *bucket = pages_at(index->nodes->pages, next);
        old = *bucket;
        bucket->overflow = spare;
        spare = next;
    }
    while (spare != 0) {
        const struct hash_bucket *bucket = pages_at(index->nodes->pages, spare);
        uint32_t next = bucket->overflow;
        overflow_drop(index, spare);
        spare = next;
    }
    index->split++;
}

bool hash_index_grow(struct hash_index *index, unsigned buckets)
{
    for (unsigned i = 0; i < buckets && index->growing; i++) {
        uint32_t partner = index->level + index->split;
        if (partner / SEGMENT_BUCKETS >= index->segment_count && !segment_add(index)) {
            return false; /* without room it stays as it is, only slower */
        }
        bucket_split(index);
        if (index->split == index->level) {
            index->level *= 2;
            index->split = 0;
            index->growing = false;
        }
    }
    return index->growing;
}
