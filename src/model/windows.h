/*
 * windows.h: a text in windows, and the sums that become a perplexity: what the files that measure models on a text
 * share.
 *
 * Of a window's tokens the last is only a target, and the model gets the others. Scored are the last `scored`
 * predictions: of disjoint windows window − window/2 − 1, so that each sees at least half a window; of strided ones as
 * many as the next begins later, so that each token is scored once.
 */
#ifndef WOQI_MODEL_WINDOWS_H
#define WOQI_MODEL_WINDOWS_H

#include "model_impl.h"

struct woqi_windows {
    const int32_t *tokens; /* borrowed */
    int32_t *input;        /* [window] */
    uint64_t count;        /* of windows */
    uint32_t window, step, scored; /* tokens of each; from one's first to the next one's; scored of each */
    int32_t bos;
};

/* INVALID_ARGUMENT where the model cannot read the text so; function: its name, for the message. */
enum woq_status woqi_windows_check(const char *function, const struct woq_model *model,
                                   const struct woq_text_params *text);
/* Of a checked text. *out is to be released, after a failure too. */
enum woq_status woqi_windows_create(const char *function, const struct woq_text_params *text, struct woqi_windows *out);
void woqi_windows_release(struct woqi_windows *windows);
/* The token that follows each of the scored rows of window `index`. */
const int32_t *woqi_windows_targets(const struct woqi_windows *windows, uint64_t index);
/* Empties the KV cache and runs window `index`; the sink gets its scored rows. */
enum woq_status woqi_windows_run(const struct woqi_windows *windows, uint64_t index, struct woq_model *model,
                                 woqi_sink_fn *sink, void *user);

/* Sums over negative log-likelihoods. */
struct woqi_likelihood {
    double sum, squares;
    uint64_t scored;
};
/* One more window: nll [scored]; returns its mean. */
double woqi_likelihood_add(struct woqi_likelihood *likelihood, const double *nll, uint32_t scored);
double woqi_likelihood_perplexity(const struct woqi_likelihood *likelihood);

/* ---- score_text.c ---- */

/* woq_model_score_text for the function of this name. */
enum woq_status woqi_score_text(const char *function, struct woq_model *const *models, uint32_t count,
                                const struct woq_text_params *text, uint64_t first,
                                const struct woq_text_scores *scores);
/* Arrays for all windows of a checked text, of one model after the other; to be released after a failure too. */
enum woq_status woqi_text_scores_create(const char *function, const struct woq_text_params *text, uint32_t count,
                                        struct woq_text_scores **out);
void woqi_text_scores_release(struct woq_text_scores *scores, uint32_t count);

double woqi_seconds(void); /* since an arbitrary moment */

#endif
