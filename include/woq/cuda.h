/*
 * woq/cuda.h: guest mode on an application's own CUDA context.
 *
 *     struct woq_cuda_params guest = WOQ_CUDA_PARAMS_INIT;
 *     guest.context = context;
 *     st = woq_cuda_device_open(&guest, NULL, &dev);
 *     st = woq_cuda_buffer_import(dev, device_pointer, bytes, &x);
 *     …
 *     st = woq_cuda_record(cmds, bindings, 3, stream);
 *
 * CUcontext is struct CUctx_st *, CUstream (cudaStream_t) struct CUstream_st *, CUdeviceptr an unsigned
 * integer: no CUDA header is needed here. In builds without CUDA the functions return NO_DEVICE.
 *
 * Threading: as woq/device.h. The library makes the context current around its calls and restores what
 * was current before.
 */
#ifndef WOQ_CUDA_H
#define WOQ_CUDA_H

#include <woq/command.h>

#ifdef __cplusplus
extern "C" {
#endif

struct CUctx_st;
struct CUstream_st;

struct woq_cuda_params {
    size_t struct_size;
    struct CUctx_st *context;   /* borrowed; must outlive the device. NULL = the current one */
    struct CUstream_st *stream; /* for the library's own runs; NULL = it makes its own */
};
#define WOQ_CUDA_PARAMS_INIT {sizeof(struct woq_cuda_params), NULL, NULL}

/* Returns WOQ_OK; INVALID_ARGUMENT (no context given or current; stream of another context);
 * NO_DEVICE; UNSUPPORTED (compute capability below 7.5); and what woq_device_open returns. */
WOQ_API enum woq_status woq_cuda_device_open(const struct woq_cuda_params *guest,
                                             const struct woq_device_params *params,
                                             struct woq_device **out);

/* Memory at `pointer` (a CUdeviceptr aligned to 256 bytes), which stays the caller's and must outlive
 * the buffer and its work. Returns WOQ_OK; INVALID_ARGUMENT (0, misaligned, size 0, range not inside one
 * allocation of this context); OUT_OF_MEMORY; DRIVER. */
WOQ_API enum woq_status woq_cuda_buffer_import(struct woq_device *device, uint64_t pointer,
                                               uint64_t size, struct woq_buffer **out);

/* Launches the recording, with the values given now, into the caller's stream, which may be capturing;
 * a graph captured so needs the commands, the woq_device and all that was bound alive as long as it is launched.
 * UNSUPPORTED if timestamps were recorded.
 * The workspace is shared with runs and earlier records: the caller orders them.
 * Returns as woq_commands_run, never BUSY. */
WOQ_API enum woq_status woq_cuda_record(struct woq_commands *commands,
                                        const struct woq_binding *bindings, size_t count,
                                        struct CUstream_st *stream);

/* The CUdeviceptr behind a buffer of a CUDA device; 0 for others. */
WOQ_API uint64_t woq_cuda_buffer(const struct woq_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
