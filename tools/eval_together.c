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

/* Predictions are compared where both models are asked for the same. */
static bool comparable(const struct eval_model *base, struct eval_model *m)
{
    const uint32_t want = base->info.config.vocabulary, have = m->info.config.vocabulary;
    if (have != want)
        return eval_give_up(m, "its vocabulary has %u tokens, that of the first model %u: --kl compares the "
                               "probabilities of the same tokens", have, want);
    if (m->id_count != base->id_count || memcmp(m->ids, base->ids, m->id_count * sizeof *m->ids) ||
        m->bos != base->bos)
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
            eval_give_up(m, "not compared: the first model failed");
        else if (eval_load(o, device, m, &g->loaded[i]) &&
                 (!i || comparable(&models[0], m))) {
            m->done = true;
            g->rows[g->count] = m;
            g->models[g->count++] = g->loaded[i].model;
        } else
            eval_release(&g->loaded[i]);
    }
}

void eval_run_together(const struct eval_options *o, struct woq_device *device, struct eval_model *models, size_t count)
{
    struct group g = {tool_alloc(count, sizeof *g.loaded), tool_alloc(count, sizeof *g.rows),
                      tool_alloc(count, sizeof *g.models), 0};
    load_all(o, device, models, count, &g);
    if (g.count)
        eval_measure(o, g.models, g.rows, g.count);
    for (size_t i = 0; i < count; i++) {
        if (models[i].done)
            eval_run_tasks(o, &g.loaded[i], &models[i]);
        models[i].done = models[i].done && (!o->prompt || eval_continue(o, &g.loaded[i], &models[i]));
        eval_release(&g.loaded[i]);
    }
    free(g.loaded);
    free(g.rows);
    free(g.models);
}
