/* vk_probe.c: what physical devices are and can do, and creating a device with it. */
#include "vk_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"

/* ---- extensions and queue families ---- */

bool woqi_vk_has(const struct woqi_vk_extensions *extensions, const char *name)
{
    for (uint32_t i = 0; i < extensions->count; i++)
        if (!strcmp(extensions->names[i], name))
            return true;
    return false;
}

VkResult woqi_vk_list_extensions(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                                 const struct woq_allocator *allocator,
                                 struct woqi_vk_extension_list *out)
{
    uint32_t count = 0;
    memset(out, 0, sizeof *out);
    VkResult result = instance->fn.EnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
    if (result || !count)
        return result;
    out->storage = woqi_alloc_with(allocator, count, sizeof *out->storage);
    out->names = woqi_alloc_with(allocator, count, sizeof *out->names);
    if (out->storage && out->names)
        result = instance->fn.EnumerateDeviceExtensionProperties(physical, NULL, &count,
                                                                 out->storage);
    else
        result = VK_ERROR_OUT_OF_HOST_MEMORY;
    if (result < 0) {
        woqi_vk_free_extensions(allocator, out);
        return result;
    }
    for (uint32_t i = 0; i < count; i++)
        out->names[i] = out->storage[i].extensionName;
    out->extensions.names = out->names;
    out->extensions.count = count;
    return VK_SUCCESS;
}

void woqi_vk_free_extensions(const struct woq_allocator *allocator,
                             struct woqi_vk_extension_list *list)
{
    woqi_free_with(allocator, list->storage);
    woqi_free_with(allocator, list->names);
    memset(list, 0, sizeof *list);
}

#define MAX_FAMILIES 32

bool woqi_vk_compute_family(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                            uint32_t *family)
{
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_FAMILIES;
    instance->fn.GetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        if (families[i].queueCount && (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) {
            *family = i;
            return true;
        }
    }
    return false;
}

/* ---- features ---- */

/* All structs that may tell or enable a feature; which are chained depends on version and
 * extensions. */
struct feature_chain {
    VkPhysicalDeviceFeatures2 head;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDevice8BitStorageFeatures storage8;
    VkPhysicalDeviceShaderFloat16Int8Features fp16;
    VkPhysicalDeviceDescriptorIndexingFeatures indexing;
    VkPhysicalDeviceVulkanMemoryModelFeatures model;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2;
    VkPhysicalDeviceMaintenance4Features maintenance4;
    VkPhysicalDeviceBufferDeviceAddressFeatures address;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup;
};

static void chain(void **tail, void *next, VkStructureType type)
{
    VkBaseOutStructure *s = next;
    s->sType = type;
    s->pNext = *tail;
    *tail = s;
}

/* Its modules are SPIR-V 1.6. */
static bool offers_nv2(const struct woqi_vk_extensions *extensions, uint32_t api)
{
    return api >= VK_API_VERSION_1_3 && woqi_vk_has(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) &&
           woqi_vk_has(extensions, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME);
}

/* Of its features, those that nv2.comp declares. */
static void take_nv2(struct woqi_vk_caps *caps, const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *f)
{
    caps->nv2 = f->cooperativeMatrixFlexibleDimensions && f->cooperativeMatrixPerElementOperations;
    caps->nv2_workgroup = caps->nv2 && f->cooperativeMatrixWorkgroupScope &&
                          f->cooperativeMatrixTensorAddressing && f->cooperativeMatrixBlockLoads;
}

static void chain_features(struct feature_chain *c, const struct woqi_vk_extensions *extensions,
                           uint32_t api)
{
    memset(c, 0, sizeof *c);
    c->head.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    void **tail = &c->head.pNext;
    bool v12 = api >= VK_API_VERSION_1_2;
    chain(tail, &c->storage16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
    if (v12 || woqi_vk_has(extensions, VK_KHR_8BIT_STORAGE_EXTENSION_NAME))
        chain(tail, &c->storage8, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES);
    if (v12 || woqi_vk_has(extensions, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME))
        chain(tail, &c->fp16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
    if (v12 || woqi_vk_has(extensions, VK_EXT_DESCRIPTOR_INDEXING_EXTENSION_NAME))
        chain(tail, &c->indexing, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DESCRIPTOR_INDEXING_FEATURES);
    if (v12 || woqi_vk_has(extensions, VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME))
        chain(tail, &c->model, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
    if (woqi_vk_has(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        chain(tail, &c->matrix, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    if (offers_nv2(extensions, api)) {
        chain(tail, &c->matrix2, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV);
        chain(tail, &c->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES);
        chain(tail, &c->address, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
    }
    if (api >= VK_API_VERSION_1_3 ||
        woqi_vk_has(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        chain(tail, &c->subgroup, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
}

/* Properties, which need no enabling but of the extension that brings them. */
static bool rounds16(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                     const struct woqi_vk_extensions *extensions, uint32_t api)
{
    VkPhysicalDeviceFloatControlsProperties controls = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES};
    VkPhysicalDeviceProperties2 head = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                        .pNext = &controls};
    if (api < VK_API_VERSION_1_2 &&
        !woqi_vk_has(extensions, VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME))
        return false;
    instance->fn.GetPhysicalDeviceProperties2(physical, &head);
    return controls.shaderRoundingModeRTEFloat16 &&
           controls.roundingModeIndependence != VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE;
}

static uint32_t usable_api(const struct woqi_vk_instance *instance, VkPhysicalDevice physical)
{
    VkPhysicalDeviceProperties properties;
    instance->fn.GetPhysicalDeviceProperties(physical, &properties);
    return properties.apiVersion < instance->api ? properties.apiVersion : instance->api;
}

void woqi_vk_caps_offered(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                          const struct woqi_vk_extensions *extensions, struct woqi_vk_caps *caps)
{
    struct feature_chain c;
    memset(caps, 0, sizeof *caps);
    caps->api = usable_api(instance, physical);
    chain_features(&c, extensions, caps->api);
    instance->fn.GetPhysicalDeviceFeatures2(physical, &c.head);
    caps->storage16 = c.storage16.storageBuffer16BitAccess;
    caps->storage8 = c.storage8.storageBuffer8BitAccess;
    caps->fp16 = c.fp16.shaderFloat16;
    caps->matrix = c.matrix.cooperativeMatrix;
    caps->memory_model = c.model.vulkanMemoryModel && c.model.vulkanMemoryModelDeviceScope;
    caps->update_after_bind = c.indexing.descriptorBindingStorageBufferUpdateAfterBind;
    caps->memory_budget = woqi_vk_has(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    caps->rounds16 = rounds16(instance, physical, extensions, caps->api);
    take_nv2(caps, &c.matrix2);
    caps->maintenance4 = c.maintenance4.maintenance4;
    caps->buffer_address = c.address.bufferDeviceAddress;
    caps->subgroup_control = c.subgroup.subgroupSizeControl && c.subgroup.computeFullSubgroups;
}

void woqi_vk_caps_enabled(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                          const struct woq_vulkan_params *guest, struct woqi_vk_caps *caps)
{
    const struct woqi_vk_extensions extensions = {guest->extensions, guest->extension_count};
    memset(caps, 0, sizeof *caps);
    caps->api = usable_api(instance, physical);
    caps->memory_budget = woqi_vk_has(&extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    caps->rounds16 = rounds16(instance, physical, &extensions, caps->api);
    /* A bit may be told by its extension's struct or by that of the version which took it in. */
    for (const VkBaseInStructure *s = (const void *)guest->features; s; s = s->pNext) {
        const void *p = s;
        switch ((uint32_t)s->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES: {
            const VkPhysicalDeviceVulkan11Features *f = p;
            caps->storage16 |= f->storageBuffer16BitAccess != 0;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES: {
            const VkPhysicalDeviceVulkan12Features *f = p;
            caps->storage8 |= f->storageBuffer8BitAccess != 0;
            caps->fp16 |= f->shaderFloat16 != 0;
            caps->update_after_bind |= f->descriptorBindingStorageBufferUpdateAfterBind != 0;
            caps->memory_model |= f->vulkanMemoryModel != 0;
            caps->buffer_address |= f->bufferDeviceAddress != 0;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
            caps->buffer_address |=
                ((const VkPhysicalDeviceBufferDeviceAddressFeatures *)p)->bufferDeviceAddress != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES: {
            const VkPhysicalDeviceVulkan13Features *f = p;
            caps->subgroup_control |= f->subgroupSizeControl && f->computeFullSubgroups;
            caps->maintenance4 |= f->maintenance4 != 0;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES:
            caps->maintenance4 |= ((const VkPhysicalDeviceMaintenance4Features *)p)->maintenance4 != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
            const VkPhysicalDeviceSubgroupSizeControlFeatures *f = p;
            caps->subgroup_control |= f->subgroupSizeControl && f->computeFullSubgroups;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
            caps->memory_model |=
                ((const VkPhysicalDeviceVulkanMemoryModelFeatures *)p)->vulkanMemoryModel != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
            caps->storage16 |=
                ((const VkPhysicalDevice16BitStorageFeatures *)p)->storageBuffer16BitAccess != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES:
            caps->storage8 |=
                ((const VkPhysicalDevice8BitStorageFeatures *)p)->storageBuffer8BitAccess != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
            caps->fp16 |= ((const VkPhysicalDeviceShaderFloat16Int8Features *)p)->shaderFloat16 !=
                          0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DESCRIPTOR_INDEXING_FEATURES:
            caps->update_after_bind |= ((const VkPhysicalDeviceDescriptorIndexingFeatures *)p)
                                           ->descriptorBindingStorageBufferUpdateAfterBind != 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV:
            if (offers_nv2(&extensions, caps->api))
                take_nv2(caps, p);
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR:
            caps->matrix |=
                ((const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)p)->cooperativeMatrix != 0 &&
                woqi_vk_has(&extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
            break;
        }
    }
}

VkResult woqi_vk_create_device(struct woqi_vk_device *vk,
                               const struct woqi_vk_extensions *extensions)
{
    struct feature_chain c;
    const struct woqi_vk_caps *caps = &vk->caps;
    bool v12 = caps->api >= VK_API_VERSION_1_2;
    chain_features(&c, extensions, caps->api);
    c.storage16.storageBuffer16BitAccess = caps->storage16;
    c.storage8.storageBuffer8BitAccess = caps->storage8;
    c.fp16.shaderFloat16 = caps->fp16;
    c.indexing.descriptorBindingStorageBufferUpdateAfterBind = caps->update_after_bind;
    c.matrix.cooperativeMatrix = caps->matrix;
    c.matrix2.cooperativeMatrixFlexibleDimensions = c.matrix2.cooperativeMatrixPerElementOperations = caps->nv2;
    c.matrix2.cooperativeMatrixWorkgroupScope = c.matrix2.cooperativeMatrixTensorAddressing = caps->nv2_workgroup;
    c.matrix2.cooperativeMatrixBlockLoads = caps->nv2_workgroup;
    c.matrix2.cooperativeMatrixReductions = c.matrix2.cooperativeMatrixConversions = VK_FALSE;
    c.maintenance4.maintenance4 = caps->maintenance4;
    c.address.bufferDeviceAddress = caps->buffer_address && caps->nv2_workgroup;
    c.address.bufferDeviceAddressCaptureReplay = c.address.bufferDeviceAddressMultiDevice = VK_FALSE;
    c.model.vulkanMemoryModel = caps->memory_model;
    c.model.vulkanMemoryModelDeviceScope = caps->memory_model;
    c.subgroup.subgroupSizeControl = c.subgroup.computeFullSubgroups = caps->subgroup_control;

    const char *names[11];
    uint32_t count = 0;
    if (!v12 && caps->storage8)
        names[count++] = VK_KHR_8BIT_STORAGE_EXTENSION_NAME;
    if (!v12 && woqi_vk_has(extensions, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME))
        names[count++] = VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME;
    if (!v12 && woqi_vk_has(extensions, VK_EXT_DESCRIPTOR_INDEXING_EXTENSION_NAME))
        names[count++] = VK_EXT_DESCRIPTOR_INDEXING_EXTENSION_NAME;
    if (!v12 && woqi_vk_has(extensions, VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME))
        names[count++] = VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME;
    if (woqi_vk_has(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        names[count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (offers_nv2(extensions, caps->api))
        names[count++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    if (!v12 && caps->rounds16)
        names[count++] = VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME;
    if (caps->api < VK_API_VERSION_1_3 && caps->subgroup_control)
        names[count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (caps->memory_budget)
        names[count++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;

    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = vk->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &c.head,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = count,
        .ppEnabledExtensionNames = names,
    };
    VkResult result = vk->instance.fn.CreateDevice(vk->physical, &info, NULL, &vk->handle);
    if (result)
        vk->handle = NULL;
    return result;
}

/* ---- description ---- */

struct property_chain {
    VkPhysicalDeviceProperties2 head;
    VkPhysicalDeviceMaintenance3Properties allocation;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceSubgroupSizeControlProperties sizes;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceMaintenance4Properties buffer;
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV matrix2;
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV multiprocessors;
    VkPhysicalDeviceShaderCorePropertiesAMD shader_cores;
};

static void query_properties(const struct woqi_vk_device *vk,
                             const struct woqi_vk_extensions *extensions, struct property_chain *c)
{
    uint32_t api = vk->caps.api;
    memset(c, 0, sizeof *c);
    c->head.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    void **tail = &c->head.pNext;
    chain(tail, &c->allocation, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES);
    chain(tail, &c->subgroup, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES);
    if (api >= VK_API_VERSION_1_2 ||
        woqi_vk_has(extensions, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
        chain(tail, &c->driver, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES);
    if (api >= VK_API_VERSION_1_3 || woqi_vk_has(extensions, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
        chain(tail, &c->buffer, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    if (vk->caps.subgroup_control)
        chain(tail, &c->sizes, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (offers_nv2(extensions, api))
        chain(tail, &c->matrix2, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV);
    if (woqi_vk_has(extensions, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        chain(tail, &c->multiprocessors,
              VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
    if (woqi_vk_has(extensions, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME))
        chain(tail, &c->shader_cores, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD);
    vk->instance.fn.GetPhysicalDeviceProperties2(vk->physical, &c->head);
}

enum woq_device_kind woqi_vk_kind(const VkPhysicalDeviceProperties *properties)
{
    switch (properties->deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return WOQ_DEVICE_KIND_CPU;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return WOQ_DEVICE_KIND_INTEGRATED_GPU;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return WOQ_DEVICE_KIND_DISCRETE_GPU;
    default:
        return WOQ_DEVICE_KIND_OTHER;
    }
}

/* PCI vendor numbers, and Khronos' own above 0x10000. */
static const char *vendor_name(uint32_t id)
{
    switch (id) {
    case 0x1002:
        return "AMD";
    case 0x1010:
        return "Imagination";
    case 0x106b:
        return "Apple";
    case 0x10de:
        return "NVIDIA";
    case 0x13b5:
        return "Arm";
    case 0x5143:
        return "Qualcomm";
    case 0x8086:
        return "Intel";
    case 0x10005:
        return "Mesa";
    default:
        return "unknown";
    }
}

/* Everything that makes a compiled pipeline another one; the kernel's own code is in the blob. */
static void make_cache_key(struct woqi_vk_device *vk, const VkPhysicalDeviceProperties *p)
{
    char uuid[2 * VK_UUID_SIZE + 1];
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(uuid + 2 * i, 3, "%02x", p->pipelineCacheUUID[i]);
    snprintf(vk->cache_key, sizeof vk->cache_key,
             "vulkan pipeline cache, device %08x:%08x, driver %08x, uuid %s, woq %s", p->vendorID,
             p->deviceID, p->driverVersion, uuid, woq_version_string());
}

/* On CPUs and integrated GPUs only: a window into a discrete GPU's memory is no copy-free sharing.
 */
static bool shares_memory(const struct woqi_vk_device *vk, enum woq_device_kind kind)
{
    uint64_t largest = 0;
    for (uint32_t i = 0; i < vk->memory.memoryHeapCount; i++)
        if ((vk->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            vk->memory.memoryHeaps[i].size > largest)
            largest = vk->memory.memoryHeaps[i].size;
    int type = woqi_vk_memory_type(vk, UINT32_MAX, WOQI_VK_SHARED);
    return (kind == WOQ_DEVICE_KIND_CPU || kind == WOQ_DEVICE_KIND_INTEGRATED_GPU) && type >= 0 &&
           vk->memory.memoryHeaps[vk->memory.memoryTypes[type].heapIndex].size == largest;
}

static uint32_t describe_features(struct woqi_vk_device *vk, const struct property_chain *c,
                                  enum woq_device_kind kind)
{
    uint32_t features = 0;
    if (vk->caps.fp16)
        features |= WOQ_FEATURE_FP16;
    if (vk->caps.storage16)
        features |= WOQ_FEATURE_STORAGE16;
    if (vk->caps.storage8)
        features |= WOQ_FEATURE_STORAGE8;
    const VkSubgroupFeatureFlags operations = VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    if ((c->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (c->subgroup.supportedOperations & operations) == operations)
        features |= WOQ_FEATURE_SUBGROUPS;
    if (vk->caps.matrix)
        features |= WOQ_FEATURE_MATRIX;
    if (shares_memory(vk, kind))
        features |= WOQ_FEATURE_HOST_MEMORY;
    if (vk->timestamp_bits && vk->limits.timestampPeriod > 0.0f &&
        vk->limits.timestampPeriod < 1e9f) /* null hardware says infinite */
        features |= WOQ_FEATURE_TIMESTAMPS;
    if (vk->caps.update_after_bind)
        features |= WOQ_FEATURE_REPLAY;
    return features;
}

static void describe_limits(struct woq_device_info *info, struct woqi_vk_device *vk,
                            const struct property_chain *c)
{
    const VkPhysicalDeviceLimits *l = &vk->limits;
    uint64_t largest = 0;
    info->memory = 0;
    for (uint32_t i = 0; i < vk->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &vk->memory.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
            continue;
        info->memory += heap->size;
        largest = heap->size > largest ? heap->size : largest;
    }
    info->max_allocation = woqi_min(largest, c->allocation.maxMemoryAllocationSize);
    if (c->buffer.maxBufferSize)
        info->max_allocation = woqi_min(info->max_allocation, c->buffer.maxBufferSize);
    info->max_allocation &= ~(uint64_t)3;
    info->max_binding = l->maxStorageBufferRange & ~3u;
    uint64_t alignment = l->minStorageBufferOffsetAlignment;
    info->binding_alignment = alignment < 4 ? 4 : (uint32_t)alignment;
    info->max_workgroup = l->maxComputeWorkGroupInvocations < l->maxComputeWorkGroupSize[0]
                              ? l->maxComputeWorkGroupInvocations
                              : l->maxComputeWorkGroupSize[0];
    for (int i = 0; i < 3; i++)
        info->max_groups[i] = l->maxComputeWorkGroupCount[i];
    info->shared_memory = l->maxComputeSharedMemorySize;
    info->timestamp_period = info->features & WOQ_FEATURE_TIMESTAMPS ? (double)l->timestampPeriod
                                                                     : 0.0;
}

void woqi_vk_describe(struct woq_device *device, const struct woqi_vk_extensions *extensions)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct woq_device_info *info = &device->info;
    struct property_chain c;
    query_properties(vk, extensions, &c);
    const VkPhysicalDeviceProperties *p = &c.head.properties;
    vk->limits = p->limits;
    vk->instance.fn.GetPhysicalDeviceMemoryProperties(vk->physical, &vk->memory);
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_FAMILIES;
    vk->instance.fn.GetPhysicalDeviceQueueFamilyProperties(vk->physical, &count, families);
    vk->timestamp_bits = vk->family < count ? families[vk->family].timestampValidBits : 0;
    make_cache_key(vk, p);

    info->kind = woqi_vk_kind(p);
    snprintf(info->name, sizeof info->name, "%.127s", p->deviceName);
    snprintf(info->vendor, sizeof info->vendor, "%s", vendor_name(p->vendorID));
    if (c.driver.driverName[0])
        snprintf(info->driver, sizeof info->driver, "%.60s %.60s", c.driver.driverName,
                 c.driver.driverInfo);
    else
        snprintf(info->driver, sizeof info->driver, "driver 0x%x", p->driverVersion);
    const char *chip = strstr(p->deviceName, "(RADV "); /* Mesa's name of an AMD chip: (RADV NAVI31) */
    if (chip)
        snprintf(info->architecture, sizeof info->architecture, "%.*s", (int)strcspn(chip + 6, ")"), chip + 6);
    info->features = describe_features(vk, &c, info->kind);
    info->compute_units = c.multiprocessors.shaderSMCount
                              ? c.multiprocessors.shaderSMCount
                              : c.shader_cores.shaderEngineCount *
                                    c.shader_cores.shaderArraysPerEngineCount *
                                    c.shader_cores.computeUnitsPerShaderArray;
    info->subgroup_size = info->features & WOQ_FEATURE_SUBGROUPS ? c.subgroup.subgroupSize : 0;
    vk->mma = woqi_vk_matrix_mma(device);
    woqi_vk_matrix_coop(device, &c.sizes, &vk->coop);
    woqi_vk_matrix_nv2(device, &c.matrix2, &vk->nv2);
    describe_limits(info, vk, &c);
}
