/* sp_merges.h: merges of a SentencePiece vocabulary. */
#ifndef WOQI_SP_MERGES_H
#define WOQI_SP_MERGES_H

#include <woq/checkpoint.h>

struct woqi_sp_merge {
    uint32_t left, right, result; /* token ids */
};

/*
 * Every way to cut a normal piece into two pieces of the vocabulary, in the order in which SentencePiece merges:
 * the result's score falling, then its id rising, then by the ids of left and right. *out is to be freed.
 */
enum woq_status woqi_sp_merges(const struct woq_text *tokens, const int32_t *types, const float *scores, size_t count,
                               struct woqi_sp_merge **out, size_t *merges);

#endif
