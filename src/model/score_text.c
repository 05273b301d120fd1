/*
 * score_text.c: models on a text, window by window.
 *
 * Each window runs through all models in turn: the baseline's scored logits, [scored][vocabulary] f32, stay
 * until the others' rows have been compared with them. Beyond the windows only numbers a token are kept.
 */
#include "divergence_row.h"
#include "windows.h"

#include <stdlib.h>
#include <string.h>

/* The window that is run, and the model that runs it. */
struct pass {
    const int32_t *targets;
    size_t vocabulary;
    int threads;
    float *logits;         /* [scored][vocabulary], the baseline's */
    struct woqi_row *rows; /* [scored], of them */
    double *nll;           /* [scored], the model's; as the two below */
    double *kl;            /* [scored] */
    uint8_t *same;         /* [scored] */
};

/* A model that nothing is compared with. */
static void score_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct pass *p = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const float *row = logits + i * p->vocabulary;
        p->nll[first + i] = woqi_log_sum(row, p->vocabulary) - row[p->targets[first + i]];
    }
}

static void keep_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct pass *p = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const float *row = logits + i * p->vocabulary;
        woqi_row_measure(row, p->vocabulary, &p->rows[first + i]);
        memcpy(p->logits + (first + i) * p->vocabulary, row, p->vocabulary * sizeof *row);
        p->nll[first + i] = woqi_row_nll(row, &p->rows[first + i], (uint32_t)p->targets[first + i]);
    }
}

static void compare_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct pass *p = user;
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->threads) if (count >= 8)
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t r = first + i;
        const float *row = logits + i * p->vocabulary;
        struct woqi_row mine;
        woqi_row_measure(row, p->vocabulary, &mine);
        p->nll[r] = woqi_row_nll(row, &mine, (uint32_t)p->targets[r]);
        p->kl[r] = woqi_row_divergence(p->logits + r * p->vocabulary, &p->rows[r], row, &mine, p->vocabulary);
        p->same[r] = mine.top == p->rows[r].top;
    }
}

static void pass_release(struct pass *p)
{
    free(p->logits);
    free(p->rows);
}

static enum woq_status pass_create(const char *function, size_t vocabulary, uint32_t scored, bool compared,
                                   struct pass *out)
{
    *out = (struct pass){.vocabulary = vocabulary};
    if (!compared)
        return WOQ_OK;
    out->logits = calloc(scored, vocabulary * sizeof *out->logits);
    out->rows = calloc(scored, sizeof *out->rows);
    return out->logits && out->rows
               ? WOQ_OK
               : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for the logits of %u tokens", function,
                            scored);
}

/* One window through one model. */
static enum woq_status run_window(const struct woqi_windows *windows, uint64_t index, struct woq_model *model,
                                  woqi_sink_fn *sink, struct pass *pass, const struct woq_text_scores *scores)
{
    const uint64_t at = index * windows->scored;
    const double start = woqi_seconds();
    pass->targets = woqi_windows_targets(windows, index);
    pass->threads = model->threads;
    pass->nll = scores->nll + at;
    pass->kl = scores->kl ? scores->kl + at : NULL;
    pass->same = scores->same ? scores->same + at : NULL;
    const enum woq_status st = woqi_windows_run(windows, index, model, sink, pass);
    scores->seconds[index] = woqi_seconds() - start;
    return st;
}

static enum woq_status run(const char *function, struct woq_model *const *models, uint32_t count,
                           const struct woq_text_params *text, const struct woqi_windows *windows, uint64_t first,
                           struct pass *pass, const struct woq_text_scores *scores, struct woqi_likelihood *likelihoods)
{
    const uint64_t total = windows->count * count;
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t w = 0; w < first; w++)
            woqi_likelihood_add(&likelihoods[i], scores[i].nll + w * windows->scored, windows->scored);
    for (uint64_t done = first * count; done < total; done++) {
        const uint32_t i = (uint32_t)(done % count);
        const uint64_t w = done / count;
        woqi_sink_fn *sink = count == 1 ? score_rows : i ? compare_rows : keep_rows;
        const enum woq_status st = run_window(windows, w, models[i], sink, pass, &scores[i]);
        if (st)
            return st;
        woqi_likelihood_add(&likelihoods[i], scores[i].nll + w * windows->scored, windows->scored);
        if (text->progress &&
            !text->progress(text->progress_user, done + 1, total, woqi_likelihood_perplexity(&likelihoods[i])))
            return woq_report(WOQ_ERROR_TIMEOUT, "%s: stopped after %llu of %llu windows", function,
                              (unsigned long long)(done + 1), (unsigned long long)total);
    }
    return WOQ_OK;
}

static enum woq_status check(const char *function, struct woq_model *const *models, uint32_t count,
                             const struct woq_text_params *text)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!models[i])
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: models[%u] is NULL", function, i);
        if (models[i]->config.vocabulary != models[0]->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "%s: models[%u] has a vocabulary of %u tokens, the baseline one of %u", function, i,
                              models[i]->config.vocabulary, models[0]->config.vocabulary);
        const enum woq_status st = woqi_windows_check(function, models[i], text);
        if (st)
            return st;
    }
    return WOQ_OK;
}

static enum woq_status check_scores(const char *function, const struct woq_text_scores *scores, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!scores[i].nll || !scores[i].seconds || (i && (!scores[i].kl || !scores[i].same)))
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: an array of scores[%u] is NULL", function, i);
    return WOQ_OK;
}

enum woq_status woqi_score_text(const char *function, struct woq_model *const *models, uint32_t count,
                                const struct woq_text_params *text, uint64_t first,
                                const struct woq_text_scores *scores)
{
    struct woqi_windows windows = {0};
    struct pass pass = {0};
    struct woqi_likelihood *likelihoods = NULL;
    enum woq_status st = check(function, models, count, text);
    if (!st)
        st = check_scores(function, scores, count);
    if (!st)
        st = woqi_windows_create(function, text, &windows);
    if (!st && first > windows.count)
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: first is %llu; there are %llu windows", function,
                        (unsigned long long)first, (unsigned long long)windows.count);
    if (!st)
        st = pass_create(function, models[0]->config.vocabulary, windows.scored, count > 1, &pass);
    if (!st && !(likelihoods = calloc(count, sizeof *likelihoods)))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for %u models", function, count);
    if (!st)
        st = run(function, models, count, text, &windows, first, &pass, scores, likelihoods);
    free(likelihoods);
    pass_release(&pass);
    woqi_windows_release(&windows);
    return st;
}

enum woq_status woq_model_score_text(struct woq_model *const *models, uint32_t count,
                                     const struct woq_text_params *text, uint64_t first,
                                     const struct woq_text_scores *scores)
{
    static const char function[] = "woq_model_score_text";
    if (!models || !text || !scores)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                          !models ? "models" : !text ? "text" : "scores");
    if (!count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: model_count is 0; must be 1 or more", function);
    return woqi_score_text(function, models, count, text, first, scores);
}

void woqi_text_scores_release(struct woq_text_scores *scores, uint32_t count)
{
    for (uint32_t i = 0; i < count && scores; i++) {
        free(scores[i].nll);
        free(scores[i].kl);
        free(scores[i].same);
        free(scores[i].seconds);
    }
    free(scores);
}

enum woq_status woqi_text_scores_create(const char *function, const struct woq_text_params *text, uint32_t count,
                                        struct woq_text_scores **out)
{
    uint64_t windows;
    uint32_t scored;
    struct woq_text_scores *s = *out = calloc(count, sizeof *s);
    const enum woq_status st = woq_text_windows(text, &windows, &scored);
    bool enough = s != NULL;
    for (uint32_t i = 0; i < count && !st && enough; i++) {
        enough = (s[i].nll = calloc(windows, scored * sizeof *s[i].nll)) &&
                 (s[i].seconds = calloc(windows, sizeof *s[i].seconds)) &&
                 (!i || ((s[i].kl = calloc(windows, scored * sizeof *s[i].kl)) &&
                         (s[i].same = calloc(windows, scored * sizeof *s[i].same))));
    }
    return st || enough ? st
                        : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for %llu windows", function,
                                     (unsigned long long)windows);
}
