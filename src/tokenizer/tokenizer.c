/* tokenizer.c: the public functions. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum woq_status woq_tokenizer_create(const struct woq_checkpoint *checkpoint,
                                     struct woq_tokenizer **out)
{
    if (out)
        *out = NULL;
    if (!checkpoint || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_tokenizer_create: %s is NULL",
                          checkpoint ? "out" : "checkpoint");
    return woq_checkpoint_container(checkpoint) == WOQ_CONTAINER_GGUF
               ? woqi_tok_from_gguf(checkpoint, out)
               : woqi_tok_from_directory(checkpoint, out);
}

void woq_tokenizer_destroy(struct woq_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer)
        return;
    struct woq_tokenizer *t = *tokenizer;
    woqi_tok_free_patterns(t->patterns);
    free(t->bytes);
    free(t->offsets);
    free(t->types);
    free(t->keys);
    free(t->slots);
    free(t->merges);
    free(t->specials);
    free(t->special_bytes);
    free(t);
    *tokenizer = NULL;
}

/* ---- Encoding ---- */

/* SentencePiece sees spaces for U+2581, and one in front. */
static enum woq_status encode_chars(struct woqi_tok_run *run, const char *text, size_t size,
                                    bool first)
{
    const struct woq_tokenizer *t = run->t;
    char *word = malloc(size + 1);
    if (!word)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_encode: no memory");
    size_t count = woqi_tok_unescape(text, size, word + 1);
    bool prefix = t->prefix == WOQI_PREFIX_EACH || (t->prefix == WOQI_PREFIX_FIRST && first);
    if (t->prefix_unless_space && word[1] == ' ')
        prefix = false;
    word[0] = ' ';
    enum woq_status st = woqi_tok_word(run, prefix ? word : word + 1, count + prefix);
    free(word);
    return st;
}

/* Text without special tokens. first: nothing lies before it. */
static enum woq_status encode_plain(struct woqi_tok_run *run, const char *text, size_t size,
                                    bool first)
{
    if (!size)
        return WOQ_OK;
    utf8proc_uint8_t *composed = NULL;
    if (run->t->nfc) {
        utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size,
                                          &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n < 0 || n >= INT32_MAX) {
            free(composed);
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_encode: composition: %s",
                              n < 0 ? utf8proc_errmsg(n) : "too long a text");
        }
        text = (const char *)composed;
        size = (size_t)n;
    }
    enum woq_status st = run->t->kind == WOQI_TOK_CHARS ? encode_chars(run, text, size, first)
                                                        : woqi_tok_words(run, text, size);
    free(composed);
    return st;
}

/* End of text[begin … end) without its last white space, or begin of it without the first. */
static size_t strip_left(const char *text, size_t begin, size_t end)
{
    while (end > begin) {
        size_t at = end - 1;
        while (at > begin && (text[at] & 0xc0) == 0x80)
            at--;
        uint32_t code = 0;
        woqi_tok_utf8(text + at, end - at, &code);
        if (!woqi_tok_is_space(code))
            break;
        end = at;
    }
    return end;
}

static size_t strip_right(const char *text, size_t begin, size_t end)
{
    while (begin < end) {
        uint32_t code = 0;
        size_t n = woqi_tok_utf8(text + begin, end - begin, &code);
        if (!n || !woqi_tok_is_space(code))
            break;
        begin += n;
    }
    return begin;
}

static enum woq_status encode_clean(struct woqi_tok_run *run, const char *text, size_t size,
                                    uint32_t flags)
{
    const struct woq_tokenizer *t = run->t;
    enum woq_status st = WOQ_OK;
    if ((flags & WOQ_ENCODE_BOS) && t->bos >= 0)
        st = woqi_tok_push(run, t->bos);
    bool all = flags & WOQ_ENCODE_SPECIAL, first = true;
    for (size_t done = 0; done < size && !st;) {
        size_t at;
        const struct woqi_tok_special *special =
            woqi_tok_next_special(t, text, size, done, all, &at);
        size_t end = special && (special->strips & WOQI_STRIP_LEFT) ? strip_left(text, done, at)
                                                                    : at;
        st = encode_plain(run, text + done, end - done, first);
        first = false;
        done = at;
        if (special && !st) {
            st = woqi_tok_push(run, special->id);
            done += special->size;
            if (special->strips & WOQI_STRIP_RIGHT)
                done = strip_right(text, done, size);
        }
    }
    return st;
}

enum woq_status woq_tokenizer_encode(const struct woq_tokenizer *tokenizer, const char *text,
                                     size_t size, uint32_t flags, int32_t **ids, size_t *count)
{
    if (ids)
        *ids = NULL;
    if (count)
        *count = 0;
    if (!tokenizer || (!text && size) || !ids || !count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_tokenizer_encode: %s is NULL",
                          !tokenizer ? "tokenizer" : !ids ? "ids" : !count ? "count" : "text");
    if (flags & ~(uint32_t)(WOQ_ENCODE_BOS | WOQ_ENCODE_SPECIAL))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_tokenizer_encode: flags is 0x%x; known are 0x1 and 0x2",
                          (unsigned)flags);
    struct woqi_tok_run run = {.t = tokenizer};
    size_t clean_size = 0;
    char *clean = NULL;
    enum woq_status st = WOQ_OK;
    if (size <= INT32_MAX)
        clean = woqi_tok_clean(text, size, &clean_size);
    if (size > INT32_MAX || clean_size > INT32_MAX / 4)
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                        "woq_tokenizer_encode: a text of %zu bytes; 512 MiB is the most", size);
    else if (!clean)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_encode: no memory");
    if (!st)
        st = encode_clean(&run, clean, clean_size, flags);
    if (!st && !run.ids)
        st = woqi_tok_grow(&run.ids, &run.capacity, 1, sizeof *run.ids)
                 ? WOQ_OK
                 : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_encode: no memory");
    free(clean);
    woqi_tok_run_release(&run);
    if (st) {
        free(run.ids);
        return st;
    }
    *ids = run.ids;
    *count = run.count;
    return WOQ_OK;
}

/* ---- Decoding ---- */

const char *woq_tokenizer_piece(const struct woq_tokenizer *tokenizer, int32_t id, size_t *size)
{
    if (size)
        *size = 0;
    if (!tokenizer || id < 0 || (size_t)id >= tokenizer->count)
        return NULL;
    size_t offset = tokenizer->offsets[id];
    if (size)
        *size = tokenizer->offsets[id + 1] - offset;
    return tokenizer->bytes + offset;
}

static bool is_shown(const struct woq_tokenizer *t, int32_t id)
{
    return t->types[id] != WOQI_TOKEN_CONTROL && t->types[id] != WOQI_TOKEN_UNKNOWN;
}

enum woq_status woq_tokenizer_decode(const struct woq_tokenizer *tokenizer, const int32_t *ids,
                                     size_t count, char **text, size_t *size)
{
    if (text)
        *text = NULL;
    if (size)
        *size = 0;
    if (!tokenizer || (!ids && count) || !text || !size)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_tokenizer_decode: %s is NULL",
                          !tokenizer ? "tokenizer" : !text ? "text" : !size ? "size" : "ids");
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n;
        if (!woq_tokenizer_piece(tokenizer, ids[i], &n))
            return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                              "woq_tokenizer_decode: ids[%zu] is %d; the vocabulary has %zu", i,
                              (int)ids[i], tokenizer->count);
        if (n > SIZE_MAX - 1 - bytes)
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_decode: the text is too long");
        bytes += n;
    }
    char *out = malloc(bytes + 1);
    if (!out)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_decode: no memory");
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *piece = woq_tokenizer_piece(tokenizer, ids[i], &n);
        if (!is_shown(tokenizer, ids[i]))
            continue;
        memcpy(out + done, piece, n);
        done += n;
    }
    if (tokenizer->prefix != WOQI_PREFIX_NONE && done && out[0] == ' ')
        memmove(out, out + 1, --done); /* the space that encoding puts in front */
    out[done] = 0;
    *text = out;
    *size = done;
    return WOQ_OK;
}

/* ---- What it is ---- */

size_t woq_tokenizer_vocabulary(const struct woq_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->count : 0;
}

int32_t woq_tokenizer_bos(const struct woq_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->bos : -1;
}

int32_t woq_tokenizer_eos(const struct woq_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->eos : -1;
}

bool woq_tokenizer_adds_bos(const struct woq_tokenizer *tokenizer)
{
    return tokenizer && tokenizer->add_bos;
}
