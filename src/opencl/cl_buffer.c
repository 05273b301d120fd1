/* cl_buffer.c: buffers as cl_mem objects, and those of the application. */
#include "cl_backend.h"

#include <stdio.h>

/* Buffers end on a whole vector of 16 floats, so that no 4-byte window reaches beyond. */
#define SIZE_ALIGNMENT 64u
#define UPLOAD_BYTES   (UINT64_C(1) << 20)

static struct woqi_cl_buffer *impl_of(const struct woq_buffer *buffer)
{
    return buffer->impl;
}

static uint64_t next_serial(struct woqi_cl_device *dev)
{
    return atomic_fetch_add(&dev->serial, 1) + 1;
}

/* Drivers of cards allocate at the first use only; a write forces them to tell now. */
static cl_int force_allocation(struct woqi_cl_device *dev, cl_mem mem)
{
    const cl_uint zero = 0;
    return dev->api->clEnqueueWriteBuffer(dev->queue, mem, CL_TRUE, 0, sizeof zero, &zero, 0, NULL,
                                          NULL);
}

enum woq_status woqi_cl_buffer_create(struct woq_buffer *buffer)
{
    struct woq_device *device = buffer->device;
    struct woqi_cl_device *dev = woqi_cl_of(device);
    char call[64];
    snprintf(call, sizeof call, "clCreateBuffer(%llu bytes)", (unsigned long long)buffer->size);
    /* CPU drivers allocate at the first use, from memory that the system overcommits. */
    const uint64_t used = atomic_load(&device->used), total = device->info.memory;
    if (used > total || buffer->size > total - used)
        return woqi_cl_fail(device, CL_MEM_OBJECT_ALLOCATION_FAILURE, call);
    bool overflow = false;
    const uint64_t size = woqi_align_up(buffer->size, SIZE_ALIGNMENT, &overflow);
    if (overflow || size > SIZE_MAX)
        return woqi_cl_fail(device, CL_MEM_OBJECT_ALLOCATION_FAILURE, call);
    struct woqi_cl_buffer *impl = woqi_alloc(device, 1, sizeof *impl);
    if (!impl)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_buffer_create: out of host memory");

    cl_int code = CL_SUCCESS;
    cl_mem_flags flags = CL_MEM_READ_WRITE;
    if (buffer->flags & WOQ_BUFFER_HOST_VISIBLE)
        flags |= CL_MEM_ALLOC_HOST_PTR;
    impl->mem = dev->api->clCreateBuffer(dev->context, flags, (size_t)size, NULL, &code);
    if (impl->mem && !(device->info.features & WOQ_FEATURE_HOST_MEMORY))
        code = force_allocation(dev, impl->mem);
    if (!impl->mem || code != CL_SUCCESS) {
        if (impl->mem)
            dev->api->clReleaseMemObject(impl->mem);
        woqi_free(device, impl);
        return woqi_cl_fail(device, code, call);
    }
    impl->serial = next_serial(dev);
    buffer->impl = impl;
    return WOQ_OK;
}

void woqi_cl_buffer_destroy(struct woq_buffer *buffer)
{
    struct woqi_cl_buffer *impl = impl_of(buffer);
    if (!impl)
        return;
    struct woqi_cl_device *dev = woqi_cl_of(buffer->device);
    if (impl->mapped)
        dev->api->clEnqueueUnmapMemObject(dev->queue, impl->mem, impl->mapped, 0, NULL, NULL);
    dev->api->clReleaseMemObject(impl->mem);
    woqi_free(buffer->device, impl);
    buffer->impl = NULL;
}

enum woq_status woqi_cl_buffer_write(struct woq_buffer *buffer, uint64_t offset, const void *source,
                                     uint64_t size)
{
    struct woqi_cl_device *dev = woqi_cl_of(buffer->device);
    const cl_int code = dev->api->clEnqueueWriteBuffer(dev->queue, impl_of(buffer)->mem, CL_TRUE,
                                                       (size_t)offset, (size_t)size, source, 0,
                                                       NULL, NULL);
    return code ? woqi_cl_fail_run(buffer->device, code, "clEnqueueWriteBuffer") : WOQ_OK;
}

enum woq_status woqi_cl_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                    uint64_t size)
{
    struct woqi_cl_device *dev = woqi_cl_of(buffer->device);
    const cl_int code = dev->api->clEnqueueReadBuffer(dev->queue, impl_of(buffer)->mem, CL_TRUE,
                                                      (size_t)offset, (size_t)size, target, 0, NULL,
                                                      NULL);
    return code ? woqi_cl_fail_run(buffer->device, code, "clEnqueueReadBuffer") : WOQ_OK;
}

/* A piece after the other through host memory, which the driver has copied when a write returns. */
enum woq_status woqi_cl_buffer_upload(struct woq_buffer *buffer, uint64_t offset, uint64_t size, woqi_fill_fn *fill,
                                      const void *user)
{
    const uint64_t most = woqi_min(size, UPLOAD_BYTES);
    uint8_t *piece = woqi_alloc(buffer->device, (size_t)most, 1);
    enum woq_status st = WOQ_OK;
    if (!piece)
        return woqi_fail(buffer->device, WOQ_ERROR_OUT_OF_MEMORY, "upload of %llu bytes: out of host memory",
                         (unsigned long long)size);
    for (uint64_t at = 0, bytes; !st && at < size; at += bytes) {
        bytes = woqi_min(most, size - at);
        fill(user, at, bytes, piece);
        st = woqi_cl_buffer_write(buffer, offset + at, piece, bytes);
    }
    woqi_free(buffer->device, piece);
    return st;
}

enum woq_status woqi_cl_buffer_map(struct woq_buffer *buffer, void **pointer)
{
    struct woqi_cl_device *dev = woqi_cl_of(buffer->device);
    struct woqi_cl_buffer *impl = impl_of(buffer);
    cl_int code = CL_SUCCESS;
    impl->mapped = dev->api->clEnqueueMapBuffer(dev->queue, impl->mem, CL_TRUE,
                                                CL_MAP_READ | CL_MAP_WRITE, 0, (size_t)buffer->size,
                                                0, NULL, NULL, &code);
    if (!impl->mapped)
        return woqi_cl_fail_run(buffer->device, code, "clEnqueueMapBuffer");
    *pointer = impl->mapped;
    return WOQ_OK;
}

enum woq_status woqi_cl_buffer_unmap(struct woq_buffer *buffer)
{
    struct woqi_cl_device *dev = woqi_cl_of(buffer->device);
    struct woqi_cl_buffer *impl = impl_of(buffer);
    cl_int code = dev->api->clEnqueueUnmapMemObject(dev->queue, impl->mem, impl->mapped, 0, NULL, NULL);
    if (code)
        return woqi_cl_fail_run(buffer->device, code, "clEnqueueUnmapMemObject");
    impl->mapped = NULL;
    /* Whatever this device does next comes after it in its queue; a guest's host has other queues, too. */
    code = dev->guest ? dev->api->clFinish(dev->queue) : CL_SUCCESS;
    return code ? woqi_cl_fail_run(buffer->device, code, "clFinish") : WOQ_OK;
}

/* ---- guest ---- */

static enum woq_status check_import(struct woq_device *device, cl_mem mem, uint64_t size,
                                    uint64_t *bytes)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    cl_mem_object_type type = 0;
    cl_context context = NULL;
    size_t real = 0;
    cl_int code = dev->api->clGetMemObjectInfo(mem, CL_MEM_TYPE, sizeof type, &type, NULL);
    if (!code)
        code = dev->api->clGetMemObjectInfo(mem, CL_MEM_CONTEXT, sizeof context, &context, NULL);
    if (!code)
        code = dev->api->clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof real, &real, NULL);
    if (code == CL_INVALID_MEM_OBJECT)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_buffer_import: mem is not a valid cl_mem");
    if (code)
        return woqi_cl_fail(device, code, "clGetMemObjectInfo");
    if (type != CL_MEM_OBJECT_BUFFER)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_buffer_import: mem is an image or a pipe; must be a buffer");
    if (context != dev->context)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_buffer_import: mem belongs to another cl_context than the "
                         "device");
    if (size > real)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_buffer_import: size is %llu bytes; mem has only %zu",
                         (unsigned long long)size, real);
    *bytes = size ? size : real;
    return WOQ_OK;
}

enum woq_status woq_opencl_buffer_import(struct woq_device *device, struct _cl_mem *mem,
                                         uint64_t size, struct woq_buffer **out)
{
    if (out)
        *out = NULL;
    if (!device || !mem || !out)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_opencl_buffer_import: %s is NULL",
                         !device ? "device"
                         : !mem  ? "mem"
                                 : "out");
    if (device->backend != &woqi_backend_opencl)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_buffer_import: device is of the %s backend; must be opencl",
                         woq_backend_name(device->backend->id));
    uint64_t bytes = 0;
    enum woq_status st = check_import(device, mem, size, &bytes);
    if (st)
        return st;
    struct woqi_cl_device *dev = woqi_cl_of(device);
    struct woqi_cl_buffer *impl = woqi_alloc(device, 1, sizeof *impl);
    if (!impl)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_opencl_buffer_import: out of host memory");
    const cl_int code = dev->api->clRetainMemObject(mem);
    if (code) {
        woqi_free(device, impl);
        return woqi_cl_fail(device, code, "clRetainMemObject");
    }
    impl->mem = mem;
    impl->serial = next_serial(dev);
    st = woqi_buffer_adopt(device, bytes, impl, out);
    if (st) {
        dev->api->clReleaseMemObject(mem);
        woqi_free(device, impl);
    }
    return st;
}

struct _cl_mem *woq_opencl_buffer(const struct woq_buffer *buffer)
{
    if (!buffer || buffer->device->backend != &woqi_backend_opencl)
        return NULL;
    return impl_of(buffer)->mem;
}
