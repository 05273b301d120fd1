/*
 * wgmma_cut.cuh: tiles of kernel wgmma that are cut along K, into args.cut parts, each a block's. Two blocks that are
 * neighbours in K are a cluster: each sends the other its sums of one half of the rows of X, through shared memory, to
 * where the stages of X were, and waits for no fence and no flag. They come in two pieces, so that one goes on to Y
 * while the other is under way. Of four parts the first two blocks' sums then go to memory, as wgmma_sums.cuh has it,
 * and the last two blocks add them: half a tile each.
 *
 * A sum is that of two blocks plus, maybe, that of the two before, for all rows alike: its bits do not depend on where
 * in a tile its row is.
 */
#ifndef WOQ_WGMMA_CUT_CUH
#define WOQ_WGMMA_CUT_CUH

#include "wgmma_block.cuh"
#include "wgmma_sums.cuh"
#include "wgmma_y.cuh"

static const int CUT_PIECES = 2;

/* What a block of WARPGROUPS that multiply finishes of a tile, in pieces: rows of X, a thread's sums of them, and bytes
 * of all threads'. */
template <int ROWS, int WARPGROUPS> struct cut_piece {
    static const int X = ROWS / 2 / CUT_PIECES, SUMS = X / 2, VECTORS = SUMS / 4, THREADS = WARPGROUPS * 128;
    static const woq_u32 BYTES = VECTORS * THREADS * 16;
};

/* One thread does it, before all arrive at the cluster's barrier. */
template <int ROWS> static __device__ __forceinline__ void make_cut_barriers(woq_u32 base)
{
    using S = shape<ROWS>;
    woq_barrier_make(base + S::CUT_READ, 2u * warpgroups<ROWS>());
    for (int piece = 0; piece < CUT_PIECES; piece++) {
        woq_barrier_make(base + S::CUT_SUMS + piece * 8, 1);
        woq_barrier_expect(base + S::CUT_SUMS + piece * 8, cut_piece<ROWS, 1>::BYTES * warpgroups<ROWS>());
    }
}

/* own: this block's half of its sums; the other half is on its way to the other block. */
template <int ROWS, class piece>
static __device__ __forceinline__ void send_sums(woq_u32 base, const float (&sums)[ROWS / 2],
                                                 float (&own)[CUT_PIECES][piece::SUMS])
{
    using S = shape<ROWS>;
    const woq_u32 rank = woq_cluster_rank(), other = rank ^ 1u;
    woq_cluster_wait(); /* its barriers are made */
    /* All stages are read, by both: there is room. A warp of a warpgroup for each block says so. */
    if (threadIdx.x % 32u == 0 && threadIdx.x % 128u < 64u)
        woq_barrier_arrive_at(base + S::CUT_READ, threadIdx.x / 32u % 4u);
    woq_barrier_wait(base + S::CUT_READ, 0);
    const woq_u32 to = woq_address_in(base + threadIdx.x * 16u, other);
    const woq_u32 barrier = woq_address_in(base + S::CUT_SUMS, other);
#pragma unroll
    for (int i = 0; i < CUT_PIECES * piece::VECTORS; i++) {
        float sent[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float low = sums[4 * i + e], high = sums[ROWS / 4 + 4 * i + e];
            sent[e] = rank ? low : high;
            own[i / piece::VECTORS][i % piece::VECTORS * 4 + e] = rank ? high : low;
        }
        woq_store_remote(to + i * piece::THREADS * 16, sent[0], sent[1], sent[2], sent[3],
                         barrier + i / piece::VECTORS * 8);
    }
}

/* Adds what the other block has sent of a piece. */
template <int ROWS, class piece>
static __device__ __forceinline__ void receive_sums(woq_u32 base, int number, float (&own)[piece::SUMS])
{
    const woq_u32 at = base + threadIdx.x * 16u + number * piece::BYTES;
    woq_barrier_wait(base + shape<ROWS>::CUT_SUMS + number * 8, 0);
#pragma unroll
    for (int i = 0; i < piece::VECTORS; i++) {
        const uint4 v = shared_vector(at + i * piece::THREADS * 16);
        own[4 * i] += __uint_as_float(v.x), own[4 * i + 1] += __uint_as_float(v.y);
        own[4 * i + 2] += __uint_as_float(v.z), own[4 * i + 3] += __uint_as_float(v.w);
    }
}

/* The end of a part: this block's half of the rows of X, to Y if the tile ends here. */
template <int ROWS, int WARPGROUPS>
static __device__ __forceinline__ void finish_cut(woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual,
                                                  const woq_args &a, const shared_tiles &tiles,
                                                  const part_of_product &part, woq_u32 base,
                                                  const float (&sums)[ROWS / 2])
{
    using piece = cut_piece<ROWS, WARPGROUPS>;
    float own[CUT_PIECES][piece::SUMS];
    send_sums<ROWS, piece>(base, sums, own);
    const woq_u32 warpgroup = __shfl_sync(0xffffffffu, threadIdx.x >> 7, 0);
    const bool behind = blockIdx.x % a.cut >= 2u, ends = behind || a.cut == 2u;
    target to = {first_output<ROWS>(a, part.tile_w, warpgroup), part.tile_x * ROWS + woq_cluster_rank() * (ROWS / 2u),
                 base + shape<ROWS>::OUT + warpgroup * WOQ_WGMMA_OUT, warpgroup};
    const woq_u32 block = behind ? blockIdx.x - 2u : blockIdx.x; /* in whose place sums are */
    float4 *stored = stored_sums(tiles, block, CUT_PIECES * piece::BYTES);
    if (behind)
        await_sums(tiles, block, warpgroup);
#pragma unroll
    for (int i = 0; i < CUT_PIECES; i++) {
        receive_sums<ROWS, piece>(base, i, own[i]);
        if (behind)
            take_sums(stored + i * piece::VECTORS * piece::THREADS, piece::THREADS, own[i]);
        if (ends)
            store_sums_to_y<piece::X>(y, bias, residual, a, to, own[i]);
        else
            put_sums(stored + i * piece::VECTORS * piece::THREADS, piece::THREADS, own[i]);
        to.m0 += piece::X;
    }
    if (behind)
        release_sums(tiles, block, warpgroup);
    else if (!ends)
        say_stored(tiles, warpgroup);
}

#endif
