/*
 * woq/buffer.h: device memory.
 *
 *     struct woq_buffer *x = NULL;
 *     struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
 *     params.size = m * k * 2;
 *     st = woq_buffer_create(dev, &params, &x);
 *     if (!st) st = woq_buffer_write(x, 0, host_x, params.size);
 *
 * Threading: different buffers may be used from different threads; transfers on one buffer must not
 * overlap in time with each other on the same bytes, nor with runs that write them.
 */
#ifndef WOQ_BUFFER_H
#define WOQ_BUFFER_H

#include <woq/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_buffer;

enum woq_buffer_flags {
    WOQ_BUFFER_HOST_VISIBLE = 1u << 0 /* woq_buffer_map works; needs WOQ_FEATURE_HOST_MEMORY */
};

struct woq_buffer_params {
    size_t struct_size;
    uint64_t size;  /* bytes, >= 1, <= max_allocation */
    uint32_t flags; /* enum woq_buffer_flags */
};
#define WOQ_BUFFER_PARAMS_INIT {sizeof(struct woq_buffer_params), 0, 0}

/* A matrix in a buffer: row r begins at offset + r * row_stride (bytes). */
struct woq_view {
    struct woq_buffer *buffer;
    uint64_t offset;     /* bytes; a multiple of the element size */
    uint64_t row_stride; /* bytes; a multiple of the element size, >= the row's bytes; 0 = dense */
};

/*
 * Content is undefined at first. Ownership: *out is the caller's.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, size 0 or > max_allocation, unknown flag, struct_size);
 * UNSUPPORTED (HOST_VISIBLE without the feature); OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; DEVICE_LOST;
 * DRIVER.
 */
WOQ_API enum woq_status woq_buffer_create(struct woq_device *device,
                                          const struct woq_buffer_params *params,
                                          struct woq_buffer **out);

/* Writes NULL; accepts NULL. Work in flight that uses the buffer keeps its memory until it is done.
 * An imported buffer's native object is never destroyed. */
WOQ_API void woq_buffer_destroy(struct woq_buffer **buffer);

/* Bytes, as asked for at creation or import. */
WOQ_API uint64_t woq_buffer_size(const struct woq_buffer *buffer);

/*
 * Copies host memory to the buffer, or back. Blocks until done, and runs after all work submitted on
 * the device before. size 0 is a no-op.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, range outside the buffer, buffer mapped); OUT_OF_MEMORY;
 * OUT_OF_DEVICE_MEMORY; DEVICE_LOST; DRIVER.
 */
WOQ_API enum woq_status woq_buffer_write(struct woq_buffer *buffer, uint64_t offset,
                                         const void *source, uint64_t size);
WOQ_API enum woq_status woq_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                        uint64_t size);

/*
 * Makes the whole buffer addressable by the host without a copy; waits for all work submitted on the
 * device before. The pointer is valid until woq_buffer_unmap; the buffer must not be used by runs in
 * between. *pointer is aligned to 64 bytes or better for buffers made by this library.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE (mapped already / not mapped); UNSUPPORTED (not
 * HOST_VISIBLE); DEVICE_LOST; DRIVER.
 */
WOQ_API enum woq_status woq_buffer_map(struct woq_buffer *buffer, void **pointer);
WOQ_API enum woq_status woq_buffer_unmap(struct woq_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
