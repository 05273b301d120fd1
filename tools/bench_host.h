/* bench_host.h: what `woq bench --host` measures. */
#ifndef WOQ_BENCH_HOST_H
#define WOQ_BENCH_HOST_H

#include "bench.h"

enum {
    BENCH_HOST = 1024,       /* rows and columns of the weights */
    BENCH_HOST_RUNS = 4000,  /* timed, of each kind; fewer where they take long */
    BENCH_HOST_VARIANTS = 3, /* values of M (1 … 3), of X and of Y, in turn; no divisor of the runs in flight */
    BENCH_HOST_FLIGHT = 4
};

/* What is new at each run. */
enum bench_host_kind { BENCH_HOST_NOTHING, BENCH_HOST_M, BENCH_HOST_VIEWS, BENCH_HOST_KINDS };

/* Of woq_commands_run, in seconds. */
struct bench_host_time {
    double median, fastest;
    uint32_t runs;
};

struct bench_host_row {
    bool done, usage;      /* usage: the selector is malformed */
    char reason[TOOL_WHY]; /* why not */
    char path[24];
    struct woq_device_info device;
    struct bench_host_time times[BENCH_HOST_KINDS];
};

void bench_host_run(const struct bench_options *options, const char *selector, struct bench_host_row *row);
void bench_host_print(char *const *selectors, const struct bench_host_row *rows, size_t count, FILE *out);
int bench_host_write_json(const char *command, char *const *selectors, const struct bench_host_row *rows, size_t count,
                          const char *file);

#endif
