/*
 * rtn.c: round to nearest.
 *
 * All arithmetic is binary32, one IEEE operation after the other, so that any other implementation of
 * these lines gives the same bits (rn_T: to nearest even in the scale's type; rn: to integer, ties to even):
 *
 *   symmetric   a = max |w|;  s = rn_T(a / (2^(bits−1) − 1));  m = 2^(bits−1) − 1
 *               q = rn(min(max(w / s, −m), m)) + 2^(bits−1)
 *   zero point  lo = min(0, min w);  hi = max(0, max w);  s = rn_T((hi − lo) / (2^bits − 1))
 *               z = min(rn(−lo / s), 2^bits − 1);  q = rn(min(max(w / s, −z), 2^bits − 1 − z)) + z
 *
 * A group whose scale is 0 gets the code of 0 everywhere.
 */
#include "core/element.h"
#include "grid.h"
#include "quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rtn {
    const struct woq_format *format;
    uint64_t n, k, groups, row_bytes, group; /* group: columns of one */
    unsigned bits;
    const float *w;
    const struct woqi_rtn_block *block;
    const struct woqi_rtn_arrays *out;
};

/* Index of the first element that is infinite or not a number; `count` if there is none. */
static uint64_t first_bad(const float *w, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(w[i]))
            return i;
    return count;
}

/* Columns first … first + count − 1 of a row of codes, rising: an even column clears its byte. */
static void write_codes(const struct rtn *t, const struct woqi_grid *g, const float *w, uint64_t first,
                        uint64_t count, uint8_t *row)
{
    for (uint64_t i = 0; i < count; i++) {
        unsigned code = woqi_grid_code(g, w[i]);
        uint64_t k = first + i;
        if (t->bits == 8)
            row[k] = (uint8_t)code;
        else if (k % 2)
            row[k / 2] = (uint8_t)(row[k / 2] | (code & 15) << 4);
        else
            row[k / 2] = (uint8_t)(code & 15);
    }
}

static void store_scale(const struct rtn *t, uint64_t index, const struct woqi_grid *g)
{
    woqi_element_store(t->format->scale, t->out->scales, index, g->scale);
    if (t->out->zeros)
        t->out->zeros[index] = (uint8_t)g->zero;
}

/* One row; `whole` is the tensor's grid, NULL for finer ones. False if a scale is not finite; *column
 * is where its group begins. */
static bool write_row(const struct rtn *t, uint64_t row, const struct woqi_grid *whole, uint64_t *column)
{
    const float *w = t->w + row * t->k;
    uint8_t *codes = t->out->codes + row * t->row_bytes;
    for (uint64_t g = 0; g < t->groups; g++) {
        uint64_t first = g * t->group;
        uint64_t count = t->k - first < t->group ? t->k - first : t->group;
        struct woqi_grid grid;
        if (whole) {
            grid = *whole;
        } else {
            float low, high;
            woqi_range_of(count, w + first, &low, &high);
            grid = woqi_grid_of_range(t->format, low, high);
        }
        if (!isfinite(grid.scale)) {
            *column = first;
            return false;
        }
        if (!whole)
            store_scale(t, row * t->groups + g, &grid);
        write_codes(t, &grid, w + first, first, count, codes);
    }
    return true;
}

static enum woq_status fail_scale(const struct rtn *t, uint64_t row, uint64_t column)
{
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "%s: %s: the weights from row %llu, column %llu on are too large for a scale of type %s",
                      t->block->source, t->block->name, (unsigned long long)(t->block->first_row + row),
                      (unsigned long long)column, woq_type_name(t->format->scale));
}

enum woq_status woqi_rtn_scan(uint64_t n, uint64_t k, const float *w, uint32_t jobs,
                              const struct woqi_rtn_block *block, float *low, float *high)
{
    uint64_t worst = n;
    float least = 0, most = 0;
    jobs = woqi_jobs(jobs);
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static)                           \
    reduction(min : worst, least) reduction(max : most)
#endif
    for (uint64_t row = 0; row < n; row++) {
        float row_low, row_high;
        if (!woqi_range_of(k, w + row * k, &row_low, &row_high)) {
            worst = row < worst ? row : worst;
            continue;
        }
        least = row_low < least ? row_low : least;
        most = row_high > most ? row_high : most;
    }
    *low = least;
    *high = most;
    if (worst == n)
        return WOQ_OK;
    uint64_t column = first_bad(w + worst * k, k);
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "%s: %s: the weight at row %llu, column %llu is %s; all must be finite",
                      block->source, block->name, (unsigned long long)(block->first_row + worst),
                      (unsigned long long)column,
                      isnan(w[worst * k + column]) ? "not a number" : "infinite");
}

enum woq_status woqi_rtn(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                         uint32_t jobs, const struct woqi_rtn_block *block,
                         const struct woqi_rtn_arrays *out)
{
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(format, n, k, &sizes);
    if (st)
        return st;
    struct rtn t = {format, n, k, sizes.groups, sizes.row_bytes,
                    sizes.groups == 1 ? k : format->group, format->code == WOQ_CODE_U4 ? 4 : 8,
                    w, block, out};
    jobs = woqi_jobs(jobs);
    float low, high;
    if ((st = woqi_rtn_scan(n, k, w, jobs, block, &low, &high)))
        return st;
    bool tensor = format->group == WOQ_GROUP_TENSOR;
    struct woqi_grid whole =
        block->ranged ? woqi_grid_of_range(format, block->low, block->high) : woqi_grid_of_range(format, low, high);
    if (tensor && !isfinite(whole.scale))
        return fail_scale(&t, 0, 0);
    if (tensor)
        store_scale(&t, 0, &whole);
    uint64_t worst = n;
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static) reduction(min : worst)
#endif
    for (uint64_t row = 0; row < n; row++) {
        uint64_t column;
        if (!write_row(&t, row, tensor ? &whole : NULL, &column))
            worst = row < worst ? row : worst;
    }
    if (worst == n)
        return WOQ_OK;
    uint64_t column = 0;
    write_row(&t, worst, NULL, &column);
    return fail_scale(&t, worst, column);
}

static enum woq_status check(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                             const struct woq_weights_source *out, struct woq_format_sizes *sizes)
{
    if (!format || !w || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_quantize_rtn: %s is NULL",
                          !format ? "format" : !w ? "w" : "out");
    enum woq_status st = woq_format_get_sizes(format, n, k, sizes);
    if (st)
        return st;
    if (format->code != WOQ_CODE_U4 && format->code != WOQ_CODE_U8)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_quantize_rtn: format.code must be WOQ_CODE_U4 or WOQ_CODE_U8");
    if (format->zero == WOQ_ZERO_OFFSET)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_quantize_rtn: format.zero must be SYMMETRIC or POINT; rounding to nearest "
                          "makes no float offsets");
    if (format->g_idx)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_quantize_rtn: format.g_idx must be false; groups are consecutive columns");
    if (n > SIZE_MAX / sizeof *w / k)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_quantize_rtn: %llu×%llu floats exceed the address space",
                          (unsigned long long)n, (unsigned long long)k);
    return WOQ_OK;
}

enum woq_status woq_quantize_rtn(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                 struct woq_weights_source *out)
{
    if (out)
        *out = (struct woq_weights_source){.struct_size = sizeof *out};
    struct woq_format_sizes sizes;
    enum woq_status st = check(format, n, k, w, out, &sizes);
    if (st)
        return st;
    const struct woqi_rtn_block block = {"woq_quantize_rtn", "the matrix", 0, false, 0, 0};
    struct woqi_rtn_arrays arrays = {malloc(sizes.codes), malloc(sizes.scales),
                                     sizes.zeros ? malloc(sizes.zeros) : NULL};
    if (!arrays.codes || !arrays.scales || (sizes.zeros && !arrays.zeros))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_quantize_rtn: out of memory for %llu×%llu codes",
                        (unsigned long long)n, (unsigned long long)k);
    else
        st = woqi_rtn(format, n, k, w, 0, &block, &arrays);
    if (st) {
        free(arrays.codes);
        free(arrays.scales);
        free(arrays.zeros);
        return st;
    }
    out->format = *format;
    out->n = n;
    out->k = k;
    out->codes = arrays.codes;
    out->scales = arrays.scales;
    out->zeros = arrays.zeros;
    return WOQ_OK;
}
