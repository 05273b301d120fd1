/* hc_stream.c: streams, whose work is done when somebody waits for it, and events. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hc_driver.h"

struct entry {
    struct entry *next;
    struct hc_work work;
    uint64_t questions; /* after an event that pass before it is done */
};

struct CUstream_st {
    struct CUstream_st *next; /* of all */
    CUcontext context;
    struct entry *first, **last;
};

static struct CUstream_st *streams;
static CUresult broken[HC_DEVICES]; /* what went wrong first */

CUresult CUDAAPI host_stream_create(CUstream *out, unsigned flags)
{
    hc_lock();
    CUresult result = hc_enter("cuStreamCreate", CUDA_ERROR_OUT_OF_MEMORY, true);
    *out = result ? NULL : calloc(1, sizeof **out);
    if (*out) {
        **out = (struct CUstream_st){.next = streams, .context = hc_current()};
        (*out)->last = &(*out)->first;
        streams = *out;
        hc_count(HC_STREAM, 1);
    }
    hc_unlock();
    return result ? result : flags > CU_STREAM_NON_BLOCKING || !*out ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* The context's default stream is any of its own. */
static CUstream find_stream(CUstream stream)
{
    for (CUstream s = streams; s; s = s->next)
        if (s == stream || (!stream && s->context == hc_current()))
            return s;
    return NULL;
}

CUresult hc_submit(CUstream stream, const struct hc_work *work)
{
    CUstream s = find_stream(stream);
    struct entry *e = malloc(sizeof *e);
    if (!s || !e || s->context != hc_current() || broken[s->context->device]) {
        free(work->owned);
        free(e);
        return s && broken[s->context->device] ? broken[s->context->device] : CUDA_ERROR_INVALID_HANDLE;
    }
    const struct woqi_args *a = &work->launch.parameters.args;
    *e = (struct entry){NULL, *work, (uint64_t)a->m * a->n * a->k / HC_QUERY_WORK};
    e->work.context = s->context;
    *s->last = e;
    s->last = &e->next;
    if (work->kind == HC_RECORD)
        work->event->pending++;
    return CUDA_SUCCESS;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void hc_do(const struct hc_work *work)
{
    CUresult result = CUDA_SUCCESS;
    switch (work->kind) {
    case HC_LAUNCH:
        result = hc_execute(work->context, &work->launch);
        break;
    case HC_COPY:
        memmove((void *)(uintptr_t)work->to, (const void *)(uintptr_t)work->from, work->bytes);
        break;
    case HC_RECORD:
        work->event->ns = now_ns();
        work->event->recorded = true;
        work->event->pending--;
        break;
    case HC_EMPTY:
        break;
    }
    if (result && !broken[work->context->device]) {
        fprintf(stderr, "host_cuda: kernel %s: error %d\n", work->launch.function->name, (int)result);
        broken[work->context->device] = result;
    }
}

/* False: there was none. */
static bool do_next(CUstream s)
{
    struct entry *e = s->first;
    if (!e)
        return false;
    s->first = e->next;
    if (!s->first)
        s->last = &s->first;
    hc_do(&e->work);
    free(e->work.owned);
    free(e);
    return true;
}

CUresult hc_run(CUstream stream)
{
    CUresult result = CUDA_SUCCESS;
    for (CUstream s = streams; s; s = s->next) {
        while ((!stream || s == stream) && do_next(s))
            ;
        if (!stream || s == stream)
            result = result ? result : broken[s->context->device];
    }
    return result;
}

CUresult CUDAAPI host_stream_destroy(CUstream stream)
{
    hc_lock();
    hc_run(stream);
    for (CUstream *s = &streams; *s; s = &(*s)->next)
        if (*s == stream) {
            *s = stream->next;
            break;
        }
    hc_count(HC_STREAM, -1);
    hc_unlock();
    free(stream);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_stream_synchronize(CUstream stream)
{
    hc_lock();
    CUresult result = hc_enter("cuStreamSynchronize", CUDA_ERROR_LAUNCH_FAILED, true);
    const CUresult ran = hc_run(find_stream(stream)); /* or nobody could free what it uses */
    hc_unlock();
    return result ? result : ran;
}

CUresult CUDAAPI host_stream_get_ctx(CUstream stream, CUcontext *out)
{
    hc_lock();
    CUresult result = hc_enter("cuStreamGetCtx", CUDA_ERROR_INVALID_HANDLE, true);
    CUstream s = result ? NULL : find_stream(stream);
    *out = s ? s->context : NULL;
    hc_unlock();
    return result ? result : s ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult CUDAAPI host_stream_is_capturing(CUstream stream, CUstreamCaptureStatus *out)
{
    (void)stream;
    hc_lock();
    const CUresult result = hc_enter("cuStreamIsCapturing", CUDA_ERROR_INVALID_HANDLE, true);
    hc_unlock();
    *out = CU_STREAM_CAPTURE_STATUS_NONE;
    return result;
}

/* ---- copies ---- */

static CUresult copy(const char *call, CUdeviceptr to, CUdeviceptr from, size_t bytes, void *owned, CUstream stream)
{
    const CUdeviceptr source = owned ? (CUdeviceptr)(uintptr_t)owned : from;
    const struct hc_work work = {.kind = HC_COPY, .to = to, .from = source, .bytes = bytes, .owned = owned};
    const CUresult result = hc_enter(call, CUDA_ERROR_LAUNCH_FAILED, true);
    if (result)
        free(owned);
    return result ? result : hc_submit(stream, &work);
}

/* Of what is not page-locked the driver keeps a copy. */
CUresult CUDAAPI host_memcpy_h_to_d_async(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    hc_lock();
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    void *owned = hc_is_pinned(from, bytes) ? NULL : malloc(bytes + 1);
    if (owned)
        memcpy(owned, from, bytes);
    if (hc_is_memory(hc_current(), to, bytes))
        result = copy("cuMemcpyHtoDAsync", to, (CUdeviceptr)(uintptr_t)from, bytes, owned, stream);
    else
        free(owned);
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_memcpy_d_to_h_async(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    hc_lock();
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (hc_is_memory(hc_current(), from, bytes))
        result = copy("cuMemcpyDtoHAsync", (CUdeviceptr)(uintptr_t)to, from, bytes, NULL, stream);
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_memcpy_d_to_d_async(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    hc_lock();
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (hc_is_memory(hc_current(), from, bytes) && hc_is_memory(hc_current(), to, bytes))
        result = copy("cuMemcpyDtoDAsync", to, from, bytes, NULL, stream);
    hc_unlock();
    return result;
}

/* ---- launches ---- */

void hc_take_parameters(void *const *from, struct hc_parameters *to)
{
    for (int i = 0; i < WOQ_BIND_COUNT; i++)
        memcpy(&to->bind[i], from[i], sizeof to->bind[i]);
    memcpy(&to->args, from[WOQ_BIND_COUNT], sizeof to->args);
    memcpy(to->map, from[WOQ_BIND_COUNT + 1], sizeof to->map);
    memcpy(&to->bind[WOQI_BIND_SUMS], from[WOQ_BIND_COUNT + 2], sizeof(CUdeviceptr));
    memcpy(&to->bind[WOQI_BIND_FLAGS], from[WOQ_BIND_COUNT + 3], sizeof(CUdeviceptr));
}

CUresult hc_check_launch(const struct hc_launch *l, unsigned cluster)
{
    const uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
    if (!threads || threads > 1024 || !l->grid[0] || !l->grid[1] || !l->grid[2] || l->grid[0] > 2147483647u ||
        l->grid[1] > 65535 || l->grid[2] > 65535 || (int)l->shared > l->function->most_shared)
        return CUDA_ERROR_INVALID_VALUE;
    return cluster && l->grid[0] % cluster ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

CUresult CUDAAPI host_launch_kernel(const CUlaunchConfig *c, CUfunction function, void **parameters, void **extra)
{
    struct hc_work work = {.kind = HC_LAUNCH};
    struct hc_launch launch = {function,
                               {c->gridDimX, c->gridDimY, c->gridDimZ},
                               {c->blockDimX, c->blockDimY, c->blockDimZ},
                               c->sharedMemBytes,
                               {{0}, {0}, {0}}};
    unsigned cluster = 0;
    (void)extra;
    for (unsigned i = 0; i < c->numAttrs; i++)
        if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            cluster = c->attrs[i].value.clusterDim.x;
    hc_take_parameters(parameters, &launch.parameters);
    work.launch = launch;
    hc_lock();
    CUresult result = hc_enter("cuLaunchKernelEx", CUDA_ERROR_LAUNCH_FAILED, true);
    result = result ? result : hc_check_launch(&launch, cluster);
    result = result ? result : hc_submit(c->hStream, &work);
    hc_unlock();
    return result;
}

/* ---- events ---- */

CUresult CUDAAPI host_event_create(CUevent *out, unsigned flags)
{
    hc_lock();
    CUresult result = hc_enter("cuEventCreate", CUDA_ERROR_OUT_OF_MEMORY, true);
    *out = result ? NULL : calloc(1, sizeof **out);
    if (*out) {
        (*out)->context = hc_current();
        (*out)->timed = !(flags & CU_EVENT_DISABLE_TIMING);
        hc_count(HC_EVENT, 1);
    }
    hc_unlock();
    return result ? result : *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI host_event_destroy(CUevent event)
{
    hc_lock();
    hc_run(NULL);
    hc_count(HC_EVENT, -1);
    hc_unlock();
    free(event);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_event_record(CUevent event, CUstream stream)
{
    const struct hc_work work = {.kind = HC_RECORD, .event = event};
    hc_lock();
    CUresult result = hc_enter("cuEventRecord", CUDA_ERROR_LAUNCH_FAILED, true);
    result = result ? result : hc_submit(stream, &work);
    hc_unlock();
    return result;
}

/* Questions bring the streams further. */
CUresult CUDAAPI host_event_query(CUevent event)
{
    hc_lock();
    CUresult result = hc_enter("cuEventQuery", CUDA_ERROR_LAUNCH_FAILED, true);
    if (!result && event->pending) {
        result = CUDA_ERROR_NOT_READY;
        for (CUstream s = streams; s; s = s->next)
            if (s->first && s->first->questions)
                s->first->questions--;
            else
                do_next(s);
    } else if (!result) {
        result = broken[event->context->device];
    }
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_event_synchronize(CUevent event)
{
    hc_lock();
    CUresult result = hc_enter("cuEventSynchronize", CUDA_ERROR_LAUNCH_FAILED, true);
    for (CUstream s = streams; !result && s; s = s->next)
        while (event->pending && do_next(s))
            ;
    result = result ? result : broken[event->context->device];
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_event_elapsed_time(float *ms, CUevent from, CUevent to)
{
    hc_lock();
    CUresult result = hc_enter("cuEventElapsedTime", CUDA_ERROR_INVALID_HANDLE, true);
    if (!result && (!from->timed || !to->timed || !from->recorded || !to->recorded))
        result = CUDA_ERROR_INVALID_HANDLE;
    else if (!result && (from->pending || to->pending))
        result = CUDA_ERROR_NOT_READY;
    if (!result)
        *ms = (float)((double)(to->ns - from->ns) * 1e-6);
    hc_unlock();
    return result;
}
