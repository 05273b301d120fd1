/* eval_bar.c: progress of `woq eval` on a terminal. */
#include "bar.h"
#include "eval.h"

#include <stdarg.h>
#include <string.h>

void eval_bar_begin(struct eval_bar *bar, bool shown, uint64_t unit, const char *format, ...)
{
    va_list args;
    *bar = (struct eval_bar){.shown = shown, .name = "tokens", .unit = unit, .start = tool_seconds()};
    va_start(args, format);
    vsnprintf(bar->what, sizeof bar->what, format, args);
    va_end(args);
    if (shown)
        fprintf(stderr, "\r\033[K%s", bar->what);
}

/* Steps a second. The first call's steps may compile kernels, so the rate is that of the others once there are any. */
static double steps_per_second(struct eval_bar *bar, uint64_t done)
{
    const double now = tool_seconds();
    if (!bar->first_done) {
        bar->first_done = done;
        bar->first = now;
    }
    return done > bar->first_done ? (double)(done - bar->first_done) / (now - bar->first)
                                  : (double)(done - bar->before) / (now - bar->start);
}

bool eval_bar_step(void *user, uint64_t done, uint64_t total, double perplexity)
{
    struct eval_bar *bar = user;
    char left[BAR_LEFT];
    const double steps = steps_per_second(bar, done), rate = steps * (double)bar->unit;
    if (!bar->shown)
        return true;
    bar_draw(bar->what, (double)done / (double)total, " %llu/%llu  %.*f %s/s  %s", (unsigned long long)done,
             (unsigned long long)total, rate < 10, rate, bar->name, bar_left((double)(total - done) / steps, left));
    if (perplexity > 0)
        fprintf(stderr, "  perplexity %.3f", perplexity);
    return true;
}

bool eval_bar_load(void *user, uint32_t done, uint32_t total)
{
    ((struct eval_bar *)user)->name = "layers";
    return eval_bar_step(user, done, total, 0);
}

void eval_bar_end(struct eval_bar *bar)
{
    if (bar->shown)
        fputs("\r\033[K", stderr);
    bar->shown = false;
}
