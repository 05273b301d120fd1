/*
 * segments.h: what the rows of one forward see.
 *
 * The KV cache has slots, and a text lies in it as
 *
 *     slot      0 … prefix − 1           begin …
 *     holds     what came before it      its own tokens, of positions prefix, prefix + 1, …
 *
 * so that several texts may share a prefix, and a forward may have rows of several. Row r of a segment is the
 * token in slot `slot` + r; it sees slots 0 … prefix − 1 and begin … slot + r. A text that is alone has no
 * prefix and begins in slot 0.
 */
#ifndef WOQI_MODEL_SEGMENTS_H
#define WOQI_MODEL_SEGMENTS_H

#include <stdint.h>

/* Texts begin in slots that are multiples of this: keys lie in panels of so many. */
enum { WOQI_PANEL = 16 };

/* Consecutive rows of one text. */
struct woqi_segment {
    uint32_t rows;   /* 1 or more */
    uint32_t wanted; /* the last of them whose logits are asked for */
    uint32_t prefix, begin, slot;
    uint32_t text; /* which one: the caller's */
    /* Written by the forward. */
    uint32_t row, out; /* the first one's number among all rows, and the first wanted one's among those wanted */
    uint32_t tile;     /* tiles of attention before it */
};

/* All of a forward, in the order of its rows. */
struct woqi_segments {
    struct woqi_segment *list;
    uint32_t count, rows, wanted; /* segments; sums over them */
};

static inline uint32_t woqi_whole_panels(uint32_t slots)
{
    return (slots + WOQI_PANEL - 1) / WOQI_PANEL * WOQI_PANEL;
}

/* Numbers their rows. */
static inline void woqi_segments_number(struct woqi_segments *s)
{
    s->rows = s->wanted = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        s->list[i].row = s->rows;
        s->list[i].out = s->wanted;
        s->rows += s->list[i].rows;
        s->wanted += s->list[i].wanted;
    }
}

#endif
