/*
 * xhalf.cu: rows of X as matrix units take them fast: aligned, in the order of the weights' columns, and FP16 where
 * they do not take BF16. See core/kernels.h.
 *
 * With row_scales_off a row of BF16 is divided by a power of two s that brings its largest finite magnitude to 2^15 …
 * 2^16, at most 65280 as BF16 has 8 significant bits, and rounded to nearest even. With E the largest's exponent,
 * s = 2^(E−15): an element of exponent E − 32 or more is a multiple of 2^-24·s and stays what it is; of others at
 * most half of that is lost, 2^(E−40). Never is s below 2^-126: then all is a multiple of 2^-7. Infinities and NaN
 * stay.
 *
 * A block takes a row, its threads 8 columns each at a time. Block: 32 … 1024 in x, a multiple of 32. Requires sm_75.
 */
#include "activations.cuh"

/* Of two BF16, the larger magnitude as bits; infinities and NaN do not count. */
static __device__ __forceinline__ woq_u32 pair_magnitude(woq_u32 pair)
{
    woq_u32 low = pair & 0x7fffu, high = pair >> 16 & 0x7fffu;
    return max(low < 0x7f80u ? low : 0u, high < 0x7f80u ? high : 0u);
}

static __device__ __forceinline__ uint4 load_piece(const woq_u8 *weights, const woq_u8 *x, const woq_args &a, bool fast,
                                                   woq_u32 at, woq_u32 piece)
{
    if (piece * 8u >= a.k)
        return make_uint4(0, 0, 0, 0);
    return fast ? woq_plain_vector(x, at + piece * 16u) : woq_x_gather(weights, x, a, at, piece * 8u);
}

/* Of the row, by all threads together. */
static __device__ woq_u32 row_magnitude(const woq_u8 *weights, const woq_u8 *x, const woq_args &a, bool fast,
                                        woq_u32 at)
{
    __shared__ woq_u32 largest[32];
    woq_u32 most = 0;
    for (woq_u32 piece = threadIdx.x; piece * 8u < a.k; piece += blockDim.x) {
        uint4 v = load_piece(weights, x, a, fast, at, piece);
        most = max(most, max(max(pair_magnitude(v.x), pair_magnitude(v.y)),
                             max(pair_magnitude(v.z), pair_magnitude(v.w))));
    }
    for (int step = 16; step; step /= 2)
        most = max(most, __shfl_xor_sync(0xffffffffu, most, step));
    __syncthreads(); /* the row before has been looked at */
    if (threadIdx.x % 32u == 0)
        largest[threadIdx.x / 32u] = most;
    __syncthreads();
    for (woq_u32 i = 0; i < blockDim.x / 32u; i++)
        most = max(most, largest[i]);
    return most;
}

static __device__ __forceinline__ woq_u32 pair_scaled(woq_u32 pair, float inverse)
{
    return woq_to_f16(__fmul_rn(woq_low(WOQ_ABI_BF16, pair), inverse)) |
           (woq_u32)woq_to_f16(__fmul_rn(woq_high(WOQ_ABI_BF16, pair), inverse)) << 16;
}

extern "C" __global__ void woq_xhalf(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)bias, (void)residual;
    woq_await_steps();
    woq_admit_next();
    const bool fast = woq_x_aligned(a), scaled = a.row_scales_off != 0;
    for (woq_u32 row = blockIdx.x; row < a.m; row += gridDim.x) {
        const woq_u32 at = woq_x_row(a, row);
        woq_u32 exponent = 127; /* of s, as FP32 stores it */
        if (scaled) {
            exponent = max(row_magnitude(weights, x, a, fast, at) >> 7, 16u) - 15u;
            if (threadIdx.x == 0)
                *(woq_u32 *)(y + (a.row_scales_off + row * 4u)) = exponent << 23;
        }
        const float inverse = __uint_as_float((254u - exponent) << 23);
        for (woq_u32 piece = threadIdx.x; piece < a.y_stride >> 4; piece += blockDim.x) {
            uint4 v = load_piece(weights, x, a, fast, at, piece);
            if (scaled)
                v = make_uint4(pair_scaled(v.x, inverse), pair_scaled(v.y, inverse), pair_scaled(v.z, inverse),
                               pair_scaled(v.w, inverse));
            *(uint4 *)(y + ((size_t)row * a.y_stride + piece * 16u)) = v;
        }
    }
}
