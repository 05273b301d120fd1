/*
 * fuzz_tokenizer.c: whatever bytes a tokenizer's file or a text has.
 *
 * Bytes that begin with "GGUF" or "{" are a model file or a tokenizer.json: refused with a message, or a tokenizer
 * that encodes and decodes. All others are a text, the first byte of which picks a vocabulary made here, flags and
 * pre-tokenizer. Ids must lie in the vocabulary; byte-level ones give back the text, as valid UTF-8.
 */
#include "fuzz_files.h"

#include "tokenizer/tokenizer_impl.h"

enum { MERGES = 12, SPECIALS = 4, TOKENS = 256 + MERGES + SPECIALS };

static const char *const merges[MERGES][2] = {{"t", "h"}, {"th", "e"}, {"\xc4\xa0", "the"}, {"1", "2"},
                                              {"12", "1"}, {"a", "a"}, {"aa", "a"}, {"aa", "aa"},
                                              {"\xc4\xa0", "\xc4\xa0"}, {"\xc3\xa2", "\xc4\xa2"},
                                              {"'", "s"}, {"\xc4\x8a", "\xc4\x8a"}};
static const char *const specials[SPECIALS] = {"<s>", "<s><s>", "<|a|>", "  "};

/* GPT-2's spelling of a byte. */
static size_t spell(unsigned byte, char *to)
{
    unsigned code = byte;
    if (byte < 33)
        code = 256 + byte;
    else if (byte >= 127 && byte < 161)
        code = 256 + 33 + byte - 127;
    else if (byte == 173)
        code = 256 + 67;
    if (code < 0x80)
        return to[0] = (char)code, 1;
    return to[0] = (char)(0xc0 | code >> 6), to[1] = (char)(0x80 | (code & 63)), 2;
}

static struct woq_tokenizer *make(enum woqi_tok_kind kind, enum woqi_tok_pre pre)
{
    static char spelled[TOKENS][16];
    struct woq_text tokens[TOKENS];
    int32_t types[TOKENS];
    float scores[TOKENS];
    uint8_t strips[TOKENS] = {0};
    struct woqi_tok_pair pairs[MERGES];
    for (unsigned i = 0; i < TOKENS; i++) {
        size_t size;
        types[i] = WOQI_TOKEN_NORMAL;
        scores[i] = -(float)i;
        if (i < 256 && kind == WOQI_TOK_CHARS) {
            size = (size_t)snprintf(spelled[i], sizeof spelled[i], "<0x%02X>", i);
            types[i] = WOQI_TOKEN_BYTE;
        } else if (i < 256) {
            size = spell(i, spelled[i]);
        } else if (i < 256 + MERGES) {
            const char *const *pair = merges[i - 256];
            size = (size_t)snprintf(spelled[i], sizeof spelled[i], "%s%s", pair[0], pair[1]);
            pairs[i - 256] = (struct woqi_tok_pair){{pair[0], strlen(pair[0])}, {pair[1], strlen(pair[1])}};
        } else {
            const char *name = specials[i - 256 - MERGES];
            size = (size_t)snprintf(spelled[i], sizeof spelled[i], "%s", name);
            types[i] = i == TOKENS - 1 ? WOQI_TOKEN_USER : WOQI_TOKEN_CONTROL;
            strips[i] = (uint8_t)(kind == WOQI_TOK_CHARS ? i & 3 : 0);
        }
        tokens[i] = (struct woq_text){spelled[i], size};
    }
    const bool chars = kind == WOQI_TOK_CHARS;
    const struct woqi_tok_source source = {
        .name = "fuzz", .kind = kind, .pre = pre, .prefix = chars ? WOQI_PREFIX_EACH : WOQI_PREFIX_NONE,
        .ignore_merges = pre == WOQI_PRE_LLAMA3, .count = TOKENS, .tokens = tokens, .types = types,
        .strips = strips, .scores = chars ? scores : NULL, .merges = chars ? NULL : pairs,
        .merge_count = chars ? 0 : MERGES, .bos = TOKENS - SPECIALS, .eos = -1, .unknown = -1};
    struct woq_tokenizer *t;
    if (woqi_tok_build(&source, &t))
        abort();
    return t;
}

static void encode(const struct woq_tokenizer *t, const char *text, size_t size, uint32_t flags, bool exact)
{
    int32_t *ids;
    size_t count, decoded_size, clean_size;
    char *decoded;
    if (woq_tokenizer_encode(t, text, size, flags, &ids, &count))
        abort();
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= woq_tokenizer_vocabulary(t))
            abort();
    if (woq_tokenizer_decode(t, ids, count, &decoded, &decoded_size) || decoded[decoded_size])
        abort();
    char *clean = woqi_tok_clean(text, size, &clean_size);
    if (!clean || (exact && (clean_size != decoded_size || memcmp(clean, decoded, clean_size))))
        abort();
    free(clean);
    free(ids);
    free(decoded);
}

static void use_tokenizer(enum woq_status st, struct woq_tokenizer *t)
{
    static const char text[] = "The the 1212 aaaaa\n\n 's <s><s> <|a|>\xf0\x9f\xa6\x99 \xff\xe2\x96\x81 x";
    if (st) {
        if (t)
            abort();
        fuzz_refused();
        return;
    }
    encode(t, text, sizeof text, 0, false);
    encode(t, text, sizeof text, WOQ_ENCODE_SPECIAL | WOQ_ENCODE_BOS, false);
    woq_tokenizer_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct woq_tokenizer *own[WOQI_PRE_COUNT + 1];
    const char *text = (const char *)data;
    struct woq_tokenizer *t = NULL;
    struct woq_checkpoint *c;
    if (!size)
        return 0;
    if (size >= 4 && !memcmp(text, "GGUF", 4)) {
        if (!woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, data, size, &c)) {
            fuzz_checkpoint(c);
            enum woq_status st = woq_tokenizer_create(c, &t);
            use_tokenizer(st, t);
        }
        woq_checkpoint_close(&c);
    } else if (text[0] == '{') {
        enum woq_status st = woqi_tok_from_json("fuzz", text, size, NULL, 0, -1, -1, &t);
        use_tokenizer(st, t);
    } else {
        const unsigned which = data[0] % (WOQI_PRE_COUNT + 1), flags = data[0] / 8 & 3;
        const bool chars = which == WOQI_PRE_COUNT;
        if (!own[which])
            own[which] = make(chars ? WOQI_TOK_CHARS : WOQI_TOK_BYTES, chars ? 0 : (enum woqi_tok_pre)which);
        encode(own[which], text + 1, size - 1, flags, !chars && !flags);
    }
    return 0;
}
