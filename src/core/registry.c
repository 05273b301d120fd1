/* registry.c: the backends of this build, and the guest functions of those that were left out. */
#include "registry.h"

#include <woq/cuda.h>
#include <woq/opencl.h>

#include "log.h"

const struct woqi_backend *const woqi_backends[] = {
#ifdef WOQ_HAVE_CUDA
    &woqi_backend_cuda,
#endif
#ifdef WOQ_HAVE_VULKAN
    &woqi_backend_vulkan,
#endif
#ifdef WOQ_HAVE_OPENCL
    &woqi_backend_opencl,
#endif
    &woqi_backend_reference, NULL,
};

const struct woqi_backend *woqi_backend_find(enum woq_backend id)
{
    for (size_t i = 0; woqi_backends[i]; i++)
        if (woqi_backends[i]->id == id)
            return woqi_backends[i];
    return NULL;
}

#if !defined(WOQ_HAVE_OPENCL) || !defined(WOQ_HAVE_CUDA)
static enum woq_status absent(const char *function, const char *backend)
{
    return woqi_fail(NULL, WOQ_ERROR_NO_DEVICE, "%s: this build has no %s backend", function,
                     backend);
}
#endif

#ifndef WOQ_HAVE_OPENCL
enum woq_status woq_opencl_device_open(const struct woq_opencl_params *guest,
                                       const struct woq_device_params *params,
                                       struct woq_device **out)
{
    (void)guest, (void)params;
    if (out)
        *out = NULL;
    return absent(__func__, "OpenCL");
}

enum woq_status woq_opencl_buffer_import(struct woq_device *device, struct _cl_mem *mem,
                                         uint64_t size, struct woq_buffer **out)
{
    (void)device, (void)mem, (void)size;
    if (out)
        *out = NULL;
    return absent(__func__, "OpenCL");
}

enum woq_status woq_opencl_record(struct woq_commands *commands, const struct woq_binding *bindings,
                                  size_t count, struct _cl_command_queue *queue,
                                  uint32_t wait_count, struct _cl_event *const *wait_list,
                                  struct _cl_event **event)
{
    (void)commands, (void)bindings, (void)count, (void)queue, (void)wait_count, (void)wait_list;
    if (event)
        *event = NULL;
    return absent(__func__, "OpenCL");
}

struct _cl_mem *woq_opencl_buffer(const struct woq_buffer *buffer)
{
    (void)buffer;
    return NULL;
}
#endif

#ifndef WOQ_HAVE_CUDA
enum woq_status woq_cuda_device_open(const struct woq_cuda_params *guest,
                                     const struct woq_device_params *params,
                                     struct woq_device **out)
{
    (void)guest, (void)params;
    if (out)
        *out = NULL;
    return absent(__func__, "CUDA");
}

enum woq_status woq_cuda_buffer_import(struct woq_device *device, uint64_t pointer, uint64_t size,
                                       struct woq_buffer **out)
{
    (void)device, (void)pointer, (void)size;
    if (out)
        *out = NULL;
    return absent(__func__, "CUDA");
}

enum woq_status woq_cuda_record(struct woq_commands *commands, const struct woq_binding *bindings,
                                size_t count, struct CUstream_st *stream)
{
    (void)commands, (void)bindings, (void)count, (void)stream;
    return absent(__func__, "CUDA");
}

uint64_t woq_cuda_buffer(const struct woq_buffer *buffer)
{
    (void)buffer;
    return 0;
}
#endif
