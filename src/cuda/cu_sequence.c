/*
 * cu_sequence.c: replay by CUDA graphs.
 *
 * Each instance owns a graph with a node for each step, instantiated once:
 *   DISPATCH, OFF   kernel node; a run sets its parameters if they changed, and turns it on or off
 *   COPY            1-D memcpy node, device to device; likewise
 *   BARRIER         empty node, or none if there is a single node to wait for
 *   TIMESTAMP       event record node
 * Work nodes depend on the last barrier or timestamp; these depend on all work since the one
 * before, or on that one itself. Runs are launched into the device's stream, which orders them.
 *
 * Where barriers have a single kernel on either side, the second one begins while the first one ends (programmatic
 * dependent launch), if no step writes its weights: until the first one has ended it reads nothing else
 * (woq_await_steps of common.cuh). What that means where one of the two is turned off, which a product of no rows is,
 * CUDA does not say: such a run goes into the stream step by step.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, nanosleep */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "cu_backend.h"
#include "cu_nvtx.h"

#define POLL_NS 20000 /* between two questions of a wait with a time-out */

/* A step as the instantiated graph has it now. */
struct node {
    CUgraphNode handle;
    bool enabled;
    bool overlaps; /* its begin, or its end, with another one */
    struct woqi_cu_launch launch;
};

struct instance {
    CUgraph graph;
    CUgraphExec exec;
    CUevent done;       /* recorded behind each launch */
    struct node *nodes; /* [sequence->count]; barriers and timestamps leave theirs unused */
    CUevent *stamps;    /* [stamp_count], in the order of the steps */
};

struct sequence {
    char name[80]; /* for ranges: of the first kernel, and how many steps follow */
    uint32_t stamp_count;
    uint32_t *stamp_index; /* of each timestamp: woqi_step.index */
    struct instance *instances;
};

/* ---- building ---- */

/* The graph's frontier while it grows. */
struct builder {
    struct woq_device *device;
    struct instance *to;
    CUgraphNode barrier; /* what new work depends on; NULL at the beginning */
    struct node *kernel_barrier; /* which is a kernel: its; or NULL */
    CUgraphNode *open;   /* work since the barrier */
    size_t open_count;
    struct node *open_kernel; /* the last of it, if that is a kernel; or NULL */
    uint32_t stamp;   /* timestamps so far */
};

static void kernel_params(const struct woqi_kernel *kernel, const struct woqi_cu_launch *launch,
                          void **parameters, CUDA_KERNEL_NODE_PARAMS_v2 *out)
{
    const struct woqi_cu_kernel *impl = kernel->impl;
    memset(out, 0, sizeof(*out));
    out->func = impl->function;
    out->gridDimX = launch->groups[0];
    out->gridDimY = launch->groups[1];
    out->gridDimZ = launch->groups[2];
    out->blockDimX = impl->block[0];
    out->blockDimY = impl->block[1];
    out->blockDimZ = impl->block[2];
    out->sharedMemBytes = impl->shared;
    out->kernelParams = parameters;
}

/* Pitches and heights do not matter to a single row and stay 0. */
static void copy_params(CUdeviceptr source, CUdeviceptr target, uint64_t bytes, CUDA_MEMCPY3D *out)
{
    memset(out, 0, sizeof(*out));
    out->srcMemoryType = CU_MEMORYTYPE_DEVICE;
    out->srcDevice = source;
    out->dstMemoryType = CU_MEMORYTYPE_DEVICE;
    out->dstDevice = target;
    out->WidthInBytes = (size_t)bytes;
    out->Height = 1;
    out->Depth = 1;
}

static CUresult add_overlap(struct builder *b, CUgraphNode node)
{
#if CUDA_VERSION >= 12030
    const CUgraphEdgeData edge = {.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC,
                                  .type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC};
    return woqi_cu_device(b->device)->api->graph_add_edges(b->to->graph, &b->barrier, &node, &edge, 1);
#else
    (void)b, (void)node;
    return CUDA_ERROR_NOT_SUPPORTED;
#endif
}

/* A skeleton's windows may be unset. A kernel node takes any addresses; a memcpy node wants memory,
 * and gets the device's scratch until the first run. behind: steps; single: between barriers. */
static enum woq_status add_work(struct builder *b, const struct woqi_step *step, uint32_t behind, bool single,
                                struct node *node)
{
    struct woqi_cu_device *cu = woqi_cu_device(b->device);
    const bool overlaps = single && b->kernel_barrier && woqi_cu_may_overlap(b->device, step);
    const CUgraphNode *after = b->barrier && !overlaps ? &b->barrier : NULL;
    size_t after_count = after ? 1 : 0;
    CUresult result;
    if (step->kind == WOQI_STEP_COPY) {
        CUDA_MEMCPY3D copy;
        node->launch.bind[0] = cu->scratch;
        node->launch.bind[1] = cu->scratch + WOQI_CU_SCRATCH / 2;
        node->launch.bytes = 4;
        copy_params(node->launch.bind[0], node->launch.bind[1], node->launch.bytes, &copy);
        result = cu->api->graph_add_memcpy_node(&node->handle, b->to->graph, after, after_count,
                                                &copy, cu->context);
        if (result)
            return woqi_cu_fail(b->device, result, "cuGraphAddMemcpyNode");
    } else {
        CUDA_KERNEL_NODE_PARAMS_v2 params;
        void *parameters[WOQI_CU_PARAMETERS];
        woqi_cu_resolve(step, behind, &node->launch);
        const enum woq_status st = woqi_cu_map_x(b->device, step->kernel, &node->launch);
        if (st)
            return st;
        woqi_cu_parameters(&node->launch, parameters);
        kernel_params(step->kernel, &node->launch, parameters, &params);
        result = cu->api->graph_add_kernel_node(&node->handle, b->to->graph, after, after_count,
                                                &params);
        if (result)
            return woqi_cu_fail(b->device, result, "cuGraphAddKernelNode(%s)", step->kernel->name);
        const uint32_t cluster = ((const struct woqi_cu_kernel *)step->kernel->impl)->cluster;
        if (cluster > 1) {
            const CUkernelNodeAttrValue size = {.clusterDim = {cluster, 1, 1}};
            result = cu->api->graph_kernel_node_set_attribute(node->handle, CU_KERNEL_NODE_ATTRIBUTE_CLUSTER_DIMENSION,
                                                              &size);
            if (result)
                return woqi_cu_fail(b->device, result, "cuGraphKernelNodeSetAttribute(%s)", step->kernel->name);
        }
        result = overlaps ? add_overlap(b, node->handle) : CUDA_SUCCESS;
        if (result)
            return woqi_cu_fail(b->device, result, "cuGraphAddDependencies(%s)", step->kernel->name);
    }
    node->enabled = true;
    if (overlaps)
        node->overlaps = b->kernel_barrier->overlaps = true;
    b->open_kernel = step->kind != WOQI_STEP_COPY ? node : NULL;
    b->open[b->open_count++] = node->handle;
    return WOQ_OK;
}

/* A barrier, with `event` a timestamp. */
static enum woq_status add_barrier(struct builder *b, CUevent event)
{
    const struct woqi_cu_api *api = woqi_cu_device(b->device)->api;
    const CUgraphNode *after = b->open_count ? b->open : b->barrier ? &b->barrier : NULL;
    size_t after_count = b->open_count ? b->open_count : b->barrier ? 1 : 0;
    CUgraphNode node = NULL;
    CUresult result;
    if (event) {
        result = api->graph_add_event_node(&node, b->to->graph, after, after_count, event);
        if (result)
            return woqi_cu_fail(b->device, result, "cuGraphAddEventRecordNode");
    } else if (after_count > 1) {
        result = api->graph_add_empty_node(&node, b->to->graph, after, after_count);
        if (result)
            return woqi_cu_fail(b->device, result, "cuGraphAddEmptyNode");
    } else {
        node = after_count ? *after : NULL;
    }
    if (event || b->open_count > 1)
        b->kernel_barrier = NULL;
    else if (b->open_count)
        b->kernel_barrier = b->open_kernel;
    b->barrier = node;
    b->open_count = 0;
    return WOQ_OK;
}

static bool is_work(const struct woqi_step *step)
{
    return step->kind != WOQI_STEP_BARRIER && step->kind != WOQI_STEP_TIMESTAMP;
}

static enum woq_status add_steps(struct builder *b, const struct woqi_step *steps, uint32_t count)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; !st && i < count; i++) {
        switch (steps[i].kind) {
        case WOQI_STEP_OFF:
        case WOQI_STEP_DISPATCH:
        case WOQI_STEP_COPY:
            st = add_work(b, &steps[i], count - 1 - i,
                          (i == 0 || !is_work(&steps[i - 1])) && (i + 1 == count || !is_work(&steps[i + 1])),
                          &b->to->nodes[i]);
            break;
        case WOQI_STEP_BARRIER:
            st = add_barrier(b, NULL);
            break;
        case WOQI_STEP_TIMESTAMP:
            st = add_barrier(b, b->to->stamps[b->stamp++]);
            break;
        }
    }
    return st;
}

static enum woq_status create_events(struct woq_device *device, struct instance *to,
                                     uint32_t stamp_count)
{
    const struct woqi_cu_api *api = woqi_cu_device(device)->api;
    CUresult result = api->event_create(&to->done, CU_EVENT_DISABLE_TIMING);
    for (uint32_t i = 0; !result && i < stamp_count; i++)
        result = api->event_create(&to->stamps[i], CU_EVENT_DEFAULT);
    return result ? woqi_cu_fail(device, result, "cuEventCreate") : WOQ_OK;
}

static enum woq_status instantiate(struct woq_device *device, struct instance *to)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    CUresult result = cu->api->graph_instantiate(&to->exec, to->graph, 0);
    if (result)
        return woqi_cu_fail(device, result, "cuGraphInstantiateWithFlags");
    result = cu->api->graph_upload(to->exec, cu->stream);
    return result ? woqi_cu_fail(device, result, "cuGraphUpload") : WOQ_OK;
}

static enum woq_status build_instance(struct woqi_sequence *sequence, struct instance *to,
                                      const struct woqi_step *steps, CUgraphNode *open)
{
    const struct sequence *impl = sequence->impl;
    struct woq_device *device = sequence->device;
    struct builder builder = {.device = device, .to = to, .open = open};
    to->nodes = woqi_alloc(device, sequence->count + 1u, sizeof(*to->nodes));
    to->stamps = woqi_alloc(device, impl->stamp_count + 1u, sizeof(*to->stamps));
    if (!to->nodes || !to->stamps)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "CUDA graph: out of host memory");
    enum woq_status st = create_events(device, to, impl->stamp_count);
    if (st)
        return st;
    CUresult result = woqi_cu_device(device)->api->graph_create(&to->graph, 0);
    if (result)
        return woqi_cu_fail(device, result, "cuGraphCreate");
    st = add_steps(&builder, steps, sequence->count);
    return st ? st : instantiate(device, to);
}

static void name_sequence(const struct woqi_step *steps, uint32_t count, uint32_t work, char *out, size_t size)
{
    const char *first = "copy";
    for (uint32_t i = 0; i < count; i++)
        if (steps[i].kernel) {
            first = steps[i].kernel->name;
            break;
        }
    if (work > 1)
        snprintf(out, size, "%s and %u more", first, (unsigned)(work - 1));
    else
        snprintf(out, size, "%s", first);
}

static enum woq_status build(struct woqi_sequence *sequence, const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct sequence *impl = sequence->impl;
    enum woq_status st = WOQ_OK;
    uint32_t work = 0;
    for (uint32_t i = 0; i < sequence->count; i++) {
        impl->stamp_count += steps[i].kind == WOQI_STEP_TIMESTAMP;
        work += is_work(&steps[i]);
    }
    name_sequence(steps, sequence->count, work, impl->name, sizeof(impl->name));
    impl->stamp_index = woqi_alloc(device, impl->stamp_count + 1u, sizeof(*impl->stamp_index));
    impl->instances = woqi_alloc(device, sequence->instances, sizeof(*impl->instances));
    CUgraphNode *open = woqi_alloc(device, sequence->count + 1u, sizeof(*open));
    if (!impl->stamp_index || !impl->instances || !open) {
        st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "CUDA graph: out of host memory");
        goto done;
    }
    for (uint32_t i = 0, stamp = 0; i < sequence->count; i++)
        if (steps[i].kind == WOQI_STEP_TIMESTAMP)
            impl->stamp_index[stamp++] = steps[i].index;
    st = woqi_cu_enter(device);
    if (st)
        goto done;
    woqi_cu_range_begin("build", impl->name);
    for (uint32_t i = 0; !st && i < sequence->instances; i++)
        st = build_instance(sequence, &impl->instances[i], steps, open);
    woqi_cu_range_end();
    woqi_cu_leave(device);
done:
    woqi_free(device, open);
    return st;
}

enum woq_status woqi_cu_sequence_create(struct woqi_sequence *sequence,
                                        const struct woqi_step *steps)
{
    sequence->impl = woqi_alloc(sequence->device, 1, sizeof(struct sequence));
    if (!sequence->impl)
        return woqi_fail(sequence->device, WOQ_ERROR_OUT_OF_MEMORY,
                         "CUDA graph: out of host memory");
    enum woq_status st = build(sequence, steps);
    if (st)
        woqi_cu_sequence_destroy(sequence);
    return st;
}

static void destroy_instance(struct woqi_sequence *sequence, struct instance *instance,
                             uint32_t stamp_count, const struct woqi_cu_api *api)
{
    if (api) {
        if (instance->exec)
            api->graph_exec_destroy(instance->exec);
        if (instance->graph)
            api->graph_destroy(instance->graph);
        if (instance->done)
            api->event_destroy(instance->done);
        for (uint32_t i = 0; instance->stamps && i < stamp_count; i++)
            if (instance->stamps[i])
                api->event_destroy(instance->stamps[i]);
    }
    woqi_free(sequence->device, instance->nodes);
    woqi_free(sequence->device, instance->stamps);
}

void woqi_cu_sequence_destroy(struct woqi_sequence *sequence)
{
    struct sequence *impl = sequence->impl;
    if (!impl)
        return;
    /* A lost context takes its native objects along; host memory is freed in any case. */
    bool entered = !woqi_cu_enter(sequence->device);
    const struct woqi_cu_api *api = entered ? woqi_cu_device(sequence->device)->api : NULL;
    for (uint32_t i = 0; impl->instances && i < sequence->instances; i++)
        destroy_instance(sequence, &impl->instances[i], impl->stamp_count, api);
    if (entered)
        woqi_cu_leave(sequence->device);
    woqi_free(sequence->device, impl->instances);
    woqi_free(sequence->device, impl->stamp_index);
    woqi_free(sequence->device, impl);
    sequence->impl = NULL;
}

/* ---- running ---- */

static bool same(const struct woqi_cu_launch *a, const struct woqi_cu_launch *b)
{
    return !memcmp(a->bind, b->bind, sizeof(a->bind)) && a->bytes == b->bytes &&
           !memcmp(a->groups, b->groups, sizeof(a->groups)) &&
           !memcmp(&a->args, &b->args, sizeof(a->args));
}

static enum woq_status set_enabled(struct woq_device *device, struct instance *instance,
                                   struct node *node, bool enabled)
{
    if (node->enabled == enabled)
        return WOQ_OK;
    CUresult result = woqi_cu_device(device)->api->graph_node_set_enabled(instance->exec,
                                                                          node->handle, enabled);
    if (result)
        return woqi_cu_fail(device, result, "cuGraphNodeSetEnabled(%d)", (int)enabled);
    node->enabled = enabled;
    return WOQ_OK;
}

static enum woq_status set_launch(struct woq_device *device, struct instance *instance,
                                  struct node *node, const struct woqi_step *step, uint32_t behind)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    struct woqi_cu_launch launch;
    CUresult result;
    woqi_cu_resolve(step, behind, &launch);
    if (same(&launch, &node->launch))
        return WOQ_OK;
    if (step->kind == WOQI_STEP_COPY) {
        CUDA_MEMCPY3D copy;
        copy_params(launch.bind[0], launch.bind[1], launch.bytes, &copy);
        result = cu->api->graph_exec_set_memcpy(instance->exec, node->handle, &copy, cu->context);
        if (result)
            return woqi_cu_fail(device, result, "cuGraphExecMemcpyNodeSetParams");
    } else {
        CUDA_KERNEL_NODE_PARAMS_v2 params;
        void *parameters[WOQI_CU_PARAMETERS];
        const enum woq_status st = woqi_cu_map_x(device, step->kernel, &launch);
        if (st)
            return st;
        woqi_cu_parameters(&launch, parameters);
        kernel_params(step->kernel, &launch, parameters, &params);
        result = cu->api->graph_exec_set_kernel(instance->exec, node->handle, &params);
        if (result)
            return woqi_cu_fail(device, result, "cuGraphExecKernelNodeSetParams(%s)",
                                step->kernel->name);
    }
    node->launch = launch;
    return WOQ_OK;
}

static enum woq_status update(struct woqi_sequence *sequence, struct instance *instance,
                              const struct woqi_step *steps)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; !st && i < sequence->count; i++) {
        struct node *node = &instance->nodes[i];
        if (!node->handle)
            continue;
        st = set_enabled(sequence->device, instance, node, steps[i].kind != WOQI_STEP_OFF);
        if (!st && node->enabled)
            st = set_launch(sequence->device, instance, node, &steps[i], sequence->count - 1 - i);
    }
    return st;
}

/* Is one of the nodes that overlap turned off? */
static bool lacks_overlap(const struct woqi_sequence *sequence, const struct instance *run,
                          const struct woqi_step *steps)
{
    for (uint32_t i = 0; i < sequence->count; i++)
        if (run->nodes[i].overlaps && steps[i].kind == WOQI_STEP_OFF)
            return true;
    return false;
}

/* Without the graph, which stays as it is. */
static enum woq_status submit_steps(struct woqi_sequence *sequence, struct instance *run,
                                    const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    enum woq_status st = WOQ_OK;
    bool follows = false;
    for (uint32_t i = 0, stamp = 0; !st && i < sequence->count; i++) {
        if (is_work(&steps[i])) {
            st = woqi_cu_record_step(device, &steps[i], sequence->count - 1 - i, &follows, cu->stream);
        } else if (steps[i].kind == WOQI_STEP_TIMESTAMP) {
            const CUresult result = cu->api->event_record(run->stamps[stamp++], cu->stream);
            follows = false;
            st = result ? woqi_cu_fail(device, result, "cuEventRecord") : WOQ_OK;
        }
    }
    if (st) /* core takes the run for not submitted */
        cu->api->stream_synchronize(cu->stream);
    return st;
}

static enum woq_status submit_graph(struct woqi_sequence *sequence, struct instance *run,
                                    const struct woqi_step *steps)
{
    struct woqi_cu_device *cu = woqi_cu_device(sequence->device);
    const enum woq_status st = update(sequence, run, steps);
    if (st)
        return st;
    const CUresult result = cu->api->graph_launch(run->exec, cu->stream);
    return result ? woqi_cu_fail(sequence->device, result, "cuGraphLaunch") : WOQ_OK;
}

enum woq_status woqi_cu_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                        const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    struct sequence *impl = sequence->impl;
    struct instance *run = &impl->instances[instance];
    CUresult result;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    woqi_cu_range_begin("submit", impl->name);
    st = lacks_overlap(sequence, run, steps) ? submit_steps(sequence, run, steps)
                                             : submit_graph(sequence, run, steps);
    if (st)
        goto leave;
    result = cu->api->event_record(run->done, cu->stream);
    if (result) {
        /* Core takes the run for not submitted, so it must not be in flight. */
        cu->api->stream_synchronize(cu->stream);
        st = woqi_cu_fail(device, result, "cuEventRecord");
    }
leave:
    woqi_cu_range_end();
    woqi_cu_leave(device);
    return st;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The driver has no wait with a time-out. */
static CUresult poll_event(const struct woqi_cu_api *api, CUevent event, uint64_t timeout_ns)
{
    uint64_t begin = timeout_ns ? now_ns() : 0;
    for (;;) {
        CUresult result = api->event_query(event);
        uint64_t spent = timeout_ns ? now_ns() - begin : 0;
        if (result != CUDA_ERROR_NOT_READY || spent >= timeout_ns)
            return result;
        uint64_t left = timeout_ns - spent;
        struct timespec pause = {0, left < POLL_NS ? (long)left : POLL_NS};
        nanosleep(&pause, NULL);
    }
}

enum woq_status woqi_cu_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                      uint64_t timeout_ns)
{
    struct woq_device *device = sequence->device;
    const struct woqi_cu_api *api = woqi_cu_device(device)->api;
    CUevent done = ((struct sequence *)sequence->impl)->instances[instance].done;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    CUresult result = timeout_ns == UINT64_MAX ? api->event_synchronize(done)
                                               : poll_event(api, done, timeout_ns);
    woqi_cu_leave(device);
    if (result == CUDA_ERROR_NOT_READY)
        return WOQ_ERROR_TIMEOUT;
    return result ? woqi_cu_fail(device, result, "waiting for a run") : WOQ_OK;
}

/* cuEventElapsedTime gives a float in ms, whose precision falls with the distance. So a run's times
 * are taken from its first timestamp, and only that one from the device's base event. */
enum woq_status woqi_cu_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t *ns, size_t count)
{
    struct woq_device *device = sequence->device;
    struct woqi_cu_device *cu = woqi_cu_device(device);
    const struct sequence *impl = sequence->impl;
    const CUevent *stamps = impl->instances[instance].stamps;
    memset(ns, 0, count * sizeof(*ns));
    if (!impl->stamp_count)
        return WOQ_OK;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    float ms = 0;
    CUresult result = cu->api->event_elapsed_time(&ms, cu->base, stamps[0]);
    /* One more than measured: 0 means that nothing was recorded. */
    double first = 1 + (ms > 0 ? ms * 1e6 : 0);
    for (uint32_t i = 0; !result && i < impl->stamp_count; i++) {
        ms = 0;
        if (i)
            result = cu->api->event_elapsed_time(&ms, stamps[0], stamps[i]);
        if (!result && impl->stamp_index[i] < count)
            ns[impl->stamp_index[i]] = (uint64_t)(first + ms * 1e6 + 0.5);
    }
    woqi_cu_leave(device);
    if (result)
        memset(ns, 0, count * sizeof(*ns));
    return result ? woqi_cu_fail(device, result, "cuEventElapsedTime") : WOQ_OK;
}
