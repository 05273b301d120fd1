/*
 * st_writer.c: safetensors files, written in any order of bytes.
 *
 * A file is: header size (8 bytes, little-endian), header (JSON, padded by spaces to a multiple of 8 bytes), data
 * without holes. All sizes are known before the first byte of data, so headers are written at once and nothing of the
 * data is held in memory. Layout: https://huggingface.co/docs/safetensors
 */
#include "quantizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

static const struct {
    const char *name;
    unsigned size;
} types[] = {[WOQI_ST_F16] = {"F16", 2},
             [WOQI_ST_BF16] = {"BF16", 2},
             [WOQI_ST_F32] = {"F32", 4},
             [WOQI_ST_I32] = {"I32", 4},
             [WOQI_ST_I64] = {"I64", 8}};

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the header of a safetensors file");
}

enum woqi_st_type woqi_st_type_of(enum woq_type type)
{
    return type == WOQ_F16 ? WOQI_ST_F16 : type == WOQ_BF16 ? WOQI_ST_BF16 : WOQI_ST_F32;
}

enum woq_status woqi_st_add(struct woqi_st_writer *writer, const char *name, const char *suffix,
                            enum woqi_st_type type, uint32_t rank, const uint64_t *shape, bool begins, size_t *index)
{
    if (writer->count == writer->capacity) {
        size_t capacity = writer->capacity ? 2 * writer->capacity : 256;
        struct woqi_st_tensor *grown = realloc(writer->tensors, capacity * sizeof *grown);
        if (!grown)
            return no_memory();
        writer->tensors = grown;
        writer->capacity = capacity;
    }
    struct woqi_st_tensor *t = &writer->tensors[writer->count];
    *t = (struct woqi_st_tensor){.type = type, .rank = rank, .bytes = types[type].size, .begins = begins};
    for (uint32_t i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        if (shape[i] && t->bytes > (UINT64_MAX >> 1) / shape[i])
            return woq_report(WOQ_ERROR_INVALID_DATA, "%s%s: its bytes exceed 63 bits", name, suffix);
        t->bytes *= shape[i];
    }
    size_t size = strlen(name) + strlen(suffix) + 1;
    if (!(t->name = malloc(size)))
        return no_memory();
    snprintf(t->name, size, "%s%s", name, suffix);
    *index = writer->count++;
    return WOQ_OK;
}

/* Shards and offsets in the order of adding; a shard ends where a tensor may begin one and it would get too large. */
static uint32_t place(struct woqi_st_writer *w, uint64_t limit)
{
    uint32_t shard = 0;
    uint64_t used = 0;
    for (size_t i = 0; i < w->count;) {
        uint64_t unit = 0;
        size_t end = i;
        do
            unit += w->tensors[end++].bytes;
        while (end < w->count && !w->tensors[end].begins);
        if (used && used + unit > limit) {
            shard++;
            used = 0;
        }
        for (; i < end; i++) {
            w->tensors[i].shard = shard;
            w->tensors[i].offset = used;
            used += w->tensors[i].bytes;
        }
    }
    return shard + 1;
}

/* The header as JSON text; *size is a multiple of 8. NULL: no memory. */
static char *header_of(const struct woqi_st_writer *w, uint32_t shard, size_t *size)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *meta = yyjson_mut_obj(doc);
    bool fine = yyjson_mut_obj_add_str(doc, meta, "format", "pt") &&
                (!w->meta_key || yyjson_mut_obj_add_str(doc, meta, w->meta_key, w->meta_text)) &&
                yyjson_mut_obj_add_val(doc, root, "__metadata__", meta);
    for (size_t i = 0; i < w->meta_count && fine; i++)
        fine = yyjson_mut_obj_add_str(doc, meta, w->meta[i].key, w->meta[i].value);
    for (size_t i = 0; i < w->count && fine; i++) {
        const struct woqi_st_tensor *t = &w->tensors[i];
        if (t->shard != shard)
            continue;
        yyjson_mut_val *entry = yyjson_mut_obj(doc), *shape = yyjson_mut_arr(doc), *range = yyjson_mut_arr(doc);
        for (uint32_t d = 0; d < t->rank && fine; d++)
            fine = yyjson_mut_arr_add_uint(doc, shape, t->shape[d]);
        fine = fine && yyjson_mut_arr_add_uint(doc, range, t->offset) &&
               yyjson_mut_arr_add_uint(doc, range, t->offset + t->bytes) &&
               yyjson_mut_obj_add_str(doc, entry, "dtype", types[t->type].name) &&
               yyjson_mut_obj_add_val(doc, entry, "shape", shape) &&
               yyjson_mut_obj_add_val(doc, entry, "data_offsets", range) &&
               yyjson_mut_obj_add_val(doc, root, t->name, entry);
    }
    yyjson_mut_doc_set_root(doc, root);
    size_t length = 0;
    char *text = fine ? yyjson_mut_write(doc, 0, &length) : NULL;
    yyjson_mut_doc_free(doc);
    if (!text)
        return NULL;
    *size = (length + 7) / 8 * 8;
    char *padded = realloc(text, *size + 1);
    if (!padded) {
        free(text);
        return NULL;
    }
    memset(padded + length, ' ', *size - length);
    return padded;
}

/* The shard's header into an open file, in which the tensors get their offsets. */
static enum woq_status write_header(struct woqi_st_writer *w, struct woqi_atomic_dir *dir, const char *name, int fd,
                                    uint32_t shard)
{
    size_t size = 0;
    char *header = header_of(w, shard, &size);
    if (!header)
        return no_memory();
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t)((uint64_t)size >> 8 * i);
    enum woq_status st = woqi_atomic_dir_write(dir, name, fd, prefix, 8, 0);
    if (!st)
        st = woqi_atomic_dir_write(dir, name, fd, header, size, 8);
    for (size_t i = 0; i < w->count; i++)
        if (w->tensors[i].shard == shard)
            w->tensors[i].offset += 8 + size;
    free(header);
    return st;
}

static enum woq_status open_shard(struct woqi_st_writer *w, uint32_t index)
{
    struct woqi_st_shard *shard = &w->shards[index];
    if ((shard->fd = woqi_atomic_dir_create(w->dir, shard->name)) < 0)
        return WOQ_ERROR_DRIVER;
    return write_header(w, w->dir, shard->name, shard->fd, index);
}

static enum woq_status write_index(struct woqi_st_writer *w)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *meta = yyjson_mut_obj(doc), *map = yyjson_mut_obj(doc);
    uint64_t total = 0;
    bool fine = true;
    for (size_t i = 0; i < w->count && fine; i++) {
        total += w->tensors[i].bytes;
        fine = yyjson_mut_obj_add_str(doc, map, w->tensors[i].name, w->shards[w->tensors[i].shard].name);
    }
    fine = fine && yyjson_mut_obj_add_uint(doc, meta, "total_size", total) &&
           yyjson_mut_obj_add_val(doc, root, "metadata", meta) && yyjson_mut_obj_add_val(doc, root, "weight_map", map);
    yyjson_mut_doc_set_root(doc, root);
    enum woq_status st = fine ? woqi_atomic_dir_json(w->dir, "model.safetensors.index.json", doc) : no_memory();
    yyjson_mut_doc_free(doc);
    return st;
}

enum woq_status woqi_st_open(struct woqi_st_writer *writer, struct woqi_atomic_dir *dir, uint64_t shard_bytes)
{
    writer->dir = dir;
    uint32_t count = place(writer, writer->file ? UINT64_MAX : shard_bytes);
    if (!(writer->shards = malloc(count * sizeof *writer->shards)))
        return no_memory();
    writer->shard_count = count;
    for (uint32_t i = 0; i < count; i++) {
        writer->shards[i].fd = -1;
        if (count == 1)
            snprintf(writer->shards[i].name, sizeof writer->shards[i].name, "%s",
                     writer->file ? writer->file : "model.safetensors");
        else
            snprintf(writer->shards[i].name, sizeof writer->shards[i].name,
                     "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", i + 1, count);
    }
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++)
        st = open_shard(writer, i);
    if (!st && count > 1)
        st = write_index(writer);
    return st;
}

enum woq_status woqi_st_write(struct woqi_st_writer *writer, size_t index, uint64_t offset, const void *data,
                              size_t size)
{
    const struct woqi_st_tensor *t = &writer->tensors[index];
    const struct woqi_st_shard *shard = &writer->shards[t->shard];
    return woqi_atomic_dir_write(writer->dir, shard->name, shard->fd, data, size, t->offset + offset);
}

enum woq_status woqi_st_save(struct woqi_st_writer *writer, const char *path, const void *const *data)
{
    struct woqi_atomic_file f;
    place(writer, UINT64_MAX);
    enum woq_status st = woqi_atomic_file_begin(&f, path);
    if (!st)
        st = write_header(writer, &f.dir, f.name, f.fd, 0);
    for (size_t i = 0; i < writer->count && !st; i++)
        st = woqi_atomic_dir_write(&f.dir, f.name, f.fd, data[i], writer->tensors[i].bytes, writer->tensors[i].offset);
    if (!st)
        st = woqi_atomic_file_commit(&f);
    woqi_atomic_file_end(&f);
    return st;
}

enum woq_status woqi_st_close(struct woqi_st_writer *writer)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < writer->shard_count && !st; i++) {
        st = woqi_atomic_dir_finish(writer->dir, writer->shards[i].name, writer->shards[i].fd);
        writer->shards[i].fd = -1;
    }
    return st;
}

void woqi_st_free(struct woqi_st_writer *writer)
{
    for (uint32_t i = 0; i < writer->shard_count; i++)
        if (writer->shards[i].fd >= 0)
            close(writer->shards[i].fd);
    for (size_t i = 0; i < writer->count; i++)
        free(writer->tensors[i].name);
    free(writer->tensors);
    free(writer->shards);
    *writer = (struct woqi_st_writer){0};
}
