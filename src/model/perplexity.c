/* perplexity.c: how well a model predicts a text. */
#include "windows.h"

#include <math.h>
#include <stdlib.h>

static const char function[] = "woq_model_perplexity";

enum woq_status woq_text_perplexity(const struct woq_text_scores *scores, uint64_t windows, uint32_t scored,
                                    struct woq_perplexity *out)
{
    struct woqi_likelihood l = {0};
    if (out)
        *out = (struct woq_perplexity){.struct_size = sizeof *out};
    if (!scores || !scores->nll || !out || !windows || !scored)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_text_perplexity: %s",
                          !scores ? "scores is NULL" : !scores->nll ? "scores->nll is NULL" : !out ? "out is NULL"
                          : "no windows or no scored tokens; must be 1 or more");
    if (!(out->window_nll = calloc(windows, sizeof *out->window_nll)))
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_text_perplexity: no host memory for %llu windows",
                          (unsigned long long)windows);
    for (uint64_t w = 0; w < windows; w++) {
        out->window_nll[w] = woqi_likelihood_add(&l, scores->nll + w * scored, scored);
        out->seconds += scores->seconds ? scores->seconds[w] : 0;
    }
    const double n = (double)l.scored, mean = l.sum / n;
    const double variance = l.squares / n - mean * mean;
    out->perplexity = woqi_likelihood_perplexity(&l);
    out->standard_error = variance > 0 ? out->perplexity * sqrt(variance / (n - 1)) : 0;
    out->scored = l.scored;
    out->windows = windows;
    return WOQ_OK;
}

enum woq_status woq_model_perplexity(struct woq_model *model, const struct woq_text_params *text,
                                     struct woq_perplexity *out)
{
    struct woq_text_scores *scores = NULL;
    uint64_t windows;
    uint32_t scored;
    if (out)
        *out = (struct woq_perplexity){.struct_size = sizeof *out};
    if (!model || !text || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !model ? "model" : !text ? "text" : "out");
    enum woq_status st = woqi_windows_check(function, model, text);
    if (!st)
        st = woqi_text_scores_create(function, text, 1, &scores);
    if (!st)
        st = woqi_score_text(function, &model, 1, text, 0, scores);
    if (!st)
        st = woq_text_windows(text, &windows, &scored);
    if (!st)
        st = woq_text_perplexity(scores, windows, scored, out);
    woqi_text_scores_release(scores, 1);
    return st;
}
