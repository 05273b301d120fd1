/*
 * grid.h: scales and zero points of groups, by the range of the weights or by a search.
 *
 * A group of w becomes w ≈ s·(q − z), q = 0 … 2^bits − 1. Symmetric formats have z = 2^(bits−1), so q − z is
 * −2^(bits−1) … 2^(bits−1) − 1; rounding to nearest leaves the lowest code unused, the search does not, and a negative
 * s gives the further code to the other side.
 */
#ifndef WOQI_GRID_H
#define WOQI_GRID_H

#include <woq/format.h>

/* One group's: codes low + zero … high + zero are used; scale is rounded to the format's type and may be negative,
 * 0 = all weights are 0. */
struct woqi_grid {
    float scale, low, high; /* bounds of w / scale */
    unsigned zero;
};

/* The range of w and 0; false if an element is not finite. */
bool woqi_range_of(uint64_t count, const float *w, float *low, float *high);

/* By the range low <= 0 <= high, as rtn.c's header says. */
struct woqi_grid woqi_grid_of_range(const struct woq_format *format, float low, float high);

/*
 * The grid with the least Σ weight[i]·(w[i] − s·(q[i] − z))² of those tried: scales of 1 … 0.5 of the range in 40 equal
 * steps, symmetric ones as rounding to nearest has them and of both signs (the further code on either side); with
 * zero points the nearest z and its neighbours. Of equals the first. weight: importance of each column, NULL = 1;
 * with the diagonal of the Hessian it is what GPTQ and OmniQuant's clipping papers minimize column by column.
 *
 * The search multiplies by 1 / s where woqi_grid_code divides, and sums in binary32: grids that nearly tie may change
 * places. Scales that are 0 or infinite in their type are not tried; where none is left, or where w has an element that
 * is not finite, the grid is that of the range.
 */
struct woqi_grid woqi_grid_search(const struct woq_format *format, uint64_t count, const float *w,
                                  const float *weight);

/* The code of w, and what it stands for. */
static inline unsigned woqi_grid_code(const struct woqi_grid *g, float w)
{
    /* 1.5·2^23: added to |v| < 2^22 it leaves no bit for a fraction, so the sum is rounded to nearest even. */
    const float magic = 12582912.0f;
    float v = g->scale != 0 ? w / g->scale : 0;
    v = v < g->low ? g->low : v;
    v = v > g->high ? g->high : v;
    return (unsigned)((int)((v + magic) - magic) + (int)g->zero);
}
static inline float woqi_grid_value(const struct woqi_grid *g, unsigned code)
{
    return g->scale * (float)((int)code - (int)g->zero);
}

/* All groups of a matrix [n][k]: grids [n][groups], searched by `jobs` threads (0 = all), whose number does not change
 * them. weight: [k], NULL = 1. A tensor's scale: one grid for all.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (a weight that is not finite or too large for the scale: row and
 * column named); OUT_OF_MEMORY. */
enum woq_status woqi_grids_search(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                  const float *weight, uint32_t jobs, struct woqi_grid *out);
/* The same with a third of the scales, 1 … 0.7 of the range: for comparing matrices, not for codes. */
enum woq_status woqi_grids_search_coarse(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                         const float *weight, uint32_t jobs, struct woqi_grid *out);
/* By the range of each group instead. */
enum woq_status woqi_grids_of_range(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                    uint32_t jobs, struct woqi_grid *out);

#endif
