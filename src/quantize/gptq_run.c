/*
 * gptq_run.c: the codes of GPTQ.
 *
 * Rows do not know of each other: a thread takes sixteen of them, transposed, through all columns, in g->order. What
 * was missed at the columns of earlier blocks is taken off the columns of a block at once, in products; inside a block
 * column by column.
 */
#include "gptq.h"

#include "core/clones.h"
#include "lanes.h"
#include "quantizer.h"

#include <math.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { BLOCK = 64 }; /* columns; a multiple of 4 */

struct run {
    const struct woqi_gptq *g;
    const struct woqi_grid *grids;
    uint64_t n, k, group, groups; /* group: columns of one; groups: grids from one row's to the next, 0 = the same */
    float *w;                     /* [n][k] */
    uint8_t *codes;               /* [n][k] */
};

/* Of sixteen rows, at one column. */
struct lane_grids {
    float scale[WOQI_LANES], low[WOQI_LANES], high[WOQI_LANES], zero[WOQI_LANES];
};

/* rows: 1 … 16; lanes beyond repeat the first one. A scale of 0 has the one code of 0, as in woqi_grid_code. */
static void load_grids(const struct run *r, uint64_t row, uint64_t rows, uint32_t column, struct lane_grids *to)
{
    for (uint64_t i = 0; i < WOQI_LANES; i++) {
        const struct woqi_grid *g = r->grids + (row + (i < rows ? i : 0)) * r->groups + column / r->group;
        bool none = g->scale == 0;
        to->scale[i] = none ? 1 : g->scale;
        to->low[i] = none ? 0 : g->low;
        to->high[i] = none ? 0 : g->high;
        to->zero[i] = (float)g->zero;
    }
}

/* woqi_grid_code and woqi_grid_value; missed = (w − value)·inverse. */
WOQI_CLONES static void round_lanes(const struct lane_grids *restrict g, float inverse, const float *restrict w,
                                    float *restrict missed, float *restrict values, int32_t *restrict codes)
{
    const float magic = 12582912.0f;
    for (int i = 0; i < WOQI_LANES; i++) {
        float v = w[i] / g->scale[i];
        v = v > g->low[i] ? v : g->low[i]; /* what is not a number becomes the lowest */
        v = v < g->high[i] ? v : g->high[i];
        v = (v + magic) - magic;
        codes[i] = (int32_t)(v + g->zero[i]);
        values[i] = g->scale[i] * v;
        missed[i] = (w[i] - values[i]) * inverse;
    }
}

/* Takes off w what the columns before the block missed. */
WOQI_CLONES static void correct_block(const struct woqi_gptq *g, uint64_t first, uint64_t end,
                                      const struct woqi_lanes *missed, struct woqi_lanes *w)
{
    for (uint64_t j = first; j < end; j += 4) {
        const float *rows[4];
        struct woqi_lanes sums[4];
        for (uint64_t c = 0; c < 4; c++)
            rows[c] = g->factor + (j + c < end ? j + c : end - 1) * g->k;
        woqi_lanes_multiply(first, missed, rows, sums);
        for (uint64_t c = 0; c < 4 && j + c < end; c++)
            for (int lane = 0; lane < WOQI_LANES; lane++)
                w[j + c].at[lane] -= sums[c].at[lane];
    }
}

/* And what column j of it did. */
WOQI_CLONES static void correct_rest(const struct woqi_gptq *restrict g, uint64_t j, uint64_t end,
                                     const struct woqi_lanes *restrict missed, struct woqi_lanes *restrict w)
{
    for (uint64_t c = j + 1; c < end; c++)
        for (int lane = 0; lane < WOQI_LANES; lane++)
            w[c].at[lane] -= missed[j].at[lane] * g->factor[c * g->k + j];
}

/* w, missed: scratch [k]. False if a weight is not finite. */
static bool run_rows(const struct run *r, uint64_t row, uint64_t rows, struct woqi_lanes *w, struct woqi_lanes *missed)
{
    const struct woqi_gptq *g = r->g;
    uint64_t live = r->k - g->dead;
    bool finite = true;
    for (uint64_t i = 0; i < WOQI_LANES; i++) {
        const float *from = r->w + (row + (i < rows ? i : 0)) * r->k;
        float low, high;
        finite = woqi_range_of(r->k, from, &low, &high) && finite;
        for (uint64_t j = 0; j < r->k; j++)
            w[j].at[i] = j < live ? from[g->order[j]] : 0;
    }
    for (uint64_t first = 0; first < r->k; first += BLOCK) {
        uint64_t end = r->k - first < BLOCK ? r->k : first + BLOCK;
        correct_block(g, first, end, missed, w);
        for (uint64_t j = first; j < end; j++) {
            struct lane_grids grids;
            float values[WOQI_LANES];
            int32_t codes[WOQI_LANES];
            load_grids(r, row, rows, g->order[j], &grids);
            round_lanes(&grids, 1 / g->factor[j * r->k + j], w[j].at, missed[j].at, values, codes);
            correct_rest(g, j, end, missed, w);
            for (uint64_t i = 0; i < rows; i++) {
                r->w[(row + i) * r->k + g->order[j]] = values[i];
                r->codes[(row + i) * r->k + g->order[j]] = (uint8_t)codes[i];
            }
        }
    }
    return finite;
}

enum woq_status woqi_gptq_run(const struct woqi_gptq *g, const struct woq_format *format, uint64_t n, float *w,
                              const struct woqi_grid *grids, uint32_t jobs, uint8_t *codes)
{
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(format, n, g->k, &sizes);
    if (st)
        return st;
    jobs = woqi_jobs(jobs);
    struct run r = {g, grids, n, g->k, sizes.groups == 1 ? g->k : format->group,
                    format->group == WOQ_GROUP_TENSOR ? 0 : sizes.groups, w, codes};
    uint64_t tiles = (n + WOQI_LANES - 1) / WOQI_LANES, worst = tiles;
    struct woqi_lanes *scratch = aligned_alloc(sizeof *scratch, 2 * jobs * r.k * sizeof *scratch);
    if (!scratch)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for rows of %llu weights", (unsigned long long)r.k);
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static) reduction(min : worst)
#endif
    for (uint64_t t = 0; t < tiles; t++) {
#ifdef _OPENMP
        struct woqi_lanes *mine = scratch + 2 * (uint64_t)omp_get_thread_num() * r.k;
#else
        struct woqi_lanes *mine = scratch;
#endif
        uint64_t row = t * WOQI_LANES;
        if (!run_rows(&r, row, n - row < WOQI_LANES ? n - row : WOQI_LANES, mine, mine + r.k))
            worst = t < worst ? t : worst;
    }
    free(scratch);
    return worst == tiles ? WOQ_OK
                          : woq_report(WOQ_ERROR_INVALID_DATA, "a weight of rows %llu to %llu is not finite",
                                       (unsigned long long)worst * WOQI_LANES,
                                       (unsigned long long)(worst * WOQI_LANES + WOQI_LANES - 1));
}
