/*
 * cu_buffer.c: device memory and transfers.
 *
 * Memory is plain cuMemAlloc, never managed. Transfers go through the device's stream, behind all
 * that was submitted before, and block until done; the driver stages pageable host memory itself.
 */
#include <inttypes.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/check.h"
#include "cu_backend.h"

#define GRANULE 256 /* bytes; sizes are rounded up so that whole bindings lie in their allocation */

enum woq_status woqi_cu_buffer_create(struct woq_buffer *buffer)
{
    struct woq_device *device = buffer->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    bool overflow = false;
    uint64_t size = woqi_align_up(buffer->size, GRANULE, &overflow);
    if (overflow || size > SIZE_MAX)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
                         "woq_buffer_create: no device holds %" PRIu64 " bytes", buffer->size);
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUdeviceptr pointer = 0;
    CUresult result = cu->api->mem_alloc(&pointer, (size_t)size);
    if (result)
        st = woqi_cu_fail(device, result, "cuMemAlloc(%" PRIu64 " bytes)", size);
    else
        buffer->impl = (void *)(uintptr_t)pointer;
    woqi_cu_leave(device);
    return st;
}

void woqi_cu_buffer_destroy(struct woq_buffer *buffer)
{
    struct woq_device *device = buffer->device;
    if (buffer->impl && !buffer->imported && !woqi_cu_enter(device)) {
        woqi_cu_device(device)->api->mem_free(woqi_cu_pointer(buffer));
        woqi_cu_leave(device);
    }
    buffer->impl = NULL;
}

enum woq_status woqi_cu_buffer_write(struct woq_buffer *buffer, uint64_t offset, const void *source,
                                     uint64_t size)
{
    struct woq_device *device = buffer->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = cu->api->memcpy_h_to_d_async(woqi_cu_pointer(buffer) + offset, source,
                                                   (size_t)size, cu->stream);
    if (result) {
        st = woqi_cu_fail(device, result, "cuMemcpyHtoDAsync(%" PRIu64 " bytes)", size);
        goto leave;
    }
    result = cu->api->stream_synchronize(cu->stream);
    if (result)
        st = woqi_cu_fail(device, result, "cuStreamSynchronize, after a write");
leave:
    woqi_cu_leave(device);
    return st;
}

enum woq_status woqi_cu_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                    uint64_t size)
{
    struct woq_device *device = buffer->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = cu->api->memcpy_d_to_h_async(target, woqi_cu_pointer(buffer) + offset,
                                                   (size_t)size, cu->stream);
    if (result) {
        st = woqi_cu_fail(device, result, "cuMemcpyDtoHAsync(%" PRIu64 " bytes)", size);
        goto leave;
    }
    result = cu->api->stream_synchronize(cu->stream);
    if (result)
        st = woqi_cu_fail(device, result, "cuStreamSynchronize, after a read");
leave:
    woqi_cu_leave(device);
    return st;
}

/* What the driver knows about an address; all zero for one it does not know. */
struct origin {
    CUcontext context; /* NULL for memory that belongs to a device instead (pools, mapped ranges) */
    unsigned int type; /* CUmemorytype */
    int ordinal;
    CUdeviceptr start;
    size_t size; /* bytes of the whole allocation */
};

static enum woq_status find_origin(struct woq_device *device, CUdeviceptr pointer,
                                   struct origin *out)
{
    CUpointer_attribute attributes[] = {
        CU_POINTER_ATTRIBUTE_CONTEXT,        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
        CU_POINTER_ATTRIBUTE_RANGE_SIZE,
    };
    void *values[] = {&out->context, &out->type, &out->ordinal, &out->start, &out->size};
    memset(out, 0, sizeof(*out));
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = woqi_cu_device(device)->api->pointer_get_attributes(
        sizeof(attributes) / sizeof(attributes[0]), attributes, values, pointer);
    woqi_cu_leave(device);
    if (result == CUDA_ERROR_INVALID_VALUE || result == CUDA_ERROR_INVALID_CONTEXT)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_cuda_buffer_import: the driver does not know pointer 0x%llx",
                         (unsigned long long)pointer);
    if (result)
        return woqi_cu_fail(device, result, "cuPointerGetAttributes(0x%llx)",
                            (unsigned long long)pointer);
    return WOQ_OK;
}

static enum woq_status check_origin(struct woq_device *device, CUdeviceptr pointer, uint64_t size)
{
    const char *call = "woq_cuda_buffer_import";
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    struct origin origin;
    enum woq_status st = find_origin(device, pointer, &origin);
    if (st)
        return st;
    if (origin.type != CU_MEMORYTYPE_DEVICE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: pointer 0x%llx is not device memory (type %u); must be", call,
                         (unsigned long long)pointer, origin.type);
    if (origin.context ? origin.context != cu->context : origin.ordinal != cu->device)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: pointer 0x%llx belongs to another context; must be the device's own",
                         call, (unsigned long long)pointer);
    uint64_t before = pointer - origin.start;
    if (before > origin.size || size > origin.size - before)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: size is %" PRIu64 "; the allocation ends %" PRIu64
                         " bytes after pointer",
                         call, size, before > origin.size ? 0 : (uint64_t)origin.size - before);
    return WOQ_OK;
}

enum woq_status woq_cuda_buffer_import(struct woq_device *device, uint64_t pointer, uint64_t size,
                                       struct woq_buffer **out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    *out = NULL;
    st = WOQI_CHECK_NULL(NULL, device);
    if (st)
        return st;
    if (device->backend != &woqi_backend_cuda)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: device is of backend %s; must be cuda", __func__,
                         woq_backend_name(device->backend->id));
    if (!pointer || pointer % GRANULE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: pointer is 0x%llx; must be a multiple of %d, not 0", __func__,
                         (unsigned long long)pointer, GRANULE);
    if (!size)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "%s: size is 0; must be >= 1",
                         __func__);
    st = check_origin(device, pointer, size);
    if (st)
        return st;
    return woqi_buffer_adopt(device, size, (void *)(uintptr_t)pointer, out);
}

uint64_t woq_cuda_buffer(const struct woq_buffer *buffer)
{
    return buffer && buffer->device->backend == &woqi_backend_cuda ? woqi_cu_pointer(buffer) : 0;
}
