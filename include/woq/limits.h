/*
 * woq/limits.h: what a device can do at most, measured by kernels that do nothing else.
 *
 *     double bytes;
 *     if (!woq_limit_measure(dev, WOQ_LIMIT_READ, 0.2, &bytes))
 *         printf("reads %.1f GB/s\n", bytes * 1e-9);
 *
 * woq_gemm_explain names the limit of the instruction that a product's main kernel multiplies with, and how many of its
 * multiplications and additions it takes for one of X and W. A product of m rows, n columns and depth k that takes
 * t seconds so runs at m·n·k·(their number) / t ÷ limit of what the device can.
 *
 * Threading: as of the device; other work on it slows what is measured.
 */
#ifndef WOQ_LIMITS_H
#define WOQ_LIMITS_H

#include <woq/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum woq_limit {
    WOQ_LIMIT_NONE = 0,
    WOQ_LIMIT_READ,   /* bytes read from memory; the others: multiplications with an addition, of scalars */
    WOQ_LIMIT_FMA,    /* FP32 */
    WOQ_LIMIT_MATRIX, /* FP16 to FP32, matrix units of a subgroup: cooperative matrices, mma */
    WOQ_LIMIT_WGMMA,  /* FP16 to FP32, those of a warpgroup */
    WOQ_LIMIT_AVX2,   /* integers of 16 bits, vpmaddwd of 256 bits and an addition */
    WOQ_LIMIT_AVX512, /* the same of 512 bits */
    WOQ_LIMIT_VNNI,   /* integers of 16 bits, vpdpwssd */
    WOQ_LIMIT_VBMI,   /* integers of 8 bits, vpdpbusd */
    WOQ_LIMIT_COUNT
};

/*
 * Runs the limit's kernel for about `seconds`, a second more on a GPU, whose clocks rise, and what it takes to compile.
 * Blocks. *per_second: of the fastest run. READ takes a quarter of the device's free memory, 512 MiB at most.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, unknown limit, seconds not in 0 … 3600); UNSUPPORTED (the device has no such
 * instruction, or there is no kernel for it; the message says which); OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; COMPILE;
 * DEVICE_LOST; DRIVER.
 */
WOQ_API enum woq_status woq_limit_measure(struct woq_device *device, enum woq_limit limit, double seconds,
                                          double *per_second);

/* "read", "fma", "matrix", "wgmma", "avx2", "avx512", "vnni", "vbmi"; "none" for other values. Static storage. */
WOQ_API const char *woq_limit_name(enum woq_limit limit);

#ifdef __cplusplus
}
#endif
#endif
