/* cl_device.c: finding, opening and describing OpenCL devices; the backend's table. */
#include "cl_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS  16u
#define MAX_DEVICES    16u /* of one platform */
#define MAX_CANDIDATES 64u

/* A device, or a platform that has none, in the loader's order. Usable ones are numbered from 0. */
struct candidate {
    cl_platform_id platform;
    cl_device_id id;  /* NULL: the row is about a platform */
    char reason[160]; /* empty = usable */
};

/* ---- queries ---- */

/* Text of a device or platform without leading and trailing blanks; "" if it cannot be had. */
static void trim_into(char *out, size_t size, const char *text)
{
    while (*text == ' ')
        text++;
    size_t length = strlen(text);
    while (length && text[length - 1] == ' ')
        length--;
    if (length >= size)
        length = size - 1;
    memcpy(out, text, length);
    out[length] = 0;
}

static void device_text(const struct woqi_cl_api *cl, cl_device_id id, cl_device_info what,
                        char *out, size_t size)
{
    char text[1024] = "";
    if (cl->clGetDeviceInfo(id, what, sizeof text - 1, text, NULL))
        text[0] = 0;
    trim_into(out, size, text);
}

static void platform_text(const struct woqi_cl_api *cl, cl_platform_id id, cl_platform_info what,
                          char *out, size_t size)
{
    char text[1024] = "";
    if (!id || cl->clGetPlatformInfo(id, what, sizeof text - 1, text, NULL))
        text[0] = 0;
    trim_into(out, size, text);
}

/* A scalar of up to 64 bits; 0 if the driver does not know it. */
static uint64_t device_value(const struct woqi_cl_api *cl, cl_device_id id, cl_device_info what)
{
    unsigned char bytes[8] = {0}; /* little-endian, as every host of this library */
    size_t size = 0;
    if (cl->clGetDeviceInfo(id, what, sizeof bytes, bytes, &size) || size > sizeof bytes)
        return 0;
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

/* 12, 20, 30 from "OpenCL 3.0 …"; 0 if malformed. */
static unsigned device_version(const struct woqi_cl_api *cl, cl_device_id id)
{
    char text[128];
    device_text(cl, id, CL_DEVICE_VERSION, text, sizeof text);
    unsigned major = 0, minor = 0;
    if (sscanf(text, "OpenCL %u.%u", &major, &minor) != 2)
        return 0;
    return major * 10 + minor;
}

static enum woq_device_kind device_kind(const struct woqi_cl_api *cl, cl_device_id id)
{
    const uint64_t type = device_value(cl, id, CL_DEVICE_TYPE);
    if (type & CL_DEVICE_TYPE_CPU)
        return WOQ_DEVICE_KIND_CPU;
    if (type & CL_DEVICE_TYPE_GPU)
        return device_value(cl, id, CL_DEVICE_HOST_UNIFIED_MEMORY) ? WOQ_DEVICE_KIND_INTEGRATED_GPU
                                                                   : WOQ_DEVICE_KIND_DISCRETE_GPU;
    return type & CL_DEVICE_TYPE_ACCELERATOR ? WOQ_DEVICE_KIND_ACCELERATOR : WOQ_DEVICE_KIND_OTHER;
}

/* Writes why the device cannot be used, or "". */
static void judge(const struct woqi_cl_api *cl, cl_device_id id, char *reason, size_t size)
{
    const size_t arguments = WOQ_BIND_COUNT * (sizeof(cl_mem) + sizeof(cl_ulong)) +
                             sizeof(struct woqi_args);
    const unsigned version = device_version(cl, id);
    reason[0] = 0;
    if (!device_value(cl, id, CL_DEVICE_AVAILABLE))
        snprintf(reason, size, "the driver says that the device is not available");
    else if (version < 12)
        snprintf(reason, size, "OpenCL %u.%u; 1.2 is needed", version / 10, version % 10);
    else if (!device_value(cl, id, CL_DEVICE_COMPILER_AVAILABLE))
        snprintf(reason, size, "the driver has no compiler");
    else if (!device_value(cl, id, CL_DEVICE_ENDIAN_LITTLE))
        snprintf(reason, size, "the device is big-endian");
    else if (device_value(cl, id, CL_DEVICE_MAX_PARAMETER_SIZE) < arguments)
        snprintf(reason, size, "kernels take less than %zu bytes of arguments", arguments);
}

static size_t list_platform(const struct woqi_cl_api *cl, cl_platform_id platform,
                            struct candidate *out, size_t room)
{
    cl_device_id ids[MAX_DEVICES];
    cl_uint count = 0;
    char name[96], spare[24];
    const cl_int code = cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &count);
    if (count > MAX_DEVICES)
        count = MAX_DEVICES;
    if (code || !count) {
        platform_text(cl, platform, CL_PLATFORM_NAME, name, sizeof name);
        out[0] = (struct candidate){.platform = platform};
        snprintf(out[0].reason, sizeof out[0].reason, "platform '%s' has no devices (%s)", name,
                 woqi_cl_code_name(code ? code : CL_DEVICE_NOT_FOUND, spare));
        return 1;
    }
    size_t n = 0;
    for (; n < count && n < room; n++) {
        out[n] = (struct candidate){.platform = platform, .id = ids[n]};
        judge(cl, ids[n], out[n].reason, sizeof out[n].reason);
    }
    return n;
}

/* At least one row: what is there, or why there is nothing. */
static size_t list_candidates(const struct woqi_cl_api **cl,
                              struct candidate out[static MAX_CANDIDATES])
{
    const char *reason = NULL;
    *cl = woqi_cl_load(&reason);
    out[0] = (struct candidate){0};
    if (!*cl) {
        snprintf(out[0].reason, sizeof out[0].reason, "%s", reason);
        return 1;
    }
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint count = 0;
    char spare[24];
    const cl_int code = (*cl)->clGetPlatformIDs(MAX_PLATFORMS, platforms, &count);
    if (code || !count) {
        snprintf(out[0].reason, sizeof out[0].reason,
                 "the OpenCL loader finds no driver (clGetPlatformIDs: %s)",
                 woqi_cl_code_name(code, spare));
        return 1;
    }
    if (count > MAX_PLATFORMS)
        count = MAX_PLATFORMS;
    size_t n = 0;
    for (cl_uint p = 0; p < count && n < MAX_CANDIDATES; p++)
        n += list_platform(*cl, platforms[p], out + n, MAX_CANDIDATES - n);
    return n;
}

static void driver_text(const struct woqi_cl_api *cl, const struct candidate *c, char *out,
                        size_t size)
{
    char platform[64], version[64];
    platform_text(cl, c->platform, CL_PLATFORM_NAME, platform, sizeof platform);
    device_text(cl, c->id, CL_DRIVER_VERSION, version, sizeof version);
    snprintf(out, size, "%s %s", platform, version);
}

static enum woq_status cl_enumerate(struct woqi_enumeration *out)
{
    const struct woqi_cl_api *cl = NULL;
    struct candidate list[MAX_CANDIDATES];
    const size_t count = list_candidates(&cl, list);
    uint32_t index = 0;
    for (size_t i = 0; i < count; i++) {
        const struct candidate *c = &list[i];
        struct woq_device_entry entry = {.backend = WOQ_BACKEND_OPENCL};
        entry.usable = c->id && !c->reason[0];
        if (c->id) {
            entry.kind = device_kind(cl, c->id);
            device_text(cl, c->id, CL_DEVICE_NAME, entry.name, sizeof entry.name);
            driver_text(cl, c, entry.driver, sizeof entry.driver);
        }
        if (entry.usable)
            entry.index = index++;
        else
            snprintf(entry.reason, sizeof entry.reason, "%s", c->reason);
        out->emit(out, &entry);
    }
    return WOQ_OK;
}

/* ---- opening ---- */

bool woqi_cl_has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = strstr(list, word); at; at = strstr(at + 1, word)) {
        const bool begins = at == list || at[-1] == ' ';
        if (begins && (at[length] == ' ' || at[length] == 0))
            return true;
    }
    return false;
}

static enum woq_status extension_features(struct woq_device *device, uint32_t *features)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    size_t size = 0;
    cl_int code = dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_EXTENSIONS, 0, NULL, &size);
    if (code)
        return woqi_cl_fail(device, code, "clGetDeviceInfo(CL_DEVICE_EXTENSIONS)");
    char *list = woqi_alloc(device, size + 1, 1);
    if (!list)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_device_open: out of host memory");
    code = dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_EXTENSIONS, size, list, NULL);
    if (!code) {
        if (woqi_cl_has_word(list, "cl_khr_fp16"))
            *features |= WOQ_FEATURE_FP16;
        if (woqi_cl_has_word(list, "cl_khr_subgroups"))
            *features |= WOQ_FEATURE_SUBGROUPS;
        if (device->info.kind != WOQ_DEVICE_KIND_CPU)
            woqi_cl_gpu_open(dev, list);
        if (dev->gpu.matrix)
            *features |= WOQ_FEATURE_MATRIX;
    }
    woqi_free(device, list);
    if (code)
        return woqi_cl_fail(device, code, "clGetDeviceInfo(CL_DEVICE_EXTENSIONS)");
    if (device_version(dev->api, dev->id) >= 21 &&
        device_value(dev->api, dev->id, CL_DEVICE_MAX_NUM_SUB_GROUPS) > 0)
        *features |= WOQ_FEATURE_SUBGROUPS;
    return WOQ_OK;
}

static uint32_t clamp32(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static enum woq_status fill_info(struct woq_device *device)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    const struct woqi_cl_api *cl = dev->api;
    struct woq_device_info *info = &device->info;
    const struct candidate self = {.platform = dev->platform, .id = dev->id};
    info->kind = device_kind(cl, dev->id);
    device_text(cl, dev->id, CL_DEVICE_NAME, info->name, sizeof info->name);
    if (info->kind == WOQ_DEVICE_KIND_CPU) {
        char platform[64], version[64];
        platform_text(cl, dev->platform, CL_PLATFORM_NAME, platform, sizeof platform);
        device_text(cl, dev->id, CL_DRIVER_VERSION, version, sizeof version);
        dev->dots = woqi_cl_cpu_dots(device, platform, version);
    }
    platform_text(cl, dev->platform, CL_PLATFORM_VENDOR, info->vendor, sizeof info->vendor);
    driver_text(cl, &self, info->driver, sizeof info->driver);
    woqi_cl_architecture(device);

    info->features = WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_STORAGE8 | WOQ_FEATURE_REPLAY;
    if (info->kind == WOQ_DEVICE_KIND_CPU ||
        device_value(cl, dev->id, CL_DEVICE_HOST_UNIFIED_MEMORY))
        info->features |= WOQ_FEATURE_HOST_MEMORY;
    cl_command_queue_properties properties = 0;
    cl_int code = cl->clGetCommandQueueInfo(dev->queue, CL_QUEUE_PROPERTIES, sizeof properties,
                                            &properties, NULL);
    if (code)
        return woqi_cl_fail(device, code, "clGetCommandQueueInfo(CL_QUEUE_PROPERTIES)");
    if (properties & CL_QUEUE_PROFILING_ENABLE) {
        info->features |= WOQ_FEATURE_TIMESTAMPS;
        info->timestamp_period = (double)device_value(cl, dev->id,
                                                      CL_DEVICE_PROFILING_TIMER_RESOLUTION);
        if (info->timestamp_period <= 0)
            info->timestamp_period = 1;
    }

    size_t items[3] = {1, 1, 1};
    code = cl->clGetDeviceInfo(dev->id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL);
    if (code)
        items[0] = 1; /* more than three dimensions do not fit; size 1 works everywhere */
    info->max_workgroup = clamp32(
        woqi_min(device_value(cl, dev->id, CL_DEVICE_MAX_WORK_GROUP_SIZE), items[0]));
    info->compute_units = clamp32(device_value(cl, dev->id, CL_DEVICE_MAX_COMPUTE_UNITS));
    /* OpenCL tells no limit for groups; y and z are those of the launch underneath on NVIDIA. */
    info->max_groups[0] = INT32_MAX;
    info->max_groups[1] = info->max_groups[2] = 65535;
    info->shared_memory = clamp32(device_value(cl, dev->id, CL_DEVICE_LOCAL_MEM_SIZE));
    info->memory = device_value(cl, dev->id, CL_DEVICE_GLOBAL_MEM_SIZE);
    /* Buffers are rounded up to 64 bytes, which must stay within the limit. */
    info->max_allocation = device_value(cl, dev->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE) & ~UINT64_C(63);
    info->max_binding = woqi_min(info->max_allocation, UINT32_MAX - UINT32_C(3));
    /* Windows are a cl_mem and an offset that the kernel adds: any alignment would do. */
    info->binding_alignment = 256;
    if (!info->max_workgroup || !info->memory || !info->max_allocation)
        return woqi_fail(device, WOQ_ERROR_DRIVER,
                         "clGetDeviceInfo: the driver does not tell %s",
                         !info->max_workgroup ? "CL_DEVICE_MAX_WORK_GROUP_SIZE"
                         : !info->memory      ? "CL_DEVICE_GLOBAL_MEM_SIZE"
                                              : "CL_DEVICE_MAX_MEM_ALLOC_SIZE");
    const enum woq_status st = extension_features(device, &info->features);
    return st ? st : woqi_cl_ptx_open(device);
}

static void fill_identity(struct woqi_cl_device *dev)
{
    static const cl_device_info texts[] = {CL_DEVICE_NAME, CL_DEVICE_VERSION, CL_DRIVER_VERSION};
    size_t used = 0;
    char text[128];
    platform_text(dev->api, dev->platform, CL_PLATFORM_NAME, text, sizeof text);
    used += (size_t)snprintf(dev->identity, sizeof dev->identity, "%s", text);
    platform_text(dev->api, dev->platform, CL_PLATFORM_VERSION, text, sizeof text);
    used += (size_t)snprintf(dev->identity + used, sizeof dev->identity - used, " | %s", text);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        device_text(dev->api, dev->id, texts[i], text, sizeof text);
        used += (size_t)snprintf(dev->identity + used, sizeof dev->identity - used, " | %s", text);
    }
    /* Tells CPUs apart that differ in their vector instructions and not in their name. */
    snprintf(dev->identity + used, sizeof dev->identity - used, " | %u",
             (unsigned)device_value(dev->api, dev->id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT));
}

static void cl_close(struct woq_device *device)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    if (!dev)
        return;
    if (dev->queue) {
        dev->api->clFinish(dev->queue);
        dev->api->clReleaseCommandQueue(dev->queue);
    }
    woqi_cl_ptx_close(device);
    if (dev->context)
        dev->api->clReleaseContext(dev->context);
    if (dev->guest && dev->id)
        dev->api->clReleaseDevice(dev->id);
    if (dev->has_lock)
        pthread_mutex_destroy(&dev->submit_lock);
    woqi_free(device, dev);
    device->impl = NULL;
}

static enum woq_status create_queue(struct woq_device *device)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    cl_int code = CL_SUCCESS;
    dev->queue = dev->api->clCreateCommandQueue(dev->context, dev->id, CL_QUEUE_PROFILING_ENABLE,
                                                &code);
    if (!dev->queue && code == CL_INVALID_QUEUE_PROPERTIES)
        dev->queue = dev->api->clCreateCommandQueue(dev->context, dev->id, 0, &code);
    return dev->queue ? WOQ_OK : woqi_cl_fail(device, code, "clCreateCommandQueue");
}

static enum woq_status choose_device(struct woq_device *device, uint32_t index)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    struct candidate list[MAX_CANDIDATES];
    const size_t count = list_candidates(&dev->api, list);
    uint32_t usable = 0;
    const char *refused = "";
    for (size_t i = 0; i < count; i++) {
        if (list[i].reason[0]) {
            refused = list[i].reason;
        } else if (usable++ == index) {
            dev->platform = list[i].platform;
            dev->id = list[i].id;
            return WOQ_OK;
        }
    }
    return woqi_fail(device, WOQ_ERROR_NO_DEVICE,
                     "opencl:%u: no such device; usable OpenCL devices: %u%s%s", (unsigned)index,
                     (unsigned)usable, refused[0] ? "; refused: " : "", refused);
}

static enum woq_status open_own(struct woq_device *device, uint32_t index)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    enum woq_status st = choose_device(device, index);
    if (st)
        return st;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)dev->platform, 0};
    cl_int code = CL_SUCCESS;
    dev->context = dev->api->clCreateContext(properties, 1, &dev->id, NULL, NULL, &code);
    if (!dev->context)
        return woqi_cl_fail(device, code, "clCreateContext");
    return create_queue(device);
}

/* ---- guest ---- */

static enum woq_status check_guest_device(struct woq_device *device,
                                          const struct woq_opencl_params *guest)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    size_t size = 0;
    cl_int code = dev->api->clGetContextInfo(guest->context, CL_CONTEXT_DEVICES, 0, NULL, &size);
    if (code == CL_INVALID_CONTEXT)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_device_open: context is not a valid cl_context");
    if (code)
        return woqi_cl_fail(device, code, "clGetContextInfo(CL_CONTEXT_DEVICES)");
    cl_device_id *ids = woqi_alloc(device, size + sizeof *ids, 1);
    if (!ids)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_opencl_device_open: out of host memory");
    bool found = false;
    code = dev->api->clGetContextInfo(guest->context, CL_CONTEXT_DEVICES, size, ids, NULL);
    for (size_t i = 0; !code && i < size / sizeof *ids; i++)
        found |= ids[i] == guest->device;
    woqi_free(device, ids);
    if (code)
        return woqi_cl_fail(device, code, "clGetContextInfo(CL_CONTEXT_DEVICES)");
    if (!found)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_device_open: device is not one of context's devices");
    char reason[160];
    judge(dev->api, guest->device, reason, sizeof reason);
    if (reason[0])
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "woq_opencl_device_open: %s", reason);
    return WOQ_OK;
}

cl_int woqi_cl_query_queue(const struct woqi_cl_api *cl, cl_command_queue queue,
                           struct woqi_cl_queue *out)
{
    cl_command_queue_properties properties = 0;
    cl_int code = cl->clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof out->context,
                                            &out->context, NULL);
    if (!code)
        code = cl->clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof out->device, &out->device,
                                         NULL);
    if (!code)
        code = cl->clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties,
                                         NULL);
    out->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    return code;
}

static enum woq_status check_guest_queue(struct woq_device *device,
                                         const struct woq_opencl_params *guest)
{
    struct woqi_cl_queue q = {0};
    const cl_int code = woqi_cl_query_queue(woqi_cl_of(device)->api, guest->queue, &q);
    if (code && code != CL_INVALID_COMMAND_QUEUE)
        return woqi_cl_fail(device, code, "clGetCommandQueueInfo");
    const char *wrong = code                          ? "is not a valid cl_command_queue"
                        : q.context != guest->context ? "belongs to another cl_context"
                        : q.device != guest->device   ? "belongs to another cl_device_id"
                        : q.out_of_order              ? "is out-of-order; must be in-order"
                                                      : NULL;
    if (wrong)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_opencl_device_open: queue %s",
                         wrong);
    return WOQ_OK;
}

static enum woq_status open_guest(struct woq_device *device, const struct woq_opencl_params *guest)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    const char *reason = NULL;
    dev->api = woqi_cl_load(&reason);
    if (!dev->api)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE, "woq_opencl_device_open: %s", reason);
    enum woq_status st = check_guest_device(device, guest);
    if (!st && guest->queue)
        st = check_guest_queue(device, guest);
    if (st)
        return st;
    cl_int code = dev->api->clRetainContext(guest->context);
    if (code)
        return woqi_cl_fail(device, code, "clRetainContext");
    dev->context = guest->context;
    code = dev->api->clRetainDevice(guest->device);
    if (code)
        return woqi_cl_fail(device, code, "clRetainDevice");
    dev->guest = true;
    dev->id = guest->device;
    code = dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_PLATFORM, sizeof dev->platform,
                                     &dev->platform, NULL);
    if (code)
        return woqi_cl_fail(device, code, "clGetDeviceInfo(CL_DEVICE_PLATFORM)");
    if (!guest->queue)
        return create_queue(device);
    code = dev->api->clRetainCommandQueue(guest->queue);
    if (code)
        return woqi_cl_fail(device, code, "clRetainCommandQueue");
    dev->queue = guest->queue;
    return WOQ_OK;
}

static enum woq_status cl_open(struct woq_device *device, uint32_t index, const void *guest)
{
    struct woqi_cl_device *dev = woqi_alloc(device, 1, sizeof *dev);
    if (!dev)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_device_open: out of host memory");
    device->impl = dev;
    enum woq_status st = WOQ_OK;
    dev->has_lock = pthread_mutex_init(&dev->submit_lock, NULL) == 0;
    if (!dev->has_lock) {
        st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_device_open: no mutex to be had");
        goto fail;
    }
    st = guest ? open_guest(device, guest) : open_own(device, index);
    if (st)
        goto fail;
    fill_identity(dev);
    st = fill_info(device);
    if (st)
        goto fail;
    return WOQ_OK;
fail:
    cl_close(device);
    return st;
}

static enum woq_status cl_memory(struct woq_device *device, uint64_t *total, uint64_t *available)
{
    /* OpenCL tells only the total. */
    const uint64_t used = atomic_load(&device->used);
    *total = device->info.memory;
    *available = *total > used ? *total - used : 0;
    return WOQ_OK;
}

static enum woqi_layout cl_layout(struct woq_device *device, const struct woq_format *format)
{
    (void)format;
    return device->info.kind == WOQ_DEVICE_KIND_CPU ? WOQI_LAYOUT_PANEL16 : WOQI_LAYOUT_FRAG16B;
}

enum woq_status woq_opencl_device_open(const struct woq_opencl_params *guest,
                                       const struct woq_device_params *params,
                                       struct woq_device **out)
{
    if (out)
        *out = NULL;
    if (!guest || !out)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "woq_opencl_device_open: %s is NULL",
                         guest ? "out" : "guest");
    if (guest->struct_size != sizeof *guest)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_device_open: guest->struct_size is %zu; this library knows "
                         "%zu (use WOQ_OPENCL_PARAMS_INIT)",
                         guest->struct_size, sizeof *guest);
    if (!guest->context || !guest->device)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_device_open: guest->%s is NULL",
                         guest->context ? "device" : "context");
    return woqi_device_open(&woqi_backend_opencl, 0, guest, params, out);
}

const struct woqi_backend woqi_backend_opencl = {
    .id = WOQ_BACKEND_OPENCL,
    .enumerate = cl_enumerate,
    .open = cl_open,
    .close = cl_close,
    .memory = cl_memory,
    .buffer_create = woqi_cl_buffer_create,
    .buffer_destroy = woqi_cl_buffer_destroy,
    .buffer_write = woqi_cl_buffer_write,
    .buffer_read = woqi_cl_buffer_read,
    .buffer_upload = woqi_cl_buffer_upload,
    .buffer_map = woqi_cl_buffer_map,
    .buffer_unmap = woqi_cl_buffer_unmap,
    .layout = cl_layout,
    .kernel_probe = woqi_cl_kernel_probe,
    .kernel_create = woqi_cl_kernel_create,
    .kernel_destroy = woqi_cl_kernel_destroy,
    .sequence_create = woqi_cl_sequence_create,
    .sequence_submit = woqi_cl_sequence_submit,
    .sequence_wait = woqi_cl_sequence_wait,
    .sequence_times = woqi_cl_sequence_times,
    .sequence_destroy = woqi_cl_sequence_destroy,
    .record = woqi_cl_record,
    .record_release = woqi_cl_record_release,
};
