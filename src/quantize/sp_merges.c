/* sp_merges.c: merges of a SentencePiece vocabulary, found by looking each prefix and suffix up. */
#include "sp_merges.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 256, NORMAL = 1, USER = 4 };

struct entry {
    const struct woq_text *text;
    uint32_t id;
};

struct ranked {
    struct woqi_sp_merge merge;
    float score;
};

static int by_text(const void *a, const void *b)
{
    const struct woq_text *x = ((const struct entry *)a)->text, *y = ((const struct entry *)b)->text;
    size_t size = x->size < y->size ? x->size : y->size;
    int order = size ? memcmp(x->text, y->text, size) : 0;
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (x->merge.result != y->merge.result)
        return x->merge.result < y->merge.result ? -1 : 1;
    if (x->merge.left != y->merge.left)
        return x->merge.left < y->merge.left ? -1 : 1;
    return (x->merge.right > y->merge.right) - (x->merge.right < y->merge.right);
}

static const struct entry *find(const struct entry *sorted, size_t count, const char *text, size_t size)
{
    const struct woq_text wanted = {text, size};
    const struct entry key = {&wanted, 0};
    return bsearch(&key, sorted, count, sizeof *sorted, by_text);
}

static bool push(struct ranked **list, size_t *count, size_t *capacity, struct ranked one)
{
    if (*count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 4096;
        struct ranked *grown = realloc(*list, more * sizeof *grown);
        if (!grown)
            return false;
        *list = grown;
        *capacity = more;
    }
    (*list)[(*count)++] = one;
    return true;
}

enum woq_status woqi_sp_merges(const struct woq_text *tokens, const int32_t *types, const float *scores, size_t count,
                               struct woqi_sp_merge **out, size_t *merges)
{
    struct ranked *list = NULL;
    size_t used = 0, capacity = 0, pieces = 0;
    bool fine = true;
    *out = NULL;
    *merges = 0;
    struct entry *sorted = malloc((count + 1) * sizeof *sorted);
    for (size_t i = 0; i < count && sorted; i++)
        if (!types || types[i] == NORMAL || types[i] == USER)
            sorted[pieces++] = (struct entry){&tokens[i], (uint32_t)i};
    if (sorted)
        qsort(sorted, pieces, sizeof *sorted, by_text);
    for (size_t i = 0; i < count && sorted && fine; i++) {
        const struct woq_text *t = &tokens[i];
        if ((types && types[i] != NORMAL) || t->size > LONGEST)
            continue;
        for (size_t cut = 1; cut < t->size && fine; cut++) {
            if (((unsigned char)t->text[cut] & 0xc0) == 0x80)
                continue; /* inside a character */
            const struct entry *left = find(sorted, pieces, t->text, cut);
            const struct entry *right = left ? find(sorted, pieces, t->text + cut, t->size - cut) : NULL;
            if (right)
                fine = push(&list, &used, &capacity, (struct ranked){{left->id, right->id, (uint32_t)i}, scores[i]});
        }
    }
    if (sorted && fine && (*out = malloc((used + 1) * sizeof **out))) {
        if (used)
            qsort(list, used, sizeof *list, by_rank);
        for (size_t i = 0; i < used; i++)
            (*out)[i] = list[i].merge;
        *merges = used;
    }
    free(sorted);
    free(list);
    return *out ? WOQ_OK : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for merges");
}
