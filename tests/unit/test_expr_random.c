#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "tests/lib/expr_fixture.h"
#include "tests/lib/random.h"

/* Random expressions over random records against a plain evaluator that is
 * written here once more: it makes the text and works out the answer in one
 * go over plain structs, so it shares nothing with the compiler but the text. */

enum { TEAMS = 5, REPRESENTATIVES = 12, TICKETS = 40, ROUNDS = 1500 };

struct plain_team {
    long long id;
    bool has_level;
    long long level;
    char name[4];
};

struct plain_representative {
    long long id, team_id, threshold;
    bool has_team, has_threshold;
    char name[4];
};

struct plain_ticket {
    long long id, representative_id, priority;
    bool has_representative, has_priority, has_score, has_subject;
    int urgent; /* -1: nil */
    double score;
    char subject[4];
};

struct model {
    struct random random;
    struct plain_team teams[TEAMS];
    struct plain_representative representatives[REPRESENTATIVES];
    struct plain_ticket tickets[TICKETS];
    char text[20000];
    size_t size;
};

/* A number or nil. Integers stay integers. */
struct number {
    bool nil;
    bool whole;
    long long integer;
    double real;
};

/* The records that names mean: a ticket, or inside exists a representative's. */
struct place {
    const struct plain_ticket *ticket;
    const struct place *outside;
};

static int below(struct model *m, unsigned count)
{
    return (int)random_below(&m->random, count);
}

static void say(struct model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct model *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(m->text + m->size, sizeof(m->text) - m->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof(m->text) - m->size);
    m->size += (size_t)size;
}

/* ---- Records ---- */

static void random_word(struct model *m, char out[4])
{
    int size = below(m, 4);
    for (int i = 0; i < size; i++) {
        out[i] = (char)('a' + below(m, 2));
    }
    out[size] = '\0';
}

static const char *maybe(char out[32], bool has, long long value)
{
    snprintf(out, 32, has ? "%lld" : "null", value);
    return out;
}

static void put_teams(struct expr_fixture *f, struct model *m)
{
    for (int i = 0; i < TEAMS; i++) {
        struct plain_team *team = &m->teams[i];
        char map[200], level[32];
        *team =
            (struct plain_team){.id = i, .has_level = below(m, 4) > 0, .level = below(m, 5) - 2};
        random_word(m, team->name);
        snprintf(map, sizeof(map), "{'id': %d, 'name': '%s', 'level': %s}", i, team->name,
                 maybe(level, team->has_level, team->level));
        expr_fixture_put(f, "team", map);
    }
}

static void put_representatives(struct expr_fixture *f, struct model *m)
{
    for (int i = 0; i < REPRESENTATIVES; i++) {
        struct plain_representative *r = &m->representatives[i];
        char map[200], team[32], threshold[32];
        *r = (struct plain_representative){
            .id = i,
            .has_team = below(m, 5) > 0,
            .team_id = below(m, TEAMS + 1),
            .has_threshold = below(m, 5) > 0,
            .threshold = below(m, 7) - 3,
        };
        random_word(m, r->name);
        snprintf(map, sizeof(map), "{'id': %d, 'name': '%s', 'team_id': %s, 'threshold': %s}", i,
                 r->name, maybe(team, r->has_team, r->team_id),
                 maybe(threshold, r->has_threshold, r->threshold));
        expr_fixture_put(f, "representative", map);
    }
}

static void put_tickets(struct expr_fixture *f, struct model *m)
{
    static const char *const booleans[] = {"null", "false", "true"};
    for (int i = 0; i < TICKETS; i++) {
        struct plain_ticket *t = &m->tickets[i];
        char map[400], representative[32], priority[32], score[32], subject[32];
        *t = (struct plain_ticket){
            .id = i,
            .has_representative = below(m, 6) > 0,
            .representative_id = below(m, REPRESENTATIVES + 2),
            .has_priority = below(m, 6) > 0,
            .priority = below(m, 9) - 4,
            .has_score = below(m, 6) > 0,
            .score = (below(m, 17) - 8) / 4.0,
            .has_subject = below(m, 6) > 0,
            .urgent = below(m, 3) - 1,
        };
        random_word(m, t->subject);
        snprintf(score, sizeof(score), t->has_score ? "%.2f" : "null", t->score);
        snprintf(subject, sizeof(subject), t->has_subject ? "'%s'" : "null", t->subject);
        snprintf(map, sizeof(map),
                 "{'id': %d, 'representative_id': %s, 'priority': %s, 'score': %s, 'subject': %s, "
                 "'urgent': %s}",
                 i, maybe(representative, t->has_representative, t->representative_id),
                 maybe(priority, t->has_priority, t->priority), score, subject,
                 booleans[t->urgent + 1]);
        expr_fixture_put(f, "ticket", map);
    }
}

static const struct plain_representative *representative_of(const struct model *m,
                                                            const struct plain_ticket *t)
{
    return t->has_representative && t->representative_id < REPRESENTATIVES
               ? &m->representatives[t->representative_id]
               : NULL;
}

static const struct plain_team *team_of(const struct model *m, const struct plain_ticket *t)
{
    const struct plain_representative *r = representative_of(m, t);
    return r != NULL && r->has_team && r->team_id < TEAMS ? &m->teams[r->team_id] : NULL;
}

/* ---- The tree, random, then said and worked out over and over ---- */

enum kind {
    LITERAL,
    PRIORITY,
    SCORE,
    ID,
    LEVEL,
    THRESHOLD,
    OUTSIDE_PRIORITY,
    ARITHMETIC,
    MINUS,
    LENGTH,
    AND,
    OR,
    NOT,
    COMPARE,
    IN,
    WORD_COMPARE,
    WORD_MATCH,
    URGENT,
    IS_NIL,
    EXISTS,
    NIL,
    TRUE
};

struct tree {
    enum kind kind;
    int detail;
    long long literal;
    bool real;
    char word[4];
    struct tree *parts[3];
    int count;
};

static struct tree *leaf(struct expr_fixture *f, enum kind kind)
{
    struct tree *tree = arena_zero(&f->arena, 1, sizeof(*tree));
    assert_non_null(tree);
    tree->kind = kind;
    return tree;
}

static struct tree *random_number(struct expr_fixture *f, struct model *m, int depth, bool inside)
{
    static const enum kind leaves[] = {LITERAL, LITERAL, PRIORITY,  SCORE,           ID,
                                       LEVEL,   LENGTH,  THRESHOLD, OUTSIDE_PRIORITY};
    if (depth > 0 && below(m, 3) == 0) {
        struct tree *tree = leaf(f, below(m, 6) == 0 ? MINUS : ARITHMETIC);
        tree->detail = (unsigned char)"+-*/%"[below(m, 5)];
        tree->parts[0] = random_number(f, m, depth - 1, inside);
        tree->parts[1] = random_number(f, m, depth - 1, inside);
        return tree;
    }
    struct tree *tree = leaf(f, leaves[below(m, inside ? 9 : 8)]);
    tree->real = below(m, 3) == 0;
    tree->literal = below(m, 9) - 4;
    if (tree->kind == LITERAL && below(m, 40) == 0) {
        tree->literal = INT64_MAX - below(m, 3);
        tree->real = false;
    }
    return tree;
}

static struct tree *random_condition(struct expr_fixture *f, struct model *m, int depth,
                                     bool inside)
{
    static const enum kind simple[] = {COMPARE,    COMPARE, COMPARE, IN,  WORD_COMPARE,
                                       WORD_MATCH, URGENT,  IS_NIL,  NIL, TRUE};
    static const enum kind deep[] = {AND, OR, NOT, AND, OR, EXISTS};
    struct tree *tree = leaf(f, depth > 0 && below(m, 3) > 0 ? deep[below(m, inside ? 5 : 6)]
                                                             : simple[below(m, 10)]);
    tree->detail = below(m, 6);
    random_word(m, tree->word);
    switch (tree->kind) {
    case AND:
    case OR:
    case NOT:
        tree->count = tree->kind == NOT ? 1 : 2 + below(m, 2);
        for (int i = 0; i < tree->count; i++) {
            tree->parts[i] = random_condition(f, m, depth - 1, inside);
        }
        break;
    case EXISTS:
        tree->parts[0] = random_condition(f, m, depth - 1, true);
        break;
    case COMPARE:
        tree->parts[1] = random_number(f, m, 2, inside);
        tree->parts[0] = random_number(f, m, 2, inside);
        break;
    case IN:
    case IS_NIL:
        tree->parts[0] = random_number(f, m, 1, inside);
        tree->literal = below(m, 64);
        break;
    default:
        break;
    }
    return tree;
}

/* ---- Said ---- */

static void say_number(struct model *m, const struct tree *tree)
{
    static const char *const names[] = {
        [PRIORITY] = "priority",
        [SCORE] = "score",
        [ID] = "id",
        [LEVEL] = "representative.team.level",
        [THRESHOLD] = "representative.threshold",
        [OUTSIDE_PRIORITY] = "parent.priority",
        [LENGTH] = "length(subject)",
    };
    switch (tree->kind) {
    case LITERAL:
        say(m, tree->real ? "%lld.5" : "%lld", tree->literal);
        return;
    case MINUS:
        say(m, "-(");
        say_number(m, tree->parts[0]);
        say(m, ")");
        return;
    case ARITHMETIC:
        say(m, "(");
        say_number(m, tree->parts[0]);
        say(m, " %c ", tree->detail);
        say_number(m, tree->parts[1]);
        say(m, ")");
        return;
    default:
        say(m, "%s", names[tree->kind]);
    }
}

static const char *const comparisons[] = {"<", "<=", "==", ">=", ">", "!="};
static const char *const matches[] = {"contains", "starts_with", "ends_with"};

static void say_condition(struct model *m, const struct tree *tree)
{
    switch (tree->kind) {
    case AND:
    case OR:
        for (int i = 0; i < tree->count; i++) {
            say(m, i == 0 ? "(" : tree->kind == AND ? " and " : " or ");
            say_condition(m, tree->parts[i]);
        }
        say(m, ")");
        return;
    case NOT:
        say(m, "not ");
        say_condition(m, tree->parts[0]);
        return;
    case EXISTS:
        say(m, "exists(representative.tickets, ");
        say_condition(m, tree->parts[0]);
        say(m, ")");
        return;
    case COMPARE:
        say(m, "(");
        say_number(m, tree->parts[0]);
        say(m, " %s ", comparisons[tree->detail]);
        say_number(m, tree->parts[1]);
        say(m, ")");
        return;
    case IN: /* bits of `literal` are the items 0..4; the sixth is a nil */
        say(m, "(");
        say_number(m, tree->parts[0]);
        say(m, tree->detail < 2 ? " not in [" : " in [");
        for (int i = 0, said = 0; i < 6; i++) {
            if ((tree->literal >> i & 1) != 0) {
                say(m, said++ > 0 ? ", " : "");
                say(m, i == 5 ? "nil" : "%d", i);
            }
        }
        say(m, "])");
        return;
    case WORD_COMPARE:
        say(m, "(subject %s '%s')", comparisons[tree->detail], tree->word);
        return;
    case WORD_MATCH:
        say(m, "%s(subject, '%s')", matches[tree->detail % 3], tree->word);
        return;
    case URGENT:
        say(m, "urgent");
        return;
    case IS_NIL:
        say(m, "is_nil(");
        say_number(m, tree->parts[0]);
        say(m, ")");
        return;
    case NIL:
        say(m, "nil");
        return;
    default:
        say(m, "true");
    }
}

/* ---- Worked out ---- */

static struct number whole(bool has, long long value)
{
    return (struct number){.nil = !has, .whole = true, .integer = value};
}

static double as_real(const struct number *number)
{
    return number->whole ? (double)number->integer : number->real;
}

static struct number arithmetic(int operator, struct number a, struct number b)
{
    struct number nil = {.nil = true};
    struct number out = {.whole = true};
    if (a.nil || b.nil) {
        return nil;
    }
    if (a.whole && b.whole) {
        __int128 wide = operator== '+' ? (__int128)a.integer + b.integer :
                        operator== '-' ? (__int128)a.integer - b.integer
                        :
                        operator== '*'   ? (__int128)a.integer * b.integer
                        : b.integer == 0 ? (__int128)INT64_MAX + 1
                        :
                        operator== '/' ? (__int128)a.integer / b.integer
                                       : (__int128)a.integer % b.integer;
        out.integer = (long long)wide;
        return wide >= INT64_MIN && wide <= INT64_MAX ? out : nil;
    }
    double x = as_real(&a), y = as_real(&b);
    out.whole = false;
    out.real = operator== '+' ? x + y :
               operator== '-' ? x - y
               :
               operator== '*' ? x * y
               :
               operator== '/' ? x / y
                              : fmod(x, y);
    return (operator== '/' || operator== '%') && y == 0 ? nil : out;
}

static struct number number_of(const struct model *m, const struct tree *tree,
                               const struct place *place)
{
    const struct plain_ticket *t = place->ticket;
    const struct plain_representative *r = representative_of(m, t);
    const struct plain_team *team = team_of(m, t);
    switch (tree->kind) {
    case LITERAL: {
        double sign = tree->literal < 0 ? -0.5 : 0.5;
        return (struct number){
            .whole = !tree->real, .integer = tree->literal, .real = (double)tree->literal + sign};
    }
    case PRIORITY:
        return whole(t->has_priority, t->priority);
    case SCORE:
        return (struct number){.nil = !t->has_score, .real = t->score};
    case ID:
        return whole(true, t->id);
    case LEVEL:
        return whole(team != NULL && team->has_level, team != NULL ? team->level : 0);
    case THRESHOLD:
        return whole(r != NULL && r->has_threshold, r != NULL ? r->threshold : 0);
    case OUTSIDE_PRIORITY:
        return whole(place->outside->ticket->has_priority, place->outside->ticket->priority);
    case LENGTH:
        return whole(t->has_subject, (long long)strlen(t->subject));
    case MINUS:
        return arithmetic('-', whole(true, 0), number_of(m, tree->parts[0], place));
    default:
        return arithmetic(tree->detail, number_of(m, tree->parts[0], place),
                          number_of(m, tree->parts[1], place));
    }
}

static bool order_fits(int detail, int order)
{
    static const bool fits[6][3] = {{1, 0, 0}, {1, 1, 0}, {0, 1, 0},
                                    {0, 1, 1}, {0, 0, 1}, {1, 0, 1}};
    return fits[detail][order + 1];
}

/* All floats here are quarters of small size, so long double is exact. */
static int compare_numbers(const struct number *a, const struct number *b)
{
    long double x = a->whole ? (long double)a->integer : (long double)a->real;
    long double y = b->whole ? (long double)b->integer : (long double)b->real;
    return (x > y) - (x < y);
}

static int truth_of(const struct model *m, const struct tree *tree, const struct place *place);

/* 0 false, 1 nil, 2 true. */
static int truth_in(const struct model *m, const struct tree *tree, const struct place *place)
{
    struct number number = number_of(m, tree->parts[0], place);
    int truth = (tree->literal >> 5 & 1) != 0 ? 1 : 0;
    if (tree->literal != 0 && number.nil) {
        return 1;
    }
    for (int i = 0; i < 5; i++) {
        struct number item = whole(true, i);
        if ((tree->literal >> i & 1) != 0 && compare_numbers(&number, &item) == 0) {
            truth = 2;
        }
    }
    return tree->detail < 2 ? 2 - truth : truth;
}

static int truth_exists(const struct model *m, const struct tree *tree, const struct place *place)
{
    const struct plain_representative *r = representative_of(m, place->ticket);
    for (int i = 0; r != NULL && i < TICKETS; i++) {
        const struct place inside = {.ticket = &m->tickets[i], .outside = place};
        if (inside.ticket->has_representative && inside.ticket->representative_id == r->id &&
            truth_of(m, tree->parts[0], &inside) == 2) {
            return 2;
        }
    }
    return 0;
}

static int truth_match(const struct tree *tree, const struct plain_ticket *t)
{
    size_t text = strlen(t->subject), part = strlen(tree->word);
    if (!t->has_subject) {
        return 1;
    }
    switch (tree->detail % 3) {
    case 0:
        return strstr(t->subject, tree->word) != NULL ? 2 : 0;
    case 1:
        return strncmp(t->subject, tree->word, part) == 0 ? 2 : 0;
    default:
        return part <= text && strcmp(t->subject + text - part, tree->word) == 0 ? 2 : 0;
    }
}

static int truth_of(const struct model *m, const struct tree *tree, const struct place *place)
{
    const struct plain_ticket *t = place->ticket;
    int truth = tree->kind == AND ? 2 : 0;
    switch (tree->kind) {
    case AND:
    case OR:
        for (int i = 0; i < tree->count; i++) {
            int part = truth_of(m, tree->parts[i], place);
            bool takes = tree->kind == AND ? part < truth : part > truth;
            truth = takes ? part : truth;
        }
        return truth;
    case NOT:
        return 2 - truth_of(m, tree->parts[0], place);
    case EXISTS:
        return truth_exists(m, tree, place);
    case COMPARE: {
        struct number a = number_of(m, tree->parts[0], place);
        struct number b = number_of(m, tree->parts[1], place);
        return a.nil || b.nil ? 1 : order_fits(tree->detail, compare_numbers(&a, &b)) ? 2 : 0;
    }
    case IN:
        return truth_in(m, tree, place);
    case WORD_COMPARE: {
        int order = strcmp(t->subject, tree->word);
        return !t->has_subject ? 1 : order_fits(tree->detail, (order > 0) - (order < 0)) ? 2 : 0;
    }
    case WORD_MATCH:
        return truth_match(tree, t);
    case URGENT:
        return t->urgent + 1 == 0 ? 1 : t->urgent * 2;
    case IS_NIL:
        return number_of(m, tree->parts[0], place).nil ? 2 : 0;
    case NIL:
        return 1;
    default:
        return 2;
    }
}

/* ---- The test ---- */

static int verdict(const struct value *value)
{
    if (value->kind == VALUE_NIL) {
        return 1;
    }
    assert_int_equal(value->kind, VALUE_BOOLEAN);
    return value->boolean ? 2 : 0;
}

static void check_record(struct expr_fixture *f, struct model *m, const struct tree *tree,
                         const struct expr *expr, int id)
{
    const struct place place = {.ticket = &m->tickets[id]};
    const struct record *record = expr_fixture_get(f, "ticket", id);
    int expected = truth_of(m, tree, &place);
    struct value value = expr_fixture_run(f, expr, record, NULL, UINT64_MAX);
    int whole_run = verdict(&value);
    value = expr_fixture_run(f, expr, record, NULL, 1 + random_below(&m->random, 5));
    int with_stops = verdict(&value);
    if (whole_run != expected || with_stops != expected) {
        fail_msg("ticket %d: %d, with stops %d, expected %d: %s", id, whole_run, with_stops,
                 expected, m->text);
    }
}

static const struct expr *compile(struct expr_fixture *f, const char *text)
{
    const struct expr *expr = expr_fixture_text(f, "ticket", NULL, text);
    if (expr == NULL) {
        fail_msg("%s: %s", text, f->error.message);
    }
    return expr;
}

static void run_rounds(int depth, int rounds, const char *name)
{
    struct expr_fixture f;
    struct model *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->random = random_start(name);
    expr_fixture_init(&f);
    put_teams(&f, m);
    put_representatives(&f, m);
    put_tickets(&f, m);
    for (int round = 0; round < rounds; round++) {
        struct tree *tree = random_condition(&f, m, depth, false);
        struct buffer printed = BUFFER_INIT;
        m->size = 0;
        say_condition(m, tree);
        const struct expr *expr = compile(&f, m->text);
        expr_print(expr, &printed);
        expr_print_params(expr, &f.params);
        buffer_byte(&printed, '\0');
        const struct expr *again = compile(&f, (const char *)printed.bytes);
        for (int i = 0; i < 6; i++) {
            int id = below(m, TICKETS);
            check_record(&f, m, tree, expr, id);
            check_record(&f, m, tree, again, id);
        }
        buffer_release(&printed);
        buffer_truncate(&f.params, 0);
        arena_reset(&f.arena);
    }
    expr_fixture_release(&f);
    free(m);
}

static void test_simple(void **state)
{
    (void)state;
    run_rounds(0, ROUNDS, "simple");
}

static void test_deep(void **state)
{
    (void)state;
    run_rounds(4, ROUNDS / 3, "deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
