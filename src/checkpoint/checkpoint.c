/* checkpoint.c: opening and closing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/checkpoint_impl.h"

static enum woq_status create(const char *path, struct woq_checkpoint **out)
{
    struct woq_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory", path);
    c->path = woqi_ckpt_copy(&c->arena, path, strlen(path));
    c->maps = woqi_ckpt_alloc(&c->arena, 1, sizeof *c->maps);
    *out = c;
    if (!c->path || !c->maps) {
        woq_checkpoint_close(out);
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory", path);
    }
    return WOQ_OK;
}

/* What the first and only mapping holds. */
static enum woq_status read_file(struct woq_checkpoint *c)
{
    enum woq_status st;
    if (c->container == WOQ_CONTAINER_GGUF) {
        st = woqi_ckpt_read_gguf(c);
    } else {
        st = woqi_ckpt_read_safetensors(c, &c->maps[0], true);
        if (!st)
            st = woqi_ckpt_meta_finish(c);
    }
    return st ? st : woqi_ckpt_tensors_finish(c);
}

/* safetensors has no magic: eight bytes of length, then a JSON object. */
static enum woq_status recognize(struct woq_checkpoint *c)
{
    const struct woqi_ckpt_map *map = &c->maps[0];
    const char *dot = strrchr(c->path, '.');
    if (map->size >= 4 && !memcmp(map->data, "GGUF", 4))
        c->container = WOQ_CONTAINER_GGUF;
    else if ((map->size >= 9 && map->data[8] == '{') || (dot && !strcmp(dot, ".safetensors")))
        c->container = WOQ_CONTAINER_SAFETENSORS;
    else if (dot && !strcmp(dot, ".gguf"))
        c->container = WOQ_CONTAINER_GGUF; /* its reader says what is wrong */
    else
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "is neither GGUF nor safetensors");
    return WOQ_OK;
}

enum woq_status woq_checkpoint_open(const char *path, const struct woq_checkpoint_params *params,
                                    struct woq_checkpoint **out)
{
    struct woq_checkpoint *c = NULL;
    struct stat info;
    if (!out || !path)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", __func__,
                          out ? "path" : "out");
    *out = NULL;
    if (params && params->struct_size < sizeof *params)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: params->struct_size is %zu; must be %zu",
                          __func__, params->struct_size, sizeof *params);
    if (stat(path, &info))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: cannot be opened: %s", path,
                          strerror(errno));
    enum woq_status st = create(path, &c);
    if (st)
        return st;
    c->log = params ? params->log : NULL;
    c->log_user = params ? params->log_user : NULL;
    if (S_ISDIR(info.st_mode)) {
        c->container = WOQ_CONTAINER_SAFETENSORS;
        c->directory = true;
        st = woqi_ckpt_read_directory(c);
    } else {
        st = woqi_ckpt_map_file(c, path, WOQ_ERROR_INVALID_ARGUMENT);
        if (!st)
            st = recognize(c);
        if (!st)
            st = read_file(c);
    }
    if (st)
        woq_checkpoint_close(&c);
    *out = c;
    return st;
}

enum woq_status woqi_ckpt_open_memory(enum woq_container container, const void *data, size_t size,
                                      struct woq_checkpoint **out)
{
    struct woq_checkpoint *c = NULL;
    *out = NULL;
    enum woq_status st = create("(memory)", &c);
    if (st)
        return st;
    c->container = container;
    st = woqi_ckpt_map_memory(c, data, size);
    if (!st)
        st = read_file(c);
    if (st)
        woq_checkpoint_close(&c);
    *out = c;
    return st;
}

void woq_checkpoint_close(struct woq_checkpoint **checkpoint)
{
    struct woq_checkpoint *c = checkpoint ? *checkpoint : NULL;
    if (!c)
        return;
    *checkpoint = NULL;
    for (size_t i = 0; i < c->map_count; i++)
        woqi_ckpt_unmap(&c->maps[i]);
    woqi_ckpt_arena_free(&c->arena);
    free(c);
}

enum woq_container woq_checkpoint_container(const struct woq_checkpoint *checkpoint)
{
    return checkpoint ? checkpoint->container : 0;
}

const char *woq_checkpoint_path(const struct woq_checkpoint *checkpoint)
{
    return checkpoint ? checkpoint->path : NULL;
}
