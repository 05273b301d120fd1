/*
 * radv_statistics.c: asks for statistics in the library's name. The linker's --wrap puts the loader below in place
 * of the library's own; it enables the extension in each device, and captures at each pipeline.
 */
#include "radv_statistics.h"

#include <stddef.h>
#include <string.h>

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>

#define MAX_NAMES      32
#define MAX_STATISTICS 64

PFN_vkGetInstanceProcAddr __real_woqi_vk_loader(const char **reason);
PFN_vkGetInstanceProcAddr __wrap_woqi_vk_loader(const char **reason);

static PFN_vkGetInstanceProcAddr real_get;
static PFN_vkCreateDevice real_create_device;
static PFN_vkGetDeviceProcAddr real_get_device;
static PFN_vkCreateComputePipelines real_create_pipelines;
static struct pipeline_statistics last;
static bool told;

bool radv_statistics_last(struct pipeline_statistics *out)
{
    *out = last;
    return told;
}

static void read_statistics(VkDevice device, VkPipeline pipeline)
{
    const PFN_vkGetPipelineExecutablePropertiesKHR get_properties =
        (PFN_vkGetPipelineExecutablePropertiesKHR)real_get_device(
            device, "vkGetPipelineExecutablePropertiesKHR");
    const PFN_vkGetPipelineExecutableStatisticsKHR get_statistics =
        (PFN_vkGetPipelineExecutableStatisticsKHR)real_get_device(
            device, "vkGetPipelineExecutableStatisticsKHR");
    const VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR,
                                    .pipeline = pipeline};
    const VkPipelineExecutableInfoKHR first = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutablePropertiesKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    VkPipelineExecutableStatisticKHR list[MAX_STATISTICS];
    uint32_t one = 1, count = MAX_STATISTICS;
    memset(&last, 0, sizeof(last));
    memset(list, 0, sizeof(list));
    told = false;
    for (uint32_t i = 0; i < MAX_STATISTICS; i++)
        list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    if (!get_properties || !get_statistics || get_properties(device, &info, &one, &executable) < 0 ||
        !one || get_statistics(device, &first, &count, list) < 0)
        return;
    const struct {
        const char *name;
        uint64_t *value;
    } wanted[] = {
        {"VGPRs", &last.vgprs},
        {"Spilled VGPRs", &last.spilled_vgprs},
        {"Spilled SGPRs", &last.spilled_sgprs},
        {"Scratch size", &last.scratch},
        {"LDS size", &last.lds},
        {"Code size", &last.code},
        {"Subgroups per SIMD", &last.subgroups},
        {"Inverse Throughput", &last.inverse_throughput},
    };
    for (uint32_t i = 0; i < count; i++)
        for (size_t j = 0; j < sizeof(wanted) / sizeof(*wanted); j++)
            if (!strcmp(list[i].name, wanted[j].name))
                *wanted[j].value = list[i].value.u64;
    last.subgroup_size = executable.subgroupSize;
    told = last.vgprs != 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL on_create_pipelines(VkDevice device, VkPipelineCache cache,
                                                          uint32_t count,
                                                          const VkComputePipelineCreateInfo *infos,
                                                          const VkAllocationCallbacks *allocator,
                                                          VkPipeline *pipelines)
{
    VkComputePipelineCreateInfo info = infos[0];
    info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    if (count != 1) /* the library makes them one by one */
        return VK_ERROR_UNKNOWN;
    const VkResult result = real_create_pipelines(device, cache, 1, &info, allocator, pipelines);
    if (!result)
        read_statistics(device, pipelines[0]);
    return result;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL on_get_device(VkDevice device, const char *name)
{
    const PFN_vkVoidFunction function = real_get_device(device, name);
    if (strcmp(name, "vkCreateComputePipelines"))
        return function;
    real_create_pipelines = (PFN_vkCreateComputePipelines)function;
    return (PFN_vkVoidFunction)on_create_pipelines;
}

static VKAPI_ATTR VkResult VKAPI_CALL on_create_device(VkPhysicalDevice physical,
                                                       const VkDeviceCreateInfo *given,
                                                       const VkAllocationCallbacks *allocator,
                                                       VkDevice *device)
{
    const char *names[MAX_NAMES];
    VkDeviceCreateInfo info = *given;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)given->pNext,
        .pipelineExecutableInfo = VK_TRUE,
    };
    if (given->enabledExtensionCount >= MAX_NAMES)
        return VK_ERROR_UNKNOWN;
    for (uint32_t i = 0; i < given->enabledExtensionCount; i++)
        names[i] = given->ppEnabledExtensionNames[i];
    names[info.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    info.ppEnabledExtensionNames = names;
    info.pNext = &feature;
    return real_create_device(physical, &info, allocator, device);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL on_get(VkInstance instance, const char *name)
{
    const PFN_vkVoidFunction function = real_get(instance, name);
    if (function && !strcmp(name, "vkCreateDevice")) {
        real_create_device = (PFN_vkCreateDevice)function;
        return (PFN_vkVoidFunction)on_create_device;
    }
    if (function && !strcmp(name, "vkGetDeviceProcAddr")) {
        real_get_device = (PFN_vkGetDeviceProcAddr)function;
        return (PFN_vkVoidFunction)on_get_device;
    }
    return function;
}

PFN_vkGetInstanceProcAddr __wrap_woqi_vk_loader(const char **reason)
{
    real_get = __real_woqi_vk_loader(reason);
    return real_get ? on_get : NULL;
}
