/*
 * bench_oracle.c: the product in double, straight from the canonical bytes, and the error bound
 * that woq/gemm.h derives. Shares nothing with the library: it decodes and rounds by itself.
 */
#include "bench.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Multiplications spent on one row of the report; above it, outputs are sampled. */
static const double budget = 1 << 24;
enum { MOST_ROWS = 16 };

/* γ(n) of woq/gemm.h. */
static double gamma_bound(double n)
{
    double nu = n * 0x1p-24;
    return nu / (1 - nu);
}

/* Unit roundoff of a type. */
static double roundoff(enum woq_type type)
{
    return type == WOQ_F16 ? 0x1p-11 : type == WOQ_BF16 ? 0x1p-8 : 0x1p-24;
}

/* Half the distance of a type's subnormals. */
static double underflow(enum woq_type type)
{
    return type == WOQ_F16 ? 0x1p-25 : type == WOQ_BF16 ? 0x1p-134 : 0x1p-150;
}

/* To nearest even in a binary floating-point type; nearbyint does the tie. */
static double round_to(enum woq_type type, double value)
{
    int exponent, digits = type == WOQ_F16 ? 11 : type == WOQ_BF16 ? 8 : 24;
    int least = type == WOQ_F16 ? -13 : -125; /* frexp's exponent of the smallest normal number */
    if (!isfinite(value) || value == 0)
        return value;
    frexp(value, &exponent);
    exponent = exponent < least ? least : exponent;
    double rounded = ldexp(nearbyint(ldexp(value, digits - exponent)), exponent - digits);
    double largest = type == WOQ_F16 ? 65504 : type == WOQ_BF16 ? 0x1.fep127 : FLT_MAX;
    return fabs(rounded) > largest ? copysign((double)INFINITY, rounded) : rounded;
}

/* Row n: the weights that the math mode multiplies, what the bound sums in their place, and the
 * sizes of what they are added up from. */
static void decode_row(const struct bench_product *p, uint64_t n, double *w, double *magnitude,
                       double *parts)
{
    const struct bench_matrix *a = p->matrix;
    const struct woq_format *f = &a->format;
    bool four = f->code == WOQ_CODE_U4;
    for (uint64_t k = 0; k < a->k; k++) {
        if (!a->sizes.scales) {
            w[k] = bench_element(f->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16, a->codes,
                                 n * a->k + k);
            parts[k] = magnitude[k] = fabs(w[k]);
            continue;
        }
        uint8_t byte = a->codes[n * a->sizes.row_bytes + (four ? k / 2 : k)];
        double q = four ? (k & 1 ? byte >> 4 : byte & 15) : byte;
        uint64_t g = f->group == WOQ_GROUP_CHANNEL || f->group == WOQ_GROUP_TENSOR ? 0
                     : a->g_idx ? a->g_idx[k] : k / f->group;
        uint64_t i = f->group == WOQ_GROUP_TENSOR ? 0 : n * a->sizes.groups + g;
        double scale = bench_element(f->scale, a->scales, i);
        if (f->zero == WOQ_ZERO_OFFSET) {
            double offset = bench_element(f->scale, a->zeros, i);
            w[k] = scale * q + offset;
            magnitude[k] = fabs(scale * q) + fabs(offset);
        } else {
            w[k] = scale * (q - (f->zero == WOQ_ZERO_POINT ? a->zeros[i] : four ? 8 : 128));
            magnitude[k] = fabs(w[k]);
        }
        parts[k] = magnitude[k];
        if (p->math == WOQ_MATH_ROUNDED) {
            w[k] = round_to(p->x_type, round_to(WOQ_F32, w[k]));
            magnitude[k] = fabs(w[k]);
        }
    }
}

/* What FIXED16 may lose of X, times the weights it meets: of 128 columns, 1 / 32639 of the largest |x|; with g_idx,
 * which moves columns, of all. */
static double lost_of_blocks(const struct bench_matrix *a, const double *x, const double *magnitude)
{
    uint64_t block = a->g_idx ? a->k : 128;
    double lost = 0;
    for (uint64_t first = 0; first < a->k; first += block) {
        double largest = 0, sum = 0;
        for (uint64_t i = first; i < a->k && i < first + block; i++) {
            largest = fmax(largest, fabs(x[i]));
            sum += magnitude[i];
        }
        lost += largest / 32639 * sum;
    }
    return lost;
}

/* Error of output y, as a fraction of what is allowed. */
static double check_output(const struct bench_product *p, const double *w, const double *x,
                           double y)
{
    const struct bench_matrix *a = p->matrix;
    bool quantized = a->sizes.scales != 0;
    const double *magnitude = w + a->k, *part = w + 2 * a->k;
    double sum = 0, absolute = 0, parts = 0, k = (double)a->k, groups = (double)a->sizes.groups;
    for (uint64_t i = 0; i < a->k; i++) {
        sum += x[i] * w[i];
        absolute += fabs(x[i]) * magnitude[i];
        parts += fabs(x[i]) * part[i];
    }
    double bound = gamma_bound(k + (quantized ? 2 * groups : 0) + 4) * absolute;
    if (quantized && p->math == WOQ_MATH_ROUNDED) {
        bound = gamma_bound(k + 1) * absolute;
        if (a->format.scale == WOQ_F32)
            bound += 2 * roundoff(p->x_type) * absolute + 2 * 0x1p-24 * parts;
    }
    if (quantized && p->math == WOQ_MATH_FIXED16)
        bound += (1 + gamma_bound(k + 2 * groups + 4)) * lost_of_blocks(a, x, magnitude);
    bound += (2 * k + 2 * groups + 2) * 0x1p-126; /* |x| and scales are below 1 here */
    bound += roundoff(p->y_type) * (fabs(sum) + bound) + underflow(p->y_type);
    double error = fabs(y - sum);
    return error <= bound * 1e30 ? error / bound : (double)INFINITY;
}

/* Which of `total` the sample i of `count` is: the first, the last, and random ones. */
static uint64_t pick(uint64_t i, uint64_t count, uint64_t total, uint64_t *state)
{
    if (count >= total || i == 0)
        return i;
    return i == 1 ? total - 1 : bench_random(state) % total;
}

struct bench_error bench_check(const struct bench_product *p)
{
    const struct bench_matrix *a = p->matrix;
    uint64_t state = UINT64_C(0x2127599bf4325c37), rows = p->m, columns = a->n, k = a->k;
    struct bench_error result = {0, 0};
    if ((double)rows * (double)columns * (double)k > budget) {
        rows = rows < MOST_ROWS ? rows : MOST_ROWS;
        double fit = budget / ((double)k * (double)rows);
        columns = fit < 2 ? 2 : fit < (double)a->n ? (uint64_t)fit : a->n;
        columns = columns < a->n ? columns : a->n;
    }
    uint64_t *row = tool_alloc(rows, sizeof *row);
    double *x = tool_alloc(rows * k, sizeof *x), *w = tool_alloc(k, 3 * sizeof *w);
    for (uint64_t r = 0; r < rows; r++) {
        row[r] = pick(r, rows, p->m, &state);
        for (uint64_t i = 0; i < k; i++)
            x[r * k + i] = bench_element(p->x_type, p->x, row[r] * k + i);
    }
    for (uint64_t c = 0; c < columns; c++) {
        uint64_t column = pick(c, columns, a->n, &state);
        decode_row(p, column, w, w + k, w + 2 * k);
        for (uint64_t r = 0; r < rows; r++) {
            double y = bench_element(p->y_type, p->y, row[r] * a->n + column);
            double fraction = check_output(p, w, x + r * k, y);
            result.fraction = fraction > result.fraction ? fraction : result.fraction;
            result.checked++;
        }
    }
    free(row);
    free(x);
    free(w);
    return result;
}
