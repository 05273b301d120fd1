/*
 * eval_identity.c: what the figures of a run depend on: files of models by size and time, texts and questions by hash,
 * and how they are read.
 */
#include "eval.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* FNV-1a, 64 bits. */
static const uint64_t basis = UINT64_C(0xcbf29ce484222325);

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *c = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ c[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_file(uint64_t hash, const char *path, const char *name)
{
    struct stat info;
    if (stat(path, &info))
        return hash_bytes(hash, "none", 4);
    const int64_t facts[] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec, (int64_t)info.st_mtim.tv_nsec};
    return hash_bytes(hash_bytes(hash, name, strlen(name)), facts, sizeof facts);
}

static int is_shown(const struct dirent *entry)
{
    return *entry->d_name != '.';
}

/* A file's, or of all files of a directory. */
static uint64_t hash_model(const char *path)
{
    struct dirent **entries;
    uint64_t hash = basis;
    const int count = scandir(path, &entries, is_shown, alphasort);
    if (count < 0)
        return hash_file(hash, path, "");
    for (int i = 0; i < count; i++) {
        char *file = tool_text("%s/%s", path, entries[i]->d_name);
        hash = hash_file(hash, file, entries[i]->d_name);
        free(file);
        free(entries[i]);
    }
    free(entries);
    return hash;
}

static void add_hash(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct eval_options *o)
{
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, root, "text");
    tool_json_text(doc, v, "file", o->text_file);
    add_hash(doc, v, "content", hash_bytes(basis, o->text, o->text_size));
    yyjson_mut_obj_add_uint(doc, v, "tokens", o->tokens);
    yyjson_mut_obj_add_uint(doc, v, "window", o->window);
    yyjson_mut_obj_add_uint(doc, v, "stride", o->stride);
    yyjson_mut_obj_add_bool(doc, v, "kl", o->kl);
}

yyjson_mut_doc *eval_identity(const struct eval_options *o, const struct woq_device_info *device,
                              const struct eval_model *models, size_t count)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    if (!root) {
        yyjson_mut_doc_free(doc);
        return NULL;
    }
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_uint(doc, root, "woq_eval_state", 1);
    yyjson_mut_obj_add_str(doc, root, "version", woq_version_string());
    tool_json_text(doc, root, "device", device->selector);
    tool_json_text(doc, root, "device_name", device->name);
    tool_json_text(doc, root, "driver", device->driver);
    yyjson_mut_obj_add_str(doc, root, "x", woq_type_name(o->x));
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "models");
    for (size_t i = 0; i < count; i++) {
        yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
        tool_json_text(doc, v, "file", models[i].path);
        tool_json_text(doc, v, "weights", models[i].weights.name);
        yyjson_mut_obj_add_str(doc, v, "math", models[i].math ? woq_math_name(models[i].math) : "default");
        add_hash(doc, v, "content", hash_model(models[i].path));
    }
    if (o->text_file)
        add_text(doc, root, o);
    list = yyjson_mut_obj_add_arr(doc, root, "tasks");
    for (uint32_t t = 0; t < o->task_count; t++) {
        const struct woq_task_info *info = &o->task_info[t];
        yyjson_mut_val *v = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_str(doc, v, "task", info->name);
        yyjson_mut_obj_add_uint(doc, v, "examples", info->examples);
        yyjson_mut_obj_add_uint(doc, v, "shots", info->shots);
        if (info->chat)
            yyjson_mut_obj_add_str(doc, v, "chat", info->chat);
        add_hash(doc, v, "content", info->hash);
    }
    return doc;
}
