/* cu_device.c: errors, listing, opening and closing, guest mode, and the backend's table. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "../core/alloc.h"
#include "../core/check.h"
#include "cu_backend.h"

#define MIN_CAPABILITY  75 /* 10·major + minor: the oldest that toolkit 13 compiles for */
#define BF16_CAPABILITY 80

/* ---- errors ---- */

enum woq_status woqi_cu_status(CUresult result)
{
    switch (result) {
    case CUDA_SUCCESS:
        return WOQ_OK;
    case CUDA_ERROR_OUT_OF_MEMORY:
        return WOQ_ERROR_OUT_OF_DEVICE_MEMORY;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_DEVICE_NOT_LICENSED:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        return WOQ_ERROR_NO_DEVICE;
    case CUDA_ERROR_NOT_SUPPORTED:
        return WOQ_ERROR_UNSUPPORTED;
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_SOURCE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
        return WOQ_ERROR_COMPILE;
    /* After these every further call on the context, or the process, returns the same. */
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_RPC_FAILURE:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
        return WOQ_ERROR_DEVICE_LOST;
    default:
        return WOQ_ERROR_DRIVER;
    }
}

enum woq_status woqi_cu_fail(struct woq_device *device, CUresult result, const char *format, ...)
{
    const char *reason, *name = NULL, *text = NULL;
    const struct woqi_cu_api *api = woqi_cu_load(&reason);
    char call[160];
    va_list list;
    va_start(list, format);
    vsnprintf(call, sizeof(call), format, list);
    va_end(list);
    if (api) {
        api->get_error_name(result, &name);
        api->get_error_string(result, &text);
    }
    if (!name)
        return woqi_fail(device, woqi_cu_status(result), "%s: CUDA error %d", call, (int)result);
    return woqi_fail(device, woqi_cu_status(result), "%s: %s (%s)", call, name, text ? text : "");
}

enum woq_status woqi_cu_enter(struct woq_device *device)
{
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    CUresult result = cu->api->ctx_push_current(cu->context);
    return result ? woqi_cu_fail(device, result, "cuCtxPushCurrent") : WOQ_OK;
}

void woqi_cu_leave(struct woq_device *device)
{
    CUcontext popped;
    woqi_cu_device(device)->api->ctx_pop_current(&popped);
}

/* ---- listing ---- */

static int attribute(const struct woqi_cu_api *api, CUdevice device, CUdevice_attribute which)
{
    int value = 0;
    return api->device_get_attribute(&value, which, device) ? 0 : value;
}

static void describe_driver(const struct woqi_cu_api *api, char *out, size_t size)
{
    int version = 0;
    api->driver_get_version(&version);
    snprintf(out, size, "CUDA %d.%d", version / 1000, version % 1000 / 10);
}

static enum woq_device_kind kind_of(const struct woqi_cu_api *api, CUdevice device)
{
    return attribute(api, device, CU_DEVICE_ATTRIBUTE_INTEGRATED) ? WOQ_DEVICE_KIND_INTEGRATED_GPU
                                                                  : WOQ_DEVICE_KIND_DISCRETE_GPU;
}

/* 10·major + minor */
static CUresult query_capability(const struct woqi_cu_api *api, CUdevice device, int *out)
{
    int major = 0, minor = 0;
    CUresult result = api->device_get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    if (!result)
        result = api->device_get_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    *out = 10 * major + minor;
    return result;
}

/* Why a device of this capability cannot serve; false: it can. */
static bool refuse(int capability, char *reason, size_t size)
{
    if (capability < MIN_CAPABILITY) {
        snprintf(reason, size, "compute capability is %d.%d; at least %d.%d is needed", capability / 10,
                 capability % 10, MIN_CAPABILITY / 10, MIN_CAPABILITY % 10);
        return true;
    }
    return false;
}

static void list_device(const struct woqi_cu_api *api, uint32_t index, struct woqi_enumeration *out)
{
    struct woq_device_entry entry = {.backend = WOQ_BACKEND_CUDA, .index = index};
    CUdevice device = 0;
    int capability = 0;
    const char *call = "cuDeviceGet", *name = NULL;
    CUresult result = api->device_get(&device, (int)index);
    describe_driver(api, entry.driver, sizeof(entry.driver));
    if (!result) {
        call = "cuDeviceGetAttribute";
        result = query_capability(api, device, &capability);
    }
    if (result) {
        api->get_error_name(result, &name);
        snprintf(entry.reason, sizeof(entry.reason), "%s: %s", call, name ? name : "failed");
    } else {
        api->device_get_name(entry.name, sizeof(entry.name), device);
        entry.kind = kind_of(api, device);
        if (attribute(api, device, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE) == CU_COMPUTEMODE_PROHIBITED)
            snprintf(entry.reason, sizeof(entry.reason), "its compute mode is 'prohibited'");
        else
            entry.usable = !refuse(capability, entry.reason, sizeof(entry.reason));
    }
    out->emit(out, &entry);
}

static enum woq_status enumerate(struct woqi_enumeration *out)
{
    struct woq_device_entry none = {.backend = WOQ_BACKEND_CUDA};
    const char *reason;
    const struct woqi_cu_api *api = woqi_cu_load(&reason);
    int count = 0;
    if (!api)
        snprintf(none.reason, sizeof(none.reason), "%s", reason);
    else if (api->device_get_count(&count) || count < 1)
        snprintf(none.reason, sizeof(none.reason), "the driver lists no device");
    if (none.reason[0]) {
        out->emit(out, &none);
        return WOQ_OK;
    }
    for (uint32_t i = 0; i < (uint32_t)count; i++)
        list_device(api, i, out);
    return WOQ_OK;
}

/* ---- opening and closing ---- */

static void close_device(struct woq_device *device)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    if (!cu)
        return;
    if (cu->context && !cu->api->ctx_push_current(cu->context)) {
        CUcontext popped;
        if (cu->stream)
            cu->api->stream_synchronize(cu->stream);
        woqi_cu_staging_close(cu);
        for (uint32_t i = 0; cu->modules && i < woqi_nv_module_count; i++)
            if (cu->modules[i])
                cu->api->module_unload(cu->modules[i]);
        if (cu->scratch)
            cu->api->mem_free(cu->scratch);
        if (cu->base)
            cu->api->event_destroy(cu->base);
        if (cu->own_stream)
            cu->api->stream_destroy(cu->stream);
        cu->api->ctx_pop_current(&popped);
    }
    if (cu->primary)
        cu->api->primary_ctx_release(cu->device);
    pthread_mutex_destroy(&cu->staging.lock);
    woqi_free(device, cu->modules);
    woqi_free(device, cu);
    device->impl = NULL;
}

static enum woq_status take_primary(struct woq_device *device, uint32_t index)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    int count = 0;
    CUresult result = cu->api->device_get_count(&count);
    if (result)
        return woqi_cu_fail(device, result, "cuDeviceGetCount");
    if (index >= (uint32_t)count)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE,
                         "opening cuda:%" PRIu32 ": the driver lists %d device%s", index, count,
                         count == 1 ? "" : "s");
    result = cu->api->device_get(&cu->device, (int)index);
    if (result)
        return woqi_cu_fail(device, result, "cuDeviceGet(%" PRIu32 ")", index);
    char reason[128];
    result = query_capability(cu->api, cu->device, &cu->capability);
    if (result)
        return woqi_cu_fail(device, result, "cuDeviceGetAttribute(%" PRIu32 ")", index);
    if (refuse(cu->capability, reason, sizeof(reason)))
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "opening cuda:%" PRIu32 ": %s", index,
                         reason);
    result = cu->api->primary_ctx_retain(&cu->context, cu->device);
    if (result)
        return woqi_cu_fail(device, result, "cuDevicePrimaryCtxRetain");
    cu->primary = true;
    return WOQ_OK;
}

/* The guest's context is current when this is called. */
static enum woq_status take_stream(struct woq_device *device, CUstream stream)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    CUcontext context = NULL;
    CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
    CUresult result = cu->api->stream_get_ctx(stream, &context);
    if (result || context != cu->context)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_cuda_device_open: stream is not one of the context");
    result = cu->api->stream_is_capturing(stream, &capture);
    if (result)
        return woqi_cu_fail(device, result, "cuStreamIsCapturing");
    if (capture != CU_STREAM_CAPTURE_STATUS_NONE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_cuda_device_open: stream is capturing; the library's own runs need "
                         "one that executes");
    cu->stream = stream;
    return WOQ_OK;
}

/* By which the driver lists the device. */
static uint32_t find_index(const struct woqi_cu_api *api, CUdevice device)
{
    int count = 0;
    CUdevice other;
    if (api->device_get_count(&count))
        return 0;
    for (int i = 0; i < count; i++)
        if (!api->device_get(&other, i) && other == device)
            return (uint32_t)i;
    return 0;
}

static enum woq_status take_guest(struct woq_device *device, const struct woq_cuda_params *guest)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    CUcontext popped, context = guest->context;
    if (!context && (cu->api->ctx_get_current(&context) || !context))
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_cuda_device_open: no context is given and none is current");
    CUresult result = cu->api->ctx_push_current(context);
    if (result == CUDA_ERROR_INVALID_CONTEXT || result == CUDA_ERROR_INVALID_VALUE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_cuda_device_open: context is not a valid CUDA context");
    if (result)
        return woqi_cu_fail(device, result, "cuCtxPushCurrent");
    cu->context = context;
    enum woq_status st = WOQ_OK;
    char reason[128];
    result = cu->api->ctx_get_device(&cu->device);
    const char *call = "cuCtxGetDevice";
    if (!result) {
        call = "cuDeviceGetAttribute";
        result = query_capability(cu->api, cu->device, &cu->capability);
    }
    if (result)
        st = woqi_cu_fail(device, result, "%s", call);
    else if (refuse(cu->capability, reason, sizeof(reason)))
        st = woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "woq_cuda_device_open: %s", reason);
    else if (guest->stream)
        st = take_stream(device, guest->stream);
    if (!st)
        device->info.index = find_index(cu->api, cu->device);
    cu->api->ctx_pop_current(&popped);
    return st;
}

static enum woq_status describe(struct woq_device *device)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    const struct woqi_cu_api *api = cu->api;
    struct woq_device_info *info = &device->info;
    size_t total = 0;
    CUresult result = api->device_get_name(info->name, sizeof(info->name), cu->device);
    if (result)
        return woqi_cu_fail(device, result, "cuDeviceGetName");
    result = api->device_total_mem(&total, cu->device);
    if (result)
        return woqi_cu_fail(device, result, "cuDeviceTotalMem");
    info->kind = kind_of(api, cu->device);
    snprintf(info->vendor, sizeof(info->vendor), "NVIDIA");
    describe_driver(api, info->driver, sizeof(info->driver));
    info->features = WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_STORAGE8 |
                     WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX | WOQ_FEATURE_TIMESTAMPS |
                     WOQ_FEATURE_REPLAY | WOQ_FEATURE_SUBNORMAL16;
    snprintf(info->architecture, sizeof(info->architecture), "sm_%d", cu->capability);
    if (cu->capability >= BF16_CAPABILITY)
        info->features |= WOQ_FEATURE_MATRIX_BF16;
    info->subgroup_size = 32;
    info->max_allocation = total;
    info->max_binding = UINT32_MAX - 3u; /* what 32-bit offsets reach, in whole words */
    info->binding_alignment = 256;
    info->memory = total;
    info->timestamp_period = 500.0; /* cuEventElapsedTime promises about half a microsecond */

    const struct {
        CUdevice_attribute which;
        uint32_t *to;
    } limits[] = {
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &info->compute_units},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &info->max_workgroup},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, &info->max_groups[0]},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, &info->max_groups[1]},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, &info->max_groups[2]},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &info->shared_memory},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        int value = 0;
        result = api->device_get_attribute(&value, limits[i].which, cu->device);
        if (result)
            return woqi_cu_fail(device, result, "cuDeviceGetAttribute(%d)", (int)limits[i].which);
        *limits[i].to = (uint32_t)value;
    }
    cu->shared_memory = (int)info->shared_memory;
    return WOQ_OK;
}

/* What the context must hold before the first sequence. */
static enum woq_status equip(struct woq_device *device)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = CUDA_SUCCESS;
    const char *call = "cuStreamCreate";
    if (!cu->stream) {
        /* Non-blocking: an application's default stream and ours do not wait for each other. */
        result = cu->api->stream_create(&cu->stream, CU_STREAM_NON_BLOCKING);
        cu->own_stream = !result;
    }
    if (!result) {
        call = "cuMemAlloc";
        result = cu->api->mem_alloc(&cu->scratch, WOQI_CU_SCRATCH);
    }
    if (!result) {
        call = "cuEventCreate";
        result = cu->api->event_create(&cu->base, CU_EVENT_DEFAULT);
    }
    if (!result) {
        call = "cuEventRecord";
        result = cu->api->event_record(cu->base, cu->stream);
    }
    if (result)
        st = woqi_cu_fail(device, result, "%s, opening the device", call);
    woqi_cu_leave(device);
    return st;
}

static enum woq_status open_device(struct woq_device *device, uint32_t index, const void *guest)
{
    const char *reason;
    const struct woqi_cu_api *api = woqi_cu_load(&reason);
    if (!api)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "opening cuda:%" PRIu32 ": %s", index,
                         reason);
    struct woqi_cu_device *cu = woqi_alloc(device, 1, sizeof(*cu));
    if (!cu)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY,
                         "opening cuda:%" PRIu32 ": out of host memory", index);
    if (pthread_mutex_init(&cu->staging.lock, NULL)) {
        woqi_free(device, cu);
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "opening cuda:%" PRIu32 ": no mutex to be had", index);
    }
    cu->api = api;
    device->impl = cu;
    cu->modules = woqi_alloc(device, woqi_nv_module_count, sizeof(*cu->modules));
    if (!cu->modules) {
        close_device(device);
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "opening cuda:%" PRIu32 ": out of host memory", index);
    }
    enum woq_status st = guest ? take_guest(device, guest) : take_primary(device, index);
    if (!st)
        st = describe(device);
    if (!st)
        st = equip(device);
    if (st)
        close_device(device);
    return st;
}

static enum woq_status memory(struct woq_device *device, uint64_t *total, uint64_t *available)
{
    size_t free_bytes = 0, total_bytes = 0;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = woqi_cu_device(device)->api->mem_get_info(&free_bytes, &total_bytes);
    woqi_cu_leave(device);
    if (result)
        return woqi_cu_fail(device, result, "cuMemGetInfo");
    *total = total_bytes;
    *available = free_bytes;
    return WOQ_OK;
}

static enum woqi_layout layout(struct woq_device *device, const struct woq_format *format)
{
    (void)device;
    (void)format;
    return WOQI_LAYOUT_FRAG16B;
}

/* ---- guest mode ---- */

enum woq_status woq_cuda_device_open(const struct woq_cuda_params *guest,
                                     const struct woq_device_params *params,
                                     struct woq_device **out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    *out = NULL;
    st = WOQI_CHECK_NULL(NULL, guest);
    if (!st)
        st = WOQI_CHECK_STRUCT(NULL, guest);
    if (st)
        return st;
    return woqi_device_open(&woqi_backend_cuda, 0, guest, params, out);
}

enum woq_status woq_cuda_record(struct woq_commands *commands, const struct woq_binding *bindings,
                                size_t count, struct CUstream_st *stream)
{
    struct woqi_cu_target target = {stream};
    return woqi_commands_record(commands, bindings, count, &woqi_backend_cuda, &target);
}

const struct woqi_backend woqi_backend_cuda = {
    .id = WOQ_BACKEND_CUDA,
    .enumerate = enumerate,
    .open = open_device,
    .close = close_device,
    .memory = memory,
    .buffer_create = woqi_cu_buffer_create,
    .buffer_destroy = woqi_cu_buffer_destroy,
    .buffer_write = woqi_cu_buffer_write,
    .buffer_read = woqi_cu_buffer_read,
    .buffer_upload = woqi_cu_buffer_upload,
    .buffer_map = NULL,
    .buffer_unmap = NULL,
    .layout = layout,
    .kernel_probe = woqi_cu_kernel_probe,
    .kernel_create = woqi_cu_kernel_create,
    .kernel_destroy = woqi_cu_kernel_destroy,
    .sequence_create = woqi_cu_sequence_create,
    .sequence_submit = woqi_cu_sequence_submit,
    .sequence_wait = woqi_cu_sequence_wait,
    .sequence_times = woqi_cu_sequence_times,
    .sequence_destroy = woqi_cu_sequence_destroy,
    .record = woqi_cu_record,
    .record_release = woqi_cu_record_release,
};
