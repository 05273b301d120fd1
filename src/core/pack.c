/* pack.c: moves canonical codes, scales and zeros into the packed form. */
#include "pack.h"

#include <string.h>

#include "alloc.h"
#include "pack_unit.h"

#define NO_ROW UINT64_MAX

/* The stacked row that lies at physical row r of a tile; NO_ROW for padding. *run: rows from there on that are neighbours
 * in both; 1 for padding. */
static uint64_t stacked_row(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t r, uint64_t *run)
{
    *run = 1;
    if (!p->gated) {
        uint64_t row = tile->first + r;
        if (r >= tile->count || row >= p->n)
            return NO_ROW;
        *run = woqi_min(tile->count - r, p->n - row);
        return row;
    }
    uint64_t granule = woqi_layout_granule(p->layout);
    uint64_t column = r / (2 * granule) * granule + r % granule;
    bool up = r / granule % 2;
    if (column >= tile->count)
        return NO_ROW;
    *run = woqi_min(tile->count - column, granule - r % granule);
    return tile->first + column + (up ? p->n / 2 : 0);
}

/* The source that holds a stacked row, and the row's number in it. */
static const struct woq_weights_source *find_source(const struct woqi_packer *p, uint64_t *row)
{
    uint32_t i = 0;
    while (*row >= p->sources[i].n)
        *row -= p->sources[i++].n;
    return &p->sources[i];
}

struct woqi_pack_line woqi_pack_line(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t r)
{
    uint64_t run, row = stacked_row(p, tile, r, &run);
    if (row == NO_ROW)
        return (struct woqi_pack_line){.run = run};
    const struct woq_weights_source *s = find_source(p, &row);
    uint64_t stride = s->row_stride ? s->row_stride : p->sizes.row_bytes;
    return (struct woqi_pack_line){s, row, woqi_min(run, s->n - row), (const uint8_t *)s->codes + row * stride};
}

/* The code of padding columns of a physical group: the one whose weight is 0, so that an infinite scale·q can
 * not turn x = 0 into NaN; with offsets any code has a finite weight. 0 in padding rows. */
static uint8_t padding_code(const struct woqi_packer *p, const struct woqi_pack_line *line, uint64_t group)
{
    if (!line->source || !p->groups || p->format.zero == WOQ_ZERO_OFFSET)
        return 0;
    if (p->format.zero == WOQ_ZERO_SYMMETRIC)
        return p->format.code == WOQ_CODE_U4 ? 8 : 128;
    const uint8_t *zeros = line->source->zeros;
    if (p->format.group == WOQ_GROUP_TENSOR)
        return zeros[0];
    if (p->canonical_group)
        group = p->canonical_group[group];
    return zeros[line->row * p->sizes.groups + group];
}

/* 16 rows of a tile, on their way there. */
struct block {
    struct woqi_pack_line lines[WOQI_UNIT_ROWS];
    unsigned bits;
    uint64_t padded; /* physical group whose padding codes `padding` has */
    uint8_t padding[WOQI_UNIT_ROWS]; /* a column of PANEL16 */
};

/* Columns from `used` on: for FRAG16B weights of 0, as the last physical group has them; the others show none. */
static void pad_unit(const struct woqi_packer *p, const struct block *b, uint64_t used, struct woqi_unit *unit)
{
    for (unsigned j = 0; j < WOQI_UNIT_ROWS; j++) {
        uint8_t *row = unit->rows[j], code = 0;
        if (p->layout == WOQI_LAYOUT_FRAG16B)
            code = padding_code(p, &b->lines[j], p->groups - 1);
        uint64_t begin = woqi_div_up(used * b->bits, 8);
        if (b->bits == 4) {
            code = (uint8_t)(code | code << 4);
            if (used % 2)
                row[begin - 1] = (uint8_t)((row[begin - 1] & 15) | (code & 0xf0));
        }
        memset(row + begin, code, 8 * b->bits - begin);
    }
}

/* Unit u of the columns as they are given. */
static void copy_unit(const struct woqi_packer *p, const struct block *b, uint64_t u, struct woqi_unit *unit)
{
    uint64_t bytes = 8 * b->bits, columns = woqi_min(p->k - u * WOQI_UNIT_COLUMNS, WOQI_UNIT_COLUMNS);
    for (unsigned j = 0; j < WOQI_UNIT_ROWS; j++) {
        uint8_t *row = unit->rows[j];
        const uint8_t *from = b->lines[j].codes;
        if (!from)
            memset(row, 0, bytes);
        else if (columns < WOQI_UNIT_COLUMNS)
            memcpy(row, from + u * bytes, woqi_div_up(columns * b->bits, 8));
        else
            for (uint64_t i = 0; i < bytes; i += 32) /* of a constant length: no call */
                memcpy(row + i, from + u * bytes + i, 32);
    }
    if (columns < WOQI_UNIT_COLUMNS)
        pad_unit(p, b, columns, unit);
}

/* The padding codes of a physical group, as a column of PANEL16. */
static const uint8_t *padding_column(const struct woqi_packer *p, struct block *b, uint64_t group)
{
    if (b->padded == group)
        return b->padding;
    b->padded = group;
    for (unsigned j = 0; j < WOQI_UNIT_ROWS; j++) {
        uint8_t code = padding_code(p, &b->lines[j], group);
        if (b->bits == 8 || j < 8)
            b->padding[j] = code;
        else
            b->padding[j - 8] |= (uint8_t)(code << 4);
    }
    return b->padding;
}

/* Physical columns first … first+count-1 from p->panel to a panel of their own, a column in one piece. */
static void gather_columns(const struct woqi_packer *p, struct block *b, uint64_t first, uint64_t count, uint8_t *out)
{
    uint64_t size = 2 * b->bits;
    for (uint64_t c = 0; c < count; c++) {
        uint32_t k = p->perm[first + c];
        const uint8_t *from = k == WOQ_PERM_NONE ? padding_column(p, b, (first + c) / p->group) : p->panel + k * size;
        if (size == 8)
            memcpy(out + 8 * c, from, 8);
        else
            memcpy(out + 16 * c, from, 16);
    }
}

/* Unit u of the physical columns. */
static void gather_unit(const struct woqi_packer *p, struct block *b, uint64_t u, struct woqi_unit *unit)
{
    uint8_t panel[WOQI_UNIT_COLUMNS * WOQI_UNIT_ROWS];
    uint64_t columns = woqi_min(p->k_packed - u * WOQI_UNIT_COLUMNS, WOQI_UNIT_COLUMNS);
    if (columns < WOQI_UNIT_COLUMNS)
        memset(panel, 0, sizeof panel);
    gather_columns(p, b, u * WOQI_UNIT_COLUMNS, columns, panel);
    woqi_unit_from_panel(panel, b->bits, unit);
    if (columns < WOQI_UNIT_COLUMNS)
        pad_unit(p, b, columns, unit);
}

/* Unit u of `rows` rows to its place in the block's output; `stride`: codes_stride. */
static void place_unit(const struct woqi_packer *p, const struct block *b, uint64_t u, uint64_t rows,
                       const struct woqi_unit *unit, uint64_t stride, uint8_t *out)
{
    uint64_t columns = woqi_min(p->k_packed - u * WOQI_UNIT_COLUMNS, WOQI_UNIT_COLUMNS);
    uint64_t row_bytes = 8 * b->bits, unit_bytes = WOQI_UNIT_ROWS * row_bytes;
    if (p->layout == WOQI_LAYOUT_FRAG16B) {
        woqi_unit_to_strip(unit, b->bits, out + u * unit_bytes);
    } else if (p->layout == WOQI_LAYOUT_ROWS) {
        for (uint64_t j = 0; j < rows; j++)
            memcpy(out + j * stride + u * row_bytes, unit->rows[j], woqi_div_up(columns * b->bits, 8));
    } else if (columns == WOQI_UNIT_COLUMNS) {
        woqi_unit_to_panel(unit, b->bits, out + u * unit_bytes);
    } else {
        uint8_t panel[WOQI_UNIT_ROWS * WOQI_UNIT_PITCH];
        woqi_unit_to_panel(unit, b->bits, panel);
        memcpy(out + u * unit_bytes, panel, columns * 2 * b->bits);
    }
}

/* Rows first … first+rows-1 of a tile, at most 16. */
static void pack_block(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t first, uint64_t rows,
                       uint8_t *out)
{
    struct woqi_unit unit;
    struct block b = {.bits = woqi_code_bits(p->format.code), .padded = UINT64_MAX};
    for (uint64_t j = 0; j < rows; j++)
        b.lines[j] = woqi_pack_line(p, tile, first + j);
    for (uint64_t u = 0; p->perm && u < woqi_div_up(p->k, WOQI_UNIT_COLUMNS); u++) {
        copy_unit(p, &b, u, &unit);
        woqi_unit_to_panel(&unit, b.bits, p->panel + u * WOQI_UNIT_COLUMNS * 2 * b.bits);
    }
    if (p->perm && p->layout == WOQI_LAYOUT_PANEL16) {
        gather_columns(p, &b, 0, p->k_packed, out);
        return;
    }
    for (uint64_t u = 0; u < woqi_div_up(p->k_packed, WOQI_UNIT_COLUMNS); u++) {
        if (p->perm)
            gather_unit(p, &b, u, &unit);
        else
            copy_unit(p, &b, u, &unit);
        place_unit(p, &b, u, rows, &unit, tile->shape.codes_stride, out);
    }
}

/* One row in canonical order, as ROWS has it without g_idx. */
static void pack_row(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t r, uint8_t *out)
{
    struct woqi_pack_line line = woqi_pack_line(p, tile, r);
    if (!line.codes) {
        memset(out, 0, p->sizes.row_bytes);
        return;
    }
    memcpy(out, line.codes, p->sizes.row_bytes);
    if (p->format.code == WOQ_CODE_U4 && p->k % 2)
        out[p->k / 2] &= 15; /* the canonical row leaves this nibble undefined */
}

void woqi_pack_codes(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t granule,
                     uint64_t count, uint8_t *out)
{
    uint64_t stride = tile->shape.codes_stride, rows = woqi_layout_granule(p->layout);
    uint64_t used = woqi_div_up(p->k_packed * rows * woqi_code_bits(p->format.code), 8);
    if (p->layout == WOQI_LAYOUT_FRAG16B)
        used = stride; /* padding columns are weights */
    for (uint64_t i = 0; i < count; i++)
        memset(out + i * stride + used, 0, stride - used);
    if (rows == WOQI_UNIT_ROWS) {
        for (uint64_t i = 0; i < count; i++)
            pack_block(p, tile, (granule + i) * rows, rows, out + i * stride);
    } else if (p->perm) {
        for (uint64_t i = 0; i < count; i += WOQI_UNIT_ROWS)
            pack_block(p, tile, granule + i, woqi_min(count - i, WOQI_UNIT_ROWS), out + i * stride);
    } else {
        for (uint64_t i = 0; i < count; i++)
            pack_row(p, tile, granule + i, out + i * stride);
    }
}

/* ---- tables of scales and zeros ---- */

/* So many rows at a time: whole cache lines of the output, and of a source's rows few enough for the cache. */
#define TABLE_ROWS 64

struct table_row {
    const uint8_t *elements;
    uint64_t step; /* bytes from one canonical group to the next; 0 = the same element for all */
};

static void copy_elements(const struct table_row *rows, uint64_t count, uint64_t group, uint64_t size, uint8_t *out)
{
    switch (size) { /* constant sizes: no calls */
    case 1:
        for (uint64_t j = 0; j < count; j++)
            out[j] = rows[j].elements[group * rows[j].step];
        break;
    case 2:
        for (uint64_t j = 0; j < count; j++)
            memcpy(out + 2 * j, rows[j].elements + group * rows[j].step, 2);
        break;
    default:
        for (uint64_t j = 0; j < count; j++)
            memcpy(out + 4 * j, rows[j].elements + group * rows[j].step, 4);
    }
}

/* A table [N][G] of `size`-byte elements, transposed for the tile; padding rows are 0. */
static void pack_table(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t group,
                       uint64_t count, bool zeros, uint64_t size, uint8_t *out)
{
    static const uint8_t nothing[4];
    struct table_row from[TABLE_ROWS];
    uint64_t rows = tile->shape.rows;
    for (uint64_t first = 0; first < rows; first += TABLE_ROWS) {
        uint64_t now = woqi_min(rows - first, TABLE_ROWS);
        for (uint64_t j = 0; j < now; j++) {
            struct woqi_pack_line line = woqi_pack_line(p, tile, first + j);
            struct table_row *to = &from[woqi_table_row(p->layout, j)];
            *to = (struct table_row){nothing, 0};
            if (!line.source)
                continue;
            to->elements = zeros ? line.source->zeros : line.source->scales;
            if (p->format.group == WOQ_GROUP_TENSOR)
                continue;
            to->elements += line.row * p->sizes.groups * size;
            to->step = size;
        }
        for (uint64_t g = group; g < group + count; g++)
            copy_elements(from, now, p->canonical_group ? p->canonical_group[g] : g, size,
                          out + ((g - group) * rows + first) * size);
    }
}

void woqi_pack_scales(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t group,
                      uint64_t count, uint8_t *out)
{
    pack_table(p, tile, group, count, false, woq_type_size(p->format.scale), out);
}

void woqi_pack_zeros(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t group,
                     uint64_t count, uint8_t *out)
{
    uint64_t size = p->format.zero == WOQ_ZERO_POINT ? 1 : woq_type_size(p->format.scale);
    pack_table(p, tile, group, count, true, size, out);
}
