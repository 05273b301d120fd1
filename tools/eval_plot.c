/* eval_plot.c: drawings of the page of `woq eval`: values with their errors, divergences, windows. */
#include "eval_plot.h"

#include "chart.h"

#include <math.h>
#include <stdlib.h>

/* ---- Values with errors, one a row ---- */

enum { WIDTH = 420, LEFT = 104, RIGHT = 122, TOP = 8, ROW = 24, FOOT = 34 };

struct axis {
    double low, high;
    bool logarithmic;
};

static double place(const struct axis *a, double value)
{
    const double x = a->logarithmic ? log10(fmax(value, a->low) / a->low) / log10(a->high / a->low)
                                    : (value - a->low) / (a->high - a->low);
    return LEFT + (WIDTH - LEFT - RIGHT) * fmin(1, fmax(0, x));
}

static void widen(struct axis *a, double value)
{
    if (!isfinite(value) || (a->logarithmic && value <= 0))
        return;
    a->low = fmin(a->low, value);
    a->high = fmax(a->high, value);
}

/* Ends at ticks. */
static struct axis choose_axis(const struct eval_row *rows, size_t count, double low, double high, bool logarithmic)
{
    struct axis a = {low, high, logarithmic};
    for (size_t i = 0; i < count; i++) {
        const double values[] = {rows[i].value, rows[i].low, rows[i].high, rows[i].limit};
        for (size_t k = 0; k < 4 && rows[i].colour >= 0; k++)
            widen(&a, values[k]);
    }
    if (logarithmic) {
        a.low = pow(10, fmax(-12, floor(log10(a.low) + 1e-9)));
        a.high = pow(10, fmin(12, ceil(log10(a.high) - 1e-9)));
        a.high = fmax(a.high, 10 * a.low);
    } else {
        const double tick = chart_tick(fmax(a.high - a.low, 1e-9));
        a.low = floor(a.low / tick + 1e-9) * tick;
        a.high = ceil(a.high / tick - 1e-9) * tick;
    }
    return a;
}

static void draw_tick(FILE *out, const struct axis *a, double value, int bottom, bool written)
{
    const double x = place(a, value);
    fprintf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", x, TOP, bottom);
    if (written)
        fprintf(out, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">%s%.4g</text>", x, bottom + 14, value < 0 ? "−" : "",
                fabs(value));
    fputc('\n', out);
}

static void draw_ticks(FILE *out, const struct axis *a, int bottom)
{
    if (a->logarithmic) {
        const int first = (int)lround(log10(a->low)), last = (int)lround(log10(a->high));
        for (int i = first; i <= last; i++)
            draw_tick(out, a, pow(10, i), bottom, (last - i) % ((last - first) / 7 + 1) == 0);
        return;
    }
    const double tick = chart_tick(a->high - a->low);
    const int first = (int)lround(a->low / tick), last = (int)lround(a->high / tick), each = last - first > 6 ? 2 : 1;
    for (int i = first; i <= last; i++)
        draw_tick(out, a, tick * i, bottom, i % each == 0);
}

static void draw_row(FILE *out, const struct axis *a, const struct eval_row *r, int y)
{
    fprintf(out, "<g><title>");
    chart_text(out, r->label, SIZE_MAX);
    fprintf(out, " ");
    chart_text(out, r->text, SIZE_MAX);
    fprintf(out, "</title><text class=\"%s\" x=\"%d\" y=\"%d\">", r->colour < 0 ? "head" : "end name",
            r->colour < 0 ? 0 : LEFT - 10, y + 4);
    chart_text(out, r->label, r->colour < 0 ? 40 : 15);
    fputs("</text>", out);
    if (r->colour >= 0 && isfinite(r->value)) {
        if (isfinite(r->limit))
            fprintf(out, "<path class=\"zero\" d=\"M%.1f %dv%d\"/>", place(a, r->limit), y - ROW / 2 + 2, ROW - 4);
        if (isfinite(r->low) && isfinite(r->high))
            fprintf(out, "<path class=\"bar c%d\" d=\"M%.1f %dv8m0 -4H%.1fm0 -4v8\"/>", r->colour % EVAL_COLOURS,
                    place(a, r->low), y - 4, place(a, r->high));
        if (isfinite(r->from) && isfinite(r->to))
            fprintf(out, "<path class=\"thick c%d\" d=\"M%.1f %dH%.1f\"/>", r->colour % EVAL_COLOURS,
                    place(a, r->from), y, place(a, r->to));
        fprintf(out, "<circle class=\"dot d%d\" cx=\"%.1f\" cy=\"%d\" r=\"4\"/>", r->colour % EVAL_COLOURS,
                place(a, r->value), y);
    }
    fprintf(out, "<text class=\"end\" x=\"%d\" y=\"%d\">", WIDTH - 2, y + 4);
    chart_text(out, r->text, SIZE_MAX);
    fputs("</text></g>\n", out);
}

void eval_draw_rows(FILE *out, struct eval_row *rows, size_t count, double low, double high, bool logarithmic,
                    const char *what)
{
    const struct axis a = choose_axis(rows, count, low, high, logarithmic);
    const int bottom = TOP + ROW * (int)count;
    fprintf(out, "<svg class=\"rows\" viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, bottom + FOOT);
    draw_ticks(out, &a, bottom);
    if (!logarithmic && a.low < 0 && a.high > 0)
        fprintf(out, "<path class=\"origin\" d=\"M%.1f %dV%d\"/>\n", place(&a, 0), TOP, bottom);
    fprintf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2,
            bottom + FOOT - 5, what);
    for (size_t i = 0; i < count; i++) {
        draw_row(out, &a, &rows[i], TOP + ROW * (int)i + ROW / 2);
        free(rows[i].label);
    }
    fputs("</svg>\n", out);
}

/* ---- Small plots, one a model ---- */

enum { SMALL = 290, TALL = 170, SIDE = 40, EDGE = 10, HEAD = 12, GROUND = 34 };

static void begin_figure(FILE *out, const char *label, int height)
{
    fputs("<figure><figcaption>", out);
    chart_text(out, label, SIZE_MAX);
    fprintf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", SMALL, height);
}

void eval_draw_histogram(FILE *out, const struct eval_model *m, const char *label, int colour)
{
    enum { LOW = -8, HIGH = 2, EACH = 6, BINS = (HIGH - LOW) * EACH };
    uint64_t counts[BINS] = {0}, most = 1;
    const uint64_t n = m->perplexity.scored;
    const double width = (double)(SMALL - SIDE - EDGE) / BINS, height = TALL - HEAD - GROUND;
    for (uint64_t i = 0; i < n; i++) {
        const double x = (log10(fmax(m->scores.kl[i], 1e-300)) - LOW) * EACH;
        const int bin = !(x >= 0) ? 0 : x >= BINS ? BINS - 1 : (int)x;
        counts[bin]++;
        most = counts[bin] > most ? counts[bin] : most;
    }
    begin_figure(out, label, TALL);
    for (int d = LOW; d <= HIGH; d += 2) {
        const double x = SIDE + width * EACH * (d - LOW);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text class=\"mid\" x=\"%.1f\" y=\"%d\">%g</text>\n", x,
                HEAD, TALL - GROUND, x, TALL - GROUND + 14, pow(10, d));
    }
    fprintf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">KL of a token, nats</text>\n"
                 "<text class=\"end\" x=\"%d\" y=\"%d\">%.2g %%</text>\n<path class=\"f%d\" d=\"M%d %d",
            (SIDE + SMALL - EDGE) / 2, TALL - 4, SIDE - 4, HEAD + 8, 100.0 * (double)most / (double)n,
            colour % EVAL_COLOURS, SIDE, TALL - GROUND);
    for (int i = 0; i < BINS; i++)
        fprintf(out, "V%.1fh%.2f", TALL - GROUND - height * (double)counts[i] / (double)most, width);
    fprintf(out, "V%dz\"/>\n", TALL - GROUND);
    if (m->divergence.mean > 0 && isfinite(m->divergence.mean)) {
        const double x = SIDE + width * EACH * fmin(HIGH - LOW, fmax(0, log10(m->divergence.mean) - LOW));
        fprintf(out, "<path class=\"zero\" d=\"M%.1f %dV%d\"><title>mean %.4g</title></path>\n", x, HEAD, TALL - GROUND,
                m->divergence.mean);
    }
    fputs("</svg></figure>\n", out);
}

void eval_draw_windows(FILE *out, const struct eval_model *first, const struct eval_model *m, const char *label,
                       int colour)
{
    enum { HEIGHT = SMALL - SIDE - EDGE + HEAD + GROUND };
    const uint64_t n = m->perplexity.windows;
    const double *x = first->perplexity.window_nll, *y = m->perplexity.window_nll, side = SMALL - SIDE - EDGE;
    double low = INFINITY, high = 0;
    for (uint64_t w = 0; w < n; w++)
        if (isfinite(x[w]) && isfinite(y[w])) {
            low = fmin(low, fmin(x[w], y[w]));
            high = fmax(high, fmax(x[w], y[w]));
        }
    if (!(high > 0))
        return;
    const double tick = chart_tick(fmax(high - low, high / 100));
    low = floor(low / tick) * tick;
    high = ceil(high / tick + 1e-9) * tick;
    begin_figure(out, label, HEIGHT);
    const int ticks = (int)lround((high - low) / tick), each = ticks > 5 ? 2 : 1;
    for (int i = 0; i <= ticks; i++) {
        const double part = side * i / ticks, value = low + i * tick;
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %dv%.1fM%d %.1fh%.1f\"/>", SIDE + part, HEAD, side, SIDE,
                HEAD + side - part, side);
        if (i % each == 0)
            fprintf(out, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">%.3g</text>"
                         "<text class=\"end\" x=\"%d\" y=\"%.1f\">%.3g</text>\n", SIDE + part, HEIGHT - GROUND + 14,
                    value, SIDE - 5, HEAD + side - part + 4, value);
    }
    fprintf(out, "<path class=\"origin\" d=\"M%d %dL%d %d\"/><text class=\"mid\" x=\"%d\" y=\"%d\">"
                 "nats a token, first model</text>\n", SIDE, HEIGHT - GROUND, SMALL - EDGE, HEAD,
            (SIDE + SMALL - EDGE) / 2, HEIGHT - 4);
    for (uint64_t w = 0; w < n; w++)
        if (isfinite(x[w]) && isfinite(y[w]))
            fprintf(out, "<circle class=\"dot d%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\">"
                         "<title>window %llu: %.4g, %.4g</title></circle>\n",
                    colour % EVAL_COLOURS, SIDE + side * (x[w] - low) / (high - low),
                    HEIGHT - GROUND - side * (y[w] - low) / (high - low), n > 150 ? "1.8" : "2.8",
                    (unsigned long long)w, x[w], y[w]);
    fputs("</svg></figure>\n", out);
}

/* ---- Colours ---- */

static void colours(FILE *out, const char *const *list)
{
    for (int i = 0; i < EVAL_COLOURS; i++)
        fprintf(out, ".c%d{stroke:%s}.d%d,.f%d{fill:%s}\n", i, list[i], i, i, list[i]);
}

void eval_plot_style(FILE *out)
{
    static const char *const light[] = {"#5c6570", "#0a6a96", "#c2571a", "#2e7d4f", "#8b4fa8", "#a8801a", "#b23a5e",
                                        "#3d7f83"};
    static const char *const dark[] = {"#9da7b2", "#5ab6e2", "#f0904e", "#67c08c", "#c08fe0", "#e0b94a", "#ef7f9f",
                                       "#6fc4c8"};
    fputs(":root{--good:#1f7a4a;--bad:#bc3e1c}\n"
          ".card b.good{color:var(--good)}\n.card b.bad{color:var(--bad)}\n"
          ".good{color:var(--good)}\n.bad{color:var(--bad)}\n"
          "svg.rows{max-width:640px;margin:.4rem 0}\n"
          ".bar{fill:none;stroke-width:1.5}\n.thick{fill:none;stroke-width:6;opacity:.45}\n"
          ".dot{opacity:.85}\n.origin{stroke:var(--before);fill:none}\n"
          "svg text.name{fill:var(--ink)}\nsvg text.head{fill:var(--ink);font-weight:600}\n"
          ".row-key{display:inline-block;width:.7em;height:.7em;border-radius:50%}\n"
          ".panels.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}\n", out);
    colours(out, light);
    fputs("@media screen and (prefers-color-scheme:dark){\n:root{--good:#67c08c;--bad:#f0825c}\n", out);
    colours(out, dark);
    fputs("}\n", out);
}
