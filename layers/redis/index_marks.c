#include "layers/redis/index_marks.h"

#include <string.h>

#include "layers/redis/index_signature.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* ---- Names ---- */

unsigned index_marks_count(const struct resource *resource)
{
    return resource->redis->only_relata ? (unsigned)resource->index_count + resource->identity_count
                                        : 0;
}

void index_marks_name(const struct resource *resource, struct buffer *out)
{
    buffer_printf(out, INDEX_MARKS_PREFIX "%s", resource->name);
}

void index_marks_field(const struct resource *resource, unsigned number, struct buffer *out)
{
    const struct field_list *fields;
    if (number < resource->index_count) {
        fields = &resource->indexes[number].fields;
        buffer_printf(out, "ix");
    } else {
        const struct identity *identity = &resource->identities[number - resource->index_count];
        fields = &identity->fields;
        buffer_printf(out, "id:%s", identity->name);
    }
    for (unsigned i = 0; i < fields->count; i++) {
        buffer_printf(out, "%c%s", i > 0 ? ',' : ':', resource->fields[fields->fields[i]].name);
    }
}

static void put_signature(const struct resource *resource, unsigned number, struct buffer *out)
{
    if (number < resource->index_count) {
        index_signature(resource, &resource->indexes[number], out);
    } else {
        claim_signature(resource, &resource->identities[number - resource->index_count], out);
    }
}

/* ---- Commands ---- */

#define REINDEX_PREFIX "reindex:"

/* Marks what is told to be gone through by this run. */
static const char end_script[] =
    "local call, hash = redis.call, KEYS[1]\n"
    "for i = 2, #ARGV, 2 do\n"
    "  local told = call('HMGET', hash, '" REINDEX_PREFIX "' .. ARGV[i])[1]\n"
    "  if told ~= ARGV[i + 1] .. ' ' .. ARGV[1] then return 0 end\n"
    "end\n"
    "for i = 2, #ARGV, 2 do\n"
    "  call('HSET', hash, ARGV[i], ARGV[i + 1])\n"
    "  call('HDEL', hash, '" REINDEX_PREFIX "' .. ARGV[i])\n"
    "end\n"
    "return 1\n";

/* Marks what has no mark: one that somebody else made meanwhile stays. */
static const char absent_script[] = "local marked = {}\n"
                                    "for i = 1, #ARGV, 2 do\n"
                                    "  local mark = redis.call('HMGET', KEYS[1], ARGV[i])[1]\n"
                                    "  if not mark then\n"
                                    "    mark = ARGV[i + 1]\n"
                                    "    redis.call('HSET', KEYS[1], ARGV[i], mark)\n"
                                    "  end\n"
                                    "  marked[#marked + 1] = mark == ARGV[i + 1] and 1 or 0\n"
                                    "end\n"
                                    "return marked\n";

/* A word, which is empty again then. */
static void put_word(struct buffer *out, struct buffer *word)
{
    resp_word(out, word->bytes, word->size);
    out->failed |= word->failed;
    buffer_truncate(word, 0);
}

static void put_name(const struct resource *resource, struct buffer *out)
{
    struct buffer name = BUFFER_INIT;
    index_marks_name(resource, &name);
    put_word(out, &name);
    buffer_release(&name);
}

/* Each field, and its signature. */
static void put_marks(const struct resource *resource, struct buffer *out)
{
    struct buffer word = BUFFER_INIT;
    for (unsigned i = 0; i < index_marks_count(resource); i++) {
        index_marks_field(resource, i, &word);
        put_word(out, &word);
        put_signature(resource, i, &word);
        put_word(out, &word);
    }
    buffer_release(&word);
}

void index_marks_read_command(const struct resource *resource, struct buffer *out)
{
    resp_command(out, 2);
    resp_word_text(out, "HGETALL");
    put_name(resource, out);
}

void index_marks_begin_command(const struct resource *resource, const char *run, struct buffer *out)
{
    struct buffer word = BUFFER_INIT;
    resp_command(out, 2 + 2 * (size_t)index_marks_count(resource));
    resp_word_text(out, "HSET");
    put_name(resource, out);
    for (unsigned i = 0; i < index_marks_count(resource); i++) {
        buffer_printf(&word, REINDEX_PREFIX);
        index_marks_field(resource, i, &word);
        put_word(out, &word);
        put_signature(resource, i, &word);
        buffer_printf(&word, " %s", run);
        put_word(out, &word);
    }
    buffer_release(&word);
}

void index_marks_end_command(const struct resource *resource, const char *run, struct buffer *out)
{
    resp_command(out, 5 + 2 * (size_t)index_marks_count(resource));
    resp_word_text(out, "EVAL");
    resp_word_text(out, end_script);
    resp_word_text(out, "1");
    put_name(resource, out);
    resp_word_text(out, run);
    put_marks(resource, out);
}

void index_marks_set_absent_command(const struct resource *resource, struct buffer *out)
{
    resp_command(out, 4 + 2 * (size_t)index_marks_count(resource));
    resp_word_text(out, "EVAL");
    resp_word_text(out, absent_script);
    resp_word_text(out, "1");
    put_name(resource, out);
    put_marks(resource, out);
}

/* ---- The hash ---- */

struct index_marks *index_marks_create(const struct resource *resource)
{
    struct index_marks *marks = heap_zero(1, sizeof *marks);
    bool *whole = heap_zero(index_marks_count(resource) + 1u, sizeof *whole);
    if (marks == NULL || whole == NULL) {
        heap_free(marks);
        heap_free(whole);
        return NULL;
    }
    marks->whole = whole;
    return marks;
}

void index_marks_free(struct index_marks *marks)
{
    if (marks != NULL) {
        buffer_release(&marks->of);
        heap_free(marks->whole);
        heap_free(marks);
    }
}

/* Whether it is this text, which is empty again then. */
static bool is_text(struct index_marks *marks, const struct resp_token *token, struct buffer *text)
{
    bool same = !text->failed && token->size == text->size &&
                memcmp(token->bytes, text->bytes, text->size) == 0;
    marks->of.failed |= text->failed;
    buffer_truncate(text, 0);
    return same;
}

/* Which of the resource's own it is; their count where it is none. */
static unsigned number_of(struct index_marks *marks, const struct resource *resource,
                          const struct resp_token *field, struct buffer *scratch)
{
    unsigned count = index_marks_count(resource);
    for (unsigned i = 0; i < count; i++) {
        index_marks_field(resource, i, scratch);
        if (is_text(marks, field, scratch)) {
            return i;
        }
    }
    return count;
}

/* Whether it tells of a reindex whose marks will be one's own. */
static bool is_own_reindex(struct index_marks *marks, const struct resource *resource,
                           struct resp_token field, struct resp_token value, struct buffer *scratch)
{
    size_t skip = strlen(REINDEX_PREFIX);
    if (field.size < skip || memcmp(field.bytes, REINDEX_PREFIX, skip) != 0 ||
        value.size < INDEX_SIGNATURE_BYTES) {
        return false;
    }
    field.bytes += skip;
    field.size -= skip;
    value.size = INDEX_SIGNATURE_BYTES;
    unsigned number = number_of(marks, resource, &field, scratch);
    if (number == index_marks_count(resource)) {
        return false;
    }
    put_signature(resource, number, scratch);
    return is_text(marks, &value, scratch);
}

static void read_mark(struct index_marks *marks, const struct resource *resource,
                      const struct resp_token *field, const struct resp_token *signature,
                      struct buffer *scratch)
{
    unsigned number = number_of(marks, resource, field, scratch);
    if (number < index_marks_count(resource)) {
        marks->absent -= marks->absent > 0;
        put_signature(resource, number, scratch);
        if (is_text(marks, signature, scratch)) {
            marks->whole[number] = true;
            return;
        }
        marks->other++;
    } else if (is_own_reindex(marks, resource, *field, *signature, scratch)) {
        return;
    }
    resp_word(&marks->of, field->bytes, field->size);
    marks->foreign++;
}

bool index_marks_read(struct index_marks *marks, const struct resource *resource,
                      const struct resp_token *first, struct resp_reader *in)
{
    struct buffer scratch = BUFFER_INIT;
    bool pairs = first->kind == RESP_MAP || (first->kind == RESP_ARRAY && first->count % 2 == 0);
    uint64_t count = first->kind == RESP_MAP ? first->count : first->count / 2;
    marks->absent = index_marks_count(resource);
    for (uint64_t i = 0; pairs && i < count; i++) {
        struct resp_token field = resp_next(in);
        struct resp_token signature = resp_next(in);
        pairs = field.kind == RESP_TEXT && signature.kind == RESP_TEXT;
        if (pairs) {
            read_mark(marks, resource, &field, &signature, &scratch);
        }
    }
    buffer_release(&scratch);
    return pairs && !marks->of.failed;
}

bool index_marks_read_absent(struct index_marks *marks, const struct resource *resource,
                             const struct resp_token *first, struct resp_reader *in)
{
    unsigned count = index_marks_count(resource);
    if (first->kind != RESP_ARRAY || first->count != count) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct resp_token marked = resp_next(in);
        marks->whole[i] = marked.kind == RESP_INTEGER && marked.integer == 1;
    }
    marks->absent = 0;
    return true;
}

void index_marks_remove_command(const struct index_marks *marks, const struct resource *resource,
                                struct buffer *out)
{
    CHECK(marks->foreign > 0 && !marks->of.failed);
    resp_command(out, 2 + marks->foreign);
    resp_word_text(out, "HDEL");
    put_name(resource, out);
    buffer_append(out, marks->of.bytes, marks->of.size);
}

void index_marks_removed(struct index_marks *marks)
{
    buffer_truncate(&marks->of, 0);
    marks->absent += marks->other;
    marks->other = 0;
    marks->foreign = 0;
}
