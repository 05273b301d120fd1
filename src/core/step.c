/* step.c: windows of a product's matrices, and the arguments that all main kernels share. */
#include "step.h"

#include <stdio.h>

#include "alloc.h"
#include "check.h"

#define X_ALIGNMENT 16 /* bytes, of rows that kernels read in vectors */

/* A binding of `bytes` bytes at `offset`; the part that alignment cuts off goes to *rest. */
static struct woqi_bind window(const struct woq_device *device, struct woq_buffer *buffer,
                               uint64_t offset, uint64_t bytes, uint32_t *rest)
{
    uint64_t down = offset % device->info.binding_alignment;
    *rest = (uint32_t)down;
    return (struct woqi_bind){buffer, offset - down, (bytes + down + 3) / 4 * 4};
}

static uint64_t rows_bytes(uint64_t rows, uint64_t stride, uint64_t row)
{
    return (rows - 1) * stride + row;
}

uint32_t woqi_step_flags_of(const struct woq_gemm *gemm, const struct woq_format *format, enum woq_type round,
                            enum woq_type x_type, bool perm)
{
    return WOQ_FLAGS((uint32_t)format->code, (uint32_t)format->zero, (uint32_t)format->scale,
                     (uint32_t)x_type, (uint32_t)gemm->params.y_type,
                     (uint32_t)gemm->params.bias_type, (uint32_t)gemm->params.residual,
                     (uint32_t)gemm->params.activation, (uint32_t)perm, (uint32_t)round,
                     (uint32_t)gemm->weights->layout);
}

uint32_t woqi_step_flags(const struct woq_gemm *gemm, const struct woqi_range *range,
                         enum woq_type x_type, bool perm)
{
    const struct woq_weights *w = gemm->weights;
    bool rounds = range->math == WOQ_MATH_ROUNDED && w->group;
    return woqi_step_flags_of(gemm, &w->format, rounds ? gemm->params.x_type : WOQ_TYPE_NONE, x_type, perm);
}

void woqi_step_product(const struct woq_gemm *gemm, struct woqi_kernel *kernel,
                       const struct woqi_operands *o, uint64_t first, uint32_t rows,
                       const struct woqi_tile *tile, struct woqi_step *s)
{
    const struct woq_device *device = gemm->device;
    const struct woq_weights *w = gemm->weights;
    const struct woqi_tile_shape *shape = &tile->shape;
    uint64_t y_size = woq_type_size(gemm->params.y_type);
    uint64_t bias_size = woq_type_size(gemm->params.bias_type);
    uint32_t live = rows ? rows : 1;

    memset(s, 0, sizeof *s);
    s->kind = rows ? WOQI_STEP_DISPATCH : WOQI_STEP_OFF;
    s->kernel = kernel;
    s->nbind = WOQ_BIND_COUNT;
    s->bind[WOQ_BIND_WEIGHTS] = (struct woqi_bind){tile->buffer, 0, shape->size};
    s->fixed_weights = true;
    struct woqi_args *a = &s->args;
    uint64_t y_row = tile->count * y_size;
    s->bind[WOQ_BIND_Y] = window(device, o->y.buffer,
                                 o->y.offset + first * o->y.row_stride + tile->first * y_size,
                                 rows_bytes(live, o->y.row_stride, y_row), &a->y_off);
    s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = s->bind[WOQ_BIND_Y];
    if (bias_size) {
        uint64_t up = w->gated ? gemm->n * bias_size : 0;
        s->bind[WOQ_BIND_BIAS] = window(device, o->bias.buffer,
                                        o->bias.offset + tile->first * bias_size,
                                        up + tile->count * bias_size, &a->bias_off);
        a->bias_up = (uint32_t)up;
    }
    if (gemm->params.residual) {
        s->bind[WOQ_BIND_RESIDUAL] = window(
            device, o->residual.buffer,
            o->residual.offset + first * o->residual.row_stride + tile->first * y_size,
            rows_bytes(live, o->residual.row_stride, y_row), &a->res_off);
        a->res_stride = live > 1 ? (uint32_t)o->residual.row_stride : 0;
    }
    a->m = live;
    a->n = (uint32_t)tile->count;
    a->k = (uint32_t)w->k_packed;
    a->group = (uint32_t)w->group;
    a->scale_stride = (uint32_t)shape->rows;
    a->codes_off = (uint32_t)shape->codes;
    a->codes_stride = (uint32_t)shape->codes_stride;
    a->scales_off = (uint32_t)shape->scales;
    a->zeros_off = (uint32_t)shape->zeros;
    a->perm_off = (uint32_t)shape->perm;
    a->granule = w->gated ? woqi_layout_granule(w->layout) : 0;
    a->y_stride = live > 1 ? (uint32_t)o->y.row_stride : 0;
    a->x_columns = (uint32_t)w->k;
    a->alike = gemm->params.batch_invariant;
}

void woqi_step_bind_x(const struct woq_gemm *gemm, const struct woqi_operands *o, uint64_t first,
                      uint32_t rows, struct woqi_step *s)
{
    uint32_t live = rows ? rows : 1;
    uint64_t row = gemm->weights->k * woq_type_size(gemm->params.x_type);
    s->bind[WOQ_BIND_X] = window(gemm->device, o->x.buffer, o->x.offset + first * o->x.row_stride,
                                 rows_bytes(live, o->x.row_stride, row), &s->args.x_off);
    s->args.x_stride = live > 1 ? (uint32_t)o->x.row_stride : 0;
    /* Kernels choose a loop by how rows are aligned, and loops round differently: a row that is alone counts as
     * aligned as it would beside others. */
    if (live == 1 && gemm->params.batch_invariant)
        s->args.x_stride = (uint32_t)(o->x.row_stride % X_ALIGNMENT);
}

void woqi_step_blocks(const struct woqi_path *path, uint64_t rows, struct woqi_step *s)
{
    uint32_t block_rows, block_columns;
    woqi_block_tile(path->block, &block_rows, &block_columns);
    s->groups[0] = (uint32_t)woqi_div_up(rows, block_rows);
    s->groups[1] = (uint32_t)woqi_div_up(s->args.m, block_columns);
    s->groups[2] = 1;
}

bool woqi_block_product_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                             const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                             const struct woqi_tile *tile, struct woqi_step *s)
{
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    woqi_step_blocks(range->path, tile->shape.rows, s);
    return true;
}

uint32_t woqi_step_groups(const struct woq_gemm *gemm, uint64_t groups, int axis)
{
    return (uint32_t)woqi_min(groups, gemm->device->info.max_groups[axis]);
}

void woqi_step_direct(const struct woq_gemm *gemm, const struct woqi_range *range,
                      const struct woqi_operands *o, uint64_t first, uint32_t rows,
                      const struct woqi_tile *tile, struct woqi_step *s)
{
    woqi_step_product(gemm, range->kernels[0], o, first, rows, tile, s);
    woqi_step_bind_x(gemm, o, first, rows, s);
    s->args.flags = woqi_step_flags(gemm, range, gemm->params.x_type, gemm->weights->perm);
}

bool woqi_layout_fits(const struct woq_gemm *gemm, enum woqi_layout layout, char *reason, size_t size)
{
    if (gemm->weights->layout == layout)
        return true;
    snprintf(reason, size, "needs weights in layout %s; this device packs them as %s",
             woqi_layout_name(layout), woqi_layout_name(gemm->weights->layout));
    return false;
}

bool woqi_matrix_bf16(const struct woq_gemm *gemm)
{
    return gemm->params.x_type == WOQ_BF16 && gemm->weights->format.code != WOQ_CODE_F16 &&
           gemm->device->info.features & WOQ_FEATURE_MATRIX_BF16;
}

uint64_t woqi_window_bytes(const struct woq_gemm *gemm)
{
    const struct woq_device_info *info = &gemm->device->info;
    return woqi_min(info->max_binding, info->max_allocation);
}

uint64_t woqi_prepared_bytes(const struct woq_gemm *gemm)
{
    return woqi_min(64ull << 20, woqi_window_bytes(gemm));
}

uint64_t woqi_gpu_units(const struct woq_gemm *gemm)
{
    uint32_t units = gemm->device->info.compute_units;
    return units ? units : 16;
}
