/*
 * chart.h: what the drawings and pages of `woq` share: text in markup, and the ticks of an axis.
 */
#ifndef WOQ_CHART_H
#define WOQ_CHART_H

#include <stdint.h>
#include <stdio.h>

/* The text of elements and of attributes, in SVG and HTML. Characters below the blank are left out, as XML has none. Of
 * more than `most` bytes the rest becomes "…"; SIZE_MAX = all. */
void chart_text(FILE *out, const char *text, size_t most);

/* A round distance of ticks for values from 0 to `high` > 0: 1, 2.5 or 5 times a power of ten; 4 to 10 of them. */
double chart_tick(double high);

#endif
