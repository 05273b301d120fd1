/* cmd_bench.c: `woq bench`: its arguments, and the devices it goes through. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_child.h"
#include "bench_host.h"
#ifdef WOQ_TOOL_MODEL
#include "bench_model.h"
#endif
#include "bench_pack.h"
#include "bench_startup.h"

static const char command[] = "woq bench";

static const char help[] =
    "usage: woq bench [options]\n"
    "       woq bench --model MODEL[:WEIGHTS]... [options]\n"
    "       woq bench --startup [options]\n"
    "       woq bench --host [options]\n"
    "       woq bench --pack [options]\n\n"
    "Times products Y[M,N] = X[M,K] · Wᵀ for each device × shape × format × M, and checks each\n"
    "against the same product in double.\n\n"
    "  -d, --device LIST   devices, or all (default: WOQ_DEVICE, else the best)\n"
    "  -s, --shapes LIST   N x K, outputs x inputs (default 4096x4096)\n"
    "  -m, --m LIST        rows of X (default 1,16,64)\n"
    "  -f, --formats LIST  weight formats (default w4g128,w8,f16), see below\n"
    "  -x, --x TYPE        type of X: f16 (default), bf16, f32\n"
    "  -y, --y TYPE        type of Y (default: as X)\n"
    "  -p, --path PATH     only this kernel path, or this variant of one, as woq explain names it\n"
    "                      (default: what the planner takes)\n"
    "      --math MODE     exact, rounded or fixed16 (default: what the path prefers)\n"
    "      --batch-invariant  one way for all M up to the largest, so that no row's bits depend on M\n"
    "  -t, --seconds S     time to measure each row for (default 0.5)\n"
    "      --rotate MIB    weights to go through, so that they come from memory and not a cache\n"
    "                      (default: twice a CPU's last-level cache, 256 elsewhere); 0 = one copy\n"
    "  -j, --json FILE     also as JSON; - writes it to standard output in place of the tables\n"
    "      --svg FILE      also as a bar chart\n"
    "  -l, --log LEVEL     the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help          this text\n\n"
    "With --model, whole language models: how long they take to load, how many tokens a second\n"
    "go through in windows as perplexity takes them and in greedy decoding, and how much host\n"
    "memory they need. Token ids are random. The options are --device, --x, --math, --seconds\n"
    "(for each of the two speeds, default 5), --json, --log, and\n\n"
    "      --model MODEL   a .gguf or .safetensors file or a directory; with :WEIGHTS as in woq\n"
    "                      eval: as-stored (default), f16, w4g64, ... More models may follow\n"
    "      --window N      tokens of a window (default 512)\n"
    "      --generate N    tokens to decode (default 64)\n\n"
    "With --startup, how long a device takes to open in a fresh process, and until a first\n"
    "product is done, with cold and with warm caches in a temporary folder. The options are\n"
    "--device, --json, --log, and\n\n"
    "      --startup       measure this\n\n"
    "With --host, how long submitting a recording of one product keeps the host, with nothing new\n"
    "and with new M and matrices. The options are --device, --json, --log, and\n\n"
    "      --host          measure this\n\n"
    "With --pack, how long weights take from host memory to the device's layout, and what of it the\n"
    "device needs to pack them, if it is the device that does (WOQ_EMULATE=host_pack: it does not).\n"
    "The options are --device, --shapes, --formats, --seconds, --json, --log, and\n\n"
    "      --pack          measure this\n\n"
    "Formats: w4 or w8, then g<columns> for one scale a group (nothing: one a row; t: one for\n"
    "all), then z (integer zero points), o (float offsets), p (columns in any order, g_idx),\n"
    "then :f16, :bf16 or :f32 for the type of the scales. Plain weights: f16, bf16.\n"
    "  w4g128  w8  w4g64z  w4g32o:f32  w8t  w4g128p:bf16  f16\n\n"
    "A batch is a recording of products that each wait for the one before, replayed; it is timed\n"
    "by the device's timestamps where it has them, else by the host over many pipelined runs.\n"
    "GB/s counts codes, scales and zeros; of read: ÷ what a kernel reaches that only reads (of\n"
    "copy: that a large copy reads and writes). of limit: ÷ what one reaches that only runs the\n"
    "instruction that the product multiplies with.\n\n"
    "Examples:\n"
    "  woq bench\n"
    "  woq bench --device all --shapes 4096x4096,11008x4096 --m 1,16 --svg compare.svg\n"
    "  woq bench --device opencl:0 --formats w4g64z:bf16 --m 1,2,4,8 --path gemv --json -\n"
    "  woq bench --model SmolLM2.gguf:f16 SmolLM2-w4 --device opencl:0,vulkan:0\n"
    "  woq bench --startup --device all\n"
    "  woq bench --host --device all\n"
    "  woq bench --pack --shapes 28672x8192 --formats w4g128,w4g128p\n";

enum long_only {
    OPTION_MATH = 256,
    OPTION_ROTATE,
    OPTION_SVG,
    OPTION_MODEL,
    OPTION_WINDOW,
    OPTION_GENERATE,
    OPTION_STARTUP,
    OPTION_HOST,
    OPTION_PACK,
    OPTION_INVARIANT
};

static const struct option options[] = {
    {"device", required_argument, NULL, 'd'},  {"shapes", required_argument, NULL, 's'},
    {"m", required_argument, NULL, 'm'},       {"formats", required_argument, NULL, 'f'},
    {"x", required_argument, NULL, 'x'},       {"y", required_argument, NULL, 'y'},
    {"path", required_argument, NULL, 'p'},    {"math", required_argument, NULL, OPTION_MATH},
    {"seconds", required_argument, NULL, 't'}, {"rotate", required_argument, NULL, OPTION_ROTATE},
    {"json", required_argument, NULL, 'j'},    {"svg", required_argument, NULL, OPTION_SVG},
    {"model", required_argument, NULL, OPTION_MODEL}, {"window", required_argument, NULL, OPTION_WINDOW},
    {"generate", required_argument, NULL, OPTION_GENERATE}, {"startup", no_argument, NULL, OPTION_STARTUP},
    {"host", no_argument, NULL, OPTION_HOST},  {"batch-invariant", no_argument, NULL, OPTION_INVARIANT},
    {"pack", no_argument, NULL, OPTION_PACK},
    {"log", required_argument, NULL, 'l'},     {"help", no_argument, NULL, 'h'},
    {0}};

/* What is measured; each takes some of the options. */
enum mode { MODE_SHAPES = 1, MODE_MODEL = 2, MODE_STARTUP = 4, MODE_HOST = 8, MODE_PACK = 16 };

static unsigned taken_by(int option)
{
    switch (option) {
    case 'd': case 'j': case 'l': return MODE_SHAPES | MODE_MODEL | MODE_STARTUP | MODE_HOST | MODE_PACK;
    case 't': return MODE_SHAPES | MODE_MODEL | MODE_PACK;
    case 's': case 'f': return MODE_SHAPES | MODE_PACK;
    case 'x': case OPTION_MATH: return MODE_SHAPES | MODE_MODEL;
    case OPTION_MODEL: case OPTION_WINDOW: case OPTION_GENERATE: return MODE_MODEL;
    case OPTION_STARTUP: return MODE_STARTUP;
    case OPTION_HOST: return MODE_HOST;
    case OPTION_PACK: return MODE_PACK;
    default: return MODE_SHAPES;
    }
}

struct request {
    struct bench_options bench;
    char **devices;
    size_t device_count;
    const char *json, *svg;
    const char **models; /* as written */
    size_t model_count;
    uint32_t window, generate;
    bool startup, host, pack;
    int given[sizeof options / sizeof *options]; /* options, in their order, each once */
    size_t given_count;
};

static void add_model(struct request *r, const char *text)
{
    r->models = tool_grow(r->models, r->model_count + 1, sizeof *r->models);
    r->models[r->model_count++] = text;
}

static bool parse_option(struct request *r, int c, char *why)
{
    struct bench_options *b = &r->bench;
    uint64_t number;
    size_t i = 0;
    while (i < r->given_count && r->given[i] != c)
        i++;
    if (i == r->given_count)
        r->given[r->given_count++] = c;
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
    case OPTION_INVARIANT: b->invariant = true; return true;
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
    case OPTION_MODEL: add_model(r, optarg); break;
    case OPTION_STARTUP: r->startup = true; break;
    case OPTION_HOST: r->host = true; break;
    case OPTION_PACK: r->pack = true; break;
    case OPTION_WINDOW:
        return tool_parse_window(optarg, &r->window, why);
    case OPTION_GENERATE:
        if (!tool_parse_number(optarg, 1, 1 << 20, &number, why))
            return false;
        r->generate = (uint32_t)number;
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
    free(r->models);
}

/* "all" becomes every usable device. */
static int expand_devices(struct request *r)
{
    bool all = r->device_count == 1 && !strcmp(r->devices[0], "all");
    if (!r->device_count) {
        r->devices = tool_alloc(1, sizeof *r->devices);
        r->device_count = 1; /* NULL: the library's default */
    }
    if (!all)
        return TOOL_OK;
    tool_free_names(r->devices, r->device_count);
    r->devices = NULL;
    r->device_count = 0;
    return bench_all_devices(command, r->bench.log, &r->devices, &r->device_count);
}

static int run_shapes(struct request *r)
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

/* Rows that are measured one after the other and then reported: models and startup, each in processes of its own, and
 * host and pack. */
struct series {
    size_t count;
    /* Row i; true if it could be measured. *usage: the arguments are to blame, and no other row need be tried. */
    bool (*measure)(struct series *self, size_t i, const char **usage);
    void (*print)(const struct series *self, FILE *out);
    int (*write_json)(const struct series *self, const char *file);
};

static int run_series(const struct request *r, struct series *s)
{
    const char *usage = NULL;
    size_t done = 0;
    int result = TOOL_OK;
    bench_catch_interrupt();
    for (size_t i = 0; i < s->count && !usage && !bench_interrupted(); i++)
        done += s->measure(s, i, &usage);
    if (usage)
        return tool_usage(command, "%s", usage);
    if (bench_interrupted())
        return tool_failed(command, "interrupted");
    if (!r->json || strcmp(r->json, "-"))
        s->print(s, stdout);
    if (r->json)
        result = s->write_json(s, r->json);
    if (!result && !done)
        return tool_failed(command, "nothing could be measured");
    return !result && done < s->count ? TOOL_FAILED : result;
}

#ifdef WOQ_TOOL_MODEL
/* Devices × models. */
struct model_series {
    struct series base;
    const struct request *request;
    struct bench_model_options options;
    const struct bench_model *models;
    struct bench_model_row *rows;
};

static bool measure_model(struct series *self, size_t i, const char **usage)
{
    const struct model_series *s = (struct model_series *)self;
    const size_t models = s->request->model_count;
    struct bench_model_row *row = &s->rows[i];
    bench_model_run(&s->options, s->request->devices[i / models], &s->models[i % models], row);
    *usage = row->usage ? row->reason : NULL;
    return row->done;
}

static void print_models(const struct series *self, FILE *out)
{
    const struct model_series *s = (const struct model_series *)self;
    const struct request *r = s->request;
    bench_model_print(&s->options, r->devices, r->device_count, s->models, r->model_count, s->rows, out);
}

static int write_models(const struct series *self, const char *file)
{
    const struct model_series *s = (const struct model_series *)self;
    const struct request *r = s->request;
    return bench_model_write_json(command, &s->options, r->devices, r->device_count, s->models,
                                  r->model_count, s->rows, file);
}

static int run_models(struct request *r)
{
    struct bench_model *models = tool_alloc(r->model_count, sizeof *models);
    char why[TOOL_WHY];
    bool given;
    int result = TOOL_OK;
    for (size_t i = 0; i < r->model_count && !result; i++) {
        if (!tool_parse_model(r->models[i], &models[i].path, &models[i].weights, &given, why))
            result = tool_usage(command, "--model: %s", why);
        else if (!given)
            tool_parse_weights("as-stored", &models[i].weights, why);
    }
    if (!result) {
        struct model_series s = {{r->device_count * r->model_count, measure_model, print_models, write_models},
                                 r, {&r->bench, r->window, r->generate}, models, NULL};
        s.rows = tool_alloc(s.base.count, sizeof *s.rows);
        result = run_series(r, &s.base);
        free(s.rows);
    }
    for (size_t i = 0; i < r->model_count; i++)
        free(models[i].path);
    free(models);
    return result;
}
#else
static int run_models(struct request *r)
{
    (void)r;
    return tool_failed(command, "--model: this woq was built without libwoq-model");
}
#endif

struct startup_series {
    struct series base;
    const struct request *request;
    struct bench_startup_row *rows; /* of each device */
};

static bool measure_startup(struct series *self, size_t i, const char **usage)
{
    const struct startup_series *s = (struct startup_series *)self;
    bench_startup_run(&s->request->bench, s->request->devices[i], &s->rows[i]);
    *usage = s->rows[i].usage ? s->rows[i].reason : NULL;
    return s->rows[i].done;
}

static void print_startup(const struct series *self, FILE *out)
{
    const struct startup_series *s = (const struct startup_series *)self;
    bench_startup_print(s->request->devices, s->rows, self->count, out);
}

static int write_startup(const struct series *self, const char *file)
{
    const struct startup_series *s = (const struct startup_series *)self;
    return bench_startup_write_json(command, s->request->devices, s->rows, self->count, file);
}

static int run_startup(struct request *r)
{
    struct startup_series s = {{r->device_count, measure_startup, print_startup, write_startup}, r, NULL};
    s.rows = tool_alloc(r->device_count, sizeof *s.rows);
    const int result = run_series(r, &s.base);
    free(s.rows);
    return result;
}

struct host_series {
    struct series base;
    const struct request *request;
    struct bench_host_row *rows; /* of each device */
};

static bool measure_host(struct series *self, size_t i, const char **usage)
{
    const struct host_series *s = (struct host_series *)self;
    bench_host_run(&s->request->bench, s->request->devices[i], &s->rows[i]);
    *usage = s->rows[i].usage ? s->rows[i].reason : NULL;
    return s->rows[i].done;
}

static void print_host(const struct series *self, FILE *out)
{
    const struct host_series *s = (const struct host_series *)self;
    bench_host_print(s->request->devices, s->rows, self->count, out);
}

static int write_host(const struct series *self, const char *file)
{
    const struct host_series *s = (const struct host_series *)self;
    return bench_host_write_json(command, s->request->devices, s->rows, self->count, file);
}

static int run_host(struct request *r)
{
    struct host_series s = {{r->device_count, measure_host, print_host, write_host}, r, NULL};
    s.rows = tool_alloc(r->device_count, sizeof *s.rows);
    const int result = run_series(r, &s.base);
    free(s.rows);
    return result;
}

struct pack_series {
    struct series base;
    const struct request *request;
    struct bench_pack_device *devices;
};

static bool measure_pack(struct series *self, size_t i, const char **usage)
{
    const struct pack_series *s = (struct pack_series *)self;
    bench_pack_run(&s->request->bench, s->request->devices[i], &s->devices[i]);
    *usage = s->devices[i].usage ? s->devices[i].reason : NULL;
    return s->devices[i].done;
}

static void print_pack(const struct series *self, FILE *out)
{
    const struct pack_series *s = (const struct pack_series *)self;
    bench_pack_print(s->request->devices, s->devices, self->count, out);
}

static int write_pack(const struct series *self, const char *file)
{
    const struct pack_series *s = (const struct pack_series *)self;
    return bench_pack_write_json(command, s->request->devices, s->devices, self->count, file);
}

static int run_pack(struct request *r)
{
    struct pack_series s = {{r->device_count, measure_pack, print_pack, write_pack}, r, NULL};
    s.devices = tool_alloc(r->device_count, sizeof *s.devices);
    const int result = run_series(r, &s.base);
    for (size_t i = 0; i < r->device_count; i++)
        free(s.devices[i].rows);
    free(s.devices);
    return result;
}

/* Which of the five is meant; options of another are refused. */
static int find_mode(const struct request *r, enum mode *mode)
{
    *mode = r->model_count ? MODE_MODEL
            : r->startup   ? MODE_STARTUP
            : r->host      ? MODE_HOST
            : r->pack      ? MODE_PACK
                           : MODE_SHAPES;
    const char *asked = *mode == MODE_MODEL     ? "--model"
                        : *mode == MODE_STARTUP ? "--startup"
                        : *mode == MODE_HOST    ? "--host"
                                                : "--pack";
    for (size_t i = 0; i < r->given_count; i++) {
        const char *name = tool_option_name(options, r->given[i]);
        if (taken_by(r->given[i]) & *mode)
            continue;
        if (*mode == MODE_SHAPES)
            return tool_usage(command, "--%s is for models; name one by --model", name);
        return tool_usage(command, "--%s does not go with %s", name, asked);
    }
    return TOOL_OK;
}

static void set_defaults(struct request *r, enum mode mode)
{
    struct bench_options *b = &r->bench;
    char why[TOOL_WHY];
    if (!b->shape_count)
        tool_parse_shapes("4096x4096", &b->shapes, &b->shape_count, why);
    if (!b->m_count)
        tool_parse_m_list("1,16,64", &b->m, &b->m_count, why);
    if (!b->format_count)
        tool_parse_formats("w4g128,w8,f16", &b->formats, &b->format_count, why);
    b->y = b->y ? b->y : b->x;
    if (!(b->seconds > 0))
        b->seconds = mode == MODE_MODEL ? 5 : 0.5;
    b->progress = isatty(STDERR_FILENO);
}

int cmd_bench(int argc, char **argv)
{
    struct request r = {.bench = {.x = WOQ_F16, .rotate = UINT64_MAX}, .window = 512, .generate = 64};
    enum mode mode = MODE_SHAPES;
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
    for (; !result && r.model_count && optind < argc; optind++)
        add_model(&r, argv[optind]);
    if (!result && optind < argc)
        result = tool_bad_operand(command, argv[optind]);
    if (!result)
        result = find_mode(&r, &mode);
    if (!result)
        set_defaults(&r, mode);
    if (!result)
        result = tool_check_writable(command, r.json);
    if (!result)
        result = tool_check_writable(command, r.svg);
    if (!result)
        result = expand_devices(&r);
    if (!result)
        result = mode == MODE_MODEL     ? run_models(&r)
                 : mode == MODE_STARTUP ? run_startup(&r)
                 : mode == MODE_HOST    ? run_host(&r)
                 : mode == MODE_PACK    ? run_pack(&r)
                                        : run_shapes(&r);
    request_free(&r);
    return result;
}
