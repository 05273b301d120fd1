/* buffer.c: device memory. */
#include "core.h"

#include "alloc.h"
#include "check.h"

static struct woq_buffer *new_buffer(struct woq_device *device, uint64_t size)
{
    struct woq_buffer *buffer = woqi_alloc(device, 1, sizeof *buffer);
    if (!buffer) {
        woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "buffer: out of host memory");
        return NULL;
    }
    buffer->device = device;
    buffer->size = size;
    atomic_init(&buffer->refs, 1);
    return buffer;
}

static enum woq_status check_create(struct woq_device *device,
                                    const struct woq_buffer_params *params)
{
    if (params->size == 0 || params->size > device->info.max_allocation)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_buffer_create: size is %llu; must be 1 … %llu (max_allocation)",
                         (unsigned long long)params->size,
                         (unsigned long long)device->info.max_allocation);
    if (params->flags & ~(uint32_t)WOQ_BUFFER_HOST_VISIBLE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_buffer_create: flags is 0x%x; only WOQ_BUFFER_HOST_VISIBLE is known",
                         (unsigned)params->flags);
    if ((params->flags & WOQ_BUFFER_HOST_VISIBLE) &&
        !(device->info.features & WOQ_FEATURE_HOST_MEMORY))
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED,
                         "woq_buffer_create: HOST_VISIBLE needs the feature host_memory, which %s "
                         "has not",
                         device->info.selector);
    return WOQ_OK;
}

enum woq_status woqi_buffer_create(struct woq_device *device, uint64_t size, uint32_t flags,
                                   struct woq_buffer **out)
{
    struct woq_buffer *buffer = new_buffer(device, size);
    if (!buffer)
        return WOQ_ERROR_OUT_OF_MEMORY;
    buffer->flags = flags;
    enum woq_status st = device->backend->buffer_create(buffer);
    if (st) {
        woqi_free(device, buffer);
        return st;
    }
    atomic_fetch_add(&device->used, size);
    woqi_device_ref(device);
    *out = buffer;
    return WOQ_OK;
}

enum woq_status woq_buffer_create(struct woq_device *device, const struct woq_buffer_params *params,
                                  struct woq_buffer **out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    *out = NULL;
    if ((st = WOQI_CHECK_NULL(NULL, device)) || (st = WOQI_CHECK_NULL(device, params)) ||
        (st = WOQI_CHECK_STRUCT(device, params)) || (st = check_create(device, params)))
        return st;
    return woqi_buffer_create(device, params->size, params->flags, out);
}

enum woq_status woqi_buffer_adopt(struct woq_device *device, uint64_t size, void *impl,
                                  struct woq_buffer **out)
{
    struct woq_buffer *buffer = new_buffer(device, size);
    if (!buffer)
        return WOQ_ERROR_OUT_OF_MEMORY;
    buffer->imported = true;
    buffer->impl = impl;
    woqi_device_ref(device);
    *out = buffer;
    return WOQ_OK;
}

void woqi_buffer_ref(struct woq_buffer *buffer)
{
    atomic_fetch_add(&buffer->refs, 1);
}

void woqi_buffer_unref(struct woq_buffer *buffer)
{
    if (!buffer || atomic_fetch_sub(&buffer->refs, 1) != 1)
        return;
    struct woq_device *device = buffer->device;
    if (!buffer->imported)
        atomic_fetch_sub(&device->used, buffer->size);
    device->backend->buffer_destroy(buffer);
    woqi_free(device, buffer);
    woqi_device_unref(device);
}

void woq_buffer_destroy(struct woq_buffer **buffer)
{
    if (!buffer || !*buffer)
        return;
    struct woq_buffer *taken = *buffer;
    *buffer = NULL;
    if (taken->mapped)
        woq_buffer_unmap(taken);
    woqi_buffer_unref(taken);
}

uint64_t woq_buffer_size(const struct woq_buffer *buffer)
{
    return buffer ? buffer->size : 0;
}

static enum woq_status check_transfer(const char *function, struct woq_buffer *buffer,
                                      uint64_t offset, const char *name, const void *host,
                                      uint64_t size)
{
    if (!buffer)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "%s: buffer is NULL", function);
    struct woq_device *device = buffer->device;
    if (!host && size)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function, name);
    if (offset > buffer->size || size > buffer->size - offset)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: offset %llu + size %llu exceeds the buffer's %llu bytes", function,
                         (unsigned long long)offset, (unsigned long long)size,
                         (unsigned long long)buffer->size);
    if (buffer->mapped)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "%s: buffer is mapped; unmap it first",
                         function);
    return WOQ_OK;
}

enum woq_status woq_buffer_write(struct woq_buffer *buffer, uint64_t offset, const void *source,
                                 uint64_t size)
{
    enum woq_status st = check_transfer(__func__, buffer, offset, "source", source, size);
    if (st || !size)
        return st;
    return buffer->device->backend->buffer_write(buffer, offset, source, size);
}

enum woq_status woq_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                uint64_t size)
{
    enum woq_status st = check_transfer(__func__, buffer, offset, "target", target, size);
    if (st || !size)
        return st;
    return buffer->device->backend->buffer_read(buffer, offset, target, size);
}

enum woq_status woq_buffer_map(struct woq_buffer *buffer, void **pointer)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, pointer);
    if (st)
        return st;
    *pointer = NULL;
    if ((st = WOQI_CHECK_NULL(NULL, buffer)))
        return st;
    if (buffer->mapped)
        return woqi_fail(buffer->device, WOQ_ERROR_INVALID_STATE,
                         "woq_buffer_map: buffer is mapped already");
    if (!(buffer->flags & WOQ_BUFFER_HOST_VISIBLE))
        return woqi_fail(buffer->device, WOQ_ERROR_UNSUPPORTED,
                         "woq_buffer_map: buffer was not created with WOQ_BUFFER_HOST_VISIBLE");
    st = buffer->device->backend->buffer_map(buffer, pointer);
    buffer->mapped = st == WOQ_OK;
    return st;
}

enum woq_status woq_buffer_unmap(struct woq_buffer *buffer)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, buffer);
    if (st)
        return st;
    if (!buffer->mapped)
        return woqi_fail(buffer->device, WOQ_ERROR_INVALID_STATE,
                         "woq_buffer_unmap: buffer is not mapped");
    st = buffer->device->backend->buffer_unmap(buffer);
    buffer->mapped = false;
    return st;
}
