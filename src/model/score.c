/* score.c: how likely texts are after a common prefix. */
#include "model_impl.h"

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

/* One sequence, whose rows come in order. */
struct reading {
    const struct woq_sequence *sequence;
    struct woq_sequence_score *score;
    size_t vocabulary;
    uint32_t next; /* what the next row predicts: a token of the sequence, or at its end the choices */
};

static void score_rows(void *user, uint32_t first, uint32_t count, float *logits)
{
    struct reading *r = user;
    const struct woq_sequence *s = r->sequence;
    (void)first;
    for (uint32_t i = 0; i < count; i++, r->next++) {
        const float *row = logits + i * r->vocabulary;
        const double sum = woqi_log_sum(row, r->vocabulary);
        if (r->next < s->count) {
            r->score->log_probability += row[s->tokens[r->next]] - sum;
            r->score->greedy &= woqi_largest(row, r->vocabulary) == (uint32_t)s->tokens[r->next];
        } else {
            for (uint32_t c = 0; c < s->choice_count; c++)
                r->score->choices[c] = row[s->choices[c]] - sum;
        }
    }
}

/* text: the prefix, with room for the sequence after it. */
static enum woq_status score_sequence(struct woq_model *m, int32_t *text, uint32_t prefix_count,
                                      const struct woq_sequence *s, struct woq_sequence_score *score)
{
    struct reading reading = {s, score, m->config.vocabulary, s->count - s->scored};
    const uint32_t read = prefix_count + s->count - !s->choices, first = prefix_count + reading.next - 1;
    enum woq_status st = WOQ_OK;
    memcpy(text + prefix_count, s->tokens, s->count * sizeof *text);
    woq_model_reset(m);
    for (uint32_t done = 0, n = 0; done < read && first < read && !st; done += n) {
        n = read - done < m->batch ? read - done : m->batch;
        const uint32_t wanted = done + n <= first ? 0 : done >= first ? n : done + n - first;
        st = woqi_forward(m, text + done, n, wanted, score_rows, &reading);
    }
    return st;
}

enum woq_status woq_model_score(struct woq_model *model, const int32_t *prefix, uint32_t prefix_count,
                                const struct woq_sequence *sequences, uint32_t count,
                                struct woq_sequence_score *scores)
{
    enum woq_status st = check(model, prefix, prefix_count, sequences, count, scores);
    if (st)
        return st;
    int32_t *text = calloc(model->context, sizeof *text);
    if (!text)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for %u tokens", function, model->context);
    if (count && prefix_count)
        memcpy(text, prefix, prefix_count * sizeof *text);
    for (uint32_t i = 0; i < count && !st; i++) {
        scores[i].log_probability = 0;
        scores[i].greedy = true;
        st = score_sequence(model, text, prefix_count, &sequences[i], &scores[i]);
    }
    woq_model_reset(model);
    free(text);
    return st;
}
