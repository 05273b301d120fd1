/* bench_time.c: how long recorded batches take. */
#include "bench.h"

#include <stdlib.h>

#define CLOCKS_RISE 0.7 /* seconds */

enum { MOST_BATCHES = 4096, LEAST_BATCHES = 3 };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
}

/* One replay, timed by the device between its own two timestamps. */
static enum woq_status device_batch(struct woq_commands *commands, double *seconds)
{
    uint64_t ticket, ns[2];
    enum woq_status st = woq_commands_run(commands, NULL, 0, &ticket);
    if (!st)
        st = woq_commands_wait(commands, ticket, WOQ_FOREVER);
    if (!st)
        st = woq_commands_timestamps(commands, ticket, ns, 2);
    if (!st)
        *seconds = ns[1] > ns[0] ? (double)(ns[1] - ns[0]) * 1e-9 : 0;
    return st;
}

/* `runs` replays kept in flight, timed by the host from the first submission to the last end. */
static enum woq_status host_batch(struct woq_commands *commands, uint32_t runs, double *seconds)
{
    uint64_t oldest = 0, last = 0, ticket;
    enum woq_status st = WOQ_OK;
    double begin = tool_seconds();
    for (uint32_t i = 0; i < runs && !st; i++) {
        st = woq_commands_run(commands, NULL, 0, &ticket);
        while (st == WOQ_ERROR_BUSY && oldest <= last) {
            st = woq_commands_wait(commands, oldest++, WOQ_FOREVER);
            if (!st)
                st = woq_commands_run(commands, NULL, 0, &ticket);
        }
        last = ticket;
        oldest = i ? oldest : last;
    }
    if (!st)
        st = woq_commands_wait(commands, last, WOQ_FOREVER);
    *seconds = (tool_seconds() - begin) / runs;
    return st;
}

/* Batches for about `seconds`, sorted by time. */
static enum woq_status collect(struct woq_commands *commands, bool device_clock, uint32_t runs,
                               double seconds, double *batch, uint32_t *done)
{
    enum woq_status st = WOQ_OK;
    double begin = tool_seconds();
    *done = 0;
    while (!st && *done < MOST_BATCHES) {
        double spent = tool_seconds() - begin;
        if (*done >= LEAST_BATCHES ? spent >= seconds : *done && spent > 4 * seconds)
            break; /* enough, or each batch takes far longer than all were to take */
        st = device_clock ? device_batch(commands, &batch[*done])
                          : host_batch(commands, runs, &batch[*done]);
        ++*done;
    }
    bench_sort(batch, *done);
    return st;
}

/* An idle GPU's clock is a fraction of its full one, and takes tenths of a second of work to rise. */
static enum woq_status raise_clocks(struct woq_device *device, struct woq_commands *commands)
{
    enum woq_status st = WOQ_OK;
    double begin = tool_seconds(), ignored;
    if (woq_device_get_info(device)->kind == WOQ_DEVICE_KIND_CPU)
        return st;
    while (!st && tool_seconds() - begin < CLOCKS_RISE)
        st = host_batch(commands, 8, &ignored);
    return st;
}

enum woq_status bench_measure(struct woq_device *device, struct woq_commands *commands,
                              uint32_t count, double first, double seconds, bool warm,
                              struct bench_times *out)
{
    bool device_clock = woq_device_get_info(device)->features & WOQ_FEATURE_TIMESTAMPS;
    double *batch = tool_alloc(MOST_BATCHES, sizeof *batch);
    uint32_t done = 0;
    enum woq_status st = WOQ_OK;
    if (first < 1) /* the first run has warmed things up, and may have built some */
        st = host_batch(commands, 1, &first);
    st = st || warm ? st : raise_clocks(device, commands);
    if (!st && device_clock) {
        st = collect(commands, true, 1, seconds, batch, &done);
        if (!st && batch[done / 2] <= 0)
            device_clock = false; /* its clock does not resolve the batch */
    }
    if (!st && !device_clock) {
        double wanted = seconds / 10 < 0.02 ? seconds / 10 : 0.02; /* far above the clock's steps */
        uint32_t runs = wanted / first < 2000 ? (uint32_t)(wanted / first) + 1 : 2000;
        st = collect(commands, false, runs, seconds, batch, &done);
    }
    if (!st)
        *out = (struct bench_times){batch[done / 2] / count, batch[0] / count, done, device_clock};
    free(batch);
    return st;
}
