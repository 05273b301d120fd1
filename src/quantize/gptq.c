/*
 * gptq.c: the metric of GPTQ: factors and targets. gptq_run.c chooses the codes; output_error.c measures.
 *
 * F comes from one Cholesky factorization, of the matrix with its rows and columns in reverse order: J·H·J = L·Lᵀ makes
 * H = M·Mᵀ with the upper triangular M = J·L·J, so H⁻¹ = M⁻ᵀ·M⁻¹ and F = M⁻ᵀ = J·L⁻ᵀ·J. No inverse of H is formed. What
 * LAPACK leaves, L⁻¹ column-major, is L⁻ᵀ row-major, and J·A·J is the array A backwards.
 */
#include "gptq.h"

#include "lapack.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIALS = 5, /* dampings: ×10 each */
    ROWS = 256  /* solved for at once */
};

struct column {
    float moment;
    uint32_t index;
};

static int compare(const void *a, const void *b)
{
    const struct column *x = a, *y = b;
    if (x->moment != y->moment)
        return x->moment < y->moment ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum woq_status check_hessian(const char *name, uint64_t k, const float *hessian)
{
    for (uint64_t i = 0; i < k; i++) {
        float sum = 0; /* NAN once an element is not finite */
        for (uint64_t j = 0; j < k; j++)
            sum += hessian[i * k + j] * 0;
        if (sum == 0 && hessian[i * k + i] >= 0)
            continue;
        for (uint64_t j = 0; j < k; j++)
            if (!isfinite(hessian[i * k + j]))
                return woq_report(WOQ_ERROR_INVALID_DATA, "%s: the second moment of inputs %llu and %llu is %s", name,
                                  (unsigned long long)i, (unsigned long long)j,
                                  isnan(hessian[i * k + j]) ? "not a number" : "infinite");
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: the second moment of input %llu is negative, %g", name,
                          (unsigned long long)i, (double)hessian[i * k + i]);
    }
    return WOQ_OK;
}

/* Falling moments if `sorted`; dead columns at the end. Returns the mean of those that are not, 1 if there is none. */
static float make_order(uint64_t k, const float *hessian, bool sorted, struct column *columns, struct woqi_gptq *out)
{
    double sum = 0;
    uint64_t live = 0, dead = 0;
    for (uint64_t i = 0; i < k; i++) {
        float moment = hessian[i * k + i];
        dead += moment == 0;
        if (moment > 0)
            columns[live++] = (struct column){moment, (uint32_t)i};
        sum += (double)moment;
    }
    if (sorted)
        qsort(columns, live, sizeof *columns, compare);
    for (uint64_t i = 0; i < live; i++)
        out->order[i] = columns[i].index;
    for (uint64_t i = 0, at = live; i < k; i++)
        if (hessian[i * k + i] == 0)
            out->order[at++] = (uint32_t)i;
    out->dead = dead;
    return live ? (float)(sum / (double)live) : 1;
}

/* H with `added` on its diagonal; dead columns stand alone. */
static void add_damping(uint64_t k, const float *hessian, float mean, float added, struct woqi_gptq *out)
{
    memcpy(out->damped, hessian, k * k * sizeof *hessian);
    for (uint64_t i = 0; i < k; i++)
        out->damped[i * k + i] += added;
    for (uint64_t i = k - out->dead; i < k; i++) {
        uint64_t c = out->order[i];
        for (uint64_t j = 0; j < k; j++)
            out->damped[c * k + j] = out->damped[j * k + c] = 0;
        out->damped[c * k + c] = mean + added;
    }
}

/* F of out->damped; false if that is not positive definite. work: [k][k]. */
static bool factorize(uint64_t k, double *work, struct woqi_gptq *out)
{
    int size = (int)k, info;
    for (uint64_t i = 0; i < k; i++) {
        const float *row = out->damped + (uint64_t)out->order[k - 1 - i] * k;
        for (uint64_t j = 0; j < k; j++)
            work[i * k + j] = (double)row[out->order[k - 1 - j]];
    }
    dpotrf_("L", &size, work, &size, &info, 1);
    if (!info)
        dtrtri_("L", "N", &size, work, &size, &info, 1, 1);
    if (info)
        return false;
    float check = 0;
    for (uint64_t i = 0; i < k; i++)
        for (uint64_t j = 0; j < k; j++) {
            float f = j > i ? 0 : (float)work[k * k - 1 - (i * k + j)];
            out->factor[i * k + j] = f;
            check += f * 0;
        }
    return check == 0;
}

enum woq_status woqi_gptq_prepare(const char *name, uint64_t k, const float *hessian,
                                  const struct woqi_gptq_params *params, struct woqi_gptq *out)
{
    *out = (struct woqi_gptq){.k = k};
    if (!(params->damping >= 0 && isfinite(params->damping)))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: the damping is %g; it must be 0 or more", name,
                          (double)params->damping);
    if (k > 1 << 20)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory for second moments of %llu inputs", name,
                          (unsigned long long)k);
    enum woq_status st = check_hessian(name, k, hessian);
    if (st)
        return st;
    struct column *columns = malloc(k * sizeof *columns);
    double *work = malloc(k * k * sizeof *work);
    out->order = malloc(k * sizeof *out->order);
    out->factor = malloc(k * k * sizeof *out->factor);
    out->damped = malloc(k * k * sizeof *out->damped);
    st = WOQ_ERROR_INVALID_DATA;
    if (!columns || !work || !out->order || !out->factor || !out->damped) {
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: out of memory for second moments of %llu inputs", name,
                        (unsigned long long)k);
        goto done;
    }
    float mean = make_order(k, hessian, params->order, columns, out);
    out->damping = params->damping;
    for (int trial = 0; trial < TRIALS; trial++, out->damping *= 10) {
        add_damping(k, hessian, mean, out->damping * mean, out);
        if (factorize(k, work, out)) {
            st = WOQ_OK;
            goto done;
        }
    }
    st = woq_report(WOQ_ERROR_INVALID_DATA,
                    "%s: the second moments of its inputs are not positive definite, nor with %g of their mean added",
                    name, (double)(out->damping / 10));
done:
    free(columns);
    free(work);
    if (st)
        woqi_gptq_release(out);
    return st;
}

void woqi_gptq_release(struct woqi_gptq *g)
{
    free(g->order);
    free(g->factor);
    free(g->damped);
    *g = (struct woqi_gptq){0};
}

/* `rows` rows of w, with m [rows][k] and product [rows][k] for what is in between. */
static bool solve(const struct woqi_gptq *g, const double *cholesky, int rows, float *w, float share,
                  const float *cross, const float *residual, double *m, float *product)
{
    int k = (int)g->k, info;
    uint64_t count = (uint64_t)rows * g->k;
    if (cross)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, k, share, w, k, cross, k, 0, product, k);
    for (uint64_t i = 0; i < count; i++)
        m[i] = (cross ? (double)product[i] : 0) + (residual ? (double)residual[i] : 0);
    dpotrs_("U", &k, &rows, cholesky, &k, m, &k, &info, 1);
    float check = 0;
    for (uint64_t i = 0; i < count; i++) {
        w[i] = (float)((double)w[i] + m[i]);
        check += w[i] * 0;
    }
    return check == 0;
}

enum woq_status woqi_gptq_target(const struct woqi_gptq *g, uint64_t n, float *w, float share, const float *cross,
                                 const float *residual)
{
    uint64_t k = g->k;
    int size = (int)k, info = 0;
    enum woq_status st = WOQ_OK;
    double *cholesky = malloc(k * k * sizeof *cholesky), *m = malloc(ROWS * k * sizeof *m);
    float *product = malloc(ROWS * k * sizeof *product);
    if (!cholesky || !m || !product) {
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for targets of %llu inputs", (unsigned long long)k);
        goto done;
    }
    for (uint64_t i = 0; i < k * k; i++)
        cholesky[i] = (double)g->damped[i];
    dpotrf_("U", &size, cholesky, &size, &info, 1);
    for (uint64_t row = 0; !st && row < n; row += ROWS) {
        int rows = n - row < ROWS ? (int)(n - row) : ROWS;
        if (info || !solve(g, cholesky, rows, w + row * k, share, cross, residual ? residual + row * k : NULL, m,
                           product))
            st = woq_report(WOQ_ERROR_INVALID_DATA, "the weights that make up for earlier errors are not finite");
    }
done:
    free(cholesky);
    free(m);
    free(product);
    return st;
}
