#include "clients/cli/prompt.h"

#include <errno.h>
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/cli/commands.h"
#include "clients/cli/words.h"

enum { HISTORY_LINES = 1000 };

struct prompt {
    EditLine *edit;
    History *history;
    char *history_file; /* NULL: none is kept */
};

/* --- One line ---------------------------------------------------------------------- */

static bool is_end(const struct words *words)
{
    return words->count == 1 &&
           (strcmp(words->items[0], "quit") == 0 || strcmp(words->items[0], "exit") == 0);
}

/* True when the line says that it was the last. */
static bool run_line(struct cli *cli, const char *line, int *status)
{
    struct words words;
    const char *fault = words_split(&words, line);
    if (fault != NULL) {
        *status = cli_usage("%s", fault);
        return false;
    }
    bool ended = is_end(&words);
    *status = CLI_DONE;
    if (!ended && words.count > 0 && strcmp(words.items[0], "help") == 0) {
        const struct command *command = words.count > 1 ? command_find(words.items[1]) : NULL;
        *status = command != NULL ? command_help(command) : commands_help();
    } else if (!ended) {
        *status = cli_run(cli, (const char *const *)words.items, words.count);
    }
    words_release(&words);
    return ended;
}

/* --- Without a terminal --------------------------------------------------------------- */

static int run_lines(struct cli *cli)
{
    int worst = CLI_DONE;
    char *line = NULL;
    size_t capacity = 0;
    bool ended = false;
    while (!ended && getline(&line, &capacity, stdin) >= 0) {
        int status;
        ended = run_line(cli, line, &status);
        worst = status > worst ? status : worst;
    }
    free(line);
    return worst;
}

/* --- At a terminal -------------------------------------------------------------------- */

static char *prompt_text(EditLine *edit)
{
    (void)edit;
    static char text[] = "relata> ";
    return text;
}

static char *history_path(void)
{
    const char *given = getenv("RELATA_HISTORY");
    if (given != NULL) {
        return given[0] != '\0' ? strdup(given) : NULL;
    }
    const char *home = getenv("HOME");
    char *path = NULL;
    if (home == NULL || asprintf(&path, "%s/.relata_history", home) < 0) {
        return NULL;
    }
    return path;
}

/* Tab: the commands that begin with the first word. */
static unsigned char complete(EditLine *edit, int key)
{
    (void)key;
    const LineInfo *line = el_line(edit);
    size_t size = (size_t)(line->cursor - line->buffer);
    const char *found = NULL;
    size_t matches = 0;
    for (size_t i = 0; command_at(i) != NULL; i++) {
        const char *name = command_at(i)->name;
        if (strncmp(name, line->buffer, size) == 0) {
            found = name;
            matches++;
        }
    }
    if (matches != 1 || size > strlen(found)) {
        return CC_REFRESH_BEEP;
    }
    char rest[64];
    snprintf(rest, sizeof(rest), "%s ", found + size);
    return el_insertstr(edit, rest) == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
}

static bool open_prompt(struct prompt *prompt)
{
    HistEvent event;
    *prompt = (struct prompt){0};
    prompt->edit = el_init("relata", stdin, stdout, stderr);
    prompt->history = history_init();
    if (prompt->edit == NULL || prompt->history == NULL) {
        return false;
    }
    history(prompt->history, &event, H_SETSIZE, HISTORY_LINES);
    history(prompt->history, &event, H_SETUNIQUE, 1);
    prompt->history_file = history_path();
    if (prompt->history_file != NULL) {
        history(prompt->history, &event, H_LOAD, prompt->history_file);
    }
    el_set(prompt->edit, EL_PROMPT, prompt_text);
    el_set(prompt->edit, EL_EDITOR, "emacs");
    el_set(prompt->edit, EL_HIST, history, prompt->history);
    el_set(prompt->edit, EL_ADDFN, "relata-complete", "complete a command", complete);
    el_set(prompt->edit, EL_BIND, "^I", "relata-complete", NULL);
    el_set(prompt->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return true;
}

/* After every line, so that nothing is lost however this ends. */
static void remember(struct prompt *prompt, const char *line)
{
    HistEvent event;
    if (line[strspn(line, " \t\n")] == '\0') {
        return;
    }
    history(prompt->history, &event, H_ENTER, line);
    if (prompt->history_file != NULL) {
        /* What was typed may hold secrets: for the owner alone. */
        mode_t before = umask(077);
        history(prompt->history, &event, H_SAVE, prompt->history_file);
        umask(before);
    }
}

static void close_prompt(struct prompt *prompt)
{
    free(prompt->history_file);
    if (prompt->edit != NULL) {
        el_end(prompt->edit);
    }
    if (prompt->history != NULL) {
        history_end(prompt->history);
    }
}

static void on_interrupt(int number)
{
    (void)number;
}

/* The next line; NULL at the end. An interrupt gives up the line that is being
 * typed; while a command runs, it ends the program as everywhere. */
static const char *read_line(struct prompt *prompt)
{
    const struct sigaction quiet = {.sa_handler = on_interrupt};
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigaction(SIGINT, &quiet, NULL);
    const char *line;
    for (;;) {
        int size = 0;
        errno = 0;
        el_resize(prompt->edit);
        line = el_gets(prompt->edit, &size);
        if (line != NULL || size >= 0 || errno != EINTR) {
            break;
        }
        fputc('\n', stdout);
        el_reset(prompt->edit);
    }
    sigaction(SIGINT, &usual, NULL);
    return line;
}

static int run_prompt(struct cli *cli)
{
    struct prompt prompt;
    if (!open_prompt(&prompt)) {
        close_prompt(&prompt);
        return run_lines(cli);
    }
    printf("relata %s. Commands as on the command line; help, quit.\n", relata_version());
    bool ended = false;
    while (!ended) {
        const char *line = read_line(&prompt);
        if (line == NULL) {
            fputc('\n', stdout);
            break;
        }
        remember(&prompt, line);
        int status;
        ended = run_line(cli, line, &status);
    }
    close_prompt(&prompt);
    return CLI_DONE;
}

int prompt_run(struct cli *cli)
{
    return isatty(STDIN_FILENO) ? run_prompt(cli) : run_lines(cli);
}
