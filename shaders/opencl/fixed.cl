/*
 * fixed.cl: FIXED16 on a CPU, layout PANEL16, X from xfixed; any number of rows.
 *
 *   work-group (i, j) of size 1 computes pairs of physical panels (gated: gate and up; of bytes, m = 1: fours) i,
 *   i + get_num_groups(0), … of part j of the rows, of equal parts of at most 64; j strides by the number of groups
 *   R rows at a time, for each segment of columns (abi.inc), rising: the integers' dot product with all 16 rows of the
 *   panel, less zero · (sum of the segment), exactly; then sum = fma(scale, dot · scale of X, sum)
 *
 * So a row's bits do not depend on the rows beside it. Codes are decoded once for R rows and come from the caches for
 * the others; 64 rows of X stay in the second one.
 *
 *   R         WOQ_DOT_ROWS, rows at a time
 *   WOQ_ZERO  1 … 3, the weights' zeros, WOQ_ABI_ZERO_…
 */
#define R WOQ_DOT_ROWS
#define ROWS 64u /* WOQI_FIXED_ROWS of src/core/kernels.h */
#if WOQ_BYTES
#define TURN WOQ_ROW_PANELS
#else
#define TURN 2u
#endif

/* What belongs to a group, in the order of the dot products. */
struct group {
    float16 scales[WOQ_PANELS], offsets[WOQ_PANELS];
    int16 zeros[WOQ_PANELS]; /* as woq_start takes them */
};

/* i, other: elements of the tables, of the panel and of the one beside it. */
WOQ_INLINE void load_group(woq_in weights, const struct woq_args *a, ulong i, ulong other, struct group *g)
{
    const uint type = WOQ_SCALE, size = woq_size(type);
    woq_in scales = weights + a->scales_off, zeros = weights + a->zeros_off;
#pragma unroll
    for (uint v = 0; v < WOQ_PANELS; v++) {
        g->scales[v] = woq_load_pair(scales + i * size, scales + other * size, v, type);
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
        g->offsets[v] = woq_load_pair(zeros + i * size, zeros + other * size, v, type);
#endif
    }
#if WOQ_ZERO == WOQ_ABI_ZERO_POINT
    const int16 z = convert_int16(vload16(0, zeros + i)), z2 = convert_int16(vload16(0, zeros + other));
    g->zeros[0] = woq_zero_pairs(WOQ_PAIR(int16, z, z2, 0));
#if WOQ_PANELS == 2
    g->zeros[1] = woq_zero_pairs(WOQ_PAIR(int16, z, z2, 1));
#if WOQ_CODE == WOQ_ABI_U4
    g->zeros[1] = g->zeros[0] + 16 * g->zeros[1]; /* of whole bytes */
#endif
#endif
#endif
}

/* Sums of `rows` ≤ R rows of X, a constant, and of the physical panels `panel` and, if WOQ_PANELS is 2, `other`. */
WOQ_INLINE void panel_sums(const uint rows, woq_in weights, woq_in x, const struct woq_args *a, uint panel, uint other,
                           float16 out[2][R])
{
    const uint segment = WOQ_FIXED_SEGMENT(a->group);
    const ulong stride = a->x_stride;
    woq_in codes = weights + a->codes_off + (ulong)panel * a->codes_stride;
    woq_in others = weights + a->codes_off + (ulong)other * a->codes_stride;
    woq_in x_scales = x + WOQ_FIXED_SCALES(a->k), terms = x + WOQ_FIXED_TERMS(a->k);
    float16 sums[WOQ_PANELS][R];
    struct group group;
    ulong table = 0; /* the group's part of the tables */
    uint left = 0;   /* columns of the group still to come */
#pragma unroll
    for (uint v = 0; v < WOQ_PANELS; v++)
#pragma unroll
        for (uint r = 0; r < rows; r++)
            sums[v][r] = (float16)(0.0f);
    for (uint k = 0; k < a->k; k += segment, terms += WOQ_FIXED_TERM) {
        const ulong at = (ulong)k * WOQ_COLUMN;
        int16 dots[WOQ_PANELS][R];
        if (left == 0) {
            load_group(weights, a, table + 16u * panel, table + 16u * other, &group);
            table += a->scale_stride;
            left = a->group;
        }
        left -= min(left, segment);
        woq_dots(rows, codes + at, others + at, x + 2ul * k, terms, stride, min(segment, a->k - k), group.zeros, dots);
#pragma unroll
        for (uint r = 0; r < rows; r++) {
            const float scale = ((__global const float *)(x_scales + r * stride))[k / WOQ_FIXED_BLOCK];
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
            const float sum = (float)*(__global const int *)(terms + r * stride) * scale;
#endif
#pragma unroll
            for (uint v = 0; v < WOQ_PANELS; v++) {
                sums[v][r] = fma(group.scales[v], convert_float16(dots[v][r]) * scale, sums[v][r]);
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
                sums[v][r] = fma(group.offsets[v], (float16)(sum), sums[v][r]);
#endif
            }
        }
    }
#pragma unroll
    for (uint r = 0; r < rows; r++) {
#pragma unroll
        for (uint v = 0; v < WOQ_PANELS; v++)
            out[v][r] = WOQ_PAIR(float16, sums[0][r], sums[WOQ_PANELS - 1u][r], v);
    }
}

#if WOQ_BYTES
/* Sums of one row of X and the WOQ_ROW_PANELS physical panels from `panel` on; there is none behind last_panel. */
WOQ_INLINE void row_sums(woq_in weights, woq_in x, const struct woq_args *a, uint panel, uint last_panel,
                         float16 out[WOQ_ROW_PANELS][R])
{
    const uint segment = WOQ_FIXED_SEGMENT(a->group);
    woq_in terms = x + WOQ_FIXED_TERMS(a->k), codes[WOQ_ROW_PANELS];
    uint panels[WOQ_ROW_PANELS];
    float16 sums[WOQ_ROW_PANELS];
    struct group group[2];
    ulong table = 0; /* the group's part of the tables */
    uint left = 0;   /* columns of the group still to come */
#pragma unroll
    for (uint v = 0; v < WOQ_ROW_PANELS; v++) {
        panels[v] = min(panel + v, last_panel);
        codes[v] = weights + a->codes_off + (ulong)panels[v] * a->codes_stride;
        sums[v] = (float16)(0.0f);
    }
    for (uint k = 0; k < a->k; k += segment, terms += WOQ_FIXED_TERM) {
        int16 dots[WOQ_ROW_PANELS], zeros[WOQ_ROW_PANELS];
        if (left == 0) {
            load_group(weights, a, table + 16u * panels[0], table + 16u * panels[1], &group[0]);
            load_group(weights, a, table + 16u * panels[2], table + 16u * panels[3], &group[1]);
            table += a->scale_stride;
            left = a->group;
        }
        left -= min(left, segment);
#pragma unroll
        for (uint v = 0; v < WOQ_ROW_PANELS; v++)
            zeros[v] = group[v / 2u].zeros[v % 2u];
        woq_row_dots(codes, x + 2ul * k, terms, min(segment, a->k - k), zeros, dots);
        const float scale = ((__global const float *)(x + WOQ_FIXED_SCALES(a->k)))[k / WOQ_FIXED_BLOCK];
#pragma unroll
        for (uint v = 0; v < WOQ_ROW_PANELS; v++) {
            codes[v] += (ulong)segment * WOQ_COLUMN;
            sums[v] = fma(group[v / 2u].scales[v % 2u], convert_float16(dots[v]) * scale, sums[v]);
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
            const float sum = (float)*(__global const int *)terms * scale;
            sums[v] = fma(group[v / 2u].offsets[v % 2u], (float16)(sum), sums[v]);
#endif
        }
    }
#pragma unroll
    for (uint v = 0; v < WOQ_ROW_PANELS; v += 2u) {
        out[v][0] = WOQ_PAIR(float16, sums[v], sums[v + 1u], 0);
        out[v + 1u][0] = WOQ_PAIR(float16, sums[v], sums[v + 1u], 1);
    }
}
#endif

/* Sums of the turn's panels, see below, from `panel` on; there is none behind last_panel.
 * PoCL with LLVM 18 ends the process over a kernel with inline assembly that is not in a function of its own. */
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
    const bool gated = args.granule != 0;
    const uint each = gated ? 2u : 1u; /* physical panels for one of Y: gate and up */
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
                for (uint q = 0; q < panels && 16u * (p + q) < end; q++) {
                    const long c = (long)(16u * (p + q)) - (long)begin;
                    const int first = (int)max(-c, 0l), stop = (int)min((long)args.n - c, 16l);
                    for (uint r = 0; r < rows; r++)
                        woq_finish16(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), row + r, (int)c,
                                     first, stop, sums[q * each][r],
                                     gated ? sums[q * each + 1u][r] : (float16)(0.0f));
                }
            }
        }
    }
}
