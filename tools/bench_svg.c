/* bench_svg.c: a bar chart of `woq bench`: a group for each product, a bar for each device. */
#include "bench.h"
#include "chart.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEFT = 250, PLOT = 560, RIGHT = 150, BAR = 15, GROUP_GAP = 12, LINE = 20, TOP = 44 };

/* Distinct also for readers who see few colours (Okabe and Ito's set). */
static const char *const colours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                      "#d55e00", "#56b4e9", "#7f7f7f"};

struct axis {
    double low, high; /* µs */
    bool logarithmic;
};

static double place(const struct axis *a, double us)
{
    if (a->logarithmic)
        return LEFT + PLOT * log10(us / a->low) / log10(a->high / a->low);
    return LEFT + PLOT * us / a->high;
}

/* Linear from zero, unless the slowest would leave the fastest no visible bar. */
static struct axis choose_axis(const struct bench_device *const *devices, size_t count)
{
    double low = INFINITY, high = 0;
    for (size_t d = 0; d < count; d++)
        for (size_t i = 0; i < devices[d]->row_count; i++) {
            const struct bench_row *r = &devices[d]->rows[i];
            double us = r->times.seconds * 1e6;
            if (!r->done || us <= 0)
                continue;
            low = us < low ? us : low;
            high = us > high ? us : high;
        }
    if (high <= 0)
        return (struct axis){0, 1, false};
    if (high / low > 30)
        return (struct axis){pow(10, floor(log10(low / 2))), pow(10, ceil(log10(high))), true};
    return (struct axis){0, ceil(high / chart_tick(high)) * chart_tick(high), false};
}

static void draw_axis(FILE *out, const struct axis *a, double top, double bottom)
{
    double step = chart_tick(a->high);
    for (double v = a->logarithmic ? a->low : 0; v <= a->high * 1.0001;
         v = a->logarithmic ? v * 10 : v + step) {
        double x = place(a, v);
        fprintf(out, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#dddddd'/>\n", x, top,
                x, bottom);
        fprintf(out, "<text x='%.1f' y='%.1f' text-anchor='middle' fill='#555555'>%.10g</text>\n",
                x, bottom + 16, v);
    }
    fprintf(out, "<text x='%d' y='%.1f' text-anchor='middle' fill='#555555'>µs per product%s; "
                 "shorter is faster</text>\n", LEFT + PLOT / 2, bottom + 36,
            a->logarithmic ? " (logarithmic scale)" : "");
}

static void draw_bar(FILE *out, const struct axis *a, const struct bench_row *r, const char *colour,
                     double y)
{
    if (!r->done) {
        fprintf(out, "<text x='%d' y='%.1f' fill='#777777' font-style='italic'>", LEFT + 4, y + 12);
        chart_text(out, r->reason, 84);
        fputs("</text>\n", out);
        return;
    }
    double us = r->times.seconds * 1e6, x = us > 0 ? place(a, us) : LEFT;
    fprintf(out, "<rect x='%d' y='%.1f' width='%.1f' height='%d' fill='%s'/>\n", LEFT, y,
            x - LEFT > 1 ? x - LEFT : 1, BAR - 2, colour);
    fprintf(out, "<text x='%.1f' y='%.1f'>%.*f µs, %s%s</text>\n", x + 5, y + 11,
            us >= 100 ? 0 : us >= 10 ? 1 : 2, us, r->path, r->error.fraction <= 1 ? "" : ", WRONG");
}

static void draw(FILE *out, const struct bench_device *const *devices, size_t count)
{
    size_t rows = devices[0]->row_count, palette = sizeof colours / sizeof *colours;
    double top = TOP + LINE * (double)count + 10;
    double bottom = top + (double)rows * ((double)count * BAR + GROUP_GAP);
    int width = LEFT + PLOT + RIGHT, height = (int)bottom + 52;
    struct axis axis = choose_axis(devices, count);
    fprintf(out, "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
                 "viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n",
            width, height, width, height);
    fprintf(out, "<rect width='%d' height='%d' fill='white'/>\n", width, height);
    fprintf(out, "<text x='16' y='26' font-size='16' font-weight='bold'>woq %s: time of a "
                 "product X[M,K] · W[N,K]ᵀ</text>\n", woq_version_string());
    for (size_t d = 0; d < count; d++) {
        double y = TOP + LINE * (double)d;
        fprintf(out, "<rect x='16' y='%.1f' width='14' height='14' fill='%s'/>"
                     "<text x='38' y='%.1f'>", y, colours[d % palette], y + 12);
        chart_text(out, devices[d]->info.selector, 40);
        fputs("  ", out);
        chart_text(out, devices[d]->info.name, 60);
        fputs(", ", out);
        chart_text(out, devices[d]->info.driver, 60);
        fputs("</text>\n", out);
    }
    draw_axis(out, &axis, top - 4, bottom);
    for (size_t i = 0; i < rows; i++) {
        const struct bench_row *r = &devices[0]->rows[i];
        double y = top + (double)i * ((double)count * BAR + GROUP_GAP);
        fprintf(out, "<text x='%d' y='%.1f' text-anchor='end'>%llu×%llu, %s, M = %u</text>\n",
                LEFT - 8, y + (double)count * BAR / 2 + 4, (unsigned long long)r->shape.n,
                (unsigned long long)r->shape.k, r->format->name, r->m);
        for (size_t d = 0; d < count; d++)
            draw_bar(out, &axis, &devices[d]->rows[i], colours[d % palette],
                     y + (double)d * BAR);
    }
    fputs("</svg>\n", out);
}

int bench_write_svg(const char *command, const struct bench_device *devices, size_t count,
                    const char *file)
{
    const struct bench_device **open = tool_alloc(count, sizeof *open);
    size_t opened = 0;
    for (size_t i = 0; i < count; i++)
        if (devices[i].device)
            open[opened++] = &devices[i];
    int result = TOOL_OK;
    FILE *out = opened ? fopen(file, "w") : NULL;
    if (!opened) {
        result = tool_failed(command, "no device was measured: '%s' not written", file);
    } else if (!out) {
        result = tool_failed(command, "cannot write '%s': %s", file, strerror(errno));
    } else {
        draw(out, open, opened);
        if (ferror(out) | fclose(out))
            result = tool_failed(command, "cannot write '%s': %s", file, strerror(errno));
    }
    free(open);
    return result;
}
