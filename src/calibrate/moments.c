/* moments.c: see moments.h. */
#include "moments.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

enum { ROWS = 512 }; /* summed by one call of BLAS */

enum woq_status woqi_moments_create(uint64_t k, uint64_t n, bool cross, struct woqi_moments *out)
{
    *out = (struct woqi_moments){.k = k, .n = n};
    if (!k || k > INT32_MAX || n > INT32_MAX)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no memory for second moments of %llu columns",
                          (unsigned long long)k);
    out->h = calloc(k, k * sizeof(float));
    if (cross)
        out->c = calloc(k, k * sizeof(float));
    if (n)
        out->r = calloc(n, k * sizeof(float));
    if (out->h && (out->c || !cross) && (out->r || !n))
        return WOQ_OK;
    woqi_moments_release(out);
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for second moments of %llu columns",
                      (unsigned long long)k);
}

void woqi_moments_release(struct woqi_moments *m)
{
    free(m->h);
    free(m->c);
    free(m->r);
    *m = (struct woqi_moments){0};
}

void woqi_moments_add(struct woqi_moments *m, uint64_t rows, const float *x, float *x0, const float *d)
{
    int k = (int)m->k, n = (int)m->n;
    for (uint64_t first = 0; first < rows; first += ROWS) {
        int some = rows - first < ROWS ? (int)(rows - first) : ROWS;
        const float *at = x + first * m->k;
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, k, some, 1, at, k, 1, m->h, k);
        if (m->c) {
            float *difference = x0 + first * m->k;
            for (uint64_t i = 0; i < (uint64_t)some * m->k; i++)
                difference[i] -= at[i];
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, k, some, 1, difference, k, at, k, 1, m->c, k);
        }
        if (m->r)
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, k, some, 1, d + first * m->n, n, at, k, 1, m->r,
                        k);
    }
    m->rows += rows;
}

static bool divide(float *sums, uint64_t count, float rows)
{
    float check = 0; /* NAN once an element is not finite */
    for (uint64_t i = 0; i < count; i++) {
        sums[i] /= rows;
        check += sums[i] * 0;
    }
    return check == 0;
}

enum woq_status woqi_moments_finish(struct woqi_moments *m, const char *name)
{
    float rows = m->rows ? (float)m->rows : 1;
    for (uint64_t i = 0; i < m->k; i++)
        for (uint64_t j = 0; j < i; j++)
            m->h[j * m->k + i] = m->h[i * m->k + j];
    bool finite = divide(m->h, m->k * m->k, rows);
    finite = (!m->c || divide(m->c, m->k * m->k, rows)) && finite;
    finite = (!m->r || divide(m->r, m->n * m->k, rows)) && finite;
    if (finite)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "%s: second moments of its inputs are not finite: activations are not, or too large", name);
}
