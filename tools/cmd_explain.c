/* cmd_explain.c: `woq explain`: how a product would run, and why not otherwise. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static const char command[] = "woq explain";

static const char help[] =
    "usage: woq explain --n N --k K [options]\n\n"
    "Packs weights of the shape and format, plans the product, and says for each M which kernel\n"
    "path it takes, with which layout, math mode and workspace, and why not another path.\n\n"
    "  -n, --n N             outputs: columns of Y (with silu_mul: of gate, and as many of up)\n"
    "  -k, --k K             inputs: columns of X\n"
    "  -m, --m LIST          rows of X (default 1,16,128)\n"
    "  -f, --format FORMAT   weight format (default w4g128), as in 'woq bench --help'\n"
    "      --zero KIND       symmetric, point or offset, in place of the format's letter\n"
    "  -x, --x TYPE          type of X: f16 (default), bf16, f32\n"
    "  -y, --y TYPE          type of Y and residual (default: as X)\n"
    "      --bias TYPE       with a bias of this type\n"
    "      --residual        with a residual\n"
    "  -a, --activation NAME none (default), relu, gelu_tanh, gelu_erf, silu, silu_mul\n"
    "      --math MODE       exact, rounded or fixed16 (default: what the path prefers)\n"
    "      --batch-invariant one way for all M up to the largest\n"
    "  -p, --path PATH       only this kernel path, or this variant of one, as --json names it\n"
    "  -d, --device SEL      device (default: WOQ_DEVICE, else the best)\n"
    "  -j, --json            as JSON\n"
    "  -l, --log LEVEL       the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help            this text\n\n"
    "Examples:\n"
    "  woq explain --n 4096 --k 4096 --m 1,16,128 --format w4g128\n"
    "  woq explain -n 11008 -k 4096 -f w4g64z:bf16 -x bf16 -a silu_mul -d vulkan:0\n"
    "  WOQ_EMULATE=max_binding=1M woq explain -n 4096 -k 4096\n";

enum long_only { OPTION_ZERO = 256, OPTION_BIAS, OPTION_RESIDUAL, OPTION_MATH, OPTION_INVARIANT };

static const struct option options[] = {
    {"n", required_argument, NULL, 'n'},          {"k", required_argument, NULL, 'k'},
    {"m", required_argument, NULL, 'm'},          {"format", required_argument, NULL, 'f'},
    {"zero", required_argument, NULL, OPTION_ZERO}, {"x", required_argument, NULL, 'x'},
    {"y", required_argument, NULL, 'y'},          {"bias", required_argument, NULL, OPTION_BIAS},
    {"residual", no_argument, NULL, OPTION_RESIDUAL},
    {"activation", required_argument, NULL, 'a'}, {"math", required_argument, NULL, OPTION_MATH},
    {"batch-invariant", no_argument, NULL, OPTION_INVARIANT},
    {"path", required_argument, NULL, 'p'},       {"device", required_argument, NULL, 'd'},
    {"json", no_argument, NULL, 'j'},             {"log", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},             {0}};

struct request {
    struct tool_shape shape;
    struct tool_format format;
    uint32_t *m;
    size_t m_count;
    enum woq_zero zero; /* NONE = the format's own */
    enum woq_type x, y, bias;
    bool residual, invariant, json;
    enum woq_activation activation;
    enum woq_math math;
    const char *path, *device;
    enum woq_log_level log;
};

static bool parse_zero(const char *text, enum woq_zero *out, char *why)
{
    static const char *const names[] = {"symmetric", "point", "offset"};
    static const enum woq_zero zeros[] = {WOQ_ZERO_SYMMETRIC, WOQ_ZERO_POINT, WOQ_ZERO_OFFSET};
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(text, names[i])) {
            *out = zeros[i];
            return true;
        }
    snprintf(why, TOOL_WHY, "'%.40s' is no kind of zero; symmetric, point or offset", text);
    return false;
}

static bool parse_option(struct request *r, int c, char *why)
{
    switch (c) {
    case 'n': return tool_parse_number(optarg, 1, UINT64_MAX >> 1, &r->shape.n, why);
    case 'k': return tool_parse_number(optarg, 1, UINT64_MAX >> 1, &r->shape.k, why);
    case 'm':
        free(r->m);
        return tool_parse_m_list(optarg, &r->m, &r->m_count, why);
    case 'f': return tool_parse_format(optarg, &r->format, why);
    case OPTION_ZERO: return parse_zero(optarg, &r->zero, why);
    case 'x': return tool_parse_type(optarg, &r->x, why);
    case 'y': return tool_parse_type(optarg, &r->y, why);
    case OPTION_BIAS: return tool_parse_type(optarg, &r->bias, why);
    case OPTION_RESIDUAL: r->residual = true; break;
    case 'a': return tool_parse_activation(optarg, &r->activation, why);
    case OPTION_MATH: return tool_parse_math(optarg, &r->math, why);
    case OPTION_INVARIANT: r->invariant = true; break;
    case 'p': return tool_parse_path(optarg, &r->path, why);
    case 'd': r->device = optarg; break;
    case 'j': r->json = true; break;
    case 'l': return tool_parse_log(optarg, &r->log, why);
    }
    return true;
}

/* What is explained: the weights on the device, and a product of them. */
struct plan {
    struct woq_device *device;
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_weights_info info;
    uint64_t workspace;
    char name[96];
};

static enum woq_status make_plan(const struct request *r, const struct bench_matrix *matrix,
                                 struct plan *p)
{
    bool gated = r->activation == WOQ_ACTIVATION_SILU_MUL;
    struct woq_weights_source one = bench_matrix_source(matrix), sources[2] = {one, one};
    struct woq_weights_params weights = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    weights.sources = sources;
    weights.count = gated ? 2 : 1;
    weights.gated = gated;
    enum woq_status st = woq_weights_create(p->device, &weights, &p->weights);
    p->info.struct_size = sizeof p->info;
    if (!st)
        st = woq_weights_get_info(p->weights, &p->info);
    gemm.weights = p->weights;
    for (size_t i = 0; i < r->m_count; i++)
        gemm.max_m = r->m[i] > gemm.max_m ? r->m[i] : gemm.max_m;
    gemm.x_type = r->x;
    gemm.y_type = r->y;
    gemm.bias_type = r->bias;
    gemm.residual = r->residual;
    gemm.activation = r->activation;
    gemm.math = r->math;
    gemm.path = r->path;
    gemm.batch_invariant = r->invariant;
    if (!st)
        st = woq_gemm_create(p->device, &gemm, &p->gemm);
    if (!st)
        st = woq_gemm_workspace(p->gemm, &p->workspace);
    woq_format_name(&matrix->format, p->name, sizeof p->name);
    return st;
}

static enum woq_status print_text(const struct request *r, const struct plan *p)
{
    const struct woq_device_info *d = woq_device_get_info(p->device);
    struct tool_table table;
    char a[24], b[24];
    printf("%s (%s)  N %llu  K %llu  X %s  Y %s", p->name, r->format.name,
           (unsigned long long)r->shape.n, (unsigned long long)r->shape.k, woq_type_name(r->x),
           woq_type_name(r->y));
    if (r->bias)
        printf("  bias %s", woq_type_name(r->bias));
    printf("%s", r->residual ? "  residual" : "");
    if (r->activation)
        printf("  %s", woq_activation_name(r->activation));
    printf("\non %s: %s, %s\n", d->selector, d->name, d->driver);
    printf("weights: %s on the device, %s of them payload, in %u tile%s; %s\n",
           tool_bytes(p->info.device_bytes, a), tool_bytes(p->info.payload_bytes, b), p->info.tiles,
           p->info.tiles == 1 ? "" : "s",
           p->info.fp16_safe ? "every weight is zero or a normal FP16 number"
                             : "some weights overflow or are subnormal in FP16");
    printf("workspace for any M up to the largest: %s\n\n", tool_bytes(p->workspace, a));
    tool_table_begin(&table, "rlllllrl");
    static const char *const heads[] = {"M",    "path",  "kernel",   "layout",
                                        "math", "steps", "workspace", "decided by"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tool_table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < r->m_count; i++) {
        struct woq_explain e = {.struct_size = sizeof e};
        enum woq_status st = woq_gemm_explain(p->gemm, r->m[i], &e);
        if (st) {
            tool_table_end(&table, stdout);
            return st;
        }
        tool_table_add(&table, "%u", r->m[i]);
        tool_table_add(&table, "%s", e.path);
        tool_table_add(&table, "%s", e.kernel);
        tool_table_add(&table, "%s", e.layout);
        tool_table_add(&table, "%s", woq_math_name(e.math));
        tool_table_add(&table, "%u", e.steps);
        tool_table_add(&table, "%s", tool_bytes(e.workspace, a));
        tool_table_add(&table, "%s", e.tuning ? "record" : r->path && strchr(r->path, '/') ? "--path" : "default");
        for (uint32_t j = 0; j < e.rejected_count; j++) {
            tool_table_add(&table, "%s", "");
            tool_table_span(&table, "not %s: %s", e.rejected[j].path, e.rejected[j].reason);
        }
        if (e.tuning || !strncmp(e.decided, "default,", 8)) {
            tool_table_add(&table, "%s", "");
            tool_table_span(&table, "%s: %s", e.tuning ? "tuned" : "not tuned", e.decided);
        }
        if (e.tuning || e.quarantine) {
            tool_table_add(&table, "%s", "");
            tool_table_span(&table, "tuning record %016llx, quarantine record %016llx",
                            (unsigned long long)e.tuning, (unsigned long long)e.quarantine);
        }
    }
    tool_table_end(&table, stdout);
    if (tool_untried(d))
        printf("note: %s\n", tool_untried(d));
    return WOQ_OK;
}

static void json_plan(yyjson_mut_doc *doc, yyjson_mut_val *list, uint32_t m,
                      const struct woq_explain *e)
{
    char text[24];
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_uint(doc, o, "m", m);
    yyjson_mut_obj_add_str(doc, o, "path", e->path);
    yyjson_mut_obj_add_str(doc, o, "variant", e->variant);
    yyjson_mut_obj_add_str(doc, o, "kernel", e->kernel);
    yyjson_mut_obj_add_str(doc, o, "layout", e->layout);
    yyjson_mut_obj_add_str(doc, o, "math", woq_math_name(e->math));
    yyjson_mut_obj_add_uint(doc, o, "steps", e->steps);
    yyjson_mut_obj_add_uint(doc, o, "workspace", e->workspace);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)e->tuning);
    yyjson_mut_obj_add_strcpy(doc, o, "tuning", text);
    yyjson_mut_obj_add_str(doc, o, "decided", e->decided);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)e->quarantine);
    yyjson_mut_obj_add_strcpy(doc, o, "quarantine", text);
    yyjson_mut_val *rejected = yyjson_mut_obj_add_arr(doc, o, "rejected");
    for (uint32_t i = 0; i < e->rejected_count; i++) {
        yyjson_mut_val *one = yyjson_mut_arr_add_obj(doc, rejected);
        yyjson_mut_obj_add_str(doc, one, "path", e->rejected[i].path);
        yyjson_mut_obj_add_str(doc, one, "reason", e->rejected[i].reason);
    }
}

static int print_json(const struct request *r, const struct plan *p)
{
    const struct woq_device_info *d = woq_device_get_info(p->device);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string());
    yyjson_mut_obj_add_str(doc, root, "selector", d->selector);
    yyjson_mut_obj_add_str(doc, root, "device", d->name);
    yyjson_mut_obj_add_str(doc, root, "driver", d->driver);
    if (tool_untried(d))
        yyjson_mut_obj_add_str(doc, root, "note", tool_untried(d));
    yyjson_mut_obj_add_uint(doc, root, "n", r->shape.n);
    yyjson_mut_obj_add_uint(doc, root, "k", r->shape.k);
    yyjson_mut_obj_add_str(doc, root, "format", p->name);
    yyjson_mut_obj_add_str(doc, root, "x", woq_type_name(r->x));
    yyjson_mut_obj_add_str(doc, root, "y", woq_type_name(r->y));
    yyjson_mut_obj_add_str(doc, root, "bias", woq_type_name(r->bias));
    yyjson_mut_obj_add_bool(doc, root, "residual", r->residual);
    yyjson_mut_obj_add_str(doc, root, "activation", woq_activation_name(r->activation));
    yyjson_mut_obj_add_uint(doc, root, "device_bytes", p->info.device_bytes);
    yyjson_mut_obj_add_uint(doc, root, "payload_bytes", p->info.payload_bytes);
    yyjson_mut_obj_add_uint(doc, root, "tiles", p->info.tiles);
    yyjson_mut_obj_add_bool(doc, root, "fp16_safe", p->info.fp16_safe);
    yyjson_mut_obj_add_uint(doc, root, "workspace", p->workspace);
    yyjson_mut_val *plans = yyjson_mut_obj_add_arr(doc, root, "plans");
    for (size_t i = 0; i < r->m_count; i++) {
        struct woq_explain e = {.struct_size = sizeof e};
        if (woq_gemm_explain(p->gemm, r->m[i], &e)) {
            yyjson_mut_doc_free(doc);
            return tool_failed(command, "%s", woq_last_message());
        }
        json_plan(doc, plans, r->m[i], &e);
    }
    return tool_json_write(command, doc, "-");
}

static int explain(const struct request *r)
{
    struct woq_device_params params = tool_device_params(r->log);
    struct plan p = {0};
    struct bench_matrix matrix;
    char why[TOOL_WHY];
    int result = TOOL_OK;
    if (!bench_matrix_create(&r->format.format, r->shape, &matrix, why))
        return tool_failed(command, "%s", why);
    enum woq_status st = woq_device_open(r->device, &params, &p.device);
    if (st == WOQ_ERROR_INVALID_ARGUMENT) {
        result = tool_usage(command, "%s", woq_last_message());
        goto done;
    }
    if (!st)
        st = make_plan(r, &matrix, &p);
    if (!st && r->json)
        result = print_json(r, &p);
    else if (!st)
        st = print_text(r, &p);
    if (st)
        result = tool_failed(command, "%s", woq_last_message());
done:
    woq_gemm_destroy(&p.gemm);
    woq_weights_destroy(&p.weights);
    woq_device_destroy(&p.device);
    bench_matrix_destroy(&matrix);
    return result;
}

/* The zero of --zero, and what cannot be left out. */
static int complete(struct request *r)
{
    char why[TOOL_WHY];
    if (!r->shape.n || !r->shape.k)
        return tool_usage(command, "--%s is missing; for example --n 4096 --k 4096",
                          r->shape.n ? "k" : "n");
    if (!r->m_count)
        tool_parse_m_list("1,16,128", &r->m, &r->m_count, why);
    if (r->zero && r->format.format.code != WOQ_CODE_U4 && r->format.format.code != WOQ_CODE_U8)
        return tool_usage(command, "--zero: plain weights (%s) have no zero", r->format.name);
    if (r->zero)
        r->format.format.zero = r->zero;
    r->y = r->y ? r->y : r->x;
    return TOOL_OK;
}

int cmd_explain(int argc, char **argv)
{
    struct request r = {.x = WOQ_F16};
    char why[TOOL_WHY];
    int result = TOOL_OK;
    tool_parse_format("w4g128", &r.format, why);
    opterr = 0;
    static const char letters[] = ":n:k:m:f:x:y:a:p:d:jl:h";
    for (int c; !result && (c = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            free(r.m);
            return TOOL_OK;
        }
        if (c == ':' || c == '?')
            result = tool_bad_option(command, c, argv, options);
        else if (!parse_option(&r, c, why))
            result = tool_usage(command, "--%s: %s", tool_option_name(options, c), why);
    }
    if (!result && optind < argc)
        result = tool_bad_operand(command, argv[optind]);
    if (!result)
        result = complete(&r);
    if (!result)
        result = explain(&r);
    free(r.m);
    return result;
}
