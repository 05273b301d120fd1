/* resolve.c: bound values to steps. */
#include "alloc.h"
#include "check.h"
#include "commands.h"

/* ---- bindings ---- */

enum woq_status woqi_commands_bind(struct woq_commands *c, const struct woq_binding *bindings,
                                   size_t count)
{
    if (count && !bindings)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "run: bindings is NULL, count is %zu", count);
    if (c->slot_count)
        memcpy(c->trial, c->slots, c->slot_count * sizeof *c->trial);
    for (size_t i = 0; i < count; i++) {
        const struct woq_binding *b = &bindings[i];
        if (b->slot >= c->slot_count)
            return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                             "run: bindings[%zu].slot is %u; there are %zu slots", i, b->slot,
                             c->slot_count);
        struct woqi_slot *s = &c->trial[b->slot];
        s->bound = true;
        if (s->kind == WOQI_SLOT_M) {
            if (b->m > s->max_m)
                return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                                 "run: bindings[%zu].m is %u; slot %u allows max_m = %u", i, b->m,
                                 b->slot, s->max_m);
            s->m = b->m;
            continue;
        }
        if (!b->view.buffer)
            return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                             "run: bindings[%zu].view.buffer is NULL (slot %u)", i, b->slot);
        if (b->view.buffer->device != c->device)
            return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                             "run: bindings[%zu].view.buffer belongs to another device", i);
        if (b->view.buffer->mapped)
            return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                             "run: bindings[%zu].view.buffer is mapped; unmap it first", i);
        s->view = b->view;
    }
    for (size_t i = 0; i < c->slot_count; i++)
        if (!c->trial[i].bound)
            return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT, "run: slot %zu was never bound",
                             i);
    return WOQ_OK;
}

/* ---- views ---- */

/* A matrix within its buffer, as bytes. */
struct region {
    const struct woq_buffer *buffer;
    uint64_t begin, end, stride, row;
};

/* Checks a view of `rows` rows of `row` bytes; resolves stride 0. The placeholder passes. */
static enum woq_status check_view(const struct woq_commands *c, const char *name,
                                  struct woq_view *view, uint64_t rows, uint64_t row,
                                  uint64_t element, struct region *out)
{
    bool over = false;
    if (!view->row_stride)
        view->row_stride = row;
    *out = (struct region){view->buffer, view->offset, view->offset, view->row_stride, row};
    if (view->buffer == c->placeholder)
        return WOQ_OK;
    if (view->offset % element || view->row_stride % element)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "run: %s: offset %llu and row_stride %llu must be multiples of %llu bytes",
                         name, (unsigned long long)view->offset,
                         (unsigned long long)view->row_stride, (unsigned long long)element);
    if (view->row_stride < row)
        return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "run: %s: row_stride is %llu; must be 0 or >= the row's %llu bytes", name,
                         (unsigned long long)view->row_stride, (unsigned long long)row);
    uint64_t bytes = rows ? woqi_add(woqi_mul(rows - 1, view->row_stride, &over), row, &over) : 0;
    out->end = woqi_add(view->offset, bytes, &over);
    if (over || out->end > view->buffer->size)
        return woqi_fail(
            c->device, WOQ_ERROR_INVALID_ARGUMENT,
            "run: %s: %llu rows of stride %llu from offset %llu exceed the buffer's %llu "
            "bytes",
            name, (unsigned long long)rows, (unsigned long long)view->row_stride,
            (unsigned long long)view->offset, (unsigned long long)view->buffer->size);
    return WOQ_OK;
}

/* Columns side by side in rows of one stride do not overlap, though their ranges do. */
static bool overlap(const struct region *a, const struct region *b)
{
    if (a->buffer != b->buffer || a->begin >= b->end || b->begin >= a->end)
        return false;
    if (a->stride != b->stride)
        return true;
    uint64_t stride = a->stride;
    uint64_t ahead = (b->begin % stride + stride - a->begin % stride) % stride;
    return ahead < a->row || stride - ahead < b->row;
}

static enum woq_status fail_overlap(const struct woq_commands *c, const char *name)
{
    return woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                     "run: y overlaps %s; only residual may be the very same view", name);
}

static enum woq_status resolve_gemm(struct woq_commands *c, struct woqi_op *op,
                                    const struct woqi_slot *slots)
{
    const struct woq_gemm *g = op->gemm;
    struct woqi_operands *o = &op->operands;
    uint32_t m = slots[op->m].m;
    uint64_t x_size = woq_type_size(g->params.x_type), y_size = woq_type_size(g->params.y_type);
    uint64_t bias_size = woq_type_size(g->params.bias_type);
    struct region x, y, other;
    memset(o, 0, sizeof *o);
    o->x = slots[op->x].view;
    o->y = slots[op->y].view;
    enum woq_status st = check_view(c, "x", &o->x, m, g->weights->k * x_size, x_size, &x);
    if (!st)
        st = check_view(c, "y", &o->y, m, g->n * y_size, y_size, &y);
    if (!st && overlap(&y, &x))
        st = fail_overlap(c, "x");
    if (!st && bias_size) {
        o->bias = slots[op->bias].view;
        o->bias.row_stride = 0;
        st = check_view(c, "bias", &o->bias, m ? 1 : 0, g->weights->n * bias_size, bias_size,
                        &other);
        if (!st && overlap(&y, &other))
            st = fail_overlap(c, "bias");
    }
    if (!st && g->params.residual) {
        o->residual = slots[op->residual].view;
        st = check_view(c, "residual", &o->residual, m, g->n * y_size, y_size, &other);
        bool same = o->residual.buffer == o->y.buffer && o->residual.offset == o->y.offset &&
                    (o->residual.row_stride == o->y.row_stride || m <= 1);
        if (!st && !same && overlap(&y, &other))
            st = fail_overlap(c, "residual");
    }
    if (g->workspace) {
        o->workspace = c->workspace;
        o->workspace.offset += op->workspace;
    }
    if (g->flags)
        o->flags = (struct woq_view){.buffer = c->flags, .offset = op->flags};
    return st ? st : woqi_gemm_slice(g, m, slots[op->m].max_m, o, &op->slicing);
}

static enum woq_status resolve_copy(struct woq_commands *c, struct woqi_op *op,
                                    const struct woqi_slot *slots)
{
    struct region from, to;
    op->operands.x = slots[op->x].view;
    op->operands.y = slots[op->y].view;
    op->operands.x.row_stride = op->operands.y.row_stride = 0;
    enum woq_status st = check_view(c, "copy source", &op->operands.x, 1, op->size, 4, &from);
    if (!st)
        st = check_view(c, "copy target", &op->operands.y, 1, op->size, 4, &to);
    if (!st && overlap(&from, &to))
        st = woqi_fail(c->device, WOQ_ERROR_INVALID_ARGUMENT,
                       "run: copy source and target overlap");
    return st;
}

/* ---- steps ---- */

struct sink {
    struct woqi_emitter base;
    struct woq_commands *commands;
};

static enum woq_status append(struct woqi_emitter *self, const struct woqi_step *step)
{
    struct woq_commands *c = ((struct sink *)self)->commands;
    struct woqi_steps *s = &c->steps;
    if (s->count >= UINT32_MAX ||
        !woqi_grow(c->device, &s->list, &s->capacity, s->count + 1, sizeof *s->list))
        return woqi_fail(c->device, WOQ_ERROR_OUT_OF_MEMORY, "run: out of host memory");
    struct woqi_step *to = &s->list[s->count++];
    *to = *step;
    for (uint32_t i = 0; i < to->nbind && c->placeholder; i++)
        if (to->bind[i].buffer == c->placeholder)
            to->bind[i] = (struct woqi_bind){c->placeholder, 0, c->placeholder->size};
    return WOQ_OK;
}

static enum woq_status append_simple(struct sink *sink, enum woqi_step_kind kind, uint32_t index)
{
    struct woqi_step step = {.kind = kind, .index = index};
    return append(&sink->base, &step);
}

static enum woq_status append_copy(struct sink *sink, const struct woqi_op *op)
{
    struct woqi_step step = {.kind = WOQI_STEP_COPY, .nbind = 2};
    step.bind[0] = (struct woqi_bind){op->operands.x.buffer, op->operands.x.offset, op->size};
    step.bind[1] = (struct woqi_bind){op->operands.y.buffer, op->operands.y.offset, op->size};
    return append(&sink->base, &step);
}

/* The operations first … end−1, which no barrier separates, stage by stage. */
static enum woq_status expand_phase(struct sink *sink, size_t first, size_t end,
                                    const struct woqi_slot *slots)
{
    struct woq_commands *c = sink->commands;
    uint32_t stages = 1;
    for (size_t i = first; i < end; i++)
        if (c->ops[i].kind == WOQI_OP_GEMM && c->ops[i].slicing.stages > stages)
            stages = c->ops[i].slicing.stages;
    for (uint32_t stage = 0; stage < stages; stage++) {
        enum woq_status st = stage ? append_simple(sink, WOQI_STEP_BARRIER, 0) : WOQ_OK;
        for (size_t i = first; i < end && !st; i++) {
            struct woqi_op *op = &c->ops[i];
            if (op->kind == WOQI_OP_COPY && stage == 0)
                st = append_copy(sink, op);
            else if (op->kind == WOQI_OP_GEMM && stage < op->slicing.stages)
                st = woqi_gemm_expand(op->gemm, slots[op->m].m, &op->operands, &op->slicing, stage,
                                      &sink->base);
        }
        if (st)
            return st;
    }
    return WOQ_OK;
}

enum woq_status woqi_commands_resolve(struct woq_commands *c, const struct woqi_slot *slots)
{
    struct sink sink = {{append}, c};
    enum woq_status st = WOQ_OK;
    c->steps.count = 0;
    for (size_t i = 0; i < c->op_count && !st; i++) {
        if (c->ops[i].kind == WOQI_OP_GEMM)
            st = resolve_gemm(c, &c->ops[i], slots);
        else if (c->ops[i].kind == WOQI_OP_COPY)
            st = resolve_copy(c, &c->ops[i], slots);
    }
    for (size_t i = 0; i < c->op_count && !st;) {
        size_t end = i;
        while (end < c->op_count && c->ops[end].kind <= WOQI_OP_COPY)
            end++;
        st = end > i ? expand_phase(&sink, i, end, slots) : WOQ_OK;
        if (!st && end < c->op_count) {
            bool stamp = c->ops[end].kind == WOQI_OP_TIMESTAMP;
            st = append_simple(&sink, stamp ? WOQI_STEP_TIMESTAMP : WOQI_STEP_BARRIER,
                               c->ops[end].index);
        }
        i = end + 1;
    }
    return st;
}
