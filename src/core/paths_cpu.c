/* paths_cpu.c: gemv and gemm on CPU devices, layout PANEL16; FIXED16 on the reference, too. */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

#define GROUPS_PER_UNIT 8 /* CPU work-groups a core: balance against launch cost */
#define ROW_GROUPS_PER_UNIT 2 /* of those that each convert X */

bool woqi_panels_accept(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                        size_t size)
{
    (void)path;
    return woqi_layout_fits(gemm, WOQI_LAYOUT_PANEL16, reason, size);
}

/* Work-groups of size 1 for panels or pairs of panels. */
static uint32_t panel_groups(const struct woq_gemm *gemm, const struct woqi_tile *tile)
{
    uint64_t panels = woqi_div_up(tile->count, 16);
    uint64_t cores = gemm->device->info.compute_units ? gemm->device->info.compute_units : 1;
    return woqi_step_groups(gemm, woqi_min(panels, cores * GROUPS_PER_UNIT), 0);
}

/* The same for tiles, each of which is work enough. */
static uint32_t tile_groups(const struct woq_gemm *gemm, const struct woqi_tile *tile)
{
    return woqi_step_groups(gemm, woqi_div_up(woqi_div_up(tile->shape.rows, 16), WOQI_FIXED_TILE_PANELS), 0);
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

static bool is_fixed(const struct woqi_path *path)
{
    return path->kernels[0] == WOQI_KERNEL_XFIXED;
}

/* Bytes of a row of prepared activations. */
static uint64_t prepared_stride(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    const struct woq_weights *w = gemm->weights;
    const uint64_t segments = WOQ_FIXED_BLOCKS(w->k_packed) * WOQ_FIXED_SEGMENTS(w->group);
    const uint64_t bytes = is_fixed(path) ? WOQ_FIXED_TERMS(w->k_packed) + segments * WOQ_FIXED_TERM : w->k_packed * 4;
    return woqi_div_up(bytes, 64) * 64;
}

static bool is_tile(const struct woqi_path *path)
{
    return path->kernels[1] == WOQI_KERNEL_FIXED_TILE;
}

/* Rows of a work-group. */
static uint64_t group_rows(const struct woqi_path *path)
{
    return is_tile(path) ? WOQI_FIXED_TILE_ROWS : is_fixed(path) ? WOQI_FIXED_ROWS : WOQI_GEMM_ROWS;
}

uint32_t woqi_panel_gemm_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    uint64_t rows = woqi_prepared_bytes(gemm) / prepared_stride(gemm, path);
    if (rows > group_rows(path))
        rows = rows / group_rows(path) * group_rows(path);
    return rows ? (uint32_t)woqi_min(rows, UINT32_MAX) : 1;
}

static bool prepared_fits(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    if (prepared_stride(gemm, path) <= woqi_window_bytes(gemm))
        return true;
    snprintf(reason, size, "a row of prepared activations exceeds what the device can bind");
    return false;
}

bool woqi_panel_gemm_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                             size_t size)
{
    return prepared_fits(gemm, path, reason, size) && woqi_panels_accept(gemm, path, reason, size);
}

bool woqi_fixed_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (!w->group) {
        snprintf(reason, size, "%s", path->block == WOQI_BLOCK_DPBF16 ? "" : "weights are not integers");
        return false;
    }
    if (path->block == WOQI_BLOCK_DPBF16 && w->format.zero == WOQ_ZERO_OFFSET) {
        /* scale·Inf + offset·Inf may be NaN where (scale·q + offset)·Inf is not. */
        snprintf(reason, size, "weights have float offsets, with which infinities in X would not propagate");
        return false;
    }
    if (w->group < w->k_packed && w->group % WOQ_FIXED_BLOCK && WOQ_FIXED_SEGMENT(w->group) != w->group) {
        snprintf(reason, size, "groups must have 8, 16, 32 or 64 columns, a multiple of 128, or all; they have %llu",
                 (unsigned long long)w->group);
        return false;
    }
    return prepared_fits(gemm, path, reason, size) &&
           (w->layout == WOQI_LAYOUT_ROWS || woqi_panels_accept(gemm, path, reason, size));
}

uint64_t woqi_panel_gemm_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    return woqi_min(m, woqi_panel_gemm_slice(gemm, path)) * prepared_stride(gemm, path);
}

bool woqi_fixed_row_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    if (gemm->weights->k_packed > WOQI_FIXED_ROW_COLUMNS) {
        snprintf(reason, size, "takes at most %u columns", WOQI_FIXED_ROW_COLUMNS);
        return false;
    }
    return woqi_fixed_accepts(gemm, path, reason, size);
}

bool woqi_fixed_row_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                         const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                         const struct woqi_tile *tile, struct woqi_step *s)
{
    if (!woqi_panel_gemv_step(gemm, range, o, stage, first, rows, tile, s))
        return false;
    const uint32_t cores = gemm->device->info.compute_units ? gemm->device->info.compute_units : 1;
    s->groups[0] = (uint32_t)woqi_min(s->groups[0], (uint64_t)cores * ROW_GROUPS_PER_UNIT);
    return true;
}

static bool prepare_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                         const struct woqi_operands *o, uint64_t first, uint32_t rows,
                         struct woqi_step *s)
{
    const struct woqi_tile *tile = &gemm->weights->tiles[0];
    uint64_t stride = prepared_stride(gemm, range->path);
    woqi_step_product(gemm, range->kernels[0], o, first, rows, tile, s);
    woqi_step_bind_x(gemm, o, first, rows, s);
    struct woqi_args *a = &s->args;
    s->bind[WOQ_BIND_Y] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             a->m * stride};
    s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = s->bind[WOQ_BIND_Y];
    a->y_off = a->bias_off = a->res_off = 0;
    a->y_stride = (uint32_t)stride;
    a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, gemm->weights->perm);
    s->groups[0] = is_fixed(range->path) ? 1 : woqi_step_groups(gemm, woqi_div_up(a->k, s->kernel->local_x), 0);
    s->groups[1] = woqi_step_groups(gemm, is_fixed(range->path) ? woqi_min(a->m, 64) : a->m, 1);
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
    uint64_t stride = prepared_stride(gemm, range->path);
    s->bind[WOQ_BIND_X] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset,
                                             s->args.m * stride};
    s->args.x_stride = (uint32_t)stride;
    s->args.flags = woqi_step_flags(gemm, range, WOQ_F32, false);
    s->groups[0] = is_tile(range->path) ? tile_groups(gemm, tile) : panel_groups(gemm, tile);
    s->groups[1] = woqi_step_groups(gemm, woqi_div_up(s->args.m, group_rows(range->path)), 1);
    s->groups[2] = 1;
    return true;
}
