/* cmd_eval.c: `woq eval`: its arguments, and the models it goes through. */
#include "eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char command[] = "woq eval";

static const char help[] =
    "usage: woq eval MODEL[:WEIGHTS]... [options]\n\n"
    "How well and how fast language models predict a text, and how they continue a prompt. The\n"
    "first model is what the others are compared with, window by window.\n\n"
    "MODEL is a .gguf or .safetensors file, or a Hugging Face directory. WEIGHTS is how its linear\n"
    "layers lie on the device: as-stored; f16; or rounded to nearest while loading, in a format\n"
    "like w8, w4g64, w4g64z, w4g32z:bf16 (see woq bench --help). Embeddings, norms and the head\n"
    "stay FP16 then.\n\n"
    "  -w, --weights LIST  for models that are given without (default as-stored); each of the list\n"
    "  -d, --device NAME   where products run (default: WOQ_DEVICE, else the best)\n"
    "  -t, --text FILE     perplexity of this text (UTF-8)\n"
    "  -n, --tokens N      of the text at most (default 8192); 0 = all\n"
    "      --window N      tokens that a prediction sees (default 512); the last N - N/2 - 1 of\n"
    "                      each window are scored, windows do not overlap\n"
    "      --math LIST     exact, rounded, fixed16, default (what the path prefers); each of the list\n"
    "      --stride S      instead: a window each S tokens, of which the last S are scored\n"
    "      --kl            KL divergence of each model's predictions from the first one's, and how\n"
    "                      often both have the same likeliest token; all models are in memory then\n"
    "  -p, --prompt TEXT   continue this text, always with the likeliest token\n"
    "  -g, --generate N    by so many tokens at most (default 64)\n"
    "  -j, --json FILE     also as JSON; - writes it to standard output in place of the table\n"
    "  -l, --log LEVEL     the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help          this text\n\n"
    "Examples:\n"
    "  woq eval SmolLM2.gguf --weights f16,w8,w4g64 --text book.txt --kl\n"
    "  woq eval SmolLM2.gguf:f16 SmolLM2-w4 --text book.txt --tokens 0 --json result.json\n"
    "  woq eval SmolLM2-w4 --device opencl:0 --math exact,fixed16 --text book.txt\n"
    "  woq eval SmolLM2.gguf --device opencl:0 --prompt 'The capital of France is' -g 16\n";

enum long_only { OPTION_WINDOW = 256, OPTION_STRIDE, OPTION_MATH, OPTION_KL };
#define MOST_MATHS 8

static const struct option options[] = {
    {"weights", required_argument, NULL, 'w'},
    {"device", required_argument, NULL, 'd'},
    {"text", required_argument, NULL, 't'},
    {"tokens", required_argument, NULL, 'n'},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"stride", required_argument, NULL, OPTION_STRIDE},
    {"math", required_argument, NULL, OPTION_MATH},
    {"kl", no_argument, NULL, OPTION_KL},
    {"prompt", required_argument, NULL, 'p'},
    {"generate", required_argument, NULL, 'g'},
    {"json", required_argument, NULL, 'j'},
    {"log", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {0}};

struct request {
    struct eval_options eval;
    const char *device, *json;
    struct tool_weights *weights;
    size_t weight_count;
    enum woq_math maths[MOST_MATHS];
    size_t math_count;
    struct eval_model *models;
    size_t count;
};

static bool parse_list(struct request *r, const char *text, char *why)
{
    char **names = NULL;
    size_t count = 0;
    free(r->weights);
    r->weights = NULL;
    r->weight_count = 0;
    bool good = tool_parse_names(text, &names, &count, why);
    r->weights = tool_alloc(count, sizeof *r->weights);
    for (size_t i = 0; i < count && good; i++)
        good = tool_parse_weights(names[i], &r->weights[r->weight_count++], why);
    tool_free_names(names, count);
    return good;
}

static bool parse_maths(struct request *r, const char *text, char *why)
{
    char **names = NULL;
    size_t count = 0;
    bool good = tool_parse_names(text, &names, &count, why);
    if (good && count > MOST_MATHS) {
        snprintf(why, TOOL_WHY, "%zu are more than there are", count);
        good = false;
    }
    for (r->math_count = 0; good && r->math_count < count; r->math_count++)
        good = tool_parse_math(names[r->math_count], &r->maths[r->math_count], why);
    tool_free_names(names, count);
    return good;
}

static bool parse_option(struct request *r, int c, char *why)
{
    struct eval_options *e = &r->eval;
    uint64_t number;
    switch (c) {
    case 'w': return parse_list(r, optarg, why);
    case 'd': r->device = optarg; break;
    case 't': e->text_file = optarg; break;
    case 'n': return tool_parse_number(optarg, 0, UINT32_MAX, &e->tokens, why);
    case 'p': e->prompt = optarg; break;
    case 'j': r->json = optarg; break;
    case 'l': return tool_parse_log(optarg, &e->log, why);
    case 'g':
        if (!tool_parse_number(optarg, 1, 1 << 20, &number, why))
            return false;
        e->generate = (uint32_t)number;
        break;
    case OPTION_WINDOW:
        return tool_parse_window(optarg, &e->window, why);
    case OPTION_MATH: return parse_maths(r, optarg, why);
    case OPTION_KL: e->kl = true; break;
    case OPTION_STRIDE:
        if (!tool_parse_number(optarg, 1, 1 << 20, &number, why))
            return false;
        e->stride = (uint32_t)number;
        break;
    }
    return true;
}

/* In each math mode. */
static void add_model(struct request *r, const char *path, const struct tool_weights *weights)
{
    for (size_t i = 0; i < r->math_count; i++) {
        r->models = tool_grow(r->models, r->count + 1, sizeof *r->models);
        r->models[r->count++] =
            (struct eval_model){.path = tool_text("%s", path), .weights = *weights, .math = r->maths[i]};
    }
}

static int parse_model(struct request *r, const char *text)
{
    char why[TOOL_WHY], *path;
    struct tool_weights weights;
    bool given;
    if (!tool_parse_model(text, &path, &weights, &given, why))
        return tool_usage(command, "%s", why);
    if (given)
        add_model(r, path, &weights);
    for (size_t i = 0; i < r->weight_count && !given; i++)
        add_model(r, path, &r->weights[i]);
    free(path);
    return TOOL_OK;
}

/* Bytes up to the first that is no UTF-8. */
static size_t utf8_length(const unsigned char *text, size_t size)
{
    size_t i = 0;
    while (i < size) {
        const unsigned char c = text[i];
        const size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3
                       : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (!n || n > size - i)
            return i;
        for (size_t k = 1; k < n; k++)
            if ((text[i + k] & 0xc0) != 0x80)
                return i;
        /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
        if ((c == 0xe0 && text[i + 1] < 0xa0) || (c == 0xed && text[i + 1] > 0x9f) ||
            (c == 0xf0 && text[i + 1] < 0x90) || (c == 0xf4 && text[i + 1] > 0x8f))
            return i;
        i += n;
    }
    return i;
}

static int read_text(struct eval_options *e)
{
    size_t capacity = 0;
    FILE *in = fopen(e->text_file, "rb");
    if (!in)
        return tool_failed(command, "cannot read '%s': %s", e->text_file, strerror(errno));
    do {
        capacity += 1 << 20;
        e->text = tool_grow(e->text, capacity, 1);
        e->text_size += fread(e->text + e->text_size, 1, capacity - e->text_size, in);
    } while (e->text_size == capacity);
    const int error = ferror(in) ? errno : 0;
    fclose(in);
    if (error)
        return tool_failed(command, "cannot read '%s': %s", e->text_file, strerror(error));
    const size_t valid = utf8_length((const unsigned char *)e->text, e->text_size);
    if (valid < e->text_size)
        return tool_failed(command, "'%s' is not UTF-8 at byte %zu; convert it (iconv -t UTF-8)",
                           e->text_file, valid);
    return TOOL_OK;
}

static int run(struct request *r)
{
    struct woq_device *device = NULL;
    const struct woq_device_params params = tool_device_params(r->eval.log);
    size_t failed = 0;
    enum woq_status st = woq_device_open(r->device, &params, &device);
    if (st == WOQ_ERROR_INVALID_ARGUMENT)
        return tool_usage(command, "%s", woq_last_message());
    if (st)
        return tool_failed(command, "%s", woq_last_message());
    int result = TOOL_OK;
    if (r->eval.kl)
        eval_run_together(&r->eval, device, r->models, r->count);
    for (size_t i = 0; i < r->count; i++) {
        if (!r->eval.kl)
            eval_run(&r->eval, device, &r->models[i]);
        failed += !r->models[i].done;
    }
    eval_pair(r->models, r->count);
    const struct woq_device_info *info = woq_device_get_info(device);
    if (failed < r->count && (!r->json || strcmp(r->json, "-")))
        eval_print(&r->eval, info, r->models, r->count, stdout);
    if (r->json)
        result = eval_write_json(command, &r->eval, info, r->models, r->count, r->json);
    for (size_t i = 0; i < r->count; i++)
        if (!r->models[i].done)
            result = tool_failed(command, "%s (%s): %s", r->models[i].path,
                                 r->models[i].weights.name, r->models[i].reason);
    woq_device_destroy(&device);
    return result;
}

static int check(const struct request *r)
{
    const struct eval_options *e = &r->eval;
    if (!r->count)
        return tool_usage(command, "a model is missing: a .gguf or .safetensors file or a directory");
    if (!e->text_file && !e->prompt)
        return tool_usage(command, "nothing to do: --text FILE for perplexity, --prompt TEXT for a "
                                   "continuation, or both");
    if (e->stride >= e->window)
        return tool_usage(command, "--stride: %u must be below the window of %u", e->stride,
                          e->window);
    if (e->kl && !e->text_file)
        return tool_usage(command, "--kl compares predictions of a text: give --text FILE");
    if (e->kl && r->count < 2)
        return tool_usage(command, "--kl compares with the first model: give another one, or several --weights");
    return TOOL_OK;
}

static void request_free(struct request *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->models[i].path);
        free(r->models[i].ids);
        free(r->models[i].perplexity.window_nll);
        free(r->models[i].divergence.window_kl);
        free(r->models[i].divergence.window_agreement);
        free(r->models[i].generated);
    }
    free(r->models);
    free(r->weights);
    free(r->eval.text);
}

int cmd_eval(int argc, char **argv)
{
    struct request r = {.eval = {.tokens = 8192, .window = 512, .generate = 64}, .math_count = 1};
    char why[TOOL_WHY];
    int result = TOOL_OK;
    opterr = 0;
    parse_list(&r, "as-stored", why);
    for (int c; !result &&
                (c = getopt_long(argc, argv, ":w:d:t:n:p:g:j:l:h", options, NULL)) != -1;) {
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
    for (; !result && optind < argc; optind++)
        result = parse_model(&r, argv[optind]);
    r.eval.progress = isatty(STDERR_FILENO);
    if (!result)
        result = check(&r);
    if (!result && r.eval.text_file)
        result = read_text(&r.eval);
    if (!result)
        result = tool_check_writable(command, r.json);
    if (!result)
        result = run(&r);
    request_free(&r);
    return result;
}
