/*
 * tokenizer_json.c: a tokenizer from the text of a Hugging Face tokenizer.json.
 *
 * The file describes a pipeline of parts. Two combinations of them are known here: byte-level BPE (ByteLevel with
 * one of the pre-tokenizers of pretokenize.c) and SentencePiece-style BPE (spaces to U+2581 by normalizer or
 * Metaspace, byte fallback). Any other part is refused by name: to skip it would give other tokens.
 */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

enum { MAX_ID = 1 << 24 };

struct reader {
    struct woqi_tok_source source;
    yyjson_val *root;
    struct woq_text *tokens;
    int32_t *types;
    uint8_t *strips;
    struct woqi_tok_pair *pairs;
    bool byte_level, regex, digits, split, escapes;
    enum woqi_tok_pre split_pre;
};

static struct woq_text text_of(yyjson_val *value)
{
    return (struct woq_text){yyjson_get_str(value), yyjson_get_len(value)};
}

static bool is_type(yyjson_val *object, const char *name)
{
    return yyjson_equals_str(yyjson_obj_get(object, "type"), name);
}

/* A member that is true, false or, when absent, the default. */
static bool get_bool(yyjson_val *object, const char *name, bool otherwise)
{
    yyjson_val *value = yyjson_obj_get(object, name);
    return yyjson_is_bool(value) ? yyjson_get_bool(value) : otherwise;
}

static enum woq_status bad(const struct reader *r, const char *what, const char *should)
{
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %s %s", r->source.name, what, should);
}

static enum woq_status no_memory(const struct reader *r)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory for the tokenizer", r->source.name);
}

static enum woq_status refuse(const struct reader *r, const char *field, yyjson_val *part,
                              const char *known)
{
    const char *type = yyjson_get_str(yyjson_obj_get(part, "type"));
    return woq_report(WOQ_ERROR_UNSUPPORTED, "%s: %s: %.60s with these settings; known are %s",
                      r->source.name, field, type ? type : "a part without type", known);
}

/* ---- Vocabulary ---- */

/* Ids may leave gaps, but no more of them than would fit another vocabulary. */
static enum woq_status count_tokens(struct reader *r, yyjson_val *vocab, yyjson_val *added)
{
    size_t i, n, last = 0;
    yyjson_val *key, *value;
    yyjson_obj_foreach(vocab, i, n, key, value)
    {
        if (!yyjson_is_uint(value) || yyjson_get_uint(value) >= MAX_ID)
            return bad(r, "model.vocab", "has a token whose id is not in 0 … 2^24 − 1");
        last = yyjson_get_uint(value) > last ? yyjson_get_uint(value) : last;
    }
    yyjson_arr_foreach(added, i, n, value)
    {
        yyjson_val *id = yyjson_obj_get(value, "id");
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= MAX_ID)
            return bad(r, "added_tokens", "has a token whose id is not in 0 … 2^24 − 1");
        if (!yyjson_is_str(yyjson_obj_get(value, "content")))
            return bad(r, "added_tokens", "has a token whose content is no text");
        last = yyjson_get_uint(id) > last ? yyjson_get_uint(id) : last;
    }
    size_t entries = yyjson_obj_size(vocab) + yyjson_arr_size(added);
    if (last >= 2 * entries + 1024)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: a token has the id %zu, but there are %zu tokens",
                          r->source.name, last, entries);
    r->source.count = last + 1;
    return WOQ_OK;
}

static enum woq_status read_added(struct reader *r, yyjson_val *added)
{
    size_t i, n;
    yyjson_val *value;
    yyjson_arr_foreach(added, i, n, value)
    {
        size_t id = yyjson_get_uint(yyjson_obj_get(value, "id"));
        if (get_bool(value, "single_word", false))
            return woq_report(WOQ_ERROR_UNSUPPORTED,
                              "%s: added token %zu matches single words only (single_word)",
                              r->source.name, id);
        r->tokens[id] = text_of(yyjson_obj_get(value, "content"));
        r->types[id] = get_bool(value, "special", false) ? WOQI_TOKEN_CONTROL : WOQI_TOKEN_USER;
        r->strips[id] = (get_bool(value, "lstrip", false) ? WOQI_STRIP_LEFT : 0) |
                        (get_bool(value, "rstrip", false) ? WOQI_STRIP_RIGHT : 0);
    }
    return WOQ_OK;
}

static enum woq_status read_tokens(struct reader *r, yyjson_val *model)
{
    yyjson_val *vocab = yyjson_obj_get(model, "vocab");
    yyjson_val *added = yyjson_obj_get(r->root, "added_tokens");
    if (!yyjson_is_obj(vocab) || !yyjson_obj_size(vocab))
        return bad(r, "model.vocab", "is missing or no object with tokens");
    if (added && !yyjson_is_arr(added) && !yyjson_is_null(added))
        return bad(r, "added_tokens", "is no array");
    enum woq_status st = count_tokens(r, vocab, added);
    if (st)
        return st;
    size_t count = r->source.count;
    r->tokens = calloc(count, sizeof *r->tokens);
    r->types = calloc(count, sizeof *r->types);
    r->strips = calloc(count, 1);
    if (!r->tokens || !r->types || !r->strips)
        return no_memory(r);
    for (size_t i = 0; i < count; i++) {
        r->tokens[i].text = "";
        r->types[i] = WOQI_TOKEN_UNUSED;
    }
    size_t i, n;
    yyjson_val *key, *value;
    bool fallback = get_bool(model, "byte_fallback", false) && !r->byte_level;
    yyjson_val *unknown = yyjson_obj_get(model, "unk_token");
    yyjson_obj_foreach(vocab, i, n, key, value)
    {
        size_t id = yyjson_get_uint(value);
        if (r->types[id] != WOQI_TOKEN_UNUSED)
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: model.vocab has the id %zu twice",
                              r->source.name, id);
        struct woq_text text = text_of(key);
        bool byte = fallback && text.size == 6 && !memcmp(text.text, "<0x", 3) &&
                    text.text[5] == '>';
        r->tokens[id] = text;
        r->types[id] = byte ? WOQI_TOKEN_BYTE : WOQI_TOKEN_NORMAL;
        if (yyjson_is_str(unknown) && yyjson_equals_strn(unknown, text.text, text.size))
            r->source.unknown = (int32_t)id;
    }
    r->source.tokens = r->tokens;
    r->source.types = r->types;
    r->source.strips = r->strips;
    return read_added(r, added);
}

/* "left right" or ["left", "right"]. */
static enum woq_status read_merges(struct reader *r, yyjson_val *merges)
{
    if (!yyjson_is_arr(merges))
        return bad(r, "model.merges", "is missing or no array");
    size_t i, n;
    yyjson_val *value;
    r->pairs = calloc(yyjson_arr_size(merges) + 1, sizeof *r->pairs);
    if (!r->pairs)
        return no_memory(r);
    yyjson_arr_foreach(merges, i, n, value)
    {
        struct woq_text left = text_of(yyjson_arr_get(value, 0));
        struct woq_text right = text_of(yyjson_arr_get(value, 1));
        if (yyjson_is_str(value)) {
            struct woq_text both = text_of(value);
            const char *space = both.size > 1 ? memchr(both.text + 1, ' ', both.size - 1) : NULL;
            size_t size = space ? (size_t)(space - both.text) : 0;
            left = (struct woq_text){space ? both.text : NULL, size};
            right = (struct woq_text){space ? space + 1 : NULL, space ? both.size - size - 1 : 0};
        }
        if (!left.text || !right.text)
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s: model.merges[%zu] is no pair of tokens",
                              r->source.name, i);
        r->pairs[i] = (struct woqi_tok_pair){left, right};
    }
    r->source.merges = r->pairs;
    r->source.merge_count = n;
    return WOQ_OK;
}

static bool is_empty(yyjson_val *value)
{
    return !value || yyjson_is_null(value) || yyjson_equals_str(value, "") ||
           (yyjson_is_num(value) && yyjson_get_num(value) == 0);
}

static enum woq_status read_model(struct reader *r)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix"};
    yyjson_val *model = yyjson_obj_get(r->root, "model");
    if (!yyjson_is_obj(model))
        return bad(r, "model", "is missing or no object");
    yyjson_val *merges = yyjson_obj_get(model, "merges");
    if (!is_type(model, "BPE") && (yyjson_obj_get(model, "type") || !merges))
        return refuse(r, "model", model, "BPE");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (!is_empty(yyjson_obj_get(model, refused[i])))
            return woq_report(WOQ_ERROR_UNSUPPORTED, "%s: model.%s is set", r->source.name,
                              refused[i]);
    }
    r->source.fuse_unknown = get_bool(model, "fuse_unk", false);
    r->source.ignore_merges = get_bool(model, "ignore_merges", false);
    enum woq_status st = read_tokens(r, model);
    return st ? st : read_merges(r, merges);
}

/* ---- Normalizer and pre-tokenizer ---- */

static enum woq_status read_normalizer(struct reader *r, yyjson_val *part, int depth)
{
    static const char known[] = "Sequence, NFC, Prepend and Replace of \" \" by U+2581";
    if (!part || yyjson_is_null(part))
        return WOQ_OK;
    if (is_type(part, "Sequence") && !depth) {
        enum woq_status st = WOQ_OK;
        size_t i, n;
        yyjson_val *value;
        yyjson_arr_foreach(yyjson_obj_get(part, "normalizers"), i, n, value)
        {
            if (!st)
                st = read_normalizer(r, value, 1);
        }
        return st;
    }
    if (is_type(part, "NFC")) {
        r->source.nfc = true;
        return WOQ_OK;
    }
    if (is_type(part, "Prepend") &&
        yyjson_equals_str(yyjson_obj_get(part, "prepend"), "\xe2\x96\x81")) {
        r->source.prefix = WOQI_PREFIX_EACH;
        return WOQ_OK;
    }
    if (is_type(part, "Replace") &&
        yyjson_equals_str(yyjson_obj_get(part, "content"), "\xe2\x96\x81") &&
        yyjson_equals_str(yyjson_obj_get(yyjson_obj_get(part, "pattern"), "String"), " ")) {
        r->escapes = true;
        return WOQ_OK;
    }
    return refuse(r, "normalizer", part, known);
}

static bool read_split(struct reader *r, yyjson_val *part)
{
    yyjson_val *pattern = yyjson_obj_get(part, "pattern");
    yyjson_val *regex = yyjson_obj_get(pattern, "Regex");
    if (yyjson_equals_str(yyjson_obj_get(pattern, "String"), " "))
        return r->escapes; /* no space is left to split at */
    if (!yyjson_is_str(regex) || get_bool(part, "invert", false) || r->split ||
        !yyjson_equals_str(yyjson_obj_get(part, "behavior"), "Isolated"))
        return false;
    r->split = true;
    return woqi_tok_pre_by_split(yyjson_get_str(regex), yyjson_get_len(regex), &r->split_pre);
}

/* Not splitting: the merges see the whole text. */
static bool read_metaspace(struct reader *r, yyjson_val *part)
{
    yyjson_val *scheme = yyjson_obj_get(part, "prepend_scheme");
    if (!yyjson_equals_str(yyjson_obj_get(part, "replacement"), "\xe2\x96\x81") ||
        get_bool(part, "split", true))
        return false;
    r->escapes = true;
    r->source.prefix_unless_space = true;
    r->source.prefix = yyjson_equals_str(scheme, "always")  ? WOQI_PREFIX_EACH
                       : yyjson_equals_str(scheme, "first") ? WOQI_PREFIX_FIRST
                                                            : WOQI_PREFIX_NONE;
    return true;
}

static enum woq_status read_pretokenizer(struct reader *r, yyjson_val *part, int depth)
{
    static const char known[] = "Sequence, ByteLevel without prefix space, Digits one by one, Metaspace that does not"
                                " split, and Split as GPT-2, Llama 3 and Qwen2 have it";
    if (!part || yyjson_is_null(part))
        return WOQ_OK;
    if (is_type(part, "Sequence") && !depth) {
        enum woq_status st = WOQ_OK;
        size_t i, n;
        yyjson_val *value;
        yyjson_arr_foreach(yyjson_obj_get(part, "pretokenizers"), i, n, value)
        {
            if (!st)
                st = read_pretokenizer(r, value, 1);
        }
        return st;
    }
    bool ok = false;
    if (is_type(part, "ByteLevel") && !r->byte_level) {
        ok = !get_bool(part, "add_prefix_space", true);
        r->regex = get_bool(part, "use_regex", true);
        r->byte_level = true;
    } else if (is_type(part, "Digits") && !r->byte_level) {
        ok = get_bool(part, "individual_digits", false);
        r->digits = true;
    } else if (is_type(part, "Split") && !r->byte_level) {
        ok = read_split(r, part);
    } else if (is_type(part, "Metaspace")) {
        ok = read_metaspace(r, part);
    }
    return ok ? WOQ_OK : refuse(r, "pre_tokenizer", part, known);
}

static enum woq_status read_pipeline(struct reader *r)
{
    enum woq_status st = read_normalizer(r, yyjson_obj_get(r->root, "normalizer"), 0);
    if (!st)
        st = read_pretokenizer(r, yyjson_obj_get(r->root, "pre_tokenizer"), 0);
    if (st)
        return st;
    struct woqi_tok_source *source = &r->source;
    source->kind = r->byte_level ? WOQI_TOK_BYTES : WOQI_TOK_CHARS;
    bool known;
    if (r->byte_level) {
        known = !r->escapes && source->prefix == WOQI_PREFIX_NONE && r->regex != r->split &&
                (!r->digits || r->regex);
        source->pre = r->split ? r->split_pre : r->digits ? WOQI_PRE_SMOLLM : WOQI_PRE_GPT2;
    } else {
        known = r->escapes && !r->digits && !r->split;
    }
    if (!known)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: normalizer and pre_tokenizer are neither a known byte-level"
                          " pre-tokenizer (%s) nor SentencePiece's",
                          source->name, woqi_tok_pre_names());
    return WOQ_OK;
}

/* ---- Begin and end of text ---- */

/* -1 for an unknown token. `value`: its text, or an object with its content. */
static int32_t find_id(const struct reader *r, yyjson_val *value)
{
    struct woq_text text =
        text_of(yyjson_is_obj(value) ? yyjson_obj_get(value, "content") : value);
    for (size_t i = 0; i < r->source.count && text.text; i++) {
        if (r->tokens[i].size == text.size && !memcmp(r->tokens[i].text, text.text, text.size) &&
            r->types[i] != WOQI_TOKEN_UNUSED)
            return (int32_t)i;
    }
    return -1;
}

/* The first item of a TemplateProcessing's template for one text; NULL without it. */
static const char *first_special(yyjson_val *part, int depth)
{
    if (is_type(part, "Sequence") && !depth) {
        size_t i, n;
        yyjson_val *value;
        yyjson_arr_foreach(yyjson_obj_get(part, "processors"), i, n, value)
        {
            const char *found = first_special(value, 1);
            if (found)
                return found;
        }
    }
    if (!is_type(part, "TemplateProcessing"))
        return NULL;
    yyjson_val *item = yyjson_arr_get_first(yyjson_obj_get(part, "single"));
    return yyjson_get_str(yyjson_obj_get(yyjson_obj_get(item, "SpecialToken"), "id"));
}

static void read_ends(struct reader *r, yyjson_val *config)
{
    struct woqi_tok_source *source = &r->source;
    int32_t bos = find_id(r, yyjson_obj_get(config, "bos_token"));
    int32_t eos = find_id(r, yyjson_obj_get(config, "eos_token"));
    source->bos = bos >= 0 ? bos : source->bos;
    source->eos = eos >= 0 ? eos : source->eos;
    const char *first = first_special(yyjson_obj_get(r->root, "post_processor"), 0);
    bool adds = first && source->bos >= 0 && (size_t)source->bos < source->count &&
                r->tokens[source->bos].size == strlen(first) &&
                !memcmp(r->tokens[source->bos].text, first, strlen(first));
    source->add_bos = get_bool(config, "add_bos_token", adds);
}

/* ---- All of it ---- */

static enum woq_status parse(const char *name, const char *which, const char *text, size_t size,
                             yyjson_doc **doc)
{
    yyjson_read_err error;
    *doc = yyjson_read_opts((char *)(uintptr_t)text, size, YYJSON_READ_NOFLAG, NULL, &error);
    if (!*doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s%s: no memory to read it", name, which);
    if (!*doc)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s%s: no JSON, at byte %zu: %s", name, which,
                          error.pos, error.msg);
    if (!yyjson_is_obj(yyjson_doc_get_root(*doc)))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s%s: no JSON object", name, which);
    return WOQ_OK;
}

enum woq_status woqi_tok_from_json(const char *name, const char *text, size_t size,
                                   const char *config, size_t config_size, int32_t bos,
                                   int32_t eos, struct woq_tokenizer **out)
{
    struct reader r = {.source = {.name = name, .bos = bos, .eos = eos, .unknown = -1}};
    yyjson_doc *doc = NULL, *config_doc = NULL;
    *out = NULL;
    enum woq_status st = parse(name, "", text, size, &doc);
    if (!st && config)
        st = parse(name, ", its tokenizer_config.json", config, config_size, &config_doc);
    if (st)
        goto done;
    r.root = yyjson_doc_get_root(doc);
    st = read_pipeline(&r);
    if (!st)
        st = read_model(&r);
    if (st)
        goto done;
    read_ends(&r, config ? yyjson_doc_get_root(config_doc) : NULL);
    st = woqi_tok_build(&r.source, out);
done:
    free(r.tokens);
    free(r.types);
    free(r.strips);
    free(r.pairs);
    yyjson_doc_free(doc);
    yyjson_doc_free(config_doc);
    return st;
}
