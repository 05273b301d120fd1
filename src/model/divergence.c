/*
 * divergence.c: how far models' predictions are from a baseline's.
 *
 * Each window runs through all models in turn: the baseline's scored logits, [scored][vocabulary] f32, stay
 * until the others' rows have been compared with them. Beyond the windows only a number a token is kept.
 */
#include "divergence_row.h"
#include "windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char function[] = "woq_model_divergence";

/* What is known of one model so far. */
struct reading {
    struct woqi_likelihood likelihood;
    double seconds;
    /* Of all but the baseline: */
    double *kl;                       /* [windows][scored] */
    double *window_kl, *window_agreement; /* [windows], means */
};

/* The window that is run, and the model that runs it. */
struct pass {
    const int32_t *targets;
    size_t vocabulary;
    int threads;
    float *logits;         /* [scored][vocabulary], the baseline's */
    struct woqi_row *rows; /* [scored], of them */
    double *nll;           /* [scored] */
    double *kl;            /* [scored] of the reading */
    bool *same;            /* [scored]: the likeliest token is the baseline's */
};

static void keep_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct pass *p = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const float *row = logits + i * p->vocabulary;
        woqi_row_measure(row, p->vocabulary, &p->rows[first + i]);
        memcpy(p->logits + (first + i) * p->vocabulary, row, p->vocabulary * sizeof *row);
        p->nll[first + i] = woqi_row_nll(row, &p->rows[first + i], (uint32_t)p->targets[first + i]);
    }
}

static void compare_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct pass *p = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t r = first + i;
        const float *row = logits + i * p->vocabulary;
        struct woqi_row mine;
        woqi_row_measure(row, p->vocabulary, &mine);
        p->nll[r] = woqi_row_nll(row, &mine, (uint32_t)p->targets[r]);
        p->kl[r] = woqi_row_divergence(p->logits + r * p->vocabulary, &p->rows[r], row, &mine, p->vocabulary);
        p->same[r] = mine.top == p->rows[r].top;
    }
}

static enum woq_status no_memory(uint64_t windows)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for %llu windows", function,
                      (unsigned long long)windows);
}

static void pass_release(struct pass *p)
{
    free(p->logits);
    free(p->rows);
    free(p->nll);
    free(p->same);
}

static enum woq_status pass_create(size_t vocabulary, uint32_t scored, struct pass *out)
{
    *out = (struct pass){.vocabulary = vocabulary,
                         .logits = calloc(scored, vocabulary * sizeof *out->logits),
                         .rows = calloc(scored, sizeof *out->rows),
                         .nll = calloc(scored, sizeof *out->nll),
                         .same = calloc(scored, sizeof *out->same)};
    return out->logits && out->rows && out->nll && out->same
               ? WOQ_OK
               : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for the logits of %u tokens", function,
                            scored);
}

static void readings_release(struct reading *readings, uint32_t count)
{
    for (uint32_t i = 0; i < count && readings; i++) {
        woqi_likelihood_release(&readings[i].likelihood);
        free(readings[i].kl);
        free(readings[i].window_kl);
        free(readings[i].window_agreement);
    }
    free(readings);
}

static enum woq_status readings_create(const struct woqi_windows *windows, uint32_t count, struct reading **out)
{
    struct reading *r = *out = calloc(count, sizeof *r);
    enum woq_status st = r ? WOQ_OK : no_memory(windows->count);
    for (uint32_t i = 0; i < count && !st; i++) {
        st = woqi_likelihood_create(function, windows->count, &r[i].likelihood);
        if (st || !i)
            continue;
        r[i].kl = calloc(windows->count, windows->scored * sizeof *r[i].kl);
        r[i].window_kl = calloc(windows->count, sizeof *r[i].window_kl);
        r[i].window_agreement = calloc(windows->count, sizeof *r[i].window_agreement);
        if (!r[i].kl || !r[i].window_kl || !r[i].window_agreement)
            st = no_memory(windows->count);
    }
    return st;
}

/* One window through one model. */
static enum woq_status run_window(const struct woqi_windows *windows, uint64_t index, struct woq_model *model,
                                  bool baseline, struct pass *pass, struct reading *r)
{
    const uint32_t scored = windows->scored;
    const double start = woqi_seconds();
    pass->targets = woqi_windows_targets(windows, index);
    pass->threads = model->threads;
    pass->kl = baseline ? NULL : r->kl + index * scored;
    enum woq_status st =
        woqi_windows_run(windows, index, model, baseline ? keep_rows : compare_rows, pass);
    if (st)
        return st;
    woqi_likelihood_add(&r->likelihood, pass->nll, scored);
    if (!baseline) {
        double sum = 0;
        uint32_t same = 0;
        for (uint32_t i = 0; i < scored; i++) {
            sum += pass->kl[i];
            same += pass->same[i];
        }
        r->window_kl[index] = sum / scored;
        r->window_agreement[index] = (double)same / scored;
    }
    r->seconds += woqi_seconds() - start;
    return WOQ_OK;
}

static enum woq_status run(struct woq_model *const *models, uint32_t count, const struct woqi_windows *windows,
                           struct pass *pass, woq_eval_progress_fn *progress, void *user,
                           struct reading *readings)
{
    const uint64_t total = windows->count * count;
    for (uint64_t done = 0; done < total; done++) {
        const uint32_t i = (uint32_t)(done % count);
        const enum woq_status st = run_window(windows, done / count, models[i], !i, pass, &readings[i]);
        if (st)
            return st;
        if (progress && !progress(user, done + 1, total, woqi_likelihood_perplexity(&readings[i].likelihood)))
            return woq_report(WOQ_ERROR_TIMEOUT, "%s: stopped after %llu of %llu windows", function,
                              (unsigned long long)(done + 1), (unsigned long long)total);
    }
    return WOQ_OK;
}

/* Mean, and its standard error from how the n values scatter. */
static double mean_of(const double *x, uint64_t n, double *error)
{
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += x[i];
    const double mean = sum / (double)n;
    for (uint64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    *error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
    return mean;
}

/* Ascending, NaN last. */
static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    if (x != x || y != y)
        return (x != x) - (y != y);
    return (x > y) - (x < y);
}

/* Of n ascending values, between the two neighbours in proportion. */
static double quantile(const double *x, uint64_t n, double share)
{
    const double place = share * (double)(n - 1);
    const uint64_t i = (uint64_t)place;
    const double part = place - (double)i;
    return part > 0 && i + 1 < n ? x[i] + part * (x[i + 1] - x[i]) : x[i];
}

static void finish(struct reading *r, struct woq_divergence *out)
{
    const uint64_t windows = r->likelihood.windows, n = r->likelihood.scored;
    out->mean = mean_of(r->window_kl, windows, &out->standard_error);
    out->agreement = mean_of(r->window_agreement, windows, &out->agreement_error);
    qsort(r->kl, n, sizeof *r->kl, compare);
    out->median = quantile(r->kl, n, 0.5);
    out->p90 = quantile(r->kl, n, 0.9);
    out->p99 = quantile(r->kl, n, 0.99);
    out->p999 = quantile(r->kl, n, 0.999);
    out->max = r->kl[n - 1];
    out->window_kl = r->window_kl;
    out->window_agreement = r->window_agreement;
    r->window_kl = r->window_agreement = NULL;
}

static enum woq_status check(struct woq_model *const *models, uint32_t count, const struct woqi_text *text)
{
    if (!text->tokens)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: tokens is NULL", function);
    if (count < 2)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: model_count is %u; a baseline and a model are two",
                          function, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!models[i])
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: models[%u] is NULL", function, i);
        if (models[i]->config.vocabulary != models[0]->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "%s: models[%u] has a vocabulary of %u tokens, the baseline one of %u", function, i,
                              models[i]->config.vocabulary, models[0]->config.vocabulary);
        const enum woq_status st = woqi_windows_check(function, models[i], text);
        if (st)
            return st;
    }
    return WOQ_OK;
}

enum woq_status woq_model_divergence(struct woq_model *const *models, uint32_t model_count, const int32_t *tokens,
                                     size_t count, uint32_t window, int32_t bos, uint64_t max_windows,
                                     woq_eval_progress_fn *progress, void *user,
                                     struct woq_perplexity *perplexities, struct woq_divergence *out)
{
    const struct woqi_text text = {tokens, count, window, bos, max_windows};
    struct woqi_windows windows = {0};
    struct pass pass = {0};
    struct reading *readings = NULL;
    for (uint32_t i = 0; i < model_count && perplexities; i++)
        perplexities[i] = (struct woq_perplexity){.struct_size = sizeof *perplexities};
    for (uint32_t i = 1; i < model_count && out; i++)
        out[i - 1] = (struct woq_divergence){.struct_size = sizeof *out};
    if (!models || !perplexities || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !models ? "models" : !perplexities ? "perplexities" : "out");
    enum woq_status st = check(models, model_count, &text);
    if (!st)
        st = woqi_windows_create(function, &text, &windows);
    if (!st)
        st = pass_create(models[0]->config.vocabulary, windows.scored, &pass);
    if (!st)
        st = readings_create(&windows, model_count, &readings);
    if (!st)
        st = run(models, model_count, &windows, &pass, progress, user, readings);
    for (uint32_t i = 0; i < model_count && !st; i++) {
        woqi_likelihood_finish(&readings[i].likelihood, &perplexities[i]);
        perplexities[i].seconds = readings[i].seconds;
        if (i)
            finish(&readings[i], &out[i - 1]);
    }
    readings_release(readings, model_count);
    pass_release(&pass);
    woqi_windows_release(&windows);
    return st;
}
