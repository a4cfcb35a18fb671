#include "daemon/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"

static int parse_unix(struct address *address, const char *path, size_t size, const char *folder,
                      struct error *error)
{
    address->kind = ADDRESS_UNIX;
    if (size == 0) {
        return error_set(error, CODE_INVALID_VALUE, "unix: needs a path behind it, unix:PATH");
    }
    if (memchr(path, '\0', size) != NULL) {
        return error_set(error, CODE_INVALID_VALUE, "the path of a socket has no zero bytes");
    }
    if (path[0] == '/' || folder == NULL) {
        folder = "";
    }
    size_t folder_size = strlen(folder);
    size_t slash = folder_size > 0 && folder[folder_size - 1] != '/' ? 1 : 0;
    size_t whole = folder_size + slash + size;
    if (size >= ADDRESS_PATH_MAX || folder_size >= ADDRESS_PATH_MAX || whole >= ADDRESS_PATH_MAX) {
        return error_set(error, CODE_INVALID_VALUE,
                         "the path of a socket may have %d bytes, this one has %zu",
                         ADDRESS_PATH_MAX - 1, whole);
    }
    memcpy(address->path, folder, folder_size);
    memset(address->path + folder_size, '/', slash);
    memcpy(address->path + folder_size + slash, path, size);
    address->path[whole] = '\0';
    return 0;
}

static int parse_port(struct address *address, const char *text, size_t size, struct error *error)
{
    uint32_t port = 0;
    bool valid = size > 0 && size <= 5;
    for (size_t i = 0; valid && i < size; i++) {
        valid = text[i] >= '0' && text[i] <= '9';
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (!valid || port > UINT16_MAX) {
        return error_set(error, CODE_INVALID_VALUE,
                         "a port is a number from 0 to 65535, not \"%.*s\"",
                         (int)(size < 32 ? size : 32), text);
    }
    address->port = (uint16_t)port;
    return 0;
}

/* Whether it is an address of this host alone. */
static int parse_host(struct address *address, const char *text, size_t size, struct error *error)
{
    struct in_addr four;
    struct in6_addr six;
    int shown = (int)(size < ADDRESS_HOST_MAX ? size : ADDRESS_HOST_MAX);
    if (size == 9 && memcmp(text, "localhost", 9) == 0) {
        strcpy(address->host, "127.0.0.1");
        return 0;
    }
    if (size >= ADDRESS_HOST_MAX) {
        return error_set(error, CODE_INVALID_VALUE, "\"%.*s...\" is no IP address", shown, text);
    }
    memcpy(address->host, text, size);
    address->host[size] = '\0';
    bool loopback;
    if (inet_pton(AF_INET, address->host, &four) == 1) {
        loopback = ntohl(four.s_addr) >> 24 == 127;
    } else if (inet_pton(AF_INET6, address->host, &six) == 1) {
        loopback = memcmp(&six, &in6addr_loopback, sizeof(six)) == 0;
    } else {
        return error_set(error, CODE_INVALID_VALUE,
                         "\"%.*s\" is no IP address; say 127.0.0.1, [::1] or localhost", shown,
                         text);
    }
    if (!loopback) {
        return error_set(error, CODE_INVALID_VALUE,
                         "%s can be reached from other hosts, which needs `auth`, and that is not "
                         "supported yet; say 127.0.0.1 or [::1]",
                         address->host);
    }
    return 0;
}

/* HOST:PORT, where a host with colons stands in brackets. */
static int parse_tcp(struct address *address, const char *text, size_t size, struct error *error)
{
    const char *colon = memrchr(text, ':', size);
    if (colon == NULL) {
        return error_set(error, CODE_INVALID_VALUE, "tcp: needs a host and a port, tcp:HOST:PORT");
    }
    address->kind = ADDRESS_TCP;
    const char *host = text;
    size_t host_size = (size_t)(colon - text);
    if (host_size >= 2 && host[0] == '[' && host[host_size - 1] == ']') {
        host++;
        host_size -= 2;
    } else if (memchr(host, ':', host_size) != NULL) {
        return error_set(error, CODE_INVALID_VALUE,
                         "an IPv6 address stands in brackets, tcp:[::1]:PORT");
    }
    int status = parse_host(address, host, host_size, error);
    return status != 0 ? status
                       : parse_port(address, colon + 1, size - (size_t)(colon + 1 - text), error);
}

int address_parse(struct address *address, const char *text, size_t size, const char *folder,
                  struct error *error)
{
    *address = (struct address){0};
    if (size >= 5 && memcmp(text, "unix:", 5) == 0) {
        return parse_unix(address, text + 5, size - 5, folder, error);
    }
    if (size >= 4 && memcmp(text, "tcp:", 4) == 0) {
        return parse_tcp(address, text + 4, size - 4, error);
    }
    return error_set(error, CODE_INVALID_VALUE,
                     "\"%.*s\" is no address to listen at; say unix:PATH or tcp:HOST:PORT",
                     (int)(size < 64 ? size : 64), text);
}

void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    int size;
    if (address->kind == ADDRESS_UNIX) {
        size = snprintf(out, ADDRESS_TEXT_MAX, "unix:%s", address->path);
    } else if (strchr(address->host, ':') != NULL) {
        size = snprintf(out, ADDRESS_TEXT_MAX, "tcp:[%s]:%u", address->host, address->port);
    } else {
        size = snprintf(out, ADDRESS_TEXT_MAX, "tcp:%s:%u", address->host, address->port);
    }
    CHECK(size > 0 && size < ADDRESS_TEXT_MAX);
}
