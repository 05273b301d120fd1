/*
 * mma_fed_source.cuh: the warp that feeds the others of a part of K: X, scales, zeros and sums of X, from global memory
 * to the ring of stages.
 */
#ifndef WOQ_MMA_FED_SOURCE_CUH
#define WOQ_MMA_FED_SOURCE_CUH

#include "activations.cuh"
#include "copies.cuh"
#include "mma_fed_part.cuh"
#include "mma_sums.cuh"
#include "shared.cuh"

/* Copies what the warps share. POINT: there are zero points. */
template <int COLUMNS, int SPAN, bool POINT> struct fed_source {
    typedef fed_part<COLUMNS> P;
    static const int QUADS = P::ROWS / 4; /* of rows of X: a lane copies one row's piece of each */
    const woq_u8 *x[QUADS];
    bool there[QUADS];
    const woq_u8 *scales, *zeros;
    woq_u32 piece;                  /* where this lane's piece of row 0 … 3 goes */
    woq_u32 place;                  /* of the next span: its first column in its group */
    woq_u32 skipped, skipped_groups; /* columns of other parts between stages: in whole groups, and beyond */
    bool scale, zero;               /* this lane copies 16 bytes of them */

    __device__ __forceinline__ fed_source(const woq_u8 *weights, const woq_u8 *from, const woq_args &a, const spot &p,
                                          const P &part)
    {
        const woq_u32 column = part.first * P::WIDTH, row = p.lane >> 3, skip = (part.stride - 1u) * P::WIDTH;
        piece = row * 128u + ((p.lane & 7u) ^ (row & 1u) << 2) * 16u;
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            const woq_u32 m = p.group_y * P::ROWS + row + i * 4;
            x[i] = from + (woq_x_row(a, m) + column * 2u + (p.lane & 7u) * 16u);
            there[i] = m < a.m;
        }
        const woq_u32 first_strip = p.group_x * (P::WARPS * STRIPS), last_strip = a.scale_stride >> 4;
        const woq_u32 strips = min((woq_u32)(P::WARPS * STRIPS), last_strip - first_strip);
        const woq_u32 entry = column / a.group * a.scale_stride + first_strip * 16u;
        scales = weights + (a.scales_off + entry * 2u + p.lane * 16u);
        zeros = weights + (a.zeros_off + entry + p.lane * 16u);
        scale = p.lane < strips * 2u;
        zero = POINT && p.lane < strips;
        place = column % a.group;
        skipped = skip % a.group;
        skipped_groups = skip / a.group;
        asm("" : "+r"(skipped), "+r"(skipped_groups)); /* which divides once */
    }

    __device__ __forceinline__ void groups_on(const woq_args &a, woq_u32 count)
    {
        scales += count * a.scale_stride * 2u;
        zeros += count * a.scale_stride;
    }

    /* Scales and zeros of the next stage, to a slot. */
    __device__ __forceinline__ void copy_tables(const woq_args &a, woq_u32 to)
    {
        const woq_u32 lane = threadIdx.x * 16u;
#pragma unroll
        for (int i = 0; i < P::WIDTH / SPAN; i++) {
            if (scale)
                woq_copy_vector<false>(to + P::SCALES + i * P::SPAN_SCALES + lane, scales, true);
            if (zero)
                woq_copy_vector<false>(to + P::ZEROS + i * P::SPAN_ZEROS + lane, zeros, true);
            place += SPAN;
            if (place >= a.group)
                place = 0, groups_on(a, 1);
        }
        place += skipped;
        groups_on(a, skipped_groups + (place >= a.group ? 1u : 0u));
        if (place >= a.group)
            place -= a.group;
    }

    /* X of the next stage; zeros for rows beyond M. */
    __device__ __forceinline__ void copy_x(woq_u32 to, woq_u32 stride)
    {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
#pragma unroll
            for (int b = 0; b < P::WIDTH / 64; b++)
                woq_copy_vector<false>(to + b * P::X_BLOCK + piece + i * 512u, x[i] + b * 128, there[i]);
            x[i] += P::WIDTH * 2u * stride;
        }
    }
};

/* Sums of X over the spans of a stage, which this warp sees, to the place for them: of a span and tile, of rows 2t and
 * 2t+1 by the first lanes. */
template <int COLUMNS, int SPAN> static __device__ __forceinline__ void sum_x(const spot &p, woq_u32 stage)
{
    typedef fed_part<COLUMNS> P;
    const woq_u32 one = 0x3c003c00u, ones[2][4] = {{one, one, one, one}, {one, one, one, one}};
    const woq_u32 from = stage + p.g * 128u + (p.t ^ (p.g & 1u) << 2) * 16u;
    float sum[P::WIDTH / SPAN * COLUMNS][4] = {};
#pragma unroll
    for (int unit = 0; unit < P::UNITS; unit++) {
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const uint4 b = shared_vector((from ^ (unit & 1) * 64u) + unit / 2 * P::X_BLOCK + c * 1024u);
            float *to = sum[unit * 32 / SPAN * COLUMNS + c];
            multiply_add(to, ones, 0, b.x, b.y, to);
            multiply_add(to, ones, 1, b.z, b.w, to);
        }
    }
    if (p.g == 0) {
#pragma unroll
        for (int i = 0; i < P::WIDTH / SPAN * COLUMNS; i++)
            store_pair(stage + P::SUMS + i * 32u + p.t * 8u, __float_as_uint(sum[i][0]), __float_as_uint(sum[i][1]));
    }
}

template <int COLUMNS, int SPAN, bool POINT, bool SUBNORMAL>
static __device__ __forceinline__ void feed(const woq_u8 *weights, const woq_u8 *x, const woq_args &a, const spot &p,
                                            const fed_part<COLUMNS> &part)
{
    typedef fed_part<COLUMNS> P;
    const woq_u32 AHEAD = P::SLOTS / 2; /* stages under way; the others are being read */
    fed_source<COLUMNS, SPAN, POINT> source(weights, x, a, p, part);
    fed_slot<P::SLOTS, P::STAGE> to(part.begin + P::STAGES, part.begin + P::EMPTY, 1u);
    fed_slot<P::SLOTS, P::STAGE> ready(part.begin + P::STAGES, part.begin + P::FULL, 0u);
#pragma unroll 1
    for (woq_u32 i = 0; i < part.stages + AHEAD; i++) {
        if (i < part.stages) {
            woq_barrier_wait(to.barrier, to.parity);
            source.copy_tables(a, to.at);
            if (i == 0) {
                woq_await_steps();
                woq_admit_next();
            }
            source.copy_x(to.at, part.stride);
            to.next();
        }
        woq_copies_end();
        if (i < AHEAD)
            continue;
        woq_copies_wait<AHEAD>();
        __syncwarp();
        if (SUBNORMAL) {
            sum_x<COLUMNS, SPAN>(p, ready.at);
            __syncwarp();
        }
        if (p.lane < SPEAKERS)
            woq_barrier_arrive(ready.barrier);
        ready.next();
    }
}

#endif
