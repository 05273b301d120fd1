/* quantize_plan.c: which tensors are quantized, in what format, which stay, and what is refused before anything is
 * written. */
#include "quantizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_group(uint64_t group)
{
    return group != WOQ_GROUP_CHANNEL && group != WOQ_GROUP_TENSOR;
}

/* A format by itself; `where` begins messages: "" or "override 'PATTERN': ". */
static enum woq_status check_form(const struct woq_quantize_override *form, bool allow, const char *where)
{
    if (form->bits != 4 && form->bits != 8)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%sbits is %u; must be 4%s", where, form->bits,
                          form->pattern ? ", 8 or 16" : " or 8");
    if (is_group(form->group) && form->group > 1u << 30)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%sgroup is %llu; must be at most 2^30 columns", where,
                          (unsigned long long)form->group);
    if (!form->symmetric && form->bits == 8)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%sasymmetric weights of 8 bits: no loader of pack-quantized checkpoints takes them; use "
                          "symmetric ones, or 4 bits",
                          where);
    if (allow)
        return WOQ_OK;
    if (!form->symmetric)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%sasymmetric weights: transformers does not load their zero points by default (5.23: size "
                          "mismatch of weight_zero_point, unless CompressedTensorsConfig(dequantize=True); 4.57: "
                          "unsupported); use symmetric ones, or allow it (--allow-unloadable)",
                          where);
    if (is_group(form->group) && form->group != 32 && form->group != 64 && form->group != 128)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%sgroups of %llu columns: vLLM's kernels take 32, 64, 128 or whole rows; use one of these, "
                          "or allow it (--allow-unloadable)",
                          where, (unsigned long long)form->group);
    return WOQ_OK;
}

static enum woq_status check_params(const struct woq_quantize_params *p)
{
    const struct woq_quantize_override base = {NULL, p->bits, p->group, p->symmetric};
    enum woq_status st = check_form(&base, p->allow_unloadable, "");
    if (!st && p->scale != WOQ_TYPE_NONE && !woq_type_size(p->scale))
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "scale is %d; must be an enum woq_type", (int)p->scale);
    for (size_t i = 0; i < p->override_count && p->overrides && !st; i++) {
        char where[256];
        const struct woq_quantize_override *o = &p->overrides[i];
        snprintf(where, sizeof where, "override '%.200s': ", o->pattern ? o->pattern : "");
        if (o->pattern && o->bits != 16)
            st = check_form(o, p->allow_unloadable, where);
    }
    return st;
}

/* F16 unless config.json, or for GGUF the first 16-bit tensor, says BF16. */
static enum woq_type dtype_of(const struct woq_checkpoint *c)
{
    const char *text;
    size_t size;
    if (woq_checkpoint_get_string(c, "dtype", &text, &size) ||
        woq_checkpoint_get_string(c, "torch_dtype", &text, &size))
        return size == 8 && !memcmp(text, "bfloat16", 8) ? WOQ_BF16 : WOQ_F16;
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        enum woq_tensor_type type = woq_checkpoint_tensor(c, i)->type;
        if (type == WOQ_TENSOR_F16 || type == WOQ_TENSOR_BF16)
            return type == WOQ_TENSOR_BF16 ? WOQ_BF16 : WOQ_F16;
    }
    return WOQ_F16;
}

static enum woq_status check_layer(const struct woq_tensor *t, uint64_t group)
{
    uint64_t k = t->shape[1];
    if (t->rank != 2 || !t->shape[0] || !k)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s has %u dimensions; a linear layer has 2, not empty", t->name,
                          t->rank);
    if (!is_group(group) || k % group == 0)
        return WOQ_OK;
    uint64_t fits = 128;
    while (fits >= 32 && k % fits)
        fits /= 2;
    char hint[64] = "";
    if (fits >= 32)
        snprintf(hint, sizeof hint, "%llu columns fit it, or ", (unsigned long long)fits);
    return woq_report(WOQ_ERROR_UNSUPPORTED,
                      "%s: its %llu columns are no multiple of the group of %llu, which compressed-tensors refuses; "
                      "%swhole rows (--channel), or keep it (--keep)",
                      t->name, (unsigned long long)k, (unsigned long long)group, hint);
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

/* Decides on one tensor. */
static enum woq_status decide(const struct woqi_plan *plan, const struct woq_tensor *t,
                              const struct woqi_patterns *patterns, enum woqi_tensor_use *use,
                              struct woq_format *format)
{
    static const char *const packed[] = {".weight_packed", ".qweight", ".weight_scale", ".g_idx"};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends_with(t->name, packed[i]))
            return woq_report(WOQ_ERROR_UNSUPPORTED,
                              "%s: the checkpoint is quantized already (%s); start from the original weights",
                              woq_checkpoint_path(plan->checkpoint), t->name);
    *use = WOQI_USE_KEEP;
    if (ends_with(t->name, ".rotary_emb.inv_freq")) {
        *use = WOQI_USE_DROP; /* derived from config.json by every loader */
    } else if (!strcmp(t->name, "rope_freqs.weight")) {
        /* Its parameters go into config.json, where only one kind of scaling has room. */
        if (plan->config.rope_scaling == WOQ_ROPE_LINEAR || plan->config.rope_scaling == WOQ_ROPE_YARN)
            return woq_report(WOQ_ERROR_UNSUPPORTED,
                              "rope_freqs.weight: rotary factors beside another scaling; config.json cannot say both");
        *use = WOQI_USE_DROP;
    } else if (ends_with(t->name, ".weight")) {
        const struct woq_quantize_override form = woqi_patterns_form(patterns, t->name);
        if (form.bits == 16)
            return WOQ_OK;
        *use = WOQI_USE_QUANTIZE;
        *format = (struct woq_format)WOQ_FORMAT_INIT;
        format->code = form.bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8;
        format->zero = form.symmetric ? WOQ_ZERO_SYMMETRIC : WOQ_ZERO_POINT;
        format->group = form.group;
        format->scale = plan->params->scale ? plan->params->scale : plan->dtype;
        return check_layer(t, form.group);
    }
    return WOQ_OK;
}

static enum woq_status decide_all(struct woqi_plan *plan)
{
    struct woqi_patterns *patterns = NULL;
    size_t count = woq_checkpoint_tensor_count(plan->checkpoint), quantized = 0;
    enum woq_status st = woqi_patterns_compile(plan->params, &patterns);
    if (st)
        return st;
    st = woqi_patterns_check(patterns, plan->checkpoint);
    plan->use = calloc(count + 1, sizeof *plan->use);
    plan->formats = calloc(count + 1, sizeof *plan->formats);
    if (!st && (!plan->use || !plan->formats))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a plan of %zu tensors", count);
    for (size_t i = 0; i < count && !st; i++) {
        const struct woq_tensor *t = woq_checkpoint_tensor(plan->checkpoint, i);
        st = decide(plan, t, patterns, &plan->use[i], &plan->formats[i]);
        quantized += plan->use[i] == WOQI_USE_QUANTIZE;
        if (plan->use[i] != WOQI_USE_DROP)
            plan->bytes += t->bytes;
    }
    woqi_patterns_free(&patterns);
    if (!st && !quantized)
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "nothing to quantize: every linear layer of the decoder is kept");
    return st;
}

enum woq_status woqi_plan_make(const struct woq_checkpoint *checkpoint, const struct woq_quantize_params *params,
                               struct woqi_plan *out)
{
    *out = (struct woqi_plan){.checkpoint = checkpoint, .params = params};
    enum woq_status st = check_params(params);
    if (st)
        return st;
    out->config.struct_size = sizeof out->config;
    if ((st = woq_checkpoint_config(checkpoint, &out->config)))
        return st;
    out->dtype = dtype_of(checkpoint);
    const enum woq_type scale = params->scale ? params->scale : out->dtype;
    if (scale != out->dtype && !params->allow_unloadable)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "scales of type %s in a model of type %s: transformers rounds them when it loads; use %s, or "
                          "allow it (--allow-unloadable)",
                          woq_type_name(scale), woq_type_name(out->dtype), woq_type_name(out->dtype));
    return decide_all(out);
}

void woqi_plan_free(struct woqi_plan *plan)
{
    free(plan->use);
    free(plan->formats);
    plan->use = NULL;
    plan->formats = NULL;
}

enum woq_status woqi_plan_find(const struct woqi_plan *plan, const char *layer, size_t *out)
{
    const size_t count = woq_checkpoint_tensor_count(plan->checkpoint), size = strlen(layer);
    for (size_t i = 0; i < count; i++) {
        const char *name = woq_checkpoint_tensor(plan->checkpoint, i)->name;
        if (!strncmp(name, layer, size) && !strcmp(name + size, ".weight")) {
            *out = i;
            return WOQ_OK;
        }
    }
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s.weight' is missing",
                      woq_checkpoint_path(plan->checkpoint), layer);
}
