/*
 * paths_split.c: matrix units where the rows of the weights give too few work-groups: these share K, too, and a second
 * kernel adds up what they have, in order.
 *
 * Stage 0 stores sums of part p and row j of X as row p·m + j of the workspace, [splits][m][rows of the tile] in FP32;
 * stage 1 adds and does what is left to do to an element of Y.
 */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

/* Blocks of 64 columns, at least, that a subgroup multiplies: a part costs a second kernel, and a beginning and an
 * end of its own. */
#define PART_BLOCKS 16

uint64_t woqi_split_columns(const struct woqi_path *path)
{
    return (uint64_t)path->splits * woqi_block(path->block)->warps_k * PART_BLOCKS * WOQI_FRAG_COLUMNS;
}

/* Bytes of one row of X. */
static uint64_t sums_bytes(const struct woq_gemm *gemm)
{
    return gemm->weights->tiles[0].shape.rows * sizeof(float);
}

bool woqi_split_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (!woqi_mma_accepts(gemm, path, reason, size))
        return false;
    if (w->k_packed >= woqi_split_columns(path) && w->tile_count == 1 &&
        path->splits <= gemm->device->info.max_groups[2] &&
        path->splits * sums_bytes(gemm) <= gemm->device->info.max_binding)
        return true;
    snprintf(reason, size, "%llu × %llu weights are not worth %u parts of K", (unsigned long long)w->n,
             (unsigned long long)w->k, path->splits);
    return false;
}

uint32_t woqi_split_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    uint64_t rows = gemm->device->info.max_binding / (path->splits * sums_bytes(gemm));
    return (uint32_t)woqi_min(rows, woqi_mma_slice(gemm, path));
}

uint64_t woqi_split_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    return woqi_min(m, woqi_split_slice(gemm, path)) * path->splits * sums_bytes(gemm);
}

bool woqi_split_step(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                     uint32_t stage, uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                     struct woqi_step *s)
{
    const struct woqi_path *path = range->path;
    const uint64_t stride = sums_bytes(gemm);
    struct woqi_args *a = &s->args;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    const struct woqi_bind sums = {o->workspace.buffer, o->workspace.offset, a->m * path->splits * stride};
    if (stage == 0) {
        s->bind[WOQ_BIND_Y] = s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = sums;
        a->flags = WOQ_FLAGS_SUMS(a->flags);
        a->n = (uint32_t)tile->shape.rows;
        a->y_off = 0;
        a->y_stride = (uint32_t)stride;
        woqi_step_blocks(path, tile->shape.rows, s);
        s->groups[2] = path->splits;
        return true;
    }
    s->kernel = range->kernels[1];
    s->bind[WOQ_BIND_X] = sums;
    a->x_off = 0;
    a->x_stride = (uint32_t)stride;
    a->k = path->splits;
    s->groups[0] = woqi_step_groups(gemm, woqi_div_up(tile->count, s->kernel->local_x), 0);
    s->groups[1] = woqi_step_groups(gemm, a->m, 1);
    s->groups[2] = 1;
    return true;
}
