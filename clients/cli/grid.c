#include "clients/cli/grid.h"

#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "clients/cli/render.h"
#include "protocol/base/heap.h"
#include "protocol/base/utf8.h"

enum {
    GAP = 2,        /* blanks between two columns */
    WIDTH_LEAST = 6 /* a column is cut no further */
};

static const char ellipsis[] = "\xe2\x80\xa6";
static const char rule[] = "\xe2\x94\x80";

void grid_init(struct grid *grid)
{
    memset(grid, 0, sizeof(*grid));
    arena_init(&grid->arena, 0);
}

void grid_release(struct grid *grid)
{
    arena_release(&grid->arena);
    heap_free(grid->rows);
    heap_free(grid->row_sizes);
}

/* --- Widths ---------------------------------------------------------------------- */

static size_t code_point_width(uint32_t code_point)
{
    int width = wcwidth((wchar_t)code_point);
    return width < 0 ? 1 : (size_t)width;
}

size_t grid_text_width(const char *text, size_t size)
{
    size_t width = 0;
    for (size_t i = 0; i < size;) {
        size_t taken;
        width += code_point_width(utf8_decode((const uint8_t *)text + i, size - i, &taken));
        i += taken;
    }
    return width;
}

/* The bytes at the start that take `width_max` columns at most. */
static size_t fitting(const struct grid_cell *cell, size_t width_max, size_t *width)
{
    size_t i = 0;
    *width = 0;
    while (i < cell->size) {
        size_t taken;
        size_t here =
            code_point_width(utf8_decode((const uint8_t *)cell->text + i, cell->size - i, &taken));
        if (*width + here > width_max) {
            break;
        }
        *width += here;
        i += taken;
    }
    return i;
}

/* --- Rows ------------------------------------------------------------------------ */

static struct grid_cell cell_of(struct grid *grid, const char *text, size_t size)
{
    const char *copy = arena_text(&grid->arena, text, size);
    if (copy == NULL) {
        return (struct grid_cell){"", 0, 0};
    }
    return (struct grid_cell){copy, size, grid_text_width(copy, size)};
}

static size_t column_of(struct grid *grid, const char *name, size_t size)
{
    for (size_t i = 0; i < grid->column_count; i++) {
        const struct grid_cell *known = &grid->columns[i].name;
        if (known->size == size && memcmp(known->text, name, size) == 0) {
            return i;
        }
    }
    if (grid->column_count == GRID_COLUMNS_MAX) {
        return GRID_COLUMNS_MAX;
    }
    struct grid_column *column = &grid->columns[grid->column_count];
    column->name = cell_of(grid, name, size);
    column->width = column->name.width;
    column->is_numeric = true;
    return grid->column_count++;
}

/* A row with room for all columns so far and `more` new ones. */
static bool add_row(struct grid *grid, size_t more)
{
    if (grid->row_count == grid->capacity) {
        size_t capacity = grid->capacity > 0 ? grid->capacity * 2 : 64;
        struct grid_cell **rows = heap_resize(grid->rows, capacity * sizeof(struct grid_cell *));
        size_t *sizes = heap_resize(grid->row_sizes, capacity * sizeof(*sizes));
        grid->rows = rows != NULL ? rows : grid->rows;
        grid->row_sizes = sizes != NULL ? sizes : grid->row_sizes;
        if (rows == NULL || sizes == NULL) {
            return false;
        }
        grid->capacity = capacity;
    }
    struct grid_cell *row =
        arena_zero(&grid->arena, grid->column_count + more, sizeof(struct grid_cell));
    if (row == NULL) {
        return false;
    }
    grid->row_sizes[grid->row_count] = 0;
    grid->rows[grid->row_count++] = row;
    return true;
}

/* Puts a value into the last row. */
static void put_cell(struct grid *grid, const char *name, size_t size, struct relata_value value)
{
    size_t place = column_of(grid, name, size);
    if (place == GRID_COLUMNS_MAX) {
        return;
    }
    struct buffer text = BUFFER_INIT;
    render_cell(&text, value);
    struct grid_cell cell = cell_of(grid, (const char *)text.bytes, text.size);
    buffer_release(&text);

    size_t last = grid->row_count - 1;
    struct grid_column *column = &grid->columns[place];
    enum relata_type type = relata_value_type(value);
    column->is_numeric =
        column->is_numeric &&
        (type == RELATA_TYPE_INTEGER || type == RELATA_TYPE_FLOAT || type == RELATA_TYPE_NIL);
    column->width = cell.width > column->width ? cell.width : column->width;
    grid->rows[last][place] = cell;
    grid->row_sizes[last] = place + 1 > grid->row_sizes[last] ? place + 1 : grid->row_sizes[last];
}

static void put_record(struct grid *grid, struct relata_value record)
{
    if (relata_value_type(record) != RELATA_TYPE_MAP) {
        put_cell(grid, "value", 5, record);
        return;
    }
    struct relata_cursor cursor = relata_pairs(record);
    for (struct relata_value key, value; relata_next_pair(&cursor, &key, &value);) {
        struct buffer name = BUFFER_INIT;
        render_cell(&name, key);
        put_cell(grid, (const char *)name.bytes, name.size, value);
        buffer_release(&name);
    }
}

void grid_add(struct grid *grid, struct relata_value record)
{
    if (add_row(grid, relata_value_count(record) + 1)) {
        put_record(grid, record);
    }
}

void grid_add_named(struct grid *grid, const char *title, struct relata_value name,
                    struct relata_value record)
{
    if (add_row(grid, relata_value_count(record) + 2)) {
        put_cell(grid, title, strlen(title), name);
        put_record(grid, record);
    }
}

/* --- Writing --------------------------------------------------------------------- */

static void repeat(struct buffer *out, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buffer_append(out, text, strlen(text));
    }
}

static void write_cell(struct buffer *out, const struct grid_cell *cell, size_t width,
                       bool to_the_right, bool is_last)
{
    size_t taken = cell->size;
    size_t shown = cell->width;
    bool is_cut = shown > width;
    if (is_cut) {
        taken = fitting(cell, width - 1, &shown);
        shown++;
    }
    if (to_the_right) {
        repeat(out, " ", width - shown);
    }
    buffer_append(out, cell->text, taken);
    if (is_cut) {
        buffer_append(out, ellipsis, sizeof(ellipsis) - 1);
    }
    if (!to_the_right && !is_last) {
        repeat(out, " ", width - shown);
    }
}

/* Takes from the widest until the whole fits. False where that cannot be. */
static bool fit_widths(const struct grid *grid, size_t width_max, size_t widths[GRID_COLUMNS_MAX])
{
    size_t total = grid->column_count > 0 ? (grid->column_count - 1) * GAP : 0;
    for (size_t i = 0; i < grid->column_count; i++) {
        widths[i] = grid->columns[i].width;
        total += widths[i];
    }
    while (total > width_max) {
        size_t widest = 0;
        for (size_t i = 1; i < grid->column_count; i++) {
            widest = widths[i] > widths[widest] ? i : widest;
        }
        if (grid->column_count == 0 || widths[widest] <= WIDTH_LEAST) {
            return false;
        }
        widths[widest]--;
        total--;
    }
    return true;
}

static void write_across(const struct grid *grid, const size_t widths[GRID_COLUMNS_MAX],
                         struct buffer *out)
{
    size_t count = grid->column_count;
    for (size_t i = 0; i < count; i++) {
        write_cell(out, &grid->columns[i].name, widths[i], grid->columns[i].is_numeric,
                   i + 1 == count);
        repeat(out, " ", i + 1 < count ? GAP : 0);
    }
    buffer_byte(out, '\n');
    for (size_t i = 0; i < count; i++) {
        repeat(out, rule, widths[i]);
        repeat(out, " ", i + 1 < count ? GAP : 0);
    }
    buffer_byte(out, '\n');
    for (size_t row = 0; row < grid->row_count; row++) {
        size_t cells = grid->row_sizes[row];
        for (size_t i = 0; i < cells; i++) {
            static const struct grid_cell nothing = {"", 0, 0};
            const struct grid_cell *cell = &grid->rows[row][i];
            write_cell(out, cell->text == NULL ? &nothing : cell, widths[i],
                       grid->columns[i].is_numeric, i + 1 == cells);
            repeat(out, " ", i + 1 < cells ? GAP : 0);
        }
        buffer_byte(out, '\n');
    }
}

/* One field a line, a blank line between two records. */
static void write_down(const struct grid *grid, size_t width_max, struct buffer *out)
{
    size_t name_width = 0;
    for (size_t i = 0; i < grid->column_count; i++) {
        size_t width = grid->columns[i].name.width;
        name_width = width > name_width ? width : name_width;
    }
    size_t left =
        width_max > name_width + GAP + WIDTH_LEAST ? width_max - name_width - GAP : WIDTH_LEAST;
    for (size_t row = 0; row < grid->row_count; row++) {
        for (size_t i = 0; i < grid->row_sizes[row]; i++) {
            if (grid->rows[row][i].text == NULL) {
                continue;
            }
            write_cell(out, &grid->columns[i].name, name_width, false, false);
            repeat(out, " ", GAP);
            write_cell(out, &grid->rows[row][i], left, false, true);
            buffer_byte(out, '\n');
        }
        repeat(out, "\n", row + 1 < grid->row_count ? 1 : 0);
    }
}

void grid_write(const struct grid *grid, size_t width_max, struct buffer *out)
{
    size_t widths[GRID_COLUMNS_MAX] = {0};
    if (grid->row_count == 0) {
        return;
    }
    if (fit_widths(grid, width_max, widths)) {
        write_across(grid, widths, out);
    } else {
        write_down(grid, width_max, out);
    }
}
