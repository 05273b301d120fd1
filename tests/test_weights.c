/* test_weights.c: bad arguments and data of weights and GEMMs: the status, and a message that names
 * the argument. Runs on WOQ_DEVICE, or on the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <woq/gemm.h>

#include "support/device.h"
#include "support/expect.h"

#define UNKNOWN 77

static struct woq_device *dev;

/* ---- weights ---- */

#define ROWS 4
#define COLUMNS 32

/* A valid U4 source with groups of 16, every optional array filled. */
struct arrays {
    uint8_t codes[ROWS * COLUMNS];
    float scales[ROWS * 2 + 1], offsets[ROWS * 2 + 1];
    uint8_t zeros[ROWS * 2];
    uint32_t index[COLUMNS + 1];
};

static struct woq_weights_source make_source(struct arrays *a, enum woq_zero zero, bool index)
{
    struct woq_weights_source s = WOQ_WEIGHTS_SOURCE_INIT;
    memset(a, 0, sizeof(*a));
    for (int i = 0; i < ROWS * 2; i++)
        a->scales[i] = 1;
    s.format.code = WOQ_CODE_U4;
    s.format.zero = zero;
    s.format.scale = WOQ_F32;
    s.format.group = 16;
    s.format.g_idx = index;
    s.n = ROWS;
    s.k = COLUMNS;
    s.codes = a->codes;
    s.scales = a->scales;
    s.zeros = zero == WOQ_ZERO_POINT    ? (const void *)a->zeros
              : zero == WOQ_ZERO_OFFSET ? (const void *)a->offsets
                                        : NULL;
    s.g_idx = index ? a->index : NULL;
    return s;
}

static enum woq_status create(struct woq_device *device, const struct woq_weights_source *sources,
                              uint32_t count, bool gated)
{
    struct woq_weights_params p = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_weights *w = (struct woq_weights *)(void *)&p;
    p.sources = sources;
    p.count = count;
    p.gated = gated;
    const enum woq_status st = woq_weights_create(device, &p, &w);
    if (st)
        assert_null(w);
    woq_weights_destroy(&w);
    return st;
}

#define CREATE(...) create(dev, (const struct woq_weights_source[]){__VA_ARGS__}, 1, false)

static void test_weight_arguments(void **state)
{
    struct arrays a, other;
    struct woq_weights_params p = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_weights *w = NULL;
    const struct woq_weights_source good = make_source(&a, WOQ_ZERO_POINT, true);
    struct woq_weights_source s[3];
    (void)state;
    EXPECT_OK(CREATE(good));
    EXPECT_BAD("sources", woq_weights_create(dev, &p, &w));
    p.sources = &good;
    EXPECT_BAD("count", woq_weights_create(dev, &p, &w));
    p.count = 1;
    EXPECT_BAD("device", woq_weights_create(NULL, &p, &w));
    EXPECT_BAD("params", woq_weights_create(dev, NULL, &w));
    EXPECT_BAD("out", woq_weights_create(dev, &p, NULL));
    p.struct_size++;
    EXPECT_BAD("struct_size", woq_weights_create(dev, &p, &w));
#define BAD(mention, change) s[0] = good, change, EXPECT_BAD(mention, create(dev, s, 1, false))
    BAD("struct_size", s[0].struct_size = 8);
    BAD("struct_size", s[0].format.struct_size = 8);
    BAD("code", s[0].format.code = (enum woq_code)UNKNOWN);
    BAD("zero", s[0].format.zero = (enum woq_zero)UNKNOWN);
    BAD("scale", s[0].format.scale = (enum woq_type)UNKNOWN);
    BAD("n is 0", s[0].n = 0);
    BAD("k is 0", s[0].k = 0);
    BAD("codes", s[0].codes = NULL);
    BAD("scales", s[0].scales = NULL);
    BAD("scales", s[0].scales = (char *)a.scales + 2);
    BAD("zeros", s[0].zeros = NULL);
    BAD("g_idx", s[0].g_idx = NULL);
    BAD("g_idx", s[0].g_idx = (const uint32_t *)(const void *)((char *)a.index + 2));
    BAD("g_idx", s[0].format.g_idx = false);
    BAD("row_stride", s[0].row_stride = 15);
    BAD("zeros", s[0].format.zero = WOQ_ZERO_SYMMETRIC);
#undef BAD
    s[0] = make_source(&other, WOQ_ZERO_OFFSET, false);
    s[0].zeros = (char *)other.offsets + 2;
    EXPECT_BAD("zeros", create(dev, s, 1, false));

    s[0] = s[1] = s[2] = good;
    EXPECT_OK(create(dev, s, 3, false));
    EXPECT_OK(create(dev, s, 2, true));
    EXPECT_BAD("gated", create(dev, s, 1, true));
    EXPECT_BAD("gated", create(dev, s, 3, true));
    s[1].n = 3;
    EXPECT_OK(create(dev, s, 2, false));
    EXPECT_BAD("gated", create(dev, s, 2, true));
    s[1] = good;
    s[1].k = 31;
    EXPECT_BAD("k", create(dev, s, 2, false));
    s[1] = good;
    s[1].format.group = 17;
    EXPECT_BAD("format", create(dev, s, 2, false));
    s[1] = make_source(&other, WOQ_ZERO_POINT, true);
    other.index[5] = 1;
    EXPECT_BAD("g_idx", create(dev, s, 2, false));
    test_expectations_met();
}

static void test_weight_data(void **state)
{
    struct arrays a;
    struct woq_weights_source s = make_source(&a, WOQ_ZERO_POINT, true);
    (void)state;
    a.scales[3] = NAN;
    EXPECT(WOQ_ERROR_INVALID_DATA, "scales[3]", CREATE(s));
    a.scales[3] = -INFINITY;
    EXPECT(WOQ_ERROR_INVALID_DATA, "scales[3]", CREATE(s));
    a.scales[3] = 0;
    a.zeros[7] = 16;
    EXPECT(WOQ_ERROR_INVALID_DATA, "zeros[7]", CREATE(s));
    a.zeros[7] = 15;
    EXPECT_OK(CREATE(s));
    a.index[31] = 2;
    EXPECT(WOQ_ERROR_INVALID_DATA, "g_idx[31]", CREATE(s));
    s = make_source(&a, WOQ_ZERO_OFFSET, false);
    a.offsets[6] = INFINITY;
    EXPECT(WOQ_ERROR_INVALID_DATA, "zeros[6]", CREATE(s));
    test_expectations_met();
}

/* Scales and offsets of 16 bits: infinities and NaN are refused, the largest numbers are not. */
static void test_weight_data_halves(void **state)
{
    static const struct {
        enum woq_type type;
        uint16_t one, most, bad[3];
    } types[] = {{WOQ_F16, 0x3c00, 0x7bff, {0x7c00, 0xfc00, 0x7c01}},
                 {WOQ_BF16, 0x3f80, 0xff7f, {0x7f80, 0xff80, 0xff81}}};
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct arrays a;
        struct woq_weights_source s = make_source(&a, WOQ_ZERO_OFFSET, false);
        uint16_t scales[ROWS * 2], offsets[ROWS * 2];
        s.format.scale = types[t].type;
        s.scales = scales;
        s.zeros = offsets;
        for (int i = 0; i < ROWS * 2; i++)
            scales[i] = offsets[i] = types[t].one;
        scales[7] = offsets[0] = types[t].most;
        EXPECT_OK(CREATE(s));
        for (int i = 0; i < 3; i++) {
            scales[7] = types[t].bad[i];
            EXPECT(WOQ_ERROR_INVALID_DATA, "scales[7]", CREATE(s));
            scales[7] = types[t].one;
            offsets[0] = types[t].bad[i];
            EXPECT(WOQ_ERROR_INVALID_DATA, "zeros[0]", CREATE(s));
            offsets[0] = types[t].one;
        }
    }
    test_expectations_met();
}

static void test_weight_sizes(void **state)
{
    struct arrays a;
    struct woq_weights_source s = make_source(&a, WOQ_ZERO_SYMMETRIC, false), two[2];
    struct woq_device_params params = test_params();
    struct woq_device *d = NULL;
    (void)state;
    s.n = UINT64_MAX;
    EXPECT(WOQ_ERROR_OVERFLOW, NULL, CREATE(s));
    s = make_source(&a, WOQ_ZERO_SYMMETRIC, false);
    s.format.group = WOQ_GROUP_TENSOR;
    s.n = UINT64_C(1) << 63;
    s.k = 1;
    two[0] = two[1] = s;
    EXPECT(WOQ_ERROR_OVERFLOW, NULL, create(dev, two, 2, false));
    s.n = 1;
    s.k = (UINT64_C(1) << 31) + 1;
    EXPECT(WOQ_ERROR_UNSUPPORTED, "k is", CREATE(s));
    params.emulate = "max_binding=1K";
    EXPECT_OK(woq_device_open(woq_device_get_info(dev)->selector, &params, &d));
    uint8_t *codes = calloc(1, 4096);
    assert_non_null(codes);
    s = make_source(&a, WOQ_ZERO_SYMMETRIC, false);
    s.format.group = 0;
    s.codes = codes;
    s.n = 1;
    s.k = 8192;
    EXPECT(WOQ_ERROR_UNSUPPORTED, "1024", create(d, &s, 1, false));
    free(codes);
    woq_device_destroy(&d);
    test_expectations_met();
}

/* ---- GEMMs ---- */

static struct woq_weights *make_weights(struct woq_device *device, float scale, bool gated)
{
    struct arrays a;
    struct woq_weights_source s[2];
    struct woq_weights_params p = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_weights *w = NULL;
    s[0] = make_source(&a, WOQ_ZERO_SYMMETRIC, false);
    for (int i = 0; i < ROWS * 2; i++)
        a.scales[i] = scale;
    s[1] = s[0];
    p.sources = s;
    p.count = gated ? 2 : 1;
    p.gated = gated;
    assert_int_equal(woq_weights_create(device, &p, &w), WOQ_OK);
    return w;
}

static void test_gemm_arguments(void **state)
{
    struct woq_gemm_params good = WOQ_GEMM_PARAMS_INIT, p;
    struct woq_gemm *g = NULL;
    struct woq_device_params params = test_params();
    struct woq_device *d = NULL;
    (void)state;
    struct woq_weights *w = make_weights(dev, 1, false), *gated = make_weights(dev, 1, true);
    struct woq_weights *large = make_weights(dev, 1e6f, false), *foreign;
    EXPECT_OK(woq_device_open(woq_device_get_info(dev)->selector, &params, &d));
    foreign = make_weights(d, 1, false);
    good.weights = w;
    good.max_m = 8;
#define BAD(mention, change) p = good, change, EXPECT_BAD(mention, woq_gemm_create(dev, &p, &g))
    BAD("struct_size", p.struct_size = 8);
    BAD("struct_size", p.struct_size += 8);
    BAD("weights", p.weights = NULL);
    BAD("weights", p.weights = foreign);
    BAD("max_m", p.max_m = 0);
    BAD("x_type", p.x_type = WOQ_TYPE_NONE);
    BAD("x_type", p.x_type = (enum woq_type)UNKNOWN);
    BAD("y_type", p.y_type = WOQ_TYPE_NONE);
    BAD("bias_type", p.bias_type = (enum woq_type)UNKNOWN);
    BAD("activation", p.activation = (enum woq_activation)UNKNOWN);
    BAD("activation", p.activation = WOQ_ACTIVATION_SILU_MUL);
    BAD("activation", p.weights = gated);
    BAD("math", p.math = (enum woq_math)UNKNOWN);
    BAD("path", p.path = "fastest");
    BAD("path", p.path = "");
#undef BAD
    p = good;
    EXPECT_BAD("device", woq_gemm_create(NULL, &p, &g));
    EXPECT_BAD("params", woq_gemm_create(dev, NULL, &g));
    EXPECT_BAD("out", woq_gemm_create(dev, &p, NULL));
    p.weights = large;
    p.math = WOQ_MATH_ROUNDED;
    EXPECT(WOQ_ERROR_UNSUPPORTED, "ROUNDED", woq_gemm_create(dev, &p, &g));
    assert_null(g);
    p.x_type = WOQ_BF16;
    EXPECT_OK(woq_gemm_create(dev, &p, &g));
    woq_gemm_destroy(&g);
    woq_gemm_destroy(&g);
    woq_gemm_destroy(NULL);
    woq_weights_destroy(&w);
    woq_weights_destroy(&gated);
    woq_weights_destroy(&large);
    woq_weights_destroy(&foreign);
    woq_weights_destroy(NULL);
    woq_device_destroy(&d);
    test_expectations_met();
}

static void test_gemm_queries(void **state)
{
    struct woq_gemm_params p = WOQ_GEMM_PARAMS_INIT;
    struct woq_explain e = {.struct_size = sizeof(e)};
    struct woq_weights_info info = {.struct_size = sizeof(info)};
    struct woq_gemm *g = NULL;
    uint64_t bytes;
    (void)state;
    struct woq_weights *w = make_weights(dev, 1, true);
    p.weights = w;
    p.max_m = 8;
    p.activation = WOQ_ACTIVATION_SILU_MUL;
    EXPECT_OK(woq_gemm_create(dev, &p, &g));
    assert_int_equal(woq_gemm_n(g), ROWS);
    assert_int_equal(woq_gemm_n(NULL), 0);
    EXPECT_OK(woq_weights_get_info(w, &info));
    assert_int_equal(info.payload_bytes, 2 * (ROWS * COLUMNS / 2 + ROWS * 2 * 4));
    EXPECT_BAD("out", woq_weights_get_info(w, NULL));
    EXPECT_BAD("weights", woq_weights_get_info(NULL, &info));
    info.struct_size = 3;
    EXPECT_BAD("struct_size", woq_weights_get_info(w, &info));
    EXPECT_OK(woq_gemm_explain(g, 1, &e));
    EXPECT_OK(woq_gemm_explain(g, 8, &e));
    EXPECT_BAD("m is 0", woq_gemm_explain(g, 0, &e));
    e.struct_size = sizeof(e);
    EXPECT_BAD("m is 9", woq_gemm_explain(g, 9, &e));
    EXPECT_BAD("out", woq_gemm_explain(g, 1, NULL));
    e.struct_size = sizeof(e);
    EXPECT_BAD("gemm", woq_gemm_explain(NULL, 1, &e));
    e.struct_size = 0;
    EXPECT_BAD("struct_size", woq_gemm_explain(g, 1, &e));
    EXPECT_BAD("bytes", woq_gemm_workspace(g, NULL));
    EXPECT_BAD("gemm", woq_gemm_workspace(NULL, &bytes));
    woq_gemm_destroy(&g);
    woq_weights_destroy(&w);
    test_expectations_met();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight_arguments),   cmocka_unit_test(test_weight_data),
        cmocka_unit_test(test_weight_data_halves), cmocka_unit_test(test_weight_sizes),
        cmocka_unit_test(test_gemm_arguments),     cmocka_unit_test(test_gemm_queries),
    };
    dev = test_open(argc > 1 ? argv[1] : NULL);
    test_expect_errors(true);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !test_close(&dev) || failed || test_error_count();
}
