/* A module that needs a function which nobody has. */
#include <relata_module.h>

int nobody_has_this(void);

static int open(const struct relata_host *host, const struct relata_opening *opening, void **state)
{
    (void)host;
    (void)opening;
    *state = NULL;
    return nobody_has_this();
}

static void load(void *state, uint64_t batch, size_t count)
{
    (void)state;
    (void)batch;
    (void)count;
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = "lacks_symbol", .open = open, .load = load};
