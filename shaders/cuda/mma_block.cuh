/*
 * mma_block.cuh: what the parts of kernel mma share: constants of the build, shared memory, and where a thread works.
 * Macros as in mma.cu.
 */
#ifndef WOQ_MMA_BLOCK_CUH
#define WOQ_MMA_BLOCK_CUH

#include "common.cuh"
#include "mma_kernels.inc"

static const bool BF16 = X_BF16;
static const bool QUANTIZED = CODE_BITS != 16;
static const int STRIPS = WOQ_MMA_STRIPS, VECTORS = CODE_BITS / 4; /* of codes of a lane in a block of 64 columns */
static const int BITS = QUANTIZED ? CODE_BITS : 4; /* where types must be complete that plain weights do not use */

extern __shared__ uint4 pool[];

static __device__ __forceinline__ woq_u32 pool_at()
{
    return (woq_u32)__cvta_generic_to_shared(pool);
}

/* Where this thread works. */
struct spot {
    woq_u32 lane, g, t;
    woq_u32 warps_n, warp_n, warp_m;
    woq_u32 group_x, group_y; /* block (i, j) */
    woq_u32 strip;            /* the first */
};

/* Up to 8 rows of blocks walk through the weights side by side: what one of them has read of W, and all of X that they
 * need, is then still in the cache for the others. hidden: a 0 that the compiler does not know, or it would keep what
 * it found the first time in registers. warps: of a part of K, that multiply. */
static __device__ __forceinline__ spot find_spot(woq_u32 warps, woq_u32 warps_m, woq_u32 hidden = 0)
{
    const woq_u32 deep = 8, id = blockIdx.y * gridDim.x + blockIdx.x + hidden, band = deep * gridDim.x;
    const woq_u32 first = id / band * deep, rows = min(gridDim.y - first, deep);
    spot p;
    p.group_x = id % band / rows;
    p.group_y = first + id % band % rows;
    p.lane = threadIdx.x + hidden;
    p.g = p.lane >> 2;
    p.t = p.lane & 3u;
    p.warps_n = warps / warps_m;
    p.warp_n = (threadIdx.y + hidden) % p.warps_n;
    p.warp_m = (threadIdx.y + hidden) / p.warps_n;
    p.strip = (p.group_x * p.warps_n + p.warp_n) * STRIPS;
    return p;
}

/* A pointer that is kept as it is: of several into a window nvcc would keep their differences from it, and add both for
 * each load. */
static __device__ __forceinline__ const woq_u8 *kept(const woq_u8 *at)
{
    asm("" : "+l"(at));
    return at;
}

#endif
