#include "layers/schema/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/error.h"

void faults_add(struct faults *faults, uint32_t line, uint32_t column, const char *format, ...)
{
    faults->total++;
    if (!faults_open(faults)) {
        return;
    }
    char text[ERROR_MESSAGE_MAX * 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);

    /* An error knows how to make text from outside fit for a line. */
    struct error error = ERROR_INIT;
    error_set(&error, CODE_INVALID_REQUEST, "%s", text);
    const char *message = arena_text(faults->arena, error.message, strlen(error.message));
    void *items = faults->items;
    if (message == NULL || arena_grow(faults->arena, &items, faults->count, &faults->capacity,
                                      sizeof(*faults->items)) != 0) {
        return;
    }
    faults->items = items;
    faults->items[faults->count] = (struct fault){
        .line = line, .column = column, .order = (uint32_t)faults->count, .message = message};
    faults->count++;
}

static int compare_places(const void *a, const void *b)
{
    const struct fault *left = a, *right = b;
    if (left->line != right->line) {
        return left->line < right->line ? -1 : 1;
    }
    if (left->column != right->column) {
        return left->column < right->column ? -1 : 1;
    }
    return (left->order > right->order) - (left->order < right->order);
}

/* What is read twice by aliases is wrong only once. */
static bool told_before(const struct faults *faults, size_t index)
{
    const struct fault *fault = &faults->items[index];
    for (size_t i = index; i-- > 0;) {
        const struct fault *before = &faults->items[i];
        if (before->line != fault->line || before->column != fault->column) {
            return false;
        }
        if (strcmp(before->message, fault->message) == 0) {
            return true;
        }
    }
    return false;
}

void faults_print(struct faults *faults, const char *name, struct buffer *out)
{
    if (faults->count > 0) {
        qsort(faults->items, faults->count, sizeof(*faults->items), compare_places);
    }
    for (size_t i = 0; i < faults->count; i++) {
        const struct fault *fault = &faults->items[i];
        if (!told_before(faults, i)) {
            buffer_printf(out, "%s:%u:%u: %s\n", name, fault->line, fault->column, fault->message);
        }
    }
    if (faults->total > faults->count) {
        uint32_t line = faults->count > 0 ? faults->items[faults->count - 1].line : 1;
        uint32_t column = faults->count > 0 ? faults->items[faults->count - 1].column : 1;
        buffer_printf(out, "%s:%u:%u: and %zu more\n", name, line, column,
                      faults->total - faults->count);
    }
}
