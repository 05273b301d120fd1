/*
 * grid.c: scales and zero points of groups.
 *
 * The search: lanes are the grids that are tried, about 123 of them, so that the loop over them is vector code for any
 * size of group, and the sum of each grid is added up in the order of the weights, whatever the width of vectors. Its
 * errors stay in the first level of the cache; they are binary32 for at most BLOCK weights, then go into a total in
 * double. Weights and scales are multiplied by a power of two that brings the range near 1, so that squares neither
 * overflow nor vanish.
 */
#include "grid.h"

#include "core/clones.h"
#include "core/element.h"
#include "quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIES = 128, /* at most: 41 steps of three, up to whole vectors */
    BLOCK = 64,
    PARTS = 64, /* of a matrix with one grid, summed apart, so that the number of threads does not matter */
};

/* Scales of 1 … least of the range. */
struct effort {
    int steps;
    float least;
};
static const struct effort full = {40, 0.5f}, coarse = {12, 0.7f};

/* Grids that are tried. Scales are `unit` times those of the grids; where none can be, NAN. */
struct tries {
    float unit;
    int count;
    float scale[TRIES], inverse[TRIES], low[TRIES], high[TRIES];
    struct woqi_grid grids[TRIES];
};

static unsigned bits_of(const struct woq_format *format)
{
    return format->code == WOQ_CODE_U4 ? 4 : 8;
}

static float round_to(enum woq_type type, float v)
{
    float stored; /* room for the widest type */
    woqi_element_store(type, &stored, 0, v);
    return woqi_element_load(type, &stored, 0);
}

bool woqi_range_of(uint64_t count, const float *w, float *low, float *high)
{
    float least = 0, most = 0;
    uint32_t bad = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, w + i, sizeof bits);
        bad |= (bits & 0x7fffffffu) >= 0x7f800000u;
        least = w[i] < least ? w[i] : least;
        most = w[i] > most ? w[i] : most;
    }
    *low = least;
    *high = most;
    return !bad;
}

struct woqi_grid woqi_grid_of_range(const struct woq_format *format, float low, float high)
{
    unsigned bits = bits_of(format);
    float top = (float)((1u << bits) - 1), half = (float)((1u << (bits - 1)) - 1);
    struct woqi_grid g = {0, 0, 0, 0};
    if (format->zero == WOQ_ZERO_SYMMETRIC) {
        float most = -low > high ? -low : high;
        g.scale = round_to(format->scale, most / half);
        g.zero = 1u << (bits - 1);
        g.low = -half;
        g.high = half;
        return g;
    }
    g.scale = round_to(format->scale, (high - low) / top);
    if (g.scale > 0 && isfinite(g.scale)) {
        float zero = -low / g.scale;
        g.zero = (unsigned)rintf(zero < top ? zero : top);
    }
    g.low = -(float)g.zero;
    g.high = top - (float)g.zero;
    return g;
}

static void add_try(struct tries *t, struct woqi_grid g)
{
    float scale = g.scale * t->unit, inverse = 1 / scale;
    bool usable = g.scale != 0 && isfinite(scale) && isfinite(inverse);
    t->scale[t->count] = usable ? scale : NAN;
    t->inverse[t->count] = usable ? inverse : 0;
    t->low[t->count] = g.low;
    t->high[t->count] = g.high;
    t->grids[t->count++] = g;
}

static void make_tries(const struct woq_format *format, float low, float high, const struct effort *effort,
                       struct tries *t)
{
    bool symmetric = format->zero == WOQ_ZERO_SYMMETRIC;
    float top = (float)((1u << bits_of(format)) - 1), half = (float)(1u << (bits_of(format) - 1));
    float range = !symmetric ? high - low : -low > high ? -low : high;
    int exponent = 0;
    t->count = 0;
    if (!(range > 0) || !isfinite(range))
        return;
    frexpf(range, &exponent);
    t->unit = ldexpf(1, exponent < -126 ? 126 : -exponent);
    for (int i = effort->steps; i >= 0; i--) {
        float part = effort->least + (1 - effort->least) * (float)i / (float)effort->steps;
        if (symmetric) {
            float scales[3] = {range * part / (half - 1), range * part / half, -range * part / half};
            for (int j = 0; j < 3; j++)
                add_try(t, (struct woqi_grid){round_to(format->scale, scales[j]), -half, half - 1, (unsigned)half});
            continue;
        }
        float scale = round_to(format->scale, range * part / top), nearest = rintf(-low * part / scale);
        for (int j = 0; j < 3; j++) {
            float zero = nearest + (float)(j == 2 ? -1 : j);
            zero = zero > 0 ? zero : 0; /* of NAN, which a scale of 0 gives, 0 */
            zero = zero < top ? zero : top;
            add_try(t, (struct woqi_grid){scale, -zero, top - zero, (unsigned)zero});
        }
    }
    for (int i = t->count; i < TRIES; i++) { /* that vectors are whole */
        t->scale[i] = t->inverse[i] = t->low[i] = t->high[i] = 0;
    }
}

static inline float error_of(float w, float weight, float scale, float inverse, float low, float high)
{
    const float magic = 12582912.0f; /* see woqi_grid_code */
    float v = w * inverse;
    v = v < low ? low : v;
    v = v > high ? high : v;
    float e = w - scale * ((v + magic) - magic);
    return weight * (e * e);
}

/* count: a multiple of 4. Adds to errors [t->count, up to whole vectors]. */
WOQI_CLONES static void add_errors(const struct tries *restrict t, int count, const float *restrict w,
                                   const float *restrict weight, float *restrict errors)
{
    int tries = (t->count + 15) & ~15;
    for (int i = 0; i < count; i += 4) {
        float w0 = w[i], w1 = w[i + 1], w2 = w[i + 2], w3 = w[i + 3];
        float h0 = weight[i], h1 = weight[i + 1], h2 = weight[i + 2], h3 = weight[i + 3];
        for (int j = 0; j < tries; j++) {
            float scale = t->scale[j], inverse = t->inverse[j], low = t->low[j], high = t->high[j];
            float e = errors[j];
            e += error_of(w0, h0, scale, inverse, low, high);
            e += error_of(w1, h1, scale, inverse, low, high);
            e += error_of(w2, h2, scale, inverse, low, high);
            e += error_of(w3, h3, scale, inverse, low, high);
            errors[j] = e;
        }
    }
}

/* Adds to totals [TRIES] what each grid costs `count` weights. */
static void add_totals(const struct tries *t, uint64_t count, const float *w, const float *weight, double *totals)
{
    for (uint64_t first = 0; first < count; first += BLOCK) {
        uint64_t rest = count - first;
        int some = rest < BLOCK ? (int)rest : BLOCK, padded = (some + 3) & ~3;
        float values[BLOCK] = {0}, weights[BLOCK] = {0}, errors[TRIES] = {0};
        for (int i = 0; i < some; i++) {
            values[i] = w[first + (uint64_t)i] * t->unit;
            weights[i] = weight ? weight[first + (uint64_t)i] : 1;
        }
        add_errors(t, padded, values, weights, errors);
        for (int j = 0; j < t->count; j++)
            totals[j] += (double)errors[j];
    }
}

static struct woqi_grid best_of(const struct woq_format *format, float low, float high, const struct tries *t,
                                const double *totals)
{
    int best = -1;
    for (int j = 0; j < t->count; j++)
        if (isfinite(totals[j]) && (best < 0 || totals[j] < totals[best]))
            best = j;
    return best < 0 ? woqi_grid_of_range(format, low, high) : t->grids[best];
}

static struct woqi_grid search(const struct woq_format *format, uint64_t count, const float *w, const float *weight,
                               const struct effort *effort)
{
    struct tries t;
    float low, high;
    double totals[TRIES] = {0};
    woqi_range_of(count, w, &low, &high);
    make_tries(format, low, high, effort, &t);
    if (t.count)
        add_totals(&t, count, w, weight, totals);
    return best_of(format, low, high, &t, totals);
}

struct woqi_grid woqi_grid_search(const struct woq_format *format, uint64_t count, const float *w,
                                  const float *weight)
{
    return search(format, count, w, weight, &full);
}

/* ---- Whole matrices ---- */

static enum woq_status fail(const struct woq_format *format, uint64_t row, uint64_t k, const float *w,
                            uint64_t column)
{
    for (uint64_t i = 0; i < k; i++)
        if (!isfinite(w[row * k + i]))
            return woq_report(WOQ_ERROR_INVALID_DATA, "the weight at row %llu, column %llu is %s; all must be finite",
                              (unsigned long long)row, (unsigned long long)i,
                              isnan(w[row * k + i]) ? "not a number" : "infinite");
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "the weights from row %llu, column %llu on are too large for a scale of type %s",
                      (unsigned long long)row, (unsigned long long)column, woq_type_name(format->scale));
}

/* One grid for all rows. */
static enum woq_status search_tensor(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                     const float *weight, const struct effort *effort, uint32_t jobs,
                                     struct woqi_grid *out)
{
    float low = 0, high = 0;
    for (uint64_t row = 0; row < n; row++) {
        float least, most;
        if (!woqi_range_of(k, w + row * k, &least, &most))
            return fail(format, row, k, w, 0);
        low = least < low ? least : low;
        high = most > high ? most : high;
    }
    *out = woqi_grid_of_range(format, low, high);
    if (effort) {
        struct tries t;
        double(*totals)[TRIES] = calloc(PARTS, sizeof *totals);
        if (!totals)
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the search of a scale");
        make_tries(format, low, high, effort, &t);
        uint64_t rows = (n + PARTS - 1) / PARTS;
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static)
#endif
        for (int part = 0; part < PARTS; part++)
            for (uint64_t row = (uint64_t)part * rows; t.count && row < n && row < (uint64_t)(part + 1) * rows; row++)
                add_totals(&t, k, w + row * k, weight, totals[part]);
        (void)jobs;
        for (int part = 1; part < PARTS; part++)
            for (int j = 0; j < t.count; j++)
                totals[0][j] += totals[part][j];
        *out = best_of(format, low, high, &t, totals[0]);
        free(totals);
    }
    return isfinite(out->scale) ? WOQ_OK : fail(format, 0, 0, w, 0);
}

/* effort NULL: by the range. */
static enum woq_status make_grids(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                  const float *weight, const struct effort *effort, uint32_t jobs,
                                  struct woqi_grid *out)
{
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(format, n, k, &sizes);
    if (st)
        return st;
    jobs = woqi_jobs(jobs);
    if (format->group == WOQ_GROUP_TENSOR)
        return search_tensor(format, n, k, w, weight, effort, jobs, out);
    uint64_t group = sizes.groups == 1 ? k : format->group, worst = n;
#ifdef _OPENMP
#pragma omp parallel for num_threads(jobs) if (jobs > 1) schedule(static) reduction(min : worst)
#endif
    for (uint64_t row = 0; row < n; row++)
        for (uint64_t g = 0; g < sizes.groups; g++) {
            const float *at = w + row * k + g * group;
            uint64_t count = k - g * group < group ? k - g * group : group;
            struct woqi_grid *to = out + row * sizes.groups + g;
            float low, high;
            bool finite = woqi_range_of(count, at, &low, &high);
            *to = effort ? search(format, count, at, weight ? weight + g * group : NULL, effort)
                         : woqi_grid_of_range(format, low, high);
            if (!finite || !isfinite(to->scale))
                worst = row < worst ? row : worst;
        }
    if (worst == n)
        return WOQ_OK;
    uint64_t g = 0;
    while (g + 1 < sizes.groups && isfinite(out[worst * sizes.groups + g].scale))
        g++;
    return fail(format, worst, k, w, g * group);
}

enum woq_status woqi_grids_search(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                  const float *weight, uint32_t jobs, struct woqi_grid *out)
{
    return make_grids(format, n, k, w, weight, &full, jobs, out);
}

enum woq_status woqi_grids_search_coarse(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                         const float *weight, uint32_t jobs, struct woqi_grid *out)
{
    return make_grids(format, n, k, w, weight, &coarse, jobs, out);
}

enum woq_status woqi_grids_of_range(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                    uint32_t jobs, struct woqi_grid *out)
{
    return make_grids(format, n, k, w, NULL, NULL, jobs, out);
}
