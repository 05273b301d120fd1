/* model_forward.c: one pass of tokens through the layers; its plan is drawn in model_impl.h. */
#include "model_impl.h"

#include <string.h>

static void embed(struct woq_model *m, const int32_t *tokens, uint32_t count)
{
    const uint32_t width = m->config.hidden;
    float *h = woqi_rows(m, &m->h);
    for (uint32_t r = 0; r < count; r++) {
        const uint16_t *from = m->embeddings + (size_t)tokens[r] * width;
        for (uint32_t i = 0; i < width; i++)
            h[(size_t)r * width + i] = woq_f16_to_f32(from[i]);
    }
}

/* x = norm of rows `first` … of h. */
static void norm(struct woq_model *m, const float *weight, uint32_t first, uint32_t rows)
{
    const float *h = woqi_rows(m, &m->h);
    woqi_norm_rows(h + (size_t)first * m->config.hidden, weight, m->config.norm_epsilon,
                   m->config.hidden, woqi_rows(m, &m->x), m->x_type, rows, m->threads);
}

/* One layer; of the last, only the keys and values of rows before `first` are needed. */
static enum woq_status run_layer(struct woq_model *m, uint32_t index, uint32_t first,
                                 uint32_t count)
{
    struct woqi_layer *l = &m->layers[index];
    const uint32_t rows = count - first;
    norm(m, l->attention_norm, 0, count);
    enum woq_status st = woqi_on_device(m, &l->qkv, count, &m->x, &m->qkv);
    if (st)
        return st;
    woqi_attention_append(m, index, count);
    if (!rows)
        return WOQ_OK;
    woqi_attention(m, index, first, count);
    if (first) {
        unsigned char *h = woqi_rows(m, &m->h);
        memmove(h, h + first * m->h.row_bytes, rows * m->h.row_bytes);
        st = woqi_upload(m, &m->h, rows);
    }
    if (!st)
        st = woqi_on_device(m, &l->o, rows, &m->a, &m->h);
    if (st)
        return st;
    norm(m, l->ffn_norm, 0, rows);
    return woqi_on_device(m, &l->ffn, rows, &m->x, &m->h);
}

enum woq_status woqi_run_head(struct woq_model *m, uint32_t wanted, woqi_sink_fn *sink, void *user)
{
    const uint32_t pieces = (wanted + m->head_rows - 1) / m->head_rows;
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0, first = 0; i < pieces && !st; i++) {
        const uint32_t rows = (wanted - first) / (pieces - i);
        norm(m, m->final_norm, first, rows);
        st = woqi_on_device(m, &m->head, rows, &m->x, &m->logits);
        if (!st)
            sink(user, first, rows, woqi_rows(m, &m->logits));
        first += rows;
    }
    return st;
}

static enum woq_status check_forward(const struct woq_model *m, const int32_t *tokens,
                                     uint32_t count, uint32_t wanted)
{
    if (!count || count > m->batch)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_forward: count is %u; must be 1 to %u (the model's batch)",
                          count, m->batch);
    if (wanted > count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_forward: wanted is %u, more than the %u tokens given", wanted,
                          count);
    if (count > m->context - m->position)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_forward: %u tokens after %u exceed the context of %u; reset "
                          "the model or make it with more",
                          count, m->position, m->context);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "woq_model_forward: token %u is %d; the vocabulary is 0 to %u", i,
                              (int)tokens[i], m->config.vocabulary - 1);
    return WOQ_OK;
}

enum woq_status woqi_forward(struct woq_model *m, const int32_t *tokens, uint32_t count,
                             uint32_t wanted, woqi_sink_fn *sink, void *user)
{
    enum woq_status st = check_forward(m, tokens, count, wanted);
    if (!st)
        st = woqi_host_enter(m);
    if (st)
        return st;
    embed(m, tokens, count);
    st = woqi_upload(m, &m->h, count);
    for (uint32_t i = 0; i < m->config.layers && !st; i++)
        st = run_layer(m, i, i + 1 < m->config.layers ? 0 : count - wanted, count);
    if (!st)
        st = woqi_run_head(m, wanted, sink, user);
    const enum woq_status left = woqi_host_leave(m);
    st = st ? st : left;
    if (!st)
        m->position += count;
    return st;
}

struct copy {
    float *logits;
    size_t vocabulary;
};

static void copy_logits(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct copy *c = user;
    memcpy(c->logits + first * c->vocabulary, logits, count * c->vocabulary * sizeof *logits);
}

enum woq_status woq_model_forward(struct woq_model *model, const int32_t *tokens, uint32_t count,
                                  float *logits, uint32_t wanted)
{
    if (!model || !tokens || (!logits && wanted))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_model_forward: %s is NULL",
                          !model ? "model" : !tokens ? "tokens" : "logits");
    struct copy c = {logits, model->config.vocabulary};
    return woqi_forward(model, tokens, count, wanted, copy_logits, &c);
}
