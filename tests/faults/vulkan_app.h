/*
 * vulkan_app.h: an application that owns its Vulkan instance, device, queue and buffers, under the
 * validation layer where that is installed.
 */
#ifndef TEST_VULKAN_APP_H
#define TEST_VULKAN_APP_H

#include <vulkan/vulkan_core.h>
#include <woq/vulkan.h>

#include "vulkan/vk_compat.h"

/* What an application asks of its device: Vulkan 1.1 and no feature; 1.2 and all of its features that the device has;
 * 1.3, likewise, and cooperative matrices. */
enum vulkan_app_kind { VULKAN_APP_BARE, VULKAN_APP_RICH, VULKAN_APP_MATRIX };

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
    VkPhysicalDeviceVulkan13Features features13; /* MATRIX only, these three */
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2;
    const char *extensions[2]; /* as enabled */
    uint32_t extension_count;
    unsigned locked, locks; /* by lock_queue */
};

/* The first physical device. False, with nothing left, if it is not of that kind; other failures end the test. */
bool vulkan_app_create(struct vulkan_app *app, enum vulkan_app_kind kind);
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
