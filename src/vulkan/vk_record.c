/*
 * vk_record.c: steps to Vulkan commands, for sequences and for the guest's command buffers.
 *
 * The dispatches of a list share a block of host-visible memory:
 *
 *     arguments of dispatch 0 | of dispatch 1 | … | VkDispatchIndirectCommand 0, 1, …
 *
 * Argument blocks are uniform buffers, `stride` bytes apart; each dispatch has a descriptor set
 * that points to its own. A replayed dispatch takes its size from the block, 0 × 0 × 0 when it is
 * off; the storage buffers of its set then are its arguments too, as those it had may be gone.
 */
#include "vk_backend.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"

/* ---- argument blocks ---- */

enum woq_status woqi_vk_block_measure(struct woq_device *device, const struct woqi_step *steps,
                                      uint32_t count, struct woqi_vk_block_shape *shape)
{
    const VkPhysicalDeviceLimits *limits = &woqi_vk_of(device)->limits;
    bool overflow = false;
    memset(shape, 0, sizeof *shape);
    for (uint32_t i = 0; i < count; i++)
        shape->dispatches += woqi_vk_is_dispatch(&steps[i]);
    shape->stride = woqi_align_up(sizeof(struct woqi_args), limits->minUniformBufferOffsetAlignment,
                                  &overflow);
    shape->indirect = woqi_mul(shape->dispatches, shape->stride, &overflow);
    uint64_t end = woqi_mul(shape->dispatches, sizeof(VkDispatchIndirectCommand), &overflow);
    end = woqi_add(shape->indirect, end, &overflow);
    shape->size = woqi_align_up(end, 256, &overflow); /* no offset alignment is larger */
    return overflow ? woqi_fail(device, WOQ_ERROR_OVERFLOW,
                                "argument blocks of %u steps: size overflows", count)
                    : WOQ_OK;
}

void woqi_vk_block_fill(const struct woqi_vk_block *block, const struct woqi_vk_block_shape *shape,
                        const struct woqi_step *steps, uint32_t count)
{
    uint8_t *args = block->map + block->offset;
    uint8_t *sizes = args + shape->indirect;
    for (uint32_t i = 0; i < count; i++) {
        if (!woqi_vk_is_dispatch(&steps[i]))
            continue;
        VkDispatchIndirectCommand size = {0, 0, 0};
        if (steps[i].kind == WOQI_STEP_DISPATCH) {
            size = (VkDispatchIndirectCommand){steps[i].groups[0], steps[i].groups[1],
                                               steps[i].groups[2]};
            memcpy(args, &steps[i].args, sizeof steps[i].args);
        }
        memcpy(sizes, &size, sizeof size);
        args += shape->stride;
        sizes += sizeof size;
    }
}

/* ---- descriptor sets ---- */

enum woq_status woqi_vk_sets_create(struct woq_device *device, uint32_t sets,
                                    VkDescriptorPool *pool, VkDescriptorSet **out_sets)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    const VkDescriptorPoolSize sizes[] = {
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, sets * WOQ_BIND_COUNT},
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, sets},
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .flags = woqi_vk_replays(device) ? VK_DESCRIPTOR_POOL_CREATE_UPDATE_AFTER_BIND_BIT : 0,
        .maxSets = sets,
        .poolSizeCount = 2,
        .pPoolSizes = sizes,
    };
    enum woq_status st = WOQ_OK;
    VkResult result;
    VkDescriptorSetLayout *layouts = woqi_alloc(device, sets, sizeof *layouts);
    *pool = VK_NULL_HANDLE;
    *out_sets = woqi_alloc(device, sets, sizeof **out_sets);
    if (!layouts || !*out_sets) {
        st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "%u descriptor sets: out of host memory",
                       sets);
        goto done;
    }
    result = vk->fn.CreateDescriptorPool(vk->handle, &info, NULL, pool);
    if (result) {
        *pool = VK_NULL_HANDLE;
        st = woqi_vk_fail(device, result, "vkCreateDescriptorPool");
        goto done;
    }
    for (uint32_t i = 0; i < sets; i++)
        layouts[i] = woqi_vk_layout_of(device)->set;
    const VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = *pool,
        .descriptorSetCount = sets,
        .pSetLayouts = layouts,
    };
    result = vk->fn.AllocateDescriptorSets(vk->handle, &allocate, *out_sets);
    if (result)
        st = woqi_vk_fail(device, result, "vkAllocateDescriptorSets");
done:
    woqi_free(device, layouts);
    if (st) {
        if (*pool)
            vk->fn.DestroyDescriptorPool(vk->handle, *pool, NULL);
        woqi_free(device, *out_sets);
        *pool = VK_NULL_HANDLE;
        *out_sets = NULL;
    }
    return st;
}

void woqi_vk_block_attach(struct woq_device *device, const struct woqi_vk_block *block,
                          const struct woqi_vk_block_shape *shape)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    for (uint32_t d = 0; d < shape->dispatches; d++) {
        const VkDescriptorBufferInfo info = {block->buffer, block->offset + d * shape->stride,
                                             sizeof(struct woqi_args)};
        const VkWriteDescriptorSet write = {
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = block->sets[d],
            .dstBinding = WOQ_BIND_COUNT,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
            .pBufferInfo = &info,
        };
        vk->fn.UpdateDescriptorSets(vk->handle, 1, &write, 0, NULL);
    }
}

/* Core repeats Y's window where there is no bias or residual. */
static bool is_used(const struct woqi_step *step, uint32_t binding)
{
    return binding < step->nbind && (binding != WOQ_BIND_BIAS || WOQ_FLAG_BIAS(step->args.flags)) &&
           (binding != WOQ_BIND_RESIDUAL || WOQ_FLAG_RESIDUAL(step->args.flags));
}

static VkDescriptorBufferInfo window_of(const struct woqi_bind *bind)
{
    const struct woqi_vk_buffer *b = woqi_vk_buffer_of(bind->buffer);
    return (VkDescriptorBufferInfo){b->memory.buffer, b->offset + bind->offset, bind->size};
}

void woqi_vk_bind_step(struct woq_device *device, const struct woqi_vk_block *block,
                       const struct woqi_vk_block_shape *shape, uint32_t dispatch,
                       const struct woqi_step *step)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkDescriptorBufferInfo infos[WOQ_BIND_COUNT];
    for (uint32_t i = 0; i < WOQ_BIND_COUNT; i++) {
        if (step->kind == WOQI_STEP_OFF)
            infos[i] = (VkDescriptorBufferInfo){
                block->buffer, block->offset + dispatch * shape->stride, sizeof(struct woqi_args)};
        else /* X's window, which is only read, where Y's is not needed */
            infos[i] = window_of(&step->bind[is_used(step, i) ? i : WOQ_BIND_X]);
    }
    /* One write may run on into the next bindings, which are of the same type and stages. */
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = block->sets[dispatch],
        .dstBinding = 0,
        .descriptorCount = WOQ_BIND_COUNT,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = infos,
    };
    vk->fn.UpdateDescriptorSets(vk->handle, 1, &write, 0, NULL);
}

enum woq_status woqi_vk_check_copies(struct woq_device *device, const struct woqi_step *steps,
                                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (steps[i].kind != WOQI_STEP_COPY)
            continue;
        if (!(woqi_vk_buffer_of(steps[i].bind[0].buffer)->usage & VK_BUFFER_USAGE_TRANSFER_SRC_BIT))
            return woqi_fail(
                device, WOQ_ERROR_INVALID_ARGUMENT,
                "a copy's source was imported without VK_BUFFER_USAGE_TRANSFER_SRC_BIT");
        if (!(woqi_vk_buffer_of(steps[i].bind[1].buffer)->usage & VK_BUFFER_USAGE_TRANSFER_DST_BIT))
            return woqi_fail(
                device, WOQ_ERROR_INVALID_ARGUMENT,
                "a copy's target was imported without VK_BUFFER_USAGE_TRANSFER_DST_BIT");
    }
    return WOQ_OK;
}

/* ---- commands ---- */

void woqi_vk_barrier(const struct woqi_vk_device *vk, VkCommandBuffer commands)
{
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                        VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vk->fn.CmdPipelineBarrier(commands, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* ---- overlapping windows ----
 *
 * Steps between two barriers touch different elements, but the windows they are bound to may
 * overlap: tiles of N write columns side by side, and windows begin at multiples of the alignment.
 * Validation layers know windows only and report hazards, in the guest's own tests too. A barrier
 * between such steps costs next to nothing: they are the pieces of products that were too large for
 * one binding.
 */

static uint32_t window_count(const struct woqi_step *step)
{
    return step->kind == WOQI_STEP_DISPATCH ? step->nbind : step->kind == WOQI_STEP_COPY ? 2 : 0;
}

static const struct woqi_bind *written(const struct woqi_step *step)
{
    return &step->bind[step->kind == WOQI_STEP_COPY ? 1 : WOQ_BIND_Y];
}

static bool overlap(const struct woqi_bind *a, const struct woqi_bind *b)
{
    const VkDescriptorBufferInfo x = window_of(a), y = window_of(b);
    return x.buffer == y.buffer && x.offset < y.offset + y.range && y.offset < x.offset + x.range;
}

/* Does `writer` write to a window of `other`? */
static bool touches(const struct woqi_step *writer, const struct woqi_step *other)
{
    for (uint32_t i = 0; i < window_count(other); i++)
        if ((other->kind == WOQI_STEP_COPY || is_used(other, i)) &&
            overlap(written(writer), &other->bind[i]))
            return true;
    return false;
}

/* Does `step` conflict with one of `before`, `count` steps since the last barrier? */
static bool conflicts(const struct woqi_step *before, uint32_t count, const struct woqi_step *step)
{
    if (!window_count(step))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (window_count(&before[i]) && (touches(step, &before[i]) || touches(&before[i], step)))
            return true;
    return false;
}

/* ---- recording ---- */

static void record_copy(const struct woqi_vk_device *vk, VkCommandBuffer commands,
                        const struct woqi_step *step)
{
    const VkDescriptorBufferInfo from = window_of(&step->bind[0]), to = window_of(&step->bind[1]);
    const VkBufferCopy region = {from.offset, to.offset, from.range};
    vk->fn.CmdCopyBuffer(commands, from.buffer, to.buffer, 1, &region);
}

void woqi_vk_record_steps(struct woq_device *device, const struct woqi_vk_recording *recording,
                          const struct woqi_step *steps, uint32_t count)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkCommandBuffer commands = recording->commands;
    const struct woqi_vk_block *block = recording->block;
    uint64_t sizes = block->offset + recording->shape->indirect;
    VkPipeline bound = VK_NULL_HANDLE;
    uint32_t dispatch = 0, query = recording->first_query;
    uint32_t since = 0; /* the last barrier */
    for (uint32_t i = 0; i < count; i++) {
        const struct woqi_step *step = &steps[i];
        if (conflicts(&steps[since], i - since, step)) {
            woqi_vk_barrier(vk, commands);
            since = i;
        }
        switch (step->kind) {
        case WOQI_STEP_OFF:
        case WOQI_STEP_DISPATCH: {
            uint32_t d = dispatch++;
            if (step->kind == WOQI_STEP_OFF && !recording->indirect)
                break;
            VkPipeline pipeline = ((struct woqi_vk_kernel *)step->kernel->impl)->pipeline;
            if (pipeline != bound)
                vk->fn.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
            bound = pipeline;
            vk->fn.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                                         woqi_vk_layout_of(device)->pipeline, 0, 1, &block->sets[d],
                                         0, NULL);
            if (recording->indirect)
                vk->fn.CmdDispatchIndirect(commands, block->buffer,
                                           sizes + d * sizeof(VkDispatchIndirectCommand));
            else
                vk->fn.CmdDispatch(commands, step->groups[0], step->groups[1], step->groups[2]);
            break;
        }
        case WOQI_STEP_COPY:
            record_copy(vk, commands, step);
            break;
        case WOQI_STEP_BARRIER:
            woqi_vk_barrier(vk, commands);
            since = i + 1;
            break;
        case WOQI_STEP_TIMESTAMP:
            woqi_vk_barrier(vk, commands);
            since = i + 1;
            if (recording->queries)
                vk->fn.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                         recording->queries, query++);
            break;
        }
    }
}

/* ---- the guest's command buffers ---- */

/* Lives as long as the guest's recording. */
struct kept {
    struct woqi_vk_memory memory;
    VkDescriptorPool pool;
    VkDescriptorSet *sets;
};

void woqi_vk_record_release(struct woq_device *device, void *keep)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct kept *k = keep;
    if (!k)
        return;
    if (k->pool)
        vk->fn.DestroyDescriptorPool(vk->handle, k->pool, NULL);
    woqi_vk_memory_destroy(device, &k->memory);
    woqi_free(device, k->sets);
    woqi_free(device, k);
}

/* Block and sets with the steps' values. */
static enum woq_status keep_values(struct woq_device *device, const struct woqi_step *steps,
                                   uint32_t count, const struct woqi_vk_block_shape *shape,
                                   struct kept *k, struct woqi_vk_block *block)
{
    enum woq_status st = woqi_vk_memory_create(device, shape->size, WOQI_VK_BLOCK_USAGE,
                                               WOQI_VK_ARGUMENTS, &k->memory);
    if (!st)
        st = woqi_vk_sets_create(device, shape->dispatches, &k->pool, &k->sets);
    if (st)
        return st;
    *block = (struct woqi_vk_block){k->memory.buffer, k->memory.map, 0, k->sets};
    woqi_vk_block_attach(device, block, shape);
    woqi_vk_block_fill(block, shape, steps, count);
    uint32_t dispatch = 0;
    for (uint32_t i = 0; i < count; i++)
        if (woqi_vk_is_dispatch(&steps[i]))
            woqi_vk_bind_step(device, block, shape, dispatch++, &steps[i]);
    return WOQ_OK;
}

enum woq_status woqi_vk_record(struct woq_device *device, const struct woqi_step *steps,
                               uint32_t count, const void *target, void **keep)
{
    const struct woqi_vk_target *t = target;
    struct woqi_vk_block_shape shape;
    struct woqi_vk_block block = {0};
    struct kept *k = NULL;
    enum woq_status st = woqi_vk_check_copies(device, steps, count);
    if (!st)
        st = woqi_vk_block_measure(device, steps, count, &shape);
    if (!st)
        st = woqi_vk_kernels_build(device, steps, count);
    if (st)
        return st;
    if (shape.dispatches) {
        k = woqi_alloc(device, 1, sizeof *k);
        if (!k)
            return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "recording: out of host memory");
        st = keep_values(device, steps, count, &shape, k, &block);
        if (st) {
            woqi_vk_record_release(device, k);
            return st;
        }
    }
    const struct woqi_vk_recording recording = {
        .commands = t->commands, .block = &block, .shape = &shape};
    /* For the workspace, which earlier recordings and runs share; which buffer that is, is not told
     * here. */
    woqi_vk_barrier(woqi_vk_of(device), t->commands);
    woqi_vk_record_steps(device, &recording, steps, count);
    *keep = k;
    return WOQ_OK;
}
