/*
 * floor.cu: the product for any format and any shape, one thread per output.
 *
 * Algorithm: thread i of the grid's x computes the columns i, i + threads in x, … of the rows
 * blockIdx.y, blockIdx.y + gridDim.y, …: it walks along the row of W (gated: those of gate and up
 * together) and sums x·w by FMA in FP32, k rising. Scale and zero are read once a group.
 *
 * Indices: column i of the step is output c = n_first + i of the tile, whose row is c there. Gated,
 * granule rows of gate and of up alternate: gate = (c / granule)·2·granule + c mod granule,
 * up = gate + granule. Physical column k multiplies X's column k, or perm[k] with PERM. Padding,
 * WOQ_PERM_NONE, is left out: its code 0 times a large scale may be infinite, and 0·∞ is NaN.
 * Byte offsets wrap at 2^32 on purpose: abi.inc keeps every element's own offset below that.
 *
 * Block: any size in x. Layout FRAG16B.
 *
 * Requires sm_75 for nothing but the toolkit's own floor; no shared memory, no binary16 arithmetic.
 */
#include "dequant.cuh"
#include "epilogue.cuh"

/* The column of X that physical column k multiplies, or WOQ_PERM_NONE. */
static __device__ __forceinline__ woq_u32 column_of_x(const woq_u8 *weights, const woq_args &a,
                                                      woq_u32 k)
{
    return WOQ_FLAG_PERM(a.flags) ? *(const woq_u32 *)(weights + (a.perm_off + k * 4u)) : k;
}

static __device__ __forceinline__ void output(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y,
                                              const woq_u8 *bias, const woq_u8 *residual,
                                              const woq_args &a, woq_u32 row, woq_u32 column)
{
    woq_u32 c = a.n_first + column;
    woq_u32 first = a.granule ? c / a.granule * 2u * a.granule + c % a.granule : c;
    woq_u32 second = first + a.granule;
    woq_u32 first_at = woq_row_begin(a, first), second_at = woq_row_begin(a, second);
    woq_u32 group = a.group ? a.group : a.k;
    float sum = 0.0f, up = 0.0f;
    for (woq_u32 g = 0, begin = 0; begin < a.k; g++) {
        woq_u32 count = a.k - begin < group ? a.k - begin : group;
        woq_group first_group = woq_group_of(weights, a, first, g);
        woq_group second_group = a.granule ? woq_group_of(weights, a, second, g) : first_group;
        for (woq_u32 k = begin; k < begin + count; k++) {
            woq_u32 x_column = column_of_x(weights, a, k);
            if (x_column == WOQ_PERM_NONE)
                continue;
            float value =
                woq_load(x, WOQ_FLAG_X(a.flags), a.x_off + row * a.x_stride, x_column);
            sum = __fmaf_rn(value, woq_weight(weights, a, first, first_at, k, first_group), sum);
            if (a.granule)
                up = __fmaf_rn(value, woq_weight(weights, a, second, second_at, k, second_group), up);
        }
        begin += count;
    }
    woq_finish(y, bias, residual, a, row, column, sum, up);
}

extern "C" __global__ void woq_floor(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    woq_u32 first = blockIdx.x * blockDim.x + threadIdx.x;
    woq_await_steps();
    woq_admit_next();
    for (woq_u32 row = blockIdx.y; row < a.m; row += gridDim.y)
        for (woq_u32 column = first; column < a.n; column += gridDim.x * blockDim.x)
            output(weights, x, y, bias, residual, a, row, column);
}
