/*
 * gemv.cl: few rows (m ≤ 8) on a CPU, layout PANEL16, one work-item a panel of 16 columns.
 *
 *   work-group i computes panels i, i + get_num_groups(0), …; gated: pairs (gate panel, up panel)
 *   X of BLOCK columns becomes FP32 on the stack, then for each column k: 16 weights at once, one
 *   fma for each of R rows. A row has U partial sums, that of column k being (k − begin) % U within
 *   a run of columns of one group and block (the last count % U columns go to sum 0). Little
 *   unrolling: weights take most instructions, so few chains hide the latency of fma, and more
 *   would not fit 16 registers of 8 lanes.
 *
 *   m       1   2   3, 4   5 … 8
 *   R × U  1×2 2×1  4×1    4×1 twice       rows beyond m count with any x and are not stored
 *   With args.alike a row that is alone has one sum, too, in the order of the others.
 *
 * Output panel p holds the tile's outputs 16p …: physical panel p, or 2p (gate) and 2p + 1 (up).
 */
#define BLOCK 256u
#define SUMS 4u

/* Columns k … k + count of `rows` rows to stage[r·BLOCK + …]. */
WOQ_INLINE void stage_x(float *stage, woq_in weights, woq_in x, const struct woq_args *a, uint rows,
                        uint k, uint count)
{
    const uint type = WOQ_FLAG_X(a->flags), size = woq_size(type);
    const bool gather = WOQ_FLAG_PERM(a->flags);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off) + k;
    for (uint r = 0; r < rows; r++, stage += BLOCK) {
        woq_in row = x + (ulong)r * a->x_stride;
        uint i = 0;
        if (gather) {
            for (; i < count; i++) {
                const uint column = perm[i];
                stage[i] = column == WOQ_PERM_NONE ? 0.0f
                                                   : woq_load(row + (ulong)column * size, type);
            }
            continue;
        }
        row += (ulong)k * size;
        for (; i + 16u <= count; i += 16u)
            vstore16(woq_load16(row + (ulong)i * size, type), 0, stage + i);
        for (; i < count; i++)
            stage[i] = woq_load(row + (ulong)i * size, type);
    }
}

/* `count` columns of one group into the partial sums acc[r·U + u]. R and U are constants. */
WOQ_INLINE void add_columns(const uint R, const uint U, const float *xs, woq_in codes,
                            const struct woq_group16 *group, uint count, float16 *acc)
{
    float16 part[SUMS];
    ulong i = 0; /* not uint: its wrap-around would cost address arithmetic */
#pragma unroll
    for (uint s = 0; s < R * U; s++)
        part[s] = acc[s];
    for (; i + U <= count; i += U) {
        const float *column = xs + i;
#pragma unroll
        for (uint u = 0; u < U; u++, codes += WOQ_COLUMN) {
            const float16 w = woq_weight16(codes, group);
#pragma unroll
            for (uint r = 0; r < R; r++)
                part[r * U + u] = fma((float16)(column[r * BLOCK + u]), w, part[r * U + u]);
        }
    }
    for (; i < count; i++, codes += WOQ_COLUMN) {
        const float *column = xs + i;
        const float16 w = woq_weight16(codes, group);
#pragma unroll
        for (uint r = 0; r < R; r++)
            part[r * U] = fma((float16)(column[r * BLOCK]), w, part[r * U]);
    }
#pragma unroll
    for (uint s = 0; s < R * U; s++)
        acc[s] = part[s];
}

/* Sums of one physical panel for rows 0 … rows of X from x on, rows ≤ 4, in row order. */
static void panel_sums(woq_in weights, woq_in x, const struct woq_args *a, uint panel, uint rows,
                       float *stage, float16 *sums)
{
    float16 acc[SUMS];
    struct woq_group16 group;
    const uint step = a->group ? a->group : a->k;
    woq_in codes = weights + a->codes_off + (ulong)panel * a->codes_stride;
    uint g = 0, left = 0; /* left: columns of the group still to come */
    for (uint s = 0; s < SUMS; s++)
        acc[s] = (float16)(0.0f);
    for (uint k = 0; k < a->k;) {
        const uint block = min(BLOCK, a->k - k);
        stage_x(stage, weights, x, a, rows, k, block);
        for (uint at = 0; at < block;) {
            if (left == 0) {
                group = woq_load_group16(weights, a, g++, 16u * panel);
                left = step;
            }
            const uint count = min(left, block - at);
            if (rows == 1 && a->alike)
                add_columns(1, 1, stage + at, codes, &group, count, acc);
            else if (rows == 1)
                add_columns(1, 2, stage + at, codes, &group, count, acc);
            else if (rows == 2)
                add_columns(2, 1, stage + at, codes, &group, count, acc);
            else
                add_columns(4, 1, stage + at, codes, &group, count, acc);
            codes += (ulong)count * WOQ_COLUMN;
            left -= count;
            at += count;
        }
        k += block;
    }
    if (rows == 1 && !a->alike)
        acc[0] += acc[1];
    for (uint r = 0; r < rows; r++)
        sums[r] = woq_to_rows(acc[r]);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_gemv(WOQ_PARAMETERS)
{
    float stage[4u * BLOCK];
    float16 sums[2][4]; /* of the panel, or of gate and up */
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint panels = args.granule ? 2u : 1u;
    const ulong begin = args.n_first, end = begin + args.n;
    for (uint i = 0; i < 4u * BLOCK; i++)
        stage[i] = 0.0f;
    for (ulong p = begin / 16u + get_group_id(0); 16u * p < end; p += get_num_groups(0)) {
        const long c = (long)(16u * p) - (long)begin;
        const int first = (int)max(-c, 0l), last = (int)min((long)args.n - c, 16l);
        for (uint r = 0; r < args.m; r += 4u) {
            const uint rows = min(4u, args.m - r);
            for (uint part = 0; part < panels; part++)
                panel_sums(weights, x + (ulong)r * args.x_stride, &args, (uint)(panels * p) + part,
                           rows, stage, sums[part]);
            for (uint i = 0; i < rows; i++)
                woq_finish16(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), r + i,
                             (int)c, first, last, sums[0][i],
                             panels == 2u ? sums[1][i] : (float16)(0.0f));
        }
    }
}
