/* blocks.c: the tables of blocks, and what follows from their sizes. */
#include "blocks.h"

static const struct woqi_block blocks[WOQI_BLOCK_COUNT] = {
#define BLOCK_ENTRY(id, path, max_m, fill, warps_n, warps_m, warps_k, strips, columns, math, staged)     \
    [WOQI_BLOCK_##id] = {#id, fill, warps_n, warps_m, warps_k, strips, columns, WOQ_MATH_##math, staged},
    WOQI_BLOCKS(BLOCK_ENTRY)
#undef BLOCK_ENTRY
};

const struct woqi_block *woqi_block(enum woqi_block_id block)
{
    return &blocks[block];
}

uint32_t woqi_block_rows(const struct woqi_block *b)
{
    return b->warps_n * b->strips * 16;
}

uint32_t woqi_block_columns(const struct woqi_block *b)
{
    return b->warps_m * b->columns * 8;
}

uint32_t woqi_block_threads(const struct woqi_block *b)
{
    return b->warps_n * b->warps_m * b->warps_k * 32;
}

uint32_t woqi_block_shared(const struct woqi_block *b)
{
    uint32_t tile = b->warps_n * b->warps_m * b->strips * b->columns;
    uint32_t chunk = tile > 64 ? tile / 2 : tile;
    uint32_t sums = b->warps_k / 2 * tile > chunk ? b->warps_k / 2 * tile : chunk;
    uint32_t x = b->staged ? 2 * b->warps_m * b->columns * 8 * 8 : 0; /* in vectors of 16 bytes */
    return 16 * (x > sums * 32 ? x : sums * 32);
}

static const struct woqi_coop_block coop_blocks[WOQI_BLOCK_COUNT] = {
#define COOP_ENTRY(id, rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k) \
    [WOQI_BLOCK_##id] = {#id, rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k},
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

const char *woqi_block_name(enum woqi_block_id block)
{
    return blocks[block].name ? blocks[block].name : coop_blocks[block].name;
}

void woqi_block_tile(enum woqi_block_id block, uint32_t *rows, uint32_t *columns)
{
    const bool mma = blocks[block].name != NULL;
    *rows = mma ? woqi_block_rows(&blocks[block]) : coop_blocks[block].rows_w;
    *columns = mma ? woqi_block_columns(&blocks[block]) : coop_blocks[block].rows_x;
}
