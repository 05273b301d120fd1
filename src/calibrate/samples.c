/* samples.c: texts, their windows of tokens, and the draw. */
#include "samples.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

struct text {
    char *data;
    size_t size, capacity;
};

static enum woq_status no_memory(const char *file)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for the calibration text", file);
}

static enum woq_status append(const char *file, struct text *t, const char *data, size_t size)
{
    if (size > t->capacity - t->size) {
        size_t capacity = t->capacity ? t->capacity : 1 << 16;
        while (size > capacity - t->size && capacity <= SIZE_MAX / 2)
            capacity *= 2;
        char *grown = size <= capacity - t->size ? realloc(t->data, capacity) : NULL;
        if (!grown)
            return no_memory(file);
        t->data = grown;
        t->capacity = capacity;
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
    return WOQ_OK;
}

static enum woq_status read_file(const char *file, struct text *out)
{
    char piece[1 << 14];
    size_t got;
    enum woq_status st = WOQ_OK;
    FILE *f = fopen(file, "rb");
    if (!f)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: cannot be opened: %s", file, strerror(errno));
    while (!st && (got = fread(piece, 1, sizeof piece, f)) > 0)
        st = append(file, out, piece, got);
    if (!st && ferror(f)) /* as of a directory */
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: cannot be read: %s", file, strerror(errno));
    fclose(f);
    return st;
}

/* ---- JSON lines ---- */

static bool is_blank(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!memchr(" \t\r", line[i], 3))
            return false;
    return true;
}

static enum woq_status add_line(const char *file, uint64_t number, const char *line, size_t size, struct text *out)
{
    static const char want[] = "must be an object with a member \"text\", a string";
    yyjson_read_err error;
    /* Without YYJSON_READ_INSITU the input is not written to. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)line, size, 0, NULL, &error);
    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return no_memory(file);
    if (!doc)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s:%" PRIu64 ": is no JSON (byte %zu: %s); %s", file, number,
                          error.pos + 1, error.msg, want);
    yyjson_val *text = yyjson_obj_get(yyjson_doc_get_root(doc), "text");
    enum woq_status st = WOQ_OK;
    if (!yyjson_is_str(text))
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s:%" PRIu64 ": \"text\" is %s; %s", file, number,
                        text ? "no string" : "missing", want);
    if (!st && out->size)
        st = append(file, out, "\n\n", 2);
    if (!st)
        st = append(file, out, yyjson_get_str(text), yyjson_get_len(text));
    yyjson_doc_free(doc);
    return st;
}

static enum woq_status join_lines(const char *file, const struct text *lines, struct text *out)
{
    enum woq_status st = WOQ_OK;
    uint64_t number = 1;
    for (size_t at = 0; at < lines->size && !st; number++) {
        const char *line = lines->data + at, *end = memchr(line, '\n', lines->size - at);
        const size_t size = end ? (size_t)(end - line) : lines->size - at;
        if (!is_blank(line, size))
            st = add_line(file, number, line, size, out);
        at += size + 1;
    }
    return st;
}

static enum woq_status read_text(const char *file, struct text *out)
{
    const char *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".jsonl"))
        return read_file(file, out);
    struct text lines = {NULL, 0, 0};
    enum woq_status st = read_file(file, &lines);
    if (!st)
        st = join_lines(file, &lines, out);
    free(lines.data);
    return st;
}

/* ---- The draw ---- */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 … limit − 1, each as likely: numbers of an incomplete last round are drawn again. */
static uint64_t random_below(uint64_t *state, uint64_t limit)
{
    const uint64_t uneven = (UINT64_MAX - limit + 1) % limit; /* 2^64 mod limit */
    uint64_t r;
    do
        r = next_random(state);
    while (r < uneven);
    return r % limit;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void woqi_samples_draw(uint64_t *numbers, uint64_t available, uint32_t count, uint64_t seed)
{
    for (uint64_t i = 0; i < available; i++)
        numbers[i] = i;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t j = i + random_below(&seed, available - i), taken = numbers[j];
        numbers[j] = numbers[i];
        numbers[i] = taken;
    }
    qsort(numbers, count, sizeof *numbers, by_number);
}

static enum woq_status take(const char *file, const struct woq_tokenizer *tokenizer, const int32_t *ids, size_t found,
                            uint64_t seed, struct woqi_samples *s)
{
    s->available = found / s->window;
    if (s->available < s->count)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: gives %zu tokens, but %" PRIu32 " samples of %" PRIu32 " need %" PRIu64
                          "; take a longer text, fewer samples or shorter ones",
                          file, found, s->count, s->window, (uint64_t)s->count * s->window);
    const int32_t bos = woq_tokenizer_adds_bos(tokenizer) ? woq_tokenizer_bos(tokenizer) : -1;
    uint64_t *numbers = malloc(s->available * sizeof *numbers);
    if (s->count <= SIZE_MAX / sizeof *s->tokens / s->window)
        s->tokens = malloc((size_t)s->count * s->window * sizeof *s->tokens);
    if (!numbers || !s->tokens) {
        free(numbers);
        return no_memory(file);
    }
    woqi_samples_draw(numbers, s->available, s->count, seed);
    for (uint32_t i = 0; i < s->count; i++) {
        int32_t *to = s->tokens + (size_t)i * s->window;
        memcpy(to, ids + numbers[i] * s->window, s->window * sizeof *to);
        if (bos >= 0)
            *to = bos;
    }
    free(numbers);
    return WOQ_OK;
}

enum woq_status woqi_samples_read(const struct woq_tokenizer *tokenizer, const char *file, uint32_t count,
                                  uint32_t window, uint64_t seed, struct woqi_samples *out)
{
    struct text text = {NULL, 0, 0};
    int32_t *ids = NULL;
    size_t found = 0;
    *out = (struct woqi_samples){.count = count, .window = window};
    if (!count || !window)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%" PRIu32 " samples of %" PRIu32 " tokens; each must be above 0",
                          count, window);
    enum woq_status st = read_text(file, &text);
    if (!st)
        st = woq_tokenizer_encode(tokenizer, text.data ? text.data : "", text.size, 0, &ids, &found);
    free(text.data);
    if (!st)
        st = take(file, tokenizer, ids, found, seed, out);
    free(ids);
    if (st)
        woqi_samples_release(out);
    return st;
}

void woqi_samples_release(struct woqi_samples *s)
{
    free(s->tokens);
    *s = (struct woqi_samples){0};
}
