/*
 * gemv_frag.cl: few rows of X on any device, layout FRAG16B.
 *
 * A worker is 32 neighbouring work-items, lanes l = 4g + t, and sums over a part of K for the rows g and g+8 of a strip
 * of 16 rows of the weights and all rows of X: a lane takes the columns 8t … 8t+7 of every unit of 32. The WOQ_PARTS
 * workers of a work-group divide K. What 4 lanes · WOQ_PARTS workers have summed of an element meets in local memory,
 * and one work-item adds it up in a fixed order: no sub-groups are needed, whatever the device's size of them.
 *
 *     work-group i    strips i, i + get_num_groups(0), …; gated: pairs of strips, gate then up
 *     part p of K     blocks of 64 columns p·share … (p+1)·share−1
 *     sums[((m·2 + h)·WOQ_PARTS + p)·32 + l]      lane l of part p: row g + 8h of the strip, row m of X
 *
 * Two loops, one after the other. stream(): whole blocks of aligned X. Codes, scales and zeros are loaded a block
 * ahead, X two units ahead, for more rows of X one or none, as it takes registers: from clamped addresses and without
 * a branch. walk(): the rest, one column at a time: the last columns if K is no multiple of 64; all of them if X is
 * unaligned or gathered through perm, or groups end within a lane's 8 columns.
 *
 * Unless WOQ_WEIGHTED, 8 products x·(q − zero) are summed before the scale is applied; see woq/gemm.h, EXACT.
 *
 * Compile-time parameters, which are the kernel's key (kernels.h), beside WOQ_CODE and WOQ_X:
 *   WOQ_ROWS      1, 2, 4, 8   of X; args.m at most. Rows beyond m repeat the last, and are not stored
 *   WOQ_PARTS     1, 4, 16     work-groups of 32 · WOQ_PARTS
 *   WOQ_WEIGHTED  0, 1         weights are scaled one by one: math ROUNDED, or ZERO_OFFSET
 *   WOQ_FINE      0, 1         groups end within blocks of 64 columns
 *
 * Needs ROWS · (256 · PARTS + 64) bytes of local memory. Built with WOQ_LAYOUT of FRAG16B.
 */
#ifndef WOQ_ROWS
#define WOQ_ROWS 1
#endif
#ifndef WOQ_PARTS
#define WOQ_PARTS 4u
#endif
#ifndef WOQ_FINE
#define WOQ_FINE 0
#endif

#define THREADS (32u * WOQ_PARTS)
#define OUTPUTS (16u * WOQ_ROWS) /* of a strip */
#define X_SIZE (WOQ_X == WOQ_ABI_F32 ? 4u : 2u) /* bytes */
#define X_VECTORS (X_SIZE / 2u) /* of 8 columns */
/* Units that X is loaded ahead. */
#define X_AHEAD (X_VECTORS * WOQ_ROWS > 2u ? 0u : X_VECTORS * WOQ_ROWS > 1u ? 1u : 2u)
#define SCALED (!WOQ_PLAIN && !WOQ_WEIGHTED)

/* A work-item's place. */
struct place {
    uint lane, g, t, part;
};

/* Byte offset of row m of X in its binding. */
WOQ_INLINE uint x_row(const struct woq_args *a, uint m)
{
    return a->x_off + min(m, a->m - 1u) * a->x_stride;
}

/* One row of X in one unit. */
WOQ_INLINE void load_vectors(woq_in at, uint4 *v)
{
    v[0] = woq_load_vector(at);
#if WOQ_X == WOQ_ABI_F32
    v[1] = woq_load_vector(at + 16);
#endif
}

/* The same to FP32. */
WOQ_INLINE float8 decode_x(const uint4 *v)
{
#if WOQ_X == WOQ_ABI_F32
    return as_float8((uint8)(v[0], v[1]));
#else
    const bool bf16 = WOQ_X == WOQ_ABI_BF16;
    return (float8)(woq_pair(v[0].x, bf16), woq_pair(v[0].y, bf16), woq_pair(v[0].z, bf16), woq_pair(v[0].w, bf16));
#endif
}

#if !WOQ_PLAIN
/* Scales of a lane's columns in the next block: their group, and the columns' place in it. */
struct scales {
    uint group, place;
    struct woq_rows rows;
};

/* Columns of a group. */
WOQ_INLINE uint span_of(const struct woq_args *a)
{
    return a->group < a->k ? a->group : 0xffffffffu;
}

WOQ_INLINE struct scales begin_scales(woq_in weights, const struct woq_args *a, const struct place *p, uint strip,
                                      uint column)
{
    struct scales s = {column / span_of(a), column % span_of(a)};
    s.rows = woq_load_rows(weights, a, s.group, strip, p->g);
    return s;
}

/* A block further; beyond the last group it is repeated. */
WOQ_INLINE void next_scales(woq_in weights, const struct woq_args *a, const struct place *p, uint strip,
                            struct scales *s)
{
    const uint span = span_of(a);
    s->place += 64u % span;
    s->group += 64u / span + (s->place >= span ? 1u : 0u);
    s->place -= s->place >= span ? span : 0u;
    s->rows = woq_load_rows(weights, a, min(s->group, (a->k - 1u) / span), strip, p->g);
}
#endif

/* sum + x·w, column by column. */
WOQ_INLINE float add_products(float sum, float8 x, float8 w)
{
    sum = fma(x.s3, w.s3, fma(x.s2, w.s2, fma(x.s1, w.s1, fma(x.s0, w.s0, sum))));
    return fma(x.s7, w.s7, fma(x.s6, w.s6, fma(x.s5, w.s5, fma(x.s4, w.s4, sum))));
}

/* A lane's vectors of all rows of X in a unit; lanes: where they are in unit 0. */
WOQ_INLINE void load_x(woq_in x, const uint *lanes, uint unit, uint4 *v)
{
    const uint at = unit * (32u * X_SIZE);
#define LOAD(m) load_vectors(x + (lanes[m] + at), v + m * X_VECTORS);
    WOQ_REPEAT(WOQ_ROWS, LOAD)
#undef LOAD
}

/* Columns whose scales a lane needs in a unit of a block: the first of them. */
WOQ_INLINE uint group_column(uint block, uint unit, uint t)
{
    return block * 64u + (WOQ_FINE ? unit * 32u + t * 8u : 0u);
}

/* One row of X's products in a unit. total: for rows g and g+8. */
WOQ_INLINE void add_row(float8 low, float8 high, float low_scale, float high_scale, const uint4 *x, float2 *total)
{
    const float8 v = decode_x(x);
    if (SCALED) {
        total->x = fma(low_scale, add_products(0.0f, v, low), total->x);
        total->y = fma(high_scale, add_products(0.0f, v, high), total->y);
    } else {
        total->x = add_products(total->x, v, low);
        total->y = add_products(total->y, v, high);
    }
}

/* A unit of a block. rows: its scales; held: X of units to come; next: the unit whose X takes this one's place there,
 * or without such places this unit. */
WOQ_INLINE void add_unit(const struct woq_args *a, const struct woq_unit *codes, const struct woq_rows *rows, uint g,
                         woq_in x, const uint *lanes, uint next, uint4 *held, float2 *total)
{
    struct woq_row low_row = {1.0f, 0.0f, 0.0f}, high_row = low_row;
    uint4 v[WOQ_ROWS * X_VECTORS];
#if X_AHEAD
#define TAKE(m) v[m * X_VECTORS] = held[m * X_VECTORS], v[(m + 1) * X_VECTORS - 1] = held[(m + 1) * X_VECTORS - 1];
    WOQ_REPEAT(WOQ_ROWS, TAKE)
#undef TAKE
    load_x(x, lanes, next, held);
#endif
#if !WOQ_PLAIN
    low_row = woq_row_of(*rows, a, g, 0);
    high_row = woq_row_of(*rows, a, g, 1);
#endif
    const float8 low = woq_unit_row(codes, 0, low_row, WOQ_FLAG_ROUND(a->flags));
    const float8 high = woq_unit_row(codes, 1, high_row, WOQ_FLAG_ROUND(a->flags));
#define ADD(m)                                                                                                         \
    if (!X_AHEAD)                                                                                                      \
        load_vectors(x + (lanes[m] + next * (32u * X_SIZE)), v + m * X_VECTORS);                                       \
    add_row(low, high, low_row.scale, high_row.scale, v + m * X_VECTORS, total + m);
    WOQ_REPEAT(WOQ_ROWS, ADD)
#undef ADD
}

/* Whole blocks begin … end−1 of a strip. */
WOQ_INLINE void stream(woq_in weights, woq_in x, const struct woq_args *a, const struct place *p, uint strip,
                       uint begin, uint end, float2 *total)
{
    if (begin >= end)
        return;
    woq_in strip_at = weights + a->codes_off + (ulong)strip * a->codes_stride + 16u * p->lane;
    uint lanes[WOQ_ROWS];
    uint4 held[2][WOQ_ROWS * X_VECTORS]; /* X of the next units */
#define LANE(m) lanes[m] = x_row(a, m) + p->t * (8u * X_SIZE);
    WOQ_REPEAT(WOQ_ROWS, LANE)
#undef LANE
    if (X_AHEAD > 0u)
        load_x(x, lanes, begin * 2u, held[0]);
    if (X_AHEAD > 1u)
        load_x(x, lanes, begin * 2u + 1u, held[1]);
    struct woq_lane codes = woq_load_lane(strip_at, begin);
#if WOQ_PLAIN
    const struct woq_rows rows[2] = {{0, 0}, {0, 0}}; /* not used */
#else
    struct scales first = begin_scales(weights, a, p, strip, group_column(begin, 0, p->t));
    struct scales second = first;
#if WOQ_FINE
    second = begin_scales(weights, a, p, strip, group_column(begin, 1, p->t));
#endif
#endif
    for (uint block = begin; block < end; block++) {
        const uint ahead = min(block + 1u, end - 1u);
        const struct woq_lane now = codes;
        codes = woq_load_lane(strip_at, ahead);
#if !WOQ_PLAIN
        const struct woq_rows rows[2] = {first.rows, WOQ_FINE ? second.rows : first.rows};
        next_scales(weights, a, p, strip, &first);
#if WOQ_FINE
        next_scales(weights, a, p, strip, &second);
#endif
#endif
#if X_AHEAD
        struct woq_unit unit = woq_unit_of(&now, 0);
        add_unit(a, &unit, &rows[0], p->g, x, lanes, X_AHEAD == 2u ? ahead * 2u : block * 2u + 1u, held[0], total);
        unit = woq_unit_of(&now, 1);
        add_unit(a, &unit, &rows[1], p->g, x, lanes, ahead * 2u + X_AHEAD - 1u, held[X_AHEAD - 1u], total);
#else
#pragma unroll 1 /* both units at once take registers */
        for (uint unit = 0; unit < 2u; unit++) {
            const struct woq_unit codes_now = woq_unit_of(&now, unit);
            struct woq_rows rows_now = rows[0];
            if (WOQ_FINE && unit)
                rows_now = rows[1];
            add_unit(a, &codes_now, &rows_now, p->g, x, lanes, block * 2u + unit, held[0], total);
        }
#endif
    }
}

/* Blocks begin … end−1 of a strip, whatever X's alignment and order and the groups are; up to column K. */
WOQ_INLINE void walk(woq_in weights, woq_in x, const struct woq_args *a, const struct place *p, uint strip, uint begin,
                     uint end, float2 *total)
{
    const uint row = strip * 16u + p->g, span = a->group ? min(a->group, a->k) : a->k;
    const uint round = WOQ_FLAG_ROUND(a->flags);
    woq_in low_codes = woq_row_codes(weights, a, row), high_codes = woq_row_codes(weights, a, row + 8u);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off);
    const bool gather = WOQ_FLAG_PERM(a->flags);
    for (uint unit = begin * 2u; unit < end * 2u; unit++) {
        uint column = unit * 32u + p->t * 8u, group_end = column, group = column / span;
        const uint stop = min(column + 8u, a->k);
        struct woq_group1 low, high;
        for (; column < stop; column++) {
            if (column == group_end) {
                low = woq_load_group1(weights, a, group, row);
                high = woq_load_group1(weights, a, group, row + 8u);
                group++;
                group_end = group * span;
            }
            const uint x_column = gather ? perm[column] : column;
            if (x_column == WOQ_PERM_NONE)
                continue;
            const float w_low = woq_weight1(low_codes, row, column, &low, round);
            const float w_high = woq_weight1(high_codes, row + 8u, column, &high, round);
#define ADD(m)                                                                                                         \
    total[m] = fma((float2)(woq_load(x + (x_row(a, m) + x_column * X_SIZE), WOQ_X)), (float2)(w_low, w_high),      \
                   total[m]);
            WOQ_REPEAT(WOQ_ROWS, ADD)
#undef ADD
        }
    }
}

/* Of the blocks first … end−1, a part's begin and end. */
WOQ_INLINE uint2 share_of(uint part, uint first, uint end)
{
    const uint share = (end - first + WOQ_PARTS - 1u) / WOQ_PARTS, begin = min(first + part * share, end);
    return (uint2)(begin, min(begin + share, end));
}

/* A worker's sums of a strip, to local memory. streamed: blocks that stream() can take. */
WOQ_INLINE void sum_strip(woq_in weights, woq_in x, const struct woq_args *a, const struct place *p, uint strip,
                          uint streamed, __local float *sums)
{
    float2 total[WOQ_ROWS];
#define CLEAR(m) total[m] = (float2)(0.0f);
    WOQ_REPEAT(WOQ_ROWS, CLEAR)
#undef CLEAR
    uint2 blocks = share_of(p->part, 0, streamed);
    stream(weights, x, a, p, strip, blocks.x, blocks.y, total);
    blocks = share_of(p->part, streamed, a->k / 64u + (a->k % 64u ? 1u : 0u));
    walk(weights, x, a, p, strip, blocks.x, blocks.y, total);
#define STORE(m)                                                                                                       \
    sums[(2u * m * WOQ_PARTS + p->part) * 32u + p->lane] = total[m].x;                                                 \
    sums[((2u * m + 1u) * WOQ_PARTS + p->part) * 32u + p->lane] = total[m].y;
    WOQ_REPEAT(WOQ_ROWS, STORE)
#undef STORE
}

/* The sum of an output of a strip: row output % 16 of the strip, row output / 16 of X. */
WOQ_INLINE float add_up(__local const float *sums, uint output)
{
    __local const float *at = sums + (output / 8u * WOQ_PARTS * 8u + output % 8u) * 4u;
    float sum = 0.0f;
    for (uint p = 0; p < WOQ_PARTS; p++, at += 32)
        sum += (at[0] + at[1]) + (at[2] + at[3]);
    return sum;
}

__kernel WOQ_SUBGROUP_SIZE __attribute__((reqd_work_group_size(THREADS, 1, 1))) void woq_gemv_frag(WOQ_PARAMETERS)
{
    __local float sums[OUTPUTS * 4u * WOQ_PARTS];
    __local float gate_sums[OUTPUTS]; /* of a gate strip while its up strip is summed */
    woq_in weights = WOQ_WINDOW(weights), x = WOQ_WINDOW(x);
    const uint id = (uint)get_local_id(0);
    const struct place p = {id % 32u, id % 32u / 4u, id % 4u, id / 32u};
    const uint per_output = args.granule ? 2u : 1u, strips = args.scale_stride / 16u;
    const bool whole = args.group % 8u == 0u || args.group >= args.k;
    const bool streams = ((args.x_off | args.x_stride) & 15u) == 0u && whole && !WOQ_FLAG_PERM(args.flags);
    const uint streamed = streams ? args.k / 64u : 0u;
    /* A strip at a time; its pair's gate strip comes before. */
    for (uint first = (uint)get_group_id(0) * per_output; first < strips; first += (uint)get_num_groups(0) * per_output)
        for (uint s = 0; s < per_output; s++) {
            sum_strip(weights, x, &args, &p, first + s, streamed, sums);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (uint i = id; i < OUTPUTS; i += THREADS) {
                const uint m = i / 16u, n = first / per_output * 16u + i % 16u;
                const float sum = add_up(sums, i);
                if (s + 1u < per_output)
                    gate_sums[i] = sum;
                else if (m < args.m && n < args.n)
                    woq_finish1(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), m, n,
                                per_output == 2u ? gate_sums[i] : sum, sum);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
}
