/*
 * cl_backend.h: what the files of the OpenCL backend share.
 *
 * CL/cl.h gives types and constants only; every call goes through struct woqi_cl_api, which the
 * loader fills from libOpenCL.so.1 (the ICD loader) at run time.
 */
#ifndef WOQI_CL_BACKEND_H
#define WOQI_CL_BACKEND_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* clCreateCommandQueue: its successor needs OpenCL 2.0 */
#include <CL/cl.h>

#include <woq/opencl.h>

#include "../core/alloc.h"
#include "../core/backend.h"
#include "../core/cache.h"
#include "../core/log.h"
#include "../nvidia/nv_kernels.h"

/* All of them are in OpenCL 1.2, so that a loader without one is too old as a whole. */
#define WOQI_CL_FUNCTIONS(F)                                                                       \
    F(clGetPlatformIDs) F(clGetPlatformInfo) F(clGetDeviceIDs) F(clGetDeviceInfo)                  \
    F(clCreateContext) F(clRetainContext) F(clReleaseContext) F(clGetContextInfo)                  \
    F(clRetainDevice) F(clReleaseDevice)                                                           \
    F(clCreateCommandQueue) F(clRetainCommandQueue) F(clReleaseCommandQueue)                       \
    F(clGetCommandQueueInfo) F(clFlush) F(clFinish)                                                \
    F(clCreateBuffer) F(clRetainMemObject) F(clReleaseMemObject) F(clGetMemObjectInfo)             \
    F(clEnqueueReadBuffer) F(clEnqueueWriteBuffer) F(clEnqueueCopyBuffer)                          \
    F(clEnqueueMapBuffer) F(clEnqueueUnmapMemObject)                                               \
    F(clCreateProgramWithSource) F(clCreateProgramWithBinary) F(clBuildProgram)                    \
    F(clReleaseProgram) F(clGetProgramInfo) F(clGetProgramBuildInfo)                               \
    F(clCreateKernel) F(clReleaseKernel) F(clSetKernelArg) F(clEnqueueNDRangeKernel)               \
    F(clEnqueueMarkerWithWaitList) F(clEnqueueBarrierWithWaitList)                                 \
    F(clWaitForEvents) F(clGetEventInfo) F(clReleaseEvent) F(clGetEventProfilingInfo)

struct woqi_cl_api {
#define WOQI_CL_MEMBER(name) __typeof__(name) *name;
    WOQI_CL_FUNCTIONS(WOQI_CL_MEMBER)
#undef WOQI_CL_MEMBER
};

/* What kernels for GPUs are compiled for, beside their keys. */
struct woqi_cl_gpu {
    uint32_t subgroup; /* Intel's GPUs: the narrowest sub-groups, whose work-items have most registers; else 0 */
    uint32_t matrix;   /* lanes of the sub-groups that Intel's matrix units take, 8 or 16; 0 = no such units */
    bool software;     /* these units are imitated */
};

/* woq_device.impl */
struct woqi_cl_device {
    const struct woqi_cl_api *api;
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;      /* in-order */
    pthread_mutex_t submit_lock; /* keeps the commands of one run together; held for no wait */
    atomic_uint_least64_t serial; /* number of the last buffer made */
    bool has_lock;
    bool guest;
    struct woqi_cl_ptx *ptx; /* NULL: not NVIDIA's, or nothing was compiled for it */
    struct woqi_cl_gpu gpu;
    uint32_t dots; /* bits WOQ_DOT_…: what a CPU and its driver let kernels use */
    char identity[768]; /* platform, device and driver with their versions: part of cache keys */
};

/* woq_buffer.impl */
struct woqi_cl_buffer {
    cl_mem mem;
    uint64_t serial; /* unlike a cl_mem's address never used again; from 1 */
    void *mapped;
};

/* How a kernel is launched. */
struct woqi_cl_launch {
    size_t local[3];
    uint32_t windows; /* WOQ_BIND_COUNT, or WOQI_MAX_BIND */
};

/* The number of a window's buffer among a kernel's arguments; its offset's is the next one. Between those of WOQ_BIND_…
 * and the others are struct woqi_args and, cl_ptx.c, shared memory. */
#define WOQI_CL_ARGS_ARGUMENT   (2u * WOQ_BIND_COUNT)
#define WOQI_CL_SHARED_ARGUMENT (WOQI_CL_ARGS_ARGUMENT + 1u)
static inline cl_uint woqi_cl_window_argument(uint32_t window)
{
    return 2 * window + (window < WOQ_BIND_COUNT ? 0u : 2u);
}

/* What woqi_commands_record hands to the backend's record. */
struct woqi_cl_target {
    cl_command_queue queue;
    cl_uint wait_count;
    const cl_event *wait_list;
    cl_event *event; /* NULL = not wanted */
};

static inline struct woqi_cl_device *woqi_cl_of(const struct woq_device *device)
{
    return device->impl;
}

/* ---- cl_loader.c ---- */

/* The table, or NULL: then *reason (static storage) says why there is none. */
const struct woqi_cl_api *woqi_cl_load(const char **reason);
/* "CL_OUT_OF_RESOURCES"; "error -9999" is written to `spare` for a code without a name. */
const char *woqi_cl_code_name(cl_int code, char spare[24]);
/* Maps and reports a failed call: "<call>: <code>". */
enum woq_status woqi_cl_fail(struct woq_device *device, cl_int code, const char *call);
/* The same for work that failed while it ran; codes that a dead device gives mean DEVICE_LOST. */
enum woq_status woqi_cl_fail_run(struct woq_device *device, cl_int code, const char *call);

/* ---- cl_device.c ---- */

struct woqi_cl_queue {
    cl_context context;
    cl_device_id device;
    bool out_of_order;
};
/* Is `word` one of a list's, which blanks divide? */
bool woqi_cl_has_word(const char *list, const char *word);
cl_int woqi_cl_query_queue(const struct woqi_cl_api *cl, cl_command_queue queue,
                           struct woqi_cl_queue *out);

/* ---- cl_architecture.c ---- */

/* Fills info.architecture; info's kind, name and vendor are set. */
void woqi_cl_architecture(struct woq_device *device);
/* NVIDIA's compute capability, 10·major + minor; 0: the device does not tell one. */
int woqi_cl_capability(const struct woq_device *device);

/* ---- cl_cpu.c ---- */

/* Bits WOQ_DOT_… of the CPU that this runs on, whatever a driver makes of them; PLAIN is not among them. */
uint32_t woqi_cl_host_dots(void);

/* woqi_cl_device.dots of a CPU, and what is in doubt (object.h); info.name and identity are set. version: of the
 * driver. */
uint32_t woqi_cl_cpu_dots(struct woq_device *device, const char *platform, const char *version);

/* ---- cl_program.c ---- */

/* The compiler's words; NULL if there are none or no memory for them. To be freed. */
char *woqi_cl_build_log(struct woq_device *device, cl_program program);
/* If that fails, *call is what did, and *out may be there all the same, to be released. */
cl_int woqi_cl_build_binary(struct woq_device *device, const void *binary, size_t size, const char *options,
                            cl_program *out, const char **call);

/* ---- cl_ptx.c: NVIDIA ---- */

/* Adds to info, but for its features all of which is known already. */
enum woq_status woqi_cl_ptx_open(struct woq_device *device);
void woqi_cl_ptx_close(struct woq_device *device);
/* Is such a kernel there for this device, before one in OpenCL C? */
bool woqi_cl_ptx_has(struct woq_device *device, enum woqi_kernel_id id);
/* If so: */
woqi_kernel_probe_fn woqi_cl_ptx_probe;
enum woq_status woqi_cl_ptx_object(struct woqi_kernel *kernel, cl_kernel *out);
void woqi_cl_ptx_launch(const struct woqi_kernel *kernel, struct woqi_cl_launch *out);

/* ---- cl_gpu.c ---- */

/* Of a device that is no CPU, whatever emulation makes of it; extensions: all of them, blanks between. */
void woqi_cl_gpu_open(struct woqi_cl_device *dev, const char *extensions);
/* dev->gpu, as emulation makes it. */
struct woqi_cl_gpu woqi_cl_gpu_of(const struct woq_device *device);
/* Sets kernel->local_x where it is the device's. */
void woqi_cl_gpu_create(struct woqi_kernel *kernel);
/* Is the kernel for the kind of device, and has this what it needs? If not, why. */
woqi_kernel_probe_fn woqi_cl_gpu_probe;
/* Appends to the options what kernels for GPUs are compiled for; nothing for others. */
void woqi_cl_gpu_options(const struct woqi_kernel_key *key, const struct woqi_cl_gpu *gpu, char *out, size_t size);

/* ---- cl_buffer.c ---- */
woqi_buffer_create_fn woqi_cl_buffer_create;
woqi_buffer_destroy_fn woqi_cl_buffer_destroy;
woqi_buffer_write_fn woqi_cl_buffer_write;
woqi_buffer_read_fn woqi_cl_buffer_read;
woqi_buffer_upload_fn woqi_cl_buffer_upload;
woqi_buffer_map_fn woqi_cl_buffer_map;
woqi_buffer_unmap_fn woqi_cl_buffer_unmap;

/* ---- cl_kernel.c ---- */
woqi_kernel_probe_fn woqi_cl_kernel_probe;
woqi_kernel_create_fn woqi_cl_kernel_create;
woqi_kernel_destroy_fn woqi_cl_kernel_destroy;
/* The fields of args.flags that this kernel is compiled for. */
uint32_t woqi_cl_kernel_key(const struct woqi_kernel *kernel, uint32_t flags);
const struct woqi_cl_launch *woqi_cl_kernel_launch(const struct woqi_kernel *kernel);
/* A kernel's text; NULL: there is none for OpenCL. */
void woqi_cl_source(enum woqi_kernel_id id, const unsigned char **source, size_t *size);
/* The compiler's options for a program of the kernel; key: as above. At most 383 bytes. */
void woqi_cl_options(const struct woqi_kernel_key *kernel, uint32_t key, const struct woqi_cl_gpu *gpu, char *out,
                     size_t size);
/* A new cl_kernel of the program for `key`, which is built if this is its first use. */
enum woq_status woqi_cl_kernel_object(struct woqi_kernel *kernel, uint32_t key, cl_kernel *out);

/* ---- cl_sequence.c ---- */
woqi_sequence_create_fn woqi_cl_sequence_create;
woqi_sequence_submit_fn woqi_cl_sequence_submit;
woqi_sequence_wait_fn woqi_cl_sequence_wait;
woqi_sequence_times_fn woqi_cl_sequence_times;
woqi_sequence_destroy_fn woqi_cl_sequence_destroy;
woqi_record_fn woqi_cl_record;
woqi_record_release_fn woqi_cl_record_release;

#endif
