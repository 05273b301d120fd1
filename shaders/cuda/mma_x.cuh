/*
 * mma_x.cuh: three ways of X to the lanes of kernel mma: straight to registers; through shared memory, each lane what it
 * needs itself; and through shared memory for all warps of a part of K.
 */
#ifndef WOQ_MMA_X_CUH
#define WOQ_MMA_X_CUH

#include "activations.cuh"
#include "copies.cuh"
#include "mma_block.cuh"

/* ---- X without shared memory: a lane's pieces of a step ---- */

template <int COLUMNS, int STEP> struct lane_x {
    static const int UNITS = 2 * STEP;            /* of 32 columns in a step */
    static const int AHEAD = COLUMNS > 1 ? 1 : 2; /* of them */
    const woq_u8 *window, *from;                  /* from: this lane's first piece */
    woq_u32 others[COLUMNS];                      /* where those of the other rows are from there, in bytes */
    woq_u32 step_at, last_step;                   /* bytes from there to the step loaded from, and to the last one */
    uint4 pieces[AHEAD][COLUMNS];                 /* of unit u at u % AHEAD */

    __device__ __forceinline__ lane_x(const woq_u8 *x, const woq_args &a, const spot &p, woq_u32 begin,
                                      woq_u32 end)
    {
        window = x;
        from = kept(x + (row(a, p, 0) + p.t * 16u));
        step_at = begin * (UNITS * 64u);
        last_step = (end - 1u) * (UNITS * 64u);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            others[c] = row(a, p, c) - row(a, p, 0);
    }

    static __device__ __forceinline__ woq_u32 row(const woq_args &a, const spot &p, int c)
    {
        return woq_x_row(a, (p.group_y + p.warp_m) * (COLUMNS * 8u) + p.g + c * 8u);
    }

    __device__ __forceinline__ void advance()
    {
        step_at = min(step_at + UNITS * 64u, last_step);
    }

    __device__ __forceinline__ void load(int unit, int slot)
    {
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            pieces[slot][c] = load_piece(from + step_at + (c ? others[c] : 0u) + unit * 64);
    }

    /* Whatever the alignment and order of X; beyond K zeros. */
    __device__ __forceinline__ void gather(const woq_u8 *weights, const woq_args &a, const spot &p, woq_u32 unit)
    {
        const woq_u32 column = unit * 32u + p.t * 8u;
        const bool aligned = woq_x_aligned(a);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            if (!aligned)
                pieces[0][c] = woq_x_gather(weights, window, a, row(a, p, c), column);
            else if (column < a.k)
                pieces[0][c] = load_piece(window + (row(a, p, c) + column * 2u));
            else
                pieces[0][c] = make_uint4(0, 0, 0, 0);
        }
    }

    static __device__ __forceinline__ uint4 load_piece(const woq_u8 *from)
    {
        uint4 v;
        asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                     : "l"(from));
        return v;
    }
};

/* ---- 8 rows of X through shared memory, by halves: each lane what it needs itself, without barriers ---- */

template <int HALF_UNITS> struct half_x {
    const woq_u8 *from; /* this lane's first piece */
    woq_u32 at, slot;   /* at: bytes from there to the half copied next; slot: of its unit 0, 512 before the next's */

    __device__ __forceinline__ half_x(const woq_u8 *x, const woq_args &a, const spot &p, woq_u32 begin)
    {
        from = kept(x + (lane_x<1, 1>::row(a, p, 0) + p.t * 16u));
        at = begin * (HALF_UNITS * 64u);
        slot = (threadIdx.z * blockDim.y + threadIdx.y) * (WOQ_MMA_HALF_X / 16u) + p.lane;
    }

    /* The next half, if it is wanted, in place of the one that has been read. */
    __device__ __forceinline__ void copy(bool wanted)
    {
#pragma unroll
        for (int i = 0; i < HALF_UNITS; i++)
            woq_copy_cached(pool_at() + slot * 16u + i * 512u, from + at + i * 64, wanted);
        woq_copies_end();
        at += HALF_UNITS * 64u;
    }

    __device__ __forceinline__ uint4 read(int unit) const
    {
        return pool[slot + unit % HALF_UNITS * 32u];
    }
};

/* ---- X through shared memory: the rows of a part of K ---- */

struct staged_x {
    const woq_u8 *window;
    woq_u32 row[4]; /* byte offsets of those whose pieces this thread copies */
    woq_u32 rows, first, piece, stride, to;
    bool fast;

    __device__ __forceinline__ staged_x(const woq_u8 *x, const woq_args &a, const spot &p, woq_u32 block_rows)
    {
        const woq_u32 thread = threadIdx.y * 32u + p.lane;
        window = x;
        rows = block_rows;
        first = p.group_y * rows + (thread >> 3);
        piece = thread & 7u;
        stride = blockDim.y * 4u; /* rows that the threads of a part copy at once; even, and at least a fourth */
        to = (thread >> 3) * 128u + ((piece ^ (thread >> 3 & 1u) << 2) << 4);
        fast = woq_x_aligned(a);
#pragma unroll
        for (woq_u32 i = 0; i < 4; i++)
            row[i] = woq_x_row(a, first + i * stride);
    }

    /* slot: address in shared memory. */
    __device__ __forceinline__ void copy(const woq_u8 *weights, const woq_args &a, woq_u32 step, woq_u32 slot) const
    {
        const woq_u32 column = (step * 8u + piece) * 8u;
        if (fast) {
            const bool present = column < a.k;
#pragma unroll
            for (woq_u32 i = 0; i < 4; i++)
                if (i * stride < rows)
                    woq_copy_vector<false>(slot + to + i * stride * 128u,
                                           window + (row[i] + (present ? column * 2u : 0u)), present);
        } else {
#pragma unroll 1
            for (woq_u32 i = 0; i * stride < rows; i++)
                pool[(slot - pool_at() + to + i * stride * 128u) >> 4] =
                    woq_x_gather(weights, window, a, woq_x_row(a, first + i * stride), column);
        }
    }
};

#endif
