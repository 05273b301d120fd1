/*
 * woq/evaluate.h: benchmark tasks for language models, LAMBADA and MMLU (libwoq-model).
 *
 *     struct woq_task_params p = WOQ_TASK_PARAMS_INIT;
 *     p.kind = WOQ_TASK_MMLU; p.path = "mmlu";
 *     st = woq_task_open(&p, &task);
 *     woq_task_get_info(task, &info);
 *     predictions = calloc(info.examples, sizeof *predictions);
 *     st = woq_task_run(task, model, tokenizer, 0, predictions, NULL, NULL);
 *     st = woq_task_summarize(task, predictions, info.examples, &summary);
 *
 * What is asked and scored is what lm-evaluation-harness 0.4.13 asks and scores (tasks lambada_openai and mmlu):
 *
 * LAMBADA. A text is cut at its last space: what is before is the context, a space and the last word are the target;
 * white space that the context ends with goes to the target. The target's tokens are those of the whole text after as
 * many as the context alone has. An example is right if each of them is the likeliest in its place.
 *
 * MMLU. The prompt is one text:
 *
 *     The following are multiple choice questions (with answers) about SUBJECT.\n\n
 *     QUESTION\nA. CHOICE\nB. CHOICE\nC. CHOICE\nD. CHOICE\nAnswer: B\n\n      of each example
 *     QUESTION\nA. CHOICE\nB. CHOICE\nC. CHOICE\nD. CHOICE\nAnswer:            of the question
 *
 * without the line breaks that part it here; SUBJECT has spaces for underscores, QUESTION no white space at its ends.
 * Examples are the subject's first `shots` questions in dev; a question is never among its own. The answer is the
 * likeliest of " A", " B", " C", " D" to follow.
 *
 * Chat: what the model would be asked (LAMBADA: the context; MMLU: the prompt with description and examples) is one
 * user's turn, and what is scored begins the assistant's turn: LAMBADA's target as it is, MMLU's letters without the
 * space. A system's turn is before it only where a ChatML template spells one out for callers that give none. The
 * harness differs: there MMLU's description becomes the system's turn, and LAMBADA's target begins with white space
 * that the assistant's turn opens with.
 *
 * The begin-of-text token is put in front where woq_tokenizer_adds_bos says so, or the chat template.
 *
 * Too long for the model's context: of MMLU's prompt whole examples go, the first ones first; if that is not enough,
 * and from LAMBADA's text, tokens at the front, but not the begin-of-text token, which the harness drops too.
 *
 * Threading: a task is immutable; any number of threads may use it. A model's own rule holds.
 */
#ifndef WOQ_EVALUATE_H
#define WOQ_EVALUATE_H

#include <woq/model.h>
#include <woq/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_task;

enum woq_task_kind { WOQ_TASK_LAMBADA = 1, WOQ_TASK_MMLU };

struct woq_task_params {
    size_t struct_size;
    enum woq_task_kind kind;
    /* LAMBADA: a file of JSON lines, each an object with a string "text". MMLU: a folder with dev/SUBJECT_dev.csv and
     * SPLIT/SUBJECT_SPLIT.csv, CSV as RFC 4180 has it: either with the header "question,choice0,choice1,choice2,
     * choice3,answer" and answers 0 … 3, or, as the original has it, without one and with answers A … D. */
    const char *path;
    const char *split; /* MMLU: whose questions are asked; NULL = "test" */
    uint32_t shots;    /* MMLU: examples before a question; dev must have as many, or, where its own questions are
                        * asked, one more */
    uint64_t limit;    /* examples at most, drawn by `seed` and asked in the files' order; 0 = all */
    uint64_t seed;
    const char *chat;  /* NULL = plain text; else a form's name, or the text of a chat template that is of one of these
                        * forms: "chatml", "llama-3", "llama-2", "zephyr", "phi-3", "gemma" */
};
#define WOQ_TASK_PARAMS_INIT {sizeof(struct woq_task_params), WOQ_TASK_LAMBADA, NULL, NULL, 5, 0, 0, NULL}

struct woq_task_info {
    size_t struct_size;
    enum woq_task_kind kind;
    const char *name;  /* "lambada", "mmlu"; static */
    const char *chat;  /* the form's name; NULL = plain text; static */
    uint64_t examples;
    uint32_t groups;   /* subjects, in order of their names; LAMBADA: 1 */
    uint32_t shots;    /* LAMBADA: 0 */
    uint64_t hash;     /* of the examples in their order and of all that prompts are made of: a prediction that was
                        * stored with it may be taken up again, given the same model and tokenizer */
};

/* Reads all of the files. Ownership: *out is the caller's; params are borrowed for the call.
 * Returns WOQ_OK; INVALID_ARGUMENT (a file or folder cannot be read or is missing; a folder without questions);
 * INVALID_DATA (file and line named: no JSON, no text, a text of one word; columns of a number other than 6, a quote
 * that is not closed, an answer out of range; no examples; a subject with too few of dev for `shots`); UNSUPPORTED (a
 * chat template of no known form: the markers that were looked for are named); OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_task_open(const struct woq_task_params *params, struct woq_task **out);
WOQ_API void woq_task_close(struct woq_task **task); /* writes NULL; accepts NULL */
WOQ_API enum woq_status woq_task_get_info(const struct woq_task *task, struct woq_task_info *out);

/* Where an example comes from. */
struct woq_task_example {
    size_t struct_size;
    const char *group; /* "abstract_algebra"; LAMBADA: "lambada"; lives as long as the task */
    uint64_t number;   /* of it in its file, from 0 on: lines that are not blank; records after the header */
    uint32_t answer;   /* MMLU: the right one, 0 … 3; LAMBADA: 1 */
};
/* Returns WOQ_OK; INVALID_ARGUMENT (index beyond the examples). */
WOQ_API enum woq_status woq_task_get_example(const struct woq_task *task, uint64_t index,
                                             struct woq_task_example *out);

/* The prompt that an example gives before anything is dropped from it, as text: what is scored follows it. *text is
 * malloc'ed and terminated, the caller's to free. Returns WOQ_OK; INVALID_ARGUMENT; OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_task_prompt(const struct woq_task *task, uint64_t index, char **text, size_t *size);

/* One example's outcome. Plain numbers, so that a caller can store and reload them; it will not grow. Logarithms are
 * natural. */
struct woq_prediction {
    double log_probability; /* LAMBADA: Σ ln p of the target's tokens; MMLU: ln p of the right letter, among all
                             * tokens */
    double choices[4];      /* MMLU: ln p of the letters A … D, among all tokens; LAMBADA: 0 */
    uint32_t answer;        /* MMLU: 0 … 3, the likeliest of the letters, the first of equals; LAMBADA: 1 = all of the
                             * target's tokens are the likeliest in their places, 0 = not */
    uint32_t correct;       /* 0 or 1 */
    uint32_t truncated;     /* tokens dropped so that it fits in the context */
    uint32_t tokens;        /* that were left: what the model reads if it computes this example alone */
};

/* predictions [0, done) are final; false stops. */
typedef bool woq_task_progress_fn(void *user, uint64_t done, uint64_t total);

/*
 * Predicts the examples from `first` on; predictions [examples], of which those before `first` are left alone. In
 * pieces of some thousand tokens, after each of which progress (NULL = none) is called; going on later from a `done`
 * gives the same predictions as not to have stopped. Questions of a subject share the tokens that they begin with:
 * these are computed once a piece. The model's KV cache is empty afterwards.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL; first beyond the examples; a context in which a target has no room);
 * INVALID_DATA (a text that gives no token before its target; a probability that is not a number: example named);
 * UNSUPPORTED (letters that are not told apart by their last token alone); TIMEOUT (stopped by progress; what is done
 * is final); what woq_model_score returns. After a failure predictions that progress has called final still are.
 */
WOQ_API enum woq_status woq_task_run(const struct woq_task *task, struct woq_model *model,
                                     const struct woq_tokenizer *tokenizer, uint64_t first,
                                     struct woq_prediction *predictions, woq_task_progress_fn *progress, void *user);

struct woq_task_group {
    const char *name;     /* of the subject or category */
    const char *category; /* "STEM", "humanities", "social sciences", "other", as the MMLU paper has them (arXiv
                           * 2009.03300; the harness counts anatomy to STEM); NULL = a subject that it has not, or
                           * LAMBADA */
    uint64_t examples;
    double accuracy, accuracy_error; /* p and sqrt(p·(1 − p) / (n − 1)), the standard error of a mean of n zeros and
                                      * ones by their sample variance; 0 with fewer than 2 examples */
};

struct woq_task_summary {
    size_t struct_size;
    uint64_t examples, correct;
    uint64_t truncated; /* examples that lost tokens */
    double accuracy, accuracy_error; /* over all examples alike, so that subjects weigh as many as they have */
    /* LAMBADA: exp(−m), m the mean over examples of log_probability, and by the delta method its standard error
     * exp(−m)·s/√n, s the sample deviation of log_probability. MMLU: 0. */
    double perplexity, perplexity_error;
    uint32_t group_count, category_count;
    struct woq_task_group *groups;     /* [group_count] in the task's order */
    struct woq_task_group *categories; /* [category_count] of those that have examples; 0 for LAMBADA */
};

/* Of the first `count` predictions. *out is released by woq_task_summary_release; names live as long as the task.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL; count 0 or beyond the examples); OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_task_summarize(const struct woq_task *task, const struct woq_prediction *predictions,
                                           uint64_t count, struct woq_task_summary *out);
WOQ_API void woq_task_summary_release(struct woq_task_summary *summary); /* accepts a zeroed one and NULL */

/* Two models on the same examples. Differences are paired: of n differences d, one an example, the mean, and its
 * standard error s/√n with their sample deviation s; 0 with one example. */
struct woq_task_comparison {
    size_t struct_size;
    uint64_t examples;
    double accuracy_change, accuracy_change_error;           /* d = correct − baseline's */
    uint64_t gained, lost;                                   /* wrong in the baseline alone; right in it alone */
    double same_answers, same_answers_error;                 /* share of examples with the baseline's `answer` */
    double log_perplexity_ratio, log_perplexity_ratio_error; /* d = baseline's log_probability − this one's: for LAMBADA
                                                              * the mean is ln(perplexity / baseline's) */
    double log_probability_distance;                         /* mean |d| of the same d */
};

/* baseline, predictions [count]. Returns WOQ_OK; INVALID_ARGUMENT (NULL; count 0). */
WOQ_API enum woq_status woq_task_compare(const struct woq_prediction *baseline,
                                         const struct woq_prediction *predictions, uint64_t count,
                                         struct woq_task_comparison *out);

/* The chat template that a model's files carry: GGUF's tokenizer.chat_template; a directory's chat_template.jinja, or
 * in tokenizer_config.json chat_template, of several the one named "default". *text is malloc'ed and terminated, the
 * caller's to free; NULL if there is none. Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (a file that cannot be read
 * or is no JSON); OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_chat_template_read(const struct woq_checkpoint *checkpoint, char **text);

#ifdef __cplusplus
}
#endif
#endif
