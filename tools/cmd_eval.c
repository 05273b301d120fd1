/* cmd_eval.c: `woq eval`: what it goes through, and what it leaves behind. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char command[] = "woq eval";

static int open_state(struct eval_request *r, const struct woq_device_info *info)
{
    return r->eval.state ? eval_journal_open(command, r->eval.state, eval_identity(&r->eval, info, r->models, r->count),
                                             &r->eval.journal)
                         : TOOL_OK;
}

static void measure(struct eval_request *r, struct woq_device *device)
{
    if (r->eval.kl)
        eval_run_together(&r->eval, device, r->models, r->count);
    for (size_t i = 0; i < r->count && !r->eval.kl; i++)
        eval_run(&r->eval, device, &r->models[i]);
    eval_pair(&r->eval, r->models, r->count);
}

/* Each output is written whatever became of the others. */
static int report(const struct eval_request *r, const struct woq_device_info *info)
{
    const struct eval_options *e = &r->eval;
    size_t failed = 0;
    int result = TOOL_OK;
    for (size_t i = 0; i < r->count; i++)
        failed += !r->models[i].done;
    if (failed < r->count && (!e->json || strcmp(e->json, "-")))
        eval_print(e, info, r->models, r->count, stdout);
    if (e->json && eval_write_json(command, e, info, r->models, r->count))
        result = TOOL_FAILED;
    if (e->html && eval_write_html(command, e, info, r->models, r->count))
        result = TOOL_FAILED;
    if (e->predictions && eval_write_predictions(command, e, r->models, r->count))
        result = TOOL_FAILED;
    if (e->journal && eval_journal_broken(e->journal))
        result = tool_failed(command, "%s; the run's figures are whole, but another could not go on from it",
                             eval_journal_broken(e->journal));
    for (size_t i = 0; i < r->count; i++)
        if (*r->models[i].reason)
            result = tool_failed(command, "%s (%s): %s", r->models[i].path,
                                 r->models[i].weights.name, r->models[i].reason);
    return result;
}

static int run(struct eval_request *r)
{
    struct woq_device *device = NULL;
    const struct woq_device_params params = tool_device_params(r->eval.log);
    enum woq_status st = woq_device_open(r->device, &params, &device);
    if (st == WOQ_ERROR_INVALID_ARGUMENT)
        return tool_usage(command, "%s", woq_last_message());
    if (st)
        return tool_failed(command, "%s", woq_last_message());
    const struct woq_device_info *info = woq_device_get_info(device);
    int result = eval_open_tasks(command, &r->eval, r->models[0].path);
    if (!result)
        result = open_state(r, info);
    if (!result) {
        measure(r, device);
        const bool passes = eval_judge(&r->eval, r->models, r->count);
        result = report(r, info);
        if (!result && r->eval.gate && !passes)
            result = TOOL_REFUSED;
    }
    eval_journal_close(&r->eval.journal);
    woq_device_destroy(&device);
    return result;
}

static int check_outputs(const struct eval_options *e)
{
    const char *const files[] = {e->json, e->html, e->predictions, e->state};
    int result = TOOL_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && !result; i++)
        result = tool_check_writable(command, files[i]);
    return result;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_request r;
    const time_t now = time(NULL);
    struct tm utc;
    int result = eval_parse(command, argc, argv, &r);
    if (!result && !r.help) {
        r.eval.progress = isatty(STDERR_FILENO);
        strftime(r.eval.date, sizeof r.eval.date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
        if (r.eval.text_file)
            result = eval_read_text(command, &r.eval);
        if (!result)
            result = check_outputs(&r.eval);
        if (!result)
            result = run(&r);
    }
    eval_close_tasks(&r.eval); /* after what its names were for */
    eval_request_free(&r);
    return result;
}
