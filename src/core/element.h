/* element.h: elements of arrays of F32, F16 or BF16 as binary32, inline for loops over arrays. */
#ifndef WOQI_ELEMENT_H
#define WOQI_ELEMENT_H

#include <stdint.h>
#include <string.h>
#include <woq/base.h>

/* Element `index` of a little-endian array of `type`, which must not be NONE, at any alignment. Exact. */
static inline float woqi_element_load(enum woq_type type, const void *from, uint64_t index)
{
    float value;
    uint16_t bits;
    if (type == WOQ_F32) {
        memcpy(&value, (const uint8_t *)from + 4 * index, sizeof value);
        return value;
    }
    memcpy(&bits, (const uint8_t *)from + 2 * index, sizeof bits);
    return type == WOQ_F16 ? woq_f16_to_f32(bits) : woq_bf16_to_f32(bits);
}

/* The same array's element becomes the value, rounded to nearest even in `type`: infinite beyond its range. */
static inline void woqi_element_store(enum woq_type type, void *to, uint64_t index, float value)
{
    if (type == WOQ_F32) {
        memcpy((uint8_t *)to + 4 * index, &value, sizeof value);
        return;
    }
    const uint16_t bits = type == WOQ_F16 ? woq_f32_to_f16(value) : woq_f32_to_bf16(value);
    memcpy((uint8_t *)to + 2 * index, &bits, sizeof bits);
}

#endif
