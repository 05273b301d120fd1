/* bar.c: see bar.h. */
#include "bar.h"

#include <stdarg.h>

void bar_begin(struct bar *bar, bool shown)
{
    *bar = (struct bar){shown, tool_seconds(), 0};
}

bool bar_due(struct bar *bar)
{
    const double now = tool_seconds();
    if (!bar->shown || now - bar->last < 0.1)
        return false;
    bar->last = now;
    return true;
}

void bar_draw(const char *what, double done, const char *format, ...)
{
    enum { WIDTH = 24 };
    char cells[WIDTH + 1] = "";
    va_list args;
    for (int i = 0; i < WIDTH; i++)
        cells[i] = i < done * WIDTH ? '#' : '.';
    fprintf(stderr, "\r\033[K%s [%s]", what, cells);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

const char *bar_left(double seconds, char out[BAR_LEFT])
{
    const uint64_t whole = seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 1000000000;
    snprintf(out, BAR_LEFT, "%llu:%02u left", (unsigned long long)(whole / 60), (unsigned)(whole % 60));
    return out;
}

void bar_clear(const struct bar *bar)
{
    if (bar->shown)
        fputs("\r\033[K", stderr);
}
