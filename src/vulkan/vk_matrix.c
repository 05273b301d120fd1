/* vk_matrix.c: which cooperative matrices a device has. */
#include "vk_backend.h"

#include <string.h>

#define MAX_SHAPES 64

static bool has_shape(const struct woqi_vk_device *vk, uint32_t m, uint32_t n, uint32_t k)
{
    VkCooperativeMatrixPropertiesKHR shapes[MAX_SHAPES];
    uint32_t count = MAX_SHAPES;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk->instance.get_proc(
            vk->instance.handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    if (!get)
        return false;
    memset(shapes, 0, sizeof shapes);
    for (uint32_t i = 0; i < MAX_SHAPES; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (get(vk->physical, &count, shapes) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (shapes[i].MSize == m && shapes[i].NSize == n && shapes[i].KSize == k &&
            shapes[i].AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            shapes[i].BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            shapes[i].CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            shapes[i].ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            shapes[i].scope == VK_SCOPE_SUBGROUP_KHR)
            return true;
    return false;
}

bool woqi_vk_matrix_mma(const struct woq_device *device)
{
    const struct woqi_vk_device *vk = device->impl;
    return vk->caps.matrix && vk->caps.fp16 && vk->caps.storage16 && vk->caps.memory_model &&
           device->info.subgroup_size == 32 &&
           has_shape(vk, 16, 8, 16);
}
