/*
 * lane.glsl: what a lane of layout FRAG16B (layout.h) loads of the weights: codes of 64 columns, scales and zeros.
 *
 * A lane l = 4g + t takes the 8 columns 8t … 8t+7 of a unit of 32, for the rows g and g+8 of a strip; LaneCodes
 * are those of two units.
 *
 * Of the including kernel: macros CODE_BITS (4, 8, or 16 for plain weights) and UNROLL; SPECIALIZED 1 and
 * SCALE_TYPE, ZERO_KIND if the type of scales (WOQ_ABI_F16 …) and the kind of zeros are constants of it.
 */
#ifndef WOQ_LANE_GLSL
#define WOQ_LANE_GLSL

#ifndef SPECIALIZED
#define SPECIALIZED 0
#define SCALE_TYPE WOQ_FLAG_SCALE(args.flags)
#define ZERO_KIND WOQ_FLAG_ZERO(args.flags)
#endif

layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Fragments { uvec4 w_vectors[]; };
layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Pairs { uvec2 w_pairs[]; };
#if STORAGE16
layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Halves { uint16_t w_halves[]; };
#endif

/* 16-byte vectors of a lane for 64 columns, and for 32 of them (U4: half of each word). */
const uint LANE_VECTORS = uint(CODE_BITS) / 4u, UNIT_VECTORS = CODE_BITS == 4 ? 1u : LANE_VECTORS / 2u;

struct LaneCodes {
    uvec4 v[LANE_VECTORS];
};

/* at: of the strip's first vector of this lane; block: of 64 columns. */
LaneCodes lane_load(uint at, uint block)
{
    LaneCodes codes;
    at += block * LANE_VECTORS * 32u;
    UNROLL for (uint i = 0u; i < LANE_VECTORS; i++)
        codes.v[i] = w_vectors[at + 32u * i];
    return codes;
}

/* The second unit in the first one's place, for kernels that take units in a loop. */
LaneCodes second_unit(LaneCodes codes)
{
#if CODE_BITS == 4
    codes.v[0] >>= 8u;
#else
    UNROLL for (uint i = 0u; i < UNIT_VECTORS; i++)
        codes.v[i] = codes.v[UNIT_VECTORS + i];
#endif
    return codes;
}

/* Codes of one unit, for kernels that take units one by one: of U4 in the lower bytes of halves of words, whatever is
 * above them. */
struct UnitCodes {
    uvec4 v[UNIT_VECTORS];
};

/* at: of the strip's first vector of this lane. */
UnitCodes unit_load(uint at, uint unit)
{
    UnitCodes codes;
#if CODE_BITS == 4
    codes.v[0] = w_vectors[at + (unit >> 1) * 32u] >> 8u * (unit & 1u);
#else
    UNROLL for (uint i = 0u; i < UNIT_VECTORS; i++)
        codes.v[i] = w_vectors[at + (unit * UNIT_VECTORS + i) * 32u];
#endif
    return codes;
}

/* Scales and zeros of a lane's rows g and g+8 of a strip in a group, as they lie in memory, side by side: the 4 or 8
 * bytes that hold them. Loaded a block ahead and decoded when needed; always loaded, without a branch,
 * for a compiler waits for what is on its way where branches meet. */
struct PairRaw {
    uvec2 scale;
    uvec2 zero; /* SYMMETRIC: the scale again, or nothing */
};

#if SPECIALIZED
/* Two elements of `type` from byte offset `at` on. */
uvec2 pair_of(uint at, const uint type)
{
    return type == WOQ_ABI_F32 ? w_pairs[at >> 3] : uvec2(w_words[at >> 2], 0u);
}
#endif

PairRaw pair_raw(uint group, uint strip, uint g)
{
    uint index = group * args.scale_stride + strip * 16u + 2u * g, size = type_size(SCALE_TYPE);
    uint scale_at = args.scales_off + index * size;
    uint zero_at = args.zeros_off + index * (ZERO_KIND == WOQ_ABI_ZERO_POINT ? 1u : size);
#if SPECIALIZED
    uvec2 zero = uvec2(0u);
    if (ZERO_KIND == WOQ_ABI_ZERO_POINT) {
#if STORAGE16
        zero.x = uint(w_halves[zero_at >> 1]);
#else
        zero.x = w_words[zero_at >> 2] >> ((zero_at & 2u) << 3);
#endif
    } else if (ZERO_KIND == WOQ_ABI_ZERO_OFFSET) {
        zero = pair_of(zero_at, SCALE_TYPE);
    }
    return PairRaw(pair_of(scale_at, SCALE_TYPE), zero);
#else
    return PairRaw(w_pairs[scale_at >> 3],
                   w_pairs[(ZERO_KIND == WOQ_ABI_ZERO_SYMMETRIC ? scale_at : zero_at) >> 3]);
#endif
}

/* The bits of a scale or offset of row g + 8·high, in the low ones if it has 16. */
uint pair_bits(uvec2 raw, uint g, const uint high)
{
    uint both = SPECIALIZED != 0 || (g & 1u) == 0u ? raw.x : raw.y;
    if (SCALE_TYPE == WOQ_ABI_F32)
        return high == 0u ? raw.x : raw.y;
    return high == 0u ? both & 0xffffu : both >> 16;
}

/* A zero point. */
uint pair_byte(uvec2 raw, uint g, const uint high)
{
#if SPECIALIZED
    return raw.x >> (8u * high) & 0xffu;
#else
    return ((g & 2u) == 0u ? raw.x : raw.y) >> ((g & 1u) * 16u + 8u * high) & 0xffu;
#endif
}

#endif
