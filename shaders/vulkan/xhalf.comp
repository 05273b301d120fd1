#version 450
/*
 * xhalf.comp: rows of X as matrix units take them fast: FP16, aligned, in the order of the weights' columns. See
 * kernels.h.
 *
 * FP16 X is copied. A row of BF16 X is divided by a power of two s that brings its largest finite magnitude to
 * 2^15 … 2^16, at most 65280 as BF16 has 8 significant bits, and rounded to nearest even. With E the largest's
 * exponent, s = 2^(E−15): an element of exponent E − 32 or more is a multiple of 2^-24·s and stays what it is; of
 * others at most half of that is lost, 2^(E−40). Never is s below 2^-126: then all is a multiple of 2^-7. Infinities
 * and NaN stay.
 *
 *     binding Y   from 0: m rows of y_stride bytes, zeros behind their k columns; from row_scales_off, unless
 *                 that is 0: s of each row in FP32
 *
 * A work-group takes a row, its invocations 8 columns each at a time. Needs nothing but Vulkan 1.1.
 */
#extension GL_GOOGLE_include_directive : require

#define STORAGE16 0
#include "common.glsl"
#include "activations.glsl"

layout(set = 0, binding = WOQ_BIND_Y) writeonly buffer Halves { uvec4 y_vectors[]; };

shared uint largest[gl_WorkGroupSize.x];

uvec4 load_piece(bool fast, uint at, uint piece)
{
    return piece * 8u < args.k ? x_piece(fast, at, piece) : uvec4(0u);
}

/* Of two BF16, the larger magnitude as bits; infinities and NaN do not count. */
uint pair_magnitude(uint pair)
{
    uint low = pair & 0x7fffu, high = (pair >> 16) & 0x7fffu;
    return max(low < 0x7f80u ? low : 0u, high < 0x7f80u ? high : 0u);
}

/* Of the row, by all invocations together. */
uint row_magnitude(bool fast, uint at)
{
    const uint i = gl_LocalInvocationIndex;
    uint most = 0u;
    for (uint piece = i; piece * 8u < args.k; piece += gl_WorkGroupSize.x) {
        uvec4 v = x_piece(fast, at, piece);
        most = max(most, max(max(pair_magnitude(v.x), pair_magnitude(v.y)),
                             max(pair_magnitude(v.z), pair_magnitude(v.w))));
    }
    barrier(); /* the row before has been looked at */
    largest[i] = most;
    for (uint count = gl_WorkGroupSize.x; count > 1u;) {
        barrier();
        const uint rest = (count + 1u) / 2u;
        if (i + rest < count)
            largest[i] = max(largest[i], largest[i + rest]);
        count = rest;
    }
    barrier();
    return largest[0];
}

uint pair_scaled(uint pair, float inverse)
{
    return f16_encode(uintBitsToFloat(pair << 16) * inverse) |
           f16_encode(uintBitsToFloat(pair & 0xffff0000u) * inverse) << 16;
}

void main()
{
    const bool fast = x_aligned(), scaled = args.row_scales_off != 0u;
    for (uint row = gl_WorkGroupID.x; row < args.m; row += gl_NumWorkGroups.x) {
        const uint at = x_row_at(row);
        uint exponent = 127u; /* of s, as FP32 stores it */
        if (scaled) {
            exponent = max(row_magnitude(fast, at) >> 7, 16u) - 15u;
            if (gl_LocalInvocationIndex == 0u)
                y_words[(args.row_scales_off >> 2) + row] = exponent << 23;
        }
        const float inverse = uintBitsToFloat((254u - exponent) << 23);
        for (uint piece = gl_LocalInvocationIndex; piece < args.y_stride >> 4; piece += gl_WorkGroupSize.x) {
            uvec4 v = load_piece(fast, at, piece);
            if (scaled)
                v = uvec4(pair_scaled(v.x, inverse), pair_scaled(v.y, inverse), pair_scaled(v.z, inverse),
                          pair_scaled(v.w, inverse));
            y_vectors[row * (args.y_stride >> 4) + piece] = v;
        }
    }
}
