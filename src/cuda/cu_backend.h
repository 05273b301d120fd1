/*
 * cu_backend.h: what the files of the CUDA backend share.
 *
 * Every function that touches the driver works between woqi_cu_enter and woqi_cu_leave, which make
 * the device's context current and put back what was current before. All of the library's own work
 * goes to one stream, so it runs in the order of submission.
 */
#ifndef WOQI_CU_BACKEND_H
#define WOQI_CU_BACKEND_H

#include <pthread.h>
#include <woq/cuda.h>

#include "../core/backend.h"
#include "../core/log.h"
#include "../nvidia/nv_kernels.h"
#include "cu_loader.h"

/* Page-locked memory through which uploads go, in turns (cu_upload.c). */
#define WOQI_CU_STAGES 2
struct woqi_cu_staging {
    pthread_mutex_t lock;           /* the rest */
    uint8_t *memory;                /* NULL until needed */
    CUevent copied[WOQI_CU_STAGES]; /* recorded behind the last copy from each; NULL alike */
    uint32_t next;                  /* stage to be filled */
};

struct woqi_cu_device {
    const struct woqi_cu_api *api;
    CUdevice device;
    CUcontext context;
    bool primary;        /* the primary context, retained; else the guest's, borrowed */
    CUstream stream;
    bool own_stream;
    CUevent base;        /* recorded at open: the moment that timestamps count from */
    CUdeviceptr scratch; /* what copies in a new graph name until their first run */
    int capability;      /* 10·major + minor */
    int shared_memory;   /* bytes that a block may have, emulation apart */
    struct woqi_cu_staging staging;
    CUmodule *modules;   /* [woqi_nv_module_count], NULL until needed; under the device's lock, as kernels are made */
};
#define WOQI_CU_SCRATCH 256 /* bytes */

struct woqi_cu_kernel {
    CUfunction function; /* of one of the device's modules */
    uint32_t block[3], shared; /* threads; bytes of dynamic shared memory */
    uint32_t cluster;          /* as in struct woqi_nv_entry */
    uint32_t map_rows;         /* of a box of the tensor map of X that it takes, see woqi_cu_map_x; 0 = none */
    bool awaits; /* its code is for 9.0 or later, where woq_await_steps waits */
};

/* A step's native values. */
struct woqi_cu_launch {
    CUdeviceptr bind[WOQI_MAX_BIND]; /* where each window begins; 0 where none is bound */
    uint64_t bytes;                  /* COPY: from bind[0] to bind[1] */
    uint32_t groups[3];
    struct woqi_args args;
    cuuint64_t map[16]; /* a CUtensorMap of X, for kernels that take one; others do not look at it */
};
#define WOQI_CU_PARAMETERS (WOQI_MAX_BIND + 2)

/* The caller's recording, for backend->record. */
struct woqi_cu_target {
    CUstream stream;
};

static inline struct woqi_cu_device *woqi_cu_device(const struct woq_device *device)
{
    return device->impl;
}

/* May a kernel whose weights no step writes begin while the kernel before it ends (woq_await_steps of common.cuh)? */
static inline bool woqi_cu_may_overlap(const struct woq_device *device, const struct woqi_step *step)
{
    return WOQI_CU_HAS_EDGES(woqi_cu_device(device)->api) && step->kernel && step->fixed_weights &&
           ((const struct woqi_cu_kernel *)step->kernel->impl)->awaits;
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
woqi_buffer_create_fn woqi_cu_buffer_create;
woqi_buffer_destroy_fn woqi_cu_buffer_destroy;
woqi_buffer_write_fn woqi_cu_buffer_write;
woqi_buffer_read_fn woqi_cu_buffer_read;

/* cu_upload.c. close: the context is current and the stream idle. */
woqi_buffer_upload_fn woqi_cu_buffer_upload;
void woqi_cu_staging_close(struct woqi_cu_device *cu);

woqi_kernel_probe_fn woqi_cu_kernel_probe;
woqi_kernel_create_fn woqi_cu_kernel_create;
woqi_kernel_destroy_fn woqi_cu_kernel_destroy;

woqi_sequence_create_fn woqi_cu_sequence_create;
woqi_sequence_submit_fn woqi_cu_sequence_submit;
woqi_sequence_wait_fn woqi_cu_sequence_wait;
woqi_sequence_times_fn woqi_cu_sequence_times;
woqi_sequence_destroy_fn woqi_cu_sequence_destroy;

woqi_record_fn woqi_cu_record;
woqi_record_release_fn woqi_cu_record_release;

/* cu_kernel.c: the values of a DISPATCH, OFF or COPY step, whose windows and groups may still be
 * unset in a skeleton, with so many steps behind it in the list; and the array through which the driver copies a
 * launch's arguments. */
void woqi_cu_resolve(const struct woqi_step *step, uint32_t behind, struct woqi_cu_launch *out);
/* Fills launch->map, if the kernel takes it and X is aligned as the hardware wants it. The kernel looks, too. */
enum woq_status woqi_cu_map_x(struct woq_device *device, const struct woqi_kernel *kernel,
                              struct woqi_cu_launch *launch);
void woqi_cu_parameters(struct woqi_cu_launch *launch, void *out[WOQI_CU_PARAMETERS]);

/* A DISPATCH or COPY step into a stream; others are nothing. *follows: what is before it in the stream is a kernel of
 * ours; and then whether it is one. */
enum woq_status woqi_cu_record_step(struct woq_device *device, const struct woqi_step *step, uint32_t behind,
                                    bool *follows, CUstream stream);

#endif
