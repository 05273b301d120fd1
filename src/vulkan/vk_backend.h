/*
 * vk_backend.h: what the files of the Vulkan backend share.
 *
 * Function pointers lie in tables inside each device. The usual meta-loader keeps its instance
 * table in process globals and would export vk… symbols from a static library; two devices of two
 * instances need two tables.
 *
 * Objects: struct woqi_vk_device, _buffer, _kernel are the impl of the core objects of these names.
 *
 * Locks: `queue_lock` for vkQueueSubmit, `transfer.lock` for staging; transfer.lock is taken first. A kernel's
 * lock while its pipeline is built, `cache_lock` while the pipeline cache is written; neither with another.
 */
#ifndef WOQI_VK_BACKEND_H
#define WOQI_VK_BACKEND_H

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>
#include <woq/vulkan.h>

#include "vk_compat.h"

#include "../core/backend.h"

/* clang-format off */
#define WOQI_VK_INSTANCE_FUNCTIONS(F)                                                              \
    F(EnumeratePhysicalDevices)                                                                    \
    F(EnumerateDeviceExtensionProperties)                                                          \
    F(GetPhysicalDeviceProperties)                                                                 \
    F(GetPhysicalDeviceProperties2)                                                                \
    F(GetPhysicalDeviceFeatures2)                                                                  \
    F(GetPhysicalDeviceMemoryProperties)                                                           \
    F(GetPhysicalDeviceMemoryProperties2)                                                          \
    F(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    F(CreateDevice)                                                                                \
    F(GetDeviceProcAddr)                                                                           \
    F(DestroyInstance)

#define WOQI_VK_DEVICE_FUNCTIONS(F)                                                                \
    F(DestroyDevice) F(GetDeviceQueue) F(QueueSubmit)                                              \
    F(AllocateMemory) F(FreeMemory) F(MapMemory)                                                   \
    F(CreateBuffer) F(DestroyBuffer) F(GetBufferMemoryRequirements) F(BindBufferMemory)            \
    F(CreateFence) F(DestroyFence) F(ResetFences) F(WaitForFences)                                 \
    F(CreateQueryPool) F(DestroyQueryPool) F(GetQueryPoolResults)                                  \
    F(CreateShaderModule) F(DestroyShaderModule)                                                   \
    F(CreatePipelineCache) F(DestroyPipelineCache) F(GetPipelineCacheData)                         \
    F(CreateComputePipelines) F(DestroyPipeline)                                                   \
    F(CreatePipelineLayout) F(DestroyPipelineLayout)                                               \
    F(CreateDescriptorSetLayout) F(DestroyDescriptorSetLayout)                                     \
    F(CreateDescriptorPool) F(DestroyDescriptorPool)                                               \
    F(AllocateDescriptorSets) F(UpdateDescriptorSets)                                              \
    F(CreateCommandPool) F(DestroyCommandPool) F(AllocateCommandBuffers)                           \
    F(BeginCommandBuffer) F(EndCommandBuffer)                                                      \
    F(CmdBindPipeline) F(CmdBindDescriptorSets) F(CmdDispatch) F(CmdDispatchIndirect)              \
    F(CmdCopyBuffer) F(CmdPipelineBarrier) F(CmdResetQueryPool) F(CmdWriteTimestamp)
/* clang-format on */

#define WOQI_VK_MEMBER(name) PFN_vk##name name;
struct woqi_vk_instance_table {
    WOQI_VK_INSTANCE_FUNCTIONS(WOQI_VK_MEMBER)
};
struct woqi_vk_device_table {
    WOQI_VK_DEVICE_FUNCTIONS(WOQI_VK_MEMBER)
};
#undef WOQI_VK_MEMBER

#define WOQI_VK_CONSTANTS 16 /* specialization constants; no kernel has more */

/* An instance of ours, or the guest's. */
struct woqi_vk_instance {
    VkInstance handle;
    bool borrowed;
    uint32_t api; /* version asked for at creation */
    PFN_vkGetInstanceProcAddr get_proc;
    struct woqi_vk_instance_table fn;
    VkDebugUtilsMessengerEXT messenger; /* with validation only */
    struct woq_device *log;             /* receives the messenger's text */
    atomic_uint messages;
};

/* What a physical device has, or what is enabled of it. */
struct woqi_vk_caps {
    uint32_t api; /* usable: the lower of instance and device */
    bool storage16, storage8, fp16, matrix, memory_budget;
    bool update_after_bind; /* of storage buffers */
    bool memory_model;      /* Vulkan's, with device scope: cooperative matrices need it */
    bool rounds16;          /* shaders may ask for rounding to nearest even in 16 bits */
    bool subgroup_control;  /* subgroups can be required to be full and of a size */
    bool maintenance4;      /* modules of SPIR-V 1.6 can have work-groups of any size */
    bool nv2;               /* VK_NV_cooperative_matrix2: flexible dimensions, operations on elements */
    bool nv2_workgroup;     /* and scope of a work-group, tensor addressing, loads of blocks */
    bool buffer_address;    /* shaders may have pointers */
};

struct woqi_vk_memory {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint8_t *map; /* NULL: not host visible */
};

/* Made at first need. */
struct woqi_vk_transfer {
    pthread_mutex_t lock;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    struct woqi_vk_memory staging;
};

/* What coop.comp is built for. */
struct woqi_vk_coop {
    uint32_t m, n, k;       /* a matrix product, FP16 → FP32 in the scope of a subgroup; 0 = none */
    uint32_t subgroup;      /* size */
    uint32_t max_subgroups; /* of a work-group, full */
    bool required;          /* the pipeline has to ask for this size */
};

/* What nv2.comp is built for. */
struct woqi_vk_nv2 {
    bool workgroup;        /* matrices of a work-group, else of a subgroup */
    uint32_t max_rows;     /* of a matrix */
    uint32_t reserved;     /* bytes of shared memory that the driver takes for itself */
    uint32_t shape_count;
    struct {
        uint32_t m, n, k; /* a product FP16 → FP32 has multiples of these; coop.subgroup is the subgroup's size */
        uint32_t threads; /* of the work-group, where matrices are its */
    } shapes[8];
};

/* Layouts of descriptor set 0 and of the pipelines. */
struct woqi_vk_layout {
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
};

struct woqi_vk_device {
    struct woqi_vk_instance instance;
    VkPhysicalDevice physical;
    VkDevice handle;
    bool borrowed;
    struct woqi_vk_device_table fn;
    struct woqi_vk_caps caps;
    VkPhysicalDeviceLimits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t family;
    VkQueue queue;
    pthread_mutex_t queue_lock;
    void (*lock_queue)(void *user); /* the guest's; NULL = none */
    void (*unlock_queue)(void *user);
    void *lock_user;
    atomic_bool submitted;            /* anything at all */
    atomic_uint allocations;          /* VkDeviceMemory objects; limits.maxMemoryAllocationCount */
    atomic_uint_least64_t buffer_ids; /* the last one given */
    uint32_t timestamp_bits;
    bool mma; /* matrix units offer what mma.comp is made of */
    struct woqi_vk_coop coop;
    struct woqi_vk_nv2 nv2;
    struct woqi_vk_layout frozen, live; /* live: sets updatable after binding; null without it */
    VkPipelineCache cache;
    pthread_mutex_t cache_lock; /* cache_size */
    size_t cache_size;          /* as stored on disk */
    char cache_key[192];
    struct woqi_vk_transfer transfer;
};

struct woqi_vk_buffer {
    struct woqi_vk_memory memory; /* imported: memory and map are null */
    uint64_t offset;              /* imported: where the woq_buffer begins */
    uint64_t id; /* never given twice on a device, as handles may be: tells a rebound buffer */
    VkBufferUsageFlags usage;
};

/* What a pipeline is made from. */
struct woqi_vk_module {
    const unsigned char *code; /* SPIR-V; may be unaligned */
    size_t size;               /* bytes */
    uint32_t constants[WOQI_VK_CONSTANTS], constant_count; /* number 0 is the work-group size */
    uint32_t subgroup;                                     /* size to require; 0 = the driver's choice */
    bool full_subgroups;
};

struct woqi_vk_kernel {
    struct woqi_vk_module spirv;
    pthread_mutex_t lock; /* held while the pipeline is built */
    VkPipeline pipeline;  /* null until woqi_vk_kernels_build; never changes again */
};

/* backend.record's target. */
struct woqi_vk_target {
    VkCommandBuffer commands;
};

static inline struct woqi_vk_device *woqi_vk_of(const struct woq_device *device)
{
    return device->impl;
}

static inline struct woqi_vk_buffer *woqi_vk_buffer_of(const struct woq_buffer *buffer)
{
    return buffer->impl;
}

/* ---- vk_loader.c ---- */

/* vkGetInstanceProcAddr of the system's loader; NULL with a reason if there is none. */
PFN_vkGetInstanceProcAddr woqi_vk_loader(const char **reason);
/* False, with the name of the missing function. */
bool woqi_vk_load_instance(struct woqi_vk_instance *instance, const char **missing);
bool woqi_vk_load_device(struct woqi_vk_device *vk, const char **missing);

const char *woqi_vk_result_name(VkResult result);
/* "<call>: VK_…", with the status that the code means. */
enum woq_status woqi_vk_fail(struct woq_device *device, VkResult result, const char *call);

/* ---- vk_instance.c ---- */

/* validate: with the validation layer, its messages to `log`. On failure *reason says why; it is
 * static text. */
enum woq_status woqi_vk_instance_create(struct woqi_vk_instance *instance, struct woq_device *log,
                                        bool validate, const char **reason);
/* NULL-terminated text in `reason` if the guest's instance cannot serve. */
enum woq_status woqi_vk_instance_adopt(struct woqi_vk_instance *instance,
                                       const struct woq_vulkan_params *guest, const char **reason);
void woqi_vk_instance_destroy(struct woqi_vk_instance *instance);
/* Messages of the validation layer so far; 0 without it. For tests. */
unsigned woqi_vk_validation_messages(const struct woq_device *device);

/* ---- vk_probe.c ---- */

/* Extensions of a physical device, or of the guest's device. */
struct woqi_vk_extensions {
    const char *const *names;
    uint32_t count;
};
bool woqi_vk_has(const struct woqi_vk_extensions *extensions, const char *name);

/* First family with compute, and its timestamp bits; false if there is none. */
bool woqi_vk_compute_family(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                            uint32_t *family);
/* What the physical device offers of woqi_vk_caps. */
void woqi_vk_caps_offered(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                          const struct woqi_vk_extensions *extensions, struct woqi_vk_caps *caps);
/* What the guest has enabled. */
void woqi_vk_caps_enabled(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                          const struct woq_vulkan_params *guest, struct woqi_vk_caps *caps);
/* Creates the device with one queue of vk->family and vk->caps enabled. */
VkResult woqi_vk_create_device(struct woqi_vk_device *vk,
                               const struct woqi_vk_extensions *extensions);

enum woq_device_kind woqi_vk_kind(const VkPhysicalDeviceProperties *properties);
/* Fills device->info, vk->limits, vk->memory and vk->cache_key from vk->physical and vk->caps.
 * `extensions` are the physical device's. */
void woqi_vk_describe(struct woq_device *device, const struct woqi_vk_extensions *extensions);

/* The physical device's extensions as one block, to be freed with woqi_free_with; NULL without
 * memory. */
struct woqi_vk_extension_list {
    struct woqi_vk_extensions extensions;
    VkExtensionProperties *storage;
    const char **names;
};
VkResult woqi_vk_list_extensions(const struct woqi_vk_instance *instance, VkPhysicalDevice physical,
                                 const struct woq_allocator *allocator,
                                 struct woqi_vk_extension_list *out);
void woqi_vk_free_extensions(const struct woq_allocator *allocator,
                             struct woqi_vk_extension_list *list);

/* ---- vk_matrix.c ---- */

/* Does the device offer 16 × 8 × 16 products of FP16 into FP32 to subgroups of 32? Whether these hold the
 * operands as mma.comp needs it, the self-test finds out. */
bool woqi_vk_matrix_mma(const struct woq_device *device);
/* The device's matrices and subgroups as coop.comp takes them. sizes: with caps.subgroup_control, filled. */
void woqi_vk_matrix_coop(const struct woq_device *device,
                         const VkPhysicalDeviceSubgroupSizeControlProperties *sizes,
                         struct woqi_vk_coop *out);
/* The device's flexible matrices as nv2.comp takes them. */
void woqi_vk_matrix_nv2(const struct woq_device *device, const VkPhysicalDeviceCooperativeMatrix2PropertiesNV *limits,
                        struct woqi_vk_nv2 *out);

/* ---- vk_queue.c ---- */

/* Submits one command buffer, or none, and signals `fence`, which is unsignaled. */
enum woq_status woqi_vk_submit(struct woq_device *device, VkCommandBuffer commands, VkFence fence);
/* vkWaitForFences; a driver's VK_TIMEOUT of a wait for ever (UINT64_MAX) is not believed. */
VkResult woqi_vk_wait(const struct woqi_vk_device *vk, VkFence fence, uint64_t timeout_ns);
/* Waits until all submitted before is done. */
enum woq_status woqi_vk_drain(struct woq_device *device);
void woqi_vk_transfer_close(struct woq_device *device);
/* Blocking copies through staging memory, after all that was submitted before. offset: of the
 * VkBuffer. */
enum woq_status woqi_vk_upload(struct woq_device *device, VkBuffer to, uint64_t offset,
                               const void *from, uint64_t size);
enum woq_status woqi_vk_download(struct woq_device *device, VkBuffer from, uint64_t offset,
                                 void *to, uint64_t size);

/* ---- vk_memory.c ---- */

enum woqi_vk_place {
    WOQI_VK_DEVICE,   /* device local */
    WOQI_VK_SHARED,   /* device local, host visible and coherent; mapped */
    WOQI_VK_UPLOAD,   /* host visible and coherent; mapped */
    WOQI_VK_READBACK, /* likewise, cached if possible */
    WOQI_VK_ARGUMENTS /* likewise, device local if possible: every work-group reads them, the host never does */
};
/* A buffer with memory of its own. size > 0. */
enum woq_status woqi_vk_memory_create(struct woq_device *device, uint64_t size,
                                      VkBufferUsageFlags usage, enum woqi_vk_place place,
                                      struct woqi_vk_memory *out);
void woqi_vk_memory_destroy(struct woq_device *device, struct woqi_vk_memory *memory);
/* Index of the memory type, or -1. bits: of the memory requirements. */
int woqi_vk_memory_type(const struct woqi_vk_device *vk, uint32_t bits, enum woqi_vk_place place);

/* ---- vk_buffer.c ---- */

woqi_buffer_create_fn woqi_vk_buffer_create;
woqi_buffer_destroy_fn woqi_vk_buffer_destroy;
woqi_buffer_write_fn woqi_vk_buffer_write;
woqi_buffer_read_fn woqi_vk_buffer_read;
woqi_buffer_map_fn woqi_vk_buffer_map;
woqi_buffer_unmap_fn woqi_vk_buffer_unmap;

/* ---- vk_modules.c ---- */

woqi_kernel_probe_fn woqi_vk_kernel_probe;
/* Sets kernel->local_x too where it is the backend's to choose. False: the kernel is not written for Vulkan. */
bool woqi_vk_module_find(struct woqi_kernel *kernel, struct woqi_vk_module *out);

/* ---- vk_kernel.c ---- */

/* Are recordings replayed, with sets updated after they were bound? */
bool woqi_vk_replays(const struct woq_device *device);
enum woq_status woqi_vk_kernels_open(struct woq_device *device); /* layouts and pipeline cache */
void woqi_vk_kernels_close(struct woq_device *device);
/* The layout that pipelines and sets of this device use. */
const struct woqi_vk_layout *woqi_vk_layout_of(const struct woq_device *device);
woqi_kernel_create_fn woqi_vk_kernel_create;
/* Builds the pipelines that dispatches among the steps lack, switched off or not. */
enum woq_status woqi_vk_kernels_build(struct woq_device *device, const struct woqi_step *steps,
                                      uint32_t count);
woqi_kernel_destroy_fn woqi_vk_kernel_destroy;

/* ---- vk_record.c ---- */

static inline bool woqi_vk_is_dispatch(const struct woqi_step *step)
{
    return step->kind == WOQI_STEP_DISPATCH || step->kind == WOQI_STEP_OFF;
}

/* Argument blocks, indirect dispatch sizes and descriptor sets for the dispatches of one list of
 * steps. */
struct woqi_vk_block {
    VkBuffer buffer;
    uint8_t *map;
    uint64_t offset;             /* of this block within the buffer */
    const VkDescriptorSet *sets; /* [dispatches], in the order of the steps */
};
/* Sizes of such a block. */
struct woqi_vk_block_shape {
    uint32_t dispatches; /* steps that are DISPATCH or OFF */
    uint64_t stride;     /* of argument blocks */
    uint64_t indirect;   /* offset of the VkDispatchIndirectCommands */
    uint64_t size;
};

/* WOQ_ERROR_OVERFLOW if a size exceeds 64 bits. */
enum woq_status woqi_vk_block_measure(struct woq_device *device, const struct woqi_step *steps,
                                      uint32_t count, struct woqi_vk_block_shape *shape);
#define WOQI_VK_BLOCK_USAGE                                                                        \
    (VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |                     \
     VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT)
/* A pool for `sets` ≥ 1 sets, all allocated; *out_sets from woqi_alloc. Leaves nothing behind on
 * failure. */
enum woq_status woqi_vk_sets_create(struct woq_device *device, uint32_t sets,
                                    VkDescriptorPool *pool, VkDescriptorSet **out_sets);
/* Points binding WOQ_BIND_COUNT of each set to its argument block; once, before any is bound. */
void woqi_vk_block_attach(struct woq_device *device, const struct woqi_vk_block *block,
                          const struct woqi_vk_block_shape *shape);
/* Writes arguments and sizes. */
void woqi_vk_block_fill(const struct woqi_vk_block *block, const struct woqi_vk_block_shape *shape,
                        const struct woqi_step *steps, uint32_t count);
/* Points the storage buffers of a dispatch's set to the step's windows. */
void woqi_vk_bind_step(struct woq_device *device, const struct woqi_vk_block *block,
                       const struct woqi_vk_block_shape *shape, uint32_t dispatch,
                       const struct woqi_step *step);
/* INVALID_ARGUMENT if a copy's buffer was imported without the usage for it. */
enum woq_status woqi_vk_check_copies(struct woq_device *device, const struct woqi_step *steps,
                                     uint32_t count);

struct woqi_vk_recording {
    VkCommandBuffer commands;
    const struct woqi_vk_block *block;
    const struct woqi_vk_block_shape *shape;
    bool indirect;       /* sizes from the block; steps that are off are recorded too */
    VkQueryPool queries; /* null: timestamps are barriers only */
    uint32_t first_query;
};
void woqi_vk_record_steps(struct woq_device *device, const struct woqi_vk_recording *recording,
                          const struct woqi_step *steps, uint32_t count);
/* Barrier between the stages that steps use. */
void woqi_vk_barrier(const struct woqi_vk_device *vk, VkCommandBuffer commands);

woqi_record_fn woqi_vk_record;
woqi_record_release_fn woqi_vk_record_release;

/* ---- vk_sequence.c ---- */

woqi_sequence_create_fn woqi_vk_sequence_create;
woqi_sequence_submit_fn woqi_vk_sequence_submit;
woqi_sequence_wait_fn woqi_vk_sequence_wait;
woqi_sequence_times_fn woqi_vk_sequence_times;
woqi_sequence_destroy_fn woqi_vk_sequence_destroy;

#endif
