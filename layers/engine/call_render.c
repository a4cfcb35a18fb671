#include "layers/engine/engine_inner.h"
#include "layers/query/render.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* A call's answer as bytes: its elements, and around them what the shape asks
 * for ({columns, data} for rows). */

static struct render render_of(const struct call *call, struct buffer *out)
{
    return (struct render){.out = out, .rows = call->rows, .write_error = call->write_error};
}

/* {columns: ..., data: -- the answer follows. */
static void open_rows(const struct call *call, struct buffer *out)
{
    const struct render render = render_of(call, out);
    write_map(out, 2);
    write_text(out, "columns");
    if (call->answer != ANSWER_RELATED) {
        render_columns(&render, &call->query);
    } else if (call->loads_single) {
        render_columns(&render, &call->query.loads->query);
    } else {
        write_array(out, call->query.load_count);
        for (const struct load_item *item = call->query.loads; item != NULL; item = item->next) {
            render_load_columns(&render, item);
        }
    }
    write_text(out, "data");
}

/* All loads of one source: one relationship's alone, or a map (or row) of them. */
static int render_source(const struct call *call, const struct render *render, size_t position,
                         struct error *error)
{
    if (call->loads_single) {
        return render_related(render, &call->level.loads[0], position, error);
    }
    if (render->rows) {
        write_array(render->out, call->query.load_count);
    } else {
        write_map(render->out, call->query.load_count);
    }
    int status = 0;
    for (unsigned i = 0; status == 0 && i < call->query.load_count; i++) {
        const struct level_load *load = &call->level.loads[i];
        if (!render->rows) {
            buffer_append(render->out, load->item->name_bytes, load->item->name_bytes_size);
        }
        status = render_related(render, load, position, error);
    }
    return status;
}

/* A key that failed alone: the error stands in its place, where it may. */
static int render_failure(struct call *call, const struct render *render, size_t element)
{
    const struct error *error = call->failures[element];
    if (render->write_error == NULL || call->asked_count == 1) {
        call->error = *error;
        call->error.index = (int64_t)element;
        return -(int)error->code;
    }
    render->write_error(render->out, error);
    return 0;
}

static int render_element(struct call *call, const struct render *render, size_t element)
{
    uint32_t position = call->asked != NULL ? call->asked[element] : (uint32_t)element;
    if (position == CALL_ABSENT) {
        write_nil(render->out);
        return 0;
    }
    if (position == CALL_FAILED) {
        return render_failure(call, render, element);
    }
    if (call->answer == ANSWER_RELATED) {
        return render_source(call, render, position, &call->error);
    }
    return render_record(render, &call->query, call->records[position], &call->level, position,
                         &call->error);
}

int call_render_slice(struct call *call, struct buffer *out, size_t most)
{
    const struct render render = render_of(call, out);
    size_t count = call_element_count(call);
    if (call->rendered_count == 0) {
        if (call->rows) {
            open_rows(call, out);
        }
        write_array(out, (uint32_t)count);
    }
    for (size_t i = 0; i < most && call->rendered_count < count && !out->failed; i++) {
        int status = render_element(call, &render, call->rendered_count++);
        if (status < 0) {
            return status;
        }
    }
    if (out->failed) {
        return error_limit_hit(&call->error, CODE_TOO_LARGE, "answer_bytes",
                               call->engine->limits->answer_bytes,
                               call->engine->limits->answer_bytes + 1);
    }
    return call->rendered_count < count ? CALL_LATER : CALL_READY;
}

/* What a get, or a load of one key, asked for directly fails the call. */
static int first_failure(struct call *call)
{
    bool alone = call->kind == CALL_GET || (call->kind == CALL_LOAD && call->asked_count == 1);
    for (unsigned i = 0; alone && call->level.loads != NULL && i < call->query.load_count; i++) {
        const struct error *error =
            call->record_count > 0 ? call->level.loads[i].results[0].error : NULL;
        if (error != NULL) {
            call->error = *error;
            return -(int)error->code;
        }
    }
    return 0;
}

static int render_record_answer(struct call *call, struct buffer *out)
{
    const struct render render = render_of(call, out);
    if (call->rows) {
        open_rows(call, out);
    }
    if (call->record_count == 0) {
        write_nil(out);
        return 0;
    }
    return render_record(&render, &call->query, call->records[0],
                         call->level.loads != NULL ? &call->level : NULL, 0, &call->error);
}

static int render_answer(struct call *call, struct buffer *out)
{
    switch (call->answer) {
    case ANSWER_RECORD:
        return render_record_answer(call, out);
    case ANSWER_RECORDS:
    case ANSWER_RELATED:
        call->rendered_count = 0;
        return call_render_slice(call, out, SIZE_MAX);
    case ANSWER_NUMBER:
        write_unsigned(out, call->number);
        return 0;
    case ANSWER_TRUE:
        write_boolean(out, true);
        return 0;
    case ANSWER_REINDEXED:
        call_render_reindexed(call, out);
        return 0;
    }
    CHECK(!"a kind of answer");
    return -CODE_INTERNAL;
}

int call_render(struct call *call, struct buffer *out)
{
    size_t start = out->size;
    size_t max = out->max;
    int status = call->error.code != CODE_OK ? -(int)call->error.code : first_failure(call);
    if (status == 0 && call->is_rendered) {
        buffer_append(out, call->rendered.bytes, call->rendered.size);
    } else if (status == 0) {
        out->max = start + call->engine->limits->answer_bytes;
        status = render_answer(call, out);
        out->max = max;
    }
    if (status == 0 && out->failed) {
        status = error_limit_hit(&call->error, CODE_TOO_LARGE, "answer_bytes",
                                 call->engine->limits->answer_bytes, out->size - start);
    }
    if (status < 0) {
        buffer_truncate(out, start);
    }
    return status < 0 ? status : 0;
}
