#include "layers/schema/schema_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layers/schema/reading.h"
#include "protocol/base/heap.h"

static void read_steps(struct reading *reading)
{
    const struct node *root =
        document_read(reading->text, reading->size, reading->scratch, &reading->faults);
    if (root == NULL) {
        return;
    }
    read_resources(reading, root);
    read_fields(reading);
    read_redis(reading);
    read_relationships(reading);
    read_expressions(reading);
    check_redis(reading);
    if (reading->faults.total == 0 && !reading->model->failed && !reading->scratch->failed) {
        derive_indexes(reading);
    }
}

static struct schema *make_schema(uint32_t number)
{
    struct schema *schema = heap_zero(1, sizeof(*schema));
    if (schema != NULL) {
        schema->number = number;
        schema->references = 1;
        arena_init(&schema->arena, READING_BYTES_MAX);
    }
    return schema;
}

int schema_read(const char *name, const char *text, size_t size, uint32_t number,
                const struct limits *limits, struct schema **out, struct buffer *faults)
{
    struct arena scratch;
    arena_init(&scratch, READING_BYTES_MAX);
    struct schema *schema = make_schema(number);
    struct reading reading = {
        .name = name,
        .text = size > 0 ? text : "",
        .size = size,
        .limits = limits,
        .schema = schema,
        .model = schema != NULL ? &schema->arena : NULL,
        .scratch = &scratch,
        .faults = {.arena = &scratch},
        .visits_left = READING_VISITS_MAX,
    };
    int status = 0;
    if (schema != NULL) {
        read_steps(&reading);
    }
    if (schema == NULL || scratch.failed || schema->arena.failed) {
        buffer_printf(faults, "%s:1:1: there is not enough memory for the schema\n", name);
        status = -CODE_OVERLOADED;
    } else if (reading.faults.total > 0) {
        faults_print(&reading.faults, name, faults);
        status = -CODE_INVALID_REQUEST;
    }
    arena_release(&scratch);
    if (status != 0) {
        schema_put(schema);
        return status;
    }
    *out = schema;
    return 0;
}

/* Reads all of a file, up to one byte more than a schema may have. */
static int read_whole(int file, struct buffer *out)
{
    for (;;) {
        enum { PIECE_BYTES = 65536 };
        if (!buffer_reserve(out, PIECE_BYTES)) {
            return ENOMEM;
        }
        ssize_t got = read(file, out->bytes + out->size, PIECE_BYTES);
        if (got < 0 && errno != EINTR) {
            return errno;
        }
        if (got == 0 || out->size > DOCUMENT_BYTES_MAX) {
            return 0;
        }
        out->size += got > 0 ? (size_t)got : 0;
    }
}

int schema_read_file(const char *path, uint32_t number, const struct limits *limits,
                     struct schema **out, struct buffer *faults)
{
    struct buffer text = BUFFER_INIT;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int problem = file < 0 ? errno : read_whole(file, &text);
    int status = -CODE_INVALID_REQUEST;
    if (file >= 0) {
        close(file);
    }
    if (problem != 0) {
        buffer_printf(faults, "%s:1:1: the file cannot be read: %s\n", path, strerror(problem));
    } else {
        status =
            schema_read(path, (const char *)text.bytes, text.size, number, limits, out, faults);
    }
    buffer_release(&text);
    return status;
}
