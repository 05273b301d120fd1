/*
 * layout.h: how packed weights lie on a device. One layout for each class of device, read by all of its
 * kernels; version it by a new name, never by a changed meaning.
 *
 * A tile holds some of the rows and all columns of a weight matrix, as one buffer:
 *
 *     codes | scales [G][rows] | zeros [G][rows] | perm [k]       each part aligned to 256 bytes
 *
 * rows: padded to a multiple of the layout's granule (padding: code 0, scale 0). G: physical groups.
 * Gated weights alternate: granule rows of gate, then the same rows of up, …; so every slice of whole
 * granule pairs holds both.
 *
 * With g_idx the columns are sorted by group (stable); a group with other than `group` members is
 * padded to whole physical groups that repeat its scale, with columns of perm WOQ_PERM_NONE whose code
 * is the row's zero point (w = 0; with offsets code 0): they add x·w = 0·w = 0, whatever the scale.
 *
 * ROWS      granule 1. Row r begins at r·codes_stride (a multiple of 16); inside a row the canonical
 *           order: U4 two columns a byte, low nibble first; U8 a byte; F16/BF16 two bytes.
 * PANEL16   granule 16. Panel p (rows 16p … 16p+15) begins at p·codes_stride; for each column k, in
 *           order, 16 elements:
 *             U4: 8 bytes; byte j = row 16p+j (low nibble), row 16p+j+8 (high nibble)
 *             U8: 16 bytes; F16/BF16: 16 little-endian 2-byte elements; row 16p+j at place j
 *           codes_stride = k · (8, 16 or 32) bytes, rounded up to 64.
 * FRAG16B   granule 16: rows and columns as a matrix unit's threads hold them, so that a thread gets what it
 *           multiplies with one 16-byte load. Strip s (rows 16s … 16s+15) begins at s·codes_stride;
 *           columns are padded to a multiple of 64 with weights of 0, and 16 × 32 of them (the unit
 *           below) are spread over 32 lanes l = 4·g + t:
 *
 *                 columns  0…7     8…15    16…23   24…31
 *             row 0        l=0     l=1     l=2     l=3
 *             row 1        l=4     l=5     l=6     l=7        rows 8 … 15: the same lanes, l = 4·(row − 8) + t
 *             …
 *             row 7        l=28    l=29    l=30    l=31
 *
 *             Lane l holds columns 8t … 8t+7 of row g and of row g+8. As the operand A of an
 *             m16n8k16 product (PTX ISA, "Matrix Fragments for mma.m16n8k16") they serve two products:
 *             columns 8t … 8t+3 are the k = 2t, 2t+1, 2t+8, 2t+9 of the first, the others of the second.
 *             Columns of an activation row are thus read 8 at a time too.
 *             U4: two units (64 columns) in 512 bytes: lane l at 16·l has 8 elements of 16 bits, the columns of its
 *                 8, with the nibbles: unit 0 row g, unit 0 row g+8, unit 1 row g, unit 1 row g+8.
 *             U8: a unit in 512 bytes: likewise, with the bytes: row g, row g+8.
 *                 So a mask of a word yields neighbouring columns. Word i of all lanes 4g … 4g+3, which ldmatrix brings
 *                 to one of them, is what this one holds of operand A if the product's columns are in order.
 *             F16, BF16: a unit in 1024 bytes: row g of lane l at 16·l, row g+8 at 512 + 16·l, in order.
 *           codes_stride = 512, 1024 or 2048 bytes for each 64 columns.
 *           In the tables of scales and zeros the 16 rows of a strip stand as 0, 8, 1, 9, …, 7, 15: a lane
 *           finds those of its two rows side by side (woqi_table_row).
 */
#ifndef WOQI_LAYOUT_H
#define WOQI_LAYOUT_H

#include <woq/weights.h>

enum woqi_layout { WOQI_LAYOUT_ROWS, WOQI_LAYOUT_PANEL16, WOQI_LAYOUT_FRAG16B, WOQI_LAYOUT_COUNT };

#define WOQI_PART_ALIGNMENT 256
#define WOQI_FRAG_COLUMNS 64 /* FRAG16B: columns are padded to a multiple of it */
#define WOQI_FRAG_PIECE 8    /* FRAG16B: columns that a lane holds of a row */

/* Byte offsets within a tile of `rows` (padded) rows, and its size. */
struct woqi_tile_shape {
    uint64_t rows, k, groups;
    uint64_t codes_stride;
    uint64_t codes, scales, zeros, perm, size;
};

/* Where row `row` of a tile stands in its tables of scales and zeros. */
static inline uint64_t woqi_table_row(enum woqi_layout layout, uint64_t row)
{
    return layout == WOQI_LAYOUT_FRAG16B ? row / 16 * 16 + row % 8 * 2 + row % 16 / 8 : row;
}

/* Of an element of the weights. */
uint32_t woqi_code_bits(enum woq_code code);
const char *woqi_layout_name(enum woqi_layout layout);
uint32_t woqi_layout_granule(enum woqi_layout layout);

/* k: physical columns; groups: physical groups. WOQ_ERROR_OVERFLOW if a size exceeds 64 bits. */
enum woq_status woqi_tile_shape(enum woqi_layout layout, const struct woq_format *format,
                                uint64_t rows, uint64_t k, uint64_t groups, bool perm,
                                struct woqi_tile_shape *out);

#endif
