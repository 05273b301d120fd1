/* vk_loader.c: the Vulkan loader, function tables, and what VkResult codes mean. */
#include "vk_backend.h"

#include <dlfcn.h>
#include <string.h>

#include "../core/log.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static PFN_vkGetInstanceProcAddr get_instance_proc_addr;

/* The loader closes drivers with the last instance of the process. NVIDIA's (580.159) can not be opened
 * again without end: after some 60 instances, one after the other, vkCreateInstance fails. So one
 * instance, which is never used, keeps the drivers open. */
static void keep_drivers_open(void)
{
    static VkInstance kept; /* reachable for leak checkers */
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pApplicationInfo = &application};
    PFN_vkCreateInstance create =
        (PFN_vkCreateInstance)get_instance_proc_addr(NULL, "vkCreateInstance");
    if (create && create(&info, NULL, &kept))
        kept = VK_NULL_HANDLE; /* no driver: whoever asks for one gets the reason */
}

/* Never closed again: drivers leave threads and exit handlers behind that a dlclose would pull code
 * from under. */
static void open_loader(void)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    /* ISO C converts no object pointer to a function pointer; POSIX promises that their bits are
     * the same. */
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    _Static_assert(sizeof symbol == sizeof get_instance_proc_addr, "pointers of one size");
    memcpy(&get_instance_proc_addr, &symbol, sizeof symbol);
    if (get_instance_proc_addr)
        keep_drivers_open();
}

PFN_vkGetInstanceProcAddr woqi_vk_loader(const char **reason)
{
    pthread_once(&once, open_loader);
    if (!get_instance_proc_addr)
        *reason = "the Vulkan loader libvulkan.so.1 is not installed";
    return get_instance_proc_addr;
}

bool woqi_vk_load_instance(struct woqi_vk_instance *instance, const char **missing)
{
#define LOAD(name)                                                                                 \
    instance->fn.name = (PFN_vk##name)instance->get_proc(instance->handle, "vk" #name);            \
    if (!instance->fn.name) {                                                                      \
        *missing = "the driver lacks the function vk" #name;                                       \
        return false;                                                                              \
    }
    WOQI_VK_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    return true;
}

bool woqi_vk_load_device(struct woqi_vk_device *vk, const char **missing)
{
    PFN_vkGetDeviceProcAddr get = vk->instance.fn.GetDeviceProcAddr;
#define LOAD(name)                                                                                 \
    vk->fn.name = (PFN_vk##name)get(vk->handle, "vk" #name);                                       \
    if (!vk->fn.name) {                                                                            \
        *missing = "the driver lacks the function vk" #name;                                       \
        return false;                                                                              \
    }
    WOQI_VK_DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    return true;
}

/* clang-format off */
static const struct {
    VkResult result;
    enum woq_status status;
    const char *name;
} results[] = {
#define RESULT(name, status) {VK_##name, WOQ_##status, "VK_" #name}
    RESULT(SUCCESS, OK),
    RESULT(NOT_READY, ERROR_TIMEOUT),
    RESULT(TIMEOUT, ERROR_TIMEOUT),
    RESULT(INCOMPLETE, ERROR_DRIVER),
    RESULT(ERROR_OUT_OF_HOST_MEMORY, ERROR_OUT_OF_MEMORY),
    RESULT(ERROR_OUT_OF_DEVICE_MEMORY, ERROR_OUT_OF_DEVICE_MEMORY),
    RESULT(ERROR_TOO_MANY_OBJECTS, ERROR_OUT_OF_DEVICE_MEMORY),
    RESULT(ERROR_OUT_OF_POOL_MEMORY, ERROR_OUT_OF_DEVICE_MEMORY),
    RESULT(ERROR_FRAGMENTED_POOL, ERROR_OUT_OF_DEVICE_MEMORY),
    RESULT(ERROR_FRAGMENTATION, ERROR_OUT_OF_DEVICE_MEMORY),
    RESULT(ERROR_MEMORY_MAP_FAILED, ERROR_OUT_OF_MEMORY),
    RESULT(ERROR_DEVICE_LOST, ERROR_DEVICE_LOST),
    RESULT(ERROR_INITIALIZATION_FAILED, ERROR_NO_DEVICE),
    RESULT(ERROR_INCOMPATIBLE_DRIVER, ERROR_NO_DEVICE),
    RESULT(ERROR_LAYER_NOT_PRESENT, ERROR_NO_DEVICE),
    RESULT(ERROR_EXTENSION_NOT_PRESENT, ERROR_NO_DEVICE),
    RESULT(ERROR_FEATURE_NOT_PRESENT, ERROR_NO_DEVICE),
    RESULT(ERROR_INVALID_SHADER_NV, ERROR_COMPILE),
    RESULT(ERROR_VALIDATION_FAILED_EXT, ERROR_DRIVER),
    RESULT(ERROR_UNKNOWN, ERROR_DRIVER),
#undef RESULT
};
/* clang-format on */

const char *woqi_vk_result_name(VkResult result)
{
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].result == result)
            return results[i].name;
    return "an unknown VkResult";
}

enum woq_status woqi_vk_fail(struct woq_device *device, VkResult result, const char *call)
{
    enum woq_status status = WOQ_ERROR_DRIVER;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].result == result && results[i].status != WOQ_OK)
            status = results[i].status;
    return woqi_fail(device, status, "%s: %s (%d)", call, woqi_vk_result_name(result), (int)result);
}
