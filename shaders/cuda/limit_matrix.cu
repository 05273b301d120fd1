/*
 * limit_matrix.cu: mma.m16n8k16, FP16 to FP32. See limit_… of core/kernels.h.
 *
 * CHAINS sums of a warp do not wait for each other. Operands are numbers that differ, ±0.5 … ±1: zeros take less power
 * and so give higher clocks. Requires sm_80.
 */
#include "common.cuh"

#define CHAINS 8u
#define STEPS  8u /* of a round */

static __device__ __forceinline__ void multiply(float (&sum)[4], const woq_u32 (&p)[4], const woq_u32 (&q)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "r"(q[0]), "r"(q[1]));
}

/* Two halves. */
static __device__ __forceinline__ woq_u32 operand(woq_u32 i)
{
    return ((i + 1u) * 2654435761u & 0x83ff83ffu) + 0x38003800u;
}

extern "C" __global__ void woq_limit_matrix(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)weights, (void)x, (void)bias, (void)residual;
    woq_await_steps();
    woq_admit_next();
    const woq_u32 seed = 8u * threadIdx.x + a.opaque_zero;
    const woq_u32 p[4] = {operand(seed), operand(seed + 1u), operand(seed + 2u), operand(seed + 3u)};
    const woq_u32 q[2] = {operand(seed + 4u), operand(seed + 5u)};
    float sum[CHAINS][4] = {}, all = 0.0f;
    for (woq_u32 round = 0; round < a.k; round++) {
#pragma unroll
        for (woq_u32 step = 0; step < STEPS; step++) {
#pragma unroll
            for (woq_u32 i = 0; i < CHAINS; i++)
                multiply(sum[i], p, q);
        }
    }
#pragma unroll
    for (woq_u32 i = 0; i < CHAINS; i++)
        all += sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3];
    woq_u32 *said = (woq_u32 *)y + 2u * blockIdx.x;
    if (threadIdx.x == 0)
        said[0] = CHAINS * STEPS * (16u * 8u * 16u) * (blockDim.x / 32u);
    if (all == 123456.5f) /* hardly ever, but who knows */
        said[1] = __float_as_uint(all);
}
