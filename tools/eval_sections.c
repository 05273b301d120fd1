/* eval_sections.c: the plots of the page of `woq eval`: what is drawn of which figures. */
#include "eval_plot.h"
#include "page.h"

#include <math.h>
#include <stdlib.h>

static struct eval_row new_row(const struct eval_page *p, size_t i)
{
    return (struct eval_row){.label = eval_label(p->models, p->count, i), .value = NAN, .low = NAN, .high = NAN,
                             .from = NAN, .to = NAN, .limit = NAN, .colour = (int)i};
}

void eval_plot_perplexity(const struct eval_page *p)
{
    struct eval_row *rows = tool_alloc(p->count, sizeof *rows);
    size_t n = 0;
    for (size_t i = 1; i < p->count; i++) {
        const struct eval_model *m = &p->models[i];
        if (!m->paired)
            continue;
        struct eval_row r = new_row(p, i);
        r.value = 100 * expm1(m->change);
        r.low = 100 * expm1(m->change - m->change_error);
        r.high = 100 * expm1(m->change + m->change_error);
        r.limit = eval_perplexity_bound(p->options, m);
        snprintf(r.text, sizeof r.text, "%+.2f ± %.2f %%", r.value, (r.high - r.low) / 2);
        rows[n++] = r;
    }
    if (n) {
        fputs("<section>\n<h2>Perplexity beside the first model</h2>\n<p>Paired window by window. Dashed: how much "
              "more passes.</p>\n", p->out);
        eval_draw_rows(p->out, rows, n, 0, 0.1, false, "perplexity, % more");
        fputs("</section>\n", p->out);
    }
    free(rows);
}

void eval_plot_divergence(const struct eval_page *p)
{
    struct eval_row *rows = tool_alloc(p->count, sizeof *rows);
    size_t n = 0;
    for (size_t i = 1; i < p->count; i++) {
        const struct woq_divergence *d = &p->models[i].divergence;
        if (!p->models[i].compared)
            continue;
        struct eval_row r = new_row(p, i);
        r.value = d->mean;
        r.low = d->median;
        r.high = d->p999;
        r.from = d->p90;
        r.to = d->p99;
        r.limit = eval_kl_bound(p->options, &p->models[i]);
        const int digits = eval_decimals(d->standard_error > 0 ? d->standard_error : d->mean);
        snprintf(r.text, sizeof r.text, "%.*f ± %.*f", digits, d->mean, digits, d->standard_error);
        rows[n++] = r;
    }
    if (n) {
        fputs("<section>\n<h2>Divergence from the first model</h2>\n<p>KL divergence of the predictions. Dot: the "
              "mean, which the dashed limit is for. Line: from the median to 99.9 % of the tokens; thick: from 90 % to "
              "99 %.</p>\n", p->out);
        eval_draw_rows(p->out, rows, n, 0.01, 0.1, true, "nats a token, logarithmic");
        fputs("<div class=\"panels wide\">\n", p->out);
        for (size_t i = 1; i < p->count; i++) {
            char *text = eval_label(p->models, p->count, i);
            if (p->models[i].compared)
                eval_draw_histogram(p->out, &p->models[i], text, (int)i);
            free(text);
        }
        fputs("</div>\n</section>\n", p->out);
    }
    free(rows);
}

void eval_plot_windows(const struct eval_page *p)
{
    size_t n = 0;
    for (size_t i = 1; i < p->count; i++)
        n += p->models[i].paired;
    if (!n)
        return;
    fputs("<section>\n<h2>Window by window</h2>\n<p>Each dot is a window of the text: what it costs the first model, "
          "and upward what it costs this one. On the line both do as well; above it this one does worse.</p>\n"
          "<div class=\"panels wide\">\n", p->out);
    for (size_t i = 1; i < p->count; i++) {
        char *text = eval_label(p->models, p->count, i);
        if (p->models[i].paired)
            eval_draw_windows(p->out, &p->models[0], &p->models[i], text, (int)i);
        free(text);
    }
    fputs("</div>\n</section>\n", p->out);
}

static void set_accuracy(struct eval_row *r, double accuracy, double error)
{
    r->value = 100 * accuracy;
    r->low = 100 * (accuracy - error);
    r->high = 100 * (accuracy + error);
    snprintf(r->text, sizeof r->text, "%.1f ± %.1f %%", 100 * accuracy, 100 * error);
}

/* One that has done the task: subjects and categories are alike in all. NULL = none. */
static const struct woq_task_summary *any_summary(const struct eval_page *p, uint32_t t)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->models[i].task_done[t])
            return &p->models[i].summary[t];
    return NULL;
}

static void plot_categories(const struct eval_page *p, uint32_t t)
{
    const struct woq_task_summary *any = any_summary(p, t);
    const uint32_t categories = any ? any->category_count : 0;
    if (!categories)
        return;
    struct eval_row *rows = tool_alloc(categories * (p->count + 1), sizeof *rows);
    size_t n = 0;
    for (uint32_t c = 0; c < categories; c++) {
        rows[n] = (struct eval_row){.label = tool_text("%s", any->categories[c].name), .colour = -1};
        const uint64_t questions = any->categories[c].examples;
        snprintf(rows[n].text, sizeof rows[n].text, "%llu question%s", (unsigned long long)questions,
                 questions == 1 ? "" : "s");
        n++;
        for (size_t i = 0; i < p->count; i++) {
            if (!p->models[i].task_done[t])
                continue;
            struct eval_row r = new_row(p, i);
            const struct woq_task_group *g = &p->models[i].summary[t].categories[c];
            set_accuracy(&r, g->accuracy, g->accuracy_error);
            rows[n++] = r;
        }
    }
    fputs("<h3>By category</h3>\n", p->out);
    eval_draw_rows(p->out, rows, n, 20, 30, false, "right, %");
    free(rows);
}

static void write_subjects(const struct eval_page *p, uint32_t t)
{
    const struct woq_task_summary *any = any_summary(p, t);
    if (!any)
        return;
    fprintf(p->out, "<details><summary>%u subjects</summary>\n<div class=\"scroll\"><table class=\"sort\"><thead><tr>"
                    "<th scope=\"col\">subject</th><th scope=\"col\">category</th>"
                    "<th scope=\"col\" class=\"n\">questions</th>",
            any->group_count);
    for (size_t i = 0; i < p->count; i++) {
        fputs("<th scope=\"col\" class=\"n\">", p->out);
        eval_page_label(p, i);
        fputs("</th>", p->out);
    }
    fputs("</tr></thead><tbody>\n", p->out);
    for (uint32_t g = 0; g < any->group_count; g++) {
        const struct woq_task_group *x = &any->groups[g];
        fputs("<tr>", p->out);
        page_text_cell(p->out, x->name);
        page_text_cell(p->out, x->category ? x->category : "");
        page_count_cell(p->out, x->examples);
        for (size_t i = 0; i < p->count; i++) {
            const struct woq_task_group *y = &p->models[i].summary[t].groups[g];
            if (p->models[i].task_done[t])
                page_cell(p->out, y->accuracy, "%.1f ± %.1f", 100 * y->accuracy, 100 * y->accuracy_error);
            else
                page_no_cells(p->out, 1);
        }
        fputs("</tr>\n", p->out);
    }
    fputs("</tbody></table></div></details>\n", p->out);
}

void eval_plot_task(const struct eval_page *p, uint32_t t)
{
    const bool mmlu = p->options->task_info[t].kind == WOQ_TASK_MMLU;
    struct eval_row *rows = tool_alloc(p->count, sizeof *rows);
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (!p->models[i].task_done[t])
            continue;
        struct eval_row r = new_row(p, i);
        set_accuracy(&r, p->models[i].summary[t].accuracy, p->models[i].summary[t].accuracy_error);
        r.limit = mmlu ? 25 : NAN;
        rows[n++] = r;
    }
    fprintf(p->out, "<section>\n<h2>%s</h2>\n<p>%s</p>\n", mmlu ? "MMLU" : "LAMBADA",
            mmlu ? "Questions with four choices; dashed: what guessing gives."
                 : "The last word of a text, each of its tokens the likeliest.");
    if (n)
        eval_draw_rows(p->out, rows, n, mmlu ? 20 : 0, mmlu ? 30 : 1, false, "right, %");
    free(rows);
    if (mmlu) {
        plot_categories(p, t);
        write_subjects(p, t);
    }
    fputs("</section>\n", p->out);
}
