/* tool_args.c: the words of the command line: numbers, types, formats, shapes, lists of them. */
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(char *why, const char *format, ...) TOOL_PRINTF(2, 3);

static bool refuse(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, TOOL_WHY, format, args);
    va_end(args);
    return false;
}

bool tool_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *why)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
    if (!end || *end)
        return refuse(why, "'%.40s' is not a whole number", text);
    if (errno || value < min || value > max)
        return refuse(why, "%.40s is out of range; %llu to %llu", text, (unsigned long long)min,
                      (unsigned long long)max);
    *out = value;
    return true;
}

bool tool_parse_window(const char *text, uint32_t *out, char *why)
{
    uint64_t number = 0;
    if (!tool_parse_number(text, 4, 1 << 20, &number, why))
        return false;
    if (number % 2)
        return refuse(why, "%s is odd; it must be even", text);
    *out = (uint32_t)number;
    return true;
}

bool tool_parse_seconds(const char *text, double *out, char *why)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value <= 0 || value > 86400)
        return refuse(why, "'%.40s' is not a time in seconds, like 0.5; above 0, at most 86400",
                      text);
    *out = value;
    return true;
}

/* "f16, bf16 or f32" out of a list. */
static const char *listed(const char *const *names, size_t count, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s",
                                 !i ? "" : i + 1 == count ? " or " : ", ", names[i]);
    return out;
}

static bool find_name(const char *text, const char *const *names, size_t count, size_t *index,
                      const char *what, char *why)
{
    char all[256];
    for (size_t i = 0; i < count; i++)
        if (!strcmp(text, names[i])) {
            *index = i;
            return true;
        }
    return refuse(why, "'%.40s' is no %s; %s", text, what,
                  listed(names, count, all, sizeof all));
}

bool tool_parse_type(const char *text, enum woq_type *out, char *why)
{
    static const char *const names[] = {"f16", "bf16", "f32"};
    static const enum woq_type types[] = {WOQ_F16, WOQ_BF16, WOQ_F32};
    size_t i = 0;
    if (!find_name(text, names, 3, &i, "element type", why))
        return false;
    *out = types[i];
    return true;
}

bool tool_parse_math(const char *text, enum woq_math *out, char *why)
{
    static const char *const names[] = {"default", "exact", "rounded", "fixed16"};
    static const enum woq_math modes[] = {WOQ_MATH_DEFAULT, WOQ_MATH_EXACT, WOQ_MATH_ROUNDED, WOQ_MATH_FIXED16};
    size_t i = 0;
    if (!find_name(text, names, 4, &i, "math mode", why))
        return false;
    *out = modes[i];
    return true;
}

bool tool_parse_log(const char *text, enum woq_log_level *out, char *why)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    size_t i = 0;
    if (!find_name(text, names, 4, &i, "log level", why))
        return false;
    *out = (enum woq_log_level)(i + 1);
    return true;
}

bool tool_parse_activation(const char *text, enum woq_activation *out, char *why)
{
    const char *names[WOQ_ACTIVATION_SILU_MUL + 1];
    size_t i = 0;
    for (i = 0; i <= WOQ_ACTIVATION_SILU_MUL; i++)
        names[i] = woq_activation_name((enum woq_activation)i);
    if (!find_name(text, names, WOQ_ACTIVATION_SILU_MUL + 1, &i, "activation", why))
        return false;
    *out = (enum woq_activation)i;
    return true;
}

bool tool_parse_path(const char *text, const char **out, char *why)
{
    const char *names[32];
    char variant[WOQ_VARIANT_NAME];
    size_t i = 0, count = 0;
    for (uint32_t v = 0; strchr(text, '/') && woq_variant_name(v, variant); v++)
        if (!strcmp(text, variant)) {
            *out = text;
            return true;
        }
    for (; count < woq_path_count() && count < 32; count++)
        names[count] = woq_path_name((uint32_t)count);
    if (!find_name(text, names, count, &i, "kernel path", why))
        return false;
    *out = names[i];
    return true;
}

/* What follows "w4" or "w8": g128 or t, then z, o and p, then :type. */
static bool parse_format_tail(const char *text, const char *tail, struct woq_format *f, char *why)
{
    f->zero = WOQ_ZERO_SYMMETRIC;
    f->scale = WOQ_F16;
    f->group = WOQ_GROUP_CHANNEL;
    if (*tail == 'g') {
        char *end = NULL;
        errno = 0;
        unsigned long long group = 0;
        if (isdigit((unsigned char)tail[1]))
            group = strtoull(tail + 1, &end, 10);
        if (!end || errno || group < 1 || group > 1ull << 31)
            return refuse(why, "'%.40s': after g comes the group's size in columns, 1 to "
                               "2147483648, as in w4g128", text);
        f->group = group;
        tail = end;
    } else if (*tail == 't') {
        f->group = WOQ_GROUP_TENSOR;
        tail++;
    }
    for (; *tail && *tail != ':'; tail++) {
        if (*tail == 'z' || *tail == 'o') {
            if (f->zero != WOQ_ZERO_SYMMETRIC)
                return refuse(why, "'%.40s': z (zero point) or o (offset), only one of them", text);
            f->zero = *tail == 'z' ? WOQ_ZERO_POINT : WOQ_ZERO_OFFSET;
        } else if (*tail == 'p') {
            f->g_idx = true;
        } else {
            return refuse(why, "'%.40s': '%.20s' is not understood; after the bits come g<columns> "
                               "or t (one scale for all), then z (zero point), o (offset), p "
                               "(g_idx), then :f16, :bf16 or :f32 for the scales, as in "
                               "w4g64z:bf16", text, tail);
        }
    }
    if (f->g_idx && (f->group == WOQ_GROUP_CHANNEL || f->group == WOQ_GROUP_TENSOR))
        return refuse(why, "'%.40s': p (g_idx) needs a group size, as in w4g128p", text);
    if (*tail == ':' && !tool_parse_type(tail + 1, &f->scale, why))
        return refuse(why, "'%.40s': the scale type '%.20s' must be f16, bf16 or f32", text,
                      tail + 1);
    return true;
}

bool tool_parse_format(const char *text, struct tool_format *out, char *why)
{
    static const char hint[] = "try w4g128, w8, f16";
    char *end = NULL;
    struct woq_format f = WOQ_FORMAT_INIT;
    if (!*text)
        return refuse(why, "a format is missing; %s", hint);
    if (strlen(text) >= sizeof out->name)
        return refuse(why, "'%.40s…' is too long for a format; %s", text, hint);
    if (!strcmp(text, "f16") || !strcmp(text, "bf16")) {
        f.code = *text == 'f' ? WOQ_CODE_F16 : WOQ_CODE_BF16;
    } else if (!strcmp(text, "f32") || !strncmp(text, "f16:", 4) || !strncmp(text, "bf16:", 5)) {
        return refuse(why, "'%s': plain weights are f16 or bf16, and have no scales; %s", text,
                      hint);
    } else if (*text != 'w' || !isdigit((unsigned char)text[1])) {
        return refuse(why, "'%s' is no weight format: it begins with w and the bits, or is f16 or "
                           "bf16; %s", text, hint);
    } else {
        unsigned long bits = strtoul(text + 1, &end, 10);
        if (bits != 4 && bits != 8)
            return refuse(why, "'%s': bits must be 4 or 8; %s", text, hint);
        f.code = bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8;
        if (!parse_format_tail(text, end, &f, why))
            return false;
    }
    out->format = f;
    snprintf(out->name, sizeof out->name, "%s", text);
    return true;
}

bool tool_parse_shape(const char *text, struct tool_shape *out, char *why)
{
    char first[32] = "";
    size_t length = strcspn(text, "x");
    if (length && length < sizeof first && text[length] == 'x') {
        char inner[TOOL_WHY];
        memcpy(first, text, length);
        if (tool_parse_number(first, 1, UINT64_MAX >> 1, &out->n, inner) &&
            tool_parse_number(text + length + 1, 1, UINT64_MAX >> 1, &out->k, inner))
            return true;
    }
    return refuse(why, "'%.60s' is no shape; write N x K (outputs x inputs) like 11008x4096", text);
}

/* ---- Lists ---- */

/* Cuts the next item off a list; false at its end. */
static bool next_item(const char **cursor, char *item, size_t size)
{
    if (!*cursor)
        return false;
    size_t length = strcspn(*cursor, ",");
    snprintf(item, size, "%.*s", (int)(length < size ? length : size - 1), *cursor);
    *cursor = (*cursor)[length] ? *cursor + length + 1 : NULL;
    return true;
}

bool tool_parse_m_list(const char *text, uint32_t **out, size_t *count, char *why)
{
    char item[64];
    *out = NULL;
    *count = 0;
    while (next_item(&text, item, sizeof item)) {
        uint64_t value;
        if (!tool_parse_number(item, 1, UINT32_MAX, &value, why))
            return false;
        *out = tool_grow(*out, *count + 1, sizeof **out);
        (*out)[(*count)++] = (uint32_t)value;
    }
    return true;
}

bool tool_parse_formats(const char *text, struct tool_format **out, size_t *count, char *why)
{
    char item[64];
    *out = NULL;
    *count = 0;
    while (next_item(&text, item, sizeof item)) {
        struct tool_format value;
        if (!tool_parse_format(item, &value, why))
            return false;
        *out = tool_grow(*out, *count + 1, sizeof **out);
        (*out)[(*count)++] = value;
    }
    return true;
}

bool tool_parse_shapes(const char *text, struct tool_shape **out, size_t *count, char *why)
{
    char item[96];
    *out = NULL;
    *count = 0;
    while (next_item(&text, item, sizeof item)) {
        struct tool_shape value;
        if (!tool_parse_shape(item, &value, why))
            return false;
        *out = tool_grow(*out, *count + 1, sizeof **out);
        (*out)[(*count)++] = value;
    }
    return true;
}

bool tool_parse_names(const char *text, char ***out, size_t *count, char *why)
{
    char item[64];
    *out = NULL;
    *count = 0;
    while (next_item(&text, item, sizeof item)) {
        if (!*item)
            return refuse(why, "an empty name in the list");
        *out = tool_grow(*out, *count + 1, sizeof **out);
        (*out)[(*count)++] = tool_text("%s", item);
    }
    return true;
}

void tool_free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}
