/*
 * cl_ptx.c: NVIDIA's devices, whose driver takes PTX as a program's binary: the kernels of shaders/cuda, with matrix
 * units, which OpenCL C does not reach.
 *
 * The driver compiles a module when one of its kernels is first made, 1 to 3 seconds, and remembers it by itself
 * (~/.nv/ComputeCache). Whether it takes such programs at all, the smallest one tells when the device is opened.
 */
#include "cl_backend.h"

#include <stdio.h>

#define MIN_CAPABILITY  75 /* 10·major + minor: what the modules are compiled for */
#define BF16_CAPABILITY 80
#define SHARED_LEAST    16                       /* bytes; OpenCL knows no 0 */
#define SHARED_KEPT     64                       /* of CL_DEVICE_LOCAL_MEM_SIZE, which a launch may not have whole */

#define WOQI_NV_MODULE(id, codes, x, capability, name)                                             \
    extern const unsigned char woqi_cl_ptx_##name[];                                               \
    extern const size_t woqi_cl_ptx_##name##_size;
#define WOQI_NV_CUDA_MODULE(id, codes, x, capability, name)
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE

/* By the number of the module; text NULL: not for OpenCL. */
static const struct {
    enum woqi_kernel_id id;
    const unsigned char *text;
    const size_t *size;
} modules[] = {
#define WOQI_NV_MODULE(id, codes, x, capability, name)                                             \
    {WOQI_KERNEL_##id, woqi_cl_ptx_##name, &woqi_cl_ptx_##name##_size},
#define WOQI_NV_CUDA_MODULE(id, codes, x, capability, name) {WOQI_KERNEL_##id, NULL, NULL},
#include "nv_modules.inc"
#undef WOQI_NV_CUDA_MODULE
#undef WOQI_NV_MODULE
    {WOQI_KERNEL_COUNT, NULL, NULL},
};

struct woqi_cl_ptx {
    int capability;
    pthread_mutex_t lock; /* of: */
    cl_program *programs; /* [woqi_nv_module_count], NULL until needed */
};

/* ---- programs ---- */

/* Builds one that is needed for the first time. level: of what the compiler says if it fails; *call is then what
 * failed. */
static cl_int build_module(struct woq_device *device, enum woq_log_level level, uint32_t module, const char *name,
                           const char **call)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    cl_program *program = &dev->ptx->programs[module];
    if (*program)
        return CL_SUCCESS;
    /* PTX is a string that ends with 0. */
    const cl_int code =
        woqi_cl_build_binary(device, modules[module].text, *modules[module].size + 1, "", program, call);
    if (code && *program) {
        char *log = woqi_cl_build_log(device, *program);
        if (log)
            woqi_log_text(device, level, name, log);
        woqi_free(device, log);
        dev->api->clReleaseProgram(*program);
        *program = NULL;
    }
    return code;
}

/* Does the driver take the smallest module? */
static bool takes_ptx(struct woq_device *device)
{
    const char *call;
    char spare[24];
    uint32_t least = 0;
    for (uint32_t i = 0; i < woqi_nv_module_count; i++)
        if (modules[i].text && (!modules[least].text || *modules[i].size < *modules[least].size))
            least = i;
    if (!modules[least].text)
        return false;
    const cl_int code = build_module(device, WOQ_LOG_WARNING, least, "(trial of PTX)", &call);
    if (code)
        woqi_log(device, WOQ_LOG_WARNING, "%s(PTX): %s; matrix units are not used", call,
                 woqi_cl_code_name(code, spare));
    return !code;
}

enum woq_status woqi_cl_ptx_open(struct woq_device *device)
{
    const int capability = device->info.kind == WOQ_DEVICE_KIND_CPU ? 0 : woqi_cl_capability(device);
    if (capability < MIN_CAPABILITY || !woqi_nv_module_count)
        return WOQ_OK;
    struct woqi_cl_ptx *ptx = woqi_alloc(device, 1, sizeof *ptx);
    if (ptx)
        ptx->programs = woqi_alloc(device, woqi_nv_module_count, sizeof *ptx->programs);
    if (!ptx || !ptx->programs || pthread_mutex_init(&ptx->lock, NULL)) {
        woqi_free(device, ptx ? ptx->programs : NULL);
        woqi_free(device, ptx);
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_device_open: out of host memory");
    }
    ptx->capability = capability;
    woqi_cl_of(device)->ptx = ptx;
    if (!takes_ptx(device)) {
        woqi_cl_ptx_close(device);
        return WOQ_OK;
    }
    device->info.subgroup_size = 32;
    device->info.features |= WOQ_FEATURE_FP16 | WOQ_FEATURE_SUBGROUPS | WOQ_FEATURE_MATRIX |
                             WOQ_FEATURE_SUBNORMAL16;
    if (capability >= BF16_CAPABILITY)
        device->info.features |= WOQ_FEATURE_MATRIX_BF16;
    if (device->info.shared_memory > SHARED_KEPT)
        device->info.shared_memory -= SHARED_KEPT;
    return WOQ_OK;
}

void woqi_cl_ptx_close(struct woq_device *device)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    struct woqi_cl_ptx *ptx = dev->ptx;
    if (!ptx)
        return;
    for (uint32_t i = 0; i < woqi_nv_module_count; i++)
        if (ptx->programs[i])
            dev->api->clReleaseProgram(ptx->programs[i]);
    pthread_mutex_destroy(&ptx->lock);
    woqi_free(device, ptx->programs);
    woqi_free(device, ptx);
    dev->ptx = NULL;
}

/* Once for all kernels of a module. */
static enum woq_status load_module(struct woq_device *device, uint32_t module, const char *name, cl_program *out)
{
    struct woqi_cl_ptx *ptx = woqi_cl_of(device)->ptx;
    const char *call = "";
    char text[64];
    pthread_mutex_lock(&ptx->lock);
    const cl_int code = build_module(device, WOQ_LOG_ERROR, module, name, &call);
    *out = ptx->programs[module];
    pthread_mutex_unlock(&ptx->lock);
    snprintf(text, sizeof text, "%s(PTX)", call);
    return code ? woqi_cl_fail(device, code, text) : WOQ_OK;
}

/* ---- kernels ---- */

bool woqi_cl_ptx_has(struct woq_device *device, enum woqi_kernel_id id)
{
    /* A device that is made to look like one without subgroups gets other kernels. */
    if (!woqi_cl_of(device)->ptx || !(device->info.features & WOQ_FEATURE_SUBGROUPS))
        return false;
    for (uint32_t i = 0; i < woqi_nv_module_count; i++)
        if (modules[i].id == id && modules[i].text)
            return true;
    return false;
}

bool woqi_cl_ptx_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t reason_size)
{
    const struct woqi_nv_target target = {woqi_cl_of(device)->ptx->capability, true};
    return woqi_nv_probe(device, target, key, reason, reason_size);
}

enum woq_status woqi_cl_ptx_object(struct woqi_kernel *kernel, cl_kernel *out)
{
    struct woqi_cl_device *dev = woqi_cl_of(kernel->device);
    struct woqi_nv_entry found;
    cl_program program = NULL;
    char call[96];
    if (!woqi_nv_find(kernel, &found) || !modules[found.module].text)
        return woqi_fail(kernel->device, WOQ_ERROR_UNSUPPORTED, "kernel %s: not written for OpenCL", kernel->name);
    const enum woq_status st = load_module(kernel->device, found.module, kernel->name, &program);
    if (st)
        return st;
    cl_int code = CL_SUCCESS;
    cl_kernel object = dev->api->clCreateKernel(program, found.entry, &code);
    snprintf(call, sizeof call, "clCreateKernel(%s)", found.entry);
    if (object && !code)
        code = dev->api->clSetKernelArg(object, WOQI_CL_SHARED_ARGUMENT, found.shared ? found.shared : SHARED_LEAST, NULL);
    if (!code) {
        *out = object;
        return WOQ_OK;
    }
    if (object)
        dev->api->clReleaseKernel(object);
    return woqi_cl_fail(kernel->device, code, call);
}

void woqi_cl_ptx_launch(const struct woqi_kernel *kernel, struct woqi_cl_launch *out)
{
    struct woqi_nv_entry found;
    if (!woqi_nv_find(kernel, &found))
        return;
    for (int i = 0; i < 3; i++)
        out->local[i] = found.block[i];
    if (found.shares)
        out->windows = WOQI_MAX_BIND;
}
