/* cmd_tune.c: `woq tune`: arguments, the device, the table, and the file of records. */
#include "tune.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_child.h"

static const char command[] = "woq tune";

static const char help[] =
    "usage: woq tune [options]\n\n"
    "Measures, for each shape x format x M, every variant of every kernel path (but floor) that\n"
    "takes the product, and checks each against the same product in double. What is faster than\n"
    "the library's own choice goes into a file of tuning records, which the library asks from\n"
    "then on when it plans a product of about such a shape (woq/tuning.h). 'woq explain' names\n"
    "the record that decided. A product's bits may depend on the variant.\n\n"
    "  -d, --device SEL    device (default: WOQ_DEVICE, else the best)\n"
    "  -s, --shapes LIST   N x K, outputs x inputs (default 4096x4096)\n"
    "  -f, --formats LIST  weight formats (default w4g128,w8), as in 'woq bench --help'\n"
    "  -m, --m LIST        rows of X (default 1,2,4,8,16,32,64,128,256)\n"
    "  -x, --x TYPE        type of X: f16 (default), bf16, f32\n"
    "      --math MODE     exact, rounded or fixed16 (default: what the path prefers); a record\n"
    "                      is for products that ask for the same\n"
    "  -b, --budget S      seconds to spend in all (default 120); what is not measured by then\n"
    "                      is left as it is\n"
    "      --for WHOM      whose records: device (default), or architecture or vendor, for all\n"
    "                      devices like this one that have no records of their own\n"
    "  -o, --output FILE   add the records to this file (default: the one that devices read,\n"
    "                      tuning.txt in the cache folder or what WOQ_TUNING names)\n"
    "      --dry-run       write no file, but print the records\n"
    "  -l, --log LEVEL     the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help          this text\n\n"
    "All variants are timed shortly, the best of them and the library's choice then in seven turns. A\n"
    "variant counts as faster if it is in every turn, and its median is by 3 %. It is recorded for\n"
    "these M rows and fewer, down to where that ends. An interrupt (Ctrl-C) ends the search; what was\n"
    "found until then is kept. A record replaces an older one of the same device, format, type of X,\n"
    "math mode and shape.\n\n"
    "Examples:\n"
    "  woq tune\n"
    "  woq tune --device opencl:0 --shapes 4096x4096,11008x4096 --formats w4g64z --budget 600\n"
    "  woq tune --m 1,16,64 --dry-run\n"
    "  WOQ_TUNING=off woq explain -n 4096 -k 4096\n";

enum long_only { OPTION_MATH = 256, OPTION_FOR, OPTION_DRY_RUN };

static const struct option options[] = {
    {"device", required_argument, NULL, 'd'},     {"shapes", required_argument, NULL, 's'},
    {"formats", required_argument, NULL, 'f'},    {"m", required_argument, NULL, 'm'},
    {"x", required_argument, NULL, 'x'},          {"math", required_argument, NULL, OPTION_MATH},
    {"budget", required_argument, NULL, 'b'},     {"for", required_argument, NULL, OPTION_FOR},
    {"output", required_argument, NULL, 'o'},     {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"log", required_argument, NULL, 'l'},        {"help", no_argument, NULL, 'h'},
    {0}};

struct request {
    struct bench_options bench;
    const char *device, *output;
    double budget;
    enum woq_tuning_scope scope;
    bool dry_run;
};

static bool parse_scope(const char *text, enum woq_tuning_scope *out, char *why)
{
    static const char *const names[] = {"device", "architecture", "vendor"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, names[i])) {
            *out = (enum woq_tuning_scope)i;
            return true;
        }
    snprintf(why, TOOL_WHY, "'%.40s' owns no records; device, architecture or vendor", text);
    return false;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Each m once, in rising order. */
static void sort_m(struct bench_options *b)
{
    size_t kept = 0;
    qsort(b->m, b->m_count, sizeof *b->m, by_number);
    for (size_t i = 0; i < b->m_count; i++)
        if (!kept || b->m[kept - 1] != b->m[i])
            b->m[kept++] = b->m[i];
    b->m_count = kept;
}

static bool parse_option(struct request *r, int c, char *why)
{
    struct bench_options *b = &r->bench;
    switch (c) {
    case 'd': r->device = optarg; break;
    case 's':
        free(b->shapes);
        return tool_parse_shapes(optarg, &b->shapes, &b->shape_count, why);
    case 'f':
        free(b->formats);
        return tool_parse_formats(optarg, &b->formats, &b->format_count, why);
    case 'm':
        free(b->m);
        return tool_parse_m_list(optarg, &b->m, &b->m_count, why);
    case 'x': return tool_parse_type(optarg, &b->x, why);
    case OPTION_MATH: return tool_parse_math(optarg, &b->math, why);
    case 'b': return tool_parse_seconds(optarg, &r->budget, why);
    case OPTION_FOR: return parse_scope(optarg, &r->scope, why);
    case 'o': r->output = optarg; break;
    case OPTION_DRY_RUN: r->dry_run = true; break;
    case 'l': return tool_parse_log(optarg, &b->log, why);
    }
    return true;
}

static void set_defaults(struct bench_options *b)
{
    char why[TOOL_WHY];
    if (!b->shape_count)
        tool_parse_shapes("4096x4096", &b->shapes, &b->shape_count, why);
    if (!b->format_count)
        tool_parse_formats("w4g128,w8", &b->formats, &b->format_count, why);
    if (!b->m_count)
        tool_parse_m_list("1,2,4,8,16,32,64,128,256", &b->m, &b->m_count, why);
    sort_m(b);
    b->y = b->x;
    b->progress = isatty(STDERR_FILENO);
}

/* Three or four digits, as one reads them. */
static void number(double value, char out[24])
{
    snprintf(out, 24, "%.*f", value >= 1000 ? 0 : value >= 100 ? 1 : value >= 1 ? 2 : 3, value);
}

static void print_point(struct tool_table *table, const struct tune_point *p)
{
    char us[24];
    tool_table_add(table, "%llu×%llu", (unsigned long long)p->shape.n, (unsigned long long)p->shape.k);
    tool_table_add(table, "%s", p->format->name);
    tool_table_add(table, "%u%s", p->m, p->cut ? "*" : " ");
    if (p->verdict == TUNE_UNMEASURED) {
        tool_table_span(table, "– %s", p->reason);
        return;
    }
    number(p->chosen.times.seconds * 1e6, us);
    tool_table_add(table, "%s", p->chosen.variant);
    tool_table_add(table, "%s", us);
    if (!p->best.variant[0]) {
        tool_table_span(table, "– %s", p->tried ? "" : "nothing else is near it");
        return;
    }
    number(p->best.times.seconds * 1e6, us);
    tool_table_add(table, "± %.1f %%", p->noise * 50);
    tool_table_add(table, "%s", p->best.variant);
    tool_table_add(table, "%s", us);
    tool_table_add(table, "×%.3g%s", p->chosen.times.seconds / p->best.times.seconds,
                   p->verdict == TUNE_FASTER ? "  kept" : "");
}

static void print_points(const struct tune_point *points, size_t count)
{
    static const char *const heads[] = {"N×K",   "format",             "M ", "default", "µs",
                                        "noise", "best of the others", "µs", "gain"};
    struct tool_table table;
    unsigned wrong = 0;
    bool cut = false;
    tool_table_begin(&table, "llrlrrlrl");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tool_table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < count; i++)
        print_point(&table, &points[i]);
    tool_table_end(&table, stdout);
    for (size_t i = 0; i < count; i++) {
        cut = cut || points[i].cut;
        wrong += points[i].wrong;
        if (points[i].wrong)
            printf("WRONG results: %s at M = %u\n", points[i].wrong_variant, points[i].m);
    }
    if (cut)
        printf("* time was over before all variants were tried; --budget gives more\n");
    if (wrong)
        printf("%u products were wrong; their variants are not recorded\n", wrong);
}

struct records {
    char *text; /* in the format of woq/tuning.h */
    size_t cells;
};

static void add_record(struct records *r, const char *line)
{
    char *longer = tool_text("%s%s\n", r->text, line);
    free(r->text);
    r->text = longer;
    r->cells++;
}

static int save(const struct request *r, const struct records *records)
{
    if (!records->cells)
        return tool_failed(command, "nothing could be measured");
    if (r->dry_run) {
        printf("\n%s", records->text);
        return TOOL_OK;
    }
    if (woq_tuning_merge(r->output, records->text))
        return tool_failed(command, "%s", woq_last_message());
    printf("\n%zu record%s in %s\n", records->cells, records->cells == 1 ? "" : "s", r->output);
    return TOOL_OK;
}

static int tune(struct request *r, struct bench_device *d)
{
    const struct bench_options *o = &r->bench;
    const size_t cells = o->shape_count * o->format_count;
    struct tune_point *points = tool_alloc(cells * o->m_count, sizeof *points);
    struct tune_clock clock = {.begin = tool_seconds(), .points = cells * o->m_count};
    struct records records = {NULL, 0};
    char line[WOQ_TUNING_LINE];
    clock.end = clock.begin + r->budget;
    if (woq_tuning_device(d->device, r->scope, line)) {
        free(points);
        return tool_failed(command, "%s", woq_last_message());
    }
    records.text = tool_text("woq-tuning 1\n%s\n", line);
    for (size_t i = 0; i < cells * o->m_count; i++) {
        points[i].shape = o->shapes[i / o->m_count / o->format_count];
        points[i].format = &o->formats[i / o->m_count % o->format_count];
        points[i].m = o->m[i % o->m_count];
    }
    for (size_t cell = 0; cell < cells; cell++) {
        tune_cell_measure(o, d, &clock, points + cell * o->m_count, o->m_count, line);
        if (*line)
            add_record(&records, line);
    }
    bench_progress(o, "%s", "");
    printf("%s  %s, %s\n%.0f s\n", d->info.selector, d->info.name, d->info.driver, tool_seconds() - clock.begin);
    print_points(points, cells * o->m_count);
    const int result = save(r, &records);
    free(records.text);
    free(points);
    return result;
}

/* Records in force would hide the library's own choice, and so are off while it is measured. */
static int open_and_tune(struct request *r)
{
    struct woq_device_params params = tool_device_params(r->bench.log);
    struct bench_device device = {.device = NULL};
    char file[600];
    const char *emulate = getenv("WOQ_EMULATE");
    if (!r->output && !r->dry_run) {
        if (emulate && *emulate && !getenv("WOQ_TUNING"))
            return tool_usage(command, "WOQ_EMULATE makes it another device; name a file for its records by --output");
        if (woq_tuning_file(&params, file, sizeof file))
            return tool_usage(command, "%s; or name one by --output", woq_last_message());
        r->output = file;
    }
    if (!r->dry_run && woq_tuning_merge(r->output, "woq-tuning 1\n")) /* better known before minutes of measuring */
        return tool_failed(command, "%s", woq_last_message());
    params.tuning = "off";
    enum woq_status st = woq_device_open(r->device, &params, &device.device);
    if (st == WOQ_ERROR_INVALID_ARGUMENT)
        return tool_usage(command, "%s", woq_last_message());
    if (st)
        return tool_failed(command, "%s", woq_last_message());
    device.info = *woq_device_get_info(device.device);
    device.rotate = bench_beyond_cache(&device.info);
    bench_catch_interrupt();
    const int result = tune(r, &device);
    woq_device_destroy(&device.device);
    return result;
}

int cmd_tune(int argc, char **argv)
{
    struct request r = {.bench = {.x = WOQ_F16, .rotate = UINT64_MAX, .seconds = 0.1}, .budget = 120};
    char why[TOOL_WHY];
    int result = TOOL_OK;
    bool helped = false;
    opterr = 0;
    static const char letters[] = ":d:s:f:m:x:b:o:l:h";
    for (int c; !result && !helped && (c = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            helped = true;
        } else if (c == ':' || c == '?') {
            result = tool_bad_option(command, c, argv, options);
        } else if (!parse_option(&r, c, why)) {
            result = tool_usage(command, "--%s: %s", tool_option_name(options, c), why);
        }
    }
    if (!result && !helped && optind < argc)
        result = tool_bad_operand(command, argv[optind]);
    if (!result && !helped) {
        set_defaults(&r.bench);
        result = open_and_tune(&r);
    }
    free(r.bench.shapes);
    free(r.bench.formats);
    free(r.bench.m);
    return result;
}
