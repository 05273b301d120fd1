/* bench_model.h: what the files of `woq bench --model` share. */
#ifndef WOQ_BENCH_MODEL_H
#define WOQ_BENCH_MODEL_H

#include "bench.h"
#include "tool_model.h"

enum { BENCH_PROMPT = 32 }; /* tokens before those that are decoded */

struct bench_model_options {
    const struct bench_options *bench; /* seconds of each of the two speeds, x, math, log, progress */
    uint32_t window;   /* tokens of a forward */
    uint32_t generate; /* tokens to decode at most */
};

struct bench_model {
    char *path;
    struct tool_weights weights;
};

/* One model in one form on one device. */
struct bench_model_row {
    bool done, usage;      /* usage: the device's selector is malformed */
    char reason[TOOL_WHY]; /* why not */
    struct woq_device_info device; /* empty selector = not opened */
    struct woq_model_info info;
    double open_seconds;   /* of the device, the first time in its process */
    double load_seconds;   /* from opening the file until the weights lie on the device */
    double window_seconds; /* median of a window; its last token is only predicted */
    double token_seconds;  /* median of a decoded token */
    uint32_t windows, tokens; /* measured; one window and two tokens before them are not */
    uint64_t peak_bytes;   /* of host memory, the mapped file included */
};

void bench_model_run(const struct bench_model_options *options, const char *selector,
                     const struct bench_model *model, struct bench_model_row *row);

/* Rows: devices × models. */
void bench_model_print(const struct bench_model_options *options, char *const *selectors,
                       size_t device_count, const struct bench_model *models, size_t model_count,
                       const struct bench_model_row *rows, FILE *out);
int bench_model_write_json(const char *command, const struct bench_model_options *options,
                           char *const *selectors, size_t device_count, const struct bench_model *models,
                           size_t model_count, const struct bench_model_row *rows, const char *file);

#endif
