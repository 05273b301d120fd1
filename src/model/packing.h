/*
 * packing.h: sequences after a common prefix, as rows of forwards.
 *
 * The rows to be read, the prefix's and then each sequence's, are cut into forwards of equal size, as few as the
 * model's batch allows: a sequence that a forward's end cuts goes on in the next, and its keys stay. So M is as
 * large as it can be whatever the lengths, in the last forward too, and sequences need no sorting. Cutting costs
 * nothing else: attention reads the cache, where it makes no difference which forward a key came from.
 *
 * The prefix has the cache's first slots. Those of other texts are given again in the next forward, but for those
 * of the text that was cut. It gets its slots at one end of the rest, so that what is left is in one piece. Where
 * slots run out before rows do, as with many short texts, a forward ends early.
 */
#ifndef WOQI_MODEL_PACKING_H
#define WOQI_MODEL_PACKING_H

#include <woq/model.h>

#include "segments.h"

struct woqi_packing {
    /* What the caller sets. */
    uint32_t prefix_count, count; /* tokens, sequences */
    const struct woq_sequence *sequences;
    uint32_t batch, slots; /* slots: enough for the prefix and any one sequence, each in whole panels */
    struct woqi_segment *segments; /* [batch], where the forward's are written */

    uint64_t left; /* rows not yet read */
    uint32_t text; /* the next one to read: 0 is the prefix, i + 1 sequence i */
    uint32_t done; /* rows of it that are read; if there are any, its slots: */
    uint32_t begin;
    bool top; /* at the cache's end */
};

/* Rows that must be read of a sequence, all but its last token if nothing is asked of what follows that; and of
 * those, the last so many predict a token that counts. */
uint32_t woqi_packing_rows(const struct woq_sequence *sequence);
uint32_t woqi_packing_wanted(const struct woq_sequence *sequence);
/* Whether the prefix's last row predicts its first token. */
bool woqi_packing_from_prefix(const struct woq_sequence *sequence);

void woqi_packing_start(struct woqi_packing *packing);
/* The next forward: rows, in order, of texts in order; segment.text as `text` above. False at the end. */
bool woqi_packing_next(struct woqi_packing *packing, struct woqi_segments *out);

#endif
