/*
 * vk_sequence.c: recordings that run many times.
 *
 * Each instance has a command buffer, a fence, descriptor sets, argument blocks and timestamp
 * queries of its own.
 *
 * With WOQ_FEATURE_REPLAY the command buffer is recorded at the instance's first run; later runs
 * write arguments and dispatch sizes to memory, point the sets to the new windows
 * (UPDATE_AFTER_BIND allows that on a recorded command buffer) and submit. Copies are baked into
 * the recording; when their windows change it is recorded again. Without the feature it is recorded
 * at every run, from sets and memory that exist already.
 */
#include "vk_backend.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"

/* What a set or a recorded copy refers to; all zero where a dispatch is off. */
struct bound {
    uint64_t id, offset, size;
};

struct run {
    VkCommandBuffer commands;
    VkFence fence;
    bool recorded;  /* commands holds the skeleton */
    bool submitted; /* and fence tells of it */
};

struct vk_sequence {
    struct woqi_vk_block_shape shape;
    struct woqi_vk_memory memory; /* blocks of all instances, shape.size apart */
    VkDescriptorPool pool;
    VkDescriptorSet *sets; /* [instances][dispatches] */
    struct bound *bound;   /* [instances][count][WOQ_BIND_COUNT] */
    VkCommandPool commands;
    VkQueryPool queries; /* [instances][timestamps] */
    uint32_t timestamps;
    uint32_t index[WOQ_MAX_TIMESTAMPS]; /* of each query */
    struct run runs[WOQ_MAX_IN_FLIGHT];
};

/* ---- making and unmaking ---- */

static struct woqi_vk_block block_of(const struct vk_sequence *s, uint32_t instance)
{
    return (struct woqi_vk_block){
        .buffer = s->memory.buffer,
        .map = s->memory.map,
        .offset = instance * s->shape.size,
        .sets = s->sets ? s->sets + (size_t)instance * s->shape.dispatches : NULL,
    };
}

static enum woq_status create_blocks(struct woqi_sequence *sequence)
{
    struct woq_device *device = sequence->device;
    struct vk_sequence *s = sequence->impl;
    bool overflow = false;
    uint64_t size = woqi_mul(s->shape.size, sequence->instances, &overflow);
    uint64_t sets = woqi_mul(s->shape.dispatches, sequence->instances, &overflow);
    if (overflow || sets > UINT32_MAX / WOQ_BIND_COUNT)
        return woqi_fail(device, WOQ_ERROR_OVERFLOW, "sequence of %u steps: size overflows",
                         sequence->count);
    enum woq_status st = woqi_vk_memory_create(device, size, WOQI_VK_BLOCK_USAGE, WOQI_VK_ARGUMENTS,
                                               &s->memory);
    if (!st)
        st = woqi_vk_sets_create(device, (uint32_t)sets, &s->pool, &s->sets);
    if (st)
        return st;
    for (uint32_t i = 0; i < sequence->instances; i++) {
        const struct woqi_vk_block block = block_of(s, i);
        woqi_vk_block_attach(device, &block, &s->shape);
    }
    return WOQ_OK;
}

static enum woq_status create_runs(struct woqi_sequence *sequence)
{
    struct woq_device *device = sequence->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct vk_sequence *s = sequence->impl;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = vk->family,
    };
    VkResult result = vk->fn.CreateCommandPool(vk->handle, &pool, NULL, &s->commands);
    if (result) {
        s->commands = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreateCommandPool");
    }
    VkCommandBuffer buffers[WOQ_MAX_IN_FLIGHT];
    const VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = s->commands,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = sequence->instances,
    };
    result = vk->fn.AllocateCommandBuffers(vk->handle, &allocate, buffers);
    if (result)
        return woqi_vk_fail(device, result, "vkAllocateCommandBuffers");
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    for (uint32_t i = 0; i < sequence->instances; i++) {
        s->runs[i].commands = buffers[i];
        result = vk->fn.CreateFence(vk->handle, &fence, NULL, &s->runs[i].fence);
        if (result) {
            s->runs[i].fence = VK_NULL_HANDLE;
            return woqi_vk_fail(device, result, "vkCreateFence");
        }
    }
    return WOQ_OK;
}

static enum woq_status create_queries(struct woqi_sequence *sequence)
{
    struct woqi_vk_device *vk = woqi_vk_of(sequence->device);
    struct vk_sequence *s = sequence->impl;
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = s->timestamps * sequence->instances,
    };
    VkResult result = vk->fn.CreateQueryPool(vk->handle, &info, NULL, &s->queries);
    if (result) {
        s->queries = VK_NULL_HANDLE;
        return woqi_vk_fail(sequence->device, result, "vkCreateQueryPool");
    }
    return WOQ_OK;
}

enum woq_status woqi_vk_sequence_create(struct woqi_sequence *sequence,
                                        const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct vk_sequence *s = woqi_alloc(device, 1, sizeof *s);
    if (!s)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "sequence: out of host memory");
    sequence->impl = s;
    for (uint32_t i = 0; i < sequence->count; i++)
        if (steps[i].kind == WOQI_STEP_TIMESTAMP)
            s->index[s->timestamps++] = steps[i].index;
    enum woq_status st = woqi_vk_block_measure(device, steps, sequence->count, &s->shape);
    if (!st)
        st = woqi_vk_kernels_build(device, steps, sequence->count);
    if (st)
        goto fail;
    s->bound = woqi_alloc(device, (size_t)sequence->count * sequence->instances,
                          WOQ_BIND_COUNT * sizeof *s->bound);
    if (!s->bound && sequence->count) {
        st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "sequence: out of host memory");
        goto fail;
    }
    if (s->shape.dispatches) {
        st = create_blocks(sequence);
        if (st)
            goto fail;
    }
    if (s->timestamps) {
        st = create_queries(sequence);
        if (st)
            goto fail;
    }
    st = create_runs(sequence);
    if (st)
        goto fail;
    return WOQ_OK;
fail:
    woqi_vk_sequence_destroy(sequence);
    return st;
}

void woqi_vk_sequence_destroy(struct woqi_sequence *sequence)
{
    struct woq_device *device = sequence->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct vk_sequence *s = sequence->impl;
    if (!s)
        return;
    for (uint32_t i = 0; i < WOQ_MAX_IN_FLIGHT; i++)
        if (s->runs[i].fence)
            vk->fn.DestroyFence(vk->handle, s->runs[i].fence, NULL);
    if (s->commands)
        vk->fn.DestroyCommandPool(vk->handle, s->commands, NULL);
    if (s->queries)
        vk->fn.DestroyQueryPool(vk->handle, s->queries, NULL);
    if (s->pool)
        vk->fn.DestroyDescriptorPool(vk->handle, s->pool, NULL);
    woqi_vk_memory_destroy(device, &s->memory);
    woqi_free(device, s->sets);
    woqi_free(device, s->bound);
    woqi_free(device, s);
    sequence->impl = NULL;
}

/* ---- running ---- */

/* Notes what a step refers to; true if that differs from before. */
static bool note(struct bound *before, const struct woqi_step *step)
{
    struct bound now[WOQ_BIND_COUNT];
    memset(now, 0, sizeof now);
    uint32_t used = step->kind == WOQI_STEP_DISPATCH ? step->nbind
                    : step->kind == WOQI_STEP_COPY   ? 2
                                                     : 0;
    for (uint32_t i = 0; i < used; i++) {
        const struct woqi_bind *bind = &step->bind[i];
        now[i] = (struct bound){woqi_vk_buffer_of(bind->buffer)->id, bind->offset, bind->size};
    }
    bool changed = memcmp(before, now, sizeof now) != 0;
    memcpy(before, now, sizeof now);
    return changed;
}

/* Points the instance's sets to the steps' windows. *copies becomes true if a recorded copy is
 * stale. */
static void rebind(struct woqi_sequence *sequence, uint32_t instance, const struct woqi_step *steps,
                   bool *copies)
{
    struct vk_sequence *s = sequence->impl;
    const struct woqi_vk_block block = block_of(s, instance);
    struct bound *bound = s->bound + (size_t)instance * sequence->count * WOQ_BIND_COUNT;
    bool first = !s->runs[instance].recorded;
    uint32_t dispatch = 0;
    for (uint32_t i = 0; i < sequence->count; i++, bound += WOQ_BIND_COUNT) {
        switch (steps[i].kind) {
        case WOQI_STEP_OFF:
        case WOQI_STEP_DISPATCH:
            if (note(bound, &steps[i]) || first)
                woqi_vk_bind_step(sequence->device, &block, &s->shape, dispatch, &steps[i]);
            dispatch++;
            break;
        case WOQI_STEP_COPY:
            *copies |= note(bound, &steps[i]);
            break;
        case WOQI_STEP_BARRIER:
        case WOQI_STEP_TIMESTAMP:
            break;
        }
    }
}

/* Makes what the queue did before visible to the steps. The guest's work may have come from any
 * stage. */
static void record_entry(const struct woqi_vk_device *vk, VkCommandBuffer commands)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vk->fn.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                              0, 1, &barrier, 0, NULL, 0, NULL);
}

/* Makes what the steps wrote visible to the host, once it has waited for the fence, and to any
 * later work. */
static void record_exit(const struct woqi_vk_device *vk, VkCommandBuffer commands)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT |
                         VK_ACCESS_HOST_READ_BIT,
    };
    vk->fn.CmdPipelineBarrier(commands,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                              VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                              &barrier, 0, NULL, 0, NULL);
}

static enum woq_status record_run(struct woqi_sequence *sequence, uint32_t instance,
                                  const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct vk_sequence *s = sequence->impl;
    struct run *run = &s->runs[instance];
    const struct woqi_vk_block block = block_of(s, instance);
    const struct woqi_vk_recording recording = {
        .commands = run->commands,
        .block = &block,
        .shape = &s->shape,
        .indirect = woqi_vk_replays(device),
        .queries = s->queries,
        .first_query = instance * s->timestamps,
    };
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = recording.indirect ? 0 : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    run->recorded = false;
    VkResult result = vk->fn.BeginCommandBuffer(run->commands, &begin);
    if (result)
        return woqi_vk_fail(device, result, "vkBeginCommandBuffer");
    if (s->timestamps)
        vk->fn.CmdResetQueryPool(run->commands, s->queries, recording.first_query, s->timestamps);
    record_entry(vk, run->commands);
    woqi_vk_record_steps(device, &recording, steps, sequence->count);
    record_exit(vk, run->commands);
    result = vk->fn.EndCommandBuffer(run->commands);
    if (result)
        return woqi_vk_fail(device, result, "vkEndCommandBuffer");
    run->recorded = true;
    return WOQ_OK;
}

enum woq_status woqi_vk_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                        const struct woqi_step *steps)
{
    struct woq_device *device = sequence->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct vk_sequence *s = sequence->impl;
    struct run *run = &s->runs[instance];
    bool stale = !woqi_vk_replays(device) || !run->recorded;
    enum woq_status st = woqi_vk_check_copies(device, steps, sequence->count);
    if (st)
        return st;
    rebind(sequence, instance, steps, &stale);
    if (s->shape.dispatches) {
        const struct woqi_vk_block block = block_of(s, instance);
        woqi_vk_block_fill(&block, &s->shape, steps, sequence->count);
    }
    if (stale) {
        st = record_run(sequence, instance, steps);
        if (st)
            return st;
    }
    run->submitted = false;
    VkResult result = vk->fn.ResetFences(vk->handle, 1, &run->fence);
    if (result)
        return woqi_vk_fail(device, result, "vkResetFences");
    st = woqi_vk_submit(device, run->commands, run->fence);
    run->submitted = st == WOQ_OK;
    return st;
}

enum woq_status woqi_vk_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                      uint64_t timeout_ns)
{
    struct woqi_vk_device *vk = woqi_vk_of(sequence->device);
    struct run *run = &((struct vk_sequence *)sequence->impl)->runs[instance];
    if (!run->submitted)
        return WOQ_OK;
    VkResult result = woqi_vk_wait(vk, run->fence, timeout_ns);
    if (result == VK_TIMEOUT)
        return WOQ_ERROR_TIMEOUT;
    return result ? woqi_vk_fail(sequence->device, result, "vkWaitForFences") : WOQ_OK;
}

/* ticks · period without the loss of a double: ticks may be near 2^63. The period is taken to 2^-32
 * ns. */
static uint64_t ticks_to_ns(uint64_t ticks, double period)
{
    uint64_t whole = (uint64_t)period;
    uint64_t part = (uint64_t)((period - (double)whole) * 4294967296.0);
    uint64_t high = ticks >> 32, low = ticks & UINT32_MAX;
    return ticks * whole + high * part + (low * part >> 32);
}

enum woq_status woqi_vk_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t *ns, size_t count)
{
    struct woq_device *device = sequence->device;
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct vk_sequence *s = sequence->impl;
    uint64_t ticks[WOQ_MAX_TIMESTAMPS];
    memset(ns, 0, count * sizeof *ns);
    if (!s->timestamps)
        return WOQ_OK;
    VkResult result = vk->fn.GetQueryPoolResults(vk->handle, s->queries, instance * s->timestamps,
                                                 s->timestamps, sizeof ticks, ticks, sizeof *ticks,
                                                 VK_QUERY_RESULT_64_BIT);
    if (result)
        return woqi_vk_fail(device, result, "vkGetQueryPoolResults");
    uint64_t wrap = vk->timestamp_bits < 64 ? (uint64_t)1 << vk->timestamp_bits : 0;
    uint64_t base = 0;
    for (uint32_t i = 0; i < s->timestamps; i++) {
        if (wrap && i && ticks[i] < ticks[i - 1]) /* the counter ran over within this run */
            base += wrap;
        if (s->index[i] < count)
            ns[s->index[i]] = ticks_to_ns(base + ticks[i], (double)vk->limits.timestampPeriod);
    }
    return WOQ_OK;
}
