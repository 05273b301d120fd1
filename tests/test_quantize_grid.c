/* test_quantize_grid.c: the search of grids against one in double, and what must hold for any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include "quantize_data.h"

static double rounded(enum woq_type type, double v)
{
    float f = (float)v;
    return type == WOQ_F16    ? (double)woq_f16_to_f32(woq_f32_to_f16(f))
           : type == WOQ_BF16 ? (double)woq_bf16_to_f32(woq_f32_to_bf16(f))
                              : (double)f;
}

/* The least error over codes low … high of scale·(code − zero), each weight by the nearest one. */
static double cost(uint64_t count, const float *w, const float *weight, double scale, double low, double high)
{
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        double q = scale != 0 ? rint((double)w[i] / scale) : 0;
        q = fmin(fmax(q, low), high);
        double e = (double)w[i] - scale * q;
        sum += (weight ? (double)weight[i] : 1) * e * e;
    }
    return sum;
}

/* What grid.h says is tried. */
static double least(const struct woq_format *f, uint64_t count, const float *w, const float *weight)
{
    double low = 0, high = 0, best = INFINITY, top = f->code == WOQ_CODE_U4 ? 15 : 255, half = (top + 1) / 2;
    for (uint64_t i = 0; i < count; i++) {
        low = fmin(low, (double)w[i]);
        high = fmax(high, (double)w[i]);
    }
    for (int i = 0; i <= 40; i++) {
        double part = 0.5 + 0.5 * i / 40;
        if (f->zero == WOQ_ZERO_SYMMETRIC) {
            double most = fmax(-low, high) * part;
            double scales[3] = {rounded(f->scale, most / half), rounded(f->scale, -most / half),
                                rounded(f->scale, most / (half - 1))};
            for (int j = 0; j < 3; j++)
                best = fmin(best, cost(count, w, weight, scales[j], -half, half - 1));
            continue;
        }
        double scale = rounded(f->scale, (high - low) * part / top);
        for (int j = -1; j <= 1; j++) {
            double zero = fmin(fmax(rint(-low * part / scale) + j, 0), top);
            best = fmin(best, cost(count, w, weight, scale, -zero, top - zero));
        }
    }
    return best;
}

static double cost_of(const struct woqi_grid *g, uint64_t count, const float *w, const float *weight)
{
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        double e = (double)w[i] - (double)woqi_grid_value(g, woqi_grid_code(g, w[i]));
        sum += (weight ? (double)weight[i] : 1) * e * e;
    }
    return sum;
}

/* Every format: no worse than the best of the list, and than rounding to nearest. */
static void test_search(void **state)
{
    enum { K = 300 };
    static const uint64_t counts[] = {1, 2, 7, 32, 64, 65, 128, K};
    static const enum woq_type types[] = {WOQ_F32, WOQ_F16, WOQ_BF16};
    float w[K], weight[K];
    int negative = 0, positive = 0;
    (void)state;
    for (uint64_t i = 0; i < sizeof counts / sizeof *counts * 12 * 8; i++) {
        uint64_t count = counts[i / 96];
        struct woq_format f = make_format(i % 2 ? WOQ_CODE_U4 : WOQ_CODE_U8,
                                          i / 2 % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC, types[i / 4 % 3], count);
        fill(w, K, i);
        fill(weight, K, i + 1000);
        for (uint64_t j = 0; j < K; j++)
            weight[j] = fabsf(weight[j]) + (j % 5 ? 0 : 1);
        const float *h = i / 12 % 2 ? weight : NULL;
        if (i % 7 == 3)
            w[0] = 0.9f; /* an outlier */
        struct woqi_grid g = woqi_grid_search(&f, count, w, h);
        float low, high;
        assert_true(woqi_range_of(count, w, &low, &high));
        struct woqi_grid plain = woqi_grid_of_range(&f, low, high);
        double got = cost_of(&g, count, w, h), best = least(&f, count, w, h), nearest = cost_of(&plain, count, w, h);
        /* Errors of single weights are off by three roundings of binary32, sums of 64 squares by 2^-17 of them. */
        double off = 3 * ldexp(fmax(-(double)low, (double)high), -24), all = 0;
        for (uint64_t j = 0; j < count; j++)
            all += h ? (double)h[j] : 1;
        double slack = ldexp(nearest, -17) + 2 * sqrt(nearest * all) * off + all * off * off;
        if (got > best + slack || got > nearest + slack || got < best - slack)
            fail_msg("case %d, %d weights: %g, least %g, to nearest %g", (int)i, (int)count, got, best, nearest);
        assert_true(g.scale != 0 && isfinite(g.scale));
        assert_true((double)g.scale == rounded(f.scale, (double)g.scale));
        float top = f.code == WOQ_CODE_U4 ? 15 : 255;
        assert_true(g.low + (float)g.zero >= 0 && g.high + (float)g.zero <= top);
        for (uint64_t j = 0; j < count; j++)
            assert_true(woqi_grid_code(&g, w[j]) <= (unsigned)top);
        negative += g.scale < 0;
        positive += g.scale > 0 && f.zero == WOQ_ZERO_SYMMETRIC;
    }
    assert_true(negative > 50);
    assert_true(positive > 50);
}

/* The further code goes to the side that has the further weight. */
static void test_signs(void **state)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    float w[16];
    (void)state;
    for (int i = 0; i < 16; i++)
        w[i] = (float)(i - 8) / 64;
    struct woqi_grid g = woqi_grid_search(&f, 16, w, NULL);
    assert_true(g.scale == 1.0f / 64);
    assert_int_equal(woqi_grid_code(&g, w[0]), 0);
    for (int i = 0; i < 16; i++)
        w[i] = -w[i];
    g = woqi_grid_search(&f, 16, w, NULL);
    assert_true(g.scale == -1.0f / 64);
    for (int i = 0; i < 16; i++)
        assert_true(woqi_grid_value(&g, woqi_grid_code(&g, w[i])) == w[i]);
}

/* Where importance is all on one column it is hit; where there is none the range decides. */
static void test_importance(void **state)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F32, 64);
    float w[64], weight[64] = {0};
    (void)state;
    fill(w, 64, 5);
    struct woqi_grid g = woqi_grid_search(&f, 64, w, weight), plain = woqi_grid_search(&f, 64, w, NULL);
    float low, high;
    woqi_range_of(64, w, &low, &high);
    assert_true(g.scale == woqi_grid_of_range(&f, low, high).scale);
    weight[9] = 1;
    g = woqi_grid_search(&f, 64, w, weight);
    float hit = fabsf(w[9] - woqi_grid_value(&g, woqi_grid_code(&g, w[9])));
    assert_true(hit < fabsf(w[9]) * 0.01f);
    assert_true(cost_of(&g, 64, w, NULL) > cost_of(&plain, 64, w, NULL));
}

static void test_extremes(void **state)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32);
    float w[32];
    (void)state;
    /* Nothing but zeros. */
    memset(w, 0, sizeof w);
    for (int zero = 0; zero < 2; zero++) {
        f.zero = zero ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC;
        struct woqi_grid g = woqi_grid_search(&f, 32, w, NULL);
        assert_true(g.scale == 0);
        assert_int_equal(woqi_grid_code(&g, w[3]), zero ? 0 : 8);
    }
    /* Scales near the least of binary16, 2^-24, in steps of a factor √2; below half of it the range decides. */
    for (float size = 1e-4f; size > 1e-9f; size *= 0.70710678f)
        for (int zero = 0; zero < 2; zero++) {
            f.zero = zero ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC;
            fill(w, 32, 3);
            float low, high;
            for (int i = 0; i < 32; i++)
                w[i] *= size;
            woqi_range_of(32, w, &low, &high);
            struct woqi_grid g = woqi_grid_search(&f, 32, w, NULL), range = woqi_grid_of_range(&f, low, high);
            assert_true(isfinite(g.scale));
            assert_true((g.scale != 0) >= (range.scale != 0));
            assert_true(cost_of(&g, 32, w, NULL) <= cost_of(&range, 32, w, NULL) * 1.00001);
        }
    /* Of binary32 there are more: sizes whose squares leave it. */
    for (int e = -120; e <= 120; e += 16) {
        struct woq_format wide = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F32, 32);
        fill(w, 32, 3);
        struct woqi_grid one = woqi_grid_search(&wide, 32, w, NULL);
        for (int i = 0; i < 32; i++)
            w[i] = ldexpf(w[i], e);
        assert_true(woqi_grid_search(&wide, 32, w, NULL).scale == ldexpf(one.scale, e));
    }
    /* Too large for rounding to nearest, not for half of its scale. */
    f.zero = WOQ_ZERO_SYMMETRIC;
    fill(w, 32, 3);
    w[4] = 65504.0f * 8;
    struct woqi_grid g = woqi_grid_search(&f, 32, w, NULL), range = woqi_grid_of_range(&f, 0, w[4]);
    assert_true(!isfinite(range.scale));
    assert_true(g.scale == -65504.0f);
}

static void test_matrix(void **state)
{
    enum { N = 70, K = 150 };
    static const uint64_t groups[] = {64, 32, 7, 1, K, 200, WOQ_GROUP_CHANNEL};
    float *w = malloc(sizeof(float) * N * K), weight[K];
    struct woqi_grid *grids = malloc(sizeof *grids * N * K), *again = malloc(sizeof *grids * N * K);
    (void)state;
    assert_true(w && grids && again);
    fill(w, N * K, 8);
    fill(weight, K, 9);
    for (int i = 0; i < K; i++)
        weight[i] = fabsf(weight[i]);
    for (size_t i = 0; i < sizeof groups / sizeof *groups * 2; i++) {
        struct woq_format f = make_format(WOQ_CODE_U4, i % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC, WOQ_F16,
                                          groups[i / 2]);
        struct woq_format_sizes sizes;
        assert_int_equal(woq_format_get_sizes(&f, N, K, &sizes), 0);
        memset(grids, 0, sizeof *grids * N * sizes.groups); /* padding is compared, too */
        memset(again, 0, sizeof *grids * N * sizes.groups);
        assert_int_equal(woqi_grids_search(&f, N, K, w, weight, 1, grids), 0);
        assert_int_equal(woqi_grids_search(&f, N, K, w, weight, 3, again), 0);
        assert_memory_equal(grids, again, sizeof *grids * N * sizes.groups);
        uint64_t group = sizes.groups == 1 ? K : f.group;
        for (uint64_t r = 0; r < N; r++)
            for (uint64_t c = 0; c < sizes.groups; c++) {
                uint64_t count = K - c * group < group ? K - c * group : group;
                struct woqi_grid one = woqi_grid_search(&f, count, w + r * K + c * group, weight + c * group);
                assert_true(one.scale == grids[r * sizes.groups + c].scale);
                assert_int_equal(one.zero, grids[r * sizes.groups + c].zero);
            }
        /* The coarse ones lie between. */
        double fine = 0, rough = 0, plain = 0;
        assert_int_equal(woqi_grids_search(&f, N, K, w, NULL, 1, grids), 0);
        for (uint64_t r = 0; r < N * K; r++)
            fine += cost_of(grids + r / K * sizes.groups + r % K / group, 1, w + r, NULL);
        assert_int_equal(woqi_grids_search_coarse(&f, N, K, w, NULL, 1, grids), 0);
        for (uint64_t r = 0; r < N * K; r++)
            rough += cost_of(grids + r / K * sizes.groups + r % K / group, 1, w + r, NULL);
        assert_int_equal(woqi_grids_of_range(&f, N, K, w, 1, grids), 0);
        for (uint64_t r = 0; r < N * K; r++)
            plain += cost_of(grids + r / K * sizes.groups + r % K / group, 1, w + r, NULL);
        if (fine > rough * 1.00001 + 1e-12 || rough > plain * 1.00001 + 1e-12)
            fail_msg("group %d: %g, coarse %g, by the range %g", (int)group, fine, rough, plain);
    }
    free(w);
    free(grids);
    free(again);
}

static void test_tensor(void **state)
{
    enum { N = 90, K = 33 };
    float *w = malloc(sizeof(float) * N * K), *weight = malloc(sizeof(float) * N * K);
    (void)state;
    assert_true(w && weight);
    fill(w, N * K, 4);
    fill(weight, K, 5);
    for (int i = 0; i < N * K; i++)
        weight[i] = i < K ? fabsf(weight[i]) : weight[i % K];
    for (int zero = 0; zero < 2; zero++) {
        struct woq_format f = make_format(WOQ_CODE_U8, zero ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC, WOQ_BF16,
                                          WOQ_GROUP_TENSOR);
        struct woqi_grid g, again, range;
        assert_int_equal(woqi_grids_search(&f, N, K, w, weight, 1, &g), 0);
        assert_int_equal(woqi_grids_search(&f, N, K, w, weight, 4, &again), 0);
        assert_int_equal(woqi_grids_of_range(&f, N, K, w, 2, &range), 0);
        assert_true(g.scale == again.scale && g.zero == again.zero);
        double got = cost_of(&g, N * K, w, weight), best = least(&f, N * K, w, weight);
        if (fabs(got - best) > 1e-5 * best || got > cost_of(&range, N * K, w, weight) * 1.00001)
            fail_msg("%g, least %g, by the range %g", got, best, cost_of(&range, N * K, w, weight));
    }
    free(w);
    free(weight);
}

static void test_refusals(void **state)
{
    float w[4 * 48];
    struct woqi_grid grids[4 * 3];
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    (void)state;
    for (int tensor = 0; tensor < 2; tensor++) {
        f.group = tensor ? WOQ_GROUP_TENSOR : 16;
        fill(w, 4 * 48, 1);
        w[2 * 48 + 17] = NAN;
        assert_int_equal(woqi_grids_search(&f, 4, 48, w, NULL, 2, grids), WOQ_ERROR_INVALID_DATA);
        assert_says("row 2, column 17 is not a number");
        w[2 * 48 + 17] = -INFINITY;
        assert_int_equal(woqi_grids_of_range(&f, 4, 48, w, 2, grids), WOQ_ERROR_INVALID_DATA);
        assert_says("row 2, column 17 is infinite");
        w[2 * 48 + 17] = 1e30f;
        assert_int_equal(woqi_grids_search(&f, 4, 48, w, NULL, 2, grids), WOQ_ERROR_INVALID_DATA);
        assert_says(tensor ? "row 0, column 0 on are too large" : "row 2, column 16 on are too large");
    }
    f.group = 16;
    assert_int_equal(woqi_grids_search(&f, 4, 0, w, NULL, 2, grids), WOQ_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search), cmocka_unit_test(test_signs),  cmocka_unit_test(test_importance),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_matrix), cmocka_unit_test(test_tensor),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
