/*
 * tune.h: the parts of `woq tune`.
 *
 *   tune_point    which variant is the fastest for one product of M rows
 *   tune_cell     one shape and format: its points, the crossovers between them, and the record that says so
 *   cmd_tune      arguments, devices, the table, the file
 */
#ifndef WOQ_TUNE_H
#define WOQ_TUNE_H

#include <woq/tuning.h>

#include "bench.h"

/* When to be done, and how far it is. Interrupts count as being done. */
struct tune_clock {
    double begin, end;   /* as tool_seconds */
    double last;         /* when the device was last at work */
    size_t points, done; /* to measure in all */
};
double tune_left(const struct tune_clock *clock); /* seconds; 0 if interrupted */
/* Has it been at work so lately that its clocks are still high? Takes note that it is now. */
bool tune_warm(struct tune_clock *clock);

enum tune_verdict {
    TUNE_UNMEASURED, /* no time was left, or not possible: reason */
    TUNE_DEFAULT,    /* nothing is faster than the planner's choice by more than the noise */
    TUNE_FASTER      /* `best` is */
};

struct tune_point {
    struct tool_shape shape;
    const struct tool_format *format;
    uint32_t m;
    enum tune_verdict verdict;
    char reason[TOOL_WHY];
    struct bench_row chosen, best; /* the planner's choice, and the fastest of the others if any could be timed */
    double noise;                  /* of the planner's choice: its slowest turn less its fastest, ÷ median */
    bool cut;                      /* time was over before all variants were tried */
    unsigned tried, wrong;         /* variants; those of them that gave wrong results */
    char wrong_variant[WOQ_VARIANT_NAME];
};

/* One shape and format on one device, while it is measured. */
struct tune_bed {
    const struct bench_options *options; /* seconds and path aside */
    struct bench_device *device;
    struct bench_pool *pool;
    struct tune_clock *clock;
};

/* Measures every variant, within `seconds` or little more. shape, format and m are set. */
void tune_point_measure(const struct tune_bed *bed, double seconds, struct tune_point *point);
/* Is this variant faster than the planner's choice for m rows, too? False as well where time is over. */
bool tune_point_confirm(const struct tune_bed *bed, const struct tune_point *like, uint32_t m, double seconds);

/* The points of a cell, in rising order of m, and the record in the format of woq/tuning.h: a line without its end.
 * Empty: nothing was measured. */
void tune_cell_measure(const struct bench_options *options, struct bench_device *device, struct tune_clock *clock,
                       struct tune_point *points, size_t count, char record[WOQ_TUNING_LINE]);

#endif
