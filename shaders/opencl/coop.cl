/*
 * coop.cl: more than a few rows of X on Intel's matrix units: Y = X · Wᵀ from tiles in local memory, layout FRAG16B.
 *
 * Work-group (i, j): rows i·ROWS_W … of the weights for the rows j·ROWS_X … of X. Its sub-groups are SUBGROUPS_K parts
 * of K (whole units of 32 columns) of SUBGROUPS_N × SUBGROUPS_M, which divide the tile of ROWS_W × ROWS_X sums; a
 * sub-group holds TILES_N × TILES_M matrices of WOQ_SUBGROUP rows of the weights by 8 rows of X (matrix.clh):
 *
 *     a    rows of X, 16 columns
 *     b    columns are rows of the weights
 *     acc  sums [row of X][row of the weights]
 *
 * A part's work-items bring a unit of its tile to local memory, weights as rn_F16(scale·(q − zero) + offset), while the
 * other buffer is multiplied: one barrier for each unit. Codes, scales and X are loaded a unit ahead, from clamped
 * addresses and without a branch; element by element when they are stored if X is unaligned or gathered through perm,
 * or groups end within 8 columns. Local memory, in vectors of 16 bytes:
 *
 *     part p, buffer b, row r      ((2p + b)·(ROWS_W + ROWS_X) + r)·ROW + piece of 8 columns; X after W
 *     later sums of part p         FP32, ((p·SUBGROUPS_M + m)·8 + row)·ROWS_W + row of W, for the sub-groups of place m
 *                                  a row of their matrices at a time
 *
 * Parts are added in their order by the work-item that stores the element.
 *
 * Compile-time parameters, which are the kernel's key and its block (WOQI_COOP_BLOCKS of blocks.h), beside WOQ_CODE:
 * ROWS_W, ROWS_X, SUBGROUPS_N, SUBGROUPS_M, SUBGROUPS_K, and ANY, 1 if groups end within 8 columns; the device's
 * WOQ_SUBGROUP and WOQ_SOFTWARE_MATRIX; and what follows from these: TILES_N, TILES_M, W_LOADS and X_LOADS, each 1, 2,
 * 4 or 8.
 *
 * Needs cl_intel_subgroup_matrix_multiply_accumulate, or WOQ_SOFTWARE_MATRIX 1 and 32 bytes of local memory more for
 * each work-item. Built with WOQ_LAYOUT of FRAG16B; X is FP16, and so are plain weights; math ROUNDED.
 */
#ifndef ROWS_W
#define ROWS_W 32u
#define ROWS_X 32u
#define SUBGROUPS_N 2u
#define SUBGROUPS_M 2u
#define SUBGROUPS_K 1u
#define TILES_N 2
#define TILES_M 2
#define W_LOADS 2
#define X_LOADS 4
#endif
#ifndef ANY
#define ANY 0
#endif

/* Of a part: work-items. They bring ROWS_W·2 lanes of strips, W_LOADS each, and ROWS_X·4 pieces of 8 columns of X. */
#define THREADS (SUBGROUPS_N * SUBGROUPS_M * WOQ_SUBGROUP)

#define ROW 5u /* 32 columns and 16 bytes, which spread 8 rows over all banks */
#define STAGE ((ROWS_W + ROWS_X) * ROW)
#define POOL_STAGES (2u * SUBGROUPS_K * STAGE)
#define SUM_ROWS (SUBGROUPS_M * 8u)
#define POOL_SUMS (SUBGROUPS_K * SUM_ROWS * ROWS_W / 4u)
#define POOL (POOL_STAGES > POOL_SUMS ? POOL_STAGES : POOL_SUMS)

/* A work-item's place: for loading in its part, with the piece of a unit's columns; its sub-group's for multiplying,
 * and its lane. */
struct place {
    uint part, thread, t, n, m, k, lane;
};

/* What a work-item holds of the next unit. */
struct held {
    struct woq_unit codes[W_LOADS];
    struct woq_rows rows[W_LOADS];
    uint4 x[X_LOADS];
    /* Of this lane's columns in the unit held: their group, and their place in it; columns of a group. */
    uint group, column, span;
};

/* Of load i: the lane, its strip, and the strip within the tile; strips beyond the weights repeat the last. */
WOQ_INLINE uint lane_of(const struct place *p, uint i)
{
    return (p->thread + i * THREADS) % 32u;
}

WOQ_INLINE uint strip_in_tile(const struct place *p, uint i)
{
    return (p->thread + i * THREADS) / 32u;
}

WOQ_INLINE uint strip_of(const struct woq_args *a, const struct place *p, uint i)
{
    return min((uint)get_group_id(0) * (ROWS_W / 16u) + strip_in_tile(p, i), a->scale_stride / 16u - 1u);
}

/* Where the row of X of load i begins; rows beyond M repeat the last. */
WOQ_INLINE woq_in x_row(woq_in x, const struct woq_args *a, const struct place *p, uint i)
{
    return x + (ulong)min((uint)get_group_id(1) * ROWS_X + (p->thread + i * THREADS) / 4u, a->m - 1u) * a->x_stride;
}

WOQ_INLINE void hold(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p, uint unit,
                     struct held *h)
{
#if !ANY
#define LOAD(i)                                                                                                        \
    h->codes[i] = woq_load_unit(                                                                                       \
        weights + a->codes_off + (ulong)strip_of(a, p, i) * a->codes_stride + 16u * lane_of(p, i), unit);
    WOQ_REPEAT(W_LOADS, LOAD)
#undef LOAD
#if !WOQ_PLAIN
    const uint group = min(h->group, (a->k - 1u) / h->span);
#define LOAD(i) h->rows[i] = woq_load_rows(weights, a, group, strip_of(a, p, i), lane_of(p, i) / 4u);
    WOQ_REPEAT(W_LOADS, LOAD)
#undef LOAD
#endif
#endif
    if (fast) {
        const uint at = 2u * min(unit * 32u + p->t * 8u, a->k - 8u);
#define LOAD(i) h->x[i] = woq_load_vector(x_row(x, a, p, i) + at);
        WOQ_REPEAT(X_LOADS, LOAD)
#undef LOAD
    }
}

/* Row g + 8·high of load i in a unit, as FP16. */
WOQ_INLINE uint4 w_piece(woq_in weights, const struct woq_args *a, const struct place *p, const struct held *h, uint i,
                         uint high, uint unit)
{
#if ANY
    const uint row = strip_of(a, p, i) * 16u + 8u * high + lane_of(p, i) / 4u, first = unit * 32u + p->t * 8u;
    woq_in codes = woq_row_codes(weights, a, row);
    float8 w = (float8)(0.0f);
    const uint end = first + 8u + a->opaque_zero; /* or it is unrolled, to a multiple of the kernel */
    for (uint column = first; column < end; column++)
        w = (float8)(w.s1234, w.s56, w.s7, woq_weight_alone(weights, a, codes, row, column, h->span, 0));
    return woq_to_halves(w);
#elif WOQ_PLAIN
    return h->codes[i].v[high];
#else
    return woq_to_halves(woq_unit_row(&h->codes[i], high, woq_row_of(h->rows[i], a, lane_of(p, i) / 4u, high), 0));
#endif
}

/* A piece of load i of X; beyond K, 0. */
WOQ_INLINE uint4 x_piece(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                         const struct held *h, uint i, uint unit)
{
    const uint first = unit * 32u + p->t * 8u;
    if (fast)
        return first < a->k ? h->x[i] : (uint4)(0u);
    __global const ushort *row = (__global const ushort *)x_row(x, a, p, i);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off);
    ushort8 v = (ushort8)(0);
    const uint end = first + 8u + a->opaque_zero; /* as above */
    for (uint k = first; k < end; k++) {
        const uint column = k >= a->k ? WOQ_PERM_NONE : WOQ_FLAG_PERM(a->flags) ? perm[k] : k;
        v = (ushort8)(v.s1234, v.s56, v.s7, column != WOQ_PERM_NONE ? row[column] : (ushort)0);
    }
    return as_uint4(v);
}

/* The unit held to a buffer. */
WOQ_INLINE void stage(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                      const struct held *h, uint unit, __local uint4 *buffer)
{
#define STORE(i)                                                                                                       \
    if (W_LOADS * THREADS <= 2u * ROWS_W || strip_in_tile(p, i) < ROWS_W / 16u) {                                      \
        __local uint4 *at = buffer + (strip_in_tile(p, i) * 16u + lane_of(p, i) / 4u) * ROW + p->t;                    \
        at[0] = w_piece(weights, a, p, h, i, 0, unit);                                                                 \
        at[8u * ROW] = w_piece(weights, a, p, h, i, 1, unit);                                                          \
    }
    WOQ_REPEAT(W_LOADS, STORE)
#undef STORE
#define STORE(i)                                                                                                       \
    if (X_LOADS * THREADS <= 4u * ROWS_X || p->thread + i * THREADS < 4u * ROWS_X)                                     \
        buffer[(ROWS_W + (p->thread + i * THREADS) / 4u) * ROW + p->t] = x_piece(fast, weights, x, a, p, h, i, unit);
    WOQ_REPEAT(X_LOADS, STORE)
#undef STORE
}

/* This lane's part of a for 8 rows of X from `at` on, 16 columns. */
WOQ_INLINE woq_matrix_a load_a(__local const uint4 *at, uint lane)
{
    __local const woq_part_a *parts = (__local const woq_part_a *)at + lane;
    const uint row = ROW * 16u / sizeof(woq_part_a);
    return (woq_matrix_a)(parts[0], parts[row], parts[2u * row], parts[3u * row], parts[4u * row], parts[5u * row],
                          parts[6u * row], parts[7u * row]);
}

/* Products of one matrix of X by all of the weights'. */
WOQ_INLINE void multiply_row(woq_matrix_a a, const int8 *b, float8 *total, __local uint *scratch, bool live)
{
#if WOQ_SOFTWARE_MATRIX
#define MULTIPLY(n)                                                                                                    \
    {                                                                                                                  \
        const float8 sums = woq_multiply(a, b[n], total[n], scratch);                                                  \
        total[n] = live ? sums : total[n];                                                                             \
    }
#else
#define MULTIPLY(n) total[n] = woq_multiply(a, b[n], total[n], scratch);
#endif
    WOQ_REPEAT(TILES_N, MULTIPLY)
#undef MULTIPLY
}

/* 16 columns, half 0 or 1 of a unit, of this sub-group's rows. live: the sums are wanted. */
WOQ_INLINE void multiply(__local const uint4 *buffer, const struct place *p, uint half_, float8 *total,
                         __local uint *scratch, bool live)
{
    __local const uint4 *w = buffer + (p->n * TILES_N * WOQ_SUBGROUP + p->lane) * ROW + 2u * half_;
    __local const uint4 *x = buffer + (ROWS_W + p->m * TILES_M * 8u) * ROW + 2u * half_;
    int8 b[TILES_N];
#define LOAD(n) b[n] = as_int8((uint8)(w[n * WOQ_SUBGROUP * ROW], w[n * WOQ_SUBGROUP * ROW + 1u]));
    WOQ_REPEAT(TILES_N, LOAD)
#undef LOAD
#define MULTIPLY_ROW(m) multiply_row(load_a(x + m * 8u * ROW, p->lane), b, total + m * TILES_N, scratch, live);
    WOQ_REPEAT(TILES_M, MULTIPLY_ROW)
#undef MULTIPLY_ROW
}

WOQ_INLINE void store_matrix(__local float *at, float8 v)
{
    at[0] = v.s0;
    at[ROWS_W] = v.s1;
    at[2u * ROWS_W] = v.s2;
    at[3u * ROWS_W] = v.s3;
    at[4u * ROWS_W] = v.s4;
    at[5u * ROWS_W] = v.s5;
    at[6u * ROWS_W] = v.s6;
    at[7u * ROWS_W] = v.s7;
}

WOQ_INLINE void clear_row(float8 *total)
{
#define CLEAR(n) total[n] = (float8)(0.0f);
    WOQ_REPEAT(TILES_N, CLEAR)
#undef CLEAR
}

/* A row of the sub-group's matrices to local memory. */
WOQ_INLINE void store_row(__local float *at, const float8 *total)
{
#define STORE(n) store_matrix(at + n * WOQ_SUBGROUP, total[n]);
    WOQ_REPEAT(TILES_N, STORE)
#undef STORE
}

/* All units of this part. Parts may be shorter than the first: they keep the barriers. */
WOQ_INLINE void accumulate(bool fast, woq_in weights, woq_in x, const struct woq_args *a, const struct place *p,
                           __local uint4 *pool, float8 *total, __local uint *scratch)
{
    const uint units = a->k / 32u + (a->k % 32u ? 1u : 0u), share = (units + SUBGROUPS_K - 1u) / SUBGROUPS_K;
    const uint begin = min(p->part * share, units), end = min(begin + share, units);
    const uint count = min(share, units - min(p->k * share, units)); /* of the part that this sub-group multiplies */
    struct held h;
    h.span = a->group && a->group < a->k ? a->group : 0xffffffffu;
    h.group = (begin * 32u + p->t * 8u) / h.span;
    h.column = (begin * 32u + p->t * 8u) % h.span;
    hold(fast, weights, x, a, p, min(begin, units - 1u), &h);
    for (uint i = 0; i < share; i++) {
        const uint unit = begin + i;
        if (SUBGROUPS_K == 1u || unit < end)
            stage(fast, weights, x, a, p, &h, unit, pool + (2u * p->part + i % 2u) * STAGE);
        h.column += 32u % h.span;
        h.group += 32u / h.span + (h.column >= h.span ? 1u : 0u);
        h.column -= h.column >= h.span ? h.span : 0u;
        hold(fast, weights, x, a, p, min(unit + 1u, units - 1u), &h);
        barrier(CLK_LOCAL_MEM_FENCE);
        const bool live = SUBGROUPS_K == 1u || i < count;
        __local const uint4 *buffer = pool + (2u * p->k + i % 2u) * STAGE;
        if (live || WOQ_SOFTWARE_MATRIX) {
            for (uint half_ = 0; half_ < 2u; half_++)
                multiply(buffer, p, half_, total, scratch, live);
        }
    }
}

__kernel WOQ_SUBGROUP_SIZE __attribute__((reqd_work_group_size(THREADS * SUBGROUPS_K, 1, 1))) void
woq_coop(WOQ_PARAMETERS)
{
    __local uint4 pool[POOL];
#if WOQ_SOFTWARE_MATRIX
    __local uint exchange[THREADS * SUBGROUPS_K * 8u];
    __local uint *const scratch = exchange + WOQ_SUBGROUP_ID * (WOQ_SUBGROUP * 8u);
#else
    __local uint *const scratch = 0;
#endif
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x) + args.x_off;
    const uint id = (uint)get_local_id(0), subgroup = WOQ_SUBGROUP_ID;
    const struct place p = {id / THREADS,
                            id % THREADS,
                            id % 4u,
                            subgroup % SUBGROUPS_N,
                            subgroup / SUBGROUPS_N % SUBGROUPS_M,
                            subgroup / (SUBGROUPS_N * SUBGROUPS_M),
                            WOQ_LANE};
    float8 total[TILES_M * TILES_N];
#define CLEAR(m) clear_row(total + m * TILES_N);
    WOQ_REPEAT(TILES_M, CLEAR)
#undef CLEAR
    const bool fast = ((args.x_off | args.x_stride) & 15u) == 0u && args.k % 8u == 0u && !WOQ_FLAG_PERM(args.flags);
#if WOQ_SOFTWARE_MATRIX
    accumulate(fast, weights, x, &args, &p, pool, total, scratch); /* once: it takes compilers long */
#else
    if (fast)
        accumulate(true, weights, x, &args, &p, pool, total, scratch);
    else
        accumulate(false, weights, x, &args, &p, pool, total, scratch);
#endif

    const uint columns = args.granule ? ROWS_W / 2u : ROWS_W;
    __local float *const numbers = (__local float *)pool;
    __local float *const own = numbers + (p.k * SUM_ROWS + p.m * 8u) * ROWS_W + p.n * TILES_N * WOQ_SUBGROUP + p.lane;
#pragma unroll 1
    for (uint m = 0; m < TILES_M; m++) {
        barrier(CLK_LOCAL_MEM_FENCE);
#define STORE(row)                                                                                                     \
    if (row == m)                                                                                                      \
        store_row(own, total + row * TILES_N);
        WOQ_REPEAT(TILES_M, STORE)
#undef STORE
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = id; i < columns * SUM_ROWS; i += THREADS * SUBGROUPS_K) {
            const uint column = i % columns, row = i / columns;
            woq_finish_parts(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y),
                             (uint)get_group_id(1) * ROWS_X + (row / 8u * TILES_M + m) * 8u + row % 8u,
                             (uint)get_group_id(0) * columns + column,
                             numbers + row * ROWS_W + (args.granule ? column + column / 16u * 16u : column),
                             SUBGROUPS_K, SUM_ROWS * ROWS_W);
        }
    }
}
