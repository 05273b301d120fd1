/* awq.c: see awq.h. */
#include "awq.h"

#include "gptq.h"
#include "quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 512, EXPONENTS = 20 };

static const double floor_of_mean = 1e-5; /* of the largest; a channel that is never used must not decide */

/* s [k] = mean^a, the least times the largest 1. */
static void make_scales(uint64_t k, const float *mean_abs, double largest, double exponent, float *s)
{
    double least = INFINITY, most = 0;
    for (uint64_t i = 0; i < k; i++) {
        double mean = (double)mean_abs[i] / largest, scale = pow(mean > floor_of_mean ? mean : floor_of_mean, exponent);
        least = scale < least ? scale : least;
        most = scale > most ? scale : most;
        s[i] = (float)scale;
    }
    float middle = (float)sqrt(least * most);
    for (uint64_t i = 0; i < k; i++)
        s[i] /= middle;
}

/* Sampled rows of w and w·s rounded ÷ s, [rows][k]. */
struct sample {
    float *plain, *rounded;
    struct woqi_grid *grids;
};

static enum woq_status round_scaled(uint64_t k, const struct woq_format *format, uint64_t rows, const float *s,
                                    uint32_t jobs, struct sample *sample)
{
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(format, rows, k, &sizes);
    if (st)
        return st;
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t i = 0; i < k; i++)
            sample->rounded[row * k + i] = sample->plain[row * k + i] * s[i];
    if ((st = woqi_grids_search_coarse(format, rows, k, sample->rounded, NULL, jobs, sample->grids)))
        return st;
    uint64_t group = sizes.groups == 1 ? k : format->group;
    uint64_t groups = format->group == WOQ_GROUP_TENSOR ? 0 : sizes.groups;
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static)
#endif
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t i = 0; i < k; i++) {
            const struct woqi_grid *g = sample->grids + row * groups + i / group;
            float *v = sample->rounded + row * k + i;
            *v = woqi_grid_value(g, woqi_grid_code(g, *v)) / s[i];
        }
    return WOQ_OK;
}

/* The error of the outputs of all matrices with scales s; infinite if they cannot be rounded. */
static enum woq_status error_with(uint64_t k, const float *hessian, uint32_t count,
                                  const struct woqi_awq_matrix *matrices, const float *s, uint32_t jobs,
                                  struct sample *sample, double *error)
{
    *error = 0;
    for (uint32_t m = 0; m < count; m++) {
        uint64_t n = matrices[m].n, rows = n < SAMPLE ? n : SAMPLE;
        for (uint64_t i = 0; i < rows; i++)
            memcpy(sample->plain + i * k, matrices[m].w + i * n / rows * k, k * sizeof(float));
        enum woq_status st = round_scaled(k, matrices[m].format, rows, s, jobs, sample);
        if (st == WOQ_ERROR_INVALID_DATA)
            *error = INFINITY;
        else if (st)
            return st;
        /* A sampled row stands for n / rows of them. */
        else
            *error +=
                woqi_output_error(rows, k, hessian, sample->plain, sample->rounded, jobs) * (double)n / (double)rows;
    }
    return isnan(*error) ? woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for errors of %llu inputs",
                                      (unsigned long long)k)
                         : WOQ_OK;
}

enum woq_status woqi_awq_search(uint64_t k, const float *mean_abs, const float *hessian, uint32_t count,
                                const struct woqi_awq_matrix *matrices, uint32_t jobs, float *s, float *exponent)
{
    double largest = 0, best = INFINITY;
    int found = -1;
    *exponent = 0;
    for (uint64_t i = 0; i < k; i++) {
        if (!(mean_abs[i] >= 0 && isfinite(mean_abs[i])))
            return woq_report(WOQ_ERROR_INVALID_DATA, "the mean of |x| of input %llu is %g", (unsigned long long)i,
                              (double)mean_abs[i]);
        largest = (double)mean_abs[i] > largest ? (double)mean_abs[i] : largest;
    }
    largest = largest > 0 ? largest : 1;
    jobs = woqi_jobs(jobs);
    if (k > SIZE_MAX / SAMPLE / sizeof(struct woqi_grid))
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no memory for %llu inputs", (unsigned long long)k);
    struct sample sample = {malloc(SAMPLE * k * sizeof(float)), malloc(SAMPLE * k * sizeof(float)),
                            malloc(SAMPLE * k * sizeof(struct woqi_grid))};
    enum woq_status st = WOQ_OK;
    if (!sample.plain || !sample.rounded || !sample.grids)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for samples of %llu inputs", (unsigned long long)k);
    for (int i = 0; !st && i < EXPONENTS; i++) {
        double error;
        make_scales(k, mean_abs, largest, (double)i / EXPONENTS, s);
        st = error_with(k, hessian, count, matrices, s, jobs, &sample, &error);
        if (!st && error < best) {
            best = error;
            found = i;
        }
    }
    if (!st && found < 0)
        st = WOQ_ERROR_INVALID_DATA; /* reported by the search of grids */
    free(sample.plain);
    free(sample.rounded);
    free(sample.grids);
    if (st)
        return st;
    *exponent = (float)found / EXPONENTS;
    make_scales(k, mean_abs, largest, (double)found / EXPONENTS, s);
    return WOQ_OK;
}
