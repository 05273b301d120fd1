/* eval_json.c: the JSON of `woq eval`. */
#include "eval.h"

#include <math.h>

static void json_reals(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const double *x, uint64_t count)
{
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, key);
    for (uint64_t i = 0; i < count; i++)
        if (isfinite(x[i]))
            yyjson_mut_arr_add_real(doc, list, x[i]);
        else
            yyjson_mut_arr_add_null(doc, list); /* as tool_json_real */
}

static void json_divergence(yyjson_mut_doc *doc, yyjson_mut_val *model, const struct eval_model *m)
{
    const struct woq_divergence *d = &m->divergence;
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, model, "kl");
    tool_json_real(doc, v, "mean", d->mean);
    tool_json_real(doc, v, "standard_error", d->standard_error);
    tool_json_real(doc, v, "median", d->median);
    tool_json_real(doc, v, "p90", d->p90);
    tool_json_real(doc, v, "p99", d->p99);
    tool_json_real(doc, v, "p99_9", d->p999);
    tool_json_real(doc, v, "max", d->max);
    tool_json_real(doc, v, "top1_agreement", d->agreement);
    tool_json_real(doc, v, "top1_agreement_error", d->agreement_error);
    json_reals(doc, v, "window_mean", d->window_kl, m->perplexity.windows);
    json_reals(doc, v, "window_top1_agreement", d->window_agreement, m->perplexity.windows);
}

static void json_groups(yyjson_mut_doc *doc, yyjson_mut_val *task, const char *key, const struct woq_task_group *groups,
                        uint32_t count)
{
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, task, key);
    for (uint32_t i = 0; i < count; i++) {
        yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
        tool_json_text(doc, v, "name", groups[i].name);
        if (groups[i].category)
            yyjson_mut_obj_add_str(doc, v, "category", groups[i].category);
        yyjson_mut_obj_add_uint(doc, v, "examples", groups[i].examples);
        tool_json_real(doc, v, "accuracy", groups[i].accuracy);
        tool_json_real(doc, v, "accuracy_error", groups[i].accuracy_error);
    }
}

static void json_comparison(yyjson_mut_doc *doc, yyjson_mut_val *task, const struct woq_task_comparison *c)
{
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, task, "comparison");
    tool_json_real(doc, v, "accuracy_change", c->accuracy_change);
    tool_json_real(doc, v, "accuracy_change_error", c->accuracy_change_error);
    yyjson_mut_obj_add_uint(doc, v, "gained", c->gained);
    yyjson_mut_obj_add_uint(doc, v, "lost", c->lost);
    tool_json_real(doc, v, "same_answers", c->same_answers);
    tool_json_real(doc, v, "same_answers_error", c->same_answers_error);
    tool_json_real(doc, v, "ln_perplexity_ratio", c->log_perplexity_ratio);
    tool_json_real(doc, v, "ln_perplexity_ratio_error", c->log_perplexity_ratio_error);
    tool_json_real(doc, v, "log_probability_distance", c->log_probability_distance);
}

static void json_tasks(yyjson_mut_doc *doc, yyjson_mut_val *model, const struct eval_options *o,
                       const struct eval_model *m)
{
    yyjson_mut_val *tasks = yyjson_mut_obj_add_obj(doc, model, "tasks");
    for (uint32_t t = 0; t < o->task_count; t++) {
        const struct woq_task_summary *s = &m->summary[t];
        if (!m->task_done[t])
            continue;
        yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, tasks, o->task_info[t].name);
        yyjson_mut_obj_add_uint(doc, v, "examples", s->examples);
        yyjson_mut_obj_add_uint(doc, v, "correct", s->correct);
        yyjson_mut_obj_add_uint(doc, v, "truncated", s->truncated);
        tool_json_real(doc, v, "accuracy", s->accuracy);
        tool_json_real(doc, v, "accuracy_error", s->accuracy_error);
        if (o->task_info[t].kind == WOQ_TASK_LAMBADA) {
            tool_json_real(doc, v, "perplexity", s->perplexity);
            tool_json_real(doc, v, "perplexity_error", s->perplexity_error);
        } else {
            json_groups(doc, v, "categories", s->categories, s->category_count);
            json_groups(doc, v, "subjects", s->groups, s->group_count);
        }
        if (m->task_compared[t])
            json_comparison(doc, v, &m->comparison[t]);
    }
}

static void json_verdict(yyjson_mut_doc *doc, yyjson_mut_val *model, const struct eval_verdict *verdict)
{
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, model, "verdict");
    yyjson_mut_obj_add_bool(doc, v, "passes", verdict->passes);
    tool_json_text(doc, v, "text", verdict->text);
}

static void json_model(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct eval_options *o,
                       const struct eval_model *m)
{
    yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
    tool_json_text(doc, v, "file", m->path);
    yyjson_mut_obj_add_str(doc, v, "weights", m->weights.name);
    if (!m->done) {
        tool_json_text(doc, v, "error", m->reason);
        if (m->verdict.given)
            json_verdict(doc, v, &m->verdict);
        return;
    }
    yyjson_mut_obj_add_str(doc, v, "architecture", m->info.config.architecture);
    yyjson_mut_obj_add_str(doc, v, "format", m->info.format);
    if (m->stored)
        yyjson_mut_obj_add_str(doc, v, "stored", m->stored);
    yyjson_mut_obj_add_uint(doc, v, "parameters", m->info.parameters);
    yyjson_mut_obj_add_uint(doc, v, "weight_bytes", m->info.weight_bytes);
    tool_json_real(doc, v, "bits_per_weight", m->info.bits_per_weight);
    yyjson_mut_obj_add_str(doc, v, "path", m->info.path);
    yyjson_mut_obj_add_str(doc, v, "math", m->info.math);
    tool_json_real(doc, v, "load_seconds", m->load_seconds);
    yyjson_mut_obj_add_sint(doc, v, "bos", m->bos);
    if (o->text_file) {
        const struct woq_perplexity *p = &m->perplexity;
        tool_json_real(doc, v, "perplexity", p->perplexity);
        tool_json_real(doc, v, "standard_error", p->standard_error);
        yyjson_mut_obj_add_uint(doc, v, "windows", p->windows);
        yyjson_mut_obj_add_uint(doc, v, "scored", p->scored);
        tool_json_real(doc, v, "seconds", p->seconds);
        tool_json_real(doc, v, "tokens_per_second", m->rate);
        if (m->paired) {
            tool_json_real(doc, v, "ln_ratio", m->change);
            tool_json_real(doc, v, "ln_ratio_error", m->change_error);
        }
        json_reals(doc, v, "window_nll", p->window_nll, p->windows);
        if (m->compared)
            json_divergence(doc, v, m);
    }
    if (o->task_count)
        json_tasks(doc, v, o, m);
    if (m->verdict.given)
        json_verdict(doc, v, &m->verdict);
    if (o->prompt) {
        tool_json_text(doc, v, "generated", m->generated);
        yyjson_mut_obj_add_uint(doc, v, "prompt_tokens", m->prompt_tokens);
        yyjson_mut_obj_add_uint(doc, v, "generated_tokens", m->generated_tokens);
        tool_json_real(doc, v, "decode_tokens_per_second", m->decode_rate);
    }
}

static void json_task_list(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct eval_options *o)
{
    if (!o->task_count)
        return;
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "tasks");
    for (uint32_t t = 0; t < o->task_count; t++) {
        const struct woq_task_info *info = &o->task_info[t];
        const bool mmlu = info->kind == WOQ_TASK_MMLU;
        yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_str(doc, v, "name", info->name);
        tool_json_text(doc, v, "path", mmlu ? o->mmlu : o->lambada);
        yyjson_mut_obj_add_uint(doc, v, "examples", info->examples);
        if (mmlu) {
            yyjson_mut_obj_add_str(doc, v, "split", o->split ? o->split : "test");
            yyjson_mut_obj_add_uint(doc, v, "shots", info->shots);
        }
        yyjson_mut_obj_add_uint(doc, v, "limit", o->limit);
        yyjson_mut_obj_add_uint(doc, v, "seed", o->seed);
        if (info->chat)
            yyjson_mut_obj_add_str(doc, v, "chat", info->chat);
    }
}

int eval_write_json(const char *command, const struct eval_options *o,
                    const struct woq_device_info *device, const struct eval_model *models,
                    size_t count)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    if (!doc || !root) {
        yyjson_mut_doc_free(doc);
        return tool_failed(command, "no host memory for the JSON text");
    }
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "version", woq_version_string());
    yyjson_mut_obj_add_str(doc, root, "date", o->date);
    yyjson_mut_obj_add_str(doc, root, "device", device->selector);
    yyjson_mut_obj_add_str(doc, root, "device_name", device->name);
    yyjson_mut_obj_add_str(doc, root, "driver", device->driver);
    yyjson_mut_obj_add_str(doc, root, "x", woq_type_name(o->x));
    if (o->text_file) {
        tool_json_text(doc, root, "text", o->text_file);
        yyjson_mut_obj_add_uint(doc, root, "window", o->window);
        yyjson_mut_obj_add_uint(doc, root, "stride", o->stride);
    }
    json_task_list(doc, root, o);
    if (o->prompt)
        tool_json_text(doc, root, "prompt", o->prompt);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "models");
    for (size_t i = 0; i < count; i++)
        json_model(doc, list, o, &models[i]);
    return tool_json_write(command, doc, o->json);
}
