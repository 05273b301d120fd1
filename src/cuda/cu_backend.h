/*
 * cu_backend.h: what the files of the CUDA backend share.
 *
 * Every function that touches the driver works between woqi_cu_enter and woqi_cu_leave, which make
 * the device's context current and put back what was current before. All of the library's own work
 * goes to one stream, so it runs in the order of submission.
 */
#ifndef WOQI_CU_BACKEND_H
#define WOQI_CU_BACKEND_H

#include <woq/cuda.h>

#include "../core/backend.h"
#include "../core/log.h"
#include "cu_loader.h"

struct woqi_cu_device {
    const struct woqi_cu_api *api;
    CUdevice device;
    CUcontext context;
    bool primary;        /* the primary context, retained; else the guest's, borrowed */
    CUstream stream;
    bool own_stream;
    CUevent base;        /* recorded at open: the moment that timestamps count from */
    CUdeviceptr scratch; /* what copies in a new graph name until their first run */
};
#define WOQI_CU_SCRATCH 256 /* bytes */

struct woqi_cu_kernel {
    CUmodule module;
    CUfunction function;
};

/* A step's native values. */
struct woqi_cu_launch {
    CUdeviceptr bind[WOQI_MAX_BIND]; /* where each window begins; 0 where none is bound */
    uint64_t bytes;                  /* COPY: from bind[0] to bind[1] */
    uint32_t groups[3];
    struct woqi_args args;
};
#define WOQI_CU_PARAMETERS (WOQI_MAX_BIND + 1)

/* The caller's recording, for backend->record. */
struct woqi_cu_target {
    CUstream stream;
};

static inline struct woqi_cu_device *woqi_cu_device(const struct woq_device *device)
{
    return device->impl;
}

/* A buffer's impl is its device address itself. */
static inline CUdeviceptr woqi_cu_pointer(const struct woq_buffer *buffer)
{
    return (CUdeviceptr)(uintptr_t)buffer->impl;
}

/* The one mapping of native codes. */
enum woq_status woqi_cu_status(CUresult result);

/* Reports a failed call and returns its status; format and what follows give the call's text. */
enum woq_status woqi_cu_fail(struct woq_device *device, CUresult result, const char *format, ...)
    WOQI_PRINTF(3, 4);

enum woq_status woqi_cu_enter(struct woq_device *device);
void woqi_cu_leave(struct woq_device *device);

/* Slots of the table, by file. */
enum woq_status woqi_cu_buffer_create(struct woq_buffer *buffer);
void woqi_cu_buffer_destroy(struct woq_buffer *buffer);
enum woq_status woqi_cu_buffer_write(struct woq_buffer *buffer, uint64_t offset, const void *source,
                                     uint64_t size);
enum woq_status woqi_cu_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                    uint64_t size);

bool woqi_cu_kernel_probe(struct woq_device *device, enum woqi_kernel_id id, char *reason,
                          size_t reason_size);
enum woq_status woqi_cu_kernel_create(struct woqi_kernel *kernel);
void woqi_cu_kernel_destroy(struct woqi_kernel *kernel);

enum woq_status woqi_cu_sequence_create(struct woqi_sequence *sequence,
                                        const struct woqi_step *steps);
enum woq_status woqi_cu_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                        const struct woqi_step *steps);
enum woq_status woqi_cu_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                      uint64_t timeout_ns);
enum woq_status woqi_cu_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t *ns, size_t count);
void woqi_cu_sequence_destroy(struct woqi_sequence *sequence);

enum woq_status woqi_cu_record(struct woq_device *device, const struct woqi_step *steps,
                               uint32_t count, const void *target, void **keep);
void woqi_cu_record_release(struct woq_device *device, void *keep);

/* cu_kernel.c: the values of a DISPATCH, OFF or COPY step, whose windows and groups may still be
 * unset in a skeleton; and the array through which the driver copies a launch's arguments. */
void woqi_cu_resolve(const struct woqi_step *step, struct woqi_cu_launch *out);
void woqi_cu_parameters(struct woqi_cu_launch *launch, void *out[WOQI_CU_PARAMETERS]);

#endif
