/* perplexity.c: how well the model predicts a text, window by window. */
#include "windows.h"

#include <stdlib.h>

static const char function[] = "woq_model_perplexity";

struct score {
    const int32_t *targets; /* the token that follows each row */
    size_t vocabulary;
    double *nll; /* of each row */
    int threads;
};

static void score_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct score *s = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const float *row = logits + i * s->vocabulary;
        s->nll[first + i] = woqi_log_sum(row, s->vocabulary) - row[s->targets[first + i]];
    }
}

static enum woq_status run(struct woq_model *m, const struct woqi_windows *windows, double *nll,
                           woq_eval_progress_fn *progress, void *user, struct woqi_likelihood *likelihood)
{
    enum woq_status st = WOQ_OK;
    for (uint64_t w = 0; w < windows->count && !st; w++) {
        struct score score = {woqi_windows_targets(windows, w), m->config.vocabulary, nll, m->threads};
        st = woqi_windows_run(windows, w, m, score_rows, &score);
        if (st)
            break;
        woqi_likelihood_add(likelihood, nll, windows->scored);
        if (progress && !progress(user, w + 1, windows->count, woqi_likelihood_perplexity(likelihood)))
            st = woq_report(WOQ_ERROR_TIMEOUT, "%s: stopped after %llu of %llu windows", function,
                            (unsigned long long)(w + 1), (unsigned long long)windows->count);
    }
    return st;
}

enum woq_status woq_model_perplexity(struct woq_model *model, const int32_t *tokens, size_t count,
                                     uint32_t window, int32_t bos, uint64_t max_windows,
                                     woq_eval_progress_fn *progress, void *user,
                                     struct woq_perplexity *out)
{
    const struct woqi_text text = {tokens, count, window, bos, max_windows};
    struct woqi_windows windows = {0};
    struct woqi_likelihood likelihood = {0};
    if (out)
        *out = (struct woq_perplexity){.struct_size = sizeof *out};
    if (!model || !tokens || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !model ? "model" : !tokens ? "tokens" : "out");
    enum woq_status st = woqi_windows_check(function, model, &text);
    if (st)
        return st;
    const double start = woqi_seconds();
    double *nll = NULL;
    st = woqi_windows_create(function, &text, &windows);
    if (!st)
        st = woqi_likelihood_create(function, windows.count, &likelihood);
    if (!st && !(nll = calloc(windows.scored, sizeof *nll)))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for a window's scores", function);
    if (!st)
        st = run(model, &windows, nll, progress, user, &likelihood);
    if (!st) {
        woqi_likelihood_finish(&likelihood, out);
        out->seconds = woqi_seconds() - start;
    }
    free(nll);
    woqi_likelihood_release(&likelihood);
    woqi_windows_release(&windows);
    return st;
}
