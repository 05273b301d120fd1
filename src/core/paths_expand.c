/*
 * paths_expand.c: quantized weights to FP16 in the workspace, piece by piece, then the product of FP16 weights; layout
 * FRAG16B.
 *
 * A piece is some rows of a tile. Two places in the workspace take turns, so that one piece expands while the one
 * before it multiplies.
 */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "step.h"

#define PIECE_BYTES (64ull << 20) /* of FP16 weights */
#define PIECE_ROWS  128ull        /* whole multiples of every block's rows */
#define PAIR_ROWS   32ull         /* two strips: gate and up */

struct piece {
    const struct woqi_tile *tile;
    uint64_t row, rows; /* of the tile */
};

static const struct woq_format plain = {sizeof plain, WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0, 0};

/* Of `rows` rows in the workspace: FP16 weights and perm. */
static bool expanded_shape(const struct woq_weights *w, uint64_t rows, struct woqi_tile_shape *out)
{
    return !woqi_tile_shape(WOQI_LAYOUT_FRAG16B, &plain, rows, w->k_packed, 0, w->perm, out);
}

/* Rows of all pieces but a tile's last, about equal; 0 if not even a pair of strips can be bound. */
static uint64_t piece_rows(const struct woq_gemm *gemm)
{
    const struct woq_weights *w = gemm->weights;
    const struct woq_device_info *info = &gemm->device->info;
    uint64_t bytes = woqi_min(PIECE_BYTES, woqi_min(info->max_binding, info->max_allocation / 2));
    struct woqi_tile_shape pair;
    if (!expanded_shape(w, PAIR_ROWS, &pair) || pair.size > bytes)
        return 0;
    uint64_t most = (bytes - (pair.size - pair.scales)) / pair.codes_stride * 16;
    uint64_t unit = most < PIECE_ROWS ? PAIR_ROWS : PIECE_ROWS;
    uint64_t rows = w->tiles[0].shape.rows;
    uint64_t count = woqi_div_up(rows, most / unit * unit);
    return woqi_div_up(woqi_div_up(rows, count), unit) * unit;
}

uint32_t woqi_expand_pieces(const struct woq_gemm *gemm)
{
    uint64_t rows = piece_rows(gemm), count = 0;
    for (uint32_t t = 0; t < gemm->weights->tile_count; t++)
        count += woqi_div_up(gemm->weights->tiles[t].shape.rows, rows);
    return (uint32_t)count;
}

/* Piece number `index` of all tiles. */
static struct piece find_piece(const struct woq_gemm *gemm, uint32_t index)
{
    const struct woqi_tile *tile = gemm->weights->tiles;
    uint64_t rows = piece_rows(gemm), row = index * rows;
    for (; row >= tile->shape.rows; tile++)
        row -= woqi_div_up(tile->shape.rows, rows) * rows;
    return (struct piece){tile, row, woqi_min(rows, tile->shape.rows - row)};
}

static uint64_t place_bytes(const struct woq_gemm *gemm)
{
    struct woqi_tile_shape shape;
    uint64_t rows = woqi_min(piece_rows(gemm), gemm->weights->tiles[0].shape.rows);
    return expanded_shape(gemm->weights, rows, &shape) ? shape.size : 0;
}

uint64_t woqi_expand_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    (void)path, (void)m;
    return place_bytes(gemm) * (woqi_expand_pieces(gemm) > 1 ? 2 : 1);
}

bool woqi_expand_any_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    uint64_t rows = piece_rows(gemm);
    if (!woqi_matrix_operands_fit(gemm, reason, size))
        return false;
    if (!rows) {
        snprintf(reason, size, "%llu rows of FP16 weights exceed what the device can bind",
                 (unsigned long long)PAIR_ROWS);
        return false;
    }
    return woqi_matrix_block_fits(gemm, path, woqi_min(rows, gemm->weights->tiles[0].shape.rows), reason, size);
}

bool woqi_expand_fine_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (w->group && w->group < w->k_packed && w->group % WOQI_FRAG_COLUMNS != 0)
        return woqi_expand_any_accepts(gemm, path, reason, size);
    snprintf(reason, size, "is not worth it for groups of whole blocks of %d columns", WOQI_FRAG_COLUMNS);
    return false;
}

/* The piece to its place. rows: of X, as for any step. */
static void prepare(const struct woq_gemm *gemm, const struct woqi_range *range, const struct piece *piece,
                    const struct woqi_tile_shape *expanded, const struct woqi_bind *place, uint32_t rows,
                    struct woqi_step *s)
{
    const struct woq_weights *w = gemm->weights;
    const struct woqi_tile_shape *shape = &piece->tile->shape;
    uint64_t scale = woq_type_size(w->format.scale);
    uint64_t zero = w->format.zero == WOQ_ZERO_POINT ? 1 : w->format.zero == WOQ_ZERO_OFFSET ? scale : 0;
    memset(s, 0, sizeof *s);
    s->kind = rows ? WOQI_STEP_DISPATCH : WOQI_STEP_OFF;
    s->kernel = range->kernels[0];
    s->nbind = WOQ_BIND_COUNT;
    for (uint32_t i = 0; i < WOQ_BIND_COUNT; i++)
        s->bind[i] = *place;
    s->bind[WOQ_BIND_WEIGHTS] = (struct woqi_bind){piece->tile->buffer, 0, shape->size};
    s->fixed_weights = true;
    struct woqi_args *a = &s->args;
    a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, w->perm);
    a->n = (uint32_t)piece->rows;
    a->k = (uint32_t)w->k_packed;
    a->group = (uint32_t)w->group;
    a->scale_stride = (uint32_t)shape->rows;
    a->codes_off = (uint32_t)(shape->codes + piece->row / 16 * shape->codes_stride);
    a->codes_stride = (uint32_t)shape->codes_stride;
    a->scales_off = (uint32_t)(shape->scales + piece->row * scale);
    a->zeros_off = (uint32_t)(shape->zeros + piece->row * zero);
    a->perm_off = (uint32_t)shape->perm;
    a->y_stride = (uint32_t)expanded->codes_stride;
    uint64_t lanes = piece->rows / 16 * woqi_div_up(w->k_packed, WOQI_FRAG_COLUMNS) * 32;
    s->groups[0] = woqi_step_groups(gemm, woqi_div_up(lanes, s->kernel->local_x), 0);
    s->groups[1] = s->groups[2] = 1;
}

/* The product of the piece at its place, which is a tile of FP16 weights. */
static void multiply(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                     const struct piece *piece, const struct woqi_tile_shape *expanded,
                     const struct woqi_bind *place, uint64_t first, uint32_t rows, struct woqi_step *s)
{
    const struct woq_weights *w = gemm->weights;
    uint32_t ways = w->gated ? 2 : 1;
    uint64_t before = piece->row / ways;
    const struct woqi_tile tile = {place->buffer, piece->tile->first + before,
                                   woqi_min(piece->rows / ways, piece->tile->count - before), *expanded};
    woqi_step_product(gemm, range->kernels[1], o, first, rows, &tile, s);
    woqi_step_bind_x(gemm, o, first, rows, s);
    s->bind[WOQ_BIND_WEIGHTS] = *place;
    s->fixed_weights = false;
    s->args.group = 0;
    s->args.flags = woqi_step_flags_of(gemm, &plain, WOQ_TYPE_NONE, gemm->params.x_type, w->perm);
    woqi_step_blocks(range->path, piece->rows, s);
}

bool woqi_expand_step(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                      uint32_t stage, uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                      struct woqi_step *s)
{
    const uint32_t index = stage / 2;
    const struct piece piece = find_piece(gemm, index);
    struct woqi_tile_shape expanded;
    if (tile != piece.tile || !expanded_shape(gemm->weights, piece.rows, &expanded))
        return false;
    const struct woqi_bind place = {o->workspace.buffer, o->workspace.offset + index % 2 * place_bytes(gemm),
                                    expanded.size};
    if (stage % 2)
        multiply(gemm, range, o, &piece, &expanded, &place, first, rows, s);
    else
        prepare(gemm, range, &piece, &expanded, &place, rows, s);
    return true;
}
