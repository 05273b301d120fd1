/* vk_queue.c: submission, waiting, and copies between host and device through staging memory. */
#include "vk_backend.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/log.h"

/* Bytes. Large enough that the 50 µs or so of a submission and its fence do not matter. */
#define STAGING_SIZE ((uint64_t)8 << 20)

enum woq_status woqi_vk_submit(struct woq_device *device, VkCommandBuffer commands, VkFence fence)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = commands ? 1 : 0,
        .pCommandBuffers = &commands,
    };
    pthread_mutex_lock(&vk->queue_lock);
    if (vk->lock_queue)
        vk->lock_queue(vk->lock_user);
    VkResult result = vk->fn.QueueSubmit(vk->queue, 1, &info, fence);
    if (vk->unlock_queue)
        vk->unlock_queue(vk->lock_user);
    pthread_mutex_unlock(&vk->queue_lock);
    if (result)
        return woqi_vk_fail(device, result, "vkQueueSubmit");
    atomic_store(&vk->submitted, true);
    return WOQ_OK;
}

VkResult woqi_vk_wait(const struct woqi_vk_device *vk, VkFence fence, uint64_t timeout_ns)
{
    VkResult result;
    do
        result = vk->fn.WaitForFences(vk->handle, 1, &fence, VK_TRUE, timeout_ns);
    while (result == VK_TIMEOUT && timeout_ns == UINT64_MAX);
    return result;
}

/* Submits on transfer.fence and waits; transfer.lock is held. */
static enum woq_status submit_and_wait(struct woq_device *device, VkCommandBuffer commands)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkResult result = vk->fn.ResetFences(vk->handle, 1, &vk->transfer.fence);
    if (result)
        return woqi_vk_fail(device, result, "vkResetFences");
    enum woq_status st = woqi_vk_submit(device, commands, vk->transfer.fence);
    if (st)
        return st;
    result = woqi_vk_wait(vk, vk->transfer.fence, UINT64_MAX);
    return result ? woqi_vk_fail(device, result, "vkWaitForFences") : WOQ_OK;
}

/* Makes fence and command buffer at first need: a driver without hardware behind it, good for
 * compiling alone, has neither. transfer.lock is held. */
static enum woq_status need_transfer(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct woqi_vk_transfer *t = &vk->transfer;
    if (t->commands)
        return WOQ_OK;
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkResult result = t->fence ? VK_SUCCESS
                               : vk->fn.CreateFence(vk->handle, &fence, NULL, &t->fence);
    if (result) {
        t->fence = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreateFence");
    }
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = vk->family,
    };
    result = t->pool ? VK_SUCCESS : vk->fn.CreateCommandPool(vk->handle, &pool, NULL, &t->pool);
    if (result) {
        t->pool = VK_NULL_HANDLE;
        return woqi_vk_fail(device, result, "vkCreateCommandPool");
    }
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = t->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    result = vk->fn.AllocateCommandBuffers(vk->handle, &commands, &t->commands);
    if (result) {
        t->commands = NULL;
        return woqi_vk_fail(device, result, "vkAllocateCommandBuffers");
    }
    return WOQ_OK;
}

enum woq_status woqi_vk_drain(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    /* A guest's queue may hold work that never passed through here. */
    if (!vk->borrowed && !atomic_load(&vk->submitted))
        return WOQ_OK;
    pthread_mutex_lock(&vk->transfer.lock);
    enum woq_status st = need_transfer(device);
    /* A fence of a batch without commands is signaled when all batches before it are done. */
    if (!st)
        st = submit_and_wait(device, NULL);
    pthread_mutex_unlock(&vk->transfer.lock);
    return st;
}

void woqi_vk_transfer_close(struct woq_device *device)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    struct woqi_vk_transfer *t = &vk->transfer;
    woqi_vk_memory_destroy(device, &t->staging);
    if (t->pool)
        vk->fn.DestroyCommandPool(vk->handle, t->pool, NULL);
    if (t->fence)
        vk->fn.DestroyFence(vk->handle, t->fence, NULL);
    t->pool = VK_NULL_HANDLE;
    t->fence = VK_NULL_HANDLE;
    t->commands = NULL;
}

/* Copies between two buffers, after all earlier work and visible to all later work and to the host.
 */
static enum woq_status copy_chunk(struct woq_device *device, VkBuffer from, uint64_t from_offset,
                                  VkBuffer to, uint64_t to_offset, uint64_t size)
{
    struct woqi_vk_device *vk = woqi_vk_of(device);
    VkCommandBuffer commands = vk->transfer.commands;
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkResult result = vk->fn.BeginCommandBuffer(commands, &begin);
    if (result)
        return woqi_vk_fail(device, result, "vkBeginCommandBuffer");
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vk->fn.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                              VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    const VkBufferCopy region = {from_offset, to_offset, size};
    vk->fn.CmdCopyBuffer(commands, from, to, 1, &region);
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT |
                            VK_ACCESS_HOST_READ_BIT;
    vk->fn.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                              VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                              &barrier, 0, NULL, 0, NULL);
    result = vk->fn.EndCommandBuffer(commands);
    if (result)
        return woqi_vk_fail(device, result, "vkEndCommandBuffer");
    return submit_and_wait(device, commands);
}

/* transfer.lock is held. */
static enum woq_status need_staging(struct woq_device *device)
{
    struct woqi_vk_memory *staging = &woqi_vk_of(device)->transfer.staging;
    enum woq_status st = need_transfer(device);
    if (st || staging->buffer)
        return st;
    return woqi_vk_memory_create(
        device, STAGING_SIZE, VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        WOQI_VK_READBACK, staging);
}

enum woq_status woqi_vk_upload(struct woq_device *device, VkBuffer to, uint64_t offset,
                               const void *from, uint64_t size)
{
    struct woqi_vk_transfer *t = &woqi_vk_of(device)->transfer;
    const uint8_t *source = from;
    pthread_mutex_lock(&t->lock);
    enum woq_status st = need_staging(device);
    for (uint64_t done = 0; !st && done < size; done += STAGING_SIZE) {
        uint64_t chunk = woqi_min(size - done, STAGING_SIZE);
        memcpy(t->staging.map, source + done, (size_t)chunk);
        st = copy_chunk(device, t->staging.buffer, 0, to, offset + done, chunk);
    }
    pthread_mutex_unlock(&t->lock);
    return st;
}

enum woq_status woqi_vk_download(struct woq_device *device, VkBuffer from, uint64_t offset,
                                 void *to, uint64_t size)
{
    struct woqi_vk_transfer *t = &woqi_vk_of(device)->transfer;
    uint8_t *target = to;
    pthread_mutex_lock(&t->lock);
    enum woq_status st = need_staging(device);
    for (uint64_t done = 0; !st && done < size; done += STAGING_SIZE) {
        uint64_t chunk = woqi_min(size - done, STAGING_SIZE);
        st = copy_chunk(device, from, offset + done, t->staging.buffer, 0, chunk);
        if (!st)
            memcpy(target + done, t->staging.map, (size_t)chunk);
    }
    pthread_mutex_unlock(&t->lock);
    return st;
}
