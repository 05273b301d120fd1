/*
 * cl_gpu.c: kernels of devices that are no CPUs: what they ask of the device, and what they are compiled for.
 *
 * They need no extension: work-items exchange sums through local memory, whatever sub-groups the device has.
 */
#include "cl_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"

#ifndef CL_DEVICE_SUB_GROUP_SIZES_INTEL
#define CL_DEVICE_SUB_GROUP_SIZES_INTEL 0x4108 /* cl_intel_required_subgroup_size: size_t[] */
#endif

#define MAX_SIZES 16u
/* Of FP32 that a thread on Intel's GPUs, which has 128 registers in all, can keep beside what else it needs. */
#define INTEL_SUMS 32u

void woqi_cl_gpu_open(struct woqi_cl_device *dev, const char *extensions)
{
    size_t sizes[MAX_SIZES], bytes = 0;
    if (!woqi_cl_has_word(extensions, "cl_intel_required_subgroup_size") ||
        dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_SUB_GROUP_SIZES_INTEL, sizeof sizes, sizes, &bytes))
        return;
    for (size_t i = 0; i < bytes / sizeof *sizes; i++)
        if (!dev->gpu.subgroup || sizes[i] < dev->gpu.subgroup)
            dev->gpu.subgroup = (uint32_t)sizes[i];
}

/* Is there as much as `threads` work-items and `shared` bytes of local memory? */
static bool has_room(const struct woq_device *device, uint32_t threads, uint32_t shared, char *reason, size_t size)
{
    const struct woq_device_info *info = &device->info;
    if (threads <= info->max_workgroup && shared <= info->shared_memory)
        return true;
    snprintf(reason, size, "needs work-groups of %u with %u bytes of local memory; the device has %u and %u", threads,
             shared, info->max_workgroup, info->shared_memory);
    return false;
}

/* ---- gemv_frag ---- */

static bool probe_gemv(const struct woq_device *device, const struct woqi_kernel_key *key, char *reason, size_t size)
{
    return has_room(device, woqi_gemv_threads(key), woqi_gemv_shared(key), reason, size);
}

static void gemv_options(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size)
{
    (void)gpu;
    snprintf(out, size, " -DWOQ_X=%uu -DWOQ_ROWS=%u -DWOQ_PARTS=%uu -DWOQ_WEIGHTED=%u -DWOQ_FINE=%u", key->x, key->rows,
             key->parts, key->weighted, key->fine);
}

/* ---- tile ---- */

static bool probe_tile(const struct woq_device *device, const struct woqi_kernel_key *key, char *reason, size_t size)
{
    const struct woqi_tile_block *b = woqi_tile_block((enum woqi_block_id)key->block);
    if (!woqi_cl_of(device)->gpu.subgroup || b->thread_w * b->thread_x <= INTEL_SUMS)
        return has_room(device, woqi_tile_block_threads(b), woqi_tile_block_shared(b), reason, size);
    snprintf(reason, size, "block %s: too many sums for the registers of Intel's GPUs",
             woqi_block_name((enum woqi_block_id)key->block));
    return false;
}

static void tile_options(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size)
{
    const struct woqi_tile_block *b = woqi_tile_block((enum woqi_block_id)key->block);
    (void)gpu;
    snprintf(out, size,
             " -DWOQ_X=%uu -DANY=%d -DROWS_W=%uu -DROWS_X=%uu -DTHREAD_W=%uu -DTHREAD_X=%uu -DPARTS=%uu -DBUFFERS=%uu",
             key->x, key->fine == WOQI_GROUPS_ANY, b->rows_w, b->rows_x, b->thread_w, b->thread_x, b->parts, b->buffers);
}

/* ---- all of them ---- */

/* If the device, which is no CPU, has not got what the kernel needs, why. */
typedef bool probe_fn(const struct woq_device *device, const struct woqi_kernel_key *key, char *reason, size_t size);
/* Macros for the compiler. */
typedef void options_fn(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size);

static const struct kind {
    probe_fn *probe; /* NULL: no kernel for GPUs */
    options_fn *options;
} kinds[WOQI_KERNEL_COUNT] = {
    [WOQI_KERNEL_GEMV_FRAG] = {probe_gemv, gemv_options},
    [WOQI_KERNEL_TILE] = {probe_tile, tile_options},
};

bool woqi_cl_gpu_probe(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    const bool cpu = device->info.kind == WOQ_DEVICE_KIND_CPU;
    if (key.id == WOQI_KERNEL_FLOOR)
        return true;
    if (kinds[key.id].probe && !cpu)
        return kinds[key.id].probe(device, &key, reason, size);
    if (!kinds[key.id].probe && cpu)
        return true;
    snprintf(reason, size, "%s", cpu ? "the kernel is for GPUs: a CPU's weights are packed in panels"
                                     : "the kernel is for CPU devices: one work-item does a whole panel");
    return false;
}

void woqi_cl_gpu_options(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size)
{
    out[0] = 0;
    if (!kinds[key->id].probe)
        return;
    const int used = snprintf(out, size, " -DWOQ_SUBGROUP=%u", gpu->subgroup);
    kinds[key->id].options(key, gpu, out + used, size - (size_t)used);
}
