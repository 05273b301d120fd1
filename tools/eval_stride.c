/* eval_stride.c: strided perplexity, and the comparison of two models window by window. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Negative log-likelihood of one token, in binary64. */
static double token_nll(const float *logits, uint32_t vocabulary, int32_t token)
{
    float top = logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        top = logits[i] > top ? logits[i] : top;
    for (uint32_t i = 0; i < vocabulary; i++)
        sum += exp((double)logits[i] - top);
    return log(sum) + top - logits[token];
}

enum woq_status eval_strided(struct woq_model *model, const struct eval_options *options,
                             const int32_t *ids, size_t count, int32_t bos, uint32_t vocabulary,
                             woq_eval_progress_fn *progress, void *user,
                             struct woq_perplexity *out)
{
    const uint32_t window = options->window, stride = options->stride;
    const uint64_t windows = count < window ? 0 : (count - window) / stride + 1;
    float *logits = tool_alloc((size_t)stride * vocabulary, sizeof *logits);
    int32_t *input = tool_alloc(window, sizeof *input);
    double *means = tool_alloc(windows, sizeof *means), sum = 0, squares = 0;
    const double start = tool_seconds();
    uint64_t scored = 0;
    enum woq_status st = WOQ_OK;
    for (uint64_t w = 0; w < windows && !st; w++) {
        const int32_t *tokens = ids + w * stride, *targets = tokens + window - stride;
        memcpy(input, tokens, window * sizeof *input);
        if (bos >= 0)
            input[0] = bos;
        woq_model_reset(model);
        st = woq_model_forward(model, input, window - 1, logits, stride);
        for (uint32_t i = 0; i < stride && !st; i++) {
            const double nll = token_nll(logits + (size_t)i * vocabulary, vocabulary, targets[i]);
            means[w] += nll / stride;
            sum += nll;
            squares += nll * nll;
        }
        scored += stride;
        if (!st)
            progress(user, w + 1, windows, exp(sum / (double)scored));
    }
    free(logits);
    free(input);
    *out = (struct woq_perplexity){.struct_size = sizeof *out};
    if (st) {
        free(means);
        return st;
    }
    const double n = (double)scored, variance = squares / n - sum / n * (sum / n);
    out->perplexity = exp(sum / n);
    out->standard_error = variance > 0 ? out->perplexity * sqrt(variance / (n - 1)) : 0;
    out->scored = scored;
    out->windows = windows;
    out->window_nll = means;
    out->seconds = tool_seconds() - start;
    return WOQ_OK;
}

static void pair(const struct eval_model *base, struct eval_model *m)
{
    const uint64_t n = m->perplexity.windows;
    double sum = 0, squares = 0;
    if (!base->done || !m->done || n < 2 || n != base->perplexity.windows ||
        m->id_count != base->id_count || memcmp(m->ids, base->ids, m->id_count * sizeof *m->ids))
        return;
    for (uint64_t w = 0; w < n; w++)
        sum += m->perplexity.window_nll[w] - base->perplexity.window_nll[w];
    m->change = sum / (double)n;
    for (uint64_t w = 0; w < n; w++) {
        const double d = m->perplexity.window_nll[w] - base->perplexity.window_nll[w] - m->change;
        squares += d * d;
    }
    m->change_error = sqrt(squares / (double)(n - 1) / (double)n);
    m->paired = true;
}

void eval_pair(struct eval_model *models, size_t count)
{
    for (size_t i = 1; i < count; i++)
        pair(&models[0], &models[i]);
}
