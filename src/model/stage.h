/*
 * stage.h: the stages of a decoder layer: what its matrices share, since they take the same input.
 */
#ifndef WOQI_STAGE_H
#define WOQI_STAGE_H

#include <woq/checkpoint.h>

enum woqi_stage { WOQI_STAGE_QKV, WOQI_STAGE_O, WOQI_STAGE_GATE_UP, WOQI_STAGE_DOWN, WOQI_STAGES };
#define WOQI_STAGE_PARTS 3

/* The matrices of a stage: q, k, v; o; gate, up; down. */
struct woqi_stage_info {
    uint32_t count;
    char names[WOQI_STAGE_PARTS][128]; /* "model.layers.3.self_attn.q_proj" */
    uint64_t rows[WOQI_STAGE_PARTS];
    uint64_t columns;
    char norm[128]; /* "model.layers.3.input_layernorm.weight"; "" for O and DOWN */
};

/* Returns WOQ_OK; INVALID_ARGUMENT (no such layer or stage). */
enum woq_status woqi_stage_describe(const struct woq_model_config *config, uint32_t layer, enum woqi_stage stage,
                                    struct woqi_stage_info *out);

#endif
