/* bench_model_report.c: the tables and the JSON of `woq bench --model`. */
#include "bench_model.h"

#include <string.h>

static double window_rate(const struct bench_model_options *o, const struct bench_model_row *r)
{
    return (o->window - 1) / r->window_seconds;
}

static void print_row(const struct bench_model_options *o, const struct bench_model *m,
                      const struct bench_model_row *r, struct tool_table *table)
{
    char size[24], peak[24];
    const double fast = r->done ? window_rate(o, r) : 0, slow = r->done ? 1 / r->token_seconds : 0;
    tool_table_add(table, "%s", tool_base_name(m->path));
    tool_table_add(table, "%s", m->weights.name);
    if (!r->done) {
        tool_table_span(table, "– %s", r->reason);
        return;
    }
    tool_table_add(table, "%s", r->info.format);
    tool_table_add(table, "%s", tool_bytes(r->info.weight_bytes, size));
    tool_table_add(table, "%.2f", r->info.bits_per_weight);
    tool_table_add(table, "%.2f", r->load_seconds);
    tool_table_add(table, "%.*f", fast < 100 ? 1 : 0, fast);
    tool_table_add(table, "%s %s", r->info.path, r->info.math);
    tool_table_add(table, "%.*f", slow < 100 ? 1 : 0, slow);
    tool_table_add(table, "%s %s", r->info.decode_path, r->info.decode_math);
    tool_table_add(table, "%s", tool_bytes(r->peak_bytes, peak));
}

/* The first row that was measured on the device, or else where the device was opened at least. */
static const struct bench_model_row *opened(const struct bench_model_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (*rows[i].device.selector)
            return &rows[i];
    return NULL;
}

void bench_model_print(const struct bench_model_options *o, char *const *selectors, size_t device_count,
                       const struct bench_model *models, size_t model_count,
                       const struct bench_model_row *rows, FILE *out)
{
    static const char *const heads[] = {"model", "weights", "format", "size", "bits", "load s",
                                        "tokens/s", "path", "decode/s", "path", "peak"};
    bool done = false;
    for (size_t d = 0; d < device_count; d++, rows += model_count) {
        struct tool_table table;
        const struct bench_model_row *row = opened(rows, model_count);
        if (!row) {
            fprintf(out, "%s%s: %s\n", d ? "\n" : "", selectors[d] ? selectors[d] : "(default)",
                    bench_reason(selectors[d], rows[0].reason));
            continue;
        }
        fprintf(out, "%s%s  %s, %s\n", d ? "\n" : "", row->device.selector, row->device.name,
                row->device.driver);
        tool_table_begin(&table, "lllrrrrlrlr");
        for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
            tool_table_add(&table, "%s", heads[i]);
        for (size_t m = 0; m < model_count; m++) {
            print_row(o, &models[m], &rows[m], &table);
            done = done || rows[m].done;
        }
        tool_table_end(&table, out);
    }
    if (!done)
        return;
    fprintf(out, "\nsize, bits: as in woq eval. tokens/s: windows of %u as perplexity takes them. decode/s: "
                 "greedy,\nafter a prompt of %d. Medians; what comes first, and may compile, is not "
                 "counted. path: of the first\nlayer's q/k/v. peak: host memory, the mapped file included.\n",
            o->window, BENCH_PROMPT);
}

static void json_row(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct bench_model_options *o,
                     const struct bench_model *m, const struct bench_model_row *r)
{
    yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
    tool_json_text(doc, v, "file", m->path);
    yyjson_mut_obj_add_str(doc, v, "weights", m->weights.name);
    if (!r->done) {
        tool_json_text(doc, v, "not_possible", r->reason);
        return;
    }
    yyjson_mut_obj_add_str(doc, v, "architecture", r->info.config.architecture);
    yyjson_mut_obj_add_str(doc, v, "format", r->info.format);
    yyjson_mut_obj_add_uint(doc, v, "parameters", r->info.parameters);
    yyjson_mut_obj_add_uint(doc, v, "weight_bytes", r->info.weight_bytes);
    tool_json_real(doc, v, "bits_per_weight", r->info.bits_per_weight);
    tool_json_real(doc, v, "open_seconds", r->open_seconds);
    tool_json_real(doc, v, "load_seconds", r->load_seconds);
    tool_json_real(doc, v, "tokens_per_second", window_rate(o, r));
    yyjson_mut_obj_add_uint(doc, v, "windows", r->windows);
    yyjson_mut_obj_add_str(doc, v, "path", r->info.path);
    yyjson_mut_obj_add_str(doc, v, "math", r->info.math);
    tool_json_real(doc, v, "decode_tokens_per_second", 1 / r->token_seconds);
    yyjson_mut_obj_add_uint(doc, v, "decoded_tokens", r->tokens);
    yyjson_mut_obj_add_str(doc, v, "decode_path", r->info.decode_path);
    yyjson_mut_obj_add_str(doc, v, "decode_math", r->info.decode_math);
    yyjson_mut_obj_add_uint(doc, v, "peak_host_bytes", r->peak_bytes);
}

int bench_model_write_json(const char *command, const struct bench_model_options *o,
                           char *const *selectors, size_t device_count, const struct bench_model *models,
                           size_t model_count, const struct bench_model_row *rows, const char *file)
{
    yyjson_mut_doc *doc = bench_json_begin();
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    yyjson_mut_obj_add_uint(doc, root, "window", o->window);
    yyjson_mut_obj_add_uint(doc, root, "prompt_tokens", BENCH_PROMPT);
    yyjson_mut_obj_add_str(doc, root, "x", woq_type_name(o->bench->x));
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "devices");
    for (size_t d = 0; d < device_count; d++, rows += model_count) {
        yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
        const struct bench_model_row *row = opened(rows, model_count);
        if (!row) {
            yyjson_mut_obj_add_str(doc, v, "selector", selectors[d] ? selectors[d] : "(default)");
            tool_json_text(doc, v, "not_possible", rows[0].reason);
            continue;
        }
        bench_json_device(doc, v, &row->device);
        yyjson_mut_val *entries = yyjson_mut_obj_add_arr(doc, v, "models");
        for (size_t m = 0; m < model_count; m++)
            json_row(doc, entries, o, &models[m], &rows[m]);
    }
    return tool_json_write(command, doc, file);
}
