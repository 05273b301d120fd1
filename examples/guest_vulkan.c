/*
 * guest_vulkan.c: an application with its own VkDevice, queue, buffers and command buffer lets woq
 * record a product between its own commands, and submits itself.
 *
 *     copy staging → X, fill Y │ woq's product │ copy Y → out   one command buffer, submitted twice
 *
 * The device is created without any extension or feature. If the Khronos validation layer is
 * installed it is turned on, and a message from it is a failure.
 *
 * usage: guest_vulkan [device]
 * The physical device's number; else that of WOQ_DEVICE=vulkan:<number>, else 0.
 * Exits with 77 if there is no such Vulkan device.
 */
#include <stdlib.h>
#include <woq/vulkan.h>

#include "guest_product.h"

enum { GPUS = 16, BUFFERS = 4 };
enum buffer { STAGING, X, Y, OUT };

struct app {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice gpu;
    VkDevice device;
    uint32_t family;
    VkQueue queue;
    VkBuffer buffer[BUFFERS];
    VkDeviceMemory memory[BUFFERS];
    void *mapped[BUFFERS];
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    int messages; /* of the validation layer */
};

static const VkBufferUsageFlags usages[BUFFERS] = {
    [STAGING] = VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
    [X] = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    [Y] = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
          VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    [OUT] = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
static const VkDeviceSize sizes[BUFFERS] = {
    sizeof(float) * GUEST_M * GUEST_K, sizeof(float) * GUEST_M * GUEST_K,
    sizeof(float) * GUEST_M * GUEST_N, sizeof(float) * GUEST_M * GUEST_N};

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    (void)severity, (void)types;
    fprintf(stderr, "validation: %s\n", data->pMessage);
    ((struct app *)user)->messages++;
    return VK_FALSE;
}

static VkResult make_instance(struct app *a)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const char *const extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkLayerProperties layers[64];
    uint32_t count = 64, validation = 0;
    if (vkEnumerateInstanceLayerProperties(&count, layers) >= 0)
        for (uint32_t i = 0; i < count; i++)
            validation = validation || !strcmp(layers[i].layerName, layer);
    const VkDebugUtilsMessengerCreateInfoEXT debug = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = a};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = validation ? &debug : NULL,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = validation,
                                       .ppEnabledLayerNames = &layer,
                                       .enabledExtensionCount = validation,
                                       .ppEnabledExtensionNames = &extension};
    VkResult r = vkCreateInstance(&info, NULL, &a->instance);
    if (r || !validation)
        return r;
    PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)
        vkGetInstanceProcAddr(a->instance, "vkCreateDebugUtilsMessengerEXT");
    return create ? create(a->instance, &debug, NULL, &a->messenger) : VK_SUCCESS;
}

/* The physical device's first family with compute. */
static bool find_family(struct app *a)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(a->gpu, &count, families);
    for (a->family = 0; a->family < count; a->family++)
        if (families[a->family].queueFlags & VK_QUEUE_COMPUTE_BIT)
            return true;
    return false;
}

static VkResult make_device(struct app *a)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = a->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue};
    VkResult r = vkCreateDevice(a->gpu, &info, NULL, &a->device);
    if (!r)
        vkGetDeviceQueue(a->device, a->family, 0, &a->queue);
    return r;
}

/* All in host-visible memory, to keep the example short. */
static VkResult make_buffer(struct app *a, enum buffer b)
{
    const VkMemoryPropertyFlags wanted =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = sizes[b],
                                     .usage = usages[b]};
    VkMemoryRequirements need;
    VkPhysicalDeviceMemoryProperties has;
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    VkResult r = vkCreateBuffer(a->device, &info, NULL, &a->buffer[b]);
    if (r)
        return r;
    vkGetBufferMemoryRequirements(a->device, a->buffer[b], &need);
    vkGetPhysicalDeviceMemoryProperties(a->gpu, &has);
    while (allocate.memoryTypeIndex + 1 < has.memoryTypeCount &&
           (!(need.memoryTypeBits & 1u << allocate.memoryTypeIndex) ||
            (has.memoryTypes[allocate.memoryTypeIndex].propertyFlags & wanted) != wanted))
        allocate.memoryTypeIndex++;
    allocate.allocationSize = need.size;
    r = vkAllocateMemory(a->device, &allocate, NULL, &a->memory[b]);
    if (!r)
        r = vkBindBufferMemory(a->device, a->buffer[b], a->memory[b], 0);
    return r ? r : vkMapMemory(a->device, a->memory[b], 0, VK_WHOLE_SIZE, 0, &a->mapped[b]);
}

static VkResult app_open(struct app *a)
{
    VkResult r = make_device(a);
    for (int b = 0; b < BUFFERS && !r; b++)
        r = make_buffer(a, (enum buffer)b);
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = a->family};
    if (!r)
        r = vkCreateCommandPool(a->device, &pool, NULL, &a->pool);
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = a->pool,
        .commandBufferCount = 1};
    if (!r)
        r = vkAllocateCommandBuffers(a->device, &commands, &a->commands);
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return r ? r : vkCreateFence(a->device, &fence, NULL, &a->fence);
}

static void app_close(struct app *a)
{
    if (a->device) {
        vkDestroyFence(a->device, a->fence, NULL);
        vkDestroyCommandPool(a->device, a->pool, NULL);
        for (int b = 0; b < BUFFERS; b++) {
            vkDestroyBuffer(a->device, a->buffer[b], NULL);
            vkFreeMemory(a->device, a->memory[b], NULL);
        }
        vkDestroyDevice(a->device, NULL);
    }
    if (a->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)
            vkGetInstanceProcAddr(a->instance, "vkDestroyDebugUtilsMessengerEXT");
        if (destroy)
            destroy(a->instance, a->messenger, NULL);
    }
    if (a->instance)
        vkDestroyInstance(a->instance, NULL);
}

static void barrier(struct app *a, VkPipelineStageFlags from, VkAccessFlags written,
                    VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = written,
                                    .dstAccessMask = used};
    vkCmdPipelineBarrier(a->commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

/* The application's commands with woq's between them. */
static VkResult record(struct app *a, struct woq_commands *product,
                       const struct woq_binding *bindings, enum woq_status *st)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkBufferCopy in = {.size = sizes[X]}, out = {.size = sizes[OUT]};
    VkResult r = vkBeginCommandBuffer(a->commands, &begin);
    if (r)
        return r;
    vkCmdCopyBuffer(a->commands, a->buffer[STAGING], a->buffer[X], 1, &in);
    vkCmdFillBuffer(a->commands, a->buffer[Y], 0, VK_WHOLE_SIZE, 0xffffffff);
    barrier(a, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    *st = woq_vulkan_record(product, bindings, 3, a->commands);
    barrier(a, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    vkCmdCopyBuffer(a->commands, a->buffer[Y], a->buffer[OUT], 1, &out);
    barrier(a, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    return vkEndCommandBuffer(a->commands);
}

static VkResult submit(struct app *a, struct guest_product *p)
{
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &a->commands};
    memcpy(a->mapped[STAGING], p->x, sizeof p->x);
    VkResult r = vkQueueSubmit(a->queue, 1, &info, a->fence);
    if (!r)
        r = vkWaitForFences(a->device, 1, &a->fence, VK_TRUE, UINT64_MAX);
    if (!r)
        r = vkResetFences(a->device, 1, &a->fence);
    memcpy(p->y, a->mapped[OUT], sizeof p->y);
    return r;
}

/* woq's objects, all made on the application's device. */
struct guest {
    struct woq_device *device;
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_buffer *x, *y;
    struct woq_commands *commands;
    uint32_t slot[3];
};

static enum woq_status guest_open(struct app *a, const struct guest_product *p, struct guest *g)
{
    struct woq_vulkan_params params = WOQ_VULKAN_PARAMS_INIT;
    params.get_instance_proc_addr = vkGetInstanceProcAddr;
    params.instance = a->instance;
    params.physical_device = a->gpu;
    params.device = a->device;
    params.queue_family = a->family;
    params.queue = a->queue;
    params.api_version = VK_API_VERSION_1_1;
    enum woq_status st = woq_vulkan_device_open(&params, NULL, &g->device);
    if (!st)
        st = guest_gemm(g->device, p, &g->weights, &g->gemm);
    if (!st)
        st = guest_record(g->device, g->gemm, g->slot, &g->commands);
    struct woq_vulkan_buffer x = {sizeof x, a->buffer[X], 0, sizes[X], usages[X]};
    struct woq_vulkan_buffer y = {sizeof y, a->buffer[Y], 0, sizes[Y], usages[Y]};
    if (!st)
        st = woq_vulkan_buffer_import(g->device, &x, &g->x);
    return st ? st : woq_vulkan_buffer_import(g->device, &y, &g->y);
}

static void guest_close(struct guest *g)
{
    woq_commands_destroy(&g->commands);
    woq_gemm_destroy(&g->gemm);
    woq_weights_destroy(&g->weights);
    woq_buffer_destroy(&g->x);
    woq_buffer_destroy(&g->y);
    woq_device_destroy(&g->device);
}

static bool find_gpu(struct app *a, unsigned long index)
{
    VkPhysicalDevice gpus[GPUS];
    uint32_t count = GPUS;
    if (make_instance(a) || vkEnumeratePhysicalDevices(a->instance, &count, gpus) < 0 ||
        index >= count)
        return false;
    a->gpu = gpus[index];
    return find_family(a);
}

int main(int argc, char **argv)
{
    static struct guest_product product;
    struct app app = {0};
    struct guest guest = {0};
    const char *selector = getenv("WOQ_DEVICE");
    unsigned long index = 0;
    if (argc > 1)
        index = strtoul(argv[1], NULL, 10);
    else if (selector && !strncmp(selector, "vulkan:", 7))
        index = strtoul(selector + 7, NULL, 10);
    if (!find_gpu(&app, index)) {
        printf("guest_vulkan: no Vulkan device %lu here; skipped\n", index);
        app_close(&app);
        return 77;
    }

    int wrong = 0;
    enum woq_status st = WOQ_OK;
    guest_fill(&product);
    VkResult r = app_open(&app);
    if (!r)
        st = guest_open(&app, &product, &guest);
    if (!r && !st) {
        const struct woq_binding bindings[3] = {{guest.slot[0], GUEST_M, {NULL, 0, 0}},
                                                {guest.slot[1], 0, {guest.x, 0, 0}},
                                                {guest.slot[2], 0, {guest.y, 0, 0}}};
        r = record(&app, guest.commands, bindings, &st);
    }
    for (int frame = 0; frame < 2 && !r && !st; frame++) {
        for (int i = 0; i < GUEST_M * GUEST_K; i++)
            product.x[i] = (float)((i + frame) * 7 % 15 - 7);
        r = submit(&app, &product);
        wrong += guest_check(&product);
    }
    if (r)
        fprintf(stderr, "guest_vulkan: VkResult %d\n", (int)r);
    else if (st)
        fprintf(stderr, "guest_vulkan: %s: %s\n", woq_status_string(st), woq_last_message());
    else if (!wrong)
        printf("%s: ok: two submissions of %d outputs equal\n", woq_device_get_info(guest.device)->name,
               GUEST_M * GUEST_N);
    else
        printf("WRONG: %d outputs of two submissions\n", wrong);
    guest_close(&guest);
    app_close(&app);
    if (app.messages)
        printf("%d validation messages\n", app.messages);
    return r || st || wrong || app.messages;
}
