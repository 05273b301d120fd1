/* eval_measure.c: models on the text: its windows, those that a journal has not, and what they come to. */
#include "eval.h"

#include <stdlib.h>

/* What each window's end is told to. */
struct progress {
    const struct eval_options *options;
    struct eval_bar bar;
    struct eval_model *const *models;
    size_t count;
};

static bool step(void *user, uint64_t done, uint64_t total, double perplexity)
{
    struct progress *p = user;
    const struct eval_model *m = p->models[(done - 1) % p->count];
    eval_journal_add_window(p->options->journal, m->index, (done - 1) / p->count, m->scored, &m->scores);
    return eval_bar_step(&p->bar, done, total, p->count == 1 ? perplexity : 0);
}

/* Windows that all of them have from a journal. */
static uint64_t prepare(const struct eval_options *o, struct eval_model *m, bool compared, uint64_t windows)
{
    m->scores.nll = tool_alloc(windows * m->scored, sizeof(double));
    m->scores.seconds = tool_alloc(windows, sizeof(double));
    if (compared) {
        m->scores.kl = tool_alloc(windows * m->scored, sizeof(double));
        m->scores.same = tool_alloc(windows * m->scored, 1);
    }
    return eval_journal_windows(o->journal, m->index, windows, m->scored, &m->scores);
}

static void finish(const struct eval_options *o, struct eval_model *m, uint64_t windows, bool compared)
{
    double seconds = 0;
    m->done = eval_good(m, woq_text_perplexity(&m->scores, windows, m->scored, &m->perplexity));
    m->compared = m->done && compared &&
                  (m->done = eval_good(m, woq_text_divergence(&m->scores, windows, m->scored, &m->divergence)));
    /* Without the first window, in which kernels may be compiled. */
    for (uint64_t w = 1; w < windows; w++)
        seconds += m->scores.seconds[w];
    if (seconds > 0)
        m->rate = (double)(windows - 1) * (o->window - 1) / seconds;
}

void eval_measure(const struct eval_options *o, struct woq_model *const *loaded, struct eval_model *const *models,
                  size_t count)
{
    struct progress p = {.options = o, .models = models, .count = count};
    struct woq_text_params text = {sizeof text, models[0]->ids, models[0]->id_count, o->window, o->stride,
                                   models[0]->bos, 0, step, &p};
    struct woq_text_scores *scores = tool_alloc(count, sizeof *scores);
    uint64_t windows, first;
    uint32_t scored;
    enum woq_status st = woq_text_windows(&text, &windows, &scored);
    first = windows;
    for (size_t i = 0; i < count && !st; i++) {
        models[i]->scored = scored;
        const uint64_t have = prepare(o, models[i], i > 0, windows);
        scores[i] = models[i]->scores;
        first = have < first ? have : first;
    }
    if (count == 1)
        eval_bar_begin(&p.bar, o->progress, o->window - 1, "%s: perplexity", models[0]->weights.name);
    else
        eval_bar_begin(&p.bar, o->progress, o->window - 1, "%zu models: divergence", count);
    p.bar.before = first * count;
    if (!st)
        st = woq_model_score_text(loaded, (uint32_t)count, &text, first, scores);
    eval_bar_end(&p.bar);
    for (size_t i = 0; i < count; i++)
        if ((models[i]->done = eval_good(models[i], st)))
            finish(o, models[i], windows, i > 0);
    free(scores);
}
