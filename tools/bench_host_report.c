/* bench_host_report.c: the table and the JSON of `woq bench --host`. */
#include "bench_host.h"

static const struct {
    const char *head, *key;
} kinds[BENCH_HOST_KINDS] = {{"as before", "as_before"}, {"new M", "new_m"}, {"new M, X, Y", "new_m_x_y"}};

void bench_host_print(char *const *selectors, const struct bench_host_row *rows, size_t count, FILE *out)
{
    struct tool_table table;
    bool done = false;
    tool_table_begin(&table, "llrrrl");
    tool_table_add(&table, "device");
    tool_table_add(&table, "path");
    for (int kind = 0; kind < BENCH_HOST_KINDS; kind++)
        tool_table_add(&table, "%s", kinds[kind].head);
    tool_table_add(&table, "%s", "");
    for (size_t i = 0; i < count; i++) {
        const struct bench_host_row *r = &rows[i];
        tool_table_add(&table, "%s", r->done ? r->device.selector : selectors[i] ? selectors[i] : "(default)");
        if (!r->done) {
            tool_table_span(&table, "– %s", bench_reason(selectors[i], r->reason));
            continue;
        }
        tool_table_add(&table, "%s", r->path);
        for (int kind = 0; kind < BENCH_HOST_KINDS; kind++)
            tool_table_add(&table, "%.2f", r->times[kind].median * 1e6);
        tool_table_add(&table, "%s, %s", r->device.name, r->device.driver);
        done = true;
    }
    tool_table_end(&table, out);
    if (done)
        fprintf(out, "\nµs that woq_commands_run takes to return, medians over up to %d runs, for a recording of one\n"
                     "product (%d×%d w4g128, M 1 … %d): with what was bound before, with another M, with another M\n"
                     "and other buffers. The reference backend multiplies meanwhile.\n",
                BENCH_HOST_RUNS, BENCH_HOST, BENCH_HOST, BENCH_HOST_VARIANTS);
}

int bench_host_write_json(const char *command, char *const *selectors, const struct bench_host_row *rows, size_t count,
                          const char *file)
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
        tool_json_text(doc, v, "path", rows[i].path);
        for (int kind = 0; kind < BENCH_HOST_KINDS; kind++) {
            const struct bench_host_time *t = &rows[i].times[kind];
            yyjson_mut_val *run = yyjson_mut_obj_add_obj(doc, v, kinds[kind].key);
            yyjson_mut_obj_add_uint(doc, run, "runs", t->runs);
            tool_json_real(doc, run, "median_seconds", t->median);
            tool_json_real(doc, run, "fastest_seconds", t->fastest);
        }
    }
    return tool_json_write(command, doc, file);
}
