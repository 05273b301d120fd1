/*
 * block.h: one decoder layer by itself, stage by stage, with weights that can be exchanged between them.
 *
 *     stage       input x            what runs
 *     QKV         norm(h)            a = attention(x·[q k v]ᵀ + bias)        woqi_block_attention
 *     O           a                  h += a·oᵀ                               woqi_block_add
 *     GATE_UP     norm(h)            g = silu(x·gateᵀ)·(x·upᵀ)               woqi_block_gate_up
 *     DOWN        g                  h += g·downᵀ                            woqi_block_add
 *
 * A call takes one sequence of 1 … rows tokens, whose positions begin at 0. All arrays are the host's; products run on
 * the device as those of a model do, and give the same bits as woq_model_forward with the same weights and batch.
 */
#ifndef WOQI_BLOCK_H
#define WOQI_BLOCK_H

#include <woq/checkpoint.h>
#include <woq/command.h>
#include <woq/model.h>

#include "stage.h"

/* What does not depend on the layer: arena, rotary table, scratch; so that layers follow each other cheaply. */
struct woqi_block;
/*
 * rows: tokens of a sequence at most, above 0. No layer is loaded yet. Device and checkpoint must outlive the block.
 * Returns as woq_model_create.
 */
enum woq_status woqi_block_create(struct woq_device *device, const struct woq_checkpoint *checkpoint, uint32_t rows,
                                  enum woq_math math, struct woqi_block **out);
void woqi_block_destroy(struct woqi_block **block); /* writes NULL; accepts NULL */
const struct woq_model_config *woqi_block_config(const struct woqi_block *block);

/*
 * Norms and biases of the layer; its weights, of all stages, as FP16 if `weights`, else none until they are set. What
 * was loaded and set before is gone, after a failure too.
 * Returns WOQ_OK; INVALID_ARGUMENT (no such layer); INVALID_DATA (a tensor is missing, has another shape, is not
 * finite); and what woq_weights_create and woq_gemm_create return.
 */
enum woq_status woqi_block_load(struct woqi_block *block, uint32_t layer, bool weights);
/*
 * Replaces a stage's weights: as many sources as the stage has matrices, of any formats (gate and up alike); NULL: by
 * the checkpoint's, as FP16. Their arrays are read during the call. After a failure the stage has the weights that it
 * had.
 * Returns WOQ_OK; INVALID_ARGUMENT (a shape is not the stage's: named); INVALID_STATE (no layer is loaded); and what
 * woq_weights_create and woq_gemm_create return.
 */
enum woq_status woqi_block_set(struct woqi_block *block, enum woqi_stage stage,
                               const struct woq_weights_source *sources);
/* The norm in front of QKV or GATE_UP: [hidden], to be read or overwritten. NULL for O and DOWN, and without a
 * layer. */
float *woqi_block_norm(struct woqi_block *block, enum woqi_stage stage);

/* The functions below return WOQ_OK; INVALID_ARGUMENT (count, token, stage); INVALID_STATE (no layer is loaded, or the
 * stage has no weights); and what a run returns. */

/* Embeddings of tokens: h [count][hidden], of any count and without a layer; INVALID_DATA for what is not finite. */
enum woq_status woqi_block_embed(struct woqi_block *block, const int32_t *tokens, uint32_t count, float *h);
/* x [count][hidden] FP16 = norm(h), of QKV or GATE_UP; any count. */
enum woq_status woqi_block_input(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const float *h,
                                 uint16_t *x);
/* x [count][hidden], a [count][heads·head_dim]. */
enum woq_status woqi_block_attention(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *a);
/* x [count][hidden], g [count][intermediate]. */
enum woq_status woqi_block_gate_up(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *g);
/* h [count][hidden] += x·wᵀ, of O (x as a above) or DOWN (x as g). */
enum woq_status woqi_block_add(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const uint16_t *x,
                               float *h);

#endif
