/*
 * cl_cpu.c: which instructions kernels for CPUs may use beyond what the driver's compiler makes of OpenCL C.
 *
 * The device is the CPU that this runs on, so that the CPU itself is asked. Only PoCL compiles inline assembly, and
 * LLVM answers what it does not expect by ending the process; so a set of instructions counts only where all of its
 * kernels ran, when they were written or in a trial on this machine (core/trial.h): with that PoCL, that LLVM and a CPU
 * of that kind, as PoCL does other things with the same kernel for other CPUs.
 */
#include "cl_backend.h"

#include <stdio.h>
#include <string.h>

#include "../core/trial.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__)
uint32_t woqi_cl_host_dots(void)
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
    if (__builtin_cpu_supports("avx512vbmi"))
        dots |= 1u << WOQ_DOT_VBMI;
    return __builtin_cpu_supports("avx512bf16") ? dots | 1u << WOQ_DOT_DPBF16 : dots;
}
#elif defined(__aarch64__) && defined(__linux__)
uint32_t woqi_cl_host_dots(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? 1u << WOQ_DOT_SDOT : 0;
}
#else
uint32_t woqi_cl_host_dots(void)
{
    return 0;
}
#endif

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Sets all kernels of which have run with this driver, compiler and CPU. None of ARM: they ran in an emulator alone. */
static uint32_t known_dots(const struct woq_device *device, const char *version)
{
    static const struct {
        const char *cpu; /* as PoCL's packages name it; what the compiler makes code for */
        uint32_t dots;
    } known[] = {
        {"cpu-haswell-", 1u << WOQ_DOT_AVX2},
        {"cpu-skylake-avx512-",
         1u << WOQ_DOT_AVX2 | 1u << WOQ_DOT_AVX512 | 1u << WOQ_DOT_VNNI | 1u << WOQ_DOT_VBMI | 1u << WOQ_DOT_DPBF16},
    };
    /* Of the platform's version: "OpenCL 3.0 PoCL 6.0 Linux, …, LLVM 18.1.8, …". */
    if (!begins(version, "6.") || !strstr(woqi_cl_of(device)->identity, ", LLVM 18."))
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(device->info.name, known[i].cpu))
            return known[i].dots;
    return 0;
}

uint32_t woqi_cl_cpu_dots(struct woq_device *device, const char *platform, const char *version)
{
    const uint32_t plain = 1u << WOQ_DOT_PLAIN;
    /* PoCL has devices that are CPUs of other machines, too. */
    if (strcmp(platform, "Portable Computing Language") || !begins(device->info.name, "cpu"))
        return plain;
    const uint32_t dots = woqi_cl_host_dots(), known = dots & known_dots(device, version);
    if (known == dots)
        return plain | dots;
    char identity[sizeof woqi_cl_of(device)->identity + 16];
    const int used = snprintf(identity, sizeof identity, "%s | %u", woqi_cl_of(device)->identity, (unsigned)dots);
    woqi_hash_text(identity, (size_t)used, device->doubted_key);
    device->doubted = dots & ~known;
    return plain | known | woqi_trials_passed(device);
}
