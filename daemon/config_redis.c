#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config_inner.h"
#include "layers/redis/home_url.h"
#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/name.h"

/* Where each Redis is that the schema names. A URL may hold a password: nothing
 * that might be one is repeated in a fault, wherever it was put by mistake. */

enum { URL_BYTES_MAX = 4096, VARIABLE_BYTES_MAX = 255, OF_MAX = HOME_NAME_MAX + 16 };

enum home_key { KEY_URL, KEY_URL_ENV, KEY_URL_FILE, KEY_CLUSTER, KEY_TIMEOUT, HOME_KEYS_COUNT };

static const char *const home_keys[HOME_KEYS_COUNT] = {[KEY_URL] = "url",
                                                       [KEY_URL_ENV] = "url_env",
                                                       [KEY_URL_FILE] = "url_file",
                                                       [KEY_CLUSTER] = "cluster",
                                                       [KEY_TIMEOUT] = "timeout"};

static const uint64_t timeout_default_us = 1000000;

/* --- URLs ------------------------------------------------------------------- */

/* `subject` says whose URL it is. */
static bool read_url(struct config_reading *reading, const struct node *node, const char *subject,
                     const char *url, struct home_options *home)
{
    struct error error = ERROR_INIT;
    if (home_url_read(home, url, strlen(url), &error) != 0) {
        FAULT(reading, node, "%s is no URL of a Redis: %s", subject, error.message);
        return false;
    }
    return true;
}

static bool is_variable(const struct node *node)
{
    if (node->kind != NODE_SCALAR || node->size == 0 || node->size > VARIABLE_BYTES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < node->size; i++) {
        char c = node->text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(c >= '0' && c <= '9' && i > 0)) {
            return false;
        }
    }
    return true;
}

static bool read_url_env(struct config_reading *reading, const struct node *node,
                         struct home_options *home)
{
    char subject[VARIABLE_BYTES_MAX + 40];
    if (!is_variable(node)) {
        FAULT(reading, node,
              "url_env must be the name of an environment variable, such as REDIS_URL");
        return false;
    }
    const char *url = getenv(node->text);
    if (url == NULL || url[0] == '\0') {
        FAULT(reading, node, "url_env: the environment variable %s is not set", node->text);
        return false;
    }
    snprintf(subject, sizeof(subject), "url_env: what %s holds", node->text);
    return read_url(reading, node, subject, url, home);
}

/* Without the white space around it; NULL where it is no text of that size. */
static const char *trim(struct buffer *text)
{
    while (text->size > 0 && strchr(" \t\r\n", text->bytes[text->size - 1]) != NULL) {
        text->size--;
    }
    buffer_byte(text, '\0');
    if (text->failed || text->size > URL_BYTES_MAX ||
        strlen((const char *)text->bytes) + 1 != text->size) {
        return NULL;
    }
    const char *begin = (const char *)text->bytes;
    return begin + strspn(begin, " \t\r\n");
}

static bool read_url_file(struct config_reading *reading, const struct node *node,
                          struct home_options *home)
{
    char path[PATH_MAX], subject[PATH_MAX + 40];
    struct buffer text = BUFFER_INIT;
    if (node->kind != NODE_SCALAR || strstr(node->text, "://") != NULL) {
        FAULT(reading, node, "url_file must be the path of a file that holds the URL");
        return false;
    }
    if (!config_take_path(reading, "url_file", node, path)) {
        return false;
    }
    bool sound = false;
    int status = config_read_file(path, &text);
    const char *url = status == 0 ? trim(&text) : NULL;
    if (status != 0) {
        FAULT(reading, node, "url_file: cannot read %s: %s", path, strerror(-status));
    } else if (url == NULL) {
        FAULT(reading, node, "url_file: %s holds more than a URL of at most %d bytes", path,
              URL_BYTES_MAX - 1);
    } else {
        snprintf(subject, sizeof(subject), "url_file: what %s holds", path);
        sound = read_url(reading, node, subject, url, home);
    }
    buffer_release(&text);
    return sound;
}

/* Exactly one of the three. */
static bool take_url(struct config_reading *reading, const struct node *node, const char *of,
                     const struct node *const *values, struct home_options *home)
{
    int given =
        (values[KEY_URL] != NULL) + (values[KEY_URL_ENV] != NULL) + (values[KEY_URL_FILE] != NULL);
    if (given != 1) {
        FAULT(reading, node, "%s needs %s of url, url_env and url_file", of,
              given == 0 ? "one" : "only one");
        return false;
    }
    if (values[KEY_URL_ENV] != NULL) {
        return read_url_env(reading, values[KEY_URL_ENV], home);
    }
    if (values[KEY_URL_FILE] != NULL) {
        return read_url_file(reading, values[KEY_URL_FILE], home);
    }
    return config_take_text(reading, "url", values[KEY_URL]) &&
           read_url(reading, values[KEY_URL], "url", values[KEY_URL]->text, home);
}

/* --- A Redis ---------------------------------------------------------------- */

/* False (told) where there is no such key. */
static bool take_key(struct config_reading *reading, const struct node *key,
                     const struct node *value, const char *of, const struct node **values)
{
    struct nearest nearest;
    nearest_init(&nearest, key->text, key->size);
    for (int i = 0; i < HOME_KEYS_COUNT; i++) {
        if (strcmp(key->text, home_keys[i]) == 0) {
            values[i] = value;
            return true;
        }
        nearest_offer(&nearest, home_keys[i]);
    }
    if (name_valid(key->text, key->size)) {
        config_unknown_key(reading, key, &nearest, of);
    } else {
        FAULT(reading, key, "%s has the keys url, url_env, url_file, cluster and timeout only", of);
    }
    return false;
}

static void take_cluster(struct config_reading *reading, const struct node *node,
                         struct home_options *home)
{
    char came[CONFIG_CAME_MAX];
    if (node->kind != NODE_SCALAR || scalar_resolve(node).kind != SCALAR_BOOLEAN) {
        FAULT(reading, node, "cluster must be true or false, got %s", config_describe(node, came));
        return;
    }
    home->cluster = scalar_resolve(node).boolean;
}

static void read_home(struct config_reading *reading, const struct node *node,
                      struct home_options *home)
{
    const struct node *values[HOME_KEYS_COUNT] = {NULL};
    char of[OF_MAX];
    snprintf(of, sizeof(of), "redis.%s", home->name);
    if (node->kind != NODE_MAP) {
        FAULT(reading, node, "%s must be a map, such as {url: redis://127.0.0.1:6379}", of);
        return;
    }
    bool known = true;
    for (uint32_t i = 0; i < node->count; i++) {
        known = take_key(reading, node->items[(size_t)2 * i], node->items[(size_t)2 * i + 1], of,
                         values) &&
                known;
    }
    if (values[KEY_CLUSTER] != NULL) {
        take_cluster(reading, values[KEY_CLUSTER], home);
    }
    if (values[KEY_TIMEOUT] != NULL) {
        config_take_duration(reading, "timeout", values[KEY_TIMEOUT], &home->timeout_us);
    }
    /* A key that is misspelt may have been the URL. */
    bool sound = known && take_url(reading, node, of, values, home);
    if (sound && values[KEY_CLUSTER] != NULL && home->cluster && home->database != 0) {
        FAULT(reading, values[KEY_CLUSTER],
              "with cluster: true the database of the URL must be 0, since a Cluster has no other");
    }
}

/* --- All of them ------------------------------------------------------------ */

void config_read_redis(struct config_reading *reading, const char *key, const struct node *value)
{
    struct config *config = reading->config;
    config->home_count = 0;
    if (config_is_nil(value)) {
        return;
    }
    if (value->kind != NODE_MAP) {
        FAULT(reading, value,
              "%s must be a map of names, such as {main: {url: redis://127.0.0.1:6379}}", key);
        return;
    }
    if (value->count > HOMES_MAX) {
        FAULT(reading, value, "%s must have at most %d names, this has %u", key, HOMES_MAX,
              value->count);
        return;
    }
    for (uint32_t i = 0; i < value->count; i++) {
        const struct node *name = value->items[(size_t)2 * i];
        if (!name_valid(name->text, name->size)) {
            FAULT(reading, name,
                  "a name under %s must be letters, digits and _, at most %d bytes, with no digit "
                  "at its begin, and no word such as and, or, not, in, true, false",
                  key, NAME_MAX_BYTES);
            continue;
        }
        struct home_options *home = &config->homes[config->home_count++];
        *home = (struct home_options){.timeout_us = timeout_default_us};
        memcpy(home->name, name->text, (size_t)name->size + 1);
        read_home(reading, value->items[(size_t)2 * i + 1], home);
    }
}
static_assert((int)NAME_MAX_BYTES < (int)HOME_NAME_MAX, "a name has room");
