/*
 * awq.h: AWQ (Lin et al., arXiv 2306.00978): channels of the input that carry large activations are scaled up in the
 * weights and down in what comes before them, so that rounding hurts them less.
 */
#ifndef WOQI_AWQ_H
#define WOQI_AWQ_H

#include "grid.h"

#include <woq/weights.h>

/* Matrices that share an input: q/k/v, gate/up, or one. */
struct woqi_awq_matrix {
    const struct woq_format *format;
    uint64_t n;
    const float *w; /* [n][k] */
};

/*
 * Scales s [k] > 0 of the channels: mean|x|^a, made so that the least and the largest are reciprocal, with the a of
 * 0, 1/20 … 19/20 whose rounded W·s (on grids of woqi_grids_search_coarse), divided by s again, has the least error of
 * the outputs Σ e·H·eᵀ over all matrices. mean_abs: mean |x| of each channel, of which 10^-5 of the largest counts at
 * least; hessian [k][k], its lower triangle. *exponent is a; s is all ones where 0 is best.
 * Rows are sampled (at most 512 of each matrix, evenly) for the search.
 * Returns WOQ_OK; INVALID_DATA (no exponent gives finite weights, or mean_abs is not finite); OUT_OF_MEMORY.
 */
enum woq_status woqi_awq_search(uint64_t k, const float *mean_abs, const float *hessian, uint32_t count,
                                const struct woqi_awq_matrix *matrices, uint32_t jobs, float *s, float *exponent);

#endif
