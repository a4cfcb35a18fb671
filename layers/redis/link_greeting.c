#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/link_inner.h"
#include "protocol/base/check.h"

/* What is said before a link is UP: first HELLO 3, which tells how to go on; then
 * all the rest in one write. Refused passwords, databases and servers that are
 * still loading break the link; refused tracking and INFO do not. PING is there to
 * learn whether the server can serve, since it is loading or without its master
 * while the other steps are answered all the same. */

typedef void step_done(struct link_command *command, enum link_outcome outcome,
                       struct resp_reader reply);

enum { SHOWN_MAX = 200, FIGURE_MAX = 24 };

/* ---- Saying ---- */

static void say(struct link *link, size_t before, step_done *done)
{
    CHECK(link->step_count < LINK_STEPS_MAX);
    struct link_step *step = &link->steps[link->step_count++];
    link->greetings++;
    link_step_put(link, step, before, done);
}

static void say_words(struct link *link, const char *const *words, size_t count, step_done *done)
{
    size_t before = link->output.size;
    resp_command(&link->output, count);
    for (size_t i = 0; i < count; i++) {
        resp_word_text(&link->output, words[i]);
    }
    say(link, before, done);
}

/* ---- Hearing ---- */

/* The token of a step's reply; NULL where the link is down, and nothing is to be
 * done any more. */
static struct link *heard(struct link_command *command, enum link_outcome outcome,
                          struct resp_reader *reply, struct resp_token *token)
{
    struct link *link = CONTAINER_OF(command, struct link_step, command)->owner;
    if (outcome != LINK_ANSWERED || link->state != LINK_GREETING) {
        return NULL;
    }
    link->greetings--;
    *token = resp_next(reply);
    return link;
}

/* What a server said, for a person: never with the password in it, which a server
 * may repeat as a part of a command that it does not know. */
static const char *shown(const struct link *link, const struct resp_token *token,
                         char out[SHOWN_MAX])
{
    const char *password = link->settings.options->password;
    size_t size = strlen(password);
    bool repeats = size > 0 && memmem(token->bytes, token->size, password, size) != NULL;
    int shown_size = token->size < SHOWN_MAX ? (int)token->size : SHOWN_MAX - 1;
    snprintf(out, SHOWN_MAX, "%.*s", repeats ? 0 : shown_size, (const char *)token->bytes);
    return repeats ? "an error that repeats the password" : out;
}

static void went_on(struct link *link)
{
    if (link->greetings == 0 && link->state == LINK_GREETING) {
        link_greeted(link);
    }
}

static void on_auth(struct link_command *command, enum link_outcome outcome,
                    struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    if (token.kind == RESP_ERROR) {
        char text[SHOWN_MAX];
        link_fail(link, "the password was refused: %s", shown(link, &token, text));
    }
    went_on(link);
}

static void on_ping(struct link_command *command, enum link_outcome outcome,
                    struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    /* A user who may not ping may do other things. */
    if (token.kind == RESP_ERROR && !resp_begins(&token, "NOPERM")) {
        char text[SHOWN_MAX];
        link_fail(link, "it cannot serve: %s", shown(link, &token, text));
    }
    went_on(link);
}

static void on_select(struct link_command *command, enum link_outcome outcome,
                      struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    if (token.kind == RESP_ERROR) {
        char text[SHOWN_MAX];
        link_fail(link, "database %u: %s", link->settings.options->database,
                  shown(link, &token, text));
    }
    went_on(link);
}

static void on_tracking(struct link_command *command, enum link_outcome outcome,
                        struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    if (token.kind == RESP_TEXT && resp_is(&token, "OK")) {
        CHECK(link->tracked_us != 0);
    } else {
        char text[SHOWN_MAX];
        const char *why =
            token.kind == RESP_ERROR ? shown(link, &token, text) : resp_describe(&token);
        link->tracked_us = 0;
        link->tracking_refused = true;
        snprintf(link->tracking_error, sizeof(link->tracking_error), "%.*s", LINK_REFUSAL_MAX - 1,
                 why);
    }
    went_on(link);
}

/* Copies what stands behind "name:" at the beginning of a line; empty where it is
 * not there. */
static void read_line(const struct resp_token *text, const char *name, char *out, size_t out_size)
{
    size_t name_size = strlen(name);
    const uint8_t *at = text->bytes;
    const uint8_t *end = text->bytes + text->size;
    out[0] = '\0';
    while (at < end) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((line_end != NULL ? line_end : end) - at);
        if (size > name_size && memcmp(at, name, name_size) == 0) {
            size_t value = size - name_size;
            value -= at[size - 1] == '\r' ? 1 : 0;
            value = value < out_size ? value : out_size - 1;
            memcpy(out, at + name_size, value);
            out[value] = '\0';
            return;
        }
        at += size + 1;
    }
}

static void on_info(struct link_command *command, enum link_outcome outcome,
                    struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    link->eviction_policy[0] = '\0';
    link->eviction_bounded = false;
    if (token.kind == RESP_TEXT) {
        char bytes_max[FIGURE_MAX];
        read_line(&token, "maxmemory_policy:", link->eviction_policy,
                  sizeof(link->eviction_policy));
        read_line(&token, "maxmemory:", bytes_max, sizeof(bytes_max));
        link->eviction_bounded = strtoull(bytes_max, NULL, 10) > 0;
    }
    went_on(link);
}

/* ---- The order ---- */

/* A user may be known without a password. */
static bool has_login(const struct home_options *options)
{
    return options->user[0] != '\0' || options->password[0] != '\0';
}

static void say_auth(struct link *link)
{
    const struct home_options *options = link->settings.options;
    const char *words[3] = {"AUTH"};
    size_t count = 1;
    if (!has_login(options)) {
        return;
    }
    if (options->user[0] != '\0') {
        words[count++] = options->user;
    }
    words[count++] = options->password;
    say_words(link, words, count, on_auth);
}

static void say_select(struct link *link)
{
    char database[FIGURE_MAX];
    snprintf(database, sizeof(database), "%u", link->settings.options->database);
    const char *const words[] = {"SELECT", database};
    if (link->settings.options->database != 0) {
        say_words(link, words, ARRAY_COUNT(words), on_select);
    }
}

static void say_tracking(struct link *link)
{
    size_t before = link->output.size;
    bool prefixes = link->settings.tracking == LINK_TRACKS_PREFIXES;
    if (link->settings.tracking == LINK_UNTRACKED) {
        return;
    }
    /* Never NOLOOP: what others make of one's own write would not be heard then. */
    resp_command(&link->output, 4 + (prefixes ? 2 * link->settings.prefix_count : 0));
    resp_word_text(&link->output, "CLIENT");
    resp_word_text(&link->output, "TRACKING");
    resp_word_text(&link->output, "ON");
    if (prefixes) {
        const struct buffer *words = link->settings.prefixes;
        resp_word_text(&link->output, "BCAST");
        buffer_append(&link->output, words->bytes, words->size);
    } else {
        resp_word_text(&link->output, "OPTOUT"); /* so that a command can be left out */
    }
    link->tracked_us = link->now_us;
    say(link, before, on_tracking);
}

static void say_rest(struct link *link, bool resp3)
{
    static const char *const ping_words[] = {"PING"};
    static const char *const info_words[] = {"INFO", "memory"};
    link->step_count = 0;
    if (!resp3) {
        say_auth(link);
    }
    say_words(link, ping_words, ARRAY_COUNT(ping_words), on_ping);
    say_select(link);
    if (resp3) {
        say_tracking(link);
    } else if (link->settings.tracking != LINK_UNTRACKED) {
        link->tracking_refused = true;
        snprintf(link->tracking_error, sizeof(link->tracking_error),
                 "the server speaks no RESP3 (Redis 6 and later do)");
    }
    say_words(link, info_words, ARRAY_COUNT(info_words), on_info);
    link_flush(link);
}

static void on_hello(struct link_command *command, enum link_outcome outcome,
                     struct resp_reader reply)
{
    struct resp_token token;
    struct link *link = heard(command, outcome, &reply, &token);
    if (link == NULL) {
        return;
    }
    if (token.kind != RESP_ERROR) {
        say_rest(link, true);
    } else if (resp_begins(&token, "NOPROTO") || resp_begins(&token, "ERR unknown command")) {
        say_rest(link, false);
    } else {
        char text[SHOWN_MAX];
        const char *what = link->settings.options->password[0] == '\0' ? "it refuses to talk"
                                                                       : "the password was refused";
        const char *why = shown(link, &token, text);
        link_fail(link, "%s: %s", resp_begins(&token, "NOAUTH") ? "it asks for a password" : what,
                  why);
    }
}

void link_greet(struct link *link)
{
    const struct home_options *options = link->settings.options;
    const char *words[5] = {"HELLO", "3"};
    size_t count = 2;
    if (has_login(options)) {
        words[count++] = "AUTH";
        words[count++] = options->user[0] != '\0' ? options->user : "default";
        words[count++] = options->password;
    }
    link->step_count = 0;
    link->greetings = 0;
    say_words(link, words, count, on_hello);
    link_flush(link);
}
