/*
 * vk_memory.c: a VkBuffer with memory of its own, of the type that suits its use. Weights are one buffer a tile, so their
 * number stays far below maxMemoryAllocationCount (at least 4096).
 */
#include "vk_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/log.h"

/* Types that need a feature of their own, or are no ordinary memory. */
#define REFUSED_TYPES                                                                              \
    (VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |                  \
     VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD)

#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

int woqi_vk_memory_type(const struct woqi_vk_device *vk, uint32_t bits, enum woqi_vk_place place)
{
    /* In falling order of preference; all host memory is coherent, so nothing is ever flushed. */
    static const VkMemoryPropertyFlags wanted[][2] = {
        [WOQI_VK_DEVICE] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0},
        [WOQI_VK_SHARED] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VISIBLE |
                                VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                            VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VISIBLE},
        [WOQI_VK_UPLOAD] = {VISIBLE, VISIBLE},
        [WOQI_VK_READBACK] = {VISIBLE | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, VISIBLE},
        [WOQI_VK_ARGUMENTS] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VISIBLE, VISIBLE},
    };
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < vk->memory.memoryTypeCount; i++) {
            VkMemoryPropertyFlags flags = vk->memory.memoryTypes[i].propertyFlags;
            if ((bits >> i & 1) && !(flags & REFUSED_TYPES) &&
                (flags & wanted[place][pass]) == wanted[place][pass])
                return (int)i;
        }
    }
    return -1;
}

/* The driver need not check its own limit. */
static VkResult allocate(struct woqi_vk_device *vk, uint64_t size, int type, VkDeviceMemory *out)
{
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = vk->nv2.workgroup ? &flags : NULL,
        .allocationSize = size,
        .memoryTypeIndex = (uint32_t)type,
    };
    VkResult result = VK_ERROR_TOO_MANY_OBJECTS;
    if (atomic_fetch_add(&vk->allocations, 1) < vk->limits.maxMemoryAllocationCount)
        result = vk->fn.AllocateMemory(vk->handle, &info, NULL, out);
    if (result) {
        atomic_fetch_sub(&vk->allocations, 1);
        *out = VK_NULL_HANDLE;
    }
    return result;
}

/* Allocates memory for out->buffer and binds it. */
static enum woq_status back_buffer(struct woq_device *device, enum woqi_vk_place place,
                                   struct woqi_vk_memory *out)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkMemoryRequirements need;
    vk->fn.GetBufferMemoryRequirements(vk->handle, out->buffer, &need);
    int type = woqi_vk_memory_type(vk, need.memoryTypeBits, place);
    if (type < 0)
        return woqi_fail(device, WOQ_ERROR_DRIVER,
                         "vkGetBufferMemoryRequirements: no memory type of 0x%x serves (place %d)",
                         need.memoryTypeBits, (int)place);
    VkResult result = allocate(vk, need.size, type, &out->memory);
    int other = woqi_vk_memory_type(vk, need.memoryTypeBits, WOQI_VK_UPLOAD);
    if (result && place == WOQI_VK_ARGUMENTS && other != type) /* the window to device memory may be small */
        result = allocate(vk, need.size, other, &out->memory);
    if (result) {
        char call[64];
        snprintf(call, sizeof call, "vkAllocateMemory(%llu bytes)", (unsigned long long)need.size);
        return woqi_vk_fail(device, result, call);
    }
    result = vk->fn.BindBufferMemory(vk->handle, out->buffer, out->memory, 0);
    if (result)
        return woqi_vk_fail(device, result, "vkBindBufferMemory");
    if (place == WOQI_VK_DEVICE)
        return WOQ_OK;
    void *map = NULL;
    result = vk->fn.MapMemory(vk->handle, out->memory, 0, VK_WHOLE_SIZE, 0, &map);
    if (result)
        return woqi_vk_fail(device, result, "vkMapMemory");
    out->map = map;
    return WOQ_OK;
}

enum woq_status woqi_vk_memory_create(struct woq_device *device, uint64_t size,
                                      VkBufferUsageFlags usage, enum woqi_vk_place place,
                                      struct woqi_vk_memory *out)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    /* nv2.comp gets pointers to codes. */
    const VkBufferUsageFlags address = vk->nv2.workgroup ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = usage | address,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    memset(out, 0, sizeof *out);
    VkResult result = vk->fn.CreateBuffer(vk->handle, &info, NULL, &out->buffer);
    if (result) {
        out->buffer = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreateBuffer");
    }
    enum woq_status st = back_buffer(device, place, out);
    if (st)
        woqi_vk_memory_destroy(device, out);
    return st;
}

void woqi_vk_memory_destroy(struct woq_device *device, struct woqi_vk_memory *memory)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    if (memory->buffer)
        vk->fn.DestroyBuffer(vk->handle, memory->buffer, NULL);
    if (memory->memory) { /* unmaps */
        vk->fn.FreeMemory(vk->handle, memory->memory, NULL);
        atomic_fetch_sub(&vk->allocations, 1);
    }
    memset(memory, 0, sizeof *memory);
}
