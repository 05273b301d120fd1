/*
 * fragment.glsl: weights as operands of a matrix unit, layout FRAG16 of layout.h.
 *
 * fragment_row decodes one row of one unit of a lane's codes (lane.glsl) to four pairs of FP16. EXACT: q − zero, an
 * integer; ROUNDED: rn_F16(scale·(q − zero)), see woq/gemm.h.
 *
 * Integers become FP16 by bits: 0x6400 | q is 1024 + q for q < 1024, and (0x6400 | 16·q)/16 is 64 + q.
 *
 * Of the including kernel: macros CODE_BITS (4, 8, or 16 for FP16) and UNROLL, constant ROUNDED.
 */
#ifndef WOQ_FRAGMENT_GLSL
#define WOQ_FRAGMENT_GLSL

#include "lane.glsl"


/* A scale or offset of row g + 8·high. */
float pair_decode(uvec2 raw, uint g, const uint high)
{
    uint type = WOQ_FLAG_SCALE(args.flags), bits = pair_bits(raw, g, high);
    float half_value = float(unpackFloat2x16(bits & 0xffffu).x);
    return type == WOQ_ABI_F16 ? half_value : uintBitsToFloat(type == WOQ_ABI_F32 ? bits : bits << 16);
}

/* A row in a group of columns. */
struct RowGroup {
    f16vec2 bias;   /* 1024 + zero, twice */
    f16vec2 bias64; /* 64 + zero */
    float scale;
    float offset;   /* ROUNDED with ZERO_OFFSET, else 0 */
};

RowGroup row_group(PairRaw raw, uint g, const uint high)
{
    uint kind = WOQ_FLAG_ZERO(args.flags);
    bool has_offset = ROUNDED && kind == WOQ_ABI_ZERO_OFFSET;
    float zero = kind == WOQ_ABI_ZERO_POINT ? float(pair_byte(raw.zero, g, high))
               : has_offset ? 0.0 : CODE_BITS == 4 ? 8.0 : 128.0;
    return RowGroup(f16vec2(float16_t(1024.0 + zero)), f16vec2(float16_t(64.0 + zero)),
                    pair_decode(raw.scale, g, high),
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
void fragment_row(LaneCodes codes, const uint unit, const uint high, RowGroup r, out f16vec2 pairs[4])
{
#if CODE_BITS == 4
    uint w = codes.v[0][unit * 2u + high];
    const f16vec2 sixteenth = f16vec2(0.0625);
    pairs[0] = unpackFloat2x16((w & 0x000f000fu) | 0x64006400u) - r.bias;
    pairs[1] = fma(unpackFloat2x16((w & 0x00f000f0u) | 0x64006400u), sixteenth, -r.bias64);
    w >>= 8;
    pairs[2] = unpackFloat2x16((w & 0x000f000fu) | 0x64006400u) - r.bias;
    pairs[3] = fma(unpackFloat2x16((w & 0x00f000f0u) | 0x64006400u), sixteenth, -r.bias64);
#else
    UNROLL for (uint i = 0u; i < 2u; i++) {
        uint w = codes.v[unit][high * 2u + i];
        pairs[2u * i] = unpackFloat2x16((w & 0x00ff00ffu) | 0x64006400u) - r.bias;
        pairs[2u * i + 1u] = unpackFloat2x16(((w >> 8) & 0x00ff00ffu) | 0x64006400u) - r.bias;
    }
#endif
    if (!ROUNDED)
        return;
    if (WOQ_FLAG_SCALE(args.flags) == WOQ_ABI_F16 && WOQ_FLAG_ZERO(args.flags) != WOQ_ABI_ZERO_OFFSET) {
        f16vec2 scale = f16vec2(float16_t(r.scale)); /* exact, and one rounding in the product */
        UNROLL for (uint i = 0u; i < 4u; i++)
            pairs[i] *= scale;
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
        v |= half_of_vector(i, f16_encode(weight_at(group, row_at, column + i)));
    }
    return v;
}
#endif

#endif
