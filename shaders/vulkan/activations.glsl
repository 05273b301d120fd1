/* activations.glsl: FP16 rows of X in vectors of 8 columns (pieces), for the kernels of matrix units. */
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

/* Byte offset of a row of X; rows beyond M repeat the last one, as what they give is not stored. */
uint x_row_at(uint row)
{
    return args.x_off + min(row, args.m - 1u) * args.x_stride;
}

/* Piece `piece` of the row at byte offset `at`. fast: aligned rows of whole pieces; beyond K the last piece is
 * repeated. */
uvec4 x_piece(const bool fast, uint at, uint piece)
{
    if (fast)
        return x_vectors[(at >> 4) + min(piece, (args.k >> 3) - 1u)];
    return x_gather8(at, piece * 8u);
}

/* May x_piece be asked to be fast? */
bool x_aligned()
{
    return ((args.x_off | args.x_stride) & 15u) == 0u && (args.k & 7u) == 0u && WOQ_FLAG_PERM(args.flags) == 0u;
}

#endif
