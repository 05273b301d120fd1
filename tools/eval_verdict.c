/*
 * eval_verdict.c: whether a model lost too much beside the first.
 *
 * The bounds are ours: what a person would put up with, not a standard's. Perplexity and KL are held against a limit
 * as they are measured; an accuracy is a mean of few zeros and ones, so its paired difference has to be beyond its own
 * standard error, twice unless told otherwise.
 */
#include "eval.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double bound_of(double given, const struct eval_model *m, double eight, double fewer)
{
    return isnan(given) ? m->info.bits_per_weight >= 8 ? eight : fewer : given;
}

double eval_perplexity_bound(const struct eval_options *o, const struct eval_model *m)
{
    return bound_of(o->bounds.perplexity, m, 0.5, 5);
}

double eval_kl_bound(const struct eval_options *o, const struct eval_model *m)
{
    return bound_of(o->bounds.kl, m, 0.02, 0.1);
}

/* Reasons to fail, and what is right; the first are told if there are any. */
struct findings {
    char failed[1024], passed[1024];
};

static void note(struct findings *f, bool good, const char *format, ...) TOOL_PRINTF(3, 4);
static void note(struct findings *f, bool good, const char *format, ...)
{
    char *text = good ? f->passed : f->failed;
    const size_t size = sizeof f->failed, used = strlen(text);
    va_list args;
    va_start(args, format);
    if (used)
        snprintf(text + used, size - used, "; ");
    vsnprintf(text + strlen(text), size - strlen(text), format, args);
    va_end(args);
}

static void judge_text(const struct eval_options *o, const struct eval_model *m, struct findings *f)
{
    if (m->paired) {
        const double percent = 100 * expm1(m->change), most = eval_perplexity_bound(o, m);
        const bool good = percent <= most; /* not if it is no number */
        note(f, good, "perplexity %+.*f %% %s +%g %%", fabs(percent) < 10 ? 2 : 1, percent, good ? "≤" : ">", most);
    } else {
        note(f, false, "perplexity was not compared: fewer than two windows, or other tokens than the first model's");
    }
    if (m->compared) {
        const double most = eval_kl_bound(o, m);
        const bool good = m->divergence.mean <= most;
        note(f, good, "KL %.3g %s %g", m->divergence.mean, good ? "≤" : ">", most);
    }
}

static void judge_task(const struct eval_options *o, const struct eval_model *m, uint32_t t, struct findings *f)
{
    const struct woq_task_comparison *c = &m->comparison[t];
    const struct eval_bounds *b = &o->bounds;
    const double most = b->drop_in_points ? b->drop / 100 : b->drop * c->accuracy_change_error;
    const bool good = -c->accuracy_change <= most;
    if (!m->task_compared[t]) {
        note(f, false, "%s was not compared", o->task_info[t].name);
        return;
    }
    note(f, good, "%s %+.1f ± %.1f points, %s %g %s", o->task_info[t].name, 100 * c->accuracy_change,
         100 * c->accuracy_change_error, good ? "not below" : "below", b->drop == 0 ? 0 : -b->drop,
         b->drop_in_points ? "points" : "standard errors");
}

static void judge(const struct eval_options *o, struct eval_model *m)
{
    struct findings f = {{0}, {0}};
    struct eval_verdict *v = &m->verdict;
    v->given = true;
    if (!m->done) {
        snprintf(v->text, sizeof v->text, "could not be measured");
        return;
    }
    if (o->text_file)
        judge_text(o, m, &f);
    for (uint32_t t = 0; t < o->task_count; t++)
        judge_task(o, m, t, &f);
    v->passes = !*f.failed;
    snprintf(v->text, sizeof v->text, "%s", v->passes ? f.passed : f.failed);
}

bool eval_judge(const struct eval_options *o, struct eval_model *models, size_t count)
{
    bool passes = count > 0 && models[0].done;
    if (!o->text_file && !o->task_count)
        return passes;
    for (size_t i = 1; i < count; i++) {
        judge(o, &models[i]);
        passes = passes && models[i].verdict.passes;
    }
    return passes;
}

void eval_print_verdict(const struct eval_model *models, size_t count, FILE *out)
{
    size_t given = 0, passes = 0;
    for (size_t i = 1; i < count; i++) {
        const struct eval_verdict *v = &models[i].verdict;
        if (!v->given)
            continue;
        char *label = eval_label(models, count, i);
        fprintf(out, "%sverdict: %s %s: %s\n", given ? "" : "\n", label, v->passes ? "passes" : "fails", v->text);
        free(label);
        given++;
        passes += v->passes;
    }
    if (given)
        fprintf(out, "verdict: %zu of %zu pass\n", passes, given);
}
