/* eval_html.c: the page of `woq eval`: verdicts, figures, and plots of them. */
#include "chart.h"
#include "eval_plot.h"
#include "page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void eval_page_label(const struct eval_page *p, size_t i)
{
    char *text = eval_label(p->models, p->count, i);
    chart_text(p->out, text, SIZE_MAX);
    free(text);
}

static bool one_file(const struct eval_page *p)
{
    for (size_t i = 1; i < p->count; i++)
        if (strcmp(p->models[i].path, p->models[0].path))
            return false;
    return true;
}

static void title(const struct eval_page *p)
{
    fputs("Validation of ", p->out);
    if (one_file(p))
        chart_text(p->out, tool_base_name(p->models[0].path), SIZE_MAX);
    else
        fprintf(p->out, "%zu models", p->count);
}

/* ---- Verdicts and facts ---- */

static void write_card(const struct eval_page *p, size_t i)
{
    const struct eval_model *m = &p->models[i];
    char *label = eval_label(p->models, p->count, i);
    if (!m->done) {
        page_verdict(p->out, label, false);
        fputs("not measured</b><span>", p->out);
        chart_text(p->out, m->reason, SIZE_MAX);
    } else if (m->verdict.given) {
        page_verdict(p->out, label, m->verdict.passes);
        fputs(m->verdict.passes ? "✓ passes</b><span>" : "✗ fails</b><span>", p->out);
        chart_text(p->out, m->verdict.text, SIZE_MAX);
    } else {
        page_card(p->out, label);
        fputs(i ? "measured</b><span>" : "baseline</b><span>", p->out);
        if (p->options->text_file)
            fprintf(p->out, "perplexity %.3f ± %.3f", m->perplexity.perplexity, m->perplexity.standard_error);
    }
    free(label);
    fputs("</span></div>\n", p->out);
}

static void write_facts(const struct eval_page *p)
{
    const struct eval_options *o = p->options;
    char text[300];
    fputs("<dl>\n", p->out);
    snprintf(text, sizeof text, "%s, %.100s, %.100s", p->device->selector, p->device->name, p->device->driver);
    page_fact(p->out, "device", text);
    page_fact(p->out, "activations", woq_type_name(o->x));
    if (o->text_file) {
        const struct woq_perplexity *x = &p->models[0].perplexity;
        snprintf(text, sizeof text, "%.150s: %llu windows of %u tokens%s, %llu tokens scored",
                 tool_base_name(o->text_file), (unsigned long long)x->windows, o->window,
                 o->stride ? ", strided" : "", (unsigned long long)x->scored);
        page_fact(p->out, "text", text);
    }
    for (uint32_t t = 0; t < o->task_count; t++) {
        const struct woq_task_info *info = &o->task_info[t];
        const bool mmlu = info->kind == WOQ_TASK_MMLU;
        char shots[32] = "";
        if (mmlu)
            snprintf(shots, sizeof shots, ", %u shots", info->shots);
        snprintf(text, sizeof text, "%llu examples%s%s, %s", (unsigned long long)info->examples,
                 o->limit ? " drawn at random" : "", shots, info->chat ? info->chat : "plain text");
        page_fact(p->out, mmlu ? "MMLU" : "LAMBADA", text);
    }
    page_fact(p->out, "date", o->date);
    page_fact(p->out, "woq", woq_version_string());
    fputs("</dl>\n", p->out);
}

/* ---- The table ---- */

static void write_task_cells(const struct eval_page *p, const struct eval_model *m, uint32_t t)
{
    const struct woq_task_summary *s = &m->summary[t];
    const struct woq_task_comparison *c = &m->comparison[t];
    if (m->task_done[t])
        page_cell(p->out, s->accuracy, "%.2f ± %.2f", 100 * s->accuracy, 100 * s->accuracy_error);
    else
        page_no_cells(p->out, 1);
    if (m->task_compared[t])
        page_cell(p->out, c->accuracy_change, "%+.2f ± %.2f", 100 * c->accuracy_change, 100 * c->accuracy_change_error);
    else
        page_no_cells(p->out, 1);
}

static void write_row(const struct eval_page *p, size_t i)
{
    const struct eval_model *m = &p->models[i];
    FILE *out = p->out;
    char size[24];
    fputs("<tr><td>", out);
    eval_page_label(p, i);
    fputs("</td>", out);
    page_text_cell(out, m->info.format);
    page_cell(out, (double)m->info.weight_bytes, "%s", tool_bytes(m->info.weight_bytes, size));
    page_cell(out, m->info.bits_per_weight, "%.2f", m->info.bits_per_weight);
    if (p->options->text_file) {
        page_cell(out, m->perplexity.perplexity, "%.3f ± %.3f", m->perplexity.perplexity, m->perplexity.standard_error);
        if (m->paired)
            page_cell(out, m->change, "%+.2f ± %.2f", 100 * expm1(m->change), 100 * exp(m->change) * m->change_error);
        else
            page_no_cells(out, 1);
    }
    if (p->options->kl && m->compared) {
        const double error = m->divergence.standard_error;
        const int digits = eval_decimals(error > 0 ? error : m->divergence.mean);
        page_cell(out, m->divergence.mean, "%.*f ± %.*f", digits, m->divergence.mean, digits, error);
        page_cell(out, m->divergence.agreement, "%.2f ± %.2f", 100 * m->divergence.agreement,
             100 * m->divergence.agreement_error);
    } else if (p->options->kl) {
        page_no_cells(out, 2);
    }
    for (uint32_t t = 0; t < p->options->task_count; t++)
        write_task_cells(p, m, t);
    if (m->verdict.given)
        fprintf(out, "<td class=\"%s\">%s</td></tr>\n", m->verdict.passes ? "good" : "bad",
                m->verdict.passes ? "passes" : "fails");
    else
        fputs("<td></td></tr>\n", out);
}

static void write_table(const struct eval_page *p)
{
    const struct eval_options *o = p->options;
    fputs("<section>\n<h2>Figures</h2>\n<div class=\"scroll\"><table class=\"sort\"><thead><tr>"
          "<th scope=\"col\">model</th><th scope=\"col\">format</th><th scope=\"col\" class=\"n\">size</th>"
          "<th scope=\"col\" class=\"n\">bits</th>", p->out);
    if (o->text_file)
        fputs("<th scope=\"col\" class=\"n\">perplexity</th><th scope=\"col\" class=\"n\">change, %</th>", p->out);
    if (o->kl)
        fputs("<th scope=\"col\" class=\"n\">KL, nats</th><th scope=\"col\" class=\"n\">same top-1, %</th>", p->out);
    for (uint32_t t = 0; t < o->task_count; t++)
        fprintf(p->out, "<th scope=\"col\" class=\"n\">%s, %%</th><th scope=\"col\" class=\"n\">Δ, points</th>",
                o->task_info[t].kind == WOQ_TASK_MMLU ? "MMLU" : "LAMBADA");
    fputs("<th scope=\"col\">verdict</th></tr></thead><tbody>\n", p->out);
    for (size_t i = 0; i < p->count; i++)
        if (p->models[i].done)
            write_row(p, i);
    fputs("</tbody></table></div>\n<p class=\"soft\">± is one standard error. Changes are paired with the first model, "
          "window by window and question by question, so that their errors are smaller than the figures' own.</p>\n"
          "</section>\n", p->out);
}

/* ---- The page ---- */

static void write_page(FILE *out, const void *data)
{
    struct eval_page page = *(const struct eval_page *)data;
    const struct eval_page *p = &page;
    page.out = out;
    page_begin(out);
    title(p);
    page_heading(out, eval_plot_style);
    title(p);
    fputs("</h1>\n<div class=\"cards\">\n", out);
    for (size_t i = 0; i < p->count; i++)
        write_card(p, i);
    fputs("</div>\n", out);
    write_facts(p);
    fputs("</header>\n", out);
    write_table(p);
    eval_plot_perplexity(p);
    eval_plot_divergence(p);
    eval_plot_windows(p);
    for (uint32_t t = 0; t < p->options->task_count; t++)
        eval_plot_task(p, t);
    page_end(out, woq_version_string());
}

int eval_write_html(const char *command, const struct eval_options *options, const struct woq_device_info *device,
                    const struct eval_model *models, size_t count)
{
    const struct eval_page page = {NULL, options, device, models, count};
    return page_write(command, options->html, write_page, &page);
}
