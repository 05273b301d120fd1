/* hc_device.c: devices, contexts, memory, modules and functions. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "hc_driver.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault_control control = {.countdown = -1};
static atomic_int_least64_t held[HC_KINDS];
static struct CUctx_st contexts[HC_DEVICES];

enum { STACK = 16 };
static _Thread_local CUcontext stack[STACK];
static _Thread_local int depth;

void hc_lock(void)
{
    pthread_mutex_lock(&lock);
}

void hc_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

CUcontext hc_current(void)
{
    return depth ? stack[depth - 1] : NULL;
}

CUresult hc_enter(const char *call, CUresult usual, bool current)
{
    const CUresult code = (CUresult)fault_inject(&control, call, (int)usual);
    if (code)
        return code;
    return current && (!hc_current() || !hc_current()->retained) ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

void hc_count(enum hc_kind kind, int change)
{
    atomic_fetch_add(&held[kind], change);
}

struct fault_control *host_cuda_control(void)
{
    return &control;
}

int64_t host_cuda_balance(char *words, size_t size)
{
    static const char *const names[HC_KINDS] = {"context", "stream",  "event", "memory",
                                                "pinned",  "module", "graph", "executable graph"};
    int64_t sum = 0;
    size_t used = 0;
    words[0] = 0;
    for (int i = 0; i < HC_KINDS; i++) {
        const int64_t count = atomic_load(&held[i]);
        sum += count < 0 ? -count : count;
        if (count && used < size)
            used += (size_t)snprintf(words + used, size - used, " %s %lld", names[i], (long long)count);
    }
    return sum;
}

/* A function that fails when told, and else does `body`, whose last value is `result`. */
#define CALL(call, usual, current, body)                                                           \
    hc_lock();                                                                                     \
    CUresult result = hc_enter(call, usual, current);                                              \
    if (!result) {                                                                                 \
        body                                                                                       \
    }                                                                                              \
    hc_unlock();                                                                                   \
    return result;

/* ---- driver and devices ---- */

CUresult CUDAAPI host_init(unsigned flags)
{
    CALL("cuInit", CUDA_ERROR_NO_DEVICE, false, { result = flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; })
}

CUresult CUDAAPI host_driver_get_version(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_INVALID_CLUSTER_SIZE, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster misconfiguration"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult CUDAAPI host_get_error_name(CUresult error, const char **out)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == error) {
            *out = errors[i].name;
            return CUDA_SUCCESS;
        }
    *out = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI host_get_error_string(CUresult error, const char **out)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == error) {
            *out = errors[i].text;
            return CUDA_SUCCESS;
        }
    *out = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI host_device_get_count(int *count)
{
    CALL("cuDeviceGetCount", CUDA_ERROR_UNKNOWN, false, { *count = HC_DEVICES; })
}

CUresult CUDAAPI host_device_get(CUdevice *device, int ordinal)
{
    CALL("cuDeviceGet", CUDA_ERROR_INVALID_DEVICE, false, {
        result = ordinal < 0 || ordinal >= HC_DEVICES ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
        *device = ordinal;
    })
}

CUresult CUDAAPI host_device_get_name(char *name, int length, CUdevice device)
{
    CALL("cuDeviceGetName", CUDA_ERROR_INVALID_DEVICE, false,
         { snprintf(name, (size_t)length, "host, device %d", device); })
}

CUresult CUDAAPI host_device_total_mem(size_t *bytes, CUdevice device)
{
    (void)device;
    CALL("cuDeviceTotalMem", CUDA_ERROR_INVALID_DEVICE, false, { *bytes = HC_MEMORY; })
}

CUresult CUDAAPI host_device_get_attribute(int *value, CUdevice_attribute which, CUdevice device)
{
    static const struct {
        CUdevice_attribute which;
        int value;
    } values[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, HC_CAPABILITY / 10},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, HC_CAPABILITY % 10},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, HC_SHARED},
    };
    CALL("cuDeviceGetAttribute", CUDA_ERROR_INVALID_DEVICE, false, {
        result = device < 0 || device >= HC_DEVICES ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
        *value = 0;
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            if (values[i].which == which)
                *value = values[i].value;
    })
}

/* ---- contexts ---- */

CUresult CUDAAPI host_primary_ctx_retain(CUcontext *out, CUdevice device)
{
    CALL("cuDevicePrimaryCtxRetain", CUDA_ERROR_OUT_OF_MEMORY, false, {
        contexts[device].device = device;
        contexts[device].retained++;
        hc_count(HC_CONTEXT, 1);
        *out = &contexts[device];
    })
}

CUresult CUDAAPI host_primary_ctx_release(CUdevice device)
{
    hc_lock();
    const bool had = contexts[device].retained > 0;
    if (had) {
        contexts[device].retained--;
        hc_count(HC_CONTEXT, -1);
    }
    hc_unlock();
    return had ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult CUDAAPI host_ctx_get_current(CUcontext *out)
{
    CALL("cuCtxGetCurrent", CUDA_ERROR_UNKNOWN, false, { *out = hc_current(); })
}

CUresult CUDAAPI host_ctx_get_device(CUdevice *out)
{
    CALL("cuCtxGetDevice", CUDA_ERROR_UNKNOWN, true, { *out = hc_current()->device; })
}

/* Works for every context that is alive, a lost one included; or nothing of it could be destroyed. */
CUresult CUDAAPI host_ctx_push_current(CUcontext context)
{
    hc_lock();
    const bool known = context >= contexts && context < contexts + HC_DEVICES && context->retained;
    hc_unlock();
    if (!known || depth == STACK)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_ctx_pop_current(CUcontext *out)
{
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    *out = stack[--depth];
    return CUDA_SUCCESS;
}

/* For guests, whom the library does not need. */
CUresult CUDAAPI host_ctx_set_current(CUcontext context) __asm__("cuCtxSetCurrent")
    __attribute__((visibility("default")));

CUresult CUDAAPI host_ctx_set_current(CUcontext context)
{
    depth = depth ? depth : 1;
    stack[depth - 1] = context;
    return CUDA_SUCCESS;
}

/* ---- memory ---- */

static struct block {
    struct block *next;
    uint8_t *at, *raw;
    size_t size;
    CUcontext context; /* NULL: page-locked memory of the host */
} *blocks;

static uint64_t taken[HC_DEVICES]; /* bytes */

/* Bytes `at` … of a block, or NULL. */
static const struct block *find_block(const void *at, uint64_t bytes)
{
    const uintptr_t from = (uintptr_t)at;
    for (const struct block *b = blocks; b; b = b->next) {
        const uintptr_t begin = (uintptr_t)b->at;
        if (from >= begin && from - begin <= b->size && bytes <= b->size - (from - begin))
            return b;
    }
    return NULL;
}

bool hc_is_memory(CUcontext context, CUdeviceptr at, uint64_t bytes)
{
    const struct block *b = find_block((const void *)(uintptr_t)at, bytes);
    return b && b->context == context;
}

bool hc_is_pinned(const void *at, size_t bytes)
{
    const struct block *b = find_block(at, bytes);
    return b && !b->context;
}

static struct block *add_block(size_t size, CUcontext context)
{
    struct block *b = malloc(sizeof *b);
    uint8_t *raw = b ? malloc(size + 256) : NULL;
    if (!raw) {
        free(b);
        return NULL;
    }
    memset(raw, 0xcb, size + 256);
    *b = (struct block){blocks, raw + (256 - (uintptr_t)raw % 256) % 256, raw, size, context};
    blocks = b;
    return b;
}

static bool remove_block(const void *at, bool pinned)
{
    for (struct block **b = &blocks; *b; b = &(*b)->next) {
        struct block *found = *b;
        if (found->at != at || pinned != !found->context)
            continue;
        *b = found->next;
        if (found->context)
            taken[found->context->device] -= found->size;
        free(found->raw);
        free(found);
        return true;
    }
    return false;
}

CUresult CUDAAPI host_mem_alloc(CUdeviceptr *out, size_t size)
{
    CALL("cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY, true, {
        uint64_t *sum = &taken[hc_current()->device];
        struct block *b = size && size <= HC_MEMORY - *sum ? add_block(size, hc_current()) : NULL;
        result = b ? CUDA_SUCCESS : size ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
        *out = b ? (CUdeviceptr)(uintptr_t)b->at : 0;
        *sum += b ? size : 0;
        hc_count(HC_BLOCK, b != NULL);
    })
}

/* Waits for the device, as CUDA does. */
CUresult CUDAAPI host_mem_free(CUdeviceptr at)
{
    hc_lock();
    CUresult result = hc_current() ? hc_run(NULL) : CUDA_ERROR_INVALID_CONTEXT;
    const bool had = at && remove_block((const void *)(uintptr_t)at, false);
    hc_count(HC_BLOCK, -had);
    hc_unlock();
    return at && !had ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult CUDAAPI host_mem_get_info(size_t *available, size_t *total)
{
    CALL("cuMemGetInfo", CUDA_ERROR_UNKNOWN, true, {
        *total = HC_MEMORY;
        *available = HC_MEMORY - taken[hc_current()->device];
    })
}

CUresult CUDAAPI host_mem_alloc_host(void **out, size_t size)
{
    CALL("cuMemAllocHost", CUDA_ERROR_OUT_OF_MEMORY, true, {
        struct block *b = add_block(size, NULL);
        result = b ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        *out = b ? b->at : NULL;
        hc_count(HC_PINNED, b != NULL);
    })
}

CUresult CUDAAPI host_mem_free_host(void *at)
{
    hc_lock();
    hc_run(NULL);
    const bool had = remove_block(at, true);
    hc_count(HC_PINNED, -had);
    hc_unlock();
    return had ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI host_pointer_get_attributes(unsigned count, CUpointer_attribute *which, void **values, CUdeviceptr at)
{
    CALL("cuPointerGetAttributes", CUDA_ERROR_UNKNOWN, true, {
        const struct block *b = find_block((const void *)(uintptr_t)at, 0);
        for (unsigned i = 0; b && i < count; i++) {
            switch (which[i]) {
            case CU_POINTER_ATTRIBUTE_CONTEXT:
                *(CUcontext *)values[i] = b->context;
                break;
            case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
                *(unsigned *)values[i] = b->context ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
                break;
            case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
                *(int *)values[i] = b->context ? b->context->device : 0;
                break;
            case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
                *(CUdeviceptr *)values[i] = (CUdeviceptr)(uintptr_t)b->at;
                break;
            case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
                *(size_t *)values[i] = b->size;
                break;
            default:
                result = CUDA_ERROR_INVALID_VALUE;
            }
        }
        result = b ? result : CUDA_ERROR_INVALID_VALUE;
    })
}

/* ---- modules ---- */

#define FATBIN 0xba55ed50u /* the first word of what fatbinary makes */
enum { MOST_FUNCTIONS = 64 };

struct CUmod_st {
    CUcontext context;
    struct CUfunc_st functions[MOST_FUNCTIONS];
    int count;
};

CUresult CUDAAPI host_module_load_data_ex(CUmodule *out, const void *image, unsigned count, CUjit_option *options,
                                          void **values)
{
    (void)count, (void)options, (void)values;
    CALL("cuModuleLoadDataEx", CUDA_ERROR_INVALID_IMAGE, true, {
        uint32_t magic;
        memcpy(&magic, image, sizeof magic);
        *out = magic == FATBIN ? calloc(1, sizeof **out) : NULL;
        result = *out ? CUDA_SUCCESS : magic == FATBIN ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_IMAGE;
        if (*out)
            (*out)->context = hc_current();
        hc_count(HC_MODULE, *out != NULL);
    })
}

CUresult CUDAAPI host_module_unload(CUmodule module)
{
    hc_lock();
    hc_run(NULL);
    hc_count(HC_MODULE, -1);
    hc_unlock();
    free(module);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_module_get_function(CUfunction *out, CUmodule module, const char *name)
{
    CALL("cuModuleGetFunction", CUDA_ERROR_NOT_FOUND, true, {
        CUfunction f = NULL;
        for (int i = 0; !f && i < module->count; i++)
            if (!strcmp(module->functions[i].name, name))
                f = &module->functions[i];
        if (!f && hc_find_entry(name) && module->count < MOST_FUNCTIONS) {
            f = &module->functions[module->count++];
            snprintf(f->name, sizeof f->name, "%s", name);
            f->module = module;
            f->entry = hc_find_entry(name);
            f->most_shared = HC_DEFAULT_SHARED;
        }
        *out = f;
        result = f ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
    })
}

CUresult CUDAAPI host_func_get_attribute(int *value, CUfunction_attribute which, CUfunction function)
{
    (void)function;
    CALL("cuFuncGetAttribute", CUDA_ERROR_INVALID_VALUE, true, {
        if (which == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
            *value = 1024;
        else if (which == CU_FUNC_ATTRIBUTE_PTX_VERSION)
            *value = HC_CAPABILITY;
        else
            result = CUDA_ERROR_INVALID_VALUE;
    })
}

CUresult CUDAAPI host_func_set_attribute(CUfunction function, CUfunction_attribute which, int value)
{
    CALL("cuFuncSetAttribute", CUDA_ERROR_INVALID_VALUE, true, {
        if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > HC_SHARED)
            result = CUDA_ERROR_INVALID_VALUE;
        else
            function->most_shared = value;
    })
}
