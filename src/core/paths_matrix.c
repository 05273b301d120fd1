/* paths_matrix.c: matrix units with weights in the order of their fragments, layout FRAG16B. */
#include <stdio.h>

#include "alloc.h"
#include "step.h"

/* Of a thread for codes, beside those for X, which has no shared memory then. */
#define CODE_REGISTERS 64

/* Kernels find a lane's scale once for the columns it holds, and EXACT sums end with a unit. */
static bool groups_fit(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                       size_t size)
{
    const struct woq_weights *w = gemm->weights;
    uint64_t wanted = path->math == WOQ_MATH_EXACT ? 32 : 8;
    if (!w->group || w->group >= w->k_packed || w->group % wanted == 0)
        return true;
    snprintf(reason, size, "groups of %llu columns; must be a multiple of %llu, or all columns",
             (unsigned long long)w->group, (unsigned long long)wanted);
    return false;
}

bool woqi_matrix_kind_fits(const struct woq_gemm *gemm, char *reason, size_t size)
{
    if (gemm->device->info.kind != WOQ_DEVICE_KIND_CPU || !woqi_gemm_chooses(gemm))
        return true;
    snprintf(reason, size, "a CPU is faster without matrices");
    return false;
}

bool woqi_matrix_weights_fit(const struct woq_gemm *gemm, char *reason, size_t size)
{
    if (!woqi_layout_fits(gemm, WOQI_LAYOUT_FRAG16B, reason, size))
        return false;
    if (gemm->weights->format.code != WOQ_CODE_BF16 || woqi_matrix_bf16(gemm))
        return true;
    snprintf(reason, size, "needs weights that are not BF16");
    return false;
}

bool woqi_matrix_operands_fit(const struct woq_gemm *gemm, char *reason, size_t size)
{
    if (!woqi_matrix_weights_fit(gemm, reason, size))
        return false;
    if (gemm->params.x_type == WOQ_F16)
        return true;
    snprintf(reason, size, "needs FP16 activations");
    return false;
}

bool woqi_matrix_block_fits(const struct woq_gemm *gemm, const struct woqi_path *path, uint64_t rows,
                            char *reason, size_t size)
{
    uint32_t block_rows, block_columns;
    woqi_block_tile(path->block, &block_rows, &block_columns);
    uint64_t groups = woqi_div_up(rows, block_rows);
    uint64_t all = groups * woqi_div_up(path->max_m, block_columns) * (path->splits ? path->splits : 1);
    if (path->fill && !gemm->told && all > path->fill * woqi_gpu_units(gemm)) {
        snprintf(reason, size, "block %s is for fewer rows of weights", woqi_block_name(path->block));
        return false;
    }
    if (groups <= gemm->device->info.max_groups[0])
        return true;
    snprintf(reason, size, "more work-groups than the device launches"); /* would need more steps */
    return false;
}

bool woqi_mma_weights_fit(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                          size_t size)
{
    const struct woq_weights *w = gemm->weights;
    if (!woqi_matrix_weights_fit(gemm, reason, size))
        return false;
    if (w->format.zero == WOQ_ZERO_OFFSET && path->math == WOQ_MATH_EXACT) {
        snprintf(reason, size, "weights with float offsets have no integers to multiply");
        return false;
    }
    const struct woqi_block *block = woqi_block(path->block);
    if (!block->staged && woqi_block_codes(block, woqi_code_bits(w->format.code)) > CODE_REGISTERS) {
        snprintf(reason, size, "block %s is for weights of fewer bits", woqi_block_name(path->block));
        return false;
    }
    return woqi_matrix_block_fits(gemm, path, w->tiles[0].shape.rows, reason, size) &&
           groups_fit(gemm, path, reason, size);
}

bool woqi_mma_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                      size_t size)
{
    return (woqi_matrix_bf16(gemm) || woqi_matrix_operands_fit(gemm, reason, size)) &&
           woqi_mma_weights_fit(gemm, path, reason, size);
}

uint32_t woqi_mma_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    (void)path;
    uint64_t rows = gemm->device->info.max_groups[1] * 8ull; /* the narrowest block has 8 rows of X */
    return (uint32_t)woqi_min(rows, UINT32_MAX);
}

bool woqi_coop_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                       size_t size)
{
    return woqi_matrix_kind_fits(gemm, reason, size) && woqi_matrix_operands_fit(gemm, reason, size) &&
           woqi_matrix_block_fits(gemm, path, gemm->weights->tiles[0].shape.rows, reason, size);
}

uint32_t woqi_coop_slice(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    (void)path;
    uint64_t rows = gemm->device->info.max_groups[1] * 16ull; /* of the smallest block */
    return (uint32_t)woqi_min(rows, UINT32_MAX);
}
