/*
 * nv_kernels.h: the kernels of shaders/cuda, whatever API launches them.
 *
 * nvcc compiles them in modules, a line of nv_modules.inc each, which the build writes:
 *     WOQI_NV_MODULE(kernel, codes, x, capability, name)        or, not for OpenCL,
 *     WOQI_NV_CUDA_MODULE(kernel, codes, x, capability, name)
 * A backend has the code of each in a form that its driver takes, in an array by the number of the module.
 */
#ifndef WOQI_NV_KERNELS_H
#define WOQI_NV_KERNELS_H

#include "../core/backend.h"

/* Where a kernel's code is, and how it is launched. */
struct woqi_nv_entry {
    uint32_t module; /* its number */
    char entry[48];
    uint32_t block[3], shared; /* threads; bytes of dynamic shared memory */
    uint32_t cluster;          /* work-groups of a cluster, which are one after the other in x; 0 or 1 = none */
    uint32_t map_rows;         /* of a box of the tensor map of X that it takes; 0 = none; not through OpenCL */
    bool shares;               /* takes windows WOQI_BIND_SUMS and WOQI_BIND_FLAGS */
};

/* Who launches them where. */
struct woqi_nv_target {
    int capability; /* of the device, 10·major + minor */
    bool opencl;
};

extern const uint32_t woqi_nv_module_count;

/* As woqi_kernel_probe_fn. */
bool woqi_nv_probe(const struct woq_device *device, struct woqi_nv_target target, struct woqi_kernel_key key,
                   char *reason, size_t reason_size);

/* False: there is no such kernel. */
bool woqi_nv_find(const struct woqi_kernel *kernel, struct woqi_nv_entry *out);

#endif
