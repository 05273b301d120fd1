/*
 * vulkan_app.h: an application that owns its Vulkan instance, device, queue and buffers, under the
 * validation layer where that is installed.
 */
#ifndef TEST_VULKAN_APP_H
#define TEST_VULKAN_APP_H

#include <woq/vulkan.h>

struct vulkan_app {
    VkInstance instance;
    uint32_t api;
    VkDebugUtilsMessengerEXT messenger;
    unsigned messages; /* of the validation layer */
    VkPhysicalDevice gpu;
    VkDevice device;
    uint32_t family;
    VkQueue queue;
    VkCommandPool pool;
    VkPhysicalDeviceFeatures2 features; /* as enabled; chain: */
    VkPhysicalDeviceVulkan11Features features11;
    VkPhysicalDeviceVulkan12Features features12;
    unsigned locked, locks; /* by lock_queue */
};

/* The first physical device. rich: Vulkan 1.2 and all of its features that the device has; else Vulkan
 * 1.1 and none. False, with nothing left, if there is no such device; other failures end the test. */
bool vulkan_app_create(struct vulkan_app *app, bool rich);
void vulkan_app_destroy(struct vulkan_app *app);

/* Guest parameters with lock callbacks that count. The result points into *app. */
struct woq_vulkan_params vulkan_app_guest(struct vulkan_app *app);

struct vulkan_app_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint8_t *map;
};
void vulkan_app_buffer_create(struct vulkan_app *app, VkDeviceSize size, VkBufferUsageFlags usage,
                              struct vulkan_app_buffer *out);
void vulkan_app_buffer_destroy(struct vulkan_app *app, struct vulkan_app_buffer *buffer);

/* A primary command buffer, recording; and its execution to the end. */
VkCommandBuffer vulkan_app_begin(struct vulkan_app *app);
void vulkan_app_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags written,
                        VkPipelineStageFlags to, VkAccessFlags used);
void vulkan_app_execute(struct vulkan_app *app, VkCommandBuffer commands);

#endif
