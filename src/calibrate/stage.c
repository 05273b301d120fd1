/* stage.c: the matrices of one stage: targets, channel scales, grids, codes, and what became of the output's error. */
#include "core/element.h"
#include "model/windows.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"

#include "calibration.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum woq_status no_memory(const char *name)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for '%s'", name);
}

static bool is_gptq(const struct woq_calibrate_params *c)
{
    return c->method == WOQ_METHOD_GPTQ || c->method == WOQ_METHOD_AWQ_GPTQ;
}

static bool is_awq(const struct woq_calibrate_params *c)
{
    return c->method == WOQ_METHOD_AWQ || c->method == WOQ_METHOD_AWQ_GPTQ;
}

enum woq_status woqi_stage_begin(const struct woqi_plan *plan, const struct woqi_stage_info *info,
                                 struct woqi_stage_result *out)
{
    *out = (struct woqi_stage_result){.count = 0};
    for (uint32_t i = 0; i < info->count; i++) {
        struct woqi_quantized *part = &out->part[i];
        size_t at;
        const enum woq_status st = woqi_plan_find(plan, info->names[i], &at);
        if (st)
            return st;
        snprintf(part->name, sizeof part->name, "%s", info->names[i]);
        if (plan->use[at] != WOQI_USE_QUANTIZE)
            return WOQ_OK; /* the parts of a stage are alike: it stays as it is */
        part->tensor = woq_checkpoint_tensor(plan->checkpoint, at);
        part->format = plan->formats[at];
        part->n = part->tensor->shape[0];
        part->k = part->tensor->shape[1];
        if (part->n != info->rows[i] || part->k != info->columns)
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: '%s' is %llu x %llu; the model's configuration makes it "
                              "%llu x %llu", woq_checkpoint_path(plan->checkpoint), part->tensor->name,
                              (unsigned long long)part->n, (unsigned long long)part->k,
                              (unsigned long long)info->rows[i], (unsigned long long)info->columns);
    }
    out->count = info->count;
    return WOQ_OK;
}

/* The matrices while they are worked on. */
struct work {
    float *original, *w, *v; /* [n][k]: as read; what is quantized; what codes stand for, in the end as the original */
    struct woqi_grid *grids;
    uint8_t *codes; /* [n][k] */
    struct woq_format_sizes sizes;
    uint64_t groups, group; /* of a row; columns of one */
    bool tensor;            /* one grid for all */
};

static void work_release(struct work *t)
{
    free(t->original);
    free(t->w);
    free(t->v);
    free(t->grids);
    free(t->codes);
    *t = (struct work){.groups = 0};
}

static enum woq_status work_begin(const struct woqi_quantized *part, uint32_t jobs, struct work *t)
{
    const size_t count = part->n * part->k;
    const struct woqi_rtn_block block = {woq_checkpoint_path(part->tensor->checkpoint), part->name, 0, false, 0, 0};
    float low, high;
    enum woq_status st = woq_format_get_sizes(&part->format, part->n, part->k, &t->sizes);
    if (st)
        return st;
    t->tensor = part->format.group == WOQ_GROUP_TENSOR;
    t->groups = t->sizes.groups;
    t->group = t->groups == 1 ? part->k : part->format.group;
    t->original = malloc(count * sizeof *t->original);
    t->w = malloc(count * sizeof *t->w);
    t->v = malloc(count * sizeof *t->v);
    t->codes = malloc(count);
    t->grids = calloc(part->n * t->groups, sizeof *t->grids);
    if (!t->original || !t->w || !t->v || !t->codes || !t->grids)
        return no_memory(part->name);
    st = woq_tensor_read(part->tensor, 0, part->n, t->original);
    if (!st)
        st = woqi_rtn_scan(part->n, part->k, t->original, jobs, &block, &low, &high);
    if (!st)
        memcpy(t->w, t->original, count * sizeof *t->w);
    return st;
}

static const struct woqi_grid *grid_at(const struct work *t, uint64_t row, uint64_t group)
{
    return &t->grids[t->tensor ? 0 : row * t->groups + group];
}

/* v = what w becomes on the grids; codes too, unless they are there. */
static void apply_grids(const struct woqi_quantized *part, struct work *t, bool codes_are_made)
{
    const int64_t n = (int64_t)part->n;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (int64_t r = 0; r < n; r++)
        for (uint64_t k = 0; k < part->k; k++) {
            const struct woqi_grid *g = grid_at(t, (uint64_t)r, k / t->group);
            const uint64_t i = (uint64_t)r * part->k + k;
            if (!codes_are_made)
                t->codes[i] = (uint8_t)woqi_grid_code(g, t->w[i]);
            t->v[i] = woqi_grid_value(g, t->codes[i]);
        }
}

/* The error of rounding to nearest, which others are held against. */
static enum woq_status measure_rtn(struct woqi_quantized *part, struct work *t, const float *hessian, uint32_t jobs)
{
    enum woq_status st = woqi_grids_of_range(&part->format, part->n, part->k, t->w, jobs, t->grids);
    if (st)
        return st;
    apply_grids(part, t, false);
    part->energy = woqi_output_error(part->n, part->k, hessian, t->original, NULL, jobs);
    part->error_rtn = woqi_output_error(part->n, part->k, hessian, t->original, t->v, jobs);
    return WOQ_OK;
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static unsigned bin_of(float v, float low, float high)
{
    const float at = high > low ? (v - low) / (high - low) * WOQI_HISTOGRAM_BINS : 0;
    return at < WOQI_HISTOGRAM_BINS - 1 ? (unsigned)at : WOQI_HISTOGRAM_BINS - 1;
}

static void count_weights(struct woqi_quantized *part, const float *w)
{
    const uint64_t count = part->n * part->k;
    float limit = 0;
    for (uint64_t i = 0; i < count; i++)
        limit = fabsf(w[i]) > limit ? fabsf(w[i]) : limit;
    part->weight_limit = limit;
    for (uint64_t i = 0; i < count; i++)
        part->weights[bin_of(w[i], -limit, limit)]++;
}

/* Canonical arrays of codes and grids, and what is told of the scales. */
static enum woq_status keep(struct woqi_quantized *part, const struct work *t)
{
    const uint64_t count = t->tensor ? 1 : part->n * t->groups;
    uint8_t *codes = calloc(t->sizes.codes, 1), *scales = malloc(t->sizes.scales);
    uint8_t *zeros = part->format.zero == WOQ_ZERO_POINT ? malloc(t->sizes.zeros) : NULL;
    float *magnitudes = malloc(count * sizeof *magnitudes);
    if (!codes || !scales || !magnitudes || (!zeros && part->format.zero == WOQ_ZERO_POINT)) {
        free(codes);
        free(scales);
        free(zeros);
        free(magnitudes);
        return no_memory(part->name);
    }
    for (uint64_t r = 0; r < part->n; r++)
        for (uint64_t k = 0; k < part->k; k++) {
            const unsigned code = t->codes[r * part->k + k];
            if (part->format.code == WOQ_CODE_U8)
                codes[r * t->sizes.row_bytes + k] = (uint8_t)code;
            else
                codes[r * t->sizes.row_bytes + k / 2] |= (uint8_t)(code << k % 2 * 4);
        }
    part->negative = 0;
    for (uint64_t i = 0; i < count; i++) {
        const float scale = t->grids[i].scale;
        woqi_element_store(part->format.scale, scales, i, scale);
        if (zeros)
            zeros[i] = (uint8_t)t->grids[i].zero;
        part->negative += scale < 0;
        magnitudes[i] = fabsf(scale);
    }
    qsort(magnitudes, count, sizeof *magnitudes, by_size);
    part->groups = count;
    part->scale_min = magnitudes[0];
    part->scale_max = magnitudes[count - 1];
    part->scale_median = magnitudes[count / 2];
    for (uint64_t i = 0; i < count; i++)
        part->scales[bin_of(magnitudes[i], part->scale_min, part->scale_max)]++;
    free(magnitudes);
    part->source = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
    part->source.format = part->format;
    part->source.n = part->n;
    part->source.k = part->k;
    part->source.codes = codes;
    part->source.scales = scales;
    part->source.zeros = zeros;
    return WOQ_OK;
}

/* Mean over groups of the grid's reach ÷ the largest |w|, at most 1: how much was cut off. */
static double mean_clip(const struct woqi_quantized *part, const struct work *t)
{
    const unsigned top = part->format.code == WOQ_CODE_U8 ? 255 : 15;
    double sum = 0;
    uint64_t counted = 0;
    for (uint64_t r = 0; r < part->n; r++)
        for (uint64_t g = 0; g < t->groups; g++) {
            const struct woqi_grid *grid = grid_at(t, r, g);
            const float a = woqi_grid_value(grid, 0), b = woqi_grid_value(grid, top);
            const float low = a < b ? a : b, high = a < b ? b : a;
            float least = 0, most = 0;
            for (uint64_t k = g * t->group; k < (g + 1) * t->group && k < part->k; k++) {
                const float w = t->w[r * part->k + k];
                least = w < least ? w : least;
                most = w > most ? w : most;
            }
            if (most == least)
                continue;
            const float covered = (most < high ? most : high) - (least > low ? least : low);
            sum += covered / (most - least);
            counted++;
        }
    return counted ? sum / (double)counted : 1;
}

/* H of x / s in place. */
static void scale_moments(uint64_t k, float *h, const float *s)
{
    for (uint64_t r = 0; r < k; r++)
        for (uint64_t c = 0; c < k; c++)
            h[r * k + c] /= s[r] * s[c];
}

static void scale_columns(uint64_t n, uint64_t k, float *w, const float *s, bool divide)
{
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < k; c++)
            w[r * k + c] = divide ? w[r * k + c] / s[c] : w[r * k + c] * s[c];
}

static enum woq_status choose_channels(const struct woqi_stage_params *params, const float *hessian,
                                       struct woqi_stage_result *result, const struct work *work)
{
    const uint64_t k = result->part[0].k;
    struct woqi_awq_matrix matrices[WOQI_STAGE_PARTS];
    float *mean = malloc(k * sizeof *mean);
    result->channel_scale = malloc(k * sizeof *result->channel_scale);
    enum woq_status st = mean && result->channel_scale ? WOQ_OK : no_memory(result->part[0].name);
    for (uint64_t i = 0; i < k && !st; i++)
        mean[i] = (float)(params->channels->sum_abs[i] / (double)params->channels->rows);
    for (uint32_t i = 0; i < result->count; i++)
        matrices[i] = (struct woqi_awq_matrix){&result->part[i].format, result->part[i].n, work[i].w};
    if (!st)
        st = woqi_awq_search(k, mean, hessian, result->count, matrices, params->jobs, result->channel_scale,
                             &result->exponent);
    free(mean);
    return st;
}

/* A row's scale divided by its channel scale, as its type has it; false if it becomes infinite, or 0 that was not. */
static bool fold_scale(const struct woqi_quantized *part, uint64_t index, const float *channel_scale, float *folded)
{
    const enum woq_type type = part->format.scale;
    const float scale = woqi_element_load(type, part->source.scales, index);
    uint32_t rounded;
    woqi_element_store(type, &rounded, 0, scale / channel_scale[index / (part->groups / part->n)]);
    *folded = woqi_element_load(type, &rounded, 0);
    return isfinite(*folded) && (*folded != 0 || scale == 0);
}

static bool can_fold_rows(const struct woqi_quantized *part, const float *channel_scale)
{
    float folded;
    for (uint64_t i = 0; i < part->groups; i++)
        if (!fold_scale(part, i, channel_scale, &folded))
            return false;
    return true;
}

/* Channel scales, the weights times them and H of the inputs divided by them: *scaled, NULL if the scales have no place
 * to go to. */
static enum woq_status scale_stage(const struct woqi_stage_params *params, const float *hessian,
                                   struct woqi_stage_result *result, struct work *work, float **scaled)
{
    const uint64_t k = result->part[0].k;
    enum woq_status st = choose_channels(params, hessian, result, work);
    if (st)
        return st;
    if (params->rows && !can_fold_rows(params->rows, result->channel_scale)) {
        free(result->channel_scale);
        result->channel_scale = NULL;
        result->exponent = 0;
        result->unfolded = true;
        return WOQ_OK;
    }
    if (!(*scaled = malloc(k * k * sizeof **scaled)))
        return no_memory(result->part[0].name);
    memcpy(*scaled, hessian, k * k * sizeof **scaled);
    scale_moments(k, *scaled, result->channel_scale);
    for (uint32_t i = 0; i < result->count; i++)
        scale_columns(result->part[i].n, k, work[i].w, result->channel_scale, false);
    return WOQ_OK;
}

static enum woq_status make_codes(const struct woqi_stage_params *params, const struct woqi_gptq *gptq,
                                  const float *hessian, const float *diagonal, const float *channel_scale,
                                  struct woqi_quantized *part, struct work *t)
{
    const double start = woqi_seconds();
    enum woq_status st =
        woqi_grids_search(&part->format, part->n, part->k, t->w, diagonal, params->jobs, t->grids);
    if (st)
        return st;
    part->clip = mean_clip(part, t);
    if (gptq)
        st = woqi_gptq_run(gptq, &part->format, part->n, t->w, t->grids, params->jobs, t->codes);
    if (st)
        return st;
    apply_grids(part, t, gptq != NULL);
    if (channel_scale)
        scale_columns(part->n, part->k, t->v, channel_scale, true);
    part->error = woqi_output_error(part->n, part->k, hessian, t->original, t->v, params->jobs);
    st = keep(part, t);
    part->seconds = woqi_seconds() - start;
    return st;
}

enum woq_status woqi_stage_quantize(const struct woqi_stage_params *params, struct woqi_moments *moments,
                                    struct woqi_stage_result *result)
{
    const struct woq_calibrate_params *c = params->calibration;
    const char *name = result->part[0].name;
    const uint64_t k = result->part[0].k;
    const struct woqi_gptq_params gp = {c->damping, !c->natural_order};
    /* With channel scales codes are chosen in the metric of the scaled inputs; only targets need that of the inputs. */
    const bool targets = is_gptq(c) && (moments->c || moments->r), scales = is_awq(c) && params->fold;
    struct work work[WOQI_STAGE_PARTS] = {{.groups = 0}};
    struct woqi_gptq gptq = {.k = 0};
    float *scaled = NULL, *diagonal = malloc(k * sizeof *diagonal);
    enum woq_status st = diagonal ? woqi_moments_finish(moments, name) : no_memory(name);
    result->rows = moments->rows;
    if (!st && is_gptq(c) && (targets || !scales))
        st = woqi_gptq_prepare(name, k, moments->h, &gp, &gptq);
    result->dead = 0;
    for (uint64_t i = 0; i < k && !st; i++)
        result->dead += moments->h[i * k + i] == 0;
    for (uint64_t e = 0; e < moments->n * k && !st; e++) /* n is 0 where r is not wanted */
        moments->r[e] *= c->residual_share;
    for (uint32_t i = 0; i < result->count && !st; i++) {
        st = work_begin(&result->part[i], params->jobs, &work[i]);
        if (st)
            break;
        count_weights(&result->part[i], work[i].original);
        st = measure_rtn(&result->part[i], &work[i], moments->h, params->jobs);
        if (!st && targets)
            st = woqi_gptq_target(&gptq, result->part[i].n, work[i].w, c->input_share, moments->c, moments->r);
    }
    if (!st && scales)
        st = scale_stage(params, moments->h, result, work, &scaled);
    const float *metric = scaled ? scaled : moments->h;
    if (!st && scales && is_gptq(c)) {
        woqi_gptq_release(&gptq);
        st = woqi_gptq_prepare(name, k, metric, &gp, &gptq);
    }
    result->damping = gptq.damping;
    for (uint64_t i = 0; i < k && !st; i++)
        diagonal[i] = metric[i * k + i];
    for (uint32_t i = 0; i < result->count && !st; i++)
        st = make_codes(params, is_gptq(c) ? &gptq : NULL, moments->h, diagonal, result->channel_scale,
                        &result->part[i], &work[i]);
    for (uint32_t i = 0; i < WOQI_STAGE_PARTS; i++)
        work_release(&work[i]);
    woqi_gptq_release(&gptq);
    free(scaled);
    free(diagonal);
    return st;
}

enum woq_status woqi_stage_fold_rows(struct woqi_quantized *part, const float *channel_scale)
{
    const enum woq_type type = part->format.scale;
    void *scales = (void *)(uintptr_t)part->source.scales;
    for (uint64_t i = 0; i < part->groups; i++) {
        float folded;
        if (!fold_scale(part, i, channel_scale, &folded))
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: a scale of row %llu leaves the range of %s when divided "
                              "by AWQ's channel scale", part->name,
                              (unsigned long long)(i / (part->groups / part->n)), woq_type_name(type));
        woqi_element_store(type, scales, i, folded);
    }
    return WOQ_OK;
}

void woqi_stage_release(struct woqi_stage_result *result)
{
    for (uint32_t i = 0; i < WOQI_STAGE_PARTS; i++) {
        struct woq_weights_source *s = &result->part[i].source;
        free((void *)(uintptr_t)s->codes);
        free((void *)(uintptr_t)s->scales);
        free((void *)(uintptr_t)s->zeros);
    }
    free(result->channel_scale);
    *result = (struct woqi_stage_result){.count = 0};
}
