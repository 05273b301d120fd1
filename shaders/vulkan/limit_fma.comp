#version 450
/*
 * limit_fma.comp: FP32 multiplications with an addition. See limit_… of core/kernels.h.
 *
 * CHAINS sums of an invocation do not wait for each other. Needs nothing but Vulkan 1.1.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define STORAGE16 0
#include "common.glsl"

const uint CHAINS = 16u, STEPS = 16u; /* of a round */

void main()
{
    /* sum = sum / 2 + 1, which stays near 2. */
    const float half_ = uintBitsToFloat(0x3f000000u + args.opaque_zero);
    const float one = uintBitsToFloat(0x3f800000u + args.opaque_zero);
    float sum[CHAINS];
    [[unroll]] for (uint i = 0u; i < CHAINS; i++)
        sum[i] = 0.1 * float(i + gl_LocalInvocationID.x);
    for (uint round = 0u; round < args.k; round++) {
        [[unroll]] for (uint step = 0u; step < STEPS; step++) {
            [[unroll]] for (uint i = 0u; i < CHAINS; i++)
                sum[i] = fma(sum[i], half_, one);
        }
    }
    float all = 0.0;
    [[unroll]] for (uint i = 0u; i < CHAINS; i++)
        all += sum[i];
    if (gl_LocalInvocationID.x == 0u)
        y_words[2u * gl_WorkGroupID.x] = CHAINS * STEPS * gl_WorkGroupSize.x;
    if (all == 123456.0) /* never, which compilers do not know */
        y_words[2u * gl_WorkGroupID.x + 1u] = floatBitsToUint(all);
}
