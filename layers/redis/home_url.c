#include "layers/redis/home_url.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

enum { PORT_DEFAULT = 6379, UNIX_PATH_BYTES_MAX = 107, DATABASE_MAX = INT32_MAX };

#define EXAMPLE "redis://127.0.0.1:6379"

/* A piece of the URL. */
struct piece {
    const char *at;
    size_t size;
};

/* ---- Pieces ---- */

static struct piece piece_of(const char *begin, const char *end)
{
    return (struct piece){.at = begin, .size = (size_t)(end - begin)};
}

static const char *end_of(struct piece piece)
{
    return piece.at + piece.size;
}

static const char *find(struct piece piece, char byte)
{
    return piece.size > 0 ? memchr(piece.at, byte, piece.size) : NULL;
}

static const char *find_last(struct piece piece, char byte)
{
    for (const char *at = end_of(piece); at > piece.at; at--) {
        if (at[-1] == byte) {
            return at - 1;
        }
    }
    return NULL;
}

/* Takes the text off the front where it stands there. */
static bool take(struct piece *piece, const char *text)
{
    size_t size = strlen(text);
    if (piece->size < size || memcmp(piece->at, text, size) != 0) {
        return false;
    }
    piece->at += size;
    piece->size -= size;
    return true;
}

/* False where it is no number up to `most`. */
static bool take_number(struct piece piece, uint32_t most, uint32_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < piece.size; i++) {
        if (piece.at[i] < '0' || piece.at[i] > '9' || number > most) {
            return false;
        }
        number = number * 10 + (uint64_t)(piece.at[i] - '0');
    }
    *out = (uint32_t)number;
    return piece.size > 0 && number <= most;
}

/* ---- Percent-encoding ---- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `what` names it: "password". */
static int decode(struct piece piece, const char *what, char *out, size_t most, struct error *error)
{
    size_t size = 0;
    for (size_t i = 0; i < piece.size; i++) {
        char byte = piece.at[i];
        if (byte == '%') {
            int high = i + 1 < piece.size ? digit_of(piece.at[i + 1]) : -1;
            int low = i + 2 < piece.size ? digit_of(piece.at[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return error_set(error, CODE_INVALID_VALUE,
                                 "in its %s a %% is not followed by two hexadecimal digits: write "
                                 "%%25 for a %%",
                                 what);
            }
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (byte == '\0') {
            return error_set(error, CODE_INVALID_VALUE, "its %s may not have a zero byte", what);
        }
        if (size + 1 >= most) {
            return error_set(error, CODE_INVALID_VALUE, "its %s has more than %zu bytes", what,
                             most - 1);
        }
        out[size++] = byte;
    }
    out[size] = '\0';
    return 0;
}

/* ---- Parts ---- */

/* `user`, `user:password`, `:password`, and the @ behind it, off the front. */
static int take_user(struct home_options *out, struct piece *authority, struct error *error)
{
    const char *at = find_last(*authority, '@');
    if (at == NULL) {
        return 0;
    }
    struct piece user = piece_of(authority->at, at);
    *authority = piece_of(at + 1, end_of(*authority));
    const char *colon = find(user, ':');
    struct piece password = {0};
    if (colon != NULL) {
        password = piece_of(colon + 1, end_of(user));
        user = piece_of(user.at, colon);
    }
    int status = decode(user, "user", out->user, sizeof(out->user), error);
    return status == 0 ? decode(password, "password", out->password, sizeof(out->password), error)
                       : status;
}

static int take_port(struct home_options *out, struct piece port, struct error *error)
{
    uint32_t number;
    if (!take_number(port, UINT16_MAX, &number) || number == 0) {
        return error_set(error, CODE_INVALID_VALUE,
                         "its port must be a number from 1 to 65535 (in a user or password, write "
                         "/ as %%2F, ? as %%3F, # as %%23)");
    }
    out->port = (uint16_t)number;
    return 0;
}

static bool is_host_name(struct piece host)
{
    for (size_t i = 0; i < host.size; i++) {
        char c = host.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_') {
            return false;
        }
    }
    return host.size > 0;
}

/* `[::1]`, the brackets off. */
static int take_bracketed(struct home_options *out, struct piece *rest, struct error *error)
{
    struct in6_addr address;
    const char *end = find(*rest, ']');
    struct piece host = end != NULL ? piece_of(rest->at + 1, end) : (struct piece){0};
    if (end != NULL && host.size < INET6_ADDRSTRLEN && find(host, '\0') == NULL) {
        memcpy(out->host, host.at, host.size);
        out->host[host.size] = '\0';
        if (inet_pton(AF_INET6, out->host, &address) == 1) {
            *rest = piece_of(end + 1, end_of(*rest));
            return 0;
        }
    }
    return error_set(error, CODE_INVALID_VALUE,
                     "in its brackets must stand an IPv6 address, such as [::1]");
}

static int take_host(struct home_options *out, struct piece rest, struct error *error)
{
    out->port = PORT_DEFAULT;
    if (rest.size > 0 && rest.at[0] == '[') {
        int status = take_bracketed(out, &rest, error);
        if (status != 0 || rest.size == 0) {
            return status;
        }
        if (!take(&rest, ":")) {
            return error_set(
                error, CODE_INVALID_VALUE,
                "behind the brackets of its host may only stand a port, such as :6379");
        }
        return take_port(out, rest, error);
    }
    const char *colon = find(rest, ':');
    struct piece host = colon != NULL ? piece_of(rest.at, colon) : rest;
    if (host.size == 0) {
        return error_set(error, CODE_INVALID_VALUE, "it has no host: write " EXAMPLE);
    }
    if (!is_host_name(host)) {
        return error_set(
            error, CODE_INVALID_VALUE,
            "its host must be a name, an IPv4 address, or an IPv6 address in brackets");
    }
    if (host.size >= sizeof(out->host)) {
        return error_set(error, CODE_INVALID_VALUE, "its host has more than %d bytes",
                         HOME_HOST_MAX - 1);
    }
    memcpy(out->host, host.at, host.size);
    out->host[host.size] = '\0';
    return colon != NULL ? take_port(out, piece_of(colon + 1, end_of(rest)), error) : 0;
}

static int take_database(struct home_options *out, struct piece piece, struct error *error)
{
    if (!take_number(piece, DATABASE_MAX, &out->database)) {
        return error_set(error, CODE_INVALID_VALUE, "its database must be a number from 0");
    }
    return 0;
}

/* ---- Forms ---- */

static int read_tcp(struct home_options *out, struct piece rest, struct error *error)
{
    size_t size = 0;
    while (size < rest.size && strchr("/?#", rest.at[size]) == NULL) {
        size++;
    }
    struct piece authority = {.at = rest.at, .size = size};
    struct piece behind = piece_of(rest.at + size, end_of(rest));
    if (find(behind, '@') != NULL) {
        return error_set(
            error, CODE_INVALID_VALUE,
            "it has an @ behind its first /, ? or #: in a user or password, write / as "
            "%%2F, ? as %%3F, # as %%23");
    }
    int status = take_user(out, &authority, error);
    if (status == 0) {
        status = take_host(out, authority, error);
    }
    if (status != 0 || behind.size == 0 || (behind.size == 1 && behind.at[0] == '/')) {
        return status;
    }
    if (find(behind, '?') != NULL || find(behind, '#') != NULL) {
        return error_set(error, CODE_INVALID_VALUE,
                         "it has no options behind a ? or #: cluster and timeout stand beside it, "
                         "the database behind a /");
    }
    take(&behind, "/");
    return take_database(out, behind, error);
}

static int read_unix(struct home_options *out, struct piece rest, struct error *error)
{
    char path[UNIX_PATH_BYTES_MAX + 1];
    const char *slash = find(rest, '/');
    struct piece authority = piece_of(rest.at, slash != NULL ? slash : end_of(rest));
    struct piece behind = piece_of(end_of(authority), end_of(rest));
    const char *query = find(behind, '?');
    int status = take_user(out, &authority, error);
    if (status != 0) {
        return status;
    }
    if (authority.size > 0 || behind.size < 2) {
        return error_set(error, CODE_INVALID_VALUE,
                         "behind unix:// must stand the whole path of a socket, such as "
                         "unix:///run/redis/redis.sock");
    }
    status = decode(piece_of(behind.at, query != NULL ? query : end_of(behind)), "path", path,
                    sizeof(path), error);
    if (status != 0) {
        return status;
    }
    out->is_unix = true;
    memcpy(out->host, path, strlen(path) + 1);
    if (query == NULL) {
        return 0;
    }
    struct piece option = piece_of(query + 1, end_of(behind));
    if (!take(&option, "db=")) {
        return error_set(error, CODE_INVALID_VALUE,
                         "behind the ? may only stand the database, such as ?db=0");
    }
    return take_database(out, option, error);
}

int home_url_read(struct home_options *out, const char *text, size_t size, struct error *error)
{
    struct piece rest = {.at = text, .size = size};
    out->is_unix = false;
    out->host[0] = out->user[0] = out->password[0] = '\0';
    out->port = 0;
    out->database = 0;
    if (take(&rest, "redis://")) {
        return read_tcp(out, rest, error);
    }
    if (take(&rest, "unix://") || take(&rest, "redis+unix://")) {
        return read_unix(out, rest, error);
    }
    if (take(&rest, "rediss://")) {
        return error_set(
            error, CODE_INVALID_VALUE,
            "rediss:// means TLS, which is not spoken here: run a proxy that speaks it "
            "on this host, and name that one, such as " EXAMPLE);
    }
    return error_set(error, CODE_INVALID_VALUE,
                     "it must begin with redis:// or unix://, such as " EXAMPLE);
}
