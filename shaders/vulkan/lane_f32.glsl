/*
 * lane_f32.glsl: codes of a lane (lane.glsl) to FP32, without FP16 or integer conversions.
 *
 * Integers become FP32 by bits: 0x4b000000 | q·2^s is 2^23 + q·2^s where q·2^s < 2^23, and one fma takes 2^-s of it
 * and subtracts 2^(23-s) + zero; each step is exact. So the codes of a word's lower half need no shift, and the upper
 * half one for all of them.
 *
 * Of the including kernel: macro CODE_BITS, constants WEIGHTED (weights are scaled one by one; else q − zero is
 * wanted), PLAIN_BF16 and UNPACK.
 */
#ifndef WOQ_LANE_F32_GLSL
#define WOQ_LANE_F32_GLSL

/* Two 16-bit elements of a word. UNPACK: unpackHalf2x16 keeps subnormals on this device. */
vec2 pair_decode(uint word, bool bf16)
{
    if (bf16)
        return uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u));
    return UNPACK ? unpackHalf2x16(word) : vec2(f16_decode(word & 0xffffu), f16_decode(word >> 16));
}

#if CODE_BITS == 16
/* Row g (high: g+8) in unit 0 or 1. */
void lane_row(LaneCodes codes, const uint unit, const uint high, out float w[8])
{
    uvec4 v = codes.v[unit * 2u + high];
    UNROLL for (uint i = 0u; i < 4u; i++) {
        vec2 pair = pair_decode(v[i], PLAIN_BF16);
        w[2u * i] = pair.x;
        w[2u * i + 1u] = pair.y;
    }
}

/* Columns 4·half_ … 4·half_+3 of a lane's 8, of one unit. */
vec4 unit_four(UnitCodes codes, const uint high, uint half_)
{
    uvec2 pairs = half_ == 0u ? codes.v[high].xy : codes.v[high].zw;
    return vec4(pair_decode(pairs.x, PLAIN_BF16), pair_decode(pairs.y, PLAIN_BF16));
}
#else
/* A row in a group of columns. */
struct LaneRow {
    float scale;
    float offset; /* 0 without ZERO_OFFSET */
    float zero;   /* 0 with it */
};

float scale_decode(uint bits)
{
    uint type = WOQ_FLAG_SCALE(args.flags);
    float half_value = pair_decode(bits & 0xffffu, false).x;
    return type == WOQ_ABI_F16 ? half_value : uintBitsToFloat(type == WOQ_ABI_F32 ? bits : bits << 16);
}

/* Row g + 8·high. */
LaneRow lane_group(PairRaw raw, uint g, const uint high)
{
    uint kind = WOQ_FLAG_ZERO(args.flags);
    float zero = kind == WOQ_ABI_ZERO_POINT    ? uintBitsToFloat(0x4b000000u | pair_byte(raw.zero, g, high)) - 8388608.0
                 : kind == WOQ_ABI_ZERO_OFFSET ? 0.0
                                               : float(1 << (CODE_BITS - 1));
    return LaneRow(scale_decode(pair_bits(raw.scale, g, high)),
                   kind == WOQ_ABI_ZERO_OFFSET ? scale_decode(pair_bits(raw.zero, g, high)) : 0.0, zero);
}

/* ROUNDED to the type in args, FP16 where it is normal (woq/gemm.h) or BF16, on the bits. */
float weight_round(float w)
{
    uint type = WOQ_FLAG_ROUND(args.flags), bits = floatBitsToUint(w);
    uint cut = type == WOQ_ABI_F16 ? 13u : type == WOQ_ABI_BF16 ? 16u : 0u, unit = 1u << cut;
    bits += (unit >> 1) - (cut != 0u ? 1u : 0u) + ((bits >> cut) & (unit >> 1 != 0u ? 1u : 0u));
    return uintBitsToFloat(bits & ~(unit - 1u));
}

/* The code at bit `shift` of a word's lower half, less zero; bias: 2^(23-shift) + zero. */
float code_decode(uint word, const uint shift, float bias)
{
    const uint mask = ((1u << CODE_BITS) - 1u) << shift;
    return fma(uintBitsToFloat((word & mask) | 0x4b000000u), 1.0 / float(1u << shift), -bias);
}

void lane_row(LaneCodes codes, const uint unit, const uint high, LaneRow r, out float w[8])
{
    const float bias = float(1u << (23u - CODE_BITS * high)) + r.zero;
    UNROLL for (uint i = 0u; i < 4u; i++) {
#if CODE_BITS == 4
        uint low_half = codes.v[0][i] >> 8u * unit, high_half = low_half >> 16;
#else
        uint low_half = codes.v[unit][i], high_half = low_half >> 16;
#endif
        w[2u * i] = code_decode(low_half, CODE_BITS * high, bias);
        w[2u * i + 1u] = code_decode(high_half, CODE_BITS * high, bias);
    }
    if (WEIGHTED)
        UNROLL for (uint i = 0u; i < 8u; i++)
            w[i] = weight_round(fma(r.scale, w[i], r.offset));
}

/* Columns 4·half_ … 4·half_+3 of a lane's 8, of one unit; WEIGHTED. */
vec4 unit_four(UnitCodes codes, const uint high, uint half_, LaneRow r)
{
    const uvec2 pairs = half_ == 0u ? codes.v[0].xy : codes.v[0].zw;
    const float bias = float(1u << (23u - CODE_BITS * high)) + r.zero;
    vec4 w = vec4(code_decode(pairs.x, CODE_BITS * high, bias), code_decode(pairs.x >> 16, CODE_BITS * high, bias),
                  code_decode(pairs.y, CODE_BITS * high, bias), code_decode(pairs.y >> 16, CODE_BITS * high, bias));
    UNROLL for (uint i = 0u; i < 4u; i++)
        w[i] = weight_round(fma(r.scale, w[i], r.offset));
    return w;
}
#endif

#endif
