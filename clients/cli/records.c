#include "clients/cli/records.h"

void records_init(struct records *records, FILE *file, const struct catalog_resource *resource)
{
    *records = (struct records){.file = file, .resource = resource, .line = 1, .is_first = true};
}

void records_release(struct records *records)
{
    json_decref(records->whole);
    records->whole = NULL;
    records->list = NULL;
}

static int next_byte(struct records *records)
{
    int byte = getc_unlocked(records->file);
    records->line += byte == '\n' ? 1 : 0;
    return byte;
}

/* One byte at a time, so that nothing is taken beyond the end of a value. */
static size_t feed(void *bytes, size_t size, void *data)
{
    (void)size;
    int byte = next_byte(data);
    if (byte == EOF) {
        return 0;
    }
    *(char *)bytes = (char)byte;
    return 1;
}

/* Passes over blanks; false at the end. */
static bool seek_value(struct records *records)
{
    int byte;
    do {
        byte = next_byte(records);
    } while (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n');
    if (byte != EOF) {
        ungetc(byte, records->file);
    }
    return byte != EOF;
}

static json_t *read_value(struct records *records)
{
    json_error_t fault;
    uint64_t line = records->line;
    json_t *value =
        json_load_callback(feed, records, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &fault);
    if (value == NULL) {
        uint64_t at = line + (fault.line > 0 ? (uint64_t)fault.line - 1 : 0);
        snprintf(records->fault, sizeof(records->fault), "line %llu: no JSON: %.200s",
                 (unsigned long long)at, fault.text);
    }
    return value;
}

static bool is_list_of_objects(const json_t *json)
{
    if (!json_is_array(json)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(json); i++) {
        if (!json_is_object(json_array_get(json, i))) {
            return false;
        }
    }
    return true;
}

/* The list of records that the object is there for; NULL where it is a record. */
static json_t *list_within(const struct records *records, json_t *object)
{
    json_t *found = NULL;
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (!json_is_array(value)) {
            continue;
        }
        if (found != NULL || !is_list_of_objects(value) ||
            catalog_field(records->resource, name) != NULL) {
            return NULL;
        }
        found = value;
    }
    return found;
}

/* The next of the list; NULL when it is over. */
static json_t *next_of_list(struct records *records)
{
    json_t *record = json_array_get(records->list, records->place);
    if (record == NULL) {
        records_release(records);
        return NULL;
    }
    records->place++;
    return json_incref(record);
}

json_t *records_next(struct records *records, uint64_t *line)
{
    for (;;) {
        *line = records->list_line;
        json_t *record = records->list != NULL ? next_of_list(records) : NULL;
        if (record != NULL) {
            return record;
        }
        if (!seek_value(records)) {
            return NULL;
        }
        *line = records->line;
        json_t *value = read_value(records);
        json_t *list = json_is_array(value)                         ? value
                       : json_is_object(value) && records->is_first ? list_within(records, value)
                                                                    : NULL;
        records->is_first = false;
        if (value == NULL || list == NULL) {
            return value;
        }
        records->whole = value;
        records->list = list;
        records->list_line = *line;
        records->place = 0;
    }
}
