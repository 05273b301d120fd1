/* meta.c: metadata as typed values and as text. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum { SHOWN_ELEMENTS = 8, SHOWN_BYTES = 64 };

struct woqi_ckpt_value *woqi_ckpt_meta_add(struct woq_checkpoint *c, const char *key, size_t size,
                                           enum woq_status *st)
{
    if (!size || size > WOQI_CKPT_MAX_NAME || !woqi_ckpt_is_name(key, size)) {
        *st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                             "%smetadata key %zu has %zu bytes or control characters; must be 1 to "
                             "%d bytes of UTF-8",
                             woqi_ckpt_where(c, ""), c->meta_count, size, WOQI_CKPT_MAX_NAME);
        return NULL;
    }
    if (c->meta_count >= WOQI_CKPT_MAX_META) {
        *st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "more than %d metadata keys",
                             WOQI_CKPT_MAX_META);
        return NULL;
    }
    if (c->meta_count == c->meta_capacity) {
        const size_t capacity = c->meta_capacity ? 2 * c->meta_capacity : 64;
        struct woqi_ckpt_value *grown = woqi_ckpt_alloc(&c->arena, capacity, sizeof *grown);
        if (!grown) {
            *st = woqi_ckpt_no_memory(c);
            return NULL;
        }
        if (c->meta_count)
            memcpy(grown, c->meta, c->meta_count * sizeof *grown);
        c->meta = grown;
        c->meta_capacity = capacity;
    }
    struct woqi_ckpt_value *value = &c->meta[c->meta_count];
    if (!(value->key = woqi_ckpt_copy(&c->arena, key, size))) {
        *st = woqi_ckpt_no_memory(c);
        return NULL;
    }
    value->text = "null";
    c->meta_count++;
    *st = WOQ_OK;
    return value;
}

/* "[49152: a, b, …]" */
static const char *array_text(struct woq_checkpoint *c, const struct woqi_ckpt_value *v)
{
    char text[SHOWN_ELEMENTS * (3 * SHOWN_BYTES + 16) + 64];
    size_t used = (size_t)snprintf(text, sizeof text, "[%zu: ", v->count);
    if (!v->count)
        used = (size_t)snprintf(text, sizeof text, "[");
    for (size_t i = 0; i < v->count && i < SHOWN_ELEMENTS; i++) {
        const char *comma = i ? ", " : "";
        if (v->kind == WOQI_KIND_STRINGS) {
            const char *s = woqi_ckpt_readable(&c->arena, v->strings[i].text, v->strings[i].size,
                                               SHOWN_BYTES);
            if (!s)
                return NULL;
            used += (size_t)snprintf(text + used, sizeof text - used, "%s\"%s\"", comma, s);
        } else if (v->kind == WOQI_KIND_FLOATS) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%.9g", comma,
                                     (double)v->floats[i]);
        } else {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%" PRId32, comma,
                                     v->ints[i]);
        }
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "%s]",
                             v->count > SHOWN_ELEMENTS ? ", \xe2\x80\xa6" : "");
    return woqi_ckpt_copy(&c->arena, text, used);
}

enum woq_status woqi_ckpt_meta_text(struct woq_checkpoint *c, struct woqi_ckpt_value *v)
{
    char text[64];
    const char *out = NULL;
    switch (v->kind) {
    case WOQI_KIND_NULL:
        return WOQ_OK;
    case WOQI_KIND_STRING:
        out = woqi_ckpt_readable(&c->arena, v->string.text, v->string.size, SIZE_MAX);
        break;
    case WOQI_KIND_STRINGS:
    case WOQI_KIND_FLOATS:
    case WOQI_KIND_INTS:
        out = array_text(c, v);
        break;
    case WOQI_KIND_BOOL:
        out = v->b ? "true" : "false";
        break;
    case WOQI_KIND_UINT:
        snprintf(text, sizeof text, "%" PRIu64, v->u);
        break;
    case WOQI_KIND_INT:
        snprintf(text, sizeof text, "%" PRId64, v->i);
        break;
    case WOQI_KIND_FLOAT:
        snprintf(text, sizeof text, "%.9g", v->f);
        break;
    }
    if (v->kind == WOQI_KIND_UINT || v->kind == WOQI_KIND_INT || v->kind == WOQI_KIND_FLOAT)
        out = woqi_ckpt_copy(&c->arena, text, strlen(text));
    if (!out)
        return woqi_ckpt_no_memory(c);
    v->text = out;
    return WOQ_OK;
}

/* ---- Finding ---- */

struct keyed {
    const char *key;
    uint32_t index;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    const int order = strcmp(x->key, y->key);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

enum woq_status woqi_ckpt_meta_finish(struct woq_checkpoint *c)
{
    if (!c->meta_count)
        return WOQ_OK;
    enum woq_status st = WOQ_OK;
    struct keyed *keys = calloc(c->meta_count, sizeof *keys);
    c->meta_order = woqi_ckpt_alloc(&c->arena, c->meta_count, sizeof *c->meta_order);
    if (!keys || !c->meta_order) {
        st = woqi_ckpt_no_memory(c);
        goto done;
    }
    for (size_t i = 0; i < c->meta_count; i++)
        keys[i] = (struct keyed){c->meta[i].key, (uint32_t)i};
    qsort(keys, c->meta_count, sizeof *keys, by_key);
    for (size_t i = 0; i < c->meta_count; i++) {
        c->meta_order[i] = keys[i].index;
        if (i && !strcmp(keys[i - 1].key, keys[i].key)) {
            st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%smetadata key '%s' is there twice",
                                woqi_ckpt_where(c, keys[i].key), keys[i].key);
            goto done;
        }
    }
done:
    free(keys);
    return st;
}

const struct woqi_ckpt_value *woqi_ckpt_meta_find(const struct woq_checkpoint *c, const char *key)
{
    size_t low = 0, high = c->meta_order ? c->meta_count : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct woqi_ckpt_value *v = &c->meta[c->meta_order[middle]];
        const int order = strcmp(key, v->key);
        if (!order)
            return v;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- Public ---- */

static const struct woqi_ckpt_value *get(const struct woq_checkpoint *c, const char *key,
                                         enum woqi_ckpt_kind kind)
{
    const struct woqi_ckpt_value *v = c && key ? woqi_ckpt_meta_find(c, key) : NULL;
    return v && (!kind || v->kind == kind) ? v : NULL;
}

size_t woq_checkpoint_meta_count(const struct woq_checkpoint *checkpoint)
{
    return checkpoint ? checkpoint->meta_count : 0;
}

enum woq_status woq_checkpoint_meta(const struct woq_checkpoint *checkpoint, size_t index,
                                    const char **key, const char **value)
{
    if (key)
        *key = NULL;
    if (value)
        *value = NULL;
    if (!checkpoint)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: checkpoint is NULL", __func__);
    if (index >= checkpoint->meta_count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: index is %zu; must be < %zu", __func__,
                          index, checkpoint->meta_count);
    if (key)
        *key = checkpoint->meta[index].key;
    if (value)
        *value = checkpoint->meta[index].text;
    return WOQ_OK;
}

bool woq_checkpoint_get_uint(const struct woq_checkpoint *checkpoint, const char *key,
                             uint64_t *out)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_UINT);
    if (v && out)
        *out = v->u;
    return v;
}

bool woq_checkpoint_get_float(const struct woq_checkpoint *checkpoint, const char *key, double *out)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_NULL);
    double value;
    if (!v)
        return false;
    switch (v->kind) {
    case WOQI_KIND_FLOAT:
        value = v->f;
        break;
    case WOQI_KIND_UINT:
        value = (double)v->u;
        break;
    case WOQI_KIND_INT:
        value = (double)v->i;
        break;
    default:
        return false;
    }
    if (out)
        *out = value;
    return true;
}

bool woq_checkpoint_get_bool(const struct woq_checkpoint *checkpoint, const char *key, bool *out)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_BOOL);
    if (v && out)
        *out = v->b;
    return v;
}

bool woq_checkpoint_get_string(const struct woq_checkpoint *checkpoint, const char *key,
                               const char **text, size_t *size)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_STRING);
    if (v && text)
        *text = v->string.text;
    if (v && size)
        *size = v->string.size;
    return v;
}

bool woq_checkpoint_get_strings(const struct woq_checkpoint *checkpoint, const char *key,
                                const struct woq_text **out, size_t *count)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_STRINGS);
    if (v && out)
        *out = v->strings;
    if (v && count)
        *count = v->count;
    return v;
}

bool woq_checkpoint_get_floats(const struct woq_checkpoint *checkpoint, const char *key,
                               const float **out, size_t *count)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_FLOATS);
    if (v && out)
        *out = v->floats;
    if (v && count)
        *count = v->count;
    return v;
}

bool woq_checkpoint_get_ints(const struct woq_checkpoint *checkpoint, const char *key,
                             const int32_t **out, size_t *count)
{
    const struct woqi_ckpt_value *v = get(checkpoint, key, WOQI_KIND_INTS);
    if (v && out)
        *out = v->ints;
    if (v && count)
        *count = v->count;
    return v;
}
