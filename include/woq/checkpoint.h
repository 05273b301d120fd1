/*
 * woq/checkpoint.h: model files: GGUF, safetensors, Hugging Face directories (libwoq-model).
 *
 *     struct woq_checkpoint *c = NULL;
 *     st = woq_checkpoint_open("SmolLM2.gguf", NULL, &c);
 *     const struct woq_tensor *t = woq_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
 *     st = woq_tensor_read(t, 0, t->shape[0], floats);       // dequantized rows
 *     woq_checkpoint_close(&c);
 *
 * Whatever the file, tensors bear Hugging Face's names for the Llama family, and rows lie in its order:
 * GGUF's "blk.0.attn_q.weight" appears as "model.layers.0.self_attn.q_proj.weight", with the row order
 * that llama.cpp's converter gave q and k of the architecture "llama" undone. Files are mapped, not read; a file
 * that is cut short while it is open ends the process with SIGBUS, as mappings do.
 *
 * Nothing in a file is trusted: counts, offsets, shapes and strings are checked against the file's size
 * before use, and a message names file, tensor or field and what would be right.
 *
 * Threading: an open checkpoint is immutable; any number of threads may read it.
 */
#ifndef WOQ_CHECKPOINT_H
#define WOQ_CHECKPOINT_H

#include <woq/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_checkpoint;

enum woq_container { WOQ_CONTAINER_GGUF = 1, WOQ_CONTAINER_SAFETENSORS };

/* Element types of files. The block types are GGUF's; a block covers 32 or 256 elements of a row. */
enum woq_tensor_type {
    WOQ_TENSOR_F32 = 1,
    WOQ_TENSOR_F16,
    WOQ_TENSOR_BF16,
    WOQ_TENSOR_Q4_0,
    WOQ_TENSOR_Q4_1,
    WOQ_TENSOR_Q5_0,
    WOQ_TENSOR_Q5_1,
    WOQ_TENSOR_Q8_0,
    WOQ_TENSOR_Q4_K,
    WOQ_TENSOR_Q5_K,
    WOQ_TENSOR_Q6_K,
    WOQ_TENSOR_I32, /* packed codes of quantized checkpoints */
    WOQ_TENSOR_I64,
    WOQ_TENSOR_U8,
    WOQ_TENSOR_OTHER /* listed, not readable */
};

#define WOQ_TENSOR_MAX_RANK 4

struct woq_tensor {
    const struct woq_checkpoint *checkpoint;
    const char *name;      /* Hugging Face's; the file's own where there is no counterpart */
    const char *file_name; /* as the file has it */
    enum woq_tensor_type type;
    const char *type_name; /* the file's, also for those that are WOQ_TENSOR_OTHER: "IQ4_XS" */
    uint32_t rank;
    uint64_t shape[WOQ_TENSOR_MAX_RANK]; /* slowest first: [rows, columns]; unused ones are 1 */
    const void *data;      /* in the mapping, unaligned; rows of q and k may be in the file's order */
    uint64_t bytes;
    uint64_t row_bytes;    /* of one innermost row */
    uint32_t rope_heads;   /* not 0: rows are interleaved by so many heads and woq_tensor_row undoes it */
};

/* What a model of the Llama family is. 0 where a file does not say and no default exists. */
struct woq_model_config {
    size_t struct_size;
    char architecture[32]; /* "llama", "qwen2", "qwen3", "mistral" */
    uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, context;
    float norm_epsilon;
    float rope_theta;
    enum { WOQ_ROPE_NONE, WOQ_ROPE_LINEAR, WOQ_ROPE_LLAMA3, WOQ_ROPE_YARN } rope_scaling;
    float rope_factor, rope_low_freq_factor, rope_high_freq_factor; /* scaling variants */
    uint32_t rope_original_context;
    bool tied_embeddings;  /* lm_head is embed_tokens */
    bool qkv_bias, qk_norm;
    int32_t bos, eos;      /* token ids; -1 = none */
    bool add_bos;          /* the tokenizer puts bos in front of a text */
};

struct woq_checkpoint_params {
    size_t struct_size;
    woq_log_fn *log; /* warnings; NULL = silent */
    void *log_user;
};
#define WOQ_CHECKPOINT_PARAMS_INIT {sizeof(struct woq_checkpoint_params), NULL, NULL}

/*
 * path: a .gguf file; a .safetensors file; or a directory with config.json and model.safetensors or
 * model.safetensors.index.json. Ownership: *out is the caller's, to be closed.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, no such file: the message says which); INVALID_DATA (the file
 * lies or is cut short); UNSUPPORTED (container version, byte order); OUT_OF_MEMORY.
 */
WOQ_API enum woq_status woq_checkpoint_open(const char *path, const struct woq_checkpoint_params *params,
                                    struct woq_checkpoint **out);
WOQ_API void woq_checkpoint_close(struct woq_checkpoint **checkpoint); /* writes NULL; accepts NULL */

WOQ_API enum woq_container woq_checkpoint_container(const struct woq_checkpoint *checkpoint);
WOQ_API const char *woq_checkpoint_path(const struct woq_checkpoint *checkpoint);

/* Tensors in the file's order; NULL beyond the count or for an unknown name. */
WOQ_API size_t woq_checkpoint_tensor_count(const struct woq_checkpoint *checkpoint);
WOQ_API const struct woq_tensor *woq_checkpoint_tensor(const struct woq_checkpoint *checkpoint, size_t index);
WOQ_API const struct woq_tensor *woq_checkpoint_find(const struct woq_checkpoint *checkpoint, const char *name);

/* "Q4_1" and the like, static. Elements and bytes of a block; 1 and the element size for plain types. */
WOQ_API const char *woq_tensor_type_name(enum woq_tensor_type type);
WOQ_API uint32_t woq_tensor_block_elements(enum woq_tensor_type type);
WOQ_API uint32_t woq_tensor_block_bytes(enum woq_tensor_type type);

/* Row `row` (0 … product of all but the last dimension) in the mapping, rope order undone. */
WOQ_API const void *woq_tensor_row(const struct woq_tensor *tensor, uint64_t row);

/* Dequantizes `count` rows from `first` on to floats, the values that GGUF's reference gives, bit for
 * bit. Returns WOQ_OK; INVALID_ARGUMENT; UNSUPPORTED (integer and other types). */
WOQ_API enum woq_status woq_tensor_read(const struct woq_tensor *tensor, uint64_t first, uint64_t count,
                                float *out);

/*
 * A block-quantized or plain 16-bit matrix as weights, without requantizing: Q4_0 and Q8_0 symmetric,
 * Q4_1, Q5_1, Q4_K, Q5_K with offsets, Q5_0 and Q6_K as 8-bit codes with integer zero points; groups of
 * 32 or 16. The arrays of *out are the library's, released by woq_source_release.
 * Returns WOQ_OK; UNSUPPORTED (type has no such form); OUT_OF_MEMORY.
 */
WOQ_API enum woq_status woq_tensor_source(const struct woq_tensor *tensor, struct woq_weights_source *out);
WOQ_API void woq_source_release(struct woq_weights_source *source);

/* A linear layer that is stored packed (compressed-tensors pack-quantized: weight_packed, weight_scale,
 * weight_zero_point, weight_shape) as weights; name without suffix, "model.layers.0.mlp.down_proj".
 * Returns as woq_tensor_source; INVALID_ARGUMENT (no such layer); INVALID_DATA. */
WOQ_API enum woq_status woq_checkpoint_packed_source(const struct woq_checkpoint *checkpoint, const char *name,
                                             struct woq_weights_source *out);

/* Metadata: GGUF's key-value pairs, or config.json's members ("quantization_config.format") as dotted
 * keys. Values are text for people; long arrays are shortened. */
WOQ_API size_t woq_checkpoint_meta_count(const struct woq_checkpoint *checkpoint);
WOQ_API enum woq_status woq_checkpoint_meta(const struct woq_checkpoint *checkpoint, size_t index,
                                    const char **key, const char **value);

/* Typed access; false if the key is absent or of another type. Arrays: count of elements and pointers
 * that live as long as the checkpoint. */
WOQ_API bool woq_checkpoint_get_uint(const struct woq_checkpoint *checkpoint, const char *key, uint64_t *out);
WOQ_API bool woq_checkpoint_get_float(const struct woq_checkpoint *checkpoint, const char *key, double *out);
WOQ_API bool woq_checkpoint_get_bool(const struct woq_checkpoint *checkpoint, const char *key, bool *out);
WOQ_API bool woq_checkpoint_get_string(const struct woq_checkpoint *checkpoint, const char *key,
                               const char **text, size_t *size);
struct woq_text {
    const char *text; /* not terminated */
    size_t size;
};
WOQ_API bool woq_checkpoint_get_strings(const struct woq_checkpoint *checkpoint, const char *key,
                                const struct woq_text **out, size_t *count);
WOQ_API bool woq_checkpoint_get_floats(const struct woq_checkpoint *checkpoint, const char *key,
                               const float **out, size_t *count);
WOQ_API bool woq_checkpoint_get_ints(const struct woq_checkpoint *checkpoint, const char *key,
                             const int32_t **out, size_t *count);

/* The model's shape, from metadata or config.json, checked against the tensors' shapes.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (missing or contradictory); UNSUPPORTED
 * (architecture). */
WOQ_API enum woq_status woq_checkpoint_config(const struct woq_checkpoint *checkpoint,
                                      struct woq_model_config *out);

#ifdef __cplusplus
}
#endif
#endif
