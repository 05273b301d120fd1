/*
 * ref_fixed.c: X as integers for math mode FIXED16, in plain C: the text to read before shaders/opencl/xfixed.cl.
 *
 * A prepared row is in shaders/abi.inc; here its integers are in the order of their columns.
 */
#include <math.h>
#include <string.h>

#include "../core/core.h"
#include "ref_backend.h"

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* The exponent of the least power of two s with largest ≤ WOQ_FIXED_MOST · s, at least that of WOQ_FIXED_LEAST. */
static int exponent_of(float largest)
{
    const uint32_t bits = bits_of(largest), fraction = bits & 0x7fffffu;
    const uint32_t most = (WOQ_FIXED_MOST - (1u << 14)) << 9; /* of a number whose exponent is 14 */
    const int exponent = (int)(bits >> 23) - 127 - 14 + (fraction > most);
    return exponent < -(int)WOQ_FIXED_LEAST ? -(int)WOQ_FIXED_LEAST : exponent;
}

/* A block of `count` columns to integers and their scale. */
static float fix_block(const float *x, uint32_t count, int16_t *out)
{
    float largest = 0;
    memset(out, 0, WOQ_FIXED_BLOCK * sizeof *out);
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(x[i]))
            return NAN;
        largest = fmaxf(largest, fabsf(x[i]));
    }
    const int exponent = exponent_of(largest);
    for (uint32_t i = 0; i < count; i++)
        out[i] = (int16_t)lrintf(ldexpf(x[i], -exponent));
    return ldexpf(1, exponent);
}

/* Row m, columns from k on, at most a block; returns how many. */
static uint32_t gather(const struct woqi_args *a, uint8_t *const bind[WOQ_BIND_COUNT], uint32_t m, uint32_t k, float *x)
{
    const enum woq_type type = (enum woq_type)WOQ_FLAG_X(a->flags);
    const uint8_t *row = bind[WOQ_BIND_X] + a->x_off + (uint64_t)m * a->x_stride;
    const uint32_t count = a->k - k < WOQ_FIXED_BLOCK ? a->k - k : WOQ_FIXED_BLOCK;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t column = k + i;
        if (WOQ_FLAG_PERM(a->flags))
            memcpy(&column, bind[WOQ_BIND_WEIGHTS] + a->perm_off + 4 * (uint64_t)(k + i), 4);
        x[i] = column == WOQ_PERM_NONE ? 0 : woqi_element_load(type, row, column);
    }
    return count;
}

/* The words of a segment. */
static void store_terms(const struct woqi_args *a, int32_t sum, uint8_t *to)
{
    int32_t terms[2] = {sum, (-sum & 127) | (int32_t)((uint32_t)(-sum >> 7) << 16)};
    if (WOQ_FLAG_ZERO(a->flags) == WOQ_ABI_ZERO_SYMMETRIC) {
        terms[0] = sum * (WOQ_FLAG_CODE(a->flags) == WOQ_ABI_U4 ? -8 : -128);
        terms[1] = sum * -136; /* no more than 2^22 · 136, and not used with U8 */
    }
    memcpy(to, terms, sizeof terms);
}

void woqi_ref_xfixed(const struct woqi_args *a, uint8_t *const bind[WOQ_BIND_COUNT])
{
    const uint32_t segment = WOQ_FIXED_SEGMENT(a->group), segments = WOQ_FIXED_SEGMENTS(a->group);
    float x[WOQ_FIXED_BLOCK];
    int16_t fixed[WOQ_FIXED_BLOCK];
    for (uint32_t m = 0; m < a->m; m++) {
        uint8_t *to = bind[WOQ_BIND_Y] + a->y_off + (uint64_t)m * a->y_stride;
        for (uint32_t b = 0; b < WOQ_FIXED_BLOCKS(a->k); b++) {
            const float scale = fix_block(x, gather(a, bind, m, b * WOQ_FIXED_BLOCK, x), fixed);
            memcpy(to + (uint64_t)b * sizeof fixed, fixed, sizeof fixed);
            memcpy(to + WOQ_FIXED_SCALES(a->k) + 4 * (uint64_t)b, &scale, 4);
            for (uint32_t s = 0; s < segments; s++) {
                int32_t sum = 0;
                for (uint32_t i = 0; i < segment; i++)
                    sum += fixed[s * segment + i];
                store_terms(a, sum, to + WOQ_FIXED_TERMS(a->k) + WOQ_FIXED_TERM * ((uint64_t)b * segments + s));
            }
        }
    }
}
