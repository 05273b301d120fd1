#version 450
/*
 * expand.comp: a piece of quantized weights to plain FP16 weights, both in layout FRAG16B of layout.h.
 *
 * An invocation takes what a lane holds of a strip in a block of 64 columns: CODE_BITS/4 vectors of codes become
 * four of FP16, w = rn_F16(scale·(q − zero) + offset). Neighbours load and store neighbouring vectors; it is
 * the memory's speed that counts.
 *
 *     binding WEIGHTS  the tile; codes_off, scales_off and zeros_off are those of the piece's first strip
 *     binding Y        from y_off: n/16 strips, y_stride bytes apart; if X is gathered, perm behind them
 *     args             n rows, a multiple of 16; k; scale_stride rows of the tile
 *
 * Macro CODE_BITS: 4 or 8. Specialization constant 1: where groups end (GROUPS_…).
 *
 * Needs: Vulkan 1.1, shaderFloat16 with shaderRoundingModeRTEFloat16. No 16-bit storage, no subgroups.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_spirv_intrinsics : require
#define UNROLL [[unroll]]

/* RoundingModeRTE for 16 bits: conversions and products round to nearest, ties to even. */
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 16);

layout(constant_id = 1) const uint GROUPS = 0u;

/* Columns that surely share a scale: 64; 8; 1. As woqi_kernel_key.fine. */
const uint GROUPS_BLOCK = 0u, GROUPS_PIECE = 1u, GROUPS_ANY = 2u;
const bool ROUNDED = true;

#define STORAGE16 0
#include "common.glsl"
#include "dequant.glsl"
#include "fragment.glsl"

layout(set = 0, binding = WOQ_BIND_Y) writeonly buffer Expanded { uvec4 y_vectors[]; };

PairRaw scales_at(uint column, uint strip, uint g)
{
    uint group = args.group < args.k ? min(column, args.k - 1u) / args.group : 0u;
    return pair_ready(pair_raw(group, strip, g), g);
}

void expand(uint strip, uint block, uint lane)
{
    const uint g = lane >> 2, t = lane & 3u;
    const uint to = ((args.y_off + strip * args.y_stride) >> 4) + block * 128u + lane;
    LaneCodes codes;
    PairRaw raw[2];
    if (GROUPS != GROUPS_ANY) {
        codes = lane_load(((args.codes_off + strip * args.codes_stride) >> 4) + lane, block);
        raw[0] = scales_at(block * 64u + (GROUPS == GROUPS_PIECE ? t * 8u : 0u), strip, g);
        raw[1] = raw[0];
        if (GROUPS == GROUPS_PIECE)
            raw[1] = scales_at(block * 64u + 32u + t * 8u, strip, g);
    }
    UNROLL for (uint unit = 0u; unit < 2u; unit++)
        UNROLL for (uint high = 0u; high < 2u; high++) {
            const uint place = to + (2u * unit + high) * 32u;
            if (GROUPS == GROUPS_ANY) {
                y_vectors[place] = fragment_any(strip * 16u + high * 8u + g, block * 64u + unit * 32u + t * 8u);
                continue;
            }
            f16vec2 pairs[4];
            fragment_row(codes, unit, high, row_group(raw[unit], g, high), pairs);
            y_vectors[place] = uvec4(packFloat2x16(pairs[0]), packFloat2x16(pairs[1]), packFloat2x16(pairs[2]),
                                     packFloat2x16(pairs[3]));
        }
}

void main()
{
    const uint strips = args.n >> 4, blocks = (args.k + 63u) >> 6;
    const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < strips * blocks * 32u; i += stride)
        expand((i >> 5) / blocks, (i >> 5) % blocks, i & 31u);
    if (WOQ_FLAG_PERM(args.flags) != 0u)
        for (uint i = gl_GlobalInvocationID.x; i < args.k; i += stride)
            y_words[((args.y_off + strips * args.y_stride) >> 2) + i] = w_words[(args.perm_off >> 2) + i];
}
