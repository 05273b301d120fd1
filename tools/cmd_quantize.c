/* cmd_quantize.c: `woq quantize`: a model's linear layers to 4 or 8 bits, as a directory that loaders take. */
#include "bar.h"
#include "quantize_calibrated.h"

#include <woq/tokenizer.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char command[] = "woq quantize";

static const char help[] =
    "usage: woq quantize MODEL OUT [options]\n\n"
    "Takes the linear layers of a model's decoder to 4 or 8 bits and writes the directory OUT:\n"
    "compressed-tensors `pack-quantized` safetensors, config.json, tokenizer. Embeddings, norms and\n"
    "lm_head stay 16-bit. MODEL is a .gguf file or a Hugging Face directory. OUT appears whole or\n"
    "not at all; after an interrupted run, run again: calibration goes on where it was.\n\n"
    "  -b, --bits 4|8        bits of a weight (default 4)\n"
    "  -g, --group N         columns that share a scale: 32, 64 (default) or 128\n"
    "      --channel         one scale for each row (default with --bits 8)\n"
    "      --tensor          one scale for each matrix\n"
    "      --asymmetric      with zero points, 4 bits only; needs --allow-unloadable\n"
    "      --keep REGEX      layers whose name, like model.layers.0.mlp.up_proj, matches stay 16-bit;\n"
    "                        may be given again. A match of one of q/k/v or of gate/up keeps all of\n"
    "                        them, as loaders fuse them\n"
    "      --override REGEX=FORMAT  another format for layers that match, as for --keep: 4, 8 or 16 bits and,\n"
    "                        after a colon, gN (groups of N), channel or tensor, as in 4:g32; without it\n"
    "                        as for other layers, or as their bits' default. May be given again: the last\n"
    "                        that matches decides, --keep before all\n"
    "      --allow-unloadable  write what some loaders refuse, with a warning that names them\n"
    "  -J, --jobs N          threads (default: all cores it may use)\n"
    "      --force           replace OUT if it is a model's directory\n"
    "  -h, --help            this text\n\n"
    "Rounding to nearest needs nothing but the weights. Calibration looks at what the layers are given:\n"
    "      --method NAME     rtn (default); mse: scales of the least error; awq: also channels with large\n"
    "                        inputs scaled up; gptq: codes that make up for each other's errors and those\n"
    "                        of the layers before; awq+gptq\n"
    "      --text FILE       samples are windows of this text (UTF-8, or .jsonl with \"text\" members)\n"
    "      --samples N       of them (default 128)\n"
    "      --window N        tokens of one (default 512)\n"
    "      --seed N          draws other ones\n"
    "      --device NAME     where products run (default: WOQ_DEVICE, else the best)\n"
    "      --math MODE       of products: exact, rounded, fixed16, default\n"
    "      --damping X       of GPTQ (default 0.01)\n"
    "      --share X         of the error of the layers before that GPTQ makes up for, 0 to 1 (default\n"
    "                        0.5); 0 needs half the time\n"
    "      --memory MIB      activations beyond it lie in a file beside OUT (default 1024)\n"
    "      --budget B        bits a weight, scales included: layers whose rounding changes the output most\n"
    "                        get 8 bits or stay 16-bit, until they are spent\n"
    "      --sensitivity     without a budget too: how much each layer's rounding changes the output,\n"
    "                        into the report\n"
    "      --sensitivity-tokens N  of the samples, by which that is measured (default 2048)\n"
    "      --report FILE     errors, scales and times of each layer, as JSON; woq report makes a page\n"
    "                        of it\n"
    "      --statistics FILE the layers' inputs, channel by channel; see woq inspect\n\n"
    "Examples:\n"
    "  woq quantize SmolLM2-135M-Instruct.Q4_1.gguf SmolLM2-w4\n"
    "  woq quantize Qwen3-0.6B Qwen3-w8 --bits 8 --channel\n"
    "  woq quantize Llama-3.2-1B Llama-w4 --group 128 --keep 'layers\\.0\\.'\n"
    "  woq quantize Qwen3-0.6B Qwen3-mixed --override down_proj=8 --override 'layers\\.0\\.=4:g32'\n"
    "  woq quantize SmolLM2-135M-Instruct.Q4_1.gguf SmolLM2-gptq --method gptq --text book.txt\n"
    "  woq quantize Qwen3-0.6B Qwen3-5bits --method gptq --text book.txt --budget 5\n";

enum long_only {
    OPTION_CHANNEL = 256,
    OPTION_TENSOR,
    OPTION_ASYMMETRIC,
    OPTION_KEEP,
    OPTION_OVERRIDE,
    OPTION_ALLOW,
    OPTION_FORCE
};

static const struct option options[] = {{"bits", required_argument, NULL, 'b'},
                                        {"group", required_argument, NULL, 'g'},
                                        {"channel", no_argument, NULL, OPTION_CHANNEL},
                                        {"tensor", no_argument, NULL, OPTION_TENSOR},
                                        {"asymmetric", no_argument, NULL, OPTION_ASYMMETRIC},
                                        {"keep", required_argument, NULL, OPTION_KEEP},
                                        {"override", required_argument, NULL, OPTION_OVERRIDE},
                                        {"allow-unloadable", no_argument, NULL, OPTION_ALLOW},
                                        {"jobs", required_argument, NULL, 'J'},
                                        {"force", no_argument, NULL, OPTION_FORCE},
                                        {"help", no_argument, NULL, 'h'},
                                        CALIBRATED_OPTIONS,
                                        {0}};

struct request {
    uint64_t bits, group, jobs; /* group: as in woq/format.h */
    const char *grain;          /* the option that set group; NULL = none */
    bool asymmetric, allow, force;
    const char **keep;
    size_t keep_count;
    struct woq_quantize_override *overrides; /* group: NO_GRAIN where none was given */
    size_t override_count;
    struct calibrated_options calibrated;
};

enum { NO_GRAIN = 1 }; /* a group of one column, which no override can ask for */

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = number;
}

static bool progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct bar *bar = user;
    char rate_text[24], left[BAR_LEFT];
    (void)what;
    if (stopped)
        return false;
    if (!done || !bar_due(bar))
        return true;
    const double share = (double)done / (double)total, rate = (double)done / (bar->last - bar->start);
    bar_draw("quantizing", share, " %3.0f %%  %s/s  %s", 100 * share, tool_bytes((uint64_t)rate, rate_text),
             bar_left((double)(total - done) / rate, left));
    return true;
}

static bool set_grain(struct request *r, const char *name, uint64_t group, char *why)
{
    if (r->grain && strcmp(r->grain, name)) {
        snprintf(why, TOOL_WHY, "--%s and --%s exclude each other", r->grain, name);
        return false;
    }
    r->grain = name;
    r->group = group;
    return true;
}

/* REGEX=BITS or REGEX=BITS:GRAIN; the expression may have other equals signs. */
static bool parse_override(struct request *r, char *text, char *why)
{
    struct woq_quantize_override o = {.pattern = text, .group = NO_GRAIN};
    char *equals = strrchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    const char *grain = colon ? colon + 1 : NULL;
    uint64_t bits = 0, group = 0;
    if (!equals || equals == text) {
        snprintf(why, TOOL_WHY, "'%.40s' must be REGEX=FORMAT, as in down_proj=8 or up_proj=4:g32", text);
        return false;
    }
    *equals = 0;
    if (colon)
        *colon = 0;
    if (!tool_parse_number(equals + 1, 4, 16, &bits, why) || (bits != 4 && bits != 8 && bits != 16)) {
        snprintf(why, TOOL_WHY, "bits of '%.40s' are '%.20s'; must be 4, 8 or 16", text, equals + 1);
        return false;
    }
    if (grain && (bits == 16 || (strcmp(grain, "channel") && strcmp(grain, "tensor") &&
                                 (*grain != 'g' || !tool_parse_number(grain + 1, 2, 1 << 30, &group, why))))) {
        snprintf(why, TOOL_WHY, bits == 16 ? "'%.40s' stays 16-bit and has no '%.20s'"
                                           : "'%.40s': '%.20s' must be gN, as in g32, channel or tensor",
                 text, grain);
        return false;
    }
    if (grain)
        o.group = !strcmp(grain, "channel") ? WOQ_GROUP_CHANNEL : !strcmp(grain, "tensor") ? WOQ_GROUP_TENSOR : group;
    o.bits = (uint32_t)bits;
    r->overrides = tool_grow(r->overrides, r->override_count + 1, sizeof *r->overrides);
    r->overrides[r->override_count++] = o;
    return true;
}

/* Columns of a scale where no option says. */
static uint64_t default_group(uint64_t bits)
{
    return bits == 8 ? WOQ_GROUP_CHANNEL : 64;
}

/* What was left open takes the place of other layers' or of its bits. 8 bits have no zero points. */
static void complete(struct request *r)
{
    for (size_t i = 0; i < r->override_count; i++) {
        struct woq_quantize_override *o = &r->overrides[i];
        o->symmetric = o->bits != 4 || !r->asymmetric;
        if (o->group == NO_GRAIN)
            o->group = r->grain ? r->group : default_group(o->bits);
    }
    if (!r->grain)
        r->group = default_group(r->bits);
}

static bool parse_option(struct request *r, int c, char *why)
{
    uint64_t group;
    bool known;
    const bool good = calibrated_parse(&r->calibrated, c, &known, why);
    if (known)
        return good;
    switch (c) {
    case 'b':
        if (!tool_parse_number(optarg, 4, 8, &r->bits, why))
            return false;
        if (r->bits == 4 || r->bits == 8)
            return true;
        snprintf(why, TOOL_WHY, "'%.40s' must be 4 or 8", optarg);
        return false;
    case 'g':
        return tool_parse_number(optarg, 1, 1 << 30, &group, why) && set_grain(r, "group", group, why);
    case OPTION_CHANNEL: return set_grain(r, "channel", WOQ_GROUP_CHANNEL, why);
    case OPTION_TENSOR: return set_grain(r, "tensor", WOQ_GROUP_TENSOR, why);
    case OPTION_ASYMMETRIC: r->asymmetric = true; break;
    case OPTION_KEEP:
        r->keep = tool_grow(r->keep, r->keep_count + 1, sizeof *r->keep);
        r->keep[r->keep_count++] = optarg;
        break;
    case OPTION_OVERRIDE: return parse_override(r, optarg, why);
    case OPTION_ALLOW: r->allow = true; break;
    case 'J': return tool_parse_number(optarg, 1, 256, &r->jobs, why);
    case OPTION_FORCE: r->force = true; break;
    }
    return true;
}

static void warn_group(uint64_t group)
{
    if (group != WOQ_GROUP_CHANNEL && group != WOQ_GROUP_TENSOR && group != 32 && group != 64 && group != 128)
        fprintf(stderr, "%s: warning: groups of %llu columns: vLLM does not load them\n", command,
                (unsigned long long)group);
}

/* What the user asked for although loaders fail. */
static void warn(const struct request *r)
{
    bool mixed = false;
    warn_group(r->group);
    for (size_t i = 0; i < r->override_count; i++)
        if (r->overrides[i].bits != 16) {
            warn_group(r->overrides[i].group);
            mixed = true;
        }
    if (r->asymmetric)
        fprintf(stderr, "%s: warning: asymmetric weights: transformers %s\n", command,
                mixed ? "does not load them beside other formats"
                      : "5.23 loads them only by CompressedTensorsConfig(dequantize=True), 4.57 not at all");
}

static void log_line(void *user, enum woq_log_level level, const char *message)
{
    (void)user;
    if (level <= WOQ_LOG_WARNING)
        fprintf(stderr, "%s: warning: %s\n", command, message);
}

/* Nothing can be said with a model whose tokenizer is lost or broken, so it should not be so unnoticed. */
static void warn_tokenizer(const struct woq_checkpoint *c)
{
    struct woq_tokenizer *tokenizer = NULL;
    char *path = tool_text("%s/tokenizer.json", woq_checkpoint_path(c));
    if (woq_checkpoint_container(c) == WOQ_CONTAINER_SAFETENSORS && access(path, F_OK))
        fprintf(stderr, "%s: warning: there is no '%s', so OUT has none; woq eval needs it\n", command, path);
    else if (woq_tokenizer_create(c, &tokenizer))
        fprintf(stderr, "%s: warning: OUT's tokenizer is the model's, which woq eval does not take: %s\n", command,
                woq_last_message());
    woq_tokenizer_destroy(&tokenizer);
    free(path);
}

static void handle_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, old;
    /* What a caller such as nohup has set aside stays so. */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!sigaction(numbers[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

static int run(struct request *r, const char *model, const char *out)
{
    struct woq_quantize_params p = WOQ_QUANTIZE_PARAMS_INIT;
    struct woq_checkpoint_params opening = WOQ_CHECKPOINT_PARAMS_INIT;
    struct woq_checkpoint *checkpoint = NULL;
    struct bar bar;
    bar_begin(&bar, isatty(STDERR_FILENO));
    p.bits = (uint32_t)r->bits;
    p.group = r->group;
    p.symmetric = !r->asymmetric;
    p.keep = r->keep;
    p.keep_count = r->keep_count;
    p.overrides = r->overrides;
    p.override_count = r->override_count;
    p.jobs = (uint32_t)r->jobs;
    p.force = r->force;
    p.allow_unloadable = r->allow;
    p.progress = progress;
    p.progress_user = &bar;
    if (r->allow)
        warn(r);
    handle_signals();
    opening.log = log_line;
    enum woq_status st = woq_checkpoint_open(model, &opening, &checkpoint);
    if (!st)
        st = r->calibrated.method ? calibrated_run(&r->calibrated, command, checkpoint, out, &p, bar.shown, &stopped)
                                  : woq_quantize_checkpoint(checkpoint, out, &p);
    bar_clear(&bar);
    if (!st)
        warn_tokenizer(checkpoint);
    woq_checkpoint_close(&checkpoint);
    if (st && stopped)
        return tool_failed(command, "interrupted; '%s' was not written%s", out,
                           r->calibrated.method ? ", finished layers are kept for the next run" : "");
    if (st)
        return tool_failed(command, "%s", woq_last_message());
    char grain[40], others[80] = "";
    if (r->override_count)
        snprintf(others, sizeof others, ", %zu override%s", r->override_count, r->override_count > 1 ? "s" : "");
    if (r->calibrated.params.budget > 0)
        snprintf(others + strlen(others), sizeof others - strlen(others), ", a budget of %g bits a weight",
                 (double)r->calibrated.params.budget);
    if (r->group == WOQ_GROUP_CHANNEL || r->group == WOQ_GROUP_TENSOR)
        snprintf(grain, sizeof grain, "per %s", r->group == WOQ_GROUP_CHANNEL ? "channel" : "tensor");
    else
        snprintf(grain, sizeof grain, "groups of %llu", (unsigned long long)r->group);
    printf("%s: %s, %llu bits, %s, %s%s, in %.1f s\n", out,
           r->calibrated.method ? woq_method_name(r->calibrated.method) : "round to nearest",
           (unsigned long long)r->bits, grain, r->asymmetric ? "asymmetric" : "symmetric", others,
           tool_seconds() - bar.start);
    return TOOL_OK;
}

/* OpenMP's threads turn for a while when they have nothing to do, and keep those of the BLAS from its cores: with two
 * cores calibration takes two thirds of the time when they sleep. They read this when the program begins. */
static void sleep_between_loops(char **program)
{
    char path[4096];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size < 0 || getenv("OMP_WAIT_POLICY") || setenv("OMP_WAIT_POLICY", "passive", 0))
        return;
    path[size] = 0;
    execv(path, program); /* where that cannot be, it only takes longer */
}

int cmd_quantize(int argc, char **argv)
{
    struct request r = {.bits = 4, .calibrated = CALIBRATED_INIT};
    char why[TOOL_WHY];
    int c, code;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":b:g:J:h", options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help, stdout);
            code = TOOL_OK;
            goto done;
        }
        if (c == '?' || c == ':') {
            code = tool_bad_option(command, c, argv, options);
            goto done;
        }
        if (!parse_option(&r, c, why)) {
            code = tool_usage(command, "--%s: %s", tool_option_name(options, c), why);
            goto done;
        }
    }
    complete(&r);
    if (argc - optind < 2)
        code = tool_usage(command, "%s is missing: woq quantize MODEL OUT",
                          argc - optind ? "OUT" : "MODEL");
    else if (argc - optind > 2)
        code = tool_usage(command, "unexpected '%s'; there are but MODEL and OUT", argv[optind + 2]);
    else
        code = calibrated_check(&r.calibrated, command, argv[optind], argv[optind + 1]);
    if (argc - optind == 2 && !code && r.calibrated.method)
        sleep_between_loops(argv - 1); /* main's, with the command behind the program's name */
    if (argc - optind == 2 && !code)
        code = run(&r, argv[optind], argv[optind + 1]);
done:
    free(r.keep);
    free(r.overrides);
    return code;
}
