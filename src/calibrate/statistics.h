/*
 * statistics.h: what the inputs of a model's linear layers look like, channel by channel, and the file of it.
 *
 * The file is safetensors, so that any reader opens it: for each input, named by the first matrix that takes it
 * (model.layers.0.self_attn.q_proj, .o_proj, mlp.gate_proj, .down_proj), F32 [k] each:
 *     NAME.absmax   NAME.mean_abs   NAME.mean   NAME.second_moment
 * and NAME.histogram I64 [64]: of |x| of all channels; bin 0 is x = 0 and |x| < 2^-24, then 3 bins an octave … the last
 * takes what is beyond. Its __metadata__: "woq.kind": "statistics", "woq.model" (fingerprint of the checkpoint's
 * tensors), "woq.samples", "woq.window", "woq.seed", "woq.rows", "woq.text".
 */
#ifndef WOQI_STATISTICS_H
#define WOQI_STATISTICS_H

#include <woq/checkpoint.h>

#define WOQI_STATISTICS_BINS 64

struct woqi_channel_statistics {
    char name[128];
    uint64_t k, rows;
    float *absmax;                            /* [k] */
    double *sum_abs, *sum, *sum_squares;      /* [k] */
    uint64_t histogram[WOQI_STATISTICS_BINS];
    uint64_t not_finite;                      /* elements; they count nowhere else */
};

/* Of layers × 4 inputs, in the order of the model. */
struct woqi_statistics {
    uint32_t count;
    struct woqi_channel_statistics *inputs;
    char model[65];          /* fingerprint, see woqi_checkpoint_fingerprint */
    uint32_t samples, window;
    uint64_t seed;
    char text[256];          /* name of the calibration text */
};

enum woq_status woqi_statistics_create(const struct woq_model_config *config, struct woqi_statistics *out);
void woqi_statistics_release(struct woqi_statistics *s);
void woqi_statistics_add(struct woqi_channel_statistics *c, uint64_t rows, const float *x); /* x [rows][k] */

/* The file whole or not at all. DRIVER: the system's words. */
enum woq_status woqi_statistics_write(const struct woqi_statistics *s, const char *file);
/* INVALID_DATA: not such a file, or of another model (both fingerprints are named). */
enum woq_status woqi_statistics_read(const char *file, const struct woq_checkpoint *checkpoint,
                                     struct woqi_statistics *out);

/* 64 hexadecimal digits and NUL: of names, types, shapes and a sample of the bytes of all tensors. */
enum woq_status woqi_checkpoint_fingerprint(const struct woq_checkpoint *checkpoint, char out[65]);

#endif
