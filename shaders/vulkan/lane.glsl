/*
 * lane.glsl: what a lane of layout FRAG16 (layout.h) loads of the weights: codes of 64 columns, scales and zeros.
 *
 * A lane l = 4g + t takes the 8 columns 8t … 8t+7 of a unit of 32, for the rows g and g+8 of a strip; LaneCodes
 * are those of two units.
 *
 * Of the including kernel: macros CODE_BITS (4, 8, or 16 for plain weights) and UNROLL.
 */
#ifndef WOQ_LANE_GLSL
#define WOQ_LANE_GLSL

layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Fragments { uvec4 w_vectors[]; };

/* 16-byte vectors of a lane for 64 columns. */
const uint LANE_VECTORS = uint(CODE_BITS) / 4u;

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
    codes.v[0] = codes.v[0].zwxy;
#else
    UNROLL for (uint i = 0u; i < LANE_VECTORS / 2u; i++)
        codes.v[i] = codes.v[LANE_VECTORS / 2u + i];
#endif
    return codes;
}

layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Pairs { uvec2 w_pairs[]; };

/* Scales and zeros of a lane's rows g and g+8 of a strip in a group, as they lie in memory, side by side: the 8
 * bytes that hold them. Loaded a block ahead and decoded when needed; always loaded, without a branch,
 * for a compiler waits for what is on its way where branches meet. */
struct PairRaw {
    uvec2 scale;
    uvec2 zero; /* SYMMETRIC: the scale again */
};

PairRaw pair_raw(uint group, uint strip, uint g)
{
    uint index = group * args.scale_stride + strip * 16u + 2u * g, kind = WOQ_FLAG_ZERO(args.flags);
    uint size = type_size(WOQ_FLAG_SCALE(args.flags));
    uint scale_at = args.scales_off + index * size;
    uint zero_at = args.zeros_off + index * (kind == WOQ_ABI_ZERO_POINT ? 1u : size);
    return PairRaw(w_pairs[scale_at >> 3],
                   w_pairs[(kind == WOQ_ABI_ZERO_SYMMETRIC ? scale_at : zero_at) >> 3]);
}

/* The bits of a scale or offset of row g + 8·high, in the low ones if it has 16. */
uint pair_bits(uvec2 raw, uint g, const uint high)
{
    uint both = (g & 1u) == 0u ? raw.x : raw.y;
    if (WOQ_FLAG_SCALE(args.flags) == WOQ_ABI_F32)
        return high == 0u ? raw.x : raw.y;
    return high == 0u ? both & 0xffffu : both >> 16;
}

/* A zero point. */
uint pair_byte(uvec2 raw, uint g, const uint high)
{
    return ((g & 2u) == 0u ? raw.x : raw.y) >> ((g & 1u) * 16u + 8u * high) & 0xffu;
}

#endif
