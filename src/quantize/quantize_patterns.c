/*
 * quantize_patterns.c: names of linear layers, and the patterns of `keep` and `overrides` that match them.
 *
 * Quantized are the decoder's linear layers: q, k, v, o, gate, up, down. Loaders fuse q/k/v and gate/up into one
 * matrix with one scheme, so a pattern that matches one part takes all parts of its unit.
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
    if (!digits || digits > 20 || name[fixed + digits] != '.')
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

uint32_t woqi_layer_number(const char *name)
{
    static const char layers[] = "model.layers.";
    const size_t fixed = sizeof layers - 1;
    if (strncmp(name, layers, fixed))
        return UINT32_MAX;
    const size_t digits = strspn(name + fixed, "0123456789");
    return digits && digits < 9 && name[fixed + digits] == '.' ? (uint32_t)strtoul(name + fixed, NULL, 10) : UINT32_MAX;
}

struct woqi_patterns {
    const struct woq_quantize_params *params;
    size_t count;       /* those of `keep`, then those of `overrides` */
    pcre2_code **codes; /* NULL where one does not compile */
};

static const char *text_of(const struct woq_quantize_params *p, size_t index)
{
    if (index < p->keep_count)
        return p->keep ? p->keep[index] : NULL;
    return p->overrides ? p->overrides[index - p->keep_count].pattern : NULL;
}

static enum woq_status compile(const struct woq_quantize_params *params, size_t index, pcre2_code **out)
{
    const char *text = text_of(params, index);
    int error;
    PCRE2_SIZE at;
    if (!text)
        return index < params->keep_count
                   ? woq_report(WOQ_ERROR_INVALID_ARGUMENT, "params.keep[%zu] is NULL", index)
                   : woq_report(WOQ_ERROR_INVALID_ARGUMENT, "params.overrides[%zu].pattern is NULL",
                                index - params->keep_count);
    *out = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
    if (*out)
        return WOQ_OK;
    PCRE2_UCHAR why[128] = {0};
    pcre2_get_error_message(error, why, sizeof why);
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "pattern '%s' is no regular expression: %s at byte %zu", text,
                      (const char *)why, (size_t)at);
}

enum woq_status woqi_patterns_compile(const struct woq_quantize_params *params, struct woqi_patterns **out)
{
    struct woqi_patterns *p = *out = calloc(1, sizeof *p);
    enum woq_status st = WOQ_OK;
    if (!p)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for patterns");
    p->params = params;
    p->count = params->keep_count + params->override_count;
    p->codes = calloc(p->count + 1, sizeof *p->codes);
    if (!p->codes)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for patterns");
    for (size_t i = 0; i < p->count && !st; i++)
        st = compile(params, i, &p->codes[i]);
    if (st)
        woqi_patterns_free(out);
    return st;
}

void woqi_patterns_free(struct woqi_patterns **patterns)
{
    struct woqi_patterns *p = *patterns;
    for (size_t i = 0; p && p->codes && i < p->count; i++)
        pcre2_code_free(p->codes[i]);
    if (p)
        free(p->codes);
    free(p);
    *patterns = NULL;
}

/* A match that runs into PCRE2's limits counts as one: such a pattern was to match something. */
static bool matches(const pcre2_code *code, const char *name, size_t size)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int found = data ? pcre2_match(code, (PCRE2_SPTR)name, size, 0, 0, data, NULL) : 0;
    pcre2_match_data_free(data);
    return found != PCRE2_ERROR_NOMATCH;
}

/* Whether pattern `index` matches a part of the layer's unit. */
static bool takes(const struct woqi_patterns *p, size_t index, const char *name)
{
    char text[128];
    size_t stem, begin, end, part = part_of(name, &stem);
    if (part == PARTS)
        return false;
    unit_of(part, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        int size = snprintf(text, sizeof text, "%.*s%s", (int)stem, name, parts[i]);
        if (matches(p->codes[index], text, (size_t)size))
            return true;
    }
    return false;
}

struct woq_quantize_override woqi_patterns_form(const struct woqi_patterns *p, const char *name)
{
    const struct woq_quantize_params *params = p->params;
    const struct woq_quantize_override kept = {.bits = 16};
    if (!woqi_linear_name(name))
        return kept;
    for (size_t i = 0; i < params->keep_count; i++)
        if (takes(p, i, name))
            return kept;
    for (size_t i = p->count; i > params->keep_count; i--)
        if (takes(p, i - 1, name))
            return params->overrides[i - 1 - params->keep_count];
    return (struct woq_quantize_override){NULL, params->bits, params->group, params->symmetric};
}

enum woq_status woqi_patterns_check(const struct woqi_patterns *p, const struct woq_checkpoint *c)
{
    const char *example = "";
    for (size_t i = 0; i < p->count; i++) {
        bool used = false;
        for (size_t t = 0; t < woq_checkpoint_tensor_count(c) && !used; t++) {
            const char *name = woq_checkpoint_tensor(c, t)->name;
            if (!woqi_linear_name(name))
                continue;
            example = name;
            used = takes(p, i, name);
        }
        if (!used)
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "pattern '%s' matches no linear layer; must match a name like %.*s",
                              text_of(p->params, i), (int)woqi_linear_name(example), example);
    }
    return WOQ_OK;
}

bool woq_quantize_keeps(const struct woq_quantize_params *params, const char *name)
{
    struct woqi_patterns *patterns = NULL;
    if (!params || params->struct_size < sizeof *params || !name || !woqi_linear_name(name))
        return true;
    bool kept = woqi_patterns_compile(params, &patterns) != WOQ_OK || woqi_patterns_form(patterns, name).bits == 16;
    if (patterns)
        woqi_patterns_free(&patterns);
    return kept;
}
