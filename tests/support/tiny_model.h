/*
 * tiny_model.h: small models with known weights, as Hugging Face directories or GGUF files, and what they
 * compute, in double and without any of the library's code but that for quantizing a matrix.
 */
#ifndef TEST_TINY_MODEL_H
#define TEST_TINY_MODEL_H

#include <woq/model.h>

enum { TINY_VOCABULARY = 67, TINY_CONTEXT = 96 };

/* GGUF's number of the type that matrices are stored in whose names end so; the first that fits counts. */
struct tiny_stored {
    const char *ending; /* NULL ends a list */
    uint32_t type;
};
enum { TINY_F32 = 0, TINY_Q4_0 = 2, TINY_Q4_1 = 3, TINY_Q8_0 = 8, TINY_Q4_K = 12, TINY_Q6_K = 14 };

struct tiny_model {
    const char *architecture; /* "llama", "qwen2", "qwen3" */
    uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate;
    bool tied, bias, qk_norm;
    const char *rope; /* NULL, or "linear", "llama3", "yarn" */
    const struct tiny_stored *stored; /* NULL = a directory in F32, else a GGUF, F32 where no ending fits */
};

/* Makes `directory` with config.json and model.safetensors, or model.gguf. `missing`: a tensor to leave out;
 * `broken`: one that gets an infinite element; `wide`: one with a column too many; each NULL = none; not for
 * GGUF. */
struct tiny_faults {
    const char *missing, *broken, *wide;
};
bool tiny_write(const struct tiny_model *m, const struct tiny_faults *faults, const char *directory);
void tiny_remove(const char *directory);

/* Logits [count][TINY_VOCABULARY] of a text. quantize: linear layers rounded in this format; NULL = none. */
bool tiny_logits(const struct tiny_model *m, const struct woq_format *quantize, const int32_t *tokens,
                 uint32_t count, double *logits);

/* ---- Between the writers ---- */

struct tiny_tensor {
    char name[96];
    uint32_t rows, columns; /* columns 0: a vector */
};

/* All tensors; room for 16 a layer and 4. */
uint32_t tiny_list(const struct tiny_model *m, struct tiny_tensor *t);
float *tiny_values(const char *name, uint64_t count);

/* tiny_gguf.c: the file; a tensor's type in it; values rounded to a type, and their blocks (NULL: not wanted). */
bool tiny_write_gguf(const struct tiny_model *m, const char *path);
uint32_t tiny_type(const struct tiny_model *m, const char *name);
void tiny_round(uint32_t type, float *v, uint64_t count, uint8_t *blocks);

#endif
