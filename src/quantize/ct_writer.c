/*
 * ct_writer.c: tensors in compressed-tensors' form `pack-quantized`.
 *
 * Of a linear layer NAME with N rows, K columns, G groups:
 *   NAME.weight_packed      int32 [N, ceil(K·bits/32)]: codes unsigned, along K, low bits first; that is our canonical
 *                           row of codes, padded by zeros to whole words
 *   NAME.weight_scale       [N, G]; [N, 1] for one scale a row; a tensor's scale is repeated for each row
 *   NAME.weight_zero_point  asymmetric only: int32 [ceil(N·bits/32), G], packed along N, low bits first
 *   NAME.weight_shape       int64 [2] = N, K
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
    bool quantize;
    size_t plain, packed, scale, zero, shape; /* indices of the writer's tensors */
    uint64_t groups;                          /* of a row, as written */
    float low, high;                          /* of the whole, at tensor granularity */
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

static enum woqi_st_type st_type(enum woq_type type)
{
    return type == WOQ_F16 ? WOQI_ST_F16 : type == WOQ_BF16 ? WOQI_ST_BF16 : WOQI_ST_F32;
}

static enum woq_status add_quantized(struct stream *s, struct layer *l)
{
    struct woqi_st_writer *w = &s->writer;
    const struct woq_format *f = &s->plan->format;
    uint64_t bits = s->plan->params->bits, n = l->rows, k = l->columns;
    bool one = f->group == WOQ_GROUP_CHANNEL || f->group == WOQ_GROUP_TENSOR;
    l->groups = one ? 1 : k / f->group;
    char name[640];
    size_t size = woqi_linear_name(l->tensor->name);
    memcpy(name, l->tensor->name, size);
    name[size] = 0;
    enum woq_status st = woqi_st_add(w, name, ".weight_packed", WOQI_ST_I32, 2,
                                     (const uint64_t[]){n, (k * bits + 31) / 32}, true, &l->packed);
    if (!st)
        st = woqi_st_add(w, name, ".weight_scale", st_type(f->scale), 2, (const uint64_t[]){n, l->groups}, false,
                         &l->scale);
    if (!st && f->zero == WOQ_ZERO_POINT)
        st = woqi_st_add(w, name, ".weight_zero_point", WOQI_ST_I32, 2,
                         (const uint64_t[]){(n * bits + 31) / 32, l->groups}, false, &l->zero);
    if (!st)
        st = woqi_st_add(w, name, ".weight_shape", WOQI_ST_I64, 1, (const uint64_t[]){2}, false, &l->shape);
    return st;
}

/* Its place among the blocks, and its tensors in the files. */
static enum woq_status add_layer(struct stream *s, const struct woq_tensor *t, bool quantize)
{
    struct layer *l = &s->layers[s->count++];
    *l = (struct layer){.tensor = t, .rows = 1, .columns = t->rank ? t->shape[t->rank - 1] : 1, .quantize = quantize};
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        l->rows *= t->shape[i];
    uint64_t fit = l->columns ? BLOCK_ELEMENTS / l->columns : BLOCK_ELEMENTS;
    l->block_rows = fit > BLOCK_ROWS ? fit / BLOCK_ROWS * BLOCK_ROWS : BLOCK_ROWS;
    l->block_rows = l->block_rows < l->rows ? l->block_rows : l->rows;
    l->begin = s->blocks;
    s->blocks += l->rows && l->columns ? (l->rows + l->block_rows - 1) / l->block_rows : 0;
    l->end = s->blocks;
    if (quantize)
        return add_quantized(s, l);
    return woqi_st_add(&s->writer, t->name, "", st_type(s->plan->dtype), t->rank, t->shape, true, &l->plain);
}

/* Of the largest block of any layer. */
static enum woq_status make_scratch(struct stream *s)
{
    uint64_t elements = 0, words = 0, groups = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct layer *l = &s->layers[i];
        uint64_t e = l->block_rows * l->columns, w = l->block_rows * ((l->columns + 3) / 4 * 4);
        uint64_t g = l->quantize ? l->block_rows * l->groups : 0;
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
        x->words = malloc(words + 4 * groups + 1);
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

/* Rows of codes as whole words. */
static enum woq_status write_codes(struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                   uint64_t rows, uint64_t row_bytes)
{
    uint64_t padded = (row_bytes + 3) / 4 * 4;
    const uint8_t *from = x->codes;
    if (padded != row_bytes) {
        memset(x->words, 0, rows * padded);
        for (uint64_t r = 0; r < rows; r++)
            memcpy(x->words + r * padded, x->codes + r * row_bytes, row_bytes);
        from = x->words;
    }
    return woqi_st_write(&s->writer, l->packed, first * padded, from, rows * padded);
}

static enum woq_status write_zeros(struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                   uint64_t rows)
{
    uint64_t bits = s->plan->params->bits, in_word = 32 / bits, lines = (rows + in_word - 1) / in_word;
    memset(x->words, 0, 4 * lines * l->groups);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t g = 0; g < l->groups; g++) {
            uint64_t bit = r % in_word * bits;
            uint8_t *byte = x->words + 4 * (r / in_word * l->groups + g) + bit / 8;
            *byte = (uint8_t)(*byte | x->zeros[r * l->groups + g] << bit % 8);
        }
    return woqi_st_write(&s->writer, l->zero, 4 * (first / in_word) * l->groups, x->words, 4 * lines * l->groups);
}

static enum woq_status write_quantized(struct stream *s, const struct layer *l, struct scratch *x, uint64_t first,
                                       uint64_t rows)
{
    const struct woq_format *f = &s->plan->format;
    const bool tensor = f->group == WOQ_GROUP_TENSOR;
    const size_t size = woq_type_size(f->scale);
    const struct woqi_rtn_block block = {s->source, l->tensor->name, first, tensor, l->low, l->high};
    const struct woqi_rtn_arrays arrays = {x->codes, x->scales, f->zero == WOQ_ZERO_POINT ? x->zeros : NULL};
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(f, rows, l->columns, &sizes);
    if (!st)
        st = woqi_rtn(f, rows, l->columns, x->w, 1, &block, &arrays);
    for (uint64_t r = 1; r < rows && tensor && !st; r++) {
        memcpy(x->scales + r * size, x->scales, size);
        x->zeros[r] = x->zeros[0];
    }
    if (!st)
        st = write_codes(s, l, x, first, rows, sizes.row_bytes);
    if (!st)
        st = woqi_st_write(&s->writer, l->scale, first * l->groups * size, x->scales, rows * l->groups * size);
    if (!st && f->zero == WOQ_ZERO_POINT)
        st = write_zeros(s, l, x, first, rows);
    return st;
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
        st = l->quantize ? write_quantized(s, l, x, first, rows) : write_plain(s, l, x, first, rows);
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
        if (!scan || l->quantize)
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

/* At tensor granularity all is read twice: a scale needs its whole matrix. */
static enum woq_status do_all(struct stream *s)
{
    enum woq_status st = WOQ_OK;
    for (int pass = s->plan->format.group == WOQ_GROUP_TENSOR ? 0 : 1; pass < 2; pass++)
        for (uint64_t i = 0; i < s->blocks && !st; i += WAVE) {
            st = report(s, i);
            if (!st)
                st = do_wave(s, i, s->blocks - i < WAVE ? s->blocks : i + WAVE, pass == 0);
        }
    for (size_t i = 0; i < s->count && !st; i++) {
        const struct layer *l = &s->layers[i];
        uint8_t shape[16];
        for (int b = 0; b < 16; b++)
            shape[b] = (uint8_t)((b < 8 ? l->rows : l->columns) >> 8 * (b % 8));
        if (l->quantize)
            st = woqi_st_write(&s->writer, l->shape, 0, shape, sizeof shape);
    }
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
            st = add_layer(&s, woq_checkpoint_tensor(plan->checkpoint, i), plan->use[i] == WOQI_USE_QUANTIZE);
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
