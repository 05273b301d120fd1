/* devices_try.c: `woq devices --try`. */
#include "devices_try.h"

#include <stdlib.h>
#include <unistd.h>

#include "bench_child.h"

enum { MAX_TRIALS = 16 };

struct task {
    const char *selector, *instructions;
    enum woq_log_level log;
    unsigned seconds;
};

struct listed {
    size_t count;
    struct woq_trial trials[MAX_TRIALS];
};

/* Whatever the device is asked for fails in woq_device_open already, which says so where it is listed afterwards. */
static void list(const void *argument, void *result)
{
    const struct task *task = argument;
    struct listed *out = result;
    struct woq_device_params params = tool_device_params(task->log);
    struct woq_device *device = NULL;
    alarm(task->seconds);
    if (woq_device_open(task->selector, &params, &device))
        return;
    out->count = MAX_TRIALS;
    woq_device_trials(device, out->trials, &out->count);
    woq_device_destroy(&device);
}

struct outcome {
    struct woq_trial trial;
    char error[TOOL_WHY]; /* there was no trial; empty: see trial */
};

static void try_one(const void *argument, void *result)
{
    const struct task *task = argument;
    struct outcome *out = result;
    struct woq_device_params params = tool_device_params(task->log);
    struct woq_device *device = NULL;
    alarm(task->seconds);
    if (woq_device_open(task->selector, &params, &device) ||
        woq_device_try(device, task->instructions, &out->trial))
        snprintf(out->error, sizeof out->error, "%s", woq_last_message());
    woq_device_destroy(&device);
}

static void report(const struct outcome *outcome)
{
    if (*outcome->error)
        fprintf(stderr, "no trial: %s\n", outcome->error);
    else if (outcome->trial.state == WOQ_TRIAL_PASSED)
        fprintf(stderr, "passed\n");
    else
        fprintf(stderr, "refused: %s\n", outcome->trial.found);
}

static void try_device(const char *command, struct task task)
{
    struct listed all;
    struct outcome outcome;
    char why[TOOL_WHY];
    if (!bench_in_child(list, &task, &all, sizeof all, why)) {
        tool_failed(command, "%s: %s", task.selector, why);
        return;
    }
    for (size_t i = 0; i < all.count && !bench_interrupted(); i++) {
        task.instructions = all.trials[i].instructions;
        fprintf(stderr, "%s: trying kernels for %s: ", task.selector, task.instructions);
        if (bench_in_child(try_one, &task, &outcome, sizeof outcome, why))
            report(&outcome);
        else
            fprintf(stderr, "refused: %s\n", why);
    }
}

int devices_try(const char *command, enum woq_log_level log, unsigned seconds)
{
    char **names = NULL;
    size_t count = 0;
    bench_catch_interrupt();
    const int result = bench_all_devices(command, log, &names, &count);
    if (result)
        return result;
    for (size_t i = 0; i < count && !bench_interrupted(); i++)
        try_device(command, (struct task){names[i], NULL, log, seconds});
    tool_free_names(names, count);
    return TOOL_OK;
}
