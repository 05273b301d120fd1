/*
 * xfixed.cl: X to integers of 16 bits in the workspace (binding Y), gathered through perm, for fixed and fixed_tile.
 *
 *   work-group (i, j) of size 1 converts blocks of 128 columns i, i + get_num_groups(0), … of rows
 *   j, j + get_num_groups(1), …, to rows as abi.inc has them
 */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_xfixed(WOQ_PARAMETERS)
{
    for (ulong r = get_group_id(1); r < args.m; r += get_num_groups(1)) {
        woq_in from = WOQ_WINDOW(x) + args.x_off + r * args.x_stride;
        woq_out to = WOQ_WINDOW(y) + args.y_off + r * args.y_stride;
        for (uint b = get_group_id(0); b < WOQ_FIXED_BLOCKS(args.k); b += get_num_groups(0))
            woq_fix_columns(WOQ_WINDOW(weights), from, &args, b, to);
    }
}
