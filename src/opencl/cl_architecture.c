/* cl_architecture.c: what a device has in common with others that run the same code, as far as OpenCL tells. */
#include "cl_backend.h"

#include <CL/cl_ext.h>
#include <stdio.h>
#include <string.h>

static void describe_cpu(char *out, size_t size)
{
    static const struct {
        uint32_t dot;
        const char *name;
    } sets[] = {{WOQ_DOT_VBMI, " vbmi"}, {WOQ_DOT_VNNI, " vnni"}, {WOQ_DOT_AVX512, " avx512"}, {WOQ_DOT_AVX2, " avx2"}};
    const uint32_t dots = woqi_cl_host_dots();
    const char *best = "";
    for (size_t i = sizeof sets / sizeof *sets; i-- > 0;)
        if (dots >> sets[i].dot & 1u)
            best = sets[i].name;
#if defined(__x86_64__)
    snprintf(out, size, "x86-64%s", best);
#elif defined(__aarch64__)
    snprintf(out, size, "aarch64%s", best);
#else
    (void)best;
#endif
}

int woqi_cl_capability(const struct woq_device *device)
{
    const struct woqi_cl_device *dev = woqi_cl_of(device);
    cl_uint major = 0, minor = 0;
    if (dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, sizeof major, &major, NULL) ||
        dev->api->clGetDeviceInfo(dev->id, CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV, sizeof minor, &minor, NULL))
        return 0;
    return (int)(10 * major + minor);
}

void woqi_cl_architecture(struct woq_device *device)
{
    struct woq_device_info *info = &device->info;
    int capability;
    if (info->kind == WOQ_DEVICE_KIND_CPU)
        describe_cpu(info->architecture, sizeof info->architecture);
    else if (!strncmp(info->name, "gfx", 3)) /* AMD: gfx1100, gfx90a:sramecc+:xnack- */
        snprintf(info->architecture, sizeof info->architecture, "%.*s", (int)strcspn(info->name, ":"), info->name);
    else if (strstr(info->vendor, "NVIDIA") && (capability = woqi_cl_capability(device)))
        snprintf(info->architecture, sizeof info->architecture, "sm_%d", capability);
}
