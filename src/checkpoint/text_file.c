/* text_file.c: whole files, and the texts of JSON lines. */
#include "checkpoint/text_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

static enum woq_status no_memory(const char *file)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for the text", file);
}

enum woq_status woqi_text_append(const char *file, struct woqi_text_file *t, const char *data, size_t size)
{
    if (size > t->capacity - t->size) {
        size_t capacity = t->capacity ? t->capacity : 1 << 16;
        while (size > capacity - t->size && capacity <= SIZE_MAX / 2)
            capacity *= 2;
        char *grown = size <= capacity - t->size ? realloc(t->data, capacity) : NULL;
        if (!grown)
            return no_memory(file);
        t->data = grown;
        t->capacity = capacity;
    }
    if (size) /* there may be no data yet */
        memcpy(t->data + t->size, data, size);
    t->size += size;
    return WOQ_OK;
}

enum woq_status woqi_text_read(const char *file, struct woqi_text_file *out)
{
    char piece[1 << 14];
    size_t got;
    enum woq_status st = WOQ_OK;
    *out = (struct woqi_text_file){NULL, 0, 0};
    FILE *f = fopen(file, "rb");
    if (!f)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: cannot be opened: %s", file, strerror(errno));
    while (!st && (got = fread(piece, 1, sizeof piece, f)) > 0)
        st = woqi_text_append(file, out, piece, got);
    if (!st && ferror(f)) /* as of a directory */
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: cannot be read: %s", file, strerror(errno));
    fclose(f);
    return st;
}

/* ---- JSON lines ---- */

static bool is_blank(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!memchr(" \t\r", line[i], 3))
            return false;
    return true;
}

static enum woq_status read_line(const char *file, uint64_t number, const char *line, size_t size,
                                 woqi_json_line_fn *fn, void *user)
{
    static const char want[] = "must be an object with a member \"text\", a string";
    yyjson_read_err error;
    /* Without YYJSON_READ_INSITU the input is not written to. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)line, size, 0, NULL, &error);
    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return no_memory(file);
    if (!doc)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s:%" PRIu64 ": is no JSON (byte %zu: %s); %s", file, number,
                          error.pos + 1, error.msg, want);
    yyjson_val *text = yyjson_obj_get(yyjson_doc_get_root(doc), "text");
    enum woq_status st = WOQ_OK;
    if (!yyjson_is_str(text))
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s:%" PRIu64 ": \"text\" is %s; %s", file, number,
                        text ? "no string" : "missing", want);
    if (!st)
        st = fn(user, number, yyjson_get_str(text), yyjson_get_len(text));
    yyjson_doc_free(doc);
    return st;
}

enum woq_status woqi_json_lines(const char *file, const struct woqi_text_file *lines, woqi_json_line_fn *fn,
                                void *user)
{
    enum woq_status st = WOQ_OK;
    uint64_t number = 1;
    for (size_t at = 0; at < lines->size && !st; number++) {
        const char *line = lines->data + at, *end = memchr(line, '\n', lines->size - at);
        const size_t size = end ? (size_t)(end - line) : lines->size - at;
        if (!is_blank(line, size))
            st = read_line(file, number, line, size, fn, user);
        at += size + 1;
    }
    return st;
}
