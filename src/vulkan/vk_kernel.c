/*
 * vk_kernel.c: descriptor and pipeline layouts, the pipeline cache, and pipelines, which are built when a recording
 * first needs them: a product has kernels for ranges of M that may never be run.
 */
#include "vk_backend.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/cache.h"
#include "../core/log.h"

/* ---- layouts and cache ---- */

bool woqi_vk_replays(const struct woq_device *device)
{
    return (device->info.features & WOQ_FEATURE_REPLAY) != 0;
}

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
    if (!device->cache)
        return;
    pthread_mutex_lock(&vk->cache_lock);
    VkResult result = vk->fn.GetPipelineCacheData(vk->handle, vk->cache, &size, NULL);
    void *data = !result && size > vk->cache_size ? woqi_alloc(device, 1, size) : NULL;
    if (data && !vk->fn.GetPipelineCacheData(vk->handle, vk->cache, &size, data)) {
        woqi_cache_store(device, vk->cache_key, data, size);
        vk->cache_size = size;
    }
    pthread_mutex_unlock(&vk->cache_lock);
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

/* ---- pipelines ---- */

static enum woq_status create_module(struct woq_device *device, const struct woqi_vk_module *spirv,
                                     VkShaderModule *module)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    uint32_t *words = woqi_alloc(device, 1, spirv->size); /* the embedded bytes may be unaligned */
    if (!words)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "shader module: out of host memory");
    memcpy(words, spirv->code, spirv->size);
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = spirv->size,
        .pCode = words,
    };
    VkResult result = vk->fn.CreateShaderModule(vk->handle, &info, NULL, module);
    woqi_free(device, words);
    return result ? woqi_vk_fail(device, result, "vkCreateShaderModule") : WOQ_OK;
}

static enum woq_status create_pipeline(struct woqi_kernel *kernel, const struct woqi_vk_module *spirv,
                                       VkShaderModule module, VkPipeline *pipeline)
{
    struct woq_device *device = kernel->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkSpecializationMapEntry entries[WOQI_VK_CONSTANTS];
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = spirv->subgroup,
    };
    for (uint32_t i = 0; i < spirv->constant_count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof(uint32_t), sizeof(uint32_t)};
    const VkSpecializationInfo specialization = {
        .mapEntryCount = spirv->constant_count,
        .pMapEntries = entries,
        .dataSize = spirv->constant_count * sizeof(uint32_t),
        .pData = spirv->constants,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = spirv->subgroup ? &size : NULL,
                .flags = spirv->full_subgroups
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

/* The caller holds the kernel's lock. */
static enum woq_status build(struct woqi_kernel *kernel)
{
    struct woq_device *device = kernel->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct woqi_vk_kernel *k = kernel->impl;
    VkShaderModule module = VK_NULL_HANDLE;
    enum woq_status st = create_module(device, &k->spirv, &module);
    if (st)
        return st;
    st = create_pipeline(kernel, &k->spirv, module, &k->pipeline);
    if (st)
        k->pipeline = VK_NULL_HANDLE;
    vk->fn.DestroyShaderModule(vk->handle, module, NULL);
    return st;
}

enum woq_status woqi_vk_kernels_build(struct woq_device *device, const struct woqi_step *steps,
                                      uint32_t count)
{
    enum woq_status st = WOQ_OK;
    bool built = false;
    for (uint32_t i = 0; i < count && !st; i++) {
        struct woqi_vk_kernel *k = woqi_vk_is_dispatch(&steps[i]) ? steps[i].kernel->impl : NULL;
        if (!k)
            continue;
        pthread_mutex_lock(&k->lock);
        if (!k->pipeline) {
            st = build(steps[i].kernel);
            built |= !st;
        }
        pthread_mutex_unlock(&k->lock);
    }
    if (built)
        store_cache(device);
    return st;
}

enum woq_status woqi_vk_kernel_create(struct woqi_kernel *kernel)
{
    struct woq_device *device = kernel->device;
    struct woqi_vk_kernel *k = woqi_alloc(device, 1, sizeof *k);
    if (!k)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                         kernel->name);
    if (!woqi_vk_module_find(kernel, &k->spirv)) {
        woqi_free(device, k);
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "kernel %s: not written for Vulkan",
                         kernel->name);
    }
    pthread_mutex_init(&k->lock, NULL);
    kernel->impl = k;
    return WOQ_OK;
}

void woqi_vk_kernel_destroy(struct woqi_kernel *kernel)
{
    struct woqi_vk_device *vk = woqi_vk_of(kernel->device);
    struct woqi_vk_kernel *k = kernel->impl;
    if (!k)
        return;
    if (k->pipeline)
        vk->fn.DestroyPipeline(vk->handle, k->pipeline, NULL);
    pthread_mutex_destroy(&k->lock);
    woqi_free(kernel->device, k);
    kernel->impl = NULL;
}
