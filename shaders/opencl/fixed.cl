/*
 * fixed.cl: FIXED16 on a CPU, layout PANEL16, X from xfixed; any number of rows.
 *
 *   work-group (i, j) of size 1 computes pairs of physical panels (gated: gate and up; of bytes, m = 1: fours) i,
 *   i + get_num_groups(0), … of part j of the rows, of equal parts of at most 64; j strides by the number of groups
 *
 * A row's bits do not depend on the rows beside it. Codes are decoded once for R rows and come from the caches for the
 * others; 64 rows of X stay in the second one.
 */
#define ROWS 64u /* WOQI_FIXED_ROWS of src/core/kernels.h */

/* Sums of a turn's panels from `panel` on; there is none behind last_panel.
 * PoCL before 7 ends the process over inline assembly that is not in a function of its own (dot16.clh). */
static __attribute__((noinline)) void sums_of(uint rows, woq_in weights, woq_in x, const struct woq_args *a, uint panel,
                                              uint last_panel, float16 out[TURN][R])
{
    const uint end = min(panel + 1u, last_panel);
    for (uint v = 0; v < 2u; v += WOQ_PANELS, panel = end, out += WOQ_PANELS) {
#if R > 3
        if (rows == 6u)
            panel_sums(6u, weights, x, a, panel, end, out);
        else if (rows == 5u)
            panel_sums(5u, weights, x, a, panel, end, out);
        else if (rows == 4u)
            panel_sums(4u, weights, x, a, panel, end, out);
        else
#endif
        if (rows == 3u)
            panel_sums(3u, weights, x, a, panel, end, out);
        else if (rows == 2u)
            panel_sums(2u, weights, x, a, panel, end, out);
        else
#if WOQ_BYTES
            row_sums(weights, x, a, panel, last_panel, out);
#else
            panel_sums(1u, weights, x, a, panel, end, out);
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_fixed(WOQ_PARAMETERS)
{
    float16 sums[TURN][R];
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint each = args.granule ? 2u : 1u; /* physical panels for one of Y: gate and up */
    const uint panels = (args.m == 1u ? TURN : 2u) / each; /* of Y in a turn */
    const ulong begin = args.n_first, end = begin + args.n;
    const uint last_panel = (uint)((end - 1u) / 16u + 1u) * each - 1u;
    const ulong part = woq_part_rows(args.m, ROWS);
    for (ulong j = get_group_id(1) * part; j < args.m; j += get_num_groups(1) * part) {
        const uint last_row = (uint)min(j + part, (ulong)args.m);
        for (ulong p = begin / 16u + panels * get_group_id(0); 16u * p < end; p += panels * get_num_groups(0)) {
            for (uint row = (uint)j, rows; row < last_row; row += rows) {
                const uint left = last_row - row, turns = (left + R - 1u) / R;
                rows = (left + turns - 1u) / turns; /* as equal as can be */
                sums_of(rows, weights, x + (ulong)row * args.x_stride, &args, (uint)p * each, last_panel, sums);
                finish_turn(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), p, panels, each, row, rows,
                            sums);
            }
        }
    }
}
