/* config.c: the model's shape, and whether the tensors agree with it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

/* A string may look like the number or word that is wanted. */
static enum woq_status fail_value(const struct woq_checkpoint *c, const struct woqi_ckpt_value *v, const char *wanted)
{
    const bool string = v->kind == WOQI_KIND_STRING;
    return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s%s is %s%.80s%s; must be %s", woqi_ckpt_where(c, v->key),
                          v->key, string ? "'" : "", v->text, string ? "', a string" : "", wanted);
}

enum woq_status woqi_ckpt_config_uint(const struct woq_checkpoint *c, const char *key,
                                      bool optional, uint32_t limit, uint32_t *out)
{
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, key);
    uint64_t value;
    if ((!v || v->kind == WOQI_KIND_NULL) && optional)
        return WOQ_OK;
    if (!v)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s%s is missing; must be 1 to %" PRIu32,
                              woqi_ckpt_where(c, key), key, limit);
    if (!woq_checkpoint_get_uint(c, key, &value) || !value || value > limit) {
        char wanted[40];
        snprintf(wanted, sizeof wanted, "1 to %" PRIu32, limit);
        return fail_value(c, v, wanted);
    }
    *out = (uint32_t)value;
    return WOQ_OK;
}

enum woq_status woqi_ckpt_config_float(const struct woq_checkpoint *c, const char *key,
                                       bool optional, float *out)
{
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, key);
    double value;
    if ((!v || v->kind == WOQI_KIND_NULL) && optional)
        return WOQ_OK;
    if (!v)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s%s is missing; must be a number > 0",
                              woqi_ckpt_where(c, key), key);
    if (!woq_checkpoint_get_float(c, key, &value) || !((float)value > 0) || !isfinite((float)value))
        return fail_value(c, v, "a finite number > 0");
    *out = (float)value;
    return WOQ_OK;
}

enum woq_status woqi_ckpt_config_bool(const struct woq_checkpoint *c, const char *key, bool *out)
{
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, key);
    if (!v || v->kind == WOQI_KIND_NULL || woq_checkpoint_get_bool(c, key, out))
        return WOQ_OK;
    return fail_value(c, v, "true or false");
}

/* ---- Against the tensors ---- */

/* columns 0: a vector of `rows`. A matrix may also be stored packed (packed_source.c). */
static enum woq_status check_shape(const struct woq_checkpoint *c, uint64_t rows, uint64_t columns,
                                   const char *name)
{
    char packed[160];
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    if (!t && columns) {
        snprintf(packed, sizeof packed, "%s_packed", name);
        t = woq_checkpoint_find(c, packed);
        if (t && (t->rank != 2 || t->shape[0] != rows))
            return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                                  "tensor '%s' has %" PRIu64 " rows; must have %" PRIu64, packed,
                                  t->shape[0], rows);
        if (t)
            return WOQ_OK;
    }
    if (!t)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "tensor '%s' is missing", name);
    if (t->rank != (columns ? 2u : 1u) || t->shape[0] != rows ||
        (columns && t->shape[1] != columns))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s' has shape [%" PRIu64 ", %" PRIu64 "] and rank %" PRIu32
                              "; the configuration says [%" PRIu64 ", %" PRIu64 "]",
                              name, t->shape[0], t->shape[1], t->rank, rows, columns ? columns : 1);
    return WOQ_OK;
}

static bool has(const struct woq_checkpoint *c, uint32_t layer, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s", layer, part);
    return woq_checkpoint_find(c, name);
}

static enum woq_status check_layer(const struct woq_checkpoint *c, const struct woq_model_config *m,
                                   uint32_t layer)
{
    const uint64_t q = (uint64_t)m->heads * m->head_dim, kv = (uint64_t)m->kv_heads * m->head_dim;
    const struct {
        const char *part;
        uint64_t rows, columns;
        bool wanted;
    } parts[] = {
        {"input_layernorm.weight", m->hidden, 0, true},
        {"post_attention_layernorm.weight", m->hidden, 0, true},
        {"self_attn.q_proj.weight", q, m->hidden, true},
        {"self_attn.k_proj.weight", kv, m->hidden, true},
        {"self_attn.v_proj.weight", kv, m->hidden, true},
        {"self_attn.o_proj.weight", m->hidden, q, true},
        {"mlp.gate_proj.weight", m->intermediate, m->hidden, true},
        {"mlp.up_proj.weight", m->intermediate, m->hidden, true},
        {"mlp.down_proj.weight", m->hidden, m->intermediate, true},
        {"self_attn.q_proj.bias", q, 0, m->qkv_bias},
        {"self_attn.k_proj.bias", kv, 0, m->qkv_bias},
        {"self_attn.v_proj.bias", kv, 0, m->qkv_bias},
        {"self_attn.q_norm.weight", m->head_dim, 0, m->qk_norm},
        {"self_attn.k_norm.weight", m->head_dim, 0, m->qk_norm},
        {"self_attn.o_proj.bias", 0, 0, false},
        {"mlp.gate_proj.bias", 0, 0, false},
        {"mlp.up_proj.bias", 0, 0, false},
        {"mlp.down_proj.bias", 0, 0, false},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s", layer, parts[i].part);
        if (!parts[i].wanted) {
            if (woq_checkpoint_find(c, name))
                return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                                      "tensor '%s' has no place in this kind of model", name);
            continue;
        }
        enum woq_status st = check_shape(c, parts[i].rows, parts[i].columns, name);
        if (st)
            return st;
    }
    return WOQ_OK;
}

static enum woq_status check_model(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    enum woq_status st;
    if (m->heads % m->kv_heads)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%" PRIu32 " attention heads; must be a multiple of the %" PRIu32
                              " key-value heads",
                              m->heads, m->kv_heads);
    if (m->head_dim % 2)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "the head size is %" PRIu32 "; must be even", m->head_dim);
    if ((m->bos >= 0 && (uint32_t)m->bos >= m->vocabulary) ||
        (m->eos >= 0 && (uint32_t)m->eos >= m->vocabulary))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "bos %" PRId32 " or eos %" PRId32
                              " is outside the vocabulary of %" PRIu32,
                              m->bos, m->eos, m->vocabulary);
    m->qkv_bias = has(c, 0, "self_attn.q_proj.bias");
    m->qk_norm = has(c, 0, "self_attn.q_norm.weight");
    if ((st = check_shape(c, m->vocabulary, m->hidden, "model.embed_tokens.weight")) ||
        (st = check_shape(c, m->hidden, 0, "model.norm.weight")))
        return st;
    if (!m->tied_embeddings && (st = check_shape(c, m->vocabulary, m->hidden, "lm_head.weight")))
        return st;
    for (uint32_t i = 0; i < m->layers; i++)
        if ((st = check_layer(c, m, i)))
            return st;
    if (has(c, m->layers, "input_layernorm.weight"))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "there are tensors of layer %" PRIu32
                              "; the configuration says %" PRIu32 " layers",
                              m->layers, m->layers);
    return WOQ_OK;
}

enum woq_status woq_checkpoint_config(const struct woq_checkpoint *checkpoint,
                                      struct woq_model_config *out)
{
    if (!checkpoint || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", __func__,
                          checkpoint ? "out" : "checkpoint");
    struct woq_model_config m = {
        .struct_size = sizeof m, .rope_theta = 10000.0f, .bos = -1, .eos = -1};
    enum woq_status st = checkpoint->container == WOQ_CONTAINER_GGUF
                             ? woqi_ckpt_gguf_config(checkpoint, &m)
                             : woqi_ckpt_hf_config(checkpoint, &m);
    if (!st)
        st = check_model(checkpoint, &m);
    if (st)
        memset(out, 0, sizeof *out);
    else
        *out = m;
    return st;
}
