/*
 * wgmma_y.cuh: a warpgroup's sums to Y.
 */
#ifndef WOQ_WGMMA_Y_CUH
#define WOQ_WGMMA_Y_CUH

#include "epilogue.cuh"
#include "fragment.cuh"
#include "wgmma_block.cuh"

/* Where a warpgroup's sums go: columns n0 … of Y, rows m0 …. */
struct target {
    woq_u32 n0, m0, out, warpgroup;
};

template <int ROWS> static __device__ __forceinline__ constexpr int out_rows() /* of X at a time */
{
    return ROWS < (SMALL ? 32 : 64) ? ROWS : SMALL ? 32 : 64;
}

/* Of a warpgroup, in tile `tile_w` of the weights: its first column of Y. */
template <int ROWS>
static __device__ __forceinline__ woq_u32 first_output(const woq_args &a, woq_u32 tile_w, woq_u32 warpgroup)
{
    const bool gated = WOQ_FLAG_ACT(here(a.flags)) == WOQ_ABI_ACT_SILU_MUL;
    return (tile_w * warpgroups<ROWS>() + warpgroup) * (gated ? 32u : 64u);
}

/* Elements as they are, 16 bits each, where whole vectors of Y take them: turned round in shared memory. */
template <int ROWS>
static __device__ __forceinline__ void store_vectors(woq_u8 *y, const woq_args &a, const target &to,
                                                     const float (&sums)[ROWS / 2])
{
    const int OUT_ROWS = out_rows<ROWS>();
    const woq_u32 thread = threadIdx.x & 127u, lane = thread & 31u, warp = thread >> 5;
#pragma unroll
    for (int first = 0; first < ROWS; first += OUT_ROWS) {
        if (to.m0 + first >= a.m)
            return;
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < OUT_ROWS / 16; i++) { /* 16 rows of X */
            woq_u32 v[4];
#pragma unroll
            for (int j = 0; j < 4; j++) { /* matrices: rows g, g+8 of the strip; then of the next 8 rows of X */
                const int at = ((first / 8 + 2 * i + j / 2) * 2 + (j & 1)) * 2;
                v[j] = WOQ_FLAG_Y(a.flags) == WOQ_ABI_F16 ? woq_pack<false>(sums[at], sums[at + 1])
                                                          : woq_pack<true>(sums[at], sums[at + 1]);
            }
            const woq_u32 row = i * 16u + (lane >> 4) * 8u + (lane & 7u), chunk = warp * 2u + (lane >> 3 & 1u);
            asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                             to.out + row * 128u + ((chunk ^ (row & 7u)) << 4)),
                         "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                         : "memory");
        }
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < OUT_ROWS / 16; i++) {
            const woq_u32 row = i * 16u + thread / 8u, chunk = thread & 7u, m = to.m0 + first + row;
            const uint4 v = shared_vector(to.out + row * 128u + ((chunk ^ (row & 7u)) << 4));
            if (m < a.m)
                *(uint4 *)(y + (a.y_off + m * a.y_stride + (to.n0 + chunk * 8u) * 2u)) = v;
        }
    }
}

/* Through the epilogue, 16 rows of X at a time. */
template <int ROWS>
static __device__ __forceinline__ void store_each(woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual,
                                                  const woq_args &a, const target &to,
                                                  const float (&sums)[ROWS / 2])
{
    const woq_u32 thread = threadIdx.x & 127u, lane = thread & 31u, warp = thread >> 5;
    const woq_u32 pitch = SMALL ? 64 : 68; /* floats */
    const woq_u32 columns = woq_gated(a) ? 32u : 64u;
#pragma unroll 1
    for (woq_u32 step = 0; step < ROWS / 16; step++) {
        if (to.m0 + step * 16u >= a.m)
            return;
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++) {
            if (step != i) /* registers have no run-time number */
                continue;
#pragma unroll
            for (int e = 0; e < 8; e++) {
                const woq_u32 row = e / 4 * 8u + 2u * (lane & 3u) + (e & 1);
                const woq_u32 column = warp * 16u + (e & 2) * 4u + (lane >> 2);
                asm volatile("st.shared.f32 [%0], %1;" ::"r"(to.out + (row * pitch + column) * 4u), "f"(sums[i * 8 + e])
                             : "memory");
            }
        }
        warpgroup_barrier(to.warpgroup);
#pragma unroll 1
        for (woq_u32 i = thread; i < 16u * columns; i += 128u) {
            const woq_u32 row = i / columns, n = i % columns, m = to.m0 + step * 16u + row;
            const woq_u32 at = to.out + (row * pitch + (woq_gated(a) ? n / 16u * 32u + n % 16u : n)) * 4u;
            if (m < a.m && to.n0 + n < a.n)
                woq_finish(y, bias, residual, a, m, to.n0 + n, shared_float(at),
                           woq_gated(a) ? shared_float(at + 64u) : 0.0f);
        }
    }
}

template <int ROWS>
static __device__ __forceinline__ void store_sums_to_y(woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual,
                                                       const woq_args &a, const target &to,
                                                       const float (&sums)[ROWS / 2])
{
    const bool as_they_are = !WOQ_FLAG_ACT(a.flags) && !WOQ_FLAG_BIAS(a.flags) && !WOQ_FLAG_RESIDUAL(a.flags) &&
                             WOQ_FLAG_Y(a.flags) != WOQ_ABI_F32;
    if (as_they_are && to.n0 + 64u <= a.n && (((woq_u32)(size_t)y | a.y_off | a.y_stride) & 15u) == 0)
        store_vectors<ROWS>(y, a, to, sums);
    else
        store_each<ROWS>(y, bias, residual, a, to, sums);
}

#endif
