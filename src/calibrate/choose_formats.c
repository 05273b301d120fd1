/* choose_formats.c: the plan's formats by sensitivity and a budget; what was measured is kept among the results. */
#include "run.h"

#include <stdio.h>
#include <yyjson.h>

static const char sensitivity_note[] = "sensitivity";

static bool sensitivity_step(void *user, uint32_t layer, double done)
{
    const struct woqi_run *r = user;
    const struct woq_calibrate_params *p = r->params;
    return !p->progress || p->progress(p->progress_user, "sensitivity", layer, r->layers, r->measuring * done);
}

/* How much of the run measuring is: passes of a layer over a sample, against those that quantizing takes, whose
 * algebra counts as much again. */
static double share_of_sensitivity(const struct woqi_run *r)
{
    const double layers = r->layers, tokens = (double)r->samples.count * r->samples.window;
    uint32_t count, rows;
    woqi_sensitivity_extent(r->params, &r->samples, &count, &rows);
    const double measuring = (double)count * rows * 4 * (layers + 3) / 2;
    return measuring / (measuring + tokens * (woqi_run_corrects(r->params) ? 4 : 2));
}

static enum woq_status note_sensitivity(struct woqi_run *r)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, root);
    bool fine = yyjson_mut_obj_add_uint(doc, root, "tokens", r->params->sensitivity_tokens) &&
                yyjson_mut_obj_add_val(doc, root, "units", list);
    for (uint32_t i = 0; i < r->sensitivity.count && fine; i++)
        fine = yyjson_mut_arr_add_real(doc, list, r->sensitivity.units[i].kl) &&
               yyjson_mut_arr_add_real(doc, list, r->sensitivity.units[i].relative_error);
    enum woq_status st = fine ? woqi_results_put_note(r->results, sensitivity_note, doc)
                              : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the sensitivity of layers");
    yyjson_mut_doc_free(doc);
    return st;
}

/* What an earlier run measured; *found is false where there is nothing of use. */
static enum woq_status recall_sensitivity(struct woqi_run *r, bool *found)
{
    yyjson_doc *doc;
    enum woq_status st = woqi_results_note(r->results, sensitivity_note, &doc);
    yyjson_val *root = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root, "units");
    *found = yyjson_get_uint(yyjson_obj_get(root, "tokens")) == r->params->sensitivity_tokens &&
             yyjson_arr_size(list) == 2 * (size_t)r->sensitivity.count;
    for (uint32_t i = 0; i < r->sensitivity.count && *found; i++) {
        r->sensitivity.units[i].kl = yyjson_get_num(yyjson_arr_get(list, 2 * (size_t)i));
        r->sensitivity.units[i].relative_error = yyjson_get_num(yyjson_arr_get(list, 2 * (size_t)i + 1));
    }
    yyjson_doc_free(doc);
    return st;
}

/* Measures or recalls, and changes the plan by the budget. */
enum woq_status woqi_run_choose_formats(struct woqi_run *r, const char *spill)
{
    uint32_t eights, kept;
    bool found;
    char text[160];
    enum woq_status st = recall_sensitivity(r, &found);
    if (!st && !found) {
        r->measuring = share_of_sensitivity(r);
        st = woqi_sensitivity_measure(r->device, &r->plan, &r->samples, r->params, spill, r->jobs, sensitivity_step, r,
                                      &r->sensitivity);
        if (!st)
            st = note_sensitivity(r);
    }
    r->noted = !st;
    if (st || !(r->params->budget > 0))
        return st;
    st = woqi_budget_apply(&r->sensitivity, (double)r->params->budget, &r->plan, &eights, &kept);
    if (st)
        return st;
    snprintf(text, sizeof text, "of %u stages the budget takes %u to 8 bits and leaves %u FP16", r->sensitivity.count,
             eights, kept);
    if (r->params->log)
        r->params->log(r->params->log_user, WOQ_LOG_INFO, text);
    return WOQ_OK;
}

/* The units, and whether the budget is one for them: before anything takes long. */
enum woq_status woqi_run_list_units(struct woqi_run *r)
{
    if (!woqi_run_wants_sensitivity(r->params))
        return WOQ_OK;
    enum woq_status st = woqi_sensitivity_list(&r->plan, &r->sensitivity);
    return st || !(r->params->budget > 0) ? st : woqi_budget_check(&r->sensitivity, (double)r->params->budget);
}
