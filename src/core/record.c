/* record.c: creating commands, declaring slots and recording operations. */
#include "alloc.h"
#include "check.h"
#include "commands.h"

#define DEFAULT_IN_FLIGHT   2
#define WORKSPACE_ALIGNMENT 256

static enum woq_status check_create(struct woq_device *device, const struct woq_commands_params *p)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, device);
    if (!st && p)
        st = WOQI_CHECK_STRUCT(device, p);
    if (st || !p)
        return st;
    if (p->in_flight > WOQ_MAX_IN_FLIGHT)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_commands_create: in_flight is %u; must be 1 … %d, or 0 for %d",
                         p->in_flight, WOQ_MAX_IN_FLIGHT, DEFAULT_IN_FLIGHT);
    const struct woq_view *w = &p->workspace;
    if (!w->buffer)
        return WOQ_OK;
    if (w->buffer->device != device)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_commands_create: workspace.buffer belongs to another device");
    if (w->offset % WORKSPACE_ALIGNMENT || w->offset > w->buffer->size)
        return woqi_fail(
            device, WOQ_ERROR_INVALID_ARGUMENT,
            "woq_commands_create: workspace.offset is %llu; must be a multiple of %d within "
            "the buffer's %llu bytes",
            (unsigned long long)w->offset, WORKSPACE_ALIGNMENT,
            (unsigned long long)w->buffer->size);
    return WOQ_OK;
}

enum woq_status woq_commands_create(struct woq_device *device,
                                    const struct woq_commands_params *params,
                                    struct woq_commands **out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    *out = NULL;
    if ((st = check_create(device, params)))
        return st;
    struct woq_commands *c = woqi_alloc(device, 1, sizeof *c);
    if (!c)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_commands_create: out of host memory");
    c->device = device;
    c->in_flight = params && params->in_flight ? params->in_flight : DEFAULT_IN_FLIGHT;
    if (params && params->workspace.buffer) {
        c->workspace = params->workspace;
        woqi_buffer_ref(c->workspace.buffer);
    }
    woqi_device_ref(device);
    *out = c;
    return WOQ_OK;
}

static enum woq_status check_open(const char *function, const struct woq_commands *c)
{
    if (!c)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "%s: commands is NULL", function);
    if (c->ended)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_STATE, "%s: the recording has ended",
                         function);
    return WOQ_OK;
}

static enum woq_status out_of_memory(struct woq_commands *c, const char *function)
{
    return woqi_fail(c->device, WOQ_ERROR_OUT_OF_MEMORY, "%s: out of host memory", function);
}

static enum woq_status add_slot(const char *function, struct woq_commands *c,
                                const struct woqi_slot *slot, uint32_t *out)
{
    if (c->slot_count >= WOQ_NO_SLOT ||
        !woqi_grow(c->device, &c->slots, &c->slot_capacity, c->slot_count + 1, sizeof *c->slots))
        return out_of_memory(c, function);
    c->slots[c->slot_count] = *slot;
    *out = (uint32_t)c->slot_count++;
    return WOQ_OK;
}

enum woq_status woq_commands_slot_m(struct woq_commands *commands, uint32_t max_m, uint32_t *slot)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, slot);
    if (st)
        return st;
    *slot = 0;
    if ((st = check_open(__func__, commands)))
        return st;
    if (!max_m)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: max_m is 0; must be >= 1", __func__);
    struct woqi_slot s = {.kind = WOQI_SLOT_M, .max_m = max_m};
    return add_slot(__func__, commands, &s, slot);
}

enum woq_status woq_commands_slot_view(struct woq_commands *commands, enum woq_access access,
                                       uint32_t *slot)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, slot);
    if (st)
        return st;
    *slot = 0;
    if ((st = check_open(__func__, commands)))
        return st;
    if (access < WOQ_ACCESS_READ || access > WOQ_ACCESS_READ_WRITE)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: access is %d; must be an enum woq_access", __func__, (int)access);
    struct woqi_slot s = {.kind = WOQI_SLOT_VIEW, .access = access};
    return add_slot(__func__, commands, &s, slot);
}

static enum woq_status check_slot(const char *function, const struct woq_commands *c,
                                  const char *name, uint32_t slot, enum woqi_slot_kind kind,
                                  unsigned access)
{
    if (slot >= c->slot_count)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: %s is slot %u; there are %zu slots", function, name, slot,
                         c->slot_count);
    const struct woqi_slot *s = &c->slots[slot];
    if (s->kind != kind)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT, "%s: %s must be %s slot", function,
                         name, kind == WOQI_SLOT_M ? "an M" : "a view");
    if (((unsigned)s->access & access) != access)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: %s needs a slot with %s access", function, name,
                         access == WOQ_ACCESS_READ ? "read" : "write");
    return WOQ_OK;
}

static enum woq_status check_optional(const struct woq_commands *c, const char *name, uint32_t slot,
                                      bool wanted)
{
    if (wanted == (slot != WOQ_NO_SLOT))
        return wanted
                   ? check_slot("woq_commands_gemm", c, name, slot, WOQI_SLOT_VIEW, WOQ_ACCESS_READ)
                   : WOQ_OK;
    return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT, "woq_commands_gemm: %s must %s", name,
                     wanted ? "be a view slot: the GEMM has one"
                            : "be WOQ_NO_SLOT: the GEMM was created without");
}

static enum woq_status check_gemm(const struct woq_commands *c, const struct woq_gemm *gemm,
                                  uint32_t m, uint32_t x, uint32_t y, uint32_t bias,
                                  uint32_t residual)
{
    static const char f[] = "woq_commands_gemm";
    enum woq_status st;
    if (gemm->device != c->device)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: gemm belongs to another device", f);
    if ((st = check_slot(f, c, "m", m, WOQI_SLOT_M, 0)) ||
        (st = check_slot(f, c, "x", x, WOQI_SLOT_VIEW, WOQ_ACCESS_READ)) ||
        (st = check_slot(f, c, "y", y, WOQI_SLOT_VIEW, WOQ_ACCESS_WRITE)) ||
        (st = check_optional(c, "bias", bias, gemm->params.bias_type != WOQ_TYPE_NONE)) ||
        (st = check_optional(c, "residual", residual, gemm->params.residual)))
        return st;
    if (c->slots[m].max_m > gemm->params.max_m)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: slot m allows %u rows; the GEMM's max_m is %u", f, c->slots[m].max_m,
                         gemm->params.max_m);
    return WOQ_OK;
}

static enum woq_status add_op(const char *function, struct woq_commands *c,
                              const struct woqi_op *op)
{
    if (!woqi_grow(c->device, &c->ops, &c->op_capacity, c->op_count + 1, sizeof *c->ops))
        return out_of_memory(c, function);
    c->ops[c->op_count++] = *op;
    return WOQ_OK;
}

enum woq_status woq_commands_gemm(struct woq_commands *commands, struct woq_gemm *gemm, uint32_t m,
                                  uint32_t x, uint32_t y, uint32_t bias, uint32_t residual)
{
    enum woq_status st = check_open(__func__, commands);
    if (!st)
        st = WOQI_CHECK_NULL(commands->device, gemm);
    if (!st)
        st = check_gemm(commands, gemm, m, x, y, bias, residual);
    if (st)
        return st;
    struct woqi_op op = {.kind = WOQI_OP_GEMM,
                         .gemm = gemm,
                         .m = m,
                         .x = x,
                         .y = y,
                         .bias = bias,
                         .residual = residual};
    st = add_op(__func__, commands, &op);
    if (!st)
        woqi_gemm_ref(gemm);
    return st;
}

enum woq_status woq_commands_copy(struct woq_commands *commands, uint32_t source, uint32_t target,
                                  uint64_t size)
{
    enum woq_status st = check_open(__func__, commands);
    if (!st)
        st = check_slot(__func__, commands, "source", source, WOQI_SLOT_VIEW, WOQ_ACCESS_READ);
    if (!st)
        st = check_slot(__func__, commands, "target", target, WOQI_SLOT_VIEW, WOQ_ACCESS_WRITE);
    if (!st && (!size || size % 4))
        st = woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                       "%s: size is %llu; must be a multiple of 4, >= 4", __func__,
                       (unsigned long long)size);
    struct woqi_op op = {.kind = WOQI_OP_COPY, .x = source, .y = target, .size = size};
    return st ? st : add_op(__func__, commands, &op);
}

enum woq_status woq_commands_barrier(struct woq_commands *commands)
{
    struct woqi_op op = {.kind = WOQI_OP_BARRIER};
    enum woq_status st = check_open(__func__, commands);
    return st ? st : add_op(__func__, commands, &op);
}

enum woq_status woq_commands_timestamp(struct woq_commands *commands, uint32_t index)
{
    enum woq_status st = check_open(__func__, commands);
    if (st)
        return st;
    if (!(commands->device->info.features & WOQ_FEATURE_TIMESTAMPS))
        return woqi_fail(commands->device, WOQ_ERROR_UNSUPPORTED, "%s: %s has no timestamps",
                         __func__, commands->device->info.selector);
    if (index >= WOQ_MAX_TIMESTAMPS || commands->stamped[index])
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: index is %u; must be < %d and not recorded before", __func__, index,
                         WOQ_MAX_TIMESTAMPS);
    struct woqi_op op = {.kind = WOQI_OP_TIMESTAMP, .index = index};
    st = add_op(__func__, commands, &op);
    commands->stamped[index] = !st;
    return st;
}

/* Gives each product its part of the workspace, and of the flags: disjoint within a phase, reused by the next. */
static enum woq_status place_workspace(struct woq_commands *c)
{
    uint64_t used = 0, flags = 0;
    bool over = false;
    for (size_t i = 0; i < c->op_count; i++) {
        struct woqi_op *op = &c->ops[i];
        if (op->kind == WOQI_OP_BARRIER || op->kind == WOQI_OP_TIMESTAMP)
            used = flags = 0;
        if (op->kind != WOQI_OP_GEMM)
            continue;
        op->workspace = used;
        used = woqi_add(used, op->gemm->workspace, &over);
        used = woqi_align_up(used, WORKSPACE_ALIGNMENT, &over);
        if (used > c->workspace_bytes)
            c->workspace_bytes = used;
        op->flags = flags;
        flags = woqi_align_up(woqi_add(flags, op->gemm->flags, &over), WORKSPACE_ALIGNMENT, &over);
        if (flags > c->flags_bytes)
            c->flags_bytes = flags;
    }
    if (over)
        return woqi_fail(c->device, WOQ_ERROR_OVERFLOW,
                         "woq_commands_end: the workspace exceeds 64 bits");
    return WOQ_OK;
}

static enum woq_status make_workspace(struct woq_commands *c)
{
    if (!c->workspace_bytes)
        return WOQ_OK;
    if (!c->workspace.buffer) {
        if (c->workspace_bytes > c->device->info.max_allocation)
            return woqi_fail(
                c->device, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
                "woq_commands_end: the workspace needs %llu bytes, more than one allocation "
                "holds (%llu); separate the products by barriers",
                (unsigned long long)c->workspace_bytes,
                (unsigned long long)c->device->info.max_allocation);
        c->own_workspace = true;
        return woqi_buffer_create(c->device, c->workspace_bytes, 0, &c->workspace.buffer);
    }
    uint64_t room = c->workspace.buffer->size - c->workspace.offset;
    if (room < c->workspace_bytes)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_commands_end: workspace has %llu bytes; %llu are needed",
                         (unsigned long long)room, (unsigned long long)c->workspace_bytes);
    return WOQ_OK;
}

/* All 0. */
static enum woq_status make_flags(struct woq_commands *c)
{
    if (!c->flags_bytes)
        return WOQ_OK;
    void *zeros = woqi_alloc(c->device, (size_t)c->flags_bytes, 1);
    if (!zeros)
        return out_of_memory(c, "woq_commands_end");
    enum woq_status st = woqi_buffer_create(c->device, c->flags_bytes, 0, &c->flags);
    if (!st)
        st = c->device->backend->buffer_write(c->flags, 0, zeros, c->flags_bytes);
    woqi_free(c->device, zeros);
    if (st) {
        woqi_buffer_unref(c->flags);
        c->flags = NULL;
    }
    return st;
}

/* What end has made. */
static void drop_memory(struct woq_commands *c)
{
    for (uint32_t i = 0; i < c->in_flight; i++) {
        woqi_free(c->device, c->flights[i].buffers);
        c->flights[i].buffers = NULL;
    }
    woqi_free(c->device, c->trial);
    c->trial = NULL;
    woqi_buffer_unref(c->flags);
    c->flags = NULL;
    if (!c->own_workspace)
        return;
    woqi_buffer_unref(c->workspace.buffer);
    c->workspace.buffer = NULL;
    c->own_workspace = false;
}

enum woq_status woq_commands_end(struct woq_commands *commands)
{
    enum woq_status st = check_open(__func__, commands);
    if (st)
        return st;
    commands->workspace_bytes = commands->flags_bytes = 0;
    st = place_workspace(commands);
    if (!st)
        st = make_workspace(commands);
    if (!st)
        st = make_flags(commands);
    size_t count = commands->slot_count;
    if (!st) {
        commands->trial = woqi_alloc(commands->device, count, sizeof *commands->trial);
        if (!commands->trial)
            st = out_of_memory(commands, __func__);
    }
    for (uint32_t i = 0; i < commands->in_flight && !st; i++) {
        struct woqi_flight *flight = &commands->flights[i];
        flight->buffers = woqi_alloc(commands->device, count, sizeof *flight->buffers);
        if (!flight->buffers)
            st = out_of_memory(commands, __func__);
    }
    if (st)
        drop_memory(commands); /* there may be more products by the next try */
    commands->ended = !st;
    return st;
}

enum woq_status woq_commands_workspace(const struct woq_commands *commands, uint64_t *bytes)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, bytes);
    if (st)
        return st;
    *bytes = 0;
    if ((st = WOQI_CHECK_NULL(NULL, commands)))
        return st;
    if (!commands->ended)
        return woqi_fail(commands->device, WOQ_ERROR_INVALID_STATE,
                         "woq_commands_workspace: the recording has not ended");
    *bytes = commands->workspace_bytes;
    return WOQ_OK;
}
