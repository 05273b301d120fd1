/*
 * fixed_row.cl: FIXED16 on a CPU with one row of X, as the caller has it, of at most COLUMNS columns, layout PANEL16.
 *
 *   work-group i of size 1 makes X integers, as xfixed does, on its stack, and computes turns of panels i,
 *   i + get_num_groups(0), …, as fixed does, with the same bits
 *
 * One kernel in place of two: with few columns starting one takes as long as what it computes. So groups are few, too.
 */
#define COLUMNS 2048u /* WOQI_FIXED_ROW_COLUMNS of src/core/kernels.h */

/* On a CPU private memory has addresses as global memory has. */
#define GLOBAL(p) ((woq_out)(ulong)(p))

/* Sums of the TURN panels from `panel` on; there is none behind last_panel.
 * PoCL before 7 ends the process over inline assembly that is not in a function of its own (dot16.clh). */
static __attribute__((noinline)) void row_sums_of(woq_in weights, woq_in x, const struct woq_args *a, uint panel,
                                                  uint last_panel, float16 out[TURN][R])
{
#if WOQ_BYTES
    row_sums(weights, x, a, panel, last_panel, out);
#else
    const uint second = min(panel + 1u, last_panel);
    panel_sums(1u, weights, x, a, panel, panel, out);
    panel_sums(1u, weights, x, a, second, second, out + 1);
#endif
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_fixed_row(WOQ_PARAMETERS)
{
    /* Integers, scales, and terms of segments of 8 columns at least. */
    uchar row[2u * COLUMNS + (4u + 16u * WOQ_FIXED_TERM) * (COLUMNS / WOQ_FIXED_BLOCK)] __attribute__((aligned(64)));
    float16 sums[TURN][R];
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint each = args.granule ? 2u : 1u, panels = TURN / each; /* physical panels for one of Y; of Y in a turn */
    const ulong begin = args.n_first, end = begin + args.n;
    const uint last_panel = (uint)((end - 1u) / 16u + 1u) * each - 1u;
    for (uint b = 0; b < WOQ_FIXED_BLOCKS(args.k); b++)
        woq_fix_columns(weights, x, &args, b, GLOBAL(row));
    for (ulong p = begin / 16u + panels * get_group_id(0); 16u * p < end; p += panels * get_num_groups(0)) {
        row_sums_of(weights, GLOBAL(row), &args, (uint)p * each, last_panel, sums);
        finish_turn(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), p, panels, each, 0, 1u, sums);
    }
}
