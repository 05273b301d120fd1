/* quantize_calibrated.c: the options of calibration, its progress, and the device it runs on. */
#include "quantize_calibrated.h"
#include "bar.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse_real(const char *text, double least, double most, float *out, char *why)
{
    char *end;
    const double value = strtod(text, &end);
    if (end != text && !*end && value >= least && value <= most) {
        *out = (float)value;
        return true;
    }
    snprintf(why, TOOL_WHY, "'%.40s' must be a number from %g to %g", text, least, most);
    return false;
}

static bool parse_method(const char *text, enum woq_method *out, char *why)
{
    *out = 0;
    if (!strcmp(text, "rtn"))
        return true;
    for (enum woq_method m = WOQ_METHOD_MSE; m <= WOQ_METHOD_AWQ_GPTQ; m++)
        if (!strcmp(text, woq_method_name(m))) {
            *out = m;
            return true;
        }
    snprintf(why, TOOL_WHY, "'%.40s' must be rtn, mse, awq, gptq or awq+gptq", text);
    return false;
}

bool calibrated_parse(struct calibrated_options *o, int option, bool *known, char *why)
{
    struct woq_calibrate_params *p = &o->params;
    uint64_t number = 0;
    bool good = true;
    const char *name = NULL;
    *known = true;
    switch ((enum calibrated_option)option) {
    case CALIBRATED_METHOD: return parse_method(optarg, &o->method, why);
    case CALIBRATED_TEXT: p->text = optarg, name = "text"; break;
    case CALIBRATED_SAMPLES:
        good = tool_parse_number(optarg, 1, 1 << 20, &number, why);
        p->samples = (uint32_t)number, name = "samples";
        break;
    case CALIBRATED_WINDOW:
        good = tool_parse_window(optarg, &p->window, why);
        name = "window";
        break;
    case CALIBRATED_SEED:
        good = tool_parse_number(optarg, 0, INT64_MAX, &p->seed, why);
        name = "seed";
        break;
    case CALIBRATED_DAMPING:
        good = parse_real(optarg, 1e-6, 1, &p->damping, why);
        name = "damping";
        break;
    case CALIBRATED_SHARE:
        good = parse_real(optarg, 0, 1, &p->input_share, why);
        p->residual_share = p->input_share, name = "share";
        break;
    case CALIBRATED_STATISTICS: p->statistics = optarg, name = "statistics"; break;
    case CALIBRATED_REPORT: p->report = optarg, name = "report"; break;
    case CALIBRATED_MATH:
        good = tool_parse_math(optarg, &p->math, why);
        name = "math";
        break;
    case CALIBRATED_MEMORY:
        good = tool_parse_number(optarg, 0, 1 << 20, &number, why);
        p->memory = number << 20, name = "memory";
        break;
    case CALIBRATED_DEVICE: o->device = optarg, name = "device"; break;
    case CALIBRATED_BUDGET:
        good = parse_real(optarg, 1, 16, &p->budget, why);
        name = "budget";
        break;
    case CALIBRATED_SENSITIVITY: p->sensitivity = true, name = "sensitivity"; break;
    case CALIBRATED_SENSITIVITY_TOKENS:
        good = tool_parse_number(optarg, 2, 1 << 24, &number, why);
        p->sensitivity_tokens = (uint32_t)number, name = "sensitivity-tokens";
        break;
    default: *known = false;
    }
    o->named = o->named ? o->named : name;
    return good;
}

/* Outputs that would be written into each other, over what is read, or into the directory that is replaced. */
static int check_outputs(const struct calibrated_options *o, const char *command, const char *model, const char *out)
{
    const char *const files[] = {o->params.report, o->params.statistics};
    static const char *const names[] = {"--report", "--statistics"};
    if (files[0] && files[1] && strcmp(files[0], "-") && tool_same_file(files[0], files[1]))
        return tool_usage(command, "--report and --statistics are both '%s'; each needs one of its own", files[0]);
    for (size_t i = 0; i < 2; i++) {
        if (!files[i])
            continue;
        if (!strcmp(files[i], "-"))
            return tool_usage(command, "%s needs a file; standard output says what was done", names[i]);
        if (tool_same_file(files[i], o->params.text))
            return tool_usage(command, "%s and --text are both '%s'; each needs one of its own", names[i], files[i]);
        if (tool_same_file(files[i], model))
            return tool_usage(command, "%s '%s' is the model; it needs a file of its own", names[i], files[i]);
        if (tool_file_inside(model, files[i]))
            return tool_usage(command, "%s '%s' is in the model's directory; it needs a place of its own", names[i],
                              files[i]);
        if (tool_file_inside(out, files[i]))
            return tool_usage(command, "%s '%s' is in OUT, '%s'; it needs a place of its own", names[i], files[i], out);
    }
    return TOOL_OK;
}

int calibrated_check(const struct calibrated_options *o, const char *command, const char *model, const char *out)
{
    if (!o->method)
        return o->named ? tool_usage(command, "--%s is for calibration; choose a --method: mse, awq, gptq or awq+gptq",
                                     o->named)
                        : TOOL_OK;
    if (!o->params.text)
        return tool_usage(command, "--method %s looks at what the model's layers are given: --text FILE is missing",
                          woq_method_name(o->method));
    if (o->params.sensitivity && !o->params.report)
        return tool_usage(command, "--sensitivity goes into the report: --report FILE is missing");
    if (access(o->params.text, R_OK))
        return tool_usage(command, "--text: cannot read '%s'", o->params.text);
    int code = check_outputs(o, command, model, out);
    if (!code)
        code = tool_check_writable(command, o->params.report);
    return code ? code : tool_check_writable(command, o->params.statistics);
}

struct watch {
    struct bar bar;
    const volatile sig_atomic_t *stop;
};

static bool progress(void *user, const char *what, uint32_t layer, uint32_t layers, double done)
{
    struct watch *w = user;
    char text[96], left[BAR_LEFT] = "";
    if (*w->stop)
        return false;
    if (!bar_due(&w->bar))
        return true;
    const double passed = w->bar.last - w->bar.start;
    if (passed > 3 && done > 0)
        bar_left(passed * (1 - done) / done, left);
    snprintf(text, sizeof text, "layer %u of %u, %-8s", layer + 1, layers, what);
    bar_draw(text, done, " %3.0f %%%s%s", 100 * done, *left ? "  " : "", left);
    return true;
}

static void log_line(void *user, enum woq_log_level level, const char *message)
{
    const char *command = user;
    if (level <= WOQ_LOG_WARNING)
        fprintf(stderr, "%s%s: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", command, message);
}

enum woq_status calibrated_run(struct calibrated_options *o, const char *command,
                               const struct woq_checkpoint *checkpoint, const char *out,
                               const struct woq_quantize_params *params, bool shown,
                               const volatile sig_atomic_t *stop)
{
    struct woq_device_params device_params = tool_device_params(0);
    struct woq_device *device = NULL;
    struct watch watch = {.stop = stop};
    bar_begin(&watch.bar, shown);
    o->params.method = o->method;
    o->params.progress = progress;
    o->params.progress_user = &watch;
    o->params.log = log_line;
    o->params.log_user = (void *)(uintptr_t)command;
    enum woq_status st = woq_device_open(o->device, &device_params, &device);
    if (!st)
        st = woq_quantize_calibrated(device, checkpoint, out, params, &o->params);
    woq_device_destroy(&device);
    return st;
}
