/* divergence.c: how far a model's predictions are from a baseline's. */
#include "windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char function[] = "woq_model_divergence";

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

static void window_means(const struct woq_text_scores *s, uint64_t windows, uint32_t scored, struct woq_divergence *out)
{
    for (uint64_t w = 0; w < windows; w++) {
        double sum = 0;
        uint32_t same = 0;
        for (uint32_t i = 0; i < scored; i++) {
            sum += s->kl[w * scored + i];
            same += s->same[w * scored + i];
        }
        out->window_kl[w] = sum / scored;
        out->window_agreement[w] = (double)same / scored;
    }
}

enum woq_status woq_text_divergence(const struct woq_text_scores *scores, uint64_t windows, uint32_t scored,
                                    struct woq_divergence *out)
{
    const uint64_t n = windows * scored;
    if (out)
        *out = (struct woq_divergence){.struct_size = sizeof *out};
    if (!scores || !scores->kl || !scores->same || !out || !n)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_text_divergence: %s",
                          !scores ? "scores is NULL" : !out ? "out is NULL" : !n
                          ? "no windows or no scored tokens; must be 1 or more" : "scores->kl or scores->same is NULL");
    double *kl = calloc(windows, scored * sizeof *kl);
    out->window_kl = calloc(windows, sizeof *out->window_kl);
    out->window_agreement = calloc(windows, sizeof *out->window_agreement);
    if (!kl || !out->window_kl || !out->window_agreement) {
        free(kl);
        free(out->window_kl);
        free(out->window_agreement);
        out->window_kl = out->window_agreement = NULL;
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_text_divergence: no host memory for %llu windows",
                          (unsigned long long)windows);
    }
    window_means(scores, windows, scored, out);
    out->mean = mean_of(out->window_kl, windows, &out->standard_error);
    out->agreement = mean_of(out->window_agreement, windows, &out->agreement_error);
    memcpy(kl, scores->kl, n * sizeof *kl);
    qsort(kl, n, sizeof *kl, compare);
    out->median = quantile(kl, n, 0.5);
    out->p90 = quantile(kl, n, 0.9);
    out->p99 = quantile(kl, n, 0.99);
    out->p999 = quantile(kl, n, 0.999);
    out->max = kl[n - 1];
    free(kl);
    return WOQ_OK;
}

static void release(struct woq_perplexity *perplexities, struct woq_divergence *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(perplexities[i].window_nll);
        perplexities[i].window_nll = NULL;
        if (!i)
            continue;
        free(out[i - 1].window_kl);
        free(out[i - 1].window_agreement);
        out[i - 1].window_kl = out[i - 1].window_agreement = NULL;
    }
}

enum woq_status woq_model_divergence(struct woq_model *const *models, uint32_t model_count,
                                     const struct woq_text_params *text, struct woq_perplexity *perplexities,
                                     struct woq_divergence *out)
{
    struct woq_text_scores *scores = NULL;
    uint64_t windows;
    uint32_t scored;
    for (uint32_t i = 0; i < model_count && perplexities; i++)
        perplexities[i] = (struct woq_perplexity){.struct_size = sizeof *perplexities};
    for (uint32_t i = 1; i < model_count && out; i++)
        out[i - 1] = (struct woq_divergence){.struct_size = sizeof *out};
    if (!models || !text || !perplexities || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !models ? "models" : !text ? "text" : !perplexities ? "perplexities" : "out");
    if (model_count < 2)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: model_count is %u; a baseline and a model are two",
                          function, model_count);
    enum woq_status st = models[0] ? woqi_windows_check(function, models[0], text)
                                   : woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: models[0] is NULL", function);
    if (!st)
        st = woqi_text_scores_create(function, text, model_count, &scores);
    if (!st)
        st = woqi_score_text(function, models, model_count, text, 0, scores);
    if (!st)
        st = woq_text_windows(text, &windows, &scored);
    for (uint32_t i = 0; i < model_count && !st; i++) {
        st = woq_text_perplexity(&scores[i], windows, scored, &perplexities[i]);
        if (!st && i)
            st = woq_text_divergence(&scores[i], windows, scored, &out[i - 1]);
    }
    if (st)
        release(perplexities, out, model_count);
    woqi_text_scores_release(scores, model_count);
    return st;
}
