/*
 * cu_upload.c: writes that the host makes piece by piece, through page-locked memory.
 *
 * Stages take turns: while the device copies one, the host fills the next one. Copies go through the device's stream,
 * as all that the library does.
 */
#include <inttypes.h>

#include "../core/alloc.h"
#include "cu_backend.h"

#define STAGE_BYTES (2u << 20) /* enough for the price of a copy's call, and still in the cache when the device reads */

/* Under the lock; the context is current. */
static enum woq_status open_staging(struct woq_device *device)
{
    struct woqi_cu_device *cu = woqi_cu_device(device);
    struct woqi_cu_staging *s = &cu->staging;
    for (uint32_t i = 0; i < WOQI_CU_STAGES; i++) {
        if (s->copied[i])
            continue;
        CUresult result = cu->api->event_create(&s->copied[i], CU_EVENT_DISABLE_TIMING);
        if (result) {
            s->copied[i] = NULL;
            return woqi_cu_fail(device, result, "cuEventCreate, for uploads");
        }
    }
    if (s->memory)
        return WOQ_OK;
    void *memory = NULL;
    CUresult result = cu->api->mem_alloc_host(&memory, WOQI_CU_STAGES * (size_t)STAGE_BYTES);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "uploads: no %u bytes of page-locked memory",
                         WOQI_CU_STAGES * STAGE_BYTES);
    if (result)
        return woqi_cu_fail(device, result, "cuMemAllocHost(%u bytes)", WOQI_CU_STAGES * STAGE_BYTES);
    s->memory = memory;
    return WOQ_OK;
}

void woqi_cu_staging_close(struct woqi_cu_device *cu)
{
    struct woqi_cu_staging *s = &cu->staging;
    for (uint32_t i = 0; i < WOQI_CU_STAGES; i++)
        if (s->copied[i])
            cu->api->event_destroy(s->copied[i]);
    if (s->memory)
        cu->api->mem_free_host(s->memory);
}

/* Waits until stage i may be filled again. */
static enum woq_status await_stage(struct woq_device *device, uint32_t i)
{
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    CUresult result = cu->api->event_synchronize(cu->staging.copied[i]);
    return result ? woqi_cu_fail(device, result, "cuEventSynchronize, uploading") : WOQ_OK;
}

static enum woq_status send_stage(struct woq_device *device, uint32_t i, CUdeviceptr to, const uint8_t *from,
                                  uint64_t size)
{
    const struct woqi_cu_device *cu = woqi_cu_device(device);
    CUresult result = cu->api->memcpy_h_to_d_async(to, from, (size_t)size, cu->stream);
    if (result)
        return woqi_cu_fail(device, result, "cuMemcpyHtoDAsync(%" PRIu64 " bytes), uploading", size);
    result = cu->api->event_record(cu->staging.copied[i], cu->stream);
    if (!result)
        return WOQ_OK;
    cu->api->stream_synchronize(cu->stream); /* or the stage would count as free during the copy */
    return woqi_cu_fail(device, result, "cuEventRecord, uploading");
}

enum woq_status woqi_cu_buffer_upload(struct woq_buffer *buffer, uint64_t offset, uint64_t size, woqi_fill_fn *fill,
                                      const void *user)
{
    struct woq_device *device = buffer->device;
    struct woqi_cu_staging *s = &woqi_cu_device(device)->staging;
    enum woq_status st = woqi_cu_enter(device);
    if (st)
        return st;
    pthread_mutex_lock(&s->lock);
    st = open_staging(device);
    for (uint64_t at = 0; !st && at < size; at += STAGE_BYTES) {
        const uint32_t i = s->next;
        const uint64_t now = woqi_min(size - at, STAGE_BYTES);
        uint8_t *stage = s->memory + (size_t)i * STAGE_BYTES;
        st = await_stage(device, i);
        if (st)
            break;
        fill(user, at, now, stage);
        st = send_stage(device, i, woqi_cu_pointer(buffer) + offset + at, stage, now);
        s->next = (i + 1) % WOQI_CU_STAGES;
    }
    pthread_mutex_unlock(&s->lock);
    woqi_cu_leave(device);
    return st;
}
