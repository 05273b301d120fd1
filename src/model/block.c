/* block.c: one decoder layer by itself: a model of one layer without a head; its stages are recorded one by one. */
#include "block.h"
#include "model_impl.h"

#include <stdlib.h>
#include <string.h>

struct woqi_block {
    struct woq_model *model; /* its config has one layer */
    struct woq_model_config config;
    struct woq_model_params params;
    const struct woq_checkpoint *checkpoint;
    uint32_t layer;
    bool loaded;
    struct woqi_product products[WOQI_STAGES];
};

static struct woqi_loader loader_of(const struct woqi_block *b)
{
    return (struct woqi_loader){.model = b->model, .checkpoint = b->checkpoint, .params = &b->params};
}

/* ---- Making ---- */

static enum woq_status create_model(struct woqi_block *b, struct woq_device *device, uint32_t rows,
                                    enum woq_math math)
{
    b->config.struct_size = sizeof b->config;
    enum woq_status st = woq_checkpoint_config(b->checkpoint, &b->config);
    if (!st)
        st = woqi_check_config(&b->config);
    if (st)
        return st;
    struct woq_model *m = b->model = calloc(1, sizeof *m);
    if (m)
        m->layers = calloc(1, sizeof *m->layers);
    if (!m || !m->layers)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory", woq_checkpoint_path(b->checkpoint));
    m->device = device;
    m->config = b->config;
    m->config.layers = 1;
    m->context = m->batch = rows;
    m->x_type = WOQ_F16;
    m->math = math;
    st = woqi_arena_create(m);
    if (!st)
        st = woqi_rope_create(m);
    return st ? st : woqi_attention_create(m);
}

enum woq_status woqi_block_create(struct woq_device *device, const struct woq_checkpoint *checkpoint, uint32_t rows,
                                  enum woq_math math, struct woqi_block **out)
{
    *out = NULL;
    if (!rows)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "a block of sequences of 0 tokens; must be 1 or more");
    struct woqi_block *b = calloc(1, sizeof *b);
    if (!b)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory", woq_checkpoint_path(checkpoint));
    b->checkpoint = checkpoint;
    b->params = (struct woq_model_params)WOQ_MODEL_PARAMS_INIT;
    b->params.weights = WOQ_MODEL_F16;
    enum woq_status st = create_model(b, device, rows, math);
    if (st)
        woqi_block_destroy(&b);
    *out = b;
    return st;
}

static void unload(struct woqi_block *b)
{
    for (int i = 0; i < WOQI_STAGES; i++)
        woqi_product_release(&b->products[i]);
    if (b->model && b->model->layers)
        woqi_layer_release(b->model->layers);
    b->loaded = false;
}

void woqi_block_destroy(struct woqi_block **block)
{
    struct woqi_block *b = block ? *block : NULL;
    if (!b)
        return;
    unload(b);
    woq_model_destroy(&b->model);
    free(b);
    *block = NULL;
}

const struct woq_model_config *woqi_block_config(const struct woqi_block *block)
{
    return &block->config;
}

/* ---- Weights ---- */

/* sources NULL: the checkpoint's. */
static enum woq_status make_stage(struct woqi_block *b, enum woqi_stage stage,
                                  const struct woq_weights_source *sources)
{
    struct woq_model *m = b->model;
    struct woqi_loader loader = loader_of(b);
    struct woqi_stacked stacked;
    struct woqi_product product;
    enum woq_status st = woqi_stage_load(&loader, b->layer, stage, sources, &stacked);
    if (st)
        return st;
    const struct woqi_step step = woqi_stage_step(m, m->layers, stage, &stacked);
    st = woqi_product_record(m, &step, 1, m->batch, &product);
    woqi_stacked_release(&stacked);
    if (st)
        return st;
    woqi_product_release(&b->products[stage]);
    b->products[stage] = product;
    return WOQ_OK;
}

enum woq_status woqi_block_load(struct woqi_block *block, uint32_t layer, bool weights)
{
    struct woqi_loader loader = loader_of(block);
    if (layer >= block->config.layers)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "layer %u; the model has %u", layer, block->config.layers);
    unload(block);
    block->layer = layer;
    enum woq_status st = woqi_layer_load_vectors(&loader, layer, block->model->layers);
    for (int i = 0; i < WOQI_STAGES && weights && !st; i++)
        st = make_stage(block, (enum woqi_stage)i, NULL);
    if (st)
        unload(block);
    block->loaded = !st;
    return st;
}

static enum woq_status no_layer(void)
{
    return woq_report(WOQ_ERROR_INVALID_STATE, "a block without a layer; load one first");
}

enum woq_status woqi_block_set(struct woqi_block *block, enum woqi_stage stage,
                               const struct woq_weights_source *sources)
{
    struct woqi_stage_info info;
    if (!block->loaded)
        return no_layer();
    enum woq_status st = woqi_stage_describe(&block->config, block->layer, stage, &info);
    for (uint32_t i = 0; i < info.count && sources && !st; i++)
        if (sources[i].n != info.rows[i] || sources[i].k != info.columns)
            st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "weights of '%s' are %llu x %llu; must be %llu x %llu",
                            info.names[i], (unsigned long long)sources[i].n, (unsigned long long)sources[i].k,
                            (unsigned long long)info.rows[i], (unsigned long long)info.columns);
    return st ? st : make_stage(block, stage, sources);
}

float *woqi_block_norm(struct woqi_block *block, enum woqi_stage stage)
{
    const struct woqi_layer *l = block->model->layers;
    return stage == WOQI_STAGE_QKV ? l->attention_norm : stage == WOQI_STAGE_GATE_UP ? l->ffn_norm : NULL;
}

/* ---- Running ---- */

static enum woq_status bad_stage(enum woqi_stage stage, const char *want)
{
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "stage %d; must be %s", (int)stage, want);
}

enum woq_status woqi_block_embed(struct woqi_block *block, const int32_t *tokens, uint32_t count, float *h)
{
    const struct woqi_loader loader = loader_of(block);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= block->config.vocabulary)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "token %u is %d; the vocabulary is 0 to %u", i,
                              (int)tokens[i], block->config.vocabulary - 1);
    return woqi_read_embeddings(&loader, tokens, count, h);
}

enum woq_status woqi_block_input(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const float *h,
                                 uint16_t *x)
{
    const float *weight = woqi_block_norm(block, stage);
    if (!block->loaded)
        return no_layer();
    if (!weight)
        return bad_stage(stage, "QKV or GATE_UP, which have a norm");
    woqi_norm_rows(h, weight, block->config.norm_epsilon, block->config.hidden, x, WOQ_F16, count,
                   block->model->threads);
    return WOQ_OK;
}

static enum woq_status check_run(const struct woqi_block *b, enum woqi_stage stage, uint32_t count)
{
    if (!b->loaded)
        return no_layer();
    if (!b->products[stage].commands)
        return woq_report(WOQ_ERROR_INVALID_STATE, "stage %d of layer %u has no weights yet", (int)stage, b->layer);
    if (!count || count > b->model->batch)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%u tokens; must be 1 to %u, as the block was made for", count,
                          b->model->batch);
    return WOQ_OK;
}

static void put(const struct woq_model *m, const struct woqi_region *r, uint32_t rows, const void *from)
{
    memcpy(woqi_rows(m, r), from, rows * r->row_bytes);
}

static void get(const struct woq_model *m, const struct woqi_region *r, uint32_t rows, void *to)
{
    memcpy(to, woqi_rows(m, r), rows * r->row_bytes);
}

/* y: where the stage's result goes; of O and DOWN it is also what the product is added to. */
static enum woq_status run(struct woqi_block *b, enum woqi_stage stage, uint32_t count, const void *x, void *y)
{
    struct woq_model *m = b->model;
    const struct woqi_step step = woqi_stage_step(m, m->layers, stage, NULL);
    enum woq_status st = check_run(b, stage, count);
    if (!st)
        st = woqi_host_enter(m);
    if (st)
        return st;
    put(m, step.x, count, x);
    if (step.residual) {
        put(m, step.y, count, y);
        st = woqi_upload(m, step.y, count);
    }
    if (!st)
        st = woqi_on_device(m, &b->products[stage], count, step.x, step.y);
    if (!st && stage == WOQI_STAGE_QKV) {
        struct woqi_segment text = {.rows = count};
        struct woqi_segments all = {&text, 1, count, 0};
        woqi_attention_append(m, 0, &all);
        woqi_attention(m, 0, &all, true);
        get(m, &m->a, count, y);
    } else if (!st) {
        get(m, step.y, count, y);
    }
    const enum woq_status left = woqi_host_leave(m);
    return st ? st : left;
}

enum woq_status woqi_block_attention(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *a)
{
    return run(block, WOQI_STAGE_QKV, count, x, a);
}

enum woq_status woqi_block_gate_up(struct woqi_block *block, uint32_t count, const uint16_t *x, uint16_t *g)
{
    return run(block, WOQI_STAGE_GATE_UP, count, x, g);
}

enum woq_status woqi_block_add(struct woqi_block *block, enum woqi_stage stage, uint32_t count, const uint16_t *x,
                               float *h)
{
    if (stage != WOQI_STAGE_O && stage != WOQI_STAGE_DOWN)
        return bad_stage(stage, "O or DOWN, which add to h");
    return run(block, stage, count, x, h);
}
