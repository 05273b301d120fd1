/*
 * pretokenize.c: byte-level tokenizers cut a text into words first, by regular expressions.
 *
 * A pre-tokenizer has one or two stages. A stage cuts its text into matches and what lies between them; each piece
 * is a text of its own for the next stage, which does not look past its ends; the pieces of the last are words.
 *
 * Sources: GPT-2's encoder (openai/gpt-2, encoder.py) and the tokenizer.json of SmolLM2, Llama 3 and Qwen2. White
 * space is spelled out because PCRE2's \s has U+180E, which Unicode's White_Space has not.
 */
#include "tokenizer_impl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"             \
    "\\x{202f}\\x{205f}\\x{3000}"
/* White space up to the last before a word, which takes one along. */
#define GAP "[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+"
#define GPT2_WORDS                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+|" GAP
#define LLAMA3_WORDS(digits)                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" SPACES            \
    "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACES "]*[\\r\\n]+|" GAP

/* The same as tokenizer.json files have them. */
#define SPLIT_GPT2                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPLIT_LLAMA3(digits)                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *name, *other_names[2];
    const char *split; /* NULL: not by one expression */
    const char *stages[WOQI_PRE_STAGES];
} pre_table[WOQI_PRE_COUNT] = {
    [WOQI_PRE_GPT2] = {"gpt-2", {NULL, NULL}, SPLIT_GPT2, {GPT2_WORDS, NULL}},
    [WOQI_PRE_SMOLLM] = {"smollm", {NULL, NULL}, NULL, {"\\p{N}", GPT2_WORDS}},
    [WOQI_PRE_LLAMA3] = {"llama-bpe",
                         {"llama3", "llama-v3"},
                         SPLIT_LLAMA3("\\p{N}{1,3}"),
                         {LLAMA3_WORDS("\\p{N}{1,3}"), NULL}},
    [WOQI_PRE_QWEN2] =
        {"qwen2", {NULL, NULL}, SPLIT_LLAMA3("\\p{N}"), {LLAMA3_WORDS("\\p{N}"), NULL}},
};

struct woqi_tok_patterns {
    pcre2_code *stages[WOQI_PRE_STAGES];
    pcre2_match_context *context;
};

static bool equal(const char *text, const char *name, size_t size)
{
    return text && strlen(text) == size && !memcmp(text, name, size);
}

bool woqi_tok_pre_by_name(const char *name, size_t size, enum woqi_tok_pre *out)
{
    for (int i = 0; i < WOQI_PRE_COUNT; i++) {
        if (equal(pre_table[i].name, name, size) ||
            equal(pre_table[i].other_names[0], name, size) ||
            equal(pre_table[i].other_names[1], name, size)) {
            *out = (enum woqi_tok_pre)i;
            return true;
        }
    }
    return false;
}

bool woqi_tok_pre_by_split(const char *regex, size_t size, enum woqi_tok_pre *out)
{
    for (int i = 0; i < WOQI_PRE_COUNT; i++) {
        if (equal(pre_table[i].split, regex, size)) {
            *out = (enum woqi_tok_pre)i;
            return true;
        }
    }
    return false;
}

const char *woqi_tok_pre_names(void)
{
    return "gpt-2, smollm, llama-bpe, qwen2";
}

void woqi_tok_free_patterns(struct woqi_tok_patterns *patterns)
{
    if (!patterns)
        return;
    for (int i = 0; i < WOQI_PRE_STAGES; i++)
        pcre2_code_free(patterns->stages[i]);
    pcre2_match_context_free(patterns->context);
    free(patterns);
}

enum woq_status woqi_tok_compile(enum woqi_tok_pre pre, struct woqi_tok_patterns **out)
{
    struct woqi_tok_patterns *patterns = calloc(1, sizeof *patterns);
    if (!patterns)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "tokenizer: no memory for its patterns");
    patterns->context = pcre2_match_context_create(NULL);
    bool ok = patterns->context != NULL;
    int error = PCRE2_ERROR_NOMEMORY;
    for (int i = 0; i < WOQI_PRE_STAGES && ok && pre_table[pre].stages[i]; i++) {
        PCRE2_SIZE offset;
        patterns->stages[i] =
            pcre2_compile((PCRE2_SPTR)pre_table[pre].stages[i], PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
        ok = patterns->stages[i] != NULL;
    }
    if (!ok) {
        woqi_tok_free_patterns(patterns);
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "tokenizer: PCRE2 cannot compile a pattern: %d",
                          error);
    }
    /* The patterns backtrack one character at a time in runs of white space, as long as those are; the default
     * limit would be an error for runs beyond ten million. */
    pcre2_set_match_limit(patterns->context, UINT32_MAX);
    *out = patterns;
    return WOQ_OK;
}

static enum woq_status cut(struct woqi_tok_run *run, int stage, const char *text, size_t size)
{
    const struct woqi_tok_patterns *patterns = run->t->patterns;
    if (stage == WOQI_PRE_STAGES || !patterns->stages[stage])
        return woqi_tok_word(run, text, size);
    if (!run->match[stage])
        run->match[stage] = pcre2_match_data_create(1, NULL);
    if (!run->match[stage])
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "tokenizer: no memory for matching");
    enum woq_status st = WOQ_OK;
    size_t done = 0;
    while (done < size && !st) {
        int found = pcre2_match(patterns->stages[stage], (PCRE2_SPTR)text, size, done,
                                PCRE2_NO_UTF_CHECK, run->match[stage], patterns->context);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "tokenizer: PCRE2 gave up matching: %d",
                              found);
        size_t begin = size, end = size;
        if (found >= 0) {
            const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(run->match[stage]);
            begin = ends[0];
            end = ends[1];
        }
        if (begin > done)
            st = cut(run, stage + 1, text + done, begin - done);
        if (!st && end > begin)
            st = cut(run, stage + 1, text + begin, end - begin);
        done = end;
    }
    return st;
}

enum woq_status woqi_tok_words(struct woqi_tok_run *run, const char *text, size_t size)
{
    return cut(run, 0, text, size);
}

void woqi_tok_run_release(struct woqi_tok_run *run)
{
    free(run->symbols);
    free(run->heap);
    for (int i = 0; i < WOQI_PRE_STAGES; i++)
        pcre2_match_data_free(run->match[i]);
}
