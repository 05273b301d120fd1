/*
 * paths_wgmma.c: many rows of X on Hopper's matrix units: stage 0 puts rows of a slice in the order that the kernel
 * wants (XTILE), stage 1 multiplies them (WGMMA).
 *
 * In the workspace: the rows, 8 by 8, K rounded up to 128; behind them, if work-groups share tiles, their sums, a tile
 * in FP32 for each. Flags say whose sums are stored.
 *
 * Direct paths have the second stage only.
 */
#include <stdio.h>

#include "alloc.h"
#include "paths_wgmma.h"

#define FLAGS          4             /* words of a work-group */
#define ALIGNMENT      256
#define MOST_ROUNDS    60 /* the kernel has a table of 64 parts for a work-group */
#define MOST_TILES     65535u
/* Sharing the last tiles costs the cache what tiles side by side have in common; with so many rounds it does not pay
 * (H200, 28672 × 8192, µs shared and not: M = 512, 3 rounds, 319, 361; M = 4096, 27 rounds, 2738, 2537). */
#define SHARED_ROUNDS  8
/* Nor where rounds of whole tiles keep so many per cent of the units busy: work-groups that begin anywhere in K read X
 * and W at as many places, more than the cache holds (H200, W4 g128, µs shared and not: 8192 × 28672, M = 1024, 97 %,
 * 736, 702; M = 2048, 97 %, 1380, 1206; M = 4096, 97 %, 2919, 2672; 8192 × 8192, M = 1024, 217, 204; 6144 × 4096,
 * M = 2048, 144, 136; 4096 × 14336, M = 4096, 647, 643). */
#define BUSY_PERCENT   92
#define SHARE_BLOCKS   4 /* shares are multiples of it */
/* Blocks of K that a compute unit must have to do for tiles of 192 rows: more of its warps hide what each waits for, but
 * there are fewer tiles, and more sums where they are shared (H200, M = 64, µs of 128 and 192 rows: 28672 × 8192, 146
 * blocks, 86.5, 78.8; 28672 × 4096, 73, 46.1, 42.9; 8192 × 8192, 42, 27.6, 27.7; 4096 × 4096, 11, 12.7, 15.6). */
#define TALL_BLOCKS    56
/* Blocks of K that a compute unit has to do at most for 256 rows of X to be cut into tiles of 128 (H200, µs of tiles of
 * 256 and 128: 4096 × 4096, 31 blocks, 21.7, 19.6; 6144 × 4096, 47, 27.5, 27.9; 4096 × 14336, 109, 52.6, 58.1). */
#define SHORT_BLOCKS   32
/* Likewise at least, with the path's fewest rows of X, for clusters, which wait for one another, but spare the cache
 * half of X's traffic (H200, µs without and with clusters: 28672 × 8192, 434 blocks, 325, 316; 8192 × 8192, 124 blocks,
 * 89.6, 90.8; 186, M = 1024, 188, 184; M = 4096, 772, 731). */
#define LONG_BLOCKS    130

struct woqi_shares woqi_wgmma_shares(uint64_t tiles, uint32_t blocks, uint64_t units, bool alone)
{
    struct woqi_shares s = {.share = blocks};
    const bool busy = tiles * 100 >= woqi_div_up(tiles, units) * units * BUSY_PERCENT;
    const bool shares = tiles <= units * SHARED_ROUNDS && !busy && !alone;
    uint64_t groups = shares ? units : woqi_min(units, tiles);
    while (tiles / groups > MOST_ROUNDS)
        groups *= 2;
    s.groups = (uint32_t)groups;
    s.rounds = (uint32_t)(tiles / groups);
    if (!shares)
        return s;
    if (s.rounds)
        s.rounds--;
    const uint64_t left = (tiles - s.rounds * groups) * blocks;
    const uint64_t least = woqi_div_up(blocks, WOQI_WGMMA_TILE_SHARES), share = woqi_div_up(left, groups);
    s.share = (uint32_t)(woqi_div_up(share > least ? share : least, SHARE_BLOCKS) * SHARE_BLOCKS);
    return s;
}

/* ---- what lies where in the workspace ---- */

uint32_t woqi_wgmma_blocks(const struct woq_gemm *gemm)
{
    return (uint32_t)(woqi_div_up(gemm->weights->k_packed, 2 * WOQI_FRAG_COLUMNS) * 2);
}

/* Of 8 rows. */
static uint64_t rows_bytes(const struct woq_gemm *gemm)
{
    return woqi_wgmma_blocks(gemm) * (uint64_t)WOQI_FRAG_COLUMNS * 2 * 8;
}

static uint64_t sums_at(const struct woq_gemm *gemm, uint64_t rows)
{
    return woqi_div_up(woqi_div_up(rows, 8) * rows_bytes(gemm), ALIGNMENT) * ALIGNMENT;
}

uint64_t woqi_wgmma_sums_bytes(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    return woqi_gpu_units(gemm) * tile_w * tile_x * sizeof(float);
}

/* Steps of several tiles of the weights run at once, and sums have one place. Who shares depends on M. */
bool woqi_wgmma_may_share(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    const bool direct = woqi_block_is_direct(path->block);
    const uint64_t prepared = direct ? 0 : sums_at(gemm, woqi_wgmma_slice(gemm, path));
    return gemm->weights->tile_count == 1 && !gemm->params.batch_invariant &&
           prepared + woqi_wgmma_sums_bytes(gemm, path) <= woqi_window_bytes(gemm);
}

/* ---- the path ---- */

/* What the kernel itself asks for. */
static bool kernel_accepts(const struct woq_gemm *gemm, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    const enum woq_type x = gemm->params.x_type;
    const enum woq_code plain = x == WOQ_F16 ? WOQ_CODE_F16 : WOQ_CODE_BF16;
    if (!woqi_layout_fits(gemm, WOQI_LAYOUT_FRAG16B, reason, size))
        return false;
    if (x != WOQ_F16 && !woqi_matrix_bf16(gemm))
        snprintf(reason, size, "needs FP16 activations, or BF16 where matrix units take them");
    else if (!w->group && w->format.code != plain)
        snprintf(reason, size, "plain weights must have the activations' type");
    else if (w->group && w->group < w->k_packed && w->group % WOQI_FRAG_PIECE)
        snprintf(reason, size, "groups of %llu columns; must be a multiple of %d, or all columns",
                 (unsigned long long)w->group, WOQI_FRAG_PIECE);
    else if (woqi_wgmma_blocks(gemm) > MOST_TILES)
        snprintf(reason, size, "%llu columns; %u at most", (unsigned long long)w->k_packed,
                 MOST_TILES * WOQI_FRAG_COLUMNS);
    else
        return true;
    return false;
}

bool woqi_wgmma_any_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    (void)path;
    if (!kernel_accepts(gemm, reason, size))
        return false;
    if (rows_bytes(gemm) <= woqi_prepared_bytes(gemm))
        return true;
    snprintf(reason, size, "8 rows of activations exceed what the path prepares or the device can bind");
    return false;
}

static bool is_wide(const struct woq_gemm *gemm, char *reason, size_t size)
{
    if (gemm->weights->tiles[0].shape.rows > 32 * woqi_gpu_units(gemm) || !woqi_gemm_chooses(gemm))
        return true;
    snprintf(reason, size, "mma is faster for so few rows of weights");
    return false;
}

bool woqi_wgmma_wide_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    return is_wide(gemm, reason, size) && woqi_wgmma_any_accepts(gemm, path, reason, size);
}

bool woqi_wgmma_tall_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    const uint64_t tiles = woqi_div_up(gemm->weights->tiles[0].shape.rows, tile_w);
    if (tiles * woqi_wgmma_blocks(gemm) >= TALL_BLOCKS * woqi_gpu_units(gemm) || !woqi_gemm_chooses(gemm))
        return woqi_wgmma_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "too few weights for tiles of %u rows", tile_w);
    return false;
}

/* Is the product long enough for clusters? */
static bool is_long(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    const uint64_t tiles = woqi_div_up(gemm->weights->tiles[0].shape.rows, tile_w) * woqi_div_up(path->min_m, tile_x);
    if (tiles * woqi_wgmma_blocks(gemm) >= LONG_BLOCKS * woqi_gpu_units(gemm) || !woqi_gemm_chooses(gemm))
        return true;
    snprintf(reason, size, "too few weights for clusters of work-groups");
    return false;
}

bool woqi_wgmma_long_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    if (gemm->weights->group)
        return is_long(gemm, path, reason, size) && woqi_wgmma_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "clusters are for quantized weights");
    return false;
}

bool woqi_wgmma_has_pairs(const struct woq_gemm *gemm, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    const uint64_t pair = 2 * WOQI_FRAG_COLUMNS;
    if (w->group && w->k_packed % pair == 0 && (w->group >= w->k_packed || w->group % pair == 0) &&
        w->format.zero != WOQ_ZERO_OFFSET && (w->format.scale == gemm->params.x_type || w->format.scale == WOQ_F16))
        return true;
    snprintf(reason, size, "needs scales of 16 bits, no offsets, and groups and K of a multiple of %llu columns",
             (unsigned long long)pair);
    return false;
}

bool woqi_wgmma_pairs_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    return woqi_wgmma_has_pairs(gemm, reason, size) && woqi_wgmma_any_accepts(gemm, path, reason, size);
}

uint32_t woqi_wgmma_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    uint64_t rows = woqi_prepared_bytes(gemm) / rows_bytes(gemm) * 8;
    if (rows > tile_x)
        rows = rows / tile_x * tile_x;
    return (uint32_t)woqi_min(rows, MOST_TILES * (uint64_t)tile_x);
}

uint64_t woqi_wgmma_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    const uint64_t rows = woqi_min(m, woqi_wgmma_slice(gemm, path));
    return sums_at(gemm, rows) + (woqi_wgmma_may_share(gemm, path) ? woqi_wgmma_sums_bytes(gemm, path) : 0);
}

uint64_t woqi_wgmma_flags(const struct woq_gemm *gemm)
{
    return woqi_gpu_units(gemm) * FLAGS * sizeof(uint32_t);
}

void woqi_wgmma_bind_sums(const struct woq_gemm *gemm, const struct woqi_path *path, const struct woqi_operands *o,
                          uint64_t sums, struct woqi_step *s)
{
    s->nbind = WOQI_MAX_BIND;
    s->bind[WOQI_BIND_SUMS] = (struct woqi_bind){o->workspace.buffer, o->workspace.offset + sums,
                                                 woqi_wgmma_sums_bytes(gemm, path)};
    s->bind[WOQI_BIND_FLAGS] = (struct woqi_bind){o->flags.buffer, o->flags.offset, woqi_wgmma_flags(gemm)};
}

/* Who takes what; their sums lie so far into the workspace. */
static void set_tiles(const struct woq_gemm *gemm, const struct woqi_path *path, const struct woqi_operands *o,
                      const struct woqi_tile *tile, uint64_t sums, struct woqi_step *s)
{
    struct woqi_args *a = &s->args;
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    const bool shares = woqi_wgmma_may_share(gemm, path);
    const uint32_t cluster = woqi_block_cluster(path->block), units = woqi_gpu_units(gemm);
    a->tiles_w = (uint32_t)woqi_div_up(tile->shape.rows, tile_w * (uint64_t)cluster);
    a->tiles_x = (uint32_t)woqi_div_up(a->m, tile_x);
    a->direct = woqi_block_is_direct(path->block) ? tile_x : 0;
    const struct woqi_shares shared = woqi_wgmma_shares((uint64_t)a->tiles_w * a->tiles_x, woqi_wgmma_blocks(gemm),
                                                        units > cluster ? units / cluster : 1, !shares);
    a->rounds = shared.rounds;
    a->share = shared.share;
    s->groups[0] = shared.groups * cluster;
    s->groups[1] = s->groups[2] = 1;
    if (shares)
        woqi_wgmma_bind_sums(gemm, path, o, sums, s);
}

bool woqi_wgmma_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                     const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                     const struct woqi_tile *tile, struct woqi_step *s)
{
    struct woqi_args *a = &s->args;
    if (stage == 0 && tile != &gemm->weights->tiles[0])
        return false;
    woqi_step_product(gemm, range->kernels[stage], o, first, rows, tile, s);
    const struct woqi_bind prepared = {o->workspace.buffer, o->workspace.offset, sums_at(gemm, a->m)};
    if (stage == 0) {
        woqi_step_bind_x(gemm, o, first, rows, s);
        s->bind[WOQ_BIND_Y] = s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = prepared;
        a->y_off = a->y_stride = a->bias_off = a->res_off = 0;
        a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, gemm->weights->perm);
        /* A thread takes 32 columns. */
        const uint64_t threads = woqi_div_up(a->m, 8) * 8 * woqi_wgmma_blocks(gemm) * 2;
        s->groups[0] = woqi_step_groups(
            gemm, woqi_min(woqi_div_up(threads, s->kernel->local_x), woqi_gpu_units(gemm) * 8), 0);
        s->groups[1] = s->groups[2] = 1;
        return true;
    }
    s->bind[WOQ_BIND_X] = prepared;
    a->x_off = 0;
    a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, false);
    set_tiles(gemm, range->path, o, tile, sums_at(gemm, a->m), s);
    return true;
}

/* ---- X as it is bound ---- */

bool woqi_wgmma_direct_any_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    const uint64_t unit = WOQI_FRAG_COLUMNS / 2;
    (void)path;
    if (!kernel_accepts(gemm, reason, size))
        return false;
    if (w->perm)
        snprintf(reason, size, "needs columns in order");
    else if (!w->group || w->format.scale != gemm->params.x_type || w->format.zero == WOQ_ZERO_OFFSET ||
             (w->group < w->k_packed && w->group % unit))
        snprintf(reason, size, "needs scales of X's type, no offsets, and groups of a multiple of %llu columns",
                 (unsigned long long)unit);
    else
        return true;
    return false;
}

bool woqi_wgmma_direct_wide_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                                    size_t size)
{
    return is_wide(gemm, reason, size) && woqi_wgmma_direct_any_accepts(gemm, path, reason, size);
}

bool woqi_wgmma_direct_short_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                                     size_t size)
{
    uint32_t tile_w, tile_x;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    const uint64_t tiles = woqi_div_up(gemm->weights->tiles[0].shape.rows, tile_w) * woqi_div_up(path->max_m, tile_x);
    if (tiles * woqi_wgmma_blocks(gemm) <= SHORT_BLOCKS * woqi_gpu_units(gemm) || !woqi_gemm_chooses(gemm))
        return woqi_wgmma_direct_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "too much to do for tiles of %u rows of X", tile_x);
    return false;
}

bool woqi_wgmma_direct_long_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                                    size_t size)
{
    return is_long(gemm, path, reason, size) && woqi_wgmma_direct_any_accepts(gemm, path, reason, size);
}

uint32_t woqi_wgmma_direct_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    uint32_t tile_w, tile_x;
    (void)gemm;
    woqi_block_tile(path->block, &tile_w, &tile_x);
    return MOST_TILES * tile_x;
}

uint64_t woqi_wgmma_direct_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    (void)m;
    return woqi_wgmma_may_share(gemm, path) ? woqi_wgmma_sums_bytes(gemm, path) : 0;
}

bool woqi_wgmma_direct_step(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                            uint32_t stage, uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                            struct woqi_step *s)
{
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    set_tiles(gemm, range->path, o, tile, 0, s);
    return true;
}
