/*
 * limit_read.cu: how fast memory is read, 16 bytes a thread. See limit_… of core/kernels.h.
 *
 * Group i reads the pieces i·(group's size)…, then those a whole launch further. Requires sm_75.
 */
#include "common.cuh"

#define AHEAD 8u /* loads of a thread that do not wait for each other */

extern "C" __global__ void woq_limit_read(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)weights, (void)bias, (void)residual;
    woq_await_steps();
    woq_admit_next();
    const woq_u32 stride = gridDim.x * blockDim.x;
    const woq_u32 whole = a.n / (AHEAD * stride) * AHEAD * stride; /* the rest is left out, by all alike */
    const uint4 *pieces = (const uint4 *)x;
    uint4 sum = {0, 0, 0, 0};
    for (woq_u32 round = 0; round < a.k; round++)
        for (woq_u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < whole; i += AHEAD * stride) {
            uint4 piece[AHEAD];
#pragma unroll
            for (woq_u32 j = 0; j < AHEAD; j++)
                piece[j] = __ldcs(pieces + i + j * stride);
#pragma unroll
            for (woq_u32 j = 0; j < AHEAD; j++) {
                sum.x ^= piece[j].x;
                sum.y ^= piece[j].y;
                sum.z ^= piece[j].z;
                sum.w ^= piece[j].w;
            }
        }
    woq_u32 *said = (woq_u32 *)y + 2u * blockIdx.x;
    sum.x ^= sum.y ^ sum.z ^ sum.w;
    if (threadIdx.x == 0)
        said[0] = whole / gridDim.x * 16u;
    if (sum.x == 0x9e3779b9u + a.opaque_zero) /* hardly ever, but who knows */
        said[1] = sum.x;
}
