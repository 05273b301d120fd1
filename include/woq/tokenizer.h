/*
 * woq/tokenizer.h: text to token ids and back (libwoq-model).
 *
 *     struct woq_tokenizer *t = NULL;
 *     st = woq_tokenizer_create(checkpoint, &t);
 *     st = woq_tokenizer_encode(t, text, size, WOQ_ENCODE_BOS, &ids, &count);
 *     free(ids);
 *
 * Byte-level BPE (GPT-2, SmolLM, Llama 3, Qwen 2 pre-tokenizers) and SentencePiece-style BPE with byte
 * fallback, from GGUF metadata or a directory's tokenizer.json. A byte-level vocabulary may lack bytes
 * (SmolLM2's lacks 21 control characters and the like): these are dropped, unless there is an unknown
 * token.
 *
 * Threading: a tokenizer is immutable; any number of threads may use it.
 */
#ifndef WOQ_TOKENIZER_H
#define WOQ_TOKENIZER_H

#include <woq/checkpoint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_tokenizer;

enum woq_encode_flags {
    WOQ_ENCODE_BOS = 1u << 0,    /* the begin-of-text token in front, if the model has one */
    WOQ_ENCODE_SPECIAL = 1u << 1 /* text that spells a special token becomes it */
};

/* The checkpoint is needed only during the call.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_DATA (parts missing or contradictory: named); UNSUPPORTED
 * (tokenizer model or pre-tokenizer, named); OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_tokenizer_create(const struct woq_checkpoint *checkpoint,
                                     struct woq_tokenizer **out);
WOQ_API void woq_tokenizer_destroy(struct woq_tokenizer **tokenizer);

/* *ids is malloc'ed, the caller's to free. Invalid UTF-8: each bad byte becomes U+FFFD before encoding.
 * Returns WOQ_OK; INVALID_ARGUMENT; OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_tokenizer_encode(const struct woq_tokenizer *tokenizer, const char *text,
                                     size_t size, uint32_t flags, int32_t **ids, size_t *count);

/* The bytes that one token stands for; special tokens give their name. NULL beyond the vocabulary. */
WOQ_API const char *woq_tokenizer_piece(const struct woq_tokenizer *tokenizer, int32_t id, size_t *size);

/* *text is malloc'ed and NUL-terminated; *size without the NUL. Special tokens are left out. */
WOQ_API enum woq_status woq_tokenizer_decode(const struct woq_tokenizer *tokenizer, const int32_t *ids,
                                     size_t count, char **text, size_t *size);

WOQ_API size_t woq_tokenizer_vocabulary(const struct woq_tokenizer *tokenizer);
WOQ_API int32_t woq_tokenizer_bos(const struct woq_tokenizer *tokenizer); /* -1 = none */
WOQ_API int32_t woq_tokenizer_eos(const struct woq_tokenizer *tokenizer);
WOQ_API bool woq_tokenizer_adds_bos(const struct woq_tokenizer *tokenizer); /* as the model's config says */

#ifdef __cplusplus
}
#endif
#endif
