/*
 * reduce.cu: sums of parts of K, which another kernel stored in FP32, to Y. See core/kernels.h.
 *
 * Block: any size in x. Requires sm_75.
 */
#include "epilogue.cuh"

/* Of row j of X and row `row` of the weights, first part first. */
static __device__ __forceinline__ float sum_parts(const woq_u8 *x, const woq_args &a, woq_u32 j, woq_u32 row)
{
    const woq_u8 *at = x + a.x_off + (size_t)j * a.x_stride + (size_t)row * 4u;
    float sum = 0.0f;
    for (woq_u32 part = 0; part < a.k; part++, at += (size_t)a.m * a.x_stride)
        sum = __fadd_rn(sum, *(const float *)at);
    return sum;
}

extern "C" __global__ void woq_reduce(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    (void)weights;
    woq_await_steps();
    woq_admit_next();
    const bool gated = woq_gated(a);
    for (woq_u32 j = blockIdx.y; j < a.m; j += gridDim.y)
        for (woq_u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += gridDim.x * blockDim.x) {
            woq_u32 row = gated ? i + i / a.granule * a.granule : i;
            float up = gated ? sum_parts(x, a, j, row + a.granule) : 0.0f;
            woq_finish(y, bias, residual, a, j, i, sum_parts(x, a, j, row), up);
        }
}
