/* predict.c: runs a model on a task's examples, subject by subject and in pieces. */
#include "task.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../model/model_impl.h"

enum {
    PIECE_TOKENS = 4096, /* of a piece, at least: some seconds on a CPU */
    PIECE_PREFIXES = 32, /* and this many times the prefix, which each piece computes again: 3 % */
    PREFIX_TOKENS = 8    /* fewer are not worth a forward of their own */
};

/* A subject's examples that are being run. */
struct run {
    const struct woq_task *task;
    struct woq_model *model;
    const struct woqi_subject *subject;
    struct woqi_encoder encoder;
    struct woqi_encoded *encoded; /* [subject->count] */
    const int32_t *prefix;        /* of all of them that lost no tokens */
    uint32_t prefix_count;
    struct woq_sequence *sequences; /* [subject->count] */
    struct woq_sequence_score *scores;
    uint64_t *which; /* example of each sequence, in the subject */
    double *choices; /* [subject->count][WOQI_CHOICES] */
    struct woq_prediction *predictions; /* of the task */
};

static bool shares(const struct run *r, uint64_t i)
{
    return r->prefix_count && !r->encoded[i].dropped;
}

/* The longest beginning that all examples have in common which lost no tokens, and which leaves each a token, and those
 * that are scored. */
static void find_prefix(struct run *r)
{
    const struct woqi_encoded *first = NULL;
    uint32_t count = 0, members = 0;
    for (uint64_t i = 0; i < r->subject->count; i++) {
        const struct woqi_encoded *e = &r->encoded[i];
        if (e->dropped)
            continue;
        const uint32_t most = e->count - (e->scored ? e->scored : 1);
        uint32_t n = 0;
        if (!first) {
            first = e;
            count = most;
        }
        while (n < count && n < most && e->tokens[n] == first->tokens[n])
            n++;
        count = n;
        members++;
    }
    if (members < 2 || count < PREFIX_TOKENS)
        return;
    r->prefix = first->tokens;
    r->prefix_count = count;
}

static enum woq_status encode_all(struct run *r)
{
    const struct woqi_question *questions = r->task->questions.at + r->subject->first;
    enum woq_status st = WOQ_OK;
    if (r->task->kind == WOQ_TASK_MMLU)
        st = woqi_encoder_letters(&r->encoder, questions);
    for (uint64_t i = 0; i < r->subject->count && !st; i++)
        st = woqi_encode(&r->encoder, &questions[i], &r->encoded[i]);
    if (!st)
        find_prefix(r);
    return st;
}

/* ---- A piece ---- */

static enum woq_status keep(struct run *r, uint64_t i, const struct woq_sequence_score *score)
{
    const uint64_t example = r->subject->first + i;
    const struct woqi_question *q = &r->task->questions.at[example];
    const struct woqi_encoded *e = &r->encoded[i];
    struct woq_prediction p = {.truncated = e->dropped, .tokens = e->count};
    bool number = true;
    if (r->task->kind == WOQ_TASK_LAMBADA) {
        p.log_probability = score->log_probability;
        p.answer = score->greedy;
    } else {
        for (uint32_t c = 0; c < WOQI_CHOICES; c++) {
            p.choices[c] = (e->scored ? score->log_probability : 0) + score->choices[c];
            number = number && !isnan(p.choices[c]);
            if (p.choices[c] > p.choices[p.answer])
                p.answer = c;
        }
        p.log_probability = p.choices[q->answer];
    }
    p.correct = p.answer == q->answer;
    if (!number || isnan(p.log_probability))
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_task_run: example %" PRIu64 " (%s:%" PRIu64 "): the model gives no number as its "
                          "probability",
                          example, r->subject->file, q->line);
    r->predictions[example] = p;
    return WOQ_OK;
}

/* Examples [begin, end) of the subject that share the prefix, or the others. */
static enum woq_status score(struct run *r, uint64_t begin, uint64_t end, bool shared)
{
    const uint32_t skip = shared ? r->prefix_count : 0;
    const bool choose = r->task->kind == WOQ_TASK_MMLU;
    uint32_t n = 0;
    for (uint64_t i = begin; i < end; i++) {
        const struct woqi_encoded *e = &r->encoded[i];
        if (shares(r, i) != shared)
            continue;
        r->sequences[n] = (struct woq_sequence){e->tokens + skip, e->count - skip, e->scored,
                                                choose ? r->encoder.letters.last : NULL, choose ? WOQI_CHOICES : 0};
        r->scores[n] = (struct woq_sequence_score){.choices = choose ? r->choices + n * (size_t)WOQI_CHOICES : NULL};
        r->which[n++] = i;
    }
    if (!n)
        return WOQ_OK;
    enum woq_status st = woq_model_score(r->model, r->prefix, skip, r->sequences, n, r->scores);
    for (uint32_t i = 0; i < n && !st; i++)
        st = keep(r, r->which[i], &r->scores[i]);
    return st;
}

static uint64_t piece_end(const struct run *r, uint64_t begin)
{
    const uint64_t wanted = (uint64_t)PIECE_PREFIXES * r->prefix_count;
    uint64_t end = begin, tokens = 0;
    while (end < r->subject->count && tokens < (wanted > PIECE_TOKENS ? wanted : PIECE_TOKENS)) {
        tokens += r->encoded[end].count - (shares(r, end) ? r->prefix_count : 0);
        end++;
    }
    return end;
}

static enum woq_status run_pieces(struct run *r, uint64_t first, woq_task_progress_fn *progress, void *user)
{
    const uint64_t total = r->task->questions.count;
    enum woq_status st = WOQ_OK;
    for (uint64_t begin = first, end; begin < r->subject->count && !st; begin = end) {
        end = piece_end(r, begin);
        st = score(r, begin, end, true);
        if (!st)
            st = score(r, begin, end, false);
        const uint64_t done = r->subject->first + end;
        if (!st && progress && !progress(user, done, total) && done < total)
            st = woq_report(WOQ_ERROR_TIMEOUT, "woq_task_run: stopped after %" PRIu64 " of %" PRIu64 " examples", done,
                            total);
    }
    return st;
}

/* ---- A subject ---- */

static bool allocate(struct run *r)
{
    const size_t n = (size_t)r->subject->count;
    r->encoded = calloc(n, sizeof *r->encoded);
    r->sequences = calloc(n, sizeof *r->sequences);
    r->scores = calloc(n, sizeof *r->scores);
    r->which = calloc(n, sizeof *r->which);
    r->choices = calloc(n, WOQI_CHOICES * sizeof *r->choices);
    return r->encoded && r->sequences && r->scores && r->which && r->choices;
}

static void release(struct run *r)
{
    for (uint64_t i = 0; r->encoded && i < r->subject->count; i++)
        free(r->encoded[i].tokens);
    free(r->encoded);
    free(r->sequences);
    free(r->scores);
    free(r->which);
    free(r->choices);
}

enum woq_status woq_task_run(const struct woq_task *task, struct woq_model *model,
                             const struct woq_tokenizer *tokenizer, uint64_t first,
                             struct woq_prediction *predictions, woq_task_progress_fn *progress, void *user)
{
    struct run r = {.task = task, .model = model, .predictions = predictions};
    if (!task || !model || !tokenizer || !predictions)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_run: %s is NULL",
                          !task        ? "task"
                          : !model     ? "model"
                          : !tokenizer ? "tokenizer"
                                       : "predictions");
    if (first > task->questions.count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_run: first is %" PRIu64 "; the task has %zu examples",
                          first, task->questions.count);
    enum woq_status st = woqi_encoder_begin(task, tokenizer, model->context, &r.encoder);
    for (size_t s = 0; s < task->subject_count && !st; s++) {
        const struct woqi_subject *subject = &task->subjects[s];
        if (first >= subject->first + subject->count)
            continue;
        r.subject = subject;
        r.prefix = NULL;
        r.prefix_count = 0;
        st = allocate(&r) ? encode_all(&r) : woqi_task_no_memory();
        if (!st)
            st = run_pieces(&r, first > subject->first ? first - subject->first : 0, progress, user);
        release(&r);
    }
    return st;
}
