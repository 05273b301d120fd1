/*
 * fault_opencl.c: an OpenCL layer (CL/cl_layer.h) that lets calls fail and counts references.
 *
 * Wrapped is what the library calls. Release functions always work: nothing could be done about their
 * failure, and it would look like a leak.
 */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>

#include <stdatomic.h>
#include <stdio.h>

#include "fault_opencl.h"

enum kind { CONTEXT, DEVICE, QUEUE, MEMORY, PROGRAM, KERNEL, EVENT, KINDS };

static const char *const kind_names[KINDS] = {"context", "device", "queue", "memory object",
                                              "program", "kernel", "event"};

static struct fault_control control = {.countdown = -1};
static atomic_int_least64_t held[KINDS];
static atomic_uint built;
static const cl_icd_dispatch *next;
static cl_icd_dispatch table;

#define EXPORT __attribute__((visibility("default")))

EXPORT struct fault_control *fault_opencl_control(void)
{
    return &control;
}

EXPORT int64_t fault_opencl_balance(char *words, size_t size, unsigned *from_source)
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
    if (from_source)
        *from_source = atomic_load(&built);
    return sum;
}

static cl_int took(enum kind kind, cl_int code, bool made)
{
    if (!code && made)
        atomic_fetch_add(&held[kind], 1);
    return code;
}

/* ---- functions that return a code ---- */

#define STATUS(name, usual, params, args)                                                          \
    static cl_int CL_API_CALL on_##name params                                                     \
    {                                                                                              \
        const cl_int code = fault_inject(&control, #name, usual);                                  \
        return code ? code : next->name args;                                                      \
    }


#define QUERY(name, usual, object, what)                                                           \
    static cl_int CL_API_CALL on_##name(object a, what b, size_t size, void *value, size_t *out)   \
    {                                                                                              \
        const cl_int code = fault_inject(&control, #name, usual);                                  \
        return code ? code : next->name(a, b, size, value, out);                                   \
    }

#define RETAIN(name, kind, type)                                                                   \
    static cl_int CL_API_CALL on_##name(type object)                                               \
    {                                                                                              \
        const cl_int code = fault_inject(&control, #name, CL_OUT_OF_HOST_MEMORY);                  \
        return code ? code : took(kind, next->name(object), true);                                 \
    }

#define RELEASE(name, kind, type)                                                                  \
    static cl_int CL_API_CALL on_##name(type object)                                               \
    {                                                                                              \
        atomic_fetch_sub(&held[kind], 1);                                                          \
        return next->name(object);                                                                 \
    }

#define ENQUEUE(name, params, args)                                                                \
    static cl_int CL_API_CALL on_##name params                                                     \
    {                                                                                              \
        const cl_int code = fault_inject(&control, #name, CL_OUT_OF_RESOURCES);                    \
        return code ? code : took(EVENT, next->name args, event != NULL);                          \
    }

STATUS(clGetPlatformIDs, CL_OUT_OF_HOST_MEMORY, (cl_uint n, cl_platform_id *ids, cl_uint *count),
       (n, ids, count))
STATUS(clGetDeviceIDs, CL_OUT_OF_RESOURCES,
       (cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *ids, cl_uint *count),
       (p, t, n, ids, count))
STATUS(clFlush, CL_OUT_OF_RESOURCES, (cl_command_queue q), (q))
STATUS(clFinish, CL_OUT_OF_RESOURCES, (cl_command_queue q), (q))
STATUS(clSetKernelArg, CL_INVALID_ARG_VALUE,
       (cl_kernel k, cl_uint i, size_t size, const void *value), (k, i, size, value))
STATUS(clWaitForEvents, CL_OUT_OF_RESOURCES, (cl_uint n, const cl_event *list), (n, list))
STATUS(clGetProgramBuildInfo, CL_OUT_OF_HOST_MEMORY,
       (cl_program p, cl_device_id d, cl_program_build_info what, size_t size, void *value,
        size_t *out),
       (p, d, what, size, value, out))

QUERY(clGetPlatformInfo, CL_OUT_OF_HOST_MEMORY, cl_platform_id, cl_platform_info)
static cl_int answer(const void *from, size_t bytes, size_t size, void *value, size_t *out)
{
    if (out)
        *out = bytes;
    if (value && size < bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, bytes);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL on_clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *value,
                                             size_t *out)
{
    const cl_device_type gpu = CL_DEVICE_TYPE_GPU;
    const cl_uint major = 9, minor = 0;
    const cl_int code = fault_inject(&control, "clGetDeviceInfo", CL_OUT_OF_RESOURCES);
    if (code)
        return code;
    if (control.nvidia && what == CL_DEVICE_TYPE)
        return answer(&gpu, sizeof gpu, size, value, out);
    if (control.nvidia && what == CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV)
        return answer(&major, sizeof major, size, value, out);
    if (control.nvidia && what == CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV)
        return answer(&minor, sizeof minor, size, value, out);
    return next->clGetDeviceInfo(device, what, size, value, out);
}

QUERY(clGetContextInfo, CL_OUT_OF_RESOURCES, cl_context, cl_context_info)
QUERY(clGetCommandQueueInfo, CL_OUT_OF_RESOURCES, cl_command_queue, cl_command_queue_info)
QUERY(clGetMemObjectInfo, CL_OUT_OF_RESOURCES, cl_mem, cl_mem_info)
QUERY(clGetProgramInfo, CL_OUT_OF_RESOURCES, cl_program, cl_program_info)
QUERY(clGetEventProfilingInfo, CL_PROFILING_INFO_NOT_AVAILABLE, cl_event, cl_profiling_info)

RETAIN(clRetainContext, CONTEXT, cl_context)
RETAIN(clRetainDevice, DEVICE, cl_device_id)
RETAIN(clRetainCommandQueue, QUEUE, cl_command_queue)
RETAIN(clRetainMemObject, MEMORY, cl_mem)
RELEASE(clReleaseContext, CONTEXT, cl_context)
RELEASE(clReleaseDevice, DEVICE, cl_device_id)
RELEASE(clReleaseCommandQueue, QUEUE, cl_command_queue)
RELEASE(clReleaseMemObject, MEMORY, cl_mem)
RELEASE(clReleaseProgram, PROGRAM, cl_program)
RELEASE(clReleaseKernel, KERNEL, cl_kernel)
RELEASE(clReleaseEvent, EVENT, cl_event)

ENQUEUE(clEnqueueReadBuffer,
        (cl_command_queue q, cl_mem m, cl_bool block, size_t offset, size_t size, void *p,
         cl_uint n, const cl_event *list, cl_event *event),
        (q, m, block, offset, size, p, n, list, event))
ENQUEUE(clEnqueueWriteBuffer,
        (cl_command_queue q, cl_mem m, cl_bool block, size_t offset, size_t size, const void *p,
         cl_uint n, const cl_event *list, cl_event *event),
        (q, m, block, offset, size, p, n, list, event))
ENQUEUE(clEnqueueCopyBuffer,
        (cl_command_queue q, cl_mem from, cl_mem to, size_t a, size_t b, size_t size, cl_uint n,
         const cl_event *list, cl_event *event),
        (q, from, to, a, b, size, n, list, event))
ENQUEUE(clEnqueueUnmapMemObject,
        (cl_command_queue q, cl_mem m, void *p, cl_uint n, const cl_event *list, cl_event *event),
        (q, m, p, n, list, event))
ENQUEUE(clEnqueueNDRangeKernel,
        (cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g,
         const size_t *l, cl_uint n, const cl_event *list, cl_event *event),
        (q, k, d, o, g, l, n, list, event))
ENQUEUE(clEnqueueMarkerWithWaitList,
        (cl_command_queue q, cl_uint n, const cl_event *list, cl_event *event), (q, n, list, event))
ENQUEUE(clEnqueueBarrierWithWaitList,
        (cl_command_queue q, cl_uint n, const cl_event *list, cl_event *event), (q, n, list, event))

static cl_int CL_API_CALL on_clGetEventInfo(cl_event event, cl_event_info what, size_t size,
                                            void *value, size_t *out)
{
    const bool status = control.only && !strcmp(control.only, FAULT_EVENT_STATUS);
    const cl_int code = fault_inject(&control, status ? FAULT_EVENT_STATUS : "clGetEventInfo",
                                     CL_OUT_OF_RESOURCES);
    if (!code || !status || what != CL_EVENT_COMMAND_EXECUTION_STATUS || size < sizeof code)
        return code && !status ? code : next->clGetEventInfo(event, what, size, value, out);
    memcpy(value, &code, sizeof code);
    return CL_SUCCESS;
}

/* The failure is a real one, so that there is a log: no source compiles with this option. */
static cl_int CL_API_CALL on_clBuildProgram(cl_program program, cl_uint count,
                                            const cl_device_id *devices, const char *options,
                                            void(CL_CALLBACK *done)(cl_program, void *), void *user)
{
    const cl_int code = fault_inject(&control, "clBuildProgram", CL_BUILD_PROGRAM_FAILURE);
    if (!code)
        return next->clBuildProgram(program, count, devices, options, done, user);
    if (code == CL_BUILD_PROGRAM_FAILURE)
        next->clBuildProgram(program, count, devices, "-Dfloat=woq_no_such_type", NULL, NULL);
    return code;
}

/* ---- functions that return an object ---- */

#define CREATE(name, type, kind, usual, params, args)                                              \
    static type CL_API_CALL on_##name params                                                       \
    {                                                                                              \
        const cl_int code = fault_inject(&control, #name, usual);                                  \
        if (code) {                                                                                \
            if (error)                                                                             \
                *error = code;                                                                     \
            return NULL;                                                                           \
        }                                                                                          \
        type object = next->name args;                                                             \
        took(kind, CL_SUCCESS, object != NULL);                                                    \
        return object;                                                                             \
    }

CREATE(clCreateContext, cl_context, CONTEXT, CL_OUT_OF_HOST_MEMORY,
       (const cl_context_properties *p, cl_uint n, const cl_device_id *ids,
        void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user,
        cl_int *error),
       (p, n, ids, notify, user, error))
CREATE(clCreateCommandQueue, cl_command_queue, QUEUE, CL_OUT_OF_RESOURCES,
       (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *error),
       (c, d, p, error))
CREATE(clCreateBuffer, cl_mem, MEMORY, CL_MEM_OBJECT_ALLOCATION_FAILURE,
       (cl_context c, cl_mem_flags flags, size_t size, void *host, cl_int *error),
       (c, flags, size, host, error))
CREATE(clCreateKernel, cl_kernel, KERNEL, CL_INVALID_KERNEL_NAME,
       (cl_program p, const char *name, cl_int *error), (p, name, error))
CREATE(clCreateProgramWithBinary, cl_program, PROGRAM, CL_INVALID_BINARY,
       (cl_context c, cl_uint n, const cl_device_id *ids, const size_t *sizes,
        const unsigned char **binaries, cl_int *status, cl_int *error),
       (c, n, ids, sizes, binaries, status, error))

static cl_program CL_API_CALL on_clCreateProgramWithSource(cl_context context, cl_uint count,
                                                           const char **texts, const size_t *sizes,
                                                           cl_int *error)
{
    const cl_int code = fault_inject(&control, "clCreateProgramWithSource", CL_OUT_OF_HOST_MEMORY);
    if (code) {
        if (error)
            *error = code;
        return NULL;
    }
    atomic_fetch_add(&built, 1);
    cl_program program = next->clCreateProgramWithSource(context, count, texts, sizes, error);
    took(PROGRAM, CL_SUCCESS, program != NULL);
    return program;
}

/* A mapping is not counted: it goes with its memory object. */
static void *CL_API_CALL on_clEnqueueMapBuffer(cl_command_queue queue, cl_mem memory, cl_bool block,
                                               cl_map_flags flags, size_t offset, size_t size,
                                               cl_uint count, const cl_event *list, cl_event *event,
                                               cl_int *error)
{
    const cl_int code = fault_inject(&control, "clEnqueueMapBuffer", CL_MAP_FAILURE);
    if (!code)
        return next->clEnqueueMapBuffer(queue, memory, block, flags, offset, size, count, list,
                                        event, error);
    if (error)
        *error = code;
    return NULL;
}

/* ---- the layer ---- */

#define WRAPPED(F)                                                                                 \
    F(clGetPlatformIDs) F(clGetPlatformInfo) F(clGetDeviceIDs) F(clGetDeviceInfo)                  \
    F(clCreateContext) F(clRetainContext) F(clReleaseContext) F(clGetContextInfo)                  \
    F(clRetainDevice) F(clReleaseDevice) F(clCreateCommandQueue) F(clRetainCommandQueue)           \
    F(clReleaseCommandQueue) F(clGetCommandQueueInfo) F(clFlush) F(clFinish) F(clCreateBuffer)     \
    F(clRetainMemObject) F(clReleaseMemObject) F(clGetMemObjectInfo) F(clEnqueueReadBuffer)        \
    F(clEnqueueWriteBuffer) F(clEnqueueCopyBuffer) F(clEnqueueMapBuffer)                           \
    F(clEnqueueUnmapMemObject) F(clCreateProgramWithSource) F(clCreateProgramWithBinary)           \
    F(clBuildProgram) F(clReleaseProgram) F(clGetProgramInfo) F(clGetProgramBuildInfo)             \
    F(clCreateKernel) F(clReleaseKernel) F(clSetKernelArg) F(clEnqueueNDRangeKernel)               \
    F(clEnqueueMarkerWithWaitList) F(clEnqueueBarrierWithWaitList) F(clWaitForEvents)              \
    F(clGetEventInfo) F(clReleaseEvent) F(clGetEventProfilingInfo)

EXPORT cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *out)
{
    static const char name[] = "woq test faults";
    const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    const void *from = what == CL_LAYER_NAME ? (const void *)name : &version;
    const size_t bytes = what == CL_LAYER_NAME ? sizeof name : sizeof version;
    if (what != CL_LAYER_NAME && what != CL_LAYER_API_VERSION)
        return CL_INVALID_VALUE;
    if (value && size < bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, bytes);
    if (out)
        *out = bytes;
    return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clInitLayer(cl_uint count, const cl_icd_dispatch *target,
                                      cl_uint *count_out, const cl_icd_dispatch **layer)
{
    const cl_uint entries = sizeof table / sizeof(void *);
    if (!target || !count_out || !layer || count < entries)
        return CL_INVALID_VALUE;
    next = target;
    table = *target;
#define SET(name) table.name = on_##name;
    WRAPPED(SET)
#undef SET
    *layer = &table;
    *count_out = entries;
    return CL_SUCCESS;
}
