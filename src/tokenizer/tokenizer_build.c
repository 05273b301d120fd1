/* tokenizer_build.c: a tokenizer from a vocabulary, which is checked on the way. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

static enum woq_status no_memory(const struct woqi_tok_source *source)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory for the tokenizer", source->name);
}

/* Bytes of a token to quote in a message: at most 60, whole characters, none of them for control. */
static int quoted(const struct woq_text *text)
{
    size_t size = 0;
    while (size < text->size) {
        uint32_t code = 0;
        size_t n = woqi_tok_utf8(text->text + size, text->size - size, &code);
        if (!n || code < 0x20 || (code >= 0x7f && code < 0xa0) || size + n > 60)
            break;
        size += n;
    }
    return (int)size;
}

/* ---- Tokens by bytes ---- */

/* FNV-1a, its bits mixed for the low ones to depend on all. */
static size_t hash_bytes(const char *bytes, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (uint8_t)bytes[i]) * 0x100000001b3u;
    h ^= h >> 32;
    return (size_t)(h * 0x9e3779b97f4a7c15u >> 20);
}

static size_t find_slot(const struct woq_tokenizer *t, const char *bytes, size_t size)
{
    size_t slot = hash_bytes(bytes, size) & t->slot_mask;
    while (t->slots[slot]) {
        size_t id = t->slots[slot] - 1;
        if (t->offsets[id + 1] - t->offsets[id] == size &&
            !memcmp(t->bytes + t->offsets[id], bytes, size))
            break;
        slot = (slot + 1) & t->slot_mask;
    }
    return slot;
}

int32_t woqi_tok_find(const struct woq_tokenizer *t, const char *bytes, size_t size)
{
    return (int32_t)t->slots[find_slot(t, bytes, size)] - 1;
}

/* Normal tokens first: of two that stand for the same bytes, merging gives the normal one. Special tokens are not
 * to be had by merging. */
static enum woq_status build_slots(struct woq_tokenizer *t, const struct woqi_tok_source *source)
{
    size_t slots = 16;
    while (slots < 2 * t->count)
        slots *= 2;
    t->slots = calloc(slots, sizeof *t->slots);
    if (!t->slots)
        return no_memory(source);
    t->slot_mask = slots - 1;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->count; i++) {
            uint8_t type = t->types[i];
            bool wanted = pass ? type == WOQI_TOKEN_USER || type == WOQI_TOKEN_UNUSED
                               : type == WOQI_TOKEN_NORMAL;
            size_t size = t->offsets[i + 1] - t->offsets[i];
            if (!wanted || !size)
                continue;
            size_t slot = find_slot(t, t->bytes + t->offsets[i], size);
            if (!t->slots[slot])
                t->slots[slot] = (uint32_t)i + 1;
        }
    }
    return WOQ_OK;
}

/* ---- Token bytes ---- */

/* "<0x00>" … "<0xFF>"; -1 for other texts. */
static int byte_token(const struct woq_text *text)
{
    static const char digits[] = "0123456789ABCDEF";
    if (text->size != 6 || memcmp(text->text, "<0x", 3) || text->text[5] != '>' ||
        !text->text[3] || !text->text[4])
        return -1;
    const char *high = strchr(digits, text->text[3]), *low = strchr(digits, text->text[4]);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static enum woq_status add_token(struct woq_tokenizer *t, const struct woqi_tok_source *source,
                                 size_t id)
{
    const struct woq_text *text = &source->tokens[id];
    char *to = t->bytes + t->offsets[id];
    bool chars = t->kind == WOQI_TOK_CHARS;
    int byte = chars ? byte_token(text) : -1;
    int32_t type = source->types ? source->types[id]
                   : byte >= 0   ? WOQI_TOKEN_BYTE
                                 : WOQI_TOKEN_NORMAL;
    if (!type || (type == WOQI_TOKEN_BYTE && !chars))
        type = WOQI_TOKEN_NORMAL; /* 0 is "undefined" */
    if (type < 0 || type > WOQI_TOKEN_BYTE)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: token %zu has the type %d; known are 1 to 6", source->name, id,
                          (int)type);
    if (type == WOQI_TOKEN_BYTE && byte < 0)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: token %zu is of type byte but is spelled \"%.*s\", not \"<0x00>\" to"
                          " \"<0xFF>\"",
                          source->name, id, quoted(text), text->size ? text->text : "");
    size_t size = text->size;
    if (type == WOQI_TOKEN_BYTE) {
        *to = (char)byte;
        size = 1;
        if (t->byte_ids[byte] < 0)
            t->byte_ids[byte] = (int32_t)id;
    } else if (chars && type != WOQI_TOKEN_CONTROL && type != WOQI_TOKEN_UNKNOWN) {
        size = woqi_tok_unescape(text->text, text->size, to);
    } else if (type == WOQI_TOKEN_NORMAL || type == WOQI_TOKEN_UNUSED) {
        size = woqi_tok_unspell(text->text, text->size, to);
    } else if (size) {
        memcpy(to, text->text, size);
    }
    t->types[id] = (uint8_t)type;
    t->offsets[id + 1] = t->offsets[id] + size;
    return WOQ_OK;
}

static enum woq_status add_tokens(struct woq_tokenizer *t, const struct woqi_tok_source *source)
{
    size_t bytes = 1;
    for (size_t i = 0; i < source->count; i++) {
        if (source->tokens[i].size > UINT32_MAX - bytes)
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tokens of more than 4 GiB together",
                              source->name);
        bytes += source->tokens[i].size;
    }
    t->count = source->count;
    t->bytes = malloc(bytes);
    t->offsets = calloc(t->count + 1, sizeof *t->offsets);
    t->types = malloc(t->count);
    if (!t->bytes || !t->offsets || !t->types)
        return no_memory(source);
    enum woq_status st = WOQ_OK;
    for (size_t i = 0; i < t->count && !st; i++)
        st = add_token(t, source, i);
    return st;
}

/* ---- Merges ---- */

static size_t merge_slot(const struct woq_tokenizer *t, uint64_t pair)
{
    size_t slot = (size_t)((pair ^ pair >> 29) * 0x9e3779b97f4a7c15u >> 24) & t->merge_mask;
    while (t->merges[slot].result >= 0 && t->merges[slot].pair != pair)
        slot = (slot + 1) & t->merge_mask;
    return slot;
}

const struct woqi_tok_merge *woqi_tok_find_merge(const struct woq_tokenizer *t, int32_t left,
                                                 int32_t right)
{
    if (left < 0 || right < 0)
        return NULL;
    const struct woqi_tok_merge *merge =
        &t->merges[merge_slot(t, (uint64_t)left << 32 | (uint32_t)right)];
    return merge->result < 0 ? NULL : merge;
}

/* Bytes of the two sides of a merge at `to`, one after the other. */
static void merge_bytes(const struct woq_tokenizer *t, const struct woqi_tok_pair *pair, char *to,
                        size_t *left, size_t *both)
{
    bool chars = t->kind == WOQI_TOK_CHARS;
    *left = (chars ? woqi_tok_unescape : woqi_tok_unspell)(pair->left.text, pair->left.size, to);
    *both = *left + (chars ? woqi_tok_unescape : woqi_tok_unspell)(pair->right.text,
                                                                  pair->right.size, to + *left);
}

static enum woq_status build_merges(struct woq_tokenizer *t, const struct woqi_tok_source *source)
{
    enum woq_status st = WOQ_OK;
    size_t slots = 16, longest = 1;
    while (slots < 2 * source->merge_count)
        slots *= 2;
    for (size_t i = 0; i < source->merge_count; i++) {
        size_t size = source->merges[i].left.size + source->merges[i].right.size;
        longest = size > longest ? size : longest;
    }
    char *bytes = malloc(longest);
    t->merges = malloc(slots * sizeof *t->merges);
    if (!bytes || !t->merges) {
        st = no_memory(source);
        goto done;
    }
    t->merge_mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        t->merges[i] = (struct woqi_tok_merge){0, 0, -1};
    for (size_t i = 0; i < source->merge_count; i++) {
        const struct woqi_tok_pair *pair = &source->merges[i];
        size_t left_size, size;
        merge_bytes(t, pair, bytes, &left_size, &size);
        int32_t left = left_size ? woqi_tok_find(t, bytes, left_size) : -1;
        int32_t right =
            size > left_size ? woqi_tok_find(t, bytes + left_size, size - left_size) : -1;
        int32_t result = size ? woqi_tok_find(t, bytes, size) : -1;
        if (left < 0 || right < 0 || result < 0) {
            st = woq_report(WOQ_ERROR_INVALID_DATA,
                            "%s: merge %zu, \"%.*s\" with \"%.*s\": %s not in the vocabulary",
                            source->name, i, quoted(&pair->left), pair->left.text,
                            quoted(&pair->right), pair->right.text,
                            left < 0    ? "the left side is"
                            : right < 0 ? "the right side is"
                                        : "what they give is");
            goto done;
        }
        uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
        size_t slot = merge_slot(t, key);
        if (t->merges[slot].result < 0)
            t->merges[slot] = (struct woqi_tok_merge){key, (uint32_t)i, result};
    }
done:
    free(bytes);
    return st;
}

/* Keys that rise as scores fall: a float's bits order like an integer's once negative ones are turned over. */
static enum woq_status build_keys(struct woq_tokenizer *t, const struct woqi_tok_source *source)
{
    t->keys = malloc(t->count * sizeof *t->keys);
    if (!t->keys)
        return no_memory(source);
    for (size_t i = 0; i < t->count; i++) {
        float score = source->scores[i] + 0.0f; /* -0 and +0 are the same */
        uint32_t bits;
        memcpy(&bits, &score, sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: the score of token %zu is not a number",
                              source->name, i);
        t->keys[i] = ~(bits >> 31 ? ~bits : bits | 0x80000000u);
    }
    return WOQ_OK;
}

/* ---- All of it ---- */

static enum woq_status check_source(const struct woqi_tok_source *source)
{
    if (!source->count || source->count > INT32_MAX / 4)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: a vocabulary of %zu tokens", source->name,
                          source->count);
    if (source->merge_count > INT32_MAX / 4)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %zu merges", source->name,
                          source->merge_count);
    const struct {
        const char *name;
        int32_t id;
    } ids[] = {{"begin-of-text", source->bos}, {"end-of-text", source->eos},
               {"unknown", source->unknown}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if (ids[i].id < -1 || (ids[i].id >= 0 && (size_t)ids[i].id >= source->count))
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: the %s token is %d, beyond the vocabulary of %zu", source->name,
                              ids[i].name, (int)ids[i].id, source->count);
    }
    return WOQ_OK;
}

/* Every text can be encoded: any byte has a token, or there is one for the unknown. */
static enum woq_status check_bytes(struct woq_tokenizer *t, const struct woqi_tok_source *source)
{
    if (t->kind == WOQI_TOK_BYTES) {
        for (int i = 0; i < 256; i++) {
            char byte = (char)(uint8_t)i;
            t->byte_ids[i] = woqi_tok_find(t, &byte, 1);
        }
        return WOQ_OK;
    }
    for (size_t i = 0; i < t->count && t->unknown < 0; i++) {
        if (t->types[i] == WOQI_TOKEN_UNKNOWN)
            t->unknown = (int32_t)i;
    }
    for (int i = 0; i < 256 && t->unknown < 0; i++) {
        if (t->byte_ids[i] < 0)
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: neither a token \"<0x%02X>\" nor one for unknown characters",
                              source->name, (unsigned)i);
    }
    return WOQ_OK;
}

enum woq_status woqi_tok_build(const struct woqi_tok_source *source, struct woq_tokenizer **out)
{
    *out = NULL;
    enum woq_status st = check_source(source);
    if (st)
        return st;
    struct woq_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(source);
    t->kind = source->kind;
    t->prefix = source->prefix;
    t->prefix_unless_space = source->prefix_unless_space;
    t->ignore_merges = source->ignore_merges;
    t->nfc = source->nfc;
    t->fuse_unknown = source->fuse_unknown;
    t->add_bos = source->add_bos && source->bos >= 0;
    t->bos = source->bos;
    t->eos = source->eos;
    t->unknown = source->unknown;
    memset(t->byte_ids, 0xff, sizeof t->byte_ids);
    st = add_tokens(t, source);
    if (!st)
        st = build_slots(t, source);
    if (!st)
        st = source->scores && t->kind == WOQI_TOK_CHARS ? build_keys(t, source)
                                                         : build_merges(t, source);
    if (!st)
        st = check_bytes(t, source);
    if (!st)
        st = woqi_tok_build_specials(t, source);
    if (!st && t->kind == WOQI_TOK_BYTES)
        st = woqi_tok_compile(source->pre, &t->patterns);
    if (st)
        woq_tokenizer_destroy(&t);
    *out = t;
    return st;
}
