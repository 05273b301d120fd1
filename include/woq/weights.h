/*
 * woq/weights.h: weight matrices, packed once into the device's own layout.
 *
 *     struct woq_weights_source src = WOQ_WEIGHTS_SOURCE_INIT;
 *     src.format = format; src.n = n; src.k = k;
 *     src.codes = codes; src.scales = scales;
 *     struct woq_weights *w = NULL;
 *     st = woq_weights_create(dev, &(struct woq_weights_params){sizeof(struct woq_weights_params),
 *                             &src, 1, false}, &w);
 *
 * Several matrices with the same K and format can be stacked along N (query, key, value) and then
 * cost one product; gate and up of a gated unit are stacked with `gated` set.
 *
 * Threading: weights are immutable once made and may be used by any number of threads.
 */
#ifndef WOQ_WEIGHTS_H
#define WOQ_WEIGHTS_H

#include <woq/device.h>
#include <woq/format.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_weights;

/* One matrix in canonical form (woq/format.h). All pointers are host memory and borrowed until the
 * call returns; scales and offsets are aligned to their element size, g_idx to 4 bytes. */
struct woq_weights_source {
    size_t struct_size;
    struct woq_format format;
    uint64_t n, k;        /* rows (outputs) and columns (inputs), each >= 1 */
    const void *codes;
    uint64_t row_stride;  /* bytes from one row of codes to the next; 0 = dense */
    const void *scales;   /* NULL for plain weights only */
    const void *zeros;    /* ZERO_POINT: bytes; ZERO_OFFSET: floats; else NULL */
    const uint32_t *g_idx; /* [K]; required if and only if format.g_idx */
};
#define WOQ_WEIGHTS_SOURCE_INIT                                                                    \
    {sizeof(struct woq_weights_source), WOQ_FORMAT_INIT, 0, 0, NULL, 0, NULL, NULL, NULL}

struct woq_weights_params {
    size_t struct_size;
    const struct woq_weights_source *sources; /* stacked along N in this order */
    uint32_t count;                           /* >= 1 */
    bool gated; /* exactly two sources of equal n: gate, then up; for WOQ_ACTIVATION_SILU_MUL */
};
#define WOQ_WEIGHTS_PARAMS_INIT {sizeof(struct woq_weights_params), NULL, 0, false}

struct woq_weights_info {
    size_t struct_size;
    struct woq_format format;
    uint64_t n, k;          /* n: all stacked rows */
    bool gated;
    uint64_t device_bytes;  /* codes, scales, zeros, padding, as they lie on the device */
    uint64_t payload_bytes; /* codes + scales + zeros alone: what a product must read at least */
    uint32_t tiles;         /* pieces along N that binding or allocation limits made necessary */
    bool fp16_safe;         /* every scale·(q − zero) is zero or a normal binary16; or, with F16 scales and no offsets
                             * on a device with SUBNORMAL16, a subnormal one, which holds it exactly */
    bool device_packed;     /* the device made its layout of them; else the host did */
    uint64_t pack_ns;       /* what that took it, transfers apart; 0 = packed on the host, or no TIMESTAMPS */
};

/*
 * Checks, packs and uploads. Blocks. Ownership: *out is the caller's.
 * A device that can (CUDA) packs itself what has at least 1 MiB of codes: the sources go there as they are, and up to
 * 8 MiB of device memory (more where 16 rows take more) and 4 MiB of page-locked host memory are needed; the former are
 * given back before this returns, the latter with the device. Else the host packs, 4 MiB at a time. The bytes are the
 * same.
 * Checked: every scale and offset finite; zero points < 2^bits; g_idx < G; stacked sources equal in
 * format, k and g_idx. Scales may be zero or negative.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (the message names array and index); OVERFLOW;
 * UNSUPPORTED (one row exceeds the device's binding limit); OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY;
 * DEVICE_LOST; COMPILE; DRIVER.
 */
WOQ_API enum woq_status woq_weights_create(struct woq_device *device,
                                           const struct woq_weights_params *params,
                                           struct woq_weights **out);

/* Writes NULL; accepts NULL. GEMM objects made from the weights keep them alive. */
WOQ_API void woq_weights_destroy(struct woq_weights **weights);

WOQ_API enum woq_status woq_weights_get_info(const struct woq_weights *weights,
                                         struct woq_weights_info *out);

#ifdef __cplusplus
}
#endif
#endif
