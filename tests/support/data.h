/*
 * data.h: the arrays of a case, by its seed.
 *
 * integers     codes, zero points, scales (powers of two), X, bias and residual are small, so that
 *              every sum is exact in FP32 and Y must be right to the bit
 * random       normal-like X and bias, scales log-uniform over 2^-8 … 1
 * adversarial  by seed % 6: scales (or plain weights) at the ends of their type's normal range;
 * zero points and codes at 0 and 2^bits − 1; sums that pass 65504 on the way to a small result;
 * results beyond FP16; one row of X with NaN, one with infinity; zero, negative and subnormal
 * scales
 * blocks       weights as random; rows of X by row % 6: 65504 among 1e-3 in each 128 columns; subnormals; zeros; a NaN;
 * an infinity; each 128 columns of a magnitude of their own, some of them subnormal
 * subnormal    by seed % 2: X subnormal in its type and weights large, or scales, offsets and plain weights subnormal
 * and X large; no product is negative, so that what is flushed adds up
 */
#ifndef TEST_DATA_H
#define TEST_DATA_H

#include "cases.h"
#include "oracle.h"

#define DATA_MAX_STACK 4

struct test_data {
    struct woq_weights_source sources[DATA_MAX_STACK];
    uint32_t count;
    bool gated;
    bool exact;     /* struct oracle_product.exact */
    uint64_t rows;  /* of all sources */
    void *x;        /* [m][k] of c->x, dense */
    void *bias;     /* [rows] of c->bias, or NULL */
    void *residual; /* [m][n] of c->y, dense, or NULL */
    void *owned[4 * DATA_MAX_STACK];
    uint32_t owned_count;
};

struct test_random {
    uint64_t state;
};
uint64_t random_bits(struct test_random *r);
uint64_t random_below(struct test_random *r, uint64_t limit); /* 0 … limit − 1 */
double random_uniform(struct test_random *r);                /* 0 ≤ u < 1 */
double random_normal(struct test_random *r);                 /* mean 0, variance about 1 */

/* Returns false if there is no memory. */
bool data_create(const struct test_case *c, struct test_data *out);
void data_destroy(struct test_data *data);

#endif
