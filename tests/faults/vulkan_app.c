/* vulkan_app.c: what a Vulkan application has to do before it can be a guest's host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vulkan_app.h"

static const char layer[] = "VK_LAYER_KHRONOS_validation";

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    (void)severity, (void)types;
    fprintf(stderr, "validation: %s\n", data->pMessage);
    ((struct vulkan_app *)user)->messages++;
    return VK_FALSE;
}

static bool has_layer(void)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    if (vkEnumerateInstanceLayerProperties(&count, layers) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(layers[i].layerName, layer))
            return true;
    return false;
}

static bool create_instance(struct vulkan_app *app)
{
    const bool validate = has_layer();
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = app};
    const VkBool32 on = VK_TRUE;
    const VkLayerSettingEXT settings[] = {
        {layer, "validate_sync", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &on},
        {layer, "syncval_shader_accesses_heuristic", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &on}};
    const VkLayerSettingsCreateInfoEXT layer_settings = {
        .sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
        .pNext = &messenger,
        .settingCount = 2,
        .pSettings = settings};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = app->api};
    const char *const layers[] = {layer};
    const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                      VK_EXT_LAYER_SETTINGS_EXTENSION_NAME};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = validate ? &layer_settings : NULL,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = validate,
                                       .ppEnabledLayerNames = layers,
                                       .enabledExtensionCount = validate ? 2 : 0,
                                       .ppEnabledExtensionNames = extensions};
    if (vkCreateInstance(&info, NULL, &app->instance))
        return false;
    PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)
        vkGetInstanceProcAddr(app->instance, "vkCreateDebugUtilsMessengerEXT");
    if (validate && create)
        assert_int_equal(create(app->instance, &messenger, NULL, &app->messenger), VK_SUCCESS);
    else
        printf("without the validation layer, which is not installed\n");
    return true;
}

static bool find_family(struct vulkan_app *app)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(app->gpu, &count, families);
    for (app->family = 0; app->family < count; app->family++)
        if (families[app->family].queueFlags & VK_QUEUE_COMPUTE_BIT)
            return true;
    return false;
}

static bool has_extension(VkPhysicalDevice gpu, const char *name)
{
    static VkExtensionProperties all[512];
    uint32_t count = 512;
    if (vkEnumerateDeviceExtensionProperties(gpu, NULL, &count, all) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(all[i].extensionName, name))
            return true;
    return false;
}

/* Both extensions for cooperative matrices; false if the device lacks one. */
static bool ask_for_matrices(struct vulkan_app *app)
{
    app->extensions[app->extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    app->extensions[app->extension_count++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    app->features12.pNext = &app->features13;
    app->features13.pNext = &app->matrix;
    app->matrix.pNext = &app->matrix2;
    for (uint32_t i = 0; i < app->extension_count; i++)
        if (!has_extension(app->gpu, app->extensions[i]))
            return false;
    return true;
}

static void create_device(struct vulkan_app *app, enum vulkan_app_kind kind)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = app->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    app->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    app->features11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    app->features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    app->features13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
    app->matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
    app->matrix2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV;
    if (kind != VULKAN_APP_BARE) {
        app->features.pNext = &app->features11;
        app->features11.pNext = &app->features12;
        vkGetPhysicalDeviceFeatures2(app->gpu, &app->features);
        app->features.features.robustBufferAccess = VK_FALSE; /* the layer warns of its cost */
        app->features13.robustImageAccess = VK_FALSE;
    }
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = kind != VULKAN_APP_BARE ? &app->features : NULL,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = app->extension_count,
                                     .ppEnabledExtensionNames = app->extensions};
    assert_int_equal(vkCreateDevice(app->gpu, &info, NULL, &app->device), VK_SUCCESS);
    vkGetDeviceQueue(app->device, app->family, 0, &app->queue);
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = app->family};
    assert_int_equal(vkCreateCommandPool(app->device, &pool, NULL, &app->pool), VK_SUCCESS);
}

bool vulkan_app_create(struct vulkan_app *app, enum vulkan_app_kind kind)
{
    static const uint32_t versions[] = {VK_API_VERSION_1_1, VK_API_VERSION_1_2, VK_API_VERSION_1_3};
    uint32_t count = 1;
    VkPhysicalDeviceProperties properties;
    *app = (struct vulkan_app){.api = versions[kind]};
    if (!create_instance(app))
        return false;
    if (vkEnumeratePhysicalDevices(app->instance, &count, &app->gpu) < 0 || !count) {
        vulkan_app_destroy(app);
        return false;
    }
    vkGetPhysicalDeviceProperties(app->gpu, &properties);
    if (properties.apiVersion < app->api || !find_family(app) ||
        (kind == VULKAN_APP_MATRIX && !ask_for_matrices(app))) {
        vulkan_app_destroy(app);
        return false;
    }
    create_device(app, kind);
    return true;
}

void vulkan_app_destroy(struct vulkan_app *app)
{
    if (app->device) {
        vkDestroyCommandPool(app->device, app->pool, NULL);
        vkDestroyDevice(app->device, NULL); /* the layer tells of objects that are left */
    }
    PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)
        vkGetInstanceProcAddr(app->instance, "vkDestroyDebugUtilsMessengerEXT");
    if (app->messenger && destroy)
        destroy(app->instance, app->messenger, NULL);
    vkDestroyInstance(app->instance, NULL);
    app->device = NULL;
    app->instance = NULL;
}

static void lock_queue(void *user)
{
    struct vulkan_app *app = user;
    assert_int_equal(app->locked++, 0);
    app->locks++;
}

static void unlock_queue(void *user)
{
    struct vulkan_app *app = user;
    assert_int_equal(--app->locked, 0);
}

struct woq_vulkan_params vulkan_app_guest(struct vulkan_app *app)
{
    struct woq_vulkan_params guest = WOQ_VULKAN_PARAMS_INIT;
    guest.get_instance_proc_addr = vkGetInstanceProcAddr;
    guest.instance = app->instance;
    guest.physical_device = app->gpu;
    guest.device = app->device;
    guest.queue_family = app->family;
    guest.queue = app->queue;
    guest.api_version = app->api;
    guest.features = app->features.pNext ? &app->features : NULL;
    guest.extensions = app->extension_count ? app->extensions : NULL;
    guest.extension_count = app->extension_count;
    guest.lock_queue = lock_queue;
    guest.unlock_queue = unlock_queue;
    guest.user = app;
    return guest;
}

void vulkan_app_buffer_create(struct vulkan_app *app, VkDeviceSize size, VkBufferUsageFlags usage,
                              struct vulkan_app_buffer *out)
{
    const VkMemoryPropertyFlags wanted =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = size,
                                     .usage = usage};
    VkMemoryRequirements need;
    VkPhysicalDeviceMemoryProperties has;
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    void *map = NULL;
    assert_int_equal(vkCreateBuffer(app->device, &info, NULL, &out->buffer), VK_SUCCESS);
    vkGetBufferMemoryRequirements(app->device, out->buffer, &need);
    vkGetPhysicalDeviceMemoryProperties(app->gpu, &has);
    while (!(need.memoryTypeBits & 1u << allocate.memoryTypeIndex) ||
           (has.memoryTypes[allocate.memoryTypeIndex].propertyFlags & wanted) != wanted)
        assert_true(++allocate.memoryTypeIndex < has.memoryTypeCount);
    allocate.allocationSize = need.size;
    assert_int_equal(vkAllocateMemory(app->device, &allocate, NULL, &out->memory), VK_SUCCESS);
    assert_int_equal(vkBindBufferMemory(app->device, out->buffer, out->memory, 0), VK_SUCCESS);
    assert_int_equal(vkMapMemory(app->device, out->memory, 0, VK_WHOLE_SIZE, 0, &map), VK_SUCCESS);
    out->map = map;
}

void vulkan_app_buffer_destroy(struct vulkan_app *app, struct vulkan_app_buffer *buffer)
{
    vkDestroyBuffer(app->device, buffer->buffer, NULL);
    vkFreeMemory(app->device, buffer->memory, NULL);
    *buffer = (struct vulkan_app_buffer){.map = NULL};
}

VkCommandBuffer vulkan_app_begin(struct vulkan_app *app)
{
    VkCommandBuffer commands = NULL;
    const VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = app->pool,
        .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(vkAllocateCommandBuffers(app->device, &allocate, &commands), VK_SUCCESS);
    assert_int_equal(vkBeginCommandBuffer(commands, &begin), VK_SUCCESS);
    return commands;
}

void vulkan_app_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags written,
                        VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = written,
                                    .dstAccessMask = used};
    vkCmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

void vulkan_app_execute(struct vulkan_app *app, VkCommandBuffer commands)
{
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &commands};
    assert_int_equal(vkQueueSubmit(app->queue, 1, &info, VK_NULL_HANDLE), VK_SUCCESS);
    assert_int_equal(vkQueueWaitIdle(app->queue), VK_SUCCESS);
}
