#include "clients/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clients/cli/grid.h"
#include "clients/cli/render.h"

enum { WIDTH_DEFAULT = 80, WIDTH_UNLIMITED = 1 << 20, PRINT_BYTES = 1 << 16 };

bool cli_tables(const struct cli *cli)
{
    return cli->format == CLI_TABLE || (cli->format == CLI_AUTO && isatty(STDOUT_FILENO));
}

size_t cli_width(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO)) {
        return WIDTH_UNLIMITED;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    const char *columns = getenv("COLUMNS");
    long width = columns == NULL ? 0 : strtol(columns, NULL, 10);
    return width > 0 && width < WIDTH_UNLIMITED ? (size_t)width : WIDTH_DEFAULT;
}

int cli_print(struct buffer *text)
{
    bool failed = text->failed;
    if (failed) {
        fprintf(stderr, "relata: there is no memory for what is to be printed\n");
    } else if (text->size > 0 &&
               (fwrite(text->bytes, 1, text->size, stdout) != text->size || fflush(stdout) != 0)) {
        fprintf(stderr, "relata: standard output: %s\n", strerror(errno));
        failed = true;
    }
    buffer_truncate(text, 0);
    return failed ? CLI_FAILED : CLI_DONE;
}

static int print_lines(struct relata_value list)
{
    int status = CLI_DONE;
    struct buffer text = BUFFER_INIT;
    struct relata_cursor cursor = relata_items(list);
    for (struct relata_value item; status == CLI_DONE && relata_next(&cursor, &item);) {
        render_json(&text, item);
        buffer_byte(&text, '\n');
        if (text.size >= PRINT_BYTES) {
            status = cli_print(&text);
        }
    }
    status = status == CLI_DONE ? cli_print(&text) : status;
    buffer_release(&text);
    return status;
}

static int print_table(struct relata_value list)
{
    struct grid *grid = malloc(sizeof(*grid));
    if (grid == NULL) {
        fprintf(stderr, "relata: there is no memory for a table\n");
        return CLI_FAILED;
    }
    grid_init(grid);
    struct relata_cursor cursor = relata_items(list);
    for (struct relata_value item; relata_next(&cursor, &item);) {
        grid_add(grid, item);
    }
    struct buffer text = BUFFER_INIT;
    grid_write(grid, cli_width(), &text);
    size_t count = relata_value_count(list);
    buffer_printf(&text, "(%zu record%s)\n", count, count == 1 ? "" : "s");
    int status = cli_print(&text);
    buffer_release(&text);
    grid_release(grid);
    free(grid);
    return status;
}

int cli_print_list(const struct cli *cli, struct relata_value list)
{
    return cli_tables(cli) ? print_table(list) : print_lines(list);
}

/* A record alone: without the line that counts. */
static int print_record(struct relata_value record)
{
    struct grid *grid = malloc(sizeof(*grid));
    if (grid == NULL) {
        fprintf(stderr, "relata: there is no memory for a table\n");
        return CLI_FAILED;
    }
    struct buffer text = BUFFER_INIT;
    grid_init(grid);
    grid_add(grid, record);
    grid_write(grid, cli_width(), &text);
    int status = cli_print(&text);
    buffer_release(&text);
    grid_release(grid);
    free(grid);
    return status;
}

int cli_print_value(const struct cli *cli, struct relata_value value)
{
    enum relata_type type = relata_value_type(value);
    if (cli_tables(cli) && type == RELATA_TYPE_MAP) {
        return print_record(value);
    }
    struct buffer text = BUFFER_INIT;
    if (cli_tables(cli) && type != RELATA_TYPE_ARRAY) {
        render_cell(&text, value);
    } else {
        render_json(&text, value);
    }
    buffer_byte(&text, '\n');
    int status = cli_print(&text);
    buffer_release(&text);
    return status;
}
