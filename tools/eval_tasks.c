/* eval_tasks.c: the tasks of `woq eval`: questions, each model's answers, and their file. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>

static int chat_template(const char *command, const char *model, char **out)
{
    struct woq_checkpoint *checkpoint = NULL;
    enum woq_status st = woq_checkpoint_open(model, NULL, &checkpoint);
    *out = NULL;
    if (!st)
        st = woq_chat_template_read(checkpoint, out);
    woq_checkpoint_close(&checkpoint);
    if (st)
        return tool_failed(command, "%s: %s", model, woq_last_message());
    return *out ? TOOL_OK
                : tool_failed(command, "%s: it has no chat template, which --chat takes from the first model", model);
}

static int open_task(const char *command, struct eval_options *o, enum woq_task_kind kind, const char *path,
                     const char *chat)
{
    struct woq_task_params p = WOQ_TASK_PARAMS_INIT;
    struct woq_task **task = &o->tasks[o->task_count];
    p.kind = kind;
    p.path = path;
    p.split = kind == WOQ_TASK_MMLU ? o->split : NULL;
    p.shots = kind == WOQ_TASK_MMLU ? o->shots : 0;
    p.limit = o->limit;
    p.seed = o->seed;
    p.chat = chat;
    enum woq_status st = woq_task_open(&p, task);
    if (!st) {
        o->task_info[o->task_count].struct_size = sizeof *o->task_info;
        st = woq_task_get_info(*task, &o->task_info[o->task_count]);
        o->task_count++;
    }
    return st ? tool_failed(command, "%s", woq_last_message()) : TOOL_OK;
}

int eval_open_tasks(const char *command, struct eval_options *o, const char *first_model)
{
    char *chat = NULL;
    int result = o->chat ? chat_template(command, first_model, &chat) : TOOL_OK;
    if (!result && o->lambada)
        result = open_task(command, o, WOQ_TASK_LAMBADA, o->lambada, chat);
    if (!result && o->mmlu)
        result = open_task(command, o, WOQ_TASK_MMLU, o->mmlu, chat);
    free(chat);
    return result;
}

void eval_close_tasks(struct eval_options *o)
{
    for (uint32_t t = 0; t < o->task_count; t++)
        woq_task_close(&o->tasks[t]);
    o->task_count = 0;
}

bool eval_longest_prompt(const struct eval_options *o, const struct woq_tokenizer *tokenizer, struct eval_model *m,
                         uint32_t *out)
{
    enum { ANSWER = 32 }; /* tokens of a word or a letter and what a chat form puts around it, amply */
    size_t longest = 0;
    for (uint32_t t = 0; t < o->task_count; t++)
        for (uint64_t i = 0; i < o->task_info[t].examples; i++) {
            char *text;
            int32_t *ids = NULL;
            size_t size, count = 0;
            enum woq_status st = woq_task_prompt(o->tasks[t], i, &text, &size);
            if (!st)
                st = woq_tokenizer_encode(tokenizer, text, size, WOQ_ENCODE_BOS, &ids, &count);
            free(text);
            free(ids);
            if (st)
                return eval_good(m, st);
            longest = count > longest ? count : longest;
        }
    *out = !longest ? 0 : longest < UINT32_MAX - ANSWER ? (uint32_t)longest + ANSWER : UINT32_MAX;
    return true;
}

struct progress {
    const struct eval_options *options;
    struct eval_bar bar;
    const struct eval_model *model;
    uint32_t task;
    uint64_t noted;
};

static bool step(void *user, uint64_t done, uint64_t total)
{
    struct progress *p = user;
    eval_journal_add_predictions(p->options->journal, p->model->index, p->options->task_info[p->task].name, p->noted,
                                 done, p->model->predictions[p->task]);
    p->noted = done;
    return eval_bar_step(&p->bar, done, total, 0);
}

static void run_task(const struct eval_options *o, struct eval_loaded *l, struct eval_model *m, uint32_t t)
{
    const struct woq_task_info *info = &o->task_info[t];
    struct progress p = {.options = o, .model = m, .task = t};
    m->predictions[t] = tool_alloc(info->examples, sizeof **m->predictions);
    p.noted = eval_journal_predictions(o->journal, m->index, info->name, m->predictions[t], info->examples);
    eval_bar_begin(&p.bar, o->progress, 1, "%s: %s", m->weights.name, info->name);
    p.bar.name = "examples";
    p.bar.before = p.noted;
    enum woq_status st = woq_task_run(o->tasks[t], l->model, l->tokenizer, p.noted, m->predictions[t], step, &p);
    eval_bar_end(&p.bar);
    m->summary[t].struct_size = sizeof m->summary[t];
    if (!st)
        st = woq_task_summarize(o->tasks[t], m->predictions[t], info->examples, &m->summary[t]);
    m->task_done[t] = eval_good(m, st);
}

void eval_run_tasks(const struct eval_options *o, struct eval_loaded *l, struct eval_model *m)
{
    for (uint32_t t = 0; t < o->task_count; t++)
        run_task(o, l, m, t);
}

/* ---- Their file ---- */

static bool add_line(const struct eval_options *o, uint32_t t, uint64_t i, const char *label,
                     const struct woq_prediction *p, FILE *out)
{
    struct woq_task_example example = {.struct_size = sizeof example};
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *v = yyjson_mut_obj(doc);
    if (!v || woq_task_get_example(o->tasks[t], i, &example)) {
        yyjson_mut_doc_free(doc);
        return false;
    }
    yyjson_mut_doc_set_root(doc, v);
    tool_json_text(doc, v, "model", label);
    yyjson_mut_obj_add_str(doc, v, "task", o->task_info[t].name);
    tool_json_text(doc, v, "group", example.group);
    yyjson_mut_obj_add_uint(doc, v, "example", example.number);
    yyjson_mut_obj_add_uint(doc, v, "answer", p->answer);
    yyjson_mut_obj_add_bool(doc, v, "correct", p->correct);
    tool_json_real(doc, v, "log_probability", p->log_probability);
    if (o->task_info[t].kind == WOQ_TASK_MMLU)
        yyjson_mut_obj_add_val(doc, v, "choices", yyjson_mut_arr_with_real(doc, p->choices, 4));
    if (p->truncated)
        yyjson_mut_obj_add_uint(doc, v, "truncated", p->truncated);
    char *text = yyjson_mut_write(doc, 0, NULL);
    const bool good = text && fprintf(out, "%s\n", text) > 0;
    free(text);
    yyjson_mut_doc_free(doc);
    return good;
}

int eval_write_predictions(const char *command, const struct eval_options *o, const struct eval_model *models,
                           size_t count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    bool good = out != NULL;
    for (size_t m = 0; m < count && good; m++) {
        char *label = eval_label(models, count, m);
        for (uint32_t t = 0; t < o->task_count; t++)
            for (uint64_t i = 0; i < o->task_info[t].examples && models[m].task_done[t] && good; i++)
                good = add_line(o, t, i, label, &models[m].predictions[t][i], out);
        free(label);
    }
    good = out && !fclose(out) && good;
    const int result = good ? tool_write_file(command, o->predictions, text, size)
                            : tool_failed(command, "no host memory for the predictions");
    free(text);
    return result;
}
