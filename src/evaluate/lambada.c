/* lambada.c: texts whose last word is to be predicted. */
#include "task.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    struct woq_task *task;
    const char *file;
};

static enum woq_status add_line(void *user, uint64_t line, const char *text, size_t size)
{
    const struct reading *r = user;
    size_t at = size;
    while (at && text[at - 1] != ' ')
        at--;
    const struct woq_text context = woqi_task_strip_end((struct woq_text){text, at});
    if (!at || at == size || !context.size)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s:%" PRIu64 ": \"text\" %s; must be words with spaces between them, the last of which is "
                          "asked for",
                          r->file, line, at && at == size ? "ends in a space" : "has no word before the last");
    const struct woqi_question q = {.text = context,
                                    .target = {text + context.size, size - context.size},
                                    .number = r->task->questions.count,
                                    .line = line,
                                    .answer = 1};
    return woqi_task_add(r->task, &r->task->questions, &q);
}

enum woq_status woqi_lambada_parse(struct woq_task *task, const char *file, const struct woqi_text_file *text)
{
    struct reading reading = {task, file};
    enum woq_status st = woqi_json_lines(file, text, add_line, &reading);
    if (!st && !task->questions.count)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: has no examples; must have lines as {\"text\": \"…\"}", file);
    return st;
}

enum woq_status woqi_lambada_read(struct woq_task *task, const char *path)
{
    struct woqi_text_file text;
    if (!woqi_task_add_subject(task, "lambada", path))
        return woqi_task_no_memory();
    enum woq_status st = woqi_text_read(path, &text);
    if (!st)
        st = woqi_lambada_parse(task, path, &text);
    free(text.data);
    return st;
}
