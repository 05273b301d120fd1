/*
 * special_tokens.c: tokens that are found in a text before anything else is done to it.
 *
 * They lie sorted by bytes. Those that begin like the text at hand are a range of them, which each further byte
 * narrows; the last token that the range began with while its size was the depth is the longest that matches.
 */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

struct item {
    struct woq_text text;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    size_t n = x->text.size < y->text.size ? x->text.size : y->text.size;
    int order = memcmp(x->text.text, y->text.text, n);
    if (order)
        return order;
    if (x->text.size != y->text.size)
        return x->text.size < y->text.size ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static bool is_special(const struct woq_tokenizer *t, size_t id)
{
    uint8_t type = t->types[id];
    return (type == WOQI_TOKEN_USER || type == WOQI_TOKEN_CONTROL || type == WOQI_TOKEN_UNKNOWN) &&
           t->offsets[id + 1] != t->offsets[id];
}

enum woq_status woqi_tok_build_specials(struct woq_tokenizer *t,
                                        const struct woqi_tok_source *source)
{
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < source->count; i++) {
        if (is_special(t, i)) {
            count++;
            bytes += source->tokens[i].size;
        }
    }
    if (!count)
        return WOQ_OK;
    struct item *items = malloc(count * sizeof *items);
    t->specials = calloc(count, sizeof *t->specials);
    t->special_bytes = malloc(bytes);
    if (!items || !t->specials || !t->special_bytes) {
        free(items);
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory for special tokens",
                          source->name);
    }
    for (size_t i = 0, n = 0; i < source->count; i++) {
        if (is_special(t, i))
            items[n++] = (struct item){source->tokens[i], (int32_t)i};
    }
    qsort(items, count, sizeof *items, by_bytes);
    bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct woq_text *text = &items[i].text;
        if (i && items[i - 1].text.size == text->size &&
            !memcmp(items[i - 1].text.text, text->text, text->size))
            continue; /* a name that is there twice is the first one's */
        memcpy(t->special_bytes + bytes, text->text, text->size);
        t->specials[t->special_count++] = (struct woqi_tok_special){
            bytes, text->size, items[i].id, t->types[items[i].id] == WOQI_TOKEN_USER,
            source->strips ? source->strips[items[i].id] : 0};
        t->special_first[(uint8_t)text->text[0]] = true;
        bytes += text->size;
    }
    free(items);
    return WOQ_OK;
}

/* First of the specials from lo to hi, which all are longer than depth and agree before it, whose byte there is
 * byte or more. */
static size_t lower_bound(const struct woq_tokenizer *t, size_t lo, size_t hi, size_t depth,
                          unsigned byte)
{
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if ((uint8_t)t->special_bytes[t->specials[middle].offset + depth] < byte)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

static const struct woqi_tok_special *longest_at(const struct woq_tokenizer *t, const char *text,
                                                 size_t size, bool all)
{
    const struct woqi_tok_special *best = NULL;
    size_t lo = 0, hi = t->special_count;
    for (size_t depth = 0; depth < size; depth++) {
        unsigned byte = (uint8_t)text[depth];
        lo = lower_bound(t, lo, hi, depth, byte);
        hi = lower_bound(t, lo, hi, depth, byte + 1);
        if (lo == hi)
            break;
        if (t->specials[lo].size == depth + 1) {
            if (all || t->specials[lo].user)
                best = &t->specials[lo];
            if (++lo == hi)
                break;
        }
    }
    return best;
}

const struct woqi_tok_special *woqi_tok_next_special(const struct woq_tokenizer *t,
                                                     const char *text, size_t size, size_t from,
                                                     bool all, size_t *at)
{
    for (size_t i = from; i < size; i++) {
        if (!t->special_first[(uint8_t)text[i]])
            continue;
        const struct woqi_tok_special *special = longest_at(t, text + i, size - i, all);
        if (special) {
            *at = i;
            return special;
        }
    }
    *at = size;
    return NULL;
}
