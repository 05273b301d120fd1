/*
 * test_wgmma_plan.c: which tiles core plans for on Hopper, and in which parts of K; the reference backend stands for a
 * device of 132 compute units.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/commands.h"
#include "support/device.h"
#include "support/matrix_device.h"
#include "support/region.h"

static bool takes(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    (void)device, (void)reason, (void)size;
    return key.id == WOQI_KERNEL_WGMMA || key.id == WOQI_KERNEL_XTILE || key.id == WOQI_KERNEL_FLOOR;
}

static struct woq_device *open(void)
{
    struct woq_device_params params = test_params();
    params.skip_self_test = true;
    struct woq_device *device = matrix_device_open(&params, takes, woqi_backend_reference.sequence_submit);
    device->info.features |= WOQ_FEATURE_MATRIX | WOQ_FEATURE_FP16;
    device->info.compute_units = 132;
    return device;
}

/* Weights of 4 bits in groups of `group`, all codes 0 and all scales 1. */
static struct woq_weights *make_weights(struct woq_device *device, uint64_t n, uint64_t k, uint64_t group)
{
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    struct woq_weights_params params = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_weights *weights = NULL;
    const uint64_t scale_count = n * (k / group);
    uint16_t *scales = malloc(scale_count * sizeof *scales);
    uint8_t *codes = calloc(n * k / 2, 1);
    assert_non_null(scales);
    assert_non_null(codes);
    for (uint64_t i = 0; i < scale_count; i++)
        scales[i] = 0x3c00;
    source.format = (struct woq_format)WOQ_FORMAT_INIT;
    source.format.code = WOQ_CODE_U4;
    source.format.zero = WOQ_ZERO_SYMMETRIC;
    source.format.scale = WOQ_F16;
    source.format.group = group;
    source.n = n;
    source.k = k;
    source.codes = codes;
    source.scales = scales;
    params.sources = &source;
    params.count = 1;
    assert_int_equal(woq_weights_create(device, &params, &weights), WOQ_OK);
    free(codes);
    free(scales);
    return weights;
}

/* What is planned for m rows is this variant; with the workspace that sums of parts of tiles need, if they go there. */
static void check(const struct woq_gemm *gemm, uint32_t m, const char *variant, bool workspace)
{
    struct woq_explain explain = {.struct_size = sizeof explain};
    assert_int_equal(woq_gemm_explain(gemm, m, &explain), WOQ_OK);
    if (strcmp(explain.variant, variant))
        fail_msg("m = %u: %s, not %s", m, explain.variant, variant);
    assert_int_equal(explain.workspace != 0, workspace);
}

static struct woq_gemm *make_gemm(struct woq_device *device, struct woq_weights *weights, uint32_t max_m,
                                  const char *path)
{
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_gemm *gemm = NULL;
    params.weights = weights;
    params.max_m = max_m;
    params.path = path;
    return woq_gemm_create(device, &params, &gemm) ? NULL : gemm;
}

struct expected {
    uint32_t m;
    const char *variant;
    bool workspace;
};

static void check_shape(uint64_t n, uint64_t k, uint64_t group, const struct expected *list, size_t count)
{
    struct woq_device *device = open();
    struct woq_weights *weights = make_weights(device, n, k, group);
    struct woq_gemm *gemm = make_gemm(device, weights, 512, NULL);
    assert_non_null(gemm);
    for (size_t i = 0; i < count; i++)
        check(gemm, list[i].m, list[i].variant, list[i].workspace);
    woq_gemm_destroy(&gemm);
    woq_weights_destroy(&weights);
    assert_true(test_close(&device));
}

/* 32 tiles of 128 rows of weights: four parts each, or two of twice as many. K of 64 blocks is not deep. */
static void square(void **state)
{
    static const struct expected list[] = {
        {33, "gemm/wgmma_D128X64K4", true},    {64, "gemm/wgmma_D128X64K4", true},
        {65, "gemm/wgmma_D128X128K4", true},   {128, "gemm/wgmma_D128X128K4", true},
        {129, "gemm/wgmma_D128X128K2", false}, {256, "gemm/wgmma_D128X128K2", false},
        {257, "gemm/wgmma_D128X256K2", false}, {512, "gemm/wgmma_D128X256K2", false},
    };
    (void)state;
    check_shape(4096, 4096, 128, list, sizeof list / sizeof *list);
}

/* 224 blocks are. */
static void deep(void **state)
{
    static const struct expected list[] = {
        {32, "gemm/wgmma_D128X64K4", true},
        {256, "gemm/wgmma_D128X256K4", true},
        {512, "gemm/wgmma_D128X256K2", false},
    };
    (void)state;
    check_shape(4096, 14336, 128, list, sizeof list / sizeof *list);
}

/* Groups of 32 take four parts of 64 blocks, too; else that is mma's, which this device lacks. */
static void fine(void **state)
{
    static const struct expected list[] = {{17, "gemm/wgmma_D128X64K4", true}, {32, "gemm/wgmma_D128X64K4", true}};
    static const struct expected none[] = {{32, "floor/floor", false}};
    (void)state;
    check_shape(1024, 4096, 32, list, sizeof list / sizeof *list);
    check_shape(1024, 4096, 64, none, 1);
    check_shape(1024, 2048, 32, none, 1);
}

/* 64 tiles of 128 rows in two parts go before 43 of 192. */
static void full(void **state)
{
    static const struct expected list[] = {{64, "gemm/xtile+wgmma_G192X64", true},
                                           {65, "gemm/wgmma_D128X128K2", false},
                                           {128, "gemm/wgmma_D128X128K2", false}};
    (void)state;
    check_shape(8192, 11264, 128, list, sizeof list / sizeof *list);
}

/* 48 tiles of 128 rows, 32 of 192, which take groups of whole pairs of blocks. */
static void three_quarters(void **state)
{
    static const struct expected pairs[] = {
        {32, "gemm/wgmma_D256X32", true},
        {64, "gemm/wgmma_D128X64K2", false},
        {128, "gemm/wgmma_D128X128K2", false},
        {256, "gemm/wgmma_D192X128K2", false},
        {512, "gemm/wgmma_D192X128", false},
    };
    static const struct expected small[] = {{256, "gemm/wgmma_D128X256K2", false}, {512, "gemm/wgmma_D128X256", true}};
    (void)state;
    check_shape(6144, 4096, 128, pairs, sizeof pairs / sizeof *pairs);
    check_shape(6144, 4096, 32, small, sizeof small / sizeof *small);
}

/* More tiles than compute units are not cut, nor is a K that has no even parts; either may be asked for, but sums of
 * four parts have a place for each compute unit alone. */
static void not_cut(void **state)
{
    static const struct expected wide[] = {{32, "gemm/wgmma_D256X32", true},
                                           {64, "gemm/xtile+wgmma_G192X64", true},
                                           {256, "gemm/wgmma_D128X256", true}};
    static const struct expected odd[] = {{64, "gemm/wgmma_D128X64", true}, {256, "gemm/wgmma_D128X128", true}};
    (void)state;
    check_shape(28672, 1024 * 5, 128, wide, sizeof wide / sizeof *wide);
    check_shape(4096, 128 * 31, 128, odd, sizeof odd / sizeof *odd);

    struct woq_device *device = open();
    struct woq_weights *weights = make_weights(device, 17024, 512, 128); /* 133 tiles */
    struct woq_gemm *gemm = make_gemm(device, weights, 64, "gemm/wgmma_D128X64K2");
    assert_non_null(gemm);
    check(gemm, 64, "gemm/wgmma_D128X64K2", false);
    woq_gemm_destroy(&gemm);
    assert_null(make_gemm(device, weights, 64, "gemm/wgmma_D128X64K4"));
    woq_weights_destroy(&weights);
    assert_true(test_close(&device));
}

static void record(struct woq_commands *commands, struct woq_gemm *gemm)
{
    uint32_t m, x, y;
    assert_int_equal(woq_commands_slot_m(commands, 64, &m), WOQ_OK);
    assert_int_equal(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &x), WOQ_OK);
    assert_int_equal(woq_commands_slot_view(commands, WOQ_ACCESS_WRITE, &y), WOQ_OK);
    assert_int_equal(woq_commands_gemm(commands, gemm, m, x, y, WOQ_NO_SLOT, WOQ_NO_SLOT), WOQ_OK);
}

/* A recording that could not be ended for want of memory gets another product, which has its own part of the workspace
 * and of the flags. */
static void ended_again(void **state)
{
    struct woq_device *device = open();
    struct woq_weights *weights = make_weights(device, 4096, 4096, 128);
    struct woq_gemm *gemm = make_gemm(device, weights, 64, NULL);
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    int tries = 0;
    (void)state;
    assert_non_null(gemm);
    for (; st; tries++) {
        struct woq_commands *commands = NULL;
        assert_true(tries < 100);
        assert_int_equal(woq_commands_create(device, NULL, &commands), WOQ_OK);
        record(commands, gemm);
        test_expect_errors(true);
        test_heap_fail_at(test_main_heap(), tries);
        st = woq_commands_end(commands);
        test_heap_fail_at(test_main_heap(), -1);
        test_expect_errors(false);
        if (st) {
            record(commands, gemm);
            assert_true(test_ok(woq_commands_end(commands), "woq_commands_end"));
            assert_true(commands->flags_bytes && commands->flags->size >= commands->flags_bytes);
            assert_true(commands->workspace_bytes && commands->workspace.buffer->size >= commands->workspace_bytes);
        }
        woq_commands_destroy(&commands);
    }
    assert_true(tries > 3);
    woq_gemm_destroy(&gemm);
    woq_weights_destroy(&weights);
    assert_true(test_close(&device));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(square),
        cmocka_unit_test(deep),
        cmocka_unit_test(fine),
        cmocka_unit_test(full),
        cmocka_unit_test(three_quarters),
        cmocka_unit_test(not_cut),
        cmocka_unit_test(ended_again),
    };
    return cmocka_run_group_tests_name("wgmma_plan", tests, NULL, NULL);
}
