/*
 * test_matrix_bf16.c: what core plans for BF16 X on a device whose matrix units take it, and on one whose do not. The
 * reference backend stands for both.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/cases.h"
#include "support/device.h"
#include "support/matrix_device.h"
#include "support/product.h"

static bool takes(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    (void)device, (void)reason, (void)size;
    return key.id == WOQI_KERNEL_MMA || key.id == WOQI_KERNEL_XHALF || key.id == WOQI_KERNEL_FLOOR;
}

/* Steps and kernel of the product as planned; false: not on matrix units. */
static bool plan(struct woq_device *device, const char *line, uint32_t *steps, char *kernel, size_t size)
{
    struct test_case c;
    struct product p;
    struct woq_gemm *gemm = NULL;
    struct woq_explain explain = {.struct_size = sizeof explain};
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, NULL, &gemm));
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &explain), WOQ_OK);
    *steps = explain.steps;
    snprintf(kernel, size, "%s", explain.kernel);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
    return !strncmp(kernel, "mma_", 4);
}

static const char quantized[] =
    "code=u4,zero=point,scale=bf16,group=64,n=65,k=256,m=20,max_m=20,x=bf16,y=f32,data=random";
static const char rounded[] =
    "code=u8,zero=offset,scale=f32,group=64,n=65,k=256,m=70,max_m=70,x=bf16,y=f32,data=random,math=rounded";
static const char gathered[] =
    "code=u4,zero=symmetric,scale=f16,group=32,order=equal,n=65,k=256,m=20,max_m=20,x=bf16,y=f32,data=random";
static const char plain_bf16[] = "code=bf16,n=65,k=256,m=4,max_m=4,x=bf16,y=f32,data=random";
static const char plain_f16[] = "code=f16,n=65,k=256,m=20,max_m=20,x=bf16,y=f32,data=random";
static const char mixed[] = "code=bf16,n=65,k=256,m=4,max_m=4,x=f16,y=f32,data=random";

static struct woq_device *open(uint32_t features)
{
    struct woq_device_params params = test_params();
    params.skip_self_test = true;
    struct woq_device *device = matrix_device_open(&params, takes, woqi_backend_reference.sequence_submit);
    device->info.features |= WOQ_FEATURE_MATRIX | features;
    return device;
}

/* X goes to the kernel as it is; through the workspace only to be put in order. FP16 weights are no BF16. */
static void test_with(void **state)
{
    struct woq_device *device = open(WOQ_FEATURE_MATRIX_BF16);
    uint32_t steps, dense;
    char kernel[64];
    (void)state;
    assert_true(plan(device, quantized, &dense, kernel, sizeof kernel));
    assert_non_null(strstr(kernel, "mma_u4_bf16_"));
    assert_true(plan(device, rounded, &steps, kernel, sizeof kernel));
    assert_non_null(strstr(kernel, "mma_u8_bf16_"));
    assert_true(plan(device, gathered, &steps, kernel, sizeof kernel));
    assert_non_null(strstr(kernel, "mma_u4_bf16_"));
    assert_true(steps > dense);
    assert_true(plan(device, plain_bf16, &steps, kernel, sizeof kernel));
    assert_non_null(strstr(kernel, "mma_bf16_bf16_"));
    assert_true(plan(device, plain_f16, &steps, kernel, sizeof kernel));
    assert_null(strstr(kernel, "bf16"));
    assert_true(steps > dense);
    assert_false(plan(device, mixed, &steps, kernel, sizeof kernel));
    assert_true(test_close(&device));
}

/* X becomes FP16 first, and what FP16 cannot do stays away from matrix units. */
static void test_without(void **state)
{
    struct woq_device *device = open(0);
    uint32_t steps;
    char kernel[64];
    (void)state;
    assert_true(plan(device, quantized, &steps, kernel, sizeof kernel));
    assert_null(strstr(kernel, "mma_u4_bf16_"));
    assert_true(steps > 1);
    assert_false(plan(device, rounded, &steps, kernel, sizeof kernel));
    assert_true(plan(device, gathered, &steps, kernel, sizeof kernel));
    assert_null(strstr(kernel, "mma_u4_bf16_"));
    assert_false(plan(device, plain_bf16, &steps, kernel, sizeof kernel));
    assert_true(plan(device, plain_f16, &steps, kernel, sizeof kernel));
    assert_true(test_close(&device));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_with), cmocka_unit_test(test_without)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
