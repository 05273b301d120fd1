/* bench_work.c: one product on one device: checked, and timed over copies of its weights. */
#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_PRODUCTS = 512, /* in one recording */
    SLOTS = 3            /* m, x, y */
};
static const double shortest_batch = 500e-6; /* seconds; a shorter pass over copies is repeated */

static bool give_up(char *reason, const char *format, ...) TOOL_PRINTF(2, 3);

static bool give_up(char *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, TOOL_WHY, format, args);
    va_end(args);
    return false;
}

static enum woq_status pool_fill(struct bench_pool *pool, uint32_t count)
{
    enum woq_status st = WOQ_OK;
    struct woq_weights_source source = bench_matrix_source(pool->matrix);
    struct woq_weights_params params = WOQ_WEIGHTS_PARAMS_INIT;
    params.sources = &source;
    params.count = 1;
    while (!st && pool->count < count) {
        st = woq_weights_create(pool->device, &params, &pool->weights[pool->count]);
        pool->count += !st;
    }
    return st;
}

void bench_pool_clear(struct bench_pool *pool)
{
    while (pool->count)
        woq_weights_destroy(&pool->weights[--pool->count]);
}

struct bench_work {
    const struct bench_options *options;
    struct bench_device *device;
    struct bench_pool *pool;
    struct bench_row *row;
    struct woq_gemm *gemm[BENCH_MOST_COPIES];
    uint32_t gemms;
    struct woq_buffer *x, *y;
    uint8_t *host_x, *host_y;
    uint64_t y_bytes;
    double seconds; /* of a product, waited for by the host */
    struct woq_commands *commands; /* what is timed, and how many products it has */
    uint32_t products;
    double first; /* seconds of their first run */
    enum woq_limit limit; /* as explain has them */
    uint32_t limit_work;
};

void bench_work_destroy(struct bench_work *w)
{
    if (!w)
        return;
    woq_commands_destroy(&w->commands);
    for (uint32_t i = 0; i < w->gemms; i++)
        woq_gemm_destroy(&w->gemm[i]);
    woq_buffer_destroy(&w->x);
    woq_buffer_destroy(&w->y);
    free(w->host_x);
    free(w->host_y);
    free(w);
}

static enum woq_status add_gemms(struct bench_work *w, uint32_t count)
{
    enum woq_status st = pool_fill(w->pool, count);
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    params.max_m = w->row->m;
    params.x_type = w->options->x;
    params.y_type = w->options->y;
    params.math = w->options->math;
    params.path = w->options->path;
    params.batch_invariant = w->options->invariant;
    for (size_t i = 0; i < w->options->m_count && params.batch_invariant; i++)
        params.max_m = w->options->m[i] > params.max_m ? w->options->m[i] : params.max_m;
    while (!st && w->gemms < count) {
        params.weights = w->pool->weights[w->gemms];
        st = woq_gemm_create(w->device->device, &params, &w->gemm[w->gemms]);
        w->gemms += !st;
    }
    return st;
}

static enum woq_status add_buffers(struct bench_work *w)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    const struct bench_row *r = w->row;
    size_t x_bytes = r->m * r->shape.k * woq_type_size(w->options->x);
    w->y_bytes = r->m * r->shape.n * woq_type_size(w->options->y);
    params.size = x_bytes;
    enum woq_status st = woq_buffer_create(w->device->device, &params, &w->x);
    params.size = w->y_bytes;
    if (!st)
        st = woq_buffer_create(w->device->device, &params, &w->y);
    if (st)
        return st;
    w->host_x = bench_activations(w->options->x, r->m * r->shape.k);
    w->host_y = malloc(w->y_bytes);
    if (!w->host_x || !w->host_y)
        return WOQ_ERROR_OUT_OF_MEMORY;
    memset(w->host_y, 0xff, w->y_bytes); /* NaN in every type: what is not written shows */
    st = woq_buffer_write(w->x, 0, w->host_x, x_bytes);
    return st ? st : woq_buffer_write(w->y, 0, w->host_y, w->y_bytes);
}

/* Commands that hold `products` products over the copies in turn, each after the one before it. */
static enum woq_status record(struct bench_work *w, uint32_t products, bool stamps, uint32_t *slot,
                              struct woq_commands **out)
{
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
    struct woq_commands *cmds = NULL;
    params.in_flight = 4;
    enum woq_status st = woq_commands_create(w->device->device, &params, &cmds);
    if (!st)
        st = woq_commands_slot_m(cmds, w->row->m, &slot[0]);
    if (!st)
        st = woq_commands_slot_view(cmds, WOQ_ACCESS_READ, &slot[1]);
    if (!st)
        st = woq_commands_slot_view(cmds, WOQ_ACCESS_WRITE, &slot[2]);
    if (!st && stamps)
        st = woq_commands_timestamp(cmds, 0);
    for (uint32_t i = 0; i < products && !st; i++) {
        st = woq_commands_gemm(cmds, w->gemm[i % w->gemms], slot[0], slot[1], slot[2], WOQ_NO_SLOT,
                               WOQ_NO_SLOT);
        if (!st)
            st = woq_commands_barrier(cmds);
    }
    if (!st && stamps)
        st = woq_commands_timestamp(cmds, 1);
    if (!st)
        st = woq_commands_end(cmds);
    if (st)
        woq_commands_destroy(&cmds);
    *out = cmds;
    return st;
}

static enum woq_status run_once(struct bench_work *w, struct woq_commands *cmds, const uint32_t *slot,
                                uint32_t m, double *seconds)
{
    const struct woq_binding bindings[SLOTS] = {
        {slot[0], m, {NULL, 0, 0}}, {slot[1], 0, {w->x, 0, 0}}, {slot[2], 0, {w->y, 0, 0}}};
    uint64_t ticket;
    double begin = tool_seconds();
    enum woq_status st = woq_commands_run(cmds, bindings, SLOTS, &ticket);
    if (!st)
        st = woq_commands_wait(cmds, ticket, WOQ_FOREVER);
    *seconds = tool_seconds() - begin;
    return st;
}

/* Runs the product, after one row of it has shown that it will end in time; checks the result. */
static bool check_row(struct bench_work *w)
{
    struct bench_row *r = w->row;
    double *seconds = &w->seconds, most = w->options->most;
    struct woq_commands *cmds = NULL;
    uint32_t slot[SLOTS];
    double patience = 4 + 2 * w->options->seconds; /* for one product; a row takes some of them */
    struct woq_explain e = {.struct_size = sizeof e};
    enum woq_status st = woq_gemm_explain(w->gemm[0], r->m, &e);
    if (!st) {
        snprintf(r->path, sizeof r->path, "%s", e.path);
        snprintf(r->variant, sizeof r->variant, "%s", e.variant);
        snprintf(r->kernel, sizeof r->kernel, "%s", e.kernel);
        snprintf(r->layout, sizeof r->layout, "%s", e.layout);
        snprintf(r->math, sizeof r->math, "%s", woq_math_name(e.math));
        w->limit = e.limit;
        w->limit_work = e.limit_work;
        st = record(w, 1, false, slot, &cmds);
    }
    if (!st)
        st = run_once(w, cmds, slot, 1, seconds);
    if (!st && (*seconds < 1 || *seconds * r->m > patience)) /* without what the first run builds */
        st = run_once(w, cmds, slot, 1, seconds);
    if (!st && *seconds * r->m > patience) {
        woq_commands_destroy(&cmds);
        return give_up(r->reason, "about %.0f s a product; left out (--seconds %.0f measures it)",
                       *seconds * r->m, ceil((*seconds * r->m - 4) / 2));
    }
    if (!st && most > 0 && *seconds > most) {
        woq_commands_destroy(&cmds);
        return give_up(r->reason, "one row alone takes %.3g s", *seconds);
    }
    double fastest = INFINITY;
    for (int i = 0; i < 2 && !st && (i == 0 || *seconds < 1); i++) {
        st = run_once(w, cmds, slot, r->m, seconds);
        fastest = fmin(fastest, *seconds);
    }
    woq_commands_destroy(&cmds);
    if (!st && most > 0 && fastest > most)
        return give_up(r->reason, "takes %.3g s", fastest);
    if (!st)
        st = woq_buffer_read(w->y, 0, w->host_y, w->y_bytes);
    if (st)
        return give_up(r->reason, "%s", woq_last_message());
    r->error = bench_check(&(struct bench_product){w->pool->matrix, w->host_x, w->host_y, r->m,
                                                   w->options->x, w->options->y, e.math});
    return true;
}

/* How many copies of the weights are worth going through when one product takes `seconds`. */
static uint32_t plan_copies(const struct bench_work *w, uint64_t bytes, double seconds)
{
    uint64_t wanted = w->device->rotate / (bytes ? bytes : 1) + 1, most = BENCH_MOST_COPIES;
    struct woq_memory_budget memory;
    if (!woq_device_memory(w->device->device, &memory) && bytes &&
        memory.available / 2 / bytes < most)
        most = memory.available / 2 / bytes;
    /* Where a pass over all copies would take most of the row's time, memory is not the limit. */
    double passes = w->options->seconds / 2 / seconds;
    if (passes < (double)most)
        most = passes > 1 ? (uint64_t)passes : 1;
    wanted = wanted < most ? wanted : most;
    return wanted ? (uint32_t)wanted : 1;
}

/* Records what is timed: products over as many copies of the weights as there is time and room for. */
static enum woq_status prepare(struct bench_work *w)
{
    struct bench_row *r = w->row;
    struct woq_weights_info info = {.struct_size = sizeof info};
    uint32_t slot[SLOTS];
    enum woq_status st = woq_weights_get_info(w->pool->weights[0], &info);
    if (st)
        return st;
    st = add_gemms(w, w->options->copies ? w->options->copies : plan_copies(w, info.device_bytes, w->seconds));
    if (st == WOQ_ERROR_OUT_OF_DEVICE_MEMORY || st == WOQ_ERROR_OUT_OF_MEMORY)
        st = WOQ_OK; /* as many as there is room for */
    r->copies = w->gemms;
    r->payload = info.payload_bytes;
    r->cached = info.device_bytes * w->gemms < w->device->rotate;
    double passes = ceil(shortest_batch / (w->seconds * w->gemms));
    w->products = w->gemms * (passes > 1 ? (uint32_t)fmin(passes, MOST_PRODUCTS) : 1);
    if (w->products > MOST_PRODUCTS)
        w->products = MOST_PRODUCTS / w->gemms * w->gemms;
    if (!st)
        st = record(w, w->products, w->device->info.features & WOQ_FEATURE_TIMESTAMPS, slot, &w->commands);
    return st ? st : run_once(w, w->commands, slot, r->m, &w->first);
}

bool bench_work_time(struct bench_work *w, double seconds, bool warm)
{
    struct bench_row *r = w->row;
    enum woq_status st = w->commands ? WOQ_OK : prepare(w);
    if (!st)
        st = bench_measure(w->device->device, w->commands, w->products, w->first, seconds, warm, &r->times);
    if (st)
        return give_up(r->reason, "%s", woq_last_message());
    r->gbs = (double)r->payload / r->times.seconds * 1e-9;
    r->gflops = 2.0 * r->m * (double)r->shape.n * (double)r->shape.k / r->times.seconds * 1e-9;
    const double read = w->device->limits[WOQ_LIMIT_READ] * 1e-9;
    const double most = read > 0 ? read : w->device->copy_gbs;
    r->share = most > 0 ? r->gbs / most : 0;
    r->of_read = read > 0;
    r->limit = w->device->limits[w->limit] > 0 ? w->limit : WOQ_LIMIT_NONE;
    if (r->limit)
        r->limit_share = r->gflops * 1e9 / 2 * w->limit_work / w->device->limits[r->limit];
    return true;
}

enum woq_limit bench_work_limit(const struct bench_work *work)
{
    return work->limit;
}

struct bench_work *bench_work_create(const struct bench_options *options, struct bench_device *device,
                                     struct bench_pool *pool, struct bench_row *row)
{
    struct bench_work *w = tool_alloc(1, sizeof *w);
    *w = (struct bench_work){.options = options, .device = device, .pool = pool, .row = row};
    double elements = (double)row->m * ((double)row->shape.n + (double)row->shape.k);
    bool good = elements * 8 <= (double)bench_host_memory();
    if (!good) {
        give_up(row->reason, "X and Y are too large for this host's memory");
    } else {
        enum woq_status st = add_gemms(w, 1);
        st = st ? st : add_buffers(w);
        good = st ? give_up(row->reason, "%s", woq_last_message()) : check_row(w);
    }
    if (good)
        return w;
    bench_work_destroy(w);
    return NULL;
}
