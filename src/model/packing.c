/* packing.c: which rows of which sequence go into a forward, and into which slots. */
#include "packing.h"

uint32_t woqi_packing_rows(const struct woq_sequence *s)
{
    return s->choice_count ? s->count : s->scored ? s->count - 1 : 0;
}

uint32_t woqi_packing_wanted(const struct woq_sequence *s)
{
    const uint32_t predictions = s->scored + (s->choice_count > 0), rows = woqi_packing_rows(s);
    return predictions < rows ? predictions : rows;
}

bool woqi_packing_from_prefix(const struct woq_sequence *s)
{
    return s->scored == s->count;
}

static uint32_t rows_of(const struct woqi_packing *p, uint32_t text)
{
    return text ? woqi_packing_rows(&p->sequences[text - 1]) : p->prefix_count;
}

static uint32_t wanted_of(const struct woqi_packing *p, uint32_t text)
{
    if (text)
        return woqi_packing_wanted(&p->sequences[text - 1]);
    for (uint32_t i = 0; i < p->count; i++)
        if (woqi_packing_from_prefix(&p->sequences[i]))
            return 1;
    return 0;
}

void woqi_packing_start(struct woqi_packing *p)
{
    p->text = p->done = p->begin = 0;
    p->top = false;
    p->left = p->prefix_count;
    for (uint32_t i = 0; i < p->count; i++)
        p->left += woqi_packing_rows(&p->sequences[i]);
}

/* Slots that are free in one forward. */
struct room {
    uint32_t low, high;
    bool mirrored; /* a text that goes on has the upper end, so one that is cut now gets the lower */
};

static struct room free_slots(const struct woqi_packing *p)
{
    struct room r = {woqi_whole_panels(p->prefix_count), p->slots, false};
    if (!p->text || !p->done)
        return r;
    r.mirrored = p->top;
    if (p->top)
        r.high = p->begin;
    else
        r.low = p->begin + woqi_whole_panels(rows_of(p, p->text));
    return r;
}

/* Slots for the next text, from which the forward takes all rows or not. */
static bool place(struct woqi_packing *p, struct room *room, uint32_t rows, bool cut)
{
    const uint32_t slots = woqi_whole_panels(rows);
    if (slots > room->high - room->low)
        return false;
    p->top = cut != room->mirrored;
    if (p->top)
        room->high -= slots;
    p->begin = p->top ? room->high : room->low;
    if (!p->top)
        room->low += slots;
    return true;
}

/* Rows done … done + rows of the next text. */
static struct woqi_segment segment(const struct woqi_packing *p, uint32_t rows)
{
    const uint32_t end = p->done + rows, first_wanted = rows_of(p, p->text) - wanted_of(p, p->text);
    const uint32_t wanted = end <= first_wanted ? 0 : end - first_wanted;
    return (struct woqi_segment){.rows = rows,
                                 .wanted = wanted < rows ? wanted : rows,
                                 .prefix = p->text ? p->prefix_count : 0,
                                 .begin = p->begin,
                                 .slot = p->begin + p->done,
                                 .text = p->text};
}

bool woqi_packing_next(struct woqi_packing *p, struct woqi_segments *out)
{
    *out = (struct woqi_segments){.list = p->segments};
    if (!p->left)
        return false;
    const uint64_t forwards = (p->left + p->batch - 1) / p->batch;
    uint32_t budget = (uint32_t)((p->left + forwards - 1) / forwards);
    struct room room = free_slots(p);
    while (budget && p->text <= p->count) {
        const uint32_t all = rows_of(p, p->text), rows = all - p->done < budget ? all - p->done : budget;
        if (rows) {
            if (p->text && !p->done && !place(p, &room, all, rows < all))
                break;
            p->segments[out->count++] = segment(p, rows);
            budget -= rows;
            p->left -= rows;
            p->done += rows;
        }
        if (p->done == all) {
            p->text++;
            p->done = p->begin = 0;
        }
    }
    woqi_segments_number(out);
    return true;
}
