/*
 * bpe.c: merging the symbols of a word.
 *
 * A word is a doubly linked list of symbols, at first its bytes or characters. Of all neighbours that can merge, the
 * pair with the least key merges next, the leftmost of equals; the key is the merge's rank or the falling score of
 * what it gives. Candidates wait in a binary heap; one of which a side has merged otherwise meanwhile is recognized
 * by its size, and dropped. O(n log n) for n symbols.
 */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

struct woqi_tok_symbol {
    uint32_t offset, size; /* in the word; size 0: merged into its left neighbour */
    int32_t previous, next; /* -1 = none */
    int32_t id;             /* -1 = none */
};

struct woqi_tok_candidate {
    uint32_t key;
    int32_t left, right; /* symbols */
    uint32_t size;       /* of both together */
    int32_t result;
};

bool woqi_tok_grow(void *array, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity)
        return true;
    size_t count = *capacity < 16 ? 16 : *capacity;
    while (count < need)
        count = count > SIZE_MAX / 2 ? need : count * 2;
    if (count > SIZE_MAX / size)
        return false;
    void *old;
    memcpy(&old, array, sizeof old);
    void *grown = realloc(old, count * size);
    if (!grown)
        return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = count;
    return true;
}

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_encode: no memory");
}

enum woq_status woqi_tok_push(struct woqi_tok_run *run, int32_t id)
{
    if (!woqi_tok_grow(&run->ids, &run->capacity, run->count + 1, sizeof *run->ids))
        return no_memory();
    run->ids[run->count++] = id;
    return WOQ_OK;
}

/* ---- Heap ---- */

static bool before(const struct woqi_tok_candidate *a, const struct woqi_tok_candidate *b)
{
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static enum woq_status heap_add(struct woqi_tok_run *run, struct woqi_tok_candidate candidate)
{
    if (!woqi_tok_grow(&run->heap, &run->heap_capacity, run->heap_count + 1, sizeof *run->heap))
        return no_memory();
    size_t i = run->heap_count++;
    while (i && before(&candidate, &run->heap[(i - 1) / 2])) {
        run->heap[i] = run->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    run->heap[i] = candidate;
    return WOQ_OK;
}

static struct woqi_tok_candidate heap_take(struct woqi_tok_run *run)
{
    struct woqi_tok_candidate *heap = run->heap, first = heap[0];
    size_t count = --run->heap_count;
    struct woqi_tok_candidate last = heap[count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return first;
}

/* ---- Merging ---- */

static enum woq_status consider(struct woqi_tok_run *run, const char *word, int32_t left,
                                int32_t right)
{
    if (left < 0 || right < 0)
        return WOQ_OK;
    const struct woqi_tok_symbol *a = &run->symbols[left], *b = &run->symbols[right];
    struct woqi_tok_candidate candidate = {0, left, right, a->size + b->size, -1};
    if (run->t->merges) {
        const struct woqi_tok_merge *merge = woqi_tok_find_merge(run->t, a->id, b->id);
        if (!merge)
            return WOQ_OK;
        candidate.key = merge->rank;
        candidate.result = merge->result;
    } else {
        candidate.result = woqi_tok_find(run->t, word + a->offset, candidate.size);
        if (candidate.result < 0)
            return WOQ_OK;
        candidate.key = run->t->keys[candidate.result];
    }
    return heap_add(run, candidate);
}

static enum woq_status merge_all(struct woqi_tok_run *run, const char *word)
{
    enum woq_status st = WOQ_OK;
    while (run->heap_count && !st) {
        struct woqi_tok_candidate c = heap_take(run);
        struct woqi_tok_symbol *left = &run->symbols[c.left], *right = &run->symbols[c.right];
        if (!left->size || !right->size || left->size + right->size != c.size)
            continue;
        left->size = c.size;
        left->id = c.result;
        left->next = right->next;
        right->size = 0;
        if (left->next >= 0)
            run->symbols[left->next].previous = c.left;
        st = consider(run, word, left->previous, c.left);
        if (!st)
            st = consider(run, word, c.left, left->next);
    }
    return st;
}

/* What no token stands for: bytes, if all of them have tokens, else the unknown token. */
static enum woq_status push_fallback(struct woqi_tok_run *run, const char *bytes, size_t size)
{
    const struct woq_tokenizer *t = run->t;
    bool spelled = true;
    for (size_t i = 0; i < size; i++)
        spelled = spelled && t->byte_ids[(uint8_t)bytes[i]] >= 0;
    enum woq_status st = WOQ_OK;
    for (size_t i = 0; i < size && spelled && !st; i++)
        st = woqi_tok_push(run, t->byte_ids[(uint8_t)bytes[i]]);
    bool fused = t->fuse_unknown && run->after_unknown;
    if (!spelled && t->unknown >= 0 && !fused)
        st = woqi_tok_push(run, t->unknown);
    run->after_unknown = !spelled;
    return st;
}

/* The word's bytes or characters as symbols. A byte without token is dropped unless there is an unknown token. */
static int32_t split(struct woqi_tok_run *run, const char *word, size_t size)
{
    const struct woq_tokenizer *t = run->t;
    int32_t count = 0;
    bool after_unknown = false;
    for (size_t i = 0; i < size;) {
        size_t n = 1;
        int32_t id;
        if (t->kind == WOQI_TOK_BYTES) {
            id = t->byte_ids[(uint8_t)word[i]];
            bool fused = t->fuse_unknown && after_unknown;
            after_unknown = id < 0;
            if (id < 0 && (t->unknown < 0 || fused)) {
                i++;
                continue;
            }
        } else {
            n = woqi_tok_utf8(word + i, size - i, NULL);
            n += !n;
            id = woqi_tok_find(t, word + i, n);
        }
        run->symbols[count] =
            (struct woqi_tok_symbol){(uint32_t)i, (uint32_t)n, count - 1, count + 1, id};
        count++;
        i += n;
    }
    if (count)
        run->symbols[count - 1].next = -1;
    return count;
}

enum woq_status woqi_tok_word(struct woqi_tok_run *run, const char *word, size_t size)
{
    const struct woq_tokenizer *t = run->t;
    if (t->ignore_merges) {
        int32_t id = woqi_tok_find(t, word, size);
        if (id >= 0 && t->types[id] == WOQI_TOKEN_NORMAL)
            return woqi_tok_push(run, id);
    }
    if (!woqi_tok_grow(&run->symbols, &run->symbol_capacity, size, sizeof *run->symbols))
        return no_memory();
    int32_t count = split(run, word, size);
    enum woq_status st = WOQ_OK;
    run->heap_count = 0;
    for (int32_t i = 1; i < count && !st; i++)
        st = consider(run, word, i - 1, i);
    if (!st)
        st = merge_all(run, word);
    run->after_unknown = false;
    for (int32_t i = count ? 0 : -1; i >= 0 && !st; i = run->symbols[i].next) {
        const struct woqi_tok_symbol *symbol = &run->symbols[i];
        if (symbol->id >= 0) {
            st = woqi_tok_push(run, symbol->id);
            run->after_unknown = false;
        } else {
            st = push_fallback(run, word + symbol->offset, symbol->size);
        }
    }
    return st;
}
