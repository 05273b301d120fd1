/* run.c: path classes, submission, waiting, and the end of commands. */
#include "alloc.h"
#include "check.h"
#include "commands.h"

#define MAX_PREPARED      64 /* path classes that woq_commands_prepare builds */
#define PLACEHOLDER_BYTES 256

/* ---- path classes ---- */

static enum woqi_step_kind skeleton_kind(const struct woqi_step *step)
{
    return step->kind == WOQI_STEP_OFF ? WOQI_STEP_DISPATCH : step->kind;
}

static bool matches(const struct woqi_class *k, const struct woqi_steps *steps)
{
    if (k->sequence.count != steps->count)
        return false;
    for (size_t i = 0; i < steps->count; i++)
        if (k->skeleton[i].kind != skeleton_kind(&steps->list[i]) ||
            k->skeleton[i].kernel != steps->list[i].kernel)
            return false;
    return true;
}

static void free_class(struct woq_commands *c, struct woqi_class *k)
{
    c->device->backend->sequence_destroy(&k->sequence);
    woqi_free(c->device, k->skeleton);
    woqi_free(c->device, k);
}

static enum woq_status make_class(struct woq_commands *c, struct woqi_class **out)
{
    struct woq_device *device = c->device;
    size_t count = c->steps.count;
    struct woqi_class *k = woqi_alloc(device, 1, sizeof *k);
    struct woqi_skeleton *skeleton = woqi_alloc(device, count, sizeof *skeleton);
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    if (!k || !skeleton) {
        woqi_fail(device, st, "run: out of host memory");
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        skeleton[i].kind = skeleton_kind(&c->steps.list[i]);
        skeleton[i].kernel = c->steps.list[i].kernel;
    }
    k->skeleton = skeleton;
    k->sequence.device = device;
    k->sequence.count = (uint32_t)count;
    k->sequence.instances = c->in_flight;
    st = device->backend->sequence_create(&k->sequence, c->steps.list);
    if (st)
        goto fail;
    k->next = c->classes;
    c->classes = c->last = k;
    *out = k;
    return WOQ_OK;
fail:
    woqi_free(device, skeleton);
    woqi_free(device, k);
    return st;
}

enum woq_status woqi_commands_class(struct woq_commands *c, struct woqi_class **out)
{
    if (c->last && matches(c->last, &c->steps)) {
        *out = c->last;
        return WOQ_OK;
    }
    for (struct woqi_class *k = c->classes; k; k = k->next)
        if (matches(k, &c->steps)) {
            *out = c->last = k;
            return WOQ_OK;
        }
    return make_class(c, out);
}

/* ---- references to what a run uses ---- */

static void drop_buffers(struct woq_commands *c, struct woq_buffer **buffers)
{
    for (size_t i = 0; buffers && i < c->slot_count; i++) {
        woqi_buffer_unref(buffers[i]);
        buffers[i] = NULL;
    }
}

static void hold_buffers(struct woq_commands *c, struct woq_buffer **buffers,
                         const struct woqi_slot *slots)
{
    drop_buffers(c, buffers);
    for (size_t i = 0; i < c->slot_count; i++)
        if (slots[i].kind == WOQI_SLOT_VIEW && slots[i].view.buffer) {
            buffers[i] = slots[i].view.buffer;
            woqi_buffer_ref(buffers[i]);
        }
}

/* The trial bindings become the bindings. */
static void accept(struct woq_commands *c)
{
    for (size_t i = 0; i < c->slot_count; i++) {
        if (c->slots[i].kind != WOQI_SLOT_VIEW ||
            c->slots[i].view.buffer == c->trial[i].view.buffer)
            continue;
        if (c->trial[i].view.buffer)
            woqi_buffer_ref(c->trial[i].view.buffer);
        woqi_buffer_unref(c->slots[i].view.buffer);
    }
    if (c->slot_count)
        memcpy(c->slots, c->trial, c->slot_count * sizeof *c->slots);
}

/* ---- running ---- */

static enum woq_status check_ended(const char *function, const struct woq_commands *c)
{
    if (!c)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "%s: commands is NULL", function);
    if (!c->ended)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_STATE,
                         "%s: the recording has not ended; call woq_commands_end first", function);
    return WOQ_OK;
}

/* A wait that tells nothing about the run itself. */
static bool unknown(enum woq_status st)
{
    return st == WOQ_ERROR_TIMEOUT || st == WOQ_ERROR_OUT_OF_MEMORY;
}

/* Asks whether a flight has landed; WOQ_ERROR_TIMEOUT if not yet. */
static enum woq_status land(struct woq_commands *c, struct woqi_flight *flight, uint64_t timeout_ns)
{
    if (!flight->pending)
        return WOQ_OK;
    uint32_t instance = (uint32_t)(flight - c->flights);
    enum woq_status st =
        c->device->backend->sequence_wait(&flight->path_class->sequence, instance, timeout_ns);
    if (unknown(st))
        return st;
    flight->pending = false; /* done, failed, or lost with the device */
    drop_buffers(c, flight->buffers);
    return st;
}

enum woq_status woq_commands_run(struct woq_commands *commands, const struct woq_binding *bindings,
                                 size_t count, uint64_t *ticket)
{
    struct woqi_class *path_class;
    if (ticket)
        *ticket = 0;
    enum woq_status st = check_ended(__func__, commands);
    if (st)
        return st;
    uint32_t instance = (uint32_t)(commands->ticket % commands->in_flight);
    struct woqi_flight *flight = &commands->flights[instance];
    st = woqi_commands_bind(commands, bindings, count);
    if (!st)
        st = land(commands, flight, 0);
    if (st == WOQ_ERROR_TIMEOUT)
        return woqi_fail(commands->device, WOQ_ERROR_BUSY,
                         "woq_commands_run: %u runs are in flight already; wait for ticket %llu",
                         commands->in_flight, (unsigned long long)flight->ticket);
    if (!st)
        st = woqi_commands_resolve(commands, commands->trial);
    if (!st)
        st = woqi_commands_class(commands, &path_class);
    if (!st)
        st = commands->device->backend->sequence_submit(&path_class->sequence, instance,
                                                        commands->steps.list);
    if (st)
        return st;
    hold_buffers(commands, flight->buffers, commands->trial);
    accept(commands);
    flight->path_class = path_class;
    flight->pending = true;
    flight->ticket = ++commands->ticket;
    if (ticket)
        *ticket = commands->ticket;
    return WOQ_OK;
}

static enum woq_status check_ticket(const char *function, const struct woq_commands *c,
                                    uint64_t ticket)
{
    enum woq_status st = check_ended(function, c);
    if (!st && (!ticket || ticket > c->ticket))
        st = woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                       "%s: ticket is %llu; the last run's is %llu", function,
                       (unsigned long long)ticket, (unsigned long long)c->ticket);
    return st;
}

enum woq_status woq_commands_wait(struct woq_commands *commands, uint64_t ticket,
                                  uint64_t timeout_ns)
{
    enum woq_status st = check_ticket(__func__, commands, ticket);
    if (st)
        return st;
    struct woqi_flight *flight = &commands->flights[(ticket - 1) % commands->in_flight];
    if (flight->ticket != ticket) /* its place was taken, so it is done */
        return WOQ_OK;
    st = land(commands, flight, timeout_ns);
    if (st == WOQ_ERROR_TIMEOUT && timeout_ns)
        woqi_fail(NULL, st, "woq_commands_wait: ticket %llu was not done after %llu ns",
                  (unsigned long long)ticket, (unsigned long long)timeout_ns);
    return st;
}

enum woq_status woq_commands_timestamps(struct woq_commands *commands, uint64_t ticket,
                                        uint64_t *ns, size_t count)
{
    enum woq_status st = check_ticket(__func__, commands, ticket);
    if (!st)
        st = WOQI_CHECK_NULL(commands->device, ns);
    if (!st && count > WOQ_MAX_TIMESTAMPS)
        st = woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                       "%s: count is %zu; must be <= %d", __func__, count, WOQ_MAX_TIMESTAMPS);
    if (st)
        return st;
    uint32_t instance = (uint32_t)((ticket - 1) % commands->in_flight);
    struct woqi_flight *flight = &commands->flights[instance];
    if (flight->ticket != ticket)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_STATE,
                         "%s: ticket %llu is too old; %u later runs were submitted", __func__,
                         (unsigned long long)ticket, commands->in_flight);
    st = land(commands, flight, 0);
    if (st == WOQ_ERROR_TIMEOUT)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_STATE,
                         "%s: ticket %llu is not done; wait for it first", __func__,
                         (unsigned long long)ticket);
    memset(ns, 0, count * sizeof *ns);
    const struct woqi_backend *backend = commands->device->backend;
    if (st || !backend->sequence_times)
        return st;
    return backend->sequence_times(&flight->path_class->sequence, instance, ns, count);
}

/* ---- prepare ---- */

/* The next M above `m` at which a product of this slot changes its path; 0 = none. */
static uint32_t next_change(const struct woq_commands *c, uint32_t slot, uint32_t m)
{
    uint32_t next = 0;
    for (size_t i = 0; i < c->op_count; i++) {
        if (c->ops[i].kind != WOQI_OP_GEMM || c->ops[i].m != slot)
            continue;
        const struct woqi_range *range = woqi_gemm_range(c->ops[i].gemm, m);
        if (range->max_m < c->slots[slot].max_m && (!next || range->max_m + 1 < next))
            next = range->max_m + 1;
    }
    return next;
}

/* Advances the M slots of the trial like the digits of a counter; false once all were seen. */
static bool next_combination(struct woq_commands *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++) {
        if (c->trial[i].kind != WOQI_SLOT_M)
            continue;
        uint32_t next = next_change(c, i, c->trial[i].m);
        c->trial[i].m = next ? next : 1;
        if (next)
            return true;
    }
    return false;
}

enum woq_status woq_commands_prepare(struct woq_commands *commands)
{
    enum woq_status st = check_ended(__func__, commands);
    if (!st && !commands->placeholder)
        st = woqi_buffer_create(commands->device, PLACEHOLDER_BYTES, 0, &commands->placeholder);
    if (st)
        return st;
    for (size_t i = 0; i < commands->slot_count; i++) {
        struct woqi_slot *slot = &commands->trial[i];
        *slot = commands->slots[i];
        slot->m = 1;
        slot->view = (struct woq_view){commands->placeholder, 0, 0};
    }
    uint32_t built = 0;
    do {
        struct woqi_class *path_class;
        if (built++ == MAX_PREPARED)
            return woqi_fail(
                commands->device, WOQ_ERROR_UNSUPPORTED,
                "woq_commands_prepare: more than %d path classes; the others are built when "
                "first run",
                MAX_PREPARED);
        st = woqi_commands_resolve(commands, commands->trial);
        if (!st)
            st = woqi_commands_class(commands, &path_class);
    } while (!st && next_combination(commands));
    return st;
}

/* ---- recording into the caller's objects ---- */

#define RECORDS_COMPARED 8 /* of the latest: a loop over a few sets of buffers keeps these, and no more */

/* Is the record nothing but the buffers of one that there is already? */
static bool is_kept(const struct woq_commands *c, const struct woqi_record *record)
{
    const struct woqi_record *other = record->keep ? NULL : c->records;
    for (int i = 0; other && i < RECORDS_COMPARED; i++, other = other->next)
        if (!other->keep && !memcmp(other->buffers, record->buffers, c->slot_count * sizeof *record->buffers))
            return true;
    return false;
}

enum woq_status woqi_commands_record(struct woq_commands *commands,
                                     const struct woq_binding *bindings, size_t count,
                                     const struct woqi_backend *backend, const void *target)
{
    enum woq_status st = check_ended("record", commands);
    if (st)
        return st;
    if (commands->device->backend != backend)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "record: commands are of %s, the target is of %s",
                         commands->device->info.selector, woq_backend_name(backend->id));
    for (int i = 0; i < WOQ_MAX_TIMESTAMPS; i++)
        if (commands->stamped[i])
            return woqi_fail(
                commands->device, WOQ_ERROR_UNSUPPORTED,
                "record: timestamp %d was recorded; the caller's own queue is the caller's "
                "to time",
                i);
    st = woqi_commands_bind(commands, bindings, count);
    if (!st)
        st = woqi_commands_resolve(commands, commands->trial);
    if (st)
        return st;
    struct woqi_record *record = woqi_alloc(commands->device, 1, sizeof *record);
    struct woq_buffer **buffers = woqi_alloc(commands->device, commands->slot_count,
                                             sizeof *buffers);
    if (!record || !buffers) {
        st = woqi_fail(commands->device, WOQ_ERROR_OUT_OF_MEMORY, "record: out of host memory");
        goto fail;
    }
    st = backend->record(commands->device, commands->steps.list, (uint32_t)commands->steps.count,
                         target, &record->keep);
    if (st)
        goto fail;
    hold_buffers(commands, buffers, commands->trial);
    record->buffers = buffers;
    if (is_kept(commands, record)) {
        drop_buffers(commands, buffers);
        goto fail;
    }
    record->next = commands->records;
    commands->records = record;
    return WOQ_OK;
fail:
    woqi_free(commands->device, buffers);
    woqi_free(commands->device, record);
    return st;
}

/* ---- the end ---- */

static void free_commands(struct woq_commands *c)
{
    struct woq_device *device = c->device;
    while (c->records) {
        struct woqi_record *record = c->records;
        c->records = record->next;
        device->backend->record_release(device, record->keep);
        drop_buffers(c, record->buffers);
        woqi_free(device, record->buffers);
        woqi_free(device, record);
    }
    while (c->classes) {
        struct woqi_class *k = c->classes;
        c->classes = k->next;
        free_class(c, k);
    }
    for (int i = 0; i < WOQ_MAX_IN_FLIGHT; i++) {
        drop_buffers(c, c->flights[i].buffers);
        woqi_free(device, c->flights[i].buffers);
    }
    for (size_t i = 0; i < c->slot_count; i++)
        woqi_buffer_unref(c->slots[i].view.buffer);
    for (size_t i = 0; i < c->op_count; i++)
        woqi_gemm_unref(c->ops[i].gemm);
    woqi_buffer_unref(c->workspace.buffer);
    woqi_buffer_unref(c->flags);
    woqi_buffer_unref(c->placeholder);
    woqi_free(device, c->steps.list);
    woqi_free(device, c->ops);
    woqi_free(device, c->slots);
    woqi_free(device, c->trial);
    woqi_free(device, c);
    woqi_device_unref(device);
}

static bool all_landed(struct woq_commands *c, uint64_t timeout_ns)
{
    for (uint32_t i = 0; i < c->in_flight; i++)
        if (unknown(land(c, &c->flights[i], timeout_ns)))
            return false;
    return true;
}

/* Takes commands that have landed (or all, after waiting) off the device's list. */
static struct woq_commands *take_retired(struct woq_device *device, uint64_t timeout_ns)
{
    struct woq_commands *done = NULL;
    pthread_mutex_lock(&device->lock);
    for (struct woq_commands **at = &device->retired; *at;) {
        struct woq_commands *c = *at;
        if (!all_landed(c, timeout_ns)) {
            at = &c->next_retired;
            continue;
        }
        *at = c->next_retired;
        c->next_retired = done;
        done = c;
    }
    pthread_mutex_unlock(&device->lock);
    return done;
}

static void free_retired(struct woq_commands *done)
{
    while (done) {
        struct woq_commands *next = done->next_retired;
        free_commands(done);
        done = next;
    }
}

static void drain(struct woq_device *device)
{
    free_retired(take_retired(device, UINT64_MAX));
}

void woq_commands_destroy(struct woq_commands **commands)
{
    if (!commands || !*commands)
        return;
    struct woq_commands *c = *commands;
    struct woq_device *device = c->device;
    *commands = NULL;
    free_retired(take_retired(device, 0)); /* c's reference keeps the device alive here */
    bool retire = false;
    if (!all_landed(c, 0)) {
        pthread_mutex_lock(&device->lock);
        retire = device->handle;
        if (retire) {
            c->next_retired = device->retired;
            device->retired = c;
            device->drain = drain;
        }
        pthread_mutex_unlock(&device->lock);
    }
    if (retire)
        return;
    all_landed(c, UINT64_MAX);
    free_commands(c);
}
