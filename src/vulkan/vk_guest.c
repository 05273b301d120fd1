/* vk_guest.c: the functions of woq/vulkan.h, for applications that own the Vulkan device. */
#include "vk_backend.h"

#include "../core/alloc.h"
#include "../core/check.h"

static enum woq_status check_guest(const struct woq_vulkan_params *guest)
{
    static const char function[] = "woq_vulkan_device_open";
    const struct {
        const char *name;
        bool given;
    } handles[] = {
        {"instance", guest->instance != NULL},
        {"physical_device", guest->physical_device != NULL},
        {"device", guest->device != NULL},
        {"queue", guest->queue != NULL},
        {"extensions", guest->extensions != NULL || !guest->extension_count},
    };
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        if (!handles[i].given)
            return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "%s: guest->%s is NULL", function,
                             handles[i].name);
    if (!guest->lock_queue != !guest->unlock_queue)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: guest has one of lock_queue and unlock_queue; give both or neither",
                         function);
    return WOQ_OK;
}

enum woq_status woq_vulkan_device_open(const struct woq_vulkan_params *guest,
                                       const struct woq_device_params *params,
                                       struct woq_device **out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    *out = NULL;
    st = WOQI_CHECK_NULL(NULL, guest);
    if (!st)
        st = WOQI_CHECK_STRUCT(NULL, guest);
    if (!st)
        st = check_guest(guest);
    return st ? st : woqi_device_open(&woqi_backend_vulkan, 0, guest, params, out);
}

static enum woq_status check_import(struct woq_device *device,
                                    const struct woq_vulkan_buffer *import)
{
    static const char function[] = "woq_vulkan_buffer_import";
    struct woqi_vk_device *vk = woqi_vk_of(device);
    if (!import->buffer)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "%s: import->buffer is VK_NULL_HANDLE",
                         function);
    if (import->offset % 256)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: import->offset is %llu; must be a multiple of 256", function,
                         (unsigned long long)import->offset);
    if (!import->size || import->size % 4)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: import->size is %llu; must be a multiple of 4 and at least 4",
                         function, (unsigned long long)import->size);
    if (!(import->usage & VK_BUFFER_USAGE_STORAGE_BUFFER_BIT))
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: import->usage is 0x%x; must have VK_BUFFER_USAGE_STORAGE_BUFFER_BIT",
                         function, import->usage);
    VkMemoryRequirements need;
    vk->fn.GetBufferMemoryRequirements(vk->handle, import->buffer, &need);
    if (import->offset > need.size || import->size > need.size - import->offset)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: import->offset %llu + size %llu exceeds the buffer's %llu bytes",
                         function, (unsigned long long)import->offset,
                         (unsigned long long)import->size, (unsigned long long)need.size);
    return WOQ_OK;
}

enum woq_status woq_vulkan_buffer_import(struct woq_device *device,
                                         const struct woq_vulkan_buffer *import,
                                         struct woq_buffer **out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    *out = NULL;
    if ((st = WOQI_CHECK_NULL(NULL, device)) || (st = WOQI_CHECK_NULL(device, import)) ||
        (st = WOQI_CHECK_STRUCT(device, import)))
        return st;
    if (device->backend != &woqi_backend_vulkan)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_vulkan_buffer_import: %s is no Vulkan device", device->info.selector);
    st = check_import(device, import);
    if (st)
        return st;
    struct woqi_vk_buffer *b = woqi_alloc(device, 1, sizeof *b);
    if (!b)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_vulkan_buffer_import: out of host memory");
    b->memory.buffer = import->buffer;
    b->offset = import->offset;
    b->usage = import->usage;
    b->id = atomic_fetch_add(&woqi_vk_of(device)->buffer_ids, 1) + 1;
    st = woqi_buffer_adopt(device, import->size, b, out);
    if (st)
        woqi_free(device, b);
    return st;
}

enum woq_status woq_vulkan_record(struct woq_commands *commands, const struct woq_binding *bindings,
                                  size_t count, VkCommandBuffer command_buffer)
{
    const struct woqi_vk_target target = {command_buffer};
    enum woq_status st = WOQI_CHECK_NULL(NULL, command_buffer);
    return st ? st : woqi_commands_record(commands, bindings, count, &woqi_backend_vulkan, &target);
}

VkBuffer woq_vulkan_buffer_native(const struct woq_buffer *buffer, uint64_t *offset)
{
    bool ours = buffer && buffer->device->backend == &woqi_backend_vulkan;
    if (offset)
        *offset = ours ? woqi_vk_buffer_of(buffer)->offset : 0;
    return ours ? woqi_vk_buffer_of(buffer)->memory.buffer : VK_NULL_HANDLE;
}
