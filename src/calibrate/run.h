/*
 * run.h: a calibration that is going on.
 *
 *     calibrate.c        the public functions: checks, order, what is written in the end
 *     identity.c         what run it is
 *     choose_formats.c   formats by sensitivity and a budget
 *     layer.c            one decoder layer
 */
#ifndef WOQI_CALIBRATION_RUN_H
#define WOQI_CALIBRATION_RUN_H

#include "budget.h"
#include "calibration.h"

struct woqi_run {
    struct woq_device *device;
    const struct woq_checkpoint *checkpoint;
    const struct woq_calibrate_params *params;
    struct woqi_plan plan;
    struct woqi_samples samples;
    struct woqi_statistics statistics;
    struct woqi_streams streams;
    struct woqi_results *results;
    struct woqi_sensitivity sensitivity; /* without units if it is not asked for */
    uint32_t layers, layer, jobs;
    uint32_t finished; /* layers on the disk */
    bool noted;        /* the sensitivity is, too */
    const char *what; /* is being done */
    uint64_t before, steps; /* steps of streams that are gone; of all there will be */
    double measuring; /* the part of everything that measuring sensitivity is, 0 … 1 */
    double start;
};

/* Whether errors of the layers before are made up for, so that the original runs beside the quantized model. */
static inline bool woqi_run_corrects(const struct woq_calibrate_params *p)
{
    return (p->method == WOQ_METHOD_GPTQ || p->method == WOQ_METHOD_AWQ_GPTQ) &&
           (p->input_share > 0 || p->residual_share > 0);
}

static inline bool woqi_run_wants_sensitivity(const struct woq_calibrate_params *p)
{
    return p->budget > 0 || p->sensitivity;
}

static inline void woqi_run_log(const struct woq_calibrate_params *p, const char *text)
{
    if (p->log)
        p->log(p->log_user, WOQ_LOG_WARNING, text);
}

/* Everything that the bits of the result depend on, as JSON, malloc'ed. */
enum woq_status woqi_run_identify(const struct woqi_run *r, char **out);

/* The units, and whether the budget is one for them: before anything takes long. */
enum woq_status woqi_run_list_units(struct woqi_run *r);
/* Measures or recalls, and changes the plan by the budget. */
enum woq_status woqi_run_choose_formats(struct woqi_run *r, const char *spill);

/* Of an input of the layer at hand. */
struct woqi_channel_statistics *woqi_run_statistics(struct woqi_run *r, enum woqi_stage stage);
/* INVALID_DATA for activations that are not finite, which would poison every layer from there on. */
enum woq_status woqi_run_check_finite(const struct woqi_run *r, const struct woqi_channel_statistics *c);
/* r->layer of both models, as an earlier run left it; or to be quantized, and put among the results. */
enum woq_status woqi_layer_repeat(struct woqi_run *r);
enum woq_status woqi_layer_quantize(struct woqi_run *r);

#endif
