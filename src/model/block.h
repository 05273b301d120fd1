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
/* rows: tokens of a sequence at most. No layer is loaded yet. */
enum woq_status woqi_block_create(struct woq_device *device, const struct woq_checkpoint *checkpoint, uint32_t rows,
                                  enum woq_math math, struct woqi_block **out);
void woqi_block_destroy(struct woqi_block **block);
const struct woq_model_config *woqi_block_config(const struct woqi_block *block);

/* Norms and biases of the layer; its weights, of all stages, as FP16 if `weights`, else none until they are set. */
enum woq_status woqi_block_load(struct woqi_block *block, uint32_t layer, bool weights);
/* Replaces a stage's weights: as many sources as the stage has matrices, of any formats (gate and up alike). */
enum woq_status woqi_block_set(struct woqi_block *block, enum woqi_stage stage,
                               const struct woq_weights_source *sources);
/* The norm in front of QKV or GATE_UP: [hidden], to be read or overwritten. */
float *woqi_block_norm(struct woqi_block *block, enum woqi_stage stage);

/* Embeddings of tokens: h [count][hidden]. */
enum woq_status woqi_block_embed(struct woqi_block *block, const int32_t *tokens, uint32_t count, float *h);
/* x [count][hidden] FP16 = norm(h), of QKV or GATE_UP. */
enum woq_status woqi_block_input(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const float *h,
                                 uint16_t *x);
enum woq_status woqi_block_attention(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *a);
enum woq_status woqi_block_gate_up(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *g);
enum woq_status woqi_block_add(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const uint16_t *x,
                               float *h);

#endif
