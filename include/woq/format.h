/*
 * woq/format.h: weight formats and their canonical bytes.
 *
 *     struct woq_format f = WOQ_FORMAT_INIT;
 *     f.code = WOQ_CODE_U4; f.zero = WOQ_ZERO_SYMMETRIC; f.scale = WOQ_F16; f.group = 128;
 *     struct woq_format_sizes s;
 *     st = woq_format_get_sizes(&f, n, k, &s);      // how many bytes each array has
 *
 * A weight matrix W has N rows (outputs) and K columns (inputs). What each array holds, byte by byte,
 * with a worked 2×32 example, is docs/formats.md. In short:
 *
 *   codes   [N][K]  row-major. U4: element k of a row is the low nibble of byte k/2 if k is even, the
 *                   high nibble if k is odd; a row takes ceil(K/2) bytes (an odd K leaves the last
 *                   high nibble unused). U8: one byte an element. F16, BF16: two bytes, little-endian.
 *   scales  [N][G]  of type `scale`; G = ceil(K/group) groups. Tensor granularity: one element.
 *   zeros   ZERO_POINT: [N][G] bytes, one unsigned code each (also for U4), 0 … 2^bits-1.
 *           ZERO_OFFSET: [N][G] of type `scale`. SYMMETRIC: none. Tensor granularity: one element.
 *   g_idx   [K] uint32: the group of each column; absent (NULL) means k / group.
 *
 *   w[n][k] = scale·(q − zero)      SYMMETRIC: zero = 2^(bits−1), that is 8 or 128
 *   w[n][k] = scale·q + offset      ZERO_OFFSET
 *   w[n][k] = q                     F16, BF16
 *
 * Threading: pure functions.
 */
#ifndef WOQ_FORMAT_H
#define WOQ_FORMAT_H

#include <woq/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum woq_code {
    WOQ_CODE_NONE = 0,
    WOQ_CODE_U4,  /* unsigned 4-bit code, two a byte, low nibble first */
    WOQ_CODE_U8,  /* unsigned 8-bit code */
    WOQ_CODE_F16, /* plain weights; zero must be NONE, scale WOQ_TYPE_NONE, group 0 */
    WOQ_CODE_BF16
};

enum woq_zero {
    WOQ_ZERO_NONE = 0,  /* plain F16/BF16 weights only */
    WOQ_ZERO_SYMMETRIC, /* constant 2^(bits-1), not stored */
    WOQ_ZERO_POINT,     /* an unsigned integer code for each group */
    WOQ_ZERO_OFFSET     /* a float added after scaling (GGUF Q4_1 and K-quants, HQQ) */
};

/* Values of woq_format.group besides a number of columns. */
#define WOQ_GROUP_CHANNEL ((uint64_t)0)  /* one scale for each row: G = 1 */
#define WOQ_GROUP_TENSOR UINT64_MAX      /* one scale for the whole matrix */

struct woq_format {
    size_t struct_size;
    enum woq_code code;
    enum woq_zero zero;
    enum woq_type scale; /* type of scales and offsets */
    uint64_t group;      /* columns of a group, 1 … 2^31; the last may be ragged */
    bool g_idx;          /* groups are given by a g_idx array; group must be a number of columns */
};
#define WOQ_FORMAT_INIT {sizeof(struct woq_format), WOQ_CODE_NONE, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0, false}

/* Of the canonical arrays, in bytes; groups in elements. */
struct woq_format_sizes {
    uint64_t row_bytes; /* of one row of codes, dense */
    uint64_t groups;    /* G: of one row; 1 for channel and tensor; 0 for plain weights */
    uint64_t codes, scales, zeros, g_idx;
};

/* Returns WOQ_OK; INVALID_ARGUMENT (NULL, n or k 0, a combination not listed above); OVERFLOW. */
WOQ_API enum woq_status woq_format_get_sizes(const struct woq_format *format, uint64_t n, uint64_t k,
                                         struct woq_format_sizes *out);

/* Decodes row `row` of a canonical matrix to K floats: scale and zero applied in binary32, with
 * one rounding: rn(scale·(q − zero)) or rn(scale·q + offset). g_idx NULL = k / group. For inspection and tests, not
 * for speed. row_stride: bytes from one row of codes to the next, 0 = dense.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (g_idx out of range). */
WOQ_API enum woq_status woq_format_decode_row(const struct woq_format *format, uint64_t n, uint64_t k,
                                              const void *codes, uint64_t row_stride,
                                              const void *scales, const void *zeros,
                                              const uint32_t *g_idx, uint64_t row, float *out);

/* Field-style name, e.g. "qb4w_g128_f16" (b: blockwise, c: per channel, t: per tensor; z: zero point,
 * o: offset; p: g_idx), "f16w". Writes at most `size` bytes with a NUL; returns the length needed,
 * without the NUL, as snprintf does; 0 for an invalid format. */
WOQ_API size_t woq_format_name(const struct woq_format *format, char *out, size_t size);

#ifdef __cplusplus
}
#endif
#endif
