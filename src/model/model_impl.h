/*
 * model_impl.h: what the files of the model share.
 *
 * One forward of M tokens: the rows of the residual stream `h` lie in binary32 in one buffer, the
 * arena, beside what goes into and comes out of the products:
 *
 *     h [batch][hidden] f32      x [batch][hidden] X        qkv [batch][(heads + 2·kv)·dim] f32
 *     a [batch][heads·dim] X     g [batch][intermediate] X  logits [head_rows][vocabulary] f32
 *
 *     host   h = embeddings                       device  logits = x·headᵀ
 *     each layer: host   x = norm(h)              device  qkv = x·[q k v]ᵀ + bias
 *                 host   a = attention(qkv)       device  h = a·oᵀ + h
 *                 host   x = norm(h)              device  g = silu(x·gateᵀ)·(x·upᵀ); h = g·downᵀ + h
 *
 * The arena is mapped while the host computes, where the device has host memory; elsewhere the host
 * works on a copy, and the regions it wrote or will read are transferred.
 */
#ifndef WOQI_MODEL_IMPL_H
#define WOQI_MODEL_IMPL_H

#include <woq/model.h>

#include "segments.h"
#include "stage.h"

/* One kind of rows in the arena. */
struct woqi_region {
    uint64_t offset, row_bytes;
};

/* A recording of one or two products, and where its operands are bound. */
#define WOQI_PRODUCT_BINDINGS 12
struct woqi_product {
    struct woq_commands *commands;
    struct woq_binding binding[WOQI_PRODUCT_BINDINGS]; /* [0] is M */
    uint32_t count;
    bool bound;
};

struct woqi_layer {
    float *attention_norm, *ffn_norm; /* [hidden] */
    float *q_norm, *k_norm;           /* [head_dim]; NULL = none */
    struct woq_buffer *bias;          /* of q, k and v, f32; NULL = none */
    struct woqi_product qkv, o, ffn;
};

/*
 * Keys and values of one layer and one kv head. Keys lie in panels of 16 slots, [panel][dim][16],
 * so that one load has the same element of 16 keys; values are rows of dim, rounded up to 16. There are more
 * slots than positions, so that a forward of many texts finds room; memory of slots that were never used is
 * never touched.
 */
struct woqi_cache {
    uint32_t slots;               /* whole panels, of the context, a batch and a panel */
    float *keys, *values;         /* of all layers and heads */
    size_t key_stride, value_stride; /* floats from one head to the next */
    uint32_t value_row;           /* floats of one value */
};

struct woqi_loader;

struct woq_model {
    struct woq_device *device; /* during creation; later its objects keep it */
    struct woq_model_config config;
    uint32_t context, batch, head_rows;
    enum woq_type x_type;
    enum woq_math math;
    uint32_t position;
    struct woq_model_info info;

    uint16_t *embeddings; /* [vocabulary][hidden] f16 */
    float *final_norm;
    struct woqi_layer *layers;
    struct woqi_product head;
    float *rope; /* [context][head_dim / 2][cos, sin] */
    struct woqi_cache cache;
    float *scores; /* [threads][4][score_row], with room for queries and sums */
    size_t score_row;
    int threads; /* of OpenMP */

    struct woq_buffer *arena, *workspace;
    struct woqi_region h, x, qkv, a, g, logits;
    uint64_t arena_bytes, workspace_bytes;
    bool mapped;         /* the arena is host-visible */
    unsigned char *host; /* the mapping while it is mapped, or the copy */
};

/* ---- model.c ---- */
/* What the code divides by and allocates with. */
enum woq_status woqi_check_config(const struct woq_model_config *config);

/* ---- head.c ---- */
/* Rows of logits made at once for a batch: a multiple of 16, or the batch, that takes about 32 MiB. */
uint32_t woqi_head_rows(const struct woq_model_config *config, uint32_t batch);
/* The final norm, and the product with lm_head, recorded for head_rows; the arena is there. */
enum woq_status woqi_head_load(struct woqi_loader *loader);

/* ---- model_weights.c: a checkpoint's tensors as weights and host arrays ---- */

/* Matrices of one product, in the order of its columns, and what they become. */
struct woqi_stack {
    const char *names[3]; /* without ".weight" */
    uint64_t rows[3];
    uint32_t count;
    uint64_t columns;
    bool gated;  /* gate and up: must become one */
    bool linear; /* of the decoder: quantized, and counted in bits per weight */
};
struct woqi_stacked {
    struct woq_gemm *gemms[3]; /* neighbours of equal format are one */
    uint64_t first[3];         /* row of the stack at which each begins */
    uint32_t count;
};
struct woqi_loader {
    struct woq_model *model;
    const struct woq_checkpoint *checkpoint;
    const struct woq_model_params *params;
    uint64_t linear_elements, linear_bytes; /* payload */
    bool any_format;
};
/* What the products of a stack have in common besides their weights. */
struct woqi_epilogue {
    enum woq_type y_type;
    bool residual, bias;
    enum woq_activation activation;
    uint32_t max_m;
};
enum woq_status woqi_load_stack(struct woqi_loader *loader, const struct woqi_stack *stack,
                                const struct woqi_epilogue *epilogue, struct woqi_stacked *out);
/* The same of other matrices, of the stack's shapes; gate and up are of one format. */
enum woq_status woqi_make_stack(struct woqi_loader *loader, const struct woqi_stack *stack,
                                const struct woqi_epilogue *epilogue,
                                const struct woq_weights_source *sources, struct woqi_stacked *out);
void woqi_stacked_release(struct woqi_stacked *stacked);
/* A vector of `count` floats; *out is the caller's. */
enum woq_status woqi_load_vector(struct woqi_loader *loader, const char *name, uint64_t count,
                                 float **out);
enum woq_status woqi_load_embeddings(struct woqi_loader *loader);
/* Rows of them alone, h [count][hidden], rounded to FP16 as the loaded ones are. Tokens are of the vocabulary. */
enum woq_status woqi_read_embeddings(const struct woqi_loader *loader, const int32_t *tokens,
                                     uint32_t count, float *h);

/* ---- model_commands.c: the arena and the recordings ---- */
enum woq_status woqi_arena_create(struct woq_model *model);
/* The host may, or may no more, touch model->host. */
enum woq_status woqi_host_enter(struct woq_model *model);
enum woq_status woqi_host_leave(struct woq_model *model);
/* `rows` rows of a region to or from the device, where the arena is not mapped. */
enum woq_status woqi_upload(struct woq_model *model, const struct woqi_region *r, uint32_t rows);
enum woq_status woqi_download(struct woq_model *model, const struct woqi_region *r, uint32_t rows);
/* Records y = x·wᵀ, and with `then` after it y2 = y·w2ᵀ + y2. */
struct woqi_step {
    const struct woqi_stacked *stacked;
    const struct woqi_region *x, *y;
    struct woq_buffer *bias;
    bool residual;
};
enum woq_status woqi_product_record(struct woq_model *model, const struct woqi_step *steps,
                                    uint32_t count, uint32_t max_m, struct woqi_product *out);
/* Runs it for m rows; *ticket is to be waited for. */
enum woq_status woqi_product_submit(struct woqi_product *product, uint32_t m, uint64_t *ticket);
void woqi_product_release(struct woqi_product *product);
/* Gives the device `rows` rows of `in`, runs, and takes those of `out`; the host is within enter and leave. */
enum woq_status woqi_on_device(struct woq_model *model, struct woqi_product *product, uint32_t rows,
                               const struct woqi_region *in, const struct woqi_region *out);
static inline void *woqi_rows(const struct woq_model *model, const struct woqi_region *r)
{
    return model->host + r->offset;
}

/* ---- model_layer.c ---- */
/* Norms and biases; *out, zeroed before, is to be released after a failure too. */
enum woq_status woqi_layer_load_vectors(struct woqi_loader *loader, uint32_t layer, struct woqi_layer *out);
void woqi_layer_release(struct woqi_layer *layer);
/* A stage's weights; sources NULL: the checkpoint's, in the form that the parameters ask for. */
enum woq_status woqi_stage_load(struct woqi_loader *loader, uint32_t layer, enum woqi_stage stage,
                                const struct woq_weights_source *sources, struct woqi_stacked *out);
struct woqi_step woqi_stage_step(const struct woq_model *model, const struct woqi_layer *layer,
                                 enum woqi_stage stage, const struct woqi_stacked *stacked);
/* All of model->layers[layer]. */
enum woq_status woqi_layer_load(struct woqi_loader *loader, uint32_t layer);

/* ---- model_forward.c ---- */

/* Gets `count` rows of logits, the first of them that of row `first` of those wanted. They may be
 * overwritten. */
typedef void woqi_sink_fn(void *user, uint32_t first, uint32_t count, float *logits);
enum woq_status woqi_forward(struct woq_model *model, const int32_t *tokens, uint32_t count,
                             uint32_t wanted, woqi_sink_fn *sink, void *user);
/* Any rows, up to the batch, of a cache whose slots are the caller's to hand out: tokens are of the vocabulary,
 * positions within the context; model->position is neither read nor written. */
enum woq_status woqi_forward_segments(struct woq_model *model, const int32_t *tokens, struct woqi_segments *segments,
                                      woqi_sink_fn *sink, void *user);

/* Logits of the `wanted` rows at the front of h in the arena, in equal pieces of at most head_rows; the host is within
 * enter and leave. */
enum woq_status woqi_run_head(struct woq_model *model, uint32_t wanted, woqi_sink_fn *sink, void *user);

/* ---- Host operators ---- */

/* rows of y = x / sqrt(mean(x²) + epsilon) · weight, in type `type`. */
void woqi_norm_rows(const float *x, const float *weight, float epsilon, uint32_t width, void *y,
                    enum woq_type type, uint32_t rows, int threads);
/* The same of one head, in place. */
void woqi_norm_head(float *x, const float *weight, float epsilon, uint32_t width);

/* `count` floats to type f16, bf16 or f32. */
void woqi_convert(const float *x, void *y, enum woq_type type, size_t count);

/* Fills model->rope for its scaling variant. */
enum woq_status woqi_rope_create(struct woq_model *model);
/* Rotates one head of head_dim elements; table: [head_dim / 2][cos, sin] of its position. */
void woqi_rope_rotate(float *x, const float *table, uint32_t head_dim);

enum woq_status woqi_attention_create(struct woq_model *model);
/* Norms and rotates q and k of the rows in the arena, and puts k and v into their slots. */
void woqi_attention_append(struct woq_model *model, uint32_t layer, const struct woqi_segments *segments);
/* Rows of `a` from those of qkv, all or only the wanted ones. */
void woqi_attention(struct woq_model *model, uint32_t layer, struct woqi_segments *segments, bool all);

/* ln Σ exp(x), and the index of the largest (the first of equals). */
double woqi_log_sum(const float *x, size_t count);
uint32_t woqi_largest(const float *x, size_t count);

#endif
