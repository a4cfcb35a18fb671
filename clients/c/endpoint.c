#include "clients/c/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/fault.h"

static int parse_unix(struct endpoint *endpoint, const char *path, struct relata_error *error)
{
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(endpoint->path)) {
        return fault_set(error, CODE_INVALID_REQUEST,
                         "a unix socket's path has 1 to %d bytes, \"%.300s\" has %zu",
                         ENDPOINT_PATH_MAX - 1, path, size);
    }
    endpoint->is_unix = true;
    memcpy(endpoint->path, path, size + 1);
    return 0;
}

static bool is_port(const char *port)
{
    size_t size = strlen(port);
    if (size == 0 || size >= ENDPOINT_PORT_MAX || strspn(port, "0123456789") != size) {
        return false;
    }
    long number = strtol(port, NULL, 10);
    return number > 0 && number <= 65535;
}

/* HOST:PORT, or [HOST]:PORT where the host has colons. */
static int parse_tcp(struct endpoint *endpoint, const char *rest, struct relata_error *error)
{
    const char *colon = strrchr(rest, ':');
    if (colon == NULL || !is_port(colon + 1)) {
        return fault_set(error, CODE_INVALID_REQUEST,
                         "tcp:HOST:PORT with a port of 1 to 65535 was expected, tcp:%.300s came",
                         rest);
    }
    const char *host = rest;
    size_t size = (size_t)(colon - rest);
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    if (size == 0 || size >= sizeof(endpoint->host)) {
        return fault_set(error, CODE_INVALID_REQUEST, "tcp:%.300s names no host", rest);
    }
    endpoint->is_unix = false;
    memcpy(endpoint->host, host, size);
    endpoint->host[size] = '\0';
    snprintf(endpoint->port, sizeof(endpoint->port), "%.5s", colon + 1);
    return 0;
}

int endpoint_parse(struct endpoint *endpoint, const char *address, struct relata_error *error)
{
    *endpoint = (struct endpoint){0};
    if (address == NULL) {
        address = getenv("RELATA_ADDRESS");
    }
    if (address == NULL || address[0] == '\0') {
        address = RELATA_ADDRESS_DEFAULT;
    }
    snprintf(endpoint->text, sizeof(endpoint->text), "%s", address);
    if (strncmp(address, "unix:", 5) == 0) {
        return parse_unix(endpoint, address + 5, error);
    }
    if (strncmp(address, "tcp:", 4) == 0) {
        return parse_tcp(endpoint, address + 4, error);
    }
    return fault_set(error, CODE_INVALID_REQUEST,
                     "an address is unix:PATH or tcp:HOST:PORT, \"%.300s\" came", address);
}
