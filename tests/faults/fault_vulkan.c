/*
 * fault_vulkan.c: wrappers of what the library calls that can fail. Functions of every device are the
 * Vulkan loader's own, which find the driver by their first argument.
 *
 * The usual codes are ones that the function may return, and, where the library tells them apart, the
 * one of interest.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "fault_vulkan.h"

enum kind {
    INSTANCE, DEVICE, BUFFER, MEMORY, FENCE, QUERY_POOL, MODULE, CACHE, PIPELINE, PIPELINE_LAYOUT,
    SET_LAYOUT, DESCRIPTOR_POOL, COMMAND_POOL, KINDS
};

static const char *const kind_names[KINDS] = {
    "instance", "device", "buffer", "memory", "fence", "query pool", "shader module",
    "pipeline cache", "pipeline", "pipeline layout", "set layout", "descriptor pool", "command pool"};

struct fault_control fault_vulkan = {.countdown = -1};
static atomic_int_least64_t held[KINDS];

int64_t fault_vulkan_balance(char *words, size_t size)
{
    int64_t sum = 0;
    size_t used = 0;
    words[0] = 0;
    for (int i = 0; i < KINDS; i++) {
        const int64_t count = atomic_load(&held[i]);
        sum += count < 0 ? -count : count;
        if (count && used < size)
            used += (size_t)snprintf(words + used, size - used, " %s %lld", kind_names[i],
                                     (long long)count);
    }
    return sum;
}

static VkResult took(enum kind kind, VkResult result)
{
    if (!result)
        atomic_fetch_add(&held[kind], 1);
    return result;
}

#define STATUS(name, usual, params, args)                                                          \
    static VKAPI_ATTR VkResult VKAPI_CALL on_##name params                                         \
    {                                                                                              \
        const int code = fault_inject(&fault_vulkan, #name, usual);                                \
        return code ? (VkResult)code : name args;                                                  \
    }

#define CREATE(name, kind, usual, params, args)                                                    \
    static VKAPI_ATTR VkResult VKAPI_CALL on_##name params                                         \
    {                                                                                              \
        const int code = fault_inject(&fault_vulkan, #name, usual);                                \
        return code ? (VkResult)code : took(kind, name args);                                      \
    }

/* Of a device, from one struct of parameters. */
#define CREATE_OF(type, kind, usual)                                                               \
    CREATE(vkCreate##type, kind, usual,                                                            \
           (VkDevice d, const Vk##type##CreateInfo *info, const VkAllocationCallbacks *a,          \
            Vk##type *out),                                                                        \
           (d, info, a, out))

#define DESTROY(name, kind, type)                                                                  \
    static VKAPI_ATTR void VKAPI_CALL on_##name(VkDevice d, type object,                           \
                                                const VkAllocationCallbacks *a)                    \
    {                                                                                              \
        atomic_fetch_sub(&held[kind], object ? 1 : 0);                                             \
        name(d, object, a);                                                                        \
    }

CREATE(vkCreateInstance, INSTANCE, VK_ERROR_INCOMPATIBLE_DRIVER,
       (const VkInstanceCreateInfo *info, const VkAllocationCallbacks *a, VkInstance *out),
       (info, a, out))
CREATE(vkCreateDevice, DEVICE, VK_ERROR_INITIALIZATION_FAILED,
       (VkPhysicalDevice p, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *a,
        VkDevice *out),
       (p, info, a, out))
STATUS(vkEnumeratePhysicalDevices, VK_ERROR_INITIALIZATION_FAILED,
       (VkInstance i, uint32_t *count, VkPhysicalDevice *out), (i, count, out))
STATUS(vkEnumerateDeviceExtensionProperties, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkPhysicalDevice p, const char *layer, uint32_t *count, VkExtensionProperties *out),
       (p, layer, count, out))

CREATE(vkAllocateMemory, MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkDevice d, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *a,
        VkDeviceMemory *out),
       (d, info, a, out))
CREATE_OF(Buffer, BUFFER, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE_OF(Fence, FENCE, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE_OF(QueryPool, QUERY_POOL, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE_OF(ShaderModule, MODULE, VK_ERROR_INVALID_SHADER_NV)
CREATE_OF(PipelineCache, CACHE, VK_ERROR_UNKNOWN)
CREATE_OF(PipelineLayout, PIPELINE_LAYOUT, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE_OF(DescriptorSetLayout, SET_LAYOUT, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE_OF(DescriptorPool, DESCRIPTOR_POOL, VK_ERROR_FRAGMENTATION)
CREATE_OF(CommandPool, COMMAND_POOL, VK_ERROR_OUT_OF_DEVICE_MEMORY)
CREATE(vkCreateComputePipelines, PIPELINE, VK_ERROR_UNKNOWN,
       (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *info,
        const VkAllocationCallbacks *a, VkPipeline *out),
       (d, c, n, info, a, out))

DESTROY(vkFreeMemory, MEMORY, VkDeviceMemory)
DESTROY(vkDestroyBuffer, BUFFER, VkBuffer)
DESTROY(vkDestroyFence, FENCE, VkFence)
DESTROY(vkDestroyQueryPool, QUERY_POOL, VkQueryPool)
DESTROY(vkDestroyShaderModule, MODULE, VkShaderModule)
DESTROY(vkDestroyPipelineCache, CACHE, VkPipelineCache)
DESTROY(vkDestroyPipeline, PIPELINE, VkPipeline)
DESTROY(vkDestroyPipelineLayout, PIPELINE_LAYOUT, VkPipelineLayout)
DESTROY(vkDestroyDescriptorSetLayout, SET_LAYOUT, VkDescriptorSetLayout)
DESTROY(vkDestroyDescriptorPool, DESCRIPTOR_POOL, VkDescriptorPool)
DESTROY(vkDestroyCommandPool, COMMAND_POOL, VkCommandPool)

static VKAPI_ATTR void VKAPI_CALL on_vkDestroyInstance(VkInstance i, const VkAllocationCallbacks *a)
{
    atomic_fetch_sub(&held[INSTANCE], i ? 1 : 0);
    vkDestroyInstance(i, a);
}

static VKAPI_ATTR void VKAPI_CALL on_vkDestroyDevice(VkDevice d, const VkAllocationCallbacks *a)
{
    atomic_fetch_sub(&held[DEVICE], d ? 1 : 0);
    vkDestroyDevice(d, a);
}

STATUS(vkBindBufferMemory, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize o), (d, b, m, o))
STATUS(vkMapMemory, VK_ERROR_MEMORY_MAP_FAILED,
       (VkDevice d, VkDeviceMemory m, VkDeviceSize o, VkDeviceSize s, VkMemoryMapFlags f, void **p),
       (d, m, o, s, f, p))
STATUS(vkResetFences, VK_ERROR_OUT_OF_DEVICE_MEMORY, (VkDevice d, uint32_t n, const VkFence *f),
       (d, n, f))
STATUS(vkGetQueryPoolResults, VK_ERROR_DEVICE_LOST,
       (VkDevice d, VkQueryPool p, uint32_t first, uint32_t n, size_t size, void *data,
        VkDeviceSize stride, VkQueryResultFlags flags),
       (d, p, first, n, size, data, stride, flags))
STATUS(vkGetPipelineCacheData, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkDevice d, VkPipelineCache c, size_t *size, void *data), (d, c, size, data))
STATUS(vkAllocateDescriptorSets, VK_ERROR_OUT_OF_POOL_MEMORY,
       (VkDevice d, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out), (d, info, out))
STATUS(vkAllocateCommandBuffers, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkDevice d, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out), (d, info, out))
STATUS(vkBeginCommandBuffer, VK_ERROR_OUT_OF_DEVICE_MEMORY,
       (VkCommandBuffer c, const VkCommandBufferBeginInfo *info), (c, info))
STATUS(vkQueueSubmit, VK_ERROR_DEVICE_LOST,
       (VkQueue q, uint32_t n, const VkSubmitInfo *info, VkFence f), (q, n, info, f))

/* The recording itself ends, so that the command buffer is not left open. */
static VKAPI_ATTR VkResult VKAPI_CALL on_vkEndCommandBuffer(VkCommandBuffer c)
{
    const int code = fault_inject(&fault_vulkan, "vkEndCommandBuffer", VK_ERROR_OUT_OF_DEVICE_MEMORY);
    const VkResult result = vkEndCommandBuffer(c);
    return code ? (VkResult)code : result;
}

static VKAPI_ATTR VkResult VKAPI_CALL on_vkWaitForFences(VkDevice d, uint32_t n, const VkFence *f,
                                                         VkBool32 all, uint64_t timeout)
{
    const int code = fault_inject(&fault_vulkan, "vkWaitForFences", VK_ERROR_DEVICE_LOST);
    if (code == VK_TIMEOUT)
        return VK_TIMEOUT;
    const VkResult result = vkWaitForFences(d, n, f, all, code ? UINT64_MAX : timeout);
    return code ? VK_ERROR_DEVICE_LOST : result;
}

#define WRAPPED(F)                                                                                 \
    F(vkCreateInstance) F(vkCreateDevice) F(vkEnumeratePhysicalDevices)                            \
    F(vkEnumerateDeviceExtensionProperties) F(vkAllocateMemory) F(vkCreateBuffer)                  \
    F(vkCreateFence) F(vkCreateQueryPool) F(vkCreateShaderModule) F(vkCreatePipelineCache)         \
    F(vkCreatePipelineLayout) F(vkCreateDescriptorSetLayout) F(vkCreateDescriptorPool)             \
    F(vkCreateCommandPool) F(vkCreateComputePipelines) F(vkFreeMemory) F(vkDestroyBuffer)          \
    F(vkDestroyFence) F(vkDestroyQueryPool) F(vkDestroyShaderModule) F(vkDestroyPipelineCache)     \
    F(vkDestroyPipeline) F(vkDestroyPipelineLayout) F(vkDestroyDescriptorSetLayout)                \
    F(vkDestroyDescriptorPool) F(vkDestroyCommandPool) F(vkDestroyInstance) F(vkDestroyDevice)     \
    F(vkBindBufferMemory) F(vkMapMemory) F(vkResetFences) F(vkGetQueryPoolResults)                 \
    F(vkGetPipelineCacheData) F(vkAllocateDescriptorSets) F(vkAllocateCommandBuffers)              \
    F(vkBeginCommandBuffer) F(vkEndCommandBuffer) F(vkQueueSubmit) F(vkWaitForFences)

static PFN_vkVoidFunction find(const char *name)
{
#define FIND(function)                                                                             \
    if (!strcmp(name, #function))                                                                  \
        return (PFN_vkVoidFunction)on_##function;
    WRAPPED(FIND)
#undef FIND
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char *name)
{
    const PFN_vkVoidFunction wrapper = find(name);
    return wrapper ? wrapper : vkGetDeviceProcAddr(device, name);
}

PFN_vkVoidFunction VKAPI_CALL fault_vulkan_get_proc(VkInstance instance, const char *name)
{
    if (!strcmp(name, "vkGetDeviceProcAddr"))
        return (PFN_vkVoidFunction)get_device_proc;
    const PFN_vkVoidFunction wrapper = find(name);
    return wrapper ? wrapper : vkGetInstanceProcAddr(instance, name);
}
