/*
 * packed_scheme.c: what quantization_config says of a packed layer.
 *
 * Each member of config_groups has `targets` and the format of the layers that they match: a layer's name, "re:" and a
 * regular expression that matches from the name's beginning on, or a class, of which every packed layer is a "Linear".
 * As in compressed-tensors, a name comes before expressions, and these before the class, whatever the order of groups.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

static const char prefix[] = "quantization_config.config_groups.", suffix[] = ".targets";

enum rank { RANK_NONE, RANK_CLASS, RANK_EXPRESSION, RANK_NAME };

/* An expression of a file that cannot be compiled, or that takes long, matches nothing. */
static bool expression_matches(const char *text, size_t size, const char *name)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, size, PCRE2_ANCHORED, &error, &at, NULL);
    pcre2_match_data *data = code ? pcre2_match_data_create(1, NULL) : NULL;
    pcre2_match_context *context = data ? pcre2_match_context_create(NULL) : NULL;
    bool found = false;
    if (context) {
        pcre2_set_match_limit(context, 10000);
        found = pcre2_match(code, (PCRE2_SPTR)name, strlen(name), 0, 0, data, context) >= 0;
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return found;
}

static enum rank rank_of(const struct woq_text *target, const char *name)
{
    if (target->size == strlen(name) && !memcmp(target->text, name, target->size))
        return RANK_NAME;
    if (target->size > 3 && !memcmp(target->text, "re:", 3))
        return expression_matches(target->text + 3, target->size - 3, name) ? RANK_EXPRESSION : RANK_NONE;
    return target->size == 6 && !memcmp(target->text, "Linear", 6) ? RANK_CLASS : RANK_NONE;
}

/* A member of the group's `weights`. */
static const struct woqi_ckpt_value *member(const struct woq_checkpoint *c, const char *targets, const char *name)
{
    char key[WOQI_CKPT_MAX_NAME + 32];
    snprintf(key, sizeof key, "%.*s.weights.%s", (int)(strlen(targets) - (sizeof suffix - 1)), targets, name);
    return woqi_ckpt_meta_find(c, key);
}

static struct woqi_ckpt_scheme read(const struct woq_checkpoint *c, const char *targets)
{
    const struct woqi_ckpt_value *bits = member(c, targets, "num_bits"), *group = member(c, targets, "group_size"),
                                 *symmetric = member(c, targets, "symmetric");
    struct woqi_ckpt_scheme s = {.said = true, .symmetric = true};
    if (bits && bits->kind == WOQI_KIND_UINT && bits->u <= 32)
        s.bits = (uint32_t)bits->u;
    if (group && group->kind == WOQI_KIND_UINT)
        s.group = group->u;
    if (symmetric && symmetric->kind == WOQI_KIND_BOOL)
        s.symmetric = symmetric->b;
    return s;
}

struct woqi_ckpt_scheme woqi_ckpt_packed_scheme(const struct woq_checkpoint *c, const char *name)
{
    const char *found = NULL;
    enum rank best = RANK_NONE;
    for (size_t i = 0; i < c->meta_count && best < RANK_NAME; i++) {
        const struct woqi_ckpt_value *v = &c->meta[i];
        const size_t size = strlen(v->key);
        if (v->kind != WOQI_KIND_STRINGS || size < sizeof prefix + sizeof suffix - 2 ||
            memcmp(v->key, prefix, sizeof prefix - 1) || strcmp(v->key + size - (sizeof suffix - 1), suffix))
            continue;
        for (size_t t = 0; t < v->count; t++) {
            const enum rank rank = rank_of(&v->strings[t], name);
            if (rank > best) {
                best = rank;
                found = v->key;
            }
        }
    }
    return found ? read(c, found) : (struct woqi_ckpt_scheme){.said = false};
}
