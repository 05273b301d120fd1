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
 * divide strips, rows of X and K (WARPS_K parts of whole blocks of 64 columns, summed pairwise at the
 * end). Codes, and X if not STAGED, are loaded a block ahead. STAGED: the rows of X go through shared
 * memory, a block at a time, double-buffered; a row's 16-byte pieces change halves with its parity (no
 * bank conflicts). Sums reach the epilogue through shared memory, so that there is one epilogue in the
 * code and neighbouring threads write neighbouring columns.
 *
 * EXACT: integers multiply; sums of a group are scaled in FP32. ROUNDED: weights are scaled to FP16.
 *
 * Macros CODE_BITS: 4, 8, or 16 for FP16 weights; SOFTWARE 1: without matrix units, to test all else
 * anywhere. Specialization constants: woqi_block of blocks.h.
 *
 * Needs: VK_KHR_cooperative_matrix with 16 × 8 × 16 FP16 → FP32, subgroups of 32, shaderFloat16,
 * storageBuffer16BitAccess.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifndef SOFTWARE
#define SOFTWARE 0
#endif
#if SOFTWARE
#define UNROLL [[dont_unroll]] /* nobody waits for its speed, but for its compilation */
#else
#define UNROLL [[unroll]]
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#endif
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_spirv_intrinsics : require

/* RoundingModeRTE for 16 bits: conversions and products round to nearest, ties to even. */
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 16);

layout(constant_id = 2) const bool ROUNDED = false;
layout(constant_id = 3) const bool STAGED = false;
layout(constant_id = 4) const uint WARPS_N = 1u;
layout(constant_id = 5) const uint WARPS_M = 1u;
layout(constant_id = 6) const uint WARPS_K = 1u;
layout(constant_id = 7) const uint STRIPS = 2u;
layout(constant_id = 8) const uint COLUMNS = 1u;
layout(constant_id = 9) const bool FINE = false; /* groups end within blocks of 64 columns */

/* Arrays have the largest block's size, as GLSL does not copy those sized by constants given later. */
const uint MAX_STRIPS = 4u, MAX_COLUMNS = 8u;

#define STORAGE16 1
#include "common.glsl"
#include "dequant.glsl"
#include "fragment.glsl"
#include "epilogue.glsl"

const uint THREADS = 32u * WARPS_N * WARPS_M * WARPS_K;
const uint ROWS_W = WARPS_N * STRIPS * 16u; /* of the weights in a work-group */
const uint ROWS_X = WARPS_M * COLUMNS * 8u;
#include "activations.glsl"

/* Shared memory, in vectors: X twice, sums of half the parts of K, and sums for the epilogue, which takes
 * CHUNK of a subgroup's COLUMNS at a time. */
const uint POOL_X = STAGED ? 2u * ROWS_X * 8u : 0u;
const uint POOL_K = WARPS_K / 2u * WARPS_N * WARPS_M * STRIPS * COLUMNS * 32u;
const uint CHUNK = WARPS_N * WARPS_M * STRIPS * COLUMNS > 64u ? COLUMNS / 2u : COLUMNS;
const uint POOL_Y = WARPS_N * WARPS_M * STRIPS * CHUNK * 32u;
const uint POOL_XK = POOL_X > POOL_K ? POOL_X : POOL_K;
const uint POOL = POOL_XK > POOL_Y ? POOL_XK : POOL_Y;
shared uvec4 pool[POOL];

#if SOFTWARE
/* A lane's elements, and the product through shared memory. All invocations of the work-group come here together. */
#define MATRIX_A float16_t[8]
#define MATRIX_B float16_t[4]
#define MATRIX_C float[4]
#define MATRIX_C_ZERO float[4](0.0, 0.0, 0.0, 0.0)

shared f16vec2 exchanged[32u * WARPS_N * WARPS_M * WARPS_K * 6u];

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

uint staged_at(uint buffer_index, uint row, uint piece)
{
    return (buffer_index * ROWS_X + row) * 8u + (piece ^ ((row & 1u) << 2));
}

/* One element of Y, from the vectors of sums of CHUNK columns in the pool. */
void put(uint index, uint first_column, bool gated)
{
    uint rows = gated ? ROWS_W / 2u : ROWS_W;
    uint row = index % rows, x_row = index / rows;
    uint strip = gated ? row / 16u * 2u : row / 16u, lane = (row % 8u) * 4u + x_row % 8u / 2u;
    uint element = (row & 8u) / 4u + (x_row & 1u);
    uint warp_m = x_row / (CHUNK * 8u), c = x_row / 8u % CHUNK;
    uint warp = warp_m * WARPS_N + strip / STRIPS;
    uint at = ((warp * STRIPS + strip % STRIPS) * CHUNK + c) * 32u + lane;
    uint m = gl_WorkGroupID.y * ROWS_X + (warp_m * COLUMNS + first_column + c) * 8u + x_row % 8u;
    uint n = gl_WorkGroupID.x * rows + row;
    if (m >= args.m || n >= args.n)
        return;
    float up = gated ? uintBitsToFloat(pool[at + CHUNK * 32u][element]) : 0.0;
    epilogue(m, n, uintBitsToFloat(pool[at][element]), up);
}

const bool SCALED = CODE_BITS != 16 && !ROUNDED; /* sums of a group are scaled, not weights */

MATRIX_C total[MAX_STRIPS * MAX_COLUMNS], part[MAX_STRIPS * MAX_COLUMNS];

/* This thread's place. */
uint lane, g, t, warp, warp_m, warp_k, strip;

/* Pieces of X that a thread loads of a block: for itself, or its share. */
const uint X_LOADS = STAGED ? ROWS_X * 8u / THREADS : 2u * COLUMNS;

uint x_row(uint i)
{
    return STAGED ? (gl_LocalInvocationIndex + i * THREADS) / 8u : (warp_m * COLUMNS + i % COLUMNS) * 8u + g;
}

uint x_column(uint i)
{
    return STAGED ? gl_LocalInvocationIndex % 8u : i / COLUMNS * 4u + t;
}

/* total += scale · part, for sums of a group that has ended. */
#define ADD_PARTS(rows)                                                                            \
    UNROLL for (uint n = 0u; n < STRIPS; n++)                                                      \
        UNROLL for (uint c = 0u; c < COLUMNS; c++) {                                               \
            UNROLL for (uint i = 0u; i < 4u; i++)                                                  \
                total[n * COLUMNS + c][i] = fma(rows[2u * n + i / 2u].scale,                       \
                                                part[n * COLUMNS + c][i],                          \
                                                total[n * COLUMNS + c][i]);                        \
            part[n * COLUMNS + c] = MATRIX_C_ZERO;                                                 \
        }

/* Group of a column (the last one's beyond K). */
uint group_of(uint column)
{
    return args.group < args.k ? min(column, args.k - 1u) / args.group : 0u;
}

/* First column whose scales a lane needs in a unit of a block. */
uint first_column(uint block, uint unit)
{
    return block * 64u + (FINE ? unit * 32u + (ROUNDED ? t * 8u : 0u) : 0u);
}

/* The blocks of this subgroup's part of K. */
void multiply(const bool fast)
{
    const uint last = (args.scale_stride >> 4) - 1u; /* strip of the tile */
    const uint blocks = (args.k + 63u) >> 6, share = (blocks + WARPS_K - 1u) / WARPS_K;
    const uint begin = min(warp_k * share, blocks), end = min(begin + share, blocks);
#if !SOFTWARE
    if (begin >= end)
        return;
#endif
    uint strip_at[MAX_STRIPS]; /* of this lane's vectors */
    LaneCodes codes[MAX_STRIPS];
    uvec4 x[2u * MAX_COLUMNS]; /* STAGED: this thread's pieces; else unit 0, unit 1 */
    UNROLL for (uint n = 0u; n < STRIPS; n++) {
        strip_at[n] = ((args.codes_off + min(strip + n, last) * args.codes_stride) >> 4) + lane;
        codes[n] = lane_load(strip_at[n], min(begin, blocks - 1u));
    }
    UNROLL for (uint i = 0u; i < X_LOADS; i++)
        x[i] = x_piece(fast, x_row(i), begin, x_column(i));
#if CODE_BITS != 16
    /* FINE: for each unit, as groups may end inside a block. */
    PairRaw raw[(FINE ? 2u : 1u) * MAX_STRIPS];
    RowGroup rows[2u * MAX_STRIPS];
    uint group = 0xffffffffu, next_group[2], next_end[2]; /* next_end: the column after the group */
    UNROLL for (uint u = 0u; u < (FINE ? 2u : 1u); u++) {
        next_group[u] = group_of(first_column(begin, u));
        next_end[u] = args.group < args.k ? (next_group[u] + 1u) * args.group : 0xffffffffu;
        UNROLL for (uint n = 0u; n < STRIPS; n++)
            raw[u * STRIPS + n] = pair_raw(next_group[u], min(strip + n, last), g);
    }
#endif
    for (uint step = 0u; step < share; step++) {
        const uint block = begin + step;
#if !SOFTWARE
        if (block >= end)
            break;
#endif
        LaneCodes now[MAX_STRIPS];
        uvec4 x_now[2u * MAX_COLUMNS];
        const uint ahead = min(block + 1u, end - 1u);
        UNROLL for (uint n = 0u; n < STRIPS; n++)
            now[n] = codes[n];
        UNROLL for (uint n = 0u; n < STRIPS; n++)
            codes[n] = lane_load(strip_at[n], ahead);
        UNROLL for (uint i = 0u; i < X_LOADS; i++)
            x_now[i] = x[i];
        UNROLL for (uint i = 0u; i < X_LOADS; i++)
            x[i] = x_piece(fast, x_row(i), ahead, x_column(i));
#if CODE_BITS != 16
        PairRaw raw_now[(FINE ? 2u : 1u) * MAX_STRIPS];
        uint group_now[2];
        UNROLL for (uint u = 0u; u < (FINE ? 2u : 1u); u++) {
            group_now[u] = next_group[u];
            if (first_column(ahead, u) >= next_end[u]) {
                next_group[u] = group_of(first_column(ahead, u));
                next_end[u] = (next_group[u] + 1u) * args.group;
            }
            UNROLL for (uint n = 0u; n < STRIPS; n++) {
                raw_now[u * STRIPS + n] = raw[u * STRIPS + n];
                raw[u * STRIPS + n] = pair_raw(next_group[u], min(strip + n, last), g);
            }
        }
#endif
#if SOFTWARE
        if (block >= end) { /* here for the barriers alone */
            UNROLL for (uint i = 0u; i < X_LOADS; i++)
                x_now[i] = uvec4(0u);
        }
#endif
        if (fast && block * 64u + 64u > args.k) {
            UNROLL for (uint i = 0u; i < X_LOADS; i++)
                if (block * 64u + x_column(i) * 8u >= args.k)
                    x_now[i] = uvec4(0u);
        }
        if (STAGED) {
            UNROLL for (uint i = 0u; i < X_LOADS; i++)
                pool[staged_at(block & 1u, x_row(i), x_column(i))] = x_now[i];
            barrier();
        }
        UNROLL for (uint unit = 0u; unit < 2u; unit++) {
#if CODE_BITS != 16
            if (FINE || unit == 0u) {
                if (group_now[FINE ? unit : 0u] != group) {
                    if (SCALED && group != 0xffffffffu)
                        ADD_PARTS(rows)
                    group = group_now[FINE ? unit : 0u];
                    UNROLL for (uint n = 0u; n < STRIPS; n++) {
                        rows[2u * n] = row_group(raw_now[(FINE ? unit * STRIPS : 0u) + n], g, 0u);
                        rows[2u * n + 1u] = row_group(raw_now[(FINE ? unit * STRIPS : 0u) + n], g, 1u);
                    }
                }
            }
#endif
            MATRIX_B b[2u * MAX_COLUMNS];
            UNROLL for (uint c = 0u; c < COLUMNS; c++) {
                uvec4 v = STAGED ? pool[staged_at(block & 1u, (warp_m * COLUMNS + c) * 8u + g,
                                                  unit * 4u + t)]
                                 : x_now[unit * COLUMNS + c];
                UNROLL for (uint i = 0u; i < 4u; i++) {
                    f16vec2 pair = unpackFloat2x16(v[i]);
                    b[2u * c + i / 2u][2u * (i & 1u)] = pair.x;
                    b[2u * c + i / 2u][2u * (i & 1u) + 1u] = pair.y;
                }
            }
            UNROLL for (uint n = 0u; n < STRIPS; n++) {
                f16vec2 low[4], high[4];
#if CODE_BITS == 16
                fragment_plain(now[n], unit, 0u, low);
                fragment_plain(now[n], unit, 1u, high);
#else
                fragment_row(now[n], unit, 0u, rows[2u * n], low);
                fragment_row(now[n], unit, 1u, rows[2u * n + 1u], high);
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
                        if (SCALED)
                            part[n * COLUMNS + c] = multiply_add(a, b[2u * c + j],
                                                                 part[n * COLUMNS + c]);
                        else
                            total[n * COLUMNS + c] = multiply_add(a, b[2u * c + j],
                                                                  total[n * COLUMNS + c]);
                    }
                }
            }
        }
    }
#if CODE_BITS != 16
    if (SCALED)
        ADD_PARTS(rows)
#endif
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
    strip = (gl_WorkGroupID.x * WARPS_N + warp % WARPS_N) * STRIPS;
    UNROLL for (uint i = 0u; i < STRIPS * COLUMNS; i++) {
        total[i] = MATRIX_C_ZERO;
        if (SCALED)
            part[i] = MATRIX_C_ZERO;
    }
    if (x_aligned())
        multiply(true);
    else
        multiply(false);

    /* Parts of K, pairwise; the sum is with the first part. */
    UNROLL for (uint parts = WARPS_K / 2u; parts > 0u; parts /= 2u) {
        uint at = ((warp_k % parts) * WARPS_N * WARPS_M + warp) * STRIPS * COLUMNS * 32u + lane;
        barrier();
        if (warp_k >= parts && warp_k < 2u * parts)
            UNROLL for (uint i = 0u; i < STRIPS * COLUMNS; i++)
                pool[at + i * 32u] = floatBitsToUint(vec4(total[i][0], total[i][1], total[i][2],
                                                          total[i][3]));
        barrier();
        if (warp_k < parts)
            UNROLL for (uint i = 0u; i < STRIPS * COLUMNS; i++) {
                vec4 other = uintBitsToFloat(pool[at + i * 32u]);
                UNROLL for (uint e = 0u; e < 4u; e++)
                    total[i][e] += other[e];
            }
    }

    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    UNROLL for (uint first = 0u; first < COLUMNS; first += CHUNK) {
        barrier();
        if (warp_k == 0u)
            UNROLL for (uint i = 0u; i < STRIPS * CHUNK; i++) {
                uint from = i / CHUNK * COLUMNS + first + i % CHUNK;
                pool[(warp * STRIPS * CHUNK + i) * 32u + lane] = floatBitsToUint(
                    vec4(total[from][0], total[from][1], total[from][2], total[from][3]));
            }
        barrier();
        uint count = (gated ? ROWS_W / 2u : ROWS_W) * WARPS_M * CHUNK * 8u;
        for (uint i = gl_LocalInvocationIndex; i < count; i += THREADS)
            put(i, first, gated);
    }
}
