/* model.c: making, describing and releasing a model. */
#include "model_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME 128

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

/* What the code divides by and allocates with. */
static enum woq_status check_config(const struct woq_model_config *c)
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
    enum { LOGITS = 32 << 20, DEFAULT_CONTEXT = 4096, DEFAULT_BATCH = 512 };
    m->context = p->context;
    if (!m->context)
        m->context = c->context && c->context < DEFAULT_CONTEXT ? c->context : DEFAULT_CONTEXT;
    m->batch = p->batch ? p->batch : m->context < DEFAULT_BATCH ? m->context : DEFAULT_BATCH;
    if (m->batch > m->context)
        return bad("params->batch", "must not exceed the context");
    /* A multiple of 16 rows of logits that takes about 32 MiB. */
    const uint64_t rows = LOGITS / (c->vocabulary * UINT64_C(4)) / 16 * 16;
    m->head_rows = rows < 16 ? 16 : rows > 256 ? 256 : (uint32_t)rows;
    m->head_rows = m->head_rows < m->batch ? m->head_rows : m->batch;
    m->x_type = p->x_type ? p->x_type : WOQ_F16;
    m->math = p->math;
    return WOQ_OK;
}

static enum woq_status load_bias(struct woqi_loader *loader, uint32_t layer, const uint64_t rows[3],
                                 struct woq_buffer **out)
{
    static const char *const parts[] = {"q", "k", "v"};
    struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
    uint64_t done = 0;
    p.size = (rows[0] + rows[1] + rows[2]) * sizeof(float);
    enum woq_status st = woq_buffer_create(loader->model->device, &p, out);
    for (int i = 0; i < 3 && !st; i++) {
        char name[NAME];
        float *v = NULL;
        snprintf(name, sizeof name, "model.layers.%u.self_attn.%s_proj.bias", layer, parts[i]);
        st = woqi_load_vector(loader, name, rows[i], &v);
        if (!st)
            st = woq_buffer_write(*out, done, v, rows[i] * sizeof *v);
        done += rows[i] * sizeof *v;
        free(v);
    }
    return st;
}

static enum woq_status load_norms(struct woqi_loader *loader, uint32_t layer)
{
    const struct woq_model_config *c = &loader->model->config;
    struct woqi_layer *l = &loader->model->layers[layer];
    const struct {
        const char *name;
        uint32_t count;
        float **out;
    } norms[] = {{"input_layernorm", c->hidden, &l->attention_norm},
                 {"post_attention_layernorm", c->hidden, &l->ffn_norm},
                 {"self_attn.q_norm", c->head_dim, &l->q_norm},
                 {"self_attn.k_norm", c->head_dim, &l->k_norm}};
    enum woq_status st = WOQ_OK;
    for (int i = 0; i < (c->qk_norm ? 4 : 2) && !st; i++) {
        char name[NAME];
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, norms[i].name);
        st = woqi_load_vector(loader, name, norms[i].count, norms[i].out);
    }
    return st;
}

/* How the first layer's q/k/v product runs, with a batch and with one token. */
static enum woq_status note_path(struct woq_model *m, const struct woqi_stacked *qkv)
{
    struct woq_explain explain = {.struct_size = sizeof explain};
    struct woq_model_info *info = &m->info;
    if (*info->path)
        return WOQ_OK;
    enum woq_status st = woq_gemm_explain(qkv->gemms[0], m->batch, &explain);
    if (st)
        return st;
    snprintf(info->path, sizeof info->path, "%s", explain.path);
    snprintf(info->math, sizeof info->math, "%s", woq_math_name(explain.math));
    st = woq_gemm_explain(qkv->gemms[0], 1, &explain);
    if (st)
        return st;
    snprintf(info->decode_path, sizeof info->decode_path, "%s", explain.path);
    snprintf(info->decode_math, sizeof info->decode_math, "%s", woq_math_name(explain.math));
    return WOQ_OK;
}

static enum woq_status load_attention(struct woqi_loader *loader, uint32_t layer)
{
    struct woq_model *m = loader->model;
    const struct woq_model_config *c = &m->config;
    struct woqi_layer *l = &m->layers[layer];
    const uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    char names[4][NAME];
    static const char *const parts[] = {"q", "k", "v", "o"};
    for (int i = 0; i < 4; i++)
        snprintf(names[i], NAME, "model.layers.%u.self_attn.%s_proj", layer, parts[i]);
    const struct woqi_stack qkv = {.names = {names[0], names[1], names[2]}, .rows = {q, kv, kv},
                                   .count = 3, .columns = c->hidden, .linear = true};
    const struct woqi_stack o = {.names = {names[3]}, .rows = {c->hidden}, .count = 1, .columns = q,
                                 .linear = true};
    const struct woqi_epilogue plain = {.y_type = WOQ_F32, .bias = c->qkv_bias, .max_m = m->batch};
    const struct woqi_epilogue residual = {.y_type = WOQ_F32, .residual = true, .max_m = m->batch};
    struct woqi_stacked stacked = {.count = 0};
    enum woq_status st = WOQ_OK;
    if (c->qkv_bias)
        st = load_bias(loader, layer, qkv.rows, &l->bias);
    if (!st)
        st = woqi_load_stack(loader, &qkv, &plain, &stacked);
    if (!st)
        st = note_path(m, &stacked);
    const struct woqi_step first = {&stacked, &m->x, &m->qkv, l->bias, false};
    if (!st)
        st = woqi_product_record(m, &first, 1, m->batch, &l->qkv);
    woqi_stacked_release(&stacked);
    if (!st)
        st = woqi_load_stack(loader, &o, &residual, &stacked);
    const struct woqi_step second = {&stacked, &m->a, &m->h, NULL, true};
    if (!st)
        st = woqi_product_record(m, &second, 1, m->batch, &l->o);
    woqi_stacked_release(&stacked);
    return st;
}

static enum woq_status load_ffn(struct woqi_loader *loader, uint32_t layer)
{
    struct woq_model *m = loader->model;
    const struct woq_model_config *c = &m->config;
    char names[3][NAME];
    static const char *const parts[] = {"gate", "up", "down"};
    for (int i = 0; i < 3; i++)
        snprintf(names[i], NAME, "model.layers.%u.mlp.%s_proj", layer, parts[i]);
    const struct woqi_stack up = {.names = {names[0], names[1]},
                                  .rows = {c->intermediate, c->intermediate}, .count = 2,
                                  .columns = c->hidden, .gated = true, .linear = true};
    const struct woqi_stack down = {.names = {names[2]}, .rows = {c->hidden}, .count = 1,
                                    .columns = c->intermediate, .linear = true};
    const struct woqi_epilogue gated = {.y_type = m->x_type, .activation = WOQ_ACTIVATION_SILU_MUL,
                                        .max_m = m->batch};
    const struct woqi_epilogue residual = {.y_type = WOQ_F32, .residual = true, .max_m = m->batch};
    struct woqi_stacked stacked[2] = {{.count = 0}, {.count = 0}};
    enum woq_status st = woqi_load_stack(loader, &up, &gated, &stacked[0]);
    if (!st)
        st = woqi_load_stack(loader, &down, &residual, &stacked[1]);
    const struct woqi_step steps[] = {{&stacked[0], &m->x, &m->g, NULL, false},
                                      {&stacked[1], &m->g, &m->h, NULL, true}};
    if (!st)
        st = woqi_product_record(m, steps, 2, m->batch, &m->layers[layer].ffn);
    woqi_stacked_release(&stacked[0]);
    woqi_stacked_release(&stacked[1]);
    return st;
}

static enum woq_status load_head(struct woqi_loader *loader)
{
    struct woq_model *m = loader->model;
    const struct woq_model_config *c = &m->config;
    const struct woqi_stack head = {
        .names = {c->tied_embeddings ? "model.embed_tokens" : "lm_head"}, .rows = {c->vocabulary},
        .count = 1, .columns = c->hidden};
    const struct woqi_epilogue plain = {.y_type = WOQ_F32, .max_m = m->head_rows};
    struct woqi_stacked stacked = {.count = 0};
    enum woq_status st = woqi_load_vector(loader, "model.norm.weight", c->hidden, &m->final_norm);
    if (!st)
        st = woqi_load_embeddings(loader);
    if (!st)
        st = woqi_load_stack(loader, &head, &plain, &stacked);
    const struct woqi_step step = {&stacked, &m->x, &m->logits, NULL, false};
    if (!st)
        st = woqi_product_record(m, &step, 1, m->head_rows, &m->head);
    woqi_stacked_release(&stacked);
    return st;
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
        st = load_norms(loader, i);
        if (!st)
            st = load_attention(loader, i);
        if (!st)
            st = load_ffn(loader, i);
        if (!st)
            st = report(loader, i + 1);
    }
    if (!st)
        st = load_head(loader);
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
        st = check_config(&m->config);
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
    for (uint32_t i = 0; m->layers && i < m->config.layers; i++) {
        struct woqi_layer *l = &m->layers[i];
        woqi_product_release(&l->qkv);
        woqi_product_release(&l->o);
        woqi_product_release(&l->ffn);
        woq_buffer_destroy(&l->bias);
        free(l->attention_norm);
        free(l->ffn_norm);
        free(l->q_norm);
        free(l->k_norm);
    }
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
