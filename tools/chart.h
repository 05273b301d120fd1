/*
 * chart.h: what the drawings and pages of `woq` share: text in markup, and the ticks of an axis.
 */
#ifndef WOQ_CHART_H
#define WOQ_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The text of elements and of attributes, in SVG and HTML. Characters below the blank are left out, as XML has none. Of
 * more than `most` bytes the rest becomes "…"; SIZE_MAX = all. */
void chart_text(FILE *out, const char *text, size_t most);

/* A round distance of ticks for values from 0 to `high` > 0: 1, 2.5 or 5 times a power of ten; 4 to 10 of them. */
double chart_tick(double high);

/* An axis from 0, or a logarithmic one where most would lie on the ground of such. */
struct chart_axis {
    double low, high; /* round; low is 0 on a linear one */
    int first, last;  /* of a logarithmic one, its ends as steps 1, 2, 5, 10, …; equal on a linear one */
};
enum { CHART_TICKS = 24 };

/* For values from low to high, both positive; 0 to 1 if there are none: high <= 0. */
struct chart_axis chart_axis_of(double low, double high);
bool chart_axis_logarithmic(const struct chart_axis *axis);
/* Where a value is: 0 = the low end, 1 = the high one. */
double chart_axis_share(const struct chart_axis *axis, double value);
/* The values to write beside it; their number. */
size_t chart_axis_ticks(const struct chart_axis *axis, double out[CHART_TICKS]);

#endif
