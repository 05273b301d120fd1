/*
 * nv_kernels.c: what is of one kernel alone: its module and entry point, what it asks of the device, its block and its
 * shared memory.
 *
 * A new kernel is a line of CMakeLists.txt here, and one of `kinds` below.
 */
#include "nv_kernels.h"

#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"
#include "cuda/limit_kernels.inc"
#include "cuda/mma_kernels.inc"
#include "cuda/wgmma_kernels.inc"

/* ---- modules ---- */

/* Of nv_modules.inc: codes, a bit each; X, F16 as keys of MMA leave it out. */
enum { U4 = 1u << WOQ_ABI_U4, U8 = 1u << WOQ_ABI_U8, F16 = 1u << WOQ_ABI_WF16, BF16 = 1u << WOQ_ABI_WBF16, ANY = 255 };
enum { X_F16 = 0, X_BF16 = WOQ_ABI_BF16, X_ANY = 255 };

static const struct module {
    enum woqi_kernel_id id;
    uint32_t codes, x;
    int capability; /* 10·major + minor, at least */
} modules[] = {
#define WOQI_NV_MODULE(id, codes, x, capability, name) {WOQI_KERNEL_##id, codes, x, capability},
#define WOQI_NV_CUDA_MODULE WOQI_NV_MODULE
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE
    {WOQI_KERNEL_COUNT, 0, 0, 0}, /* there may be none */
};

const uint32_t woqi_nv_module_count = sizeof modules / sizeof *modules - 1;

/* NULL: there is none. */
static const struct module *find_module(struct woqi_kernel_key key)
{
    for (size_t i = 0; i < woqi_nv_module_count; i++) {
        const struct module *m = &modules[i];
        if (m->id == key.id && (!key.code || m->codes & 1u << key.code) && (m->x == X_ANY || m->x == key.x))
            return m;
    }
    return NULL;
}

/* ---- what kernels ask of the device, and how they are launched ---- */

/* Beyond the module. If the device has not got it, why. */
typedef bool probe_fn(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                      char *reason, size_t size);
/* Sets entry, block, shared and map_rows; the block is (local_x, 1, 1) already. */
typedef void launch_fn(const struct woqi_kernel *kernel, struct woqi_nv_entry *out);

static const char *code_name(struct woqi_kernel_key key)
{
    static const char *const names[] = {"any", "u4", "u8", "f16", "bf16"};
    return names[key.code];
}

static void launch_plain(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    snprintf(out->entry, sizeof out->entry, "woq_%s", kernel->entry);
}

/* Whole warps. */
static void launch_warps(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    launch_plain(kernel, out);
    out->block[0] = kernel->local_x < 32 ? 32 : kernel->local_x / 32 * 32;
}

static void launch_expand(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    snprintf(out->entry, sizeof out->entry, "woq_expand_%s", code_name(kernel->key));
}

/* 2 rows run as 4; 4 and more have registers for half of the threads. */
static void launch_gemv(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    struct woqi_kernel_key key = kernel->key;
    key.rows = key.rows == 2 ? 4 : key.rows;
    key.parts = key.rows > 1 && key.parts > 8 ? 8 : key.parts;
    snprintf(out->entry, sizeof out->entry, "woq_gemv_%u_%u", woqi_code_bits((enum woq_code)key.code), key.rows);
    out->block[0] = woqi_gemv_threads(&key);
    out->shared = woqi_gemv_shared(&key);
}

static bool probe_gemv(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                       char *reason, size_t size)
{
    (void)target;
    const struct woq_device_info *info = &device->info;
    key.rows = key.rows == 2 ? 4 : key.rows;
    if (woqi_gemv_threads(&key) <= info->max_workgroup && woqi_gemv_shared(&key) <= info->shared_memory)
        return true;
    snprintf(reason, size, "needs blocks of %u with %u bytes of shared memory; the device has %u and %u",
             woqi_gemv_threads(&key), woqi_gemv_shared(&key), info->max_workgroup, info->shared_memory);
    return false;
}

static bool probe_expand(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                         char *reason, size_t size)
{
    (void)device, (void)target;
    if (key.code == WOQ_ABI_U4 || key.code == WOQ_ABI_U8)
        return true;
    snprintf(reason, size, "the weights are not quantized");
    return false;
}

/* ---- matrix units ---- */

/* Does the device have matrix units, and threads and shared memory for a block? shared 0: it is not compiled. */
static bool fits_matrix(const struct woq_device *device, struct woqi_kernel_key key, uint32_t threads,
                        uint32_t shared, char *reason, size_t size)
{
    const struct woq_device_info *info = &device->info;
    const uint32_t needed = WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    const char *name = woqi_block_name((enum woqi_block_id)key.block);
    if ((info->features & needed) != needed)
        snprintf(reason, size, "needs matrix units");
    else if (!shared)
        snprintf(reason, size, "block %s is not compiled for such weights", name);
    else if (threads > info->max_workgroup || shared > info->shared_memory)
        snprintf(reason, size, "block %s needs %u threads and %u bytes of shared memory", name, threads, shared);
    else
        return true;
    return false;
}

/* ---- mma ---- */

struct shape {
    const char *name;
    uint32_t columns, warps_m;
    enum woq_math math;
    bool staged, quantized; /* quantized: for such weights alone */
    uint32_t threads;
};

static const struct shape shapes[] = {
#define SHAPE(name, columns, warps_m, math, staged, threads, blocks)                               \
    {#name, columns, warps_m, WOQ_MATH_##math, staged, false, threads},
#define EXACT_SHAPE(name, columns, warps_m, threads) {#name, columns, warps_m, WOQ_MATH_EXACT, true, true, threads},
    WOQ_MMA_SHAPES(SHAPE) WOQ_MMA_EXACT(EXACT_SHAPE)
#undef EXACT_SHAPE
#undef SHAPE
};

/* What the block of the key is compiled as; NULL: it is not. */
static const struct shape *find_shape(struct woqi_kernel_key key)
{
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    const bool quantized = key.code == WOQ_ABI_U4 || key.code == WOQ_ABI_U8;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        if (b->strips == WOQ_MMA_STRIPS && b->columns == s->columns && b->warps_m == s->warps_m &&
            b->staged == s->staged && (quantized ? b->math == s->math : !s->quantized) &&
            woqi_block_threads(b) <= s->threads)
            return s;
    }
    return NULL;
}

/* Has each part of K a warp that feeds the others? */
static bool mma_fed(const struct woq_device *device, struct woqi_kernel_key key)
{
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    return key.code == WOQ_ABI_U4 && b->warps_n == WOQ_MMA_FED_WARPS && !b->staged &&
           device->info.shared_memory >= b->warps_k * WOQ_MMA_FED_PART(b->columns) &&
           device->info.max_workgroup >= woqi_block_threads(b) + 32 * b->warps_k;
}

static uint32_t mma_shared(const struct woq_device *device, struct woqi_kernel_key key)
{
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    const uint32_t warps = woqi_block_threads(b) / 32, sums = WOQ_MMA_SUMS(warps, b->columns);
    uint32_t x = b->columns == 1 ? warps * WOQ_MMA_HALF_X : 0;
    if (mma_fed(device, key))
        x = b->warps_k * WOQ_MMA_FED_PART(b->columns);
    else if (b->staged)
        x = b->warps_k * WOQ_MMA_STAGES * WOQ_MMA_X_SLOT(woqi_block_columns(b));
    return x > sums ? x : sums;
}

static bool probe_mma(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                      char *reason, size_t size)
{
    (void)target;
    const uint32_t threads = woqi_block_threads(woqi_block((enum woqi_block_id)key.block));
    return fits_matrix(device, key, threads, find_shape(key) ? mma_shared(device, key) : 0, reason, size);
}

static void launch_mma(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    const struct woqi_kernel_key key = kernel->key;
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    snprintf(out->entry, sizeof out->entry, "woq_mma_%s_%s_%s", find_shape(key)->name, code_name(key),
             key.x == WOQ_ABI_BF16 ? "bf16" : "f16");
    out->block[0] = 32;
    out->block[1] = b->warps_n * b->warps_m + (mma_fed(kernel->device, key) ? 1 : 0);
    out->block[2] = b->warps_k;
    out->shared = mma_shared(kernel->device, key);
}

/* ---- wgmma ---- */

static uint32_t wgmma_threads(struct woqi_kernel_key key)
{
    uint32_t weights, rows;
    woqi_block_tile((enum woqi_block_id)key.block, &weights, &rows);
    return WOQ_WGMMA_THREADS(weights / 64);
}

/* 0: the block is not compiled for such weights. */
static uint32_t wgmma_shared(struct woqi_kernel_key key)
{
    const uint32_t bits = woqi_code_bits((enum woq_code)key.code);
    uint32_t weights, rows;
    if (woqi_block_is_small((enum woqi_block_id)key.block))
        return bits == 4 ? WOQ_WGMMA_SMALL_SHARED : 0;
    woqi_block_tile((enum woqi_block_id)key.block, &weights, &rows);
#define SHAPE(n)                                                                                   \
    if (rows == (n) && weights / 64 <= WOQ_WGMMA_WARPGROUPS(n, bits, key.x == WOQ_ABI_BF16))   \
        return WOQ_WGMMA_SHARED(n, bits);
    WOQ_WGMMA_SHAPES(SHAPE)
    if (bits != 16) {
        WOQ_WGMMA_QUANTIZED_SHAPES(SHAPE)
    }
#undef SHAPE
    return 0;
}

static bool probe_wgmma(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                        char *reason, size_t size)
{
    const bool compiled = woqi_block_is_small((enum woqi_block_id)key.block) == target.opencl;
    return fits_matrix(device, key, wgmma_threads(key), compiled ? wgmma_shared(key) : 0, reason, size);
}

static void launch_wgmma(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    const struct woqi_kernel_key key = kernel->key;
    uint32_t weights, rows;
    woqi_block_tile((enum woqi_block_id)key.block, &weights, &rows);
    out->block[0] = wgmma_threads(key);
    out->shared = wgmma_shared(key);
    out->shares = true;
    const uint32_t fetchers = woqi_block_cluster((enum woqi_block_id)key.block);
    out->cluster = woqi_block_cut((enum woqi_block_id)key.block) > 1 ? 2 : fetchers;
    if (woqi_block_is_direct((enum woqi_block_id)key.block)) {
        out->map_rows = rows / fetchers; /* each fetches its part */
        rows = WOQ_WGMMA_DIRECT_ENTRY(rows, weights / 64); /* which runs tiles of so many rows without XTILE */
    }
    snprintf(out->entry, sizeof out->entry, "woq_wgmma_%u_%s_%s", rows, code_name(key),
             key.x == WOQ_ABI_BF16 ? "bf16" : "f16");
}

static void launch_limit_wgmma(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    launch_warps(kernel, out);
    out->shared = WOQ_LIMIT_WGMMA_SHARED;
}

/* ---- the backend's questions ---- */

/* probe NULL: it asks for nothing. */
static const struct kind {
    probe_fn *probe;
    launch_fn *launch;
} kinds[WOQI_KERNEL_COUNT] = {
    [WOQI_KERNEL_FLOOR] = {NULL, launch_plain},         [WOQI_KERNEL_REDUCE] = {NULL, launch_plain},
    [WOQI_KERNEL_XHALF] = {NULL, launch_warps},         [WOQI_KERNEL_EXPAND] = {probe_expand, launch_expand},
    [WOQI_KERNEL_GEMV_FRAG] = {probe_gemv, launch_gemv}, [WOQI_KERNEL_MMA] = {probe_mma, launch_mma},
    [WOQI_KERNEL_XTILE] = {NULL, launch_plain},         [WOQI_KERNEL_WGMMA] = {probe_wgmma, launch_wgmma},
    [WOQI_KERNEL_PACK] = {NULL, launch_warps},
    [WOQI_KERNEL_LIMIT_READ] = {NULL, launch_warps},    [WOQI_KERNEL_LIMIT_FMA] = {NULL, launch_warps},
    [WOQI_KERNEL_LIMIT_MATRIX] = {NULL, launch_warps},  [WOQI_KERNEL_LIMIT_WGMMA] = {NULL, launch_limit_wgmma},
};

bool woqi_nv_probe(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                   char *reason, size_t reason_size)
{
    const struct kind *kind = &kinds[key.id];
    const int capability = target.capability;
    if (kind->probe && !kind->probe(device, target, key, reason, reason_size))
        return false;
    const struct module *module = find_module(key);
    const bool alone = key.id == WOQI_KERNEL_WGMMA || key.id == WOQI_KERNEL_XTILE ||
                       key.id == WOQI_KERNEL_LIMIT_WGMMA; /* sm_90a is not for later ones */
    if (module && (alone ? module->capability == capability : module->capability <= capability))
        return true;
    if (module && alone)
        snprintf(reason, reason_size, "is for compute capability %d.%d alone; the device has %d.%d",
                 module->capability / 10, module->capability % 10, capability / 10, capability % 10);
    else if (module)
        snprintf(reason, reason_size, "needs compute capability %d.%d; the device has %d.%d", module->capability / 10,
                 module->capability % 10, capability / 10, capability % 10);
    else
        snprintf(reason, reason_size, "not written for NVIDIA");
    return false;
}

bool woqi_nv_find(const struct woqi_kernel *kernel, struct woqi_nv_entry *out)
{
    const struct module *module = find_module(kernel->key);
    memset(out, 0, sizeof *out);
    if (!module)
        return false;
    out->module = (uint32_t)(module - modules);
    out->block[0] = kernel->local_x;
    out->block[1] = out->block[2] = 1;
    kinds[kernel->key.id].launch(kernel, out);
    return true;
}
