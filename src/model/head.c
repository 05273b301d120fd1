/* head.c: the final norm and lm_head, of a model and by itself: then it is a model without layers. */
#include "head.h"
#include "model_impl.h"
#include "threads.h"

#include <stdlib.h>
#include <string.h>

struct woqi_head {
    struct woq_model *model; /* its config has no layers */
};

uint32_t woqi_head_rows(const struct woq_model_config *config, uint32_t batch)
{
    enum { LOGITS = 32 << 20 };
    uint64_t rows = LOGITS / (config->vocabulary * UINT64_C(4)) / 16 * 16;
    rows = rows < 16 ? 16 : rows > 256 ? 256 : rows;
    return rows < batch ? (uint32_t)rows : batch;
}

enum woq_status woqi_head_load(struct woqi_loader *loader)
{
    struct woq_model *m = loader->model;
    const struct woq_model_config *c = &m->config;
    const struct woqi_stack head = {
        .names = {c->tied_embeddings ? "model.embed_tokens" : "lm_head"}, .rows = {c->vocabulary},
        .count = 1, .columns = c->hidden};
    const struct woqi_epilogue plain = {.y_type = WOQ_F32, .max_m = m->head_rows};
    struct woqi_stacked stacked = {.count = 0};
    enum woq_status st = woqi_load_vector(loader, "model.norm.weight", c->hidden, &m->final_norm);
    if (!st)
        st = woqi_load_stack(loader, &head, &plain, &stacked);
    const struct woqi_step step = {&stacked, &m->x, &m->logits, NULL, false};
    if (!st)
        st = woqi_product_record(m, &step, 1, m->head_rows, &m->head);
    woqi_stacked_release(&stacked);
    return st;
}

static enum woq_status create_model(struct woq_model *m, struct woq_device *device,
                                    const struct woq_checkpoint *checkpoint, uint32_t rows, enum woq_math math)
{
    struct woq_model_params params = WOQ_MODEL_PARAMS_INIT;
    struct woqi_loader loader = {.model = m, .checkpoint = checkpoint, .params = &params};
    params.weights = WOQ_MODEL_F16;
    m->config.struct_size = sizeof m->config;
    enum woq_status st = woq_checkpoint_config(checkpoint, &m->config);
    if (!st)
        st = woqi_check_config(&m->config);
    if (st)
        return st;
    m->config.layers = 0;
    m->device = device;
    m->context = m->batch = rows;
    m->head_rows = woqi_head_rows(&m->config, rows);
    m->x_type = WOQ_F16;
    m->math = math;
    m->threads = woqi_host_threads();
    st = woqi_arena_create(m);
    return st ? st : woqi_head_load(&loader);
}

enum woq_status woqi_head_create(struct woq_device *device, const struct woq_checkpoint *checkpoint, uint32_t rows,
                                 enum woq_math math, struct woqi_head **out)
{
    *out = NULL;
    if (!rows)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "a head for 0 rows; must be 1 or more");
    struct woqi_head *h = calloc(1, sizeof *h);
    if (h)
        h->model = calloc(1, sizeof *h->model);
    if (!h || !h->model) {
        free(h);
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory", woq_checkpoint_path(checkpoint));
    }
    enum woq_status st = create_model(h->model, device, checkpoint, rows, math);
    if (st)
        woqi_head_destroy(&h);
    *out = h;
    return st;
}

void woqi_head_destroy(struct woqi_head **head)
{
    struct woqi_head *h = head ? *head : NULL;
    if (!h)
        return;
    woq_model_destroy(&h->model);
    free(h);
    *head = NULL;
}

enum woq_status woqi_head_run(struct woqi_head *head, uint32_t count, const float *h, woqi_head_sink_fn *sink,
                              void *user)
{
    struct woq_model *m = head->model;
    if (!count || count > m->batch)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%u rows; must be 1 to %u, as the head was made for", count,
                          m->batch);
    enum woq_status st = woqi_host_enter(m);
    if (st)
        return st;
    memcpy(woqi_rows(m, &m->h), h, count * m->h.row_bytes);
    st = woqi_run_head(m, count, sink, user);
    const enum woq_status left = woqi_host_leave(m);
    return st ? st : left;
}
