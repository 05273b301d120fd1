/* model_commands.c: the arena of activations, and the recordings of products over it. */
#include "model_impl.h"

#include <stdlib.h>

static void place(struct woq_model *m, struct woqi_region *r, uint64_t rows, uint64_t columns,
                  enum woq_type type)
{
    r->offset = m->arena_bytes;
    r->row_bytes = columns * woq_type_size(type);
    m->arena_bytes += (rows * r->row_bytes + 255) / 256 * 256;
}

enum woq_status woqi_arena_create(struct woq_model *m)
{
    const struct woq_model_config *c = &m->config;
    const uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
    place(m, &m->h, m->batch, c->hidden, WOQ_F32);
    place(m, &m->x, m->batch, c->hidden, m->x_type);
    place(m, &m->qkv, m->batch, q + 2 * kv, WOQ_F32);
    place(m, &m->a, m->batch, q, m->x_type);
    place(m, &m->g, m->batch, c->intermediate, m->x_type);
    place(m, &m->logits, m->head_rows, c->vocabulary, WOQ_F32);
    p.size = m->arena_bytes;
    m->mapped = woq_device_get_info(m->device)->features & WOQ_FEATURE_HOST_MEMORY;
    p.flags = m->mapped ? WOQ_BUFFER_HOST_VISIBLE : 0;
    enum woq_status st = woq_buffer_create(m->device, &p, &m->arena);
    if (!st && !m->mapped) {
        m->host = calloc(m->arena_bytes, 1);
        if (!m->host)
            st = woq_report(WOQ_ERROR_OUT_OF_MEMORY,
                            "woq_model_create: no host memory for activations of %u tokens",
                            m->batch);
    }
    return st;
}

enum woq_status woqi_host_enter(struct woq_model *m)
{
    void *p = NULL;
    if (!m->mapped)
        return WOQ_OK;
    enum woq_status st = woq_buffer_map(m->arena, &p);
    m->host = p;
    return st;
}

enum woq_status woqi_host_leave(struct woq_model *m)
{
    if (!m->mapped || !m->host)
        return WOQ_OK;
    m->host = NULL;
    return woq_buffer_unmap(m->arena);
}

enum woq_status woqi_upload(struct woq_model *m, const struct woqi_region *r, uint32_t rows)
{
    if (m->mapped)
        return WOQ_OK;
    return woq_buffer_write(m->arena, r->offset, m->host + r->offset, rows * r->row_bytes);
}

enum woq_status woqi_download(struct woq_model *m, const struct woqi_region *r, uint32_t rows)
{
    if (m->mapped)
        return WOQ_OK;
    return woq_buffer_read(m->arena, r->offset, m->host + r->offset, rows * r->row_bytes);
}

/* Declares a slot that is bound to rows of a region from byte `offset` of each on. */
static enum woq_status bind_rows(struct woq_model *m, struct woqi_product *p,
                                 const struct woqi_region *r, uint64_t offset,
                                 enum woq_access access, uint32_t *slot)
{
    enum woq_status st = woq_commands_slot_view(p->commands, access, slot);
    p->binding[p->count++] = (struct woq_binding){
        .slot = *slot, .view = {m->arena, r->offset + offset, r->row_bytes}};
    return st;
}

static enum woq_status record_gemm(struct woq_model *m, const struct woqi_step *s, uint32_t index,
                                   struct woqi_product *p)
{
    uint32_t x = WOQ_NO_SLOT, y = WOQ_NO_SLOT, bias = WOQ_NO_SLOT;
    const uint64_t first = s->stacked->first[index] * sizeof(float);
    enum woq_status st = bind_rows(m, p, s->x, 0, WOQ_ACCESS_READ, &x);
    if (!st)
        st = bind_rows(m, p, s->y, first,
                       s->residual ? WOQ_ACCESS_READ_WRITE : WOQ_ACCESS_WRITE, &y);
    if (!st && s->bias) {
        st = woq_commands_slot_view(p->commands, WOQ_ACCESS_READ, &bias);
        p->binding[p->count++] = (struct woq_binding){.slot = bias, .view = {s->bias, first, 0}};
    }
    if (st)
        return st;
    return woq_commands_gemm(p->commands, s->stacked->gemms[index], p->binding[0].slot, x, y, bias,
                             s->residual ? y : WOQ_NO_SLOT);
}

/* Recordings run one after another, so one workspace serves all: the largest recording's. */
static enum woq_status grow_workspace(struct woq_model *m, const struct woqi_step *steps,
                                      uint32_t count, struct woq_view *out)
{
    uint64_t bytes = 0, one;
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < steps[i].stacked->count && !st; j++) {
            st = woq_gemm_workspace(steps[i].stacked->gemms[j], &one);
            bytes += (one + 255) / 256 * 256;
        }
    *out = (struct woq_view){NULL, 0, 0};
    if (st || !bytes)
        return st;
    if (bytes > m->workspace_bytes) {
        struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
        p.size = bytes;
        woq_buffer_destroy(&m->workspace); /* recordings made with it keep it */
        m->workspace_bytes = 0;
        st = woq_buffer_create(m->device, &p, &m->workspace);
        if (st)
            return st;
        m->workspace_bytes = bytes;
    }
    out->buffer = m->workspace;
    return WOQ_OK;
}

enum woq_status woqi_product_record(struct woq_model *m, const struct woqi_step *steps,
                                    uint32_t count, uint32_t max_m, struct woqi_product *out)
{
    struct woq_commands_params p = WOQ_COMMANDS_PARAMS_INIT;
    uint32_t slot = 0;
    p.in_flight = 1;
    *out = (struct woqi_product){.count = 1};
    enum woq_status st = grow_workspace(m, steps, count, &p.workspace);
    if (!st)
        st = woq_commands_create(m->device, &p, &out->commands);
    if (!st)
        st = woq_commands_slot_m(out->commands, max_m, &slot);
    out->binding[0].slot = slot;
    for (uint32_t i = 0; i < count && !st; i++) {
        if (i)
            st = woq_commands_barrier(out->commands);
        for (uint32_t j = 0; j < steps[i].stacked->count && !st; j++)
            st = record_gemm(m, &steps[i], j, out);
    }
    if (!st)
        st = woq_commands_end(out->commands);
    if (st)
        woqi_product_release(out);
    return st;
}

enum woq_status woqi_product_submit(struct woqi_product *product, uint32_t m, uint64_t *ticket)
{
    product->binding[0].m = m;
    enum woq_status st = woq_commands_run(product->commands, product->binding,
                                          product->bound ? 1 : product->count, ticket);
    product->bound |= !st;
    return st;
}

enum woq_status woqi_on_device(struct woq_model *m, struct woqi_product *product, uint32_t rows,
                               const struct woqi_region *in, const struct woqi_region *out)
{
    uint64_t ticket = 0;
    enum woq_status st = woqi_upload(m, in, rows);
    if (!st)
        st = woqi_host_leave(m);
    if (!st)
        st = woqi_product_submit(product, rows, &ticket);
    if (!st)
        st = woqi_host_enter(m);
    if (!st)
        st = woqi_download(m, out, rows);
    /* Mapping and reading have waited: this tells how the run ended. */
    return st ? st : woq_commands_wait(product->commands, ticket, WOQ_FOREVER);
}

void woqi_product_release(struct woqi_product *product)
{
    woq_commands_destroy(&product->commands);
    *product = (struct woqi_product){.count = 0};
}
