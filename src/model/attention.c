/*
 * attention.c: causal grouped-query attention over the cache, on the host.
 *
 * The unit of work is a tile of four queries of one kv head and one segment (segments.h); queries of a head's
 * group are numbered by position first: q = position·group + head. A tile goes three times over its keys, those of
 * the prefix and then its text's own, each from a whole panel on:
 *
 *     s[r][j] = Σ_d q[r][d]·k[j][d]     a panel of 16 keys is two vectors for each d
 *     s[r][j] = exp(s[r][j] − max) where row r sees key j, else 0
 *     o[r][d] = Σ_j s[r][j]·v[j][d] / Σ_j s[r][j]
 *
 * Sums are binary32 in an order that depends on the position and the prefix alone, not on how a text is cut
 * into forwards, nor on what else is in one.
 */
#include "model_impl.h"
#include "threads.h"
#include "vector.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { TILE = 4, PANEL = WOQI_PANEL }; /* queries, keys */

/* A multiplication that gives 0 where it does not fit. */
static size_t times(size_t a, size_t b)
{
    return b && a > SIZE_MAX / b ? 0 : a * b;
}

enum woq_status woqi_attention_create(struct woq_model *model)
{
    const struct woq_model_config *c = &model->config;
    struct woqi_cache *cache = &model->cache;
    const uint32_t positions = woqi_whole_panels(model->context);
    cache->slots = positions + woqi_whole_panels(model->batch) + PANEL;
    cache->value_row = woqi_whole_panels(c->head_dim);
    cache->key_stride = (size_t)cache->slots * c->head_dim;
    cache->value_stride = (size_t)cache->slots * cache->value_row;
    const size_t heads = (size_t)c->layers * c->kv_heads;
    model->score_row = (size_t)positions + PANEL; /* a prefix and a text each end in a panel of their own */
    model->threads = woqi_host_threads();
    /* A thread has four rows of scores, then of sums, then of queries. */
    const size_t thread = TILE * (model->score_row + 2 * (size_t)cache->value_row);
    const size_t keys = times(times(heads, cache->key_stride), sizeof(float));
    const size_t values = times(times(heads, cache->value_stride), sizeof(float));
    if (keys && values) {
        cache->keys = calloc(keys, 1);
        cache->values = calloc(values, 1);
        model->scores = calloc(times(thread, (size_t)model->threads), sizeof(float));
    }
    if (!cache->keys || !cache->values || !model->scores)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY,
                          "woq_model_create: no host memory for keys and values of %u positions "
                          "(%u layers, %u heads of %u); a smaller context needs less",
                          model->context, c->layers, c->kv_heads, c->head_dim);
    return WOQ_OK;
}

static float *head_keys(const struct woq_model *m, uint32_t layer, uint32_t head)
{
    return m->cache.keys + ((size_t)layer * m->config.kv_heads + head) * m->cache.key_stride;
}

static float *head_values(const struct woq_model *m, uint32_t layer, uint32_t head)
{
    return m->cache.values + ((size_t)layer * m->config.kv_heads + head) * m->cache.value_stride;
}

static void append_row(struct woq_model *m, uint32_t layer, float *row, uint32_t position,
                       uint32_t slot)
{
    const struct woq_model_config *c = &m->config;
    const struct woqi_layer *l = &m->layers[layer];
    const uint32_t dim = c->head_dim;
    const float *table = m->rope + (size_t)position * dim;
    for (uint32_t h = 0; h < c->heads + c->kv_heads; h++) {
        float *x = row + (size_t)h * dim;
        const float *weight = h < c->heads ? l->q_norm : l->k_norm;
        if (weight)
            woqi_norm_head(x, weight, c->norm_epsilon, dim);
        woqi_rope_rotate(x, table, dim);
    }
    for (uint32_t h = 0; h < c->kv_heads; h++) {
        const float *k = row + (size_t)(c->heads + h) * dim;
        const float *v = row + (size_t)(c->heads + c->kv_heads + h) * dim;
        float *panel = head_keys(m, layer, h) + (size_t)(slot / PANEL) * dim * PANEL +
                       slot % PANEL;
        for (uint32_t d = 0; d < dim; d++)
            panel[(size_t)d * PANEL] = k[d];
        memcpy(head_values(m, layer, h) + (size_t)slot * m->cache.value_row, v,
               dim * sizeof *v);
    }
}

/* The segment that row `index` is in, or of a tile, tile `index`: the last that begins at or before it. */
static const struct woqi_segment *find(const struct woqi_segments *segments, uint32_t index, bool tile)
{
    uint32_t low = 0, high = segments->count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        const struct woqi_segment *s = &segments->list[middle];
        if ((tile ? s->tile : s->row) <= index)
            low = middle;
        else
            high = middle;
    }
    return &segments->list[low];
}

void woqi_attention_append(struct woq_model *model, uint32_t layer, const struct woqi_segments *segments)
{
    float *rows = woqi_rows(model, &model->qkv);
    const size_t width = model->qkv.row_bytes / sizeof *rows;
#pragma omp parallel for schedule(dynamic, 16) num_threads(model->threads) if (segments->rows >= 64)
    for (uint32_t r = 0; r < segments->rows; r++) {
        const struct woqi_segment *s = find(segments, r, false);
        const uint32_t slot = s->slot + (r - s->row);
        append_row(model, layer, rows + r * width, s->prefix + (slot - s->begin), slot);
    }
}

/* s[r][16·b …) for `blocks` panels. */
WOQI_CLONES_256 static void dot_keys(const float *q, uint32_t q_row, const float *keys, uint32_t dim,
                                     uint32_t blocks, float *s, size_t s_row)
{
    for (uint32_t b = 0; b < blocks; b++) {
        const float *panel = keys + (size_t)b * dim * PANEL;
        woqi_vec a0 = {0}, b0 = {0}, a1 = {0}, b1 = {0}, a2 = {0}, b2 = {0}, a3 = {0}, b3 = {0};
        for (uint32_t d = 0; d < dim; d++, panel += PANEL) {
            const woqi_vec ka = woqi_load(panel), kb = woqi_load(panel + WOQI_LANES);
            a0 += ka * q[d];
            b0 += kb * q[d];
            a1 += ka * q[q_row + d];
            b1 += kb * q[q_row + d];
            a2 += ka * q[2 * q_row + d];
            b2 += kb * q[2 * q_row + d];
            a3 += ka * q[3 * q_row + d];
            b3 += kb * q[3 * q_row + d];
        }
        float *out = s + (size_t)b * PANEL;
        woqi_store(out, a0);
        woqi_store(out + WOQI_LANES, b0);
        woqi_store(out + s_row, a1);
        woqi_store(out + s_row + WOQI_LANES, b1);
        woqi_store(out + 2 * s_row, a2);
        woqi_store(out + 2 * s_row + WOQI_LANES, b2);
        woqi_store(out + 3 * s_row, a3);
        woqi_store(out + 3 * s_row + WOQI_LANES, b3);
    }
}

/* s[0 … count) becomes exp(s − max), s[count … 16·blocks) zero. Returns the sum. */
WOQI_CLONES_256 static float exponentials(float *s, uint32_t count, uint32_t blocks)
{
    const uint32_t end = blocks * PANEL;
    for (uint32_t j = count; j < end; j++)
        s[j] = -INFINITY;
    woqi_vec top = woqi_load(s), sum = {0};
    for (uint32_t j = WOQI_LANES; j < end; j += WOQI_LANES)
        top = woqi_max(woqi_load(s + j), top);
    const float highest = woqi_highest(top);
    for (uint32_t j = 0; j < end; j += WOQI_LANES) {
        const woqi_vec e = woqi_exp(woqi_load(s + j) - highest);
        woqi_store(s + j, e);
        sum += e;
    }
    return woqi_sum(sum);
}

/* o[r][d] += Σ_j s[r][j]·v[j][d], 16 elements of d at a time. */
WOQI_CLONES_256 static void add_values(const float *s, size_t s_row, const float *values,
                                       uint32_t value_row, uint32_t count, float *o)
{
    for (uint32_t d = 0; d < value_row; d += PANEL) {
        float *o0 = o + d, *o1 = o0 + value_row, *o2 = o1 + value_row, *o3 = o2 + value_row;
        woqi_vec a0 = woqi_load(o0), b0 = woqi_load(o0 + WOQI_LANES);
        woqi_vec a1 = woqi_load(o1), b1 = woqi_load(o1 + WOQI_LANES);
        woqi_vec a2 = woqi_load(o2), b2 = woqi_load(o2 + WOQI_LANES);
        woqi_vec a3 = woqi_load(o3), b3 = woqi_load(o3 + WOQI_LANES);
        const float *v = values + d;
        for (uint32_t j = 0; j < count; j++, v += value_row) {
            const woqi_vec va = woqi_load(v), vb = woqi_load(v + WOQI_LANES);
            a0 += va * s[j];
            b0 += vb * s[j];
            a1 += va * s[s_row + j];
            b1 += vb * s[s_row + j];
            a2 += va * s[2 * s_row + j];
            b2 += vb * s[2 * s_row + j];
            a3 += va * s[3 * s_row + j];
            b3 += vb * s[3 * s_row + j];
        }
        woqi_store(o0, a0);
        woqi_store(o0 + WOQI_LANES, b0);
        woqi_store(o1, a1);
        woqi_store(o1 + WOQI_LANES, b1);
        woqi_store(o2, a2);
        woqi_store(o2 + WOQI_LANES, b2);
        woqi_store(o3, a3);
        woqi_store(o3 + WOQI_LANES, b3);
    }
}

struct task {
    const struct woq_model *model;
    const struct woqi_segments *segments;
    uint32_t layer;
    bool all; /* rows, not only the wanted ones */
};

/* s[r] of a tile: scaled queries times the prefix's keys, from 0 on, and times the text's own. */
static void tile_scores(const struct task *t, const struct woqi_segment *g, uint32_t head, const float *q,
                        uint32_t own_blocks, float *s)
{
    const struct woq_model *m = t->model;
    const uint32_t dim = m->config.head_dim, row = m->cache.value_row;
    const uint32_t before = woqi_whole_panels(g->prefix);
    const float *keys = head_keys(m, t->layer, head);
    dot_keys(q, row, keys, dim, before / PANEL, s, m->score_row);
    dot_keys(q, row, keys + (size_t)g->begin * dim, dim, own_blocks, s + before, m->score_row);
    for (uint32_t r = 0; r < TILE; r++)
        for (uint32_t j = g->prefix; j < before; j++)
            s[r * m->score_row + j] = -INFINITY;
}

/* A tile of kv head `head`: four queries of one segment. */
static void attend_tile(const struct task *t, uint32_t head, uint32_t tile, float *memory)
{
    const struct woq_model *m = t->model;
    const struct woq_model_config *c = &m->config;
    const struct woqi_segment *g = find(t->segments, tile, true);
    const uint32_t group = c->heads / c->kv_heads, dim = c->head_dim, row = m->cache.value_row;
    const uint32_t rows = t->all ? g->rows : g->wanted, first = g->rows - rows;
    const uint32_t begin = (tile - g->tile) * TILE, queries = rows * group;
    const uint32_t end = queries - begin < TILE ? queries : begin + TILE;
    float *s = memory, *o = s + TILE * m->score_row, *q = o + (size_t)TILE * row;
    const float *qkv = woqi_rows(m, &m->qkv);
    const float scale = 1.0f / sqrtf((float)dim);
    memset(o, 0, (size_t)2 * TILE * row * sizeof *o);
    for (uint32_t i = begin; i < end; i++) {
        const float *x = qkv + (g->row + first + i / group) * (m->qkv.row_bytes / sizeof *qkv) +
                         (size_t)(head * group + i % group) * dim;
        for (uint32_t d = 0; d < dim; d++)
            q[(i - begin) * (size_t)row + d] = x[d] * scale;
    }
    /* Keys of its own that the first of the segment's queries, and the tile's last one, see. */
    const uint32_t seen = g->slot - g->begin + first + 1, own = seen + (end - 1) / group;
    const uint32_t before = woqi_whole_panels(g->prefix), blocks = (own + PANEL - 1) / PANEL;
    float sums[TILE];
    tile_scores(t, g, head, q, blocks, s);
    for (uint32_t r = 0; r < TILE; r++) {
        const uint32_t i = begin + r < end ? begin + r : end - 1;
        sums[r] = exponentials(s + r * m->score_row, before + seen + i / group, before / PANEL + blocks);
    }
    const float *values = head_values(m, t->layer, head);
    add_values(s, m->score_row, values, row, g->prefix, o);
    add_values(s + before, m->score_row, values + (size_t)g->begin * row, row, own, o);
    const size_t size = woq_type_size(m->x_type);
    char *a = (char *)woqi_rows(m, &m->a) + (t->all ? g->row : g->out) * m->a.row_bytes;
    for (uint32_t i = begin; i < end; i++) {
        float *x = o + (size_t)(i - begin) * row;
        const float factor = 1.0f / sums[i - begin];
        for (uint32_t d = 0; d < dim; d++)
            x[d] *= factor;
        woqi_convert(x, a + i / group * m->a.row_bytes + (head * group + i % group) * dim * size,
                     m->x_type, dim);
    }
}

void woqi_attention(struct woq_model *model, uint32_t layer, struct woqi_segments *segments, bool all)
{
    const struct woq_model_config *c = &model->config;
    const struct task t = {model, segments, layer, all};
    const uint32_t group = c->heads / c->kv_heads;
    uint32_t tiles = 0;
    uint64_t work = 0;
    for (uint32_t i = 0; i < segments->count; i++) {
        struct woqi_segment *g = &segments->list[i];
        const uint64_t queries = (uint64_t)(all ? g->rows : g->wanted) * group;
        g->tile = tiles;
        tiles += (uint32_t)((queries + TILE - 1) / TILE);
        work += queries * c->kv_heads * c->head_dim * (g->prefix + g->slot - g->begin + g->rows);
    }
    const uint32_t units = tiles * c->kv_heads;
    const size_t thread = TILE * (model->score_row + 2 * (size_t)model->cache.value_row);
    /* Waking other threads costs more than a little work. */
#pragma omp parallel for schedule(dynamic, 2) num_threads(model->threads) if (work > 1000000)
    for (uint32_t u = 0; u < units; u++)
        /* Late tiles of a text have most keys: they go first. */
        attend_tile(&t, u % c->kv_heads, tiles - 1 - u / c->kv_heads,
                    model->scores + thread * (size_t)omp_get_thread_num());
}
