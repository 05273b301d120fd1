/*
 * test_radv.c: AMD's real shader compiler takes every Vulkan kernel, without the hardware: Mesa's
 * RADV with RADV_FORCE_FAMILY (navi31, navi21, vega20, …) and VK_DRIVER_FILES naming its ICD, set
 * by the caller. The null hardware has no memory, so kernels are asked for one by one instead of
 * through a GEMM. Printed for each: subgroup size, VGPRs, LDS, subgroups on a SIMD, size of the
 * code, and the compiler's estimate of cycles. A spill, or scratch memory, is a failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/blocks.h"
#include "core/core.h"
#include "core/step.h"
#include "radv_statistics.h"
#include "support/device.h"
#include "vulkan/vk_backend.h"

/* Kernels built for everything, then matrix kernels for each block, kind of codes and kind of groups, then expand for
 * each kind of codes and of groups, then gemv kernels for each kind of codes, type and number of rows of X, both kinds
 * of groups and of weights, and one part of K and four, then tile kernels for each block, kind of codes, type of X and
 * both kinds of groups. */
#define CODES 3u
#define ONE_BLOCK(...) +1u
/* The first blocks, and those behind them. */
#define MATRIX_BLOCKS                                                                              \
    (0u WOQI_BLOCKS(ONE_BLOCK) WOQI_COOP_BLOCKS(ONE_BLOCK) WOQI_NV2_BLOCKS(ONE_BLOCK) WOQI_WGMMA_BLOCKS(ONE_BLOCK))
#define TILE_BLOCKS (0u WOQI_TILE_BLOCKS(ONE_BLOCK))
#define MATRIX_KEYS (MATRIX_BLOCKS * CODES * WOQI_GROUPS_COUNT)

#define EXPAND_KEYS (2u * WOQI_GROUPS_COUNT)

#define GEMV_KEYS   (4u * 3u * 4u * 2u * 2u * 2u)
#define TILE_KEYS   (TILE_BLOCKS * 4u * 3u * 2u)
#define LIMIT_KEYS  (WOQI_KERNEL_LIMIT_DOT - WOQI_KERNEL_LIMIT_READ + 1u)

static uint32_t key_count(void)
{
    return WOQI_KERNEL_MMA + MATRIX_KEYS + EXPAND_KEYS + GEMV_KEYS + TILE_KEYS + LIMIT_KEYS;
}

/* Takes its choice among `count` off *i. */
static uint32_t take(uint32_t *i, uint32_t count)
{
    const uint32_t choice = *i % count;
    *i /= count;
    return choice;
}

static struct woqi_kernel_key gemv_key(uint32_t i)
{
    struct woqi_kernel_key key = {.id = WOQI_KERNEL_GEMV_FRAG};
    key.code = WOQ_ABI_U4 + take(&i, 4);
    key.x = WOQ_ABI_F32 + take(&i, 3);
    key.rows = 1u << take(&i, 4);
    key.fine = take(&i, 2);
    key.weighted = take(&i, 2);
    key.parts = take(&i, 2) ? 4 : 1;
    if (key.code >= WOQ_ABI_WF16)
        key.fine = key.weighted = 0;
    return key;
}

/* Is there a path with the tile block that is not for CPUs alone? */
static bool for_gpus(uint32_t block)
{
    for (uint32_t i = 0; i < woqi_path_total; i++)
        if (woqi_paths[i].block == block && woqi_paths[i].accepts != woqi_tile_cpu_accepts)
            return true;
    return false;
}

static struct woqi_kernel_key tile_key(uint32_t i)
{
    struct woqi_kernel_key key = {.id = WOQI_KERNEL_TILE};
    key.code = WOQ_ABI_U4 + take(&i, 4);
    key.x = WOQ_ABI_F32 + take(&i, 3);
    key.fine = take(&i, 2) ? WOQI_GROUPS_ANY : WOQI_GROUPS_BLOCK;
    key.block = WOQI_BLOCK_NONE + 1u + MATRIX_BLOCKS + i;
    return key;
}

static struct woqi_kernel_key key_at(uint32_t i)
{
    struct woqi_kernel_key key = {.id = (enum woqi_kernel_id)i};
    if (i < WOQI_KERNEL_MMA)
        return key;
    i -= WOQI_KERNEL_MMA;
    if (i >= MATRIX_KEYS + EXPAND_KEYS + GEMV_KEYS + TILE_KEYS) {
        i -= MATRIX_KEYS + EXPAND_KEYS + GEMV_KEYS + TILE_KEYS;
        return (struct woqi_kernel_key){.id = WOQI_KERNEL_LIMIT_READ + i};
    }
    if (i >= MATRIX_KEYS + EXPAND_KEYS + GEMV_KEYS)
        return tile_key(i - MATRIX_KEYS - EXPAND_KEYS - GEMV_KEYS);
    if (i >= MATRIX_KEYS + EXPAND_KEYS)
        return gemv_key(i - MATRIX_KEYS - EXPAND_KEYS);
    if (i >= MATRIX_KEYS) {
        i -= MATRIX_KEYS;
        return (struct woqi_kernel_key){.id = WOQI_KERNEL_EXPAND, .code = WOQ_ABI_U4 + i % 2, .fine = i / 2};
    }
    key.code = WOQ_ABI_U4 + i % CODES;
    key.fine = i / CODES % WOQI_GROUPS_COUNT;
    key.block = WOQI_BLOCK_NONE + 1 + i / CODES / WOQI_GROUPS_COUNT;
    key.id = woqi_coop_block((enum woqi_block_id)key.block)->rows_w  ? WOQI_KERNEL_COOP
             : woqi_nv2_block((enum woqi_block_id)key.block)->rows_w ? WOQI_KERNEL_NV2
             : woqi_block((enum woqi_block_id)key.block)->warps_n    ? WOQI_KERNEL_MMA
                                                                     : WOQI_KERNEL_WGMMA;
    return key;
}

/* Prints a compiled kernel's line; false if registers did not suffice. */
static bool judge(const struct woqi_kernel *kernel)
{
    struct pipeline_statistics s;
    if (!radv_statistics_last(&s)) {
        printf("  %s: compiled, no statistics\n", kernel->name);
        return false;
    }
    const bool fits = !s.spilled_vgprs && !s.spilled_sgprs && !s.scratch;
    printf("  %-28s wave%-2u %3llu VGPRs  %5llu B LDS  %2llu subgroups  %6llu B  %8llu cycles\n", kernel->name,
           s.subgroup_size, (unsigned long long)s.vgprs, (unsigned long long)s.lds,
           (unsigned long long)s.subgroups, (unsigned long long)s.code,
           (unsigned long long)s.inverse_throughput);
    if (!fits)
        printf("  SPILLS: %llu VGPRs, %llu SGPRs, %llu bytes of scratch\n",
               (unsigned long long)s.spilled_vgprs, (unsigned long long)s.spilled_sgprs,
               (unsigned long long)s.scratch);
    return fits;
}

/* Every `stride`-th key. subgroup: size for kernels with cooperative matrices; 0 = the library's choice. */
static void compile_keys(const char *emulate, uint32_t subgroup, uint32_t stride)
{
    static const char *const names[] = {
#define KERNEL_NAME(id, name, path, local_x, what) #name,
        WOQI_KERNELS(KERNEL_NAME)
#undef KERNEL_NAME
    };
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    unsigned compiled = 0, spilled = 0, of_kernel[WOQI_KERNEL_COUNT] = {0};
    char refusal[256] = ""; /* the last */
    params.emulate = emulate;
    params.cache_dir = "";
    assert_int_equal(woq_device_open("vulkan:0", &params, &device), WOQ_OK);
    printf("%s, limits: %s\n", woq_device_get_info(device)->name, *emulate ? emulate : "its own");
    if (subgroup)
        woqi_vk_of(device)->coop.subgroup = subgroup;
    for (uint32_t i = 0; i < key_count(); i += i < WOQI_KERNEL_MMA ? 1 : stride) {
        const struct woqi_kernel_key key = key_at(i);
        struct woqi_kernel *kernel = NULL;
        char reason[256] = "";
        if (key.code >= WOQ_ABI_WF16 && key.fine) /* no groups */
            continue;
        if (key.id == WOQI_KERNEL_TILE && !for_gpus(key.block))
            continue;
        if (!device->backend->kernel_probe(device, key, reason, sizeof(reason))) {
            if (strcmp(reason, refusal))
                printf("  %s: %s\n", names[key.id], reason);
            memcpy(refusal, reason, sizeof(refusal));
            continue;
        }
        enum woq_status st = woqi_device_kernel(device, key, &kernel);
        const struct woqi_step step = {.kind = WOQI_STEP_DISPATCH, .kernel = kernel};
        if (!st)
            st = woqi_vk_kernels_build(device, &step, 1);
        if (st)
            printf("  %s: %s\n", names[key.id], woq_last_message());
        assert_int_equal(st, WOQ_OK);
        assert_non_null(kernel);
        compiled++;
        of_kernel[key.id]++;
        spilled += !judge(kernel);
    }
    assert_int_equal(spilled, 0);
    assert_true(compiled > 0);
    if (!*emulate) {
        assert_true(of_kernel[WOQI_KERNEL_GEMV_FRAG] && of_kernel[WOQI_KERNEL_TILE]);
        assert_true(of_kernel[WOQI_KERNEL_COOP] || strcmp(getenv("RADV_FORCE_FAMILY"), "navi31"));
    }
    assert_true(test_close(&device));
}

static void test_compile(void **state)
{
    (void)state;
    compile_keys("", 0, 1);
    compile_keys("max_workgroup=32", 0, 11);
    compile_keys("no_fp16,no_storage16,no_storage8,no_subgroups,no_matrix", 0, 11);
    compile_keys("", 32, 1); /* where the driver's own choice is 64; not for GPUs without matrices, which have no 32 */
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
