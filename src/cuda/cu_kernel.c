/*
 * cu_kernel.c: kernels from the fatbins in the library, their parameters, and recording into the
 * caller's stream.
 *
 * Entry points are called woq_…: device code would otherwise collide with the functions of the C library that every .cu
 * file knows. Their parameters are the addresses of the windows, in the order of WOQ_BIND_…, then woqi_args by value;
 * of WGMMA also a tensor map of X, and the addresses of sums and flags, which others do not look at.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "cu_backend.h"
#include "cu_nvtx.h"

#define MAP_ALIGNMENT  16    /* bytes: of the matrix that a tensor map describes, and from row to row */
#define DEFAULT_SHARED 49152 /* bytes of dynamic shared memory that a launch may have unasked */

/* Native code for WOQ_CUDA_ARCHS and PTX for later devices; the size lies in the header. */
#define WOQI_NV_MODULE(id, codes, x, capability, name) extern const unsigned char woqi_cu_fatbin_##name[];
#define WOQI_NV_CUDA_MODULE WOQI_NV_MODULE
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE

static const unsigned char *const fatbins[] = {
#define WOQI_NV_MODULE(id, codes, x, capability, name) woqi_cu_fatbin_##name,
#define WOQI_NV_CUDA_MODULE WOQI_NV_MODULE
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE
};

bool woqi_cu_kernel_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t reason_size)
{
    const struct woqi_nv_target target = {woqi_cu_device(device)->capability, false};
    return woqi_nv_probe(device, target, key, reason, reason_size);
}

/* Once for all kernels of a module. */
static enum woq_status load_module(struct woqi_kernel *kernel, const struct woqi_nv_entry *found, CUmodule *module)
{
    char text[4096] = ""; /* of the compiler, if the driver must compile the PTX */
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {text, (void *)(uintptr_t)sizeof(text)};
    if (*module)
        return WOQ_OK;
    CUresult result = woqi_cu_device(kernel->device)->api->module_load_data_ex(module, fatbins[found->module], 2, options,
                                                                               values);
    if (!result)
        return WOQ_OK;
    *module = NULL;
    text[sizeof(text) - 1] = 0;
    if (text[0])
        woqi_log_text(kernel->device, WOQ_LOG_ERROR, kernel->name, text);
    return woqi_cu_fail(kernel->device, result, "cuModuleLoadDataEx, kernel %s", kernel->name);
}

static enum woq_status find_function(struct woqi_kernel *kernel, const struct woqi_nv_entry *found, CUmodule module)
{
    const struct woqi_cu_device *cu = woqi_cu_device(kernel->device);
    struct woqi_cu_kernel *impl = kernel->impl;
    const uint32_t needed = found->block[0] * found->block[1] * found->block[2];
    int threads = 0, virtual_arch = 0;
    CUresult result = cu->api->module_get_function(&impl->function, module, found->entry);
    if (result)
        return woqi_cu_fail(kernel->device, result, "cuModuleGetFunction(%s)", found->entry);
    /* Asking also makes a lazily loading driver load the code now, not in a caller's capture. */
    result = cu->api->func_get_attribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, impl->function);
    if (!result) /* 10·major + minor of what __CUDA_ARCH__ was: a device of 9.0 may run code for 8.0 */
        result = cu->api->func_get_attribute(&virtual_arch, CU_FUNC_ATTRIBUTE_PTX_VERSION, impl->function);
    if (result)
        return woqi_cu_fail(kernel->device, result, "cuFuncGetAttribute(%s)", found->entry);
    impl->awaits = virtual_arch >= 90;
    if (needed > (uint32_t)threads)
        return woqi_fail(kernel->device, WOQ_ERROR_COMPILE,
                         "kernel %s: the device runs %d threads of it in a block; %u are needed", kernel->name, threads,
                         (unsigned)needed);
    memcpy(impl->block, found->block, sizeof(impl->block));
    impl->shared = found->shared;
    impl->cluster = found->cluster;
    impl->map_rows = found->map_rows;
    if (impl->shared <= DEFAULT_SHARED)
        return WOQ_OK;
    /* Other kernels of ours share the function: each sets the same, which is the most there is. */
    result = cu->api->func_set_attribute(impl->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                         cu->shared_memory);
    return result ? woqi_cu_fail(kernel->device, result, "cuFuncSetAttribute(%s)", found->entry) : WOQ_OK;
}

enum woq_status woqi_cu_kernel_create(struct woqi_kernel *kernel)
{
    struct woqi_cu_device *cu = woqi_cu_device(kernel->device);
    struct woqi_nv_entry found;
    if (!woqi_nv_find(kernel, &found))
        return woqi_fail(kernel->device, WOQ_ERROR_UNSUPPORTED, "kernel %s: not written for CUDA", kernel->name);
    kernel->impl = woqi_alloc(kernel->device, 1, sizeof(struct woqi_cu_kernel));
    if (!kernel->impl)
        return woqi_fail(kernel->device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory",
                         kernel->name);
    woqi_cu_range_begin("create", kernel->name);
    enum woq_status st = woqi_cu_enter(kernel->device);
    if (!st) {
        st = load_module(kernel, &found, &cu->modules[found.module]);
        if (!st)
            st = find_function(kernel, &found, cu->modules[found.module]);
        woqi_cu_leave(kernel->device);
    }
    woqi_cu_range_end();
    if (st)
        woqi_cu_kernel_destroy(kernel);
    return st;
}

void woqi_cu_kernel_destroy(struct woqi_kernel *kernel)
{
    woqi_free(kernel->device, kernel->impl);
    kernel->impl = NULL;
}

/* Its blocks, of which a multiprocessor holds one, do not crowd on those that are free first. */
static bool begins_early(const struct woqi_step *step)
{
    return step->kind == WOQI_STEP_DISPATCH && ((const struct woqi_cu_kernel *)step->kernel->impl)->map_rows != 0;
}

void woqi_cu_resolve(const struct woqi_step *step, uint32_t behind, struct woqi_cu_launch *out)
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
    if (behind > 1 && step[1].kind == WOQI_STEP_BARRIER && begins_early(&step[2]))
        out->args.admits = 1;
}

enum woq_status woqi_cu_map_x(struct woq_device *device, const struct woqi_kernel *kernel,
                              struct woqi_cu_launch *launch)
{
    const struct woqi_args *a = &launch->args;
    const CUdeviceptr from = launch->bind[WOQ_BIND_X] + a->x_off;
    const uint32_t rows = ((const struct woqi_cu_kernel *)kernel->impl)->map_rows;
    if (!rows || !from || (from | a->x_stride) % MAP_ALIGNMENT)
        return WOQ_OK;
    CUtensorMap map;
    const cuuint64_t sizes[2] = {a->k, a->m};
    const cuuint64_t stride = a->x_stride ? a->x_stride : woqi_div_up(a->k * 2ull, MAP_ALIGNMENT) * MAP_ALIGNMENT;
    const cuuint32_t box[2] = {64, rows}, steps[2] = {1, 1};
    const CUresult result = woqi_cu_device(device)->api->tensor_map_encode(
        &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, (void *)(uintptr_t)from, sizes, &stride, box, steps,
        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result)
        return woqi_cu_fail(device, result, "cuTensorMapEncodeTiled(%s)", kernel->name);
    memcpy(launch->map, &map, sizeof map);
    return WOQ_OK;
}

void woqi_cu_parameters(struct woqi_cu_launch *launch, void *out[WOQI_CU_PARAMETERS])
{
    for (int i = 0; i < WOQ_BIND_COUNT; i++)
        out[i] = &launch->bind[i];
    out[WOQ_BIND_COUNT] = &launch->args;
    out[WOQ_BIND_COUNT + 1] = launch->map;
    out[WOQ_BIND_COUNT + 2] = &launch->bind[WOQI_BIND_SUMS];
    out[WOQ_BIND_COUNT + 3] = &launch->bind[WOQI_BIND_FLAGS];
}

/* ---- into the caller's stream ---- */

enum woq_status woqi_cu_record_step(struct woq_device *device, const struct woqi_step *step, uint32_t behind,
                                    bool *follows, CUstream stream)
{
    const struct woqi_cu_api *api = woqi_cu_device(device)->api;
    struct woqi_cu_launch launch;
    void *parameters[WOQI_CU_PARAMETERS];
    CUresult result;
    const bool overlaps = *follows && woqi_cu_may_overlap(device, step);
    if (step->kind != WOQI_STEP_DISPATCH && step->kind != WOQI_STEP_COPY)
        return WOQ_OK;
    *follows = step->kind == WOQI_STEP_DISPATCH;
    woqi_cu_resolve(step, behind, &launch);
    if (step->kind == WOQI_STEP_COPY) {
        result = api->memcpy_d_to_d_async(launch.bind[1], launch.bind[0], (size_t)launch.bytes,
                                          stream);
        return result ? woqi_cu_fail(device, result, "cuMemcpyDtoDAsync, recording") : WOQ_OK;
    }
    const struct woqi_cu_kernel *kernel = step->kernel->impl;
    CUlaunchAttribute attributes[2];
    unsigned count = 0;
    if (overlaps)
        attributes[count++] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                                  .value.programmaticStreamSerializationAllowed = 1};
    if (kernel->cluster > 1)
        attributes[count++] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                                                  .value.clusterDim = {kernel->cluster, 1, 1}};
    const CUlaunchConfig config = {
        .gridDimX = launch.groups[0],
        .gridDimY = launch.groups[1],
        .gridDimZ = launch.groups[2],
        .blockDimX = kernel->block[0],
        .blockDimY = kernel->block[1],
        .blockDimZ = kernel->block[2],
        .sharedMemBytes = kernel->shared,
        .hStream = stream,
        .attrs = attributes,
        .numAttrs = count,
    };
    const enum woq_status st = woqi_cu_map_x(device, step->kernel, &launch);
    if (st)
        return st;
    woqi_cu_parameters(&launch, parameters);
    result = api->launch_kernel(&config, kernel->function, parameters, NULL);
    return result ? woqi_cu_fail(device, result, "cuLaunchKernelEx(%s), recording", step->kernel->name) : WOQ_OK;
}

/* A stream executes in order, so barriers are implied. Nothing here waits or allocates: the stream
 * may be capturing. The driver copies the arguments, so nothing needs to be kept. */
enum woq_status woqi_cu_record(struct woq_device *device, const struct woqi_step *steps,
                               uint32_t count, const void *target, void **keep)
{
    CUstream stream = ((const struct woqi_cu_target *)target)->stream;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    /* Where the driver will not say, the launch does. */
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    CUcontext context = NULL;
    if (!cu->api->stream_get_ctx(stream, &context) && context != cu->context)
        st = woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                       "woq_cuda_record: stream is not one of the device's context");
    bool follows = false;
    for (uint32_t i = 0; !st && i < count; i++) {
        if (steps[i].kind != WOQI_STEP_DISPATCH && steps[i].kind != WOQI_STEP_COPY)
            continue;
        woqi_cu_range_begin("record", steps[i].kernel ? steps[i].kernel->name : "copy");
        st = woqi_cu_record_step(device, &steps[i], count - 1 - i, &follows, stream);
        woqi_cu_range_end();
    }
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
