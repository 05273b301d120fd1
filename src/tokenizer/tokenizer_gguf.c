/* tokenizer_gguf.c: a tokenizer from GGUF's tokenizer.ggml.* keys. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

static bool equal(const char *text, size_t size, const char *name)
{
    return size == strlen(name) && !memcmp(text, name, size);
}

static int shown(size_t size)
{
    return size < 60 ? (int)size : 60;
}

/* "tokenizer.ggml.model", and for byte-level BPE the pre-tokenizer. */
static enum woq_status read_kind(const struct woq_checkpoint *c, struct woqi_tok_source *source)
{
    const char *text;
    size_t size;
    if (!woq_checkpoint_get_string(c, KEY("model"), &text, &size))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: " KEY("model") " is missing",
                          source->name);
    if (equal(text, size, "llama")) {
        source->kind = WOQI_TOK_CHARS;
        return WOQ_OK;
    }
    if (!equal(text, size, "gpt2"))
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: " KEY("model") " is \"%.*s\"; known are gpt2, llama", source->name,
                          shown(size), text);
    source->kind = WOQI_TOK_BYTES;
    if (!woq_checkpoint_get_string(c, KEY("pre"), &text, &size))
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: " KEY("pre") " is missing; known pre-tokenizers are %s",
                          source->name, woqi_tok_pre_names());
    if (!woqi_tok_pre_by_name(text, size, &source->pre))
        return woq_report(WOQ_ERROR_UNSUPPORTED, "%s: " KEY("pre") " is \"%.*s\"; known are %s",
                          source->name, shown(size), text, woqi_tok_pre_names());
    return WOQ_OK;
}

static enum woq_status read_arrays(const struct woq_checkpoint *c, struct woqi_tok_source *source)
{
    size_t types = 0, scores = 0;
    if (!woq_checkpoint_get_strings(c, KEY("tokens"), &source->tokens, &source->count))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: " KEY("tokens") " is missing",
                          source->name);
    if (woq_checkpoint_get_ints(c, KEY("token_type"), &source->types, &types) &&
        types != source->count)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: " KEY("token_type") " has %zu elements for %zu tokens",
                          source->name, types, source->count);
    if (source->kind != WOQI_TOK_CHARS)
        return WOQ_OK;
    if (!woq_checkpoint_get_floats(c, KEY("scores"), &source->scores, &scores))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: " KEY("scores") " is missing",
                          source->name);
    if (scores != source->count)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: " KEY("scores") " has %zu elements for %zu tokens", source->name,
                          scores, source->count);
    return WOQ_OK;
}

/* "left right"; a space at the very beginning belongs to the left side. */
static enum woq_status read_merges(const struct woq_checkpoint *c, struct woqi_tok_source *source,
                                   struct woqi_tok_pair **pairs)
{
    const struct woq_text *merges;
    size_t count;
    if (!woq_checkpoint_get_strings(c, KEY("merges"), &merges, &count))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: " KEY("merges") " is missing",
                          source->name);
    *pairs = calloc(count ? count : 1, sizeof **pairs);
    if (!*pairs)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory for merges", source->name);
    for (size_t i = 0; i < count; i++) {
        const struct woq_text *m = &merges[i];
        const char *space = m->size > 1 ? memchr(m->text + 1, ' ', m->size - 1) : NULL;
        if (!space)
            return woq_report(WOQ_ERROR_INVALID_DATA,
                              "%s: " KEY("merges") "[%zu] is \"%.*s\", not two tokens with a space"
                              " between them",
                              source->name, i, shown(m->size), m->size ? m->text : "");
        size_t left = (size_t)(space - m->text);
        (*pairs)[i].left = (struct woq_text){m->text, left};
        (*pairs)[i].right = (struct woq_text){space + 1, m->size - left - 1};
    }
    source->merges = *pairs;
    source->merge_count = count;
    return WOQ_OK;
}

/* Files say "none" with the key's absence or with all bits set. */
static enum woq_status read_id(const struct woq_checkpoint *c, const char *name, const char *key,
                               int32_t *out)
{
    uint64_t id;
    if (!woq_checkpoint_get_uint(c, key, &id) || id == UINT32_MAX)
        return WOQ_OK;
    if (id > INT32_MAX)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %s is %llu, beyond any vocabulary", name,
                          key, (unsigned long long)id);
    *out = (int32_t)id;
    return WOQ_OK;
}

static enum woq_status read_settings(const struct woq_checkpoint *c, struct woqi_tok_source *source)
{
    enum woq_status st = read_id(c, source->name, KEY("bos_token_id"), &source->bos);
    if (!st)
        st = read_id(c, source->name, KEY("eos_token_id"), &source->eos);
    if (st)
        return st;
    bool chars = source->kind == WOQI_TOK_CHARS, prefix = true;
    bool llama3 = !chars && source->pre == WOQI_PRE_LLAMA3;
    if (!woq_checkpoint_get_bool(c, KEY("add_bos_token"), &source->add_bos))
        source->add_bos = chars || llama3;
    source->ignore_merges = llama3;
    source->nfc = !chars && source->pre == WOQI_PRE_QWEN2; /* GGUF does not say it */
    if (!chars)
        return WOQ_OK; /* unknown_token_id is padding there: no text needs it */
    woq_checkpoint_get_bool(c, KEY("add_space_prefix"), &prefix);
    source->prefix = prefix ? WOQI_PREFIX_EACH : WOQI_PREFIX_NONE;
    return read_id(c, source->name, KEY("unknown_token_id"), &source->unknown);
}

enum woq_status woqi_tok_from_gguf(const struct woq_checkpoint *c, struct woq_tokenizer **out)
{
    struct woqi_tok_source source = {
        .name = woq_checkpoint_path(c), .bos = -1, .eos = -1, .unknown = -1};
    struct woqi_tok_pair *pairs = NULL;
    enum woq_status st = read_kind(c, &source);
    if (!st)
        st = read_arrays(c, &source);
    if (!st && source.kind == WOQI_TOK_BYTES)
        st = read_merges(c, &source, &pairs);
    if (!st)
        st = read_settings(c, &source);
    if (!st)
        st = woqi_tok_build(&source, out);
    free(pairs);
    return st;
}
