/* score.c: how likely texts are after a common prefix. */
#include "model_impl.h"
#include "packing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char function[] = "woq_model_score";

/* ---- What is refused ---- */

static enum woq_status bad_token(const struct woq_model *m, const char *where, int32_t token)
{
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is %d; the vocabulary is 0 to %u", function, where,
                      (int)token, m->config.vocabulary - 1);
}

/* The first of them that is none; `count` if all are tokens. */
static uint32_t first_bad(const struct woq_model *m, const int32_t *tokens, uint32_t count)
{
    uint32_t i = 0;
    while (i < count && tokens[i] >= 0 && (uint32_t)tokens[i] < m->config.vocabulary)
        i++;
    return i;
}

static enum woq_status check_sequence(const struct woq_model *m, uint32_t prefix_count, uint32_t index,
                                      const struct woq_sequence *s, const struct woq_sequence_score *score)
{
    char where[80];
    if (!s->tokens || !s->count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: sequences[%u] %s; must be 1 or more", function, index,
                          s->tokens ? "has 0 tokens" : "has tokens NULL");
    if (!s->choices != !s->choice_count || (s->choice_count && !score->choices))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: sequences[%u] has %u choices, at %s, for scores[%u].choices at %s; must be none at "
                          "NULL, or some with memory for their scores",
                          function, index, s->choice_count, s->choices ? "an address" : "NULL", index,
                          score->choices ? "an address" : "NULL");
    const uint32_t most = prefix_count ? s->count : s->count - 1;
    if (s->scored > most)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: sequences[%u].scored is %u; must be 0 to %u of its %u tokens after a prefix of %u",
                          function, index, s->scored, most, s->count, prefix_count);
    if ((uint64_t)prefix_count + s->count > m->context)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: sequences[%u] has %u tokens after a prefix of %u, together more than the context of "
                          "%u; shorten it, or make the model with more",
                          function, index, s->count, prefix_count, m->context);
    uint32_t i = first_bad(m, s->tokens, s->count);
    if (i < s->count) {
        snprintf(where, sizeof where, "sequences[%u].tokens[%u]", index, i);
        return bad_token(m, where, s->tokens[i]);
    }
    i = first_bad(m, s->choices, s->choice_count);
    if (i < s->choice_count) {
        snprintf(where, sizeof where, "sequences[%u].choices[%u]", index, i);
        return bad_token(m, where, s->choices[i]);
    }
    return WOQ_OK;
}

static enum woq_status check(const struct woq_model *m, const int32_t *prefix, uint32_t prefix_count,
                             const struct woq_sequence *sequences, uint32_t count,
                             const struct woq_sequence_score *scores)
{
    const char *null = !m                          ? "model"
                       : !prefix && prefix_count   ? "prefix"
                       : !sequences && count       ? "sequences"
                       : !scores && count          ? "scores"
                                                   : NULL;
    if (null)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function, null);
    const uint32_t bad = first_bad(m, prefix, prefix_count);
    if (bad < prefix_count) {
        char where[40];
        snprintf(where, sizeof where, "prefix[%u]", bad);
        return bad_token(m, where, prefix[bad]);
    }
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++)
        st = check_sequence(m, prefix_count, i, &sequences[i], &scores[i]);
    return st;
}

/* ---- Scoring ---- */

/* What a wanted row predicts: a token of `sequence`, or past its last the choices; NULL: the row is the prefix's
 * last, and predicts the first token of each sequence that scores all. */
struct target {
    const struct woq_sequence *sequence;
    struct woq_sequence_score *score;
    uint32_t token;
};

struct reading {
    struct woq_model *model;
    const int32_t *prefix;
    struct woqi_packing packing;
    struct woq_sequence_score *scores;
    /* Of a forward, [batch]: */
    int32_t *tokens;
    struct target *targets;   /* of the wanted rows */
    double *log_probabilities; /* of those that are one token */
    bool *likeliest;
};

static void score_choices(const struct target *t, const float *row, double sum)
{
    for (uint32_t i = 0; i < t->sequence->choice_count; i++)
        t->score->choices[i] = row[t->sequence->choices[i]] - sum;
}

static void score_first_tokens(const struct reading *r, const float *row, double sum, uint32_t likeliest)
{
    for (uint32_t i = 0; i < r->packing.count; i++) {
        const struct woq_sequence *s = &r->packing.sequences[i];
        if (!woqi_packing_from_prefix(s))
            continue;
        r->scores[i].log_probability += row[s->tokens[0]] - sum;
        r->scores[i].greedy &= likeliest == (uint32_t)s->tokens[0];
    }
}

static bool is_token(const struct target *t)
{
    return t->sequence && t->token < t->sequence->count;
}

/* One wanted row; only what no other row of the forward writes is written. */
static void score_row(const struct reading *r, uint32_t index, const float *row)
{
    const size_t vocabulary = r->model->config.vocabulary;
    const struct target *t = &r->targets[index];
    const double sum = woqi_log_sum(row, vocabulary);
    if (!t->sequence) {
        score_first_tokens(r, row, sum, woqi_largest(row, vocabulary));
    } else if (!is_token(t)) {
        score_choices(t, row, sum);
    } else {
        const int32_t token = t->sequence->tokens[t->token];
        r->log_probabilities[index] = row[token] - sum;
        r->likeliest[index] = woqi_largest(row, vocabulary) == (uint32_t)token;
    }
}

static void score_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct reading *r = user;
    const size_t vocabulary = r->model->config.vocabulary;
#pragma omp parallel for schedule(dynamic, 1) num_threads(r->model->threads) if (count >= 4)
    for (uint32_t i = 0; i < count; i++)
        score_row(r, first + i, logits + i * vocabulary);
    for (uint32_t i = first; i < first + count; i++) {
        const struct target *t = &r->targets[i];
        if (!is_token(t))
            continue;
        t->score->log_probability += r->log_probabilities[i];
        t->score->greedy &= r->likeliest[i];
    }
}

/* The rows' tokens, and what is asked of the wanted ones. */
static void prepare(struct reading *r, const struct woqi_segments *segments)
{
    for (uint32_t i = 0; i < segments->count; i++) {
        const struct woqi_segment *g = &segments->list[i];
        const struct woq_sequence *s = g->text ? &r->packing.sequences[g->text - 1] : NULL;
        const uint32_t done = g->slot - g->begin, first = done + g->rows - g->wanted;
        memcpy(r->tokens + g->row, (s ? s->tokens : r->prefix) + done, g->rows * sizeof *r->tokens);
        for (uint32_t w = 0; w < g->wanted; w++)
            r->targets[g->out + w] =
                s ? (struct target){s, &r->scores[g->text - 1], first + w + 1} : (struct target){NULL, NULL, 0};
    }
}

static enum woq_status run(struct reading *r)
{
    struct woqi_segments segments;
    enum woq_status st = WOQ_OK;
    woqi_packing_start(&r->packing);
    while (!st && woqi_packing_next(&r->packing, &segments)) {
        prepare(r, &segments);
        st = woqi_forward_segments(r->model, r->tokens, &segments, score_rows, r);
    }
    return st;
}

static enum woq_status reading_create(struct woq_model *m, struct reading *r)
{
    r->packing.batch = m->batch;
    r->packing.slots = m->cache.slots;
    r->packing.segments = calloc(m->batch, sizeof *r->packing.segments);
    r->tokens = calloc(m->batch, sizeof *r->tokens);
    r->targets = calloc(m->batch, sizeof *r->targets);
    r->log_probabilities = calloc(m->batch, sizeof *r->log_probabilities);
    r->likeliest = calloc(m->batch, sizeof *r->likeliest);
    return r->packing.segments && r->tokens && r->targets && r->log_probabilities && r->likeliest
               ? WOQ_OK
               : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for a batch of %u tokens", function, m->batch);
}

static void reading_release(struct reading *r)
{
    free(r->packing.segments);
    free(r->tokens);
    free(r->targets);
    free(r->log_probabilities);
    free(r->likeliest);
}

enum woq_status woq_model_score(struct woq_model *model, const int32_t *prefix, uint32_t prefix_count,
                                const struct woq_sequence *sequences, uint32_t count,
                                struct woq_sequence_score *scores)
{
    enum woq_status st = check(model, prefix, prefix_count, sequences, count, scores);
    if (st)
        return st;
    struct reading r = {.model = model,
                        .prefix = prefix,
                        .packing = {.prefix_count = prefix_count, .count = count, .sequences = sequences},
                        .scores = scores};
    for (uint32_t i = 0; i < count; i++) {
        scores[i].log_probability = 0;
        scores[i].greedy = true;
    }
    woq_model_reset(model);
    if (count)
        st = reading_create(model, &r);
    if (count && !st)
        st = run(&r);
    reading_release(&r);
    return st;
}
