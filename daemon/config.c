#include "daemon/config_inner.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/frame.h"

enum { CONFIG_BYTES_MAX = 1 << 20, CONFIG_ARENA_MAX = 64 << 20 };

static const uint64_t durations_max_us = UINT64_C(366) * 24 * 3600 * 1000 * 1000;

/* --- Values ----------------------------------------------------------------- */

bool config_is_nil(const struct node *node)
{
    return node->kind == NODE_SCALAR && scalar_resolve(node).kind == SCALAR_NIL;
}

static bool is_plain_word(const struct node *node)
{
    enum { WORD_MAX = 20 };
    for (uint32_t i = 0; i < node->size; i++) {
        char c = node->text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '+' || c == '-' || c == ' ';
        if (!plain) {
            return false;
        }
    }
    return node->size <= WORD_MAX;
}

const char *config_describe(const struct node *node, char out[CONFIG_CAME_MAX])
{
    if (node->kind != NODE_SCALAR) {
        return node->kind == NODE_LIST ? "a list" : "a map";
    }
    if (config_is_nil(node)) {
        return "nothing";
    }
    if (node->size == 0) {
        return "an empty text";
    }
    if (strlen(node->text) != node->size) {
        return "text with a zero byte";
    }
    if (!is_plain_word(node)) {
        return "another text";
    }
    bool text = scalar_resolve(node).kind == SCALAR_TEXT;
    snprintf(out, CONFIG_CAME_MAX, text ? "\"%s\"" : "%s", node->text);
    return out;
}

bool config_take_text(struct config_reading *reading, const char *key, const struct node *node)
{
    char came[CONFIG_CAME_MAX];
    if (node->kind != NODE_SCALAR || node->size == 0 || strlen(node->text) != node->size) {
        FAULT(reading, node, "%s must be text, got %s", key, config_describe(node, came));
        return false;
    }
    return true;
}

void config_take_duration(struct config_reading *reading, const char *key, const struct node *node,
                          uint64_t *out)
{
    uint64_t value;
    char came[CONFIG_CAME_MAX];
    if (!scalar_duration(node, &value) || value == 0 || value > durations_max_us) {
        FAULT(reading, node, "%s must be a duration from 1us to 366d, such as 30s, got %s", key,
              config_describe(node, came));
        return;
    }
    *out = value;
}

bool config_take_path(struct config_reading *reading, const char *key, const struct node *node,
                      char out[PATH_MAX])
{
    if (!config_take_text(reading, key, node)) {
        return false;
    }
    const char *folder = node->text[0] == '/' ? "" : reading->folder;
    const char *slash = folder[0] != '\0' ? "/" : "";
    char path[2 * PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s%s%s", folder, slash, node->text);
    if (size < 0 || size >= PATH_MAX) {
        FAULT(reading, node, "%s must be a path shorter than %d bytes", key, PATH_MAX);
        return false;
    }
    memcpy(out, path, (size_t)size + 1);
    return true;
}

/* --- Maps ------------------------------------------------------------------- */

struct key_reader {
    const char *name;
    /* NULL for what is not supported yet. */
    void (*read)(struct config_reading *reading, const char *key, const struct node *value);
};

void config_unknown_key(struct config_reading *reading, const struct node *key,
                        struct nearest *nearest, const char *of)
{
    if (nearest->best != NULL) {
        FAULT(reading, key, "\"%.63s\" is no key of %s; did you mean \"%s\"?", key->text, of,
              nearest->best);
    } else {
        FAULT(reading, key, "\"%.63s\" is no key of %s", key->text, of);
    }
}

static void take_pair(struct config_reading *reading, const struct node *key,
                      const struct node *value, const char *of, const struct key_reader *keys,
                      size_t count)
{
    struct nearest nearest;
    nearest_init(&nearest, key->text, key->size);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key->text, keys[i].name) != 0) {
            nearest_offer(&nearest, keys[i].name);
        } else if (keys[i].read == NULL) {
            FAULT(reading, key, "%s: not supported yet", key->text);
            return;
        } else {
            keys[i].read(reading, keys[i].name, value);
            return;
        }
    }
    config_unknown_key(reading, key, &nearest, of);
}

static void take_map(struct config_reading *reading, const struct node *node, const char *of,
                     const struct key_reader *keys, size_t count)
{
    if (config_is_nil(node)) {
        return;
    }
    if (node->kind != NODE_MAP) {
        FAULT(reading, node, "%s must be a map", of);
        return;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        take_pair(reading, node->items[(size_t)2 * i], node->items[(size_t)2 * i + 1], of, keys,
                  count);
    }
}

/* --- Keys ------------------------------------------------------------------- */

static void take_address(struct config_reading *reading, const struct node *node)
{
    struct config *config = reading->config;
    struct error error = ERROR_INIT;
    if (!config_take_text(reading, "an address of listen", node)) {
        return;
    }
    if (config->listen_count == CONFIG_LISTEN_MAX) {
        FAULT(reading, node, "at most %d addresses are taken", CONFIG_LISTEN_MAX);
        return;
    }
    struct address *address = &config->listen[config->listen_count];
    if (address_parse(address, node->text, node->size, reading->folder, &error) != 0) {
        FAULT(reading, node, "%s", error.message);
        return;
    }
    config->listen_count++;
}

static void read_listen(struct config_reading *reading, const char *key, const struct node *value)
{
    reading->config->listen_is_default = false;
    reading->config->listen_count = 0;
    if (value->kind == NODE_SCALAR) {
        take_address(reading, value);
        return;
    }
    if (value->kind != NODE_LIST || value->count == 0) {
        FAULT(reading, value, "%s must be a list of addresses, such as [unix:relata.sock]", key);
        return;
    }
    for (uint32_t i = 0; i < value->count; i++) {
        take_address(reading, value->items[i]);
    }
}

/* Octal however it is written, as everywhere else with modes of files. */
static void read_socket_mode(struct config_reading *reading, const char *key,
                             const struct node *value)
{
    unsigned mode = 0;
    bool valid = value->kind == NODE_SCALAR && value->size > 0 && value->size <= 6;
    const char *at = valid && strncmp(value->text, "0o", 2) == 0 ? value->text + 2 : value->text;
    valid = valid && *at != '\0';
    for (; valid && *at != '\0'; at++) {
        valid = *at >= '0' && *at <= '7';
        mode = mode * 8 + (unsigned)(*at - '0');
    }
    if (!valid || mode > 0777) {
        FAULT(reading, value, "%s must be the mode of a file in octal, such as 0660", key);
        return;
    }
    reading->config->socket_mode = mode;
}

static void read_schema(struct config_reading *reading, const char *key, const struct node *value)
{
    (void)config_take_path(reading, key, value, reading->config->schema);
}

static void read_timeout(struct config_reading *reading, const char *key, const struct node *value)
{
    config_take_duration(reading, key, value, &reading->config->timeout_us);
}

static void read_client_stall(struct config_reading *reading, const char *key,
                              const struct node *value)
{
    config_take_duration(reading, key, value, &reading->config->client_stall_us);
}

static void read_shutdown(struct config_reading *reading, const char *key, const struct node *value)
{
    config_take_duration(reading, key, value, &reading->config->shutdown_us);
}

static void read_level(struct config_reading *reading, const char *key, const struct node *value)
{
    if (value->kind != NODE_SCALAR ||
        !log_level_parse(value->text, value->size, &reading->config->log_level)) {
        FAULT(reading, value, "%s must be debug, info, warning or error", key);
    }
}

static void read_format(struct config_reading *reading, const char *key, const struct node *value)
{
    if (value->kind != NODE_SCALAR ||
        !log_format_parse(value->text, value->size, &reading->config->log_format)) {
        FAULT(reading, value, "%s must be logfmt or json", key);
    }
}

static void read_log(struct config_reading *reading, const char *key, const struct node *value)
{
    static const struct key_reader keys[] = {{"level", read_level}, {"format", read_format}};
    take_map(reading, value, key, keys, ARRAY_COUNT(keys));
}

/* What a limit may be set to. Most may be anything; some have to fit the types
 * that carry them. */
struct limit_range {
    const char *name;
    uint64_t least;
    uint64_t most;
};

static struct limit_range range_of(const char *name)
{
    static const struct limit_range ranges[] = {
        {"frame_bytes", 1024, 1 << 30},
        {"answer_bytes", 1024, 1 << 30},
        {"provider_answer_bytes", 1024, 1 << 30},
        {"nesting", 4, FRAME_LEVELS_MAX},
        {"load_depth", 1, 32},
        {"keys_per_call", 1, 10000000},
        {"records_per_write", 1, 1000000},
        {"filter_bytes", 16, 1 << 20},
        {"filter_nodes", 1, 100000},
        {"filter_levels", 1, 200},
        {"work_bytes", 1 << 20, UINT64_C(1) << 40},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        if (strcmp(ranges[i].name, name) == 0) {
            return ranges[i];
        }
    }
    return (struct limit_range){name, 1, UINT64_C(1) << 40};
}

static uint64_t *limit_called(struct limits *limits, const char *name)
{
#define X(limit, value, meaning)     \
    if (strcmp(name, #limit) == 0) { \
        return &limits->limit;       \
    }
    RELATA_LIMITS(X)
#undef X
    return NULL;
}

static void read_limit(struct config_reading *reading, const char *key, const struct node *value)
{
    uint64_t came;
    struct limit_range range = range_of(key);
    bool in_bytes = strlen(key) > 6 && strcmp(key + strlen(key) - 6, "_bytes") == 0;
    if (!scalar_size(value, &came) || came < range.least || came > range.most) {
        FAULT(reading, value, "%s must be %s from %llu to %llu%s", key,
              in_bytes ? "a size" : "an integer", (unsigned long long)range.least,
              (unsigned long long)range.most, in_bytes ? ", such as 16MiB" : "");
        return;
    }
    uint64_t *limit = limit_called(&reading->config->limits, key);
    CHECK(limit != NULL);
    *limit = came;
}

static void read_limits(struct config_reading *reading, const char *key, const struct node *value)
{
    static const struct key_reader keys[] = {
#define X(limit, value, meaning) {#limit, read_limit},
        RELATA_LIMITS(X)
#undef X
    };
    take_map(reading, value, key, keys, ARRAY_COUNT(keys));
}

static const struct key_reader config_keys[] = {
    {"listen", read_listen},
    {"socket_mode", read_socket_mode},
    {"schema", read_schema},
    {"limits", read_limits},
    {"timeout", read_timeout},
    {"client_stall_timeout", read_client_stall},
    {"shutdown_timeout", read_shutdown},
    {"log", read_log},
    {"redis", config_read_redis},
    {"auth", NULL},
};

/* --- The whole -------------------------------------------------------------- */

void config_defaults(struct config *config)
{
    *config = (struct config){
        .listen_count = 1,
        .listen_is_default = true,
        .socket_mode = 0660,
        .limits = LIMITS_DEFAULT,
        .timeout_us = UINT64_C(30000000),
        .client_stall_us = UINT64_C(30000000),
        .shutdown_us = UINT64_C(10000000),
        .log_level = LOG_INFO,
        .log_format = LOG_LOGFMT,
    };
    static const char path[] = "unix:/run/relata/relata.sock";
    CHECK(address_parse(&config->listen[0], path, strlen(path), NULL, NULL) == 0);
}

/* Nothing but comments: all defaults. */
static bool says_nothing(const char *text, size_t size)
{
    bool comment = false;
    for (size_t i = 0; i < size; i++) {
        comment = text[i] == '#' || (comment && text[i] != '\n');
        if (!comment && strchr(" \t\r\n", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

int config_read(struct config *config, const char *name, const char *text, size_t size,
                struct buffer *faults)
{
    struct arena arena;
    struct config_reading reading = {.config = config};
    if (says_nothing(text, size)) {
        return 0;
    }
    arena_init(&arena, CONFIG_ARENA_MAX);
    reading.faults.arena = &arena;
    const char *slash = strrchr(name, '/');
    size_t folder_size = slash == NULL ? 0 : slash == name ? 1 : (size_t)(slash - name);
    CHECK(folder_size < sizeof(reading.folder));
    memcpy(reading.folder, name, folder_size);

    const struct node *root = document_read(text, size, &arena, &reading.faults);
    if (root != NULL) {
        take_map(&reading, root, "the configuration", config_keys, ARRAY_COUNT(config_keys));
    }
    bool failed = reading.faults.total > 0 || root == NULL;
    faults_print(&reading.faults, name, faults);
    if (arena.failed) {
        buffer_printf(faults, "%s:1:1: there is no memory to read it\n", name);
        failed = true;
    }
    arena_release(&arena);
    return failed ? -(int)CODE_INVALID_REQUEST : 0;
}

int config_read_file(const char *path, struct buffer *text)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return -errno;
    }
    ssize_t size = 0;
    do {
        text->size += (size_t)size;
        if (text->size > CONFIG_BYTES_MAX || !buffer_reserve(text, 4096)) {
            size = -1;
            errno = EFBIG;
            break;
        }
        size = read(descriptor, text->bytes + text->size, text->capacity - text->size);
    } while (size > 0);
    int status = size < 0 ? -errno : 0;
    close(descriptor);
    return status;
}

static void take_file(struct config *config, const struct argument *option, struct buffer *faults)
{
    struct buffer text = BUFFER_INIT;
    int status =
        strlen(option->text) < PATH_MAX ? config_read_file(option->text, &text) : -ENAMETOOLONG;
    if (status != 0) {
        buffer_printf(faults, "%s: cannot read %s: %s\n", option->from, option->text,
                      strerror(-status));
    } else {
        (void)config_read(config, option->text, (const char *)text.bytes, text.size, faults);
    }
    buffer_release(&text);
}

static void take_listen(struct config *config, const struct arguments *arguments,
                        struct buffer *faults)
{
    if (arguments->listen_count == 0) {
        return;
    }
    config->listen_count = 0;
    config->listen_is_default = false;
    for (size_t i = 0; i < arguments->listen_count; i++) {
        struct error error = ERROR_INIT;
        struct address *address = &config->listen[config->listen_count++];
        if (address_parse(address, arguments->listen[i].text, arguments->listen_sizes[i], NULL,
                          &error) != 0) {
            buffer_printf(faults, "%s: %s\n", arguments->listen[i].from, error.message);
        }
    }
}
static_assert((int)ARGUMENTS_LISTEN_MAX <= (int)CONFIG_LISTEN_MAX,
              "what the arguments name has room");

static void take_arguments(struct config *config, const struct arguments *arguments,
                           struct buffer *faults)
{
    const struct argument *level = &arguments->log_level;
    const struct argument *format = &arguments->log_format;
    const struct argument *schema = &arguments->schema;
    if (level->text != NULL &&
        !log_level_parse(level->text, strlen(level->text), &config->log_level)) {
        buffer_printf(faults, "%s: must be debug, info, warning or error, not \"%s\"\n",
                      level->from, level->text);
    }
    if (format->text != NULL &&
        !log_format_parse(format->text, strlen(format->text), &config->log_format)) {
        buffer_printf(faults, "%s: must be logfmt or json, not \"%s\"\n", format->from,
                      format->text);
    }
    if (schema->text != NULL) {
        int size = snprintf(config->schema, PATH_MAX, "%s", schema->text);
        if (size >= PATH_MAX) {
            buffer_printf(faults, "%s: the path is too long\n", schema->from);
        }
    }
    take_listen(config, arguments, faults);
}

int config_load(struct config *config, const struct arguments *arguments, struct buffer *faults)
{
    size_t before = faults->size;
    config_defaults(config);
    if (arguments->config.text != NULL) {
        take_file(config, &arguments->config, faults);
    }
    take_arguments(config, arguments, faults);
    if (config->schema[0] == '\0' && faults->size == before) {
        buffer_printf(faults, "there is no schema: name one with --schema FILE, RELATA_SCHEMA, or "
                              "`schema:` in the configuration\n");
    }
    return faults->size > before || faults->failed ? -(int)CODE_INVALID_REQUEST : 0;
}
