/*
 * dequant.cuh: weights of layout FRAG16B (src/core/layout.h) one by one, as floats; any format and group.
 *
 *     w32 = scale · (float)(q − zero)     SYMMETRIC: zero is 8 or 128; ZERO_POINT: the group's byte
 *     w32 = fma(scale, q, offset)         ZERO_OFFSET
 *     w   = rn_T(w32) if flags name a type T in ROUND, else w32; plain weights: the stored value
 *
 * Kernels for matrix units decode a lane's share at once instead: fragment.cuh.
 */
#ifndef WOQ_DEQUANT_CUH
#define WOQ_DEQUANT_CUH

#include "common.cuh"

/* What the columns of one group of one row share. */
struct woq_group {
    float scale;
    float offset; /* ZERO_OFFSET */
    int zero;     /* the others */
};

/* Where a row stands in the tables of scales and zeros. */
static __device__ __forceinline__ woq_u32 woq_table_row(woq_u32 row)
{
    return (row & ~15u) | (row & 7u) << 1 | (row >> 3 & 1u);
}

static __device__ __forceinline__ woq_group woq_group_of(const woq_u8 *weights, const woq_args &a, woq_u32 row,
                                                         woq_u32 group)
{
    woq_u32 code = WOQ_FLAG_CODE(a.flags), zero = WOQ_FLAG_ZERO(a.flags);
    woq_u32 index = group * a.scale_stride + woq_table_row(row);
    woq_group g = {1.0f, 0.0f, 0};
    if (zero == WOQ_ABI_ZERO_NONE)
        return g;
    g.scale = woq_load(weights, WOQ_FLAG_SCALE(a.flags), a.scales_off, index);
    if (zero == WOQ_ABI_ZERO_SYMMETRIC)
        g.zero = code == WOQ_ABI_U4 ? 8 : 128;
    else if (zero == WOQ_ABI_ZERO_POINT)
        g.zero = weights[a.zeros_off + index];
    else
        g.offset = woq_load(weights, WOQ_FLAG_SCALE(a.flags), a.zeros_off, index);
    return g;
}

/* Byte offset of a tile row's first element; those of the other columns are found from it. Of U4, the upper half of a
 * byte is row g+8. */
static __device__ __forceinline__ woq_u32 woq_row_begin(const woq_args &a, woq_u32 row)
{
    woq_u32 code = WOQ_FLAG_CODE(a.flags), high = row >> 3 & 1u;
    woq_u32 half = code == WOQ_ABI_U4 ? 0u : code == WOQ_ABI_U8 ? 1u : 512u;
    return a.codes_off + (row >> 4) * a.codes_stride + ((row & 7u) << 6) + high * half;
}

/* row: of the tile; row_at: woq_row_begin of it; column: physical. A unit is 32 columns, 8 of them in each of 4
 * lanes. */
static __device__ __forceinline__ float woq_weight(const woq_u8 *weights, const woq_args &a, woq_u32 row,
                                                   woq_u32 row_at, woq_u32 column, const woq_group &g)
{
    woq_u32 code = WOQ_FLAG_CODE(a.flags), unit = column >> 5, at = row_at + ((column & 31u) << 1);
    if (code == WOQ_ABI_WF16)
        return woq_from_f16((woq_u16)woq_half(weights, at + unit * 1024u));
    if (code == WOQ_ABI_WBF16)
        return woq_from_bf16((woq_u16)woq_half(weights, at + unit * 1024u));
    int q = code == WOQ_ABI_U4 ? weights[at + (unit >> 1) * 512u + (unit & 1u)] >> (row >> 1 & 4u) & 15u
                               : weights[at + unit * 512u];
    float w = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET ? __fmaf_rn(g.scale, (float)q, g.offset)
                                                            : __fmul_rn(g.scale, (float)(q - g.zero));
    return woq_round(WOQ_FLAG_ROUND(a.flags), w);
}

#endif
