/* chat_template.c: the chat template among a model's files. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "task.h"

static enum woq_status copy_out(const char *data, size_t size, char **text)
{
    *text = malloc(size + 1);
    if (!*text)
        return woqi_task_no_memory();
    memcpy(*text, data, size);
    (*text)[size] = 0;
    return WOQ_OK;
}

/* chat_template: the text, or [{"name": …, "template": …}, …]. NULL = none. */
static yyjson_val *choose(yyjson_val *value)
{
    size_t index, count;
    yyjson_val *one;
    if (!yyjson_is_arr(value))
        return yyjson_is_str(value) ? value : NULL;
    yyjson_arr_foreach(value, index, count, one)
    {
        yyjson_val *template = yyjson_obj_get(one, "template");
        if (yyjson_equals_str(yyjson_obj_get(one, "name"), "default") && yyjson_is_str(template))
            return template;
    }
    return NULL;
}

static enum woq_status read_config(const struct woq_checkpoint *c, char **text)
{
    struct yyjson_doc *doc = NULL;
    enum woq_status st = woqi_ckpt_json_file(c, c->path, "tokenizer_config.json", true, &doc);
    if (st || !doc)
        return st;
    yyjson_val *value = choose(yyjson_obj_get(yyjson_doc_get_root(doc), "chat_template"));
    if (value)
        st = copy_out(yyjson_get_str(value), yyjson_get_len(value), text);
    yyjson_doc_free(doc);
    return st;
}

static enum woq_status read_directory(const struct woq_checkpoint *c, char **text)
{
    char path[PATH_MAX];
    struct woqi_text_file file;
    const int size = snprintf(path, sizeof path, "%s/chat_template.jinja", c->path);
    if (size < 0 || (size_t)size >= sizeof path)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_ARGUMENT, "the path of chat_template.jinja is too long");
    if (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR))
        return read_config(c, text);
    enum woq_status st = woqi_text_read(path, &file);
    if (st == WOQ_ERROR_INVALID_ARGUMENT) /* it is there, but */
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: cannot be read: %s", path, strerror(errno));
    if (!st)
        st = copy_out(file.data ? file.data : "", file.size, text);
    free(file.data);
    return st;
}

enum woq_status woq_chat_template_read(const struct woq_checkpoint *checkpoint, char **text)
{
    const char *found;
    size_t size;
    if (text)
        *text = NULL;
    if (!checkpoint || !text)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_chat_template_read: %s is NULL",
                          checkpoint ? "text" : "checkpoint");
    if (woq_checkpoint_container(checkpoint) != WOQ_CONTAINER_GGUF)
        return checkpoint->directory ? read_directory(checkpoint, text) : WOQ_OK;
    if (!woq_checkpoint_get_string(checkpoint, "tokenizer.chat_template", &found, &size))
        return WOQ_OK;
    return copy_out(found, size, text);
}
