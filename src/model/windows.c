/* windows.c: a text in windows, and the sums that become a perplexity. */
#include "windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t scored_of(const struct woq_text_params *text)
{
    return text->stride ? text->stride : text->window - text->window / 2 - 1;
}

static uint64_t windows_of(const struct woq_text_params *text)
{
    const uint32_t step = text->stride ? text->stride : text->window;
    const uint64_t all = text->count < text->window ? 0 : (text->count - text->window) / step + 1;
    return text->max_windows && text->max_windows < all ? text->max_windows : all;
}

static enum woq_status check_sizes(const char *function, const struct woq_text_params *text, uint32_t most,
                                   const char *of_what)
{
    if (text->struct_size < sizeof *text)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: text->struct_size is %zu; must be at least %zu: start from WOQ_TEXT_PARAMS_INIT",
                          function, text->struct_size, sizeof *text);
    if (text->window < 4 || text->window % 2 || text->window > most)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: window is %u; must be even, 4 to %u%s", function,
                          text->window, most, of_what);
    if (text->stride >= text->window)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: stride is %u; must be below the window of %u, or 0",
                          function, text->stride, text->window);
    return WOQ_OK;
}

enum woq_status woqi_windows_check(const char *function, const struct woq_model *m, const struct woq_text_params *text)
{
    const enum woq_status st = check_sizes(function, text, m->batch & ~1u, " (the model's batch)");
    if (st)
        return st;
    if (!text->tokens)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: tokens is NULL", function);
    if (text->stride ? text->count < text->window : text->count / 2 < text->window)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %zu tokens; %s need%s %llu", function, text->count,
                          text->stride ? "a window" : "two windows", text->stride ? "s" : "",
                          (text->stride ? 1ull : 2ull) * text->window);
    if (text->bos < -1 || (text->bos >= 0 && (uint32_t)text->bos >= m->config.vocabulary))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: bos is %d; must be -1 (none) or a token", function,
                          (int)text->bos);
    for (size_t i = 0; i < text->count; i++)
        if (text->tokens[i] < 0 || (uint32_t)text->tokens[i] >= m->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: token %zu is %d; the vocabulary is 0 to %u",
                              function, i, (int)text->tokens[i], m->config.vocabulary - 1);
    return WOQ_OK;
}

enum woq_status woq_text_windows(const struct woq_text_params *text, uint64_t *windows, uint32_t *scored)
{
    static const char function[] = "woq_text_windows";
    if (windows)
        *windows = 0;
    if (scored)
        *scored = 0;
    if (!text || !windows || !scored)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !text ? "text" : !windows ? "windows" : "scored");
    const enum woq_status st = check_sizes(function, text, UINT32_MAX - 1, "");
    if (st)
        return st;
    *windows = windows_of(text);
    *scored = scored_of(text);
    return WOQ_OK;
}

enum woq_status woqi_windows_create(const char *function, const struct woq_text_params *text, struct woqi_windows *out)
{
    *out = (struct woqi_windows){.tokens = text->tokens,
                                 .count = windows_of(text),
                                 .window = text->window,
                                 .step = text->stride ? text->stride : text->window,
                                 .scored = scored_of(text),
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
    return w->tokens + index * w->step + w->window - w->scored;
}

enum woq_status woqi_windows_run(const struct woqi_windows *w, uint64_t index, struct woq_model *model,
                                 woqi_sink_fn *sink, void *user)
{
    memcpy(w->input, w->tokens + index * w->step, w->window * sizeof *w->input);
    if (w->bos >= 0)
        w->input[0] = w->bos;
    woq_model_reset(model);
    return woqi_forward(model, w->input, w->window - 1, w->scored, sink, user);
}

double woqi_likelihood_add(struct woqi_likelihood *l, const double *nll, uint32_t scored)
{
    double total = 0;
    for (uint32_t i = 0; i < scored; i++) {
        total += nll[i];
        l->squares += nll[i] * nll[i];
    }
    l->sum += total;
    l->scored += scored;
    return total / scored;
}

double woqi_likelihood_perplexity(const struct woqi_likelihood *l)
{
    return exp(l->sum / (double)l->scored);
}

double woqi_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
