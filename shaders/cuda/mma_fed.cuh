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

#include "fragment.cuh"
#include "mma_fed_codes.cuh"
#include "mma_fed_source.cuh"

/* What this lane reads of a stage at `at`. */
template <int COLUMNS> struct fed_lane {
    typedef fed_part<COLUMNS> P;
    woq_u32 own_x, own_sums, own_scales, own_zeros;

    __device__ __forceinline__ fed_lane(const spot &p)
    {
        own_x = p.g * 128u + (p.t ^ (p.g & 1u) << 2) * 16u;
        own_sums = P::SUMS + p.t * 8u;
        own_scales = P::SCALES + p.warp_n * (STRIPS * 32u) + p.g * 4u;
        own_zeros = P::ZEROS + p.warp_n * (STRIPS * 16u) + (2u * p.g & ~3u);
    }

    __device__ __forceinline__ uint4 x(woq_u32 at, int unit, int column) const
    {
        return shared_vector((at + own_x ^ (unit & 1) * 64u) + unit / 2 * P::X_BLOCK + column * 1024u);
    }

    /* Of X in a span: of rows 2t and 2t+1 of a tile. */
    __device__ __forceinline__ uint2 sums(woq_u32 at, int span, int column) const
    {
        return shared_pair(at + own_sums + (span * COLUMNS + column) * 32u);
    }

    __device__ __forceinline__ woq_u32 scales(woq_u32 at, int span, int strip) const
    {
        return shared_word(at + own_scales + span * P::SPAN_SCALES + strip * 32u);
    }

    __device__ __forceinline__ woq_u32 zeros(woq_u32 at, int span, int strip) const
    {
        return shared_word(at + own_zeros + span * P::SPAN_ZEROS + strip * 16u);
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

/* A unit of a strip: operands for its rows g and g+8. */
template <bool POINT, bool SUBNORMAL>
static __device__ __forceinline__ void decode_fed(const woq_codes &codes, int unit, const fed_group &group,
                                                  const spot &p, const woq_magic<4, BF16> &magic, woq_u32 rows[2][4])
{
#pragma unroll
    for (int high = 0; high < 2; high++) {
        const woq_zero<4, BF16> zero(group.zero_of<POINT>(p.g, high));
        if (SUBNORMAL)
            woq_subnormals(codes, unit, high, rows[high]);
        else
            woq_integers<4, BF16>(codes, unit, high, zero, magic, rows[high]);
    }
}

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
    const fed_lane<COLUMNS> lane(p);
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
                b[c] = lane.x(stage.at, unit, c);
#pragma unroll
            for (int s = 0; s < STRIPS; s++) {
                woq_u32 rows[2][4];
                if (unit % 2 == 0)
                    code[s] = woq_codes(codes.read(s, unit / 2));
                if (opens && POINT)
                    group[s].zero = lane.zeros(stage.at, span, s);
                decode_fed<POINT, SUBNORMAL>(code[s], unit % 2, group[s], p, magic, rows);
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
                plain[c] = lane.sums(stage.at, span, c);
#pragma unroll
            for (int s = 0; s < STRIPS; s++) {
                group[s].scale = lane.scales(stage.at, span, s);
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
