/* half_value.h: binary16 to binary32, inline for loops over arrays. */
#ifndef WOQI_HALF_VALUE_H
#define WOQI_HALF_VALUE_H

#include <stdint.h>
#include <string.h>

/* Exact for all bits; a NaN keeps its payload. */
static inline float woqi_half_value(uint16_t bits)
{
    uint32_t exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff, word;
    float small = (float)(int32_t)mantissa * 0x1p-24f; /* zero or subnormal */
    memcpy(&word, &small, sizeof word);
    word = exponent ? (exponent == 0x1f ? 255 : exponent + 112) << 23 | mantissa << 13 : word;
    word |= (uint32_t)(bits & 0x8000) << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

#endif
