/*
 * dequant.cuh: weights of layout ROWS as floats; the only place where CUDA kernels decode formats.
 *
 *     w32 = scale · (float)(q − zero)     SYMMETRIC: zero is 8 or 128; ZERO_POINT: the group's byte
 *     w32 = fma(scale, q, offset)         ZERO_OFFSET
 *     w   = rn_T(w32) if flags name a type T in ROUND, else w32; plain weights: the stored value
 *
 * Row r begins at codes_off + r·codes_stride; U4: column k is the low nibble of byte k/2 if k is
 * even, else the high one. Group g of row r has scale and zero at element g·scale_stride + r.
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

static __device__ __forceinline__ woq_group woq_group_of(const woq_u8 *weights, const woq_args &a,
                                                         woq_u32 row, woq_u32 group)
{
    woq_u32 code = WOQ_FLAG_CODE(a.flags), zero = WOQ_FLAG_ZERO(a.flags);
    woq_u32 index = group * a.scale_stride + row;
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

static __device__ __forceinline__ float woq_weight(const woq_u8 *weights, const woq_args &a,
                                                   woq_u32 row, woq_u32 k, const woq_group &g)
{
    woq_u32 code = WOQ_FLAG_CODE(a.flags);
    woq_u32 at = a.codes_off + row * a.codes_stride;
    if (code == WOQ_ABI_WF16)
        return woq_load(weights, WOQ_ABI_F16, at, k);
    if (code == WOQ_ABI_WBF16)
        return woq_load(weights, WOQ_ABI_BF16, at, k);
    int q = code == WOQ_ABI_U4 ? weights[at + k / 2u] >> 4u * (k & 1u) & 15 : weights[at + k];
    float w = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET
                  ? __fmaf_rn(g.scale, (float)q, g.offset)
                  : __fmul_rn(g.scale, (float)(q - g.zero));
    return woq_round(WOQ_FLAG_ROUND(a.flags), w);
}

#endif
