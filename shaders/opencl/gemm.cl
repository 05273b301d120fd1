/*
 * gemm.cl: many rows on a CPU, layout PANEL16, X as FP32 from xprep.
 *
 *   work-group (i, j) computes panel i (gated: the pair 2i, 2i + 1) of part j of the rows, of
 *   equal parts of at most 64; both stride by the number of groups
 *   for each block of BLOCK columns: the panel's weights become FP32 on the stack, once for all
 *   rows; then R rows at a time: acc[r] = fma(x[r][k], w[k], acc[r]), k rising
 *
 * Sums are in lane order (dequant.clh) until the epilogue.
 *
 *   BLOCK  128  columns at a time: 8 KiB of weights, which stay in the first-level cache
 *   R      6    rows at a time: 12 sums of 8 lanes in AVX2's 16 registers, and fewer rows than a
 *               set of the cache has lines, for X whose stride is a multiple of 4 KiB
 */
#define BLOCK 128u
#define R 6u
#define ROWS 64u /* WOQI_GEMM_ROWS of src/core/kernels.h */

/* `count` columns of n rows of X, n a constant. Their addresses are those of one row and multiples of the stride: a
 * pointer for each would not stay in a register. */
WOQ_INLINE void add_rows(const float16 *w, __global const float *x, ulong stride, ulong count, const uint n,
                         float16 *sums)
{
    float16 acc[R];
#pragma unroll
    for (uint i = 0; i < n; i++)
        acc[i] = sums[i];
    for (ulong k = 0; k < count; k++) { /* not uint: its wrap-around would cost arithmetic */
        const float16 weight = w[k];
#pragma unroll
        for (uint i = 0; i < n; i++)
            acc[i] = fma((float16)(x[i * stride + k]), weight, acc[i]);
    }
#pragma unroll
    for (uint i = 0; i < n; i++)
        sums[i] = acc[i];
}

/* The rows that are left when no R are. */
WOQ_INLINE void add_last_rows(const float16 *w, __global const float *x, ulong stride, ulong count, uint rows,
                              float16 *sums)
{
    if (rows >= 4u) {
        add_rows(w, x, stride, count, 4u, sums);
        x += 4u * stride;
        sums += 4;
        rows -= 4u;
    }
    if (rows >= 2u) {
        add_rows(w, x, stride, count, 2u, sums);
        x += 2u * stride;
        sums += 2;
        rows -= 2u;
    }
    if (rows)
        add_rows(w, x, stride, count, 1u, sums);
}

/* Sums of one physical panel for `rows` rows of X from x on. */
static void panel_sums(woq_in weights, __global const float *x, const struct woq_args *a,
                       uint panel, uint rows, float16 *sums)
{
    float16 w[BLOCK];
    struct woq_group16 group;
    const uint step = a->group ? a->group : a->k;
    const ulong stride = a->x_stride / 4u;
    woq_in codes = weights + a->codes_off + (ulong)panel * a->codes_stride;
    uint g = 0, left = 0; /* left: columns of the group still to come */
    for (uint r = 0; r < ROWS; r++)
        sums[r] = (float16)(0.0f);
    for (uint k = 0; k < a->k;) {
        const uint block = min(BLOCK, a->k - k);
        for (uint at = 0; at < block;) {
            if (left == 0) {
                group = woq_load_group16(weights, a, g++, 16u * panel);
                left = step;
            }
            const uint count = min(left, block - at);
            for (uint i = 0; i < count; i++, codes += WOQ_COLUMN)
                w[at + i] = woq_weight16(codes, &group);
            left -= count;
            at += count;
        }
        uint r = 0;
        for (; r + R <= rows; r += R)
            add_rows(w, x + k + r * stride, stride, block, R, sums + r);
        add_last_rows(w, x + k + r * stride, stride, block, rows - r, sums + r);
        k += block;
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_gemm(WOQ_PARAMETERS)
{
    float16 sums[ROWS], ups[ROWS];
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const bool gated = args.granule != 0;
    const ulong begin = args.n_first, end = begin + args.n;
    for (uint r = 0; r < ROWS; r++)
        ups[r] = (float16)(0.0f);
    const ulong part = woq_part_rows(args.m, ROWS);
    for (ulong j = get_group_id(1) * part; j < args.m; j += get_num_groups(1) * part) {
        const uint rows = (uint)min(part, args.m - j);
        __global const float *rows_x = (__global const float *)(x + j * args.x_stride);
        for (ulong p = begin / 16u + get_group_id(0); 16u * p < end; p += get_num_groups(0)) {
            const long c = (long)(16u * p) - (long)begin;
            const int first = (int)max(-c, 0l), last = (int)min((long)args.n - c, 16l);
            panel_sums(weights, rows_x, &args, (uint)(gated ? 2u * p : p), rows, sums);
            if (gated)
                panel_sums(weights, rows_x, &args, (uint)(2u * p + 1u), rows, ups);
            for (uint r = 0; r < rows; r++)
                woq_finish16(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y),
                             (uint)j + r, (int)c, first, last, woq_to_rows(sums[r]),
                             woq_to_rows(ups[r]));
        }
    }
}
