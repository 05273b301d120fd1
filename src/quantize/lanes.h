/*
 * lanes.h: products of sixteen rows of a matrix at once: a lane is a row, columns are one behind the other.
 *
 * GPTQ and errors of outputs multiply rows that threads share out among themselves, in between of other work on them.
 * A BLAS would do that with threads of its own, and those of OpenMP, which wait busily, would be in their way.
 */
#ifndef WOQI_LANES_H
#define WOQI_LANES_H

#include <stdint.h>

enum { WOQI_LANES = 16 };

typedef float woqi_lanes __attribute__((vector_size(4 * WOQI_LANES), may_alias));

/* sums[c] = Σ of i < count over x[i]·rows[c][i], one after the other; with contraction off every CPU gives the same. */
static inline void woqi_lanes_multiply(uint64_t count, const woqi_lanes *x, const float *const rows[4],
                                       woqi_lanes sums[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    woqi_lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (uint64_t i = 0; i < count; i++) {
        s0 += x[i] * r0[i];
        s1 += x[i] * r1[i];
        s2 += x[i] * r2[i];
        s3 += x[i] * r3[i];
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#endif
