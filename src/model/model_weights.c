/* model_weights.c: a checkpoint's matrices as stacked weights on the device, its vectors on the host. */
#include "model_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/quantize.h>

#define NAME 192

/* A matrix in canonical form, and how its arrays are released. */
struct matrix {
    struct woq_weights_source source;
    uint16_t *halves; /* ours; else the library's */
};

static void matrix_release(struct matrix *m)
{
    if (m->halves)
        free(m->halves);
    else if (m->source.codes)
        woq_source_release(&m->source);
    *m = (struct matrix){0};
}

static const struct woq_tensor *find_weight(const struct woqi_loader *loader, const char *name)
{
    char full[NAME];
    snprintf(full, sizeof full, "%s.weight", name);
    return woq_checkpoint_find(loader->checkpoint, full);
}

static enum woq_status missing(const char *name)
{
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "woq_model_create: tensor '%s.weight' is missing, and '%s' is not packed "
                      "either",
                      name, name);
}

static enum woq_status check_shape(const char *name, uint64_t rows, uint64_t columns,
                                   uint64_t want_rows, uint64_t want_columns)
{
    if (rows == want_rows && columns == want_columns)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "woq_model_create: '%s' is %llu x %llu; the model's configuration makes it "
                      "%llu x %llu",
                      name, (unsigned long long)rows, (unsigned long long)columns,
                      (unsigned long long)want_rows, (unsigned long long)want_columns);
}

static enum woq_status check_tensor(const struct woq_tensor *t, uint64_t rows, uint64_t columns)
{
    if (t->rank != 2)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: tensor '%s' has %u dimensions; it must be a matrix",
                          t->name, t->rank);
    return check_shape(t->name, t->shape[0], t->shape[1], rows, columns);
}

/* The elements as 16-bit floats: `convert` a piece of rows at a time. */
enum { PIECE = 64 };

static enum woq_status check_finite(const char *name, const uint16_t *halves, uint64_t count,
                                    uint64_t row, uint64_t columns)
{
    unsigned bad = 0;
    for (uint64_t i = 0; i < count; i++)
        bad |= (halves[i] & 0x7c00u) == 0x7c00u;
    for (uint64_t i = 0; bad && i < count; i++)
        if ((halves[i] & 0x7c00u) == 0x7c00u)
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "woq_model_create: '%s' is not finite as FP16 at row %llu, column "
                              "%llu; FP16 ends at 65504",
                              name, (unsigned long long)(row + i / columns),
                              (unsigned long long)(i % columns));
    return WOQ_OK;
}

/* Rows first … first + count of a matrix, plain or packed, as floats. */
static enum woq_status read_rows(const struct woq_tensor *tensor, const struct matrix *packed,
                                 uint64_t first, uint64_t count, float *out)
{
    if (tensor)
        return woq_tensor_read(tensor, first, count, out);
    const struct woq_weights_source *s = &packed->source;
    enum woq_status st = WOQ_OK;
    for (uint64_t r = 0; r < count && !st; r++)
        st = woq_format_decode_row(&s->format, s->n, s->k, s->codes, s->row_stride, s->scales,
                                   s->zeros, s->g_idx, first + r, out + r * s->k);
    return st;
}

static enum woq_status read_halves(const char *name, const struct woq_tensor *tensor,
                                   const struct matrix *packed, uint64_t rows, uint64_t columns,
                                   uint16_t **out)
{
    enum woq_status st = WOQ_OK;
    float *piece = malloc(PIECE * columns * sizeof *piece);
    uint16_t *halves = NULL;
    if (columns <= SIZE_MAX / sizeof *halves / rows)
        halves = malloc(rows * columns * sizeof *halves);
    if (!piece || !halves)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for '%s'", name);
    for (uint64_t r = 0; r < rows && !st; r += PIECE) {
        const uint64_t count = rows - r < PIECE ? rows - r : PIECE;
        st = read_rows(tensor, packed, r, count, piece);
        if (st)
            break;
        woqi_convert(piece, halves + r * columns, WOQ_F16, count * columns);
        st = check_finite(name, halves + r * columns, count * columns, r, columns);
    }
    free(piece);
    if (st) {
        free(halves);
        halves = NULL;
    }
    *out = halves;
    return st;
}

static enum woq_status as_halves(const char *name, const struct woq_tensor *tensor,
                                 const struct matrix *packed, uint64_t rows, uint64_t columns,
                                 struct matrix *out)
{
    enum woq_status st = read_halves(name, tensor, packed, rows, columns, &out->halves);
    if (st)
        return st;
    out->source = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
    out->source.format.code = WOQ_CODE_F16;
    out->source.format.zero = WOQ_ZERO_NONE;
    out->source.n = rows;
    out->source.k = columns;
    out->source.codes = out->halves;
    return WOQ_OK;
}

static enum woq_status as_quantized(const struct woqi_loader *loader, const char *name,
                                    const struct woq_tensor *tensor, const struct matrix *packed,
                                    uint64_t rows, uint64_t columns, struct matrix *out)
{
    const size_t bytes =
        columns <= SIZE_MAX / sizeof(float) / rows ? rows * columns * sizeof(float) : 0;
    float *w = bytes ? malloc(bytes) : NULL;
    if (!w)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for '%s'",
                          name);
    enum woq_status st = read_rows(tensor, packed, 0, rows, w);
    if (!st)
        st = woq_quantize_rtn(&loader->params->format, rows, columns, w, &out->source);
    if (st == WOQ_ERROR_INVALID_DATA) {
        char why[256];
        snprintf(why, sizeof why, "%s", woq_last_message());
        woq_report(st, "woq_model_create: '%s': %s", name, why);
    }
    free(w);
    return st;
}

static bool is_plain(enum woq_tensor_type type)
{
    return type == WOQ_TENSOR_F32 || type == WOQ_TENSOR_F16 || type == WOQ_TENSOR_BF16;
}

/* One matrix in the form that the parameters ask for; `halves`: FP16 whatever they ask. */
static enum woq_status load_matrix(const struct woqi_loader *loader, const struct woqi_stack *stack,
                                   uint32_t part, bool halves, struct matrix *out)
{
    const char *name = stack->names[part];
    const uint64_t rows = stack->rows[part], columns = stack->columns;
    const enum woq_model_weights want = loader->params->weights;
    const struct woq_tensor *tensor = find_weight(loader, name);
    struct matrix packed = {0};
    enum woq_status st;
    *out = (struct matrix){0};
    if (tensor) {
        st = check_tensor(tensor, rows, columns);
    } else {
        st = woq_checkpoint_packed_source(loader->checkpoint, name, &packed.source);
        if (st == WOQ_ERROR_INVALID_ARGUMENT)
            return missing(name);
        if (!st)
            st = check_shape(name, packed.source.n, packed.source.k, rows, columns);
    }
    if (st)
        goto out;
    if (want == WOQ_MODEL_AS_STORED && !halves && packed.source.codes) {
        *out = packed;
        return WOQ_OK;
    }
    if (want == WOQ_MODEL_AS_STORED && !halves && !is_plain(tensor->type)) {
        st = woq_tensor_source(tensor, &out->source);
        if (st != WOQ_ERROR_UNSUPPORTED)
            goto out;
        out->source = (struct woq_weights_source){0};
    }
    if (want == WOQ_MODEL_QUANTIZED && stack->linear)
        st = as_quantized(loader, name, tensor, &packed, rows, columns, out);
    else
        st = as_halves(name, tensor, &packed, rows, columns, out);
out:
    matrix_release(&packed);
    if (st)
        matrix_release(out);
    return st;
}

static bool same_format(const struct woq_weights_source *a, const struct woq_weights_source *b)
{
    const struct woq_format *f = &a->format, *g = &b->format;
    return f->code == g->code && f->zero == g->zero && f->scale == g->scale &&
           f->group == g->group && !f->g_idx && !g->g_idx;
}

/* What woq_model_get_info tells about the weights. */
static void count_weights(struct woqi_loader *loader, const struct woqi_stack *stack,
                          const struct woq_weights_info *w)
{
    struct woq_model_info *info = &loader->model->info;
    char name[sizeof info->format];
    info->parameters += w->n * w->k;
    info->weight_bytes += w->device_bytes;
    if (!stack->linear)
        return;
    loader->linear_elements += w->n * w->k;
    loader->linear_bytes += w->payload_bytes;
    woq_format_name(&w->format, name, sizeof name);
    if (!loader->any_format)
        snprintf(info->format, sizeof info->format, "%s", name);
    else if (strcmp(info->format, name))
        snprintf(info->format, sizeof info->format, "mixed");
    loader->any_format = true;
}

static enum woq_status make_gemm(struct woqi_loader *loader, const struct woqi_stack *stack,
                                 const struct woqi_epilogue *epilogue,
                                 const struct woq_weights_source *sources, uint32_t count,
                                 struct woq_gemm **out)
{
    struct woq_model *m = loader->model;
    struct woq_weights *weights = NULL;
    const struct woq_weights_params wp = {sizeof wp, sources, count, stack->gated};
    struct woq_weights_info info = {.struct_size = sizeof info};
    enum woq_status st = woq_weights_create(m->device, &wp, &weights);
    if (!st)
        st = woq_weights_get_info(weights, &info);
    if (!st) {
        struct woq_gemm_params gp = WOQ_GEMM_PARAMS_INIT;
        gp.weights = weights;
        gp.max_m = epilogue->max_m;
        gp.x_type = m->x_type;
        gp.y_type = epilogue->y_type;
        gp.bias_type = epilogue->bias ? WOQ_F32 : WOQ_TYPE_NONE;
        gp.residual = epilogue->residual;
        gp.activation = epilogue->activation;
        gp.math = m->math;
        st = woq_gemm_create(m->device, &gp, out);
    }
    if (!st)
        count_weights(loader, stack, &info);
    woq_weights_destroy(&weights);
    return st;
}

enum woq_status woqi_make_stack(struct woqi_loader *loader, const struct woqi_stack *stack,
                                const struct woqi_epilogue *epilogue,
                                const struct woq_weights_source *sources, struct woqi_stacked *out)
{
    enum woq_status st = WOQ_OK;
    uint64_t row = 0;
    *out = (struct woqi_stacked){.count = 0};
    for (uint32_t i = 0; i < stack->count && !st;) {
        uint32_t n = 0;
        out->first[out->count] = row;
        do
            row += stack->rows[i + n++];
        while (i + n < stack->count && (stack->gated || same_format(&sources[i], &sources[i + n])));
        st = make_gemm(loader, stack, epilogue, sources + i, n, &out->gemms[out->count]);
        if (st)
            st = woq_report(st, "woq_model_create: from '%s' on: %s", stack->names[i],
                            woq_last_message());
        out->count += !st;
        i += n;
    }
    if (st)
        woqi_stacked_release(out);
    return st;
}

enum woq_status woqi_load_stack(struct woqi_loader *loader, const struct woqi_stack *stack,
                                const struct woqi_epilogue *epilogue, struct woqi_stacked *out)
{
    struct matrix parts[3] = {{.halves = NULL}};
    struct woq_weights_source sources[3];
    enum woq_status st = WOQ_OK;
    *out = (struct woqi_stacked){.count = 0};
    for (uint32_t i = 0; i < stack->count && !st; i++)
        st = load_matrix(loader, stack, i, false, &parts[i]);
    /* Gate and up of different formats cannot be one product. */
    if (!st && stack->gated && !same_format(&parts[0].source, &parts[1].source))
        for (uint32_t i = 0; i < stack->count && !st; i++) {
            matrix_release(&parts[i]);
            st = load_matrix(loader, stack, i, true, &parts[i]);
        }
    for (uint32_t i = 0; i < stack->count; i++)
        sources[i] = parts[i].source;
    if (!st)
        st = woqi_make_stack(loader, stack, epilogue, sources, out);
    for (uint32_t i = 0; i < 3; i++)
        matrix_release(&parts[i]);
    return st;
}

void woqi_stacked_release(struct woqi_stacked *stacked)
{
    for (uint32_t i = 0; i < stacked->count; i++)
        woq_gemm_destroy(&stacked->gemms[i]);
    stacked->count = 0;
}

enum woq_status woqi_load_vector(struct woqi_loader *loader, const char *name, uint64_t count,
                                 float **out)
{
    const struct woq_tensor *t = woq_checkpoint_find(loader->checkpoint, name);
    *out = NULL;
    if (!t)
        return woq_report(WOQ_ERROR_INVALID_DATA, "woq_model_create: tensor '%s' is missing", name);
    if (t->rank != 1 || t->shape[0] != count)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: tensor '%s' has %llu elements in %u dimensions; the "
                          "model's configuration makes it a vector of %llu",
                          name, (unsigned long long)t->shape[0], t->rank,
                          (unsigned long long)count);
    float *v = malloc(count * sizeof *v);
    if (!v)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for '%s'",
                          name);
    enum woq_status st = woq_tensor_read(t, 0, 1, v);
    for (uint64_t i = 0; i < count && !st; i++)
        if (!isfinite(v[i]))
            st = woq_report(WOQ_ERROR_INVALID_DATA,
                            "woq_model_create: tensor '%s' is not finite at element %llu", name,
                            (unsigned long long)i);
    if (st) {
        free(v);
        return st;
    }
    loader->model->info.parameters += count;
    *out = v;
    return WOQ_OK;
}

static enum woq_status find_embeddings(const struct woqi_loader *loader, const char *name,
                                       const struct woq_tensor **out)
{
    const struct woq_model_config *c = &loader->model->config;
    *out = find_weight(loader, name);
    if (!*out)
        return woq_report(WOQ_ERROR_INVALID_DATA, "woq_model_create: tensor '%s.weight' is missing",
                          name);
    return check_tensor(*out, c->vocabulary, c->hidden);
}

static const char embeddings_name[] = "model.embed_tokens";

enum woq_status woqi_load_embeddings(struct woqi_loader *loader)
{
    struct woq_model *m = loader->model;
    const struct woq_model_config *c = &m->config;
    const struct woq_tensor *t;
    enum woq_status st = find_embeddings(loader, embeddings_name, &t);
    if (!st)
        st = read_halves(embeddings_name, t, NULL, c->vocabulary, c->hidden, &m->embeddings);
    if (!st && !c->tied_embeddings) {
        m->info.parameters += (uint64_t)c->vocabulary * c->hidden;
        m->info.weight_bytes += (uint64_t)c->vocabulary * c->hidden * sizeof *m->embeddings;
    }
    return st;
}

enum woq_status woqi_read_embeddings(const struct woqi_loader *loader, const int32_t *tokens,
                                     uint32_t count, float *h)
{
    const uint32_t width = loader->model->config.hidden;
    const struct woq_tensor *t;
    enum woq_status st = find_embeddings(loader, embeddings_name, &t);
    uint16_t *halves = malloc(width * sizeof *halves);
    if (!st && !halves)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for '%s'",
                        embeddings_name);
    for (uint32_t r = 0; r < count && !st; r++, h += width) {
        st = woq_tensor_read(t, (uint64_t)tokens[r], 1, h);
        if (st)
            break;
        woqi_convert(h, halves, WOQ_F16, width);
        st = check_finite(embeddings_name, halves, width, (uint64_t)tokens[r], width);
        for (uint32_t i = 0; i < width; i++)
            h[i] = woq_f16_to_f32(halves[i]);
    }
    free(halves);
    return st;
}
