/*
 * wgmma_block.cuh: what the parts of kernel wgmma share: its shape, shared memory by address, barriers of
 * warpgroups, and the list of what a block does. Macros as in wgmma.cu.
 */
#ifndef WOQ_WGMMA_BLOCK_CUH
#define WOQ_WGMMA_BLOCK_CUH

#include "common.cuh"
#include "shared.cuh"
#include "warpgroup.cuh"
#include "wgmma_kernels.inc"
#define WOQ_PARTS_FUNCTION static __device__ __forceinline__
#include "wgmma_parts.inc"

static const bool BF16 = X_BF16;
static const bool QUANTIZED = CODE_BITS != 16;
static const int BITS = QUANTIZED ? CODE_BITS : 4; /* where types must be complete that plain weights do not use */
static const woq_u32 BLOCK_CODES = 128 * CODE_BITS; /* bytes of a strip in a block of 64 columns */

#if OPENCL
static const bool SMALL = true;
template <int ROWS> struct shape {
    static const int WARPGROUPS = 2, STAGES = WOQ_WGMMA_SMALL_STAGES;
    static const woq_u32 STAGE = ROWS * 128, RING = WOQ_WGMMA_SMALL_RING, PARTS = WOQ_WGMMA_SMALL_PARTS_AT;
    static const woq_u32 RINGS = WOQ_WGMMA_SMALL_RINGS_AT, OUT = 0; /* see multiply */
    static const woq_u32 FULL = WOQ_WGMMA_SMALL_BARRIERS_AT, EMPTY = FULL + STAGES * 8;
};
#else
static const bool SMALL = false;
template <int ROWS> struct shape {
    static const int WARPGROUPS = WOQ_WGMMA_WARPGROUPS(ROWS, CODE_BITS, X_BF16); /* at most */
    static const int STAGES = WOQ_WGMMA_STAGES(ROWS, CODE_BITS);
    static const woq_u32 STAGE = ROWS * 128, RING = WOQ_WGMMA_RING(ROWS, CODE_BITS);
    static const woq_u32 OUT = WOQ_WGMMA_OUT_AT(ROWS, CODE_BITS), PARTS = WOQ_WGMMA_PARTS_AT(ROWS, CODE_BITS);
    static const woq_u32 RINGS = WOQ_WGMMA_RINGS_AT(ROWS, CODE_BITS);
    static const woq_u32 FULL = WOQ_WGMMA_BARRIERS_AT(ROWS, CODE_BITS), EMPTY = FULL + STAGES * 8;
    static const woq_u32 CUT_READ = EMPTY + STAGES * 8, CUT_SUMS = CUT_READ + 8; /* wgmma_cut.cuh; 1, 2 */
};
#endif

/* That multiply. */
template <int ROWS> static __device__ __forceinline__ woq_u32 warpgroups()
{
    return shape<ROWS>::WARPGROUPS == 2 ? 2u : blockDim.x / 128u - 1u;
}

/* May tiles of so many rows run in clusters? Where they are large and registers suffice. */
template <int ROWS> static __device__ __forceinline__ constexpr bool may_cluster()
{
    return ROWS == 256 && QUANTIZED;
}

/* Blocks of a cluster that fetch X for both, else 1; the block's place in its cluster, and the cluster's number. */
template <int ROWS> static __device__ __forceinline__ woq_u32 cluster_size(const woq_args &a)
{
    return may_cluster<ROWS>() && !a.cut ? woq_cluster_size() : 1u;
}

template <int ROWS> static __device__ __forceinline__ woq_u32 cluster_rank(const woq_args &a)
{
    return blockIdx.x & cluster_size<ROWS>(a) - 1u;
}

template <int ROWS> static __device__ __forceinline__ woq_u32 cluster_number(const woq_args &a)
{
    return blockIdx.x >> (cluster_size<ROWS>(a) - 1u);
}

/* The threads of a warpgroup that say that a stage was read, one to each block of the cluster. */
template <int ROWS> static __device__ __forceinline__ bool says_empty(const woq_args &a)
{
    return threadIdx.x % 32u == 0 && threadIdx.x % 128u < 32u * cluster_size<ROWS>(a);
}

template <int ROWS> static __device__ __forceinline__ void say_empty(const woq_args &a, woq_u32 barrier)
{
    if (may_cluster<ROWS>() && !a.cut)
        woq_barrier_arrive_at(barrier, threadIdx.x / 32u % 4u);
    else
        woq_barrier_arrive(barrier);
}

/* Of a warpgroup. */
static __device__ __forceinline__ void warpgroup_barrier(woq_u32 warpgroup)
{
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1u) : "memory");
}

/* All warpgroups that multiply, which are 2. */
static __device__ __forceinline__ void multipliers_barrier()
{
    asm volatile("bar.sync 3, 256;" ::: "memory");
}

/* The value; what follows from it is computed behind this place, and not kept in a register through a loop before. */
static __device__ __forceinline__ woq_u32 here(woq_u32 value)
{
    asm volatile("" : "+r"(value));
    return value;
}

/* ---- parts ---- */

static __device__ __forceinline__ woq_u32 blocks_of(woq_u32 k)
{
    return (k + 127u) / 128u * 2u;
}

static __device__ __forceinline__ woq_u32 group_of(const woq_args &a)
{
    return a.group && a.group < a.k ? a.group : 0x7fffffffu;
}

/* What a block does one after the other, in shared memory, WOQ_WGMMA_PARTS of 16 bytes: tile of the weights | tile of X
 * << 16; first block | end << 16, 0 behind the last part; group of the first column, and its place there. */
template <int ROWS> static __device__ void list_parts(const woq_args &a, woq_u32 table)
{
    for (woq_u32 i = threadIdx.x; i < WOQ_WGMMA_PARTS; i += blockDim.x) {
        const woq_u32 shift = cluster_size<ROWS>(a) - 1u; /* clusters count as one */
        const woq_part p = woq_part_of(i, cluster_number<ROWS>(a), gridDim.x >> shift, a.rounds, a.share,
                                       a.tiles_w * a.tiles_x, blocks_of(a.k));
        /* Up to 8 tiles of X walk through the weights side by side: what one of them has read of W, and all of X that
         * they need, is then still in the cache for the others. */
        const woq_u32 band = p.tile / (8u * a.tiles_w), in_band = p.tile - band * 8u * a.tiles_w;
        const woq_u32 deep = max(min(a.tiles_x - band * 8u, 8u), 1u), column = p.first * 64u;
        asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(table + i * 16u),
                     "r"((in_band / deep << shift) + cluster_rank<ROWS>(a) | (band * 8u + in_band % deep) << 16),
                     "r"(p.last ? p.first | p.last << 16 : 0u),
                     "r"(column / group_of(a)), "r"(column % group_of(a))
                     : "memory");
    }
}

/* The same for a block that has the one part of a tile (wgmma_cut.cuh), with fewer divisions. */
static __device__ __forceinline__ void list_part(const woq_args &a, woq_u32 table)
{
    if (threadIdx.x > 1u)
        return;
    const woq_u32 tile = blockIdx.x / a.cut, first = blockIdx.x % a.cut * a.share, column = first * 64u;
    const woq_u32 tile_w = a.tiles_x == 1u ? tile : tile / a.tiles_x;
    const woq_u32 group = a.group && a.group < a.k ? column / a.group : 0u;
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(table + threadIdx.x * 16u),
                 "r"(tile_w | (tile - tile_w * a.tiles_x) << 16),
                 "r"(threadIdx.x ? 0u : first | (first + a.share) << 16),
                 "r"(group), "r"(column - group * a.group)
                 : "memory");
}

struct part_of_product {
    woq_u32 tile_w, tile_x, first, last; /* blocks first … last−1; last 0: there are no more */
    woq_u32 group, place;
};

static __device__ __forceinline__ part_of_product read_part(woq_u32 table, woq_u32 i)
{
    const uint4 v = shared_vector(table + i * 16u);
    /* A reduction's result is one for the warp, which keeps what follows from it in uniform registers. */
    const woq_u32 tile = __reduce_or_sync(0xffffffffu, v.x), range = __reduce_or_sync(0xffffffffu, v.y);
    const part_of_product p = {tile & 0xffffu, tile >> 16, range & 0xffffu, range >> 16, v.z, v.w};
    return p;
}

#endif
