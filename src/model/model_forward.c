/* model_forward.c: one pass of tokens through the layers; its plan is drawn in model_impl.h. */
#include "model_impl.h"

#include <string.h>

static void embed(struct woq_model *m, const int32_t *tokens, uint32_t count)
{
    const uint32_t width = m->config.hidden;
    float *h = woqi_rows(m, &m->h);
#pragma omp parallel for schedule(dynamic, 16) num_threads(m->threads) if (count >= 64)
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

/* Moves the wanted rows of h to its front. */
static void gather(struct woq_model *m, const struct woqi_segments *segments)
{
    unsigned char *h = woqi_rows(m, &m->h);
    for (uint32_t i = 0; i < segments->count; i++) {
        const struct woqi_segment *s = &segments->list[i];
        memmove(h + s->out * m->h.row_bytes, h + (s->row + s->rows - s->wanted) * m->h.row_bytes,
                s->wanted * m->h.row_bytes);
    }
}

/* One layer; of the last, only the keys and values of rows that are not wanted are needed. */
static enum woq_status run_layer(struct woq_model *m, uint32_t index, struct woqi_segments *segments)
{
    struct woqi_layer *l = &m->layers[index];
    const bool all = index + 1 < m->config.layers || segments->wanted == segments->rows;
    const uint32_t rows = all ? segments->rows : segments->wanted;
    norm(m, l->attention_norm, 0, segments->rows);
    enum woq_status st = woqi_on_device(m, &l->qkv, segments->rows, &m->x, &m->qkv);
    if (st)
        return st;
    woqi_attention_append(m, index, segments);
    if (!rows)
        return WOQ_OK;
    woqi_attention(m, index, segments, all);
    if (!all) {
        gather(m, segments);
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

enum woq_status woqi_forward_segments(struct woq_model *m, const int32_t *tokens, struct woqi_segments *segments,
                                      woqi_sink_fn *sink, void *user)
{
    woqi_segments_number(segments);
    enum woq_status st = woqi_host_enter(m);
    if (st)
        return st;
    embed(m, tokens, segments->rows);
    st = woqi_upload(m, &m->h, segments->rows);
    for (uint32_t i = 0; i < m->config.layers && !st; i++)
        st = run_layer(m, i, segments);
    if (!st)
        st = woqi_run_head(m, segments->wanted, sink, user);
    const enum woq_status left = woqi_host_leave(m);
    return st ? st : left;
}

enum woq_status woqi_forward(struct woq_model *m, const int32_t *tokens, uint32_t count,
                             uint32_t wanted, woqi_sink_fn *sink, void *user)
{
    struct woqi_segment text = {.rows = count, .wanted = wanted, .slot = m->position};
    struct woqi_segments all = {.list = &text, .count = 1};
    enum woq_status st = check_forward(m, tokens, count, wanted);
    if (!st)
        st = woqi_forward_segments(m, tokens, &all, sink, user);
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
