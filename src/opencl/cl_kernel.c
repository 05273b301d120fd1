/*
 * cl_kernel.c: programs, built on first need for the few fields of args.flags that shape a kernel's
 * inner loop, and kept on disk as the driver's binaries.
 */
#include "cl_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"

#define MAX_PROGRAM_DEVICES 16u

/* The sources, each preceded by shaders/abi.inc and the common files, embedded by the build. */
#define SOURCES(S) S(FLOOR, floor) S(XPREP, xprep) S(GEMV, gemv) S(GEMM, gemm) S(XFIXED, xfixed) S(FIXED, fixed) \
    S(FIXED_ROW, fixed_row) S(FIXED_TILE, fixed_tile) S(GEMV_FRAG, gemv_frag) S(TILE, tile) S(COOP, coop) \
    S(LIMIT_READ, limit_read) S(LIMIT_FMA, limit_fma) S(LIMIT_DOT, limit_dot)
#define DECLARE(ID, name)                                                                          \
    extern const unsigned char woqi_cl_##name[];                                                   \
    extern const size_t woqi_cl_##name##_size;
SOURCES(DECLARE)
#undef DECLARE

struct variant {
    struct variant *next;
    uint32_t key;
    cl_program program;
};

/* woqi_kernel.impl */
struct cl_kernel_impl {
    pthread_mutex_t lock; /* variants; held while one is built */
    struct variant *variants;
    bool ptx; /* of cl_ptx.c; no variants */
    struct woqi_cl_launch launch;
};

/* What a build needs to know. The entry point is woq_<name>: `floor` is a function of OpenCL C. */
struct build {
    struct woq_device *device;
    const char *name;
    const unsigned char *source;
    size_t size;
    char options[384];
    char key[1280]; /* of the cache */
};

void woqi_cl_source(enum woqi_kernel_id id, const unsigned char **source, size_t *size)
{
    *source = NULL;
    *size = 0;
    switch (id) {
#define CASE(ID, name)                                                                             \
    case WOQI_KERNEL_##ID:                                                                         \
        *source = woqi_cl_##name;                                                                  \
        *size = woqi_cl_##name##_size;                                                             \
        break;
        SOURCES(CASE)
#undef CASE
    default:
        break;
    }
}

/* WOQ_DOT_… of a kernel's block. */
static uint32_t dot_of(uint32_t block)
{
    switch (block) {
#define CASE(id, dot)                                                                              \
    case WOQI_BLOCK_##id:                                                                          \
        return dot;
        WOQI_FIXED_BLOCKS(CASE)
#undef CASE
    default:
        return WOQ_DOT_PLAIN;
    }
}

/* For one set of a CPU's instructions? */
static bool built_for_dot(enum woqi_kernel_id id)
{
    return woqi_kernel_is_fixed(id) || id == WOQI_KERNEL_LIMIT_DOT;
}

bool woqi_cl_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                          size_t reason_size)
{
    const unsigned char *source;
    size_t size;
    if (woqi_cl_ptx_has(device, key.id))
        return woqi_cl_ptx_probe(device, key, reason, reason_size);
    woqi_cl_source(key.id, &source, &size);
    if (!source) {
        snprintf(reason, reason_size, "not written for OpenCL");
        return false;
    }
    if (built_for_dot(key.id) && !((woqi_cl_of(device)->dots | device->tried) >> dot_of(key.block) & 1u)) {
        snprintf(reason, reason_size, "the CPU or its driver has no %s",
                 woqi_block_name((enum woqi_block_id)key.block));
        return false;
    }
    return woqi_cl_gpu_probe(device, key, reason, reason_size);
}

enum woq_status woqi_cl_kernel_create(struct woqi_kernel *kernel)
{
    struct cl_kernel_impl *impl = woqi_alloc(kernel->device, 1, sizeof *impl);
    if (!impl)
        return woqi_fail(kernel->device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                         kernel->name);
    if (pthread_mutex_init(&impl->lock, NULL)) {
        woqi_free(kernel->device, impl);
        return woqi_fail(kernel->device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: no mutex to be had",
                         kernel->name);
    }
    woqi_cl_gpu_create(kernel);
    impl->ptx = woqi_cl_ptx_has(kernel->device, kernel->key.id);
    if (woqi_kernel_is_limit(kernel->key.id) && !impl->ptx) /* on CPUs, see probe */
        kernel->local_x = 1;
    impl->launch = (struct woqi_cl_launch){{kernel->local_x, 1, 1}, WOQ_BIND_COUNT};
    if (impl->ptx)
        woqi_cl_ptx_launch(kernel, &impl->launch);
    kernel->impl = impl;
    return WOQ_OK;
}

const struct woqi_cl_launch *woqi_cl_kernel_launch(const struct woqi_kernel *kernel)
{
    return &((const struct cl_kernel_impl *)kernel->impl)->launch;
}

void woqi_cl_kernel_destroy(struct woqi_kernel *kernel)
{
    struct cl_kernel_impl *impl = kernel->impl;
    if (!impl)
        return;
    while (impl->variants) {
        struct variant *v = impl->variants;
        impl->variants = v->next;
        woqi_cl_of(kernel->device)->api->clReleaseProgram(v->program);
        woqi_free(kernel->device, v);
    }
    pthread_mutex_destroy(&impl->lock);
    woqi_free(kernel->device, impl);
    kernel->impl = NULL;
}

/* ---- variants ---- */

uint32_t woqi_cl_kernel_key(const struct woqi_kernel *kernel, uint32_t flags)
{
    const uint32_t code = WOQ_FLAG_CODE(flags);
    uint32_t round = WOQ_FLAG_ROUND(flags), layout = WOQ_FLAG_LAYOUT(flags);
    switch (kernel->key.id) {
    case WOQI_KERNEL_FLOOR: /* rounds as args say */
        round = 0;
        break;
    case WOQI_KERNEL_GEMV:
    case WOQI_KERNEL_GEMM:
        if (round == WOQ_ABI_F32 || code == WOQ_ABI_WF16 || code == WOQ_ABI_WBF16)
            round = 0;
        layout = WOQ_ABI_PANEL16;
        break;
    case WOQI_KERNEL_FIXED:
    case WOQI_KERNEL_FIXED_ROW:
    case WOQI_KERNEL_FIXED_TILE:
        return code | WOQ_ABI_PANEL16 << 5 | WOQ_FLAG_ZERO(flags) << 7 | WOQ_FLAG_SCALE(flags) << 9;
    case WOQI_KERNEL_GEMV_FRAG:
    case WOQI_KERNEL_TILE:
    case WOQI_KERNEL_COOP:
        return code | WOQ_ABI_FRAG16B << 5;
    default:
        return 0;
    }
    return code | round << 3 | layout << 5;
}

void woqi_cl_options(const struct woqi_kernel_key *kernel, uint32_t key, const struct woqi_cl_gpu *gpu, char *out,
                     size_t size)
{
    snprintf(out, size, "-cl-std=CL1.2 -w -DWOQ_CODE=%u -DWOQ_ROUND=%u -DWOQ_LAYOUT=%u", (unsigned)(key & 7u),
             (unsigned)(key >> 3 & 3u), (unsigned)(key >> 5 & 3u));
    const size_t used = strlen(out);
    if (built_for_dot(kernel->id))
        snprintf(out + used, size - used, " -DWOQ_DOT=%u -DWOQ_ZERO=%u -DWOQ_SCALE=%u",
                 (unsigned)dot_of(kernel->block), (unsigned)(key >> 7 & 3u), (unsigned)(key >> 9 & 3u));
    else
        woqi_cl_gpu_options(kernel, gpu, out + used, size - used);
}

static void describe_build(struct woqi_kernel *kernel, uint32_t key, struct build *b)
{
    char hash[17];
    b->device = kernel->device;
    b->name = kernel->entry;
    woqi_cl_source(kernel->key.id, &b->source, &b->size);
    const struct woqi_cl_gpu gpu = woqi_cl_gpu_of(b->device);
    woqi_cl_options(&kernel->key, key, &gpu, b->options, sizeof b->options);
    if (kernel->key.id == WOQI_KERNEL_LIMIT_READ && woqi_cl_of(b->device)->dots >> WOQ_DOT_AVX2 & 1u) {
        const size_t used = strlen(b->options); /* any set of instructions has prefetching */
        snprintf(b->options + used, sizeof b->options - used, " -DWOQ_DOT=%u", (unsigned)WOQ_DOT_AVX2);
    }
    woqi_hash_text(b->source, b->size, hash);
    snprintf(b->key, sizeof b->key, "opencl | %s | %s | %s | %s", woqi_cl_of(b->device)->identity,
             b->name, b->options, hash);
}

/* ---- building ---- */

static void log_key(const struct build *b, char *out, size_t size)
{
    snprintf(out, size, "%s | log", b->key);
}

/* Remembers that the driver refuses this program, with its words for whoever asks again. */
static void store_failure(const struct build *b, const char *text)
{
    char key[sizeof b->key + 8];
    log_key(b, key, sizeof key);
    if (text)
        woqi_cache_store(b->device, key, text, strlen(text) + 1);
    woqi_cache_store(b->device, b->key, NULL, 0);
}

static enum woq_status known_failure(const struct build *b)
{
    char key[sizeof b->key + 8];
    void *text = NULL;
    size_t size = 0;
    log_key(b, key, sizeof key);
    if (woqi_cache_load(b->device, key, &text, &size) && size && !((const char *)text)[size - 1])
        woqi_log_text(b->device, WOQ_LOG_ERROR, b->name, text);
    woqi_free(b->device, text);
    return woqi_fail(b->device, WOQ_ERROR_COMPILE,
                     "kernel %s (%s): this driver is known to refuse it; to try again clear the "
                     "cache folder or switch it off (woq_device_params.cache_dir)",
                     b->name, b->options);
}

static void store_binary(const struct build *b, cl_program program)
{
    struct woqi_cl_device *dev = woqi_cl_of(b->device);
    const struct woqi_cl_api *cl = dev->api;
    cl_device_id ids[MAX_PROGRAM_DEVICES];
    size_t sizes[MAX_PROGRAM_DEVICES], bytes = 0;
    unsigned char *binaries[MAX_PROGRAM_DEVICES] = {NULL};
    if (!b->device->cache ||
        cl->clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof ids, ids, &bytes) ||
        cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof sizes, sizes, NULL))
        return;
    /* A guest's context may have other devices, for which nothing was built. */
    const size_t count = bytes / sizeof *ids;
    size_t own = 0;
    while (own < count && ids[own] != dev->id)
        own++;
    if (own == count || !sizes[own])
        return;
    binaries[own] = woqi_alloc(b->device, sizes[own], 1);
    if (binaries[own] && !cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES,
                                               count * sizeof *binaries, binaries, NULL))
        woqi_cache_store(b->device, b->key, binaries[own], sizes[own]);
    woqi_free(b->device, binaries[own]);
}

/* Leaves *out NULL, and status OK, if there is no entry or the driver takes it no more. */
static enum woq_status load_cached(const struct build *b, cl_program *out)
{
    void *data = NULL;
    size_t size = 0;
    *out = NULL;
    if (!woqi_cache_load(b->device, b->key, &data, &size))
        return WOQ_OK;
    if (!size) {
        woqi_free(b->device, data);
        return known_failure(b);
    }
    cl_program program = NULL;
    const char *call;
    const cl_int code = woqi_cl_build_binary(b->device, data, size, b->options, &program, &call);
    woqi_free(b->device, data);
    if (!code) {
        *out = program;
        return WOQ_OK;
    }
    char spare[24];
    woqi_log(b->device, WOQ_LOG_INFO, "kernel %s: the driver refused the cached binary (%s)",
             b->name, woqi_cl_code_name(code, spare));
    if (program)
        woqi_cl_of(b->device)->api->clReleaseProgram(program);
    woqi_cache_drop(b->device, b->key);
    return WOQ_OK;
}

static enum woq_status build_source(const struct build *b, cl_program *out)
{
    struct woqi_cl_device *dev = woqi_cl_of(b->device);
    const char *text = (const char *)b->source;
    cl_int code = CL_SUCCESS;
    cl_program program = dev->api->clCreateProgramWithSource(dev->context, 1, &text, &b->size,
                                                             &code);
    if (!program)
        return woqi_cl_fail(b->device, code, "clCreateProgramWithSource");
    code = dev->api->clBuildProgram(program, 1, &dev->id, b->options, NULL, NULL);
    char *log = woqi_cl_build_log(b->device, program);
    if (log)
        woqi_log_text(b->device, code ? WOQ_LOG_ERROR : WOQ_LOG_DEBUG, b->name, log);
    if (code == CL_BUILD_PROGRAM_FAILURE)
        store_failure(b, log);
    woqi_free(b->device, log);
    if (code) {
        char call[448];
        dev->api->clReleaseProgram(program);
        snprintf(call, sizeof call, "clBuildProgram(%s, \"%s\")", b->name, b->options);
        return woqi_cl_fail(b->device, code, call);
    }
    store_binary(b, program);
    *out = program;
    return WOQ_OK;
}

/* The caller holds impl->lock. */
static enum woq_status find_variant(struct woqi_kernel *kernel, uint32_t key, cl_program *out)
{
    struct cl_kernel_impl *impl = kernel->impl;
    for (struct variant *v = impl->variants; v; v = v->next)
        if (v->key == key) {
            *out = v->program;
            return WOQ_OK;
        }
    struct build *b = woqi_alloc(kernel->device, 1, sizeof *b);
    struct variant *v = woqi_alloc(kernel->device, 1, sizeof *v);
    enum woq_status st = WOQ_OK;
    if (!b || !v) {
        st = woqi_fail(kernel->device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                       kernel->name);
        goto done;
    }
    describe_build(kernel, key, b);
    v->key = key;
    st = load_cached(b, &v->program);
    if (!st && !v->program)
        st = build_source(b, &v->program);
    if (st)
        goto done;
    *out = v->program;
    v->next = impl->variants;
    impl->variants = v;
    v = NULL;
done:
    woqi_free(kernel->device, v);
    woqi_free(kernel->device, b);
    return st;
}

enum woq_status woqi_cl_kernel_object(struct woqi_kernel *kernel, uint32_t key, cl_kernel *out)
{
    struct cl_kernel_impl *impl = kernel->impl;
    cl_program program = NULL;
    if (impl->ptx)
        return woqi_cl_ptx_object(kernel, out);
    pthread_mutex_lock(&impl->lock);
    const enum woq_status st = find_variant(kernel, key, &program);
    pthread_mutex_unlock(&impl->lock);
    if (st)
        return st;
    cl_int code = CL_SUCCESS;
    char entry[32], call[64];
    snprintf(entry, sizeof entry, "woq_%s", kernel->entry);
    cl_kernel object = woqi_cl_of(kernel->device)->api->clCreateKernel(program, entry, &code);
    if (!object) {
        snprintf(call, sizeof call, "clCreateKernel(%s)", entry);
        return woqi_cl_fail(kernel->device, code, call);
    }
    *out = object;
    return WOQ_OK;
}
