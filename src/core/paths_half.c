/*
 * paths_half.c: matrix units for X that they cannot take as it is, gathered through perm, or BF16 where they know
 * FP16 alone, or for kernel nv2, which takes no other: stage 0 makes rows of a slice in the workspace that they take,
 * stage 1 multiplies them.
 *
 * In the workspace: rows, whole lines of 128 bytes, for nv2 as many as its work-groups have; behind them, if BF16
 * became FP16, what each row was divided by.
 */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

static bool is_scaled(const struct woq_gemm *gemm)
{
    return gemm->params.x_type == WOQ_BF16 && !woqi_matrix_bf16(gemm);
}

/* From one row to the next. */
static uint64_t half_stride(const struct woq_gemm *gemm)
{
    return woqi_div_up(gemm->weights->k_packed * 2, 128) * 128;
}

/* Of a row, what it was divided by included. */
static uint64_t row_bytes(const struct woq_gemm *gemm)
{
    return half_stride(gemm) + (is_scaled(gemm) ? sizeof(float) : 0);
}

static bool is_nv2(const struct woqi_path *path)
{
    return path->kernels[1] == WOQI_KERNEL_NV2;
}

/* Of X in a work-group. */
static uint64_t block_columns(const struct woqi_path *path)
{
    uint32_t rows, columns;
    woqi_block_tile(path->block, &rows, &columns);
    return columns;
}

/* Rows that there is memory for, of `rows` prepared. */
static uint64_t room(const struct woqi_path *path, uint64_t rows)
{
    return is_nv2(path) ? woqi_div_up(rows, block_columns(path)) * block_columns(path) : rows;
}

/* Can X be prepared for these weights? */
static bool rows_fit(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (!is_scaled(gemm) && (gemm->params.x_type == WOQ_F32 || !(w->perm || is_nv2(path))))
        snprintf(reason, size, "X needs no conversion for matrix units, or has none");
    else if (is_scaled(gemm) && is_nv2(path) && !gemm->single) /* divided BF16 becomes subnormal */
        snprintf(reason, size, "matrix units of some devices take subnormal FP16 as 0");
    else if (is_scaled(gemm) && w->group && path->math == WOQ_MATH_ROUNDED)
        snprintf(reason, size, "block %s rounds weights to FP16, not to BF16", woqi_block_name(path->block));
    else if (is_scaled(gemm) && !w->mild_scales)
        snprintf(reason, size, "scales of 2^64 and more could overflow sums of BF16 X");
    else if (row_bytes(gemm) * room(path, 1) > woqi_prepared_bytes(gemm))
        snprintf(reason, size, "a row of 16-bit activations exceeds what the device can bind");
    else
        return true;
    return false;
}

bool woqi_half_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    return rows_fit(gemm, path, reason, size) && woqi_mma_weights_fit(gemm, path, reason, size);
}

bool woqi_nv2_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason, size_t size)
{
    return woqi_matrix_kind_fits(gemm, reason, size) && woqi_matrix_weights_fit(gemm, reason, size) &&
           rows_fit(gemm, path, reason, size) &&
           woqi_matrix_block_fits(gemm, path, gemm->weights->tiles[0].shape.rows, reason, size);
}

uint32_t woqi_half_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    const uint64_t columns = block_columns(path);
    uint64_t rows = woqi_prepared_bytes(gemm) / row_bytes(gemm);
    if (rows > columns)
        rows = rows / columns * columns;
    return (uint32_t)woqi_min(rows, woqi_mma_slice(gemm, path));
}

uint64_t woqi_half_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    return room(path, woqi_min(m, woqi_half_slice(gemm, path))) * row_bytes(gemm);
}

bool woqi_half_step(const struct woq_gemm *gemm, const struct woqi_range *range, const struct woqi_operands *o,
                    uint32_t stage, uint64_t first, uint32_t rows, const struct woqi_tile *tile,
                    struct woqi_step *s)
{
    const uint32_t stride = (uint32_t)half_stride(gemm);
    struct woqi_args *a = &s->args;
    if (stage == 0 && tile != &gemm->weights->tiles[0])
        return false;
    woqi_step_product(gemm, range->kernels[stage], o, first, rows, tile, s);
    const uint64_t prepared = room(range->path, a->m);
    const struct woqi_bind halves = {o->workspace.buffer, o->workspace.offset, prepared * row_bytes(gemm)};
    a->row_scales_off = is_scaled(gemm) ? (uint32_t)prepared * stride : 0;
    if (stage == 0) {
        woqi_step_bind_x(gemm, o, first, rows, s);
        s->bind[WOQ_BIND_Y] = s->bind[WOQ_BIND_BIAS] = s->bind[WOQ_BIND_RESIDUAL] = halves;
        a->y_off = a->bias_off = a->res_off = 0;
        a->y_stride = stride;
        a->flags = woqi_step_flags(gemm, range, gemm->params.x_type, gemm->weights->perm);
        s->groups[0] = woqi_step_groups(gemm, a->m, 0);
        s->groups[1] = s->groups[2] = 1;
        return true;
    }
    s->bind[WOQ_BIND_X] = halves;
    a->x_stride = stride;
    a->flags = woqi_step_flags(gemm, range, is_scaled(gemm) ? WOQ_F16 : gemm->params.x_type, false);
    woqi_step_blocks(range->path, tile->shape.rows, s);
    return true;
}
