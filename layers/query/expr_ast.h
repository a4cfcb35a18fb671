#ifndef RELATA_LAYERS_QUERY_EXPR_AST_H
#define RELATA_LAYERS_QUERY_EXPR_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/expr.h"

/* The tree of an expression, for the modules expr_*.c alone. Both parsers make
 * it through the build functions below, which resolve names and check types as
 * they go, so that what exists is right. Failures are sticky in the context:
 * a build function that is given NULL answers NULL. */

enum node_kind {
    NODE_LITERAL,
    NODE_LIST,  /* of nodes, as written in the text; only under construction */
    NODE_FIELD, /* a field of this or an outer record, or behind to-one steps */
    NODE_FACT,  /* actor.name */
    NODE_TENANT,
    NODE_NOW,
    NODE_CAST, /* of its operand to `type`; nil where it cannot be read so */
    NODE_NEGATE,
    NODE_ARITHMETIC,
    NODE_CALL,
    NODE_COMPARE,
    NODE_IN,
    NODE_EXISTS,
    NODE_NOT,
    NODE_AND,
    NODE_OR
};

/* A comparison is the set of orders for which it is true. */
enum comparison {
    COMPARE_LESS = 1,
    COMPARE_EQUAL = 2,
    COMPARE_GREATER = 4,
    COMPARE_LESS_EQUAL = COMPARE_LESS | COMPARE_EQUAL,
    COMPARE_GREATER_EQUAL = COMPARE_GREATER | COMPARE_EQUAL,
    COMPARE_NOT_EQUAL = COMPARE_LESS | COMPARE_GREATER
};

enum function {
    FUNCTION_IS_NIL,
    FUNCTION_CONTAINS,
    FUNCTION_STARTS_WITH,
    FUNCTION_ENDS_WITH,
    FUNCTION_LENGTH,
    FUNCTION_LOWER,
    FUNCTION_UPPER,
    FUNCTION_COUNT
};

/* The record that a name speaks of: `up` scopes out, then along to-one steps. */
struct path {
    uint16_t up;
    uint16_t hop_count;
    const struct relationship **hops;
    const struct resource *resource; /* where it leads */
};

/* Literal items, prepared for the search: sorted by value_compare, each once,
 * no nil. As they came (and any) where the left side is of type any. */
struct item_list {
    const struct value *items;
    uint32_t count;
    bool has_nil;
    bool sorted;
};

struct node {
    enum node_kind kind;
    uint8_t op;              /* enum comparison, enum function, or one of + - * / % */
    bool nil_word;           /* the literal is the word nil */
    bool typed;              /* the literal stands beside its type: its text is enough */
    bool array;              /* the literal is an array, in value.bytes */
    uint16_t height;         /* of the tree below, this one included */
    uint32_t at;             /* byte offset in the text */
    const struct type *type; /* NULL: fits anything (a fact, nil) */
    union {
        struct value value; /* NODE_LITERAL */
        struct {
            struct path path;
            const struct field *field;
        } ref; /* NODE_FIELD */
        struct {
            const char *name;
            size_t size;
        } fact;
        struct {
            struct node **items;
            size_t count;
            size_t capacity;
        } list;                  /* NODE_LIST, NODE_AND, NODE_OR */
        struct node *operand[2]; /* NODE_CAST to NODE_COMPARE, NODE_NOT */
        struct {
            struct node *left;
            struct node *right;           /* NULL where `list` holds */
            const struct item_list *list; /* NULL: what `right` yields */
        } in;
        struct {
            struct path path;
            const struct relationship *relationship;
            const struct expr *filter; /* NULL: any record will do */
        } exists;
    };
};

struct context {
    const struct expr_compiler *compiler;
    struct arena *arena;
    const struct expr_scope *scope;
    struct error *error;
    int status;
    const char *text; /* NULL for the map form */
    size_t size;
    char path[ERROR_PATH_MAX]; /* of the map form */
    size_t path_size;
    uint64_t nodes;
    unsigned levels; /* that the parser is in */
};

/* Levels beyond this are refused whatever filter_levels says: parsers and
 * walks over the tree recurse. */
enum { EXPR_LEVELS_MAX = 500, NAME_SHOWN_MAX = 64 };

void context_init(struct context *context, const struct expr_compiler *compiler,
                  struct error *error);

/* Sets the error (the first one stays) with position or path; answers NULL. */
struct node *context_fail(struct context *context, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void context_limit(struct context *context, const char *limit, uint64_t allowed, uint64_t came);
void context_no_memory(struct context *context);

/* One level deeper in the input, and back. False where that is too deep. */
uint64_t context_levels_max(const struct context *context);
bool context_enter(struct context *context);
void context_leave(struct context *context);

/* ---- Names (expr_resolve.c) ---- */

void path_here(const struct context *context, struct path *out);
/* One scope further out; false (and failed) where `parent` means nothing. */
bool path_parent(struct context *context, struct path *path, size_t at);
/* Along a to-one relationship. */
bool path_follow(struct context *context, struct path *path, const char *name, size_t size,
                 size_t at);
/* What follows the path: a field. */
struct node *build_field(struct context *context, const struct path *path, const char *name,
                         size_t size, size_t at);
/* A relationship behind the path, of any kind. */
const struct relationship *path_relationship(struct context *context, const struct path *path,
                                             const char *name, size_t size, size_t at);
/* Fails with "ticket has no ... "name", did you mean ..." */
void fail_unknown_name(struct context *context, const struct path *path, const char *name,
                       size_t size, size_t at);

/* ---- Literals (expr_literal.c) ---- */

const struct type *type_of_kind(enum type_kind kind);
/* The type of a literal by its value alone; NULL for nil. */
const struct type *type_of_value(const struct value *value);
struct node *build_literal(struct context *context, const struct value *value, size_t at);
/* The word nil. */
struct node *build_nil(struct context *context, size_t at);
/* Reads one value from outside into the arena; nil allowed. */
struct node *build_literal_from(struct context *context, struct reader *in, size_t at);
/* $name, looked up in the params. */
struct node *build_param(struct context *context, const char *name, size_t size, size_t at);
struct node *build_list(struct context *context, size_t at);
void list_add(struct context *context, struct node *list, struct node *item);
/* A written list that stands elsewhere than behind `in` becomes a literal. */
struct node *settle(struct context *context, struct node *node);
/* Makes the literal one of the type; false (and failed) where it is none. */
bool literal_adapt(struct context *context, struct node *literal, const struct type *type);
/* Whether values of the two compare at all. */
bool types_compare(const struct type *a, const struct type *b);
/* `left in right`, right being a list, a fact or a value of type any. */
struct node *build_in(struct context *context, struct node *left, struct node *right, size_t at);

/* ---- The rest (expr_build.c) ---- */

struct node *build_node(struct context *context, enum node_kind kind, const struct type *type,
                        size_t at);
struct node *build_fact(struct context *context, const char *name, size_t size, size_t at);
struct node *build_word(struct context *context, enum node_kind kind, size_t at);
struct node *build_cast(struct context *context, struct node *node, const struct type *type);
struct node *build_negate(struct context *context, struct node *operand, size_t at);
struct node *build_arithmetic(struct context *context, char op, struct node *left,
                              struct node *right, size_t at);
struct node *build_compare(struct context *context, enum comparison op, struct node *left,
                           struct node *right, size_t at);
struct node *build_call(struct context *context, enum function function, struct node *first,
                        struct node *second, size_t at);
struct node *build_not(struct context *context, struct node *operand, size_t at);
/* NODE_AND and NODE_OR; begun with `build_node`. */
void logic_add(struct context *context, struct node *logic, struct node *part);
struct node *build_logic(struct context *context, enum node_kind kind, struct node *left,
                         struct node *right, size_t at);
struct node *build_exists(struct context *context, const struct path *path,
                          const struct relationship *relationship, const struct expr *filter,
                          size_t at);
/* Whether it may stand as a condition; fails where it may not. */
bool need_condition(struct context *context, const struct node *node);

/* Takes the height of what was put under the node. */
void node_over(struct context *context, struct node *node, const struct node *under);

/* "a text", "an integer", ... for messages. */
const char *node_describe(const struct node *node);

/* ---- Parsers: the root, or NULL with the context failed. ---- */

struct node *parse_text(struct context *context, size_t from, bool path_only);
struct node *parse_map(struct context *context, struct reader *map);

/* expr_compile_path for a part of a text: from `from` to its end. */
int expr_compile_path_at(const struct expr_compiler *compiler, const char *text, size_t size,
                         size_t from, const struct expr **out, struct error *error);

/* ---- The compiled expression ---- */

struct instruction;

/* A related record that the code needs, or an exists. Numbered in an order in
 * which each comes after the one that it starts from. */
struct step {
    const struct relationship *relationship;
    uint16_t up;  /* the record that it starts from ... */
    int32_t base; /* ... or the step that gives it; -1 */
    bool exists;
    const struct expr *filter; /* of exists; NULL: any */
};

struct expr {
    const struct resource *resource;
    const struct node *root;
    const struct instruction *code;
    const struct step *steps;
    uint32_t step_count;
    uint32_t values_max; /* the deepest that its stacks get */
    uint32_t truths_max;
};

/* Makes the code of a tree; NULL (context failed) where memory lacks. */
const struct expr *expr_generate(struct context *context, const struct node *root);

/* ---- Values at work (expr_value.c), shared by the run and expr_operand ---- */

/* The cast of NODE_CAST. `room` is used for uuids. */
void value_cast(struct value *value, const struct type *type, char room[TYPE_UUID_TEXT]);
void value_arithmetic(char op, const struct value *a, const struct value *b, struct value *out);
void value_negate(struct value *value);
void value_fact(const struct eval *eval, const char *name, size_t size, struct value *out);
/* From MessagePack: scalars decoded, arrays and maps as VALUE_ANY. False where
 * it is none that expressions know. */
bool value_from_token(const struct token *token, struct value *out);

#endif
