#ifndef RELATA_LAYERS_QUERY_EXPR_LEX_H
#define RELATA_LAYERS_QUERY_EXPR_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/expr_ast.h"

/* The words of an expression's text, one at a time. */

enum lexeme_kind {
    LEXEME_END,
    LEXEME_BAD, /* the context has failed */
    LEXEME_NAME,
    LEXEME_PARAM,
    LEXEME_INTEGER,
    LEXEME_FLOAT,
    LEXEME_TEXT,
    LEXEME_SIGN, /* an operator or a bracket */
    /* Reserved words. */
    LEXEME_AND,
    LEXEME_OR,
    LEXEME_NOT,
    LEXEME_IN,
    LEXEME_TRUE,
    LEXEME_FALSE,
    LEXEME_NIL,
    LEXEME_PARENT,
    LEXEME_ACTOR,
    LEXEME_TENANT,
    LEXEME_EXISTS
};

/* Signs of two characters have these instead of their character. */
enum { SIGN_EQUAL = 128, SIGN_NOT_EQUAL, SIGN_LESS_EQUAL, SIGN_GREATER_EQUAL };

struct lexeme {
    enum lexeme_kind kind;
    int sign;
    size_t at;        /* bytes from the start */
    size_t size;      /* bytes of it in the text */
    const char *text; /* a name; a text without its escapes, in the arena */
    size_t text_size;
    uint64_t natural; /* integers have no sign here */
    double real;
};

struct lexer {
    struct context *context;
    const char *text;
    size_t size;
    size_t at;
};

void lexer_next(struct lexer *lexer, struct lexeme *out);

#endif
