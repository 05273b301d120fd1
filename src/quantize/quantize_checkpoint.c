/* quantize_checkpoint.c: a checkpoint in, a directory of another out: the steps in turn. */
#include "quantizer.h"
#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a Hugging Face directory may hold beside its weights and config.json. */
static const char *const companions[] = {"tokenizer.json",      "tokenizer_config.json", "tokenizer.model",
                                         "special_tokens_map.json", "added_tokens.json", "vocab.json",
                                         "merges.txt",          "generation_config.json", "chat_template.jinja",
                                         "chat_template.json"};

static enum woq_status copy_companions(const struct woq_checkpoint *c, struct woqi_atomic_dir *dir)
{
    const char *from = woq_checkpoint_path(c);
    enum woq_status st = WOQ_OK;
    for (size_t i = 0; i < sizeof companions / sizeof *companions && !st; i++) {
        size_t size = strlen(from) + strlen(companions[i]) + 2;
        char *path = malloc(size);
        if (!path)
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a path");
        snprintf(path, size, "%s/%s", from, companions[i]);
        st = woqi_atomic_dir_copy(dir, path, companions[i]);
        free(path);
    }
    return st;
}

enum woq_status woqi_quantize_write(const struct woqi_plan *plan, const char *directory, uint64_t shard_bytes)
{
    const struct woq_checkpoint *c = plan->checkpoint;
    struct woqi_atomic_dir dir = {.fd = -1};
    enum woq_status st = woqi_atomic_dir_begin(&dir, directory, woq_checkpoint_path(c), plan->params->force);
    if (!st)
        st = woqi_ct_write_config(plan, &dir);
    if (!st)
        st = woq_checkpoint_container(c) == WOQ_CONTAINER_GGUF ? woqi_ct_write_tokenizer(plan, &dir)
                                                               : copy_companions(c, &dir);
    if (!st)
        st = woqi_ct_write_tensors(plan, &dir, shard_bytes);
    if (!st && plan->results)
        st = woqi_results_note_output(plan->results, dir.fd);
    if (!st)
        st = woqi_atomic_dir_commit(&dir);
    woqi_atomic_dir_end(&dir);
    return st;
}

enum woq_status woqi_quantize_checkpoint(const struct woq_checkpoint *checkpoint, const char *directory,
                                         const struct woq_quantize_params *params, uint64_t shard_bytes)
{
    struct woqi_plan plan = {0};
    enum woq_status st = woqi_plan_make(checkpoint, params, &plan);
    if (!st)
        st = woqi_quantize_write(&plan, directory, shard_bytes);
    woqi_plan_free(&plan);
    return st;
}

enum woq_status woq_quantize_checkpoint(const struct woq_checkpoint *checkpoint, const char *directory,
                                        const struct woq_quantize_params *params)
{
    if (!checkpoint || !directory || !params)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_quantize_checkpoint: %s is NULL",
                          !checkpoint ? "checkpoint" : !directory ? "directory" : "params");
    if (params->struct_size < sizeof *params)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_quantize_checkpoint: params.struct_size is %zu; must be >= %zu "
                          "(WOQ_QUANTIZE_PARAMS_INIT)",
                          params->struct_size, sizeof *params);
    return woqi_quantize_checkpoint(checkpoint, directory, params, WOQI_SHARD_BYTES);
}
