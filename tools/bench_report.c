/* bench_report.c: the tables and the JSON of `woq bench`. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Three or four digits, as one reads them. */
static void number(double value, char out[24])
{
    snprintf(out, 24, "%.*f", value >= 1000 ? 0 : value >= 100 ? 1 : value >= 1 ? 2 : 3, value);
}

static void print_row(struct tool_table *table, const struct bench_row *r)
{
    char us[24], gbs[24], gflops[24];
    tool_table_add(table, "%llu×%llu", (unsigned long long)r->shape.n,
                   (unsigned long long)r->shape.k);
    tool_table_add(table, "%s", r->format->name);
    tool_table_add(table, "%u", r->m);
    if (!r->done) {
        tool_table_span(table, "– %s", r->reason);
        return;
    }
    number(r->times.seconds * 1e6, us);
    number(r->gbs, gbs);
    number(r->gflops, gflops);
    tool_table_add(table, "%s", r->path);
    tool_table_add(table, "%s", r->math);
    tool_table_add(table, "%s%s", us, r->cached ? "*" : " ");
    tool_table_add(table, "%s", gbs);
    if (r->share > 0)
        tool_table_add(table, "%.1f %%", r->share * 100);
    else
        tool_table_add(table, "–");
    tool_table_add(table, "%s", gflops);
    if (r->limit)
        tool_table_add(table, "%.1f %% %s", r->limit_share * 100, woq_limit_name(r->limit));
    else
        tool_table_add(table, "–");
    if (r->error.fraction <= 1)
        tool_table_add(table, "%.3f", r->error.fraction);
    else
        tool_table_add(table, "%.3g WRONG", r->error.fraction);
}

/* A line of what the device can do, as far as a row wanted to know. */
static void print_limits(const struct bench_device *d, FILE *out)
{
    char text[24];
    bool any = false;
    for (int i = WOQ_LIMIT_READ; i < WOQ_LIMIT_COUNT; i++) {
        if (!(d->limits[i] > 0))
            continue;
        number(d->limits[i] * (i == WOQ_LIMIT_READ ? 1e-9 : 2e-9), text);
        fprintf(out, "%s%s %s %s", any ? ", " : "limits: ", woq_limit_name((enum woq_limit)i), text,
                i == WOQ_LIMIT_READ ? "GB/s" : i < WOQ_LIMIT_AVX2 ? "GFLOP/s" : "Gop/s");
        any = true;
    }
    if (any)
        fputc('\n', out);
}

const char *bench_reason(const char *selector, const char *reason)
{
    const size_t size = selector ? strlen(selector) : 0;
    if (!size || strncmp(reason, selector, size) || (reason[size] != ':' && reason[size] != ' '))
        return reason;
    return reason + size + strspn(reason + size, ": ");
}

static void print_device(const struct bench_options *o, const struct bench_device *d, FILE *out)
{
    struct tool_table table;
    char size[24], rotate[24], copy[24];
    bool any_cached = false, device_clock = false, done = false, faster = false;
    if (!d->device) {
        fprintf(out, "%s: %s\n", d->selector, bench_reason(d->selector, d->reason));
        return;
    }
    for (size_t i = 0; i < d->row_count; i++) {
        any_cached = any_cached || (d->rows[i].done && d->rows[i].cached);
        device_clock = device_clock || d->rows[i].times.device_clock;
        done = done || d->rows[i].done;
        faster = faster || (d->rows[i].done && d->rows[i].share > 1);
    }
    fprintf(out, "%s  %s, %s\n", d->info.selector, d->info.name, d->info.driver);
    if (d->copy_gbs > 0) {
        number(d->copy_gbs, copy);
        fprintf(out, "copy bandwidth %s GB/s (bytes read + written, %s); ", copy,
                tool_bytes(d->copy_bytes, size));
    } else {
        fprintf(out, "%s; ", d->reason);
    }
    print_limits(d, out);
    fprintf(out, "X %s, Y %s; ", woq_type_name(o->x), woq_type_name(o->y));
    fprintf(out, "weights taken in turn from %s; %s\n", tool_bytes(d->rotate, rotate),
            !done ? "nothing was timed" : device_clock ? "device timestamps" : "host clock");
    tool_table_begin(&table, "llrllrrrrlr");
    const char *const heads[] = {"N×K", "format", "M", "path", "math", "µs ", "GB/s",
                                 d->limits[WOQ_LIMIT_READ] > 0 ? "of read" : "of copy", "GFLOP/s", "of limit",
                                 "error/bound"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tool_table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < d->row_count; i++)
        print_row(&table, &d->rows[i]);
    tool_table_end(&table, out);
    if (any_cached)
        fprintf(out, "* not enough copies of the weights to be sure that they come from memory\n");
    if (faster)
        fprintf(out, "above 100 %%: the product reads its weights faster than %s\n",
                d->limits[WOQ_LIMIT_READ] > 0 ? "the kernel that only reads; caches help, or its pattern does"
                                              : "a copy reads and writes");
}

/* The same rows of every device side by side. */
static void print_comparison(const struct bench_device *devices, size_t count, FILE *out)
{
    struct tool_table table;
    char align[3 + 2 * 64 + 1] = "llr", text[24];
    const struct bench_device *opened[64];
    size_t open = 0;
    for (size_t i = 0; i < count && open < 64; i++)
        if (devices[i].device)
            opened[open++] = &devices[i];
    if (open < 2)
        return;
    for (size_t i = 0; i < open; i++)
        strcat(align, i ? "rr" : "r");
    fprintf(out, "\nAll devices: µs per product, and how many times as fast as %s\n",
            opened[0]->info.selector);
    tool_table_begin(&table, align);
    tool_table_add(&table, "N×K");
    tool_table_add(&table, "format");
    tool_table_add(&table, "M");
    for (size_t i = 0; i < open; i++) {
        tool_table_add(&table, "%s", opened[i]->info.selector);
        if (i)
            tool_table_add(&table, "ratio");
    }
    for (size_t row = 0; row < opened[0]->row_count; row++) {
        const struct bench_row *first = &opened[0]->rows[row];
        tool_table_add(&table, "%llu×%llu", (unsigned long long)first->shape.n,
                       (unsigned long long)first->shape.k);
        tool_table_add(&table, "%s", first->format->name);
        tool_table_add(&table, "%u", first->m);
        for (size_t i = 0; i < open; i++) {
            const struct bench_row *r = &opened[i]->rows[row];
            if (r->done)
                number(r->times.seconds * 1e6, text);
            tool_table_add(&table, "%s", r->done ? text : "–");
            if (!i)
                continue;
            if (r->done && first->done)
                tool_table_add(&table, "×%.3g", first->times.seconds / r->times.seconds);
            else
                tool_table_add(&table, "–");
        }
    }
    tool_table_end(&table, out);
}

void bench_print(const struct bench_options *options, const struct bench_device *devices,
                 size_t count, FILE *out)
{
    bool done = false;
    for (size_t i = 0; i < count; i++) {
        if (i)
            fputc('\n', out);
        print_device(options, &devices[i], out);
        for (size_t row = 0; row < devices[i].row_count; row++)
            done = done || devices[i].rows[row].done;
    }
    if (!done)
        return;
    print_comparison(devices, count, out);
    fprintf(out, "\nµs: one product, median over batches of products that each wait for the one before. GB/s: "
                 "codes, scales\nand zeros ÷ time. of read, of limit: ÷ what a kernel reaches that only reads, or only "
                 "runs the instruction\nthat the product multiplies with. error/bound: largest error against a "
                 "product in double, ÷ what woq/gemm.h\nallows; ≤ 1 is right.\n");
}

/* ---- JSON ---- */

static void json_row(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct bench_row *r)
{
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_uint(doc, o, "n", r->shape.n);
    yyjson_mut_obj_add_uint(doc, o, "k", r->shape.k);
    yyjson_mut_obj_add_str(doc, o, "format", r->format->name);
    yyjson_mut_obj_add_uint(doc, o, "m", r->m);
    if (!r->done) {
        yyjson_mut_obj_add_str(doc, o, "not_possible", r->reason);
        return;
    }
    yyjson_mut_obj_add_str(doc, o, "path", r->path);
    yyjson_mut_obj_add_str(doc, o, "kernel", r->kernel);
    yyjson_mut_obj_add_str(doc, o, "layout", r->layout);
    yyjson_mut_obj_add_str(doc, o, "math", r->math);
    tool_json_real(doc, o, "microseconds", r->times.seconds * 1e6);
    tool_json_real(doc, o, "microseconds_fastest", r->times.fastest * 1e6);
    yyjson_mut_obj_add_uint(doc, o, "batches", r->times.batches);
    yyjson_mut_obj_add_str(doc, o, "clock", r->times.device_clock ? "device" : "host");
    yyjson_mut_obj_add_uint(doc, o, "weight_bytes", r->payload);
    yyjson_mut_obj_add_uint(doc, o, "weight_copies", r->copies);
    yyjson_mut_obj_add_bool(doc, o, "weights_may_be_cached", r->cached);
    tool_json_real(doc, o, "gigabytes_per_second", r->gbs);
    tool_json_real(doc, o, r->of_read ? "fraction_of_read_bandwidth" : "fraction_of_copy_bandwidth", r->share);
    tool_json_real(doc, o, "gigaflops_per_second", r->gflops);
    if (r->limit) {
        yyjson_mut_obj_add_str(doc, o, "limit", woq_limit_name(r->limit));
        tool_json_real(doc, o, "fraction_of_limit", r->limit_share);
    }
    tool_json_real(doc, o, "error_fraction_of_bound", r->error.fraction);
    yyjson_mut_obj_add_uint(doc, o, "outputs_checked", r->error.checked);
    yyjson_mut_obj_add_bool(doc, o, "right", r->error.fraction <= 1);
}

static void json_device(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct bench_device *d)
{
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    if (!d->device) {
        yyjson_mut_obj_add_str(doc, o, "selector", d->selector);
        yyjson_mut_obj_add_str(doc, o, "not_possible", d->reason);
        return;
    }
    bench_json_device(doc, o, &d->info);
    if (d->copy_gbs > 0) {
        tool_json_real(doc, o, "copy_gigabytes_per_second", d->copy_gbs);
        yyjson_mut_obj_add_uint(doc, o, "copy_bytes", d->copy_bytes);
    } else {
        yyjson_mut_obj_add_str(doc, o, "copy_not_measured", d->reason);
    }
    yyjson_mut_val *limits = yyjson_mut_obj_add_obj(doc, o, "limits_per_second");
    for (int i = WOQ_LIMIT_READ; i < WOQ_LIMIT_COUNT; i++)
        if (d->limits[i] > 0)
            tool_json_real(doc, limits, woq_limit_name((enum woq_limit)i), d->limits[i]);
    yyjson_mut_obj_add_uint(doc, o, "rotated_bytes", d->rotate);
    yyjson_mut_val *rows = yyjson_mut_obj_add_arr(doc, o, "rows");
    for (size_t i = 0; i < d->row_count; i++)
        json_row(doc, rows, &d->rows[i]);
}

yyjson_mut_doc *bench_json_begin(void)
{
    char date[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    if (!doc)
        return NULL;
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string());
    yyjson_mut_obj_add_strcpy(doc, root, "date", date);
    return doc;
}

void bench_json_device(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct woq_device_info *info)
{
    yyjson_mut_obj_add_str(doc, object, "selector", info->selector);
    yyjson_mut_obj_add_str(doc, object, "name", info->name);
    yyjson_mut_obj_add_str(doc, object, "vendor", info->vendor);
    yyjson_mut_obj_add_str(doc, object, "driver", info->driver);
    yyjson_mut_obj_add_str(doc, object, "kind", tool_kind(info->kind));
}

yyjson_mut_val *bench_json_measured(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct woq_device_info *info,
                                    const char *selector, const char *reason)
{
    yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
    if (info) {
        bench_json_device(doc, v, info);
        return v;
    }
    yyjson_mut_obj_add_str(doc, v, "selector", selector ? selector : "(default)");
    tool_json_text(doc, v, "not_possible", reason);
    return NULL;
}

int bench_write_json(const char *command, const struct bench_options *options,
                     const struct bench_device *devices, size_t count, const char *file)
{
    yyjson_mut_doc *doc = bench_json_begin();
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    yyjson_mut_obj_add_str(doc, root, "x", woq_type_name(options->x));
    yyjson_mut_obj_add_str(doc, root, "y", woq_type_name(options->y));
    yyjson_mut_obj_add_str(doc, root, "path", options->path ? options->path : "planned");
    tool_json_real(doc, root, "seconds_per_row", options->seconds);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "devices");
    for (size_t i = 0; i < count; i++)
        json_device(doc, list, &devices[i]);
    return tool_json_write(command, doc, file);
}
