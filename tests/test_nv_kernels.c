/*
 * test_nv_kernels.c: how kernels of shaders/cuda are launched, without a GPU: whatever the library would launch on a
 * device has been compiled for it, and has the threads, registers and shared memory, by what ptxas and nvcc said as
 * they compiled it (TEST_NV_FOLDER); and nothing else has been compiled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/blocks.h"
#include "nvidia/nv_kernels.h"
#include "support/device.h"
#include "support/matrix_device.h"

#define REGISTERS 65536 /* of a block, on every architecture from 7.5 on */

static const char *const module_names[] = {
#define WOQI_NV_MODULE(kernel, codes, x, capability, name) #name,
#define WOQI_NV_CUDA_MODULE WOQI_NV_MODULE
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE
};

/* ---- devices ---- */

static const struct profile {
    const char *name, *code; /* code: of the architecture that runs there; PTX: text for OpenCL */
    struct woqi_nv_target target;
    uint32_t shared_memory, max_workgroup;
} profiles[] = {
    {"Turing", "sm_75", {75, false}, 65536, 1024},
    {"A100", "sm_80", {80, false}, 166912, 1024},
    {"Ada", "sm_80", {89, false}, 101376, 1024},
    {"Hopper", "sm_90a", {90, false}, 232448, 1024},
    {"Hopper, blocks of 448", "sm_90a", {90, false}, 232448, 448},
    {"Hopper, blocks of 32", "sm_90a", {90, false}, 232448, 32},
    {"A100, OpenCL", "PTX", {80, true}, 49152, 1024},
    {"Hopper, OpenCL", "PTX", {90, true}, 49152, 1024},
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

/* ---- what has been compiled ---- */

static struct compiled {
    uint32_t module;
    char code[16], entry[48];
    uint32_t registers, shared, threads; /* of a thread; bytes, beside what a launch adds; at most, 0 = not told */
    bool used;
} compiled[2048];
static size_t compiled_count;

static struct compiled *find_compiled(uint32_t module, const char *code, const char *entry)
{
    for (size_t i = 0; i < compiled_count; i++)
        if (compiled[i].module == module && !strcmp(compiled[i].code, code) && !strcmp(compiled[i].entry, entry))
            return &compiled[i];
    return NULL;
}

static struct compiled *add_compiled(uint32_t module, const char *code, const char *entry)
{
    assert_true(compiled_count < sizeof compiled / sizeof *compiled);
    struct compiled *c = &compiled[compiled_count++];
    c->module = module;
    snprintf(c->code, sizeof c->code, "%s", code);
    snprintf(c->entry, sizeof c->entry, "%s", entry);
    return c;
}

static bool has_code(const char *code)
{
    for (size_t i = 0; i < compiled_count; i++)
        if (!strcmp(compiled[i].code, code))
            return true;
    return false;
}

static FILE *open_output(const char *form, uint32_t module)
{
    char path[1024];
    snprintf(path, sizeof path, form, TEST_NV_FOLDER, module_names[module]);
    return fopen(path, "r");
}

/* A module's report by ptxas. */
static void read_report(uint32_t module)
{
    char line[512], entry[48], code[16];
    struct compiled *last = NULL;
    FILE *file = open_output("%s/woqi_cu_fatbin_%s.ptxas.txt", module);
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        const char *at = strstr(line, "entry function '"), *used = strstr(line, "Used "), *shared;
        if (at && sscanf(at, "entry function '%47[^']' for '%15[^']'", entry, code) == 2)
            last = add_compiled(module, code, entry);
        if (!used || !last)
            continue;
        assert_int_equal(sscanf(used, "Used %u registers", &last->registers), 1);
        for (shared = strstr(line, " bytes smem"); shared && shared[-1] >= '0' && shared[-1] <= '9';)
            shared--;
        last->shared = shared ? (uint32_t)strtoul(shared, NULL, 10) : 0;
    }
    fclose(file);
}

/* A module's text for OpenCL, if it has one. */
static void read_text(uint32_t module)
{
    char line[4096], entry[48];
    struct compiled *last = NULL;
    FILE *file = open_output("%s/woqi_cl_ptx_%s.nvcc.ptx", module);
    while (file && fgets(line, sizeof line, file)) {
        const char *at = strstr(line, ".entry ");
        if (at && sscanf(at, ".entry %47[A-Za-z0-9_]", entry) == 1)
            last = add_compiled(module, "PTX", entry);
        if (last)
            sscanf(line, ".maxntid %u", &last->threads);
    }
    if (file)
        fclose(file);
}

static int read_compiled(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < woqi_nv_module_count; i++) {
        read_report(i);
        read_text(i);
    }
    return compiled_count ? 0 : -1;
}

/* ---- what is launched ---- */

static struct woqi_nv_entry found; /* of the kernel made last */

static enum woq_status find_entry(struct woqi_kernel *kernel)
{
    if (!woqi_nv_find(kernel, &found))
        fail_msg("%s: the device takes it, and there is no module", kernel->name);
    return WOQ_OK;
}

static void nothing(struct woqi_kernel *kernel)
{
    (void)kernel;
}

static struct woq_device *open_profile(const struct profile *profile)
{
    static struct woqi_backend backend;
    struct woq_device_params params = test_params();
    params.skip_self_test = true;
    struct woq_device *device =
        matrix_device_open(&params, woqi_backend_reference.kernel_probe, woqi_backend_reference.sequence_submit);
    backend = *device->backend;
    backend.kernel_create = find_entry;
    backend.kernel_destroy = nothing;
    device->backend = &backend;
    device->info.features |=
        WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    if (profile->target.capability < 80)
        device->info.features &= ~(uint32_t)WOQ_FEATURE_MATRIX;
    device->info.shared_memory = profile->shared_memory;
    device->info.max_workgroup = profile->max_workgroup;
    return device;
}

/* The kernel of a key, if the device takes it: true, and `found`. */
static bool find(struct woq_device *device, const struct profile *profile, struct woqi_kernel_key key)
{
    char reason[256] = "";
    struct woqi_kernel *kernel;
    if (!woqi_nv_probe(device, profile->target, key, reason, sizeof reason)) {
        assert_true(reason[0]);
        return false;
    }
    assert_int_equal(woqi_device_kernel(device, key, &kernel), WOQ_OK);
    return true;
}

static void check_launch(struct woq_device *device, const struct profile *profile, struct woqi_kernel_key key)
{
    char name[64];
    if (!find(device, profile, key))
        return;
    woqi_kernel_name(key, name, sizeof name);
    const char *code = profile->code, *module = module_names[found.module];
    struct compiled *c = find_compiled(found.module, code, found.entry);
    const uint32_t threads = found.block[0] * found.block[1] * found.block[2];
    if (!c)
        fail_msg("%s, %s: no %s for %s in %s", profile->name, name, found.entry, code, module);
    c->used = true;
    const uint32_t most = c->threads ? c->threads : threads;
    if (!threads || threads % 32 || threads > most || threads > profile->max_workgroup)
        fail_msg("%s, %s: blocks of %u; %s has %u at most", profile->name, name, threads, found.entry, most);
    if (threads * ((c->registers + 7) / 8 * 8) > REGISTERS)
        fail_msg("%s, %s: %u registers for %u threads", profile->name, name, c->registers, threads);
    if (found.shared + c->shared > profile->shared_memory)
        fail_msg("%s, %s: %u + %u bytes of shared memory", profile->name, name, found.shared, c->shared);
    if (profile->target.opencl && (found.cluster > 1 || found.map_rows))
        fail_msg("%s, %s: OpenCL has neither clusters nor tensor maps", profile->name, name);
    if (found.cluster > 8 || found.map_rows > 256)
        fail_msg("%s, %s: clusters of %u, boxes of %u rows", profile->name, name, found.cluster, found.map_rows);
}

static void check_rows(struct woq_device *device, const struct profile *profile, uint32_t code)
{
    static const uint32_t types[] = {WOQ_ABI_F32, WOQ_ABI_F16, WOQ_ABI_BF16};
    struct woqi_kernel_key key = {.id = WOQI_KERNEL_GEMV_FRAG, .code = code};
    for (key.rows = 1; key.rows <= 8; key.rows *= 2)
        for (key.parts = 1; key.parts <= 16; key.parts *= 4)
            for (int x = 0; x < 3; x++) {
                key.x = types[x];
                check_launch(device, profile, key);
            }
}

static void check_blocks(struct woq_device *device, const struct profile *profile, enum woqi_kernel_id id,
                         uint32_t code)
{
    static const uint32_t mma[] = {
#define BLOCK(id, ...) WOQI_BLOCK_##id,
        WOQI_BLOCKS(BLOCK)
    };
    static const uint32_t wgmma[] = {
        WOQI_WGMMA_BLOCKS(BLOCK)
#undef BLOCK
    };
    const uint32_t *blocks = id == WOQI_KERNEL_MMA ? mma : wgmma;
    const size_t count = id == WOQI_KERNEL_MMA ? sizeof mma / sizeof *mma : sizeof wgmma / sizeof *wgmma;
    for (size_t i = 0; i < count * 2; i++) {
        const uint32_t x = i % 2 ? WOQ_ABI_BF16 : 0;
        check_launch(device, profile, (struct woqi_kernel_key){.id = id, .code = code, .block = blocks[i / 2], .x = x});
    }
}

/* Every key that core may ask for, but for what changes nothing here. */
static void check_keys(struct woq_device *device, const struct profile *profile)
{
    static const enum woqi_kernel_id plain[] = {
        WOQI_KERNEL_FLOOR, WOQI_KERNEL_REDUCE,     WOQI_KERNEL_XHALF,     WOQI_KERNEL_XTILE,
        WOQI_KERNEL_PACK,  WOQI_KERNEL_LIMIT_READ, WOQI_KERNEL_LIMIT_FMA, WOQI_KERNEL_LIMIT_MATRIX,
        WOQI_KERNEL_LIMIT_WGMMA};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        check_launch(device, profile, (struct woqi_kernel_key){.id = plain[i]});
    for (uint32_t code = WOQ_ABI_U4; code <= WOQ_ABI_WBF16; code++) {
        check_launch(device, profile, (struct woqi_kernel_key){.id = WOQI_KERNEL_EXPAND, .code = code});
        check_rows(device, profile, code);
        check_blocks(device, profile, WOQI_KERNEL_MMA, code);
        check_blocks(device, profile, WOQI_KERNEL_WGMMA, code);
    }
}

static void test_launches(void **state)
{
    (void)state;
    for (int i = 0; i < PROFILES; i++) {
        if (!has_code(profiles[i].code)) {
            printf("%s: nothing is compiled for %s\n", profiles[i].name, profiles[i].code);
            continue;
        }
        struct woq_device *device = open_profile(&profiles[i]);
        check_keys(device, &profiles[i]);
        assert_true(test_close(&device));
    }
}

/* After test_launches. What OpenCL has no shared memory for is in the same text as what it has. */
static void test_nothing_else(void **state)
{
    (void)state;
    int unused = 0;
    for (size_t i = 0; i < compiled_count; i++) {
        const struct compiled *c = &compiled[i];
        if (c->used || !strcmp(c->code, "PTX"))
            continue;
        print_error("%s for %s in %s: nobody launches it\n", c->entry, c->code, module_names[c->module]);
        unused++;
    }
    assert_int_equal(unused, 0);
}

/* Blocks that are fed have one warp more in each part of K, where there is room for it. */
static void test_fed(void **state)
{
    static const struct {
        const char *profile;
        uint32_t code, block, warps, shared;
    } cases[] = {
        {"Hopper", WOQ_ABI_U4, WOQI_BLOCK_N224M8K2L, 8, 2 * 115328},
        {"Hopper", WOQ_ABI_U4, WOQI_BLOCK_N224M16K2L, 8, 2 * 113792},
        {"Hopper", WOQ_ABI_U8, WOQI_BLOCK_N224M8K2L, 7, 14 * 2048},
        {"Hopper", WOQ_ABI_U4, WOQI_BLOCK_N64M8K4L, 2, 8 * 2048},
        {"Hopper, blocks of 448", WOQ_ABI_U4, WOQI_BLOCK_N224M8K2L, 7, 14 * 2048},
        {"A100", WOQ_ABI_U4, WOQI_BLOCK_N224M8K2L, 7, 14 * 2048},
        {"A100", WOQ_ABI_U4, WOQI_BLOCK_N224M16K2L, 7, 14 * 2048},
        {"A100, OpenCL", WOQ_ABI_U4, WOQI_BLOCK_N224M8K2L, 7, 14 * 2048},
    };
    (void)state;
    if (!has_code("sm_80") && !has_code("sm_90a")) {
        printf("no kernels for matrix units are compiled\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct profile *profile = profiles;
        while (strcmp(profile->name, cases[i].profile))
            profile++;
        struct woq_device *device = open_profile(profile);
        for (int bf16 = 0; bf16 < 2; bf16++) {
            const struct woqi_kernel_key key = {
                .id = WOQI_KERNEL_MMA, .code = cases[i].code, .block = cases[i].block, .x = bf16 ? WOQ_ABI_BF16 : 0};
            assert_true(find(device, profile, key));
            assert_int_equal(found.block[0], 32);
            assert_int_equal(found.block[1], cases[i].warps);
            assert_int_equal(found.block[2], woqi_block((enum woqi_block_id)key.block)->warps_k);
            assert_int_equal(found.shared, cases[i].shared);
        }
        assert_true(test_close(&device));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launches),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_fed),
    };
    return cmocka_run_group_tests(tests, read_compiled, NULL);
}
