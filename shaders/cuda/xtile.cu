/*
 * xtile.cu: X, FP16 or BF16, any alignment and order, to the workspace as kernel wgmma wants it in shared memory. See
 * core/kernels.h.
 *
 * For each block of 64 columns, K rounded up to pairs of them, and each 8 rows, M rounded up, 1024 bytes: a row's 128
 * bytes one after the other, swizzled (warpgroup.cuh). In a block, chunk 4u + 2j + h of 16 bytes has elements of
 * product j of unit u: of each lane t = 0 … 3 the columns 32u + 8t + 4j + 2h and the one behind, as A in layout FRAG16B
 * has them. What is beyond K or M is 0.
 *
 * A thread takes a unit of 32 columns of a row: 64 bytes, which it writes as 4 chunks. Block: any size in x. Requires
 * sm_75.
 */
#include "activations.cuh"

extern "C" __global__ void woq_xtile(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)bias, (void)residual;
    const woq_u32 units = (a.k + 127u) / 128u * 4u, rows = (a.m + 7u) & ~7u, threads = gridDim.x * blockDim.x;
    const woq_u32 first = blockIdx.x * blockDim.x + threadIdx.x;
    const bool fast = woq_x_aligned(a);
    woq_await_steps();
    woq_admit_next();
    for (woq_u32 i = first; i < units * rows; i += threads) {
        const woq_u32 row = i / units, unit = i % units;
        uint4 v[4];
#pragma unroll
        for (woq_u32 t = 0; t < 4u; t++) {
            const woq_u32 column = unit * 32u + t * 8u;
            if (row >= a.m || column >= a.k)
                v[t] = make_uint4(0, 0, 0, 0);
            else if (fast)
                v[t] = woq_plain_vector(x, woq_x_row(a, row) + column * 2u);
            else
                v[t] = woq_x_gather(weights, x, a, woq_x_row(a, row), column);
        }
        const woq_u32 chunk = (unit & 1u) * 4u, swizzle = row & 7u;
        woq_u8 *to = y + (((size_t)(unit >> 1) * rows + row) * 128u + a.y_off);
        *(uint4 *)(to + ((chunk ^ swizzle) << 4)) = make_uint4(v[0].x, v[1].x, v[2].x, v[3].x);
        *(uint4 *)(to + (((chunk + 1u) ^ swizzle) << 4)) = make_uint4(v[0].y, v[1].y, v[2].y, v[3].y);
        *(uint4 *)(to + (((chunk + 2u) ^ swizzle) << 4)) = make_uint4(v[0].z, v[1].z, v[2].z, v[3].z);
        *(uint4 *)(to + (((chunk + 3u) ^ swizzle) << 4)) = make_uint4(v[0].w, v[1].w, v[2].w, v[3].w);
    }
}
