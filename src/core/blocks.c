/* blocks.c: the tables of blocks, and what follows from their sizes. */
#include "blocks.h"

#include "kernels.h"

static const struct woqi_block blocks[WOQI_BLOCK_COUNT] = {
#define BLOCK_ENTRY(id, warps_n, warps_m, warps_k, strips, columns, math, staged, step4, step8, step16)         \
    [WOQI_BLOCK_##id] = {warps_n, warps_m, warps_k, strips, columns, WOQ_MATH_##math, staged, step4, step8, \
                         step16},
    WOQI_BLOCKS(BLOCK_ENTRY)
#undef BLOCK_ENTRY
};

const struct woqi_block *woqi_block(enum woqi_block_id block)
{
    return &blocks[block];
}

uint32_t woqi_block_columns(const struct woqi_block *b)
{
    return b->warps_m * b->columns * 8;
}

uint32_t woqi_block_threads(const struct woqi_block *b)
{
    return b->warps_n * b->warps_m * b->warps_k * 32;
}

uint32_t woqi_block_depth(const struct woqi_block *b, uint32_t bits)
{
    return bits == 4 ? b->step4 : bits == 8 ? b->step8 : b->step16;
}

uint32_t woqi_block_codes(const struct woqi_block *b, uint32_t bits)
{
    return 2 * b->strips * woqi_block_depth(b, bits) * bits; /* a step's and the next one's */
}

uint32_t woqi_block_shared(const struct woqi_block *b, uint32_t bits, bool pooled)
{
    uint32_t tiles = b->warps_n * b->warps_m * b->warps_k * b->strips; /* of 512 bytes of sums */
    uint32_t most = tiles > 32 ? 1 : 32 / tiles, chunk = most < b->columns ? most : b->columns;
    uint32_t x = b->staged ? 2 * b->warps_k * woqi_block_columns(b) * woqi_block_depth(b, bits) * 128 : 0;
    uint32_t sums = tiles * chunk * 512;
    x += pooled ? woqi_block_threads(b) * b->strips * 16 : 0;
    return x > sums ? x : sums;
}

static const struct woqi_coop_block coop_blocks[WOQI_BLOCK_COUNT] = {
#define COOP_ENTRY(id, rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k) \
    [WOQI_BLOCK_##id] = {rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k},
    WOQI_COOP_BLOCKS(COOP_ENTRY)
#undef COOP_ENTRY
};

const struct woqi_coop_block *woqi_coop_block(enum woqi_block_id block)
{
    return &coop_blocks[block];
}

uint32_t woqi_coop_block_subgroups(const struct woqi_coop_block *b)
{
    return b->subgroups_n * b->subgroups_m * b->subgroups_k;
}

uint32_t woqi_coop_block_shared(const struct woqi_coop_block *b, uint32_t matrix_m)
{
    uint32_t stages = b->subgroups_k * 2 * (b->rows_w + b->rows_x) * 80;
    uint32_t sums = b->subgroups_k * b->subgroups_m * matrix_m * b->rows_w * 4;
    return stages > sums ? stages : sums;
}

static const struct woqi_nv2_block nv2_blocks[WOQI_BLOCK_COUNT] = {
#define NV2_ENTRY(id, rows_w, rows_x, subgroups_n, subgroups_m)                                    \
    [WOQI_BLOCK_##id] = {rows_w, rows_x, subgroups_n, subgroups_m},
    WOQI_NV2_BLOCKS(NV2_ENTRY)
#undef NV2_ENTRY
};

/* What nv2.comp takes for granted: whole pairs of strips, whole slices of sums. */
#define NV2_CHECK(id, rows_w, rows_x, ...)                                                         \
    _Static_assert((rows_w) % 32 == 0 && (rows_x) % 16 == 0, "block " #id);
WOQI_NV2_BLOCKS(NV2_CHECK)
#undef NV2_CHECK

const struct woqi_nv2_block *woqi_nv2_block(enum woqi_block_id block)
{
    return &nv2_blocks[block];
}

uint32_t woqi_nv2_block_subgroups(const struct woqi_nv2_block *b)
{
    return b->subgroups_n * b->subgroups_m;
}

uint32_t woqi_nv2_block_shared(const struct woqi_nv2_block *b, bool staged)
{
    const uint32_t sums = 64 * (b->rows_w + 8), stages = staged ? 2 * b->rows_w * 80 : 0;
    return stages > sums ? stages : sums;
}

static const struct woqi_tile_block tile_blocks[WOQI_BLOCK_COUNT] = {
#define TILE_ENTRY(id, rows_w, rows_x, thread_w, thread_x, parts, buffers)                         \
    [WOQI_BLOCK_##id] = {rows_w, rows_x, thread_w, thread_x, parts, buffers},
    WOQI_TILE_BLOCKS(TILE_ENTRY)
#undef TILE_ENTRY
};

/* What tile.comp takes for granted: whole groups of 32 lanes that load 4 times at most, the same for all threads. */
#define TILE_PART(rows_w, rows_x, thread_w, thread_x) ((rows_w) / (thread_w) * ((rows_x) / (thread_x)))
#define TILE_LOADS(items, part) ((items) % (part) == 0 && (items) / (part) <= 4)
#define TILE_CHECK(id, rows_w, rows_x, thread_w, thread_x, parts, buffers)                         \
    _Static_assert((rows_w) % 32 == 0 && (rows_x) % 16 == 0 &&                                     \
                       TILE_PART(rows_w, rows_x, thread_w, thread_x) % 32 == 0 &&                  \
                       TILE_LOADS((rows_w) * 2, TILE_PART(rows_w, rows_x, thread_w, thread_x)) &&  \
                       TILE_LOADS((rows_x) * 4, TILE_PART(rows_w, rows_x, thread_w, thread_x)),    \
                   "block " #id);
WOQI_TILE_BLOCKS(TILE_CHECK)
#undef TILE_CHECK
#undef TILE_LOADS
#undef TILE_PART

const struct woqi_tile_block *woqi_tile_block(enum woqi_block_id block)
{
    return &tile_blocks[block];
}

uint32_t woqi_tile_block_threads(const struct woqi_tile_block *b)
{
    return b->rows_w / b->thread_w * (b->rows_x / b->thread_x) * b->parts;
}

uint32_t woqi_tile_block_shared(const struct woqi_tile_block *b)
{
    uint32_t stages = b->parts * b->buffers * (b->rows_w + b->rows_x + 16) * 64;
    uint32_t sums = b->parts * (b->rows_x / b->thread_x) * b->rows_w * 4;
    return stages > sums ? stages : sums;
}

static const struct {
    bool direct;
    uint32_t cluster, cut;
} wgmma_blocks[WOQI_BLOCK_COUNT] = {
#define WGMMA_ENTRY(id, rows_w, rows_x, direct, cluster, cut) [WOQI_BLOCK_##id] = {direct, cluster, cut},
    WOQI_WGMMA_BLOCKS(WGMMA_ENTRY)
#undef WGMMA_ENTRY
};

bool woqi_block_is_direct(enum woqi_block_id block)
{
    return wgmma_blocks[block].direct;
}

uint32_t woqi_block_cluster(enum woqi_block_id block)
{
    return wgmma_blocks[block].cluster;
}

uint32_t woqi_block_cut(enum woqi_block_id block)
{
    return wgmma_blocks[block].cut;
}

/* Of the blocks of all tables: names, rows of the weights and of X in a work-group. */
static const struct {
    const char *name;
    uint32_t rows, columns;
} all[WOQI_BLOCK_COUNT] = {
#define MMA_SIZE(id, warps_n, warps_m, warps_k, strips, columns, ...)                              \
    [WOQI_BLOCK_##id] = {#id, warps_n * strips * 16, warps_m * columns * 8},
#define SIZE(id, rows_w, rows_x, ...) [WOQI_BLOCK_##id] = {#id, rows_w, rows_x},
#define FIXED_SIZE(id, dot) SIZE(id, 16, WOQI_FIXED_ROWS, )
    WOQI_BLOCKS(MMA_SIZE) WOQI_COOP_BLOCKS(SIZE) WOQI_NV2_BLOCKS(SIZE) WOQI_WGMMA_BLOCKS(SIZE)
    WOQI_TILE_BLOCKS(SIZE) WOQI_FIXED_BLOCKS(FIXED_SIZE)
#undef FIXED_SIZE
#undef SIZE
#undef MMA_SIZE
};

const char *woqi_block_name(enum woqi_block_id block)
{
    return all[block].name;
}

void woqi_block_tile(enum woqi_block_id block, uint32_t *rows, uint32_t *columns)
{
    *rows = all[block].rows;
    *columns = all[block].columns;
}

bool woqi_block_wants_pairs(enum woqi_block_id block)
{
    return woqi_block_is_small(block) || (woqi_block_is_direct(block) && all[block].rows == 192);
}
