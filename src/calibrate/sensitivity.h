/*
 * sensitivity.h: how much a model's output changes when one stage of one layer alone is quantized.
 *
 * A unit is a stage of a decoder layer: q/k/v, o, gate/up or down, whose matrices share a format. It gets its planned
 * format, by scales of the least error weighted with the second moments of its inputs (woqi_grids_search) and codes to
 * nearest, while all else stays FP16. Then its divergence is the mean of KL(original ‖ changed), in nats, over every
 * second position of the samples (1, 3, 5 …, so that each has a context): of the distributions of the next token, of
 * the original model and of the changed one. Nothing is approximated beyond the choice of positions: the changed model
 * runs from the unit's layer to the end, so a unit of the first layer takes as long as a forward, one of the last as
 * long as lm_head.
 *
 * With L layers of W weights, V·H weights of lm_head and T tokens that is 2·T·(4·(L+3)·L/2·W + 4·L·V·H/2) operations:
 * SmolLM2-135M (L 30, W 3.5e6, V·H 28e6), T 2048: 3.6e13.
 *
 * Memory: the device holds the whole model as FP16, and host or file (woqi_activations, limit `memory`) the residual
 * stream at each layer's input, 4·T·H·L bytes, and the original's logits, 2·T·V: 142 and 201 MB for SmolLM2.
 */
#ifndef WOQI_SENSITIVITY_H
#define WOQI_SENSITIVITY_H

#include "../model/stage.h"
#include "../quantize/quantizer.h"
#include "samples.h"

#include <woq/calibrate.h>

struct woqi_unit {
    uint32_t layer;
    enum woqi_stage stage;
    uint32_t count;                         /* of matrices */
    size_t tensors[WOQI_STAGE_PARTS];       /* of the checkpoint */
    uint64_t weights;
    uint64_t bits;                          /* of all of them as planned: codes, scales, zeros; 16 a weight if FP16 */
    bool kept;                              /* stays FP16 by the plan: its numbers are 0 */
    double kl;                              /* nats */
    double relative_error;                  /* of its output, √(Σ error² / Σ y²) */
};

struct woqi_sensitivity {
    uint32_t count; /* 4 · layers, in the order of the model */
    struct woqi_unit *units;
};

/* The units of a plan, not measured. Released by woqi_sensitivity_release, which accepts a zeroed one.
 * Returns WOQ_OK; INVALID_DATA (a matrix is missing or of another shape); OUT_OF_MEMORY. */
enum woq_status woqi_sensitivity_list(const struct woqi_plan *plan, struct woqi_sensitivity *out);
void woqi_sensitivity_release(struct woqi_sensitivity *s);

/* Samples, from the first on, and tokens of each that are used: sensitivity_tokens in all, or what there is. */
void woqi_sensitivity_extent(const struct woq_calibrate_params *params, const struct woqi_samples *samples,
                             uint32_t *count, uint32_t *rows);

/* Which layer is looked at, and how far all is, 0 … 1; false stops. */
typedef bool woqi_sensitivity_step_fn(void *user, uint32_t layer, double done);

/*
 * Measures the units of `s`. Takes of params: sensitivity_tokens, math, memory. spill: as woqi_streams_create.
 * The same call on the same device gives the same bits.
 * Returns WOQ_OK; INVALID_DATA (not finite: layer and stage named); TIMEOUT (stopped); and what blocks return.
 */
enum woq_status woqi_sensitivity_measure(struct woq_device *device, const struct woqi_plan *plan,
                                         const struct woqi_samples *samples,
                                         const struct woq_calibrate_params *params, const char *spill, uint32_t jobs,
                                         woqi_sensitivity_step_fn *step, void *user, struct woqi_sensitivity *s);

/* "qkv", "o", "gate_up", "down"; static. */
const char *woqi_stage_name(enum woqi_stage stage);

#endif
