/* blocks.c: the table of blocks, and what follows from their sizes. */
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
