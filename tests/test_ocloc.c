/*
 * test_ocloc.c: Intel's compiler for GPUs takes the OpenCL kernels for GPUs, without the hardware: `ocloc` of Debian's
 * intel-opencl-icd, named by WOQ_OCLOC, for the device that is the argument (tgllp, dg2, pvc). They are compiled, not
 * run. Printed for each: lanes of a sub-group, registers of a thread, local memory, memory of a thread for spilled
 * registers, private memory of a work-item, size of the code. Registers in memory, of either kind, are a failure of all
 * but floor.
 */
#define _GNU_SOURCE /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/blocks.h"
#include "core/core.h"
#include "core/step.h"
#include "opencl/cl_backend.h"
#include "support/device.h"

/* What the library would find on the devices. */
static const struct target {
    const char *name;
    struct woqi_cl_gpu gpu;
} targets[] = {{"tgllp", {8, 0, false}}, {"dg2", {8, 8, false}}, {"pvc", {16, 16, false}}};

static const struct target *target;
static const char *ocloc;
static char folder[] = "/tmp/woq-ocloc-XXXXXX";

/* ---- the compiler's output ---- */

struct statistics {
    uint32_t lanes, registers, local, scratch, private_memory, code; /* bytes from local on */
};

static uint32_t word_at(const unsigned char *bytes, size_t at)
{
    uint32_t word;
    memcpy(&word, bytes + at, sizeof word);
    return word;
}

/* A list of tokens, each {number, size, words…}: intel-graphics-compiler, IGC/AdaptorOCL/ocl_igc_shared/
 * executable_format, patch_list.h and patch_shared.h. */
static void read_tokens(const unsigned char *bytes, size_t at, size_t end, struct statistics *s)
{
    while (at + 8 <= end) {
        const uint32_t token = word_at(bytes, at), size = word_at(bytes, at + 4);
        const size_t words = at + 8;
        if (size < 8 || size > end - at)
            return;
        if (token == 15) /* ALLOCATE_LOCAL_SURFACE */
            s->local = word_at(bytes, words + 4);
        else if (token == 18 || token == 55) /* MEDIA_VFE_STATE, also of slot 1 */
            s->scratch += word_at(bytes, words + 4);
        else if (token == 38) /* ALLOCATE_STATELESS_PRIVATE_MEMORY */
            s->private_memory = word_at(bytes, words + 12);
        else if (token == 23) /* EXECUTION_ENVIRONMENT */
            s->lanes = word_at(bytes, words + 12), s->registers = word_at(bytes, words + 80);
        at += size;
    }
}

/* The program's only kernel, in what ocloc has written: an ELF file with the program as one section. */
static bool read_program(const unsigned char *file, size_t size, struct statistics *s)
{
    const unsigned char *p = memmem(file, size, "CTNI", 4);
    memset(s, 0, sizeof *s);
    if (!p || (size_t)(file + size - p) < 68)
        return false;
    const size_t left = (size_t)(file + size - p), kernel = 28 + (size_t)word_at(p, 24);
    if (word_at(p, 16) != 1 || kernel + 40 > left)
        return false;
    /* checksum, hash (8), sizes of name, tokens, code, three heaps, and of the code without padding */
    size_t at = kernel + 40 + word_at(p, kernel + 12);
    for (size_t i = 20; i <= 32; i += 4)
        at += word_at(p, kernel + i);
    const size_t end = at + word_at(p, kernel + 16);
    if (end > left)
        return false;
    s->code = word_at(p, kernel + 36);
    read_tokens(p, at, end, s);
    return s->registers != 0;
}

static bool read_file(const char *path, struct statistics *s)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = malloc(8u << 20);
    assert_non_null(bytes);
    const size_t size = file ? fread(bytes, 1, 8u << 20, file) : 0;
    const bool known = read_program(bytes, size, s);
    if (file)
        fclose(file);
    free(bytes);
    return known;
}

static void show_log(const char *path)
{
    char line[300];
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        printf("    %s", line);
    if (file)
        fclose(file);
}

/* ---- kernels ---- */

static unsigned compiled, spilled, of_kernel[WOQI_KERNEL_COUNT];

static void compile(const struct woqi_kernel_key *key, uint32_t code)
{
    struct woqi_kernel kernel = {.key = *key};
    struct statistics s;
    const unsigned char *source;
    size_t size;
    char options[384], name[96], path[64], log[64], command[800];
    woqi_kernel_name(*key, name, sizeof name);
    if (!key->code)
        snprintf(name + strlen(name), sizeof name - strlen(name), ", codes %u", (unsigned)code);
    const uint32_t flags = WOQ_FLAGS(code, WOQ_ABI_ZERO_POINT, WOQ_ABI_F16, 0u, 0u, 0u, 0u, 0u, 0u, 0u, WOQ_ABI_FRAG16B);
    woqi_cl_options(key, woqi_cl_kernel_key(&kernel, flags), &target->gpu, options, sizeof options);
    woqi_cl_source(key->id, &source, &size);
    snprintf(path, sizeof path, "%s/kernel.cl", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(source, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    snprintf(log, sizeof log, "%s/log", folder);
    snprintf(command, sizeof command,
             "'%s' compile -file %s -device %s -out_dir %s -output kernel -output_no_suffix -options '%s' >%s 2>&1",
             ocloc, path, target->name, folder, options, log);
    snprintf(path, sizeof path, "%s/kernel", folder);
    remove(path);
    if (system(command)) {
        printf("  %s: refused\n    %s\n", name, command);
        show_log(log);
        fail();
    }
    if (!read_file(path, &s)) {
        printf("  %s: compiled, no statistics\n", name);
        fail();
    }
    printf("  %-32s SIMD%-2u %3u registers  %5u B local  %5u B spilled  %4u B private  %6u B\n", name, s.lanes,
           s.registers, s.local, s.scratch, s.private_memory, s.code);
    compiled++;
    of_kernel[key->id]++;
    spilled += key->id != WOQI_KERNEL_FLOOR && (s.scratch || s.private_memory);
    if (key->id != WOQI_KERNEL_FLOOR)
        assert_int_equal(s.lanes, target->gpu.subgroup);
}

/* If the library would use it on such a device. */
static void compile_probed(struct woqi_kernel_key key)
{
    struct woqi_cl_device impl = {.gpu = target->gpu};
    struct woq_device device = {.impl = &impl};
    char reason[160];
    device.info.kind = WOQ_DEVICE_KIND_DISCRETE_GPU;
    device.info.features = target->gpu.matrix ? WOQ_FEATURE_MATRIX : 0;
    device.info.max_workgroup = 512;
    device.info.shared_memory = 64 << 10;
    if (woqi_cl_gpu_probe(&device, key, reason, sizeof reason))
        compile(&key, key.code);
}

/* Formats that differ most in what a work-item holds. */
static const struct form {
    uint32_t code, x, weighted;
    bool fine;
} forms[] = {
    {WOQ_ABI_U4, WOQ_ABI_F16, 0, false},
    {WOQ_ABI_U4, WOQ_ABI_F32, 1, true},
    {WOQ_ABI_U8, WOQ_ABI_F16, 1, true},
    {WOQ_ABI_WF16, WOQ_ABI_F16, 0, false},
};

#define FORMS (sizeof forms / sizeof *forms)

static void compile_gemv(const struct form *form)
{
    for (uint32_t rows = 1; rows <= WOQI_GEMV_MAX_M; rows *= 2)
        compile_probed((struct woqi_kernel_key){.id = WOQI_KERNEL_GEMV_FRAG,
                                                .code = form->code,
                                                .x = form->x,
                                                .rows = rows,
                                                .parts = 4,
                                                .weighted = form->weighted,
                                                .fine = form->fine});
}

/* Is there a path with the tile block that is not for CPUs alone? */
static bool for_gpus(enum woqi_block_id block)
{
    for (uint32_t i = 0; i < woqi_path_total; i++)
        if (woqi_paths[i].block == block && woqi_paths[i].accepts != woqi_tile_cpu_accepts)
            return true;
    return false;
}

static void compile_blocks(const struct form *form)
{
    static const enum woqi_block_id tiles[] = {
#define BLOCK(id, ...) WOQI_BLOCK_##id,
        WOQI_TILE_BLOCKS(BLOCK)};
    static const enum woqi_block_id coops[] = {WOQI_COOP_BLOCKS(BLOCK)};
#undef BLOCK
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
        if (for_gpus(tiles[i]))
            compile_probed((struct woqi_kernel_key){.id = WOQI_KERNEL_TILE,
                                                    .code = form->code,
                                                    .block = tiles[i],
                                                    .fine = form->fine ? WOQI_GROUPS_ANY : WOQI_GROUPS_BLOCK,
                                                    .x = form->x});
    for (size_t i = 0; i < sizeof coops / sizeof *coops; i++)
        compile_probed((struct woqi_kernel_key){.id = WOQI_KERNEL_COOP,
                                                .code = form->code,
                                                .block = coops[i],
                                                .fine = form->fine ? WOQI_GROUPS_ANY : WOQI_GROUPS_BLOCK});
}

static void test_compile(void **state)
{
    (void)state;
    const struct woqi_kernel_key floor_ = {.id = WOQI_KERNEL_FLOOR};
    for (uint32_t code = WOQ_ABI_U4; code <= WOQ_ABI_WBF16; code++)
        compile(&floor_, code);
    for (size_t i = 0; i < FORMS; i++)
        compile_gemv(&forms[i]);
    for (size_t i = 0; i < FORMS; i++)
        compile_blocks(&forms[i]);
    printf("%s: %u kernels compiled, not run; %u of them spill\n", target->name, compiled, spilled);
    assert_int_equal(spilled, 0);
    assert_true(of_kernel[WOQI_KERNEL_GEMV_FRAG] && of_kernel[WOQI_KERNEL_TILE]);
    assert_true(of_kernel[WOQI_KERNEL_COOP] || !target->gpu.matrix);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compile)};
    char command[64];
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (argc == 2 && !strcmp(argv[1], targets[i].name))
            target = &targets[i];
    if (!target) {
        fprintf(stderr, "usage: %s tgllp|dg2|pvc\n", argv[0]);
        return 2;
    }
    ocloc = getenv("WOQ_OCLOC");
    if (!ocloc || access(ocloc, X_OK)) {
        printf("SKIPPED: WOQ_OCLOC names no program (tools/setup.sh unpacks one)\n");
        return TEST_SKIPPED;
    }
    if (!mkdtemp(folder))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    const int failed = cmocka_run_group_tests_name(target->name, tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) || failed;
}
