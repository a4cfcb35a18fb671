#include "tests/fuzz/expr_world.h"

/* The input is a filter as MessagePack: a map, or a text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct error error = ERROR_INIT;
    const struct expr *expr;
    struct reader in = reader_of(data, size);
    world_begin();
    const struct expr_compiler compiler = world_compiler(&arena, &expr_world.facts);
    int status = expr_compile(&compiler, &in, &expr, &error);
    CHECK(in.at <= in.end);
    if (expr != NULL) {
        CHECK(status == 0);
        world_check(expr, &arena);
    } else {
        CHECK(status == 0 || error.code == CODE_INVALID_FILTER || error.code == CODE_TOO_LARGE);
    }
    arena_release(&arena);
    return 0;
}
