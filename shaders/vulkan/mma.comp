#version 450
/*
 * mma.comp: matrix units whose operands lie in known registers: Yᵀ = W · Xᵀ by products of 16 × 8 × 16.
 *
 * Weights are operand A, 16 rows (a strip) × 16 columns; rows of X are the columns of B; lane l = 4g + t
 * of a subgroup of 32 holds, as PTX's m16n8k16 says (core's self-test finds out before this kernel is used):
 *     A elements 0 … 3   row g,    k = 2t, 2t+1, 2t+8, 2t+9        4 … 7   the same of row g+8
 *     B elements 0 … 3   k = 2t, 2t+1, 2t+8, 2t+9 of column g
 *     C elements 0, 1    row g, columns 2t, 2t+1                   2, 3    row g+8
 * As a product may take its k in any order, those k are the memory's columns 8t … 8t+3 (first product of
 * a unit of 32) and 8t+4 … 8t+7 (second): a lane loads 8 neighbours at once, of W as of X, and neither
 * needs shared memory to be put in order.
 *
 * Work-group (i, j): strips i·WARPS_N·STRIPS … for the rows j·WARPS_M·COLUMNS·8 … of X. Its subgroups
 * divide strips, rows of X and K (WARPS_K parts of whole steps, added up in order at the end; work-groups
 * (i, j, p) take part p of K each, and give it rows of Y of its own). A step is
 * STEP blocks of 64 columns; what it needs of W and X is loaded a step ahead, without branches. STAGED: the
 * rows of X go through shared memory, double-buffered: after a step's barrier the next one's rows are stored,
 * and those of the one after it begin to load; a row's pieces change halves with its parity (no bank
 * conflicts). Codes and scales are loaded where those before them have been used, into the same registers; POOLED
 * ones through shared memory, with X.
 * Sums reach the epilogue through shared memory, CHUNK of a subgroup's COLUMNS at a time, so that there is one
 * epilogue in the code and neighbouring threads write neighbouring columns.
 *
 * EXACT: integers multiply; sums of SPAN columns, which share a scale, are scaled in FP32. ROUNDED: weights
 * are scaled to FP16.
 *
 * Macros CODE_BITS: 4, 8, or 16 for FP16 weights; SOFTWARE 1: without matrix units, to test all else
 * anywhere; POOLED 1, with 4 bits: for the formats and blocks of pooled_scales.glsl alone. That is a module of its own
 * because NVIDIA's driver made slower code of the others where they held this code, too, without reaching it.
 * Specialization constants: woqi_block of blocks.h, and the format's.
 *
 * Needs: VK_KHR_cooperative_matrix with 16 × 8 × 16 FP16 → FP32, subgroups of 32 with shuffles,
 * shaderFloat16, storageBuffer16BitAccess.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifndef SOFTWARE
#define SOFTWARE 0
#endif
#ifndef POOLED
#define POOLED 0
#endif
#if SOFTWARE
#define UNROLL [[dont_unroll]] /* nobody waits for its speed, but for its compilation */
#else
#define UNROLL [[unroll]]
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#endif
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_spirv_intrinsics : require

/* RoundingModeRTE for 16 bits: conversions and products round to nearest, ties to even. */
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 16);

layout(constant_id = 2) const bool ROUNDED = false;
#if POOLED
const bool STAGED = true;
#else
layout(constant_id = 3) const bool STAGED = false;
#endif
layout(constant_id = 4) const uint WARPS_N = 1u;
layout(constant_id = 5) const uint WARPS_M = 1u;
layout(constant_id = 6) const uint WARPS_K = 1u;
layout(constant_id = 7) const uint STRIPS = 2u;
layout(constant_id = 8) const uint COLUMNS = 1u;
layout(constant_id = 9) const uint STEP = 1u;        /* blocks of 64 columns, 1 or 2 */
layout(constant_id = 10) const uint SPAN = 64u;      /* columns of one scale: 32, 64 or 128, at most a step */
layout(constant_id = 11) const uint SCALE_TYPE = 2u; /* WOQ_ABI_F16 … */
layout(constant_id = 12) const uint ZERO_KIND = 1u;  /* WOQ_ABI_ZERO_… */
layout(constant_id = 13) const bool PIECES_DIFFER = false; /* 32 columns have several scales, a lane's 8 one */
layout(constant_id = 14) const uint GROUPS = 0u; /* 1: each span is one, and K is whole steps; 2: one has all of K */

/* Arrays have the largest block's size, as GLSL does not copy those sized by constants given later. */
const uint MAX_STRIPS = 4u, MAX_COLUMNS = 8u, MAX_STEP = 2u, MAX_PIECES = 8u, MAX_SCALES = 16u;

#define STORAGE16 1
#define SPECIALIZED 1
#include "common.glsl"
#include "dequant.glsl"
#include "fragment.glsl"
#include "activations.glsl"
#include "epilogue.glsl"

const uint PART_THREADS = 32u * WARPS_N * WARPS_M; /* of a part of K */
const uint THREADS = PART_THREADS * WARPS_K;
const uint ROWS_W = WARPS_N * STRIPS * 16u; /* of the weights in a work-group */
const uint ROWS_X = WARPS_M * COLUMNS * 8u;
const uint UNITS = 2u * STEP;
/* Scales of a step, of a row of each strip: [span][strip]. A lane loads them all, or the four lanes of a row share
 * them: fewer loads, where these are what counts, for a shuffle at each use. */
const uint SPANS = 64u * STEP / SPAN, SCALES = SPANS * STRIPS;
const uint SHARERS = STAGED ? SPANS : 4u;
const bool SHARE = !PIECES_DIFFER && SHARERS == 4u;
const uint SCALE_LOADS = SHARE ? (SCALES + 3u) / 4u : SCALES;
const bool COUNTED = GROUPS == 0u; /* which group comes next has to be counted */
const bool GROUP_A_SPAN = GROUPS == 1u, ONE_GROUP = GROUPS == 2u;
const bool EARLY = !SHARE && SPANS == 1u; /* scales and zeros are made ready before the step's barrier */
const bool PACKED = !STAGED && CODE_BITS == 4; /* fewer registers for a block's second unit: more work-groups at once */
const bool FIRST = STAGED && CODE_BITS == 4; /* operands of a step's first unit are made before its barrier */
#if POOLED
const uint COUNTERS = 1u;
const bool WHOLE = GROUP_A_SPAN; /* K is whole steps, and steps are clamped: no piece or block is beyond it */
#else
const uint COUNTERS = SHARE ? SCALE_LOADS : SPANS;
#endif
const uint PIECES = 8u * STEP; /* of a row of X in a step */

/* Shared memory, in vectors: X twice for each part of K, POOLED with what each thread loads of scales and zeros behind
 * each; later sums, of tiles of 16 rows of W × 8 of X. */
const uint TILES = WARPS_N * WARPS_M * STRIPS;
const uint MOST = 32u / (TILES * WARPS_K); /* 16 KiB */
const uint CHUNK = MOST >= COLUMNS ? COLUMNS : MOST > 0u ? MOST : 1u;
const uint POOL_X = STAGED ? 2u * WARPS_K * ROWS_X * PIECES : 0u;
const uint PART_Y = TILES * CHUNK * 32u;
const uint POOL_Y = WARPS_K * PART_Y;
#if POOLED
#define POOL_STAGES (POOL_X + THREADS * STRIPS)
#define HALF_POOL   (POOL_STAGES / 2u)
#else
#define POOL_STAGES POOL_X
#define HALF_POOL   (WARPS_K * ROWS_X * PIECES)
#endif
shared uvec4 pool[POOL_STAGES > POOL_Y ? POOL_STAGES : POOL_Y];

#if SOFTWARE
/* A lane's elements, and the product through shared memory. All invocations of the work-group come here together. */
#define MATRIX_A float16_t[8]
#define MATRIX_B float16_t[4]
#define MATRIX_C float[4]
#define MATRIX_C_ZERO float[4](0.0, 0.0, 0.0, 0.0)

shared f16vec2 exchanged[THREADS * 6u];

float[4] multiply_add(float16_t a[8], float16_t b[4], float c[4])
{
    uint first = gl_LocalInvocationIndex & ~31u, l = gl_LocalInvocationIndex & 31u;
    for (uint i = 0u; i < 4u; i++)
        exchanged[(first + l) * 6u + i] = f16vec2(a[2u * i], a[2u * i + 1u]);
    for (uint i = 0u; i < 2u; i++)
        exchanged[(first + l) * 6u + 4u + i] = f16vec2(b[2u * i], b[2u * i + 1u]);
    barrier();
    for (uint e = 0u; e < 4u; e++)
        for (uint i = 0u; i < 8u; i++) {
            uint row_lane = first + (l & ~3u) + (i & 3u);
            uint column_lane = first + (2u * (l & 3u) + (e & 1u)) * 4u + (i & 3u);
            vec2 x = vec2(exchanged[row_lane * 6u + (e >> 1) * 2u + (i >> 2)]);
            vec2 y = vec2(exchanged[column_lane * 6u + 4u + (i >> 2)]);
            c[e] += x.x * y.x;
            c[e] += x.y * y.y;
        }
    barrier();
    return c;
}
#else
#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, 16, 8, gl_MatrixUseB>
#define MATRIX_C coopmat<float, gl_ScopeSubgroup, 16, 8, gl_MatrixUseAccumulator>
#define MATRIX_C_ZERO MATRIX_C(0.0)
#define multiply_add coopMatMulAdd
#endif

const bool SCALED = CODE_BITS != 16 && !ROUNDED; /* sums of a group are scaled, not weights */

MATRIX_C total[MAX_STRIPS * MAX_COLUMNS], part[MAX_STRIPS * MAX_COLUMNS];

/* This thread's place: work-group (group_x, group_y), lane, subgroup, part of K, first strip. */
uint group_x, group_y, lane, g, t, warp, warp_m, warp_k, strip;

/* Up to 8 rows of work-groups walk through the weights side by side: what one of them has read of W, and all of X
 * that they need, is then still in the cache for the others. */
void place_group()
{
    const uint deep = 8u;
    uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint band = deep * gl_NumWorkGroups.x, first = id / band * deep;
    uint rows = min(gl_NumWorkGroups.y - first, deep);
    group_x = id % band / rows;
    group_y = first + id % band % rows;
}

/* One element of Y, from the vectors of sums of CHUNK columns in the pool. */
void put(uint index, uint first_column, bool gated)
{
    uint rows = gated ? ROWS_W / 2u : ROWS_W;
    uint row = index % rows, x_row = index / rows;
    uint tile = gated ? row / 16u * 2u : row / 16u, tile_lane = (row % 8u) * 4u + x_row % 8u / 2u;
    uint element = (row & 8u) / 4u + (x_row & 1u);
    uint m_warp = x_row / (CHUNK * 8u), c = x_row / 8u % CHUNK;
    uint at = (((m_warp * WARPS_N + tile / STRIPS) * STRIPS + tile % STRIPS) * CHUNK + c) * 32u + tile_lane;
    uint m = group_y * ROWS_X + (m_warp * COLUMNS + first_column + c) * 8u + x_row % 8u;
    uint n = group_x * rows + row;
    if (m >= args.m || n >= args.n)
        return;
    float sum = 0.0, up = 0.0;
    UNROLL for (uint p = 0u; p < WARPS_K; p++) {
        sum += uintBitsToFloat(pool[p * PART_Y + at][element]);
        if (gated)
            up += uintBitsToFloat(pool[p * PART_Y + at + CHUNK * 32u][element]);
    }
    if (args.row_scales_off != 0u) {
        const float scale = uintBitsToFloat(x_words[(args.row_scales_off >> 2) + m]);
        sum *= scale;
        up *= scale;
    }
    epilogue(gl_WorkGroupID.z * args.m + m, n, sum, up);
}

/* ---- X: pieces that a thread loads of a step, for itself, [unit][column], or its share ---- */

const uint X_ROWS = STAGED ? ROWS_X * PIECES / PART_THREADS : COLUMNS;
const uint X_LOADS = STAGED ? X_ROWS : UNITS * COLUMNS;

uint x_at[MAX_PIECES], x_first; /* byte offsets of its rows; its first piece in a step */

/* Row i of the work-group's. */
uint x_row(uint i)
{
    return STAGED ? (gl_LocalInvocationIndex % PART_THREADS + i * PART_THREADS) / PIECES
                  : (warp_m * COLUMNS + i) * 8u + g;
}

uint x_number(uint i, uint step)
{
    return step * PIECES + x_first + (STAGED ? 0u : i / COLUMNS * 4u);
}

#define X_LOAD_ANY(step)                                                                           \
    UNROLL for (uint i = 0u; i < X_LOADS; i++)                                                     \
        x[i] = x_piece(fast, x_at[STAGED ? i : i % COLUMNS], x_number(i, step));

/* WHOLE: what is the same in all steps comes first in an index, and what is the same for all lanes last. */
#if POOLED
#define X_LOAD(step)                                                                               \
    if (WHOLE && fast) {                                                                           \
        UNROLL for (uint i = 0u; i < X_LOADS; i++)                                                 \
            x[i] = x_vectors[((x_at[i] >> 4) + x_first) + (step) * PIECES];                        \
    } else {                                                                                       \
        X_LOAD_ANY(step)                                                                           \
    }
#define RAGGED(step)      (!WHOLE && fast && ((step) + 1u) * STEP * 64u > args.k)
#define BLOCK_OF(b, step) (WHOLE ? min(step, steps - 1u) * STEP + b : min((step) * STEP + b, blocks - 1u))
#else
#define X_LOAD            X_LOAD_ANY
#define RAGGED(step)      (fast && ((step) + 1u) * STEP * 64u > args.k)
#define BLOCK_OF(b, step) min((step) * STEP + b, blocks - 1u)
#endif

/* Zeros for what is beyond K, or another part's. */
#define X_CLEAR(v, step)                                                                           \
    if ((step) >= end || RAGGED(step)) {                                                           \
        UNROLL for (uint i = 0u; i < X_LOADS; i++)                                                 \
            if ((step) >= end || x_number(i, step) * 8u >= args.k)                                 \
                v[i] = uvec4(0u);                                                                  \
    }

/* ---- W ---- */

/* Codes of a block of a step, [block][strip]; beyond K those of the last block, as X is 0 there. */
#define BLOCK_LOAD(b, step)                                                                        \
    UNROLL for (uint n = 0u; n < STRIPS; n++)                                                      \
        codes[(b) * STRIPS + n] = lane_load(min(strip_at + n * strip_vectors, last_at), BLOCK_OF(b, step));

#define CODES_LOAD(step)                                                                           \
    UNROLL for (uint b = 0u; b < STEP; b++) {                                                      \
        BLOCK_LOAD(b, step)                                                                        \
    }

/* Of groups of columns: counter i to the next step. */
#define GROUP_NEXT(i)                                                                              \
    if (COUNTED) {                                                                                 \
        place[i] += step_columns;                                                                  \
        group[i] += step_groups;                                                                   \
        if (place[i] >= group_columns) {                                                           \
            place[i] -= group_columns;                                                             \
            group[i]++;                                                                            \
        }                                                                                          \
    }

#if POOLED
#include "pooled_scales.glsl"
#elif CODE_BITS != 16
#include "lane_scales.glsl"
#endif

/* A lane's rows of a strip in a unit, as operands. */
struct Operands {
    f16vec2 low[4], high[4];
};

/* The steps of this subgroup's part of K. */
void multiply(const bool fast)
{
    const uint last = (args.scale_stride >> 4) - 1u; /* strip of the tile */
    const uint blocks = (args.k + 63u) >> 6, steps = (blocks + STEP - 1u) / STEP;
    const uint parts = WARPS_K * gl_NumWorkGroups.z, share = (steps + parts - 1u) / parts;
    const uint begin = min((gl_WorkGroupID.z * WARPS_K + warp_k) * share, steps), end = min(begin + share, steps);
    const bool together = STAGED || SOFTWARE != 0; /* all take the same number of steps, for the barriers */
    if (!together && begin >= end)
        return;
    const uint strip_vectors = args.codes_stride >> 4; /* of 16 bytes */
    const uint strip_at = ((args.codes_off + strip * args.codes_stride) >> 4) + lane;
    const uint last_at = ((args.codes_off + last * args.codes_stride) >> 4) + lane;
    LaneCodes codes[MAX_STEP * MAX_STRIPS];
    uvec4 x[MAX_PIECES];
    CODES_LOAD(begin)
    x_first = STAGED ? gl_LocalInvocationIndex % PIECES : t;
    UNROLL for (uint i = 0u; i < X_ROWS; i++)
        x_at[i] = x_row_at(group_y * ROWS_X + x_row(i));
    X_LOAD(min(begin, steps - 1u))
#if CODE_BITS != 16
    /* For each scale, or span of them, the group of its columns in the next step, and their place there. */
    const uint group_columns = args.group < args.k ? args.group : 0x7fffffffu;
    const uint last_group = (args.k - 1u) / group_columns;
    const uint step_groups = STEP * 64u / group_columns, step_columns = STEP * 64u % group_columns;
    uint group[MAX_SCALES], place[MAX_SCALES];
    PairRaw raw[MAX_SCALES];
    UNROLL for (uint i = 0u; i < COUNTERS; i++) {
        const uint span = COUNTER_SPAN(i);
        const uint column = begin * STEP * 64u + span * SPAN + (PIECES_DIFFER ? t * 8u : 0u);
        group[i] = column / group_columns;
        place[i] = column % group_columns;
    }
    SCALES_BEGIN(begin)
#endif
    /* STAGED, in vectors of the pool: where this thread stores, where it fetches each unit, and which half. */
    const uint half_pool = HALF_POOL, part_at = warp_k * ROWS_X * PIECES;
    uint store_at = 0u, fetch_at[2u * MAX_STEP], flip = 0u;
    if (STAGED) {
        store_at = part_at + x_row(0u) * PIECES + (x_first ^ ((x_row(0u) & 1u) << 2));
        UNROLL for (uint u = 0u; u < UNITS; u++)
            fetch_at[u] = part_at + (warp_m * COLUMNS * 8u + g) * PIECES + ((u * 4u + t) ^ ((g & 1u) << 2));
        X_CLEAR(x, begin)
        UNROLL for (uint i = 0u; i < X_LOADS; i++)
            pool[store_at + i * PART_THREADS] = x[i];
        X_LOAD(min(begin + 1u, steps - 1u))
#if CODE_BITS != 16
        SCALES_STAGE(0u, begin + 1u)
#endif
    }
    for (uint step = begin; step < begin + share; step++) {
        if (!together && step >= end)
            break;
        LaneCodes now[MAX_STEP * MAX_STRIPS];
        uvec4 x_now[MAX_PIECES];
        UNROLL for (uint i = 0u; i < STEP * STRIPS; i++)
            now[i] = codes[i];
#if CODE_BITS != 16
        SCALES_READY
#endif
        if (!STAGED) {
            CODES_LOAD(step + 1u)
        }
#if CODE_BITS != 16
        SCALES_NEXT(step + 1u)
#endif
        Operands first[MAX_STRIPS];
#if CODE_BITS != 16
        if (FIRST)
            UNROLL for (uint n = 0u; n < STRIPS; n++) {
                ROWS_OF(n, 0u, low_row, high_row)
                fragment_row(now[n], 0u, 0u, low_row, first[n].low);
                fragment_row(now[n], 0u, 1u, high_row, first[n].high);
            }
#endif
        if (STAGED) {
            barrier();
            X_CLEAR(x, step + 1u)
            UNROLL for (uint i = 0u; i < X_LOADS; i++)
                pool[half_pool - flip + store_at + i * PART_THREADS] = x[i];
            X_LOAD(min(step + 2u, steps - 1u))
#if CODE_BITS != 16
            SCALES_STAGE(half_pool - flip, step + 2u)
#endif
        } else {
            UNROLL for (uint i = 0u; i < X_LOADS; i++)
                x_now[i] = x[i];
            X_LOAD(min(step + 1u, steps - 1u))
            X_CLEAR(x_now, step)
        }
        UNROLL for (uint unit = 0u; unit < UNITS; unit++) {
#if CODE_BITS != 16
            SCALES_UNIT(unit)
#endif
            MATRIX_B b[2u * MAX_COLUMNS];
            UNROLL for (uint c = 0u; c < COLUMNS; c++) {
                uvec4 v = STAGED ? pool[flip + fetch_at[unit] + c * 8u * PIECES] : x_now[unit * COLUMNS + c];
                UNROLL for (uint i = 0u; i < 4u; i++) {
                    f16vec2 pair = unpackFloat2x16(v[i]);
                    b[2u * c + i / 2u][2u * (i & 1u)] = pair.x;
                    b[2u * c + i / 2u][2u * (i & 1u) + 1u] = pair.y;
                }
            }
            const bool opens = unit * 32u % SPAN == 0u, closes = (unit + 1u) * 32u % SPAN == 0u;
            UNROLL for (uint n = 0u; n < STRIPS; n++) {
                const LaneCodes mine = now[unit / 2u * STRIPS + n];
                f16vec2 low[4], high[4];
#if CODE_BITS == 16
                fragment_plain(mine, unit % 2u, 0u, low);
                fragment_plain(mine, unit % 2u, 1u, high);
#else
                ROWS_OF(n, unit, low_row, high_row)
                if (FIRST && unit == 0u) {
                    low = first[n].low;
                    high = first[n].high;
                } else {
                    const uint from = PACKED && unit % 2u == 1u ? 2u : unit % 2u;
                    fragment_row(mine, from, 0u, low_row, low);
                    fragment_row(mine, from, 1u, high_row, high);
                }
#if CODE_BITS == 4
                if (PACKED && unit % 2u == 0u)
                    now[unit / 2u * STRIPS + n].v[0].xy = fragment_rest(mine);
#endif
#endif
                UNROLL for (uint j = 0u; j < 2u; j++) {
                    MATRIX_A a;
                    UNROLL for (uint i = 0u; i < 2u; i++) {
                        a[2u * i] = low[2u * j + i].x;
                        a[2u * i + 1u] = low[2u * j + i].y;
                        a[4u + 2u * i] = high[2u * j + i].x;
                        a[4u + 2u * i + 1u] = high[2u * j + i].y;
                    }
                    UNROLL for (uint c = 0u; c < COLUMNS; c++) {
                        const uint to = n * COLUMNS + c;
                        if (!SCALED)
                            total[to] = multiply_add(a, b[2u * c + j], total[to]);
                        else if (opens && j == 0u)
                            part[to] = multiply_add(a, b[2u * c + j], MATRIX_C_ZERO);
                        else
                            part[to] = multiply_add(a, b[2u * c + j], part[to]);
                    }
                }
#if CODE_BITS != 16
                if (SCALED && closes)
                    UNROLL for (uint c = 0u; c < COLUMNS; c++)
                        UNROLL for (uint i = 0u; i < 4u; i++)
                            total[n * COLUMNS + c][i] = fma(i < 2u ? low_row.scale : high_row.scale,
                                                            part[n * COLUMNS + c][i],
                                                            total[n * COLUMNS + c][i]);
#endif
            }
            if (STAGED) { /* in place of what has been used */
                if (unit % 2u == 1u)
                    BLOCK_LOAD(unit / 2u, step + 1u)
#if CODE_BITS != 16
                SCALES_SPENT(unit, closes, step + 1u)
#endif
            }
        }
        flip = half_pool - flip;
    }
}

void main()
{
    lane = gl_LocalInvocationIndex & 31u;
    g = lane >> 2;
    t = lane & 3u;
    const uint subgroup = gl_LocalInvocationIndex >> 5;
    warp = subgroup % (WARPS_N * WARPS_M);
    warp_k = subgroup / (WARPS_N * WARPS_M);
    warp_m = warp / WARPS_N;
    place_group();
    strip = (group_x * WARPS_N + warp % WARPS_N) * STRIPS;
    fragment_begin();
    UNROLL for (uint i = 0u; i < STRIPS * COLUMNS; i++)
        total[i] = MATRIX_C_ZERO;
#if SOFTWARE
    multiply(x_aligned()); /* once in the code */
#else
    if (x_aligned())
        multiply(true);
    else
        multiply(false);
#endif

    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    const uint count = (gated ? ROWS_W / 2u : ROWS_W) * WARPS_M * CHUNK * 8u;
    for (uint first = 0u; first < COLUMNS; first += CHUNK) {
        barrier();
        UNROLL for (uint i = 0u; i < STRIPS * COLUMNS; i++) {
            const uint n = i / COLUMNS, c = i % COLUMNS;
            if (c / CHUNK * CHUNK == first)
                pool[warp_k * PART_Y + ((warp * STRIPS + n) * CHUNK + c % CHUNK) * 32u + lane] = floatBitsToUint(
                    vec4(total[i][0], total[i][1], total[i][2], total[i][3]));
        }
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < count; i += THREADS)
            put(i, first, gated);
    }
}
