/*
 * mma_fed_part.cuh: a part of K of a block that is fed (mma_fed.cuh): its stages, and what lies where in its shared
 * memory.
 */
#ifndef WOQ_MMA_FED_PART_CUH
#define WOQ_MMA_FED_PART_CUH

#include "mma_block.cuh"
#include "warpgroup.cuh"

/* Lanes that say at a barrier what their warp has done, for all. RACECHECK, from the build: all of them, as
 * compute-sanitizer's racecheck does not follow what lanes know of each other by __syncwarp. */
static const woq_u32 SPEAKERS = RACECHECK ? 32 : 1;

#if __CUDA_ARCH__ >= 900 && !OPENCL
static const bool HAS_FED = true;
#else
static const bool HAS_FED = false;
#endif

/* Shared memory of a part of K, in bytes from `begin`: rings of codes, the ring of stages, barriers. */
template <int COLUMNS> struct fed_part {
    static const int WARPS = WOQ_MMA_FED_WARPS, WIDTH = WOQ_MMA_FED_COLUMNS, UNITS = WIDTH / 32, ROWS = COLUMNS * 8;
    /* Of a warp's ring: slots of STRIPS times this. */
    static const int CODE_SLOTS = WOQ_MMA_FED_CODE_SLOTS;
    static const woq_u32 STRIP = WIDTH * 8, CODES = STRIPS * STRIP, RING = CODE_SLOTS * CODES;
    /* Of a stage: X in blocks of 64 columns, a row's 16-byte pieces changing halves with its parity; of each span sums,
     * scales and zeros. */
    static const int SLOTS = WOQ_MMA_FED_SLOTS(COLUMNS);
    static const woq_u32 X_BLOCK = ROWS * 128, SUMS = WIDTH / 64 * X_BLOCK, SPAN_SUMS = ROWS * 4;
    static const woq_u32 SCALES = SUMS + WOQ_MMA_FED_SUMS, SPAN_SCALES = WARPS * STRIPS * 32;
    static const woq_u32 ZEROS = SCALES + UNITS * SPAN_SCALES, SPAN_ZEROS = WARPS * STRIPS * 16;
    static const woq_u32 STAGE = ZEROS + UNITS * SPAN_ZEROS;
    static const woq_u32 STAGES = WARPS * RING, FULL = STAGES + SLOTS * STAGE, EMPTY = FULL + SLOTS * 8;
    static_assert(EMPTY + SLOTS * 8 <= WOQ_MMA_FED_PART(COLUMNS) && WOQ_MMA_FED_PART(COLUMNS) % 128 == 0, "room");
    static_assert(STAGE % 128 == 0 && WIDTH / 64 * SPAN_SUMS <= WOQ_MMA_FED_SUMS, "halves of 128 bytes change places");

    woq_u32 begin;         /* in shared memory */
    woq_u32 stride;        /* from a stage of this part to the next, in stages */
    woq_u32 first, stages; /* its first one, and how many it has */

    __device__ __forceinline__ fed_part(const woq_args &a)
    {
        const woq_u32 all = a.k / WIDTH, share = (all + gridDim.z - 1u) / gridDim.z;
        const woq_u32 block = min(blockIdx.z * share, all), count = min(share, all - block);
        begin = pool_at() + threadIdx.z * WOQ_MMA_FED_PART(COLUMNS);
        stride = blockDim.z;
        first = block + threadIdx.z;
        stages = (count + stride - 1u - threadIdx.z) / stride;
    }

    __device__ __forceinline__ void make_barriers() const
    {
        for (int i = 0; i < SLOTS; i++) {
            woq_barrier_make(begin + FULL + i * 8, SPEAKERS);
            woq_barrier_make(begin + EMPTY + i * 8, WARPS * SPEAKERS);
        }
        woq_barriers_made();
    }
};

/* A place in a ring, that waits know as an address, a barrier and a parity. */
template <int SLOTS, woq_u32 SIZE> struct fed_slot {
    woq_u32 at, barrier, parity, left;

    __device__ __forceinline__ fed_slot(woq_u32 begin, woq_u32 barriers, woq_u32 phase)
    {
        at = begin, barrier = barriers, parity = phase, left = SLOTS;
    }

    __device__ __forceinline__ void next()
    {
        at += SIZE, barrier += 8u;
        if (--left == 0)
            at -= SLOTS * SIZE, barrier -= SLOTS * 8u, parity ^= 1u, left = SLOTS;
    }
};

#endif
