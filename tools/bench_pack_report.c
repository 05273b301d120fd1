/* bench_pack_report.c: the table and the JSON of `woq bench --pack`. */
#include "bench_pack.h"

static double rate(const struct bench_pack_row *row, double seconds)
{
    return seconds > 0 ? (double)row->bytes / seconds * 1e-9 : 0;
}

static void add_rate(struct tool_table *table, const struct bench_pack_row *row, double seconds)
{
    if (seconds > 0)
        tool_table_add(table, "%.2f", rate(row, seconds));
    else
        tool_table_add(table, "–");
}

static void add_row(struct tool_table *table, const struct bench_pack_row *r)
{
    char bytes[24];
    tool_table_add(table, "%llu×%llu", (unsigned long long)r->shape.n, (unsigned long long)r->shape.k);
    tool_table_add(table, "%s", r->format->name);
    if (!r->done) {
        tool_table_span(table, "– %s", r->reason);
        return;
    }
    tool_table_add(table, "%s", tool_bytes(r->bytes, bytes));
    tool_table_add(table, "%s", r->device_packed ? "device" : "host");
    if (r->pack > 0)
        tool_table_add(table, "%.1f", r->pack * 1e6);
    else
        tool_table_add(table, "–");
    add_rate(table, r, r->pack);
    tool_table_add(table, "%.2f", r->create * 1e3);
    add_rate(table, r, r->create);
    add_rate(table, r, r->write);
}

void bench_pack_print(char *const *selectors, const struct bench_pack_device *devices, size_t count, FILE *out)
{
    static const char *const heads[] = {"N×K",  "format",    "size", "packed by", "kernel µs",
                                        "GB/s", "create ms", "GB/s", "write GB/s"};
    bool done = false;
    for (size_t i = 0; i < count; i++) {
        const struct bench_pack_device *d = &devices[i];
        struct tool_table table;
        if (!d->rows) {
            fprintf(out, "%s%s – %s\n", i ? "\n" : "", selectors[i] ? selectors[i] : "(default)",
                    bench_reason(selectors[i], d->reason));
            continue;
        }
        fprintf(out, "%s%s  %s, %s\n", i ? "\n" : "", d->device.selector, d->device.name, d->device.driver);
        tool_table_begin(&table, "llrlrrrrr");
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
            tool_table_add(&table, "%s", heads[h]);
        for (size_t k = 0; k < d->count; k++)
            add_row(&table, &d->rows[k]);
        tool_table_end(&table, out);
        done |= d->done;
    }
    if (done)
        fprintf(out, "\nMedians. kernel: the device's packing alone, by its timestamps. create: all of woq_weights_create,\n"
                     "from host memory. write: woq_buffer_write of the codes as they are. GB/s: codes, scales and\n"
                     "zeros ÷ time.\n");
}

static void json_row(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct bench_pack_row *r)
{
    yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_uint(doc, v, "n", r->shape.n);
    yyjson_mut_obj_add_uint(doc, v, "k", r->shape.k);
    tool_json_text(doc, v, "format", r->format->name);
    if (!r->done) {
        tool_json_text(doc, v, "not_possible", r->reason);
        return;
    }
    yyjson_mut_obj_add_uint(doc, v, "bytes", r->bytes);
    yyjson_mut_obj_add_uint(doc, v, "runs", r->runs);
    yyjson_mut_obj_add_bool(doc, v, "device_packed", r->device_packed);
    if (r->pack > 0) {
        tool_json_real(doc, v, "pack_seconds", r->pack);
        tool_json_real(doc, v, "pack_gbs", rate(r, r->pack));
    }
    tool_json_real(doc, v, "create_seconds", r->create);
    tool_json_real(doc, v, "create_gbs", rate(r, r->create));
    tool_json_real(doc, v, "write_gbs", rate(r, r->write));
}

int bench_pack_write_json(const char *command, char *const *selectors, const struct bench_pack_device *devices,
                          size_t count, const char *file)
{
    yyjson_mut_doc *doc = bench_json_begin();
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, yyjson_mut_doc_get_root(doc), "devices");
    for (size_t i = 0; i < count; i++) {
        const struct bench_pack_device *d = &devices[i];
        yyjson_mut_val *v = bench_json_measured(doc, list, d->rows ? &d->device : NULL, selectors[i], d->reason);
        yyjson_mut_val *rows = v ? yyjson_mut_obj_add_arr(doc, v, "rows") : NULL;
        for (size_t k = 0; v && k < d->count; k++)
            json_row(doc, rows, &d->rows[k]);
    }
    return tool_json_write(command, doc, file);
}
