/* eval.h: what the files of `woq eval` share. */
#ifndef WOQ_EVAL_H
#define WOQ_EVAL_H

#include "tool_model.h"

#include <woq/evaluate.h>
#include <woq/tokenizer.h>

enum { EVAL_TASKS = 2 }; /* the most: LAMBADA and MMLU */

struct eval_journal;

/* What a model may lose; NAN = the default of its bits. */
struct eval_bounds {
    double perplexity; /* percent */
    double kl;         /* nats a token */
    double drop;       /* of an accuracy: standard errors, or points of a percent */
    bool drop_in_points;
};

struct eval_options {
    const char *text_file; /* NULL = no perplexity */
    char *text;
    size_t text_size;
    uint64_t tokens; /* of the text at most; 0 = all */
    uint32_t window, stride; /* stride 0 = disjoint windows, second halves scored */
    bool kl; /* divergence from the first model */
    enum woq_type x; /* of activations between products */
    const char *prompt;
    uint32_t generate;
    const char *lambada, *mmlu, *split; /* NULL = not asked */
    uint32_t shots;
    uint64_t limit, seed;
    bool chat;
    struct eval_bounds bounds;
    bool gate, details; /* gate: the verdict is the exit status */
    const char *json, *html, *predictions, *state; /* files; NULL = none */
    enum woq_log_level log;
    bool progress;
    /* What a run opens: */
    struct woq_task *tasks[EVAL_TASKS];
    struct woq_task_info task_info[EVAL_TASKS];
    uint32_t task_count;
    struct eval_journal *journal; /* NULL = none */
    char date[24];
};

struct eval_verdict {
    bool given, passes;
    char text[1024]; /* what it fails, or what it passes */
};

/* One row: a model file in one form and math mode. */
struct eval_model {
    char *path;
    struct tool_weights weights;
    enum woq_math math;
    size_t index; /* of the row */
    bool done;
    char reason[TOOL_WHY]; /* why not, or why a task could not be done */
    struct woq_model_info info;
    const char *stored; /* element type of the file's first linear layer; NULL = packed */
    double load_seconds;
    int32_t bos; /* -1 = none */
    int32_t *ids; /* of the text, cut to `tokens` */
    size_t id_count;
    struct woq_text_scores scores;
    uint32_t scored; /* tokens of a window */
    struct woq_perplexity perplexity;
    double rate;        /* tokens/s of perplexity, the first window aside; 0 = not measured */
    bool paired;        /* with the first model: the two below are set */
    double change, change_error; /* ln(PPL / PPL of the first) */
    bool compared;      /* with the first model: divergence is set */
    struct woq_divergence divergence;
    struct woq_prediction *predictions[EVAL_TASKS];
    struct woq_task_summary summary[EVAL_TASKS];
    bool task_done[EVAL_TASKS]; /* the two above are set */
    bool task_compared[EVAL_TASKS]; /* with the first model: the below is set */
    struct woq_task_comparison comparison[EVAL_TASKS];
    struct eval_verdict verdict;
    char *generated;    /* NULL = no prompt */
    size_t prompt_tokens, generated_tokens;
    double decode_rate; /* tokens/s, the first two aside; 0 = not measured */
};

/* ---- eval_options.c ---- */
struct eval_request {
    struct eval_options eval;
    const char *device;
    struct tool_weights *weights;
    size_t weight_count;
    enum woq_math *maths;
    size_t math_count;
    struct eval_model *models;
    size_t count;
    bool help;
};
/* TOOL_OK, or what was reported; *out is to be released in both cases. */
int eval_parse(const char *command, int argc, char **argv, struct eval_request *out);
void eval_request_free(struct eval_request *request);

/* ---- eval_text.c ---- */
int eval_read_text(const char *command, struct eval_options *options);

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
bool eval_continue(const struct eval_options *options, struct eval_loaded *loaded, struct eval_model *model);
void eval_release(struct eval_loaded *loaded);
bool eval_give_up(struct eval_model *model, const char *format, ...) TOOL_PRINTF(2, 3);
bool eval_good(struct eval_model *model, enum woq_status status); /* else woq_last_message is the reason */

/* ---- eval_measure.c ---- */
/* The text through `count` models in turn, all of the same ids; the first is the baseline where there are several. All
 * of them are done, or give up. */
void eval_measure(const struct eval_options *options, struct woq_model *const *loaded, struct eval_model *const *models,
                  size_t count);

/* ---- eval_tasks.c ---- */
/* Opens options->tasks; the chat template is the first model's. */
int eval_open_tasks(const char *command, struct eval_options *options, const char *first_model);
void eval_close_tasks(struct eval_options *options);
/* Tokens of context that the longest prompt and its answer need. */
bool eval_longest_prompt(const struct eval_options *options, const struct woq_tokenizer *tokenizer,
                         struct eval_model *model, uint32_t *out);
/* A task that fails leaves the others, and what is known of the model. */
void eval_run_tasks(const struct eval_options *options, struct eval_loaded *loaded, struct eval_model *model);
/* One line of JSON for each example and model. */
int eval_write_predictions(const char *command, const struct eval_options *options, const struct eval_model *models,
                           size_t count);

/* ---- eval_pair.c ---- */
/* Compares all models but the first with it. */
void eval_pair(const struct eval_options *options, struct eval_model *models, size_t count);
/* "w4g64", or with the file where there are several; to be freed. */
char *eval_label(const struct eval_model *models, size_t count, size_t index);

/* ---- eval_verdict.c ---- */
/* Sets the verdicts of all models but the first; true: none fails. */
bool eval_judge(const struct eval_options *options, struct eval_model *models, size_t count);
/* What a model may have more, in percent, and how far it may be, in nats. */
double eval_perplexity_bound(const struct eval_options *options, const struct eval_model *model);
double eval_kl_bound(const struct eval_options *options, const struct eval_model *model);
void eval_print_verdict(const struct eval_model *models, size_t count, FILE *out);

/* ---- eval_identity.c ---- */
/* What the figures of a run depend on, as an object of JSON. */
yyjson_mut_doc *eval_identity(const struct eval_options *options, const struct woq_device_info *device,
                              const struct eval_model *models, size_t count);

/* ---- eval_journal.c: finished steps in a file ---- */
/* Takes up the file of a run of this identity, or begins one. */
int eval_journal_open(const char *command, const char *file, yyjson_mut_doc *identity, struct eval_journal **out);
void eval_journal_close(struct eval_journal **journal);
/* Why steps could not be written; NULL = they were. */
const char *eval_journal_broken(const struct eval_journal *journal);
/* Sets the scores of the windows that the file has without a gap; returns their number. */
uint64_t eval_journal_windows(const struct eval_journal *journal, size_t model, uint64_t windows, uint32_t scored,
                              const struct woq_text_scores *scores);
void eval_journal_add_window(struct eval_journal *journal, size_t model, uint64_t window, uint32_t scored,
                             const struct woq_text_scores *scores);
uint64_t eval_journal_predictions(const struct eval_journal *journal, size_t model, const char *task,
                                  struct woq_prediction *predictions, uint64_t count);
void eval_journal_add_predictions(struct eval_journal *journal, size_t model, const char *task, uint64_t first,
                                  uint64_t end, const struct woq_prediction *predictions);

/* A bar on stderr: what is going on, and how far. */
struct eval_bar {
    bool shown;
    char what[96];
    const char *name;    /* of what the rate counts */
    uint64_t unit;       /* of them in one step */
    uint64_t before;     /* steps that were done before it began */
    uint64_t first_done; /* steps at the first call */
    double start, first; /* seconds: at the beginning, and at the first call */
};
void eval_bar_begin(struct eval_bar *bar, bool shown, uint64_t unit, const char *format, ...)
    TOOL_PRINTF(4, 5);
/* user: the bar; perplexity 0 = none. */
woq_eval_progress_fn eval_bar_step;
woq_model_progress_fn eval_bar_load;
void eval_bar_end(struct eval_bar *bar);

/* ---- eval_report.c, eval_json.c, eval_html.c ---- */
/* Digits behind the point with which a number of this size has two. */
int eval_decimals(double leading);
void eval_print(const struct eval_options *options, const struct woq_device_info *device,
                const struct eval_model *models, size_t count, FILE *out);
int eval_write_json(const char *command, const struct eval_options *options,
                    const struct woq_device_info *device, const struct eval_model *models,
                    size_t count);
int eval_write_html(const char *command, const struct eval_options *options, const struct woq_device_info *device,
                    const struct eval_model *models, size_t count);

#endif
