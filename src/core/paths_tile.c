/* paths_tile.c: more than a few rows without matrix units, layout FRAG16B. */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

struct woqi_kernel_key woqi_tile_key(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    const struct woq_weights *w = gemm->weights;
    const bool any = w->group < w->k_packed && w->group % WOQI_FRAG_PIECE != 0;
    return (struct woqi_kernel_key){.id = WOQI_KERNEL_TILE,
                                    .code = (uint32_t)w->format.code,
                                    .block = path->block,
                                    .fine = any ? WOQI_GROUPS_ANY : WOQI_GROUPS_BLOCK,
                                    .x = (uint32_t)gemm->params.x_type};
}

static uint64_t groups_n(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    return woqi_div_up(gemm->weights->tiles[0].shape.rows, woqi_tile_block(path->block)->rows_w);
}

bool woqi_tile_any_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                           size_t size)
{
    if (!woqi_layout_fits(gemm, WOQI_LAYOUT_FRAG16B, reason, size))
        return false;
    if (groups_n(gemm, path) <= gemm->device->info.max_groups[0])
        return true;
    snprintf(reason, size, "more work-groups than the device launches");
    return false;
}

bool woqi_tile_cpu_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                           size_t size)
{
    if (gemm->device->info.kind == WOQ_DEVICE_KIND_CPU || gemm->told)
        return woqi_tile_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "block %s is for CPUs", woqi_block_name(path->block));
    return false;
}

bool woqi_tile_full_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                            size_t size)
{
    if (2 * groups_n(gemm, path) >= woqi_gpu_units(gemm) || gemm->told)
        return woqi_tile_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "block %s is for more rows of weights", woqi_block_name(path->block));
    return false;
}

uint32_t woqi_tile_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    (void)path;
    uint64_t rows = gemm->device->info.max_groups[1] * 16ull; /* of the smallest block */
    return (uint32_t)woqi_min(rows, UINT32_MAX);
}
