/* test_quantize_awq.c: scales of channels, against the errors of all exponents; errors of outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include "quantize_data.h"

#include "quantize/awq.h"
#include "quantize/gptq.h"

static void test_output_error(void **state)
{
    static const uint64_t ns[] = {1, 5, 16, 33}, ks[] = {1, 3, 4, 61, 130};
    (void)state;
    for (int i = 0; i < 20; i++) {
        uint64_t n = ns[i % 4], k = ks[i / 4];
        float *x = make_inputs(2 * k, k, 1), *h = make_hessian(2 * k, k, x), *w = make_random(n * k, 2),
              *v = make_random(n * k, 3);
        for (int energy = 0; energy < 2; energy++) {
            double want = naive_error(n, k, h, w, energy ? NULL : v);
            double got = woqi_output_error(n, k, h, w, energy ? NULL : v, 1);
            if (fabs(got - want) > 1e-5 * want)
                fail_msg("%d×%d: %g, not %g", (int)n, (int)k, got, want);
            assert_true(got == woqi_output_error(n, k, h, w, energy ? NULL : v, 3));
        }
        free(x), free(h), free(w), free(v);
    }
}

/* s of one exponent, in double. */
static void scales_of(uint64_t k, const float *mean, double exponent, double *s)
{
    double largest = 0, least = INFINITY, most = 0;
    for (uint64_t i = 0; i < k; i++)
        largest = fmax(largest, (double)mean[i]);
    for (uint64_t i = 0; i < k; i++) {
        s[i] = pow(fmax((double)mean[i], largest * 1e-5), exponent);
        least = fmin(least, s[i]);
        most = fmax(most, s[i]);
    }
    for (uint64_t i = 0; i < k; i++)
        s[i] /= sqrt(least * most);
}

/* The error of n rows with scales s. */
static double error_of(const struct woqi_awq_matrix *m, uint64_t k, const float *h, const double *s)
{
    float *scaled = make_random(m->n * k, 0);
    struct woqi_grid *grids = malloc(m->n * k * sizeof *grids);
    for (uint64_t i = 0; i < m->n * k; i++)
        scaled[i] = m->w[i] * (float)s[i % k];
    assert_int_equal(woqi_grids_search_coarse(m->format, m->n, k, scaled, NULL, 1, grids), 0);
    float *v = round_all(m->format, m->n, k, grids, scaled);
    for (uint64_t i = 0; i < m->n * k; i++)
        v[i] /= (float)s[i % k];
    double error = naive_error(m->n, k, h, m->w, v);
    free(scaled), free(grids), free(v);
    return error;
}

/* Means of |x| that spread `spread`-fold over x. */
static float *widen(uint64_t rows, uint64_t k, float *x, float spread)
{
    float *mean = calloc(k, sizeof *mean);
    for (uint64_t i = 0; i < rows * k; i++) {
        x[i] *= powf(spread, (float)(i % k * 37 % k) / (float)k);
        mean[i % k] += fabsf(x[i]) / (float)rows;
    }
    return mean;
}

static void test_search(void **state)
{
    enum { K = 70, ROWS = 200 };
    static const uint64_t groups[] = {32, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    (void)state;
    for (int i = 0; i < 12; i++) {
        float *x = make_inputs(ROWS, K, (uint64_t)i), *mean = widen(ROWS, K, x, i % 2 ? 1000 : 20),
              *h = make_hessian(ROWS, K, x), *w = make_random(21 * K, 5), *one = make_random(K, 6), s[K], again[K],
              exponent, other;
        struct woq_format f = make_format(WOQ_CODE_U4, i / 2 % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC, WOQ_F16,
                                          groups[i / 4]);
        const struct woqi_awq_matrix matrices[] = {{&f, 21, w}, {&f, 1, one}};
        assert_int_equal(woqi_awq_search(K, mean, h, 2, matrices, 1, s, &exponent), 0);
        assert_int_equal(woqi_awq_search(K, mean, h, 2, matrices, 3, again, &other), 0);
        assert_memory_equal(s, again, sizeof s);
        double scales[K], best = INFINITY, chosen = 0, none = 0;
        for (int a = 0; a < 20; a++) {
            scales_of(K, mean, a / 20.0, scales);
            double error = error_of(matrices, K, h, scales) + error_of(matrices + 1, K, h, scales);
            best = fmin(best, error);
            none = a ? none : error;
            if (fabs(a / 20.0 - (double)exponent) < 1e-6) {
                chosen = error;
                for (int c = 0; c < K; c++)
                    assert_true(fabs((double)s[c] - scales[c]) < 1e-5 * scales[c]);
            }
        }
        /* Scales of both sides differ in their last bit. */
        if (chosen > best * 1.002 || chosen > none * 1.002 || chosen == 0)
            fail_msg("case %d: exponent %g gives %g; the best %g, none %g", i, (double)exponent, chosen, best, none);
        if (i % 2 && i < 4)
            assert_true(exponent > 0 && best < 0.9 * none);
        free(x), free(mean), free(h), free(w), free(one);
    }
}

/* Nothing to tell channels apart; channels without inputs; more rows than are sampled. */
static void test_special(void **state)
{
    enum { K = 48, ROWS = 100, N = 1100 };
    float *x = make_inputs(ROWS, K, 3), *h = make_hessian(ROWS, K, x), *w = make_random(N * K, 5), mean[K], s[K],
          exponent;
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    const struct woqi_awq_matrix m = {&f, N, w};
    (void)state;
    for (int i = 0; i < K; i++)
        mean[i] = 0.25f;
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), 0);
    assert_true(exponent == 0);
    for (int i = 0; i < K; i++)
        assert_true(s[i] == 1);
    memset(mean, 0, sizeof mean);
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), 0);
    assert_true(exponent == 0 && s[0] == 1);
    for (int i = 0; i < K; i++) {
        mean[i] = sqrtf(h[i * K + i]);
        if (i % 10 == 4) {
            mean[i] = 0;
            for (int j = 0; j < K; j++)
                h[i * K + j] = h[j * K + i] = 0;
        }
    }
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), 0);
    float least = INFINITY, most = 0;
    for (int i = 0; i < K; i++) {
        assert_true(isfinite(s[i]) && s[i] > 0);
        least = fminf(least, s[i]);
        most = fmaxf(most, s[i]);
    }
    assert_true(fabsf(least * most - 1) < 1e-5f);
    /* Only rows that are sampled count: 512 of 1100, evenly. */
    for (uint64_t i = 0, at = 0; i < N; i++) {
        bool sampled = i == at * N / 512;
        at += sampled;
        if (!sampled)
            w[i * K] = NAN;
    }
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), 0);
    w[0] = NAN;
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), WOQ_ERROR_INVALID_DATA);
    assert_says("not a number");
    mean[7] = NAN;
    assert_int_equal(woqi_awq_search(K, mean, h, 1, &m, 2, s, &exponent), WOQ_ERROR_INVALID_DATA);
    assert_says("input 7");
    free(x), free(h), free(w);
}

/* A matrix of whose rows an eighth is sampled counts as all of it, beside one that wants no scales: codes are exact. */
static void test_sampled(void **state)
{
    enum { K = 48, ROWS = 200, N = 512, TIMES = 8 };
    float *x = make_inputs(ROWS, K, 2), *mean = widen(ROWS, K, x, 1000), *h = make_hessian(ROWS, K, x),
          *some = make_random(N * K, 5), *all = make_random(N * K * TIMES, 0), *exact = make_random(N * K, 6), s[K],
          exponent;
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    const struct woqi_awq_matrix matrices[] = {{&f, N * TIMES, all}, {&f, N, exact}}, once = {&f, N, some};
    double whole[20], sampled[20];
    int best = 0, wrong = 0;
    (void)state;
    for (int i = 0; i < N * K * TIMES; i++)
        all[i] = some[i / (K * TIMES) * K + i % K];
    for (int i = 0; i < N * K; i++)
        exact[i] = i % 16 ? rintf(fmaxf(fminf(exact[i] / 0.02f, 7), -8)) / 32 : -8.0f / 32;
    for (int a = 0; a < 20; a++) {
        double scales[K];
        scales_of(K, mean, a / 20.0, scales);
        const double of_some = error_of(&once, K, h, scales), of_exact = error_of(&matrices[1], K, h, scales);
        whole[a] = TIMES * of_some + of_exact;
        sampled[a] = of_some + of_exact;
        best = whole[a] < whole[best] ? a : best;
        wrong = sampled[a] < sampled[wrong] ? a : wrong;
    }
    assert_true(wrong == 0 && whole[best] < 0.98 * whole[0]);
    assert_int_equal(woqi_awq_search(K, mean, h, 2, matrices, 1, s, &exponent), 0);
    assert_true(whole[(int)(20 * exponent + 0.5f)] <= whole[best] * 1.002);
    free(x), free(mean), free(h), free(some), free(all), free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_output_error), cmocka_unit_test(test_search),
                                       cmocka_unit_test(test_special), cmocka_unit_test(test_sampled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
