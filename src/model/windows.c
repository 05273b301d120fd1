/* windows.c: a text in disjoint windows, and the sums that become a perplexity. */
#include "windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum woq_status woqi_windows_check(const char *function, const struct woq_model *m, const struct woqi_text *text)
{
    const uint32_t most = m->batch & ~1u;
    if (text->window < 4 || text->window % 2 || text->window > most)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: window is %u; must be even, 4 to %u (the model's batch)", function,
                          text->window, most);
    if (text->count / 2 < text->window)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %zu tokens; two windows need %llu", function,
                          text->count, 2ull * text->window);
    if (text->bos < -1 || (text->bos >= 0 && (uint32_t)text->bos >= m->config.vocabulary))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: bos is %d; must be -1 (none) or a token", function,
                          (int)text->bos);
    for (size_t i = 0; i < text->count; i++)
        if (text->tokens[i] < 0 || (uint32_t)text->tokens[i] >= m->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: token %zu is %d; the vocabulary is 0 to %u",
                              function, i, (int)text->tokens[i], m->config.vocabulary - 1);
    return WOQ_OK;
}

enum woq_status woqi_windows_create(const char *function, const struct woqi_text *text, struct woqi_windows *out)
{
    const uint64_t all = text->count / text->window;
    *out = (struct woqi_windows){.tokens = text->tokens,
                                 .count = text->max_windows && text->max_windows < all ? text->max_windows : all,
                                 .window = text->window,
                                 .scored = text->window - text->window / 2 - 1,
                                 .bos = text->bos};
    out->input = calloc(text->window, sizeof *out->input);
    return out->input ? WOQ_OK
                      : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for a window of %u tokens", function,
                                   text->window);
}

void woqi_windows_release(struct woqi_windows *windows)
{
    free(windows->input);
    windows->input = NULL;
}

const int32_t *woqi_windows_targets(const struct woqi_windows *w, uint64_t index)
{
    return w->tokens + (index + 1) * w->window - w->scored;
}

enum woq_status woqi_windows_run(const struct woqi_windows *w, uint64_t index, struct woq_model *model,
                                 woqi_sink_fn *sink, void *user)
{
    memcpy(w->input, w->tokens + index * w->window, w->window * sizeof *w->input);
    if (w->bos >= 0)
        w->input[0] = w->bos;
    woq_model_reset(model);
    return woqi_forward(model, w->input, w->window - 1, w->scored, sink, user);
}

enum woq_status woqi_likelihood_create(const char *function, uint64_t windows, struct woqi_likelihood *out)
{
    *out = (struct woqi_likelihood){.means = calloc(windows, sizeof *out->means)};
    return out->means ? WOQ_OK
                      : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for %llu windows", function,
                                   (unsigned long long)windows);
}

void woqi_likelihood_release(struct woqi_likelihood *likelihood)
{
    free(likelihood->means);
    likelihood->means = NULL;
}

void woqi_likelihood_add(struct woqi_likelihood *l, const double *nll, uint32_t scored)
{
    double total = 0;
    for (uint32_t i = 0; i < scored; i++) {
        total += nll[i];
        l->squares += nll[i] * nll[i];
    }
    l->sum += total;
    l->scored += scored;
    l->means[l->windows++] = total / scored;
}

double woqi_likelihood_perplexity(const struct woqi_likelihood *l)
{
    return exp(l->sum / (double)l->scored);
}

void woqi_likelihood_finish(struct woqi_likelihood *l, struct woq_perplexity *out)
{
    const double n = (double)l->scored, mean = l->sum / n;
    const double variance = l->squares / n - mean * mean;
    out->perplexity = woqi_likelihood_perplexity(l);
    out->standard_error = variance > 0 ? out->perplexity * sqrt(variance / (n - 1)) : 0;
    out->scored = l->scored;
    out->windows = l->windows;
    out->window_nll = l->means;
    l->means = NULL;
}

double woqi_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
