/* summary.c: statistics of predictions, for one model and for two. */
#include "task.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Of numbers that come one by one (Welford, Technometrics 4(3), 1962): sums of squares lose nothing to a large mean. */
struct moments {
    uint64_t count;
    double mean, squares; /* Σ (x − mean)² */
};

static void add(struct moments *m, double x)
{
    const double before = x - m->mean;
    m->mean += before / (double)++m->count;
    m->squares += before * (x - m->mean);
}

/* Of the mean. */
static double standard_error(const struct moments *m)
{
    return m->count > 1 ? sqrt(m->squares / (double)(m->count - 1) / (double)m->count) : 0;
}

static void share(uint64_t hits, uint64_t count, double *p, double *error)
{
    *p = count ? (double)hits / (double)count : 0;
    *error = count > 1 ? sqrt(*p * (1 - *p) / (double)(count - 1)) : 0;
}

static uint64_t count_correct(const struct woq_prediction *p, uint64_t count)
{
    uint64_t correct = 0;
    for (uint64_t i = 0; i < count; i++)
        correct += p[i].correct != 0;
    return correct;
}

static void sum_up_groups(const struct woq_task *task, const struct woq_prediction *predictions, uint64_t count,
                          struct woq_task_summary *out)
{
    for (size_t i = 0; i < task->subject_count; i++) {
        const struct woqi_subject *s = &task->subjects[i];
        const uint64_t end = s->first + s->count < count ? s->first + s->count : count;
        struct woq_task_group *g = &out->groups[out->group_count++];
        *g = (struct woq_task_group){.name = s->name, .category = s->category};
        g->examples = end > s->first ? end - s->first : 0;
        share(count_correct(predictions + (g->examples ? s->first : 0), g->examples), g->examples, &g->accuracy,
              &g->accuracy_error);
    }
    for (size_t c = 0; c < WOQI_CATEGORIES; c++) {
        uint64_t correct = 0, examples = 0;
        for (size_t i = 0; i < task->subject_count; i++) {
            if (task->subjects[i].category != woqi_mmlu_categories[c] || !out->groups[i].examples)
                continue;
            examples += out->groups[i].examples;
            correct += count_correct(predictions + task->subjects[i].first, out->groups[i].examples);
        }
        if (!examples)
            continue;
        struct woq_task_group *g = &out->categories[out->category_count++];
        *g = (struct woq_task_group){woqi_mmlu_categories[c], woqi_mmlu_categories[c], examples, 0, 0};
        share(correct, examples, &g->accuracy, &g->accuracy_error);
    }
}

enum woq_status woq_task_summarize(const struct woq_task *task, const struct woq_prediction *predictions,
                                   uint64_t count, struct woq_task_summary *out)
{
    if (out)
        *out = (struct woq_task_summary){.struct_size = sizeof *out};
    if (!task || !predictions || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_summarize: %s is NULL",
                          !task ? "task" : !predictions ? "predictions" : "out");
    if (!count || count > task->questions.count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_task_summarize: count is %" PRIu64 "; must be 1 … %zu, the task's examples", count,
                          task->questions.count);
    out->groups = calloc(task->subject_count, sizeof *out->groups);
    out->categories = calloc(WOQI_CATEGORIES, sizeof *out->categories);
    if (!out->groups || !out->categories) {
        woq_task_summary_release(out);
        return woqi_task_no_memory();
    }
    struct moments log_probability = {0, 0, 0};
    for (uint64_t i = 0; i < count; i++) {
        out->truncated += predictions[i].truncated != 0;
        add(&log_probability, predictions[i].log_probability);
    }
    out->examples = count;
    out->correct = count_correct(predictions, count);
    share(out->correct, count, &out->accuracy, &out->accuracy_error);
    if (task->kind == WOQ_TASK_LAMBADA) {
        out->perplexity = exp(-log_probability.mean);
        out->perplexity_error = out->perplexity * standard_error(&log_probability);
    }
    sum_up_groups(task, predictions, count, out);
    return WOQ_OK;
}

void woq_task_summary_release(struct woq_task_summary *summary)
{
    if (!summary)
        return;
    free(summary->groups);
    free(summary->categories);
    *summary = (struct woq_task_summary){.struct_size = sizeof *summary};
}

enum woq_status woq_task_compare(const struct woq_prediction *baseline, const struct woq_prediction *predictions,
                                 uint64_t count, struct woq_task_comparison *out)
{
    struct moments correct = {0, 0, 0}, ratio = {0, 0, 0}, distance = {0, 0, 0};
    uint64_t same = 0;
    if (out)
        *out = (struct woq_task_comparison){.struct_size = sizeof *out};
    if (!baseline || !predictions || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_compare: %s is NULL",
                          !baseline ? "baseline" : !predictions ? "predictions" : "out");
    if (!count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_compare: count is 0; must be 1 or more");
    for (uint64_t i = 0; i < count; i++) {
        const struct woq_prediction *a = &baseline[i], *b = &predictions[i];
        const double d = a->log_probability - b->log_probability;
        add(&correct, (b->correct != 0) - (a->correct != 0));
        add(&ratio, d);
        add(&distance, fabs(d));
        out->gained += b->correct && !a->correct;
        out->lost += a->correct && !b->correct;
        same += a->answer == b->answer;
    }
    out->examples = count;
    out->accuracy_change = ((double)out->gained - (double)out->lost) / (double)count; /* rounded once */
    out->accuracy_change_error = standard_error(&correct);
    share(same, count, &out->same_answers, &out->same_answers_error);
    out->log_perplexity_ratio = ratio.mean;
    out->log_perplexity_ratio_error = standard_error(&ratio);
    out->log_probability_distance = distance.mean;
    return WOQ_OK;
}
