/* eval_report.c: the table, the texts and the JSON of `woq eval`. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void rate(struct tool_table *table, double value)
{
    if (value > 0)
        tool_table_add(table, "%.*f", value < 100 ? 1 : 0, value);
    else
        tool_table_add(table, "–");
}

/* With so many digits behind the point that `leading`, a number of its size, has two. */
static int decimals(double leading)
{
    const int digits = leading > 0 && isfinite(leading) ? 1 - (int)floor(log10(leading)) : 1;
    return digits < 0 ? 0 : digits > 9 ? 9 : digits;
}

static void print_divergence(const struct eval_model *m, struct tool_table *table)
{
    const struct woq_divergence *d = &m->divergence;
    if (!m->compared) {
        for (int i = 0; i < 3; i++)
            tool_table_add(table, "–");
        return;
    }
    const int n = decimals(d->standard_error > 0 ? d->standard_error : d->mean);
    tool_table_add(table, "%.*f ± %.*f", n, d->mean, n, d->standard_error);
    tool_table_add(table, "%.*f", decimals(d->p99), d->p99);
    tool_table_add(table, "%.2f ± %.2f %%", 100 * d->agreement, 100 * d->agreement_error);
}

static void print_model(const struct eval_options *o, const struct eval_model *m, bool first,
                        bool one_file, struct tool_table *table)
{
    char size[24];
    if (!one_file)
        tool_table_add(table, "%s", tool_base_name(m->path));
    tool_table_add(table, "%s", m->weights.name);
    if (!m->done) {
        tool_table_span(table, "– %s", m->reason);
        return;
    }
    tool_table_add(table, "%s", m->info.format);
    tool_table_add(table, "%s", tool_bytes(m->info.weight_bytes, size));
    tool_table_add(table, "%.2f", m->info.bits_per_weight);
    if (o->text_file) {
        tool_table_add(table, "%.3f ± %.3f", m->perplexity.perplexity,
                       m->perplexity.standard_error);
        if (m->paired)
            tool_table_add(table, "%+.4f ± %.4f", m->change, m->change_error);
        else
            tool_table_add(table, "%s", first ? "baseline" : "–");
        if (o->kl)
            print_divergence(m, table);
        rate(table, m->rate);
    }
    if (o->prompt)
        rate(table, m->decode_rate);
    tool_table_add(table, "%s %s", m->info.path, m->info.math);
}

static void print_heads(const struct eval_options *o, bool one_file, struct tool_table *table)
{
    static const char *const heads[] = {"model", "weights", "format", "size", "bits"};
    for (size_t i = one_file; i < sizeof heads / sizeof *heads; i++)
        tool_table_add(table, "%s", heads[i]);
    if (o->text_file) {
        tool_table_add(table, "perplexity");
        tool_table_add(table, "ln(PPL/first)");
        if (o->kl) {
            tool_table_add(table, "KL from first");
            tool_table_add(table, "KL 99 %%");
            tool_table_add(table, "same top-1");
        }
        tool_table_add(table, "tokens/s");
    }
    if (o->prompt)
        tool_table_add(table, "decode/s");
    tool_table_add(table, "path");
}

static void print_text_line(const struct eval_options *o, const struct eval_model *models,
                            size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct woq_perplexity *p = &models[i].perplexity;
        if (!p->scored)
            continue;
        fprintf(out, "%s: %llu windows of %u tokens, %llu tokens scored\n", tool_base_name(o->text_file),
                (unsigned long long)p->windows, o->window, (unsigned long long)p->scored);
        return;
    }
}

static bool is_plain(const char *type)
{
    return !strcmp(type, "F16") || !strcmp(type, "F32") || !strcmp(type, "BF16");
}

static void print_notes(const struct eval_options *o, const struct eval_model *models, size_t count,
                        FILE *out)
{
    fputs("\nsize: linear layers, embeddings and head as they lie in memory. bits: of a weight of the "
          "linear\nlayers, scales and zeros included.", out);
    if (o->text_file)
        fputs(" ±: one standard error; that of ln(PPL/first) is of the\npaired windows, and so smaller "
              "than the perplexities' own.", out);
    if (o->kl)
        fputs("\nKL: KL(first ‖ model) of the predictions, nats a token; ± over windows, of top-1 too. KL 99 %: "
              "of\n99 % of the tokens it is smaller. same top-1: both find the same token likeliest. tokens/s: "
              "with\nthe comparison.", out);
    fputc('\n', out);
    const char *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct eval_model *m = &models[i];
        if (!m->done || m->weights.mode == WOQ_MODEL_AS_STORED || !m->stored || is_plain(m->stored) ||
            (last && !strcmp(last, m->path)))
            continue;
        fprintf(out, "%s holds %s: f16 and rounded forms are made from that, dequantized.\n",
                tool_base_name(m->path), m->stored);
        last = m->path;
    }
}

void eval_print(const struct eval_options *o, const struct woq_device_info *device,
                const struct eval_model *models, size_t count, FILE *out)
{
    struct tool_table table;
    char align[16];
    bool one_file = true;
    for (size_t i = 1; i < count; i++)
        one_file = one_file && !strcmp(models[i].path, models[0].path);
    snprintf(align, sizeof align, "%sllrr%s%s%sl", one_file ? "" : "l", o->text_file ? "rrr" : "",
             o->kl ? "rrr" : "", o->prompt ? "r" : "");
    fprintf(out, "%s  %s, %s\n", device->selector, device->name, device->driver);
    if (one_file)
        fprintf(out, "%s\n", tool_base_name(models[0].path));
    print_text_line(o, models, count, out);
    tool_table_begin(&table, align);
    print_heads(o, one_file, &table);
    for (size_t i = 0; i < count; i++)
        print_model(o, &models[i], i == 0, one_file, &table);
    tool_table_end(&table, out);
    print_notes(o, models, count, out);
    for (size_t i = 0; i < count && o->prompt; i++)
        if (models[i].done)
            fprintf(out, "\n%s, %s: %zu + %zu tokens\n%s%s\n", tool_base_name(models[i].path),
                    models[i].weights.name, models[i].prompt_tokens, models[i].generated_tokens,
                    o->prompt, models[i].generated);
}

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

static void json_model(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct eval_options *o,
                       const struct eval_model *m)
{
    yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
    tool_json_text(doc, v, "file", m->path);
    yyjson_mut_obj_add_str(doc, v, "weights", m->weights.name);
    if (!m->done) {
        tool_json_text(doc, v, "error", m->reason);
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
    if (o->prompt) {
        tool_json_text(doc, v, "generated", m->generated);
        yyjson_mut_obj_add_uint(doc, v, "prompt_tokens", m->prompt_tokens);
        yyjson_mut_obj_add_uint(doc, v, "generated_tokens", m->generated_tokens);
        tool_json_real(doc, v, "decode_tokens_per_second", m->decode_rate);
    }
}

int eval_write_json(const char *command, const struct eval_options *o,
                    const struct woq_device_info *device, const struct eval_model *models,
                    size_t count, const char *file)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    if (!doc || !root) {
        yyjson_mut_doc_free(doc);
        return tool_failed(command, "no host memory for the JSON text");
    }
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "version", woq_version_string());
    yyjson_mut_obj_add_str(doc, root, "device", device->selector);
    yyjson_mut_obj_add_str(doc, root, "device_name", device->name);
    yyjson_mut_obj_add_str(doc, root, "driver", device->driver);
    if (o->text_file) {
        tool_json_text(doc, root, "text", o->text_file);
        yyjson_mut_obj_add_uint(doc, root, "window", o->window);
        yyjson_mut_obj_add_uint(doc, root, "stride", o->stride);
    }
    if (o->prompt)
        tool_json_text(doc, root, "prompt", o->prompt);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "models");
    for (size_t i = 0; i < count; i++)
        json_model(doc, list, o, &models[i]);
    return tool_json_write(command, doc, file);
}
