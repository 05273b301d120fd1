/* bench_host.c: how long woq_commands_run keeps the host, for a recording of one product that is replayed. */
#include "bench_host.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST 1.0 /* seconds of each kind, once LEAST runs are done */

enum { LEAST = 20 };

static const struct tool_shape shape = {BENCH_HOST, BENCH_HOST};
static const struct woq_format format = {sizeof(struct woq_format), WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC,
                                         WOQ_F16, 128, false};

struct product {
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_buffer *x[BENCH_HOST_VARIANTS], *y[BENCH_HOST_VARIANTS];
    struct woq_commands *commands;
    uint32_t slot_m, slot_x, slot_y;
};

static enum woq_status create(struct woq_device *device, const struct bench_matrix *matrix, struct product *p)
{
    struct woq_weights_source source = bench_matrix_source(matrix);
    const struct woq_weights_params weights = {sizeof weights, &source, 1, false};
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    const struct woq_buffer_params x = {sizeof x, BENCH_HOST_VARIANTS * shape.k * 2, 0},
                                   y = {sizeof y, BENCH_HOST_VARIANTS * shape.n * 2, 0};
    uint8_t *values = bench_activations(WOQ_F16, BENCH_HOST_VARIANTS * shape.k);
    enum woq_status st = values ? woq_weights_create(device, &weights, &p->weights) : WOQ_ERROR_OUT_OF_MEMORY;
    gemm.weights = p->weights;
    gemm.max_m = BENCH_HOST_VARIANTS;
    if (!st)
        st = woq_gemm_create(device, &gemm, &p->gemm);
    for (int i = 0; i < BENCH_HOST_VARIANTS && !st; i++) {
        st = woq_buffer_create(device, &x, &p->x[i]);
        if (!st)
            st = woq_buffer_create(device, &y, &p->y[i]);
        if (!st)
            st = woq_buffer_write(p->x[i], 0, values, x.size);
    }
    free(values);
    return st;
}

static enum woq_status record(struct woq_device *device, struct product *p)
{
    const struct woq_commands_params params = {sizeof params, BENCH_HOST_FLIGHT, {NULL, 0, 0}};
    enum woq_status st = woq_commands_create(device, &params, &p->commands);
    if (!st)
        st = woq_commands_slot_m(p->commands, BENCH_HOST_VARIANTS, &p->slot_m);
    if (!st)
        st = woq_commands_slot_view(p->commands, WOQ_ACCESS_READ, &p->slot_x);
    if (!st)
        st = woq_commands_slot_view(p->commands, WOQ_ACCESS_WRITE, &p->slot_y);
    if (!st)
        st = woq_commands_gemm(p->commands, p->gemm, p->slot_m, p->slot_x, p->slot_y, WOQ_NO_SLOT, WOQ_NO_SLOT);
    return st ? st : woq_commands_end(p->commands);
}

static void destroy(struct product *p)
{
    woq_commands_destroy(&p->commands);
    woq_gemm_destroy(&p->gemm);
    woq_weights_destroy(&p->weights);
    for (int i = 0; i < BENCH_HOST_VARIANTS; i++) {
        woq_buffer_destroy(&p->x[i]);
        woq_buffer_destroy(&p->y[i]);
    }
}

/* What reading the clock adds to a time. */
static double clock_cost(void)
{
    double least = 1;
    for (int i = 0; i < 100; i++) {
        const double begin = tool_seconds(), cost = tool_seconds() - begin;
        least = cost < least ? cost : least;
    }
    return least;
}

/* Run `number` of a kind, as long as it takes to return. */
static enum woq_status submit(struct product *p, enum bench_host_kind kind, uint32_t number, uint64_t *ticket,
                              double *seconds)
{
    const uint32_t i = number % BENCH_HOST_VARIANTS;
    const struct woq_binding all[] = {{p->slot_m, i + 1, {NULL, 0, 0}}, {p->slot_x, 0, {p->x[i], 0, 0}},
                                      {p->slot_y, 0, {p->y[i], 0, 0}}};
    const size_t count = kind == BENCH_HOST_NOTHING ? 0 : kind == BENCH_HOST_M ? 1 : 3;
    const double begin = tool_seconds();
    const enum woq_status st = woq_commands_run(p->commands, all, count, ticket);
    *seconds = tool_seconds() - begin;
    return st;
}

/* The places of the runs are free when they are asked for: the host waits for the device between two. */
static enum woq_status measure(struct product *p, enum bench_host_kind kind, double *seconds,
                               struct bench_host_time *out)
{
    const double cost = clock_cost(), begin = tool_seconds();
    uint64_t ticket = 0;
    uint32_t done = 0;
    double ignored;
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < 2 * BENCH_HOST_FLIGHT && !st; i++) { /* everything bound, every place used */
        st = submit(p, BENCH_HOST_VIEWS, i, &ticket, &ignored);
        if (!st)
            st = woq_commands_wait(p->commands, ticket, WOQ_FOREVER);
    }
    while (!st && done < BENCH_HOST_RUNS && (done < LEAST || tool_seconds() - begin < LONGEST)) {
        st = submit(p, kind, done, &ticket, &seconds[done]);
        seconds[done] -= cost;
        done++;
        if (!st && ticket >= BENCH_HOST_FLIGHT)
            st = woq_commands_wait(p->commands, ticket + 1 - BENCH_HOST_FLIGHT, WOQ_FOREVER);
    }
    if (!st)
        st = woq_commands_wait(p->commands, ticket, WOQ_FOREVER);
    bench_sort(seconds, done);
    *out = (struct bench_host_time){done ? seconds[done / 2] : 0, done ? seconds[0] : 0, done};
    return st;
}

void bench_host_run(const struct bench_options *options, const char *selector, struct bench_host_row *row)
{
    struct woq_device_params params = tool_device_params(options->log);
    struct woq_explain e = {.struct_size = sizeof e};
    struct woq_device *device = NULL;
    struct bench_matrix matrix;
    struct product p;
    double *seconds = tool_alloc(BENCH_HOST_RUNS, sizeof *seconds);
    memset(&p, 0, sizeof p);
    *row = (struct bench_host_row){0};
    if (!bench_matrix_create(&format, shape, &matrix, row->reason)) {
        free(seconds);
        return;
    }
    enum woq_status st = woq_device_open(selector, &params, &device);
    row->usage = st == WOQ_ERROR_INVALID_ARGUMENT;
    if (!st)
        st = create(device, &matrix, &p);
    if (!st)
        st = record(device, &p);
    if (!st)
        st = woq_gemm_explain(p.gemm, 1, &e);
    for (int kind = 0; kind < BENCH_HOST_KINDS && !st; kind++)
        st = measure(&p, (enum bench_host_kind)kind, seconds, &row->times[kind]);
    if (st) {
        snprintf(row->reason, sizeof row->reason, "%s", woq_last_message());
    } else {
        row->device = *woq_device_get_info(device);
        snprintf(row->path, sizeof row->path, "%s", e.path);
        row->done = true;
    }
    destroy(&p);
    woq_device_destroy(&device);
    bench_matrix_destroy(&matrix);
    free(seconds);
}
