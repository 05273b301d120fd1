#version 450
/*
 * reduce.comp: sums of parts of K, which another kernel stored in FP32, to Y. See kernels.h.
 *
 * Macro STORAGE16 as in common.glsl. Needs nothing but Vulkan 1.1.
 */
#extension GL_GOOGLE_include_directive : require
#ifndef STORAGE16
#define STORAGE16 0
#endif
#if STORAGE16
#extension GL_EXT_shader_16bit_storage : require
#endif

#include "common.glsl"
#include "epilogue.glsl"

/* Of row j of X and row `row` of the weights, first part first. */
float sum_parts(uint j, uint row)
{
    uint at = (args.x_off + j * args.x_stride) / 4u + row;
    float sum = 0.0;
    for (uint part = 0u; part < args.k; part++)
        sum += uintBitsToFloat(x_words[at + part * args.m * (args.x_stride / 4u)]);
    return sum;
}

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    for (uint j = gl_WorkGroupID.y; j < args.m; j += gl_NumWorkGroups.y)
        for (uint i = gl_GlobalInvocationID.x; i < args.n; i += stride) {
            uint row = gated ? i + i / args.granule * args.granule : i;
            epilogue(j, i, sum_parts(j, row), gated ? sum_parts(j, row + args.granule) : 0.0);
        }
}
