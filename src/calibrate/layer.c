/* layer.c: one decoder layer: quantized stage by stage, or run again as an earlier run left it. */
#include "core/element.h"

#include "run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct woqi_channel_statistics *woqi_run_statistics(struct woqi_run *r, enum woqi_stage stage)
{
    return &r->statistics.inputs[r->layer * WOQI_STAGES + (uint32_t)stage];
}

/* Activations that are not finite would poison every layer from here on. */
enum woq_status woqi_run_check_finite(const struct woqi_run *r, const struct woqi_channel_statistics *c)
{
    if (!c->not_finite)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %llu of the inputs of '%s' are not finite; FP16 ends at 65504",
                      woq_checkpoint_path(r->checkpoint), (unsigned long long)c->not_finite, c->name);
}

/* ---- A layer that an earlier run finished ---- */

static enum woq_status take_stage(struct woqi_run *r, const struct woq_checkpoint *layer, enum woqi_stage stage)
{
    struct woqi_block *block = r->streams.quantized.block;
    const struct woq_model_config *config = woqi_block_config(block);
    struct woqi_stage_info info;
    struct woqi_stage_result planned;
    struct woq_weights_source sources[WOQI_STAGE_PARTS] = {{.codes = NULL}};
    enum woq_status st = woqi_stage_describe(config, r->layer, stage, &info);
    if (!st)
        st = woqi_stage_begin(&r->plan, &info, &planned);
    if (st || !planned.count)
        return st;
    const struct woq_tensor *norm = *info.norm ? woq_checkpoint_find(layer, info.norm) : NULL;
    if (norm)
        st = woq_tensor_read(norm, 0, 1, woqi_block_norm(block, stage));
    for (uint32_t i = 0; i < info.count && !st; i++)
        st = woq_checkpoint_packed_source(layer, info.names[i], &sources[i]);
    if (!st)
        st = woqi_block_set(block, stage, sources);
    for (uint32_t i = 0; i < info.count; i++)
        if (sources[i].codes)
            woq_source_release(&sources[i]);
    return st;
}

enum woq_status woqi_layer_repeat(struct woqi_run *r)
{
    const struct woq_checkpoint *layer;
    r->what = "running finished layers";
    enum woq_status st = woqi_results_layer(r->results, r->layer, &layer);
    if (!st)
        st = woqi_streams_load(&r->streams, r->layer);
    for (int stage = 0; stage < WOQI_STAGES && !st; stage++)
        st = take_stage(r, layer, stage);
    for (int stage = 0; stage < WOQI_STAGES && !st; stage++)
        st = woqi_streams_gather(&r->streams, stage, NULL, woqi_run_statistics(r, stage));
    return st ? st : woqi_streams_finish(&r->streams);
}

/* ---- A layer to be quantized ---- */

struct layer {
    struct woqi_stage_info info[WOQI_STAGES];
    struct woqi_stage_result stage[WOQI_STAGES];
    uint16_t *norm[WOQI_STAGES]; /* changed ones, in the checkpoint's type */
};

static enum woq_status set_stage(struct woqi_run *r, const struct woqi_stage_result *result, enum woqi_stage stage)
{
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    for (uint32_t i = 0; i < result->count; i++)
        sources[i] = result->part[i].source;
    return woqi_block_set(r->streams.quantized.block, stage, sources);
}

/* The norm gives x / s, rounded as the checkpoint will hold it. */
static enum woq_status fold_norm(struct woqi_run *r, struct layer *l, enum woqi_stage stage)
{
    const float *s = l->stage[stage].channel_scale;
    const uint64_t k = l->stage[stage].part[0].k;
    const enum woq_type type = r->plan.dtype;
    float *norm = woqi_block_norm(r->streams.quantized.block, stage);
    if (!(l->norm[stage] = malloc(k * sizeof **l->norm)))
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a norm");
    for (uint64_t i = 0; i < k; i++) {
        woqi_element_store(type, l->norm[stage], i, norm[i] / s[i]);
        norm[i] = woqi_element_load(type, l->norm[stage], i);
        if (!isfinite(norm[i]))
            return woq_report(WOQ_ERROR_INVALID_DATA, "'%s': element %llu leaves the range of %s when divided by AWQ's "
                              "channel scale", l->info[stage].norm, (unsigned long long)i,
                              woq_type_name(type));
    }
    return WOQ_OK;
}

/* Up's rows give x / s, and down's inputs are made anew. */
static enum woq_status fold_up(struct woqi_run *r, struct layer *l)
{
    enum woq_status st = woqi_stage_fold_rows(&l->stage[WOQI_STAGE_GATE_UP].part[1],
                                              l->stage[WOQI_STAGE_DOWN].channel_scale);
    if (!st)
        st = set_stage(r, &l->stage[WOQI_STAGE_GATE_UP], WOQI_STAGE_GATE_UP);
    return st ? st : woqi_streams_again(&r->streams);
}

/* Where AWQ's scales of a stage's inputs can go: a norm, or up. Those of o would have to be shared by the heads of a
 * group. */
static bool can_fold(const struct layer *l, enum woqi_stage stage)
{
    const struct woqi_stage_result *up = &l->stage[WOQI_STAGE_GATE_UP];
    if (stage == WOQI_STAGE_DOWN)
        return up->count == 2 && up->part[1].format.group != WOQ_GROUP_TENSOR;
    return stage != WOQI_STAGE_O;
}

static void tell_stage(const struct woqi_run *r, const struct woqi_stage_result *result)
{
    char text[256];
    if (result->dead) {
        snprintf(text, sizeof text, "%s: %llu of %llu channels of its input were always 0 in the samples",
                 result->part[0].name, (unsigned long long)result->dead, (unsigned long long)result->part[0].k);
        woqi_run_log(r->params, text);
    }
    if (result->unfolded) {
        snprintf(text, sizeof text, "%s: no channel scales: one would make a scale of what comes before 0 or infinite",
                 result->part[0].name);
        woqi_run_log(r->params, text);
    }
    if (result->damping > r->params->damping * 1.5f) {
        snprintf(text, sizeof text, "%s: damping was raised from %g to %g for its Hessian to be positive definite",
                 result->part[0].name, (double)r->params->damping, (double)result->damping);
        woqi_run_log(r->params, text);
    }
}

static enum woq_status quantize_stage(struct woqi_run *r, struct layer *l, enum woqi_stage stage)
{
    static const char *const names[] = {"q/k/v", "o", "gate/up", "down"};
    const struct woq_model_config *config = woqi_block_config(r->streams.quantized.block);
    struct woqi_channel_statistics *channels = woqi_run_statistics(r, stage);
    struct woqi_stage_result *result = &l->stage[stage];
    struct woqi_moments moments = {.k = 0};
    r->what = names[stage];
    enum woq_status st = woqi_stage_describe(config, r->layer, stage, &l->info[stage]);
    if (!st)
        st = woqi_stage_begin(&r->plan, &l->info[stage], result);
    if (st)
        return st;
    if (!result->count) {
        st = woqi_streams_gather(&r->streams, stage, NULL, channels);
        return st ? st : woqi_run_check_finite(r, channels);
    }
    const bool adds = stage == WOQI_STAGE_O || stage == WOQI_STAGE_DOWN;
    const bool residual = r->streams.paired && adds && r->params->residual_share > 0;
    const struct woqi_quantized *rows = stage == WOQI_STAGE_DOWN ? &l->stage[WOQI_STAGE_GATE_UP].part[1] : NULL;
    const struct woqi_stage_params params = {r->params, channels, r->jobs, can_fold(l, stage), rows};
    st = woqi_moments_create(l->info[stage].columns, residual ? config->hidden : 0,
                             r->streams.paired && r->params->input_share > 0, &moments);
    if (!st)
        st = woqi_streams_gather(&r->streams, stage, &moments, channels);
    if (!st)
        st = woqi_run_check_finite(r, channels);
    if (!st)
        st = woqi_stage_quantize(&params, &moments, result);
    woqi_moments_release(&moments);
    if (!st)
        tell_stage(r, result);
    if (!st)
        st = set_stage(r, result, stage);
    if (!st && result->channel_scale)
        st = stage == WOQI_STAGE_DOWN ? fold_up(r, l) : fold_norm(r, l, stage);
    return st;
}

static enum woq_status save_layer(struct woqi_run *r, const struct layer *l)
{
    struct woqi_result tensors[WOQI_STAGES * (WOQI_STAGE_PARTS + 1)];
    uint32_t count = 0;
    char *report = NULL;
    for (int s = 0; s < WOQI_STAGES; s++) {
        for (uint32_t i = 0; i < l->stage[s].count; i++)
            tensors[count++] = (struct woqi_result){.name = l->stage[s].part[i].name,
                                                    .matrix = &l->stage[s].part[i].source};
        if (l->norm[s])
            tensors[count++] = (struct woqi_result){.name = l->info[s].norm, .columns = l->info[s].columns,
                                                    .type = r->plan.dtype, .data = l->norm[s]};
    }
    enum woq_status st = woqi_report_layer(r->layer, l->stage, &report);
    if (!st)
        st = woqi_results_put(r->results, r->layer, tensors, count, report);
    if (!st)
        r->finished = r->layer + 1;
    free(report);
    return st;
}

enum woq_status woqi_layer_quantize(struct woqi_run *r)
{
    struct layer l = {.norm = {NULL}};
    r->what = "loading";
    enum woq_status st = woqi_streams_load(&r->streams, r->layer);
    for (int stage = 0; stage < WOQI_STAGES && !st; stage++)
        st = quantize_stage(r, &l, stage);
    r->what = "finishing";
    if (!st)
        st = woqi_streams_finish(&r->streams);
    if (!st)
        st = save_layer(r, &l);
    for (int s = 0; s < WOQI_STAGES; s++) {
        woqi_stage_release(&l.stage[s]);
        free(l.norm[s]);
    }
    return st;
}
