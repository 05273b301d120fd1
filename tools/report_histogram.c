/* report_histogram.c: the histograms of a calibration report: of weights and of scales, matrix by matrix. */
#include "chart.h"
#include "report_data.h"

#include <inttypes.h>
#include <math.h>

enum { WIDTH = 170, HEIGHT = 84, PLOT = 66, SIDE = 3, LARGE_LAYERS = 2 };

/* The outline of all bars as one path. Weights are counted from one to millions, so theirs are logarithmic. */
static void draw_bars(FILE *out, const struct report_histogram *h, const char *class, bool logarithmic)
{
    const double width = (double)(WIDTH - 2 * SIDE) / (double)h->bins;
    const double most = logarithmic ? log1p(h->most) : h->most;
    fprintf(out, "<path class=\"%s\" d=\"M%d %d", class, SIDE, PLOT);
    for (size_t i = 0; i < h->bins; i++) {
        const double value = logarithmic ? log1p(h->count[i]) : h->count[i];
        fprintf(out, "V%.1fh%.2f", PLOT - (most > 0 ? (PLOT - 4) * value / most : 0), width);
    }
    fprintf(out, "V%dz\"/>", PLOT);
}

static void draw_ends(FILE *out, double low, double high, const char *what)
{
    fprintf(out, "<path class=\"grid\" d=\"M%d %dh%d\"/><text x=\"%d\" y=\"%d\">", SIDE, PLOT, WIDTH - 2 * SIDE, SIDE,
            HEIGHT - 5);
    report_number(out, low);
    fprintf(out, "</text><text class=\"mid\" x=\"%d\" y=\"%d\">%s</text>", WIDTH / 2, HEIGHT - 5, what);
    fprintf(out, "<text class=\"end\" x=\"%d\" y=\"%d\">", WIDTH - SIDE, HEIGHT - 5);
    report_number(out, high);
    fputs("</text>", out);
}

static void draw_zero(FILE *out, double low, double high)
{
    if (low < 0 && high > 0)
        fprintf(out, "<path class=\"zero\" d=\"M%.1f 4V%d\"/>", SIDE + (WIDTH - 2 * SIDE) * (low / (low - high)), PLOT);
}

static void draw_matrix(FILE *out, const struct report *p, const struct report_matrix *m)
{
    fputs("<figure><figcaption>", out);
    chart_text(out, p->kinds[m->kind], SIZE_MAX);
    fputs(" <small>error ", out);
    report_number(out, m->error);
    fputs("</small></figcaption>\n", out);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, HEIGHT);
    chart_text(out, m->name, SIZE_MAX);
    fprintf(out, ": %" PRIu64 " × %" PRIu64 " weights, logarithmic counts</title>", m->rows, m->columns);
    draw_bars(out, &m->weights, "weights", true);
    draw_ends(out, -m->weight_limit, m->weight_limit, "weights");
    fprintf(out, "</svg>\n<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, HEIGHT);
    chart_text(out, m->name, SIZE_MAX);
    fprintf(out, ": scales of %" PRIu64 " groups, %" PRIu64 " of them negative</title>", m->groups, m->negative);
    draw_bars(out, &m->scales, "scales", false);
    draw_zero(out, m->scale_min, m->scale_max);
    draw_ends(out, m->scale_min, m->scale_max, "scales");
    fputs("</svg></figure>\n", out);
}

static void draw_layer(FILE *out, const struct report *p, size_t layer, bool large)
{
    const struct report_layer *l = &p->layer[layer];
    fprintf(out, large ? "<h3>Layer %zu <small>error " : "<details><summary>Layer %zu <small>error ", layer);
    report_number(out, l->error);
    fputs(large ? "</small></h3>\n<div class=\"small large\">\n" : "</small></summary>\n<div class=\"small\">\n", out);
    for (size_t k = 0; k < p->kind_count; k++) {
        const struct report_matrix *m = report_find(p, layer, k);
        if (m)
            draw_matrix(out, p, m);
    }
    fputs(large ? "</div>\n" : "</div></details>\n", out);
}

void report_histograms(FILE *out, const struct report *report)
{
    size_t large = 0, rest = 0;
    for (size_t i = 0; i < report->layers; i++)
        rest += report->layer[i].matrices > 0;
    for (; large < LARGE_LAYERS && large < rest; large++)
        draw_layer(out, report, report_ranked(report, large), true);
    rest -= large;
    if (!rest)
        return;
    fprintf(out, "<details><summary>%zu other layer%s</summary>\n", rest, rest == 1 ? "" : "s");
    for (size_t i = 0; i < report->layers; i++)
        if (report->layer[i].rank >= large && report->layer[i].matrices)
            draw_layer(out, report, i, false);
    fputs("</details>\n", out);
}
