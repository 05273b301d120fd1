/*
 * moments.h: second moments of activations, by BLAS.
 */
#ifndef WOQI_MOMENTS_H
#define WOQI_MOMENTS_H

#include <woq/base.h>

struct woqi_moments {
    uint64_t k, n, rows;
    float *h; /* [k][k] Σ x·xᵀ; lower triangle until finished */
    float *c; /* [k][k] Σ (x0 − x)·xᵀ; NULL = not wanted */
    float *r; /* [n][k] Σ d·xᵀ; NULL = not wanted */
};

/* n 0: without r. Returns WOQ_OK; OUT_OF_MEMORY. */
enum woq_status woqi_moments_create(uint64_t k, uint64_t n, bool cross, struct woqi_moments *out);
void woqi_moments_release(struct woqi_moments *m); /* accepts a zeroed one */
/* x, x0: [rows][k]; d: [rows][n]; x0 and d only where wanted. x0 becomes x0 − x. Sums are binary32, of at most 512 rows
 * at a time, which are then added to the total. */
void woqi_moments_add(struct woqi_moments *m, uint64_t rows, const float *x, float *x0, const float *d);
/* Divides by the rows and fills both triangles. INVALID_DATA if a sum is not finite: `name` begins the message. */
enum woq_status woqi_moments_finish(struct woqi_moments *m, const char *name);

#endif
