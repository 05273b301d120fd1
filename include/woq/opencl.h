/*
 * woq/opencl.h: guest mode on an application's own OpenCL objects.
 *
 *     struct woq_opencl_params guest = WOQ_OPENCL_PARAMS_INIT;
 *     guest.context = context; guest.device = device; guest.queue = queue;
 *     st = woq_opencl_device_open(&guest, NULL, &dev);
 *     st = woq_opencl_buffer_import(dev, mem, 0, &x);
 *     …
 *     st = woq_opencl_record(cmds, bindings, 3, queue, 0, NULL, &event);
 *
 * cl_context is struct _cl_context *, and so on: no OpenCL header is needed here. In C++ and in
 * builds without the OpenCL backend the functions exist and return NO_DEVICE.
 *
 * Threading: as woq/device.h. The library uses the given queue from the threads that call it.
 */
#ifndef WOQ_OPENCL_H
#define WOQ_OPENCL_H

#include <woq/command.h>

#ifdef __cplusplus
extern "C" {
#endif

struct _cl_context;
struct _cl_device_id;
struct _cl_command_queue;
struct _cl_mem;
struct _cl_event;

struct woq_opencl_params {
    size_t struct_size;
    struct _cl_context *context;      /* retained */
    struct _cl_device_id *device;     /* one of the context's */
    struct _cl_command_queue *queue;  /* in-order, of this context and device; retained. NULL = the
                                         library makes its own. Timestamps need a profiling queue. */
};
#define WOQ_OPENCL_PARAMS_INIT {sizeof(struct woq_opencl_params), NULL, NULL, NULL}

/* Returns WOQ_OK; INVALID_ARGUMENT (NULL; device not of the context; queue of another context or
 * device, or out-of-order); NO_DEVICE (no loader); and what woq_device_open returns. */
WOQ_API enum woq_status woq_opencl_device_open(const struct woq_opencl_params *guest,
                                               const struct woq_device_params *params,
                                               struct woq_device **out);

/* size: bytes to use from the beginning; 0 = all. The cl_mem is retained until the woq_buffer and all
 * work on it are gone. Returns WOQ_OK; INVALID_ARGUMENT (NULL, not of the device's context, smaller
 * than size); OUT_OF_MEMORY; DRIVER. */
WOQ_API enum woq_status woq_opencl_buffer_import(struct woq_device *device, struct _cl_mem *mem,
                                                 uint64_t size, struct woq_buffer **out);

/* Enqueues the recording, with the values given now, into the caller's queue (in-order or not), after
 * the wait list. event, if not NULL, receives an event for its end, the caller's to release. Slots
 * that are not given keep what the last run bound them to; nothing is bound for later runs. The
 * workspace is shared with runs and earlier records: the caller orders them.
 * Returns as woq_commands_run, never BUSY; UNSUPPORTED if timestamps were recorded. */
WOQ_API enum woq_status woq_opencl_record(struct woq_commands *commands,
                                          const struct woq_binding *bindings, size_t count,
                                          struct _cl_command_queue *queue, uint32_t wait_count,
                                          struct _cl_event *const *wait_list,
                                          struct _cl_event **event);

/* The cl_mem behind a buffer of an OpenCL device; NULL for others. Not retained. */
WOQ_API struct _cl_mem *woq_opencl_buffer(const struct woq_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
