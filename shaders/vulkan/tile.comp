#version 450
/*
 * tile.comp: more than a few rows of X on any device, without matrix units: tiles in shared memory, layout FRAG16B of
 * layout.h.
 *
 * Work-group (i, j): rows i·ROWS_W … of the weights for the rows j·ROWS_X … of X. PARTS parts of it divide K in whole
 * units of 32 columns; a thread of a part sums for THREAD_W rows of the weights and THREAD_X of X: fours, the second
 * four half a tile further.
 *
 * A step is half a unit, and its tiles have 16 columns in FP32: those that the lanes l = 4g + t of a strip have in half
 * h, in this order for weights and X alike:
 *
 *     place 4c + t    column 8t + 4h + c of the unit
 *
 *     part p, buffer b      at (p·BUFFERS + b)·STAGE: weights [place][W_ROW], then X [place][X_ROW]
 *     later sums of part p  at (p·SUM_ROWS + row)·ROWS_W: a row of each thread's, one after the other
 *
 * Rows of a tile are 8 numbers longer than it: so the 32 lanes that store a column of a strip, or one of 8 rows of X,
 * meet 32 banks, and threads load 4 rows at once.
 * Codes, scales and X are loaded a step ahead, from clamped addresses and without a branch; with two buffers a step is
 * stored while others multiply the one before. What cannot be loaded so is loaded when stored, element by element: X
 * that is unaligned or gathered through perm, and weights whose groups end within 8 columns.
 *
 * Weights are rn_F32(scale·(q − zero)), or rn_F32(scale·q + offset) by one fma, in EXACT as well: q − zero is exact, so
 * a weight has one rounding where woq/gemm.h allows a product's and a scaling, and K fused sums have no more than
 * γ(K + 1) with it. ROUNDED: rounded once more, to the type of X.
 *
 * Macros: CODE_BITS 4, 8, or 16 for plain weights; STORAGE16 as in common.glsl.
 *
 * Specialization constants, which are the kernel's key (kernels.h) and its block (WOQI_TILE_BLOCKS of blocks.h):
 *     1 ROWS_W, 2 ROWS_X, 3 THREAD_W, 4 THREAD_X, 5 PARTS, 6 BUFFERS
 *     7  X_TYPE      WOQ_ABI_F32, F16 or BF16
 *     8  ANY         groups end within 8 columns
 *     9  PLAIN_BF16  CODE_BITS 16 are BF16
 *     10 UNPACK      unpackHalf2x16 keeps subnormals, which Vulkan leaves to the driver
 *
 * Needs: Vulkan 1.1; the block's threads and shared memory; storageBuffer16BitAccess if STORAGE16 is 1. No FP16, 8- or
 * 16-bit loads, or subgroup operations.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define UNROLL [[unroll]]
#ifndef STORAGE16
#define STORAGE16 0
#endif
#if STORAGE16
#extension GL_EXT_shader_16bit_storage : require
#endif

layout(constant_id = 1) const uint ROWS_W = 32u;
layout(constant_id = 2) const uint ROWS_X = 32u;
layout(constant_id = 3) const uint THREAD_W = 4u;
layout(constant_id = 4) const uint THREAD_X = 4u;
layout(constant_id = 5) const uint PARTS = 1u;
layout(constant_id = 6) const uint BUFFERS = 1u;
layout(constant_id = 7) const uint X_TYPE = 2u;
layout(constant_id = 8) const bool ANY = false;
layout(constant_id = 9) const bool PLAIN_BF16 = false;
layout(constant_id = 10) const bool UNPACK = false;

const bool WEIGHTED = true;

#include "common.glsl"
#include "dequant.glsl"
#include "lane.glsl"
#include "lane_f32.glsl"
#include "epilogue.glsl"

layout(set = 0, binding = WOQ_BIND_X) readonly buffer XVectors { uvec4 x_vectors[]; };
layout(set = 0, binding = WOQ_BIND_X) readonly buffer XPairs { uvec2 x_pairs[]; };

/* Of a part: threads, and what each brings in a step: of lanes of strips, and of 4 columns of rows of X. */
const uint THREADS_N = ROWS_W / THREAD_W, THREADS = THREADS_N * (ROWS_X / THREAD_X);
const uint W_LOADS = ROWS_W * 2u / THREADS, X_LOADS = ROWS_X * 4u / THREADS;

/* Arrays have the largest size, as GLSL does not copy those sized by constants given later; blocks.c checks that it
 * suffices. */
const uint MAX_LOADS = 4u, MAX_SIDE = 8u;

const uint W_ROW = ROWS_W + 8u, X_ROW = ROWS_X + 8u, PLACES = 16u;
const uint STAGE = PLACES * (W_ROW + X_ROW);
const uint SUM_ROWS = ROWS_X / THREAD_X;
const uint POOL_STAGES = PARTS * BUFFERS * STAGE, POOL_SUMS = PARTS * SUM_ROWS * ROWS_W;
shared vec4 pool[(POOL_STAGES > POOL_SUMS ? POOL_STAGES : POOL_SUMS) / 4u];

float total[MAX_SIDE * MAX_SIDE]; /* [row of X][row of the weights], MAX_SIDE apart */

/* What a thread holds of the next step, which is half of a unit. */
UnitCodes codes[MAX_LOADS];
uvec4 x[MAX_LOADS]; /* 4 columns */
#if CODE_BITS != 16
PairRaw raw[MAX_LOADS];
/* Of this lane's columns in the step held: their group, and their place in it. */
uint group, place, span;
#endif

/* This thread's place: among the parts, in its part, as a lane, and in the tile of sums. */
uint part, thread, g, t, thread_n, thread_m;

/* Strip of the thread's load i; those beyond the weights repeat the last. */
uint strip_of(uint i)
{
    return min(gl_WorkGroupID.x * (ROWS_W / 16u) + (thread + i * THREADS) / 32u, (args.scale_stride >> 4) - 1u);
}

/* Row of the tile of X of the thread's load i, and its byte offset; those beyond M repeat the last. */
uint x_row_of(uint i)
{
    return (thread + i * THREADS) / 32u * 8u + g;
}

uint x_row_at(uint i)
{
    return args.x_off + min(gl_WorkGroupID.y * ROWS_X + x_row_of(i), args.m - 1u) * args.x_stride;
}

/* The first of a lane's 4 columns in a step. */
uint column_of(uint step_)
{
    return (step_ >> 1) * 32u + t * 8u + (step_ & 1u) * 4u;
}

void hold(const bool fast, uint step_)
{
    if (!ANY)
        UNROLL for (uint i = 0u; i < W_LOADS; i++) {
            const uint strip = strip_of(i);
            codes[i] = unit_load(((args.codes_off + strip * args.codes_stride) >> 4) + (thread & 31u), step_ >> 1);
#if CODE_BITS != 16
            raw[i] = pair_raw(min(group, (args.k - 1u) / span), strip, g);
#endif
        }
    if (fast)
        UNROLL for (uint i = 0u; i < X_LOADS; i++) {
            const uint four = min(column_of(step_), args.k - 4u) / 4u;
            if (X_TYPE == WOQ_ABI_F32)
                x[i] = x_vectors[(x_row_at(i) >> 4) + four];
            else
                x[i].xy = x_pairs[(x_row_at(i) >> 3) + four];
        }
}

/* Columns first … first+3 of row g + 8·high of load i. */
vec4 w_four(uint i, const uint high, uint first)
{
    vec4 w = vec4(0.0);
#if CODE_BITS == 16
    return unit_four(codes[i], high, first >> 2 & 1u);
#else
    if (!ANY)
        return unit_four(codes[i], high, first >> 2 & 1u, lane_group(raw[i], g, high));
    const uint row = strip_of(i) * 16u + 8u * high + g, row_at = row_begin(row);
    for (uint c = 0u; c < 4u && first + c < args.k; c++)
        w[c] = weight_at(group_begin((first + c) / span, row), row, row_at, first + c);
    return w;
#endif
}

/* The same of load i of X; beyond K, 0. */
vec4 x_four(const bool fast, uint i, uint first)
{
    vec4 v = vec4(0.0);
    if (fast) {
        if (X_TYPE == WOQ_ABI_F32)
            v = uintBitsToFloat(x[i]);
        else
            v = vec4(pair_decode(x[i].x, X_TYPE == WOQ_ABI_BF16), pair_decode(x[i].y, X_TYPE == WOQ_ABI_BF16));
        return first < args.k ? v : vec4(0.0);
    }
    for (uint c = 0u; c < 4u && first + c < args.k; c++) {
        const uint column =
            WOQ_FLAG_PERM(args.flags) != 0u ? w_words[(args.perm_off >> 2) + first + c] : first + c;
        if (column != WOQ_PERM_NONE)
            v[c] = x_load(x_row_at(i) + column * type_size(X_TYPE), X_TYPE);
    }
    return v;
}

/* The step held to a buffer. */
void stage(const bool fast, uint step_, uint buffer_at)
{
    const uint first = column_of(step_);
    UNROLL for (uint i = 0u; i < W_LOADS; i++)
        UNROLL for (uint high = 0u; high < 2u; high++) {
            const vec4 w = w_four(i, high, first);
            const uint at = buffer_at + t * W_ROW + (thread + i * THREADS) / 32u * 16u + 8u * high + g;
            UNROLL for (uint c = 0u; c < 4u; c++)
                pool[(at + 4u * c * W_ROW) >> 2][at & 3u] = w[c];
        }
    UNROLL for (uint i = 0u; i < X_LOADS; i++) {
        const vec4 v = x_four(fast, i, first);
        const uint at = buffer_at + PLACES * W_ROW + t * X_ROW + x_row_of(i);
        UNROLL for (uint c = 0u; c < 4u; c++)
            pool[(at + 4u * c * X_ROW) >> 2][at & 3u] = v[c];
    }
}

void multiply(uint buffer_at)
{
    uint w_at = buffer_at / 4u + thread_n, x_at = (buffer_at + PLACES * W_ROW) / 4u + thread_m;
    /* By fours: at once they take registers, one by one time. */
    [[dont_unroll]] for (uint four = 0u; four < PLACES / 4u; four++)
        UNROLL for (uint p = 0u; p < 4u; p++) {
            vec4 w[MAX_SIDE / 4u], v[MAX_SIDE / 4u];
            UNROLL for (uint i = 0u; i < THREAD_W / 4u; i++)
                w[i] = pool[w_at + i * (ROWS_W / 8u)];
            UNROLL for (uint i = 0u; i < THREAD_X / 4u; i++)
                v[i] = pool[x_at + i * (ROWS_X / 8u)];
            UNROLL for (uint m = 0u; m < THREAD_X; m++)
                UNROLL for (uint n = 0u; n < THREAD_W; n++)
                    total[m * MAX_SIDE + n] = fma(v[m / 4u][m % 4u], w[n / 4u][n % 4u], total[m * MAX_SIDE + n]);
            w_at += W_ROW / 4u;
            x_at += X_ROW / 4u;
        }
}

/* All steps of this part. Parts may be shorter than the first: they keep the barriers. */
void accumulate(const bool fast)
{
    const uint units = (args.k + 31u) >> 5, share = (units + PARTS - 1u) / PARTS;
    const uint steps = 2u * units, begin = min(2u * part * share, steps), end = min(begin + 2u * share, steps);
    const uint part_at = part * BUFFERS * STAGE;
#if CODE_BITS != 16
    span = args.group < args.k ? args.group : 0xffffffffu;
    group = column_of(begin) / span;
    place = column_of(begin) % span;
#endif
    hold(fast, min(begin, steps - 1u));
    for (uint i = 0u; i < 2u * share; i++) {
        const uint step_ = begin + i, buffer_at = part_at + (BUFFERS > 1u ? (i & 1u) * STAGE : 0u);
        if (BUFFERS == 1u)
            barrier();
        stage(fast, step_, buffer_at);
#if CODE_BITS != 16
        if ((i & 1u) != 0u) {
            place += 32u % span;
            group += 32u / span + (place >= span ? 1u : 0u);
            place -= place >= span ? span : 0u;
        }
#endif
        hold(fast, min(step_ + 1u, steps - 1u));
        barrier();
        if (PARTS == 1u || step_ < end)
            multiply(buffer_at);
    }
}

/* One element of Y from the pool of sums, whose rows are the threads' row m. */
void put(uint index, uint m, bool gated)
{
    const uint columns = gated ? ROWS_W / 2u : ROWS_W;
    const uint column = index % columns, row = index / columns;
    const uint y_row = gl_WorkGroupID.y * ROWS_X + m / 4u * (ROWS_X / 2u) + row * 4u + m % 4u;
    const uint y_column = gl_WorkGroupID.x * columns + column;
    if (y_row >= args.m || y_column >= args.n)
        return;
    const uint w_row = gated ? column + column / 16u * 16u : column;
    float sum = 0.0, up = 0.0;
    UNROLL for (uint p = 0u; p < PARTS; p++) {
        const uint at = ((p * SUM_ROWS + row) * ROWS_W + w_row) / 4u;
        sum += pool[at][w_row % 4u];
        if (gated)
            up += pool[at + 4u][w_row % 4u];
    }
    epilogue(y_row, y_column, sum, up);
}

void main()
{
    part = gl_LocalInvocationIndex / THREADS;
    thread = gl_LocalInvocationIndex % THREADS;
    g = (thread & 31u) >> 2;
    t = thread & 3u;
    thread_n = thread % THREADS_N;
    thread_m = thread / THREADS_N;
    UNROLL for (uint i = 0u; i < MAX_SIDE * MAX_SIDE; i++)
        total[i] = 0.0;
    if (((args.x_off | args.x_stride) & 15u) == 0u && (args.k & 7u) == 0u && WOQ_FLAG_PERM(args.flags) == 0u)
        accumulate(true);
    else
        accumulate(false);

    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    const uint count = (gated ? ROWS_W / 2u : ROWS_W) * SUM_ROWS;
    [[dont_unroll]] for (uint m = 0u; m < THREAD_X; m++) {
        barrier();
        UNROLL for (uint row = 0u; row < THREAD_X; row++)
            if (row == m)
                UNROLL for (uint i = 0u; i < THREAD_W / 4u; i++) {
                    const uint from = row * MAX_SIDE + 4u * i;
                    pool[(part * SUM_ROWS + thread_m) * (ROWS_W / 4u) + thread_n + i * (ROWS_W / 8u)] =
                        vec4(total[from], total[from + 1u], total[from + 2u], total[from + 3u]);
                }
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < count; i += gl_WorkGroupSize.x)
            put(i, m, gated);
    }
}
