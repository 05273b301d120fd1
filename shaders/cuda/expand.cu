/*
 * expand.cu: a piece of quantized weights to plain FP16 weights, both in layout FRAG16B. See core/kernels.h.
 *
 * A thread takes what a lane holds of a strip in a block of 64 columns: CODE_BITS/4 vectors of codes become four of
 * FP16. Neighbours load and store neighbouring vectors; it is the memory's speed that counts. Where groups end within a
 * lane's 8 columns, weights are decoded one by one.
 *
 *     window weights  the tile; codes_off, scales_off and zeros_off are those of the piece's first strip
 *     window y        from y_off: n/16 strips, y_stride bytes apart; if X is gathered, perm behind them
 *     args            n rows, a multiple of 16; k; scale_stride rows of the tile
 *
 * Macro CODE_BITS: 4 or 8. Block: any size in x. Requires sm_75.
 */
#include "dequant.cuh"
#include "fragment.cuh"

/* A row (high: g+8) of the strip from `column` on, in a group; codes and unit as woq_integers takes them. */
static __device__ __forceinline__ uint4 expand_row(const woq_u8 *weights, const woq_args &a, woq_u32 strip, woq_u32 g,
                                                   int high, woq_u32 column, const woq_codes &codes, int unit,
                                                   const woq_magic<CODE_BITS, false> &magic)
{
    const woq_u32 group = a.group < a.k ? min(column, a.k - 1u) / a.group : 0u;
    const woq_u32 kind = WOQ_FLAG_ZERO(a.flags), index = group * a.scale_stride + strip * 16u + 2u * g + high;
    const float scale = woq_load(weights, WOQ_FLAG_SCALE(a.flags), a.scales_off, index);
    float offset = 0.0f;
    woq_u32 zero = woq_symmetric_zero<CODE_BITS>(), pairs[4];
    if (kind == WOQ_ABI_ZERO_POINT)
        zero = weights[a.zeros_off + index];
    if (kind == WOQ_ABI_ZERO_OFFSET) {
        zero = 0;
        offset = woq_load(weights, WOQ_FLAG_SCALE(a.flags), a.zeros_off, index);
    }
    woq_integers<CODE_BITS, false>(codes, unit, high, woq_zero<CODE_BITS, false>(zero), magic, pairs);
    woq_scale_floats<false>(pairs, scale, offset);
    return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/* The same, whatever the groups; beyond K 0. */
static __device__ uint4 expand_any(const woq_u8 *weights, const woq_args &a, woq_u32 row, woq_u32 column)
{
    const woq_u32 row_at = woq_row_begin(a, row);
    woq_u32 v[4] = {0, 0, 0, 0};
#pragma unroll
    for (woq_u32 i = 0; i < 8; i++)
        if (column + i < a.k) {
            const woq_group group = woq_group_of(weights, a, row, (column + i) / a.group);
            v[i / 2] |= (woq_u32)woq_to_f16(woq_weight(weights, a, row, row_at, column + i, group)) << 16 * (i & 1u);
        }
    return make_uint4(v[0], v[1], v[2], v[3]);
}

static __device__ __forceinline__ void expand(const woq_u8 *weights, woq_u8 *y, const woq_args &a, bool any,
                                              woq_u32 strip, woq_u32 block, woq_u32 lane,
                                              const woq_magic<CODE_BITS, false> &magic)
{
    const woq_u32 g = lane >> 2, t = lane & 3u;
    const woq_u32 from = a.codes_off + strip * a.codes_stride + block * (CODE_BITS * 128u) + lane * 16u;
    woq_u8 *to = y + (a.y_off + strip * a.y_stride + block * 2048u + lane * 16u);
    woq_codes codes[CODE_BITS / 4];
#pragma unroll
    for (int i = 0; i < CODE_BITS / 4; i++)
        codes[i] = woq_codes(woq_stream(weights, from + 512u * i));
#pragma unroll
    for (int part = 0; part < 4; part++) {
        const int unit = part / 2, high = part % 2;
        const woq_u32 column = block * 64u + unit * 32u + t * 8u;
        *(uint4 *)(to + part * 512) =
            any ? expand_any(weights, a, strip * 16u + high * 8u + g, column)
                : expand_row(weights, a, strip, g, high, column, codes[CODE_BITS == 4 ? 0 : unit], unit, magic);
    }
}

#define EXPAND_NAME(bits) EXPAND_NAME_(bits)
#define EXPAND_NAME_(bits) woq_expand_u##bits

extern "C" __global__ void EXPAND_NAME(CODE_BITS)(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)x, (void)bias, (void)residual;
    const woq_u32 strips = a.n >> 4, blocks = (a.k + 63u) >> 6, stride = gridDim.x * blockDim.x;
    const woq_u32 first = blockIdx.x * blockDim.x + threadIdx.x;
    const bool any = a.group < a.k && a.group % 8u != 0;
    const woq_magic<CODE_BITS, false> magic(a);
    woq_await_steps();
    woq_admit_next();
    for (woq_u32 i = first; i < strips * blocks * 32u; i += stride)
        expand(weights, y, a, any, (i >> 5) / blocks, (i >> 5) % blocks, i & 31u, magic);
    if (WOQ_FLAG_PERM(a.flags))
        for (woq_u32 i = first; i < a.k; i += stride)
            *(woq_u32 *)(y + (a.y_off + strips * a.y_stride + i * 4u)) = woq_word(weights, a.perm_off + i * 4u);
}
