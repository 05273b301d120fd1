/* hf_config.c: a model's shape from config.json, as transformers 4 and 5 write it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "checkpoint/checkpoint_impl.h"

enum { COUNT_LIMIT = 1 << 24, LAYER_LIMIT = 1 << 12 };

static bool text_is(const struct woq_checkpoint *c, const char *name, const char *wanted)
{
    const char *text;
    size_t size;
    return woq_checkpoint_get_string(c, name, &text, &size) && size == strlen(wanted) &&
           !memcmp(text, wanted, size);
}

/* Neither absent nor null. */
static const struct woqi_ckpt_value *given(const struct woq_checkpoint *c, const char *name)
{
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, name);
    return v && v->kind ? v : NULL;
}

static enum woq_status read_architecture(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    static const char *const known[] = {"llama", "mistral", "qwen2", "qwen3"};
    const struct woqi_ckpt_value *type = given(c, "model_type"), *act = given(c, "hidden_act");
    if (!type)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s",
                              c->directory ? "config.json: model_type is missing; must be llama, "
                                             "mistral, qwen2 or qwen3"
                                           : "holds tensors alone; open the directory that "
                                             "has config.json beside them");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_is(c, "model_type", known[i]))
            snprintf(m->architecture, sizeof m->architecture, "%s", known[i]);
    if (!*m->architecture)
        return woqi_ckpt_fail(
            c, WOQ_ERROR_UNSUPPORTED,
            "config.json: model_type is '%.80s'; must be llama, mistral, qwen2 or qwen3",
            type->text);
    if (act && !text_is(c, "hidden_act", "silu"))
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "config.json: hidden_act is '%.80s'; must be silu", act->text);
    return WOQ_OK;
}

static enum woq_status read_shape(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    enum woq_status st;
    if ((st = woqi_ckpt_config_uint(c, "num_hidden_layers", false, LAYER_LIMIT, &m->layers)) ||
        (st = woqi_ckpt_config_uint(c, "hidden_size", false, COUNT_LIMIT, &m->hidden)) ||
        (st = woqi_ckpt_config_uint(c, "intermediate_size", false, COUNT_LIMIT,
                                    &m->intermediate)) ||
        (st = woqi_ckpt_config_uint(c, "vocab_size", false, COUNT_LIMIT, &m->vocabulary)) ||
        (st = woqi_ckpt_config_uint(c, "num_attention_heads", false, 1 << 16, &m->heads)) ||
        (st = woqi_ckpt_config_uint(c, "max_position_embeddings", false, INT32_MAX, &m->context)))
        return st;
    m->kv_heads = m->heads;
    m->head_dim = strcmp(m->architecture, "qwen3") ? m->hidden / m->heads : 128;
    m->norm_epsilon = 1e-6f;
    if ((st = woqi_ckpt_config_uint(c, "num_key_value_heads", true, m->heads, &m->kv_heads)) ||
        (st = woqi_ckpt_config_uint(c, "head_dim", true, 1 << 16, &m->head_dim)) ||
        (st = woqi_ckpt_config_float(c, "rms_norm_eps", true, &m->norm_epsilon)))
        return st;
    if (!m->head_dim)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%" PRIu32 " heads exceed the hidden size, %" PRIu32, m->heads,
                              m->hidden);
    /* Up to its size a sliding window is full attention. */
    bool slides = !strcmp(m->architecture, "mistral");
    uint32_t window = m->context;
    if ((st = woqi_ckpt_config_bool(c, "use_sliding_window", &slides)))
        return st;
    if (slides && (st = woqi_ckpt_config_uint(c, "sliding_window", true, INT32_MAX, &window)))
        return st;
    if (window < m->context)
        m->context = window;
    /* Mistral and Llama untie by default, and so do Qwen's. */
    return woqi_ckpt_config_bool(c, "tie_word_embeddings", &m->tied_embeddings);
}

/* Biases are where the tensors are; here it is only whether these should be. */
static enum woq_status check_biases(const struct woq_checkpoint *c)
{
    bool attention = false, mlp = false;
    enum woq_status st = woqi_ckpt_config_bool(c, "attention_bias", &attention);
    if (!st)
        st = woqi_ckpt_config_bool(c, "mlp_bias", &mlp);
    if (!st && mlp)
        st = woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED, "config.json: mlp_bias is true; only false is supported");
    if (!st && attention && !woq_checkpoint_find(c, "model.layers.0.self_attn.q_proj.bias"))
        st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "config.json: attention_bias is true; there is no tensor "
                                                       "'model.layers.0.self_attn.q_proj.bias'");
    return st;
}

/* What the model does not do must have its neutral value. */
static enum woq_status want_default(const struct woq_checkpoint *c, const char *object,
                                    const char *name, double wanted)
{
    char key[96];
    double value;
    snprintf(key, sizeof key, "%s.%s", object, name);
    if (given(c, key) &&
        (!woq_checkpoint_get_float(c, key, &value) || !(fabs(value - wanted) < 1e-6)))
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "config.json: %s is %.80s; only %g is supported", key,
                              given(c, key)->text, wanted);
    return WOQ_OK;
}

static enum woq_status read_scaling(const struct woq_checkpoint *c, const char *object,
                                    struct woq_model_config *m)
{
    char type[64], key[96];
    enum woq_status st;
    if (given(c, object)) /* an object's members alone have values */
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "config.json: %s is %.80s; must be an object", object,
                              given(c, object)->text);
    snprintf(type, sizeof type, "%s.rope_type", object);
    if (!given(c, type))
        snprintf(type, sizeof type, "%s.type", object);
    const struct woqi_ckpt_value *kind = given(c, type);
    if (!kind || text_is(c, type, "default"))
        return WOQ_OK;
    if (text_is(c, type, "linear"))
        m->rope_scaling = WOQ_ROPE_LINEAR;
    else if (text_is(c, type, "llama3"))
        m->rope_scaling = WOQ_ROPE_LLAMA3;
    else if (text_is(c, type, "yarn"))
        m->rope_scaling = WOQ_ROPE_YARN;
    else
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "config.json: %s is '%.80s'; must be default, linear, llama3 or yarn",
                              type, kind->text);
    snprintf(key, sizeof key, "%s.factor", object);
    if ((st = woqi_ckpt_config_float(c, key, false, &m->rope_factor)) ||
        m->rope_scaling == WOQ_ROPE_LINEAR)
        return st;
    const bool llama = m->rope_scaling == WOQ_ROPE_LLAMA3;
    m->rope_original_context = llama ? 0 : m->context;
    snprintf(key, sizeof key, "%s.original_max_position_embeddings", object);
    if ((st = woqi_ckpt_config_uint(c, key, !llama, INT32_MAX, &m->rope_original_context)))
        return st;
    if (!llama) {
        if ((st = want_default(c, object, "beta_fast", 32)) ||
            (st = want_default(c, object, "beta_slow", 1)))
            return st;
        return want_default(c, object, "attention_factor", 0.1 * log((double)m->rope_factor) + 1);
    }
    snprintf(key, sizeof key, "%s.low_freq_factor", object);
    if ((st = woqi_ckpt_config_float(c, key, false, &m->rope_low_freq_factor)))
        return st;
    snprintf(key, sizeof key, "%s.high_freq_factor", object);
    if ((st = woqi_ckpt_config_float(c, key, false, &m->rope_high_freq_factor)))
        return st;
    if (!(m->rope_high_freq_factor > m->rope_low_freq_factor))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "config.json: %s must exceed low_freq_factor", key);
    return WOQ_OK;
}

static enum woq_status read_rope(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    /* transformers 5 has all of it in rope_parameters. */
    enum woq_status st = woqi_ckpt_config_float(c, "rope_theta", true, &m->rope_theta);
    if (!st)
        st = woqi_ckpt_config_float(c, "rope_parameters.rope_theta", true, &m->rope_theta);
    if (!st)
        st = want_default(c, "rope_parameters", "partial_rotary_factor", 1);
    if (!st && given(c, "partial_rotary_factor"))
        st = woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                            "config.json: partial_rotary_factor is not supported");
    if (!st)
        st = read_scaling(c, "rope_scaling", m);
    return st || m->rope_scaling ? st : read_scaling(c, "rope_parameters", m);
}

/* An id, or an array of which the first counts. Absent or null: none. */
static enum woq_status read_token(const struct woq_checkpoint *c, const char *name, int32_t *out)
{
    const struct woqi_ckpt_value *v = given(c, name);
    const int32_t *list;
    size_t count;
    uint64_t id = UINT64_MAX;
    if (!v)
        return WOQ_OK;
    if (woq_checkpoint_get_ints(c, name, &list, &count) && count && *list >= 0)
        id = (uint64_t)*list;
    else
        woq_checkpoint_get_uint(c, name, &id);
    if (id > INT32_MAX)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "config.json: %s is %.80s; must be a token id", name, v->text);
    *out = (int32_t)id;
    return WOQ_OK;
}

/* A TemplateProcessing whose form for a single text begins with a special token puts it in
 * front. */
static bool template_adds(yyjson_val *processor)
{
    if (yyjson_equals_str(yyjson_obj_get(processor, "type"), "Sequence")) {
        size_t index, count;
        yyjson_val *part;
        yyjson_arr_foreach(yyjson_obj_get(processor, "processors"), index, count, part)
        {
            if (yyjson_equals_str(yyjson_obj_get(part, "type"), "TemplateProcessing") &&
                template_adds(part))
                return true;
        }
        return false;
    }
    return yyjson_obj_get(yyjson_arr_get_first(yyjson_obj_get(processor, "single")),
                          "SpecialToken");
}

/* tokenizer_config.json says so, or tokenizer.json does it; neither need be there. */
static enum woq_status read_add_bos(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    struct yyjson_doc *doc;
    enum woq_status st = woqi_ckpt_json_file(c, c->path, "tokenizer_config.json", true, &doc);
    if (st)
        return st;
    yyjson_val *flag = yyjson_obj_get(yyjson_doc_get_root(doc), "add_bos_token");
    const bool said = yyjson_is_bool(flag);
    m->add_bos = yyjson_get_bool(flag);
    yyjson_doc_free(doc);
    if (said)
        return WOQ_OK;
    st = woqi_ckpt_json_file(c, c->path, "tokenizer.json", true, &doc);
    if (st)
        return st;
    m->add_bos = template_adds(yyjson_obj_get(yyjson_doc_get_root(doc), "post_processor"));
    yyjson_doc_free(doc);
    return WOQ_OK;
}

enum woq_status woqi_ckpt_hf_config(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    enum woq_status st = read_architecture(c, m);
    if (!st)
        st = read_shape(c, m);
    if (!st)
        st = check_biases(c);
    if (!st)
        st = read_rope(c, m);
    if (!st)
        st = read_token(c, "bos_token_id", &m->bos);
    if (!st)
        st = read_token(c, "eos_token_id", &m->eos);
    if (!st && c->directory)
        st = read_add_bos(c, m);
    m->add_bos = m->add_bos && m->bos >= 0;
    return st;
}
