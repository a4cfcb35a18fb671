#include "protocol/base/code.h"

#include <string.h>

#include "protocol/base/check.h"

static const char *const code_texts[] = {[CODE_OK] = "ok",
#define X(name, text, meaning) [CODE_##name] = (text),
                                         RELATA_CODES(X)
#undef X
};

_Static_assert(ARRAY_COUNT(code_texts) == CODE_COUNT, "every code has a text");

const char *code_text(enum code code)
{
    CHECK((unsigned)code < CODE_COUNT);
    return code_texts[code];
}

enum code code_from_text(const char *text, unsigned long size)
{
    for (unsigned i = CODE_OK + 1; i < CODE_COUNT; i++) {
        if (strlen(code_texts[i]) == size && memcmp(code_texts[i], text, size) == 0) {
            return (enum code)i;
        }
    }
    return CODE_OK;
}
