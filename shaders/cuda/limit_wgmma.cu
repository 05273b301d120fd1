/*
 * limit_wgmma.cu: wgmma.m64n256k16, FP16 to FP32, operand A in registers as in wgmma.cu. See limit_… of core/kernels.h.
 *
 * Two warpgroups multiply the same B in shared memory. Operands are numbers that differ, ±0.5 … ±1: zeros take less
 * power and so give higher clocks. Requires sm_90a.
 */
#include "limit_kernels.inc"
#include "warpgroup.cuh"

#define STEPS 16u /* of a round */

/* Two halves. */
static __device__ __forceinline__ woq_u32 operand(woq_u32 i)
{
    return ((i + 1u) * 2654435761u & 0x83ff83ffu) + 0x38003800u;
}

extern "C" __global__ void __launch_bounds__(256, 1) woq_limit_wgmma(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    extern __shared__ woq_u32 room[];
    (void)weights, (void)x, (void)bias, (void)residual;
    woq_await_steps();
    woq_admit_next();
    const woq_u32 begin = (woq_u32)__cvta_generic_to_shared(room), at = (begin + 1023u) & ~1023u;
    for (woq_u32 i = threadIdx.x; i < WOQ_LIMIT_WGMMA_ROWS * 32u; i += blockDim.x)
        room[(at - begin) / 4u + i] = operand(i + a.opaque_zero);
    woq_products_see();
    __syncthreads();
    const woq_u32 seed = 4u * threadIdx.x + a.opaque_zero, low = woq_matrix_low(at);
    const woq_u32 p[4] = {operand(seed), operand(seed + 1u), operand(seed + 2u), operand(seed + 3u)};
    float sum[128], all = 0.0f;
#pragma unroll
    for (woq_u32 i = 0; i < 128u; i++)
        sum[i] = 0.0f;
    woq_products_begin();
    for (woq_u32 round = 0; round < a.k; round++) {
#pragma unroll
        for (woq_u32 step = 0; step < STEPS; step++)
            woq_product<false, 256>::run(sum, p, woq_matrix(low + step % 4u * 2u), true);
        woq_products_end();
        woq_products_wait<1>();
    }
    woq_products_wait<0>();
#pragma unroll
    for (woq_u32 i = 0; i < 128u; i++)
        all += sum[i];
    woq_u32 *said = (woq_u32 *)y + 2u * blockIdx.x;
    if (threadIdx.x == 0)
        said[0] = STEPS * (64u * 256u * 16u) * (blockDim.x / 128u);
    if (all == 123456.5f) /* hardly ever, but who knows */
        said[1] = __float_as_uint(all);
}
