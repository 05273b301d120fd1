/* chart.c: text in markup, and the ticks of an axis. */
#include "chart.h"

#include <math.h>

void chart_text(FILE *out, const char *text, size_t most)
{
    for (size_t i = 0; text[i]; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (i >= most && (c & 0xc0) != 0x80) { /* not within a character of UTF-8 */
            fputs("…", out);
            return;
        }
        switch (c) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default:
            if (c >= 32)
                fputc(c, out);
        }
    }
}

double chart_tick(double high)
{
    const double magnitude = pow(10, floor(log10(high) + 1e-9)), digits = high / magnitude;
    return digits <= 2 ? magnitude / 4 : digits <= 5 ? magnitude / 2 : magnitude;
}

/* ---- Axes ---- */

/* 1, 2, 5, 10, 20, … for 0, 1, 2, 3, 4, … */
static double log_step(int i)
{
    static const int steps[] = {1, 2, 5};
    const int part = (i % 3 + 3) % 3;
    return steps[part] * pow(10, (i - part) / 3);
}

/* The last step that is not above a positive value. */
static int step_below(double value)
{
    int i = 3 * (int)floor(log10(value));
    while (log_step(i + 1) <= value * (1 + 1e-9))
        i++;
    return i;
}

struct chart_axis chart_axis_of(double low, double high)
{
    if (!(high > 0))
        return (struct chart_axis){0, 1, 0, 0};
    if (high / low <= 20)
        return (struct chart_axis){0, ceil(high / chart_tick(high)) * chart_tick(high), 0, 0};
    const int first = step_below(low), below = step_below(high);
    const int last = log_step(below) < high * (1 - 1e-9) ? below + 1 : below;
    return (struct chart_axis){log_step(first), log_step(last), first, last};
}

bool chart_axis_logarithmic(const struct chart_axis *a)
{
    return a->first < a->last;
}

double chart_axis_share(const struct chart_axis *a, double value)
{
    return chart_axis_logarithmic(a) ? log10(value / a->low) / log10(a->high / a->low) : value / a->high;
}

size_t chart_axis_ticks(const struct chart_axis *a, double out[CHART_TICKS])
{
    size_t count = 0;
    if (!chart_axis_logarithmic(a)) {
        const int steps = (int)lround(a->high / chart_tick(a->high)), thin = steps > 6 ? 2 : 1;
        for (int i = 0; i <= steps && count < CHART_TICKS; i += thin)
            out[count++] = a->high * i / steps;
        return count;
    }
    const int range = a->last - a->first, each = range <= 6 ? 1 : 3 * (range / 18 + 1);
    for (int i = a->first; i <= a->last && count < CHART_TICKS; i++)
        if (i % each == 0)
            out[count++] = log_step(i);
    return count;
}
