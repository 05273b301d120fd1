/*
 * tokenizer_impl.h: what the parts of the tokenizer share.
 *
 * A reader (tokenizer_gguf.c, tokenizer_json.c) describes a vocabulary as a struct woqi_tok_source of borrowed
 * arrays; woqi_tok_build makes the tokenizer of it. Encoding goes text -> valid UTF-8 (utf8_clean.c) -> text between
 * special tokens (special_tokens.c) -> words (pretokenize.c; byte-level only) -> ids (bpe.c).
 *
 * Inside, tokens are the bytes that they stand for: byte-level tokens are translated back from the printable
 * characters that files spell them with, and SentencePiece's U+2581 becomes a space, in tokens as in texts.
 */
#ifndef WOQI_TOKENIZER_IMPL_H
#define WOQI_TOKENIZER_IMPL_H

#include <woq/tokenizer.h>

enum woqi_tok_kind {
    WOQI_TOK_BYTES = 1, /* byte-level BPE: merges by rank, inside words */
    WOQI_TOK_CHARS      /* SentencePiece-style: merges of characters in a whole text, byte fallback */
};

/* Rows of the table in pretokenize.c. */
enum woqi_tok_pre {
    WOQI_PRE_GPT2,
    WOQI_PRE_SMOLLM,
    WOQI_PRE_LLAMA3,
    WOQI_PRE_QWEN2,
    WOQI_PRE_COUNT
};
enum { WOQI_PRE_STAGES = 2 };

/* Where SentencePiece-style tokenizers put a space in front. */
enum woqi_tok_prefix {
    WOQI_PREFIX_NONE,
    WOQI_PREFIX_FIRST, /* the text, unless a special token comes first */
    WOQI_PREFIX_EACH   /* the text, and what follows a special token */
};

/* GGUF's numbers (llama.cpp, enum llama_token_type). */
enum woqi_tok_type {
    WOQI_TOKEN_NORMAL = 1,
    WOQI_TOKEN_UNKNOWN,
    WOQI_TOKEN_CONTROL,
    WOQI_TOKEN_USER, /* found in any text before all else */
    WOQI_TOKEN_UNUSED,
    WOQI_TOKEN_BYTE
};

/* White space that a special token swallows. */
enum { WOQI_STRIP_LEFT = 1, WOQI_STRIP_RIGHT = 2 };

struct woqi_tok_pair {
    struct woq_text left, right;
};

/* A vocabulary as files spell it. Everything is borrowed for the call of woqi_tok_build. */
struct woqi_tok_source {
    const char *name; /* of the file, for messages */
    enum woqi_tok_kind kind;
    enum woqi_tok_pre pre;
    enum woqi_tok_prefix prefix;
    bool prefix_unless_space; /* no prefix for what begins with a space */
    bool ignore_merges;       /* a word that is a token becomes it, whatever the merges say */
    bool nfc;                 /* canonical composition of what is no special token */
    bool fuse_unknown;        /* neighbouring unknown tokens become one */
    bool add_bos;
    size_t count;
    const struct woq_text *tokens;
    const int32_t *types;  /* NULL = all normal, but SentencePiece's "<0x00>" and so on */
    const uint8_t *strips; /* WOQI_STRIP_*; NULL = none */
    const float *scores;   /* SentencePiece-style without merges: the higher, the earlier */
    size_t merge_count;
    const struct woqi_tok_pair *merges; /* the earlier, the sooner */
    int32_t bos, eos, unknown;          /* -1 = none */
};

enum woq_status woqi_tok_build(const struct woqi_tok_source *source, struct woq_tokenizer **out);

/* ---- The tokenizer ---- */
struct woqi_tok_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank;
    int32_t result; /* -1 = free slot */
};

struct woqi_tok_special {
    size_t offset, size; /* in special_bytes */
    int32_t id;
    bool user;      /* of type USER: needs no WOQ_ENCODE_SPECIAL */
    uint8_t strips; /* WOQI_STRIP_* */
};

struct woqi_tok_patterns; /* compiled, pretokenize.c */

struct woq_tokenizer {
    enum woqi_tok_kind kind;
    enum woqi_tok_prefix prefix;
    bool prefix_unless_space, ignore_merges, nfc, fuse_unknown, add_bos;
    int32_t bos, eos, unknown;
    size_t count;
    char *bytes;         /* of all tokens */
    size_t *offsets;     /* count + 1 */
    uint8_t *types;      /* enum woqi_tok_type */
    uint32_t *keys;      /* SentencePiece-style without merges: the lower, the earlier; else NULL */
    uint32_t *slots;     /* open hash of tokens by bytes: id + 1, 0 = free */
    size_t slot_mask;
    struct woqi_tok_merge *merges; /* open hash by pair; NULL = merged by keys */
    size_t merge_mask;
    int32_t byte_ids[256]; /* -1 = none */
    struct woqi_tok_special *specials; /* sorted by bytes */
    size_t special_count;
    char *special_bytes;
    bool special_first[256]; /* some special token begins with this byte */
    struct woqi_tok_patterns *patterns;
};

/* Token with these bytes that merging may give; -1 = none. */
int32_t woqi_tok_find(const struct woq_tokenizer *t, const char *bytes, size_t size);
/* NULL = no such merge. */
const struct woqi_tok_merge *woqi_tok_find_merge(const struct woq_tokenizer *t, int32_t left,
                                                 int32_t right);

/* ---- utf8_clean.c ---- */
/* Bytes of the well-formed sequence at `text`; 0 = none. *code may be NULL. */
size_t woqi_tok_utf8(const char *text, size_t size, uint32_t *code);
/* Unicode's White_Space. */
bool woqi_tok_is_space(uint32_t code);
/* Malloc'ed copy in which each byte outside a well-formed sequence has become U+FFFD; NULL = no memory. */
char *woqi_tok_clean(const char *text, size_t size, size_t *out_size);
/* Byte-level spelling to bytes, into `out` of at least `size` bytes; returns how many. Text with a character that
 * spells no byte is copied as it is. */
size_t woqi_tok_unspell(const char *text, size_t size, char *out);
/* U+2581 to space, into `out` of at least `size` bytes; returns how many. */
size_t woqi_tok_unescape(const char *text, size_t size, char *out);

/* ---- special_tokens.c ---- */
enum woq_status woqi_tok_build_specials(struct woq_tokenizer *t,
                                        const struct woqi_tok_source *source);
/* The longest special token at the first place at or after `from` where there is one; *at is that place. NULL, and
 * *at = size, if there is none. all: not only those of type USER. */
const struct woqi_tok_special *woqi_tok_next_special(const struct woq_tokenizer *t,
                                                     const char *text, size_t size, size_t from,
                                                     bool all, size_t *at);

/* ---- pretokenize.c ---- */
/* GGUF's tokenizer.ggml.pre; false if unknown. */
bool woqi_tok_pre_by_name(const char *name, size_t size, enum woqi_tok_pre *out);
/* The regular expression of a tokenizer.json's Split; false if unknown. */
bool woqi_tok_pre_by_split(const char *regex, size_t size, enum woqi_tok_pre *out);
/* "gpt-2, smollm, …" */
const char *woqi_tok_pre_names(void);
enum woq_status woqi_tok_compile(enum woqi_tok_pre pre, struct woqi_tok_patterns **out);
void woqi_tok_free_patterns(struct woqi_tok_patterns *patterns);

/* ---- One call of encode ---- */
struct woqi_tok_symbol;
struct woqi_tok_candidate;
struct woqi_tok_run {
    const struct woq_tokenizer *t;
    int32_t *ids;
    size_t count, capacity;
    bool after_unknown; /* the last id is an unknown token of this word's */
    struct woqi_tok_symbol *symbols;
    size_t symbol_capacity;
    struct woqi_tok_candidate *heap;
    size_t heap_count, heap_capacity;
    void *match[WOQI_PRE_STAGES]; /* pcre2_match_data */
};
enum woq_status woqi_tok_push(struct woqi_tok_run *run, int32_t id);
/* Appends the ids of a word, which is less than 2^31 bytes of valid UTF-8. */
enum woq_status woqi_tok_word(struct woqi_tok_run *run, const char *word, size_t size);
/* Cuts the text into words and appends their ids. */
enum woq_status woqi_tok_words(struct woqi_tok_run *run, const char *text, size_t size);
void woqi_tok_run_release(struct woqi_tok_run *run); /* but not ids */

/* *array (of *capacity elements of `size` bytes) grown to `need` at least; false = no memory. */
bool woqi_tok_grow(void *array, size_t *capacity, size_t need, size_t size);

/* ---- Readers ---- */
enum woq_status woqi_tok_from_gguf(const struct woq_checkpoint *c, struct woq_tokenizer **out);
enum woq_status woqi_tok_from_directory(const struct woq_checkpoint *c,
                                        struct woq_tokenizer **out);
/* The texts of tokenizer.json and, unless NULL, tokenizer_config.json. bos, eos: config.json's, -1 = none; what
 * tokenizer_config.json says goes before. */
enum woq_status woqi_tok_from_json(const char *name, const char *text, size_t size,
                                   const char *config, size_t config_size, int32_t bos,
                                   int32_t eos, struct woq_tokenizer **out);

#endif
