/*
 * activations.glsl: FP16 rows of X in vectors of 8 columns, for the kernels of matrix units.
 *
 * Of the including kernel: constant ROWS_X, the rows of X of a work-group (i, j), which begin at j·ROWS_X.
 */
#ifndef WOQ_ACTIVATIONS_GLSL
#define WOQ_ACTIVATIONS_GLSL

layout(set = 0, binding = WOQ_BIND_X) readonly buffer XVectors { uvec4 x_vectors[]; };

/* Columns column … column+7 of the row of X at byte offset `at`, whatever its alignment and order; those
 * beyond K are 0. */
uvec4 x_gather8(uint at, uint column)
{
    bool permuted = WOQ_FLAG_PERM(args.flags) != 0u;
    uvec4 v = uvec4(0u);
    for (uint i = 0u; i < 8u && column + i < args.k; i++) {
        uint c = permuted ? w_words[(args.perm_off >> 2) + column + i] : column + i;
        uint half_at = at + 2u * c;
        uint bits = c == WOQ_PERM_NONE ? 0u : (x_words[half_at >> 2] >> ((half_at & 2u) << 3)) & 0xffffu;
        v |= half_of_vector(i, bits);
    }
    return v;
}

/* Vector `piece` (of 8 columns) of a block of 64 in row `row` of the work-group's part of X; rows beyond M
 * repeat the last one, as what they give is not stored. fast: aligned rows of whole vectors; beyond K the
 * last vector is repeated. */
uvec4 x_piece(const bool fast, uint row, uint block, uint piece)
{
    uint at = args.x_off + min(gl_WorkGroupID.y * ROWS_X + row, args.m - 1u) * args.x_stride;
    uint column = block * 64u + piece * 8u;
    if (fast)
        return x_vectors[(at >> 4) + min(column, args.k - 8u) / 8u];
    return x_gather8(at, column);
}

/* May x_piece be asked to be fast? */
bool x_aligned()
{
    return ((args.x_off | args.x_stride) & 15u) == 0u && (args.k & 7u) == 0u && WOQ_FLAG_PERM(args.flags) == 0u;
}

#endif
