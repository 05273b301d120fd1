/* bench_pack.c: how long weights take from host memory to the device's layout. */
#include "bench_pack.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST = 3, MOST = 1000 }; /* runs */

struct samples {
    double create[MOST], pack[MOST], write[MOST];
};

static enum woq_status create_once(struct woq_device *device, const struct woq_weights_params *params,
                                   struct bench_pack_row *row, double *create, double *pack)
{
    struct woq_weights_info info = {.struct_size = sizeof info};
    struct woq_weights *weights = NULL;
    const double begin = tool_seconds();
    enum woq_status st = woq_weights_create(device, params, &weights);
    *create = tool_seconds() - begin;
    if (!st)
        st = woq_weights_get_info(weights, &info);
    *pack = (double)info.pack_ns * 1e-9;
    row->device_packed = info.device_packed;
    row->bytes = info.payload_bytes;
    woq_weights_destroy(&weights);
    return st;
}

/* The codes as they are, to one buffer or as much of it as there can be. */
static enum woq_status write_once(struct woq_buffer *buffer, const struct bench_matrix *matrix, uint64_t size,
                                  double *seconds)
{
    const double begin = tool_seconds();
    const enum woq_status st = woq_buffer_write(buffer, 0, matrix->codes, size);
    *seconds = tool_seconds() - begin;
    return st;
}

static double median(double *values, uint32_t count)
{
    bench_sort(values, count);
    return values[count / 2];
}

static enum woq_status measure(const struct bench_options *options, struct woq_device *device,
                               const struct bench_matrix *matrix, struct samples *s, struct bench_pack_row *row)
{
    const struct woq_device_info *info = woq_device_get_info(device);
    const struct woq_weights_source source = bench_matrix_source(matrix);
    const struct woq_weights_params params = {sizeof params, &source, 1, false};
    const uint64_t size = matrix->sizes.codes < info->max_allocation ? matrix->sizes.codes : info->max_allocation;
    const struct woq_buffer_params buffer_params = {sizeof buffer_params, size, 0};
    struct woq_buffer *buffer = NULL;
    enum woq_status st = woq_buffer_create(device, &buffer_params, &buffer);
    if (!st)
        st = write_once(buffer, matrix, size, &s->write[0]);
    if (!st) /* what the first one alone needs: kernels, memory for transfers */
        st = create_once(device, &params, row, &s->create[0], &s->pack[0]);
    const double begin = tool_seconds();
    uint32_t n = 0;
    while (!st && n < MOST && (n < LEAST || tool_seconds() - begin < options->seconds)) {
        st = create_once(device, &params, row, &s->create[n], &s->pack[n]);
        if (!st)
            st = write_once(buffer, matrix, size, &s->write[n]);
        n++;
    }
    woq_buffer_destroy(&buffer);
    if (st)
        return st;
    row->runs = n;
    row->create = median(s->create, n);
    row->pack = median(s->pack, n);
    row->write = median(s->write, n) / (double)size * (double)row->bytes;
    row->done = true;
    return WOQ_OK;
}

static void run_row(const struct bench_options *options, struct woq_device *device, struct samples *samples,
                    struct bench_pack_row *row)
{
    struct bench_matrix matrix;
    bench_progress(options, "%s: %llu x %llu, %s", woq_device_get_info(device)->selector,
                   (unsigned long long)row->shape.n, (unsigned long long)row->shape.k, row->format->name);
    if (!bench_matrix_create(&row->format->format, row->shape, &matrix, row->reason))
        return;
    if (measure(options, device, &matrix, samples, row))
        snprintf(row->reason, sizeof row->reason, "%s", woq_last_message());
    bench_matrix_destroy(&matrix);
}

void bench_pack_run(const struct bench_options *options, const char *selector, struct bench_pack_device *out)
{
    struct woq_device_params params = tool_device_params(options->log);
    struct woq_device *device = NULL;
    *out = (struct bench_pack_device){0};
    const enum woq_status st = woq_device_open(selector, &params, &device);
    if (st) {
        out->usage = st == WOQ_ERROR_INVALID_ARGUMENT;
        snprintf(out->reason, sizeof out->reason, "%s", woq_last_message());
        return;
    }
    struct samples *samples = tool_alloc(1, sizeof *samples);
    out->device = *woq_device_get_info(device);
    out->count = options->shape_count * options->format_count;
    out->rows = tool_alloc(out->count, sizeof *out->rows);
    for (size_t i = 0; i < out->count; i++) {
        struct bench_pack_row *row = &out->rows[i];
        row->shape = options->shapes[i / options->format_count];
        row->format = &options->formats[i % options->format_count];
        run_row(options, device, samples, row);
        out->done |= row->done;
    }
    bench_progress(options, "%s", "");
    free(samples);
    woq_device_destroy(&device);
}
