/*
 * fragment.glsl: weights as operands of a matrix unit, layout FRAG16 of layout.h.
 *
 * A lane l = 4g + t takes the 8 columns 8t … 8t+7 of a unit of 32, for the rows g and g+8 of a strip.
 * LaneCodes are those of 64 columns (two units), as loaded; fragment_row decodes one row of one unit to
 * four pairs of FP16. EXACT: q − zero, an integer; ROUNDED: rn_F16(scale·(q − zero)), see woq/gemm.h.
 *
 * Integers become FP16 by bits: 0x6400 | q is 1024 + q for q < 1024, and (0x6400 | 16·q)/16 is 64 + q.
 *
 * Of the including kernel: macro CODE_BITS (4, 8, or 16 for FP16), constant ROUNDED.
 */
#ifndef WOQ_FRAGMENT_GLSL
#define WOQ_FRAGMENT_GLSL

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
    [[unroll]] for (uint i = 0u; i < LANE_VECTORS; i++)
        codes.v[i] = w_vectors[at + 32u * i];
    return codes;
}

/* Scale and zero of a row in a group as they lie in memory. Loaded a block ahead and decoded when needed; always
 * loaded, without a branch, for a compiler waits for what is on its way where branches meet. */
struct RowRaw {
    uint scale;
    uint zero; /* SYMMETRIC: the scale again */
};

/* Element `index` of a table at byte offset `table`, in the low bits. */
uint raw_load(uint table, uint index, uint size)
{
    uint at = table + index * size;
    return w_words[at >> 2] >> ((at & 3u) << 3);
}

RowRaw row_raw(uint group, uint row)
{
    uint index = group * args.scale_stride + row, kind = WOQ_FLAG_ZERO(args.flags);
    uint size = type_size(WOQ_FLAG_SCALE(args.flags));
    return RowRaw(raw_load(args.scales_off, index, size),
                  raw_load(kind == WOQ_ABI_ZERO_SYMMETRIC ? args.scales_off : args.zeros_off, index,
                           kind == WOQ_ABI_ZERO_POINT ? 1u : size));
}

float scale_decode(uint raw)
{
    uint type = WOQ_FLAG_SCALE(args.flags);
    float half_value = float(unpackFloat2x16(raw).x);
    return type == WOQ_ABI_F16 ? half_value : uintBitsToFloat(type == WOQ_ABI_F32 ? raw : raw << 16);
}

/* A row in a group of columns. */
struct RowGroup {
    f16vec2 bias;   /* 1024 + zero, twice */
    f16vec2 bias64; /* 64 + zero */
    float scale;
    float offset;   /* ROUNDED with ZERO_OFFSET, else 0 */
};

RowGroup row_group(RowRaw raw)
{
    uint kind = WOQ_FLAG_ZERO(args.flags);
    bool has_offset = ROUNDED && kind == WOQ_ABI_ZERO_OFFSET;
    float zero = kind == WOQ_ABI_ZERO_POINT ? float(raw.zero & 0xffu)
               : has_offset ? 0.0 : CODE_BITS == 4 ? 8.0 : 128.0;
    return RowGroup(f16vec2(float16_t(1024.0 + zero)), f16vec2(float16_t(64.0 + zero)),
                    scale_decode(raw.scale), has_offset ? scale_decode(raw.zero) : 0.0);
}

#if CODE_BITS == 16
/* A row (high: row g+8) in unit 0 or 1. */
void fragment_plain(LaneCodes codes, const uint unit, const uint high, out f16vec2 pairs[4])
{
    uvec4 v = codes.v[unit * 2u + high];
    [[unroll]] for (uint i = 0u; i < 4u; i++)
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
    [[unroll]] for (uint i = 0u; i < 2u; i++) {
        uint w = codes.v[unit][high * 2u + i];
        pairs[2u * i] = unpackFloat2x16((w & 0x00ff00ffu) | 0x64006400u) - r.bias;
        pairs[2u * i + 1u] = unpackFloat2x16(((w >> 8) & 0x00ff00ffu) | 0x64006400u) - r.bias;
    }
#endif
    if (!ROUNDED)
        return;
    if (WOQ_FLAG_SCALE(args.flags) == WOQ_ABI_F16 && WOQ_FLAG_ZERO(args.flags) != WOQ_ABI_ZERO_OFFSET) {
        f16vec2 scale = f16vec2(float16_t(r.scale)); /* exact, and one rounding in the product */
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            pairs[i] *= scale;
    } else {
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            pairs[i] = f16vec2(vec2(pairs[i]) * r.scale + r.offset);
    }
}
#endif

#endif
