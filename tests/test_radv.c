/*
 * test_radv.c: AMD's real shader compiler takes every Vulkan kernel, without the hardware: Mesa's
 * RADV with RADV_FORCE_FAMILY (navi31, navi21, vega20, …) and VK_DRIVER_FILES naming its ICD, set
 * by the caller. The null hardware has no memory, so kernels are asked for one by one instead of
 * through a GEMM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/blocks.h"
#include "core/core.h"
#include "support/device.h"

/* Kernels built for everything, then matrix kernels for each block, kind of codes and kind of groups. */
#define CODES 3u
#define MATRIX_KEYS ((WOQI_BLOCK_COUNT - 1u) * CODES * WOQI_GROUPS_COUNT)

static uint32_t key_count(void)
{
    return WOQI_KERNEL_MMA + MATRIX_KEYS;
}

static struct woqi_kernel_key key_at(uint32_t i)
{
    struct woqi_kernel_key key = {(enum woqi_kernel_id)i, 0, 0, 0};
    if (i < WOQI_KERNEL_MMA)
        return key;
    i -= WOQI_KERNEL_MMA;
    key.code = WOQ_ABI_U4 + i % CODES;
    key.fine = i / CODES % WOQI_GROUPS_COUNT;
    key.block = WOQI_BLOCK_NONE + 1 + i / CODES / WOQI_GROUPS_COUNT;
    key.id = woqi_coop_block((enum woqi_block_id)key.block)->name ? WOQI_KERNEL_COOP : WOQI_KERNEL_MMA;
    return key;
}

static void compile_all(const char *emulate)
{
    static const char *const names[] = {
#define KERNEL_NAME(id, name, path, local_x, what) #name,
        WOQI_KERNELS(KERNEL_NAME)
#undef KERNEL_NAME
    };
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    unsigned compiled = 0;
    params.emulate = emulate;
    params.cache_dir = "";
    assert_int_equal(woq_device_open("vulkan:0", &params, &device), WOQ_OK);
    printf("%s, limits: %s\n", woq_device_get_info(device)->name, *emulate ? emulate : "its own");
    for (uint32_t i = 0; i < key_count(); i++) {
        const struct woqi_kernel_key key = key_at(i);
        struct woqi_kernel *kernel = NULL;
        char reason[256] = "";
        if (!device->backend->kernel_probe(device, key, reason, sizeof(reason))) {
            printf("  %s: %s\n", names[key.id], reason);
            continue;
        }
        const enum woq_status st = woqi_device_kernel(device, key, &kernel);
        printf("  %s: %s\n", st ? names[key.id] : kernel->name, st ? woq_last_message() : "compiled");
        assert_int_equal(st, WOQ_OK);
        assert_non_null(kernel);
        compiled++;
    }
    assert_true(compiled > 0);
    assert_true(test_close(&device));
}

static void test_compile(void **state)
{
    (void)state;
    compile_all("");
    compile_all("max_workgroup=32");
    compile_all("no_fp16,no_storage16,no_storage8,no_subgroups,no_matrix");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compile)};
    const char *family = getenv("RADV_FORCE_FAMILY"), *icd = getenv("VK_DRIVER_FILES");
    const struct woq_device_params params = test_params();
    if (!family || !icd || !*icd) {
        printf("SKIPPED: RADV_FORCE_FAMILY or VK_DRIVER_FILES is not set\n");
        return TEST_SKIPPED;
    }
    struct woq_device *device = test_try_open("vulkan:0", &params);
    if (!device)
        return TEST_SKIPPED;
    woq_device_destroy(&device);
    return cmocka_run_group_tests_name(family, tests, NULL, NULL) || test_error_count();
}
