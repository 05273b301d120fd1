/* calibrate.c: a calibrated quantization from its arguments to the written checkpoint. */
#include "model/windows.h"

#include "run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum woq_status bad(const char *what, const char *why)
{
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "calibration: %s %s", what, why);
}

static bool is_share(float v)
{
    return v >= 0 && v <= 1;
}

static enum woq_status check(const struct woq_calibrate_params *p)
{
    if (!p)
        return bad("calibration", "is NULL");
    if (p->struct_size < sizeof *p)
        return bad("calibration.struct_size", "is too small; use WOQ_CALIBRATE_PARAMS_INIT");
    if (p->method < WOQ_METHOD_MSE || p->method > WOQ_METHOD_AWQ_GPTQ)
        return bad("method", "must be MSE, AWQ, GPTQ or AWQ_GPTQ");
    if (!p->text)
        return bad("text", "is NULL; it must be a file");
    if (!p->samples || p->samples > 1u << 20)
        return bad("samples", "must be 1 to 2^20");
    if (p->window < 2 || p->window > 1u << 20)
        return bad("window", "must be 2 to 2^20 tokens");
    if (!(p->damping > 0) || !(p->damping <= 1))
        return bad("damping", "must be above 0, at most 1");
    if (!is_share(p->input_share) || !is_share(p->residual_share))
        return bad("input_share and residual_share", "must be 0 to 1");
    if (p->budget != 0 && !(p->budget > 0 && isfinite(p->budget)))
        return bad("budget", "must be a number of bits a weight, or 0 for none");
    if (woqi_run_wants_sensitivity(p) && p->sensitivity_tokens < 2)
        return bad("sensitivity_tokens", "must be 2 or more");
    return WOQ_OK;
}

static bool step(void *user)
{
    const struct woqi_run *r = user;
    const struct woq_calibrate_params *p = r->params;
    const double steps = (double)(r->before + r->streams.steps) / (double)r->steps;
    const double done = r->measuring + (1 - r->measuring) * steps;
    return !p->progress || p->progress(p->progress_user, r->what, r->layer, r->layers, done < 1 ? done : 1);
}

/* What cannot be written in the end is refused before hours are spent. */
static enum woq_status check_file(const char *path)
{
    return path ? woqi_atomic_file_check(path) : WOQ_OK;
}

static bool is_there(const char *path)
{
    return !path || !access(path, F_OK);
}

static enum woq_status check_outputs(const struct woqi_run *r, const char *directory)
{
    struct woqi_atomic_dir dir;
    enum woq_status st =
        woqi_atomic_dir_begin(&dir, directory, woq_checkpoint_path(r->checkpoint), r->plan.params->force);
    woqi_atomic_dir_end(&dir);
    if (!st)
        st = check_file(r->params->statistics);
    return st ? st : check_file(r->params->report);
}

static enum woq_status begin_statistics(struct woqi_run *r, const struct woq_model_config *config)
{
    const struct woq_calibrate_params *p = r->params;
    const enum woq_status st = woqi_statistics_create(config, &r->statistics);
    if (st)
        return st;
    const char *slash = strrchr(p->text, '/');
    snprintf(r->statistics.text, sizeof r->statistics.text, "%s", slash ? slash + 1 : p->text);
    r->statistics.samples = r->samples.count;
    r->statistics.window = r->samples.window;
    r->statistics.seed = p->seed;
    return woqi_checkpoint_fingerprint(r->checkpoint, r->statistics.model);
}

static enum woq_status read_samples(struct woqi_run *r)
{
    struct woq_tokenizer *tokenizer = NULL;
    const struct woq_calibrate_params *p = r->params;
    struct woq_model_config config = {.struct_size = sizeof config};
    enum woq_status st = woq_checkpoint_config(r->checkpoint, &config);
    if (!st && config.context && p->window > config.context)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "calibration: window is %u; the model's context ends at %u tokens", p->window,
                          config.context);
    if (!st)
        st = woq_tokenizer_create(r->checkpoint, &tokenizer);
    if (!st)
        st = woqi_samples_read(tokenizer, p->text, p->samples, p->window, p->seed, &r->samples);
    woq_tokenizer_destroy(&tokenizer);
    r->layers = config.layers;
    return st ? st : begin_statistics(r, &config);
}

static uint64_t steps_of(const struct woqi_run *r, bool paired)
{
    return (uint64_t)r->layers * r->samples.count * woqi_streams_steps(paired);
}

static enum woq_status start_streams(struct woqi_run *r, const char *spill, bool paired)
{
    enum woq_status st =
        woqi_streams_create(r->device, r->checkpoint, &r->samples, r->params, spill, paired, &r->streams);
    r->streams.step = step;
    r->streams.step_user = r;
    return st;
}

static void release(struct woqi_run *r)
{
    woqi_streams_release(&r->streams);
    woqi_statistics_release(&r->statistics);
    woqi_samples_release(&r->samples);
    woqi_sensitivity_release(&r->sensitivity);
    woqi_plan_free(&r->plan);
}

/* All of the original model's. */
static enum woq_status gather_statistics(struct woqi_run *r, const char *spill)
{
    enum woq_status st = start_streams(r, spill, false);
    r->what = "statistics";
    for (r->layer = 0; r->layer < r->layers && !st; r->layer++) {
        st = woqi_streams_load(&r->streams, r->layer);
        for (int stage = 0; stage < WOQI_STAGES && !st; stage++) {
            st = woqi_streams_gather(&r->streams, stage, NULL, woqi_run_statistics(r, stage));
            if (!st)
                st = woqi_run_check_finite(r, woqi_run_statistics(r, stage));
        }
        if (!st)
            st = woqi_streams_finish(&r->streams);
    }
    return st;
}

/* What the path is beside; "." where it has no slash. malloc'ed. */
static char *parent_of(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size && path[size - 1] != '/')
        size--;
    char *out = malloc(size + 2);
    if (out)
        snprintf(out, size + 2, "%.*s.", (int)size, path);
    return out;
}

/* What was gathered by a run without the original beside it is the quantized model's. */
static enum woq_status begin_apart(struct woqi_run *r)
{
    const struct woq_model_config config = *woqi_block_config(r->streams.quantized.block);
    r->before = r->streams.steps;
    woqi_streams_release(&r->streams);
    woqi_statistics_release(&r->statistics);
    return begin_statistics(r, &config);
}

/* An earlier run was killed behind its output: *taken, and that run's folder is removed, if it was this one. */
static enum woq_status take_output(struct woqi_run *r, const char *directory, bool *taken)
{
    char *identity = NULL, text[640];
    enum woq_status st = woqi_run_list_units(r);
    if (!st)
        st = woqi_run_identify(r, &identity);
    *taken = !st && woqi_results_has_output(directory, identity) && is_there(r->params->statistics) &&
             is_there(r->params->report);
    if (*taken)
        st = woqi_results_open(directory, identity, r->params->log, r->params->log_user, &r->results, &r->finished);
    if (*taken && !st) {
        snprintf(text, sizeof text, "'%.500s' is whole already: an earlier run was killed when it had written it",
                 directory);
        woqi_run_log(r->params, text);
    }
    free(identity);
    return st;
}

static enum woq_status quantize_layers(struct woqi_run *r, const char *directory)
{
    const bool paired = woqi_run_corrects(r->params), apart = r->params->statistics && !paired;
    char *identity = NULL, *parent = r->params->spill ? NULL : parent_of(directory);
    const char *spill = r->params->spill ? r->params->spill : parent;
    r->steps = steps_of(r, paired) + (apart ? steps_of(r, false) : 0);
    enum woq_status st = woqi_run_list_units(r);
    if (!st)
        st = woqi_run_identify(r, &identity);
    if (!st)
        st = woqi_results_open(directory, identity, r->params->log, r->params->log_user, &r->results, &r->finished);
    if (!st && r->sensitivity.count)
        st = woqi_run_choose_formats(r, spill);
    if (!st)
        st = start_streams(r, spill, paired);
    const uint32_t done = r->finished;
    if (!st && done) {
        char text[128];
        snprintf(text, sizeof text, "going on behind %u layer%s that an earlier run finished", done,
                 done > 1 ? "s" : "");
        woqi_run_log(r->params, text);
    }
    /* All were done when the run was killed: nothing has to run again but for the original's statistics. */
    const bool again = done < r->layers || (r->params->statistics && paired);
    for (r->layer = again ? 0 : r->layers; r->layer < r->layers && !st; r->layer++)
        st = r->layer < done ? woqi_layer_repeat(r) : woqi_layer_quantize(r);
    if (!st && apart)
        st = begin_apart(r);
    if (!st && apart)
        st = gather_statistics(r, spill);
    free(identity);
    free(parent);
    return st;
}

static enum woq_status write_all(struct woqi_run *r, const char *directory)
{
    enum woq_status st = WOQ_OK;
    r->plan.results = r->results;
    if (r->params->statistics)
        st = woqi_statistics_write(&r->statistics, r->params->statistics);
    if (!st && r->params->report)
        st = woqi_report_write(&r->plan, r->params, &r->samples, &r->sensitivity, r->results,
                               woqi_seconds() - r->start);
    return st ? st : woqi_quantize_write(&r->plan, directory, WOQI_SHARD_BYTES);
}

enum woq_status woq_quantize_calibrated(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                        const char *directory, const struct woq_quantize_params *params,
                                        const struct woq_calibrate_params *calibration)
{
    struct woqi_run r = {.device = device, .checkpoint = checkpoint, .params = calibration, .start = woqi_seconds()};
    if (!device || !checkpoint || !directory || !params)
        return bad(!device ? "device" : !checkpoint ? "checkpoint" : !directory ? "directory" : "params", "is NULL");
    if (params->struct_size < sizeof *params)
        return bad("params.struct_size", "is too small; use WOQ_QUANTIZE_PARAMS_INIT");
    struct woqi_threads before;
    enum woq_status st = check(calibration);
    if (st)
        return st;
    r.jobs = woqi_jobs(params->jobs);
    woqi_threads_begin(r.jobs, &before);
    st = woqi_plan_make(checkpoint, params, &r.plan);
    const bool written = !st && !params->force && woqi_results_has_output(directory, NULL);
    bool taken = false;
    if (!st && !written)
        st = check_outputs(&r, directory);
    if (!st)
        st = read_samples(&r);
    if (!st && written)
        st = take_output(&r, directory, &taken);
    if (!st && written && !taken)
        st = check_outputs(&r, directory);
    if (!st && !taken)
        st = quantize_layers(&r, directory);
    woqi_streams_release(&r.streams);
    if (!st && !taken)
        st = write_all(&r, directory);
    woqi_results_close(&r.results, st == WOQ_OK || (!r.finished && !r.noted));
    release(&r);
    woqi_threads_end(&before);
    return st;
}

enum woq_status woq_calibrate_statistics(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                         const struct woq_calibrate_params *calibration)
{
    struct woqi_run r = {.device = device, .checkpoint = checkpoint, .params = calibration, .start = woqi_seconds()};
    if (!device || !checkpoint)
        return bad(!device ? "device" : "checkpoint", "is NULL");
    enum woq_status st = check(calibration);
    if (!st && !calibration->statistics)
        st = bad("statistics", "is NULL; it must be the file to write");
    if (st)
        return st;
    char *parent = calibration->spill ? NULL : parent_of(calibration->statistics);
    struct woqi_threads before;
    woqi_threads_begin(0, &before);
    st = check_file(calibration->statistics);
    if (!st)
        st = read_samples(&r);
    r.steps = steps_of(&r, false);
    if (!st)
        st = gather_statistics(&r, calibration->spill ? calibration->spill : parent);
    if (!st)
        st = woqi_statistics_write(&r.statistics, calibration->statistics);
    free(parent);
    release(&r);
    woqi_threads_end(&before);
    return st;
}
