/* ref_device.c: the host as a device, and the table. The template for a new backend. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../core/log.h"
#include "ref_backend.h"

static const char name[] = "reference (plain C on the host)";

static enum woq_status enumerate(struct woqi_enumeration *out)
{
    struct woq_device_entry e = {
        .backend = WOQ_BACKEND_REFERENCE, .usable = true, .kind = WOQ_DEVICE_KIND_CPU};
    snprintf(e.name, sizeof e.name, "%s", name);
    snprintf(e.driver, sizeof e.driver, "woq %s", woq_version_string());
    out->emit(out, &e);
    return WOQ_OK;
}

/* Bytes; 0 if the system does not tell. */
static uint64_t pages(int which)
{
    long count = sysconf(which), size = sysconf(_SC_PAGESIZE);
    return count > 0 && size > 0 ? (uint64_t)count * (uint64_t)size : 0;
}

static enum woq_status open_device(struct woq_device *device, uint32_t index, const void *guest)
{
    (void)guest; /* has no native objects to be a guest of */
    if (index)
        return woqi_fail(device, WOQ_ERROR_NO_DEVICE,
                         "reference:%u does not exist; there is reference:0", index);
    struct woq_device_info *info = &device->info;
    info->kind = WOQ_DEVICE_KIND_CPU;
    snprintf(info->name, sizeof info->name, "%s", name);
    snprintf(info->vendor, sizeof info->vendor, "woq");
    snprintf(info->driver, sizeof info->driver, "woq %s", woq_version_string());
    info->features = WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_STORAGE8 | WOQ_FEATURE_HOST_MEMORY |
                     WOQ_FEATURE_TIMESTAMPS | WOQ_FEATURE_REPLAY | WOQ_FEATURE_SUBNORMAL16;
    info->compute_units = 1;
    info->max_workgroup = 1024;
    info->max_groups[0] = info->max_groups[1] = info->max_groups[2] = UINT32_MAX;
    info->max_allocation = SIZE_MAX / 2;
    info->max_binding = 0xfffffffcu;
    info->binding_alignment = 4;
    info->shared_memory = 32 << 10;
    info->memory = pages(_SC_PHYS_PAGES);
    info->timestamp_period = 1;
    return WOQ_OK;
}

static void close_device(struct woq_device *device)
{
    (void)device;
}

static enum woq_status memory(struct woq_device *device, uint64_t *total, uint64_t *available)
{
    *total = device->info.memory;
    *available = pages(_SC_AVPHYS_PAGES);
    return WOQ_OK;
}

static enum woqi_layout layout(struct woq_device *device, const struct woq_format *format)
{
    (void)device, (void)format;
    return WOQI_LAYOUT_ROWS;
}

static enum woq_status record(struct woq_device *device, const struct woqi_step *steps,
                              uint32_t count, const void *target, void **keep)
{
    (void)steps, (void)count, (void)target, (void)keep;
    return woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "reference: there is nothing to record into");
}

static void record_release(struct woq_device *device, void *keep)
{
    (void)device, (void)keep;
}

const struct woqi_backend woqi_backend_reference = {
    .id = WOQ_BACKEND_REFERENCE,
    .enumerate = enumerate,
    .open = open_device,
    .close = close_device,
    .memory = memory,
    .buffer_create = woqi_ref_buffer_create,
    .buffer_destroy = woqi_ref_buffer_destroy,
    .buffer_write = woqi_ref_buffer_write,
    .buffer_read = woqi_ref_buffer_read,
    .buffer_map = woqi_ref_buffer_map,
    .buffer_unmap = woqi_ref_buffer_unmap,
    .layout = layout,
    .kernel_probe = woqi_ref_kernel_probe,
    .kernel_create = woqi_ref_kernel_create,
    .kernel_destroy = woqi_ref_kernel_destroy,
    .sequence_create = woqi_ref_sequence_create,
    .sequence_submit = woqi_ref_sequence_submit,
    .sequence_wait = woqi_ref_sequence_wait,
    .sequence_times = woqi_ref_sequence_times,
    .sequence_destroy = woqi_ref_sequence_destroy,
    .record = record,
    .record_release = record_release,
};
