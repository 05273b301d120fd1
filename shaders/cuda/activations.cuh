/* activations.cuh: 16-bit rows of X in vectors of 8 columns (pieces), for the kernels of matrix units. */
#ifndef WOQ_ACTIVATIONS_CUH
#define WOQ_ACTIVATIONS_CUH

#include "common.cuh"

/* May pieces be loaded at once: aligned rows of whole pieces, in order? */
static __device__ __forceinline__ bool woq_x_aligned(const woq_args &a)
{
    return ((a.x_off | a.x_stride) & 15u) == 0 && (a.k & 7u) == 0 && !WOQ_FLAG_PERM(a.flags);
}

/* Byte offset of a row of X; rows beyond M repeat the last one, as what they give is not stored. */
static __device__ __forceinline__ woq_u32 woq_x_row(const woq_args &a, woq_u32 row)
{
    return a.x_off + min(row, a.m - 1u) * a.x_stride;
}

/* Columns column … column+7 of the row at byte offset `at`, whatever its alignment and order; those beyond K are 0. */
static __device__ __forceinline__ uint4 woq_x_gather(const woq_u8 *weights, const woq_u8 *x, const woq_args &a,
                                                     woq_u32 at, woq_u32 column)
{
    unsigned long long v[2] = {0, 0};
#pragma unroll 1
    for (woq_u32 i = 0; i < 8; i++) { /* each enters at the top */
        woq_u32 c = column + i, bits = 0;
        if (c < a.k && WOQ_FLAG_PERM(a.flags))
            c = woq_word(weights, a.perm_off + 4u * c);
        if (column + i < a.k && c != WOQ_PERM_NONE)
            bits = woq_plain_half(x, at + 2u * c);
        v[0] = v[0] >> 16 | v[1] << 48;
        v[1] = v[1] >> 16 | (unsigned long long)bits << 48;
    }
    return make_uint4((woq_u32)v[0], (woq_u32)(v[0] >> 32), (woq_u32)v[1], (woq_u32)(v[1] >> 32));
}

#endif
