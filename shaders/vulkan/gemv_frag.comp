#version 450
/*
 * gemv_frag.comp: few rows of X on any device, layout FRAG16B of layout.h.
 *
 * A worker is 32 neighbouring invocations, lanes l = 4g + t, and sums over a part of K for the rows g and g+8 of a
 * strip of 16 rows of the weights and all rows of X: a lane takes the columns 8t … 8t+7 of every unit of 32. The
 * PARTS workers of a work-group divide K. What 4 lanes · PARTS workers have summed of an element meets in shared
 * memory, and one thread adds it up in a fixed order: no subgroup operations, and any subgroup size.
 *
 *     work-group i    strips i, i + groups[0], …; gated: pairs of strips, gate then up
 *     part p of K     blocks of 64 columns p·share … (p+1)·share−1
 *     sums[((m·2 + h)·PARTS + p)·32 + l]      lane l of part p: row g + 8h of the strip, row m of X
 *
 * Two loops, one after the other. stream(): whole blocks of aligned X. Codes, scales and zeros are loaded
 * a block ahead, X a block ahead, for more rows of X a unit or not at all, as it takes registers: from
 * clamped addresses and without a branch, since compilers wait for what is on its way where branches meet.
 * walk(): the rest, one column at a time: the last columns if K is no multiple of 64; all of them if X is
 * unaligned or gathered through perm, or groups end within a lane's 8 columns.
 *
 * Unless WEIGHTED, 8 products x·(q − zero) are summed before the scale is applied; see woq/gemm.h, EXACT.
 *
 * Macros: CODE_BITS 4, 8, or 16 for plain weights; STORAGE16 as in common.glsl.
 *
 * Specialization constants, which are the kernel's key (kernels.h):
 *     1  ROWS        of X, 1, 2, 4 or 8; args.m at most. Rows beyond m repeat the last, and are not stored
 *     2  PARTS       local_size_x / 32
 *     3  X_TYPE      WOQ_ABI_F32, F16 or BF16
 *     4  WEIGHTED    math ROUNDED, or ZERO_OFFSET
 *     5  FINE        groups end within blocks of 64 columns
 *     6  PLAIN_BF16  CODE_BITS 16 are BF16
 *     7  UNPACK      unpackHalf2x16 keeps subnormals, which Vulkan leaves to the driver
 *
 * Needs: Vulkan 1.1; local_size_x a multiple of 32, and ROWS · (256 · PARTS + 64) bytes of shared memory;
 * storageBuffer16BitAccess if STORAGE16 is 1. No FP16, 8- or 16-bit loads, or subgroup operations.
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

layout(constant_id = 1) const uint ROWS = 1u;
layout(constant_id = 2) const uint PARTS = 2u;
layout(constant_id = 3) const uint X_TYPE = 2u;
layout(constant_id = 4) const bool WEIGHTED = false;
layout(constant_id = 5) const bool FINE = false;
layout(constant_id = 6) const bool PLAIN_BF16 = false;
layout(constant_id = 7) const bool UNPACK = false;

#include "common.glsl"
#include "dequant.glsl"
#include "lane.glsl"
#include "lane_f32.glsl"
#include "epilogue.glsl"

layout(set = 0, binding = WOQ_BIND_X) readonly buffer XVectors { uvec4 x_vectors[]; };

/* Arrays have the largest size, as GLSL does not copy those sized by constants given later. */
const uint MAX_ROWS = 8u;

const uint THREADS = 32u * PARTS;
const uint OUTPUTS = 16u * ROWS;            /* of a strip */
const uint X_VECTORS = X_TYPE == 1u ? 2u : 1u; /* of 8 columns */
const uint X_AHEAD = ROWS > 4u ? 0u : ROWS > 2u ? 1u : 2u; /* units that X is loaded ahead */
const bool SCALED = CODE_BITS != 16 && !WEIGHTED;

shared float sums[OUTPUTS * 4u * PARTS];
shared float gate_sums[OUTPUTS]; /* of a gate strip while its up strip is summed */

/* This thread's place, and its sums: 2·(row of X) + (0: row g, 1: row g+8). */
uint lane, g, t, part;
float total[2u * MAX_ROWS];

/* Byte offset of a row of X. */
uint x_row_at(uint m)
{
    return args.x_off + min(m, args.m - 1u) * args.x_stride;
}

/* One row of X in one unit to FP32. */
void x_decode(uvec4 low, uvec4 high, out float x[8])
{
    UNROLL for (uint i = 0u; i < 4u; i++) {
        if (X_TYPE == WOQ_ABI_F32) {
            x[i] = uintBitsToFloat(low[i]);
            x[4u + i] = uintBitsToFloat(high[i]);
        } else {
            vec2 pair = pair_decode(low[i], X_TYPE == WOQ_ABI_BF16);
            x[2u * i] = pair.x;
            x[2u * i + 1u] = pair.y;
        }
    }
}

/* Columns whose scales a lane needs in a unit of a block: the first of them. */
uint group_column(uint block, uint unit)
{
    return block * 64u + (FINE ? unit * 32u + t * 8u : 0u);
}

/* Whole blocks begin … end−1 of a strip. */
void stream(uint strip, uint begin, uint end)
{
    if (begin >= end)
        return;
    const uint strip_at = ((args.codes_off + strip * args.codes_stride) >> 4) + lane;
    uint x_at[MAX_ROWS]; /* of this lane's vectors in block 0 */
    uvec4 x[2u * 2u * MAX_ROWS];
    UNROLL for (uint m = 0u; m < ROWS; m++)
        x_at[m] = (x_row_at(m) >> 4) + t * X_VECTORS;
    UNROLL for (uint u = 0u; u < X_AHEAD; u++)
        UNROLL for (uint m = 0u; m < ROWS; m++)
            UNROLL for (uint i = 0u; i < X_VECTORS; i++)
                x[(u * ROWS + m) * 2u + i] = x_vectors[x_at[m] + (begin * 2u + u) * 4u * X_VECTORS + i];
    LaneCodes codes = lane_load(strip_at, begin);
#if CODE_BITS != 16
    /* The group of the next block's columns, and their place in it; a block further is `step` groups and columns. */
    const uint UNITS = FINE ? 2u : 1u;
    const uint span = args.group < args.k ? args.group : 0xffffffffu;
    const uint step_groups = 64u / span, step_columns = 64u % span;
    const uint last_group = (args.k - 1u) / span;
    uint group[2], place[2];
    PairRaw raw[2];
    UNROLL for (uint u = 0u; u < UNITS; u++) {
        group[u] = group_column(begin, u) / span;
        place[u] = group_column(begin, u) % span;
        raw[u] = pair_raw(group[u], strip, g);
    }
#endif
    for (uint block = begin; block < end; block++) {
        const uint ahead = min(block + 1u, end - 1u);
        const LaneCodes now = codes;
        codes = lane_load(strip_at, ahead);
#if CODE_BITS != 16
        PairRaw raw_now[2];
        UNROLL for (uint u = 0u; u < UNITS; u++) {
            place[u] += step_columns;
            group[u] += step_groups + (place[u] >= span ? 1u : 0u);
            place[u] -= place[u] >= span ? span : 0u;
            raw_now[u] = raw[u];
            raw[u] = pair_raw(min(group[u], last_group), strip, g);
        }
#endif
        UNROLL for (uint unit = 0u; unit < 2u; unit++) {
            float low[8], high[8];
            float low_scale = 1.0, high_scale = 1.0;
#if CODE_BITS == 16
            lane_row(now, unit, 0u, low);
            lane_row(now, unit, 1u, high);
#else
            const LaneRow low_row = lane_group(raw_now[FINE ? unit : 0u], g, 0u);
            const LaneRow high_row = lane_group(raw_now[FINE ? unit : 0u], g, 1u);
            lane_row(now, unit, 0u, low_row, low);
            lane_row(now, unit, 1u, high_row, high);
            low_scale = low_row.scale;
            high_scale = high_row.scale;
#endif
            const uint slot = X_AHEAD == 2u ? unit : 0u, next = unit + X_AHEAD;
            const uint next_unit = (next < 2u ? block : ahead) * 2u + (next & 1u);
            UNROLL for (uint m = 0u; m < ROWS; m++) {
                const uint from = (slot * ROWS + m) * 2u;
                float v[8];
                if (X_AHEAD == 0u)
                    UNROLL for (uint i = 0u; i < X_VECTORS; i++)
                        x[from + i] = x_vectors[x_at[m] + next_unit * 4u * X_VECTORS + i];
                x_decode(x[from], x[from + X_VECTORS - 1u], v);
                if (X_AHEAD != 0u)
                    UNROLL for (uint i = 0u; i < X_VECTORS; i++)
                        x[from + i] = x_vectors[x_at[m] + next_unit * 4u * X_VECTORS + i];
                float low_part = SCALED ? 0.0 : total[2u * m];
                float high_part = SCALED ? 0.0 : total[2u * m + 1u];
                UNROLL for (uint c = 0u; c < 8u; c++) {
                    low_part = fma(v[c], low[c], low_part);
                    high_part = fma(v[c], high[c], high_part);
                }
                total[2u * m] = SCALED ? fma(low_scale, low_part, total[2u * m]) : low_part;
                total[2u * m + 1u] = SCALED ? fma(high_scale, high_part, total[2u * m + 1u]) : high_part;
            }
        }
    }
}

/* Blocks begin … end−1 of a strip, whatever X's alignment and order and the groups are; up to column K. */
void walk(uint strip, uint begin, uint end)
{
    const uint row = strip * 16u + g, low_at = row_begin(row), high_at = row_begin(row + 8u);
    const uint span = args.group != 0u ? min(args.group, args.k) : args.k;
    const bool permuted = WOQ_FLAG_PERM(args.flags) != 0u;
    for (uint unit = begin * 2u; unit < end * 2u; unit++) {
        uint column = unit * 32u + t * 8u, group_end = column, group = column / span;
        const uint stop = min(column + 8u, args.k);
        Group low, high;
        for (; column < stop; column++) {
            if (column == group_end) {
                low = group_begin(group, row);
                high = group_begin(group, row + 8u);
                group++;
                group_end = group * span;
            }
            const uint x_column = permuted ? w_words[(args.perm_off >> 2) + column] : column;
            if (x_column == WOQ_PERM_NONE)
                continue;
            const float w_low = weight_at(low, row, low_at, column);
            const float w_high = weight_at(high, row + 8u, high_at, column);
            UNROLL for (uint m = 0u; m < ROWS; m++) {
                const float v = x_load(x_row_at(m) + x_column * type_size(X_TYPE), X_TYPE);
                total[2u * m] = fma(v, w_low, total[2u * m]);
                total[2u * m + 1u] = fma(v, w_high, total[2u * m + 1u]);
            }
        }
    }
}

/* This part's share of the blocks first … end−1. */
uvec2 share_of(uint first, uint end)
{
    const uint share = (end - first + PARTS - 1u) / PARTS;
    const uint begin = min(first + part * share, end);
    return uvec2(begin, min(begin + share, end));
}

/* Sums of a strip, of all workers, to shared memory. */
void sum_strip(uint strip, uint streamed)
{
    UNROLL for (uint i = 0u; i < 2u * ROWS; i++)
        total[i] = 0.0;
    uvec2 blocks = share_of(0u, streamed);
    stream(strip, blocks.x, blocks.y);
    blocks = share_of(streamed, (args.k + 63u) >> 6);
    walk(strip, blocks.x, blocks.y);
    UNROLL for (uint i = 0u; i < 2u * ROWS; i++)
        sums[(i * PARTS + part) * 32u + lane] = total[i];
}

/* The sum of an output of a strip: row output % 16 of the strip, row output / 16 of X. */
float add_up(uint output_)
{
    uint at = ((output_ >> 3) * PARTS * 8u + (output_ & 7u)) * 4u;
    float sum = 0.0;
    for (uint p = 0u; p < PARTS; p++, at += 32u)
        sum += (sums[at] + sums[at + 1u]) + (sums[at + 2u] + sums[at + 3u]);
    return sum;
}

void main()
{
    lane = gl_LocalInvocationIndex & 31u;
    g = lane >> 2;
    t = lane & 3u;
    part = gl_LocalInvocationIndex >> 5;
    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    const uint per_output = gated ? 2u : 1u, strips = args.scale_stride >> 4;
    const bool whole = args.group % 8u == 0u || args.group >= args.k;
    const bool streams = ((args.x_off | args.x_stride) & 15u) == 0u && whole && WOQ_FLAG_PERM(args.flags) == 0u;
    const uint streamed = streams ? args.k >> 6 : 0u;
    /* A strip at a time; its pair's gate strip comes before. */
    for (uint first = gl_WorkGroupID.x * per_output; first < strips; first += gl_NumWorkGroups.x * per_output)
        for (uint s = 0u; s < per_output; s++) {
            sum_strip(first + s, streamed);
            barrier();
            for (uint i = gl_LocalInvocationIndex; i < OUTPUTS; i += THREADS) {
                const uint m = i >> 4, n = first / per_output * 16u + (i & 15u);
                const float sum = add_up(i);
                if (s + 1u < per_output)
                    gate_sums[i] = sum;
                else if (m < args.m && n < args.n)
                    epilogue(m, n, gated ? gate_sums[i] : sum, sum);
            }
            barrier();
        }
}
