/*
 * gemv_frag.cu: few rows of X, any format, group, type and order of X; layout FRAG16B. See core/kernels.h.
 *
 * A warp, lanes l = 4g + t, sums over a part of K for the rows g and g+8 of a strip of 16 rows of the weights and all
 * rows of X: a lane takes the columns 8t … 8t+7 of every unit of 32. The warps of a block divide K. What 4 lanes of
 * each have summed of an element meets in shared memory, and one thread adds it up in a fixed order.
 *
 *     block i         strips i, i + gridDim.x, …; gated: pairs of strips, gate then up
 *     part p of K     blocks of 64 columns p·share … (p+1)·share−1
 *     sums[((m·2 + h)·parts + p)·32 + l]      lane l of part p: row g + 8h of the strip, row m of X
 *     behind them     [ROWS·16], of a gate strip while its up strip is summed
 *
 * Two loops, one after the other. stream(): whole blocks of aligned X; codes, scales and zeros are loaded a block
 * ahead. walk(): the rest, one column at a time: the last columns if K is no multiple of 64; all of them if X is
 * unaligned or gathered through perm, or groups end within a lane's 8 columns.
 *
 * Unless weights are rounded or have offsets, 8 products x·(q − zero) are summed before the scale is applied; see
 * woq/gemm.h, EXACT.
 *
 * Macro CODE_BITS: 4, 8, or 16 for plain weights. An entry point is woq_gemv_<CODE_BITS>_<rows of X at most>. Dynamic
 * shared memory: woqi_gemv_shared. Block: 32·parts in x, at most 512, or 256 for 4 and 8 rows. Requires sm_75.
 */
#include "dequant.cuh"
#include "epilogue.cuh"

static const bool QUANTIZED = CODE_BITS != 16;
static const int VECTORS = CODE_BITS / 4; /* of a lane in a block of 64 columns */

extern __shared__ float shared_sums[];

static __device__ __forceinline__ woq_u32 x_row_at(const woq_args &a, woq_u32 m)
{
    return a.x_off + min(m, a.m - 1u) * a.x_stride;
}

/* 8 elements of X as they lie in memory: the second vector counts if they are FP32. */
template <int TYPE> struct x_piece {
    uint4 v[TYPE == WOQ_ABI_F32 ? 2 : 1];

    __device__ __forceinline__ void load(const woq_u8 *x, woq_u32 at, woq_u32 column)
    {
#pragma unroll
        for (int i = 0; i < (TYPE == WOQ_ABI_F32 ? 2 : 1); i++)
            v[i] = woq_plain_vector(x, at + column * (TYPE == WOQ_ABI_F32 ? 4u : 2u) + i * 16u);
    }

    __device__ __forceinline__ float element(int i) const
    {
        const uint4 &part = v[TYPE == WOQ_ABI_F32 ? i / 4 : 0];
        const int word = TYPE == WOQ_ABI_F32 ? i % 4 : i / 2;
        const woq_u32 bits = word == 0 ? part.x : word == 1 ? part.y : word == 2 ? part.z : part.w;
        if (TYPE == WOQ_ABI_F32)
            return __uint_as_float(bits);
        return i % 2 ? woq_high(TYPE, bits) : woq_low(TYPE, bits);
    }
};

/* Scales and zeros of the rows g and g+8 of a strip in a group. */
struct row_pair {
    float scale[2], offset[2];
    float zero[2]; /* 2^23 + zero; as what codes are put into */
};

static __device__ __forceinline__ row_pair load_pair(const woq_u8 *weights, const woq_args &a, woq_u32 column,
                                                     woq_u32 strip, woq_u32 g)
{
    const woq_u32 kind = WOQ_FLAG_ZERO(a.flags), type = WOQ_FLAG_SCALE(a.flags);
    const woq_u32 group = a.group < a.k ? column / a.group : 0u;
    const woq_u32 index = group * a.scale_stride + strip * 16u + 2u * g;
    row_pair r;
#pragma unroll
    for (int high = 0; high < 2; high++) {
        r.scale[high] = woq_load(weights, type, a.scales_off, index + high);
        r.offset[high] = kind == WOQ_ABI_ZERO_OFFSET ? woq_load(weights, type, a.zeros_off, index + high) : 0.0f;
        r.zero[high] = 8388608.0f + (kind == WOQ_ABI_ZERO_OFFSET  ? 0.0f
                                     : kind == WOQ_ABI_ZERO_POINT ? (float)weights[a.zeros_off + index + high]
                                                                  : (CODE_BITS == 4 ? 8.0f : 128.0f));
    }
    return r;
}

/* 8 weights of a row in a unit; codes: of a block, as the lane has them. Quantized: q − zero. */
static __device__ __forceinline__ void lane_row(const woq_args &a, const uint4 codes[VECTORS], int unit, int high,
                                                float minus, float w[8])
{
    const uint4 &v = codes[CODE_BITS == 4 ? 0 : CODE_BITS == 8 ? unit : unit * 2 + high];
    const woq_u32 words[4] = {v.x, v.y, v.z, v.w};
    const int place = CODE_BITS == 4 ? 8 * unit + 4 * high : 8 * high; /* of codes, in a half of a word */
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (!QUANTIZED) {
            const woq_u32 type = WOQ_FLAG_CODE(a.flags) == WOQ_ABI_WBF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16;
            w[i] = i % 2 ? woq_high(type, words[i / 2]) : woq_low(type, words[i / 2]);
            continue;
        }
        const woq_u32 q = words[i / 2] >> (place + i % 2 * 16) & (CODE_BITS == 4 ? 15u : 255u);
        w[i] = __fsub_rn(__uint_as_float(0x4b000000u | q), minus);
    }
}

/* Whole blocks begin … end−1 of a strip. */
template <int ROWS, int TYPE>
static __device__ __forceinline__ void stream(const woq_u8 *weights, const woq_u8 *x, const woq_args &a, woq_u32 strip,
                                              woq_u32 lane, woq_u32 begin, woq_u32 end, float total[2 * ROWS])
{
    if (begin >= end)
        return;
    const woq_u32 g = lane >> 2, t = lane & 3u;
    const bool weighted = WOQ_FLAG_ROUND(a.flags) || WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET;
    woq_u32 at = a.codes_off + strip * a.codes_stride + lane * 16u + begin * (CODE_BITS * 128u);
    uint4 next[VECTORS];
    row_pair next_pair[2];
#pragma unroll
    for (int i = 0; i < VECTORS; i++)
        next[i] = woq_stream(weights, at + i * 512u);
#pragma unroll
    for (int u = 0; u < (QUANTIZED ? 2 : 0); u++)
        next_pair[u] = load_pair(weights, a, begin * 64u + u * 32u + t * 8u, strip, g);
#pragma unroll 1
    for (woq_u32 block = begin; block < end; block++) {
        const woq_u32 ahead = min(block + 1u, end - 1u);
        uint4 codes[VECTORS];
        row_pair pair[2];
        at += block < ahead ? CODE_BITS * 128u : 0u;
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            codes[i] = next[i];
            next[i] = woq_stream(weights, at + i * 512u);
        }
#pragma unroll
        for (int u = 0; u < (QUANTIZED ? 2 : 0); u++) {
            pair[u] = next_pair[u];
            next_pair[u] = load_pair(weights, a, ahead * 64u + u * 32u + t * 8u, strip, g);
        }
#pragma unroll
        for (int unit = 0; unit < 2; unit++) {
            const woq_u32 column = block * 64u + unit * 32u + t * 8u;
            float w[2][8], scale[2] = {1.0f, 1.0f};
#pragma unroll
            for (int high = 0; high < 2; high++) {
                lane_row(a, codes, unit, high, QUANTIZED ? pair[unit].zero[high] : 0.0f, w[high]);
                if (QUANTIZED && weighted) {
#pragma unroll
                    for (int i = 0; i < 8; i++)
                        w[high][i] = woq_round(WOQ_FLAG_ROUND(a.flags),
                                               __fmaf_rn(pair[unit].scale[high], w[high][i], pair[unit].offset[high]));
                } else if (QUANTIZED) {
                    scale[high] = pair[unit].scale[high];
                }
            }
#pragma unroll
            for (int m = 0; m < ROWS; m++) {
                x_piece<TYPE> piece;
                float part[2] = {0.0f, 0.0f};
                piece.load(x, x_row_at(a, m), column);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    part[0] = __fmaf_rn(piece.element(i), w[0][i], part[0]);
                    part[1] = __fmaf_rn(piece.element(i), w[1][i], part[1]);
                }
                total[2 * m] = __fmaf_rn(scale[0], part[0], total[2 * m]);
                total[2 * m + 1] = __fmaf_rn(scale[1], part[1], total[2 * m + 1]);
            }
        }
    }
}

/* Blocks begin … end−1 of a strip, whatever X's alignment and order and the groups are; up to column K. */
template <int ROWS>
static __device__ __forceinline__ void walk(const woq_u8 *weights, const woq_u8 *x, const woq_args &a, woq_u32 strip,
                                            woq_u32 lane, woq_u32 begin, woq_u32 end, float total[2 * ROWS])
{
    const woq_u32 row = strip * 16u + (lane >> 2), low_at = woq_row_begin(a, row), high_at = woq_row_begin(a, row + 8u);
    const woq_u32 span = a.group ? min(a.group, a.k) : a.k;
#pragma unroll 1
    for (woq_u32 unit = begin * 2u; unit < end * 2u; unit++) {
        woq_u32 column = unit * 32u + (lane & 3u) * 8u, group_end = column, group = column / span;
        const woq_u32 stop = min(column + 8u, a.k);
        woq_group low = {1.0f, 0.0f, 0}, high = low;
#pragma unroll 1
        for (; column < stop; column++) {
            if (column == group_end) {
                low = woq_group_of(weights, a, row, group);
                high = woq_group_of(weights, a, row + 8u, group);
                group++;
                group_end = group * span;
            }
            const woq_u32 x_column = WOQ_FLAG_PERM(a.flags) ? woq_word(weights, a.perm_off + column * 4u) : column;
            if (x_column == WOQ_PERM_NONE)
                continue;
            const float w_low = woq_weight(weights, a, row, low_at, column, low);
            const float w_high = woq_weight(weights, a, row + 8u, high_at, column, high);
#pragma unroll
            for (int m = 0; m < ROWS; m++) {
                const float v = woq_load(x, WOQ_FLAG_X(a.flags), x_row_at(a, m), x_column);
                total[2 * m] = __fmaf_rn(v, w_low, total[2 * m]);
                total[2 * m + 1] = __fmaf_rn(v, w_high, total[2 * m + 1]);
            }
        }
    }
}

/* Sums of a strip, of all warps, to shared memory. */
template <int ROWS, int TYPE>
static __device__ __forceinline__ void sum_strip(const woq_u8 *weights, const woq_u8 *x, const woq_args &a,
                                                 woq_u32 strip, woq_u32 streamed)
{
    const woq_u32 lane = threadIdx.x & 31u, part = threadIdx.x >> 5, parts = blockDim.x >> 5;
    const woq_u32 blocks = (a.k + 63u) >> 6;
    float total[2 * ROWS];
#pragma unroll
    for (int i = 0; i < 2 * ROWS; i++)
        total[i] = 0.0f;
    woq_u32 share = (streamed + parts - 1u) / parts, begin = min(part * share, streamed);
    stream<ROWS, TYPE>(weights, x, a, strip, lane, begin, min(begin + share, streamed), total);
    share = (blocks - streamed + parts - 1u) / parts, begin = min(streamed + part * share, blocks);
    walk<ROWS>(weights, x, a, strip, lane, begin, min(begin + share, blocks), total);
#pragma unroll
    for (int i = 0; i < 2 * ROWS; i++)
        shared_sums[(i * parts + part) * 32u + lane] = total[i];
}

/* The sum of an output of a strip: row output % 16 of the strip, row output / 16 of X. */
static __device__ __forceinline__ float add_up(woq_u32 output)
{
    const woq_u32 parts = blockDim.x >> 5;
    const float *at = shared_sums + ((output >> 3) * parts * 8u + (output & 7u)) * 4u;
    float sum = 0.0f;
    for (woq_u32 p = 0; p < parts; p++, at += 32)
        sum = __fadd_rn(sum, __fadd_rn(__fadd_rn(at[0], at[1]), __fadd_rn(at[2], at[3])));
    return sum;
}

template <int ROWS, int TYPE>
static __device__ __forceinline__ void product(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                               const woq_u8 *residual, const woq_args &a)
{
    const bool gated = woq_gated(a);
    const woq_u32 per_output = gated ? 2u : 1u, strips = a.scale_stride >> 4, outputs = 16u * ROWS;
    woq_await_steps();
    woq_admit_next();
    float *const gate_sums = shared_sums + outputs * 4u * (blockDim.x >> 5);
    const bool whole = a.group % 8u == 0 || a.group >= a.k;
    const bool streams = ((a.x_off | a.x_stride) & 15u) == 0 && whole && !WOQ_FLAG_PERM(a.flags);
    const woq_u32 streamed = streams ? a.k >> 6 : 0u;
    /* A strip at a time; its pair's gate strip comes before. */
#pragma unroll 1
    for (woq_u32 first = blockIdx.x * per_output; first < strips; first += gridDim.x * per_output)
#pragma unroll 1
        for (woq_u32 s = 0; s < per_output; s++) {
            sum_strip<ROWS, TYPE>(weights, x, a, first + s, streamed);
            __syncthreads();
            for (woq_u32 i = threadIdx.x; i < outputs; i += blockDim.x) {
                const woq_u32 m = i >> 4, n = first / per_output * 16u + (i & 15u);
                const float sum = add_up(i);
                if (s + 1u < per_output)
                    gate_sums[i] = sum;
                else if (m < a.m && n < a.n)
                    woq_finish(y, bias, residual, a, m, n, gated ? gate_sums[i] : sum, sum);
            }
            __syncthreads();
        }
}

#define GEMV_NAME(bits, rows) GEMV_NAME_(bits, rows)
#define GEMV_NAME_(bits, rows) woq_gemv_##bits##_##rows
#define GEMV_KERNEL(rows, threads)                                                                 \
    extern "C" __global__ void __launch_bounds__(threads, 1)                                       \
        GEMV_NAME(CODE_BITS, rows)(WOQ_PARAMETERS)                                                 \
    {                                                                                              \
        WOQ_WINDOWS                                                                                \
        if (WOQ_FLAG_X(a.flags) == WOQ_ABI_F32)                                                    \
            product<rows, WOQ_ABI_F32>(weights, x, y, bias, residual, a);                          \
        else if (WOQ_FLAG_X(a.flags) == WOQ_ABI_F16)                                               \
            product<rows, WOQ_ABI_F16>(weights, x, y, bias, residual, a);                          \
        else                                                                                       \
            product<rows, WOQ_ABI_BF16>(weights, x, y, bias, residual, a);                         \
    }
GEMV_KERNEL(1, 512)
GEMV_KERNEL(4, 256)
GEMV_KERNEL(8, 256)
