/* cmd_bench.c: `woq bench`: its arguments, and the devices it goes through. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char command[] = "woq bench";

static const char help[] =
    "usage: woq bench [options]\n\n"
    "Times products Y[M,N] = X[M,K] · Wᵀ for each device × shape × format × M, and checks each\n"
    "against the same product in double.\n\n"
    "  -d, --device LIST   devices, or all (default: WOQ_DEVICE, else the best)\n"
    "  -s, --shapes LIST   N x K, outputs x inputs (default 4096x4096)\n"
    "  -m, --m LIST        rows of X (default 1,16,64)\n"
    "  -f, --formats LIST  weight formats (default w4g128,w8,f16), see below\n"
    "  -x, --x TYPE        type of X: f16 (default), bf16, f32\n"
    "  -y, --y TYPE        type of Y (default: as X)\n"
    "  -p, --path PATH     only this kernel path (default: what the planner takes)\n"
    "      --math MODE     exact or rounded (default: what the path prefers)\n"
    "  -t, --seconds S     time to measure each row for (default 0.5)\n"
    "      --rotate MIB    weights to go through, so that they come from memory and not a cache\n"
    "                      (default: twice a CPU's last-level cache, 256 elsewhere); 0 = one copy\n"
    "  -j, --json FILE     also as JSON; - writes it to standard output in place of the tables\n"
    "      --svg FILE      also as a bar chart\n"
    "  -l, --log LEVEL     the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help          this text\n\n"
    "Formats: w4 or w8, then g<columns> for one scale a group (nothing: one a row; t: one for\n"
    "all), then z (integer zero points), o (float offsets), p (columns in any order, g_idx),\n"
    "then :f16, :bf16 or :f32 for the type of the scales. Plain weights: f16, bf16.\n"
    "  w4g128  w8  w4g64z  w4g32o:f32  w8t  w4g128p:bf16  f16\n\n"
    "A batch is a recording of products that each wait for the one before, replayed; it is timed\n"
    "by the device's timestamps where it has them, else by the host over many pipelined runs.\n"
    "GB/s counts codes, scales and zeros. Copy bandwidth counts the bytes that a large copy in\n"
    "the same run reads and writes; a kernel that only reads can beat a driver's copy.\n\n"
    "Examples:\n"
    "  woq bench\n"
    "  woq bench --device all --shapes 4096x4096,11008x4096 --m 1,16 --svg compare.svg\n"
    "  woq bench --device opencl:0 --formats w4g64z:bf16 --m 1,2,4,8 --path gemv --json -\n";

enum long_only { OPTION_MATH = 256, OPTION_ROTATE, OPTION_SVG };

static const struct option options[] = {
    {"device", required_argument, NULL, 'd'},  {"shapes", required_argument, NULL, 's'},
    {"m", required_argument, NULL, 'm'},       {"formats", required_argument, NULL, 'f'},
    {"x", required_argument, NULL, 'x'},       {"y", required_argument, NULL, 'y'},
    {"path", required_argument, NULL, 'p'},    {"math", required_argument, NULL, OPTION_MATH},
    {"seconds", required_argument, NULL, 't'}, {"rotate", required_argument, NULL, OPTION_ROTATE},
    {"json", required_argument, NULL, 'j'},    {"svg", required_argument, NULL, OPTION_SVG},
    {"log", required_argument, NULL, 'l'},     {"help", no_argument, NULL, 'h'},
    {0}};

struct request {
    struct bench_options bench;
    char **devices;
    size_t device_count;
    const char *json, *svg;
};

static bool parse_option(struct request *r, int c, char *why)
{
    struct bench_options *b = &r->bench;
    uint64_t number;
    switch (c) {
    case 'd':
        tool_free_names(r->devices, r->device_count);
        return tool_parse_names(optarg, &r->devices, &r->device_count, why);
    case 's':
        free(b->shapes);
        return tool_parse_shapes(optarg, &b->shapes, &b->shape_count, why);
    case 'm':
        free(b->m);
        return tool_parse_m_list(optarg, &b->m, &b->m_count, why);
    case 'f':
        free(b->formats);
        return tool_parse_formats(optarg, &b->formats, &b->format_count, why);
    case 'x': return tool_parse_type(optarg, &b->x, why);
    case 'y': return tool_parse_type(optarg, &b->y, why);
    case 'p': return tool_parse_path(optarg, &b->path, why);
    case OPTION_MATH: return tool_parse_math(optarg, &b->math, why);
    case 't': return tool_parse_seconds(optarg, &b->seconds, why);
    case 'l': return tool_parse_log(optarg, &b->log, why);
    case OPTION_ROTATE:
        if (!tool_parse_number(optarg, 0, 1 << 20, &number, why))
            return false;
        b->rotate = number << 20;
        return true;
    case 'j': r->json = optarg; break;
    case OPTION_SVG:
        if (!strcmp(optarg, "-")) {
            snprintf(why, TOOL_WHY, "a file's name is needed; standard output has the tables");
            return false;
        }
        r->svg = optarg;
        break;
    }
    return true;
}

static void request_free(struct request *r)
{
    tool_free_names(r->devices, r->device_count);
    free(r->bench.shapes);
    free(r->bench.m);
    free(r->bench.formats);
}

/* "all" becomes every usable device. */
static int expand_devices(struct request *r)
{
    bool all = r->device_count == 1 && !strcmp(r->devices[0], "all");
    struct woq_device_entry *entries;
    size_t count;
    if (!r->device_count) {
        r->devices = tool_alloc(1, sizeof *r->devices);
        r->device_count = 1; /* NULL: the library's default */
    }
    if (!all)
        return TOOL_OK;
    int result = tool_list(command, r->bench.log, &entries, &count);
    if (result)
        return result;
    tool_free_names(r->devices, r->device_count);
    r->devices = tool_alloc(count, sizeof *r->devices);
    r->device_count = 0;
    for (size_t i = 0; i < count; i++)
        if (entries[i].usable)
            r->devices[r->device_count++] =
                tool_text("%s:%u", woq_backend_name(entries[i].backend), entries[i].index);
    free(entries);
    return TOOL_OK;
}

static int run(struct request *r)
{
    struct bench_device *devices = tool_alloc(r->device_count, sizeof *devices);
    struct woq_device_params params = tool_device_params(r->bench.log);
    int result = TOOL_OK;
    size_t done = 0, wrong = 0, closed = 0;
    for (size_t i = 0; i < r->device_count && result != TOOL_USAGE; i++) {
        struct bench_device *d = &devices[i];
        const char *selector = r->devices[i];
        snprintf(d->selector, sizeof d->selector, "%s", selector ? selector : "(default)");
        enum woq_status st = woq_device_open(selector, &params, &d->device);
        if (st == WOQ_ERROR_INVALID_ARGUMENT)
            result = tool_usage(command, "%s", woq_last_message());
        if (st) {
            snprintf(d->reason, sizeof d->reason, "%s", woq_last_message());
            closed++;
            continue;
        }
        d->info = *woq_device_get_info(d->device);
        bench_run(&r->bench, d);
        for (size_t row = 0; row < d->row_count; row++) {
            done += d->rows[row].done;
            wrong += d->rows[row].done && !(d->rows[row].error.fraction <= 1);
        }
    }
    if (!result) {
        if (!r->json || strcmp(r->json, "-"))
            bench_print(&r->bench, devices, r->device_count, stdout);
        if (r->json)
            result = bench_write_json(command, &r->bench, devices, r->device_count, r->json);
        if (r->svg && bench_write_svg(command, devices, r->device_count, r->svg))
            result = TOOL_FAILED;
        if (wrong)
            result = tool_failed(command, "%zu of %zu products are wrong", wrong, done);
        else if (!done)
            result = tool_failed(command, "nothing could be measured");
        else if (closed)
            result = TOOL_FAILED;
    }
    for (size_t i = 0; i < r->device_count; i++) {
        free(devices[i].rows);
        woq_device_destroy(&devices[i].device);
    }
    free(devices);
    return result;
}

int cmd_bench(int argc, char **argv)
{
    struct request r = {.bench = {.x = WOQ_F16, .seconds = 0.5, .rotate = UINT64_MAX}};
    char why[TOOL_WHY];
    int result = TOOL_OK;
    opterr = 0;
    static const char letters[] = ":d:s:m:f:x:y:p:t:j:l:h";
    for (int c; !result && (c = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            request_free(&r);
            return TOOL_OK;
        }
        if (c == ':' || c == '?')
            result = tool_bad_option(command, c, argv, options);
        else if (!parse_option(&r, c, why))
            result = tool_usage(command, "--%s: %s", tool_option_name(options, c), why);
    }
    if (!result && optind < argc)
        result = tool_bad_operand(command, argv[optind]);
    if (!result && !r.bench.shape_count)
        tool_parse_shapes("4096x4096", &r.bench.shapes, &r.bench.shape_count, why);
    if (!result && !r.bench.m_count)
        tool_parse_m_list("1,16,64", &r.bench.m, &r.bench.m_count, why);
    if (!result && !r.bench.format_count)
        tool_parse_formats("w4g128,w8,f16", &r.bench.formats, &r.bench.format_count, why);
    r.bench.y = r.bench.y ? r.bench.y : r.bench.x;
    r.bench.progress = isatty(STDERR_FILENO);
    if (!result)
        result = tool_check_writable(command, r.json);
    if (!result)
        result = tool_check_writable(command, r.svg);
    if (!result)
        result = expand_devices(&r);
    if (!result)
        result = run(&r);
    request_free(&r);
    return result;
}
