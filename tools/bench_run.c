/* bench_run.c: measures one device: its copy bandwidth, then each shape × format × M. */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* What is surely more than the last-level cache: twice the host's for CPU devices. A GPU does not
 * tell; 256 MiB is as much as the largest that is known. */
uint64_t bench_beyond_cache(const struct woq_device_info *info)
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
        double begin = tool_seconds();
        st = woq_commands_run(cmds, b, 2, &ticket);
        if (!st)
            st = woq_commands_wait(cmds, ticket, WOQ_FOREVER);
        if (!st)
            st = bench_measure(d->device, cmds, COPIES, tool_seconds() - begin, options->seconds,
                               false, &times);
    }
    if (!st) {
        d->copy_bytes = params.size;
        d->copy_gbs = 2 * (double)params.size / times.seconds * 1e-9;
    } else {
        snprintf(d->reason, sizeof d->reason, "copy bandwidth not measured: %s", woq_last_message());
    }
    woq_commands_destroy(&cmds);
    woq_buffer_destroy(&buffer[0]);
    woq_buffer_destroy(&buffer[1]);
}

double bench_limit(const struct bench_options *options, struct bench_device *d, enum woq_limit limit)
{
    double *known = &d->limits[limit];
    if (!limit || *known)
        return *known > 0 ? *known : 0;
    bench_progress(options, "%s: limit %s", d->info.selector, woq_limit_name(limit));
    if (woq_limit_measure(d->device, limit, options->seconds, known) || !(*known > 0))
        *known = -1;
    return *known > 0 ? *known : 0;
}

static void measure_row(const struct bench_options *options, struct bench_device *device,
                        struct bench_pool *pool, struct bench_row *row)
{
    struct bench_work *work = bench_work_create(options, device, pool, row);
    if (work)
        (void)bench_limit(options, device, bench_work_limit(work));
    row->done = work && bench_work_time(work, options->seconds, false);
    bench_work_destroy(work);
}

void bench_run(const struct bench_options *o, struct bench_device *d)
{
    struct bench_pool *pool = tool_alloc(1, sizeof *pool);
    size_t at = 0;
    d->row_count = o->shape_count * o->format_count * o->m_count;
    d->rows = tool_alloc(d->row_count, sizeof *d->rows);
    d->rotate = o->rotate == UINT64_MAX ? bench_beyond_cache(&d->info) : o->rotate;
    bench_progress(o, "%s: copy bandwidth", d->info.selector);
    measure_copy(o, d);
    (void)bench_limit(o, d, WOQ_LIMIT_READ);
    for (size_t s = 0; s < o->shape_count; s++) {
        for (size_t f = 0; f < o->format_count; f++) {
            struct bench_matrix matrix;
            char why[TOOL_WHY];
            bool made = bench_matrix_create(&o->formats[f].format, o->shapes[s], &matrix, why);
            *pool = (struct bench_pool){.device = d->device, .matrix = &matrix};
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
                    snprintf(row->reason, sizeof row->reason, "%s", why);
            }
            bench_pool_clear(pool);
            if (made)
                bench_matrix_destroy(&matrix);
        }
    }
    free(pool);
    bench_progress(o, "%s", "");
}
