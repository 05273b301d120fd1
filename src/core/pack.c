/* pack.c: moves canonical codes, scales and zeros into the packed form. */
#include "pack.h"

#include <string.h>

#include "alloc.h"

#define NO_ROW UINT64_MAX

/* The stacked row that lies at physical row r of a tile; NO_ROW for padding. */
static uint64_t stacked_row(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t r)
{
    if (!p->gated) {
        uint64_t row = tile->first + r;
        return r < tile->count && row < p->n ? row : NO_ROW;
    }
    uint64_t granule = woqi_layout_granule(p->layout);
    uint64_t column = r / (2 * granule) * granule + r % granule;
    bool up = r / granule % 2;
    if (column >= tile->count)
        return NO_ROW;
    return tile->first + column + (up ? p->n / 2 : 0);
}

/* The code of padding columns of a group: the one whose weight is 0, so that an infinite scale·q can
 * not turn x = 0 into NaN; with offsets any code has a finite weight. */
static unsigned padding_code(const struct woqi_packer *p, const struct woq_weights_source *s,
                             uint64_t row, uint64_t column)
{
    if (p->format.zero == WOQ_ZERO_OFFSET)
        return 0;
    if (p->format.zero == WOQ_ZERO_SYMMETRIC)
        return p->format.code == WOQ_CODE_U4 ? 8 : 128;
    if (p->format.group == WOQ_GROUP_TENSOR)
        return ((const uint8_t *)s->zeros)[0];
    uint64_t group = column / p->group;
    if (p->canonical_group)
        group = p->canonical_group[group];
    return ((const uint8_t *)s->zeros)[row * p->sizes.groups + group];
}

/* The source that holds a stacked row, and the row's number in it. */
static const struct woq_weights_source *find_source(const struct woqi_packer *p, uint64_t *row)
{
    uint32_t i = 0;
    while (*row >= p->sources[i].n)
        *row -= p->sources[i++].n;
    return &p->sources[i];
}

/* A row of a source. */
struct line {
    const struct woq_weights_source *source;
    uint64_t row;
    const uint8_t *codes;
};

static struct line find_line(const struct woqi_packer *p, uint64_t row)
{
    const struct woq_weights_source *s = find_source(p, &row);
    uint64_t stride = s->row_stride ? s->row_stride : p->sizes.row_bytes;
    return (struct line){s, row, (const uint8_t *)s->codes + row * stride};
}

/* The 4- or 8-bit code of physical column c. */
static unsigned column_code(const struct woqi_packer *p, const struct line *line, uint64_t c)
{
    uint64_t k = p->perm ? p->perm[c] : c;
    if (k == WOQ_PERM_NONE)
        return padding_code(p, line->source, line->row, c);
    return p->format.code == WOQ_CODE_U8 ? line->codes[k] : line->codes[k / 2] >> (k % 2 * 4) & 15u;
}

/* One row in canonical order of columns, gathered, to `out` of codes_stride bytes (zeroed). */
static void pack_row(const struct woqi_packer *p, const struct line *line, uint8_t *out)
{
    if (!p->perm) {
        memcpy(out, line->codes, p->sizes.row_bytes);
        if (p->format.code == WOQ_CODE_U4 && p->k % 2)
            out[p->k / 2] &= 15; /* the canonical row leaves this nibble undefined */
        return;
    }
    for (uint64_t c = 0; c < p->k_packed; c++) {
        unsigned code = column_code(p, line, c);
        if (p->format.code == WOQ_CODE_U8)
            out[c] = (uint8_t)code;
        else
            out[c / 2] |= (uint8_t)(code << (c % 2 * 4));
    }
}

/* The elements of one row as PANEL16 and FRAG16 need them, a column each: 1 byte (U4, U8) or 2. */
static void unpack_row(const struct woqi_packer *p, const struct line *line, uint8_t *out)
{
    if (!p->groups) {
        memcpy(out, line->codes, 2 * p->k);
        return;
    }
    for (uint64_t c = 0; c < p->k_packed; c++)
        out[c] = (uint8_t)column_code(p, line, c);
}

static uint64_t element_size(const struct woqi_packer *p)
{
    return p->groups ? 1 : 2;
}

/* 16 rows of a tile to p->line, `pitch` bytes apart; columns from k_packed to the pitch are filled up with
 * weights of 0. */
static void unpack_granule(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t granule,
                           uint64_t pitch)
{
    uint64_t used = p->k_packed * element_size(p);
    for (uint64_t j = 0; j < 16; j++) {
        uint8_t *out = p->line + j * pitch;
        uint64_t row = stacked_row(p, tile, granule * 16 + j);
        memset(out, 0, pitch);
        if (row == NO_ROW)
            continue;
        struct line line = find_line(p, row);
        unpack_row(p, &line, out);
        if (p->groups && pitch > used)
            memset(out + used, (int)padding_code(p, line.source, line.row, p->k_packed - 1),
                   pitch - used);
    }
}

static void pack_panel(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t panel,
                       uint8_t *out)
{
    uint64_t size = element_size(p), pitch = p->k_packed * size;
    unpack_granule(p, tile, panel, pitch);
    for (uint64_t c = 0; c < p->k_packed; c++) {
        const uint8_t *from = p->line + c * size;
        if (p->format.code == WOQ_CODE_U4)
            for (uint64_t j = 0; j < 8; j++)
                out[c * 8 + j] = (uint8_t)(from[j * pitch] | from[(j + 8) * pitch] << 4);
        else
            for (uint64_t j = 0; j < 16; j++)
                memcpy(out + (c * 16 + j) * size, from + j * pitch, size);
    }
}

/* 8 columns of a row, an element each, as a lane of FRAG16 holds them. */
static void pack_lane(const struct woqi_packer *p, const uint8_t *from, uint8_t *out)
{
    if (p->format.code == WOQ_CODE_U4)
        for (unsigned c = 0; c < 4; c++) {
            unsigned nibble = 2 * c; /* and the one after it: columns of the same parity */
            unsigned low = nibble < 4 ? 2 * nibble : 2 * (nibble - 4) + 1;
            out[c] = (uint8_t)(from[low] | from[low + 2] << 4);
        }
    else if (p->format.code == WOQ_CODE_U8)
        for (unsigned c = 0; c < 8; c++)
            out[c / 4 * 4 + c % 4 / 2 + c % 2 * 2] = from[c];
    else
        memcpy(out, from, 16);
}

static void pack_strip(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t strip,
                       uint8_t *out)
{
    uint64_t size = element_size(p);
    uint64_t units = woqi_div_up(p->k_packed, WOQI_FRAG_COLUMNS) * 2;
    uint64_t pitch = units * 32 * size;
    unpack_granule(p, tile, strip, pitch);
    for (uint64_t u = 0; u < units; u++)
        for (uint64_t row = 0; row < 16; row++)
            for (uint64_t t = 0; t < 4; t++) {
                uint64_t lane = row % 8 * 4 + t, high = row / 8, at;
                if (p->format.code == WOQ_CODE_U4)
                    at = u / 2 * 512 + lane * 16 + u % 2 * 8 + high * 4;
                else if (p->format.code == WOQ_CODE_U8)
                    at = u * 512 + lane * 16 + high * 8;
                else
                    at = u * 1024 + high * 512 + lane * 16;
                pack_lane(p, p->line + row * pitch + (u * 32 + t * 8) * size, out + at);
            }
}

void woqi_pack_codes(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t granule,
                     uint64_t count, uint8_t *out)
{
    uint64_t stride = tile->shape.codes_stride;
    memset(out, 0, count * stride);
    for (uint64_t i = 0; i < count; i++, out += stride) {
        if (p->layout != WOQI_LAYOUT_ROWS) {
            (p->layout == WOQI_LAYOUT_PANEL16 ? pack_panel : pack_strip)(p, tile, granule + i, out);
            continue;
        }
        uint64_t row = stacked_row(p, tile, granule + i);
        if (row == NO_ROW)
            continue;
        struct line line = find_line(p, row);
        pack_row(p, &line, out);
    }
}

/* A table [N][G] of `size`-byte elements, transposed for the tile; padding rows are 0. */
static void pack_table(const struct woqi_packer *p, const struct woqi_tile *tile, uint64_t group,
                       uint64_t count, bool zeros, uint64_t size, uint8_t *out)
{
    uint64_t rows = tile->shape.rows;
    memset(out, 0, count * rows * size);
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t row = stacked_row(p, tile, r);
        if (row == NO_ROW)
            continue;
        const struct woq_weights_source *s = find_source(p, &row);
        const uint8_t *table = zeros ? s->zeros : s->scales;
        for (uint64_t g = 0; g < count; g++) {
            uint64_t from = p->canonical_group ? p->canonical_group[group + g] : group + g;
            uint64_t index = p->format.group == WOQ_GROUP_TENSOR ? 0 : row * p->sizes.groups + from;
            memcpy(out + (g * rows + woqi_table_row(p->layout, r)) * size, table + index * size, size);
        }
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
