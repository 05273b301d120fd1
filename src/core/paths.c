/* paths.c: each path's requirements and steps. */
#include "paths.h"

#include <stdio.h>

#include "alloc.h"
#include "check.h"

#define PREPARED_BYTES  (64ull << 20) /* of FP32 activations at a time */
#define GROUPS_PER_UNIT 8             /* CPU work-groups a core: balance against launch cost */

/* ---- windows and arguments ---- */

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

static uint32_t plan_flags(const struct woq_gemm *gemm, enum woq_type x_type, bool perm)
{
    const struct woq_weights *w = gemm->weights;
    bool plain = !w->group;
    uint32_t round = gemm->math == WOQ_MATH_ROUNDED && !plain ? (uint32_t)gemm->params.x_type : 0;
    return WOQ_FLAGS((uint32_t)w->format.code, (uint32_t)w->format.zero, (uint32_t)w->format.scale,
                     (uint32_t)x_type, (uint32_t)gemm->params.y_type,
                     (uint32_t)gemm->params.bias_type, (uint32_t)gemm->params.residual,
                     (uint32_t)gemm->params.activation, (uint32_t)perm, round, (uint32_t)w->layout);
}

/* Everything about weights, Y, bias and residual, which all main kernels share. */
static void product_step(const struct woq_gemm *gemm, const struct woqi_operands *o,
                         enum woqi_kernel_id id, uint64_t first, uint32_t rows,
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
    s->kernel = gemm->kernels[id];
    s->nbind = WOQ_BIND_COUNT;
    s->bind[WOQ_BIND_WEIGHTS] = (struct woqi_bind){tile->buffer, 0, shape->size};
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
}

/* X as the caller bound it. */
static void bind_x(const struct woq_gemm *gemm, const struct woqi_operands *o, uint64_t first,
                   uint32_t rows, struct woqi_step *s)
{
    uint32_t live = rows ? rows : 1;
    uint64_t row = gemm->weights->k * woq_type_size(gemm->params.x_type);
    s->bind[WOQ_BIND_X] = window(gemm->device, o->x.buffer, o->x.offset + first * o->x.row_stride,
                                 rows_bytes(live, o->x.row_stride, row), &s->args.x_off);
    s->args.x_stride = live > 1 ? (uint32_t)o->x.row_stride : 0;
}

static uint32_t clamp_groups(const struct woq_gemm *gemm, uint64_t groups, int axis)
{
    return (uint32_t)woqi_min(groups, gemm->device->info.max_groups[axis]);
}

/* ---- floor ---- */

static bool accepts_any(const struct woq_gemm *gemm, char *reason, size_t size)
{
    (void)gemm, (void)reason, (void)size;
    return true;
}

static uint64_t no_workspace(const struct woq_gemm *gemm, uint32_t m)
{
    (void)gemm, (void)m;
    return 0;
}

static uint32_t no_limit(const struct woq_gemm *gemm)
{
    (void)gemm;
    return 0;
}

static bool floor_step(const struct woq_gemm *gemm, const struct woqi_operands *o, uint32_t stage,
                       uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                       struct woqi_step *s)
{
    (void)stage;
    product_step(gemm, o, WOQI_KERNEL_FLOOR, first, rows, tile, s);
    bind_x(gemm, o, first, rows, s);
    s->args.flags = plan_flags(gemm, gemm->params.x_type, gemm->weights->perm);
    s->groups[0] = clamp_groups(gemm, woqi_div_up(tile->count, s->kernel->local_x), 0);
    s->groups[1] = clamp_groups(gemm, s->args.m, 1);
    s->groups[2] = 1;
    return true;
}

/* ---- gemv and gemm on a CPU ---- */

static bool accepts_panels(const struct woq_gemm *gemm, char *reason, size_t size)
{
    if (gemm->weights->layout == WOQI_LAYOUT_PANEL16)
        return true;
    snprintf(reason, size, "needs weights in layout panel16; this device packs them as %s",
             woqi_layout_name(gemm->weights->layout));
    return false;
}

/* Work-groups of size 1 for `units` panels or pairs of panels. */
static uint32_t panel_groups(const struct woq_gemm *gemm, const struct woqi_tile *tile)
{
    uint64_t panels = woqi_div_up(tile->count, 16);
    uint64_t cores = gemm->device->info.compute_units ? gemm->device->info.compute_units : 1;
    return clamp_groups(gemm, woqi_min(panels, cores * GROUPS_PER_UNIT), 0);
}

static bool gemv_step(const struct woq_gemm *gemm, const struct woqi_operands *o, uint32_t stage,
                      uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                      struct woqi_step *s)
{
    (void)stage;
    product_step(gemm, o, WOQI_KERNEL_GEMV, first, rows, tile, s);
    bind_x(gemm, o, first, rows, s);
    s->args.flags = plan_flags(gemm, gemm->params.x_type, gemm->weights->perm);
    s->groups[0] = panel_groups(gemm, tile);
    s->groups[1] = s->groups[2] = 1;
    return true;
}

/* Bytes of a row of prepared activations. */
static uint64_t prepared_stride(const struct woq_gemm *gemm)
{
    return woqi_div_up(gemm->weights->k_packed * 4, 64) * 64;
}

static uint32_t gemm_slice_limit(const struct woq_gemm *gemm)
{
    uint64_t stride = prepared_stride(gemm);
    const struct woq_device_info *info = &gemm->device->info;
    uint64_t rows = woqi_min(PREPARED_BYTES, woqi_min(info->max_binding, info->max_allocation)) /
                    stride;
    if (rows > WOQI_GEMM_ROWS)
        rows = rows / WOQI_GEMM_ROWS * WOQI_GEMM_ROWS;
    return rows ? (uint32_t)woqi_min(rows, UINT32_MAX) : 1;
}

static bool accepts_gemm(const struct woq_gemm *gemm, char *reason, size_t size)
{
    const struct woq_device_info *info = &gemm->device->info;
    if (prepared_stride(gemm) > woqi_min(info->max_binding, info->max_allocation)) {
        snprintf(reason, size, "a row of FP32 activations exceeds what the device can bind");
        return false;
    }
    return accepts_panels(gemm, reason, size);
}

static uint64_t gemm_workspace(const struct woq_gemm *gemm, uint32_t m)
{
    return woqi_min(m, gemm_slice_limit(gemm)) * prepared_stride(gemm);
}

static bool prepare_step(const struct woq_gemm *gemm, const struct woqi_operands *o, uint64_t first,
                         uint32_t rows, struct woqi_step *s)
{
    const struct woqi_tile *tile = &gemm->weights->tiles[0];
    uint64_t stride = prepared_stride(gemm);
    product_step(gemm, o, WOQI_KERNEL_XPREP, first, rows, tile, s);
    bind_x(gemm, o, first, rows, s);
    struct woqi_args *a = &s->args;
    s->bind[WOQ_BIND_Y] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             a->m * stride};
    s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = s->bind[WOQ_BIND_Y];
    a->y_off = a->bias_off = a->res_off = 0;
    a->y_stride = (uint32_t)stride;
    a->flags = plan_flags(gemm, gemm->params.x_type, gemm->weights->perm);
    s->groups[0] = clamp_groups(gemm, woqi_div_up(a->k, s->kernel->local_x), 0);
    s->groups[1] = clamp_groups(gemm, a->m, 1);
    s->groups[2] = 1;
    return true;
}

static bool gemm_step(const struct woq_gemm *gemm, const struct woqi_operands *o, uint32_t stage,
                      uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                      struct woqi_step *s)
{
    if (stage == 0)
        return tile == &gemm->weights->tiles[0] && prepare_step(gemm, o, first, rows, s);
    product_step(gemm, o, WOQI_KERNEL_GEMM, first, rows, tile, s);
    uint64_t stride = prepared_stride(gemm);
    s->bind[WOQ_BIND_X] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             s->args.m * stride};
    s->args.x_stride = (uint32_t)stride;
    s->args.flags = plan_flags(gemm, WOQ_F32, false);
    s->groups[0] = panel_groups(gemm, tile);
    s->groups[1] = clamp_groups(gemm, woqi_div_up(s->args.m, WOQI_GEMM_ROWS), 1);
    s->groups[2] = 1;
    return true;
}

const struct woqi_path woqi_paths[] = {
    {"gemv",
     WOQI_GEMV_MAX_M,
     1,
     {WOQI_KERNEL_GEMV},
     accepts_panels,
     no_workspace,
     no_limit,
     0,
     gemv_step},
    {"gemm",
     0,
     2,
     {WOQI_KERNEL_XPREP, WOQI_KERNEL_GEMM},
     accepts_gemm,
     gemm_workspace,
     gemm_slice_limit,
     2,
     gemm_step},
    {"floor", 0, 1, {WOQI_KERNEL_FLOOR}, accepts_any, no_workspace, no_limit, 0, floor_step},
};
const uint32_t woqi_path_total = sizeof woqi_paths / sizeof *woqi_paths;

uint32_t woq_path_count(void)
{
    return woqi_path_total;
}

const char *woq_path_name(uint32_t index)
{
    return index < woqi_path_total ? woqi_paths[index].name : NULL;
}
