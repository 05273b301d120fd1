/* eval_together.c: models in memory together, and their divergence from the first, window by window. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>

/* The models that came so far, the baseline first. */
struct group {
    struct eval_loaded *loaded; /* of all models */
    struct eval_model **rows;
    struct woq_model **models;
    size_t count;
};

/* A model's time without its first window, in which kernels may be compiled. */
struct times {
    struct eval_bar bar;
    uint64_t models;
    double last;
    double *warm; /* [models] s */
};

static bool step(void *user, uint64_t done, uint64_t total, double perplexity)
{
    struct times *t = user;
    const double now = tool_seconds();
    (void)perplexity; /* of another model each time */
    if (done > t->models)
        t->warm[(done - 1) % t->models] += now - t->last;
    t->last = now;
    return eval_bar_step(&t->bar, done, total, 0);
}

/* Predictions are compared where both models are asked for the same. */
static bool comparable(const struct eval_model *base, const struct eval_loaded *base_loaded, struct eval_model *m,
                       const struct eval_loaded *loaded)
{
    const uint32_t want = base->info.config.vocabulary, have = m->info.config.vocabulary;
    if (have != want)
        return eval_give_up(m, "its vocabulary has %u tokens, that of the first model %u: --kl compares the "
                               "probabilities of the same tokens", have, want);
    if (m->id_count != base->id_count || memcmp(m->ids, base->ids, m->id_count * sizeof *m->ids) ||
        eval_bos(loaded) != eval_bos(base_loaded))
        return eval_give_up(m, "its tokenizer makes other tokens of the text than that of the first model; --kl "
                               "compares predictions of the same tokens");
    return true;
}

static void load_all(const struct eval_options *o, struct woq_device *device, struct eval_model *models,
                     size_t count, struct group *g)
{
    for (size_t i = 0; i < count; i++) {
        struct eval_model *m = &models[i];
        if (i && !g->count)
            eval_give_up(m, "not compared: the first model could not be loaded");
        else if (eval_load(o, device, m, &g->loaded[i]) &&
                 (!i || comparable(&models[0], &g->loaded[0], m, &g->loaded[i]))) {
            m->done = true;
            g->rows[g->count] = m;
            g->models[g->count++] = g->loaded[i].model;
        } else
            eval_release(&g->loaded[i]);
    }
}

static void measure_all(const struct eval_options *o, struct group *g)
{
    const size_t n = g->count;
    struct times t = {.models = n, .warm = tool_alloc(n, sizeof *t.warm)};
    struct woq_perplexity *perplexities = tool_alloc(n, sizeof *perplexities);
    struct woq_divergence *divergences = tool_alloc(n, sizeof *divergences);
    struct woq_text_params text = eval_text(o, &g->loaded[0], g->rows[0]);
    text.progress = step;
    text.progress_user = &t;
    eval_bar_begin(&t.bar, o->progress, o->window - 1, "%zu models: divergence", n);
    const enum woq_status st = woq_model_divergence(g->models, (uint32_t)n, &text, perplexities, divergences);
    eval_bar_end(&t.bar);
    for (size_t i = 0; i < n; i++) {
        struct eval_model *m = g->rows[i];
        m->done = eval_good(m, st);
        m->perplexity = perplexities[i];
        m->compared = i && m->done;
        if (m->compared)
            m->divergence = divergences[i - 1];
        if (m->done && t.warm[i] > 0)
            m->rate = (double)(m->perplexity.windows - 1) * (o->window - 1) / t.warm[i];
    }
    free(perplexities);
    free(divergences);
    free(t.warm);
}

void eval_run_together(const struct eval_options *o, struct woq_device *device, struct eval_model *models, size_t count)
{
    struct group g = {tool_alloc(count, sizeof *g.loaded), tool_alloc(count, sizeof *g.rows),
                      tool_alloc(count, sizeof *g.models), 0};
    load_all(o, device, models, count, &g);
    if (g.count > 1)
        measure_all(o, &g);
    else if (g.count)
        models[0].done = eval_measure(o, &g.loaded[0], &models[0]);
    for (size_t i = 0; i < count; i++) {
        if (models[i].done && o->prompt)
            models[i].done = eval_continue(o, &g.loaded[i], &models[i]);
        eval_release(&g.loaded[i]);
    }
    free(g.loaded);
    free(g.rows);
    free(g.models);
}
