/*
 * statistics.h: what the inputs of a model's linear layers look like, channel by channel, and the file of it.
 *
 * The file is safetensors, so that any reader opens it: for each input, named by the first matrix that takes it
 * (model.layers.0.self_attn.q_proj, .o_proj, mlp.gate_proj, .down_proj), F32 [k] each:
 *     NAME.absmax   NAME.mean_abs   NAME.mean   NAME.second_moment
 * and NAME.histogram I64 [64]: of |x| of all channels, two bins an octave: bin 0 has |x| < 2^-14 (below FP16's normal
 * numbers, and 0), bin b = 1 … 62 has 2^((b−1)/2 − 14) ≤ |x| < 2^(b/2 − 14), bin 63 what is from 2^17 on. Means are
 * over all rows; elements that are not finite count in none of these, so a histogram's sum falls short of rows·k by
 * them. Its __metadata__: "woq.kind": "statistics", "woq.model" (fingerprint of the checkpoint's
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

/* Zeroed, with names and sizes. Released by woqi_statistics_release, which accepts a zeroed one. */
enum woq_status woqi_statistics_create(const struct woq_model_config *config, struct woqi_statistics *out);
void woqi_statistics_release(struct woqi_statistics *s);
/* x [rows][k]. The same calls give the same bits, whatever the number of threads. */
void woqi_statistics_add(struct woqi_channel_statistics *c, uint64_t rows, const float *x);

/* The file whole or not at all. Returns WOQ_OK; INVALID_ARGUMENT (inputs of different rows, or of none); INVALID_DATA
 * (a mean beyond FP32); INVALID_STATE (another process writes it); OUT_OF_MEMORY; DRIVER (the system's words). */
enum woq_status woqi_statistics_write(const struct woqi_statistics *s, const char *file);
/* Sums are the file's means, FP32, times the rows; after a failure *out is zeroed.
 * Returns WOQ_OK; INVALID_ARGUMENT (no such file); INVALID_DATA (not such a file, or of another model: both
 * fingerprints are named); OUT_OF_MEMORY. */
enum woq_status woqi_statistics_read(const char *file, const struct woq_checkpoint *checkpoint,
                                     struct woqi_statistics *out);

/* 64 hexadecimal digits and NUL: of names, types, shapes and a sample of the bytes of all tensors, in any order of
 * files. Returns WOQ_OK; INVALID_DATA (no tensors). */
enum woq_status woqi_checkpoint_fingerprint(const struct woq_checkpoint *checkpoint, char out[65]);

#endif
