/* model_layer.c: a decoder layer's vectors, and its stages as products. */
#include "model_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME 128

/* ---- Description ---- */

static const char attention_norm[] = "input_layernorm", ffn_norm[] = "post_attention_layernorm";

static const struct {
    uint32_t count;
    const char *parts[WOQI_STAGE_PARTS];
    const char *norm; /* NULL = none */
} stages[WOQI_STAGES] = {
    [WOQI_STAGE_QKV] = {3, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, attention_norm},
    [WOQI_STAGE_O] = {1, {"self_attn.o_proj"}, NULL},
    [WOQI_STAGE_GATE_UP] = {2, {"mlp.gate_proj", "mlp.up_proj"}, ffn_norm},
    [WOQI_STAGE_DOWN] = {1, {"mlp.down_proj"}, NULL},
};

static void describe(const struct woq_model_config *c, uint32_t layer, enum woqi_stage stage,
                     struct woqi_stage_info *out)
{
    const uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    const uint64_t rows[WOQI_STAGES][WOQI_STAGE_PARTS] = {
        {q, kv, kv}, {c->hidden}, {c->intermediate, c->intermediate}, {c->hidden}};
    const uint64_t columns[WOQI_STAGES] = {c->hidden, q, c->hidden, c->intermediate};
    *out = (struct woqi_stage_info){.count = stages[stage].count, .columns = columns[stage]};
    for (uint32_t i = 0; i < out->count; i++) {
        snprintf(out->names[i], sizeof out->names[i], "model.layers.%u.%s", layer, stages[stage].parts[i]);
        out->rows[i] = rows[stage][i];
    }
    if (stages[stage].norm)
        snprintf(out->norm, sizeof out->norm, "model.layers.%u.%s.weight", layer, stages[stage].norm);
}

enum woq_status woqi_stage_describe(const struct woq_model_config *config, uint32_t layer, enum woqi_stage stage,
                                    struct woqi_stage_info *out)
{
    if (layer >= config->layers || (unsigned)stage >= WOQI_STAGES)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "stage %d of layer %u; the model has %d stages in each of %u layers", (int)stage, layer,
                          (int)WOQI_STAGES, config->layers);
    describe(config, layer, stage, out);
    return WOQ_OK;
}

/* ---- Vectors ---- */

static enum woq_status load_bias(struct woqi_loader *loader, uint32_t layer, struct woq_buffer **out)
{
    struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
    struct woqi_stage_info qkv;
    uint64_t done = 0;
    describe(&loader->model->config, layer, WOQI_STAGE_QKV, &qkv);
    p.size = (qkv.rows[0] + qkv.rows[1] + qkv.rows[2]) * sizeof(float);
    enum woq_status st = woq_buffer_create(loader->model->device, &p, out);
    for (uint32_t i = 0; i < qkv.count && !st; i++) {
        char name[sizeof qkv.names[i] + 8];
        float *v = NULL;
        snprintf(name, sizeof name, "%s.bias", qkv.names[i]);
        st = woqi_load_vector(loader, name, qkv.rows[i], &v);
        if (!st)
            st = woq_buffer_write(*out, done, v, qkv.rows[i] * sizeof *v);
        done += qkv.rows[i] * sizeof *v;
        free(v);
    }
    return st;
}

static enum woq_status load_norms(struct woqi_loader *loader, uint32_t layer, struct woqi_layer *l)
{
    const struct woq_model_config *c = &loader->model->config;
    const struct {
        const char *name;
        uint32_t count;
        float **out;
    } norms[] = {{attention_norm, c->hidden, &l->attention_norm},
                 {ffn_norm, c->hidden, &l->ffn_norm},
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

enum woq_status woqi_layer_load_vectors(struct woqi_loader *loader, uint32_t layer, struct woqi_layer *out)
{
    enum woq_status st = load_norms(loader, layer, out);
    if (!st && loader->model->config.qkv_bias)
        st = load_bias(loader, layer, &out->bias);
    return st;
}

void woqi_layer_release(struct woqi_layer *layer)
{
    woqi_product_release(&layer->qkv);
    woqi_product_release(&layer->o);
    woqi_product_release(&layer->ffn);
    woq_buffer_destroy(&layer->bias);
    free(layer->attention_norm);
    free(layer->ffn_norm);
    free(layer->q_norm);
    free(layer->k_norm);
    memset(layer, 0, sizeof *layer);
}

/* ---- Stages ---- */

static bool has_residual(enum woqi_stage stage)
{
    return stage == WOQI_STAGE_O || stage == WOQI_STAGE_DOWN;
}

enum woq_status woqi_stage_load(struct woqi_loader *loader, uint32_t layer, enum woqi_stage stage,
                                const struct woq_weights_source *sources, struct woqi_stacked *out)
{
    const struct woq_model *m = loader->model;
    const bool gated = stage == WOQI_STAGE_GATE_UP;
    const struct woqi_epilogue epilogue = {
        .y_type = gated ? m->x_type : WOQ_F32, .residual = has_residual(stage),
        .bias = stage == WOQI_STAGE_QKV && m->config.qkv_bias,
        .activation = gated ? WOQ_ACTIVATION_SILU_MUL : WOQ_ACTIVATION_NONE, .max_m = m->batch};
    struct woqi_stage_info info;
    describe(&m->config, layer, stage, &info);
    struct woqi_stack stack = {.count = info.count, .columns = info.columns, .gated = gated, .linear = true};
    for (uint32_t i = 0; i < info.count; i++) {
        stack.names[i] = info.names[i];
        stack.rows[i] = info.rows[i];
    }
    return sources ? woqi_make_stack(loader, &stack, &epilogue, sources, out)
                   : woqi_load_stack(loader, &stack, &epilogue, out);
}

struct woqi_step woqi_stage_step(const struct woq_model *m, const struct woqi_layer *layer, enum woqi_stage stage,
                                 const struct woqi_stacked *stacked)
{
    const struct woqi_region *const x[] = {&m->x, &m->a, &m->x, &m->g};
    const struct woqi_region *const y[] = {&m->qkv, &m->h, &m->g, &m->h};
    return (struct woqi_step){stacked, x[stage], y[stage], stage == WOQI_STAGE_QKV ? layer->bias : NULL,
                              has_residual(stage)};
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

/* `count` stages from `first` on as one recording. */
static enum woq_status load_product(struct woqi_loader *loader, uint32_t layer, enum woqi_stage first, uint32_t count,
                                    struct woqi_product *out)
{
    struct woq_model *m = loader->model;
    struct woqi_stacked stacked[2] = {{.count = 0}, {.count = 0}};
    struct woqi_step steps[2];
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++) {
        const enum woqi_stage stage = (enum woqi_stage)((uint32_t)first + i);
        st = woqi_stage_load(loader, layer, stage, NULL, &stacked[i]);
        if (!st && stage == WOQI_STAGE_QKV)
            st = note_path(m, &stacked[i]);
        steps[i] = woqi_stage_step(m, &m->layers[layer], stage, &stacked[i]);
    }
    if (!st)
        st = woqi_product_record(m, steps, count, m->batch, out);
    for (uint32_t i = 0; i < count; i++)
        woqi_stacked_release(&stacked[i]);
    return st;
}

enum woq_status woqi_layer_load(struct woqi_loader *loader, uint32_t layer)
{
    struct woqi_layer *l = &loader->model->layers[layer];
    enum woq_status st = woqi_layer_load_vectors(loader, layer, l);
    if (!st)
        st = load_product(loader, layer, WOQI_STAGE_QKV, 1, &l->qkv);
    if (!st)
        st = load_product(loader, layer, WOQI_STAGE_O, 1, &l->o);
    if (!st)
        st = load_product(loader, layer, WOQI_STAGE_GATE_UP, 2, &l->ffn);
    return st;
}
