/*
 * mma_fed.cuh: kernel mma for weights of 4 bits and up to 16 rows of X, where each part of K has one warp more, which
 * feeds the WOQ_MMA_FED_WARPS that multiply.
 *
 * A stage is WOQ_MMA_FED_COLUMNS columns. Each warp that multiplies fetches the codes of its strips itself, each lane
 * what it will read, a few stages ahead, in a ring of its own. What the warps share of a stage comes from the one that
 * feeds them, in a ring of the part, with a barrier that says that a slot is full and one that it is empty: X, scales,
 * zeros, and sums of X. Nothing is loaded to registers from global memory, so no wait for one thing is a wait for
 * another (mma.cu, HALVED), and no warp waits for another one that multiplies.
 *
 * Parts of K that a block has take turns: a stage of one lies beside that of another, and memory is read in longer
 * pieces (H200, 28672 × 8192, W4 g128, M = 1, 9, 16: 33.9, 39.4, 42.1 µs before, 33.1, 37.7, 40.1 with two parts).
 *
 * SUBNORMAL: FP16 X, spans of 64 columns or more. Codes are operands as they are, without their zero point, and what
 * that adds is taken from the sums of a span: Σ x·(q − zero) = Σ x·q − zero·Σ x. So decoding 8 weights takes 5
 * instructions for 9. Σ x comes from products with ones.
 *
 * Requires sm_90; others run such blocks without it.
 */
#ifndef WOQ_MMA_FED_CUH
#define WOQ_MMA_FED_CUH

#include "activations.cuh"
#include "copies.cuh"
#include "fragment.cuh"
#include "mma_block.cuh"
#include "mma_sums.cuh"
#include "shared.cuh"
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

/* ---- the warp that feeds ---- */

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

/* ---- the warps that multiply ---- */

/* Codes of a warp's strips, by stages. */
template <int COLUMNS> struct fed_codes {
    typedef fed_part<COLUMNS> P;
    const woq_u8 *from[STRIPS]; /* this lane's in the stage fetched next */
    woq_u32 begin, at, free;    /* in shared memory: this lane's in slot 0, in that to be read, in that to be filled */
    woq_u32 left, step;         /* stages not yet fetched; bytes from one to the next */

    __device__ __forceinline__ fed_codes(const woq_u8 *weights, const woq_args &a, const spot &p, const P &part)
    {
        const woq_u32 last_strip = (a.scale_stride >> 4) - 1u; /* of the tile */
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            from[s] = kept(weights + (a.codes_off + min(p.strip + s, last_strip) * a.codes_stride +
                                      part.first * P::STRIP + p.lane * 16u));
        begin = at = free = part.begin + p.warp_n * P::RING + p.lane * 16u;
        left = part.stages;
        step = part.stride * P::STRIP;
#pragma unroll 1
        for (int i = 0; i < P::CODE_SLOTS - 1; i++)
            fetch();
    }

    static __device__ __forceinline__ woq_u32 after(woq_u32 begin, woq_u32 slot)
    {
        return slot == begin + (P::CODE_SLOTS - 1) * P::CODES ? begin : slot + P::CODES;
    }

    /* The next stage, to the slot that was read last. */
    __device__ __forceinline__ void fetch()
    {
        if (left) {
            left--;
#pragma unroll
            for (int i = 0; i < STRIPS * P::WIDTH / 64; i++) {
                const int s = i / (P::WIDTH / 64), block = i % (P::WIDTH / 64);
                woq_copy_vector<true>(free + s * P::STRIP + block * 512u, from[s] + block * 512, true);
            }
        }
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            from[s] += step;
        free = after(begin, free);
        woq_copies_end();
    }

    /* Until those of the stage to be read are there. */
    __device__ __forceinline__ void wait() const
    {
        woq_copies_wait<P::CODE_SLOTS - 2>();
    }

    __device__ __forceinline__ uint4 read(int s, int block) const
    {
        return shared_vector(at + s * P::STRIP + block * 512u);
    }

    __device__ __forceinline__ void next()
    {
        at = after(begin, at);
    }
};

/* What the rows of a strip have in a span: raw from shared memory. */
struct fed_group {
    woq_u32 scale, zero; /* of the rows g and g+8; four zero points of two pairs of rows */

    template <bool POINT> __device__ __forceinline__ woq_u32 zero_of(woq_u32 g, int high) const
    {
        return POINT ? woq_pair_byte(zero, g, high) : woq_symmetric_zero<4>();
    }
};

/* A span's sums, to the total. plain: sums of X, of rows 2t and 2t+1 of each tile. */
template <int COLUMNS, bool POINT, bool SUBNORMAL>
static __device__ __forceinline__ void add_span(const fed_group &group, const spot &p, const uint2 plain[COLUMNS],
                                                float part[COLUMNS][4], float total[COLUMNS][4])
{
#pragma unroll
    for (int high = 0; high < 2; high++) {
        const float scale = woq_pair_element(BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16, make_uint2(group.scale, 0), high);
        const float minus = woq_minus_subnormal(group.zero_of<POINT>(p.g, high), high);
#pragma unroll
        for (int i = 0; i < COLUMNS * 2; i++) {
            float &sum = part[i / 2][2 * high + i % 2], &to = total[i / 2][2 * high + i % 2];
            if (SUBNORMAL)
                sum = __fmaf_rn(minus, __uint_as_float(i % 2 ? plain[i / 2].y : plain[i / 2].x), sum);
            to = __fmaf_rn(scale, sum, to);
        }
    }
}

/* This warp's part of K, of whole stages, whose spans of SPAN columns share a scale of X's type. POINT: and a zero
 * point; else it is 8. To out.total. */
template <int COLUMNS, int SPAN, bool POINT>
static __device__ __forceinline__ void multiply_fed(const woq_u8 *weights, const woq_u8 *x, const woq_args &a,
                                                    const spot &p, sums<COLUMNS, EXACT> &out)
{
    typedef fed_part<COLUMNS> P;
    const bool SUBNORMAL = !BF16 && SPAN >= 64; /* smaller spans have more sums to correct than that saves */
    const P part(a);
    const bool feeds = threadIdx.y == P::WARPS;
    if (feeds && p.lane == 0)
        part.make_barriers();
    __syncthreads();
    if (feeds)
        return feed<COLUMNS, SPAN, POINT, SUBNORMAL>(weights, x, a, p, part);
    fed_codes<COLUMNS> codes(weights, a, p, part);
    woq_await_steps(); /* whose Y, or residual, this may be */
    woq_admit_next();
    const woq_magic<4, BF16> magic(a);
    const woq_u32 own_x = p.g * 128u + (p.t ^ (p.g & 1u) << 2) * 16u, own_sums = P::SUMS + p.t * 8u;
    const woq_u32 own_scales = P::SCALES + p.warp_n * (STRIPS * 32u) + p.g * 4u;
    const woq_u32 own_zeros = P::ZEROS + p.warp_n * (STRIPS * 16u) + (2u * p.g & ~3u);
    fed_slot<P::SLOTS, P::STAGE> stage(part.begin + P::STAGES, part.begin + P::FULL, 0u);
#pragma unroll 1
    for (woq_u32 i = 0; i < part.stages; i++) {
        codes.wait();
        codes.fetch();
        woq_barrier_wait(stage.barrier, stage.parity);
        woq_codes code[STRIPS];
        fed_group group[STRIPS];
#pragma unroll
        for (int unit = 0; unit < P::UNITS; unit++) {
            const int span = unit * 32 / SPAN;
            const bool opens = unit * 32 % SPAN == 0, closes = (unit + 1) * 32 % SPAN == 0;
            const float nothing[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            uint4 b[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; c++)
                b[c] = shared_vector((stage.at + own_x ^ (unit & 1) * 64u) + unit / 2 * P::X_BLOCK + c * 1024u);
#pragma unroll
            for (int s = 0; s < STRIPS; s++) {
                woq_u32 rows[2][4];
                if (unit % 2 == 0)
                    code[s] = woq_codes(codes.read(s, unit / 2));
                if (opens && POINT)
                    group[s].zero = shared_word(stage.at + own_zeros + span * P::SPAN_ZEROS + s * 16u);
#pragma unroll
                for (int high = 0; high < 2; high++) {
                    const woq_zero<4, BF16> zero(group[s].zero_of<POINT>(p.g, high));
                    if (SUBNORMAL)
                        woq_subnormals(code[s], unit % 2, high, rows[high]);
                    else
                        woq_integers<4, BF16>(code[s], unit % 2, high, zero, magic, rows[high]);
                }
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) {
                    multiply_add(out.part[s][c], rows, 0, b[c].x, b[c].y, opens ? nothing : out.part[s][c]);
                    multiply_add(out.part[s][c], rows, 1, b[c].z, b[c].w, out.part[s][c]);
                }
            }
            if (!closes)
                continue;
            uint2 plain[COLUMNS];
#pragma unroll
            for (int c = 0; c < (SUBNORMAL ? COLUMNS : 0); c++)
                plain[c] = shared_pair(stage.at + own_sums + (span * COLUMNS + c) * 32u);
#pragma unroll
            for (int s = 0; s < STRIPS; s++) {
                group[s].scale = shared_word(stage.at + own_scales + span * P::SPAN_SCALES + s * 32u);
                add_span<COLUMNS, POINT, SUBNORMAL>(group[s], p, plain, out.part[s], out.total[s]);
            }
        }
        __syncwarp();
        if (p.lane < SPEAKERS)
            woq_barrier_arrive(stage.barrier + (P::EMPTY - P::FULL));
        codes.next();
        stage.next();
    }
#pragma unroll
    for (int i = 0; i < (SUBNORMAL ? STRIPS * COLUMNS * 4 : 0); i++)
        out.total[i / (COLUMNS * 4)][i / 4 % COLUMNS][i % 4] *= woq_subnormal_unit(i % 4 / 2);
}

/* Besides aligned X, and scales of its type. */
static __device__ __forceinline__ bool fed_takes(const woq_args &a)
{
    return a.k % WOQ_MMA_FED_COLUMNS == 0 && (a.group >= a.k || a.group % 32u == 0);
}

/* multiply_fed for spans of so many columns: 128, 64 or 32. MAY: it is written for such weights, X and sums. */
template <int COLUMNS, bool MAY, class SUMS>
static __device__ __forceinline__ void product_fed(const woq_u8 *weights, const woq_u8 *x, const woq_args &a,
                                                   const spot &p, int span, SUMS &out)
{
    if constexpr (MAY && HAS_FED) {
        const bool point = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_POINT;
        if (span == 128 && point)
            multiply_fed<COLUMNS, 128, true>(weights, x, a, p, out);
        else if (span == 128)
            multiply_fed<COLUMNS, 128, false>(weights, x, a, p, out);
        else if (span == 64 && point)
            multiply_fed<COLUMNS, 64, true>(weights, x, a, p, out);
        else if (span == 64)
            multiply_fed<COLUMNS, 64, false>(weights, x, a, p, out);
        else if (point)
            multiply_fed<COLUMNS, 32, true>(weights, x, a, p, out);
        else
            multiply_fed<COLUMNS, 32, false>(weights, x, a, p, out);
    }
}

#endif
