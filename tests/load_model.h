/* load_model.h: a model of a file or a directory, for tests. */
#ifndef TEST_LOAD_MODEL_H
#define TEST_LOAD_MODEL_H

#include <woq/model.h>
#include <woq/tokenizer.h>

#include "support/expect.h"

/* Activations in FP32. tokenizer: NULL = not wanted. False, and counted as an error, after a failure; what there is is
 * the caller's to destroy in both cases. */
static inline bool load_model(struct woq_device *device, const char *path, uint32_t context, uint32_t batch,
                              struct woq_model **model, struct woq_tokenizer **tokenizer)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_checkpoint *c = NULL;
    p.context = context;
    p.batch = batch;
    p.x_type = WOQ_F32;
    enum woq_status st = woq_checkpoint_open(path, NULL, &c);
    if (!st && tokenizer)
        st = woq_tokenizer_create(c, tokenizer);
    if (!st)
        st = woq_model_create(device, c, &p, model);
    woq_checkpoint_close(&c);
    EXPECT_OK(st);
    return !st;
}

#endif
