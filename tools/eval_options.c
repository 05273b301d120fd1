/* eval_options.c: the arguments of `woq eval`. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: woq eval MODEL[:WEIGHTS]... [options]\n\n"
    "What quantization did to language models: how well and how fast they predict a text, how far\n"
    "their predictions are from the first model's, and how many questions they get right. The\n"
    "first model is what the others are compared with, window by window and question by question,\n"
    "and where there are others each gets a verdict.\n\n"
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
    "  -x, --x TYPE        type of activations between products: f16 (default), bf16, f32\n"
    "      --math LIST     exact, rounded, fixed16, default (what the path prefers); each of the list\n"
    "      --stride S      instead: a window each S tokens, of which the last S are scored\n"
    "      --kl            KL divergence of each model's predictions from the first one's, and how\n"
    "                      often both have the same likeliest token; all models are in memory then\n"
    "  -p, --prompt TEXT   continue this text, always with the likeliest token\n"
    "  -g, --generate N    by so many tokens at most (default 64)\n\n"
    "Tasks:\n"
    "Questions are asked and scored as lm-evaluation-harness does.\n\n"
    "      --lambada FILE  the last word of texts: JSON lines with \"text\"\n"
    "      --mmlu DIR      questions with four choices: DIR/dev/SUBJECT_dev.csv, DIR/test/...\n"
    "      --split NAME    whose questions are asked: test (default) or dev\n"
    "      --shots N       examples before a question (default 5)\n"
    "      --limit N       examples of each task at most, drawn by --seed (default 0: all)\n"
    "      --seed S        (default 0)\n"
    "      --chat          as a user's turn, in the form of the first model's chat template\n"
    "      --details       MMLU by category and subject too\n"
    "      --predictions FILE  each model's answer to each example, as JSON lines\n\n"
    "Verdict:\n"
    "What a model may lose beside the first. The bounds are ours, not a standard's.\n\n"
    "      --max-perplexity P   percent more (default 0.5 with 8 bits a weight or more, else 5)\n"
    "      --max-kl X           nats a token (default 0.02 with 8 bits or more, else 0.1)\n"
    "      --max-accuracy-drop D   of each task: 2se is two standard errors of the paired difference\n"
    "                      (default), 1.5 is points of a percent\n"
    "      --verdict       exit status 3 if a model fails\n\n"
    "  -s, --state FILE    notes finished windows and answers here, and goes on from there after a\n"
    "                      kill, to the same figures\n"
    "  -j, --json FILE     also as JSON; - writes it to standard output in place of the table\n"
    "      --html FILE     also as a page with plots, of one file\n"
    "  -l, --log LEVEL     the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help          this text\n\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 with --verdict: a model lost too much.\n\n"
    "Examples:\n"
    "  woq eval SmolLM2.gguf --weights f16,w8,w4g64 --text book.txt --kl --html result.html\n"
    "  woq eval SmolLM2.gguf:f16 SmolLM2-w4 --text book.txt --tokens 0 --json result.json\n"
    "  woq eval SmolLM2.gguf:f16 SmolLM2-w4 --text book.txt --kl --lambada lambada.jsonl --mmlu mmlu \\\n"
    "        --limit 1000 --verdict --max-perplexity 3 --state run.state\n"
    "  woq eval SmolLM2-w4 --device opencl:0 --math exact,fixed16 --text book.txt\n"
    "  woq eval SmolLM2.gguf --device opencl:0 --prompt 'The capital of France is' -g 16\n";

enum long_only {
    OPTION_WINDOW = 256, OPTION_STRIDE, OPTION_MATH, OPTION_KL, OPTION_LAMBADA, OPTION_MMLU, OPTION_SPLIT, OPTION_SHOTS,
    OPTION_LIMIT, OPTION_SEED, OPTION_CHAT, OPTION_DETAILS, OPTION_PREDICTIONS, OPTION_MAX_PERPLEXITY, OPTION_MAX_KL,
    OPTION_MAX_DROP, OPTION_VERDICT, OPTION_HTML
};
#define MOST_MATHS 8

static const struct option options[] = {
    {"weights", required_argument, NULL, 'w'},
    {"device", required_argument, NULL, 'd'},
    {"text", required_argument, NULL, 't'},
    {"tokens", required_argument, NULL, 'n'},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"stride", required_argument, NULL, OPTION_STRIDE},
    {"x", required_argument, NULL, 'x'},
    {"math", required_argument, NULL, OPTION_MATH},
    {"kl", no_argument, NULL, OPTION_KL},
    {"prompt", required_argument, NULL, 'p'},
    {"generate", required_argument, NULL, 'g'},
    {"lambada", required_argument, NULL, OPTION_LAMBADA},
    {"mmlu", required_argument, NULL, OPTION_MMLU},
    {"split", required_argument, NULL, OPTION_SPLIT},
    {"shots", required_argument, NULL, OPTION_SHOTS},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"chat", no_argument, NULL, OPTION_CHAT},
    {"details", no_argument, NULL, OPTION_DETAILS},
    {"predictions", required_argument, NULL, OPTION_PREDICTIONS},
    {"max-perplexity", required_argument, NULL, OPTION_MAX_PERPLEXITY},
    {"max-kl", required_argument, NULL, OPTION_MAX_KL},
    {"max-accuracy-drop", required_argument, NULL, OPTION_MAX_DROP},
    {"verdict", no_argument, NULL, OPTION_VERDICT},
    {"state", required_argument, NULL, 's'},
    {"json", required_argument, NULL, 'j'},
    {"html", required_argument, NULL, OPTION_HTML},
    {"log", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {0}};

static bool parse_list(struct eval_request *r, const char *text, char *why)
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

static bool parse_maths(struct eval_request *r, const char *text, char *why)
{
    char **names = NULL;
    size_t count = 0;
    bool good = tool_parse_names(text, &names, &count, why);
    r->maths = tool_grow(r->maths, MOST_MATHS, sizeof *r->maths);
    if (good && count > MOST_MATHS) {
        snprintf(why, TOOL_WHY, "%zu are more than there are", count);
        good = false;
    }
    for (r->math_count = 0; good && r->math_count < count; r->math_count++)
        good = tool_parse_math(names[r->math_count], &r->maths[r->math_count], why);
    tool_free_names(names, count);
    return good;
}

/* A number from 0 to `most`, and what follows it. */
static bool parse_real(const char *text, double most, const char *unit, double *out, const char **rest, char *why)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || !(*out >= 0 && *out <= most)) {
        snprintf(why, TOOL_WHY, "'%.80s': must be 0 to %g%s", text, most, unit);
        return false;
    }
    *rest = end;
    return true;
}

static bool parse_bound(const char *text, double most, const char *unit, double *out, char *why)
{
    const char *rest;
    if (!parse_real(text, most, unit, out, &rest, why))
        return false;
    if (*rest)
        snprintf(why, TOOL_WHY, "'%.80s': must be 0 to %g%s", text, most, unit);
    return !*rest;
}

static bool parse_drop(const char *text, struct eval_bounds *b, char *why)
{
    static const char unit[] = " (points of a percent), or standard errors, as in 2se";
    const char *rest;
    if (!parse_real(text, 100, unit, &b->drop, &rest, why))
        return false;
    b->drop_in_points = !*rest;
    if (*rest && strcmp(rest, "se"))
        snprintf(why, TOOL_WHY, "'%.80s': must be 0 to 100%s", text, unit);
    return !*rest || !strcmp(rest, "se");
}

static bool parse_count(const char *text, uint64_t min, uint32_t *out, char *why)
{
    uint64_t number;
    if (!tool_parse_number(text, min, 1 << 20, &number, why))
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool parse_task_option(struct eval_options *e, int c, char *why)
{
    switch (c) {
    case OPTION_LAMBADA: e->lambada = optarg; break;
    case OPTION_MMLU: e->mmlu = optarg; break;
    case OPTION_SPLIT: e->split = optarg; break;
    case OPTION_SHOTS: return parse_count(optarg, 0, &e->shots, why);
    case OPTION_LIMIT: return tool_parse_number(optarg, 0, UINT32_MAX, &e->limit, why);
    case OPTION_SEED: return tool_parse_number(optarg, 0, UINT64_MAX, &e->seed, why);
    case OPTION_CHAT: e->chat = true; break;
    case OPTION_DETAILS: e->details = true; break;
    case OPTION_PREDICTIONS: e->predictions = optarg; break;
    case OPTION_MAX_PERPLEXITY: return parse_bound(optarg, 1e6, " percent", &e->bounds.perplexity, why);
    case OPTION_MAX_KL: return parse_bound(optarg, 1e6, " nats", &e->bounds.kl, why);
    case OPTION_MAX_DROP: return parse_drop(optarg, &e->bounds, why);
    case OPTION_VERDICT: e->gate = true; break;
    case OPTION_HTML: e->html = optarg; break;
    }
    return true;
}

static bool parse_option(struct eval_request *r, int c, char *why)
{
    struct eval_options *e = &r->eval;
    switch (c) {
    case 'w': return parse_list(r, optarg, why);
    case 'd': r->device = optarg; break;
    case 't': e->text_file = optarg; break;
    case 'n': return tool_parse_number(optarg, 0, UINT32_MAX, &e->tokens, why);
    case 'x': return tool_parse_type(optarg, &e->x, why);
    case 'p': e->prompt = optarg; break;
    case 'j': e->json = optarg; break;
    case 's': e->state = optarg; break;
    case 'l': return tool_parse_log(optarg, &e->log, why);
    case 'g': return parse_count(optarg, 1, &e->generate, why);
    case OPTION_WINDOW: return tool_parse_window(optarg, &e->window, why);
    case OPTION_MATH: return parse_maths(r, optarg, why);
    case OPTION_KL: e->kl = true; break;
    case OPTION_STRIDE: return parse_count(optarg, 1, &e->stride, why);
    default: return parse_task_option(e, c, why);
    }
    return true;
}

/* In each math mode. */
static void add_model(struct eval_request *r, const char *path, const struct tool_weights *weights)
{
    for (size_t i = 0; i < r->math_count; i++) {
        r->models = tool_grow(r->models, r->count + 1, sizeof *r->models);
        r->models[r->count] = (struct eval_model){.path = tool_text("%s", path), .weights = *weights,
                                                  .math = r->maths[i], .index = r->count};
        r->count++;
    }
}

static int parse_model(const char *command, struct eval_request *r, const char *text)
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

/* An output over a model or a benchmark, or among their files. */
static int check_output(const char *command, const struct eval_request *r, const char *name, const char *file)
{
    for (size_t m = 0; m < r->count; m++) {
        const char *model = r->models[m].path;
        if (tool_same_file(file, model))
            return tool_usage(command, "%s '%s' is a model to measure; it needs a file of its own", name, file);
        if (tool_file_inside(model, file))
            return tool_usage(command, "%s '%s' is in the directory of a model to measure, '%s'; it needs a place of "
                                       "its own", name, file, model);
    }
    if (r->eval.mmlu && tool_file_inside(r->eval.mmlu, file))
        return tool_usage(command, "%s '%s' is in --mmlu, '%s'; it needs a place of its own", name, file,
                          r->eval.mmlu);
    return TOOL_OK;
}

/* Outputs that would be written into each other, or over what is read. */
static int check_outputs(const char *command, const struct eval_request *r)
{
    const struct eval_options *e = &r->eval;
    const char *const files[] = {e->json, e->html, e->predictions, e->state, e->text_file, e->lambada};
    static const char *const names[] = {"--json", "--html", "--predictions", "--state", "--text", "--lambada"};
    enum { OUTPUTS = 4, FILES = sizeof files / sizeof *files };
    int result = TOOL_OK;
    for (size_t i = 0; i < OUTPUTS; i++)
        for (size_t j = i + 1; j < FILES && files[i]; j++)
            if (files[j] && tool_same_file(files[i], files[j]))
                return tool_usage(command, "%s and %s are both '%s'; each needs one of its own", names[i], names[j],
                                  files[i]);
    for (size_t i = 0; i < OUTPUTS && !result; i++)
        result = files[i] ? check_output(command, r, names[i], files[i]) : TOOL_OK;
    if (!result && e->state && !strcmp(e->state, "-"))
        result = tool_usage(command, "--state needs a file, which a later run can take up");
    return result;
}

static int check_tasks(const char *command, const struct eval_options *e)
{
    const bool tasks = e->lambada || e->mmlu;
    if (e->split && !e->mmlu)
        return tool_usage(command, "--split is MMLU's: give --mmlu DIR");
    if (e->split && strcmp(e->split, "test") && strcmp(e->split, "dev"))
        return tool_usage(command, "--split: '%s' must be test or dev", e->split);
    if (e->predictions && !tasks)
        return tool_usage(command, "--predictions are of tasks: give --lambada FILE or --mmlu DIR");
    if (e->chat && !tasks)
        return tool_usage(command, "--chat is for tasks: give --lambada FILE or --mmlu DIR");
    return TOOL_OK;
}

static int check(const char *command, const struct eval_request *r)
{
    const struct eval_options *e = &r->eval;
    if (!r->count)
        return tool_usage(command, "a model is missing: a .gguf or .safetensors file or a directory");
    if (!e->text_file && !e->prompt && !e->lambada && !e->mmlu)
        return tool_usage(command, "nothing to do: --text FILE for perplexity, --lambada FILE or --mmlu DIR for "
                                   "questions, --prompt TEXT for a continuation");
    if (e->stride >= e->window)
        return tool_usage(command, "--stride: %u must be below the window of %u", e->stride,
                          e->window);
    if (e->kl && !e->text_file)
        return tool_usage(command, "--kl compares predictions of a text: give --text FILE");
    if (e->kl && r->count < 2)
        return tool_usage(command, "--kl compares with the first model: give another one, or several --weights");
    if (e->gate && (r->count < 2 || (!e->text_file && !e->lambada && !e->mmlu)))
        return tool_usage(command, "--verdict is of models beside the first, by --text, --lambada or --mmlu: give %s",
                          r->count < 2 ? "another model, or several --weights" : "one of these");
    const int result = check_tasks(command, e);
    return result ? result : check_outputs(command, r);
}

static void model_free(struct eval_model *m)
{
    free(m->path);
    free(m->ids);
    free(m->scores.nll);
    free(m->scores.kl);
    free(m->scores.same);
    free(m->scores.seconds);
    free(m->perplexity.window_nll);
    free(m->divergence.window_kl);
    free(m->divergence.window_agreement);
    for (int t = 0; t < EVAL_TASKS; t++) {
        free(m->predictions[t]);
        woq_task_summary_release(&m->summary[t]);
    }
    free(m->generated);
}

void eval_request_free(struct eval_request *r)
{
    for (size_t i = 0; i < r->count; i++)
        model_free(&r->models[i]);
    free(r->models);
    free(r->weights);
    free(r->maths);
    free(r->eval.text);
}

int eval_parse(const char *command, int argc, char **argv, struct eval_request *out)
{
    char why[TOOL_WHY];
    int result = TOOL_OK;
    *out = (struct eval_request){.eval = {.tokens = 8192, .window = 512, .generate = 64, .shots = 5, .x = WOQ_F16,
                                          .bounds = {NAN, NAN, 2, false}}};
    struct eval_request *r = out;
    opterr = 0;
    parse_list(r, "as-stored", why);
    parse_maths(r, "default", why);
    for (int c; !result && (c = getopt_long(argc, argv, ":w:d:t:n:x:p:g:s:j:l:h", options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            r->help = true;
            return TOOL_OK;
        }
        if (c == ':' || c == '?')
            result = tool_bad_option(command, c, argv, options);
        else if (!parse_option(r, c, why))
            result = tool_usage(command, "--%s: %s", tool_option_name(options, c), why);
    }
    for (; !result && optind < argc; optind++)
        result = parse_model(command, r, argv[optind]);
    return result ? result : check(command, r);
}
