/* statistics_file.c: the file of statistics, written and read. */
#include "statistics.h"
#include "quantize/quantizer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Vectors of an input, as the file has them. */
enum { ABSMAX, MEAN_ABS, MEAN, SECOND_MOMENT, VECTORS };
static const char *const suffixes[VECTORS] = {".absmax", ".mean_abs", ".mean", ".second_moment"};
static const char histogram_suffix[] = ".histogram";

/* ---- Writing ---- */

/* The input's vectors, [VECTORS][k], and its histogram. */
static enum woq_status make_vectors(const struct woqi_channel_statistics *c, float *out, int64_t *histogram)
{
    const double *const sums[VECTORS] = {NULL, c->sum_abs, c->sum, c->sum_squares};
    for (uint64_t i = 0; i < c->k; i++)
        for (int v = 0; v < VECTORS; v++) {
            const float value = sums[v] ? (float)(sums[v][i] / (double)c->rows) : c->absmax[i];
            if (!isfinite(value))
                return woq_report(WOQ_ERROR_INVALID_DATA, "%s%s: channel %" PRIu64 " is not finite as FP32", c->name,
                                  suffixes[v], i);
            out[(uint64_t)v * c->k + i] = value;
        }
    for (int i = 0; i < WOQI_STATISTICS_BINS; i++)
        histogram[i] = (int64_t)c->histogram[i];
    return WOQ_OK;
}

static enum woq_status check_rows(const struct woqi_statistics *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (!s->inputs[i].rows || s->inputs[i].rows != s->inputs[0].rows)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "statistics of '%s' are of %" PRIu64 " rows, of '%s' of %" PRIu64
                              "; must be equal and above 0",
                              s->inputs[i].name, s->inputs[i].rows, s->inputs[0].name, s->inputs[0].rows);
    return WOQ_OK;
}

/* The arrays of all inputs, data[input·(VECTORS + 1) + vector]; the histogram is last. The first owns the input's. */
static enum woq_status add_tensors(const struct woqi_statistics *s, struct woqi_st_writer *w, void **data)
{
    const uint64_t bins = WOQI_STATISTICS_BINS;
    enum woq_status st = WOQ_OK;
    size_t index;
    for (uint32_t i = 0; i < s->count && !st; i++, data += VECTORS + 1) {
        const struct woqi_channel_statistics *c = &s->inputs[i];
        int64_t *block = malloc(sizeof *block * WOQI_STATISTICS_BINS + VECTORS * c->k * sizeof(float));
        if (!block)
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no host memory to write statistics of '%s'", c->name);
        data[VECTORS] = block;
        float *vectors = (float *)(void *)(block + WOQI_STATISTICS_BINS);
        st = make_vectors(c, vectors, block);
        for (int v = 0; v < VECTORS && !st; v++) {
            data[v] = vectors + (uint64_t)v * c->k;
            st = woqi_st_add(w, c->name, suffixes[v], WOQI_ST_F32, 1, &c->k, false, &index);
        }
        if (!st)
            st = woqi_st_add(w, c->name, histogram_suffix, WOQI_ST_I64, 1, &bins, false, &index);
    }
    return st;
}

enum woq_status woqi_statistics_write(const struct woqi_statistics *s, const char *file)
{
    char samples[24], window[24], seed[24], rows[24], text[sizeof s->text];
    enum woq_status st = check_rows(s);
    if (st)
        return st;
    snprintf(samples, sizeof samples, "%" PRIu32, s->samples);
    snprintf(window, sizeof window, "%" PRIu32, s->window);
    snprintf(seed, sizeof seed, "%" PRIu64, s->seed);
    snprintf(rows, sizeof rows, "%" PRIu64, s->inputs[0].rows);
    /* A name that is cut or no UTF-8 would be no JSON. */
    snprintf(text, sizeof text, "%s", s->text);
    for (char *c = text; *c; c++)
        *c = (unsigned char)*c >= 0x80 || (unsigned char)*c < ' ' ? '?' : *c;
    const struct woqi_st_meta meta[] = {
        {"woq.kind", "statistics"}, {"woq.model", s->model}, {"woq.samples", samples}, {"woq.window", window},
        {"woq.seed", seed}, {"woq.rows", rows}, {"woq.text", text}};
    struct woqi_st_writer writer = {.meta = meta, .meta_count = sizeof meta / sizeof *meta};
    void **data = calloc((size_t)s->count * (VECTORS + 1), sizeof *data);
    if (!data)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "no host memory to write '%s'", file);
    st = add_tensors(s, &writer, data);
    if (!st)
        st = woqi_st_save(&writer, file, (const void *const *)data);
    woqi_st_free(&writer);
    for (uint32_t i = 0; i < s->count; i++)
        free(data[(size_t)i * (VECTORS + 1) + VECTORS]);
    free(data);
    return st;
}

/* ---- Reading ---- */

static bool get_text(const struct woq_checkpoint *c, const char *key, const char **text, size_t *size)
{
    char full[64];
    snprintf(full, sizeof full, "__metadata__.woq.%s", key);
    return woq_checkpoint_get_string(c, full, text, size);
}

static enum woq_status get_number(const struct woq_checkpoint *c, const char *key, uint64_t low, uint64_t high,
                                  uint64_t *out)
{
    const char *text = NULL;
    size_t size = 0;
    char *end = NULL;
    char digits[24] = "";
    const bool there = get_text(c, key, &text, &size) && size && size < sizeof digits;
    if (there)
        memcpy(digits, text, size);
    errno = 0;
    *out = strtoull(digits, &end, 10);
    if (there && *digits >= '0' && *digits <= '9' && end == digits + size && !errno && *out >= low && *out <= high)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA,
                      "%s: __metadata__ has no fit \"woq.%s\"; must be digits of a number from %" PRIu64
                      " to %" PRIu64,
                      woq_checkpoint_path(c), key, low, high);
}

static enum woq_status read_metadata(const struct woq_checkpoint *c, struct woqi_statistics *s, uint64_t *rows)
{
    const char *text = NULL;
    size_t size = 0;
    uint64_t samples = 0, window = 0;
    enum woq_status st = get_number(c, "samples", 1, UINT32_MAX, &samples);
    if (!st)
        st = get_number(c, "window", 1, UINT32_MAX, &window);
    if (!st)
        st = get_number(c, "seed", 0, UINT64_MAX, &s->seed);
    if (!st)
        st = get_number(c, "rows", 1, UINT32_MAX, rows);
    s->samples = (uint32_t)samples;
    s->window = (uint32_t)window;
    if (get_text(c, "text", &text, &size))
        snprintf(s->text, sizeof s->text, "%.*s", (int)(size < sizeof s->text ? size : sizeof s->text), text);
    return st;
}

static enum woq_status check_model(const struct woq_checkpoint *c, const struct woq_checkpoint *model, char own[65])
{
    const char *text = NULL;
    size_t size = 0;
    if (!get_text(c, "kind", &text, &size) || size != strlen("statistics") || memcmp(text, "statistics", size))
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: is no file of statistics: its __metadata__ must have \"woq.kind\": \"statistics\"",
                          woq_checkpoint_path(c));
    enum woq_status st = woqi_checkpoint_fingerprint(model, own);
    if (st)
        return st;
    if (!get_text(c, "model", &text, &size))
        size = 0;
    if (size == strlen(own) && !memcmp(text, own, size))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: statistics of another model, %.*s; '%s' is %s",
                      woq_checkpoint_path(c), (int)(size < 64 ? size : 64), size ? text : "",
                      woq_checkpoint_path(model), own);
}

/* A tensor [count] of this type; NULL with the message. */
static const void *find(const struct woq_checkpoint *c, const char *name, const char *suffix, enum woq_tensor_type type,
                        uint64_t count)
{
    char full[192];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    const struct woq_tensor *t = woq_checkpoint_find(c, full);
    if (t && t->type == type && t->rank == 1 && t->shape[0] == count)
        return t->data;
    woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s' is %s; must be %s [%" PRIu64 "]", woq_checkpoint_path(c), full,
               t ? "of another type or shape" : "missing", woq_tensor_type_name(type), count);
    return NULL;
}

static enum woq_status read_histogram(const struct woq_checkpoint *c, struct woqi_channel_statistics *s)
{
    const uint64_t all = s->rows * s->k; /* below 2^64: rows have 32 bits, and so have columns */
    int64_t bins[WOQI_STATISTICS_BINS];
    const void *data = find(c, s->name, histogram_suffix, WOQ_TENSOR_I64, WOQI_STATISTICS_BINS);
    if (!data)
        return WOQ_ERROR_INVALID_DATA;
    memcpy(bins, data, sizeof bins);
    s->not_finite = all;
    for (int i = 0; i < WOQI_STATISTICS_BINS; i++) {
        if (bins[i] < 0 || (uint64_t)bins[i] > s->not_finite)
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: bin %d of '%s%s' is %" PRId64 "; all must be 0 or more and at most %" PRIu64
                              " together",
                              woq_checkpoint_path(c), i, s->name, histogram_suffix, bins[i], all);
        s->histogram[i] = (uint64_t)bins[i];
        s->not_finite -= (uint64_t)bins[i];
    }
    return WOQ_OK;
}

static enum woq_status read_input(const struct woq_checkpoint *c, struct woqi_channel_statistics *s)
{
    double *const sums[VECTORS] = {NULL, s->sum_abs, s->sum, s->sum_squares};
    for (int v = 0; v < VECTORS; v++) {
        const uint8_t *data = find(c, s->name, suffixes[v], WOQ_TENSOR_F32, s->k);
        if (!data)
            return WOQ_ERROR_INVALID_DATA;
        for (uint64_t i = 0; i < s->k; i++) {
            float value;
            memcpy(&value, data + i * sizeof value, sizeof value);
            if (!isfinite(value) || (v != MEAN && value < 0))
                return woq_report(WOQ_ERROR_INVALID_DATA, "%s: '%s%s' is %g at channel %" PRIu64 "; must be finite%s",
                                  woq_checkpoint_path(c), s->name, suffixes[v], (double)value, i,
                                  v == MEAN ? "" : " and not below 0");
            if (sums[v])
                sums[v][i] = (double)value * (double)s->rows;
            else
                s->absmax[i] = value;
        }
    }
    return read_histogram(c, s);
}

enum woq_status woqi_statistics_read(const char *file, const struct woq_checkpoint *checkpoint,
                                     struct woqi_statistics *out)
{
    struct woq_model_config config = {.struct_size = sizeof config};
    struct woq_checkpoint *c = NULL;
    char model[65];
    uint64_t rows = 0;
    *out = (struct woqi_statistics){.count = 0};
    enum woq_status st = woq_checkpoint_open(file, NULL, &c);
    if (!st)
        st = check_model(c, checkpoint, model);
    if (!st)
        st = woq_checkpoint_config(checkpoint, &config);
    if (!st)
        st = woqi_statistics_create(&config, out);
    if (!st)
        st = read_metadata(c, out, &rows);
    for (uint32_t i = 0; i < out->count && !st; i++) {
        out->inputs[i].rows = rows;
        st = read_input(c, &out->inputs[i]);
    }
    if (!st)
        memcpy(out->model, model, sizeof model);
    woq_checkpoint_close(&c);
    if (st)
        woqi_statistics_release(out);
    return st;
}
