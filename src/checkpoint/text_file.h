/*
 * text_file.h: texts that a user gives: whole files, and JSON lines.
 */
#ifndef WOQI_TEXT_FILE_H
#define WOQI_TEXT_FILE_H

#include <woq/base.h>

struct woqi_text_file {
    char *data; /* not terminated; NULL for an empty file */
    size_t size, capacity;
};

/* Appends; file: its name, for the message. Returns WOQ_OK; OUT_OF_MEMORY. */
enum woq_status woqi_text_append(const char *file, struct woqi_text_file *t, const char *data, size_t size);
/* The file's bytes. *out is released by free(out->data), after a failure too.
 * Returns WOQ_OK; INVALID_ARGUMENT (cannot be read); OUT_OF_MEMORY. */
enum woq_status woqi_text_read(const char *file, struct woqi_text_file *out);

/* Gets the member "text" of line `line`, from 1 on; `text` is gone after the call. */
typedef enum woq_status woqi_json_line_fn(void *user, uint64_t line, const char *text, size_t size);
/* Calls fn for each line, until it fails; lines of white space do not count.
 * Returns WOQ_OK; INVALID_DATA (no object with a string "text": file and line are named); OUT_OF_MEMORY; what fn
 * returns. */
enum woq_status woqi_json_lines(const char *file, const struct woqi_text_file *lines, woqi_json_line_fn *fn,
                                void *user);

#endif
