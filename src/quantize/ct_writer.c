/*
 * ct_writer.c: all tensors of a plan, in compressed-tensors' form (ct_matrix.c), each layer in its own format.
 *
 * Tensors are read, made and written in blocks of rows by all threads at once, so memory does not grow with the
 * model: at most BLOCK_ELEMENTS floats and their codes for each thread, and the mapped pages of WAVE blocks.
 */
#include "quantizer.h"

#include "results.h"
#include "checkpoint/checkpoint_impl.h"
#include "core/element.h"

#include <math.h>
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
    const struct woq_tensor *tensor; /* of the source, or what the results have in its place */
    uint64_t row_bytes;              /* of the source's */
    uint64_t rows, columns, block_rows;
    uint64_t begin, end; /* of its blocks among all */
    const struct woq_format *format; /* NULL: it stays */
    struct woqi_ct_matrix matrix;
    struct woqi_ct_parts made; /* packed NULL: rounded to nearest here */
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

/* Its place among the blocks, and its tensors in the files. made: of a quantized one, where its codes are; NULL =
 * nowhere yet. */
static enum woq_status add_layer(struct stream *s, const struct woq_tensor *t, const struct woq_format *format,
                                 const struct woq_checkpoint *made)
{
    struct layer *l = &s->layers[s->count++];
    *l = (struct layer){.tensor = t, .rows = 1, .columns = t->rank ? t->shape[t->rank - 1] : 1, .format = format};
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        l->rows *= t->shape[i];
    l->row_bytes = l->rows ? t->bytes / l->rows : 0;
    uint64_t fit = l->columns ? BLOCK_ELEMENTS / l->columns : BLOCK_ELEMENTS;
    l->block_rows = fit > BLOCK_ROWS ? fit / BLOCK_ROWS * BLOCK_ROWS : BLOCK_ROWS;
    l->block_rows = l->block_rows < l->rows ? l->block_rows : l->rows;
    l->begin = s->blocks;
    s->blocks += l->rows && l->columns ? (l->rows + l->block_rows - 1) / l->block_rows : 0;
    l->end = s->blocks;
    if (format) {
        enum woq_status st = woqi_ct_add(&s->writer, t->name, woqi_linear_name(t->name), format, l->rows, l->columns,
                                         &l->matrix);
        return st || !made ? st : woqi_ct_find(&s->writer, &l->matrix, made, &l->made);
    }
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
        woqi_element_store(type, x->codes, i, x->w[i]);
        if (!isfinite(woqi_element_load(type, x->codes, i)))
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: %s: the weight at row %llu, column %llu is %g, which type %s cannot hold",
                              s->source, l->tensor->name, (unsigned long long)(first + i / l->columns),
                              (unsigned long long)(i % l->columns), (double)x->w[i], woq_type_name(type));
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

static enum woq_status write_block(struct stream *s, struct layer *l, struct scratch *x, uint64_t first, uint64_t rows)
{
    if (l->made.packed)
        return woqi_ct_copy_rows(&s->writer, &l->matrix, first, rows, &l->made);
    enum woq_status st = woq_tensor_read(l->tensor, first, rows, x->w);
    if (!st)
        st = l->format ? write_quantized(s, l, x, first, rows) : write_plain(s, l, x, first, rows);
    return st;
}

static enum woq_status scan_block(const struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                  uint64_t rows, float *low, float *high)
{
    const struct woqi_rtn_block block = {s->source, l->tensor->name, first, false, 0, 0};
    enum woq_status st = woq_tensor_read(l->tensor, first, rows, x->w);
    return st ? st : woqi_rtn_scan(rows, l->columns, x->w, 1, &block, low, high);
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
    enum woq_status st = scan ? scan_block(s, l, x, first, rows, &low, &high) : write_block(s, l, x, first, rows);
#ifdef _OPENMP
#pragma omp critical
#endif
    {
        l->low = low < l->low ? low : l->low;
        l->high = high > l->high ? high : l->high;
        s->done += scan ? 0 : rows * l->row_bytes;
        if (st && (!outcome->status || index < outcome->block)) {
            outcome->status = st;
            outcome->block = index;
            snprintf(outcome->message, sizeof outcome->message, "%s", woq_last_message());
        }
    }
}

/* At tensor granularity a layer is read twice: a scale needs its whole matrix. */
static bool is_scanned(const struct layer *l)
{
    return l->format && l->format->group == WOQ_GROUP_TENSOR && !l->made.packed;
}

/* Pages of the mapped source count as memory of this process, and would add up to all of it. */
static void forget(const struct layer *l)
{
    const struct woq_tensor *const read[] = {l->tensor, l->made.packed, l->made.scale, l->made.zero};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (read[i])
            woqi_ckpt_forget(read[i]);
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
        if (!scan || is_scanned(l))
            do_block(s, l, x, i, scan, &outcome);
    }
    for (struct layer *l = layer_of(s, begin); l < s->layers + s->count && l->begin < end; l++)
        forget(l);
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

static enum woq_status do_all(struct stream *s)
{
    enum woq_status st = WOQ_OK;
    int pass = 1;
    for (size_t i = 0; i < s->count; i++)
        if (is_scanned(&s->layers[i]))
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

/* Tensor `index` of the source, or what the results have in its place. */
static enum woq_status add_tensor(struct stream *s, size_t index)
{
    const struct woqi_plan *plan = s->plan;
    const struct woq_tensor *t = woq_checkpoint_tensor(plan->checkpoint, index), *other = NULL;
    const struct woq_checkpoint *made = NULL;
    const uint32_t layer = woqi_layer_number(t->name);
    enum woq_status st = WOQ_OK;
    if (plan->results && layer != UINT32_MAX)
        st = woqi_results_layer(plan->results, layer, &made);
    if (st)
        return st;
    if (plan->use[index] == WOQI_USE_QUANTIZE)
        return add_layer(s, t, &plan->formats[index], made);
    if (made && (other = woq_checkpoint_find(made, t->name))) {
        if (other->rank != t->rank || memcmp(other->shape, t->shape, sizeof t->shape))
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s' has another shape than in %s",
                              woq_checkpoint_path(made), t->name, s->source);
    }
    st = add_layer(s, t, NULL, NULL);
    if (other)
        s->layers[s->count - 1].tensor = other;
    return st;
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
            st = add_tensor(&s, i);
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
