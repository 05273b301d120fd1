/*
 * fixed.cl: FIXED16 on a CPU, layout PANEL16, X from xfixed; any number of rows.
 *
 *   work-group (i, j) of size 1 computes panels i, i + get_num_groups(0), … (gated: pairs) of rows 64·j … 64·j + 63;
 *   j strides by the number of groups, too
 *   R rows at a time, for each segment of columns (abi.inc), rising: the integers' dot product with all 16 rows of the
 *   panel, less zero · (sum of the segment), exactly; then sum = fma(scale, dot · scale of X, sum)
 *
 * So a row's bits do not depend on the rows beside it. Codes are decoded once for R rows and come from the caches for
 * the others; 64 rows of X stay in the second one.
 *
 *   R  4   rows at a time: 16 sums of 16 lanes in VBMI's 32 registers
 */
#define R 4u
#define ROWS 64u /* WOQI_FIXED_ROWS of src/core/kernels.h */

struct zeros16 {
    int16 point;
    float16 offset;
};

/* Of a group's scales and zeros, at element i of their tables. */
WOQ_INLINE float16 load_scales(woq_in weights, const struct woq_args *a, ulong i)
{
    const uint type = WOQ_FLAG_SCALE(a->flags);
    return woq_load16(weights + a->scales_off + i * woq_size(type), type);
}

WOQ_INLINE struct zeros16 load_zeros(woq_in weights, const struct woq_args *a, ulong i)
{
    const uint type = WOQ_FLAG_SCALE(a->flags), kind = WOQ_FLAG_ZERO(a->flags);
    struct zeros16 z = {(int16)((int)WOQ_MIDDLE), (float16)(0.0f)};
    if (kind == WOQ_ABI_ZERO_POINT)
        z.point = convert_int16(vload16(0, weights + a->zeros_off + i));
    else if (kind == WOQ_ABI_ZERO_OFFSET)
        z.offset = woq_load16(weights + a->zeros_off + i * woq_size(type), type);
    return z;
}

/* Sums of one physical panel for `rows` ≤ R rows of X, a constant. */
WOQ_INLINE void panel_sums(const uint rows, woq_in weights, woq_in x, const struct woq_args *a, uint panel,
                           float16 *out)
{
    const uint segment = WOQ_FIXED_SEGMENT(a->group), kind = WOQ_FLAG_ZERO(a->flags);
    const ulong stride = a->x_stride;
    woq_in codes = weights + a->codes_off + (ulong)panel * a->codes_stride;
    float16 scales, sums[R];
    struct zeros16 zeros;
    ulong at = 16ul * panel; /* in the tables */
    uint left = 0;           /* columns of the group still to come */
#pragma unroll
    for (uint r = 0; r < rows; r++)
        sums[r] = (float16)(0.0f);
    for (uint k = 0, s = 0; k < a->k; k += segment, s++) {
        int16 dots[R];
        if (left == 0) {
            scales = load_scales(weights, a, at);
            zeros = load_zeros(weights, a, at);
            at += a->scale_stride;
            left = a->group;
        }
        left -= min(left, segment);
        woq_dots(rows, codes + (ulong)k * WOQ_COLUMN, x + 2ul * k, stride, min(segment, a->k - k), dots);
#pragma unroll
        for (uint r = 0; r < rows; r++) {
            woq_in row = x + r * stride;
            const float scale = ((__global const float *)(row + WOQ_FIXED_SCALES(a->k)))[k / WOQ_FIXED_BLOCK];
            const int sum = ((__global const int *)(row + WOQ_FIXED_SUMS(a->k)))[s];
            if (kind == WOQ_ABI_ZERO_SYMMETRIC)
                dots[r] -= (int)WOQ_MIDDLE * sum;
            else if (kind == WOQ_ABI_ZERO_POINT)
                dots[r] -= zeros.point * sum;
            sums[r] = fma(scales, convert_float16(dots[r]) * scale, sums[r]);
            if (kind == WOQ_ABI_ZERO_OFFSET)
                sums[r] = fma(zeros.offset, (float16)((float)sum * scale), sums[r]);
        }
    }
#pragma unroll
    for (uint r = 0; r < rows; r++)
        out[r] = sums[r];
}

/* PoCL with LLVM 18 ends the process over a kernel with inline assembly that is not in a function of its own. */
static __attribute__((noinline)) void sums_of(uint rows, woq_in weights, woq_in x, const struct woq_args *a, uint panel,
                                              float16 *out)
{
    if (rows == 4u)
        panel_sums(4u, weights, x, a, panel, out);
    else if (rows == 3u)
        panel_sums(3u, weights, x, a, panel, out);
    else if (rows == 2u)
        panel_sums(2u, weights, x, a, panel, out);
    else
        panel_sums(1u, weights, x, a, panel, out);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_fixed(WOQ_PARAMETERS)
{
    float16 sums[2][R]; /* of the panel, or of gate and up */
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint panels = args.granule ? 2u : 1u;
    const ulong begin = args.n_first, end = begin + args.n;
    for (ulong j = get_group_id(1) * ROWS; j < args.m; j += get_num_groups(1) * ROWS) {
        const uint last_row = (uint)min(j + ROWS, (ulong)args.m);
        for (ulong p = begin / 16u + get_group_id(0); 16u * p < end; p += get_num_groups(0)) {
            const long c = (long)(16u * p) - (long)begin;
            const int first = (int)max(-c, 0l), last = (int)min((long)args.n - c, 16l);
            for (uint row = (uint)j; row < last_row; row += R) {
                const uint rows = min(R, last_row - row);
                for (uint part = 0; part < panels; part++)
                    sums_of(rows, weights, x + (ulong)row * args.x_stride, &args, (uint)(panels * p) + part,
                            sums[part]);
                for (uint r = 0; r < rows; r++)
                    woq_finish16(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), row + r, (int)c, first,
                                 last, sums[0][r], panels == 2u ? sums[1][r] : (float16)(0.0f));
            }
        }
    }
}
