/* test_limits.c: every limit of every device can be measured or is refused with a reason, and what products run against
 * is one that can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/product.h"
#include <woq/limits.h>

static void test_arguments(void **state)
{
    double value = 1;
    struct woq_device *device = *state;
    test_expect_errors(true);
    assert_int_equal(woq_limit_measure(NULL, WOQ_LIMIT_READ, 0, &value), WOQ_ERROR_INVALID_ARGUMENT);
    assert_true(value == 0);
    assert_int_equal(woq_limit_measure(device, WOQ_LIMIT_READ, 0, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_limit_measure(device, WOQ_LIMIT_NONE, 0, &value), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_limit_measure(device, WOQ_LIMIT_COUNT, 0, &value), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_limit_measure(device, WOQ_LIMIT_READ, -1, &value), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_limit_measure(device, WOQ_LIMIT_READ, 1e9, &value), WOQ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(woq_last_message(), "must be 0 … 3600"));
    test_expect_errors(false);
    assert_string_equal(woq_limit_name(WOQ_LIMIT_VBMI), "vbmi");
    assert_string_equal(woq_limit_name(WOQ_LIMIT_COUNT), "none");
}

static void test_all(void **state)
{
    struct woq_device *device = *state;
    bool measured[WOQ_LIMIT_COUNT] = {false};
    for (int limit = WOQ_LIMIT_READ; limit < WOQ_LIMIT_COUNT; limit++) {
        double value = -1;
        test_expect_errors(true);
        const enum woq_status st = woq_limit_measure(device, (enum woq_limit)limit, 0.01, &value);
        test_expect_errors(false);
        measured[limit] = !st;
        printf("%s %s: %.4g\n", woq_device_get_info(device)->selector, woq_limit_name((enum woq_limit)limit), value);
        if (st) {
            assert_int_equal(st, WOQ_ERROR_UNSUPPORTED);
            assert_true(value == 0 && strstr(woq_last_message(), woq_limit_name((enum woq_limit)limit)));
        } else {
            assert_true(value > 1e6 && value < 1e18); /* nothing that computes at all is slower */
        }
    }
    /* A device that tells how fast it reads tells so of what its products multiply with. */
    static const char *const lines[] = {
        "code=u4,scale=f16,group=64,n=64,k=256,m=2,max_m=2,x=f16,y=f32",
        "code=u8,scale=f16,group=64,n=64,k=256,m=70,max_m=70,x=f16,y=f32",
        "code=f16,n=64,k=256,m=20,max_m=20,x=f32,y=f32",
        "code=u4,scale=f16,group=64,n=64,k=256,m=2,max_m=2,x=f16,y=f32,math=fixed16",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct woq_explain e = {.struct_size = sizeof e};
        struct woq_gemm *gemm = NULL;
        struct test_case c;
        struct product p;
        assert_true(case_parse(lines[i], &c));
        if (c.math == WOQ_MATH_FIXED16 && !measured[WOQ_LIMIT_AVX2])
            continue;
        assert_true(product_create(device, &c, &p));
        const char *path = c.math == WOQ_MATH_FIXED16 ? "gemm" : NULL;
        test_expect_errors(true);
        const bool made = product_gemm(&p, path, &gemm);
        test_expect_errors(false);
        if (made) {
            assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &e), WOQ_OK);
            const bool dot = e.limit >= WOQ_LIMIT_AVX2;
            assert_true(e.limit_work >= 1 && e.limit_work <= 2);
            assert_true(!dot || e.math == WOQ_MATH_FIXED16);
            assert_true(e.limit != WOQ_LIMIT_READ && (unsigned)e.limit < WOQ_LIMIT_COUNT);
            if (measured[WOQ_LIMIT_READ] && e.limit)
                assert_true(measured[e.limit]);
        }
        woq_gemm_destroy(&gemm);
        product_destroy(&p);
    }
}

static void run_all(const char *selector, void *failed)
{
    struct woq_device_params params = test_params();
    struct woq_device *device = test_try_open(selector, &params);
    if (!device)
        return;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_arguments, device),
        cmocka_unit_test_prestate(test_all, device),
    };
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
    *(int *)failed += !test_close(&device);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_all);
}
