/*
 * stage_weights.glsl: a work-group's rows of the weights to shared memory as rn_F16(scale·(q − zero) + offset), for
 * kernels whose matrices are loaded from there. Layout FRAG16B of layout.h.
 *
 * THREADS invocations, numbered by `thread`, take what lanes of ROWS_W/16 strips hold of a block of 64 columns: hold
 * loads codes and scales of a block, keep makes them the block to be staged, stage decodes a unit of 32
 * columns of it to vectors of 8 columns: row r, piece p at  at + r·ROW + p  of the pool.
 *
 * Of the including kernel: macros CODE_BITS and UNROLL; constants ROWS_W, GROUPS and its values, ROW, THREADS and
 * ROUNDED (true); `thread`; pool, an array of uvec4 in shared memory.
 */
#ifndef WOQ_STAGE_WEIGHTS_GLSL
#define WOQ_STAGE_WEIGHTS_GLSL

#include "fragment.glsl"

/* Lanes of strips, and how many of them a thread takes; the last may be idle. */
const uint W_LANES = ROWS_W * 2u;
const uint W_LOADS = (W_LANES + THREADS - 1u) / THREADS;
const uint UNITS = GROUPS == GROUPS_PIECE ? 2u : 1u; /* of a block, that have scales of their own */

/* Arrays have the largest size, as GLSL does not copy those sized by constants given later; the host
 * checks that it suffices. */
const uint MAX_W_LOADS = 4u;

/* What a thread holds of a block, and of the one before, which is multiplied meanwhile. Scales: for each unit
 * that has its own, for the rows g and g+8. */
LaneCodes codes[MAX_W_LOADS], codes_now[MAX_W_LOADS];
#if CODE_BITS != 16
PairRaw raw[2u * MAX_W_LOADS], raw_now[2u * MAX_W_LOADS];
#endif

/* Load i of a thread's: lane of a strip, and the strip within the tile of the weights; strips beyond it
 * repeat the last. */
uint lane_of(uint i)
{
    return (thread + i * THREADS) & 31u;
}

uint strip_of(uint i)
{
    return min(gl_WorkGroupID.x * (ROWS_W / 16u) + (thread + i * THREADS) / 32u, (args.scale_stride >> 4) - 1u);
}

void weights_hold(uint block)
{
    UNROLL for (uint i = 0u; i < W_LOADS; i++) {
        if (GROUPS == GROUPS_ANY)
            break;
        uint strip = strip_of(i), lane = lane_of(i);
        codes[i] = lane_load(((args.codes_off + strip * args.codes_stride) >> 4) + lane, block);
#if CODE_BITS != 16
        UNROLL for (uint u = 0u; u < UNITS; u++) {
            uint column = block * 64u + (GROUPS == GROUPS_PIECE ? u * 32u + (lane & 3u) * 8u : 0u);
            uint group = args.group < args.k ? min(column, args.k - 1u) / args.group : 0u;
            raw[2u * i + u] = pair_raw(group, strip, lane >> 2);
        }
#endif
    }
}

void weights_keep()
{
    UNROLL for (uint j = 0u; j < W_LOADS; j++)
        codes_now[j] = codes[j];
#if CODE_BITS != 16
    UNROLL for (uint j = 0u; j < 2u * W_LOADS; j++)
        raw_now[j] = pair_ready(raw[j], lane_of(j / 2u) >> 2);
#endif
}

/* A unit of the block kept, which is block number `block`. */
void weights_stage(uint at, uint block, uint unit)
{
    UNROLL for (uint i = 0u; i < W_LOADS; i++) {
        uint to = (thread + i * THREADS) / 32u * 16u + (lane_of(i) >> 2), piece = lane_of(i) & 3u;
        if (W_LANES % THREADS != 0u && thread + i * THREADS >= W_LANES)
            break;
        LaneCodes now = codes_now[i];
        if (unit != 0u)
            now = second_unit(now);
        UNROLL for (uint high = 0u; high < 2u; high++) {
            const uint place = at + (to + high * 8u) * ROW + piece;
            f16vec2 pairs[4];
#if CODE_BITS == 16
            fragment_plain(now, 0u, high, pairs);
#else
            if (GROUPS == GROUPS_ANY) {
                pool[place] = fragment_any(strip_of(i) * 16u + high * 8u + (lane_of(i) >> 2),
                                           block * 64u + unit * 32u + piece * 8u);
                continue;
            }
            PairRaw of_rows = raw_now[2u * i];
            if (UNITS == 2u && unit != 0u)
                of_rows = raw_now[2u * i + 1u];
            fragment_row(now, 0u, high, row_group(of_rows, lane_of(i) >> 2, high), pairs);
#endif
            pool[place] = uvec4(packFloat2x16(pairs[0]), packFloat2x16(pairs[1]), packFloat2x16(pairs[2]),
                                packFloat2x16(pairs[3]));
        }
    }
}

#endif
