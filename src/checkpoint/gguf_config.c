/* gguf_config.c: a model's shape from GGUF's metadata, keys "<architecture>.…". */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum { KEY_BYTES = 96, COUNT_LIMIT = 1 << 24, LAYER_LIMIT = 1 << 12 };

struct keys {
    const struct woq_checkpoint *c;
    const char *architecture;
    char text[KEY_BYTES];
};

static const char *key(struct keys *k, const char *name)
{
    snprintf(k->text, sizeof k->text, "%s.%s", k->architecture, name);
    return k->text;
}

static bool text_is(const struct woq_checkpoint *c, const char *name, const char *wanted)
{
    const char *text;
    size_t size;
    return woq_checkpoint_get_string(c, name, &text, &size) && size == strlen(wanted) &&
           !memcmp(text, wanted, size);
}

static enum woq_status read_architecture(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    static const char *const known[] = {"llama", "qwen2", "qwen3"};
    static const char name[] = "general.architecture";
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_is(c, name, known[i]))
            snprintf(m->architecture, sizeof m->architecture, "%s", known[i]);
    if (!v)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%s is missing; must be llama, qwen2 or qwen3", name);
    if (!*m->architecture)
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "%s is '%.80s'; must be llama, qwen2 or qwen3", name, v->text);
    return WOQ_OK;
}

static enum woq_status read_shape(struct keys *k, struct woq_model_config *m)
{
    const struct woq_checkpoint *c = k->c;
    enum woq_status st;
    if ((st = woqi_ckpt_config_uint(c, key(k, "block_count"), false, LAYER_LIMIT, &m->layers)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "embedding_length"), false, COUNT_LIMIT,
                                    &m->hidden)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "feed_forward_length"), false, COUNT_LIMIT,
                                    &m->intermediate)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "context_length"), false, INT32_MAX, &m->context)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "attention.head_count"), false, 1 << 16,
                                    &m->heads)) ||
        (st = woqi_ckpt_config_float(c, key(k, "attention.layer_norm_rms_epsilon"), false,
                                     &m->norm_epsilon)))
        return st;
    m->kv_heads = m->heads;
    m->head_dim = m->hidden / m->heads;
    if ((st = woqi_ckpt_config_uint(c, key(k, "attention.head_count_kv"), true, m->heads,
                                    &m->kv_heads)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "attention.key_length"), true, 1 << 16,
                                    &m->head_dim)))
        return st;
    if (!m->head_dim)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%" PRIu32 " heads exceed the hidden size, %" PRIu32, m->heads,
                              m->hidden);
    uint32_t value_dim = m->head_dim, rope_dim = m->head_dim;
    if ((st = woqi_ckpt_config_uint(c, key(k, "attention.value_length"), true, 1 << 16,
                                    &value_dim)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "rope.dimension_count"), true, 1 << 16, &rope_dim)))
        return st;
    if (value_dim != m->head_dim || rope_dim != m->head_dim)
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "heads of size %" PRIu32 " with values of %" PRIu32 " and %" PRIu32
                              " rotated elements; all three must be equal",
                              m->head_dim, value_dim, rope_dim);
    const struct woq_tensor *embedding = woq_checkpoint_find(c, "model.embed_tokens.weight");
    m->vocabulary = embedding && embedding->shape[0] <= COUNT_LIMIT ? (uint32_t)embedding->shape[0]
                                                                    : 0;
    if ((st = woqi_ckpt_config_uint(c, key(k, "vocab_size"), true, COUNT_LIMIT, &m->vocabulary)))
        return st;
    m->tied_embeddings = !woq_checkpoint_find(c, "lm_head.weight");
    return WOQ_OK;
}

/* Llama 3's scaling lies in a tensor of divisors, one for each rotary pair. Its parameters are
 * found again: the largest divisor is the factor, the others are the same in all models that
 * were published. */
static enum woq_status read_divisors(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    const float low = 1, high = 4, context = 8192, turn = 6.283185307f;
    const struct woq_tensor *t = woq_checkpoint_find(c, "rope_freqs.weight");
    if (!t)
        return WOQ_OK;
    const uint32_t count = m->head_dim / 2;
    if (t->type != WOQ_TENSOR_F32 || t->rank != 1 || t->shape[0] != count)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor 'rope_freqs.weight' must be %" PRIu32 " of F32", count);
    float factor = 0, divisor;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(&divisor, (const uint8_t *)t->data + 4 * (size_t)i, 4);
        factor = divisor > factor ? divisor : factor;
    }
    if (factor == 1)
        return WOQ_OK;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(&divisor, (const uint8_t *)t->data + 4 * (size_t)i, 4);
        const float wave = turn * powf(m->rope_theta, 2.0f * (float)i / (float)m->head_dim);
        const float smooth = (context / wave - low) / (high - low);
        const float expected = wave < context / high  ? 1
                               : wave > context / low ? factor
                                                      : 1 / ((1 - smooth) / factor + smooth);
        if (!(fabsf(divisor - expected) <= 1e-3f * expected))
            return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                                  "tensor 'rope_freqs.weight': divisor %" PRIu32
                                  " is %g; Llama 3's scaling by %g would have %g",
                                  i, (double)divisor, (double)factor, (double)expected);
    }
    m->rope_scaling = WOQ_ROPE_LLAMA3;
    m->rope_factor = factor;
    m->rope_low_freq_factor = low;
    m->rope_high_freq_factor = high;
    m->rope_original_context = (uint32_t)context;
    return WOQ_OK;
}

static enum woq_status read_rope(struct keys *k, struct woq_model_config *m)
{
    const struct woq_checkpoint *c = k->c;
    enum woq_status st;
    float factor = 1;
    if ((st = woqi_ckpt_config_float(c, key(k, "rope.freq_base"), true, &m->rope_theta)) ||
        (st = woqi_ckpt_config_float(c, key(k, "rope.scale_linear"), true, &factor)) ||
        (st = woqi_ckpt_config_float(c, key(k, "rope.scaling.factor"), true, &factor)) ||
        (st = woqi_ckpt_config_uint(c, key(k, "rope.scaling.original_context_length"), true,
                                    INT32_MAX, &m->rope_original_context)))
        return st;
    const struct woqi_ckpt_value *type = woqi_ckpt_meta_find(c, key(k, "rope.scaling.type"));
    if (type && text_is(c, k->text, "yarn")) {
        m->rope_scaling = WOQ_ROPE_YARN;
    } else if (type && !text_is(c, k->text, "linear") && !text_is(c, k->text, "none")) {
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "%s is '%.80s'; must be none, linear or yarn", k->text, type->text);
    } else if (factor != 1 && !(type && text_is(c, k->text, "none"))) {
        m->rope_scaling = WOQ_ROPE_LINEAR;
    }
    if (m->rope_scaling == WOQ_ROPE_YARN && !woqi_ckpt_meta_find(c, key(k, "rope.scale_linear")) &&
        (st = woqi_ckpt_config_float(c, key(k, "rope.scaling.factor"), false, &factor)))
        return st;
    if (m->rope_scaling)
        m->rope_factor = factor;
    if (m->rope_scaling == WOQ_ROPE_YARN && !m->rope_original_context)
        m->rope_original_context = m->context;
    return m->rope_scaling ? WOQ_OK : read_divisors(c, m);
}

/* Absent: left alone. Some writers say "none" by all ones. */
static enum woq_status read_token(const struct woq_checkpoint *c, const char *name, int32_t *out)
{
    const struct woqi_ckpt_value *v = woqi_ckpt_meta_find(c, name);
    if (!v)
        return WOQ_OK;
    uint64_t id;
    if (!woq_checkpoint_get_uint(c, name, &id) || (id > INT32_MAX && id != UINT32_MAX))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s is %.80s; must be a token id", name,
                              v->text);
    *out = id == UINT32_MAX ? -1 : (int32_t)id;
    return WOQ_OK;
}

static enum woq_status read_tokens(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    const bool sentencepiece = text_is(c, "tokenizer.ggml.model", "llama");
    enum woq_status st;
    /* Where a file does not say, llama.cpp takes these. */
    if (sentencepiece) {
        m->bos = 1;
        m->eos = 2;
    }
    m->add_bos = sentencepiece || text_is(c, "tokenizer.ggml.pre", "llama-bpe") ||
                 text_is(c, "tokenizer.ggml.pre", "llama3") ||
                 text_is(c, "tokenizer.ggml.pre", "llama-v3");
    if ((st = read_token(c, "tokenizer.ggml.bos_token_id", &m->bos)) ||
        (st = read_token(c, "tokenizer.ggml.eos_token_id", &m->eos)))
        return st;
    woq_checkpoint_get_bool(c, "tokenizer.ggml.add_bos_token", &m->add_bos);
    m->add_bos = m->add_bos && m->bos >= 0;
    return WOQ_OK;
}

enum woq_status woqi_ckpt_gguf_config(const struct woq_checkpoint *c, struct woq_model_config *m)
{
    struct keys k = {.c = c, .architecture = m->architecture};
    enum woq_status st = read_architecture(c, m);
    if (!st)
        st = read_shape(&k, m);
    if (!st)
        st = read_rope(&k, m);
    return st ? st : read_tokens(c, m);
}
