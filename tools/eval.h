/* eval.h: what the files of `woq eval` share. */
#ifndef WOQ_EVAL_H
#define WOQ_EVAL_H

#include "tool_model.h"

#include <woq/tokenizer.h>

struct eval_options {
    const char *text_file; /* NULL = no perplexity */
    char *text;
    size_t text_size;
    uint64_t tokens; /* of the text at most; 0 = all */
    uint32_t window, stride; /* stride 0 = disjoint windows, second halves scored */
    bool kl; /* divergence from the first model */
    const char *prompt;
    uint32_t generate;
    enum woq_log_level log;
    bool progress;
};

/* One row: a model file in one form and math mode. */
struct eval_model {
    char *path;
    struct tool_weights weights;
    enum woq_math math;
    bool done;
    char reason[TOOL_WHY];
    struct woq_model_info info;
    const char *stored; /* element type of the file's first linear layer; NULL = packed */
    double load_seconds;
    int32_t *ids; /* of the text, cut to `tokens` */
    size_t id_count;
    struct woq_perplexity perplexity;
    double rate;        /* tokens/s of perplexity, the first window aside; 0 = not measured */
    bool paired;        /* with the first model: the two below are set */
    double change, change_error; /* ln(PPL / PPL of the first) */
    bool compared;      /* with the first model: divergence is set */
    struct woq_divergence divergence;
    char *generated;    /* NULL = no prompt */
    size_t prompt_tokens, generated_tokens;
    double decode_rate; /* tokens/s, the first two aside; 0 = not measured */
};

/* Loads, measures and releases one model; model->done says whether it went well, else reason. */
void eval_run(const struct eval_options *options, struct woq_device *device,
              struct eval_model *model);
/* The same of all models together, window by window through all of them, with divergences from the first. */
void eval_run_together(const struct eval_options *options, struct woq_device *device,
                       struct eval_model *models, size_t count);

/* ---- eval_run.c: the steps of both; false: model->reason says why ---- */

/* What belongs to a model while it is in memory. */
struct eval_loaded {
    struct woq_tokenizer *tokenizer;
    struct woq_model *model;
    int32_t *prompt; /* [prompt_tokens] */
};
/* *out is to be released, after a failure too. */
bool eval_load(const struct eval_options *options, struct woq_device *device, struct eval_model *model,
               struct eval_loaded *out);
int32_t eval_bos(const struct eval_loaded *loaded); /* of a window; -1 = none */
/* Of the model's ids; the caller adds what is to be told of progress. */
struct woq_text_params eval_text(const struct eval_options *options, const struct eval_loaded *loaded,
                                 const struct eval_model *model);
bool eval_measure(const struct eval_options *options, struct eval_loaded *loaded, struct eval_model *model);
bool eval_continue(const struct eval_options *options, struct eval_loaded *loaded, struct eval_model *model);
void eval_release(struct eval_loaded *loaded);
bool eval_give_up(struct eval_model *model, const char *format, ...) TOOL_PRINTF(2, 3);
bool eval_good(struct eval_model *model, enum woq_status status); /* else woq_last_message is the reason */

/* Fills paired, change and change_error of all models but the first. */
void eval_pair(struct eval_model *models, size_t count);

/* A bar on stderr: what is going on, and how far. */
struct eval_bar {
    bool shown;
    char what[96];
    const char *name;    /* of what the rate counts */
    uint64_t unit;       /* of them in one step */
    double start, first; /* seconds: at the beginning, and when the first step was done */
    double rate;         /* per second since the first step */
};
void eval_bar_begin(struct eval_bar *bar, bool shown, uint64_t unit, const char *format, ...)
    TOOL_PRINTF(4, 5);
/* user: the bar; perplexity 0 = none. */
woq_eval_progress_fn eval_bar_step;
woq_model_progress_fn eval_bar_load;
void eval_bar_end(struct eval_bar *bar);

void eval_print(const struct eval_options *options, const struct woq_device_info *device,
                const struct eval_model *models, size_t count, FILE *out);
int eval_write_json(const char *command, const struct eval_options *options,
                    const struct woq_device_info *device, const struct eval_model *models,
                    size_t count, const char *file);

#endif
