/*
 * ct_writer.c: all tensors of a plan, in compressed-tensors' form (ct_matrix.c), each layer in its own format.
 *
 * Tensors are read, made and written in blocks of rows by all threads at once, so memory does not grow with the
 * model: at most BLOCK_ELEMENTS floats and their codes for each thread.
 */
#include "quantizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum {
    BLOCK_ELEMENTS = 1 << 18,
    BLOCK_ROWS = 8, /* blocks are multiples of it, so that no word of zero points spans two */
    WAVE = 64       /* blocks, of any tensors, between two calls of progress */
};

struct scratch {
    float *w;
    uint8_t *codes, *scales, *zeros, *words;
};

struct layer {
    const struct woq_tensor *tensor;
    uint64_t rows, columns, block_rows;
    uint64_t begin, end; /* of its blocks among all */
    const struct woq_format *format; /* NULL: it stays */
    struct woqi_ct_matrix matrix;
    size_t plain;    /* index of the writer's tensor */
    float low, high; /* of the whole, at tensor granularity */
};

struct stream {
    const struct woqi_plan *plan;
    const char *source; /* its path */
    struct woqi_st_writer writer;
    struct layer *layers;
    size_t count;
    uint32_t jobs;
    struct scratch *scratch; /* one for each thread */
    uint64_t blocks, done;   /* done: bytes of the source */
};

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for blocks of weights");
}

/* Its place among the blocks, and its tensors in the files. */
static enum woq_status add_layer(struct stream *s, const struct woq_tensor *t, const struct woq_format *format)
{
    struct layer *l = &s->layers[s->count++];
    *l = (struct layer){.tensor = t, .rows = 1, .columns = t->rank ? t->shape[t->rank - 1] : 1, .format = format};
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        l->rows *= t->shape[i];
    uint64_t fit = l->columns ? BLOCK_ELEMENTS / l->columns : BLOCK_ELEMENTS;
    l->block_rows = fit > BLOCK_ROWS ? fit / BLOCK_ROWS * BLOCK_ROWS : BLOCK_ROWS;
    l->block_rows = l->block_rows < l->rows ? l->block_rows : l->rows;
    l->begin = s->blocks;
    s->blocks += l->rows && l->columns ? (l->rows + l->block_rows - 1) / l->block_rows : 0;
    l->end = s->blocks;
    if (format)
        return woqi_ct_add(&s->writer, t->name, woqi_linear_name(t->name), format, l->rows, l->columns, &l->matrix);
    return woqi_st_add(&s->writer, t->name, "", woqi_st_type_of(s->plan->dtype), t->rank, t->shape, true, &l->plain);
}

/* Of the largest block of any layer. */
static enum woq_status make_scratch(struct stream *s)
{
    uint64_t elements = 0, words = 0, groups = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct layer *l = &s->layers[i];
        uint64_t e = l->block_rows * l->columns, w = l->format ? woqi_ct_scratch(&l->matrix, l->block_rows) : 0;
        uint64_t g = l->format ? l->block_rows * l->matrix.groups : 0;
        elements = e > elements ? e : elements;
        words = w > words ? w : words;
        groups = g > groups ? g : groups;
    }
    if (!(s->scratch = calloc(s->jobs, sizeof *s->scratch)))
        return no_memory();
    for (uint32_t i = 0; i < s->jobs; i++) {
        struct scratch *x = &s->scratch[i];
        x->w = malloc(elements * sizeof *x->w + 1);
        x->codes = malloc(2 * elements + 1);
        x->scales = malloc(4 * groups + 4);
        x->zeros = malloc(groups + 1);
        x->words = malloc(words + 1);
        if (!x->w || !x->codes || !x->scales || !x->zeros || !x->words)
            return no_memory();
    }
    return WOQ_OK;
}

static enum woq_status write_plain(struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                   uint64_t rows)
{
    const enum woq_type type = s->plan->dtype;
    const struct woqi_rtn_block block = {s->source, l->tensor->name, first, false, 0, 0};
    uint64_t count = rows * l->columns;
    float low, high;
    enum woq_status st = woqi_rtn_scan(rows, l->columns, x->w, 1, &block, &low, &high);
    if (st)
        return st;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t bits = type == WOQ_F16 ? woq_f32_to_f16(x->w[i]) : woq_f32_to_bf16(x->w[i]);
        if ((bits & 0x7fff) == (type == WOQ_F16 ? 0x7c00 : 0x7f80))
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: %s: the weight at row %llu, column %llu is %g, which type %s cannot hold",
                              s->source, l->tensor->name, (unsigned long long)(first + i / l->columns),
                              (unsigned long long)(i % l->columns), (double)x->w[i], woq_type_name(type));
        x->codes[2 * i] = (uint8_t)bits;
        x->codes[2 * i + 1] = (uint8_t)(bits >> 8);
    }
    return woqi_st_write(&s->writer, l->plain, 2 * first * l->columns, x->codes, 2 * count);
}

static enum woq_status write_quantized(struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                       uint64_t rows)
{
    const struct woq_format *f = l->format;
    const bool tensor = f->group == WOQ_GROUP_TENSOR;
    const struct woqi_rtn_block block = {s->source, l->tensor->name, first, tensor, l->low, l->high};
    const struct woqi_rtn_arrays arrays = {x->codes, x->scales, f->zero == WOQ_ZERO_POINT ? x->zeros : NULL};
    struct woq_weights_source made = WOQ_WEIGHTS_SOURCE_INIT;
    made.n = rows;
    made.k = l->columns;
    made.codes = x->codes;
    made.scales = x->scales;
    made.zeros = arrays.zeros;
    enum woq_status st = woqi_rtn(f, rows, l->columns, x->w, 1, &block, &arrays);
    return st ? st : woqi_ct_write_rows(&s->writer, &l->matrix, first, &made, x->words);
}

static struct layer *layer_of(const struct stream *s, uint64_t block)
{
    size_t low = 0, high = s->count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->layers[middle].end > block)
            high = middle;
        else
            low = middle + 1;
    }
    return &s->layers[low];
}

/* What became of a wave. Of several failures that of the first block is reported; messages belong to threads, so it
 * is carried over. */
struct outcome {
    enum woq_status status;
    uint64_t block;
    char message[1024];
};

/* One block; `scan`: only its range. */
static void do_block(struct stream *s, struct layer *l, struct scratch *x, uint64_t index, bool scan,
                     struct outcome *outcome)
{
    uint64_t first = (index - l->begin) * l->block_rows;
    uint64_t rows = l->rows - first < l->block_rows ? l->rows - first : l->block_rows;
    float low = 0, high = 0;
    enum woq_status st = woq_tensor_read(l->tensor, first, rows, x->w);
    if (!st && scan) {
        const struct woqi_rtn_block block = {s->source, l->tensor->name, first, false, 0, 0};
        st = woqi_rtn_scan(rows, l->columns, x->w, 1, &block, &low, &high);
    } else if (!st) {
        st = l->format ? write_quantized(s, l, x, first, rows) : write_plain(s, l, x, first, rows);
    }
#ifdef _OPENMP
#pragma omp critical
#endif
    {
        l->low = low < l->low ? low : l->low;
        l->high = high > l->high ? high : l->high;
        s->done += scan ? 0 : rows * (l->tensor->bytes / l->rows);
        if (st && (!outcome->status || index < outcome->block)) {
            outcome->status = st;
            outcome->block = index;
            snprintf(outcome->message, sizeof outcome->message, "%s", woq_last_message());
        }
    }
}

/* Blocks begin … end − 1 by all threads. */
static enum woq_status do_wave(struct stream *s, uint64_t begin, uint64_t end, bool scan)
{
    struct outcome outcome = {WOQ_OK, 0, ""};
#ifdef _OPENMP
#pragma omp parallel for num_threads(s->jobs) if (s->jobs > 1 && end - begin > 1) schedule(dynamic, 1)
#endif
    for (uint64_t i = begin; i < end; i++) {
#ifdef _OPENMP
        struct scratch *x = &s->scratch[omp_get_thread_num()];
#else
        struct scratch *x = s->scratch;
#endif
        struct layer *l = layer_of(s, i);
        if (!scan || (l->format && l->format->group == WOQ_GROUP_TENSOR))
            do_block(s, l, x, i, scan, &outcome);
    }
    return outcome.status ? woq_report(outcome.status, "%s", outcome.message) : WOQ_OK;
}

static enum woq_status report(const struct stream *s, uint64_t next)
{
    const struct woq_quantize_params *p = s->plan->params;
    const char *name = layer_of(s, next)->tensor->name;
    if (!p->progress || p->progress(p->progress_user, name, s->done, s->plan->bytes))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_TIMEOUT, "stopped at %s", name);
}

/* At tensor granularity a layer is read twice: a scale needs its whole matrix. */
static enum woq_status do_all(struct stream *s)
{
    enum woq_status st = WOQ_OK;
    int pass = 1;
    for (size_t i = 0; i < s->count; i++)
        if (s->layers[i].format && s->layers[i].format->group == WOQ_GROUP_TENSOR)
            pass = 0;
    for (; pass < 2; pass++)
        for (uint64_t i = 0; i < s->blocks && !st; i += WAVE) {
            st = report(s, i);
            if (!st)
                st = do_wave(s, i, s->blocks - i < WAVE ? s->blocks : i + WAVE, pass == 0);
        }
    for (size_t i = 0; i < s->count && !st; i++)
        if (s->layers[i].format)
            st = woqi_ct_write_shape(&s->writer, &s->layers[i].matrix);
    return st || !s->blocks ? st : report(s, s->blocks - 1);
}

enum woq_status woqi_ct_write_tensors(const struct woqi_plan *plan, struct woqi_atomic_dir *dir, uint64_t shard_bytes)
{
    size_t count = woq_checkpoint_tensor_count(plan->checkpoint);
    struct stream s = {.plan = plan, .source = woq_checkpoint_path(plan->checkpoint),
                       .jobs = woqi_jobs(plan->params->jobs)};
    enum woq_status st = WOQ_OK;
    if (!(s.layers = calloc(count + 1, sizeof *s.layers)))
        st = no_memory();
    for (size_t i = 0; i < count && !st; i++)
        if (plan->use[i] != WOQI_USE_DROP)
            st = add_layer(&s, woq_checkpoint_tensor(plan->checkpoint, i),
                           plan->use[i] == WOQI_USE_QUANTIZE ? &plan->formats[i] : NULL);
    if (!st)
        st = woqi_st_open(&s.writer, dir, shard_bytes);
    if (!st)
        st = make_scratch(&s);
    if (!st)
        st = do_all(&s);
    if (!st)
        st = woqi_st_close(&s.writer);
    woqi_st_free(&s.writer);
    for (uint32_t i = 0; i < s.jobs && s.scratch; i++) {
        free(s.scratch[i].w);
        free(s.scratch[i].codes);
        free(s.scratch[i].scales);
        free(s.scratch[i].zeros);
        free(s.scratch[i].words);
    }
    free(s.scratch);
    free(s.layers);
    return st;
}
