/*
 * head.h: what follows a model's last layer by itself: the final norm and the product with lm_head.
 *
 * The product runs on the device as that of a model does.
 */
#ifndef WOQI_HEAD_H
#define WOQI_HEAD_H

#include <woq/checkpoint.h>
#include <woq/model.h>

struct woqi_head;
/*
 * rows: of h in one call at most, above 0. Weights are FP16. Device and checkpoint must outlive the head.
 * Returns as woq_model_create.
 */
enum woq_status woqi_head_create(struct woq_device *device, const struct woq_checkpoint *checkpoint, uint32_t rows,
                                 enum woq_math math, struct woqi_head **out);
void woqi_head_destroy(struct woqi_head **head); /* writes NULL; accepts NULL */

/* Gets logits [count][vocabulary] of rows `first` … of a call; they may be overwritten. */
typedef void woqi_head_sink_fn(void *user, uint32_t first, uint32_t count, float *logits);
/* h [count][hidden], the residual stream behind the last layer; the logits come piece by piece.
 * Returns WOQ_OK; INVALID_ARGUMENT (count); and what a run returns. */
enum woq_status woqi_head_run(struct woqi_head *head, uint32_t count, const float *h, woqi_head_sink_fn *sink,
                              void *user);

#endif
