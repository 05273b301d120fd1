/* eval_report.c: the table and the texts of `woq eval`. */
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
int eval_decimals(double leading)
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
    const int n = eval_decimals(d->standard_error > 0 ? d->standard_error : d->mean);
    tool_table_add(table, "%.*f ± %.*f", n, d->mean, n, d->standard_error);
    tool_table_add(table, "%.*f", eval_decimals(d->p99), d->p99);
    tool_table_add(table, "%.2f ± %.2f %%", 100 * d->agreement, 100 * d->agreement_error);
}

static void print_task(const struct eval_options *o, const struct eval_model *m, bool first, uint32_t t,
                       struct tool_table *table)
{
    const struct woq_task_summary *s = &m->summary[t];
    const struct woq_task_comparison *c = &m->comparison[t];
    if (!m->task_done[t]) {
        for (int i = 0; i < (o->task_info[t].kind == WOQ_TASK_LAMBADA ? 3 : 2); i++)
            tool_table_add(table, "–");
        return;
    }
    tool_table_add(table, "%.2f ± %.2f", 100 * s->accuracy, 100 * s->accuracy_error);
    if (m->task_compared[t])
        tool_table_add(table, "%+.2f ± %.2f", 100 * c->accuracy_change, 100 * c->accuracy_change_error);
    else
        tool_table_add(table, "%s", first ? "baseline" : "–");
    if (o->task_info[t].kind == WOQ_TASK_LAMBADA)
        tool_table_add(table, "%.*f ± %.*f", eval_decimals(s->perplexity_error), s->perplexity,
                       eval_decimals(s->perplexity_error), s->perplexity_error);
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
    for (uint32_t t = 0; t < o->task_count; t++)
        print_task(o, m, first, t, table);
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
    for (uint32_t t = 0; t < o->task_count; t++) {
        const bool lambada = o->task_info[t].kind == WOQ_TASK_LAMBADA;
        tool_table_add(table, lambada ? "LAMBADA %%" : "MMLU %%");
        tool_table_add(table, "Δ points");
        if (lambada)
            tool_table_add(table, "LAMBADA ppl");
    }
    if (o->prompt)
        tool_table_add(table, "decode/s");
    tool_table_add(table, "path");
}

/* How often examples did not fit into any of the models. */
static uint64_t truncated(const struct eval_model *models, size_t count, uint32_t t)
{
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = models[i].summary[t].truncated > most ? models[i].summary[t].truncated : most;
    return most;
}

static void print_task_line(const struct eval_options *o, const struct eval_model *models, size_t count, uint32_t t,
                            FILE *out)
{
    const struct woq_task_info *info = &o->task_info[t];
    const uint64_t cut = truncated(models, count, t);
    fprintf(out, "%s: %llu examples", info->name, (unsigned long long)info->examples);
    if (o->limit)
        fprintf(out, " drawn by seed %llu", (unsigned long long)o->seed);
    if (info->kind == WOQ_TASK_MMLU)
        fprintf(out, " of %u subjects (%s), %u shots", info->groups, o->split ? o->split : "test", info->shots);
    fprintf(out, ", %s", info->chat ? info->chat : "plain text");
    if (cut)
        fprintf(out, "; %llu longer than the context, cut at the front", (unsigned long long)cut);
    fputc('\n', out);
}

/* What tokenizers put at the beginning; a line where all models do the same. */
static void print_bos(const struct eval_model *models, size_t count, FILE *out)
{
    bool same = true;
    for (size_t i = 1; i < count; i++)
        same = same && (models[i].bos == models[0].bos || !models[i].done);
    if (!same)
        for (size_t i = 0; i < count; i++) {
            char *label = eval_label(models, count, i);
            fprintf(out, models[i].bos < 0 ? "%s: no BOS\n" : "%s: BOS is token %d\n", label, (int)models[i].bos);
            free(label);
        }
    else if (models[0].bos >= 0)
        fprintf(out, "BOS: token %d before each question and prompt, and in place of each window's first\n",
                (int)models[0].bos);
    else
        fputs("BOS: none, as the tokenizer adds none\n", out);
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
    if (o->task_count)
        fputs("\nΔ: points of a percent beside the first model, ± of the paired difference. LAMBADA ppl: of the last "
              "word.", out);
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

/* Rows: categories, then subjects; columns: models. */
static void print_details(const struct eval_options *o, const struct eval_model *models, size_t count, uint32_t t,
                          FILE *out)
{
    struct tool_table table;
    char *align = tool_alloc(count + 3, 1);
    const struct woq_task_summary *first = NULL;
    memset(align, 'r', count + 2);
    *align = 'l';
    for (size_t i = 0; i < count && !first; i++)
        first = models[i].task_done[t] ? &models[i].summary[t] : NULL;
    fputc('\n', out);
    tool_table_begin(&table, align);
    tool_table_add(&table, "%s", o->task_info[t].name);
    tool_table_add(&table, "examples");
    for (size_t i = 0; i < count; i++) {
        char *label = eval_label(models, count, i);
        tool_table_add(&table, "%s", label);
        free(label);
    }
    for (uint32_t g = 0; first && g < first->category_count + first->group_count; g++) {
        const bool category = g < first->category_count;
        const struct woq_task_group *name =
            category ? &first->categories[g] : &first->groups[g - first->category_count];
        tool_table_add(&table, "%s%s", category ? "" : "  ", name->name);
        tool_table_add(&table, "%llu", (unsigned long long)name->examples);
        for (size_t i = 0; i < count; i++) {
            const struct woq_task_summary *s = &models[i].summary[t];
            const struct woq_task_group *x = category ? s->categories + g : s->groups + g - first->category_count;
            if (models[i].task_done[t])
                tool_table_add(&table, "%.1f ± %.1f", 100 * x->accuracy, 100 * x->accuracy_error);
            else
                tool_table_add(&table, "–");
        }
    }
    tool_table_end(&table, out);
    free(align);
}

static void print_prompts(const struct eval_options *o, const struct eval_model *models, size_t count, FILE *out)
{
    for (size_t i = 0; i < count && o->prompt; i++)
        if (models[i].done)
            fprintf(out, "\n%s, %s: %zu + %zu tokens\n%s%s\n", tool_base_name(models[i].path),
                    models[i].weights.name, models[i].prompt_tokens, models[i].generated_tokens,
                    o->prompt, models[i].generated);
}

/* One letter a column, as print_heads has them. */
static void choose_align(const struct eval_options *o, bool one_file, char *align)
{
    const char *const parts[] = {one_file ? "" : "l", "llrr", o->text_file ? "rr" : "", o->kl ? "rrr" : "",
                                 o->text_file ? "r" : ""};
    *align = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        strcat(align, parts[i]);
    for (uint32_t t = 0; t < o->task_count; t++)
        strcat(align, o->task_info[t].kind == WOQ_TASK_LAMBADA ? "rrr" : "rr");
    strcat(align, o->prompt ? "rl" : "l");
}

void eval_print(const struct eval_options *o, const struct woq_device_info *device,
                const struct eval_model *models, size_t count, FILE *out)
{
    struct tool_table table;
    char align[32];
    bool one_file = true;
    for (size_t i = 1; i < count; i++)
        one_file = one_file && !strcmp(models[i].path, models[0].path);
    choose_align(o, one_file, align);
    fprintf(out, "%s  %s, %s; %s\n", device->selector, device->name, device->driver, o->date);
    if (one_file)
        fprintf(out, "%s\n", tool_base_name(models[0].path));
    print_text_line(o, models, count, out);
    for (uint32_t t = 0; t < o->task_count; t++)
        print_task_line(o, models, count, t, out);
    print_bos(models, count, out);
    if (o->x != WOQ_F16)
        fprintf(out, "activations between products: %s\n", woq_type_name(o->x));
    tool_table_begin(&table, align);
    print_heads(o, one_file, &table);
    for (size_t i = 0; i < count; i++)
        print_model(o, &models[i], i == 0, one_file, &table);
    tool_table_end(&table, out);
    for (uint32_t t = 0; t < o->task_count && o->details; t++)
        if (o->task_info[t].kind == WOQ_TASK_MMLU)
            print_details(o, models, count, t, out);
    print_notes(o, models, count, out);
    print_prompts(o, models, count, out);
    eval_print_verdict(models, count, out);
}
