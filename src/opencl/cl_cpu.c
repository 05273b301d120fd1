/*
 * cl_cpu.c: which instructions kernels for CPUs may use beyond what the driver's compiler makes of OpenCL C.
 *
 * The device is the CPU that this runs on, so that the CPU itself is asked; and only PoCL compiles inline assembly.
 */
#include "cl_backend.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
static uint32_t host_dots(void)
{
    uint32_t dots = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        dots |= 1u << WOQ_DOT_AVX2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl"))
        return dots;
    dots |= 1u << WOQ_DOT_AVX512;
    if (!__builtin_cpu_supports("avx512vnni"))
        return dots;
    dots |= 1u << WOQ_DOT_VNNI;
    return __builtin_cpu_supports("avx512vbmi") ? dots | 1u << WOQ_DOT_VBMI : dots;
}
#else
static uint32_t host_dots(void)
{
    return 0;
}
#endif

/* PoCL's devices that run in this process; it has others that are CPUs of other machines. */
static bool runs_here(const char *platform, const char *device)
{
    static const char *const kinds[] = {"cpu", "pthread", "basic"};
    if (strcmp(platform, "Portable Computing Language"))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strncmp(device, kinds[i], strlen(kinds[i])))
            return true;
    return false;
}

uint32_t woqi_cl_cpu_dots(const char *platform, const char *device)
{
    return 1u << WOQ_DOT_PLAIN | (runs_here(platform, device) ? host_dots() : 0);
}
