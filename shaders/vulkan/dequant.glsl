/*
 * dequant.glsl: weights to binary32, the one place that knows the formats. Layout FRAG16B of layout.h.
 *
 * A row of weights is read group by group: group_begin fetches scale and zero of a row's group,
 * weight_at gives the weight of a column in it, row_begin where the row's codes are. See woq/gemm.h for
 * what EXACT and ROUNDED ask.
 */
#ifndef WOQ_DEQUANT_GLSL
#define WOQ_DEQUANT_GLSL

uint w_byte(uint at)
{
    return (w_words[at >> 2] >> ((at & 3u) << 3)) & 0xffu;
}

uint w_half(uint at)
{
    return (w_words[at >> 2] >> ((at & 2u) << 3)) & 0xffffu;
}

/* Where a row stands in the tables of scales and zeros. */
uint table_row(uint row)
{
    return (row & ~15u) | ((row & 7u) << 1) | ((row >> 3) & 1u);
}

/* w = scale·(q − zero) + offset */
struct Group {
    float scale;
    int zero;
    float offset;
};

/* Of tile row `row`; plain weights have none. */
Group group_begin(uint group, uint row)
{
    Group g = Group(1.0, 0, 0.0);
    uint code = WOQ_FLAG_CODE(args.flags);
    if (code >= WOQ_ABI_WF16)
        return g;
    uint type = WOQ_FLAG_SCALE(args.flags);
    uint index = group * args.scale_stride + table_row(row);
    uint at = args.scales_off + index * type_size(type);
    g.scale = element_decode(w_words[at >> 2], at, type);
    switch (WOQ_FLAG_ZERO(args.flags)) {
    case WOQ_ABI_ZERO_SYMMETRIC:
        g.zero = code == WOQ_ABI_U4 ? 8 : 128;
        break;
    case WOQ_ABI_ZERO_POINT:
        g.zero = int(w_byte(args.zeros_off + index));
        break;
    case WOQ_ABI_ZERO_OFFSET:
        at = args.zeros_off + index * type_size(type);
        g.offset = element_decode(w_words[at >> 2], at, type);
        break;
    }
    return g;
}

/* Byte offset of a tile row's first element; those of the other columns are found from it. Of U4, the upper half of a
 * byte is row g+8. */
uint row_begin(uint row)
{
    uint at = args.codes_off + (row >> 4) * args.codes_stride + ((row & 7u) << 6);
    bool high = (row & 8u) != 0u;
    switch (WOQ_FLAG_CODE(args.flags)) {
    case WOQ_ABI_U4:
        return at;
    case WOQ_ABI_U8:
        return at + (high ? 1u : 0u);
    default:
        return at + (high ? 512u : 0u);
    }
}

/* row: of the tile; row_at: row_begin of it; column: physical. A unit is 32 columns, 8 of them in each of 4 lanes. */
float weight_at(Group g, uint row, uint row_at, uint column)
{
    uint q, unit = column >> 5, at = row_at + ((column & 31u) << 1);
    switch (WOQ_FLAG_CODE(args.flags)) {
    case WOQ_ABI_U4:
        q = (w_byte(at + (unit >> 1) * 512u + (unit & 1u)) >> ((row & 8u) >> 1)) & 15u;
        break;
    case WOQ_ABI_U8:
        q = w_byte(at + unit * 512u);
        break;
    case WOQ_ABI_WF16:
        return f16_decode(w_half(at + unit * 1024u));
    default:
        return uintBitsToFloat(w_half(at + unit * 1024u) << 16);
    }
    float w = g.scale * float(int(q) - g.zero);
    if (WOQ_FLAG_ZERO(args.flags) == WOQ_ABI_ZERO_OFFSET)
        w += g.offset;
    return round_to(w, WOQ_FLAG_ROUND(args.flags));
}

#endif
