#include "layers/redis/encoding.h"

#include <string.h>

#include "layers/redis/encoding_inner.h"
#include "protocol/msgpack/writer.h"

/* What becomes of a value, in the words of the script (encoding_script.c). */

/* ---- Words ---- */

void writing_word(struct writing *writing, const void *bytes, size_t size)
{
    resp_word(writing->out, bytes, size);
    writing->words++;
}

void writing_text(struct writing *writing, const char *text)
{
    writing_word(writing, text, strlen(text));
}

void writing_count(struct writing *writing, unsigned count)
{
    resp_word_integer(writing->out, (int64_t)count);
    writing->words++;
}

bool writing_is_same(struct writing *writing, const struct value_form *form,
                     const struct type *type, const uint8_t *stored, size_t stored_size,
                     const uint8_t *value, size_t value_size)
{
    struct buffer *taken = &writing->value;
    buffer_truncate(taken, 0);
    int status = form->take(type, stored, stored_size, &writing->scratch, taken, NULL);
    bool same = status == 0 && !taken->failed && taken->size == value_size &&
                memcmp(taken->bytes, value, value_size) == 0;
    writing->out->failed |= taken->failed || status == -CODE_OVERLOADED;
    buffer_truncate(taken, 0);
    return same;
}

/* ---- Documents ---- */

/* A document that is being written. */
struct rendering {
    struct writing *writing;
    const struct document_form *form;
    struct buffer text;
    uint32_t members;
    bool marked;
    bool seen[FIELDS_MAX]; /* by position */
};

static void render(struct rendering *rendering, const struct type *type, const void *name,
                   size_t name_size, const uint8_t *value, size_t size)
{
    rendering->form->put_name(&rendering->text, rendering->members++, name, name_size);
    rendering->form->values->put(type, value, size, &rendering->text);
}

static void render_field(struct rendering *rendering, const struct field *field)
{
    uint32_t size;
    size_t name_size;
    const struct writing *writing = rendering->writing;
    const char *name = stored_name(field, &name_size);
    const uint8_t *value =
        record_field(writing->after, writing->resource->field_count, field->position, &size);
    render(rendering, &field->type, name, name_size, value, size);
}

static void render_mark(struct rendering *rendering)
{
    struct buffer mark = BUFFER_INIT;
    rendering->marked = true;
    write_string(&mark, rendering->writing->mark, rendering->writing->mark_size);
    if (mark.failed) {
        rendering->text.failed = true;
    } else {
        render(rendering, &mark_type, ENCODING_MARK, strlen(ENCODING_MARK), mark.bytes, mark.size);
    }
    buffer_release(&mark);
}

/* What stands there already keeps its place, and its form where it says the same:
 * other programs wrote it so. */
static void render_member(struct rendering *rendering, const struct member *member,
                          unsigned *expected)
{
    struct writing *writing = rendering->writing;
    const struct resource *resource = writing->resource;
    const struct field *field = find_stored(resource, expected, member->name, member->name_size);
    if (field != NULL) {
        uint32_t size;
        const uint8_t *value =
            record_field(writing->after, resource->field_count, field->position, &size);
        rendering->seen[field->position] = true;
        if (!writing_is_same(writing, rendering->form->values, &field->type, member->value,
                             member->value_size, value, size)) {
            render_field(rendering, field);
            return;
        }
    } else if (writing->mark != NULL && member->name_size > 0 &&
               is_mark(member->name, member->name_size)) {
        render_mark(rendering);
        return;
    }
    rendering->form->put_whole(&rendering->text, rendering->members++, member);
}

static void render_before(struct rendering *rendering)
{
    const struct stored_value *before = rendering->writing->before;
    struct document document = {.at = NULL};
    struct member member;
    unsigned expected = 0;
    int status = rendering->form->open(&document, before->bytes, before->size, NULL);
    if (status == 0) {
        while ((status = rendering->form->next(&document, &member, NULL)) > 0) {
            render_member(rendering, &member, &expected);
        }
    }
    /* It was read before, so only memory can lack. */
    rendering->text.failed |= status < 0;
    buffer_release(&document.name);
}

static void render_document(struct rendering *rendering)
{
    struct writing *writing = rendering->writing;
    const struct resource *resource = writing->resource;
    bool exists = writing->before->exists;
    size_t mark = rendering->form->open_map(&rendering->text);
    if (exists) {
        render_before(rendering);
    }
    for (unsigned i = 0; i < resource->field_count; i++) {
        /* Absent is nil, and stays so where others wrote the document. */
        if (!rendering->seen[i] &&
            !(exists && record_is_nil(writing->after, resource->field_count, i))) {
            render_field(rendering, &resource->fields[i]);
        }
    }
    if (writing->mark != NULL && !rendering->marked) {
        render_mark(rendering);
    }
    rendering->form->close_map(&rendering->text, mark, rendering->members);
}

static void change_document(struct writing *writing, const struct document_form *form)
{
    struct rendering rendering = {.writing = writing, .form = form};
    render_document(&rendering);
    writing_text(writing, "text");
    writing_word(writing, rendering.text.bytes, rendering.text.size);
    writing->out->failed |= rendering.text.failed;
    buffer_release(&rendering.text);
}

/* ---- The face ---- */

size_t encoding_change(const struct resource *resource, const struct stored_value *before,
                       const struct record *after, const void *mark, size_t mark_size,
                       struct buffer *out)
{
    const struct document_form *form = document_form(resource);
    struct writing writing = {.resource = resource,
                              .before = before,
                              .after = after,
                              .mark = mark,
                              .mark_size = mark_size,
                              .out = out};
    if (!before->exists) {
        writing_text(&writing, "none");
    } else if (form != NULL) {
        writing_text(&writing, "text");
        writing_word(&writing, before->bytes, before->size);
    } else {
        hash_expect(&writing);
    }
    if (after == NULL) {
        writing_text(&writing, "remove");
    } else if (form != NULL) {
        change_document(&writing, form);
    } else {
        hash_change(&writing);
    }
    buffer_release(&writing.scratch);
    buffer_release(&writing.value);
    return writing.words;
}

/* ---- What comes back ---- */

/* Takes a field's value through its form: what comes back is appended to `taken`,
 * unless it is the same. */
static int settle_field(const struct value_form *form, const struct type *type,
                        const uint8_t *value, uint32_t size, struct buffer *taken,
                        struct error *error)
{
    struct buffer text = BUFFER_INIT;
    struct buffer scratch = BUFFER_INIT;
    size_t before = taken->size;
    form->put(type, value, size, &text);
    int status = text.failed ? -CODE_OVERLOADED
                             : form->take(type, text.bytes, text.size, &scratch, taken, error);
    if (status == 0 && !taken->failed && taken->size - before == size &&
        memcmp(taken->bytes + before, value, size) == 0) {
        buffer_truncate(taken, before);
    }
    buffer_release(&text);
    buffer_release(&scratch);
    return status == 0 && taken->failed ? -CODE_OVERLOADED : status;
}

static bool has_any(const struct resource *resource)
{
    for (unsigned i = 0; i < resource->field_count; i++) {
        if (resource->fields[i].type.kind == TYPE_ANY) {
            return true;
        }
    }
    return false;
}

int encoding_settle(const struct resource *resource, const struct record *image,
                    struct arena *arena, const struct record **out, struct error *error)
{
    const struct value_form *form =
        resource->redis->encoding == REDIS_HASH ? &hash_form : &json_form;
    struct buffer taken = BUFFER_INIT;
    struct record_draft draft;
    struct record *settled = NULL;
    *out = image;
    if (resource->redis->encoding == REDIS_MSGPACK || !has_any(resource)) {
        return 0;
    }
    int status = record_draft_init(&draft, resource, arena, &taken);
    for (unsigned i = 0; i < resource->field_count && status == 0; i++) {
        struct record_part *part = &draft.parts[i];
        const struct type *type = &resource->fields[i].type;
        size_t before = taken.size;
        part->bytes = record_field(image, resource->field_count, i, &part->size);
        if (type->kind == TYPE_ANY && !record_is_nil(image, resource->field_count, i)) {
            status = settle_field(form, type, part->bytes, part->size, &taken, error);
        }
        if (taken.size > before) {
            *part = (struct record_part){.offset = before, .size = (uint32_t)(taken.size - before)};
        }
    }
    if (status == 0 && taken.size > 0) {
        status = record_draft_build(&draft, arena, &settled, error);
        *out = settled;
    }
    buffer_release(&taken);
    if (status == -CODE_OVERLOADED) {
        error_set(error, CODE_OVERLOADED, "no memory for the record");
    }
    return status;
}
