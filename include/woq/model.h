/*
 * woq/model.h: decoder-only transformers of the Llama family on a device (libwoq-model).
 *
 *     struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
 *     p.context = 512; p.batch = 512;
 *     st = woq_model_create(device, checkpoint, &p, &model);
 *     st = woq_model_forward(model, tokens, count, logits, count);     // appends to the KV cache
 *     woq_model_reset(model);
 *
 * All matrix products run on the device through woq/command.h, q/k/v and gate/up stacked, recorded once
 * and replayed; norms, rotary embedding, attention and sampling run on the host with OpenMP.
 *
 * Threading: one model must not be used by two threads at once; different ones may.
 */
#ifndef WOQ_MODEL_H
#define WOQ_MODEL_H

#include <woq/checkpoint.h>
#include <woq/command.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_model;

enum woq_model_weights {
    WOQ_MODEL_AS_STORED = 0, /* packed layers and GGUF blocks as they are; plain ones FP16 */
    WOQ_MODEL_F16,           /* everything dequantized to FP16 */
    WOQ_MODEL_QUANTIZED      /* linear layers rounded to nearest in `format`, on the fly */
};

/* Parts of the model, which take about as long each, that are packed and on the device; false stops. */
typedef bool woq_model_progress_fn(void *user, uint32_t done, uint32_t total);

struct woq_model_params {
    size_t struct_size;
    enum woq_model_weights weights;
    struct woq_format format; /* QUANTIZED: code, zero, scale, group */
    uint32_t context;         /* tokens of KV cache; 0 = min(model's, 4096) */
    uint32_t batch;           /* tokens of one forward at most; 0 = min(context, 512) */
    enum woq_type x_type;     /* of activations between products: F16 (0 = F16), BF16, F32 */
    enum woq_math math;
    woq_model_progress_fn *progress; /* NULL = none */
    void *progress_user;
};
#define WOQ_MODEL_PARAMS_INIT                                                                      \
    {sizeof(struct woq_model_params), WOQ_MODEL_AS_STORED, WOQ_FORMAT_INIT, 0, 0, WOQ_TYPE_NONE,   \
     WOQ_MATH_DEFAULT, NULL, NULL}

struct woq_model_info {
    size_t struct_size;
    struct woq_model_config config;
    uint64_t parameters;
    uint64_t weight_bytes;       /* of linear layers and embeddings as they lie on the device */
    double bits_per_weight;      /* of the linear layers of the decoder, scales and zeros included */
    char format[64];             /* "qb4w_g64_f16", "f16w", "mixed" */
    char path[32];               /* of the first layer's q/k/v product at the batch's M */
    char math[16];               /* of that product: "exact", "rounded" or "fixed16" */
    char decode_path[32];        /* of the same with one token */
    char decode_math[16];
};

/* Ownership: *out is the caller's; device and checkpoint may be released before it.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (missing tensor, wrong shape: named); UNSUPPORTED;
 * TIMEOUT (stopped by progress); and what woq_weights_create and woq_gemm_create return. */
WOQ_API enum woq_status woq_model_create(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                 const struct woq_model_params *params, struct woq_model **out);
WOQ_API void woq_model_destroy(struct woq_model **model);

WOQ_API enum woq_status woq_model_get_info(const struct woq_model *model, struct woq_model_info *out);

/* Runs `count` (1 … batch) tokens that follow those in the KV cache, and gives the logits of the last
 * `wanted` of them (0 … count) as [wanted][vocabulary] floats.
 * Returns WOQ_OK; INVALID_ARGUMENT (token outside the vocabulary, context full); and what a run returns. */
WOQ_API enum woq_status woq_model_forward(struct woq_model *model, const int32_t *tokens, uint32_t count,
                                  float *logits, uint32_t wanted);

WOQ_API void woq_model_reset(struct woq_model *model);             /* empties the KV cache */
WOQ_API uint32_t woq_model_position(const struct woq_model *model); /* tokens in the KV cache */

/* ---- Models on a text ---- */

typedef bool woq_eval_progress_fn(void *user, uint64_t done, uint64_t total, double perplexity);

/* A text in windows. A model reads each on its own, all but its last token, and the last predictions are scored. */
struct woq_text_params {
    size_t struct_size;
    const int32_t *tokens; /* [count] */
    size_t count;
    uint32_t window;       /* tokens: even, 4 to the model's batch */
    uint32_t stride;       /* 0: windows are disjoint and their last window − window/2 − 1 tokens scored, as llama.cpp's
                            * perplexity does; else below window: one begins each `stride` tokens, of which the last
                            * `stride` are scored. A tail that fills no window is dropped */
    int32_t bos;           /* token put in place of a window's first, −1 = none */
    uint64_t max_windows;  /* 0 = all */
    woq_eval_progress_fn *progress; /* after each window of each model, with that model's perplexity so far; false
                                     * stops; NULL = none */
    void *progress_user;
};
#define WOQ_TEXT_PARAMS_INIT {sizeof(struct woq_text_params), NULL, 0, 512, 0, -1, 0, NULL, NULL}

/* How many windows the text gives, 0 if it is too short, and how many tokens of each are scored.
 * Returns WOQ_OK; INVALID_ARGUMENT (window, stride). */
WOQ_API enum woq_status woq_text_windows(const struct woq_text_params *text, uint64_t *windows, uint32_t *scored);

/* How well a model predicts a text. */
struct woq_perplexity {
    size_t struct_size;
    double perplexity, standard_error;
    uint64_t scored, windows;
    double *window_nll; /* [windows] mean negative log-likelihood; malloc'ed, the caller's to free */
    double seconds;
};

/* Returns as woq_model_forward; INVALID_ARGUMENT (fewer than two disjoint windows of tokens, or than one with a
 * stride); TIMEOUT (stopped by progress). */
WOQ_API enum woq_status woq_model_perplexity(struct woq_model *model, const struct woq_text_params *text,
                                     struct woq_perplexity *out);

/* How far a model's predictions are from a baseline's over the tokens that woq_model_perplexity scores, as
 * llama.cpp's --kl-divergence defines it: for each the Kullback-Leibler divergence KL(baseline ‖ model) =
 * Σ p·ln(p/q) over the vocabulary, p the baseline's probabilities and q the model's, in binary64. In nats per
 * token. Standard errors come from how the windows' means scatter, as those of paired differences do: tokens of
 * one window are not independent. 0 with one window. */
struct woq_divergence {
    size_t struct_size;
    double mean, standard_error;
    double median, p90, p99, p999, max; /* of single tokens; between two of them in proportion */
    double agreement, agreement_error;  /* share of tokens for which both have the same likeliest one */
    double *window_kl, *window_agreement; /* [windows] means; malloc'ed, the caller's to free */
};

/* models [model_count ≥ 2], the first the baseline; perplexities [model_count]; out [model_count − 1], of those
 * after the first. Each window runs through all models in turn, so that all must be loaded; what else is held is the
 * baseline's logits of one window, scored × vocabulary floats, and 17 bytes a scored token and model. A model's
 * seconds are those of its windows, comparison included.
 * Returns as woq_model_perplexity; INVALID_ARGUMENT (vocabularies of different sizes). After a failure nothing
 * is to be freed. */
WOQ_API enum woq_status woq_model_divergence(struct woq_model *const *models, uint32_t model_count,
                                     const struct woq_text_params *text, struct woq_perplexity *perplexities,
                                     struct woq_divergence *out);

/* What one model made of a text, token by token: what the two above are computed from, for callers that keep it, as
 * to go on after an interruption. The arrays are the caller's. */
struct woq_text_scores {
    double *nll;     /* [windows][scored] negative log-likelihoods, nats */
    double *kl;      /* [windows][scored] divergence from the baseline; NULL of the baseline itself */
    uint8_t *same;   /* [windows][scored] 1: the likeliest token is the baseline's; NULL likewise */
    double *seconds; /* [windows] that the model took */
};

/* Runs the windows from `first` on through all models (model_count ≥ 1) in turn; scores [model_count] hold those
 * before, which go into progress's perplexities alone. When progress(done, total) is called, with total = windows ×
 * model_count, the scores of windows [0, done / model_count) are final.
 * Returns as woq_model_divergence. */
WOQ_API enum woq_status woq_model_score_text(struct woq_model *const *models, uint32_t model_count,
                                     const struct woq_text_params *text, uint64_t first,
                                     const struct woq_text_scores *scores);

/* From the scores of `windows` ≥ 1 windows of `scored` ≥ 1 tokens each. Returns WOQ_OK; INVALID_ARGUMENT;
 * OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_text_perplexity(const struct woq_text_scores *scores, uint64_t windows, uint32_t scored,
                                    struct woq_perplexity *out);
WOQ_API enum woq_status woq_text_divergence(const struct woq_text_scores *scores, uint64_t windows, uint32_t scored,
                                    struct woq_divergence *out);

/* A text that is scored after a prefix. */
struct woq_sequence {
    const int32_t *tokens; /* [count ≥ 1], what follows the prefix */
    uint32_t count;
    uint32_t scored; /* how many of the last ones count: 0 … count after a prefix of a token or more, else 0 …
                      * count − 1, as nothing tells how likely a first token is */
    const int32_t *choices; /* [choice_count] tokens that may follow the last one; NULL = none */
    uint32_t choice_count;
};

struct woq_sequence_score {
    double log_probability; /* Σ ln p of the scored tokens, each given all before it; natural logarithm */
    bool greedy;            /* each scored token was the likeliest in its place (the first of equals) */
    double *choices;        /* [choice_count] ln p of each choice; the caller's memory; NULL where there are none */
};

/* Scores `count` sequences that do not see each other, each as if it alone followed `prefix`, of prefix_count ≥ 0
 * tokens. The prefix is computed once; sequences are packed into forwards of up to the model's batch of tokens,
 * whatever their lengths, and cut where a forward ends, so the more of them are given at once, the fuller the
 * forwards. What was in the KV cache is gone, unless arguments are refused; afterwards it is empty.
 * Scores are those that the logits of woq_model_forward give for prefix and sequence alone, but for the order of
 * sums in attention, and in products whose path's order depends on M.
 * scores [count]: all but the address of `choices` is written.
 * Returns WOQ_OK; INVALID_ARGUMENT (a token outside the vocabulary; prefix and sequence longer than the context:
 * which, how long); OUT_OF_MEMORY; and what a run returns. */
WOQ_API enum woq_status woq_model_score(struct woq_model *model, const int32_t *prefix, uint32_t prefix_count,
                                const struct woq_sequence *sequences, uint32_t count,
                                struct woq_sequence_score *scores);

/* Greedy continuation: up to `max` ids to out, ending after eos (−1 = none); *made is their number. */
WOQ_API enum woq_status woq_model_generate(struct woq_model *model, const int32_t *prompt, size_t count,
                                   int32_t eos, int32_t *out, size_t max, size_t *made);

#ifdef __cplusplus
}
#endif
#endif
