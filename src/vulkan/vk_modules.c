/*
 * vk_modules.c: what is of one kernel alone: its SPIR-V, what it asks of the device, its specialization constants.
 *
 * A new kernel is a line of CMakeLists.txt here, and one of `kinds` below.
 */
#include "vk_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"
#include "../core/layout.h"

/* ---- SPIR-V ---- */

enum variant { WITHOUT, WITH, EITHER };

/* MODULE(kernel, code bits, storage16, software, workgroup, pooled, name) for each, as CMakeLists.txt compiles them. */
#define MODULE(id, bits, storage16, software, workgroup, pooled, name)                             \
    extern const unsigned char woqi_vk_spirv_##name[];                                             \
    extern const size_t woqi_vk_spirv_##name##_size;
#include "vk_modules.inc"
#undef MODULE

static const struct module {
    enum woqi_kernel_id id;
    uint32_t code_bits;     /* 0 = any */
    enum variant storage16; /* 16-bit storage */
    enum variant software;  /* instead of matrix units */
    enum variant workgroup; /* scope of matrices, else a subgroup */
    enum variant pooled;    /* scales and zeros go through shared memory */
    const unsigned char *code;
    const size_t *size; /* bytes */
} modules[] = {
#define MODULE(id, bits, storage16, software, workgroup, pooled, name)                             \
    {WOQI_KERNEL_##id, bits, storage16, software, workgroup, pooled, woqi_vk_spirv_##name,         \
     &woqi_vk_spirv_##name##_size},
#include "vk_modules.inc"
#undef MODULE
};

static bool is(enum variant variant, bool with)
{
    return variant == EITHER || (variant == WITH) == with;
}

/* Is the key one of MMA for which mma.comp has a module of its own? See pooled_scales.glsl. */
static bool mma_pools(struct woqi_kernel_key key)
{
    if (key.id != WOQI_KERNEL_MMA || key.code != WOQ_ABI_U4)
        return false;
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    return b->staged && b->step4 == 2 && key.fine == WOQI_GROUPS_UNIT && key.scale != WOQ_ABI_F32 &&
           key.zero != WOQ_ABI_ZERO_SYMMETRIC;
}

/* NULL: there is none. */
static const struct module *find_module(const struct woq_device *device, struct woqi_kernel_key key)
{
    const bool storage16 = device->info.features & WOQ_FEATURE_STORAGE16;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        const struct module *m = &modules[i];
        if (m->id == key.id && (!m->code_bits || m->code_bits == woqi_code_bits((enum woq_code)key.code)) &&
            is(m->storage16, storage16) && is(m->software, device->software_matrix != 0) &&
            is(m->workgroup, woqi_vk_of(device)->nv2.workgroup) && is(m->pooled, mma_pools(key)))
            return m;
    }
    return NULL;
}

/* ---- what kernels ask of the device ---- */

/* Beyond the module. If the device has not got it, why. */
typedef bool probe_fn(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                      size_t size);
/* Fills the specialization constants from number 1 on; the number after the last. */
typedef uint32_t constants_fn(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS]);

static const char *block_name(struct woqi_kernel_key key)
{
    return woqi_block_name((enum woqi_block_id)key.block);
}

/* Modules for 16 bits decode them as FP16. */
static bool decodes(struct woqi_kernel_key key, char *reason, size_t size)
{
    if (key.code != WOQ_ABI_WBF16)
        return true;
    snprintf(reason, size, "needs weights that are not BF16");
    return false;
}

static bool probe_mma(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                      size_t size)
{
    const struct woqi_block *block = woqi_block((enum woqi_block_id)key.block);
    const struct woq_device_info *info = &device->info;
    const uint32_t needed =
        WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    const uint32_t bits = woqi_code_bits((enum woq_code)key.code);
    const uint32_t shared = woqi_block_shared(block, bits, mma_pools(key)) +
                            (device->software_matrix ? woqi_block_threads(block) * 24 : 0);
    if ((!woqi_vk_of(device)->mma && !device->software_matrix) || (info->features & needed) != needed)
        snprintf(reason, size, "needs cooperative matrices of 16 × 8 × 16 for subgroups of 32");
    else if (!block->staged && (block->warps_n > 1 || block->math == WOQ_MATH_ROUNDED))
        snprintf(reason, size, "block %s is not for Vulkan, where X of so many rows is staged", block_name(key));
    else if (woqi_block_threads(block) > info->max_workgroup || shared > info->shared_memory)
        snprintf(reason, size, "block %s needs %u threads and %u bytes of shared memory", block_name(key),
                 woqi_block_threads(block), shared);
    else
        return decodes(key, reason, size);
    return false;
}

/* The largest arrays of stage_weights.glsl and of coop.comp. */
#define STAGE_W_LOADS 4u
#define COOP_X_LOADS 8u
#define COOP_TILES_M 4u
#define COOP_TILES   8u

/* Pieces of `pieces` that each of `threads` threads takes. */
static uint32_t share(uint32_t pieces, uint32_t threads)
{
    return (pieces + threads - 1) / threads;
}

/* Every assumption of coop.comp about tiles, subgroups and shared memory. */
static bool probe_coop(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                       size_t size)
{
    const struct woqi_coop_block *b = woqi_coop_block((enum woqi_block_id)key.block);
    const struct woqi_vk_coop *coop = &woqi_vk_of(device)->coop;
    const struct woq_device_info *info = &device->info;
    const uint32_t needed =
        WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    if (!coop->m || (info->features & needed) != needed) {
        snprintf(reason, size,
                 "needs cooperative matrices FP16 to FP32 of 8 or 16 rows and columns, rounding to "
                 "nearest even in FP16");
        return false;
    }
    const uint32_t subgroups = woqi_coop_block_subgroups(b);
    const uint32_t shared = woqi_coop_block_shared(b, coop->m);
    const uint32_t n = b->rows_w / b->subgroups_n, m = b->rows_x / b->subgroups_m; /* a subgroup's */
    const uint32_t part = subgroups / b->subgroups_k * coop->subgroup;             /* threads */
    if (subgroups * coop->subgroup > info->max_workgroup || subgroups > coop->max_subgroups ||
        shared > info->shared_memory)
        snprintf(reason, size, "block %s needs %u threads in %u subgroups and %u bytes of shared memory",
                 block_name(key), subgroups * coop->subgroup, subgroups, shared);
    else if (n % coop->n || m % coop->m || b->rows_w % 32 || m / coop->m > COOP_TILES_M ||
             n / coop->n * (m / coop->m) > COOP_TILES)
        snprintf(reason, size,
                 "block %s: %u × %u sums of a subgroup are no whole matrices of %u × %u, or more than %u",
                 block_name(key), m, n, coop->m, coop->n, COOP_TILES);
    else if (share(b->rows_w * 2, part) > STAGE_W_LOADS || share(b->rows_x * 4, part) > COOP_X_LOADS)
        snprintf(reason, size, "block %s: %u threads are too few to load its tiles", block_name(key), part);
    else
        return decodes(key, reason, size);
    return false;
}

#define NV2_DEPTH 32u /* columns in a product of nv2.comp */

/* Is there a product of the block's matrices for its work-group? A subgroup's have as many sums as in coop. */
static bool nv2_divides(const struct woqi_vk_device *vk, const struct woqi_nv2_block *b)
{
    const struct woqi_vk_nv2 *nv2 = &vk->nv2;
    const uint32_t threads = woqi_nv2_block_subgroups(b) * vk->coop.subgroup;
    const uint32_t m = nv2->workgroup ? b->rows_w : b->rows_w / b->subgroups_n;
    const uint32_t n = nv2->workgroup ? b->rows_x : b->rows_x / b->subgroups_m;
    if (m > nv2->max_rows || n > nv2->max_rows || NV2_DEPTH > nv2->max_rows)
        return false;
    for (uint32_t i = 0; i < nv2->shape_count; i++)
        if (m % nv2->shapes[i].m == 0 && n % nv2->shapes[i].n == 0 && NV2_DEPTH % nv2->shapes[i].k == 0 &&
            (nv2->workgroup ? nv2->shapes[i].threads == threads
                            : m / nv2->shapes[i].m * (n / nv2->shapes[i].n) <= COOP_TILES))
            return true;
    return false;
}

static bool probe_nv2(const struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    const struct woqi_nv2_block *b = woqi_nv2_block((enum woqi_block_id)key.block);
    const struct woqi_vk_device *vk = woqi_vk_of(device);
    const struct woq_device_info *info = &device->info;
    const uint32_t needed =
        WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    const uint32_t subgroups = woqi_nv2_block_subgroups(b), threads = subgroups * vk->coop.subgroup;
    const uint32_t shared = woqi_nv2_block_shared(b, !vk->nv2.workgroup) + vk->nv2.reserved;
    if (!vk->nv2.shape_count || (info->features & needed) != needed)
        snprintf(reason, size, "needs VK_NV_cooperative_matrix2, rounding to nearest even in FP16");
    else if (threads > info->max_workgroup || subgroups > vk->coop.max_subgroups || shared > info->shared_memory)
        snprintf(reason, size, "block %s needs %u threads in %u subgroups and %u bytes of shared memory",
                 block_name(key), threads, subgroups, shared);
    else if (!nv2_divides(vk, b))
        snprintf(reason, size, "block %s: the device has no matrices of this size for %u threads", block_name(key),
                 threads);
    else if (!vk->nv2.workgroup && share(b->rows_w * 2, threads) > STAGE_W_LOADS)
        snprintf(reason, size, "block %s: %u threads are too few to load its tiles", block_name(key), threads);
    else
        return decodes(key, reason, size);
    return false;
}

#define LIMIT_SUBGROUPS 4u

static bool probe_limit_matrix(const struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    const struct woqi_vk_coop *coop = &woqi_vk_of(device)->coop;
    (void)key;
    if (coop->m && device->info.features & WOQ_FEATURE_MATRIX &&
        LIMIT_SUBGROUPS * coop->subgroup <= device->info.max_workgroup && LIMIT_SUBGROUPS <= coop->max_subgroups)
        return true;
    snprintf(reason, size, "needs cooperative matrices FP16 to FP32");
    return false;
}

static bool probe_gemv(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                       size_t size)
{
    const struct woq_device_info *info = &device->info;
    if (woqi_gemv_threads(&key) <= info->max_workgroup &&
        woqi_gemv_shared(&key) <= info->shared_memory)
        return true;
    snprintf(reason, size,
             "needs work-groups of %u with %u bytes of shared memory; the device has %u and %u",
             woqi_gemv_threads(&key), woqi_gemv_shared(&key), info->max_workgroup,
             info->shared_memory);
    return false;
}

static bool probe_tile(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                       size_t size)
{
    const struct woqi_tile_block *b = woqi_tile_block((enum woqi_block_id)key.block);
    const struct woq_device_info *info = &device->info;
    if (woqi_tile_block_threads(b) <= info->max_workgroup &&
        woqi_tile_block_shared(b) <= info->shared_memory)
        return true;
    snprintf(reason, size, "block %s needs %u threads and %u bytes of shared memory", block_name(key),
             woqi_tile_block_threads(b), woqi_tile_block_shared(b));
    return false;
}

static bool probe_expand(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                         size_t size)
{
    if (key.code != WOQ_ABI_U4 && key.code != WOQ_ABI_U8)
        snprintf(reason, size, "the weights are not quantized");
    else if (!(device->info.features & WOQ_FEATURE_FP16) || !woqi_vk_of(device)->caps.rounds16)
        snprintf(reason, size, "needs FP16 that rounds to nearest even");
    else
        return true;
    return false;
}

/* ---- specialization constants ---- */

static uint32_t mma_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_kernel_key key = kernel->key;
    const struct woqi_block *b = woqi_block((enum woqi_block_id)key.block);
    out[2] = b->math == WOQ_MATH_ROUNDED;
    out[3] = b->staged;
    out[4] = b->warps_n;
    out[5] = b->warps_m;
    out[6] = b->warps_k;
    out[7] = b->strips;
    out[8] = b->columns;
    out[9] = woqi_block_depth(b, woqi_code_bits((enum woq_code)key.code));
    out[10] = woqi_mma_span(key.fine);
    out[11] = key.scale;
    out[12] = key.zero;
    out[13] = key.fine == WOQI_GROUPS_PIECE;
    out[14] = key.spans;
    return 15;
}

static uint32_t coop_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_coop_block *b = woqi_coop_block((enum woqi_block_id)kernel->key.block);
    const struct woqi_vk_coop *coop = &woqi_vk_of(kernel->device)->coop;
    out[1] = coop->m;
    out[2] = coop->n;
    out[3] = coop->k;
    out[4] = b->subgroups_n;
    out[5] = b->subgroups_m;
    out[6] = b->subgroups_k;
    out[7] = b->rows_w;
    out[8] = b->rows_x;
    out[9] = kernel->key.fine;
    return 10;
}

static uint32_t limit_matrix_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_vk_coop *coop = &woqi_vk_of(kernel->device)->coop;
    out[1] = coop->m;
    out[2] = coop->n;
    out[3] = coop->k;
    return 4;
}

static uint32_t nv2_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_nv2_block *b = woqi_nv2_block((enum woqi_block_id)kernel->key.block);
    out[1] = b->rows_w;
    out[2] = b->rows_x;
    out[3] = b->subgroups_n;
    out[4] = b->subgroups_m;
    out[5] = kernel->key.fine;
    out[6] = kernel->key.scale;
    out[7] = kernel->key.zero;
    return 8;
}

/* Does unpackHalf2x16 keep subnormals? Vulkan leaves it to the driver; these are known to. */
static bool keeps_subnormals(const struct woq_device *device)
{
    static const char *const vendors[] = {"AMD", "Intel", "Mesa", "NVIDIA"};
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
        if (!strcmp(device->info.vendor, vendors[i]))
            return true;
    return false;
}

static uint32_t gemv_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_kernel_key *key = &kernel->key;
    out[1] = key->rows;
    out[2] = key->parts;
    out[3] = key->x;
    out[4] = key->weighted;
    out[5] = key->fine;
    out[6] = key->code == WOQ_ABI_WBF16;
    out[7] = keeps_subnormals(kernel->device);
    return 8;
}

static uint32_t tile_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    const struct woqi_kernel_key *key = &kernel->key;
    const struct woqi_tile_block *b = woqi_tile_block((enum woqi_block_id)key->block);
    out[1] = b->rows_w;
    out[2] = b->rows_x;
    out[3] = b->thread_w;
    out[4] = b->thread_x;
    out[5] = b->parts;
    out[6] = b->buffers;
    out[7] = key->x;
    out[8] = key->fine == WOQI_GROUPS_ANY;
    out[9] = key->code == WOQ_ABI_WBF16;
    out[10] = keeps_subnormals(kernel->device);
    return 11;
}

static uint32_t expand_constants(const struct woqi_kernel *kernel, uint32_t out[WOQI_VK_CONSTANTS])
{
    out[1] = kernel->key.fine;
    return 2;
}

/* ---- the backend's questions ---- */

/* NULL: it asks for nothing, or has no constants but the work-group size. */
static const struct kind {
    probe_fn *probe;
    constants_fn *constants;
} kinds[WOQI_KERNEL_COUNT] = {
    [WOQI_KERNEL_MMA] = {probe_mma, mma_constants},
    [WOQI_KERNEL_COOP] = {probe_coop, coop_constants},
    [WOQI_KERNEL_NV2] = {probe_nv2, nv2_constants},
    [WOQI_KERNEL_EXPAND] = {probe_expand, expand_constants},
    [WOQI_KERNEL_GEMV_FRAG] = {probe_gemv, gemv_constants},
    [WOQI_KERNEL_TILE] = {probe_tile, tile_constants},
    [WOQI_KERNEL_LIMIT_MATRIX] = {probe_limit_matrix, limit_matrix_constants},
};

bool woqi_vk_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                          size_t reason_size)
{
    const struct kind *kind = &kinds[key.id];
    if (kind->probe && !kind->probe(device, key, reason, reason_size))
        return false;
    if (find_module(device, key))
        return true;
    snprintf(reason, reason_size, "not written for Vulkan");
    return false;
}

bool woqi_vk_module_find(struct woqi_kernel *kernel, struct woqi_vk_module *out)
{
    const struct woqi_vk_device *vk = woqi_vk_of(kernel->device);
    const struct module *module = find_module(kernel->device, kernel->key);
    const struct kind *kind = &kinds[kernel->key.id];
    memset(out, 0, sizeof *out);
    if (!module)
        return false;
    out->code = module->code;
    out->size = *module->size;
    if (kernel->key.id == WOQI_KERNEL_COOP || kernel->key.id == WOQI_KERNEL_NV2) {
        const enum woqi_block_id block = (enum woqi_block_id)kernel->key.block;
        kernel->local_x = vk->coop.subgroup * (kernel->key.id == WOQI_KERNEL_COOP
                                                   ? woqi_coop_block_subgroups(woqi_coop_block(block))
                                                   : woqi_nv2_block_subgroups(woqi_nv2_block(block)));
        out->subgroup = vk->coop.required ? vk->coop.subgroup : 0;
        out->full_subgroups = vk->caps.subgroup_control;
    }
    if (kernel->key.id == WOQI_KERNEL_LIMIT_MATRIX) {
        kernel->local_x = vk->coop.subgroup * LIMIT_SUBGROUPS;
        out->subgroup = vk->coop.required ? vk->coop.subgroup : 0;
        out->full_subgroups = vk->caps.subgroup_control;
    }
    out->constants[0] = kernel->local_x;
    out->constant_count = kind->constants ? kind->constants(kernel, out->constants) : 1;
    return true;
}
