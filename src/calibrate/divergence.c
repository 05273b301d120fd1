/* divergence.c: KL of two softmaxes, eight doubles at a time. */
#include "divergence.h"

#include "../quantize/clones.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8 };
typedef double doubles __attribute__((vector_size(8 * LANES), may_alias));
typedef int64_t integers __attribute__((vector_size(8 * LANES), may_alias));
typedef uint64_t wholes __attribute__((vector_size(8 * LANES), may_alias));
typedef int32_t halves __attribute__((vector_size(4 * LANES), may_alias));
typedef float floats __attribute__((vector_size(4 * LANES), may_alias));

/*
 * exp(x) for −700 ≤ x ≤ 0: x = n·ln 2 + r, |r| ≤ ln 2 / 2, and the Taylor polynomial of degree 12 of exp(r), whose
 * remainder is r^13/13! ≤ 2e-16. Two parts of ln 2, the first with 32 bits, so that n times it is exact.
 */
static inline __attribute__((always_inline)) doubles exponential(doubles x)
{
    const double magic = 6755399441055744.0; /* 1.5·2^52: adding it rounds to an integer */
    const doubles shifted = x * 1.4426950408889634 + magic, n = shifted - magic;
    const doubles r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    doubles p = r * (1.0 / 479001600) + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
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
    return (doubles)((wholes)p + ((wholes)shifted << 52));
}

/* Eight from i on; behind the end −∞, which is capped to what counts for nothing: e^−700. */
static inline __attribute__((always_inline)) doubles eight(const float *x, size_t i, size_t count)
{
    floats v;
    if (i + LANES <= count) {
        memcpy(&v, x + i, sizeof v);
    } else {
        v = (floats){0} - INFINITY;
        memcpy(&v, x + i, (count - i) * sizeof *x);
    }
    return __builtin_convertvector(v, doubles);
}

static inline __attribute__((always_inline)) doubles capped(doubles x)
{
    const integers low = x < -700.0;
    return (doubles)((low & (integers)((doubles){0} - 700.0)) | (~low & (integers)x));
}

static inline __attribute__((always_inline)) double total(doubles v)
{
    double x[LANES];
    memcpy(x, &v, sizeof x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}

/* The largest, or NaN where one is not finite. */
WOQI_CLONES static float largest(size_t count, const float *x)
{
    floats top = (floats){0} - INFINITY, zeros = {0}, v;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        memcpy(&v, x + i, sizeof v);
        const halves more = v > top;
        top = (floats)((more & (halves)v) | (~more & (halves)top));
        zeros += v * 0.0f;
    }
    float best = top[0], zero = 0;
    for (int lane = 0; lane < LANES; lane++) {
        best = top[lane] > best ? top[lane] : best;
        zero += zeros[lane];
    }
    for (; i < count; i++) {
        best = x[i] > best ? x[i] : best;
        zero += x[i] * 0.0f;
    }
    return best + zero;
}

/* Σ eᵃ, Σ eᵇ, Σ eᵃ·(b − a), of logits from their largest down. */
WOQI_CLONES static void sum(size_t count, const float *a, const float *b, double a_top, double b_top, double out[3])
{
    doubles p = {0}, q = {0}, d = {0};
    for (size_t i = 0; i < count; i += LANES) {
        const doubles x = eight(a, i, count) - a_top, y = eight(b, i, count) - b_top;
        const doubles u = capped(x), v = capped(y), e = exponential(u);
        p += e;
        q += exponential(v);
        d += e * (v - u);
    }
    out[0] = total(p);
    out[1] = total(q);
    out[2] = total(d);
}

double woqi_divergence(size_t count, const float *a, const float *b)
{
    const float a_top = largest(count, a), b_top = largest(count, b);
    double sums[3];
    if (!isfinite(a_top) || !isfinite(b_top))
        return (double)NAN;
    sum(count, a, b, (double)a_top, (double)b_top, sums);
    const double kl = log(sums[1]) - log(sums[0]) - sums[2] / sums[0];
    return kl > 0 ? kl : 0;
}
