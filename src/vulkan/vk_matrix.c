/* vk_matrix.c: which cooperative matrices a device has. */
#include "vk_backend.h"

#include <string.h>

#define MAX_SHAPES 64

/* The products of FP16 to FP32 in the scope of a subgroup; others are left out. Their number. */
static uint32_t list_shapes(const struct woqi_vk_device *vk,
                            VkCooperativeMatrixPropertiesKHR shapes[MAX_SHAPES])
{
    uint32_t count = MAX_SHAPES, kept = 0;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk->instance.get_proc(
            vk->instance.handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    memset(shapes, 0, MAX_SHAPES * sizeof *shapes);
    for (uint32_t i = 0; i < MAX_SHAPES; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!get || get(vk->physical, &count, shapes) < 0)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (shapes[i].AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            shapes[i].BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            shapes[i].CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            shapes[i].ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            shapes[i].scope == VK_SCOPE_SUBGROUP_KHR)
            shapes[kept++] = shapes[i];
    return kept;
}

/* What modules with cooperative matrices declare. */
static bool usable(const struct woqi_vk_device *vk)
{
    const struct woqi_vk_caps *caps = &vk->caps;
    return caps->matrix && caps->fp16 && caps->storage16 && caps->memory_model && caps->rounds16;
}

bool woqi_vk_matrix_mma(const struct woq_device *device)
{
    const struct woqi_vk_device *vk = device->impl;
    VkCooperativeMatrixPropertiesKHR shapes[MAX_SHAPES];
    if (!usable(vk) || device->info.subgroup_size != 32)
        return false;
    for (uint32_t i = 0, count = list_shapes(vk, shapes); i < count; i++)
        if (shapes[i].MSize == 16 && shapes[i].NSize == 8 && shapes[i].KSize == 16)
            return true;
    return false;
}

/* As above, of any size that is a multiple; in the scope of a work-group, or of a subgroup. */
static uint32_t list_flexible(const struct woqi_vk_device *vk, bool workgroup,
                              VkCooperativeMatrixFlexibleDimensionsPropertiesNV shapes[MAX_SHAPES])
{
    const VkScopeKHR scope = workgroup ? VK_SCOPE_WORKGROUP_KHR : VK_SCOPE_SUBGROUP_KHR;
    uint32_t count = MAX_SHAPES, kept = 0;
    PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)vk->instance.get_proc(
            vk->instance.handle, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    memset(shapes, 0, MAX_SHAPES * sizeof *shapes);
    for (uint32_t i = 0; i < MAX_SHAPES; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (!get || get(vk->physical, &count, shapes) < 0)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (shapes[i].AType == VK_COMPONENT_TYPE_FLOAT16_KHR && shapes[i].BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            shapes[i].CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            shapes[i].ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && shapes[i].scope == scope)
            shapes[kept++] = shapes[i];
    return kept;
}

void woqi_vk_matrix_nv2(const struct woq_device *device, const VkPhysicalDeviceCooperativeMatrix2PropertiesNV *limits,
                        struct woqi_vk_nv2 *out)
{
    const struct woqi_vk_device *vk = device->impl;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV shapes[MAX_SHAPES];
    memset(out, 0, sizeof *out);
    if (!usable(vk) || !vk->caps.nv2 || !vk->caps.maintenance4 || !device->info.subgroup_size)
        return;
    out->workgroup = vk->caps.nv2_workgroup && vk->caps.buffer_address;
    out->max_rows = limits->cooperativeMatrixFlexibleDimensionsMaxDimension;
    out->reserved = out->workgroup ? limits->cooperativeMatrixWorkgroupScopeReservedSharedMemory : 0;
    const uint32_t count = list_flexible(vk, out->workgroup, shapes), most = sizeof out->shapes / sizeof *out->shapes;
    for (uint32_t i = 0; i < count && out->shape_count < most; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *s = &shapes[i];
        out->shapes[out->shape_count].m = s->MGranularity;
        out->shapes[out->shape_count].n = s->NGranularity;
        out->shapes[out->shape_count].k = s->KGranularity;
        out->shapes[out->shape_count++].threads = s->workgroupInvocations;
    }
}

/* Do tiles of 16 rows, and 32 columns in vectors of 8, consist of whole matrices? */
static bool divides(const VkCooperativeMatrixPropertiesKHR *shape)
{
    return (shape->MSize == 8 || shape->MSize == 16) && (shape->NSize == 8 || shape->NSize == 16) &&
           (shape->KSize == 8 || shape->KSize == 16 || shape->KSize == 32);
}

void woqi_vk_matrix_coop(const struct woq_device *device,
                         const VkPhysicalDeviceSubgroupSizeControlProperties *sizes,
                         struct woqi_vk_coop *out)
{
    const struct woqi_vk_device *vk = device->impl;
    VkCooperativeMatrixPropertiesKHR shapes[MAX_SHAPES];
    memset(out, 0, sizeof *out);
    if (!usable(vk) || !device->info.subgroup_size)
        return;
    /* The largest: fewer loads from shared memory for a product. */
    for (uint32_t i = 0, count = list_shapes(vk, shapes); i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        if (divides(s) && s->MSize * s->NSize * s->KSize > out->m * out->n * out->k)
            *out = (struct woqi_vk_coop){.m = s->MSize, .n = s->NSize, .k = s->KSize};
    }
    out->subgroup = device->info.subgroup_size;
    out->max_subgroups = UINT32_MAX;
    if (!vk->caps.subgroup_control)
        return;
    out->max_subgroups = sizes->maxComputeWorkgroupSubgroups;
    out->required = sizes->requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    /* Intel's matrix units work on its narrowest subgroups. */
    if (out->required && !strcmp(device->info.vendor, "Intel"))
        out->subgroup = sizes->minSubgroupSize;
}
