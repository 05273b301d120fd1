/*
 * decode_weights.glsl: weights as a tensor of blocks for coopMatLoadTensorNV, whose elements a function decodes to
 * rn_F16(scale·(q − zero) + offset). Layout FRAG16B of layout.h; a block is a strip's 16 rows × 64 columns, the
 * binding's codes are [strip][block].
 *
 * Of the including kernel: macro CODE_BITS (4, 8, or 16 for plain FP16 weights), constants SCALE_TYPE and ZERO_KIND as
 * lane.glsl has them.
 */
#ifndef WOQ_DECODE_WEIGHTS_GLSL
#define WOQ_DECODE_WEIGHTS_GLSL

const uint BLOCK_ROWS = 16u, BLOCK_COLUMNS = 64u, BLOCK_BYTES = uint(CODE_BITS) * 128u;

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Block { uint words[BLOCK_BYTES / 4u]; };

/* The group of the columns that are being loaded, if they have but one. */
uint group_now;
bool group_known;

/* Its word of a row and column, and how far to shift this to find the code. */
uint code_word(const in Block block, uint row, uint column, out uint shift)
{
    const uint unit = column >> 5, lane = ((row & 7u) << 2) + ((column & 31u) >> 3), high = row >> 3, c = column & 7u;
#if CODE_BITS == 4
    shift = (unit << 3) + (high << 2) + ((c & 1u) << 4);
    return block.words[lane * 4u + (c >> 1)];
#elif CODE_BITS == 8
    shift = (high << 3) + ((c & 1u) << 4);
    return block.words[unit * 128u + lane * 4u + (c >> 1)];
#else
    shift = (c & 1u) << 4;
    return block.words[unit * 256u + high * 128u + lane * 4u + (c >> 1)];
#endif
}

/* A scale or offset of number `index` in the table at byte offset `table`, as FP32. */
float table_element(uint table, uint index)
{
    const uint at = table + index * (SCALE_TYPE == WOQ_ABI_F32 ? 4u : 2u), word = w_words[at >> 2];
    if (SCALE_TYPE == WOQ_ABI_F32)
        return uintBitsToFloat(word);
    const uint bits = word >> ((at & 2u) << 3) & 0xffffu;
    return SCALE_TYPE == WOQ_ABI_F16 ? float(unpackFloat2x16(bits).x) : uintBitsToFloat(bits << 16);
}

/* Integers below 1024 become FP16 by bits: 0x6400 | q is 1024 + q. */
float16_t decode_weight(const in Block block, const in uint block_at[2], const in uint in_block[2])
{
    uint shift;
    const uint bits = code_word(block, in_block[0], in_block[1], shift) >> shift;
#if CODE_BITS == 16
    return unpackFloat2x16(bits & 0xffffu).x;
#else
    const uint row = block_at[0] * BLOCK_ROWS + in_block[0], column = block_at[1] * BLOCK_COLUMNS + in_block[1];
    const uint group = group_known ? group_now : min(column, args.k - 1u) / args.group;
    const uint index = group * args.scale_stride + table_row(row);
    const uint zero = ZERO_KIND == WOQ_ABI_ZERO_POINT    ? w_byte(args.zeros_off + index)
                      : ZERO_KIND == WOQ_ABI_ZERO_OFFSET ? 0u
                                                         : 1u << (CODE_BITS - 1);
    const uint code = bits & ((1u << CODE_BITS) - 1u);
    const float16_t q = unpackFloat2x16(0x6400u | code).x - unpackFloat2x16(0x6400u | zero).x;
    if (SCALE_TYPE == WOQ_ABI_F16 && ZERO_KIND != WOQ_ABI_ZERO_OFFSET)
        return q * float16_t(table_element(args.scales_off, index)); /* one rounding */
    float w = float(q) * table_element(args.scales_off, index);
    if (ZERO_KIND == WOQ_ABI_ZERO_OFFSET)
        w += table_element(args.zeros_off, index);
    return float16_t(w);
#endif
}

#endif
