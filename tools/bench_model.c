/* bench_model.c: one model on one device: loading, windows as perplexity takes them, greedy decoding. */
#include "bench_model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench_child.h"

enum { MOST_WINDOWS = 256, LEAST_WINDOWS = 3, ASIDE = 2 /* decoded tokens before those measured */ };

struct task {
    const struct bench_model_options *options;
    const char *selector;
    const struct bench_model *model;
};

static double median(double *values, size_t count)
{
    bench_sort(values, count);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int32_t *random_tokens(size_t count, uint32_t vocabulary)
{
    uint64_t state = 1;
    int32_t *ids = tool_alloc(count, sizeof *ids);
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)(bench_random(&state) % vocabulary);
    return ids;
}

/* ---- Windows ---- */

struct windows {
    double seconds; /* of measuring */
    double first, last; /* moments: the end of the window that is not measured, and of the last */
    double taken[MOST_WINDOWS];
    uint32_t count;
    bool enough;
};

static bool enough(uint32_t count, double spent, double seconds)
{
    return count >= LEAST_WINDOWS ? spent >= seconds : count && spent > 4 * seconds;
}

/* The first window may compile kernels. */
static bool note_window(void *user, uint64_t done, uint64_t total, double perplexity)
{
    struct windows *w = user;
    const double now = tool_seconds();
    (void)total;
    (void)perplexity;
    if (done == 1)
        w->first = now;
    else
        w->taken[w->count++] = now - w->last;
    w->last = now;
    w->enough = enough(w->count, now - w->first, w->seconds);
    return !w->enough;
}

static enum woq_status measure_windows(const struct bench_model_options *o, struct woq_model *model,
                                       struct bench_model_row *row)
{
    struct windows w = {.seconds = o->bench->seconds};
    struct woq_perplexity result = {.struct_size = sizeof result};
    const size_t count = (size_t)MOST_WINDOWS * o->window;
    int32_t *ids = random_tokens(count, row->info.config.vocabulary);
    struct woq_text_params text = WOQ_TEXT_PARAMS_INIT;
    text.tokens = ids;
    text.count = count;
    text.window = o->window;
    text.progress = note_window;
    text.progress_user = &w;
    enum woq_status st = woq_model_perplexity(model, &text, &result);
    free(ids);
    free(result.window_nll);
    if (st == WOQ_ERROR_TIMEOUT && w.enough) /* stopped by note_window */
        st = WOQ_OK;
    if (st)
        return st;
    row->windows = w.count;
    row->window_seconds = median(w.taken, w.count);
    return WOQ_OK;
}

/* ---- Decoding ---- */

static enum woq_status measure_decoding(const struct bench_model_options *o, struct woq_model *model,
                                        struct bench_model_row *row)
{
    double *taken = tool_alloc(o->generate, sizeof *taken);
    int32_t *ids = random_tokens(BENCH_PROMPT, row->info.config.vocabulary), last;
    size_t made;
    woq_model_reset(model);
    enum woq_status st = woq_model_generate(model, ids, BENCH_PROMPT, -1, &last, 1, &made);
    double begin = tool_seconds();
    for (uint32_t i = 0; i < o->generate + ASIDE && !st; i++) {
        const double start = tool_seconds();
        st = woq_model_generate(model, &last, 1, -1, &last, 1, &made);
        if (i < ASIDE) {
            begin = tool_seconds();
            continue;
        }
        taken[row->tokens++] = tool_seconds() - start;
        if (tool_seconds() - begin > 4 * o->bench->seconds)
            break; /* slow, and not to be waited for */
    }
    if (!st)
        row->token_seconds = median(taken, row->tokens);
    free(ids);
    free(taken);
    return st;
}

/* ---- One row ---- */

static enum woq_status load(const struct task *task, struct woq_device *device, struct woq_model **out,
                            struct bench_model_row *row)
{
    const struct bench_model_options *o = task->options;
    struct woq_checkpoint *checkpoint = NULL;
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    const double start = tool_seconds();
    const uint32_t room = BENCH_PROMPT + ASIDE + o->generate;
    p.weights = task->model->weights.mode;
    p.format = task->model->weights.format;
    p.batch = o->window;
    p.context = o->window > room ? o->window : room;
    p.x_type = o->bench->x;
    p.math = o->bench->math;
    enum woq_status st = woq_checkpoint_open(task->model->path, NULL, &checkpoint);
    if (!st)
        st = woq_model_create(device, checkpoint, &p, out);
    woq_checkpoint_close(&checkpoint);
    row->load_seconds = tool_seconds() - start;
    row->info.struct_size = sizeof row->info;
    return st ? st : woq_model_get_info(*out, &row->info);
}

static void measure(const void *argument, void *result)
{
    const struct task *task = argument;
    const struct bench_options *bench = task->options->bench;
    const char *name = tool_base_name(task->model->path), *weights = task->model->weights.name;
    struct bench_model_row *row = result;
    const struct woq_device_params params = tool_device_params(bench->log);
    struct woq_device *device = NULL;
    struct woq_model *model = NULL;
    struct rusage usage;
    const double start = tool_seconds();
    enum woq_status st = woq_device_open(task->selector, &params, &device);
    row->open_seconds = tool_seconds() - start;
    row->usage = st == WOQ_ERROR_INVALID_ARGUMENT;
    if (!st) {
        row->device = *woq_device_get_info(device);
        bench_progress(bench, "%s: %s %s: loading", row->device.selector, name, weights);
        st = load(task, device, &model, row);
    }
    if (!st) {
        bench_progress(bench, "%s: %s %s: windows of %u tokens", row->device.selector, name, weights,
                       task->options->window);
        st = measure_windows(task->options, model, row);
    }
    if (!st) {
        bench_progress(bench, "%s: %s %s: decoding", row->device.selector, name, weights);
        st = measure_decoding(task->options, model, row);
    }
    if (st)
        snprintf(row->reason, sizeof row->reason, "%s", woq_last_message());
    row->done = !st;
    if (!getrusage(RUSAGE_SELF, &usage))
        row->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
    woq_model_destroy(&model);
    woq_device_destroy(&device);
    bench_progress(bench, "%s", "");
}

void bench_model_run(const struct bench_model_options *options, const char *selector,
                     const struct bench_model *model, struct bench_model_row *row)
{
    const struct task task = {options, selector, model};
    char why[TOOL_WHY];
    if (!bench_in_child(measure, &task, row, sizeof *row, why)) {
        memset(row, 0, sizeof *row);
        snprintf(row->reason, sizeof row->reason, "%s", why);
    }
}
