/*
 * core.h: what the files of core offer each other. Backends see object.h and backend.h only (and
 * reference, which is plain C, the element functions of element.h).
 */
#ifndef WOQI_CORE_H
#define WOQI_CORE_H

#include "backend.h"
#include "element.h"

/* ---- format.c ---- */

enum woq_status woqi_format_check(const struct woq_format *format);

/* w32 of the numeric contract: scales and zeros are arrays, index the element in both. */
float woqi_dequantize(const struct woq_format *format, unsigned code, const void *scales,
                      const void *zeros, uint64_t index);

/* ---- device.c ---- */

void woqi_device_ref(struct woq_device *device);
void woqi_device_unref(struct woq_device *device); /* closes with the last reference */

/* The device's kernel, made on first need. Blocks while another thread makes one. */
enum woq_status woqi_device_kernel(struct woq_device *device, struct woqi_kernel_key key,
                                   struct woqi_kernel **out);

/* The name of its entry point and source. */
const char *woqi_kernel_entry(enum woqi_kernel_id id);

/* What a kernel is called in reports. */
void woqi_kernel_name(struct woqi_kernel_key key, char *out, size_t size);

/* ---- buffer.c; arguments are valid already ---- */

enum woq_status woqi_buffer_create(struct woq_device *device, uint64_t size, uint32_t flags,
                                   struct woq_buffer **out);
void woqi_buffer_ref(struct woq_buffer *buffer);
void woqi_buffer_unref(struct woq_buffer *buffer); /* accepts NULL */

/* ---- weights.c ---- */

/* A piece of the rows, packed as layout.h says. */
struct woqi_tile {
    struct woq_buffer *buffer;
    uint64_t first;  /* output column of the tile's first row (gated: of its first pair) */
    uint64_t count;  /* output columns */
    struct woqi_tile_shape shape;
};

struct woq_weights {
    struct woq_device *device;
    struct woq_format format; /* of the caller; the group of tensor and channel is resolved below */
    uint64_t n, k;            /* rows in all, columns, as given */
    uint64_t k_packed;        /* physical columns */
    uint64_t group;           /* columns of a physical group; 0 for plain weights */
    bool gated, perm, fp16_safe;
    bool mild_scales; /* every |scale| is below 2^64 */
    enum woqi_layout layout;
    bool device_packed;
    uint64_t pack_ns; /* of the device's packing, by its clock */
    uint64_t payload_bytes;
    uint32_t tile_count;
    struct woqi_tile *tiles;
    atomic_int refs;
};

void woqi_weights_ref(struct woq_weights *weights);
void woqi_weights_unref(struct woq_weights *weights); /* accepts NULL */

/* ---- gemm.c ---- */

void woqi_gemm_ref(struct woq_gemm *gemm);
void woqi_gemm_unref(struct woq_gemm *gemm); /* accepts NULL */

#endif
