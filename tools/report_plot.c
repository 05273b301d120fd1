/* report_plot.c: drawings of a calibration report over its layers: errors, SNR, sensitivity. */
#include "chart.h"
#include "report_data.h"
#include "tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void report_number(FILE *out, double value)
{
    const double size = fabs(value);
    if (!isfinite(value)) {
        fputs("–", out);
        return;
    }
    fputs(value < 0 ? "−" : "", out);
    if (value != 0 && (size < 1e-3 || size >= 1e5))
        fprintf(out, "%.2e", size);
    else
        fprintf(out, "%.*f", size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4, size);
}

/* ---- Errors over layers: a small plot for each kind of matrix, all with the same axes ---- */

enum { WIDTH = 290, HEIGHT = 170, LEFT = 38, RIGHT = 6, TOP = 20, BOTTOM = 34 };

/* Kind p->kind_count: the mean of the layer's matrices. */
static double error_of(const struct report *p, size_t layer, size_t kind, bool rtn)
{
    const struct report_layer *l = &p->layer[layer];
    if (kind == p->kind_count)
        return rtn ? l->error_rtn : l->error;
    const struct report_matrix *m = report_find(p, layer, kind);
    return !m ? NAN : rtn ? m->error_rtn : m->error;
}

/* Errors beyond have no place in a drawing. */
static const double far_off = 1e30;

static struct chart_axis choose_axis(const struct report *p)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < p->matrices; i++) {
        const double e[2] = {p->matrix[i].error_rtn, p->matrix[i].error};
        for (int j = 0; j < 2; j++)
            if (e[j] >= 1 / far_off && e[j] <= far_off) {
                low = fmin(low, e[j]);
                high = fmax(high, e[j]);
            }
    }
    return chart_axis_of(low, high);
}

static double place_x(const struct report *p, size_t layer)
{
    const double last = p->layers > 1 ? (double)(p->layers - 1) : 1;
    return LEFT + 6 + (WIDTH - LEFT - RIGHT - 12) * (double)layer / last;
}

static double place_y(const struct chart_axis *a, double value)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * chart_axis_share(a, value);
}

static bool drawn(const struct chart_axis *a, double value)
{
    return value >= a->low * 0.9999 && value <= a->high * 1.0001; /* as ends are rounded */
}

static void draw_tick(FILE *out, const struct chart_axis *a, double value)
{
    const double y = place_y(a, value);
    fprintf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, y, WIDTH - RIGHT);
    fprintf(out, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%.4g</text>\n", LEFT - 5, y + 4, value);
}

static void draw_axes(FILE *out, const struct report *p, const struct chart_axis *a)
{
    double ticks[CHART_TICKS];
    const size_t count = chart_axis_ticks(a, ticks);
    for (size_t i = 0; i < count; i++)
        draw_tick(out, a, ticks[i]);
    const size_t far = p->layers <= 10 ? 1 : p->layers <= 40 ? 5 : p->layers <= 100 ? 10 : (p->layers + 7) / 8;
    for (size_t i = 0; i < p->layers; i += far)
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %dv4\"/><text class=\"mid\" x=\"%.1f\" y=\"%d\">%zu</text>\n",
                place_x(p, i), HEIGHT - BOTTOM, place_x(p, i), HEIGHT - BOTTOM + 15, i);
    fprintf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">layer</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
    fprintf(out, "<text x=\"4\" y=\"11\">relative error%s</text>\n", chart_axis_logarithmic(a) ? ", logarithmic" : "");
}

/* A line with a gap where a layer has no such matrix. */
static void draw_line(FILE *out, const struct report *p, const struct chart_axis *a, size_t kind, bool rtn)
{
    bool pen = false;
    fprintf(out, "<path class=\"%s\" d=\"M%d %d", rtn ? "before" : "after", LEFT, HEIGHT - BOTTOM);
    for (size_t i = 0; i < p->layers; i++) {
        const double e = error_of(p, i, kind, rtn);
        const bool point = drawn(a, e);
        if (point)
            fprintf(out, "%c%.1f %.1f", pen ? 'L' : 'M', place_x(p, i), place_y(a, e));
        pen = point;
    }
    fputs("\"/>\n", out);
}

static void draw_points(FILE *out, const struct report *p, const struct chart_axis *a, size_t kind)
{
    const double radius = p->layers > 48 ? 1.6 : 2.6;
    for (size_t i = 0; i < p->layers; i++) {
        const double e = error_of(p, i, kind, false);
        if (!drawn(a, e))
            continue;
        fprintf(out, "<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>layer %zu: ", place_x(p, i),
                place_y(a, e), radius, i);
        report_number(out, e);
        fputs(", rounding to nearest ", out);
        report_number(out, error_of(p, i, kind, true));
        fputs("</title></circle>\n", out);
    }
}

void report_errors(FILE *out, const struct report *report)
{
    const struct chart_axis axis = choose_axis(report);
    fputs("<div class=\"panels\">\n", out);
    for (size_t shown = 0; shown <= report->kind_count; shown++) {
        const size_t kind = shown ? shown - 1 : report->kind_count;
        fputs("<figure><figcaption>", out);
        if (shown)
            chart_text(out, report->kinds[kind], SIZE_MAX);
        else
            fputs("all of a layer, geometric mean", out);
        fprintf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
        draw_axes(out, report, &axis);
        draw_line(out, report, &axis, kind, true);
        draw_line(out, report, &axis, kind, false);
        draw_points(out, report, &axis, kind);
        fputs("</svg></figure>\n", out);
    }
    fputs("</div>\n", out);
}

/* ---- SNR: a map of layers × kinds, cut into blocks that fit a phone ---- */

enum { STEPS = 8, BLOCK_WIDTH = 360, BLOCK_LEFT = 40, BLOCK_HEAD = 20, CELL = 21, BLOCK_LAYERS = 16 };

struct range {
    double low, high; /* dB */
};

static struct range snr_range(const struct report *p)
{
    struct range range = {INFINITY, -INFINITY};
    for (size_t i = 0; i < p->matrices; i++)
        if (isfinite(p->matrix[i].snr)) {
            range.low = fmin(range.low, p->matrix[i].snr);
            range.high = fmax(range.high, p->matrix[i].snr);
        }
    return range.low <= range.high ? range : (struct range){0, 0};
}

/* 0: the lowest SNR, so the one to look at. One without a finite SNR is no matter. */
static int snr_step(struct range range, double snr)
{
    const double share = range.high > range.low ? (snr - range.low) / (range.high - range.low) : 1;
    const int step = isfinite(share) ? (int)(share * STEPS) : STEPS;
    return step < 0 ? 0 : step < STEPS ? step : STEPS - 1;
}

void report_heat_style(FILE *out, bool dark)
{
    static const int ends[2][2][3] = {{{188, 62, 28}, {236, 240, 240}}, {{224, 104, 62}, {36, 46, 54}}};
    for (int i = 0; i < STEPS; i++) {
        int c[3];
        const double share = (double)i / (STEPS - 1);
        for (int j = 0; j < 3; j++)
            c[j] = (int)lround(ends[dark][0][j] + share * (ends[dark][1][j] - ends[dark][0][j]));
        const bool bright = 299 * c[0] + 587 * c[1] + 114 * c[2] > 128000;
        fprintf(out, ".h%d{fill:#%02x%02x%02x}.h%d+text{fill:%s}\n", i, (unsigned)c[0], (unsigned)c[1],
                (unsigned)c[2], i, bright ? "#101418" : "#fff");
    }
}

static void draw_cell(FILE *out, const struct report *p, struct range range, size_t layer, size_t kind, double x,
                      double y, double width)
{
    const struct report_matrix *m = report_find(p, layer, kind);
    const int step = m ? snr_step(range, m->snr) : 0;
    fprintf(out, "<g><title>layer %zu, ", layer);
    chart_text(out, p->kinds[kind], SIZE_MAX);
    if (m) {
        fputs(": ", out);
        report_number(out, m->snr);
        fputs(" dB, rounding to nearest ", out);
        report_number(out, m->snr_rtn);
        fputs(" dB, ", out);
        chart_text(out, m->format, SIZE_MAX);
    } else {
        fputs(": not quantized", out);
    }
    fputs("</title>", out);
    if (m)
        fprintf(out, "<rect class=\"h%d\"", step);
    else
        fputs("<rect class=\"none\"", out);
    fprintf(out, " x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>", x, y, width - 1, CELL - 1);
    fprintf(out, "<text class=\"mid\" x=\"%.1f\" y=\"%.1f\">", x + width / 2, y + 14.5);
    if (m && isfinite(m->snr))
        fprintf(out, "%s%.*f", m->snr < 0 ? "−" : "", fabs(m->snr) < 99.5 ? 1 : 0, fmin(999, fabs(m->snr)));
    else
        fputs(m ? "–" : "16", out);
    fputs("</text></g>\n", out);
}

/* "q" for "q_proj": a column is narrow. */
static void draw_kind(FILE *out, const char *name, double x, double width)
{
    static const char usual[] = "_proj";
    const size_t size = strlen(name), end = sizeof usual - 1;
    const bool cut = size > end && !strcmp(name + size - end, usual);
    char *brief = tool_text("%.*s", (int)(cut ? size - end : size), name);
    fprintf(out, "<text class=\"mid\" x=\"%.1f\" y=\"13\"><title>", x);
    chart_text(out, name, SIZE_MAX);
    fputs("</title>", out);
    chart_text(out, brief, (size_t)(width / 6.5));
    fputs("</text>\n", out);
    free(brief);
}

static void draw_block(FILE *out, const struct report *p, struct range range, size_t first, size_t count)
{
    const double width = (BLOCK_WIDTH - BLOCK_LEFT) / (double)p->kind_count;
    fprintf(out, "<svg class=\"heat\" viewBox=\"0 0 %d %d\" role=\"img\">\n"
                 "<text class=\"end\" x=\"%d\" y=\"13\">layer</text>\n",
            BLOCK_WIDTH, BLOCK_HEAD + CELL * (int)count, BLOCK_LEFT - 6);
    for (size_t k = 0; k < p->kind_count; k++)
        draw_kind(out, p->kinds[k], BLOCK_LEFT + width * ((double)k + 0.5), width);
    for (size_t i = 0; i < count; i++) {
        const double y = BLOCK_HEAD + CELL * (double)i;
        fprintf(out, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%zu</text>\n", BLOCK_LEFT - 6, y + 14.5, first + i);
        for (size_t k = 0; k < p->kind_count; k++)
            draw_cell(out, p, range, first + i, k, BLOCK_LEFT + width * (double)k, y, width);
    }
    fputs("</svg>\n", out);
}

void report_heat(FILE *out, const struct report *report)
{
    const struct range range = snr_range(report);
    const size_t blocks = (report->layers + BLOCK_LAYERS - 1) / BLOCK_LAYERS;
    const size_t wanted = blocks < 3 && report->layers > 8 ? (report->layers > 20 ? 3 : 2) : blocks;
    const size_t each = (report->layers + wanted - 1) / wanted;
    fputs("<p class=\"key\">", out);
    report_number(out, range.low);
    fputs(" dB <svg class=\"ramp\" viewBox=\"0 0 160 12\" role=\"img\">", out);
    for (int i = 0; i < STEPS; i++)
        fprintf(out, "<rect class=\"h%d\" x=\"%d\" y=\"0\" width=\"20\" height=\"12\"/>", i, 20 * i);
    fputs("</svg> ", out);
    report_number(out, range.high);
    fputs(" dB</p>\n<div class=\"maps\">\n", out);
    for (size_t first = 0; first < report->layers; first += each)
        draw_block(out, report, range, first, report->layers - first < each ? report->layers - first : each);
    fputs("</div>\n", out);
}

/* ---- Sensitivity: a bar for each stage of each layer, the most sensitive first ---- */

enum { ORDER_SHOWN = 32 };

static void draw_bar(FILE *out, const struct report_sensitivity *s, double most)
{
    const double length = s->kl > 0 && most > 0 ? 100 * s->kl / most : 0;
    fprintf(out, "<li><span>layer %" PRIu64 " ", s->layer);
    chart_text(out, s->stage, SIZE_MAX);
    fputs("</span><svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\">", out);
    fprintf(out, "<title>layer %" PRIu64 ", ", s->layer);
    chart_text(out, s->stage, SIZE_MAX);
    fputs(": KL ", out);
    report_number(out, s->kl);
    fputs(", relative error ", out);
    report_number(out, s->relative_error);
    fprintf(out, ", %" PRIu64 " weights, %" PRIu64 " bits</title>", s->weights, s->bits);
    fprintf(out, "<rect class=\"b%d\" width=\"%.2f\" height=\"10\"/></svg>", s->bits <= 4 ? 4 : s->bits <= 8 ? 8 : 16,
            length);
    fputs("<span class=\"value\">", out);
    report_number(out, s->kl);
    fprintf(out, "</span><span class=\"bits\">%" PRIu64 " bits</span></li>\n", s->bits);
}

void report_order(FILE *out, const struct report *report)
{
    const size_t all = report->sensitivities, shown = all > ORDER_SHOWN + 4 ? ORDER_SHOWN : all;
    const double most = all ? report->sensitivity[0].kl : 0;
    fputs("<ol class=\"order\">\n", out);
    for (size_t i = 0; i < all; i++) {
        if (i == shown)
            fprintf(out, "</ol>\n<details><summary>%zu less sensitive ones</summary>\n<ol class=\"order\">\n",
                    all - shown);
        draw_bar(out, &report->sensitivity[i], most);
    }
    fputs(shown < all ? "</ol></details>\n" : "</ol>\n", out);
}
