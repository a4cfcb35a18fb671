/* A module of a major version that never was. */
#include <relata_module.h>

static int open(const struct relata_host *host, const struct relata_opening *opening, void **state)
{
    (void)host;
    (void)opening;
    (void)state;
    return 0;
}

static void load(void *state, uint64_t batch, size_t count)
{
    (void)state;
    (void)batch;
    (void)count;
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    .abi_major = RELATA_MODULE_ABI_MAJOR + 1,
    .struct_size = sizeof(struct relata_module),
    .name = "wrong_version",
    .open = open,
    .load = load};
