/*
 * windows.h: a text in disjoint windows, and the sums that become a perplexity: what the files that measure
 * models on a text share.
 *
 * Of a window's tokens the last is only a target, and the model gets the others. Scored are the last
 * window − window/2 − 1 predictions, so that each sees at least half a window.
 */
#ifndef WOQI_MODEL_WINDOWS_H
#define WOQI_MODEL_WINDOWS_H

#include "model_impl.h"

/* What a caller asks for: tokens [count], and the rest as woq_model_perplexity takes it. */
struct woqi_text {
    const int32_t *tokens;
    size_t count;
    uint32_t window;
    int32_t bos;
    uint64_t max_windows; /* 0 = all */
};

struct woqi_windows {
    const int32_t *tokens;   /* borrowed */
    int32_t *input;          /* [window] */
    uint64_t count;          /* of windows */
    uint32_t window, scored; /* tokens of each */
    int32_t bos;
};

/* INVALID_ARGUMENT where the model cannot read the text so; function: its name, for the message. */
enum woq_status woqi_windows_check(const char *function, const struct woq_model *model, const struct woqi_text *text);
/* Of a checked text. *out is to be released, after a failure too. */
enum woq_status woqi_windows_create(const char *function, const struct woqi_text *text, struct woqi_windows *out);
void woqi_windows_release(struct woqi_windows *windows);
/* The token that follows each of the scored rows of window `index`. */
const int32_t *woqi_windows_targets(const struct woqi_windows *windows, uint64_t index);
/* Empties the KV cache and runs window `index`; the sink gets its scored rows. */
enum woq_status woqi_windows_run(const struct woqi_windows *windows, uint64_t index, struct woq_model *model,
                                 woqi_sink_fn *sink, void *user);

/* Negative log-likelihoods so far. */
struct woqi_likelihood {
    double *means; /* [windows] */
    double sum, squares;
    uint64_t windows, scored;
};
/* *out is to be released, after a failure too. */
enum woq_status woqi_likelihood_create(const char *function, uint64_t windows, struct woqi_likelihood *out);
void woqi_likelihood_release(struct woqi_likelihood *likelihood);
/* One more window: nll [scored]. */
void woqi_likelihood_add(struct woqi_likelihood *likelihood, const double *nll, uint32_t scored);
double woqi_likelihood_perplexity(const struct woqi_likelihood *likelihood);
/* All but out->seconds; the means become out's. */
void woqi_likelihood_finish(struct woqi_likelihood *likelihood, struct woq_perplexity *out);

double woqi_seconds(void); /* since an arbitrary moment */

#endif
