/*
 * gguf_dequant.c: GGUF's blocks to floats. Products of 16-bit scales, 6-bit or 8-bit sub-scales and
 * codes fit in a binary32, so only the additions round, once.
 *
 *   type  elements  value                 block
 *   Q4_0        32  d·(q − 8)             f16 d, 16 bytes of nibbles: low ones are elements 0 … 15,
 *                                         high ones 16 … 31
 *   Q4_1        32  d·q + m               f16 d, f16 m, nibbles
 *   Q5_0        32  d·(q − 16)            f16 d, u32 fifth bits (bit e: element e), nibbles
 *   Q5_1        32  d·q + m               f16 d, f16 m, u32 fifth bits, nibbles
 *   Q8_0        32  d·q                   f16 d, 32 signed bytes
 *   Q4_K       256  (d·s)·q − dmin·m      f16 d, f16 dmin, 12 bytes of 8 scales s and 8 minima m,
 *                                         128 bytes of nibbles
 *   Q5_K       256  (d·s)·q − dmin·m      as Q4_K, with 32 bytes of fifth bits before the nibbles
 *   Q6_K       256  (d·s)·(q − 32)        128 bytes low nibbles, 64 bytes high pairs of bits,
 *                                         16 signed bytes s, f16 d
 */
#include <string.h>

#include "checkpoint/gguf_blocks.h"

static float load_f16(const uint8_t *p)
{
    return woq_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static unsigned load_u16(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

/* ---- Blocks of 32 ---- */

static void unpack_nibbles(const uint8_t *nibbles, uint8_t *codes)
{
    for (unsigned i = 0; i < 16; i++) {
        codes[i] = nibbles[i] & 15;
        codes[i + 16] = nibbles[i] >> 4;
    }
}

static void add_fifth_bits(const uint8_t *bits, uint8_t *codes)
{
    for (unsigned i = 0; i < 32; i++)
        codes[i] |= (uint8_t)((bits[i / 8] >> i % 8 & 1) << 4);
}

/* ---- Super-blocks of 256: eight 6-bit scales and minima in 12 bytes ---- */

/* Sub-blocks 0 … 3 have their scale in the low six bits of byte i and their minimum in byte i +
 * 4; 4 … 7 have the low nibbles in byte i + 4 and the upper two bits on top of bytes i − 4 and
 * i. */
static void unpack_scale(const uint8_t *packed, unsigned i, unsigned *scale, unsigned *minimum)
{
    if (i < 4) {
        *scale = packed[i] & 63;
        *minimum = packed[i + 4] & 63;
    } else {
        *scale = (packed[i + 4] & 15u) | (packed[i - 4] >> 6 & 3u) << 4;
        *minimum = packed[i + 4] >> 4 | (packed[i] >> 6 & 3u) << 4;
    }
}

static void unpack_k(const uint8_t *block, bool fifth, struct woqi_ckpt_block *out)
{
    const float d = load_f16(block), least = load_f16(block + 2);
    const uint8_t *high = block + 16, *nibbles = fifth ? block + 48 : block + 16;
    for (unsigned i = 0; i < 8; i++) {
        unsigned scale, minimum;
        unpack_scale(block + 4, i, &scale, &minimum);
        out->scale[i] = d * (float)scale;
        out->offset[i] = -(least * (float)minimum);
        for (unsigned j = 0; j < 32; j++) {
            const uint8_t pair = nibbles[i / 2 * 32 + j];
            unsigned code = i % 2 ? pair >> 4 : pair & 15u;
            if (fifth)
                code |= (high[j] >> i & 1u) << 4;
            out->codes[32 * i + j] = (uint8_t)code;
        }
    }
}

static void unpack_q6_k(const uint8_t *block, struct woqi_ckpt_block *out)
{
    const uint8_t *low = block, *high = block + 128;
    const float d = load_f16(block + 208);
    for (unsigned e = 0; e < 256; e++) {
        /* Halves of 128; in each, quarters of 32: nibbles low, low, high, high; pairs from bit
         * 0, 2, 4, 6. */
        const unsigned half = e / 128, quarter = e % 128 / 32, j = e % 32;
        const uint8_t byte = low[64 * half + 32 * (quarter % 2) + j];
        const unsigned nibble = quarter < 2 ? byte & 15u : byte >> 4;
        out->codes[e] = (uint8_t)(nibble | (high[32 * half + j] >> 2 * quarter & 3u) << 4);
    }
    for (unsigned i = 0; i < 16; i++)
        out->scale[i] = d * (float)(int8_t)block[192 + i];
}

void woqi_ckpt_unpack_block(enum woq_tensor_type type, const uint8_t *block,
                            struct woqi_ckpt_block *out)
{
    switch (type) {
    case WOQ_TENSOR_Q4_0:
        unpack_nibbles(block + 2, out->codes);
        break;
    case WOQ_TENSOR_Q4_1:
        unpack_nibbles(block + 4, out->codes);
        break;
    case WOQ_TENSOR_Q5_0:
        unpack_nibbles(block + 6, out->codes);
        add_fifth_bits(block + 2, out->codes);
        break;
    case WOQ_TENSOR_Q5_1:
        unpack_nibbles(block + 8, out->codes);
        add_fifth_bits(block + 4, out->codes);
        break;
    case WOQ_TENSOR_Q8_0:
        for (unsigned i = 0; i < 32; i++)
            out->codes[i] = block[2 + i] ^ 0x80; /* two's complement to excess 128 */
        break;
    case WOQ_TENSOR_Q4_K:
        unpack_k(block, false, out);
        return;
    case WOQ_TENSOR_Q5_K:
        unpack_k(block, true, out);
        return;
    case WOQ_TENSOR_Q6_K:
        unpack_q6_k(block, out);
        return;
    default:
        return;
    }
    out->scale_bits = load_u16(block);
    out->offset_bits = load_u16(block + 2); /* if the type has one */
    out->scale[0] = load_f16(block);
    out->offset[0] = load_f16(block + 2);
}

const struct woqi_ckpt_form *woqi_ckpt_block_form(enum woq_tensor_type type)
{
    static const struct woqi_ckpt_form forms[] = {
        [WOQ_TENSOR_Q4_0] = {WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32, 8},
        [WOQ_TENSOR_Q4_1] = {WOQ_CODE_U4, WOQ_ZERO_OFFSET, WOQ_F16, 32, 0},
        [WOQ_TENSOR_Q5_0] = {WOQ_CODE_U8, WOQ_ZERO_POINT, WOQ_F16, 32, 16},
        [WOQ_TENSOR_Q5_1] = {WOQ_CODE_U8, WOQ_ZERO_OFFSET, WOQ_F16, 32, 0},
        [WOQ_TENSOR_Q8_0] = {WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32, 128},
        [WOQ_TENSOR_Q4_K] = {WOQ_CODE_U4, WOQ_ZERO_OFFSET, WOQ_F32, 32, 0},
        [WOQ_TENSOR_Q5_K] = {WOQ_CODE_U8, WOQ_ZERO_OFFSET, WOQ_F32, 32, 0},
        [WOQ_TENSOR_Q6_K] = {WOQ_CODE_U8, WOQ_ZERO_POINT, WOQ_F32, 16, 32},
    };
    const unsigned count = sizeof forms / sizeof *forms;
    return (unsigned)type < count && forms[type].group ? &forms[type] : NULL;
}

/* ---- Rows ---- */

static void plain_row(enum woq_tensor_type type, const uint8_t *row, uint64_t elements, float *out)
{
    if (type == WOQ_TENSOR_F32) {
        memcpy(out, row, elements * 4);
        return;
    }
    for (uint64_t i = 0; i < elements; i++) {
        const uint16_t bits = (uint16_t)load_u16(row + 2 * i);
        out[i] = type == WOQ_TENSOR_F16 ? woq_f16_to_f32(bits) : woq_bf16_to_f32(bits);
    }
}

void woqi_ckpt_dequantize(enum woq_tensor_type type, const uint8_t *row, uint64_t elements,
                          float *out)
{
    const struct woqi_ckpt_form *form = woqi_ckpt_block_form(type);
    if (!form) {
        plain_row(type, row, elements, out);
        return;
    }
    const uint32_t size = woq_tensor_block_elements(type), bytes = woq_tensor_block_bytes(type);
    struct woqi_ckpt_block block;
    for (uint64_t done = 0; done < elements; done += size, row += bytes, out += size) {
        woqi_ckpt_unpack_block(type, row, &block);
        for (uint32_t g = 0; g < size / form->group; g++) {
            const float scale = block.scale[g], offset = block.offset[g];
            const uint8_t *codes = block.codes + (size_t)g * form->group;
            float *to = out + (size_t)g * form->group;
            if (form->zero == WOQ_ZERO_OFFSET)
                for (uint32_t i = 0; i < form->group; i++)
                    to[i] = scale * (float)codes[i] + offset;
            else
                for (uint32_t i = 0; i < form->group; i++)
                    to[i] = scale * (float)(codes[i] - form->zero_point);
        }
    }
}
