#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/commands.h"
#include "clients/cli/encode.h"
#include "clients/cli/records.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"

/* An import reads records, gathers them into batches, and keeps several batches
 * on their way, so that the daemon works while the file is read. At the first
 * fault nothing more is sent, and what is on its way is waited for. */

enum { BATCH_RECORDS = 10000, BATCH_BYTES = 1 << 20, BATCHES_OUT_MAX = 4 };

struct batch {
    uint32_t id;    /* of its call; 0: this place is free */
    uint64_t first; /* number of its first record, from 1 */
    size_t count;
    uint64_t *lines; /* of each record */
};

struct import {
    struct cli *cli;
    const char *resource_name;
    const char *method;
    bool only_known;
    const char *rename; /* OLD=NEW,...; NULL for none */
    uint64_t batch_records;
    struct catalog_resource resource;
    struct records records;

    struct buffer list; /* the batch that is being gathered: an open array */
    size_t mark;
    struct batch gathering;
    struct batch out[BATCHES_OUT_MAX];
    size_t out_count;

    uint64_t read;    /* records */
    uint64_t written; /* as the daemon said */
    int status;
};

/* --- Progress and faults ------------------------------------------------------------------ */

static bool shows_progress(void)
{
    return isatty(STDERR_FILENO);
}

static void show_progress(const struct import *import)
{
    if (shows_progress()) {
        fprintf(stderr, "\r%s: %llu written", import->resource_name,
                (unsigned long long)import->written);
        fflush(stderr);
    }
}

static void clear_progress(void)
{
    if (shows_progress()) {
        fputs("\r\033[K", stderr);
    }
}

/* A fault of one record, told with where it stands. Only the first is told. */
static void fail_record(struct import *import, uint64_t number, uint64_t line, const char *code,
                        const char *message)
{
    if (import->status == CLI_DONE) {
        clear_progress();
        fprintf(stderr, "relata: %s: record %llu (line %llu): %s\n", code,
                (unsigned long long)number, (unsigned long long)line, message);
    }
    import->status = CLI_FAILED;
}

/* --- Batches ------------------------------------------------------------------------------ */

static void begin_batch(struct import *import)
{
    buffer_truncate(&import->list, 0);
    import->mark = write_open(&import->list);
    import->gathering = (struct batch){.first = import->read + 1};
    import->gathering.lines = heap_must(import->batch_records * sizeof(uint64_t));
}

static void fail_batch(struct import *import, const struct batch *batch,
                       const struct relata_error *error)
{
    if (error->index >= 0 && (uint64_t)error->index < batch->count) {
        size_t index = (size_t)error->index;
        fail_record(import, batch->first + index, batch->lines[index],
                    relata_code_text((int)error->code), error->message);
        return;
    }
    if (import->status == CLI_DONE) {
        clear_progress();
        fprintf(stderr, "relata: %s: records %llu to %llu: %s%s\n",
                relata_code_text((int)error->code), (unsigned long long)batch->first,
                (unsigned long long)(batch->first + batch->count - 1), error->message,
                error->outcome[0] != '\0' ? " (they may have been written)" : "");
    }
    import->status = CLI_FAILED;
}

/* Waits for the oldest batch that is out. */
static void receive_batch(struct import *import)
{
    struct batch batch = import->out[0];
    memmove(import->out, import->out + 1, sizeof(import->out) - sizeof(import->out[0]));
    import->out_count--;

    struct relata_error error;
    struct relata_reply *reply;
    if (relata_receive(import->cli->client, &batch.id, &reply, &error) != 0) {
        fail_batch(import, &batch, &error);
    } else {
        int64_t count = 0;
        relata_value_integer(relata_reply_value(reply), &count);
        import->written += (uint64_t)count;
        relata_reply_free(reply);
        show_progress(import);
    }
    heap_free(batch.lines);
}

static void send_batch(struct import *import)
{
    struct batch *batch = &import->gathering;
    write_close_array(&import->list, import->mark, (uint32_t)batch->count);
    if (import->out_count == BATCHES_OUT_MAX) {
        receive_batch(import);
    }
    struct relata_error error = {
        .code = RELATA_CODE_OVERLOADED, .message = "there is no memory for a batch", .index = -1};
    struct relata_params *params = relata_params_create();
    relata_params_string(params, import->resource_name);
    relata_params_value(params, cli_value(&import->list));
    int code = import->status != CLI_DONE || import->list.failed
                   ? -RELATA_CODE_OVERLOADED
                   : relata_send(import->cli->client, import->method, params, &batch->id, &error);
    relata_params_free(params);
    if (code == 0) {
        /* A connection that is lost is noticed when the batch is received. */
        (void)relata_flush(import->cli->client, NULL);
        import->out[import->out_count++] = *batch;
    } else {
        fail_batch(import, batch, &error);
        heap_free(batch->lines);
    }
    batch->lines = NULL;
    begin_batch(import);
}

/* Calls fields as --rename says; a field that the record lacks is none of its
 * business. */
static void rename_fields(json_t *record, const char *rename)
{
    for (const char *at = rename; at != NULL && *at != '\0';) {
        size_t size = strcspn(at, ",");
        size_t old_size = (size_t)((const char *)memchr(at, '=', size) - at);
        json_t *value = json_object_getn(record, at, old_size);
        if (value != NULL) {
            json_object_setn(record, at + old_size + 1, size - old_size - 1, value);
            json_object_deln(record, at, old_size);
        }
        at += size + (at[size] == ',');
    }
}

/* OLD=NEW with a comma between. */
static bool is_rename(const char *text)
{
    while (true) {
        size_t size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size);
        if (equals == NULL || equals == text || equals == text + size - 1) {
            return false;
        }
        if (text[size] == '\0') {
            return true;
        }
        text += size + 1;
    }
}

/* Adds a record to the batch; the batch goes when it is full. */
static void add_record(struct import *import, json_t *record, uint64_t line)
{
    struct batch *batch = &import->gathering;
    import->read++;
    if (!json_is_object(record)) {
        fail_record(import, import->read, line, "invalid_request", "a record is a JSON object");
        return;
    }
    rename_fields(record, import->rename);
    const char *field = encode_record(&import->list, &import->resource, record, import->only_known);
    if (field != NULL) {
        char message[160];
        snprintf(message, sizeof(message), "%s: the text is no base64", field);
        fail_record(import, import->read, line, "invalid_value", message);
        return;
    }
    batch->lines[batch->count++] = line;
    if (batch->count == import->batch_records || import->list.size >= BATCH_BYTES) {
        send_batch(import);
    }
}

static void import_all(struct import *import)
{
    uint64_t line;
    json_t *record;
    begin_batch(import);
    while (import->status == CLI_DONE && (record = records_next(&import->records, &line)) != NULL) {
        add_record(import, record, line);
        json_decref(record);
    }
    if (import->status == CLI_DONE && import->records.fault[0] != '\0') {
        clear_progress();
        fprintf(stderr, "relata: invalid_request: %s\n", import->records.fault);
        import->status = CLI_FAILED;
    } else if (import->status == CLI_DONE && import->gathering.count > 0) {
        send_batch(import);
    }
    while (import->out_count > 0) {
        receive_batch(import);
    }
    heap_free(import->gathering.lines);
    clear_progress();
}

/* --- The command ----------------------------------------------------------------------------- */

static int take_rename(struct import *import, struct args *args)
{
    import->rename = args->values[ARGS_RENAME];
    if (import->rename != NULL && !is_rename(import->rename)) {
        return cli_usage("--rename wants OLD=NEW, and commas between several");
    }
    return CLI_DONE;
}

static int take_batch(struct import *import, struct args *args)
{
    int64_t allowed;
    struct relata_value limits = relata_value_get(relata_hello(import->cli->client), "limits");
    import->batch_records = BATCH_RECORDS;
    if (relata_value_integer(relata_value_get(limits, "records_per_write"), &allowed) &&
        allowed > 0 && (uint64_t)allowed < import->batch_records) {
        import->batch_records = (uint64_t)allowed;
    }
    uint64_t wanted = import->batch_records;
    if (!args_number(args, ARGS_BATCH, &wanted) || wanted == 0) {
        return cli_usage("--batch wants a number above 0");
    }
    import->batch_records = wanted < import->batch_records ? wanted : import->batch_records;
    return CLI_DONE;
}

static void import_file(struct import *import, FILE *file)
{
    records_init(&import->records, file, &import->resource);
    import_all(import);
    records_release(&import->records);
    buffer_release(&import->list);
    if (ferror(file) != 0) {
        fprintf(stderr, "relata: the file cannot be read to its end\n");
        import->status = CLI_FAILED;
    }
    fprintf(stderr, "%s: %llu record%s written\n", import->resource_name,
            (unsigned long long)import->written, import->written == 1 ? "" : "s");
}

int import_run(struct cli *cli, struct args *args)
{
    struct import import = {.cli = cli,
                            .resource_name = args->words[1],
                            .method = args_has(args, ARGS_UPSERT) ? "upsert_many" : "create_many",
                            .only_known = args_has(args, ARGS_ONLY_KNOWN)};
    const char *path = args->words[2];
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "relata: %s: %s\n", path, strerror(errno));
        return CLI_FAILED;
    }
    int status = cli_resource(cli, import.resource_name, &import.resource);
    if (status == CLI_DONE) {
        status = take_batch(&import, args);
        status = status == CLI_DONE ? take_rename(&import, args) : status;
        if (status == CLI_DONE) {
            import_file(&import, file);
            status = import.status;
        }
        catalog_resource_release(&import.resource);
    }
    if (!is_stdin) {
        fclose(file);
    }
    return status;
}
