/*
 * wgmma_sums.cuh: sums of kernel wgmma on their way from block to block, where blocks share a tile.
 */
#ifndef WOQ_WGMMA_SUMS_CUH
#define WOQ_WGMMA_SUMS_CUH

#include "wgmma_block.cuh"

/* ---- sums in the workspace ---- */

/* Of this block's thread in block `block`'s place; the next 4 lie a row of threads on. */
template <int ROWS>
static __device__ __forceinline__ float4 *stored_sums(const woq_u8 *workspace, const woq_args &a, woq_u32 block)
{
    const size_t bytes = warpgroups<ROWS>() * 64u * ROWS * sizeof(float);
    return (float4 *)(workspace + (a.sums_off + block * bytes)) + threadIdx.x;
}

static __device__ __forceinline__ woq_u32 *ready_flag(const woq_u8 *workspace, const woq_args &a, woq_u32 block,
                                                      woq_u32 warpgroup)
{
    return (woq_u32 *)(workspace + a.ready_off) + (block * 4u + warpgroup);
}

template <int ROWS>
static __device__ __forceinline__ void store_sums(const woq_u8 *workspace, const woq_args &a,
                                                  const float (&sums)[ROWS / 2])
{
    float4 *to = stored_sums<ROWS>(workspace, a, blockIdx.x);
    const woq_u32 warpgroup = threadIdx.x / 128u;
#pragma unroll
    for (int i = 0; i < ROWS / 8; i++)
        __stcg(to + i * warpgroups<ROWS>() * 128u,
               make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
    __threadfence();
    warpgroup_barrier(warpgroup);
    if (threadIdx.x % 128u == 0)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(ready_flag(workspace, a, blockIdx.x, warpgroup))
                     : "memory");
}

/* Those of the blocks that began the tile whose blocks from `first` on are this one's. */
template <int ROWS>
static __device__ __forceinline__ void add_sums(const woq_u8 *workspace, const woq_args &a, woq_u32 first,
                                                float (&sums)[ROWS / 2])
{
    const woq_u32 warpgroup = threadIdx.x / 128u;
    for (woq_u32 block = (blockIdx.x * a.share - first) / a.share; block < blockIdx.x; block++) {
        const float4 *from = stored_sums<ROWS>(workspace, a, block);
        woq_u32 ready;
        do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                         : "=r"(ready)
                         : "l"(ready_flag(workspace, a, block, warpgroup))
                         : "memory");
        while (!ready);
#pragma unroll
        for (int i = 0; i < ROWS / 8; i++) {
            const float4 v = __ldcg(from + i * warpgroups<ROWS>() * 128u);
            sums[4 * i] += v.x, sums[4 * i + 1] += v.y, sums[4 * i + 2] += v.z, sums[4 * i + 3] += v.w;
        }
    }
}

#endif
