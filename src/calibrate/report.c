/* report.c: what became of each layer, as JSON. */
#include "calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the report");
}

/* JSON has no infinities. */
static bool add_real(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, double value)
{
    return isfinite(value) ? yyjson_mut_obj_add_real(doc, object, key, value)
                           : yyjson_mut_obj_add_null(doc, object, key);
}

static bool add_counts(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const uint64_t *counts)
{
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    bool fine = yyjson_mut_obj_add_val(doc, object, key, list);
    for (int i = 0; i < WOQI_HISTOGRAM_BINS && fine; i++)
        fine = yyjson_mut_arr_add_uint(doc, list, counts[i]);
    return fine;
}

static yyjson_mut_val *matrix(yyjson_mut_doc *doc, const struct woqi_quantized *p)
{
    char format[64];
    yyjson_mut_val *o = yyjson_mut_obj(doc);
    woq_format_name(&p->format, format, sizeof format);
    const bool fine = yyjson_mut_obj_add_strcpy(doc, o, "name", p->name) &&
                      yyjson_mut_obj_add_strcpy(doc, o, "format", format) &&
                      yyjson_mut_obj_add_uint(doc, o, "rows", p->n) &&
                      yyjson_mut_obj_add_uint(doc, o, "columns", p->k) &&
                      add_real(doc, o, "output_rms", sqrt(p->energy / (double)p->n)) &&
                      add_real(doc, o, "relative_error_rtn", sqrt(p->error_rtn / p->energy)) &&
                      add_real(doc, o, "relative_error", sqrt(p->error / p->energy)) &&
                      add_real(doc, o, "snr_db_rtn", 10 * log10(p->energy / p->error_rtn)) &&
                      add_real(doc, o, "snr_db", 10 * log10(p->energy / p->error)) &&
                      add_real(doc, o, "range_kept", p->clip) &&
                      add_real(doc, o, "scale_min", (double)p->scale_min) &&
                      add_real(doc, o, "scale_median", (double)p->scale_median) &&
                      add_real(doc, o, "scale_max", (double)p->scale_max) &&
                      yyjson_mut_obj_add_uint(doc, o, "groups", p->groups) &&
                      yyjson_mut_obj_add_uint(doc, o, "negative_scales", p->negative) &&
                      add_real(doc, o, "weight_limit", (double)p->weight_limit) &&
                      add_counts(doc, o, "weight_histogram", p->weights) &&
                      add_counts(doc, o, "scale_histogram", p->scales) &&
                      add_real(doc, o, "seconds", p->seconds);
    return fine ? o : NULL;
}

static yyjson_mut_val *stage(yyjson_mut_doc *doc, const char *name, const struct woqi_stage_result *s)
{
    yyjson_mut_val *o = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    bool fine = yyjson_mut_obj_add_str(doc, o, "stage", name) && yyjson_mut_obj_add_uint(doc, o, "tokens", s->rows) &&
                add_real(doc, o, "damping", (double)s->damping) &&
                yyjson_mut_obj_add_uint(doc, o, "dead_channels", s->dead) &&
                (s->channel_scale ? add_real(doc, o, "awq_exponent", (double)s->exponent)
                                  : yyjson_mut_obj_add_null(doc, o, "awq_exponent")) &&
                yyjson_mut_obj_add_val(doc, o, "matrices", list);
    for (uint32_t i = 0; i < s->count && fine; i++)
        fine = yyjson_mut_arr_add_val(list, matrix(doc, &s->part[i]));
    return fine ? o : NULL;
}

enum woq_status woqi_report_layer(uint32_t layer, const struct woqi_stage_result stages[WOQI_STAGES], char **out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, root);
    bool fine = yyjson_mut_obj_add_uint(doc, root, "layer", layer) &&
                yyjson_mut_obj_add_val(doc, root, "stages", list);
    for (int i = 0; i < WOQI_STAGES && fine; i++)
        fine = yyjson_mut_arr_add_val(list, stage(doc, woqi_stage_name((enum woqi_stage)i), &stages[i]));
    *out = fine ? yyjson_mut_write(doc, 0, NULL) : NULL;
    yyjson_mut_doc_free(doc);
    return *out ? WOQ_OK : no_memory();
}

static bool add_layers(yyjson_mut_doc *doc, yyjson_mut_val *list, struct woqi_results *results, uint32_t layers,
                       enum woq_status *st)
{
    for (uint32_t i = 0; i < layers; i++) {
        char *text = NULL;
        if ((*st = woqi_results_report(results, i, &text)))
            return true;
        yyjson_doc *layer = yyjson_read(text, strlen(text), 0);
        free(text);
        yyjson_mut_val *copy = layer ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(layer)) : NULL;
        yyjson_doc_free(layer);
        if (!copy || !yyjson_mut_arr_add_val(list, copy))
            return false;
    }
    return true;
}

/* bits: of the codes that it got. */
static bool add_sensitivity(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct woqi_plan *plan,
                            const struct woqi_sensitivity *s)
{
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    bool fine = yyjson_mut_obj_add_val(doc, root, "sensitivity", list);
    for (uint32_t i = 0; i < s->count && fine; i++) {
        const struct woqi_unit *u = &s->units[i];
        const size_t at = u->tensors[0];
        const uint64_t bits = plan->use[at] != WOQI_USE_QUANTIZE ? 16 : plan->formats[at].code == WOQ_CODE_U4 ? 4 : 8;
        yyjson_mut_val *o = yyjson_mut_obj(doc);
        fine = yyjson_mut_obj_add_uint(doc, o, "layer", u->layer) &&
               yyjson_mut_obj_add_str(doc, o, "stage", woqi_stage_name(u->stage)) &&
               yyjson_mut_obj_add_uint(doc, o, "bits", bits) && add_real(doc, o, "kl", u->kl) &&
               add_real(doc, o, "relative_error", u->relative_error) &&
               yyjson_mut_obj_add_uint(doc, o, "weights", u->weights) && yyjson_mut_arr_add_val(list, o);
    }
    return fine;
}

/* Of the decoder's linear layers, scales and zeros included; FP16 ones with 16. */
static double bits_per_weight(const struct woqi_plan *plan)
{
    double bits = 0, weights = 0;
    for (size_t i = 0; i < woq_checkpoint_tensor_count(plan->checkpoint); i++) {
        const struct woq_tensor *t = woq_checkpoint_tensor(plan->checkpoint, i);
        const size_t size = woqi_linear_name(t->name);
        struct woq_format_sizes sizes;
        if (!size || strcmp(t->name + size, ".weight") || t->rank != 2)
            continue;
        const double count = (double)t->shape[0] * (double)t->shape[1];
        weights += count;
        if (plan->use[i] != WOQI_USE_QUANTIZE)
            bits += 16 * count;
        else if (!woq_format_get_sizes(&plan->formats[i], t->shape[0], t->shape[1], &sizes))
            bits += 8.0 * (double)(sizes.codes + sizes.scales + sizes.zeros);
    }
    return bits / weights;
}

static enum woq_status write_json(const char *path, yyjson_mut_doc *doc)
{
    struct woqi_atomic_file file;
    size_t size = 0;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, &size);
    if (!text)
        return no_memory();
    enum woq_status st = woqi_atomic_file_begin(&file, path);
    if (!st)
        st = woqi_atomic_dir_write(&file.dir, file.name, file.fd, text, size, 0);
    if (!st)
        st = woqi_atomic_file_commit(&file);
    woqi_atomic_file_end(&file);
    free(text);
    return st;
}

enum woq_status woqi_report_write(const struct woqi_plan *plan, const struct woq_calibrate_params *c,
                                  const struct woqi_samples *samples, const struct woqi_sensitivity *sensitivity,
                                  struct woqi_results *results, double seconds)
{
    enum woq_status st = WOQ_OK;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, root);
    const bool fine = yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string()) &&
                      yyjson_mut_obj_add_str(doc, root, "model", woq_checkpoint_path(plan->checkpoint)) &&
                      yyjson_mut_obj_add_str(doc, root, "method", woq_method_name(c->method)) &&
                      yyjson_mut_obj_add_str(doc, root, "text", c->text) &&
                      yyjson_mut_obj_add_uint(doc, root, "samples", samples->count) &&
                      yyjson_mut_obj_add_uint(doc, root, "window", samples->window) &&
                      yyjson_mut_obj_add_uint(doc, root, "seed", c->seed) &&
                      add_real(doc, root, "damping", (double)c->damping) &&
                      add_real(doc, root, "input_share", (double)c->input_share) &&
                      add_real(doc, root, "residual_share", (double)c->residual_share) &&
                      yyjson_mut_obj_add_bool(doc, root, "natural_order", c->natural_order) &&
                      yyjson_mut_obj_add_str(doc, root, "math", woq_math_name(c->math)) &&
                      add_real(doc, root, "bits_per_weight", bits_per_weight(plan)) &&
                      add_real(doc, root, "seconds", seconds) &&
                      (!(c->budget > 0) || add_real(doc, root, "budget", (double)c->budget)) &&
                      (!sensitivity->count || add_sensitivity(doc, root, plan, sensitivity)) &&
                      yyjson_mut_obj_add_val(doc, root, "layers", list) &&
                      add_layers(doc, list, results, plan->config.layers, &st);
    if (!fine)
        st = no_memory();
    if (!st)
        st = write_json(c->report, doc);
    yyjson_mut_doc_free(doc);
    return st;
}
