/*
 * wgmma_sums.cuh: sums of kernel wgmma on their way from block to block, where blocks share a tile.
 */
#ifndef WOQ_WGMMA_SUMS_CUH
#define WOQ_WGMMA_SUMS_CUH

#include "wgmma_block.cuh"

/* Of all blocks; flags: 4 words a block, one for each warpgroup, 1 while its sums wait for the block that adds them,
 * and 0 between two kernels. */
struct shared_tiles {
    woq_u8 *sums;
    woq_u32 *flags;
};

/* Where block `block` puts this thread's sums, of `bytes` that a block has; the next 4 lie `threads` vectors on. */
static __device__ __forceinline__ float4 *stored_sums(const shared_tiles &tiles, woq_u32 block, woq_u32 bytes)
{
    return (float4 *)(tiles.sums + (size_t)block * bytes) + threadIdx.x;
}

template <int ROWS> static __device__ __forceinline__ woq_u32 tile_bytes()
{
    return warpgroups<ROWS>() * 64u * ROWS * 4u;
}

static __device__ __forceinline__ woq_u32 *ready_flag(const shared_tiles &tiles, woq_u32 block, woq_u32 warpgroup)
{
    return tiles.flags + (block * 4u + warpgroup);
}

template <int COUNT>
static __device__ __forceinline__ void put_sums(float4 *to, woq_u32 threads, const float (&sums)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++)
        __stcg(to + i * threads, make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
}

template <int COUNT>
static __device__ __forceinline__ void take_sums(const float4 *from, woq_u32 threads, float (&sums)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++) {
        const float4 v = __ldcg(from + i * threads);
        sums[4 * i] += v.x, sums[4 * i + 1] += v.y, sums[4 * i + 2] += v.z, sums[4 * i + 3] += v.w;
    }
}

/* That this warpgroup's are in their place. */
static __device__ __forceinline__ void say_stored(const shared_tiles &tiles, woq_u32 warpgroup)
{
    __threadfence();
    warpgroup_barrier(warpgroup);
    if (threadIdx.x % 128u == 0)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(ready_flag(tiles, blockIdx.x, warpgroup))
                     : "memory");
}

template <int ROWS>
static __device__ __forceinline__ void store_sums(const shared_tiles &tiles, const float (&sums)[ROWS / 2])
{
    put_sums(stored_sums(tiles, blockIdx.x, tile_bytes<ROWS>()), warpgroups<ROWS>() * 128u, sums);
    say_stored(tiles, threadIdx.x / 128u);
}

static __device__ __forceinline__ void await_sums(const shared_tiles &tiles, woq_u32 block, woq_u32 warpgroup)
{
    woq_u32 ready;
    do
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(ready)
                     : "l"(ready_flag(tiles, block, warpgroup))
                     : "memory");
    while (!ready);
}

/* For the next kernel that shares tiles here. */
static __device__ __forceinline__ void release_sums(const shared_tiles &tiles, woq_u32 block, woq_u32 warpgroup)
{
    warpgroup_barrier(warpgroup);
    if (threadIdx.x % 128u == 0)
        *ready_flag(tiles, block, warpgroup) = 0;
}

/* Those of the blocks that began the tile whose blocks from `first` on are this one's. */
template <int ROWS>
static __device__ __forceinline__ void add_sums(const shared_tiles &tiles, const woq_args &a, woq_u32 first,
                                                float (&sums)[ROWS / 2])
{
    const woq_u32 warpgroup = threadIdx.x / 128u, cluster = cluster_size<ROWS>(a);
    const woq_u32 begin = (cluster_number<ROWS>(a) * a.share - first) / a.share * cluster + cluster_rank<ROWS>(a);
    if (ROWS == 256) /* which takes fewer registers there, and more elsewhere */
        for (woq_u32 block = begin; block < blockIdx.x; block += cluster)
            await_sums(tiles, block, warpgroup);
#pragma unroll 1
    for (woq_u32 block = begin; block < blockIdx.x; block += cluster) {
        if (ROWS != 256)
            await_sums(tiles, block, warpgroup);
        take_sums(stored_sums(tiles, block, tile_bytes<ROWS>()), warpgroups<ROWS>() * 128u, sums);
        if (ROWS != 256)
            release_sums(tiles, block, warpgroup);
    }
    if (ROWS == 256)
        for (woq_u32 block = begin; block < blockIdx.x; block += cluster)
            release_sums(tiles, block, warpgroup);
}

#endif
