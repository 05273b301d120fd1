/*
 * cl_gpu.c: kernels of devices that are no CPUs: what they ask of the device, and what they are compiled for.
 *
 * But for coop they need no extension: work-items exchange sums through local memory, whatever sub-groups the device
 * has.
 */
#include "cl_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/blocks.h"
#include "../core/layout.h"

#ifndef CL_DEVICE_SUB_GROUP_SIZES_INTEL
#define CL_DEVICE_SUB_GROUP_SIZES_INTEL 0x4108 /* cl_intel_required_subgroup_size: size_t[] */
#endif

#define MAX_SIZES 16u
#define INTEL_LANES 16u /* of the narrowest sub-groups, at most */
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
    if (dev->gpu.subgroup > INTEL_LANES) /* Mesa has the extension for other vendors' GPUs, too */
        dev->gpu.subgroup = 0;
    if (woqi_cl_has_word(extensions, "cl_intel_subgroup_matrix_multiply_accumulate") &&
        (dev->gpu.subgroup == 8 || dev->gpu.subgroup == 16))
        dev->gpu.matrix = dev->gpu.subgroup;
}

struct woqi_cl_gpu woqi_cl_gpu_of(const struct woq_device *device)
{
    struct woqi_cl_gpu gpu = woqi_cl_of(device)->gpu;
    gpu.software = device->software_matrix != 0;
    if (gpu.software)
        gpu.matrix = device->software_matrix;
    return gpu;
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
             key->x, key->fine == WOQI_GROUPS_ANY, b->rows_w, b->rows_x, b->thread_w, b->thread_x, b->parts,
             b->buffers);
}

/* ---- coop ---- */

#define MATRIX_M 8u /* rows of X in a product */
/* Registers of a thread for sums and what it holds of the next unit; what remains is for operands and addresses. */
#define INTEL_REGISTERS 64u

struct coop_shape {
    uint32_t n, m;     /* rows of the weights and of X, of a sub-group */
    uint32_t threads;  /* of a part of K */
    uint32_t w_loads, x_loads;
};

static struct coop_shape coop_shape(const struct woqi_coop_block *b, uint32_t lanes)
{
    struct coop_shape s = {.n = b->rows_w / b->subgroups_n, .m = b->rows_x / b->subgroups_m};
    s.threads = b->subgroups_n * b->subgroups_m * lanes;
    s.w_loads = (b->rows_w * 2 + s.threads - 1) / s.threads;
    s.x_loads = (b->rows_x * 4 + s.threads - 1) / s.threads;
    return s;
}

static uint32_t coop_registers(const struct coop_shape *s, const struct woqi_kernel_key *key, uint32_t lanes)
{
    const uint32_t codes = woqi_code_bits((enum woq_code)key->code) / 2, scales = key->code < WOQ_ABI_WF16 ? 4 : 0;
    return s->n * s->m / lanes + s->w_loads * (codes + scales) + s->x_loads * 4;
}

static bool probe_coop(const struct woq_device *device, const struct woqi_kernel_key *key, char *reason, size_t size)
{
    const struct woqi_cl_gpu gpu = woqi_cl_gpu_of(device);
    const struct woqi_coop_block *b = woqi_coop_block((enum woqi_block_id)key->block);
    const char *name = woqi_block_name((enum woqi_block_id)key->block);
    if (!gpu.matrix || !(device->info.features & WOQ_FEATURE_MATRIX)) {
        snprintf(reason, size, "needs cl_intel_subgroup_matrix_multiply_accumulate");
        return false;
    }
    const struct coop_shape s = coop_shape(b, gpu.matrix);
    if (key->code == WOQ_ABI_WBF16)
        snprintf(reason, size, "needs weights that are not BF16");
    else if (s.n % gpu.matrix || s.m % MATRIX_M)
        snprintf(reason, size, "block %s: %u × %u sums of a sub-group are no whole matrices of %u × %u", name, s.m, s.n,
                 MATRIX_M, gpu.matrix);
    else if (coop_registers(&s, key, gpu.matrix) > INTEL_REGISTERS)
        snprintf(reason, size, "block %s takes more registers than a thread can spare", name);
    else
        return has_room(device, s.threads * b->subgroups_k,
                        woqi_coop_block_shared(b, MATRIX_M) + (gpu.software ? s.threads * b->subgroups_k * 32 : 0),
                        reason, size);
    return false;
}

static void coop_options(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size)
{
    const struct woqi_coop_block *b = woqi_coop_block((enum woqi_block_id)key->block);
    const struct coop_shape s = coop_shape(b, gpu->matrix);
    snprintf(out, size,
             " -DWOQ_SOFTWARE_MATRIX=%d -DANY=%d -DROWS_W=%uu -DROWS_X=%uu -DSUBGROUPS_N=%uu -DSUBGROUPS_M=%uu"
             " -DSUBGROUPS_K=%uu -DTILES_N=%u -DTILES_M=%u -DW_LOADS=%u -DX_LOADS=%u",
             gpu->software, key->fine == WOQI_GROUPS_ANY, b->rows_w, b->rows_x, b->subgroups_n, b->subgroups_m,
             b->subgroups_k, s.n / gpu->matrix, s.m / MATRIX_M, s.w_loads, s.x_loads);
}

void woqi_cl_gpu_create(struct woqi_kernel *kernel)
{
    const struct woqi_cl_gpu gpu = woqi_cl_gpu_of(kernel->device);
    if (kernel->key.id == WOQI_KERNEL_COOP)
        kernel->local_x =
            woqi_coop_block_subgroups(woqi_coop_block((enum woqi_block_id)kernel->key.block)) * gpu.matrix;
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
    [WOQI_KERNEL_COOP] = {probe_coop, coop_options},
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
    const int used = snprintf(out, size, " -DWOQ_SUBGROUP=%u",
                              key->id == WOQI_KERNEL_COOP ? gpu->matrix : gpu->subgroup);
    kinds[key->id].options(key, gpu, out + used, size - (size_t)used);
}
