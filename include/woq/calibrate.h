/*
 * woq/calibrate.h: quantization that looks at what a model's layers are given (libwoq-model).
 *
 *     struct woq_quantize_params q = WOQ_QUANTIZE_PARAMS_INIT;      // bits, group, symmetric, overrides …
 *     struct woq_calibrate_params c = WOQ_CALIBRATE_PARAMS_INIT;    // GPTQ, 128 windows of 512 tokens
 *     c.text = "book.txt";
 *     st = woq_quantize_calibrated(device, checkpoint, "SmolLM2-w4", &q, &c);
 *
 * Decoder layers are taken in turn, and in each q/k/v, o, gate/up and down: a stage's inputs come from what is
 * quantized already, so later ones can make up for errors of earlier ones. Products run on the device, the algebra on
 * the host (OpenBLAS, OpenMP).
 *
 * Threading: functions may be called from any thread; a device's own rules hold. OpenMP's and OpenBLAS's threads take
 * turns: OMP_WAIT_POLICY=passive in the environment keeps the first from the cores of the second (`woq quantize` sees
 * to that itself). Both are as many as woq_quantize_params.jobs, the environment's OMP_NUM_THREADS and
 * OPENBLAS_NUM_THREADS, the process's affinity and its control group's quota of CPU time all allow; OpenBLAS's number
 * is a setting of the process, which is put back when the call returns.
 */
#ifndef WOQ_CALIBRATE_H
#define WOQ_CALIBRATE_H

#include <woq/device.h>
#include <woq/gemm.h>
#include <woq/quantize.h>

#ifdef __cplusplus
extern "C" {
#endif

enum woq_method {
    WOQ_METHOD_MSE = 1,  /* scales by search: the least squared error, weighted by the inputs' second moments */
    WOQ_METHOD_AWQ,      /* that, after channels with large inputs were scaled up */
    WOQ_METHOD_GPTQ,     /* codes column by column, each making up for the ones before, on searched scales */
    WOQ_METHOD_AWQ_GPTQ  /* both */
};
/* "mse", "awq", "gptq", "awq+gptq"; static. */
WOQ_API const char *woq_method_name(enum woq_method method);

/* What is being done, in which of the decoder's layers, and how far all is, 0 … 1; false stops. */
typedef bool woq_calibrate_progress_fn(void *user, const char *what, uint32_t layer, uint32_t layers, double done);

struct woq_calibrate_params {
    size_t struct_size;
    enum woq_method method;
    const char *text;       /* a file: UTF-8, or JSON lines with a member "text", by the name's .jsonl */
    uint32_t samples;       /* windows of it, drawn by `seed` */
    uint32_t window;        /* tokens of each */
    uint64_t seed;
    float damping;          /* of GPTQ, of the mean of the Hessian's diagonal */
    bool natural_order;     /* GPTQ visits columns as they are, not those with the largest inputs first */
    /* How much of the error that reaches a layer from those before it is made up for, 0 … 1: in its inputs (GPTAQ,
     * arXiv 2504.02692), and in the residual stream that o and down add to. Above 0, the original model runs beside the
     * quantized one. */
    float input_share, residual_share;
    enum woq_math math;     /* of products */
    uint64_t memory;        /* bytes of activations above which they lie in a file */
    const char *spill;      /* directory of that file; NULL = the output's */
    /* A file to be written, as by woq_calibrate_statistics; NULL = none. It appears whole or not at all, where a link
     * leads; what is no regular file, as a pipe, is written into. */
    const char *statistics;
    const char *report;     /* likewise, JSON: each layer's errors, scales and times, and its sensitivity if measured */
    woq_calibrate_progress_fn *progress;
    void *progress_user;
    woq_log_fn *log;        /* what was unusual: damping raised, dead channels, an earlier run taken up */
    void *log_user;
    /* Above 0: bits a weight of the decoder's linear layers, scales and zeros included. Stages of layers whose rounding
     * changes the output most get 8 bits a channel or stay FP16, until these bits are spent; see sensitivity.h and
     * budget.h in src/calibrate. At least what the format itself needs, below 16. */
    float budget;
    uint32_t sensitivity_tokens; /* of the samples, by which that is measured; from 2 on */
    bool sensitivity;            /* measure it, for the report, without a budget too */
};
#define WOQ_CALIBRATE_PARAMS_INIT                                                                     \
    {sizeof(struct woq_calibrate_params), WOQ_METHOD_GPTQ, NULL, 128, 512, 0, 0.01f, false, 0.5f, 0.5f, \
     WOQ_MATH_DEFAULT, UINT64_C(1) << 30, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 2048, false}

/*
 * Writes `directory` as woq_quantize_checkpoint does, whole or not at all. Finished layers lie meanwhile beside it in
 * ".NAME.woq-work"; when the same call is made after a kill it goes on behind them and ends with the same bytes, which
 * depend on the device, its driver and the number of threads. The folder is removed at the end, and after a failure
 * before anything was finished.
 * Returns what woq_quantize_checkpoint, woq_device and woq_tokenizer functions return; INVALID_ARGUMENT (a budget that
 * cannot be met or leaves nothing to quantize: the least and the most are named); INVALID_DATA
 * (text too short; activations not finite: layer named; no damping made a Hessian positive definite); UNSUPPORTED (this
 * build has no OpenBLAS; architecture); TIMEOUT (stopped by progress: finished layers stay).
 */
WOQ_API enum woq_status woq_quantize_calibrated(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                                const char *directory, const struct woq_quantize_params *params,
                                                const struct woq_calibrate_params *calibration);

/* Only the statistics of the original model's inputs, to `calibration->statistics`: safetensors, for each input F32
 * [k] absmax, mean_abs, mean, second_moment and I64 [64] histogram of |x|; `woq inspect` shows it. */
WOQ_API enum woq_status woq_calibrate_statistics(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                                 const struct woq_calibrate_params *calibration);

#ifdef __cplusplus
}
#endif
#endif
