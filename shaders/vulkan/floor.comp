#version 450
/*
 * floor.comp: the product that runs anywhere; one invocation computes one element of Y at a time.
 *
 * Invocation (i, j) of groups[0]·local_x by groups[1] takes the columns i, i + groups[0]·local_x, …
 * of the rows j, j + groups[1], …. For an element: acc = fma(x[k], w[k], acc) for k = 0, 1, … in
 * binary32, then the epilogue.
 *
 *     tile row of output column c = n_first + i:
 *         c; gated: c + (c / granule)·granule for gate, granule rows further for up
 *     codes of a tile row:    row_begin(row), weight_at       (FRAG16B, the only layout on this API)
 *     scale of its group g:   scales_off + (g·scale_stride + row)·size
 *     x of column k:          x_off + j·x_stride + k·size
 *         through perm: perm[k] in place of k; x is 0 where that is WOQ_PERM_NONE
 *
 * Needs: Vulkan 1.1 with a compute queue; storageBuffer16BitAccess if STORAGE16 is 1. No FP16, no
 * 8-bit storage, no subgroups, no shared memory.
 */
#extension GL_GOOGLE_include_directive : require
#ifndef STORAGE16
#define STORAGE16 0
#endif
#if STORAGE16
#extension GL_EXT_shader_16bit_storage : require
#endif

#include "common.glsl"
#include "dequant.glsl"
#include "epilogue.glsl"

/* Sum over k of x[k] · w[row][k]; x_at: byte offset of the row of X. */
float dot_row(uint row, uint x_at)
{
    uint x_type = WOQ_FLAG_X(args.flags);
    uint x_size = type_size(x_type);
    bool gather = WOQ_FLAG_PERM(args.flags) != 0u;
    uint row_at = row_begin(row);
    uint step = args.group == 0u ? args.k : min(args.group, args.k);
    float acc = 0.0;
    uint group = 0u;
    for (uint first = 0u; first < args.k; first += step, group++) {
        Group g = group_begin(group, row);
        uint end = first + min(step, args.k - first);
        for (uint column = first; column < end; column++) {
            uint x_column = gather ? w_words[(args.perm_off >> 2) + column] : column;
            if (x_column == WOQ_PERM_NONE)
                continue;
            acc = fma(x_load(x_at + x_column * x_size, x_type), weight_at(g, row, row_at, column), acc);
        }
    }
    return acc;
}

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    for (uint j = gl_WorkGroupID.y; j < args.m; j += gl_NumWorkGroups.y) {
        uint x_at = args.x_off + j * args.x_stride;
        for (uint i = gl_GlobalInvocationID.x; i < args.n; i += stride) {
            uint row = args.n_first + i;
            if (gated)
                row += row / args.granule * args.granule;
            float sum = dot_row(row, x_at);
            float up = gated ? dot_row(row + args.granule, x_at) : 0.0;
            epilogue(j, i, sum, up);
        }
    }
}
