/* streams.c: all samples through a decoder layer, stage by stage, of the quantized model and beside it the original. */
#include "calibration.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 5, /* passes over the samples a layer takes: see woqi_streams_gather and _finish */
    /* Of samples whose moments are added at once: BLAS has threads of its own, and finds those of OpenMP, which ran the
     * model, still turning. */
    BATCH_ROWS = 2048
};

uint32_t woqi_streams_steps(bool paired)
{
    return paired ? 2 * STEPS : STEPS;
}

static float *h_of(const struct woqi_streams *s, const struct woqi_stream *stream, uint32_t sample)
{
    const uint64_t hidden = woqi_block_config(stream->block)->hidden;
    return (float *)stream->h.data + (uint64_t)sample * s->samples->window * hidden;
}

static uint16_t *x_of(const struct woqi_streams *s, const struct woqi_stream *stream, uint32_t sample)
{
    return (uint16_t *)stream->x.data + (uint64_t)sample * s->samples->window * s->width;
}

static enum woq_status create_stream(struct woqi_streams *s, struct woq_device *device,
                                     const struct woq_checkpoint *checkpoint,
                                     const struct woq_calibrate_params *params, const char *spill,
                                     struct woqi_stream *out)
{
    const struct woqi_samples *samples = s->samples;
    const uint64_t rows = (uint64_t)samples->count * samples->window;
    enum woq_status st = woqi_block_create(device, checkpoint, samples->window, params->math, &out->block);
    if (st)
        return st;
    const struct woq_model_config *c = woqi_block_config(out->block);
    const uint64_t q = (uint64_t)c->heads * c->head_dim;
    s->width = q > c->intermediate ? q : c->intermediate;
    s->width = s->width > c->hidden ? s->width : c->hidden;
    const uint64_t share = params->memory / (s->paired ? 4 : 2);
    st = woqi_activations_create(rows, c->hidden * sizeof(float), share, spill, &out->h);
    if (!st)
        st = woqi_activations_create(rows, s->width * sizeof(uint16_t), share, spill, &out->x);
    for (uint32_t i = 0; i < samples->count && !st; i++)
        st = woqi_block_embed(out->block, samples->tokens + (size_t)i * samples->window, samples->window,
                              h_of(s, out, i));
    return st;
}

enum woq_status woqi_streams_create(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                    const struct woqi_samples *samples, const struct woq_calibrate_params *params,
                                    const char *spill, bool paired, struct woqi_streams *out)
{
    *out = (struct woqi_streams){.samples = samples, .paired = paired};
    enum woq_status st = create_stream(out, device, checkpoint, params, spill, &out->quantized);
    if (!st && paired)
        st = create_stream(out, device, checkpoint, params, spill, &out->original);
    if (st)
        return st;
    out->batch = samples->window < BATCH_ROWS ? BATCH_ROWS / samples->window : 1;
    out->norm = malloc(samples->window * out->width * sizeof *out->norm);
    const uint64_t bytes = (uint64_t)out->batch * samples->window * out->width * sizeof(float);
    out->x = malloc(bytes);
    out->x0 = paired ? malloc(bytes) : NULL;
    out->d = paired ? malloc(bytes) : NULL;
    return out->x && out->norm && (!paired || (out->x0 && out->d))
               ? WOQ_OK
               : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for %u samples' activations", out->batch);
}

static void release_stream(struct woqi_stream *stream)
{
    woqi_block_destroy(&stream->block);
    woqi_activations_release(&stream->h);
    woqi_activations_release(&stream->x);
}

void woqi_streams_release(struct woqi_streams *s)
{
    release_stream(&s->quantized);
    release_stream(&s->original);
    free(s->x);
    free(s->x0);
    free(s->d);
    free(s->norm);
    *s = (struct woqi_streams){.steps = 0};
}

enum woq_status woqi_streams_load(struct woqi_streams *s, uint32_t layer)
{
    enum woq_status st = woqi_block_load(s->quantized.block, layer, true);
    return st || !s->paired ? st : woqi_block_load(s->original.block, layer, true);
}

/* One sample of one model up to the input of a stage; *x is where it lies, its rows without gaps. */
static enum woq_status advance(const struct woqi_streams *s, const struct woqi_stream *stream, enum woqi_stage stage,
                               uint32_t sample, uint16_t **x)
{
    struct woqi_block *b = stream->block;
    const uint32_t rows = s->samples->window;
    float *h = h_of(s, stream, sample);
    uint16_t *kept = x_of(s, stream, sample);
    /* A norm is made anew where it is needed; what o and down take is kept until they have run. */
    enum woq_status st = WOQ_OK;
    if (stage == WOQI_STAGE_GATE_UP)
        st = woqi_block_add(b, WOQI_STAGE_O, rows, kept, h);
    if (!st)
        st = woqi_block_input(b, stage <= WOQI_STAGE_O ? WOQI_STAGE_QKV : WOQI_STAGE_GATE_UP, rows, h, s->norm);
    if (!st && stage == WOQI_STAGE_O)
        st = woqi_block_attention(b, rows, s->norm, kept);
    if (!st && stage == WOQI_STAGE_DOWN)
        st = woqi_block_gate_up(b, rows, s->norm, kept);
    *x = stage == WOQI_STAGE_O || stage == WOQI_STAGE_DOWN ? kept : s->norm;
    return st;
}

static void to_floats(const uint16_t *x, float *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = woq_f16_to_f32(x[i]);
}

static void subtract(const float *a, const float *b, float *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = a[i] - b[i];
}

static uint64_t columns_of(const struct woqi_streams *s, enum woqi_stage stage)
{
    const struct woq_model_config *c = woqi_block_config(s->quantized.block);
    return stage == WOQI_STAGE_O ? (uint64_t)c->heads * c->head_dim
                                 : stage == WOQI_STAGE_DOWN ? c->intermediate : c->hidden;
}

static enum woq_status stepped(struct woqi_streams *s)
{
    s->steps++;
    if (!s->step || s->step(s->step_user))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_TIMEOUT, "stopped");
}

/* One sample's rows of the stage's input, of both models, to row `at` of the batch. */
static enum woq_status gather_sample(struct woqi_streams *s, enum woqi_stage stage, uint32_t sample, uint64_t at,
                                     bool residual)
{
    const uint32_t rows = s->samples->window;
    const uint64_t k = columns_of(s, stage), hidden = columns_of(s, WOQI_STAGE_QKV);
    uint16_t *x;
    enum woq_status st = advance(s, &s->quantized, stage, sample, &x);
    if (!st)
        st = stepped(s);
    if (st)
        return st;
    to_floats(x, s->x + at * k, rows * k);
    if (!s->paired)
        return WOQ_OK;
    st = advance(s, &s->original, stage, sample, &x);
    if (!st)
        st = stepped(s);
    if (st)
        return st;
    to_floats(x, s->x0 + at * k, rows * k);
    if (residual)
        subtract(h_of(s, &s->original, sample), h_of(s, &s->quantized, sample), s->d + at * hidden, rows * hidden);
    return WOQ_OK;
}

enum woq_status woqi_streams_gather(struct woqi_streams *s, enum woqi_stage stage, struct woqi_moments *moments,
                                    struct woqi_channel_statistics *statistics)
{
    const bool cross = moments && moments->c, residual = moments && moments->r;
    enum woq_status st = WOQ_OK;
    for (uint32_t first = 0; first < s->samples->count && !st; first += s->batch) {
        const uint32_t left = s->samples->count - first, count = left < s->batch ? left : s->batch;
        const uint64_t rows = (uint64_t)count * s->samples->window;
        for (uint32_t i = 0; i < count && !st; i++)
            st = gather_sample(s, stage, first + i, (uint64_t)i * s->samples->window, residual);
        if (!st && statistics)
            woqi_statistics_add(statistics, rows, s->paired ? s->x0 : s->x);
        if (!st && moments)
            woqi_moments_add(moments, rows, s->x, cross ? s->x0 : NULL, residual ? s->d : NULL);
    }
    return st;
}

enum woq_status woqi_streams_again(struct woqi_streams *s)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < s->samples->count && !st; i++) {
        uint16_t *x;
        st = advance(s, &s->quantized, WOQI_STAGE_DOWN, i, &x);
    }
    return st;
}

static enum woq_status finish(struct woqi_streams *s, const struct woqi_stream *stream)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < s->samples->count && !st; i++) {
        st = woqi_block_add(stream->block, WOQI_STAGE_DOWN, s->samples->window, x_of(s, stream, i),
                            h_of(s, stream, i));
        if (!st)
            st = stepped(s);
    }
    return st;
}

enum woq_status woqi_streams_finish(struct woqi_streams *s)
{
    enum woq_status st = finish(s, &s->quantized);
    return st || !s->paired ? st : finish(s, &s->original);
}
