/* model.c: making, describing and releasing a model. */
#include "model_impl.h"

#include <stdlib.h>

static enum woq_status bad(const char *what, const char *why)
{
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_model_create: %s %s", what, why);
}

static enum woq_status check_params(const struct woq_model_params *p)
{
    if (p->struct_size != sizeof *p)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_create: params->struct_size is %zu; this library knows %zu "
                          "(use WOQ_MODEL_PARAMS_INIT)",
                          p->struct_size, sizeof *p);
    if ((unsigned)p->weights > WOQ_MODEL_QUANTIZED)
        return bad("params->weights", "must be as stored, F16 or quantized");
    if (p->weights == WOQ_MODEL_QUANTIZED && p->format.code != WOQ_CODE_U4 &&
        p->format.code != WOQ_CODE_U8)
        return bad("params->format.code", "must be U4 or U8 for weights to be quantized");
    if (p->weights == WOQ_MODEL_QUANTIZED && p->format.zero != WOQ_ZERO_SYMMETRIC &&
        p->format.zero != WOQ_ZERO_POINT)
        return bad("params->format.zero", "must be SYMMETRIC or POINT for weights to be quantized");
    if (p->x_type != WOQ_TYPE_NONE && !woq_type_size(p->x_type))
        return bad("params->x_type", "must be F16, BF16 or F32");
    if (p->context && p->batch > p->context)
        return bad("params->batch", "must not exceed params->context");
    return WOQ_OK;
}

enum woq_status woqi_check_config(const struct woq_model_config *c)
{
    if (!c->layers || !c->hidden || !c->intermediate || !c->vocabulary)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: %u layers, hidden size %u, intermediate size %u, "
                          "vocabulary %u: each must be above 0",
                          c->layers, c->hidden, c->intermediate, c->vocabulary);
    if (!c->kv_heads || !c->heads || c->heads % c->kv_heads)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: %u heads and %u key-value heads; the first must be a "
                          "multiple of the second",
                          c->heads, c->kv_heads);
    if (!c->head_dim || c->head_dim % 2)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: a head has %u elements; it must be an even number",
                          c->head_dim);
    return WOQ_OK;
}

static enum woq_status set_sizes(struct woq_model *m, const struct woq_model_params *p)
{
    const struct woq_model_config *c = &m->config;
    enum { DEFAULT_CONTEXT = 4096, DEFAULT_BATCH = 512 };
    m->context = p->context;
    if (!m->context)
        m->context = c->context && c->context < DEFAULT_CONTEXT ? c->context : DEFAULT_CONTEXT;
    m->batch = p->batch ? p->batch : m->context < DEFAULT_BATCH ? m->context : DEFAULT_BATCH;
    if (m->batch > m->context)
        return bad("params->batch", "must not exceed the context");
    m->head_rows = woqi_head_rows(c, m->batch);
    m->x_type = p->x_type ? p->x_type : WOQ_F16;
    m->math = p->math;
    return WOQ_OK;
}

static enum woq_status report(const struct woqi_loader *loader, uint32_t done)
{
    const struct woq_model_params *p = loader->params;
    const uint32_t total = loader->model->config.layers + 1;
    if (!p->progress || p->progress(p->progress_user, done, total))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_TIMEOUT, "woq_model_create: stopped after %u of %u parts", done, total);
}

static enum woq_status load(struct woqi_loader *loader)
{
    struct woq_model *m = loader->model;
    m->layers = calloc(m->config.layers, sizeof *m->layers);
    if (!m->layers)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for %u layers",
                          m->config.layers);
    enum woq_status st = woqi_arena_create(m);
    if (!st)
        st = woqi_rope_create(m);
    if (!st)
        st = woqi_attention_create(m);
    for (uint32_t i = 0; i < m->config.layers && !st; i++) {
        st = woqi_layer_load(loader, i);
        if (!st)
            st = report(loader, i + 1);
    }
    if (!st)
        st = woqi_load_embeddings(loader);
    if (!st)
        st = woqi_head_load(loader);
    if (!st)
        st = report(loader, m->config.layers + 1);
    if (!st)
        m->info.bits_per_weight =
            8.0 * (double)loader->linear_bytes / (double)loader->linear_elements;
    return st;
}

enum woq_status woq_model_create(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                 const struct woq_model_params *params, struct woq_model **out)
{
    const struct woq_model_params defaults = WOQ_MODEL_PARAMS_INIT;
    if (out)
        *out = NULL;
    if (!device || !checkpoint || !out)
        return bad(!device ? "device" : !checkpoint ? "checkpoint" : "out", "is NULL");
    params = params ? params : &defaults;
    enum woq_status st = check_params(params);
    if (st)
        return st;
    struct woq_model *m = calloc(1, sizeof *m);
    if (!m)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory");
    struct woqi_loader loader = {.model = m, .checkpoint = checkpoint, .params = params};
    m->device = device;
    m->config.struct_size = sizeof m->config;
    st = woq_checkpoint_config(checkpoint, &m->config);
    if (!st)
        st = woqi_check_config(&m->config);
    if (!st)
        st = set_sizes(m, params);
    if (!st)
        st = load(&loader);
    m->device = NULL; /* its objects hold it from here on */
    if (st)
        woq_model_destroy(&m);
    *out = m;
    return st;
}

void woq_model_destroy(struct woq_model **model)
{
    struct woq_model *m = model ? *model : NULL;
    if (!m)
        return;
    for (uint32_t i = 0; m->layers && i < m->config.layers; i++)
        woqi_layer_release(&m->layers[i]);
    woqi_product_release(&m->head);
    if (!m->mapped)
        free(m->host);
    woq_buffer_destroy(&m->arena);
    woq_buffer_destroy(&m->workspace);
    free(m->layers);
    free(m->embeddings);
    free(m->final_norm);
    free(m->rope);
    free(m->cache.keys);
    free(m->cache.values);
    free(m->scores);
    free(m);
    *model = NULL;
}

enum woq_status woq_model_get_info(const struct woq_model *model, struct woq_model_info *out)
{
    if (!model || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_model_get_info: %s is NULL",
                          model ? "out" : "model");
    *out = model->info;
    out->struct_size = sizeof *out;
    out->config = model->config;
    return WOQ_OK;
}

void woq_model_reset(struct woq_model *model)
{
    if (model)
        model->position = 0;
}

uint32_t woq_model_position(const struct woq_model *model)
{
    return model ? model->position : 0;
}
