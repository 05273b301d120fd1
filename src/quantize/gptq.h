/*
 * gptq.h: GPTQ (Frantar et al., arXiv 2210.17323): codes chosen column by column, the error of each made up for by the
 * columns that follow, in the metric of the inputs' second moments H = Σ x·xᵀ / rows.
 *
 * Groups are static: their grids are chosen before, from the weights as they were, so columns may be visited in any
 * order (largest H first, where asked) and no g_idx is written.
 *
 * Algebra is in double, by LAPACK, with threads of its own; the same number of them gives the same bits. Loops over
 * rows are OpenMP's, and any number of threads gives the same bits.
 */
#ifndef WOQI_GPTQ_H
#define WOQI_GPTQ_H

#include "grid.h"

#include <woq/weights.h>

struct woqi_gptq_params {
    float damping; /* added to H's diagonal, of its mean; 0.01 is the paper's */
    bool order;    /* visit columns by falling diagonal */
};

/* H of one input, ready for any number of matrices: the Cholesky factor of its inverse. */
struct woqi_gptq {
    uint64_t k;
    uint32_t *order; /* [k] column visited at each step; dead ones are the last */
    float *factor;   /* [k][k] lower triangular F, H⁻¹ = F·Fᵀ, in that order: the transpose of the paper's factor */
    float *damped;   /* [k][k] H + damping, in the order of `hessian` */
    float damping;   /* what was added, of the mean of columns that are not dead: more than asked where H was not
                        positive definite (the caller logs that) */
    uint64_t dead;   /* columns whose inputs were all zero: their weights become 0 */
};

/*
 * hessian: [k][k] symmetric, row-major (both triangles). *out is the caller's, released by woqi_gptq_release.
 * Returns WOQ_OK; INVALID_ARGUMENT (damping negative or not finite); INVALID_DATA (not finite, negative diagonal, or
 * not positive definite with the largest damping tried: 10^4 times the one asked; `name` begins the message);
 * OUT_OF_MEMORY.
 */
enum woq_status woqi_gptq_prepare(const char *name, uint64_t k, const float *hessian,
                                  const struct woqi_gptq_params *params, struct woqi_gptq *out);
void woqi_gptq_release(struct woqi_gptq *g);

/*
 * Quantizes w [n][k] on `grids` [n][groups] (one grid for a tensor's scale); codes one a byte, [n][k]. w becomes what
 * the codes stand for. jobs 0 = all. Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (w not finite; it is lost then);
 * OUT_OF_MEMORY.
 */
enum woq_status woqi_gptq_run(const struct woqi_gptq *g, const struct woq_format *format, uint64_t n, float *w,
                              const struct woqi_grid *grids, uint32_t jobs, uint8_t *codes);

/*
 * The weights that give from the quantized model's inputs x what w gives from the original's x0, in least squares:
 *     w += (share·w·C + R)·(H + damping)⁻¹,   C = Σ (x0 − x)·xᵀ / rows  [k][k],
 *                                             R = Σ d·xᵀ / rows        [n][k], d: a further [n] that y should gain
 * so that errors of the layers before are made up for (the asymmetric calibration of GPTAQ, arXiv 2504.02692, with
 * the residual stream's own error as d). cross NULL, residual NULL = 0. share 0 … 1.
 * Returns WOQ_OK; INVALID_DATA (what comes out is not finite); OUT_OF_MEMORY.
 */
enum woq_status woqi_gptq_target(const struct woqi_gptq *g, uint64_t n, float *w, float share, const float *cross,
                                 const float *residual);

/* Σ over rows of e·H·eᵀ, e = w − v: the output's error; v NULL = 0: the output's energy. H's lower triangle is read.
 * NAN if out of memory. */
double woqi_output_error(uint64_t n, uint64_t k, const float *hessian, const float *w, const float *v, uint32_t jobs);

#endif
