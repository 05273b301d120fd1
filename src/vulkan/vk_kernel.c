/* vk_kernel.c: descriptor and pipeline layouts, the pipeline cache, and kernels. */
#include "vk_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/blocks.h"
#include "../core/cache.h"
#include "../core/log.h"

/* Generated from shaders/vulkan; each with STORAGE16 0 and 1. */
extern const unsigned char woqi_vk_spirv_floor[], woqi_vk_spirv_floor_storage16[];
extern const size_t woqi_vk_spirv_floor_size, woqi_vk_spirv_floor_storage16_size;
/* For codes of so many bits. */
extern const unsigned char woqi_vk_spirv_mma_4[], woqi_vk_spirv_mma_8[], woqi_vk_spirv_mma_16[];
extern const size_t woqi_vk_spirv_mma_4_size, woqi_vk_spirv_mma_8_size, woqi_vk_spirv_mma_16_size;
extern const unsigned char woqi_vk_spirv_mma_software_4[], woqi_vk_spirv_mma_software_8[],
    woqi_vk_spirv_mma_software_16[];
extern const size_t woqi_vk_spirv_mma_software_4_size, woqi_vk_spirv_mma_software_8_size,
    woqi_vk_spirv_mma_software_16_size;
extern const unsigned char woqi_vk_spirv_coop_4[], woqi_vk_spirv_coop_8[], woqi_vk_spirv_coop_16[];
extern const size_t woqi_vk_spirv_coop_4_size, woqi_vk_spirv_coop_8_size, woqi_vk_spirv_coop_16_size;
/* Both: for codes of so many bits, each with STORAGE16 0 and 1. */
#define GEMV_BINARIES(B) B(4) B(8) B(16)
#define GEMV_EXTERN(bits)                                                                          \
    extern const unsigned char woqi_vk_spirv_gemv_##bits[], woqi_vk_spirv_gemv_##bits##_storage16[]; \
    extern const size_t woqi_vk_spirv_gemv_##bits##_size, woqi_vk_spirv_gemv_##bits##_storage16_size;
GEMV_BINARIES(GEMV_EXTERN)
#undef GEMV_EXTERN

extern const unsigned char woqi_vk_spirv_expand_4[], woqi_vk_spirv_expand_8[];
extern const size_t woqi_vk_spirv_expand_4_size, woqi_vk_spirv_expand_8_size;

/* ---- layouts and cache ---- */

static enum woq_status create_layout(struct woq_device *device, bool live,
                                     struct woqi_vk_layout *layout)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkDescriptorSetLayoutBinding bindings[WOQ_BIND_COUNT + 1];
    VkDescriptorBindingFlags flags[WOQ_BIND_COUNT + 1];
    for (uint32_t i = 0; i <= WOQ_BIND_COUNT; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = i < WOQ_BIND_COUNT ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER
                                                 : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
        /* The arguments' place never changes, only their content. */
        flags[i] = i < WOQ_BIND_COUNT ? VK_DESCRIPTOR_BINDING_UPDATE_AFTER_BIND_BIT : 0;
    }
    const VkDescriptorSetLayoutBindingFlagsCreateInfo binding_flags = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_BINDING_FLAGS_CREATE_INFO,
        .bindingCount = WOQ_BIND_COUNT + 1,
        .pBindingFlags = flags,
    };
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .pNext = live ? &binding_flags : NULL,
        .flags = live ? VK_DESCRIPTOR_SET_LAYOUT_CREATE_UPDATE_AFTER_BIND_POOL_BIT : 0,
        .bindingCount = WOQ_BIND_COUNT + 1,
        .pBindings = bindings,
    };
    VkResult result = vk->fn.CreateDescriptorSetLayout(vk->handle, &set, NULL, &layout->set);
    if (result) {
        layout->set = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreateDescriptorSetLayout");
    }
    const VkPipelineLayoutCreateInfo pipeline = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &layout->set,
    };
    result = vk->fn.CreatePipelineLayout(vk->handle, &pipeline, NULL, &layout->pipeline);
    if (result) {
        layout->pipeline = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreatePipelineLayout");
    }
    return WOQ_OK;
}

static void destroy_layout(const struct woqi_vk_device *vk, struct woqi_vk_layout *layout)
{
    if (layout->pipeline)
        vk->fn.DestroyPipelineLayout(vk->handle, layout->pipeline, NULL);
    if (layout->set)
        vk->fn.DestroyDescriptorSetLayout(vk->handle, layout->set, NULL);
    memset(layout, 0, sizeof *layout);
}

/* The driver checks the blob's header by itself and starts empty where it does not fit. */
static enum woq_status open_cache(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    void *data = NULL;
    size_t size = 0;
    if (!woqi_cache_load(device, vk->cache_key, &data, &size)) {
        data = NULL;
        size = 0;
    }
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = size,
        .pInitialData = data,
    };
    VkResult result = vk->fn.CreatePipelineCache(vk->handle, &info, NULL, &vk->cache);
    if (result && size) {
        woqi_cache_drop(device, vk->cache_key);
        info.initialDataSize = 0;
        size = 0;
        result = vk->fn.CreatePipelineCache(vk->handle, &info, NULL, &vk->cache);
    }
    woqi_free(device, data);
    if (result) {
        vk->cache = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreatePipelineCache");
    }
    vk->cache_size = size;
    return WOQ_OK;
}

/* Writes the cache to disk if it grew. Failing is no reason to fail the kernel. */
static void store_cache(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    size_t size = 0;
    if (!device->cache || vk->fn.GetPipelineCacheData(vk->handle, vk->cache, &size, NULL) ||
        size <= vk->cache_size)
        return;
    void *data = woqi_alloc(device, 1, size);
    if (data && !vk->fn.GetPipelineCacheData(vk->handle, vk->cache, &size, data)) {
        woqi_cache_store(device, vk->cache_key, data, size);
        vk->cache_size = size;
    }
    woqi_free(device, data);
}

enum woq_status woqi_vk_kernels_open(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    enum woq_status st = create_layout(device, false, &vk->frozen);
    if (!st && vk->caps.update_after_bind)
        st = create_layout(device, true, &vk->live);
    if (!st)
        st = open_cache(device);
    return st;
}

void woqi_vk_kernels_close(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    if (vk->cache)
        vk->fn.DestroyPipelineCache(vk->handle, vk->cache, NULL);
    vk->cache = VK_NULL_HANDLE;
    destroy_layout(vk, &vk->frozen);
    destroy_layout(vk, &vk->live);
}

const struct woqi_vk_layout *woqi_vk_layout_of(const struct woq_device *device)
{
    const struct woqi_vk_device *vk = woqi_vk_of(device);
    return woqi_vk_replays(device) ? &vk->live : &vk->frozen;
}

/* ---- kernels ---- */

/* The largest arrays of coop.comp. */
#define COOP_W_LOADS 4u
#define COOP_X_LOADS 8u
#define COOP_TILES_M 4u
#define COOP_TILES   8u

#define CONSTANTS 13 /* of mma.comp and coop.comp; 0 is that of all kernels, the work-group size */

struct binary {
    const unsigned char *code;
    size_t size; /* bytes; 0 = not on this API */
};

static struct binary find_mma(uint32_t code, bool software)
{
#define MMA(bits)                                                                                  \
    software ? (struct binary){woqi_vk_spirv_mma_software_##bits,                                  \
                               woqi_vk_spirv_mma_software_##bits##_size}                           \
             : (struct binary){woqi_vk_spirv_mma_##bits, woqi_vk_spirv_mma_##bits##_size}
    switch (code) {
    case WOQ_ABI_U4:
        return MMA(4);
    case WOQ_ABI_U8:
        return MMA(8);
    case WOQ_ABI_WF16:
        return MMA(16);
    default:
        return (struct binary){NULL, 0};
    }
#undef MMA
}

static struct binary find_coop(uint32_t code)
{
    switch (code) {
    case WOQ_ABI_U4:
        return (struct binary){woqi_vk_spirv_coop_4, woqi_vk_spirv_coop_4_size};
    case WOQ_ABI_U8:
        return (struct binary){woqi_vk_spirv_coop_8, woqi_vk_spirv_coop_8_size};
    case WOQ_ABI_WF16:
        return (struct binary){woqi_vk_spirv_coop_16, woqi_vk_spirv_coop_16_size};
    default:
        return (struct binary){NULL, 0};
    }
}

static struct binary find_gemv(uint32_t code, bool storage16)
{
    const uint32_t code_bits = code == WOQ_ABI_U4 ? 4 : code == WOQ_ABI_U8 ? 8 : 16;
#define GEMV_BINARY(bits)                                                                          \
    if (code_bits == bits)                                                                         \
        return storage16 ? (struct binary){woqi_vk_spirv_gemv_##bits##_storage16,                  \
                                           woqi_vk_spirv_gemv_##bits##_storage16_size}             \
                         : (struct binary){woqi_vk_spirv_gemv_##bits, woqi_vk_spirv_gemv_##bits##_size};
    GEMV_BINARIES(GEMV_BINARY)
#undef GEMV_BINARY
    return (struct binary){NULL, 0};
}

static struct binary find_expand(uint32_t code)
{
    return code == WOQ_ABI_U4 ? (struct binary){woqi_vk_spirv_expand_4, woqi_vk_spirv_expand_4_size}
                              : (struct binary){woqi_vk_spirv_expand_8, woqi_vk_spirv_expand_8_size};
}

static struct binary find_binary(const struct woq_device *device, struct woqi_kernel_key key)
{
    if (key.id == WOQI_KERNEL_GEMV_FRAG)
        return find_gemv(key.code, device->info.features & WOQ_FEATURE_STORAGE16);
    if (key.id == WOQI_KERNEL_MMA)
        return find_mma(key.code, device->software_matrix);
    if (key.id == WOQI_KERNEL_COOP)
        return find_coop(key.code);
    if (key.id == WOQI_KERNEL_EXPAND)
        return find_expand(key.code);
    if (key.id != WOQI_KERNEL_FLOOR)
        return (struct binary){NULL, 0};
    if (device->info.features & WOQ_FEATURE_STORAGE16)
        return (struct binary){woqi_vk_spirv_floor_storage16, woqi_vk_spirv_floor_storage16_size};
    return (struct binary){woqi_vk_spirv_floor, woqi_vk_spirv_floor_size};
}

static bool probe_mma(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                      size_t reason_size)
{
    const struct woqi_block *block = woqi_block((enum woqi_block_id)key.block);
    const struct woq_device_info *info = &device->info;
    const uint32_t needed = WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_MATRIX;
    const uint32_t bits = woqi_code_bits((enum woq_code)key.code);
    const uint32_t shared = woqi_block_shared(block, bits) +
                            (device->software_matrix ? woqi_block_threads(block) * 24 : 0);
    if ((!woqi_vk_of(device)->mma && !device->software_matrix) || (info->features & needed) != needed)
        snprintf(reason, reason_size,
                 "needs cooperative matrices of 16 × 8 × 16 for subgroups of 32");
    else if (woqi_block_threads(block) > info->max_workgroup || shared > info->shared_memory)
        snprintf(reason, reason_size, "block %s needs %u threads and %u bytes of shared memory",
                 block->name, woqi_block_threads(block), shared);
    else
        return true;
    return false;
}

/* Pieces of `pieces` that each of `threads` threads takes. */
static uint32_t share(uint32_t pieces, uint32_t threads)
{
    return (pieces + threads - 1) / threads;
}

/* Every assumption of coop.comp about tiles, subgroups and shared memory. */
static bool probe_coop(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                       size_t reason_size)
{
    const struct woqi_coop_block *b = woqi_coop_block((enum woqi_block_id)key.block);
    const struct woqi_vk_coop *coop = &woqi_vk_of(device)->coop;
    const struct woq_device_info *info = &device->info;
    const uint32_t needed =
        WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX;
    if (!coop->m || (info->features & needed) != needed) {
        snprintf(reason, reason_size,
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
        snprintf(reason, reason_size,
                 "block %s needs %u threads in %u subgroups and %u bytes of shared memory", b->name,
                 subgroups * coop->subgroup, subgroups, shared);
    else if (n % coop->n || m % coop->m || b->rows_w % 32 || m / coop->m > COOP_TILES_M ||
             n / coop->n * (m / coop->m) > COOP_TILES)
        snprintf(reason, reason_size,
                 "block %s: %u × %u sums of a subgroup are no whole matrices of %u × %u, or more than %u",
                 b->name, m, n, coop->m, coop->n, COOP_TILES);
    else if (share(b->rows_w * 2, part) > COOP_W_LOADS || share(b->rows_x * 4, part) > COOP_X_LOADS)
        snprintf(reason, reason_size, "block %s: %u threads are too few to load its tiles", b->name,
                 part);
    else
        return true;
    return false;
}

static bool probe_gemv(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                       size_t reason_size)
{
    const struct woq_device_info *info = &device->info;
    if (woqi_gemv_threads(&key) <= info->max_workgroup &&
        woqi_gemv_shared(&key) <= info->shared_memory)
        return true;
    snprintf(reason, reason_size,
             "needs work-groups of %u with %u bytes of shared memory; the device has %u and %u",
             woqi_gemv_threads(&key), woqi_gemv_shared(&key), info->max_workgroup,
             info->shared_memory);
    return false;
}

static bool probe_expand(const struct woq_device *device, struct woqi_kernel_key key, char *reason,
                         size_t reason_size)
{
    if (key.code != WOQ_ABI_U4 && key.code != WOQ_ABI_U8)
        snprintf(reason, reason_size, "the weights are not quantized");
    else if (!(device->info.features & WOQ_FEATURE_FP16) || !woqi_vk_of(device)->caps.rounds16)
        snprintf(reason, reason_size, "needs FP16 that rounds to nearest even");
    else
        return true;
    return false;
}

bool woqi_vk_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                          size_t reason_size)
{
    if (key.id == WOQI_KERNEL_MMA && !probe_mma(device, key, reason, reason_size))
        return false;
    if (key.id == WOQI_KERNEL_COOP && !probe_coop(device, key, reason, reason_size))
        return false;
    if (key.id == WOQI_KERNEL_GEMV_FRAG && !probe_gemv(device, key, reason, reason_size))
        return false;
    if (key.id == WOQI_KERNEL_EXPAND && !probe_expand(device, key, reason, reason_size))
        return false;
    if (find_binary(device, key).size)
        return true;
    snprintf(reason, reason_size, "not written for Vulkan");
    return false;
}

static enum woq_status create_module(struct woq_device *device, struct binary binary,
                                     VkShaderModule *module)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    uint32_t *words = woqi_alloc(device, 1, binary.size); /* the embedded bytes may be unaligned */
    if (!words)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "shader module: out of host memory");
    memcpy(words, binary.code, binary.size);
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = binary.size,
        .pCode = words,
    };
    VkResult result = vk->fn.CreateShaderModule(vk->handle, &info, NULL, module);
    woqi_free(device, words);
    return result ? woqi_vk_fail(device, result, "vkCreateShaderModule") : WOQ_OK;
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

/* Columns of one scale, as mma counts them. */
static uint32_t span_of(struct woqi_kernel_key key)
{
    return key.fine == WOQI_GROUPS_PAIR ? 128 : key.fine == WOQI_GROUPS_PIECE ? 32 : 64;
}

/* Specialization constants of the kernel; their number. */
static uint32_t fill_constants(const struct woqi_kernel *kernel, uint32_t constants[CONSTANTS])
{
    const struct woqi_kernel_key key = kernel->key;
    const enum woqi_block_id id = (enum woqi_block_id)key.block;
    constants[0] = kernel->local_x;
    if (key.id == WOQI_KERNEL_MMA) {
        const struct woqi_block *b = woqi_block(id);
        const uint32_t values[] = {
            kernel->local_x, 0, b->math == WOQ_MATH_ROUNDED, b->staged, b->warps_n, b->warps_m,
            b->warps_k, b->strips, b->columns, woqi_block_step(b, woqi_code_bits((enum woq_code)key.code)),
            span_of(key), key.scale, key.zero};
        memcpy(constants, values, sizeof values);
        return sizeof values / sizeof *values;
    }
    if (key.id == WOQI_KERNEL_COOP) {
        const struct woqi_coop_block *b = woqi_coop_block(id);
        const struct woqi_vk_coop *coop = &woqi_vk_of(kernel->device)->coop;
        const uint32_t values[] = {
            kernel->local_x, coop->m,        coop->n,   coop->k,   b->subgroups_n,
            b->subgroups_m,  b->subgroups_k, b->rows_w, b->rows_x, key.fine};
        memcpy(constants, values, sizeof values);
        return sizeof values / sizeof *values;
    }
    if (key.id == WOQI_KERNEL_GEMV_FRAG) {
        const uint32_t values[] = {kernel->local_x, key.rows, key.parts, key.x, key.weighted, key.fine,
                                   key.code == WOQ_ABI_WBF16, keeps_subnormals(kernel->device)};
        memcpy(constants, values, sizeof values);
        return sizeof values / sizeof *values;
    }
    constants[1] = key.fine;
    return key.id == WOQI_KERNEL_EXPAND ? 2 : 1;
}

static enum woq_status create_pipeline(struct woqi_kernel *kernel, VkShaderModule module,
                                       VkPipeline *pipeline)
{
    struct woq_device *device = kernel->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    const bool coop = kernel->key.id == WOQI_KERNEL_COOP;
    uint32_t constants[CONSTANTS] = {0};
    VkSpecializationMapEntry entries[CONSTANTS];
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = vk->coop.subgroup,
    };
    const uint32_t count = fill_constants(kernel, constants);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof *constants, sizeof *constants};
    const VkSpecializationInfo specialization = {
        .mapEntryCount = count,
        .pMapEntries = entries,
        .dataSize = count * sizeof *constants,
        .pData = constants,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = coop && vk->coop.required ? &size : NULL,
                .flags = coop && vk->caps.subgroup_control
                             ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                             : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &specialization,
            },
        .layout = woqi_vk_layout_of(device)->pipeline,
    };
    VkResult result = vk->fn.CreateComputePipelines(vk->handle, vk->cache, 1, &info, NULL,
                                                    pipeline);
    switch (result) {
    case VK_SUCCESS:
        return WOQ_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_DEVICE_LOST:
        return woqi_vk_fail(device, result, "vkCreateComputePipelines");
    default:
        return woqi_fail(device, WOQ_ERROR_COMPILE, "vkCreateComputePipelines(%s): %s (%d)",
                         kernel->name, woqi_vk_result_name(result), (int)result);
    }
}

enum woq_status woqi_vk_kernel_create(struct woqi_kernel *kernel)
{
    struct woq_device *device = kernel->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkShaderModule module = VK_NULL_HANDLE;
    struct binary binary = find_binary(device, kernel->key);
    if (!binary.size)
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "kernel %s: not written for Vulkan",
                         kernel->name);
    if (kernel->key.id == WOQI_KERNEL_COOP) {
        const enum woqi_block_id block = (enum woqi_block_id)kernel->key.block;
        kernel->local_x = vk->coop.subgroup * woqi_coop_block_subgroups(woqi_coop_block(block));
    }
    struct woqi_vk_kernel *k = woqi_alloc(device, 1, sizeof *k);
    if (!k)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                         kernel->name);
    enum woq_status st = create_module(device, binary, &module);
    if (st)
        goto fail;
    st = create_pipeline(kernel, module, &k->pipeline);
    vk->fn.DestroyShaderModule(vk->handle, module, NULL);
    if (st)
        goto fail;
    kernel->impl = k;
    store_cache(device);
    return WOQ_OK;
fail:
    woqi_free(device, k);
    return st;
}

void woqi_vk_kernel_destroy(struct woqi_kernel *kernel)
{
    struct woqi_vk_device *vk = woqi_vk_of(kernel->device);
    struct woqi_vk_kernel *k = kernel->impl;
    if (!k)
        return;
    vk->fn.DestroyPipeline(vk->handle, k->pipeline, NULL);
    woqi_free(kernel->device, k);
    kernel->impl = NULL;
}
