#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/list.h"
#include "tests/lib/random.h"

struct item {
    struct list node;
    int number;
};

static void assert_holds(const struct list *list, const int *numbers, size_t count)
{
    size_t i = 0;
    LIST_EACH(node, list)
    {
        if (i == count) {
            fail_msg("more than %zu items", count);
            return;
        }
        assert_int_equal(CONTAINER_OF(node, struct item, node)->number, numbers[i]);
        assert_ptr_equal(node->next->prev, node);
        i++;
    }
    assert_int_equal(i, count);
    assert_int_equal(list_empty(list), count == 0);
}

static void keeps_the_order_of_appending(void **state)
{
    (void)state;
    struct list list;
    struct item items[3];
    list_init(&list);
    assert_holds(&list, NULL, 0);
    for (int i = 0; i < 3; i++) {
        items[i].number = i;
        list_append(&list, &items[i].node);
    }
    assert_holds(&list, (int[]){0, 1, 2}, 3);
    list_remove(&items[1].node);
    assert_holds(&list, (int[]){0, 2}, 2);
    list_remove(&items[1].node);
    assert_true(list_empty(&items[1].node));
    assert_holds(&list, (int[]){0, 2}, 2);
}

static void moves_all_at_once(void **state)
{
    (void)state;
    struct list one, two;
    struct item items[4];
    list_init(&one);
    list_init(&two);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_append(i < 2 ? &one : &two, &items[i].node);
    }
    list_move_all(&one, &two);
    assert_holds(&one, (int[]){0, 1, 2, 3}, 4);
    assert_holds(&two, (int[]){0}, 0);
    list_move_all(&one, &two);
    assert_holds(&one, (int[]){0, 1, 2, 3}, 4);
    list_move_all(&two, &one);
    assert_holds(&two, (int[]){0, 1, 2, 3}, 4);
}

static void model_remove(int *model, size_t *count, int number)
{
    for (size_t i = 0; i < *count; i++) {
        if (model[i] == number) {
            --*count;
            memmove(&model[i], &model[i + 1], (*count - i) * sizeof(int));
        }
    }
}

/* Two lists against two arrays. */
static void agrees_with_arrays(void **state)
{
    (void)state;
    struct random random = random_start("list");
    enum { ITEMS = 16 };
    struct item items[ITEMS];
    struct list lists[2];
    int model[2][ITEMS];
    size_t counts[2] = {0, 0};
    list_init(&lists[0]);
    list_init(&lists[1]);
    for (int i = 0; i < ITEMS; i++) {
        items[i].number = i;
        list_init(&items[i].node);
    }
    for (int step = 0; step < 20000; step++) {
        size_t to = random_below(&random, 2);
        if (random_below(&random, 10) == 0) {
            list_move_all(&lists[to], &lists[1 - to]);
            memcpy(model[to] + counts[to], model[1 - to], counts[1 - to] * sizeof(int));
            counts[to] += counts[1 - to];
            counts[1 - to] = 0;
        }
        int number = (int)random_below(&random, ITEMS);
        list_remove(&items[number].node);
        for (size_t which = 0; which < 2; which++) {
            model_remove(model[which], &counts[which], number);
        }
        if (random_below(&random, 3) > 0) {
            list_append(&lists[to], &items[number].node);
            model[to][counts[to]++] = number;
        }
        assert_holds(&lists[0], model[0], counts[0]);
        assert_holds(&lists[1], model[1], counts[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_of_appending),
        cmocka_unit_test(moves_all_at_once),
        cmocka_unit_test(agrees_with_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
