/* cases.c: cases as text. */
#include "cases.h"

#include <stdlib.h>
#include <string.h>

/* Names of a field's values, by index; NULL = a number. */
static const char *const code_names[] = {"none", "u4", "u8", "f16", "bf16", NULL};
static const char *const zero_names[] = {"none", "symmetric", "point", "offset", NULL};
static const char *const type_names[] = {"none", "f32", "f16", "bf16", NULL};
static const char *const order_names[] = {"none", "equal", "uneven", NULL};
static const char *const residual_names[] = {"none", "own", "in_place", NULL};
static const char *const activation_names[] = {"none", "relu",     "gelu_tanh", "gelu_erf",
                                               "silu", "silu_mul", NULL};
static const char *const math_names[] = {"default", "exact", "rounded", "fixed16", NULL};
static const char *const data_names[] = {"integers", "random", "adversarial", "outliers", "blocks", "subnormal", NULL};

static const struct {
    const char *key;
    size_t offset;
    const char *const *names;
} fields[] = {
#define FIELD(key, names) {#key, offsetof(struct test_case, key), names}
    FIELD(code, code_names),
    FIELD(zero, zero_names),
    FIELD(scale, type_names),
    FIELD(group, NULL),
    FIELD(order, order_names),
    FIELD(n, NULL),
    FIELD(k, NULL),
    FIELD(m, NULL),
    FIELD(max_m, NULL),
    FIELD(x, type_names),
    FIELD(y, type_names),
    FIELD(bias, type_names),
    FIELD(residual, residual_names),
    FIELD(activation, activation_names),
    FIELD(stack, NULL),
    FIELD(math, math_names),
    FIELD(x_offset, NULL),
    FIELD(y_offset, NULL),
    FIELD(x_pad, NULL),
    FIELD(y_pad, NULL),
    FIELD(code_pad, NULL),
    FIELD(data, data_names),
    FIELD(seed, NULL),
#undef FIELD
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static uint64_t *field(struct test_case *c, size_t i)
{
    return (uint64_t *)(void *)((char *)c + fields[i].offset);
}

struct test_case case_default(void)
{
    return (struct test_case){.code = WOQ_CODE_U4, .zero = WOQ_ZERO_SYMMETRIC, .scale = WOQ_F16,
                              .group = 32, .n = 16, .k = 64, .m = 1, .max_m = 1, .x = WOQ_F16,
                              .y = WOQ_F16, .stack = 1};
}

void case_normalize(struct test_case *c, uint64_t work)
{
    const bool plain = c->code == WOQ_CODE_F16 || c->code == WOQ_CODE_BF16;
    if (plain) {
        c->zero = WOQ_ZERO_NONE;
        c->scale = WOQ_TYPE_NONE;
        c->group = 0;
    } else {
        if (c->zero == WOQ_ZERO_NONE)
            c->zero = WOQ_ZERO_SYMMETRIC;
        if (c->scale == WOQ_TYPE_NONE)
            c->scale = WOQ_F16;
    }
    if (c->group == WOQ_GROUP_CHANNEL || c->group == WOQ_GROUP_TENSOR)
        c->order = CASE_NO_INDEX;
    if (c->activation == WOQ_ACTIVATION_SILU_MUL || c->stack == 0)
        c->stack = 1;
    if (c->stack > c->n)
        c->stack = c->n;
    while (c->m > 1 && c->n * c->k * c->m > work)
        c->m /= 2;
    if (c->max_m < c->m)
        c->max_m = c->m;
}

void case_format(const struct test_case *c, char *out, size_t size)
{
    struct test_case copy = *c;
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < FIELD_COUNT && at < size; i++) {
        const uint64_t value = *field(&copy, i);
        int n;
        if (fields[i].names)
            n = snprintf(out + at, size - at, "%s%s=%s", i ? "," : "", fields[i].key,
                         fields[i].names[value]);
        else if (value == UINT64_MAX)
            n = snprintf(out + at, size - at, "%s%s=tensor", i ? "," : "", fields[i].key);
        else
            n = snprintf(out + at, size - at, "%s%s=%llu", i ? "," : "", fields[i].key,
                         (unsigned long long)value);
        at += n > 0 ? (size_t)n : 0;
    }
}

static bool parse_value(size_t i, const char *text, uint64_t *out)
{
    char *end;
    if (fields[i].names) {
        for (uint64_t v = 0; fields[i].names[v]; v++) {
            if (!strcmp(fields[i].names[v], text)) {
                *out = v;
                return true;
            }
        }
        return false;
    }
    if (!strcmp(text, "tensor")) {
        *out = UINT64_MAX;
        return true;
    }
    *out = strtoull(text, &end, 10);
    return *text && !*end;
}

bool case_parse(const char *line, struct test_case *c)
{
    *c = case_default();
    while (*line) {
        char key[16], value[32];
        int used = 0;
        if (sscanf(line, "%15[a-z_]=%31[a-z0-9_]%n", key, value, &used) != 2) {
            fprintf(stderr, "case: expected key=value at '%s'\n", line);
            return false;
        }
        size_t i = 0;
        while (i < FIELD_COUNT && strcmp(fields[i].key, key))
            i++;
        if (i == FIELD_COUNT || !parse_value(i, value, field(c, i))) {
            fprintf(stderr, "case: unknown key or value '%s=%s'\n", key, value);
            return false;
        }
        line += used;
        line += *line == ',';
    }
    case_normalize(c, UINT64_MAX);
    return true;
}
