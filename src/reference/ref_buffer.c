/* ref_buffer.c: device memory is host memory. */
#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"
#include "ref_backend.h"

#define ALIGNMENT 64 /* bytes, as woq_buffer_map promises */

/* impl is the allocation; the first aligned address in it is the buffer. */
static uint8_t *address(const struct woq_buffer *buffer)
{
    uintptr_t at = (uintptr_t)buffer->impl;
    return (uint8_t *)buffer->impl + (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
}

enum woq_status woqi_ref_buffer_create(struct woq_buffer *buffer)
{
    bool over = false;
    uint64_t bytes = woqi_add(buffer->size, ALIGNMENT + 3, &over);
    if (!over && bytes <= SIZE_MAX)
        buffer->impl = woqi_alloc(buffer->device, 1, (size_t)bytes);
    if (!buffer->impl)
        return woqi_fail(buffer->device, WOQ_ERROR_OUT_OF_MEMORY,
                         "buffer of %llu bytes: out of memory", (unsigned long long)buffer->size);
    return WOQ_OK;
}

void woqi_ref_buffer_destroy(struct woq_buffer *buffer)
{
    woqi_free(buffer->device, buffer->impl);
    buffer->impl = NULL;
}

enum woq_status woqi_ref_buffer_write(struct woq_buffer *buffer, uint64_t offset,
                                      const void *source, uint64_t size)
{
    memcpy(address(buffer) + offset, source, (size_t)size);
    return WOQ_OK;
}

enum woq_status woqi_ref_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                     uint64_t size)
{
    memcpy(target, address(buffer) + offset, (size_t)size);
    return WOQ_OK;
}

enum woq_status woqi_ref_buffer_map(struct woq_buffer *buffer, void **pointer)
{
    *pointer = address(buffer);
    return WOQ_OK;
}

enum woq_status woqi_ref_buffer_unmap(struct woq_buffer *buffer)
{
    (void)buffer;
    return WOQ_OK;
}
