/*
 * tiny_model.h: small models with known weights, as Hugging Face directories, and what they compute, in
 * double and without any of the library's code but that for quantizing a matrix.
 */
#ifndef TEST_TINY_MODEL_H
#define TEST_TINY_MODEL_H

#include <woq/model.h>

enum { TINY_VOCABULARY = 67, TINY_CONTEXT = 96 };

struct tiny_model {
    const char *architecture; /* "llama", "qwen2", "qwen3" */
    uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate;
    bool tied, bias, qk_norm;
    const char *rope; /* NULL, or "linear", "llama3", "yarn" */
};

/* Makes `directory` with config.json and model.safetensors. `missing`: a tensor to leave out; `broken`: one
 * that gets an infinite element; `wide`: one with a column too many; each NULL = none. */
struct tiny_faults {
    const char *missing, *broken, *wide;
};
bool tiny_write(const struct tiny_model *m, const struct tiny_faults *faults, const char *directory);
void tiny_remove(const char *directory);

/* Logits [count][TINY_VOCABULARY] of a text. quantize: linear layers rounded in this format; NULL = none. */
bool tiny_logits(const struct tiny_model *m, const struct woq_format *quantize, const int32_t *tokens,
                 uint32_t count, double *logits);

#endif
