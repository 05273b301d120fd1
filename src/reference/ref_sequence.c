/* ref_sequence.c: runs steps at once, on the calling thread; a run is done when submit returns. */
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/log.h"
#include "ref_backend.h"

/* Times of one instance, by index. */
struct stamps {
    uint64_t ns[WOQ_MAX_TIMESTAMPS];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

enum woq_status woqi_ref_sequence_create(struct woqi_sequence *sequence,
                                         const struct woqi_step *steps)
{
    (void)steps;
    sequence->impl = woqi_alloc(sequence->device, sequence->instances, sizeof(struct stamps));
    if (!sequence->impl)
        return woqi_fail(sequence->device, WOQ_ERROR_OUT_OF_MEMORY, "sequence: out of host memory");
    return WOQ_OK;
}

void woqi_ref_sequence_destroy(struct woqi_sequence *sequence)
{
    woqi_free(sequence->device, sequence->impl);
    sequence->impl = NULL;
}

static uint8_t *bind_address(const struct woqi_bind *bind)
{
    void *base;
    woqi_ref_buffer_map(bind->buffer, &base);
    return (uint8_t *)base + bind->offset;
}

static void dispatch(const struct woqi_step *step)
{
    uint8_t *bind[WOQ_BIND_COUNT];
    for (int i = 0; i < WOQ_BIND_COUNT; i++)
        bind[i] = bind_address(&step->bind[i]);
    if (step->kernel->key.id == WOQI_KERNEL_XFIXED)
        woqi_ref_xfixed(&step->args, bind);
    else
        woqi_ref_product(step->kernel->key.id, &step->args, bind);
}

enum woq_status woqi_ref_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                         const struct woqi_step *steps)
{
    struct stamps *stamps = (struct stamps *)sequence->impl + instance;
    memset(stamps, 0, sizeof *stamps);
    for (uint32_t i = 0; i < sequence->count; i++) {
        const struct woqi_step *step = &steps[i];
        switch (step->kind) {
        case WOQI_STEP_DISPATCH:
            dispatch(step);
            break;
        case WOQI_STEP_COPY:
            memcpy(bind_address(&step->bind[1]), bind_address(&step->bind[0]), step->bind[0].size);
            break;
        case WOQI_STEP_TIMESTAMP:
            stamps->ns[step->index] = now_ns();
            break;
        case WOQI_STEP_BARRIER:
        case WOQI_STEP_OFF:
            break;
        }
    }
    return WOQ_OK;
}

enum woq_status woqi_ref_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t timeout_ns)
{
    (void)sequence, (void)instance, (void)timeout_ns;
    return WOQ_OK;
}

enum woq_status woqi_ref_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                        uint64_t *ns, size_t count)
{
    const struct stamps *stamps = (struct stamps *)sequence->impl + instance;
    memcpy(ns, stamps->ns, count * sizeof *ns);
    return WOQ_OK;
}
