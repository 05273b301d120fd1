/* report_read.c: the JSON of `woq quantize --report`, checked. */
#include "report_data.h"
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *command, *file;
    char place[96]; /* "layers[3].stages[0].", empty in the root */
};

enum kind { TEXT, TRUTH, COUNT, REAL, OPTIONAL_REAL, LIST, HISTOGRAM };

struct field {
    const char *key;
    enum kind kind;
    size_t offset; /* in the struct that is read into */
};

#define FIELD(type, key, kind, member) {key, kind, offsetof(struct type, member)}

static const struct field report_fields[] = {
    FIELD(report, "woq", TEXT, woq),
    FIELD(report, "model", TEXT, model),
    FIELD(report, "method", TEXT, method),
    FIELD(report, "text", TEXT, text),
    FIELD(report, "samples", COUNT, samples),
    FIELD(report, "window", COUNT, window),
    FIELD(report, "seed", COUNT, seed),
    FIELD(report, "damping", REAL, damping),
    FIELD(report, "input_share", REAL, input_share),
    FIELD(report, "residual_share", REAL, residual_share),
    FIELD(report, "natural_order", TRUTH, natural_order),
    FIELD(report, "math", TEXT, math),
    FIELD(report, "bits_per_weight", REAL, bits_per_weight),
    FIELD(report, "seconds", REAL, seconds),
    FIELD(report, "budget", OPTIONAL_REAL, budget),
    {NULL, TEXT, 0}};

static const struct field stage_fields[] = {
    FIELD(report_stage, "stage", TEXT, name),
    FIELD(report_stage, "tokens", COUNT, tokens),
    FIELD(report_stage, "damping", REAL, damping),
    FIELD(report_stage, "dead_channels", COUNT, dead),
    FIELD(report_stage, "awq_exponent", OPTIONAL_REAL, awq_exponent),
    FIELD(report_stage, "matrices", LIST, list),
    {NULL, TEXT, 0}};

static const struct field matrix_fields[] = {
    FIELD(report_matrix, "name", TEXT, name),
    FIELD(report_matrix, "format", TEXT, format),
    FIELD(report_matrix, "rows", COUNT, rows),
    FIELD(report_matrix, "columns", COUNT, columns),
    FIELD(report_matrix, "output_rms", REAL, output_rms),
    FIELD(report_matrix, "relative_error_rtn", REAL, error_rtn),
    FIELD(report_matrix, "relative_error", REAL, error),
    FIELD(report_matrix, "snr_db_rtn", REAL, snr_rtn),
    FIELD(report_matrix, "snr_db", REAL, snr),
    FIELD(report_matrix, "range_kept", REAL, range_kept),
    FIELD(report_matrix, "scale_min", REAL, scale_min),
    FIELD(report_matrix, "scale_median", REAL, scale_median),
    FIELD(report_matrix, "scale_max", REAL, scale_max),
    FIELD(report_matrix, "groups", COUNT, groups),
    FIELD(report_matrix, "negative_scales", COUNT, negative),
    FIELD(report_matrix, "weight_limit", REAL, weight_limit),
    FIELD(report_matrix, "weight_histogram", HISTOGRAM, weights),
    FIELD(report_matrix, "scale_histogram", HISTOGRAM, scales),
    FIELD(report_matrix, "seconds", REAL, seconds),
    {NULL, TEXT, 0}};

static const struct field sensitivity_fields[] = {
    FIELD(report_sensitivity, "layer", COUNT, layer),
    FIELD(report_sensitivity, "stage", TEXT, stage),
    FIELD(report_sensitivity, "bits", COUNT, bits),
    FIELD(report_sensitivity, "kl", REAL, kl),
    FIELD(report_sensitivity, "relative_error", REAL, relative_error),
    FIELD(report_sensitivity, "weights", COUNT, weights),
    {NULL, TEXT, 0}};

static bool refuse(const struct reader *r, const char *format, ...) TOOL_PRINTF(2, 3);

static bool refuse(const struct reader *r, const char *format, ...)
{
    char why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    tool_failed(r->command, "'%s' is no report of 'woq quantize --report': %s", r->file, why);
    return false;
}

static bool wrong(const struct reader *r, const char *key, const char *wanted)
{
    return refuse(r, "'%s%s' must be %s", r->place, key, wanted);
}

static bool read_histogram(const struct reader *r, const char *key, yyjson_val *list, struct report_histogram *out)
{
    size_t i, size;
    yyjson_val *value;
    if (!yyjson_is_arr(list) || !yyjson_arr_size(list) || yyjson_arr_size(list) > REPORT_BINS)
        return wrong(r, key, "a list of counts");
    out->count = tool_alloc(yyjson_arr_size(list), sizeof *out->count);
    out->bins = yyjson_arr_size(list);
    yyjson_arr_foreach(list, i, size, value) {
        if (!yyjson_is_uint(value))
            return wrong(r, key, "a list of counts");
        out->count[i] = (double)yyjson_get_uint(value);
        out->most = fmax(out->most, out->count[i]);
    }
    return true;
}

static bool read_field(const struct reader *r, const struct field *f, yyjson_val *value, void *out)
{
    const bool null = !value || yyjson_is_null(value);
    if (!value && f->kind != OPTIONAL_REAL)
        return refuse(r, "'%s%s' is missing", r->place, f->key);
    switch (f->kind) {
    case TEXT:
        if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value))
            return wrong(r, f->key, "a text");
        *(const char **)out = yyjson_get_str(value);
        return true;
    case TRUTH:
        if (!yyjson_is_bool(value))
            return wrong(r, f->key, "true or false");
        *(bool *)out = yyjson_get_bool(value);
        return true;
    case COUNT:
        if (!yyjson_is_uint(value))
            return wrong(r, f->key, "a whole number, not negative");
        *(uint64_t *)out = yyjson_get_uint(value);
        return true;
    case REAL:
    case OPTIONAL_REAL:
        if (!null && !yyjson_is_num(value))
            return wrong(r, f->key, "a number");
        *(double *)out = null ? NAN : yyjson_get_num(value);
        return true;
    case LIST:
        if (!yyjson_is_arr(value))
            return wrong(r, f->key, "a list");
        *(yyjson_val **)out = value;
        return true;
    case HISTOGRAM: return read_histogram(r, f->key, value, out);
    }
    return false;
}

/* The fields of an object; others that it may have are passed over. */
static bool read_fields(const struct reader *r, yyjson_val *object, const struct field *fields, void *out)
{
    if (!yyjson_is_obj(object))
        return refuse(r, "'%.*s' must be an object", (int)strlen(r->place) - 1, r->place);
    for (const struct field *f = fields; f->key; f++)
        if (!read_field(r, f, yyjson_obj_get(object, f->key), (char *)out + f->offset))
            return false;
    return true;
}

/* ---- Layers ---- */

/* Matrices are told apart by the end of their name, "q_proj" of "model.layers.0.self_attn.q_proj". */
static bool find_kind(const struct reader *r, struct report *p, struct report_matrix *m)
{
    const char *dot = strrchr(m->name, '.'), *tail = dot ? dot + 1 : m->name;
    for (m->kind = 0; m->kind < p->kind_count; m->kind++)
        if (!strcmp(p->kinds[m->kind], tail))
            return true;
    if (p->kind_count == REPORT_KINDS)
        return refuse(r, "'%sname' ends in '%s', one more than the %d kinds of matrices that a layer can have",
                      r->place, tail, REPORT_KINDS);
    p->kinds[p->kind_count++] = tail;
    return true;
}

static bool read_matrices(struct reader *r, struct report *p, size_t layer, struct report_stage *stage)
{
    char place[sizeof r->place];
    size_t i, size;
    yyjson_val *value;
    memcpy(place, r->place, sizeof place);
    p->matrix = tool_grow(p->matrix, p->matrices + yyjson_arr_size(stage->list) + 1, sizeof *p->matrix);
    yyjson_arr_foreach(stage->list, i, size, value) {
        struct report_matrix *m = &p->matrix[p->matrices++];
        *m = (struct report_matrix){.layer = layer, .stage = stage};
        snprintf(r->place, sizeof r->place, "%.60smatrices[%zu].", place, i);
        if (!read_fields(r, value, matrix_fields, m) || !find_kind(r, p, m))
            return false;
        for (size_t k = p->matrices - 1; k > 0 && p->matrix[k - 1].layer == layer; k--)
            if (p->matrix[k - 1].kind == m->kind)
                return refuse(r, "'%sname' ends in '%s' as another one of its layer does", r->place,
                              p->kinds[m->kind]);
    }
    return true;
}

/* Stages stay where they are, as matrices point to them: their number has been counted before. */
static bool read_layer(struct reader *r, struct report *p, size_t layer, yyjson_val *object)
{
    static const struct field fields[] = {{"layer", COUNT, 0}, {NULL, TEXT, 0}};
    uint64_t number = 0;
    size_t i, size;
    yyjson_val *value;
    snprintf(r->place, sizeof r->place, "layers[%zu].", layer);
    if (!read_fields(r, object, fields, &number))
        return false;
    if (number != layer)
        return refuse(r, "'%slayer' must be %zu", r->place, layer);
    yyjson_arr_foreach(yyjson_obj_get(object, "stages"), i, size, value) {
        struct report_stage *stage = &p->stage[p->stages++];
        snprintf(r->place, sizeof r->place, "layers[%zu].stages[%zu].", layer, i);
        if (!read_fields(r, value, stage_fields, stage) || !read_matrices(r, p, layer, stage))
            return false;
    }
    return true;
}

static bool read_layers(struct reader *r, struct report *p, yyjson_val *list)
{
    size_t i, size, stages = 0;
    yyjson_val *value;
    yyjson_arr_foreach(list, i, size, value) {
        yyjson_val *own = yyjson_obj_get(value, "stages");
        if (!yyjson_is_arr(own))
            return refuse(r, "'layers[%zu].stages' is %s", i, own ? "no list" : "missing");
        stages += yyjson_arr_size(own);
    }
    if (yyjson_arr_size(list) > REPORT_LAYERS)
        return refuse(r, "it has more than %d layers", REPORT_LAYERS);
    p->layers = yyjson_arr_size(list);
    p->layer = tool_alloc(p->layers, sizeof *p->layer);
    p->stage = tool_alloc(stages, sizeof *p->stage);
    yyjson_arr_foreach(list, i, size, value)
        if (!read_layer(r, p, i, value))
            return false;
    r->place[0] = 0;
    if (!p->matrices)
        return refuse(r, "there is no quantized matrix in it");
    return true;
}

/* ---- Sensitivity ---- */

static int most_sensitive_first(const void *left, const void *right)
{
    const struct report_sensitivity *a = left, *b = right;
    const double x = isnan(a->kl) ? -INFINITY : a->kl, y = isnan(b->kl) ? -INFINITY : b->kl;
    if (x != y)
        return x < y ? 1 : -1;
    return a < b ? -1 : a > b;
}

static bool read_sensitivity(struct reader *r, struct report *p, yyjson_val *list)
{
    size_t i, size;
    yyjson_val *value;
    if (!list || yyjson_is_null(list))
        return true;
    if (!yyjson_is_arr(list))
        return wrong(r, "sensitivity", "a list");
    p->sensitivity = tool_alloc(yyjson_arr_size(list), sizeof *p->sensitivity);
    yyjson_arr_foreach(list, i, size, value) {
        snprintf(r->place, sizeof r->place, "sensitivity[%zu].", i);
        if (!read_fields(r, value, sensitivity_fields, &p->sensitivity[p->sensitivities++]))
            return false;
    }
    qsort(p->sensitivity, p->sensitivities, sizeof *p->sensitivity, most_sensitive_first);
    return true;
}

/* ---- What follows from it ---- */

/* The kinds of a decoder in the order in which it computes them, and others after them, as they came. */
static void order_kinds(struct report *p)
{
    static const char *const usual[] = {"q_proj", "k_proj",    "v_proj",  "qkv_proj",     "o_proj",
                                        "gate_proj", "up_proj", "gate_up_proj", "down_proj"};
    enum { USUAL = sizeof usual / sizeof *usual };
    const char *ordered[REPORT_KINDS];
    size_t to[REPORT_KINDS], count = 0;
    for (size_t u = 0; u <= USUAL; u++)
        for (size_t k = 0; k < p->kind_count; k++) {
            size_t place = 0;
            while (place < USUAL && strcmp(p->kinds[k], usual[place]))
                place++;
            if (place != u)
                continue;
            to[k] = count;
            ordered[count++] = p->kinds[k];
        }
    memcpy(p->kinds, ordered, count * sizeof *ordered);
    for (size_t i = 0; i < p->matrices; i++)
        p->matrix[i].kind = to[p->matrix[i].kind];
}

/* Geometric means over the matrices that have both errors. */
static void mean_errors(const struct report_matrix *m, size_t count, double *rtn, double *error)
{
    double sum_rtn = 0, sum = 0;
    size_t counted = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(report_ratio(m[i].error_rtn, m[i].error)))
            continue;
        sum_rtn += log(m[i].error_rtn);
        sum += log(m[i].error);
        counted++;
    }
    *rtn = counted ? exp(sum_rtn / (double)counted) : NAN;
    *error = counted ? exp(sum / (double)counted) : NAN;
}

static bool worse(const struct report_layer *a, const struct report_layer *b)
{
    return a->error > b->error || (!isnan(a->error) && isnan(b->error)) ||
           (a < b && (a->error == b->error || (isnan(a->error) && isnan(b->error))));
}

static void sum_up(struct report *p)
{
    struct report_matrix *m = p->matrix;
    order_kinds(p);
    mean_errors(m, p->matrices, &p->error_rtn, &p->error);
    for (size_t i = 0; i < p->layers; i++) {
        struct report_layer *l = &p->layer[i];
        for (l->matrix = m; m < p->matrix + p->matrices && m->layer == i; m++)
            l->matrices++;
        mean_errors(l->matrix, l->matrices, &l->error_rtn, &l->error);
    }
    for (size_t i = 0; i < p->layers; i++)
        for (size_t j = 0; j < p->layers; j++)
            p->layer[i].rank += worse(&p->layer[j], &p->layer[i]);
}

const struct report_matrix *report_find(const struct report *report, size_t layer, size_t kind)
{
    const struct report_layer *l = &report->layer[layer];
    for (size_t i = 0; i < l->matrices; i++)
        if (l->matrix[i].kind == kind)
            return &l->matrix[i];
    return NULL;
}

size_t report_ranked(const struct report *report, size_t rank)
{
    size_t i = 0;
    while (report->layer[i].rank != rank)
        i++;
    return i;
}

double report_ratio(double a, double b)
{
    return a > 0 && b > 0 && isfinite(a) && isfinite(b) ? b / a : NAN;
}

/* ---- The file ---- */

int report_read(const char *command, const char *json_file, struct report *out)
{
    static const struct field lists[] = {{"layers", LIST, 0}, {NULL, TEXT, 0}};
    struct reader r = {command, json_file, ""};
    yyjson_read_err error;
    yyjson_val *layers = NULL;
    errno = 0;
    *out = (struct report){.doc = yyjson_read_file(json_file, 0, NULL, &error)};
    if (!out->doc && (error.code == YYJSON_READ_ERROR_FILE_OPEN || error.code == YYJSON_READ_ERROR_FILE_READ))
        return tool_failed(command, "cannot read '%s': %s", json_file, errno ? strerror(errno) : error.msg);
    if (!out->doc)
        return tool_failed(command, "'%s' is no JSON at byte %zu: %s", json_file, error.pos, error.msg);
    yyjson_val *root = yyjson_doc_get_root(out->doc);
    if (!yyjson_is_obj(root)) {
        refuse(&r, "it must be an object");
        return TOOL_FAILED;
    }
    if (!read_fields(&r, root, report_fields, out) || !read_fields(&r, root, lists, &layers) ||
        !read_layers(&r, out, layers) || !read_sensitivity(&r, out, yyjson_obj_get(root, "sensitivity")))
        return TOOL_FAILED;
    sum_up(out);
    return TOOL_OK;
}

void report_release(struct report *report)
{
    for (size_t i = 0; i < report->matrices; i++) {
        free(report->matrix[i].weights.count);
        free(report->matrix[i].scales.count);
    }
    free(report->matrix);
    free(report->stage);
    free(report->layer);
    free(report->sensitivity);
    yyjson_doc_free(report->doc);
    *report = (struct report){0};
}
