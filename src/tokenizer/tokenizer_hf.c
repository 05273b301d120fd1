/* tokenizer_hf.c: finds and reads a Hugging Face directory's tokenizer.json and tokenizer_config.json. */
#include "tokenizer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The largest known tokenizer.json has 33 MB. */
#define MAX_FILE ((size_t)256 << 20)

/* "directory/name"; a checkpoint that is a file lies in its directory. */
static char *path_of(const char *checkpoint, const char *name)
{
    struct stat info;
    size_t size = strlen(checkpoint);
    if (stat(checkpoint, &info) || !S_ISDIR(info.st_mode)) {
        const char *slash = strrchr(checkpoint, '/');
        size = slash ? (size_t)(slash - checkpoint) : 0;
    }
    const char *middle = size || checkpoint[0] == '/' ? "/" : "";
    size_t room = size + strlen(name) + 2;
    char *path = malloc(room);
    if (path)
        snprintf(path, room, "%.*s%s%s", (int)size, checkpoint, middle, name);
    return path;
}

/* *text is malloc'ed; NULL if the file does not exist. */
static enum woq_status read_file(const char *path, char **text, size_t *size)
{
    enum woq_status st = WOQ_OK;
    *text = NULL;
    *size = 0;
    FILE *file = fopen(path, "rb");
    if (!file && errno == ENOENT)
        return WOQ_OK;
    if (!file)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: %s", path, strerror(errno));
    struct stat info;
    if (fstat(fileno(file), &info) || !S_ISREG(info.st_mode) || info.st_size < 0 ||
        (uint64_t)info.st_size > MAX_FILE) {
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: no file, or one beyond 256 MiB", path);
        goto done;
    }
    *text = malloc((size_t)info.st_size + 1);
    if (!*text) {
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no memory to read it", path);
        goto done;
    }
    *size = fread(*text, 1, (size_t)info.st_size, file);
    if (*size != (size_t)info.st_size)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: cannot be read", path);
done:
    fclose(file);
    if (st) {
        free(*text);
        *text = NULL;
    }
    return st;
}

static int32_t config_id(const struct woq_checkpoint *c, const char *key)
{
    uint64_t id;
    return woq_checkpoint_get_uint(c, key, &id) && id <= INT32_MAX ? (int32_t)id : -1;
}

enum woq_status woqi_tok_from_directory(const struct woq_checkpoint *c,
                                        struct woq_tokenizer **out)
{
    char *text = NULL, *config = NULL;
    size_t size = 0, config_size = 0;
    char *path = path_of(woq_checkpoint_path(c), "tokenizer.json");
    char *config_path = path_of(woq_checkpoint_path(c), "tokenizer_config.json");
    enum woq_status st = WOQ_OK;
    if (!path || !config_path)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_tokenizer_create: no memory");
    if (!st)
        st = read_file(path, &text, &size);
    if (!st && !text)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: there is no such file", path);
    if (!st)
        st = read_file(config_path, &config, &config_size);
    if (!st)
        st = woqi_tok_from_json(path, text, size, config, config_size,
                                config_id(c, "bos_token_id"), config_id(c, "eos_token_id"), out);
    free(text);
    free(config);
    free(path);
    free(config_path);
    return st;
}
