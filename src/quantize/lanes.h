/*
 * lanes.h: products of sixteen rows of a matrix at once: a lane is a row, columns are one behind the other.
 *
 * GPTQ and errors of outputs multiply rows that threads share out among themselves, in between of other work on them.
 * A BLAS would do that with threads of its own, and those of OpenMP, which wait busily, would be in their way.
 *
 * Plain loops over lanes: GCC makes whole vectors of them, of any width, and keeps the sums in registers.
 */
#ifndef WOQI_LANES_H
#define WOQI_LANES_H

#include <stdint.h>

enum { WOQI_LANES = 16 };

struct woqi_lanes {
    float at[WOQI_LANES];
};

/* sums[c] = Σ of i < count over x[i]·rows[c][i], one after the other; with contraction off every CPU gives the same.
 * Part of its caller, whose set of instructions it takes. */
static inline __attribute__((always_inline)) void woqi_lanes_multiply(uint64_t count, const struct woqi_lanes *x,
                                                                      const float *const rows[4],
                                                                      struct woqi_lanes sums[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    float s0[WOQI_LANES] = {0}, s1[WOQI_LANES] = {0}, s2[WOQI_LANES] = {0}, s3[WOQI_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) {
        float f0 = r0[i], f1 = r1[i], f2 = r2[i], f3 = r3[i];
        for (int lane = 0; lane < WOQI_LANES; lane++) {
            float v = x[i].at[lane];
            s0[lane] += v * f0;
            s1[lane] += v * f1;
            s2[lane] += v * f2;
            s3[lane] += v * f3;
        }
    }
    for (int lane = 0; lane < WOQI_LANES; lane++) {
        sums[0].at[lane] = s0[lane];
        sums[1].at[lane] = s1[lane];
        sums[2].at[lane] = s2[lane];
        sums[3].at[lane] = s3[lane];
    }
}

#endif
