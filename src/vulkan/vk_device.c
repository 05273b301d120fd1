/* vk_device.c: finding, opening and closing devices; the backend's table. */
#include "vk_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"

/* ---- enumeration ---- */

#define MAX_PHYSICAL 64

static VkResult list_physical(const struct woqi_vk_instance *instance,
                              VkPhysicalDevice physical[MAX_PHYSICAL], uint32_t *count)
{
    *count = MAX_PHYSICAL;
    VkResult result = instance->fn.EnumeratePhysicalDevices(instance->handle, count, physical);
    return result == VK_INCOMPLETE ? VK_SUCCESS : result;
}

/* Why a physical device cannot serve; NULL if it can. */
static const char *refusal(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                           const VkPhysicalDeviceProperties *properties, uint32_t *family)
{
    if (properties->apiVersion < VK_API_VERSION_1_1)
        return "its driver is older than Vulkan 1.1";
    if (!woqi_vk_compute_family(instance, physical, family))
        return "it has no queue for compute";
    return NULL;
}

static void emit_device(struct woqi_enumeration *out, const struct woqi_vk_instance *instance,
                        const struct woqi_vk_extensions *extensions, VkPhysicalDevice physical,
                        uint32_t index)
{
    struct woq_device_entry entry = {.backend = WOQ_BACKEND_VULKAN, .index = index};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceProperties *p = &properties.properties;
    uint32_t family;
    instance->fn.GetPhysicalDeviceProperties(physical, p);
    const char *reason = refusal(instance, physical, p, &family);
    if ((p->apiVersion >= VK_API_VERSION_1_2 && instance->api >= VK_API_VERSION_1_2) ||
        woqi_vk_has(extensions, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        properties.pNext = &driver;
        instance->fn.GetPhysicalDeviceProperties2(physical, &properties);
    }
    entry.kind = woqi_vk_kind(p);
    entry.usable = !reason;
    snprintf(entry.name, sizeof entry.name, "%.127s", p->deviceName);
    if (driver.driverName[0])
        snprintf(entry.driver, sizeof entry.driver, "%.60s %.60s", driver.driverName,
                 driver.driverInfo);
    else
        snprintf(entry.driver, sizeof entry.driver, "driver 0x%x", p->driverVersion);
    if (reason)
        snprintf(entry.reason, sizeof entry.reason, "%s", reason);
    out->emit(out, &entry);
}

static void emit_refusal(struct woqi_enumeration *out, const char *reason)
{
    struct woq_device_entry entry = {.backend = WOQ_BACKEND_VULKAN};
    snprintf(entry.reason, sizeof entry.reason, "%s", reason);
    out->emit(out, &entry);
}

static enum woq_status enumerate(struct woqi_enumeration *out)
{
    struct woqi_vk_instance instance = {0};
    VkPhysicalDevice physical[MAX_PHYSICAL];
    uint32_t count = 0;
    const char *reason = NULL;
    enum woq_status st = woqi_vk_instance_create(&instance, NULL, false, &reason);
    if (st) {
        if (st == WOQ_ERROR_OUT_OF_MEMORY)
            return st;
        emit_refusal(out, reason);
        return WOQ_OK;
    }
    VkResult result = list_physical(&instance, physical, &count);
    if (result || !count)
        emit_refusal(out,
                     result ? woqi_vk_result_name(result) : "the Vulkan drivers have no device");
    for (uint32_t i = 0; !result && !st && i < count; i++) {
        struct woqi_vk_extension_list list;
        VkResult listed = woqi_vk_list_extensions(&instance, physical[i], &woqi_default_allocator,
                                                  &list);
        if (listed == VK_ERROR_OUT_OF_HOST_MEMORY)
            st = WOQ_ERROR_OUT_OF_MEMORY;
        else
            emit_device(out, &instance, &list.extensions, physical[i], i);
        woqi_vk_free_extensions(&woqi_default_allocator, &list);
    }
    woqi_vk_instance_destroy(&instance);
    return st;
}

/* ---- opening ---- */

static bool validation_wanted(void)
{
    const char *text = getenv("WOQ_VULKAN_VALIDATION");
    return text && !strcmp(text, "1");
}

/* Instance, physical device, family and logical device of our own. */
static enum woq_status open_own(struct woq_device *device, uint32_t index,
                                struct woqi_vk_extension_list *list)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkPhysicalDevice physical[MAX_PHYSICAL];
    VkPhysicalDeviceProperties properties;
    uint32_t count = 0;
    const char *reason = NULL;
    enum woq_status st = woqi_vk_instance_create(&vk->instance, device, validation_wanted(),
                                                 &reason);
    if (st) /* other failures have said themselves what they are */
        return st == WOQ_ERROR_NO_DEVICE ? woqi_fail(device, st, "vulkan:%u: %s", index, reason)
                                         : st;
    VkResult result = list_physical(&vk->instance, physical, &count);
    if (result)
        return woqi_vk_fail(device, result, "vkEnumeratePhysicalDevices");
    if (index >= count)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "vulkan:%u: there are %u Vulkan devices",
                         index, count);
    vk->physical = physical[index];
    vk->instance.fn.GetPhysicalDeviceProperties(vk->physical, &properties);
    reason = refusal(&vk->instance, vk->physical, &properties, &vk->family);
    if (reason)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "vulkan:%u: %s: %s", index,
                         properties.deviceName, reason);
    result = woqi_vk_list_extensions(&vk->instance, vk->physical, &device->allocator, list);
    if (result)
        return woqi_vk_fail(device, result, "vkEnumerateDeviceExtensionProperties");
    woqi_vk_caps_offered(&vk->instance, vk->physical, &list->extensions, &vk->caps);
    result = woqi_vk_create_device(vk, &list->extensions);
    return result ? woqi_vk_fail(device, result, "vkCreateDevice") : WOQ_OK;
}

static enum woq_status open_guest(struct woq_device *device, const struct woq_vulkan_params *guest,
                                  struct woqi_vk_extension_list *list)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    const char *reason = NULL;
    vk->borrowed = true;
    vk->physical = guest->physical_device;
    vk->handle = guest->device;
    vk->family = guest->queue_family;
    vk->queue = guest->queue;
    vk->lock_queue = guest->lock_queue;
    vk->unlock_queue = guest->unlock_queue;
    vk->lock_user = guest->user;
    enum woq_status st = woqi_vk_instance_adopt(&vk->instance, guest, &reason);
    if (st)
        return woqi_fail(device, st, "woq_vulkan_device_open: %s", reason);

    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vk->instance.fn.GetPhysicalDeviceQueueFamilyProperties(vk->physical, &count, families);
    if (vk->family >= count || !(families[vk->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_vulkan_device_open: queue_family is %u; must be below %u and have "
                         "VK_QUEUE_COMPUTE_BIT",
                         vk->family, count);
    VkResult result = woqi_vk_list_extensions(&vk->instance, vk->physical, &device->allocator,
                                              list);
    if (result)
        return woqi_vk_fail(device, result, "vkEnumerateDeviceExtensionProperties");
    woqi_vk_caps_enabled(&vk->instance, vk->physical, guest, &vk->caps);
    if (vk->caps.api < VK_API_VERSION_1_1)
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED,
                         "woq_vulkan_device_open: the physical device is below Vulkan 1.1");
    return WOQ_OK;
}

static void close_device(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    if (!vk)
        return;
    if (vk->handle && vk->fn.DestroyDevice) {
        if (atomic_load(&vk->submitted))
            woqi_vk_drain(device); /* its failure, a lost device, leaves nothing to wait for */
        woqi_vk_transfer_close(device);
        woqi_vk_kernels_close(device);
    }
    if (vk->handle && !vk->borrowed) {
        /* Not from the table, which may be what could not be loaded. */
        PFN_vkDestroyDevice destroy = (PFN_vkDestroyDevice)vk->instance.fn.GetDeviceProcAddr(
            vk->handle, "vkDestroyDevice");
        if (destroy)
            destroy(vk->handle, NULL);
    }
    woqi_vk_instance_destroy(&vk->instance);
    pthread_mutex_destroy(&vk->transfer.lock);
    pthread_mutex_destroy(&vk->queue_lock);
    pthread_mutex_destroy(&vk->cache_lock);
    woqi_free(device, vk);
    device->impl = NULL;
}

static enum woq_status open_device(struct woq_device *device, uint32_t index, const void *guest)
{
    struct woqi_vk_extension_list list = {0};
    const char *missing = NULL;
    struct woqi_vk_device *vk = woqi_alloc(device, 1, sizeof *vk);
    if (!vk)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "vulkan:%u: out of host memory", index);
    device->impl = vk;
    pthread_mutex_init(&vk->queue_lock, NULL);
    pthread_mutex_init(&vk->cache_lock, NULL);
    pthread_mutex_init(&vk->transfer.lock, NULL);

    enum woq_status st = guest ? open_guest(device, guest, &list) : open_own(device, index, &list);
    if (!st && !woqi_vk_load_device(vk, &missing))
        st = woqi_fail(device, WOQ_ERROR_NO_DEVICE, "vulkan:%u: %s", index, missing);
    if (st)
        goto fail;
    if (!guest)
        vk->fn.GetDeviceQueue(vk->handle, vk->family, 0, &vk->queue);
    woqi_vk_describe(device, &list.extensions);
    st = woqi_vk_kernels_open(device);
    if (st)
        goto fail;
    woqi_vk_free_extensions(&device->allocator, &list);
    return WOQ_OK;
fail:
    woqi_vk_free_extensions(&device->allocator, &list);
    close_device(device);
    return st;
}

/* ---- queries ---- */

static enum woq_status memory(struct woq_device *device, uint64_t *total, uint64_t *available)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    uint64_t used = atomic_load(&device->used);
    *total = device->info.memory;
    *available = used < *total ? *total - used : 0;
    if (!vk->caps.memory_budget)
        return WOQ_OK;
    vk->instance.fn.GetPhysicalDeviceMemoryProperties2(vk->physical, &properties);
    *available = 0;
    for (uint32_t i = 0; i < vk->memory.memoryHeapCount; i++)
        if ((vk->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            budget.heapBudget[i] > budget.heapUsage[i])
            *available += budget.heapBudget[i] - budget.heapUsage[i];
    return WOQ_OK;
}

static enum woqi_layout choose_layout(struct woq_device *device, const struct woq_format *format)
{
    (void)device, (void)format;
    return WOQI_LAYOUT_FRAG16B;
}

const struct woqi_backend woqi_backend_vulkan = {
    .id = WOQ_BACKEND_VULKAN,
    .enumerate = enumerate,
    .open = open_device,
    .close = close_device,
    .memory = memory,
    .buffer_create = woqi_vk_buffer_create,
    .buffer_destroy = woqi_vk_buffer_destroy,
    .buffer_write = woqi_vk_buffer_write,
    .buffer_read = woqi_vk_buffer_read,
    .buffer_map = woqi_vk_buffer_map,
    .buffer_unmap = woqi_vk_buffer_unmap,
    .layout = choose_layout,
    .kernel_probe = woqi_vk_kernel_probe,
    .kernel_create = woqi_vk_kernel_create,
    .kernel_destroy = woqi_vk_kernel_destroy,
    .sequence_create = woqi_vk_sequence_create,
    .sequence_submit = woqi_vk_sequence_submit,
    .sequence_wait = woqi_vk_sequence_wait,
    .sequence_times = woqi_vk_sequence_times,
    .sequence_destroy = woqi_vk_sequence_destroy,
    .record = woqi_vk_record,
    .record_release = woqi_vk_record_release,
};
