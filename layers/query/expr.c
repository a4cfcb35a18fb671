#include "layers/query/expr_ast.h"

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"

static int check_size(const struct expr_compiler *compiler, size_t size, struct error *error)
{
    uint64_t allowed = compiler->limits->filter_bytes;
    return size <= allowed ? 0
                           : error_limit_hit(error, CODE_TOO_LARGE, "filter_bytes", allowed, size);
}

static int finish(struct context *context, const struct node *root, const struct expr **out)
{
    if (root != NULL && context->status == 0) {
        *out = expr_generate(context, root);
    }
    CHECK((*out != NULL) == (context->status == 0));
    return context->status;
}

/* What is compiled begins at `from`; positions count from the text's start. */
static int compile_text(const struct expr_compiler *compiler, const char *text, size_t size,
                        size_t from, bool path_only, const struct expr **out, struct error *error)
{
    struct context context;
    *out = NULL;
    int status = check_size(compiler, size, error);
    if (status != 0) {
        return status;
    }
    context_init(&context, compiler, error);
    context.text = text;
    context.size = size;
    if (!utf8_valid(text, size)) {
        context_fail(&context, 0, "the text is not UTF-8");
        return context.status;
    }
    /* Names and texts in the tree point into it. */
    context.text = arena_text(compiler->arena, text, size);
    if (context.text == NULL) {
        context_no_memory(&context);
        return context.status;
    }
    const struct node *root = parse_text(&context, from, path_only);
    if (!path_only && !need_condition(&context, root)) {
        root = NULL;
    }
    return finish(&context, root, out);
}

int expr_compile_text(const struct expr_compiler *compiler, const char *text, size_t size,
                      const struct expr **out, struct error *error)
{
    return compile_text(compiler, text, size, 0, false, out, error);
}

int expr_compile_path(const struct expr_compiler *compiler, const char *text, size_t size,
                      const struct expr **out, struct error *error)
{
    return compile_text(compiler, text, size, 0, true, out, error);
}

int expr_compile_path_at(const struct expr_compiler *compiler, const char *text, size_t size,
                         size_t from, const struct expr **out, struct error *error)
{
    return compile_text(compiler, text, size, from, true, out, error);
}

int expr_compile_map(const struct expr_compiler *compiler, struct reader *map,
                     const struct expr **out, struct error *error)
{
    struct context context;
    const uint8_t *bytes;
    size_t size;
    *out = NULL;
    context_init(&context, compiler, error);
    if (!reader_value(map, &bytes, &size)) {
        context_fail(&context, 0, "expected a map of conditions, got bytes that are cut short");
        return context.status;
    }
    int status = check_size(compiler, size, error);
    if (status != 0) {
        return status;
    }
    struct reader in = reader_of(bytes, size);
    const struct node *root = parse_map(&context, &in);
    return finish(&context, root, out);
}

int expr_compile(const struct expr_compiler *compiler, struct reader *in, const struct expr **out,
                 struct error *error)
{
    struct reader ahead = *in;
    struct token token = reader_next(&ahead);
    *out = NULL;
    switch (token.kind) {
    case TOKEN_NIL:
        *in = ahead;
        return 0;
    case TOKEN_STRING:
    case TOKEN_BINARY:
        *in = ahead;
        return expr_compile_text(compiler, (const char *)token.bytes, token.size, out, error);
    case TOKEN_MAP:
        return expr_compile_map(compiler, in, out, error);
    case TOKEN_INVALID:
    case TOKEN_BOOLEAN:
    case TOKEN_INTEGER:
    case TOKEN_UNSIGNED:
    case TOKEN_FLOAT:
    case TOKEN_ARRAY:
    case TOKEN_EXTENSION:
        break;
    }
    reader_skip(in);
    return error_set(error, CODE_INVALID_FILTER, "expected a filter as text or as a map, got %s",
                     token_describe(&token));
}

bool expr_is_simple(const struct expr *expr)
{
    return expr->step_count == 0;
}
