/*
 * hc_kernel.c: what kernels of shaders/cuda compute, from the parameters of a launch: products by the reference
 * backend's kernel floor, the rest as src/core/kernels.h has it.
 *
 * Grids and blocks do not count, but for what the contract gives them: parts of K that work-groups share are computed
 * as part 0, the others are 0. What XTILE makes is WGMMA's business alone: here rows of X one after the other.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/core.h"
#include "core/layout.h"
#include "hc_driver.h"
#include "reference/ref_backend.h"

enum hc_entry hc_find_entry(const char *name)
{
    static const struct {
        const char *begin;
        enum hc_entry entry;
    } entries[] = {
        {"woq_floor", HC_PRODUCT}, {"woq_gemv_", HC_PRODUCT}, {"woq_mma_", HC_MMA},     {"woq_wgmma_", HC_WGMMA},
        {"woq_xhalf", HC_XHALF},   {"woq_xtile", HC_XTILE},   {"woq_reduce", HC_REDUCE}, {"woq_expand_", HC_EXPAND},
        {"woq_pack", HC_PACK},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (!strncmp(name, entries[i].begin, strlen(entries[i].begin)))
            return entries[i].entry;
    return HC_NONE;
}

/* A launch's windows as addresses. */
struct windows {
    uint8_t *bind[WOQ_BIND_COUNT];
    struct woqi_args a;
};

static uint32_t word_at(const uint8_t *from, uint64_t index)
{
    uint32_t word;
    memcpy(&word, from + 4 * index, 4);
    return word;
}

/* Sums of gated weights, as they are, are not gated. */
static bool is_gated(const struct woqi_args *a)
{
    return WOQ_FLAG_ACT(a->flags) == WOQ_ABI_ACT_SILU_MUL;
}

static void product(const struct windows *w)
{
    struct woqi_args a = w->a;
    a.granule = is_gated(&a) ? a.granule : 0;
    woqi_ref_product(WOQI_KERNEL_FLOOR, &a, w->bind);
}

static bool has_perm(const struct woqi_args *a)
{
    return WOQ_FLAG_PERM(a->flags) != 0;
}

/* ---- X ---- */

/* 16 bits of X's row for physical column `column`; 0 for padding. */
static uint16_t gather(const struct windows *w, uint32_t row, uint32_t column)
{
    const struct woqi_args *a = &w->a;
    uint16_t bits;
    if (column >= a->k)
        return 0;
    if (has_perm(a))
        column = word_at(w->bind[WOQ_BIND_WEIGHTS] + a->perm_off, column);
    if (column == WOQ_PERM_NONE)
        return 0;
    memcpy(&bits, w->bind[WOQ_BIND_X] + a->x_off + (uint64_t)row * a->x_stride + 2 * (uint64_t)column, 2);
    return bits;
}

/* What a row of BF16 is divided by (woq/gemm.h). */
static float row_scale(const struct windows *w, uint32_t row)
{
    float largest = 0;
    for (uint32_t k = 0; k < w->a.k; k++) {
        const float v = fabsf(woq_bf16_to_f32(gather(w, row, k)));
        largest = isfinite(v) && v > largest ? v : largest;
    }
    return largest < 0x1p-111f ? 0x1p-126f : ldexpf(1.0f, ilogbf(largest) - 15);
}

static void xhalf(const struct windows *w)
{
    const struct woqi_args *a = &w->a;
    uint8_t *to = w->bind[WOQ_BIND_Y];
    for (uint32_t row = 0; row < a->m; row++) {
        const float scale = a->row_scales_off ? row_scale(w, row) : 1;
        if (a->row_scales_off)
            memcpy(to + a->row_scales_off + 4 * (uint64_t)row, &scale, 4);
        for (uint32_t column = 0; column < a->y_stride / 2; column++) {
            uint16_t bits = gather(w, row, column);
            if (a->row_scales_off)
                bits = woq_f32_to_f16(woq_bf16_to_f32(bits) / scale);
            memcpy(to + (uint64_t)row * a->y_stride + 2 * (uint64_t)column, &bits, 2);
        }
    }
}

static uint32_t tile_columns(const struct woqi_args *a)
{
    return (a->k + 127) / 128 * 128;
}

static void xtile(const struct windows *w)
{
    const uint32_t columns = tile_columns(&w->a), rows = (w->a.m + 7) / 8 * 8;
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            const uint16_t bits = row < w->a.m ? gather(w, row, column) : 0;
            memcpy(w->bind[WOQ_BIND_Y] + w->a.y_off + 2 * ((uint64_t)row * columns + column), &bits, 2);
        }
}

/* ---- products of matrix units ---- */

/* X is FP16 that xhalf divided: FP32 rows instead. */
static CUresult scaled_product(const struct windows *w)
{
    struct windows plain = *w;
    const struct woqi_args *a = &w->a;
    float *x = malloc(((uint64_t)a->m * a->k + 1) * sizeof *x);
    if (!x)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t row = 0; row < a->m; row++)
        for (uint32_t k = 0; k < a->k; k++)
            x[(uint64_t)row * a->k + k] =
                woq_f16_to_f32(gather(w, row, k)) *
                woqi_element_load(WOQ_F32, w->bind[WOQ_BIND_X] + a->row_scales_off, row);
    plain.bind[WOQ_BIND_X] = (uint8_t *)x;
    plain.a.x_off = 0;
    plain.a.x_stride = a->k * 4;
    plain.a.flags = (a->flags & ~(3u << 7)) | WOQ_ABI_F32 << 7;
    product(&plain);
    free(x);
    return CUDA_SUCCESS;
}

static CUresult mma(const struct windows *w, const struct hc_launch *launch)
{
    const struct woqi_args *a = &w->a;
    const CUresult result = a->row_scales_off ? scaled_product(w) : CUDA_SUCCESS;
    if (!a->row_scales_off)
        product(w);
    for (uint64_t row = a->m; row < (uint64_t)launch->grid[2] * a->m; row++)
        memset(w->bind[WOQ_BIND_Y] + a->y_off + row * a->y_stride, 0, a->n * sizeof(float));
    return result;
}

/* Is the tensor map that of X as it is bound? */
static bool map_fits(const struct windows *w, const struct hc_launch *launch)
{
    const struct woqi_args *a = &w->a;
    const uint64_t x = launch->parameters.bind[WOQ_BIND_X] + a->x_off, *map = launch->parameters.map;
    if (x % 16 || a->x_stride % 16)
        return true; /* the kernel does without */
    return map[0] == x && map[1] == a->k && map[2] == a->m && (a->m == 1 || map[3] == a->x_stride) && map[4] == 64 &&
           map[5] && a->direct % map[5] == 0;
}

/* Flags are words of 0, before and after; sums may be anything, and a group's first word is that. */
static bool shares_well(CUcontext context, const struct hc_launch *launch)
{
    const CUdeviceptr sums = launch->parameters.bind[WOQI_BIND_SUMS], flags = launch->parameters.bind[WOQI_BIND_FLAGS];
    const uint32_t anything = 0xcbcbcbcbu;
    if (!sums && !flags)
        return true;
    if (!hc_is_memory(context, sums, 4) || !hc_is_memory(context, flags, launch->grid[0] * 16ull))
        return false;
    for (uint64_t i = 0; i < launch->grid[0] * 4ull; i++)
        if (word_at((const uint8_t *)(uintptr_t)flags, i))
            return false;
    memcpy((void *)(uintptr_t)sums, &anything, 4);
    return true;
}

static CUresult wgmma(CUcontext context, const struct windows *w, const struct hc_launch *launch)
{
    struct windows rows = *w;
    if (!shares_well(context, launch))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!w->a.direct) {
        rows.a.x_stride = tile_columns(&w->a) * 2;
        rows.a.flags &= ~WOQ_FLAGS(0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 1u, 0u, 0u);
    } else if (!map_fits(w, launch)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    product(&rows);
    return CUDA_SUCCESS;
}

/* The driver's part of it: what map_fits looks at. */
CUresult CUDAAPI host_tensor_map_encode(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank, void *at,
                                        const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                                        const cuuint32_t *steps, CUtensorMapInterleave interleave,
                                        CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                        CUtensorMapFloatOOBfill fill)
{
    const uint64_t values[16] = {(uintptr_t)at, sizes[0], sizes[1], strides[0], box[0], box[1]};
    (void)steps, (void)promotion, (void)fill;
    hc_lock();
    const CUresult result = hc_enter("cuTensorMapEncodeTiled", CUDA_ERROR_INVALID_VALUE, false);
    hc_unlock();
    if (result)
        return result;
    if (type != CU_TENSOR_MAP_DATA_TYPE_FLOAT16 || rank != 2 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
        swizzle != CU_TENSOR_MAP_SWIZZLE_128B || (uintptr_t)at % 16 || strides[0] % 16 || strides[0] >= 1ull << 40 ||
        !sizes[0] || !sizes[1] || sizes[0] > 1ull << 32 || sizes[1] > 1ull << 32 || !box[0] || box[0] * 2 > 128 ||
        !box[1] || box[1] > 256)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(out, values, sizeof values);
    return CUDA_SUCCESS;
}

/* ---- sums of parts ---- */

static float activate(uint32_t activation, float v)
{
    switch (activation) {
    case WOQ_ABI_ACT_RELU:
        return v < 0 ? 0 : v;
    case WOQ_ABI_ACT_GELU_TANH:
        return 0.5f * v * (1 + tanhf(0.797884561f * (v + 0.044715f * v * v * v)));
    case WOQ_ABI_ACT_GELU_ERF:
        return 0.5f * v * (1 + erff(v * 0.707106781f));
    case WOQ_ABI_ACT_SILU:
        return v / (1 + expf(-v));
    default:
        return v;
    }
}

/* Of row j of X and row `row` of the weights, with the bias of output i. */
static float sum_parts(const struct windows *w, uint32_t j, uint32_t row, uint64_t bias_at, uint32_t i)
{
    const struct woqi_args *a = &w->a;
    const uint8_t *at = w->bind[WOQ_BIND_X] + a->x_off + (uint64_t)j * a->x_stride;
    float sum = 0;
    for (uint32_t part = 0; part < a->k; part++, at += (uint64_t)a->m * a->x_stride)
        sum += woqi_element_load(WOQ_F32, at, row);
    if (WOQ_FLAG_BIAS(a->flags))
        sum += woqi_element_load((enum woq_type)WOQ_FLAG_BIAS(a->flags), w->bind[WOQ_BIND_BIAS] + bias_at, i);
    return sum;
}

static void reduce(const struct windows *w)
{
    const struct woqi_args *a = &w->a;
    const enum woq_type type = (enum woq_type)WOQ_FLAG_Y(a->flags);
    for (uint32_t j = 0; j < a->m; j++)
        for (uint32_t i = 0; i < a->n; i++) {
            const uint32_t row = is_gated(a) ? i + i / a->granule * a->granule : i;
            float v = sum_parts(w, j, row, a->bias_off, i);
            if (is_gated(a))
                v = activate(WOQ_ABI_ACT_SILU, v) * sum_parts(w, j, row + a->granule, a->bias_off + a->bias_up, i);
            else
                v = activate(WOQ_FLAG_ACT(a->flags), v);
            if (WOQ_FLAG_RESIDUAL(a->flags))
                v += woqi_element_load(type, w->bind[WOQ_BIND_RESIDUAL] + a->res_off + (uint64_t)j * a->res_stride, i);
            woqi_element_store(type, w->bind[WOQ_BIND_Y] + a->y_off + (uint64_t)j * a->y_stride, i, v);
        }
}

/* ---- weights ---- */

/* Where layout FRAG16B has a code: in bits from its strip on. */
static uint64_t code_bit(uint32_t row, uint32_t column, uint32_t bits)
{
    const uint64_t unit = column / 32, high = row % 16 / 8, lane = row % 8 * 4 + column % 32 / 8, place = column % 8;
    if (bits == 4)
        return unit / 2 * 4096 + lane * 128 + place * 16 + unit % 2 * 8 + high * 4;
    if (bits == 8)
        return unit * 4096 + lane * 128 + place * 16 + high * 8;
    return unit * 8192 + high * 4096 + lane * 128 + place * 16;
}

static uint32_t get_code(const uint8_t *strip, uint64_t bit, uint32_t bits)
{
    const uint32_t low = strip[bit / 8];
    return bits == 16 ? low | (uint32_t)strip[bit / 8 + 1] << 8 : low >> bit % 8 & ((1u << bits) - 1u);
}

static void set_code(uint8_t *strip, uint64_t bit, uint32_t bits, uint32_t code)
{
    uint8_t *at = strip + bit / 8;
    if (bits == 4)
        *at = (uint8_t)((*at & ~(15u << bit % 8)) | code << bit % 8);
    else
        *at = (uint8_t)code;
    if (bits == 16)
        at[1] = (uint8_t)(code >> 8);
}

static void expand(const struct windows *w)
{
    const struct woqi_args *a = &w->a;
    const struct woq_format format = {.code = (enum woq_code)WOQ_FLAG_CODE(a->flags),
                                      .zero = (enum woq_zero)WOQ_FLAG_ZERO(a->flags),
                                      .scale = (enum woq_type)WOQ_FLAG_SCALE(a->flags)};
    const uint8_t *tile = w->bind[WOQ_BIND_WEIGHTS];
    uint8_t *to = w->bind[WOQ_BIND_Y] + a->y_off;
    const uint32_t bits = woqi_code_bits(format.code);
    for (uint32_t row = 0; row < a->n; row++)
        for (uint32_t k = 0; k < (a->k + 63) / 64 * 64; k++) {
            const uint8_t *strip = tile + a->codes_off + (uint64_t)(row / 16) * a->codes_stride;
            float v = 0;
            if (k < a->k)
                v = woqi_dequantize(&format, get_code(strip, code_bit(row, k, bits), bits), tile + a->scales_off,
                                    tile + a->zeros_off, (uint64_t)(k / a->group) * a->scale_stride +
                                                             woqi_table_row(WOQI_LAYOUT_FRAG16B, row));
            set_code(to + (uint64_t)(row / 16) * a->y_stride, code_bit(row, k, 16), 16, woq_f32_to_f16(v));
        }
    if (has_perm(a))
        memcpy(to + (uint64_t)(a->n / 16) * a->y_stride, tile + a->perm_off, 4 * (uint64_t)a->k);
}

/* Is row `row` of the tile one of the source? */
static bool is_real(const struct woqi_args *a, uint32_t row)
{
    return (a->granule ? row / (2 * a->granule) * a->granule + row % a->granule : row) < a->m;
}

/* Of weight 0. */
static uint32_t padding_code(const struct windows *w, uint32_t row, uint32_t column, uint32_t bits)
{
    const struct woqi_args *a = &w->a;
    const uint32_t zero = WOQ_FLAG_ZERO(a->flags), last = column < a->k ? column : a->k - 1;
    if (bits == 16 || zero == WOQ_ABI_ZERO_OFFSET)
        return 0;
    if (zero == WOQ_ABI_ZERO_SYMMETRIC)
        return 1u << (bits - 1);
    return w->bind[WOQ_BIND_Y][a->zeros_off + (uint64_t)(last / a->group) * a->scale_stride +
                               woqi_table_row(WOQI_LAYOUT_FRAG16B, row)];
}

static uint32_t source_code(const struct windows *w, uint32_t i, uint32_t column, uint32_t bits)
{
    const struct woqi_args *a = &w->a;
    const uint8_t *from = w->bind[WOQ_BIND_X] + a->x_off + (uint64_t)i * a->x_stride;
    if (column < a->k && has_perm(a))
        column = word_at(w->bind[WOQ_BIND_Y] + a->perm_off, column);
    else if (column >= a->k)
        column = WOQ_PERM_NONE;
    if (column == WOQ_PERM_NONE)
        return UINT32_MAX;
    if (bits == 16)
        return from[2 * (uint64_t)column] | (uint32_t)from[2 * (uint64_t)column + 1] << 8;
    return bits == 8 ? from[column] : from[column / 2] >> column % 2 * 4 & 15u;
}

static void pack_codes(const struct windows *w)
{
    const struct woqi_args *a = &w->a;
    const uint32_t bits = woqi_code_bits((enum woq_code)WOQ_FLAG_CODE(a->flags));
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t column = 0; column < a->codes_stride / (bits * 128) * 64; column++) {
            const uint32_t row = a->n_first + i;
            uint32_t code = is_real(a, row) ? source_code(w, i, column, bits) : 0;
            if (code == UINT32_MAX)
                code = padding_code(w, row, column, bits);
            set_code(w->bind[WOQ_BIND_Y] + a->codes_off + (uint64_t)(i / 16) * a->codes_stride,
                     code_bit(i, column, bits), bits, code);
        }
}

static void pack_table(const struct windows *w)
{
    const struct woqi_args *a = &w->a;
    const uint8_t *x = w->bind[WOQ_BIND_X];
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t j = 0; j < a->k; j++) {
            const uint64_t from = has_perm(a) ? word_at(x + a->perm_off, j) : j;
            uint8_t *to = w->bind[WOQ_BIND_Y] + a->y_off + (uint64_t)j * a->y_stride +
                          woqi_table_row(WOQI_LAYOUT_FRAG16B, i) * a->group;
            if (is_real(a, a->n_first + i))
                memcpy(to, x + a->x_off + (uint64_t)i * a->x_stride + from * a->group, a->group);
            else
                memset(to, 0, a->group);
        }
}

/* ---- launches ---- */

CUresult hc_execute(CUcontext context, const struct hc_launch *launch)
{
    struct windows w = {.a = launch->parameters.args};
    for (int i = 0; i < WOQ_BIND_COUNT; i++) {
        const CUdeviceptr at = launch->parameters.bind[i];
        if (at && !hc_is_memory(context, at, 1))
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        w.bind[i] = (uint8_t *)(uintptr_t)at;
    }
    switch (launch->function->entry) {
    case HC_PRODUCT:
        product(&w);
        break;
    case HC_MMA:
        return mma(&w, launch);
    case HC_WGMMA:
        return wgmma(context, &w, launch);
    case HC_XHALF:
        xhalf(&w);
        break;
    case HC_XTILE:
        xtile(&w);
        break;
    case HC_REDUCE:
        reduce(&w);
        break;
    case HC_EXPAND:
        expand(&w);
        break;
    case HC_PACK:
        if (w.a.codes_stride)
            pack_codes(&w);
        else
            pack_table(&w);
        break;
    case HC_NONE:
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    return CUDA_SUCCESS;
}
