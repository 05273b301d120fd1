/*
 * epilogue.cuh: from the sums of one output to its element of Y; the only place for it in CUDA.
 *
 *     v = sum + bias;  v = act(v), or silu(gate) · up;  v = v + residual;  Y = rn_Y(v)
 *
 * silu(v) = v / (1 + exp(−v)). gelu_tanh(v) = v / (1 + exp(−2u)), u = √(2/π)·(v + 0.044715·v³), as
 * (1 + tanh u) / 2 = 1 / (1 + exp(−2u)): no cancellation for negative v. gelu_erf(v) =
 * v/2 · erfc(−v/√2), for the same reason. Where exp overflows the quotient is 0, as it should be.
 */
#ifndef WOQ_EPILOGUE_CUH
#define WOQ_EPILOGUE_CUH

#include "common.cuh"

/* Rows of gate and up alternate in the weights, and Y has one column for both. */
static __device__ __forceinline__ bool woq_gated(const woq_args &a)
{
    return WOQ_FLAG_ACT(a.flags) == WOQ_ABI_ACT_SILU_MUL;
}

static __device__ __forceinline__ float woq_silu(float v)
{
    return v / __fadd_rn(1.0f, expf(-v));
}

static __device__ __forceinline__ float woq_activate(woq_u32 act, float v)
{
    if (act == WOQ_ABI_ACT_RELU)
        return v < 0.0f ? 0.0f : v;
    if (act == WOQ_ABI_ACT_SILU)
        return woq_silu(v);
    if (act == WOQ_ABI_ACT_GELU_TANH) {
        /* 2·√(2/π) = 1.5957691216… */
        float u = __fmul_rn(1.59576912f, __fadd_rn(v, __fmul_rn(0.044715f, v * v * v)));
        return v / __fadd_rn(1.0f, expf(-u));
    }
    if (act == WOQ_ABI_ACT_GELU_ERF)
        return __fmul_rn(__fmul_rn(0.5f, v), erfcf(__fmul_rn(-0.70710678f, v)));
    return v;
}

/* row, column: of this step. up: the sum of the up row, for SILU_MUL alone. The residual may be Y
 * itself, so it is read before Y is written. */
static __device__ __forceinline__ void woq_finish(woq_u8 *y, const woq_u8 *bias,
                                                  const woq_u8 *residual, const woq_args &a,
                                                  woq_u32 row, woq_u32 column, float sum, float up)
{
    woq_u32 bias_type = WOQ_FLAG_BIAS(a.flags), act = WOQ_FLAG_ACT(a.flags);
    woq_u32 y_type = WOQ_FLAG_Y(a.flags);
    bool gated = woq_gated(a);
    if (bias_type) {
        sum = __fadd_rn(sum, woq_load(bias, bias_type, a.bias_off, column));
        if (gated)
            up = __fadd_rn(up, woq_load(bias, bias_type, a.bias_off + a.bias_up, column));
    }
    float v = gated ? __fmul_rn(woq_silu(sum), up) : woq_activate(act, sum);
    if (WOQ_FLAG_RESIDUAL(a.flags))
        v = __fadd_rn(v, woq_load(residual, y_type, a.res_off + row * a.res_stride, column));
    woq_store(y, y_type, a.y_off + row * a.y_stride, column, v);
}

#endif
