/*
 * cl_sequence.c: a sequence is a list that is enqueued again at each submission.
 *
 * Every instance has a cl_kernel of its own for every step, so that no two threads and no two runs
 * in flight share kernel arguments; an argument is set again only if it changed. Which program a
 * step needs depends on args.flags (woqi_cl_kernel_key). Core keeps these fields within a skeleton,
 * and fills them for steps that are OFF too; where they changed all the same, the kernel is made
 * anew.
 *
 * The device's own queue is in-order, so a barrier is nothing there. A caller's queue need not be.
 */
#include "cl_backend.h"

#include <string.h>
#include <time.h>

struct slot { /* one step of one instance */
    cl_kernel kernel;
    uint32_t key;
    bool set; /* the arguments below are the kernel's */
    uint64_t serial[WOQI_MAX_BIND];
    uint64_t offset[WOQI_MAX_BIND];
    struct woqi_args args;
};

struct stamp {
    cl_event event;
    uint32_t index;
};

struct instance {
    struct slot *slots;   /* [count] */
    struct stamp *stamps; /* [stamps of the sequence] */
    uint32_t stamped;
    cl_event done; /* of the last submission; NULL before the first */
};

struct sequence_impl {
    uint32_t stamps;
    struct instance *instances;
};

static bool has_kernel(const struct woqi_step *step)
{
    return step->kind == WOQI_STEP_DISPATCH || step->kind == WOQI_STEP_OFF;
}

/* ---- one step ---- */

static void release_slot(const struct woqi_cl_api *cl, struct slot *slot)
{
    if (slot->kernel)
        cl->clReleaseKernel(slot->kernel);
    *slot = (struct slot){0};
}

static enum woq_status make_kernel(struct woq_device *device, struct slot *slot,
                                   const struct woqi_step *step)
{
    const uint32_t key = woqi_cl_kernel_key(step->kernel, step->args.flags);
    if (slot->kernel && slot->key == key)
        return WOQ_OK;
    release_slot(woqi_cl_of(device)->api, slot);
    slot->key = key;
    return woqi_cl_kernel_object(step->kernel, key, &slot->kernel);
}

static enum woq_status set_arguments(struct woq_device *device, struct slot *slot,
                                     const struct woqi_step *step)
{
    const struct woqi_cl_api *cl = woqi_cl_of(device)->api;
    const uint32_t windows = woqi_cl_kernel_launch(step->kernel)->windows;
    cl_int code = CL_SUCCESS;
    for (uint32_t i = 0; i < windows && !code; i++) {
        const struct woqi_bind *bind = &step->bind[i < step->nbind ? i : 0];
        const cl_uint argument = woqi_cl_window_argument(i);
        const struct woqi_cl_buffer *buffer = bind->buffer->impl;
        const cl_ulong offset = bind->offset;
        if (!slot->set || slot->serial[i] != buffer->serial)
            code = cl->clSetKernelArg(slot->kernel, argument, sizeof buffer->mem, &buffer->mem);
        if (!code && (!slot->set || slot->offset[i] != bind->offset))
            code = cl->clSetKernelArg(slot->kernel, argument + 1, sizeof offset, &offset);
        slot->serial[i] = buffer->serial;
        slot->offset[i] = bind->offset;
    }
    if (!code && (!slot->set || memcmp(&slot->args, &step->args, sizeof step->args)))
        code = cl->clSetKernelArg(slot->kernel, WOQI_CL_ARGS_ARGUMENT, sizeof step->args, &step->args);
    slot->args = step->args;
    slot->set = code == CL_SUCCESS;
    return code ? woqi_cl_fail(device, code, "clSetKernelArg") : WOQ_OK;
}

/* All that can be refused before anything is enqueued. */
static enum woq_status prepare(struct woq_device *device, struct slot *slots,
                               const struct woqi_step *steps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (steps[i].kind != WOQI_STEP_DISPATCH)
            continue;
        enum woq_status st = make_kernel(device, &slots[i], &steps[i]);
        if (!st)
            st = set_arguments(device, &slots[i], &steps[i]);
        if (st)
            return st;
    }
    return WOQ_OK;
}

/* event: NULL = not wanted. */
static cl_int enqueue_dispatch(const struct woqi_cl_api *cl, cl_command_queue queue,
                               const struct slot *slot, const struct woqi_step *step, cl_event *event)
{
    const size_t *local = woqi_cl_kernel_launch(step->kernel)->local;
    const size_t global[3] = {local[0] * step->groups[0], local[1] * step->groups[1], local[2] * step->groups[2]};
    return cl->clEnqueueNDRangeKernel(queue, slot->kernel, 3, NULL, global, local, 0, NULL, event);
}

static cl_int enqueue_copy(const struct woqi_cl_api *cl, cl_command_queue queue,
                           const struct woqi_step *step)
{
    const struct woqi_bind *from = &step->bind[0], *to = &step->bind[1];
    const struct woqi_cl_buffer *source = from->buffer->impl, *target = to->buffer->impl;
    if (!from->size)
        return CL_SUCCESS;
    return cl->clEnqueueCopyBuffer(queue, source->mem, target->mem, (size_t)from->offset,
                                   (size_t)to->offset, (size_t)from->size, 0, NULL, NULL);
}

/* ---- sequences ---- */

enum woq_status woqi_cl_sequence_create(struct woqi_sequence *sequence,
                                        const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    struct sequence_impl *impl = woqi_alloc(device, 1, sizeof *impl);
    if (!impl)
        goto no_memory;
    sequence->impl = impl;
    for (uint32_t i = 0; i < sequence->count; i++)
        impl->stamps += steps[i].kind == WOQI_STEP_TIMESTAMP;
    impl->instances = woqi_alloc(device, sequence->instances, sizeof *impl->instances);
    if (!impl->instances)
        goto no_memory;
    for (uint32_t i = 0; i < sequence->instances; i++) {
        struct instance *in = &impl->instances[i];
        in->slots = woqi_alloc(device, (size_t)sequence->count + 1, sizeof *in->slots);
        in->stamps = woqi_alloc(device, (size_t)impl->stamps + 1, sizeof *in->stamps);
        if (!in->slots || !in->stamps)
            goto no_memory;
        for (uint32_t s = 0; s < sequence->count; s++) {
            if (!has_kernel(&steps[s]))
                continue;
            st = make_kernel(device, &in->slots[s], &steps[s]);
            if (st)
                goto fail;
        }
    }
    return WOQ_OK;
no_memory:
    st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "sequence of %u steps: out of host memory",
                   (unsigned)sequence->count);
fail:
    woqi_cl_sequence_destroy(sequence);
    return st;
}

static void release_events(const struct woqi_cl_api *cl, struct instance *in)
{
    for (uint32_t i = 0; i < in->stamped; i++)
        cl->clReleaseEvent(in->stamps[i].event);
    in->stamped = 0;
    if (in->done)
        cl->clReleaseEvent(in->done);
    in->done = NULL;
}

void woqi_cl_sequence_destroy(struct woqi_sequence *sequence)
{
    struct sequence_impl *impl = sequence->impl;
    if (!impl)
        return;
    const struct woqi_cl_api *cl = woqi_cl_of(sequence->device)->api;
    for (uint32_t i = 0; impl->instances && i < sequence->instances; i++) {
        struct instance *in = &impl->instances[i];
        release_events(cl, in);
        for (uint32_t s = 0; in->slots && s < sequence->count; s++)
            release_slot(cl, &in->slots[s]);
        woqi_free(sequence->device, in->slots);
        woqi_free(sequence->device, in->stamps);
    }
    woqi_free(sequence->device, impl->instances);
    woqi_free(sequence->device, impl);
    sequence->impl = NULL;
}

/* The caller holds the queue's lock. */
static cl_int enqueue_run(struct woqi_cl_device *dev, struct instance *in,
                          const struct woqi_step *steps, uint32_t count, const char **call)
{
    const struct woqi_cl_api *cl = dev->api;
    while (count && (steps[count - 1].kind == WOQI_STEP_OFF || steps[count - 1].kind == WOQI_STEP_BARRIER))
        count--;
    for (uint32_t i = 0; i < count; i++) {
        cl_int code = CL_SUCCESS;
        switch (steps[i].kind) {
        case WOQI_STEP_DISPATCH:
            *call = "clEnqueueNDRangeKernel";
            code = enqueue_dispatch(cl, dev->queue, &in->slots[i], &steps[i], i + 1 == count ? &in->done : NULL);
            break;
        case WOQI_STEP_COPY:
            *call = "clEnqueueCopyBuffer";
            code = enqueue_copy(cl, dev->queue, &steps[i]);
            break;
        case WOQI_STEP_TIMESTAMP:
            *call = "clEnqueueMarkerWithWaitList";
            in->stamps[in->stamped].index = steps[i].index;
            code = cl->clEnqueueMarkerWithWaitList(dev->queue, 0, NULL,
                                                   &in->stamps[in->stamped].event);
            in->stamped += !code;
            break;
        case WOQI_STEP_OFF:
        case WOQI_STEP_BARRIER:
            break;
        }
        if (code)
            return code;
    }
    if (!in->done) { /* the last step is no dispatch, whose event would tell that all are done */
        *call = "clEnqueueMarkerWithWaitList";
        const cl_int code = cl->clEnqueueMarkerWithWaitList(dev->queue, 0, NULL, &in->done);
        if (code)
            return code;
    }
    *call = "clFlush";
    return cl->clFlush(dev->queue);
}

enum woq_status woqi_cl_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                        const struct woqi_step *steps)
{
    struct woqi_cl_device *dev = woqi_cl_of(sequence->device);
    struct sequence_impl *impl = sequence->impl;
    struct instance *in = &impl->instances[instance];
    release_events(dev->api, in);
    enum woq_status st = prepare(sequence->device, in->slots, steps, sequence->count);
    if (st)
        return st;
    const char *call = "";
    pthread_mutex_lock(&dev->submit_lock);
    const cl_int code = enqueue_run(dev, in, steps, sequence->count, &call);
    pthread_mutex_unlock(&dev->submit_lock);
    if (!code)
        return WOQ_OK;
    /* What was enqueued before the failure cannot be taken back; at least it is over. */
    dev->api->clFinish(dev->queue);
    release_events(dev->api, in);
    return woqi_cl_fail_run(sequence->device, code, call);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* OpenCL cannot wait with a time-out, and a callback could come after the sequence is gone: ask
 * with pauses that grow from 10 µs to 0.5 ms. */
static cl_int poll_event(const struct woqi_cl_api *cl, cl_event event, uint64_t timeout_ns,
                         cl_int *status)
{
    const uint64_t start = timeout_ns ? now_ns() : 0;
    uint64_t pause = 10000;
    for (;;) {
        const cl_int code = cl->clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                               sizeof *status, status, NULL);
        if (code || *status <= CL_COMPLETE || !timeout_ns)
            return code;
        const uint64_t passed = now_ns() - start;
        if (passed >= timeout_ns)
            return CL_SUCCESS;
        const uint64_t left = woqi_min(pause, timeout_ns - passed);
        const struct timespec t = {0, (long)left};
        nanosleep(&t, NULL);
        pause = woqi_min(pause * 2, 500000);
    }
}

enum woq_status woqi_cl_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                      uint64_t timeout_ns)
{
    const struct woqi_cl_api *cl = woqi_cl_of(sequence->device)->api;
    struct sequence_impl *impl = sequence->impl;
    cl_event done = impl->instances[instance].done;
    if (!done)
        return WOQ_OK;
    if (timeout_ns == UINT64_MAX) {
        const cl_int code = cl->clWaitForEvents(1, &done);
        if (code && code != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST &&
            code != CL_OUT_OF_HOST_MEMORY)
            return woqi_cl_fail_run(sequence->device, code, "clWaitForEvents");
        /* The event itself tells how it ended. Want of memory is no end: the work goes on. */
        if (code != CL_OUT_OF_HOST_MEMORY)
            timeout_ns = 0;
    }
    cl_int status = CL_QUEUED;
    const cl_int code = poll_event(cl, done, timeout_ns, &status);
    if (code)
        return woqi_cl_fail_run(sequence->device, code, "clGetEventInfo");
    if (status == CL_OUT_OF_HOST_MEMORY) /* WOQ_ERROR_OUT_OF_MEMORY would mean: ask again */
        return woqi_fail(sequence->device, WOQ_ERROR_DRIVER,
                         "run, as its event tells: CL_OUT_OF_HOST_MEMORY");
    if (status < 0)
        return woqi_cl_fail_run(sequence->device, status, "run, as its event tells");
    return status == CL_COMPLETE ? WOQ_OK : WOQ_ERROR_TIMEOUT;
}

enum woq_status woqi_cl_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t *ns, size_t count)
{
    const struct woqi_cl_api *cl = woqi_cl_of(sequence->device)->api;
    struct sequence_impl *impl = sequence->impl;
    const struct instance *in = &impl->instances[instance];
    memset(ns, 0, count * sizeof *ns);
    for (uint32_t i = 0; i < in->stamped; i++) {
        cl_ulong end = 0;
        if (in->stamps[i].index >= count)
            continue;
        const cl_int code = cl->clGetEventProfilingInfo(
            in->stamps[i].event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        if (code)
            return woqi_cl_fail(sequence->device, code, "clGetEventProfilingInfo");
        ns[in->stamps[i].index] = end;
    }
    return WOQ_OK;
}

/* ---- recording into the caller's queue ---- */

static enum woq_status check_target(struct woq_device *device, const struct woqi_cl_target *target,
                                    bool *out_of_order)
{
    const struct woqi_cl_device *dev = woqi_cl_of(device);
    struct woqi_cl_queue q = {0};
    const cl_int code = woqi_cl_query_queue(dev->api, target->queue, &q);
    if (code == CL_INVALID_COMMAND_QUEUE)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_record: queue is not a valid cl_command_queue");
    if (code)
        return woqi_cl_fail(device, code, "clGetCommandQueueInfo");
    if (q.context != dev->context || q.device != dev->id)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_record: queue belongs to another %s than the commands",
                         q.context != dev->context ? "cl_context" : "cl_device_id");
    *out_of_order = q.out_of_order;
    return WOQ_OK;
}

/* Barriers order an out-of-order queue. The first one makes all that follows wait for wait_list; an
 * in-order queue needs it only for that. */
static cl_int enqueue_record(const struct woqi_cl_api *cl, const struct woqi_cl_target *target,
                             bool out_of_order, const struct slot *slots,
                             const struct woqi_step *steps, uint32_t count, const char **call)
{
    cl_int code = CL_SUCCESS;
    *call = "clEnqueueBarrierWithWaitList";
    if (target->wait_count)
        code = cl->clEnqueueBarrierWithWaitList(target->queue, target->wait_count,
                                                target->wait_list, NULL);
    for (uint32_t i = 0; i < count && !code; i++) {
        switch (steps[i].kind) {
        case WOQI_STEP_DISPATCH:
            *call = "clEnqueueNDRangeKernel";
            code = enqueue_dispatch(cl, target->queue, &slots[i], &steps[i], NULL);
            break;
        case WOQI_STEP_COPY:
            *call = "clEnqueueCopyBuffer";
            code = enqueue_copy(cl, target->queue, &steps[i]);
            break;
        case WOQI_STEP_BARRIER:
        case WOQI_STEP_TIMESTAMP: /* its time belongs to no run; what is left is the barrier */
            *call = "clEnqueueBarrierWithWaitList";
            if (out_of_order)
                code = cl->clEnqueueBarrierWithWaitList(target->queue, 0, NULL, NULL);
            break;
        case WOQI_STEP_OFF:
            break;
        }
    }
    if (code || !target->event)
        return code;
    *call = "clEnqueueMarkerWithWaitList";
    return cl->clEnqueueMarkerWithWaitList(target->queue, 0, NULL, target->event);
}

enum woq_status woqi_cl_record(struct woq_device *device, const struct woqi_step *steps,
                               uint32_t count, const void *target, void **keep)
{
    const struct woqi_cl_target *to = target;
    const struct woqi_cl_api *cl = woqi_cl_of(device)->api;
    bool out_of_order = false;
    enum woq_status st = check_target(device, to, &out_of_order);
    if (st)
        return st;
    struct slot *slots = woqi_alloc(device, (size_t)count + 1, sizeof *slots);
    if (!slots)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_opencl_record: out of host memory");
    st = prepare(device, slots, steps, count);
    if (st)
        goto done;
    const char *call = "";
    const cl_int code = enqueue_record(cl, to, out_of_order, slots, steps, count, &call);
    if (code)
        st = woqi_cl_fail_run(device, code, call);
done:
    /* A command keeps its kernel and the arguments it was enqueued with. */
    for (uint32_t i = 0; i < count; i++)
        release_slot(cl, &slots[i]);
    woqi_free(device, slots);
    if (!st)
        *keep = NULL;
    return st;
}

void woqi_cl_record_release(struct woq_device *device, void *keep)
{
    (void)device; /* woqi_cl_record leaves nothing to keep */
    (void)keep;
}

enum woq_status woq_opencl_record(struct woq_commands *commands, const struct woq_binding *bindings,
                                  size_t count, struct _cl_command_queue *queue,
                                  uint32_t wait_count, struct _cl_event *const *wait_list,
                                  struct _cl_event **event)
{
    if (event)
        *event = NULL;
    if (!commands || !queue)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "woq_opencl_record: %s is NULL",
                         commands ? "queue" : "commands");
    if ((wait_count != 0) != (wait_list != NULL))
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_opencl_record: wait_count is %u and wait_list is %sNULL; both or "
                         "neither must be given",
                         (unsigned)wait_count, wait_list ? "not " : "");
    const struct woqi_cl_target target = {queue, wait_count, wait_list, event};
    return woqi_commands_record(commands, bindings, count, &woqi_backend_opencl, &target);
}
