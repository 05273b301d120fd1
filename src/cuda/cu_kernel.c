/*
 * cu_kernel.c: kernels from the fatbins in the library, their parameters, and recording into the
 * caller's stream.
 *
 * A kernel of kernels.h is the entry point woq_<entry> of shaders/cuda/<entry>.cu: device code would
 * otherwise collide with the functions of the C library that every .cu file knows. Its parameters
 * are the addresses of the windows, in the order of WOQ_BIND_…, then woqi_args by value.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "cu_backend.h"

/* Native code for each of WOQ_CUDA_ARCHS and PTX for later devices; the size lies in its header. */
extern const unsigned char woqi_cu_fatbin_floor[];

static const unsigned char *fatbin_of(enum woqi_kernel_id id)
{
    return id == WOQI_KERNEL_FLOOR ? woqi_cu_fatbin_floor : NULL;
}

bool woqi_cu_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                          size_t reason_size)
{
    (void)device;
    if (fatbin_of(key.id))
        return true;
    snprintf(reason, reason_size, "the CUDA backend has no such kernel");
    return false;
}

static enum woq_status load_module(struct woqi_kernel *kernel, struct woqi_cu_kernel *impl)
{
    char text[4096] = ""; /* of the compiler, if the driver must compile the PTX */
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {text, (void *)(uintptr_t)sizeof(text)};
    CUresult result = woqi_cu_device(kernel->device)->api->module_load_data_ex(
        &impl->module, fatbin_of(kernel->key.id), 2, options, values);
    if (!result)
        return WOQ_OK;
    impl->module = NULL;
    text[sizeof(text) - 1] = 0;
    if (text[0])
        woqi_log_text(kernel->device, WOQ_LOG_ERROR, kernel->name, text);
    return woqi_cu_fail(kernel->device, result, "cuModuleLoadDataEx, kernel %s", kernel->name);
}

static enum woq_status find_function(struct woqi_kernel *kernel, struct woqi_cu_kernel *impl)
{
    const struct woqi_cu_api *api = woqi_cu_device(kernel->device)->api;
    char symbol[64];
    int threads = 0;
    snprintf(symbol, sizeof(symbol), "woq_%s", kernel->entry);
    CUresult result = api->module_get_function(&impl->function, impl->module, symbol);
    if (result)
        return woqi_cu_fail(kernel->device, result, "cuModuleGetFunction(%s)", symbol);
    /* Asking also makes a lazily loading driver load the code now, not in a caller's capture. */
    result = api->func_get_attribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                                     impl->function);
    if (result)
        return woqi_cu_fail(kernel->device, result, "cuFuncGetAttribute(%s)", symbol);
    if (kernel->local_x > (uint32_t)threads)
        return woqi_fail(kernel->device, WOQ_ERROR_COMPILE,
                         "kernel %s: the device runs %d threads of it in a block; %u are needed",
                         kernel->name, threads, (unsigned)kernel->local_x);
    return WOQ_OK;
}

enum woq_status woqi_cu_kernel_create(struct woqi_kernel *kernel)
{
    struct woqi_cu_kernel *impl = woqi_alloc(kernel->device, 1, sizeof(*impl));
    if (!impl)
        return woqi_fail(kernel->device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                         kernel->name);
    kernel->impl = impl;
    enum woq_status st = woqi_cu_enter(kernel->device);
    if (!st) {
        st = load_module(kernel, impl);
        if (!st)
            st = find_function(kernel, impl);
        woqi_cu_leave(kernel->device);
    }
    if (st)
        woqi_cu_kernel_destroy(kernel);
    return st;
}

void woqi_cu_kernel_destroy(struct woqi_kernel *kernel)
{
    struct woqi_cu_kernel *impl = kernel->impl;
    if (!impl)
        return;
    if (impl->module && !woqi_cu_enter(kernel->device)) {
        woqi_cu_device(kernel->device)->api->module_unload(impl->module);
        woqi_cu_leave(kernel->device);
    }
    woqi_free(kernel->device, impl);
    kernel->impl = NULL;
}

void woqi_cu_resolve(const struct woqi_step *step, struct woqi_cu_launch *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < step->nbind; i++)
        if (step->bind[i].buffer)
            out->bind[i] = woqi_cu_pointer(step->bind[i].buffer) + step->bind[i].offset;
    if (step->kind == WOQI_STEP_COPY)
        out->bytes = step->bind[0].size;
    for (int i = 0; i < 3; i++)
        out->groups[i] = step->groups[i] ? step->groups[i] : 1;
    out->args = step->args;
}

void woqi_cu_parameters(struct woqi_cu_launch *launch, void *out[WOQI_CU_PARAMETERS])
{
    for (int i = 0; i < WOQI_MAX_BIND; i++)
        out[i] = &launch->bind[i];
    out[WOQI_MAX_BIND] = &launch->args;
}

/* ---- into the caller's stream ---- */

static enum woq_status record_step(struct woq_device *device, const struct woqi_step *step,
                                   CUstream stream)
{
    const struct woqi_cu_api *api = woqi_cu_device(device)->api;
    struct woqi_cu_launch launch;
    void *parameters[WOQI_CU_PARAMETERS];
    CUresult result;
    woqi_cu_resolve(step, &launch);
    if (step->kind == WOQI_STEP_COPY) {
        result = api->memcpy_d_to_d_async(launch.bind[1], launch.bind[0], (size_t)launch.bytes,
                                          stream);
        return result ? woqi_cu_fail(device, result, "cuMemcpyDtoDAsync, recording") : WOQ_OK;
    }
    const struct woqi_cu_kernel *kernel = step->kernel->impl;
    woqi_cu_parameters(&launch, parameters);
    result = api->launch_kernel(kernel->function, launch.groups[0], launch.groups[1],
                                launch.groups[2], step->kernel->local_x, 1, 1, 0, stream,
                                parameters, NULL);
    if (result)
        return woqi_cu_fail(device, result, "cuLaunchKernel(%s), recording", step->kernel->name);
    return WOQ_OK;
}

/* A stream executes in order, so barriers are implied. Nothing here waits or allocates: the stream
 * may be capturing. The driver copies the arguments, so nothing needs to be kept. */
enum woq_status woqi_cu_record(struct woq_device *device, const struct woqi_step *steps,
                               uint32_t count, const void *target, void **keep)
{
    CUstream stream = ((const struct woqi_cu_target *)target)->stream;
    for (uint32_t i = 0; i < count; i++)
        if (steps[i].kind == WOQI_STEP_TIMESTAMP)
            return woqi_fail(device, WOQ_ERROR_UNSUPPORTED,
                             "woq_cuda_record: timestamps are not recorded into a caller's stream; "
                             "record events of your own around it");
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    /* Where the driver will not say, the launch does. */
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    CUcontext context = NULL;
    if (!cu->api->stream_get_ctx(stream, &context) && context != cu->context)
        st = woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                       "woq_cuda_record: stream is not one of the device's context");
    for (uint32_t i = 0; !st && i < count; i++)
        if (steps[i].kind == WOQI_STEP_DISPATCH || steps[i].kind == WOQI_STEP_COPY)
            st = record_step(device, &steps[i], stream);
    woqi_cu_leave(device);
    if (!st)
        *keep = NULL;
    return st;
}

void woqi_cu_record_release(struct woq_device *device, void *keep)
{
    (void)device;
    (void)keep;
}
