/* vk_buffer.c: buffers of the caller and of the library. */
#include "vk_backend.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"

#define BUFFER_USAGE                                                                               \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |                       \
     VK_BUFFER_USAGE_TRANSFER_DST_BIT)

enum woq_status woqi_vk_buffer_create(struct woq_buffer *buffer)
{
    struct woq_device *device = buffer->device;
    bool overflow = false;
    uint64_t size = woqi_align_up(buffer->size, 4, &overflow);
    if (overflow)
        return woqi_fail(device, WOQ_ERROR_OVERFLOW, "buffer of %llu bytes: size overflows",
                         (unsigned long long)buffer->size);
    struct woqi_vk_buffer *b = woqi_alloc(device, 1, sizeof *b);
    if (!b)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "buffer: out of host memory");
    /* Where memory is shared every buffer is mapped, so that transfers are plain copies. */
    enum woqi_vk_place place = device->info.features & WOQ_FEATURE_HOST_MEMORY ? WOQI_VK_SHARED
                                                                               : WOQI_VK_DEVICE;
    enum woq_status st = woqi_vk_memory_create(device, size, BUFFER_USAGE, place, &b->memory);
    if (st) {
        woqi_free(device, b);
        return st;
    }
    b->usage = BUFFER_USAGE;
    b->id = atomic_fetch_add(&woqi_vk_of(device)->buffer_ids, 1) + 1;
    buffer->impl = b;
    return WOQ_OK;
}

void woqi_vk_buffer_destroy(struct woq_buffer *buffer)
{
    struct woqi_vk_buffer *b = woqi_vk_buffer_of(buffer);
    if (!b)
        return;
    if (!buffer->imported)
        woqi_vk_memory_destroy(buffer->device, &b->memory);
    woqi_free(buffer->device, b);
    buffer->impl = NULL;
}

static enum woq_status check_usage(struct woq_buffer *buffer, VkBufferUsageFlags flag,
                                   const char *name)
{
    if (woqi_vk_buffer_of(buffer)->usage & flag)
        return WOQ_OK;
    return woqi_fail(buffer->device, WOQ_ERROR_INVALID_ARGUMENT,
                     "the buffer was imported without the usage %s", name);
}

enum woq_status woqi_vk_buffer_write(struct woq_buffer *buffer, uint64_t offset, const void *source,
                                     uint64_t size)
{
    struct woqi_vk_buffer *b = woqi_vk_buffer_of(buffer);
    if (b->memory.map) {
        enum woq_status st = woqi_vk_drain(buffer->device);
        if (!st)
            memcpy(b->memory.map + offset, source, (size_t)size);
        return st;
    }
    enum woq_status st = check_usage(buffer, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                     "VK_BUFFER_USAGE_TRANSFER_DST_BIT");
    if (st)
        return st;
    return woqi_vk_upload(buffer->device, b->memory.buffer, b->offset + offset, source, size);
}

enum woq_status woqi_vk_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                    uint64_t size)
{
    struct woqi_vk_buffer *b = woqi_vk_buffer_of(buffer);
    if (b->memory.map) {
        enum woq_status st = woqi_vk_drain(buffer->device);
        if (!st)
            memcpy(target, b->memory.map + offset, (size_t)size);
        return st;
    }
    enum woq_status st = check_usage(buffer, VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                                     "VK_BUFFER_USAGE_TRANSFER_SRC_BIT");
    if (st)
        return st;
    return woqi_vk_download(buffer->device, b->memory.buffer, b->offset + offset, target, size);
}

/* Buffers of devices with HOST_MEMORY are mapped all their life; minMemoryMapAlignment is at
 * least 64. */
enum woq_status woqi_vk_buffer_map(struct woq_buffer *buffer, void **pointer)
{
    enum woq_status st = woqi_vk_drain(buffer->device);
    if (!st)
        *pointer = woqi_vk_buffer_of(buffer)->memory.map;
    return st;
}

enum woq_status woqi_vk_buffer_unmap(struct woq_buffer *buffer)
{
    (void)buffer;
    return WOQ_OK;
}
