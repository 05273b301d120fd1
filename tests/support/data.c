/* data.c: seeded arrays, in modes. */
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum attack {
    EXTREME_SCALES,
    ZERO_ENDS,
    LARGE_PARTIAL_SUMS,
    HALF_OVERFLOW,
    NOT_FINITE,
    ODD_SCALES,
    ATTACKS
};

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t random_bits(struct test_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t random_below(struct test_random *r, uint64_t limit)
{
    return random_bits(r) % limit;
}

double random_uniform(struct test_random *r)
{
    return (double)(random_bits(r) >> 11) * 0x1p-53;
}

double random_normal(struct test_random *r)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += random_uniform(r);
    return sum;
}

struct generator {
    const struct test_case *c;
    struct test_random random;
    enum attack attack; /* ATTACKS unless adversarial */
    bool plain;
    uint32_t top; /* largest code */
};

static double pick(struct test_random *r, const double *values, size_t count)
{
    return values[random_below(r, count)];
}

/* Largest and smallest normal number of a type. */
static void type_range(enum woq_type type, double *largest, double *smallest)
{
    *largest = type == WOQ_F16 ? 65504.0 : type == WOQ_BF16 ? 0x1.fep127 : 0x1.fffffep127;
    *smallest = type == WOQ_F16 ? 0x1p-14 : 0x1p-126;
}

/* Are all but X as in CASE_RANDOM? */
static bool is_random(const struct generator *g)
{
    return g->c->data == CASE_RANDOM || g->c->data == CASE_BLOCKS;
}

/* Of CASE_SUBNORMAL: a subnormal number of the type if `small`, near the least normal one; else a large one. */
static double make_positive(struct generator *g, enum woq_type type, bool small, double large)
{
    double largest, smallest;
    type_range(type, &largest, &smallest);
    return small ? smallest * (0.25 + 0.74 * random_uniform(&g->random)) : large * (1 - random_uniform(&g->random) / 8);
}

static double make_scale(struct generator *g)
{
    static const double powers[] = {0.5, 1, 2, -1};
    double largest, smallest;
    struct test_random *r = &g->random;
    type_range((enum woq_type)g->c->scale, &largest, &smallest);
    if (g->c->data == CASE_SUBNORMAL)
        return make_positive(g, (enum woq_type)g->c->scale, g->c->seed % 2, 1);
    switch (g->attack) {
    case EXTREME_SCALES: {
        const double ends[] = {largest, -largest, smallest, -smallest, 1};
        return pick(r, ends, 5);
    }
    case LARGE_PARTIAL_SUMS:
    case HALF_OVERFLOW: return 1;
    case ODD_SCALES: {
        const double odd[] = {0, -0.0, -0.5, 1, g->c->scale == WOQ_F16 ? 0x1p-24 : smallest};
        return pick(r, odd, 5);
    }
    case ZERO_ENDS: return pick(r, powers, 4);
    default: break;
    }
    if (g->c->data == CASE_INTEGERS)
        return pick(r, powers, 4);
    return exp2(-8 * random_uniform(r)) * (random_below(r, 8) ? 1 : -1);
}

static uint32_t make_zero_point(struct generator *g)
{
    if (g->c->data == CASE_SUBNORMAL)
        return 0;
    if (g->attack == EXTREME_SCALES)
        return 1 + (uint32_t)random_below(&g->random, g->top - 1);
    if (g->attack == ZERO_ENDS)
        return random_below(&g->random, 2) ? g->top : 0;
    if (g->attack == LARGE_PARTIAL_SUMS || g->attack == HALF_OVERFLOW)
        return 1;
    return (uint32_t)random_below(&g->random, g->top + 1);
}

static double make_offset(struct generator *g, double scale)
{
    if (g->c->data == CASE_SUBNORMAL)
        return make_positive(g, (enum woq_type)g->c->scale, g->c->seed % 2, g->c->scale == WOQ_F16 ? 6e4 : 1e6);
    if (g->attack == EXTREME_SCALES)
        return 0;
    if (g->attack == LARGE_PARTIAL_SUMS || g->attack == HALF_OVERFLOW)
        return -1;
    if (is_random(g) || g->attack == NOT_FINITE)
        return -scale * (g->top + 1) * (0.25 + 0.5 * random_uniform(&g->random));
    return ((double)random_below(&g->random, 17) - 8) / 2;
}

/* A code for a weight whose group's zero is `zero`. */
static uint32_t make_code(struct generator *g, uint32_t zero)
{
    if (g->c->data == CASE_SUBNORMAL)
        return g->top - (uint32_t)random_below(&g->random, 3);
    switch (g->attack) {
    case EXTREME_SCALES: /* |q − zero| ≤ 1: scale·(q − zero) stays finite */
        if (g->c->zero == WOQ_ZERO_OFFSET)
            return (uint32_t)random_below(&g->random, 2);
        return zero - 1 + (uint32_t)random_below(&g->random, 3);
    case ZERO_ENDS: return random_below(&g->random, 2) ? g->top : 0;
    case LARGE_PARTIAL_SUMS:
    case HALF_OVERFLOW: return g->top;
    default: return (uint32_t)random_below(&g->random, g->top + 1);
    }
}

static double make_plain(struct generator *g)
{
    double largest, smallest;
    struct test_random *r = &g->random;
    const enum woq_type type = g->c->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16;
    type_range(type, &largest, &smallest);
    if (g->c->data == CASE_SUBNORMAL)
        return make_positive(g, type, g->c->seed % 2, type == WOQ_F16 ? 6e4 : 1e6);
    switch (g->attack) {
    case EXTREME_SCALES: {
        const double ends[] = {largest, -largest, smallest, -smallest, smallest / 2, 1};
        return pick(r, ends, 6);
    }
    case LARGE_PARTIAL_SUMS: return 7;
    case HALF_OVERFLOW: return 100;
    default: break;
    }
    if (is_random(g))
        return random_normal(r) / 8;
    return ((double)random_below(r, 33) - 16) / 2;
}

static bool is_outlier(const struct generator *g, uint64_t column)
{
    return g->c->data == CASE_OUTLIERS && column == g->c->k / 2;
}

/* Of CASE_BLOCKS. */
static double make_block_x(struct generator *g, uint64_t row, uint64_t column)
{
    const int least = g->c->x == WOQ_F16 ? -24 : g->c->x == WOQ_BF16 ? -133 : -149; /* the smallest number's exponent */
    struct test_random *r = &g->random;
    switch (row % 6) {
    case 0: return column % 128 == 77 % g->c->k ? 65504 : 1e-3 * random_normal(r);
    case 1: return ldexp((double)random_below(r, 9) - 4, least);
    case 2: return 0;
    case 3: return column == g->c->k / 2 ? NAN : random_normal(r);
    case 4: return column == g->c->k / 3 ? (row % 4 ? INFINITY : -INFINITY) : random_normal(r);
    default: return ldexp(random_normal(r), (int)(column / 128 * 37 % 5) * -least / 6 + least * 2 / 3);
    }
}

static double make_x(struct generator *g, uint64_t row, uint64_t column)
{
    struct test_random *r = &g->random;
    switch (g->attack) {
    case EXTREME_SCALES:
        return (random_below(r, 2) ? 1 : -1) * exp2(-14 + (double)random_below(r, 2));
    case LARGE_PARTIAL_SUMS: /* the halves cancel; an odd column is left over */
        if (column + 1 == g->c->k && g->c->k % 2)
            return 1;
        return (g->top == 15 || g->plain ? 64 : 32) * (column < g->c->k / 2 ? 1 : -1);
    case HALF_OVERFLOW:
        return (g->top == 15 ? 512 : 32) * (row % 2 ? -1 : 1);
    case NOT_FINITE:
        if (row == g->c->m / 2 && column == g->c->k / 2)
            return NAN;
        if (row + 1 == g->c->m && g->c->m > 1 && column == g->c->k / 3)
            return g->c->seed / ATTACKS % 2 ? -INFINITY : INFINITY;
        return random_normal(r);
    default: break;
    }
    if (g->c->data == CASE_BLOCKS)
        return make_block_x(g, row, column);
    if (g->c->data == CASE_SUBNORMAL)
        return make_positive(g, (enum woq_type)g->c->x, !(g->c->seed % 2), 64);
    if (is_outlier(g, column))
        return 1024;
    if (g->c->data == CASE_OUTLIERS)
        return ldexp(random_normal(r), -20 - (int)random_below(r, 26));
    if (g->c->data == CASE_RANDOM)
        return random_normal(r);
    return (double)random_below(r, 7) - 3;
}

static double make_small(struct generator *g)
{
    if (is_random(g))
        return 4 * random_normal(&g->random);
    return ((double)random_below(&g->random, 65) - 32) / 2;
}

static void *keep(struct test_data *d, uint64_t bytes)
{
    void *p = calloc(bytes ? bytes : 1, 1);
    d->owned[d->owned_count] = p;
    d->owned_count += p != NULL;
    return p;
}

/* One g_idx for all sources. EQUAL: a shuffle of k / group. UNEVEN: any group, group 0 left empty
 * if there are several. */
static uint32_t *make_index(struct generator *g, struct test_data *d)
{
    const uint64_t k = g->c->k, groups = (k + g->c->group - 1) / g->c->group;
    uint32_t *index = keep(d, k * sizeof(*index));
    if (!index)
        return NULL;
    for (uint64_t i = 0; i < k; i++) {
        index[i] = (uint32_t)(i / g->c->group);
        if (g->c->order == CASE_UNEVEN_GROUPS)
            index[i] = groups > 1 ? 1 + (uint32_t)random_below(&g->random, groups - 1) : 0;
    }
    for (uint64_t i = k - 1; i > 0 && g->c->order == CASE_EQUAL_GROUPS; i--) {
        const uint64_t j = random_below(&g->random, i + 1);
        const uint32_t swap = index[i];
        index[i] = index[j];
        index[j] = swap;
    }
    return index;
}

static bool make_scales(struct generator *g, struct test_data *d, struct woq_weights_source *s)
{
    const enum woq_type type = s->format.scale;
    const uint64_t groups =
        s->format.group == WOQ_GROUP_TENSOR ? 1 : s->n * oracle_groups(&s->format, s->k);
    const bool offset = s->format.zero == WOQ_ZERO_OFFSET;
    void *scales = keep(d, groups * oracle_type_size(type));
    void *zeros = NULL;
    if (s->format.zero != WOQ_ZERO_SYMMETRIC)
        zeros = keep(d, groups * (offset ? oracle_type_size(type) : 1));
    s->scales = scales;
    s->zeros = zeros;
    if (!scales || (!zeros && s->format.zero != WOQ_ZERO_SYMMETRIC))
        return false;
    for (uint64_t i = 0; i < groups; i++) {
        const double scale = make_scale(g);
        oracle_encode(scales, type, i, scale);
        if (offset)
            oracle_encode(zeros, type, i, make_offset(g, scale));
        else if (zeros)
            ((uint8_t *)zeros)[i] = (uint8_t)make_zero_point(g);
    }
    return true;
}

static uint32_t zero_of(const struct generator *g, const struct woq_weights_source *s, uint64_t row,
                        uint64_t column)
{
    if (s->format.zero != WOQ_ZERO_POINT)
        return (g->top + 1) / 2;
    const uint64_t groups = oracle_groups(&s->format, s->k);
    uint64_t at = s->format.group == WOQ_GROUP_TENSOR ? 0 : row * groups;
    if (groups > 1)
        at += s->g_idx ? s->g_idx[column] : column / s->format.group;
    return ((const uint8_t *)s->zeros)[at];
}

static bool make_source(struct generator *g, struct test_data *d, struct woq_weights_source *s)
{
    const uint64_t bits = g->plain ? 16 : g->top == 15 ? 4 : 8;
    const uint64_t dense = (s->k * bits + 7) / 8;
    const uint64_t stride = dense + g->c->code_pad * (g->plain ? 2 : 1);
    s->row_stride = g->c->code_pad ? stride : 0;
    if (!g->plain && !make_scales(g, d, s))
        return false;
    uint8_t *codes = keep(d, stride * s->n);
    s->codes = codes;
    if (!codes)
        return false;
    memset(codes, 0xd7, stride * s->n); /* what lies between rows must not matter */
    for (uint64_t row = 0; row < s->n; row++) {
        uint8_t *line = codes + row * stride;
        for (uint64_t column = 0; column < s->k; column++) {
            if (g->plain) {
                oracle_encode(line, g->c->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16, column,
                              is_outlier(g, column) ? 0 : make_plain(g));
                continue;
            }
            const uint32_t zero = zero_of(g, s, row, column);
            const uint32_t q = is_outlier(g, column) ? zero : make_code(g, zero);
            if (bits == 8)
                line[column] = (uint8_t)q;
            else if (column % 2)
                line[column / 2] = (uint8_t)((line[column / 2] & 15u) | q << 4);
            else
                line[column / 2] = (uint8_t)((line[column / 2] & 0xf0u) | q);
        }
    }
    return true;
}

static bool make_activations(struct generator *g, struct test_data *d)
{
    const struct test_case *c = g->c;
    d->x = keep(d, c->m * c->k * 4);
    if (c->bias)
        d->bias = keep(d, d->rows * 4);
    if (c->residual)
        d->residual = keep(d, c->m * c->n * 4);
    if (!d->x || (c->bias && !d->bias) || (c->residual && !d->residual))
        return false;
    for (uint64_t i = 0; i < c->m * c->k; i++)
        oracle_encode(d->x, (enum woq_type)c->x, i, make_x(g, i / c->k, i % c->k));
    for (uint64_t i = 0; c->bias && i < d->rows; i++)
        oracle_encode(d->bias, (enum woq_type)c->bias, i, make_small(g));
    for (uint64_t i = 0; c->residual && i < c->m * c->n; i++)
        oracle_encode(d->residual, (enum woq_type)c->y, i, make_small(g));
    return true;
}

bool data_create(const struct test_case *c, struct test_data *out)
{
    struct generator g = {.c = c, .random = {c->seed * 2654435761u + 1}, .attack = ATTACKS,
                          .plain = c->code == WOQ_CODE_F16 || c->code == WOQ_CODE_BF16,
                          .top = c->code == WOQ_CODE_U4 ? 15 : 255};
    *out = (struct test_data){.gated = c->activation == WOQ_ACTIVATION_SILU_MUL};
    if (c->data == CASE_ADVERSARIAL)
        g.attack = (enum attack)(c->seed % ATTACKS);
    out->exact = c->data == CASE_INTEGERS || g.attack == ZERO_ENDS ||
                 g.attack == LARGE_PARTIAL_SUMS || g.attack == HALF_OVERFLOW;
    out->count = out->gated ? 2 : c->stack > DATA_MAX_STACK ? DATA_MAX_STACK : (uint32_t)c->stack;
    uint32_t *index = NULL;
    if (c->order != CASE_NO_INDEX && !g.plain) {
        index = make_index(&g, out);
        if (!index)
            goto fail;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        struct woq_weights_source *s = &out->sources[i];
        *s = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
        s->format.code = (enum woq_code)c->code;
        s->format.zero = (enum woq_zero)c->zero;
        s->format.scale = (enum woq_type)c->scale;
        s->format.group = c->group;
        s->format.g_idx = index != NULL;
        s->g_idx = index;
        s->k = c->k;
        s->n = out->gated ? c->n : c->n * (i + 1) / out->count - c->n * i / out->count;
        out->rows += s->n;
        if (!make_source(&g, out, s))
            goto fail;
    }
    if (!make_activations(&g, out))
        goto fail;
    return true;
fail:
    data_destroy(out);
    return false;
}

void data_destroy(struct test_data *data)
{
    for (uint32_t i = 0; i < data->owned_count; i++)
        free(data->owned[i]);
    *data = (struct test_data){0};
}
