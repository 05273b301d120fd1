/*
 * fragment.cuh: what a lane of layout FRAG16B (src/core/layout.h) holds of the weights, as operands of a matrix unit:
 * pairs of FP16 (BF16 false) or of BF16.
 *
 * A lane l = 4g + t has the columns 8t … 8t+7 of a unit of 32, for the rows g and g+8 of a strip. woq_integers turns
 * one row of its codes into four pairs of q − zero, woq_scale_… these into weights, rounded as woq/gemm.h says of
 * ROUNDED.
 *
 * Integers by bits, exact in both types:
 *     FP16   0x6400 | q is 1024 + q for q < 1024, and (0x6400 | 16·q)/16 is 64 + q
 *     BF16   0x4300 | q is 128 + q for q < 128; 8 bits by way of FP32, where 0x4b000000 | q is 2^23 + q
 *
 * BITS: of a code, 4 or 8. BF16 needs sm_80.
 */
#ifndef WOQ_FRAGMENT_CUH
#define WOQ_FRAGMENT_CUH

#include "common.cuh"

/* ---- pairs ---- */

template <bool BF16> static __device__ __forceinline__ woq_u32 woq_fma2(woq_u32 x, woq_u32 y, woq_u32 z)
{
    woq_u32 r;
    if (BF16)
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    else
        asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    return r;
}

static __device__ __forceinline__ woq_u32 woq_add2(woq_u32 x, woq_u32 y)
{
    woq_u32 r;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y));
    return r;
}

/* Rounded to nearest even. */
template <bool BF16> static __device__ __forceinline__ woq_u32 woq_pack(float low, float high)
{
#if __CUDA_ARCH__ >= 800
    woq_u32 r;
    if (BF16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
#else
    return (woq_u32)(BF16 ? woq_to_bf16(low) : woq_to_f16(low)) |
           (woq_u32)(BF16 ? woq_to_bf16(high) : woq_to_f16(high)) << 16;
#endif
}

/* (word & mask) | bits in one instruction. */
static __device__ __forceinline__ woq_u32 woq_mask_or(woq_u32 word, woq_u32 mask, woq_u32 bits)
{
    woq_u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(word), "r"(mask), "r"(bits));
    return r;
}

/* ---- q − zero ---- */

/* Constants in registers, whose values the compiler does not know: it would make two instructions of one. */
template <int BITS, bool BF16> struct woq_magic {
    woq_u32 bits;   /* what a code is put into */
    woq_u32 factor; /* 1/16, FP16; 1, BF16 */
    __device__ __forceinline__ woq_magic(const woq_args &a)
    {
        bits = (BF16 ? BITS == 4 ? 0x43004300u : 0x4b000000u : 0x64006400u) + a.opaque_zero;
        factor = (BF16 ? 0x3f803f80u : 0x2c002c00u) + a.opaque_zero;
    }
};

/* What is added to make the zero point 0. */
template <int BITS, bool BF16> struct woq_zero {
    woq_u32 pair, pair16; /* pair16: FP16 of 4 bits, to codes in the upper half of a byte */
    __device__ __forceinline__ woq_zero() {}
    __device__ __forceinline__ woq_zero(woq_u32 zero)
    {
        if (BF16 && BITS == 8)
            pair = __float_as_uint(-(float)(8388608u + zero));
        else
            pair = (BF16 ? 0xc300c300u : 0xe400e400u) | zero * 0x10001u;
        pair16 = 0xd400d400u | zero * 0x100010u;
    }
};

template <int BITS> static __device__ __forceinline__ woq_u32 woq_symmetric_zero()
{
    return BITS == 4 ? 8u : 128u;
}

/* Codes of a unit: pair i of both rows in word i, as the lane holds them, of 4 bits those of two units. */
struct woq_codes {
    woq_u32 word[4];
    __device__ __forceinline__ woq_codes() {}
    __device__ __forceinline__ woq_codes(const uint4 &v)
    {
        word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
    }
};

/* Of row g + 8·high; unit: 0 or 1, of 4 bits; else the codes are the unit's alone. */
template <int BITS, bool BF16>
static __device__ __forceinline__ void woq_integers(const woq_codes &codes, int unit, int high,
                                                    const woq_zero<BITS, BF16> &zero,
                                                    const woq_magic<BITS, BF16> &magic, woq_u32 pairs[4])
{
    const float minus = __uint_as_float(zero.pair);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const woq_u32 w = codes.word[i];
        if (BITS == 4 && BF16) {
            pairs[i] = woq_fma2<true>(woq_mask_or(w >> (8 * unit + 4 * high), 0x000f000fu, magic.bits), magic.factor,
                                      zero.pair);
        } else if (BITS == 4 && !high) {
            pairs[i] = woq_add2(woq_mask_or(w >> 8 * unit, 0x000f000fu, magic.bits), zero.pair);
        } else if (BITS == 4) {
            pairs[i] = woq_fma2<false>(woq_mask_or(w >> 8 * unit, 0x00f000f0u, magic.bits), magic.factor, zero.pair16);
        } else if (BF16) { /* bytes high and high + 2; both differences fit the upper half of a float */
            const woq_u32 even = __byte_perm(w, magic.bits, 0x7540u + high);
            const woq_u32 odd = __byte_perm(w, magic.bits, 0x7542u + high);
            pairs[i] = __byte_perm(__float_as_uint(__fadd_rn(__uint_as_float(even), minus)),
                                   __float_as_uint(__fadd_rn(__uint_as_float(odd), minus)), 0x7632u);
        } else {
            pairs[i] = woq_add2(__byte_perm(w, magic.bits, 0x5250u + 0x101u * high), zero.pair);
        }
    }
}

/* Of 4 bits, FP16: the codes as they are, subnormals: q·2^-24, of row g + 8 q·2^-20. */
static __device__ __forceinline__ void woq_subnormals(const woq_codes &codes, int unit, int high, woq_u32 pairs[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        pairs[i] = codes.word[i] >> 8 * unit & (high ? 0x00f000f0u : 0x000f000fu);
}

/* Zero points of two rows, in the same units, negative, and what makes 1 of these units. */
static __device__ __forceinline__ float woq_minus_subnormal(woq_u32 zero, int high)
{
    return woq_from_f16((woq_u16)(0x8000u | zero << 4 * high));
}

static __device__ __forceinline__ float woq_subnormal_unit(int high)
{
    return high ? 0x1p20f : 0x1p24f;
}

/* ---- scales and zeros: of the rows g and g+8, side by side in memory ---- */

/* As they lie there: the second word counts if they are FP32. */
static __device__ __forceinline__ float woq_pair_element(woq_u32 type, uint2 raw, int high)
{
    const float narrow = high ? woq_high(type, raw.x) : woq_low(type, raw.x);
    return type == WOQ_ABI_F32 ? __uint_as_float(high ? raw.y : raw.x) : narrow;
}

/* A zero point of the two pairs that an aligned word holds. */
static __device__ __forceinline__ woq_u32 woq_pair_byte(woq_u32 raw, woq_u32 g, int high)
{
    return raw >> ((g & 1u) * 16u + 8u * high) & 255u;
}

/* ---- weights ---- */

/* How scales multiply: FLOATS by way of FP32, and offsets are added; PAIRS as they are, of the operands' type; SPLIT as
 * two BF16, which FP16 scales of weights of 4 bits are. */
enum woq_scaling { WOQ_SCALES_FLOATS, WOQ_SCALES_PAIRS, WOQ_SCALES_SPLIT };

/* q − zero times a scale of the operands' type, twice in a word: one rounding. */
template <bool BF16> static __device__ __forceinline__ void woq_scale_pairs(woq_u32 pairs[4], woq_u32 scale)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        pairs[i] = woq_fma2<BF16>(pairs[i], scale, 0x80008000u); /* − 0, which changes no product */
}

/* An FP16 scale as a sum of two BF16, each twice in a word: its upper 8 significant bits of 11, and the others. */
static __device__ __forceinline__ void woq_split_scale(float scale, woq_u32 &upper, woq_u32 &lower)
{
    const woq_u32 bits = __float_as_uint(scale);
    const float rest = __fsub_rn(scale, __uint_as_float(bits & 0xffff0000u));
    upper = __byte_perm(bits, 0, 0x3232);
    lower = __byte_perm(__float_as_uint(rest), 0, 0x3232);
}

/* rn_BF16(scale·(q − zero)) of 4 bits, with one rounding: lower has 3 significant bits at most and |q − zero| < 16, so
 * that their product is a BF16. */
static __device__ __forceinline__ void woq_scale_split(woq_u32 pairs[4], woq_u32 upper, woq_u32 lower)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        pairs[i] = woq_fma2<true>(pairs[i], upper, woq_fma2<true>(pairs[i], lower, 0x80008000u));
}

/* Of a row of 8 bits at once: rn_BF16(rn_F32(scale·(q − zero) + offset)), which needs no pairs of integers. */
static __device__ __forceinline__ void woq_bytes_scaled(const woq_codes &codes, int high, const woq_zero<8, true> &zero,
                                                        const woq_magic<8, true> &magic, float scale, float offset,
                                                        woq_u32 pairs[4])
{
    const float minus = __uint_as_float(zero.pair);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const woq_u32 even = __byte_perm(codes.word[i], magic.bits, 0x7540u + high);
        const woq_u32 odd = __byte_perm(codes.word[i], magic.bits, 0x7542u + high);
        pairs[i] = woq_pack<true>(__fmaf_rn(__fadd_rn(__uint_as_float(even), minus), scale, offset),
                                  __fmaf_rn(__fadd_rn(__uint_as_float(odd), minus), scale, offset));
    }
}

/* rn(rn_F32(scale·(q − zero) + offset)) */
template <bool BF16>
static __device__ __forceinline__ void woq_scale_floats(woq_u32 pairs[4], float scale, float offset)
{
    const woq_u32 type = BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16;
#pragma unroll
    for (int i = 0; i < 4; i++)
        pairs[i] = woq_pack<BF16>(__fmaf_rn(woq_low(type, pairs[i]), scale, offset),
                                  __fmaf_rn(woq_high(type, pairs[i]), scale, offset));
}

#endif
