/*
 * fixed_tile.cl: FIXED16 on a CPU, or EXACT with DPBF16, layout PANEL16, X from xfixed with its numbers in order; for
 * many rows.
 *
 *   work-group (i, j) of size 1 computes tiles of 4 physical panels i, i + get_num_groups(0), … of part j of the rows,
 *   of equal parts of at most ROWS; j strides by the number of groups, too
 *   a block of 128 columns at a time, rising: its codes, less their zeros, become integers of 16 bits once for all
 *   these rows; then R rows by V panels at a time, for each segment of columns (abi.inc), rising: the integers' dot
 *   product, exactly; then sum = fma(scale, dot · scale of X, sum)
 *
 * The sums are those of fixed.cl, to the bit, where there is one. Codes and sums are private, 88 KiB on the stack, and
 * the sums of 256 rows come from the second cache: a block's codes and what R rows need stay in the first one.
 *
 *   ROWS      256   for which codes are unpacked once
 *   R         6     WOQ_DOT_ROWS, rows at a time: with V panels 24 dot products in AVX-512's 32 registers
 *   V         4, 1  panels at a time; 1 in registers of 8 lanes, of which there are 16
 *   WOQ_ZERO  1 … 3 the weights' zeros, WOQ_ABI_ZERO_…
 */
#define ROWS 256u /* WOQI_FIXED_TILE_ROWS of src/core/kernels.h */
#define TILE 4u   /* panels */
#define R WOQ_DOT_ROWS
#if WOQ_DOT >= WOQ_DOT_AVX512
#define V TILE
#else
#define V 1u
#endif
#define LINE (32u / WOQ_COLUMN) /* pairs of columns in 64 bytes */
#define SEGMENTS (WOQ_FIXED_BLOCK / 8u) /* at most */

struct tile {
    int16 codes[WOQ_FIXED_BLOCK / 2u][TILE]; /* of two columns: row l of the panel in the halves of lane l */
    float16 scales[SEGMENTS][TILE];
    float16 offsets[SEGMENTS][TILE]; /* ZERO_OFFSET */
    float16 sums[ROWS][TILE];
};

/* The pairs of columns of a segment, counted in the block. */
struct span {
    uint segment;
    ulong first, end;
};

/* Segment s of the block that begins with column `begin`; false if there is no such one. */
WOQ_INLINE bool span_of(const struct woq_args *a, uint begin, uint s, struct span *span)
{
    const uint columns = min(WOQ_FIXED_BLOCK, a->k - begin), segment = WOQ_FIXED_SEGMENT(a->group);
    span->segment = s;
    span->first = s * segment / 2u;
    span->end = (min((s + 1u) * segment, columns) + 1u) / 2u;
    return s * segment < columns;
}

/* The group of column k, in the tables. */
WOQ_INLINE ulong table_at(const struct woq_args *a, uint k, uint panel)
{
    return (ulong)(k / a->group) * a->scale_stride + 16u * panel;
}

/* Block b of a panel: scales, offsets, and codes less their zeros. Panels are padded to lines of 64 bytes. */
WOQ_INLINE void unpack_panel(woq_in weights, const struct woq_args *a, uint panel, uint b, uint v, struct tile *t)
{
    const uint begin = b * WOQ_FIXED_BLOCK, type = WOQ_SCALE, size = woq_size(type);
    woq_in codes = weights + a->codes_off + (ulong)panel * a->codes_stride + (ulong)begin * WOQ_COLUMN;
    woq_in scales = weights + a->scales_off, tables = weights + a->zeros_off;
    struct span s = {0, 0, 0};
    for (; span_of(a, begin, s.segment, &s); s.segment++) {
        const uint k = begin + 2u * (uint)s.first;
        const ulong i = table_at(a, k, panel);
        t->scales[s.segment][v] = woq_load16(scales + i * size, type);
        woq_prefetch(scales + table_at(a, k + WOQ_FIXED_BLOCK, panel) * size); /* the next block's */
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
        const int16 zeros = (int16)(0);
        t->offsets[s.segment][v] = woq_load16(tables + i * size, type);
        woq_prefetch(tables + table_at(a, k + WOQ_FIXED_BLOCK, panel) * size);
#elif WOQ_ZERO == WOQ_ABI_ZERO_POINT
        const int16 zeros = convert_int16(vload16(0, tables + i)) * 0x10001;
        woq_prefetch(tables + table_at(a, k + WOQ_FIXED_BLOCK, panel));
#else
        const int16 zeros = (int16)((int)WOQ_MIDDLE * 0x10001);
#endif
        for (ulong p = s.first; p < s.end; p += LINE) {
            woq_in at = codes + p * (2u * WOQ_COLUMN);
            woq_prefetch(at + WOQ_FIXED_BLOCK * WOQ_COLUMN);
#pragma unroll
            for (uint l = 0; l < LINE; l++)
                t->codes[p + l][v] = woq_operand(woq_less16(woq_two_columns(at + l * (2u * WOQ_COLUMN)), zeros));
        }
    }
}

/* Block b by `rows` ≤ R rows of X, a constant, of V panels from v0 on. */
WOQ_INLINE void add_block(const uint rows, woq_in x, const struct woq_args *a, uint b, uint v0, const struct tile *t,
                          float16 (*sums)[TILE])
{
    const uint begin = b * WOQ_FIXED_BLOCK;
    const ulong stride = a->x_stride;
    woq_in columns = x + 2ul * begin, x_scales = x + WOQ_FIXED_SCALES(a->k) + 4ul * b;
    struct span s = {0, 0, 0};
    for (; span_of(a, begin, s.segment, &s); s.segment++) {
        int16 dots[V][R];
        float16 scales[V];
#pragma unroll
        for (uint v = 0; v < V; v++)
#pragma unroll
            for (uint r = 0; r < rows; r++)
                dots[v][r] = (int16)(0);
        for (ulong p = s.first; p < s.end; p++)
#pragma unroll
            for (uint r = 0; r < rows; r++) {
                const int16 both = (int16)(((__global const int *)(columns + r * stride))[p]);
#pragma unroll
                for (uint v = 0; v < V; v++)
                    dots[v][r] = woq_dot2(dots[v][r], t->codes[p][v0 + v], both);
            }
#pragma unroll
        for (uint v = 0; v < V; v++)
            scales[v] = t->scales[s.segment][v0 + v]; /* loaded once */
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
        woq_in terms = x + WOQ_FIXED_TERMS(a->k) + (b * WOQ_FIXED_SEGMENTS(a->group) + s.segment) * WOQ_FIXED_TERM;
#endif
#pragma unroll
        for (uint r = 0; r < rows; r++) {
            const float scale = *(__global const float *)(x_scales + r * stride);
#pragma unroll
            for (uint v = 0; v < V; v++) {
                float16 sum = fma(scales[v], woq_dot_value(dots[v][r], scale), sums[r][v0 + v]);
#if WOQ_ZERO == WOQ_ABI_ZERO_OFFSET
                const float x_sum = (float)*(__global const int *)(terms + r * stride) * scale;
                sum = fma(t->offsets[s.segment][v0 + v], (float16)(x_sum), sum);
#endif
                sums[r][v0 + v] = sum;
            }
        }
    }
}

WOQ_INLINE void add_rows(const uint rows, woq_in x, const struct woq_args *a, uint b, const struct tile *t,
                         float16 (*sums)[TILE])
{
    for (uint v = 0; v < TILE; v += V)
        add_block(rows, x, a, b, v, t, sums);
}

/* Sums of `rows` ≤ ROWS rows of X and the physical panels from `panel` on; there is none behind last_panel.
 * PoCL before 7 ends the process over inline assembly that is not in a function of its own (dot16.clh). */
static __attribute__((noinline)) void tile_sums(uint rows, woq_in weights, woq_in x, const struct woq_args *a,
                                                uint panel, uint last_panel, struct tile *t)
{
    for (uint r = 0; r < rows; r++)
        for (uint v = 0; v < TILE; v++)
            t->sums[r][v] = (float16)(0.0f);
    for (uint b = 0; b < WOQ_FIXED_BLOCKS(a->k); b++) {
        for (uint v = 0; v < TILE; v++)
            unpack_panel(weights, a, min(panel + v, last_panel), b, v, t);
        for (uint row = 0, now; row < rows; row += now) {
            const uint left = rows - row, turns = (left + R - 1u) / R;
            woq_in from = x + (ulong)row * a->x_stride;
            now = (left + turns - 1u) / turns; /* as equal as can be */
            if (now == 6u)
                add_rows(6u, from, a, b, t, t->sums + row);
            else if (now == 5u)
                add_rows(5u, from, a, b, t, t->sums + row);
            else if (now == 4u)
                add_rows(4u, from, a, b, t, t->sums + row);
            else if (now == 3u)
                add_rows(3u, from, a, b, t, t->sums + row);
            else if (now == 2u)
                add_rows(2u, from, a, b, t, t->sums + row);
            else
                add_rows(1u, from, a, b, t, t->sums + row);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_fixed_tile(WOQ_PARAMETERS)
{
    struct tile tile;
    const bool gated = args.granule != 0;
    const uint each = gated ? 2u : 1u, panels = TILE / each; /* physical panels for one of Y; of Y in a tile */
    const ulong begin = args.n_first, end = begin + args.n;
    const uint last_panel = (uint)((end - 1u) / 16u + 1u) * each - 1u;
    const ulong part = woq_part_rows(args.m, ROWS);
    for (ulong j = get_group_id(1) * part; j < args.m; j += get_num_groups(1) * part) {
        const uint rows = (uint)min(part, args.m - j);
        woq_in x = WOQ_WINDOW(x) + args.x_off + j * args.x_stride;
        for (ulong p = begin / 16u + panels * get_group_id(0); 16u * p < end; p += panels * get_num_groups(0)) {
            tile_sums(rows, WOQ_WINDOW(weights), x, &args, (uint)p * each, last_panel, &tile);
            for (uint q = 0; q < panels && 16u * (p + q) < end; q++) {
                const long c = (long)(16u * (p + q)) - (long)begin;
                const int first = (int)max(-c, 0l), stop = (int)min((long)args.n - c, 16l);
                for (uint r = 0; r < rows; r++)
                    woq_finish16(&args, WOQ_WINDOW(bias), WOQ_WINDOW(residual), WOQ_WINDOW(y), (uint)j + r, (int)c,
                                 first, stop, tile.sums[r][q * each],
                                 gated ? tile.sums[r][q * each + 1u] : (float16)(0.0f));
            }
        }
    }
}
