#include "layers/redis/slots.h"

#include <string.h>

#include "protocol/base/check.h"

/* ---- Slots of keys ---- */

/* Polynomial 0x1021, from 0, nothing reflected: what Redis calls CRC16. */
static const uint16_t crc_table[256] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
    0xc18c, 0xd1ad, 0xe1ce, 0xf1ef, 0x1231, 0x0210, 0x3273, 0x2252, 0x52b5, 0x4294, 0x72f7, 0x62d6,
    0x9339, 0x8318, 0xb37b, 0xa35a, 0xd3bd, 0xc39c, 0xf3ff, 0xe3de, 0x2462, 0x3443, 0x0420, 0x1401,
    0x64e6, 0x74c7, 0x44a4, 0x5485, 0xa56a, 0xb54b, 0x8528, 0x9509, 0xe5ee, 0xf5cf, 0xc5ac, 0xd58d,
    0x3653, 0x2672, 0x1611, 0x0630, 0x76d7, 0x66f6, 0x5695, 0x46b4, 0xb75b, 0xa77a, 0x9719, 0x8738,
    0xf7df, 0xe7fe, 0xd79d, 0xc7bc, 0x48c4, 0x58e5, 0x6886, 0x78a7, 0x0840, 0x1861, 0x2802, 0x3823,
    0xc9cc, 0xd9ed, 0xe98e, 0xf9af, 0x8948, 0x9969, 0xa90a, 0xb92b, 0x5af5, 0x4ad4, 0x7ab7, 0x6a96,
    0x1a71, 0x0a50, 0x3a33, 0x2a12, 0xdbfd, 0xcbdc, 0xfbbf, 0xeb9e, 0x9b79, 0x8b58, 0xbb3b, 0xab1a,
    0x6ca6, 0x7c87, 0x4ce4, 0x5cc5, 0x2c22, 0x3c03, 0x0c60, 0x1c41, 0xedae, 0xfd8f, 0xcdec, 0xddcd,
    0xad2a, 0xbd0b, 0x8d68, 0x9d49, 0x7e97, 0x6eb6, 0x5ed5, 0x4ef4, 0x3e13, 0x2e32, 0x1e51, 0x0e70,
    0xff9f, 0xefbe, 0xdfdd, 0xcffc, 0xbf1b, 0xaf3a, 0x9f59, 0x8f78, 0x9188, 0x81a9, 0xb1ca, 0xa1eb,
    0xd10c, 0xc12d, 0xf14e, 0xe16f, 0x1080, 0x00a1, 0x30c2, 0x20e3, 0x5004, 0x4025, 0x7046, 0x6067,
    0x83b9, 0x9398, 0xa3fb, 0xb3da, 0xc33d, 0xd31c, 0xe37f, 0xf35e, 0x02b1, 0x1290, 0x22f3, 0x32d2,
    0x4235, 0x5214, 0x6277, 0x7256, 0xb5ea, 0xa5cb, 0x95a8, 0x8589, 0xf56e, 0xe54f, 0xd52c, 0xc50d,
    0x34e2, 0x24c3, 0x14a0, 0x0481, 0x7466, 0x6447, 0x5424, 0x4405, 0xa7db, 0xb7fa, 0x8799, 0x97b8,
    0xe75f, 0xf77e, 0xc71d, 0xd73c, 0x26d3, 0x36f2, 0x0691, 0x16b0, 0x6657, 0x7676, 0x4615, 0x5634,
    0xd94c, 0xc96d, 0xf90e, 0xe92f, 0x99c8, 0x89e9, 0xb98a, 0xa9ab, 0x5844, 0x4865, 0x7806, 0x6827,
    0x18c0, 0x08e1, 0x3882, 0x28a3, 0xcb7d, 0xdb5c, 0xeb3f, 0xfb1e, 0x8bf9, 0x9bd8, 0xabbb, 0xbb9a,
    0x4a75, 0x5a54, 0x6a37, 0x7a16, 0x0af1, 0x1ad0, 0x2ab3, 0x3a92, 0xfd2e, 0xed0f, 0xdd6c, 0xcd4d,
    0xbdaa, 0xad8b, 0x9de8, 0x8dc9, 0x7c26, 0x6c07, 0x5c64, 0x4c45, 0x3ca2, 0x2c83, 0x1ce0, 0x0cc1,
    0xef1f, 0xff3e, 0xcf5d, 0xdf7c, 0xaf9b, 0xbfba, 0x8fd9, 0x9ff8, 0x6e17, 0x7e36, 0x4e55, 0x5e74,
    0x2e93, 0x3eb2, 0x0ed1, 0x1ef0,
};

static uint16_t crc16(const uint8_t *bytes, size_t size)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc = (uint16_t)(crc << 8) ^ crc_table[(crc >> 8) ^ bytes[i]];
    }
    return crc;
}

uint16_t slot_of_key(const void *key, size_t size)
{
    const uint8_t *bytes = key;
    const uint8_t *open = size > 0 ? memchr(bytes, '{', size) : NULL;
    if (open != NULL) {
        const uint8_t *tag = open + 1;
        const uint8_t *close = memchr(tag, '}', size - (size_t)(tag - bytes));
        if (close != NULL && close > tag) {
            return crc16(tag, (size_t)(close - tag)) % SLOTS_COUNT;
        }
    }
    return crc16(bytes, size) % SLOTS_COUNT;
}

/* ---- Nodes ---- */

/* Takes a host as a node told it; an IPv6 address may stand in brackets. False
 * where it is too long, or holds what no host does. */
static bool host_take(char out[SLOTS_HOST_MAX], const uint8_t *text, size_t size)
{
    if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
        text++;
        size -= 2;
    }
    if (size >= SLOTS_HOST_MAX) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] == 0x7f || text[i] == '[' || text[i] == ']') {
            return false;
        }
        out[i] = (char)text[i];
    }
    out[size] = '\0';
    return true;
}

static bool node_same(const struct slots_node *a, const struct slots_node *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* What a node says of one whose host it was not told. */
static bool is_unknown(const struct slots_node *node)
{
    return strcmp(node->host, "?") == 0;
}

/* ---- CLUSTER SLOTS ---- */

static int unexpected(struct error *error, const char *what, const struct resp_token *token)
{
    return error_set(error, CODE_UNAVAILABLE, "CLUSTER SLOTS was answered with %s as %s",
                     resp_describe(token), what);
}

/* An integer from `least` to `most`. */
static int number_read(struct resp_reader *reply, const char *what, int64_t least, int64_t most,
                       int64_t *out, struct error *error)
{
    struct resp_token token = resp_next(reply);
    if (token.kind != RESP_INTEGER) {
        return unexpected(error, what, &token);
    }
    if (token.integer < least || token.integer > most) {
        return error_set(error, CODE_UNAVAILABLE, "CLUSTER SLOTS was answered with %lld as %s",
                         (long long)token.integer, what);
    }
    *out = token.integer;
    return 0;
}

/* Reads a node, and passes over what else is said of it. */
static int node_read(struct slots_node *out, struct resp_reader *reply, const char *asked,
                     struct error *error)
{
    struct resp_token node = resp_next(reply);
    if (node.kind != RESP_ARRAY || node.count < 2) {
        return unexpected(error, "a node", &node);
    }
    struct resp_token host = resp_next(reply);
    if (host.kind != RESP_TEXT && host.kind != RESP_NIL) {
        return unexpected(error, "a node's host", &host);
    }
    bool told = host.kind == RESP_TEXT && host.size > 0;
    const uint8_t *text = told ? host.bytes : (const uint8_t *)asked;
    if (!host_take(out->host, text, told ? host.size : strlen(asked))) {
        return unexpected(error, "a node's host", &host);
    }
    int64_t port = 0;
    int status = number_read(reply, "a node's port", 1, UINT16_MAX, &port, error);
    if (status < 0) {
        return status;
    }
    out->port = (uint16_t)port;
    for (uint64_t i = 2; i < node.count; i++) {
        resp_skip(reply);
    }
    return 0;
}

/* Finds a node among those that were told, or adds it. */
static int node_place(struct slots *slots, const struct slots_node *node, uint16_t *out,
                      struct error *error)
{
    for (uint16_t i = 0; i < slots->node_count; i++) {
        if (node_same(&slots->nodes[i], node)) {
            *out = i;
            return 0;
        }
    }
    if (slots->node_count == SLOTS_NODES_MAX) {
        return error_set(error, CODE_UNAVAILABLE, "CLUSTER SLOTS tells of more than %d masters",
                         SLOTS_NODES_MAX);
    }
    slots->nodes[slots->node_count] = *node;
    *out = slots->node_count++;
    return 0;
}

/* A row is the first and the last slot, their master, its replicas. */
static int row_read(struct slots *slots, struct resp_reader *reply, const char *asked,
                    struct error *error)
{
    struct resp_token row = resp_next(reply);
    if (row.kind != RESP_ARRAY || row.count < 3) {
        return unexpected(error, "a row", &row);
    }
    int64_t first = 0;
    int64_t last = 0;
    struct slots_node node = {0};
    int status = number_read(reply, "a first slot", 0, SLOTS_COUNT - 1, &first, error);
    if (status == 0) {
        status = number_read(reply, "a last slot", first, SLOTS_COUNT - 1, &last, error);
    }
    if (status == 0) {
        status = node_read(&node, reply, asked, error);
    }
    /* Slots whose master cannot be named have none. */
    uint16_t owner = SLOTS_NO_NODE;
    if (status == 0 && !is_unknown(&node)) {
        status = node_place(slots, &node, &owner, error);
    }
    if (status < 0) {
        return status;
    }
    for (int64_t slot = first; slot <= last && owner != SLOTS_NO_NODE; slot++) {
        /* Also, rows that overlap would make for work without end. */
        if (slots->owner[slot] != SLOTS_NO_NODE) {
            return error_set(error, CODE_UNAVAILABLE, "CLUSTER SLOTS tells slot %d twice",
                             (int)slot);
        }
        slots->owner[slot] = owner;
    }
    for (uint64_t i = 3; i < row.count; i++) {
        resp_skip(reply);
    }
    return 0;
}

int slots_read(struct slots *out, struct resp_reader reply, const char *asked, struct error *error)
{
    struct resp_token rows = resp_next(&reply);
    if (rows.kind != RESP_ARRAY) {
        return unexpected(error, "the map", &rows);
    }
    if (rows.count > SLOTS_COUNT) {
        return error_set(error, CODE_UNAVAILABLE, "CLUSTER SLOTS tells of more than %d rows",
                         SLOTS_COUNT);
    }
    out->node_count = 0;
    for (size_t slot = 0; slot < SLOTS_COUNT; slot++) {
        out->owner[slot] = SLOTS_NO_NODE;
    }
    for (uint64_t i = 0; i < rows.count; i++) {
        int status = row_read(out, &reply, asked, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

bool slots_same(const struct slots *a, const struct slots *b)
{
    /* Nodes may stand in another order: which one of `b` each of `a` is. */
    uint16_t twin[SLOTS_NODES_MAX];
    for (size_t i = 0; i < SLOTS_NODES_MAX; i++) {
        twin[i] = SLOTS_NO_NODE;
    }
    for (size_t slot = 0; slot < SLOTS_COUNT; slot++) {
        uint16_t of_a = a->owner[slot];
        uint16_t of_b = b->owner[slot];
        if (of_a == SLOTS_NO_NODE || of_b == SLOTS_NO_NODE) {
            if (of_a != of_b) {
                return false;
            }
            continue;
        }
        if (twin[of_a] == SLOTS_NO_NODE && node_same(&a->nodes[of_a], &b->nodes[of_b])) {
            twin[of_a] = of_b;
        }
        if (twin[of_a] != of_b) {
            return false;
        }
    }
    return true;
}

/* ---- Redirections ---- */

/* What is left of an error's text. */
struct rest {
    const uint8_t *at;
    size_t size;
};

/* Takes a word and the space behind it off, where the text begins with them. */
static bool word_take(struct rest *rest, const char *word)
{
    size_t size = strlen(word);
    if (rest->size <= size || memcmp(rest->at, word, size) != 0 || rest->at[size] != ' ') {
        return false;
    }
    rest->at += size + 1;
    rest->size -= size + 1;
    return true;
}

/* A number of up to five digits, all of `size` bytes. */
static bool number_is(const uint8_t *text, size_t size, uint32_t most, uint16_t *out)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size && i < 6; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        number = 10 * number + (uint32_t)(text[i] - '0');
    }
    *out = (uint16_t)number;
    return size > 0 && size < 6 && number <= most;
}

/* "3999 127.0.0.1:6381": addresses have colons of their own, so the port is
 * behind the last one. */
static bool target_read(struct redirect *redirect, const struct rest *rest)
{
    const uint8_t *space = memchr(rest->at, ' ', rest->size);
    const uint8_t *colon = memrchr(rest->at, ':', rest->size);
    if (space == NULL || colon == NULL || colon < space) {
        return false;
    }
    const uint8_t *port = colon + 1;
    size_t port_size = rest->size - (size_t)(port - rest->at);
    return number_is(rest->at, (size_t)(space - rest->at), SLOTS_COUNT - 1, &redirect->slot) &&
           number_is(port, port_size, UINT16_MAX, &redirect->node.port) &&
           redirect->node.port > 0 &&
           host_take(redirect->node.host, space + 1, (size_t)(colon - space) - 1) &&
           !is_unknown(&redirect->node);
}

struct redirect redirect_read(const uint8_t *text, size_t size)
{
    static const struct {
        const char *word;
        enum redirect_kind kind;
    } words[] = {{"MOVED", REDIRECT_MOVED}, {"ASK", REDIRECT_ASK}};
    struct rest rest = {.at = text, .size = size};
    if (word_take(&rest, "TRYAGAIN") || (size == 8 && memcmp(text, "TRYAGAIN", 8) == 0)) {
        return (struct redirect){.kind = REDIRECT_AGAIN};
    }
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        struct redirect redirect = {.kind = words[i].kind};
        if (word_take(&rest, words[i].word)) {
            return target_read(&redirect, &rest) ? redirect : (struct redirect){0};
        }
    }
    return (struct redirect){.kind = REDIRECT_NONE};
}
