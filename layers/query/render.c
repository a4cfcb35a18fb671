#include "layers/query/render.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/name.h"
#include "protocol/msgpack/writer.h"

static unsigned shown_count(const struct query *query)
{
    return query->selection.all ? query->resource->field_count : query->selection.count;
}

/* All values of a row in one copy; the header counts the loads behind them. */
static void write_row_values(const struct render *render, const struct query *query,
                             const struct record *record)
{
    const struct resource *resource = query->resource;
    write_array(render->out, shown_count(query) + query->load_count);
    if (query->selection.all) {
        buffer_append(render->out, record_values(record, resource->field_count), record->size);
        return;
    }
    for (unsigned i = 0; i < query->selection.count; i++) {
        uint32_t size = 0;
        const uint8_t *bytes =
            record_field(record, resource->field_count, query->selection.fields[i], &size);
        buffer_append(render->out, bytes, size);
    }
}

static uint8_t *copy(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* The names of a resource's fields, encoded once per resource, go between the
 * values. Room for all is made at once, so that the loop only copies. */
static void write_map_values(const struct render *render, const struct query *query,
                             const struct record *record)
{
    const struct resource *resource = query->resource;
    unsigned count = shown_count(query);
    write_map(render->out, count + query->load_count);
    size_t room = record->size + (size_t)count * (NAME_MAX_BYTES + WRITE_HEADER_MAX);
    if (!buffer_reserve(render->out, room)) {
        return;
    }
    uint8_t *at = render->out->bytes + render->out->size;
    for (unsigned i = 0; i < count; i++) {
        unsigned position = query->selection.all ? i : query->selection.fields[i];
        const struct field *field = &resource->fields[position];
        uint32_t size = 0;
        const uint8_t *bytes = record_field(record, resource->field_count, position, &size);
        at = copy(at, field->name_bytes, field->name_bytes_size);
        at = copy(at, bytes, size);
    }
    render->out->size = (size_t)(at - render->out->bytes);
}

int render_related(const struct render *render, const struct level_load *load, size_t position,
                   struct error *error)
{
    const struct loaded *loaded = &load->results[position];
    const struct query *query = &load->item->query;
    if (loaded->error != NULL) {
        if (render->write_error == NULL) {
            *error = *loaded->error;
            return -(int)loaded->error->code;
        }
        render->write_error(render->out, loaded->error);
        return 0;
    }
    if (!load->item->relationship->to_one) {
        write_array(render->out, (uint32_t)loaded->count);
    } else if (loaded->count == 0) {
        write_nil(render->out);
    }
    /* An answer that became too large is not gone through to its end: what each
     * level has multiplies. */
    for (size_t i = 0; i < loaded->count && !render->out->failed; i++) {
        int status = render_record(render, query, loaded->records[i], load->next,
                                   load->next != NULL ? loaded->positions[i] : 0, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

int render_record(const struct render *render, const struct query *query,
                  const struct record *record, const struct level *level, size_t position,
                  struct error *error)
{
    if (render->rows) {
        write_row_values(render, query, record);
    } else {
        write_map_values(render, query, record);
    }
    CHECK(level != NULL || query->load_count == 0);
    for (unsigned i = 0; i < query->load_count; i++) {
        const struct level_load *load = &level->loads[i];
        if (!render->rows) {
            buffer_append(render->out, load->item->name_bytes, load->item->name_bytes_size);
        }
        int status = render_related(render, load, position, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

void render_load_columns(const struct render *render, const struct load_item *item)
{
    write_array(render->out, 3);
    buffer_append(render->out, item->name_bytes, item->name_bytes_size);
    write_text(render->out, item->relationship->to_one ? "one" : "many");
    render_columns(render, &item->query);
}

void render_columns(const struct render *render, const struct query *query)
{
    unsigned count = shown_count(query);
    write_array(render->out, count + query->load_count);
    for (unsigned i = 0; i < count; i++) {
        unsigned position = query->selection.all ? i : query->selection.fields[i];
        const struct field *field = &query->resource->fields[position];
        buffer_append(render->out, field->name_bytes, field->name_bytes_size);
    }
    for (const struct load_item *item = query->loads; item != NULL; item = item->next) {
        render_load_columns(render, item);
    }
}
