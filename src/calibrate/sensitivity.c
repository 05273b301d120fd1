/* sensitivity.c: each stage of each layer quantized by itself, and what that does to the output. */
#include "sensitivity.h"

#include "model/divergence_row.h"
#include "model/head.h"

#include "calibration.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the sensitivity of layers");
}

const char *woqi_stage_name(enum woqi_stage stage)
{
    static const char *const names[] = {"qkv", "o", "gate_up", "down"};
    return names[stage];
}

/* ---- Units ---- */

static enum woq_status describe_unit(const struct woqi_plan *plan, struct woqi_unit *u)
{
    struct woqi_stage_info info;
    enum woq_status st = woqi_stage_describe(&plan->config, u->layer, u->stage, &info);
    u->count = info.count;
    for (uint32_t i = 0; i < info.count && !st; i++) {
        struct woq_format_sizes sizes;
        st = woqi_plan_find(plan, info.names[i], &u->tensors[i]);
        u->weights += info.rows[i] * info.columns;
        if (!st && plan->use[u->tensors[i]] != WOQI_USE_QUANTIZE)
            u->kept = true;
        else if (!st &&
                 !(st = woq_format_get_sizes(&plan->formats[u->tensors[i]], info.rows[i], info.columns, &sizes)))
            u->bits += 8 * (sizes.codes + sizes.scales + sizes.zeros);
    }
    if (u->kept)
        u->bits = 16 * u->weights;
    return st;
}

enum woq_status woqi_sensitivity_list(const struct woqi_plan *plan, struct woqi_sensitivity *out)
{
    const uint32_t count = plan->config.layers * WOQI_STAGES;
    *out = (struct woqi_sensitivity){count, calloc(count, sizeof *out->units)};
    enum woq_status st = out->units ? WOQ_OK : no_memory();
    for (uint32_t i = 0; i < count && !st; i++) {
        out->units[i].layer = i / WOQI_STAGES;
        out->units[i].stage = (enum woqi_stage)(i % WOQI_STAGES);
        st = describe_unit(plan, &out->units[i]);
    }
    if (st)
        woqi_sensitivity_release(out);
    return st;
}

void woqi_sensitivity_release(struct woqi_sensitivity *s)
{
    free(s->units);
    *s = (struct woqi_sensitivity){.count = 0};
}

void woqi_sensitivity_extent(const struct woq_calibrate_params *params, const struct woqi_samples *samples,
                             uint32_t *count, uint32_t *rows)
{
    *rows = params->sensitivity_tokens < samples->window ? params->sensitivity_tokens : samples->window;
    *count = params->sensitivity_tokens / *rows;
    *count = *count < samples->count ? *count : samples->count;
}

/* ---- The model ---- */

struct probe {
    const struct woqi_plan *plan;
    const struct woqi_samples *samples;
    const struct woq_calibrate_params *params;
    uint32_t count, rows, layers, scored; /* samples, tokens of each, layers, positions of each that count */
    uint64_t hidden, vocabulary;
    uint32_t jobs;
    struct woqi_block **blocks;         /* of each layer, FP16 */
    struct woqi_head *head;
    struct woqi_activations h;          /* [layers][count][rows][hidden] f32: at each layer's input */
    struct woqi_activations reference;  /* [count][scored][vocabulary] f32: the original's logits */
    float *run, *tail;                  /* [rows][hidden]; [scored][hidden] */
    uint16_t *x, *y;                    /* [rows][widest] */
    float *floats;                      /* the same, as moments take it */
    struct woqi_row *measured;           /* [count][scored] of the reference */
    double *kl;                         /* [count][scored] */
    woqi_sensitivity_step_fn *step;
    void *user;
    double work, all;                   /* multiplications of a row */
};

static void probe_release(struct probe *p)
{
    for (uint32_t i = 0; p->blocks && i < p->layers; i++)
        woqi_block_destroy(&p->blocks[i]);
    free(p->blocks);
    woqi_head_destroy(&p->head);
    woqi_activations_release(&p->h);
    woqi_activations_release(&p->reference);
    free(p->run);
    free(p->tail);
    free(p->x);
    free(p->y);
    free(p->floats);
    free(p->measured);
    free(p->kl);
}

static enum woq_status probe_create(struct probe *p, struct woq_device *device, const char *spill)
{
    const struct woq_model_config *c = &p->plan->config;
    const uint64_t q = (uint64_t)c->heads * c->head_dim;
    uint64_t widest = q > c->intermediate ? q : c->intermediate;
    widest = widest > c->hidden ? widest : c->hidden;
    woqi_sensitivity_extent(p->params, p->samples, &p->count, &p->rows);
    p->scored = p->rows / 2;
    p->layers = c->layers;
    p->hidden = c->hidden;
    p->vocabulary = c->vocabulary;
    p->blocks = calloc(p->layers, sizeof *p->blocks);
    p->run = malloc(p->rows * p->hidden * sizeof *p->run);
    p->tail = malloc(p->scored * p->hidden * sizeof *p->tail);
    p->x = malloc(p->rows * widest * sizeof *p->x);
    p->y = malloc(p->rows * widest * sizeof *p->y);
    p->floats = malloc(p->rows * widest * sizeof *p->floats);
    p->measured = calloc((size_t)p->count * p->scored, sizeof *p->measured);
    p->kl = calloc((size_t)p->count * p->scored, sizeof *p->kl);
    if (!p->blocks || !p->run || !p->tail || !p->x || !p->y || !p->floats || !p->measured || !p->kl)
        return no_memory();
    const uint64_t share = p->params->memory / 2;
    enum woq_status st = woqi_activations_create((uint64_t)p->layers * p->count * p->rows, p->hidden * sizeof(float),
                                                 share, spill, &p->h);
    if (!st)
        st = woqi_activations_create((uint64_t)p->count * p->scored, p->vocabulary * sizeof(float), share, spill,
                                     &p->reference);
    if (!st)
        st = woqi_head_create(device, p->plan->checkpoint, p->scored, p->params->math, &p->head);
    for (uint32_t i = 0; i < p->layers && !st; i++) {
        st = woqi_block_create(device, p->plan->checkpoint, p->rows, p->params->math, &p->blocks[i]);
        if (!st)
            st = woqi_block_load(p->blocks[i], i, true);
    }
    return st;
}

static float *h_of(const struct probe *p, uint32_t layer, uint32_t sample)
{
    return (float *)p->h.data + ((uint64_t)layer * p->count + sample) * p->rows * p->hidden;
}

static enum woq_status worked(struct probe *p, uint32_t layer, double work)
{
    p->work += work;
    if (!p->step || p->step(p->user, layer, p->work < p->all ? p->work / p->all : 1))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_TIMEOUT, "stopped while the sensitivity of layers was measured");
}

static double layer_work(const struct woqi_sensitivity *s)
{
    double sum = 0;
    for (int i = 0; i < WOQI_STAGES; i++)
        sum += (double)s->units[i].weights;
    return sum;
}

static double head_work(const struct probe *p)
{
    return (double)p->vocabulary * (double)p->hidden / 2;
}

/* p->run through a layer. moments: of the input of `stage`, NULL = not wanted. */
static enum woq_status run_layer(struct probe *p, uint32_t layer, enum woqi_stage stage, struct woqi_moments *moments)
{
    struct woqi_block *b = p->blocks[layer];
    enum woq_status st = WOQ_OK;
    for (int s = 0; s < WOQI_STAGES && !st; s++) {
        const bool norm = s == WOQI_STAGE_QKV || s == WOQI_STAGE_GATE_UP;
        const uint16_t *x = norm ? p->x : p->y;
        if (norm)
            st = woqi_block_input(b, (enum woqi_stage)s, p->rows, p->run, p->x);
        if (!st && moments && s == (int)stage) {
            for (uint64_t i = 0; i < p->rows * moments->k; i++)
                p->floats[i] = woq_f16_to_f32(x[i]);
            woqi_moments_add(moments, p->rows, p->floats, NULL, NULL);
            return WOQ_OK; /* what comes behind is not needed */
        }
        if (st)
            break;
        if (s == WOQI_STAGE_QKV)
            st = woqi_block_attention(b, p->rows, x, p->y);
        else if (s == WOQI_STAGE_GATE_UP)
            st = woqi_block_gate_up(b, p->rows, x, p->y);
        else
            st = woqi_block_add(b, (enum woqi_stage)s, p->rows, x, p->run);
    }
    return st;
}

/* ---- The output ---- */

struct score {
    const struct probe *probe;
    uint32_t sample;
    bool original;
};

static void take_logits(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct score *s = user;
    const struct probe *p = s->probe;
    const uint64_t at = (uint64_t)s->sample * p->scored + first, width = p->vocabulary;
    float *reference = (float *)p->reference.data + at * width;
    if (s->original)
        memcpy(reference, logits, count * width * sizeof *logits);
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)p->jobs) if (p->jobs > 1) schedule(dynamic, 4)
#endif
    for (uint32_t i = 0; i < count; i++) {
        struct woqi_row row;
        woqi_row_measure(logits + i * width, width, &row);
        if (s->original)
            p->measured[at + i] = row;
        else
            p->kl[at + i] = woqi_row_divergence(reference + i * width, &p->measured[at + i], logits + i * width, &row,
                                                width);
    }
}

/* From p->run behind the last layer. */
static enum woq_status finish_sample(struct probe *p, uint32_t sample, bool original)
{
    struct score s = {p, sample, original};
    for (uint32_t i = 0; i < p->scored; i++)
        memcpy(p->tail + i * p->hidden, p->run + (2 * (uint64_t)i + 1) * p->hidden, p->hidden * sizeof *p->run);
    return woqi_head_run(p->head, p->scored, p->tail, take_logits, &s);
}

static enum woq_status run_original(struct probe *p, const struct woqi_sensitivity *s)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < p->count && !st; i++) {
        st = woqi_block_embed(p->blocks[0], p->samples->tokens + (size_t)i * p->samples->window, p->rows, p->run);
        for (uint32_t l = 0; l < p->layers && !st; l++) {
            memcpy(h_of(p, l, i), p->run, p->rows * p->hidden * sizeof *p->run);
            st = run_layer(p, l, WOQI_STAGES, NULL);
            if (!st)
                st = worked(p, l, layer_work(s));
        }
        if (!st)
            st = finish_sample(p, i, true);
        if (!st)
            st = worked(p, p->layers - 1, head_work(p));
    }
    return st;
}

/* ---- One unit ---- */

static enum woq_status quantize_unit(struct probe *p, struct woqi_unit *u, struct woqi_stage_result *result)
{
    struct woq_calibrate_params nearest = *p->params;
    const struct woqi_stage_params params = {.calibration = &nearest, .jobs = p->jobs};
    struct woqi_stage_info info;
    struct woqi_moments moments = {.k = 0};
    double energy = 0, error = 0;
    nearest.method = WOQ_METHOD_MSE;
    enum woq_status st = woqi_stage_describe(&p->plan->config, u->layer, u->stage, &info);
    if (!st)
        st = woqi_stage_begin(p->plan, &info, result);
    if (!st)
        st = woqi_moments_create(info.columns, 0, false, &moments);
    for (uint32_t i = 0; i < p->count && !st; i++) {
        memcpy(p->run, h_of(p, u->layer, i), p->rows * p->hidden * sizeof *p->run);
        st = run_layer(p, u->layer, u->stage, &moments);
    }
    if (!st)
        st = woqi_stage_quantize(&params, &moments, result);
    woqi_moments_release(&moments);
    for (uint32_t i = 0; i < result->count && !st; i++) {
        energy += result->part[i].energy;
        error += result->part[i].error;
    }
    u->relative_error = energy > 0 && error > 0 ? sqrt(error / energy) : 0;
    return st;
}

static enum woq_status set_unit(struct probe *p, const struct woqi_unit *u, const struct woqi_stage_result *result)
{
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    for (uint32_t i = 0; i < result->count; i++)
        sources[i] = result->part[i].source;
    return woqi_block_set(p->blocks[u->layer], u->stage, sources);
}

static enum woq_status run_changed(struct probe *p, const struct woqi_unit *u, const struct woqi_sensitivity *s)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < p->count && !st; i++) {
        memcpy(p->run, h_of(p, u->layer, i), p->rows * p->hidden * sizeof *p->run);
        for (uint32_t l = u->layer; l < p->layers && !st; l++) {
            st = run_layer(p, l, WOQI_STAGES, NULL);
            if (!st)
                st = worked(p, u->layer, layer_work(s));
        }
        if (!st)
            st = finish_sample(p, i, false);
        if (!st)
            st = worked(p, u->layer, head_work(p));
    }
    return st;
}

static enum woq_status measure_unit(struct probe *p, struct woqi_unit *u, const struct woqi_sensitivity *s)
{
    const uint64_t positions = (uint64_t)p->count * p->scored;
    struct woqi_stage_result result = {.count = 0};
    double sum = 0;
    enum woq_status st = quantize_unit(p, u, &result);
    if (!st)
        st = set_unit(p, u, &result);
    woqi_stage_release(&result);
    if (!st)
        st = run_changed(p, u, s);
    if (!st)
        st = woqi_block_set(p->blocks[u->layer], u->stage, NULL);
    for (uint64_t i = 0; i < positions; i++)
        sum += p->kl[i];
    u->kl = sum / (double)positions;
    if (!st && !isfinite(u->kl))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: logits are not finite when layer %u's %s is quantized",
                          woq_checkpoint_path(p->plan->checkpoint), u->layer, woqi_stage_name(u->stage));
    return st;
}

enum woq_status woqi_sensitivity_measure(struct woq_device *device, const struct woqi_plan *plan,
                                         const struct woqi_samples *samples,
                                         const struct woq_calibrate_params *params, const char *spill, uint32_t jobs,
                                         woqi_sensitivity_step_fn *step, void *user, struct woqi_sensitivity *s)
{
    struct probe p = {.plan = plan, .samples = samples, .params = params, .jobs = woqi_jobs(jobs), .step = step,
                      .user = user};
    enum woq_status st = probe_create(&p, device, spill);
    if (!st) {
        p.all = p.layers * layer_work(s) + head_work(&p);
        for (uint32_t i = 0; i < s->count; i++)
            if (!s->units[i].kept)
                p.all += (p.layers - s->units[i].layer) * layer_work(s) + head_work(&p);
        p.all *= p.count;
        st = run_original(&p, s);
    }
    for (uint32_t i = 0; i < s->count && !st; i++)
        if (!s->units[i].kept)
            st = measure_unit(&p, &s->units[i], s);
    probe_release(&p);
    return st;
}
