/* eval_pair.c: the comparison of two models window by window. */
#include "eval.h"

#include <math.h>
#include <string.h>

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
