/* output_error.c: Σ e·H·eᵀ, of the lower triangle of H. */
#include "gptq.h"

#include "core/clones.h"
#include "lanes.h"
#include "quantizer.h"

#include <math.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Of the lanes of e [k]. */
WOQI_CLONES static double sum_lanes(uint64_t k, const float *hessian, const struct woqi_lanes *e)
{
    double sum = 0;
    for (uint64_t first = 0; first < k; first += 4) {
        const float *rows[4];
        struct woqi_lanes sums[4];
        for (uint64_t c = 0; c < 4; c++)
            rows[c] = hessian + (first + c < k ? first + c : k - 1) * k;
        woqi_lanes_multiply(first, e, rows, sums);
        for (uint64_t c = 0; c < 4 && first + c < k; c++) {
            const float *own = e[first + c].at;
            for (uint64_t i = first; i < first + c; i++)
                for (int lane = 0; lane < WOQI_LANES; lane++)
                    sums[c].at[lane] += e[i].at[lane] * rows[c][i];
            for (int lane = 0; lane < WOQI_LANES; lane++)
                sum += (double)own[lane] * (double)(2 * sums[c].at[lane] + own[lane] * rows[c][first + c]);
        }
    }
    return sum;
}

double woqi_output_error(uint64_t n, uint64_t k, const float *hessian, const float *w, const float *v, uint32_t jobs)
{
    uint64_t tiles = (n + WOQI_LANES - 1) / WOQI_LANES;
    jobs = woqi_jobs(jobs);
    struct woqi_lanes *scratch = aligned_alloc(sizeof *scratch, jobs * k * sizeof *scratch);
    double *sums = malloc(tiles * sizeof *sums), sum = 0;
    if (!scratch || !sums) {
        free(scratch);
        free(sums);
        return (double)NAN;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static)
#endif
    for (uint64_t t = 0; t < tiles; t++) {
#ifdef _OPENMP
        struct woqi_lanes *e = scratch + (uint64_t)omp_get_thread_num() * k;
#else
        struct woqi_lanes *e = scratch;
#endif
        for (uint64_t lane = 0; lane < WOQI_LANES; lane++) {
            uint64_t row = t * WOQI_LANES + lane;
            for (uint64_t c = 0; c < k; c++)
                e[c].at[lane] = row >= n ? 0 : v ? w[row * k + c] - v[row * k + c] : w[row * k + c];
        }
        sums[t] = sum_lanes(k, hessian, e);
    }
    for (uint64_t t = 0; t < tiles; t++)
        sum += sums[t];
    free(scratch);
    free(sums);
    return sum;
}
