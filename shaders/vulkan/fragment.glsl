/*
 * fragment.glsl: weights as operands of a matrix unit, layout FRAG16B of layout.h.
 *
 * fragment_row decodes one row of one unit of a lane's codes (lane.glsl) to four pairs of FP16. EXACT: q − zero, an
 * integer; ROUNDED: rn_F16(scale·(q − zero)), see woq/gemm.h.
 *
 * Integers become FP16 by bits: 0x6400 | q is 1024 + q for q < 1024, (0x6400 | 16·q)/16 is 64 + q, and so is
 * 0x5400 | 16·q for q < 64.
 *
 * Of the including kernel: macros CODE_BITS (4, 8, or 16 for FP16) and UNROLL, constant ROUNDED.
 */
#ifndef WOQ_FRAGMENT_GLSL
#define WOQ_FRAGMENT_GLSL

#include "lane.glsl"

/* 1024 as the upper bits of two FP16, and 1/16. fragment_begin hides their values from the compiler, for one that knows
 * them makes two instructions of AND and OR, and loads 1/16 anew for every use. */
uint magic = 0x64006400u;
f16vec2 sixteenth = f16vec2(0.0625);

void fragment_begin()
{
    magic += args.opaque_zero;
    sixteenth = unpackFloat2x16(0x2c002c00u + args.opaque_zero);
}

/* A scale or offset of row g + 8·high. */
float pair_decode(uvec2 raw, uint g, const uint high)
{
    uint bits = pair_bits(raw, g, high);
    float half_value = float(unpackFloat2x16(bits & 0xffffu).x);
    return SCALE_TYPE == WOQ_ABI_F16 ? half_value : uintBitsToFloat(SCALE_TYPE == WOQ_ABI_F32 ? bits : bits << 16);
}

/* A row in a group of columns. */
struct RowGroup {
    f16vec2 bias;       /* 1024 + zero, twice */
    f16vec2 bias64;     /* 64 + zero */
    float scale;
    f16vec2 half_scale; /* if it is FP16 */
    float offset;       /* ROUNDED with ZERO_OFFSET, else 0 */
};

/* Of zero points 1024 + zero, as two FP16, in place of the bytes. */
PairRaw pair_ready(PairRaw raw, uint g)
{
    if (ZERO_KIND == WOQ_ABI_ZERO_POINT)
        raw.zero.x = pair_byte(raw.zero, g, 0u) | pair_byte(raw.zero, g, 1u) << 16 | magic;
    return raw;
}

/* raw: ready. */
RowGroup row_group(PairRaw raw, uint g, const uint high)
{
    bool has_offset = ROUNDED && ZERO_KIND == WOQ_ABI_ZERO_OFFSET;
    const uint fixed_zero = (has_offset ? 0u : CODE_BITS == 4 ? 8u : 128u) * 0x10001u;
    f16vec2 bias = unpackFloat2x16(0x64006400u | fixed_zero), bias64 = unpackFloat2x16(0x54005400u | fixed_zero << 4);
    if (ZERO_KIND == WOQ_ABI_ZERO_POINT) {
        bias = f16vec2(unpackFloat2x16(raw.zero.x)[high]);
        bias64 = bias - f16vec2(960.0);
    }
    return RowGroup(bias, bias64, pair_decode(raw.scale, g, high),
                    f16vec2(unpackFloat2x16(pair_bits(raw.scale, g, high) & 0xffffu).x),
                    has_offset ? pair_decode(raw.zero, g, high) : 0.0);
}

#if CODE_BITS == 16
/* A row (high: row g+8) in unit 0 or 1. */
void fragment_plain(LaneCodes codes, const uint unit, const uint high, out f16vec2 pairs[4])
{
    uvec4 v = codes.v[unit * 2u + high];
    UNROLL for (uint i = 0u; i < 4u; i++)
        pairs[i] = unpackFloat2x16(v[i]);
}
#else
#if CODE_BITS == 4
/* What is left of codes when unit 0 has been decoded, in two words. */
uvec2 fragment_rest(LaneCodes codes)
{
    const uvec4 v = codes.v[0];
    return uvec2(((v.x >> 8) & 0x00ff00ffu) | (v.y & 0xff00ff00u), ((v.z >> 8) & 0x00ff00ffu) | (v.w & 0xff00ff00u));
}
#endif

/* unit 2: unit 1, of 4 bits, as fragment_rest made it. */
void fragment_row(LaneCodes codes, const uint unit, const uint high, RowGroup r, out f16vec2 pairs[4])
{
#if CODE_BITS == 4
    UNROLL for (uint i = 0u; i < 4u; i++) {
        uint w = unit == 2u ? codes.v[0][i / 2u] >> 8u * (i % 2u) : codes.v[0][i] >> 8u * unit;
        if (high == 0u)
            pairs[i] = unpackFloat2x16((w & 0x000f000fu) | magic) - r.bias;
        else
            pairs[i] = fma(unpackFloat2x16((w & 0x00f000f0u) | magic), sixteenth, -r.bias64);
    }
#else
    UNROLL for (uint i = 0u; i < 4u; i++)
        pairs[i] = unpackFloat2x16((codes.v[unit][i] >> 8u * high & 0x00ff00ffu) | magic) - r.bias;
#endif
    if (!ROUNDED)
        return;
    if (SCALE_TYPE == WOQ_ABI_F16 && ZERO_KIND != WOQ_ABI_ZERO_OFFSET) {
        UNROLL for (uint i = 0u; i < 4u; i++)
            pairs[i] *= r.half_scale; /* one rounding */
    } else {
        UNROLL for (uint i = 0u; i < 4u; i++)
            pairs[i] = f16vec2(vec2(pairs[i]) * r.scale + r.offset);
    }
}

/* ROUNDED, where groups end within 8 columns: of tile row `row` from `column` on, as four pairs; those beyond K
 * are 0. */
uvec4 fragment_any(uint row, uint column)
{
    uint row_at = row_begin(row);
    uvec4 v = uvec4(0u);
    for (uint i = 0u; i < 8u && column + i < args.k; i++) {
        Group group = group_begin((column + i) / args.group, row);
        v |= half_of_vector(i, f16_encode(weight_at(group, row, row_at, column + i)));
    }
    return v;
}
#endif

#endif
