/*
 * wgmma_x.cuh: X for kernel wgmma, from the workspace to stages in shared memory.
 */
#ifndef WOQ_WGMMA_X_CUH
#define WOQ_WGMMA_X_CUH

#include "warpgroup.cuh"
#include "wgmma_block.cuh"

template <int ROWS>
static __device__ void fetch_x(const woq_u8 *x, const woq_args &a, woq_u32 base)
{
    using S = shape<ROWS>;
    const woq_u32 rows = (a.m + 7u) & ~7u;
    woq_u32 stage = 0, parity = 1;
    for (woq_u32 part = 0;; part++) {
        const uint4 v = shared_vector(base + S::PARTS + part * 16u);
        const woq_u32 first = v.y & 0xffffu, last = v.y >> 16, row = (v.x >> 16) * ROWS;
        if (last == 0)
            return;
        const woq_u32 bytes = min((woq_u32)ROWS, rows - row) * 128u; /* of rows that are missing nothing is stored */
        const woq_u8 *from = x + (a.x_off + ((size_t)first * rows + row) * 128u);
        for (woq_u32 b = first; b < last; b++) {
            woq_barrier_wait(base + S::EMPTY + stage * 8u, parity);
            woq_barrier_expect(base + S::FULL + stage * 8u, bytes);
            woq_bulk_copy(base + stage * S::STAGE, from, bytes, base + S::FULL + stage * 8u);
            from += (size_t)rows * 128u;
            if (++stage == S::STAGES)
                stage = 0, parity ^= 1u;
        }
    }
}

#endif
