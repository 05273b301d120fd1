/* calibrate.c: a calibrated quantization from its arguments to the written checkpoint, layer by layer. */
#include "budget.h"
#include "calibration.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yyjson.h>

static const char sensitivity_note[] = "sensitivity";

struct run {
    struct woq_device *device;
    const struct woq_checkpoint *checkpoint;
    const struct woq_calibrate_params *params;
    struct woqi_plan plan;
    struct woqi_samples samples;
    struct woqi_statistics statistics;
    struct woqi_streams streams;
    struct woqi_results *results;
    struct woqi_sensitivity sensitivity; /* without units if it is not asked for */
    uint32_t layers, layer, jobs;
    uint32_t finished; /* layers on the disk */
    const char *what; /* is being done */
    uint64_t before, steps; /* steps of streams that are gone; of all there will be */
    double measuring; /* the part of everything that measuring sensitivity is, 0 … 1 */
    double start;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum woq_status bad(const char *what, const char *why)
{
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "calibration: %s %s", what, why);
}

static bool is_share(float v)
{
    return v >= 0 && v <= 1;
}

static bool wants_sensitivity(const struct woq_calibrate_params *p)
{
    return p->budget > 0 || p->sensitivity;
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
    if (wants_sensitivity(p) && p->sensitivity_tokens < 2)
        return bad("sensitivity_tokens", "must be 2 or more");
    return WOQ_OK;
}

static void log_line(const struct woq_calibrate_params *p, const char *text)
{
    if (p->log)
        p->log(p->log_user, WOQ_LOG_WARNING, text);
}

static bool step(void *user)
{
    const struct run *r = user;
    const struct woq_calibrate_params *p = r->params;
    const double steps = (double)(r->before + r->streams.steps) / (double)r->steps;
    const double done = r->measuring + (1 - r->measuring) * steps;
    return !p->progress || p->progress(p->progress_user, r->what, r->layer, r->layers, done < 1 ? done : 1);
}

static bool corrects(const struct woq_calibrate_params *p)
{
    return (p->method == WOQ_METHOD_GPTQ || p->method == WOQ_METHOD_AWQ_GPTQ) &&
           (p->input_share > 0 || p->residual_share > 0);
}

/* What cannot be written in the end is refused before hours are spent. */
static enum woq_status check_file(const char *path)
{
    struct woqi_atomic_file file;
    if (!path)
        return WOQ_OK;
    const enum woq_status st = woqi_atomic_file_begin(&file, path);
    woqi_atomic_file_end(&file);
    return st;
}

static enum woq_status check_outputs(const struct run *r, const char *directory)
{
    struct woqi_atomic_dir dir;
    enum woq_status st =
        woqi_atomic_dir_begin(&dir, directory, woq_checkpoint_path(r->checkpoint), r->plan.params->force);
    woqi_atomic_dir_end(&dir);
    if (!st)
        st = check_file(r->params->statistics);
    return st ? st : check_file(r->params->report);
}

/* Everything that the bits of the result depend on, so that an earlier run's layers are taken for this one's only if
 * they are. */
static enum woq_status identify(const struct run *r, char **out)
{
    const struct woq_calibrate_params *p = r->params;
    const struct woq_device_info *device = woq_device_get_info(r->device);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a of the samples */
    for (uint64_t i = 0; i < (uint64_t)r->samples.count * r->samples.window; i++)
        hash = (hash ^ (uint32_t)r->samples.tokens[i]) * UINT64_C(0x100000001b3);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *formats = yyjson_mut_arr(doc);
    const struct woq_model_config *c = &r->plan.config;
    char samples[17], name[64], config[256];
    snprintf(config, sizeof config, "%s %u %u %u %a %a %d %a %a %a %u", c->architecture, c->heads, c->kv_heads,
             c->head_dim, (double)c->norm_epsilon, (double)c->rope_theta, (int)c->rope_scaling, (double)c->rope_factor,
             (double)c->rope_low_freq_factor, (double)c->rope_high_freq_factor, c->rope_original_context);
    snprintf(samples, sizeof samples, "%016llx", (unsigned long long)hash);
    yyjson_mut_doc_set_root(doc, root);
    bool fine = yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string()) &&
                yyjson_mut_obj_add_str(doc, root, "model", r->statistics.model) &&
                yyjson_mut_obj_add_strcpy(doc, root, "config", config) &&
                yyjson_mut_obj_add_str(doc, root, "dtype", woq_type_name(r->plan.dtype)) &&
                yyjson_mut_obj_add_str(doc, root, "method", woq_method_name(p->method)) &&
                yyjson_mut_obj_add_strcpy(doc, root, "samples", samples) &&
                yyjson_mut_obj_add_uint(doc, root, "count", r->samples.count) &&
                yyjson_mut_obj_add_uint(doc, root, "window", r->samples.window) &&
                yyjson_mut_obj_add_real(doc, root, "damping", (double)p->damping) &&
                yyjson_mut_obj_add_bool(doc, root, "natural_order", p->natural_order) &&
                yyjson_mut_obj_add_real(doc, root, "input_share", (double)p->input_share) &&
                yyjson_mut_obj_add_real(doc, root, "residual_share", (double)p->residual_share) &&
                yyjson_mut_obj_add_str(doc, root, "math", woq_math_name(p->math)) &&
                yyjson_mut_obj_add_str(doc, root, "device", device->name) &&
                yyjson_mut_obj_add_str(doc, root, "driver", device->driver) &&
                yyjson_mut_obj_add_uint(doc, root, "jobs", r->jobs) &&
                /* Formats by budget follow from what is measured, which lies with the layers. */
                yyjson_mut_obj_add_real(doc, root, "budget", (double)p->budget) &&
                yyjson_mut_obj_add_uint(doc, root, "sensitivity_tokens", p->budget > 0 ? p->sensitivity_tokens : 0) &&
                yyjson_mut_obj_add_val(doc, root, "formats", formats);
    for (size_t i = 0; i < woq_checkpoint_tensor_count(r->checkpoint) && fine; i++) {
        snprintf(name, sizeof name, "-");
        if (r->plan.use[i] == WOQI_USE_QUANTIZE)
            woq_format_name(&r->plan.formats[i], name, sizeof name);
        fine = yyjson_mut_arr_add_strcpy(doc, formats, name);
    }
    *out = fine ? yyjson_mut_write(doc, 0, NULL) : NULL;
    yyjson_mut_doc_free(doc);
    return *out ? WOQ_OK : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the run's description");
}

static enum woq_status begin_statistics(struct run *r, const struct woq_model_config *config)
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

static enum woq_status read_samples(struct run *r)
{
    struct woq_tokenizer *tokenizer = NULL;
    const struct woq_calibrate_params *p = r->params;
    struct woq_model_config config = {.struct_size = sizeof config};
    enum woq_status st = woq_checkpoint_config(r->checkpoint, &config);
    if (!st && config.context && p->window > config.context)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "calibration: window is %u; the model's context ends at %u tokens",
                          p->window, config.context);
    if (!st)
        st = woq_tokenizer_create(r->checkpoint, &tokenizer);
    if (!st)
        st = woqi_samples_read(tokenizer, p->text, p->samples, p->window, p->seed, &r->samples);
    woq_tokenizer_destroy(&tokenizer);
    r->layers = config.layers;
    return st ? st : begin_statistics(r, &config);
}

static uint64_t steps_of(const struct run *r, bool paired)
{
    return (uint64_t)r->layers * r->samples.count * woqi_streams_steps(paired);
}

static enum woq_status start_streams(struct run *r, const char *spill, bool paired)
{
    enum woq_status st =
        woqi_streams_create(r->device, r->checkpoint, &r->samples, r->params, spill, paired, &r->streams);
    r->streams.step = step;
    r->streams.step_user = r;
    return st;
}

static void release(struct run *r)
{
    woqi_streams_release(&r->streams);
    woqi_statistics_release(&r->statistics);
    woqi_samples_release(&r->samples);
    woqi_sensitivity_release(&r->sensitivity);
    woqi_plan_free(&r->plan);
}

static struct woqi_channel_statistics *statistics_of(struct run *r, enum woqi_stage stage)
{
    return &r->statistics.inputs[r->layer * WOQI_STAGES + (uint32_t)stage];
}

/* Activations that are not finite would poison every layer from here on. */
static enum woq_status check_finite(const struct run *r, const struct woqi_channel_statistics *c)
{
    if (!c->not_finite)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %llu of the inputs of '%s' are not finite; FP16 ends at 65504",
                      woq_checkpoint_path(r->checkpoint), (unsigned long long)c->not_finite, c->name);
}

/* All of the original model's. */
static enum woq_status gather_statistics(struct run *r, const char *spill)
{
    enum woq_status st = start_streams(r, spill, false);
    r->what = "statistics";
    for (r->layer = 0; r->layer < r->layers && !st; r->layer++) {
        st = woqi_streams_load(&r->streams, r->layer);
        for (int stage = 0; stage < WOQI_STAGES && !st; stage++) {
            st = woqi_streams_gather(&r->streams, stage, NULL, statistics_of(r, stage));
            if (!st)
                st = check_finite(r, statistics_of(r, stage));
        }
        if (!st)
            st = woqi_streams_finish(&r->streams);
    }
    return st;
}

/* ---- A layer that an earlier run finished ---- */

static enum woq_status take_stage(struct run *r, const struct woq_checkpoint *layer, enum woqi_stage stage)
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

static enum woq_status repeat_layer(struct run *r)
{
    const struct woq_checkpoint *layer;
    r->what = "running finished layers";
    enum woq_status st = woqi_results_layer(r->results, r->layer, &layer);
    if (!st)
        st = woqi_streams_load(&r->streams, r->layer);
    for (int stage = 0; stage < WOQI_STAGES && !st; stage++)
        st = take_stage(r, layer, stage);
    for (int stage = 0; stage < WOQI_STAGES && !st; stage++)
        st = woqi_streams_gather(&r->streams, stage, NULL, statistics_of(r, stage));
    return st ? st : woqi_streams_finish(&r->streams);
}

/* ---- A layer to be quantized ---- */

struct layer {
    struct woqi_stage_info info[WOQI_STAGES];
    struct woqi_stage_result stage[WOQI_STAGES];
    uint16_t *norm[WOQI_STAGES]; /* changed ones, in the checkpoint's type */
};

static enum woq_status set_stage(struct run *r, const struct woqi_stage_result *result, enum woqi_stage stage)
{
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    for (uint32_t i = 0; i < result->count; i++)
        sources[i] = result->part[i].source;
    return woqi_block_set(r->streams.quantized.block, stage, sources);
}

/* The norm gives x / s, rounded as the checkpoint will hold it. */
static enum woq_status fold_norm(struct run *r, struct layer *l, enum woqi_stage stage)
{
    const float *s = l->stage[stage].channel_scale;
    const uint64_t k = l->stage[stage].part[0].k;
    const bool bf16 = r->plan.dtype == WOQ_BF16;
    float *norm = woqi_block_norm(r->streams.quantized.block, stage);
    if (!(l->norm[stage] = malloc(k * sizeof **l->norm)))
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a norm");
    for (uint64_t i = 0; i < k; i++) {
        const float v = norm[i] / s[i];
        l->norm[stage][i] = bf16 ? woq_f32_to_bf16(v) : woq_f32_to_f16(v);
        norm[i] = bf16 ? woq_bf16_to_f32(l->norm[stage][i]) : woq_f16_to_f32(l->norm[stage][i]);
        if (!isfinite(norm[i]))
            return woq_report(WOQ_ERROR_INVALID_DATA, "'%s': element %llu leaves the range of %s when divided by AWQ's "
                              "channel scale", l->info[stage].norm, (unsigned long long)i,
                              woq_type_name(r->plan.dtype));
    }
    return WOQ_OK;
}

/* Up's rows give x / s, and down's inputs are made anew. */
static enum woq_status fold_up(struct run *r, struct layer *l)
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

static void tell_stage(const struct run *r, const struct woqi_stage_result *result)
{
    char text[256];
    if (result->dead) {
        snprintf(text, sizeof text, "%s: %llu of %llu channels of its input were always 0 in the samples",
                 result->part[0].name, (unsigned long long)result->dead, (unsigned long long)result->part[0].k);
        log_line(r->params, text);
    }
    if (result->damping > r->params->damping * 1.5f) {
        snprintf(text, sizeof text, "%s: damping was raised from %g to %g for its Hessian to be positive definite",
                 result->part[0].name, (double)r->params->damping, (double)result->damping);
        log_line(r->params, text);
    }
}

static enum woq_status quantize_stage(struct run *r, struct layer *l, enum woqi_stage stage)
{
    static const char *const names[] = {"q/k/v", "o", "gate/up", "down"};
    const struct woq_model_config *config = woqi_block_config(r->streams.quantized.block);
    struct woqi_channel_statistics *channels = statistics_of(r, stage);
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
        return st ? st : check_finite(r, channels);
    }
    const bool adds = stage == WOQI_STAGE_O || stage == WOQI_STAGE_DOWN;
    const bool residual = r->streams.paired && adds && r->params->residual_share > 0;
    const struct woqi_stage_params params = {r->params, channels, r->jobs, can_fold(l, stage)};
    st = woqi_moments_create(l->info[stage].columns, residual ? config->hidden : 0,
                             r->streams.paired && r->params->input_share > 0, &moments);
    if (!st)
        st = woqi_streams_gather(&r->streams, stage, &moments, channels);
    if (!st)
        st = check_finite(r, channels);
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

static enum woq_status save_layer(struct run *r, const struct layer *l)
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

static enum woq_status quantize_layer(struct run *r)
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
static enum woq_status begin_apart(struct run *r)
{
    const struct woq_model_config config = *woqi_block_config(r->streams.quantized.block);
    r->before = r->streams.steps;
    woqi_streams_release(&r->streams);
    woqi_statistics_release(&r->statistics);
    return begin_statistics(r, &config);
}

/* ---- Formats by sensitivity ---- */

static bool sensitivity_step(void *user, uint32_t layer, double done)
{
    const struct run *r = user;
    const struct woq_calibrate_params *p = r->params;
    return !p->progress || p->progress(p->progress_user, "sensitivity", layer, r->layers, r->measuring * done);
}

/* How much of the run measuring is: passes of a layer over a sample, against those that quantizing takes, whose
 * algebra counts as much again. */
static double share_of_sensitivity(const struct run *r)
{
    const double layers = r->layers, tokens = (double)r->samples.count * r->samples.window;
    uint32_t count, rows;
    woqi_sensitivity_extent(r->params, &r->samples, &count, &rows);
    const double measuring = (double)count * rows * 4 * (layers + 3) / 2;
    return measuring / (measuring + tokens * (corrects(r->params) ? 4 : 2));
}

static enum woq_status note_sensitivity(struct run *r)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, root);
    bool fine = yyjson_mut_obj_add_uint(doc, root, "tokens", r->params->sensitivity_tokens) &&
                yyjson_mut_obj_add_val(doc, root, "units", list);
    for (uint32_t i = 0; i < r->sensitivity.count && fine; i++)
        fine = yyjson_mut_arr_add_real(doc, list, r->sensitivity.units[i].kl) &&
               yyjson_mut_arr_add_real(doc, list, r->sensitivity.units[i].relative_error);
    enum woq_status st = fine ? woqi_results_put_note(r->results, sensitivity_note, doc)
                              : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the sensitivity of layers");
    yyjson_mut_doc_free(doc);
    return st;
}

/* What an earlier run measured; *found is false where there is nothing of use. */
static enum woq_status recall_sensitivity(struct run *r, bool *found)
{
    yyjson_doc *doc;
    enum woq_status st = woqi_results_note(r->results, sensitivity_note, &doc);
    yyjson_val *root = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root, "units");
    *found = yyjson_get_uint(yyjson_obj_get(root, "tokens")) == r->params->sensitivity_tokens &&
             yyjson_arr_size(list) == 2 * (size_t)r->sensitivity.count;
    for (uint32_t i = 0; i < r->sensitivity.count && *found; i++) {
        r->sensitivity.units[i].kl = yyjson_get_num(yyjson_arr_get(list, 2 * (size_t)i));
        r->sensitivity.units[i].relative_error = yyjson_get_num(yyjson_arr_get(list, 2 * (size_t)i + 1));
    }
    yyjson_doc_free(doc);
    return st;
}

/* Measures or recalls, and changes the plan by the budget. */
static enum woq_status choose_formats(struct run *r, const char *spill)
{
    uint32_t eights, kept;
    bool found;
    char text[160];
    enum woq_status st = recall_sensitivity(r, &found);
    if (!st && !found) {
        r->measuring = share_of_sensitivity(r);
        st = woqi_sensitivity_measure(r->device, &r->plan, &r->samples, r->params, spill, r->jobs, sensitivity_step, r,
                                      &r->sensitivity);
        if (!st)
            st = note_sensitivity(r);
    }
    if (st || !(r->params->budget > 0))
        return st;
    st = woqi_budget_apply(&r->sensitivity, (double)r->params->budget, &r->plan, &eights, &kept);
    if (st)
        return st;
    snprintf(text, sizeof text, "of %u stages the budget takes %u to 8 bits and leaves %u FP16", r->sensitivity.count,
             eights, kept);
    if (r->params->log)
        r->params->log(r->params->log_user, WOQ_LOG_INFO, text);
    return WOQ_OK;
}

/* The units, and whether the budget is one for them: before anything takes long. */
static enum woq_status list_units(struct run *r)
{
    if (!wants_sensitivity(r->params))
        return WOQ_OK;
    enum woq_status st = woqi_sensitivity_list(&r->plan, &r->sensitivity);
    return st || !(r->params->budget > 0) ? st : woqi_budget_check(&r->sensitivity, (double)r->params->budget);
}

static enum woq_status quantize_layers(struct run *r, const char *directory)
{
    const bool paired = corrects(r->params), apart = r->params->statistics && !paired;
    char *identity = NULL, *parent = r->params->spill ? NULL : parent_of(directory);
    const char *spill = r->params->spill ? r->params->spill : parent;
    r->steps = steps_of(r, paired) + (apart ? steps_of(r, false) : 0);
    enum woq_status st = list_units(r);
    if (!st)
        st = identify(r, &identity);
    if (!st)
        st = woqi_results_open(directory, identity, r->params->log, r->params->log_user, &r->results, &r->finished);
    if (!st && r->sensitivity.count)
        st = choose_formats(r, spill);
    if (!st)
        st = start_streams(r, spill, paired);
    const uint32_t done = r->finished;
    if (!st && done) {
        char text[128];
        snprintf(text, sizeof text, "going on behind %u layer%s that an earlier run finished", done,
                 done > 1 ? "s" : "");
        log_line(r->params, text);
    }
    /* All were done when the run was killed: nothing has to run again but for the original's statistics. */
    const bool again = done < r->layers || (r->params->statistics && paired);
    for (r->layer = again ? 0 : r->layers; r->layer < r->layers && !st; r->layer++)
        st = r->layer < done ? repeat_layer(r) : quantize_layer(r);
    if (!st && apart)
        st = begin_apart(r);
    if (!st && apart)
        st = gather_statistics(r, spill);
    free(identity);
    free(parent);
    return st;
}

static enum woq_status write_all(struct run *r, const char *directory)
{
    enum woq_status st = WOQ_OK;
    r->plan.results = r->results;
    if (r->params->statistics)
        st = woqi_statistics_write(&r->statistics, r->params->statistics);
    if (!st && r->params->report)
        st = woqi_report_write(&r->plan, r->params, &r->samples, &r->sensitivity, r->results, now() - r->start);
    return st ? st : woqi_quantize_write(&r->plan, directory, WOQI_SHARD_BYTES);
}

enum woq_status woq_quantize_calibrated(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                        const char *directory, const struct woq_quantize_params *params,
                                        const struct woq_calibrate_params *calibration)
{
    struct run r = {.device = device, .checkpoint = checkpoint, .params = calibration, .start = now()};
    if (!device || !checkpoint || !directory || !params)
        return bad(!device ? "device" : !checkpoint ? "checkpoint" : !directory ? "directory" : "params", "is NULL");
    if (params->struct_size < sizeof *params)
        return bad("params.struct_size", "is too small; use WOQ_QUANTIZE_PARAMS_INIT");
    enum woq_status st = check(calibration);
    if (st)
        return st;
    r.jobs = woqi_jobs(params->jobs);
    st = woqi_plan_make(checkpoint, params, &r.plan);
    if (!st)
        st = check_outputs(&r, directory);
    if (!st)
        st = read_samples(&r);
    if (!st)
        st = quantize_layers(&r, directory);
    woqi_streams_release(&r.streams);
    if (!st)
        st = write_all(&r, directory);
    woqi_results_close(&r.results, st == WOQ_OK || !r.finished);
    release(&r);
    return st;
}

enum woq_status woq_calibrate_statistics(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                         const struct woq_calibrate_params *calibration)
{
    struct run r = {.device = device, .checkpoint = checkpoint, .params = calibration, .start = now()};
    if (!device || !checkpoint)
        return bad(!device ? "device" : "checkpoint", "is NULL");
    enum woq_status st = check(calibration);
    if (!st && !calibration->statistics)
        st = bad("statistics", "is NULL; it must be the file to write");
    if (st)
        return st;
    char *parent = calibration->spill ? NULL : parent_of(calibration->statistics);
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
    return st;
}
