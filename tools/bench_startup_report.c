/* bench_startup_report.c: the table and the JSON of `woq bench --startup`. */
#include "bench_startup.h"

void bench_startup_print(char *const *selectors, const struct bench_startup_row *rows, size_t count,
                         FILE *out)
{
    static const char *const heads[] = {"device", "open cold", "open warm",
                                        "product cold", "product warm", ""};
    struct tool_table table;
    bool done = false;
    tool_table_begin(&table, "lrrrrl");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tool_table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < count; i++) {
        const struct bench_startup_row *r = &rows[i];
        const double ms[] = {r->cold.open * 1e3, r->warm.open * 1e3, r->cold.first * 1e3,
                             r->warm.first * 1e3};
        tool_table_add(&table, "%s", r->done ? r->device.selector : selectors[i] ? selectors[i]
                                                                                 : "(default)");
        if (!r->done) {
            tool_table_span(&table, "– %s", bench_reason(selectors[i], r->reason));
            continue;
        }
        for (size_t k = 0; k < sizeof ms / sizeof *ms; k++)
            tool_table_add(&table, "%.*f", ms[k] < 100 ? 1 : 0, ms[k]);
        tool_table_add(&table, "%s, %s", r->device.name, r->device.driver);
        done = true;
    }
    tool_table_end(&table, out);
    if (done)
        fprintf(out, "\nms, medians over processes that open their first device: %d with empty caches on "
                     "disk, %d with caches\nthat a run before has filled. product: until the result of "
                     "a first one (%d×%d w4g128, M 1,\nplanned for up to %d), from before opening.\n",
                BENCH_COLD, BENCH_WARM, BENCH_FIRST, BENCH_FIRST, BENCH_FIRST_M);
}

static void json_times(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key,
                       const struct bench_startup_times *times, int samples)
{
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, object, key);
    yyjson_mut_obj_add_int(doc, v, "samples", samples);
    tool_json_real(doc, v, "open_seconds", times->open);
    tool_json_real(doc, v, "first_product_seconds", times->first);
}

int bench_startup_write_json(const char *command, char *const *selectors,
                             const struct bench_startup_row *rows, size_t count, const char *file)
{
    yyjson_mut_doc *doc = bench_json_begin();
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, yyjson_mut_doc_get_root(doc), "devices");
    for (size_t i = 0; i < count; i++) {
        yyjson_mut_val *v = bench_json_measured(doc, list, rows[i].done ? &rows[i].device : NULL, selectors[i],
                                                rows[i].reason);
        if (!v)
            continue;
        json_times(doc, v, "cold", &rows[i].cold, BENCH_COLD);
        json_times(doc, v, "warm", &rows[i].warm, BENCH_WARM);
    }
    return tool_json_write(command, doc, file);
}
