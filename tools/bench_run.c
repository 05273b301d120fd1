/* bench_run.c: measures one device: its copy bandwidth, then each shape × format × M. */
#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_COPIES = 256,
    MOST_PRODUCTS = 512, /* in one recording */
    SLOTS = 3            /* m, x, y */
};
static const double shortest_batch = 500e-6; /* seconds; a shorter pass over copies is repeated */

void bench_progress(const struct bench_options *options, const char *format, ...)
{
    va_list args;
    if (!options->progress)
        return;
    fputs("\r\033[K", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

static bool give_up(char *reason, const char *format, ...) TOOL_PRINTF(2, 3);

static bool give_up(char *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, TOOL_WHY, format, args);
    va_end(args);
    return false;
}

/* What is surely more than the last-level cache: twice the host's for CPU devices. A GPU does not
 * tell; 256 MiB is as much as the largest that is known. */
static uint64_t beyond_cache(const struct woq_device_info *info)
{
    long cache = -1;
    if (info->kind != WOQ_DEVICE_KIND_CPU)
        return 256u << 20;
#ifdef _SC_LEVEL3_CACHE_SIZE
    cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    uint64_t bytes = cache > 0 ? 2 * (uint64_t)cache : 64u << 20;
    return bytes < 1u << 30 ? bytes : 1u << 30;
}

/* ---- Copy bandwidth ---- */

static enum woq_status record_copies(struct woq_commands *cmds, const uint32_t slot[2],
                                     uint64_t size, uint32_t count, bool stamps)
{
    enum woq_status st = stamps ? woq_commands_timestamp(cmds, 0) : WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++) {
        st = woq_commands_copy(cmds, slot[i & 1], slot[~i & 1], size);
        if (!st)
            st = woq_commands_barrier(cmds);
    }
    return !st && stamps ? woq_commands_timestamp(cmds, 1) : st;
}

static void measure_copy(const struct bench_options *options, struct bench_device *d)
{
    enum { COPIES = 4 };
    struct woq_memory_budget memory = {0};
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    struct woq_buffer *buffer[2] = {NULL, NULL};
    struct woq_commands *cmds = NULL;
    uint32_t slot[2];
    struct bench_times times;
    bool stamps = d->info.features & WOQ_FEATURE_TIMESTAMPS;
    uint64_t size = d->rotate > 64u << 20 ? d->rotate : 64u << 20;

    enum woq_status st = woq_device_memory(d->device, &memory);
    if (!st && size > memory.available / 4)
        size = memory.available / 4;
    size = (size < d->info.max_allocation ? size : d->info.max_allocation) & ~UINT64_C(4095);
    params.size = size ? size : 4096;
    for (int i = 0; i < 2 && !st; i++) {
        /* Memory is really there, and not all one page of zeros, once it was written. */
        uint8_t *bytes = bench_activations(WOQ_F32, params.size / 4);
        st = bytes ? woq_buffer_create(d->device, &params, &buffer[i]) : WOQ_ERROR_OUT_OF_MEMORY;
        if (!st)
            st = woq_buffer_write(buffer[i], 0, bytes, params.size);
        free(bytes);
    }
    if (!st)
        st = woq_commands_create(d->device, NULL, &cmds);
    for (int i = 0; i < 2 && !st; i++)
        st = woq_commands_slot_view(cmds, WOQ_ACCESS_READ_WRITE, &slot[i]);
    if (!st)
        st = record_copies(cmds, slot, params.size, COPIES, stamps);
    if (!st)
        st = woq_commands_end(cmds);
    if (!st) {
        struct woq_binding b[2] = {{slot[0], 0, {buffer[0], 0, 0}},
                                   {slot[1], 0, {buffer[1], 0, 0}}};
        uint64_t ticket;
        double begin = bench_now();
        st = woq_commands_run(cmds, b, 2, &ticket);
        if (!st)
            st = woq_commands_wait(cmds, ticket, WOQ_FOREVER);
        if (!st)
            st = bench_measure(d->device, cmds, COPIES, bench_now() - begin, options->seconds,
                               &times);
    }
    if (!st) {
        d->copy_bytes = params.size;
        d->copy_gbs = 2 * (double)params.size / times.seconds * 1e-9;
    } else {
        give_up(d->reason, "copy bandwidth not measured: %s", woq_last_message());
    }
    woq_commands_destroy(&cmds);
    woq_buffer_destroy(&buffer[0]);
    woq_buffer_destroy(&buffer[1]);
}

/* ---- One shape and format on one device ---- */

/* Copies of the same weights, packed as they are needed: the same numbers at other addresses. */
struct pool {
    struct woq_device *device;
    const struct bench_matrix *matrix;
    struct woq_weights *weights[MOST_COPIES];
    uint32_t count;
};

static enum woq_status pool_fill(struct pool *pool, uint32_t count)
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

/* One row being measured. */
struct work {
    const struct bench_options *options;
    struct bench_device *device;
    struct pool *pool;
    struct bench_row *row;
    struct woq_gemm *gemm[MOST_COPIES];
    uint32_t gemms;
    struct woq_buffer *x, *y;
    uint8_t *host_x, *host_y;
    uint64_t y_bytes;
};

static void work_destroy(struct work *w)
{
    for (uint32_t i = 0; i < w->gemms; i++)
        woq_gemm_destroy(&w->gemm[i]);
    woq_buffer_destroy(&w->x);
    woq_buffer_destroy(&w->y);
    free(w->host_x);
    free(w->host_y);
}

static enum woq_status add_gemms(struct work *w, uint32_t count)
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

static enum woq_status add_buffers(struct work *w)
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
static enum woq_status record(struct work *w, uint32_t products, bool stamps, uint32_t *slot,
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

static enum woq_status run_once(struct work *w, struct woq_commands *cmds, const uint32_t *slot,
                                uint32_t m, double *seconds)
{
    const struct woq_binding bindings[SLOTS] = {
        {slot[0], m, {NULL, 0, 0}}, {slot[1], 0, {w->x, 0, 0}}, {slot[2], 0, {w->y, 0, 0}}};
    uint64_t ticket;
    double begin = bench_now();
    enum woq_status st = woq_commands_run(cmds, bindings, SLOTS, &ticket);
    if (!st)
        st = woq_commands_wait(cmds, ticket, WOQ_FOREVER);
    *seconds = bench_now() - begin;
    return st;
}

/* Runs the product, after one row of it has shown that it will end in time; checks the result. */
static bool check_row(struct work *w, double *seconds)
{
    struct bench_row *r = w->row;
    struct woq_commands *cmds = NULL;
    uint32_t slot[SLOTS];
    double patience = 4 + 2 * w->options->seconds; /* for one product; a row takes some of them */
    struct woq_explain e = {.struct_size = sizeof e};
    enum woq_status st = record(w, 1, false, slot, &cmds);
    if (!st)
        st = run_once(w, cmds, slot, 1, seconds);
    if (!st && (*seconds < 1 || *seconds * r->m > patience)) /* without what the first run builds */
        st = run_once(w, cmds, slot, 1, seconds);
    if (!st && *seconds * r->m > patience) {
        woq_commands_destroy(&cmds);
        return give_up(r->reason, "about %.0f s a product; left out (--seconds %.0f measures it)",
                       *seconds * r->m, ceil((*seconds * r->m - 4) / 2));
    }
    for (int i = 0; i < 2 && !st && (i == 0 || *seconds < 1); i++)
        st = run_once(w, cmds, slot, r->m, seconds);
    woq_commands_destroy(&cmds);
    if (!st)
        st = woq_buffer_read(w->y, 0, w->host_y, w->y_bytes);
    if (!st)
        st = woq_gemm_explain(w->gemm[0], r->m, &e);
    if (st)
        return give_up(r->reason, "%s", woq_last_message());
    snprintf(r->path, sizeof r->path, "%s", e.path);
    snprintf(r->kernel, sizeof r->kernel, "%s", e.kernel);
    snprintf(r->layout, sizeof r->layout, "%s", e.layout);
    snprintf(r->math, sizeof r->math, "%s", woq_math_name(e.math));
    r->error = bench_check(&(struct bench_product){w->pool->matrix, w->host_x, w->host_y, r->m,
                                                   w->options->x, w->options->y, e.math});
    return true;
}

/* How many copies of the weights are worth going through when one product takes `seconds`. */
static uint32_t plan_copies(const struct work *w, uint64_t bytes, double seconds)
{
    uint64_t wanted = w->device->rotate / (bytes ? bytes : 1) + 1, most = MOST_COPIES;
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

static bool time_row(struct work *w, double seconds)
{
    struct bench_row *r = w->row;
    struct woq_weights_info info = {.struct_size = sizeof info};
    struct woq_commands *cmds = NULL;
    uint32_t slot[SLOTS], products;
    double first;
    enum woq_status st = woq_weights_get_info(w->pool->weights[0], &info);
    if (!st) {
        uint32_t copies = plan_copies(w, info.device_bytes, seconds);
        st = add_gemms(w, copies);
        if (st == WOQ_ERROR_OUT_OF_DEVICE_MEMORY || st == WOQ_ERROR_OUT_OF_MEMORY)
            st = WOQ_OK; /* as many as there is room for */
        r->copies = w->gemms;
        r->payload = info.payload_bytes;
        r->cached = info.device_bytes * w->gemms < w->device->rotate;
    }
    double passes = ceil(shortest_batch / (seconds * w->gemms));
    products = w->gemms * (passes > 1 ? (uint32_t)fmin(passes, MOST_PRODUCTS) : 1);
    if (products > MOST_PRODUCTS)
        products = MOST_PRODUCTS / w->gemms * w->gemms;
    if (!st)
        st = record(w, products, w->device->info.features & WOQ_FEATURE_TIMESTAMPS, slot, &cmds);
    if (!st)
        st = run_once(w, cmds, slot, r->m, &first);
    if (!st)
        st = bench_measure(w->device->device, cmds, products, first, w->options->seconds,
                           &r->times);
    woq_commands_destroy(&cmds);
    if (st)
        return give_up(r->reason, "%s", woq_last_message());
    r->gbs = (double)r->payload / r->times.seconds * 1e-9;
    r->gflops = 2.0 * r->m * (double)r->shape.n * (double)r->shape.k / r->times.seconds * 1e-9;
    r->share = w->device->copy_gbs > 0 ? r->gbs / w->device->copy_gbs : 0;
    return true;
}

static void measure_row(const struct bench_options *options, struct bench_device *device,
                        struct pool *pool, struct bench_row *row)
{
    struct work *w = tool_alloc(1, sizeof *w);
    double seconds = 0;
    *w = (struct work){.options = options, .device = device, .pool = pool, .row = row};
    double elements = (double)row->m * ((double)row->shape.n + (double)row->shape.k);
    if (elements * 8 > (double)bench_host_memory()) {
        give_up(row->reason, "X and Y are too large for this host's memory");
        free(w);
        return;
    }
    enum woq_status st = add_gemms(w, 1);
    if (!st)
        st = add_buffers(w);
    if (st)
        give_up(row->reason, "%s", woq_last_message());
    else
        row->done = check_row(w, &seconds) && time_row(w, seconds);
    work_destroy(w);
    free(w);
}

void bench_run(const struct bench_options *o, struct bench_device *d)
{
    struct pool *pool = tool_alloc(1, sizeof *pool);
    size_t at = 0;
    d->row_count = o->shape_count * o->format_count * o->m_count;
    d->rows = tool_alloc(d->row_count, sizeof *d->rows);
    d->rotate = o->rotate == UINT64_MAX ? beyond_cache(&d->info) : o->rotate;
    bench_progress(o, "%s: copy bandwidth", d->info.selector);
    measure_copy(o, d);
    for (size_t s = 0; s < o->shape_count; s++) {
        for (size_t f = 0; f < o->format_count; f++) {
            struct bench_matrix matrix;
            char why[TOOL_WHY];
            bool made = bench_matrix_create(&o->formats[f].format, o->shapes[s], &matrix, why);
            *pool = (struct pool){.device = d->device, .matrix = &matrix};
            for (size_t m = 0; m < o->m_count; m++) {
                struct bench_row *row = &d->rows[at++];
                row->shape = o->shapes[s];
                row->format = &o->formats[f];
                row->m = o->m[m];
                bench_progress(o, "%s: %zu of %zu: %llux%llu %s M=%u", d->info.selector, at,
                               d->row_count, (unsigned long long)row->shape.n,
                               (unsigned long long)row->shape.k, row->format->name, row->m);
                if (made)
                    measure_row(o, d, pool, row);
                else
                    give_up(row->reason, "%s", why);
            }
            for (uint32_t i = 0; i < pool->count; i++)
                woq_weights_destroy(&pool->weights[i]);
            if (made)
                bench_matrix_destroy(&matrix);
        }
    }
    free(pool);
    bench_progress(o, "%s", "");
}
