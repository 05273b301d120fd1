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
 */
#ifndef WOQI_LAYOUT_H
#define WOQI_LAYOUT_H

#include <woq/weights.h>

enum woqi_layout { WOQI_LAYOUT_ROWS, WOQI_LAYOUT_PANEL16, WOQI_LAYOUT_COUNT };

#define WOQI_PART_ALIGNMENT 256

/* Byte offsets within a tile of `rows` (padded) rows, and its size. */
struct woqi_tile_shape {
    uint64_t rows, k, groups;
    uint64_t codes_stride;
    uint64_t codes, scales, zeros, perm, size;
};

const char *woqi_layout_name(enum woqi_layout layout);
uint32_t woqi_layout_granule(enum woqi_layout layout);

/* k: physical columns; groups: physical groups. WOQ_ERROR_OVERFLOW if a size exceeds 64 bits. */
enum woq_status woqi_tile_shape(enum woqi_layout layout, const struct woq_format *format,
                                uint64_t rows, uint64_t k, uint64_t groups, bool perm,
                                struct woqi_tile_shape *out);

#endif
