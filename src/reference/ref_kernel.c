/*
 * ref_kernel.c: the kernels floor and fixed in plain C, the text to read before any other kernel.
 *
 * floor: for each output the sum over k, rising, of x · w in FP32 by fused multiply-add, w as the numeric contract in
 * woq/gemm.h has it; then the epilogue. fixed: the sum over segments of columns (shaders/abi.inc), rising, of
 * scale · (dot of the integers), which is exact; then the epilogue.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"
#include "../core/core.h"
#include "ref_backend.h"

/* One step, its flags taken apart. */
struct product {
    const struct woqi_args *a;
    const uint8_t *weights, *x, *bias, *residual;
    uint8_t *y;
    struct woq_format format;
    enum woq_type x_type, y_type, bias_type, round_type;
    bool fixed; /* X is what xfixed made of it */
};

static enum woq_type type_of(uint32_t field)
{
    return (enum woq_type)field;
}

/* Where the element of physical row `row` and column k begins, of `bits` bits: in bits from codes_off on. */
static uint64_t element_bit(const struct woqi_args *a, uint32_t row, uint32_t k, uint32_t bits)
{
    if (WOQ_FLAG_LAYOUT(a->flags) == WOQ_ABI_ROWS)
        return 8 * (uint64_t)row * a->codes_stride + (uint64_t)k * bits;
    /* FRAG16B: units of 32 columns; 16 bits for each column of a lane */
    const uint64_t unit = k / 32, high = row % 16 / 8, lane = row % 8 * 4 + k % 32 / 8;
    const uint64_t at = 8 * (uint64_t)(row / 16) * a->codes_stride + lane * 128 + k % 8 * 16;
    if (bits == 4)
        return at + unit / 2 * 4096 + unit % 2 * 8 + high * 4;
    return at + (bits == 8 ? unit * 4096 + high * 8 : unit * 8192 + high * 4096);
}

/* The code of physical row `row`, column `k`. */
static unsigned code_at(const struct product *p, uint32_t row, uint32_t k)
{
    const uint32_t bits = p->format.code == WOQ_CODE_U4 ? 4 : 8;
    const uint64_t bit = element_bit(p->a, row, k, bits);
    return p->weights[p->a->codes_off + bit / 8] >> bit % 8 & ((1u << bits) - 1u);
}

/* In the tables of scales and zeros. */
static uint64_t scale_index(const struct product *p, uint32_t row, uint32_t k)
{
    const struct woqi_args *a = p->a;
    return (uint64_t)(k / a->group) * a->scale_stride +
           woqi_table_row((enum woqi_layout)WOQ_FLAG_LAYOUT(a->flags), row);
}

static float weight_at(const struct product *p, uint32_t row, uint32_t k)
{
    const struct woqi_args *a = p->a;
    if (p->format.code == WOQ_CODE_F16 || p->format.code == WOQ_CODE_BF16) {
        enum woq_type type = p->format.code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16;
        return woqi_element_load(type, p->weights + a->codes_off, element_bit(a, row, k, 16) / 16);
    }
    uint64_t index = scale_index(p, row, k);
    float w = woqi_dequantize(&p->format, code_at(p, row, k), p->weights + a->scales_off,
                              p->weights + a->zeros_off, index);
    if (p->round_type == WOQ_F16)
        return woq_f16_to_f32(woq_f32_to_f16(w));
    if (p->round_type == WOQ_BF16)
        return woq_bf16_to_f32(woq_f32_to_bf16(w));
    return w;
}

static float dot(const struct product *p, uint32_t m, uint32_t row)
{
    const struct woqi_args *a = p->a;
    const uint8_t *x = p->x + a->x_off + (uint64_t)m * a->x_stride;
    float sum = 0;
    for (uint32_t k = 0; k < a->k; k++) {
        uint32_t column = k;
        if (WOQ_FLAG_PERM(a->flags)) {
            memcpy(&column, p->weights + a->perm_off + 4 * (uint64_t)k, 4);
            if (column == WOQ_PERM_NONE)
                continue;
        }
        sum = fmaf(woqi_element_load(p->x_type, x, column), weight_at(p, row, k), sum);
    }
    return sum;
}

static uint32_t word_at(const uint8_t *from, uint64_t index)
{
    uint32_t word;
    memcpy(&word, from + 4 * index, 4);
    return word;
}

/* Σ q · x of the columns first … end − 1, whose x are integers. */
static int32_t dot_segment(const struct product *p, const uint8_t *x, uint32_t row, uint32_t first, uint32_t end)
{
    int32_t dot = 0;
    for (uint32_t k = first; k < end; k++) {
        int16_t v;
        memcpy(&v, x + 2 * (uint64_t)k, 2);
        dot += (int32_t)code_at(p, row, k) * v;
    }
    return dot;
}

static float dot_fixed(const struct product *p, uint32_t m, uint32_t row)
{
    const struct woqi_args *a = p->a;
    const uint8_t *x = p->x + a->x_off + (uint64_t)m * a->x_stride, *scales = p->weights + a->scales_off;
    const uint32_t segment = WOQ_FIXED_SEGMENT(a->group), segments = WOQ_FIXED_SEGMENTS(a->group);
    float total = 0;
    for (uint32_t first = 0; first < a->k; first += segment) {
        const uint32_t block = first / WOQ_FIXED_BLOCK, count = a->k - first < segment ? a->k - first : segment;
        const uint64_t i = scale_index(p, row, first);
        const uint64_t s = (uint64_t)block * segments + first % WOQ_FIXED_BLOCK / segment;
        const float scale = woqi_element_load(WOQ_F32, x + WOQ_FIXED_SCALES(a->k), block);
        const int32_t term = (int32_t)word_at(x + WOQ_FIXED_TERMS(a->k), s * (WOQ_FIXED_TERM / 4));
        int32_t dot = dot_segment(p, x, row, first, first + count);
        if (p->format.zero == WOQ_ZERO_SYMMETRIC)
            dot += term;
        else if (p->format.zero == WOQ_ZERO_POINT)
            dot -= p->weights[a->zeros_off + i] * term;
        total = fmaf(woqi_element_load(p->format.scale, scales, i), (float)dot * scale, total);
        if (p->format.zero == WOQ_ZERO_OFFSET)
            total = fmaf(woqi_element_load(p->format.scale, p->weights + a->zeros_off, i), (float)term * scale, total);
        if (count < segment)
            break; /* first + segment may not fit 32 bits */
    }
    return total;
}

static float with_bias(const struct product *p, float v, uint64_t byte)
{
    if (p->bias_type == WOQ_TYPE_NONE)
        return v;
    return v + woqi_element_load(p->bias_type, p->bias + p->a->bias_off + byte, 0);
}

static float silu(float v)
{
    return v / (1.0f + expf(-v));
}

static float activate(uint32_t activation, float v)
{
    switch (activation) {
    case WOQ_ABI_ACT_RELU:
        return v < 0 ? 0 : v;
    case WOQ_ABI_ACT_GELU_TANH:
        return 0.5f * v * (1.0f + tanhf(0.797884561f * (v + 0.044715f * v * v * v)));
    case WOQ_ABI_ACT_GELU_ERF:
        return 0.5f * v * (1.0f + erff(v * 0.707106781f));
    case WOQ_ABI_ACT_SILU:
        return silu(v);
    default:
        return v;
    }
}

static float sum_of(const struct product *p, uint32_t m, uint32_t row)
{
    return p->fixed ? dot_fixed(p, m, row) : dot(p, m, row);
}

static void output(const struct product *p, uint32_t m, uint32_t n)
{
    const struct woqi_args *a = p->a;
    uint32_t column = a->n_first + n, row = column;
    uint64_t bias = n * (uint64_t)woq_type_size(p->bias_type);
    if (a->granule)
        row = column / a->granule * 2 * a->granule + column % a->granule;
    float v = with_bias(p, sum_of(p, m, row), bias);
    if (a->granule)
        v = silu(v) * with_bias(p, sum_of(p, m, row + a->granule), bias + a->bias_up);
    else
        v = activate(WOQ_FLAG_ACT(a->flags), v);
    if (WOQ_FLAG_RESIDUAL(a->flags))
        v += woqi_element_load(p->y_type, p->residual + a->res_off + (uint64_t)m * a->res_stride, n);
    woqi_element_store(p->y_type, p->y + a->y_off + (uint64_t)m * a->y_stride, n, v);
}

void woqi_ref_product(enum woqi_kernel_id kernel, const struct woqi_args *args, uint8_t *const bind[WOQ_BIND_COUNT])
{
    struct product p = {
        .a = args,
        .weights = bind[WOQ_BIND_WEIGHTS],
        .x = bind[WOQ_BIND_X],
        .y = bind[WOQ_BIND_Y],
        .bias = bind[WOQ_BIND_BIAS],
        .residual = bind[WOQ_BIND_RESIDUAL],
        .format = {.code = (enum woq_code)WOQ_FLAG_CODE(args->flags),
                   .zero = (enum woq_zero)WOQ_FLAG_ZERO(args->flags),
                   .scale = type_of(WOQ_FLAG_SCALE(args->flags))},
        .x_type = type_of(WOQ_FLAG_X(args->flags)),
        .y_type = type_of(WOQ_FLAG_Y(args->flags)),
        .bias_type = type_of(WOQ_FLAG_BIAS(args->flags)),
        .round_type = type_of(WOQ_FLAG_ROUND(args->flags)),
        .fixed = kernel == WOQI_KERNEL_FIXED,
    };
    for (uint32_t m = 0; m < args->m; m++)
        for (uint32_t n = 0; n < args->n; n++)
            output(&p, m, n);
}

bool woqi_ref_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                           size_t size)
{
    (void)device;
    if (key.id == WOQI_KERNEL_FLOOR || (woqi_kernel_is_fixed(key.id) && key.block == WOQI_BLOCK_PLAIN))
        return true;
    snprintf(reason, size, "the reference backend has the kernels floor and fixed alone");
    return false;
}

enum woq_status woqi_ref_kernel_create(struct woqi_kernel *kernel)
{
    (void)kernel;
    return WOQ_OK;
}

void woqi_ref_kernel_destroy(struct woqi_kernel *kernel)
{
    (void)kernel;
}
