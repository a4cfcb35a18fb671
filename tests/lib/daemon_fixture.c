#include "tests/lib/daemon_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Long, since only what is broken waits for so long; sanitizers are slow. */
enum { PATIENCE_MS = 60000, STEP_MS = 5, ARGUMENTS_MAX = 32, LOG_BYTES_MAX = 1 << 20 };

_Noreturn static void give_up(const struct daemon_fixture *fixture, const char *what)
{
    char *log = daemon_fixture_log(fixture);
    fprintf(stderr, "relatad: %s: %s\n%s", what, strerror(errno), log);
    free(log);
    if (fixture->pid > 0) {
        kill(fixture->pid, SIGKILL);
    }
    abort();
}

static void must(const struct daemon_fixture *fixture, bool condition, const char *what)
{
    if (!condition) {
        give_up(fixture, what);
    }
}

static void wait_a_step(void)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    nanosleep(&step, NULL);
}

char *daemon_fixture_log(const struct daemon_fixture *fixture)
{
    char *text = calloc(1, LOG_BYTES_MAX + 1);
    FILE *file = fopen(fixture->log_path, "r");
    if (text == NULL) {
        abort();
    }
    if (file != NULL) {
        size_t size = fread(text, 1, LOG_BYTES_MAX, file);
        text[size] = '\0';
        fclose(file);
    }
    return text;
}

static bool said(const struct daemon_fixture *fixture, const char *what)
{
    char *log = daemon_fixture_log(fixture);
    bool found = strstr(log, what) != NULL;
    free(log);
    return found;
}

static void make_folder(struct daemon_fixture *fixture)
{
    *fixture = (struct daemon_fixture){.folder = "/tmp/relata-test-XXXXXX"};
    must(fixture, mkdtemp(fixture->folder) != NULL, "mkdtemp");
    snprintf(fixture->socket_path, sizeof(fixture->socket_path), "%s/relata.sock", fixture->folder);
    snprintf(fixture->address, sizeof(fixture->address), "unix:%s/relata.sock", fixture->folder);
    snprintf(fixture->schema_path, sizeof(fixture->schema_path), "%s/schema.yaml", fixture->folder);
    snprintf(fixture->log_path, sizeof(fixture->log_path), "%s/log", fixture->folder);
}

/* In the new process: never returns. */
_Noreturn static void execute(const struct daemon_fixture *fixture, const char *schema_path,
                              const char *const *arguments)
{
    const char *program = getenv("RELATAD");
    const char *all[ARGUMENTS_MAX + 6] = {program, "--schema", schema_path, "--listen",
                                          fixture->address};
    size_t count = 5;
    for (; arguments != NULL && *arguments != NULL && count < ARGUMENTS_MAX + 5; arguments++) {
        all[count++] = *arguments;
    }
    int log = open(fixture->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (program != NULL && log >= 0 && dup2(log, STDERR_FILENO) >= 0) {
        /* execv does not change what it is given. */
        union {
            const char **in;
            char **out;
        } argv = {.in = all};
        execv(program, argv.out);
    }
    _exit(127);
}

static void start(struct daemon_fixture *fixture, const char *schema_path,
                  const char *const *arguments)
{
    fixture->pid = fork();
    must(fixture, fixture->pid >= 0, "fork");
    if (fixture->pid == 0) {
        execute(fixture, schema_path, arguments);
    }
    for (int waited_ms = 0; !said(fixture, "event=ready"); waited_ms += STEP_MS) {
        int status;
        if (waitpid(fixture->pid, &status, WNOHANG) != 0) {
            fixture->pid = 0;
            give_up(fixture, "it ended before it was ready (RELATAD names the program)");
        }
        must(fixture, waited_ms < PATIENCE_MS, "it does not get ready");
        wait_a_step();
    }
}

void daemon_fixture_start(struct daemon_fixture *fixture, const char *schema,
                          const char *const *arguments)
{
    make_folder(fixture);
    FILE *file = fopen(fixture->schema_path, "w");
    must(fixture, file != NULL && fputs(schema, file) >= 0 && fclose(file) == 0, "the schema");
    start(fixture, fixture->schema_path, arguments);
}

void daemon_fixture_start_file(struct daemon_fixture *fixture, const char *schema_path,
                               const char *const *arguments)
{
    make_folder(fixture);
    start(fixture, schema_path, arguments);
}

void daemon_fixture_stop(struct daemon_fixture *fixture)
{
    int status = 0;
    must(fixture, kill(fixture->pid, SIGTERM) == 0, "it is gone");
    for (int waited_ms = 0; waitpid(fixture->pid, &status, WNOHANG) == 0; waited_ms += STEP_MS) {
        must(fixture, waited_ms < PATIENCE_MS, "it does not end");
        wait_a_step();
    }
    fixture->pid = 0;
    must(fixture, WIFEXITED(status) && WEXITSTATUS(status) == 0, "its exit status is not 0");
    must(fixture, access(fixture->socket_path, F_OK) != 0, "its socket is still there");
    unlink(fixture->schema_path);
    unlink(fixture->log_path);
    must(fixture, rmdir(fixture->folder) == 0, "something is left in its folder");
    *fixture = (struct daemon_fixture){0};
}
