/* text.c: names and values of files as text that can be printed; messages. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

/* Bytes of the well-formed character at `at` (Unicode, table 3-7), 0 if it is none. */
static size_t character(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t first, last, size, low, high; /* of the lead byte; of the second byte */
    } forms[] = {
        {0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (*at < forms[i].first || *at > forms[i].last)
            continue;
        const size_t size = forms[i].size;
        if (size > left || (size > 1 && (at[1] < forms[i].low || at[1] > forms[i].high)))
            return 0;
        for (size_t j = 2; j < size; j++)
            if ((at[j] & 0xc0) != 0x80)
                return 0;
        return size;
    }
    return 0;
}

/* C0, DEL, C1: what a terminal might obey. */
static bool is_control(const uint8_t *at, size_t size)
{
    return (size == 1 && (*at < 0x20 || *at == 0x7f)) || (size == 2 && *at == 0xc2 && at[1] < 0xa0);
}

bool woqi_ckpt_is_name(const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;
    while (size) {
        const size_t step = character(at, size);
        if (!step || is_control(at, step))
            return false;
        at += step;
        size -= step;
    }
    return true;
}

char *woqi_ckpt_readable(struct woqi_ckpt_arena *arena, const char *text, size_t size, size_t limit)
{
    const uint8_t *at = (const uint8_t *)text;
    const size_t take = size < limit ? size : limit;
    size_t left = take, used = 0;
    /* A replaced byte takes three. */
    char *out = take < SIZE_MAX / 4 ? woqi_ckpt_alloc(arena, take * 3 + 4, 1) : NULL;
    if (!out)
        return NULL;
    while (left) {
        size_t step = character(at, left);
        if (!step && take < size && left < 4 && character(at, left + (size - take)))
            break; /* cut in the middle */
        if (!step || (is_control(at, step) && *at != '\n' && *at != '\t')) {
            memcpy(out + used, "\xef\xbf\xbd", 3);
            used += 3;
            step = step ? step : 1;
        } else {
            memcpy(out + used, at, step);
            used += step;
        }
        at += step;
        left -= step;
    }
    if (take < size)
        memcpy(out + used, "\xe2\x80\xa6", 3);
    return out;
}

enum woq_status woqi_ckpt_fail(const struct woq_checkpoint *c, enum woq_status status,
                               const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return woq_report(status, "%s: %s", c->path, text);
}

const char *woqi_ckpt_where(const struct woq_checkpoint *c, const char *key)
{
    return c->directory && strncmp(key, "__metadata__", 12) ? "config.json: " : "";
}

enum woq_status woqi_ckpt_no_memory(const struct woq_checkpoint *c)
{
    return woqi_ckpt_fail(c, WOQ_ERROR_OUT_OF_MEMORY, "no host memory for its tables");
}

void woqi_ckpt_warn(const struct woq_checkpoint *c, const char *format, ...)
{
    if (!c->log)
        return;
    char text[900], whole[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(whole, sizeof whole, "%s: %s", c->path, text);
    c->log(c->log_user, WOQ_LOG_WARNING, whole);
}
