/*
 * mma.cu: matrix units whose operands lie in known registers: Yᵀ = W · Xᵀ by products of 16 × 8 × 16.
 *
 * Weights are operand A, 16 rows (a strip) × 16 columns; rows of X are the columns of B; lane l = 4g + t of a warp
 * holds (PTX ISA, "Matrix Fragments for mma.m16n8k16")
 *     A registers 0 … 3   row g, k = 2t, 2t+1;  row g+8, the same;  row g, k = 2t+8, 2t+9;  row g+8, the same
 *     B registers 0, 1    k = 2t, 2t+1;  k = 2t+8, 2t+9 of column g
 *     C                   row g, columns 2t, 2t+1;  row g+8, the same
 * As a product may take its k in any order, those k are the memory's columns 8t … 8t+3 (first product of a unit of
 * 32) and 8t+4 … 8t+7 (second): a lane loads 8 neighbours at once, of W as of X, in the order in which it needs them.
 *
 * Block: (32, warps along rows of W and of X, parts of K). Block (i, j) computes strips i·(its warps)·2 … for rows
 * j·WARPS_M·COLUMNS·8 … of X; the parts of K are whole blocks of 64 columns, added up in order at the end; blocks
 * (i, j, p) take part p of K each, and give it rows of Y of its own.
 *
 * A step is 64, 128 or 256 columns. What a warp needs of W in the next step is loaded to where this one's was as soon
 * as that has been decoded, without branches. So is X, straight to registers, where pieces are aligned and K ends with
 * a step (FAST); warps beside each other find it in the cache of the multiprocessor.
 *
 * HALVED: few rows of X, where loads of W on their way are what counts. A step is two halves; one's codes are on their
 * way while the other's are used. ptxas has six scoreboards for a warp and gives one to all loads that a loop's next
 * round waits for, so that waiting for a load of X was waiting for the codes loaded last: X goes through shared memory,
 * where each lane copies what it needs itself. (H200, W4 g128, M = 1, µs, by steps of 128 columns before: 28672 × 8192,
 * 33.8, 31.7; 28672 × 4096, 18.6, 17.5; loads of codes spread over the step, 41.9 and 22.5.)
 *
 * Fed: blocks of WOQ_MMA_FED_WARPS warps along rows of W may have one warp more in each part of K, which brings the
 * others what they share (mma_fed.cuh), if weights, X and K are such as that is for; else it waits for the end.
 *
 * STAGED: rows of X go through shared memory, for all warps of a part of K, STAGES − 1 steps ahead; a row's 16-byte
 * pieces change halves with its parity (no bank conflicts). Sums reach the epilogue through shared memory.
 *
 * EXACT: integers multiply; sums of SPAN columns, which share a scale, are scaled in FP32. ROUNDED: weights are scaled
 * to the type of X.
 *
 * Macros, from the build: CODES u4, u8, f16 or bf16 (the last two plain weights, of the type of X); X_TYPE f16 or bf16;
 * CODE_BITS 4, 8 or 16; X_BF16 0 or 1; RACECHECK 0 or 1. Requires sm_80.
 */
#include "copies.cuh"
#include "epilogue.cuh"
#include "fragment.cuh"
#include "mma_block.cuh"
#include "mma_fed.cuh"
#include "mma_sums.cuh"
#include "mma_weights.cuh"
#include "mma_x.cuh"

/* ---- barriers ---- */

/* All warps of a part of K. RACECHECK, from the build: of the block, for compute-sanitizer's racecheck, which does not
 * follow barriers of fewer. */
static __device__ __forceinline__ void part_barrier()
{
#if RACECHECK
    __syncthreads();
#else
    asm volatile("bar.sync %0, %1;" ::"r"(threadIdx.z + 1u), "r"(32u * blockDim.y) : "memory");
#endif
}

/* RACECHECK: those of steps that this part of K lacks, while others have them. */
template <bool STAGED> static __device__ __forceinline__ void part_barriers(woq_u32 steps)
{
#if RACECHECK
#pragma unroll 1
    for (; STAGED && steps; steps--)
        part_barrier();
#endif
}

/* ---- the product ---- */

/* What rows g and g+8 of the strips have in the current group. */
template <woq_math MATH, woq_scaling SCALING> struct groups {
    woq_zero<BITS, BF16> zero[STRIPS][2];
    woq_u32 pairs[STRIPS][2], lower[STRIPS][2];
    float scale[STRIPS][2], offset[STRIPS][2];

    __device__ __forceinline__ groups(const woq_args &a)
    {
        const woq_u32 fixed = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET ? 0u : woq_symmetric_zero<BITS>();
#pragma unroll
        for (int i = 0; i < STRIPS * 2; i++) {
            zero[i / 2][i % 2] = woq_zero<BITS, BF16>(fixed);
            offset[i / 2][i % 2] = 0.0f;
        }
    }

    __device__ __forceinline__ void begin(const woq_args &a, woq_u32 g, const raw_pair raw[STRIPS])
    {
        const woq_u32 type = WOQ_FLAG_SCALE(a.flags), kind = WOQ_FLAG_ZERO(a.flags);
        if (kind == WOQ_ABI_ZERO_POINT) {
#pragma unroll
            for (int i = 0; i < STRIPS * 2; i++)
                zero[i / 2][i % 2] = woq_zero<BITS, BF16>(woq_pair_byte(raw[i / 2].zero.x, g, i % 2));
        }
#pragma unroll
        for (int i = 0; i < (MATH == ROUNDED ? STRIPS * 2 : 0); i++) {
            if (SCALING == WOQ_SCALES_PAIRS)
                pairs[i / 2][i % 2] = __byte_perm(raw[i / 2].scale.x, 0, i % 2 ? 0x3232 : 0x1010);
            else if (SCALING == WOQ_SCALES_SPLIT)
                woq_split_scale(woq_pair_element(WOQ_ABI_F16, raw[i / 2].scale, i % 2), pairs[i / 2][i % 2],
                                lower[i / 2][i % 2]);
            else
                scale[i / 2][i % 2] = woq_pair_element(type, raw[i / 2].scale, i % 2);
            if (SCALING == WOQ_SCALES_FLOATS && kind == WOQ_ABI_ZERO_OFFSET)
                offset[i / 2][i % 2] = woq_pair_element(type, raw[i / 2].zero, i % 2);
        }
    }
};

/* Of this lane in a strip and a unit of a block: the operands of its two rows. */
template <woq_math MATH, woq_scaling SCALING>
static __device__ __forceinline__ void decode(const uint4 codes[VECTORS], int s, int unit,
                                              const groups<MATH, SCALING> &now, const woq_magic<BITS, BF16> &magic,
                                              woq_u32 rows[2][4])
{
    if (!QUANTIZED) {
#pragma unroll
        for (int high = 0; high < 2; high++) {
            const uint4 v = codes[QUANTIZED ? 0 : unit * 2 + high];
            rows[high][0] = v.x, rows[high][1] = v.y, rows[high][2] = v.z, rows[high][3] = v.w;
        }
        return;
    }
    const woq_codes both(codes[BITS == 8 ? unit : 0]);
#pragma unroll
    for (int high = 0; high < 2; high++) {
        if constexpr (MATH == ROUNDED && SCALING == WOQ_SCALES_FLOATS && BF16 && BITS == 8) {
            woq_bytes_scaled(both, high, now.zero[s][high], magic, now.scale[s][high], now.offset[s][high], rows[high]);
            continue;
        }
        woq_integers<BITS, BF16>(both, unit, high, now.zero[s][high], magic, rows[high]);
        if (MATH == ROUNDED && SCALING == WOQ_SCALES_PAIRS)
            woq_scale_pairs<BF16>(rows[high], now.pairs[s][high]);
        else if (MATH == ROUNDED && SCALING == WOQ_SCALES_SPLIT)
            woq_scale_split(rows[high], now.pairs[s][high], now.lower[s][high]);
        else if (MATH == ROUNDED)
            woq_scale_floats<BF16>(rows[high], now.scale[s][high], now.offset[s][high]);
    }
}

/* A strip in a unit of 32 columns, and tile c of X: b is this lane's 8 elements of it, rows its operands. opens: what
 * came before in this span is not to be added to. */
template <int COLUMNS, woq_math MATH>
static __device__ __forceinline__ void multiply_tile(const woq_u32 rows[2][4], const uint4 &b, int s, int c, bool opens,
                                                     sums<COLUMNS, MATH> &out)
{
    const bool scaled = sums<COLUMNS, MATH>::SCALED;
    const float nothing[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    float *to = scaled ? out.part[scaled ? s : 0][scaled ? c : 0] : out.total[s][c];
    multiply_add(to, rows, 0, b.x, b.y, scaled && opens ? nothing : to);
    multiply_add(to, rows, 1, b.z, b.w, to);
}

/* Of scales; HALF: as in lane_weights. */
template <bool HALF> static __device__ __forceinline__ woq_u32 scale_type(const woq_args &a)
{
    return HALF ? BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16 : WOQ_FLAG_SCALE(a.flags);
}

/* EXACT: the sums of a span are complete. */
template <int COLUMNS, woq_math MATH, bool HALF>
static __device__ __forceinline__ void close_span(const woq_args &a, const raw_pair raw[STRIPS],
                                                  sums<COLUMNS, MATH> &out)
{
    const bool scaled = sums<COLUMNS, MATH>::SCALED;
#pragma unroll
    for (int s = 0; s < (scaled ? STRIPS : 0); s++) {
        const float low = woq_pair_element(scale_type<HALF>(a), raw[s].scale, 0);
        const float high = woq_pair_element(scale_type<HALF>(a), raw[s].scale, 1);
#pragma unroll
        for (int i = 0; i < COLUMNS * 4; i++)
            out.total[s][i / 4][i % 4] =
                __fmaf_rn(i % 4 < 2 ? low : high, out.part[scaled ? s : 0][scaled ? i / 4 : 0][i % 4],
                          out.total[s][i / 4][i % 4]);
    }
}

/* The steps of this warp's part of K, of STEP blocks of 64 columns. FAST: without STAGED, all pieces of X that they
 * need are there to be loaded at once, and ahead. */
template <int COLUMNS, int WARPS_M, woq_math MATH, bool STAGED, bool FAST, bool HALF, woq_scaling SCALING, int SPAN,
          int STEP>
static __device__ __forceinline__ void multiply(const woq_u8 *weights, const woq_u8 *x, const woq_args &a,
                                                const spot &p, sums<COLUMNS, MATH> &out)
{
    const int STAGES = WOQ_MMA_STAGES, UNITS = 2 * STEP;
    const int AHEAD = lane_x<COLUMNS, STEP>::AHEAD;
    const int RAWS = SPAN == 32 && (COLUMNS == 1 || (COLUMNS == 2 && HALF)) ? 2 : 1;
    const bool LATE = CODE_BITS == 8 && MATH == ROUNDED && SCALING == WOQ_SCALES_FLOATS &&
                      !STAGED; /* no registers for scales ahead */
    const woq_u32 rows_x = WARPS_M * COLUMNS * 8u, x_bytes = WOQ_MMA_X_SLOT(rows_x);
    const woq_u32 ring = threadIdx.z * (STAGES * x_bytes);
    typedef lane_weights<STEP, SPAN, RAWS, SPAN == 32 && MATH == ROUNDED, HALF> lane_weights;
    const int HALVES = lane_weights::HALVES, HALF_UNITS = lane_weights::HALF_UNITS;
    const bool HALVED = HALVES == 2;
    static_assert(!HALVED || (COLUMNS == 1 && HALF_UNITS * 512 <= WOQ_MMA_HALF_X), "slots of X");
    /* A part of K is whole halves of steps, and whole spans. */
    const woq_u32 whole = SPAN > HALF_UNITS * 32 ? SPAN / (HALF_UNITS * 32) : 1;
    const woq_u32 steps = (a.k + (HALF_UNITS * 32u - 1u)) / (HALF_UNITS * 32u), parts = blockDim.z * gridDim.z;
    const woq_u32 share = (steps + parts * whole - 1u) / (parts * whole) * whole;
    const woq_u32 begin = min((blockIdx.z * blockDim.z + threadIdx.z) * share, steps), end = min(begin + share, steps);
    if (begin >= end) {
        woq_await_steps();
        part_barriers<STAGED>(share);
        return;
    }
    lane_weights w(weights, a, p, begin, end);
    w.settle();
    woq_await_steps();
    woq_admit_next();
    lane_x<COLUMNS, STEP> direct(x, a, p, begin, end);
    half_x<HALF_UNITS> halved(x, a, p, begin);
    const staged_x stage(x, a, p, rows_x);
    const woq_magic<BITS, BF16> magic(a);
    groups<MATH, SCALING> now(a);
    woq_u32 use = 0; /* the slot to be used; the one before is the next to be filled */
    if (STAGED) {
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; i++) {
            if (begin + i < end)
                stage.copy(weights, a, begin + i, pool_at() + ring + i * x_bytes);
            woq_copies_end();
        }
    } else if (HALVED) {
        halved.copy(true);
    } else if (FAST) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            direct.load(i, i);
    }
#pragma unroll 1
    for (woq_u32 step = begin; step < end; step += HALVES) {
        if (STAGED) {
            woq_copies_wait<STAGES - 2>();
            part_barrier();
            if (step + (STAGES - 1) < end)
                stage.copy(weights, a, step + (STAGES - 1),
                           pool_at() + ring + (use ? use - 1u : STAGES - 1u) * x_bytes);
            woq_copies_end();
        }
#pragma unroll
        for (int unit = 0; unit < UNITS; unit++) {
            if (HALVED && unit == HALF_UNITS && step + 1u == end)
                break;
            const int slot = unit * 32 / SPAN % RAWS;
            const bool opens = unit * 32 % SPAN == 0, closes = (unit + 1) * 32 % SPAN == 0;
            if (QUANTIZED && opens) {
                now.begin(a, p.g, w.raw[slot]);
                if (MATH == EXACT) {
                    if (w.point(a)) /* offsets go with ROUNDED alone */
                        w.load_zeros(a, slot);
                } else if (!LATE) {
                    w.load_zeros(a, slot);
                    w.load_scales(a, slot);
                }
            }
            const int ahead = FAST && !HALVED ? unit % AHEAD : 0;
            if (HALVED && unit % HALF_UNITS == 0)
                woq_copies_wait<0>();
            if (HALVED)
                direct.pieces[ahead][0] = halved.read(unit);
            else if (!STAGED && !FAST)
                direct.gather(weights, a, p, step * UNITS + unit);
            woq_u32 rows[STRIPS][2][4];
#pragma unroll
            for (int s = 0; s < STRIPS; s++)
                decode<MATH, SCALING>(w.codes[unit / 2][s], s, unit % 2, now, magic, rows[s]);
            w.load_more(unit, end - step, step == begin);
#pragma unroll
            for (int i = 0; i < (STAGED ? 0 : STRIPS * COLUMNS); i++)
                multiply_tile(rows[i / COLUMNS], direct.pieces[ahead][i % COLUMNS], i / COLUMNS, i % COLUMNS, opens,
                              out);
            const woq_u32 at = ring + use * x_bytes + (p.warp_m * COLUMNS * 8u + p.g) * 128u +
                               (((unit * 4u + p.t) ^ (p.g & 1u) << 2) << 4);
#pragma unroll
            for (int c = 0; c < (STAGED ? COLUMNS : 0); c++) {
                const uint4 b = pool[(at >> 4) + c * 64u];
#pragma unroll
                for (int s = 0; s < STRIPS; s++)
                    multiply_tile(rows[s], b, s, c, opens, out);
            }
            if (HALVED && (unit + 1) % HALF_UNITS == 0)
                halved.copy(step + 1u + unit / HALF_UNITS < end);
            if (!STAGED && FAST && !HALVED) {
                if (unit + AHEAD == UNITS)
                    direct.advance();
                direct.load((unit + AHEAD) % UNITS, ahead);
            }
            if (LATE && closes) {
                w.load_zeros(a, slot);
                w.load_scales(a, slot);
            }
            if (QUANTIZED && MATH == EXACT && closes) {
                close_span<COLUMNS, MATH, HALF>(a, w.raw[slot], out);
                w.load_scales(a, slot);
            }
        }
        use = use == STAGES - 1u ? 0u : use + 1u;
    }
    part_barriers<STAGED>(share - (end - begin));
}

/* ---- the end ---- */

/* One element of Y, from the sums of CHUNK columns in the pool: [part of K][warp][strip][column][lane]. */
static __device__ __forceinline__ void put(const woq_u8 *x, woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual,
                                           const woq_args &a, const spot &p, woq_u32 rows_x, woq_u32 columns,
                                           woq_u32 chunk, woq_u32 first_column, woq_u32 index)
{
    const bool gated = woq_gated(a);
    const woq_u32 rows = (gated ? p.warps_n * STRIPS / 2u : p.warps_n * STRIPS) * 16u;
    const woq_u32 row = index % rows, x_row = index / rows;
    const woq_u32 tile = gated ? row / 16u * 2u : row / 16u, lane = row % 8u * 4u + x_row % 8u / 2u;
    const woq_u32 element = (row & 8u) / 4u + (x_row & 1u);
    const woq_u32 m_warp = x_row / (chunk * 8u), c = x_row / 8u % chunk;
    const woq_u32 m = p.group_y * rows_x + (m_warp * columns + first_column + c) * 8u + x_row % 8u;
    const woq_u32 n = p.group_x * rows + row;
    if (m >= a.m || n >= a.n)
        return;
    const woq_u32 part_floats = rows_x / (columns * 8u) * p.warps_n * STRIPS * chunk * 128u;
    woq_u32 at = (((m_warp * p.warps_n + tile / STRIPS) * STRIPS + tile % STRIPS) * chunk + c) * 128u + lane * 4u +
                 element;
    const float *from = (const float *)pool;
    float sum = 0.0f, up = 0.0f;
    for (woq_u32 part = 0; part < blockDim.z; part++, at += part_floats) {
        sum = __fadd_rn(sum, from[at]);
        if (gated)
            up = __fadd_rn(up, from[at + chunk * 128u]);
    }
    if (a.row_scales_off) {
        const float scale = __uint_as_float(woq_plain_word(x, a.row_scales_off + 4u * m));
        sum = __fmul_rn(sum, scale);
        up = __fmul_rn(up, scale);
    }
    woq_finish(y, bias, residual, a, blockIdx.z * a.m + m, n, sum, up);
}

template <int COLUMNS, int WARPS_M, woq_math MATH, bool STAGED>
static __device__ __forceinline__ void product(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                               const woq_u8 *residual, const woq_args &a)
{
    const bool MAY_FEED = CODE_BITS == 4 && COLUMNS <= 2 && MATH == EXACT && !STAGED;
    const bool fed = MAY_FEED && blockDim.y == WOQ_MMA_FED_WARPS + 1;
    const woq_u32 width = fed ? WOQ_MMA_FED_WARPS : blockDim.y; /* warps of a part of K that multiply */
    const bool multiplies = !fed || threadIdx.y < width;
    const spot begin = find_spot(width, WARPS_M);
    const woq_u32 rows_x = WARPS_M * COLUMNS * 8u;
    const woq_u32 type = WOQ_FLAG_SCALE(a.flags);
    const bool offsets = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET;
    const bool half = type == (BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16) && !offsets, split = type == WOQ_ABI_F16 && !offsets;
    sums<COLUMNS, MATH> out;
    const bool whole = a.group >= a.k, blocks = whole || a.group % 64u == 0;
    const bool pairs = (whole || a.group % 128u == 0) && a.k % 128u == 0;
    const bool FEW = QUANTIZED && MATH == EXACT && !STAGED; /* rows of X: what the lane does counts */
    /* Blocks of a step, as many as there are registers for; LONG: HALVED, for parts of two such steps or more. */
    const int LONG = FEW && COLUMNS == 1 && !(BF16 && CODE_BITS == 8) ? 16 / BITS : 1;
    const int TWO = FEW && CODE_BITS == 4 && !(BF16 && COLUMNS > 1) ? 2 : 1;
    const bool several = a.k % (LONG * 32u) == 0 && a.k >= LONG * 128u * blockDim.z * gridDim.z;
    const bool SCALES = QUANTIZED && MATH == ROUNDED, SPLITS = SCALES && BF16 && CODE_BITS == 4;
    const woq_scaling PAIRS = SCALES ? WOQ_SCALES_PAIRS : WOQ_SCALES_FLOATS;
    const woq_scaling SPLIT = SPLITS ? WOQ_SCALES_SPLIT : WOQ_SCALES_FLOATS;
#define MULTIPLY_STEP(fast, half, scaling, span, step)                                             \
    multiply<COLUMNS, WARPS_M, MATH, STAGED, fast, half, scaling, span, step>(weights, x, a, begin, out)
#define MULTIPLY(fast, half, scaling, span) MULTIPLY_STEP(fast, half, scaling, span, 1)
    if (HAS_FED && fed && half && woq_x_aligned(a) && fed_takes(a))
        product_fed<COLUMNS, MAY_FEED>(weights, x, a, begin, pairs ? 128 : blocks ? 64 : 32, out);
    else if (!multiplies)
        ; /* nothing to feed others with */
    else if (!STAGED && (!woq_x_aligned(a) || a.k % 64u != 0))
        MULTIPLY(false, false, WOQ_SCALES_FLOATS, 32);
    else if (SCALES && half && blocks)
        MULTIPLY(true, SCALES, PAIRS, 64);
    else if (SCALES && half)
        MULTIPLY(true, SCALES, PAIRS, 32);
    else if (SPLITS && split && blocks)
        MULTIPLY(true, false, SPLIT, 64);
    else if (SPLITS && split)
        MULTIPLY(true, false, SPLIT, 32);
    else if (LONG > 1 && half && several && pairs)
        MULTIPLY_STEP(true, FEW, WOQ_SCALES_FLOATS, LONG == 1 ? 64 : 128, LONG);
    else if (LONG > 1 && half && several && blocks)
        MULTIPLY_STEP(true, FEW, WOQ_SCALES_FLOATS, 64, LONG);
    else if (LONG > 1 && half && several)
        MULTIPLY_STEP(true, FEW, WOQ_SCALES_FLOATS, 32, LONG);
    else if (TWO > 1 && half && pairs)
        MULTIPLY_STEP(true, FEW, WOQ_SCALES_FLOATS, TWO == 1 ? 64 : 128, TWO);
    else if (FEW && half && blocks)
        MULTIPLY(true, FEW, WOQ_SCALES_FLOATS, 64);
    else if (FEW && half)
        MULTIPLY(true, FEW, WOQ_SCALES_FLOATS, 32);
    else if (!QUANTIZED || blocks)
        MULTIPLY(true, false, WOQ_SCALES_FLOATS, 64);
    else
        MULTIPLY(true, false, WOQ_SCALES_FLOATS, 32);
#undef MULTIPLY
#undef MULTIPLY_STEP

    const spot p = find_spot(width, WARPS_M, a.opaque_zero);
    const int CHUNK = WOQ_MMA_CHUNK(COLUMNS);
    const woq_u32 warp = threadIdx.z * width + threadIdx.y, threads = 32u * width * blockDim.z;
    const woq_u32 outputs = (woq_gated(a) ? p.warps_n * STRIPS / 2u : p.warps_n * STRIPS) * 16u * WARPS_M * CHUNK * 8u;
    woq_copies_wait<0>();
#pragma unroll 1
    for (int first = 0; first < COLUMNS; first += CHUNK) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < STRIPS * COLUMNS; i++) {
            const float *v = out.total[i / COLUMNS][i % COLUMNS];
            if (multiplies && i % COLUMNS / CHUNK * CHUNK == first)
                ((float4 *)pool)[((warp * STRIPS + i / COLUMNS) * CHUNK + i % COLUMNS % CHUNK) * 32u + p.lane] =
                    make_float4(v[0], v[1], v[2], v[3]);
        }
        __syncthreads();
        for (woq_u32 i = warp * 32u + p.lane; multiplies && i < outputs; i += threads)
            put(x, y, bias, residual, a, p, rows_x, COLUMNS, CHUNK, first, i);
    }
}

/* An entry point. One that is staged has two products in it. */
template <int COLUMNS, int WARPS_M, woq_math MATH, bool STAGED>
static __device__ __forceinline__ void run(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                           const woq_u8 *residual, const woq_args &a)
{
#define EXACT_PRODUCT(shape, columns, warps_m, threads)                                            \
    return product<columns, warps_m, EXACT, true>(weights, x, y, bias, residual, a);
    if constexpr (STAGED && QUANTIZED)
        if (!WOQ_FLAG_ROUND(a.flags))
            WOQ_MMA_EXACT(EXACT_PRODUCT)
    product<COLUMNS, WARPS_M, MATH, STAGED>(weights, x, y, bias, residual, a);
#undef EXACT_PRODUCT
}

#define MMA_NAME(shape, codes, x_type) MMA_NAME_(shape, codes, x_type)
#define MMA_NAME_(shape, codes, x_type) woq_mma_##shape##_##codes##_##x_type
#define MMA_KERNEL(shape, columns, warps_m, math, staged, threads, blocks)                         \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                                  \
        MMA_NAME(shape, CODES, X_TYPE)(WOQ_PARAMETERS)                                             \
    {                                                                                              \
        WOQ_WINDOWS                                                                                \
        run<columns, warps_m, math, staged>(weights, x, y, bias, residual, a);                     \
    }
WOQ_MMA_SHAPES(MMA_KERNEL)
