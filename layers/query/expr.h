#ifndef RELATA_LAYERS_QUERY_EXPR_H
#define RELATA_LAYERS_QUERY_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/eval.h"
#include "layers/record.h"
#include "layers/schema/schema.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"
#include "protocol/msgpack/reader.h"

/* Expressions (CONTRACT 4): the text form and the map form are parsed to one
 * tree, resolved and type-checked against a resource, and compiled to a flat
 * code that runs without recursion and can stop anywhere (expr_run). A compiled
 * expression is immutable and lives in the arena that it was compiled into;
 * texts, maps, params and scopes are not needed once it is there. */

struct expr;

/* What names mean: the fields of `resource`, and `parent.field` of the next
 * scope out (NULL where `parent` means nothing). */
struct expr_scope {
    const struct resource *resource;
    const struct expr_scope *outer;
};

struct expr_compiler {
    struct arena *arena;
    const struct limits *limits; /* filter_bytes, filter_nodes, filter_levels */
    const struct expr_scope *scope;
    const uint8_t *params; /* MessagePack map of $params, NULL for none */
    size_t params_size;
    bool in_schema; /* $params are refused */
};

/* A filter: what it yields is a boolean or nil. 0, or -CODE_INVALID_FILTER with
 * position (text) or path (map) in the error, -CODE_TOO_LARGE for a limit. */
int expr_compile_text(const struct expr_compiler *compiler, const char *text, size_t size,
                      const struct expr **out, struct error *error);
int expr_compile_map(const struct expr_compiler *compiler, struct reader *map,
                     const struct expr **out, struct error *error);
/* A filter as callers send it: a string or a map (nil gives NULL: no filter). */
int expr_compile(const struct expr_compiler *compiler, struct reader *in, const struct expr **out,
                 struct error *error);

/* A field or a to-one path (`representative.name`), for sorts. */
int expr_compile_path(const struct expr_compiler *compiler, const char *text, size_t size,
                      const struct expr **out, struct error *error);

/* ---- Running ---- */

/* The records that an expression looks at: its own, and those outside. */
struct expr_records {
    const struct record *record;
    const struct expr_records *outer; /* `parent`; NULL where there is none */
    bool asked_ahead; /* what direct relationships lead to from here was asked for before */
};

enum run_status {
    RUN_DONE,
    RUN_MORE,  /* the budget is used up: go on in a later turn */
    RUN_FAILED /* eval->error says why: filter_steps, memory */
};

/* A run in progress. Its room is made once for an expression and used for
 * record after record; nothing is allocated per record but what searches find. */
struct expr_run;

/* NULL where the arena lacks memory. The eval and the outer records must live
 * as long as the run. */
struct expr_run *expr_run_create(struct arena *arena, const struct expr *expr, struct eval *eval);
/* Starts on a record (forgetting a run that was stopped). */
void expr_run_start(struct expr_run *run, const struct expr_records *records);
/* Goes on; *out is the value when RUN_DONE. Visiting a related record costs one
 * of *budget. What it visits is counted against eval->steps_left. */
enum run_status expr_run_go(struct expr_run *run, uint64_t *budget, struct value *out);
/* Gives up what a stopped run holds (cursors). Harmless when it holds nothing. */
void expr_run_stop(struct expr_run *run);

/* A filter that follows no relationship can be judged at once, in one call. */
bool expr_is_simple(const struct expr *expr);
bool expr_test_simple(const struct expr *expr, struct expr_run *run,
                      const struct expr_records *records);

/* ---- What a planner and a cache want to know ---- */

/* The relationships that it follows from each record itself to the record of a primary
 * key that a field names: at most `most` of them, and how many. */
size_t expr_direct_relationships(const struct expr *expr, const struct relationship **out,
                                 size_t most);

enum conjunct_operator {
    CONJUNCT_EQUAL,
    CONJUNCT_IN, /* the operand's value is a list */
    CONJUNCT_LESS,
    CONJUNCT_LESS_EQUAL,
    CONJUNCT_GREATER,
    CONJUNCT_GREATER_EQUAL,
    CONJUNCT_STARTS_WITH
};

/* One part of the top-level `and` of the form `field operator operand`, where
 * the operand does not look at the record itself (a literal, a param, a field
 * of `parent`, a fact of the actor, now()). */
struct conjunct {
    uint16_t field;
    enum conjunct_operator operator;
    const void *operand; /* for expr_operand */
};

/* Fills at most `most`; answers how many there are of that form. */
size_t expr_conjuncts(const struct expr *expr, struct conjunct *out, size_t most);

/* How many parts the top-level `and` has, of whatever form: where there are as
 * many conjuncts, they are all that the expression says. */
size_t expr_parts(const struct expr *expr);

/* Whether the top-level `and` has a part `field == parent.<parent_field>`: then
 * the field's value names the source. */
bool expr_equals_parent(const struct expr *expr, uint16_t parent_field, uint16_t *field);

/* The operand's value for these records (`outer` is `parent`; the record itself
 * is not looked at). It is already of the field's kind, but an integer field may
 * meet a float and the other way. Nil where it is nil: then nothing matches. */
void expr_operand(const struct conjunct *conjunct, struct eval *eval,
                  const struct expr_records *outer, struct value *out);

/* What an expression looks at. */
struct expr_uses {
    bool parent;
    bool actor;
    bool tenant;
    bool now;
    /* Relationships followed by a path or exists, each once, in the arena. */
    const struct relationship **relationships;
    size_t relationship_count;
    /* Positions of own fields, and of `parent` fields, each once. */
    const uint16_t *fields;
    size_t field_count;
    const uint16_t *parent_fields;
    size_t parent_field_count;
};
/* 0, or -CODE_OVERLOADED. */
int expr_uses(const struct expr *expr, struct arena *arena, struct expr_uses *out);

/* The expression's text: canonical, good to be read again. What has no literal
 * in the text form (nil, binary that is no text, a moment beside nothing that
 * says so, maps, long lists) stands there as $p1, $p2 ... */
void expr_print(const struct expr *expr, struct buffer *out);
/* The values of these as a MessagePack map, empty where there are none. */
void expr_print_params(const struct expr *expr, struct buffer *out);

#endif
