/*
 * paths_wgmma_cut.c: paths of kernel wgmma on which each work-group has one part of a tile: all of it, or a half or a
 * quarter of its K (cuda/wgmma_cut.cuh).
 */
#include <stdio.h>

#include "alloc.h"
#include "paths_wgmma.h"

/* Per cent of the compute units that two parts of K must keep busy; else equal shares for all units are faster, though
 * their sums go through memory (H200, W4 g128, µs of two parts and of shares: 6144 × 4096, 73 %, M = 64, 13.5, 14.1;
 * M = 128, 17.0, 18.1; 4096 × 4096, 48 %, M = 64, 13.1, 11.5; M = 128, 16.3, 15.1). */
#define CUT_PERCENT  70
/* Likewise, for tiles of 192 rows of the weights (6144 × 4096, 97 %, µs of such and of 128 × 256: M = 256, 22.9, 25.2;
 * M = 512, 39.0, 40.2; 4096 × 4096, 67 %, M = 256, 22.6 in two parts, 18.6 of 128 × 128); and for tiles of 128 × 128 that
 * go before tall ones (8192 × 28672, 97 %, M = 128, 104, 111; W8 117, 124). */
#define FULL_PERCENT 90
/* Blocks of K from which four parts are taken with up to 32 rows of X, or with tiles of 256 (H200, W4 g128, µs of four
 * parts and else: M = 32, 64 blocks, 10.2, 9.9; 224 blocks, 23.2, 25.0; M = 256, 64 blocks, 19.2, 18.6; 224 blocks,
 * 52.0, 53.7). */
#define DEEP_BLOCKS  128
/* Likewise from which four parts are taken with up to 32 rows of X if groups have so few columns, for each of which mma
 * scales weights anew (4096 × 4096, M = 32, µs of mma and of four parts: groups of 32, 15.5, 11.4; of 128, 9.9, 9.8). */
#define FINE_BLOCKS  64
#define FINE_GROUP   32

/* Two parts meet in shared memory; of four, the first two's sums go through the workspace. */
static bool stores_sums(const struct woqi_path *path)
{
    return woqi_block_cut(path->block) > 2;
}

/* Can each work-group have one part of a tile, and is that enough for `percent` of the compute units? */
static bool cut_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t percent, char *reason,
                        size_t size)
{
    uint32_t tile_w, tile_x;
    const uint32_t cut = woqi_block_cut(path->block), units = woqi_gpu_units(gemm);
    const bool chooses = woqi_gemm_chooses(gemm);
    woqi_block_tile(path->block, &tile_w, &tile_x);
    const uint64_t tiles = woqi_div_up(gemm->weights->tiles[0].shape.rows, tile_w) * woqi_div_up(path->max_m, tile_x);
    if (woqi_wgmma_blocks(gemm) % (2 * cut))
        snprintf(reason, size, "%u blocks of columns are not %u parts of whole pairs", woqi_wgmma_blocks(gemm), cut);
    else if (tiles * cut > units && (stores_sums(path) || chooses))
        snprintf(reason, size, "more tiles, of %u parts, than compute units", cut);
    else if (tiles * cut * 100 < (uint64_t)units * percent && chooses)
        snprintf(reason, size, "too few tiles, of %u parts", cut);
    else if (stores_sums(path) && !woqi_wgmma_may_share(gemm, path))
        snprintf(reason, size, "has no place for sums");
    else
        return woqi_wgmma_direct_any_accepts(gemm, path, reason, size);
    return false;
}

bool woqi_wgmma_full_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    return woqi_wgmma_has_pairs(gemm, reason, size) && cut_accepts(gemm, path, FULL_PERCENT, reason, size);
}

/* Four parts are as many as tiles have at most where they are shared out by blocks. */
bool woqi_wgmma_cut_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const uint32_t percent = woqi_block_cut(path->block) < WOQI_WGMMA_TILE_SHARES ? CUT_PERCENT : 0;
    return cut_accepts(gemm, path, percent, reason, size);
}

bool woqi_wgmma_deep_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    if (woqi_wgmma_blocks(gemm) >= DEEP_BLOCKS || !woqi_gemm_chooses(gemm))
        return woqi_wgmma_cut_accepts(gemm, path, reason, size);
    snprintf(reason, size, "too few columns for %u parts of K", woqi_block_cut(path->block));
    return false;
}

bool woqi_wgmma_fine_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (w->group && w->group <= FINE_GROUP && woqi_wgmma_blocks(gemm) >= FINE_BLOCKS)
        return woqi_wgmma_cut_accepts(gemm, path, reason, size);
    return woqi_wgmma_deep_accepts(gemm, path, reason, size);
}

uint64_t woqi_wgmma_cut_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    (void)m;
    return stores_sums(path) ? woqi_wgmma_sums_bytes(gemm, path) : 0;
}

bool woqi_wgmma_cut_step(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                         uint32_t stage, uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                         struct woqi_step *s)
{
    struct woqi_args *a = &s->args;
    uint32_t tile_w, tile_x;
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    woqi_block_tile(range->path->block, &tile_w, &tile_x);
    a->tiles_w = (uint32_t)woqi_div_up(tile->shape.rows, tile_w);
    a->tiles_x = (uint32_t)woqi_div_up(a->m, tile_x);
    a->direct = tile_x;
    a->cut = woqi_block_cut(range->path->block);
    a->share = woqi_wgmma_blocks(gemm) / a->cut;
    s->groups[0] = a->tiles_w * a->tiles_x * a->cut;
    s->groups[1] = s->groups[2] = 1;
    if (stores_sums(range->path))
        woqi_wgmma_bind_sums(gemm, range->path, o, 0, s);
    return true;
}
