#version 450
/*
 * limit_matrix.comp: products of cooperative matrices, FP16 to FP32. See limit_… of core/kernels.h.
 *
 * Each subgroup of the work-group has CHAINS sums, which do not wait for each other. Operands are numbers that differ,
 * ±0.5 … ±1: zeros take less power and so give higher clocks.
 *
 * Specialization constants: the device's matrix. Needs what coop.comp needs.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require

layout(constant_id = 1) const uint MATRIX_M = 16u;
layout(constant_id = 2) const uint MATRIX_N = 16u;
layout(constant_id = 3) const uint MATRIX_K = 16u;

#define STORAGE16 1
#include "common.glsl"

#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>
#define MATRIX_C coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

const uint CHAINS = 8u, STEPS = 8u; /* of a round */

shared uvec4 operand[128]; /* of 2 KiB: the largest matrix is 32 × 16 */

void main()
{
    const uint place = gl_LocalInvocationID.x;
    for (uint i = place; i < 128u; i += gl_WorkGroupSize.x)
        operand[i] = (uvec4(i * 4u, i * 4u + 1u, i * 4u + 2u, i * 4u + 3u) * 2654435761u & 0x83ff83ffu) +
                     0x38003800u + args.opaque_zero;
    barrier();
    MATRIX_A a;
    MATRIX_B b;
    MATRIX_C sum[CHAINS];
    coopMatLoad(a, operand, 0u, MATRIX_K / 8u, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, operand, 0u, MATRIX_K / 8u, gl_CooperativeMatrixLayoutColumnMajor);
    [[unroll]] for (uint i = 0u; i < CHAINS; i++)
        sum[i] = MATRIX_C(float(i));
    for (uint round = 0u; round < args.k; round++) {
        [[unroll]] for (uint step = 0u; step < STEPS; step++) {
            [[unroll]] for (uint i = 0u; i < CHAINS; i++)
                sum[i] = coopMatMulAdd(a, b, sum[i]);
        }
    }
    float all = 0.0;
    [[unroll]] for (uint i = 0u; i < CHAINS; i++)
        for (uint j = 0u; j < sum[i].length(); j++)
            all += sum[i][j];
    if (place == 0u)
        y_words[2u * gl_WorkGroupID.x] =
            CHAINS * STEPS * MATRIX_M * MATRIX_N * MATRIX_K * (gl_WorkGroupSize.x / gl_SubgroupSize);
    if (all == 123456.5) /* hardly ever, but who knows */
        y_words[2u * gl_WorkGroupID.x + 1u] = floatBitsToUint(all);
}
