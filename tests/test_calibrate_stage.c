/*
 * test_calibrate_stage.c: the matrices of a stage against the same steps by hand, for inputs of very unlike size; what
 * the streams of two models add up; channel scales that are folded into rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <omp.h>

#include "quantize_data.h"

#include "calibrate/calibration.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/tiny_model.h"

enum { HIDDEN = 64, INNER = 96, ROWS = 400, WINDOW = 20, SAMPLES = 3, GROUP = 32, MOST = HIDDEN };

static const struct tiny_model tiny = {.architecture = "llama", .layers = 1, .hidden = HIDDEN, .heads = 4,
                                       .kv_heads = 2, .head_dim = 16, .intermediate = INNER};
static struct woq_device *device;
static struct woq_checkpoint *checkpoint;
static struct woqi_plan plan;

/* ---- A stage ---- */

/* Inputs whose columns differ 300-fold. */
static float *uneven_inputs(void)
{
    float *x = make_inputs(ROWS, HIDDEN, 11);
    for (int i = 0; i < ROWS * HIDDEN; i++)
        x[i] *= powf(300, (float)(i % HIDDEN * 37 % HIDDEN) / HIDDEN);
    return x;
}

static void begin_stage(struct woqi_stage_result *result)
{
    struct woqi_stage_info info;
    EXPECT_OK(woqi_stage_describe(&plan.config, 0, WOQI_STAGE_QKV, &info));
    EXPECT_OK(woqi_stage_begin(&plan, &info, result));
    test_expectations_met();
    assert_true(result->count == 3 && result->part[0].k == HIDDEN && result->part[0].n <= MOST);
}

/* H and mean |x| of the inputs, as the library has them. */
struct input {
    struct woqi_moments moments;
    float mean[HIDDEN];
    double sum_abs[HIDDEN];
};

static void make_input(const float *x, struct input *in)
{
    memset(in, 0, sizeof *in);
    EXPECT_OK(woqi_moments_create(HIDDEN, 0, false, &in->moments));
    test_expectations_met();
    woqi_moments_add(&in->moments, ROWS, x, NULL, NULL);
    for (int i = 0; i < ROWS * HIDDEN; i++)
        in->sum_abs[i % HIDDEN] += (double)fabsf(x[i]);
    for (int i = 0; i < HIDDEN; i++)
        in->mean[i] = (float)(in->sum_abs[i] / ROWS);
}

/* Codes and grids of a part, the mean of what the grids cover of the weights, and v, what the model has then. */
struct by_hand {
    uint8_t codes[MOST * HIDDEN];
    struct woqi_grid grids[MOST * HIDDEN / GROUP];
    float v[MOST * HIDDEN];
    double clip;
};

static double clip_of(uint64_t n, const float *w, const struct woqi_grid *grids)
{
    double sum = 0;
    for (uint64_t g = 0; g < n * HIDDEN / GROUP; g++) {
        const double a = (double)woqi_grid_value(&grids[g], 0), b = (double)woqi_grid_value(&grids[g], 15);
        double low = 0, high = 0;
        for (uint64_t i = g * GROUP; i < (g + 1) * GROUP; i++) {
            low = fmin(low, (double)w[i]);
            high = fmax(high, (double)w[i]);
        }
        sum += (fmin(high, fmax(a, b)) - fmax(low, fmin(a, b))) / (high - low);
    }
    return sum / (double)(n * HIDDEN / GROUP);
}

/* The steps for one part. s: channel scales, NULL = none; order: GPTQ's, -1 = rounding to nearest on searched grids. */
static void quantize_by_hand(const struct woqi_quantized *part, const float *weights, const float *h, const float *s,
                             int order, struct by_hand *out)
{
    float w[MOST * HIDDEN], metric[HIDDEN * HIDDEN], diagonal[HIDDEN];
    const uint64_t count = part->n * HIDDEN;
    for (uint64_t i = 0; i < count; i++)
        w[i] = s ? weights[i] * s[i % HIDDEN] : weights[i];
    for (int i = 0; i < HIDDEN * HIDDEN; i++)
        metric[i] = s ? h[i] / (s[i / HIDDEN] * s[i % HIDDEN]) : h[i];
    for (int i = 0; i < HIDDEN; i++)
        diagonal[i] = metric[i * (HIDDEN + 1)];
    EXPECT_OK(woqi_grids_search(&part->format, part->n, HIDDEN, w, diagonal, 1, out->grids));
    out->clip = clip_of(part->n, w, out->grids);
    for (uint64_t i = 0; i < count; i++)
        out->codes[i] = (uint8_t)woqi_grid_code(&out->grids[i / GROUP], w[i]);
    if (order >= 0) {
        const struct woqi_gptq_params gp = {0.01f, order};
        struct woqi_gptq gptq;
        EXPECT_OK(woqi_gptq_prepare("by hand", HIDDEN, metric, &gp, &gptq));
        EXPECT_OK(woqi_gptq_run(&gptq, &part->format, part->n, w, out->grids, 1, out->codes));
        woqi_gptq_release(&gptq);
    }
    test_expectations_met();
    for (uint64_t i = 0; i < count; i++) {
        out->v[i] = woqi_grid_value(&out->grids[i / GROUP], out->codes[i]);
        out->v[i] = s ? out->v[i] / s[i % HIDDEN] : out->v[i];
    }
}

/* How many codes of a part differ from these; all if its scales do. */
static uint64_t differ(const struct woqi_quantized *part, const struct by_hand *want)
{
    const uint8_t *codes = part->source.codes;
    const uint16_t *scales = part->source.scales;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < part->n * HIDDEN; i++) {
        wrong += (codes[i / 2] >> i % 2 * 4 & 15) != want->codes[i];
        if (woq_f16_to_f32(scales[i / GROUP]) != want->grids[i / GROUP].scale)
            return part->n * HIDDEN;
    }
    return wrong;
}

static void check_part(const struct woqi_quantized *part, const struct input *in, const float *s, int order)
{
    static struct by_hand want, other;
    float weights[MOST * HIDDEN], flat[HIDDEN * HIDDEN] = {0};
    EXPECT_OK(woq_tensor_read(part->tensor, 0, part->n, weights));
    test_expectations_met();
    quantize_by_hand(part, weights, in->moments.h, s, order, &want);
    assert_int_equal(differ(part, &want), 0);
    assert_true(fabs(part->clip - want.clip) < 1e-5 && want.clip < 0.99);
    const double error = naive_error(part->n, HIDDEN, in->moments.h, weights, want.v);
    assert_true(fabs(part->error - error) < 1e-3 * error && error < part->error_rtn);
    /* Another order, or another metric, would have shown. */
    if (order >= 0) {
        quantize_by_hand(part, weights, in->moments.h, s, !order, &other);
        assert_true(differ(part, &other) > part->n);
    }
    for (int i = 0; i < HIDDEN; i++)
        flat[i * (HIDDEN + 1)] = 1;
    quantize_by_hand(part, weights, flat, s, order, &other);
    assert_true(differ(part, &other) > part->n);
}

/* rows: whose scales take those of channels, NULL = a norm. folds: they can. */
static void check_method(enum woq_method method, bool natural, const float *x, const struct woqi_quantized *rows,
                         bool folds)
{
    struct woq_calibrate_params c = WOQ_CALIBRATE_PARAMS_INIT;
    const bool asked = method == WOQ_METHOD_AWQ || method == WOQ_METHOD_AWQ_GPTQ, awq = asked && folds;
    const bool gptq = method == WOQ_METHOD_GPTQ || method == WOQ_METHOD_AWQ_GPTQ;
    struct woqi_stage_result result;
    struct woqi_awq_matrix matrices[WOQI_STAGE_PARTS];
    float s[HIDDEN], exponent = 0;
    struct input in;
    make_input(x, &in);
    begin_stage(&result);
    c.method = method;
    c.damping = 0.01f;
    c.natural_order = natural;
    const struct woqi_channel_statistics channels = {.k = HIDDEN, .rows = ROWS, .sum_abs = in.sum_abs};
    const struct woqi_stage_params params = {&c, &channels, 1, true, rows};
    EXPECT_OK(woqi_stage_quantize(&params, &in.moments, &result));
    test_expectations_met();
    for (uint32_t i = 0; i < result.count; i++) {
        float *w = make_random(result.part[i].n * HIDDEN, 0);
        EXPECT_OK(woq_tensor_read(result.part[i].tensor, 0, result.part[i].n, w));
        matrices[i] = (struct woqi_awq_matrix){&result.part[i].format, result.part[i].n, w};
    }
    EXPECT_OK(woqi_awq_search(HIDDEN, in.mean, in.moments.h, result.count, matrices, 1, s, &exponent));
    test_expectations_met();
    assert_true(exponent > 0.1f); /* or scales would not be tested */
    assert_true(!awq == !result.channel_scale && result.exponent == (awq ? exponent : 0));
    assert_int_equal(result.unfolded, asked && !folds);
    if (awq)
        assert_memory_equal(result.channel_scale, s, sizeof s);
    for (uint32_t i = 0; i < result.count; i++) {
        check_part(&result.part[i], &in, awq ? s : NULL, gptq ? !natural : -1);
        free((void *)(uintptr_t)matrices[i].w);
    }
    woqi_stage_release(&result);
    woqi_moments_release(&in.moments);
}

static void test_methods(void **state)
{
    float *x = uneven_inputs();
    (void)state;
    check_method(WOQ_METHOD_MSE, false, x, NULL, true);
    check_method(WOQ_METHOD_AWQ, false, x, NULL, true);
    for (int natural = 0; natural < 2; natural++) {
        check_method(WOQ_METHOD_GPTQ, natural, x, NULL, true);
        check_method(WOQ_METHOD_AWQ_GPTQ, natural, x, NULL, true);
    }
    free(x);
}

/* Scales of rows that become 0 in FP16 are refused before there are codes for it, and when they are divided; those that
 * were 0 may stay so. */
static void test_rows(void **state)
{
    uint16_t scales[HIDDEN];
    float channel_scale[HIDDEN], *x = uneven_inputs();
    struct woqi_quantized up = {.name = "up", .format = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, GROUP),
                                .n = HIDDEN, .k = GROUP, .groups = HIDDEN, .source = {.scales = scales}};
    (void)state;
    for (int i = 0; i < HIDDEN; i++) {
        scales[i] = i % 5 ? woq_f32_to_f16(0.01f) : 0;
        channel_scale[i] = 100;
    }
    check_method(WOQ_METHOD_AWQ, false, x, &up, true);
    check_method(WOQ_METHOD_AWQ_GPTQ, false, x, &up, true);
    EXPECT_OK(woqi_stage_fold_rows(&up, channel_scale));
    for (int i = 0; i < HIDDEN; i++)
        assert_int_equal(scales[i], i % 5 ? woq_f32_to_f16(woq_f16_to_f32(woq_f32_to_f16(0.01f)) / 100) : 0);
    scales[7] = woq_f32_to_f16(2e-6f);
    EXPECT(WOQ_ERROR_INVALID_DATA, "up: a scale of row 7 leaves the range of f16",
           woqi_stage_fold_rows(&up, channel_scale));
    for (int i = 0; i < HIDDEN; i++)
        scales[i] = 1; /* 2^-24 */
    check_method(WOQ_METHOD_AWQ, false, x, &up, false);
    check_method(WOQ_METHOD_AWQ_GPTQ, false, x, &up, false);
    check_method(WOQ_METHOD_MSE, false, x, &up, false);
    test_expectations_met();
    free(x);
}

/* ---- Two streams ---- */

/* Σ (h0 − h)·xᵀ, h0 of the original. down's inputs, behind a quantized q/k/v. */
static void test_residual(void **state)
{
    enum { N = WINDOW * SAMPLES };
    struct woq_calibrate_params c = WOQ_CALIBRATE_PARAMS_INIT;
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    struct woqi_streams s;
    struct woqi_moments m;
    struct woqi_stage_result result;
    struct input in;
    int32_t tokens[N];
    float *x = uneven_inputs();
    double energy = 0;
    (void)state;
    for (int i = 0; i < N; i++)
        tokens[i] = i * i % TINY_VOCABULARY;
    const struct woqi_samples samples = {SAMPLES, WINDOW, tokens, SAMPLES};
    const struct woqi_stage_params params = {.calibration = &c, .jobs = 1};
    make_input(x, &in);
    begin_stage(&result);
    c.method = WOQ_METHOD_MSE;
    EXPECT_OK(woqi_stage_quantize(&params, &in.moments, &result));
    EXPECT_OK(woqi_streams_create(device, checkpoint, &samples, &c, NULL, true, &s));
    EXPECT_OK(woqi_streams_load(&s, 0));
    for (uint32_t i = 0; i < result.count; i++)
        sources[i] = result.part[i].source;
    EXPECT_OK(woqi_block_set(s.quantized.block, WOQI_STAGE_QKV, sources));
    for (int stage = 0; stage < WOQI_STAGE_DOWN; stage++)
        EXPECT_OK(woqi_streams_gather(&s, (enum woqi_stage)stage, NULL, NULL));
    EXPECT_OK(woqi_moments_create(INNER, HIDDEN, false, &m));
    EXPECT_OK(woqi_streams_gather(&s, WOQI_STAGE_DOWN, &m, NULL));
    test_expectations_met();
    assert_true(s.batch >= SAMPLES && m.rows == N);
    const float *h = s.quantized.h.data, *h0 = s.original.h.data;
    for (uint64_t r = 0; r < HIDDEN; r++)
        for (uint64_t i = 0; i < INNER; i++) {
            double want = 0, size = 0;
            for (uint64_t row = 0; row < N; row++) {
                const double d = (double)h0[row * HIDDEN + r] - (double)h[row * HIDDEN + r];
                want += d * (double)s.x[row * INNER + i];
                size += fabs(d * (double)s.x[row * INNER + i]);
            }
            assert_true(fabs((double)m.r[r * INNER + i] - want) <= 1e-5 * size);
            energy += want * want;
        }
    assert_true(energy > 0);
    woqi_moments_release(&m);
    woqi_moments_release(&in.moments);
    woqi_stage_release(&result);
    woqi_streams_release(&s);
    free(x);
}

/* ---- The program ---- */

static int begin(void **state)
{
    struct woq_quantize_params q = WOQ_QUANTIZE_PARAMS_INIT;
    (void)state;
    omp_set_num_threads(1); /* of so little, threads would take turns waiting */
    device = test_open(NULL);
    if (!mkdtemp(root) || !tiny_write(&tiny, NULL, in_root("model")))
        return -1;
    q.bits = 4;
    q.group = GROUP;
    q.scale = WOQ_F16;
    q.jobs = 1;
    EXPECT_OK(woq_checkpoint_open(in_root("model"), NULL, &checkpoint));
    EXPECT_OK(woqi_plan_make(checkpoint, &q, &plan));
    test_expectations_met();
    return 0;
}

static int end(void **state)
{
    char line[128];
    (void)state;
    woqi_plan_free(&plan);
    woq_checkpoint_close(&checkpoint);
    snprintf(line, sizeof line, "rm -rf '%s'", root);
    return system(line) || !test_close(&device) || test_error_count() ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_residual)};
    return cmocka_run_group_tests(tests, begin, end);
}
