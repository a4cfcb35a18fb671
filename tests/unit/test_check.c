#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/check.h"

struct outer {
    int before;
    int member;
};

static void finds_the_struct_around_a_member(void **state)
{
    (void)state;
    struct outer outer = {0};
    assert_ptr_equal(CONTAINER_OF(&outer.member, struct outer, member), &outer);
    int numbers[7];
    assert_int_equal(ARRAY_COUNT(numbers), 7);
}

/* In a child, since it aborts: what it said is read from a pipe. */
static void ends_the_process_and_says_why(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        CHECK(1 + 1 == 2);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    char said[512] = {0};
    size_t size = 0;
    ssize_t got;
    while ((got = read(ends[0], said + size, sizeof(said) - 1 - size)) > 0) {
        size += (size_t)got;
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "invariant broken: 1 + 1 == 3"));
    assert_non_null(strstr(said, "test_check.c:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_struct_around_a_member),
        cmocka_unit_test(ends_the_process_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
