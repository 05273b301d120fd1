/*
 * vector.h: eight floats at a time, for what the model computes on the host.
 *
 * GCC and clang split a vector of 32 bytes where the CPU has shorter ones; they do it badly, so this is
 * the width of the common case: functions of loops over them are marked WOQI_CLONES_256.
 */
#ifndef WOQI_MODEL_VECTOR_H
#define WOQI_MODEL_VECTOR_H

#include <stdint.h>
#include <string.h>

#include "core/clones.h"

#define WOQI_LANES 8

typedef float woqi_vec __attribute__((vector_size(32)));
typedef int32_t woqi_ivec __attribute__((vector_size(32)));

/* Sums of many terms that cancel are in binary64, four at a time. */
#define WOQI_WIDE_LANES 4
typedef double woqi_wide __attribute__((vector_size(32)));
typedef int64_t woqi_wide_int __attribute__((vector_size(32)));

#define WOQI_INLINE static inline __attribute__((always_inline))

WOQI_INLINE woqi_vec woqi_load(const float *p)
{
    woqi_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

WOQI_INLINE void woqi_store(float *p, woqi_vec v)
{
    memcpy(p, &v, sizeof v);
}

WOQI_INLINE woqi_vec woqi_splat(float x)
{
    return (woqi_vec){0} + x;
}

/* Lane by lane where the mask is all ones, else zero. */
WOQI_INLINE woqi_vec woqi_select(woqi_ivec mask, woqi_vec a, woqi_vec b)
{
    return (woqi_vec)((mask & (woqi_ivec)a) | (~mask & (woqi_ivec)b));
}

WOQI_INLINE woqi_vec woqi_max(woqi_vec a, woqi_vec b)
{
    return woqi_select(a > b, a, b);
}

/* Sums and maxima of lanes by halves: an order that does not depend on the CPU. */
WOQI_INLINE float woqi_sum(woqi_vec v)
{
    float x[WOQI_LANES];
    woqi_store(x, v);
    for (int half = WOQI_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}

WOQI_INLINE float woqi_highest(woqi_vec v)
{
    float x[WOQI_LANES];
    woqi_store(x, v);
    for (int i = 1; i < WOQI_LANES; i++)
        x[0] = x[i] > x[0] ? x[i] : x[0];
    return x[0];
}

/*
 * exp(x) for x ≤ 0, and 0 below −87, where binary32 becomes subnormal: x = n·ln 2 + r, |r| ≤ ln 2 / 2,
 * and the Taylor polynomial of degree 7 of exp(r), whose remainder is r^8/8! ≤ 5.2e-9 there; two
 * parts of ln 2 keep r exact to the last bit. Relative error below 2e-7. NaN stays NaN.
 */
WOQI_INLINE woqi_vec woqi_exp(woqi_vec x)
{
    const woqi_vec low = woqi_splat(-87.0f);
    const woqi_ivec tiny = x < low, nan = x != x;
    const woqi_vec given = x;
    x = woqi_select(tiny, low, x);
    const woqi_vec magic = woqi_splat(12582912.0f); /* 1.5·2^23: adding it rounds to an integer */
    woqi_vec shifted = x * 1.44269504f + magic;
    woqi_ivec n = (woqi_ivec)shifted - (woqi_ivec)magic;
    woqi_vec f = shifted - magic;
    woqi_vec r = (x - f * 0.693145752f) - f * 1.42860677e-6f;
    woqi_vec p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    p = (woqi_vec)((woqi_ivec)p + (n << 23));
    return woqi_select(nan, given, (woqi_vec)(~tiny & (woqi_ivec)p));
}

WOQI_INLINE woqi_wide woqi_load_wide(const float *p)
{
    typedef float four __attribute__((vector_size(16)));
    four v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, woqi_wide);
}

WOQI_INLINE woqi_wide woqi_select_wide(woqi_wide_int mask, woqi_wide a, woqi_wide b)
{
    return (woqi_wide)((mask & (woqi_wide_int)a) | (~mask & (woqi_wide_int)b));
}

WOQI_INLINE double woqi_sum_wide(woqi_wide v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/*
 * exp(x) for x ≤ 0, and 0 below −708, where binary64 becomes subnormal: as woqi_exp, with degree 11,
 * whose remainder is r^12/12! ≤ 6.3e-15, and 32 bits in the first part of ln 2. Relative error below
 * 1e-14. NaN stays NaN.
 */
WOQI_INLINE woqi_wide woqi_exp_wide(woqi_wide x)
{
    const woqi_wide low = (woqi_wide){0} - 708.0;
    const woqi_wide_int tiny = x < low, nan = x != x;
    const woqi_wide given = x;
    x = woqi_select_wide(tiny, low, x);
    const woqi_wide magic = (woqi_wide){0} + 0x1.8p52; /* adding it rounds to an integer */
    woqi_wide shifted = x * 0x1.71547652b82fep+0 + magic;
    woqi_wide_int n = (woqi_wide_int)shifted - (woqi_wide_int)magic;
    woqi_wide f = shifted - magic;
    woqi_wide r = (x - f * 0x1.62e42feep-1) - f * 0x1.a39ef35793c76p-33;
    woqi_wide p = r * (1.0 / 39916800) + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    p = (woqi_wide)((woqi_wide_int)p + (n << 52));
    return woqi_select_wide(nan, given, (woqi_wide)(~tiny & (woqi_wide_int)p));
}

#endif
