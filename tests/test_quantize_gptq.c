/* test_quantize_gptq.c: GPTQ against an implementation in double, column by column, with an explicit inverse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include "quantize_data.h"

#include "calibrate/available.h"
#include "calibrate/moments.h"
#include "quantize/gptq.h"

static struct woqi_gptq prepare(uint64_t k, const float *h, float damping, bool order)
{
    const struct woqi_gptq_params p = {damping, order};
    struct woqi_gptq g;
    enum woq_status st = woqi_gptq_prepare("the layer", k, h, &p, &g);
    if (st)
        fail_msg("%s", woq_last_message());
    return g;
}

/* By Gauss and Jordan. */
static double *invert(uint64_t k, const float *a)
{
    double *m = malloc(k * k * sizeof *m), *inverse = calloc(k * k, sizeof *m);
    for (uint64_t i = 0; i < k * k; i++)
        m[i] = (double)a[i];
    for (uint64_t i = 0; i < k; i++)
        inverse[i * k + i] = 1;
    for (uint64_t p = 0; p < k; p++) {
        double pivot = m[p * k + p];
        for (uint64_t j = 0; j < k; j++) {
            m[p * k + j] /= pivot;
            inverse[p * k + j] /= pivot;
        }
        for (uint64_t i = 0; i < k; i++) {
            double f = m[i * k + p];
            if (i == p || f == 0)
                continue;
            for (uint64_t j = 0; j < k; j++) {
                m[i * k + j] -= f * m[p * k + j];
                inverse[i * k + j] -= f * inverse[p * k + j];
            }
        }
    }
    free(m);
    return inverse;
}

/*
 * Walks through all rows and compares codes. Where a weight lies within 1e-4 of the boundary between two codes it goes
 * on with the code that it is shown; the number of these is returned.
 */
static uint64_t walk(const struct woq_format *f, uint64_t n, uint64_t k, const float *damped, const float *hessian,
                     const uint32_t *order, const struct woqi_grid *grids, const float *weights, const uint8_t *codes)
{
    double *inverse = invert(k, damped), *w = malloc(n * k * sizeof *w);
    uint64_t other = 0;
    for (uint64_t i = 0; i < n * k; i++)
        w[i] = hessian[i % k * (k + 1)] == 0 ? 0 : (double)weights[i];
    for (uint64_t step = 0; step < k; step++) {
        uint64_t c = order[step];
        double pivot = inverse[c * k + c];
        for (uint64_t r = 0; r < n; r++) {
            const struct woqi_grid *g = grid_at(f, k, grids, r, c);
            double scale = (double)g->scale, v = scale != 0 ? w[r * k + c] / scale : 0;
            v = fmin(fmax(v, (double)g->low), (double)g->high);
            double q = rint(v), shown = (double)codes[r * k + c] - (double)g->zero;
            if (q != shown) {
                if (fabs(fabs(v - q) - 0.5) > 1e-4 || fabs(v - shown) > 0.5001)
                    fail_msg("row %d, column %d: code %d, but %g", (int)r, (int)c, codes[r * k + c],
                             v + (double)g->zero);
                other++;
            }
            double missed = (w[r * k + c] - scale * shown) / pivot;
            for (uint64_t j = 0; j < k; j++)
                w[r * k + j] -= missed * inverse[c * k + j];
        }
        /* The inverse of what is left without this column. */
        for (uint64_t i = 0; i < k; i++) {
            double share = inverse[i * k + c] / pivot;
            if (i != c)
                for (uint64_t j = 0; j < k; j++)
                    inverse[i * k + j] -= share * inverse[c * k + j];
        }
        for (uint64_t i = 0; i < k; i++)
            inverse[i * k + c] = inverse[c * k + i] = 0;
    }
    free(inverse), free(w);
    return other;
}

/* One matrix through everything: codes as in double, the error no more than that of rounding on the same grids. */
static uint64_t check_matrix(const struct woq_format *f, uint64_t n, uint64_t k, const float *h, bool order,
                             uint64_t seed)
{
    struct woqi_gptq g = prepare(k, h, 0.01f, order);
    float *w = make_random(n * k, seed), *v = malloc(n * k * sizeof *v), *again = malloc(n * k * sizeof *v);
    struct woqi_grid *grids = malloc(n * k * sizeof *grids);
    uint8_t *codes = malloc(n * k), *more = malloc(n * k);
    for (uint64_t i = 0; i + 1 < k && i < 5; i++) /* a whole group of zeros, if groups are small */
        w[i] = 0;
    assert_int_equal(woqi_grids_search(f, n, k, w, NULL, 1, grids), 0);
    memcpy(v, w, n * k * sizeof *v);
    memcpy(again, w, n * k * sizeof *v);
    assert_int_equal(woqi_gptq_run(&g, f, n, v, grids, 1, codes), 0);
    assert_int_equal(woqi_gptq_run(&g, f, n, again, grids, 3, more), 0);
    assert_memory_equal(codes, more, n * k);
    assert_memory_equal(v, again, n * k * sizeof *v);
    for (uint64_t i = 0; i < n * k; i++) {
        const struct woqi_grid *grid = grid_at(f, k, grids, i / k, i % k);
        assert_true(codes[i] <= (f->code == WOQ_CODE_U4 ? 15 : 255));
        assert_true(v[i] == woqi_grid_value(grid, codes[i]));
    }
    uint64_t other = walk(f, n, k, g.damped, h, g.order, grids, w, codes);
    if (n * k >= 1000) {
        float *nearest = round_all(f, n, k, grids, w);
        double plain = woqi_output_error(n, k, h, w, nearest, 1), error = woqi_output_error(n, k, h, w, v, 1);
        if (error > 0.9 * plain)
            fail_msg("%d×%d, group %d: error %g, of rounding %g", (int)n, (int)k, (int)f->group, error, plain);
        free(nearest);
    }
    free(w), free(v), free(again), free(grids), free(codes), free(more);
    woqi_gptq_release(&g);
    return other;
}

static void test_codes(void **state)
{
    static const uint64_t ns[] = {1, 5, 16, 33}, ks[] = {1, 2, 63, 64, 65, 131, 200},
                          groups[] = {32, 64, 50, 3, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    uint64_t other = 0, all = 0;
    (void)state;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        uint64_t k = ks[i];
        float *x = make_inputs(3 * k, k, i), *h = make_hessian(3 * k, k, x);
        for (int j = 0; j < 24; j++) {
            uint64_t n = ns[((uint64_t)j + i) % 4];
            struct woq_format f =
                make_format(j % 5 == 2 ? WOQ_CODE_U8 : WOQ_CODE_U4, j / 2 % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC,
                            j % 3 == 1 ? WOQ_F32 : WOQ_F16, groups[j / 4]);
            other += check_matrix(&f, n, k, h, j % 2, (uint64_t)j);
            all += n * k;
        }
        free(x), free(h);
    }
    print_message("%d of %d codes on the other side of a boundary\n", (int)other, (int)all);
    assert_true(other <= all / 10000);
}

static void test_factor(void **state)
{
    enum { K = 90 };
    float *x = make_inputs(400, K, 1), *h = make_hessian(400, K, x);
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct woqi_gptq g = prepare(K, h, 0.01f, order);
        double mean = 0;
        assert_true(g.damping == 0.01f && g.dead == 0);
        for (int i = 0; i < K; i++) {
            mean += (double)h[i * K + i] / K;
            if (i && order)
                assert_true(h[g.order[i] * (K + 1)] <= h[g.order[i - 1] * (K + 1)]);
            if (!order)
                assert_int_equal(g.order[i], i);
        }
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                double want = (double)h[i * K + j] + (i == j ? 0.01 * mean : 0);
                assert_true(fabs((double)g.damped[i * K + j] - want) <= 1e-6 * fabs(want));
                assert_true(j <= i || g.factor[i * K + j] == 0);
            }
        /* (H·F)·Fᵀ = 1 */
        double worst = 0;
        for (int i = 0; i < K; i++) {
            double row[K] = {0};
            for (int l = 0; l < K; l++)
                for (int j = 0; j <= l; j++)
                    row[j] += (double)g.damped[g.order[i] * K + g.order[l]] * (double)g.factor[l * K + j];
            for (int j = 0; j < K; j++) {
                double sum = 0;
                for (int l = 0; l <= j; l++)
                    sum += row[l] * (double)g.factor[j * K + l];
                worst = fmax(worst, fabs(sum - (i == j)));
            }
        }
        assert_true(worst < 1e-4);
        woqi_gptq_release(&g);
        assert_null(g.factor);
    }
    free(x), free(h);
}

/* Inputs that are always zero, alone or all. */
static void test_dead(void **state)
{
    enum { K = 70, N = 18 };
    float *x = make_inputs(300, K, 4);
    (void)state;
    for (int all = 0; all < 2; all++)
        for (int order = 0; order < 2; order++) {
            struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 32);
            for (int i = 0; i < 300 * K; i++)
                x[i] = all || i % K == 3 || i % K == 66 ? 0 : x[i];
            float *h = make_hessian(300, K, x), *w = make_random(N * K, 7), *v = make_random(N * K, 7);
            struct woqi_gptq g = prepare(K, h, 0.01f, order);
            struct woqi_grid grids[N * 3];
            uint8_t codes[N * K];
            double sum = 0; /* the mean is that of the others */
            for (int i = 0; i < K; i++)
                sum += (double)h[i * (K + 1)];
            assert_int_equal(g.dead, all ? K : 2);
            assert_true(g.damping == 0.01f);
            for (int i = 0; i < K; i++) {
                const double moment = (double)h[i * (K + 1)], mean = all ? 1 : sum / (K - 2);
                const double want = (moment > 0 ? moment : mean) + 0.01 * mean;
                assert_true(fabs((double)g.damped[i * (K + 1)] - want) < 1e-6 * want);
            }
            assert_int_equal(woqi_grids_search(&f, N, K, w, NULL, 1, grids), 0);
            assert_int_equal(woqi_gptq_run(&g, &f, N, v, grids, 1, codes), 0);
            for (int i = 0; i < N * K; i++)
                if (all || i % K == 3 || i % K == 66)
                    assert_true(v[i] == 0 && codes[i] == grid_at(&f, K, grids, i / K, i % K)->zero);
            assert_true(walk(&f, N, K, g.damped, h, g.order, grids, w, codes) <= 1);
            woqi_gptq_release(&g);
            free(h), free(w), free(v);
        }
    free(x);
}

/* Fewer samples than columns: more damping than asked, and no more than is needed. */
static void test_rank(void **state)
{
    enum { K = 80, N = 20, ROWS = 30 };
    float *x = make_inputs(ROWS, K, 9), *h = make_hessian(ROWS, K, x), *w = make_random(N * K, 7),
          *v = make_random(N * K, 7);
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    struct woqi_grid grids[N * 5];
    uint8_t codes[N * K];
    (void)state;
    struct woqi_gptq g = prepare(K, h, 1e-9f, true);
    assert_true(g.damping > 5e-9f && g.damping < 2e-5f);
    assert_int_equal(woqi_grids_search(&f, N, K, w, NULL, 1, grids), 0);
    assert_int_equal(woqi_gptq_run(&g, &f, N, v, grids, 1, codes), 0);
    for (int i = 0; i < N * K; i++)
        assert_true(isfinite(v[i]) && codes[i] < 16);
    woqi_gptq_release(&g);
    g = prepare(K, h, 0.01f, true);
    assert_true(g.damping == 0.01f);
    memcpy(v, w, sizeof(float) * N * K);
    assert_int_equal(woqi_gptq_run(&g, &f, N, v, grids, 1, codes), 0);
    float *nearest = round_all(&f, N, K, grids, w);
    assert_true(woqi_output_error(N, K, h, w, v, 1) < 0.9 * woqi_output_error(N, K, h, w, nearest, 1));
    woqi_gptq_release(&g);
    free(x), free(h), free(w), free(v), free(nearest);
}

static void test_refusals(void **state)
{
    float h[9] = {2, 1, 0, 1, 2, 0, 0, 0, 2}, w[3] = {1, NAN, 0};
    struct woqi_gptq_params p = {1e-5f, true};
    struct woqi_gptq g;
    struct woqi_grid grid = {0.1f, -8, 7, 8};
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, WOQ_GROUP_CHANNEL);
    uint8_t codes[3];
    (void)state;
    assert_int_equal(woqi_calibration_available(), WOQ_OK);
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_OK);
    assert_int_equal(woqi_gptq_run(&g, &f, 1, w, &grid, 1, codes), WOQ_ERROR_INVALID_DATA);
    assert_says("not finite");
    woqi_gptq_release(&g);
    h[1] = h[3] = 3; /* an eigenvalue of −1 */
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_ERROR_INVALID_DATA);
    assert_says("the layer: the second moments of its inputs are not positive definite, nor with 0.1 of");
    assert_null(g.factor);
    h[1] = h[3] = NAN;
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_ERROR_INVALID_DATA);
    assert_says("the layer: the second moment of inputs 0 and 1 is not a number");
    h[1] = h[3] = -INFINITY;
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_ERROR_INVALID_DATA);
    assert_says("infinite");
    h[1] = h[3] = 0;
    h[8] = -1;
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_ERROR_INVALID_DATA);
    assert_says("input 2 is negative");
    p.damping = -1;
    assert_int_equal(woqi_gptq_prepare("the layer", 3, h, &p, &g), WOQ_ERROR_INVALID_ARGUMENT);
}

static void compare_moments(uint64_t count, const float *got, const double *want, double scale)
{
    for (uint64_t i = 0; i < count; i++)
        if (fabs((double)got[i] - want[i]) > 1e-5 * scale)
            fail_msg("moment %d: %g, not %g", (int)i, (double)got[i], want[i]);
}

static void test_moments(void **state)
{
    enum { K = 37, N = 11, ROWS = 1300 };
    float *x = make_inputs(ROWS, K, 1), *x0 = make_inputs(ROWS, K, 1), *d = make_random(ROWS * N, 2),
          *noise = make_random(ROWS * K, 3);
    for (int i = 0; i < ROWS * K; i++)
        x0[i] += noise[i];
    double *h = make_moments(ROWS, K, x, K, x), *c = make_moments(ROWS, K, noise, K, x),
           *r = make_moments(ROWS, N, d, K, x), most = 0;
    struct woqi_moments m;
    (void)state;
    for (int i = 0; i < K; i++)
        most = fmax(most, h[i * K + i]);
    assert_int_equal(woqi_moments_create(K, N, true, &m), 0);
    woqi_moments_add(&m, 7, x, x0, d);
    woqi_moments_add(&m, ROWS - 7, x + 7 * K, x0 + 7 * K, d + 7 * N);
    assert_int_equal(woqi_moments_finish(&m, "the layer"), 0);
    assert_int_equal(m.rows, ROWS);
    compare_moments(K * K, m.h, h, most);
    compare_moments(K * K, m.c, c, most);
    compare_moments(N * K, m.r, r, most);
    woqi_moments_release(&m);
    assert_int_equal(woqi_moments_create(K, 0, false, &m), 0);
    x[5] = 1e30f;
    woqi_moments_add(&m, ROWS, x, NULL, NULL);
    assert_int_equal(woqi_moments_finish(&m, "the layer"), WOQ_ERROR_INVALID_DATA);
    assert_says("the layer: second moments");
    woqi_moments_release(&m);
    free(x), free(x0), free(d), free(noise), free(h), free(c), free(r);
}

/* Σ |w·x − w0·x0|² over rows. */
static double output_distance(uint64_t n, uint64_t k, const float *w, const float *w0, const float *x,
                              const float *x0, uint64_t rows)
{
    double sum = 0;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < n; i++) {
            double y = 0;
            for (uint64_t j = 0; j < k; j++)
                y += (double)w[i * k + j] * (double)x[r * k + j] - (double)w0[i * k + j] * (double)x0[r * k + j];
            sum += y * y;
        }
    return sum;
}

static void test_target(void **state)
{
    enum { K = 60, N = 300, ROWS = 240 };
    float *x = make_inputs(ROWS, K, 1), *x0 = make_inputs(ROWS, K, 1), *noise = make_random(ROWS * K, 3),
          *w = make_random(N * K, 4), *h = make_hessian(ROWS, K, x), *residual = make_random(N * K, 5),
          *cross = malloc(sizeof(float) * K * K), *v = malloc(sizeof(float) * N * K);
    (void)state;
    for (int i = 0; i < ROWS * K; i++)
        x0[i] += noise[i] + 0.1f * x0[i];
    for (int i = 0; i < ROWS * K; i++)
        noise[i] = x0[i] - x[i];
    double *c = make_moments(ROWS, K, noise, K, x);
    for (int i = 0; i < K * K; i++)
        cross[i] = (float)c[i];
    struct woqi_gptq g = prepare(K, h, 0.01f, true);
    double *inverse = invert(K, g.damped);
    static const float shares[] = {0, 0.5f, 1};
    for (int i = 0; i < 12; i++) {
        float share = shares[i / 4];
        bool with_cross = i % 2, with_residual = i / 2 % 2;
        memcpy(v, w, sizeof(float) * N * K);
        assert_int_equal(
            woqi_gptq_target(&g, N, v, share, with_cross ? cross : NULL, with_residual ? residual : NULL), 0);
        for (int row = 0; row < N; row++) {
            double m[K] = {0};
            for (int j = 0; j < K; j++) {
                for (int l = 0; with_cross && l < K; l++)
                    m[j] += (double)share * (double)w[row * K + l] * c[l * K + j];
                m[j] += with_residual ? (double)residual[row * K + j] : 0;
            }
            for (int j = 0; j < K; j++) {
                double want = (double)w[row * K + j], size = 1e-3;
                for (int l = 0; l < K; l++) {
                    want += m[l] * inverse[l * K + j];
                    size += fabs(m[l] * inverse[l * K + j]);
                }
                if (fabs((double)v[row * K + j] - want) > 1e-5 * size)
                    fail_msg("case %d, row %d, column %d: %g, not %g", i, row, j, (double)v[row * K + j], want);
            }
        }
        if (with_cross && !with_residual && share > 0) {
            double before = output_distance(20, K, w, w, x, x0, ROWS);
            double after = output_distance(20, K, v, w, x, x0, ROWS);
            if (after > before * (share == 1 ? 0.9 : 1))
                fail_msg("share %g: %g, without %g", (double)share, after, before);
        }
    }
    cross[3] = NAN;
    assert_int_equal(woqi_gptq_target(&g, N, v, 1, cross, NULL), WOQ_ERROR_INVALID_DATA);
    woqi_gptq_release(&g);
    free(x), free(x0), free(noise), free(w), free(h), free(residual), free(cross), free(v), free(c), free(inverse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments), cmocka_unit_test(test_factor), cmocka_unit_test(test_codes),
        cmocka_unit_test(test_dead),    cmocka_unit_test(test_rank),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
