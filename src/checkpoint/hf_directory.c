/*
 * hf_directory.c: a directory with config.json and model.safetensors, or
 * model.safetensors.index.json, whose "weight_map" tells each tensor's file.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "checkpoint/checkpoint_impl.h"

static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";

static enum woq_status open_shard(struct woq_checkpoint *c, const char *name,
                                  enum woq_status missing)
{
    char path[PATH_MAX];
    const int size = snprintf(path, sizeof path, "%s/%s", c->path, name);
    if (size < 0 || (size_t)size >= sizeof path)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_ARGUMENT, "the path of %.200s is too long",
                              name);
    const size_t at = c->map_count;
    enum woq_status st = woqi_ckpt_map_file(c, path, missing);
    return st ? st : woqi_ckpt_read_safetensors(c, &c->maps[at], !at);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names, sorted; they point into the JSON document. */
static enum woq_status list_shards(const struct woq_checkpoint *c, yyjson_val *map,
                                   const char ***out, size_t *made)
{
    size_t index, count, used = 0;
    yyjson_val *key, *value;
    const char **names = calloc(yyjson_obj_size(map), sizeof *names);
    if (!names)
        return woqi_ckpt_no_memory(c);
    *out = names;
    yyjson_obj_foreach(map, index, count, key, value)
    {
        const char *name = yyjson_get_str(value);
        const size_t size = yyjson_get_len(value);
        /* Nothing outside of the directory. */
        if (!name || !size || size > 255 || memchr(name, '/', size) || *name == '.' ||
            !woqi_ckpt_is_name(name, size))
            return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                                  "%s: the file of tensor '%.200s' must be a plain file name",
                                  index_name, yyjson_get_str(key));
        names[index] = name;
    }
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++)
        if (!used || strcmp(names[used - 1], names[i]))
            names[used++] = names[i];
    if (used > WOQI_CKPT_MAX_SHARDS)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s names %zu files; must be at most %d",
                              index_name, used, WOQI_CKPT_MAX_SHARDS);
    *made = used;
    return WOQ_OK;
}

static const char *file_of(const struct woq_checkpoint *c, const struct woq_tensor *t)
{
    for (size_t i = 0; i < c->map_count; i++) {
        const struct woqi_ckpt_map *map = &c->maps[i];
        if (map->data && (const uint8_t *)t->data >= map->data &&
            (const uint8_t *)t->data <= map->data + map->size)
            return strrchr(map->path, '/') + 1;
    }
    return "";
}

/* Each tensor must be where the index says, and none may be there twice. */
static enum woq_status check_index(const struct woq_checkpoint *c, yyjson_val *map)
{
    size_t index, count, matched = 0;
    yyjson_val *key, *value;
    yyjson_obj_foreach(map, index, count, key, value)
    {
        const struct woq_tensor *t = woq_checkpoint_find(c, yyjson_get_str(key));
        if (!t || (t->bytes && strcmp(file_of(c, t), yyjson_get_str(value))))
            return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s: tensor '%.200s' is not in %s",
                                  index_name, yyjson_get_str(key), yyjson_get_str(value));
        matched++;
    }
    if (matched != c->tensor_count)
        woqi_ckpt_warn(c, "%s names %zu tensors, its files hold %zu", index_name, matched,
                       c->tensor_count);
    return WOQ_OK;
}

static enum woq_status read_sharded(struct woq_checkpoint *c, yyjson_val *root)
{
    yyjson_val *map = yyjson_obj_get(root, "weight_map");
    const char **names = NULL;
    size_t count = 0;
    if (!yyjson_is_obj(map) || !yyjson_obj_size(map))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s: weight_map is missing or empty",
                              index_name);
    enum woq_status st = list_shards(c, map, &names, &count);
    if (st)
        goto done;
    if (!(c->maps = woqi_ckpt_alloc(&c->arena, count, sizeof *c->maps))) {
        st = woqi_ckpt_no_memory(c);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        if ((st = open_shard(c, names[i], WOQ_ERROR_NO_DEVICE))) {
            if (st == WOQ_ERROR_NO_DEVICE)
                st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s names '%s', which is missing",
                                    index_name, names[i]);
            goto done;
        }
    }
    st = woqi_ckpt_tensors_finish(c);
    if (!st)
        st = check_index(c, map);
done:
    free(names);
    return st;
}

static enum woq_status read_tensors(struct woq_checkpoint *c)
{
    struct yyjson_doc *doc = NULL;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", c->path, single_name);
    /* As transformers: the single file comes first. */
    if (!access(path, F_OK)) {
        enum woq_status st = open_shard(c, single_name, WOQ_ERROR_INVALID_ARGUMENT);
        return st ? st : woqi_ckpt_tensors_finish(c);
    }
    enum woq_status st = woqi_ckpt_json_file(c, c->path, index_name, true, &doc);
    if (!st && !doc)
        st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_ARGUMENT, "has neither %s nor %s", single_name,
                            index_name);
    if (!st)
        st = read_sharded(c, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return st;
}

enum woq_status woqi_ckpt_read_directory(struct woq_checkpoint *c)
{
    struct yyjson_doc *doc = NULL;
    enum woq_status st = woqi_ckpt_json_file(c, c->path, "config.json", false, &doc);
    if (st)
        return st;
    if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
        st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "config.json is no JSON object");
    else
        st = woqi_ckpt_json_flatten(c, "", yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    if (!st)
        st = read_tensors(c);
    return st ? st : woqi_ckpt_meta_finish(c);
}
