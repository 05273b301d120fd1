/* paths_cpu.c: gemv and gemm on CPU devices, layout PANEL16. */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

#define GROUPS_PER_UNIT 8 /* CPU work-groups a core: balance against launch cost */

bool woqi_panels_accept(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                        size_t size)
{
    (void)path;
    return woqi_layout_fits(gemm, WOQI_LAYOUT_PANEL16, reason, size);
}

/* Work-groups of size 1 for `units` panels or pairs of panels. */
static uint32_t panel_groups(const struct woq_gemm *gemm, const struct woqi_tile *tile)
{
    uint64_t panels = woqi_div_up(tile->count, 16);
    uint64_t cores = gemm->device->info.compute_units ? gemm->device->info.compute_units : 1;
    return woqi_step_groups(gemm, woqi_min(panels, cores * GROUPS_PER_UNIT), 0);
}

bool woqi_panel_gemv_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                          const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                          const struct woqi_tile *tile, struct woqi_step *s)
{
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    s->groups[0] = panel_groups(gemm, tile);
    s->groups[1] = s->groups[2] = 1;
    return true;
}

/* Bytes of a row of prepared activations. */
static uint64_t prepared_stride(const struct woq_gemm *gemm)
{
    return woqi_div_up(gemm->weights->k_packed * 4, 64) * 64;
}

uint32_t woqi_panel_gemm_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    (void)path;
    uint64_t rows = woqi_prepared_bytes(gemm) / prepared_stride(gemm);
    if (rows > WOQI_GEMM_ROWS)
        rows = rows / WOQI_GEMM_ROWS * WOQI_GEMM_ROWS;
    return rows ? (uint32_t)woqi_min(rows, UINT32_MAX) : 1;
}

bool woqi_panel_gemm_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                             size_t size)
{
    const struct woq_device_info *info = &gemm->device->info;
    if (prepared_stride(gemm) > woqi_min(info->max_binding, info->max_allocation)) {
        snprintf(reason, size, "a row of FP32 activations exceeds what the device can bind");
        return false;
    }
    return woqi_panels_accept(gemm, path, reason, size);
}

uint64_t woqi_panel_gemm_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    return woqi_min(m, woqi_panel_gemm_slice(gemm, path)) * prepared_stride(gemm);
}

static bool prepare_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                         const struct woqi_operands *o, uint64_t first, uint32_t rows,
                         struct woqi_step *s)
{
    const struct woqi_tile *tile = &gemm->weights->tiles[0];
    uint64_t stride = prepared_stride(gemm);
    woqi_step_product(gemm, range->kernels[0], o, first, rows, tile, s);
    woqi_step_bind_x(gemm, o, first, rows, s);
    struct woqi_args *a = &s->args;
    s->bind[WOQ_BIND_Y] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             a->m * stride};
    s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = s->bind[WOQ_BIND_Y];
    a->y_off = a->bias_off = a->res_off = 0;
    a->y_stride = (uint32_t)stride;
    a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, gemm->weights->perm);
    s->groups[0] = woqi_step_groups(gemm, woqi_div_up(a->k, s->kernel->local_x), 0);
    s->groups[1] = woqi_step_groups(gemm, a->m, 1);
    s->groups[2] = 1;
    return true;
}

bool woqi_panel_gemm_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                          const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                          const struct woqi_tile *tile, struct woqi_step *s)
{
    if (stage == 0)
        return tile == &gemm->weights->tiles[0] && prepare_step(gemm, range, o, first, rows, s);
    woqi_step_product(gemm, range->kernels[1], o, first, rows, tile, s);
    uint64_t stride = prepared_stride(gemm);
    s->bind[WOQ_BIND_X] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             s->args.m * stride};
    s->args.x_stride = (uint32_t)stride;
    s->args.flags = woqi_step_flags(gemm, range, WOQ_F32, false);
    s->groups[0] = panel_groups(gemm, tile);
    s->groups[1] = woqi_step_groups(gemm, woqi_div_up(s->args.m, WOQI_GEMM_ROWS), 1);
    s->groups[2] = 1;
    return true;
}
