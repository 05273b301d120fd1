/*
 * tune_cell.c: one shape and format: its points, the crossovers between them, and the record that says so.
 *
 * A variant that is the fastest at M rows is recorded for M and fewer, down to the next point; how far down, if that
 * point has another winner, halving tells. Above the last point nothing is known.
 */
#include "tune.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The least m above `low` for which the point's variant is known to be faster; the point's own is. */
static uint32_t crossover(const struct tune_bed *bed, const struct tune_point *point, uint32_t low, double seconds)
{
    uint32_t high = point->m;
    while (high - low > 1 + high / 16) {
        const uint32_t middle = low + (high - low) / 2;
        if (tune_point_confirm(bed, point, middle, seconds))
            high = middle;
        else
            low = middle;
    }
    return high;
}

static bool same_winner(const struct tune_point *a, const struct tune_point *b)
{
    return a->verdict == TUNE_FASTER && b->verdict == TUNE_FASTER && !strcmp(a->best.variant, b->best.variant);
}

/* "1-8 gemv/gemv 9-64 …" of the points; false if it would be too long for a line. */
static bool write_ways(const struct tune_bed *bed, const struct tune_point *points, size_t count, double seconds,
                       char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct tune_point *p = &points[i];
        const uint32_t before = i ? points[i - 1].m : p->m / 2;
        if (p->verdict != TUNE_FASTER)
            continue;
        size_t last = i; /* of the points with this winner */
        while (last + 1 < count && same_winner(p, &points[last + 1]))
            last++;
        const uint32_t first = crossover(bed, p, before, seconds);
        used += (size_t)snprintf(out + used, size - used, " %u-%u %s", first, points[last].m, p->best.variant);
        if (used >= size)
            return false;
        i = last;
    }
    return true;
}

static void write_comment(const struct tune_point *points, size_t count, char *out, size_t size)
{
    char date[16] = "";
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%Y-%m-%d", &utc);
    size_t used = (size_t)snprintf(out, size, " # %s, woq %s, µs:", date, woq_version_string());
    for (size_t i = 0; i < count && used < size; i++) {
        const struct tune_point *p = &points[i];
        if (p->verdict == TUNE_FASTER)
            used += (size_t)snprintf(out + used, size - used, " M=%u %.4g→%.4g", p->m, p->chosen.times.seconds * 1e6,
                                     p->best.times.seconds * 1e6);
        else if (p->verdict == TUNE_DEFAULT)
            used += (size_t)snprintf(out + used, size - used, " M=%u %.4g", p->m, p->chosen.times.seconds * 1e6);
    }
    if (used >= size) /* a line has no room for all: none in half */
        *strrchr(out, ' ') = 0;
}

/* What the record of a product begins with. */
static bool name_product(const struct tune_bed *bed, char out[WOQ_TUNING_LINE])
{
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_gemm *gemm = NULL;
    params.weights = bed->pool->weights[0];
    params.max_m = 1;
    params.x_type = bed->options->x;
    params.y_type = bed->options->y;
    params.math = bed->options->math;
    const bool named = params.weights && !woq_gemm_create(bed->device->device, &params, &gemm) &&
                       !woq_tuning_product(gemm, out);
    woq_gemm_destroy(&gemm);
    return named;
}

void tune_cell_measure(const struct bench_options *options, struct bench_device *device, struct tune_clock *clock,
                       struct tune_point *points, size_t count, char record[WOQ_TUNING_LINE])
{
    struct bench_matrix matrix;
    struct bench_pool *pool = tool_alloc(1, sizeof *pool);
    const struct tune_bed bed = {options, device, pool, clock};
    char why[TOOL_WHY], ways[WOQ_TUNING_LINE / 2], comment[WOQ_TUNING_LINE / 4];
    bool measured = false;
    double share = 0;
    *pool = (struct bench_pool){.device = device->device, .matrix = &matrix};
    record[0] = ways[0] = 0;
    const bool made = bench_matrix_create(&points->format->format, points->shape, &matrix, why);
    for (size_t i = 0; i < count; i++, clock->done++) {
        share = 0.85 * tune_left(clock) / (double)(clock->points - clock->done); /* the rest is for crossovers */
        if (!made)
            snprintf(points[i].reason, sizeof points[i].reason, "%s", why);
        else if (share <= 0)
            snprintf(points[i].reason, sizeof points[i].reason, "no time was left");
        else
            tune_point_measure(&bed, share, &points[i]);
        measured = measured || points[i].verdict != TUNE_UNMEASURED;
    }
    if (measured && write_ways(&bed, points, count, share / 4, ways, sizeof ways) && name_product(&bed, record)) {
        write_comment(points, count, comment, sizeof comment);
        const size_t used = strlen(record);
        snprintf(record + used, WOQ_TUNING_LINE - used, "%s%s", ways, comment);
    } else {
        record[0] = 0;
    }
    bench_pool_clear(pool);
    if (made)
        bench_matrix_destroy(&matrix);
    free(pool);
}
