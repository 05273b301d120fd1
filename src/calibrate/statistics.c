/* statistics.c: sums of activations, channel by channel. */
#include "statistics.h"
#include "model/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum woq_status create_input(const struct woq_model_config *config, uint32_t layer, enum woqi_stage stage,
                                    struct woqi_channel_statistics *out)
{
    struct woqi_stage_info info;
    enum woq_status st = woqi_stage_describe(config, layer, stage, &info);
    if (st)
        return st;
    snprintf(out->name, sizeof out->name, "%s", info.names[0]);
    out->k = info.columns;
    out->absmax = calloc(out->k, sizeof *out->absmax);
    out->sum_abs = calloc(out->k, sizeof *out->sum_abs);
    out->sum = calloc(out->k, sizeof *out->sum);
    out->sum_squares = calloc(out->k, sizeof *out->sum_squares);
    if (!out->absmax || !out->sum_abs || !out->sum || !out->sum_squares)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no host memory for statistics of '%s'", out->name);
    return st;
}

enum woq_status woqi_statistics_create(const struct woq_model_config *config, struct woqi_statistics *out)
{
    *out = (struct woqi_statistics){.count = 0};
    if (!config->layers || config->layers > UINT32_MAX / WOQI_STAGES)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "statistics of a model of %u layers", config->layers);
    const uint32_t count = config->layers * WOQI_STAGES;
    out->inputs = calloc(count, sizeof *out->inputs);
    if (!out->inputs)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no host memory for statistics of %u layers", config->layers);
    out->count = count;
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++)
        st = create_input(config, i / WOQI_STAGES, (enum woqi_stage)(i % WOQI_STAGES), &out->inputs[i]);
    if (st)
        woqi_statistics_release(out);
    return st;
}

void woqi_statistics_release(struct woqi_statistics *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        free(s->inputs[i].absmax);
        free(s->inputs[i].sum_abs);
        free(s->inputs[i].sum);
        free(s->inputs[i].sum_squares);
    }
    free(s->inputs);
    *s = (struct woqi_statistics){.count = 0};
}

/* By the bits of |x|: exponent, and whether the mantissa is above that of the square root of 2. */
static unsigned bin_of(uint32_t bits)
{
    enum { LOWEST = -14, HIGHEST = 17, BIAS = 127 };
    const int exponent = (int)(bits >> 23) - BIAS;
    if (exponent < LOWEST)
        return 0;
    if (exponent >= HIGHEST)
        return WOQI_STATISTICS_BINS - 1;
    return 1 + 2 * (unsigned)(exponent - LOWEST) + ((bits & 0x7fffffu) > 0x3504f3u);
}

/* Columns begin … end of the rows; what is counted over all columns goes to the caller's. */
static void add_columns(struct woqi_channel_statistics *c, uint64_t rows, const float *x, uint64_t begin, uint64_t end,
                        uint64_t histogram[WOQI_STATISTICS_BINS], uint64_t *not_finite)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = begin; i < end; i++) {
            const float v = x[r * c->k + i], a = fabsf(v);
            uint32_t bits;
            memcpy(&bits, &a, sizeof bits);
            if (bits >= 0x7f800000u) {
                ++*not_finite;
                continue;
            }
            histogram[bin_of(bits)]++;
            c->absmax[i] = a > c->absmax[i] ? a : c->absmax[i];
            c->sum_abs[i] += (double)a;
            c->sum[i] += (double)v;
            c->sum_squares[i] += (double)v * (double)v;
        }
}

void woqi_statistics_add(struct woqi_channel_statistics *c, uint64_t rows, const float *x)
{
    enum { PIECE = 128 };
    const int64_t pieces = (int64_t)((c->k + PIECE - 1) / PIECE);
    /* A column's sum is one thread's, row after row: the threads' number does not show. */
#pragma omp parallel for schedule(dynamic) if (rows * c->k > 100000)
    for (int64_t p = 0; p < pieces; p++) {
        const uint64_t begin = (uint64_t)p * PIECE, end = c->k - begin < PIECE ? c->k : begin + PIECE;
        uint64_t histogram[WOQI_STATISTICS_BINS] = {0}, not_finite = 0;
        add_columns(c, rows, x, begin, end, histogram, &not_finite);
#pragma omp critical(woqi_statistics)
        {
            for (int i = 0; i < WOQI_STATISTICS_BINS; i++)
                c->histogram[i] += histogram[i];
            c->not_finite += not_finite;
        }
    }
    c->rows += rows;
}
