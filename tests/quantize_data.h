/* quantize_data.h: what tests of quantizing one matrix share. Include after cmocka.h. */
#ifndef TEST_QUANTIZE_DATA_H
#define TEST_QUANTIZE_DATA_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/grid.h"
#include "support/folder.h"
#include "support/make_format.h"

/* Nearly normal, mean 0, standard deviation 0.06. */
static inline void fill(float *w, uint64_t count, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (uint64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int j = 0; j < 6; j++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            sum += (double)(x >> 11) / 9007199254740992.0 - 0.5;
        }
        w[i] = (float)(sum * 0.085);
    }
}

static inline float *make_random(uint64_t count, uint64_t seed)
{
    float *w = malloc(count * sizeof *w);
    assert_non_null(w);
    fill(w, count, seed);
    return w;
}

/* x [rows][k], whose columns have some of the others in them and grow 8-fold from the first to the last. */
static inline float *make_inputs(uint64_t rows, uint64_t k, uint64_t seed)
{
    float *x = make_random(rows * k, seed);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < k; i++) {
            float before = i ? x[r * k + i - 1] : 0, far = i > 7 ? x[r * k + i - 7] : 0;
            x[r * k + i] = (x[r * k + i] + 0.55f * before + 0.3f * far) * (1 + 0.1f * (float)(i % 3));
        }
    for (uint64_t i = 0; i < rows * k; i++)
        x[i] *= powf(8, (float)(i % k) / (float)k);
    return x;
}

/* Σ aᵀ·b / rows, [n][k], of a [rows][n] and b [rows][k]. */
static inline double *make_moments(uint64_t rows, uint64_t n, const float *a, uint64_t k, const float *b)
{
    double *sums = calloc(n * k, sizeof *sums);
    assert_non_null(sums);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t j = 0; j < k; j++)
                sums[i * k + j] += (double)a[r * n + i] * (double)b[r * k + j] / (double)rows;
    return sums;
}

static inline float *make_hessian(uint64_t rows, uint64_t k, const float *x)
{
    double *sums = make_moments(rows, k, x, k, x);
    float *h = malloc(k * k * sizeof *h);
    assert_non_null(h);
    for (uint64_t i = 0; i < k * k; i++)
        h[i] = (float)sums[i];
    free(sums);
    return h;
}

/* Σ of e·H·eᵀ, e = w − v. */
static inline double naive_error(uint64_t n, uint64_t k, const float *h, const float *w, const float *v)
{
    double sum = 0;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t i = 0; i < k; i++) {
            double product = 0;
            for (uint64_t j = 0; j < k; j++)
                product += (double)h[i * k + j] * ((double)w[r * k + j] - (v ? (double)v[r * k + j] : 0));
            sum += product * ((double)w[r * k + i] - (v ? (double)v[r * k + i] : 0));
        }
    return sum;
}

/* The grid of a row and column. */
static inline const struct woqi_grid *grid_at(const struct woq_format *f, uint64_t k, const struct woqi_grid *grids,
                                              uint64_t row, uint64_t column)
{
    if (f->group == WOQ_GROUP_TENSOR)
        return grids;
    if (f->group == WOQ_GROUP_CHANNEL || f->group >= k)
        return grids + row;
    return grids + row * ((k + f->group - 1) / f->group) + column / f->group;
}

/* Rounded to nearest on the grids. */
static inline float *round_all(const struct woq_format *f, uint64_t n, uint64_t k, const struct woqi_grid *grids,
                               const float *w)
{
    float *v = malloc(n * k * sizeof *v);
    assert_non_null(v);
    for (uint64_t i = 0; i < n * k; i++) {
        const struct woqi_grid *g = grid_at(f, k, grids, i / k, i % k);
        v[i] = woqi_grid_value(g, woqi_grid_code(g, w[i]));
    }
    return v;
}

#endif
