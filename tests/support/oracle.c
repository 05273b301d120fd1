/* oracle.c: products in double, and the error bounds of woq/gemm.h. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double unit = 0x1p-24; /* u: half an ulp of binary32 at 1 */
static const double tiny = 0x1p-126;

size_t oracle_type_size(enum woq_type type)
{
    return type == WOQ_F32 ? 4 : 2;
}

/* Bits of a binary format with `mantissa` stored bits and `exponent` exponent bits. */
static double decode_bits(uint32_t bits, int mantissa, int exponent)
{
    const int bias = (1 << (exponent - 1)) - 1;
    const uint32_t fraction = bits & ((1u << mantissa) - 1);
    const int field = (int)(bits >> mantissa & ((1u << exponent) - 1));
    const double sign = bits >> (mantissa + exponent) & 1 ? -1.0 : 1.0;
    if (field == (1 << exponent) - 1)
        return fraction ? NAN : sign * INFINITY;
    if (field == 0)
        return sign * ldexp(fraction, 1 - bias - mantissa);
    return sign * ldexp((double)fraction + ldexp(1.0, mantissa), field - bias - mantissa);
}

static uint32_t load_bits(const void *array, size_t size, uint64_t index)
{
    const uint8_t *p = (const uint8_t *)array + index * size;
    uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    if (size == 4)
        bits |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return bits;
}

static void type_shape(enum woq_type type, int *mantissa, int *exponent)
{
    *mantissa = type == WOQ_F32 ? 23 : type == WOQ_F16 ? 10 : 7;
    *exponent = type == WOQ_F16 ? 5 : 8;
}

double oracle_decode(const void *array, enum woq_type type, uint64_t index)
{
    int mantissa, exponent;
    type_shape(type, &mantissa, &exponent);
    return decode_bits(load_bits(array, oracle_type_size(type), index), mantissa, exponent);
}

double oracle_round(double v, enum woq_type type)
{
    int mantissa, exponent, e;
    if (!isfinite(v) || v == 0)
        return v;
    type_shape(type, &mantissa, &exponent);
    const int largest = (1 << (exponent - 1)) - 1; /* exponent of the largest finite value */
    frexp(v, &e);
    e -= 1;
    if (e < 1 - largest)
        e = 1 - largest;
    const double r = ldexp(rint(ldexp(v, mantissa - e)), e - mantissa);
    return fabs(r) >= ldexp(1.0, largest + 1) ? copysign(INFINITY, v) : r;
}

void oracle_encode(void *array, enum woq_type type, uint64_t index, double v)
{
    int mantissa, exponent, e;
    type_shape(type, &mantissa, &exponent);
    const int bias = (1 << (exponent - 1)) - 1;
    const uint32_t all = (1u << exponent) - 1;
    const double r = oracle_round(v, type);
    uint32_t bits;
    if (isnan(r)) {
        bits = all << mantissa | 1u << (mantissa - 1);
    } else if (isinf(r)) {
        bits = all << mantissa;
    } else if (fabs(r) < ldexp(1.0, 1 - bias)) {
        bits = (uint32_t)ldexp(fabs(r), bias - 1 + mantissa);
    } else {
        frexp(r, &e);
        bits = (uint32_t)(e - 1 + bias) << mantissa;
        bits += (uint32_t)(ldexp(fabs(r), mantissa + 1 - e) - ldexp(1.0, mantissa));
    }
    bits |= (signbit(r) ? 1u : 0u) << (mantissa + exponent);
    uint8_t *p = (uint8_t *)array + index * oracle_type_size(type);
    for (size_t i = 0; i < oracle_type_size(type); i++)
        p[i] = (uint8_t)(bits >> 8 * i);
}

static bool is_plain(const struct woq_format *format)
{
    return format->code == WOQ_CODE_F16 || format->code == WOQ_CODE_BF16;
}

uint64_t oracle_groups(const struct woq_format *format, uint64_t k)
{
    if (is_plain(format))
        return 0;
    if (format->group == WOQ_GROUP_CHANNEL || format->group == WOQ_GROUP_TENSOR)
        return 1;
    return (k + format->group - 1) / format->group;
}

static uint64_t scale_index(const struct woq_weights_source *s, uint64_t row, uint64_t column)
{
    const uint64_t groups = oracle_groups(&s->format, s->k);
    if (s->format.group == WOQ_GROUP_TENSOR)
        return 0;
    if (s->format.group == WOQ_GROUP_CHANNEL)
        return row;
    return row * groups + (s->g_idx ? s->g_idx[column] : column / s->format.group);
}

static double dequantize(const struct woq_weights_source *s, uint64_t group, uint32_t q,
                         double *magnitude)
{
    const struct woq_format *f = &s->format;
    const double scale = oracle_decode(s->scales, f->scale, group);
    double w, size;
    if (f->zero == WOQ_ZERO_OFFSET) {
        const double offset = oracle_decode(s->zeros, f->scale, group);
        w = scale * q + offset;
        size = fabs(scale * q) + fabs(offset);
    } else {
        const int half = f->code == WOQ_CODE_U4 ? 8 : 128;
        const int zero = f->zero == WOQ_ZERO_POINT ? ((const uint8_t *)s->zeros)[group] : half;
        w = scale * ((int)q - zero);
        size = fabs(w);
    }
    if (magnitude)
        *magnitude = size;
    return w;
}

static const uint8_t *codes_of(const struct woq_weights_source *s, uint64_t row)
{
    const enum woq_code code = s->format.code;
    const uint64_t bits = code == WOQ_CODE_U4 ? 4 : code == WOQ_CODE_U8 ? 8 : 16;
    return (const uint8_t *)s->codes + row * (s->row_stride ? s->row_stride : (s->k * bits + 7) / 8);
}

static uint32_t code_at(const struct woq_weights_source *s, uint64_t row, uint64_t column)
{
    const uint8_t *codes = codes_of(s, row);
    return s->format.code == WOQ_CODE_U8 ? codes[column] : codes[column / 2] >> (column % 2 ? 4 : 0) & 15u;
}

double oracle_weight(const struct woq_weights_source *s, uint64_t row, uint64_t column,
                     double *magnitude)
{
    const struct woq_format *f = &s->format;
    if (is_plain(f)) {
        const double w = oracle_decode(codes_of(s, row), f->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16, column);
        if (magnitude)
            *magnitude = fabs(w);
        return w;
    }
    return dequantize(s, scale_index(s, row, column), code_at(s, row, column), magnitude);
}

/* |scale|·(q + zero): of quantized weights, without offsets. */
static double uncentred_size(const struct woq_weights_source *s, uint64_t row, uint64_t column)
{
    const uint32_t q = code_at(s, row, column);
    const uint64_t group = scale_index(s, row, column);
    const double centre = dequantize(s, group, 0, NULL), scale = oracle_decode(s->scales, s->format.scale, group);
    return fabs(scale) * q + fabs(centre);
}

static bool fits_half(double w, double least)
{
    return w == 0 || (fabs(w) >= least && fabs(w) <= 65504.0);
}

enum oracle_safety oracle_fp16_safety(const struct woq_weights_source *s, bool subnormal)
{
    const struct woq_format *f = &s->format;
    const bool kept = subnormal && !is_plain(f) && f->scale == WOQ_F16 && f->zero != WOQ_ZERO_OFFSET;
    const double least = kept ? 0x1p-24 : 0x1p-14;
    bool safe = true, here = true;
    const uint64_t per_row = oracle_groups(f, s->k);
    const uint64_t groups = f->group == WOQ_GROUP_TENSOR ? 1 : s->n * per_row;
    for (uint64_t g = 0; g < groups && !is_plain(f); g++)
        for (uint32_t q = 0; q < (f->code == WOQ_CODE_U4 ? 16u : 256u); q++)
            safe = safe && fits_half(dequantize(s, g, q, NULL), least);
    for (uint64_t row = 0; row < s->n; row++)
        for (uint64_t column = 0; column < s->k && here; column++)
            here = fits_half(oracle_weight(s, row, column, NULL), least);
    if (is_plain(f))
        return here ? ORACLE_SAFE : ORACLE_UNSAFE;
    return safe ? ORACLE_SAFE : here ? ORACLE_SAFE_HERE : ORACLE_UNSAFE;
}

/* γ(n) = n·u / (1 − n·u) */
static double gamma_of(double n)
{
    return n * unit / (1 - n * unit);
}

static double activate(enum woq_activation activation, double v)
{
    switch (activation) {
    case WOQ_ACTIVATION_RELU: return v < 0 ? 0 : v;
    case WOQ_ACTIVATION_GELU_TANH:
        return v / 2 * (1 + tanh(sqrt(2 / acos(-1.0)) * (v + 0.044715 * v * v * v)));
    case WOQ_ACTIVATION_GELU_ERF: return v / 2 * erfc(-v / sqrt(2.0));
    case WOQ_ACTIVATION_SILU:
    case WOQ_ACTIVATION_SILU_MUL: return v / (1 + exp(-v));
    default: return v;
    }
}

/* v = ŷ + bias, one rounding: e grows by u·(|v| + e); then the activation: ReLU keeps e, GELU and
 * SiLU make it 1.13·e + 2^-20·(1 + |v|). */
static void apply(const struct oracle_product *p, struct oracle_output *o, const double *bias)
{
    if (bias) {
        o->value += *bias;
        if (!p->exact)
            o->error += unit * (fabs(o->value) + o->error);
    }
    if (p->activation == WOQ_ACTIVATION_NONE)
        return;
    const double v = o->value;
    o->value = activate(p->activation, v);
    if (p->activation == WOQ_ACTIVATION_RELU)
        return;
    if (isinf(v) && v < 0) { /* −∞·0: the limit is 0 */
        o->value = 0;
        o->nan_allowed = true;
    }
    o->error = isfinite(v) ? 1.13 * o->error + 0x1p-20 * (1 + fabs(v)) : 0;
}

static bool is_subnormal(double v)
{
    return v != 0 && fabs(v) < tiny;
}

/* May scale·q round by itself, which is another ŵ than the contract's? */
static bool rounds_apart(const struct woq_weights_source *s, uint64_t row, uint64_t column)
{
    const uint64_t group = scale_index(s, row, column);
    return s->format.scale == WOQ_F32 || is_subnormal(oracle_decode(s->scales, s->format.scale, group)) ||
           (s->format.zero == WOQ_ZERO_OFFSET && is_subnormal(oracle_decode(s->zeros, s->format.scale, group)));
}

/* The weights of one row as the kernel has them, and what its bound sums; returns the largest
 * weight. */
static double expand_row(const struct oracle_product *p, const struct woq_weights_source *s,
                         uint64_t row, double *w, double *size)
{
    const bool rounded = p->math == WOQ_MATH_ROUNDED && !is_plain(&s->format);
    const double groups = (double)oracle_groups(&s->format, p->k);
    const double exact_bound = gamma_of((double)p->k + 2 * groups + 4);
    const double epsilon = p->x_type == WOQ_F16    ? 0x1p-11
                           : p->x_type == WOQ_BF16 ? 0x1p-8
                                                   : 0x1p-24;
    double largest = 0;
    for (uint64_t k = 0; k < p->k; k++) {
        w[k] = oracle_weight(s, row, k, &size[k]);
        if (rounded) {
            /* γ(K + 1)·|ŵ|; FP32 scales and offsets, subnormal ones: + 2·ε_X·|ŵ|, and for an offset 2·u of
             * the rounded product, which cancellation does not shrink. */
            const double whole = size[k];
            w[k] = oracle_round(oracle_round(w[k], WOQ_F32), p->x_type);
            size[k] = gamma_of((double)p->k + 1) * fabs(w[k]);
            if (rounds_apart(s, row, k))
                size[k] += 2 * epsilon * fabs(w[k]);
            if (rounds_apart(s, row, k) && s->format.zero == WOQ_ZERO_OFFSET)
                size[k] += 2 * unit * whole;
        } else { /* γ(K + 2·G + 4)·|w| */
            if (p->uncentred)
                size[k] = uncentred_size(s, row, k);
            size[k] *= exact_bound;
        }
        largest = fmax(largest, fabs(w[k]));
    }
    return largest;
}

/* 256·max|scale| + max|offset| of a row; plain weights: the largest |w|. */
static double largest_factor(const struct woq_weights_source *s, uint64_t row, double largest_w)
{
    const uint64_t groups = oracle_groups(&s->format, s->k);
    const uint64_t first = s->format.group == WOQ_GROUP_TENSOR ? 0 : row * groups;
    double scale = 0, offset = 0;
    for (uint64_t g = first; g < first + groups; g++) {
        scale = fmax(scale, fabs(oracle_decode(s->scales, s->format.scale, g)));
        if (s->format.zero == WOQ_ZERO_OFFSET)
            offset = fmax(offset, fabs(oracle_decode(s->zeros, s->format.scale, g)));
    }
    return groups ? 256 * scale + offset : largest_w;
}

/* What flushed subnormals may add to an output: (2K + 2G + 2) · 2^-126 · max(1, 256·max|x|, factor); plain weights:
 * max|x| alone. factor: of the weights. */
static double flushed(const struct oracle_product *p, const double *x, double factor)
{
    const double groups = (double)oracle_groups(&p->sources[0].format, p->k);
    double largest = 0;
    for (uint64_t k = 0; k < p->k; k++)
        largest = isfinite(x[k]) ? fmax(largest, fabs(x[k])) : largest;
    return (2 * (double)p->k + 2 * groups + 2) * tiny * fmax(fmax(1, factor), (groups > 0 ? 256 : 1) * largest);
}

/* What FIXED16 may lose of X, times the sizes of the weights it meets: Σ_B δ_B · Σ size. g_idx: blocks are not known,
 * and that of the row's largest element stands for all. */
static double lost_of_blocks(const double *x, const double *size, uint64_t count, bool sorted)
{
    const uint64_t block = sorted ? count : 128;
    double lost = 0;
    for (uint64_t first = 0; first < count; first += block) {
        const uint64_t end = first + block < count ? first + block : count;
        double largest = 0, sum = 0, s = 0x1p-112;
        bool all = true;
        for (uint64_t k = first; k < end; k++)
            largest = fmax(largest, fabs(x[k]));
        while (largest > 32639 * s)
            s *= 2;
        for (uint64_t k = first; k < end; k++) {
            sum += size[k];
            all = all && fmod(x[k], s) == 0;
        }
        lost += all ? 0 : fmax(largest, 0x1p-98) / 32639 * sum;
    }
    return lost;
}

/* One product of FIXED16: that of EXACT (out), and what X loses. */
static void fix_product(const struct oracle_product *p, const struct woq_weights_source *s, const double *size,
                        const double *x, struct oracle_output *out)
{
    const double gamma = gamma_of((double)p->k + 2 * (double)oracle_groups(&s->format, p->k) + 4);
    for (uint64_t k = 0; k < p->k; k++)
        if (!isfinite(x[k])) {
            *out = (struct oracle_output){NAN, 0, false};
            return;
        }
    /* γ·v is in size */
    out->error += p->exact ? 0 : (1 + gamma) / gamma * lost_of_blocks(x, size, p->k, s->g_idx != NULL);
}

/* One product, before the epilogue, without what flushed subnormals may add to its error. Returns
 * false if `exact` was claimed wrongly: exact data are multiples of 1/2. */
static bool one_product(const struct oracle_product *p, const double *w, const double *size,
                        const double *x, struct oracle_output *out)
{
    double sum = 0, bound = 0, whole = 0, largest = 0, weights = 0;
    bool finite = true;
    for (uint64_t k = 0; k < p->k; k++) {
        sum += x[k] * w[k];
        bound += fabs(x[k]) * size[k];
        whole += fabs(x[k] * w[k]);
        finite = finite && isfinite(x[k]);
        largest = isfinite(x[k]) ? fmax(largest, fabs(x[k])) : largest;
        weights += fabs(w[k]) + size[k]; /* γ·|w| is in size */
    }
    bound += p->halved ? 0x1p-40 * largest * weights : 0;
    *out = (struct oracle_output){sum, isfinite(sum) && !p->exact ? bound : 0, p->uncentred && !finite};
    if (p->uncentred)
        whole = bound / gamma_of((double)p->k + 2 * (double)oracle_groups(&p->sources[0].format, p->k) + 4);
    return !p->exact || whole * 2 < 0x1p24;
}

/* sums[m][rows] of all products, before the epilogue; x: X as numbers. */
static bool all_products(const struct oracle_product *p, const double *x, double *w, double *size,
                         uint64_t rows, struct oracle_output *sums)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint64_t row = 0; row < p->sources[i].n; row++, n++) {
            const double largest = expand_row(p, &p->sources[i], row, w, size);
            const double factor = largest_factor(&p->sources[i], row, largest);
            const bool fixed = p->math == WOQ_MATH_FIXED16 && !is_plain(&p->sources[i].format);
            for (uint64_t m = 0; m < p->m; m++) {
                struct oracle_output *sum = &sums[m * rows + n];
                if (!one_product(p, w, size, x + m * p->k, sum))
                    return false;
                if (fixed)
                    fix_product(p, &p->sources[i], size, x + m * p->k, sum);
                if (isfinite(sum->value) && !p->exact)
                    sum->error += flushed(p, x + m * p->k, factor);
            }
        }
    }
    return true;
}

/* Y's elements of one row from its products (`rows` of them: twice the columns if gated). */
static void row_epilogue(const struct oracle_product *p, uint64_t row, uint64_t columns,
                         const struct oracle_output *sums, struct oracle_output *out)
{
    for (uint64_t n = 0; n < columns; n++) {
        struct oracle_output o = sums[n];
        double bias = p->bias ? oracle_decode(p->bias, p->bias_type, n) : 0;
        apply(p, &o, p->bias ? &bias : NULL);
        if (p->gated) {
            struct oracle_product linear = *p;
            linear.activation = WOQ_ACTIVATION_NONE;
            struct oracle_output up = sums[columns + n];
            bias = p->bias ? oracle_decode(p->bias, p->bias_type, columns + n) : 0;
            apply(&linear, &up, p->bias ? &bias : NULL);
            /* |ab − âb̂| ≤ |a|·e_b + |b|·e_a + e_a·e_b, and one rounding */
            const double v = o.value * up.value;
            o.error = fabs(o.value) * up.error + fabs(up.value) * o.error + o.error * up.error;
            o.error = isfinite(v) ? o.error + unit * (fabs(v) + o.error) + tiny : 0;
            o.nan_allowed = o.nan_allowed || up.nan_allowed;
            o.value = v;
        }
        if (p->residual) {
            o.value += oracle_decode(p->residual, p->y_type, row * columns + n);
            if (!p->exact || p->activation > WOQ_ACTIVATION_RELU)
                o.error += isfinite(o.value) ? unit * (fabs(o.value) + o.error) : 0;
        }
        if (!isfinite(o.value))
            o.error = 0;
        out[n] = o;
    }
}

uint64_t oracle_product(const struct oracle_product *p, struct oracle_output *out)
{
    uint64_t rows = 0, result = 0;
    for (uint32_t i = 0; i < p->count; i++)
        rows += p->sources[i].n;
    const uint64_t columns = p->gated ? rows / 2 : rows;
    double *w = calloc(p->k, sizeof(*w));
    double *size = calloc(p->k, sizeof(*size));
    double *x = calloc(p->m * p->k, sizeof(*x));
    struct oracle_output *sums = calloc(p->m * rows, sizeof(*sums));
    if (!w || !size || !x || !sums)
        goto end;
    for (uint64_t i = 0; i < p->m * p->k; i++)
        x[i] = oracle_decode(p->x, p->x_type, i);
    struct oracle_product inexact = *p;
    inexact.exact = false;
    if (!all_products(p, x, w, size, rows, sums)) {
        if (!p->uncentred)
            goto end;
        p = &inexact;
        all_products(p, x, w, size, rows, sums);
    }
    for (uint64_t m = 0; m < p->m; m++)
        row_epilogue(p, m, columns, sums + m * rows, out + m * columns);
    result = columns;
end:
    free(w);
    free(size);
    free(x);
    free(sums);
    return result;
}

bool oracle_accepts(const struct oracle_output *want, enum woq_type y_type, double got)
{
    if (isnan(want->value))
        return isnan(got);
    if (isnan(got))
        return want->nan_allowed;
    /* rn_Y is monotonic: it maps [v − e, v + e] into [rn(v − e), rn(v + e)]. Storing a subnormal
     * binary32 or bfloat16 may flush it. */
    const double error = want->error > 0 && y_type != WOQ_F16 ? want->error + tiny : want->error;
    return got >= oracle_round(want->value - error, y_type) &&
           got <= oracle_round(want->value + error, y_type);
}
