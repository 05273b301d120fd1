/* mmlu.c: multiple-choice questions of many subjects, each a CSV file for each split. */
#include "task.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"

enum { COLUMNS = 6 };
static const char *const header[COLUMNS] = {"question", "choice0", "choice1", "choice2", "choice3", "answer"};

static bool is_header(const struct woqi_csv_record *r)
{
    for (size_t i = 0; i < COLUMNS; i++)
        if (r->count != COLUMNS || r->fields[i].size != strlen(header[i]) ||
            memcmp(r->fields[i].text, header[i], r->fields[i].size))
            return false;
    return true;
}

/* base: the character of the first choice. */
static enum woq_status read_question(const char *file, const struct woqi_csv_record *r, char base,
                                     struct woqi_question *out)
{
    const struct woq_text *answer = &r->fields[COLUMNS - 1];
    if (r->count != COLUMNS)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s:%" PRIu64 ": has %zu columns; must have a question, 4 choices and the answer", file,
                          r->line, r->count);
    if (answer->size != 1 || answer->text[0] < base || answer->text[0] >= base + WOQI_CHOICES)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s:%" PRIu64 ": the answer is '%s'; must be %c … %c, %s the header \"question,choice0,"
                          "choice1,choice2,choice3,answer\"",
                          file, r->line, woqi_task_show(*answer).text, base, base + WOQI_CHOICES - 1,
                          base == '0' ? "below" : "in a file without");
    *out = (struct woqi_question){.text = woqi_task_strip(r->fields[0]),
                                  .line = r->line,
                                  .answer = (uint32_t)(answer->text[0] - base)};
    for (size_t i = 0; i < WOQI_CHOICES; i++)
        out->choices[i] = r->fields[i + 1];
    return WOQ_OK;
}

enum woq_status woqi_mmlu_parse(struct woq_task *task, const char *file, const struct woqi_text_file *text,
                                uint32_t subject, uint64_t limit, struct woqi_questions *to)
{
    struct woqi_csv csv;
    struct woqi_csv_record record;
    struct woqi_question question;
    char base = 'A';
    uint64_t number = 0;
    woqi_csv_begin(file, text->data, text->size, &csv);
    enum woq_status st = woqi_csv_next(&csv, &record);
    if (!st && is_header(&record)) {
        base = '0';
        st = woqi_csv_next(&csv, &record);
    }
    while (!st && record.count && number < limit) {
        st = read_question(file, &record, base, &question);
        question.number = number++;
        question.subject = subject;
        if (!st)
            st = woqi_task_add(task, to, &question);
        if (!st)
            st = woqi_csv_next(&csv, &record);
    }
    if (!st && !number && limit)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: has no questions", file);
    return st;
}

static enum woq_status read_questions(struct woq_task *task, const char *file, uint32_t subject, uint64_t limit,
                                      struct woqi_questions *to)
{
    struct woqi_text_file text;
    enum woq_status st = woqi_text_read(file, &text);
    if (!st)
        st = woqi_mmlu_parse(task, file, &text, subject, limit, to);
    free(text.data);
    return st;
}

/* ---- Subjects ---- */

struct names {
    char **at;
    size_t count, capacity;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* SUBJECT of the folder's files SUBJECT_SPLIT.csv, sorted. */
static enum woq_status list_subjects(struct woq_task *task, const char *folder, const char *split,
                                     struct names *names)
{
    char ending[NAME_MAX + 8];
    struct dirent *entry;
    const size_t tail = (size_t)snprintf(ending, sizeof ending, "_%s.csv", split);
    DIR *dir = opendir(folder);
    if (!dir)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: cannot be opened: %s; must be a folder of files SUBJECT%s", folder, strerror(errno),
                          ending);
    enum woq_status st = WOQ_OK;
    while (!st && (entry = readdir(dir))) {
        const size_t size = strlen(entry->d_name);
        if (size <= tail || strcmp(entry->d_name + size - tail, ending) || entry->d_name[0] == '.')
            continue;
        if (!woqi_ckpt_is_name(entry->d_name, size)) {
            st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: the name of a file '%s' must be UTF-8 without control "
                            "characters", folder, woqi_task_show((struct woq_text){entry->d_name, size}).text);
            break;
        }
        if (names->count == names->capacity) {
            const size_t capacity = names->capacity ? 2 * names->capacity : 64;
            char **grown = realloc(names->at, capacity * sizeof *grown);
            if (!grown) {
                st = woqi_task_no_memory();
                break;
            }
            names->at = grown;
            names->capacity = capacity;
        }
        if (!(names->at[names->count++] = woqi_ckpt_copy(&task->arena, entry->d_name, size - tail)))
            st = woqi_task_no_memory();
    }
    closedir(dir);
    if (!st && !names->count)
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: has no files SUBJECT%s", folder, ending);
    if (!st)
        qsort(names->at, names->count, sizeof *names->at, by_text);
    return st;
}

static enum woq_status write_path(char out[PATH_MAX], const char *path, const char *split, const char *subject)
{
    const int size = snprintf(out, PATH_MAX, subject ? "%s/%s/%s_%s.csv" : "%s/%s", path, split,
                              subject ? subject : "", split);
    if (size < 0 || size >= PATH_MAX)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%.200s…: the path is too long", path);
    return WOQ_OK;
}

static enum woq_status read_shots(struct woq_task *task, const char *path, struct woqi_subject *s)
{
    char file[PATH_MAX];
    enum woq_status st = task->shots ? write_path(file, path, "dev", s->name) : WOQ_OK;
    if (st || !task->shots)
        return st;
    /* Of dev's own questions none is to be its own example: one more. */
    st = read_questions(task, file, 0, (uint64_t)task->shots + (task->from_dev ? 1 : 0), &s->shots);
    if (!st && task->from_dev && s->shots.count < 2)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: has one question, and no example besides it; needs two or more, "
                                                "or shots 0", file);
    else if (!st && task->from_dev && s->shots.count <= task->shots)
        st = woq_report(WOQ_ERROR_INVALID_DATA,
                        "%s: has %zu questions; %" PRIu32 " examples besides a question need %" PRIu64, file,
                        s->shots.count, task->shots, (uint64_t)task->shots + 1);
    else if (!st && s->shots.count < task->shots)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: has %zu questions; %" PRIu32 " examples need as many", file,
                        s->shots.count, task->shots);
    return st;
}

enum woq_status woqi_mmlu_read(struct woq_task *task, const char *path, const char *split)
{
    char file[PATH_MAX];
    struct names names = {NULL, 0, 0};
    task->from_dev = !strcmp(split, "dev");
    enum woq_status st = strlen(split) > NAME_MAX - 8
                             ? woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_open: split is too long a name")
                             : write_path(file, path, split, NULL);
    if (!st)
        st = list_subjects(task, file, split, &names);
    for (size_t i = 0; i < names.count && !st; i++) {
        struct woqi_subject *s = NULL;
        st = write_path(file, path, split, names.at[i]);
        if (!st && !(s = woqi_task_add_subject(task, names.at[i], file)))
            st = woqi_task_no_memory();
        if (!st) {
            s->category = woqi_mmlu_category(s->name);
            st = read_questions(task, file, (uint32_t)i, UINT64_MAX, &task->questions);
        }
        if (!st)
            st = read_shots(task, path, s);
    }
    free(names.at);
    return st;
}
