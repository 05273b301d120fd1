/*
 * fault_vulkan.h: Vulkan functions that fail when told, and count what they made, for a guest to be given
 * as its get_instance_proc_addr.
 *
 * VK_TIMEOUT is a code of vkWaitForFences too. With VK_ERROR_DEVICE_LOST it ends the work first: a lost
 * device executes nothing.
 */
#ifndef TEST_FAULT_VULKAN_H
#define TEST_FAULT_VULKAN_H

#include <woq/vulkan.h>

#include "faults.h"

extern struct fault_control fault_vulkan;

PFN_vkVoidFunction VKAPI_CALL fault_vulkan_get_proc(VkInstance instance, const char *name);

/* Objects that were made through these functions and not destroyed, with their kinds in words. */
int64_t fault_vulkan_balance(char *words, size_t size);

#endif
