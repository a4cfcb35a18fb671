#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/encode.h"
#include "clients/cli/render.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"

/* An export is read page by page in the order of the primary key: each page asks
 * for what comes after the last key of the page before, so that none is larger
 * than an answer may be, and records that are written meanwhile shift nothing. */

enum {
    FIRST_PAGE_RECORDS = 1000,
    PAGE_RECORDS_MAX = 100000,
    PAGE_BYTES = 16 << 20 /* what a page is to have, once it is known how large records are */
};

struct export_work {
    struct cli *cli;
    const char *resource;
    const char *filter;     /* NULL for all */
    json_t *params;         /* the caller's, for the filter; may be NULL */
    json_t *select;         /* may be NULL */
    struct catalog_key key; /* of the resource */
    uint64_t page;          /* records */
    bool page_is_given;     /* by --page */
    struct buffer last;     /* the key fields' values of the last record: one map; empty at first */
};

/* `(a > $after_0) or (a == $after_0 and b > $after_1) ...`: what stands after
 * the last key in the order of the primary key. */
static void write_after(const struct catalog_key *key, struct buffer *out)
{
    for (size_t i = 0; i < key->count; i++) {
        buffer_printf(out, "%s(", i > 0 ? " or " : "");
        for (size_t j = 0; j < i; j++) {
            buffer_printf(out, "%s == $relata_after_%zu and ", key->fields[j].name, j);
        }
        buffer_printf(out, "%s > $relata_after_%zu)", key->fields[i].name, i);
    }
}

static void write_filter(const struct export_work *work, struct buffer *out)
{
    struct buffer text = BUFFER_INIT;
    if (work->filter != NULL) {
        buffer_printf(&text, "(%s)", work->filter);
    }
    if (work->last.size > 0) {
        buffer_printf(&text, "%s(", text.size > 0 ? " and " : "");
        write_after(&work->key, &text);
        buffer_byte(&text, ')');
    }
    write_string(out, text.bytes, text.size);
    out->failed = out->failed || text.failed;
    buffer_release(&text);
}

static void write_params(const struct export_work *work, struct buffer *out)
{
    size_t mark = write_open(out);
    uint32_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(work->params, name, value)
    {
        write_text(out, name);
        encode_json(out, value);
        count++;
    }
    struct relata_cursor cursor = relata_items(cli_value(&work->last));
    size_t place = 0;
    for (struct relata_value item; relata_next(&cursor, &item); place++) {
        char after[40];
        snprintf(after, sizeof(after), "relata_after_%zu", place);
        write_text(out, after);
        buffer_append(out, item.bytes, item.size);
        count++;
    }
    write_close_map(out, mark, count);
}

static void write_query(const struct export_work *work, struct buffer *out)
{
    bool has_filter = work->filter != NULL || work->last.size > 0;
    write_map(out, 1u + (has_filter ? 2 : 0) + (work->select != NULL ? 1 : 0));
    write_text(out, "limit");
    write_integer(out, (int64_t)work->page);
    if (has_filter) {
        write_text(out, "filter");
        write_filter(work, out);
        write_text(out, "params");
        write_params(work, out);
    }
    if (work->select != NULL) {
        write_text(out, "select");
        encode_json(out, work->select);
    }
}

/* Keeps the key of the last record of a page. */
static void keep_last(struct export_work *work, struct relata_value record)
{
    buffer_truncate(&work->last, 0);
    write_array(&work->last, (uint32_t)work->key.count);
    for (size_t i = 0; i < work->key.count; i++) {
        struct relata_value value = relata_value_get(record, work->key.fields[i].name);
        buffer_append(&work->last, value.bytes, value.size);
    }
}

static int print_page(struct export_work *work, struct relata_value records)
{
    struct buffer text = BUFFER_INIT;
    struct relata_value last = RELATA_NONE;
    struct relata_cursor cursor = relata_items(records);
    for (struct relata_value record; relata_next(&cursor, &record);) {
        render_json(&text, record);
        buffer_byte(&text, '\n');
        last = record;
    }
    if (last.bytes != NULL) {
        keep_last(work, last);
    }
    int status = cli_print(&text);
    buffer_release(&text);
    return status;
}

/* Where no index has the order of the primary key, a page costs the daemon a look
 * at every record: so pages are as large as is sensible. */
static void fit_page(struct export_work *work, struct relata_value records)
{
    size_t count = relata_value_count(records);
    if (work->page_is_given || count == 0) {
        return;
    }
    uint64_t fitting = PAGE_BYTES / (records.size / count + 1) + 1;
    work->page = fitting < PAGE_RECORDS_MAX ? fitting : PAGE_RECORDS_MAX;
}

/* One page; *is_last where there is nothing after it. */
static int export_page(struct export_work *work, bool *is_last)
{
    struct relata_error error;
    struct relata_reply *reply;
    struct buffer query = BUFFER_INIT;
    write_query(work, &query);
    int code = relata_read(work->cli->client, work->resource, cli_value(&query), RELATA_NONE,
                           &reply, &error);
    buffer_release(&query);
    *is_last = false;
    if (code == -RELATA_CODE_TOO_LARGE && work->page > 1 && relata_alive(work->cli->client)) {
        work->page /= 2; /* and once more, with less */
        return CLI_DONE;
    }
    if (code != 0) {
        return cli_fail(&error);
    }
    struct relata_value records = relata_reply_value(reply);
    *is_last = relata_value_count(records) < work->page;
    int status = print_page(work, records);
    fit_page(work, records);
    relata_reply_free(reply);
    return status;
}

static int export_all(struct export_work *work)
{
    bool is_last = false;
    int status = CLI_DONE;
    while (status == CLI_DONE && !is_last) {
        status = export_page(work, &is_last);
    }
    return status;
}

/* The flags; false after it has said what is wrong. */
static bool take_flags(struct export_work *work, struct args *args)
{
    work->page = FIRST_PAGE_RECORDS;
    work->page_is_given = args_has(args, ARGS_PAGE);
    if (!args_number(args, ARGS_PAGE, &work->page) || work->page == 0 || work->page > INT32_MAX) {
        cli_usage("--page wants a number above 0");
        return false;
    }
    if (work->filter != NULL && work->filter[0] == '{') {
        cli_usage("export takes a filter as a text, not as a map");
        return false;
    }
    if (args_has(args, ARGS_PARAMS)) {
        work->params = cli_json("--params", args->values[ARGS_PARAMS]);
        if (!json_is_object(work->params)) {
            return false;
        }
    }
    if (args_has(args, ARGS_SELECT)) {
        work->select = command_names("--select", args->values[ARGS_SELECT]);
        return work->select != NULL;
    }
    return true;
}

int export_run(struct cli *cli, struct args *args)
{
    struct export_work work = {
        .cli = cli, .resource = args->words[1], .filter = args->count > 2 ? args->words[2] : NULL};
    struct catalog_resource resource;
    int status = take_flags(&work, args) ? cli_resource(cli, args->words[1], &resource) : CLI_USAGE;
    if (status == CLI_DONE) {
        work.key = resource.key;
        status = export_all(&work);
        catalog_resource_release(&resource);
    }
    json_decref(work.params);
    json_decref(work.select);
    buffer_release(&work.last);
    return status;
}
