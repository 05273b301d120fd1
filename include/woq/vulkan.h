/*
 * woq/vulkan.h: guest mode on an application's own Vulkan device.
 *
 *     struct woq_vulkan_params guest = WOQ_VULKAN_PARAMS_INIT;
 *     guest.get_instance_proc_addr = vkGetInstanceProcAddr;
 *     guest.instance = instance; guest.physical_device = gpu; guest.device = device;
 *     guest.queue_family = family; guest.queue = queue;
 *     st = woq_vulkan_device_open(&guest, NULL, &dev);
 *     st = woq_vulkan_buffer_import(dev, &(struct woq_vulkan_buffer){…}, &x);
 *     …
 *     st = woq_vulkan_record(cmds, bindings, 3, command_buffer);
 *
 * What woq_vulkan_record does to the caller's command buffer, which must be recording, outside a
 * render pass, of a family with compute:
 *   - clobbers: the pipeline, descriptor set 0 and push constants of the compute bind point;
 *   - at entry: a barrier from COMPUTE_SHADER and TRANSFER to the same stages, for the workspace alone;
 *   - reads and writes happen in COMPUTE_SHADER (SHADER_READ, SHADER_WRITE) and, if copies were
 *     recorded, TRANSFER (TRANSFER_READ, TRANSFER_WRITE). The caller makes inputs visible to these
 *     beforehand, and results visible to what follows; no barrier is recorded at exit.
 *   - The commands object and everything bound must stay alive until the command buffer has executed
 *     for the last time.
 *
 * Threading: as woq/device.h. The library submits to `queue` from the threads that call it, between
 * lock_queue and unlock_queue where given.
 */
#ifndef WOQ_VULKAN_H
#define WOQ_VULKAN_H

#include <vulkan/vulkan_core.h>
#include <woq/command.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_vulkan_params {
    size_t struct_size;
    PFN_vkGetInstanceProcAddr get_instance_proc_addr; /* NULL = from the loader libvulkan.so.1 */
    VkInstance instance;              /* 1.1 or later; all handles are borrowed and must outlive the */
    VkPhysicalDevice physical_device; /* woq_device and its objects */
    VkDevice device;
    uint32_t queue_family; /* of `queue`, and of the command buffers recorded into; with compute */
    VkQueue queue;         /* for transfers and the library's own runs */
    uint32_t api_version;  /* that the instance was created with; 0 = VK_API_VERSION_1_1 */
    const char *const *extensions; /* enabled on the device; what is not listed is not used */
    uint32_t extension_count;
    const VkPhysicalDeviceFeatures2 *features; /* as given to vkCreateDevice, with its pNext chain;
                                                  NULL = none beyond the core minimum */
    void (*lock_queue)(void *user);   /* both or neither */
    void (*unlock_queue)(void *user);
    void *user;
};
#define WOQ_VULKAN_PARAMS_INIT                                                                     \
    {sizeof(struct woq_vulkan_params), NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0, NULL, NULL,    \
     NULL, NULL}

/* What cannot be queried from a VkBuffer. */
struct woq_vulkan_buffer {
    size_t struct_size;
    VkBuffer buffer;          /* bound to memory; borrowed, must outlive the woq_buffer and its work */
    uint64_t offset;          /* where the woq_buffer begins, a multiple of 256 */
    uint64_t size;            /* bytes of it, a multiple of 4 */
    VkBufferUsageFlags usage; /* STORAGE_BUFFER is needed; TRANSFER_SRC/DST for read, write, copies */
};
#define WOQ_VULKAN_BUFFER_INIT {sizeof(struct woq_vulkan_buffer), VK_NULL_HANDLE, 0, 0, 0}

/* Returns WOQ_OK; INVALID_ARGUMENT (NULL handle, family without compute, one lock callback of two);
 * NO_DEVICE; UNSUPPORTED (below Vulkan 1.1); and what woq_device_open returns. */
WOQ_API enum woq_status woq_vulkan_device_open(const struct woq_vulkan_params *guest,
                                               const struct woq_device_params *params,
                                               struct woq_device **out);

/* Returns WOQ_OK; INVALID_ARGUMENT (NULL, misaligned, size 0, memory requirements smaller than
 * offset + size, no STORAGE_BUFFER usage); OUT_OF_MEMORY; DRIVER. */
WOQ_API enum woq_status woq_vulkan_buffer_import(struct woq_device *device,
                                                 const struct woq_vulkan_buffer *import,
                                                 struct woq_buffer **out);

/* Records with the values given now, frozen. Returns as woq_commands_run, never BUSY; UNSUPPORTED if
 * timestamps were recorded. */
WOQ_API enum woq_status woq_vulkan_record(struct woq_commands *commands,
                                          const struct woq_binding *bindings, size_t count,
                                          VkCommandBuffer command_buffer);

/* The VkBuffer behind a buffer of a Vulkan device, and where the buffer begins in it;
 * VK_NULL_HANDLE for others. offset may be NULL. */
WOQ_API VkBuffer woq_vulkan_buffer_native(const struct woq_buffer *buffer, uint64_t *offset);

#ifdef __cplusplus
}
#endif
#endif
