/*
 * quantize_plan.c: which tensors are quantized, which stay, and what is refused before anything is written.
 *
 * Quantized are the decoder's linear layers: q, k, v, o, gate, up, down. Loaders fuse q/k/v and gate/up into one
 * matrix with one scheme, so a pattern of `keep` that matches one part keeps all parts of its unit.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "quantizer.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const parts[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj",
                                    "mlp.up_proj",      "self_attn.o_proj", "mlp.down_proj"};
enum { PARTS = sizeof parts / sizeof *parts };

/* parts[begin … end) that are one unit with parts[i]. */
static void unit_of(size_t i, size_t *begin, size_t *end)
{
    *begin = i < 3 ? 0 : i < 5 ? 3 : i;
    *end = i < 3 ? 3 : i < 5 ? 5 : i + 1;
}

/* Index into parts, and the bytes of "model.layers.12." in front; PARTS if the name is none. */
static size_t part_of(const char *name, size_t *stem)
{
    static const char layers[] = "model.layers.";
    const size_t fixed = sizeof layers - 1;
    if (strncmp(name, layers, fixed))
        return PARTS;
    size_t digits = strspn(name + fixed, "0123456789");
    if (!digits || name[fixed + digits] != '.')
        return PARTS;
    *stem = fixed + digits + 1;
    for (size_t i = 0; i < PARTS; i++) {
        size_t size = strlen(parts[i]);
        const char *rest = name + *stem + size;
        if (!strncmp(name + *stem, parts[i], size) && (!*rest || !strcmp(rest, ".weight")))
            return i;
    }
    return PARTS;
}

size_t woqi_linear_name(const char *name)
{
    size_t stem, part = part_of(name, &stem);
    return part == PARTS ? 0 : stem + strlen(parts[part]);
}

/* Compiles patterns; NULL entries where one does not compile, which is reported. */
static enum woq_status compile(const struct woq_quantize_params *params, pcre2_code ***out)
{
    enum woq_status st = WOQ_OK;
    *out = calloc(params->keep_count + 1, sizeof **out);
    if (!*out)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for patterns");
    for (size_t i = 0; i < params->keep_count; i++) {
        int error;
        PCRE2_SIZE at;
        if (!params->keep || !params->keep[i])
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "params.keep[%zu] is NULL", i);
        (*out)[i] = pcre2_compile((PCRE2_SPTR)params->keep[i], PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
        if (!(*out)[i]) {
            PCRE2_UCHAR text[128] = {0};
            pcre2_get_error_message(error, text, sizeof text);
            st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "pattern '%s' is no regular expression: %s at byte %zu",
                            params->keep[i], (const char *)text, (size_t)at);
        }
    }
    return st;
}

static void free_patterns(pcre2_code **patterns, size_t count)
{
    for (size_t i = 0; patterns && i < count; i++)
        pcre2_code_free(patterns[i]);
    free(patterns);
}

/* A match that runs into PCRE2's limits counts as one: the layer is kept. */
static bool matches(pcre2_code *const *patterns, size_t count, const char *name, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        if (!patterns[i])
            continue;
        pcre2_match_data *data = pcre2_match_data_create(1, NULL);
        int found = data ? pcre2_match(patterns[i], (PCRE2_SPTR)name, size, 0, 0, data, NULL) : 0;
        pcre2_match_data_free(data);
        if (found != PCRE2_ERROR_NOMATCH)
            return true;
    }
    return false;
}

static bool keeps(pcre2_code *const *patterns, size_t count, const char *name)
{
    char text[640];
    size_t stem, begin, end, part = part_of(name, &stem);
    if (part == PARTS || stem > 512)
        return true;
    unit_of(part, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        int size = snprintf(text, sizeof text, "%.*s%s", (int)stem, name, parts[i]);
        if (matches(patterns, count, text, (size_t)size))
            return true;
    }
    return false;
}

bool woq_quantize_keeps(const struct woq_quantize_params *params, const char *name)
{
    if (!params || !params->struct_size || !name || !woqi_linear_name(name))
        return true;
    pcre2_code **patterns = NULL;
    bool kept = compile(params, &patterns) != WOQ_OK || keeps(patterns, params->keep_count, name);
    free_patterns(patterns, params->keep_count);
    return kept;
}

static bool is_group(uint64_t group)
{
    return group != WOQ_GROUP_CHANNEL && group != WOQ_GROUP_TENSOR;
}

static enum woq_status check_params(const struct woq_quantize_params *p)
{
    if (p->bits != 4 && p->bits != 8)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "bits is %u; must be 4 or 8", p->bits);
    if (is_group(p->group) && p->group > 1u << 30)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "group is %llu; must be at most 2^30 columns",
                          (unsigned long long)p->group);
    if (p->scale != WOQ_TYPE_NONE && !woq_type_size(p->scale))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "scale is %d; must be an enum woq_type", (int)p->scale);
    if (!p->symmetric && p->bits == 8)
        return woq_report(WOQ_ERROR_UNSUPPORTED, "asymmetric weights of 8 bits: no loader of pack-quantized "
                                                 "checkpoints takes them; use symmetric ones, or 4 bits");
    if (p->allow_unloadable)
        return WOQ_OK;
    if (!p->symmetric)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "asymmetric weights: transformers does not load their zero points by default (5.23: size "
                          "mismatch of weight_zero_point, unless CompressedTensorsConfig(dequantize=True); 4.57: "
                          "unsupported); use symmetric ones, or allow it (--allow-unloadable)");
    if (is_group(p->group) && p->group != 32 && p->group != 64 && p->group != 128)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "groups of %llu columns: vLLM's kernels take 32, 64, 128 or whole rows; use one of these, or "
                          "allow it (--allow-unloadable)",
                          (unsigned long long)p->group);
    return WOQ_OK;
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

static enum woq_status check_layer(const struct woqi_plan *plan, const struct woq_tensor *t)
{
    uint64_t k = t->shape[1], group = plan->params->group;
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
static enum woq_status decide(struct woqi_plan *plan, const struct woq_tensor *t, pcre2_code *const *patterns,
                              enum woqi_tensor_use *use)
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
    } else if (ends_with(t->name, ".weight") && !keeps(patterns, plan->params->keep_count, t->name)) {
        *use = WOQI_USE_QUANTIZE;
        return check_layer(plan, t);
    }
    return WOQ_OK;
}

/* A pattern that matches nothing is a slip of the pen, which would cost the quality it was to save. */
static enum woq_status check_patterns(const struct woqi_plan *plan, pcre2_code *const *patterns)
{
    const struct woq_checkpoint *c = plan->checkpoint;
    const char *example = "";
    for (size_t i = 0; i < plan->params->keep_count; i++) {
        bool used = false;
        for (size_t t = 0; t < woq_checkpoint_tensor_count(c) && !used; t++) {
            const char *name = woq_checkpoint_tensor(c, t)->name;
            if (!woqi_linear_name(name))
                continue;
            example = name;
            used = keeps(patterns + i, 1, name);
        }
        if (!used)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "pattern '%s' matches no linear layer; must match a name like %.*s",
                              plan->params->keep[i], (int)woqi_linear_name(example), example);
    }
    return WOQ_OK;
}

static enum woq_status decide_all(struct woqi_plan *plan)
{
    pcre2_code **patterns = NULL;
    size_t count = woq_checkpoint_tensor_count(plan->checkpoint), quantized = 0;
    enum woq_status st = compile(plan->params, &patterns);
    if (!st)
        st = check_patterns(plan, patterns);
    if (!st && !(plan->use = calloc(count + 1, sizeof *plan->use)))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a plan of %zu tensors", count);
    for (size_t i = 0; i < count && !st; i++) {
        const struct woq_tensor *t = woq_checkpoint_tensor(plan->checkpoint, i);
        st = decide(plan, t, patterns, &plan->use[i]);
        quantized += plan->use[i] == WOQI_USE_QUANTIZE;
        if (plan->use[i] != WOQI_USE_DROP)
            plan->bytes += t->bytes;
    }
    free_patterns(patterns, plan->params->keep_count);
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
    out->format = (struct woq_format)WOQ_FORMAT_INIT;
    out->format.code = params->bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8;
    out->format.zero = params->symmetric ? WOQ_ZERO_SYMMETRIC : WOQ_ZERO_POINT;
    out->format.group = params->group;
    out->format.scale = params->scale ? params->scale : out->dtype;
    if (out->format.scale != out->dtype && !params->allow_unloadable)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "scales of type %s in a model of type %s: transformers rounds them when it loads; use %s, or "
                          "allow it (--allow-unloadable)",
                          woq_type_name(out->format.scale), woq_type_name(out->dtype), woq_type_name(out->dtype));
    return decide_all(out);
}

void woqi_plan_free(struct woqi_plan *plan)
{
    free(plan->use);
    plan->use = NULL;
}
