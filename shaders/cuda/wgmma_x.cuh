/*
 * wgmma_x.cuh: X for kernel wgmma, to stages in shared memory: from the workspace, where xtile has put it in order, or
 * from where the caller has it.
 */
#ifndef WOQ_WGMMA_X_CUH
#define WOQ_WGMMA_X_CUH

#include "warpgroup.cuh"
#include "wgmma_block.cuh"

/* Stages, in the order in which they are multiplied: fetch(row, block, at, full) fills the one at `at` with a block of
 * the rows from `row` on, and says so at barrier `full`. */
template <int ROWS, class FETCH> static __device__ __forceinline__ void each_stage(woq_u32 base, const FETCH &fetch)
{
    using S = shape<ROWS>;
    woq_u32 stage = 0, parity = 1;
    for (woq_u32 part = 0;; part++) {
        const uint4 v = shared_vector(base + S::PARTS + part * 16u);
        const woq_u32 first = v.y & 0xffffu, last = v.y >> 16, row = (v.x >> 16) * ROWS;
        if (last == 0)
            return;
        for (woq_u32 b = first; b < last; b++) {
            woq_barrier_wait(base + S::EMPTY + stage * 8u, parity);
            fetch(row, b, base + stage * S::STAGE, base + S::FULL + stage * 8u);
            if (++stage == S::STAGES)
                stage = 0, parity ^= 1u;
        }
    }
}

/* From the workspace. One thread does it. Of rows that are missing nothing is stored. */
template <int ROWS> static __device__ void fetch_x(const woq_u8 *x, const woq_args &a, woq_u32 base)
{
    const woq_u32 rows = (a.m + 7u) & ~7u;
    each_stage<ROWS>(base, [&](woq_u32 row, woq_u32 b, woq_u32 at, woq_u32 full) {
        const woq_u32 bytes = min((woq_u32)ROWS, rows - row) * 128u;
        woq_barrier_expect(full, bytes);
        woq_bulk_copy(at, x + (a.x_off + ((size_t)b * rows + row) * 128u), bytes, full);
    });
}

/* The same in a cluster: each block fetches its half of a stage, for both. A loop of its own, and likewise for rows,
 * as the thread that fetches has few registers. */
template <int ROWS> static __device__ void fetch_x_for_both(const woq_u8 *x, const woq_args &a, woq_u32 base)
{
    const woq_u32 rows = (a.m + 7u) & ~7u, half = ROWS / 2u, mine = cluster_rank<ROWS>(a) * half;
    each_stage<ROWS>(base, [&](woq_u32 row, woq_u32 b, woq_u32 at, woq_u32 full) {
        woq_barrier_expect(full, min((woq_u32)ROWS, rows - row) * 128u);
        row += mine;
        if (row < rows)
            woq_bulk_copy_both(at + mine * 128u, x + (a.x_off + ((size_t)b * rows + row) * 128u),
                               min(half, rows - row) * 128u, full);
    });
}

/* From the caller's rows, as they are. One thread does it. What is beyond K or M is 0. */
template <int ROWS> static __device__ void fetch_rows(const woq_tensor_map &map, woq_u32 base)
{
    each_stage<ROWS>(base, [&](woq_u32 row, woq_u32 b, woq_u32 at, woq_u32 full) {
        woq_barrier_expect(full, shape<ROWS>::STAGE);
        woq_tensor_copy(at, map, b * 64u, row, full);
    });
}

template <int ROWS> static __device__ void fetch_rows_for_both(const woq_tensor_map &map, const woq_args &a,
                                                              woq_u32 base)
{
    const woq_u32 mine = cluster_rank<ROWS>(a) * (ROWS / 2u);
    each_stage<ROWS>(base, [&](woq_u32 row, woq_u32 b, woq_u32 at, woq_u32 full) {
        woq_barrier_expect(full, shape<ROWS>::STAGE);
        woq_tensor_copy_both(at + mine * 128u, map, b * 64u, row + mine, full);
    });
}

/* Can a tensor map describe them? */
static __device__ __forceinline__ bool rows_aligned(const woq_u8 *x, const woq_args &a)
{
    return (((woq_u32)(size_t)x + a.x_off | a.x_stride) & 15u) == 0;
}

/* If not, a warpgroup does it, element by element: its warps take every fourth row, their lanes two neighbours of its
 * 64 columns. Rows that are missing are not touched. */
template <int ROWS> static __device__ void gather_rows(const woq_u8 *x, const woq_args &a, woq_u32 base)
{
    const woq_u32 warp = threadIdx.x >> 5 & 3u, lane = threadIdx.x & 31u;
    const woq_u32 place = warp * 128u + ((lane >> 2 ^ warp) << 4) + (lane & 3u) * 4u;
    each_stage<ROWS>(base, [&](woq_u32 row, woq_u32 b, woq_u32 at, woq_u32 full) {
        const woq_u32 column = b * 64u + lane * 2u, rows = min((woq_u32)ROWS, a.m - row);
#pragma unroll 1
        for (woq_u32 r = warp; r < rows; r += 4u) {
            const woq_u8 *from = x + (a.x_off + (size_t)(row + r) * a.x_stride + column * 2u);
            const woq_u32 low = column < a.k ? woq_plain_half(from, 0) : 0u;
            const woq_u32 high = column + 1u < a.k ? woq_plain_half(from, 2) : 0u;
            store_word((at + place ^ (r & 4u) << 4) + (r - warp) * 128u, low | high << 16);
        }
        woq_products_see();
        woq_barrier_arrive(full);
    });
}

#endif
