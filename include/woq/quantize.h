/*
 * woq/quantize.h: weights to 4 and 8 bits, and checkpoints of them (libwoq-model).
 *
 *     struct woq_quantize_params p = WOQ_QUANTIZE_PARAMS_INIT;
 *     p.bits = 4; p.group = 64; p.symmetric = true;
 *     st = woq_quantize_checkpoint(checkpoint, "SmolLM2-w4", &p);
 *
 * The output is a directory that vLLM, SGLang and transformers load as it is: compressed-tensors
 * `pack-quantized` safetensors, config.json, tokenizer files.
 *
 * Threading: functions may be called from any thread.
 */
#ifndef WOQ_QUANTIZE_H
#define WOQ_QUANTIZE_H

#include <woq/checkpoint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* done and total in bytes of weights; return false to stop: the call ends with WOQ_ERROR_TIMEOUT and
 * leaves nothing behind. */
typedef bool woq_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);

/* A format for some layers. A pattern is a regular expression (PCRE2) that is searched for in names like
 * "model.layers.0.mlp.up_proj"; each must match a layer. */
struct woq_quantize_override {
    const char *pattern;
    uint32_t bits;  /* 4 or 8; 16: the layer stays FP16 */
    uint64_t group; /* as woq_quantize_params.group; bits 16: not used */
    bool symmetric; /* bits 16: not used */
};

struct woq_quantize_params {
    size_t struct_size;
    uint32_t bits;           /* 4 or 8 */
    uint64_t group;          /* columns; WOQ_GROUP_CHANNEL; WOQ_GROUP_TENSOR */
    bool symmetric;
    enum woq_type scale;     /* of the weights' scales; WOQ_TYPE_NONE = as config.json's dtype */
    const char *const *keep; /* regular expressions (PCRE2): layers whose name matches stay FP16; each must match one */
    size_t keep_count;
    uint32_t jobs;           /* threads, at most one a CPU that the process may use; 0 = all of them */
    bool force;              /* replace an existing output directory */
    woq_progress_fn *progress;
    void *progress_user;
    bool allow_unloadable;   /* write what only some loaders read, instead of refusing it */
    const struct woq_quantize_override *overrides; /* the last that matches a layer decides; `keep` comes before all */
    size_t override_count;
};
#define WOQ_QUANTIZE_PARAMS_INIT                                                                   \
    {sizeof(struct woq_quantize_params), 4, 128, true, WOQ_TYPE_NONE, NULL, 0, 0, false, NULL, NULL,   \
     false, NULL, 0}

/*
 * Round to nearest. w: [n][k] floats, row-major. Symmetric: scale = max|w| / (2^(bits−1) − 1), codes
 * −(2^(bits−1) − 1) … + 2^(bits−1) stored; asymmetric: scale = (max − min) / (2^bits − 1) over a range
 * that includes 0, zero = round(−min / scale). scale is rounded to its type before codes are chosen.
 * *out gets arrays of the library's, released by woq_source_release.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (a weight that is not finite: row and column named);
 * OUT_OF_MEMORY.
 */
WOQ_API enum woq_status woq_quantize_rtn(const struct woq_format *format, uint64_t n, uint64_t k, const float *w,
                                 struct woq_weights_source *out);

/* Whether a tensor or layer of this name stays FP16 under these parameters (embeddings, norms, lm_head, keep,
 * overrides of 16 bits). Loaders fuse q/k/v and gate/up, which must then be alike: a pattern that matches one part
 * takes all of its unit.
 * True for a pattern that does not compile. */
WOQ_API bool woq_quantize_keeps(const struct woq_quantize_params *params, const char *name);

/*
 * Quantizes all linear layers of the decoder and writes `directory`, whole or not at all (made aside
 * and renamed; what a killed run left aside, ".NAME.woq-partial", the next one clears). One scale for a
 * tensor is repeated for each row. What stays is written as F16, or BF16 if config.json says bfloat16.
 * Layers of several formats are listed by name in config.json, in a config group for each; transformers 5.23 loads
 * that, but not with CompressedTensorsConfig(dequantize=True).
 * Refused with the reason, layer by layer: what the format cannot say (K not a multiple of the group, asymmetric
 * 8 bits), and, unless allow_unloadable, what some loaders do not read: zero points (transformers), groups other
 * than 32, 64, 128 and rows (vLLM), scales of another type than the model's (rounded by transformers).
 * `force` replaces only an empty directory or a model's: files alone, config.json among them.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA; INVALID_STATE (another process is writing it);
 * UNSUPPORTED; OUT_OF_MEMORY; DRIVER (writing failed: the message has the system's words); TIMEOUT
 * (stopped by progress).
 */
WOQ_API enum woq_status woq_quantize_checkpoint(const struct woq_checkpoint *checkpoint, const char *directory,
                                        const struct woq_quantize_params *params);

#ifdef __cplusplus
}
#endif
#endif
