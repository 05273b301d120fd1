/*
 * gguf_names.c: GGUF's tensor names as Hugging Face's, for the Llama family.
 *
 * llama.cpp's converter reorders the rows of q and k of the architecture "llama" (Mistral is that
 * too): within each head of D rows, row 2j + i of the file is row i·D/2 + j of the model (i < 2, j
 * < D/2), so that rotary pairs lie side by side. Qwen's are left as they were.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

struct name {
    const char *gguf, *hf;
};

static const struct name global_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
static const struct name layer_names[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

static bool is_architecture(const struct woq_checkpoint *c, const char *name)
{
    const char *text;
    size_t size;
    return woq_checkpoint_get_string(c, "general.architecture", &text, &size) &&
           size == strlen(name) && !memcmp(text, name, size);
}

/* `stem` without ".weight" or ".bias". */
static const char *counterpart(const struct name *names, size_t count, const char *stem,
                               size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i].gguf) == size && !memcmp(names[i].gguf, stem, size))
            return names[i].hf;
    return NULL;
}

static enum woq_status set_rope_heads(struct woq_checkpoint *c, struct woq_tensor *t, bool is_key)
{
    static const char *const keys[] = {"llama.attention.head_count",
                                       "llama.attention.head_count_kv"};
    uint64_t heads;
    const char *key = keys[is_key && woqi_ckpt_meta_find(c, keys[1])];
    const uint64_t rows = t->shape[0];
    if (!woq_checkpoint_get_uint(c, key, &heads))
        return woqi_ckpt_fail(
            c, WOQ_ERROR_INVALID_DATA,
            "metadata key '%s' is missing or no unsigned integer, and tensor '%s' needs it", key,
            t->file_name);
    if (!heads || heads > UINT32_MAX || rows % heads || rows / heads % 2)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s' has %" PRIu64 " rows; must be %s = %" PRIu64
                              " heads of an even size",
                              t->file_name, rows, key, heads);
    t->rope_heads = (uint32_t)heads;
    return WOQ_OK;
}

enum woq_status woqi_ckpt_gguf_name(struct woq_checkpoint *c, struct woq_tensor *t)
{
    const bool llama = is_architecture(c, "llama");
    const char *dot = strrchr(t->file_name, '.');
    t->name = t->file_name;
    if ((!llama && !is_architecture(c, "qwen2") && !is_architecture(c, "qwen3")) || !dot ||
        (strcmp(dot, ".weight") && strcmp(dot, ".bias")))
        return WOQ_OK;
    const char *stem = t->file_name, *found;
    char name[128];
    unsigned long layer = 0;
    const bool in_layer = !strncmp(stem, "blk.", 4);
    if (in_layer) {
        char *after;
        layer = strtoul(stem + 4, &after, 10);
        /* "blk.007." or "blk.+7." would be a second name for one layer. */
        snprintf(name, sizeof name, "blk.%lu.", layer);
        if (strncmp(stem, name, strlen(name)) || after >= dot)
            return WOQ_OK;
        stem = after + 1;
    }
    const size_t size = (size_t)(dot - stem);
    if (in_layer)
        found = counterpart(layer_names, sizeof layer_names / sizeof *layer_names, stem, size);
    else
        found = counterpart(global_names, sizeof global_names / sizeof *global_names, stem, size);
    if (!found)
        return WOQ_OK;
    if (in_layer)
        snprintf(name, sizeof name, "model.layers.%lu.%s%s", layer, found, dot);
    else
        snprintf(name, sizeof name, "%s%s", found, dot);
    if (!(t->name = woqi_ckpt_copy(&c->arena, name, strlen(name))))
        return woqi_ckpt_no_memory(c);
    const bool is_key = in_layer && !strcmp(found, "self_attn.k_proj");
    if (llama && in_layer && (is_key || !strcmp(found, "self_attn.q_proj")))
        return set_rope_heads(c, t, is_key);
    return WOQ_OK;
}
