/*
 * calibration.h: what the files of a calibrated quantization share.
 *
 *     run.h         a calibration that is going on, and the files that lead it
 *     streams.c     the activations of all samples, of the quantized model and beside it the original's
 *     stage.c       the matrices of one stage: targets, scales, codes, errors
 *     sensitivity.c what each stage alone does to the output (sensitivity.h), budget.c formats by that (budget.h)
 *     report.c      what is told of them, as JSON
 */
#ifndef WOQI_CALIBRATION_H
#define WOQI_CALIBRATION_H

#include "model/block.h"
#include "quantize/quantizer.h"
#include "quantize/results.h"

#include "activations.h"
#include "moments.h"
#include "samples.h"
#include "sensitivity.h"
#include "statistics.h"

#include <woq/calibrate.h>

/* ---- streams.c ---- */

/* One model's activations. */
struct woqi_stream {
    struct woqi_block *block;
    struct woqi_activations h; /* [samples][window][hidden] f32: the residual stream */
    struct woqi_activations x; /* [samples][window][max(q, intermediate)] f16: inputs of o and down */
};

struct woqi_streams {
    const struct woqi_samples *samples;
    struct woqi_stream quantized, original;
    bool paired;          /* the original runs beside it */
    uint64_t width;       /* of a row of x */
    uint32_t batch;       /* samples whose rows are gathered before they are added up */
    float *x, *x0, *d;    /* [batch][window][width]: rows of the quantized model; if paired, the original's and between */
    uint16_t *norm;       /* [window][width]: of one sample */
    bool (*step)(void *user); /* after each sample; false stops. NULL = none */
    void *step_user;
    uint64_t steps;       /* samples that were run through a stage */
};

enum woq_status woqi_streams_create(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                    const struct woqi_samples *samples, const struct woq_calibrate_params *params,
                                    const char *spill, bool paired, struct woqi_streams *out);
void woqi_streams_release(struct woqi_streams *s); /* accepts a zeroed one */

/* The layer's FP16 weights for both models. */
enum woq_status woqi_streams_load(struct woqi_streams *s, uint32_t layer);
/* Runs all samples up to the input of `stage`, which adds to moments and statistics (NULL = not wanted): the original's
 * where it runs. A stage's input needs the stage before it to have its final weights. */
enum woq_status woqi_streams_gather(struct woqi_streams *s, enum woqi_stage stage, struct woqi_moments *moments,
                                    struct woqi_channel_statistics *statistics);
/* Makes the input of DOWN again, after gate and up were changed. */
enum woq_status woqi_streams_again(struct woqi_streams *s);
/* Ends a layer: h gains down's product. */
enum woq_status woqi_streams_finish(struct woqi_streams *s);
/* Samples times this is what one layer takes of `steps`. */
uint32_t woqi_streams_steps(bool paired);

/* ---- stage.c ---- */

#define WOQI_HISTOGRAM_BINS 48

/* A matrix of a stage: what it was, and what it became. */
struct woqi_quantized {
    char name[128];
    const struct woq_tensor *tensor;
    struct woq_format format;
    uint64_t n, k;
    struct woq_weights_source source; /* of malloc'ed arrays; codes NULL: stays as it is */
    double energy, error_rtn, error;  /* Σ over outputs of y², and of the error's square: rounding to nearest, this */
    float scale_min, scale_max, scale_median; /* |scale| */
    double clip;                      /* mean of what the grid's end is of the group's largest |w| */
    uint64_t negative, groups;        /* groups with a negative scale; all */
    float weight_limit;               /* largest |w| */
    uint64_t weights[WOQI_HISTOGRAM_BINS]; /* w, in equal steps from −weight_limit to weight_limit */
    uint64_t scales[WOQI_HISTOGRAM_BINS];  /* |scale|, in equal steps from scale_min to scale_max */
    double seconds;
};

struct woqi_stage_result {
    uint32_t count;
    struct woqi_quantized part[WOQI_STAGE_PARTS];
    float *channel_scale; /* [k] by AWQ: to be divided out of what comes before; NULL = none */
    float exponent;       /* AWQ's */
    float damping;        /* what was added to the Hessian, of its mean */
    uint64_t dead;        /* channels that were always 0 */
    uint64_t rows;        /* tokens */
    bool unfolded;        /* AWQ's scales had no place after all: a scale of a row would have become 0 or infinite */
};

struct woqi_stage_params {
    const struct woq_calibrate_params *calibration;
    const struct woqi_channel_statistics *channels; /* of the input; for AWQ */
    uint32_t jobs;
    bool fold; /* channel scales have a place to go to */
    const struct woqi_quantized *rows; /* it is these rows' scales; NULL = a norm */
};

/* The plan's formats for the stage's matrices; count 0 in *out if it stays FP16. */
enum woq_status woqi_stage_begin(const struct woqi_plan *plan, const struct woqi_stage_info *info,
                                 struct woqi_stage_result *out);
/* Reads the weights and makes the codes; moments are consumed. Without channel scales where params->rows cannot take
 * them: see `unfolded`. */
enum woq_status woqi_stage_quantize(const struct woqi_stage_params *params, struct woqi_moments *moments,
                                    struct woqi_stage_result *result);
/* Multiplies the scales of rows by 1 / channel_scale[row]: for up, when down's inputs were scaled. INVALID_DATA if a
 * scale becomes infinite, or 0 that was not. */
enum woq_status woqi_stage_fold_rows(struct woqi_quantized *part, const float *channel_scale);
void woqi_stage_release(struct woqi_stage_result *result); /* accepts a zeroed one */

/* ---- report.c ---- */
struct yyjson_mut_doc;
/* One layer's stages as JSON text, malloc'ed. */
enum woq_status woqi_report_layer(uint32_t layer, const struct woqi_stage_result stages[WOQI_STAGES], char **out);
/* All layers' texts in one document, to calibration->report, whole or not at all. sensitivity: without units if it was
 * not measured. */
enum woq_status woqi_report_write(const struct woqi_plan *plan, const struct woq_calibrate_params *calibration,
                                  const struct woqi_samples *samples, const struct woqi_sensitivity *sensitivity,
                                  struct woqi_results *results, double seconds);

#endif
