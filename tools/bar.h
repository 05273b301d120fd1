/*
 * bar.h: progress on a terminal: one line of stderr, written over again and again.
 */
#ifndef WOQ_BAR_H
#define WOQ_BAR_H

#include "tool.h"

/* How long something has been going on, and when that was last drawn. */
struct bar {
    bool shown;
    double start, last; /* of tool_seconds; last 0: never */
};

void bar_begin(struct bar *bar, bool shown);
/* Whether it is to be drawn now; then drawing counts from now. At most ten times a second. */
bool bar_due(struct bar *bar);
/* "what [###...]" and the rest, with its own blank before it. done: 0 … 1. */
void bar_draw(const char *what, double done, const char *format, ...) TOOL_PRINTF(3, 4);
/* "1:05 left" into out; returns it. */
enum { BAR_LEFT = 32 };
const char *bar_left(double seconds, char out[BAR_LEFT]);
void bar_clear(const struct bar *bar);

#endif
