/* statistics_plot.c: drawings of activations: over layers, over channels, and how large their elements are. */
#include "chart.h"
#include "report_data.h"
#include "statistics_html.h"
#include "tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* The area between the axes of a drawing, and of what. */
struct area {
    struct chart_axis axis; /* the vertical one */
    double left, right, top, bottom;
};

static double place_y(const struct area *a, double value)
{
    return a->bottom - (a->bottom - a->top) * chart_axis_share(&a->axis, value);
}

static bool drawn(const struct area *a, double value)
{
    return value >= a->axis.low * 0.9999 && value <= a->axis.high * 1.0001; /* as ends are rounded */
}

static void draw_ticks(FILE *out, const struct area *a)
{
    double ticks[CHART_TICKS];
    const size_t count = chart_axis_ticks(&a->axis, ticks);
    for (size_t i = 0; i < count; i++) {
        const double y = place_y(a, ticks[i]);
        fprintf(out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>", a->left, y, a->right);
        fprintf(out, "<text class=\"end\" x=\"%.0f\" y=\"%.1f\">%.4g</text>\n", a->left - 4, y + 4, ticks[i]);
    }
}

/* A smaller range counts for an axis, so that channels that are nearly 0 do not take most of it. */
static struct chart_axis axis_of(double low, double high)
{
    const double decades = 1e5;
    if (!(high > 0) || !isfinite(high))
        return chart_axis_of(1, 0);
    return chart_axis_of(low > high / decades ? low : high / decades, high);
}

/* ---- Over layers ---- */

enum { WIDTH = 290, HEIGHT = 170, LEFT = 44, RIGHT = 6, TOP = 10, BOTTOM = 34 };
enum { LINES = 3 };
static const char *const classes[LINES] = {"most", "after", "before"};
static const char *const names[LINES] = {"largest |x|", "RMS", "mean |x|"};

static double value_of(const struct statistics_input *in, int line)
{
    return !in ? (double)NAN : line == 0 ? in->absmax : line == 1 ? in->rms : in->average;
}

static double place_layer(const struct statistics_page *p, uint64_t layer)
{
    return LEFT + 6 + (WIDTH - LEFT - RIGHT - 12) * (double)layer / (double)(p->layers > 1 ? p->layers - 1 : 1);
}

static void draw_layers(FILE *out, const struct statistics_page *p)
{
    const uint64_t far = p->layers <= 10 ? 1 : p->layers <= 40 ? 5 : p->layers <= 100 ? 10 : (p->layers + 7) / 8;
    for (uint64_t i = 0; i < p->layers; i += far)
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %dv4\"/><text class=\"mid\" x=\"%.1f\" y=\"%d\">%" PRIu64
                     "</text>\n", place_layer(p, i), HEIGHT - BOTTOM, place_layer(p, i), HEIGHT - BOTTOM + 15, i);
    fprintf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">layer</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
}

/* With a gap where there is no such input; points tell what they are. */
static void draw_line(FILE *out, const struct statistics_page *p, const struct area *a, size_t kind, int line)
{
    bool pen = false;
    fprintf(out, "<path class=\"%s\" d=\"M%d %d", classes[line], LEFT, HEIGHT - BOTTOM);
    for (uint64_t i = 0; i < p->layers; i++) {
        const double v = value_of(statistics_find(p, i, kind), line);
        const bool point = drawn(a, v);
        if (point)
            fprintf(out, "%c%.1f %.1f", pen ? 'L' : 'M', place_layer(p, i), place_y(a, v));
        pen = point;
    }
    fputs("\"/>\n", out);
}

static void draw_points(FILE *out, const struct statistics_page *p, const struct area *a, size_t kind)
{
    for (uint64_t i = 0; i < p->layers; i++) {
        const struct statistics_input *in = statistics_find(p, i, kind);
        if (!in || !drawn(a, in->absmax))
            continue;
        fprintf(out, "<circle class=\"peak\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>layer %" PRIu64 ": largest ",
                place_layer(p, i), place_y(a, in->absmax), p->layers > 48 ? "1.6" : "2.4", i);
        report_number(out, in->absmax);
        fputs(", RMS ", out);
        report_number(out, in->rms);
        fputs(", mean ", out);
        report_number(out, in->average);
        fprintf(out, "; channel %" PRIu64 " has ", in->largest);
        report_number(out, in->ratio);
        fputs(" times the mean</title></circle>\n", out);
    }
}

void statistics_over_layers(FILE *out, const struct statistics_page *page)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < page->inputs; i++)
        for (int line = 0; line < LINES; line++) {
            const double v = value_of(&page->input[i], line);
            low = v > 0 && v < low ? v : low;
            high = isfinite(v) && v > high ? v : high;
        }
    const struct area area = {axis_of(low, high), LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM};
    fputs("<p class=\"key\">", out);
    for (int line = 0; line < LINES; line++)
        fprintf(out, "<svg viewBox=\"0 0 28 11\"><path class=\"%s\" d=\"M0 6h28\"/></svg> %s ", classes[line],
                names[line]);
    fputs("</p>\n<div class=\"panels\">\n", out);
    for (size_t kind = 0; kind < page->kinds; kind++) {
        fputs("<figure><figcaption>", out);
        chart_text(out, page->kind[kind], SIZE_MAX);
        fprintf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
        draw_ticks(out, &area);
        draw_layers(out, page);
        for (int line = LINES; line-- > 0;)
            draw_line(out, page, &area, kind, line);
        draw_points(out, page, &area, kind);
        fputs("</svg></figure>\n", out);
    }
    fputs("</div>\n", out);
}

/* ---- One input ---- */

enum { SMALL_WIDTH = 220, SMALL_HEIGHT = 104, SMALL_LEFT = 34, SMALL_TOP = 6, SMALL_BOTTOM = 84, POINTS = 96 };

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Channels of a line by falling value, whatever the order of another's; to be freed. */
static double *sorted(const struct statistics_input *in, int line)
{
    double *v = tool_alloc(in->channels, sizeof *v);
    for (uint64_t i = 0; i < in->channels; i++) {
        const double x = (double)(line == 0 ? in->most[i] : line == 2 ? in->mean[i] : in->square ? in->square[i] : 0);
        v[i] = isfinite(x) && x > 0 ? line == 1 ? sqrt(x) : x : 0;
    }
    qsort(v, in->channels, sizeof *v, falling);
    return v;
}

/* The first channels are the ones to see: the rank is logarithmic. */
static void draw_curve(FILE *out, const struct area *a, const double *v, uint64_t channels, int line)
{
    uint64_t last = UINT64_MAX;
    char move = 'M';
    fprintf(out, "<path class=\"%s\" d=\"M%.0f %.0f", classes[line], a->left, a->bottom);
    for (int i = 0; i < POINTS; i++) {
        const double rank = pow((double)channels, (double)i / (POINTS - 1)); /* 1 … channels */
        const uint64_t at = (uint64_t)fmin((double)channels, fmax(1, rank + 0.5)) - 1;
        if (at == last || !drawn(a, v[at]))
            continue;
        const double share = channels > 1 ? log((double)at + 1) / log((double)channels) : 0;
        fprintf(out, "%c%.1f %.1f", move, a->left + (a->right - a->left) * share, place_y(a, v[at]));
        move = 'L';
        last = at;
    }
    fputs("\"/>", out);
}

void statistics_channels(FILE *out, const struct statistics_input *input)
{
    const uint64_t count = input->channels;
    double *curve[LINES], low = INFINITY;
    for (int line = 0; line < LINES; line++) {
        curve[line] = sorted(input, line);
        for (uint64_t i = 0; i < count; i++)
            low = curve[line][i] > 0 && curve[line][i] < low ? curve[line][i] : low;
    }
    const struct area area = {axis_of(low, curve[0][0]), SMALL_LEFT, SMALL_WIDTH - 4, SMALL_TOP, SMALL_BOTTOM};
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", SMALL_WIDTH, SMALL_HEIGHT);
    chart_text(out, input->name, SIZE_MAX);
    fprintf(out, ": %" PRIu64 " channels, each line by falling value; ranks are logarithmic</title>\n", count);
    draw_ticks(out, &area);
    for (int line = LINES; line-- > 0;)
        draw_curve(out, &area, curve[line], count, line);
    fprintf(out, "\n<text x=\"%d\" y=\"%d\">1</text><text class=\"mid\" x=\"%d\" y=\"%d\">channels, by rank</text>"
                 "<text class=\"end\" x=\"%d\" y=\"%d\">%" PRIu64 "</text></svg>\n", SMALL_LEFT, SMALL_HEIGHT - 6,
            (SMALL_LEFT + SMALL_WIDTH) / 2, SMALL_HEIGHT - 6, SMALL_WIDTH - 4, SMALL_HEIGHT - 6, count);
    for (int line = 0; line < LINES; line++)
        free(curve[line]);
}

void statistics_histogram(FILE *out, const struct statistics_input *input)
{
    int first = 0, end = STATISTICS_BINS;
    uint64_t most = 0;
    while (first < end - 1 && !input->histogram[first])
        first++;
    while (end > first + 1 && !input->histogram[end - 1])
        end--;
    for (int i = first; i < end; i++)
        most = input->histogram[i] > most ? input->histogram[i] : most;
    const double width = (SMALL_WIDTH - 8.0) / (end - first);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", SMALL_WIDTH, SMALL_HEIGHT);
    chart_text(out, input->name, SIZE_MAX);
    fprintf(out, ": how many elements are how large, two bins an octave, logarithmic counts; the largest bin has "
                 "%" PRIu64 "</title>\n<path class=\"weights\" d=\"M4 %d", most, SMALL_BOTTOM);
    for (int i = first; i < end; i++)
        fprintf(out, "V%.1fh%.2f", SMALL_BOTTOM - (most ? (SMALL_BOTTOM - SMALL_TOP) *
                log1p((double)input->histogram[i]) / log1p((double)most) : 0), width);
    fprintf(out, "V%dz\"/><path class=\"grid\" d=\"M4 %dH%d\"/>\n<text x=\"4\" y=\"%d\">", SMALL_BOTTOM, SMALL_BOTTOM,
            SMALL_WIDTH - 4, SMALL_HEIGHT - 6);
    if (first)
        report_number(out, statistics_bin(first));
    else
        fputs("0", out);
    fprintf(out, "</text><text class=\"mid\" x=\"%d\" y=\"%d\">|x|, logarithmic</text>"
                 "<text class=\"end\" x=\"%d\" y=\"%d\">",
            SMALL_WIDTH / 2, SMALL_HEIGHT - 6, SMALL_WIDTH - 4, SMALL_HEIGHT - 6);
    report_number(out, statistics_bin(end));
    fputs("</text></svg>\n", out);
}
