#include "protocol/base/name.h"

#include <string.h>

#include "protocol/base/check.h"

static const char *const reserved_words[] = {
    "and", "or", "not", "in", "true", "false", "nil", "parent", "actor", "tenant", "exists",
};

bool name_reserved(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_COUNT(reserved_words); i++) {
        if (strlen(reserved_words[i]) == size && memcmp(reserved_words[i], name, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool name_valid(const char *name, size_t size)
{
    if (size == 0 || size > NAME_MAX_BYTES || !is_letter(name[0])) {
        return false;
    }
    for (size_t i = 1; i < size; i++) {
        if (!is_letter(name[i]) && !(name[i] >= '0' && name[i] <= '9')) {
            return false;
        }
    }
    return !name_reserved(name, size);
}
