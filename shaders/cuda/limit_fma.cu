/*
 * limit_fma.cu: FP32 multiplications with an addition. See limit_… of core/kernels.h.
 *
 * CHAINS sums of a thread do not wait for each other. Requires sm_75.
 */
#include "common.cuh"

#define CHAINS 16u
#define STEPS  16u /* of a round */

extern "C" __global__ void woq_limit_fma(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)weights, (void)x, (void)bias, (void)residual;
    woq_await_steps();
    woq_admit_next();
    /* sum = sum / 2 + 1, which stays near 2. */
    const float half = __uint_as_float(0x3f000000u + a.opaque_zero), one = __uint_as_float(0x3f800000u + a.opaque_zero);
    float sum[CHAINS], all = 0.0f;
#pragma unroll
    for (woq_u32 i = 0; i < CHAINS; i++)
        sum[i] = 0.1f * (float)(i + threadIdx.x);
    for (woq_u32 round = 0; round < a.k; round++) {
#pragma unroll
        for (woq_u32 step = 0; step < STEPS; step++) {
#pragma unroll
            for (woq_u32 i = 0; i < CHAINS; i++)
                sum[i] = __fmaf_rn(sum[i], half, one);
        }
    }
#pragma unroll
    for (woq_u32 i = 0; i < CHAINS; i++)
        all += sum[i];
    woq_u32 *said = (woq_u32 *)y + 2u * blockIdx.x;
    if (threadIdx.x == 0)
        said[0] = CHAINS * STEPS * blockDim.x;
    if (all == 123456.0f) /* never, which compilers do not know */
        said[1] = __float_as_uint(all);
}
