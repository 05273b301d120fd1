/*
 * ct_tokenizer.c: tokenizer.json and tokenizer_config.json from a GGUF file's vocabulary, in the form that the
 * package `tokenizers` reads: byte-level BPE with a known pre-tokenizer, or SentencePiece-style BPE, whose merges
 * follow from its pieces and scores (sp_merges.c).
 */
#include "quantizer.h"
#include "sp_merges.h"

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#define KEY(name) "tokenizer.ggml." name

enum { TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER = 4 }; /* GGUF's token_type */

static const char llama3_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Pre-tokenizers by the name that llama.cpp's converter gave them. */
static const struct pre {
    const char *name;
    const char *words; /* NULL: GPT-2's own expression */
    bool digits, nfc, ignore_merges;
} pres[] = {{"gpt-2", NULL, false, false, false},
            {"gpt2", NULL, false, false, false},
            {"smollm", NULL, true, false, false},
            {"llama-bpe", llama3_words, false, false, true},
            {"llama3", llama3_words, false, false, true},
            {"llama-v3", llama3_words, false, false, true},
            {"qwen2", qwen2_words, false, true, false}};

struct vocabulary {
    const struct woq_checkpoint *c;
    yyjson_mut_doc *doc;
    const struct woq_text *tokens;
    const int32_t *types; /* NULL = all normal */
    const float *scores;
    size_t count;
    const struct pre *pre; /* NULL: SentencePiece-style */
    int32_t bos, eos, unknown, padding;
    bool add_bos, add_space;
};

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for tokenizer.json");
}

static enum woq_status fail(const struct vocabulary *v, enum woq_status status, const char *what)
{
    return woq_report(status, "%s: %s", woq_checkpoint_path(v->c), what);
}

static int32_t token_id(const struct vocabulary *v, const char *key)
{
    uint64_t id;
    return woq_checkpoint_get_uint(v->c, key, &id) && id < v->count ? (int32_t)id : -1;
}

static enum woq_status read_kind(struct vocabulary *v)
{
    const char *text;
    size_t size;
    if (!woq_checkpoint_get_string(v->c, KEY("model"), &text, &size))
        return fail(v, WOQ_ERROR_INVALID_DATA, KEY("model") " is missing");
    if (size == 5 && !memcmp(text, "llama", 5))
        return WOQ_OK;
    if (size != 4 || memcmp(text, "gpt2", 4))
        return fail(v, WOQ_ERROR_UNSUPPORTED, KEY("model") " must be gpt2 or llama for tokenizer.json to be written");
    if (!woq_checkpoint_get_string(v->c, KEY("pre"), &text, &size))
        return fail(v, WOQ_ERROR_UNSUPPORTED, KEY("pre") " is missing, so the pre-tokenizer is not known");
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (size == strlen(pres[i].name) && !memcmp(text, pres[i].name, size))
            v->pre = &pres[i];
    if (!v->pre)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: " KEY("pre") " is '%.*s'; known are gpt-2, smollm, llama-bpe, qwen2",
                          woq_checkpoint_path(v->c), size < 60 ? (int)size : 60, text);
    return WOQ_OK;
}

static enum woq_status read_vocabulary(struct vocabulary *v)
{
    size_t types = 0, scores = 0;
    enum woq_status st = read_kind(v);
    if (st)
        return st;
    if (!woq_checkpoint_get_strings(v->c, KEY("tokens"), &v->tokens, &v->count) || !v->count)
        return fail(v, WOQ_ERROR_INVALID_DATA, KEY("tokens") " is missing");
    if (woq_checkpoint_get_ints(v->c, KEY("token_type"), &v->types, &types) && types != v->count)
        return fail(v, WOQ_ERROR_INVALID_DATA, KEY("token_type") " and tokens differ in length");
    if (!v->pre && (!woq_checkpoint_get_floats(v->c, KEY("scores"), &v->scores, &scores) || scores != v->count))
        return fail(v, WOQ_ERROR_INVALID_DATA, KEY("scores") " is missing or differs from tokens in length");
    v->bos = token_id(v, KEY("bos_token_id"));
    v->eos = token_id(v, KEY("eos_token_id"));
    v->unknown = token_id(v, KEY("unknown_token_id"));
    v->padding = token_id(v, KEY("padding_token_id"));
    v->add_bos = !v->pre;
    woq_checkpoint_get_bool(v->c, KEY("add_bos_token"), &v->add_bos);
    v->add_bos = v->add_bos && v->bos >= 0;
    v->add_space = true;
    woq_checkpoint_get_bool(v->c, KEY("add_space_prefix"), &v->add_space);
    return WOQ_OK;
}

static bool add_text(const struct vocabulary *v, yyjson_mut_val *object, const char *key, int32_t id)
{
    return id < 0 || yyjson_mut_obj_add_strn(v->doc, object, key, v->tokens[id].text, v->tokens[id].size);
}

static yyjson_mut_val *typed(const struct vocabulary *v, const char *type)
{
    yyjson_mut_val *object = yyjson_mut_obj(v->doc);
    return yyjson_mut_obj_add_str(v->doc, object, "type", type) ? object : NULL;
}

/* {"type": "Sequence", key: [a, b]}; b may be absent. */
static yyjson_mut_val *sequence(const struct vocabulary *v, const char *key, yyjson_mut_val *const *parts, size_t count)
{
    yyjson_mut_val *object = typed(v, "Sequence"), *list = yyjson_mut_arr(v->doc);
    bool fine = yyjson_mut_obj_add_val(v->doc, object, key, list);
    for (size_t i = 0; i < count && fine; i++)
        fine = yyjson_mut_arr_append(list, parts[i]);
    return fine ? object : NULL;
}

static yyjson_mut_val *byte_level(const struct vocabulary *v, bool trim, bool regex)
{
    yyjson_mut_val *object = typed(v, "ByteLevel");
    bool fine = yyjson_mut_obj_add_bool(v->doc, object, "add_prefix_space", false) &&
                yyjson_mut_obj_add_bool(v->doc, object, "trim_offsets", trim) &&
                yyjson_mut_obj_add_bool(v->doc, object, "use_regex", regex);
    return fine ? object : NULL;
}

/* {"type": "Replace", "pattern": {"String": from}, "content": to} */
static yyjson_mut_val *replace(const struct vocabulary *v, const char *from, const char *to)
{
    yyjson_mut_val *object = typed(v, "Replace"), *pattern = yyjson_mut_obj(v->doc);
    bool fine = yyjson_mut_obj_add_str(v->doc, pattern, "String", from) &&
                yyjson_mut_obj_add_val(v->doc, object, "pattern", pattern) &&
                yyjson_mut_obj_add_str(v->doc, object, "content", to);
    return fine ? object : NULL;
}

static yyjson_mut_val *pre_tokenizer(const struct vocabulary *v)
{
    if (!v->pre)
        return yyjson_mut_null(v->doc);
    yyjson_mut_val *bytes = byte_level(v, true, !v->pre->words), *first = NULL;
    bool fine = true;
    if (v->pre->words) {
        yyjson_mut_val *pattern = yyjson_mut_obj(v->doc);
        first = typed(v, "Split");
        fine = yyjson_mut_obj_add_str(v->doc, pattern, "Regex", v->pre->words) &&
               yyjson_mut_obj_add_val(v->doc, first, "pattern", pattern) &&
               yyjson_mut_obj_add_str(v->doc, first, "behavior", "Isolated") &&
               yyjson_mut_obj_add_bool(v->doc, first, "invert", false);
    } else if (v->pre->digits) {
        first = typed(v, "Digits");
        fine = yyjson_mut_obj_add_bool(v->doc, first, "individual_digits", true);
    }
    if (!first)
        return bytes;
    return fine ? sequence(v, "pretokenizers", (yyjson_mut_val *[]){first, bytes}, 2) : NULL;
}

static yyjson_mut_val *normalizer(const struct vocabulary *v)
{
    if (v->pre)
        return v->pre->nfc ? typed(v, "NFC") : yyjson_mut_null(v->doc);
    yyjson_mut_val *spaces = replace(v, " ", "\xe2\x96\x81");
    if (!v->add_space)
        return spaces;
    yyjson_mut_val *prepend = typed(v, "Prepend");
    bool fine = yyjson_mut_obj_add_str(v->doc, prepend, "prepend", "\xe2\x96\x81");
    return fine ? sequence(v, "normalizers", (yyjson_mut_val *[]){prepend, spaces}, 2) : NULL;
}

static yyjson_mut_val *decoder(const struct vocabulary *v)
{
    if (v->pre)
        return byte_level(v, true, true);
    yyjson_mut_val *strip = typed(v, "Strip");
    bool fine = yyjson_mut_obj_add_str(v->doc, strip, "content", " ") &&
                yyjson_mut_obj_add_uint(v->doc, strip, "start", 1) && yyjson_mut_obj_add_uint(v->doc, strip, "stop", 0);
    yyjson_mut_val *parts[] = {replace(v, "\xe2\x96\x81", " "), typed(v, "ByteFallback"), typed(v, "Fuse"), strip};
    return fine ? sequence(v, "decoders", parts, v->add_space ? 4 : 3) : NULL;
}

/* {name: {"id": text or sequence, "type_id": 0}} */
static yyjson_mut_val *piece(const struct vocabulary *v, const char *name, yyjson_mut_val *id, uint64_t type)
{
    yyjson_mut_val *object = yyjson_mut_obj(v->doc), *inner = yyjson_mut_obj(v->doc);
    bool fine = yyjson_mut_obj_add_val(v->doc, inner, "id", id) &&
                yyjson_mut_obj_add_uint(v->doc, inner, "type_id", type) &&
                yyjson_mut_obj_add_val(v->doc, object, name, inner);
    return fine ? object : NULL;
}

/* The beginning of a text in front of each of its sequences. */
static yyjson_mut_val *post_processor(const struct vocabulary *v)
{
    if (!v->add_bos)
        return v->pre ? byte_level(v, false, true) : yyjson_mut_null(v->doc);
    const struct woq_text *bos = &v->tokens[v->bos];
    yyjson_mut_doc *doc = v->doc;
    yyjson_mut_val *object = typed(v, "TemplateProcessing"), *single = yyjson_mut_arr(doc), *pair = yyjson_mut_arr(doc);
    yyjson_mut_val *special = yyjson_mut_obj(doc), *entry = yyjson_mut_obj(doc), *ids = yyjson_mut_arr(doc);
    yyjson_mut_val *names = yyjson_mut_arr(doc);
    bool fine = true;
    for (uint64_t i = 0; i < 3 && fine; i++) {
        yyjson_mut_val *list = i ? pair : single;
        uint64_t type = i == 2;
        fine = yyjson_mut_arr_append(
                   list, piece(v, "SpecialToken", yyjson_mut_strn(doc, bos->text, bos->size), type)) &&
               yyjson_mut_arr_append(list, piece(v, "Sequence", yyjson_mut_str(doc, type ? "B" : "A"), type));
    }
    fine = fine && yyjson_mut_arr_add_int(doc, ids, v->bos) &&
           yyjson_mut_arr_add_strn(doc, names, bos->text, bos->size) &&
           yyjson_mut_obj_add_strn(doc, entry, "id", bos->text, bos->size) &&
           yyjson_mut_obj_add_val(doc, entry, "ids", ids) && yyjson_mut_obj_add_val(doc, entry, "tokens", names) &&
           yyjson_mut_obj_add(special, yyjson_mut_strn(doc, bos->text, bos->size), entry) &&
           yyjson_mut_obj_add_val(doc, object, "single", single) && yyjson_mut_obj_add_val(doc, object, "pair", pair) &&
           yyjson_mut_obj_add_val(doc, object, "special_tokens", special);
    return fine ? object : NULL;
}

static yyjson_mut_val *added_tokens(const struct vocabulary *v)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    yyjson_mut_val *list = yyjson_mut_arr(v->doc);
    bool fine = list;
    for (size_t i = 0; i < v->count && v->types && fine; i++) {
        int32_t type = v->types[i];
        if (type != TOKEN_UNKNOWN && type != TOKEN_CONTROL && type != TOKEN_USER)
            continue;
        yyjson_mut_val *entry = yyjson_mut_obj(v->doc);
        fine = yyjson_mut_obj_add_uint(v->doc, entry, "id", i) && add_text(v, entry, "content", (int32_t)i);
        for (size_t f = 0; f < 4 && fine; f++)
            fine = yyjson_mut_obj_add_bool(v->doc, entry, flags[f], false);
        fine = fine && yyjson_mut_obj_add_bool(v->doc, entry, "special", type != TOKEN_USER) &&
               yyjson_mut_arr_append(list, entry);
    }
    return fine ? list : NULL;
}

/* Byte-level merges stand in the file; SentencePiece's are found. */
static enum woq_status add_merges(const struct vocabulary *v, yyjson_mut_val *list)
{
    const struct woq_text *merges;
    size_t count;
    bool fine = true;
    if (v->pre) {
        if (!woq_checkpoint_get_strings(v->c, KEY("merges"), &merges, &count))
            return fail(v, WOQ_ERROR_INVALID_DATA, KEY("merges") " is missing");
        for (size_t i = 0; i < count && fine; i++)
            fine = yyjson_mut_arr_add_strn(v->doc, list, merges[i].text, merges[i].size);
        return fine ? WOQ_OK : no_memory();
    }
    struct woqi_sp_merge *found = NULL;
    enum woq_status st = woqi_sp_merges(v->tokens, v->types, v->scores, v->count, &found, &count);
    for (size_t i = 0; i < count && !st && fine; i++) {
        yyjson_mut_val *pair = yyjson_mut_arr(v->doc);
        const struct woq_text *left = &v->tokens[found[i].left], *right = &v->tokens[found[i].right];
        fine = yyjson_mut_arr_add_strn(v->doc, pair, left->text, left->size) &&
               yyjson_mut_arr_add_strn(v->doc, pair, right->text, right->size) && yyjson_mut_arr_append(list, pair);
    }
    free(found);
    return st ? st : fine ? WOQ_OK : no_memory();
}

static enum woq_status model(const struct vocabulary *v, yyjson_mut_val *root)
{
    yyjson_mut_doc *doc = v->doc;
    yyjson_mut_val *object = typed(v, "BPE"), *words = yyjson_mut_obj(doc), *merges = yyjson_mut_arr(doc);
    bool fine = yyjson_mut_obj_add_null(doc, object, "dropout") &&
                (v->pre || v->unknown < 0 ? yyjson_mut_obj_add_null(doc, object, "unk_token")
                                          : add_text(v, object, "unk_token", v->unknown)) &&
                yyjson_mut_obj_add_null(doc, object, "continuing_subword_prefix") &&
                yyjson_mut_obj_add_null(doc, object, "end_of_word_suffix") &&
                yyjson_mut_obj_add_bool(doc, object, "fuse_unk", !v->pre) &&
                yyjson_mut_obj_add_bool(doc, object, "byte_fallback", !v->pre) &&
                yyjson_mut_obj_add_bool(doc, object, "ignore_merges", v->pre && v->pre->ignore_merges) &&
                yyjson_mut_obj_add_val(doc, object, "vocab", words) &&
                yyjson_mut_obj_add_val(doc, object, "merges", merges) &&
                yyjson_mut_obj_add_val(doc, root, "model", object);
    for (size_t i = 0; i < v->count && fine; i++)
        fine = yyjson_mut_obj_add(words, yyjson_mut_strn(doc, v->tokens[i].text, v->tokens[i].size),
                                  yyjson_mut_uint(doc, i));
    return fine ? add_merges(v, merges) : no_memory();
}

static enum woq_status write_tokenizer(struct vocabulary *v, struct woqi_atomic_dir *dir)
{
    yyjson_mut_val *root = yyjson_mut_obj(v->doc);
    yyjson_mut_doc_set_root(v->doc, root);
    bool fine = yyjson_mut_obj_add_str(v->doc, root, "version", "1.0") &&
                yyjson_mut_obj_add_null(v->doc, root, "truncation") &&
                yyjson_mut_obj_add_null(v->doc, root, "padding") &&
                yyjson_mut_obj_add_val(v->doc, root, "added_tokens", added_tokens(v)) &&
                yyjson_mut_obj_add_val(v->doc, root, "normalizer", normalizer(v)) &&
                yyjson_mut_obj_add_val(v->doc, root, "pre_tokenizer", pre_tokenizer(v)) &&
                yyjson_mut_obj_add_val(v->doc, root, "post_processor", post_processor(v)) &&
                yyjson_mut_obj_add_val(v->doc, root, "decoder", decoder(v));
    enum woq_status st = fine ? model(v, root) : no_memory();
    return st ? st : woqi_atomic_dir_json(dir, "tokenizer.json", v->doc);
}

static enum woq_status write_tokenizer_config(struct vocabulary *v, const struct woqi_plan *plan,
                                              struct woqi_atomic_dir *dir)
{
    static const char chat[] = "tokenizer.chat_template";
    const char *text;
    size_t size;
    yyjson_mut_val *root = yyjson_mut_obj(v->doc);
    yyjson_mut_doc_set_root(v->doc, root);
    bool fine = yyjson_mut_obj_add_str(v->doc, root, "tokenizer_class", "PreTrainedTokenizerFast") &&
                yyjson_mut_obj_add_bool(v->doc, root, "add_bos_token", v->add_bos) &&
                add_text(v, root, "bos_token", v->bos) && add_text(v, root, "eos_token", v->eos) &&
                add_text(v, root, "unk_token", v->unknown) && add_text(v, root, "pad_token", v->padding) &&
                yyjson_mut_obj_add_uint(v->doc, root, "model_max_length", plan->config.context) &&
                yyjson_mut_obj_add_bool(v->doc, root, "clean_up_tokenization_spaces", false);
    if (fine && woq_checkpoint_get_string(v->c, chat, &text, &size))
        fine = yyjson_mut_obj_add_strn(v->doc, root, "chat_template", text, size);
    return fine ? woqi_atomic_dir_json(dir, "tokenizer_config.json", v->doc) : no_memory();
}

enum woq_status woqi_ct_write_tokenizer(const struct woqi_plan *plan, struct woqi_atomic_dir *dir)
{
    struct vocabulary v = {.c = plan->checkpoint};
    enum woq_status st = read_vocabulary(&v);
    if (st)
        return st;
    if (!(v.doc = yyjson_mut_doc_new(NULL)))
        return no_memory();
    st = write_tokenizer(&v, dir);
    if (!st)
        st = write_tokenizer_config(&v, plan, dir);
    yyjson_mut_doc_free(v.doc);
    return st;
}
