/*
 * tune_point.c: which variant is the fastest for one product of M rows.
 *
 * All variants are timed once and shortly; the best of them and the planner's choice then in turns, several times each,
 * one beginning as often as the other. It counts as faster if it is in every turn, which chance alone brings about once
 * in 128 times, and if its median is by 3 %. Turns are compared one by one, as what disturbs a machine for a while
 * disturbs both.
 */
#include "tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_child.h"

enum { TURNS = 7, CONFIRMING_TURNS = 5, MOST_VARIANTS = 120 /* so many share the time, twice what a GPU takes */ };
static const double worthwhile = 0.03; /* of the median */
static const double hopeless = 4;      /* times as slow as the planner's choice, and not timed */
static const double host_noise = 1e-3; /* seconds that the host may add to one run */

double tune_left(const struct tune_clock *clock)
{
    const double left = clock->end - tool_seconds();
    return bench_interrupted() || left < 0 ? 0 : left;
}

bool tune_warm(struct tune_clock *clock)
{
    const double before = clock->last;
    clock->last = tool_seconds();
    return before > 0 && clock->last - before < 0.2;
}

/* A variant and its turns. Not to be moved: its work knows where the options and the row are. */
struct runner {
    struct bench_options options;
    struct bench_row row;
    struct bench_work *work;
    double turns[TURNS];
};

static bool begin(const struct tune_bed *bed, const struct tune_point *point, uint32_t m, const char *variant,
                  const struct runner *base, struct runner *out)
{
    *out = (struct runner){.options = *bed->options,
                           .row = {.shape = point->shape, .format = point->format, .m = m}};
    out->options.path = variant;
    if (base) {
        out->options.most = hopeless * base->row.times.seconds + host_noise;
        out->options.copies = base->row.copies;
    }
    out->work = bench_work_create(&out->options, bed->device, bed->pool, &out->row);
    return out->work != NULL;
}

static bool time_once(const struct tune_bed *bed, struct runner *r, double seconds)
{
    const bool timed = bench_work_time(r->work, seconds, tune_warm(bed->clock));
    (void)tune_warm(bed->clock);
    return timed;
}

static void end(struct runner *r) /* accepts NULL */
{
    if (r)
        bench_work_destroy(r->work);
    free(r);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool take_turn(const struct tune_bed *bed, struct runner *r, int i, double seconds)
{
    const bool timed = tune_left(bed->clock) > 0 && time_once(bed, r, seconds);
    r->turns[i] = r->row.times.seconds;
    return timed;
}

/* Times the planner's choice and another in turns; their rows get the medians, their turns are sorted. False: time was
 * over before, or it could not be. */
static bool take_turns(const struct tune_bed *bed, struct runner *chosen, struct runner *other, int turns,
                       double seconds, bool *faster)
{
    int won = 0;
    for (int i = 0; i < turns; i++) {
        if (!take_turn(bed, i % 2 ? other : chosen, i, seconds) || !take_turn(bed, i % 2 ? chosen : other, i, seconds))
            return false;
        won += other->turns[i] < chosen->turns[i];
    }
    qsort(chosen->turns, (size_t)turns, sizeof *chosen->turns, compare);
    qsort(other->turns, (size_t)turns, sizeof *other->turns, compare);
    chosen->row.times.seconds = chosen->turns[turns / 2];
    other->row.times.seconds = other->turns[turns / 2];
    *faster = won == turns && other->row.times.seconds < (1 - worthwhile) * chosen->row.times.seconds;
    return true;
}

/* Do two variants compute alike? The path's name says only when the planner would take them. */
static bool are_alike(const char *a, const char *b)
{
    return !strcmp(strchr(a, '/'), strchr(b, '/'));
}

static void say(const struct tune_bed *bed, const struct tune_point *p, const char *what)
{
    const struct tune_clock *c = bed->clock;
    bench_progress(bed->options, "%s: %zu of %zu, %.0f s left: %llux%llu %s M=%u %s", bed->device->info.selector,
                   c->done + 1, c->points, tune_left(c), (unsigned long long)p->shape.n, (unsigned long long)p->shape.k,
                   p->format->name, p->m, what);
}

/* Goes through the variants until the moment `until`, and returns the fastest of them, or NULL. Of those that compute
 * alike one is tried that takes the product. */
static struct runner *screen(const struct tune_bed *bed, struct tune_point *point, const struct runner *chosen,
                             double until, double seconds)
{
    enum { MOST = 256 };
    char variant[WOQ_VARIANT_NAME], (*taken)[WOQ_VARIANT_NAME] = tool_alloc(MOST, sizeof *taken);
    struct runner *best = NULL;
    uint32_t count = 0;
    for (uint32_t v = 0; woq_variant_name(v, variant) && count < MOST; v++) {
        bool known = are_alike(variant, chosen->row.variant) || !strcmp(variant, "floor/floor");
        for (uint32_t i = 0; i < count && !known; i++)
            known = are_alike(variant, taken[i]);
        if (known)
            continue;
        if (tune_left(bed->clock) <= 0 || tool_seconds() > until) {
            point->cut = true;
            break;
        }
        say(bed, point, variant);
        struct runner *r = tool_alloc(1, sizeof *r);
        const bool begun = begin(bed, point, point->m, variant, chosen, r);
        if (*r->row.variant) /* it takes the product, however slowly */
            memcpy(taken[count++], variant, sizeof variant);
        if (begun && !(r->row.error.fraction <= 1)) {
            point->wrong++;
            memcpy(point->wrong_variant, variant, sizeof variant);
        } else if (begun && time_once(bed, r, seconds)) {
            point->tried++;
            if (!best || r->row.times.seconds < best->row.times.seconds) {
                struct runner *slower = best;
                best = r;
                r = slower;
            }
        }
        end(r);
    }
    free(taken);
    return best;
}

void tune_point_measure(const struct tune_bed *bed, double seconds, struct tune_point *point)
{
    struct runner *chosen = tool_alloc(1, sizeof *chosen), *best = NULL;
    const double begun = tool_seconds(), brief = fmin(fmax(seconds / MOST_VARIANTS, 0.01), 0.3);
    const double turn = fmin(fmax(seconds / 25, 0.01), 1);
    bool faster = false;
    say(bed, point, "as planned");
    if (!begin(bed, point, point->m, NULL, NULL, chosen) || !time_once(bed, chosen, brief)) {
        memcpy(point->reason, chosen->row.reason, sizeof point->reason);
        end(chosen);
        return;
    }
    best = screen(bed, point, chosen, begun + 0.7 * seconds, brief);
    point->verdict = TUNE_DEFAULT;
    if (best && take_turns(bed, chosen, best, TURNS, turn, &faster)) {
        point->best = best->row;
        point->noise = (chosen->turns[TURNS - 1] - chosen->turns[0]) / chosen->turns[TURNS / 2];
        point->verdict = faster ? TUNE_FASTER : TUNE_DEFAULT;
    } else if (best || tune_left(bed->clock) <= 0) {
        point->verdict = TUNE_UNMEASURED;
        const char *failed = best && *best->row.reason ? best->row.reason : chosen->row.reason;
        snprintf(point->reason, sizeof point->reason, "%s", tune_left(bed->clock) <= 0 ? "no time was left" : failed);
    }
    point->chosen = chosen->row;
    end(chosen);
    end(best);
}

bool tune_point_confirm(const struct tune_bed *bed, const struct tune_point *like, uint32_t m, double seconds)
{
    struct runner *chosen = tool_alloc(1, sizeof *chosen), *other = tool_alloc(1, sizeof *other);
    const double turn = fmin(fmax(seconds / 10, 0.01), 0.5);
    bool faster = false;
    if (tune_left(bed->clock) > 0 && begin(bed, like, m, NULL, NULL, chosen) && time_once(bed, chosen, turn) &&
        !are_alike(chosen->row.variant, like->best.variant) &&
        begin(bed, like, m, like->best.variant, chosen, other) && other->row.error.fraction <= 1)
        (void)take_turns(bed, chosen, other, CONFIRMING_TURNS, turn, &faster);
    end(chosen);
    end(other);
    return faster;
}
