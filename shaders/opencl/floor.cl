/*
 * floor.cl: the product on any device, any format and layout: one work-item a column.
 *
 *   invocation (i, j) computes columns i, i + get_global_size(0), … of rows j,
 *   j + get_num_groups(1), …
 *   acc = fma(x[r][k], w[c][k], acc), k rising, FP32
 *
 * Output column c of the step is output o = n_first + c of the tile. Plain weights: its row is o.
 * Gated: blocks of `granule` gate rows, then as many up rows:
 *   gate row = 2·granule·(o / granule) + o % granule,  up row = gate row + granule
 * X column of k: k, or perm[k]; WOQ_PERM_NONE adds nothing.
 */
WOQ_INLINE float dot_row(woq_in weights, woq_in x, const struct woq_args *a, uint row)
{
    const uint flags = a->flags, type = WOQ_FLAG_X(flags), round = WOQ_FLAG_ROUND(flags);
    const uint size = woq_size(type), step = a->group ? a->group : a->k;
    const bool gather = WOQ_FLAG_PERM(flags);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off);
    woq_in codes = woq_row_codes(weights, a, row);
    float acc = 0.0f;
    for (uint begin = 0, g = 0; begin < a->k; begin += step, g++) {
        const struct woq_group1 group = woq_load_group1(weights, a, g, row);
        const uint count = min(step, a->k - begin);
        for (uint i = 0; i < count; i++) {
            const uint k = begin + i, column = gather ? perm[k] : k;
            if (column == WOQ_PERM_NONE)
                continue;
            const float w = woq_weight1(codes, row, k, &group, round);
            acc = fma(woq_load(x + (ulong)column * size, type), w, acc);
        }
        if (count < step)
            break; /* begin + step may not fit 32 bits */
    }
    return acc;
}

__kernel void woq_floor(WOQ_PARAMETERS)
{
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    for (ulong r = get_group_id(1); r < args.m; r += get_num_groups(1)) {
        woq_in x_row = x + r * args.x_stride;
        for (ulong c = get_global_id(0); c < args.n; c += get_global_size(0)) {
            const uint o = args.n_first + (uint)c;
            const uint row = args.granule ? o / args.granule * args.granule + o : o;
            const float sum = dot_row(weights, x_row, &args, row);
            const float up =
                args.granule ? dot_row(weights, x_row, &args, row + args.granule) : 0.0f;
            woq_finish1(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), (uint)r,
                        (uint)c, sum, up);
        }
    }
}
