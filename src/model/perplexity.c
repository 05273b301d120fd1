/* perplexity.c: how well the model predicts a text, window by window. */
#include "model_impl.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

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

static enum woq_status check(const struct woq_model *m, const int32_t *tokens, size_t count,
                             uint32_t window, int32_t bos, const struct woq_perplexity *out)
{
    if (!m || !tokens || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_model_perplexity: %s is NULL",
                          !m ? "model" : !tokens ? "tokens" : "out");
    const uint32_t most = m->batch & ~1u;
    if (window < 4 || window % 2 || window > most)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_perplexity: window is %u; must be even, 4 to %u (the model's "
                          "batch)",
                          window, most);
    if (count / 2 < window)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_perplexity: %zu tokens; two windows need %llu", count,
                          2ull * window);
    if (bos < -1 || (bos >= 0 && (uint32_t)bos >= m->config.vocabulary))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_perplexity: bos is %d; must be -1 (none) or a token",
                          (int)bos);
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "woq_model_perplexity: token %zu is %d; the vocabulary is 0 to %u", i,
                              (int)tokens[i], m->config.vocabulary - 1);
    return WOQ_OK;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct sums {
    double nll, squares;
    uint64_t scored;
};

static double perplexity(const struct sums *s)
{
    return exp(s->nll / (double)s->scored);
}

/* Runs one window; the last token is only a target. input: room for a window. */
static enum woq_status run_window(struct woq_model *m, const int32_t *tokens, uint32_t window,
                                  int32_t bos, int32_t *input, double *nll, struct sums *sums,
                                  double *mean)
{
    const uint32_t scored = window - window / 2 - 1;
    struct score score = {tokens + window / 2 + 1, m->config.vocabulary, nll, m->threads};
    for (uint32_t i = 0; i < window; i++)
        input[i] = tokens[i];
    if (bos >= 0)
        input[0] = bos;
    woq_model_reset(m);
    enum woq_status st = woqi_forward(m, input, window - 1, scored, score_rows, &score);
    double total = 0;
    for (uint32_t i = 0; i < scored && !st; i++) {
        total += nll[i];
        sums->squares += nll[i] * nll[i];
    }
    sums->nll += total;
    sums->scored += scored;
    *mean = total / scored;
    return st;
}

enum woq_status woq_model_perplexity(struct woq_model *model, const int32_t *tokens, size_t count,
                                     uint32_t window, int32_t bos, uint64_t max_windows,
                                     woq_eval_progress_fn *progress, void *user,
                                     struct woq_perplexity *out)
{
    if (out)
        *out = (struct woq_perplexity){.struct_size = sizeof *out};
    enum woq_status st = check(model, tokens, count, window, bos, out);
    if (st)
        return st;
    uint64_t windows = count / window;
    windows = max_windows && max_windows < windows ? max_windows : windows;
    struct sums sums = {0, 0, 0};
    const double start = now();
    double *means = calloc(windows, sizeof *means);
    double *nll = calloc(window, sizeof *nll);
    int32_t *input = calloc(window, sizeof *input);
    if (!means || !nll || !input)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_perplexity: no host memory for %llu "
                                                 "windows",
                        (unsigned long long)windows);
    for (uint64_t w = 0; w < windows && !st; w++) {
        st = run_window(model, tokens + w * window, window, bos, input, nll, &sums, &means[w]);
        if (!st && progress && !progress(user, w + 1, windows, perplexity(&sums)))
            st = woq_report(WOQ_ERROR_TIMEOUT,
                            "woq_model_perplexity: stopped after %llu of %llu windows",
                            (unsigned long long)(w + 1), (unsigned long long)windows);
    }
    free(nll);
    free(input);
    if (st) {
        free(means);
        return st;
    }
    const double n = (double)sums.scored, mean = sums.nll / n;
    const double variance = sums.squares / n - mean * mean;
    out->perplexity = perplexity(&sums);
    out->standard_error = variance > 0 ? out->perplexity * sqrt(variance / (n - 1)) : 0;
    out->scored = sums.scored;
    out->windows = windows;
    out->window_nll = means;
    out->seconds = now() - start;
    return WOQ_OK;
}
