/* samples.c: texts, their windows of tokens, and the draw. */
#include "samples.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../checkpoint/text_file.h"

static enum woq_status no_memory(const char *file)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for the calibration text", file);
}

struct joined {
    const char *file;
    struct woqi_text_file *out;
};

static enum woq_status join_line(void *user, uint64_t line, const char *text, size_t size)
{
    const struct joined *j = user;
    (void)line;
    enum woq_status st = j->out->size ? woqi_text_append(j->file, j->out, "\n\n", 2) : WOQ_OK;
    return st ? st : woqi_text_append(j->file, j->out, text, size);
}

static enum woq_status read_text(const char *file, struct woqi_text_file *out)
{
    const char *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".jsonl"))
        return woqi_text_read(file, out);
    struct woqi_text_file lines;
    struct joined joined = {file, out};
    enum woq_status st = woqi_text_read(file, &lines);
    if (!st)
        st = woqi_json_lines(file, &lines, join_line, &joined);
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
    struct woqi_text_file text = {NULL, 0, 0};
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
