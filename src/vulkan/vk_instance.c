/* vk_instance.c: instances, and the validation layer's messages. */
#include "vk_backend.h"

#include <stdio.h>

#include "../core/log.h"

static const char layer_name[] = "VK_LAYER_KHRONOS_validation";

static VKAPI_ATTR VkBool32 VKAPI_CALL deliver(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT types,
                                              const VkDebugUtilsMessengerCallbackDataEXT *data,
                                              void *user)
{
    struct woqi_vk_instance *instance = user;
    (void)severity, (void)types;
    atomic_fetch_add(&instance->messages, 1);
    char heading[256];
    snprintf(heading, sizeof heading, "Vulkan Validation: %s",
             data->pMessageIdName ? data->pMessageIdName : "unnamed");
    woqi_log_text(instance->log, WOQ_LOG_ERROR, heading, data->pMessage ? data->pMessage : "");
    return VK_FALSE;
}

static enum woq_status create(struct woqi_vk_instance *instance, bool validate)
{
    PFN_vkCreateInstance create_instance = (PFN_vkCreateInstance)instance->get_proc(
        NULL, "vkCreateInstance");
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = deliver,
        .pUserData = instance,
    };
    /* Without the heuristic, which reads the SPIR-V, buffers that shaders write are not followed.
     */
    const VkBool32 on = VK_TRUE;
    const VkLayerSettingEXT settings[] = {
        {layer_name, "validate_sync", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &on},
        {layer_name, "syncval_shader_accesses_heuristic", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &on},
    };
    const VkLayerSettingsCreateInfoEXT layer_settings = {
        .sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
        .pNext = &messenger,
        .settingCount = sizeof settings / sizeof *settings,
        .pSettings = settings,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pEngineName = "woq",
        .engineVersion = VK_MAKE_API_VERSION(0, WOQ_VERSION_MAJOR, WOQ_VERSION_MINOR,
                                             WOQ_VERSION_PATCH),
        .apiVersion = instance->api,
    };
    const char *layers[] = {layer_name};
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                VK_EXT_LAYER_SETTINGS_EXTENSION_NAME};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &layer_settings : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validate ? 2 : 0,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = create_instance ? create_instance(&info, NULL, &instance->handle)
                                      : VK_ERROR_INITIALIZATION_FAILED;
    if (result) {
        instance->handle = NULL;
        return woqi_vk_fail(instance->log, result, "vkCreateInstance");
    }
    if (!validate)
        return WOQ_OK;
    PFN_vkCreateDebugUtilsMessengerEXT create_messenger =
        (PFN_vkCreateDebugUtilsMessengerEXT)instance->get_proc(instance->handle,
                                                               "vkCreateDebugUtilsMessengerEXT");
    result = create_messenger
                 ? create_messenger(instance->handle, &messenger, NULL, &instance->messenger)
                 : VK_ERROR_EXTENSION_NOT_PRESENT;
    return result ? woqi_vk_fail(instance->log, result, "vkCreateDebugUtilsMessengerEXT") : WOQ_OK;
}

enum woq_status woqi_vk_instance_create(struct woqi_vk_instance *instance, struct woq_device *log,
                                        bool validate, const char **reason)
{
    instance->log = log;
    instance->get_proc = woqi_vk_loader(reason);
    if (!instance->get_proc)
        return WOQ_ERROR_NO_DEVICE;
    /* Absent in loaders of Vulkan 1.0. */
    PFN_vkEnumerateInstanceVersion get_version = (PFN_vkEnumerateInstanceVersion)instance->get_proc(
        NULL, "vkEnumerateInstanceVersion");
    uint32_t version = VK_API_VERSION_1_0;
    if (!get_version || get_version(&version) || version < VK_API_VERSION_1_1) {
        *reason = "the Vulkan loader is older than Vulkan 1.1";
        return WOQ_ERROR_NO_DEVICE;
    }
    instance->api = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;
    *reason = validate ? "no Vulkan driver, or no VK_LAYER_KHRONOS_validation, which "
                         "WOQ_VULKAN_VALIDATION asks for"
                       : "no Vulkan driver is installed, or none could be loaded";
    enum woq_status st = create(instance, validate);
    if (!st && !woqi_vk_load_instance(instance, reason))
        st = WOQ_ERROR_NO_DEVICE;
    if (st)
        woqi_vk_instance_destroy(instance);
    return st;
}

enum woq_status woqi_vk_instance_adopt(struct woqi_vk_instance *instance,
                                       const struct woq_vulkan_params *guest, const char **reason)
{
    instance->borrowed = true;
    instance->handle = guest->instance;
    instance->api = guest->api_version ? guest->api_version : VK_API_VERSION_1_1;
    instance->get_proc = guest->get_instance_proc_addr;
    if (!instance->get_proc)
        instance->get_proc = woqi_vk_loader(reason);
    if (!instance->get_proc)
        return WOQ_ERROR_NO_DEVICE;
    if (instance->api < VK_API_VERSION_1_1) {
        *reason = "api_version is below Vulkan 1.1";
        return WOQ_ERROR_UNSUPPORTED;
    }
    return woqi_vk_load_instance(instance, reason) ? WOQ_OK : WOQ_ERROR_UNSUPPORTED;
}

void woqi_vk_instance_destroy(struct woqi_vk_instance *instance)
{
    if (!instance->handle || instance->borrowed)
        return;
    if (instance->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy_messenger =
            (PFN_vkDestroyDebugUtilsMessengerEXT)instance->get_proc(
                instance->handle, "vkDestroyDebugUtilsMessengerEXT");
        if (destroy_messenger)
            destroy_messenger(instance->handle, instance->messenger, NULL);
    }
    /* Not from the table, which may be what could not be loaded. */
    PFN_vkDestroyInstance destroy = (PFN_vkDestroyInstance)instance->get_proc(instance->handle,
                                                                              "vkDestroyInstance");
    if (destroy)
        destroy(instance->handle, NULL);
    instance->handle = NULL;
}

unsigned woqi_vk_validation_messages(const struct woq_device *device)
{
    return atomic_load(&woqi_vk_of(device)->instance.messages);
}
