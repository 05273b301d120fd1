/* identity.c: what run it is, for the folder of its results. */
#include "run.h"

#include <stdio.h>
#include <yyjson.h>

/* Everything that the bits of the result depend on, so that an earlier run's layers are taken for this one's only if
 * they are. */
enum woq_status woqi_run_identify(const struct woqi_run *r, char **out)
{
    const struct woq_calibrate_params *p = r->params;
    const struct woq_device_info *device = woq_device_get_info(r->device);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a of the samples */
    for (uint64_t i = 0; i < (uint64_t)r->samples.count * r->samples.window; i++)
        hash = (hash ^ (uint32_t)r->samples.tokens[i]) * UINT64_C(0x100000001b3);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *formats = yyjson_mut_arr(doc);
    const struct woq_model_config *c = &r->plan.config;
    char samples[17], name[64], config[256];
    snprintf(config, sizeof config, "%s %u %u %u %a %a %d %a %a %a %u", c->architecture, c->heads, c->kv_heads,
             c->head_dim, (double)c->norm_epsilon, (double)c->rope_theta, (int)c->rope_scaling, (double)c->rope_factor,
             (double)c->rope_low_freq_factor, (double)c->rope_high_freq_factor, c->rope_original_context);
    snprintf(samples, sizeof samples, "%016llx", (unsigned long long)hash);
    yyjson_mut_doc_set_root(doc, root);
    bool fine = yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string()) &&
                yyjson_mut_obj_add_str(doc, root, "model", r->statistics.model) &&
                yyjson_mut_obj_add_strcpy(doc, root, "config", config) &&
                yyjson_mut_obj_add_str(doc, root, "dtype", woq_type_name(r->plan.dtype)) &&
                yyjson_mut_obj_add_str(doc, root, "method", woq_method_name(p->method)) &&
                yyjson_mut_obj_add_strcpy(doc, root, "samples", samples) &&
                yyjson_mut_obj_add_uint(doc, root, "count", r->samples.count) &&
                yyjson_mut_obj_add_uint(doc, root, "window", r->samples.window) &&
                yyjson_mut_obj_add_real(doc, root, "damping", (double)p->damping) &&
                yyjson_mut_obj_add_bool(doc, root, "natural_order", p->natural_order) &&
                yyjson_mut_obj_add_real(doc, root, "input_share", (double)p->input_share) &&
                yyjson_mut_obj_add_real(doc, root, "residual_share", (double)p->residual_share) &&
                yyjson_mut_obj_add_str(doc, root, "math", woq_math_name(p->math)) &&
                yyjson_mut_obj_add_str(doc, root, "device", device->name) &&
                yyjson_mut_obj_add_str(doc, root, "driver", device->driver) &&
                yyjson_mut_obj_add_uint(doc, root, "jobs", r->jobs) &&
                /* Formats by budget follow from what is measured, which lies with the layers. */
                yyjson_mut_obj_add_real(doc, root, "budget", (double)p->budget) &&
                yyjson_mut_obj_add_uint(doc, root, "sensitivity_tokens", p->budget > 0 ? p->sensitivity_tokens : 0) &&
                yyjson_mut_obj_add_val(doc, root, "formats", formats);
    for (size_t i = 0; i < woq_checkpoint_tensor_count(r->checkpoint) && fine; i++) {
        snprintf(name, sizeof name, "-");
        if (r->plan.use[i] == WOQI_USE_QUANTIZE)
            woq_format_name(&r->plan.formats[i], name, sizeof name);
        fine = yyjson_mut_arr_add_strcpy(doc, formats, name);
    }
    *out = fine ? yyjson_mut_write(doc, 0, NULL) : NULL;
    yyjson_mut_doc_free(doc);
    return *out ? WOQ_OK : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the run's description");
}
