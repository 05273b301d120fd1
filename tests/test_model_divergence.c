/*
 * test_model_divergence.c: the divergence of models from a baseline, against plain loops over the logits of
 * woq_model_forward, on WOQ_DEVICE or the reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/divergence_row.h"
#include "model/model_impl.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/tiny_model.h"

enum { WINDOW = 24, WINDOWS = 12, TOKENS = WINDOW * WINDOWS + 5, SCORED = WINDOW - WINDOW / 2 - 1, MODELS = 4 };

static struct woq_device *dev;
static char directory[64];
static int32_t text[TOKENS];
/* F16, the same once more, W8, W4. */
static struct woq_model *models[MODELS];

static double row_divergence(const float *a, const float *b, size_t count)
{
    struct woqi_row p, q;
    woqi_row_measure(a, count, &p);
    woqi_row_measure(b, count, &q);
    return woqi_row_divergence(a, &p, b, &q, count);
}

/* Σ p·ln(p/q) as it is written. */
static long double plain_divergence(const float *a, const float *b, size_t count)
{
    long double s = 0, t = 0, kl = 0;
    for (size_t i = 0; i < count; i++) {
        s += expl(a[i]);
        t += expl(b[i]);
    }
    for (size_t i = 0; i < count; i++)
        if (expl(a[i]) > 0)
            kl += expl(a[i]) / s * ((a[i] - logl(s)) - (b[i] - logl(t)));
    return kl;
}

static void test_rows(void **state)
{
    enum { MOST = 1003 };
    static const size_t counts[] = {1, 2, 3, 4, 5, 7, 8, 64, 67, MOST};
    static const float spreads[] = {1e-3f, 1, 30, 800};
    static float a[MOST], b[MOST];
    uint32_t seed = 1;
    (void)state;
    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (float change = 1e-4f; change < 2; change *= 10) {
                for (size_t i = 0; i < counts[c]; i++) {
                    seed = seed * 1664525 + 1013904223;
                    a[i] = ((float)(seed >> 8) / 0x1p24f - 0.5f) * spreads[s];
                    seed = seed * 1664525 + 1013904223;
                    b[i] = a[i] + ((float)(seed >> 8) / 0x1p24f - 0.5f) * change * spreads[s];
                }
                const double got = row_divergence(a, b, counts[c]);
                const double want = (double)plain_divergence(a, b, counts[c]);
                /* Exponentials within 1e-14 of themselves: so are the sums, and the logarithms of these absolutely. */
                if (!(fabs(got - want) <= 2e-14 * (1 + spreads[s] * change)))
                    fail_msg("%zu logits within %g: %.17g, expected %.17g", counts[c], (double)spreads[s], got, want);
                assert_true(row_divergence(a, a, counts[c]) == 0);
            }
    /* What has no probability counts nothing; what only the other model excludes, without limit. */
    float x[5] = {1, -INFINITY, 2, 0, 1}, y[5] = {1, -INFINITY, 1, 0, 2};
    const double without = row_divergence((float[]){1, 2, 0, 1}, (float[]){1, 1, 0, 2}, 4);
    assert_true(without > 0.1 && fabs(row_divergence(x, y, 5) - without) < 1e-15);
    y[0] = -INFINITY;
    assert_true(row_divergence(x, y, 5) == INFINITY);
    y[1] = NAN;
    assert_true(row_divergence(x, y, 5) != row_divergence(x, y, 5));
    assert_true(row_divergence(y, x, 5) != row_divergence(y, x, 5));
}

static struct woq_model *make(enum woq_model_weights weights, enum woq_code code)
{
    static const struct tiny_model tiny = {.architecture = "llama", .layers = 2, .hidden = 48, .heads = 6,
                                           .kv_heads = 2, .head_dim = 8, .intermediate = 40, .tied = true};
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_checkpoint *c = NULL;
    struct woq_model *m = NULL;
    p.weights = weights;
    if (weights == WOQ_MODEL_QUANTIZED) {
        p.format.code = code;
        p.format.zero = WOQ_ZERO_SYMMETRIC;
        p.format.scale = WOQ_F16;
        p.format.group = 16;
    }
    assert_true(tiny_write(&tiny, NULL, directory));
    EXPECT_OK(woq_checkpoint_open(directory, NULL, &c));
    EXPECT_OK(woq_model_create(dev, c, &p, &m));
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    return m;
}

/* Everything of one divergence, by hand. */
struct plain {
    double kl[WINDOWS * SCORED], window_kl[WINDOWS], window_agreement[WINDOWS];
};

static size_t largest(const float *x)
{
    size_t best = 0;
    for (size_t i = 1; i < TINY_VOCABULARY; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static void measure(struct woq_model *base, struct woq_model *other, int32_t bos, struct plain *out)
{
    static float a[SCORED * TINY_VOCABULARY], b[SCORED * TINY_VOCABULARY];
    memset(out, 0, sizeof *out);
    for (int w = 0; w < WINDOWS; w++) {
        int32_t window[WINDOW];
        memcpy(window, text + (size_t)w * WINDOW, sizeof window);
        window[0] = bos < 0 ? window[0] : bos;
        woq_model_reset(base);
        EXPECT_OK(woq_model_forward(base, window, WINDOW - 1, a, SCORED));
        woq_model_reset(other);
        EXPECT_OK(woq_model_forward(other, window, WINDOW - 1, b, SCORED));
        for (int t = 0; t < SCORED; t++) {
            const float *x = a + (size_t)t * TINY_VOCABULARY, *y = b + (size_t)t * TINY_VOCABULARY;
            const double kl = (double)plain_divergence(x, y, TINY_VOCABULARY);
            out->kl[w * SCORED + t] = kl;
            out->window_kl[w] += kl / SCORED;
            out->window_agreement[w] += (double)(largest(x) == largest(y)) / SCORED;
        }
    }
}

static void check_mean(const double *x, double mean, double error)
{
    double sum = 0, squares = 0;
    for (int w = 0; w < WINDOWS; w++) {
        sum += x[w] / WINDOWS;
        squares += x[w] * x[w] / WINDOWS;
    }
    assert_true(fabs(mean - sum) < 1e-12);
    assert_true(fabs(error - sqrt(fmax(squares - sum * sum, 0) / (WINDOWS - 1))) < 1e-9);
}

/* The value below which `share` of them lie, from how many are smaller: no sorting. */
static double plain_quantile(const double *x, double share)
{
    enum { N = WINDOWS * SCORED };
    const int rank = (int)floor(share * (N - 1));
    double at = 0, after = 0;
    for (int i = 0; i < N; i++) {
        int place = 0;
        for (int j = 0; j < N; j++)
            place += x[j] < x[i] || (x[j] == x[i] && j < i);
        at = place == rank ? x[i] : at;
        after = place == rank + 1 ? x[i] : after;
    }
    return rank + 1 < N ? at + (share * (N - 1) - rank) * (after - at) : at;
}

static void check_plain(struct woq_model *base, struct woq_model *other, int32_t bos, const struct woq_divergence *got)
{
    static struct plain want;
    measure(base, other, bos, &want);
    for (int w = 0; w < WINDOWS; w++) {
        assert_true(fabs(got->window_kl[w] - want.window_kl[w]) < 1e-12);
        assert_true(fabs(got->window_agreement[w] - want.window_agreement[w]) < 1e-12);
    }
    check_mean(want.window_kl, got->mean, got->standard_error);
    check_mean(want.window_agreement, got->agreement, got->agreement_error);
    assert_true(fabs(got->median - plain_quantile(want.kl, 0.5)) < 1e-12);
    assert_true(fabs(got->p90 - plain_quantile(want.kl, 0.9)) < 1e-12);
    assert_true(fabs(got->p99 - plain_quantile(want.kl, 0.99)) < 1e-12);
    assert_true(fabs(got->p999 - plain_quantile(want.kl, 0.999)) < 1e-12);
    assert_true(fabs(got->max - plain_quantile(want.kl, 1)) < 1e-12);
}

static void release(struct woq_perplexity *perplexities, struct woq_divergence *out)
{
    for (int i = 0; i < MODELS; i++)
        free(perplexities[i].window_nll);
    for (int i = 0; i < MODELS - 1; i++) {
        free(out[i].window_kl);
        free(out[i].window_agreement);
    }
}

static bool count_steps(void *user, uint64_t done, uint64_t total, double perplexity)
{
    uint64_t *steps = user;
    assert_true(total == WINDOWS * MODELS && done == *steps + 1 && perplexity > 1);
    *steps = done;
    return done != steps[1];
}

static struct woq_text_params params_of(int32_t bos, uint32_t stride, uint64_t *steps)
{
    return (struct woq_text_params){sizeof(struct woq_text_params), text, TOKENS, WINDOW, stride, bos, 0,
                                    steps ? count_steps : NULL, steps};
}

static void test_models(void **state)
{
    struct woq_perplexity perplexities[MODELS], alone;
    struct woq_divergence out[MODELS - 1];
    uint64_t steps[2];
    (void)state;
    for (int32_t bos = -1; bos < 2; bos += 2) {
        memset(steps, 0, sizeof steps);
        struct woq_text_params params = params_of(bos, 0, steps);
        EXPECT_OK(woq_model_divergence(models, MODELS, &params, perplexities, out));
        params.progress = NULL;
        test_expectations_met();
        assert_int_equal(steps[0], WINDOWS * MODELS);
        for (int i = 0; i < MODELS; i++) {
            EXPECT_OK(woq_model_perplexity(models[i], &params, &alone));
            assert_int_equal(perplexities[i].windows, alone.windows);
            assert_int_equal(perplexities[i].scored, alone.scored);
            assert_true(fabs(perplexities[i].perplexity / alone.perplexity - 1) < 1e-6);
            assert_true(fabs(perplexities[i].standard_error / alone.standard_error - 1) < 1e-5);
            assert_true(perplexities[i].seconds > 0);
            for (int w = 0; w < WINDOWS; w++)
                assert_true(fabs(perplexities[i].window_nll[w] - alone.window_nll[w]) < 1e-6);
            free(alone.window_nll);
        }
        /* The same weights: the same bits. */
        assert_true(out[0].mean == 0 && out[0].standard_error == 0 && out[0].median == 0 && out[0].max == 0);
        assert_true(out[0].agreement == 1 && out[0].agreement_error == 0);
        for (int i = 0; i < MODELS - 1; i++)
            check_plain(models[0], models[i + 1], bos, &out[i]);
        printf("W8 %.3g ± %.2g, W4 %.3g ± %.2g nats; %.3g and %.3g agree\n", out[1].mean, out[1].standard_error,
               out[2].mean, out[2].standard_error, out[1].agreement, out[2].agreement);
        assert_true(out[1].mean > 0 && out[1].mean < out[2].mean / 10 && out[1].agreement > out[2].agreement);
        assert_true(out[2].median < out[2].p90 && out[2].p90 < out[2].p99 && out[2].p99 < out[2].p999 &&
                    out[2].p999 < out[2].max);
        release(perplexities, out);
    }
    /* Itself, in one object; one window has no scatter. */
    struct woq_model *twice[] = {models[3], models[3]};
    struct woq_text_params once = params_of(-1, 0, NULL);
    once.max_windows = 1;
    EXPECT_OK(woq_model_divergence(twice, 2, &once, perplexities, out));
    assert_true(out[0].mean == 0 && out[0].max == 0 && out[0].agreement == 1 && perplexities[1].windows == 1);
    assert_true(out[0].standard_error == 0 && perplexities[0].perplexity == perplexities[1].perplexity);
    for (int i = 0; i < 2; i++)
        free(perplexities[i].window_nll);
    free(out[0].window_kl);
    free(out[0].window_agreement);
    test_expectations_met();
}

/* Scores of one run, and of one that goes on where another stopped, with what was scored before in its arrays alone. */
static void test_goes_on(void **state)
{
    enum { STRIDE = 5, MOST = (TOKENS - WINDOW) / STRIDE + 1, FIRST = 3 };
    static double nll[2][2][MOST * STRIDE], kl[2][MOST * STRIDE], seconds[MOST];
    static uint8_t same[2][MOST * STRIDE];
    struct woq_model *pair[] = {models[0], models[3]};
    struct woq_text_params params = params_of(1, STRIDE, NULL);
    struct woq_perplexity perplexity;
    struct woq_divergence divergence, made;
    uint64_t windows;
    uint32_t scored;
    (void)state;
    EXPECT_OK(woq_text_windows(&params, &windows, &scored));
    assert_true(windows == MOST && scored == STRIDE);
    struct woq_text_scores scores[2][2];
    for (int i = 0; i < 2; i++) {
        scores[i][0] = (struct woq_text_scores){nll[i][0], NULL, NULL, seconds};
        scores[i][1] = (struct woq_text_scores){nll[i][1], kl[i], same[i], seconds};
    }
    EXPECT_OK(woq_model_score_text(pair, 2, &params, 0, scores[0]));
    memcpy(nll[1][0], nll[0][0], FIRST * STRIDE * sizeof(double));
    memcpy(nll[1][1], nll[0][1], FIRST * STRIDE * sizeof(double));
    memcpy(kl[1], kl[0], FIRST * STRIDE * sizeof(double));
    memcpy(same[1], same[0], FIRST * STRIDE);
    EXPECT_OK(woq_model_score_text(pair, 2, &params, FIRST, scores[1]));
    assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
    assert_memory_equal(kl[0], kl[1], sizeof kl[0]);
    assert_memory_equal(same[0], same[1], sizeof same[0]);

    struct woq_perplexity perplexities[2];
    EXPECT_OK(woq_model_divergence(pair, 2, &params, perplexities, &divergence));
    EXPECT_OK(woq_text_perplexity(&scores[1][1], windows, scored, &perplexity));
    EXPECT_OK(woq_text_divergence(&scores[1][1], windows, scored, &made));
    assert_true(perplexity.perplexity == perplexities[1].perplexity && made.mean == divergence.mean && made.mean > 0 &&
                made.p99 == divergence.p99 && made.agreement == divergence.agreement);
    assert_int_equal(perplexity.scored, MOST * STRIDE);

    EXPECT_BAD("first is 55", woq_model_score_text(pair, 2, &params, MOST + 1, scores[1]));
    EXPECT_BAD("model_count is 0", woq_model_score_text(pair, 0, &params, 0, scores[1]));
    EXPECT_BAD("array of scores[1] is NULL", woq_model_score_text(pair, 2, &params, 0, (struct woq_text_scores[2]){
        scores[0][0], {nll[0][1], NULL, same[0], seconds}}));
    EXPECT_BAD("kl or scores->same", woq_text_divergence(&scores[1][0], windows, scored, &(struct woq_divergence){0}));
    EXPECT_BAD("no windows", woq_text_perplexity(&scores[1][0], 0, scored, &(struct woq_perplexity){0}));
    test_expectations_met();
    for (int i = 0; i < 2; i++)
        free(perplexities[i].window_nll);
    free(perplexity.window_nll);
    free(divergence.window_kl);
    free(divergence.window_agreement);
    free(made.window_kl);
    free(made.window_agreement);
}

static void test_refused(void **state)
{
    struct woq_perplexity perplexities[MODELS];
    struct woq_divergence out[MODELS - 1];
    struct woq_model *with_none[] = {models[0], NULL}, other = *models[1];
    struct woq_model *unlike[] = {models[0], &other};
    uint64_t steps[2] = {0, 6};
    (void)state;
    const struct woq_text_params params = params_of(-1, 0, steps);
    EXPECT(WOQ_ERROR_TIMEOUT, "6 of 48", woq_model_divergence(models, MODELS, &params, perplexities, out));
    for (int i = 0; i < MODELS; i++)
        assert_null(perplexities[i].window_nll);
    for (int i = 0; i < MODELS - 1; i++)
        assert_true(!out[i].window_kl && !out[i].window_agreement && out[i].struct_size == sizeof out[i]);
#define DIVERGENCE(list, listed, tokens, count, window, bos) \
    woq_model_divergence(list, listed, \
                         &(struct woq_text_params){sizeof(struct woq_text_params), tokens, count, window, 0, bos, 0, \
                                                   NULL, NULL}, perplexities, out)
    EXPECT_BAD("models is NULL", DIVERGENCE(NULL, 2, text, TOKENS, WINDOW, -1));
    EXPECT_BAD("models[1] is NULL", DIVERGENCE(with_none, 2, text, TOKENS, WINDOW, -1));
    EXPECT_BAD("model_count is 1", DIVERGENCE(models, 1, text, TOKENS, WINDOW, -1));
    EXPECT_BAD("model_count is 0", DIVERGENCE(models, 0, text, TOKENS, WINDOW, -1));
    EXPECT_BAD("tokens", DIVERGENCE(models, 2, NULL, TOKENS, WINDOW, -1));
    EXPECT_BAD("two windows", DIVERGENCE(models, 2, text, 2 * WINDOW - 1, WINDOW, -1));
    EXPECT_BAD("even", DIVERGENCE(models, 2, text, TOKENS, 25, -1));
    EXPECT_BAD("bos", DIVERGENCE(models, 2, text, TOKENS, WINDOW, TINY_VOCABULARY));
    other.config.vocabulary = TINY_VOCABULARY + 1;
    EXPECT_BAD("models[1] has a vocabulary of 68 tokens, the baseline one of 67",
               DIVERGENCE(unlike, 2, text, TOKENS, WINDOW, -1));
    other.config.vocabulary = TINY_VOCABULARY;
    other.batch = WINDOW - 2; /* each model's batch counts */
    EXPECT_BAD("4 to 22", DIVERGENCE(unlike, 2, text, TOKENS, WINDOW, -1));
#undef DIVERGENCE
    EXPECT_BAD("text is NULL", woq_model_divergence(models, 2, NULL, perplexities, out));
    EXPECT_BAD("perplexities", woq_model_divergence(models, 2, &params, NULL, out));
    EXPECT_BAD("out", woq_model_divergence(models, 2, &params, perplexities, NULL));
    test_expectations_met();
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/woq_test_divergence.%ld", (long)getpid());
    for (uint32_t i = 0; i < TOKENS; i++)
        text[i] = (int32_t)((i * i * 29 + i * 7 + 3) % TINY_VOCABULARY);
    dev = test_open(NULL);
    models[0] = make(WOQ_MODEL_F16, 0);
    models[1] = make(WOQ_MODEL_F16, 0);
    models[2] = make(WOQ_MODEL_QUANTIZED, WOQ_CODE_U8);
    models[3] = make(WOQ_MODEL_QUANTIZED, WOQ_CODE_U4);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        woq_model_destroy(&models[i]);
    return test_close(&dev) && !test_error_count() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_goes_on),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
