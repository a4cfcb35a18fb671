#include "tests/fuzz/expr_world.h"

/* The input is a filter's text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct error error = ERROR_INIT;
    const struct expr *expr;
    world_begin();
    const struct expr_compiler compiler = world_compiler(&arena, &expr_world.facts);
    int status = expr_compile_text(&compiler, (const char *)data, size, &expr, &error);
    CHECK((status == 0) == (expr != NULL));
    if (expr != NULL) {
        world_check(expr, &arena);
    } else {
        CHECK(error.code == CODE_TOO_LARGE ||
              (error.code == CODE_INVALID_FILTER && error.position >= 0 &&
               (size_t)error.position <= size));
    }
    arena_release(&arena);
    return 0;
}
