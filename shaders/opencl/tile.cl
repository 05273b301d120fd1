/*
 * tile.cl: more than a few rows of X on any device, without matrix units: tiles in local memory, layout FRAG16B.
 *
 * Work-group (i, j): rows i·ROWS_W … of the weights for the rows j·ROWS_X … of X. PARTS parts of it divide K in whole
 * units of 32 columns; a work-item of a part sums for THREAD_W rows of the weights and THREAD_X of X: fours, the second
 * four half a tile further.
 *
 * A step is half a unit, and its tiles have 16 columns in FP32: those that the lanes l = 4g + t of a strip have in half
 * h, in this order for weights and X alike:
 *
 *     place 4c + t    column 8t + 4h + c of the unit
 *
 *     part p, buffer b      at (p·BUFFERS + b)·STAGE: weights [place][W_ROW], then X [place][X_ROW]
 *     later sums of part p  at (p·SUM_ROWS + row)·ROWS_W: a row of each work-item's, one after the other
 *
 * Rows of a tile are 8 numbers longer than it: so the 32 lanes that store a column of a strip, or one of 8 rows of X,
 * meet 32 banks, and work-items load 4 rows at once.
 * Codes, scales and X are loaded a step ahead, from clamped addresses and without a branch; with two buffers a step is
 * stored while others multiply the one before. What cannot be loaded so is loaded when stored, element by element: X
 * that is unaligned or gathered through perm, and weights whose groups end within 8 columns.
 *
 * Weights are rn_F32(scale·(q − zero)), or rn_F32(scale·q + offset) by one fma, in EXACT as well: q − zero is exact, so
 * a weight has one rounding where woq/gemm.h allows a product's and a scaling, and K fused sums have no more than
 * γ(K + 1) with it. ROUNDED: rounded once more, to the type of X.
 *
 * Compile-time parameters, which are the kernel's key (kernels.h) and its block (WOQI_TILE_BLOCKS of blocks.h), beside
 * WOQ_CODE and WOQ_X: ROWS_W, ROWS_X, THREAD_W, THREAD_X, PARTS, BUFFERS, and ANY, 1 if groups end within 8 columns.
 *
 * Needs the block's work-items and local memory. Built with WOQ_LAYOUT of FRAG16B.
 */
#ifndef ROWS_W
#define ROWS_W 32u
#define ROWS_X 32u
#define THREAD_W 4u
#define THREAD_X 4u
#define PARTS 1u
#define BUFFERS 1u
#endif
#ifndef ANY
#define ANY 0
#endif

#define X_SIZE (WOQ_X == WOQ_ABI_F32 ? 4u : 2u)

/* Of a part: work-items, and what each brings in a step: of lanes of strips, and of 4 columns of rows of X. */
#define THREADS_N (ROWS_W / THREAD_W)
#define THREADS (THREADS_N * (ROWS_X / THREAD_X))
#define W_LOADS (ROWS_W * 2u / THREADS)
#define X_LOADS (ROWS_X * 4u / THREADS)

#define PLACES 16u
#define W_ROW (ROWS_W + 8u)
#define X_ROW (ROWS_X + 8u)
#define STAGE (PLACES * (W_ROW + X_ROW))
#define SUM_ROWS (ROWS_X / THREAD_X)
#define POOL_STAGES (PARTS * BUFFERS * STAGE)
#define POOL_SUMS (PARTS * SUM_ROWS * ROWS_W)

/* A work-item's place: among the parts, in its part, as a lane, and in the tile of sums. */
struct place {
    uint part, thread, g, t, thread_n, thread_m;
};

/* What a work-item holds of the next step. */
struct held {
    struct woq_unit codes[W_LOADS];
    uint4 x[X_LOADS]; /* 4 columns */
    struct woq_rows raw[W_LOADS];
    /* Of this lane's columns in the step held: their group, and their place in it; columns of a group. */
    uint group, column, span;
};

/* Strip of load i; those beyond the weights repeat the last. */
WOQ_INLINE uint strip_of(const struct woq_args *a, const struct place *p, uint i)
{
    return min((uint)get_group_id(0) * (ROWS_W / 16u) + (p->thread + i * THREADS) / 32u, a->scale_stride / 16u - 1u);
}

/* Row of the tile of X of load i, and where it begins; those beyond M repeat the last. */
WOQ_INLINE uint x_row_of(const struct place *p, uint i)
{
    return (p->thread + i * THREADS) / 32u * 8u + p->g;
}

WOQ_INLINE woq_in x_row(woq_in x, const struct woq_args *a, const struct place *p, uint i)
{
    return x + (ulong)min((uint)get_group_id(1) * ROWS_X + x_row_of(p, i), a->m - 1u) * a->x_stride;
}

/* The first of a lane's 4 columns in a step. */
WOQ_INLINE uint column_of(const struct place *p, uint step)
{
    return step / 2u * 32u + p->t * 8u + step % 2u * 4u;
}

WOQ_INLINE void hold(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p, uint step,
                     struct held *h)
{
#if !ANY
#pragma unroll
    for (uint i = 0; i < W_LOADS; i++) {
        const uint strip = strip_of(a, p, i);
        h->codes[i] = woq_load_unit(weights + a->codes_off + (ulong)strip * a->codes_stride + p->thread % 32u * 16u,
                                    step / 2u);
#if !WOQ_PLAIN
        h->raw[i] = woq_load_rows(weights, a, min(h->group, (a->k - 1u) / h->span), strip, p->g);
#endif
    }
#endif
    if (fast) {
        const uint column = min(column_of(p, step), a->k - 4u);
#pragma unroll
        for (uint i = 0; i < X_LOADS; i++) {
            woq_in at = x_row(x, a, p, i) + (ulong)column * X_SIZE;
#if WOQ_X == WOQ_ABI_F32
            h->x[i] = woq_load_vector(at);
#else
            h->x[i].xy = *(__global const uint2 *)at;
#endif
        }
    }
}

/* Columns first … first+3 of row g + 8·high of load i. */
WOQ_INLINE float4 w_four(woq_in weights, const struct woq_args *a, const struct place *p, const struct held *h, uint i,
                         uint high, uint first)
{
    const uint round = WOQ_FLAG_ROUND(a->flags);
#if ANY
    const uint row = strip_of(a, p, i) * 16u + 8u * high + p->g;
    woq_in codes = woq_row_codes(weights, a, row);
    float4 w = (float4)(0.0f);
    const uint end = first + 4u + a->opaque_zero; /* or it is unrolled, to a multiple of the kernel */
    for (uint column = first; column < end; column++)
        w = (float4)(w.yz, w.w, woq_weight_alone(weights, a, codes, row, column, h->span, round));
    return w;
#else
    struct woq_row row = {1.0f, 0.0f, 0.0f};
#if !WOQ_PLAIN
    row = woq_row_of(h->raw[i], a, p->g, high);
#endif
    return woq_unit_four(&h->codes[i], high, first / 4u % 2u, row, round);
#endif
}

/* The same of load i of X; beyond K, 0. */
WOQ_INLINE float4 x_four(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                         const struct held *h, uint i, uint first)
{
    if (fast) {
#if WOQ_X == WOQ_ABI_F32
        const float4 v = as_float4(h->x[i]);
#else
        const bool bf16 = WOQ_X == WOQ_ABI_BF16;
        const float4 v = (float4)(woq_pair(h->x[i].x, bf16), woq_pair(h->x[i].y, bf16));
#endif
        return first < a->k ? v : (float4)(0.0f);
    }
    woq_in row = x_row(x, a, p, i);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off);
    float4 v = (float4)(0.0f);
    const uint end = first + 4u + a->opaque_zero; /* as above */
    for (uint k = first; k < end; k++) {
        const uint column = k >= a->k ? WOQ_PERM_NONE : WOQ_FLAG_PERM(a->flags) ? perm[k] : k;
        v = (float4)(v.yz, v.w, column != WOQ_PERM_NONE ? woq_load(row + (ulong)column * X_SIZE, WOQ_X) : 0.0f);
    }
    return v;
}

/* Four columns to places t, 4 + t, 8 + t, 12 + t; at: of place t, in rows of `row` numbers. */
WOQ_INLINE void put_four(__local float *at, uint row, float4 v)
{
    at[0] = v.x;
    at[4u * row] = v.y;
    at[8u * row] = v.z;
    at[12u * row] = v.w;
}

/* The step held to a buffer. */
WOQ_INLINE void stage(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                      const struct held *h, uint step, __local float *buffer)
{
    const uint first = column_of(p, step);
#pragma unroll
    for (uint i = 0; i < W_LOADS; i++) {
        __local float *at = buffer + p->t * W_ROW + (p->thread + i * THREADS) / 32u * 16u + p->g;
        put_four(at, W_ROW, w_four(weights, a, p, h, i, 0, first));
        put_four(at + 8, W_ROW, w_four(weights, a, p, h, i, 1, first));
    }
#pragma unroll
    for (uint i = 0; i < X_LOADS; i++)
        put_four(buffer + PLACES * W_ROW + p->t * X_ROW + x_row_of(p, i), X_ROW,
                 x_four(fast, weights, x, a, p, h, i, first));
}

/* total: [row of X][row of the weights] */
WOQ_INLINE void multiply(__local const float *buffer, const struct place *p, float4 *total)
{
    __local const float4 *w_at = (__local const float4 *)buffer + p->thread_n;
    __local const float4 *x_at = (__local const float4 *)(buffer + PLACES * W_ROW) + p->thread_m;
    /* By fours: at once they take registers, one by one time. */
#pragma unroll 1
    for (uint four = 0; four < PLACES / 4u; four++) {
#pragma unroll
        for (uint place = 0; place < 4u; place++) {
            float4 w[THREAD_W / 4u];
#pragma unroll
            for (uint i = 0; i < THREAD_W / 4u; i++)
                w[i] = w_at[i * (ROWS_W / 8u)];
#pragma unroll
            for (uint j = 0; j < THREAD_X / 4u; j++) {
                const float4 v = x_at[j * (ROWS_X / 8u)];
                float4 *sums = total + j * THREAD_W; /* 4 rows of THREAD_W/4 vectors */
#pragma unroll
                for (uint i = 0; i < THREAD_W / 4u; i++) {
                    sums[i] = fma((float4)(v.x), w[i], sums[i]);
                    sums[THREAD_W / 4u + i] = fma((float4)(v.y), w[i], sums[THREAD_W / 4u + i]);
                    sums[THREAD_W / 2u + i] = fma((float4)(v.z), w[i], sums[THREAD_W / 2u + i]);
                    sums[THREAD_W / 4u * 3u + i] = fma((float4)(v.w), w[i], sums[THREAD_W / 4u * 3u + i]);
                }
            }
            w_at += W_ROW / 4u;
            x_at += X_ROW / 4u;
        }
    }
}

/* All steps of this part. Parts may be shorter than the first: they keep the barriers. */
WOQ_INLINE void accumulate(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                           __local float *pool, float4 *total)
{
    const uint units = a->k / 32u + (a->k % 32u ? 1u : 0u), share = (units + PARTS - 1u) / PARTS, steps = 2u * units;
    const uint begin = min(2u * p->part * share, steps), end = min(begin + 2u * share, steps);
    struct held h;
    h.span = a->group && a->group < a->k ? a->group : 0xffffffffu;
    h.group = column_of(p, begin) / h.span;
    h.column = column_of(p, begin) % h.span;
    hold(fast, weights, x, a, p, min(begin, steps - 1u), &h);
    for (uint i = 0; i < 2u * share; i++) {
        const uint step = begin + i;
        __local float *buffer = pool + (p->part * BUFFERS + (BUFFERS > 1u ? i % 2u : 0u)) * STAGE;
#if BUFFERS == 1
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        stage(fast, weights, x, a, p, &h, step, buffer);
        if (i % 2u) { /* the next step is of another unit */
            h.column += 32u % h.span;
            h.group += 32u / h.span + (h.column >= h.span ? 1u : 0u);
            h.column -= h.column >= h.span ? h.span : 0u;
        }
        hold(fast, weights, x, a, p, min(step + 1u, steps - 1u), &h);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (PARTS == 1u || step < end)
            multiply(buffer, p, total);
    }
}

__kernel WOQ_SUBGROUP_SIZE __attribute__((reqd_work_group_size(THREADS * PARTS, 1, 1))) void woq_tile(WOQ_PARAMETERS)
{
    __local float4 pool[(POOL_STAGES > POOL_SUMS ? POOL_STAGES : POOL_SUMS) / 4u];
    __local float *const numbers = (__local float *)pool;
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint id = (uint)get_local_id(0), thread = id % THREADS;
    const struct place p = {id / THREADS, thread,  thread % 32u / 4u,
                            thread % 4u,  thread % THREADS_N, thread / THREADS_N};
    float4 total[THREAD_X * THREAD_W / 4u];
#pragma unroll
    for (uint i = 0; i < THREAD_X * THREAD_W / 4u; i++)
        total[i] = (float4)(0.0f);
    if (((args.x_off | args.x_stride) & 15u) == 0u && args.k % 8u == 0u && !WOQ_FLAG_PERM(args.flags))
        accumulate(true, weights, x, &args, &p, numbers, total);
    else
        accumulate(false, weights, x, &args, &p, numbers, total);

    const uint columns = args.granule ? ROWS_W / 2u : ROWS_W;
#pragma unroll 1
    for (uint m = 0; m < THREAD_X; m++) {
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (uint row = 0; row < THREAD_X; row++)
            if (row == m)
#pragma unroll
                for (uint i = 0; i < THREAD_W / 4u; i++)
                    pool[(p.part * SUM_ROWS + p.thread_m) * (ROWS_W / 4u) + p.thread_n + i * (ROWS_W / 8u)] =
                        total[row * (THREAD_W / 4u) + i];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = id; i < columns * SUM_ROWS; i += THREADS * PARTS) {
            const uint column = i % columns, row = i / columns;
            woq_finish_parts(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y),
                             (uint)get_group_id(1) * ROWS_X + m / 4u * (ROWS_X / 2u) + row * 4u + m % 4u,
                             (uint)get_group_id(0) * columns + column,
                             numbers + row * ROWS_W + (args.granule ? column + column / 16u * 16u : column), PARTS,
                             SUM_ROWS * ROWS_W);
        }
    }
}
