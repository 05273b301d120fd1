/* json.c: JSON files of bounded size, and their members as metadata. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "checkpoint/checkpoint_impl.h"

enum { MAX_FILE_BYTES = 256 << 20 };

enum woq_status woqi_ckpt_json_text(const struct woq_checkpoint *c, const char *what,
                                    const void *text, size_t size, struct yyjson_doc **doc)
{
    yyjson_read_err error;
    /* Without YYJSON_READ_INSITU the text is only read. */
    *doc = yyjson_read_opts((char *)(uintptr_t)text, size, YYJSON_READ_NOFLAG, NULL, &error);
    if (*doc)
        return WOQ_OK;
    if (error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return woqi_ckpt_no_memory(c);
    return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s: no valid JSON at byte %zu: %s", what,
                          error.pos, error.msg);
}

enum woq_status woqi_ckpt_json_file(const struct woq_checkpoint *c, const char *directory,
                                    const char *name, bool optional, struct yyjson_doc **doc)
{
    struct woqi_ckpt_map map = {.data = NULL};
    /* The mapping is needed for this call only, so it is not the checkpoint's. */
    struct woq_checkpoint scratch = {.path = c->path, .maps = &map};
    char path[PATH_MAX];
    *doc = NULL;
    const int size = snprintf(path, sizeof path, "%s%s%s", directory ? directory : "",
                              directory ? "/" : "", name);
    if (size < 0 || (size_t)size >= sizeof path)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_ARGUMENT, "the path of %s is too long", name);
    enum woq_status st = woqi_ckpt_map_file(&scratch, path, WOQ_ERROR_NO_DEVICE);
    if (st == WOQ_ERROR_NO_DEVICE) /* no such file */
        st = optional ? WOQ_OK
                      : woqi_ckpt_fail(c, WOQ_ERROR_INVALID_ARGUMENT,
                                       "has no %s; must be a model's directory", name);
    else if (!st && map.size > MAX_FILE_BYTES)
        st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s has %zu bytes; must have at most %d",
                            name, map.size, MAX_FILE_BYTES);
    else if (!st)
        st = woqi_ckpt_json_text(c, name, map.data ? (const void *)map.data : "", map.size, doc);
    woqi_ckpt_unmap(&map);
    woqi_ckpt_arena_free(&scratch.arena);
    return st;
}

/* ---- Members as metadata ---- */

static enum woq_status add_scalar(struct woq_checkpoint *c, const char *key, yyjson_val *from)
{
    enum woq_status st;
    struct woqi_ckpt_value *v = woqi_ckpt_meta_add(c, key, strlen(key), &st);
    if (!v)
        return st;
    if (yyjson_is_bool(from)) {
        v->kind = WOQI_KIND_BOOL;
        v->b = yyjson_get_bool(from);
    } else if (yyjson_is_uint(from)) {
        v->kind = WOQI_KIND_UINT;
        v->u = yyjson_get_uint(from);
    } else if (yyjson_is_sint(from)) {
        v->kind = WOQI_KIND_INT;
        v->i = yyjson_get_sint(from);
    } else if (yyjson_is_real(from)) {
        v->kind = WOQI_KIND_FLOAT;
        v->f = yyjson_get_real(from);
    } else if (yyjson_is_str(from)) {
        const size_t size = yyjson_get_len(from);
        const char *copy = woqi_ckpt_copy(&c->arena, yyjson_get_str(from), size);
        if (!copy)
            return woqi_ckpt_no_memory(c);
        v->kind = WOQI_KIND_STRING;
        v->string = (struct woq_text){copy, size};
    }
    return woqi_ckpt_meta_text(c, v);
}

static bool fits_int(yyjson_val *v)
{
    return (yyjson_is_uint(v) && yyjson_get_uint(v) <= INT32_MAX) ||
           (yyjson_is_sint(v) && yyjson_get_sint(v) >= INT32_MIN &&
            yyjson_get_sint(v) <= INT32_MAX);
}

/* STRINGS, INTS or FLOATS if all elements are; NULL else. */
static enum woqi_ckpt_kind array_kind(yyjson_val *array)
{
    size_t index, count, strings = 0, ints = 0, numbers = 0;
    yyjson_val *v;
    yyjson_arr_foreach(array, index, count, v)
    {
        strings += yyjson_is_str(v);
        ints += fits_int(v);
        numbers += yyjson_is_num(v);
    }
    return strings == count   ? WOQI_KIND_STRINGS
           : ints == count    ? WOQI_KIND_INTS
           : numbers == count ? WOQI_KIND_FLOATS
                              : WOQI_KIND_NULL;
}

static enum woq_status add_array(struct woq_checkpoint *c, const char *key, yyjson_val *from,
                                 enum woqi_ckpt_kind kind)
{
    enum woq_status st;
    const size_t size = yyjson_arr_size(from);
    struct woq_text *strings = NULL;
    float *floats = NULL;
    int32_t *ints = NULL;
    struct woqi_ckpt_value *v = woqi_ckpt_meta_add(c, key, strlen(key), &st);
    if (!v)
        return st;
    if (kind == WOQI_KIND_STRINGS)
        v->strings = strings = woqi_ckpt_alloc(&c->arena, size, sizeof *strings);
    else if (kind == WOQI_KIND_INTS)
        v->ints = ints = woqi_ckpt_alloc(&c->arena, size, sizeof *ints);
    else
        v->floats = floats = woqi_ckpt_alloc(&c->arena, size, sizeof *floats);
    if (!strings && !floats && !ints)
        return woqi_ckpt_no_memory(c);
    size_t index, count;
    yyjson_val *element;
    yyjson_arr_foreach(from, index, count, element)
    {
        if (ints)
            ints[index] = (int32_t)yyjson_get_sint(element);
        else if (floats)
            floats[index] = (float)yyjson_get_num(element);
        else {
            strings[index].size = yyjson_get_len(element);
            strings[index].text = woqi_ckpt_copy(&c->arena, yyjson_get_str(element),
                                                 strings[index].size);
            if (!strings[index].text)
                return woqi_ckpt_no_memory(c);
        }
    }
    v->kind = kind;
    v->count = size;
    return woqi_ckpt_meta_text(c, v);
}

struct flattening {
    struct woq_checkpoint *c;
    char key[WOQI_CKPT_MAX_NAME + 1];
};

/* Appends ".name" to the key; false if that is too long. */
static bool extend(struct flattening *f, size_t used, const char *name, size_t size)
{
    const size_t dot = used ? 1 : 0;
    if (size > WOQI_CKPT_MAX_NAME || used + dot + size > WOQI_CKPT_MAX_NAME ||
        memchr(name, 0, size))
        return false;
    if (dot)
        f->key[used] = '.';
    memcpy(f->key + used + dot, name, size);
    f->key[used + dot + size] = 0;
    return true;
}

static enum woq_status flatten(struct flattening *f, yyjson_val *value, unsigned depth)
{
    const size_t used = strlen(f->key);
    size_t index, count;
    yyjson_val *name, *child;
    enum woq_status st = WOQ_OK;
    if (depth > WOQI_CKPT_MAX_DEPTH)
        return woqi_ckpt_fail(f->c, WOQ_ERROR_INVALID_DATA, "%s'%.200s' is nested deeper than %d",
                              woqi_ckpt_where(f->c, f->key), f->key, WOQI_CKPT_MAX_DEPTH);
    if (yyjson_is_obj(value)) {
        yyjson_obj_foreach(value, index, count, name, child)
        {
            if (!extend(f, used, yyjson_get_str(name), yyjson_get_len(name)))
                return woqi_ckpt_fail(
                    f->c, WOQ_ERROR_INVALID_DATA,
                    "%sa member of '%.200s' has a name of %zu bytes; must be at most %d in all",
                    woqi_ckpt_where(f->c, f->key), f->key, yyjson_get_len(name),
                    WOQI_CKPT_MAX_NAME);
            st = flatten(f, child, depth + 1);
            f->key[used] = 0;
            if (st)
                return st;
        }
        return WOQ_OK;
    }
    if (!yyjson_is_arr(value))
        return add_scalar(f->c, f->key, value);
    const enum woqi_ckpt_kind kind = array_kind(value);
    if (kind)
        return add_array(f->c, f->key, value, kind);
    yyjson_arr_foreach(value, index, count, child)
    {
        char digits[24];
        const int size = snprintf(digits, sizeof digits, "%zu", index);
        if (!extend(f, used, digits, (size_t)size))
            return woqi_ckpt_fail(f->c, WOQ_ERROR_INVALID_DATA, "%s'%.200s' has too long a path",
                                  woqi_ckpt_where(f->c, f->key), f->key);
        st = flatten(f, child, depth + 1);
        f->key[used] = 0;
        if (st)
            return st;
    }
    return WOQ_OK;
}

enum woq_status woqi_ckpt_json_flatten(struct woq_checkpoint *c, const char *prefix,
                                       struct yyjson_val *object)
{
    struct flattening f = {.c = c};
    snprintf(f.key, sizeof f.key, "%s", prefix);
    return flatten(&f, object, 0);
}
