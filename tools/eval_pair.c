/* eval_pair.c: models beside the first: window by window, and example by example. */
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

static void compare_tasks(const struct eval_options *o, const struct eval_model *base, struct eval_model *m)
{
    for (uint32_t t = 0; t < o->task_count; t++) {
        m->comparison[t].struct_size = sizeof m->comparison[t];
        m->task_compared[t] = base->task_done[t] && m->task_done[t] &&
                              eval_good(m, woq_task_compare(base->predictions[t], m->predictions[t],
                                                            o->task_info[t].examples, &m->comparison[t]));
    }
}

void eval_pair(const struct eval_options *o, struct eval_model *models, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        pair(&models[0], &models[i]);
        compare_tasks(o, &models[0], &models[i]);
    }
}

char *eval_label(const struct eval_model *models, size_t count, size_t index)
{
    const struct eval_model *m = &models[index];
    bool one_file = true, one_math = true;
    for (size_t i = 0; i < count; i++) {
        one_file = one_file && !strcmp(models[i].path, m->path);
        one_math = one_math && models[i].math == m->math;
    }
    const char *space = one_math ? "" : " ", *math = one_math ? "" : woq_math_name(m->math);
    return one_file ? tool_text("%s%s%s", m->weights.name, space, math)
           : m->weights.mode == WOQ_MODEL_AS_STORED ? tool_text("%s%s%s", tool_base_name(m->path), space, math)
           : tool_text("%s:%s%s%s", tool_base_name(m->path), m->weights.name, space, math);
}
