/* bench_startup.h: what `woq bench --startup` measures. */
#ifndef WOQ_BENCH_STARTUP_H
#define WOQ_BENCH_STARTUP_H

#include "bench.h"

enum {
    BENCH_COLD = 5, BENCH_WARM = 9, /* processes, odd */
    BENCH_FIRST = 1024,             /* rows and columns of the first product's weights */
    BENCH_FIRST_M = 64              /* rows of X that it is planned for; it has one */
};

/* Medians, in seconds from before woq_device_open. */
struct bench_startup_times {
    double open;  /* until the device is open */
    double first; /* until a first product's result has been read */
};

struct bench_startup_row {
    bool done, usage;      /* usage: the selector is malformed */
    char reason[TOOL_WHY]; /* why not */
    struct woq_device_info device;
    struct bench_startup_times cold, warm; /* empty caches on disk; the same, filled by a run before */
};

void bench_startup_run(const struct bench_options *options, const char *selector,
                       struct bench_startup_row *row);
void bench_startup_print(char *const *selectors, const struct bench_startup_row *rows, size_t count,
                         FILE *out);
int bench_startup_write_json(const char *command, char *const *selectors,
                             const struct bench_startup_row *rows, size_t count, const char *file);

#endif
