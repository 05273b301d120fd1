#version 450
/*
 * limit_read.comp: how fast memory is read, 16 bytes an invocation. See limit_… of core/kernels.h.
 *
 * Group i reads the pieces i·(group's size)…, then those a whole dispatch further. Needs nothing but Vulkan 1.1.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define STORAGE16 0
#include "common.glsl"

layout(set = 0, binding = WOQ_BIND_X) readonly buffer Pieces { uvec4 pieces[]; };

const uint AHEAD = 4u; /* loads of an invocation that do not wait for each other */

void main()
{
    const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    const uint whole = args.n / (AHEAD * stride) * AHEAD * stride; /* the rest is left out, by all alike */
    uvec4 sum = uvec4(0u);
    for (uint round = 0u; round < args.k; round++)
        for (uint i = gl_GlobalInvocationID.x; i < whole; i += AHEAD * stride) {
            [[unroll]] for (uint j = 0u; j < AHEAD; j++)
                sum ^= pieces[i + j * stride];
        }
    sum.x ^= sum.y ^ sum.z ^ sum.w;
    if (gl_LocalInvocationID.x == 0u)
        y_words[2u * gl_WorkGroupID.x] = whole / gl_NumWorkGroups.x * 16u;
    if (sum.x == 0x9e3779b9u + args.opaque_zero) /* hardly ever, but who knows */
        y_words[2u * gl_WorkGroupID.x + 1u] = sum.x;
}
