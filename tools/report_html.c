/* report_html.c: a calibration report as a page: what was done, what came of it, and the order of the parts. */
#include "report_html.h"

#include "chart.h"
#include "page.h"
#include "report_data.h"
#include "tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- What was done ---- */

/* The last part of a path; "model" of "a/model/". */
static char *base_name(const char *path)
{
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';)
        begin--;
    return tool_text("%.*s", (int)(end - begin), path + begin);
}

static void write_title(FILE *out, const struct report *p, bool heading)
{
    char *model = base_name(p->model);
    chart_text(out, model, SIZE_MAX);
    fputs(heading ? ": <span class=\"method\">" : ": ", out);
    chart_text(out, p->method, SIZE_MAX);
    fputs(heading ? "</span>, " : ", ", out);
    report_number(out, p->bits_per_weight);
    fputs(" bits per weight", out);
    free(model);
}

static void write_number_fact(FILE *out, const char *what, double value)
{
    if (isfinite(value))
        fprintf(out, "<dt>%s</dt><dd>%.4g</dd>\n", what, value);
}

/* "qb4w_g64_f16: 180 matrices, …"; few formats, so each is looked for again. */
static void write_formats(FILE *out, const struct report *p)
{
    bool more = false;
    size_t none = 0;
    fputs("<dt>formats</dt><dd>", out);
    for (size_t i = 0; i < p->matrices; i++) {
        size_t first = 0, count = 0;
        while (strcmp(p->matrix[first].format, p->matrix[i].format))
            first++;
        if (first < i)
            continue;
        for (size_t j = i; j < p->matrices; j++)
            count += !strcmp(p->matrix[j].format, p->matrix[i].format);
        fputs(more ? "; <code>" : "<code>", out);
        chart_text(out, p->matrix[i].format, SIZE_MAX);
        fprintf(out, "</code>: %zu matri%s", count, count == 1 ? "x" : "ces");
        more = true;
    }
    for (size_t i = 0; i < p->layers; i++)
        none += p->kind_count - p->layer[i].matrices;
    if (none)
        fprintf(out, "; not quantized: %zu matri%s", none, none == 1 ? "x" : "ces");
    fputs("</dd>\n", out);
}

static void write_facts(FILE *out, const struct report *p)
{
    fputs("<dl>\n", out);
    page_fact(out, "model", p->model);
    page_fact(out, "text", p->text);
    fprintf(out, "<dt>samples</dt><dd>%" PRIu64 " windows of %" PRIu64 " tokens, seed %" PRIu64 "</dd>\n", p->samples,
            p->window, p->seed);
    write_formats(out, p);
    write_number_fact(out, "damping", p->damping);
    write_number_fact(out, "input share", p->input_share);
    write_number_fact(out, "residual share", p->residual_share);
    if (strstr(p->method, "gptq"))
        page_fact(out, "order of columns", p->natural_order ? "as they are" : "the largest inputs first");
    page_fact(out, "math of products", p->math);
    page_fact(out, "woq", p->woq);
    fputs("</dl>\n", out);
}

/* ---- What came of it ---- */

static void write_error_card(FILE *out, const struct report *p)
{
    const double ratio = report_ratio(p->error_rtn, p->error);
    size_t better = 0, both = 0;
    for (size_t i = 0; i < p->matrices; i++) {
        const double r = report_ratio(p->matrix[i].error_rtn, p->matrix[i].error);
        both += isnan(r) ? 0 : 1;
        better += r < 1 ? 1 : 0;
    }
    page_card(out, "error beside rounding to nearest");
    if (isnan(ratio))
        fputs("–", out);
    else
        fprintf(out, "%s%.1f %%", ratio < 1 ? "−" : "+", fmin(99999, fabs(100 * (ratio - 1))));
    fputs("</b><span>from ", out);
    report_number(out, p->error_rtn);
    fputs(" to ", out);
    report_number(out, p->error);
    fprintf(out, ", geometric mean of %zu matri%s; smaller in %zu</span></div>\n", both, both == 1 ? "x" : "ces",
            better);
}

static void write_worst_card(FILE *out, const struct report *p)
{
    const size_t worst = report_ranked(p, 0);
    page_card(out, "layer with the largest error");
    fprintf(out, "layer %zu</b><span>error ", worst);
    report_number(out, p->layer[worst].error);
    fputs("; rounding to nearest ", out);
    report_number(out, p->layer[worst].error_rtn);
    fputs("; geometric mean of its matrices</span></div>\n", out);
}

static void write_cards(FILE *out, const struct report *p)
{
    uint64_t tokens = 0;
    double weights = 0;
    for (size_t i = 0; i < p->stages; i++)
        tokens = p->stage[i].tokens > tokens ? p->stage[i].tokens : tokens;
    for (size_t i = 0; i < p->matrices; i++)
        weights += (double)p->matrix[i].rows * (double)p->matrix[i].columns;
    fputs("<div class=\"cards\">\n", out);
    page_card(out, "bits per weight");
    report_number(out, p->bits_per_weight);
    fputs("</b><span>of the linear layers, scales included", out);
    if (!isnan(p->budget)) {
        fputs("; budget ", out);
        report_number(out, p->budget);
    }
    fputs("</span></div>\n", out);
    write_error_card(out, p);
    write_worst_card(out, p);
    page_card(out, "time");
    report_duration(out, p->seconds);
    fprintf(out, "</b><span>%.*f million weights, %" PRIu64 " tokens</span></div>\n</div>\n", weights < 1e8 ? 1 : 0,
            weights / 1e6, tokens);
}

/* ---- The page ---- */

static void write_sensitivity(FILE *out, const struct report *p)
{
    static const struct {
        uint64_t most;
        const char *class, *name;
    } steps[] = {{4, "b4", "4 bits"}, {8, "b8", "8 bits"}, {UINT64_MAX, "b16", "16 bits"}};
    fputs("<section>\n<h2>Sensitivity</h2>\n<p>How far the model's predictions move (KL divergence) when this stage "
          "of this layer alone is quantized, the most sensitive first, and the bits that it got.</p>\n"
          "<p class=\"key\">", out);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        size_t count = 0;
        for (size_t i = 0; i < p->sensitivities; i++) {
            const uint64_t bits = p->sensitivity[i].bits;
            count += bits <= steps[s].most && (!s || bits > steps[s - 1].most);
        }
        if (!count)
            continue;
        fprintf(out, "<svg viewBox=\"0 0 28 11\"><rect class=\"%s\" width=\"28\" height=\"11\"/></svg> ",
                steps[s].class);
        fprintf(out, "%s: %zu stage%s ", steps[s].name, count, count == 1 ? "" : "s");
    }
    fputs("</p>\n", out);
    report_order(out, p);
    fputs("</section>\n", out);
}

static void write_head(FILE *out, const struct report *p)
{
    page_begin(out);
    write_title(out, p, false);
    page_heading(out, NULL);
    write_title(out, p, true);
    fputs("</h1>\n<p class=\"soft\">What calibrated quantization did to each matrix of the model's layers.</p>\n", out);
    write_cards(out, p);
    write_facts(out, p);
    fputs("</header>\n", out);
}

static void write_page(FILE *out, const void *data)
{
    const struct report *p = data;
    write_head(out, p);
    fputs("<section>\n<h2>Error of each matrix's output</h2>\n<p>Relative to the output of the 16-bit matrix on the "
          "calibration text, layer by layer; all plots have the same axes. Points tell their values.</p>\n"
          "<p class=\"key\"><svg viewBox=\"0 0 28 11\"><path class=\"after\" d=\"M0 6h28\"/></svg> ", out);
    chart_text(out, p->method, SIZE_MAX);
    fputs(" <svg viewBox=\"0 0 28 11\"><path class=\"before\" d=\"M0 6h28\"/></svg> rounding to nearest</p>\n", out);
    report_errors(out, p);
    fputs("</section>\n<section>\n<h2>Signal to noise</h2>\n<p>Of each matrix's output, in dB: the stronger the "
          "colour, the more of it is error. 16: not quantized.</p>\n", out);
    report_heat(out, p);
    fputs("</section>\n", out);
    if (p->sensitivities)
        write_sensitivity(out, p);
    fputs("<section>\n<h2>Weights and scales</h2>\n<p>The weights before quantization, on a logarithmic scale of "
          "counts, and the scales of their groups, on a linear one. The layers with the largest errors come "
          "first.</p>\n", out);
    report_histograms(out, p);
    fputs("</section>\n<section>\n<h2>Time</h2>\n", out);
    report_times(out, p);
    fputs("</section>\n<section>\n<h2>All matrices</h2>\n", out);
    report_matrices(out, p);
    fputs("</section>\n", out);
    page_end(out, p->woq);
}

int report_html(const char *command, const char *json_file, const char *html_file)
{
    struct report report;
    int result = page_check(command, json_file, html_file);
    if (result)
        return result;
    result = report_read(command, json_file, &report);
    if (!result)
        result = page_write(command, html_file, write_page, &report);
    report_release(&report);
    return result;
}
